/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The net between the hosts: calls and transfers that are late, lost, cut, or answered into the
 * void. A cut is learnt by the two ends at different times. */
#include "sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { CALL_TIMEOUT_MS = 30000, NOTICE_MS = 20000 };

/* ---- calls ---- */
static enum message message_of(const struct call *c, bool reply)
{
    enum message m = c->fx == FX_BIT_CREATE_AT_PEER ? MSG_CREATE
                     : c->fx == FX_BIT_REVERSE_CALL ? MSG_REVERSE
                     : c->fx == FX_BIT_PROBE        ? MSG_STATUS
                                                    : MSG_SETTINGS;
    return reply ? (enum message)(m + 1) : m;
}

/* D, as the peer told it, and O, what lies between the point failed over to and the newest. */
static bool note_divergence(struct host *h, const struct call *c)
{
    struct point *p = point_find(h, &c->r.failover), *newest = NULL;
    for (int i = 0; i < h->d.n_points; i++)
        if (vr_uuid_eq(&h->d.points[i].id.lineage, &c->r.lineage))
            newest = &h->d.points[i];
    if (!p || !newest)
        return false;
    h->d.extra = c->wrote;
    h->d.extra.of = (struct vr_point_id){ .lineage = c->r.next_lineage };
    for (int b = 0; b < BLOCKS; b++)
        h->d.extra.b[b] |= p->told.b[b] != newest->told.b[b];
    h->s->n_diverged++;
    return true;
}

static void probe_end(struct sim *s, struct call *c, const struct vr_err *err)
{
    struct rel_event ev = { .type = err->kind == VR_OK ? EV_PEER_TOLD : EV_PEER_AWAY,
                            .err = *err,
                            .story = c->story };
    snprintf(ev.peer, sizeof ev.peer, "%s", s->h[c->to].name);
    host_event(&s->h[c->from], &ev);
}

static void call_end(struct sim *s, struct call *c, const struct vr_err *err)
{
    struct host *h = &s->h[c->from];
    if (c->over || !h->up || h->inc != c->from_inc)
        return;
    c->over = true;
    if (c->fx == FX_BIT_PROBE) {
        probe_end(s, c, err);
        return;
    }
    if (c->fx == FX_BIT_PUSH_SETTINGS) {
        engine_settings_told(h->e, &s->machine, c->r.set.rev, c->held,
                             err->kind == VR_OK ? NULL : err);
        return;
    }
    bool create = c->fx == FX_BIT_CREATE_AT_PEER;
    struct rel_event ev = { .type = create ? EV_CREATED : EV_REVERSED, .seeded = c->seeded };
    if (!create && c->diverged && err->kind == VR_OK)
        ev.diverged = note_divergence(h, c);
    if (err->kind != VR_OK) {
        ev.type = create ? EV_CREATE_FAILED : EV_REVERSE_FAILED;
        ev.err = *err;
    }
    finish(h, &ev);
}

static void call_timeout(struct sim *s, struct task *t)
{
    struct vr_err err = VR_ERR_INIT;
    vr_fail(&err, VR_E_TIMEOUT, 0, "no answer");
    call_end(s, t->arg, &err);
}

static void call_answer(struct sim *s, struct task *t)
{
    struct call *c = t->arg;
    if (c->replied)
        message_came(&s->h[c->to], message_of(c, true), c->replied);
    call_end(s, c, &c->err);
}

/* The answer is on its way, or lost. */
static void call_reply(struct sim *s, struct call *c)
{
    enum message m = message_of(c, true);
    if (!s->link || chance(s, s->faults ? 15 : 0)) {
        s->n_lost_answers++;
        troubled(s, m, CUT);
        return;
    }
    bool slow = chance(s, s->faults ? 10 : 0);
    if (slow)
        troubled(s, m, SLOW);
    c->replied = message_sent(&s->h[c->to]);
    later(s, 1 + rnd(s, slow ? 20000 : 60), -1, call_answer)->arg = c;
}

