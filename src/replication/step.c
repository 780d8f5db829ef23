/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The engine's pure core: looks up the row of (state, event) in transitions.def and applies it.
 * No I/O, no clock, no randomness, no memory of its own: all in, all out. Any thread. */
#include "replication/step.h"

#include <assert.h>
#include <string.h>

#include "base/cleanup.h"

/* ---- guards: 1 the row applies, 0 it does not, -1 the event is refused with an error ---- */
#define GUARD(name) \
    static int g_##name(const struct rel *r, const struct rel_event *ev, struct vr_err *err)
#define UNUSED (void)r, (void)ev, (void)err

GUARD(always)
{
    UNUSED;
    return 1;
}

GUARD(idle)
{
    UNUSED;
    return r->flow.phase == FLOW_IDLE;
}

GUARD(untracked)
{
    UNUSED;
    return r->flow.phase == FLOW_IDLE && !r->tracked;
}

GUARD(flow_idle)
{
    UNUSED;
    return r->flow.phase == FLOW_IDLE;
}

GUARD(cancelled)
{
    UNUSED;
    return r->flow.cancelled;
}

GUARD(final)
{
    UNUSED;
    return r->flow.kind == FLOW_FINAL;
}

GUARD(tracking)
{
    UNUSED;
    return ev->err.kind == VR_E_TRACKING;
}

GUARD(fatal)
{
    UNUSED;
    return vr_kind_scope(ev->err.kind) == VR_SCOPE_REL;
}

GUARD(failing)
{
    UNUSED;
    return r->failures > 0 && r->flow.phase == FLOW_IDLE;
}

GUARD(later)
{
    UNUSED;
    return ev->start_at.us > ev->wall.us;
}

GUARD(scheduled)
{
    UNUSED;
    return r->start_at.us && r->start_at.us <= ev->wall.us;
}

GUARD(is_scheduled)
{
    UNUSED;
    return r->start_at.us != 0;
}

GUARD(auto_resync)
{
    UNUSED;
    return r->set.auto_resync && r->flow.phase == FLOW_IDLE;
}

GUARD(seeded)
{
    UNUSED;
    return ev->seeded;
}

GUARD(was_seed)
{
    UNUSED;
    return r->seed;
}

GUARD(was_paused)
{
    UNUSED;
    return r->paused_for_failover;
}

GUARD(was_committed)
{
    UNUSED;
    return r->committed;
}

GUARD(receiving)
{
    UNUSED;
    return r->rx_active;
}

GUARD(vm_off)
{
    if (ev->vm_off)
        return 1;
    return vr_fail(err, VR_E_STATE, 0,
                   "machine %s must be off for this; shut it down first (virsh shutdown %s)",
                   r->name, r->name);
}

GUARD(vm_off_idle)
{
    if (r->flow.phase != FLOW_IDLE)
        return vr_fail(err, VR_E_BUSY, 0, "a cycle of machine %s is running; suspend it first",
                       r->name);
    return g_vm_off(r, ev, err);
}

GUARD(same_peer_or_none)
{
    if (!r->peer[0] || !strcmp(r->peer, ev->peer))
        return 1;
    return vr_fail(err, VR_E_EXISTS, 0, "machine %s is already the replica of one on host %s",
                   r->name, r->peer);
}

GUARD(from_peer)
{
    if (!strcmp(r->peer, ev->peer))
        return 1;
    return vr_fail(err, VR_E_AUTH, 0, "host %s is not the primary of machine %s (that is %s)",
                   ev->peer, r->name, r->peer);
}

GUARD(superseded)
{
    (void)ev;
    return vr_fail(err, VR_E_SUPERSEDED, 0,
                   "machine %s was failed over here; its new lineage supersedes the one sent",
                   r->name);
}

