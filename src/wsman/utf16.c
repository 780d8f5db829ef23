/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* UTF-16 for clients that talk it. Pure. */
#include "wsman/utf16.h"

bool wsm_is_utf16(const void *p, size_t n)
{
    const unsigned char *d = p;
    return n >= 2 && ((d[0] == 0xff && d[1] == 0xfe) || (d[0] == 0xfe && d[1] == 0xff));
}

static int put_unit(struct vr_buf *b, uint32_t u, struct vr_err *err)
{
    const unsigned char le[2] = { u & 0xff, u >> 8 & 0xff };
    return vr_buf_add(b, le, 2, err);
}

static int put_char(struct vr_buf *b, uint32_t c, struct vr_err *err)
{
    if (c < 0x10000)
        return put_unit(b, c, err);
    c -= 0x10000;
    return put_unit(b, 0xd800 | c >> 10, err) || put_unit(b, 0xdc00 | (c & 0x3ff), err) ? -1 : 0;
}

int wsm_to_utf16(struct vr_buf *b, struct vr_err *err)
{
    vr_autobuf struct vr_buf out = VR_BUF_INIT;
    if (put_unit(&out, 0xfeff, err))
        return -1;
    for (size_t i = 0; i < b->len;) {
        unsigned char lead = b->data[i];
        size_t len = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 0;
        if (!len || len > b->len - i)
            return vr_fail(err, VR_E_PROTO, 0, "not UTF-8 at byte %zu", i);
        uint32_t c = len == 1 ? lead : lead & (0x7fu >> len);
        for (size_t k = 1; k < len; k++)
            c = c << 6 | (b->data[i + k] & 0x3fu);
        if (put_char(&out, c, err))
            return -1;
        i += len;
    }
    vr_buf_done(b);
    *b = out;
    out = (struct vr_buf)VR_BUF_INIT;
    return 0;
}
