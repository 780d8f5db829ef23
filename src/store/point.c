/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Recovery points as rows: listing, pinning, naming their images. Store thread. */
#include <string.h>

#include "base/alloc.h"
#include "store/store_int.h"

/* This host's clock without the jumps that it makes while we run. */
static int64_t steady_now(const struct store *st)
{
    return st->opened_wall.us + (vr_mono_now().ms - st->opened_mono.ms) * 1000;
}

/* The times of the newest point: 1, 0 there is none, -1. */
static int times_of_newest(struct store *st, const struct vr_uuid *machine, struct retain_time *ret,
                           struct vr_err *err)
{
    vr_auto(db_rows_free) struct db_rows *r =
        db_select(st->db, err,
                  "SELECT instant, coalesce(steady, received), coalesce(moment, instant), "
                  "coalesce(ours, instant)"
                  " FROM point WHERE machine = ? AND listed = 1 ORDER BY seq DESC LIMIT 1",
                  "u", machine);
    int rc = r ? db_step(r, err) : -1;
    if (rc > 0)
        *ret = (struct retain_time){ db_int(r, 0), db_int(r, 1), db_int(r, 2), db_int(r, 3) };
    return rc;
}

int point_add(struct store *st, const struct new_point *p, int64_t *ret_seq, struct vr_err *err)
{
    struct retain_time before, t = { .instant = p->instant.us, .received = steady_now(st) };
    int rc = times_of_newest(st, &p->machine, &before, err);
    if (rc < 0)
        return -1;
    retain_place(rc ? &before : NULL, &t);
    if (db_run(st->db, err,
               "INSERT INTO point(machine, lineage, epoch, instant, received, kind, bytes, digest,"
               " pinned, listed, steady, moment, ours) VALUES(?,?,?,?,?,?,?,'',0,1,?,?,?)",
               "uuiiiiiiii", &p->machine, &p->id.lineage, (int64_t)p->id.epoch, t.instant,
               vr_wall_now().us, (int64_t)p->kind, (int64_t)p->bytes, t.received, t.moment,
               t.ours) < 0)
        return -1;
    *ret_seq = db_last_id(st->db);
    return 0;
}

int point_add_disk(struct store *st, int64_t seq, const char *target, int64_t layer,
                   struct vr_err *err)
{
    return db_run(st->db, err, "INSERT INTO point_disk(point, target, layer) VALUES(?,?,?)", "isi",
                  seq, target, layer);
}

/* Names that do not fit are left out, which the last word says. */
static void name_disks(struct store_point *p, const char *names)
{
    static const char more[] = " ...";
    size_t n = names ? strlen(names) : 0;
    if (n < sizeof p->disks) {
        snprintf(p->disks, sizeof p->disks, "%s", names ? names : "");
        return;
    }
    n = sizeof p->disks - sizeof more;
    while (n && names[n] != ' ')
        n--;
    snprintf(p->disks, sizeof p->disks, "%.*s%s", (int)n, names, more);
}

bool store_point_has(const struct store_point *p, const char *target)
{
    size_t n = strlen(target);
    for (const char *at = p->disks; *at; at += strspn(at, " ")) {
        size_t word = strcspn(at, " ");
        if ((word == n && !strncmp(at, target, n)) || (word == 3 && !strncmp(at, "...", 3)))
            return true;
        at += word;
    }
    return false;
}

/* Those that are listed; or (@listed false) of those that are not the ones that stay over a change
 * of role, as in forget_points(). */
static int points(struct store *st, const struct vr_uuid *machine, bool listed,
                  struct store_point **ret, size_t *ret_n, struct vr_err *err)
{
    vr_auto(db_rows_free) struct db_rows *r =
        db_select(st->db, err,
                  "SELECT lineage, epoch, instant, received, kind, bytes, digest, pinned,"
                  " coalesce(moment, instant), q.verified, q.how, q.quarantine, q.since, q.bad,"
                  " q.acknowledged, q.booted, coalesce(ours, instant),"
                  " (SELECT group_concat(target, ' ') FROM point_disk WHERE point = seq), written"
                  " FROM point LEFT JOIN proof q ON q.point = seq"
                  " WHERE machine = ? AND listed = ? AND (listed = 1 OR kind = ? OR pinned != 0)"
                  " ORDER BY seq",
                  "uii", machine, (int64_t)listed, (int64_t)VR_POINT_ORPHAN);
    struct store_point *v = NULL;
    size_t n = 0;
    int rc = r ? 1 : -1;
    while (rc > 0 && (rc = db_step(r, err)) > 0) {
        v = vr_grow(v, n + 1, sizeof *v);
        struct store_point *p = &v[n++];
        *p = (struct store_point){
            .id = { db_uuid(r, 0), (uint64_t)db_int(r, 1) },
            .instant = { db_int(r, 2) },
            .received = { db_int(r, 3) },
            .written = { db_int(r, 18) },
            .kind = (enum vr_point_kind)db_int(r, 4),
            .bytes = (uint64_t)db_int(r, 5),
            .pins = (unsigned)db_int(r, 7),
            .moment = { db_int(r, 8) },
            .ours = db_int(r, 16),
            .proof = { .verified = { db_int(r, 9) },
                       .how = (enum store_proof_how)db_int(r, 10),
                       .quarantine = (enum store_quarantine)db_int(r, 11),
                       .since = { db_int(r, 12) },
                       .bad = (uint64_t)db_int(r, 13),
                       .acknowledged = db_int(r, 14) != 0,
                       .booted = { db_int(r, 15) } },
        };
        snprintf(p->digest, sizeof p->digest, "%s", db_text(r, 6));
        name_disks(p, db_text(r, 17));
    }
    if (rc < 0) {
        free(v);
        return -1;
    }
    *ret = v;
    *ret_n = n;
    return 0;
}

