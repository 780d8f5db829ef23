/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Repair of a rotten layer by a new one over it:
 *
 *     rotten <- above        becomes        rotten <- repair <- above
 *
 * The right bytes are those of any other layer of the disk, on whatever branch, whose table has the
 * same digest at the same block. docs/decisions/0007-proof.md has the steps and what a crash
 * leaves. The hold is that of a merge: both change layers, and whatever wants the chain at rest
 * stops both. */
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "store/img.h"
#include "store/proof_int.h"
#include "store/scan.h"
#include "store/tables.h"
#include "transfer/blockread.h"

enum fate { FATE_LOST, FATE_LATER, FATE_SOUND, FATE_REPAIRED };

struct item {
    uint64_t block;
    enum fate fate;
};

struct source {
    struct layer_row row; /* may lack a table */
    struct digestlog *log;
    struct vnbd *nbd; /* opened when it is wanted */
    bool broken;      /* cannot be read */
};

struct store_repair {
    struct hold *hold;
    const struct fsops *fs;
    int lock_fd;
    struct vr_uuid machine;
    struct layer_row rotten, fresh; /* fresh.id 0 until it is in the database */
    int64_t above; /* a layer that stands on it, 0: none, it is the last one of a branch */
    bool forked;   /* two branches stand on it or on what stands on it */
    struct item *items;
    size_t n;
    struct source *others; /* all other layers of the disk, the youngest first */
    size_t n_others;
    bool done;
};

static void repair_free(struct store_repair *r)
{
    for (size_t i = 0; i < r->n_others; i++) {
        layer_row_done(&r->others[i].row);
        digestlog_free(r->others[i].log);
        vnbd_close(r->others[i].nbd);
    }
    free(r->others);
    free(r->items);
    layer_row_done(&r->rotten);
    layer_row_done(&r->fresh);
    hold_release(r->hold);
    free(r);
}
VR_DEFINE_CLEANUP(struct store_repair, repair_free)

/* ---- choosing ---- */

static int forget_gone(struct store *st, const struct vr_uuid *machine, struct vr_err *err)
{
    return db_run(st->db, err,
                  "DELETE FROM damage WHERE machine = ? AND layer > 0"
                  " AND layer NOT IN (SELECT id FROM layer)",
                  "u", machine);
}

static int load_items(struct store *st, struct store_repair *r, struct vr_err *err)
{
    vr_auto(db_rows_free) struct db_rows *rows =
        db_select(st->db, err,
                  "SELECT block FROM damage WHERE machine = ? AND target = ? AND layer = ?"
                  " AND wanted = 0 AND lost = 0 ORDER BY block",
                  "usi", &r->machine, r->rotten.target, r->rotten.id);
    int rc = rows ? 1 : -1;
    while (rc > 0 && (rc = db_step(rows, err)) > 0) {
        r->items = vr_grow(r->items, r->n + 1, sizeof *r->items);
        r->items[r->n++] = (struct item){ .block = (uint64_t)db_int(rows, 0) };
    }
    return rc;
}

/* A layer that stands on @layer, NULL: none. *ret_two: another one does, too. */
static struct source *standing_on(const struct store_repair *r, int64_t layer, bool *ret_two)
{
    struct source *found = NULL;
    for (size_t i = 0; i < r->n_others; i++) {
        if (r->others[i].row.below != layer)
            continue;
        *ret_two |= found != NULL;
        found = &r->others[i];
    }
    return found;
}

/* Is it the newest point's own layer, or does a point on its way stand on it? 1, 0, -1 error. */
static int is_newest(struct store *st, const struct store_repair *r, struct vr_err *err)
{
    int64_t newest = 0, top = 0, other = 0;
    int rc = point_newest(st->db, &r->machine, &newest, NULL, err);
    if (rc <= 0)
        return rc < 0 ? -1 : 1;
    /* The newest point may lack a disk that older ones have. */
    if (point_top_if(st->db, newest, r->rotten.target, &top, err) < 0 ||
        db_one_int(st->db, &other, err, "SELECT count(*) FROM layer WHERE below = ? AND role <> ?",
                   "ii", r->rotten.id, (int64_t)ROLE_CHAIN) < 0)
        return -1;
    return top == r->rotten.id || other > 0;
}

