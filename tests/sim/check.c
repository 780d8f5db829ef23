/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The promises (docs/architecture.md "Promises"), checked after every step and once more when the
 * faults have stopped. */
#include "sim.h"

#include <inttypes.h>
#include <string.h>

static bool is_replica(enum rel_state st)
{
    return st == ST_R_WAIT || st == ST_R_IR_SUSP || st == ST_R_IR_CRIT ||
           rel_follows(&(struct rel){ .st = st });
}

static bool is_over(enum rel_state st)
{
    return st == ST_R_RECOVERED || st == ST_R_COMMITTED || st == ST_R_REVERSING ||
           st == ST_R_REVERSE_WAIT;
}

/* Promise 1: what is listed is what was captured, and stays so. */
static void check_points(struct host *h)
{
    for (int i = 0; i < h->d.n_points; i++) {
        const struct point *p = &h->d.points[i];
        const struct oracle *o = &h->s->oracle[p->oracle];
        if (!vr_point_eq(&p->id, &o->id) || !rot_same_disk(&p->d, &o->d))
            violated(h->s, "%s lists point %" PRIu64 " and it is not what was captured", h->name,
                     p->id.epoch);
        if (p->kind == VR_POINT_APPLICATION && !o->consistent)
            violated(h->s, "%s calls point %" PRIu64 " application-consistent and it is not",
                     h->name, p->id.epoch);
    }
}

/* Promise 4: who is not the owner does not run. */
static void check_power(struct sim *s)
{
    for (int i = 0; i < HOSTS; i++) {
        struct host *h = &s->h[i];
        enum rel_state st = rel_of(h)->st;
        if (h->up && h->hv.running && (st == ST_P_PREPARED || is_replica(st)))
            violated(s, "%s runs the machine in state %s", h->name, rel_state_name(st));
    }
    if (s->h[0].hv.running && s->h[1].hv.running && !s->split)
        violated(s, "both hosts run the machine and nobody was told");
}

/* A planned failover loses nothing. */
static void check_planned(struct sim *s)
{
    for (int i = 0; i < HOSTS; i++) {
        struct host *p = &s->h[i], *q = other(p);
        const struct rel *a = rel_of(p), *b = rel_of(q);
        /* Not by the state: a cancellation that was not written down is as if it had not been. */
        if (p->edited && p->up && !vr_point_eq(&a->acked, &p->edited_of))
            p->edited = false;
        if (a->st != ST_P_PREPARED || !p->up || !q->up || p->edited)
            continue;
        int o = oracle_find(s, &a->acked);
        if (!rot_same_disk(&s->oracle[o].d, &p->hv.disk))
            violated(s, "%s is prepared and its disk differs from the last point", p->name);
        (void)b;
    }
}

/* Nothing acknowledged is lost: the replica still has the acknowledged point or a newer one. */
static void check_acked(struct sim *s)
{
    for (int i = 0; i < HOSTS; i++) {
        struct host *p = &s->h[i], *q = other(p);
        const struct rel *a = rel_of(p), *b = rel_of(q);
        if (!p->up || !q->up || rel_mode(a) != REL_MODE_PRIMARY || !a->has_acked ||
            !rel_follows(b) || !vr_uuid_eq(&a->lineage, &b->lineage) ||
            !vr_uuid_eq(&a->acked.lineage, &b->lineage))
            continue;
        struct point *n = point_newest(q);
        if (!n || !vr_uuid_eq(&n->id.lineage, &a->lineage) || n->id.epoch < a->acked.epoch)
            violated(s, "%s acknowledged point %" PRIu64 " and lost it", q->name, a->acked.epoch);
    }
}

/* A relationship that people did not take apart has somebody who owns the machine. */
static void check_owner(struct sim *s)
{
    const struct rel *a = rel_of(&s->h[0]), *b = rel_of(&s->h[1]);
    if (rel_follows(a) && rel_follows(b))
        violated(s, "both hosts are replicas of each other");
}

