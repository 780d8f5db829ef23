/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What peers send: calls and transfers. Runs on transport's connection threads; whatever concerns
 * the engine is done on the control thread by ctl_call(), the store by store_call(). */
#include "daemon/daemon.h"

#include <inttypes.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <systemd/sd-event.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/definitions.h"
#include "daemon/diverge.h"
#include "daemon/fault.h"
#include "daemon/left.h"
#include "daemon/messages.h"
#include "daemon/probe.h"
#include "daemon/proof.h"
#include "daemon/service.h"
#include "daemon/storage.h"
#include "hypervisor/domxml.h"

/* ---- calls that the engine answers when the answer is durable ---- */
struct peer_ask {
    struct daemon *d;
    struct vr_uuid machine;
    struct rel_event ev;
    char *xml;
    sem_t answered;
    struct vr_err err;
    bool refused; /* at once, without effect */
    enum rel_state st;
    struct vr_point_id newest;
    uint64_t settings; /* number of those that hold here */
    bool diverged;     /* and can tell what it wrote on its own */
    bool has_content;  /* this host holds a point or a seed */
    bool seed;         /* its disks are one, whatever was done since (it may be suspended) */
};

static void on_reply(void *ctx, const struct rel *r, const struct vr_err *err)
{
    struct peer_ask *a = ctx;
    if (err)
        a->err = *err;
    a->refused = !r;
    if (r) {
        a->st = r->st;
        a->has_content = r->has_newest;
        a->seed = r->seed;
        a->diverged = r->diverged;
        a->newest = r->newest;
        a->settings = r->set.rev;
    }
    sem_post(&a->answered);
}

static void ask_engine(void *arg)
{
    struct peer_ask *a = arg;
    const struct hv_machine *m = host_machine(a->d, &a->machine);
    a->ev.vm_off = !m || m->power == HV_POWER_OFF;
    struct vr_err no = VR_ERR_INIT;
    if (service_admit(a->d, a->ev.peer, &a->machine, &no) < 0) {
        on_reply(a, NULL, &no);
        return;
    }
    struct machine_rt *rt = a->xml ? rt_get(a->d, &a->machine) : NULL;
    char *before = NULL; /* of a request that is still being carried out */
    if (rt) {
        before = rt->xml;
        rt->xml = vr_take(a->xml);
    }
    engine_peer_request(a->d->engine, &a->machine, &a->ev, on_reply, a);
    if (rt && a->refused) {
        free(rt->xml);
        rt->xml = vr_take(before);
    }
    free(before);
}

/* @a stays on the connection's stack until the engine has answered: it always does. */
static int ask_and_wait(struct daemon *d, struct peer_ask *a, struct vr_err *err)
{
    a->d = d;
    sem_init(&a->answered, 0, 0);
    ctl_call(d, ask_engine, a);
    while (sem_wait(&a->answered) < 0)
        ;
    sem_destroy(&a->answered);
    free(a->xml);
    if (a->err.kind == VR_OK)
        return 0;
    *err = a->err;
    return -1;
}

static int one_settings(const struct msg_settings *m, size_t n, struct rel_settings *ret,
                        struct vr_err *err)
{
    if (n != 1)
        return vr_fail(err, VR_E_PROTO, 0, "%zu sets of settings in a message", n);
    return msg_to_settings(m, ret, err);
}

/* The definition becomes one of this host: it must be that of the machine it is sent for, or a peer
 * could redefine any other. */
static int check_definition(const struct msg_create *m, struct vr_err *err)
{
    struct hv_machine parsed;
    if (domxml_parse(m->xml, &parsed, err) < 0)
        return vr_err_wrap(err, "the definition sent");
    bool same = vr_uuid_eq(&parsed.uuid, &m->machine);
    hv_machine_done(&parsed);
    if (!same)
        return vr_fail(err, VR_E_PROTO, 0, "the definition sent is that of another machine");
    return 0;
}