/* 1, 0: nothing may be put over it, -1 error. */
static int load_others(struct store *st, struct store_repair *r, struct vr_err *err)
{
    vr_autolayers struct layers l = { 0 };
    int rc = is_newest(st, r, err);
    if (rc != 0 || layers_role(st->db, &r->machine, ROLE_CHAIN, &l, err) < 0)
        return rc > 0 ? 0 : -1;
    r->others = vr_new0(l.n ? l.n : 1, sizeof *r->others);
    for (size_t i = l.n; i-- > 0;) {
        if (l.v[i].id == r->rotten.id || strcmp(l.v[i].target, r->rotten.target) != 0)
            continue;
        r->others[r->n_others++].row = l.v[i];
        l.v[i] = (struct layer_row){ 0 }; /* taken over */
    }
    const struct source *s = standing_on(r, r->rotten.id, &r->forked);
    r->above = s ? s->row.id : 0;
    while (s)
        s = standing_on(r, s->row.id, &r->forked);
    return 1;
}

static int name_fresh(struct store *st, struct store_repair *r, const struct chain_row *c,
                      struct vr_err *err)
{
    int64_t n = 0;
    struct layer_row *f = &r->fresh;
    if (store_file_number(st, c->folder, &n, err) < 0)
        return -1;
    snprintf(f->target, sizeof f->target, "%s", r->rotten.target);
    snprintf(f->format, sizeof f->format, "qcow2");
    f->path = vr_printf("%s/%s.%lld.qcow2", c->folder, f->target, (long long)n);
    f->digests = vr_printf("%s/%s.%lld.digests", c->folder, f->target, (long long)n);
    f->size = r->rotten.size;
    f->below = r->rotten.id;
    f->known = KNOWN_LAYER;
    return trash_add(st, f->path, TRASH_MAKING, err) < 0 ||
                   trash_add(st, f->digests, TRASH_MAKING, err) < 0
               ? -1
               : 0;
}

static int choose(struct store *st, const struct vr_uuid *machine, int64_t layer,
                  const struct chain_row *c, struct store_repair **ret, struct vr_err *err)
{
    vr_auto(repair_free) struct store_repair *r = vr_new(struct store_repair);
    r->machine = *machine;
    r->fs = st->fs;
    r->lock_fd = st->lock_fd;
    if (layer_load(st->db, layer, &r->rotten, err) < 0)
        return -1;
    if (!r->rotten.digests) /* a merge took its table: nobody can tell what is right */
        return 0;
    int rc = load_others(st, r, err);
    if (rc <= 0 || load_items(st, r, err) < 0)
        return rc <= 0 ? rc : -1;
    store_look_numbers(st, c->folder);
    if (store_begin(st, "repair-making", err) < 0 ||
        store_end(st, "repair-making", name_fresh(st, r, c, err), err) < 0)
        return -1;
    r->hold = hold_new(st, HOLD_MERGE, machine, 0);
    *ret = vr_take(r);
    return 1;
}

/* ---- repairs that failed since the store was opened, the last one at the end ---- */

static int has_failed(const struct store *st, int64_t layer)
{
    for (size_t i = 0; i < st->n_failed; i++)
        if (st->failed[i] == layer)
            return 1;
    return 0;
}

static void note_end(struct store *st, int64_t layer, bool failed)
{
    size_t kept = 0;
    for (size_t i = 0; i < st->n_failed; i++)
        if (st->failed[i] != layer)
            st->failed[kept++] = st->failed[i];
    st->n_failed = kept;
    if (failed) {
        st->failed = vr_grow(st->failed, kept + 1, sizeof *st->failed);
        st->failed[st->n_failed++] = layer;
    }
}

