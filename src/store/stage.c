/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stages: points that are being received. One per chain at most, always over the newest point.
 *
 *   rows (MAKING, with file names) -> files, synced -> folder synced -> row READY -> written by the
 *   transfer -> commit.c, or dropped
 *
 * With other disks a stage is MAKING again until those that it did not have are there, too.
 *
 * A stage that a crash left in MAKING is dropped; one in READY is continued by the next
 * store_stage_open() over the same parent. Store thread. */
#include <string.h>

#include "base/alloc.h"
#include "store/img.h"
#include "store/store_int.h"
#include "store/tables.h"
#include "transfer/digestlog.h"

/* The public struct is the head of what is really allocated. */
struct stage {
    struct store_stage pub;
    struct hold *hold;
};

void store_stage_free(struct store_stage *sg)
{
    if (!sg)
        return;
    struct stage *s = (struct stage *)sg;
    for (size_t i = 0; i < sg->n_disks; i++) {
        struct store_stage_disk *d = &sg->disks[i];
        free(d->image);
        free(d->digests);
        for (size_t k = 0; k < d->n_parent_digests; k++)
            free(d->parent_digests[k]);
        free(d->parent_digests);
        extents_done(&d->wanted);
    }
    free(sg->disks);
    hold_release(s->hold);
    free(s);
}
VR_DEFINE_CLEANUP(struct store_stage, store_stage_free)

int stage_drop_rows(struct store *st, const struct vr_uuid *machine, struct vr_err *err)
{
    vr_autolayers struct layers l = { 0 };
    if (layers_role(st->db, machine, ROLE_STAGE, &l, err) < 0)
        return -1;
    for (size_t i = 0; i < l.n; i++)
        if (layer_drop(st, &l.v[i], err) < 0)
            return -1;
    return db_run(st->db, err, "DELETE FROM stage WHERE machine = ?", "u", machine);
}

static int drop(struct store *st, const struct vr_uuid *machine, struct vr_err *err)
{
    if (store_begin(st, "stage-drop", err) < 0 ||
        store_end(st, "stage-drop", stage_drop_rows(st, machine, err), err) < 0)
        return -1;
    return trash_empty(st, machine, false, false, err);
}

int store_stage_discard(struct store *st, const struct vr_uuid *machine, struct vr_err *err)
{
    char name[64];
    if (hold_find(st, HOLD_STAGE, machine))
        return vr_fail(err, VR_E_BUSY, 0, "a point of %s is being received",
                       machine_name(machine, name));
    return drop(st, machine, err);
}

int stage_recover(struct store *st, struct vr_err *err)
{
    for (;;) {
        vr_auto(db_rows_free) struct db_rows *r = db_select(
            st->db, err, "SELECT machine FROM stage WHERE state = ?", "i", (int64_t)STAGE_MAKING);
        int rc = r ? db_step(r, err) : -1;
        if (rc <= 0)
            return rc;
        struct vr_uuid m = db_uuid(r, 0);
        db_rows_free(vr_take(r));
        if (store_begin(st, "stage-recover", err) < 0 ||
            store_end(st, "stage-recover", stage_drop_rows(st, &m, err), err) < 0)
            return -1;
    }
}

/* ---- opening ---- */

struct opening {
    struct store *st;
    const struct chain_row *chain;
    struct vr_point_id parent, point;
    int64_t parent_seq;             /* 0: none */
    const struct store_disk *disks; /* in the caller's order */
    size_t n_disks;
};

static const struct store_disk *disk_of(const struct opening *o, const char *target)
{
    for (size_t i = 0; i < o->n_disks; i++)
        if (!strcmp(o->disks[i].target, target))
            return &o->disks[i];
    return NULL;
}

static int check_parent(struct opening *o, struct vr_err *err)
{
    struct vr_point_id newest = { 0 }, none = { 0 };
    char name[64];
    machine_name(&o->chain->machine, name);
    int rc = point_newest(o->st->db, &o->chain->machine, &o->parent_seq, &newest, err);
    if (rc < 0)
        return -1;
    if (!vr_point_eq(&o->parent, rc ? &newest : &none))
        return vr_fail(err, VR_E_STATE, 0,
                       "%s: epoch %llu is to follow epoch %llu, but the newest point here is %llu",
                       name, (unsigned long long)o->point.epoch,
                       (unsigned long long)o->parent.epoch, (unsigned long long)newest.epoch);
    int64_t seq = 0;
    rc = point_seq(o->st->db, &o->chain->machine, &o->point, false, &seq, err);
    if (rc > 0)
        return vr_fail(err, VR_E_EXISTS, 0, "%s: epoch %llu is a point already", name,
                       (unsigned long long)o->point.epoch);
    return rc;
}

