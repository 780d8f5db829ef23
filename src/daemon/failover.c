/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Overlays on a recovery point, and their end. Hypervisor workers. */
#include "daemon/swap.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/choose.h"
#include "daemon/definitions.h"
#include "daemon/fault.h"
#include "daemon/storage.h"

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
    const struct store_point *chosen = choose_failover(r, pts, n, &s->t.err);
    if (chosen) {
        s->ev.point = chosen->id;
        s->ev.kind = chosen->kind;
        s->ev.instant = chosen->instant;
        /* The machine gets the disks of the point, whatever the newest one has. */
        if (point_disks(s->t.d, &r->machine, &chosen->id, s->ev.disks, &s->ev.n_disks, &s->t.err) ==
            0)
            store_failover_prepare(st, &r->machine, &chosen->id, s->checkpoint, &s->t.err);
    }
    free(pts);
}

/* The disks of the newest point: those of the machine while it is a replica. */
static void st_newest_disks(void *arg)
{
    struct swap_task *s = arg;
    struct store_point *pts = NULL;
    size_t n = 0;
    if (store_points(s->t.d->store, &s->t.r.machine, &pts, &n, &s->t.err) == 0 && n)
        point_disks(s->t.d, &s->t.r.machine, &pts[n - 1].id, s->ev.disks, &s->ev.n_disks,
                    &s->t.err);
    free(pts);
}

/* A replica that is not defined as it should be is put right by the next failover. */
static void define_newest(struct swap_task *s)
{
    struct task *t = &s->t;
    struct vr_err err = VR_ERR_INIT;
    store_call(t->d, st_newest_disks, s);
    if (t->err.kind == VR_OK && s->ev.n_disks)
        definitions_follow(t->d, &t->r.machine, s->ev.disks, s->ev.n_disks, &err);
    if (err.kind != VR_OK)
        vr_log_err(VR_LOG_WARN, t->r.name, &err);
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
    size_t n = 0;
    rel_checkpoint(&t->r.next_lineage, 0, s->checkpoint);
    swap_wait_hv(t);
    fault_hold("FAILOVER");
    bool begun = storage_call(t->d, &t->r.machine, st_failover, s, &t->err) == 0;
    for (uint32_t i = 0; i < s->ev.n_disks; i++)
        targets[n++] = s->ev.disks[i].target;
    if (t->err.kind == VR_OK)
        definitions_follow(t->d, &t->r.machine, s->ev.disks, s->ev.n_disks, &t->err);
    if (t->err.kind == VR_OK)
        hv_checkpoint_adopt(t->d->hv, &t->r.machine, s->checkpoint, targets, n, &t->err);
    if (t->err.kind != VR_OK) { /* to the end: a chain that is left so takes no points */
        struct swap_task *undo = vr_new(struct swap_task);
        undo->t = *t;
        vr_err_clear(&undo->t.err);
        storage_call(t->d, &t->r.machine, st_drop_failover, undo, begun ? NULL : &undo->t.err);
        if (undo->t.err.kind == VR_OK)
            define_newest(undo);
        free(undo);
    }
    vr_err_wrap(&t->err, "failover of %s", t->r.name);
}

void fx_failover(struct daemon *d, const struct rel *r)
{
    struct swap_task *s = swap_new(r, failover_work, EV_FAILED_OVER, EV_FAILOVER_FAILED);
    task_run(d, d->hv_exec, &s->t); /* the store stops a merge by itself */
}

/* ---- REVERT ---- */
static void st_is_dropped(void *arg)
{
    struct swap_task *s = arg;
    s->was_dropped = store_failover_is_dropped(s->t.d->store, &s->t.r.machine);
}

static int revert_may(struct swap_task *s)
{
    struct task *t = &s->t;
    struct hv_machine m;
    if (hv_get(t->d->hv, &t->r.machine, &m, &t->err) < 0)
        return -1;
    bool off = m.power == HV_POWER_OFF;
    hv_machine_done(&m);
    if (!off) /* started after the request, before the guard */
        return vr_fail(&t->err, VR_E_STATE, 0, "machine %s is running; turn it off first",
                       t->r.name);
    return hv_checkpoint_delete(t->d->hv, &t->r.machine, s->checkpoint, &t->err);
}

static void revert_work(struct task *t)
{
    struct swap_task *s = (struct swap_task *)t;
    rel_checkpoint(&t->r.next_lineage, 0, s->checkpoint);
    swap_wait_hv(t);
    store_call(t->d, st_is_dropped, s);
    /* What a crash has interrupted behind this is over, whatever the hypervisor says now: there is
     * no failover that the machine could go back to. */
    if (!s->was_dropped && revert_may(s) == 0)
        storage_call(t->d, &t->r.machine, st_drop_failover, s, &t->err);
    if (t->err.kind == VR_OK)
        define_newest(s);
    vr_err_wrap(&t->err, "cancelling the failover of %s", t->r.name);
}

void fx_revert(struct daemon *d, const struct rel *r)
{
    struct swap_task *s = swap_new(r, revert_work, EV_REVERTED, EV_REVERT_FAILED);
    task_run(d, d->hv_exec, &s->t);
}
