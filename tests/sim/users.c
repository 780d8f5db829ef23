/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What people do, in any order and on both hosts, and what goes wrong around them. */
#include "sim.h"

#include <stdio.h>
#include <string.h>

/* ---- operations ---- */
enum op {
#define OPS(O)        \
    O(CREATE)         \
    O(START_IR)       \
    O(CANCEL_IR)      \
    O(PAUSE)          \
    O(RESUME)         \
    O(PREPARE)        \
    O(FAILOVER)       \
    O(REVERT)         \
    O(COMMIT)         \
    O(REVERSE)        \
    O(BECOME_REPLICA) \
    O(RESYNC)         \
    O(CANCEL_RESYNC)  \
    O(MODIFY) O(REMOVE) O(SYNC) O(WITHDRAW) O(ALLOW_START) O(RETRY_UPDATE) O(ABANDON)
#define O(n) OP_##n,
    OPS(O)
#undef O
        OP_VM_START,
    OP_VM_STOP,
    OP_VM_KILL,
    OP_UNDEFINE,
    OP_DISCARD,
    OP_COUNT
};

static const struct {
    enum rel_event_type ev;
    enum job_type job;
} ops[] = {
    [OP_CREATE] = { EV_U_CREATE, JOB_CREATE },
    [OP_START_IR] = { EV_U_START_IR, JOB_START_IR },
    [OP_CANCEL_IR] = { EV_U_CANCEL_IR, JOB_STATE_CHANGE },
    [OP_PAUSE] = { EV_U_PAUSE, JOB_STATE_CHANGE },
    [OP_RESUME] = { EV_U_RESUME, JOB_STATE_CHANGE },
    [OP_PREPARE] = { EV_U_PREPARE, JOB_PREPARE },
    [OP_FAILOVER] = { EV_U_FAILOVER, JOB_FAILOVER },
    [OP_REVERT] = { EV_U_REVERT, JOB_REVERT },
    [OP_COMMIT] = { EV_U_COMMIT, JOB_COMMIT },
    [OP_REVERSE] = { EV_U_REVERSE, JOB_REVERSE },
    [OP_BECOME_REPLICA] = { EV_U_BECOME_REPLICA, JOB_STATE_CHANGE },
    [OP_RESYNC] = { EV_U_RESYNC, JOB_RESYNC },
    [OP_CANCEL_RESYNC] = { EV_U_CANCEL_RESYNC, JOB_STATE_CHANGE },
    [OP_MODIFY] = { EV_U_MODIFY, JOB_MODIFY },
    [OP_RETRY_UPDATE] = { EV_U_RETRY_UPDATE, JOB_STATE_CHANGE },
    [OP_REMOVE] = { EV_U_REMOVE, JOB_REMOVE },
    [OP_ABANDON] = { EV_U_ABANDON, JOB_REMOVE },
    [OP_WITHDRAW] = { EV_U_WITHDRAW, JOB_STATE_CHANGE },
    [OP_ALLOW_START] = { EV_U_ALLOW_START, JOB_STATE_CHANGE },
    [OP_SYNC] = { EV_U_SYNC, JOB_SEND_DELTA },
};

static void fill(struct host *h, struct rel_event *ev)
{
    struct sim *s = h->s;
    const struct rel *r = rel_of(h);
    ev->set = r->set;
    ev->set.auth_type = 2;
    ev->set.auto_resync = chance(s, 80);
    if (chance(s, 30)) { /* a daily window, often one that is not now */
        ev->set.resync_start_s = rnd(s, 10800);
        ev->set.resync_end_s = ev->set.resync_start_s + rnd(s, 600);
    }
    ev->set.interval_s = 5 + rnd(s, 20);
    ev->set.recovery_history = (uint16_t)(1 + rnd(s, 24));
    ev->set.app_interval_s = chance(s, 50) ? 10 + rnd(s, 60) : 0;
    ev->app = ev->type == EV_U_SYNC && chance(s, 30);
    ev->set.recovery_port = 4433;
    snprintf(ev->set.recovery_point, sizeof ev->set.recovery_point, "%s", other(h)->name);
    snprintf(ev->peer, sizeof ev->peer, "%s", other(h)->name);
    snprintf(ev->name, sizeof ev->name, "vm");
    ev->n_disks = 1;
    snprintf(ev->disks[0].target, sizeof ev->disks[0].target, "vda");
    ev->disks[0].size = (uint64_t)BLOCKS * VR_BLOCK_SIZE;
    if (ev->type == EV_U_MODIFY && chance(s, 50)) { /* added; the others take it out again */
        ev->n_disks = 2;
        snprintf(ev->disks[1].target, sizeof ev->disks[1].target, "vdb");
        ev->disks[1].size = VR_BLOCK_SIZE;
    }
    ev->lineage = rnd_uuid(s);
    ev->vm_off = !h->hv.running;
    if (ev->type == EV_U_START_IR) {
        ev->seeded = chance(s, 30);
        if (chance(s, 20))
            ev->start_at.us = (s->now + s->wall_off + rnd(s, 60000)) * 1000;
    }
    if (ev->type == EV_U_RESYNC && chance(s, 30))
        ev->start_at.us = (s->now + s->wall_off + rnd(s, 60000)) * 1000;
    if (ev->type == EV_U_FAILOVER) {
        ev->latest = !h->d.n_points || chance(s, r->seed ? 20 : 70);
        if (!ev->latest)
            ev->point = h->d.points[rnd(s, (uint32_t)h->d.n_points)].id;
    }
}

