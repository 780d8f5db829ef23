/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Actions that follow from what the other host tells or does not tell: a lineage that is
 * superseded, a reversal that waits for its host. See actions.c. Pure. */
#include "replication/step_int.h"

#include <stdio.h>
#include <string.h>

#define LOOK_MS 10000 /* a host that was failed over to looks after the old primary so often */
#define LOOK_WAITING_MS 3000 /* and so often when the reversal waits for it */
/* How much longer than the interval a replica waits for its primary, and how often it asks one that
 * did not answer. */
enum { LISTEN_LEAST_MS = 5000, LISTEN_MOST_MS = 60000, LISTEN_AWAY_MS = 20000 };

struct rel_story rel_story(const struct rel *r)
{
    bool changing = r->st == ST_P_CREATING || r->st == ST_R_CREATING || r->st == ST_P_REMOVING ||
                    r->st == ST_R_REMOVING;
    struct rel_story s = { .mode = rel_mode(r),
                           .lineage = r->lineage,
                           .state_known = !changing,
                           .state = rel_cim_state(r) };
    bool over = false;
    switch (r->st) {
    case ST_R_RECOVERED:
    case ST_R_COMMITTED:
    case ST_R_REVERSE_WAIT:
    case ST_R_REVERSING:
        over = true;
        break;
    case ST_R_REMOVING:
    case ST_R_REMOVE_CRIT: /* ending it here is not taking the failover back */
        over = r->failover_kind != VR_POINT_NONE;
        break;
    default:
        break;
    }
    if (over) {
        s.failed_over = true;
        s.of = r->lineage;
        s.lineage = r->next_lineage;
    } else {
        s.failed_over = s.mode == REL_MODE_PRIMARY && !vr_uuid_is_zero(&r->parent_lineage);
        s.of = r->parent_lineage;
    }
    if (s.failed_over) {
        s.point = r->failover;
        s.since = r->failed_over_at;
    }
    return s;
}

struct rel_story rel_story_left(const struct rel *r)
{
    struct rel_story s = rel_story(r);
    s.mode = REL_MODE_NONE;
    s.state_known = true;
    s.state = 0;
    return s;
}

void rel_forget_story(struct rel *r)
{
    memset(&r->super_lineage, 0, sizeof r->super_lineage);
    memset(&r->super_point, 0, sizeof r->super_point);
    memset(&r->parent_lineage, 0, sizeof r->parent_lineage);
    r->super_since.us = 0;
    r->start_allowed = r->resuming = r->way_back = false;
    r->super_from = ST_NONE;
    r->peer_away = r->peer_over = r->peer_state_known = false;
    r->peer_power = REL_POWER_UNKNOWN;
}

/* A look that is due sooner stays so: two hosts that tell each other as often as they look would
 * put each other's looks off for ever. */
static void look_in(struct rel *r, const struct rel_event *ev, int64_t ms)
{
    if (!r->due.ms || r->due.ms > ev->mono.ms + ms)
        r->due.ms = ev->mono.ms + ms;
}

static void look_again(struct rel *r, const struct rel_event *ev)
{
    if (r->st == ST_R_RECOVERED || r->st == ST_R_COMMITTED || r->st == ST_P_SUPERSEDED)
        look_in(r, ev, LOOK_MS);
    if ((r->st == ST_P_CRIT || r->st == ST_P_IR_CRIT || r->st == ST_P_UPDATE_CRIT) &&
        rel_g_distrusted(r, ev, NULL))
        look_in(r, ev, LOOK_MS);
    if (r->st == ST_R_REVERSE_WAIT)
        look_in(r, ev, LOOK_WAITING_MS);
    if (r->st == ST_R_WAIT || r->st == ST_R_REPL || r->st == ST_R_RESYNC || r->st == ST_R_UPDATE ||
        r->st == ST_R_CRIT || r->st == ST_R_IR_CRIT)
        rel_listen(r, ev);
}

/* Nothing has to come from a primary that has nothing to send or is in trouble, so a replica that
 * has not heard anything for an interval and some time for the transfer asks. */