GUARD(may_receive)
{
    if (g_from_peer(r, ev, err) < 0)
        return -1;
    if (!vr_uuid_eq(&r->lineage, &ev->lineage))
        return vr_fail(err, VR_E_SUPERSEDED, 0,
                       "the data sent for machine %s is of another lineage than the one held here",
                       r->name);
    if (r->rx_active)
        return vr_fail(err, VR_E_BUSY, 0, "a transfer for machine %s is already coming in",
                       r->name);
    bool same = r->has_newest && vr_uuid_eq(&r->newest.lineage, &ev->lineage);
    /* Changes since a point not newer than ours cover everything that may differ: redundant, never
     * wrong. Changes since a point that we never had would leave a gap. */
    if (ev->latest && (!same || ev->point.epoch > r->newest.epoch))
        return vr_fail(
            err, VR_E_TRACKING, 0,
            "the replica of machine %s does not hold the point that the changes start from",
            r->name);
    return 1;
}

GUARD(fo_busy)
{
    UNUSED;
    return r->has_newest && r->rx_active;
}

GUARD(fo_ready)
{
    (void)ev;
    if (r->has_newest)
        return 1;
    return vr_fail(err, VR_E_STATE, 0, "machine %s has no recovery point yet", r->name);
}

GUARD(may_yield)
{
    if (g_from_peer(r, ev, err) < 0)
        return -1;
    if (r->flow.phase != FLOW_IDLE)
        return vr_fail(err, VR_E_BUSY, 0, "the last cycle of machine %s is just ending; try again",
                       r->name);
    if (!ev->vm_off)
        return vr_fail(err, VR_E_STATE, 0, "machine %s is running on its old primary", r->name);
    if (!vr_point_eq(&r->acked, &ev->point))
        return vr_fail(
            err, VR_E_STATE, 0,
            "machine %s was not failed over to the point that the planned failover made: "
            "cancel the failover and use the newest point, or reverse it as an unplanned "
            "one",
            r->name);
    return 1;
}

GUARD(same_next)
{
    (void)err;
    return vr_uuid_eq(&r->next_lineage, &ev->lineage) && !strcmp(r->peer, ev->peer);
}

GUARD(same_lineage)
{
    (void)err;
    return vr_uuid_eq(&r->lineage, &ev->lineage) && !strcmp(r->peer, ev->peer);
}

/* ---- actions: change the copy; they cannot fail ---- */
#define ACTION(name) static void a_##name(struct rel *r, const struct rel_event *ev)

#define RETRY_FIRST_MS 2000
#define RETRY_MAX_MS 30000

static void set_error(struct rel *r, const struct rel_event *ev)
{
    r->last_err = ev->err;
    r->last_err_time = ev->wall;
}

static void copy_disks(struct rel *r, const struct rel_event *ev)
{
    r->n_disks = ev->n_disks <= VR_DISKS_MAX ? ev->n_disks : VR_DISKS_MAX;
    memcpy(r->disks, ev->disks, r->n_disks * sizeof r->disks[0]);
}

static void copy_name(char to[VR_NAME_MAX], const char *from)
{
    size_t n = strnlen(from, VR_NAME_MAX - 1);
    memcpy(to, from, n);
    to[n] = 0;
}

static void stats_reset(struct rel *r, struct wall_us now)
{
    r->stat_start = now;
    r->stat_ok = r->stat_miss = r->stat_net_fail = r->stat_fail = r->stat_app_fail = 0;
    r->stat_bytes = r->stat_max_bytes = r->stat_ms = r->stat_max_ms = 0;
}

static void due_now(struct rel *r, const struct rel_event *ev)
{
    r->due = ev->mono;
    if (!r->due.ms)
        r->due.ms = 1;
}

ACTION(none)
{
    (void)r;
    (void)ev;
}

ACTION(create)
{
    r->set = ev->set;
    copy_name(r->peer, ev->peer);
    copy_name(r->name, ev->name);
    copy_disks(r, ev);
    r->lineage = ev->lineage;
    r->epoch = 0;
    r->has_acked = r->tracked = r->has_newest = r->seed = r->committed = false;
    memset(&r->acked, 0, sizeof r->acked);
    vr_err_clear(&r->last_err);
    stats_reset(r, ev->wall);
}

