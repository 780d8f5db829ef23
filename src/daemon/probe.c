/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a machine stands at the other end: two hosts tell each other in one call (CALL_STATUS). A
 * host that was superseded learns it here; one that was failed over to learns whether the old
 * primary is back and whether its machine runs. work() on network workers, the rest on the control
 * thread. */
#include "daemon/probe.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/left.h"
#include "daemon/machinedoc.h"
#include "daemon/messages.h"
#include "daemon/story.h"

#define POLICY_PAUSED "paused-by-policy" /* kind of document */

/* Who asks at a user's wish decides upon a failover, often of a host that is gone: soon. */
enum {
    PROBE_TIMEOUT_MS = 8000,
    NOT_AGAIN_MS = 2500,
    SOON_MS = 500,
    LIVELY_MS = 1000,
    ASKED_TIMEOUT_MS = 1500,
    AHEAD_TIMEOUT_MS = 4000
};

/* Keep what the peer tells. What it said before something that is known already must not undo it: a
 * message may have waited for the network to come back. Then @s becomes what was told last. */
static void take_story(struct machine_rt *rt, struct rel_story *s)
{
    if (rt->story_at.us && !story_is_news(&rt->story, s)) {
        *s = rt->story;
        return;
    }
    rt->story = *s;
    rt->story_at = vr_wall_now();
}

struct rel_story story_here(struct daemon *d, const struct vr_uuid *machine)
{
    static const struct rel none;
    const struct rel *r = engine_find(d->engine, machine);
    const struct hv_machine *m = host_machine(d, machine);
    const struct rel_story *left = left_find(d, machine);
    struct rel_story s = left ? *left : rel_story(r ? r : &none);
    if (m && m->power != HV_POWER_OTHER && m->power != HV_POWER_AWAY)
        s.power = m->power == HV_POWER_OFF ? REL_POWER_OFF : REL_POWER_ON;
    s.told_by = d->run;
    s.told_ms = vr_mono_now().ms;
    return s;
}

void story_ahead(struct daemon *d, const struct rel *r, struct rel_story *s)
{
    char name[64];
    struct vr_err err = VR_ERR_INIT;
    if (rel_mode(r) != REL_MODE_PRIMARY || !r->has_acked || !r->tracked || s->power != REL_POWER_ON)
        return;
    rel_checkpoint(&r->acked.lineage, r->acked.epoch, name);
    s->ahead_known = hv_checkpoint_dirty(d->hv, &r->machine, name, &s->ahead, &err) == 0;
    if (!s->ahead_known)
        vr_log_err(VR_LOG_DEBUG, "bytes since the last point", &err);
}

/* ---- asking ---- */
struct probe_task {
    struct task t; /* .r.peer is asked */
    struct turn turn;
    struct xport_peer peer;
    struct rel_story mine, theirs;
    bool asked;         /* by a user, who waits */
    bool held;          /* for so long that others must not wait for it, too */
    bool sends;         /* it did not answer in time, but a transfer with it goes on */
    struct vr_uuid job; /* that ends with it; zero: the engine asked */
};

static void ask(struct probe_task *p, bool want_ahead, uint32_t timeout_ms, struct vr_err *err)
{
    struct msg_story mine = msg_from_story(&p->mine);
    struct msg_status m = {
        .machine = p->t.r.machine, .story = &mine, .n_story = 1, .want_ahead = want_ahead
    };
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    vr_autobuf struct vr_buf reply = VR_BUF_INIT;
    if (msg_status_encode(&m, &b, err) < 0 ||
        xport_call(p->t.d->xport, &p->peer, CALL_STATUS, b.data, b.len, &reply, timeout_ms, err) <
            0)
        return;
    __attribute__((cleanup(msg_status_reply_done))) struct msg_status_reply r = { 0 };
    if (msg_status_reply_decode(reply.data, reply.len, &r, err) < 0)
        return;
    if (r.n_story)
        p->theirs = msg_to_story(r.story);
    else /* a version that tells less */
        p->theirs = (struct rel_story){ .mode = r.mode > REL_MODE_EXTENDED ? REL_MODE_NONE
                                                                           : (enum rel_mode)r.mode,
                                        .lineage = r.lineage,
                                        .power = r.running ? REL_POWER_ON : REL_POWER_OFF };
}

