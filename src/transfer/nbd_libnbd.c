/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* NBD connections with libnbd, the only file that includes it. libnbd's callbacks only note what
 * completed: they run under the handle's lock. Ours run from vnbd_wait(), outside of it. The error
 * of every completion is looked at, src:[CVE-2022-0485]: a failed read leaves garbage behind. */
#include "transfer/nbd_libnbd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <libnbd.h>

#include "base/alloc.h"
#include "transfer/imagelock.h"
#include "model/model.h"

enum {
    CONNS_MAX = 8,
    CONN_DEPTH = 8, /* requests in flight; more only makes servers allocate more */
    POLL_SLICE_MS = 200,
    SOCKET_BUFFER = 2 << 20,
    STATUS_MAX = 1 << 30, /* bytes asked at once: below the 4 GiB of the protocol */
};

static const char ctx_alloc[] = LIBNBD_CONTEXT_BASE_ALLOCATION;
static const char ctx_depth[] = "qemu:allocation-depth"; /* src:[qemu docs/interop/nbd.txt] */
static const uint32_t state_dirty = 1;                   /* src:[qemu docs/interop/nbd.txt] */

struct op {
    struct vnbd *n;
    struct op *next;
    vnbd_done *done;
    void *ctx;
    int error;
    bool completed;
};

struct vnbd {
    struct nbd_handle *h[CONNS_MAX];
    int conns, next;
    size_t in_flight;
    struct op *first, **last; /* completed, callback not run yet */
    uint64_t size;
    char *name;    /* for messages */
    char *context; /* dirty context or NULL */
    bool depth;
    bool dead;
    void *orphan; /* state of a map request that was given up */
    bool (*stop)(void *ctx);
    void *stop_ctx;
};

static int fail(const struct vnbd *n, struct vr_err *err, const char *what)
{
    const char *said = nbd_get_error();
    return vr_fail(err, VR_E_IO, 0, "%s: %s: %s", n->name, what, said ? said : "unknown error");
}

/* ---- opening ---- */

static void bigger_buffers(struct nbd_handle *h)
{
    int fd = nbd_aio_get_fd(h), size = SOCKET_BUFFER;
    if (fd >= 0) {
        /* A matter of speed only: beyond the system's limit as root, else up to it. */
        if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0)
            (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0)
            (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    }
}

static int connect_socket(struct vnbd *n, const struct vnbd_config *cfg, struct nbd_handle *h,
                          struct vr_err *err)
{
    if (nbd_set_export_name(h, cfg->export_name ? cfg->export_name : "") < 0 ||
        nbd_add_meta_context(h, ctx_alloc) < 0 ||
        (n->context && nbd_add_meta_context(h, n->context) < 0))
        return fail(n, err, "cannot prepare the connection");
    if (nbd_connect_unix(h, cfg->socket) < 0)
        return fail(n, err, "cannot connect");
    if (nbd_can_meta_context(h, ctx_alloc) != 1)
        return vr_fail(err, VR_E_IO, 0, "%s: the server does not tell what is allocated", n->name);
    if (n->context && nbd_can_meta_context(h, n->context) != 1)
        return vr_fail_detail(err, VR_E_TRACKING, VR_LOST_MISSING, "%s: there is no change map %s",
                              n->name, n->context);
    return 0;
}

/* Bypass the page cache when the file system can: the data is not read again soon, and the flush at
 * the end has little left to do. */