ACTION(created)
{
    (void)ev;
    vr_err_clear(&r->last_err);
}

ACTION(op_failed)
{
    set_error(r, ev);
}

ACTION(start_ir)
{
    r->seeded_start = ev->seeded;
    r->start_at.us = 0;
    r->failures = 0;
    due_now(r, ev);
}

ACTION(start_ir_tick)
{
    r->start_at.us = 0;
    r->failures = 0;
    due_now(r, ev);
}

ACTION(schedule)
{
    r->seeded_start = ev->seeded;
    r->start_at = ev->start_at;
    r->due.ms = ev->mono.ms + (ev->start_at.us - ev->wall.us) / 1000 + 1;
}

ACTION(unschedule)
{
    (void)ev;
    r->start_at.us = 0;
    r->due.ms = 0;
}

ACTION(peer_create)
{
    copy_name(r->peer, ev->peer);
    copy_name(r->name, ev->name);
    r->set = ev->set;
    copy_disks(r, ev);
    r->lineage = ev->lineage;
    stats_reset(r, ev->wall);
    vr_err_clear(&r->last_err);
}

ACTION(replica_created)
{
    (void)ev;
    vr_err_clear(&r->last_err);
}

static void begin(struct rel *r, const struct rel_event *ev, enum flow_kind kind, bool has_since)
{
    r->epoch++;
    r->flow = (struct rel_flow){
        .phase = FLOW_CAPTURE,
        .kind = kind,
        .epoch = r->epoch,
        .has_since = has_since,
        .began = ev->mono,
    };
    r->due.ms = 0;
}

ACTION(begin_ir)
{
    begin(r, ev, FLOW_IR, false);
}

ACTION(begin_cycle)
{
    begin(r, ev, FLOW_CYCLE, true);
}

ACTION(begin_final)
{
    begin(r, ev, FLOW_FINAL, r->tracked);
}

ACTION(begin_resync)
{
    begin(r, ev, FLOW_RESYNC, false);
}

ACTION(captured)
{
    r->flow.phase = FLOW_SHIP;
    r->flow.instant = ev->instant;
    copy_disks(r, ev);
}

ACTION(drop)
{
    (void)ev;
    r->flow.phase = FLOW_DROP;
}

static void retry_later(struct rel *r, const struct rel_event *ev)
{
    int64_t wait = RETRY_FIRST_MS;
    for (uint32_t i = 1; i < r->failures && wait < RETRY_MAX_MS; i++)
        wait *= 2;
    r->due.ms = ev->mono.ms + (wait > RETRY_MAX_MS ? RETRY_MAX_MS : wait);
}

static void count_failure(struct rel *r, const struct rel_event *ev)
{
    set_error(r, ev);
    r->failures++;
    r->stat_fail++;
    if (ev->err.kind == VR_E_PEER || ev->err.kind == VR_E_TIMEOUT)
        r->stat_net_fail++;
}

ACTION(flow_failed)
{
    count_failure(r, ev);
    r->flow = (struct rel_flow){ .phase = FLOW_IDLE };
    retry_later(r, ev);
}

ACTION(ship_failed)
{
    count_failure(r, ev);
    r->flow.phase = FLOW_DROP;
}

ACTION(lost_tracking)
{
    set_error(r, ev);
    r->tracked = false;
    r->flow = (struct rel_flow){ .phase = FLOW_IDLE };
    due_now(r, ev);
}

ACTION(ship_lost_tracking)
{
    set_error(r, ev);
    r->tracked = false;
    r->flow.phase = FLOW_DROP;
}

