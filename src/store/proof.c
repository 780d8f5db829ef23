/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is known about the content of points: rows of proof and damage. docs/store.md section 10.
 * Store thread. Digest tables lie on the machine's storage, which may not answer: what they say is
 * looked up first, and only then a transaction is begun. */
#include "store/proof_int.h"

#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "store/qcow2.h"
#include "store/tables.h"

void bad_add(struct store_bad_list *l, const char *target, uint64_t block, bool rot)
{
    l->total++;
    if (l->n == STORE_BAD_MAX)
        return;
    if (l->n % 64 == 0)
        l->v = vr_grow(l->v, l->n + 64, sizeof *l->v);
    struct store_bad *b = &l->v[l->n++];
    *b = (struct store_bad){ .block = block, .rot = rot };
    snprintf(b->target, sizeof b->target, "%s", target);
}

/* ---- one disk of the chain, from the newest point down, with its tables ---- */

struct view {
    char target[VR_TARGET_MAX];
    struct layers l;
    struct digestlog **logs; /* opened when they are wanted */
    struct extents *own;     /* what layers without a table hold; read when it is wanted */
};

static void view_done(struct view *w)
{
    for (size_t i = 0; w->logs && i < w->l.n; i++)
        digestlog_free(w->logs[i]);
    for (size_t i = 0; w->own && i < w->l.n; i++)
        extents_done(&w->own[i]);
    free(w->logs);
    free(w->own);
    layers_done(&w->l);
    *w = (struct view){ .logs = NULL };
}
#define vr_autoview __attribute__((cleanup(view_done)))

static int view_open(struct store *st, int64_t newest, const char *target, struct view *w,
                     struct vr_err *err)
{
    int64_t top = 0;
    snprintf(w->target, sizeof w->target, "%s", target);
    int rc = point_top_if(st->db, newest, target, &top, err);
    if (rc < 0 || (rc > 0 && layers_below(st->db, top, &w->l, err) < 0))
        return -1;
    w->logs = vr_new0(w->l.n ? w->l.n : 1, sizeof *w->logs);
    return 0;
}

/* Where a layer is; -1: not here. */
static int index_of(const struct view *w, int64_t layer)
{
    for (size_t i = 0; i < w->l.n; i++)
        if (w->l.v[i].id == layer)
            return (int)i;
    return -1;
}

/* Does the table of layer @i hold the block? 1, 0 (or nothing is known), -1 error. */
static int holds(struct view *w, size_t i, uint64_t block, struct vr_err *err)
{
    const struct layer_row *l = &w->l.v[i];
    struct vr_digest d;
    if (l->known == KNOWN_NONE || !l->digests)
        return 0;
    TOUCHES_FILES;
    if (!w->logs[i] && digestlog_open(l->digests, 0, false, &w->logs[i], err) < 0)
        return -1;
    return digestlog_get(w->logs[i], block, &d, err);
}

/* The layer that gives block @block of what layer @top shows: its index, -1 unknown, -2 error. */
static int giver(struct view *w, size_t top, uint64_t block, struct vr_err *err)
{
    for (size_t i = top; i < w->l.n; i++) {
        int rc = holds(w, i, block, err);
        if (rc < 0)
            return -2;
        if (rc > 0 || w->l.v[i].known == KNOWN_FULL)
            return (int)i;
        if (w->l.v[i].known == KNOWN_NONE)
            return -1;
    }
    return -1;
}

/* Does layer @i cover the block in what lies below? Of a layer without a table, the overlay of a
 * machine that came back, the image itself tells: a merge of it that was cut may have written the
 * block below already, which then is not what the table there says. 1, 0, -1 error. */
static int covers(struct view *w, size_t i, uint64_t block, struct vr_err *err)
{
    const struct layer_row *l = &w->l.v[i];
    uint64_t at = block * VR_BLOCK_SIZE;
    if ((l->known != KNOWN_NONE && l->digests) || at >= l->size)
        return holds(w, i, block, err);
    if (strcmp(l->format, "qcow2") != 0)
        return 1;
    if (!w->own)
        w->own = vr_new0(w->l.n, sizeof *w->own);
    if (!w->own[i].n && qcow2_allocated(l->path, &w->own[i], err) < 0)
        return -1;
    extents_align(&w->own[i], VR_BLOCK_SIZE, l->size);
    return extents_contains(&w->own[i], at, tables_block_bytes(block, l->size));
}

