/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making, failing over, reversing and removing: effects that touch the chain and the machine's
 * definition. Every work() can be run again after a crash at any line. work() on hv workers. */
#include "daemon/daemon.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/diverge.h"
#include "daemon/messages.h"

/* A task of an effect with an event as its result and room for what the effects need. */
struct swap_task {
    struct task t;
    struct rel_event ev;        /* what is told on success */
    enum rel_event_type failed; /* and on failure (with t.err); same as ev.type: told anyway */
    struct xport_peer peer;
    char *xml;
    struct store_disk disks[VR_DISKS_MAX];
    char *base[VR_DISKS_MAX];
    struct hv_disk_path paths[2 * VR_DISKS_MAX];
    char kept[VR_DISKS_MAX][VR_TARGET_MAX]; /* disks outside replication, by target */
    size_t n_kept;
    bool was_yielded;
    char *path[VR_DISKS_MAX];
    size_t n;
    char checkpoint[64];
};

static void swap_done(struct task *t)
{
    struct swap_task *s = (struct swap_task *)t;
    struct rel_event *ev = &s->ev;
    if (t->err.kind != VR_OK) {
        ev->type = s->failed;
        ev->err = t->err;
    }
    for (size_t i = 0; i < VR_DISKS_MAX; i++) {
        free(s->base[i]);
        free(s->path[i]);
    }
    free(s->xml);
    host_refresh_machines(t->d);
    host_refresh_points(t->d, &t->r.machine);
    finish_effect(t->d, &t->r.machine, ev->type == EV_COUNT ? NULL : ev);
}

static struct swap_task *swap_new(const struct rel *r, void (*work)(struct task *),
                                  enum rel_event_type ok, enum rel_event_type failed)
{
    struct swap_task *s = vr_new(struct swap_task);
    s->t.work = work;
    s->t.done = swap_done;
    s->t.r = *r;
    s->ev.type = ok;
    s->failed = failed;
    return s;
}

/* ---- store calls of these tasks, on the store thread ---- */
static void st_paths(void *arg)
{
    struct swap_task *s = arg;
    for (uint32_t i = 0; i < s->t.r.n_disks && s->t.err.kind == VR_OK; i++) {
        const char *target = s->t.r.disks[i].target;
        if (store_failover_path(s->t.d->store, &s->t.r.machine, target, &s->path[i], &s->t.err) < 0)
            return;
        snprintf(s->paths[i].target, sizeof s->paths[i].target, "%s", target);
        s->paths[i].path = s->path[i];
    }
    s->n = s->t.r.n_disks;
}

static void st_make_chain(void *arg)
{
    struct swap_task *s = arg;
    const struct rel *r = &s->t.r;
    if (r->seed && store_chain_exists(s->t.d->store, &r->machine))
        return;
    for (uint32_t i = 0; i < r->n_disks; i++) {
        snprintf(s->disks[i].target, sizeof s->disks[i].target, "%s", r->disks[i].target);
        s->disks[i].size = r->disks[i].size;
    }
    store_chain_create(s->t.d->store, &r->machine, s->t.d->cfg.storage, s->disks, r->n_disks, NULL,
                       (struct wall_us){ 0 }, VR_POINT_NONE, &s->t.err);
}

/* ---- MAKE_REPLICA ---- */
static void make_work(struct task *t)
{
    struct swap_task *s = (struct swap_task *)t;
    struct vr_err none = VR_ERR_INIT;
    struct hv_machine m;
    if (!t->r.seed && hv_get(t->d->hv, &t->r.machine, &m, &none) == 0) {
        bool ours = false;
        struct hv_machine *mm = &m;
        for (size_t i = 0; i < mm->n_disks; i++)
            if (!strncmp(mm->disks[i].path ? mm->disks[i].path : "", t->d->cfg.storage,
                         strlen(t->d->cfg.storage)))
                ours = true; /* left by a creation that was cut */
        hv_machine_done(&m);
        if (!ours) {
            vr_fail(
                &t->err, VR_E_EXISTS, 0,
                "host %s already has a machine with the UUID of %s; undefine it there, or offer "
                "its disks as a seed (vmreplica seed %s on %s)",
                t->d->cfg.host_name, t->r.name, t->r.name, t->d->cfg.host_name);
            return;
        }
    }
    store_call(t->d, st_make_chain, s);
    if (t->err.kind == VR_OK)
        store_call(t->d, st_paths, s);
    if (t->err.kind == VR_OK && s->xml)
        hv_define_replica(t->d->hv, s->xml, NULL, NULL, false, s->paths, s->n, &t->err);
    vr_err_wrap(&t->err, "making the replica on %s", t->d->cfg.host_name);
}

