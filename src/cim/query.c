/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reader of WQL: recursive descent over a scanner, into a flat array of nodes. Input comes from
 * anybody, so length, nodes and nesting are bounded, and every error names its position. */
#include "cim/query.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "cim/server_int.h"

enum tok { T_END, T_WORD, T_STRING, T_NUMBER, T_OP, T_BRACED };

struct scan {
    const char *text, *p; /* p: behind the current token */
    size_t at;            /* position of the current token */
    enum tok tok;
    char *s; /* its text; strings without quotes */
    struct cim_query *q;
    int depth;
    enum cim_status status;
    struct vr_err *err;
};

#define WORD_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"

static int fail(struct scan *sc, const char *what)
{
    if (sc->status == CIM_S_OK)
        sc->status = cim_fault(CIM_S_BAD_QUERY, sc->err, "query, character %zu near \"%.20s\": %s",
                               sc->at + 1, sc->text + sc->at, what);
    return -1;
}

/* 'text' or "text"; a backslash escapes itself and quotes and is kept before anything else. */
static int scan_string(struct scan *sc)
{
    char quote = *sc->p;
    char *out = vr_new0(strlen(sc->p), 1);
    size_t n = 0;
    const char *p = sc->p + 1;

    free(sc->s);
    sc->s = out;
    for (; *p && *p != quote; p++) {
        if (*p == '\\' && (p[1] == '\\' || p[1] == '"' || p[1] == '\''))
            p++;
        out[n++] = *p;
    }
    if (!*p)
        return fail(sc, "closing quote missing");
    sc->p = p + 1;
    sc->tok = T_STRING;
    return 0;
}

/* {object path}; braces inside quotes do not count. */
static int scan_braced(struct scan *sc)
{
    const char *p = sc->p + 1;
    char quote = 0;

    for (; *p && (quote || *p != '}'); p++) {
        if (quote && *p == '\\' && p[1])
            p++;
        else if (quote)
            quote = *p == quote ? 0 : quote;
        else if (*p == '"' || *p == '\'')
            quote = *p;
    }
    if (!*p)
        return fail(sc, "closing brace missing");
    free(sc->s);
    sc->s = vr_strndup(sc->p + 1, (size_t)(p - sc->p - 1));
    sc->p = p + 1;
    sc->tok = T_BRACED;
    return 0;
}

static int take(struct scan *sc, enum tok tok, size_t n)
{
    free(sc->s);
    sc->s = vr_strndup(sc->p, n);
    sc->p += n;
    sc->tok = tok;
    return 0;
}

static int advance(struct scan *sc)
{
    static const char *const ops[] = { "<>", "!=", "<=", ">=", "=", "<", ">", "(", ")", ",", "*" };

    sc->p += strspn(sc->p, " \t\r\n");
    sc->at = (size_t)(sc->p - sc->text);
    if (!*sc->p || (*sc->p == ';' && !sc->p[1 + strspn(sc->p + 1, " \t\r\n")]))
        return take(sc, T_END, 0);
    if (*sc->p == '"' || *sc->p == '\'')
        return scan_string(sc);
    if (*sc->p == '{')
        return scan_braced(sc);
    size_t digits = strspn(sc->p + (*sc->p == '-'), "0123456789.");
    if (digits && sc->p[0] != '.')
        return take(sc, T_NUMBER, digits + (*sc->p == '-'));
    size_t n = strspn(sc->p, WORD_CHARS ".");
    if (n)
        return take(sc, T_WORD, n);
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (strncmp(sc->p, ops[i], strlen(ops[i])) == 0)
            return take(sc, T_OP, strlen(ops[i]));
    return fail(sc, "unexpected character");
}

static bool is_word(const struct scan *sc, const char *word)
{
    return sc->tok == T_WORD && strcasecmp(sc->s, word) == 0;
}

static bool is_op(const struct scan *sc, const char *op)
{
    return sc->tok == T_OP && strcmp(sc->s, op) == 0;
}

