/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Digest tables for layers that we did not receive: adopted images and the overlays of a failover
 * that came back. Such a layer does not change while it is read (the hold keeps merges from it).
 * What lies at the bottom is read as a whole and its table then describes the whole image; of an
 * overlay only what it holds itself. The file is in the trash (TRASH_MAKING) until its row names
 * it. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "store/qcow2.h"
#include "store/scan.h"
#include "store/tables.h"
#include "transfer/blockread.h"

struct index_disk {
    int64_t layer;
    char target[VR_TARGET_MAX];
    char *path, *table;
    char format[16];
    uint64_t size;
    bool own;  /* only what the layer itself holds */
    bool done; /* the table is there and true */
};

struct store_index {
    struct hold *hold;
    struct index_disk *disks; /* layers, those of one disk from the top down */
    size_t n;
    uint64_t pace;
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

static int add_layer(struct store *st, struct store_index *ix, const struct chain_row *c,
                     const struct layer_row *l, bool own, struct vr_err *err)
{
    int64_t number = 0;
    if (store_file_number(st, c->folder, &number, err) < 0)
        return -1;
    ix->disks = vr_grow(ix->disks, ix->n + 1, sizeof *ix->disks);
    struct index_disk *d = &ix->disks[ix->n++];
    *d = (struct index_disk){ .layer = l->id, .size = l->size, .own = own };
    snprintf(d->target, sizeof d->target, "%s", l->target);
    snprintf(d->format, sizeof d->format, "%s", l->format);
    d->path = vr_strdup(l->path);
    d->table = vr_printf("%s/%s.%lld.digests", c->folder, l->target, (long long)number);
    return trash_add(st, d->table, TRASH_MAKING, err);
}

/* The layers at and below @top of which nothing is known, down to a table of the whole image. */
static int add_disk(struct store *st, struct store_index *ix, const struct chain_row *c,
                    int64_t top, struct vr_err *err)
{
    vr_autolayers struct layers l = { 0 };
    if (layers_below(st->db, top, &l, err) < 0)
        return -1;
    for (size_t i = 0; i < l.n && l.v[i].known != KNOWN_FULL; i++) {
        const struct layer_row *r = &l.v[i];
        /* Ours have clusters of a block. */
        bool own = r->below && !r->adopted && !strcmp(r->format, "qcow2");
        if (r->known == KNOWN_LAYER && r->digests)
            continue;
        if (add_layer(st, ix, c, r, own, err) < 0)
            return -1;
        if (!own)
            break;
    }
    return 0;
}

/* The newest point's layers; of a machine that runs on the chain, those below its disks. */
static int add_disks(struct store *st, struct store_index *ix, const struct chain_row *c,
                     int64_t seq, struct vr_err *err)
{
    if (c->state != CHAIN_REPLICA) {
        vr_autolayers struct layers l = { 0 };
        if (layers_role(st->db, &c->machine, ROLE_OVERLAY, &l, err) < 0)
            return -1;
        for (size_t i = 0; i < l.n; i++)
            if (add_disk(st, ix, c, l.v[i].below, err) < 0)
                return -1;
        return 0;
    }
    vr_autofree char(*t)[VR_TARGET_MAX] = NULL;
    size_t n = 0;
    if (point_targets(st->db, seq, &t, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        int64_t top = 0;
        if (point_top(st->db, seq, t[i], &top, err) < 0 || add_disk(st, ix, c, top, err) < 0)
            return -1;
    }
    return 0;
}

/* Whether the point @seq stands on every layer that is to be read: 1, 0, -1 error. */
static int stands_on(struct store *st, const struct store_index *ix, int64_t seq,
                     struct vr_err *err)
{
    for (size_t i = 0; i < ix->n; i++) {
        vr_autolayers struct layers l = { 0 };
        int64_t top = 0;
        bool found = false;
        if (point_top(st->db, seq, ix->disks[i].target, &top, err) < 0 ||
            layers_below(st->db, top, &l, err) < 0)
            return -1;
        for (size_t k = 0; k < l.n; k++)
            found |= l.v[k].id == ix->disks[i].layer;
        if (!found)
            return 0;
    }
    return 1;
}

/* The oldest point that stands on all of it is the one to hold: what lies above it is merged as
 * ever while a large disk is read. @newest does in any case. */
static int to_hold(struct store *st, const struct chain_row *c, const struct store_index *ix,
                   int64_t newest, int64_t *ret, struct vr_err *err)
{
    *ret = newest;
    if (c->state != CHAIN_REPLICA)
        return 0;
    vr_auto(db_rows_free) struct db_rows *r = db_select(
        st->db, err, "SELECT seq FROM point WHERE machine = ? AND listed = 1 ORDER BY seq", "u",
        &c->machine);
    int rc = r ? 1 : -1;
    while (rc > 0 && (rc = db_step(r, err)) > 0) {
        int64_t seq = db_int(r, 0);
        int on = stands_on(st, ix, seq, err);
        if (on < 0)
            return -1;
        if (on) {
            *ret = seq;
            return 0;
        }
    }
    return rc;
}

static int prepare(struct store *st, const struct chain_row *c, int64_t newest,
                   struct store_index **ret, struct vr_err *err)
{
    int64_t seq = 0;
    vr_auto(index_free) struct store_index *ix = vr_new(struct store_index);
    store_look_numbers(st, c->folder);
    if (store_begin(st, "index-making", err) < 0 ||
        store_end(st, "index-making", add_disks(st, ix, c, newest, err), err) < 0)
        return -1;
    if (ix->n == 0)
        return 0;
    if (to_hold(st, c, ix, newest, &seq, err) < 0)
        return -1;
    ix->hold = hold_new(st, HOLD_READ, &c->machine, seq);
    ix->hold->index = true;
    *ret = vr_take(ix);
    return 0;
}

int store_index_prepare(struct store *st, const struct vr_uuid *machine, bool background,
                        struct store_index **ret, struct vr_err *err)
{
    vr_autochain struct chain_row c = { 0 };
    int64_t seq = 0;
    *ret = NULL;
    if (chain_load(st, machine, &c, err) < 0)
        return -1;
    if (c.state == CHAIN_PREPARING ||
        (background && (hold_index(st, machine, false) || hold_find(st, HOLD_MERGE, machine))))
        return 0;
    if (!background)
        hold_index(st, machine, true);
    seq = c.fo_point;
    if (c.state == CHAIN_REPLICA) {
        int rc = point_newest(st->db, machine, &seq, NULL, err);
        if (rc <= 0)
            return rc;
        if (merges_settle(st, machine, err) < 0)
            return -1;
    }
    return prepare(st, &c, seq, ret, err);
}

void store_index_pace(struct store_index *ix, uint64_t bytes_per_second)
{
    ix->pace = bytes_per_second;
}

/* ---- reading ---- */

struct reading {
    const struct index_disk *disk;
    struct digestlog *log;
    const atomic_bool *cancel;
    uint64_t next; /* first block of the run not looked at */
};

static int put_zeros(struct reading *rd, uint64_t end, struct vr_err *err)
{
    for (; rd->next < end; rd->next++) {
        struct digest_record r = { .block = rd->next };
        r.digest = vr_digest_zero((size_t)tables_block_bytes(rd->next, rd->disk->size));
        if (digestlog_set(rd->log, &r, 1, err) < 0)
            return -1;
    }
    return 0;
}

static int on_block(void *ctx, uint64_t block, const uint8_t *data, size_t n, struct vr_err *err)
{
    struct reading *rd = ctx;
    if (rd->cancel && atomic_load(rd->cancel))
        return vr_fail(err, VR_E_CANCELLED, 0, "cancelled");
    struct digest_record r = { .block = block, .digest = vr_digest_block(data, n) };
    struct vr_digest zero = vr_digest_zero(n);
    if (rd->disk->own && put_zeros(rd, block, err) < 0)
        return -1;
    rd->next = block + 1;
    if (!rd->disk->own && !memcmp(zero.b, r.digest.b, sizeof zero.b))
        return 0;
    return digestlog_set(rd->log, &r, 1, err);
}

/* What the layer itself holds, zeros included: they cover what lies below. */
static int read_own(struct blockread *r, struct reading *rd, struct vr_err *err)
{
    __attribute__((cleanup(extents_done))) struct extents own = { 0 };
    if (qcow2_allocated(rd->disk->path, &own, err) < 0)
        return -1;
    extents_align(&own, VR_BLOCK_SIZE, rd->disk->size);
    for (size_t i = 0; i < own.n; i++) {
        uint64_t end = (own.v[i].offset + own.v[i].length + VR_BLOCK_SIZE - 1) / VR_BLOCK_SIZE;
        rd->next = own.v[i].offset / VR_BLOCK_SIZE;
        if (blockread_run(r, rd->next, end, err) < 0 || put_zeros(rd, end, err) < 0)
            return -1;
    }
    return 0;
}

static int read_disk(struct store_index *ix, struct index_disk *d, const atomic_bool *cancel,
                     struct vr_err *err)
{
    vr_auto(digestlog_free) struct digestlog *log = NULL;
    vr_auto(vnbd_close) struct vnbd *nbd = NULL;
    if (digestlog_open(d->table, d->size, true, &log, err) < 0 ||
        image_open(d->path, d->format, &ix->hold->cancel, &nbd, err) < 0)
        return -1;
    if (vnbd_size(nbd) != d->size)
        return vr_fail(err, VR_E_CORRUPT, 0, "it has %llu bytes instead of %llu",
                       (unsigned long long)vnbd_size(nbd), (unsigned long long)d->size);
    struct reading rd = { .disk = d, .log = log, .cancel = cancel };
    struct blockread r = { .nbd = nbd,
                           .cancel = &ix->hold->cancel,
                           .bytes_per_second = ix->pace,
                           .fn = on_block,
                           .ctx = &rd };
    int rc =
        d->own ? read_own(&r, &rd, err) : blockread_run(&r, 0, UINT64_MAX / VR_BLOCK_SIZE, err);
    return rc < 0 ? -1 : digestlog_sync(log, err);
}

int store_index_run(struct store_index *ix, const atomic_bool *cancel, struct vr_err *err)
{
    for (size_t i = 0; i < ix->n; i++) {
        if (read_disk(ix, &ix->disks[i], cancel, err) < 0)
            return vr_err_wrap(err, "reading %s for its digests", ix->disks[i].path);
        ix->disks[i].done = true;
    }
    return 0;
}

static int put(struct store *st, const struct index_disk *d, bool good, struct vr_err *err)
{
    int64_t here = 0;
    int rc = db_one_int(st->db, &here, err, "SELECT 1 FROM layer WHERE id = ? AND role = ?", "ii",
                        d->layer, (int64_t)ROLE_CHAIN);
    if (rc < 0)
        return -1;
    if (rc == 0 || !good)
        return trash_add(st, d->table, TRASH_DELETE, err);
    vr_autolayer struct layer_row l = { 0 };
    if (layer_load(st->db, d->layer, &l, err) < 0 ||
        (l.digests && trash_add(st, l.digests, TRASH_DELETE, err) < 0) ||
        db_run(st->db, err, "UPDATE layer SET digests = ?, known = ? WHERE id = ?", "sii", d->table,
               (int64_t)(d->own ? KNOWN_LAYER : KNOWN_FULL), d->layer) < 0)
        return -1;
    return trash_forget(st, d->table, err);
}

int store_index_finish(struct store *st, struct store_index *take, struct vr_err *err)
{
    if (!take)
        return 0;
    struct store_index *ix = take;
    struct vr_uuid machine = ix->hold->machine;
    int rc = store_begin(st, "index-done", err);
    if (rc == 0) {
        for (size_t i = 0; rc == 0 && i < ix->n; i++)
            rc = put(st, &ix->disks[i], ix->disks[i].done && !ix->hold->stale, err);
        rc = store_end(st, "index-done", rc, err);
    }
    index_free(ix);
    if (rc == 0)
        trash_sweep(st, &machine);
    return rc;
}