/* The layer below a disk of the stage; ret->id 0: none, the parent does not have the disk. */
static int parent_layer(const struct opening *o, const char *target, struct layer_row *ret,
                        struct vr_err *err)
{
    int64_t top = 0;
    if (!o->parent_seq)
        return 0;
    int rc = point_top_if(o->st->db, o->parent_seq, target, &top, err);
    return rc > 0 ? layer_load(o->st->db, top, ret, err) : rc;
}

static int check_disk(const struct opening *o, size_t i, const char *name, struct vr_err *err)
{
    const struct store_disk *d = &o->disks[i];
    vr_autolayer struct layer_row below = { 0 };
    if (!is_plain_target(d->target))
        return vr_fail(err, VR_E_INVAL, 0, "\"%.40s\" is not the name of a disk", d->target);
    if (disk_of(o, d->target) != d)
        return vr_fail(err, VR_E_INVAL, 0, "disk %s is named twice", d->target);
    if (d->size == 0 || d->size > VR_DISK_MAX)
        return vr_fail(err, VR_E_INVAL, 0, "disk %s: impossible size", d->target);
    if (parent_layer(o, d->target, &below, err) < 0)
        return -1;
    if (d->size < below.size)
        return vr_fail(err, VR_E_DISKS, 0, "%s: disk %s has shrunk from %llu to %llu bytes", name,
                       d->target, (unsigned long long)below.size, (unsigned long long)d->size);
    return 0;
}

/* A point need not have the disks of the one before: one that is new begins with a base of its
 * own, one that is gone ends with the points that have it. */
static int check_disks(const struct opening *o, struct vr_err *err)
{
    char name[64];
    machine_name(&o->chain->machine, name);
    if (o->n_disks == 0 || o->n_disks > VR_DISKS_MAX)
        return vr_fail(err, VR_E_DISKS, 0, "%s: a point of %zu disks", name, o->n_disks);
    for (size_t i = 0; i < o->n_disks; i++)
        if (check_disk(o, i, name, err) < 0)
            return -1;
    return 0;
}

static int insert_layer(const struct opening *o, const char *target, struct vr_err *err)
{
    vr_autolayer struct layer_row below = { 0 }, l = { .role = ROLE_STAGE };
    int64_t n = 0;
    if (parent_layer(o, target, &below, err) < 0 ||
        store_file_number(o->st, o->chain->folder, &n, err) < 0)
        return -1;
    snprintf(l.target, sizeof l.target, "%s", target);
    /* The base is raw: it needs no tables, and can be written without a qemu-nbd. */
    snprintf(l.format, sizeof l.format, "%s", below.id ? "qcow2" : "raw");
    l.path = vr_printf("%s/%s.%lld.%s", o->chain->folder, target, (long long)n, l.format);
    l.digests = vr_printf("%s/%s.%lld.digests", o->chain->folder, target, (long long)n);
    l.size = disk_of(o, target)->size;
    l.below = below.id;
    l.known = KNOWN_LAYER;
    return layer_add(o->st, &o->chain->machine, &l, err);
}

static int insert_rows(const struct opening *o, struct vr_err *err)
{
    if (db_run(o->st->db, err,
               "INSERT INTO stage(machine, parent, lineage, epoch, state)"
               " VALUES(?,nullif(?, 0),?,?,?)",
               "uiuii", &o->chain->machine, o->parent_seq, &o->point.lineage,
               (int64_t)o->point.epoch, (int64_t)STAGE_MAKING) < 0)
        return -1;
    for (size_t i = 0; i < o->n_disks; i++)
        if (insert_layer(o, o->disks[i].target, err) < 0)
            return -1;
    return 0;
}

/* An image and its empty digest table, durable but for the folder. */
static int make_files(const struct opening *o, const struct layer_row *l, struct vr_err *err)
{
    struct store *st = o->st;
    struct img im = { .fs = st->fs, .lock_fd = st->lock_fd };
    vr_autolayer struct layer_row below = { 0 };
    if (l->below && layer_load(st->db, l->below, &below, err) < 0)
        return -1;
    struct img_ref ref = { below.path, below.format };
    if (img_create(&im, l->path, l->below ? &ref : NULL, l->size, err) < 0 ||
        st->fs->sync_file(st->fs, l->path, err) < 0)
        return -1;
    TOUCHES_FILES;
    vr_auto(digestlog_free) struct digestlog *log = NULL;
    return digestlog_open(l->digests, l->size, true, &log, err);
}

static int make_ready(const struct opening *o, struct vr_err *err)
{
    struct store *st = o->st;
    if (st->fs->sync_dir(st->fs, o->chain->folder, err) < 0 ||
        store_begin(st, "stage-ready", err) < 0)
        return -1;
    int rc = db_run(st->db, err, "UPDATE stage SET state = ? WHERE machine = ?", "iu",
                    (int64_t)STAGE_READY, &o->chain->machine);
    return store_end(st, "stage-ready", rc, err);
}