static int expect_word(struct scan *sc, const char *word)
{
    if (is_word(sc, word))
        return advance(sc);
    vr_autofree char *what = vr_printf("%s expected", word);
    return fail(sc, what);
}

/* ---- conditions ---- */

static int new_node(struct scan *sc, enum cim_op op, size_t *ret)
{
    struct cim_query *q = sc->q;

    if (q->n_nodes >= CIM_QUERY_NODES_MAX)
        return fail(sc, "too many conditions");
    q->nodes = vr_grow(q->nodes, q->n_nodes + 1, sizeof *q->nodes);
    q->nodes[q->n_nodes] = (struct cim_node){ .op = op };
    cim_value_init(&q->nodes[q->n_nodes].value, CIM_STRING, false);
    *ret = q->n_nodes++;
    return 0;
}

/* A property of the class or of one derived from it; "Class.Property" is tolerated. */
static const struct cim_prop *find_prop(const struct cim_class *c, const char *name)
{
    int i = cim_class_prop(c, name);

    for (size_t k = 0; i < 0 && k < CIM_CLASS_COUNT; k++) {
        if (!cim_class_is_a(&cim_classes[k], c))
            continue;
        if ((i = cim_class_prop(&cim_classes[k], name)) >= 0)
            return &cim_classes[k].props[i];
    }
    return i < 0 ? NULL : &c->props[i];
}

static const char *bare(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot ? dot + 1 : name;
}

static bool is_comparison(const struct scan *sc, enum cim_op *ret)
{
    static const struct {
        const char *text;
        enum cim_op op;
    } ops[] = { { "=", CIM_OP_EQ }, { "<>", CIM_OP_NE }, { "!=", CIM_OP_NE }, { "<", CIM_OP_LT },
                { ">", CIM_OP_GT }, { "<=", CIM_OP_LE }, { ">=", CIM_OP_GE } };

    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (is_op(sc, ops[i].text)) {
            *ret = ops[i].op;
            return true;
        }
    if (!is_word(sc, "like"))
        return false;
    *ret = CIM_OP_LIKE;
    return true;
}

static enum cim_op mirrored(enum cim_op op)
{
    switch (op) {
    case CIM_OP_LT:
        return CIM_OP_GT;
    case CIM_OP_GT:
        return CIM_OP_LT;
    case CIM_OP_LE:
        return CIM_OP_GE;
    case CIM_OP_GE:
        return CIM_OP_LE;
    default:
        return op;
    }
}

static bool at_constant(const struct scan *sc)
{
    return sc->tok == T_STRING || sc->tok == T_NUMBER || is_word(sc, "true") ||
           is_word(sc, "false") || is_word(sc, "null");
}

/* Which instance of an event @name begins with; its length, 0 if it is neither. */
static size_t event_part(const char *name, bool *ret_previous)
{
    static const char *const parts[] = { "TargetInstance", "SourceInstance", "PreviousInstance" };

    for (size_t i = 0; i < VR_ARRAY_LEN(parts); i++) {
        size_t n = strlen(parts[i]);
        if (strncasecmp(name, parts[i], n) == 0 && (!name[n] || name[n] == '.')) {
            *ret_previous = i == 2;
            return n;
        }
    }
    return 0;
}

/* In a query for events a property is one of the instance before or after. */
static int bind_part(struct scan *sc, struct cim_node *n, const char *name)
{
    size_t len = event_part(name, &n->previous);

    if (!len || name[len] != '.')
        return fail(sc, "TargetInstance.Property or PreviousInstance.Property expected");
    if (!sc->q->cls)
        return fail(sc, "TargetInstance ISA 'class' must say of which class the property is");
    return 0;
}

