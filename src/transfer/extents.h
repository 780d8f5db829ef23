/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSFER_EXTENTS_H
#define VR_TRANSFER_EXTENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

/* A sorted set of non-overlapping, non-touching byte ranges of one disk. */
struct extent {
    uint64_t offset, length; /* bytes */
};
struct extents {
    struct extent *v;
    size_t n, cap;
};

/* extents_add() - unite with a range, in any order. extents_done() - free. */
void extents_add(struct extents *e, uint64_t offset, uint64_t length);
void extents_done(struct extents *e);
/* extents_unite() - @to becomes @to ∪ @from. extents_bytes() - total size. */
void extents_unite(struct extents *to, const struct extents *from);
uint64_t extents_bytes(const struct extents *e);
/* extents_align() - widen every range to multiples of @block, cut at @size. */
void extents_align(struct extents *e, uint64_t block, uint64_t size);
/* extents_coarsen() - close the smallest gaps until there are at most @max ranges (at least 1): the
 * set grows, and loses nothing. */
void extents_coarsen(struct extents *e, size_t max);
/* extents_contains() - whether the whole range lies inside. */
bool extents_contains(const struct extents *e, uint64_t offset, uint64_t length);

#endif
