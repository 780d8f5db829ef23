/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Actions that follow from what the other host tells or does not tell: a lineage that is
 * superseded, a reversal that waits for its host. See actions.c. Pure. */
#include "replication/step_int.h"

#include <string.h>

#define LOOK_MS 10000 /* a host that was failed over to looks after the old primary so often */
#define LOOK_WAITING_MS 3000 /* and so often when the reversal waits for it */

struct rel_story rel_story(const struct rel *r)
{
    struct rel_story s = { .mode = rel_mode(r), .lineage = r->lineage };
    switch (r->st) {
    case ST_R_RECOVERED:
    case ST_R_COMMITTED:
    case ST_R_REVERSE_WAIT:
    case ST_R_REVERSING:
        s.failed_over = true;
        s.of = r->lineage;
        s.lineage = r->next_lineage;
        break;
    default:
        s.failed_over = s.mode == REL_MODE_PRIMARY && !vr_uuid_is_zero(&r->parent_lineage);
        s.of = r->parent_lineage;
    }
    if (s.failed_over) {
        s.point = r->failover;
        s.since = r->failed_over_at;
    }
    return s;
}

void rel_forget_story(struct rel *r)
{
    memset(&r->super_lineage, 0, sizeof r->super_lineage);
    memset(&r->super_point, 0, sizeof r->super_point);
    memset(&r->parent_lineage, 0, sizeof r->parent_lineage);
    r->super_since.us = 0;
    r->start_allowed = r->resuming = r->way_back = false;
    r->peer_away = r->peer_over = false;
    r->peer_power = REL_POWER_UNKNOWN;
}

static void look_again(struct rel *r, const struct rel_event *ev)
{
    if (r->st == ST_R_RECOVERED || r->st == ST_R_COMMITTED || r->st == ST_P_SUPERSEDED)
        r->due.ms = ev->mono.ms + LOOK_MS;
    if (r->st == ST_R_REVERSE_WAIT)
        r->due.ms = ev->mono.ms + LOOK_WAITING_MS;
}

ACTION(peer_told)
{
    r->peer_away = false;
    r->peer_seen = ev->wall;
    r->peer_power = ev->story.power;
    r->peer_over = ev->story.failed_over && vr_uuid_eq(&ev->story.of, &r->lineage);
    look_again(r, ev);
}

ACTION(peer_away)
{
    r->peer_away = true;
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
    r->super_lineage = ev->story.lineage;
    r->super_point = ev->story.point;
    r->super_since = ev->story.since;
    r->start_allowed = r->resuming = false;
    say_superseded(r, ev);
    rel_a_park(r, ev);
    r->due.ms = ev->mono.ms + LOOK_MS;
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
    vr_fail(
        &r->last_err, VR_E_SUPERSEDED, 0,
        "machine %s is failed over to host %s. To go on with what runs there: vmreplica reverse "
        "%s on %s. To go on with what is here: vmreplica "
        "cancel %s --discard on %s, then resume",
        r->name, r->peer, r->name, r->peer, r->name, r->peer);
    r->last_err_time = ev->wall;
}

ACTION(resume_failed)
{
    rel_a_peer_away(r, ev);
    r->resuming = false;
    say_superseded(r, ev); /* the job tells why; this stays the reason of the state */
}

ACTION(unsuperseded)
{
    rel_a_peer_told(r, ev);
    enum rel_power power = r->peer_power;
    struct vr_uuid parent = r->parent_lineage;
    rel_forget_story(r);
    r->parent_lineage = parent;
    r->peer_power = power;
    rel_a_go(r, ev);
}

/* It may go on; whoever let the failover happen says when. */
ACTION(failover_cancelled)
{
    rel_a_unsuperseded(r, ev);
    r->due.ms = 0;
    r->flow.again = false;
    vr_fail(&r->last_err, VR_E_STATE, 0,
            "the failover to host %s was cancelled; go on with: vmreplica resume %s", r->peer,
            r->name);
    r->last_err_time = ev->wall;
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
    r->set = ev->set;
    rel_copy_name(r->peer, ev->peer);
    r->queued = r->asked = false;
    r->due.ms = 0;
}

/* Asked again while it waits: the newest wish counts. */
ACTION(reverse_again)
{
    r->set = ev->set;
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

static void end_wait(struct rel *r)
{
    r->queued = r->asked = false;
    r->due.ms = 1; /* look after the old primary again */
}

ACTION(reverse_failed)
{
    rel_set_error(r, ev);
    rel_back_to_old(r);
    end_wait(r);
}

/* What was surely not done is forgotten. After an answer that was lost the new partner stays. */
ACTION(withdraw)
{
    (void)ev;
    if (r->asked)
        r->set = r->old_set;
    else
        rel_back_to_old(r);
    vr_err_clear(&r->last_err);
    end_wait(r);
}
