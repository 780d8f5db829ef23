/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Proof of a point: its images are read and compared with the digest tables, and its digest is
 * computed from what was read. docs/store.md, "Digest of a point". The input is made on the store
 * thread and holds the point, so that no file of it changes; the rest runs on any worker. */
#include <string.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "store/scan.h"
#include "store/sha256_gnutls.h"
#include "store/tables.h"

struct verify_disk {
    char target[VR_TARGET_MAX];
    char *path;
    char format[16];
    uint64_t size;
    char **tables;
    size_t n_tables;
    bool complete;
};

struct store_verify_input {
    struct hold *hold;
    int64_t seq;
    struct verify_disk *disks; /* in the byte order of their targets */
    size_t n_disks;
    char digest[65]; /* "" until everything was read and nothing was bad */
};

/* The state of reading one disk. */
struct pass {
    const struct verify_disk *disk;
    struct tables tables;
    struct sha256 *sha;
    uint64_t next; /* first block not looked at yet */
    uint64_t blocks, bad;
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
        p->bad += !is_zero_digest(&d, bytes);
        p->next = block + 1;
    }
    p->next = end;
    return 0;
}

static bool all_zero(const uint8_t *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

static int check_block(void *ctx, uint64_t block, const uint8_t *data, size_t n, struct vr_err *err)
{
    struct pass *p = ctx;
    struct vr_digest want, have = vr_digest_block(data, n);
    uint64_t bytes = 0;
    bool zero = all_zero(data, n);
    if (check_zeros(p, block, err) < 0)
        return -1;
    p->next = block + 1;
    int rc = tables_get(&p->tables, block, p->disk->size, &want, &bytes, err);
    if (rc < 0 || (!zero && sha_block(p->sha, block, &have, err) < 0))
        return -1;
    if (rc == 0) { /* unknown, or zeros */
        p->blocks += p->tables.complete;
        p->bad += p->tables.complete && !zero;
        return 0;
    }
    if (bytes < n)
        have = vr_digest_block(data, (size_t)bytes);
    bool same = memcmp(want.b, have.b, sizeof want.b) == 0;
    p->blocks++;
    p->bad += !same || !all_zero(data + bytes, n - (size_t)bytes);
    return 0;
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
    if (rc == 0)
        rc = image_scan(d->path, d->format, &v->hold->cancel, check_block, p, &size, err);
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
    struct pass p = { .sha = sha };
    for (size_t i = 0; i < v->n_disks; i++)
        if (verify_disk(v, &v->disks[i], &p, err) < 0)
            return -1;
    if (p.bad == 0)
        sha256_hex(sha, v->digest);
    *ret_blocks = p.blocks;
    *ret_bad = p.bad;
    return 0;
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
    hold_release(v->hold);
    free(v);
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
    tables_paths(&l, &d->tables, &d->n_tables, &d->complete);
    return 0;
}

static int by_target(const void *a, const void *b)
{
    const struct verify_disk *x = a, *y = b;
    return strcmp(x->target, y->target);
}

int store_verify_prepare(struct store *st, const struct vr_uuid *machine,
                         const struct vr_point_id *p, struct store_verify_input **ret,
                         struct vr_err *err)
{
    int64_t seq = 0;
    char name[64], id[VR_UUID_STR];
    int rc = point_seq(st->db, machine, p, true, &seq, err);
    if (rc == 0)
        return vr_fail(err, VR_E_NOTFOUND, 0, "%s has no recovery point %s/%llu",
                       machine_name(machine, name), vr_uuid_fmt(&p->lineage, id),
                       (unsigned long long)p->epoch);
    if (rc < 0 || merges_settle(st, machine, err) < 0)
        return -1;
    vr_autofree char(*t)[VR_TARGET_MAX] = NULL;
    size_t n = 0;
    if (chain_targets(st->db, machine, &t, &n, err) < 0)
        return -1;
    vr_auto(store_verify_free) struct store_verify_input *v = vr_new(struct store_verify_input);
    v->hold = hold_new(st, HOLD_READ, machine, seq);
    v->seq = seq;
    v->disks = vr_new0(n, sizeof *v->disks);
    for (size_t i = 0; i < n; i++)
        if (add_disk(st, v, t[i], err) < 0)
            return -1;
    qsort(v->disks, v->n_disks, sizeof *v->disks, by_target);
    *ret = vr_take(v);
    return 0;
}

int store_verify_save(struct store *st, const struct store_verify_input *v, struct vr_err *err)
{
    if (!v->digest[0])
        return 0;
    if (store_begin(st, "digest", err) < 0)
        return -1;
    int rc =
        db_run(st->db, err, "UPDATE point SET digest = ? WHERE seq = ?", "si", v->digest, v->seq);
    return store_end(st, "digest", rc, err);
}
