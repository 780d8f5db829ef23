/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A host: its daemon's life and death, its hypervisor and its store. */
#include "sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

/* ---- daemon ---- */
static void tick(struct sim *s, struct task *t)
{
    struct host *h = &s->h[t->host];
    h->tick_at = 0;
    engine_tick(h->e);
}

/* Sees to it that engine_tick() comes when the engine wants it. */
void host_arm(struct host *h)
{
    if (!h->up)
        return;
    struct mono_ms next = engine_next(h->e);
    if (!next.ms)
        return;
    int64_t at = next.ms > h->s->now ? next.ms : h->s->now;
    if (h->tick_at && h->tick_at <= at)
        return;
    h->tick_at = at ? at : 1;
    later(h->s, at - h->s->now, h->no, tick);
}

void host_event(struct host *h, struct rel_event *ev)
{
    if (h->up)
        engine_event(h->e, &h->s->machine, ev);
}

/* What the store holds counts, not what was written about it: a point may have been committed
 * just before the daemon died. */
static void newest_from_store(struct host *h)
{
    const struct rel *r = rel_of(h);
    struct point *p = point_newest(h);
    if (rel_mode(r) != REL_MODE_REPLICA || !p || (r->has_newest && vr_point_eq(&p->id, &r->newest)))
        return;
    struct rel_event ev = { .type = EV_RX_COMMITTED,
                            .point = p->id,
                            .kind = p->kind,
                            .instant = p->instant,
                            .n_disks = r->n_disks };
    memcpy(ev.disks, r->disks, sizeof ev.disks);
    host_event(h, &ev);
}

void host_boot(struct host *h)
{
    struct vr_err err = VR_ERR_INIT;
    struct engine_env env = host_env(h);
    h->e = engine_new(&env);
    h->up = true;
    h->effects = 0;
    h->tick_at = 0;
    h->store_free = h->s->now;
    if (h->d.rel && engine_load(h->e, h->d.rel, &err) < 0)
        violated(h->s, "%s cannot read what it wrote: %s", h->name, err.msg);
    for (int i = 0; i < h->d.n_jobs; i++) {
        char id[VR_UUID_STR];
        vr_uuid_fmt(&h->d.jobs[i].id, id);
        if (engine_load_job(h->e, id, h->d.jobs[i].text, &err) < 0)
            violated(h->s, "%s cannot read a job it wrote: %s", h->name, err.msg);
    }
    tell(h->s, "%s: daemon starts in state %s", h->name, rel_state_name(rel_of(h)->st));
    /* Written before a comparison, or the next point, was known to be over. */
    const struct rel *r = rel_of(h);
    if (rel_mode(r) == REL_MODE_PRIMARY &&
        (!r->tracked || (r->has_acked && vr_point_eq(&r->acked, &h->untracked))))
        h->may_compare = true;
    engine_restart(h->e);
    newest_from_store(h);
}

void host_crash(struct host *h, bool power)
{
    tell(h->s, "%s: %s", h->name, power ? "LOSES POWER" : "daemon killed");
    h->s->n_crash++;
    if (power)
        seen(h->s,
             rel_mode(rel_of(h)) == REL_MODE_REPLICA ? FAULT_RESET_REPLICA : FAULT_RESET_PRIMARY);
    else if (h->up)
        seen_death(h);
    h->merging = false;
    h->inc++;
    if (h->up) {
        engine_free(h->e);
        h->e = NULL;
    }
    h->up = false;
    h->tx = h->rx = NULL;
    h->hv.cap.held = false; /* left over in the hypervisor; cleaned up with its checkpoint */
    net_host_down(h->s, h->no);
    if (!power)
        return;
    if (h->hv.running)
        vm_stop(h, false);
    for (int b = 0; b < BLOCKS; b++)
        if (!h->d.stage.flushed[b])
            h->d.stage.have[b] = false;
}

/* ---- hypervisor ---- */
struct checkpoint *cp_find(struct host *h, const char *name)
{
    for (int i = 0; i < h->hv.n_cp; i++)
        if (!strcmp(h->hv.cp[i].name, name))
            return &h->hv.cp[i];
    return NULL;
}