static void call_replied(void *ctx, const struct rel *r, const struct vr_err *err)
{
    struct call *c = ctx;
    struct sim *s = NULL;
    memcpy(&s, c->r.name + 8, sizeof s); /* see net_call() */
    struct host *to = &s->h[c->to];
    if (to->inc != c->to_inc)
        return;
    if (err)
        c->err = *err;
    else
        c->seeded = r->seed, c->held = r->set.rev;
    if (!err && c->fx == FX_BIT_REVERSE_CALL && c->seeded && r->diverged && to->d.wrote.known) {
        c->diverged = true;
        c->wrote = to->d.wrote;
    }
    call_reply(s, c);
}

static struct rel_story story_of(struct host *h)
{
    struct rel_story st = rel_story(rel_of(h));
    if (rel_of(h)->st == ST_NONE && h->left.failed_over)
        st = h->left;
    st.power = h->hv.running ? REL_POWER_ON : REL_POWER_OFF;
    return st;
}

/* Who is asked learns how the other one stood when it asked. */
static void probe_arrive(struct sim *s, struct call *c)
{
    struct host *to = &s->h[c->to];
    struct rel_event ev = { .type = EV_PEER_TOLD, .story = c->story };
    snprintf(ev.peer, sizeof ev.peer, "%s", s->h[c->from].name);
    host_event(to, &ev);
    c->story = story_of(to);
    call_reply(s, c);
}

static void call_arrive(struct sim *s, struct task *t)
{
    struct call *c = t->arg;
    struct host *to = &s->h[c->to];
    bool lost = t->step == 0 && (!s->link || chance(s, s->faults ? 3 : 0));
    if (!to->up || lost) {
        if (lost)
            troubled(s, message_of(c, false), CUT);
        vr_fail(&c->err, VR_E_PEER, 0, "connection refused");
        later(s, rnd(s, 100), -1, call_answer)->arg = c;
        return;
    }
    c->to_inc = to->inc;
    message_came(&s->h[c->from], message_of(c, false), c->sent);
    if (c->fx == FX_BIT_PROBE) {
        probe_arrive(s, c);
        return;
    }
    struct rel_event ev = { .n_disks = c->r.n_disks, .set = c->r.set };
    memcpy(ev.disks, c->r.disks, sizeof ev.disks);
    snprintf(ev.peer, sizeof ev.peer, "%s", s->h[c->from].name);
    snprintf(ev.name, sizeof ev.name, "vm");
    switch (c->fx) {
    case FX_BIT_CREATE_AT_PEER:
        ev.type = EV_PEER_CREATE;
        ev.lineage = c->r.lineage;
        break;
    case FX_BIT_REVERSE_CALL:
        ev.type = EV_PEER_REVERSE;
        ev.lineage = c->r.next_lineage;
        ev.point = c->r.failover;
        ev.newest = c->r.newest;
        ev.vm_off = !to->hv.running;
        break;
    default:
        ev.type = EV_PEER_SETTINGS;
        ev.lineage = c->r.lineage;
    }
    engine_peer_request(to->e, &s->machine, &ev, call_replied, c);
}

void net_call(struct host *h, const struct rel *r, enum rel_fx_bit fx)
{
    struct sim *s = h->s;
    struct call *c = vr_new(struct call);
    c->next = s->calls;
    s->calls = c;
    c->from = h->no;
    c->to = 1 - h->no;
    c->from_inc = h->inc;
    c->fx = fx;
    c->r = *r;
    if (fx == FX_BIT_PROBE)
        c->story = story_of(h);
    /* The reply function gets the call only: the world travels behind the name, which is not used.
     */
    memset(c->r.name, 0, sizeof c->r.name);
    memcpy(c->r.name + 8, &s, sizeof s);
    later(s, CALL_TIMEOUT_MS, h->no, call_timeout)->arg = c;
    bool late = chance(s, s->faults ? 5 : 0);
    if (late)
        seen(s, FAULT_LATE_CALL);
    if (late) /* stays in a queue somewhere, the caller gives up before it arrives */
        tell(s, "net: a call of %s is under way for long", h->name);
    bool slow = !late && chance(s, s->faults ? 5 : 0);
    if (slow)
        troubled(s, message_of(c, false), SLOW);
    c->sent = message_sent(h);
    struct task *t = later(s,
                           late   ? CALL_TIMEOUT_MS + rnd(s, 120000)
                           : slow ? rnd(s, 20000)
                                  : 1 + rnd(s, 60),
                           -1, call_arrive);
    t->arg = c;
    t->step = late;
}