int store_points(struct store *st, const struct vr_uuid *machine, struct store_point **ret,
                 size_t *ret_n, struct vr_err *err)
{
    return points(st, machine, true, ret, ret_n, err);
}

int store_points_beneath(struct store *st, const struct vr_uuid *machine, struct store_point **ret,
                         size_t *ret_n, struct vr_err *err)
{
    return points(st, machine, false, ret, ret_n, err);
}

static int find_row(struct store *st, const struct vr_uuid *machine, const struct vr_point_id *p,
                    bool listed_only, int64_t *ret, struct vr_err *err)
{
    char name[64], id[VR_UUID_STR];
    int rc = point_seq(st->db, machine, p, listed_only, ret, err);
    if (rc == 0)
        return vr_fail(err, VR_E_NOTFOUND, 0, "%s has no recovery point %s/%llu",
                       machine_name(machine, name), vr_uuid_fmt(&p->lineage, id),
                       (unsigned long long)p->epoch);
    return rc < 0 ? -1 : 0;
}

/* A point that store_points() or store_points_beneath() tells. */
static int find(struct store *st, const struct vr_uuid *machine, const struct vr_point_id *p,
                int64_t *ret, struct vr_err *err)
{
    int64_t told = 0;
    if (find_row(st, machine, p, false, ret, err) < 0 ||
        db_one_int(st->db, &told, err,
                   "SELECT listed = 1 OR kind = ? OR pinned != 0 FROM point WHERE seq = ?", "ii",
                   (int64_t)VR_POINT_ORPHAN, *ret) < 0)
        return -1;
    return told ? 0 : find_row(st, machine, p, true, ret, err);
}

/* Layers come to rest before somebody reads them. Those below a primary's disks are at rest: what
 * was left there half-done is finished when nothing runs on it any more. */
static int come_to_rest(struct store *st, const struct vr_uuid *machine, bool to_be_read,
                        struct vr_err *err)
{
    char name[64];
    vr_autochain struct chain_row c = { 0 };
    int64_t left = 0;
    if (chain_load(st, machine, &c, err) < 0)
        return -1;
    if (c.state != CHAIN_PRIMARY)
        return merges_settle(st, machine, err);
    if (!to_be_read)
        return 0;
    if (db_one_int(st->db, &left, err,
                   "SELECT (SELECT count(*) FROM merge WHERE machine = ?)"
                   " + (SELECT count(*) FROM repair WHERE machine = ?)",
                   "uu", machine, machine) < 0)
        return -1;
    return left ? vr_fail(err, VR_E_BUSY, 0,
                          "a merge below the disks of %s could not be finished; its recovery "
                          "points can be read when this host is the replica again",
                          machine_name(machine, name))
                : 0;
}

int store_point_image(struct store *st, const struct vr_uuid *machine, const struct vr_point_id *p,
                      const char *target, char **ret, char **ret_format, struct vr_err *err)
{
    int64_t seq = 0, top = 0;
    vr_autolayer struct layer_row l = { 0 };
    if (find_row(st, machine, p, false, &seq, err) < 0 ||
        point_top(st->db, seq, target, &top, err) < 0 || layer_load(st->db, top, &l, err) < 0)
        return -1;
    if (ret_format)
        *ret_format = vr_strdup(l.format);
    *ret = vr_take(l.path);
    return 0;
}

