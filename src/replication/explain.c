/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Looks up explain.def and fills in the placeholders. Pure, no allocation. Any thread. */
#include "replication/explain_int.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

static const struct {
    const char *doing, *todo, *command;
} states[ST_COUNT] = {
#define W(st, doing, todo, command) [ST_##st] = { doing, todo, command },
#include "replication/explain.def"
};

static const struct variant {
    const char *doing, *todo, *command;
    bool (*holds)(const struct rel_facts *f);
} variants[] = {
#define V(name, doing, todo, command) { doing, todo, command, rel_variant_##name },
#include "replication/explain.def"
};

static const struct reason {
    const char *name;
    uint16_t level;
    unsigned id; /* of health */
    const char *health, *why, *todo, *command;
    bool (*holds)(const struct rel_facts *f);
} reasons[] = {
#define R(name, level, id, health, why, todo, command) \
    { #name, level, id, health, why, todo, command, rel_why_##name },
#include "replication/explain.def"
};

static const struct {
    const char *todo, *command;
} kinds[VR_E_COUNT] = {
#define K(kind, todo, command) [VR_E_##kind] = { todo, command },
#include "replication/explain.def"
};

static const struct {
    const char *text;
    bool (*holds)(const struct rel_facts *f);
} losses[] = {
#define Z(name, text) { text, rel_loss_##name },
#include "replication/explain.def"
};

static const struct {
    const char *text, *todo;
} lost[VR_LOST_COUNT] = {
#define L(n, text, todo) [VR_LOST_##n] = { text, todo },
#include "model/lost.def"
#undef L
};

/* ---- text ---- */
struct out {
    char *to;
    size_t n, max;
};

__attribute__((format(printf, 2, 3))) static void put(struct out *o, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(o->to + o->n, o->max - o->n, fmt, ap);
    va_end(ap);
    if (n > 0)
        o->n = o->n + (size_t)n < o->max ? o->n + (size_t)n : o->max - 1;
}

static void put_seconds(struct out *o, uint64_t s)
{
    if (s < 120)
        put(o, "%" PRIu64 " s", s);
    else if (s < 7200)
        put(o, "%" PRIu64 " min", s / 60);
    else if (s < 172800)
        put(o, "%" PRIu64 " h", s / 3600);
    else
        put(o, "%" PRIu64 " days", s / 86400);
}

/* As the command line writes sizes: one word for one number. */
static void put_bytes(struct out *o, uint64_t n)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    double v = (double)n;
    size_t u = 0;
    while (v >= 1024 && u + 1 < VR_ARRAY_LEN(units)) {
        v /= 1024;
        u++;
    }
    put(o, u ? "%.1f %s" : "%.0f %s", v, units[u]);
}

static void put_progress(struct out *o, const struct rel_facts *f)
{
    if (!f->moving || !f->to_move) /* how much it is is not known yet */
        return;
    put(o, " (");
    put_bytes(o, f->moved < f->to_move ? f->moved : f->to_move);
    put(o, " of ");
    put_bytes(o, f->to_move);
    put(o, " done)");
}

/* "$W": what happened, what was found, how to avoid it. */
static void put_lost(struct out *o, const struct rel *r)
{
    char when[32];
    enum vr_lost why = r->lost == VR_LOST_NOT ? VR_LOST_UNKNOWN : r->lost;
    put(o, "%s", lost[why].text);
    if (r->lost_text[0])
        put(o, " (%s)", r->lost_text);
    if (r->lost_at.us)
        put(o, " Found at %s.", vr_wall_iso(r->lost_at, when));
    if (lost[why].todo[0])
        put(o, " To avoid it: %s", lost[why].todo);
}

static void put_peer_seen(struct out *o, const struct rel_facts *f)
{
    if (!f->peer_seen.us || f->now.us < f->peer_seen.us)
        return;
    put(o, " (last heard of ");
    put_seconds(o, (uint64_t)(f->now.us - f->peer_seen.us) / 1000000);
    put(o, " ago)");
}