void fx_make_replica(struct daemon *d, const struct rel *r)
{
    struct swap_task *s = swap_new(r, make_work, EV_CREATED, EV_CREATE_FAILED);
    struct machine_rt *rt = rt_get(d, &r->machine);
    s->xml = vr_take(rt->xml);
    task_run(d, d->hv_exec, &s->t);
}

/* ---- CREATE_AT_PEER ---- */
static void create_work(struct task *t)
{
    struct swap_task *s = (struct swap_task *)t;
    const struct rel *r = &t->r;
    if (t->err.kind != VR_OK || hv_xml(t->d->hv, &r->machine, &s->xml, &t->err) < 0)
        return;
    struct msg_settings set = msg_from_settings(&r->set);
    struct msg_disk disks[VR_DISKS_MAX];
    msg_from_disks(r->disks, r->n_disks, disks);
    struct msg_create m = { .machine = r->machine,
                            .name = r->name,
                            .xml = s->xml,
                            .lineage = r->lineage,
                            .settings = &set,
                            .n_settings = 1,
                            .disks = disks,
                            .n_disks = r->n_disks };
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    vr_autobuf struct vr_buf reply = VR_BUF_INIT;
    if (msg_create_encode(&m, &b, &t->err) == 0 &&
        xport_call(t->d->xport, &s->peer, CALL_CREATE, b.data, b.len, &reply, 120000, &t->err) ==
            0) {
        __attribute__((cleanup(msg_create_reply_done))) struct msg_create_reply cr = { 0 };
        if (msg_create_reply_decode(reply.data, reply.len, &cr, &t->err) == 0)
            s->ev.seeded = cr.seeded;
    }
    vr_err_wrap(&t->err, "host %s", s->peer.name);
}

void fx_create_at_peer(struct daemon *d, const struct rel *r)
{
    struct swap_task *s = swap_new(r, create_work, EV_CREATED, EV_CREATE_FAILED);
    peer_of(d, r->peer, &s->peer, &s->t.err);
    task_run(d, d->net_exec, &s->t);
}

/* ---- PUSH_SETTINGS: best effort, told again with the next change ---- */
static void push_work(struct task *t)
{
    struct swap_task *s = (struct swap_task *)t;
    if (t->err.kind != VR_OK)
        return;
    struct msg_settings set = msg_from_settings(&t->r.set);
    struct msg_settings_push m = { .machine = t->r.machine, .settings = &set, .n_settings = 1 };
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    vr_autobuf struct vr_buf reply = VR_BUF_INIT;
    if (msg_settings_push_encode(&m, &b, &t->err) == 0)
        xport_call(t->d->xport, &s->peer, CALL_SETTINGS, b.data, b.len, &reply, 20000, &t->err);
}

static void push_done(struct task *t)
{
    if (t->err.kind != VR_OK)
        vr_log_err(VR_LOG_WARN, "the peer was not told the new settings", &t->err);
}

void fx_push_settings(struct daemon *d, const struct rel *r)
{
    struct swap_task *s = swap_new(r, push_work, EV_COUNT, EV_COUNT);
    s->t.done = push_done;
    peer_of(d, r->peer, &s->peer, &s->t.err);
    task_run(d, d->net_exec, &s->t);
    engine_done(d->engine, &r->machine); /* nothing waits for the peer */
}

/* ---- FAILOVER ---- */
static void st_failover(void *arg)
{
    struct swap_task *s = arg;
    struct store *st = s->t.d->store;
    const struct rel *r = &s->t.r;
    struct store_point *pts = NULL;
    size_t n = 0;
    if (store_points(st, &r->machine, &pts, &n, &s->t.err) < 0)
        return;
    const struct store_point *chosen = NULL;
    for (size_t i = 0; i < n; i++)
        if (r->failover_latest || vr_point_eq(&pts[i].id, &r->failover))
            chosen = &pts[i];
    if (!chosen) {
        vr_fail(&s->t.err, VR_E_NOTFOUND, 0, "machine %s has no such recovery point", r->name);
    } else {
        s->ev.point = chosen->id;
        s->ev.kind = chosen->kind;
        s->ev.instant = chosen->instant;
        store_failover_prepare(st, &r->machine, &chosen->id, s->checkpoint, &s->t.err);
    }
    free(pts);
}