int store_point_disks(struct store *st, const struct vr_uuid *machine, const struct vr_point_id *p,
                      struct store_disk ret[VR_DISKS_MAX], size_t *ret_n, struct vr_err *err)
{
    int64_t seq = 0;
    vr_autofree char(*t)[VR_TARGET_MAX] = NULL;
    size_t n = 0;
    if (find_row(st, machine, p, false, &seq, err) < 0 ||
        point_targets(st->db, seq, &t, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n && i < VR_DISKS_MAX; i++) {
        int64_t top = 0;
        vr_autolayer struct layer_row l = { 0 };
        if (point_top(st->db, seq, t[i], &top, err) < 0 || layer_load(st->db, top, &l, err) < 0)
            return -1;
        ret[i] = (struct store_disk){ .size = l.size };
        snprintf(ret[i].target, sizeof ret[i].target, "%s", t[i]);
    }
    *ret_n = n < VR_DISKS_MAX ? n : VR_DISKS_MAX;
    return 0;
}

/* How many points of a machine its user has pinned. */
static int user_pins(struct store *st, const struct vr_uuid *machine, int64_t *ret,
                     struct vr_err *err)
{
    int rc = db_one_int(st->db, ret, err,
                        "SELECT count(*) FROM point WHERE machine = ? AND (pinned & ?) != 0", "ui",
                        machine, (int64_t)STORE_PIN_USER);
    return rc < 0 ? -1 : 0;
}

int store_point_pin(struct store *st, const struct vr_uuid *machine, const struct vr_point_id *p,
                    enum store_pin pin, bool on, struct vr_err *err)
{
    char name[64];
    int64_t seq = 0, now = 0, count = 0;
    /* A pin is lifted whatever has become of the machine meanwhile: a primary lists no points. */
    if ((on ? find(st, machine, p, &seq, err) : find_row(st, machine, p, false, &seq, err)) < 0 ||
        db_one_int(st->db, &now, err, "SELECT pinned FROM point WHERE seq = ?", "i", seq) < 0)
        return -1;
    if (((now & pin) != 0) == on)
        return 0;
    if (on && pin == STORE_PIN_USER && user_pins(st, machine, &count, err) < 0)
        return -1;
    if (count >= STORE_USER_PINS_MAX)
        return vr_fail(err, VR_E_LIMIT, 0,
                       "%d recovery points of %s are pinned already; unpin one first",
                       STORE_USER_PINS_MAX, machine_name(machine, name));
    if (on && pin & STORE_PIN_READ && come_to_rest(st, machine, true, err) < 0)
        return -1;
    if (store_begin(st, "pin", err) < 0)
        return -1;
    /* Another pin of the point may have been lifted while the merges were waited for. */
    int rc = db_run(st->db, err, "UPDATE point SET pinned = (pinned & ~?) | ? WHERE seq = ?", "iii",
                    (int64_t)pin, on ? (int64_t)pin : (int64_t)0, seq);
    return store_end(st, "pin", rc, err);
}

int store_point_written(struct store *st, const struct vr_uuid *machine,
                        const struct vr_point_id *p, struct wall_us when, struct vr_err *err)
{
    if (store_begin(st, "written", err) < 0)
        return -1;
    int rc =
        db_run(st->db, err,
               "UPDATE point SET written = ? WHERE machine = ? AND lineage = ? AND epoch = ?"
               " AND kind = ? AND written IS NULL",
               "iuuii", when.us, machine, &p->lineage, (int64_t)p->epoch, (int64_t)VR_POINT_ORPHAN);
    return store_end(st, "written", rc, err);
}

int store_point_discard(struct store *st, const struct vr_uuid *machine,
                        const struct vr_point_id *p, struct vr_err *err)
{
    int64_t seq = 0, newest = 0, kind = 0, pins = 0;
    vr_autochain struct chain_row c = { 0 };
    if (chain_load(st, machine, &c, err) < 0 || find(st, machine, p, &seq, err) < 0 ||
        db_one_int(st->db, &kind, err, "SELECT kind FROM point WHERE seq = ?", "i", seq) < 0 ||
        db_one_int(st->db, &pins, err, "SELECT pinned FROM point WHERE seq = ?", "i", seq) < 0 ||
        point_newest(st->db, machine, &newest, NULL, err) < 0)
        return -1;
    if (kind != VR_POINT_ORPHAN)
        return vr_fail(err, VR_E_STATE, 0,
                       "only orphan points are discarded; others go as retention says");
    if (seq == newest)
        return vr_fail(err, VR_E_STATE, 0,
                       "the orphan point is the newest one: what the primary sends will stand on "
                       "it; wait for the next recovery point");
    if (seq == c.fo_point)
        return vr_fail(err, VR_E_STATE, 0,
                       "the machine's disks stand on this orphan point: it can be discarded when "
                       "the failover is cancelled, or this host is the replica again and has the "
                       "next recovery point");
    if (pins || hold_on_point(st, seq))
        return vr_fail(
            err, VR_E_BUSY, 0,
            "the orphan point is pinned or being read; unpin it, end its test, or close its "
            "export");
    /* Layers that others stand on stay, whatever role they have. */
    if (come_to_rest(st, machine, false, err) < 0 || store_begin(st, "discard", err) < 0)
        return -1;
    int rc = db_run(st->db, err, "DELETE FROM point WHERE seq = ?", "i", seq);
    if (rc == 0)
        rc = branches_drop(st, machine, err);
    if (store_end(st, "discard", rc, err) < 0)
        return -1;
    trash_sweep(st, machine);
    return 0;
}
