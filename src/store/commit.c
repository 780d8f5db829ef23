/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making a stage a recovery point. Store thread; blocks on fsync. The invariants of the store, to
 * which tests and docs/store.md refer by number:
 *
 *  1. A point is visible only after its data files, then its folder, then its row are durable, in
 *     this order.
 *  2. A point is complete because its row exists. Absence of work is never evidence of
 * completeness.
 *  3. A stage names its parent; it becomes a point only if that parent is still the newest one.
 *  4. A base image is written only into a file that was created empty for it, or by a merge.
 *  5. The durable position told to the peer never exceeds what a crash now would recover.
 *  6. The sender retires a checkpoint only after the acknowledgement that follows the commit.
 *  7. Recovery deletes only what no row references, and logs each deletion. A name is in the
 *     database before its file is made, and in the trash before its file goes.
 *  8. All file operations go through fsops.h, so that tests can record and cut them anywhere. */
#include <string.h>

#include "base/alloc.h"
#include "store/qcow2.h"
#include "store/store_int.h"
#include "transfer/digestlog.h"

struct commit {
    struct store *st;
    const struct store_stage *sg;
    struct new_point point;
    struct layers layers; /* of the stage */
    bool *empty;          /* layer i holds nothing that its parent does not */
    struct extents *got;  /* what layer i holds of what was wanted */
};

static void commit_done(struct commit *c)
{
    for (size_t i = 0; c->got && i < c->layers.n; i++)
        extents_done(&c->got[i]);
    layers_done(&c->layers);
    free(c->empty);
    free(c->got);
}

static int is_empty(struct store *st, const struct layer_row *l, bool *ret, struct vr_err *err)
{
    struct digest_record r;
    vr_autolayer struct layer_row below = { 0 };
    if (l->below && layer_load(st->db, l->below, &below, err) < 0)
        return -1;
    TOUCHES_FILES;
    vr_auto(digestlog_free) struct digestlog *log = NULL;
    if (digestlog_open(l->digests, l->size, false, &log, err) < 0)
        return -1;
    int rc = digestlog_next(log, 0, &r, err);
    if (rc < 0)
        return -1;
    *ret = rc == 0 && l->below && below.size == l->size;
    return 0;
}

/* Files, then the folder (invariant 1). */
static int sync_all(struct commit *c, const char *folder, struct vr_err *err)
{
    const struct fsops *fs = c->st->fs;
    for (size_t i = 0; i < c->layers.n; i++) {
        const struct layer_row *l = &c->layers.v[i];
        if (is_empty(c->st, l, &c->empty[i], err) < 0)
            return -1;
        if (c->empty[i])
            continue;
        if (proof_look(c->st, &c->point.machine, l, &c->got[i], err) < 0 ||
            fs->sync_file(fs, l->path, err) < 0 || fs->sync_file(fs, l->digests, err) < 0)
            return -1;
        c->point.bytes += image_room(l->path);
    }
    return fs->sync_dir(fs, folder, err);
}

static int check(struct commit *c, const struct chain_row *chain, struct vr_err *err)
{
    char name[64];
    machine_name(&c->point.machine, name);
    if (chain->state != CHAIN_REPLICA)
        return vr_fail(err, VR_E_STATE, 0, "%s was failed over meanwhile", name);
    struct vr_point_id newest = { 0 };
    int64_t seq = 0;
    if (point_newest(c->st->db, &c->point.machine, &seq, &newest, err) < 0)
        return -1;
    if (!vr_point_eq(&newest, &c->sg->parent))
        return vr_fail(err, VR_E_STATE, 0, "%s: the newest point has changed meanwhile", name);
    if (c->layers.n == 0 || c->layers.n != c->sg->n_disks)
        return vr_fail(err, VR_E_STATE, 0, "%s: the stage was dropped meanwhile", name);
    return 0;
}

static int insert(struct commit *c, struct vr_err *err)
{
    struct store *st = c->st;
    int64_t seq = 0;
    if (point_add(st, &c->point, &seq, err) < 0)
        return -1;
    for (size_t i = 0; i < c->layers.n; i++) {
        const struct layer_row *l = &c->layers.v[i];
        int64_t top = c->empty[i] ? l->below : l->id;
        if (point_add_disk(st, seq, l->target, top, err) < 0 ||
            chain_add_target(st->db, &c->point.machine, l->target, err) < 0)
            return -1;
        if (c->empty[i] ? layer_drop(st, l, err) < 0
                        : db_run(st->db, err, "UPDATE layer SET role = ? WHERE id = ?", "ii",
                                 (int64_t)ROLE_CHAIN, l->id) < 0 ||
                              proof_received(st, &c->point.machine, l->target, &c->got[i], err) < 0)
            return -1;
    }
    if (proof_committed(st, c->sg, seq, err) < 0)
        return -1;
    return db_run(st->db, err, "DELETE FROM stage WHERE machine = ?", "u", &c->point.machine);
}

int store_stage_commit(struct store *st, struct store_stage *sg, struct wall_us instant,
                       enum vr_point_kind kind, struct vr_err *err)
{
    vr_autochain struct chain_row chain = { 0 };
    __attribute__((cleanup(commit_done))) struct commit c = { .st = st, .sg = sg };
    c.point = (struct new_point){
        .machine = sg->machine,
        .id = sg->point,
        .instant = instant,
        .kind = kind,
    };
    if (chain_load(st, &sg->machine, &chain, err) < 0 ||
        layers_role(st->db, &sg->machine, ROLE_STAGE, &c.layers, err) < 0 ||
        check(&c, &chain, err) < 0)
        return -1;
    c.empty = vr_new0(c.layers.n, sizeof *c.empty);
    c.got = vr_new0(c.layers.n, sizeof *c.got);
    if (sync_all(&c, chain.folder, err) < 0 || store_begin(st, "commit", err) < 0 ||
        store_end(st, "commit", insert(&c, err), err) < 0)
        return -1;
    store_stage_free(sg);
    trash_sweep(st, &chain.machine);
    return 0;
}
