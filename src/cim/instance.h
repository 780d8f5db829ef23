/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CIM_INSTANCE_H
#define CIM_INSTANCE_H

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "cim/class.h"
#include "cim/path.h"
#include "cim/value.h"

/* Instances and method arguments. Properties are addressed by the indexes of cim_classes.gen.h
 * (CIM_P_class_property). Not thread-safe; an instance belongs to whoever holds it. */

struct cim_inst {
    const struct cim_class *cls;
    struct cim_value *props; /* cls->n_props of them */
    uint8_t *marks;          /* enum cim_mark of each property */
};

enum cim_mark {
    CIM_MARK_SEEN = 1 << 0,   /* was set or present in the text it was read from */
    CIM_MARK_HIDDEN = 1 << 1, /* left out by the column list of a query */
};

/* cim_inst_new() - instance with the defaults of its class; cim_inst_new_of() by table row. */
struct cim_inst *cim_inst_new(enum cim_class_id id);
struct cim_inst *cim_inst_new_of(const struct cim_class *c);
/* cim_inst_free() - NULL is fine. cim_inst_dup() - deep copy, NULL for NULL. */
void cim_inst_free(struct cim_inst *in);
struct cim_inst *cim_inst_dup(const struct cim_inst *in);
VR_DEFINE_CLEANUP(struct cim_inst, cim_inst_free)

/* cim_inst_set_*() - replace property @i; the type must fit (asserted). NULL text, NULL reference
 * and the time "never" make it NULL. strv: @n strings, also 0. add_*: append to an array property.
 * uint serves all unsigned types and asserts that the value fits; interval is in seconds. */
void cim_inst_set_null(struct cim_inst *in, int i);
void cim_inst_set_bool(struct cim_inst *in, int i, bool b);
void cim_inst_set_uint(struct cim_inst *in, int i, uint64_t u);
void cim_inst_set_sint(struct cim_inst *in, int i, int64_t s);
void cim_inst_set_str(struct cim_inst *in, int i, const char *s);
void cim_inst_set_strf(struct cim_inst *in, int i, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void cim_inst_set_time(struct cim_inst *in, int i, struct wall_us t);
void cim_inst_set_interval(struct cim_inst *in, int i, uint64_t seconds);
void cim_inst_set_ref(struct cim_inst *in, int i, const struct cim_path *p);
void cim_inst_set_strv(struct cim_inst *in, int i, const char *const *v, size_t n);
void cim_inst_set_uintv(struct cim_inst *in, int i, const uint64_t *v, size_t n);
void cim_inst_add_str(struct cim_inst *in, int i, const char *s);
void cim_inst_add_uint(struct cim_inst *in, int i, uint64_t u);
void cim_inst_add_inst(struct cim_inst *in, int i, struct cim_inst *take_inst);

/* cim_inst_value() - property @i, to read or to change. cim_inst_named() - by name, NULL if the
 * class has none. cim_inst_str() / cim_inst_uint() - short for reading a scalar. */
struct cim_value *cim_inst_value(const struct cim_inst *in, int i);
struct cim_value *cim_inst_named(const struct cim_inst *in, const char *name);
const char *cim_inst_str(const struct cim_inst *in, int i);
uint64_t cim_inst_uint(const struct cim_inst *in, int i, uint64_t dflt);
/* cim_inst_is_seen() - was property @i set or present in the text the instance came from? What was
 * absent means "unchanged" in a modification, src:[contract.md E.1]. */
bool cim_inst_is_seen(const struct cim_inst *in, int i);
/* cim_inst_is_hidden() - did a query leave property @i out? */
bool cim_inst_is_hidden(const struct cim_inst *in, int i);

/* cim_inst_path() - path made from its keys, with namespace, without host. Never NULL. */
struct cim_path *cim_inst_path(const struct cim_inst *in);
/* cim_inst_matches() - do all keys that @p names agree with the instance? Says nothing about keys
 * that @p leaves out. Classes must be related. */
bool cim_inst_matches(const struct cim_inst *in, const struct cim_path *p);
/* cim_inst_has() - has it every property that @p names, key or not, with the value there? Says
 * nothing about the class. */
bool cim_inst_has(const struct cim_inst *in, const struct cim_path *p);
/* cim_inst_count() - 1, and as many as are embedded in it, at any depth. cim_inst_least_xml() - it
 * takes at least so many bytes as XML, whatever the style. */
size_t cim_inst_count(const struct cim_inst *in);
size_t cim_inst_least_xml(const struct cim_inst *in);
/* cim_inst_equal() - same class, all properties equal. */
bool cim_inst_equal(const struct cim_inst *a, const struct cim_inst *b);

/* Arguments of one call: a value for every parameter, in and out, all NULL at first. */
struct cim_args {
    const struct cim_method *method;
    struct cim_value *v; /* method->n_params of them */
    /* A method with a long answer goes in slices if @until_us (monotonic clock) is not 0: when that
     * is over it leaves in @at where it goes on (not 0) and is called again with the same arguments
     * and what it has put into them. If machines came or went meanwhile it begins anew. */
    int64_t until_us;
    size_t at;
    /* A method whose answer may be long stops when it takes more than @room bytes as XML (0: any
     * number) by cim_inst_least_xml(), and sets @is_full. */
    size_t room, used;
    bool is_full;
    unsigned restarts;   /* how often it began anew because machines came or went meanwhile */
    uint64_t generation; /* of the server, at the last slice */
};

/* cim_args_new() - never NULL. cim_args_free() - NULL is fine. */
struct cim_args *cim_args_new(const struct cim_method *m);
void cim_args_free(struct cim_args *a);
VR_DEFINE_CLEANUP(struct cim_args, cim_args_free)
/* cim_args_at() - the value of parameter @name, to read or to write; NULL if there is none. */
struct cim_value *cim_args_at(const struct cim_args *a, const char *name);
/* cim_args_str() / cim_args_ref() / cim_args_uint() - short for reading a scalar parameter. */
const char *cim_args_str(const struct cim_args *a, const char *name);
const struct cim_path *cim_args_ref(const struct cim_args *a, const char *name);
uint64_t cim_args_uint(const struct cim_args *a, const char *name, uint64_t dflt);

#endif