static int make(const struct opening *o, struct vr_err *err)
{
    struct store *st = o->st;
    store_look_numbers(st, o->chain->folder);
    if (store_begin(st, "stage-making", err) < 0 ||
        store_end(st, "stage-making", insert_rows(o, err), err) < 0)
        return -1;
    vr_autolayers struct layers l = { 0 };
    if (layers_role(st->db, &o->chain->machine, ROLE_STAGE, &l, err) < 0)
        return -1;
    for (size_t i = 0; i < l.n; i++)
        if (make_files(o, &l.v[i], err) < 0)
            return -1;
    return make_ready(o, err);
}

static bool can_go_on(const struct opening *o, const struct layer_row *l)
{
    const struct store_disk *d = disk_of(o, l->target);
    TOUCHES_FILES;
    return d && d->size >= l->size && access(l->path, R_OK | W_OK) == 0 &&
           access(l->digests, R_OK | W_OK) == 0;
}

/* What can be kept of the stage that is there. */
enum keep { KEEP_NOTHING, KEEP_SOME, KEEP_ALL };

static int usable(const struct opening *o, enum keep *ret, struct vr_err *err)
{
    int64_t parent = -1;
    *ret = KEEP_NOTHING;
    int rc = db_one_int(o->st->db, &parent, err,
                        "SELECT ifnull(parent, 0) FROM stage WHERE machine = ? AND state = ?", "ui",
                        &o->chain->machine, (int64_t)STAGE_READY);
    if (rc <= 0 || parent != o->parent_seq)
        return rc < 0 ? -1 : 0;
    vr_autolayers struct layers l = { 0 };
    if (layers_role(o->st->db, &o->chain->machine, ROLE_STAGE, &l, err) < 0)
        return -1;
    size_t good = 0;
    for (size_t i = 0; i < l.n; i++)
        good += can_go_on(o, &l.v[i]);
    *ret = good == l.n && good == o->n_disks ? KEEP_ALL : good ? KEEP_SOME : KEEP_NOTHING;
    return 0;
}

/* @stays: of each layer. */
static bool is_staged(const struct layers *l, const bool *stays, const char *target)
{
    for (size_t i = 0; i < l->n; i++)
        if (!strcmp(l->v[i].target, target))
            return stays[i];
    return false;
}

static int adapt_rows(const struct opening *o, const struct layers *l, const bool *stays,
                      struct vr_err *err)
{
    for (size_t i = 0; i < l->n; i++)
        if (!stays[i] && layer_drop(o->st, &l->v[i], err) < 0)
            return -1;
    for (size_t i = 0; i < o->n_disks; i++)
        if (!is_staged(l, stays, o->disks[i].target) &&
            insert_layer(o, o->disks[i].target, err) < 0)
            return -1;
    return db_run(o->st->db, err, "UPDATE stage SET state = ? WHERE machine = ?", "iu",
                  (int64_t)STAGE_MAKING, &o->chain->machine);
}

/* The point has other disks than the stage was begun with: what was received of those that stay is
 * kept. */
static int adapt(const struct opening *o, struct vr_err *err)
{
    struct store *st = o->st;
    vr_autolayers struct layers had = { 0 }, has = { 0 };
    store_look_numbers(st, o->chain->folder);
    if (layers_role(st->db, &o->chain->machine, ROLE_STAGE, &had, err) < 0)
        return -1;
    /* The files before the transaction, which would keep all others waiting for them. */
    vr_autofree bool *stays = vr_new0(had.n ? had.n : 1, sizeof *stays);
    for (size_t i = 0; i < had.n; i++)
        stays[i] = can_go_on(o, &had.v[i]);
    if (store_begin(st, "stage-adapting", err) < 0 ||
        store_end(st, "stage-adapting", adapt_rows(o, &had, stays, err), err) < 0 ||
        trash_empty(st, &o->chain->machine, false, false, err) < 0 ||
        layers_role(st->db, &o->chain->machine, ROLE_STAGE, &has, err) < 0)
        return -1;
    for (size_t i = 0; i < has.n; i++) {
        bool is_new = true;
        for (size_t k = 0; k < had.n; k++)
            is_new = is_new && had.v[k].id != has.v[i].id;
        if (is_new && make_files(o, &has.v[i], err) < 0)
            return -1;
    }
    return make_ready(o, err);
}

