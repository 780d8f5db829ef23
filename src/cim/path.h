/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CIM_PATH_H
#define CIM_PATH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "cim/class.h"

/* Object paths: \\HOST\root\virtualization\v2:Class.Key="value",...  src:[contract.md section 1].
 * Not thread-safe; a path belongs to whoever holds it. */

struct cim_key {
    char *name;           /* "" when the path gave a single value without a name */
    char *text;           /* the value without quotes; NULL for a reference */
    struct cim_path *ref; /* for a key that is a reference, else NULL */
};

struct cim_path {
    char *host; /* NULL when the path names none */
    char *ns;   /* with slashes; NULL when the path names none */
    char *cls;
    struct cim_key *keys;
    size_t n_keys;
};

enum { CIM_PATH_KEYS_MAX = 16, CIM_PATH_LEN_MAX = 65536, CIM_PATH_DEPTH_MAX = 4 };

/* cim_path_new() - path without keys; @ns may be NULL. Never NULL. */
struct cim_path *cim_path_new(const char *ns, const char *cls);
/* cim_path_of() - path of an instance of @cls with its only key @value; asserts that the class has
 * one key. */
struct cim_path *cim_path_of(enum cim_class_id cls, const char *value);
/* cim_path_free() - NULL is fine. */
void cim_path_free(struct cim_path *p);
VR_DEFINE_CLEANUP(struct cim_path, cim_path_free)
/* cim_path_dup() - deep copy, NULL for NULL. */
struct cim_path *cim_path_dup(const struct cim_path *p);

/* cim_path_add() / cim_path_add_ref() - one more key, as from a selector. A key of the class that
 * is a reference but comes as text is parsed. Errors: VR_E_LIMIT too many keys, VR_E_INVAL twice
 * the same key or bad text of a reference (@take_ref is freed also on failure). */
int cim_path_add(struct cim_path *p, const char *name, const char *text, struct vr_err *err);
int cim_path_add_ref(struct cim_path *p, const char *name, struct cim_path *take_ref,
                     struct vr_err *err);

/* cim_path_parse() - an object path of any completeness: host and namespace may be missing, slashes
 * may lean either way, "Class", "Class=@" and "Class=\"value\"" are understood. A backslash in a
 * quoted value that escapes neither itself nor a quote is kept, because people forget to double
 * them. Errors: VR_E_INVAL with the position, VR_E_LIMIT. */
int cim_path_parse(const char *text, struct cim_path **ret, struct vr_err *err);
/* cim_path_fmt() - the canonical text; @host takes the place of a missing host, NULL: then there is
 * none. Keys come in the order of their names, as on the hosts that clients know. The caller
 * frees. */
char *cim_path_fmt(const struct cim_path *p, const char *host);

/* cim_path_key() - text of key @name, NULL if absent or a reference. A single value without a name
 * answers to any name. cim_path_ref() - the same for a reference. */
const char *cim_path_key(const struct cim_path *p, const char *name);
const struct cim_path *cim_path_ref(const struct cim_path *p, const char *name);
/* cim_path_class() - its class, NULL if unknown in its namespace. */
const struct cim_class *cim_path_class(const struct cim_path *p);
/* cim_path_equal() - do both name the same object? Hosts are not compared; a namespace or a key
 * name that one of them leaves out counts as equal; a class may be a superclass of the other;
 * values compare without case. */
bool cim_path_equal(const struct cim_path *a, const struct cim_path *b);

#endif
