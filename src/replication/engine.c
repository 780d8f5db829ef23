/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs the effects of rel_step() in order and keeps the jobs. One thread, never blocks.
 *
 * Each machine has a queue of effects. PERSIST is an effect like the others, so everything that
 * came with a state change waits until the change is durable (invariant: what a peer or a user can
 * see was written before). State changes themselves are immediate, so that two requests in a row
 * see each other. */
#include "replication/engine_int.h"
#include "replication/explain.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/uuidmap.h"

#define ITEMS_MAX 4096 /* machines; a peer can ask for any */

struct fx_item {
    struct fx_item *next;
    enum rel_fx_bit fx;
    struct rel r;         /* as it was when the effect was ordered */
    struct vr_uuid job;   /* JOB_*: which */
    struct mono_ms began; /* SYNC_*: begin of the cycle */
};

struct waiter {
    struct waiter *next;
    enum rel_event_type asked;
    engine_reply_fn fn;
    void *ctx;
};

struct engine *engine_new(const struct engine_env *env)
{
    struct engine *e = vr_new(struct engine);
    e->env = *env;
    return e;
}

static void item_free(struct item *it)
{
    while (it->head) {
        struct fx_item *next = it->head->next;
        free(it->head);
        it->head = next;
    }
    while (it->waiters) {
        struct waiter *next = it->waiters->next;
        free(it->waiters);
        it->waiters = next;
    }
    free(it);
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    for (size_t i = 0; i < e->n_items; i++)
        item_free(e->items[i]);
    free(e->items);
    vr_uuidmap_done(&e->by_machine);
    free(e->jobs);
    free(e);
}

static struct item *find(const struct engine *e, const struct vr_uuid *machine)
{
    return vr_uuidmap_get(&e->by_machine, machine);
}

/* Machines that are not replicated and of which nothing is going on: left by requests that failed.
 */
static void purge(struct engine *e)
{
    size_t kept = 0;
    for (size_t i = 0; i < e->n_items; i++) {
        struct item *it = e->items[i];
        if (it->r.st == ST_NONE && !it->head && !it->running && !it->draining && !it->waiters &&
            vr_uuid_is_zero(&it->job))
            item_free(it);
        else
            e->items[kept++] = it;
    }
    e->n_items = kept;
    vr_uuidmap_clear(&e->by_machine);
    for (size_t i = 0; i < kept; i++)
        vr_uuidmap_put(&e->by_machine, &e->items[i]->r.machine, e->items[i]);
}

static struct item *add(struct engine *e, const struct rel *r)
{
    struct item *it = vr_new(struct item);
    it->r = *r;
    it->tail = &it->head;
    e->items = vr_grow(e->items, e->n_items + 1, sizeof *e->items);
    e->items[e->n_items++] = it;
    vr_uuidmap_put(&e->by_machine, &it->r.machine, it);
    return it;
}

/* ---- effects ---- */
static bool is_instant(enum rel_fx_bit fx)
{
    return fx == FX_BIT_CANCEL_FLOW || fx == FX_BIT_CANCEL_RX;
}

static void reply_all(struct item *it, const struct vr_err *err)
{
    struct waiter *w = it->waiters;
    it->waiters = NULL;
    while (w) {
        struct waiter *next = w->next;
        w->fn(w->ctx, &it->r, err);
        free(w);
        w = next;
    }
}

/* The same is asked again while it is being done: the last one who asks gets the answer. Who asked
 * before has mostly given up long ago, and would hold a thread until the end. */
static void replace_waiters(struct item *it, enum rel_event_type asked)
{
    struct vr_err err = VR_ERR_INIT;
    vr_fail(&err, VR_E_BUSY, 0, "machine %s: this is being done, and was asked for again meanwhile",
            it->r.name);
    for (struct waiter **p = &it->waiters; *p;) {
        struct waiter *w = *p;
        if (w->asked != asked) {
            p = &w->next;
            continue;
        }
        *p = w->next;
        w->fn(w->ctx, &it->r, &err);
        free(w);
    }
}

