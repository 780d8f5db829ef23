/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The receiver: makes the pipeline of recv_priv.h, feeds it from the stream and takes it apart.
 *
 * Ending. After a failure of ours the writer tells the sender, who breaks the stream; until then
 * the reader throws away what still comes, for a connection closed with unread data would be reset
 * and the message lost with it. RECEIVED is sent when nothing is left to do here: disks closed,
 * qemu-nbd gone, files synced. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "recv_priv.h"

void recv_failed(struct recv_ctx *c, const struct vr_err *err)
{
    fault_set(c->fault, err);
    queue_close(c->spare);
    queue_close(c->packed);
    queue_close(c->ready);
}

bool recv_stopping(void *ctx)
{
    const struct recv_ctx *c = ctx;
    return fault_is(c->fault) || atomic_load(&c->progress->cancel);
}

/* ---- the reader ---- */

static struct recv_unit *take_unit(struct recv_ctx *c, struct vr_err *err)
{
    for (;;) {
        struct recv_unit *u = queue_pop(c->spare, RECV_SLICE_MS);
        if (u)
            return u;
        if (fault_is(c->fault)) {
            vr_fail(err, VR_E_CANCELLED, 0,
                    "the transfer failed"); /* the first error is reported */
            return NULL;
        }
    }
}

/* Data that is not compressed: each block is checked while it is still in the processor's cache. */
static int read_plain(struct recv_ctx *c, struct recv_unit *u, struct vr_err *err)
{
    struct vr_stream *s = c->x->stream;
    for (uint32_t i = 0; i < u->d.blocks; i++)
        if (s->read(s, u->raw + (size_t)i * VR_BLOCK_SIZE, recv_block_bytes(u, i), err) < 0 ||
            recv_check(u, i, err) < 0)
            return -1;
    queue_push(c->ready, u);
    return 0;
}

static int read_data(struct recv_ctx *c, const struct frame_header *h, uint64_t *records,
                     struct vr_err *err)
{
    struct vr_stream *s = c->x->stream;
    uint8_t fixed[FRAME_DATA_FIXED];
    struct frame_data d;
    if (s->read(s, fixed, sizeof fixed, err) < 0 ||
        frame_get_data(fixed, h->length, c->sizes, c->n_disks, &d, err) < 0)
        return -1;
    struct recv_unit *u = take_unit(c, err);
    if (!u)
        return -1;
    u->kind = RECV_DATA;
    u->d = d;
    atomic_store(&u->seq, (*records)++);
    atomic_fetch_add(&c->progress->wire, FRAME_HEADER + (uint64_t)h->length);
    if (d.encoding == FRAME_ZERO) {
        queue_push(c->ready, u);
        return 0;
    }
    if (s->read(s, u->digests, d.blocks * sizeof u->digests[0], err) < 0)
        return -1;
    if (d.encoding == FRAME_PLAIN)
        return read_plain(c, u, err);
    if (s->read(s, u->packed, d.payload, err) < 0)
        return -1;
    queue_push(c->packed, u);
    return 0;
}

static int read_token(struct recv_ctx *c, enum recv_kind kind, const struct vr_buf *body,
                      uint64_t records, struct vr_err *err)
{
    uint64_t said;
    if (frame_get_u64(body, &said, err) < 0)
        return -1;
    if (said != records)
        return vr_fail(err, VR_E_PROTO, 0, "the sender counts %llu records, %llu came",
                       (unsigned long long)said, (unsigned long long)records);
    struct recv_unit *u = take_unit(c, err);
    if (!u)
        return -1;
    u->kind = kind;
    u->records = records;
    queue_push(c->ready, u);
    return 0;
}

static int read_all(struct recv_ctx *c, struct vr_err *err)
{
    vr_autobuf struct vr_buf body = VR_BUF_INIT;
    uint64_t records = 0;
    struct vr_stream *s = c->x->stream;
    while (!fault_is(c->fault)) {
        struct frame_header h;
        if (frame_read_header(s, &h, err) < 0)
            return -1;
        if (h.type == FRAME_DATA) {
            if (read_data(c, &h, &records, err) < 0)
                return -1;
            continue;
        }
        if (frame_read_body(s, &h, &body, err) < 0)
            return -1;
        switch (h.type) {
        case FRAME_NOOP:
            break;
        case FRAME_SYNC:
            if (read_token(c, RECV_SYNC, &body, records, err) < 0)
                return -1;
            break;
        case FRAME_DONE:
            return read_token(c, RECV_DONE, &body, records, err);
        case FRAME_ERROR:
            return frame_get_error(&body, "the sender says", err);
        default:
            return vr_fail(err, VR_E_PROTO, 0, "the sender sent a frame %s", frame_name(h.type));
        }
    }
    return 0;
}

/* ---- making and taking apart ---- */

