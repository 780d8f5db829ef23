/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The receiver's first words: what it has. Three kinds of blocks are told of:
 *   held    the layer holds it durably, with this digest;
 *   doubt   the layer holds something there but no digest: written by a try that broke before its
 *           data was durable; or a proof found that what lies below is wrong. The sender sends such
 * a block again whatever else it thinks, since "not mentioned" would leave the remains of another
 * instant in the new point; parent  (on request) the newest table below knows this digest. Runs on
 * the caller's thread before the pipeline starts. */
#include <string.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "recv_priv.h"

static uint64_t blocks_of(uint64_t size)
{
    return (size + VR_BLOCK_SIZE - 1) / VR_BLOCK_SIZE;
}

static const struct xfer_recv_disk *find(const struct recv_ctx *c, const char *target)
{
    for (size_t i = 0; i < c->x->n_disks; i++)
        if (strcmp(c->x->disks[i].target, target) == 0)
            return &c->x->disks[i];
    return NULL;
}

static int read_start(struct recv_ctx *c, struct vr_err *err)
{
    vr_autobuf struct vr_buf body = VR_BUF_INIT;
    struct frame_header h;
    struct frame_start_disk d[VR_DISKS_MAX];
    struct vr_stream *s = c->x->stream;
    if (frame_read_header(s, &h, err) < 0 || frame_read_body(s, &h, &body, err) < 0)
        return -1;
    if (h.type == FRAME_ERROR)
        return frame_get_error(&body, "the sender says", err);
    if (h.type != FRAME_START)
        return vr_fail(err, VR_E_PROTO, 0, "the sender began with a frame %s", frame_name(h.type));
    size_t n;
    if (frame_get_start(&body, d, &n, err) < 0)
        return -1;
    if (n != c->x->n_disks)
        return vr_fail(err, VR_E_INVAL, 0, "the sender has %zu disks, we expect %zu", n,
                       c->x->n_disks);
    c->disks = vr_new0(n, sizeof *c->disks);
    c->n_disks = n;
    for (size_t i = 0; i < n; i++) {
        const struct xfer_recv_disk *x = find(c, d[i].target);
        if (!x)
            return vr_fail(err, VR_E_INVAL, 0, "disk %s is not expected", d[i].target);
        if (x->size != d[i].size)
            return vr_fail(err, VR_E_INVAL, 0, "disk %s has %llu bytes, we expect %llu",
                           d[i].target, (unsigned long long)d[i].size, (unsigned long long)x->size);
        for (size_t k = 0; k < i; k++)
            if (c->disks[k].x == x)
                return vr_fail(err, VR_E_PROTO, 0, "disk %s is named twice", d[i].target);
        c->disks[i].x = x;
        c->disks[i].ctx = c;
        c->disks[i].want_parents = d[i].want_parents;
        c->sizes[i] = x->size;
    }
    return 0;
}

/* What the layer holds, less what its table knows. */
static int find_doubt(struct recv_disk *d, struct vr_err *err)
{
    struct extents own = { .v = NULL };
    int rc = recv_disk_holds(d, &own, err);
    extents_align(&own, VR_BLOCK_SIZE, d->x->size);
    for (size_t i = 0; rc == 0 && i < own.n; i++) {
        uint64_t at = own.v[i].offset / VR_BLOCK_SIZE;
        uint64_t end = blocks_of(own.v[i].offset + own.v[i].length);
        while (rc == 0 && at < end) {
            struct digest_record r;
            int got = digestlog_next(d->slots, at, &r, err);
            if (got < 0)
                rc = -1;
            uint64_t to = got == 1 && r.block < end ? r.block : end;
            if (rc == 0 && to > at)
                extents_add(&d->doubt, at * VR_BLOCK_SIZE, (to - at) * VR_BLOCK_SIZE);
            at = to + 1;
        }
    }
    extents_done(&own);
    return rc;
}

