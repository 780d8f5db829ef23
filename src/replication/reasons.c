/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Conditions of explain.def: what holds for a relationship. Pure. Any thread. */
#include "replication/explain_int.h"

static bool in(const struct rel_facts *f, uint16_t cim)
{
    return rel_cim_state(f->r) == cim;
}

static bool is_primary(const struct rel_facts *f)
{
    return rel_mode(f->r) == REL_MODE_PRIMARY;
}

static bool is_replica(const struct rel_facts *f)
{
    return rel_mode(f->r) == REL_MODE_REPLICA;
}

/* ---- reasons ---- */
WHY(error)
{
    return is_primary(f) && (in(f, 8) || in(f, 16)) && f->r->st != ST_P_SUPERSEDED &&
           f->r->st != ST_P_REMOVE_CRIT;
}

WHY(not_removed)
{
    return f->r->st == ST_P_REMOVE_CRIT;
}

WHY(replica_not_removed)
{
    return f->r->st == ST_R_REMOVE_CRIT;
}

WHY(cannot_receive)
{
    return is_replica(f) && in(f, 8) && f->r->st != ST_R_REMOVE_CRIT;
}

/* What the other end has told of itself. */
static bool peer_in(const struct rel_facts *f, uint16_t cim)
{
    return f->r->peer_state_known && f->r->peer_state == cim;
}

/* The machine lives at the other end, and nothing protects it there any more. */
static bool ended_over_there(const struct rel_facts *f)
{
    const struct rel *r = f->r;
    return peer_in(f, 0) && (r->st == ST_P_SUPERSEDED || (r->st == ST_P_PREPARED && r->peer_over));
}

/* The failover there is committed: no way leads back from it. */
static bool committed_there(const struct rel_facts *f)
{
    return peer_in(f, 6);
}

WHY(superseded)
{
    return f->r->st == ST_P_SUPERSEDED && !committed_there(f) && !ended_over_there(f);
}

WHY(superseded_committed)
{
    return f->r->st == ST_P_SUPERSEDED && committed_there(f);
}

WHY(superseded_ended)
{
    return ended_over_there(f);
}

WHY(both_run)
{
    return in(f, 5) && f->r->peer_power == REL_POWER_ON;
}

WHY(both_run_committed)
{
    return in(f, 6) && f->r->peer_power == REL_POWER_ON;
}

WHY(reverse_waits)
{
    return f->r->st == ST_R_REVERSE_WAIT && f->r->queued;
}

/* Who reads this was not there, perhaps, when a reversal or the cancelling of the failover failed.
 */
WHY(not_done)
{
    return f->r->st == ST_R_RECOVERED && f->r->last_err.kind != VR_OK;
}

WHY(not_done_committed)
{
    return f->r->st == ST_R_COMMITTED && f->r->last_err.kind != VR_OK;
}

/* The chain of a machine that lives here is its own disks. */
static bool lives_here(const struct rel_facts *f)
{
    return is_primary(f) || in(f, 5) || in(f, 6);
}

WHY(storage_silent)
{
    return f->r->silent[0] && !lives_here(f);
}

WHY(machine_silent)
{
    return f->r->silent[0] && lives_here(f);
}

WHY(resync_required)
{
    return in(f, 9);
}

WHY(replica_paused)
{
    return is_replica(f) && (in(f, 7) || in(f, 11));
}

#define FAILURES_TO_TELL 3 /* one or two are no news: the next attempt follows at once */

/* ---- how the relationship stands at the other end, as that told ---- */
/* A replica that expects something from its primary. */
static bool waits_for_primary(const struct rel_facts *f)
{
    return is_replica(f) &&
           (in(f, 2) || in(f, 3) || f->r->st == ST_R_RESYNC || f->r->st == ST_R_UPDATE);
}

static bool ended_there(const struct rel_facts *f)
{
    return is_primary(f) && peer_in(f, 0) && !ended_over_there(f);
}

WHY(runs_there)
{
    return ended_there(f) && f->r->peer_power == REL_POWER_ON;
}

WHY(replica_ended)
{
    return ended_there(f) && f->r->peer_power != REL_POWER_ON;
}

