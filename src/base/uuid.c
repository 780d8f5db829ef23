/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Random and textual 128-bit identifiers. Any thread. */
#include "base/uuid.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void vr_random(void *p, size_t n)
{
    uint8_t *at = p;
    while (n) {
        ssize_t got = getrandom(at, n > 256 ? 256 : n, 0);
        if (got <= 0)
            abort();
        at += got;
        n -= (size_t)got;
    }
}

struct vr_uuid vr_uuid_new(void)
{
    struct vr_uuid u;
    vr_random(u.b, sizeof u.b);
    u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x40); /* src:[RFC 4122 4.4] version */
    u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80); /* src:[RFC 4122 4.4] variant */
    return u;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int vr_uuid_parse(const char *s, struct vr_uuid *ret, struct vr_err *err)
{
    struct vr_uuid u;
    size_t len = strlen(s);
    if (len == 38 && s[0] == '{' && s[37] == '}') {
        s++;
        len = 36;
    }
    size_t at = 0;
    for (size_t i = 0; len == 36 && i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            if (s[at++] != '-')
                break;
        int hi = hex(s[at]), lo = hex(s[at + 1]);
        if (hi < 0 || lo < 0)
            break;
        u.b[i] = (uint8_t)(hi << 4 | lo);
        at += 2;
    }
    if (at != 36)
        return vr_fail(err, VR_E_INVAL, 0, "'%.64s' is not a UUID", s);
    *ret = u;
    return 0;
}

static char *fmt(const struct vr_uuid *u, char *out, const char *digits)
{
    char *p = out;
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        *p++ = digits[u->b[i] >> 4];
        *p++ = digits[u->b[i] & 15];
    }
    *p = 0;
    return out;
}

char *vr_uuid_fmt(const struct vr_uuid *u, char *out)
{
    return fmt(u, out, "0123456789abcdef");
}

char *vr_uuid_fmt_upper(const struct vr_uuid *u, char *out)
{
    return fmt(u, out, "0123456789ABCDEF");
}

bool vr_uuid_eq(const struct vr_uuid *a, const struct vr_uuid *b)
{
    return memcmp(a->b, b->b, sizeof a->b) == 0;
}

bool vr_uuid_is_zero(const struct vr_uuid *u)
{
    static const struct vr_uuid zero;
    return vr_uuid_eq(u, &zero);
}
