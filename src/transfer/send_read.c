/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The sender's reader: plans each disk and keeps reads of its candidates in flight. Runs on the
 * caller's thread, the only one that touches NBD handles and the tables of what is known. */
#include <string.h>

#include "base/log.h"
#include "send_priv.h"

static int stopped(const struct send_ctx *c, struct vr_err *err)
{
    if (atomic_load(&c->progress->cancel))
        return vr_fail(err, VR_E_CANCELLED, 0, "the transfer was cancelled");
    /* The caller reports the first error; this one only ends the reader. */
    return fault_is(c->fault) ? vr_fail(err, VR_E_CANCELLED, 0, "the transfer failed") : 0;
}

/* A spare unit; serves the disk while it waits. */
static struct send_unit *take_unit(struct send_ctx *c, struct vnbd *nbd, struct vr_err *err)
{
    for (;;) {
        if (stopped(c, err) < 0)
            return NULL;
        bool room = vnbd_room(nbd);
        struct send_unit *u = room ? queue_pop(c->spare, 0) : NULL;
        if (u)
            return u;
        if (vnbd_in_flight(nbd)) {
            int fd = room ? queue_fd(c->spare) : -1;
            if (vnbd_wait(&nbd, 1, fd, SEND_SLICE_MS, err) < 0)
                return NULL;
        } else if ((u = queue_pop(c->spare, SEND_SLICE_MS))) {
            return u;
        }
    }
}

static void reset(struct send_unit *u, uint16_t disk, uint64_t offset, uint64_t length)
{
    u->disk = disk;
    u->offset = offset;
    u->length = length;
    u->zero = false;
    u->n_segments = 0;
    u->n_runs = 0;
    u->sum = (struct disksum){ .half = { 0 } };
    u->records = u->payload = u->zeros = u->skipped = 0;
}

static void on_read(void *ctx, int error)
{
    struct send_unit *u = ctx;
    if (error) {
        struct vr_err e = VR_ERR_INIT;
        vr_fail(&e, VR_E_IO, error, "cannot read disk %s at %llu", u->ctx->x->disks[u->disk].target,
                (unsigned long long)u->offset);
        send_failed(u->ctx, &e);
        return;
    }
    queue_push(u->ctx->read, u);
}

/* Must a block of zeros be told to the receiver, given that it knows no digest of it? */
static bool zeros_matter(const struct send_disk *d, enum xfer_mode mode, uint64_t block)
{
    if (!d->known.fresh && !(mode == XFER_COMPARE && d->known.parents_complete))
        return true;
    struct extents one = d->known.doubt;
    uint64_t at = block * VR_BLOCK_SIZE;
    return one.n && extents_contains(&one, at, 1);
}

static int read_run(struct send_ctx *c, uint16_t disk, const struct plan_run *run,
                    struct vr_err *err)
{
    struct send_disk *d = &c->disks[disk];
    uint64_t offset = run->block * VR_BLOCK_SIZE, length = run->n * VR_BLOCK_SIZE;
    if (length > c->sizes[disk] - offset)
        length = c->sizes[disk] - offset;
    struct send_unit *u = take_unit(c, d->nbd, err);
    if (!u)
        return -1;
    reset(u, disk, offset, length);
    for (uint64_t i = 0; i < run->n; i++) {
        int rc = digestlog_get(d->known.table, run->block + i, &u->known[i], err);
        if (rc < 0)
            return -1;
        u->has[i] = rc == 1;
        u->must[i] = zeros_matter(d, c->x->disks[disk].mode, run->block + i);
    }
    if (d->map)
        u->n_runs = imagemap_find(d->map, offset, length, u->runs, FRAME_BLOCKS_MAX);
    if (u->n_runs) {
        queue_push(c->read, u);
        return 0;
    }
    return vnbd_read(d->nbd, u->data, (size_t)length, offset, on_read, u, err);
}

/* Blocks of zeros from @from to @to: one record, handed to the writer as it is. */
static int tell_zeros(struct send_ctx *c, uint16_t disk, uint64_t from, uint64_t to,
                      struct vr_err *err)
{
    if (from == to)
        return 0;
    uint64_t offset = from * VR_BLOCK_SIZE, end = to * VR_BLOCK_SIZE;
    if (end > c->sizes[disk])
        end = c->sizes[disk];
    struct send_unit *u = take_unit(c, c->disks[disk].nbd, err);
    if (!u)
        return -1;
    reset(u, disk, offset, end - offset);
    u->zero = true;
    queue_push(c->read, u);
    return 0;
}

static void count_skipped(struct send_ctx *c, uint64_t bytes)
{
    atomic_fetch_add(&c->progress->skipped, bytes);
    atomic_fetch_add(&c->progress->done, bytes);
}

