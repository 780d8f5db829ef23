/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* zstd, the only file that includes it. */
#include "transfer/codec_zstd.h"

#include <stdlib.h>

#include <zstd.h>

#include "base/alloc.h"

struct zpack {
    ZSTD_CCtx *c;
};

struct zpack *zpack_new(void)
{
    struct zpack *z = vr_new(struct zpack);
    z->c = ZSTD_createCCtx();
    if (!z->c)
        abort();
    return z;
}

void zpack_free(struct zpack *z)
{
    if (!z)
        return;
    ZSTD_freeCCtx(z->c);
    free(z);
}

bool zpack_promising(const void *p, size_t n)
{
    /* Shannon entropy of single bytes in pieces taken from all over. Text, code and tables of
     * numbers stay well below 7.5 bits; compressed or encrypted bytes come close to 8. */
    enum { PIECES = 8, PIECE = 256, SAMPLE = PIECES * PIECE };
    if (n < SAMPLE)
        return n > 256;
    uint16_t count[256] = { 0 };
    const uint8_t *b = p;
    for (size_t i = 0; i < PIECES; i++) {
        const uint8_t *piece = b + i * (n / PIECES);
        for (size_t k = 0; k < PIECE; k++)
            count[piece[k]]++;
    }
    /* With s = sum of squares, 2^-H <= s/N^2 (collision entropy bounds Shannon's from below), and
     * that needs no logarithms: random bytes give N + N^2/256. */
    uint32_t squares = 0;
    for (size_t i = 0; i < 256; i++)
        squares += (uint32_t)count[i] * count[i];
    return squares > (SAMPLE + SAMPLE * (SAMPLE / 256)) * 5 / 4;
}

size_t zpack_bound(size_t n)
{
    return ZSTD_compressBound(n);
}

size_t zpack_run(struct zpack *z, int level, const void *p, size_t n, void *to, size_t room)
{
    if (level == 0)
        return 0;
    size_t got = ZSTD_compressCCtx(z->c, to, room, p, n, level);
    return !ZSTD_isError(got) && got < n - n / 16 ? got : 0;
}

struct zunpack {
    ZSTD_DCtx *d;
};

struct zunpack *zunpack_new(void)
{
    struct zunpack *z = vr_new(struct zunpack);
    z->d = ZSTD_createDCtx();
    if (!z->d)
        abort();
    return z;
}

void zunpack_free(struct zunpack *z)
{
    if (!z)
        return;
    ZSTD_freeDCtx(z->d);
    free(z);
}

int zunpack_run(struct zunpack *z, const void *p, size_t n, void *to, size_t want,
                struct vr_err *err)
{
    size_t got = ZSTD_decompressDCtx(z->d, to, want, p, n);
    if (ZSTD_isError(got) || got != want)
        return vr_fail(err, VR_E_CORRUPT, 0, "a compressed record cannot be decompressed");
    return 0;
}
