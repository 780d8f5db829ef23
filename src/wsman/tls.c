/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* TLS of the management side; the only file here that includes GnuTLS. The server's handshake is
 * made by the HTTP library: this file only asks for and reads the client's certificate. The client
 * part blocks and is for command-line programs and tests.
 * Invariant: a client session that was returned has met either the pinned certificate or one that
 * a trusted issuer gave to the host's name. */
#include "wsman/tls.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"

struct wsm_tls {
    gnutls_session_t s;
    gnutls_certificate_credentials_t cred;
};

void wsm_tls_ask_certificate(void *session)
{
    gnutls_session_t s = session;
    gnutls_certificate_server_set_request(s, GNUTLS_CERT_REQUEST);
    /* No list of issuers: callers are known by thumbprint, whoever signed them. */
    gnutls_certificate_send_x509_rdn_sequence(s, 1);
}

bool wsm_tls_peer_thumb(void *session, char ret[WSM_THUMB_SIZE])
{
    gnutls_session_t s = session;
    if (gnutls_certificate_type_get2(s, GNUTLS_CTYPE_PEERS) != GNUTLS_CRT_X509)
        return false;
    unsigned n = 0;
    const gnutls_datum_t *certs = gnutls_certificate_get_peers(s, &n);
    unsigned char digest[32];
    size_t size = sizeof digest;
    if (!certs || !n || gnutls_fingerprint(GNUTLS_DIG_SHA256, &certs[0], digest, &size))
        return false;
    for (size_t i = 0; i < sizeof digest; i++) {
        ret[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        ret[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
    ret[WSM_THUMB_SIZE - 1] = 0;
    return true;
}

static gnutls_datum_t datum(const char *s)
{
    gnutls_datum_t d = { (unsigned char *)(uintptr_t)s, (unsigned)strlen(s) };
    return d;
}

static int load_credentials(struct wsm_tls *t, const struct wsm_tls_client *c, struct vr_err *err)
{
    int rc = gnutls_certificate_allocate_credentials(&t->cred);
    if (rc)
        return vr_fail(err, VR_E_NOMEM, 0, "TLS credentials: %s", gnutls_strerror(rc));
    if (c->cert_pem && c->key_pem) {
        gnutls_datum_t cert = datum(c->cert_pem), key = datum(c->key_pem);
        rc = gnutls_certificate_set_x509_key_mem(t->cred, &cert, &key, GNUTLS_X509_FMT_PEM);
        if (rc)
            return vr_fail(err, VR_E_AUTH, 0, "own certificate and key: %s", gnutls_strerror(rc));
    }
    if (c->ca_pem) {
        gnutls_datum_t ca = datum(c->ca_pem);
        rc = gnutls_certificate_set_x509_trust_mem(t->cred, &ca, GNUTLS_X509_FMT_PEM);
        if (rc < 0)
            return vr_fail(err, VR_E_AUTH, 0, "trusted issuers: %s", gnutls_strerror(rc));
    } else if (!c->pin) {
        rc = gnutls_certificate_set_x509_system_trust(t->cred);
        if (rc < 0)
            return vr_fail(err, VR_E_AUTH, 0, "issuers of the system: %s", gnutls_strerror(rc));
    }
    return 0;
}

static bool thumb_equal(const char *pin, const char *thumb)
{
    size_t j = 0;
    for (const char *p = pin; *p; p++) {
        if (*p == ':' || *p == ' ')
            continue;
        if (j >= WSM_THUMB_SIZE - 1 || strncasecmp(p, &thumb[j], 1))
            return false;
        j++;
    }
    return j == WSM_THUMB_SIZE - 1;
}

static int check_server(struct wsm_tls *t, const struct wsm_tls_client *c, struct vr_err *err)
{
    char thumb[WSM_THUMB_SIZE];
    if (!wsm_tls_peer_thumb(t->s, thumb))
        return vr_fail(err, VR_E_AUTH, 0, "%s showed no certificate", c->host);
    if (c->pin) {
        if (!thumb_equal(c->pin, thumb))
            return vr_fail(err, VR_E_AUTH, 0,
                           "%s has another certificate than expected: its SHA-256 is %s", c->host,
                           thumb);
        return 0;
    }
    unsigned status = 0;
    int rc = gnutls_certificate_verify_peers3(t->s, c->host, &status);
    if (rc)
        return vr_fail(err, VR_E_AUTH, 0, "certificate of %s: %s", c->host, gnutls_strerror(rc));
    if (!status)
        return 0;
    gnutls_datum_t why = { NULL, 0 };
    gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &why, 0);
    vr_fail(err, VR_E_AUTH, 0, "certificate of %s (SHA-256 %s) is not trusted: %s", c->host, thumb,
            why.data ? (const char *)why.data : "");
    gnutls_free(why.data);
    return -1;
}

static int fail(int rc, const char *what, struct vr_err *err)
{
    enum vr_kind kind = rc == GNUTLS_E_TIMEDOUT || rc == GNUTLS_E_AGAIN ? VR_E_TIMEOUT : VR_E_PEER;
    return vr_fail(err, kind, 0, "%s: %s", what, gnutls_strerror(rc));
}

static int handshake(struct wsm_tls *t, int fd, const struct wsm_tls_client *c, struct vr_err *err)
{
    int rc = gnutls_init(&t->s, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL | GNUTLS_FORCE_CLIENT_CERT);
    if (!rc)
        rc = gnutls_priority_set_direct(t->s, WSM_TLS_PRIORITY, NULL);
    if (!rc)
        rc = gnutls_credentials_set(t->s, GNUTLS_CRD_CERTIFICATE, t->cred);
    if (!rc)
        rc = gnutls_server_name_set(t->s, GNUTLS_NAME_DNS, c->host, strlen(c->host));
    if (rc)
        return vr_fail(err, VR_E_AUTH, 0, "TLS set-up: %s", gnutls_strerror(rc));
    gnutls_transport_set_int(t->s, fd);
    gnutls_handshake_set_timeout(t->s, (unsigned)c->timeout_ms);
    do
        rc = gnutls_handshake(t->s);
    while (rc < 0 && rc != GNUTLS_E_AGAIN && !gnutls_error_is_fatal(rc));
    if (rc) {
        if (rc == GNUTLS_E_FATAL_ALERT_RECEIVED)
            return vr_fail(err, VR_E_AUTH, 0, "TLS handshake refused by %s: %s", c->host,
                           gnutls_alert_get_name(gnutls_alert_get(t->s)));
        return fail(rc, "TLS handshake", err);
    }
    return check_server(t, c, err);
}

int wsm_tls_connect(int fd, const struct wsm_tls_client *c, struct wsm_tls **ret,
                    struct vr_err *err)
{
    vr_auto(wsm_tls_free) struct wsm_tls *t = vr_new(struct wsm_tls);
    if (load_credentials(t, c, err) || handshake(t, fd, c, err))
        return -1;
    *ret = vr_take(t);
    return 0;
}

int wsm_tls_write(struct wsm_tls *t, const void *p, size_t n, struct vr_err *err)
{
    const char *s = p;
    while (n) {
        ssize_t k = gnutls_record_send(t->s, s, n);
        if (k == GNUTLS_E_INTERRUPTED)
            continue;
        if (k < 0)
            return fail((int)k, "send", err);
        s += k;
        n -= (size_t)k;
    }
    return 0;
}

int wsm_tls_read(struct wsm_tls *t, void *p, size_t n, size_t *ret_n, struct vr_err *err)
{
    for (;;) {
        ssize_t k = gnutls_record_recv(t->s, p, n);
        if (k >= 0) {
            *ret_n = (size_t)k;
            return 0;
        }
        if (k == GNUTLS_E_PREMATURE_TERMINATION) {
            *ret_n = 0; /* HTTP has lengths of its own, so a cut is seen */
            return 0;
        }
        if (k == GNUTLS_E_AGAIN || gnutls_error_is_fatal((int)k))
            return k == GNUTLS_E_FATAL_ALERT_RECEIVED
                       ? vr_fail(err, VR_E_AUTH, 0, "the server refused the TLS session: %s",
                                 gnutls_alert_get_name(gnutls_alert_get(t->s)))
                       : fail((int)k, "receive", err);
    }
}

void wsm_tls_free(struct wsm_tls *t)
{
    if (!t)
        return;
    if (t->s) {
        gnutls_bye(t->s, GNUTLS_SHUT_WR);
        gnutls_deinit(t->s);
    }
    if (t->cred)
        gnutls_certificate_free_credentials(t->cred);
    free(t);
}
