/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The replica's layers, read in the background and compared with their digest tables, and the
 * repair of what can be repaired. One piece at a time on a host. Control thread; work() on transfer
 * workers. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/fault.h"
#include "daemon/proof.h"
#include "daemon/storage.h"
#include "store/proof.h"

enum {
    TICK_MS = 15000,       /* how often each machine is looked at */
    PIECE_LEAST = 8 << 20, /* bytes */
    PIECE_MOST = 256 << 20,
};

struct scrub {
    struct task t;
    struct proof_state at;
    struct store_scrub_at where;
    struct store_scrub *s;
    uint64_t due, piece, bytes; /* all that is due, what of it is read now, what was read */
    bool any, pass;
    struct store_noted noted;
};

static void st_due(void *arg)
{
    struct scrub *x = arg;
    struct daemon *d = x->t.d;
    uint64_t total = 0;
    int64_t elapsed = (vr_wall_now().us - x->at.scrub_piece.us) / 1000000;
    if (store_scrub_bytes(d->store, &x->t.r.machine, &total, &x->t.err) == 0)
        x->due = proof_budget(total, d->cfg.verify_days, elapsed, PIECE_LEAST);
    x->piece = x->due < PIECE_MOST ? x->due : PIECE_MOST;
}

static void st_prepare(void *arg)
{
    struct scrub *x = arg;
    store_scrub_prepare(x->t.d->store, &x->t.r.machine, &x->where, x->piece - x->bytes, &x->s,
                        &x->t.err);
}

static void st_finish(void *arg)
{
    struct scrub *x = arg;
    struct vr_err err = VR_ERR_INIT;
    struct store_noted noted;
    uint64_t bytes = 0;
    store_scrub_finish(x->t.d->store, x->s, vr_wall_now(), &x->where, &x->pass, &bytes, &noted,
                       x->t.err.kind == VR_OK ? &x->t.err : &err);
    x->bytes += bytes;
    x->noted.blocks += noted.blocks;
    x->noted.points += noted.points;
    x->noted.wanted += noted.wanted;
}

/* One layer after the other until what is due has been read. */
static void scrub_work(struct task *t)
{
    struct scrub *x = (struct scrub *)t;
    storage_call(t->d, &t->r.machine, st_due, x, &t->err);
    while (t->err.kind == VR_OK && x->bytes < x->piece && !x->pass && !t->d->stopping) {
        x->s = NULL;
        storage_call(t->d, &t->r.machine, st_prepare, x, &t->err);
        if (t->err.kind != VR_OK || !x->s)
            return;
        x->any = true;
        store_scrub_pace(x->s, (uint64_t)t->d->cfg.verify_rate << 20);
        store_scrub_run(x->s, &t->err);
        storage_call(t->d, &t->r.machine, st_finish, x, NULL);
    }
}

static void tell(struct scrub *x)
{
    vr_autofree char *text =
        vr_printf("%" PRIu64 " blocks changed on host %.64s after they had been received; %zu "
                  "recovery points that show them are quarantined.",
                  x->noted.blocks, x->t.d->cfg.host_name, x->noted.points);
    proof_differs(x->t.d, &x->t.r.machine, x->noted.blocks, x->noted.wanted > 0, text);
}

static void scrub_done(struct task *t)
{
    struct scrub *x = (struct scrub *)t;
    struct machine_rt *rt = rt_get(t->d, &t->r.machine);
    struct proof_state *at = &rt->proof.at;
    rt->proof.scrubbing = false;
    if (t->err.kind != VR_OK && t->err.kind != VR_E_NOTFOUND)
        vr_log_err(t->err.kind == VR_E_CANCELLED ? VR_LOG_DEBUG : VR_LOG_WARN,
                   "reading recovery points in the background", &t->err);
    if (!x->any)
        return;
    struct wall_us now = vr_wall_now();
    bool whole = x->pass && !at->layer && !at->layer_block;
    at->layer = x->where.layer;
    at->layer_block = x->where.block;
    /* After an error the next round comes when more is due, not at once. */
    at->scrub_piece = t->err.kind == VR_OK || t->err.kind == VR_E_CANCELLED
                          ? scrub_since(at->scrub_piece, now, x->due, x->bytes, whole)
                          : now;
    if (x->pass)
        at->scrub_last = now;
    if (x->noted.blocks)
        tell(x);
    proof_save(t->d, &t->r.machine);
}

static void begin(struct daemon *d, const struct rel *r)
{
    struct proof *p = &rt_get(d, &r->machine)->proof;
    if (!p->at.scrub_piece.us) { /* time counts from the first look on */
        p->at.scrub_piece = vr_wall_now();
        proof_save(d, &r->machine);
        return;
    }
    struct scrub *x = vr_new(struct scrub);
    x->t.work = scrub_work;
    x->t.done = scrub_done;
    x->t.r = *r;
    x->at = p->at;
    x->where = (struct store_scrub_at){ .layer = p->at.layer, .block = p->at.layer_block };
    p->scrubbing = true;
    task_run(d, storage_workers(d, &r->machine), &x->t);
}

/* One that waits for its storage keeps the others from nothing. */
static bool waits_for_storage(const struct daemon *d, const struct machine_rt *rt)
{
    const struct rel *r = engine_find(d->engine, &rt->machine);
    return r && r->silent[0];
}

void scrub_tick(struct daemon *d)
{
    static struct mono_ms next; /* of the control thread */
    static size_t turn;
    struct mono_ms now = vr_mono_now();
    if (!d->cfg.verify_days || d->stopping || now.ms < next.ms)
        return;
    size_t n = 0;
    for (struct machine_rt *rt = d->rts; rt; rt = rt->next)
        if (rt->proof.scrubbing && !waits_for_storage(d, rt))
            return;
    while (engine_at(d->engine, n))
        n++;
    if (!n)
        return;
    if (turn >= n) { /* all have had their turn: the next round comes later */
        turn = 0;
        next.ms = now.ms + TICK_MS;
        return;
    }
    const struct rel *r = engine_at(d->engine, turn++);
    if (rel_follows(r) && !r->silent[0] && !rt_get(d, &r->machine)->proof.scrubbing)
        begin(d, r);
}

/* ---- repair ---- */
struct repair {
    struct task *t;
    struct store_repair *r;
    size_t blocks, points;
    struct vr_err err;
};

static void st_repair_prepare(void *arg)
{
    struct repair *x = arg;
    store_repair_prepare(x->t->d->store, &x->t->r.machine, &x->r, &x->err);
}

static void st_repair_finish(void *arg)
{
    struct repair *x = arg;
    struct vr_err err = VR_ERR_INIT;
    store_repair_finish(x->t->d->store, x->r, &x->blocks, &x->points,
                        x->err.kind == VR_OK ? &x->err : &err);
}

bool proof_repair(struct task *t)
{
    struct repair x = { .t = t };
    storage_call(t->d, &t->r.machine, st_repair_prepare, &x, &x.err);
    if (x.err.kind == VR_OK && x.r) {
        store_repair_run(x.r, &x.err);
        storage_call(t->d, &t->r.machine, st_repair_finish, &x, NULL);
    }
    if (x.err.kind != VR_OK && x.err.kind != VR_E_CANCELLED && x.err.kind != VR_E_NOTFOUND)
        vr_log_err(VR_LOG_WARN, "repair (tried again after the next point)", &x.err);
    if (x.blocks)
        vr_log(VR_LOG_INFO,
               "machine %s: %zu blocks of older points repaired; %zu points are sound again",
               t->r.name, x.blocks, x.points);
    return x.r && x.err.kind == VR_OK;
}