static int call_create(struct daemon *d, const struct xport_peer *from, const void *body, size_t n,
                       struct vr_buf *reply, struct vr_err *err)
{
    __attribute__((cleanup(msg_create_done))) struct msg_create m = { 0 };
    if (msg_create_decode(body, n, &m, err) < 0 || check_definition(&m, err) < 0)
        return -1;
    struct peer_ask *a = vr_new(struct peer_ask);
    a->machine = m.machine;
    a->ev.type = EV_PEER_CREATE;
    a->ev.lineage = m.lineage;
    snprintf(a->ev.peer, sizeof a->ev.peer, "%s", from->name);
    snprintf(a->ev.name, sizeof a->ev.name, "%s", m.name);
    int rc = -1;
    if (one_settings(m.settings, m.n_settings, &a->ev.set, err) == 0 &&
        msg_to_disks(m.disks, m.n_disks, a->ev.disks, &a->ev.n_disks, err) == 0) {
        a->xml = vr_strdup(m.xml);
        rc = ask_and_wait(d, a, err);
    }
    struct msg_create_reply cr = { .seeded = a->has_content };
    free(a);
    return rc < 0 ? -1 : msg_create_reply_encode(&cr, reply, err);
}

static int call_settings(struct daemon *d, const struct xport_peer *from, const void *body,
                         size_t n, struct vr_buf *reply, struct vr_err *err)
{
    __attribute__((cleanup(msg_settings_push_done))) struct msg_settings_push m = { 0 };
    if (msg_settings_push_decode(body, n, &m, err) < 0)
        return -1;
    struct peer_ask *a = vr_new(struct peer_ask);
    a->machine = m.machine;
    a->ev.type = EV_PEER_SETTINGS;
    a->ev.lineage = m.lineage;
    snprintf(a->ev.peer, sizeof a->ev.peer, "%s", from->name);
    int rc = one_settings(m.settings, m.n_settings, &a->ev.set, err);
    if (rc == 0)
        rc = ask_and_wait(d, a, err);
    struct msg_settings_reply sr = { .held = a->settings };
    free(a);
    return rc < 0 ? -1 : msg_settings_reply_encode(&sr, reply, err);
}

static int answer_reverse(struct daemon *d, const struct peer_ask *a, struct vr_buf *reply,
                          struct vr_err *err)
{
    struct msg_reverse_reply rr = { .seeded = a->seed };
    if (rr.seeded) {
        rr.kept_lineage = a->newest.lineage;
        rr.kept_epoch = a->newest.epoch;
    }
    struct divergence v = { .known = false };
    struct vr_buf *bufs = vr_new0(VR_DISKS_MAX, sizeof *bufs);
    struct msg_ranges *ranges = vr_new0(VR_DISKS_MAX, sizeof *ranges);
    struct vr_err none = VR_ERR_INIT;
    int rc = 0;
    if (rr.seeded && a->diverged && divergence_load(d, &a->machine, &a->newest, &v, &none) == 0 &&
        v.known) {
        rc = divergence_to_msg(&v, bufs, ranges, err);
        rr.diverged = true;
        rr.wrote = ranges;
        rr.n_wrote = v.n;
    }
    if (rc == 0)
        rc = msg_reverse_reply_encode(&rr, reply, err);
    for (size_t i = 0; i < VR_DISKS_MAX; i++)
        vr_buf_done(&bufs[i]);
    free(bufs);
    free(ranges);
    divergence_done(&v);
    return rc;
}