/* ---- transfers: the ends ---- */
static void tx_end(struct sim *s, struct xfer *x, const struct vr_err *err)
{
    struct host *h = &s->h[x->from];
    if (!x->tx)
        return;
    x->tx = false;
    h->tx = NULL;
    struct rel_event ev = { .type = err ? EV_SHIP_FAILED : EV_SHIPPED };
    if (err)
        ev.err = *err;
    char name[64];
    rel_checkpoint(&x->r.lineage, x->r.flow.epoch, name);
    struct checkpoint *c = cp_find(h, name);
    /* From here on there is something to go on from, if nobody asked for a comparison meanwhile. */
    if (!err && c && !c->inconsistent &&
        (x->r.flow.kind == FLOW_RESYNC || rel_of(h)->lost != VR_LOST_ASKED))
        h->may_compare = false;
    ev.moved.payload = (uint64_t)x->shipped * VR_BLOCK_SIZE;
    host_event(h, &ev);
}

static void rx_end(struct sim *s, struct xfer *x, const struct vr_err *err)
{
    struct host *h = &s->h[x->to];
    if (!x->rx)
        return;
    x->rx = false;
    h->rx = NULL;
    struct rel_event ev = { .type = EV_RX_ENDED };
    if (err)
        ev.err = *err;
    host_event(h, &ev);
}

static void notice(struct sim *s, struct task *t)
{
    struct xfer *x = t->arg;
    struct vr_err err = VR_ERR_INIT;
    vr_fail(&err, VR_E_PEER, 0, "connection lost");
    if (t->step == 0)
        tx_end(s, x, &err);
    else if (x->phase < X_COMMIT)
        rx_end(s, x, &err);
}

static const enum message message_in[] = {
    [X_CONNECT] = MSG_TRANSFER, [X_DATA] = MSG_DATA,   [X_GO] = MSG_GO,
    [X_COMMIT] = MSG_RESULT,    [X_TELL] = MSG_RESULT, [X_OVER] = MSG_RESULT
};

void net_break(struct sim *s, struct xfer *x)
{
    if (x->broken)
        return;
    x->broken = true;
    s->n_cuts++;
    troubled(s, message_in[x->phase], CUT);
    static const enum fault cut[] = {
        [X_CONNECT] = FAULT_CUT_CONNECT, [X_DATA] = FAULT_CUT_DATA, [X_GO] = FAULT_CUT_GO,
        [X_COMMIT] = FAULT_CUT_COMMIT,   [X_TELL] = FAULT_CUT_TELL, [X_OVER] = FAULT_CUT_TELL
    };
    seen(s, cut[x->phase]);
    for (int end = 0; end < 2; end++) {
        struct task *t = later(s, rnd(s, chance(s, 70) ? 50 : NOTICE_MS), -1, notice);
        t->arg = x;
        t->step = end;
    }
}

void net_host_down(struct sim *s, int host)
{
    for (struct xfer *x = s->xfers; x; x = x->next) {
        if (!x->tx && !x->rx)
            continue;
        if (x->from == host)
            x->tx = false;
        if (x->to == host)
            x->rx = false;
        if (x->from == host || x->to == host)
            net_break(s, x);
    }
}