ACTION(shipped)
{
    bool late = ev->mono.ms - r->flow.began.ms > (int64_t)r->set.interval_s * 1000;
    r->acked = (struct vr_point_id){ .lineage = r->lineage, .epoch = r->flow.epoch };
    r->has_acked = r->tracked = true;
    r->newest_instant = r->flow.instant;
    r->last_time = ev->wall;
    r->last_kind = r->flow.kind == FLOW_FINAL ? VR_POINT_PLANNED : VR_POINT_STANDARD;
    r->flow.phase = FLOW_RETIRE;
    r->failures = 0;
    r->seeded_start = false;
    vr_err_clear(&r->last_err);
    r->last = ev->moved;
    r->stat_ok++;
    r->stat_miss += late && r->flow.kind == FLOW_CYCLE;
    r->stat_bytes += ev->moved.wire;
    r->stat_ms += ev->moved.ms;
    if (ev->moved.wire > r->stat_max_bytes)
        r->stat_max_bytes = ev->moved.wire;
    if (ev->moved.ms > r->stat_max_ms)
        r->stat_max_ms = ev->moved.ms;
}

ACTION(ended)
{
    bool again = r->flow.again;
    struct mono_ms began = r->flow.began;
    r->flow = (struct rel_flow){ .phase = FLOW_IDLE };
    if (r->failures && !again) {
        retry_later(r, ev);
        return;
    }
    r->due.ms = began.ms + (int64_t)r->set.interval_s * 1000;
    if (again || r->due.ms < ev->mono.ms)
        due_now(r, ev);
}

ACTION(ended_now)
{
    r->flow = (struct rel_flow){ .phase = FLOW_IDLE };
    due_now(r, ev);
}

ACTION(ended_parked)
{
    r->flow = (struct rel_flow){ .phase = FLOW_IDLE };
    if (r->st == ST_P_RESYNC_WAIT)
        due_now(r, ev);
}

ACTION(flow_over)
{
    (void)ev;
    r->flow = (struct rel_flow){ .phase = FLOW_IDLE };
}

ACTION(sync)
{
    if (r->flow.phase == FLOW_IDLE)
        due_now(r, ev);
    else
        r->flow.again = true;
}

ACTION(retry_now)
{
    due_now(r, ev);
}

ACTION(prepare)
{
    if (r->flow.phase == FLOW_IDLE)
        due_now(r, ev);
}

ACTION(revert_prepare)
{
    due_now(r, ev);
}

ACTION(yield)
{
    r->next_lineage = ev->lineage;
    r->seed = false;
    r->set = ev->set;
    r->due.ms = 0;
}

/* The old primary is the replica now; what its disks hold is the point the new lineage began with.
 */
ACTION(yielded)
{
    r->lineage = r->next_lineage;
    r->newest = (struct vr_point_id){ .lineage = r->lineage, .epoch = 0 };
    r->has_newest = true;
    r->has_acked = r->tracked = false;
    r->ever_replica = true;
    r->last_kind = VR_POINT_PLANNED;
    vr_err_clear(&r->last_err);
    stats_reset(r, ev->wall);
}

ACTION(offer)
{
    if (r->st == ST_NONE) {
        copy_name(r->name, ev->name);
        rel_settings_default(&r->set);
        r->peer[0] = 0;
    }
    if (ev->n_disks)
        copy_disks(r, ev);
    r->next_lineage = ev->lineage;
    r->seed = true;
    r->due.ms = 0;
}

ACTION(yielded_seed)
{
    r->lineage = r->next_lineage;
    r->newest = (struct vr_point_id){ .lineage = r->lineage, .epoch = 0 };
    r->has_newest = true;
    r->has_acked = r->tracked = false;
    r->ever_replica = true;
    r->last_time.us = 0; /* src:[contract.md A.5] NULL until the first replication completed */
    vr_err_clear(&r->last_err);
    stats_reset(r, ev->wall);
}

ACTION(yield_failed_seed)
{
    set_error(r, ev);
    r->seed = false;
}

