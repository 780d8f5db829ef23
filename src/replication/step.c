/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The engine's pure core: looks up the row of (state, event) in transitions.def and applies it.
 * No I/O, no clock, no randomness, no memory of its own: all in, all out. Any thread. */
#include "replication/explain.h"
#include "replication/step_int.h"

#include "base/cleanup.h"

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
#define T(f, e, g, a, t, x, src) { ST_##f, EV_##e, rel_g_##g, rel_a_##a, ST_##t, (x), #g, #a, src },
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
        if (u->to != r->st)
            ret_next->since = ev->wall;
        *ret_fx = u->fx;
        return 0;
    }
    if (otherwise[ev->type] == IGNORE) {
        *ret_next = *r;
        *ret_fx = 0;
        return 0;
    }
    enum rel_mode mode = rel_mode(r);
    char hint[300];
    if (ev->type == EV_PEER_CREATE) /* read at another host, which may not know who has it */
        return vr_fail(err, VR_E_STATE, 0,
                       "machine %s has a relationship with host %s there already (%s, \"%s\"): end "
                       "that one first, on both of its hosts, or replicate to another host",
                       r->name, r->peer[0] ? r->peer : "(none yet)",
                       mode == REL_MODE_PRIMARY ? "as primary" : "as replica",
                       rel_state_text(r->st));
    return vr_fail(err, VR_E_STATE, 0, "%s is not possible while machine %s is in state \"%s\"%s%s",
                   rel_event_text(ev->type), r->name[0] ? r->name : "it", rel_state_text(r->st),
                   mode == REL_MODE_PRIMARY   ? " (it is the primary here)"
                   : mode == REL_MODE_REPLICA ? " (it is the replica here)"
                                              : "",
                   rel_hint(r, ev->type, hint, sizeof hint));
}
