/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_WSMAN_UTF16_H
#define VR_WSMAN_UTF16_H

#include <stdbool.h>

#include "base/buf.h"

/* wsm_is_utf16() - does the text begin with a byte order mark of UTF-16? */
bool wsm_is_utf16(const void *p, size_t n);
/* wsm_to_utf16() - replace valid UTF-8 by little-endian UTF-16 with a byte order mark.
 * Errors: VR_E_LIMIT, VR_E_PROTO when it is not UTF-8. Any thread. */
int wsm_to_utf16(struct vr_buf *b, struct vr_err *err);

#endif
