/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSFER_CODEC_ZSTD_H
#define VR_TRANSFER_CODEC_ZSTD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

/* Compression of records with a level that follows what is scarce: the link, or processors. */

/* The level in force: chosen by the thread that writes to the stream, obeyed by the compressors. */
struct zsteer {
    _Atomic int step; /* 0: plain */
    int steps;        /* usable ones */
    /* The writer's own: what was measured. */
    double cost[8]; /* seconds per byte of disk with each step, 0: not known */
    uint64_t bytes, compressible;
    int64_t since_ns;
    int measured;             /* windows so far */
    int best, every, look_at; /* the best step lately; windows between two tries of another one */
    bool below;               /* the next try is a weaker one */
};

/* zsteer_init() - @ceiling is the highest level (1..19, or negative), 0 for none at all. */
void zsteer_init(struct zsteer *s, int ceiling);
/* zsteer_note() - writer: at @now_ns a unit that was packed with @step is through: @bytes of disk,
 * of which @compressible might be compressed. May change the step. */
void zsteer_note(struct zsteer *s, int step, uint64_t bytes, uint64_t compressible, int64_t now_ns);

/* One per thread. */
struct zpack;
struct zpack *zpack_new(void);
void zpack_free(struct zpack *z);
VR_DEFINE_CLEANUP(struct zpack, zpack_free)
/* zpack_promising() - a quick look whether @p may shrink: false for what is compressed or encrypted
 * already. */
bool zpack_promising(const void *p, size_t n);
/* zpack_bound() - room that zpack_run() may need for @n bytes. */
size_t zpack_bound(size_t n);
/* zpack_run() - compress @n bytes to @to (of @room) with the level of @step. Returns the size, or
 * 0: send it plain. */
size_t zpack_run(struct zpack *z, int step, const void *p, size_t n, void *to, size_t room);

struct zunpack;
struct zunpack *zunpack_new(void);
void zunpack_free(struct zunpack *z);
VR_DEFINE_CLEANUP(struct zunpack, zunpack_free)
/* zunpack_run() - decompress to exactly @want bytes. Errors: VR_E_CORRUPT. */
int zunpack_run(struct zunpack *z, const void *p, size_t n, void *to, size_t want,
                struct vr_err *err);

#endif
