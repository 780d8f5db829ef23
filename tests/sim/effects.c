/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The engine's environment: every effect as steps between which anything may happen. A task that
 * the daemon's death finds half done is simply not continued. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static void done_later(struct sim *s, struct task *t)
{
    struct host *h = &s->h[t->host];
    h->effects--;
    engine_done(h->e, &s->machine);
}

void finish(struct host *h, struct rel_event *ev)
{
    if (ev)
        host_event(h, ev);
    if (chance(h->s, 15)) {
        later(h->s, rnd(h->s, 40), h->no, done_later);
        return;
    }
    h->effects--;
    engine_done(h->e, &h->s->machine);
}

static void fail_with(struct host *h, enum rel_event_type type, enum vr_kind k, const char *text)
{
    struct rel_event ev = { .type = type };
    vr_fail(&ev.err, k, 0, "%s", text);
    finish(h, &ev);
}

static void go_on(struct sim *s, struct task *t, int64_t ms)
{
    struct task *n = later(s, ms, t->host, t->fn);
    n->step = t->step + 1;
    n->r = t->r;
    n->fx = t->fx;
    t->r = NULL;
}

/* ---- store: documents ---- */
static int64_t store_slot(struct host *h)
{
    int64_t at = h->store_free > h->s->now ? h->store_free : h->s->now;
    h->store_free = at + rnd(h->s, 6);
    return h->store_free - h->s->now;
}

static void fx_document(struct sim *s, struct task *t)
{
    struct host *h = &s->h[t->host];
    if (t->step == 0) {
        free(h->d.rel);
        h->d.rel = t->fx == FX_BIT_PERSIST ? rel_encode(t->r) : NULL;
        go_on(s, t, rnd(s, 4));
        return;
    }
    finish(h, NULL);
}

static void job_doc(struct sim *s, struct task *t)
{
    struct durable *d = &s->h[t->host].d;
    int i = 0;
    while (i < d->n_jobs && !vr_uuid_eq(&d->jobs[i].id, &t->id))
        i++;
    if (i < d->n_jobs) {
        free(d->jobs[i].text);
        d->jobs[i] = d->jobs[--d->n_jobs];
    }
    if (t->text && d->n_jobs < 64) {
        d->jobs[d->n_jobs++] = (struct jobdoc){ .id = t->id, .text = t->text };
        t->text = NULL;
    }
}

static void env_write_job(void *ctx, const struct vr_uuid *id, const char *text)
{
    struct host *h = ctx;
    struct task *t = later(h->s, store_slot(h), h->no, job_doc);
    t->id = *id;
    t->text = vr_strdup(text);
}

/* ---- hypervisor: the cycle ---- */
static void by_allocation(struct host *h, struct capture *cap)
{
    for (int b = 0; b < BLOCKS; b++)
        cap->dirty[b] = h->hv.allocated[b] || !rot_same(h->hv.disk.b[b], h->d.overlay_base.b[b]);
    h->s->n_allocation++;
}

static void capture_now(struct host *h, const struct rel *r)
{
    struct sim *s = h->s;
    char since[64], name[64];
    rel_checkpoint(&r->acked.lineage, r->acked.epoch, since);
    rel_checkpoint(&r->lineage, r->flow.epoch, name);
    struct checkpoint *c = r->flow.has_since ? cp_find(h, since) : NULL;
    if (!h->hv.has_disk) {
        fail_with(h, EV_CAPTURE_FAILED, VR_E_HV, "no disk");
    } else if (h->away_until > s->now) {
        seen(s, FAULT_HYPERVISOR_AWAY);
        fail_with(h, EV_CAPTURE_FAILED, VR_E_UNAVAIL, "libvirtd does not answer");
    } else if (chance(s, s->faults ? 3 : 0)) {
        seen(s, FAULT_FOREIGN_JOB);
        fail_with(h, EV_CAPTURE_FAILED, VR_E_BUSY, "another job is running");
    } else if (chance(s, s->faults ? 3 : 0)) {
        fail_with(h, EV_CAPTURE_FAILED, VR_E_HV, "hypervisor says no");
    } else if (r->flow.has_since && (!c || (c->inconsistent && !rel_since_failover(r)))) {
        fail_with(h, EV_CAPTURE_FAILED, VR_E_TRACKING, "bitmap is missing or inconsistent");
    } else {
        struct capture *cap = &h->hv.cap;
        *cap = (struct capture){
            .held = true, .live = h->hv.running, .at = h->hv.disk, .when = s->now + s->wall_off
        };
        if (c && c->inconsistent) /* what the overlay holds was written since the failover */
            by_allocation(h, cap);
        else if (c)
            memcpy(cap->dirty, c->dirty, sizeof cap->dirty);
        else
            memset(cap->dirty, 1, sizeof cap->dirty);
        snprintf(cap->name, sizeof cap->name, "%s", name);
        cp_new(h, name);
        cap->oracle = oracle_put(
            s, &(struct vr_point_id){ .lineage = r->lineage, .epoch = r->flow.epoch }, &cap->at);
        cap->frozen = r->flow.app && cap->live && chance(s, 70);
        cap->hung = r->flow.app && cap->live && !cap->frozen;
        s->oracle[cap->oracle].consistent = cap->frozen || !cap->live;
        return;
    }
    h->hv.cap.held = false;
}

