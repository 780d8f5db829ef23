/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* F of a reversal without a change map, and the rest of the disk without reading it; the same when
 * the machine crashes later, as long as its disks are the overlays of its failover. Workers.
 *
 * QEMU writes the change map of the failover only when it closes the disk; after a crash it cannot
 * be used. But every block that the machine ever wrote lies in the overlay that the failover made,
 * so the overlay's own tables tell F. They are whole in the file when the machine is off, or, for
 * all that was written before, once it has been flushed. */
#include "daemon/overlays.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

void overlays_captured(struct daemon *d, const struct rel *r, const char *const targets[],
                       size_t n_targets, const char *name, struct hv_capture **ret,
                       struct vr_err *why)
{
    struct vr_err err = VR_ERR_INIT, ignored = VR_ERR_INIT;
    struct hv_capture *cap = NULL;
    /* Any other reason than a crash: nobody knows whether these still are the disks of then. */
    if (!rel_since_failover(r) || why->kind != VR_E_TRACKING || why->detail != VR_LOST_UNCLEAN)
        return;
    if (hv_capture_begin(d->hv, &r->machine, targets, n_targets, NULL, name, &cap, &err) == 0 &&
        (!cap->live || hv_flush(d->hv, &r->machine, &err) == 0)) {
        vr_log(VR_LOG_INFO,
               "machine %s: %s; what was written since the failover is told by the overlays",
               r->name, why->msg);
        vr_err_clear(why);
        *ret = cap;
        return;
    }
    vr_log_err(VR_LOG_WARN, r->name, &err);
    if (cap)
        hv_capture_end(d->hv, cap, false, &ignored);
}

struct look {
    struct daemon *d;
    const struct rel *r;
    const char *target;
    char *path;
    struct vr_err err;
};

static void st_path(void *arg)
{
    struct look *l = arg;
    store_failover_path(l->d->store, &l->r->machine, l->target, &l->path, &l->err);
}

/* Is the disk still the overlay of the failover? Somebody may have made a snapshot. */
static bool is_overlay(struct daemon *d, const struct rel *r, const struct hv_machine *m,
                       const char *target)
{
    struct look l = { .d = d, .r = r, .target = target };
    bool same = false;
    store_call(d, st_path, &l);
    for (size_t i = 0; l.path && i < m->n_disks; i++)
        same |= !strcmp(m->disks[i].target, target) && !strcmp(m->disks[i].path, l.path);
    free(l.path);
    return same;
}

static void look_at(struct daemon *d, const struct rel *r, const struct hv_machine *m,
                    const struct hv_capture_disk *c, bool below, struct overlay *o)
{
    struct vr_err err = VR_ERR_INIT;
    if (!is_overlay(d, r, m, c->target))
        return;
    if (!c->dirty_context) {
        o->has_written =
            store_failover_changed(d->store, &r->machine, c->target, &o->written, &err) == 0;
        if (!o->has_written) {
            vr_log_err(VR_LOG_WARN, "what a failover overlay holds", &err);
            return;
        }
    }
    vr_err_clear(&err);
    if (below) {
        o->has_below = store_failover_known(d->store, &r->machine, c->target, &o->below, &err) == 0;
        if (!o->has_below)
            vr_log_err(VR_LOG_WARN, "what lies below a failover overlay", &err);
    }
}

/* A primary that was failed over to once and has sent points since: all that it ever wrote here is
 * still in the overlays, and what they stand on has not changed. When somebody asked for the
 * comparison the disks themselves are read. */
static bool lost_later(const struct rel *r)
{
    return r->ever_replica && r->flow.kind == FLOW_RESYNC && !r->flow.has_since &&
           r->lost != VR_LOST_NOT && r->lost != VR_LOST_ASKED;
}

void overlays_look(struct daemon *d, const struct rel *r, const struct hv_capture *cap, bool below,
                   struct overlay o[VR_DISKS_MAX])
{
    struct hv_machine m;
    struct vr_err err = VR_ERR_INIT;
    bool later = lost_later(r);
    if (!later && !(r->flow.has_since && rel_since_failover(r)))
        return;
    /* Nobody has flushed since the instant: overlays_captured() was not asked. */
    if (later && cap->live && hv_flush(d->hv, &r->machine, &err) < 0) {
        vr_log_err(VR_LOG_WARN, "the disks are read as a whole", &err);
        return;
    }
    if (hv_get(d->hv, &r->machine, &m, &err) < 0) {
        vr_log_err(VR_LOG_WARN, r->name, &err);
        return;
    }
    for (size_t i = 0; i < cap->n_disks && i < VR_DISKS_MAX; i++)
        if (!cap->disks[i].dirty_context || below)
            look_at(d, r, &m, &cap->disks[i], below, &o[i]);
    hv_machine_done(&m);
}

void overlays_done(struct overlay o[VR_DISKS_MAX])
{
    for (size_t i = 0; i < VR_DISKS_MAX; i++) {
        extents_done(&o[i].written);
        store_known_done(&o[i].below);
    }
}
