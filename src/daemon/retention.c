/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which recovery points are kept, and merging away the others. Transfer workers. */
#include "daemon/swap.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/fault.h"
#include "daemon/proof.h"
#include "daemon/storage.h"

/* ---- RETENTION ---- */
struct merge_task {
    struct task t;
    struct store_merge *m;
    atomic_bool off;     /* an effect needs the chain: it does not begin any more */
    atomic_bool merging; /* it has found something to do */
    bool did;
};

struct store_retention retention_of(const struct daemon *d, const struct rel *r)
{
    struct rel_keep k = rel_keep_most(rel_keep(r), d->host.floor);
    return (struct store_retention){ .every_s = k.every_s,
                                     .every_max = d->cfg.keep_points,
                                     .interval_s = r->set.interval_s,
                                     .hourly = k.hourly,
                                     .daily = k.daily,
                                     .weekly = k.weekly,
                                     .least = 1,
                                     .orphan_s = d->cfg.keep_orphans,
                                     .app = r->set.app_interval_s != 0 };
}

static void st_merge_prepare(void *arg)
{
    struct merge_task *m = arg;
    struct store_retention keep = retention_of(m->t.d, &m->t.r);
    if (atomic_load(&m->off))
        return;
    store_merge_prepare(m->t.d->store, &m->t.r.machine, &keep, &m->m, &m->t.err);
}

static void st_merge_finish(void *arg)
{
    struct merge_task *m = arg;
    struct vr_err err = VR_ERR_INIT;
    store_merge_finish(m->t.d->store, m->m, &err);
    if (m->t.err.kind == VR_OK)
        m->t.err = err;
}

struct refresh {
    struct daemon *d;
    struct vr_uuid machine;
};

static void refresh(void *arg)
{
    struct refresh *r = arg;
    host_refresh_points(r->d, &r->machine);
    free(r);
}

static void merge_work(struct task *t)
{
    struct merge_task *m = (struct merge_task *)t;
    if (atomic_load(&m->off))
        return;
    if (proof_repair(t)) { /* first what is wrong, then what is too much */
        m->did = true;
        return;
    }
    if (storage_call(t->d, &t->r.machine, st_merge_prepare, m, &t->err) < 0)
        return;
    /* Points were given up; the copying may take long. */
    struct refresh *r = vr_new(struct refresh);
    *r = (struct refresh){ t->d, t->r.machine };
    vr_mailbox_post(t->d->mail, refresh, r);
    if (t->err.kind != VR_OK || !m->m)
        return;
    atomic_store(&m->merging, true);
    m->did = store_merge_run(m->m, &t->err) == 0;
    if (t->err.kind == VR_E_CANCELLED)
        vr_err_clear(&t->err); /* something more important came; it is chosen again later */
    storage_call(t->d, &t->r.machine, st_merge_finish, m, NULL);
    m->did &= t->err.kind == VR_OK;
}

static void merge_start(struct daemon *d, const struct rel *r);

static void merge_done(struct task *t)
{
    struct merge_task *m = (struct merge_task *)t;
    struct machine_rt *rt = rt_get(t->d, &t->r.machine);
    bool off = atomic_load(&m->off);
    rt->merge = NULL;
    fault_after("RETENTION");
    if (t->err.kind != VR_OK && !(off && t->err.kind == VR_E_NOTFOUND))
        vr_log_err(VR_LOG_WARN, "merging expired points (tried again after the next point)",
                   &t->err);
    const struct rel *r = engine_find(t->d->engine, &t->r.machine);
    bool again = (m->did && !off) || rt->merge_again;
    if (again && r && rel_mode(r) == REL_MODE_REPLICA && !t->d->stopping)
        merge_start(t->d, r);
}

static void merge_start(struct daemon *d, const struct rel *r)
{
    struct machine_rt *rt = rt_get(d, &r->machine);
    struct merge_task *m = vr_new(struct merge_task);
    rt->merge = m;
    rt->merge_again = false;
    m->t.work = merge_work;
    m->t.done = merge_done;
    m->t.r = *r;
    task_run(d, storage_workers(d, &r->machine), &m->t);
}

void fx_retention(struct daemon *d, const struct rel *r)
{
    struct machine_rt *rt = rt_get(d, &r->machine);
    if (rt->merge)
        rt->merge_again = true;
    else if (!d->stopping)
        merge_start(d, r);
}

