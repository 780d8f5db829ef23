/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sim --seed N --steps M [--trace]: one run. --blind: proof sees no difference, which must break.
 * sim --seeds FROM N: many. Without either, or with
 * VMR_SIM_SEEDS in the environment, the test: 10,000 reversals of the direction, or so many seeds.
 * A run has a wild part with faults and users, then a quiet one in which everything must settle. */
#include "sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static void run_until(struct sim *s, int64_t ms)
{
    long limit = s->steps + 200000;
    while (s->now < ms && world_step(s))
        if (s->steps > limit)
            violated(s, "the engines are busy for nothing");
}

static bool at_rest(const struct host *h)
{
    return engine_idle(h->e) && !h->effects;
}

static void run(struct sim *s)
{
    while (s->steps < s->max_steps && world_step(s))
        ;
    tell(s, "---- the world becomes quiet ----");
    s->faults = s->users = false;
    uint64_t acked[HOSTS];
    run_until(s, s->now + 400000);
    for (int i = 0; i < HOSTS; i++)
        acked[i] = rel_of(&s->h[i])->acked.epoch;
    run_until(s, s->now + 200000);
    int64_t patience = s->now + 120000;
    while (s->now < patience && !(at_rest(&s->h[0]) && at_rest(&s->h[1])) && world_step(s))
        ;
    check_settled(s, acked);
}

enum { ROUNDS = 10000 };

struct sum {
    long seen[FAULT_COUNT], killed[FX_BIT_COUNT], troubled[MSG_COUNT][TROUBLES];
    long superseded, queued, orphan, discarded, given_up, app, app_failed, diverged, points, full,
        compare, known, allocation, reverse, failover, crash, seed, cuts, resync, lost, ops,
        refused, rot, found, repaired, resent;
};

static void add(struct sum *a, const struct sim *s)
{
    for (int i = 0; i < FAULT_COUNT; i++)
        a->seen[i] += s->seen[i];
    for (int i = 0; i < FX_BIT_COUNT; i++)
        a->killed[i] += s->killed[i];
    for (int i = 0; i < MSG_COUNT * TROUBLES; i++)
        a->troubled[i / TROUBLES][i % TROUBLES] += s->troubled[i / TROUBLES][i % TROUBLES];
    a->superseded += s->n_superseded;
    a->queued += s->n_queued;
    a->orphan += s->n_orphan;
    a->discarded += s->n_discarded;
    a->given_up += s->n_given_up;
    a->diverged += s->n_diverged;
    a->points += s->n_points;
    a->full += s->n_full;
    a->compare += s->n_compare;
    a->known += s->n_known;
    a->allocation += s->n_allocation;
    a->reverse += s->n_reverse;
    a->failover += s->n_failover;
    a->crash += s->n_crash;
    a->seed += s->n_seed;
    a->cuts += s->n_cuts;
    a->resync += s->n_resync;
    a->app += s->n_app;
    a->app_failed += s->n_app_failed;
    a->lost += s->n_lost_answers;
    a->ops += s->n_ops;
    a->refused += s->n_refused;
    a->rot += s->n_rot;
    a->found += s->n_found;
    a->repaired += s->n_repaired;
    a->resent += s->n_resent;
}

int main(int argc, char **argv)
{
    uint64_t first = 1, n = 0;
    long steps = 4000;
    bool trace = false, blind = false;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--trace"))
            trace = true;
        else if (!strcmp(argv[i], "--blind"))
            blind = true;
        else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
            first = strtoull(argv[++i], NULL, 10), n = 1;
        else if (!strcmp(argv[i], "--seeds") && i + 2 < argc)
            first = strtoull(argv[i + 1], NULL, 10), n = strtoull(argv[i + 2], NULL, 10), i += 2;
        else if (!strcmp(argv[i], "--steps") && i + 1 < argc)
            steps = strtol(argv[++i], NULL, 10);
        else
            return fprintf(
                       stderr,
                       "usage: sim --seed N | --seeds FROM N [--steps M] [--trace] [--blind]\n"),
                   2;
    }
    const char *more = getenv("VMR_SIM_SEEDS");
    if (!n && more)
        n = strtoull(more, NULL, 10);
    bool rounds = !n; /* by default so many seeds that the direction was reversed often enough */
    struct sum sum = { 0 };
    for (uint64_t seed = first; rounds ? sum.reverse < ROUNDS : seed < first + n; seed++) {
        n = rounds ? seed - first + 1 : n;
        struct sim *s = vr_new(struct sim);
        sim_init(s, seed, steps, trace);
        s->blind = blind;
        users_start(s);
        faults_start(s);
        rot_start(s);
        run(s);
        add(&sum, s);
        sim_done(s);
        free(s);
    }
    printf("%" PRIu64 " seeds: %ld points, guests frozen for %ld instants and not for %ld, %ld "
           "failovers, %ld reversals (%ld of them diverged), "
           "%ld waited for the other host, %ld primaries superseded, %ld orphan points (%ld "
           "discarded, the time of %ld was up), "
           "%ld seeds offered, "
           "%ld full and %ld comparing copies, %ld that read only what was written since the "
           "failover, told %ld times by what the overlay holds, %ld resyncs, %ld crashes, %ld "
           "cuts, %ld answers "
           "lost, %ld requests (%ld refused), %ld bits flipped: %ld blocks found, %ld sent again, "
           "%ld repaired\n",
           n, sum.points, sum.app, sum.app_failed, sum.failover, sum.reverse, sum.diverged,
           sum.queued, sum.superseded, sum.orphan, sum.discarded, sum.given_up, sum.seed, sum.full,
           sum.compare, sum.known, sum.allocation, sum.resync, sum.crash, sum.cuts, sum.lost,
           sum.ops, sum.refused, sum.rot, sum.found, sum.resent, sum.repaired);
    /* A fault that never happens proves nothing. */
    bool all = !faults_missing(sum.seen, sum.killed, sum.troubled) && sum.known && sum.allocation &&
               sum.found && sum.resent && sum.repaired;
    return n >= 500 && !all ? 1 : 0;
}
