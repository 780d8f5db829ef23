/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Common parts of the effects that touch the chain and the machine's definition. */
#include "daemon/swap.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

void swap_done(struct task *t)
{
    struct swap_task *s = (struct swap_task *)t;
    struct rel_event *ev = &s->ev;
    if (t->err.kind != VR_OK) {
        ev->type = s->failed;
        ev->err = t->err;
    }
    for (size_t i = 0; i < VR_DISKS_MAX; i++) {
        free(s->base[i]);
        free(s->path[i]);
    }
    free(s->xml);
    host_refresh_machines(t->d);
    host_refresh_points(t->d, &t->r.machine);
    finish_effect(t->d, &t->r.machine, ev->type == EV_COUNT ? NULL : ev);
}

struct swap_task *swap_new(const struct rel *r, void (*work)(struct task *), enum rel_event_type ok,
                           enum rel_event_type failed)
{
    struct swap_task *s = vr_new(struct swap_task);
    s->t.work = work;
    s->t.done = swap_done;
    s->t.r = *r;
    s->ev.type = ok;
    s->failed = failed;
    return s;
}

void swap_wait_hv(struct task *t)
{
    for (int i = 0; i < 100 && !atomic_load(&t->d->stopping); i++) {
        struct hv_machine m;
        struct vr_err err = VR_ERR_INIT;
        if (hv_get(t->d->hv, &t->r.machine, &m, &err) == 0) {
            hv_machine_done(&m);
            return;
        }
        if (err.kind != VR_E_UNAVAIL)
            return; /* the effect finds out itself */
        poll(NULL, 0, 100);
    }
}

void swap_st_paths(void *arg)
{
    struct swap_task *s = arg;
    for (uint32_t i = 0; i < s->t.r.n_disks && s->t.err.kind == VR_OK; i++) {
        const char *target = s->t.r.disks[i].target;
        if (store_failover_path(s->t.d->store, &s->t.r.machine, target, &s->path[i], &s->t.err) < 0)
            return;
        snprintf(s->paths[i].target, sizeof s->paths[i].target, "%s", target);
        s->paths[i].path = s->path[i];
    }
    s->n = s->t.r.n_disks;
}

int clean_checkpoints(struct task *t, const char *but)
{
    struct hv_checkpoint *cps = NULL;
    size_t n = 0;
    const char *targets[VR_DISKS_MAX];
    if (hv_checkpoint_list(t->d->hv, &t->r.machine, targets, rel_targets(&t->r, targets), &cps, &n,
                           &t->err) < 0)
        return -1;
    for (size_t i = 0; i < n && t->err.kind == VR_OK; i++)
        if (!but || strcmp(cps[i].name, but) != 0)
            hv_checkpoint_delete(t->d->hv, &t->r.machine, cps[i].name, &t->err);
    free(cps);
    return t->err.kind == VR_OK ? 0 : -1;
}
