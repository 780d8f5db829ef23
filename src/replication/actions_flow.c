/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Actions of the cycle: capture, ship, end, and what follows a failure. See actions.c. Pure. */
#include "replication/step_int.h"

#include <inttypes.h>
#include <string.h>

#define RETRY_FIRST_MS 2000
#define RETRY_MAX_MS 30000

void rel_begin(struct rel *r, const struct rel_event *ev, enum flow_kind kind, bool has_since)
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
    if (!r->wanted_since.ms && kind == FLOW_CYCLE) {
        r->wanted_since.ms = ev->mono.ms ? ev->mono.ms : 1;
        r->missed = 0;
    }
}

/* An interval in which the cycle that was wanted did not bring a point, however often it was tried.
 * src:[contract.md D.1 "A cycle is missed"] */
static void count_missed(struct rel *r, const struct rel_event *ev)
{
    if (!r->wanted_since.ms || !r->set.interval_s)
        return;
    int64_t gone = ev->mono.ms - r->wanted_since.ms, each = (int64_t)r->set.interval_s * 1000;
    uint32_t n = gone > each ? (uint32_t)((gone - 1) / each) : 0;
    if (n > r->missed) {
        r->stat_miss += n - r->missed;
        r->missed = n;
    }
}

/* Only the very first attempt may copy blindly: a later one may find there what an earlier one
 * left, even a whole point whose acknowledgement was lost. */
ACTION(begin_ir)
{
    rel_disks_fresh(r);
    if (r->epoch)
        r->seeded_start = true;
    rel_begin(r, ev, FLOW_IR, r->has_acked && r->tracked);
}

/* After a failure it is tried again sooner than the interval says, but not in each cycle. */
#define APP_AGAIN_S 900

/* Is an application-consistent point due? Half a cycle early is better than half a cycle late; a
 * clock that was set back makes one due. */
static bool app_due(const struct rel *r, struct wall_us now)
{
    uint32_t wait = r->set.app_interval_s;
    struct wall_us last = r->last_app_time;
    if (!wait)
        return false;
    if (r->app_note[0]) {
        wait = wait < APP_AGAIN_S ? wait : APP_AGAIN_S;
        last = r->app_tried;
    }
    return !last.us || now.us < last.us ||
           now.us - last.us + (int64_t)r->set.interval_s * 500000 >= (int64_t)wait * 1000000;
}

ACTION(begin_cycle)
{
    bool app = r->app_now || app_due(r, ev->wall);
    rel_begin(r, ev, FLOW_CYCLE, true);
    r->flow.app = app;
    r->app_now = false;
}

ACTION(begin_final)
{
    rel_begin(r, ev, FLOW_FINAL, r->tracked);
}

ACTION(begin_resync)
{
    rel_begin(r, ev, FLOW_RESYNC, false);
}

void rel_forget_attempt(struct rel *r)
{
    r->app_tried.us = 0;
    r->app_frozen_ms = 0;
    r->app_note[0] = 0;
}

ACTION(captured)
{
    r->flow.phase = FLOW_SHIP;
    r->flow.instant = ev->instant;
    rel_disk_sizes(r, ev);
    if (!r->flow.app)
        return;
    if (ev->vm_off) { /* it has nothing to make consistent, and what failed before is over */
        rel_forget_attempt(r);
        return;
    }
    r->app_tried = ev->wall;
    r->app_frozen_ms = ev->frozen_ms;
    r->flow.app_done = ev->kind == VR_POINT_APPLICATION;
    r->stat_app_fail += !r->flow.app_done;
    memcpy(r->app_note, ev->note, sizeof r->app_note);
    r->app_note[sizeof r->app_note - 1] = 0;
}

ACTION(refuse_shrunk)
{
    uint64_t was = 0;
    const struct rel_disk *d = rel_shrunk_disk(r, ev, &was);
    vr_err_clear(&r->last_err);
    vr_fail(&r->last_err, VR_E_DISKS, 0,
            "disk %s of machine %s has shrunk from %" PRIu64 " to %" PRIu64
            " bytes, and the replica cannot follow",
            d ? d->target : "?", r->name, was, d ? d->size : 0);
    r->last_err_time = ev->wall;
    r->flow.phase = FLOW_DROP;
}

