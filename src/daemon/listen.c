/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening, closing and moving the listener of peers, and the news of it. The order: first the
 * socket, then the settings; so a port that is taken changes nothing. A port that moved is told to
 * each paired host until it has answered; meanwhile senders see a host that cannot be reached and
 * go on trying. Control thread; work() functions on workers. src:[contract.md A.2, B.1] */
#include "daemon/listen.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/messages.h"
#include "daemon/service.h"

enum { ANNOUNCE_EVERY_MS = 10000 };

/* ---- the socket ---- */
struct listen_task {
    struct task t;
    struct host_listen want, was;
    char *text; /* settings to keep when the socket is as they say */
    struct vr_uuid job;
};

static void listen_work(struct task *t)
{
    struct listen_task *l = (struct listen_task *)t;
    struct daemon *d = t->d;
    const char *address = d->cfg.peer_address;
    struct vr_err none = VR_ERR_INIT;
    if (l->want.krb && xport_relisten(d->xport, XPORT_KERBEROS, address, l->want.krb_port,
                                      &l->want.krb_port, &t->err) < 0) {
        vr_err_wrap(&t->err, "HttpPort: the settings were not changed");
        return;
    }
    if (l->want.cert &&
        xport_relisten(d->xport, XPORT_CERT, address, l->want.port, &l->want.port, &t->err) < 0) {
        vr_err_wrap(&t->err, "HttpsPort: the settings were not changed");
        if (!l->was.krb)
            xport_unlisten(d->xport, XPORT_KERBEROS);
        else if (xport_relisten(d->xport, XPORT_KERBEROS, address, l->was.krb_port, NULL, &none) <
                 0)
            vr_log_err(VR_LOG_ERROR, "back to the old HttpPort", &none);
        return;
    }
    if (!l->want.cert)
        xport_unlisten(d->xport, XPORT_CERT);
    if (!l->want.krb)
        xport_unlisten(d->xport, XPORT_KERBEROS);
}

static void moved(struct daemon *d, uint16_t port)
{
    if (d->peer_port == port)
        return;
    engine_port_moved(d->engine, NULL, d->peer_port, port);
    vr_log(VR_LOG_INFO, "peers are awaited on port %u, no longer on %u", port, d->peer_port);
    d->peer_port = d->host.peer_port = port;
}

static void krb_moved(struct daemon *d, bool on, uint16_t port)
{
    if (on && d->krb_listening && port != d->krb_port)
        engine_port_moved(d->engine, NULL, d->krb_port, port);
    if (on != d->krb_listening || (on && port != d->krb_port))
        vr_log(VR_LOG_INFO, "hosts with Kerberos are awaited %s %u",
               on ? "on port" : "no longer on port", on ? port : d->krb_port);
    d->krb_listening = on;
    d->krb_port = port;
    d->krb_failed = false;
}

static void listen_done(struct task *t)
{
    struct listen_task *l = (struct listen_task *)t;
    struct daemon *d = t->d;
    d->listen_busy = false;
    if (t->err.kind == VR_OK) {
        if (d->listening != l->want.cert)
            vr_log(VR_LOG_INFO, "peers are %s",
                   l->want.cert ? "awaited again" : "awaited no longer");
        d->listening = l->want.cert;
        moved(d, l->want.port);
        krb_moved(d, l->want.krb, l->want.krb_port);
        service_keep(d, HOSTSET_SERVICE, HOSTSET_SERVICE_ID, l->text, &l->job);
        listen_announce(d);
    } else {
        engine_job_end(d->engine, &l->job, &t->err);
    }
    free(l->text);
}

static int h_save_service(void *ctx, const char *text, const struct host_listen *want,
                          const char *owner, struct vr_uuid *ret_job, struct vr_err *err)
{
    struct daemon *d = ctx;
    if (d->listen_busy)
        return vr_fail(err, VR_E_BUSY, 0, "an earlier change of these settings is not over yet");
    d->listen_busy = true;
    struct listen_task *l = vr_new(struct listen_task);
    l->t.work = listen_work;
    l->t.done = listen_done;
    l->want = *want;
    l->was = (struct host_listen){ .krb = d->krb_listening, .krb_port = d->krb_port };
    l->text = vr_strdup(text);
    l->job = engine_job_new(d->engine, JOB_SERVICE_SETTINGS, NULL, owner);
    *ret_job = l->job;
    task_run(d, d->net_exec, &l->t);
    return 0;
}

