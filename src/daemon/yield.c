/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A primary's own disks become the chain of a replica. Hypervisor workers. */
#include "daemon/swap.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/diverge.h"
#include "daemon/fault.h"
#include "daemon/storage.h"
#include "daemon/written.h"

/* ---- YIELD: the old primary becomes the replica ---- */
static bool is_yielded(struct swap_task *s, const struct vr_point_id *first)
{
    struct store_point *pts = NULL;
    size_t n = 0;
    struct vr_err none = VR_ERR_INIT;
    bool yes = store_points(s->t.d->store, &s->t.r.machine, &pts, &n, &none) == 0 && n &&
               vr_point_eq(&pts[n - 1].id, first);
    free(pts);
    return yes;
}

/* Are the machine's disks still the overlays of its failover? Somebody may have made a snapshot or
 * exchanged a disk since. */
static bool on_overlays(struct swap_task *s)
{
    for (size_t i = 0; i < s->n; i++) {
        vr_autofree char *path = NULL;
        struct vr_err none = VR_ERR_INIT;
        if (store_failover_path(s->t.d->store, &s->t.r.machine, s->disks[i].target, &path, &none) <
                0 ||
            strcmp(path, s->base[i]) != 0)
            return false;
    }
    return true;
}

static int refuse_kept(struct swap_task *s)
{
    size_t n = 0;
    if (store_points_kept(s->t.d->store, &s->t.r.machine, &n, &s->t.err) < 0)
        return -1;
    if (!n)
        return 0;
    return vr_fail(&s->t.err, VR_E_STATE, 0,
                   "the disks of machine %s are not those it had when it became the primary (was a "
                   "snapshot made?), and %zu orphan or pinned point(s), or such as are being read, "
                   "lie under those: bring these disks "
                   "back (delete the snapshot so that it is merged), or give the points up by "
                   "vmreplica disable %s on host %s",
                   s->t.r.name, n, s->t.r.name, s->t.d->cfg.host_name);
}

static void make_chain(struct swap_task *s, const struct vr_point_id *first)
{
    const struct rel *r = &s->t.r;
    struct store *st = s->t.d->store;
    /* What this host wrote and nobody received is not merged away by retention, and is no point of
     * a primary that a failover might take. */
    enum vr_point_kind kind = rel_yield_kind(r);
    struct wall_us when = r->newest_instant.us ? r->newest_instant : vr_wall_now();
    bool chain = store_chain_exists(st, &r->machine);
    if (chain && on_overlays(s)) {
        store_failover_return(st, &r->machine, first, when, kind, &s->t.err);
        return;
    }
    /* Disks that the chain does not know: it begins anew, but not at the cost of what lies in it.
     */
    if (!storage_answers(s->t.d, s->t.d->cfg.storage, &s->t.err) ||
        (chain && (refuse_kept(s) < 0 || store_chain_drop(st, &r->machine, false, &s->t.err) < 0)))
        return;
    store_chain_create(st, &r->machine, s->t.d->cfg.storage, s->disks, s->n, first, when, kind,
                       &s->t.err);
}

static void st_yield(void *arg)
{
    struct swap_task *s = arg;
    struct vr_point_id first = rel_seed_point(&s->t.r);
    struct vr_err err = VR_ERR_INIT;
    if (!is_yielded(s, &first)) /* before a crash */
        make_chain(s, &first);
    if (s->t.err.kind == VR_OK && s->written.us &&
        store_point_written(s->t.d->store, &s->t.r.machine, &first, s->written, &err) < 0)
        vr_log_err(VR_LOG_WARN, "when an orphan point was last written is not noted", &err);
}

/* The machine's own disks, in the order of the relationship. */
static int yield_bases(struct swap_task *s, const struct hv_machine *m, struct vr_err *err)
{
    for (uint32_t i = 0; i < s->t.r.n_disks; i++) {
        const struct hv_disk *found = NULL;
        for (size_t k = 0; k < m->n_disks; k++)
            if (!strcmp(m->disks[k].target, s->t.r.disks[i].target))
                found = &m->disks[k];
        if (!found)
            return vr_fail(err, VR_E_NOTFOUND, 0, "machine %s has no disk %s any more", s->t.r.name,
                           s->t.r.disks[i].target);
        s->base[i] = vr_strdup(found->path);
        snprintf(s->disks[i].target, sizeof s->disks[i].target, "%s", found->target);
        s->disks[i].size = found->size ? found->size : s->t.r.disks[i].size;
        s->disks[i].base = s->base[i];
        s->disks[i].base_format = strcmp(found->format, "raw") == 0 ? "raw" : "qcow2";
    }
    s->n = s->t.r.n_disks;
    /* Disks that are not replicated stay with the machine. */
    for (size_t k = 0; k < m->n_disks && s->n_kept < VR_DISKS_MAX; k++) {
        bool ours = false;
        for (uint32_t i = 0; i < s->t.r.n_disks; i++)
            ours |= !strcmp(m->disks[k].target, s->t.r.disks[i].target);
        if (!ours)
            snprintf(s->kept[s->n_kept++], VR_TARGET_MAX, "%s", m->disks[k].target);
    }
    return 0;
}

static void keep_others(struct swap_task *s)
{
    for (size_t i = 0; i < s->n_kept && s->n < VR_ARRAY_LEN(s->paths); i++, s->n++) {
        snprintf(s->paths[s->n].target, sizeof s->paths[s->n].target, "%s", s->kept[i]);
        s->paths[s->n].path = "";
    }
}

static void st_yielded_before(void *arg)
{
    struct swap_task *s = arg;
    struct vr_point_id first = rel_seed_point(&s->t.r);
    s->was_yielded = is_yielded(s, &first);
}

