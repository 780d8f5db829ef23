/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the management interface sees of this host and may have it do: snapshots and actions with
 * jobs. Control thread; work() functions on workers. */
#include "daemon/daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/messages.h"
#include "daemon/proof.h"
#include "daemon/slots.h"
#include "daemon/probe.h"
#include "daemon/storage.h"

/* ---- machines ---- */
struct list_task {
    struct task t;
    struct hv_machine *m;
    size_t n;
};

static void list_work(struct task *t)
{
    struct list_task *l = (struct list_task *)t;
    hv_list(t->d->hv, &l->m, &l->n, &t->err);
}

/* A change of power is over when it is seen: whoever waits for its job asks for something next that
 * needs the machine to be off, or on. So the job ends with a list that was begun after the act. */
struct power_end {
    struct power_end *next;
    struct vr_uuid job;
    struct vr_err err;
    uint64_t list; /* number of the list that shows it */
};

static void end_power_jobs(struct daemon *d)
{
    for (struct power_end **at = &d->power_ends, *p; (p = *at);) {
        if (p->list > d->lists) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        engine_job_end(d->engine, &p->job, p->err.kind == VR_OK ? NULL : &p->err);
        free(p);
    }
}

/* When each machine's power changed, as far as this daemon has seen it; for one that runs since
 * before, when its process began. */
static void note_changes(const struct daemon *d, struct hv_machine *m, size_t n)
{
    struct wall_us now = vr_wall_now();
    for (size_t i = 0; i < n; i++) {
        const struct hv_machine *was = host_machine(d, &m[i].uuid);
        m[i].changed = !was ? m[i].started : was->power != m[i].power ? now : was->changed;
    }
}

/* Did machines come or go, or change places? */
static bool have_moved(const struct daemon *d, const struct hv_machine *m, size_t n)
{
    for (size_t i = 0; n == d->n_machines && i < n; i++)
        if (!vr_uuid_eq(&m[i].uuid, &d->machines[i].uuid))
            return true;
    return n != d->n_machines;
}

static void list_done(struct task *t)
{
    struct list_task *l = (struct list_task *)t;
    struct daemon *d = t->d;
    d->machines_busy = false;
    d->machines_known = t->err.kind == VR_OK;
    if (t->err.kind == VR_OK) {
        bool moved = have_moved(d, l->m, l->n);
        note_changes(d, l->m, l->n);
        hv_machines_free(d->machines, d->n_machines);
        d->machines = l->m;
        d->n_machines = l->n;
        vr_uuidmap_clear(&d->machine_by_uuid);
        for (size_t i = 0; i < l->n; i++)
            vr_uuidmap_put(&d->machine_by_uuid, &l->m[i].uuid, &l->m[i]);
        for (size_t i = 0; i < l->n; i++)
            engine_rename(d->engine, &l->m[i].uuid, l->m[i].name);
        if (d->prov)
            host_providers_machines_changed(d->prov, moved);
    } else {
        vr_log_err(VR_LOG_DEBUG, "list of machines", &t->err);
    }
    end_power_jobs(d);
    if (d->machines_wanted)
        host_refresh_machines(d);
}

void host_refresh_machines(struct daemon *d)
{
    if (d->machines_busy) {
        d->machines_wanted = true;
        return;
    }
    d->machines_wanted = false;
    d->machines_busy = true;
    d->lists++;
    struct list_task *l = vr_new(struct list_task);
    l->t.work = list_work;
    l->t.done = list_done;
    task_run(d, d->hv_exec, &l->t);
}

const struct hv_machine *host_machine(const struct daemon *d, const struct vr_uuid *uuid)
{
    return vr_uuidmap_get(&d->machine_by_uuid, uuid);
}

static const struct hv_machine *h_machine(void *ctx, const struct vr_uuid *uuid)
{
    return host_machine(ctx, uuid);
}

static size_t h_machines(void *ctx, const struct hv_machine **ret)
{
    struct daemon *d = ctx;
    *ret = d->machines;
    return d->n_machines;
}

/* ---- points ---- */
struct points_task {
    struct task t;
    struct store_point *v;
    size_t n;
    bool beneath; /* what a primary keeps below its disks */
};

/* No rule of retention is applied there: it stays as long as the machine runs on it. */
static void kept_beneath(struct store_point *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        v[i].why = v[i].kind == VR_POINT_ORPHAN ? STORE_WHY_ORPHAN : 0;
}

