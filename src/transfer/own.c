/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Digest tables of the sender's own disk, read side by side; the newest one that names a block
 * decides. A table of a disk that has grown since says nothing of its short last block. */
#include "transfer/own.h"

#include <stdlib.h>

#include "base/alloc.h"

struct own {
    struct digestlog **tables;
    struct digest_record *heads;
    bool *has;
    size_t n;
    bool complete;
    uint64_t size;
};

int own_open(const struct xfer_send_disk *d, struct own **ret, struct vr_err *err)
{
    const struct xfer_own *x = d->own;
    struct own *o = vr_new(struct own);
    size_t n = x->n_digests ? x->n_digests : 1;
    o->tables = vr_new0(n, sizeof *o->tables);
    o->heads = vr_new0(n, sizeof *o->heads);
    o->has = vr_new0(n, sizeof *o->has);
    o->complete = x->complete;
    o->size = d->size;
    for (; o->n < x->n_digests; o->n++)
        if (digestlog_open(x->digests[o->n], 0, false, &o->tables[o->n], err) < 0) {
            own_free(o);
            return -1;
        }
    *ret = o;
    return 0;
}

void own_free(struct own *o)
{
    if (!o)
        return;
    for (size_t i = 0; i < o->n; i++)
        digestlog_free(o->tables[i]);
    free(o->tables);
    free(o->heads);
    free(o->has);
    free(o);
}

static int advance(struct own *o, size_t i, uint64_t from, struct vr_err *err)
{
    int got = digestlog_next(o->tables[i], from, &o->heads[i], err);
    o->has[i] = got == 1;
    return got < 0 ? -1 : 0;
}

int own_begin(struct own *o, uint64_t first, struct vr_err *err)
{
    for (size_t i = 0; i < o->n; i++)
        if (advance(o, i, first, err) < 0)
            return -1;
    return 0;
}

/* Whether table @i describes the whole of a block as it is now. */
static bool covers(const struct own *o, size_t i, uint64_t block)
{
    uint64_t was = digestlog_size(o->tables[i]);
    return was >= o->size || (block + 1) * VR_BLOCK_SIZE <= was;
}

int own_at(struct own *o, uint64_t block, struct vr_digest *ret, struct vr_err *err)
{
    for (size_t i = 0; i < o->n; i++)
        if (o->has[i] && o->heads[i].block < block && advance(o, i, block, err) < 0)
            return -1;
    for (size_t i = 0; i < o->n; i++) {
        if (!o->has[i] || o->heads[i].block != block)
            continue;
        *ret = o->heads[i].digest;
        return covers(o, i, block);
    }
    if (!o->complete)
        return 0;
    uint64_t left = o->size - block * VR_BLOCK_SIZE;
    *ret = vr_digest_zero(left < VR_BLOCK_SIZE ? (size_t)left : VR_BLOCK_SIZE);
    return 1;
}

uint64_t own_next(const struct own *o)
{
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < o->n; i++)
        if (o->has[i] && o->heads[i].block < least)
            least = o->heads[i].block;
    return least;
}

bool own_complete(const struct own *o)
{
    return o->complete;
}