int store_repair_prepare(struct store *st, const struct vr_uuid *machine, struct store_repair **ret,
                         struct vr_err *err)
{
    vr_autochain struct chain_row c = { 0 };
    *ret = NULL;
    if (chain_load(st, machine, &c, err) < 0)
        return -1;
    if (c.state != CHAIN_REPLICA || hold_find(st, HOLD_MERGE, machine))
        return 0;
    if (merges_settle(st, machine, err) < 0 || forget_gone(st, machine, err) < 0)
        return -1;
    vr_auto(db_rows_free) struct db_rows *rows =
        db_select(st->db, err,
                  "SELECT DISTINCT layer FROM damage WHERE machine = ? AND layer > 0"
                  " AND wanted = 0 AND lost = 0",
                  "u", machine);
    int rc = rows ? 1 : -1;
    int64_t *v = NULL;
    size_t n = 0;
    while (rc > 0 && (rc = db_step(rows, err)) > 0) {
        v = vr_grow(v, n + 1, sizeof *v);
        v[n++] = db_int(rows, 0);
    }
    db_rows_free(vr_take(rows));
    /* One that failed stands behind the others. */
    for (int failed = 0; failed < 2; failed++)
        for (size_t i = 0; rc == 0 && !*ret && i < n; i++)
            if (has_failed(st, v[i]) == failed && choose(st, machine, v[i], &c, ret, err) < 0)
                rc = -1;
    free(v);
    return rc;
}

/* ---- finding and writing the right bytes ---- */

struct one {
    uint8_t *data; /* a block */
    bool read;
};

static int on_one(void *ctx, uint64_t block, const uint8_t *data, size_t n, struct vr_err *err)
{
    struct one *o = ctx;
    (void)block;
    (void)err;
    if (data)
        memcpy(o->data, data, n);
    o->read = data != NULL;
    return 0;
}

/* Block @block as the image shows it, in @to: 1, 0 it cannot be read, -1 error. */
static int read_one(struct store_repair *r, struct source *s, uint64_t block, uint8_t *to,
                    struct vr_err *err)
{
    if (!s->nbd && image_open(s->row.path, s->row.format, &r->hold->cancel, &s->nbd, err) < 0)
        return -1;
    struct one o = { .data = to, .read = true };
    memset(to, 0, VR_BLOCK_SIZE);
    struct blockread b = {
        .nbd = s->nbd, .cancel = &r->hold->cancel, .tolerant = true, .fn = on_one, .ctx = &o
    };
    return blockread_run(&b, block, block + 1, err) < 0 ? -1 : o.read;
}

static bool is(const uint8_t *data, uint64_t n, const struct vr_digest *want)
{
    struct vr_digest d = vr_digest_block(data, (size_t)n);
    return memcmp(&d, want, sizeof d) == 0;
}

static bool has_table(const struct source *s)
{
    return s->row.known != KNOWN_NONE && s->row.digests;
}

/* What the table of a layer that has one says of a block: 1, 0 nothing, -1 error. */
static int table_says(struct source *s, uint64_t block, struct vr_digest *ret, struct vr_err *err)
{
    if (!s->log && digestlog_open(s->row.digests, 0, false, &s->log, err) < 0)
        return -1;
    return digestlog_get(s->log, block, ret, err);
}

/* The bytes that @s has of a block, if they are the right ones: 1, 0, -1 error. */
static int take_from(struct store_repair *r, struct source *s, uint64_t block,
                     const struct vr_digest *want, uint8_t *to, struct vr_err *err)
{
    struct vr_digest has;
    int rc = table_says(s, block, &has, err);
    if (rc > 0 && memcmp(&has, want, sizeof has) != 0)
        return 0;
    if (rc > 0)
        rc = read_one(r, s, block, to, err);
    return rc > 0 ? is(to, tables_block_bytes(block, r->rotten.size), want) : rc;
}

/* The right bytes of a block, in @to: 1, 0 nobody has them, -1 error. A layer that cannot be read
 * keeps the others from nothing. */
static int find_bytes(struct store_repair *r, uint64_t block, const struct vr_digest *want,
                      uint8_t *to, struct vr_err *err)
{
    for (size_t i = 0; i < r->n_others; i++) {
        struct source *s = &r->others[i];
        struct vr_err e = VR_ERR_INIT;
        if (!has_table(s) || s->broken)
            continue;
        int rc = take_from(r, s, block, want, to, &e);
        if (rc > 0)
            return 1;
        if (rc == 0)
            continue;
        if (atomic_load(&r->hold->cancel))
            return vr_fail(err, VR_E_CANCELLED, 0, "the repair was called off");
        s->broken = true;
        vr_err_wrap(&e, "looking for the right bytes in %s", s->row.path);
        vr_log_err(VR_LOG_WARN, "repair", &e);
    }
    return 0;
}