/* Give the node its property and constant in the property's type. */
static int bind(struct scan *sc, struct cim_node *n, const char *prop, const char *text,
                bool is_null)
{
    if (sc->q->kind == CIM_Q_EVENT && bind_part(sc, n, prop) < 0)
        return -1;
    const struct cim_prop *p = find_prop(sc->q->cls, bare(prop));
    bool is_class = strcasecmp(bare(prop), "__class") == 0;

    if (!p && !is_class)
        return fail(sc, "the class has no such property");
    n->prop = vr_strdup(bare(prop));
    n->text = vr_strdup(text);
    if (is_null) {
        if (n->op != CIM_OP_EQ && n->op != CIM_OP_NE)
            return fail(sc, "NULL has no order");
        n->op = n->op == CIM_OP_EQ ? CIM_OP_IS_NULL : CIM_OP_NOT_NULL;
        return 0;
    }
    if (p && p->flags & CIM_F_ARRAY)
        return fail(sc, "an array cannot be compared");
    if (n->op == CIM_OP_LIKE && p && p->type != CIM_STRING)
        return fail(sc, "LIKE needs a string property");
    cim_value_init(&n->value, p ? p->type : CIM_STRING, false);
    if (n->op != CIM_OP_LIKE && cim_value_put_text(&n->value, text, NULL) < 0)
        return fail(sc, "the constant does not fit the type of the property");
    return 0;
}

/* constant op property, or property op constant, IS [NOT] NULL, ISA */
static int parse_comparison(struct scan *sc, size_t *ret)
{
    vr_autofree char *first = NULL;
    bool constant_first = at_constant(sc), null_first = is_word(sc, "null");
    enum cim_op op;

    if (!constant_first && sc->tok != T_WORD)
        return fail(sc, "property or constant expected");
    first = vr_take(sc->s);
    if (advance(sc) < 0)
        return -1;
    if (!constant_first && is_word(sc, "is")) {
        if (advance(sc) < 0 || new_node(sc, CIM_OP_EQ, ret) < 0)
            return -1;
        if (is_word(sc, "not")) {
            sc->q->nodes[*ret].op = CIM_OP_NE;
            if (advance(sc) < 0)
                return -1;
        }
        if (expect_word(sc, "null") < 0)
            return -1;
        return bind(sc, &sc->q->nodes[*ret], first, NULL, true);
    }
    if (!constant_first && is_word(sc, "isa")) {
        if (advance(sc) < 0 || new_node(sc, CIM_OP_ISA, ret) < 0)
            return -1;
        if (sc->tok != T_STRING)
            return fail(sc, "class name in quotes expected");
        struct cim_node *n = &sc->q->nodes[*ret];
        if (sc->q->kind == CIM_Q_EVENT) {
            size_t len = event_part(first, &n->previous);
            if (!len)
                return fail(sc, "TargetInstance ISA or PreviousInstance ISA expected");
            vr_set_str(&first, first[len] ? bare(first) : "__this");
        }
        n->prop = vr_take(first);
        n->text = vr_take(sc->s);
        return advance(sc);
    }
    if (!is_comparison(sc, &op))
        return fail(sc, "comparison expected");
    if (advance(sc) < 0 || new_node(sc, constant_first ? mirrored(op) : op, ret) < 0)
        return -1;
    bool ok = constant_first ? sc->tok == T_WORD && !at_constant(sc) : at_constant(sc);
    if (!ok)
        return fail(sc, constant_first ? "property expected" : "constant expected");
    bool is_null = null_first || is_word(sc, "null");
    if (bind(sc, &sc->q->nodes[*ret], constant_first ? sc->s : first,
             constant_first ? first : sc->s, is_null) < 0)
        return -1;
    return advance(sc);
}

static int parse_or(struct scan *sc, size_t *ret);

static int parse_not(struct scan *sc, size_t *ret)
{
    size_t inner;
    int rc;

    if (++sc->depth > CIM_QUERY_DEPTH_MAX)
        return fail(sc, "nested too deeply");
    if (is_word(sc, "not")) {
        rc = advance(sc) < 0 || parse_not(sc, &inner) < 0 || new_node(sc, CIM_OP_NOT, ret) < 0;
        if (!rc)
            sc->q->nodes[*ret].left = inner;
    } else if (is_op(sc, "(")) {
        rc = advance(sc) < 0 || parse_or(sc, ret) < 0;
        if (!rc)
            rc = is_op(sc, ")") ? advance(sc) : fail(sc, ") expected");
    } else {
        rc = parse_comparison(sc, ret);
    }
    sc->depth--;
    return rc ? -1 : 0;
}