/* Candidates that are holes: nothing to read, but compare with what the receiver has. */
static int zero_run(struct send_ctx *c, uint16_t disk, const struct plan_run *run,
                    struct vr_err *err)
{
    struct send_disk *d = &c->disks[disk];
    uint64_t start = run->block, end = run->block + run->n;
    for (uint64_t b = run->block; b < end; b++) {
        struct vr_digest known;
        uint64_t left = c->sizes[disk] - b * VR_BLOCK_SIZE;
        size_t n = left < VR_BLOCK_SIZE ? (size_t)left : VR_BLOCK_SIZE;
        int rc = digestlog_get(d->known.table, b, &known, err);
        if (rc < 0)
            return -1;
        struct vr_digest zero = vr_digest_zero(n);
        bool skip = rc ? memcmp(&known, &zero, sizeof zero) == 0
                       : !zeros_matter(d, c->x->disks[disk].mode, b);
        if (!skip)
            continue;
        if (tell_zeros(c, disk, start, b, err) < 0)
            return -1;
        start = b + 1;
        count_skipped(c, n);
    }
    return tell_zeros(c, disk, start, end, err);
}

static int read_window(struct send_ctx *c, uint16_t disk, const struct plan *p, struct vr_err *err)
{
    uint64_t at = p->first;
    struct plan_run run;
    while (plan_next(p, at, FRAME_BLOCKS_MAX, FRAME_ZERO_MAX / VR_BLOCK_SIZE, &run)) {
        if ((run.data ? read_run : zero_run)(c, disk, &run, err) < 0)
            return -1;
        at = run.block + run.n;
    }
    struct vnbd *nbd = c->disks[disk].nbd;
    while (vnbd_in_flight(nbd))
        if (stopped(c, err) < 0 || vnbd_wait(&nbd, 1, -1, SEND_SLICE_MS, err) < 0)
            return -1;
    return stopped(c, err);
}

static int each_window(struct send_ctx *c, bool count_only, struct plan *p, struct vr_err *err)
{
    for (size_t i = 0; i < c->x->n_disks; i++) {
        const struct xfer_send_disk *d = &c->x->disks[i];
        uint64_t blocks = (d->size + VR_BLOCK_SIZE - 1) / VR_BLOCK_SIZE;
        for (uint64_t first = 0; first < blocks; first += PLAN_BLOCKS) {
            bool whole = c->x->n_disks == 1 && blocks <= PLAN_BLOCKS;
            /* One disk in one window: the plan that was counted is still there. */
            if ((count_only || !whole) && plan_build(p, d, c->disks[i].nbd, &c->disks[i].known,
                                                     c->disks[i].own, first, err) < 0)
                return vr_err_wrap(err, "disk %s", d->target);
            if (count_only)
                atomic_fetch_add(&c->progress->total, plan_bytes(p));
            else if (read_window(c, (uint16_t)i, p, err) < 0)
                return vr_err_wrap(err, "disk %s", d->target);
            if (stopped(c, err) < 0)
                return -1;
        }
    }
    return 0;
}

int send_open_disks(struct send_ctx *c, struct vr_err *err)
{
    for (size_t i = 0; i < c->x->n_disks; i++) {
        const struct xfer_send_disk *d = &c->x->disks[i];
        struct vnbd_config cfg = { .socket = d->socket,
                                   .export_name = d->export_name,
                                   .dirty_context = d->dirty_context,
                                   .connections = 2,
                                   .stop = send_stopping,
                                   .stop_ctx = c };
        if (vnbd_open(&cfg, &c->disks[i].nbd, err) < 0)
            return vr_err_wrap(err, "disk %s", d->target);
        struct vr_err unknown = VR_ERR_INIT;
        if (d->image && imagemap_open(d->image, d->format, &c->disks[i].map, &unknown) < 0)
            vr_log_err(VR_LOG_DEBUG, "an image is read through qemu-nbd", &unknown);
        if (d->mode == XFER_COMPARE && d->own && own_open(d, &c->disks[i].own, &unknown) < 0)
            vr_log_err(VR_LOG_WARN, "a digest table cannot be used, the disk is read instead",
                       &unknown);
        if (vnbd_size(c->disks[i].nbd) != d->size)
            return vr_fail(err, VR_E_IO, 0, "disk %s has %llu bytes now, not %llu", d->target,
                           (unsigned long long)vnbd_size(c->disks[i].nbd),
                           (unsigned long long)d->size);
    }
    return 0;
}

int send_read_all(struct send_ctx *c, struct vr_err *err)
{
    while (!queue_pop(c->told, SEND_SLICE_MS))
        if (stopped(c, err) < 0)
            return -1;
    struct plan p = { .n = 0 };
    int rc = each_window(c, true, &p, err);
    if (rc == 0)
        rc = each_window(c, false, &p, err);
    plan_done(&p);
    return rc;
}