void rel_listen(struct rel *r, const struct rel_event *ev)
{
    if (!r->peer[0]) /* a seed that nobody has claimed yet */
        return;
    int64_t interval_ms = (int64_t)r->set.interval_s * 1000, more_ms = interval_ms / 2;
    if (r->peer_away) {
        r->due.ms = ev->mono.ms + LISTEN_AWAY_MS;
        return;
    }
    more_ms = more_ms < LISTEN_LEAST_MS ? LISTEN_LEAST_MS : more_ms;
    more_ms = more_ms > LISTEN_MOST_MS ? LISTEN_MOST_MS : more_ms;
    r->due.ms = ev->mono.ms + interval_ms + more_ms;
}

/* Whoever sends is there, and is replicating. */
void rel_heard(struct rel *r, const struct rel_event *ev)
{
    r->peer_away = r->peer_state_known = false;
    rel_listen(r, ev);
}

ACTION(listen)
{
    rel_listen(r, ev);
}

ACTION(peer_told)
{
    r->peer_away = false;
    r->peer_seen = ev->wall;
    r->peer_power = ev->story.power;
    r->peer_over = ev->story.failed_over && vr_uuid_eq(&ev->story.of, &r->lineage);
    r->peer_state_known = ev->story.state_known;
    r->peer_state = ev->story.state;
    look_again(r, ev);
}

ACTION(trusted_again)
{
    rel_a_peer_told(r, ev);
    rel_a_go(r, ev);
}

ACTION(peer_away)
{
    r->peer_away = true;
    snprintf(r->other_version, sizeof r->other_version, "%.255s",
             ev->err.kind == VR_E_VERSION ? ev->err.msg : "");
    look_again(r, ev);
}

/* ---- superseded ---- */
static void say_superseded(struct rel *r, const struct rel_event *ev)
{
    vr_err_clear(&r->last_err);
    vr_fail(&r->last_err, VR_E_SUPERSEDED, 0,
            "machine %s was failed over to host %s; what this host writes is not replicated",
            r->name, r->peer);
    r->last_err_time = ev->wall;
}

ACTION(superseded)
{
    rel_a_peer_told(r, ev);
    r->super_from = r->st;
    r->super_lineage = ev->story.lineage;
    r->super_point = ev->story.point;
    r->super_since = ev->story.since;
    r->start_allowed = r->resuming = false;
    say_superseded(r, ev);
    rel_a_park(r, ev);
    r->due.ms = ev->mono.ms + LOOK_MS;
}

/* The peer had become the replica. Failed over to a point of its own from before that, it still
 * waited for the first copy, and its disks were to be compared; else they were those failed over
 * to. */
ACTION(reversed_superseded)
{
    if (r->st != ST_R_REVERSE_WAIT)
        r->set = r->old_set; /* those that the peer was asked with */
    rel_a_become_primary(r, ev);
    rel_a_superseded(r, ev);
    r->seeded_start = !vr_uuid_eq(&ev->story.point.lineage, &ev->story.of);
    r->super_from = r->seeded_start ? ST_P_IR : ST_P_REPL;
}

/* A point that was on its way got there first; it changes nothing. */
ACTION(shipped_superseded)
{
    rel_a_shipped(r, ev);
    say_superseded(r, ev);
}

ACTION(resume_asks)
{
    (void)ev;
    r->resuming = true;
}

ACTION(resume_refused)
{
    rel_a_peer_told(r, ev);
    r->resuming = false;
    vr_err_clear(&r->last_err);
    if (r->peer_state_known && !r->peer_state)
        vr_fail(&r->last_err, VR_E_SUPERSEDED, 0,
                "machine %s was failed over to host %s, and replication was ended there: there is "
                "nothing to go on with. What can be done: vmreplica explain %s",
                r->name, r->peer, r->name);
    else if (r->peer_state_known && r->peer_state == 6)
        vr_fail(
            &r->last_err, VR_E_SUPERSEDED, 0,
            "machine %s is failed over to host %s, and that is committed: it cannot be taken "
            "back. To go on with what runs there: vmreplica reverse %s on %s. How to go on with "
            "what is here all the same: vmreplica explain %s",
            r->name, r->peer, r->name, r->peer, r->name);
    else
        vr_fail(&r->last_err, VR_E_SUPERSEDED, 0,
                "machine %s is failed over to host %s. To go on with what runs there: vmreplica "
                "reverse %s on %s. To go on with what is here: vmreplica cancel %s --discard on "
                "%s; replication goes on by itself then",
                r->name, r->peer, r->name, r->peer, r->name, r->peer);
    r->last_err_time = ev->wall;
}

