/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CIM_PROVIDER_H
#define CIM_PROVIDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "cim/instance.h"

/* The seam between protocols (wsman) and what there is to manage (providers). Control thread only;
 * nothing here blocks: providers answer from snapshots and start jobs for what takes time. */

struct cim_server;
struct cim_query;

/* Outcome of an operation. The text for people is in struct vr_err. A method that was understood
 * and refused is CIM_S_OK with a return code. src:[wsman.md section 6] */
enum cim_status {
    CIM_S_OK,
    CIM_S_NO_NAMESPACE,   /* the namespace holds no class */
    CIM_S_NO_CLASS,       /* unknown class */
    CIM_S_NOT_FOUND,      /* no such instance */
    CIM_S_KEYS_MISSING,   /* selectors do not single out one instance */
    CIM_S_KEYS_AMBIGUOUS, /* all keys are there, and still fit several instances */
    CIM_S_KEYS_UNKNOWN,   /* a selector that is no key of the class */
    CIM_S_KEYS_INVALID,   /* a selector's value cannot be of its type */
    CIM_S_NO_METHOD,      /* unknown method, or one that is not offered here */
    CIM_S_PARAM_TYPE,     /* a parameter of another type */
    CIM_S_PARAM_INVALID,  /* a parameter or property that cannot be accepted at all */
    CIM_S_BAD_QUERY,      /* a filter or query that cannot be understood */
    CIM_S_DENIED,         /* the caller's role does not allow it */
    CIM_S_UNSUPPORTED,    /* known, but not offered here */
    CIM_S_LIMIT,          /* too much to answer */
    CIM_S_BUSY,           /* the object is in use by another operation */
    CIM_S_STATE,          /* the object is not in a state that allows it */
    CIM_S_FAILED,         /* anything of ours */
};

/* What a caller may do. Each role includes the ones before it. */
enum cim_role {
    CIM_ROLE_NONE,
    CIM_ROLE_READER,   /* sees everything */
    CIM_ROLE_OPERATOR, /* may also act on machines and jobs */
    CIM_ROLE_ADMIN,    /* may also change the host, pair and create or remove relationships */
};

/* Who asks; borrowed for the duration of the call. */
struct cim_caller {
    const char *name;
    enum cim_role role;
    bool is_local;
    const char *address; /* where the caller is, for logs; NULL: not known */
};

/* cim_status_name() - short name for logs. cim_status_of() - status for a failure that a provider
 * reports by kind only (VR_E_NOTFOUND, VR_E_DENIED...). */
const char *cim_status_name(enum cim_status s);
enum cim_status cim_status_of(const struct vr_err *err);

/* ---- results ---- */

/* A list of instances, owned with what is in it. */
struct cim_list {
    struct cim_inst **v;
    size_t n;
    size_t weight; /* of all that were added, by cim_inst_count() */
};
#define CIM_LIST_INIT \
    {                 \
        .v = NULL     \
    }
enum { CIM_LIST_MAX = 100000 }; /* instances in one answer */

/* cim_list_done() - free all; the list is empty afterwards. */
void cim_list_done(struct cim_list *l);
#define cim_autolist __attribute__((cleanup(cim_list_done)))

/* ---- for providers ---- */

/* Where enumerate() puts its instances. */
struct cim_sink;
/* cim_emit() - hand over one instance. Returns false when no more is wanted (an error was noted or
 * there is enough); the provider then returns CIM_S_OK at once. */
bool cim_emit(struct cim_sink *sink, struct cim_inst *take_inst);
/* For enumerate() of what there may be much of. cim_sink_at() - where to go on: 0 at the beginning,
 * later what cim_sink_pause() was told. cim_sink_pause() - asked after each piece of the work: is
 * it somebody else's turn? Then @pos (not 0) is kept, and the provider returns CIM_S_OK at once. */
size_t cim_sink_at(const struct cim_sink *sink);
bool cim_sink_pause(struct cim_sink *sink, size_t pos);
/* cim_pick() - the one instance that @path names among those that @emit hands over, or
 * CIM_S_NOT_FOUND: for get() of providers that know where to look. */
typedef void (*cim_emit_fn)(void *ctx, struct cim_sink *sink);
enum cim_status cim_pick(const struct cim_path *path, cim_emit_fn emit, void *ctx,
                         struct cim_inst **ret, struct vr_err *err);

/* What a class whose instances can be watched (cim/watch.h) says about them. */
struct cim_watchable {
    int key;          /* the string property that tells instances of the class apart */
    const int *quiet; /* properties whose change alone is no event: ages and the like */
    size_t n_quiet;
};

/* Answers for one concrete class. All members but enumerate may be NULL. ctx is the provider's.
 * Statuses other than CIM_S_OK set err. */
