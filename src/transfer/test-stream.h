/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSFER_TEST_STREAM_H
#define VR_TRANSFER_TEST_STREAM_H

/* For tests: a plain stream over a socket that can be cut or damaged at a chosen byte. */
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/stream.h"

struct test_stream {
    struct vr_stream s;
    int fd;
    uint64_t cut_after; /* written bytes; UINT64_MAX: never */
    uint64_t flip_at;   /* written byte to damage; UINT64_MAX: none */
};

static int test_stream_write(struct vr_stream *s, const void *p, size_t n, struct vr_err *err)
{
    struct test_stream *t = (struct test_stream *)s;
    const uint8_t *b = p;
    while (n) {
        size_t now = n;
        uint8_t bad;
        const uint8_t *from = b;
        if (s->bytes_out >= t->cut_after) {
            shutdown(t->fd, SHUT_RDWR);
            return vr_fail(err, VR_E_PEER, 0, "the test cut the stream");
        }
        if (now > t->cut_after - s->bytes_out)
            now = (size_t)(t->cut_after - s->bytes_out);
        if (s->bytes_out <= t->flip_at && t->flip_at - s->bytes_out < now) {
            now = (size_t)(t->flip_at - s->bytes_out);
            if (now == 0) {
                bad = *b ^ 0x10;
                from = &bad;
                now = 1;
            }
        }
        ssize_t w = send(t->fd, from, now, MSG_NOSIGNAL);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return vr_fail(err, VR_E_PEER, errno, "write");
        b += w;
        n -= (size_t)w;
        s->bytes_out += (uint64_t)w;
    }
    return 0;
}

static int test_stream_flush(struct vr_stream *s, struct vr_err *err)
{
    (void)s;
    (void)err;
    return 0;
}

static int test_stream_read(struct vr_stream *s, void *p, size_t n, struct vr_err *err)
{
    struct test_stream *t = (struct test_stream *)s;
    uint8_t *b = p;
    while (n) {
        ssize_t r = recv(t->fd, b, n, 0);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return vr_fail(err, VR_E_PEER, r < 0 ? errno : 0, "the stream ended");
        b += r;
        n -= (size_t)r;
        s->bytes_in += (uint64_t)r;
    }
    return 0;
}

static void test_stream_shutdown(struct vr_stream *s)
{
    shutdown(((struct test_stream *)s)->fd, SHUT_RDWR);
}

static void test_stream_free(struct vr_stream *s)
{
    close(((struct test_stream *)s)->fd);
    free(s);
}

static inline struct vr_stream *test_stream_new(int fd)
{
    struct test_stream *t = vr_new(struct test_stream);
    t->s = (struct vr_stream){ .write = test_stream_write,
                               .flush = test_stream_flush,
                               .read = test_stream_read,
                               .shutdown = test_stream_shutdown,
                               .free = test_stream_free };
    t->fd = fd;
    t->cut_after = t->flip_at = UINT64_MAX;
    return &t->s;
}

#endif
