/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A batch of blocks is read at once and handed over in order. Any worker. */
#include "transfer/blockread.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "transfer/extents.h"

enum { BATCH = 64, STRIDE = 1 << 30 };

struct slot {
    int error; /* errno of its read */
    bool read;
};

struct run {
    const struct blockread *r;
    uint64_t size;
    uint8_t *data; /* BATCH blocks */
    struct slot slots[BATCH];
    struct mono_ms began;
    uint64_t bytes;
};

bool blockread_all_zero(const uint8_t *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

static bool stopped(const struct run *u)
{
    return u->r->cancel && atomic_load(u->r->cancel);
}

static void on_read(void *ctx, int error)
{
    struct slot *s = ctx;
    s->error = error;
    s->read = true;
}

static int drain(const struct run *u, struct vr_err *err)
{
    struct vnbd *nbd = u->r->nbd;
    while (vnbd_in_flight(nbd) > 0)
        if (vnbd_wait(&nbd, 1, -1, 200, err) < 0)
            return -1;
    return 0;
}

/* The buffer is theirs until all have ended, also after a failure. */
static int read_batch(struct run *u, uint64_t at, size_t n, struct vr_err *err)
{
    struct vr_err waiting = VR_ERR_INIT;
    int rc = 0;
    memset(u->slots, 0, sizeof u->slots);
    for (size_t got = 0; rc == 0 && got < n; got += VR_BLOCK_SIZE) {
        size_t part = n - got < VR_BLOCK_SIZE ? n - got : VR_BLOCK_SIZE;
        rc = vnbd_read(u->r->nbd, u->data + got, part, at + got, on_read,
                       &u->slots[got / VR_BLOCK_SIZE], err);
    }
    if (drain(u, &waiting) < 0)
        return rc < 0 ? -1 : vr_fail(err, waiting.kind, 0, "%s", waiting.msg);
    return rc;
}

/* Not faster than allowed, on the average since the beginning. */
static void pace(const struct run *u)
{
    if (!u->r->bytes_per_second)
        return;
    int64_t due = (int64_t)((double)u->bytes * 1000 / (double)u->r->bytes_per_second);
    for (;;) {
        int64_t left = due - (vr_mono_now().ms - u->began.ms);
        if (left <= 0 || stopped(u))
            return;
        poll(NULL, 0, left > 100 ? 100 : (int)left);
    }
}

static int hand_over(struct run *u, uint64_t at, size_t n, struct vr_err *err)
{
    const struct blockread *r = u->r;
    for (size_t got = 0; got < n; got += VR_BLOCK_SIZE) {
        const struct slot *s = &u->slots[got / VR_BLOCK_SIZE];
        size_t part = n - got < VR_BLOCK_SIZE ? n - got : VR_BLOCK_SIZE;
        bool lost = s->error && r->tolerant && vnbd_alive(r->nbd);
        if (s->error && !lost)
            return vr_fail(err, VR_E_IO, s->error, "cannot read at offset %llu",
                           (unsigned long long)(at + got));
        int rc = r->fn(r->ctx, (at + got) / VR_BLOCK_SIZE, lost ? NULL : u->data + got, part, err);
        if (rc)
            return rc;
    }
    return 0;
}

static int pass_range(struct run *u, uint64_t at, uint64_t end, struct vr_err *err)
{
    while (at < end) {
        uint64_t left = end - at;
        size_t n = left < (uint64_t)BATCH * VR_BLOCK_SIZE ? (size_t)left : BATCH * VR_BLOCK_SIZE;
        if (stopped(u))
            return vr_fail(err, VR_E_CANCELLED, 0, "reading was stopped");
        if (read_batch(u, at, n, err) < 0)
            return -1;
        u->bytes += n;
        int rc = hand_over(u, at, n, err);
        if (rc)
            return rc;
        pace(u);
        at += n;
    }
    return 0;
}

static void on_status(void *ctx, enum vnbd_status_kind kind, uint64_t offset, uint64_t length)
{
    if (kind == VNBD_DATA)
        extents_add(ctx, offset, length);
}

static int pass_stride(struct run *u, uint64_t at, uint64_t end, struct vr_err *err)
{
    __attribute__((cleanup(extents_done))) struct extents data = { 0 };
    if (vnbd_status(u->r->nbd, at, end - at, on_status, &data, err) < 0)
        return -1;
    extents_align(&data, VR_BLOCK_SIZE, u->size);
    for (size_t i = 0; i < data.n; i++) {
        /* An answer may reach beyond what was asked: each block is passed once. */
        uint64_t from = data.v[i].offset, to = from + data.v[i].length;
        from = from < at ? at : from;
        to = to > end ? end : to;
        int rc = from < to ? pass_range(u, from, to, err) : 0;
        if (rc)
            return rc;
    }
    return 0;
}

int blockread_run(const struct blockread *r, uint64_t first, uint64_t end, struct vr_err *err)
{
    struct run u = { .r = r, .size = vnbd_size(r->nbd), .began = vr_mono_now() };
    uint64_t at = first * VR_BLOCK_SIZE, to = end * VR_BLOCK_SIZE;
    if (to > u.size)
        to = u.size;
    u.data = vr_new0(BATCH, VR_BLOCK_SIZE);
    int rc = 0;
    for (; rc == 0 && at < to; at += STRIDE)
        rc = pass_stride(&u, at, to - at < STRIDE ? to : at + STRIDE, err);
    free(u.data);
    return rc;
}