/* Who could not be read may have them, and may be read another time. */
static bool any_broken(const struct store_repair *r)
{
    for (size_t i = 0; i < r->n_others; i++)
        if (r->others[i].broken)
            return true;
    return false;
}

/* The highest layer through which the rotten one's block is seen, NULL: itself. For layers that
 * do not fork. */
static int last_uncovered(struct store_repair *r, uint64_t block, struct source **ret,
                          struct vr_err *err)
{
    bool two = false;
    struct source *s = standing_on(r, r->rotten.id, &two);
    for (; s; s = standing_on(r, s->row.id, &two)) {
        struct vr_digest d;
        if (!has_table(s))
            continue;
        int rc = table_says(s, block, &d, err);
        if (rc != 0)
            return rc < 0 ? -1 : 0;
        *ret = s;
    }
    return 0;
}

struct writing {
    struct vnbd *nbd;
    struct digestlog *log;
    int error;
};

static void on_done(void *ctx, int error)
{
    struct writing *w = ctx;
    if (error)
        w->error = error;
}

static int settle(struct writing *w, const char *path, struct vr_err *err)
{
    while (vnbd_in_flight(w->nbd))
        if (vnbd_wait(&w->nbd, 1, -1, 200, err) < 0)
            return -1;
    return w->error ? vr_fail(err, vr_kind_from_errno(w->error), w->error, "writing %s", path) : 0;
}

static int repair_block(struct store_repair *r, struct source *self, struct writing *w,
                        struct item *it, uint8_t *data, struct vr_err *err)
{
    struct vr_digest want;
    uint64_t bytes = tables_block_bytes(it->block, r->rotten.size);
    int rc = digestlog_get(self->log, it->block, &want, err);
    if (rc <= 0) {
        it->fate = FATE_SOUND; /* it no longer says anything about this block */
        return rc;
    }
    rc = read_one(r, self, it->block, data, err);
    if (rc > 0 && is(data, bytes, &want)) {
        /* A merge has covered it since; or what is wrong comes from a layer above that says that it
         * does not hold the block: that cannot be repaired below. Which branch showed it is not
         * known, so of two none is released. */
        struct source *shown = NULL;
        it->fate = FATE_LOST;
        if (r->forked)
            return 0;
        if (last_uncovered(r, it->block, &shown, err) < 0)
            return -1;
        if (shown && (rc = read_one(r, shown, it->block, data, err)) < 0)
            return -1;
        if (rc > 0 && is(data, bytes, &want))
            it->fate = FATE_SOUND;
        return 0;
    }
    if (rc >= 0)
        rc = find_bytes(r, it->block, &want, data, err);
    if (rc == 0 && any_broken(r))
        it->fate = FATE_LATER;
    if (rc <= 0)
        return rc;
    struct digest_record rec = { .block = it->block, .digest = want };
    if (vnbd_write(w->nbd, data, (size_t)bytes, it->block * VR_BLOCK_SIZE, on_done, w, err) < 0 ||
        settle(w, r->fresh.path, err) < 0 || digestlog_set(w->log, &rec, 1, err) < 0)
        return -1;
    it->fate = FATE_REPAIRED;
    return 0;
}

static int write_all(struct store_repair *r, struct source *self, struct writing *w,
                     struct vr_err *err)
{
    vr_autofree uint8_t *data = vr_new0(1, VR_BLOCK_SIZE);
    for (size_t i = 0; i < r->n; i++)
        if (repair_block(r, self, w, &r->items[i], data, err) < 0)
            return -1;
    if (vnbd_flush(w->nbd, on_done, w, err) < 0 || settle(w, r->fresh.path, err) < 0)
        return -1;
    return digestlog_sync(w->log, err);
}

