/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Typed values. A value owns its data; the union member in use follows from the type alone, which
 * put() checks. Sizes are bounded by the readers (XML, paths), not here. */
#include "cim/value.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "cim/instance.h"
#include "cim/path.h"

void cim_value_init(struct cim_value *v, enum cim_type type, bool is_array)
{
    *v = (struct cim_value){ .type = type, .is_array = is_array, .is_null = true };
}

static void datum_done(enum cim_type type, union cim_datum *d)
{
    if (type == CIM_STRING)
        free(d->str);
    else if (type == CIM_REFERENCE)
        cim_path_free(d->ref);
    else if (type == CIM_INSTANCE)
        cim_inst_free(d->inst);
}

static union cim_datum datum_dup(enum cim_type type, const union cim_datum *d)
{
    union cim_datum to = *d;

    if (type == CIM_STRING)
        to.str = vr_strdup(d->str);
    else if (type == CIM_REFERENCE)
        to.ref = cim_path_dup(d->ref);
    else if (type == CIM_INSTANCE)
        to.inst = cim_inst_dup(d->inst);
    return to;
}

const union cim_datum *cim_value_at(const struct cim_value *v, size_t i)
{
    assert(i < v->n);
    return v->is_array ? &v->many[i] : &v->one;
}

void cim_value_clear(struct cim_value *v)
{
    for (size_t i = 0; i < v->n; i++)
        datum_done(v->type, v->is_array ? &v->many[i] : &v->one);
    free(v->many);
    cim_value_init(v, v->type, v->is_array);
}

void cim_value_empty(struct cim_value *v)
{
    assert(v->is_array);
    cim_value_clear(v);
    v->is_null = false;
}

/* Take over @d: the scalar, or one more element. */
static void put(struct cim_value *v, union cim_datum d)
{
    if (v->is_array) {
        if ((v->n & (v->n - 1)) == 0) /* the room doubles at each power of two */
            v->many = vr_grow(v->many, v->n ? v->n * 2 : 1, sizeof *v->many);
        v->many[v->n++] = d;
    } else {
        cim_value_clear(v);
        v->one = d;
        v->n = 1;
    }
    v->is_null = false;
}

void cim_value_copy(struct cim_value *to, const struct cim_value *from)
{
    assert(to->type == from->type && to->is_array == from->is_array);
    if (to == from)
        return;
    cim_value_clear(to);
    to->is_null = from->is_null;
    for (size_t i = 0; i < from->n; i++)
        put(to, datum_dup(from->type, cim_value_at(from, i)));
}

void cim_value_put_bool(struct cim_value *v, bool b)
{
    assert(v->type == CIM_BOOLEAN);
    put(v, (union cim_datum){ .b = b });
}

void cim_value_put_uint(struct cim_value *v, uint64_t u)
{
    assert(cim_type_is_unsigned(v->type));
    assert(cim_type_bits(v->type) == 64 || u >> cim_type_bits(v->type) == 0);
    put(v, (union cim_datum){ .u = u });
}

void cim_value_put_sint(struct cim_value *v, int64_t s)
{
    assert(cim_type_is_signed(v->type));
    put(v, (union cim_datum){ .s = s });
}

void cim_value_put_real(struct cim_value *v, double r)
{
    assert(v->type == CIM_REAL32 || v->type == CIM_REAL64);
    put(v, (union cim_datum){ .r = r });
}

void cim_value_put_str(struct cim_value *v, const char *s)
{
    assert(v->type == CIM_STRING);
    if (!s && !v->is_array)
        cim_value_clear(v);
    else
        put(v, (union cim_datum){ .str = vr_strdup(s) });
}

void cim_value_put_time(struct cim_value *v, const struct cim_datetime *d)
{
    assert(v->type == CIM_DATETIME);
    put(v, (union cim_datum){ .dt = *d });
}

void cim_value_put_ref(struct cim_value *v, const struct cim_path *p)
{
    assert(v->type == CIM_REFERENCE);
    if (!p && !v->is_array)
        cim_value_clear(v);
    else
        put(v, (union cim_datum){ .ref = cim_path_dup(p) });
}

