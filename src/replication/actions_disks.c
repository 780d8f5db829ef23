/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Guards and actions of a change of the set of replicated disks. The relationship names the disks
 * of the next point (`disks`); `added` ones are not in the acknowledged point, those that are in it
 * and no longer wanted stand behind them (`n_leaving`) until a point without them is acknowledged,
 * so that the change can be called off. See actions.c. Pure. Any thread. */
#include "replication/step_int.h"

#include <string.h>

static struct rel_disk *find(struct rel *r, uint32_t from, uint32_t to, const char *target)
{
    for (uint32_t i = from; i < to; i++)
        if (!strcmp(r->disks[i].target, target))
            return &r->disks[i];
    return NULL;
}

static bool is_named(const struct rel_event *ev, const char *target)
{
    for (uint32_t i = 0; i < ev->n_disks && i < VR_DISKS_MAX; i++)
        if (!strcmp(ev->disks[i].target, target))
            return true;
    return false;
}

GUARD(other_disks)
{
    uint32_t n = ev->n_disks < VR_DISKS_MAX ? ev->n_disks : VR_DISKS_MAX;
    uint32_t same = 0, held = r->n_leaving;
    (void)err;
    for (uint32_t i = 0; i < r->n_disks; i++) {
        same += is_named(ev, r->disks[i].target);
        held += !r->disks[i].added;
    }
    if (!n || (same == n && n == r->n_disks))
        return 0;
    if (n + held > VR_DISKS_MAX)
        return vr_fail(
            err, VR_E_LIMIT, 0,
            "machine %s: the disks replicated so far and those from now on are more than "
            "%d; change them in two steps",
            r->name, VR_DISKS_MAX);
    return 1;
}

/* Where the set cannot be changed, other settings can. */
GUARD(same_disks)
{
    struct vr_err ignored = VR_ERR_INIT;
    if (rel_g_other_disks(r, ev, &ignored) == 0)
        return 1;
    return vr_fail(
        err, VR_E_STATE, 0,
        "the set of replicated disks of machine %s cannot be changed while it is in state "
        "\"%s\"; see: vmreplica explain %s",
        r->name, rel_state_text(r->st), r->name);
}

GUARD(disks_differ)
{
    (void)ev;
    (void)err;
    return r->disks_changed && r->flow.phase == FLOW_IDLE;
}

GUARD(stale_disks)
{
    (void)ev;
    (void)err;
    return r->flow.stale;
}

/* What is on its way is of the disks as they were. */
static void part_with_flow(struct rel *r, const struct rel_event *ev)
{
    if (r->flow.phase == FLOW_IDLE) {
        rel_due_now(r, ev);
        return;
    }
    r->flow.stale = r->flow.cancelled = r->flow.again = true;
}

static void set_disks(struct rel *r, const struct rel_event *ev)
{
    struct rel old = *r;
    uint32_t all = old.n_disks + old.n_leaving;
    /* An initial copy on its way may still become a point with the disks as they were. */
    bool held = r->has_acked || r->flow.phase == FLOW_CAPTURE || r->flow.phase == FLOW_SHIP;
    r->n_disks = r->n_leaving = 0;
    for (uint32_t i = 0; i < ev->n_disks && i < VR_DISKS_MAX; i++) {
        const struct rel_disk *had = find(&old, 0, all, ev->disks[i].target);
        r->disks[r->n_disks] = had ? *had : ev->disks[i];
        if (!had)
            r->disks[r->n_disks].added = held;
        r->n_disks++;
    }
    for (uint32_t i = 0; i < all; i++) {
        const struct rel_disk *d = &old.disks[i];
        if (held && !d->added && !is_named(ev, d->target) &&
            r->n_disks + r->n_leaving < VR_DISKS_MAX)
            r->disks[r->n_disks + r->n_leaving++] = *d;
    }
    r->disks_changed = true;
}

ACTION(modify_disks)
{
    rel_a_modify(r, ev);
    set_disks(r, ev);
    part_with_flow(r, ev);
}

/* Nothing is sent in this state, or not yet. */
ACTION(modify_disks_later)
{
    rel_a_modify(r, ev);
    set_disks(r, ev);
    r->flow.stale = r->flow.phase != FLOW_IDLE;
}

ACTION(modify_disks_waiting)
{
    rel_a_modify_waiting(r, ev);
    set_disks(r, ev);
    r->flow.stale = r->flow.phase != FLOW_IDLE;
}

ACTION(begin_update)
{
    rel_begin(r, ev, FLOW_UPDATE, r->has_acked && r->tracked);
}

/* The disks are again those of the acknowledged point. If a point without what comes back may still
 * become the acknowledged one, that is sent again as a whole. */
ACTION(cancel_update)
{
    bool unsure = r->flow.phase == FLOW_CAPTURE || r->flow.phase == FLOW_SHIP;
    struct rel old = *r;
    r->n_disks = r->n_leaving = 0;
    for (uint32_t i = 0; i < old.n_disks + old.n_leaving; i++) {
        if (old.disks[i].added)
            continue;
        r->disks[r->n_disks] = old.disks[i];
        r->disks[r->n_disks++].added = unsure && i >= old.n_disks;
    }
    r->disks_changed = unsure && old.n_leaving;
    r->failures = 0;
    vr_err_clear(&r->last_err);
    part_with_flow(r, ev);
}

void rel_disks_held(struct rel *r)
{
    if (r->flow.stale)
        return;
    for (uint32_t i = 0; i < r->n_disks; i++)
        r->disks[i].added = false;
    r->n_leaving = 0;
    r->disks_changed = false;
}

/* The receiver may still know others, so it is told them: disks_changed stays. */
void rel_disks_fresh(struct rel *r)
{
    if (r->has_acked)
        return;
    for (uint32_t i = 0; i < r->n_disks; i++)
        r->disks[i].added = false;
    r->n_leaving = 0;
}

/* Who receives has no say in what the disks are. */
void rel_disks_settle(struct rel *r)
{
    r->flow.stale = false;
    rel_disks_held(r);
}

void rel_disk_sizes(struct rel *r, const struct rel_event *ev)
{
    for (uint32_t i = 0; i < ev->n_disks && i < VR_DISKS_MAX; i++) {
        struct rel_disk *d = find(r, 0, r->n_disks, ev->disks[i].target);
        if (d)
            d->size = ev->disks[i].size;
    }
}
