/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bits that flip on disks, and proof (docs/decisions/0007-proof.md): the replica's scrub, the
 * slices that a primary has compared, quarantine, repair. A value with the bit ROTTEN was written
 * by nobody. What was read is noted apart from what was concluded from it: a verifier that reads
 * and does not see breaks the promise in check_rot(). */
#include "sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/choose.h"

enum { ROTTEN = 1u << 31 };

static bool is_rotten(uint32_t v)
{
    return v & ROTTEN;
}

bool rot_same(uint32_t a, uint32_t b)
{
    return a == b || is_rotten(a) || is_rotten(b);
}

bool rot_same_disk(const struct disk *a, const struct disk *b)
{
    if (memcmp(a, b, sizeof *a) == 0)
        return true;
    for (int i = 0; i < BLOCKS; i++)
        if (!rot_same(a->b[i], b->b[i]))
            return false;
    return true;
}

uint32_t rot_copy(struct sim *s)
{
    return ++s->next_copy;
}

void rot_fresh(struct sim *s, struct point *p)
{
    p->told = p->d;
    for (int b = 0; b < BLOCKS; b++)
        p->copy[b] = rot_copy(s);
}

/* ---- flips ---- */
static uint32_t flipped(struct sim *s)
{
    s->n_rot++;
    return ROTTEN | ++s->next_val;
}

/* The stored block @copy is another one now, in whatever shows it: also a machine that runs on it.
 */
static void flip_copy(struct host *h, int b, uint32_t copy, uint32_t v)
{
    struct point *on = h->d.failed_over ? point_find(h, &h->d.overlay_on) : NULL;
    if (on && on->copy[b] == copy && !h->hv.allocated[b])
        h->hv.disk.b[b] = v;
    for (int i = 0; i < h->d.n_points; i++)
        if (h->d.points[i].copy[b] == copy)
            h->d.points[i].d.b[b] = v;
}

static void flip_table(struct host *h, int b, uint32_t copy, uint32_t v)
{
    for (int i = 0; i < h->d.n_points; i++)
        if (h->d.points[i].copy[b] == copy)
            h->d.points[i].told.b[b] = v;
}

void rot_flip(struct host *h)
{
    struct sim *s = h->s;
    int b = (int)rnd(s, BLOCKS);
    if (h->d.n_points) {
        struct point *p = &h->d.points[rnd(s, (uint32_t)h->d.n_points)];
        bool table = chance(s, 20);
        seen(s, table ? FAULT_ROT_TABLE : FAULT_ROT_LAYER);
        (table ? flip_table : flip_copy)(h, b, p->copy[b], flipped(s));
    } else if (rel_mode(rel_of(h)) == REL_MODE_PRIMARY && h->hv.has_disk && b) {
        seen(s, FAULT_ROT_PRIMARY);
        h->hv.disk.b[b] = flipped(s); /* and no bitmap knows */
    }
}

/* ---- what follows when a difference was found ---- */
static void quarantine(struct point *p)
{
    int bad = p->sticky;
    for (int b = 0; b < BLOCKS; b++)
        bad += p->known[b];
    if (bad > p->bad) {
        p->quarantine = STORE_QUARANTINED;
        p->acknowledged = false;
    }
    p->bad = bad;
}

static void alarm_rings(struct host *h, uint64_t blocks, bool open)
{
    struct vr_err err = VR_ERR_INIT;
    if (blocks && engine_differs(h->e, &h->s->machine, blocks, open, "found", &err) == 0)
        h->alarm = true;
}

/* The verifier's only eye; blind, it sees no difference. */
static bool differs(const struct sim *s, uint32_t a, uint32_t b)
{
    return !s->blind && a != b;
}

/* A block of a layer and its digest, in whatever shows it. */
static bool look(struct host *h, int b, uint32_t copy, uint32_t d, uint32_t told)
{
    bool news = false, bad = differs(h->s, d, told);
    for (int i = 0; i < h->d.n_points; i++) {
        struct point *p = &h->d.points[i];
        if (p->copy[b] != copy)
            continue;
        p->read[b] = d;
        p->read_told[b] = told;
        if (!bad)
            continue;
        news |= !p->known[b];
        p->known[b] = true;
        quarantine(p);
        if (i == h->d.n_points - 1)
            h->d.wanted[b] = true;
    }
    h->s->n_found += news;
    return news;
}

