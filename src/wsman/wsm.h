/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_WSMAN_WSM_H
#define VR_WSMAN_WSM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cleanup.h"
#include "base/err.h"

struct cim_caller;
struct cim_server;
struct wsm;

/* WS-Management over the CIM service, without any HTTP: envelope in, envelope out. */

/* A member that is 0 takes its default. */
struct wsm_limits {
    size_t envelope_bytes;     /* largest request and reply; default 512000 */
    size_t contexts;           /* open enumerations in all; default 256 */
    size_t contexts_each;      /* of one caller; default 32 */
    size_t items;              /* instances in all of them, embedded ones too; default 400000. A
                                  caller has at most a quarter, with a single one a half */
    size_t invocations;        /* calls that go on in slices; default 32 */
    size_t invocations_each;   /* of one caller; default 8 */
    unsigned slice_ms;         /* how long an enumeration works before others have their turn; 5 */
    unsigned context_s;        /* life of an enumeration between two pulls; default 300 */
    size_t subscriptions;      /* in all; default 64 */
    size_t subscriptions_each; /* of one caller; default 16 */
    unsigned subscription_s;   /* life of a subscription that says nothing; default 600 */
    unsigned subscription_max_s; /* longest life between two renewals; default 86400 */
    size_t events;               /* that wait for one subscriber; default 256 */
    size_t event_bytes;          /* the same in bytes; default 524288 */
    unsigned pull_s;             /* how long a Pull that does not say waits; default 30 */
    unsigned pull_max_s;         /* how long any Pull waits at most; default 300 */
};

/* Ways in that a host may offer. src:[DSP0226 annex C] */
enum wsm_profile {
    WSM_PROFILE_HTTPS_BASIC = 1,
    WSM_PROFILE_HTTPS_MUTUAL = 2,
    WSM_PROFILE_HTTP_KERBEROS = 4,
};

struct wsm_request {
    const void *body;
    size_t len;
    const char *content_type;        /* value of the header, may be NULL */
    const char *user_agent;          /* value of the header, may be NULL */
    const struct cim_caller *caller; /* NULL: not known yet; only Identify is answered */
    unsigned profiles;               /* enum wsm_profile: what the host offers, for Identify */
    struct mono_ms now;
    /* A Pull of a subscription may have to wait for an event, a long enumeration is done in slices;
     * see struct wsm_reply. */
    const void *token;      /* names the request; must differ among those that wait. NULL: it cannot
                               wait; an enumeration is then done in one slice */
    struct mono_ms arrived; /* when it was processed first; 0: this is the first time */
};

struct wsm_reply {
    int status; /* HTTP status; 401: the caller has to say who it is; 0: there is no
                   answer yet. Then the same request with the same token is to be
                   processed again when wake() is called with its token, or at until (which may be
                   now, after others had their turn); if it goes away before, wsm_forget() */
    struct mono_ms until;
    const char *content_type; /* static; NULL when there is no body */
    struct vr_buf body;
};

/* wsm_new() - a processor with no open enumerations.
 * @svc:  the CIM server; borrowed, must outlive it; its host name goes into fault details
 * @lim:  NULL for the defaults. Thread: control, also for all below. */
struct wsm *wsm_new(struct cim_server *svc, const struct wsm_limits *lim);
/* wsm_free() - drop it with all open enumerations. NULL is fine. */
void wsm_free(struct wsm *w);
VR_DEFINE_CLEANUP(struct wsm, wsm_free)

/* wsm_process() - answer one envelope. Whatever goes wrong becomes a fault in the reply.
 * @ret: initialised by this; free with wsm_reply_done() */
void wsm_process(struct wsm *w, const struct wsm_request *rq, struct wsm_reply *ret);
/* wsm_reply_done() - free the body. */
void wsm_reply_done(struct wsm_reply *r);

/* wsm_on_wake() - whom to tell that a waiting request should be processed again. @wake may be
 * called from anywhere on the control thread and must not process it before returning. */
void wsm_on_wake(struct wsm *w, void (*wake)(void *ctx, const void *token), void *ctx);
/* wsm_forget() - the request with this token does not wait any longer. */
void wsm_forget(struct wsm *w, const void *token);

/* wsm_expire() - drop enumerations and subscriptions whose time is up; wsm_process() does it as
 * well. */
void wsm_expire(struct wsm *w, struct mono_ms now);

#endif
