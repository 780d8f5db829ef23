/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_WSMAN_HTTP_MHD_H
#define VR_WSMAN_HTTP_MHD_H

#include <microhttpd.h>
#include <systemd/sd-event.h>

#include "wsman/http_gss.h"
#include "wsman/http_int.h"
#include "wsman/http_login.h"

/* What the files that know the HTTP library share; the only header that includes the library's.
 * http_mhd.c has listeners and connections, http_request.c what happens to one request. Control
 * thread only. */

enum wsm_listener_kind { LISTENER_LOCAL, LISTENER_TLS, LISTENER_SEALED };

struct listener;

struct conn {
    struct conn *next, **prev;
    struct listener *l;
    struct MHD_Connection *mc;
    int fd;
    int64_t deadline; /* monotonic ms; INT64_MAX none */
    struct wsm_peer peer;
};

enum auth_state { AUTH_NONE, AUTH_RUNNING, AUTH_MORE, AUTH_GOOD, AUTH_BAD };

struct req {
    struct req *next, **prev; /* in http.suspended */
    struct conn *c;
    struct vr_buf body;
    unsigned status; /* refused already with this */
    bool close;      /* the connection ends with the reply */
    enum auth_state auth;
    struct wsm_login *login; /* running for us */
    struct wsm_identity who; /* of a password */
    unsigned roles;          /* peer.roles when the password began to be checked */
    enum wsm_scheme scheme;  /* of the token that came with the request */
    char *token;             /* to be sent back, base64 */
    struct wsm_held *held;   /* the envelope, while it waits for an event */
};

/* An envelope in the clear, wherever it came from, and how the reply has to travel. */
struct wsm_envelope {
    const struct vr_buf *body;
    const char *type;
    const struct wsm_identity *who; /* NULL: nobody we know */
    struct vr_gss *gss;             /* seals the reply, or NULL */
    enum wsm_protocol protocol;
};

struct listener {
    struct listener *next;
    struct wsm_http *h;
    struct MHD_Daemon *d;
    enum wsm_listener_kind kind;
    sd_event_source *io, *timer;
    struct conn *conns;
    int64_t next_reap; /* monotonic ms */
    char *path;        /* of a UNIX socket */
};

struct wsm_http {
    sd_event *ev;
    struct wsm *wsm;
    struct wsm_auth auth;
    struct wsm_http_limits lim;
    struct wsm_logins *logins;
    struct listener *listeners;
    struct req *suspended;
    sd_event_source *woken; /* some of them need not wait for an event any longer */
    bool closing;
};

/* wsm_in_s() - monotonic ms in @s seconds. */
int64_t wsm_in_s(unsigned s);
/* wsm_idle_deadline() - until when a connection may wait for its next request. */
int64_t wsm_idle_deadline(const struct conn *c);
/* wsm_listener_run() - let the library do what is to be done now. */
void wsm_listener_run(struct listener *l);
/* wsm_on_request() - called by the library for each piece of a request. wsm_on_completed() - when
 * the reply is out or the connection is gone. */
enum MHD_Result wsm_on_request(void *arg, struct MHD_Connection *mc, const char *url,
                               const char *method, const char *version, const char *data,
                               size_t *size, void **con_cls);
void wsm_on_completed(void *arg, struct MHD_Connection *mc, void **con_cls,
                      enum MHD_RequestTerminationCode why);
/* wsm_request_suspend() / wsm_request_resume() - until then the library does not look at it. */
void wsm_request_suspend(struct req *rq);
void wsm_request_resume(struct req *rq);

/* ---- http_wait.c: requests that wait for an event ---- */
/* wsm_wait_init() / wsm_wait_done() - with the HTTP side's beginning and end. */
int wsm_wait_init(struct wsm_http *h, struct vr_err *err);
void wsm_wait_done(struct wsm_http *h);
/* wsm_wait() - suspend until the processor wakes it or @until, keeping its envelope. False: it
 * cannot wait. */
bool wsm_wait(struct req *rq, const struct wsm_envelope *e, struct mono_ms until);
/* wsm_wait_roles_changed() - after each connection's peer has been looked at: whoever waits is
 * judged anew before it gets anything. wsm_wait_certificates_changed() - likewise, over HTTPS only.
 */
void wsm_wait_roles_changed(struct wsm_http *h);
void wsm_wait_certificates_changed(struct wsm_http *h);
/* wsm_wait_over() - is it one that waited? Then its envelope again, and since when it waits. */
bool wsm_wait_over(struct req *rq, struct wsm_envelope *ret);
struct mono_ms wsm_wait_since(const struct req *rq);
/* wsm_wait_end() - forget what it kept. */
void wsm_wait_end(struct req *rq);
/* wsm_request_abort() - a suspended request is answered by 503 at once. */
void wsm_request_abort(struct req *rq);

#endif
