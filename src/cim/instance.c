/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Instances and method arguments: arrays of values laid out by the class tables. The typed setters
 * trust the caller with the index and assert the type, so a wrong pairing shows in the first
 * test that runs it. */
#include "cim/instance.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"

struct cim_inst *cim_inst_new_of(const struct cim_class *c)
{
    struct cim_inst *in = vr_new(struct cim_inst);

    in->cls = c;
    in->props = vr_new0(c->n_props, sizeof *in->props);
    in->marks = vr_new0(c->n_props, sizeof *in->marks);
    for (size_t i = 0; i < c->n_props; i++) {
        const struct cim_prop *p = &c->props[i];
        cim_value_init(&in->props[i], p->type, p->flags & CIM_F_ARRAY);
        for (size_t k = 0; p->def && k < p->n_def; k++) {
            int rc = cim_value_put_text(&in->props[i], p->def[k], NULL);
            assert(rc == 0); /* the tables are constant and tested */
            (void)rc;
        }
    }
    return in;
}

struct cim_inst *cim_inst_new(enum cim_class_id id)
{
    return cim_inst_new_of(cim_class_get(id));
}

void cim_inst_free(struct cim_inst *in)
{
    if (!in)
        return;
    for (size_t i = 0; i < in->cls->n_props; i++)
        cim_value_clear(&in->props[i]);
    free(in->props);
    free(in->marks);
    free(in);
}

struct cim_inst *cim_inst_dup(const struct cim_inst *in)
{
    if (!in)
        return NULL;
    struct cim_inst *to = cim_inst_new_of(in->cls);
    for (size_t i = 0; i < in->cls->n_props; i++)
        cim_value_copy(&to->props[i], &in->props[i]);
    memcpy(to->marks, in->marks, in->cls->n_props);
    return to;
}

struct cim_value *cim_inst_value(const struct cim_inst *in, int i)
{
    assert(i >= 0 && (size_t)i < in->cls->n_props);
    return &in->props[i];
}

/* The property, emptied, about to be set. */
static struct cim_value *fresh(struct cim_inst *in, int i)
{
    struct cim_value *v = cim_inst_value(in, i);

    cim_value_clear(v);
    in->marks[i] |= CIM_MARK_SEEN;
    return v;
}

void cim_inst_set_null(struct cim_inst *in, int i)
{
    fresh(in, i);
}

void cim_inst_set_bool(struct cim_inst *in, int i, bool b)
{
    cim_value_put_bool(fresh(in, i), b);
}

void cim_inst_set_uint(struct cim_inst *in, int i, uint64_t u)
{
    cim_value_put_uint(fresh(in, i), u);
}

void cim_inst_set_sint(struct cim_inst *in, int i, int64_t s)
{
    cim_value_put_sint(fresh(in, i), s);
}

void cim_inst_set_str(struct cim_inst *in, int i, const char *s)
{
    struct cim_value *v = fresh(in, i);

    assert(!v->is_array);
    cim_value_put_str(v, s);
}

void cim_inst_set_strf(struct cim_inst *in, int i, const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;

    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    assert(n >= 0);
    cim_inst_set_str(in, i, n >= 0 ? s : NULL);
    free(s);
}

void cim_inst_set_time(struct cim_inst *in, int i, struct wall_us t)
{
    struct cim_value *v = fresh(in, i);
    struct cim_datetime d = cim_datetime_at(t);

    assert(v->type == CIM_DATETIME);
    if (t.us)
        cim_value_put_time(v, &d);
}

void cim_inst_set_interval(struct cim_inst *in, int i, uint64_t seconds)
{
    struct cim_datetime d = cim_datetime_interval(seconds);

    cim_value_put_time(fresh(in, i), &d);
}

void cim_inst_set_ref(struct cim_inst *in, int i, const struct cim_path *p)
{
    cim_value_put_ref(fresh(in, i), p);
}