/* Two machines may run from now on only if a user did something that Hyper-V calls a split brain:
 * an unplanned failover, the old primary let go while the other side is failed over, removal. */
static void note_split(struct host *h, enum op op)
{
    struct sim *s = h->s;
    enum rel_state there = rel_of(other(h))->st;
    bool other_over = there == ST_R_FAILING || there == ST_R_RECOVERED || there == ST_R_COMMITTED ||
                      there == ST_R_REVERSING || there == ST_R_REVERTING ||
                      there == ST_R_REVERSE_WAIT;
    if (op == OP_FAILOVER && there != ST_P_PREPARED)
        s->split = true;
    if (op == OP_REVERT && (other_over || !other(h)->up))
        s->split = true;
    if (op == OP_REMOVE) {
        s->split = true;
        s->removed_once = true;
    }
    if (op == OP_BECOME_REPLICA)
        s->split = true;
}

static void request(struct host *h, enum op op)
{
    struct sim *s = h->s;
    struct rel_event ev = { .type = ops[op].ev };
    struct vr_err err = VR_ERR_INIT;
    struct vr_uuid job;
    fill(h, &ev);
    if ((op == OP_CREATE || op == OP_BECOME_REPLICA) && !h->hv.has_disk)
        return; /* there is no such machine here */
    bool other_lost = !other(h)->up;
    int rc = engine_request(h->e, &s->machine, &ev, ops[op].job, "user", &job, &err);
    tell(s, "%s: user: %s -> %s", h->name, rel_event_text(ops[op].ev), rc < 0 ? err.msg : "ok");
    s->n_ops++;
    if (rc < 0)
        s->n_refused++;
    else
        note_split(h, op);
    if (rc == 0 &&
        (op == OP_RESYNC || op == OP_REMOVE || op == OP_BECOME_REPLICA || op == OP_CREATE))
        h->may_compare = other(h)->may_compare = true;
    (void)other_lost;
}

static void undefine(struct host *h)
{
    if (!h->up || rel_of(h)->st != ST_NONE || !h->hv.has_disk || h->hv.running ||
        !other(h)->hv.has_disk || h->effects)
        return;
    h->hv.has_disk = h->hv.guarded = false;
    tell(h->s, "%s: user: machine deleted", h->name);
}

static void act(struct host *h, enum op op)
{
    switch (op) {
    case OP_VM_START:
        vm_start(h);
        break;
    case OP_VM_STOP:
        vm_stop(h, true);
        break;
    case OP_VM_KILL:
        if (h->s->faults)
            vm_stop(h, false);
        break;
    case OP_UNDEFINE:
        undefine(h);
        break;
    case OP_DISCARD:
        if (h->up)
            point_discard(h);
        break;
    default:
        if (h->up)
            request(h, op);
    }
}