static int parse_chain(struct scan *sc, const char *word, enum cim_op op,
                       int (*part)(struct scan *, size_t *), size_t *ret)
{
    size_t left, right, node;

    if (part(sc, &left) < 0)
        return -1;
    while (is_word(sc, word)) {
        if (advance(sc) < 0 || part(sc, &right) < 0 || new_node(sc, op, &node) < 0)
            return -1;
        sc->q->nodes[node].left = left;
        sc->q->nodes[node].right = right;
        left = node;
    }
    *ret = left;
    return 0;
}

static int parse_and(struct scan *sc, size_t *ret)
{
    return parse_chain(sc, "and", CIM_OP_AND, parse_not, ret);
}

static int parse_or(struct scan *sc, size_t *ret)
{
    return parse_chain(sc, "or", CIM_OP_OR, parse_and, ret);
}

/* ---- statements ---- */

static int parse_columns(struct scan *sc)
{
    struct cim_query *q = sc->q;

    if (is_op(sc, "*"))
        return advance(sc);
    for (;;) {
        if (sc->tok != T_WORD)
            return fail(sc, "column or * expected");
        if (q->n_cols >= CIM_QUERY_COLS_MAX)
            return fail(sc, "too many columns");
        q->cols = vr_grow(q->cols, q->n_cols + 1, sizeof *q->cols);
        q->cols[q->n_cols++] = vr_strdup(bare(sc->s));
        if (advance(sc) < 0)
            return -1;
        if (!is_op(sc, ","))
            return 0;
        if (advance(sc) < 0)
            return -1;
    }
}

/* Every column is a property of the class, or one that every instance has. */
static int check_columns(struct scan *sc)
{
    static const struct {
        const char *name;
        enum cim_syscol col;
    } system[] = {
#define A(bit, n, text) { text, CIM_SYS_##n },
        CIM_SYSTEM_COLUMNS(A)
#undef A
    };
    struct cim_query *q = sc->q;

    for (size_t i = 0; i < q->n_cols; i++) {
        bool known = find_prop(q->cls, q->cols[i]);
        for (size_t k = 0; !known && k < VR_ARRAY_LEN(system); k++)
            if (strcasecmp(q->cols[i], system[k].name) == 0) {
                known = true;
                q->sys |= system[k].col;
            }
        if (!known)
            return fail(sc, "the class lacks one of the columns");
    }
    return 0;
}

static int parse_select(struct scan *sc, const char *ns)
{
    struct cim_query *q = sc->q;

    if (advance(sc) < 0 || parse_columns(sc) < 0 || expect_word(sc, "from") < 0)
        return -1;
    if (sc->tok != T_WORD)
        return fail(sc, "class expected");
    sc->status = cim_lookup_class(ns, sc->s, &q->cls, sc->err);
    if (sc->status != CIM_S_OK || advance(sc) < 0)
        return -1;
    if (check_columns(sc) < 0)
        return -1;
    if (is_word(sc, "where")) {
        q->has_where = true;
        if (advance(sc) < 0 || parse_or(sc, &q->root) < 0)
            return -1;
    }
    return sc->tok == T_END ? 0 : fail(sc, "end of the query expected");
}