/* What is wrong with it must not keep the daemon from running, and may be mended meanwhile: the
 * port is tried again. The keys are read at each login. */
static void krb_open(struct daemon *d)
{
    struct vr_err err = VR_ERR_INIT;
    uint16_t port = 0;
    if (d->krb_listening || !(hostset_auth(d->host.set) & HOSTSET_AUTH_KERBEROS))
        return;
    if (xport_listen(d->xport, XPORT_KERBEROS, d->cfg.peer_address, hostset_http_port(d->host.set),
                     &port, &err) == 0) {
        krb_moved(d, true, port);
        return;
    }
    vr_err_wrap(&err, "port for hosts with Kerberos (HttpPort of the service); it is tried again");
    vr_log_err(d->krb_failed ? VR_LOG_DEBUG : VR_LOG_ERROR, "listening", &err);
    d->krb_failed = true;
}

static void krb_start(struct daemon *d)
{
    struct vr_err err = VR_ERR_INIT;
    char self[VR_NAME_MAX];
    krb_open(d);
    if ((hostset_auth(d->host.set) & HOSTSET_AUTH_KERBEROS) && xport_self(d->xport, self, &err) < 0)
        vr_log_err(VR_LOG_ERROR, "no host can log in here with Kerberos", &err);
}

int listen_start(struct daemon *d, struct vr_err *err)
{
    uint16_t port = hostset_port(d->host.set, (uint16_t)d->cfg.peer_port);
    d->host.save_service = h_save_service;
    d->host.peer_port = d->peer_port = port;
    krb_start(d);
    if (!(hostset_auth(d->host.set) & HOSTSET_AUTH_CERT)) {
        vr_log(VR_LOG_INFO, "peers with certificates are not awaited: %s",
               hostset_listens(d->host.set) ? "AllowedAuthenticationType is 1 (Kerberos)"
                                            : "RecoveryServerEnabled is FALSE");
        return 0;
    }
    if (xport_listen(d->xport, XPORT_CERT, d->cfg.peer_address, port, &d->peer_port, err) < 0)
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
            *(a->peer.kerberos ? &d->peers[i].told_krb : &d->peers[i].told_port) = a->port;
    if (!told) {
        vr_log_err(VR_LOG_DEBUG, "telling a peer our port", &t->err);
        return;
    }
    host_peer_contact(d, a->peer.name, true);
    listen_announce(d);
}

/* Where a host with Kerberos is told: where it says that it is, or where something is sent to it.
 */
static bool krb_target(struct daemon *d, const struct host_peer *p, struct xport_peer *ret)
{
    struct vr_err none = VR_ERR_INIT;
    if (p->krb_port) {
        peer_by_kerberos(p->name, p->name, p->krb_port, ret);
        return true;
    }
    for (size_t i = 0; engine_at(d->engine, i); i++) {
        const struct rel *r = engine_at(d->engine, i);
        if (rel_mode(r) == REL_MODE_PRIMARY && r->set.auth_type == 1 &&
            !strcasecmp(r->peer, p->name))
            return peer_of_rel(d, r, ret, &none) == 0;
    }
    return false;
}

void listen_announce(struct daemon *d)
{
    if (d->announcing || d->stopping)
        return;
    for (size_t i = 0; i < d->n_peers; i++) {
        const struct host_peer *p = &d->peers[d->announce_next++ % d->n_peers];
        bool cert = d->listening && p->thumb[0] && p->told_port != d->peer_port;
        struct xport_peer to;
        if (!cert && !(d->krb_listening && p->told_krb != d->krb_port && krb_target(d, p, &to)))
            continue;
        struct announce_task *a = vr_new(struct announce_task);
        a->t.work = announce_work;
        a->t.done = announce_done;
        a->port = cert ? d->peer_port : d->krb_port;
        if (cert)
            peer_of(d, p->name, &a->peer, &a->t.err);
        else
            a->peer = to;
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
    if (!d->listen_busy)
        krb_open(d);
    listen_announce(d);
}
