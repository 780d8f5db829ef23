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
    enum wsm_scheme scheme;  /* of the token that came with the request */
    char *token;             /* to be sent back, base64 */
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
    bool closing;
};

/* wsm_in_s() - monotonic ms in @s seconds. */
int64_t wsm_in_s(unsigned s);
/* wsm_on_request() - called by the library for each piece of a request. wsm_on_completed() - when
 * the reply is out or the connection is gone. */
enum MHD_Result wsm_on_request(void *arg, struct MHD_Connection *mc, const char *url,
                               const char *method, const char *version, const char *data,
                               size_t *size, void **con_cls);
void wsm_on_completed(void *arg, struct MHD_Connection *mc, void **con_cls,
                      enum MHD_RequestTerminationCode why);
/* wsm_request_abort() - a suspended request is answered by 503 at once. */
void wsm_request_abort(struct req *rq);

#endif
