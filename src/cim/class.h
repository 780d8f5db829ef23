/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CIM_CLASS_H
#define CIM_CLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cim/cim_classes.gen.h"

/* Classes of both namespaces. The tables are constant and made from schema/ by tools/mofgen.py;
 * inherited properties and methods are already in each class. Names compare without case. */

#define CIM_NS_VIRT "root/virtualization/v2"
#define CIM_NS_OURS "root/vmreplica/v1"
#define CIM_NS_HOST "root/cimv2" /* a few classes of the host itself */

/* The order is relied on by cim_type_is_*(). */
enum cim_type {
    CIM_BOOLEAN,
    CIM_UINT8,
    CIM_SINT8,
    CIM_UINT16,
    CIM_SINT16,
    CIM_UINT32,
    CIM_SINT32,
    CIM_UINT64,
    CIM_SINT64,
    CIM_REAL32,
    CIM_REAL64,
    CIM_CHAR16,
    CIM_STRING,
    CIM_DATETIME,
    CIM_REFERENCE,
    CIM_INSTANCE, /* an embedded object, not its text */
};

enum cim_flag {
    CIM_F_ARRAY = 1 << 0,
    CIM_F_KEY = 1 << 1,
    CIM_F_WRITE = 1 << 2,
    CIM_F_DEPRECATED = 1 << 3,
    CIM_F_LOCAL = 1 << 4, /* declared or overridden by this very class */
    CIM_F_IN = 1 << 5,
    CIM_F_OUT = 1 << 6,
    CIM_F_STATIC = 1 << 7,
    CIM_F_IMPLEMENTED = 1 << 8,
};

/* Codes of an enumeration; codes[i] means texts[i]. A code may be a range ("11..32767", "0x8000..")
 * of integers or, when texts is NULL, the only strings allowed. */
struct cim_valuemap {
    const char *const *codes;
    const char *const *texts;
    size_t n;
};

struct cim_prop {
    const char *name;
    enum cim_type type;
    const char *ref_class; /* of a reference or an embedded object, else NULL */
    const char *embedded;  /* class of the instance a string holds as text, else NULL */
    const struct cim_valuemap *map;
    const char *const *def; /* default, one text per element; NULL: the default is NULL */
    size_t n_def;
    unsigned maxlen; /* characters, 0: no limit given */
    enum cim_class_id origin;
    unsigned flags;
};

struct cim_param {
    const char *name;
    enum cim_type type;
    const char *ref_class;
    const char *embedded;
    const struct cim_valuemap *map;
    unsigned flags;
};

struct cim_method {
    const char *name;
    enum cim_type type; /* of the return value */
    const struct cim_valuemap *map;
    const struct cim_param *params;
    size_t n_params;
    enum cim_class_id origin;
    unsigned flags;
};

struct cim_class {
    enum cim_class_id id;
    const char *name;
    const char *ns;
    const struct cim_class *super; /* NULL for a root */
    const char *desc;
    const struct cim_prop *props;
    size_t n_props;
    size_t n_keys;
    const struct cim_method *methods;
    size_t n_methods;
    bool is_abstract;
    bool is_association;
};

/* Indexed by enum cim_class_id. */
extern const struct cim_class cim_classes[CIM_CLASS_COUNT];

/* cim_class_get() - the class with this id; never NULL for an id below CIM_CLASS_COUNT. */
const struct cim_class *cim_class_get(enum cim_class_id id);
/* cim_class_find() - the class called @name, NULL if there is none or @name is NULL. */
const struct cim_class *cim_class_find(const char *name);
/* cim_class_find_in() - the same, but only within namespace @ns (NULL: any). */
const struct cim_class *cim_class_find_in(const char *ns, const char *name);
/* cim_class_is_a() - is @c the class @base or derived from it? */
bool cim_class_is_a(const struct cim_class *c, const struct cim_class *base);
/* cim_class_is() - the same with the name of the base; false if there is no such class. */
bool cim_class_is(const struct cim_class *c, const char *base);
/* cim_ns_equal() - same namespace? Both kinds of slashes, no case. */
bool cim_ns_equal(const char *a, const char *b);
/* cim_ns_known() - is there any class in namespace @ns? */
bool cim_ns_known(const char *ns);

/* cim_class_prop() - index of property @name, -1 if the class has none. */
int cim_class_prop(const struct cim_class *c, const char *name);
/* cim_class_method() - the method, NULL if the class has none. */
const struct cim_method *cim_class_method(const struct cim_class *c, const char *name);
/* cim_method_index() - CIM_M_class_method of a method that belongs to @c. */
int cim_method_index(const struct cim_class *c, const struct cim_method *m);
/* cim_method_param() - index of parameter @name, -1 if there is none. */
int cim_method_param(const struct cim_method *m, const char *name);

/* cim_map_text() - text of integer @code ("Replicating"), NULL if the map (may be NULL) has none.
 */
const char *cim_map_text(const struct cim_valuemap *m, uint64_t code);
/* cim_prop_text() - the same for property @prop of @c; NULL for unknown properties. */
const char *cim_prop_text(const struct cim_class *c, const char *prop, uint64_t code);

/* cim_type_name() - "uint16"; "reference"; "instance". Static text. */
const char *cim_type_name(enum cim_type t);
/* cim_type_find() - type of a name in any case. Returns -1 for unknown names. */
int cim_type_find(const char *name);
/* cim_type_is_unsigned() / cim_type_is_signed() / cim_type_bits() - of integer types; char16
 * counts as unsigned with 16 bits. Bits is 0 for all others. */
bool cim_type_is_unsigned(enum cim_type t);
bool cim_type_is_signed(enum cim_type t);
unsigned cim_type_bits(enum cim_type t);

#endif