struct cim_provider {
    enum cim_class_id cls;
    void *ctx;
    /* all instances of exactly this class */
    enum cim_status (*enumerate)(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                 struct vr_err *err);
    /* the instance that @path names with all keys of the class, or CIM_S_NOT_FOUND. Without it
     * the enumeration is searched. */
    enum cim_status (*get)(void *ctx, const struct cim_caller *who, const struct cim_path *path,
                           struct cim_inst **ret, struct vr_err *err);
    /* call @m on @target, which exists. Reads the in parameters from @args, writes the out ones
     * there, sets *ret to the return value. Out parameters are cleared when *ret is neither 0
     * nor 4096. */
    enum cim_status (*invoke)(void *ctx, const struct cim_caller *who,
                              const struct cim_inst *target, const struct cim_method *m,
                              struct cim_args *args, uint32_t *ret, struct vr_err *err);
    /* change the writable properties of @old that @want has marked as seen */
    enum cim_status (*put)(void *ctx, const struct cim_caller *who, const struct cim_inst *old,
                           const struct cim_inst *want, struct vr_err *err);
    /* of association classes: the instances that refer to @object by one of their references; may
     * emit more than that. Without it the enumeration is filtered. */
    enum cim_status (*references)(void *ctx, const struct cim_caller *who,
                                  const struct cim_path *object, struct cim_sink *sink,
                                  struct vr_err *err);
    /* NULL: no events. Otherwise get() must be there and be content with the key named here. */
    const struct cim_watchable *watch;
};

/* cim_server_new() - a server without providers. @host: name that stands in object paths (borrowed
 * text is copied). */
struct cim_server *cim_server_new(const char *host);
void cim_server_free(struct cim_server *s);
VR_DEFINE_CLEANUP(struct cim_server, cim_server_free)
/* cim_server_host() - the name given at the start. */
const char *cim_server_host(const struct cim_server *s);
/* cim_server_register() - copy @p; one provider per class (asserted), not for abstract classes. */
void cim_server_register(struct cim_server *s, const struct cim_provider *p);
/* cim_server_has() - is there a provider for this class or for one derived from it? */
bool cim_server_has(const struct cim_server *s, const struct cim_class *c);

/* ---- for protocols ---- */

/* cim_lookup_class() - the class or why not (CIM_S_NO_NAMESPACE, CIM_S_NO_CLASS). @ns NULL: any. */
enum cim_status cim_lookup_class(const char *ns, const char *name, const struct cim_class **ret,
                                 struct vr_err *err);

/* cim_get() - the one instance that @path names; any subset of keys that singles it out will do,
 * also none for a class with one instance, and the class may be a superclass. @ret: freed by the
 * caller. Statuses: NO_NAMESPACE, NO_CLASS, KEYS_UNKNOWN, KEYS_MISSING (several fit), NOT_FOUND,
 * DENIED (role none), FAILED. */
enum cim_status cim_get(struct cim_server *s, const struct cim_caller *who,
                        const struct cim_path *path, struct cim_inst **ret, struct vr_err *err);

/* cim_enumerate() - all instances of @c and, if @deep, of classes derived from it. @keys: only
 * those that agree with the keys of this path (selector filter), NULL: all. Appends to @ret. */
enum cim_status cim_enumerate(struct cim_server *s, const struct cim_caller *who,
                              const struct cim_class *c, bool deep, const struct cim_path *keys,
                              struct cim_list *ret, struct vr_err *err);

/* Which associations to follow; a member that is NULL does not restrict. */
struct cim_assoc {
    const char *assoc_class;
    const char *result_class;
    const char *role;        /* the reference by which the association names the object itself */
    const char *result_role; /* the one by which it names the result; not for references */
};
/* cim_associators() - what is associated with @object. cim_references() - the association instances
 * themselves; there result_class restricts their class. An object that does not exist has none:
 * CIM_S_NOT_FOUND. Results that no provider knows are left out. Appends to @ret. */
enum cim_status cim_associators(struct cim_server *s, const struct cim_caller *who,
                                const struct cim_path *object, const struct cim_assoc *how,
                                struct cim_list *ret, struct vr_err *err);
enum cim_status cim_references(struct cim_server *s, const struct cim_caller *who,
                               const struct cim_path *object, const struct cim_assoc *how,
                               struct cim_list *ret, struct vr_err *err);

/* cim_query() - WQL: SELECT ... FROM class WHERE ..., ASSOCIATORS OF {path} WHERE ..., REFERENCES
 * OF {path} WHERE ... (see query.h). @ns: namespace of the request. Statuses also BAD_QUERY; err
 * then tells the position. Appends to @ret. */
enum cim_status cim_query(struct cim_server *s, const struct cim_caller *who, const char *ns,
                          const char *text, struct cim_list *ret, struct vr_err *err);

/* cim_invoke() - call @method of the instance @target. @args: made by cim_args_new() for the method
 * that cim_find_method() gave; out parameters are filled in. @ret: return value. Statuses as
 * cim_get(), also UNSUPPORTED when nobody implements it. */
enum cim_status cim_invoke(struct cim_server *s, const struct cim_caller *who,
                           const struct cim_path *target, struct cim_args *args, uint32_t *ret,
                           struct vr_err *err);
/* cim_find_method() - the method of a class: CIM_S_NO_METHOD, or as cim_lookup_class(). */
enum cim_status cim_find_method(const struct cim_path *target, const char *method,
                                const struct cim_method **ret, struct vr_err *err);

/* cim_put() - change the instance that @path names: writable properties marked as seen in @want;
 * others are ignored. @ret: the instance afterwards. UNSUPPORTED when the class takes no changes,
 * DENIED for anybody but an administrator. */
enum cim_status cim_put(struct cim_server *s, const struct cim_caller *who,
                        const struct cim_path *path, const struct cim_inst *want,
                        struct cim_inst **ret, struct vr_err *err);

#endif