static int parse_clause(struct scan *sc)
{
    struct cim_query *q = sc->q;
    char **to = NULL;

    if (is_word(sc, "assocclass") && q->kind == CIM_Q_ASSOCIATORS)
        to = &q->assoc_class;
    else if (is_word(sc, "resultclass"))
        to = &q->result_class;
    else if (is_word(sc, "role"))
        to = &q->role;
    else if (is_word(sc, "resultrole") && q->kind == CIM_Q_ASSOCIATORS)
        to = &q->result_role;
    else if (is_word(sc, "keysonly"))
        return advance(sc);
    if (!to || *to)
        return fail(sc, to ? "given twice" : "clause not known or not supported");
    if (advance(sc) < 0)
        return -1;
    if (!is_op(sc, "="))
        return fail(sc, "= expected");
    if (advance(sc) < 0)
        return -1;
    if (sc->tok != T_WORD && sc->tok != T_STRING)
        return fail(sc, "name expected");
    *to = vr_take(sc->s);
    return advance(sc);
}

static int parse_walk(struct scan *sc, const char *ns)
{
    struct cim_query *q = sc->q;
    struct vr_err bad = VR_ERR_INIT;

    if (advance(sc) < 0 || expect_word(sc, "of") < 0)
        return -1;
    if (sc->tok != T_BRACED)
        return fail(sc, "{object path} expected");
    if (cim_path_parse(sc->s, &q->path, &bad) < 0)
        return fail(sc, bad.msg);
    if (!q->path->ns)
        q->path->ns = vr_strdup(ns);
    if (advance(sc) < 0)
        return -1;
    if (is_word(sc, "where")) {
        if (advance(sc) < 0)
            return -1;
        do {
            if (parse_clause(sc) < 0)
                return -1;
        } while (sc->tok != T_END);
    }
    return sc->tok == T_END ? 0 : fail(sc, "end of the query expected");
}

/* ---- events ---- */

static const struct {
    const char *name;
    enum cim_event_style style;
    unsigned events;
} event_classes[] = {
    { "__InstanceCreationEvent", CIM_EVENTS_WMI, CIM_EV_CREATED },
    { "__InstanceModificationEvent", CIM_EVENTS_WMI, CIM_EV_MODIFIED },
    { "__InstanceDeletionEvent", CIM_EVENTS_WMI, CIM_EV_DELETED },
    { "__InstanceOperationEvent", CIM_EVENTS_WMI,
      CIM_EV_CREATED | CIM_EV_MODIFIED | CIM_EV_DELETED },
    { "CIM_InstCreation", CIM_EVENTS_CIM, CIM_EV_CREATED },
    { "CIM_InstModification", CIM_EVENTS_CIM, CIM_EV_MODIFIED },
    { "CIM_InstDeletion", CIM_EVENTS_CIM, CIM_EV_DELETED },
    { "CIM_InstIndication", CIM_EVENTS_CIM, CIM_EV_CREATED | CIM_EV_MODIFIED | CIM_EV_DELETED },
};

static int parse_event_class(struct scan *sc)
{
    for (size_t i = 0; i < VR_ARRAY_LEN(event_classes); i++)
        if (is_word(sc, event_classes[i].name)) {
            sc->q->events = event_classes[i].events;
            sc->q->style = event_classes[i].style;
            return advance(sc);
        }
    return fail(sc, "a class of events expected, such as __InstanceModificationEvent");
}

/* WITHIN seconds; fractions are rounded up to a millisecond. */
static int parse_within(struct scan *sc)
{
    if (!is_word(sc, "within"))
        return 0;
    if (advance(sc) < 0)
        return -1;
    char *end = NULL;
    double s = sc->tok == T_NUMBER ? strtod(sc->s, &end) : -1;
    if (s < 0 || !end || *end || s > 86400)
        return fail(sc, "a number of seconds up to 86400 expected");
    sc->q->within_ms = (uint64_t)(s * 1000 + 0.999);
    return advance(sc);
}

/* The class that constants are read for: what all the ISAs have in common. */
static int note_class(struct scan *sc, const char *ns)
{
    const struct cim_class *c, *old = sc->q->cls;

    sc->status = cim_lookup_class(ns, sc->s, &c, sc->err);
    if (sc->status != CIM_S_OK)
        return -1;
    while (c && old && !cim_class_is_a(old, c))
        c = c->super;
    if (!c)
        return fail(sc, "the classes have no base in common; subscribe to each of them");
    sc->q->cls = c;
    return 0;
}