static void st_drop_failover(void *arg)
{
    struct swap_task *s = arg;
    store_failover_drop(s->t.d->store, &s->t.r.machine, &s->t.err);
}

static void failover_work(struct task *t)
{
    struct swap_task *s = (struct swap_task *)t;
    const char *targets[VR_DISKS_MAX];
    rel_checkpoint(&t->r.next_lineage, 0, s->checkpoint);
    store_call(t->d, st_failover, s);
    if (t->err.kind == VR_OK)
        hv_checkpoint_adopt(t->d->hv, &t->r.machine, s->checkpoint, targets,
                            rel_targets(&t->r, targets), &t->err);
    if (t->err.kind != VR_OK) {
        struct swap_task undo = { .t = *t };
        vr_err_clear(&undo.t.err);
        store_call(t->d, st_drop_failover, &undo);
    }
    vr_err_wrap(&t->err, "failover of %s", t->r.name);
}

void fx_failover(struct daemon *d, const struct rel *r)
{
    struct swap_task *s = swap_new(r, failover_work, EV_FAILED_OVER, EV_FAILOVER_FAILED);
    task_run(d, d->hv_exec, &s->t); /* the store stops a merge by itself */
}

/* ---- REVERT ---- */
static void revert_work(struct task *t)
{
    struct swap_task *s = (struct swap_task *)t;
    struct hv_machine m;
    rel_checkpoint(&t->r.next_lineage, 0, s->checkpoint);
    if (hv_get(t->d->hv, &t->r.machine, &m, &t->err) < 0)
        return;
    bool off = m.power == HV_POWER_OFF;
    hv_machine_done(&m);
    if (!off) { /* started after the request, before the guard */
        vr_fail(&t->err, VR_E_STATE, 0, "machine %s is running; turn it off first", t->r.name);
        return;
    }
    if (hv_checkpoint_delete(t->d->hv, &t->r.machine, s->checkpoint, &t->err) == 0)
        store_call(t->d, st_drop_failover, s);
    vr_err_wrap(&t->err, "cancelling the failover of %s", t->r.name);
}

void fx_revert(struct daemon *d, const struct rel *r)
{
    struct swap_task *s = swap_new(r, revert_work, EV_REVERTED, EV_REVERT_FAILED);
    task_run(d, d->hv_exec, &s->t);
}

/* ---- REVERSE_CALL and BECOME_PRIMARY, on the failed-over host ---- */
/* O and D, written down before the direction changes. When they cannot be told, the first copy
 * compares instead: more reading, no more on the wire. */
static bool note_divergence(struct swap_task *s, const struct msg_reverse_reply *rr)
{
    struct divergence v = { .of = { .lineage = s->t.r.next_lineage }, .known = true };
    struct vr_err err = VR_ERR_INIT;
    bool ok = msg_to_divergence(rr, &v, &err) == 0 &&
              divergence_add_points(s->t.d, &s->t.r, &v, &err) == 0 &&
              divergence_save(s->t.d, &s->t.r.machine, &v, &err) == 0;
    if (!ok)
        vr_log_err(VR_LOG_WARN, "the divergence is found by comparing the disks", &err);
    divergence_done(&v);
    return ok;
}

/* A question without effect first: when it fails, surely nothing was changed at the peer, and the
 * failover can still be cancelled. */
static bool can_be_asked(struct swap_task *s)
{
    vr_autobuf struct vr_buf reply = VR_BUF_INIT;
    struct vr_err err = VR_ERR_INIT;
    if (xport_call(s->t.d->xport, &s->peer, CALL_TEST, "", 0, &reply, 20000, &err) == 0)
        return true;
    vr_fail(&s->t.err, vr_kind_scope(err.kind) == VR_SCOPE_XFER ? VR_E_UNAVAIL : err.kind, 0,
            "host %s cannot be asked, nothing was changed there; try again: %s", s->peer.name,
            err.msg);
    return false;
}

