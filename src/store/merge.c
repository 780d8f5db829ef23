/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Retention: giving points up and choosing what to merge. Store thread.
 *
 * Giving a point up is deleting its row. Layers that no point shows any more ("spare") are then
 * merged away one by one: with
 *
 *     lower (spare) <- upper <- above <- ...
 *
 * upper is copied down into lower, above is based on lower, upper goes. Whatever stands on upper
 * reads the same bytes before, during and after the copy, because upper covers all that changes
 * below it. So nothing is lost at any moment, and an interrupted copy can simply be left or begun
 * again. What must never be changed is a layer that a point or a reader shows directly.
 *
 * The lowest spare layer is chosen: data moves once, from small layers into the large one at the
 * bottom. The layer of the newest point is never moved: a stage may stand on it. */
#include "store/merge.h"

#include <string.h>

#include "base/alloc.h"
#include "store/qcow2.h"

/* ---- giving up points ---- */

struct seqs {
    struct store_point *p;
    int64_t *seq;
    size_t n;
};

static void seqs_done(struct seqs *s)
{
    free(s->p);
    free(s->seq);
}

static int load_points(struct store *st, const struct vr_uuid *machine, struct seqs *s,
                       struct vr_err *err)
{
    if (store_points(st, machine, &s->p, &s->n, err) < 0)
        return -1;
    s->seq = vr_new0(s->n ? s->n : 1, sizeof *s->seq);
    for (size_t i = 0; i < s->n; i++)
        if (point_seq(st->db, machine, &s->p[i].id, true, &s->seq[i], err) < 0)
            return -1;
    return 0;
}

static int retire(struct store *st, const struct vr_uuid *machine, const struct store_retention *r,
                  struct vr_err *err)
{
    __attribute__((cleanup(seqs_done))) struct seqs s = { NULL };
    if (load_points(st, machine, &s, err) < 0)
        return -1;
    /* A point that is being read counts as pinned until the reader is done. */
    for (size_t i = 0; i < s.n; i++)
        if (hold_on_point(st, s.seq[i]))
            s.p[i].pins |= STORE_PIN_USE;
    store_retention_apply(s.p, s.n, r);
    size_t count = 0;
    for (size_t i = 0; i < s.n; i++)
        count += s.p[i].why == 0;
    if (count == 0)
        return 0;
    if (store_begin(st, "retire", err) < 0)
        return -1;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < s.n; i++)
        if (s.p[i].why == 0)
            rc = db_run(st->db, err, "DELETE FROM point WHERE seq = ?", "i", s.seq[i]);
    if (rc == 0)
        rc = branches_drop(st, machine, err);
    if (store_end(st, "retire", rc, err) < 0)
        return -1;
    trash_sweep(st, machine);
    return 0;
}

/* ---- choosing a merge ---- */

struct choice {
    int64_t lower, upper, above;
};

/* Whether some point shows this layer directly: 1, 0, -1 error. *ret_kept: one that somebody reads
 * does. (One that a user has pinned only stays listed; what it stands on may be merged.) */
static int shown(struct store *st, int64_t layer, bool *ret_kept, struct vr_err *err)
{
    vr_auto(db_rows_free) struct db_rows *r =
        db_select(st->db, err,
                  "SELECT p.seq, p.pinned FROM point_disk d JOIN point p ON p.seq = d.point"
                  " WHERE d.layer = ?",
                  "i", layer);
    int rc = r ? 1 : -1, found = 0;
    while (rc > 0 && (rc = db_step(r, err)) > 0) {
        found = 1;
        if ((db_int(r, 1) & STORE_PIN_READ) || hold_on_point(st, db_int(r, 0)))
            *ret_kept = true;
    }
    return rc < 0 ? -1 : found;
}

/* Whether two branches stand on a layer: 1, 0, -1 error. */
static int forked(struct store *st, int64_t layer, struct vr_err *err)
{
    int64_t n = 0;
    int rc = db_one_int(st->db, &n, err, "SELECT count(*) FROM layer WHERE below = ?", "i", layer);
    return rc < 0 ? -1 : n > 1;
}

