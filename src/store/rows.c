/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading and writing the rows of chains, layers and points. No files are touched here. The db
 * argument may be a second, read-only handle. */
#include <string.h>

#include "base/alloc.h"
#include "store/store_int.h"

const char *machine_name(const struct vr_uuid *m, char out[64])
{
    char id[VR_UUID_STR];
    snprintf(out, 64, "machine %s", vr_uuid_fmt(m, id));
    return out;
}

/* ---- chains ---- */

int chain_load(struct store *st, const struct vr_uuid *machine, struct chain_row *ret,
               struct vr_err *err)
{
    vr_auto(db_rows_free) struct db_rows *r = db_select(
        st->db, err,
        "SELECT folder, origin, state, active, fo_point, fo_bitmap FROM chain WHERE machine = ?",
        "u", machine);
    int rc = r ? db_step(r, err) : -1;
    if (rc < 0)
        return -1;
    char name[64];
    if (rc == 0)
        return vr_fail(err, VR_E_NOTFOUND, 0, "no replica of %s is kept here",
                       machine_name(machine, name));
    *ret = (struct chain_row){
        .machine = *machine,
        .folder = vr_strdup(db_text(r, 0)),
        .origin = vr_strdup(db_text(r, 1)),
        .state = (enum chain_state)db_int(r, 2),
        .active = db_int(r, 3),
        .fo_point = db_int(r, 4),
        .fo_bitmap = vr_strdup(db_text(r, 5)),
    };
    return 0;
}

void chain_row_done(struct chain_row *c)
{
    free(c->folder);
    free(c->origin);
    free(c->fo_bitmap);
    *c = (struct chain_row){ 0 };
}

int chain_set_state(struct store *st, const struct vr_uuid *machine, enum chain_state state,
                    struct vr_err *err)
{
    return db_run(st->db, err, "UPDATE chain SET state = ? WHERE machine = ?", "iu", (int64_t)state,
                  machine);
}

/* The first column of @r, which is NULL after an error. */
static int read_targets(struct db_rows *r, char (**ret)[VR_TARGET_MAX], size_t *ret_n,
                        struct vr_err *err)
{
    char(*v)[VR_TARGET_MAX] = NULL;
    size_t n = 0;
    int rc = r ? 1 : -1;
    while (rc > 0 && (rc = db_step(r, err)) > 0) {
        v = vr_grow(v, n + 1, sizeof *v);
        snprintf(v[n++], sizeof *v, "%s", db_text(r, 0));
    }
    if (rc < 0) {
        free(v);
        return -1;
    }
    *ret = v;
    *ret_n = n;
    return 0;
}

int chain_targets(struct db *db, const struct vr_uuid *machine, char (**ret)[VR_TARGET_MAX],
                  size_t *ret_n, struct vr_err *err)
{
    vr_auto(db_rows_free) struct db_rows *r =
        db_select(db, err, "SELECT target FROM disk WHERE machine = ? ORDER BY ord", "u", machine);
    return read_targets(r, ret, ret_n, err);
}

int point_targets(struct db *db, int64_t seq, char (**ret)[VR_TARGET_MAX], size_t *ret_n,
                  struct vr_err *err)
{
    vr_auto(db_rows_free) struct db_rows *r =
        db_select(db, err,
                  "SELECT d.target FROM point_disk d JOIN point p ON p.seq = d.point"
                  " LEFT JOIN disk k ON k.machine = p.machine AND k.target = d.target"
                  " WHERE d.point = ? ORDER BY k.ord, d.target",
                  "i", seq);
    return read_targets(r, ret, ret_n, err);
}

int chain_add_target(struct db *db, const struct vr_uuid *machine, const char *target,
                     struct vr_err *err)
{
    return db_run(db, err,
                  "INSERT OR IGNORE INTO disk(machine, ord, target)"
                  " SELECT ?1, 1 + ifnull((SELECT max(ord) FROM disk WHERE machine = ?1), -1), ?2",
                  "us", machine, target);
}

/* ---- layers ---- */

