/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The receiver's writer. Keeps the order that makes the digest table of a layer true (digestlog.h):
 *
 *   record for a block whose slot is set:  clear slots, sync the table, then write  (many at once)
 *   record for any other block:            write
 *   SYNC, or enough was written:           flush the disk, write slots, sync the table, DURABLE
 *
 * Writing goes on while a flush is under way; the flush covers what was complete when it began.
 * A SYNC is served when all records before it are complete: the smallest number among the units in
 * use tells. After a failure one more flush saves what had arrived. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "recv_priv.h"

/* ---- blocks on their way ---- */

static uint64_t block_count(const struct frame_data *d)
{
    return (d->length + VR_BLOCK_SIZE - 1) / VR_BLOCK_SIZE;
}

static bool unsettled_add(struct recv_disk *d, uint64_t block)
{
    struct unsettled *u = &d->unsettled[block / 65536];
    if (!u->bits)
        u->bits = vr_new0(65536 / 8, 1);
    uint8_t *byte = &u->bits[block % 65536 / 8], mask = (uint8_t)(1u << block % 8);
    if (*byte & mask)
        return false;
    *byte |= mask;
    u->n++;
    return true;
}

static void unsettled_remove(struct recv_disk *d, uint64_t block)
{
    struct unsettled *u = &d->unsettled[block / 65536];
    u->bits[block % 65536 / 8] &= (uint8_t) ~(1u << block % 8);
    if (--u->n == 0) {
        free(u->bits);
        u->bits = NULL;
    }
}

static void batch_add(struct recv_batch *b, uint64_t block, const struct vr_digest *digest)
{
    if (b->n == b->cap) {
        b->cap = b->cap ? b->cap * 2 : 1024;
        b->v = vr_grow(b->v, b->cap, sizeof *b->v);
    }
    b->v[b->n++] = (struct digest_record){ block, *digest };
}

/* ---- writing ---- */

static void release(struct recv_unit *u)
{
    atomic_store(&u->seq, RECV_IDLE);
    queue_push(u->ctx->spare, u);
}

static void complete(struct recv_unit *u)
{
    struct recv_disk *d = &u->ctx->disks[u->d.disk];
    uint64_t first = u->d.offset / VR_BLOCK_SIZE, n = block_count(&u->d);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t left = u->d.length - i * VR_BLOCK_SIZE;
        struct vr_digest zero;
        const struct vr_digest *digest = &zero;
        if (u->d.encoding == FRAME_ZERO)
            zero = vr_digest_zero(left < VR_BLOCK_SIZE ? (size_t)left : VR_BLOCK_SIZE);
        else
            digest = &u->digests[i];
        batch_add(&d->written, first + i, digest);
    }
    atomic_fetch_add(&u->ctx->progress->done, u->d.length);
    atomic_fetch_add(u->d.encoding == FRAME_ZERO ? &u->ctx->progress->zero
                                                 : &u->ctx->progress->payload,
                     u->d.length);
    release(u);
}

static void disk_failed(const struct recv_disk *d, int error, const char *what)
{
    struct vr_err e = VR_ERR_INIT;
    enum vr_kind k = vr_kind_from_errno(error);
    if (k != VR_E_NOSPACE)
        k = VR_E_IO;
    vr_fail(&e, k, error, "cannot %s the replica of disk %s (%s)%s", what, d->x->target,
            d->x->image, k == VR_E_NOSPACE ? ": make room there" : "");
    recv_failed(d->ctx, &e);
}

static void on_written(void *ctx, int error)
{
    struct recv_unit *u = ctx;
    if (error)
        disk_failed(&u->ctx->disks[u->d.disk], error, "write");
    else
        complete(u);
}

static int submit(struct recv_unit *u, struct vr_err *err)
{
    struct recv_disk *d = &u->ctx->disks[u->d.disk];
    if (u->d.encoding != FRAME_ZERO)
        return recv_disk_write(d, u->raw, (size_t)u->d.length, u->d.offset, on_written, u, err);
    bool clean = d->x->fresh && !u->held;
    for (size_t i = 0; clean && i < d->doubt.n; i++)
        clean = d->doubt.v[i].offset >= u->d.offset + u->d.length ||
                d->doubt.v[i].offset + d->doubt.v[i].length <= u->d.offset;
    if (clean) {
        complete(u); /* nothing was ever written there: it reads as zeros */
        return 0;
    }
    return recv_disk_zero(d, u->d.length, u->d.offset, on_written, u, err);
}