static void probe_work(struct task *t)
{
    struct probe_task *p = (struct probe_task *)t;
    struct mono_ms began = vr_mono_now();
    if (t->err.kind == VR_OK) {
        ask(p, false, p->asked ? ASKED_TIMEOUT_MS : PROBE_TIMEOUT_MS, &t->err);
        struct mono_ms now = vr_mono_now();
        p->held = now.ms - began.ms >= SOON_MS;
        p->sends = t->err.kind == VR_E_TIMEOUT &&
                   now.ms - xport_transfer_heard(t->d->xport, &p->peer).ms < LIVELY_MS;
    }
    if (t->err.kind != VR_OK)
        vr_err_wrap(&t->err, "host %s", p->peer.name[0] ? p->peer.name : t->r.peer);
}

static struct host_peer *peer_entry(struct daemon *d, const char *name)
{
    for (size_t i = 0; i < d->n_peers; i++)
        if (!strcasecmp(d->peers[i].name, name))
            return &d->peers[i];
    return NULL;
}

/* Users wait for no probe of the engine: each of those may take a host that is gone 8 s. */
static struct turns *queue_of(struct daemon *d, const struct probe_task *p)
{
    return p->asked ? &d->asks : &d->probes;
}

static void begin(struct daemon *d, struct probe_task *p)
{
    struct vr_exec *to = p->asked ? d->ask_exec : d->net_exec;
    task_run(d, p->t.err.kind == VR_OK ? to : d->hv_exec, &p->t);
}

static struct probe_task *of_turn(struct turn *t)
{
    return t ? t->who : NULL;
}

/* Those that wait for the same host: it is their turn; or none of them asks one that just did not
 * answer. */
static void next_turn(struct daemon *d, struct turns *q, const char *host, bool away)
{
    struct probe_task *p;
    while (away && (p = of_turn(turns_give_up(q, host)))) {
        if (p->t.err.kind == VR_OK)
            vr_fail(&p->t.err, VR_E_PEER, 0, "did not answer a moment ago");
        begin(d, p);
    }
    while ((p = of_turn(turns_next(q, host))))
        begin(d, p);
}

/* That it answers, and that the machine runs, is known by now; what would be lost takes the other
 * host longer to find out. Not to know it is no failure. */
static void ahead_work(struct task *t)
{
    struct probe_task *p = (struct probe_task *)t;
    ask(p, true, AHEAD_TIMEOUT_MS, &t->err);
}

static void ahead_done(struct task *t)
{
    struct probe_task *p = (struct probe_task *)t;
    struct machine_rt *rt = rt_get(t->d, &t->r.machine);
    rt->asks_ahead = false;
    if (t->err.kind == VR_OK)
        take_story(rt, &p->theirs);
    else
        vr_log_err(VR_LOG_DEBUG, "what the primary has written since the last point", &t->err);
    engine_job_end(t->d->engine, &p->job, NULL);
}

static void ask_ahead(const struct probe_task *after)
{
    struct probe_task *p = vr_new(struct probe_task);
    struct daemon *d = after->t.d;
    p->t.work = ahead_work;
    p->t.done = ahead_done;
    p->t.r = after->t.r;
    p->peer = after->peer;
    p->mine = after->mine;
    p->job = after->job;
    rt_get(d, &p->t.r.machine)->asks_ahead = true;
    task_run(d, d->net_exec, &p->t);
}

static void probe_done(struct task *t)
{
    struct probe_task *p = (struct probe_task *)t;
    struct daemon *d = t->d;
    struct machine_rt *rt = rt_get(d, &t->r.machine);
    struct rel_event ev = { .type = EV_PEER_TOLD, .story = p->theirs };
    bool away = vr_kind_scope(t->err.kind) == VR_SCOPE_XFER;
    turns_end(queue_of(d, p), &p->turn);
    host_peer_contact(d, t->r.peer, !away);
    struct host_peer *e = peer_entry(d, t->r.peer);
    if (e && away && p->held)
        e->failed = vr_mono_now();
    next_turn(d, &d->asks, t->r.peer, away);
    next_turn(d, &d->probes, t->r.peer, away);
    if (t->err.kind != VR_OK) {
        ev.type = EV_PEER_AWAY;
        ev.err = t->err;
        rt->peer_away = true;
        rt->peer_sends = p->sends;
    } else {
        rt->peer_away = false;
        take_story(rt, &ev.story);
    }
    snprintf(ev.peer, sizeof ev.peer, "%s", t->r.peer);
    engine_event(d->engine, &t->r.machine, &ev);
    if (p->asked && t->err.kind == VR_OK)
        rt->asked = (struct vr_uuid){ 0 }; /* who asks from here on has not heard this answer */
    if (p->asked && t->err.kind == VR_OK && p->theirs.power == REL_POWER_ON && !rt->asks_ahead)
        ask_ahead(p);
    else if (!vr_uuid_is_zero(&p->job)) /* that nobody answers is an answer */
        engine_job_end(d->engine, &p->job, away || t->err.kind == VR_OK ? NULL : &t->err);
}

