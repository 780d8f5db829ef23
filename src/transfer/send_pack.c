/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The sender's packers: digest every block of a unit, leave out what the receiver has, and make
 * records of the rest: zeros, compressed, or plain. Neighbouring blocks of one kind share a record.
 * A plain record's data is written from where it was read. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "send_priv.h"

enum kind { SKIP, ZERO, DENSE, LOOSE }; /* LOOSE may compress */

static bool all_zero(const uint8_t *p, size_t n)
{
    static const uint8_t zeros[64];
    if (n <= sizeof zeros)
        return memcmp(p, zeros, n) == 0;
    /* The first bytes are zero, and each byte equals the one 64 further on. */
    return memcmp(p, zeros, sizeof zeros) == 0 &&
           memcmp(p, p + sizeof zeros, n - sizeof zeros) == 0;
}

static enum kind judge(const struct send_unit *u, size_t i, const uint8_t *p, size_t n,
                       struct vr_digest *ret)
{
    *ret = vr_digest_block(p, n);
    if (u->has[i] && memcmp(&u->known[i], ret, sizeof *ret) == 0)
        return SKIP;
    if (all_zero(p, n))
        return u->has[i] || u->must[i] ? ZERO : SKIP;
    return zpack_promising(p, n) ? LOOSE : DENSE;
}

static void add_segment(struct send_unit *u, const void *p, size_t n)
{
    u->segments[u->n_segments].p = p;
    u->segments[u->n_segments++].n = n;
}

/* Where the packer is within a unit. */
struct packing {
    struct zpack *z;
    struct steer *steer;
    bool chosen;   /* is the unit's step known already? */
    uint8_t *head; /* next free byte of heads[] */
    size_t packed; /* used bytes of packed[] */
};

/* Behind what is in u->packed already. Returns the size, 0: it stays as it is. */
static size_t compress(struct send_unit *u, struct packing *w, const uint8_t *p, size_t n)
{
    if (!w->chosen)
        u->pay.step = steer_take(w->steer, &u->pay.sample);
    w->chosen = true;
    u->pay.compressible += n;
    size_t room = zpack_bound(FRAME_DATA_MAX) + 4096 - w->packed;
    int64_t began = vr_mono_us();
    size_t got = zpack_run(w->z, steer_level(u->pay.step), p, n, u->packed + w->packed, room);
    u->pay.work_us += vr_mono_us() - began;
    return got;
}

static void add_record(struct send_unit *u, struct packing *w, enum kind kind, uint64_t at,
                       uint64_t length, const struct vr_digest *digests, size_t n)
{
    struct frame_data d = { .disk = u->disk, .offset = u->offset + at, .length = length };
    const uint8_t *from = u->data + at;
    size_t size = (size_t)length;
    u->records++;
    if (kind == ZERO) {
        d.encoding = FRAME_ZERO;
        n = size = 0;
        u->zeros += length;
    } else if (kind == LOOSE) {
        size_t got = compress(u, w, from, size);
        if (got) {
            d.encoding = FRAME_ZSTD;
            from = u->packed + w->packed;
            w->packed += size = got;
        }
        u->pay.compressed += size;
    }
    if (kind != ZERO)
        u->payload += length;
    uint8_t *h = w->head;
    frame_put_header(h, FRAME_DATA, (uint32_t)(FRAME_DATA_FIXED + n * 16 + size));
    frame_put_data(h + FRAME_HEADER, &d);
    if (n)
        memcpy(h + FRAME_HEADER + FRAME_DATA_FIXED, digests, n * 16);
    w->head += FRAME_HEADER + FRAME_DATA_FIXED + n * 16;
    add_segment(u, h, (size_t)(w->head - h));
    if (size)
        add_segment(u, from, size);
}

static void pack(struct send_unit *u, struct packing *w, bool compared)
{
    size_t n = (size_t)((u->length + VR_BLOCK_SIZE - 1) / VR_BLOCK_SIZE);
    struct vr_digest digests[FRAME_BLOCKS_MAX];
    enum kind kinds[FRAME_BLOCKS_MAX];
    for (size_t i = 0; i < n; i++) {
        uint64_t at = i * VR_BLOCK_SIZE, left = u->length - at;
        size_t size = left < VR_BLOCK_SIZE ? (size_t)left : VR_BLOCK_SIZE;
        kinds[i] = judge(u, i, u->data + at, size, &digests[i]);
        if (kinds[i] == SKIP)
            u->skipped += size;
        if (compared)
            disksum_add(&u->sum, u->offset / VR_BLOCK_SIZE + i, &digests[i], size);
    }
    for (size_t i = 0, k; i < n; i = k) {
        for (k = i + 1; k < n && kinds[k] == kinds[i];)
            k++;
        uint64_t at = i * VR_BLOCK_SIZE, end = k * VR_BLOCK_SIZE;
        if (end > u->length)
            end = u->length;
        if (kinds[i] != SKIP)
            add_record(u, w, kinds[i], at, end - at, &digests[i], k - i);
    }
}

/* How long this thread has had a processor and has waited for one, in microseconds; zeros where
 * the kernel does not tell. src:[Linux Documentation/scheduler/sched-stats.rst] */
static void thread_times(int fd, int64_t *ran, int64_t *waited)
{
    char text[128];
    ssize_t n = fd < 0 ? 0 : pread(fd, text, sizeof text - 1, 0);
    text[n < 0 ? 0 : n] = 0;
    char *end = text;
    *ran = strtoll(text, &end, 10) / 1000;
    *waited = strtoll(end, NULL, 10) / 1000;
}

/* Read a unit that lies in the file of a closed image. */
static int read_file(struct send_unit *u, struct vr_err *err)
{
    const struct send_disk *d = &u->ctx->disks[u->disk];
    uint8_t *to = u->data;
    for (size_t i = 0; i < u->n_runs; i++) {
        uint64_t at = u->runs[i].offset, left = u->runs[i].length;
        while (left) {
            ssize_t n = pread(imagemap_fd(d->map), to, (size_t)left, (off_t)at);
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0)
                return vr_fail(err, VR_E_IO, n < 0 ? errno : EIO,
                               "cannot read disk %s at %llu (%s)", u->ctx->x->disks[u->disk].target,
                               (unsigned long long)u->offset, u->ctx->x->disks[u->disk].image);
            to += n;
            at += (uint64_t)n;
            left -= (uint64_t)n;
        }
    }
    return 0;
}

void *send_packer(void *arg)
{
    struct send_ctx *c = arg;
    vr_auto(zpack_free) struct zpack *z = zpack_new();
    vr_autoclose int stat = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    int64_t ran = 0, waited = 0;
    thread_times(stat, &ran, &waited);
    while (!queue_ended(c->read)) {
        struct send_unit *u = queue_pop(c->read, SEND_SLICE_MS);
        if (!u)
            continue;
        struct vr_err err = VR_ERR_INIT;
        if (u->n_runs && read_file(u, &err) < 0) {
            send_failed(c, &err);
            continue;
        }
        u->pay = (struct steer_unit){ .step = atomic_load(&c->steer.step), .bytes = u->length };
        struct packing w = { .z = z, .steer = &c->steer, .head = u->heads };
        if (u->zero)
            add_record(u, &w, ZERO, 0, u->length, NULL, 0);
        else
            pack(u, &w, c->x->disks[u->disk].mode == XFER_COMPARE);
        if (w.chosen) {
            int64_t r = ran, t = waited;
            thread_times(stat, &ran, &waited);
            u->pay.ran_us = ran - r;
            u->pay.waited_us = waited - t;
        }
        queue_push(c->ready, u);
    }
    return NULL;
}
