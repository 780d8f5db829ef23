/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Verification that somebody asked for, its jobs, and what the providers see of proof. Control
 * thread; work() on transfer workers. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/proof.h"
#include "daemon/storage.h"
#include "store/proof.h"

/* ---- reading one point ---- */
struct verify {
    struct task t;
    struct verify *next;
    struct vr_uuid job, machine;
    struct vr_point_id point;
    _Atomic(struct store_verify_input *) in;
    atomic_bool cancel;
    uint64_t blocks, bad;
    struct store_noted noted;
};

static struct verify *verifies; /* that run; control thread */

static void st_prepare(void *arg)
{
    struct verify *v = arg;
    struct store_verify_input *in = NULL;
    if (store_verify_prepare(v->t.d->store, &v->machine, &v->point, &in, &v->t.err) == 0)
        store_verify_pace(in, (uint64_t)v->t.d->cfg.verify_rate << 20);
    atomic_store(&v->in, in);
}

static void st_save(void *arg)
{
    struct verify *v = arg;
    store_verify_save(v->t.d->store, atomic_load(&v->in), STORE_PROOF_DIGESTS, vr_wall_now(),
                      &v->noted, &v->t.err);
}

static void verify_work(struct task *t)
{
    struct verify *v = (struct verify *)t;
    if (storage_call(t->d, &v->machine, st_prepare, v, &t->err) < 0 || t->err.kind != VR_OK)
        return;
    if (atomic_load(&v->cancel))
        store_verify_cancel(atomic_load(&v->in));
    if (store_verify_run(atomic_load(&v->in), &v->blocks, &v->bad, &t->err) == 0)
        storage_call(t->d, &v->machine, st_save, v, NULL);
}

/* The first block of the first disk that is wrong, and how many there are of that disk. */
static void tell(struct verify *v)
{
    const struct store_bad_list *bad = store_verify_bad(v->in);
    struct proof_diff diff = { .replica = v->t.d->cfg.host_name,
                               .target = bad->v[0].target,
                               .epoch = v->point.epoch,
                               .blocks = bad->total,
                               .rot = bad->total,
                               .points = v->noted.points,
                               .first = bad->v[0].block };
    char text[VR_BAD_TEXT];
    proof_text(&diff, text, sizeof text);
    proof_differs(v->t.d, &v->machine, v->noted.blocks, v->noted.wanted > 0, text);
}

/* Who waits for a job asks for the points next, and finds what came of it: the job ends when they
 * have been listed anew. The store thread does one after the other. */
struct ending {
    struct task t;
    struct vr_uuid job;
    struct vr_err err;
};

static void ending_work(struct task *t)
{
    (void)t; /* the list was before it */
}

static void ending_done(struct task *t)
{
    struct ending *e = (struct ending *)t;
    engine_job_end(t->d->engine, &e->job, e->err.kind == VR_OK ? NULL : &e->err);
}

static void end_when_listed(struct daemon *d, const struct vr_uuid *machine,
                            const struct vr_uuid *job, const struct vr_err *err)
{
    struct ending *e = vr_new(struct ending);
    e->t.work = ending_work;
    e->t.done = ending_done;
    e->job = *job;
    vr_err_move(&e->err, err);
    host_refresh_points(d, machine);
    task_run(d, d->store_exec, &e->t);
}

static void verify_done(struct task *t)
{
    struct verify *v = (struct verify *)t;
    struct verify **p = &verifies;
    while (*p != v)
        p = &(*p)->next;
    *p = v->next;
    if (t->err.kind == VR_OK && v->noted.blocks)
        tell(v);
    if (t->err.kind == VR_OK && v->bad)
        vr_fail(&t->err, VR_E_CORRUPT, 0,
                "%" PRIu64 " of %" PRIu64 " blocks differ from what was received; the point is "
                "quarantined, see: vmreplica points",
                v->bad, v->blocks);
    end_when_listed(t->d, &v->machine, &v->job, &t->err);
    store_verify_free(v->in);
}