void cim_value_put_inst(struct cim_value *v, struct cim_inst *take_inst)
{
    assert(v->type == CIM_INSTANCE && take_inst);
    put(v, (union cim_datum){ .inst = take_inst });
}

static int bad_text(const struct cim_value *v, const char *text, struct vr_err *err)
{
    unsigned bits = cim_type_bits(v->type);
    if (cim_type_is_unsigned(v->type) && v->type != CIM_CHAR16 && bits < 64)
        return vr_fail(err, VR_E_INVAL, 0, "\"%.60s\" is no %s (0 to %" PRIu64 ")", text,
                       cim_type_name(v->type), (UINT64_C(1) << bits) - 1);
    return vr_fail(err, VR_E_INVAL, 0, "\"%.60s\" is no %s", text, cim_type_name(v->type));
}

static int put_integer(struct cim_value *v, const char *text, struct vr_err *err)
{
    const char *p = text + (*text == '-' || *text == '+');
    int base = p[0] == '0' && (p[1] == 'x' || p[1] == 'X') ? 16 : 10;
    unsigned bits = cim_type_bits(v->type);
    char *end;

    /* strtoull would accept white space and wrap negative numbers. */
    if (*p < '0' || *p > '9' || strlen(p) > 20)
        return bad_text(v, text, err);
    errno = 0;
    if (cim_type_is_unsigned(v->type)) {
        uint64_t u = strtoull(p, &end, base);
        if (errno || *end || (*text == '-' && u) || (bits < 64 && u >> bits))
            return bad_text(v, text, err);
        put(v, (union cim_datum){ .u = u });
    } else {
        int64_t s = strtoll(text, &end, base), max = INT64_MAX >> (64 - bits);
        if (errno || *end || s > max || s < -max - 1)
            return bad_text(v, text, err);
        put(v, (union cim_datum){ .s = s });
    }
    return 0;
}

static int put_real(struct cim_value *v, const char *text, struct vr_err *err)
{
    char *end;
    double r = strtod(text, &end);

    if (end == text || *end)
        return bad_text(v, text, err);
    cim_value_put_real(v, r);
    return 0;
}

int cim_value_put_text(struct cim_value *v, const char *text, struct vr_err *err)
{
    struct cim_datetime d;
    vr_auto(cim_path_free) struct cim_path *p = NULL;

    switch (v->type) {
    case CIM_BOOLEAN:
        if (strcasecmp(text, "true") == 0 || strcmp(text, "1") == 0)
            cim_value_put_bool(v, true);
        else if (strcasecmp(text, "false") == 0 || strcmp(text, "0") == 0)
            cim_value_put_bool(v, false);
        else
            return bad_text(v, text, err);
        return 0;
    case CIM_STRING:
        cim_value_put_str(v, text);
        return 0;
    case CIM_DATETIME:
        if (cim_datetime_parse(text, &d, err) < 0)
            return -1;
        cim_value_put_time(v, &d);
        return 0;
    case CIM_REFERENCE:
        if (cim_path_parse(text, &p, err) < 0)
            return -1;
        put(v, (union cim_datum){ .ref = vr_take(p) });
        return 0;
    case CIM_INSTANCE:
        return vr_fail(err, VR_E_TYPE, 0, "an embedded object is needed, not text");
    case CIM_REAL32:
    case CIM_REAL64:
        return put_real(v, text, err);
    default:
        return put_integer(v, text, err);
    }
}

char *cim_value_text(const struct cim_value *v, size_t i)
{
    char dt[CIM_DATETIME_STR];

    if (v->is_null || i >= v->n)
        return NULL;
    const union cim_datum *d = cim_value_at(v, i);
    switch (v->type) {
    case CIM_BOOLEAN:
        return vr_strdup(d->b ? "true" : "false");
    case CIM_STRING:
        return vr_strdup(d->str);
    case CIM_DATETIME:
        return vr_strdup(cim_datetime_fmt(&d->dt, dt));
    case CIM_REFERENCE:
        return d->ref ? cim_path_fmt(d->ref, NULL) : NULL;
    case CIM_INSTANCE:
        return NULL;
    case CIM_REAL32:
    case CIM_REAL64:
        return vr_printf("%.17g", d->r);
    default:
        return cim_type_is_signed(v->type) ? vr_printf("%" PRId64, d->s)
                                           : vr_printf("%" PRIu64, d->u);
    }
}

