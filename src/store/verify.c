/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Proof of a point: its images are read and compared with the digest tables, and its digest is
 * computed from what was read. docs/store.md, "Digest of a point". The input is made on the store
 * thread and holds the point, so that no file of it changes; the rest runs on any worker. */
#include <string.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "store/proof_int.h"
#include "store/scan.h"
#include "store/sha256_gnutls.h"
#include "store/tables.h"
#include "transfer/blockread.h"

/* The state of reading one disk. */
struct pass {
    struct store_verify_input *v;
    const struct verify_disk *disk;
    struct tables tables;
    struct sha256 *sha;
    uint64_t next; /* first block not looked at yet */
    uint64_t blocks;
    /* a slice: */
    const struct vr_digest *theirs; /* NULL: not one */
    uint64_t first;
};

/* ---- the digest of a point ---- */

static int sha_u64(struct sha256 *s, uint64_t v, struct vr_err *err)
{
    uint8_t b[8];
    vr_store_u64(b, v);
    return sha256_add(s, b, sizeof b, err);
}

static int sha_disk(struct sha256 *s, const struct verify_disk *d, struct vr_err *err)
{
    size_t n = strlen(d->target);
    if (sha_u64(s, n, err) < 0 || sha256_add(s, d->target, n, err) < 0)
        return -1;
    return sha_u64(s, d->size, err);
}

static int sha_block(struct sha256 *s, uint64_t block, const struct vr_digest *d,
                     struct vr_err *err)
{
    return sha_u64(s, block, err) < 0 ? -1 : sha256_add(s, d->b, sizeof d->b, err);
}

static bool is_zero_digest(const struct vr_digest *d, uint64_t bytes)
{
    struct vr_digest z = vr_digest_zero((size_t)bytes);
    return memcmp(d->b, z.b, sizeof z.b) == 0;
}

/* ---- comparing ---- */

/* Blocks [p->next, end) read as zeros: whatever a table says of them must be zeros. */
static int check_zeros(struct pass *p, uint64_t end, struct vr_err *err)
{
    while (p->next < end) {
        uint64_t block = 0, bytes = 0;
        struct vr_digest d;
        int rc = tables_next(&p->tables, p->next, &block, err);
        if (rc < 0)
            return -1;
        if (rc == 0 || block >= end)
            break;
        if (tables_get(&p->tables, block, p->disk->size, &d, &bytes, err) < 0)
            return -1;
        p->blocks++;
        if (!is_zero_digest(&d, bytes))
            bad_add(&p->v->bad, p->disk->target, block, true);
        p->next = block + 1;
    }
    p->next = end;
    return 0;
}

/* Does the image hold what the tables say? 1 yes, 0 no, -1 error. *ret_known: they say something.
 */
static int as_told(const struct pass *p, uint64_t block, const uint8_t *data, size_t n,
                   const struct vr_digest *have, bool zero, bool *ret_known, struct vr_err *err)
{
    struct vr_digest want, part = *have;
    uint64_t bytes = 0;
    int rc = tables_get(&p->tables, block, p->disk->size, &want, &bytes, err);
    if (rc < 0)
        return -1;
    *ret_known = rc > 0 || p->tables.complete;
    if (rc == 0) /* unknown, or zeros */
        return !p->tables.complete || zero;
    if (bytes < n)
        part = vr_digest_block(data, (size_t)bytes);
    return memcmp(want.b, part.b, sizeof want.b) == 0 &&
           blockread_all_zero(data + bytes, n - (size_t)bytes);
}

static int check_block(void *ctx, uint64_t block, const uint8_t *data, size_t n, struct vr_err *err)
{
    struct pass *p = ctx;
    if (check_zeros(p, block, err) < 0)
        return -1;
    p->next = block + 1;
    atomic_fetch_add(&p->v->done, n);
    if (!data) {
        p->blocks++;
        bad_add(&p->v->bad, p->disk->target, block, true);
        return 0;
    }
    struct vr_digest have = vr_digest_block(data, n);
    bool zero = blockread_all_zero(data, n), known = false;
    if (!zero && sha_block(p->sha, block, &have, err) < 0)
        return -1;
    int rc = as_told(p, block, data, n, &have, zero, &known, err);
    p->blocks += known;
    if (rc == 0)
        bad_add(&p->v->bad, p->disk->target, block, true);
    return rc < 0 ? -1 : 0;
}

