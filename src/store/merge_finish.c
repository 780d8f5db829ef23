/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The short end of a merge, also run by recovery. Its record says that the lower layer holds all of
 * the upper one; every step here may be done twice.
 *
 *   record COPIED -> headers of what stands on upper name the lower one, synced -> rows -> upper
 *   deleted
 *
 * A record can wait: a failover goes on with one whose end fails, and while a machine may be
 * running on the chain nothing is finished. Rows and headers are whole until then, and something
 * else than the layer above may stand on upper afterwards (the overlay of the failover, returned).
 *
 * Store thread. */
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "store/img.h"
#include "store/merge.h"
#include "store/proof_int.h"
#include "store/qcow2.h"
#include "store/tables.h"

struct record {
    struct layer_row lower, upper;
    char *digests;
    enum known known;
    uint64_t *covered; /* blocks that were wrong in lower, and are what upper held now */
    size_t n_covered;
    int64_t owner; /* the point whose layer upper was, 0: none */
    uint64_t room; /* what its layers take up now */
};

static void record_done(struct record *r)
{
    layer_row_done(&r->lower);
    layer_row_done(&r->upper);
    free(r->digests);
    free(r->covered);
}

static int load(struct store *st, const struct vr_uuid *machine, struct record *m,
                struct vr_err *err)
{
    vr_auto(db_rows_free) struct db_rows *r =
        db_select(st->db, err,
                  "SELECT lower, upper, digests, known FROM merge"
                  " WHERE machine = ? AND state = ?",
                  "ui", machine, (int64_t)MERGE_COPIED);
    int rc = r ? db_step(r, err) : -1;
    if (rc <= 0)
        return rc;
    m->digests = vr_strdup(db_text(r, 2));
    m->known = (enum known)db_int(r, 3);
    if (layer_load(st->db, db_int(r, 0), &m->lower, err) < 0 ||
        layer_load(st->db, db_int(r, 1), &m->upper, err) < 0)
        return -1;
    return 1;
}

int chain_rests(struct store *st, const struct vr_uuid *machine, struct vr_err *err)
{
    int64_t state = 0;
    int rc =
        db_one_int(st->db, &state, err, "SELECT state FROM chain WHERE machine = ?", "u", machine);
    return rc <= 0 ? rc : state == CHAIN_REPLICA;
}

int rebase_all(struct store *st, const struct vr_uuid *machine, int64_t standing_on,
               const struct layer_row *to, struct vr_err *err)
{
    struct img im = { .fs = st->fs, .lock_fd = st->lock_fd };
    struct img_ref below = { to->path, to->format };
    vr_autolayers struct layers l = { 0 };
    if (layers_role(st->db, machine, ROLE_CHAIN, &l, err) < 0)
        return -1;
    for (size_t i = 0; i < l.n; i++)
        if (l.v[i].below == standing_on && (img_rebase(&im, l.v[i].path, &below, err) < 0 ||
                                            st->fs->sync_file(st->fs, l.v[i].path, err) < 0))
            return -1;
    return 0;
}

static bool same(const char *a, const char *b)
{
    return a && b && !strcmp(a, b);
}

/* What was wrong in lower and upper has written over. */
static int find_covered(struct store *st, const struct vr_uuid *machine, struct record *m,
                        struct vr_err *err)
{
    __attribute__((cleanup(extents_done))) struct extents own = { .v = NULL };
    int64_t any = 0;
    int rc = db_one_int(st->db, &any, err, "SELECT 1 FROM damage WHERE machine = ? AND layer = ?",
                        "ui", machine, m->lower.id);
    /* The file before the rows: others use the store meanwhile. */
    if (rc <= 0 || qcow2_allocated(m->upper.path, &own, err) < 0)
        return rc == 0 ? 0 : -1;
    vr_auto(db_rows_free) struct db_rows *r =
        db_select(st->db, err, "SELECT block FROM damage WHERE machine = ? AND layer = ?", "ui",
                  machine, m->lower.id);
    rc = r ? 1 : -1;
    while (rc > 0 && (rc = db_step(r, err)) > 0) {
        uint64_t block = (uint64_t)db_int(r, 0);
        if (block * VR_BLOCK_SIZE >= m->upper.size ||
            !extents_contains(&own, block * VR_BLOCK_SIZE,
                              tables_block_bytes(block, m->upper.size)))
            continue;
        m->covered = vr_grow(m->covered, m->n_covered + 1, sizeof *m->covered);
        m->covered[m->n_covered++] = block;
    }
    return rc;
}

static int forget_covered(struct store *st, const struct vr_uuid *machine, const struct record *m,
                          struct vr_err *err)
{
    for (size_t i = 0; i < m->n_covered; i++)
        if (db_run(st->db, err, "DELETE FROM damage WHERE machine = ? AND layer = ? AND block = ?",
                   "uii", machine, m->lower.id, (int64_t)m->covered[i]) < 0)
            return -1;
    return 0;
}

/* What a point takes up has grown by what it has taken over from those before it. A layer counts
 * for the oldest point that shows it. */
static int find_room(struct store *st, struct record *m, struct vr_err *err)
{
    vr_autolayers struct layers own = { 0 };
    if (db_one_int(st->db, &m->owner, err, "SELECT min(point) FROM point_disk WHERE layer = ?", "i",
                   m->upper.id) < 0 ||
        layers_owned(st->db, m->owner, &own, err) < 0)
        return -1;
    for (size_t i = 0; i < own.n; i++)
        m->room += image_room(own.v[i].id == m->upper.id ? m->lower.path : own.v[i].path);
    return 0;
}