/* Whether any point of the machine is being read: 1, 0, -1 error. */
static int any_reader(struct store *st, const struct vr_uuid *machine, struct vr_err *err)
{
    vr_auto(db_rows_free) struct db_rows *r =
        db_select(st->db, err, "SELECT seq, pinned FROM point WHERE machine = ?", "u", machine);
    int rc = r ? 1 : -1;
    while (rc > 0 && (rc = db_step(r, err)) > 0)
        if ((db_int(r, 1) & STORE_PIN_READ) || hold_on_point(st, db_int(r, 0)))
            return 1;
    return rc;
}

/* The lowest pair at or below @top that may be merged: 1 found, 0 none, -1 error. Layers at and
 * below one that is being read stay as they are. So does one that two branches stand on: what is
 * copied into it would show in both. What lies below it is left to the newest point's branch, and
 * stays too while a reader may be on another one. */
static int choose(struct store *st, const struct vr_uuid *machine, int64_t top, bool beside,
                  struct choice *ret, struct vr_err *err)
{
    vr_autolayers struct layers l = { 0 };
    if (layers_below(st->db, top, &l, err) < 0)
        return -1;
    int found = 0;
    bool fork_above = false;
    for (size_t i = 0; i < l.n; i++) {
        bool kept = false;
        int rc = shown(st, l.v[i].id, &kept, err);
        if (rc < 0)
            return -1;
        if (kept)
            break;
        bool upper_forks = fork_above;
        int forks = forked(st, l.v[i].id, err);
        if (forks < 0)
            return -1;
        fork_above = forks > 0;
        int readers = forks > 0 && !beside ? any_reader(st, machine, err) : 0;
        if (readers < 0)
            return -1;
        if (readers > 0 || (forks > 0 && beside))
            break;
        if (rc > 0 || forks > 0 || upper_forks || i < 2)
            continue; /* i 0: the point's own layer; i 1: upper would be that layer */
        ret->lower = l.v[i].id;
        ret->upper = l.v[i - 1].id;
        ret->above = l.v[i - 2].id;
        found = 1;
    }
    return found;
}

/* The same for a whole disk: first the newest point's layers (it may lack the disk), then branches
 * that stand beside. */
static int choose_on_disk(struct store *st, const struct vr_uuid *machine, int64_t newest,
                          const char *target, struct choice *ret, struct vr_err *err)
{
    int64_t own = 0, top = INT64_MAX;
    int rc = point_top_if(st->db, newest, target, &own, err);
    if (rc > 0)
        rc = choose(st, machine, own, false, ret, err);
    if (rc != 0)
        return rc;
    /* Who reads one layer after the other holds the newest point only. */
    rc = any_reader(st, machine, err);
    if (rc != 0)
        return rc < 0 ? -1 : 0;
    while (rc == 0) {
        rc = db_one_int(st->db, &top, err,
                        "SELECT id FROM layer AS l WHERE machine = ? AND target = ? AND role = ?"
                        " AND id < ? AND id <> ?"
                        " AND NOT EXISTS(SELECT 1 FROM layer WHERE below = l.id)"
                        " ORDER BY id DESC LIMIT 1",
                        "usiii", machine, target, (int64_t)ROLE_CHAIN, top, own);
        if (rc <= 0)
            return rc;
        rc = choose(st, machine, top, true, ret, err);
    }
    return rc;
}

static int is_foreign(const struct layer_row *l, bool *ret, struct vr_err *err)
{
    if (!l->adopted || strcmp(l->format, "qcow2") != 0) {
        *ret = false;
        return 0;
    }
    struct qcow2_info q = { 0 };
    if (qcow2_info(l->path, &q, err) < 0)
        return -1;
    *ret = q.cluster_bits != 16;
    qcow2_info_done(&q);
    return 0;
}