void cim_inst_set_strv(struct cim_inst *in, int i, const char *const *v, size_t n)
{
    struct cim_value *to = fresh(in, i);

    cim_value_empty(to);
    for (size_t k = 0; k < n; k++)
        cim_value_put_str(to, v[k]);
}

void cim_inst_set_uintv(struct cim_inst *in, int i, const uint64_t *v, size_t n)
{
    struct cim_value *to = fresh(in, i);

    cim_value_empty(to);
    for (size_t k = 0; k < n; k++)
        cim_value_put_uint(to, v[k]);
}

void cim_inst_add_str(struct cim_inst *in, int i, const char *s)
{
    assert(cim_inst_value(in, i)->is_array);
    cim_value_put_str(cim_inst_value(in, i), s);
    in->marks[i] |= CIM_MARK_SEEN;
}

void cim_inst_add_uint(struct cim_inst *in, int i, uint64_t u)
{
    assert(cim_inst_value(in, i)->is_array);
    cim_value_put_uint(cim_inst_value(in, i), u);
    in->marks[i] |= CIM_MARK_SEEN;
}

void cim_inst_add_inst(struct cim_inst *in, int i, struct cim_inst *take_inst)
{
    assert(cim_inst_value(in, i)->is_array);
    cim_value_put_inst(cim_inst_value(in, i), take_inst);
    in->marks[i] |= CIM_MARK_SEEN;
}

struct cim_value *cim_inst_named(const struct cim_inst *in, const char *name)
{
    int i = cim_class_prop(in->cls, name);

    return i < 0 ? NULL : &in->props[i];
}

const char *cim_inst_str(const struct cim_inst *in, int i)
{
    return cim_value_str(cim_inst_value(in, i));
}

uint64_t cim_inst_uint(const struct cim_inst *in, int i, uint64_t dflt)
{
    return cim_value_uint(cim_inst_value(in, i), dflt);
}

bool cim_inst_is_seen(const struct cim_inst *in, int i)
{
    return in->marks[i] & CIM_MARK_SEEN;
}

bool cim_inst_is_hidden(const struct cim_inst *in, int i)
{
    return in->marks[i] & CIM_MARK_HIDDEN;
}

struct cim_path *cim_inst_path(const struct cim_inst *in)
{
    struct cim_path *p = cim_path_new(in->cls->ns, in->cls->name);

    for (size_t i = 0; i < in->cls->n_props; i++) {
        const struct cim_value *v = &in->props[i];
        int rc = 0;
        if (!(in->cls->props[i].flags & CIM_F_KEY) || v->is_null)
            continue;
        if (v->type == CIM_REFERENCE) {
            rc = cim_path_add_ref(p, in->cls->props[i].name, cim_path_dup(v->one.ref), NULL);
        } else {
            vr_autofree char *text = cim_value_text(v, 0);
            rc = cim_path_add(p, in->cls->props[i].name, text, NULL);
        }
        assert(rc == 0); /* keys of a class are distinct and few */
        (void)rc;
    }
    return p;
}

static bool key_matches(const struct cim_value *v, const struct cim_key *k)
{
    if (v->is_null || v->is_array)
        return false;
    if (v->type == CIM_REFERENCE)
        return k->ref && cim_path_equal(v->one.ref, k->ref);
    if (!k->text)
        return false;
    vr_autofree char *text = cim_value_text(v, 0);
    return text && strcasecmp(text, k->text) == 0;
}

bool cim_inst_matches(const struct cim_inst *in, const struct cim_path *p)
{
    const struct cim_class *c = cim_path_class(p);

    if (!c || !(cim_class_is_a(in->cls, c) || cim_class_is_a(c, in->cls)))
        return false;
    for (size_t k = 0; k < p->n_keys; k++) {
        bool found = false;
        for (size_t i = 0; i < in->cls->n_props; i++) {
            const struct cim_prop *pr = &in->cls->props[i];
            if (!(pr->flags & CIM_F_KEY) ||
                (*p->keys[k].name && strcasecmp(pr->name, p->keys[k].name) != 0))
                continue;
            found = key_matches(&in->props[i], &p->keys[k]);
            break;
        }
        if (!found)
            return false;
    }
    return true;
}