/* "$L": measured over a network, so to the nearest: "24 h ahead of". */
static void put_clock(struct out *o, int64_t ahead_s)
{
    uint64_t s = (uint64_t)(ahead_s > 0 ? ahead_s : -ahead_s);
    put_seconds(o, s + (s >= 7200 ? 1800 : s >= 120 ? 30 : 0));
    put(o, ahead_s > 0 ? " ahead of" : " behind");
}

/* "$D": what a comparison has to read on each host. */
static void put_disk_sizes(struct out *o, const struct rel *r)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < r->n_disks; i++)
        sum += r->disks[i].size;
    put_bytes(o, sum);
}

/* "$F": " at 2026-01-31T12:00:00Z, to point 7". */
static void put_failover(struct out *o, const struct rel *r)
{
    char when[32];
    bool here = rel_mode(r) == REL_MODE_REPLICA;
    struct wall_us at = here ? r->failed_over_at : r->super_since;
    uint64_t epoch = here ? r->failover.epoch : r->super_point.epoch;
    if (at.us)
        put(o, " at %s", vr_wall_iso(at, when));
    if (at.us || epoch)
        put(o, ", to point %" PRIu64, epoch);
}

static void put_other_power(struct out *o, const struct rel *r)
{
    if (r->peer_away || r->peer_power == REL_POWER_UNKNOWN)
        put(o, "whether it runs there is not known");
    else
        put(o, r->peer_power == REL_POWER_ON ? "it runs there" : "it is off there");
}

static const char *known(const char *text)
{
    return text && *text ? text : "?";
}

/* The instant is one of the primary's clock: what that shows now counts, too. */
static uint64_t age_of(const struct rel_facts *f, struct wall_us instant)
{
    int64_t ahead_us = rel_mode(f->r) == REL_MODE_REPLICA ? f->peer_clock_s * 1000000 : 0;
    int64_t age_us = f->now.us + ahead_us - instant.us;
    return age_us > 0 ? (uint64_t)age_us / 1000000 : 0;
}

static void put_value(struct out *o, const struct rel_facts *f, char which)
{
    const struct rel *r = f->r;
    uint64_t age = 0;
    char when[32];
    switch (which) {
    case 'R':
        put(o, "%s", vr_wall_iso(r->start_at, when));
        break;
    case 'M':
        put(o, "%s", r->name[0] ? r->name : f->name && *f->name ? f->name : "MACHINE");
        break;
    case 'P':
        put(o, "%s", r->peer[0] ? r->peer : "HOST");
        break;
    case 'H':
        put(o, "%s", known(f->host));
        break;
    case 'E':
        put(o, "%s", known(r->last_err.msg));
        break;
    case 'A':
        rel_age(f, &age);
        put_seconds(o, age);
        break;
    case 'a':
        put_seconds(o, age_of(f, f->sound));
        break;
    case 'B':
        put_bytes(o, f->ahead);
        break;
    case 'I':
        put_seconds(o, r->set.interval_s);
        break;
    case 'W':
        put_lost(o, r);
        break;
    case 'S':
        put_peer_seen(o, f);
        break;
    case 'N':
        put(o, "%s", known(f->new_disks));
        break;
    case 'G':
        put(o, "%s", known(f->gone_disks));
        break;
    case 'U':
        put(o, "%s", known(f->plain_disks));
        break;
    case 'V':
        put(o, "%s", r->bad_text);
        break;
    case 'T':
        put(o, "%s", known(f->tests));
        break;
    case 'K':
        put(o, "%s", known(f->exports));
        break;
    case 'C':
        put(o, "%s", known(r->app_note));
        break;
    case 'X':
        put_progress(o, f);
        break;
    case 'F':
        put_failover(o, r);
        break;
    case 'O':
        put_other_power(o, r);
        break;
    case 'J':
        put(o, "%s", r->silent);
        break;
    case 'Z':
        put(o, "%s", vr_wall_iso(r->silent_since, when));
        break;
    case 'D':
        put_disk_sizes(o, r);
        break;
    case 'L':
        put_clock(o, f->peer_clock_s);
        break;
    case 'Y':
        put(o, "%s", r->other_version);
        break;
    case 'Q':
        put(o, f->running ? "is running, too" : "is off");
        break;
    default:
        put(o, "$%c", which);
    }
}