static int resume_rows(const struct opening *o, const struct layers *l, struct vr_err *err)
{
    for (size_t i = 0; i < l->n; i++)
        if (db_run(o->st->db, err, "UPDATE layer SET size = ? WHERE id = ?", "ii",
                   (int64_t)disk_of(o, l->v[i].target)->size, l->v[i].id) < 0)
            return -1;
    return db_run(o->st->db, err, "UPDATE stage SET lineage = ?, epoch = ? WHERE machine = ?",
                  "uiu", &o->point.lineage, (int64_t)o->point.epoch, &o->chain->machine);
}

/* Continue the stage for another epoch and, maybe, larger disks. Growing twice does no harm. */
static int resume(const struct opening *o, struct vr_err *err)
{
    struct store *st = o->st;
    struct img im = { .fs = st->fs, .lock_fd = st->lock_fd };
    vr_autolayers struct layers l = { 0 };
    if (layers_role(st->db, &o->chain->machine, ROLE_STAGE, &l, err) < 0)
        return -1;
    for (size_t i = 0; i < l.n; i++) {
        uint64_t size = disk_of(o, l.v[i].target)->size;
        if (size == l.v[i].size)
            continue;
        struct img_ref ref = { l.v[i].path, l.v[i].format };
        if (img_grow(&im, &ref, size, err) < 0)
            return -1;
        TOUCHES_FILES;
        vr_auto(digestlog_free) struct digestlog *log = NULL;
        if (digestlog_open(l.v[i].digests, size, true, &log, err) < 0)
            return -1;
    }
    if (store_begin(st, "stage-resume", err) < 0)
        return -1;
    return store_end(st, "stage-resume", resume_rows(o, &l, err), err);
}

static int describe_disk(const struct opening *o, const struct layer_row *l,
                         struct store_stage_disk *d, struct vr_err *err)
{
    snprintf(d->target, sizeof d->target, "%s", l->target);
    d->size = l->size;
    d->image = vr_strdup(l->path);
    d->raw = !strcmp(l->format, "raw");
    d->digests = vr_strdup(l->digests);
    d->fresh = l->below == 0;
    if (d->fresh) {
        d->parents_complete = true;
        return 0;
    }
    vr_autolayers struct layers below = { 0 };
    if (layers_below(o->st->db, l->below, &below, err) < 0 ||
        proof_wanted(o->st, &o->chain->machine, l->target, l->size, &d->wanted, err) < 0)
        return -1;
    tables_paths(&below, &d->parent_digests, &d->n_parent_digests, &d->parents_complete);
    return 0;
}

static int describe(const struct opening *o, struct store_stage **ret, struct vr_err *err)
{
    vr_autolayers struct layers l = { 0 };
    if (layers_role(o->st->db, &o->chain->machine, ROLE_STAGE, &l, err) < 0)
        return -1;
    struct stage *s = vr_new(struct stage);
    vr_auto(store_stage_free) struct store_stage *sg = &s->pub;
    s->hold = hold_new(o->st, HOLD_STAGE, &o->chain->machine, 0);
    sg->machine = o->chain->machine;
    sg->parent = o->parent;
    sg->point = o->point;
    sg->disks = vr_new0(l.n, sizeof *sg->disks);
    sg->n_disks = l.n;
    for (size_t i = 0; i < l.n; i++)
        if (describe_disk(o, &l.v[i], &sg->disks[i], err) < 0)
            return -1;
    *ret = vr_take(sg);
    return 0;
}

int store_stage_open(struct store *st, const struct vr_uuid *machine,
                     const struct vr_point_id *parent, const struct vr_point_id *point,
                     const struct store_disk *disks, size_t n_disks, struct store_stage **ret,
                     struct vr_err *err)
{
    char name[64];
    vr_autochain struct chain_row chain = { 0 };
    if (chain_load(st, machine, &chain, err) < 0)
        return -1;
    if (chain.state != CHAIN_REPLICA)
        return vr_fail(err, VR_E_STATE, 0, "%s is failed over here and takes no new points",
                       machine_name(machine, name));
    if (hold_find(st, HOLD_STAGE, machine))
        return vr_fail(err, VR_E_BUSY, 0, "a point of %s is being received",
                       machine_name(machine, name));
    struct opening o = {
        .st = st,
        .chain = &chain,
        .point = *point,
        .disks = disks,
        .n_disks = n_disks,
    };
    if (parent)
        o.parent = *parent;
    if (check_parent(&o, err) < 0 || check_disks(&o, err) < 0 || merge_yield(st, machine, err) < 0)
        return -1;
    enum keep keep;
    if (usable(&o, &keep, err) < 0)
        return -1;
    int rc = 0;
    if (keep == KEEP_NOTHING)
        rc = drop(st, machine, err) < 0 ? -1 : make(&o, err);
    else if (keep == KEEP_SOME)
        rc = adapt(&o, err);
    if (rc == 0 && keep != KEEP_NOTHING)
        rc = resume(&o, err);
    return rc < 0 ? -1 : describe(&o, ret, err);
}