static int call_reverse(struct daemon *d, const struct xport_peer *from, const void *body, size_t n,
                        struct vr_buf *reply, struct vr_err *err)
{
    __attribute__((cleanup(msg_reverse_done))) struct msg_reverse m = { 0 };
    if (msg_reverse_decode(body, n, &m, err) < 0)
        return -1;
    struct peer_ask *a = vr_new(struct peer_ask);
    a->machine = m.machine;
    a->ev.type = EV_PEER_REVERSE;
    a->ev.lineage = m.lineage;
    a->ev.point = (struct vr_point_id){ .lineage = m.point_lineage, .epoch = m.point_epoch };
    a->ev.newest = (struct vr_point_id){ .lineage = m.newest_lineage, .epoch = m.newest_epoch };
    snprintf(a->ev.peer, sizeof a->ev.peer, "%s", from->name);
    int rc = -1;
    if (one_settings(m.settings, m.n_settings, &a->ev.set, err) == 0 &&
        msg_to_disks(m.disks, m.n_disks, a->ev.disks, &a->ev.n_disks, err) == 0)
        rc = ask_and_wait(d, a, err);
    if (rc == 0)
        rc = answer_reverse(d, a, reply, err);
    free(a);
    return rc;
}

/* The port is written down with the peer; relationships that used the old one follow. */
static int call_port(struct daemon *d, const struct xport_peer *from, const void *body, size_t n,
                     struct vr_err *err)
{
    __attribute__((cleanup(msg_port_done))) struct msg_port m = { 0 };
    struct xport_peer now = *from;
    if (msg_port_decode(body, n, &m, err) < 0)
        return -1;
    if (!m.port)
        return vr_fail(err, VR_E_PROTO, 0, "port 0");
    if (m.port == from->port)
        return 0;
    if (from->kerberos) {
        struct xport_peer ignored;
        return on_peer_admit(d, from->name, m.port, &ignored, err);
    }
    now.port = m.port;
    if (host_peer_store(d, &now, err) < 0)
        return -1;
    vr_log(VR_LOG_INFO, "host %s is reached on port %u from now on, no longer on %u", from->name,
           m.port, from->port);
    return 0;
}

int on_peer_call(void *ctx, const struct xport_peer *from, uint16_t type, const void *body,
                 size_t n, struct vr_buf *reply, struct vr_err *err)
{
    struct daemon *d = ctx;
    switch (fault_call(type)) {
    case CALL_TEST: {
        struct msg_test_reply r = { .host = d->cfg.host_name, .version = VR_VERSION };
        if (service_test(d, from->name, err) < 0)
            return -1;
        return msg_test_reply_encode(&r, reply, err);
    }
    case CALL_CREATE:
        return call_create(d, from, body, n, reply, err);
    case CALL_SETTINGS:
        return call_settings(d, from, body, n, reply, err);
    case CALL_REVERSE:
        return call_reverse(d, from, body, n, reply, err);
    case CALL_PORT:
        return call_port(d, from, body, n, err);
    case CALL_STATUS:
        return call_status(d, from, body, n, reply, err);
    case CALL_PROVE:
        return proof_peer(d, from, body, n, reply, err);
    default:
        return vr_fail(err, VR_E_UNSUPPORTED, 0,
                       "host %s does not know call %u; is its version (%s) older?",
                       d->cfg.host_name, type, VR_VERSION);
    }
}

/* ---- transfers ---- */
struct rx {
    struct daemon *d;
    char name[VR_NAME_MAX];
    struct vr_uuid machine;
    struct rel_event ev; /* RX_OPEN; its values are used again for the later events */
    struct vr_err err;
    struct vr_point_id parent; /* our newest point, over which the stage lies */
    struct vr_point_id point;  /* the new one */
    bool opened;               /* the engine has been told */
    bool accepted;             /* the peer has been told */
    struct xfer_progress progress;
    struct store_disk disks[VR_DISKS_MAX];
    struct store_stage *stage;
    struct store_index *index;
    bool compare;     /* the sender asks for digests */
    char *xml;        /* the machine's definition, as the sender has it; NULL: not sent */
    bool other_disks; /* perhaps not those of the newest point */
    struct mono_ms began;
    struct vr_stream *stream;
};

/* ---- ending what comes in ---- */
#define BREAK_AFTER_US 1500000

struct breaker {
    struct daemon *d;
    struct vr_uuid machine;
    const struct rx *rx;
};

