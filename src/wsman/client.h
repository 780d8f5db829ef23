/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_WSMAN_CLIENT_H
#define VR_WSMAN_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

/* A small blocking WS-Management client for command-line programs and tests. One connection, kept
 * open between calls and made again when the server has closed it. Not thread-safe. Values are text
 * as on the wire: integers decimal, booleans true/false, datetimes as the 25 characters of CIM. */

#define WSMC_NS_VIRT "root/virtualization/v2"
#define WSMC_NS_OURS "root/vmreplica/v1"

/* Where the server is and how to show who we are. All strings are copied. */
struct wsmc_target {
    const char *unix_path; /* the local socket; or NULL and the following */
    const char *host;
    uint16_t port;                  /* 0: 5986, or 5985 with Kerberos */
    const char *cert_pem, *key_pem; /* own certificate, or NULL */
    const char *ca_pem;             /* trusted issuers; NULL: those of the system */
    const char *pin;             /* SHA-256 of the server's certificate; then no issuer is asked */
    const char *user, *password; /* Basic, over TLS only; or NULL */
    bool kerberos;  /* HTTP with the ticket cache of the caller; no TLS, the above unused */
    int timeout_ms; /* of each connecting, sending, receiving; 0: 60000 */
};

struct wsmc;

/* wsmc_new() - a client; connects with the first call. Errors: VR_E_INVAL incomplete target. */
int wsmc_new(const struct wsmc_target *t, struct wsmc **ret, struct vr_err *err);
/* wsmc_free() - close and free. NULL is fine. */
void wsmc_free(struct wsmc *c);
VR_DEFINE_CLEANUP(struct wsmc, wsmc_free)

/* ---- results ---- */

struct wsmc_inst;

/* One property or out parameter. */
struct wsmc_prop {
    char *name;
    bool is_nil; /* NULL (a NULL array too); then n is 0 */
    size_t n;    /* values: 1 for a scalar; arrays as many as there are, absent when empty */
    char **v;    /* text of each; of a reference its object path; "" for an embedded object */
    struct wsmc_inst **inst; /* of each: embedded object, or NULL; the array itself may be NULL */
    char **ref_id;           /* of each: for a reference the value of its last key, else NULL; the
                                array may be NULL. For a job: its InstanceID */
};

/* An instance, or the out parameters of a method. */
struct wsmc_inst {
    char *cls;
    struct wsmc_prop *props;
    size_t n;
};

/* wsmc_inst_free() - NULL is fine. */
void wsmc_inst_free(struct wsmc_inst *in);
VR_DEFINE_CLEANUP(struct wsmc_inst, wsmc_inst_free)
/* wsmc_prop() - property by name in any case, NULL if there is none (or an empty array). */
const struct wsmc_prop *wsmc_prop(const struct wsmc_inst *in, const char *name);
/* wsmc_str() - first value, NULL if NULL or absent. wsmc_uint() - as a number, @dflt if not one.
 * wsmc_bool() - "true" in any case. */
const char *wsmc_str(const struct wsmc_inst *in, const char *name);
uint64_t wsmc_uint(const struct wsmc_inst *in, const char *name, uint64_t dflt);
bool wsmc_bool(const struct wsmc_inst *in, const char *name);

struct wsmc_list {
    struct wsmc_inst **v;
    size_t n;
};
/* wsmc_list_done() - free all instances; the list is empty afterwards. */
void wsmc_list_done(struct wsmc_list *l);
#define wsmc_autolist __attribute__((cleanup(wsmc_list_done)))

/* ---- naming ---- */

struct wsmc_key {
    const char *name, *value;
};
/* An instance by class and keys. Any subset of keys that is unambiguous will do, also none for a
 * class with one instance. */
struct wsmc_ref {
    const char *ns;  /* NULL: WSMC_NS_VIRT */
    const char *cls; /* NULL: path is used */
    const struct wsmc_key *keys;
    size_t n_keys;
    const char *path; /* object path, as results have it; its keys must not be references */
};

