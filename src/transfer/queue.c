/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Queues between the threads of a pipeline, and the first error that they share.
 * Invariant: the eventfd, if there is one, is readable exactly while the queue has items or is
 * closed. */
#include "transfer/queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"

struct queue {
    pthread_mutex_t lock; /* guards all below but fd */
    pthread_cond_t more;
    int fd;
    bool closed, raised;
    size_t head, n, cap;
    void *v[];
};

struct queue *queue_new(size_t cap, bool polled)
{
    struct queue *q = vr_new0(1, sizeof *q + cap * sizeof(void *));
    q->cap = cap;
    pthread_mutex_init(&q->lock, NULL);
    pthread_condattr_t at;
    pthread_condattr_init(&at);
    pthread_condattr_setclock(&at, CLOCK_MONOTONIC);
    pthread_cond_init(&q->more, &at);
    pthread_condattr_destroy(&at);
    q->fd = polled ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    if (polled && q->fd < 0)
        abort();
    return q;
}

void queue_free(struct queue *q)
{
    if (!q)
        return;
    if (q->fd >= 0)
        close(q->fd);
    pthread_cond_destroy(&q->more);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

/* Keep the descriptor in step with the state; the lock is held. */
static void show(struct queue *q)
{
    bool want = q->n > 0 || q->closed;
    if (q->fd < 0 || want == q->raised)
        return;
    uint64_t one = 1;
    ssize_t done = want ? write(q->fd, &one, sizeof one) : read(q->fd, &one, sizeof one);
    if (done == (ssize_t)sizeof one)
        q->raised = want;
}

void queue_push(struct queue *q, void *item)
{
    pthread_mutex_lock(&q->lock);
    bool open = !q->closed;
    if (open) {
        if (q->n == q->cap)
            abort();
        q->v[(q->head + q->n++) % q->cap] = item;
        show(q);
    }
    pthread_mutex_unlock(&q->lock);
    if (open) /* behind the lock, or who wakes up would only wait for that */
        pthread_cond_signal(&q->more);
}

void *queue_pop(struct queue *q, int timeout_ms)
{
    struct timespec end;
    if (timeout_ms > 0) {
        clock_gettime(CLOCK_MONOTONIC, &end);
        end.tv_sec += timeout_ms / 1000;
        end.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
        if (end.tv_nsec >= 1000000000) {
            end.tv_sec++;
            end.tv_nsec -= 1000000000;
        }
    }
    void *item = NULL;
    pthread_mutex_lock(&q->lock);
    while (!q->n && !q->closed && timeout_ms > 0)
        if (pthread_cond_timedwait(&q->more, &q->lock, &end) == ETIMEDOUT)
            break;
    if (q->n) {
        item = q->v[q->head];
        q->head = (q->head + 1) % q->cap;
        q->n--;
    }
    show(q);
    pthread_mutex_unlock(&q->lock);
    return item;
}

void queue_close(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    show(q);
    pthread_cond_broadcast(&q->more);
    pthread_mutex_unlock(&q->lock);
}

bool queue_ended(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    bool ended = q->closed && !q->n;
    pthread_mutex_unlock(&q->lock);
    return ended;
}

int queue_fd(const struct queue *q)
{
    return q->fd;
}

struct fault {
    pthread_mutex_t lock; /* guards err */
    atomic_bool set;
    struct vr_err err;
};

struct fault *fault_new(void)
{
    struct fault *f = vr_new(struct fault);
    pthread_mutex_init(&f->lock, NULL);
    return f;
}

void fault_free(struct fault *f)
{
    if (!f)
        return;
    pthread_mutex_destroy(&f->lock);
    free(f);
}

void fault_set(struct fault *f, const struct vr_err *err)
{
    pthread_mutex_lock(&f->lock);
    vr_err_move(&f->err, err);
    atomic_store(&f->set, true);
    pthread_mutex_unlock(&f->lock);
}

bool fault_is(const struct fault *f)
{
    return atomic_load(&f->set);
}

bool fault_get(struct fault *f, struct vr_err *ret)
{
    pthread_mutex_lock(&f->lock);
    bool is = atomic_load(&f->set);
    if (is)
        *ret = f->err;
    pthread_mutex_unlock(&f->lock);
    return is;
}
