/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The engine's environment: clocks, tasks and the effects that are small. Control thread, except
 * work() functions, which run on the executor that their task was given to. */
#include "daemon/daemon.h"

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <systemd/sd-event.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/fault.h"
#include "daemon/messages.h"
#include "daemon/probe.h"
#include "daemon/proof.h"

struct machine_rt *rt_get(struct daemon *d, const struct vr_uuid *machine)
{
    struct machine_rt *rt = vr_uuidmap_get(&d->rt_by_machine, machine);
    if (rt)
        return rt;
    rt = vr_new(struct machine_rt);
    rt->machine = *machine;
    rt->next = d->rts;
    d->rts = rt;
    vr_uuidmap_put(&d->rt_by_machine, machine, rt);
    return rt;
}

/* ---- tasks ---- */
static void task_back(void *arg)
{
    struct task *t = arg;
    t->d->tasks--;
    t->done(t);
    free(t);
}

static void task_work(void *arg)
{
    struct task *t = arg;
    if (t->in_store)
        store_enter(t->d->store);
    t->work(t);
    if (t->in_store)
        store_leave(t->d->store);
    vr_mailbox_post(t->d->mail, task_back, t);
}

void task_run(struct daemon *d, struct vr_exec *x, struct task *t)
{
    t->d = d;
    t->in_store = x == d->store_exec;
    d->tasks++;
    vr_exec_post(x, task_work, t);
}

struct ctl {
    void (*fn)(void *);
    void *arg;
    sem_t ready;
};

static void ctl_run(void *arg)
{
    struct ctl *c = arg;
    c->fn(c->arg);
    sem_post(&c->ready);
}

void ctl_call(struct daemon *d, void (*fn)(void *arg), void *arg)
{
    struct ctl c = { .fn = fn, .arg = arg };
    sem_init(&c.ready, 0, 0);
    vr_mailbox_post(d->mail, ctl_run, &c);
    while (sem_wait(&c.ready) < 0)
        ;
    sem_destroy(&c.ready);
}

void store_call(struct daemon *d, void (*fn)(void *arg), void *arg)
{
    store_enter(d->store);
    fn(arg);
    store_leave(d->store);
}

void finish_effect(struct daemon *d, const struct vr_uuid *machine, struct rel_event *ev)
{
    fault_after(rt_get(d, machine)->effect);
    if (ev)
        engine_event(d->engine, machine, ev);
    engine_done(d->engine, machine);
}

size_t rel_targets(const struct rel *r, const char *out[])
{
    for (uint32_t i = 0; i < r->n_disks; i++)
        out[i] = r->disks[i].target;
    return r->n_disks;
}

void rel_whole(const struct rel *r, bool out[])
{
    for (uint32_t i = 0; i < r->n_disks; i++)
        out[i] = r->disks[i].added;
}

/* ---- small effects ---- */
#define TEXT_AGAIN_US 3000000

struct text_task {
    struct task t;
    char *kind, *id, *text; /* text NULL: delete */
    bool barrier;
};

static void text_work(struct task *t)
{
    struct text_task *x = (struct text_task *)t;
    if (x->text)
        store_doc_put(t->d->store, x->kind, x->id, x->text, &t->err);
    else
        store_doc_delete(t->d->store, x->kind, x->id, &t->err);
}

static int on_text_again(sd_event_source *s, uint64_t usec, void *arg)
{
    (void)usec;
    struct text_task *x = arg;
    task_run(x->t.d, x->t.d->store_exec, &x->t);
    sd_event_source_disable_unref(s);
    return 0;
}

/* No room: a matter of time. The machine's further effects wait behind this one, the rest of the
 * host goes on. A job's text is only a record: it is not worth waiting for. */
static bool try_again(struct text_task *x)
{
    struct task *t = &x->t;
    if (t->err.kind != VR_E_NOSPACE && t->err.kind != VR_E_BUSY)
        return false;
    vr_log_err(VR_LOG_ERROR, x->barrier ? "cannot write state; trying again" : "cannot write a job",
               &t->err);
    if (!x->barrier)
        return true;
    struct text_task *next = vr_new(struct text_task);
    *next = *x;
    x->kind = x->id = x->text = NULL;
    x->barrier = false;
    vr_err_clear(&next->t.err);
    sd_event_source *timer = NULL; /* unref'd by itself */
    if (sd_event_add_time_relative(t->d->loop, &timer, CLOCK_MONOTONIC, TEXT_AGAIN_US, 100000,
                                   on_text_again, next) < 0)
        abort();
    return true;
}