/* Texts without case; the rest however it is spelt. */
static bool value_is(const struct cim_value *v, const struct cim_key *k)
{
    struct cim_value want;
    int order;

    if (v->is_null || v->is_array)
        return false;
    if (v->type == CIM_REFERENCE || !k->text)
        return v->type == CIM_REFERENCE && k->ref && cim_path_equal(v->one.ref, k->ref);
    cim_value_init(&want, v->type, false);
    bool same = !cim_value_put_text(&want, k->text, NULL) && cim_value_compare(v, &want, &order) &&
                order == 0;
    cim_value_clear(&want);
    return same;
}

bool cim_inst_has(const struct cim_inst *in, const struct cim_path *p)
{
    for (size_t k = 0; k < p->n_keys; k++) {
        int i = cim_class_prop(in->cls, p->keys[k].name);
        if (i < 0 || !value_is(&in->props[i], &p->keys[k]))
            return false;
    }
    return true;
}

bool cim_inst_equal(const struct cim_inst *a, const struct cim_inst *b)
{
    if (!a || !b)
        return a == b;
    if (a->cls != b->cls)
        return false;
    for (size_t i = 0; i < a->cls->n_props; i++)
        if (!cim_value_equal(&a->props[i], &b->props[i]))
            return false;
    return true;
}

/* ---- how much it is ---- */
size_t cim_inst_count(const struct cim_inst *in)
{
    size_t n = 1;

    for (size_t i = 0; i < in->cls->n_props; i++) {
        const struct cim_value *v = &in->props[i];
        for (size_t k = 0; v->type == CIM_INSTANCE && k < v->n; k++)
            n += cim_value_at(v, k)->inst ? cim_inst_count(cim_value_at(v, k)->inst) : 0;
    }
    return n;
}

size_t cim_inst_least_xml(const struct cim_inst *in)
{
    size_t bytes = 0;

    for (size_t i = 0; i < in->cls->n_props; i++) {
        const struct cim_value *v = &in->props[i];
        size_t tag = strlen(in->cls->props[i].name) + strlen("<p:/>");
        bytes += (v->is_null ? 1 : v->n) * tag;
        for (size_t k = 0; k < v->n; k++) {
            const union cim_datum *d = cim_value_at(v, k);
            if (v->type == CIM_STRING && d->str)
                bytes += strlen(d->str);
            else if (v->type == CIM_INSTANCE && d->inst)
                bytes += cim_inst_least_xml(d->inst);
        }
    }
    return bytes;
}

struct cim_args *cim_args_new(const struct cim_method *m)
{
    struct cim_args *a = vr_new(struct cim_args);

    a->method = m;
    a->v = vr_new0(m->n_params + 1, sizeof *a->v);
    for (size_t i = 0; i < m->n_params; i++)
        cim_value_init(&a->v[i], m->params[i].type, m->params[i].flags & CIM_F_ARRAY);
    return a;
}

void cim_args_free(struct cim_args *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->method->n_params; i++)
        cim_value_clear(&a->v[i]);
    free(a->v);
    free(a);
}

struct cim_value *cim_args_at(const struct cim_args *a, const char *name)
{
    int i = cim_method_param(a->method, name);

    return i < 0 ? NULL : &a->v[i];
}

const char *cim_args_str(const struct cim_args *a, const char *name)
{
    const struct cim_value *v = cim_args_at(a, name);

    return v ? cim_value_str(v) : NULL;
}

const struct cim_path *cim_args_ref(const struct cim_args *a, const char *name)
{
    const struct cim_value *v = cim_args_at(a, name);

    return v ? cim_value_ref(v) : NULL;
}

uint64_t cim_args_uint(const struct cim_args *a, const char *name, uint64_t dflt)
{
    const struct cim_value *v = cim_args_at(a, name);

    return v ? cim_value_uint(v, dflt) : dflt;
}
