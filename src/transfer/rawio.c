/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Raw image files: a pool of threads with a queue to them and a list of what is over, back.
 *
 *   caller --submit--> todo --[threads: pwrite, fallocate, fdatasync]--> over --complete--> caller
 *
 * Direct I/O needs aligned pieces of memory and file; the end of a disk that is no multiple of 4096
 * and file systems without direct I/O take the second descriptor, which goes through the page
 * cache. No range is ever written through both at once, and a flush syncs the file, not a
 * descriptor. */
#include "transfer/rawio.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"

enum {
    THREADS = 4,
    ALIGN = 4096,        /* of direct I/O; no block device asks for more */
    ZEROS_MAX = 1 << 20, /* written at once where holes cannot be made */
};

enum op_kind { OP_WRITE, OP_ZERO, OP_FLUSH };

struct op {
    enum op_kind kind;
    struct rawfile *f;
    const uint8_t *buf;
    uint64_t offset, length;
    rawfile_done *done;
    void *ctx;
    int error;
    struct op *next;
};

struct op_list {
    struct op *first, **last;
};

struct rawio {
    pthread_mutex_t lock; /* guards the lists and `ending` */
    pthread_cond_t more;
    struct op_list todo, over;
    bool ending;
    int fd;
    pthread_t threads[THREADS];
    int n_threads;
};

struct rawfile {
    struct rawio *io;
    int direct, plain; /* direct: -1 when the file system has no direct I/O */
    uint64_t size;
    size_t in_flight; /* caller's thread */
};

static void list_add(struct op_list *l, struct op *op)
{
    op->next = NULL;
    *l->last = op;
    l->last = &op->next;
}

static struct op *list_take(struct op_list *l)
{
    struct op *op = l->first;
    if (op) {
        l->first = op->next;
        if (!l->first)
            l->last = &l->first;
    }
    return op;
}

/* ---- the threads ---- */

static int write_all(int fd, const uint8_t *p, uint64_t n, uint64_t at)
{
    while (n) {
        ssize_t w = pwrite(fd, p, (size_t)n, (off_t)at);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return w < 0 ? errno : EIO;
        p += w;
        at += (uint64_t)w;
        n -= (uint64_t)w;
    }
    return 0;
}

static int do_write(const struct op *op)
{
    const struct rawfile *f = op->f;
    uint64_t whole = f->direct < 0 ? 0 : op->length / ALIGN * ALIGN;
    if (whole && op->offset % ALIGN == 0 && (uintptr_t)op->buf % ALIGN == 0) {
        int e = write_all(f->direct, op->buf, whole, op->offset);
        if (e != EINVAL) /* a device that wants more than we know: the cache takes all */
            return e ? e
                     : write_all(f->plain, op->buf + whole, op->length - whole, op->offset + whole);
    }
    return write_all(f->plain, op->buf, op->length, op->offset);
}

static int do_zero(const struct op *op)
{
    int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    if (fallocate(op->f->plain, mode, (off_t)op->offset, (off_t)op->length) == 0)
        return 0;
    if (errno != EOPNOTSUPP && errno != ENOSYS && errno != ENODEV && errno != EINVAL)
        return errno;
    vr_autofree uint8_t *zeros = vr_new0(ZEROS_MAX, 1);
    int e = 0;
    for (uint64_t at = 0; e == 0 && at < op->length; at += ZEROS_MAX) {
        uint64_t left = op->length - at;
        e = write_all(op->f->plain, zeros, left < ZEROS_MAX ? left : ZEROS_MAX, op->offset + at);
    }
    return e;
}

static int perform(const struct op *op)
{
    switch (op->kind) {
    case OP_WRITE:
        return do_write(op);
    case OP_ZERO:
        return do_zero(op);
    case OP_FLUSH:
        return fdatasync(op->f->plain) < 0 ? errno : 0;
    }
    return EINVAL;
}

static void *worker(void *arg)
{
    struct rawio *io = arg;
    pthread_mutex_lock(&io->lock);
    for (;;) {
        while (!io->todo.first && !io->ending)
            pthread_cond_wait(&io->more, &io->lock);
        if (io->ending)
            break;
        struct op *op = list_take(&io->todo);
        pthread_mutex_unlock(&io->lock);
        op->error = perform(op);
        pthread_mutex_lock(&io->lock);
        if (!io->over.first)
            eventfd_write(io->fd, 1);
        list_add(&io->over, op);
    }
    pthread_mutex_unlock(&io->lock);
    return NULL;
}

/* ---- the pool ---- */