/* Clear the slots of all units of disk @i that wait for it, and sync its table once. */
static int take_back(struct recv_ctx *c, size_t i, struct vr_err *err)
{
    vr_autofree uint64_t *blocks = NULL;
    size_t n = 0;
    for (const struct recv_unit *u = c->hold; u; u = u->next) {
        if (u->d.disk != i)
            continue;
        uint64_t count = block_count(&u->d);
        blocks = vr_grow(blocks, n + count, sizeof *blocks);
        for (uint64_t k = 0; k < count; k++)
            blocks[n++] = u->d.offset / VR_BLOCK_SIZE + k;
    }
    return n ? digestlog_take_back(c->disks[i].slots, blocks, n, err) : 0;
}

/* What waits to be written over something may be. */
static int let_go(struct recv_ctx *c, struct vr_err *err)
{
    for (size_t i = 0; i < c->n_disks; i++)
        if (take_back(c, i, err) < 0)
            return -1;
    while (c->hold) {
        struct recv_unit *u = c->hold;
        c->hold = u->next;
        c->n_hold--;
        if (submit(u, err) < 0)
            return -1;
    }
    return 0;
}

static int take_data(struct recv_ctx *c, struct recv_unit *u, struct vr_err *err)
{
    struct recv_disk *d = &c->disks[u->d.disk];
    uint64_t first = u->d.offset / VR_BLOCK_SIZE;
    u->held = false;
    for (uint64_t i = 0; i < block_count(&u->d); i++) {
        struct vr_digest slot;
        if (!unsettled_add(d, first + i))
            return vr_fail(err, VR_E_PROTO, 0, "disk %s: block %llu was sent twice", d->x->target,
                           (unsigned long long)(first + i));
        int got = digestlog_get(d->slots, first + i, &slot, err);
        if (got < 0)
            return -1;
        u->held = u->held || got;
    }
    if (!u->held)
        return submit(u, err);
    u->next = c->hold;
    c->hold = u;
    return ++c->n_hold >= RECV_HOLD_MAX ? let_go(c, err) : 0;
}

/* ---- making durable ---- */

static int by_block(const void *a, const void *b)
{
    const struct digest_record *x = a, *y = b;
    return x->block < y->block ? -1 : x->block > y->block;
}

static void on_flushed(void *ctx, int error)
{
    struct recv_disk *d = ctx;
    d->ctx->flushes--;
    if (error) {
        d->ctx->flush_failed = true;
        disk_failed(d, error, "flush");
    }
}

static int flush_begin(struct recv_ctx *c, struct recv_unit *token, struct vr_err *err)
{
    c->flushing = true;
    c->flush_for = token;
    for (size_t i = 0; i < c->n_disks; i++) {
        struct recv_disk *d = &c->disks[i];
        if (!d->written.n)
            continue;
        struct recv_batch empty = d->flushing;
        d->flushing = d->written;
        d->written = empty;
        if (recv_disk_flush(d, on_flushed, d, err) < 0)
            return -1;
        c->flushes++;
    }
    return 0;
}

/* All disks are flushed: now the slots may tell of it. */
static int settle(struct recv_ctx *c, struct vr_err *err)
{
    for (size_t i = 0; i < c->n_disks; i++) {
        struct recv_disk *d = &c->disks[i];
        struct recv_batch *b = &d->flushing;
        if (!b->n)
            continue;
        qsort(b->v, b->n, sizeof *b->v, by_block);
        if (digestlog_set(d->slots, b->v, b->n, err) < 0 || digestlog_sync(d->slots, err) < 0)
            return -1;
        for (size_t k = 0; k < b->n; k++)
            unsettled_remove(d, b->v[k].block);
        b->n = 0;
    }
    c->flushing = false;
    return 0;
}

static int say_durable(struct recv_ctx *c, struct vr_err *err)
{
    struct vr_stream *s = c->x->stream;
    if (frame_send_u64(s, FRAME_DURABLE, c->durable, err) < 0 || s->flush(s, err) < 0)
        return -1;
    c->last_said_ms = vr_mono_now().ms;
    return 0;
}

static int flush_end(struct recv_ctx *c, struct vr_err *err)
{
    if (settle(c, err) < 0)
        return -1;
    struct recv_unit *token = c->flush_for;
    c->flush_for = NULL;
    if (!token)
        return 0;
    c->durable = token->records;
    if (token->kind == RECV_DONE)
        c->finished = true;
    release(token);
    return c->finished ? 0 : say_durable(c, err);
}