static bool failed_now(const struct host_peer *e)
{
    return e && e->failed.ms && vr_mono_now().ms - e->failed.ms < NOT_AGAIN_MS;
}

/* A thousand machines may wait for one host: those that ask right after it did not answer are told
 * so without another attempt, and the network workers stay free for others. A refusal that comes at
 * once holds nobody up: that host may be on its way back, and is asked again. */
static void probe(struct daemon *d, const struct rel *r, const struct vr_uuid *job)
{
    struct probe_task *p = vr_new(struct probe_task);
    p->t.work = probe_work;
    p->t.done = probe_done;
    p->t.r = *r;
    p->mine = story_here(d, &r->machine);
    p->asked = job != NULL;
    if (job)
        p->job = *job;
    peer_to_ask(d, r, &p->peer, &p->t.err);
    if (p->t.err.kind == VR_OK && failed_now(peer_entry(d, r->peer)))
        vr_fail(&p->t.err, VR_E_PEER, 0, "did not answer a moment ago");
    p->turn.who = p;
    snprintf(p->turn.host, sizeof p->turn.host, "%s", r->peer);
    if (turns_wait(queue_of(d, p), &p->turn))
        begin(d, p);
}

void fx_probe(struct daemon *d, const struct rel *r)
{
    probe(d, r, NULL);
}

/* Whoever asks while somebody else does gets the same answer; when the host did not answer just
 * now, the answer is there. */
int probe_peer(struct daemon *d, const struct rel *r, const char *owner, struct vr_uuid *ret_job)
{
    struct machine_rt *rt = rt_get(d, &r->machine);
    const struct job *j = engine_job(d->engine, &rt->asked);
    if (j && (!job_over(j) || (rt->peer_away && failed_now(peer_entry(d, r->peer))))) {
        *ret_job = j->id;
        return 0;
    }
    *ret_job = rt->asked = engine_job_new(d->engine, JOB_TEST_CONNECTION, &r->machine, owner);
    probe(d, r, ret_job);
    return 0;
}

/* ---- being asked (connection threads) ---- */
struct status_ask {
    struct daemon *d;
    const struct msg_status *m;
    const char *from;
    struct rel r;
    struct rel_story here;
    struct msg_status_reply reply;
};

static void ask_status(void *arg)
{
    struct status_ask *a = arg;
    if (a->m->n_story) {
        struct rel_event ev = { .type = EV_PEER_TOLD,
                                .story = msg_to_story(a->m->story),
                                .unasked = true };
        struct machine_rt *rt = rt_get(a->d, &a->m->machine);
        const struct rel *of = engine_find(a->d->engine, &a->m->machine);
        if (of && !strcmp(of->peer, a->from)) {
            take_story(rt, &ev.story);
            rt->peer_away = false;
        }
        snprintf(ev.peer, sizeof ev.peer, "%s", a->from);
        host_peer_contact(a->d, a->from, true);
        engine_event(a->d->engine, &a->m->machine, &ev);
    }
    const struct rel *r = engine_find(a->d->engine, &a->m->machine);
    /* The failover may be cancelled there: that is believed when it answers. */
    if (a->m->n_story && r && r->st == ST_P_SUPERSEDED && !strcmp(r->peer, a->from) &&
        !a->m->story->failed_over)
        fx_probe(a->d, r);
    a->here = story_here(a->d, &a->m->machine);
    a->reply.running = a->here.power == REL_POWER_ON;
    a->reply.text = rel_state_text(r ? r->st : ST_NONE);
    if (!r)
        return;
    a->r = *r;
    a->reply.mode = (uint16_t)rel_mode(r);
    a->reply.state = rel_cim_state(r);
    a->reply.lineage = r->lineage;
    a->reply.newest_epoch = r->newest.epoch;
}

int call_status(struct daemon *d, const struct xport_peer *from, const void *body, size_t n,
                struct vr_buf *reply, struct vr_err *err)
{
    __attribute__((cleanup(msg_status_done))) struct msg_status m = { 0 };
    if (msg_status_decode(body, n, &m, err) < 0)
        return -1;
    struct status_ask *a = vr_new(struct status_ask);
    a->d = d;
    a->m = &m;
    a->from = from->name;
    ctl_call(d, ask_status, a);
    if (m.want_ahead)
        story_ahead(d, &a->r, &a->here);
    struct msg_story here = msg_from_story(&a->here);
    a->reply.story = &here;
    a->reply.n_story = 1;
    int rc = msg_status_reply_encode(&a->reply, reply, err);
    free(a);
    return rc;
}