/* The next layer above @i that covers the block: its index, -1 none, -2 error. */
static int cover(struct view *w, int i, uint64_t block, struct vr_err *err)
{
    while (--i >= 0) {
        int rc = covers(w, (size_t)i, block, err);
        if (rc != 0)
            return rc < 0 ? -2 : i;
    }
    return -1;
}

/* ---- points and the layers they show ---- */

struct shown_point {
    int64_t seq;
    bool quarantined; /* and may be lifted */
    bool hit;
    uint64_t bad;
};

struct shown {
    struct shown_point *v;
    size_t n;
};

static int load_shown(struct store *st, const struct vr_uuid *machine, struct shown *ret,
                      struct vr_err *err)
{
    vr_auto(db_rows_free) struct db_rows *r =
        db_select(st->db, err,
                  "SELECT p.seq, ifnull(q.quarantine = ? AND q.sticky = 0, 0) FROM point p"
                  " LEFT JOIN proof q ON q.point = p.seq WHERE p.machine = ? AND p.listed = 1"
                  " ORDER BY p.seq",
                  "iu", (int64_t)STORE_QUARANTINED, machine);
    int rc = r ? 1 : -1;
    while (rc > 0 && (rc = db_step(r, err)) > 0) {
        ret->v = vr_grow(ret->v, ret->n + 1, sizeof *ret->v);
        ret->v[ret->n++] =
            (struct shown_point){ .seq = db_int(r, 0), .quarantined = db_int(r, 1) != 0 };
    }
    return rc;
}

/* Whether a point whose top layer is @top, on a branch beside the newest point, shows @layer for a
 * block: 1, 0, -1 error. */
static int shows_beside(struct store *st, const char *target, int64_t top, int64_t layer,
                        uint64_t block, struct vr_err *err)
{
    vr_autoview struct view w = { .logs = NULL };
    snprintf(w.target, sizeof w.target, "%s", target);
    if (layers_below(st->db, top, &w.l, err) < 0)
        return -1;
    w.logs = vr_new0(w.l.n, sizeof *w.logs);
    int i = index_of(&w, layer);
    int above = i < 0 ? 0 : cover(&w, i, block, err);
    return above == -2 ? -1 : above == -1;
}

/* Mark the points that show @layer for a block: it is layer @i of @w (-1: on a branch beside), and
 * layer @above covers it there; how many, or -1. */
static int mark(struct store *st, struct view *w, struct shown *s, int64_t layer, int above, int i,
                uint64_t block, struct vr_err *err)
{
    int hits = 0;
    for (size_t k = 0; k < s->n; k++) {
        int64_t top = 0;
        int rc = point_top_if(st->db, s->v[k].seq, w->target, &top, err);
        if (rc < 0)
            return -1;
        if (rc == 0) /* a point without the disk */
            continue;
        int at = index_of(w, top);
        int hit =
            at >= 0 ? at > above && at <= i : shows_beside(st, w->target, top, layer, block, err);
        if (hit < 0)
            return -1;
        if (!hit)
            continue;
        s->v[k].hit = true;
        s->v[k].bad++;
        hits++;
    }
    return hits;
}

/* What is known already stays as somebody left it: released, acknowledged. */
static int quarantine(struct store *st, int64_t seq, uint64_t bad, bool sticky, struct wall_us now,
                      struct store_noted *noted, struct vr_err *err)
{
    int64_t had = 0;
    if (db_one_int(st->db, &had, err,
                   "SELECT bad FROM proof WHERE point = ? AND quarantine IN (?, ?)", "iii", seq,
                   (int64_t)STORE_QUARANTINED, (int64_t)STORE_RELEASED) < 0)
        return -1;
    if ((uint64_t)had >= bad)
        return 0;
    noted->points += had == 0;
    return db_run(st->db, err,
                  "INSERT INTO proof(point, quarantine, sticky, since, bad)"
                  " SELECT seq, ?, ?, ?, ? FROM point WHERE seq = ? ON CONFLICT(point) DO UPDATE "
                  "SET quarantine = excluded.quarantine,"
                  " sticky = max(sticky, excluded.sticky), bad = excluded.bad,"
                  " since = excluded.since, acknowledged = 0, how = 0, verified = 0",
                  "iiiii", (int64_t)STORE_QUARANTINED, (int64_t)sticky, now.us, (int64_t)bad, seq);
}

