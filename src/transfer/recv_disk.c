/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where a receiver's data goes: a qcow2 layer through a qemu-nbd, or a raw image, which needs no
 * server and none of the copies that go through its socket. The rest of the receiver does not know
 * which it is. Both report from within recv_disks_wait() on the writer's thread. */
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "recv_priv.h"

static int watch(int ep, int fd)
{
    struct epoll_event e = { .events = EPOLLIN };
    return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}

static int open_raw(struct recv_ctx *c, struct recv_disk *d, struct vr_err *err)
{
    if (!c->raw) {
        c->raw = rawio_new(err);
        if (!c->raw)
            return -1;
        c->wake = epoll_create1(EPOLL_CLOEXEC);
        if (c->wake < 0 || watch(c->wake, queue_fd(c->ready)) < 0 ||
            watch(c->wake, rawio_fd(c->raw)) < 0)
            return vr_fail(err, VR_E_IO, errno, "cannot wait for the disk");
    }
    return rawfile_open(c->raw, d->x->image, &d->raw, err);
}

int recv_disk_open(struct recv_ctx *c, size_t i, struct vr_err *err)
{
    struct recv_disk *d = &c->disks[i];
    struct vnbd_config cfg = { .image = d->x->image,
                               .writable = true,
                               .want_depth = true,
                               .stop = recv_stopping,
                               .stop_ctx = c };
    if ((d->x->raw ? open_raw(c, d, err) : vnbd_open(&cfg, &c->nbds[i], err)) < 0)
        return -1;
    d->nbd = c->nbds[i];
    uint64_t size = d->raw ? rawfile_size(d->raw) : vnbd_size(d->nbd);
    if (size != d->x->size)
        return vr_fail(err, VR_E_INVAL, 0, "the layer has %llu bytes, not %llu",
                       (unsigned long long)size, (unsigned long long)d->x->size);
    return 0;
}

void recv_disks_close(struct recv_ctx *c)
{
    rawio_free(c->raw);
    c->raw = NULL;
    for (size_t i = 0; i < c->n_disks; i++) {
        vnbd_close(c->disks[i].nbd);
        rawfile_close(c->disks[i].raw);
        c->disks[i].nbd = c->nbds[i] = NULL;
        c->disks[i].raw = NULL;
    }
    if (c->wake >= 0)
        close(c->wake);
    c->wake = -1;
}

static void on_own(void *ctx, enum vnbd_status_kind kind, uint64_t offset, uint64_t length)
{
    if (kind == VNBD_OWN)
        extents_add(ctx, offset, length);
}

static void on_held(void *ctx, uint64_t offset, uint64_t length)
{
    extents_add(ctx, offset, length);
}

int recv_disk_holds(struct recv_disk *d, struct extents *ret, struct vr_err *err)
{
    if (d->raw)
        return rawfile_holds(d->raw, on_held, ret, err);
    return vnbd_status(d->nbd, 0, d->x->size, on_own, ret, err);
}

int recv_disk_write(struct recv_disk *d, const void *buf, size_t len, uint64_t offset,
                    vnbd_done *done, void *ctx, struct vr_err *err)
{
    if (!d->raw)
        return vnbd_write(d->nbd, buf, len, offset, done, ctx, err);
    rawfile_write(d->raw, buf, len, offset, done, ctx);
    return 0;
}

int recv_disk_zero(struct recv_disk *d, uint64_t len, uint64_t offset, vnbd_done *done, void *ctx,
                   struct vr_err *err)
{
    if (!d->raw)
        return vnbd_zero(d->nbd, len, offset, done, ctx, err);
    rawfile_zero(d->raw, len, offset, done, ctx);
    return 0;
}

int recv_disk_flush(struct recv_disk *d, vnbd_done *done, void *ctx, struct vr_err *err)
{
    if (!d->raw)
        return vnbd_flush(d->nbd, done, ctx, err);
    rawfile_flush(d->raw, done, ctx);
    return 0;
}

bool recv_disk_busy(const struct recv_disk *d)
{
    return (d->raw ? rawfile_in_flight(d->raw) : vnbd_in_flight(d->nbd)) > 0;
}

bool recv_disk_alive(const struct recv_disk *d)
{
    return d->raw || vnbd_alive(d->nbd);
}

int recv_disks_wait(struct recv_ctx *c, bool or_ready, int timeout_ms, struct vr_err *err)
{
    int fd = c->raw ? rawio_fd(c->raw) : -1;
    if (or_ready)
        fd = c->raw ? c->wake : queue_fd(c->ready);
    if (vnbd_wait(c->nbds, c->n_disks, fd, timeout_ms, err) < 0)
        return -1;
    if (c->raw)
        rawio_complete(c->raw);
    return 0;
}