static void reverse_work(struct task *t)
{
    struct swap_task *s = (struct swap_task *)t;
    const struct rel *r = &t->r;
    if (t->err.kind != VR_OK)
        return;
    if (!can_be_asked(s))
        return;
    struct msg_settings set = msg_from_settings(&r->set);
    struct msg_disk disks[VR_DISKS_MAX];
    msg_from_disks(r->disks, r->n_disks, disks);
    struct msg_reverse m = { .machine = r->machine,
                             .lineage = r->next_lineage,
                             .point_lineage = r->failover.lineage,
                             .point_epoch = r->failover.epoch,
                             .settings = &set,
                             .n_settings = 1,
                             .disks = disks,
                             .n_disks = r->n_disks };
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    vr_autobuf struct vr_buf reply = VR_BUF_INIT;
    if (msg_reverse_encode(&m, &b, &t->err) == 0 &&
        xport_call(t->d->xport, &s->peer, CALL_REVERSE, b.data, b.len, &reply, 120000, &t->err) ==
            0) {
        __attribute__((cleanup(msg_reverse_reply_done))) struct msg_reverse_reply rr = { 0 };
        if (msg_reverse_reply_decode(reply.data, reply.len, &rr, &t->err) == 0) {
            s->ev.seeded = rr.seeded;
            s->ev.diverged = rr.seeded && rr.diverged && note_divergence(s, &rr);
        }
    }
    vr_err_wrap(&t->err, "host %s", s->peer.name);
}

void fx_reverse_call(struct daemon *d, const struct rel *r)
{
    struct swap_task *s = swap_new(r, reverse_work, EV_REVERSED, EV_REVERSE_FAILED);
    peer_of(d, r->peer, &s->peer, &s->t.err);
    task_run(d, d->net_exec, &s->t);
}

static void st_become_base(void *arg)
{
    struct swap_task *s = arg;
    if (s->t.r.ever_replica && store_chain_exists(s->t.d->store, &s->t.r.machine))
        store_failover_become_base(s->t.d->store, &s->t.r.machine, &s->t.err);
}

static void become_primary_work(struct task *t)
{
    store_call(t->d, st_become_base, t);
    if (t->err.kind != VR_OK)
        vr_log_err(VR_LOG_ERROR, "the chain did not become the machine's own", &t->err);
}

void fx_become_primary(struct daemon *d, const struct rel *r)
{
    struct swap_task *s = swap_new(r, become_primary_work, EV_COUNT, EV_COUNT);
    run_without_merge(d, d->hv_exec, &s->t);
}

/* ---- YIELD: the old primary becomes the replica ---- */
static bool is_yielded(struct swap_task *s, const struct vr_point_id *first)
{
    struct store_point *pts = NULL;
    size_t n = 0;
    struct vr_err none = VR_ERR_INIT;
    bool yes = store_points(s->t.d->store, &s->t.r.machine, &pts, &n, &none) == 0 && n &&
               vr_point_eq(&pts[n - 1].id, first);
    free(pts);
    return yes;
}

static void st_yield(void *arg)
{
    struct swap_task *s = arg;
    const struct rel *r = &s->t.r;
    struct store *st = s->t.d->store;
    struct vr_point_id first = rel_seed_point(r);
    if (is_yielded(s, &first))
        return; /* done before a crash */
    enum vr_point_kind kind = r->seed ? VR_POINT_STANDARD : VR_POINT_PLANNED;
    struct wall_us when = r->newest_instant.us ? r->newest_instant : vr_wall_now();
    if (r->ever_replica && store_chain_exists(st, &r->machine))
        store_failover_return(st, &r->machine, &first, when, kind, &s->t.err);
    else
        store_chain_create(st, &r->machine, s->t.d->cfg.storage, s->disks, s->n, &first, when, kind,
                           &s->t.err);
}

