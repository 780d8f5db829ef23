/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Guards of the table: may this event do this to that relationship? 1 the row applies, 0 it does
 * not (the next row is tried), -1 the event is refused with an error. Pure. Any thread. */
#include "replication/step_int.h"

#include <string.h>

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

GUARD(final_running)
{
    UNUSED;
    return r->flow.kind == FLOW_FINAL && !ev->vm_off;
}

GUARD(tracking)
{
    UNUSED;
    return ev->err.kind == VR_E_TRACKING;
}

/* Another version is no reason to stop for good: hosts are updated one after the other. */
GUARD(fatal)
{
    UNUSED;
    return vr_kind_scope(ev->err.kind) == VR_SCOPE_REL && ev->err.kind != VR_E_VERSION;
}

static const struct rel_disk *same_target(const struct rel *r, const char *target)
{
    for (uint32_t i = 0; i < r->n_disks; i++)
        if (!strcmp(r->disks[i].target, target))
            return &r->disks[i];
    return NULL;
}

const struct rel_disk *rel_shrunk_disk(const struct rel *r, const struct rel_event *ev,
                                       uint64_t *ret_was)
{
    for (uint32_t i = 0; i < ev->n_disks && i < VR_DISKS_MAX; i++) {
        const struct rel_disk *was = same_target(r, ev->disks[i].target);
        if (!was || ev->disks[i].size >= was->size)
            continue;
        *ret_was = was->size;
        return &ev->disks[i];
    }
    return NULL;
}

