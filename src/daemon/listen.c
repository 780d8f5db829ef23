/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening, closing and moving the listener of peers, and the news of it. The order: first the
 * socket, then the settings; so a port that is taken changes nothing. A port that moved is told to
 * each paired host until it has answered; meanwhile senders see a host that cannot be reached and
 * go on trying. Control thread; work() functions on workers. src:[contract.md A.2, B.1] */
#include "daemon/listen.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/messages.h"
#include "daemon/service.h"

enum { ANNOUNCE_EVERY_MS = 10000 };

/* ---- the socket ---- */
struct listen_task {
    struct task t;
    bool on;
    uint16_t port;
    char *text; /* settings to keep when the socket is as they say */
    struct vr_uuid job;
};

static void listen_work(struct task *t)
{
    struct listen_task *l = (struct listen_task *)t;
    struct daemon *d = t->d;
    if (!l->on)
        xport_unlisten(d->xport);
    else if (xport_relisten(d->xport, d->cfg.peer_address, l->port, &l->port, &t->err) < 0)
        vr_err_wrap(&t->err, "the settings were not changed");
}

static void moved(struct daemon *d, uint16_t port)
{
    if (d->peer_port == port)
        return;
    engine_port_moved(d->engine, NULL, d->peer_port, port);
    vr_log(VR_LOG_INFO, "peers are awaited on port %u, no longer on %u", port, d->peer_port);
    d->peer_port = d->host.peer_port = port;
}

static void listen_done(struct task *t)
{
    struct listen_task *l = (struct listen_task *)t;
    struct daemon *d = t->d;
    d->listen_busy = false;
    if (t->err.kind == VR_OK) {
        if (d->listening != l->on)
            vr_log(VR_LOG_INFO, "peers are %s", l->on ? "awaited again" : "awaited no longer");
        d->listening = l->on;
        moved(d, l->port);
        service_keep(d, HOSTSET_SERVICE, HOSTSET_SERVICE_ID, l->text, &l->job);
        listen_announce(d);
    } else {
        engine_job_end(d->engine, &l->job, &t->err);
    }
    free(l->text);
}

static int h_save_service(void *ctx, const char *text, bool on, uint16_t port, const char *owner,
                          struct vr_uuid *ret_job, struct vr_err *err)
{
    struct daemon *d = ctx;
    if (d->listen_busy)
        return vr_fail(err, VR_E_BUSY, 0, "an earlier change of these settings is not over yet");
    d->listen_busy = true;
    struct listen_task *l = vr_new(struct listen_task);
    l->t.work = listen_work;
    l->t.done = listen_done;
    l->on = on;
    l->port = port;
    l->text = vr_strdup(text);
    l->job = engine_job_new(d->engine, JOB_SERVICE_SETTINGS, NULL, owner);
    *ret_job = l->job;
    task_run(d, d->net_exec, &l->t);
    return 0;
}

int listen_start(struct daemon *d, struct vr_err *err)
{
    uint16_t port = hostset_port(d->host.set, (uint16_t)d->cfg.peer_port);
    d->host.save_service = h_save_service;
    d->host.peer_port = d->peer_port = port;
    if (!hostset_listens(d->host.set)) {
        vr_log(VR_LOG_INFO, "peers are not awaited: RecoveryServerEnabled is FALSE");
        return 0;
    }
    if (xport_listen(d->xport, d->cfg.peer_address, port, &d->peer_port, err) < 0)
        return vr_err_wrap(err, "port for peers (HttpsPort of the service, else peer_port)");
    d->host.peer_port = d->peer_port;
    d->listening = true;
    return 0;
}

/* ---- telling peers ---- */
struct announce_task {
    struct task t;
    struct xport_peer peer;
    uint16_t port;
};

static void announce_work(struct task *t)
{
    struct announce_task *a = (struct announce_task *)t;
    struct msg_port m = { .port = a->port };
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    if (t->err.kind == VR_OK && msg_port_encode(&m, &b, &t->err) == 0)
        xport_call(t->d->xport, &a->peer, CALL_PORT, b.data, b.len, NULL, 20000, &t->err);
}

static void announce_done(struct task *t)
{
    struct announce_task *a = (struct announce_task *)t;
    struct daemon *d = t->d;
    bool told = t->err.kind == VR_OK;
    d->announcing = false;
    /* An older daemon cannot be told; asking again would not help. */
    for (size_t i = 0; i < d->n_peers; i++)
        if (!strcmp(d->peers[i].name, a->peer.name) && (told || t->err.kind == VR_E_UNSUPPORTED))
            d->peers[i].told_port = a->port;
    if (!told) {
        vr_log_err(VR_LOG_DEBUG, "telling a peer our port", &t->err);
        return;
    }
    host_peer_contact(d, a->peer.name, true);
    listen_announce(d);
}

void listen_announce(struct daemon *d)
{
    if (!d->listening || d->announcing || d->stopping)
        return;
    for (size_t i = 0; i < d->n_peers; i++) {
        const struct host_peer *p = &d->peers[d->announce_next++ % d->n_peers];
        if (p->told_port == d->peer_port)
            continue;
        struct announce_task *a = vr_new(struct announce_task);
        a->t.work = announce_work;
        a->t.done = announce_done;
        a->port = d->peer_port;
        peer_of(d, p->name, &a->peer, &a->t.err);
        d->announcing = true;
        task_run(d, d->net_exec, &a->t);
        return;
    }
}

void listen_tick(struct daemon *d)
{
    struct mono_ms now = vr_mono_now();
    if (now.ms < d->announce_due.ms)
        return;
    d->announce_due.ms = now.ms + ANNOUNCE_EVERY_MS;
    listen_announce(d);
}