static void points_work(struct task *t)
{
    struct points_task *p = (struct points_task *)t;
    vr_autofree char *folder = NULL;
    struct vr_err none = VR_ERR_INIT;
    (void)store_chain_folder(t->d->store, &t->r.machine, &folder, &none);
    storage_learn(t->d, &t->r.machine, folder);
    if (!folder || store_points(t->d->store, &t->r.machine, &p->v, &p->n, &t->err) < 0 || p->n)
        return;
    p->beneath = true;
    if (store_points_beneath(t->d->store, &t->r.machine, &p->v, &p->n, &t->err) == 0)
        kept_beneath(p->v, p->n);
}

static void points_done(struct task *t)
{
    struct points_task *p = (struct points_task *)t;
    struct machine_rt *rt = rt_get(t->d, &t->r.machine);
    free(rt->points);
    rt->points = p->v;
    rt->n_points = p->n;
    rt->points_beneath = p->beneath;
    if (t->err.kind != VR_OK)
        vr_log_err(VR_LOG_WARN, "list of recovery points", &t->err);
}

void host_refresh_points(struct daemon *d, const struct vr_uuid *machine)
{
    struct points_task *p = vr_new(struct points_task);
    p->t.work = points_work;
    p->t.done = points_done;
    p->t.r.machine = *machine;
    task_run(d, d->store_exec, &p->t);
}

static size_t h_points(void *ctx, const struct vr_uuid *machine, const struct store_point **ret)
{
    struct daemon *d = ctx;
    const struct rel *r = engine_find(d->engine, machine);
    struct machine_rt *rt = rt_get(d, machine);
    /* A primary's chain is its own disks: it has no points to offer, only such as are kept. A list
     * from before a change of role is told to nobody. */
    if (!r || rel_mode(r) != (rt->points_beneath ? REL_MODE_PRIMARY : REL_MODE_REPLICA))
        return 0;
    if (!rt->points_beneath) {
        struct store_retention keep = retention_of(d, r);
        store_retention_apply(rt->points, rt->n_points, &keep);
    }
    *ret = rt->points;
    return rt->n_points;
}

/* ---- peers and transfers ---- */
static size_t h_peers(void *ctx, const struct host_peer **ret)
{
    struct daemon *d = ctx;
    *ret = d->peers;
    return d->n_peers;
}

static const struct host_peer *h_find_peer(void *ctx, const char *point)
{
    struct daemon *d = ctx;
    for (size_t i = 0; i < d->n_peers; i++)
        if (d->peers[i].thumb[0] &&
            (!strcasecmp(d->peers[i].name, point) || !strcasecmp(d->peers[i].address, point)))
            return &d->peers[i];
    return NULL;
}

static bool h_transfer(void *ctx, const struct vr_uuid *machine, struct host_transfer *ret)
{
    struct machine_rt *rt = rt_get(ctx, machine);
    struct xfer_progress *p = rt->sending ? rt->sending : rt->receiving;
    if (!p)
        return false;
    *ret = (struct host_transfer){ .total = atomic_load(&p->total),
                                   .done = atomic_load(&p->done),
                                   .payload = atomic_load(&p->payload),
                                   .wire = atomic_load(&p->wire),
                                   .sending = rt->sending != NULL };
    return true;
}

static bool h_hypervisor_answers(void *ctx)
{
    return ((struct daemon *)ctx)->machines_known;
}

static bool h_ahead(void *ctx, const struct vr_uuid *machine, uint64_t *ret)
{
    return ahead_of(ctx, machine, ret);
}

static bool h_stuck(void *ctx, const struct vr_uuid *machine)
{
    return hv_is_stuck(((struct daemon *)ctx)->hv, machine);
}

static bool h_queued(void *ctx, const struct vr_uuid *machine)
{
    return slots_waits(((struct daemon *)ctx)->slots, machine);
}

/* ---- actions with a job ---- */
struct act_task {
    struct task t;
    struct vr_uuid job;
    struct xport_peer peer;
    char address[VR_NAME_MAX];
    char code[64];
    uint16_t port, my_port;
    enum hv_action action;
    struct vr_uuid machine;
    struct vr_point_id point;
};

static void act_done(struct task *t)
{
    struct act_task *a = (struct act_task *)t;
    engine_job_end(t->d->engine, &a->job, t->err.kind == VR_OK ? NULL : &t->err);
    host_refresh_machines(t->d);
}

static struct act_task *act_new(struct daemon *d, void (*work)(struct task *), enum job_type type,
                                const struct vr_uuid *machine, const char *owner,
                                struct vr_uuid *ret_job)
{
    struct act_task *a = vr_new(struct act_task);
    a->t.work = work;
    a->t.done = act_done;
    if (machine)
        a->machine = *machine;
    a->job = engine_job_new(d->engine, type, machine, owner);
    *ret_job = a->job;
    return a;
}

