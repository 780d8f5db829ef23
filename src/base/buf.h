/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_BASE_BUF_H
#define VR_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

/* A growable byte buffer with a hard maximum. data[len] is always 0 once something was added. */
struct vr_buf {
    uint8_t *data;
    size_t len;
    size_t cap;
    size_t max; /* bytes; 0 means VR_BUF_MAX */
};
#define VR_BUF_MAX ((size_t)64 << 20)
#define VR_BUF_INIT  \
    {                \
        .data = NULL \
    }

/* vr_buf_add() - append @n bytes. Errors: VR_E_LIMIT over the maximum, VR_E_NOMEM. */
int vr_buf_add(struct vr_buf *b, const void *p, size_t n, struct vr_err *err);
/* vr_buf_reserve() - room for @n more bytes beyond len. Errors as vr_buf_add(). */
int vr_buf_reserve(struct vr_buf *b, size_t n, struct vr_err *err);
/* vr_buf_printf() - append formatted text. Errors as vr_buf_add(). */
int vr_buf_printf(struct vr_buf *b, struct vr_err *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* vr_buf_done() - free the bytes; the buffer is empty and usable afterwards. NULL is fine. */
void vr_buf_done(struct vr_buf *b);

#define vr_autobuf __attribute__((cleanup(vr_buf_done)))

#endif
