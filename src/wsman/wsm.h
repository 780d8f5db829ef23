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
    size_t envelope_bytes; /* largest request and reply; default 512000 */
    size_t contexts;       /* open enumerations in all; default 256 */
    size_t contexts_each;  /* of one caller; default 32 */
    unsigned context_s;    /* life of an enumeration between two pulls; default 300 */
};

struct wsm_request {
    const void *body;
    size_t len;
    const char *content_type;        /* value of the header, may be NULL */
    const char *user_agent;          /* value of the header, may be NULL */
    const struct cim_caller *caller; /* NULL: not known yet; only Identify is answered */
    struct mono_ms now;
};

struct wsm_reply {
    int status;               /* HTTP status; 401: the caller has to say who it is */
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

/* wsm_expire() - drop enumerations whose time is up; wsm_process() does it as well. */
void wsm_expire(struct wsm *w, struct mono_ms now);

#endif