/* Look ahead for TargetInstance ISA 'class', which may stand anywhere. */
static int find_event_class(struct scan *sc, const char *ns)
{
    const char *p = sc->p;
    size_t at = sc->at;
    enum tok tok = sc->tok;
    vr_autofree char *s = vr_strdup(sc->s);
    int seen = 0; /* words of the phrase so far */

    while (sc->tok != T_END) {
        bool previous = false;
        if (seen == 2 && sc->tok == T_STRING && note_class(sc, ns) < 0)
            return -1;
        bool isa = seen == 1 && is_word(sc, "isa");
        bool names = sc->tok == T_WORD && event_part(sc->s, &previous) == strlen(sc->s);
        seen = isa ? 2 : names && !previous ? 1 : 0;
        if (advance(sc) < 0)
            return -1;
    }
    free(sc->s);
    sc->s = vr_take(s);
    sc->p = p;
    sc->at = at;
    sc->tok = tok;
    return 0;
}

static int parse_event(struct scan *sc, const char *ns)
{
    struct cim_query *q = sc->q;

    q->kind = CIM_Q_EVENT;
    if (advance(sc) < 0 || expect_word(sc, "select") < 0 || parse_columns(sc) < 0 ||
        expect_word(sc, "from") < 0 || parse_event_class(sc) < 0 || parse_within(sc) < 0)
        return -1;
    if (is_word(sc, "where")) {
        q->has_where = true;
        if (advance(sc) < 0 || find_event_class(sc, ns) < 0 || parse_or(sc, &q->root) < 0)
            return -1;
    }
    return sc->tok == T_END ? 0 : fail(sc, "end of the query expected");
}

static int parse_statement(struct scan *sc, const char *ns)
{
    if (advance(sc) < 0)
        return -1;
    if (is_word(sc, "select")) {
        sc->q->kind = CIM_Q_SELECT;
        return parse_select(sc, ns);
    }
    if (!is_word(sc, "associators") && !is_word(sc, "references"))
        return fail(sc, "SELECT, ASSOCIATORS or REFERENCES expected");
    sc->q->kind = is_word(sc, "references") ? CIM_Q_REFERENCES : CIM_Q_ASSOCIATORS;
    return parse_walk(sc, ns);
}

static enum cim_status parse(const char *ns, const char *text,
                             int (*statement)(struct scan *, const char *), struct cim_query **ret,
                             struct vr_err *err)
{
    vr_auto(cim_query_free) struct cim_query *q = vr_new(struct cim_query);
    struct scan sc = { .text = text, .p = text, .q = q, .err = err };

    if (strnlen(text, CIM_QUERY_LEN_MAX) == CIM_QUERY_LEN_MAX)
        return cim_fault(CIM_S_BAD_QUERY, err, "query longer than %d bytes", CIM_QUERY_LEN_MAX);
    int rc = statement(&sc, ns);
    free(sc.s);
    if (rc < 0)
        return sc.status;
    *ret = vr_take(q);
    return CIM_S_OK;
}

enum cim_status cim_query_parse(const char *ns, const char *text, struct cim_query **ret,
                                struct vr_err *err)
{
    return parse(ns, text, parse_statement, ret, err);
}

enum cim_status cim_query_parse_event(const char *ns, const char *text, struct cim_query **ret,
                                      struct vr_err *err)
{
    return parse(ns, text, parse_event, ret, err);
}

void cim_query_free(struct cim_query *q)
{
    if (!q)
        return;
    for (size_t i = 0; i < q->n_nodes; i++) {
        free(q->nodes[i].prop);
        free(q->nodes[i].text);
        cim_value_clear(&q->nodes[i].value);
    }
    for (size_t i = 0; i < q->n_cols; i++)
        free(q->cols[i]);
    free(q->cols);
    free(q->nodes);
    cim_path_free(q->path);
    free(q->assoc_class);
    free(q->result_class);
    free(q->role);
    free(q->result_role);
    free(q);
}