WHY(primary_ended)
{
    return is_replica(f) && !in(f, 5) && !in(f, 6) && peer_in(f, 0);
}

WHY(old_primary_ended)
{
    return (in(f, 5) || in(f, 6)) && peer_in(f, 0);
}

WHY(primary_error)
{
    return waits_for_primary(f) && (peer_in(f, 8) || peer_in(f, 16));
}

WHY(primary_paused)
{
    return waits_for_primary(f) && (peer_in(f, 7) || peer_in(f, 11));
}

WHY(primary_compares)
{
    return waits_for_primary(f) && f->r->st != ST_R_RESYNC && (peer_in(f, 9) || peer_in(f, 10));
}

WHY(other_version)
{
    return waits_for_primary(f) && f->r->peer_away && f->r->other_version[0];
}

WHY(primary_silent)
{
    return waits_for_primary(f) && f->r->peer_away && !rel_why_other_version(f);
}

WHY(cannot_send)
{
    bool tries = in(f, 2) || in(f, 3) || in(f, 10) || in(f, 15);
    return is_primary(f) && tries && f->r->failures >= FAILURES_TO_TELL && !ended_there(f);
}

WHY(differs)
{
    return f->r->bad_blocks && f->r->bad_open;
}

WHY(differed)
{
    return f->r->bad_blocks && !f->r->bad_open;
}

WHY(still_frozen)
{
    return f->stuck;
}

WHY(machine_gone)
{
    return is_primary(f) && f->machine_gone;
}

WHY(machine_away)
{
    return is_primary(f) && f->machine_away;
}

/* Where it is to run: not while it moves to another host, or lives there. */
WHY(off)
{
    switch (f->r->st) {
    case ST_P_PREPARING:
    case ST_P_PREPARED:
    case ST_P_SUPERSEDED:
    case ST_P_YIELDING:
    case ST_P_REMOVING:
    case ST_P_REMOVE_CRIT:
        return false;
    default:
        return f->off && (is_primary(f) || in(f, 5) || in(f, 6));
    }
}

WHY(disks_gone)
{
    return is_primary(f) && f->gone_disks;
}

WHY(not_consistent)
{
    return is_primary(f) && f->r->set.app_interval_s && f->r->app_note[0];
}

WHY(initial)
{
    return (is_primary(f) && (in(f, 1) || in(f, 2))) || (is_replica(f) && in(f, 2));
}

WHY(paused)
{
    return is_primary(f) && (in(f, 7) || in(f, 11));
}

WHY(failed_over)
{
    bool asked_already = f->r->st == ST_R_REVERSE_WAIT && f->r->queued; /* see reverse_waits */
    return (in(f, 5) || in(f, 6)) && !asked_already;
}

WHY(failed_over_there)
{
    return f->r->st == ST_P_PREPARED && f->r->peer_over && !ended_over_there(f);
}

WHY(resyncing)
{
    return is_primary(f) && in(f, 10);
}

WHY(resync_received)
{
    return is_replica(f) && in(f, 10);
}

/* Intervals of which none brought a point, of all. Failed attempts do not count: they are repeated
 * at once, and their number says nothing. */
WHY(missed)
{
    const struct rel *r = f->r;
    return r->stat_miss && (uint64_t)r->stat_miss * 5 > (uint64_t)r->stat_ok + r->stat_miss;
}

WHY(behind)
{
    int64_t limit_s = 2 * (int64_t)f->r->set.interval_s;
    if (limit_s < 3600)
        limit_s = 3600;
    bool counts = in(f, 3) || in(f, 7) || in(f, 8) || in(f, 9) || in(f, 10) || in(f, 11) ||
                  in(f, 15) || in(f, 16);
    return counts && f->r->last_time.us && f->now.us - f->r->last_time.us > limit_s * 1000000;
}

WHY(failing)
{
    bool tries = in(f, 2) || in(f, 3) || in(f, 10) || in(f, 15);
    return is_primary(f) && tries && f->r->last_err.kind != VR_OK &&
           f->r->failures < FAILURES_TO_TELL && !ended_there(f);
}

