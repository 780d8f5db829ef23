/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The sender: makes the pipeline of send_priv.h, runs it and takes it apart in every case.
 *
 * Ending. The first error is kept and all queues are closed, so every thread comes to its end. The
 * writer may still tell the receiver why; after two seconds, or when it is through, the stream is
 * broken, which wakes writer and listener wherever they are. NBD handles are closed before the
 * buffers go that requests in flight may still fill. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "send_priv.h"

void send_failed(struct send_ctx *c, const struct vr_err *err)
{
    fault_set(c->fault, err);
    queue_close(c->spare);
    queue_close(c->read);
    queue_close(c->ready);
    queue_close(c->told);
}

bool send_stopping(void *ctx)
{
    const struct send_ctx *c = ctx;
    return fault_is(c->fault) || atomic_load(&c->progress->cancel);
}

static int send_start(struct send_ctx *c, struct vr_err *err)
{
    struct frame_start_disk d[VR_DISKS_MAX];
    for (size_t i = 0; i < c->x->n_disks; i++) {
        const struct xfer_send_disk *from = &c->x->disks[i];
        memset(&d[i], 0, sizeof d[i]);
        snprintf(d[i].target, sizeof d[i].target, "%s", from->target);
        d[i].size = from->size;
        d[i].want_parents = from->mode == XFER_COMPARE;
    }
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct vr_stream *s = c->x->stream;
    if (frame_put_start(&b, d, c->x->n_disks, err) < 0 ||
        frame_send(s, FRAME_START, b.data, b.len, err) < 0)
        return -1;
    return s->flush(s, err);
}

static int check_input(const struct xfer_send *x, struct vr_err *err)
{
    if (x->n_disks == 0 || x->n_disks > VR_DISKS_MAX)
        return vr_fail(err, VR_E_INVAL, 0, "a transfer of %zu disks", x->n_disks);
    for (size_t i = 0; i < x->n_disks; i++) {
        const struct xfer_send_disk *d = &x->disks[i];
        if (!d->size || d->size > VR_DISK_MAX)
            return vr_fail(err, VR_E_INVAL, 0, "disk %s has an impossible size", d->target);
        if (d->mode == XFER_DIRTY && !d->dirty_context)
            return vr_fail(err, VR_E_INVAL, 0, "disk %s has no change map", d->target);
    }
    return 0;
}

static int packers_wanted(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    return cpus < 1 ? 1 : cpus > SEND_PACKERS_MAX ? SEND_PACKERS_MAX : (int)cpus;
}

static int make(struct send_ctx *c, struct vr_err *err)
{
    c->want_packers = packers_wanted();
    steer_init(&c->steer, c->x->level, c->want_packers);
    c->fault = fault_new();
    c->spare = queue_new(SEND_UNITS, true);
    c->read = queue_new(SEND_UNITS, false);
    c->ready = queue_new(SEND_UNITS, false);
    c->told = queue_new(1, false);
    c->writer_end = queue_new(1, false);
    c->listener_end = queue_new(1, false);
    c->disks = vr_new0(c->x->n_disks, sizeof *c->disks);
    c->units = vr_new0(SEND_UNITS, sizeof *c->units);
    for (size_t i = 0; i < c->x->n_disks; i++) {
        c->sizes[i] = c->x->disks[i].size;
        if (digestlog_open_temp(c->sizes[i], &c->disks[i].known.table, err) < 0)
            return -1;
    }
    c->buffers = vr_alloc_buffers((size_t)SEND_UNITS * FRAME_DATA_MAX);
    if (!c->buffers)
        return vr_fail(err, VR_E_NOMEM, 0, "no memory for a transfer");
    for (size_t i = 0; i < SEND_UNITS; i++) {
        struct send_unit *u = &c->units[i];
        u->ctx = c;
        u->data = c->buffers + i * FRAME_DATA_MAX;
        u->packed = malloc(zpack_bound(FRAME_DATA_MAX) + 4096);
        if (!u->packed)
            return vr_fail(err, VR_E_NOMEM, 0, "no memory for a transfer");
        queue_push(c->spare, u);
    }
    return 0;
}

