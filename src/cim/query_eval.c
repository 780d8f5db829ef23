/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Answering parsed queries. Conditions have three values: a comparison with a NULL property is
 * unknown, and what is unknown does not select, also under NOT. Nodes refer only to nodes made
 * before them, and the reader bounds the nesting, so recursion is bounded. Any thread. */
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "cim/query.h"
#include "cim/server_int.h"

enum truth { NO, YES, UNKNOWN };

static uint32_t lower(uint32_t c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

/* The character of UTF-8 at *@p, which moves behind it. A byte that begins none is one of its own,
 * above all characters. Not called at the end. */
static uint32_t next_char(const char **p)
{
    const unsigned char *s = (const unsigned char *)*p;
    static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
    size_t more = *s < 0xc2 ? 0 : *s < 0xe0 ? 1 : *s < 0xf0 ? 2 : *s < 0xf5 ? 3 : 0;
    uint32_t c = *s & (0x3fU >> more);

    (*p)++;
    if (*s < 0x80)
        return *s;
    for (size_t i = 1; i <= more; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0x110000 + *s;
        c = c << 6 | (s[i] & 0x3f);
    }
    if (!more || c < least[more])
        return 0x110000 + *s;
    *p += more;
    return c;
}

/* One [set] at *@p; moves behind it. False also if the closing bracket is missing. */
static bool in_set(uint32_t c, const char **p)
{
    const char *s = *p + 1;
    bool negated = *s == '^', hit = false;

    for (s += negated; *s && *s != ']';) {
        uint32_t lo = lower(next_char(&s)), hi = lo;
        if (*s == '-' && s[1] && s[1] != ']') {
            s++;
            hi = lower(next_char(&s));
        }
        hit = hit || (lower(c) >= lo && lower(c) <= hi);
    }
    *p = *s ? s + 1 : s;
    return *s && hit != negated;
}

/* Does one character of the pattern take @c? *@p moves behind it. */
static bool takes(uint32_t c, const char **p)
{
    if (**p == '[' && strchr(*p, ']'))
        return in_set(c, p);
    uint32_t want = next_char(p);
    return want == '_' || lower(want) == lower(c);
}

bool cim_like(const char *s, const char *pattern)
{
    const char *retry_s = NULL, *retry_p = NULL, *p = pattern;

    while (*s) {
        const char *after = s;
        uint32_t c = next_char(&after);
        if (*p == '%') {
            retry_p = ++p;
            retry_s = s;
        } else if (*p && takes(c, &p)) {
            s = after;
        } else if (retry_p) {
            p = retry_p;
            next_char(&retry_s);
            s = retry_s;
        } else {
            return false;
        }
    }
    while (*p == '%')
        p++;
    return !*p;
}

static enum truth compare(const struct cim_node *n, const struct cim_value *v)
{
    int order;

    if (v->is_null)
        return UNKNOWN;
    if (n->op == CIM_OP_LIKE) {
        const char *s = cim_value_str(v);
        return s && cim_like(s, n->text) ? YES : NO;
    }
    if (!cim_value_compare(v, &n->value, &order))
        return n->op == CIM_OP_NE ? YES : NO;
    switch (n->op) {
    case CIM_OP_EQ:
        return order == 0 ? YES : NO;
    case CIM_OP_NE:
        return order != 0 ? YES : NO;
    case CIM_OP_LT:
        return order < 0 ? YES : NO;
    case CIM_OP_GT:
        return order > 0 ? YES : NO;
    case CIM_OP_LE:
        return order <= 0 ? YES : NO;
    default:
        return order >= 0 ? YES : NO;
    }
}

static enum truth eval_class(const struct cim_node *n, const struct cim_inst *in)
{
    struct cim_value v;

    cim_value_init(&v, CIM_STRING, false);
    cim_value_put_str(&v, in->cls->name);
    enum truth t = n->op == CIM_OP_NOT_NULL ? YES : n->op == CIM_OP_IS_NULL ? NO : compare(n, &v);
    cim_value_clear(&v);
    return t;
}

/* "__THIS ISA 'class'", or the class of what a property embeds or refers to. */
static enum truth eval_isa(const struct cim_node *n, const struct cim_inst *in)
{
    const struct cim_value *v = cim_inst_named(in, n->prop);
    const struct cim_class *c = in->cls;

    if (v) {
        if (v->is_null || v->is_array)
            return v->is_null ? UNKNOWN : NO;
        c = v->type == CIM_REFERENCE  ? cim_path_class(v->one.ref)
            : v->type == CIM_INSTANCE ? v->one.inst->cls
                                      : NULL;
    } else if (strcasecmp(n->prop, "__this") != 0 && strcasecmp(n->prop, "targetinstance") != 0) {
        return NO;
    }
    return c && cim_class_is(c, n->text) ? YES : NO;
}

/* What conditions are about. */
struct subject {
    const struct cim_inst *in, *previous; /* previous may be NULL */
};

static enum truth eval(const struct cim_query *q, size_t i, const struct subject *s)
{
    const struct cim_node *n = &q->nodes[i];
    const struct cim_inst *in = n->previous ? s->previous : s->in;
    enum truth a, b;

    switch (n->op) {
    case CIM_OP_NOT:
        a = eval(q, n->left, s);
        return a == UNKNOWN ? UNKNOWN : a == YES ? NO : YES;
    case CIM_OP_AND:
        a = eval(q, n->left, s);
        b = a == NO ? NO : eval(q, n->right, s);
        return a == NO || b == NO ? NO : a == YES && b == YES ? YES : UNKNOWN;
    case CIM_OP_OR:
        a = eval(q, n->left, s);
        b = a == YES ? YES : eval(q, n->right, s);
        return a == YES || b == YES ? YES : a == NO && b == NO ? NO : UNKNOWN;
    default:
        break;
    }
    if (!in)
        return UNKNOWN;
    if (n->op == CIM_OP_ISA)
        return eval_isa(n, in);
    if (strcasecmp(n->prop, "__class") == 0)
        return eval_class(n, in);
    const struct cim_value *v = cim_inst_named(in, n->prop);
    if (n->op == CIM_OP_IS_NULL)
        return !v || v->is_null ? YES : NO;
    if (n->op == CIM_OP_NOT_NULL)
        return v && !v->is_null ? YES : NO;
    return v ? compare(n, v) : UNKNOWN;
}

bool cim_query_matches(const struct cim_query *q, const struct cim_inst *in)
{
    const struct subject s = { .in = in };

    return cim_class_is_a(in->cls, q->cls) && (!q->has_where || eval(q, q->root, &s) == YES);
}

bool cim_query_takes(const struct cim_query *q, enum cim_event_kind kind,
                     const struct cim_inst *target, const struct cim_inst *previous)
{
    const struct subject s = { .in = target, .previous = previous };

    return q->events & kind && (!q->cls || cim_class_is_a(target->cls, q->cls)) &&
           (!q->has_where || eval(q, q->root, &s) == YES);
}

void cim_project(char *const *names, size_t n, struct cim_inst *in)
{
    for (size_t i = 0; i < in->cls->n_props; i++) {
        bool wanted = false;
        for (size_t k = 0; !wanted && k < n; k++)
            wanted = strcasecmp(names[k], in->cls->props[i].name) == 0;
        if (!wanted)
            in->marks[i] |= CIM_MARK_HIDDEN;
    }
}

char *cim_system_text(const struct cim_inst *in, enum cim_syscol col, const char *host)
{
    vr_auto(cim_path_free) struct cim_path *p = NULL;

    switch (col) {
    case CIM_SYS_CLASS:
        return vr_strdup(in->cls->name);
    case CIM_SYS_SUPERCLASS:
        return in->cls->super ? vr_strdup(in->cls->super->name) : NULL;
    case CIM_SYS_NAMESPACE:
        return vr_strdup(in->cls->ns);
    case CIM_SYS_SERVER:
        return vr_strdup(host);
    case CIM_SYS_RELPATH:
    case CIM_SYS_PATH:
        break;
    }
    p = cim_inst_path(in);
    if (col == CIM_SYS_RELPATH)
        vr_freep(&p->ns);
    return cim_path_fmt(p, col == CIM_SYS_PATH ? host : NULL);
}
