/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_WSMAN_WSM_INT_H
#define VR_WSMAN_WSM_INT_H

#include "cim/cimxml.h"
#include "cim/scan.h"
#include "wsman/codec.h"
#include "wsman/throttle.h"
#include "wsman/wsm.h"

/* Inside the processor. Control thread only. */

struct wsm_ctx; /* an open enumeration */
struct wsm_sub; /* a subscription */
struct wsm_invocation;

struct wsm {
    struct cim_server *svc;
    struct wsm_limits lim;
    struct wsm_ctx *contexts;
    struct wsm_ctx *ended;              /* large ones that are being freed */
    struct wsm_ctx *unfinished;         /* whose instances are still being collected */
    struct wsm_invocation *invocations; /* of methods that go on */
    struct wsm_sub *subs;
    struct wsm_sub *begun; /* whose Subscribe is not answered yet */
    void (*wake)(void *ctx, const void *token);
    void *wake_ctx;
    struct wsm_kept *kept; /* wsm.c */
    size_t kept_bytes;
    struct wsm_throttle throttle; /* of log lines about refusals */
};

/* One request being answered. */
struct wsm_call {
    struct wsm *w;
    const struct wsm_request *rq;
    struct wsm_msg msg;
    struct wsm_fault fault;
    struct vr_xmlw out; /* writes the content of the reply's Body */
    size_t room;        /* bytes that the content may have */
    bool has_estimate;  /* of the number of items, for a header */
    size_t estimate;
    struct cim_path *epr; /* of the instance, for a header; NULL: not wanted */
    enum wsm_style epr_style;
    bool eventing;        /* declare the prefix e */
    struct mono_ms until; /* not 0: nothing to say yet */
};

/* Operations: write the reply's content, or set the fault and return -1. The prefixes s, a, w, n, x
 * (transfer) are declared around the content. */
int wsm_op_get(struct wsm_call *c);
int wsm_op_put(struct wsm_call *c);
int wsm_op_invoke(struct wsm_call *c);
int wsm_op_enumerate(struct wsm_call *c);
int wsm_op_pull(struct wsm_call *c);
int wsm_op_release(struct wsm_call *c);
int wsm_op_subscribe(struct wsm_call *c);
int wsm_op_renew(struct wsm_call *c);
int wsm_op_status(struct wsm_call *c);
int wsm_op_unsubscribe(struct wsm_call *c);

/* How much a Pull or Enumerate wants. */
struct wsm_want {
    size_t items, bytes;
    uint64_t wait_ms; /* MaxTime; 0 when not given */
};
/* wsm_read_want() - from the children of @el; MaxElements is in namespace @ns. */
int wsm_read_want(struct wsm_call *c, const struct vr_xml *el, const char *ns,
                  struct wsm_want *ret);
/* wsm_sub_pull() - Pull with the context @id if it is one of the caller's subscriptions.
 * Returns 1 if it is none, else as the operations. */
int wsm_sub_pull(struct wsm_call *c, const char *id, const struct wsm_want *want);
/* wsm_sub_release() - end it; 1 if it is none of the caller's. */
int wsm_sub_release(struct wsm_call *c, const char *id);
/* wsm_subs_expire() - drop those whose time is up. wsm_subs_drop() - those that only begin. */
void wsm_subs_expire(struct wsm *w, struct mono_ms now);
void wsm_subs_drop(struct wsm *w);

/* wsm_kept_forget() - the parsed request with this token; NULL: all. */
void wsm_kept_forget(struct wsm *w, const void *token);
/* wsm_invocations_forget() - the one that the request with this token began; NULL: all. */
void wsm_invocations_forget(struct wsm *w, const void *token);

/* What answers an Enumerate. */
struct wsm_answer {
    struct cim_scan *scan;
    bool by_class;        /* all are of the class of the resource, or of one below it */
    bool fragments, bare; /* shown as w:XmlFragment; its elements are in no namespace */
    unsigned sys;         /* and has these: enum cim_syscol */
};
/* wsm_filter() - what answers the filter of an Enumerate (NULL: none) over a resource; the scan is
 * the caller's.
 * @deep: also classes derived from that of the resource */
int wsm_filter(struct wsm_call *c, const struct wsm_resource *r, const struct vr_xml *filter,
               bool deep, struct wsm_answer *ret);

/* Class definitions that an Enumerate lists. */
struct wsm_schema {
    const struct cim_class **v;
    size_t n;
    struct cim_xml_class_opts how;
    bool paths;      /* with their endpoint references */
    bool names_only; /* nothing but these */
};
/* wsm_schema_get() - the operation Get of a class definition. */
int wsm_schema_get(struct wsm_call *c, const struct wsm_resource *r);
/* wsm_schema_list() - which classes an Enumerate over the resource, which is that of class
 * definitions, is about; free with wsm_schema_done(). */
int wsm_schema_list(struct wsm_call *c, const struct wsm_resource *r, const struct vr_xml *filter,
                    struct wsm_schema *ret);
void wsm_schema_done(struct wsm_schema *s);
/* wsm_schema_put() - class @i as definition (@object), endpoint reference (@epr) or both, unless
 * its options say otherwise. */
void wsm_schema_put(struct vr_xmlw *w, const struct wsm_schema *s, size_t i, bool object, bool epr,
                    bool addr10);

enum { WSM_SPACES_MAX = 3 };
/* Namespaces below another. */
struct wsm_spaces {
    enum wsm_style style;
    const char *of; /* the other one is the beginning of this, static */
    size_t of_len;
    struct {
        const char *name; /* static */
        size_t len;
    } v[WSM_SPACES_MAX];
    size_t n;
};
/* wsm_is_spaces() - is the resource the class __NAMESPACE of a namespace? */
bool wsm_is_spaces(const struct wsm_resource *r);
/* wsm_spaces_list() - which namespaces an Enumerate over that resource is about.
 * wsm_spaces_put() - namespace @i as instance (@object), endpoint reference (@epr) or both.
 * wsm_spaces_get() - the operation Get. */
int wsm_spaces_list(struct wsm_call *c, const struct wsm_resource *r, const struct vr_xml *filter,
                    struct wsm_spaces *ret);
void wsm_spaces_put(struct vr_xmlw *w, const struct wsm_spaces *s, size_t i, bool object, bool epr,
                    bool addr10);
int wsm_spaces_get(struct wsm_call *c, const struct wsm_resource *r);

/* wsm_call_resource() - the resource of the request; free with wsm_resource_done(). */
int wsm_call_resource(struct wsm_call *c, struct wsm_resource *ret);
/* wsm_call_option() - an option of the OptionSet that is true or false; @dflt if it is not there.
 */
bool wsm_call_option(const struct wsm_call *c, const char *name, bool dflt);
/* wsm_call_enc() - how to write for this client. */
struct wsm_enc wsm_call_enc(const struct wsm_call *c, enum wsm_style style);
/* wsm_contexts_forget() - the request with this token does not go on. */
void wsm_contexts_forget(struct wsm *w, const void *token);
/* wsm_contexts_drop() - forget all open enumerations. */
void wsm_contexts_drop(struct wsm *w);

#endif