void cp_delete(struct host *h, const char *name)
{
    struct checkpoint *c = cp_find(h, name);
    if (c)
        *c = h->hv.cp[--h->hv.n_cp];
}

void cp_delete_but(struct host *h, const char *keep)
{
    for (int i = h->hv.n_cp - 1; i >= 0; i--)
        if (!keep || strcmp(h->hv.cp[i].name, keep) != 0)
            h->hv.cp[i] = h->hv.cp[--h->hv.n_cp];
}

struct checkpoint *cp_new(struct host *h, const char *name)
{
    cp_delete(h, name);
    if (h->hv.n_cp == CHECKPOINTS_MAX)
        violated(h->s, "%s piles up checkpoints", h->name);
    struct checkpoint *c = &h->hv.cp[h->hv.n_cp++];
    *c = (struct checkpoint){ .inconsistent = false };
    snprintf(c->name, sizeof c->name, "%s", name);
    return c;
}

static void guest_writes(struct sim *s, struct task *t)
{
    struct host *h = t->arg;
    if (!h->hv.running || t->step != (int)h->hv.disk.b[0])
        return;
    for (uint32_t n = rnd(s, 4); n; n--) {
        int b = 1 + (int)rnd(s, chance(s, 70) ? 8 : BLOCKS - 1);
        h->hv.disk.b[b] = chance(s, 15) ? 0 : ++s->next_val;
        h->hv.allocated[b] = true;
        for (int i = 0; i < h->hv.n_cp; i++)
            h->hv.cp[i].dirty[b] = true;
    }
    struct task *again = later(s, 500 + rnd(s, 8000), -1, guest_writes);
    again->arg = h;
    again->step = t->step;
}

static void changed(struct host *h)
{
    struct rel_event ev = { .type = EV_HV_CHANGED };
    host_event(h, &ev);
}

/* Whoever still reads it reads something else from now on. */
static void capture_lost(struct host *h)
{
    h->hv.cap.lost = true;
    for (int b = 0; b < BLOCKS && h->tx; b++)
        if (h->tx->todo[b] && chance(h->s, 50))
            h->tx->at.b[b] = ++h->s->next_val;
}

void vm_start(struct host *h)
{
    if (h->hv.running || h->hv.guarded || !h->hv.has_disk)
        return;
    tell(h->s, "%s: machine starts", h->name);
    h->hv.running = true;
    if (h->hv.cap.held && !h->hv.cap.live)
        capture_lost(h);
    /* Each start writes block 0, so that a start is never without a trace. */
    h->hv.disk.b[0] = ++h->s->next_val;
    h->hv.allocated[0] = true;
    for (int i = 0; i < h->hv.n_cp; i++)
        h->hv.cp[i].dirty[0] = true;
    struct task *t = later(h->s, 10, -1, guest_writes);
    t->arg = h;
    t->step = (int)h->hv.disk.b[0];
    changed(h);
}

void vm_stop(struct host *h, bool clean)
{
    if (!h->hv.running)
        return;
    tell(h->s, "%s: machine %s", h->name, clean ? "stops" : "is KILLED");
    h->hv.running = false;
    if (h->hv.cap.held && h->hv.cap.live)
        capture_lost(h);
    if (!clean) {
        h->may_compare = true;
        seen(h->s, FAULT_QEMU_KILLED);
    }
    for (int i = 0; i < h->hv.n_cp && !clean; i++)
        h->hv.cp[i].inconsistent = true;
    changed(h);
}

/* ---- store ---- */
struct point *point_newest(struct host *h)
{
    return h->d.n_points ? &h->d.points[h->d.n_points - 1] : NULL;
}

struct point *point_find(struct host *h, const struct vr_point_id *id)
{
    for (int i = 0; i < h->d.n_points; i++)
        if (vr_point_eq(&h->d.points[i].id, id))
            return &h->d.points[i];
    return NULL;
}

void point_add(struct host *h, const struct point *p)
{
    if (h->d.n_points == POINTS_MAX)
        violated(h->s, "%s: retention does not keep up", h->name);
    struct point n = *p;
    point_place(h, &n);
    h->d.points[h->d.n_points++] = n;
    h->s->n_points++;
}
