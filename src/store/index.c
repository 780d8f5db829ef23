/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Digest tables for images that we did not receive: adopted ones and the overlays of a failover.
 * The newest point is read once as a whole; the table then describes the whole image and no table
 * below it counts. The file is in the trash (TRASH_MAKING) until its row names it. */
#include <string.h>

#include "base/alloc.h"
#include "store/scan.h"
#include "store/tables.h"

struct index_disk {
    int64_t layer;
    char *path, *table;
    char format[16];
    uint64_t size;
};

struct store_index {
    struct hold *hold;
    struct index_disk *disks;
    size_t n;
    bool done;
};

static void index_free(struct store_index *ix)
{
    for (size_t i = 0; i < ix->n; i++) {
        free(ix->disks[i].path);
        free(ix->disks[i].table);
    }
    free(ix->disks);
    hold_release(ix->hold);
    free(ix);
}
VR_DEFINE_CLEANUP(struct store_index, index_free)

/* Take a disk of the newest point when its tables do not know everything. */
static int add_disk(struct store *st, struct store_index *ix, const struct chain_row *c,
                    int64_t seq, const char *target, struct vr_err *err)
{
    int64_t top = 0, number = 0;
    vr_autolayers struct layers l = { 0 };
    if (point_top(st->db, seq, target, &top, err) < 0 || layers_below(st->db, top, &l, err) < 0)
        return -1;
    char **paths = NULL;
    size_t n = 0;
    bool complete = false;
    tables_paths(&l, &paths, &n, &complete);
    for (size_t i = 0; i < n; i++)
        free(paths[i]);
    free(paths);
    if (complete)
        return 0;
    if (store_file_number(st, &number, err) < 0)
        return -1;
    ix->disks = vr_grow(ix->disks, ix->n + 1, sizeof *ix->disks);
    struct index_disk *d = &ix->disks[ix->n++];
    *d = (struct index_disk){ .layer = top, .size = l.v[0].size };
    d->path = vr_strdup(l.v[0].path);
    d->table = vr_printf("%s/%s.%lld.digests", c->folder, target, (long long)number);
    snprintf(d->format, sizeof d->format, "%s", l.v[0].format);
    return trash_add(st, d->table, TRASH_MAKING, err);
}

static int add_disks(struct store *st, struct store_index *ix, const struct chain_row *c,
                     int64_t seq, struct vr_err *err)
{
    vr_autofree char(*t)[VR_TARGET_MAX] = NULL;
    size_t n = 0;
    if (chain_targets(st->db, &c->machine, &t, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (add_disk(st, ix, c, seq, t[i], err) < 0)
            return -1;
    return 0;
}

int store_index_prepare(struct store *st, const struct vr_uuid *machine, struct store_index **ret,
                        struct vr_err *err)
{
    vr_autochain struct chain_row c = { 0 };
    int64_t seq = 0;
    if (chain_load(st, machine, &c, err) < 0)
        return -1;
    int rc = point_newest(st->db, machine, &seq, NULL, err);
    if (rc < 0)
        return -1;
    *ret = NULL;
    if (rc == 0 || c.state != CHAIN_REPLICA)
        return 0;
    if (merges_settle(st, machine, err) < 0)
        return -1;
    vr_auto(index_free) struct store_index *ix = vr_new(struct store_index);
    if (store_begin(st, "index-making", err) < 0 ||
        store_end(st, "index-making", add_disks(st, ix, &c, seq, err), err) < 0)
        return -1;
    if (ix->n == 0)
        return 0;
    ix->hold = hold_new(st, HOLD_READ, machine, seq);
    *ret = vr_take(ix);
    return 0;
}

struct reading {
    struct digestlog *log;
    const atomic_bool *cancel;
};

static int on_block(void *ctx, uint64_t block, const uint8_t *data, size_t n, struct vr_err *err)
{
    struct reading *rd = ctx;
    if (rd->cancel && atomic_load(rd->cancel))
        return vr_fail(err, VR_E_CANCELLED, 0, "cancelled");
    struct digest_record r = { .block = block, .digest = vr_digest_block(data, n) };
    struct vr_digest zero = vr_digest_zero(n);
    if (!memcmp(zero.b, r.digest.b, sizeof zero.b))
        return 0;
    return digestlog_set(rd->log, &r, 1, err);
}

int store_index_run(struct store_index *ix, const atomic_bool *cancel, struct vr_err *err)
{
    for (size_t i = 0; i < ix->n; i++) {
        struct index_disk *d = &ix->disks[i];
        uint64_t size = 0;
        vr_auto(digestlog_free) struct digestlog *log = NULL;
        if (digestlog_open(d->table, d->size, true, &log, err) < 0)
            return vr_err_wrap(err, "indexing %s", d->path);
        struct reading rd = { log, cancel };
        struct image_scan what = { .path = d->path,
                                   .format = d->format,
                                   .cancel = &ix->hold->cancel,
                                   .fn = on_block,
                                   .ctx = &rd };
        if (image_scan(&what, &size, err) < 0 ||
            digestlog_sync(log, err) < 0)
            return vr_err_wrap(err, "indexing %s", d->path);
        if (size != d->size)
            return vr_fail(err, VR_E_CORRUPT, 0, "%s has %llu bytes instead of %llu", d->path,
                           (unsigned long long)size, (unsigned long long)d->size);
    }
    ix->done = true;
    return 0;
}

static int put(struct store *st, const struct index_disk *d, bool good, struct vr_err *err)
{
    int64_t here = 0;
    int rc = db_one_int(st->db, &here, err, "SELECT 1 FROM layer WHERE id = ?", "i", d->layer);
    if (rc < 0)
        return -1;
    if (rc == 0 || !good)
        return trash_add(st, d->table, TRASH_DELETE, err);
    vr_autolayer struct layer_row l = { 0 };
    if (layer_load(st->db, d->layer, &l, err) < 0 ||
        (l.digests && trash_add(st, l.digests, TRASH_DELETE, err) < 0) ||
        db_run(st->db, err, "UPDATE layer SET digests = ?, known = ? WHERE id = ?", "sii", d->table,
               (int64_t)KNOWN_FULL, d->layer) < 0)
        return -1;
    return trash_forget(st, d->table, err);
}

int store_index_finish(struct store *st, struct store_index *take, struct vr_err *err)
{
    if (!take)
        return 0;
    struct store_index *ix = take;
    int rc = store_begin(st, "index-done", err);
    if (rc == 0) {
        for (size_t i = 0; rc == 0 && i < ix->n; i++)
            rc = put(st, &ix->disks[i], ix->done, err);
        rc = store_end(st, "index-done", rc, err);
    }
    index_free(ix);
    if (rc == 0)
        trash_sweep(st);
    return rc;
}
