/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_WSMAN_HTTP_H
#define VR_WSMAN_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "cim/provider.h"

struct sd_event;
struct vr_exec;
struct wsm;
struct vr_gss_cred;
struct wsm_http;

/* Somebody who was recognised. One without a role is answered by the fault AccessDenied. */
struct wsm_identity {
    char name[264]; /* for logs and as owner of enumerations: unique per person or certificate */
    enum cim_role role;
};

/* How callers are known. All callbacks get @ctx and set @ret; those that return int answer 0, or -1
 * for "not known". A callback that is NULL switches that way off. */
struct wsm_auth {
    void *ctx;
    /* Role of a process at the UNIX socket; ret->name is filled in already ("local:UID") and may be
     * replaced. @gids: its groups, the primary one first. Control thread; must not block. */
    void (*role_of_local)(void *ctx, uint32_t uid, const unsigned *gids, size_t n,
                          struct wsm_identity *ret);
    /* Who has the client certificate with this SHA-256 thumbprint (64 lower case hex digits)?
     * Control thread; must not block. */
    int (*role_of_thumbprint)(void *ctx, const char *thumb, struct wsm_identity *ret);
    /* Is this the password of this user, and who is it? Runs on a worker of @exec and may block.
     * See wsm_pam_check() for the usual one. */
    int (*check_password)(void *ctx, const char *user, const char *password, const char *address,
                          struct wsm_identity *ret, struct vr_err *err);
    /* Who is the Kerberos principal that was proven? @local_user: the local user that it is by
     * krb5.conf, "" if none. Runs on a worker of @exec and may block. */
    int (*role_of_principal)(void *ctx, const char *principal, const char *local_user,
                             struct wsm_identity *ret);
    const struct vr_gss_cred *keys; /* of this host for Kerberos; borrowed */
    struct vr_exec *exec;           /* for passwords and Kerberos */
};

/* A member that is 0 takes its default. */
struct wsm_http_limits {
    size_t envelope_bytes;  /* of a request body; default 512000, src:[contract.md E.3] */
    size_t anonymous_bytes; /* the same before anybody is known; default 16384 */
    unsigned connections;   /* per listener; default 128 */
    /* Connections of one address, or of one local user but root; default 32. */
    unsigned per_address;
    unsigned stranger_s; /* idle_s for those who have not logged in; default 15 */
    unsigned idle_s;     /* from connecting, or the last reply, to the next header; default 75 */
    unsigned request_s;  /* from the header to the last byte of the body; default 30 */
    unsigned reply_s;    /* for taking the reply; default 60 */
    /* A failed login is answered that late, see throttle.h; default 1000. */
    unsigned failed_delay_ms;
};

/* wsm_http_new() - the HTTP side without listeners.
 * @ev:     the control thread's event loop, borrowed
 * @w:      what answers the envelopes, borrowed; must outlive the HTTP side
 * @auth:   copied; what it points to is borrowed
 * @lim:    NULL for the defaults
 * Errors: VR_E_IO when the loop refuses. Thread: control, also for all below. */
int wsm_http_new(struct sd_event *ev, struct wsm *w, const struct wsm_auth *auth,
                 const struct wsm_http_limits *lim, struct wsm_http **ret, struct vr_err *err);
/* wsm_http_free() - close listeners and connections. Waits for password checks that are running.
 * NULL is fine. */
void wsm_http_free(struct wsm_http *h);
VR_DEFINE_CLEANUP(struct wsm_http, wsm_http_free)

/* wsm_http_listen_unix() - serve a UNIX socket.
 * @path: made with mode 0666 after an old one was removed: who may do something is decided by the
 *        kernel's word about the caller and role_of_local(), not by the mode
 * Errors: VR_E_INVAL path too long, VR_E_BUSY when somebody answers there, VR_E_IO. */
int wsm_http_listen_unix(struct wsm_http *h, const char *path, struct vr_err *err);

struct wsm_tls_listen {
    const char *address;            /* numeric; NULL: all, IPv6 and IPv4 */
    uint16_t port;                  /* 5986 is WS-Management's; 0: any */
    const char *cert_pem, *key_pem; /* copied */
};
/* wsm_http_listen_tls() - serve HTTPS. @ret_port: the port in use, may be NULL.
 * Errors: VR_E_INVAL address, certificate or key, VR_E_BUSY port in use, VR_E_IO. */
int wsm_http_listen_tls(struct wsm_http *h, const struct wsm_tls_listen *l, uint16_t *ret_port,
                        struct vr_err *err);

/* wsm_http_listen_sealed() - serve HTTP for Kerberos: every body is sealed, nothing else is taken.
 * @address: numeric; NULL: all. @port: 5985 is WS-Management's; 0: any
 * Errors: VR_E_INVAL address or no keys, VR_E_BUSY port in use, VR_E_IO. */
int wsm_http_listen_sealed(struct wsm_http *h, const char *address, uint16_t port,
                           uint16_t *ret_port, struct vr_err *err);
/* wsm_http_set_keys() - keys that were not there when wsm_http_new() was called, before a listener
 * needs them; borrowed. */
void wsm_http_set_keys(struct wsm_http *h, struct vr_gss_cred *keys);

/* wsm_http_roles_changed() - the callbacks of wsm_auth have other answers from now on: whoever is
 * connected is asked about again; connections of Kerberos are closed. */
void wsm_http_roles_changed(struct wsm_http *h);

/* wsm_http_certificates_changed() - only role_of_thumbprint() has other answers: whoever is
 * connected over HTTPS is asked about again; nobody else notices. Not from within a request. */
void wsm_http_certificates_changed(struct wsm_http *h);

#endif
