/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Actions of the table: what a row changes in the copy of the relationship. They cannot fail. The
 * state is still the one the event came in; step.c sets the new one afterwards. Pure. Any thread.
 */
#include "replication/step_int.h"

#include <stdio.h>
#include <string.h>

void rel_set_error(struct rel *r, const struct rel_event *ev)
{
    r->last_err = ev->err;
    r->last_err_time = ev->wall;
}

/* The first reason is the one to tell: what is found later follows from it. */
void rel_lose(struct rel *r, const struct rel_event *ev, unsigned why, const char *text)
{
    r->tracked = false;
    r->wanted_since.ms = 0; /* no cycle is waited for until the comparison is over */
    if (r->lost != VR_LOST_NOT)
        return;
    r->resync_held = false;
    r->lost = why > VR_LOST_NOT && why < VR_LOST_COUNT ? (enum vr_lost)why : VR_LOST_UNKNOWN;
    r->lost_at = ev->wall;
    snprintf(r->lost_text, sizeof r->lost_text, "%s", text);
}

void rel_copy_disks(struct rel *r, const struct rel_event *ev)
{
    r->n_disks = ev->n_disks <= VR_DISKS_MAX ? ev->n_disks : VR_DISKS_MAX;
    memcpy(r->disks, ev->disks, r->n_disks * sizeof r->disks[0]);
    rel_disks_settle(r);
}

void rel_copy_name(char to[VR_NAME_MAX], const char *from)
{
    size_t n = strnlen(from, VR_NAME_MAX - 1);
    memcpy(to, from, n);
    to[n] = 0;
}

void rel_stats_reset(struct rel *r, struct wall_us now)
{
    r->stat_start = now;
    r->stat_ok = r->stat_miss = r->stat_net_fail = r->stat_fail = r->stat_app_fail = 0;
    r->stat_bytes = r->stat_max_bytes = r->stat_ms = r->stat_max_ms = 0;
}

void rel_count(struct rel *r, const struct rel_moved *moved)
{
    r->stat_ok++;
    r->stat_bytes += moved->wire;
    r->stat_ms += moved->ms;
    if (moved->wire > r->stat_max_bytes)
        r->stat_max_bytes = moved->wire;
    if (moved->ms > r->stat_max_ms)
        r->stat_max_ms = moved->ms;
}

void rel_due_now(struct rel *r, const struct rel_event *ev)
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

/* What a user wants from now on: the next number, whatever the event says. */
void rel_new_settings(struct rel *r, const struct rel_event *ev)
{
    uint64_t rev = r->set.rev;
    r->set = ev->set;
    r->set.rev = rev + 1;
}

ACTION(create)
{
    rel_new_settings(r, ev);
    rel_copy_name(r->peer, ev->peer);
    rel_copy_name(r->name, ev->name);
    rel_copy_disks(r, ev);
    r->lineage = ev->lineage;
    r->epoch = 0;
    r->has_acked = r->tracked = r->has_newest = r->seed = r->committed = r->diverged = false;
    r->bad_blocks = 0;
    r->bad_open = false;
    r->lost = VR_LOST_NOT;
    r->seeded_start = false;
    memset(&r->acked, 0, sizeof r->acked);
    r->last_app_time.us = 0;
    rel_forget_attempt(r);
    vr_err_clear(&r->last_err);
    rel_stats_reset(r, ev->wall);
}

ACTION(created)
{
    r->seeded_start = ev->seeded;
    r->told_rev = r->set.rev;
    r->peer_state_known = false;
    vr_err_clear(&r->last_err);
}

ACTION(op_failed)
{
    rel_set_error(r, ev);
}

ACTION(start_ir)
{
    r->seeded_start |= ev->seeded;
    r->start_at.us = 0;
    r->failures = 0;
    rel_due_now(r, ev);
}

ACTION(start_ir_tick)
{
    r->start_at.us = 0;
    r->failures = 0;
    rel_due_now(r, ev);
}

ACTION(schedule)
{
    r->seeded_start |= ev->seeded;
    r->start_at = ev->start_at;
    r->due.ms = ev->mono.ms + (ev->start_at.us - ev->wall.us) / 1000 + 1;
}

ACTION(schedule_resync)
{
    rel_lose(r, ev, VR_LOST_ASKED, "");
    r->resync_held = r->start_by_window = false;
    r->start_at = ev->start_at;
    r->due.ms = ev->mono.ms + (ev->start_at.us - ev->wall.us) / 1000 + 1;
}