#define LAYER_COLUMNS \
    "id, target, path, format, adopted, role, size, ifnull(below, 0), digests, known"

static void layer_read(const struct db_rows *r, struct layer_row *l)
{
    *l = (struct layer_row){
        .id = db_int(r, 0),
        .path = vr_strdup(db_text(r, 2)),
        .adopted = db_int(r, 4) != 0,
        .role = (enum layer_role)db_int(r, 5),
        .size = (uint64_t)db_int(r, 6),
        .below = db_int(r, 7),
        .digests = vr_strdup(db_text(r, 8)),
        .known = (enum known)db_int(r, 9),
    };
    snprintf(l->target, sizeof l->target, "%s", db_text(r, 1));
    snprintf(l->format, sizeof l->format, "%s", db_text(r, 3));
}

void layer_row_done(struct layer_row *l)
{
    free(l->path);
    free(l->digests);
    *l = (struct layer_row){ 0 };
}

void layers_done(struct layers *l)
{
    for (size_t i = 0; i < l->n; i++)
        layer_row_done(&l->v[i]);
    free(l->v);
    *l = (struct layers){ 0 };
}

static struct layer_row *layers_more(struct layers *l)
{
    l->v = vr_grow(l->v, l->n + 1, sizeof *l->v);
    l->v[l->n] = (struct layer_row){ 0 };
    return &l->v[l->n++];
}

int layer_load(struct db *db, int64_t id, struct layer_row *ret, struct vr_err *err)
{
    vr_auto(db_rows_free) struct db_rows *r =
        db_select(db, err, "SELECT " LAYER_COLUMNS " FROM layer WHERE id = ?", "i", id);
    int rc = r ? db_step(r, err) : -1;
    if (rc < 0)
        return -1;
    if (rc == 0)
        return vr_fail(err, VR_E_STORE, 0, "the database lacks layer %lld", (long long)id);
    layer_read(r, ret);
    return 0;
}

int layers_below(struct db *db, int64_t top, struct layers *ret, struct vr_err *err)
{
    struct layers l = { 0 };
    for (int64_t id = top; id;) {
        struct layer_row *row = layers_more(&l);
        if (layer_load(db, id, row, err) < 0) {
            layers_done(&l);
            return -1;
        }
        id = row->below;
    }
    *ret = l;
    return 0;
}

static int layers_read(struct db_rows *r, struct layers *ret, struct vr_err *err)
{
    struct layers l = { 0 };
    int rc = r ? 1 : -1;
    while (rc > 0 && (rc = db_step(r, err)) > 0)
        layer_read(r, layers_more(&l));
    if (rc < 0) {
        layers_done(&l);
        return -1;
    }
    *ret = l;
    return 0;
}

int layers_role(struct db *db, const struct vr_uuid *machine, enum layer_role role,
                struct layers *ret, struct vr_err *err)
{
    vr_auto(db_rows_free) struct db_rows *r =
        db_select(db, err,
                  "SELECT " LAYER_COLUMNS " FROM layer WHERE machine = ? AND role = ? ORDER BY"
                  " (SELECT ord FROM disk WHERE disk.machine = layer.machine"
                  " AND disk.target = layer.target), id",
                  "ui", machine, (int64_t)role);
    return layers_read(r, ret, err);
}

int layers_owned(struct db *db, int64_t point, struct layers *ret, struct vr_err *err)
{
    vr_auto(db_rows_free) struct db_rows *r =
        db_select(db, err,
                  "SELECT " LAYER_COLUMNS " FROM layer WHERE id IN"
                  " (SELECT layer FROM point_disk WHERE point = ?) AND NOT EXISTS"
                  " (SELECT 1 FROM point_disk o WHERE o.layer = layer.id AND o.point < ?)",
                  "ii", point, point);
    return layers_read(r, ret, err);
}

