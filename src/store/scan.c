/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading a whole image: through qemu-nbd when it is qcow2, directly when it is raw. Batches of
 * blocks are read at once and handed over in order. Any worker. */
#include "store/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "model/model.h"
#include "transfer/extents.h"
#include "transfer/nbd_libnbd.h"

enum { BATCH = 64, STRIDE = 1 << 30 };

struct scan {
    const char *path;
    const atomic_bool *cancel;
    int (*fn)(void *ctx, uint64_t block, const uint8_t *data, size_t n, struct vr_err *err);
    void *ctx;
    uint64_t size;
    uint8_t *data; /* BATCH blocks */
    struct vnbd *nbd;
    int fd;
    int error; /* errno of a read of the batch */
};

static int read_file(struct scan *s, uint8_t *p, size_t n, uint64_t at, struct vr_err *err)
{
    while (n) {
        ssize_t r = pread(s->fd, p, n, (off_t)at);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return vr_fail(err, VR_E_IO, r < 0 ? errno : EIO, "cannot read %s", s->path);
        p += r;
        at += (uint64_t)r;
        n -= (size_t)r;
    }
    return 0;
}

static void on_read(void *ctx, int error)
{
    struct scan *s = ctx;
    if (error)
        s->error = error;
}

static int read_nbd(struct scan *s, uint64_t at, size_t n, struct vr_err *err)
{
    int rc = 0;
    s->error = 0;
    for (size_t got = 0; rc == 0 && got < n; got += VR_BLOCK_SIZE) {
        size_t part = n - got < VR_BLOCK_SIZE ? n - got : VR_BLOCK_SIZE;
        rc = vnbd_read(s->nbd, s->data + got, part, at + got, on_read, s, err);
    }
    /* The buffer is theirs until all have ended, also after a failure. */
    struct vr_err waiting = VR_ERR_INIT;
    while (vnbd_in_flight(s->nbd) > 0)
        if (vnbd_wait(&s->nbd, 1, -1, 200, &waiting) < 0)
            return rc < 0 ? -1 : vr_fail(err, waiting.kind, 0, "%s", waiting.msg);
    if (rc == 0 && s->error)
        return vr_fail(err, VR_E_IO, s->error, "cannot read %s", s->path);
    return rc;
}

/* Read [at, at + n), at most a batch, and hand it over block by block. */
static int pass(struct scan *s, uint64_t at, size_t n, struct vr_err *err)
{
    if (s->cancel && atomic_load(s->cancel))
        return vr_fail(err, VR_E_CANCELLED, 0, "reading %s was stopped", s->path);
    if ((s->nbd ? read_nbd(s, at, n, err) : read_file(s, s->data, n, at, err)) < 0)
        return -1;
    for (size_t got = 0; got < n; got += VR_BLOCK_SIZE) {
        size_t part = n - got < VR_BLOCK_SIZE ? n - got : VR_BLOCK_SIZE;
        if (s->fn(s->ctx, (at + got) / VR_BLOCK_SIZE, s->data + got, part, err) < 0)
            return -1;
    }
    return 0;
}

static int pass_range(struct scan *s, uint64_t at, uint64_t end, struct vr_err *err)
{
    while (at < end) {
        uint64_t left = end - at;
        size_t n = left < (uint64_t)BATCH * VR_BLOCK_SIZE ? (size_t)left : BATCH * VR_BLOCK_SIZE;
        if (pass(s, at, n, err) < 0)
            return -1;
        at += n;
    }
    return 0;
}

static void on_status(void *ctx, enum vnbd_status_kind kind, uint64_t offset, uint64_t length)
{
    if (kind == VNBD_DATA)
        extents_add(ctx, offset, length);
}

static int scan_nbd(struct scan *s, struct vr_err *err)
{
    for (uint64_t at = 0; at < s->size; at += STRIDE) {
        uint64_t n = s->size - at < STRIDE ? s->size - at : STRIDE;
        __attribute__((cleanup(extents_done))) struct extents data = { 0 };
        if (vnbd_status(s->nbd, at, n, on_status, &data, err) < 0)
            return -1;
        extents_align(&data, VR_BLOCK_SIZE, s->size);
        for (size_t i = 0; i < data.n; i++) {
            /* An answer may reach beyond what was asked: each block is passed once. */
            uint64_t from = data.v[i].offset, to = from + data.v[i].length;
            from = from < at ? at : from;
            to = to > at + n ? at + n : to;
            if (from < to && pass_range(s, from, to, err) < 0)
                return -1;
        }
    }
    return 0;
}

static int scan_raw(struct scan *s, struct vr_err *err)
{
    for (uint64_t at = 0; at < s->size;) {
        off_t data = lseek(s->fd, (off_t)at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            return 0;
        uint64_t from = data < 0 ? at : (uint64_t)data / VR_BLOCK_SIZE * VR_BLOCK_SIZE;
        from = from < at ? at : from;
        uint64_t left = s->size - from;
        uint64_t n = left < (uint64_t)BATCH * VR_BLOCK_SIZE ? left : BATCH * VR_BLOCK_SIZE;
        if (pass_range(s, from, from + n, err) < 0)
            return -1;
        at = from + n;
    }
    return 0;
}

static void scan_done(struct scan *s)
{
    vnbd_close(s->nbd);
    if (s->fd >= 0)
        close(s->fd);
    free(s->data);
}

static bool stop(void *ctx)
{
    const atomic_bool *cancel = ctx;
    return cancel && atomic_load(cancel);
}

int image_scan(const char *path, const char *format, const atomic_bool *cancel,
               int (*fn)(void *ctx, uint64_t block, const uint8_t *data, size_t n,
                         struct vr_err *err),
               void *ctx, uint64_t *ret_size, struct vr_err *err)
{
    __attribute__((cleanup(scan_done))) struct scan s = { .path = path, .fd = -1 };
    s.cancel = cancel;
    s.fn = fn;
    s.ctx = ctx;
    s.data = vr_new0(BATCH, VR_BLOCK_SIZE);
    if (!strcmp(format, "raw")) {
        s.fd = open(path, O_RDONLY | O_CLOEXEC);
        off_t end = s.fd < 0 ? -1 : lseek(s.fd, 0, SEEK_END);
        if (end < 0)
            return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot open %s", path);
        s.size = (uint64_t)end;
        if (scan_raw(&s, err) < 0)
            return -1;
    } else {
        struct vnbd_config cfg = { .image = path, .connections = 1 };
        cfg.stop = stop;
        cfg.stop_ctx = (void *)cancel;
        if (vnbd_open(&cfg, &s.nbd, err) < 0)
            return -1;
        s.size = vnbd_size(s.nbd);
        if (scan_nbd(&s, err) < 0)
            return -1;
    }
    *ret_size = s.size;
    return 0;
}
