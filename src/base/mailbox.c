/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A queue of closures with an eventfd; many senders, one owner. */
#include "base/mailbox.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"

struct mail {
    struct mail *next;
    void (*fn)(void *);
    void *arg;
};

struct vr_mailbox {
    pthread_mutex_t lock; /* guards head and tail */
    struct mail *head, **tail;
    int fd;
};

struct vr_mailbox *vr_mailbox_new(void)
{
    struct vr_mailbox *m = vr_new(struct vr_mailbox);
    pthread_mutex_init(&m->lock, NULL);
    m->tail = &m->head;
    m->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->fd < 0)
        abort();
    return m;
}

void vr_mailbox_free(struct vr_mailbox *m)
{
    if (!m)
        return;
    while (m->head) {
        struct mail *next = m->head->next;
        free(m->head);
        m->head = next;
    }
    close(m->fd);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

int vr_mailbox_fd(const struct vr_mailbox *m)
{
    return m->fd;
}

void vr_mailbox_post(struct vr_mailbox *m, void (*fn)(void *arg), void *arg)
{
    struct mail *mail = vr_new(struct mail);
    mail->fn = fn;
    mail->arg = arg;
    pthread_mutex_lock(&m->lock);
    *m->tail = mail;
    m->tail = &mail->next;
    /* Signalled under the lock so that the owner cannot free the mailbox in between. */
    uint64_t one = 1;
    ssize_t w = write(m->fd, &one, sizeof one);
    (void)w; /* a full counter is readable all the same */
    pthread_mutex_unlock(&m->lock);
}

int vr_mailbox_run(struct vr_mailbox *m)
{
    uint64_t count;
    ssize_t r = read(m->fd, &count, sizeof count);
    (void)r; /* nothing to read is fine */
    pthread_mutex_lock(&m->lock);
    struct mail *list = m->head;
    m->head = NULL;
    m->tail = &m->head;
    pthread_mutex_unlock(&m->lock);
    int n = 0;
    while (list) {
        struct mail *mail = list;
        list = mail->next;
        mail->fn(mail->arg);
        free(mail);
        n++;
    }
    return n;
}
