/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What changed between two points, from what their layers hold; what changed since a failover, and
 * what is known of the rest. Any thread: it reads the database through a handle of its own, and
 * begins again when a merge took a file away meanwhile. (Below an overlay nothing is merged.) */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "store/baton.h"
#include "store/qcow2.h"
#include "store/tables.h"

static int find(struct db *db, const struct vr_uuid *machine, const char *target,
                const struct vr_point_id *p, int64_t *ret_top, struct vr_err *err)
{
    char name[64], id[VR_UUID_STR];
    int64_t seq = 0;
    int rc = point_seq(db, machine, p, false, &seq, err);
    if (rc == 0)
        return vr_fail(err, VR_E_NOTFOUND, 0, "%s has no recovery point %s/%llu any more",
                       machine_name(machine, name), vr_uuid_fmt(&p->lineage, id),
                       (unsigned long long)p->epoch);
    return rc < 0 ? -1 : point_top(db, seq, target, ret_top, err);
}

/* What one layer holds; everything when it cannot tell. */
static int add_layer(const struct layer_row *l, struct extents *to, struct vr_err *err)
{
    TOUCHES_FILES;
    if (l->known != KNOWN_LAYER || !l->digests) {
        if (!strcmp(l->format, "qcow2"))
            return qcow2_allocated(l->path, to, err);
        extents_add(to, 0, l->size);
        return 0;
    }
    struct digest_record r = { 0 };
    vr_auto(digestlog_free) struct digestlog *log = NULL;
    if (digestlog_open(l->digests, 0, false, &log, err) < 0)
        return -1;
    int rc = 1;
    for (uint64_t at = 0; rc > 0; at = r.block + 1) {
        rc = digestlog_next(log, at, &r, err);
        if (rc > 0)
            extents_add(to, r.block * VR_BLOCK_SIZE, tables_block_bytes(r.block, l->size));
    }
    return rc;
}

static int collect(struct store *st, const struct vr_uuid *machine, const char *target,
                   const struct vr_point_id *from, const struct vr_point_id *to,
                   struct extents *ret, struct vr_err *err)
{
    vr_auto(db_close) struct db *db = NULL;
    vr_autolayers struct layers l = { 0 }, m = { 0 };
    int64_t low = 0, top = 0;
    if (db_open(st->db_path, true, &db, err) < 0 ||
        find(db, machine, target, from, &low, err) < 0 ||
        find(db, machine, target, to, &top, err) < 0 || layers_below(db, top, &l, err) < 0 ||
        layers_below(db, low, &m, err) < 0)
        return -1;
    /* What both stand on is equal. (Mostly one stands on the other.) */
    size_t n = l.n, k = m.n;
    while (n && k && l.v[n - 1].id == m.v[k - 1].id)
        n--, k--;
    if (n == l.n)
        return vr_fail(err, VR_E_NOTFOUND, 0, "disk %s: the two points have nothing in common",
                       target);
    for (size_t i = 0; i < n; i++)
        if (add_layer(&l.v[i], ret, err) < 0)
            return -1;
    for (size_t i = 0; i < k; i++)
        if (add_layer(&m.v[i], ret, err) < 0)
            return -1;
    return 0;
}

int store_changed(struct store *st, const struct vr_uuid *machine, const char *target,
                  const struct vr_point_id *from, const struct vr_point_id *to, struct extents *ret,
                  struct vr_err *err)
{
    for (int tries = 0;; tries++) {
        struct vr_err e = VR_ERR_INIT;
        struct extents found = { 0 };
        int rc = collect(st, machine, target, from, to, &found, &e);
        if (rc == 0)
            extents_unite(ret, &found);
        extents_done(&found);
        if (rc == 0)
            return 0;
        if (e.kind != VR_E_NOFILE || tries == 4) {
            vr_err_move(err, &e);
            return -1;
        }
    }
}

/* ---- a machine that was failed over ---- */
static int overlay_of(struct db *db, const struct vr_uuid *machine, const char *target,
                      struct layers *all, const struct layer_row **ret, struct vr_err *err)
{
    char name[64];
    if (layers_role(db, machine, ROLE_OVERLAY, all, err) < 0)
        return -1;
    for (size_t i = 0; i < all->n; i++)
        if (!strcmp(all->v[i].target, target)) {
            *ret = &all->v[i];
            return 0;
        }
    return vr_fail(err, VR_E_NOTFOUND, 0, "%s has no failover overlay for disk %s",
                   machine_name(machine, name), target);
}

int store_failover_changed(struct store *st, const struct vr_uuid *machine, const char *target,
                           struct extents *ret, struct vr_err *err)
{
    vr_auto(db_close) struct db *db = NULL;
    vr_autolayers struct layers all = { 0 };
    const struct layer_row *l = NULL;
    if (db_open(st->db_path, true, &db, err) < 0 ||
        overlay_of(db, machine, target, &all, &l, err) < 0)
        return -1;
    return qcow2_allocated(l->path, ret, err);
}

/* Blocks of which a proof found that they are not what a table says, here or in another layer. */
static int add_wrong(struct db *db, const struct vr_uuid *machine, const char *target,
                     struct extents *to, struct vr_err *err)
{
    vr_auto(db_rows_free) struct db_rows *r =
        db_select(db, err, "SELECT DISTINCT block FROM damage WHERE machine = ? AND target = ?",
                  "us", machine, target);
    int rc = r ? 1 : -1;
    while (rc > 0 && (rc = db_step(r, err)) > 0)
        extents_add(to, (uint64_t)db_int(r, 0) * VR_BLOCK_SIZE, VR_BLOCK_SIZE);
    return rc;
}

/* The file may have been restored or made anew: what shines through it must still be that layer. */
static int check_below(const struct layer_row *l, const struct layers *below, struct vr_err *err)
{
    vr_autofree char *backing = NULL;
    if (qcow2_backing(l->path, &backing, err) < 0)
        return -1;
    if (!below->n || strcmp(backing, below->v[0].path) != 0)
        return vr_fail(err, VR_E_STATE, 0, "%s stands on \"%s\" and not on %s", l->path, backing,
                       below->n ? below->v[0].path : "nothing");
    return 0;
}

int store_failover_known(struct store *st, const struct vr_uuid *machine, const char *target,
                         struct store_known *ret, struct vr_err *err)
{
    vr_auto(db_close) struct db *db = NULL;
    vr_autolayers struct layers all = { 0 }, below = { 0 };
    const struct layer_row *l = NULL;
    struct store_known k = { .n_digests = 0 };
    if (db_open(st->db_path, true, &db, err) < 0 ||
        overlay_of(db, machine, target, &all, &l, err) < 0 ||
        layers_below(db, l->below, &below, err) < 0 || check_below(l, &below, err) < 0)
        return -1;
    if (add_wrong(db, machine, target, &k.wrong, err) < 0) {
        store_known_done(&k);
        return -1;
    }
    tables_paths(&below, &k.digests, &k.n_digests, &k.complete);
    *ret = k;
    return 0;
}

void store_known_done(struct store_known *k)
{
    for (size_t i = 0; i < k->n_digests; i++)
        free(k->digests[i]);
    free(k->digests);
    extents_done(&k->wrong);
    *k = (struct store_known){ .n_digests = 0 };
}
