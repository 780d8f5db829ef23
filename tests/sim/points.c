/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Recovery points over time: the real rule of retention (src/store/retain.c), and orphan points,
 * which go only when a user discards them or that rule says that their time is up. */
#include "sim.h"

#include <inttypes.h>
#include <string.h>

#include "store/retain.h"

/* ---- retention ---- */
/* The host's own clock is the simulated time: no jump of the wall clock shows in it. */
void point_place(struct host *h, struct point *p)
{
    const struct point *last = point_newest(h);
    struct retain_time before = { 0 };
    struct retain_time t = { .instant = p->instant.us, .received = h->s->now * 1000 };
    if (last)
        before = (struct retain_time){ last->instant.us, last->received, last->moment, last->ours };
    retain_place(last ? &before : NULL, &t);
    p->received = t.received;
    p->moment = t.moment;
    p->ours = t.ours;
}

int point_expired(struct host *h)
{
    struct store_point v[POINTS_MAX];
    struct store_retention keep = h->s->keep;
    keep.app = rel_of(h)->set.app_interval_s != 0;
    for (int i = 0; i < h->d.n_points; i++) {
        const struct point *p = &h->d.points[i];
        v[i] = (struct store_point){ .id = p->id,
                                     .instant = p->instant,
                                     .moment = { p->moment },
                                     .ours = p->ours,
                                     .kind = p->kind,
                                     .proof = { .quarantine = p->quarantine,
                                                .acknowledged = p->acknowledged } };
        if (h->d.failed_over && vr_point_eq(&p->id, &h->d.overlay_on))
            v[i].pins = STORE_PIN_USE;
    }
    store_retention_apply(v, (size_t)h->d.n_points, &keep);
    for (int i = 0; i < h->d.n_points; i++)
        if (!v[i].why)
            return i;
    return -1;
}

/* ---- orphans over changes of role ---- */
void points_hide(struct host *h, const struct vr_point_id *first)
{
    for (int i = 0; i < h->d.n_points; i++) {
        const struct point *p = &h->d.points[i];
        if (p->kind != VR_POINT_ORPHAN || (first && vr_point_eq(&p->id, first)))
            continue;
        if (h->d.n_kept == ORPHANS_MAX)
            violated(h->s, "%s keeps too many orphan points for this simulator", h->name);
        h->d.kept[h->d.n_kept++] = *p;
    }
    h->d.n_points = 0;
}

void points_return(struct host *h)
{
    memcpy(h->d.points, h->d.kept, (size_t)h->d.n_kept * sizeof h->d.kept[0]);
    h->d.n_points = h->d.n_kept;
    h->d.n_kept = 0;
}

void points_forget(struct host *h)
{
    h->d.n_points = h->d.n_kept = h->d.n_orphans = 0;
}

/* ---- what must be there ---- */
void orphan_made(struct host *h, const struct vr_point_id *id)
{
    if (h->d.n_orphans == ORPHANS_MAX)
        violated(h->s, "%s has too many orphan points for this simulator", h->name);
    h->d.orphans[h->d.n_orphans++] = (struct orphan){ *id, h->s->now };
}

void orphan_unmade(struct host *h, const struct vr_point_id *id)
{
    for (int i = 0; i < h->d.n_orphans; i++)
        if (vr_point_eq(&h->d.orphans[i].id, id)) {
            h->d.orphans[i] = h->d.orphans[--h->d.n_orphans];
            return;
        }
}

/* As the store does it: not the newest point, on which all that comes will stand. */
void point_discard(struct host *h)
{
    for (int i = 0; i < h->d.n_points - 1 && !h->d.failed_over; i++) {
        struct vr_point_id id = h->d.points[i].id;
        if (h->d.points[i].kind != VR_POINT_ORPHAN)
            continue;
        memmove(&h->d.points[i], &h->d.points[i + 1],
                (size_t)(h->d.n_points - i - 1) * sizeof h->d.points[0]);
        h->d.n_points--;
        orphan_unmade(h, &id);
        h->s->n_discarded++;
        tell(h->s, "%s: user: orphan point %" PRIu64 " discarded", h->name, id.epoch);
        return;
    }
}

static bool is_held(const struct host *h, const struct vr_point_id *id)
{
    for (int i = 0; i < h->d.n_points; i++)
        if (vr_point_eq(&h->d.points[i].id, id))
            return h->d.points[i].kind == VR_POINT_ORPHAN;
    for (int i = 0; i < h->d.n_kept; i++)
        if (vr_point_eq(&h->d.kept[i].id, id))
            return true;
    return false;
}

/* Promise 3: what an old primary wrote and nobody received is there, with its bytes, until somebody
 * discards it or its time is up. (check_points() compares those that are listed.) */
void check_orphans(struct host *h)
{
    int64_t time = (int64_t)h->s->keep.orphan_s * 1000;
    for (int i = 0; i < h->d.n_kept; i++) {
        const struct point *p = &h->d.kept[i];
        if (!rot_same_disk(&p->d, &h->s->oracle[p->oracle].d))
            violated(h->s, "%s keeps an orphan point that is not what was written", h->name);
    }
    for (int i = 0; i < h->d.n_orphans; i++) {
        const struct orphan o = h->d.orphans[i];
        if (is_held(h, &o.id))
            continue;
        if (!time || h->s->now - o.since < time)
            violated(h->s, "%s lost an orphan point (epoch %" PRIu64 ") that nobody discarded",
                     h->name, o.id.epoch);
        orphan_unmade(h, &o.id);
        h->s->n_given_up++;
        i--;
    }
}