/* Effects that the engine itself carries out; true when it was one. */
static bool run_own(struct engine *e, struct item *it, const struct fx_item *x)
{
    struct job *j = vr_uuid_is_zero(&x->job) ? NULL : engine_job_find(e, &x->job);
    switch (x->fx) {
    case FX_BIT_REPLY:
        reply_all(it, NULL);
        return true;
    case FX_BIT_REPLY_ERR:
        reply_all(it, &x->r.last_err);
        return true;
    case FX_BIT_JOB_DONE:
        if (j)
            engine_job_finish(e, j, JOB_COMPLETED, NULL);
        return true;
    case FX_BIT_JOB_FAIL:
        if (j)
            engine_job_finish(e, j, JOB_EXCEPTION, &x->r.last_err);
        return true;
    case FX_BIT_JOB_CANCEL:
        if (j)
            engine_job_finish(e, j, JOB_TERMINATED, NULL);
        return true;
    case FX_BIT_SYNC_DONE:
        engine_sync_end(e, &x->r.machine, x->began, NULL);
        return true;
    case FX_BIT_SYNC_FAIL:
        engine_sync_end(e, &x->r.machine, x->began, &x->r.last_err);
        return true;
    default:
        return false;
    }
}

static void drain(struct engine *e, struct item *it)
{
    if (it->draining)
        return; /* an instant effect called engine_done() from within run() */
    it->draining = true;
    while (!it->running && it->head) {
        struct fx_item *x = it->head;
        it->head = x->next;
        if (!it->head)
            it->tail = &it->head;
        if (x->fx == FX_BIT_SHIP && it->r.flow.cancelled) {
            struct rel_event ev = { .type = EV_SHIP_FAILED };
            vr_fail(&ev.err, VR_E_CANCELLED, 0, "cancelled before the transfer began");
            engine_event(e, &x->r.machine, &ev);
        } else if (x->fx == FX_BIT_PUSH_SETTINGS) {
            engine_tell_begin(e, it, &x->r);
        } else if (!run_own(e, it, x)) {
            it->running =
                x->fx != FX_BIT_SHIP && x->fx != FX_BIT_RETENTION && x->fx != FX_BIT_PROBE;
            e->env.run(e->env.ctx, &x->r, x->fx);
        }
        free(x);
    }
    it->draining = false;
}

static void order(struct item *it, enum rel_fx_bit fx, const struct rel *r,
                  const struct vr_uuid *job, struct mono_ms began)
{
    struct fx_item *x = vr_new(struct fx_item);
    x->fx = fx;
    x->r = *r;
    if (job)
        x->job = *job;
    x->began = began;
    *it->tail = x;
    it->tail = &x->next;
}

/* A comparison that starts by itself is a job like one that was asked for: it can be seen, followed
 * and cancelled. src:[contract.md D.4] */
static void follow_resync(struct engine *e, struct item *it)
{
    static const struct vr_uuid none;
    struct rel *r = &it->r;
    struct job *j = vr_uuid_is_zero(&it->job) ? NULL : engine_job_find(e, &it->job);
    bool waits = r->st == ST_P_RESYNC_WAIT && r->start_at.us;
    if (j && j->type == JOB_RESYNC && j->state == JOB_NEW && r->st == ST_P_RESYNC_WAIT && !waits) {
        engine_job_finish(e, j, JOB_TERMINATED, NULL);
        it->job = none;
    }
    if (j && j->type == JOB_RESYNC && j->state == JOB_NEW && waits &&
        j->scheduled.us != r->start_at.us) {
        j->scheduled = r->start_at;
        engine_job_changed(e, j);
    }
    if (j || !(waits || r->st == ST_P_RESYNC))
        return;
    it->job = engine_job_new(e, JOB_RESYNC, &r->machine, "vmreplica");
    j = engine_job_find(e, &it->job);
    if (!waits)
        return;
    j->scheduled = r->start_at;
    j->state = JOB_NEW;
    engine_job_changed(e, j);
}

/* A change of the set of disks is a job of its own, whoever asked for it and when: clients look for
 * it by its type. src:[contract.md A.12, B.2] */