/* The machine's own disks, in the order of the relationship. */
static int yield_bases(struct swap_task *s, const struct hv_machine *m, struct vr_err *err)
{
    for (uint32_t i = 0; i < s->t.r.n_disks; i++) {
        const struct hv_disk *found = NULL;
        for (size_t k = 0; k < m->n_disks; k++)
            if (!strcmp(m->disks[k].target, s->t.r.disks[i].target))
                found = &m->disks[k];
        if (!found)
            return vr_fail(err, VR_E_NOTFOUND, 0, "machine %s has no disk %s any more", s->t.r.name,
                           s->t.r.disks[i].target);
        s->base[i] = vr_strdup(found->path);
        snprintf(s->disks[i].target, sizeof s->disks[i].target, "%s", found->target);
        s->disks[i].size = found->size ? found->size : s->t.r.disks[i].size;
        s->disks[i].base = s->base[i];
        s->disks[i].base_format = strcmp(found->format, "raw") == 0 ? "raw" : "qcow2";
    }
    s->n = s->t.r.n_disks;
    /* Disks that are not replicated stay with the machine. */
    for (size_t k = 0; k < m->n_disks && s->n_kept < VR_DISKS_MAX; k++) {
        bool ours = false;
        for (uint32_t i = 0; i < s->t.r.n_disks; i++)
            ours |= !strcmp(m->disks[k].target, s->t.r.disks[i].target);
        if (!ours)
            snprintf(s->kept[s->n_kept++], VR_TARGET_MAX, "%s", m->disks[k].target);
    }
    return 0;
}

static void keep_others(struct swap_task *s)
{
    for (size_t i = 0; i < s->n_kept && s->n < VR_ARRAY_LEN(s->paths); i++, s->n++) {
        snprintf(s->paths[s->n].target, sizeof s->paths[s->n].target, "%s", s->kept[i]);
        s->paths[s->n].path = "";
    }
}

int clean_checkpoints(struct task *t, const char *but)
{
    struct hv_checkpoint *cps = NULL;
    size_t n = 0;
    const char *targets[VR_DISKS_MAX];
    if (hv_checkpoint_list(t->d->hv, &t->r.machine, targets, rel_targets(&t->r, targets), &cps, &n,
                           &t->err) < 0)
        return -1;
    for (size_t i = 0; i < n && t->err.kind == VR_OK; i++)
        if (!but || strcmp(cps[i].name, but) != 0)
            hv_checkpoint_delete(t->d->hv, &t->r.machine, cps[i].name, &t->err);
    free(cps);
    return t->err.kind == VR_OK ? 0 : -1;
}

static void st_yielded_before(void *arg)
{
    struct swap_task *s = arg;
    struct vr_point_id first = rel_seed_point(&s->t.r);
    s->was_yielded = is_yielded(s, &first);
}

static bool yielded_before(struct swap_task *s)
{
    store_call(s->t.d, st_yielded_before, s);
    return s->was_yielded;
}

/* Does the machine already have the disks of a replica (defined before a crash)? */
static bool is_redefined(const struct swap_task *s)
{
    for (uint32_t i = 0; i < s->t.r.n_disks; i++)
        if (!s->base[i] || !s->path[i] || strcmp(s->base[i], s->path[i]) != 0)
            return false;
    return true;
}

static void st_unyield(void *arg)
{
    struct swap_task *s = arg;
    struct vr_err err = VR_ERR_INIT;
    if (store_chain_drop(s->t.d->store, &s->t.r.machine, false, &err) < 0)
        vr_log_err(VR_LOG_ERROR, "a chain stays that is a machine's own disks", &err);
}

/* The chain is there: the machine follows, or the chain goes again, for a machine that writes must
 * not own files that are listed as a point. */
static void yield_define(struct swap_task *s)
{
    struct task *t = &s->t;
    store_call(t->d, st_paths, s);
    if (t->err.kind == VR_OK && is_redefined(s))
        return;
    keep_others(s);
    if (t->err.kind == VR_OK && clean_checkpoints(t, NULL) == 0 &&
        hv_xml(t->d->hv, &t->r.machine, &s->xml, &t->err) == 0 &&
        hv_define_replica(t->d->hv, s->xml, NULL, NULL, false, s->paths, s->n, &t->err) == 0)
        return;
    store_call(t->d, st_unyield, s);
}