/* Does the machine already have the disks of a replica (defined before a crash)? It was defined
 * with all of them at once; one that is missing was taken away since. */
static bool is_redefined(struct swap_task *s, const struct hv_machine *m)
{
    bool found = false;
    store_call(s->t.d, swap_st_paths, s);
    for (uint32_t i = 0; i < s->t.r.n_disks && s->path[i]; i++)
        for (size_t k = 0; k < m->n_disks; k++)
            found |= !strcmp(m->disks[k].target, s->t.r.disks[i].target) &&
                     !strcmp(m->disks[k].path, s->path[i]);
    vr_err_clear(&s->t.err);
    return found;
}

static void st_unyield(void *arg)
{
    struct swap_task *s = arg;
    struct vr_err err = VR_ERR_INIT;
    struct vr_point_id first = rel_seed_point(&s->t.r);
    if (store_failover_unreturn(s->t.d->store, &s->t.r.machine, &first, &err) == 0)
        return;
    vr_log_err(VR_LOG_ERROR, "a chain stays that is a machine's own disks", &err);
    vr_err_wrap(&err, "the machine's disks are still held as a recovery point: do not start it, "
                      "and ask for the same again when the cause is gone");
    if (s->t.err.kind == VR_OK)
        vr_err_move(&s->t.err, &err);
    else
        vr_err_wrap(&s->t.err, "%.300s. Before that", err.msg);
}

/* The chain is there: the machine follows, or the chain goes again, for a machine that writes must
 * not own files that are listed as a point. */
static void yield_define(struct swap_task *s)
{
    struct task *t = &s->t;
    fault_before("YIELD_DEFINE");
    if (!s->path[0])
        store_call(t->d, swap_st_paths, s);
    keep_others(s);
    if (t->err.kind == VR_OK && clean_checkpoints(t, NULL) == 0 &&
        hv_xml(t->d->hv, &t->r.machine, &s->xml, &t->err) == 0 &&
        hv_define_own(t->d->hv, s->xml, s->paths, s->n, &t->err) == 0)
        return;
    storage_call(t->d, &t->r.machine, st_unyield, s, NULL);
}

/* An attempt that a crash interrupted has made the chain already: only libvirt knows whether the
 * machine was redefined, so nothing is decided without it. -1: with t->err; or the daemon stops,
 * then nothing is told and the next start goes on. */
static int yield_get(struct swap_task *s, struct hv_machine *m)
{
    struct task *t = &s->t;
    while (hv_get(t->d->hv, &t->r.machine, m, &t->err) < 0) {
        if (!s->was_yielded || t->err.kind == VR_E_NOTFOUND)
            return -1;
        if (atomic_load(&t->d->stopping)) {
            s->failed = EV_COUNT;
            return -1;
        }
        vr_err_clear(&t->err);
        poll(NULL, 0, 500);
    }
    return 0;
}

/* The machine's disks and what was written on them, before anything is changed. */
static int yield_look(struct swap_task *s, const struct hv_machine *m)
{
    struct task *t = &s->t;
    if (m->power == HV_POWER_AWAY)
        return vr_fail(
            &t->err, VR_E_RUNNING, 0,
            "machine %s was migrated away from host %s and may run elsewhere; if it does "
            "not, start it there and shut it down",
            t->r.name, t->d->cfg.host_name);
    if (m->power != HV_POWER_OFF)
        return vr_fail(&t->err, VR_E_RUNNING, 0, "machine %s is running on host %s", t->r.name,
                       t->d->cfg.host_name);
    if (yield_bases(s, m, &t->err) < 0)
        return -1;
    s->written = disks_written(s->base, t->r.n_disks, s->stopped, vr_wall_now());
    if (t->r.diverged && !s->was_yielded) {
        struct divergence v = { .known = false };
        int rc = divergence_of_old_primary(t->d, &t->r, &v, &t->err);
        divergence_done(&v);
        return rc;
    }
    if (t->r.seed)
        return 0;
    /* A planned failover: is it still so that nothing is lost? */
    int none = divergence_is_none(t->d, &t->r, &t->err);
    if (none != 0)
        return none < 0 ? -1 : 0;
    vr_log(
        VR_LOG_WARN,
        "machine %s: its disks were written to, or their checkpoint was lost, after the failover "
        "was prepared; what they hold is kept as an orphan point",
        t->r.name);
    s->ev.type = EV_YIELD_ALTERED;
    return -1;
}

static void yield_work(struct task *t)
{
    struct swap_task *s = (struct swap_task *)t;
    struct hv_machine m;
    swap_wait_hv(t);
    store_call(t->d, st_yielded_before, s);
    int rc = yield_get(s, &m);
    if (rc == 0) {
        bool done = s->was_yielded && is_redefined(s, &m);
        rc = done ? 0 : yield_look(s, &m);
        hv_machine_done(&m);
        if (done)
            return;
    }
    if (rc == 0) {
        storage_call(t->d, &t->r.machine, st_yield, s, &t->err);
        if (t->err.kind == VR_OK)
            yield_define(s);
    } else if (s->was_yielded && s->failed != EV_COUNT) {
        storage_call(t->d, &t->r.machine, st_unyield, s, NULL);
    }
    vr_err_wrap(&t->err, "turning %s into a replica", t->r.name);
}

void fx_yield(struct daemon *d, const struct rel *r)
{
    struct swap_task *s = swap_new(r, yield_work, EV_YIELDED, EV_YIELD_FAILED);
    const struct hv_machine *m = host_machine(d, &r->machine);
    if (m && m->power == HV_POWER_OFF)
        s->stopped = m->changed;
    /* Raw disks are read as a whole: nobody else is to wait for that. */
    run_without_merge(d, d->yield_exec, &s->t);
}
