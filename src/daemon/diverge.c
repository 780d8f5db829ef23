/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What two hosts wrote apart from each other, found without reading their disks. Workers. */
#include "daemon/diverge.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "base/log.h"
#include "daemon/contents.h"
#include "daemon/machinedoc.h"
#include "daemon/messages.h"
#include "daemon/storage.h"

#define KIND "divergence"

void divergence_done(struct divergence *v)
{
    for (size_t i = 0; i < v->n; i++)
        extents_done(&v->ranges[i]);
    v->n = 0;
}

uint64_t divergence_bytes(const struct divergence *v)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < v->n; i++) {
        struct extents blocks = { .v = NULL };
        extents_unite(&blocks, &v->ranges[i]);
        extents_align(&blocks, VR_BLOCK_SIZE, UINT64_MAX);
        sum += extents_bytes(&blocks);
        extents_done(&blocks);
    }
    return sum;
}

struct extents *divergence_of(struct divergence *v, const char *target)
{
    for (size_t i = 0; i < v->n; i++)
        if (!strcmp(v->target[i], target))
            return &v->ranges[i];
    return NULL;
}

static struct extents *add_disk(struct divergence *v, const char *target)
{
    struct extents *e = divergence_of(v, target);
    if (e || v->n == VR_DISKS_MAX)
        return e;
    snprintf(v->target[v->n], VR_TARGET_MAX, "%s", target);
    v->ranges[v->n] = (struct extents){ .v = NULL };
    return &v->ranges[v->n++];
}

/* ---- the document: "of LINEAGE EPOCH", "known 1" or "known 0", "bytes D O" (of the new primary;
 * not of older versions), then "disk TARGET" and "OFFSET LENGTH" lines ---- */
/* What was written all over a large disk has more ranges than a document and a message can hold: a
 * few bytes more are sent then, as equal blocks in between cost less than comparing the disks. */
enum { RANGES_MAX = 1 << 18 };
_Static_assert(RANGES_MAX * 42 < 16 << 20, "fits into a document of the store");

int divergence_save(struct daemon *d, const struct vr_uuid *machine, struct divergence *v,
                    struct vr_err *err)
{
    for (size_t i = 0; i < v->n; i++)
        extents_coarsen(&v->ranges[i], RANGES_MAX / v->n);
    struct vr_buf b = { .max = (size_t)256 << 20 };
    char lineage[VR_UUID_STR];
    int rc = vr_buf_printf(&b, err, "of %s %" PRIu64 "\nknown %d\n",
                           vr_uuid_fmt(&v->of.lineage, lineage), v->of.epoch, v->known);
    if (rc == 0 && (v->alone || v->between))
        rc = vr_buf_printf(&b, err, "bytes %" PRIu64 " %" PRIu64 "\n", v->alone, v->between);
    for (size_t i = 0; rc == 0 && i < v->n; i++) {
        rc = vr_buf_printf(&b, err, "disk %s\n", v->target[i]);
        for (size_t k = 0; rc == 0 && k < v->ranges[i].n; k++)
            rc = vr_buf_printf(&b, err, "%" PRIu64 " %" PRIu64 "\n", v->ranges[i].v[k].offset,
                               v->ranges[i].v[k].length);
    }
    if (rc == 0)
        rc = machinedoc_put(d, KIND, machine, (char *)b.data, err);
    vr_buf_done(&b);
    return rc;
}

static int parse_line(struct divergence *v, const char *line, struct extents **cur,
                      struct vr_err *err)
{
    char target[VR_TARGET_MAX], lineage[VR_UUID_STR];
    uint64_t offset, length;
    int known;
    if (sscanf(line, "of %36s %" SCNu64, lineage, &v->of.epoch) == 2)
        return vr_uuid_parse(lineage, &v->of.lineage, err);
    if (sscanf(line, "known %d", &known) == 1)
        v->known = known != 0;
    else if (sscanf(line, "bytes %" SCNu64 " %" SCNu64, &v->alone, &v->between) == 2)
        return 0;
    else if (sscanf(line, "disk %31s", target) == 1)
        *cur = add_disk(v, target);
    else if (*cur && sscanf(line, "%" SCNu64 " %" SCNu64, &offset, &length) == 2)
        extents_add(*cur, offset, length);
    else
        return vr_fail(err, VR_E_CORRUPT, 0, "the written divergence cannot be read");
    return 0;
}