/* Of what is wanted, what the layer does not hold yet. */
static int doubt_wanted(struct recv_disk *d, struct vr_err *err)
{
    for (size_t i = 0; i < d->x->wanted->n; i++) {
        const struct extent *e = &d->x->wanted->v[i];
        uint64_t end = blocks_of(e->offset + e->length);
        for (uint64_t b = e->offset / VR_BLOCK_SIZE; b < end; b++) {
            struct vr_digest held;
            int got = digestlog_get(d->slots, b, &held, err);
            if (got < 0)
                return -1;
            if (!got)
                extents_add(&d->doubt, b * VR_BLOCK_SIZE, VR_BLOCK_SIZE);
        }
    }
    return 0;
}

/* The disk grew since a table below was made: its short last block of then is a longer one now, of
 * which nothing is known. Not to tell of it would say that it is zeros. */
static int doubt_grown(struct recv_disk *d, struct vr_err *err)
{
    int rc = 0;
    for (size_t i = 0; rc >= 0 && i < d->x->n_parent_digests; i++) {
        vr_auto(digestlog_free) struct digestlog *t = NULL;
        struct vr_digest is;
        if (digestlog_open(d->x->parent_digests[i], 0, false, &t, err) < 0)
            return -1;
        uint64_t own = digestlog_size(t), last = own / VR_BLOCK_SIZE;
        if (own >= d->x->size || own % VR_BLOCK_SIZE == 0)
            continue;
        rc = digestlog_get(d->slots, last, &is, err);
        if (rc == 0)
            rc = digestlog_get(t, last, &is, err);
        else if (rc > 0)
            continue; /* the layer has it */
        if (rc > 0)
            extents_add(&d->doubt, last * VR_BLOCK_SIZE, VR_BLOCK_SIZE);
    }
    return rc < 0 ? -1 : 0;
}

static int open_disk(struct recv_ctx *c, size_t i, struct vr_err *err)
{
    struct recv_disk *d = &c->disks[i];
    if (recv_disk_open(c, i, err) < 0)
        return -1;
    if (digestlog_open(d->x->digests, d->x->size, true, &d->slots, err) < 0)
        return -1;
    d->n_unsettled = (size_t)(blocks_of(d->x->size) / 65536 + 1);
    d->unsettled = vr_new0(d->n_unsettled, sizeof *d->unsettled);
    if (find_doubt(d, err) < 0)
        return -1;
    if (d->want_parents && doubt_grown(d, err) < 0)
        return -1;
    return d->x->wanted ? doubt_wanted(d, err) : 0;
}

/* ---- telling ---- */

/* A run of digests being gathered into one frame. */
struct run {
    struct recv_ctx *c;
    struct frame_have_run h;
    uint8_t digests[FRAME_HAVE_MAX * 16];
};

static int run_end(struct run *r, struct vr_err *err)
{
    if (!r->h.count)
        return 0;
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    size_t bytes = r->h.kind == FRAME_DOUBT ? 0 : (size_t)r->h.count * 16;
    int rc = frame_put_have(&b, &r->h, err) < 0 || vr_put_bytes(&b, r->digests, bytes, err) < 0
                 ? -1
                 : frame_send(r->c->x->stream, FRAME_HAVE, b.data, b.len, err);
    r->h.count = 0;
    if (rc == 0 && recv_stopping(r->c))
        return vr_fail(err, VR_E_CANCELLED, 0, "the transfer was cancelled");
    return rc;
}

static int run_add(struct run *r, const struct digest_record *rec, struct vr_err *err)
{
    bool goes_on =
        r->h.count && r->h.count < FRAME_HAVE_MAX && r->h.block + r->h.count == rec->block;
    if (!goes_on) {
        if (run_end(r, err) < 0)
            return -1;
        r->h.block = rec->block;
    }
    memcpy(r->digests + r->h.count * 16, rec->digest.b, 16);
    r->h.count++;
    return 0;
}

static int tell_held(struct run *r, const struct recv_disk *d, struct vr_err *err)
{
    struct digest_record rec;
    uint64_t at = 0;
    int got;
    r->h.kind = FRAME_HELD;
    while ((got = digestlog_next(d->slots, at, &rec, err)) == 1) {
        if (run_add(r, &rec, err) < 0)
            return -1;
        at = rec.block + 1;
    }
    return got < 0 ? -1 : run_end(r, err);
}