static void fx_capture(struct sim *s, struct task *t)
{
    struct host *h = &s->h[t->host];
    if (t->step == 0) {
        capture_now(h, t->r);
        if (h->hv.cap.held)
            go_on(s, t, rnd(s, 20));
        return;
    }
    struct rel_event ev = { .type = EV_CAPTURED,
                            .n_disks = 1,
                            .vm_off = !h->hv.cap.live,
                            .kind = h->hv.cap.frozen ? VR_POINT_APPLICATION : VR_POINT_STANDARD,
                            .instant.us = h->hv.cap.when * 1000 };
    snprintf(ev.disks[0].target, sizeof ev.disks[0].target, "vda");
    ev.disks[0].size = (uint64_t)BLOCKS * VR_BLOCK_SIZE;
    if (h->hv.cap.hung)
        snprintf(ev.note, sizeof ev.note, "the agent does not answer");
    s->n_app += h->hv.cap.frozen;
    s->n_app_failed += h->hv.cap.hung;
    finish(h, &ev);
}

static void fx_end(struct sim *s, struct task *t)
{
    struct host *h = &s->h[t->host];
    struct rel_event ev = { .type = EV_ENDED };
    char name[64];
    rel_checkpoint(&t->r->lineage, t->r->flow.epoch, name);
    if (t->fx == FX_BIT_RETIRE)
        rot_prove(h, t->r);
    if (t->fx == FX_BIT_RETIRE)
        cp_delete_but(h, name);
    else
        cp_delete(h, name);
    h->hv.cap.held = false;
    finish(h, &ev);
}

static void fx_reconcile(struct sim *s, struct task *t)
{
    struct host *h = &s->h[t->host];
    char name[64];
    rel_checkpoint(&t->r->acked.lineage, t->r->acked.epoch, name);
    cp_delete_but(h, t->fx == FX_BIT_RECONCILE && t->r->has_acked ? name : NULL);
    h->hv.cap.held = false;
    finish(h, NULL);
}

/* Some hosts leave a superseded machine running, some stop it. */
bool sim_stops_superseded(const struct sim *s)
{
    return s->seed % 3 == 0;
}

static void fx_policy(struct sim *s, struct task *t)
{
    struct host *h = &s->h[t->host];
    bool heard =
        !s->faults || chance(s, 60); /* a guest that boots does not hear the power button */
    if (sim_stops_superseded(s) && h->away_until <= s->now && heard)
        vm_stop(h, true);
    finish(h, NULL);
}

static void fx_guard(struct sim *s, struct task *t)
{
    struct host *h = &s->h[t->host];
    h->hv.guarded = t->fx == FX_BIT_GUARD;
    finish(h, NULL);
}

/* ---- changes of role ---- */
static void fx_make_replica(struct sim *s, struct task *t)
{
    struct host *h = &s->h[t->host];
    if (t->step == 0) {
        if (h->hv.has_disk && !t->r->seed) {
            fail_with(h, EV_CREATE_FAILED, VR_E_EXISTS, "a machine of that UUID is here");
            return;
        }
        if (chance(s, s->faults ? 5 : 0)) {
            fail_with(h, EV_CREATE_FAILED, VR_E_NOSPACE, "no space");
            return;
        }
        h->d.chain = true;
        go_on(s, t, rnd(s, 20));
        return;
    }
    struct rel_event ev = { .type = EV_CREATED };
    finish(h, &ev);
}