static int make_fresh(struct store_repair *r, struct vr_err *err)
{
    struct img im = { .fs = r->fs, .lock_fd = r->lock_fd, .cancel = &r->hold->cancel };
    struct img_ref below = { r->rotten.path, r->rotten.format };
    struct vnbd_config cfg = { .image = r->fresh.path, .writable = true, .connections = 1 };
    struct source self = { .row = r->rotten };
    struct writing w = { .error = 0 };
    int rc = img_create(&im, r->fresh.path, &below, r->fresh.size, err);
    if (rc == 0)
        rc = digestlog_open(r->rotten.digests, 0, false, &self.log, err);
    if (rc == 0)
        rc = digestlog_open(r->fresh.digests, r->fresh.size, true, &w.log, err);
    if (rc == 0)
        rc = vnbd_open(&cfg, &w.nbd, err);
    if (rc == 0)
        rc = write_all(r, &self, &w, err);
    vnbd_close(w.nbd);
    vnbd_close(self.nbd);
    digestlog_free(w.log);
    digestlog_free(self.log);
    return rc < 0 ? -1 : r->fs->sync_file(r->fs, r->fresh.path, err);
}

int store_repair_run(struct store_repair *r, struct vr_err *err)
{
    atomic_store(&r->hold->running, true);
    int rc = -1;
    if (atomic_load(&r->hold->cancel))
        vr_fail(err, VR_E_CANCELLED, 0, "the repair was called off");
    else
        rc = make_fresh(r, err);
    r->done = rc == 0;
    atomic_store(&r->hold->running, false);
    return rc < 0 ? vr_err_wrap(err, "repairing %s", r->rotten.path) : 0;
}

/* ---- the end, also run by recovery ---- */

/* The row goes last: what was cut before that is done again. That the quarantine cannot be looked
 * at keeps nobody from the chain, a failover least of all. */
static int complete(struct store *st, const struct vr_uuid *machine, size_t *ret_points,
                    struct vr_err *err)
{
    vr_autolayer struct layer_row fresh = { 0 };
    struct vr_err later = VR_ERR_INIT;
    int rc = chain_rests(st, machine, err);
    if (rc <= 0)
        return rc;
    vr_auto(db_rows_free) struct db_rows *r =
        db_select(st->db, err, "SELECT layer FROM repair WHERE machine = ?", "u", machine);
    rc = r ? db_step(r, err) : -1;
    if (rc <= 0)
        return rc;
    if (layer_load(st->db, db_int(r, 0), &fresh, err) < 0)
        return -1;
    db_rows_free(vr_take(r));
    if (rebase_all(st, machine, fresh.id, &fresh, err) < 0)
        return vr_err_wrap(err, "putting %s in its place", fresh.path);
    if (quarantine_review(st, machine, ret_points, &later) < 0)
        vr_log_err(VR_LOG_WARN, "repaired points stay quarantined", &later);
    if (store_begin(st, "repair-done", err) < 0)
        return -1;
    rc = db_run(st->db, err, "DELETE FROM repair WHERE machine = ?", "u", machine);
    return store_end(st, "repair-done", rc, err);
}

int repair_complete(struct store *st, const struct vr_uuid *machine, struct vr_err *err)
{
    size_t points = 0;
    return complete(st, machine, &points, err);
}

/* ---- putting it in ---- */

static size_t count(const struct store_repair *r, enum fate f)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++)
        n += r->items[i].fate == f;
    return n;
}

static int drop_fresh(struct store *st, const struct store_repair *r, struct vr_err *err)
{
    return trash_add(st, r->fresh.path, TRASH_DELETE, err) < 0 ||
                   trash_add(st, r->fresh.digests, TRASH_DELETE, err) < 0
               ? -1
               : 0;
}

static int put_layer(struct store *st, struct store_repair *r, struct vr_err *err)
{
    if (layer_add(st, &r->machine, &r->fresh, err) < 0 ||
        db_run(st->db, err, /* all branches that stand on it */
               "UPDATE layer SET below = ? WHERE below = ? AND role = ? AND id <> ?", "iiii",
               r->fresh.id, r->rotten.id, (int64_t)ROLE_CHAIN, r->fresh.id) < 0 ||
        db_run(st->db, err, "UPDATE point_disk SET layer = ? WHERE layer = ?", "ii", r->fresh.id,
               r->rotten.id) < 0 ||
        db_run(st->db, err, "INSERT INTO repair(machine, layer, above) VALUES(?,?,?)", "uii",
               &r->machine, r->fresh.id, r->above) < 0 ||
        trash_forget(st, r->fresh.path, err) < 0)
        return -1;
    return trash_forget(st, r->fresh.digests, err);
}

