/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bitmaps of candidates. A block is wanted when any byte of it is, and has data when any byte of it
 * may be other than zero. No I/O but the map requests; one thread. */
#include "transfer/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static void set_bits(uint8_t *map, uint64_t from, uint64_t to)
{
    while (from < to && from % 8) {
        map[from / 8] |= (uint8_t)(1u << from % 8);
        from++;
    }
    if (to - from >= 8) {
        memset(map + from / 8, 0xff, (size_t)((to - from) / 8));
        from += (to - from) / 8 * 8;
    }
    while (from < to) {
        map[from / 8] |= (uint8_t)(1u << from % 8);
        from++;
    }
}

static bool bit(const uint8_t *map, uint64_t i)
{
    return map[i / 8] >> (i % 8) & 1;
}

/* Mark all blocks that a byte range touches, as far as they lie in the window. */
static void mark(const struct plan *p, uint8_t *map, uint64_t offset, uint64_t length)
{
    if (!length)
        return;
    uint64_t from = offset / VR_BLOCK_SIZE, to = (offset + length - 1) / VR_BLOCK_SIZE + 1;
    if (from < p->first)
        from = p->first;
    if (to > p->first + p->n)
        to = p->first + p->n;
    if (from < to)
        set_bits(map, from - p->first, to - p->first);
}

static void on_status(void *ctx, enum vnbd_status_kind kind, uint64_t offset, uint64_t length)
{
    struct plan *p = ctx;
    mark(p, kind == VNBD_DATA ? p->data : p->wanted, offset, length);
}

static void start_window(struct plan *p, uint64_t size, uint64_t first)
{
    uint64_t blocks = (size + VR_BLOCK_SIZE - 1) / VR_BLOCK_SIZE;
    p->size = size;
    p->first = first;
    p->n = blocks - first < PLAN_BLOCKS ? blocks - first : PLAN_BLOCKS;
    size_t bytes = (size_t)(p->n + 7) / 8;
    free(p->wanted);
    free(p->data);
    p->wanted = vr_new0(bytes, 1);
    p->data = vr_new0(bytes, 1);
}

static void add_extents(struct plan *p, const struct extents *e)
{
    for (size_t i = 0; e && i < e->n; i++)
        mark(p, p->wanted, e->v[i].offset, e->v[i].length);
}

static int add_known(struct plan *p, const struct plan_known *known, struct vr_err *err)
{
    struct digest_record r;
    uint64_t at = p->first;
    int rc;
    while ((rc = digestlog_next(known->table, at, &r, err)) == 1 && r.block < p->first + p->n) {
        set_bits(p->wanted, r.block - p->first, r.block - p->first + 1);
        at = r.block + 1;
    }
    return rc < 0 ? -1 : 0;
}

/* What the receiver has, asked block by block in ascending order. */
struct theirs {
    const struct plan_known *known;
    struct digest_record head;
    bool has;
};

static int theirs_go(struct theirs *t, uint64_t block, struct vr_err *err)
{
    int rc = digestlog_next(t->known->table, block, &t->head, err);
    t->has = rc == 1;
    return rc < 0 ? -1 : 0;
}

/* Blocks that neither side names are zeros on both. */
static bool rest_is_equal(const struct plan_known *known, const struct own *own)
{
    return (known->fresh || known->parents_complete) && own_complete(own);
}

/* Of the blocks that nobody is known to have written, those that differ, or of which one side does
 * not know what it has. */
static int add_unequal(struct plan *p, const struct plan_known *known, struct own *own,
                       struct vr_err *err)
{
    struct theirs t = { .known = known };
    bool rest = rest_is_equal(known, own);
    if (own_begin(own, p->first, err) < 0 || theirs_go(&t, p->first, err) < 0)
        return -1;
    for (uint64_t b = p->first; b < p->first + p->n; b++) {
        struct vr_digest ours;
        int rc = own_at(own, b, &ours, err);
        if (rc < 0 || (t.has && t.head.block < b && theirs_go(&t, b, err) < 0))
            return -1;
        uint64_t next = own_next(own);
        if (t.has && t.head.block < next)
            next = t.head.block;
        if (rest && next > b) { /* a gap in both */
            b = (next < p->first + p->n ? next : p->first + p->n) - 1;
            continue;
        }
        uint64_t left = p->size - b * VR_BLOCK_SIZE;
        struct vr_digest is =
            t.has && t.head.block == b
                ? t.head.digest
                : vr_digest_zero(left < VR_BLOCK_SIZE ? (size_t)left : VR_BLOCK_SIZE);
        bool told = (t.has && t.head.block == b) || known->fresh || known->parents_complete;
        if (!rc || !told || memcmp(&is, &ours, sizeof is) != 0)
            set_bits(p->wanted, b - p->first, b - p->first + 1);
    }
    return 0;
}

void plan_done(struct plan *p)
{
    free(p->wanted);
    free(p->data);
    *p = (struct plan){ .n = 0 };
}

int plan_build(struct plan *p, const struct xfer_send_disk *d, struct vnbd *nbd,
               const struct plan_known *known, struct own *own, uint64_t first, struct vr_err *err)
{
    start_window(p, d->size, first);
    uint64_t at = first * VR_BLOCK_SIZE, end = (first + p->n) * VR_BLOCK_SIZE;
    if (end > d->size)
        end = d->size;
    if (vnbd_status(nbd, at, end - at, on_status, p, err) < 0)
        return -1;
    size_t bytes = (size_t)(p->n + 7) / 8;
    add_extents(p, &known->doubt);
    if (d->mode == XFER_COMPARE && own) {
        add_extents(p, d->extra);
        return add_unequal(p, known, own, err);
    }
    if (d->mode == XFER_COMPARE || (d->mode == XFER_ALL && !known->fresh)) {
        set_bits(p->wanted, 0, p->n);
    } else if (d->mode == XFER_ALL) {
        for (size_t i = 0; i < bytes; i++)
            p->wanted[i] |= p->data[i];
    } else if (d->mode == XFER_EXTENTS) {
        add_extents(p, d->extra);
    }
    return add_known(p, known, err);
}

/* Bytes of @n blocks from @block on, the last one of the disk being short perhaps. */
static uint64_t span(const struct plan *p, uint64_t block, uint64_t n)
{
    uint64_t from = block * VR_BLOCK_SIZE, to = (block + n) * VR_BLOCK_SIZE;
    return (to < p->size ? to : p->size) - from;
}

uint64_t plan_bytes(const struct plan *p)
{
    uint64_t blocks = 0;
    for (size_t i = 0; i < (size_t)(p->n + 7) / 8; i++)
        blocks += (uint64_t)__builtin_popcount(p->wanted[i]);
    if (!p->n || !bit(p->wanted, p->n - 1))
        return blocks * VR_BLOCK_SIZE;
    return (blocks - 1) * VR_BLOCK_SIZE + span(p, p->first + p->n - 1, 1);
}

bool plan_next(const struct plan *p, uint64_t from, uint64_t max_data, uint64_t max_zero,
               struct plan_run *ret)
{
    uint64_t i = from - p->first;
    while (i < p->n && !bit(p->wanted, i))
        i += i % 8 == 0 && !p->wanted[i / 8] ? 8 : 1;
    if (i >= p->n)
        return false;
    bool data = bit(p->data, i);
    uint64_t max = data ? max_data : max_zero, n = 1;
    while (n < max && i + n < p->n && bit(p->wanted, i + n) && bit(p->data, i + n) == data)
        n++;
    *ret = (struct plan_run){ .block = p->first + i, .n = n, .data = data };
    return true;
}