char *rel_expand(const struct rel_facts *f, const char *text, char *to, size_t max)
{
    struct out o = { .to = to, .max = max };
    to[0] = 0;
    for (const char *c = text ? text : ""; *c; c++) {
        if (*c == '$' && isalpha((unsigned char)c[1]))
            put_value(&o, f, *++c);
        else
            put(&o, "%c", *c);
    }
    return to;
}

/* ---- facts ---- */
bool rel_age(const struct rel_facts *f, uint64_t *ret_s)
{
    const struct rel *r = f->r;
    enum rel_mode mode = rel_mode(r);
    bool has =
        (mode == REL_MODE_PRIMARY && r->has_acked) || (mode == REL_MODE_REPLICA && r->has_newest);
    if (!has || !r->newest_instant.us || rel_loss_own_there(f))
        return false;
    *ret_s = age_of(f, r->newest_instant);
    return true;
}

static const struct variant *variant(const struct rel_facts *f)
{
    for (size_t i = 0; i < VR_ARRAY_LEN(variants); i++)
        if (variants[i].holds(f))
            return &variants[i];
    return NULL;
}

char *rel_doing(const struct rel_facts *f, char out[REL_TEXT_MAX])
{
    const struct variant *v = variant(f);
    return rel_expand(f, v ? v->doing : states[f->r->st].doing, out, REL_TEXT_MAX);
}

void rel_next(const struct rel_facts *f, char todo[REL_TEXT_MAX], char command[384])
{
    const struct variant *v = variant(f);
    rel_expand(f, v ? v->todo : states[f->r->st].todo, todo, REL_TEXT_MAX);
    rel_expand(f, v ? v->command : states[f->r->st].command, command, 384);
}

char *rel_loss(const struct rel_facts *f, char out[REL_TEXT_MAX])
{
    out[0] = 0;
    for (size_t i = 0; i < VR_ARRAY_LEN(losses); i++)
        if (losses[i].holds(f))
            return rel_expand(f, losses[i].text, out, REL_TEXT_MAX);
    return out;
}

/* ---- reasons ---- */
static void fill(const struct rel_facts *f, const struct reason *w, struct rel_reason *out)
{
    enum vr_kind kind = f->r->last_err.kind < VR_E_COUNT ? f->r->last_err.kind : VR_OK;
    out->name = w->name;
    out->level = w->level;
    out->health = w->health;
    rel_expand(f, w->why, out->why, sizeof out->why);
    rel_expand(f, w->todo ? w->todo : kinds[kind].todo, out->todo, sizeof out->todo);
    rel_expand(f, w->todo ? w->command : kinds[kind].command, out->command, sizeof out->command);
}

size_t rel_reasons(const struct rel_facts *f, struct rel_reason out[REL_REASONS_MAX])
{
    size_t n = 0;
    for (uint16_t level = 3; level >= 1; level--)
        for (size_t i = 0; i < VR_ARRAY_LEN(reasons) && n < REL_REASONS_MAX; i++)
            if (reasons[i].level == level && reasons[i].holds(f))
                fill(f, &reasons[i], &out[n++]);
    return n;
}

unsigned rel_health_id(const char *why)
{
    for (size_t i = 0; i < VR_ARRAY_LEN(reasons); i++)
        if (reasons[i].health && !strcmp(reasons[i].health, why))
            return reasons[i].id;
    return 0;
}

uint16_t rel_health(const struct rel *r, struct wall_us now, const char *why[8], size_t *ret_n)
{
    struct rel_facts f = { .r = r, .now = now };
    uint16_t level = 1;
    *ret_n = 0;
    if (rel_mode(r) == REL_MODE_NONE)
        return 0;
    for (size_t i = 0; i < VR_ARRAY_LEN(reasons); i++) {
        if (!reasons[i].health || reasons[i].level < 2 || !reasons[i].holds(&f))
            continue;
        if (reasons[i].level > level)
            level = reasons[i].level;
        if (*ret_n < 8)
            why[(*ret_n)++] = reasons[i].health;
    }
    return level;
}
