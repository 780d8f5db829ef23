/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_WSMAN_HTTP_INT_H
#define VR_WSMAN_HTTP_INT_H

#include "base/buf.h"
#include "gss/gss_krb5.h"
#include "wsman/http.h"
#include "wsman/tls.h"

/* Who may ask what, and on which sockets; no HTTP library in here. Control thread only. */

/* Who is at the other end of a connection. What is learned stays with that connection. */
struct wsm_peer {
    bool local;              /* UNIX socket */
    bool known;              /* who is valid */
    bool checked;            /* the certificate was looked at */
    unsigned roles;          /* how often the table of roles became another one */
    uint32_t uid;            /* of the UNIX socket */
    char address[64];        /* numeric, or "local" */
    struct wsm_identity who; /* of the socket or the certificate */
    char *basic;             /* Authorization header that was accepted on this connection */
    struct wsm_identity basic_who;
    struct vr_gss *gss; /* Kerberos context that was accepted on this connection */
    struct wsm_identity gss_who;
    struct vr_gss *pending; /* one that needs more tokens */
    unsigned legs;          /* tokens since the last that was accepted */
};

/* wsm_peer_local() - fill @p from the credentials of a connected UNIX socket. */
void wsm_peer_local(struct wsm_peer *p, int fd, const struct wsm_auth *auth);
/* wsm_peer_certificate() - look the thumbprint (NULL: no certificate) up, once. */
void wsm_peer_certificate(struct wsm_peer *p, const struct wsm_auth *auth, const char *thumb);
/* wsm_peer_again() - the table of roles is another one: look the socket's credentials up again;
 * certificate and password are looked at with the next request. */
void wsm_peer_again(struct wsm_peer *p, int fd, const struct wsm_auth *auth);
/* wsm_peer_keep_basic() / wsm_peer_keep_gss() - what was accepted replaces what was before. */
void wsm_peer_keep_basic(struct wsm_peer *p, const char *header, const struct wsm_identity *who);
void wsm_peer_keep_gss(struct wsm_peer *p, struct vr_gss *take_gss, const struct wsm_identity *who);
/* wsm_peer_drop_gss() - nobody is logged in by Kerberos any longer. */
void wsm_peer_drop_gss(struct wsm_peer *p);
/* wsm_peer_done() - wipe and free what it holds. */
void wsm_peer_done(struct wsm_peer *p);

/* wsm_basic_decode() - user and password of what follows "Basic". Returns -1 if it is nothing like
 * it. Both are owned by the caller, who wipes the password. */
int wsm_basic_decode(const char *text, char **ret_user, char **ret_password);

/* wsm_body_type_ok() - is this Content-Type one that carries an envelope? */
bool wsm_body_type_ok(const char *content_type);

/* wsm_listen_unix() / wsm_listen_tcp() - a listening socket, or -1; errors as in http.h. */
int wsm_listen_unix(const char *path, struct vr_err *err);
int wsm_listen_tcp(const char *address, uint16_t port, uint16_t *ret_port, struct vr_err *err);

#endif