/* ---- POLICY ---- */
struct policy_task {
    struct task t;
    enum rel_on_superseded policy;
    bool said;    /* that it goes on running, already */
    bool goes_on; /* it does */
};

static enum rel_on_superseded policy_of(const struct daemon *d, const struct rel *r)
{
    if (r->set.on_superseded != ON_SUPERSEDED_HOST)
        return (enum rel_on_superseded)r->set.on_superseded;
    if (!strcmp(d->cfg.on_superseded, "pause"))
        return ON_SUPERSEDED_PAUSE;
    return !strcmp(d->cfg.on_superseded, "shutdown") ? ON_SUPERSEDED_SHUTDOWN : ON_SUPERSEDED_LEAVE;
}

static void policy_work(struct task *t)
{
    struct policy_task *p = (struct policy_task *)t;
    struct hv_machine m;
    swap_wait_hv(t);
    if (hv_get(t->d->hv, &t->r.machine, &m, &t->err) < 0)
        return;
    enum hv_power power = m.power;
    hv_machine_done(&m);
    bool pause = p->policy == ON_SUPERSEDED_PAUSE;
    if (power == HV_POWER_OFF || power == HV_POWER_AWAY || (pause && power == HV_POWER_PAUSED))
        return;
    p->goes_on = p->policy == ON_SUPERSEDED_LEAVE || power != HV_POWER_RUNNING;
    if (p->goes_on) {
        if (!p->said)
            vr_log(VR_LOG_WARN,
                   "machine %s goes on running here although it was failed over to host %s: what "
                   "it writes is not replicated",
                   t->r.name, t->r.peer);
        return;
    }
    vr_log(VR_LOG_WARN, "machine %s was failed over to host %s: %s here, as on_superseded says",
           t->r.name, t->r.peer, pause ? "pausing it" : "shutting it down");
    /* Written down first: whoever is paused without it would stay so. */
    if (pause && machinedoc_put(t->d, POLICY_PAUSED, &t->r.machine, "paused\n", &t->err) < 0)
        return;
    hv_power(t->d->hv, &t->r.machine, pause ? HV_PAUSE : HV_SHUTDOWN, &t->err);
}

int policy_undo(struct daemon *d, const struct vr_uuid *machine, struct vr_err *err)
{
    struct vr_err none = VR_ERR_INIT;
    vr_autofree char *text = NULL;
    struct hv_machine m;
    if (machinedoc_get(d, POLICY_PAUSED, machine, &text, &none) < 0) {
        if (none.kind == VR_E_NOTFOUND)
            return 0;
        vr_err_move(err, &none);
        return -1;
    }
    if (hv_get(d->hv, machine, &m, err) < 0)
        return -1;
    int rc = m.power == HV_POWER_PAUSED ? hv_power(d->hv, machine, HV_UNPAUSE, err) : 0;
    hv_machine_done(&m);
    return rc < 0 ? -1 : policy_forget(d, machine, err);
}

int policy_forget(struct daemon *d, const struct vr_uuid *machine, struct vr_err *err)
{
    struct vr_err none = VR_ERR_INIT;
    if (machinedoc_delete(d, POLICY_PAUSED, machine, &none) == 0 || none.kind == VR_E_NOTFOUND)
        return 0;
    vr_err_move(err, &none);
    return -1;
}

static void policy_done(struct task *t)
{
    rt_get(t->d, &t->r.machine)->runs_on = ((struct policy_task *)t)->goes_on;
    if (t->err.kind != VR_OK)
        vr_log_err(VR_LOG_ERROR, "a superseded machine", &t->err);
    host_refresh_machines(t->d);
    finish_effect(t->d, &t->r.machine, NULL);
}

/* Carried out again and again while the machine may run: most of the time there is nothing to do,
 * and a hypervisor that hangs is not asked for nothing. */
void fx_policy(struct daemon *d, const struct rel *r)
{
    const struct hv_machine *m = d->machines_known ? host_machine(d, &r->machine) : NULL;
    struct machine_rt *rt = rt_get(d, &r->machine);
    bool off = m && (m->power == HV_POWER_OFF || m->power == HV_POWER_AWAY);
    rt->runs_on &= !off;
    if (off || (rt->runs_on && policy_of(d, r) == ON_SUPERSEDED_LEAVE)) {
        engine_done(d->engine, &r->machine);
        return;
    }
    struct policy_task *p = vr_new(struct policy_task);
    p->t.work = policy_work;
    p->t.done = policy_done;
    p->t.r = *r;
    p->policy = policy_of(d, r);
    p->said = rt->runs_on;
    task_run(d, d->hv_exec, &p->t);
}