static void text_done(struct task *t)
{
    struct text_task *x = (struct text_task *)t;
    if (t->err.kind != VR_OK && t->err.kind != VR_E_NOTFOUND && !try_again(x)) {
        /* src:[style 4.7] a store that cannot write is a failure of the process: recovery at the
         * next start is safer than going on with a state that is not written. */
        vr_log_err(VR_LOG_ERROR, "cannot write state; stopping", &t->err);
        fflush(NULL);
        _Exit(3); /* other threads go on working: nothing is torn down under them */
    }
    if (x->barrier)
        finish_effect(t->d, &t->r.machine, NULL);
    free(x->kind);
    free(x->id);
    free(x->text);
}

static void write_text(struct daemon *d, const char *kind, const struct vr_uuid *id,
                       char *take_text, const struct rel *barrier)
{
    struct text_task *x = vr_new(struct text_task);
    char uuid[VR_UUID_STR];
    x->t.work = text_work;
    x->t.done = text_done;
    x->kind = vr_strdup(kind);
    x->id = vr_strdup(vr_uuid_fmt(id, uuid));
    x->text = take_text;
    x->barrier = barrier != NULL;
    if (barrier)
        x->t.r = *barrier;
    task_run(d, d->store_exec, &x->t);
}

static void env_write_job(void *ctx, const struct vr_uuid *id, const char *text)
{
    struct daemon *d = ctx;
    if (!text && d->prov)
        host_providers_jobs_removed(d->prov);
    write_text(ctx, "job", id, vr_strdup(text), NULL);
}

struct guard_task {
    struct task t;
    bool on;
};

static void guard_work(struct task *t)
{
    struct guard_task *g = (struct guard_task *)t;
    vr_autofree char *why = NULL;
    if (t->r.st == ST_P_SUPERSEDED)
        why = vr_printf("machine %s was failed over to host %s; started here, too, the two copies "
                        "write apart from each other. To make this host the replica: vmreplica "
                        "reverse %s on %s. To start it here all the same: vmreplica boot %s "
                        "--anyway",
                        t->r.name, t->r.peer, t->r.name, t->r.peer, t->r.name);
    else if (rel_mode(&t->r) == REL_MODE_PRIMARY)
        why = vr_printf("machine %s is prepared for a planned failover to host %s, or was failed "
                        "over there already. Where it stands, and how it goes on: vmreplica "
                        "explain %s",
                        t->r.name, t->r.peer, t->r.name);
    else
        why = vr_printf("machine %s is a replica; to start it here fail it over: "
                        "vmreplica failover %s",
                        t->r.name, t->r.name);
    if (hv_guard(t->d->hv, &t->r.machine, g->on ? why : NULL, &t->err) < 0)
        return;
    if (g->on && t->r.st != ST_P_SUPERSEDED) /* it becomes something else than a second copy */
        policy_forget(t->d, &t->r.machine, &t->err);
    else if (!g->on && t->r.st != ST_P_SUPERSEDED && rel_mode(&t->r) == REL_MODE_PRIMARY)
        policy_undo(t->d, &t->r.machine, &t->err);
}

static void guard_done(struct task *t)
{
    if (t->err.kind != VR_OK)
        vr_log_err(VR_LOG_ERROR, "cannot set the start guard", &t->err);
    finish_effect(t->d, &t->r.machine, NULL);
}

static void fx_guard(struct daemon *d, const struct rel *r, bool on)
{
    struct guard_task *g = vr_new(struct guard_task);
    g->t.work = guard_work;
    g->t.done = guard_done;
    g->t.r = *r;
    g->on = on;
    task_run(d, d->hv_exec, &g->t);
}