static int h_verify(void *ctx, const struct vr_uuid *machine, const struct vr_point_id *point,
                    const char *owner, struct vr_uuid *ret_job, struct vr_err *err)
{
    struct daemon *d = ctx;
    const struct rel *r = engine_find(d->engine, machine);
    if (!point)
        return proof_ask(d, machine, owner, ret_job, err);
    struct machine_rt *rt = rt_get(d, machine);
    bool known = false;
    for (size_t i = 0; i < rt->n_points; i++)
        known |= vr_point_eq(&rt->points[i].id, point);
    if (!known || !r || rel_mode(r) != REL_MODE_REPLICA)
        return vr_fail(err, VR_E_NOTFOUND, 0, "there is no such recovery point on this host");
    struct verify *v = vr_new(struct verify);
    v->t.work = verify_work;
    v->t.done = verify_done;
    v->machine = *machine;
    v->point = *point;
    v->job = engine_job_new(d->engine, JOB_VERIFY, machine, owner);
    v->next = verifies;
    verifies = v;
    *ret_job = v->job;
    task_run(d, storage_workers(d, machine), &v->t);
    return 0;
}

void verify_tick(struct daemon *d)
{
    for (struct verify *v = verifies; v; v = v->next) {
        struct store_verify_input *in = atomic_load(&v->in);
        if (in)
            engine_job_percent(d->engine, &v->job, (uint16_t)store_verify_percent(in));
    }
}

static int h_cancel(void *ctx, const struct vr_uuid *job, struct vr_err *err)
{
    if (proof_cancel(ctx, job))
        return 0;
    for (struct verify *v = verifies; v; v = v->next) {
        if (!vr_uuid_eq(&v->job, job))
            continue;
        atomic_store(&v->cancel, true);
        if (atomic_load(&v->in))
            store_verify_cancel(atomic_load(&v->in));
        return 0;
    }
    return vr_fail(err, VR_E_NOTFOUND, 0, "there is no such job");
}

/* ---- acknowledging, releasing ---- */
struct note {
    struct task t;
    struct vr_uuid job, machine;
    struct vr_point_id point;
    bool release;
};

static void note_work(struct task *t)
{
    struct note *n = (struct note *)t;
    if (n->release)
        store_proof_release(t->d->store, &n->machine, &n->point, &t->err);
    else
        store_proof_acknowledge(t->d->store, &n->machine, &t->err);
}

static void note_done(struct task *t)
{
    struct note *n = (struct note *)t;
    end_when_listed(t->d, &n->machine, &n->job, &t->err);
}

static struct note *note_new(struct daemon *d, const struct vr_uuid *machine, const char *owner,
                             struct vr_uuid *ret_job)
{
    struct note *n = vr_new(struct note);
    n->t.work = note_work;
    n->t.done = note_done;
    n->machine = *machine;
    n->job = engine_job_new(d->engine, JOB_VERIFY_NOTE, machine, owner);
    *ret_job = n->job;
    return n;
}

static int h_acknowledge(void *ctx, const struct vr_uuid *machine, const char *owner,
                         struct vr_uuid *ret_job, struct vr_err *err)
{
    struct daemon *d = ctx;
    const struct rel *r = engine_find(d->engine, machine);
    if (engine_acknowledge(d->engine, machine, err) < 0)
        return -1;
    vr_log(VR_LOG_INFO, "machine %s: differences acknowledged by %s", r->name, owner);
    struct note *n = note_new(d, machine, owner, ret_job);
    task_run(d, d->store_exec, &n->t);
    return 0;
}

static int h_release(void *ctx, const struct vr_uuid *machine, const struct vr_point_id *point,
                     const char *owner, struct vr_uuid *ret_job, struct vr_err *err)
{
    struct daemon *d = ctx;
    (void)err;
    vr_log(VR_LOG_WARN, "quarantined point %" PRIu64 " is released by %s", point->epoch, owner);
    struct note *n = note_new(d, machine, owner, ret_job);
    n->point = *point;
    n->release = true;
    task_run(d, d->store_exec, &n->t);
    return 0;
}

static bool h_proof(void *ctx, const struct vr_uuid *machine, struct host_proof *ret)
{
    const struct proof *p = &rt_get(ctx, machine)->proof;
    *ret = (struct host_proof){ .last = p->at.last,
                                .last_bad = p->at.last_bad,
                                .scrubbed = p->at.scrub_last,
                                .unsupported = p->unsupported,
                                .running = p->at.began.us || p->asked };
    if (p->total)
        ret->percent = (uint16_t)((double)p->done * 100 / (double)p->total);
    return true;
}

void verify_host(struct daemon *d)
{
    d->host.verify = h_verify;
    d->host.cancel = h_cancel;
    d->host.acknowledge = h_acknowledge;
    d->host.release = h_release;
    d->host.proof = h_proof;
}
