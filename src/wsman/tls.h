/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_WSMAN_TLS_H
#define VR_WSMAN_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/err.h"

/* What the management side needs of TLS: the caller's certificate on the server, and a small
 * blocking client. Identity is the SHA-256 thumbprint of a certificate: 64 lower case hex digits.
 */
enum { WSM_THUMB_SIZE = 65 };

/* Protocols of the management port: TLS 1.3, and 1.2 for older Windows, src:[wsman.md 7]. */
#define WSM_TLS_PRIORITY "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE"

/* wsm_tls_ask_certificate() - ask the client of a server session for a certificate without
 * demanding one. @session: a gnutls_session_t before its handshake. */
void wsm_tls_ask_certificate(void *session);
/* wsm_tls_peer_thumb() - thumbprint of the other side's certificate.
 * @session: a gnutls_session_t after its handshake (possession of the key was proven by it)
 * Returns false if there is none. */
bool wsm_tls_peer_thumb(void *session, char ret[WSM_THUMB_SIZE]);

/* How a client meets a server. Strings are borrowed for the call. */
struct wsm_tls_client {
    const char *host;               /* name for the certificate check and SNI */
    const char *cert_pem, *key_pem; /* own identity, both or none */
    const char *ca_pem;             /* trusted issuers; NULL: those of the system */
    const char *pin;                /* SHA-256 thumbprint of the server; then no issuer is asked */
    int timeout_ms;                 /* of the handshake */
};

struct wsm_tls;

/* wsm_tls_connect() - handshake over a connected socket.
 * @fd: stays with the caller, must outlive the session
 * Errors: VR_E_AUTH when the server is not the one wanted (the message has its thumbprint) or bad
 * own credentials, VR_E_TIMEOUT, VR_E_PEER. Thread: any; blocks. */
int wsm_tls_connect(int fd, const struct wsm_tls_client *c, struct wsm_tls **ret,
                    struct vr_err *err);
/* wsm_tls_write() - send all @n bytes. Errors: VR_E_PEER, VR_E_TIMEOUT. Blocks. */
int wsm_tls_write(struct wsm_tls *t, const void *p, size_t n, struct vr_err *err);
/* wsm_tls_read() - receive 1..@n bytes; *ret_n 0 at the end. Errors: VR_E_PEER, VR_E_TIMEOUT. */
int wsm_tls_read(struct wsm_tls *t, void *p, size_t n, size_t *ret_n, struct vr_err *err);
/* wsm_tls_free() - say goodbye and free the session. NULL is fine. */
void wsm_tls_free(struct wsm_tls *t);
VR_DEFINE_CLEANUP(struct wsm_tls, wsm_tls_free)

#endif