/* What a sensible person does in a state; the others do anything. */
static enum op sensible(struct host *h)
{
    struct sim *s = h->s;
    const struct rel *r = rel_of(h);
    enum rel_state there = rel_of(other(h))->st;
    switch (r->st) {
    case ST_NONE:
        if (there == ST_NONE)
            return h->hv.has_disk
                       ? (other(h)->hv.has_disk ? (chance(s, 50) ? OP_UNDEFINE : OP_BECOME_REPLICA)
                                                : OP_CREATE)
                       : OP_SYNC;
        if (there == ST_R_WAIT)
            return OP_CREATE;
        return h->hv.has_disk && there == ST_R_COMMITTED ? OP_BECOME_REPLICA : OP_UNDEFINE;
    case ST_P_READY:
        return OP_START_IR;
    case ST_P_IR_SUSP:
    case ST_P_IR_CRIT:
    case ST_P_RESYNC_SUSP:
    case ST_P_RESYNC_WAIT:
    case ST_R_SUSP:
    case ST_R_IR_SUSP:
    case ST_R_IR_CRIT:
    case ST_R_RESYNC_SUSP:
        return OP_RESUME;
    case ST_R_CRIT:
        return chance(s, 50) ? OP_RESUME : OP_FAILOVER;
    case ST_P_REMOVE_CRIT:
    case ST_R_REMOVE_CRIT:
        return chance(s, 20) ? OP_ABANDON : OP_REMOVE;
    case ST_P_UPDATE_CRIT:
        return chance(s, 50) ? OP_RESUME : OP_RETRY_UPDATE;
    case ST_R_RESYNC:
        return chance(s, 50) ? OP_PAUSE : chance(s, 20) ? OP_RESUME : OP_SYNC;
    case ST_P_SUSP:
    case ST_P_CRIT:
        if (there == ST_R_COMMITTED || there == ST_R_RECOVERED)
            return h->hv.running ? OP_VM_STOP : OP_BECOME_REPLICA;
        return there == ST_NONE ? OP_REMOVE : OP_RESUME;
    case ST_P_REPL:
        if (there == ST_R_COMMITTED || there == ST_R_RECOVERED)
            return h->hv.running ? OP_VM_STOP : chance(s, 50) ? OP_BECOME_REPLICA : OP_PREPARE;
        return chance(s, 50) ? (h->hv.running ? OP_VM_STOP : OP_PREPARE) : OP_VM_START;
    case ST_P_SUPERSEDED:
        if (rel_follows(rel_of(other(h))) || chance(s, 5))
            return chance(s, 50) ? OP_RESUME : OP_ALLOW_START;
        if (there == ST_NONE && chance(s, 20)) /* replication was ended there */
            return OP_REMOVE;
        return h->hv.running ? OP_VM_STOP : chance(s, 10) ? OP_BECOME_REPLICA : OP_SYNC;
    case ST_R_REVERSE_WAIT:
        return chance(s, 5) ? OP_WITHDRAW : chance(s, 10) ? OP_REVERSE : OP_SYNC;
    case ST_P_PREPARED:
        return chance(s, 5) ? OP_REVERT : OP_SYNC;
    case ST_R_REPL:
        if (there == ST_P_PREPARED)
            return OP_FAILOVER;
        if (there == ST_NONE)
            return chance(s, 50) ? OP_FAILOVER : OP_REMOVE;
        return chance(s, 5) ? OP_FAILOVER : chance(s, 10) ? OP_DISCARD : OP_SYNC;
    case ST_R_RECOVERED:
    case ST_R_COMMITTED:
        if (!h->hv.running && chance(s, 40))
            return OP_VM_START;
        if (chance(s, 10))
            return r->st == ST_R_COMMITTED ? OP_REMOVE : chance(s, 50) ? OP_REVERT : OP_COMMIT;
        return OP_REVERSE;
    case ST_R_WAIT:
        if (r->seed && chance(s, other(h)->up ? 2 : 30)) /* its own points are what is left */
            return OP_FAILOVER;
        return there == ST_NONE && chance(s, 20) ? OP_REMOVE : OP_SYNC;
    default:
        return OP_SYNC;
    }
}

static void user(struct sim *s, struct task *t)
{
    (void)t;
    if (s->users) {
        struct host *h = &s->h[rnd(s, HOSTS)];
        act(h, chance(s, 75) ? sensible(h) : (enum op)rnd(s, OP_COUNT));
    }
    later(s, chance(s, 60) ? rnd(s, 400) : 200 + rnd(s, chance(s, 10) ? 40000 : 4000), -1, user);
}

void users_start(struct sim *s)
{
    later(s, 100, -1, user);
}

static void at_once(struct sim *s, struct task *t)
{
    if (s->users)
        act(t->arg, (enum op)t->step);
}

