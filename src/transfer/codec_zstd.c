/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* zstd, the only file that includes it. Each thread keeps for every step of a ladder of levels what
 * it cost and what it saved, and takes the step with the smallest sum of time: processor time per
 * byte, shared by the threads, plus what is left of the byte times the price of the link. On a fast
 * link that means sending plain; on a slow one the ceiling. A neighbouring step is tried now and
 * then, so that the choice follows when data or link change. */
#include "transfer/codec_zstd.h"

#include <string.h>
#include <time.h>

#include <zstd.h>

#include "base/alloc.h"

enum { EXPLORE_EVERY = 48 };

void zlink_measure(struct zlink *l, uint64_t bytes, uint64_t ns)
{
    if (!bytes)
        return;
    uint64_t now = ns * 1000 / bytes, old = atomic_load(&l->ps_per_byte);
    atomic_store(&l->ps_per_byte, old ? (old * 7 + now) / 8 : now);
}

/* What each step costs before it was measured: picoseconds per byte, and the share that is left. */
static const struct step {
    int level;
    double ps, left;
} ladder[] = {
    { 0, 0, 1.0 }, /* plain */
    { -20, 700, 0.60 }, { -5, 1300, 0.48 }, { 1, 2500, 0.40 },
    { 3, 5000, 0.37 },  { 6, 12000, 0.35 }, { 12, 40000, 0.34 },
};
enum { STEPS = VR_ARRAY_LEN(ladder) };

struct zpack {
    ZSTD_CCtx *c;
    const struct zlink *link;
    int threads, steps; /* usable steps of the ladder */
    unsigned int runs;
    double ps[STEPS], left[STEPS];
};

struct zpack *zpack_new(int ceiling, int threads, const struct zlink *link)
{
    struct zpack *z = vr_new(struct zpack);
    z->c = ZSTD_createCCtx();
    if (!z->c)
        abort();
    z->threads = threads > 0 ? threads : 1;
    z->link = link;
    z->steps = 1;
    while (ceiling && z->steps < STEPS && ladder[z->steps].level <= ceiling)
        z->steps++;
    for (int i = 0; i < STEPS; i++) {
        z->ps[i] = ladder[i].ps;
        z->left[i] = ladder[i].left;
    }
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

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int choose(struct zpack *z)
{
    double link = (double)atomic_load(&z->link->ps_per_byte);
    int best = 0;
    double least = 0;
    for (int i = 0; i < z->steps; i++) {
        double cost = z->ps[i] / z->threads + z->left[i] * link;
        if (i == 0 || cost < least) {
            least = cost;
            best = i;
        }
    }
    if (z->runs++ % EXPLORE_EVERY == EXPLORE_EVERY - 1) {
        int other = z->runs / EXPLORE_EVERY % 2 ? best + 1 : best - 1;
        /* A step up is tried only where the link is dear enough for its share to matter. */
        if (other > 0 && other < z->steps && z->ps[other] / z->threads < 4 * link)
            best = other;
    }
    return best;
}

size_t zpack_run(struct zpack *z, const void *p, size_t n, void *to, size_t room)
{
    int i = choose(z);
    if (i == 0)
        return 0;
    uint64_t start = cpu_ns();
    size_t got = ZSTD_compressCCtx(z->c, to, room, p, n, ladder[i].level);
    double ps = (double)(cpu_ns() - start) * 1000.0 / (double)n;
    if (ZSTD_isError(got))
        got = n;
    z->ps[i] += (ps - z->ps[i]) / 8;
    z->left[i] += ((double)got / (double)n - z->left[i]) / 8;
    return got < n - n / 16 ? got : 0;
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
