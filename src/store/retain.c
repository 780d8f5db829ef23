/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rule of retention: which points are kept, why, and when they go. docs/store.md section 5.
 * Pure: no clock, no I/O. Any thread.
 *
 * Instants come from the primary's clock, which may be set, wrong or lie. Age is therefore told by
 * moments: they follow the instants, but never go back and never run ahead of this host's own
 * clock. A moment is fixed when its point is committed (retain_place()). So neither a clock that
 * jumps on either host nor a primary that claims that days have passed pushes a point out. */
#include "store/store_int.h"

#define SECOND ((int64_t)1000000)
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)
#define WEEK (7 * DAY)
/* 1970-01-01 was a Thursday; weeks begin on Monday. */
#define MONDAY (3 * DAY)
/* How far moments may run ahead of our clock in all: transfers take different times. */
#define SLACK (900 * SECOND)

void retain_place(const struct retain_time *before, struct retain_time *p)
{
    if (!before) {
        p->moment = p->ours = p->instant;
        return;
    }
    int64_t theirs = p->instant - before->instant, here = p->received - before->received;
    if (here < 0) /* our clock was set back: theirs is the only one to ask */
        here = theirs > 0 ? theirs : 0;
    p->ours = before->ours + here;
    int64_t step = theirs;
    if (theirs < 0 || (theirs > here && before->moment + theirs > p->ours + SLACK))
        step = here;
    p->moment = before->moment + step;
}

static int64_t whole(int64_t t, int64_t unit)
{
    return t >= 0 ? t / unit : -1 - (-1 - t) / unit;
}

static void keep(struct store_point *p, unsigned why, int64_t until)
{
    p->why |= why;
    if (until > p->goes.us)
        p->goes.us = until;
}

/* When point @i gives way to the one after it, which then is the first of its slot in the older
 * half; INT64_MAX: not as long as it is young enough, or nobody knows when points come. */
static int64_t thinned_at(const struct store_point *p, size_t n, size_t i, size_t half,
                          int64_t slot, int64_t interval)
{
    int64_t newest = p[n - 1].moment.us;
    int64_t next = i + 1 < n ? p[i + 1].moment.us : newest + interval;
    if (!slot || !interval || whole(next, slot) != whole(p[i].moment.us, slot))
        return INT64_MAX;
    int64_t newer = (int64_t)n - 2 - (int64_t)i; /* points newer than that one */
    int64_t left = (int64_t)half - newer;
    return newest + (left > 0 ? left : 0) * interval;
}

/* All that are young enough; of too many of them the older half is thinned out evenly. */
static void keep_every(struct store_point *p, size_t n, const struct store_retention *r)
{
    int64_t span = (int64_t)r->every_s * SECOND, slot = 0, last = INT64_MAX;
    size_t half = (r->every_max + 1) / 2, count = 0;
    if (!span)
        return;
    if (r->every_max)
        slot = (span + (int64_t)half - 1) / (int64_t)half;
    for (size_t i = n; i-- > 0 && p[n - 1].moment.us - p[i].moment.us <= span;) {
        if (slot && count++ >= half) {
            if (whole(p[i].moment.us, slot) == last)
                continue;
            last = whole(p[i].moment.us, slot);
        }
        int64_t until = p[i].moment.us + span;
        int64_t thinned = thinned_at(p, n, i, half, slot, (int64_t)r->interval_s * SECOND);
        keep(&p[i], STORE_WHY_EVERY, thinned < until ? thinned : until);
    }
}

/* Wrong blocks were found in it: it stands for nothing. */
static bool is_bad(const struct store_point *p)
{
    return p->proof.quarantine == STORE_QUARANTINED;
}

/* How good a point is as the one that stands for its hour: a sound one before a bad one, then an
 * application-consistent one before another. */
static int worth(const struct store_point *p)
{
    return 2 * !is_bad(p) + (p->kind == VR_POINT_APPLICATION || p->kind == VR_POINT_PLANNED);
}

