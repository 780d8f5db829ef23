/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_STORE_SHA256_GNUTLS_H
#define VR_STORE_SHA256_GNUTLS_H

#include <stddef.h>

#include "base/cleanup.h"
#include "base/err.h"

/* SHA-256 over what is added, piece by piece. One thread at a time per object. */
struct sha256;

/* sha256_new() - begin. Errors: VR_E_INTERNAL when the library has none. sha256_free(): NULL is
 * fine. */
struct sha256 *sha256_new(struct vr_err *err);
void sha256_free(struct sha256 *s);
VR_DEFINE_CLEANUP(struct sha256, sha256_free)
/* sha256_add() - @n bytes more. Errors: VR_E_INTERNAL. */
int sha256_add(struct sha256 *s, const void *p, size_t n, struct vr_err *err);
/* sha256_hex() - 64 lower case digits and a NUL into @out; the object begins anew. */
void sha256_hex(struct sha256 *s, char out[65]);

#endif