/* A primary knows where it sends. */
static void check_partner(struct host *h)
{
    const struct rel *r = rel_of(h);
    if (!h->up || rel_mode(r) != REL_MODE_PRIMARY || r->st == ST_P_YIELDING)
        return;
    if (strcmp(r->peer, other(h)->name) != 0 || strcmp(r->set.recovery_point, r->peer) != 0)
        violated(h->s, "%s in state %s sends to '%s', its settings say '%s'", h->name,
                 rel_state_name(r->st), r->peer, r->set.recovery_point);
}

void check_all(struct sim *s)
{
    for (int i = 0; i < HOSTS; i++)
        check_partner(&s->h[i]);
    for (int i = 0; i < HOSTS; i++)
        check_points(&s->h[i]);
    for (int i = 0; i < HOSTS; i++)
        check_orphans(&s->h[i]);
    for (int i = 0; i < HOSTS; i++)
        check_rot(&s->h[i]);
    check_power(s);
    check_planned(s);
    check_acked(s);
    check_owner(s);
    if (s->split && !s->h[0].hv.running + !s->h[1].hv.running) {
        /* Over when one side receives from the other again. */
        for (int i = 0; i < HOSTS; i++)
            if (rel_of(&s->h[i])->st == ST_P_REPL && rel_of(other(&s->h[i]))->st == ST_R_REPL)
                s->split = false;
    }
}

void check_sync_job(struct host *h, const struct job *j)
{
    const struct rel *r = rel_of(h);
    if (!h->s->jumps && j->waits_for_cycle && j->state == JOB_COMPLETED &&
        rel_mode(r) == REL_MODE_PRIMARY && r->newest_instant.us < j->submitted.us)
        violated(h->s, "%s: sync is done but what was written before it was not sent", h->name);
}

/* ---- when the world is quiet ---- */
static void check_jobs(struct host *h)
{
    enum rel_state st = rel_of(h)->st;
    bool waits = st == ST_P_RESYNC_WAIT || st == ST_P_READY || st == ST_P_IR_SUSP ||
                 st == ST_P_RESYNC_SUSP || st == ST_P_IR || st == ST_P_RESYNC;
    for (size_t i = 0;; i++) {
        const struct job *j = engine_job_at(h->e, i);
        if (!j)
            return;
        bool start = j->type == JOB_START_IR || j->type == JOB_RESYNC;
        bool update = st == ST_P_UPDATE && j->type == JOB_UPDATE_DISKS;
        bool queued = st == ST_R_REVERSE_WAIT && j->type == JOB_REVERSE;
        if (!job_over(j) && !(waits && start) && !update && !queued && !j->waits_for_cycle)
            violated(h->s, "%s: job \"%s\" never ends", h->name, job_caption(j->type));
        if (!job_over(j) && j->waits_for_cycle && st != ST_P_IR && st != ST_P_REPL &&
            st != ST_P_RESYNC && st != ST_P_UPDATE)
            violated(h->s, "%s: a sync waits for a cycle that will not come", h->name);
    }
}

static void check_state_rests(struct host *h)
{
    switch (rel_of(h)->st) {
    case ST_P_CREATING:
    case ST_R_CREATING:
    case ST_P_PREPARING:
    case ST_P_YIELDING:
    case ST_R_FAILING:
    case ST_R_REVERTING:
    case ST_R_REVERSING:
    case ST_P_REMOVING:
    case ST_R_REMOVING:
        violated(h->s, "%s is stuck in state %s", h->name, rel_state_name(rel_of(h)->st));
    default:
        break;
    }
    if (!engine_idle(h->e) || h->effects)
        violated(h->s, "%s: effects never end", h->name);
    if (rel_mode(rel_of(h)) == REL_MODE_PRIMARY && h->d.n_points)
        violated(h->s, "%s is a primary and lists recovery points", h->name);
    if (rel_mode(rel_of(h)) == REL_MODE_REPLICA && h->d.n_kept)
        violated(h->s, "%s is a replica and does not list its orphan points", h->name);
    bool locked = rel_mode(rel_of(h)) == REL_MODE_REPLICA && !is_over(rel_of(h)->st);
    locked |= rel_of(h)->st == ST_P_PREPARED;
    locked |= rel_of(h)->st == ST_P_SUPERSEDED && !rel_of(h)->start_allowed;
    if (rel_of(h)->st == ST_P_REMOVE_CRIT) /* as it was before */
        return;
    locked &= rel_of(h)->st != ST_R_REMOVE_CRIT || rel_of(h)->failover_kind == VR_POINT_NONE;
    if (rel_of(h)->st == ST_P_SUPERSEDED && locked && h->hv.running && sim_stops_superseded(h->s))
        violated(h->s, "%s is superseded and its machine runs on, against the policy", h->name);
    if (h->hv.guarded != locked)
        violated(h->s, "%s in state %s is %s", h->name, rel_state_name(rel_of(h)->st),
                 locked ? "not guarded" : "guarded for ever");
}

