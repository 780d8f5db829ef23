/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Big-endian codec with length checks. Any thread. */
#include "base/codec.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define DEFINE_INT(bits)                                                         \
    void vr_store_u##bits(uint8_t *p, uint##bits##_t v)                          \
    {                                                                            \
        v = htobe##bits(v);                                                      \
        memcpy(p, &v, sizeof v);                                                 \
    }                                                                            \
    uint##bits##_t vr_load_u##bits(const uint8_t *p)                             \
    {                                                                            \
        uint##bits##_t v;                                                        \
        memcpy(&v, p, sizeof v);                                                 \
        return be##bits##toh(v);                                                 \
    }                                                                            \
    int vr_put_u##bits(struct vr_buf *b, uint##bits##_t v, struct vr_err *err)   \
    {                                                                            \
        uint8_t raw[sizeof v];                                                   \
        vr_store_u##bits(raw, v);                                                \
        return vr_buf_add(b, raw, sizeof raw, err);                              \
    }                                                                            \
    int vr_get_u##bits(struct vr_rd *r, uint##bits##_t *ret, struct vr_err *err) \
    {                                                                            \
        uint8_t raw[sizeof *ret];                                                \
        if (vr_get_bytes(r, raw, sizeof raw, err) < 0)                           \
            return -1;                                                           \
        *ret = vr_load_u##bits(raw);                                             \
        return 0;                                                                \
    }
DEFINE_INT(16)
DEFINE_INT(32)
DEFINE_INT(64)
#undef DEFINE_INT

int vr_put_u8(struct vr_buf *b, uint8_t v, struct vr_err *err)
{
    return vr_buf_add(b, &v, 1, err);
}

int vr_get_u8(struct vr_rd *r, uint8_t *ret, struct vr_err *err)
{
    return vr_get_bytes(r, ret, 1, err);
}

int vr_put_bytes(struct vr_buf *b, const void *p, size_t n, struct vr_err *err)
{
    return vr_buf_add(b, p, n, err);
}

int vr_put_str(struct vr_buf *b, const char *s, struct vr_err *err)
{
    size_t n = s ? strlen(s) : 0;
    if (n > UINT32_MAX)
        return vr_fail(err, VR_E_LIMIT, 0, "text of %zu bytes is too long to encode", n);
    if (vr_put_u32(b, (uint32_t)n, err) < 0)
        return -1;
    return vr_buf_add(b, s ? s : "", n, err);
}

int vr_get_bytes(struct vr_rd *r, void *to, size_t n, struct vr_err *err)
{
    if (r->left < n)
        return vr_fail(err, VR_E_PROTO, 0, "truncated: %zu bytes wanted, %zu left", n, r->left);
    if (n)
        memcpy(to, r->p, n);
    r->p += n;
    r->left -= n;
    return 0;
}

int vr_get_str(struct vr_rd *r, size_t max, char **ret, struct vr_err *err)
{
    uint32_t n;
    if (vr_get_u32(r, &n, err) < 0)
        return -1;
    if (n > max)
        return vr_fail(err, VR_E_LIMIT, 0, "text of %u bytes, at most %zu allowed", n, max);
    if (r->left < n)
        return vr_fail(err, VR_E_PROTO, 0, "truncated text: %u bytes, %zu left", n, r->left);
    if (n && memchr(r->p, 0, n))
        return vr_fail(err, VR_E_PROTO, 0, "text contains a NUL byte");
    char *s = malloc((size_t)n + 1);
    if (!s)
        return vr_fail(err, VR_E_NOMEM, 0, "no memory for a text of %u bytes", n);
    if (n)
        memcpy(s, r->p, n);
    s[n] = 0;
    r->p += n;
    r->left -= n;
    *ret = s;
    return 0;
}

int vr_get_end(const struct vr_rd *r, struct vr_err *err)
{
    if (r->left)
        return vr_fail(err, VR_E_PROTO, 0, "%zu unexpected bytes at the end", r->left);
    return 0;
}
