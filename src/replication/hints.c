/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What would make a refused request legal, and which command does that: found in the table itself,
 * so that it is true as long as the table is. Pure, no allocation. Any thread. */
#include "replication/explain_int.h"
#include "replication/step.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

enum { UNREACHED = 1000, STEPS_MAX = 3 };

static const struct {
    unsigned cost;
    const char *how;
} ways[EV_COUNT] = {
#define C(ev, cost, how) [EV_##ev] = { cost, how },
#define N(ev, cost, how) [EV_##ev] = { cost, how },
#define D(ev, st, what)
#include "replication/hints.def"
#undef C
#undef N
#undef D
};

static const struct {
    enum rel_event_type ev;
    enum rel_state st;
    const char *what;
} instead[] = {
#define C(ev, cost, how)
#define N(ev, cost, how)
#define D(ev, st, what) { EV_##ev, ST_##st, what },
#include "replication/hints.def"
#undef C
#undef N
#undef D
};

static const char *instead_of(enum rel_state st, enum rel_event_type ev)
{
    for (size_t i = 0; i < VR_ARRAY_LEN(instead); i++)
        if (instead[i].st == st && instead[i].ev == ev)
            return instead[i].what;
    return NULL;
}

/* The cheapest way from one state to each other. */
struct search {
    unsigned cost[ST_COUNT];
    bool over[ST_COUNT];
    enum rel_state from[ST_COUNT];
    enum rel_event_type by[ST_COUNT];
};

static bool is_legal(enum rel_state st, enum rel_event_type ev)
{
    struct rel_row row;
    for (size_t i = 0; rel_table_row(i, &row); i++)
        if (row.from == st && row.ev == ev)
            return true;
    return false;
}

static void spread(struct search *s, enum rel_state st)
{
    struct rel_row row;
    s->over[st] = true;
    for (size_t i = 0; rel_table_row(i, &row); i++) {
        if (row.from != st || row.to == st || !ways[row.ev].how ||
            s->cost[st] + ways[row.ev].cost >= s->cost[row.to])
            continue;
        s->cost[row.to] = s->cost[st] + ways[row.ev].cost;
        s->from[row.to] = st;
        s->by[row.to] = row.ev;
    }
}

/* The nearest state in which @ev is legal; ST_COUNT if there is none. */
static enum rel_state nearest(struct search *s, enum rel_state start, enum rel_event_type ev)
{
    for (int i = 0; i < ST_COUNT; i++)
        s->cost[i] = UNREACHED;
    s->cost[start] = 0;
    for (;;) {
        int best = -1;
        for (int i = 0; i < ST_COUNT; i++)
            if (!s->over[i] && s->cost[i] < UNREACHED && (best < 0 || s->cost[i] < s->cost[best]))
                best = i;
        if (best < 0)
            return ST_COUNT;
        if (is_legal((enum rel_state)best, ev))
            return (enum rel_state)best;
        spread(s, (enum rel_state)best);
    }
}

/* Is it something that only the other side does? */
static bool is_of_other_side(enum rel_mode mode, enum rel_event_type ev)
{
    for (int i = 0; i < ST_COUNT; i++) {
        struct rel r = { .st = (enum rel_state)i };
        if (rel_mode(&r) == mode && is_legal(r.st, ev))
            return false;
    }
    return true;
}

/* Requests that take something back: nobody shall begin it in order to take it back. */
static bool is_taking_back(enum rel_event_type ev)
{
    return ev == EV_U_REVERT || ev == EV_U_CANCEL_IR || ev == EV_U_CANCEL_RESYNC ||
           ev == EV_U_WITHDRAW;
}

/* The way to @to needs more than waiting. */
static bool needs_a_command(const struct search *s, enum rel_state start, enum rel_state to)
{
    for (size_t n = 0; to != start && n < ST_COUNT; to = s->from[to], n++)
        if (s->by[to] <= EV_U_SYNC)
            return true;
    return false;
}

static void put_way(const struct rel *r, enum rel_event_type ev, const struct search *s,
                    enum rel_state to, char *out, size_t max)
{
    enum rel_event_type way[ST_COUNT];
    struct rel_facts f = { .r = r };
    size_t n = 0, len;
    char step[REL_TEXT_MAX];
    for (enum rel_state st = to; st != r->st && n < ST_COUNT; st = s->from[st])
        way[n++] = s->by[st];
    if (!n)
        return;
    /* Of a long way, how it begins: nobody asks for what is so far off. */
    size_t steps = r->st == ST_NONE ? 1 : n < STEPS_MAX ? n : STEPS_MAX;
    snprintf(out, max, ev <= EV_U_SYNC ? "; first: " : "; first, there: "); /* read by the peer */
    while (steps--) {
        len = strlen(out);
        rel_expand(&f, ways[way[--n]].how, step, sizeof step);
        snprintf(out + len, max - len, "%s%s", step, steps ? ", then: " : "");
    }
}

/* The command for it, given to the host that can do it. */
static void put_other_side(const struct rel *r, enum rel_event_type ev, const char *side, char *out,
                           size_t max)
{
    static const char program[] = "vmreplica ";
    struct rel_facts f = { .r = r };
    char text[REL_TEXT_MAX], *how = NULL;
    if (ways[ev].how)
        how = strstr(rel_expand(&f, ways[ev].how, text, sizeof text), program);
    snprintf(out, max, "; only the %s can do that: %s--host %s ", side, program, r->peer);
    size_t len = strlen(out);
    if (how)
        snprintf(out + len, max - len, "%s", how + strlen(program));
    else
        snprintf(out + len, max - len, "explain %s", r->name);
}

char *rel_hint(const struct rel *r, enum rel_event_type ev, char *out, size_t max)
{
    struct search s = { .over = { false } };
    enum rel_mode mode = rel_mode(r);
    const char *what = instead_of(r->st, ev);
    out[0] = 0;
    if (what) {
        struct rel_facts f = { .r = r };
        char text[REL_TEXT_MAX];
        snprintf(out, max, "; %s", rel_expand(&f, what, text, sizeof text));
        return out;
    }
    if (mode != REL_MODE_NONE && ev == EV_U_CREATE) {
        snprintf(out, max, "; it is replicated already; how: vmreplica explain %s", r->name);
        return out;
    }
    if (mode != REL_MODE_NONE && ev <= EV_U_SYNC && is_of_other_side(mode, ev)) {
        const char *side = mode == REL_MODE_PRIMARY ? "replica" : "primary";
        if (!r->peer[0])
            snprintf(out, max, "; only the %s can do that", side);
        else
            put_other_side(r, ev, side, out, max);
        return out;
    }
    enum rel_state to = nearest(&s, r->st, ev);
    if (to == ST_COUNT && mode == REL_MODE_NONE) { /* what only a replica can do */
        s = (struct search){ .over = { false } };
        to = nearest(&s, r->st, EV_U_START_IR);
    }
    if (mode != REL_MODE_NONE && is_taking_back(ev) &&
        (to == ST_COUNT || needs_a_command(&s, r->st, to)))
        snprintf(out, max, "; there is nothing to take back; see: vmreplica explain %s",
                 r->name[0] ? r->name : "MACHINE");
    else if (to != ST_COUNT)
        put_way(r, ev, &s, to, out, max);
    else
        snprintf(out, max, "; what can be done here: vmreplica explain %s", r->name);
    return out;
}