ACTION(resume_failed)
{
    rel_a_peer_away(r, ev);
    r->resuming = false;
    say_superseded(r, ev); /* the job tells why; this stays the reason of the state */
}

static void end_superseded(struct rel *r, const struct rel_event *ev)
{
    rel_a_peer_told(r, ev);
    enum rel_power power = r->peer_power;
    struct vr_uuid parent = r->parent_lineage;
    bool way_back = r->way_back;
    rel_forget_story(r);
    r->parent_lineage = parent;
    r->way_back = way_back;
    r->peer_power = power;
}

ACTION(unsuperseded)
{
    end_superseded(r, ev);
    rel_a_go(r, ev);
}

/* A comparison that somebody had cancelled does not start by itself now, either. */
ACTION(unsuperseded_untracked)
{
    bool held = r->resync_held;
    rel_a_unsuperseded(r, ev);
    r->resync_held = held;
}

/* Somebody had stopped it before the failover: that stays his decision. */
ACTION(unsuperseded_parked)
{
    end_superseded(r, ev);
    vr_err_clear(&r->last_err);
    r->due.ms = 0;
}

ACTION(allow_start)
{
    (void)ev;
    r->start_allowed = true;
}

/* ---- reverse ---- */
ACTION(reverse)
{
    rel_keep_old(r);
    rel_new_settings(r, ev);
    rel_copy_name(r->peer, ev->peer);
    r->queued = r->asked = false;
    r->due.ms = 0;
}

/* Asked again while it waits: the newest wish counts. */
ACTION(reverse_again)
{
    rel_new_settings(r, ev);
    rel_copy_name(r->peer, ev->peer);
}

ACTION(ask_to_reverse)
{
    rel_a_peer_told(r, ev);
    r->asked = true;
    r->due.ms = 0;
}

ACTION(wait_for_power)
{
    rel_a_peer_told(r, ev);
    vr_err_clear(&r->last_err);
    vr_fail(&r->last_err, VR_E_RUNNING, 0,
            "host %s is back and runs machine %s, too; the reversal starts when it is shut down "
            "there",
            r->peer, r->name);
    r->last_err_time = ev->wall;
}

static void queue(struct rel *r, const struct rel_event *ev)
{
    rel_set_error(r, ev);
    r->queued = true;
    r->due.ms = ev->mono.ms + LOOK_WAITING_MS;
}

ACTION(wait_for_peer)
{
    r->peer_away = true;
    queue(r, ev);
}

/* The call may have had its effect: nobody knows whether the peer has become the replica of the new
 * lineage. Then the failover can no longer be cancelled: that would leave two replicas and no
 * primary. Asking again is always right. */
ACTION(reverse_unsure)
{
    queue(r, ev);
    r->committed = true;
}

ACTION(reverse_waits)
{
    queue(r, ev);
    r->asked = false;
}

/* What was asked for is kept instead: the peer may turn out to have done it. */
static void unask(struct rel *r)
{
    struct rel_settings asked = r->set;
    r->set = r->old_set;
    r->old_set = asked;
}

static void end_wait(struct rel *r)
{
    r->queued = r->asked = false;
    r->due.ms = 1; /* look after the old primary again */
}

ACTION(reverse_failed)
{
    rel_set_error(r, ev);
    unask(r);
    rel_copy_name(r->peer, r->old_peer);
    end_wait(r);
}

/* What was surely not done is forgotten. After an answer that was lost the new partner stays. */
ACTION(withdraw)
{
    (void)ev;
    if (!r->asked)
        rel_copy_name(r->peer, r->old_peer);
    unask(r);
    vr_err_clear(&r->last_err);
    end_wait(r);
}
