/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Look-ups in the constant class tables. Any thread.
 * The tables are sorted by name without case, so a class is found by bisection; properties and
 * methods keep class order and are searched one by one (the longest class has under 100). */
#include "cim/class.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const type_names[] = {
    [CIM_BOOLEAN] = "boolean",   [CIM_UINT8] = "uint8",       [CIM_SINT8] = "sint8",
    [CIM_UINT16] = "uint16",     [CIM_SINT16] = "sint16",     [CIM_UINT32] = "uint32",
    [CIM_SINT32] = "sint32",     [CIM_UINT64] = "uint64",     [CIM_SINT64] = "sint64",
    [CIM_REAL32] = "real32",     [CIM_REAL64] = "real64",     [CIM_CHAR16] = "char16",
    [CIM_STRING] = "string",     [CIM_DATETIME] = "datetime", [CIM_REFERENCE] = "reference",
    [CIM_INSTANCE] = "instance",
};

const struct cim_class *cim_class_get(enum cim_class_id id)
{
    return &cim_classes[id];
}

const struct cim_class *cim_class_find(const char *name)
{
    size_t lo = 0, hi = CIM_CLASS_COUNT;

    while (name && lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = strcasecmp(name, cim_classes[mid].name);
        if (c == 0)
            return &cim_classes[mid];
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

const struct cim_class *cim_class_find_in(const char *ns, const char *name)
{
    const struct cim_class *c = cim_class_find(name);

    return c && (!ns || cim_ns_equal(ns, c->ns)) ? c : NULL;
}

bool cim_class_is_a(const struct cim_class *c, const struct cim_class *base)
{
    for (; c; c = c->super)
        if (c == base)
            return true;
    return false;
}

bool cim_class_is(const struct cim_class *c, const char *base)
{
    const struct cim_class *b = cim_class_find(base);

    return b && cim_class_is_a(c, b);
}

static int ns_char(char c)
{
    if (c == '\\')
        return '/';
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

bool cim_ns_equal(const char *a, const char *b)
{
    for (; *a && ns_char(*a) == ns_char(*b); a++, b++)
        ;
    return !*a && !*b;
}

bool cim_ns_known(const char *ns)
{
    for (size_t i = 0; i < CIM_CLASS_COUNT; i++)
        if (cim_ns_equal(cim_classes[i].ns, ns))
            return true;
    return false;
}

int cim_class_prop(const struct cim_class *c, const char *name)
{
    for (size_t i = 0; i < c->n_props; i++)
        if (strcasecmp(c->props[i].name, name) == 0)
            return (int)i;
    return -1;
}

const struct cim_method *cim_class_method(const struct cim_class *c, const char *name)
{
    for (size_t i = 0; i < c->n_methods; i++)
        if (strcasecmp(c->methods[i].name, name) == 0)
            return &c->methods[i];
    return NULL;
}

int cim_method_index(const struct cim_class *c, const struct cim_method *m)
{
    return (int)(m - c->methods);
}

int cim_method_param(const struct cim_method *m, const char *name)
{
    for (size_t i = 0; i < m->n_params; i++)
        if (strcasecmp(m->params[i].name, name) == 0)
            return (int)i;
    return -1;
}

/* "7", "11..32767", "0x8000.." or "..5"; ".." alone takes everything. */
static bool code_matches(const char *spec, uint64_t code)
{
    const char *dots = strstr(spec, "..");
    char *end;
    uint64_t lo = strtoull(spec, &end, 0);

    if (!dots)
        return end != spec && *end == 0 && lo == code;
    if (dots == spec)
        lo = 0;
    uint64_t hi = dots[2] ? strtoull(dots + 2, NULL, 0) : UINT64_MAX;
    return code >= lo && code <= hi;
}

const char *cim_map_text(const struct cim_valuemap *m, uint64_t code)
{
    if (!m || !m->texts)
        return NULL;
    for (size_t i = 0; i < m->n; i++)
        if (code_matches(m->codes[i], code))
            return m->texts[i];
    return NULL;
}

const char *cim_prop_text(const struct cim_class *c, const char *prop, uint64_t code)
{
    int i = cim_class_prop(c, prop);

    return i < 0 ? NULL : cim_map_text(c->props[i].map, code);
}

const char *cim_type_name(enum cim_type t)
{
    return type_names[t];
}

int cim_type_find(const char *name)
{
    for (size_t i = 0; i < sizeof type_names / sizeof *type_names; i++)
        if (strcasecmp(type_names[i], name) == 0)
            return (int)i;
    return -1;
}

bool cim_type_is_unsigned(enum cim_type t)
{
    return t == CIM_UINT8 || t == CIM_UINT16 || t == CIM_UINT32 || t == CIM_UINT64 ||
           t == CIM_CHAR16;
}

bool cim_type_is_signed(enum cim_type t)
{
    return t == CIM_SINT8 || t == CIM_SINT16 || t == CIM_SINT32 || t == CIM_SINT64;
}

unsigned cim_type_bits(enum cim_type t)
{
    switch (t) {
    case CIM_UINT8:
    case CIM_SINT8:
        return 8;
    case CIM_UINT16:
    case CIM_SINT16:
    case CIM_CHAR16:
        return 16;
    case CIM_UINT32:
    case CIM_SINT32:
        return 32;
    case CIM_UINT64:
    case CIM_SINT64:
        return 64;
    default:
        return 0;
    }
}
