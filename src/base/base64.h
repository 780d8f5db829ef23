/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_BASE_BASE64_H
#define VR_BASE_BASE64_H

#include <stddef.h>

#include "base/buf.h"

/* vr_base64() - text of @n bytes with padding, on one line; the caller frees. src:[RFC 4648 4] */
char *vr_base64(const void *p, size_t n);
/* vr_base64_decode() - append the bytes that @text stands for; padding may be missing, anything
 * else than digits and padding at the end is refused. Errors: VR_E_INVAL, those of vr_buf_add(). */
int vr_base64_decode(const char *text, struct vr_buf *out, struct vr_err *err);

#endif
