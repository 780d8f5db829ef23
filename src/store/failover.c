/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Failover: writable overlays on a point, and the way from replica to primary and back.
 *
 *   REPLICA -> PREPARING -> FAILED_OVER -> PRIMARY -> REPLICA
 *      ^___________|drop___________|
 *
 * The overlays are <folder>/active/<target>.<n>.qcow2, n chosen when the chain becomes a replica:
 * the machine can be defined with these paths before the files exist, and a later failover has
 * other paths, because by then these files are part of the chain. Store thread. */
#include <string.h>

#include "base/alloc.h"
#include "store/img.h"
#include "store/qcow2.h"
#include "store/store_int.h"

static char *overlay_path(const struct chain_row *c, const char *target)
{
    return vr_printf("%s/active/%s.%lld.qcow2", c->folder, target, (long long)c->active);
}

int store_failover_path(struct store *st, const struct vr_uuid *machine, const char *target,
                        char **ret, struct vr_err *err)
{
    vr_autochain struct chain_row c = { 0 };
    int64_t one = 0;
    if (chain_load(st, machine, &c, err) < 0)
        return -1;
    int rc = db_one_int(st->db, &one, err, "SELECT 1 FROM disk WHERE machine = ? AND target = ?",
                        "us", machine, target);
    char name[64];
    if (rc == 0)
        return vr_fail(err, VR_E_NOTFOUND, 0, "%s has no disk %s", machine_name(machine, name),
                       target);
    if (rc < 0)
        return -1;
    *ret = overlay_path(&c, target);
    return 0;
}

/* ---- making the overlays ---- */

static int insert_overlay(struct store *st, const struct chain_row *c, int64_t point,
                          const char *target, struct vr_err *err)
{
    int64_t top = 0;
    vr_autolayer struct layer_row below = { 0 }, l = { .role = ROLE_OVERLAY };
    if (point_top(st->db, point, target, &top, err) < 0 || layer_load(st->db, top, &below, err) < 0)
        return -1;
    l.path = overlay_path(c, target);
    l.below = below.id;
    l.size = below.size;
    snprintf(l.target, sizeof l.target, "%s", target);
    snprintf(l.format, sizeof l.format, "qcow2");
    return trash_forget(st, l.path, err) < 0 ? -1 : layer_add(st, &c->machine, &l, err);
}

