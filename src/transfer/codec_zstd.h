/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSFER_CODEC_ZSTD_H
#define VR_TRANSFER_CODEC_ZSTD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

/* Compression of records. */

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
/* zpack_run() - compress @n bytes to @to (of @room) with @level (zstd's; 0: not at all). Returns the
 * size, or 0: send it plain. */
size_t zpack_run(struct zpack *z, int level, const void *p, size_t n, void *to, size_t room);

struct zunpack;
struct zunpack *zunpack_new(void);
void zunpack_free(struct zunpack *z);
VR_DEFINE_CLEANUP(struct zunpack, zunpack_free)
/* zunpack_run() - decompress to exactly @want bytes. Errors: VR_E_CORRUPT. */
int zunpack_run(struct zunpack *z, const void *p, size_t n, void *to, size_t want,
                struct vr_err *err);

#endif