static bool is_scalar(const struct cim_value *v, enum cim_type type)
{
    return !v->is_null && !v->is_array && v->type == type;
}

const char *cim_value_str(const struct cim_value *v)
{
    return is_scalar(v, CIM_STRING) ? v->one.str : NULL;
}

const struct cim_path *cim_value_ref(const struct cim_value *v)
{
    return is_scalar(v, CIM_REFERENCE) ? v->one.ref : NULL;
}

uint64_t cim_value_uint(const struct cim_value *v, uint64_t dflt)
{
    return cim_type_is_unsigned(v->type) && is_scalar(v, v->type) ? v->one.u : dflt;
}

bool cim_value_bool(const struct cim_value *v, bool dflt)
{
    return is_scalar(v, CIM_BOOLEAN) ? v->one.b : dflt;
}

bool cim_value_time(const struct cim_value *v, struct cim_datetime *ret)
{
    if (!is_scalar(v, CIM_DATETIME))
        return false;
    *ret = v->one.dt;
    return true;
}

static bool str_equal(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool datum_equal(enum cim_type t, const union cim_datum *a, const union cim_datum *b)
{
    switch (t) {
    case CIM_BOOLEAN:
        return a->b == b->b;
    case CIM_STRING:
        return str_equal(a->str, b->str);
    case CIM_DATETIME:
        return a->dt.is_interval == b->dt.is_interval && a->dt.us == b->dt.us;
    case CIM_REFERENCE:
        return a->ref && b->ref ? cim_path_equal(a->ref, b->ref) : a->ref == b->ref;
    case CIM_INSTANCE:
        return cim_inst_equal(a->inst, b->inst);
    case CIM_REAL32:
    case CIM_REAL64:
        return a->r <= b->r && a->r >= b->r;
    default:
        return cim_type_is_signed(t) ? a->s == b->s : a->u == b->u;
    }
}

bool cim_value_equal(const struct cim_value *a, const struct cim_value *b)
{
    if (a->type != b->type || a->is_array != b->is_array || a->is_null != b->is_null ||
        a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (!datum_equal(a->type, cim_value_at(a, i), cim_value_at(b, i)))
            return false;
    return true;
}

static bool is_number(enum cim_type t)
{
    return cim_type_bits(t) || t == CIM_REAL32 || t == CIM_REAL64;
}

static int order(double a, double b)
{
    return a < b ? -1 : a > b;
}

static int compare_numbers(const struct cim_value *a, const struct cim_value *b)
{
    const struct cim_value *v[2] = { a, b };
    double r[2];

    if (cim_type_is_unsigned(a->type) && cim_type_is_unsigned(b->type))
        return a->one.u < b->one.u ? -1 : a->one.u > b->one.u;
    if (cim_type_is_signed(a->type) && cim_type_is_signed(b->type))
        return a->one.s < b->one.s ? -1 : a->one.s > b->one.s;
    for (int i = 0; i < 2; i++) {
        if (cim_type_is_unsigned(v[i]->type))
            r[i] = (double)v[i]->one.u;
        else if (cim_type_is_signed(v[i]->type))
            r[i] = (double)v[i]->one.s;
        else
            r[i] = v[i]->one.r;
    }
    return order(r[0], r[1]);
}

bool cim_value_compare(const struct cim_value *a, const struct cim_value *b, int *ret)
{
    if (a->is_null || b->is_null || a->is_array || b->is_array)
        return false;
    if (is_number(a->type) && is_number(b->type)) {
        *ret = compare_numbers(a, b);
        return true;
    }
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case CIM_BOOLEAN:
        *ret = (int)a->one.b - (int)b->one.b;
        return true;
    case CIM_STRING:
        *ret = strcasecmp(a->one.str, b->one.str);
        return true;
    case CIM_DATETIME:
        *ret = a->one.dt.us < b->one.dt.us ? -1 : a->one.dt.us > b->one.dt.us;
        return a->one.dt.is_interval == b->one.dt.is_interval;
    case CIM_REFERENCE:
        *ret = 0;
        return cim_path_equal(a->one.ref, b->one.ref);
    default:
        return false;
    }
}