static int make(struct recv_ctx *c, struct vr_err *err)
{
    c->last_token = &c->tokens;
    c->units = vr_new0(RECV_UNITS, sizeof *c->units);
    c->buffers = vr_alloc_buffers((size_t)RECV_UNITS * FRAME_DATA_MAX);
    if (!c->buffers)
        return vr_fail(err, VR_E_NOMEM, 0, "no memory for a transfer");
    for (size_t i = 0; i < RECV_UNITS; i++) {
        struct recv_unit *u = &c->units[i];
        u->ctx = c;
        atomic_store(&u->seq, RECV_IDLE);
        u->raw = c->buffers + i * FRAME_DATA_MAX;
        u->packed = aligned_alloc(4096, FRAME_DATA_MAX);
        if (!u->packed)
            return vr_fail(err, VR_E_NOMEM, 0, "no memory for a transfer");
        queue_push(c->spare, u);
    }
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    int want = cpus < 1 ? 1 : cpus > RECV_UNPACKERS_MAX ? RECV_UNPACKERS_MAX : (int)cpus;
    int rc = pthread_create(&c->writer, NULL, recv_writer, c);
    c->wrote = c->has_writer = rc == 0;
    for (int i = 0; rc == 0 && i < want; i++) {
        rc = pthread_create(&c->unpackers[i], NULL, recv_unpacker, c);
        c->n_unpackers += rc == 0;
    }
    return rc ? vr_fail(err, VR_E_NOMEM, rc, "cannot start a thread") : 0;
}

static void join(struct recv_ctx *c)
{
    queue_close(c->packed);
    for (int i = 0; i < c->n_unpackers; i++)
        pthread_join(c->unpackers[i], NULL);
    c->n_unpackers = 0;
    if (c->has_writer)
        pthread_join(c->writer, NULL);
    c->has_writer = false;
}

static void unmake(struct recv_ctx *c)
{
    recv_disks_close(c);
    for (size_t i = 0; i < c->n_disks; i++) {
        struct recv_disk *d = &c->disks[i];
        digestlog_free(d->slots);
        extents_done(&d->doubt);
        for (size_t k = 0; d->unsettled && k < d->n_unsettled; k++)
            free(d->unsettled[k].bits);
        free(d->unsettled);
        free(d->written.v);
        free(d->flushing.v);
    }
    for (size_t i = 0; c->units && i < RECV_UNITS; i++)
        free(c->units[i].packed);
    free(c->disks);
    free(c->units);
    free(c->buffers);
    queue_free(c->spare);
    queue_free(c->packed);
    queue_free(c->ready);
    fault_free(c->fault);
}

static int sync_file(const char *path, struct vr_err *err)
{
    vr_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot sync %s", path);
    return 0;
}

static int finish(struct recv_ctx *c, struct vr_err *err)
{
    uint64_t records = c->durable;
    recv_disks_close(c);
    for (size_t i = 0; i < c->n_disks; i++)
        if (sync_file(c->disks[i].x->image, err) < 0)
            return -1;
    struct vr_stream *s = c->x->stream;
    if (frame_send_u64(s, FRAME_RECEIVED, records, err) < 0)
        return -1;
    return s->flush(s, err);
}

/* Read until the sender has understood and gone. */
static void drain(struct recv_ctx *c)
{
    uint8_t waste[4096];
    int64_t end = vr_mono_now().ms + RECV_DRAIN_MS;
    while (vr_mono_now().ms < end &&
           c->x->stream->read(c->x->stream, waste, sizeof waste, NULL) == 0)
        ;
}

/* The pipeline until everything is durable, or something failed. */
static int receive(struct recv_ctx *c)
{
    struct vr_err e = VR_ERR_INIT;
    if (make(c, &e) < 0 || read_all(c, &e) < 0)
        recv_failed(c, &e); /* no effect if it is the echo of an earlier one */
    join(c);
    return fault_is(c->fault) ? -1 : 0;
}

int xfer_recv_run(const struct xfer_recv *x, struct vr_err *err)
{
    if (x->n_disks == 0 || x->n_disks > VR_DISKS_MAX)
        return vr_fail(err, VR_E_INVAL, 0, "a transfer of %zu disks", x->n_disks);
    struct xfer_progress own = { .total = 0 };
    struct recv_ctx c = { .x = x, .progress = x->progress ? x->progress : &own, .wake = -1 };
    c.fault = fault_new();
    c.spare = queue_new(RECV_UNITS, false);
    c.packed = queue_new(RECV_UNITS, false);
    c.ready = queue_new(RECV_UNITS, true);
    struct vr_err e = VR_ERR_INIT;
    int rc = recv_have(&c, &e);
    bool told = rc == 0 && receive(&c) < 0; /* the writer told it */
    if (told || (rc == 0 && finish(&c, &e) < 0))
        rc = -1;
    if (rc < 0) {
        fault_set(c.fault, &e);
        fault_get(c.fault, &e);
        if (!told || !c.wrote)
            frame_tell_error(c.x->stream, &e);
        if (e.kind != VR_E_PEER && e.kind != VR_E_TIMEOUT)
            drain(&c);
        vr_err_move(err, &e);
    }
    unmake(&c);
    return rc;
}
