/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Base64 as HTTP headers carry it. src:[RFC 4648 section 4] */
#include "base/base64.h"

#include <string.h>

#include "base/alloc.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *vr_base64(const void *p, size_t n)
{
    const unsigned char *in = p;
    char *out = vr_new0(1, (n + 2) / 3 * 4 + 1), *o = out;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)in[i] << 16;
        v |= i + 1 < n ? (uint32_t)in[i + 1] << 8 : 0;
        v |= i + 2 < n ? (uint32_t)in[i + 2] : 0;
        *o++ = digits[v >> 18];
        *o++ = digits[v >> 12 & 63];
        *o++ = i + 1 < n ? digits[v >> 6 & 63] : '=';
        *o++ = i + 2 < n ? digits[v & 63] : '=';
    }
    return out;
}

static int value_of(char c)
{
    const char *p = strchr(digits, c);
    return p ? (int)(p - digits) : -1;
}

int vr_base64_decode(const char *text, struct vr_buf *out, struct vr_err *err)
{
    uint32_t bits = 0;
    unsigned have = 0;
    for (; *text && *text != '='; text++) {
        int v = value_of(*text);
        if (v < 0)
            return vr_fail(err, VR_E_INVAL, 0, "this is no base64");
        bits = (bits << 6 | (uint32_t)v) & 0xffffff;
        have += 6;
        if (have < 8)
            continue;
        have -= 8;
        uint8_t byte = (uint8_t)(bits >> have);
        if (vr_buf_add(out, &byte, 1, err))
            return -1;
    }
    text += strspn(text, "=");
    return *text ? vr_fail(err, VR_E_INVAL, 0, "this is no base64") : 0;
}