/* Outside of the daily window: the next one is waited for. src:[contract.md D.4] */
ACTION(await_window)
{
    int64_t wait_s = ((int64_t)r->set.resync_start_s - ev->day_s + 86400) % 86400;
    r->start_at.us = ev->wall.us + wait_s * 1000000;
    r->start_by_window = true;
    r->due.ms = ev->mono.ms + wait_s * 1000 + 1;
}

ACTION(hold)
{
    rel_a_park(r, ev);
    r->resync_held = true;
}

ACTION(hold_scheduled)
{
    rel_a_unschedule(r, ev);
    r->resync_held = true;
}

ACTION(reschedule)
{
    r->due.ms = ev->mono.ms + (r->start_at.us - ev->wall.us) / 1000 + 1;
}

ACTION(unschedule)
{
    (void)ev;
    r->start_at.us = 0;
    r->due.ms = 0;
}

/* Until it has succeeded, what was before must be there to go back to. */
void rel_keep_old(struct rel *r)
{
    r->old_set = r->set;
    rel_copy_name(r->old_peer, r->peer);
}

void rel_back_to_old(struct rel *r)
{
    r->set = r->old_set;
    rel_copy_name(r->peer, r->old_peer);
}

ACTION(peer_create)
{
    rel_keep_old(r);
    rel_copy_name(r->peer, ev->peer);
    rel_copy_name(r->name, ev->name);
    r->set = ev->set;
    rel_copy_disks(r, ev);
    r->lineage = ev->lineage;
    rel_stats_reset(r, ev->wall);
    vr_err_clear(&r->last_err);
}

ACTION(create_failed)
{
    rel_set_error(r, ev);
    rel_back_to_old(r);
}

ACTION(replica_created)
{
    vr_err_clear(&r->last_err);
    rel_heard(r, ev);
}

ACTION(prepare)
{
    /* The last delta of a preparation that was called off: the machine may have run since. */
    if (r->flow.kind == FLOW_FINAL)
        r->flow.kind = FLOW_CYCLE;
    if (r->flow.phase == FLOW_IDLE)
        rel_due_now(r, ev);
}

/* Cycles go on as before; what is on its way is given up, so that the machine can start at once. */
ACTION(stop_prepare)
{
    if (r->flow.phase == FLOW_IDLE)
        rel_due_now(r, ev);
    else
        r->flow.cancelled = r->flow.again = true;
}

ACTION(revert_prepare)
{
    rel_due_now(r, ev);
}

ACTION(yield)
{
    rel_keep_old(r);
    r->yield_from = r->st;
    r->next_lineage = ev->lineage;
    r->seed = r->diverged = false;
    r->yield_for_peer = true;
    r->set = ev->set;
    r->due.ms = r->start_at.us = 0;
}

ACTION(diverge)
{
    rel_a_yield(r, ev);
    r->seed = r->diverged = true;
    r->epoch++; /* of the point that the disks become; burnt if that fails */
    if (vr_uuid_eq(&ev->newest.lineage, &r->lineage) && ev->newest.epoch < r->acked.epoch)
        rel_lose(r, ev, VR_LOST_PEER, "it lost a point that it had acknowledged");
}

/* The machine ran or somebody wrote to its disks after the failover was prepared: what this host
 * wrote becomes a point, and the other side is told. */
ACTION(altered)
{
    (void)ev;
    r->seed = r->diverged = true;
    r->epoch++;
}

/* The point that this host's disks are when they become a seed: what it wrote last in its lineage,
 * and nobody received; or, without a history, the beginning of one. */
struct vr_point_id rel_seed_point(const struct rel *r)
{
    if (r->diverged)
        return (struct vr_point_id){ .lineage = r->lineage, .epoch = r->epoch };
    return (struct vr_point_id){ .lineage = r->next_lineage, .epoch = 0 };
}

/* The old primary is the replica now; what its disks hold is the point the new lineage began with.
 */
ACTION(yielded)
{
    rel_disks_settle(r);
    r->lineage = r->next_lineage;
    r->newest = (struct vr_point_id){ .lineage = r->lineage, .epoch = 0 };
    r->has_newest = true;
    r->has_acked = r->tracked = false;
    r->lost = VR_LOST_NOT;
    r->ever_replica = true;
    rel_forget_story(r);
    rel_listen(r, ev);
    r->last_kind = VR_POINT_PLANNED;
    vr_err_clear(&r->last_err);
    rel_stats_reset(r, ev->wall);
}