static void fx_failover(struct sim *s, struct task *t)
{
    struct host *h = &s->h[t->host];
    const struct rel *r = t->r;
    struct vr_err err = VR_ERR_INIT;
    /* Chosen once: what is found later does not change it. */
    struct point *p = t->step ? point_find(h, &h->d.overlay_on) : rot_choose(h, r, &err);
    if (!p || chance(s, s->faults && t->step == 0 ? 5 : 0)) {
        h->hv.has_disk = h->d.failed_over = false; /* nothing half made is left */
        fail_with(h, EV_FAILOVER_FAILED, VR_E_NOTFOUND, "no such point");
        return;
    }
    if (t->step == 0) {
        if (h->hv.running)
            violated(s, "%s: overlays are made under a running machine", h->name);
        struct vr_point_id first = { .lineage = r->next_lineage };
        if (!h->d.failed_over || !vr_uuid_eq(&h->d.overlay_lineage, &r->next_lineage)) {
            char name[64];
            rel_checkpoint(&r->next_lineage, 0, name);
            h->hv.disk = p->d;
            cp_delete_but(h, NULL);
            cp_new(h, name);
            h->d.failed_over = true;
            h->d.overlay_lineage = r->next_lineage;
            h->d.overlay_on = p->id;
            h->d.overlay_base = p->told;
            memset(h->hv.allocated, 0, sizeof h->hv.allocated);
            struct disk truth = s->oracle[p->oracle].d; /* which may move */
            oracle_put(s, &first, &truth);
        }
        h->hv.has_disk = true;
        go_on(s, t, rnd(s, 30));
        return;
    }
    struct rel_event ev = { .type = EV_FAILED_OVER, .point = p->id, .kind = p->kind };
    s->n_failover++;
    finish(h, &ev);
}

static void fx_revert(struct sim *s, struct task *t)
{
    struct host *h = &s->h[t->host];
    /* What was dropped before a crash is not asked for again. */
    if (t->step == 0 && h->d.failed_over && (h->hv.running || chance(s, s->faults ? 5 : 0))) {
        fail_with(h, EV_REVERT_FAILED, VR_E_STATE, "machine runs");
        return;
    }
    if (t->step == 0) {
        h->hv.has_disk = h->d.failed_over = false;
        cp_delete_but(h, NULL);
        go_on(s, t, rnd(s, 20));
        return;
    }
    struct rel_event ev = { .type = EV_REVERTED };
    finish(h, &ev);
}

static void fx_become_primary(struct sim *s, struct task *t)
{
    struct host *h = &s->h[t->host];
    if (h->d.failed_over) {
        h->d.failed_over = false;
        points_hide(h, NULL);
        h->d.stage.exists = false;
        s->n_reverse++;
    }
    finish(h, NULL);
}

/* What an old primary wrote that nobody received: known if its bitmap is whole. */
static void yield_divergence(struct host *h, const struct rel *r)
{
    struct vr_point_id of = rel_seed_point(r);
    char name[64];
    if (!r->diverged || vr_point_eq(&h->d.wrote.of, &of))
        return; /* found before a crash; the checkpoint may be gone by now */
    rel_checkpoint(&r->acked.lineage, r->acked.epoch, name);
    struct checkpoint *c = r->has_acked && r->tracked ? cp_find(h, name) : NULL;
    h->d.wrote = (struct divergence){ .known = c && !c->inconsistent, .of = of };
    if (h->d.wrote.known)
        memcpy(h->d.wrote.b, c->dirty, sizeof h->d.wrote.b);
}

/* What the disks hold becomes the first point of a chain; nothing is copied. */
static void yield_store(struct host *h, const struct rel *r)
{
    struct vr_point_id first = rel_seed_point(r);
    struct point *p = point_newest(h);
    if (p && vr_point_eq(&p->id, &first))
        return;
    if (!h->hv.has_disk)
        violated(h->s, "%s yields without a disk", h->name);
    struct point n = { .id = first, .d = h->hv.disk, .instant.us = h->s->now * 1000 };
    n.kind = rel_yield_kind(r);
    h->s->n_orphan += r->diverged;
    rot_fresh(h->s, &n);
    memset(h->d.wanted, 0, sizeof h->d.wanted);
    n.oracle = oracle_put(h->s, &first, &h->hv.disk);
    points_return(h);
    h->d.stage.exists = false;
    h->d.chain = true;
    point_add(h, &n);
    if (r->diverged)
        orphan_made(h, &first);
}

/* After a planned failover: do the disks still hold the last point? */
static bool is_altered(struct host *h, const struct rel *r)
{
    char name[64];
    rel_checkpoint(&r->acked.lineage, r->acked.epoch, name);
    struct checkpoint *c = cp_find(h, name);
    bool altered = !c || c->inconsistent;
    for (int b = 0; b < BLOCKS && !altered; b++)
        altered = c->dirty[b];
    return altered;
}