/* ---- transfers: the middle ---- */
static uint32_t effective(struct host *to, int b)
{
    struct point *p = point_newest(to);
    if (to->d.stage.exists && to->d.stage.have[b])
        return to->d.stage.val[b];
    return p ? p->told.b[b] : 0;
}

static void stage_open(struct host *to)
{
    struct point *p = point_newest(to);
    bool same = to->d.stage.exists && to->d.stage.has_parent == (p != NULL) &&
                (!p || vr_point_eq(&p->id, &to->d.stage.parent));
    if (same)
        return;
    memset(&to->d.stage, 0, sizeof to->d.stage);
    to->d.stage.exists = true;
    to->d.stage.has_parent = p != NULL;
    if (p)
        to->d.stage.parent = p->id;
}

static void choose_blocks(struct sim *s, struct xfer *x, const struct capture *cap)
{
    struct host *to = &s->h[x->to];
    const struct divergence *extra = &s->h[x->from].d.extra;
    for (int b = 0; b < BLOCKS; b++) {
        bool staged = to->d.stage.have[b];
        bool differs = effective(to, b) != x->at.b[b];
        switch (x->mode) {
        case MODE_ALL:
            x->todo[b] = staged ? differs : x->at.b[b] != 0;
            break;
        case MODE_DIRTY:
            x->todo[b] = staged ? differs : cap->dirty[b] || (x->r.diverged && extra->b[b]);
            break;
        case MODE_COMPARE:
        case MODE_KNOWN:
            x->todo[b] = differs;
        }
        x->doubt[b] = to->d.wanted[b] && !staged;
        x->todo[b] |= x->doubt[b];
    }
}

/* What is not read is told by the tables of what lies below the overlay. */
static void check_known(struct sim *s, const struct xfer *x)
{
    const struct host *h = &s->h[x->from];
    for (int b = 0; b < BLOCKS; b++)
        if (!h->hv.cap.dirty[b] && !rot_same(x->at.b[b], h->d.overlay_base.b[b]))
            violated(s, "%s does not read block %d, which was written since the failover", h->name,
                     b);
}

/* What is shipped must be needed: no full copy where there is something to compare with, no block
 * that did not change since the point that the changes start from. */
static void check_need(struct sim *s, struct xfer *x)
{
    struct host *to = &s->h[x->to];
    if (x->mode == MODE_ALL && to->d.n_points)
        violated(s, "a full copy to a host that has a point");
    s->n_full += x->mode == MODE_ALL;
    s->n_compare += x->mode == MODE_COMPARE;
    s->n_known += x->mode == MODE_KNOWN;
    if (x->mode == MODE_KNOWN)
        check_known(s, x);
    if (x->mode == MODE_COMPARE && x->r.has_acked && !s->h[x->from].may_compare)
        violated(s, "%s reads whole disks although tracking was never lost", s->h[x->from].name);
    int since = oracle_find(s, &x->r.acked);
    for (int b = 0; b < BLOCKS && x->mode == MODE_DIRTY; b++)
        if (x->todo[b] && x->at.b[b] && x->at.b[b] == s->oracle[since].d.b[b] &&
            !to->d.stage.have[b] && !x->doubt[b] && !(x->r.diverged && s->h[x->from].d.extra.b[b]))
            violated(s, "block %d is shipped and did not change since epoch %" PRIu64, b,
                     x->r.acked.epoch);
}

static enum xmode mode_of(const struct rel *r)
{
    if (rel_ships_changes(r))
        return MODE_DIRTY;
    if (r->flow.has_since && rel_since_failover(r))
        return MODE_KNOWN;
    return r->flow.kind == FLOW_IR && !r->seeded_start ? MODE_ALL : MODE_COMPARE;
}

static void fail_both(struct sim *s, struct xfer *x, enum vr_kind k, const char *text)
{
    struct vr_err err = VR_ERR_INIT;
    vr_fail(&err, k, 0, "%s", text);
    tx_end(s, x, &err);
    rx_end(s, x, &err);
}