static int tell_doubt(struct run *r, const struct recv_disk *d, struct vr_err *err)
{
    r->h.kind = FRAME_DOUBT;
    for (size_t i = 0; i < d->doubt.n; i++) {
        r->h.block = d->doubt.v[i].offset / VR_BLOCK_SIZE;
        r->h.count = blocks_of(d->doubt.v[i].length);
        if (run_end(r, err) < 0)
            return -1;
    }
    return 0;
}

/* The tables below, read side by side: the newest one that knows a block wins. */
struct parents {
    size_t n;
    struct digestlog **tables;
    struct digest_record *heads;
    bool *has;
};

static int advance(struct parents *p, size_t i, uint64_t from, uint64_t size, struct vr_err *err)
{
    int got = digestlog_next(p->tables[i], from, &p->heads[i], err);
    uint64_t own = digestlog_size(p->tables[i]);
    /* The disk grew since: the short last block of then is a longer one now. */
    if (got == 1 && own < size && (p->heads[i].block + 1) * VR_BLOCK_SIZE > own)
        got = 0;
    p->has[i] = got == 1;
    return got < 0 ? -1 : 0;
}

static int merge_parents(struct run *r, const struct recv_disk *d, struct parents *p,
                         struct vr_err *err)
{
    for (size_t i = 0; i < p->n; i++)
        if (advance(p, i, 0, d->x->size, err) < 0)
            return -1;
    for (;;) {
        const struct digest_record *best = NULL;
        for (size_t i = 0; i < p->n; i++)
            if (p->has[i] && (!best || p->heads[i].block < best->block))
                best = &p->heads[i];
        if (!best)
            return run_end(r, err);
        struct digest_record rec = *best;
        struct vr_digest held;
        int got = digestlog_get(d->slots, rec.block, &held, err);
        if (got < 0)
            return -1;
        bool doubt = extents_contains(&d->doubt, rec.block * VR_BLOCK_SIZE, 1);
        if (!got && !doubt && rec.block < blocks_of(d->x->size) && run_add(r, &rec, err) < 0)
            return -1;
        for (size_t i = 0; i < p->n; i++)
            if (p->has[i] && p->heads[i].block == rec.block &&
                advance(p, i, rec.block + 1, d->x->size, err) < 0)
                return -1;
    }
}

static int tell_parents(struct run *r, const struct recv_disk *d, struct vr_err *err)
{
    size_t n = d->x->n_parent_digests;
    if (!n)
        return 0;
    struct parents p = { .n = n,
                         .tables = vr_new0(n, sizeof *p.tables),
                         .heads = vr_new0(n, sizeof *p.heads),
                         .has = vr_new0(n, sizeof *p.has) };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = digestlog_open(d->x->parent_digests[i], 0, false, &p.tables[i], err);
    r->h.kind = FRAME_PARENT;
    if (rc == 0)
        rc = merge_parents(r, d, &p, err);
    for (size_t i = 0; i < n; i++)
        digestlog_free(p.tables[i]);
    free(p.tables);
    free(p.heads);
    free(p.has);
    return rc;
}

static int tell_disk(struct recv_ctx *c, size_t i, struct vr_err *err)
{
    const struct recv_disk *d = &c->disks[i];
    vr_autofree struct run *r = vr_new(struct run);
    r->c = c;
    r->h.disk = (uint16_t)i;
    if (tell_held(r, d, err) < 0 || tell_doubt(r, d, err) < 0)
        return -1;
    return d->want_parents ? tell_parents(r, d, err) : 0;
}

int recv_have(struct recv_ctx *c, struct vr_err *err)
{
    if (read_start(c, err) < 0)
        return -1;
    uint8_t end[2 + VR_DISKS_MAX] = { 0, (uint8_t)c->n_disks };
    for (size_t i = 0; i < c->n_disks; i++) {
        const struct xfer_recv_disk *x = c->disks[i].x;
        if (open_disk(c, i, err) < 0 || tell_disk(c, i, err) < 0)
            return vr_err_wrap(err, "disk %s", x->target);
        end[2 + i] = (uint8_t)((x->fresh ? FRAME_FRESH : 0) |
                               (x->parents_complete ? FRAME_PARENTS_COMPLETE : 0));
    }
    struct vr_stream *s = c->x->stream;
    if (frame_send(s, FRAME_HAVE_END, end, 2 + c->n_disks, err) < 0)
        return -1;
    return s->flush(s, err);
}