static void follow_update(struct engine *e, struct item *it)
{
    if (it->r.st == ST_P_UPDATE && vr_uuid_is_zero(&it->job))
        it->job = engine_job_new(e, JOB_UPDATE_DISKS, &it->r.machine, "vmreplica");
}

/* The error that jobs and replies of this event show: its own, if it has one. */
static void apply(struct engine *e, struct item *it, const struct rel *next, uint32_t fx,
                  const struct vr_uuid *done_job, const struct rel_event *ev)
{
    struct rel before = it->r;
    struct rel shown = *next;
    if (ev->err.kind != VR_OK)
        shown.last_err = ev->err;
    it->r = *next;
    struct job *waiting = vr_uuid_is_zero(&it->job) ? NULL : engine_job_find(e, &it->job);
    if (waiting && waiting->state == JOB_NEW && before.st != next->st &&
        (next->st == ST_P_IR || next->st == ST_P_RESYNC)) {
        waiting->state = JOB_RUNNING;
        waiting->started = ev->wall;
        engine_job_changed(e, waiting);
    }
    if (ev->type == EV_SHIPPED && before.way_back)
        engine_tell_way_back(e, next);
    static const struct vr_uuid none;
    for (int b = 0; b < FX_BIT_COUNT; b++) {
        if (!(fx & 1u << b))
            continue;
        enum rel_fx_bit bit = (enum rel_fx_bit)b;
        if (is_instant(bit)) {
            e->env.run(e->env.ctx, &shown, bit);
            continue;
        }
        bool of_job = bit == FX_BIT_JOB_DONE || bit == FX_BIT_JOB_FAIL || bit == FX_BIT_JOB_CANCEL;
        order(it, bit, &shown, of_job ? done_job : NULL, before.flow.began);
        if (of_job && vr_uuid_eq(done_job, &it->job))
            it->job = none;
    }
    if (ev->type >= EV_PEER_CREATE)
        follow_resync(e, it);
    follow_update(e, it);
    if (before.st != it->r.st || before.acked.epoch != it->r.acked.epoch ||
        before.newest.epoch != it->r.newest.epoch || before.last_err.kind != it->r.last_err.kind)
        e->env.changed(e->env.ctx, &before, &it->r, NULL);
    if (!engine_has_cycles(it->r.st) && before.st != it->r.st)
        engine_sync_give_up(e, &it->r);
    engine_tell_follow(it, ev);
    drain(e, it);
}

static void stamp(const struct engine *e, struct rel_event *ev)
{
    ev->mono = e->env.mono(e->env.ctx);
    ev->wall = e->env.wall(e->env.ctx);
    ev->day_s = e->env.day_second ? e->env.day_second(e->env.ctx, ev->wall)
                                  : (uint32_t)(ev->wall.us / 1000000 % 86400);
}

void engine_event(struct engine *e, const struct vr_uuid *machine, struct rel_event *ev)
{
    struct item *it = find(e, machine);
    if (!it)
        return;
    stamp(e, ev);
    struct rel next;
    uint32_t fx = 0;
    struct vr_err err = VR_ERR_INIT;
    if (rel_step(&it->r, ev, &next, &fx, &err) < 0) {
        vr_log_err(VR_LOG_DEBUG, it->r.name, &err);
        return;
    }
    apply(e, it, &next, fx, &it->job, ev);
}

void engine_done(struct engine *e, const struct vr_uuid *machine)
{
    struct item *it = find(e, machine);
    if (!it)
        return;
    it->running = false;
    drain(e, it);
}

/* ---- requests ---- */
static bool is_exclusive(enum rel_event_type t)
{
    return t != EV_U_SYNC && t != EV_U_PAUSE && t != EV_U_RESUME && t != EV_U_MODIFY &&
           t != EV_U_CANCEL_IR && t != EV_U_CANCEL_RESYNC && t != EV_U_REMOVE && t != EV_U_WITHDRAW;
}

/* A start that waits for its time is given another, a suspended resynchronisation begins anew: the
 * new job takes the place of the old one. src:[contract.md B.2 StartReplication, C.1] */