/* Both hosts are there and have had time: who is superseded knows it, and what waited for nothing
 * but the other host waits no more. */
static void check_told(struct host *h)
{
    struct host *o = other(h);
    const struct rel *r = rel_of(h), *there = rel_of(o);
    if (!is_over(r->st) || strcmp(r->peer, o->name) != 0 || strcmp(there->peer, h->name) != 0)
        return;
    bool same = rel_mode(there) == REL_MODE_PRIMARY && vr_uuid_eq(&there->lineage, &r->lineage);
    if (same && there->st != ST_P_SUPERSEDED && there->st != ST_P_PREPARED)
        violated(h->s, "%s was failed over and %s is in state %s", h->name, o->name,
                 rel_state_name(there->st));
    if (r->st == ST_R_REVERSE_WAIT && !o->hv.running && (there->st == ST_P_SUPERSEDED || !same))
        violated(h->s, "%s waits to reverse and %s is there", h->name, o->name);
}

/* What a user has set on the primary holds on the replica, however long that was away and in
 * whatever order it was told. */
static void check_settings(struct host *p)
{
    const struct rel *a = rel_of(p), *b = rel_of(other(p));
    if (rel_mode(a) != REL_MODE_PRIMARY || !is_replica(b->st) || strcmp(b->peer, p->name) != 0 ||
        !vr_uuid_eq(&a->lineage, &b->lineage))
        return;
    if (a->set.interval_s != b->set.interval_s ||
        a->set.recovery_history != b->set.recovery_history)
        violated(p->s, "%s keeps %u points every %u s and %s was told %u every %u s", p->name,
                 a->set.recovery_history, a->set.interval_s, other(p)->name,
                 b->set.recovery_history, b->set.interval_s);
}

void check_settled(struct sim *s, const uint64_t acked_before[HOSTS])
{
    for (int i = 0; i < HOSTS; i++) {
        check_told(&s->h[i]);
        check_settings(&s->h[i]);
        check_rot_settled(&s->h[i]);
    }
    for (int i = 0; i < HOSTS; i++) {
        struct host *p = &s->h[i], *q = other(p);
        const struct rel *a = rel_of(p), *b = rel_of(q);
        check_jobs(p);
        check_state_rests(p);
        bool runs =
            a->st == ST_P_IR || a->st == ST_P_REPL || a->st == ST_P_RESYNC ||
            a->st == ST_P_UPDATE ||
            (a->st == ST_P_RESYNC_WAIT && a->set.auto_resync && !a->resync_held && !a->start_at.us);
        bool hears = b->st == ST_R_WAIT || b->st == ST_R_REPL || b->st == ST_R_RESYNC ||
                     b->st == ST_R_UPDATE || b->st == ST_R_CRIT || b->st == ST_R_IR_CRIT;
        bool heard = hears && !strcmp(b->peer, p->name) && vr_uuid_eq(&a->lineage, &b->lineage);
        if (!runs || !heard)
            continue;
        if (a->st != ST_P_REPL || a->acked.epoch <= acked_before[i])
            violated(s, "%s does not converge: %s, acknowledged %" PRIu64 " (before: %" PRIu64 ")",
                     p->name, rel_state_name(a->st), a->acked.epoch, acked_before[i]);
    }
}
