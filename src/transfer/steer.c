/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which level pays is found by trying: the writer measures how fast the disk's bytes get through,
 * all things considered, with one step of a ladder of levels for some time, then goes on with the
 * step that was fastest and looks at a neighbour now and then. On a fast link, or where processors
 * are busy, that ends at plain; on a slow link at the ceiling.
 *
 * A try of a step that is too strong is dear where processors are scarce, so a single unit is
 * packed with it first: the packers' time for it, against what the smaller result can save on the
 * link at most, tells whether there is anything to hope for. Short windows on a busy host are full
 * of accidents, so that has the last word about compressing at all, too. */
#include "transfer/steer.h"

static const int ladder[STEER_STEPS] = { 0, -20, -5, 1, 3, 6, 12 }; /* levels; 0: plain */
static const double CROWDED = 0.3;
enum {
    FIRST = 2,                /* where to begin */
    WINDOW = 16 << 20,        /* bytes of disk measured with one step */
    LOOK_FIRST = 2,           /* windows in which plain and compressed are compared, short ones: */
    WINDOW_FIRST = 4 << 20,   /* what a wrong step costs is paid before anything is known */
    EXPLORE_EVERY = 16,       /* windows at first; twice as many after each look in vain */
    EXPLORE_SELDOM = 16 * 16, /* and never more */
};

void steer_init(struct steer *s, int ceiling, int packers)
{
    *s = (struct steer){ .steps = 1, .packers = packers, .sampled = -1 };
    s->every = EXPLORE_EVERY;
    while (ceiling && s->steps < STEER_STEPS && ladder[s->steps] <= ceiling)
        s->steps++;
    atomic_store(&s->step, s->steps > FIRST ? FIRST : s->steps - 1);
    atomic_store(&s->sample, -1);
}

int steer_level(int step)
{
    return ladder[step];
}

int steer_take(struct steer *s, bool *sample)
{
    int step = atomic_load(&s->sample) < 0 ? -1 : atomic_exchange(&s->sample, -1);
    *sample = step >= 0;
    return *sample ? step : atomic_load(&s->step);
}

/* Could the stronger step @other be faster than @than? Where processors are free, packing goes on
 * beside everything else and must only keep up; where they are not, all of its time is lost for the
 * rest, and must not be more than what the link can save. */
static bool may_pay(const struct steer *s, int other, int than)
{
    double size = than ? s->size[than] : 1;
    if (s->crowded < CROWDED)
        return s->share * s->work[other] / s->packers < s->cost[than];
    double wire = s->share * size + 1 - s->share;
    double saves = (size - s->size[other]) * s->cost[than] / wire;
    return (s->work[other] - s->work[than]) / s->packers < saves;
}

static int fastest(const struct steer *s)
{
    int best = -1;
    for (int i = 0; i < s->steps; i++) {
        if (s->cost[i] <= 0 || (i && best == 0 && !may_pay(s, i, 0)))
            continue;
        /* A stronger step has to pay clearly: it also costs processor time. */
        if (best < 0 || s->cost[i] < s->cost[best] * 0.94)
            best = i;
    }
    return best;
}

/* Nothing to see for now, the longer the more often that was so. */
static void look_later(struct steer *s)
{
    s->below = !s->below;
    s->every = s->every * 2 > EXPLORE_SELDOM ? EXPLORE_SELDOM : s->every * 2;
    s->look_at = s->measured + s->every;
}

/* A sample of the stronger step @other is asked for, and a window later it is judged. */
static int look_up(struct steer *s, int other, int best)
{
    if (s->sampled != other) {
        s->size[other] = 0;
        s->sampled = other;
        atomic_store(&s->sample, other);
        return best;
    }
    if (s->size[other] <= 0)
        return best; /* it is still on its way */
    s->sampled = -1;
    bool pays = may_pay(s, other, best);
    look_later(s);
    return pays ? other : best;
}

/* One neighbour and then the other, the less often the longer the best one stays the best. When a
 * try has paid, the next one goes on in the same direction at once. */
static int next_step(struct steer *s)
{
    int best = fastest(s);
    if (best != s->best) {
        s->below = best < s->best;
        s->best = best;
        s->every = EXPLORE_EVERY;
        s->look_at = s->measured;
        s->sampled = -1;
    }
    if (s->cost[0] <= 0)
        return 0;
    if (s->measured < s->look_at)
        return best;
    if ((!s->below || best == 0) && best + 1 < s->steps)
        return look_up(s, best + 1, best);
    bool down = s->below && best > 0;
    look_later(s);
    return down ? best - 1 : best;
}

/* What was tried long ago counts no longer. The step in use is averaged, unless the link, or the
 * host, has become another one: then it is time to look around again. */
static void note_cost(struct steer *s, int step, double took)
{
    double *cost = &s->cost[step];
    bool other = *cost > 0 && (took > *cost * 1.5 || took < *cost / 1.5);
    if (step == s->best && other && s->measured >= LOOK_FIRST) {
        s->every = EXPLORE_EVERY;
        if (s->look_at > s->measured + s->every)
            s->look_at = s->measured + s->every;
    }
    *cost = step == s->best && *cost > 0 && !other ? *cost * 0.6 + took * 0.4 : took;
}

/* How packing itself goes; content differs from unit to unit. */
static void note_work(struct steer *s, const struct steer_unit *u)
{
    if (u->step == 0 || u->compressible == 0)
        return;
    double n = (double)u->compressible;
    double work = (double)u->work_us / 1e6 / n, size = (double)u->compressed / n;
    bool known = s->size[u->step] > 0;
    s->work[u->step] = known ? s->work[u->step] * 0.8 + work * 0.2 : work;
    s->size[u->step] = known ? s->size[u->step] * 0.8 + size * 0.2 : size;
}

static void begin(struct steer *s, int64_t now_us)
{
    s->since_us = now_us;
    s->bytes = s->compressible = 0;
    s->ran_us = s->waited_us = 0;
}

void steer_note(struct steer *s, const struct steer_unit *u, int64_t now_us)
{
    if (s->steps == 1)
        return;
    int now = atomic_load(&s->step);
    note_work(s, u);
    if ((u->step != now && !u->sample) || !s->since_us) {
        /* Still from before the change: begin to measure behind it. */
        begin(s, now_us);
        return;
    }
    s->bytes += u->bytes;
    s->ran_us += u->ran_us;
    s->waited_us += u->waited_us;
    s->compressible += u->compressible;
    if (s->bytes < (s->measured < LOOK_FIRST ? WINDOW_FIRST : WINDOW))
        return;
    double took = (double)(now_us - s->since_us) / 1e6 / (double)s->bytes;
    if (s->compressible >= s->bytes / 8) {
        s->share = (double)s->compressible / (double)s->bytes;
        double crowded = s->ran_us ? (double)s->waited_us / (double)s->ran_us : 0;
        s->crowded = s->measured ? s->crowded * 0.5 + crowded * 0.5 : crowded;
        note_cost(s, now, took);
        s->measured++;
        atomic_store(&s->step, next_step(s));
    }
    begin(s, now_us);
}