ACTION(offer)
{
    rel_keep_old(r);
    r->yield_from = r->st;
    if (r->st == ST_NONE) {
        rel_copy_name(r->name, ev->name);
        rel_settings_default(&r->set);
        r->peer[0] = 0;
    }
    if (ev->n_disks)
        rel_copy_disks(r, ev);
    r->next_lineage = ev->lineage;
    r->seed = true;
    r->diverged = r->st != ST_NONE && r->has_acked;
    r->epoch += r->diverged;
    r->yield_for_peer = false;
    r->due.ms = r->start_at.us = 0;
}

ACTION(yielded_seed)
{
    rel_disks_settle(r);
    r->newest = rel_seed_point(r);
    r->lineage = r->next_lineage;
    r->has_newest = true;
    r->has_acked = r->tracked = false;
    r->lost = VR_LOST_NOT;
    r->ever_replica = true;
    rel_forget_story(r);
    rel_listen(r, ev);
    r->last_time.us = 0; /* src:[contract.md A.5] NULL until the first replication completed */
    vr_err_clear(&r->last_err);
    rel_stats_reset(r, ev->wall);
}

ACTION(yield_failed)
{
    rel_set_error(r, ev);
    rel_back_to_old(r);
    r->seed = r->diverged = false;
}

ACTION(bind_seed)
{
    rel_copy_name(r->peer, ev->peer);
    r->set = ev->set;
    r->lineage = ev->lineage;
    /* What was written here is known since the acknowledged point. A host that does not hold it any
     * more (it was restored) knows nothing of what lies between: the disks are compared. */
    r->diverged = r->diverged && vr_uuid_eq(&ev->newest.lineage, &r->acked.lineage) &&
                  ev->newest.epoch >= r->acked.epoch;
    r->last_time.us = 0;
    rel_heard(r, ev);
}

ACTION(park)
{
    r->wanted_since.ms = 0; /* what nobody wants is not missed */
    r->start_at.us = 0;
    r->due.ms = 0;
    if (r->flow.phase != FLOW_IDLE)
        r->flow.cancelled = true;
}

ACTION(go)
{
    r->start_at.us = 0;
    r->resync_held = false;
    r->failures = 0;
    vr_err_clear(&r->last_err);
    if (r->flow.phase == FLOW_IDLE)
        rel_due_now(r, ev);
    else
        r->flow.again = true;
}

ACTION(resync)
{
    r->start_at.us = 0;
    r->resync_held = false;
    rel_lose(r, ev, VR_LOST_ASKED, "");
    r->failures = 0;
    if (r->flow.phase == FLOW_IDLE)
        rel_due_now(r, ev);
    else
        r->flow.again = true;
}

ACTION(rx_open)
{
    rel_heard(r, ev);
    r->rx_active = true;
    r->rx_cancel = r->rx_differed = false;
}

ACTION(rx_committed)
{
    r->newest = ev->point;
    r->has_newest = true;
    r->newest_instant = ev->instant;
    r->last_time = ev->wall;
    r->last_kind = ev->kind;
    if (ev->kind == VR_POINT_APPLICATION)
        r->last_app_time = ev->wall;
    r->bad_open &= r->rx_differed; /* what was wanted when it began is part of every transfer */
    r->seed = r->diverged = false;
    rel_heard(r, ev);
    rel_copy_disks(r, ev);
    r->last = ev->moved;
    vr_err_clear(&r->last_err);
    rel_count(r, &ev->moved);
}

ACTION(rx_ended)
{
    r->rx_active = r->rx_cancel = false;
    rel_listen(r, ev);
    if (ev->err.kind != VR_OK && ev->err.kind != VR_E_CANCELLED) {
        rel_set_error(r, ev);
        r->stat_fail++;
    }
}

ACTION(rx_stop)
{
    (void)ev;
    r->rx_cancel = r->rx_active;
}

ACTION(clear_error)
{
    (void)ev;
    vr_err_clear(&r->last_err);
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
    rel_a_failover(r, ev);
    r->paused_for_failover = true;
}

ACTION(failed_over)
{
    if (ev->n_disks)
        rel_copy_disks(r, ev);
    r->failover = ev->point;
    r->failover_latest = false;
    r->failover_kind = ev->kind;
    r->failed_over_at = ev->wall;
    r->queued = r->asked = false;
    r->peer_away = r->peer_state_known = false;
    r->peer_power = REL_POWER_UNKNOWN;
    vr_err_clear(&r->last_err);
}