static void scrub(struct host *h)
{
    struct sim *s = h->s;
    int n = h->d.n_points, first = (int)rnd(s, BLOCKS);
    uint64_t news = 0;
    if (!n)
        return;
    int i = h->scrub_point++ % n;
    for (int k = 0; k < (s->faults ? 24 : BLOCKS); k++) {
        int b = (first + k) % BLOCKS;
        const struct point *p = &h->d.points[i];
        news += look(h, b, p->copy[b], p->d.b[b], p->told.b[b]);
    }
    bool open = false;
    for (int b = 0; b < BLOCKS; b++)
        open |= h->d.wanted[b];
    alarm_rings(h, news, open);
}

/* ---- repair ---- */
static bool right_bytes(struct host *h, const struct point *bad, int b)
{
    for (int i = 0; i < h->d.n_points; i++) {
        const struct point *p = &h->d.points[i];
        if (p->copy[b] != bad->copy[b] && p->told.b[b] == bad->told.b[b] &&
            p->d.b[b] == bad->told.b[b])
            return true;
    }
    return false;
}

/* All that stands on the rotten layer is led around it. */
static void around(struct host *h, int b, uint32_t copy, uint32_t right)
{
    uint32_t fresh = rot_copy(h->s);
    h->s->n_repaired++;
    for (int i = 0; i < h->d.n_points; i++) {
        struct point *p = &h->d.points[i];
        if (p->copy[b] != copy)
            continue;
        p->copy[b] = fresh;
        p->d.b[b] = right;
        p->known[b] = false;
        int left = p->bad = p->sticky;
        for (int k = 0; k < BLOCKS; k++)
            left += p->known[k], p->bad += p->known[k];
        if (!left && p->quarantine == STORE_QUARANTINED)
            p->quarantine = STORE_REPAIRED;
    }
}

static void repair(struct host *h)
{
    if (h->d.failed_over || h->merging)
        return;
    for (int i = 0; i < h->d.n_points - 1; i++)
        for (int b = 0; b < BLOCKS; b++) {
            const struct point *p = &h->d.points[i], *newest = point_newest(h);
            if (p->known[b] && newest->copy[b] != p->copy[b] && right_bytes(h, p, b)) {
                around(h, b, p->copy[b], p->told.b[b]);
                return; /* one layer at a time */
            }
        }
}

/* ---- the replica reads, people acknowledge ---- */
static void acknowledge(struct host *h)
{
    struct vr_err err = VR_ERR_INIT;
    if (!h->alarm || engine_acknowledge(h->e, &h->s->machine, &err) < 0)
        return;
    h->alarm = false;
    for (int i = 0; i < h->d.n_points; i++)
        h->d.points[i].acknowledged |= h->d.points[i].quarantine != 0;
}

static void verifier(struct sim *s, struct task *t)
{
    struct host *h = t->arg;
    if (h->up && rel_follows(rel_of(h)))
        scrub(h);
    if (h->up && rel_follows(rel_of(h)))
        repair(h);
    if (h->up && s->users && chance(s, 3))
        acknowledge(h);
    if (h->up && s->users && h->d.n_points && chance(s, 1)) {
        struct point *p = &h->d.points[rnd(s, (uint32_t)h->d.n_points)];
        if (p->quarantine == STORE_QUARANTINED)
            p->quarantine = STORE_RELEASED;
    }
    if (s->faults && chance(s, 4))
        rot_flip(h);
    later(s, 300 + rnd(s, 3000), -1, verifier)->arg = h;
}

void rot_start(struct sim *s)
{
    s->rots = s->faults && s->seed % 3 == 1;
    for (int i = 0; i < HOSTS && s->rots; i++)
        later(s, 1000, -1, verifier)->arg = &s->h[i];
}