/* A block may be known already: from the last reading, or because the layer held something else
 * that was wrong before a merge or a repair. What the newest point shows is news in any case. */
static int put_damage(struct store *st, const struct vr_uuid *machine, const struct store_bad *b,
                      int64_t layer, bool wanted, struct wall_us now, struct store_noted *noted,
                      struct vr_err *err)
{
    int64_t had = 0;
    int rc = db_one_int(st->db, &had, err,
                        "SELECT wanted FROM damage WHERE machine = ? AND target = ? AND layer = ?"
                        " AND block = ?",
                        "usii", machine, b->target, layer, (int64_t)b->block);
    if (rc < 0)
        return -1;
    bool news = rc == 0 || (wanted && !had);
    noted->blocks += news;
    noted->wanted += news && wanted;
    return db_run(st->db, err,
                  "INSERT INTO damage(machine, target, layer, block, found, wanted)"
                  " VALUES(?,?,?,?,?,?) ON CONFLICT(machine, target, layer, block) DO UPDATE"
                  " SET wanted = max(wanted, excluded.wanted), lost = 0",
                  "usiiii", machine, b->target, layer, (int64_t)b->block, now.us, (int64_t)wanted);
}

/* ---- what was found ---- */

/* A block that is wrong in a layer, 0: in no layer that is known. */
struct verdict {
    const struct store_bad *bad;
    int64_t layer;
    bool wanted;
};

struct finding {
    struct store *st;
    const struct damage *d;
    int64_t newest;
    struct shown shown;
    uint64_t here; /* blocks that count for point @d->seq alone */
    struct verdict *v;
    size_t n;
};

static void finding_done(struct finding *f)
{
    free(f->shown.v);
    free(f->v);
}

/* The layer whose content is wrong: index in @w, -1 unknown, -2 error. */
static int guilty(const struct finding *f, struct view *w, const struct store_bad *b,
                  struct vr_err *err)
{
    if (f->d->layer)
        return index_of(w, f->d->layer);
    int64_t top = 0;
    if (!b->rot)
        return -1;
    if (point_top(f->st->db, f->d->seq, b->target, &top, err) < 0)
        return -2;
    int at = index_of(w, top);
    return at < 0 ? -1 : giver(w, (size_t)at, b->block, err);
}

static void judge(struct finding *f, const struct store_bad *b, int64_t layer, bool wanted)
{
    f->v[f->n++] = (struct verdict){ .bad = b, .layer = layer, .wanted = wanted };
}

static int look_at(struct finding *f, struct view *w, const struct store_bad *b, struct vr_err *err)
{
    int i = guilty(f, w, b, err);
    if (i == -2)
        return -1;
    if (i < 0 && !f->d->layer) {
        f->here++;
        judge(f, b, 0, true);
        return 0;
    }
    int64_t layer = i < 0 ? f->d->layer : w->l.v[i].id;
    int above = i < 0 ? -1 : cover(w, i, b->block, err);
    int shown = above == -2 ? -1 : mark(f->st, w, &f->shown, layer, above, i, b->block, err);
    if (shown > 0) /* else nobody sees it: it is covered, and goes with the next merge */
        judge(f, b, layer, i >= 0 && above < 0);
    return shown < 0 ? -1 : 0;
}

static int look(struct finding *f, struct vr_err *err)
{
    vr_autoview struct view w = { .logs = NULL };
    const struct store_bad_list *bad = f->d->bad;
    f->v = vr_new0(bad->n, sizeof *f->v);
    for (size_t i = 0; i < bad->n; i++) {
        const struct store_bad *b = &bad->v[i];
        if (strcmp(w.target, b->target) != 0) {
            view_done(&w);
            if (view_open(f->st, f->newest, b->target, &w, err) < 0)
                return -1;
        }
        if (look_at(f, &w, b, err) < 0)
            return -1;
    }
    return 0;
}