static bool restarts(const struct job *old, enum rel_event_type t)
{
    if (old->type == JOB_RESYNC && old->state == JOB_NEW)
        return true;              /* it only waits for its time */
    if (t == EV_U_BECOME_REPLICA) /* whatever copy was suspended is given up */
        return old->type == JOB_START_IR || old->type == JOB_START_SEEDED ||
               old->type == JOB_RESYNC;
    if (t == EV_U_RESYNC)
        return old->type == JOB_RESYNC;
    if (t == EV_U_REVERSE)
        return old->type == JOB_REVERSE;
    if (t == EV_U_REVERT)
        return old->type == JOB_PREPARE;
    return t == EV_U_START_IR && (old->type == JOB_START_IR || old->type == JOB_START_SEEDED);
}

static struct item *find_for_request(struct engine *e, const struct vr_uuid *machine,
                                     const struct rel_event *ev, struct vr_err *err)
{
    struct item *it = find(e, machine);
    if (it)
        return it;
    if (ev->type == EV_U_CREATE || ev->type == EV_U_BECOME_REPLICA || ev->type == EV_PEER_CREATE) {
        purge(e);
        if (e->n_items >= ITEMS_MAX) {
            vr_fail(err, VR_E_LIMIT, 0, "this host already has %d replicated machines", ITEMS_MAX);
            return NULL;
        }
        struct rel fresh = { .machine = *machine };
        memcpy(fresh.name, ev->name, sizeof fresh.name);
        rel_settings_default(&fresh.set);
        return add(e, &fresh);
    }
    struct rel none = { .st = ST_NONE };
    char hint[300];
    vr_fail(err, VR_E_STATE, 0, "%s is not possible: the machine is not replicated%s",
            rel_event_text(ev->type), rel_hint(&none, ev->type, hint, sizeof hint));
    return NULL;
}

int engine_request(struct engine *e, const struct vr_uuid *machine, struct rel_event *ev,
                   enum job_type type, const char *owner, struct vr_uuid *ret_job,
                   struct vr_err *err)
{
    struct item *it = find_for_request(e, machine, ev, err);
    if (!it)
        return -1;
    stamp(e, ev);
    struct rel next;
    uint32_t fx = 0;
    if (rel_step(&it->r, ev, &next, &fx, err) < 0 || engine_is_silent(&it->r, ev->type, err) < 0)
        return -1;
    bool busy = !vr_uuid_is_zero(&it->job);
    if (busy && is_exclusive(ev->type) && !restarts(engine_job_find(e, &it->job), ev->type))
        return vr_fail(err, VR_E_BUSY, 0,
                       "another operation of machine %s is still running (%s); wait for it: "
                       "vmreplica jobs",
                       it->r.name, job_caption(engine_job_find(e, &it->job)->type));
    struct vr_uuid id = engine_job_new(e, type, machine, owner);
    struct job *j = engine_job_find(e, &id);
    uint32_t of_job = FX_JOB_DONE | FX_JOB_FAIL | FX_JOB_CANCEL;
    static const struct vr_uuid none;
    if (ev->type == EV_U_SYNC) {
        j->waits_for_cycle = true;
    } else if (fx & FX_JOB_CANCEL || ev->type == EV_U_REMOVE || (busy && is_exclusive(ev->type))) {
        /* The long job gives way to this request. */
        struct job *old = busy ? engine_job_find(e, &it->job) : NULL;
        if (old)
            engine_job_finish(e, old, JOB_TERMINATED, NULL);
        it->job = none;
        if (fx & FX_JOB_CANCEL)
            fx = (fx & ~(uint32_t)FX_JOB_CANCEL) | FX_JOB_DONE;
        else
            it->job = id;
    } else if (!(fx & of_job)) {
        it->job = id;
    }
    if (ev->start_at.us > ev->wall.us && (ev->type == EV_U_START_IR || ev->type == EV_U_RESYNC)) {
        j->scheduled = ev->start_at;
        j->state = JOB_NEW;
    }
    apply(e, it, &next, fx, &id, ev);
    *ret_job = id;
    return 0;
}