static int verify_disk(struct store_verify_input *v, const struct verify_disk *d, struct pass *p,
                       struct vr_err *err)
{
    uint64_t size = 0;
    if (tables_open(d->tables, d->n_tables, d->complete, &p->tables, err) < 0)
        return -1;
    p->disk = d;
    p->next = 0;
    int rc = sha_disk(p->sha, d, err);
    struct image_scan what = { .path = d->path,
                               .format = d->format,
                               .cancel = &v->hold->cancel,
                               .bytes_per_second = v->pace,
                               .tolerant = true,
                               .fn = check_block,
                               .ctx = p };
    if (rc == 0)
        rc = image_scan(&what, &size, err);
    if (rc == 0 && size != d->size)
        rc = vr_fail(err, VR_E_CORRUPT, 0, "the image has %llu bytes instead of %llu",
                     (unsigned long long)size, (unsigned long long)d->size);
    if (rc == 0)
        rc = check_zeros(p, (d->size + VR_BLOCK_SIZE - 1) / VR_BLOCK_SIZE, err);
    if (rc == 0)
        rc = sha_u64(p->sha, UINT64_MAX, err);
    tables_done(&p->tables);
    return rc < 0 ? vr_err_wrap(err, "disk %s", d->target) : 0;
}

int store_verify_run(struct store_verify_input *v, uint64_t *ret_blocks, uint64_t *ret_bad,
                     struct vr_err *err)
{
    vr_auto(sha256_free) struct sha256 *sha = sha256_new(err);
    if (!sha)
        return -1;
    struct pass p = { .v = v, .sha = sha };
    uint64_t before = v->bad.total;
    for (size_t i = 0; i < v->n_disks; i++)
        if (verify_disk(v, &v->disks[i], &p, err) < 0)
            return -1;
    if (v->bad.total == 0)
        sha256_hex(sha, v->digest);
    *ret_blocks = p.blocks;
    *ret_bad = v->bad.total - before;
    return 0;
}

/* ---- a slice ---- */

static const struct vr_digest zeros; /* the other host's word for a block of zeros */

static bool as_theirs(const struct pass *p, uint64_t block, const struct vr_digest *have)
{
    return memcmp(&p->theirs[block - p->first], have, sizeof *have) == 0;
}

/* Blocks [p->next, end) read as zeros here. */
static int slice_zeros(struct pass *p, uint64_t end, struct vr_err *err)
{
    for (; p->next < end; p->next++) {
        struct vr_digest want;
        uint64_t bytes = 0;
        int rc = tables_get(&p->tables, p->next, p->disk->size, &want, &bytes, err);
        if (rc < 0)
            return -1;
        bool rot = rc > 0 && !is_zero_digest(&want, bytes);
        if (rot || !as_theirs(p, p->next, &zeros))
            bad_add(&p->v->bad, p->disk->target, p->next, rot);
    }
    return 0;
}

static int slice_block(void *ctx, uint64_t block, const uint8_t *data, size_t n, struct vr_err *err)
{
    struct pass *p = ctx;
    if (slice_zeros(p, block, err) < 0)
        return -1;
    p->next = block + 1;
    if (!data) {
        bad_add(&p->v->bad, p->disk->target, block, true);
        return 0;
    }
    struct vr_digest have = vr_digest_block(data, n);
    bool zero = blockread_all_zero(data, n), known = false;
    int rc = as_told(p, block, data, n, &have, zero, &known, err);
    if (rc < 0)
        return -1;
    if (rc == 0 || !as_theirs(p, block, zero ? &zeros : &have))
        bad_add(&p->v->bad, p->disk->target, block, rc == 0);
    return 0;
}

