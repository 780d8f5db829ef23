/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sets of byte ranges. Pure memory work, no I/O; a set belongs to one thread at a time.
 * Invariant: v[] is sorted, ranges are not empty, and there is a gap between any two neighbours. */
#include "transfer/extents.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

/* End of a range, saturated so that no sum wraps. */
static uint64_t range_end(uint64_t offset, uint64_t length)
{
    return length > UINT64_MAX - offset ? UINT64_MAX : offset + length;
}

/* Index of the first range whose end is at or after @offset; n if there is none. */
static size_t first_touching(const struct extents *e, uint64_t offset)
{
    size_t lo = 0, hi = e->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (e->v[mid].offset + e->v[mid].length < offset)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void insert_at(struct extents *e, size_t at, uint64_t offset, uint64_t length)
{
    if (e->n == e->cap) {
        e->cap = e->cap ? e->cap * 2 : 16;
        e->v = vr_grow(e->v, e->cap, sizeof *e->v);
    }
    memmove(&e->v[at + 1], &e->v[at], (e->n - at) * sizeof *e->v);
    e->v[at] = (struct extent){ offset, length };
    e->n++;
}

void extents_add(struct extents *e, uint64_t offset, uint64_t length)
{
    if (!length)
        return;
    uint64_t end = range_end(offset, length);
    /* Appending in order is what nearly all callers do. */
    size_t at = e->n && e->v[e->n - 1].offset + e->v[e->n - 1].length < offset
                    ? e->n
                    : first_touching(e, offset);
    size_t last = at;
    while (last < e->n && e->v[last].offset <= end) {
        uint64_t had = e->v[last].offset + e->v[last].length;
        if (e->v[last].offset < offset)
            offset = e->v[last].offset;
        if (had > end)
            end = had;
        last++;
    }
    if (last == at) {
        insert_at(e, at, offset, end - offset);
        return;
    }
    e->v[at] = (struct extent){ offset, end - offset };
    memmove(&e->v[at + 1], &e->v[last], (e->n - last) * sizeof *e->v);
    e->n -= last - at - 1;
}

void extents_done(struct extents *e)
{
    free(e->v);
    *e = (struct extents){ .v = NULL };
}

void extents_unite(struct extents *to, const struct extents *from)
{
    for (size_t i = 0; i < from->n; i++)
        extents_add(to, from->v[i].offset, from->v[i].length);
}

uint64_t extents_bytes(const struct extents *e)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < e->n; i++)
        sum += e->v[i].length;
    return sum;
}

void extents_align(struct extents *e, uint64_t block, uint64_t size)
{
    struct extents out = { .v = NULL };
    for (size_t i = 0; i < e->n; i++) {
        uint64_t start = e->v[i].offset / block * block;
        uint64_t end = e->v[i].offset + e->v[i].length;
        uint64_t over = end % block;
        if (over)
            end = range_end(end, block - over);
        if (end > size)
            end = size;
        if (start < end)
            extents_add(&out, start, end - start);
    }
    extents_done(e);
    *e = out;
}

static void close_gaps(struct extents *e, uint64_t gap)
{
    size_t last = 0;
    for (size_t i = 1; i < e->n; i++) {
        struct extent *l = &e->v[last];
        if (e->v[i].offset - (l->offset + l->length) <= gap)
            l->length = e->v[i].offset + e->v[i].length - l->offset;
        else
            e->v[++last] = e->v[i];
    }
    e->n = e->n ? last + 1 : 0;
}

void extents_coarsen(struct extents *e, size_t max)
{
    for (uint64_t gap = 1; e->n > max && e->n > 1;
         gap = gap < UINT64_MAX / 2 ? gap * 2 : UINT64_MAX)
        close_gaps(e, gap);
}

bool extents_contains(const struct extents *e, uint64_t offset, uint64_t length)
{
    if (!length)
        return true;
    uint64_t end = range_end(offset, length);
    size_t at = first_touching(e, offset);
    /* A range that merely ends at @offset does not hold it; the next one may. */
    if (at < e->n && e->v[at].offset + e->v[at].length == offset)
        at++;
    return at < e->n && e->v[at].offset <= offset && e->v[at].offset + e->v[at].length >= end;
}