/* ---- the primary has a slice compared: call PROVE ---- */
struct proving {
    int from, to, first, n;
    uint32_t from_inc;
    struct vr_point_id id;
    struct disk at;
    uint64_t sent, replied, bad;
};

static void prove_answer(struct sim *s, struct task *t)
{
    struct proving *p = t->arg;
    struct host *h = &s->h[p->from];
    message_came(&s->h[p->to], MSG_PROVE_REPLY, p->replied);
    if (h->up && h->inc == p->from_inc)
        alarm_rings(h, p->bad, true);
    free(p);
}

static void prove_reply(struct sim *s, struct proving *p)
{
    if (!s->link || chance(s, s->faults ? 10 : 0)) {
        troubled(s, MSG_PROVE_REPLY, CUT);
        free(p);
        return;
    }
    bool slow = chance(s, s->faults ? 10 : 0);
    if (slow)
        troubled(s, MSG_PROVE_REPLY, SLOW);
    p->replied = message_sent(&s->h[p->to]);
    later(s, 1 + rnd(s, slow ? 20000 : 60), -1, prove_answer)->arg = p;
}

static void compare(struct host *h, struct proving *v)
{
    struct point *p = point_find(h, &v->id);
    bool open = false;
    if (!p)
        return;
    for (int b = v->first; b < v->first + v->n; b++) {
        bool rot = look(h, b, p->copy[b], p->d.b[b], p->told.b[b]);
        p->compared[b] = true;
        p->ours_then[b] = p->d.b[b];
        p->theirs[b] = v->at.b[b];
        v->bad += rot;
        if (p->known[b] || !differs(h->s, p->d.b[b], v->at.b[b]))
            continue;
        /* As told, and the primary reads something else: nobody knows who is wrong. */
        v->bad++;
        h->s->n_found++;
        p->sticky++;
        h->d.wanted[b] = open = true;
        quarantine(p);
    }
    for (int b = 0; b < BLOCKS; b++)
        open |= h->d.wanted[b];
    alarm_rings(h, v->bad, open);
}

static void prove_arrive(struct sim *s, struct task *t)
{
    struct proving *p = t->arg;
    struct host *to = &s->h[p->to];
    bool lost = !s->link || chance(s, s->faults ? 5 : 0);
    if (lost)
        troubled(s, MSG_PROVE, CUT);
    if (lost || !to->up) {
        free(p);
        return;
    }
    message_came(&s->h[p->from], MSG_PROVE, p->sent);
    const struct rel *r = rel_of(to);
    if (rel_mode(r) == REL_MODE_REPLICA && vr_uuid_eq(&r->lineage, &p->id.lineage))
        compare(to, p);
    prove_reply(s, p);
}

void rot_prove(struct host *h, const struct rel *r)
{
    struct sim *s = h->s;
    const struct capture *cap = &h->hv.cap;
    if (!s->rots || !cap->held || cap->lost || r->st != ST_P_REPL || (s->faults && chance(s, 40)))
        return;
    struct proving *p = vr_new(struct proving);
    p->from = h->no;
    p->to = 1 - h->no;
    p->from_inc = h->inc;
    p->id = (struct vr_point_id){ .lineage = r->lineage, .epoch = r->flow.epoch };
    p->at = cap->at;
    p->first = s->faults ? (int)rnd(s, BLOCKS) : 0;
    p->n = s->faults ? 1 + (int)rnd(s, (uint32_t)(BLOCKS - p->first)) : BLOCKS;
    bool slow = chance(s, s->faults ? 10 : 0);
    if (slow)
        troubled(s, MSG_PROVE, SLOW);
    p->sent = message_sent(h);
    later(s, 1 + rnd(s, slow ? 20000 : 60), -1, prove_arrive)->arg = p;
}