static void yield_work(struct task *t)
{
    struct swap_task *s = (struct swap_task *)t;
    struct hv_machine m;
    if (hv_get(t->d->hv, &t->r.machine, &m, &t->err) < 0)
        return;
    bool off = m.power == HV_POWER_OFF;
    int rc = off ? yield_bases(s, &m, &t->err)
                 : vr_fail(&t->err, VR_E_STATE, 0, "machine %s is running on host %s", t->r.name,
                           t->d->cfg.host_name);
    hv_machine_done(&m);
    if (rc == 0 && t->r.diverged && !yielded_before(s)) {
        struct divergence v = { .known = false };
        rc = divergence_of_old_primary(t->d, &t->r, &v, &t->err);
        divergence_done(&v);
    }
    if (rc == 0)
        store_call(t->d, st_yield, s);
    if (rc == 0 && t->err.kind == VR_OK)
        yield_define(s);
    vr_err_wrap(&t->err, "turning %s into a replica", t->r.name);
}

void fx_yield(struct daemon *d, const struct rel *r)
{
    struct swap_task *s = swap_new(r, yield_work, EV_YIELDED, EV_YIELD_FAILED);
    run_without_merge(d, d->hv_exec, &s->t);
}

/* ---- RECONCILE, CLEAN_TRACKING ---- */
static void reconcile_work(struct task *t)
{
    char keep[64];
    rel_checkpoint(&t->r.acked.lineage, t->r.acked.epoch, keep);
    /* A daemon that has just started waits a moment for its connection to libvirtd. */
    for (int i = 0; i < 50; i++) {
        vr_err_clear(&t->err);
        if (clean_checkpoints(t, t->r.has_acked ? keep : NULL) == 0 ||
            t->err.kind != VR_E_UNAVAIL || t->d->stopping)
            break;
        poll(NULL, 0, 100);
    }
}

static void reconcile_done(struct task *t)
{
    if (t->err.kind != VR_OK) { /* the end of the next cycle looks again */
        vr_log_err(VR_LOG_INFO, "checkpoints left by an earlier run", &t->err);
        rt_get(t->d, &t->r.machine)->stale_checkpoints = true;
    }
    vr_err_clear(&t->err);
    swap_done(t);
}

void fx_reconcile(struct daemon *d, const struct rel *r)
{
    struct swap_task *s = swap_new(r, reconcile_work, EV_COUNT, EV_COUNT);
    s->t.done = reconcile_done;
    task_run(d, d->hv_exec, &s->t);
}

static void clean_work(struct task *t)
{
    clean_checkpoints(t, NULL);
}

void fx_clean_tracking(struct daemon *d, const struct rel *r)
{
    struct swap_task *s = swap_new(r, clean_work, EV_COUNT, EV_COUNT);
    task_run(d, d->hv_exec, &s->t);
}

/* ---- REMOVE: this side only; the machine and its disks stay ---- */
static void st_remove(void *arg)
{
    struct swap_task *s = arg;
    struct store *st = s->t.d->store;
    const struct rel *r = &s->t.r;
    if (!store_chain_exists(st, &r->machine))
        return;
    if (rel_mode(r) == REL_MODE_REPLICA && r->failover_kind == VR_POINT_NONE && r->has_newest) {
        /* A machine that can be started remains: its disks become the newest point's. */
        if (store_failover_prepare(st, &r->machine, &r->newest, s->checkpoint, &s->t.err) < 0)
            return;
    }
    if (store_stage_discard(st, &r->machine, &s->t.err) == 0)
        store_chain_drop(st, &r->machine, !r->has_newest && rel_mode(r) == REL_MODE_REPLICA,
                         &s->t.err);
}

static void remove_work(struct task *t)
{
    struct swap_task *s = (struct swap_task *)t;
    struct vr_err ignored = VR_ERR_INIT;
    char none[VR_UUID_STR];
    snprintf(s->checkpoint, sizeof s->checkpoint, "vmr.%.8s.end", vr_uuid_fmt(&t->r.lineage, none));
    if (hv_guard(t->d->hv, &t->r.machine, NULL, &t->err) < 0)
        return;
    struct task probe = *t;
    if (clean_checkpoints(&probe, NULL) < 0) /* the machine may be gone: nothing to clean then */
        vr_log_err(VR_LOG_INFO, "checkpoints were not removed", &probe.err);
    store_call(t->d, st_remove, s);
    vr_err_clear(&probe.err);
    clean_checkpoints(&probe, NULL); /* that of the overlays just made */
    bool never_filled = rel_mode(&t->r) == REL_MODE_REPLICA && !t->r.has_newest;
    if (never_filled)
        hv_undefine(t->d->hv, &t->r.machine, &ignored);
}