static void env_run(void *ctx, const struct rel *r, enum rel_fx_bit fx)
{
    struct daemon *d = ctx;
    struct machine_rt *rt = rt_get(d, &r->machine);
    vr_log(VR_LOG_DEBUG, "machine %s: %s", r->name, rel_fx_name(fx));
    fault_before(rel_fx_name(fx));
    if (fx != FX_BIT_SHIP && fx != FX_BIT_RETENTION && fx != FX_BIT_PROBE &&
        fx != FX_BIT_PUSH_SETTINGS && fx != FX_BIT_CANCEL_FLOW && fx != FX_BIT_CANCEL_RX)
        rt->effect = rel_fx_name(fx);
    switch (fx) {
    case FX_BIT_PERSIST:
        write_text(d, "relationship", &r->machine, rel_encode(r), r);
        break;
    case FX_BIT_FORGET:
        proof_forget(d, &r->machine);
        write_text(d, "relationship", &r->machine, NULL, r);
        break;
    case FX_BIT_CREATE_AT_PEER:
        fx_create_at_peer(d, r);
        break;
    case FX_BIT_MAKE_REPLICA:
        fx_make_replica(d, r);
        break;
    case FX_BIT_PUSH_SETTINGS:
        fx_push_settings(d, r);
        break;
    case FX_BIT_CAPTURE:
        fx_capture(d, r);
        break;
    case FX_BIT_SHIP:
        fx_ship(d, r);
        break;
    case FX_BIT_RETIRE:
    case FX_BIT_DROP:
        fx_end_capture(d, r, fx == FX_BIT_RETIRE);
        break;
    case FX_BIT_CANCEL_FLOW:
        fx_cancel_flow(d, r);
        break;
    case FX_BIT_CANCEL_RX:
        rx_cancel(rt);
        break;
    case FX_BIT_GUARD:
    case FX_BIT_UNGUARD:
        fx_guard(d, r, fx == FX_BIT_GUARD);
        break;
    case FX_BIT_FAILOVER:
        fx_failover(d, r);
        break;
    case FX_BIT_REVERT:
        fx_revert(d, r);
        break;
    case FX_BIT_REVERSE_CALL:
        fx_reverse_call(d, r);
        break;
    case FX_BIT_BECOME_PRIMARY:
        fx_become_primary(d, r);
        break;
    case FX_BIT_YIELD:
        fx_yield(d, r);
        break;
    case FX_BIT_CLEAN_TRACKING:
        fx_clean_tracking(d, r);
        break;
    case FX_BIT_RECONCILE:
        fx_reconcile(d, r);
        break;
    case FX_BIT_REMOVE:
        fx_remove(d, r);
        break;
    case FX_BIT_RETENTION:
        fx_retention(d, r);
        break;
    case FX_BIT_PROBE:
        fx_probe(d, r);
        break;
    case FX_BIT_POLICY:
        fx_policy(d, r);
        break;
    default:
        vr_log(VR_LOG_ERROR, "effect %d is not the environment's", (int)fx);
        abort();
    }
}

static struct mono_ms env_mono(void *ctx)
{
    (void)ctx;
    return vr_mono_now();
}

static struct wall_us env_wall(void *ctx)
{
    (void)ctx;
    return vr_wall_now();
}

static uint32_t env_day_second(void *ctx, struct wall_us t)
{
    time_t at = (time_t)(t.us / 1000000);
    struct tm tm;
    (void)ctx;
    localtime_r(&at, &tm);
    uint32_t s = (uint32_t)(tm.tm_hour * 3600 + tm.tm_min * 60 + tm.tm_sec);
    return s < 86400 ? s : 86399; /* a leap second */
}

static void env_random(void *ctx, void *p, size_t n)
{
    (void)ctx;
    vr_random(p, n);
}

static void env_changed(void *ctx, const struct rel *before, const struct rel *after,
                        const struct job *job)
{
    struct daemon *d = ctx;
    if (d->prov)
        host_providers_changed(d->prov, after ? &after->machine : NULL, job);
    if (job) {
        if (job_over(job) && job->err.kind != VR_OK)
            vr_log(VR_LOG_WARN, "job \"%s\" failed: %s", job_caption(job->type), job->err.msg);
        return;
    }
    proof_changed(d, after);
    if (before->st != after->st)
        vr_log(VR_LOG_INFO, "machine %s: %s -> %s", after->name, rel_state_text(before->st),
               rel_state_text(after->st));
    if (after->last_err.kind != VR_OK && after->last_err.kind != before->last_err.kind)
        vr_log_err(VR_LOG_WARN, after->name, &after->last_err);
    host_refresh_points(d, &after->machine);
}

struct engine_env daemon_env(struct daemon *d)
{
    return (struct engine_env){ .ctx = d,
                                .mono = env_mono,
                                .wall = env_wall,
                                .day_second = env_day_second,
                                .random = env_random,
                                .run = env_run,
                                .write_job = env_write_job,
                                .changed = env_changed };
}