static int h_pair_code(void *ctx, char code[64], struct wall_us *ret_expires, struct vr_err *err)
{
    struct daemon *d = ctx;
    enum { CODE_SECONDS = 900 };
    if (!d->listening)
        return vr_fail(err, VR_E_STATE, 0,
                       "host %s does not listen for peers with certificates (%s): turn that on "
                       "first (vmreplica server --receive yes --auth %s), or show the code on the "
                       "other host",
                       d->cfg.host_name,
                       d->krb_listening ? "AllowedAuthenticationType is 1, Kerberos"
                                        : "RecoveryServerEnabled is FALSE",
                       d->krb_listening ? "both" : "certificate");
    if (xport_pair_code(d->xport, CODE_SECONDS, code, err) < 0)
        return -1;
    ret_expires->us = vr_wall_now().us + (int64_t)CODE_SECONDS * 1000000;
    return 0;
}

static void pair_work(struct task *t)
{
    struct act_task *a = (struct act_task *)t;
    if (xport_pair(t->d->xport, a->address, a->port, a->code, a->my_port, &a->peer, &t->err) < 0)
        vr_err_wrap(&t->err, "pairing with %s port %u", a->address, a->port);
}

static int h_pair(void *ctx, const char *address, uint16_t port, const char *code,
                  const char *owner, struct vr_uuid *ret_job, struct vr_err *err)
{
    struct daemon *d = ctx;
    if (strlen(address) >= VR_NAME_MAX || strlen(code) >= 64 || !*address || !*code)
        return vr_fail(err, VR_E_INVAL, 0, "a host and the code it showed are needed to pair");
    struct act_task *a = act_new(d, pair_work, JOB_PAIR, NULL, owner, ret_job);
    snprintf(a->address, sizeof a->address, "%s", address);
    snprintf(a->code, sizeof a->code, "%s", code);
    a->port = port ? port : XPORT_PORT;
    a->my_port = d->peer_port;
    task_run(d, d->net_exec, &a->t);
    return 0;
}

static void unpair_work(struct task *t)
{
    struct act_task *a = (struct act_task *)t;
    store_doc_delete(t->d->store, "peer", a->address, &t->err);
}

static void unpair_done(struct task *t)
{
    if (t->err.kind != VR_OK)
        vr_log_err(VR_LOG_ERROR, "forgetting a peer", &t->err);
}

static int h_unpair(void *ctx, const char *peer, struct vr_err *err)
{
    struct daemon *d = ctx;
    for (size_t i = 0; engine_at(d->engine, i); i++) {
        const struct rel *r = engine_at(d->engine, i);
        if (r->st != ST_NONE && !strcasecmp(r->peer, peer))
            return vr_fail(err, VR_E_BUSY, 0, "machine %s is replicated with %s; disable it first",
                           r->name, peer);
    }
    for (size_t i = 0; i < d->n_peers; i++) {
        if (strcasecmp(d->peers[i].name, peer) != 0)
            continue;
        struct act_task *a = vr_new(struct act_task);
        a->t.work = unpair_work;
        a->t.done = unpair_done;
        snprintf(a->address, sizeof a->address, "%s", d->peers[i].name);
        d->peers[i] = d->peers[--d->n_peers];
        host_peers_changed(d);
        host_peer_changes();
        task_run(d, d->store_exec, &a->t);
        return 0;
    }
    return vr_fail(err, VR_E_NOTFOUND, 0, "host '%s' is not paired with this one", peer);
}

static void power_work(struct task *t)
{
    struct act_task *a = (struct act_task *)t;
    hv_power(t->d->hv, &a->machine, a->action, &t->err);
}

static void power_done(struct task *t)
{
    struct act_task *a = (struct act_task *)t;
    struct power_end *p = vr_new(struct power_end);
    *p = (struct power_end){
        .next = t->d->power_ends, .job = a->job, .err = t->err, .list = t->d->lists + 1
    };
    t->d->power_ends = p;
    host_refresh_machines(t->d);
}

static int h_power(void *ctx, const struct vr_uuid *machine, enum hv_action action,
                   const char *owner, struct vr_uuid *ret_job, struct vr_err *err)
{
    struct daemon *d = ctx;
    (void)err;
    struct act_task *a = act_new(d, power_work, JOB_POWER, machine, owner, ret_job);
    a->action = action;
    a->t.done = power_done;
    task_run(d, d->hv_exec, &a->t);
    return 0;
}

/* What is wrong, in words: a refused connection has one of three causes, and something else than a
 * listener for peers may answer. */