static void unmake(struct send_ctx *c)
{
    for (size_t i = 0; c->disks && i < c->x->n_disks; i++) {
        vnbd_close(c->disks[i].nbd);
        imagemap_free(c->disks[i].map);
        own_free(c->disks[i].own);
        digestlog_free(c->disks[i].known.table);
        extents_done(&c->disks[i].known.doubt);
    }
    for (size_t i = 0; c->units && i < SEND_UNITS; i++)
        free(c->units[i].packed);
    free(c->disks);
    free(c->units);
    free(c->buffers);
    queue_free(c->spare);
    queue_free(c->read);
    queue_free(c->ready);
    queue_free(c->told);
    queue_free(c->writer_end);
    queue_free(c->listener_end);
    fault_free(c->fault);
}

static int thread(pthread_t *t, void *(*run)(void *), struct send_ctx *c, struct vr_err *err)
{
    int rc = pthread_create(t, NULL, run, c);
    return rc ? vr_fail(err, VR_E_NOMEM, rc, "cannot start a thread") : 0;
}

static int start_threads(struct send_ctx *c, struct vr_err *err)
{
    if (thread(&c->listener, send_listener, c, err) < 0)
        return -1;
    c->has_listener = true;
    if (thread(&c->writer, send_writer, c, err) < 0)
        return -1;
    c->has_writer = true;
    for (int i = 0; i < c->want_packers; i++) {
        if (thread(&c->packers[i], send_packer, c, err) < 0)
            return -1;
        c->n_packers++;
    }
    return 0;
}

/* Has the thread that closes @end come to its end within @ms? Then join it. */
static bool join_within(pthread_t t, struct queue *end, int ms)
{
    (void)queue_pop(end, ms);
    return queue_ended(end) && pthread_join(t, NULL) == 0;
}

/* All is read: let the packers run dry, then the writer, then wait for the last word. */
static void finish(struct send_ctx *c)
{
    queue_close(c->read);
    for (int i = 0; i < c->n_packers; i++)
        pthread_join(c->packers[i], NULL);
    c->n_packers = 0;
    queue_close(c->ready);
    while (c->has_writer && !send_stopping(c))
        c->has_writer = !join_within(c->writer, c->writer_end, SEND_SLICE_MS);
    while (!c->has_writer && c->has_listener && !send_stopping(c))
        c->has_listener = !join_within(c->listener, c->listener_end, SEND_SLICE_MS);
}

static void stop(struct send_ctx *c)
{
    for (int i = 0; i < c->n_packers; i++)
        pthread_join(c->packers[i], NULL);
    if (c->has_writer && join_within(c->writer, c->writer_end, 2000))
        c->has_writer = false;
    c->x->stream->shutdown(c->x->stream);
    if (c->has_writer)
        pthread_join(c->writer, NULL);
    if (c->has_listener)
        pthread_join(c->listener, NULL);
}

static int run(struct send_ctx *c, struct vr_err *err)
{
    struct vr_err e = VR_ERR_INIT;
    if (make(c, &e) < 0 || send_open_disks(c, &e) < 0) {
        frame_tell_error(c->x->stream, &e);
        c->x->stream->shutdown(c->x->stream);
        vr_err_move(err, &e);
        return -1;
    }
    if (send_start(c, err) < 0)
        return -1;
    if (start_threads(c, &e) == 0 && send_read_all(c, &e) == 0)
        finish(c);
    if (e.kind != VR_OK)
        send_failed(c, &e); /* no effect if it is the echo of an earlier one */
    if (!fault_is(c->fault) && atomic_load(&c->progress->cancel) && c->has_listener) {
        struct vr_err cancelled = VR_ERR_INIT;
        vr_fail(&cancelled, VR_E_CANCELLED, 0, "the transfer was cancelled");
        send_failed(c, &cancelled);
    }
    if (!fault_is(c->fault) && !c->has_listener)
        return 0;
    stop(c);
    fault_get(c->fault, &e);
    vr_err_move(err, &e);
    return -1;
}

int xfer_send_run(const struct xfer_send *x, struct vr_err *err)
{
    if (check_input(x, err) < 0)
        return -1;
    struct xfer_progress own = { .total = 0 };
    struct send_ctx c = { .x = x, .progress = x->progress ? x->progress : &own };
    int rc = run(&c, err);
    for (size_t i = 0; rc == 0 && x->sums && i < x->n_disks; i++)
        x->sums[i] = c.disks[i].sum;
    unmake(&c);
    return rc;
}
