/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Facts of a relationship that are noted as they are: no state depends on them, so no row of the
 * table does. Control thread. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "replication/engine_int.h"

static struct rel *replicated(struct engine *e, const struct vr_uuid *machine, struct vr_err *err)
{
    struct rel *r = engine_rel(e, machine);
    if (r && rel_mode(r) != REL_MODE_NONE) /* a relationship in the making is not written */
        return r;
    vr_fail(err, VR_E_STATE, 0, "the machine is not replicated");
    return NULL;
}

int engine_reset_stats(struct engine *e, const struct vr_uuid *machine, struct vr_err *err)
{
    struct rel *r = replicated(e, machine, err);
    if (!r)
        return -1;
    r->stat_start = engine_now(e);
    r->stat_ok = r->stat_miss = r->stat_net_fail = r->stat_fail = 0;
    r->stat_app_fail = 0;
    r->stat_bytes = r->stat_max_bytes = r->stat_ms = r->stat_max_ms = 0;
    engine_write_down(e, machine, NULL);
    return 0;
}

void engine_port_moved(struct engine *e, const char *peer, uint16_t from, uint16_t to)
{
    for (size_t i = 0; engine_at(e, i); i++) {
        struct rel *r = engine_rel(e, &engine_at(e, i)->machine);
        enum rel_mode m = rel_mode(r);
        bool there =
            peer ? m == REL_MODE_PRIMARY && !strcasecmp(r->peer, peer) : m == REL_MODE_REPLICA;
        if (!there || r->set.recovery_port != from)
            continue;
        r->set.recovery_port = to;
        engine_write_down(e, &r->machine, NULL);
    }
}

int engine_set_floor(struct engine *e, const struct vr_uuid *machine, const struct rel_keep *floor,
                     struct vr_err *err)
{
    struct rel *r = replicated(e, machine, err);
    if (!r || rel_keep_check(floor, err) < 0)
        return -1;
    struct rel before = *r;
    r->floor = *floor;
    engine_write_down(e, machine, &before);
    return 0;
}

void engine_rename(struct engine *e, const struct vr_uuid *machine, const char *name)
{
    struct rel *r = engine_rel(e, machine);
    if (!r || r->st == ST_NONE || !*name || !strcmp(r->name, name))
        return;
    vr_log(VR_LOG_INFO, "machine %s is called %s now", r->name, name);
    snprintf(r->name, sizeof r->name, "%s", name);
    if (rel_mode(r) != REL_MODE_NONE) /* else in the making: not written yet */
        engine_write_down(e, machine, NULL);
}

int engine_differs(struct engine *e, const struct vr_uuid *machine, uint64_t blocks, bool open,
                   const char *text, struct vr_err *err)
{
    struct rel *r = replicated(e, machine, err);
    if (!r)
        return -1;
    struct rel before = *r;
    r->bad_blocks += blocks;
    r->bad_open |= open;
    r->rx_differed |= open && r->rx_active;
    r->flow.differed |= open && r->flow.phase != FLOW_IDLE;
    r->bad_since = engine_now(e);
    snprintf(r->bad_text, sizeof r->bad_text, "%s", text);
    engine_write_down(e, machine, &before);
    return 0;
}

void engine_silent(struct engine *e, const struct vr_uuid *machine, const char *what,
                   struct wall_us since)
{
    struct rel *r = engine_rel(e, machine);
    if (!r || (!strcmp(r->silent, what) && r->silent_since.us == since.us))
        return;
    struct rel before = *r;
    snprintf(r->silent, sizeof r->silent, "%s", what);
    r->silent_since = since;
    e->env.changed(e->env.ctx, &before, r, NULL);
}

int engine_is_silent(const struct rel *r, enum rel_event_type ev, struct vr_err *err)
{
    char when[32];
    if (!r->silent[0] || (ev != EV_U_FAILOVER && ev != EV_U_REVERT && ev != EV_U_REMOVE &&
                          ev != EV_U_ABANDON && ev != EV_U_BECOME_REPLICA))
        return 0;
    return vr_fail(err, VR_E_IO, 0,
                   "the storage %s of this host, where the files of machine %s are, has not "
                   "answered since %s: see the server or disk behind it, and try again when it "
                   "answers (a disk that is only slow: storage_seconds in vmreplicad.conf)",
                   r->silent, r->name, vr_wall_iso(r->silent_since, when));
}

int engine_acknowledge(struct engine *e, const struct vr_uuid *machine, struct vr_err *err)
{
    struct rel *r = replicated(e, machine, err);
    if (!r)
        return -1;
    struct rel before = *r;
    r->bad_blocks = 0;
    r->bad_open = false;
    r->bad_text[0] = 0;
    engine_write_down(e, machine, &before);
    return 0;
}
