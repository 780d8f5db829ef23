/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The replica knows the primary's settings, sooner or later: each change has a number, and the
 * newest one is sent until the replica has acknowledged it, one attempt at a time. What is
 * overtaken on its way the replica drops (guard `outdated`). No state depends on it. Control
 * thread. */
#include "base/log.h"
#include "replication/engine_int.h"

#define AGAIN_MS 5000
#define AGAIN_MOST_MS 60000

static void due_in(struct item *it, struct mono_ms now, int64_t ms)
{
    it->tell.due.ms = now.ms + ms;
    if (!it->tell.due.ms)
        it->tell.due.ms = 1;
}

void engine_tell_follow(struct item *it, const struct rel_event *ev)
{
    if (!rel_owes_settings(&it->r)) {
        it->tell.due.ms = 0;
        it->tell.failures = 0;
        return;
    }
    /* Whoever talks to us again can be told. */
    bool there = it->tell.failures && (ev->type == EV_PEER_TOLD || ev->type == EV_SHIPPED);
    if (!it->tell.running && (there || !it->tell.due.ms))
        due_in(it, ev->mono, 0);
}

void engine_tell_begin(struct engine *e, struct item *it, const struct rel *written)
{
    if (it->tell.running || !rel_owes_settings(&it->r))
        return;
    it->tell.running = true;
    it->tell.due.ms = 0;
    e->env.run(e->env.ctx, written, FX_BIT_PUSH_SETTINGS);
}

void engine_tell_tick(struct engine *e, struct item *it, struct mono_ms now)
{
    if (!it->tell.due.ms || it->tell.due.ms > now.ms)
        return;
    due_in(it, now, AGAIN_MOST_MS); /* unless it begins: behind what is to be written first */
    engine_order(e, it, FX_BIT_PUSH_SETTINGS);
}

void engine_settings_told(struct engine *e, const struct vr_uuid *machine, uint64_t rev,
                          uint64_t held, const struct vr_err *err)
{
    struct item *it = engine_item(e, machine);
    if (!it || !it->tell.running)
        return;
    it->tell.running = false;
    struct mono_ms now = e->env.mono(e->env.ctx);
    struct rel before = it->r;
    it->r.untold = err != NULL;
    if (err) {
        int64_t wait = AGAIN_MS << (it->tell.failures < 4 ? it->tell.failures : 4);
        if (!it->tell.failures++)
            vr_log_err(VR_LOG_DEBUG, "the replica was not told the new settings yet", err);
        if (rel_owes_settings(&it->r))
            due_in(it, now, wait < AGAIN_MOST_MS ? wait : AGAIN_MOST_MS);
        return;
    }
    it->tell.failures = 0;
    if (!rel_owes_settings(&it->r))
        return;
    if (held > it->r.set.rev) /* this host was restored: the numbers go on where they had been */
        it->r.set.rev = held + 1;
    else if (rev > it->r.told_rev)
        it->r.told_rev = rev;
    engine_write_down(e, machine, &before);
    if (rel_owes_settings(&it->r))
        engine_order(e, it, FX_BIT_PUSH_SETTINGS);
}