static int change_rows(struct store *st, const struct vr_uuid *machine, const struct record *m,
                       struct vr_err *err)
{
    if (forget_covered(st, machine, m, err) < 0 ||
        db_run(st->db, err,
               "UPDATE layer SET size = max(size, ?), digests = ?, known = ? WHERE id = ?", "isii",
               (int64_t)m->upper.size, m->digests, (int64_t)m->known, m->lower.id) < 0 ||
        db_run(st->db, err, "UPDATE layer SET below = ? WHERE below = ?", "ii", m->lower.id,
               m->upper.id) < 0 ||
        db_run(st->db, err, "UPDATE point_disk SET layer = ? WHERE layer = ?", "ii", m->lower.id,
               m->upper.id) < 0 ||
        db_run(st->db, err, "UPDATE point SET bytes = ? WHERE seq = ?", "ii", (int64_t)m->room,
               m->owner) < 0 ||
        db_run(st->db, err, "DELETE FROM merge WHERE machine = ?", "u", machine) < 0 ||
        /* What was wrong in upper is wrong in lower now. Of what it covers, repair looks again. */
        db_run(st->db, err, "UPDATE damage SET lost = 0 WHERE layer = ?", "i", m->lower.id) < 0 ||
        db_run(st->db, err, "UPDATE OR REPLACE damage SET layer = ? WHERE layer = ?", "ii",
               m->lower.id, m->upper.id) < 0 ||
        db_run(st->db, err, "DELETE FROM layer WHERE id = ?", "i", m->upper.id) < 0)
        return -1;
    if (!m->upper.adopted && trash_add(st, m->upper.path, TRASH_DELETE, err) < 0)
        return -1;
    /* Of the two tables one at most goes on. */
    const char *tables[] = { m->upper.digests, m->lower.digests };
    for (size_t i = 0; i < VR_ARRAY_LEN(tables); i++)
        if (tables[i] && !same(tables[i], m->digests) &&
            trash_add(st, tables[i], TRASH_DELETE, err) < 0)
            return -1;
    return 0;
}

int merge_complete(struct store *st, const struct vr_uuid *machine, struct vr_err *err)
{
    __attribute__((cleanup(record_done))) struct record m = { .digests = NULL };
    int rc = chain_rests(st, machine, err);
    if (rc > 0)
        rc = load(st, machine, &m, err);
    if (rc <= 0)
        return rc;
    if (find_covered(st, machine, &m, err) < 0 ||
        rebase_all(st, machine, m.upper.id, &m.lower, err) < 0 || find_room(st, &m, err) < 0 ||
        store_begin(st, "merge-done", err) < 0 ||
        store_end(st, "merge-done", change_rows(st, machine, &m, err), err) < 0)
        return vr_err_wrap(err, "finishing the merge of %s", m.upper.path);
    size_t sound = 0;
    if (m.n_covered && quarantine_review(st, machine, &sound, err) < 0)
        return -1;
    /* A receiver may be opening the chain at this moment by the names it had: the upper file stays
     * until a sweep after the receiver's end. */
    trash_sweep(st, machine);
    return 0;
}

int merges_settle(struct store *st, const struct vr_uuid *machine, struct vr_err *err)
{
    if (hold_merges_stop(st, machine, err) < 0 || repair_complete(st, machine, err) < 0)
        return -1;
    return merge_complete(st, machine, err);
}

int merges_leave(struct store *st, const struct vr_uuid *machine, struct vr_err *err)
{
    struct vr_err later = VR_ERR_INIT;
    if (hold_merges_stop(st, machine, err) < 0)
        return -1;
    if (repair_complete(st, machine, &later) < 0 || merge_complete(st, machine, &later) < 0)
        vr_log_err(VR_LOG_WARN, "store: finished when the machine is a replica again", &later);
    return 0;
}

int merge_yield(struct store *st, const struct vr_uuid *machine, struct vr_err *err)
{
    struct hold *h = hold_find(st, HOLD_MERGE, machine);
    return h && h->foreign ? merges_settle(st, machine, err) : 0;
}

int recover_machines(struct store *st, const char *select,
                     int (*complete)(struct store *st, const struct vr_uuid *machine,
                                     struct vr_err *err),
                     struct vr_err *err)
{
    vr_autofree struct vr_uuid *v = NULL;
    size_t n = 0;
    vr_auto(db_rows_free) struct db_rows *r = db_select(st->db, err, select, "");
    int rc = r ? 1 : -1;
    while (rc > 0 && (rc = db_step(r, err)) > 0) {
        v = vr_grow(v, n + 1, sizeof *v);
        v[n++] = db_uuid(r, 0);
    }
    if (rc < 0)
        return -1;
    db_rows_free(vr_take(r));
    for (size_t i = 0; i < n; i++) {
        struct vr_err e = VR_ERR_INIT;
        if (machine_silent(st, &v[i]))
            continue;
        if (complete(st, &v[i], &e) < 0)
            vr_log_err(VR_LOG_WARN, "store: recovery", &e);
    }
    return 0;
}

int merge_recover(struct store *st, struct vr_err *err)
{
    if (db_run(st->db, err, "DELETE FROM merge WHERE state = ?", "i", (int64_t)MERGE_COPY) < 0)
        return -1;
    return recover_machines(st, "SELECT machine FROM merge", merge_complete, err);
}