/* Rows of what was looked at. */
static int settle_rows(struct store *st, struct store_repair *r, bool put, struct vr_err *err)
{
    for (size_t i = 0; i < r->n; i++) {
        if (r->items[i].fate == FATE_LATER)
            continue;
        bool gone = r->items[i].fate != FATE_LOST;
        const char *sql = gone ? "DELETE FROM damage WHERE machine = ? AND target = ? AND layer = ?"
                                 " AND block = ?"
                               : "UPDATE damage SET lost = 1 WHERE machine = ? AND target = ?"
                                 " AND layer = ? AND block = ?";
        if (db_run(st->db, err, sql, "usii", &r->machine, r->rotten.target, r->rotten.id,
                   (int64_t)r->items[i].block) < 0)
            return -1;
    }
    return put ? put_layer(st, r, err) : drop_fresh(st, r, err);
}

/* Is the chain still as it was chosen? A point may have been given up, nothing else happens. */
static int unchanged(struct store *st, const struct store_repair *r, struct vr_err *err)
{
    int64_t n = 0;
    if (r->above)
        return db_one_int(st->db, &n, err,
                          "SELECT 1 FROM layer WHERE id = ? AND below = ? AND role = ?", "iii",
                          r->above, r->rotten.id, (int64_t)ROLE_CHAIN);
    return db_one_int(st->db, &n, err,
                      "SELECT 1 FROM layer AS l WHERE id = ? AND role = ?"
                      " AND NOT EXISTS(SELECT 1 FROM layer WHERE below = l.id)",
                      "ii", r->rotten.id, (int64_t)ROLE_CHAIN);
}

static int put_in(struct store *st, struct store_repair *r, size_t *ret_points, struct vr_err *err)
{
    bool put = count(r, FATE_REPAIRED) > 0;
    if (put && st->fs->sync_file(st->fs, r->fresh.digests, err) < 0)
        return -1;
    vr_autochain struct chain_row c = { 0 };
    if (chain_load(st, &r->machine, &c, err) < 0 ||
        (put && st->fs->sync_dir(st->fs, c.folder, err) < 0) ||
        store_begin(st, "repair", err) < 0 ||
        store_end(st, "repair", settle_rows(st, r, put, err), err) < 0)
        return -1;
    return put ? complete(st, &r->machine, ret_points, err)
               : quarantine_review(st, &r->machine, ret_points, err);
}

int store_repair_finish(struct store *st, struct store_repair *take, size_t *ret_blocks,
                        size_t *ret_points, struct vr_err *err)
{
    vr_auto(repair_free) struct store_repair *r = take;
    *ret_blocks = *ret_points = 0;
    size_t later = count(r, FATE_LATER);
    note_end(st, r->rotten.id, (!r->done || later) && !atomic_load(&r->hold->cancel));
    int rc = r->done && !atomic_load(&r->hold->cancel) ? unchanged(st, r, err) : 0;
    if (rc > 0) {
        rc = put_in(st, r, ret_points, err);
        if (rc == 0)
            *ret_blocks = count(r, FATE_REPAIRED);
        if (rc == 0 && later)
            rc = vr_fail(err, VR_E_IO, 0,
                         "%zu blocks of %s are not repaired yet: a layer that may have the right "
                         "bytes cannot be read",
                         later, r->rotten.path);
    } else if (rc == 0) {
        if (store_begin(st, "repair-dropped", err) < 0)
            return -1;
        rc = store_end(st, "repair-dropped", drop_fresh(st, r, err), err);
    }
    hold_release(vr_take(r->hold));
    trash_sweep(st, &r->machine);
    return rc < 0 ? -1 : 0;
}

int repair_recover(struct store *st, struct vr_err *err)
{
    return recover_machines(st, "SELECT machine FROM repair", repair_complete, err);
}