static int put(const struct finding *f, struct wall_us now, struct store_noted *noted,
               struct vr_err *err)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct verdict *v = &f->v[i];
        if (put_damage(f->st, f->d->machine, v->bad, v->layer, v->wanted, now, noted, err) < 0)
            return -1;
    }
    for (size_t k = 0; k < f->shown.n; k++) {
        const struct shown_point *p = &f->shown.v[k];
        uint64_t n = p->bad + (p->seq == f->d->seq ? f->here : 0);
        bool sticky = p->seq == f->d->seq && f->here;
        if (n && quarantine(f->st, p->seq, n, sticky, now, noted, err) < 0)
            return -1;
    }
    return 0;
}

int damage_found(struct store *st, const struct damage *d, struct wall_us now,
                 struct store_noted *ret, struct vr_err *err)
{
    __attribute__((cleanup(finding_done))) struct finding f = { .st = st, .d = d };
    int rc = point_newest(st->db, d->machine, &f.newest, NULL, err);
    if (rc <= 0)
        return rc;
    if (load_shown(st, d->machine, &f.shown, err) < 0 || look(&f, err) < 0)
        return -1;
    if (d->hold->stale) /* since it was looked at */
        return vr_fail(err, VR_E_CANCELLED, 0, "the machine changed its role meanwhile");
    struct store_noted noted = { 0 };
    if (store_begin(st, "damage", err) < 0 ||
        store_end(st, "damage", put(&f, now, &noted, err), err) < 0)
        return -1;
    *ret = noted;
    return 0;
}

/* ---- what is known to be wrong in layers ---- */

struct flaw {
    char target[VR_TARGET_MAX];
    int64_t layer;
    uint64_t block;
};

struct flaws {
    struct flaw *v;
    size_t n;
};

static int load_flaws(struct store *st, const struct vr_uuid *machine, struct flaws *ret,
                      struct vr_err *err)
{
    vr_auto(db_rows_free) struct db_rows *r =
        db_select(st->db, err,
                  "SELECT target, layer, block FROM damage WHERE machine = ? AND layer > 0"
                  " ORDER BY target",
                  "u", machine);
    int rc = r ? 1 : -1;
    while (rc > 0 && (rc = db_step(r, err)) > 0) {
        if (ret->n % 64 == 0)
            ret->v = vr_grow(ret->v, ret->n + 64, sizeof *ret->v);
        struct flaw *w = &ret->v[ret->n++];
        *w = (struct flaw){ .layer = db_int(r, 1), .block = (uint64_t)db_int(r, 2) };
        snprintf(w->target, sizeof w->target, "%s", db_text(r, 0));
    }
    return rc;
}

static int mark_flaws(struct store *st, int64_t newest, const struct flaws *all, struct shown *s,
                      struct vr_err *err)
{
    vr_autoview struct view w = { .logs = NULL };
    for (size_t k = 0; k < all->n; k++) {
        const struct flaw *f = &all->v[k];
        if (strcmp(w.target, f->target) != 0) {
            view_done(&w);
            if (view_open(st, newest, f->target, &w, err) < 0)
                return -1;
        }
        int i = index_of(&w, f->layer);
        int above = i >= 0 ? cover(&w, i, f->block, err) : -1;
        if (above == -2 || mark(st, &w, s, f->layer, above, i, f->block, err) < 0)
            return -1;
    }
    return 0;
}

static int lift(struct store *st, const struct shown *s, size_t *ret_points, struct vr_err *err)
{
    for (size_t k = 0; k < s->n; k++) {
        if (!s->v[k].quarantined || s->v[k].hit)
            continue;
        if (db_run(st->db, err, "UPDATE proof SET quarantine = ? WHERE point = ?", "ii",
                   (int64_t)STORE_REPAIRED, s->v[k].seq) < 0)
            return -1;
        ++*ret_points;
    }
    return 0;
}