static bool x_connect(struct sim *s, struct xfer *x)
{
    struct host *from = &s->h[x->from], *to = &s->h[x->to];
    struct vr_err err = VR_ERR_INIT;
    if (!s->link || !to->up) {
        vr_fail(&err, VR_E_PEER, 0, "cannot connect");
        if (!s->link) {
            seen(s, FAULT_CUT_CONNECT);
            troubled(s, MSG_TRANSFER, CUT);
        }
        tx_end(s, x, &err);
        return false;
    }
    struct rel_event ev = { .type = EV_RX_OPEN,
                            .lineage = x->r.lineage,
                            .point = { x->r.lineage,
                                       rel_ships_changes(&x->r) ? x->r.acked.epoch : 0 },
                            .latest = rel_ships_changes(&x->r),
                            .diverged = x->r.diverged,
                            .resync = x->r.flow.kind == FLOW_RESYNC,
                            .update = x->r.flow.kind == FLOW_UPDATE,
                            .kind = x->kind };
    snprintf(ev.peer, sizeof ev.peer, "%s", from->name);
    if (engine_rx_open(to->e, &s->machine, &ev, &err) < 0) {
        tx_end(s, x, &err);
        return false;
    }
    if (to->rx)
        violated(s, "%s receives twice", to->name);
    if (x->r.diverged && x->r.flow.has_since &&
        !vr_uuid_eq(&from->d.extra.of.lineage, &x->r.lineage))
        violated(s, "%s does not know any more what the hosts wrote apart", from->name);
    x->rx = true;
    to->rx = x;
    x->mode = mode_of(&x->r);
    stage_open(to);
    choose_blocks(s, x, &from->hv.cap);
    check_need(s, x);
    return true;
}

/* Some blocks in any order; true when all are there. */
static bool x_data(struct sim *s, struct xfer *x)
{
    struct host *to = &s->h[x->to];
    int from = (int)rnd(s, BLOCKS), left = 0, n = 1 + (int)rnd(s, 24);
    for (int i = 0; i < BLOCKS; i++) {
        int b = (from + i) % BLOCKS;
        if (!x->todo[b])
            continue;
        if (!n) {
            left++;
            continue;
        }
        n--;
        x->todo[b] = false;
        x->shipped++;
        to->d.stage.have[b] = true;
        to->d.stage.val[b] = x->at.b[b];
        to->d.stage.flushed[b] = chance(s, 50);
    }
    return !left;
}

static void x_commit(struct sim *s, struct xfer *x)
{
    struct host *to = &s->h[x->to];
    struct point p = { .id = { x->r.lineage, x->r.flow.epoch },
                       .kind = x->kind,
                       .instant = x->instant,
                       .oracle = x->oracle };
    const struct point *below = point_newest(to);
    bool have[BLOCKS];
    for (int b = 0; b < BLOCKS; b++) {
        have[b] = to->d.stage.exists && to->d.stage.have[b];
        p.d.b[b] = have[b] ? to->d.stage.val[b] : below ? below->d.b[b] : 0;
    }
    rot_commit(to, &p, have);
    to->d.stage.exists = false;
    memset(to->d.stage.have, 0, sizeof to->d.stage.have);
    point_add(to, &p);
    x->committed = true;
    tell(s, "%s: point %" PRIu64 " committed", to->name, p.id.epoch);
}

static void x_tell(struct sim *s, struct xfer *x)
{
    struct host *to = &s->h[x->to];
    struct rel_event ev = { .type = EV_RX_COMMITTED,
                            .point = { x->r.lineage, x->r.flow.epoch },
                            .kind = x->kind,
                            .instant = x->instant,
                            .n_disks = x->r.n_disks };
    memcpy(ev.disks, x->r.disks, sizeof ev.disks);
    ev.moved.payload = (uint64_t)x->shipped * VR_BLOCK_SIZE;
    host_event(to, &ev);
    rx_end(s, x, NULL);
}

static void x_step(struct sim *s, struct task *t);

