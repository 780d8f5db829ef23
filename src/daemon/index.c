/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Digest tables of disks that were not received: those of an old primary that became a replica in
 * place, and overlays that came back. They are read in the background, one machine of this host at
 * a time, so that a later comparison finds its answers here and nobody has to wait for a whole disk
 * being read. Control thread; work() on the disk workers. */
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/proof.h"
#include "daemon/storage.h"

enum {
    TICK_MS = 15000,    /* how often all machines are looked at */
    AGAIN_MS = 3600000, /* after a disk could not be read */
    RATE = 100 << 20,   /* bytes per second when verify_rate sets no limit: 3 h for a TiB */
};

struct index {
    struct task t;
    struct store_index *ix;
};

static struct vr_uuid running; /* that machine's; of the control thread */

static void st_prepare(void *arg)
{
    struct index *x = arg;
    store_index_prepare(x->t.d->store, &x->t.r.machine, true, &x->ix, &x->t.err);
}

static void st_finish(void *arg)
{
    struct index *x = arg;
    struct vr_err err = VR_ERR_INIT;
    if (store_index_finish(x->t.d->store, x->ix, &err) < 0 && x->t.err.kind == VR_OK)
        x->t.err = err;
}

static void index_work(struct task *t)
{
    struct index *x = (struct index *)t;
    uint64_t rate = (uint64_t)t->d->cfg.verify_rate << 20;
    storage_call(t->d, &t->r.machine, st_prepare, x, &t->err);
    if (t->err.kind != VR_OK || !x->ix)
        return;
    vr_log(VR_LOG_INFO, "machine %s: reading its disks here in the background for their digests",
           t->r.name);
    store_index_pace(x->ix, rate ? rate : RATE);
    store_index_run(x->ix, &t->d->stopping, &t->err);
    storage_call(t->d, &t->r.machine, st_finish, x, NULL);
    if (t->err.kind == VR_OK)
        vr_log(VR_LOG_INFO, "machine %s: the digests of its disks here are known", t->r.name);
}

static void index_done(struct task *t)
{
    rt_get(t->d, &t->r.machine)->proof.indexing = false;
    bool usual = t->err.kind == VR_E_CANCELLED || t->err.kind == VR_E_NOTFOUND;
    if (vr_uuid_eq(&running, &t->r.machine))
        running = (struct vr_uuid){ { 0 } };
    if (t->err.kind == VR_OK)
        return;
    vr_log_err(usual ? VR_LOG_DEBUG : VR_LOG_WARN,
               "reading disks for their digests (tried again in an hour)", &t->err);
    if (!usual)
        rt_get(t->d, &t->r.machine)->proof.index_after.ms = vr_mono_now().ms + AGAIN_MS;
}

/* A replica, or a machine that runs on what it was failed over to. */
static bool stands_on_chain(const struct rel *r)
{
    return rel_follows(r) || (r->ever_replica && r->st == ST_P_REPL);
}

/* One that waits for its storage keeps the others from nothing. */
static bool is_running(const struct daemon *d)
{
    const struct rel *r = vr_uuid_is_zero(&running) ? NULL : engine_find(d->engine, &running);
    return r && !r->silent[0];
}

void index_tick(struct daemon *d)
{
    static struct mono_ms next;
    static size_t turn;
    struct mono_ms now = vr_mono_now();
    if (!d->cfg.verify_days || d->stopping || is_running(d) || now.ms < next.ms)
        return;
    const struct rel *r = engine_at(d->engine, turn++);
    if (!r) { /* all have had their turn: the next round comes later */
        turn = 0;
        next.ms = now.ms + TICK_MS;
        return;
    }
    if (!stands_on_chain(r) || r->silent[0] || rt_get(d, &r->machine)->proof.indexing ||
        now.ms < rt_get(d, &r->machine)->proof.index_after.ms)
        return;
    struct index *x = vr_new(struct index);
    x->t.work = index_work;
    x->t.done = index_done;
    x->t.r = *r;
    rt_get(d, &r->machine)->proof.indexing = true;
    running = r->machine;
    task_run(d, storage_workers(d, &r->machine), &x->t);
}