ACTION(bind_seed)
{
    copy_name(r->peer, ev->peer);
    r->set = ev->set;
    r->lineage = ev->lineage;
    r->last_time.us = 0;
}

ACTION(park)
{
    r->due.ms = 0;
    if (r->flow.phase != FLOW_IDLE)
        r->flow.cancelled = true;
}

ACTION(go)
{
    r->failures = 0;
    vr_err_clear(&r->last_err);
    if (r->flow.phase == FLOW_IDLE)
        due_now(r, ev);
    else
        r->flow.again = true;
}

ACTION(resync)
{
    r->tracked = false;
    r->failures = 0;
    if (r->flow.phase == FLOW_IDLE)
        due_now(r, ev);
    else
        r->flow.again = true;
}

ACTION(rx_open)
{
    (void)ev;
    r->rx_active = true;
    r->rx_cancel = false;
}

ACTION(rx_committed)
{
    r->newest = ev->point;
    r->has_newest = true;
    r->newest_instant = ev->instant;
    r->last_time = ev->wall;
    r->last_kind = ev->kind;
    r->seed = false;
    copy_disks(r, ev);
    r->last = ev->moved;
    vr_err_clear(&r->last_err);
    r->stat_ok++;
    r->stat_bytes += ev->moved.wire;
    r->stat_ms += ev->moved.ms;
    if (ev->moved.wire > r->stat_max_bytes)
        r->stat_max_bytes = ev->moved.wire;
    if (ev->moved.ms > r->stat_max_ms)
        r->stat_max_ms = ev->moved.ms;
}

ACTION(rx_ended)
{
    r->rx_active = r->rx_cancel = false;
    if (ev->err.kind != VR_OK && ev->err.kind != VR_E_CANCELLED) {
        set_error(r, ev);
        r->stat_fail++;
    }
}

ACTION(rx_stop)
{
    (void)ev;
    r->rx_cancel = r->rx_active;
}

ACTION(peer_settings)
{
    r->set = ev->set;
}

ACTION(failover)
{
    r->failover = ev->point;
    r->failover_latest = ev->latest;
    r->next_lineage = ev->lineage;
    r->rx_cancel = r->rx_active;
    r->paused_for_failover = false;
    r->committed = false;
}

ACTION(failover_susp)
{
    a_failover(r, ev);
    r->paused_for_failover = true;
}

ACTION(failed_over)
{
    r->failover = ev->point;
    r->failover_latest = false;
    r->failover_kind = ev->kind;
    vr_err_clear(&r->last_err);
}

ACTION(failover_failed)
{
    set_error(r, ev);
    r->failover_kind = VR_POINT_NONE;
    r->failover_latest = false;
}

ACTION(reverted)
{
    (void)ev;
    r->failover_kind = VR_POINT_NONE;
    r->paused_for_failover = false;
    vr_err_clear(&r->last_err);
}

ACTION(commit)
{
    (void)ev;
    r->committed = true;
}

ACTION(reverse)
{
    r->set = ev->set;
    copy_name(r->peer, ev->peer);
}

/* The failed-over machine is the primary now; the failover was epoch 0 of its lineage, and the
 * checkpoint of that epoch has tracked every write since. */
ACTION(become_primary)
{
    r->lineage = r->next_lineage;
    r->epoch = 0;
    r->acked = (struct vr_point_id){ .lineage = r->lineage, .epoch = 0 };
    r->has_acked = r->tracked = !ev->seeded;
    r->has_newest = false;
    r->ever_replica = true;
    r->committed = false;
    r->failover_kind = VR_POINT_NONE;
    if (ev->seeded)
        r->last_time.us = 0;
    r->failures = 0;
    vr_err_clear(&r->last_err);
    stats_reset(r, ev->wall);
    due_now(r, ev);
}

ACTION(modify)
{
    r->set = ev->set;
    if (r->flow.phase == FLOW_IDLE && r->due.ms > ev->mono.ms)
        due_now(r, ev);
}

