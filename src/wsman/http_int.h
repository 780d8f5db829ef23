/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_WSMAN_HTTP_INT_H
#define VR_WSMAN_HTTP_INT_H

#include "base/buf.h"
#include "base/clock.h"
#include "wsman/http.h"
#include "wsman/tls.h"

/* Between http_mhd.c (the library's glue) and http.c (who may ask what). Control thread only. */

/* Who is at the other end of a connection. */
struct wsm_peer {
    bool local;              /* UNIX socket */
    bool known;              /* who is valid */
    bool refused;            /* known, but nobody we serve */
    bool checked;            /* the certificate was looked at */
    char address[64];        /* numeric, or "local" */
    struct wsm_identity who; /* of the socket or the certificate */
    char *basic;             /* Authorization header that was accepted on this connection */
    struct wsm_identity basic_who;
};

/* wsm_peer_local() - fill @p from the credentials of a connected UNIX socket. */
void wsm_peer_local(struct wsm_peer *p, int fd, const char *admin_group);
/* wsm_peer_certificate() - look the thumbprint (NULL: no certificate) up, once. */
void wsm_peer_certificate(struct wsm_peer *p, const struct wsm_auth *auth, const char *thumb);
/* wsm_peer_done() - wipe and free what it holds. */
void wsm_peer_done(struct wsm_peer *p);

/* wsm_basic_decode() - user and password of "Basic BASE64". Returns -1 if it is nothing like it.
 * Both are owned by the caller, who wipes the password. */
int wsm_basic_decode(const char *header, char **ret_user, char **ret_password);

/* wsm_body_type_ok() - is this Content-Type one that carries an envelope? */
bool wsm_body_type_ok(const char *content_type);

/* A log line per address and second at most. */
struct wsm_throttle {
    struct {
        char address[64];
        struct mono_ms at;
        unsigned held_back;
    } slot[32];
};
/* wsm_throttle_failed() - log a refused login of @address unless one was logged within a second. */
void wsm_throttle_failed(struct wsm_throttle *t, const char *address, const struct vr_err *why);

/* wsm_listen_unix() / wsm_listen_tcp() - a listening socket, or -1; errors as in http.h. */
int wsm_listen_unix(const char *path, struct vr_err *err);
int wsm_listen_tcp(const char *address, uint16_t port, uint16_t *ret_port, struct vr_err *err);

#endif
