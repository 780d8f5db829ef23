/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSPORT_TLS_GNUTLS_INT_H
#define VR_TRANSPORT_TLS_GNUTLS_INT_H

/* What the two files over GnuTLS share: identities, and how its errors are told. */
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "transport/tls_gnutls.h"

struct tls_identity {
    gnutls_certificate_credentials_t cred;
    gnutls_priority_t priority;
    struct tls_facts facts;
};

/* tls_lib_fail() - vr_fail() with what the library says of @rc. Returns -1. */
int tls_lib_fail(struct vr_err *err, enum vr_kind k, const char *what, int rc);
/* tls_to_hex() - @n bytes, with a 0 at the end: @out has 2 * @n + 1. */
void tls_to_hex(const uint8_t *p, size_t n, const char *digits, char *out);

#endif