static int insert_overlays(struct store *st, const struct chain_row *c, int64_t point,
                           const char *bitmap, struct vr_err *err)
{
    vr_autofree char(*t)[VR_TARGET_MAX] = NULL;
    size_t n = 0;
    if (point_targets(st->db, point, &t, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (insert_overlay(st, c, point, t[i], err) < 0)
            return -1;
    return db_run(st->db, err,
                  "UPDATE chain SET state = ?, fo_point = ?, fo_bitmap = ? WHERE machine = ?",
                  "iisu", (int64_t)CHAIN_PREPARING, point, bitmap, &c->machine);
}

static int make_overlays(struct store *st, const struct chain_row *c, const char *bitmap,
                         struct vr_err *err)
{
    const struct fsops *fs = st->fs;
    struct img im = { .fs = fs, .lock_fd = st->lock_fd };
    vr_autofree char *active = vr_printf("%s/active", c->folder);
    vr_autolayers struct layers l = { 0 };
    if (layers_role(st->db, &c->machine, ROLE_OVERLAY, &l, err) < 0)
        return -1;
    for (size_t i = 0; i < l.n; i++) {
        vr_autolayer struct layer_row below = { 0 };
        if (layer_load(st->db, l.v[i].below, &below, err) < 0)
            return -1;
        struct img_ref ref = { below.path, below.format };
        const char *path = l.v[i].path;
        if (fs->unlink(fs, path, err) < 0 || img_create(&im, path, &ref, l.v[i].size, err) < 0 ||
            img_bitmap_add(&im, path, bitmap, err) < 0 || fs->sync_file(fs, path, err) < 0)
            return -1;
    }
    return fs->sync_dir(fs, active, err);
}

/* Before the rows: files in a folder that does not exist would stay in the trash for ever. */
static int make_folder(struct store *st, const struct chain_row *c, struct vr_err *err)
{
    vr_autofree char *active = vr_printf("%s/active", c->folder);
    if (st->fs->mkdir(st->fs, active, 0711, err) < 0)
        return -1;
    return st->fs->sync_dir(st->fs, c->folder, err);
}

static int set_state(struct store *st, const struct vr_uuid *machine, enum chain_state state,
                     const char *what, struct vr_err *err)
{
    if (store_begin(st, what, err) < 0)
        return -1;
    return store_end(st, what, chain_set_state(st, machine, state, err), err);
}

/* The rows of the overlays go, their files are trash, the chain is a replica. */
static int drop_overlays(struct store *st, const struct vr_uuid *machine, struct vr_err *err)
{
    vr_autolayers struct layers l = { 0 };
    if (store_begin(st, "failover-drop", err) < 0)
        return -1;
    int rc = layers_role(st->db, machine, ROLE_OVERLAY, &l, err);
    for (size_t i = 0; rc == 0 && i < l.n; i++)
        rc = layer_drop(st, &l.v[i], err);
    if (rc == 0)
        rc = db_run(st->db, err,
                    "UPDATE chain SET state = ?, fo_point = NULL, fo_bitmap = NULL"
                    " WHERE machine = ?",
                    "iu", (int64_t)CHAIN_REPLICA, machine);
    return store_end(st, "failover-drop", rc, err);
}

/* Whether all overlays are there: a set that is complete by its rows but not on disk has lost
 * writes of the machine, and making new ones would hide that. */
static int check_overlays(struct store *st, const struct vr_uuid *machine, struct vr_err *err)
{
    vr_autolayers struct layers l = { 0 };
    if (layers_role(st->db, machine, ROLE_OVERLAY, &l, err) < 0)
        return -1;
    TOUCHES_FILES;
    for (size_t i = 0; i < l.n; i++)
        if (access(l.v[i].path, F_OK) < 0)
            return vr_fail(err, VR_E_CORRUPT, 0, "the failover overlay %s is gone", l.v[i].path);
    return 0;
}

int store_failover_prepare(struct store *st, const struct vr_uuid *machine,
                           const struct vr_point_id *point, const char *bitmap, struct vr_err *err)
{
    char name[64], id[VR_UUID_STR];
    machine_name(machine, name);
    vr_autochain struct chain_row c = { 0 };
    int64_t seq = 0;
    if (!bitmap[0] || bitmap[0] == '-' || strlen(bitmap) > 200)
        return vr_fail(err, VR_E_INVAL, 0, "\"%.40s\" is no name of a bitmap", bitmap);
    if (chain_load(st, machine, &c, err) < 0)
        return -1;
    int rc = point_seq(st->db, machine, point, c.state != CHAIN_PRIMARY, &seq, err);
    if (rc < 0)
        return -1;
    if (c.state == CHAIN_FAILED_OVER && rc > 0 && seq == c.fo_point && !strcmp(bitmap, c.fo_bitmap))
        return check_overlays(st, machine, err);
    if (c.state == CHAIN_FAILED_OVER || c.state == CHAIN_PRIMARY)
        return vr_fail(err, VR_E_STATE, 0, "%s is failed over already", name);
    if (rc == 0)
        return vr_fail(err, VR_E_NOTFOUND, 0, "%s has no recovery point %s/%llu", name,
                       vr_uuid_fmt(&point->lineage, id), (unsigned long long)point->epoch);
    if (c.state == CHAIN_PREPARING && drop_overlays(st, machine, err) < 0)
        return -1;
    /* A merge of other layers that cannot be finished is no reason not to fail over. */
    if (merges_leave(st, machine, err) < 0)
        return -1;
    if (make_folder(st, &c, err) < 0 || store_begin(st, "failover-making", err) < 0 ||
        store_end(st, "failover-making", insert_overlays(st, &c, seq, bitmap, err), err) < 0 ||
        make_overlays(st, &c, bitmap, err) < 0)
        return -1;
    return set_state(st, machine, CHAIN_FAILED_OVER, "failover-ready", err);
}

int store_failover_drop(struct store *st, const struct vr_uuid *machine, struct vr_err *err)
{
    char name[64];
    vr_autochain struct chain_row c = { 0 };
    if (chain_load(st, machine, &c, err) < 0)
        return -1;
    if (c.state == CHAIN_REPLICA)
        return 0;
    if (c.state == CHAIN_PRIMARY)
        return vr_fail(err, VR_E_STATE, 0, "%s has become a primary, its failover stays",
                       machine_name(machine, name));
    if (drop_overlays(st, machine, err) < 0)
        return -1;
    trash_sweep(st, machine); /* what is left is no failover any more */
    return 0;
}

bool store_failover_is_dropped(struct store *st, const struct vr_uuid *machine)
{
    vr_autochain struct chain_row c = { 0 };
    struct vr_err none = VR_ERR_INIT;
    return store_chain_exists(st, machine) && chain_load(st, machine, &c, &none) == 0 &&
           c.state == CHAIN_REPLICA;
}

int failover_recover(struct store *st, struct vr_err *err)
{
    for (;;) {
        vr_auto(db_rows_free) struct db_rows *r =
            db_select(st->db, err, "SELECT machine FROM chain WHERE state = ?", "i",
                      (int64_t)CHAIN_PREPARING);
        int rc = r ? db_step(r, err) : -1;
        if (rc <= 0)
            return rc;
        struct vr_uuid m = db_uuid(r, 0);
        db_rows_free(vr_take(r));
        if (drop_overlays(st, &m, err) < 0)
            return -1;
    }
}

/* ---- replica -> primary -> replica ---- */

int store_failover_become_base(struct store *st, const struct vr_uuid *machine, struct vr_err *err)
{
    char name[64];
    vr_autochain struct chain_row c = { 0 };
    if (chain_load(st, machine, &c, err) < 0)
        return -1;
    if (c.state == CHAIN_PRIMARY)
        return 0;
    if (c.state != CHAIN_FAILED_OVER)
        return vr_fail(err, VR_E_STATE, 0, "%s is not failed over", machine_name(machine, name));
    if (store_begin(st, "become-base", err) < 0)
        return -1;
    int rc = stage_drop_rows(st, machine, err);
    if (rc == 0)
        rc = db_run(st->db, err, "UPDATE point SET listed = 0 WHERE machine = ?", "u", machine);
    if (rc == 0)
        rc = chain_set_state(st, machine, CHAIN_PRIMARY, err);
    if (store_end(st, "become-base", rc, err) < 0)
        return -1;
    trash_sweep(st, machine);
    return 0;
}

/* Forget points from row @from on, and their layers, but what is kept over a swap: orphans, what a
 * user has pinned, and what a test machine reads. Those after the point failed over to become a
 * branch of their own. */
static int forget_points(struct store *st, const struct chain_row *c, int64_t from,
                         struct vr_err *err)
{
    if (db_run(st->db, err,
               "DELETE FROM point WHERE machine = ? AND seq >= ? AND kind != ?"
               " AND pinned = 0",
               "uii", &c->machine, from, (int64_t)VR_POINT_ORPHAN) < 0)
        return -1;
    return branches_drop(st, &c->machine, err);
}

int store_failover_forget_newer(struct store *st, const struct vr_uuid *machine, struct vr_err *err)
{
    char name[64];
    vr_autochain struct chain_row c = { 0 };
    if (chain_load(st, machine, &c, err) < 0)
        return -1;
    if (c.state != CHAIN_PRIMARY)
        return vr_fail(err, VR_E_STATE, 0, "%s has not become a primary",
                       machine_name(machine, name));
    if (store_begin(st, "forget-newer", err) < 0 ||
        store_end(st, "forget-newer", forget_points(st, &c, c.fo_point + 1, err), err) < 0)
        return -1;
    return trash_empty(st, machine, false, false, err);
}

/* The overlays are the top of the chain and the new point. Points that are kept are listed again.
 */
static int insert_return(struct store *st, const struct chain_row *c, const struct layers *l,
                         const struct new_point *p, struct vr_err *err)
{
    int64_t seq = 0, active = 0;
    if (forget_points(st, c, 0, err) < 0 ||
        db_run(st->db, err, "UPDATE point SET listed = 1 WHERE machine = ?", "u", &c->machine) <
            0 ||
        point_add(st, p, &seq, err) < 0)
        return -1;
    for (size_t i = 0; i < l->n; i++) {
        if (db_run(st->db, err, "UPDATE layer SET role = ?, size = ? WHERE id = ?", "iii",
                   (int64_t)ROLE_CHAIN, (int64_t)l->v[i].size, l->v[i].id) < 0 ||
            point_add_disk(st, seq, l->v[i].target, l->v[i].id, err) < 0)
            return -1;
    }
    if (store_file_number(st, c->folder, &active, err) < 0)
        return -1;
    return db_run(st->db, err,
                  "UPDATE chain SET state = ?, active = ?, fo_point = NULL, fo_bitmap = NULL"
                  " WHERE machine = ?",
                  "iiu", (int64_t)CHAIN_REPLICA, active, &c->machine);
}

/* The machine may have grown its disks. Files, then their folder (invariant 1). */
static int seal_overlays(struct store *st, const struct chain_row *c, struct layers *l,
                         struct vr_err *err)
{
    vr_autofree char *active = vr_printf("%s/active", c->folder);
    for (size_t i = 0; i < l->n; i++)
        if (image_size(l->v[i].path, l->v[i].format, &l->v[i].size, err) < 0 ||
            st->fs->sync_file(st->fs, l->v[i].path, err) < 0)
            return -1;
    return st->fs->sync_dir(st->fs, active, err);
}

int store_failover_return(struct store *st, const struct vr_uuid *machine,
                          const struct vr_point_id *first, struct wall_us instant,
                          enum vr_point_kind kind, struct vr_err *err)
{
    char name[64];
    vr_autochain struct chain_row c = { 0 };
    vr_autolayers struct layers l = { 0 };
    if (chain_load(st, machine, &c, err) < 0)
        return -1;
    if (c.state == CHAIN_REPLICA) {
        int64_t seq = 0;
        int rc = point_seq(st->db, machine, first, true, &seq, err);
        if (rc != 0)
            return rc < 0 ? -1 : 0; /* done already */
    }
    if (c.state != CHAIN_PRIMARY)
        return vr_fail(err, VR_E_STATE, 0, "%s has not become a primary",
                       machine_name(machine, name));
    if (layers_role(st->db, machine, ROLE_OVERLAY, &l, err) < 0 ||
        seal_overlays(st, &c, &l, err) < 0)
        return -1;
    struct new_point p = { .machine = *machine, .id = *first, .instant = instant, .kind = kind };
    for (size_t i = 0; i < l.n; i++)
        p.bytes += image_room(l.v[i].path);
    store_look_numbers(st, c.folder);
    hold_readers_stop(st, machine); /* from here on layers are merged again */
    if (store_begin(st, "return", err) < 0 ||
        store_end(st, "return", insert_return(st, &c, &l, &p, err), err) < 0)
        return -1;
    trash_sweep(st, machine);
    return 0;
}