static void remove_done(struct task *t)
{
    if (t->err.kind != VR_OK)
        vr_log_err(VR_LOG_WARN, "removing left something behind", &t->err);
    vr_err_clear(&t->err); /* removal always ends: there is no state to go back to */
    swap_done(t);
}

void fx_remove(struct daemon *d, const struct rel *r)
{
    struct swap_task *s = swap_new(r, remove_work, EV_REMOVED, EV_REMOVED);
    s->t.done = remove_done;
    run_without_merge(d, d->hv_exec, &s->t);
}

/* ---- RETENTION ---- */
struct merge_task {
    struct task t;
    struct store_merge *m;
    bool did;
};

static void st_merge_prepare(void *arg)
{
    struct merge_task *m = arg;
    struct store_retention keep = { .keep_seconds = m->t.d->cfg.keep_seconds,
                                    .keep_hourly = m->t.r.set.recovery_history,
                                    .keep_min = 1,
                                    .keep_max = m->t.d->cfg.keep_points };
    store_merge_prepare(m->t.d->store, &m->t.r.machine, &keep, vr_wall_now(), &m->m, &m->t.err);
}

static void st_merge_finish(void *arg)
{
    struct merge_task *m = arg;
    struct vr_err err = VR_ERR_INIT;
    store_merge_finish(m->t.d->store, m->m, &err);
    if (m->t.err.kind == VR_OK)
        m->t.err = err;
}

static void merge_work(struct task *t)
{
    struct merge_task *m = (struct merge_task *)t;
    store_call(t->d, st_merge_prepare, m);
    if (t->err.kind != VR_OK || !m->m)
        return;
    m->did = store_merge_run(m->m, &t->err) == 0;
    if (t->err.kind == VR_E_CANCELLED)
        vr_err_clear(&t->err); /* something more important came; it is chosen again later */
    store_call(t->d, st_merge_finish, m);
    m->did &= t->err.kind == VR_OK;
}

static void merge_start(struct daemon *d, const struct rel *r);

static void merge_done(struct task *t)
{
    struct merge_task *m = (struct merge_task *)t;
    struct machine_rt *rt = rt_get(t->d, &t->r.machine);
    rt->merging = false;
    if (t->err.kind != VR_OK)
        vr_log_err(VR_LOG_WARN, "merging expired points (tried again after the next point)",
                   &t->err);
    if (rt->after_merge) {
        void (*fn)(void *) = rt->after_merge;
        rt->after_merge = NULL;
        fn(rt->after_merge_arg);
        return;
    }
    if ((m->did || rt->merge_again) && !t->d->stopping)
        merge_start(t->d, &t->r);
    else if (m->did)
        host_refresh_points(t->d, &t->r.machine);
}

static void merge_start(struct daemon *d, const struct rel *r)
{
    struct machine_rt *rt = rt_get(d, &r->machine);
    struct merge_task *m = vr_new(struct merge_task);
    rt->merging = true;
    rt->merge_again = false;
    m->t.work = merge_work;
    m->t.done = merge_done;
    m->t.r = *r;
    task_run(d, d->xfer_exec, &m->t);
}

void fx_retention(struct daemon *d, const struct rel *r)
{
    struct machine_rt *rt = rt_get(d, &r->machine);
    if (rt->merging)
        rt->merge_again = true;
    else
        merge_start(d, r);
}

struct delayed {
    struct daemon *d;
    struct vr_exec *x;
    struct task *t;
};

static void delayed_run(void *arg)
{
    struct delayed *w = arg;
    task_run(w->d, w->x, w->t);
    free(w);
}

void run_without_merge(struct daemon *d, struct vr_exec *x, struct task *t)
{
    struct machine_rt *rt = rt_get(d, &t->r.machine);
    if (!rt->merging) {
        task_run(d, x, t);
        return;
    }
    struct delayed *w = vr_new(struct delayed);
    *w = (struct delayed){ d, x, t };
    rt->after_merge = delayed_run;
    rt->after_merge_arg = w;
}