/* ---- transfers ---- */
void rot_commit(struct host *h, struct point *p, const bool have[BLOCKS])
{
    const struct point *below = point_newest(h);
    for (int b = 0; b < BLOCKS; b++) {
        bool own = have[b] || !below;
        p->told.b[b] = own ? p->d.b[b] : below->told.b[b];
        p->copy[b] = own ? rot_copy(h->s) : below->copy[b];
        p->read[b] = own ? 0 : below->read[b];
        p->read_told[b] = own ? 0 : below->read_told[b];
        p->known[b] = !own && below->known[b];
        h->s->n_resent += have[b] && h->d.wanted[b];
        h->d.wanted[b] &= !have[b];
        /* Found while this point was on its way: it shows what nobody vouches for. */
        p->sticky += h->d.wanted[b] && !p->known[b];
    }
    quarantine(p);
}

/* ---- which point a failover takes, by the daemon's own choice ---- */
struct point *rot_choose(struct host *h, const struct rel *r, struct vr_err *err)
{
    struct store_point v[POINTS_MAX];
    for (int i = 0; i < h->d.n_points; i++)
        v[i] = (struct store_point){ .id = h->d.points[i].id,
                                     .kind = h->d.points[i].kind,
                                     .proof = { .quarantine = h->d.points[i].quarantine } };
    const struct store_point *p = choose_failover(r, v, (size_t)h->d.n_points, err);
    struct point *ret = p ? point_find(h, &p->id) : NULL;
    if (ret && ret->quarantine == STORE_QUARANTINED)
        violated(h->s, "%s fails over to a point that is known to be wrong", h->name);
    return ret;
}

/* ---- the promise ---- */
static bool told_of(const struct point *p)
{
    return p->quarantine == STORE_QUARANTINED || p->quarantine == STORE_RELEASED;
}

void check_rot(struct host *h)
{
    for (int i = 0; h->s->rots && i < h->d.n_points; i++) {
        const struct point *p = &h->d.points[i];
        for (int b = 0; b < BLOCKS && !told_of(p); b++) {
            bool rot = p->d.b[b] != p->told.b[b] && p->read[b] == p->d.b[b] &&
                       p->read_told[b] == p->told.b[b];
            bool other =
                p->compared[b] && p->theirs[b] != p->d.b[b] && p->ours_then[b] == p->d.b[b];
            if (rot || other)
                violated(h->s,
                         "%s has read block %d of point %" PRIu64
                         ", which is rotten, and offers the point as a good one",
                         h->name, b, p->id.epoch);
        }
    }
    if (h->up && h->alarm && rel_mode(rel_of(h)) != REL_MODE_NONE && !rel_of(h)->bad_blocks)
        violated(h->s, "%s found blocks that differ and is silent about it", h->name);
    bool wanted = false;
    for (int b = 0; b < BLOCKS; b++)
        wanted |= h->d.wanted[b];
    if (h->up && h->alarm && wanted && rel_mode(rel_of(h)) == REL_MODE_REPLICA &&
        rel_of(h)->bad_blocks && !rel_of(h)->bad_open)
        violated(h->s, "%s calls its newest point right again, which it is not yet", h->name);
    if (rel_mode(rel_of(h)) == REL_MODE_NONE)
        h->alarm = false;
}

/* Both have had time: the newest point is right, and what is not is quarantined. */
void check_rot_settled(struct host *p)
{
    struct host *q = other(p);
    if (!p->s->rots || rel_of(p)->st != ST_P_REPL || rel_of(q)->st != ST_R_REPL ||
        !vr_uuid_eq(&rel_of(p)->lineage, &rel_of(q)->lineage) || !q->d.n_points)
        return;
    for (int i = 0; i < q->d.n_points; i++) {
        const struct point *x = &q->d.points[i];
        for (int b = 0; b < BLOCKS; b++)
            if (x->d.b[b] != x->told.b[b] && !told_of(x))
                violated(q->s, "block %d of point %" PRIu64 " rots on %s and nobody found it", b,
                         x->id.epoch, q->name);
    }
    const struct point *x = point_newest(q);
    if (memcmp(&x->d, &q->s->oracle[x->oracle].d, sizeof x->d) != 0 || told_of(x))
        violated(q->s, "the newest point on %s stays wrong", q->name);
}