/* What has begun is stopped by the store when it changes the chain, as for a failover: nobody waits
 * for a merge, nor for those of other machines that it stands behind. */
void run_without_merge(struct daemon *d, struct vr_exec *x, struct task *t)
{
    struct machine_rt *rt = rt_get(d, &t->r.machine);
    rt->merge_again = false;
    if (rt->merge)
        atomic_store(&rt->merge->off, true);
    task_run(d, x, t);
}

/* ---- pins: those of a machine one after the other, as they were asked for ---- */
struct pin_task {
    struct task t;
    struct pin_task *next; /* waits for this one */
    struct vr_uuid job;
    struct vr_point_id point;
    bool on;
};

static void st_pin(void *arg)
{
    struct task *t = arg;
    struct pin_task *p = (struct pin_task *)t;
    store_point_pin(t->d->store, &t->r.machine, &p->point, STORE_PIN_USER, p->on, &t->err);
}

static void pin_work(struct task *t)
{
    storage_call(t->d, &t->r.machine, st_pin, t, &t->err);
}

static void pin_run(struct daemon *d, struct pin_task *p)
{
    struct pin_task **end = &rt_get(d, &p->t.r.machine)->pins;
    bool first = !*end;
    while (*end)
        end = &(*end)->next;
    *end = p;
    if (first)
        task_run(d, d->hv_exec, &p->t);
}

static void pin_done(struct task *t)
{
    struct pin_task *p = (struct pin_task *)t;
    struct machine_rt *rt = rt_get(t->d, &t->r.machine);
    rt->pins = p->next;
    if (rt->pins)
        task_run(t->d, t->d->hv_exec, &rt->pins->t);
    host_refresh_points(t->d, &t->r.machine);
    engine_job_end(t->d->engine, &p->job, t->err.kind == VR_OK ? NULL : &t->err);
}

static void st_discard(void *arg)
{
    struct task *t = arg;
    struct pin_task *p = (struct pin_task *)t;
    store_point_discard(t->d->store, &t->r.machine, &p->point, &t->err);
}

static void discard_work(struct task *t)
{
    storage_call(t->d, &t->r.machine, st_discard, t, &t->err);
}

static void discard_done(struct task *t)
{
    const struct rel *r = engine_find(t->d->engine, &t->r.machine);
    if (t->err.kind == VR_OK && r && rel_follows(r))
        fx_retention(t->d, r); /* its layers go */
    pin_done(t);
}

static int h_discard(void *ctx, const struct vr_uuid *machine, const struct vr_point_id *point,
                     const char *owner, struct vr_uuid *ret_job, struct vr_err *err)
{
    struct daemon *d = ctx;
    (void)err;
    struct pin_task *p = vr_new(struct pin_task);
    p->t.work = discard_work;
    p->t.done = discard_done;
    p->t.r.machine = *machine;
    p->point = *point;
    p->job = *ret_job = engine_job_new(d->engine, JOB_PIN, machine, owner);
    pin_run(d, p);
    return 0;
}

static int h_pin(void *ctx, const struct vr_uuid *machine, const struct vr_point_id *point, bool on,
                 const char *owner, struct vr_uuid *ret_job, struct vr_err *err)
{
    struct daemon *d = ctx;
    (void)err;
    struct pin_task *p = vr_new(struct pin_task);
    p->t.work = pin_work;
    p->t.done = pin_done;
    p->t.r.machine = *machine;
    p->point = *point;
    p->on = on;
    p->job = *ret_job = engine_job_new(d->engine, JOB_PIN, machine, owner);
    pin_run(d, p);
    return 0;
}

static bool h_merging(void *ctx, const struct vr_uuid *machine)
{
    const struct machine_rt *rt = rt_get(ctx, machine);
    return rt->merge && atomic_load(&rt->merge->merging);
}

void retention_host(struct daemon *d)
{
    d->host.floor = (struct rel_keep){ .every_s = d->cfg.floor_every,
                                       .hourly = (uint16_t)d->cfg.floor_hourly,
                                       .daily = (uint16_t)d->cfg.floor_daily,
                                       .weekly = (uint16_t)d->cfg.floor_weekly };
    d->host.merging = h_merging;
    d->host.pin = h_pin;
    d->host.discard = h_discard;
}