static void explain_test(struct act_task *a)
{
    struct vr_err *e = &a->t.err;
    if (e->kind == VR_E_PEER && e->sys == ECONNREFUSED) {
        vr_err_clear(e);
        vr_fail(e, VR_E_PEER, ECONNREFUSED,
                "nothing listens at %.100s port %u: is vmreplicad running on host %.60s, is it "
                "enabled as a replica server%s, and is this its port?",
                a->peer.address, a->peer.port, a->peer.name,
                a->peer.kerberos ? " for Kerberos (AllowedAuthenticationType 1 or 3, HttpPort)"
                                 : " (RecoveryServerEnabled)");
        return;
    }
    vr_err_wrap(e, "host %s at %s port %u", a->peer.name, a->peer.address, a->peer.port);
    if (e->sys != EPROTONOSUPPORT && (e->kind == VR_E_VERSION || e->kind == VR_E_PROTO))
        vr_err_wrap(e, "port %u may not be the port for peers", a->peer.port);
}

static void test_work(struct task *t)
{
    struct act_task *a = (struct act_task *)t;
    if (t->err.kind != VR_OK)
        return;
    vr_autobuf struct vr_buf reply = VR_BUF_INIT;
    if (xport_call(t->d->xport, &a->peer, CALL_TEST, "", 0, &reply, 20000, &t->err) < 0)
        explain_test(a);
}

static int h_test_connection(void *ctx, const char *point, uint16_t port, bool kerberos,
                             const char *owner, struct vr_uuid *ret_job, struct vr_err *err)
{
    struct daemon *d = ctx;
    (void)err;
    struct act_task *a = act_new(d, test_work, JOB_TEST_CONNECTION, NULL, owner, ret_job);
    const struct host_peer *p = h_find_peer(d, point);
    if (kerberos)
        peer_by_kerberos(point, point, port, &a->peer);
    else
        peer_of(d, p ? p->name : point, &a->peer, &a->t.err);
    if (port)
        a->peer.port = port;
    task_run(d, d->net_exec, &a->t);
    return 0;
}

static const char *h_kerberos_name(void *ctx, struct vr_err *err)
{
    static char name[VR_NAME_MAX];
    return xport_self(((struct daemon *)ctx)->xport, name, err) < 0 ? NULL : name;
}

static const char *h_kerberos_management(void *ctx)
{
    return ((struct daemon *)ctx)->krb_manage;
}

/* DER in base 64 is what stands between the lines of a PEM file. */
static const char *cert_base64(const struct daemon *d)
{
    static char out[8192];
    const char *c = strstr(xport_cert_pem(d->xport), "CERTIFICATE-----");
    size_t n = 0;
    for (c = c ? c + strlen("CERTIFICATE-----") : ""; *c && *c != '-' && n + 1 < sizeof out; c++)
        if (*c > ' ')
            out[n++] = *c;
    out[n] = 0;
    return out;
}

static bool h_peer_story(void *ctx, const struct vr_uuid *machine, struct rel_story *ret,
                         struct wall_us *ret_when, enum host_answer *ret_answer)
{
    const struct machine_rt *rt = rt_get(ctx, machine);
    *ret = rt->story;
    *ret_when = rt->story_at;
    *ret_answer = !rt->peer_away ? HOST_ANSWERS : rt->peer_sends ? HOST_SENDS : HOST_SILENT;
    return rt->story_at.us != 0;
}

static int h_ask_peer(void *ctx, const struct vr_uuid *machine, const char *owner,
                      struct vr_uuid *ret_job, struct vr_err *err)
{
    struct daemon *d = ctx;
    const struct rel *r = engine_find(d->engine, machine);
    if (!r)
        return vr_fail(err, VR_E_STATE, 0, "the machine is not replicated");
    return probe_peer(d, r, owner, ret_job);
}

void host_init(struct daemon *d)
{
    d->host = (struct host){ .ctx = d,
                             .engine = d->engine,
                             .name = d->cfg.host_name,
                             .version = VR_VERSION,
                             .thumb = xport_thumb(d->xport),
                             .thumb_sha1 = xport_thumb_sha1(d->xport),
                             .peer_port = d->peer_port,
                             .cert_der_base64 = cert_base64(d),
                             .storage = d->cfg.storage,
                             .machines = h_machines,
                             .machine = h_machine,
                             .points = h_points,
                             .peers = h_peers,
                             .find_peer = h_find_peer,
                             .transfer = h_transfer,
                             .queued = h_queued,
                             .stuck = h_stuck,
                             .ahead = h_ahead,
                             .peer_story = h_peer_story,
                             .ask_peer = h_ask_peer,
                             .hypervisor_answers = h_hypervisor_answers,
                             .pair_code = h_pair_code,
                             .pair = h_pair,
                             .unpair = h_unpair,
                             .power = h_power,
                             .kerberos_name = h_kerberos_name,
                             .kerberos_management = h_kerberos_management,
                             .test_connection = h_test_connection };
    verify_host(d);
}