static int on_break(sd_event_source *s, uint64_t usec, void *arg)
{
    (void)usec;
    struct breaker *b = arg;
    struct rx *now = rt_get(b->d, &b->machine)->rx;
    /* The same one, or another at its address, which nobody cancelled. */
    if (now && now == b->rx && atomic_load(&now->progress.cancel))
        now->stream->shutdown(now->stream);
    free(b);
    sd_event_source_disable_unref(s);
    return 0;
}

/* The receiver sees the flag while its peer talks, and tells the peer why it ends. A peer that went
 * silent is not waited for: whoever fails over after a disaster must not wait for a time-out. */
void rx_cancel(struct machine_rt *rt)
{
    struct rx *x = rt->rx;
    if (!x || atomic_exchange(&x->progress.cancel, true))
        return;
    struct breaker *b = vr_new(struct breaker);
    *b = (struct breaker){ x->d, x->machine, x };
    sd_event_source *timer = NULL; /* unref'd by itself */
    if (sd_event_add_time_relative(x->d->loop, &timer, CLOCK_MONOTONIC, BREAK_AFTER_US, 100000,
                                   on_break, b) < 0)
        abort();
}

static bool names_disk(const struct rel_event *ev, const char *target)
{
    for (uint32_t i = 0; i < ev->n_disks; i++)
        if (!strcmp(ev->disks[i].target, target))
            return true;
    return false;
}

/* An old primary that was cut off goes on sending; refused for good, it asks how things stand. */
static int refuse_left(struct rx *x)
{
    const struct rel_story *left = left_find(x->d, &x->machine);
    if (!left || !vr_uuid_eq(&left->of, &x->point.lineage))
        return 0;
    return vr_fail(&x->err, VR_E_SUPERSEDED, 0,
                   "the machine was failed over to host %s, and replication was ended there since",
                   x->d->cfg.host_name);
}

static void rx_open(void *arg)
{
    struct rx *x = arg;
    if (x->d->stopping) {
        vr_fail(&x->err, VR_E_UNAVAIL, 0, "host %s is shutting down", x->d->cfg.host_name);
        return;
    }
    if (service_admit(x->d, x->ev.peer, &x->machine, &x->err) < 0 || refuse_left(x) < 0 ||
        engine_rx_open(x->d->engine, &x->machine, &x->ev, &x->err) < 0)
        return;
    const struct rel *r = engine_find(x->d->engine, &x->machine);
    snprintf(x->name, sizeof x->name, "%s", r->name);
    if (r->has_newest)
        x->parent = r->newest;
    x->other_disks = x->ev.update || x->ev.n_disks != r->n_disks;
    for (uint32_t i = 0; i < r->n_disks && i < x->ev.n_disks; i++)
        x->other_disks |= !names_disk(&x->ev, r->disks[i].target);
    if (x->point.epoch <= x->parent.epoch && vr_uuid_eq(&x->point.lineage, &x->parent.lineage))
        vr_fail(&x->err, VR_E_SUPERSEDED, 0,
                "point %" PRIu64 " was sent although point %" PRIu64 " is held already",
                x->point.epoch, x->parent.epoch);
    x->opened = true;
    struct machine_rt *rt = rt_get(x->d, &x->machine);
    rt->receiving = &x->progress;
    rt->rx = x;
    host_peer_contact(x->d, x->ev.peer, true);
}

static void rx_stage(void *arg)
{
    struct rx *x = arg;
    for (uint32_t i = 0; i < x->ev.n_disks; i++) {
        snprintf(x->disks[i].target, sizeof x->disks[i].target, "%s", x->ev.disks[i].target);
        x->disks[i].size = x->ev.disks[i].size;
    }
    store_stage_open(x->d->store, &x->machine, &x->parent, &x->point, x->disks, x->ev.n_disks,
                     &x->stage, &x->err);
}

static void rx_commit(void *arg)
{
    struct rx *x = arg;
    fault_before("RX_COMMIT");
    if (store_stage_commit(x->d->store, x->stage, x->ev.instant, x->ev.kind, &x->err) == 0)
        x->stage = NULL;
    fault_after("RX_COMMIT");
}

