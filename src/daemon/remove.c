/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Left-over checkpoints, and the end of a relationship on this host. Hypervisor workers. */
#include "daemon/swap.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/definitions.h"
#include "daemon/left.h"
#include "daemon/storage.h"

/* ---- RECONCILE, CLEAN_TRACKING ---- */
static void reconcile_work(struct task *t)
{
    char keep[64];
    rel_checkpoint(&t->r.acked.lineage, t->r.acked.epoch, keep);
    swap_wait_hv(t);
    clean_checkpoints(t, t->r.has_acked ? keep : NULL);
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
/* A client that is not ours may not ask: what was there is told at least where it is looked for. */
static void say_given_up(const struct rel *r, const struct store_point *v, size_t n)
{
    char lineage[VR_UUID_STR];
    for (size_t i = 0; i < n; i++)
        if (v[i].kind == VR_POINT_ORPHAN || v[i].pins & STORE_PIN_USER)
            vr_log(VR_LOG_WARN,
                   "machine %s: replication is ended, and with it goes the %s recovery point "
                   "%s:%" PRIu64,
                   r->name, v[i].kind == VR_POINT_ORPHAN ? "orphan" : "pinned",
                   vr_uuid_fmt(&v[i].id.lineage, lineage), v[i].id.epoch);
}

/* Nothing is taken away before what remains is whole: until the chain is forgotten a removal that
 * fails leaves the recovery points and the guard as they were, and can be asked for again. */

/* Was the machine never failed over to, so that it has no disks of its own here? */
static bool is_plain_replica(const struct rel *r)
{
    return rel_mode(r) == REL_MODE_REPLICA && r->failover_kind == VR_POINT_NONE;
}

/* The newest point, or what a failover would take when that one holds wrong blocks. */
static const struct store_point *choose_last(const struct rel *r, const struct store_point *p,
                                             size_t n, struct vr_err *err)
{
    const struct store_point *found = NULL;
    for (size_t i = 0; i < n; i++)
        if (vr_point_eq(&p[i].id, &r->newest) && p[i].proof.quarantine != STORE_QUARANTINED)
            found = &p[i];
    if (!found)
        found = store_newest_sound(p, n);
    for (size_t i = n; !found && i > 0; i--)
        if (p[i - 1].proof.quarantine != STORE_QUARANTINED)
            found = &p[i - 1];
    if (!found)
        vr_fail(err, VR_E_STATE, 0,
                "machine %s has no recovery point that its disks could be made of: all are "
                "quarantined (vmreplica points %s)",
                r->name, r->name);
    else if (!vr_point_eq(&found->id, &r->newest))
        vr_log(VR_LOG_WARN, "machine %s: its disks become those of an older recovery point, %llu",
               r->name, (unsigned long long)found->id.epoch);
    return found;
}

static void st_drop(void *arg)
{
    struct swap_task *s = arg;
    store_failover_drop(s->t.d->store, &s->t.r.machine, &s->t.err);
}

/* A machine that can be started remains: its disks become the newest point's. */
static void st_make_disks(void *arg)
{
    struct swap_task *s = arg;
    struct store *st = s->t.d->store;
    const struct rel *r = &s->t.r;
    vr_autofree struct store_point *pts = NULL;
    size_t n = 0;
    if (!store_chain_exists(st, &r->machine) ||
        store_points(st, &r->machine, &pts, &n, &s->t.err) < 0 || (!n && !r->has_newest))
        return;
    const struct store_point *p = choose_last(r, pts, n, &s->t.err);
    if (p && point_disks(s->t.d, &r->machine, &p->id, s->ev.disks, &s->ev.n_disks, &s->t.err) == 0)
        store_failover_prepare(st, &r->machine, &p->id, s->checkpoint, &s->t.err);
}

static void st_forget_chain(void *arg)
{
    struct swap_task *s = arg;
    struct store *st = s->t.d->store;
    const struct rel *r = &s->t.r;
    vr_autofree struct store_point *pts = NULL, *beneath = NULL;
    size_t n = 0, n_beneath = 0;
    if (!store_chain_exists(st, &r->machine))
        return;
    /* Files go only with a chain that was never filled. That the relationship knows of no point is
     * not enough: something may have failed half-way and left a chain with points. */
    if (store_points(st, &r->machine, &pts, &n, &s->t.err) < 0 ||
        store_stage_discard(st, &r->machine, &s->t.err) < 0)
        return;
    say_given_up(r, pts, n);
    if (!n && store_points_beneath(st, &r->machine, &beneath, &n_beneath, &s->t.err) < 0)
        return;
    say_given_up(r, beneath, n_beneath);
    bool never_filled = rel_mode(r) == REL_MODE_REPLICA && !r->has_newest && n == 0;
    store_chain_drop(st, &r->machine, never_filled, &s->t.err);
}

/* The disks of a machine that remains, and its definition with these. */
static int make_disks(struct swap_task *s)
{
    struct task *t = &s->t;
    struct vr_err err = VR_ERR_INIT;
    bool begun = storage_call(t->d, &t->r.machine, st_make_disks, s, &t->err) == 0;
    if (t->err.kind == VR_OK && s->ev.n_disks &&
        definitions_follow(t->d, &t->r.machine, s->ev.disks, s->ev.n_disks, &err) < 0) {
        if (err.kind == VR_E_NOTFOUND) /* it was undefined here, or no other definition is kept */
            vr_log_err(VR_LOG_WARN, t->r.name, &err);
        else
            vr_err_move(&t->err, &err);
    }
    if (t->err.kind == VR_OK)
        return 0;
    struct swap_task *undo = vr_new(struct swap_task);
    undo->t = *t;
    vr_err_clear(&undo->t.err);
    storage_call(t->d, &t->r.machine, st_drop, undo, begun ? NULL : &undo->t.err);
    if (undo->t.err.kind != VR_OK)
        vr_log_err(VR_LOG_WARN, "overlays of a removal that failed", &undo->t.err);
    free(undo);
    return -1;
}

static int end_chain(struct swap_task *s)
{
    struct task *t = &s->t;
    if (!t->r.abandon && is_plain_replica(&t->r) && make_disks(s) < 0)
        return -1;
    storage_call(t->d, &t->r.machine, st_forget_chain, s, &t->err);
    if (t->err.kind == VR_OK && t->r.abandon)
        vr_log(VR_LOG_WARN, "machine %s: its recovery points were given up; the files stay",
               t->r.name);
    return t->err.kind == VR_OK ? 0 : -1;
}

static void remove_work(struct task *t)
{
    struct swap_task *s = (struct swap_task *)t;
    struct vr_err ignored = VR_ERR_INIT;
    char none[VR_UUID_STR];
    snprintf(s->checkpoint, sizeof s->checkpoint, "vmr.%.8s.end", vr_uuid_fmt(&t->r.lineage, none));
    swap_wait_hv(t);
    struct task probe = *t;
    if (clean_checkpoints(&probe, NULL) < 0) /* the machine may be gone: nothing to clean then */
        vr_log_err(VR_LOG_INFO, "checkpoints were not removed", &probe.err);
    if (end_chain(s) == 0) {
        if (left_save(t->d, &t->r, &ignored) < 0)
            vr_log_err(VR_LOG_WARN, "the old primary will not be told of the failover", &ignored);
        vr_err_clear(&ignored);
        definitions_forget(t->d, &t->r.machine);
        vr_err_clear(&probe.err);
        clean_checkpoints(&probe, NULL); /* that of the overlays just made */
        if (is_plain_replica(&t->r) && (!t->r.has_newest || t->r.abandon))
            hv_undefine(t->d->hv, &t->r.machine, &ignored); /* it has no disks */
        hv_guard(t->d->hv, &t->r.machine, NULL, &t->err);
    }
    vr_err_wrap(&t->err, "ending the replication of %s", t->r.name);
}

static void remove_done(struct task *t)
{
    if (t->err.kind == VR_OK)
        rt_get(t->d, &t->r.machine)->left = rel_story_left(&t->r);
    swap_done(t);
}

void fx_remove(struct daemon *d, const struct rel *r)
{
    struct swap_task *s = swap_new(r, remove_work, EV_REMOVED, EV_REMOVE_FAILED);
    s->t.done = remove_done;
    run_without_merge(d, d->hv_exec, &s->t);
}

/* ---- what is left of a machine that is not replicated ---- */
struct abandon_task {
    struct task t;
    struct vr_uuid job;
};

static void st_abandon(void *arg)
{
    struct task *t = arg;
    struct store *st = t->d->store;
    vr_autofree struct store_point *pts = NULL;
    size_t n = 0;
    if (!store_chain_exists(st, &t->r.machine)) {
        vr_fail(&t->err, VR_E_STATE, 0,
                "host %s keeps no recovery points of a machine that is not replicated",
                t->d->cfg.host_name);
        return;
    }
    if (store_points(st, &t->r.machine, &pts, &n, &t->err) == 0 &&
        store_chain_drop(st, &t->r.machine, false, &t->err) == 0)
        vr_log(VR_LOG_WARN, "%zu recovery point(s) of a machine were given up; the files stay", n);
}

static void abandon_work(struct task *t)
{
    storage_call(t->d, &t->r.machine, st_abandon, t, &t->err);
}

static void abandon_done(struct task *t)
{
    struct abandon_task *a = (struct abandon_task *)t;
    host_refresh_points(t->d, &t->r.machine);
    engine_job_end(t->d->engine, &a->job, t->err.kind == VR_OK ? NULL : &t->err);
}

static int h_abandon(void *ctx, const struct vr_uuid *machine, const char *owner,
                     struct vr_uuid *ret_job, struct vr_err *err)
{
    struct daemon *d = ctx;
    const struct rel *r = engine_find(d->engine, machine);
    if (r && r->st != ST_NONE)
        return vr_fail(err, VR_E_STATE, 0, "machine %s is replicated", r->name);
    struct abandon_task *a = vr_new(struct abandon_task);
    a->t.work = abandon_work;
    a->t.done = abandon_done;
    a->t.r.machine = *machine;
    a->job = *ret_job = engine_job_new(d->engine, JOB_REMOVE, machine, owner);
    task_run(d, d->hv_exec, &a->t);
    return 0;
}

void remove_host(struct daemon *d)
{
    d->host.abandon = h_abandon;
}
