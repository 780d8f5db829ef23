/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a host is to its peers: certificates, the identities made of them, and the primitives of
 * pairing, with GnuTLS. No sessions, which are in tls_gnutls.c. Any thread. */
#include "transport/tls_gnutls.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/uuid.h"
#include "transport/tls_gnutls_int.h"

#define TLS_PRIORITY \
    "SECURE128:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305"

enum {
    CERT_DAYS = 3652,
    CERT_CN_MAX = 64, /* src:[RFC 5280 appendix A.1 ub-common-name] */
};

void tls_to_hex(const uint8_t *p, size_t n, const char *digits, char *out)
{
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * n] = 0;
}

int tls_lib_fail(struct vr_err *err, enum vr_kind k, const char *what, int rc)
{
    return vr_fail(err, k, 0, "%s: %s", what, gnutls_strerror(rc));
}

/* Certificates ---------------------------------------------------------------------------- */

static int take_pem(gnutls_datum_t *d, struct vr_buf *to, struct vr_err *err)
{
    int rc = vr_buf_add(to, d->data, d->size, err);
    gnutls_memset(d->data, 0, d->size);
    gnutls_free(d->data);
    return rc;
}

static int fill_cert(gnutls_x509_crt_t c, gnutls_x509_privkey_t key, const char *host)
{
    time_t now = time(NULL);
    uint8_t serial[16];
    vr_random(serial, sizeof serial);
    serial[0] = (serial[0] & 0x7f) | 0x40; /* positive, full length */
    size_t cn = strlen(host);
    if (cn > CERT_CN_MAX) /* the full name is in the alternative name */
        cn = strcspn(host, ".") <= CERT_CN_MAX ? strcspn(host, ".") : CERT_CN_MAX;
    int rc;
    if ((rc = gnutls_x509_crt_set_version(c, 3)) < 0 ||
        (rc = gnutls_x509_crt_set_serial(c, serial, sizeof serial)) < 0 ||
        /* a day back: clocks differ */
        (rc = gnutls_x509_crt_set_activation_time(c, now - 86400)) < 0 ||
        (rc = gnutls_x509_crt_set_expiration_time(c, now + (time_t)CERT_DAYS * 86400)) < 0 ||
        (rc = gnutls_x509_crt_set_dn_by_oid(c, GNUTLS_OID_X520_COMMON_NAME, 0, host,
                                            (unsigned)cn)) < 0 ||
        (rc = gnutls_x509_crt_set_subject_alt_name(c, GNUTLS_SAN_DNSNAME, host,
                                                   (unsigned)strlen(host), GNUTLS_FSAN_SET)) < 0 ||
        (rc = gnutls_x509_crt_set_basic_constraints(c, 0, -1)) < 0 ||
        (rc = gnutls_x509_crt_set_key_usage(c, GNUTLS_KEY_DIGITAL_SIGNATURE)) < 0 ||
        (rc = gnutls_x509_crt_set_key_purpose_oid(c, GNUTLS_KP_TLS_WWW_SERVER, 0)) < 0 ||
        (rc = gnutls_x509_crt_set_key_purpose_oid(c, GNUTLS_KP_TLS_WWW_CLIENT, 0)) < 0 ||
        (rc = gnutls_x509_crt_set_key(c, key)) < 0)
        return rc;
    return gnutls_x509_crt_sign2(c, c, key, GNUTLS_DIG_SHA256, 0);
}