/* One point of each of @count units of time (hours, ...) that have any, besides the unit that the
 * newest point lies in: the newest application-consistent one, else the newest. In the unit that is
 * not over an application-consistent one is kept in advance. */
static void keep_units(struct store_point *p, size_t n, int64_t unit, int64_t offset,
                       uint32_t count, unsigned why)
{
    int64_t current = whole(p[n - 1].moment.us + offset, unit);
    uint32_t seen = 0;
    for (size_t end = n; end-- > 0 && seen < count;) {
        int64_t u = whole(p[end].moment.us + offset, unit);
        size_t best = end;
        for (; end > 0 && whole(p[end - 1].moment.us + offset, unit) == u; end--)
            if (worth(&p[end - 1]) > worth(&p[best]))
                best = end - 1;
        if (u != current || worth(&p[best]) == 3)
            keep(&p[best], why, (u + 1 + (int64_t)count) * unit - offset);
        seen += u != current;
    }
}

static void keep_newest(struct store_point *p, size_t n)
{
    keep(&p[n - 1], STORE_WHY_NEWEST, 0);
    for (size_t i = n; i-- > 0;)
        if (!is_bad(&p[i])) { /* the newest that one can fail over to */
            keep(&p[i], STORE_WHY_NEWEST, 0);
            return;
        }
}

static void keep_newest_app(struct store_point *p, size_t n)
{
    for (size_t i = n; i-- > 0;)
        if (p[i].kind == VR_POINT_APPLICATION && !is_bad(&p[i])) {
            keep(&p[i], STORE_WHY_APP, 0);
            return;
        }
}

/* Wrong blocks were found in it, and nobody has seen that yet. */
static bool is_held(const struct store_point *p)
{
    return is_bad(p) && !p->proof.acknowledged;
}

/* An orphan waits for somebody to look at it, and the clock of a host that comes back after a
 * failure may be far off: it is as old as the younger of what both clocks say. */
static void keep_orphans(struct store_point *p, size_t n, uint32_t seconds)
{
    int64_t span = (int64_t)seconds * SECOND;
    const struct store_point *newest = &p[n - 1];
    for (size_t i = 0; i < n; i++) {
        if (p[i].kind != VR_POINT_ORPHAN)
            continue;
        int64_t age = newest->moment.us - p[i].moment.us, ours = newest->ours - p[i].ours;
        if (ours < age)
            age = ours;
        if (!span || age <= span)
            keep(&p[i], STORE_WHY_ORPHAN, span ? newest->moment.us + span - age : 0);
    }
}

void store_retention_apply(struct store_point *p, size_t n, const struct store_retention *r)
{
    if (n == 0)
        return;
    size_t kept = 0, least = r->least ? r->least : 1;
    for (size_t i = 0; i < n; i++) {
        p[i].why = (p[i].pins ? STORE_WHY_PINNED : 0) | (is_held(&p[i]) ? STORE_WHY_QUARANTINE : 0);
        p[i].goes.us = 0;
    }
    keep_newest(p, n);
    keep_every(p, n, r);
    keep_units(p, n, HOUR, 0, r->hourly, STORE_WHY_HOURLY);
    keep_units(p, n, DAY, 0, r->daily, STORE_WHY_DAILY);
    keep_units(p, n, WEEK, MONDAY, r->weekly, STORE_WHY_WEEKLY);
    if (r->app)
        keep_newest_app(p, n);
    keep_orphans(p, n, r->orphan_s);
    for (size_t i = 0; i < n; i++)
        kept += p[i].why != 0;
    for (size_t i = n; i-- > 0 && kept < least;)
        if (!p[i].why) {
            p[i].why = STORE_WHY_LEAST;
            kept++;
        }
    for (size_t i = 0; i < n; i++)
        if (p[i].pins || p[i].why & (STORE_WHY_APP | STORE_WHY_LEAST | STORE_WHY_QUARANTINE))
            p[i].goes.us = 0;
}
