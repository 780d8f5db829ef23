/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The sender's writer: the only thread that writes to the stream once the START is out. Keeps to
 * the bandwidth limit, measures what the link costs, asks for a SYNC now and then, and never is
 * silent for long. When the pipeline failed on our side it tells the receiver why, between two
 * frames. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "send_priv.h"

/* A bucket that fills with the limit's rate and holds a quarter of a second. */
struct bucket {
    uint64_t rate; /* bytes per second, 0: no limit */
    int64_t tokens, last_us;
};

struct writing {
    struct send_ctx *c;
    struct bucket bucket;
    uint64_t records, since_sync; /* since_sync: bytes of disk */
    uint64_t asked;               /* records covered by the last SYNC */
    struct mono_ms last_sync, last_write;
};

/* Wait until @n bytes may go. Returns early when the pipeline stops. */
static void pace(struct writing *w, size_t n)
{
    struct bucket *b = &w->bucket;
    if (!b->rate)
        return;
    b->tokens -= (int64_t)n;
    while (!send_stopping(w->c)) {
        int64_t now = vr_mono_us();
        int64_t full = (int64_t)(b->rate / 4);
        b->tokens += (int64_t)((double)b->rate * (double)(now - b->last_us) / 1e6);
        b->last_us = now;
        if (b->tokens > full)
            b->tokens = full;
        if (b->tokens >= 0)
            return;
        double wait = (double)-b->tokens / (double)b->rate;
        int64_t ns = wait > 0.1 ? 100000000 : (int64_t)(wait * 1e9) + 1000;
        struct timespec t = { .tv_nsec = ns };
        (void)nanosleep(&t, NULL);
    }
}

static int put(struct writing *w, const void *p, size_t n, struct vr_err *err)
{
    struct send_ctx *c = w->c;
    const uint8_t *b = p;
    while (n) {
        size_t now = n < 65536 || !w->bucket.rate ? n : 65536;
        pace(w, now);
        if (c->x->stream->write(c->x->stream, b, now, err) < 0)
            return -1;
        atomic_fetch_add(&c->progress->wire, now);
        b += now;
        n -= now;
    }
    w->last_write = vr_mono_now();
    return 0;
}

static int put_u64(struct writing *w, enum frame_type t, uint64_t v, struct vr_err *err)
{
    uint8_t b[FRAME_HEADER + 8];
    frame_put_header(b, t, 8);
    for (int i = 0; i < 8; i++)
        b[FRAME_HEADER + i] = (uint8_t)(v >> (56 - 8 * i));
    return put(w, b, sizeof b, err);
}

static int flush(struct writing *w, struct vr_err *err)
{
    return w->c->x->stream->flush(w->c->x->stream, err);
}

static int sync_now(struct writing *w, struct vr_err *err)
{
    if (put_u64(w, FRAME_SYNC, w->records, err) < 0 || flush(w, err) < 0)
        return -1;
    w->asked = w->records;
    w->since_sync = 0;
    w->last_sync = vr_mono_now();
    return 0;
}

static int write_unit(struct writing *w, const struct send_unit *u, struct vr_err *err)
{
    for (size_t i = 0; i < u->n_segments; i++)
        if (put(w, u->segments[i].p, u->segments[i].n, err) < 0)
            return -1;
    struct xfer_progress *p = w->c->progress;
    disksum_join(&w->c->disks[u->disk].sum, &u->sum);
    if (u->payload)
        steer_note(&w->c->steer, &u->pay, vr_mono_us());
    w->records += u->records;
    w->since_sync += u->length - u->skipped;
    atomic_fetch_add(&p->payload, u->payload);
    atomic_fetch_add(&p->zero, u->zeros);
    atomic_fetch_add(&p->skipped, u->skipped);
    atomic_fetch_add(&p->done, u->length);
    return 0;
}

/* What else there is to say after a unit or a while without one. */
static int chores(struct writing *w, bool idle, struct vr_err *err)
{
    int64_t now = vr_mono_now().ms, hurry = w->c->x->hurry ? w->c->x->hurry : 1;
    if (w->records > w->asked &&
        (w->since_sync >= SEND_SYNC_BYTES || now - w->last_sync.ms >= SEND_SYNC_MS / hurry))
        return sync_now(w, err);
    if (!idle)
        return 0;
    if (now - w->last_write.ms >= SEND_NOOP_MS / hurry) {
        uint8_t b[FRAME_HEADER];
        frame_put_header(b, FRAME_NOOP, 0);
        if (put(w, b, sizeof b, err) < 0)
            return -1;
    }
    return flush(w, err);
}

static int write_all(struct writing *w, struct vr_err *err)
{
    struct send_ctx *c = w->c;
    while (!queue_ended(c->ready)) {
        if (fault_is(c->fault))
            return 0;
        struct send_unit *u = queue_pop(c->ready, 0);
        bool idle = !u;
        if (idle) {
            if (chores(w, true, err) < 0)
                return -1;
            u = queue_pop(c->ready, SEND_SLICE_MS);
        }
        if (!u)
            continue;
        if (write_unit(w, u, err) < 0)
            return -1;
        queue_push(c->spare, u);
        if (chores(w, false, err) < 0)
            return -1;
    }
    /* A failure closes the queue too, but is noted before: DONE must never cover a part. */
    if (fault_is(c->fault))
        return 0;
    if (put_u64(w, FRAME_DONE, w->records, err) < 0)
        return -1;
    return flush(w, err);
}

void *send_writer(void *arg)
{
    struct send_ctx *c = arg;
    struct vr_err err = VR_ERR_INIT;
    struct writing w = { .c = c, .bucket = { .rate = c->x->bytes_per_second } };
    w.bucket.last_us = vr_mono_us();
    w.last_sync = w.last_write = vr_mono_now();
    if (write_all(&w, &err) < 0)
        send_failed(c, &err);
    else if (fault_get(c->fault, &err))
        frame_tell_error(c->x->stream, &err); /* between two frames: our side failed, say why */
    queue_close(c->writer_end);
    return NULL;
}
