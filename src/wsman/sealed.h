/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_WSMAN_SEALED_H
#define VR_WSMAN_SEALED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* The form that a sealed body has in HTTP: multipart/encrypted with two parts, what it was and what
 * it is now. No cryptography in here. src:[MS-WSMV 2.2.9.1] [RFC 1847 2.2]
 *
 *   Content-Type: multipart/encrypted;protocol="PROTOCOL";boundary="Encrypted Boundary"
 *
 *   --Encrypted Boundary
 *       Content-Type: PROTOCOL
 *       OriginalContent: type=application/soap+xml;charset=UTF-8;Length=N
 *   --Encrypted Boundary
 *       Content-Type: application/octet-stream
 *   (bytes)--Encrypted Boundary--
 */

enum { WSM_SEALED_TYPE_MAX = 128 };

enum wsm_protocol { WSM_PROTOCOL_SPNEGO, WSM_PROTOCOL_KERBEROS, WSM_PROTOCOL_COUNT };

struct wsm_sealed {
    enum wsm_protocol protocol;
    char type[WSM_SEALED_TYPE_MAX]; /* Content-Type of the original */
    size_t length;                  /* bytes of the original */
    const uint8_t *data;            /* the sealed part, inside of what was parsed */
    size_t n;
};

/* wsm_sealed_is() - does this Content-Type say multipart/encrypted? NULL does not. */
bool wsm_sealed_is(const char *content_type);
/* wsm_sealed_parse() - take a body apart. Errors: VR_E_PROTO with what is wrong. Any thread. */
int wsm_sealed_parse(const char *content_type, const void *body, size_t n, struct wsm_sealed *ret,
                     struct vr_err *err);
/* wsm_sealed_begin() - append all that comes before the sealed bytes. wsm_sealed_end() - append
 * what comes after them. Errors: those of vr_buf_add(). */
int wsm_sealed_begin(enum wsm_protocol p, const char *type, size_t length, struct vr_buf *out,
                     struct vr_err *err);
int wsm_sealed_end(struct vr_buf *out, struct vr_err *err);
/* wsm_sealed_content_type() - value of the header; static. */
const char *wsm_sealed_content_type(enum wsm_protocol p);

#endif