ACTION(failover_failed)
{
    rel_listen(r, ev);
    rel_set_error(r, ev);
    r->failover_kind = VR_POINT_NONE;
    r->failover_latest = false;
}

ACTION(reverted)
{
    if (ev->n_disks)
        rel_copy_disks(r, ev);
    rel_listen(r, ev);
    r->failover_kind = VR_POINT_NONE;
    r->paused_for_failover = false;
    vr_err_clear(&r->last_err);
}

ACTION(commit)
{
    (void)ev;
    r->committed = true;
}

/* The failed-over machine is the primary now; the failover was epoch 0 of its lineage, and the
 * checkpoint of that epoch has tracked every write since. A peer whose disks may differ besides
 * without anybody knowing where (seeded, not diverged) gets a comparison that needs no more of this
 * host's disks than that. */
ACTION(become_primary)
{
    r->parent_lineage = r->lineage;
    r->lineage = r->next_lineage;
    r->told_rev = 0; /* it may have been asked with others before, and this answer is of then */
    r->epoch = 0;
    r->queued = r->asked = false;
    r->way_back = true;
    r->last_back = (struct rel_moved){ .kept = ev->point };
    r->acked = (struct vr_point_id){ .lineage = r->lineage, .epoch = 0 };
    r->diverged = ev->seeded && ev->diverged;
    r->has_acked = r->tracked = true;
    r->lost = VR_LOST_NOT;
    r->seeded_start = ev->seeded;
    r->has_newest = r->seed = false;
    r->ever_replica = true;
    r->committed = false;
    r->failover_kind = VR_POINT_NONE;
    if (ev->seeded)
        r->last_time.us = 0;
    r->failures = 0;
    vr_err_clear(&r->last_err);
    rel_stats_reset(r, ev->wall);
    rel_due_now(r, ev);
}

ACTION(modify)
{
    rel_new_settings(r, ev);
    if (!r->set.app_interval_s && r->app_note[0])
        rel_forget_attempt(r);
    if (r->flow.phase == FLOW_IDLE && r->due.ms > ev->mono.ms)
        rel_due_now(r, ev);
}

/* Another window, or none at all. */
ACTION(modify_waiting)
{
    rel_new_settings(r, ev);
    if (r->start_by_window) {
        r->start_at.us = 0;
        r->start_by_window = false;
    }
    if (!r->start_at.us)
        rel_due_now(r, ev);
}

ACTION(remove)
{
    (void)ev;
    r->due.ms = 0;
    r->abandon = false;
    if (r->flow.phase != FLOW_IDLE)
        r->flow.cancelled = true;
    r->rx_cancel = r->rx_active;
}

ACTION(abandon)
{
    rel_a_remove(r, ev);
    r->abandon = true;
}

ACTION(remove_failed)
{
    r->abandon = false;
    rel_set_error(r, ev);
}

ACTION(removed)
{
    (void)ev;
    struct rel keep = { .machine = r->machine };
    rel_copy_name(keep.name, r->name);
    rel_settings_default(&keep.set);
    *r = keep;
}

ACTION(restart)
{
    r->flow = (struct rel_flow){ .phase = FLOW_IDLE };
    r->wanted_since.ms = 0;
    r->rx_active = r->rx_cancel = r->abandon = false;
    r->failures = 0;
    if (r->st == ST_R_REVERSING)
        r->committed = true; /* the peer may have been asked and have done it */
    switch (r->st) {
    case ST_P_IR:
    case ST_P_REPL:
    case ST_P_PREPARING:
    case ST_P_RESYNC:
    case ST_P_UPDATE:
        rel_due_now(r, ev);
        break;
    case ST_R_WAIT:
    case ST_R_REPL:
    case ST_R_RESYNC:
    case ST_R_UPDATE:
    case ST_R_CRIT:
    case ST_R_IR_CRIT:
        rel_listen(r, ev);
        break;
    case ST_P_RESYNC_WAIT:
        rel_due_now(r, ev);
        __attribute__((fallthrough));
    case ST_P_RESYNC_SUSP:
    case ST_P_READY:
        if (r->start_at.us)
            r->due.ms = ev->mono.ms + 1 +
                        (r->start_at.us > ev->wall.us ? (r->start_at.us - ev->wall.us) / 1000 : 0);
        break;
    case ST_P_CRIT:
    case ST_P_IR_CRIT:
    case ST_P_UPDATE_CRIT:
        r->peer_away = r->last_err.kind == VR_E_AUTH; /* it may be trusted again since */
        __attribute__((fallthrough));
    default:
        r->due.ms = 0;
    }
}