static int read_slice(struct store_verify_input *v, struct pass *p, uint64_t end,
                      struct vr_err *err)
{
    const struct verify_disk *d = p->disk;
    vr_auto(vnbd_close) struct vnbd *nbd = NULL;
    if (image_open(d->path, d->format, &v->hold->cancel, &nbd, err) < 0)
        return -1;
    if (vnbd_size(nbd) != d->size)
        return vr_fail(err, VR_E_CORRUPT, 0, "the image has %llu bytes instead of %llu",
                       (unsigned long long)vnbd_size(nbd), (unsigned long long)d->size);
    struct blockread r = { .nbd = nbd,
                           .cancel = &v->hold->cancel,
                           .bytes_per_second = v->pace,
                           .tolerant = true,
                           .fn = slice_block,
                           .ctx = p };
    return blockread_run(&r, p->first, end, err) < 0 ? -1 : slice_zeros(p, end, err);
}

int store_verify_slice(struct store_verify_input *v, const char *target, uint64_t first,
                       const struct vr_digest *theirs, size_t n, struct vr_err *err)
{
    const struct verify_disk *d = NULL;
    for (size_t i = 0; i < v->n_disks; i++)
        if (!strcmp(v->disks[i].target, target))
            d = &v->disks[i];
    if (!d)
        return vr_fail(err, VR_E_INVAL, 0, "the point has no disk %s", target);
    uint64_t blocks = (d->size + VR_BLOCK_SIZE - 1) / VR_BLOCK_SIZE;
    if (n == 0 || first >= blocks || n > blocks - first)
        return vr_fail(err, VR_E_INVAL, 0, "disk %s has %llu blocks, compared were %llu from %llu",
                       target, (unsigned long long)blocks, (unsigned long long)n,
                       (unsigned long long)first);
    struct pass p = { .v = v, .disk = d, .next = first, .first = first, .theirs = theirs };
    if (tables_open(d->tables, d->n_tables, d->complete, &p.tables, err) < 0)
        return -1;
    int rc = read_slice(v, &p, first + n, err);
    tables_done(&p.tables);
    return rc < 0 ? vr_err_wrap(err, "disk %s", target) : 0;
}

/* ---- the digest from the tables alone ---- */

static int digest_disk(const struct verify_disk *d, const struct tables *t, struct sha256 *sha,
                       struct vr_err *err)
{
    uint64_t at = 0, block = 0, bytes = 0;
    int rc = sha_disk(sha, d, err);
    while (rc == 0 && (rc = tables_next(t, at, &block, err)) > 0) {
        struct vr_digest dg;
        rc = tables_get(t, block, d->size, &dg, &bytes, err);
        if (rc > 0 && bytes != tables_block_bytes(block, d->size))
            return vr_fail(err, VR_E_STATE, 0, "disk %s has grown: its image must be read",
                           d->target);
        if (rc > 0)
            rc = is_zero_digest(&dg, bytes) ? 0 : sha_block(sha, block, &dg, err);
        at = block + 1;
    }
    return rc < 0 ? -1 : sha_u64(sha, UINT64_MAX, err);
}

int store_verify_digest(struct store_verify_input *v, char out[65], struct vr_err *err)
{
    vr_auto(sha256_free) struct sha256 *sha = sha256_new(err);
    if (!sha)
        return -1;
    for (size_t i = 0; i < v->n_disks; i++) {
        const struct verify_disk *d = &v->disks[i];
        struct tables t = { 0 };
        if (!d->complete)
            return vr_fail(err, VR_E_STATE, 0, "disk %s has no digests yet: its image must be read",
                           d->target);
        if (tables_open(d->tables, d->n_tables, true, &t, err) < 0)
            return -1;
        int rc = digest_disk(d, &t, sha, err);
        tables_done(&t);
        if (rc < 0)
            return -1;
    }
    sha256_hex(sha, out);
    return 0;
}