int tls_make_cert(const char *host_name, struct vr_buf *key, struct vr_buf *crt, struct vr_err *err)
{
    gnutls_x509_privkey_t k = NULL;
    gnutls_x509_crt_t c = NULL;
    gnutls_datum_t pem;
    int rc, ret = -1;
    if ((rc = gnutls_x509_privkey_init(&k)) < 0 || (rc = gnutls_x509_crt_init(&c)) < 0) {
        tls_lib_fail(err, VR_E_INTERNAL, "cannot make a certificate", rc);
        goto out;
    }
    if (key->len) {
        gnutls_datum_t have = { key->data, (unsigned)key->len };
        rc = gnutls_x509_privkey_import2(k, &have, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN);
        if (rc < 0) {
            tls_lib_fail(err, VR_E_INVAL, "the private key is unusable", rc);
            goto out;
        }
    } else {
        rc = gnutls_x509_privkey_generate(k, GNUTLS_PK_ECDSA,
                                          GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
        if (rc < 0 || (rc = gnutls_x509_privkey_export2_pkcs8(k, GNUTLS_X509_FMT_PEM, NULL,
                                                              GNUTLS_PKCS_PLAIN, &pem)) < 0) {
            tls_lib_fail(err, VR_E_INTERNAL, "cannot make a private key", rc);
            goto out;
        }
        if (take_pem(&pem, key, err) < 0)
            goto out;
    }
    if ((rc = fill_cert(c, k, host_name)) < 0 ||
        (rc = gnutls_x509_crt_export2(c, GNUTLS_X509_FMT_PEM, &pem)) < 0) {
        tls_lib_fail(err, VR_E_INTERNAL, "cannot make a certificate", rc);
        goto out;
    }
    ret = take_pem(&pem, crt, err);
out:
    gnutls_x509_crt_deinit(c);
    gnutls_x509_privkey_deinit(k);
    return ret;
}

/* Thumbprints of the first certificate. */
static int take_thumbs(struct tls_identity *id, struct vr_err *err)
{
    gnutls_datum_t pem = { (unsigned char *)id->facts.crt, (unsigned)strlen(id->facts.crt) };
    gnutls_x509_crt_t c = NULL;
    uint8_t sha1[20];
    size_t n = sizeof sha1, m = TLS_HASH;
    int rc = gnutls_x509_crt_init(&c);
    if (rc >= 0)
        rc = gnutls_x509_crt_import(c, &pem, GNUTLS_X509_FMT_PEM);
    if (rc >= 0)
        rc = gnutls_x509_crt_get_fingerprint(c, GNUTLS_DIG_SHA1, sha1, &n);
    if (rc >= 0)
        rc = gnutls_x509_crt_get_fingerprint(c, GNUTLS_DIG_SHA256, id->facts.hash, &m);
    gnutls_x509_crt_deinit(c);
    if (rc < 0)
        return tls_lib_fail(err, VR_E_INVAL, "the certificate is unusable", rc);
    tls_to_hex(id->facts.hash, TLS_HASH, "0123456789abcdef", id->facts.thumb);
    tls_to_hex(sha1, sizeof sha1, "0123456789ABCDEF", id->facts.sha1);
    return 0;
}

VR_DEFINE_CLEANUP(struct tls_identity, tls_identity_free)

int tls_identity_new(const char *crt, const char *key, struct tls_identity **ret,
                     struct vr_err *err)
{
    vr_auto(tls_identity_free) struct tls_identity *id = vr_new(struct tls_identity);
    id->facts.crt = vr_strdup(crt);
    id->facts.key = vr_strdup(key);
    if (take_thumbs(id, err) < 0)
        return -1;
    gnutls_datum_t c = { (unsigned char *)id->facts.crt, (unsigned)strlen(crt) };
    gnutls_datum_t k = { (unsigned char *)id->facts.key, (unsigned)strlen(key) };
    int rc = gnutls_certificate_allocate_credentials(&id->cred);
    if (rc < 0)
        return tls_lib_fail(err, VR_E_NOMEM, "TLS", rc);
    rc = gnutls_certificate_set_x509_key_mem2(id->cred, &c, &k, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (rc < 0)
        return tls_lib_fail(err, VR_E_INVAL, "certificate and key cannot be used together", rc);
    rc = gnutls_priority_init(&id->priority, TLS_PRIORITY, NULL);
    if (rc < 0)
        return tls_lib_fail(err, VR_E_UNSUPPORTED, "this system's GnuTLS cannot do TLS 1.3", rc);
    *ret = vr_take(id);
    return 0;
}

void tls_identity_free(struct tls_identity *id)
{
    if (!id)
        return;
    if (id->priority)
        gnutls_priority_deinit(id->priority);
    if (id->cred)
        gnutls_certificate_free_credentials(id->cred);
    if (id->facts.key)
        gnutls_memset(id->facts.key, 0, strlen(id->facts.key));
    free(id->facts.crt);
    free(id->facts.key);
    free(id);
}

const struct tls_facts *tls_identity_facts(const struct tls_identity *id)
{
    return &id->facts;
}

/* Primitives of pairing ------------------------------------------------------------------- */

void tls_derive_key(const char *secret, const char *salt, unsigned rounds, uint8_t ret[TLS_HASH])
{
    gnutls_datum_t k = { (unsigned char *)(uintptr_t)secret, (unsigned)strlen(secret) };
    gnutls_datum_t s = { (unsigned char *)(uintptr_t)salt, (unsigned)strlen(salt) };
    if (gnutls_pbkdf2(GNUTLS_MAC_SHA256, &k, &s, rounds, ret, TLS_HASH) < 0)
        abort();
}

void tls_hmac(const uint8_t key[TLS_HASH], const void *p, size_t n, uint8_t ret[TLS_HASH])
{
    if (gnutls_hmac_fast(GNUTLS_MAC_SHA256, key, TLS_HASH, p, n, ret) < 0)
        abort();
}

bool tls_hash_eq(const uint8_t a[TLS_HASH], const uint8_t b[TLS_HASH])
{
    return gnutls_memcmp(a, b, TLS_HASH) == 0;
}