int quarantine_review(struct store *st, const struct vr_uuid *machine, size_t *ret_points,
                      struct vr_err *err)
{
    struct shown s = { NULL };
    struct flaws all = { NULL };
    int64_t newest = 0;
    int rc = point_newest(st->db, machine, &newest, NULL, err);
    if (rc <= 0)
        return rc;
    rc = load_flaws(st, machine, &all, err);
    if (rc == 0)
        rc = load_shown(st, machine, &s, err);
    if (rc == 0)
        rc = mark_flaws(st, newest, &all, &s, err);
    if (rc == 0)
        rc = store_begin(st, "review", err);
    if (rc == 0)
        rc = store_end(st, "review", lift(st, &s, ret_points, err), err);
    free(s.v);
    free(all.v);
    return rc;
}

/* Found while the point was on its way, after its sender had been told what to send: the point
 * below shows it, and so does this one. No table is asked: this is inside a transaction. */
int proof_committed(struct store *st, const struct store_stage *sg, int64_t seq, struct vr_err *err)
{
    struct wall_us found = { 0 };
    struct store_noted noted = { 0 };
    uint64_t late = 0;
    bool sticky = false;
    for (size_t i = 0; i < sg->n_disks; i++) {
        vr_auto(db_rows_free) struct db_rows *r =
            db_select(st->db, err,
                      "SELECT block, layer, found FROM damage WHERE machine = ? AND target = ?"
                      " AND wanted = 1",
                      "us", &sg->machine, sg->disks[i].target);
        int rc = r ? 1 : -1;
        while (rc > 0 && (rc = db_step(r, err)) > 0) {
            if (extents_contains(&sg->disks[i].wanted, (uint64_t)db_int(r, 0) * VR_BLOCK_SIZE, 1))
                continue;
            late++;
            sticky |= db_int(r, 1) == 0;
            found.us = db_int(r, 2) > found.us ? db_int(r, 2) : found.us;
        }
        if (rc < 0)
            return -1;
    }
    return late ? quarantine(st, seq, late, sticky, found, &noted, err) : 0;
}

/* ---- saving ---- */

static int save_clean(struct store *st, const struct store_verify_input *v,
                      enum store_proof_how how, struct wall_us now, struct vr_err *err)
{
    if (v->digest[0] && db_run(st->db, err, "UPDATE point SET digest = ? WHERE seq = ?", "si",
                               v->digest, v->seq) < 0)
        return -1;
    if (how == STORE_PROOF_NONE)
        return 0;
    /* Proven by the primary stays so when the tables say the same later. */
    return db_run(st->db, err,
                  "INSERT INTO proof(point, verified, how) SELECT seq, ?, ? FROM point"
                  " WHERE seq = ? ON CONFLICT(point) DO UPDATE SET verified = excluded.verified,"
                  " how = max(how, excluded.how)",
                  "iii", now.us, (int64_t)how, v->seq);
}

int store_verify_save(struct store *st, const struct store_verify_input *v,
                      enum store_proof_how how, struct wall_us now, struct store_noted *ret,
                      struct vr_err *err)
{
    if (ret)
        *ret = (struct store_noted){ 0 };
    if (v->hold->stale)
        return vr_fail(err, VR_E_CANCELLED, 0, "the machine changed its role meanwhile");
    if (v->bad.n) {
        struct store_noted noted = { 0 };
        const struct damage d = {
            .machine = &v->machine, .bad = &v->bad, .hold = v->hold, .seq = v->seq
        };
        return damage_found(st, &d, now, ret ? ret : &noted, err);
    }
    if (store_begin(st, "proof", err) < 0)
        return -1;
    return store_end(st, "proof", save_clean(st, v, how, now, err), err);
}

/* ---- single points ---- */

static int one(struct store *st, const struct vr_uuid *machine, const struct vr_point_id *p,
               bool listed_only, int64_t *ret, struct vr_err *err)
{
    char name[64];
    int rc = point_seq(st->db, machine, p, listed_only, ret, err);
    if (rc == 0)
        return vr_fail(err, VR_E_NOTFOUND, 0, "%s has no recovery point of epoch %llu any more",
                       machine_name(machine, name), (unsigned long long)p->epoch);
    return rc < 0 ? -1 : 0;
}