int engine_job_cancel(struct engine *e, const struct vr_uuid *id, struct vr_err *err)
{
    struct job *j = engine_job_find(e, id);
    if (!j)
        return vr_fail(err, VR_E_NOTFOUND, 0, "there is no such job");
    if (!job_cancellable(j))
        return vr_fail(err, VR_E_STATE, 0, "job \"%s\" cannot be cancelled%s", job_caption(j->type),
                       job_over(j) ? ": it is over" : "");
    bool start = j->type == JOB_START_IR || j->type == JOB_START_SEEDED;
    if (!start && j->type != JOB_RESYNC && j->type != JOB_UPDATE_DISKS && j->type != JOB_REVERSE &&
        j->type != JOB_PREPARE) /* not the engine's: whoever made it must end it */
        return vr_fail(err, VR_E_UNSUPPORTED, 0, "job \"%s\" is cancelled elsewhere",
                       job_caption(j->type));
    struct rel_event ev = { .type = start                         ? EV_U_CANCEL_IR
                                    : j->type == JOB_REVERSE      ? EV_U_WITHDRAW
                                    : j->type == JOB_PREPARE      ? EV_U_REVERT
                                    : j->type == JOB_UPDATE_DISKS ? EV_U_RESUME
                                                                  : EV_U_CANCEL_RESYNC };
    struct vr_uuid other;
    return engine_request(e, &j->machine, &ev, JOB_STATE_CHANGE, j->owner, &other, err);
}

void engine_peer_request(struct engine *e, const struct vr_uuid *machine, struct rel_event *ev,
                         engine_reply_fn reply, void *ctx)
{
    struct vr_err err = VR_ERR_INIT;
    struct rel next;
    uint32_t fx = 0;
    struct item *it = find_for_request(e, machine, ev, &err);
    if (it) {
        stamp(e, ev);
        if (rel_step(&it->r, ev, &next, &fx, &err) < 0)
            it = NULL;
    }
    if (!it) {
        reply(ctx, NULL, &err);
        return;
    }
    if (!fx && next.st == it->r.st)
        replace_waiters(it, ev->type);
    struct waiter *w = vr_new(struct waiter);
    w->asked = ev->type;
    w->fn = reply;
    w->ctx = ctx;
    w->next = it->waiters;
    it->waiters = w;
    apply(e, it, &next, fx, &it->job, ev);
}

int engine_rx_open(struct engine *e, const struct vr_uuid *machine, struct rel_event *ev,
                   struct vr_err *err)
{
    struct item *it = find(e, machine);
    if (!it)
        return vr_fail(err, VR_E_STATE, 0, "the machine is not replicated to this host");
    stamp(e, ev);
    struct rel next;
    uint32_t fx = 0;
    if (rel_step(&it->r, ev, &next, &fx, err) < 0)
        return -1;
    apply(e, it, &next, fx, &it->job, ev);
    return 0;
}

/* ---- notes (engine_int.h) ---- */
struct rel *engine_rel(struct engine *e, const struct vr_uuid *machine)
{
    struct item *it = find(e, machine);
    return it ? &it->r : NULL;
}

struct item *engine_item(struct engine *e, const struct vr_uuid *machine)
{
    return find(e, machine);
}

void engine_order(struct engine *e, struct item *it, enum rel_fx_bit fx)
{
    order(it, fx, &it->r, NULL, (struct mono_ms){ 0 });
    drain(e, it);
}

void engine_write_down(struct engine *e, const struct vr_uuid *machine, const struct rel *before)
{
    struct item *it = find(e, machine);
    if (!it)
        return;
    if (before)
        e->env.changed(e->env.ctx, before, &it->r, NULL);
    engine_order(e, it, FX_BIT_PERSIST);
}

struct wall_us engine_now(const struct engine *e)
{
    return e->env.wall(e->env.ctx);
}

/* ---- start ---- */
int engine_load(struct engine *e, const char *text, struct vr_err *err)
{
    struct rel r;
    if (rel_decode(text, &r, err) < 0)
        return -1;
    if (find(e, &r.machine))
        return vr_fail(err, VR_E_CORRUPT, 0, "machine %s is written down twice", r.name);
    add(e, &r);
    return 0;
}