/* ---- input ---- */

void store_verify_free(struct store_verify_input *v)
{
    if (!v)
        return;
    for (size_t i = 0; i < v->n_disks; i++) {
        for (size_t k = 0; k < v->disks[i].n_tables; k++)
            free(v->disks[i].tables[k]);
        free(v->disks[i].tables);
        free(v->disks[i].path);
    }
    free(v->disks);
    free(v->bad.v);
    hold_release(v->hold);
    free(v);
}

const struct store_bad_list *store_verify_bad(const struct store_verify_input *v)
{
    return &v->bad;
}

void store_verify_pace(struct store_verify_input *v, uint64_t bytes_per_second)
{
    v->pace = bytes_per_second;
}

unsigned store_verify_percent(const struct store_verify_input *v)
{
    uint64_t done = atomic_load(&v->done);
    return v->total && done < v->total ? (unsigned)((double)done * 100 / (double)v->total) : 99;
}

void store_verify_cancel(struct store_verify_input *v)
{
    atomic_store(&v->hold->cancel, true);
}

static int add_disk(struct store *st, struct store_verify_input *v, const char *target,
                    struct vr_err *err)
{
    int64_t top = 0;
    vr_autolayers struct layers l = { 0 };
    if (point_top(st->db, v->seq, target, &top, err) < 0 || layers_below(st->db, top, &l, err) < 0)
        return -1;
    struct verify_disk *d = &v->disks[v->n_disks++];
    snprintf(d->target, sizeof d->target, "%s", target);
    snprintf(d->format, sizeof d->format, "%s", l.v[0].format);
    d->path = vr_strdup(l.v[0].path);
    d->size = l.v[0].size;
    v->total += d->size;
    tables_paths(&l, &d->tables, &d->n_tables, &d->complete);
    return 0;
}

static int by_target(const void *a, const void *b)
{
    const struct verify_disk *x = a, *y = b;
    return strcmp(x->target, y->target);
}

static int prepare(struct store *st, const struct vr_uuid *machine, const struct vr_point_id *p,
                   int (*calm)(struct store *st, const struct vr_uuid *machine, struct vr_err *err),
                   struct store_verify_input **ret, struct vr_err *err)
{
    int64_t seq = 0;
    char name[64], id[VR_UUID_STR];
    int rc = point_seq(st->db, machine, p, true, &seq, err);
    if (rc == 0)
        return vr_fail(err, VR_E_NOTFOUND, 0, "%s has no recovery point %s/%llu",
                       machine_name(machine, name), vr_uuid_fmt(&p->lineage, id),
                       (unsigned long long)p->epoch);
    if (rc < 0 || calm(st, machine, err) < 0)
        return -1;
    vr_autofree char(*t)[VR_TARGET_MAX] = NULL;
    size_t n = 0;
    if (point_targets(st->db, seq, &t, &n, err) < 0)
        return -1;
    vr_auto(store_verify_free) struct store_verify_input *v = vr_new(struct store_verify_input);
    v->hold = hold_new(st, HOLD_READ, machine, seq);
    v->seq = seq;
    v->machine = *machine;
    v->disks = vr_new0(n, sizeof *v->disks);
    for (size_t i = 0; i < n; i++)
        if (add_disk(st, v, t[i], err) < 0)
            return -1;
    qsort(v->disks, v->n_disks, sizeof *v->disks, by_target);
    *ret = vr_take(v);
    return 0;
}

int store_verify_prepare(struct store *st, const struct vr_uuid *machine,
                         const struct vr_point_id *p, struct store_verify_input **ret,
                         struct vr_err *err)
{
    return prepare(st, machine, p, merges_settle, ret, err);
}

int store_slice_prepare(struct store *st, const struct vr_uuid *machine,
                        const struct vr_point_id *p, struct store_verify_input **ret,
                        struct vr_err *err)
{
    return prepare(st, machine, p, merge_yield, ret, err);
}
