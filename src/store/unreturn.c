/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A machine that could not become a replica after all: its disks are its own again. The chain that
 * stands under them stays when it was there before, with the points in it that are kept. Store
 * thread. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "store/store_int.h"

/* The layers that the point stands on, in the order of the chain's disks. */
static int tops(struct store *st, int64_t seq, struct layers *ret, struct vr_err *err)
{
    vr_autofree char(*t)[VR_TARGET_MAX] = NULL;
    size_t n = 0;
    if (point_targets(st->db, seq, &t, &n, err) < 0)
        return -1;
    ret->v = vr_new0(n ? n : 1, sizeof *ret->v);
    for (; ret->n < n; ret->n++) {
        int64_t id = 0;
        if (point_top(st->db, seq, t[ret->n], &id, err) < 0 ||
            layer_load(st->db, id, &ret->v[ret->n], err) < 0)
            return -1;
    }
    return 0;
}

/* The number in <folder>/active/<target>.<n>.qcow2; 0: the file is none of a failover. */
static int64_t overlay_number(const struct chain_row *c, const struct layer_row *l)
{
    vr_autofree char *start = vr_printf("%s/active/%s.", c->folder, l->target);
    long long n = 0;
    int end = 0;
    if (l->adopted || strncmp(l->path, start, strlen(start)) != 0 ||
        sscanf(l->path + strlen(start), "%lld.qcow2%n", &n, &end) != 1 || !end ||
        l->path[strlen(start) + (size_t)end])
        return 0;
    return n;
}

/* What a table says of a layer is not true any more once the machine writes to it. */
static int to_overlay(struct store *st, const struct layer_row *l, struct vr_err *err)
{
    if (l->digests && trash_add(st, l->digests, TRASH_DELETE, err) < 0)
        return -1;
    return db_run(st->db, err, "UPDATE layer SET role = ?, digests = NULL, known = ? WHERE id = ?",
                  "iii", (int64_t)ROLE_OVERLAY, (int64_t)KNOWN_NONE, l->id);
}

static int undo(struct store *st, const struct chain_row *c, int64_t seq, const struct layers *l,
                int64_t active, struct vr_err *err)
{
    if (stage_drop_rows(st, &c->machine, err) < 0 ||
        db_run(st->db, err, "DELETE FROM point WHERE seq = ?", "i", seq) < 0 ||
        db_run(st->db, err, "UPDATE point SET listed = 0 WHERE machine = ?", "u", &c->machine) < 0)
        return -1;
    for (size_t i = 0; i < l->n; i++)
        if (to_overlay(st, &l->v[i], err) < 0)
            return -1;
    return db_run(st->db, err,
                  "UPDATE chain SET state = ?, active = ?, fo_bitmap = NULL,"
                  " fo_point = (SELECT max(seq) FROM point WHERE machine = ?) WHERE machine = ?",
                  "iiuu", (int64_t)CHAIN_PRIMARY, active, &c->machine, &c->machine);
}

int store_failover_unreturn(struct store *st, const struct vr_uuid *machine,
                            const struct vr_point_id *first, struct vr_err *err)
{
    vr_autochain struct chain_row c = { 0 };
    vr_autolayers struct layers l = { 0 };
    struct vr_point_id newest;
    int64_t seq = 0;
    if (!store_chain_exists(st, machine))
        return 0;
    if (chain_load(st, machine, &c, err) < 0)
        return -1;
    int rc = point_newest(st->db, machine, &seq, &newest, err);
    if (rc < 0)
        return -1;
    if (c.state != CHAIN_REPLICA || rc == 0 || !vr_point_eq(&newest, first))
        return 0;
    if (tops(st, seq, &l, err) < 0)
        return -1;
    int64_t active = l.n ? overlay_number(&c, &l.v[0]) : 0;
    for (size_t i = 0; i < l.n; i++)
        if (overlay_number(&c, &l.v[i]) != active)
            active = 0;
    if (!active) /* it was made of the machine's disks, and knows nothing else */
        return store_chain_drop(st, machine, false, err);
    hold_readers_stop(st, machine);
    /* What is copied is finished while the layers above still are at rest. */
    if (merges_settle(st, machine, err) < 0 || store_begin(st, "unreturn", err) < 0 ||
        store_end(st, "unreturn", undo(st, &c, seq, &l, active, err), err) < 0)
        return -1;
    trash_sweep(st, machine);
    return 0;
}

int store_points_kept(struct store *st, const struct vr_uuid *machine, size_t *ret,
                      struct vr_err *err)
{
    int64_t n = 0;
    if (db_one_int(st->db, &n, err,
                   "SELECT count(*) FROM point WHERE machine = ? AND (kind = ? OR pinned & ?)",
                   "uii", machine, (int64_t)VR_POINT_ORPHAN,
                   (int64_t)(STORE_PIN_USER | STORE_PIN_READ)) < 0)
        return -1;
    *ret = (size_t)n;
    return 0;
}
