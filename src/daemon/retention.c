/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Merging away points that retention no longer keeps. Transfer workers. */
#include "daemon/swap.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/fault.h"

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
