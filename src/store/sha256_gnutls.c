/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SHA-256 from GnuTLS; the only file of the store that includes it. */
#include "store/sha256_gnutls.h"

#include <gnutls/crypto.h>
#include <stdint.h>
#include <stdio.h>

#include "base/alloc.h"

struct sha256 {
    gnutls_hash_hd_t h;
};

struct sha256 *sha256_new(struct vr_err *err)
{
    vr_auto(sha256_free) struct sha256 *s = vr_new(struct sha256);
    int rc = gnutls_hash_init(&s->h, GNUTLS_DIG_SHA256);
    if (rc < 0) {
        s->h = NULL;
        vr_fail(err, VR_E_INTERNAL, 0, "SHA-256: %s", gnutls_strerror(rc));
        return NULL;
    }
    return vr_take(s);
}

void sha256_free(struct sha256 *s)
{
    if (!s)
        return;
    if (s->h)
        gnutls_hash_deinit(s->h, NULL);
    free(s);
}

int sha256_add(struct sha256 *s, const void *p, size_t n, struct vr_err *err)
{
    int rc = gnutls_hash(s->h, p, n);
    if (rc < 0)
        return vr_fail(err, VR_E_INTERNAL, 0, "SHA-256: %s", gnutls_strerror(rc));
    return 0;
}

void sha256_hex(struct sha256 *s, char out[65])
{
    uint8_t d[32];
    gnutls_hash_output(s->h, d);
    for (size_t i = 0; i < sizeof d; i++)
        snprintf(out + i * 2, 3, "%02x", d[i]);
}