/* The next message of the transfer is on its way; other connections may overtake it. */
static void x_again(struct sim *s, struct xfer *x)
{
    bool slow = s->slow_until > s->now;
    if (slow)
        seen(s, FAULT_SLOW);
    bool stuck = false;
    x->sent = 0;
    if (x->phase != X_COMMIT) {
        x->sent = message_sent(&s->h[x->phase == X_TELL ? x->to : x->from]);
        stuck = chance(s, s->faults ? 2 : 0);
        if (slow || stuck)
            troubled(s, message_in[x->phase], SLOW);
    }
    later(s, 1 + rnd(s, stuck ? 25000 : slow ? 5000 : 25), -1, x_step)->arg = x;
}

/* Before the go-ahead either end may leave; after it the receiver commits whatever happens. */
static bool x_left(struct sim *s, struct xfer *x)
{
    if (x->phase >= X_COMMIT)
        return !x->rx && !x->committed;
    if (x->broken || (!x->tx && !x->rx))
        return true;
    if (x->tx_cancel || x->rx_cancel) {
        fail_both(s, x, VR_E_CANCELLED, "cancelled");
        return true;
    }
    if (s->faults && x->phase >= X_DATA && (chance(s, 2) || !s->link)) {
        net_break(s, x);
        return true;
    }
    return false;
}

static void x_step(struct sim *s, struct task *t)
{
    struct xfer *x = t->arg;
    if (x->phase == X_OVER || x_left(s, x))
        return;
    struct host *from = &s->h[x->from];
    if (x->sent)
        message_came(x->phase == X_TELL ? &s->h[x->to] : from, message_in[x->phase], x->sent);
    switch (x->phase) {
    case X_CONNECT:
        if (!x_connect(s, x))
            return;
        x->phase = X_DATA;
        break;
    case X_DATA:
        if (s->h[x->to].full_until > s->now) {
            seen(s, FAULT_FULL_IN_CYCLE);
            fail_both(s, x, VR_E_NOSPACE, "no space left on the replica's disk");
            return;
        }
        if (s->faults && !from->hv.cap.live && chance(s, 1)) {
            seen(s, FAULT_READER_DIED);
            fail_both(s, x, VR_E_IO, "the server of the disk is gone");
            return;
        }
        if (x_data(s, x))
            x->phase = X_GO;
        break;
    case X_GO:
        if (from->hv.cap.lost || !from->hv.cap.held) {
            fail_both(s, x, VR_E_STATE, "the machine was stopped or started; the instant is gone");
            return;
        }
        x->phase = X_COMMIT;
        break;
    case X_COMMIT:
        for (int b = 0; b < BLOCKS; b++) /* the go-ahead implies that all is flushed */
            s->h[x->to].d.stage.flushed[b] = true;
        x_commit(s, x);
        x->phase = X_TELL;
        break;
    case X_TELL:
        x->phase = X_OVER;
        if (x->rx)
            x_tell(s, x);
        if (x->broken)
            return;
        if (!s->link || chance(s, s->faults ? 10 : 0)) {
            s->n_lost_answers++;
            tell(s, "net: the acknowledgement is lost");
            net_break(s, x);
            return;
        }
        tx_end(s, x, NULL);
        return;
    case X_OVER:
        return;
    }
    x_again(s, x);
}

void net_ship(struct host *h, const struct rel *r)
{
    struct sim *s = h->s;
    struct xfer *x = vr_new(struct xfer);
    x->next = s->xfers;
    s->xfers = x;
    x->from = h->no;
    x->to = 1 - h->no;
    x->tx = true;
    x->r = *r;
    x->at = h->hv.cap.at;
    x->oracle = h->hv.cap.oracle;
    x->instant = r->flow.instant;
    x->kind = rel_flow_kind(r);
    x->tx_cancel = r->flow.cancelled;
    if (h->tx)
        violated(s, "%s ships twice at a time", h->name);
    h->tx = x;
    x_again(s, x);
}
