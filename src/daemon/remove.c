/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Left-over checkpoints, and the end of a relationship on this host. Hypervisor workers. */
#include "daemon/swap.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "daemon/definitions.h"

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
    /* Files go only with a chain that was never filled. That the relationship knows of no point is
     * not enough: an earlier removal may have failed half-way and left a chain with points. */
    vr_autofree struct store_point *points = NULL;
    size_t n = 0;
    if (store_points(st, &r->machine, &points, &n, &s->t.err) < 0 ||
        store_stage_discard(st, &r->machine, &s->t.err) < 0)
        return;
    bool never_filled = rel_mode(r) == REL_MODE_REPLICA && !r->has_newest && n == 0;
    store_chain_drop(st, &r->machine, never_filled, &s->t.err);
}

static void remove_work(struct task *t)
{
    struct swap_task *s = (struct swap_task *)t;
    struct vr_err ignored = VR_ERR_INIT;
    char none[VR_UUID_STR];
    snprintf(s->checkpoint, sizeof s->checkpoint, "vmr.%.8s.end", vr_uuid_fmt(&t->r.lineage, none));
    if (hv_guard(t->d->hv, &t->r.machine, NULL, &t->err) < 0)
        return;
    swap_wait_hv(t);
    struct task probe = *t;
    if (clean_checkpoints(&probe, NULL) < 0) /* the machine may be gone: nothing to clean then */
        vr_log_err(VR_LOG_INFO, "checkpoints were not removed", &probe.err);
    if (rel_mode(&t->r) == REL_MODE_REPLICA && t->r.failover_kind == VR_POINT_NONE &&
        t->r.has_newest &&
        definitions_follow(t->d, &t->r.machine, t->r.disks, t->r.n_disks, &ignored) < 0)
        vr_log_err(VR_LOG_WARN, t->r.name, &ignored);
    store_call(t->d, st_remove, s);
    definitions_forget(t->d, &t->r.machine);
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