/* The last delta is the last only if nobody can write after it. */
ACTION(final_refused)
{
    vr_err_clear(&r->last_err);
    vr_fail(
        &r->last_err, VR_E_STATE, 0,
        "machine %s was started before the last changes were captured; shut it down and prepare "
        "again",
        r->name);
    r->last_err_time = ev->wall;
    r->flow.phase = FLOW_DROP;
}

/* What a way back ships, it ships in as many attempts as it takes: all of them count. */
static void count_way_back(struct rel *r, const struct rel_event *ev)
{
    if (!r->way_back)
        return;
    r->last_back.payload += ev->moved.payload;
    r->last_back.wire += ev->moved.wire;
    r->last_back.ms += ev->moved.ms;
}

ACTION(drop)
{
    count_way_back(r, ev);
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
    rel_set_error(r, ev);
    count_missed(r, ev);
    r->failures++;
    r->stat_fail++;
    if (ev->err.kind == VR_E_PEER || ev->err.kind == VR_E_TIMEOUT)
        r->stat_net_fail++;
    if (ev->err.kind == VR_E_AUTH)
        r->peer_away = false; /* what the question says that is asked now counts */
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
    count_way_back(r, ev);
    r->flow.phase = FLOW_DROP;
}

ACTION(lost_tracking)
{
    bool needed = r->flow.has_since;
    rel_lose(r, ev, ev->err.detail, ev->err.msg);
    if (!needed) { /* not even everything can be captured: no reason to hurry */
        rel_a_flow_failed(r, ev);
        return;
    }
    rel_set_error(r, ev);
    r->flow = (struct rel_flow){ .phase = FLOW_IDLE };
    rel_due_now(r, ev);
}

ACTION(ship_lost_tracking)
{
    if (!r->flow.has_since)
        count_failure(r, ev);
    rel_set_error(r, ev);
    count_way_back(r, ev);
    rel_lose(r, ev, ev->err.detail, ev->err.msg);
    r->flow.phase = FLOW_DROP;
}

ACTION(shipped)
{
    count_missed(r, ev);
    r->wanted_since.ms = 0;
    r->acked = (struct vr_point_id){ .lineage = r->lineage, .epoch = r->flow.epoch };
    r->has_acked = r->tracked = true;
    rel_disks_held(r);
    r->peer_state_known = false; /* it receives */
    r->lost = VR_LOST_NOT;
    r->resync_held = false;
    r->newest_instant = r->flow.instant;
    r->last_time = ev->wall;
    r->last_kind = rel_flow_kind(r);
    if (r->last_kind == VR_POINT_APPLICATION)
        r->last_app_time = ev->wall;
    r->flow.phase = FLOW_RETIRE;
    r->failures = 0;
    r->seeded_start = r->diverged = false;
    r->bad_open &= r->flow.differed; /* see rx_committed */
    vr_err_clear(&r->last_err);
    r->last = ev->moved;
    if (r->way_back) {
        count_way_back(r, ev);
        struct rel_moved all = r->last_back;
        r->last_back = ev->moved;
        r->last_back.payload = all.payload;
        r->last_back.wire = all.wire;
        r->last_back.ms = all.ms;
        r->last_back.kept = all.kept;
    }
    r->way_back = false;
    rel_count(r, &ev->moved);
}

/* A cycle that could not be stopped any more; the comparison follows. */
ACTION(shipped_before_resync)
{
    rel_a_shipped(r, ev);
    rel_lose(r, ev, VR_LOST_ASKED, "");
    r->flow.again = true;
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
        rel_due_now(r, ev);
}

ACTION(ended_now)
{
    r->flow = (struct rel_flow){ .phase = FLOW_IDLE };
    rel_due_now(r, ev);
}

ACTION(ended_parked)
{
    r->flow = (struct rel_flow){ .phase = FLOW_IDLE };
    if (r->st == ST_P_RESYNC_WAIT || r->start_at.us)
        rel_due_now(r, ev);
}

ACTION(flow_over)
{
    (void)ev;
    r->flow = (struct rel_flow){ .phase = FLOW_IDLE };
}

ACTION(sync)
{
    r->app_now |= ev->app;
    if (r->flow.phase == FLOW_IDLE)
        rel_due_now(r, ev);
    else
        r->flow.again = true;
}

ACTION(retry_now)
{
    rel_due_now(r, ev);
}
