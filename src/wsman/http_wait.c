/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests that wait for an event: suspended with their envelope in the clear, and processed again
 * when the processor says so, when their time is up, or when the caller is gone. Control thread.
 * Invariant: a waiting request is resumed from the event loop only, never from within a change of
 * what it waits for. */
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "wsman/http_mhd.h"
#include "wsman/wsm.h"

struct wsm_held {
    struct vr_buf body;
    char *type;
    struct wsm_identity who;
    bool sealed;
    enum wsm_protocol protocol;
    struct mono_ms since;
    bool ready;             /* to be resumed */
    sd_event_source *until; /* when it gives up */
    sd_event_source *gone;  /* the library does not look at suspended connections */
};

static void stop_timers(struct wsm_held *d)
{
    d->until = sd_event_source_disable_unref(d->until);
    d->gone = sd_event_source_disable_unref(d->gone);
    d->ready = false;
}

static void go_on(struct req *rq)
{
    stop_timers(rq->held);
    wsm_request_resume(rq);
}

static void on_wake(void *arg, const void *token)
{
    struct wsm_http *h = arg;
    for (struct req *rq = h->suspended; rq; rq = rq->next)
        if (rq == token && rq->held)
            rq->held->ready = true;
    sd_event_source_set_enabled(h->woken, SD_EVENT_ONESHOT);
}

static struct req *next_ready(struct wsm_http *h)
{
    struct req *rq = h->suspended;
    while (rq && !(rq->held && rq->held->ready))
        rq = rq->next;
    return rq;
}

static int on_woken(sd_event_source *s, void *arg)
{
    for (struct req *rq; (rq = next_ready(arg));) /* each changes the list */
        go_on(rq);
    return 0;
}

static int on_until(sd_event_source *s, uint64_t usec, void *arg)
{
    go_on(arg);
    return 0;
}

static int on_gone(sd_event_source *s, int fd, uint32_t ev, void *arg)
{
    shutdown(fd, SHUT_RDWR);
    go_on(arg);
    return 0;
}

int wsm_wait_init(struct wsm_http *h, struct vr_err *err)
{
    int rc = sd_event_add_defer(h->ev, &h->woken, on_woken, h);
    if (rc < 0)
        return vr_fail(err, VR_E_IO, -rc, "watch for events");
    sd_event_source_set_enabled(h->woken, SD_EVENT_OFF);
    wsm_on_wake(h->wsm, on_wake, h);
    return 0;
}

void wsm_wait_done(struct wsm_http *h)
{
    wsm_on_wake(h->wsm, NULL, NULL);
    for (struct req *rq = h->suspended; rq; rq = rq->next)
        if (rq->held)
            stop_timers(rq->held);
    h->woken = sd_event_source_disable_unref(h->woken);
}

bool wsm_wait(struct req *rq, const struct wsm_envelope *e, struct mono_ms until)
{
    struct wsm_http *h = rq->c->l->h;
    if (h->closing)
        return false;
    if (!rq->held) {
        struct wsm_held *d = rq->held = vr_new(struct wsm_held);
        vr_buf_add(&d->body, e->body->data, e->body->len, NULL);
        d->type = vr_strdup(e->type);
        d->who = *e->who;
        d->sealed = e->gss;
        d->protocol = e->protocol;
        d->since = vr_mono_now();
    }
    if (sd_event_add_time(h->ev, &rq->held->until, CLOCK_MONOTONIC, (uint64_t)until.ms * 1000, 1000,
                          on_until, rq) < 0)
        return false;
    sd_event_add_io(h->ev, &rq->held->gone, rq->c->fd, EPOLLRDHUP, on_gone, rq);
    wsm_request_suspend(rq);
    return true;
}

bool wsm_wait_over(struct req *rq, struct wsm_envelope *ret)
{
    struct wsm_held *d = rq->held;
    if (!d || (d->sealed && !rq->c->peer.gss)) /* never answer in the clear what came sealed */
        return false;
    *ret = (struct wsm_envelope){ .body = &d->body,
                                  .type = d->type,
                                  .who = &d->who,
                                  .gss = d->sealed ? rq->c->peer.gss : NULL,
                                  .protocol = d->protocol };
    return true;
}

/* Who waits was known when it began to. At the socket the kernel has said again who it is; others
 * have to log in again, which they can on a new connection only: what they wait for stays theirs.
 */
void wsm_wait_roles_changed(struct wsm_http *h)
{
    for (struct req *rq = h->suspended; rq; rq = rq->next) {
        if (!rq->held)
            continue;
        if (rq->c->l->kind != LISTENER_LOCAL) {
            shutdown(rq->c->fd, SHUT_RDWR);
            continue;
        }
        rq->held->who = rq->c->peer.who;
        rq->held->ready = true;
    }
    sd_event_source_set_enabled(h->woken, SD_EVENT_ONESHOT);
}

void wsm_wait_certificates_changed(struct wsm_http *h)
{
    for (struct req *rq = h->suspended; rq; rq = rq->next)
        if (rq->held && rq->c->l->kind == LISTENER_TLS)
            shutdown(rq->c->fd, SHUT_RDWR);
}

struct mono_ms wsm_wait_since(const struct req *rq)
{
    return rq->held ? rq->held->since : (struct mono_ms){ 0 };
}

void wsm_wait_end(struct req *rq)
{
    struct wsm_held *d = rq->held;
    wsm_forget(rq->c->l->h->wsm, rq);
    if (!d)
        return;
    stop_timers(d);
    vr_buf_done(&d->body);
    free(d->type);
    free(d);
    rq->held = NULL;
}