int store_proof_booted(struct store *st, const struct vr_uuid *machine, const struct vr_point_id *p,
                       struct wall_us now, struct vr_err *err)
{
    int64_t seq = 0;
    if (one(st, machine, p, false, &seq, err) < 0 || store_begin(st, "booted", err) < 0)
        return -1;
    int rc = db_run(st->db, err,
                    "INSERT INTO proof(point, booted) VALUES(?,?)"
                    " ON CONFLICT(point) DO UPDATE SET booted = excluded.booted",
                    "ii", seq, now.us);
    return store_end(st, "booted", rc, err);
}

int store_proof_release(struct store *st, const struct vr_uuid *machine,
                        const struct vr_point_id *p, struct vr_err *err)
{
    int64_t seq = 0;
    if (one(st, machine, p, true, &seq, err) < 0 || store_begin(st, "release", err) < 0)
        return -1;
    int rc =
        db_run(st->db, err, "UPDATE proof SET quarantine = ? WHERE point = ? AND quarantine = ?",
               "iii", (int64_t)STORE_RELEASED, seq, (int64_t)STORE_QUARANTINED);
    return store_end(st, "release", rc, err);
}

int store_proof_acknowledge(struct store *st, const struct vr_uuid *machine, struct vr_err *err)
{
    if (store_begin(st, "acknowledge", err) < 0)
        return -1;
    int rc = db_run(st->db, err,
                    "UPDATE proof SET acknowledged = 1 WHERE quarantine <> 0 AND point IN"
                    " (SELECT seq FROM point WHERE machine = ?)",
                    "u", machine);
    return store_end(st, "acknowledge", rc, err);
}

/* ---- what the sender is asked for ---- */

int proof_wanted(struct store *st, const struct vr_uuid *machine, const char *target, uint64_t size,
                 struct extents *ret, struct vr_err *err)
{
    vr_auto(db_rows_free) struct db_rows *r =
        db_select(st->db, err,
                  "SELECT DISTINCT block FROM damage WHERE machine = ? AND target = ?"
                  " AND wanted = 1",
                  "us", machine, target);
    int rc = r ? 1 : -1;
    while (rc > 0 && (rc = db_step(r, err)) > 0) {
        uint64_t block = (uint64_t)db_int(r, 0);
        if (tables_block_bytes(block, size))
            extents_add(ret, block * VR_BLOCK_SIZE, tables_block_bytes(block, size));
    }
    return rc;
}

int proof_look(struct store *st, const struct vr_uuid *machine, const struct layer_row *l,
               struct extents *ret, struct vr_err *err)
{
    __attribute__((cleanup(extents_done))) struct extents wanted = { 0 };
    if (proof_wanted(st, machine, l->target, l->size, &wanted, err) < 0)
        return -1;
    if (!wanted.n)
        return 0;
    TOUCHES_FILES;
    vr_auto(digestlog_free) struct digestlog *log = NULL;
    if (digestlog_open(l->digests, l->size, false, &log, err) < 0)
        return -1;
    for (size_t i = 0; i < wanted.n; i++) {
        uint64_t at = wanted.v[i].offset / VR_BLOCK_SIZE;
        uint64_t end = (wanted.v[i].offset + wanted.v[i].length - 1) / VR_BLOCK_SIZE;
        for (; at <= end; at++) {
            struct vr_digest d;
            int rc = digestlog_get(log, at, &d, err);
            if (rc < 0)
                return -1;
            if (rc > 0)
                extents_add(ret, at * VR_BLOCK_SIZE, VR_BLOCK_SIZE);
        }
    }
    return 0;
}

int proof_received(struct store *st, const struct vr_uuid *machine, const char *target,
                   const struct extents *got, struct vr_err *err)
{
    if (!got->n)
        return 0;
    for (size_t i = 0; i < got->n; i++) {
        int64_t from = (int64_t)(got->v[i].offset / VR_BLOCK_SIZE);
        int64_t end = from + (int64_t)(got->v[i].length / VR_BLOCK_SIZE);
        if (db_run(st->db, err,
                   "UPDATE damage SET wanted = 0 WHERE machine = ? AND target = ?"
                   " AND block >= ? AND block < ?",
                   "usii", machine, target, from, end) < 0)
            return -1;
    }
    /* Of what no layer is guilty, nothing is left to do. */
    return db_run(st->db, err, "DELETE FROM damage WHERE machine = ? AND layer = 0 AND wanted = 0",
                  "u", machine);
}