static void rx_committed(void *arg)
{
    struct rx *x = arg;
    struct rel_event ev = x->ev;
    ev.type = EV_RX_COMMITTED;
    ev.point = x->point;
    ev.moved = (struct rel_moved){ .dirty = atomic_load(&x->progress.done),
                                   .payload = atomic_load(&x->progress.payload),
                                   .wire = atomic_load(&x->progress.wire),
                                   .ms = (uint64_t)(vr_mono_now().ms - x->began.ms) };
    engine_event(x->d->engine, &x->machine, &ev);
}

static void rx_ended(void *arg)
{
    struct rx *x = arg;
    struct machine_rt *rt = rt_get(x->d, &x->machine);
    rt->receiving = NULL;
    rt->rx = NULL;
    struct rel_event ev = { .type = EV_RX_ENDED, .err = x->err };
    engine_event(x->d->engine, &x->machine, &ev);
}

static int rx_receive(struct rx *x, struct vr_stream *s)
{
    struct xfer_recv_disk disks[VR_DISKS_MAX];
    for (size_t i = 0; i < x->stage->n_disks; i++) {
        struct store_stage_disk *sd = &x->stage->disks[i];
        disks[i] =
            (struct xfer_recv_disk){ .size = sd->size,
                                     .image = sd->image,
                                     .raw = sd->raw,
                                     .fresh = sd->fresh,
                                     .digests = sd->digests,
                                     .parent_digests = (const char *const *)sd->parent_digests,
                                     .n_parent_digests = sd->n_parent_digests,
                                     .parents_complete = sd->parents_complete,
                                     .wanted = &sd->wanted };
        snprintf(disks[i].target, sizeof disks[i].target, "%s", sd->target);
    }
    struct xfer_recv r = {
        .stream = s, .disks = disks, .n_disks = x->stage->n_disks, .progress = &x->progress
    };
    if (xfer_recv_run(&r, &x->err) < 0)
        return -1;
    /* The sender's go: its instant was still held when the last byte was read. */
    return xport_recv_result(s, &x->err);
}

static void rx_index_prepare(void *arg)
{
    struct rx *x = arg;
    store_index_prepare(x->d->store, &x->machine, false, &x->index, &x->err);
}

static void rx_index_finish(void *arg)
{
    struct rx *x = arg;
    struct vr_err err = VR_ERR_INIT;
    store_index_finish(x->d->store, x->index, &err);
    if (x->err.kind == VR_OK)
        x->err = err;
    x->index = NULL;
}

/* Disks that were adopted have no digests yet: they are read here, once, so that the sender can
 * compare instead of copying everything. The peer waits meanwhile; the session is kept alive. */
static int rx_index(struct rx *x)
{
    storage_call(x->d, &x->machine, rx_index_prepare, x, &x->err);
    if (x->err.kind != VR_OK || !x->index)
        return x->err.kind == VR_OK ? 0 : -1;
    vr_log(VR_LOG_INFO, "machine %s: reading its disks here for their digests", x->name);
    store_index_run(x->index, &x->progress.cancel, &x->err);
    storage_call(x->d, &x->machine, rx_index_finish, x, NULL);
    return x->err.kind == VR_OK ? 0 : -1;
}

/* Changes are no whole disk: of one that the newest point here does not have all of it must come.
 * The sender compares all disks then. */
static int check_whole(struct rx *x)
{
    for (size_t i = 0; x->ev.latest && i < x->stage->n_disks; i++) {
        const struct store_stage_disk *sd = &x->stage->disks[i];
        for (uint32_t k = 0; k < x->ev.n_disks; k++)
            if (sd->fresh && !x->ev.disks[k].added && !strcmp(x->ev.disks[k].target, sd->target))
                return vr_fail_detail(&x->err, VR_E_TRACKING, VR_LOST_PEER,
                                      "the newest recovery point of machine %s on host %s does not "
                                      "have disk %s",
                                      x->name, x->d->cfg.host_name, sd->target);
    }
    return 0;
}