/* ---- calls ---- Errors of all: VR_E_PEER no connection, VR_E_TIMEOUT, VR_E_AUTH not recognised or
 * the server is not who it should be, VR_E_PROTO an answer that cannot be read, VR_E_LIMIT too
 * long; a fault becomes the kind of its subcode (VR_E_NOTFOUND, VR_E_DENIED, VR_E_INVAL,
 * VR_E_BUSY...) with the server's text. */

/* wsmc_identify() - vendor, version ("" when we are not recognised) and protocol as properties
 * ProductVendor, ProductVersion, ProtocolVersion. The caller frees. */
int wsmc_identify(struct wsmc *c, struct wsmc_inst **ret, struct vr_err *err);
/* wsmc_get() - read one instance; the caller frees. */
int wsmc_get(struct wsmc *c, const struct wsmc_ref *ref, struct wsmc_inst **ret,
             struct vr_err *err);
/* wsmc_enumerate() - all instances of a class and of those derived from it. @ns NULL: WSMC_NS_VIRT.
 * Appends to @ret, also wsmc_query(). */
int wsmc_enumerate(struct wsmc *c, const char *ns, const char *cls, struct wsmc_list *ret,
                   struct vr_err *err);
/* wsmc_query() - what a WQL query finds. */
int wsmc_query(struct wsmc *c, const char *ns, const char *wql, struct wsmc_list *ret,
               struct vr_err *err);

/* wsmc_subscribe() - to the events of a WQL query; what was before is not told.
 * @beat_s:      a Pull without an event ends after this many seconds
 * @ret_context: for the functions below; the caller frees. Lives for a day. */
int wsmc_subscribe(struct wsmc *c, const char *ns, const char *wql, unsigned beat_s,
                   char **ret_context, struct vr_err *err);
/* wsmc_pull() - wait for events. Appends them to @ret as instances with embedded objects
 * TargetInstance and PreviousInstance; nothing when there was none in time; one of class
 * DroppedEvents where some were lost. Errors also VR_E_INVAL: the subscription is over. */
int wsmc_pull(struct wsmc *c, const char *ns, const char *context, struct wsmc_list *ret,
              struct vr_err *err);
/* wsmc_unsubscribe() - end it. */
int wsmc_unsubscribe(struct wsmc *c, const char *ns, const char *context, struct vr_err *err);

/* An argument of a method; leave out what shall be NULL. */
struct wsmc_arg {
    const char *name;
    const char *value;       /* text; also embedded instances (CIM-XML), references as paths */
    const char *const *many; /* or several values of an array: n of them */
    size_t n;
    const struct wsmc_ref *ref; /* or a reference */
};

/* wsmc_invoke() - call a method.
 * @ret:     the return value of the method: 0, 4096 or an error of contract.md B.0; a refusal of
 * the method is no error here
 * @ret_out: out parameters as properties (may be NULL); the caller frees */
int wsmc_invoke(struct wsmc *c, const struct wsmc_ref *ref, const char *method,
                const struct wsmc_arg *args, size_t n_args, uint32_t *ret,
                struct wsmc_inst **ret_out, struct vr_err *err);
/* wsmc_job_id() - InstanceID of the job in out parameter Job; NULL if there is none. */
const char *wsmc_job_id(const struct wsmc_inst *out);

/* wsmc_put() - change properties of one instance: those in @args, the others stay. @ret: the
 * instance afterwards, may be NULL; the caller frees. */
int wsmc_put(struct wsmc *c, const struct wsmc_ref *ref, const struct wsmc_arg *args, size_t n_args,
             struct wsmc_inst **ret, struct vr_err *err);

/* wsmc_cim_xml() - text of an embedded instance (CIM-XML) to properties, as wsmc_get() would give
 * them. Errors: VR_E_PROTO. The caller frees. */
int wsmc_cim_xml(const char *text, struct wsmc_inst **ret, struct vr_err *err);
/* wsmc_make_cim_xml() - the other way: an instance of @cls with these properties; the caller frees.
 * Types are written as string; the server reads values by its schema. */
char *wsmc_make_cim_xml(const char *cls, const struct wsmc_arg *props, size_t n);

#endif