int layer_add(struct store *st, const struct vr_uuid *machine, struct layer_row *l,
              struct vr_err *err)
{
    if (db_run(st->db, err,
               "INSERT INTO layer(machine, target, path, format, adopted, role, size, below,"
               " digests, known) VALUES(?,?,?,?,?,?,?,nullif(?, 0),?,?)",
               "usssiiiisi", machine, l->target, l->path, l->format, (int64_t)l->adopted,
               (int64_t)l->role, (int64_t)l->size, l->below, l->digests, (int64_t)l->known) < 0)
        return -1;
    l->id = db_last_id(st->db);
    return 0;
}

int layer_drop(struct store *st, const struct layer_row *l, struct vr_err *err)
{
    /* Of a merge or repair that waits to be finished nothing is left to do: whatever showed the
     * layer has gone, and the others are whole. (A lower layer goes after its upper one.) */
    if (db_run(st->db, err, "DELETE FROM layer WHERE id = ?", "i", l->id) < 0 ||
        db_run(st->db, err, "DELETE FROM merge WHERE upper = ?", "i", l->id) < 0 ||
        db_run(st->db, err, "DELETE FROM repair WHERE layer = ?", "i", l->id) < 0)
        return -1;
    if (!l->adopted && trash_add(st, l->path, TRASH_DELETE, err) < 0)
        return -1;
    return l->digests ? trash_add(st, l->digests, TRASH_DELETE, err) : 0;
}

/* A branch is what followed a point that was failed over to. Layers further up go first, as rows
 * refer downwards. */
int branches_drop(struct store *st, const struct vr_uuid *machine, struct vr_err *err)
{
    vr_autolayers struct layers l = { 0 };
    if (layers_role(st->db, machine, ROLE_CHAIN, &l, err) < 0)
        return -1;
    for (bool again = true; again;) {
        again = false;
        for (size_t i = 0; i < l.n; i++) {
            int64_t used = 0;
            if (l.v[i].id == 0)
                continue;
            int rc = db_one_int(st->db, &used, err,
                                "SELECT (SELECT count(*) FROM layer WHERE below = ?)"
                                " + (SELECT count(*) FROM point_disk WHERE layer = ?)",
                                "ii", l.v[i].id, l.v[i].id);
            if (rc < 0)
                return -1;
            if (used)
                continue;
            if (layer_drop(st, &l.v[i], err) < 0)
                return -1;
            l.v[i].id = 0;
            again = true;
        }
    }
    return 0;
}

/* ---- points ---- */

int point_seq(struct db *db, const struct vr_uuid *machine, const struct vr_point_id *p,
              bool listed_only, int64_t *ret, struct vr_err *err)
{
    return db_one_int(db, ret, err,
                      "SELECT seq FROM point WHERE machine = ? AND lineage = ? AND epoch = ?"
                      " AND listed >= ?",
                      "uuii", machine, &p->lineage, (int64_t)p->epoch, (int64_t)listed_only);
}

int point_newest(struct db *db, const struct vr_uuid *machine, int64_t *ret_seq,
                 struct vr_point_id *ret_id, struct vr_err *err)
{
    vr_auto(db_rows_free) struct db_rows *r =
        db_select(db, err,
                  "SELECT seq, lineage, epoch FROM point WHERE machine = ? AND listed = 1"
                  " ORDER BY seq DESC LIMIT 1",
                  "u", machine);
    int rc = r ? db_step(r, err) : -1;
    if (rc <= 0)
        return rc;
    *ret_seq = db_int(r, 0);
    if (ret_id) {
        ret_id->lineage = db_uuid(r, 1);
        ret_id->epoch = (uint64_t)db_int(r, 2);
    }
    return 1;
}

int point_top_if(struct db *db, int64_t seq, const char *target, int64_t *ret, struct vr_err *err)
{
    return db_one_int(db, ret, err, "SELECT layer FROM point_disk WHERE point = ? AND target = ?",
                      "is", seq, target);
}

int point_top(struct db *db, int64_t seq, const char *target, int64_t *ret, struct vr_err *err)
{
    int rc = point_top_if(db, seq, target, ret, err);
    if (rc == 0)
        return vr_fail(err, VR_E_NOTFOUND, 0, "the recovery point has no disk %s", target);
    return rc < 0 ? -1 : 0;
}
