/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Growable bounded byte buffer. Any thread, one owner at a time. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int vr_buf_reserve(struct vr_buf *b, size_t n, struct vr_err *err)
{
    size_t max = b->max ? b->max : VR_BUF_MAX;
    if (n > max || b->len > max - n)
        return vr_fail(err, VR_E_LIMIT, 0, "buffer limit of %zu bytes exceeded", max);
    size_t need = b->len + n + 1;
    if (need <= b->cap)
        return 0;
    size_t cap = b->cap ? b->cap : 256;
    while (cap < need)
        cap *= 2;
    uint8_t *p = realloc(b->data, cap);
    if (!p)
        return vr_fail(err, VR_E_NOMEM, 0, "no memory for a buffer of %zu bytes", cap);
    b->data = p;
    b->cap = cap;
    return 0;
}

int vr_buf_add(struct vr_buf *b, const void *p, size_t n, struct vr_err *err)
{
    if (vr_buf_reserve(b, n, err) < 0)
        return -1;
    if (n)
        memcpy(b->data + b->len, p, n);
    b->len += n;
    b->data[b->len] = 0;
    return 0;
}

int vr_buf_printf(struct vr_buf *b, struct vr_err *err, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    int rc = -1;
    if (n < 0) {
        vr_fail(err, VR_E_INTERNAL, 0, "cannot format text");
    } else if (vr_buf_reserve(b, (size_t)n, err) == 0) {
        vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
        rc = 0;
    }
    va_end(again);
    return rc;
}

void vr_buf_done(struct vr_buf *b)
{
    if (!b)
        return;
    free(b->data);
    b->data = NULL;
    b->len = b->cap = 0;
}