static void merge_free(struct store_merge *m)
{
    hold_release(m->hold);
    layer_row_done(&m->lower);
    layer_row_done(&m->upper);
    free(m->digests);
    free(m);
}
VR_DEFINE_CLEANUP(struct store_merge, merge_free)

static int make(struct store *st, const struct vr_uuid *machine, const struct choice *c,
                struct store_merge **ret, struct vr_err *err)
{
    vr_auto(merge_free) struct store_merge *m = vr_new(struct store_merge);
    bool foreign = false;
    if (layer_load(st->db, c->lower, &m->lower, err) < 0 ||
        layer_load(st->db, c->upper, &m->upper, err) < 0 ||
        is_foreign(&m->lower, &foreign, err) < 0)
        return -1;
    if (foreign && hold_find(st, HOLD_STAGE, machine))
        return 0; /* not now */
    m->fs = st->fs;
    m->lock_fd = st->lock_fd;
    m->machine = *machine;
    m->above = c->above;
    if (store_begin(st, "merge-chosen", err) < 0)
        return -1;
    int rc = db_run(st->db, err,
                    "INSERT INTO merge(machine, lower, upper, above, state, known)"
                    " VALUES(?,?,?,?,?,0)",
                    "uiiii", machine, c->lower, c->upper, c->above, (int64_t)MERGE_COPY);
    if (store_end(st, "merge-chosen", rc, err) < 0)
        return -1;
    m->hold = hold_new(st, HOLD_MERGE, machine, 0);
    m->hold->foreign = foreign;
    *ret = vr_take(m);
    return 0;
}

int store_merge_prepare(struct store *st, const struct vr_uuid *machine,
                        const struct store_retention *r, struct store_merge **ret,
                        struct vr_err *err)
{
    char name[64];
    int64_t newest = 0;
    vr_autochain struct chain_row c = { 0 };
    if (chain_load(st, machine, &c, err) < 0)
        return -1;
    if (hold_find(st, HOLD_MERGE, machine))
        return vr_fail(err, VR_E_BUSY, 0, "a merge of %s is under way",
                       machine_name(machine, name));
    trash_sweep(st, machine);
    *ret = NULL;
    if (c.state != CHAIN_REPLICA)
        return 0;
    if (merges_settle(st, machine, err) < 0 || retire(st, machine, r, err) < 0)
        return -1;
    int rc = point_newest(st->db, machine, &newest, NULL, err);
    if (rc <= 0)
        return rc;
    vr_autofree char(*t)[VR_TARGET_MAX] = NULL;
    size_t n = 0;
    if (chain_targets(st->db, machine, &t, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n && !*ret; i++) {
        struct choice ch;
        rc = choose_on_disk(st, machine, newest, t[i], &ch, err);
        if (rc < 0 || (rc > 0 && make(st, machine, &ch, ret, err) < 0))
            return -1;
    }
    return 0;
}

int store_merge_finish(struct store *st, struct store_merge *take, struct vr_err *err)
{
    if (!take)
        return 0;
    vr_auto(merge_free) struct store_merge *m = take;
    /* Not done or called off: the record goes, the layers are as good as before. */
    if (!m->hold || !m->done || atomic_load(&m->hold->cancel))
        return db_run(st->db, err,
                      "DELETE FROM merge WHERE machine = ? AND upper = ? AND state = ?", "uii",
                      &m->machine, m->upper.id, (int64_t)MERGE_COPY);
    if (store_begin(st, "merge-copied", err) < 0)
        return -1;
    int rc = db_run(st->db, err,
                    "UPDATE merge SET state = ?, digests = ?, known = ? WHERE machine = ?"
                    " AND upper = ?",
                    "isiui", (int64_t)MERGE_COPIED, m->digests, (int64_t)m->known, &m->machine,
                    m->upper.id);
    if (store_end(st, "merge-copied", rc, err) < 0)
        return -1;
    return merge_complete(st, &m->machine, err);
}