/* Does a relationship still do what a job of this type was made for? */
static bool goes_on(const struct rel *r, enum job_type t)
{
    enum rel_state st = r->st;
    bool scheduled = r->start_at.us != 0;
    switch (t) {
    case JOB_START_IR:
    case JOB_START_SEEDED:
        return st == ST_P_IR || (st == ST_P_READY && scheduled) || st == ST_P_IR_SUSP;
    case JOB_RESYNC:
        return st == ST_P_RESYNC || st == ST_P_RESYNC_SUSP || (st == ST_P_RESYNC_WAIT && scheduled);
    case JOB_UPDATE_DISKS:
        return st == ST_P_UPDATE;
    case JOB_PREPARE:
        return st == ST_P_PREPARING || st == ST_P_PREPARED;
    case JOB_FAILOVER:
        return st == ST_R_FAILING;
    case JOB_REVERT:
        return st == ST_R_REVERTING;
    case JOB_REVERSE:
        return st == ST_R_REVERSING || st == ST_R_REVERSE_WAIT;
    case JOB_REMOVE:
        return st == ST_P_REMOVING || st == ST_R_REMOVING;
    case JOB_STATE_CHANGE:
        return st == ST_P_YIELDING && !r->yield_for_peer; /* else it was cancelled by the peer */
    default:
        return false;
    }
}

void engine_restart(struct engine *e)
{
    for (size_t i = 0; i < e->n_jobs; i++) {
        struct job *j = &e->jobs[i];
        struct item *it = find(e, &j->machine);
        if (job_over(j))
            continue;
        if (it && goes_on(&it->r, j->type) && vr_uuid_is_zero(&it->job)) {
            it->job = j->id;
            continue;
        }
        if (it && j->waits_for_cycle && engine_has_cycles(it->r.st) && it->r.st != ST_P_PREPARED)
            continue;
        struct vr_err err = VR_ERR_INIT;
        vr_fail(&err, VR_E_UNKNOWN, 0,
                "the daemon was restarted while this ran; see the machine's state for the outcome");
        engine_job_finish(e, j, JOB_EXCEPTION, &err);
    }
    for (size_t i = 0; i < e->n_items; i++) {
        struct rel_event ev = { .type = EV_RESTART };
        engine_event(e, &e->items[i]->r.machine, &ev);
    }
}

/* ---- timers ---- */
struct mono_ms engine_next(const struct engine *e)
{
    struct mono_ms next = { 0 };
    for (size_t i = 0; i < e->n_items; i++) {
        struct mono_ms d = e->items[i]->r.due, t = e->items[i]->tell.due;
        if (d.ms && (!next.ms || d.ms < next.ms))
            next = d;
        if (t.ms && (!next.ms || t.ms < next.ms))
            next = t;
    }
    return next;
}

void engine_tick(struct engine *e)
{
    struct mono_ms now = e->env.mono(e->env.ctx);
    for (size_t i = 0; i < e->n_items; i++) {
        struct rel *r = &e->items[i]->r;
        engine_tell_tick(e, e->items[i], now);
        if (!r->due.ms || r->due.ms > now.ms)
            continue;
        r->due.ms = 0; /* a row that wants another tick sets it again */
        struct rel_event ev = { .type = EV_TICK };
        engine_event(e, &r->machine, &ev);
    }
    engine_jobs_expire(e);
}

/* ---- reading ---- */
const struct rel *engine_find(const struct engine *e, const struct vr_uuid *machine)
{
    struct item *it = find(e, machine);
    return it ? &it->r : NULL;
}

const struct rel *engine_at(const struct engine *e, size_t i)
{
    return i < e->n_items ? &e->items[i]->r : NULL;
}

const struct job *engine_running_job(const struct engine *e, const struct vr_uuid *machine)
{
    struct item *it = find(e, machine);
    return it && !vr_uuid_is_zero(&it->job) ? engine_job_find(e, &it->job) : NULL;
}

bool engine_idle(const struct engine *e)
{
    for (size_t i = 0; i < e->n_items; i++)
        if (e->items[i]->running || e->items[i]->head)
            return false;
    return true;
}