int divergence_load(struct daemon *d, const struct vr_uuid *machine, const struct vr_point_id *of,
                    struct divergence *ret, struct vr_err *err)
{
    char *text = NULL;
    if (machinedoc_get(d, KIND, machine, &text, err) < 0)
        return -1;
    struct divergence v = { .known = false };
    struct extents *cur = NULL;
    char *save = NULL;
    int rc = 0;
    for (char *l = strtok_r(text, "\n", &save); l && rc == 0; l = strtok_r(NULL, "\n", &save))
        rc = parse_line(&v, l, &cur, err);
    free(text);
    if (rc == 0 && !vr_point_eq(&v.of, of))
        rc = vr_fail(err, VR_E_NOTFOUND, 0, "no divergence is written down for this failover");
    if (rc < 0)
        divergence_done(&v);
    else
        *ret = v;
    return rc;
}

void divergence_forget(struct daemon *d, const struct vr_uuid *machine)
{
    struct vr_err ignored = VR_ERR_INIT; /* a stale one names another failover */
    (void)machinedoc_delete(d, KIND, machine, &ignored);
}

/* ---- D ---- */
/* A disk without a bitmap: all is well only if it still holds what it held at the newest point. */
static int look_untracked(struct daemon *d, const struct rel *r, const struct hv_capture_disk *c,
                          struct vr_err *err)
{
    struct contents was;
    struct vr_err none = VR_ERR_INIT;
    int same = 0;
    if (contents_load(d, &r->machine, &r->acked, &was, &none) < 0)
        vr_log_err(VR_LOG_INFO, c->target, &none);
    else
        same = contents_unchanged(d, &was, c, err);
    if (same < 0)
        return -1;
    return same ? 0
                : vr_fail(err, VR_E_TRACKING, 0,
                          "disk %s keeps no bitmap and does not hold what it held at the newest "
                          "point, as far as is known",
                          c->target);
}

/* @prepared: the newest acknowledged point is the last one there is, at the replica, too. Only then
 * does a disk that holds what it held at that point differ in nothing: a change map names what
 * changed since a point, a checksum does not, and the replica may hold a newer point whose
 * acknowledgement was lost. */
static int read_bitmaps(struct daemon *d, const struct rel *r, bool prepared, struct divergence *v,
                        struct vr_err *err)
{
    const char *targets[VR_DISKS_MAX];
    char parent[64];
    struct hv_capture *cap = NULL;
    size_t n = 0;
    rel_checkpoint(&r->acked.lineage, r->acked.epoch, parent);
    for (uint32_t i = 0; i < r->n_disks; i++) /* what the point does not have, the peer has not */
        if (!r->disks[i].added)
            targets[n++] = r->disks[i].target;
    if (!n)
        return vr_fail(err, VR_E_TRACKING, 0,
                       "none of the disks is in the last acknowledged point");
    if (hv_capture_begin(d->hv, &r->machine, targets, n, parent, "vmr.divergence", &cap, err) < 0)
        return -1;
    int rc = 0;
    for (size_t i = 0; i < cap->n_disks && rc == 0; i++) {
        const struct hv_capture_disk *c = &cap->disks[i];
        if (!c->dirty_context && !prepared)
            rc = vr_fail(err, VR_E_TRACKING, 0, "disk %s keeps no bitmap", c->target);
        else if (!c->dirty_context)
            rc = look_untracked(d, r, c, err);
        else
            rc = xfer_dirty_map(c->socket, c->export_name, c->dirty_context, add_disk(v, c->target),
                                err);
    }
    struct vr_err end = VR_ERR_INIT;
    if (hv_capture_end(d->hv, cap, false, &end) < 0 && rc == 0) {
        *err = end;
        rc = -1;
    }
    return rc;
}

int divergence_is_none(struct daemon *d, const struct rel *r, struct vr_err *err)
{
    struct divergence v = { .known = r->has_acked && r->tracked };
    struct vr_err why = VR_ERR_INIT;
    int rc = v.known;
    if (v.known && read_bitmaps(d, r, true, &v, &why) < 0) {
        rc = why.kind == VR_E_TRACKING ? 0 : -1;
        if (rc < 0)
            vr_err_move(err, &why);
    }
    for (size_t i = 0; i < v.n && rc > 0; i++)
        if (v.ranges[i].n)
            rc = 0;
    divergence_done(&v);
    return rc;
}