ACTION(remove)
{
    (void)ev;
    r->due.ms = 0;
    if (r->flow.phase != FLOW_IDLE)
        r->flow.cancelled = true;
    r->rx_cancel = r->rx_active;
}

ACTION(removed)
{
    (void)ev;
    struct rel keep = { .machine = r->machine };
    copy_name(keep.name, r->name);
    rel_settings_default(&keep.set);
    *r = keep;
}

ACTION(restart)
{
    r->flow = (struct rel_flow){ .phase = FLOW_IDLE };
    r->rx_active = r->rx_cancel = false;
    r->failures = 0;
    switch (r->st) {
    case ST_P_IR:
    case ST_P_REPL:
    case ST_P_PREPARING:
    case ST_P_RESYNC:
    case ST_P_RESYNC_WAIT:
        due_now(r, ev);
        break;
    case ST_P_READY:
        if (r->start_at.us)
            r->due.ms = ev->mono.ms + 1 +
                        (r->start_at.us > ev->wall.us ? (r->start_at.us - ev->wall.us) / 1000 : 0);
        break;
    default:
        r->due.ms = 0;
    }
}

/* ---- the table ---- */
struct row {
    enum rel_state from;
    enum rel_event_type ev;
    int (*guard)(const struct rel *, const struct rel_event *, struct vr_err *);
    void (*action)(struct rel *, const struct rel_event *);
    enum rel_state to;
    uint32_t fx;
    const char *guard_name, *action_name, *source;
};

static const struct row rows[] = {
#define T(f, e, g, a, t, x, src) { ST_##f, EV_##e, g_##g, a_##a, ST_##t, (x), #g, #a, src },
#include "replication/transitions.def"
#undef T
};

/* A (state, event, guard) that stands twice does not compile. */
enum {
#define T(f, e, g, a, t, x, src) UNIQUE_##f##_##e##_##g,
#include "replication/transitions.def"
#undef T
    UNIQUE_COUNT
};

enum otherwise { ILLEGAL, IGNORE };
static const enum otherwise otherwise[EV_COUNT] = {
#define E(n, o, text) [EV_##n] = o,
#include "replication/events.def"
#undef E
};

static const char *const fx_names[FX_BIT_COUNT] = {
#define FX(n, text) [FX_BIT_##n] = #n,
    REL_EFFECTS(FX)
#undef FX
};

const char *rel_fx_name(enum rel_fx_bit bit)
{
    return bit < FX_BIT_COUNT ? fx_names[bit] : "?";
}

bool rel_table_row(size_t i, struct rel_row *ret)
{
    if (i >= VR_ARRAY_LEN(rows))
        return false;
    const struct row *u = &rows[i];
    *ret = (struct rel_row){ .from = u->from,
                             .ev = u->ev,
                             .guard = u->guard_name,
                             .action = u->action_name,
                             .to = u->to,
                             .fx = u->fx,
                             .source = u->source };
    return true;
}

int rel_step(const struct rel *r, const struct rel_event *ev, struct rel *ret_next,
             uint32_t *ret_fx, struct vr_err *err)
{
    for (size_t i = 0; i < VR_ARRAY_LEN(rows); i++) {
        const struct row *u = &rows[i];
        if (u->from != r->st || u->ev != ev->type)
            continue;
        int fits = u->guard(r, ev, err);
        if (fits < 0)
            return -1;
        if (!fits)
            continue;
        *ret_next = *r;
        u->action(ret_next, ev);
        ret_next->st = u->to;
        *ret_fx = u->fx;
        return 0;
    }
    if (otherwise[ev->type] == IGNORE) {
        *ret_next = *r;
        *ret_fx = 0;
        return 0;
    }
    return vr_fail(err, VR_E_STATE, 0, "%s is not possible while machine %s is in state \"%s\"",
                   rel_event_text(ev->type), r->name[0] ? r->name : "it", rel_state_text(r->st));
}