struct rawio *rawio_new(struct vr_err *err)
{
    vr_auto(rawio_free) struct rawio *io = vr_new(struct rawio);
    io->todo.last = &io->todo.first;
    io->over.last = &io->over.first;
    pthread_mutex_init(&io->lock, NULL);
    pthread_cond_init(&io->more, NULL);
    io->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = io->fd < 0 ? errno : 0;
    for (int i = 0; rc == 0 && i < THREADS; i++) {
        rc = pthread_create(&io->threads[i], NULL, worker, io);
        io->n_threads += rc == 0;
    }
    if (rc) {
        vr_fail(err, VR_E_NOMEM, rc, "cannot start the threads that write a disk");
        return NULL;
    }
    return vr_take(io);
}

static void drop(struct op_list *l)
{
    struct op *op;
    while ((op = list_take(l))) {
        op->f->in_flight--;
        free(op);
    }
}

void rawio_free(struct rawio *io)
{
    if (!io)
        return;
    pthread_mutex_lock(&io->lock);
    io->ending = true;
    pthread_cond_broadcast(&io->more);
    pthread_mutex_unlock(&io->lock);
    for (int i = 0; i < io->n_threads; i++)
        pthread_join(io->threads[i], NULL);
    drop(&io->todo);
    drop(&io->over);
    if (io->fd >= 0)
        close(io->fd);
    pthread_cond_destroy(&io->more);
    pthread_mutex_destroy(&io->lock);
    free(io);
}

int rawio_fd(const struct rawio *io)
{
    return io->fd;
}

void rawio_complete(struct rawio *io)
{
    struct op_list over = { .last = &over.first };
    eventfd_t count;
    pthread_mutex_lock(&io->lock);
    if (io->over.first) {
        (void)eventfd_read(io->fd, &count);
        over.first = io->over.first;
        over.last = io->over.last;
        io->over.first = NULL;
        io->over.last = &io->over.first;
    }
    pthread_mutex_unlock(&io->lock);
    struct op *op;
    while ((op = list_take(&over))) {
        op->f->in_flight--;
        op->done(op->ctx, op->error);
        free(op);
    }
}

/* ---- files ---- */

int rawfile_open(struct rawio *io, const char *path, struct rawfile **ret, struct vr_err *err)
{
    vr_auto(rawfile_close) struct rawfile *f = vr_new(struct rawfile);
    struct stat sb;
    f->io = io;
    f->direct = -1;
    f->plain = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (f->plain < 0 || fstat(f->plain, &sb) < 0)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot open %s", path);
    f->size = (uint64_t)sb.st_size;
    /* No direct I/O is no error: it is a matter of speed only. */
    f->direct = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC | O_NOFOLLOW);
    *ret = vr_take(f);
    return 0;
}

void rawfile_close(struct rawfile *f)
{
    if (!f)
        return;
    if (f->direct >= 0)
        close(f->direct);
    if (f->plain >= 0)
        close(f->plain);
    free(f);
}

uint64_t rawfile_size(const struct rawfile *f)
{
    return f->size;
}

int rawfile_holds(const struct rawfile *f, void (*fn)(void *ctx, uint64_t offset, uint64_t length),
                  void *ctx, struct vr_err *err)
{
    for (uint64_t at = 0; at < f->size;) {
        off_t data = lseek(f->plain, (off_t)at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            return 0;
        off_t hole = data < 0 ? -1 : lseek(f->plain, data, SEEK_HOLE);
        if (hole < 0)
            return vr_fail(err, VR_E_IO, errno, "cannot tell what a raw image holds");
        fn(ctx, (uint64_t)data, (uint64_t)(hole - data));
        at = (uint64_t)hole;
    }
    return 0;
}

static void submit(struct rawfile *f, const struct op *what)
{
    struct op *op = vr_new(struct op);
    *op = *what;
    op->f = f;
    f->in_flight++;
    pthread_mutex_lock(&f->io->lock);
    list_add(&f->io->todo, op);
    pthread_cond_signal(&f->io->more);
    pthread_mutex_unlock(&f->io->lock);
}

void rawfile_write(struct rawfile *f, const void *buf, size_t len, uint64_t offset,
                   rawfile_done *done, void *ctx)
{
    submit(f, &(struct op){ OP_WRITE, .buf = buf, .offset = offset, .length = len, .done = done,
                            .ctx = ctx });
}

void rawfile_zero(struct rawfile *f, uint64_t len, uint64_t offset, rawfile_done *done, void *ctx)
{
    submit(f, &(struct op){ OP_ZERO, .offset = offset, .length = len, .done = done, .ctx = ctx });
}

void rawfile_flush(struct rawfile *f, rawfile_done *done, void *ctx)
{
    submit(f, &(struct op){ OP_FLUSH, .done = done, .ctx = ctx });
}

size_t rawfile_in_flight(const struct rawfile *f)
{
    return f->in_flight;
}