int divergence_of_old_primary(struct daemon *d, const struct rel *r, struct divergence *ret,
                              struct vr_err *err)
{
    struct vr_err why = VR_ERR_INIT;
    struct vr_point_id of = rel_seed_point(r);
    if (divergence_load(d, &r->machine, &of, ret, &why) == 0)
        return 0; /* found before a break; the checkpoint may be gone by now */
    if (why.kind != VR_E_NOTFOUND) {
        vr_err_move(err, &why);
        return -1;
    }
    vr_err_clear(&why);
    struct divergence v = { .of = of, .known = r->has_acked && r->tracked };
    if (v.known && read_bitmaps(d, r, false, &v, &why) < 0) {
        divergence_done(&v);
        if (why.kind != VR_E_TRACKING) {
            vr_err_move(err, &why);
            return -1;
        }
        vr_log_err(VR_LOG_INFO, "what this host wrote on its own has to be found by comparison",
                   &why);
        v.known = false;
    }
    if (divergence_save(d, &r->machine, &v, err) < 0) {
        divergence_done(&v);
        return -1;
    }
    *ret = v;
    return 0;
}

/* ---- O ---- */
struct changed {
    struct daemon *d;
    const struct rel *r;
    struct divergence *v;
    struct vr_err err;
};

static void st_changed(void *arg)
{
    struct changed *c = arg;
    struct store_point *pts = NULL;
    size_t n = 0;
    if (store_points(c->d->store, &c->r->machine, &pts, &n, &c->err) < 0)
        return;
    const struct store_point *newest = NULL;
    for (size_t i = 0; i < n; i++)
        if (vr_uuid_eq(&pts[i].id.lineage, &c->r->lineage))
            newest = &pts[i];
    for (uint32_t i = 0; newest && i < c->r->n_disks && c->err.kind == VR_OK; i++)
        if (!vr_point_eq(&newest->id, &c->r->failover))
            store_changed(c->d->store, &c->r->machine, c->r->disks[i].target, &c->r->failover,
                          &newest->id, add_disk(c->v, c->r->disks[i].target), &c->err);
    if (!newest)
        vr_fail(&c->err, VR_E_NOTFOUND, 0, "the point failed over to is no longer listed");
    free(pts);
}

int divergence_add_points(struct daemon *d, const struct rel *r, struct divergence *v,
                          struct vr_err *err)
{
    struct divergence between = { .known = true };
    struct changed c = { .d = d, .r = r, .v = &between };
    storage_call(d, &r->machine, st_changed, &c, &c.err);
    v->alone = divergence_bytes(v);
    v->between = divergence_bytes(&between);
    for (size_t i = 0; i < between.n; i++) {
        struct extents *to = add_disk(v, between.target[i]);
        if (to)
            extents_unite(to, &between.ranges[i]);
    }
    divergence_done(&between);
    if (c.err.kind == VR_OK)
        return 0;
    vr_err_move(err, &c.err);
    return -1;
}

/* ---- on the wire ---- */
int divergence_to_msg(const struct divergence *v, struct vr_buf *bufs, struct msg_ranges *out,
                      struct vr_err *err)
{
    for (size_t i = 0; i < v->n; i++) {
        for (size_t k = 0; k < v->ranges[i].n; k++)
            if (vr_put_u64(&bufs[i], v->ranges[i].v[k].offset, err) < 0 ||
                vr_put_u64(&bufs[i], v->ranges[i].v[k].length, err) < 0)
                return -1;
        out[i] = (struct msg_ranges){ .target = v->target[i],
                                      .ranges = bufs[i].data,
                                      .n_ranges = bufs[i].len };
    }
    return 0;
}

int msg_to_divergence(const struct msg_reverse_reply *m, struct divergence *ret, struct vr_err *err)
{
    for (size_t i = 0; i < m->n_wrote; i++) {
        struct extents *e = add_disk(ret, m->wrote[i].target);
        struct vr_rd rd = { m->wrote[i].ranges, m->wrote[i].n_ranges };
        while (e && rd.left) {
            uint64_t offset, length;
            if (vr_get_u64(&rd, &offset, err) < 0 || vr_get_u64(&rd, &length, err) < 0)
                return -1;
            if (!length || offset > VR_DISK_MAX || length > VR_DISK_MAX)
                return vr_fail(err, VR_E_PROTO, 0, "a range that is not possible");
            extents_add(e, offset, length);
        }
    }
    return 0;
}