/* A layer cannot be smaller than the one below it: what the replica holds has the size it had. */
GUARD(shrunk)
{
    uint64_t was;
    (void)err;
    return r->has_acked && rel_shrunk_disk(r, ev, &was) != NULL;
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

/* src:[contract.md D.4] The window may wrap midnight; one without length is the whole day. */
static bool in_window(const struct rel_settings *s, uint32_t day_s)
{
    if (s->resync_start_s == s->resync_end_s)
        return true;
    if (s->resync_start_s < s->resync_end_s)
        return day_s >= s->resync_start_s && day_s < s->resync_end_s;
    return day_s >= s->resync_start_s || day_s < s->resync_end_s;
}

GUARD(auto_resync)
{
    return rel_g_auto_later(r, ev, err) && in_window(&r->set, ev->day_s);
}

GUARD(auto_later)
{
    UNUSED;
    return r->set.auto_resync && !r->resync_held && r->flow.phase == FLOW_IDLE;
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

/* Where a change of role that failed goes back to. */
GUARD(from_nothing)
{
    UNUSED;
    return r->seed && r->yield_from == ST_NONE;
}

GUARD(from_prepared)
{
    UNUSED;
    return r->seed && r->yield_from == ST_P_PREPARED;
}

GUARD(from_ir)
{
    UNUSED;
    return r->seed && (r->yield_from == ST_P_IR_SUSP || r->yield_from == ST_P_IR_CRIT);
}

GUARD(other_kind)
{
    UNUSED;
    return r->flow.kind != FLOW_RESYNC;
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

GUARD(has_peer)
{
    UNUSED;
    return r->peer[0] != 0;
}

int rel_must_be_off(const char *name, enum rel_state st, enum rel_event_type ev, struct vr_err *err)
{
    if (ev == EV_U_BECOME_REPLICA && st == ST_P_REPL) /* the shutdown makes a cycle begin */
        return vr_fail(err, VR_E_STATE, 0,
                       "machine %s must be off for this, and no cycle of it may run; first: "
                       "vmreplica suspend %s, then: vmreplica shutdown %s",
                       name, name, name);
    return vr_fail(err, VR_E_STATE, 0,
                   "machine %s must be off for this; shut it down first (virsh shutdown %s)", name,
                   name);
}

GUARD(vm_off)
{
    return ev->vm_off ? 1 : rel_must_be_off(r->name, r->st, ev->type, err);
}

GUARD(vm_off_idle)
{
    if (r->flow.phase == FLOW_IDLE)
        return rel_g_vm_off(r, ev, err);
    if (r->st == ST_P_REPL)
        return vr_fail(
            err, VR_E_BUSY, 0,
            "a cycle of machine %s is running; first: vmreplica suspend %s, then, unless "
            "it is off: vmreplica shutdown %s",
            r->name, r->name, r->name);
    return vr_fail(err, VR_E_BUSY, 0,
                   "a cycle of machine %s is just ending; wait a moment, then ask again", r->name);
}

static int same_peer_or_none(const struct rel *r, const struct rel_event *ev, struct vr_err *err)
{
    if (!r->peer[0] || !strcmp(r->peer, ev->peer))
        return 1;
    return vr_fail(err, VR_E_EXISTS, 0, "machine %s is already the replica of one on host %s",
                   r->name, r->peer);
}

GUARD(may_recreate)
{
    if (r->rx_active)
        return vr_fail(err, VR_E_BUSY, 0, "a transfer for machine %s is still coming in", r->name);
    return same_peer_or_none(r, ev, err);
}

GUARD(seed_for_peer)
{
    if (!r->seed)
        return 0;
    return rel_g_may_recreate(r, ev, err);
}

GUARD(from_peer)
{
    if (!strcmp(r->peer, ev->peer))
        return 1;
    return vr_fail(err, VR_E_AUTH, 0, "host %s is not the primary of machine %s (that is %s)",
                   ev->peer, r->name, r->peer);
}

/* They were overtaken by newer ones on their way, or by the end of the relationship that they are
 * of. Versions that do not number them send 0. */
GUARD(outdated)
{
    if (rel_g_from_peer(r, ev, err) < 0)
        return -1;
    if (!vr_uuid_is_zero(&ev->lineage) && !vr_uuid_eq(&ev->lineage, &r->lineage))
        return vr_fail(err, VR_E_SUPERSEDED, 0,
                       "the settings sent for machine %s are of another lineage than the one here",
                       r->name);
    return ev->set.rev && ev->set.rev < r->set.rev;
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
    if (rel_g_from_peer(r, ev, err) < 0)
        return -1;
    if (!vr_uuid_eq(&r->lineage, &ev->lineage))
        return vr_fail(err, VR_E_SUPERSEDED, 0,
                       "the data sent for machine %s is of another lineage than the one held here",
                       r->name);
    if (r->rx_active)
        return vr_fail(err, VR_E_BUSY, 0, "a transfer for machine %s is already coming in",
                       r->name);
    bool same = r->has_newest && vr_uuid_eq(&r->newest.lineage, &ev->lineage);
    /* What this host wrote on its own was told to the sender, who adds it to what is shipped. */
    if (r->diverged && ev->diverged && ev->latest && ev->point.epoch == 0)
        return 1;
    /* Changes since a point not newer than ours cover everything that may differ: redundant, never
     * wrong. Changes since a point that we never had would leave a gap. */
    if (ev->latest && (!same || ev->point.epoch > r->newest.epoch))
        return vr_fail_detail(
            err, VR_E_TRACKING, VR_LOST_PEER,
            "the replica of machine %s does not hold the point that the changes start from",
            r->name);
    return 1;
}

GUARD(opens_resync)
{
    return ev->resync ? rel_g_may_receive(r, ev, err) : 0;
}

GUARD(opens_update)
{
    return ev->update ? rel_g_may_receive(r, ev, err) : 0;
}

/* What came in could not be written or read here: somebody has to do something on this host. The
 * sender's own errors are its own business. */
GUARD(fault_here)
{
    (void)r;
    (void)err;
    bool theirs = ev->err.where && !strcmp(ev->err.where, "peer");
    return !theirs && (ev->err.kind == VR_E_NOSPACE || ev->err.kind == VR_E_IO ||
                       ev->err.kind == VR_E_NOFILE || ev->err.kind == VR_E_CORRUPT);
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

/* Waits for the first copy of a primary, with points of its own below: such as it became a replica
 * with. An unbound seed has nobody to fail over from. */
static bool has_own(const struct rel *r)
{
    return r->seed && r->has_newest && r->peer[0];
}

GUARD(fo_own_busy)
{
    (void)err;
    return has_own(r) && !ev->latest && r->rx_active;
}

GUARD(fo_own)
{
    if (!has_own(r))
        return 0;
    if (!ev->latest)
        return 1;
    return vr_fail(
        err, VR_E_STATE, 0,
        "host %s has sent no recovery point of machine %s yet; what is here is what this "
        "host had itself, and such a point must be named: see vmreplica points %s, then "
        "vmreplica failover %s --point POINT",
        r->peer, r->name, r->name, r->name);
}

GUARD(was_own_paused)
{
    UNUSED;
    return r->seed && r->paused_for_failover;
}

/* The call may have had its effect although no answer came. */
GUARD(unsure)
{
    UNUSED;
    return vr_kind_scope(ev->err.kind) == VR_SCOPE_XFER;
}

static int still_running(const struct rel *r, struct vr_err *err)
{
    return vr_fail(err, VR_E_RUNNING, 0,
                   "machine %s is still running on its old primary; shut it down there first "
                   "(or: vmreplica reverse %s --stop-old)",
                   r->name, r->name);
}

GUARD(may_yield)
{
    if (rel_g_from_peer(r, ev, err) < 0)
        return -1;
    if (r->flow.phase != FLOW_IDLE)
        return vr_fail(err, VR_E_BUSY, 0, "the last cycle of machine %s is just ending; try again",
                       r->name);
    if (!ev->vm_off)
        return still_running(r, err);
    return vr_point_eq(&r->acked, &ev->point); /* else it has diverged: the next row */
}

/* After an unplanned failover, or one to an older point: this host's disks and the peer's differ in
 * what each wrote since the point failed over to. Nothing here is given up: it becomes a point. */
GUARD(may_diverge)
{
    if (rel_g_from_peer(r, ev, err) < 0)
        return -1;
    if (r->flow.phase != FLOW_IDLE)
        return vr_fail(err, VR_E_BUSY, 0, "a cycle of machine %s is just ending; try again",
                       r->name);
    /* The point may be an older lineage's; what counts is that the peer received from here. */
    if (!vr_uuid_eq(&r->lineage, &ev->newest.lineage) &&
        !vr_uuid_eq(&r->lineage, &ev->point.lineage))
        return vr_fail(
            err, VR_E_STATE, 0,
            "machine %s was failed over to a point that did not come from here. With the "
            "machine off on the host whose disks are to become the replica, there: "
            "vmreplica seed %s; then again: vmreplica reverse %s",
            r->name, r->name, r->name);
    return ev->vm_off ? 1 : still_running(r, err);
}

GUARD(diverging)
{
    UNUSED;
    return r->diverged;
}

/* Nobody has found yet that this host's disks differ from the point failed over to. */
GUARD(planned)
{
    UNUSED;
    return !r->seed && !r->diverged;
}

GUARD(diverging_prepared)
{
    UNUSED;
    return r->diverged && r->yield_from == ST_P_PREPARED;
}

/* Who asked: a peer (its lineage is awaited then) or a user who offers the disks. */
GUARD(diverging_for_peer)
{
    UNUSED;
    return r->diverged && r->yield_for_peer;
}

/* The machine was failed over to this host, and its disks are its own. */
GUARD(over_here)
{
    UNUSED;
    return rel_mode(r) == REL_MODE_REPLICA && r->failover_kind != VR_POINT_NONE;
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

/* ---- what the other host tells ---- */
GUARD(told_by_peer)
{
    (void)err;
    return r->peer[0] && !strcmp(r->peer, ev->peer);
}

/* The primary does not compare, or change the disks, any more, and nothing of it comes in here. */
GUARD(peer_is_past_it)
{
    return !r->rx_active && ev->story.state_known && ev->story.state != rel_cim_state(r) &&
           rel_g_told_by_peer(r, ev, err);
}

/* The machine was failed over there from the lineage that this host carries on. */
GUARD(supersedes)
{
    return rel_g_told_by_peer(r, ev, err) && ev->story.failed_over &&
           vr_uuid_eq(&ev->story.of, &r->lineage);
}

/* It could not be asked since it stopped: who only lacks an authorization there is answered, and
 * waits for somebody. */
GUARD(distrusted)
{
    UNUSED;
    return r->last_err.kind == VR_E_AUTH && r->peer_away;
}

GUARD(trusted_again)
{
    return rel_g_distrusted(r, ev, err) && rel_g_told_by_peer(r, ev, err) &&
           !rel_g_supersedes(r, ev, err);
}

/* The machine was failed over there from the lineage that began here: the peer has been its
 * replica.
 */
GUARD(supersedes_next)
{
    return rel_g_told_by_peer(r, ev, err) && ev->story.failed_over &&
           vr_uuid_eq(&ev->story.of, &r->next_lineage);
}

/* Only as an answer: what was told before the failover may arrive after it, from a host that was
 * cut off meanwhile. */
static bool follows(const struct rel *r, const struct rel_event *ev)
{
    return !ev->unasked && !strcmp(r->peer, ev->peer) && ev->story.mode == REL_MODE_REPLICA &&
           !ev->story.failed_over && vr_uuid_eq(&ev->story.lineage, &r->lineage);
}

/* The failover was cancelled there: its replica is a replica again. */
GUARD(follows_again)
{
    (void)err;
    return follows(r, ev);
}

GUARD(follows_again_ready)
{
    (void)err;
    return r->super_from == ST_P_READY && follows(r, ev);
}

GUARD(follows_again_copy_paused)
{
    (void)err;
    return r->super_from == ST_P_IR_SUSP && rel_uncopied(r) && follows(r, ev);
}

GUARD(follows_again_paused)
{
    bool paused = r->super_from == ST_P_SUSP || r->super_from == ST_P_RESYNC_SUSP ||
                  r->super_from == ST_P_IR_SUSP;
    (void)err;
    return paused && follows(r, ev);
}

GUARD(follows_again_uncopied)
{
    (void)err;
    return rel_uncopied(r) && follows(r, ev);
}

/* The disks are compared; whether at once, in the daily window or when somebody says so, as ever.
 */
GUARD(follows_again_untracked)
{
    (void)err;
    return !r->tracked && follows(r, ev);
}

GUARD(may_resume_copy)
{
    (void)err;
    return r->resuming && rel_uncopied(r) && follows(r, ev);
}

GUARD(may_resume)
{
    (void)err;
    return r->resuming && follows(r, ev);
}

GUARD(not_asking)
{
    (void)ev;
    if (!r->resuming)
        return 1;
    return vr_fail(err, VR_E_BUSY, 0, "host %s is just being asked whether machine %s may go on",
                   r->peer, r->name);
}

GUARD(resuming)
{
    return r->resuming && rel_g_told_by_peer(r, ev, err);
}

GUARD(start_allowed)
{
    UNUSED;
    return r->start_allowed;
}

GUARD(from_superseded)
{
    UNUSED;
    return r->yield_from == ST_P_SUPERSEDED && !r->start_allowed;
}

GUARD(from_superseded_allowed)
{
    UNUSED;
    return r->yield_from == ST_P_SUPERSEDED && r->start_allowed;
}

/* Starting the machine here again would make two. */
GUARD(over_there)
{
    (void)ev;
    if (!r->peer_over || r->peer_away)
        return 0;
    if (r->peer_state_known && !r->peer_state)
        return vr_fail(err, VR_E_SUPERSEDED, 0,
                       "machine %s was failed over to host %s, which may run it, and replication "
                       "was ended there. To go on with what is here: see that it is off there, "
                       "then vmreplica disable %s and vmreplica boot %s",
                       r->name, r->peer, r->name, r->name);
    if (r->peer_state_known && r->peer_state == 6)
        return vr_fail(err, VR_E_SUPERSEDED, 0,
                       "machine %s is failed over to host %s for good, which may run it. It goes "
                       "on with: vmreplica --host %s reverse %s. If that host is lost: vmreplica "
                       "disable %s here",
                       r->name, r->peer, r->peer, r->name, r->name);
    return vr_fail(err, VR_E_SUPERSEDED, 0,
                   "machine %s is failed over to host %s, which may run it. To go on with what is "
                   "there: vmreplica --host %s reverse %s. To go on with what is here: first "
                   "vmreplica --host %s cancel %s --discard (what was written there since is lost)"
                   ". If that host is lost: vmreplica disable %s here",
                   r->name, r->peer, r->peer, r->name, r->peer, r->name, r->name);
}

/* ---- a reversal that waits ---- */
GUARD(withdraw_first)
{
    (void)ev;
    return vr_fail(err, VR_E_STATE, 0,
                   "the reversal of machine %s waits for host %s; withdraw it first (vmreplica "
                   "cancel %s)",
                   r->name, r->peer, r->name);
}

/* The old primary is back and its machine runs: the operator has to decide. */
GUARD(queued_and_running)
{
    return r->queued && ev->story.power == REL_POWER_ON && rel_g_told_by_peer(r, ev, err);
}

GUARD(queued)
{
    return r->queued && rel_g_told_by_peer(r, ev, err);
}

/* Whoever asks now gets the answer; what waits goes on waiting. */
GUARD(refused)
{
    return !r->queued && !r->committed && vr_kind_scope(ev->err.kind) != VR_SCOPE_XFER &&
           rel_g_told_by_peer(r, ev, err);
}

GUARD(refused_committed)
{
    return !r->queued && r->committed && vr_kind_scope(ev->err.kind) != VR_SCOPE_XFER &&
           rel_g_told_by_peer(r, ev, err);
}

GUARD(not_yet)
{
    UNUSED;
    return r->queued && (ev->err.kind == VR_E_RUNNING || ev->err.kind == VR_E_BUSY ||
                         ev->err.kind == VR_E_UNAVAIL);
}

GUARD(seeded_queued)
{
    UNUSED;
    return ev->seeded && r->queued;
}