/* An attempt before a crash has made the chain a replica's; it is a primary's again. */
static void unyield(struct host *h, const struct rel *r)
{
    struct vr_point_id first = rel_seed_point(r);
    points_hide(h, &first);
    orphan_unmade(h, &first);
}

static void fx_yield(struct sim *s, struct task *t)
{
    struct host *h = &s->h[t->host];
    if (t->step == 0 && h->hv.running) {
        fail_with(h, EV_YIELD_FAILED, VR_E_STATE, "machine runs");
        return;
    }
    if (t->step == 0 && h->hv.has_disk && chance(s, s->faults ? 10 : 0)) {
        unyield(h, t->r); /* a failure undoes what was made */
        fail_with(h, EV_YIELD_FAILED, VR_E_NOSPACE, "no space");
        return;
    }
    if (t->step == 0 && h->hv.has_disk && !t->r->seed && is_altered(h, t->r)) {
        struct rel_event ev = { .type = EV_YIELD_ALTERED };
        unyield(h, t->r);
        finish(h, &ev);
        return;
    }
    if (t->step == 0) {
        yield_divergence(h, t->r);
        go_on(s, t, rnd(s, 20));
    } else if (t->step == 1) {
        yield_store(h, t->r);
        go_on(s, t, rnd(s, 20));
    } else if (t->step == 2) {
        cp_delete_but(h, NULL);
        h->hv.cap.held = false;
        h->hv.has_disk = false;
        go_on(s, t, rnd(s, 20));
    } else {
        struct rel_event ev = { .type = EV_YIELDED };
        finish(h, &ev);
    }
}

static void fx_remove(struct sim *s, struct task *t)
{
    struct host *h = &s->h[t->host];
    if (t->step == 0 && !h->hv.has_disk && h->d.n_points && !t->r->abandon && s->faults &&
        chance(s, 30)) {
        struct rel_event no = { .type = EV_REMOVE_FAILED };
        vr_fail(&no.err, VR_E_NOSPACE, 0, "no room for the machine's disks");
        seen(s, FAULT_FULL_IN_REMOVE);
        finish(h, &no);
        return;
    }
    if (t->step == 0) {
        cp_delete_but(h, NULL);
        h->hv.cap.held = false;
        h->d.stage.exists = false;
        if (!h->hv.has_disk && h->d.n_points && !t->r->abandon) {
            h->hv.disk = point_newest(h)->d;
            h->hv.has_disk = true;
        }
        points_forget(h);
        h->d.chain = h->d.failed_over = false;
        h->left = rel_story_left(t->r);
        go_on(s, t, rnd(s, 20));
        return;
    }
    h->hv.guarded = false;
    struct rel_event ev = { .type = EV_REMOVED };
    finish(h, &ev);
}

/* Merges one point at a time; ends when there is nothing to do or the host has another role. */
static void fx_retention(struct sim *s, struct task *t)
{
    struct host *h = &s->h[t->host];
    h->merging = false;
    int i = rel_of(h)->st == ST_R_FAILING ? -1 : point_expired(h);
    if (i < 0)
        return;
    if (s->faults && chance(s, 2))
        h->full_until = s->now + rnd(s, 4000);
    if (h->full_until > s->now) { /* nothing changes; tried again after the next point */
        seen(s, FAULT_FULL_IN_MERGE);
        return;
    }
    memmove(&h->d.points[i], &h->d.points[i + 1],
            (size_t)(h->d.n_points - i - 1) * sizeof h->d.points[0]);
    h->d.n_points--;
    h->merging = true;
    go_on(s, t, 5 + rnd(s, 500));
}

/* ---- the environment ---- */
static void nothing(struct sim *s, struct task *t)
{
    finish(&s->h[t->host], NULL);
}

static void (*effect_of(enum rel_fx_bit fx))(struct sim *, struct task *)
{
    switch (fx) {
    case FX_BIT_PERSIST:
    case FX_BIT_FORGET:
        return fx_document;
    case FX_BIT_MAKE_REPLICA:
        return fx_make_replica;
    case FX_BIT_CAPTURE:
        return fx_capture;
    case FX_BIT_RETIRE:
    case FX_BIT_DROP:
        return fx_end;
    case FX_BIT_GUARD:
    case FX_BIT_UNGUARD:
        return fx_guard;
    case FX_BIT_POLICY:
        return fx_policy;
    case FX_BIT_FAILOVER:
        return fx_failover;
    case FX_BIT_REVERT:
        return fx_revert;
    case FX_BIT_BECOME_PRIMARY:
        return fx_become_primary;
    case FX_BIT_YIELD:
        return fx_yield;
    case FX_BIT_CLEAN_TRACKING:
    case FX_BIT_RECONCILE:
        return fx_reconcile;
    case FX_BIT_REMOVE:
        return fx_remove;
    case FX_BIT_RETENTION:
        return fx_retention;
    default:
        return nothing;
    }
}