/* Are all records before number @n complete? Later ones get higher numbers. */
static bool all_complete(const struct recv_ctx *c, uint64_t n)
{
    for (size_t i = 0; i < RECV_UNITS; i++)
        if (atomic_load(&c->units[i].seq) < n)
            return false;
    return true;
}

static size_t written_blocks(const struct recv_ctx *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n_disks; i++)
        n += c->disks[i].written.n;
    return n;
}

/* Begin or end flushes as far as it is time. */
static int durability(struct recv_ctx *c, struct vr_err *err)
{
    if (c->flushing && c->flushes == 0 && flush_end(c, err) < 0)
        return -1;
    if (c->flushing)
        return 0;
    struct recv_unit *token = c->tokens;
    if (token && all_complete(c, token->records)) {
        c->tokens = token->next;
        if (!c->tokens)
            c->last_token = &c->tokens;
        return flush_begin(c, token, err);
    }
    return written_blocks(c) >= RECV_BATCH_MAX ? flush_begin(c, NULL, err) : 0;
}

/* ---- the loop ---- */

static int take_all(struct recv_ctx *c, struct vr_err *err)
{
    struct recv_unit *u;
    bool any = false;
    while ((u = queue_pop(c->ready, 0))) {
        any = true;
        if (u->kind == RECV_DATA) {
            if (take_data(c, u, err) < 0)
                return -1;
        } else {
            u->next = NULL;
            *c->last_token = u;
            c->last_token = &u->next;
        }
    }
    return c->hold && (!any || c->tokens) ? let_go(c, err) : 0;
}

static int write_all(struct recv_ctx *c, struct vr_err *err)
{
    while (!c->finished) {
        if (atomic_load(&c->progress->cancel))
            return vr_fail(err, VR_E_CANCELLED, 0, "the transfer was cancelled");
        if (fault_is(c->fault))
            return 0;
        if (take_all(c, err) < 0 || durability(c, err) < 0)
            return -1;
        if (c->finished)
            break;
        /* A step may have made the next one possible without any event to wait for. */
        bool ready = c->hold || (c->flushing && !c->flushes);
        if (recv_disks_wait(c, true, ready ? 0 : RECV_SLICE_MS, err) < 0)
            return -1;
        if (vr_mono_now().ms - c->last_said_ms >= RECV_NOOP_MS && say_durable(c, err) < 0)
            return -1;
    }
    return 0;
}

static void wait_for_disks(struct recv_ctx *c, int64_t end_ms)
{
    for (;;) {
        bool busy = false;
        for (size_t i = 0; i < c->n_disks; i++)
            busy = busy || recv_disk_busy(&c->disks[i]);
        if (!busy || vr_mono_now().ms > end_ms ||
            recv_disks_wait(c, false, RECV_SLICE_MS, NULL) < 0)
            return;
    }
}

/* Save what had arrived when something failed: the next try need not send it again. Its own
 * failures change nothing: without a slot a block counts as not received. */
static void save(struct recv_ctx *c)
{
    int64_t end = vr_mono_now().ms + 20000;
    wait_for_disks(c, end);
    bool good = true;
    for (size_t i = 0; i < c->n_disks; i++)
        good = good && recv_disk_alive(&c->disks[i]) && !recv_disk_busy(&c->disks[i]);
    /* After a flush that failed, another one proves nothing: lost writes are told of once. All
     * since the last good one counts as not received. */
    if (!good || c->flushes || c->flush_failed)
        return;
    /* A flush that ended meanwhile was not settled: what it covered goes with the rest. */
    for (size_t i = 0; i < c->n_disks; i++) {
        struct recv_disk *d = &c->disks[i];
        for (size_t k = 0; k < d->flushing.n; k++)
            batch_add(&d->written, d->flushing.v[k].block, &d->flushing.v[k].digest);
        d->flushing.n = 0;
    }
    if (flush_begin(c, NULL, NULL) < 0)
        return;
    wait_for_disks(c, end);
    if (!c->flushes && !c->flush_failed)
        (void)settle(c, NULL);
}

void *recv_writer(void *arg)
{
    struct recv_ctx *c = arg;
    struct vr_err err = VR_ERR_INIT;
    c->last_said_ms = vr_mono_now().ms;
    if (write_all(c, &err) < 0)
        recv_failed(c, &err);
    struct vr_err first;
    if (fault_get(c->fault, &first)) {
        frame_tell_error(c->x->stream, &first);
        save(c);
    }
    return NULL;
}
