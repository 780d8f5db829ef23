/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Time, chance and the queue of what happens next. */
#include "sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

uint32_t rnd(struct sim *s, uint32_t n)
{
    s->rng += 0x9e3779b97f4a7c15u;
    uint64_t z = s->rng;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return n ? (uint32_t)((z ^ z >> 31) % n) : 0;
}

bool chance(struct sim *s, uint32_t percent)
{
    return rnd(s, 100) < percent;
}

struct vr_uuid rnd_uuid(struct sim *s)
{
    struct vr_uuid u;
    for (size_t i = 0; i < sizeof u.b; i++)
        u.b[i] = (uint8_t)rnd(s, 256);
    return u;
}

static bool before(const struct task *a, const struct task *b)
{
    return a->at < b->at || (a->at == b->at && a->seq < b->seq);
}

static void sift_up(struct sim *s, int i)
{
    while (i && before(s->q[i], s->q[(i - 1) / 2])) {
        struct task *t = s->q[i];
        s->q[i] = s->q[(i - 1) / 2];
        s->q[(i - 1) / 2] = t;
        i = (i - 1) / 2;
    }
}

struct task *later(struct sim *s, int64_t ms, int host, void (*fn)(struct sim *, struct task *))
{
    struct task *t = vr_new(struct task);
    t->at = s->now + (ms > 0 ? ms : 0);
    t->seq = ++s->seq;
    t->host = host;
    t->inc = host >= 0 ? s->h[host].inc : 0;
    t->fn = fn;
    if (s->n_q == s->cap_q) {
        s->cap_q = s->cap_q ? s->cap_q * 2 : 256;
        s->q = vr_grow(s->q, (size_t)s->cap_q, sizeof *s->q);
    }
    s->q[s->n_q] = t;
    sift_up(s, s->n_q++);
    return t;
}

void task_free(struct task *t)
{
    free(t->r);
    free(t->text);
    free(t);
}

static struct task *take_first(struct sim *s)
{
    struct task *first = s->q[0];
    s->q[0] = s->q[--s->n_q];
    for (int i = 0;;) {
        int m = i;
        for (int k = 2 * i + 1; k <= 2 * i + 2; k++)
            if (k < s->n_q && before(s->q[k], s->q[m]))
                m = k;
        if (m == i)
            return first;
        struct task *t = s->q[i];
        s->q[i] = s->q[m];
        s->q[m] = t;
        i = m;
    }
}

/* One thing happens. A task of a daemon that has died since is dropped. */
bool world_step(struct sim *s)
{
    if (!s->n_q)
        return false;
    struct task *t = take_first(s);
    s->now = t->at;
    s->steps++;
    if (t->host < 0 || (s->h[t->host].up && s->h[t->host].inc == t->inc)) {
        t->fn(s, t);
        for (int i = 0; i < HOSTS; i++)
            host_arm(&s->h[i]);
        check_all(s);
    }
    task_free(t);
    return true;
}

void tell(struct sim *s, const char *fmt, ...)
{
    if (!s->trace)
        return;
    va_list ap;
    va_start(ap, fmt);
    printf("%8" PRId64 ".%03" PRId64 " ", s->now / 1000, s->now % 1000);
    vprintf(fmt, ap);
    putchar('\n');
    va_end(ap);
}

void violated(struct sim *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fflush(stdout);
    fprintf(stderr, "seed %" PRIu64 ", step %ld, %" PRId64 " ms: BROKEN: ", s->seed, s->steps,
            s->now);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\n");
    for (int i = 0; i < HOSTS; i++) {
        const struct rel *r = s->h[i].e ? rel_of(&s->h[i]) : NULL;
        fprintf(stderr, "  %s: %s, %s, machine %s%s\n", s->h[i].name, s->h[i].up ? "up" : "down",
                r ? rel_state_name(r->st) : "-", s->h[i].hv.running ? "runs" : "off",
                s->h[i].hv.guarded ? ", guarded" : "");
    }
    fprintf(stderr, "  to see it: sim --seed %" PRIu64 " --steps %ld --trace\n", s->seed,
            s->max_steps);
    exit(1);
}

int oracle_find(const struct sim *s, const struct vr_point_id *id)
{
    for (int i = s->n_oracle - 1; i >= 0; i--)
        if (vr_point_eq(&s->oracle[i].id, id))
            return i;
    return -1;
}

/* What a point must be, written down at its instant. The same name never means two things. */
int oracle_put(struct sim *s, const struct vr_point_id *id, const struct disk *d)
{
    int i = oracle_find(s, id);
    if (i >= 0) {
        if (!rot_same_disk(&s->oracle[i].d, d))
            violated(s, "epoch %" PRIu64 " of a lineage names two different instants", id->epoch);
        return i;
    }
    s->oracle = vr_grow(s->oracle, (size_t)s->n_oracle + 1, sizeof *s->oracle);
    s->oracle[s->n_oracle] = (struct oracle){ .id = *id, .d = *d };
    return s->n_oracle++;
}

struct host *other(struct host *h)
{
    return &h->s->h[1 - h->no];
}

const struct rel *rel_of(const struct host *h)
{
    static const struct rel none;
    const struct rel *r = h->e ? engine_find(h->e, &h->s->machine) : NULL;
    return r ? r : &none;
}

/* ---- a world ---- */
void sim_init(struct sim *s, uint64_t seed, long steps, bool trace)
{
    *s = (struct sim){ .seed = seed, .rng = seed, .max_steps = steps, .trace = trace };
    s->now = 1000;
    s->link = s->users = true;
    s->faults = seed % 5 != 0; /* every fifth world is a kind one: there all must go through */
    static const uint32_t rates[] = { 3000, 30000, 120000 };
    s->fault_ms = rates[rnd(s, 3)];
    s->jumps = seed % 7 == 0;
    s->keep = (struct store_retention){ .every_s = 20 + rnd(s, 200),
                                        .every_max = 2 + rnd(s, 8),
                                        .hourly = rnd(s, 3),
                                        .least = 1 + rnd(s, 3),
                                        .orphan_s = chance(s, 50) ? 0 : 60 + rnd(s, 600) };
    s->machine = rnd_uuid(s);
    for (int i = 0; i < HOSTS; i++) {
        struct host *h = &s->h[i];
        h->s = s;
        h->no = i;
        snprintf(h->name, sizeof h->name, "%c", 'A' + i);
        host_boot(h);
    }
    s->h[0].hv.has_disk = true;
    for (int b = 0; b < BLOCKS; b++)
        s->h[0].hv.disk.b[b] = chance(s, 60) ? ++s->next_val : 0;
}

void sim_done(struct sim *s)
{
    for (int i = 0; i < HOSTS; i++) {
        engine_free(s->h[i].e);
        free(s->h[i].d.rel);
        for (int k = 0; k < s->h[i].d.n_jobs; k++)
            free(s->h[i].d.jobs[k].text);
    }
    for (int i = 0; i < s->n_q; i++)
        task_free(s->q[i]);
    free(s->q);
    free(s->oracle);
    while (s->xfers) {
        struct xfer *next = s->xfers->next;
        free(s->xfers);
        s->xfers = next;
    }
    while (s->calls) {
        struct call *next = s->calls->next;
        free(s->calls);
        s->calls = next;
    }
}