/* The machine is defined with the disks of its newest point. The next failover looks, too. */
static void rx_define(struct rx *x)
{
    struct vr_err err = VR_ERR_INIT;
    if (x->err.kind == VR_OK && x->other_disks &&
        definitions_follow(x->d, &x->machine, x->ev.disks, x->ev.n_disks, &err) < 0)
        vr_log_err(VR_LOG_WARN, x->name, &err);
}

static void rx_run(struct rx *x, struct vr_stream *s)
{
    if (x->other_disks &&
        definitions_learn(x->d, &x->machine, x->ev.disks, x->ev.n_disks, x->xml, &x->err) < 0)
        return;
    fault_hold("RX_INDEX");
    if (x->compare && rx_index(x) < 0)
        return;
    storage_call(x->d, &x->machine, rx_stage, x, &x->err);
    if (x->err.kind != VR_OK)
        return;
    if (check_whole(x) == 0 && xport_transfer_accept(s, &x->err) == 0) {
        x->accepted = true;
        if (rx_receive(x, s) == 0)
            storage_call(x->d, &x->machine, rx_commit, x, &x->err);
        rx_define(x);
    }
    if (x->stage)
        store_stage_free(x->stage);
}

static int rx_decode(struct rx *x, const struct xport_peer *from, const void *body, size_t n,
                     struct vr_err *err)
{
    __attribute__((cleanup(msg_transfer_done))) struct msg_transfer m = { 0 };
    if (msg_transfer_decode(body, n, &m, err) < 0 ||
        msg_to_disks(m.disks, m.n_disks, x->ev.disks, &x->ev.n_disks, err) < 0)
        return -1;
    if (!m.epoch || m.kind == VR_POINT_NONE || m.kind > VR_POINT_PLANNED || m.instant_us <= 0)
        return vr_fail(err, VR_E_PROTO, 0, "transfer with values that are not possible");
    x->machine = m.machine;
    x->point = (struct vr_point_id){ .lineage = m.lineage, .epoch = m.epoch };
    x->ev.type = EV_RX_OPEN;
    x->ev.lineage = m.lineage;
    x->ev.point = (struct vr_point_id){ .lineage = m.lineage, .epoch = m.since };
    x->ev.latest = m.has_since;
    x->ev.diverged = m.diverged;
    x->ev.resync = m.resync;
    x->ev.update = m.update;
    x->xml = vr_strdup(m.xml);
    x->compare = m.compare;
    x->ev.kind = (enum vr_point_kind)m.kind;
    x->ev.instant = (struct wall_us){ m.instant_us };
    snprintf(x->ev.peer, sizeof x->ev.peer, "%s", from->name);
    return 0;
}

int on_peer_transfer(void *ctx, const struct xport_peer *from, const void *body, size_t n,
                     struct vr_stream *s, struct vr_err *err)
{
    struct rx *x = vr_new(struct rx);
    x->d = ctx;
    x->began = vr_mono_now();
    x->stream = s;
    int rc = rx_decode(x, from, body, n, err);
    if (rc == 0) {
        ctl_call(x->d, rx_open, x);
        if (x->err.kind == VR_OK) {
            rx_run(x, s);
            if (x->err.kind != VR_OK && atomic_load(&x->progress.cancel)) {
                vr_err_clear(&x->err);
                vr_fail(&x->err, VR_E_CANCELLED, 0, "the transfer was cancelled");
            }
            if (x->err.kind == VR_OK)
                ctl_call(x->d, rx_committed, x);
        }
        if (x->opened)
            ctl_call(x->d, rx_ended, x);
        /* The answer comes last: what it says is durable. A refusal before the transfer was
         * accepted travels as the handler's own error. */
        struct vr_err sent = VR_ERR_INIT;
        if (x->accepted)
            xport_send_result(s, x->err.kind == VR_OK ? NULL : &x->err, &sent);
        if (x->err.kind != VR_OK) {
            *err = x->err;
            rc = -1;
        }
    }
    free(x->xml);
    free(x);
    return rc;
}