/* Somebody does something in the middle of what has just begun on @h. */
void user_soon(struct host *h)
{
    struct sim *s = h->s;
    if (!s->users || !chance(s, 3))
        return;
    struct task *t = later(s, rnd(s, 150), -1, at_once);
    t->arg = chance(s, 70) ? h : other(h);
    t->step = chance(s, 30) ? OP_PAUSE : (int)rnd(s, OP_COUNT);
}

/* ---- faults ---- */
static void boot(struct sim *s, struct task *t)
{
    struct host *h = t->arg;
    if (!h->up)
        host_boot(h);
}

static void link_up(struct sim *s, struct task *t)
{
    (void)t;
    s->link = true;
    tell(s, "net: up");
}

static void crash_now(struct sim *s, struct task *t)
{
    struct host *h = t->arg;
    if (!h->up || !s->faults)
        return;
    host_crash(h, t->step);
    later(s, rnd(s, chance(s, 80) ? 3000 : 90000), -1, boot)->arg = h;
}

/* Something goes wrong in the middle of what has just begun on @h. */
void fault_soon(struct host *h)
{
    struct sim *s = h->s;
    if (!s->faults || !chance(s, 2))
        return;
    struct task *t = later(s, rnd(s, 40), -1, crash_now);
    t->arg = h;
    t->step = chance(s, 20);
}

/* By somebody who tidies up. */
static void checkpoint_deleted(struct host *h)
{
    const struct rel *r = rel_of(h);
    char name[64];
    rel_checkpoint(&r->acked.lineage, r->acked.epoch, name);
    if (rel_mode(r) != REL_MODE_PRIMARY || !r->has_acked || !cp_find(h, name))
        return;
    cp_delete(h, name);
    h->may_compare = true;
    h->untracked = r->acked;
    seen(h->s, FAULT_CHECKPOINT_DELETED);
}

/* Started without the guard, or a tool was used on the image; bitmaps take note of both. */
static void disk_edited(struct host *h)
{
    if (!h->up || rel_of(h)->st != ST_P_PREPARED || h->effects || h->hv.cap.held)
        return;
    int b = 1 + (int)rnd(h->s, BLOCKS - 1);
    h->hv.disk.b[b] = ++h->s->next_val;
    h->hv.allocated[b] = true;
    for (int i = 0; i < h->hv.n_cp; i++)
        h->hv.cp[i].dirty[b] = true;
    h->edited = true;
    h->edited_of = rel_of(h)->acked;
    seen(h->s, FAULT_DISK_EDITED);
}

static void fault(struct sim *s, struct task *t)
{
    (void)t;
    struct host *h = &s->h[rnd(s, HOSTS)];
    uint32_t what = rnd(s, 15);
    if (!s->faults) {
        s->slow_until = 0;
        for (int i = 0; i < HOSTS; i++)
            s->h[i].full_until = s->h[i].away_until = 0;
        if (!s->link)
            later(s, 10, -1, link_up);
        for (int i = 0; i < HOSTS; i++)
            if (!s->h[i].up)
                later(s, 10, -1, boot)->arg = &s->h[i];
    } else if (what < 4 && h->up) {
        struct task *c = later(s, 0, -1, crash_now);
        c->arg = h;
        c->step = what == 0;
    } else if (what < 7 && s->link) {
        s->link = false;
        tell(s, "net: down");
        for (struct xfer *x = s->xfers; x; x = x->next)
            if (x->tx || x->rx)
                net_break(s, x);
        later(s, rnd(s, chance(s, 80) ? 5000 : 200000), -1, link_up);
    } else if (what == 8 && s->jumps) {
        int64_t was = s->wall_off;
        s->wall_off = (int64_t)rnd(s, 7200000);
        seen(s, s->wall_off < was ? FAULT_CLOCK_BACK : FAULT_CLOCK_FORWARD);
        tell(s, "the wall clock is set");
    } else if (what == 7) {
        vm_stop(h, false);
    } else if (what == 10) {
        h->full_until = s->now + rnd(s, chance(s, 80) ? 8000 : 100000);
    } else if (what == 11) {
        h->away_until = s->now + rnd(s, 20000);
    } else if (what == 12) {
        s->slow_until = s->now + rnd(s, 30000);
    } else if (what == 13) {
        checkpoint_deleted(h);
    } else if (what == 14) {
        for (int i = 0; i < HOSTS; i++)
            disk_edited(&s->h[i]);
    }
    later(s, s->faults ? 100 + rnd(s, s->fault_ms) : 1000, -1, fault);
}

void faults_start(struct sim *s)
{
    later(s, 5000, -1, fault);
}
