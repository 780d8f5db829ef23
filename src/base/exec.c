/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Worker threads with one queue. */
#include "base/exec.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/alloc.h"

struct task {
    struct task *next;
    void (*run)(void *);
    void *arg;
    bool *done; /* for vr_exec_call(), guarded by the pool's lock */
};

struct vr_exec {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t work, finished;
    struct task *head, **tail;
    bool stop;
    int threads;
    pthread_t tid[];
};

static void *worker(void *arg)
{
    struct vr_exec *x = arg;
    pthread_mutex_lock(&x->lock);
    for (;;) {
        while (!x->head && !x->stop)
            pthread_cond_wait(&x->work, &x->lock);
        struct task *t = x->head;
        if (!t)
            break;
        x->head = t->next;
        if (!x->head)
            x->tail = &x->head;
        pthread_mutex_unlock(&x->lock);
        t->run(t->arg);
        pthread_mutex_lock(&x->lock);
        if (t->done) {
            *t->done = true;
            pthread_cond_broadcast(&x->finished);
        }
        free(t);
    }
    pthread_mutex_unlock(&x->lock);
    return NULL;
}

struct vr_exec *vr_exec_new(const char *name, int threads)
{
    struct vr_exec *x = vr_new0(1, sizeof *x + (size_t)threads * sizeof(pthread_t));
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->work, NULL);
    pthread_cond_init(&x->finished, NULL);
    x->tail = &x->head;
    x->threads = threads;
    /* Signals are for the control thread alone. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (int i = 0; i < threads; i++) {
        if (pthread_create(&x->tid[i], NULL, worker, x))
            abort();
        char label[16];
        int n = 0;
        while (name[n] && n < 15) {
            label[n] = name[n];
            n++;
        }
        label[n] = 0;
        pthread_setname_np(x->tid[i], label);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return x;
}

static void enqueue(struct vr_exec *x, void (*run)(void *), void *arg, bool *done)
{
    struct task *t = vr_new(struct task);
    t->run = run;
    t->arg = arg;
    t->done = done;
    *x->tail = t;
    x->tail = &t->next;
    pthread_cond_signal(&x->work);
}

void vr_exec_post(struct vr_exec *x, void (*run)(void *arg), void *arg)
{
    pthread_mutex_lock(&x->lock);
    enqueue(x, run, arg, NULL);
    pthread_mutex_unlock(&x->lock);
}

void vr_exec_call(struct vr_exec *x, void (*run)(void *arg), void *arg)
{
    bool done = false;
    pthread_mutex_lock(&x->lock);
    enqueue(x, run, arg, &done);
    while (!done)
        pthread_cond_wait(&x->finished, &x->lock);
    pthread_mutex_unlock(&x->lock);
}

void vr_exec_free(struct vr_exec *x)
{
    if (!x)
        return;
    pthread_mutex_lock(&x->lock);
    x->stop = true;
    pthread_cond_broadcast(&x->work);
    pthread_mutex_unlock(&x->lock);
    for (int i = 0; i < x->threads; i++)
        pthread_join(x->tid[i], NULL);
    pthread_cond_destroy(&x->work);
    pthread_cond_destroy(&x->finished);
    pthread_mutex_destroy(&x->lock);
    free(x);
}