static const char *cache_mode(const char *image)
{
    int fd = open(image, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (fd < 0)
        return "--cache=writeback";
    close(fd);
    return "--cache=none";
}

static int connect_image(struct vnbd *n, const struct vnbd_config *cfg, struct nbd_handle *h,
                         struct vr_err *err)
{
    if (access(cfg->image, cfg->writable ? R_OK | W_OK : R_OK) < 0)
        return vr_fail(err, errno == ENOENT ? VR_E_NOFILE : VR_E_IO, errno, "cannot open %s",
                       cfg->image);
    if (cfg->writable && imagelock_wait(cfg->image, cfg->stop, cfg->stop_ctx, err) < 0)
        return -1;
    vr_autofree char *format = vr_printf("--format=%s", cfg->format ? cfg->format : "qcow2");
    /* No --persistent: it ends when we close the connection, also by dying. */
    const char *argv[16] = { "env",
                             "MALLOC_MMAP_THRESHOLD_=33554432",
                             "MALLOC_TRIM_THRESHOLD_=67108864",
                             "qemu-nbd",
                             format,
                             "--detect-zeroes=off",
                             "--aio=threads",
                             IMAGELOCK_MARK };
    size_t a = 8;
    argv[a++] = "--discard=unmap";
    argv[a++] = cache_mode(cfg->image);
    argv[a++] = cfg->want_depth ? "--allocation-depth" : "--export-name=";
    if (!cfg->writable)
        argv[a++] = "--read-only";
    argv[a] = cfg->image;
    if (nbd_set_export_name(h, "") < 0 || nbd_add_meta_context(h, ctx_alloc) < 0 ||
        (cfg->want_depth && nbd_add_meta_context(h, ctx_depth) < 0))
        return fail(n, err, "cannot prepare qemu-nbd");
    if (nbd_connect_systemd_socket_activation(h, (char **)argv) < 0)
        return fail(n, err, "qemu-nbd does not serve the image");
    if (cfg->want_depth && nbd_can_meta_context(h, ctx_depth) != 1)
        return vr_fail(err, VR_E_IO, 0, "%s: qemu-nbd does not tell the allocation depth", n->name);
    n->depth = cfg->want_depth;
    return 0;
}

static int add_connection(struct vnbd *n, const struct vnbd_config *cfg, struct vr_err *err)
{
    struct nbd_handle *h = nbd_create();
    if (!h)
        return fail(n, err, "cannot make a connection");
    n->h[n->conns++] = h; /* closed with the rest whatever happens */
    if (nbd_set_pread_initialize(h, false) < 0)
        return fail(n, err, "cannot prepare the connection");
    int rc = cfg->image ? connect_image(n, cfg, h, err) : connect_socket(n, cfg, h, err);
    if (rc < 0)
        return -1;
    bigger_buffers(h);
    return 0;
}

int vnbd_open(const struct vnbd_config *cfg, struct vnbd **ret, struct vr_err *err)
{
    vr_auto(vnbd_close) struct vnbd *n = vr_new(struct vnbd);
    n->last = &n->first;
    n->stop = cfg->stop;
    n->stop_ctx = cfg->stop_ctx;
    if (cfg->image)
        n->name = vr_strdup(cfg->image);
    else
        n->name =
            vr_printf("export \"%s\" at %s", cfg->export_name ? cfg->export_name : "", cfg->socket);
    n->context = vr_strdup(cfg->image ? NULL : cfg->dirty_context);
    if (add_connection(n, cfg, err) < 0)
        return -1;
    int64_t size = nbd_get_size(n->h[0]);
    if (size < 0)
        return fail(n, err, "cannot tell the size");
    n->size = (uint64_t)size;
    int want = cfg->image ? 1 : cfg->connections;
    if (want > CONNS_MAX)
        want = CONNS_MAX;
    if (want > 1 && nbd_can_multi_conn(n->h[0]) == 1)
        while (n->conns < want)
            if (add_connection(n, cfg, err) < 0)
                return -1;
    *ret = vr_take(n);
    return 0;
}

static void drop_ops(struct vnbd *n)
{
    while (n->first) {
        struct op *op = n->first;
        n->first = op->next;
        free(op);
    }
    n->last = &n->first;
}

void vnbd_close(struct vnbd *n)
{
    if (!n)
        return;
    for (int i = 0; i < n->conns; i++) {
        /* A farewell lets the server end in order; closing alone would do. */
        if (n->in_flight == 0 && nbd_aio_is_ready(n->h[i]) == 1)
            (void)nbd_shutdown(n->h[i], 0);
        nbd_close(n->h[i]);
    }
    drop_ops(n);
    free(n->orphan);
    free(n->name);
    free(n->context);
    free(n);
}

uint64_t vnbd_size(const struct vnbd *n)
{
    return n->size;
}

bool vnbd_alive(const struct vnbd *n)
{
    return !n->dead;
}

/* ---- requests ---- */

static int op_completed(void *user_data, int *error)
{
    struct op *op = user_data;
    op->error = *error;
    op->completed = true;
    *op->n->last = op;
    op->n->last = &op->next;
    return 1; /* libnbd retires the command */
}

/* libnbd lets go of the callback: after it ran, when the request could not be queued, or when the
 * handle is closed. What completed is freed by run_completed(). */
static void op_released(void *user_data)
{
    struct op *op = user_data;
    if (!op->completed)
        free(op);
}

static struct op *op_new(struct vnbd *n, vnbd_done *done, void *ctx)
{
    struct op *op = vr_new(struct op);
    op->n = n;
    op->done = done;
    op->ctx = ctx;
    return op;
}

static struct nbd_handle *pick(struct vnbd *n)
{
    struct nbd_handle *best = n->h[0];
    int least = nbd_aio_in_flight(best);
    for (int i = 1; i < n->conns; i++) {
        int busy = nbd_aio_in_flight(n->h[i]);
        if (busy < least) {
            least = busy;
            best = n->h[i];
        }
    }
    return best;
}

static int submitted(struct vnbd *n, int64_t cookie, const char *what, struct vr_err *err)
{
    if (cookie < 0)
        return fail(n, err, what);
    n->in_flight++;
    return 0;
}

int vnbd_read(struct vnbd *n, void *buf, size_t len, uint64_t offset, vnbd_done *done, void *ctx,
              struct vr_err *err)
{
    struct op *op = op_new(n, done, ctx);
    nbd_completion_callback cb = { op_completed, op, op_released };
    return submitted(n, nbd_aio_pread(pick(n), buf, len, offset, cb, 0), "cannot read", err);
}

int vnbd_write(struct vnbd *n, const void *buf, size_t len, uint64_t offset, vnbd_done *done,
               void *ctx, struct vr_err *err)
{
    struct op *op = op_new(n, done, ctx);
    nbd_completion_callback cb = { op_completed, op, op_released };
    return submitted(n, nbd_aio_pwrite(pick(n), buf, len, offset, cb, 0), "cannot write", err);
}

int vnbd_zero(struct vnbd *n, uint64_t len, uint64_t offset, vnbd_done *done, void *ctx,
              struct vr_err *err)
{
    struct op *op = op_new(n, done, ctx);
    nbd_completion_callback cb = { op_completed, op, op_released };
    return submitted(n, nbd_aio_zero(pick(n), len, offset, cb, 0), "cannot zero", err);
}

int vnbd_flush(struct vnbd *n, vnbd_done *done, void *ctx, struct vr_err *err)
{
    struct op *op = op_new(n, done, ctx);
    nbd_completion_callback cb = { op_completed, op, op_released };
    return submitted(n, nbd_aio_flush(pick(n), cb, 0), "cannot flush", err);
}

size_t vnbd_in_flight(const struct vnbd *n)
{
    return n->in_flight;
}

bool vnbd_room(const struct vnbd *n)
{
    return n->in_flight < (size_t)n->conns * CONN_DEPTH;
}

/* ---- waiting ---- */

static void run_completed(struct vnbd *n)
{
    while (n->first) {
        struct op *op = n->first;
        n->first = op->next;
        if (!n->first)
            n->last = &n->first;
        n->in_flight--;
        op->done(op->ctx, op->error);
        free(op);
    }
}

static short events_of(unsigned int direction)
{
    short e = 0;
    if (direction & LIBNBD_AIO_DIRECTION_READ)
        e |= POLLIN;
    if (direction & LIBNBD_AIO_DIRECTION_WRITE)
        e |= POLLOUT;
    return e;
}

/* Tell a connection what its socket is ready for. A failure shows as completions with an error. */
static void notify(struct vnbd *n, struct nbd_handle *h, short revents)
{
    unsigned int dir = nbd_aio_get_direction(h);
    if ((revents & (POLLIN | POLLHUP | POLLERR)) && (dir & LIBNBD_AIO_DIRECTION_READ))
        (void)nbd_aio_notify_read(h);
    else if ((revents & (POLLOUT | POLLERR)) && (dir & LIBNBD_AIO_DIRECTION_WRITE))
        (void)nbd_aio_notify_write(h);
    if (nbd_aio_is_dead(h) == 1 || nbd_aio_is_closed(h) == 1)
        n->dead = true;
}

enum { POLL_MAX = 64 * CONNS_MAX + 1 };

int vnbd_wait(struct vnbd *const *v, size_t n, int extra_fd, int timeout_ms, struct vr_err *err)
{
    struct pollfd p[POLL_MAX];
    struct nbd_handle *of[POLL_MAX];
    struct vnbd *owner[POLL_MAX];
    nfds_t used = 0;
    for (size_t i = 0; i < n; i++) {
        if (!v[i])
            continue;
        if (v[i]->first)
            timeout_ms = 0;
        for (int c = 0; c < v[i]->conns && used < POLL_MAX - 1; c++) {
            struct nbd_handle *h = v[i]->h[c];
            if (!v[i]->in_flight || nbd_aio_is_dead(h) == 1 || nbd_aio_is_closed(h) == 1)
                continue;
            of[used] = h;
            owner[used] = v[i];
            p[used++] = (struct pollfd){ .fd = nbd_aio_get_fd(h),
                                         .events = events_of(nbd_aio_get_direction(h)) };
        }
    }
    nfds_t conns = used;
    if (extra_fd >= 0)
        p[used++] = (struct pollfd){ .fd = extra_fd, .events = POLLIN };
    if (poll(p, used, timeout_ms) < 0 && errno != EINTR)
        return vr_fail(err, VR_E_IO, errno, "cannot wait for the disk");
    for (nfds_t i = 0; i < conns; i++)
        if (p[i].revents)
            notify(owner[i], of[i], p[i].revents);
    for (size_t i = 0; i < n; i++)
        if (v[i])
            run_completed(v[i]);
    return 0;
}

/* ---- block status ---- */

struct status {
    struct vnbd *n;
    void (*fn)(void *ctx, enum vnbd_status_kind kind, uint64_t offset, uint64_t length);
    void *ctx;
    uint64_t reached[2]; /* up to where each context has answered; second: dirty or depth */
    bool complete;
    int error;
};

static int got_extents(void *user_data, const char *metacontext, uint64_t offset, uint32_t *entries,
                       size_t n_entries, int *error)
{
    struct status *s = user_data;
    bool alloc = strcmp(metacontext, ctx_alloc) == 0;
    for (size_t i = 0; i + 1 < n_entries; i += 2) {
        uint32_t flags = entries[i + 1];
        if (alloc && !(flags & LIBNBD_STATE_ZERO))
            s->fn(s->ctx, VNBD_DATA, offset, entries[i]);
        else if (!alloc && s->n->depth && flags == 1)
            s->fn(s->ctx, VNBD_OWN, offset, entries[i]);
        else if (!alloc && !s->n->depth && (flags & state_dirty))
            s->fn(s->ctx, VNBD_DIRTY, offset, entries[i]);
        offset += entries[i];
    }
    if (offset > s->reached[!alloc])
        s->reached[!alloc] = offset;
    return 0;
}

static void status_done(void *ctx, int error)
{
    struct status *s = ctx;
    s->complete = true;
    s->error = error;
}

static int status_once(struct status *s, uint64_t offset, uint64_t length, struct vr_err *err)
{
    struct vnbd *n = s->n;
    struct op *op = op_new(n, status_done, s);
    nbd_completion_callback cb = { op_completed, op, op_released };
    nbd_extent_callback ext = { .callback = got_extents, .user_data = s };
    s->complete = false;
    int64_t cookie = nbd_aio_block_status(n->h[0], length, offset, ext, cb, 0);
    if (submitted(n, cookie, "cannot ask for the map", err) < 0)
        return -1;
    while (!s->complete) {
        if (vnbd_wait(&n, 1, -1, POLL_SLICE_MS, err) < 0)
            return -1;
        if (!s->complete && n->stop && n->stop(n->stop_ctx))
            return vr_fail(err, VR_E_CANCELLED, 0, "cancelled");
    }
    if (s->error)
        return vr_fail(err, VR_E_IO, s->error, "%s: cannot read the map", n->name);
    return 0;
}

int vnbd_status(struct vnbd *n, uint64_t offset, uint64_t length,
                void (*fn)(void *ctx, enum vnbd_status_kind kind, uint64_t offset, uint64_t length),
                void *ctx, struct vr_err *err)
{
    uint64_t end = offset + length;
    bool two = n->context || n->depth;
    /* On the heap: a cancelled request may still answer until the handle is closed. */
    struct status *s = vr_new(struct status);
    *s = (struct status){ .n = n, .fn = fn, .ctx = ctx, .reached = { offset, two ? offset : end } };
    int rc = 0;
    while (rc == 0 && offset < end) {
        uint64_t ask = end - offset < STATUS_MAX ? end - offset : STATUS_MAX;
        rc = status_once(s, offset, ask, err);
        uint64_t now = s->reached[0] < s->reached[1] ? s->reached[0] : s->reached[1];
        if (rc == 0 && now <= offset)
            rc = vr_fail(err, VR_E_IO, 0, "%s: the map has no end", n->name);
        offset = now;
    }
    if (rc == 0 || !n->in_flight)
        free(s);
    else
        n->orphan = s; /* freed with the handle */
    return rc;
}