static void env_run(void *ctx, const struct rel *r, enum rel_fx_bit fx)
{
    struct host *h = ctx;
    struct sim *s = h->s;
    tell(s, "%s: %s (%s)", h->name, rel_fx_name(fx), rel_state_name(r->st));
    if (fx == FX_BIT_FAILOVER && rel_of(other(h))->st == ST_P_RESYNC)
        seen(s, FAULT_FAILOVER_IN_RESYNC);
    if (fx == FX_BIT_YIELD && (r->yield_from == ST_P_RESYNC || r->yield_from == ST_P_RESYNC_WAIT ||
                               r->yield_from == ST_P_RESYNC_SUSP))
        seen(s, FAULT_REVERSE_IN_RESYNC);
    if (fx == FX_BIT_REVERSE_CALL && h->merging)
        seen(s, FAULT_REVERSE_IN_MERGE);
    fault_soon(h);
    user_soon(h);
    switch (fx) {
    case FX_BIT_CANCEL_FLOW:
        if (h->tx)
            h->tx->tx_cancel = true;
        return;
    case FX_BIT_CANCEL_RX:
        if (!h->rx && r->rx_active)
            violated(s, "%s: the engine believes in a transfer that is not there", h->name);
        if (h->rx)
            h->rx->rx_cancel = true;
        return;
    case FX_BIT_SHIP:
        net_ship(h, r);
        return;
    case FX_BIT_PROBE:
    case FX_BIT_PUSH_SETTINGS:
        net_call(h, r, fx);
        return;
    case FX_BIT_CREATE_AT_PEER:
    case FX_BIT_REVERSE_CALL:
        h->effects++;
        h->running_fx = fx;
        net_call(h, r, fx);
        return;
    case FX_BIT_RETENTION:
        break;
    default:
        h->effects++;
    }
    if (fx != FX_BIT_RETENTION)
        h->running_fx = fx;
    if (h->effects > 1)
        violated(s, "%s: effects of one machine side by side", h->name);
    bool doc = fx == FX_BIT_PERSIST || fx == FX_BIT_FORGET;
    struct task *t = later(s, doc ? store_slot(h) : 1 + rnd(s, 30), h->no, effect_of(fx));
    t->fx = fx;
    t->r = vr_new(struct rel);
    *t->r = *r;
}

static struct mono_ms env_mono(void *ctx)
{
    return (struct mono_ms){ ((struct host *)ctx)->s->now };
}

static struct wall_us env_wall(void *ctx)
{
    const struct sim *s = ((struct host *)ctx)->s;
    return (struct wall_us){ (s->now + s->wall_off) * 1000 };
}

static void env_random(void *ctx, void *p, size_t n)
{
    struct host *h = ctx;
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)p)[i] = (uint8_t)rnd(h->s, 256);
}

static void env_changed(void *ctx, const struct rel *before, const struct rel *after,
                        const struct job *job)
{
    struct host *h = ctx;
    if (job) {
        if (job_over(job)) {
            tell(h->s, "%s: job \"%s\" ends as %d: %s", h->name, job_caption(job->type),
                 (int)job->state, job->err.msg);
            check_sync_job(h, job);
        }
        return;
    }
    if (before->st != after->st)
        tell(h->s, "%s: %s -> %s %s", h->name, rel_state_name(before->st),
             rel_state_name(after->st), after->last_err.msg);
    if (before->st != after->st && after->st == ST_P_RESYNC)
        h->s->n_resync++;
    if (before->st != after->st && after->st == ST_P_SUPERSEDED)
        h->s->n_superseded++;
    if (!before->queued && after->queued)
        h->s->n_queued++;
    if (before->st == ST_P_YIELDING && after->st == ST_R_WAIT)
        h->s->n_seed++;
}

struct engine_env host_env(struct host *h)
{
    return (struct engine_env){ .ctx = h,
                                .mono = env_mono,
                                .wall = env_wall,
                                .random = env_random,
                                .run = env_run,
                                .write_job = env_write_job,
                                .changed = env_changed };
}
