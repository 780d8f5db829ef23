/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which recovery points are kept, and merging away the others. Transfer workers. */
#include "daemon/swap.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/fault.h"
#include "daemon/proof.h"

/* ---- RETENTION ---- */
struct merge_task {
    struct task t;
    struct store_merge *m;
    bool did;
};

struct store_retention retention_of(const struct daemon *d, const struct rel *r)
{
    struct rel_keep k = rel_keep_most(rel_keep(r), d->host.floor);
    return (struct store_retention){ .every_s = k.every_s,
                                     .every_max = d->cfg.keep_points,
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
    if (proof_repair(t)) { /* first what is wrong, then what is too much */
        m->did = true;
        return;
    }
    store_call(t->d, st_merge_prepare, m);
    /* Points were given up; the copying may take long. */
    struct refresh *r = vr_new(struct refresh);
    *r = (struct refresh){ t->d, t->r.machine };
    vr_mailbox_post(t->d->mail, refresh, r);
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
    fault_after("RETENTION");
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
    task_run(d, d->disk_exec, &m->t);
}

void fx_retention(struct daemon *d, const struct rel *r)
{
    struct machine_rt *rt = rt_get(d, &r->machine);
    if (rt->merging)
        rt->merge_again = true;
    else if (!d->stopping)
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

/* ---- pins ---- */
struct pin_task {
    struct task t;
    struct vr_uuid job;
    struct vr_point_id point;
    bool on;
};

static void pin_work(struct task *t)
{
    struct pin_task *p = (struct pin_task *)t;
    store_point_pin(t->d->store, &t->r.machine, &p->point, STORE_PIN_USER, p->on, &t->err);
}

static void pin_done(struct task *t)
{
    struct pin_task *p = (struct pin_task *)t;
    host_refresh_points(t->d, &t->r.machine);
    engine_job_end(t->d->engine, &p->job, t->err.kind == VR_OK ? NULL : &t->err);
}

static void discard_work(struct task *t)
{
    struct pin_task *p = (struct pin_task *)t;
    store_point_discard(t->d->store, &t->r.machine, &p->point, &t->err);
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
    task_run(d, d->store_exec, &p->t);
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
    task_run(d, d->store_exec, &p->t);
    return 0;
}

void retention_host(struct daemon *d)
{
    d->host.floor = (struct rel_keep){ .every_s = d->cfg.floor_every,
                                       .hourly = (uint16_t)d->cfg.floor_hourly,
                                       .daily = (uint16_t)d->cfg.floor_daily,
                                       .weekly = (uint16_t)d->cfg.floor_weekly };
    d->host.pin = h_pin;
    d->host.discard = h_discard;
}
