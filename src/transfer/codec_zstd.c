/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* zstd, the only file that includes it. Which level pays is found by trying: the writer measures
 * how fast the disk's bytes get through, all things considered, with one step of a ladder of levels
 * for some time, then goes on with the step that was fastest and tries a neighbour now and then. On
 * a fast link, or where processors are busy, that ends at plain; on a slow link at the ceiling. */
#include "transfer/codec_zstd.h"

#include <stdlib.h>

#include <zstd.h>

#include "base/alloc.h"

static const int ladder[] = { 0, -20, -5, 1, 3, 6, 12 }; /* levels; 0: plain */
enum {
    STEPS = VR_ARRAY_LEN(ladder),
    FIRST = 2,                /* where to begin */
    WINDOW = 16 << 20,        /* bytes of disk measured with one step */
    LOOK_FIRST = 3,           /* windows in which neighbours are tried at once, half as long: */
    WINDOW_FIRST = 8 << 20,   /* what a wrong step costs is paid before anything is known */
    EXPLORE_EVERY = 16,       /* windows at first; twice as many after each try in vain */
    EXPLORE_SELDOM = 16 * 16, /* and never more */
};

void zsteer_init(struct zsteer *s, int ceiling)
{
    *s = (struct zsteer){ .steps = 1, .every = EXPLORE_EVERY, .look_at = EXPLORE_EVERY };
    while (ceiling && s->steps < STEPS && ladder[s->steps] <= ceiling)
        s->steps++;
    atomic_store(&s->step, s->steps > FIRST ? FIRST : s->steps - 1);
}

static int fastest(const struct zsteer *s)
{
    int best = -1;
    for (int i = 0; i < s->steps; i++) {
        if (s->cost[i] <= 0)
            continue;
        /* A stronger step has to pay clearly: it also costs processor time. */
        if (best < 0 || s->cost[i] < s->cost[best] * 0.94)
            best = i;
    }
    return best;
}

/* The first windows look at plain, and at what is next to the best. */
static int first_look(const struct zsteer *s, int best)
{
    int other = best + 1 < s->steps && s->cost[best + 1] <= 0 ? best + 1 : best - 1;
    return other < 0 || s->cost[other] > 0 ? best : other;
}

/* One neighbour and then the other, the less often the longer the best one stays the best. When a
 * try has paid, the next one goes on in the same direction at once. */
static int next_step(struct zsteer *s)
{
    int best = fastest(s);
    if (best != s->best) {
        s->below = best < s->best;
        s->best = best;
        s->every = EXPLORE_EVERY;
        s->look_at = s->measured;
    }
    if (s->cost[0] <= 0)
        return 0;
    if (s->measured <= LOOK_FIRST)
        return first_look(s, best);
    if (s->measured < s->look_at)
        return best;
    int other = s->below && best > 0 ? best - 1 : best + 1;
    s->below = !s->below;
    s->every = s->every * 2 > EXPLORE_SELDOM ? EXPLORE_SELDOM : s->every * 2;
    s->look_at = s->measured + s->every;
    return other < s->steps ? other : best;
}

/* What was tried long ago counts no longer. The step in use is averaged, unless the link, or the
 * host, has become another one: then it is time to look around again. */
static void note_cost(struct zsteer *s, int step, double took)
{
    double *cost = &s->cost[step];
    bool other = *cost > 0 && (took > *cost * 1.5 || took < *cost / 1.5);
    if (step == s->best && other && s->measured >= LOOK_FIRST) {
        s->every = EXPLORE_EVERY;
        if (s->look_at > s->measured + s->every)
            s->look_at = s->measured + s->every;
    }
    *cost = step == s->best && *cost > 0 && !other ? *cost * 0.6 + took * 0.4 : took;
}

void zsteer_note(struct zsteer *s, int step, uint64_t bytes, uint64_t compressible, int64_t now_ns)
{
    if (s->steps == 1)
        return;
    int now = atomic_load(&s->step);
    if (step != now || !s->since_ns) {
        /* Still from before the change: begin to measure behind it. */
        s->since_ns = now_ns;
        s->bytes = s->compressible = 0;
        return;
    }
    s->bytes += bytes;
    s->compressible += compressible;
    if (s->bytes < (s->measured < LOOK_FIRST ? WINDOW_FIRST : WINDOW))
        return;
    double took = (double)(now_ns - s->since_ns) / 1e9 / (double)s->bytes;
    if (s->compressible >= s->bytes / 8) {
        note_cost(s, now, took);
        s->measured++;
        atomic_store(&s->step, next_step(s));
    }
    s->since_ns = now_ns;
    s->bytes = s->compressible = 0;
}

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

size_t zpack_run(struct zpack *z, int step, const void *p, size_t n, void *to, size_t room)
{
    if (step <= 0 || step >= STEPS)
        return 0;
    size_t got = ZSTD_compressCCtx(z->c, to, room, p, n, ladder[step]);
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