WHY(old_primary_away)
{
    return f->r->peer[0] && f->peer_away && (in(f, 5) || in(f, 6));
}

WHY(peer_away)
{
    return f->r->peer[0] && f->peer_away && !rel_why_primary_silent(f) &&
           !rel_why_old_primary_away(f);
}

WHY(clocks_differ)
{
    return f->r->peer[0] && f->peer_clock_s;
}

/* Between two attempts that go well nobody need know. */
WHY(untold)
{
    return f->r->untold && rel_owes_settings(f->r);
}

WHY(resync_scheduled)
{
    return is_primary(f) && (in(f, 9) || in(f, 11)) && f->r->start_at.us;
}

WHY(resync_held)
{
    return is_primary(f) && in(f, 9) && !f->r->start_at.us &&
           (f->r->resync_held || !f->r->set.auto_resync);
}

WHY(start_scheduled)
{
    return is_primary(f) && in(f, 1) && f->r->start_at.us;
}

WHY(queued)
{
    return f->queued;
}

WHY(compares_back)
{
    const struct rel *r = f->r;
    bool first = r->st == ST_P_READY || r->st == ST_P_IR || r->st == ST_P_IR_SUSP;
    return first && r->way_back && r->seeded_start && !(r->diverged && r->tracked);
}

WHY(new_disks)
{
    return is_primary(f) && f->new_disks;
}

WHY(plain_disks)
{
    return is_primary(f) && f->plain_disks;
}

static bool waits_with_own(const struct rel_facts *f)
{
    enum rel_state st = f->r->st;
    return f->r->seed && (st == ST_R_WAIT || st == ST_R_IR_SUSP || st == ST_R_IR_CRIT);
}

WHY(seed)
{
    return waits_with_own(f);
}

WHY(tests)
{
    return f->tests != NULL;
}

WHY(exports)
{
    return f->exports != NULL;
}

WHY(kept_below)
{
    return f->kept_below;
}

/* ---- other words than those of the state ---- */
VARIANT(unbound_seed)
{
    return f->r->st == ST_R_WAIT && f->r->seed && !f->r->peer[0];
}

VARIANT(prepared_ended)
{
    return f->r->st == ST_P_PREPARED && ended_over_there(f);
}

VARIANT(prepared_over)
{
    return f->r->st == ST_P_PREPARED && f->r->peer_over;
}

/* ---- what a failover now would lose ---- */
LOSS(unprotected)
{
    return rel_mode(f->r) == REL_MODE_NONE;
}

LOSS(over)
{
    return in(f, 5) || in(f, 6);
}

LOSS(runs_there)
{
    return rel_why_runs_there(f);
}

LOSS(replica_ended)
{
    return rel_why_replica_ended(f);
}

LOSS(superseded)
{
    return f->r->st == ST_P_SUPERSEDED || ended_over_there(f);
}

LOSS(own)
{
    return waits_with_own(f) && f->r->has_newest && f->r->peer[0];
}

/* What the peer holds when a reversal began with two hosts that had written apart is its own. */
LOSS(own_there)
{
    enum rel_state st = f->r->st;
    return f->r->has_acked && rel_uncopied(f->r) &&
           (st == ST_P_READY || st == ST_P_IR || st == ST_P_IR_SUSP || st == ST_P_IR_CRIT);
}

LOSS(nothing_yet)
{
    uint64_t age;
    return !rel_age(f, &age);
}

LOSS(prepared_over)
{
    return rel_variant_prepared_over(f);
}

LOSS(prepared)
{
    return f->r->st == ST_P_PREPARED;
}

LOSS(ahead_known)
{
    return is_primary(f) && f->has_ahead;
}

LOSS(ahead_unknown)
{
    return is_primary(f);
}

LOSS(all_bad)
{
    return is_replica(f) && f->newest_bad && !f->has_sound;
}

LOSS(newest_bad)
{
    return is_replica(f) && f->newest_bad;
}

LOSS(replica_ahead)
{
    return is_replica(f) && f->has_ahead && f->ahead;
}

LOSS(planned)
{
    return is_replica(f) && f->r->last_kind == VR_POINT_PLANNED;
}

LOSS(replica)
{
    return is_replica(f);
}
