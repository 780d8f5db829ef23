/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CIM_VALUE_H
#define CIM_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "cim/class.h"
#include "cim/datetime.h"

struct cim_path;
struct cim_inst;

/* One datum; which member holds it follows from the type. Unsigned integers and char16 use u,
 * signed ones s, both real types r. str, ref and inst are owned; str and ref may be NULL inside
 * arrays (VALUE.NULL). */
union cim_datum {
    bool b;
    uint64_t u;
    int64_t s;
    double r;
    char *str;
    struct cim_datetime dt;
    struct cim_path *ref;
    struct cim_inst *inst;
};

/* A typed value: NULL, one datum or an array of them. Owns everything below it. An array that is
 * not NULL may be empty. Not thread-safe; a value belongs to whoever holds it. */
struct cim_value {
    enum cim_type type;
    bool is_array;
    bool is_null;
    size_t n;            /* data held: 0 when NULL, 1 for a scalar */
    union cim_datum one; /* the scalar */
    union cim_datum *many;
};

/* cim_value_init() - make @v a NULL value of this type. Nothing is freed. */
void cim_value_init(struct cim_value *v, enum cim_type type, bool is_array);
/* cim_value_clear() - make @v NULL, freeing what it held; type and arrayness stay. */
void cim_value_clear(struct cim_value *v);
/* cim_value_copy() - replace what @to (initialised, same type and arrayness) holds by a deep copy
 * of @from. */
void cim_value_copy(struct cim_value *to, const struct cim_value *from);
/* cim_value_empty() - make an array value an empty array. */
void cim_value_empty(struct cim_value *v);

/* cim_value_put_*() - set a scalar, or append to an array (a NULL array becomes one of one
 * element). The type must fit (asserted): uint for unsigned types and char16, sint for signed
 * ones. Text is copied; NULL text or reference makes a scalar NULL and a NULL element of an array.
 * References are copied, embedded instances are taken over. */
void cim_value_put_bool(struct cim_value *v, bool b);
void cim_value_put_uint(struct cim_value *v, uint64_t u);
void cim_value_put_sint(struct cim_value *v, int64_t s);
void cim_value_put_real(struct cim_value *v, double r);
void cim_value_put_str(struct cim_value *v, const char *s);
void cim_value_put_time(struct cim_value *v, const struct cim_datetime *d);
void cim_value_put_ref(struct cim_value *v, const struct cim_path *p);
void cim_value_put_inst(struct cim_value *v, struct cim_inst *take_inst);

/* cim_value_put_text() - as the above, from text as CIM-XML, WS-Management and MOF have it:
 * booleans in any case, integers decimal or 0x..., datetimes in every form, references as object
 * paths. Errors: VR_E_TYPE for an embedded object, VR_E_INVAL for text that is none of this type
 * or out of its range. On failure @v is unchanged. */
int cim_value_put_text(struct cim_value *v, const char *text, struct vr_err *err);
/* cim_value_text() - text of element @i (0 of a scalar) in canonical form: true/false, decimal,
 * 25 character datetime, object path. The caller frees. NULL for NULL and for embedded objects. */
char *cim_value_text(const struct cim_value *v, size_t i);

/* cim_value_at() - element @i; i must be below v->n. */
const union cim_datum *cim_value_at(const struct cim_value *v, size_t i);
/* cim_value_str() / cim_value_ref() - of a scalar; NULL when it is NULL or of another type.
 * cim_value_uint() / cim_value_bool() - of a scalar, @dflt when it is NULL or of another type.
 * cim_value_time() - false when NULL or of another type. All borrowed from @v. */
const char *cim_value_str(const struct cim_value *v);
const struct cim_path *cim_value_ref(const struct cim_value *v);
uint64_t cim_value_uint(const struct cim_value *v, uint64_t dflt);
bool cim_value_bool(const struct cim_value *v, bool dflt);
bool cim_value_time(const struct cim_value *v, struct cim_datetime *ret);

/* cim_value_equal() - same type, same content; strings exactly, references as cim_path_equal(). */
bool cim_value_equal(const struct cim_value *a, const struct cim_value *b);
/* cim_value_compare() - order of two scalars that are not NULL; strings without case, numbers
 * across types, instants in time. Returns false when the two have no order (arrays, references
 * unless equal, mixed kinds). @ret: <0, 0, >0. */
bool cim_value_compare(const struct cim_value *a, const struct cim_value *b, int *ret);

#endif
