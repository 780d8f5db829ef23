/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Digest tables of several layers seen as one: the newest table that holds a block decides.
 * One thread at a time per struct tables. */
#include "store/tables.h"

#include <string.h>

#include "base/alloc.h"

void tables_paths(const struct layers *below, char ***ret, size_t *ret_n, bool *ret_complete)
{
    char **v = NULL;
    size_t n = 0;
    bool complete = true;
    for (size_t i = 0; i < below->n; i++) {
        const struct layer_row *l = &below->v[i];
        if (l->known == KNOWN_NONE || !l->digests) {
            complete = false;
            break;
        }
        v = vr_grow(v, n + 1, sizeof *v);
        v[n++] = vr_strdup(l->digests);
        if (l->known == KNOWN_FULL)
            break;
    }
    *ret = v;
    *ret_n = n;
    *ret_complete = complete;
}

int tables_open(char *const *paths, size_t n, bool complete, struct tables *ret, struct vr_err *err)
{
    struct tables t = { .v = vr_new0(n ? n : 1, sizeof *t.v), .complete = complete };
    for (size_t i = 0; i < n; i++, t.n++)
        if (digestlog_open(paths[i], 0, false, &t.v[i], err) < 0) {
            tables_done(&t);
            return -1;
        }
    *ret = t;
    return 0;
}

void tables_done(struct tables *t)
{
    for (size_t i = 0; i < t->n; i++)
        digestlog_free(t->v[i]);
    free(t->v);
    *t = (struct tables){ 0 };
}

uint64_t tables_block_bytes(uint64_t block, uint64_t size)
{
    uint64_t at = block * VR_BLOCK_SIZE;
    if (at >= size)
        return 0;
    return size - at < VR_BLOCK_SIZE ? size - at : VR_BLOCK_SIZE;
}

int tables_get(const struct tables *t, uint64_t block, uint64_t size, struct vr_digest *ret,
               uint64_t *ret_bytes, struct vr_err *err)
{
    for (size_t i = 0; i < t->n; i++) {
        int rc = digestlog_get(t->v[i], block, ret, err);
        if (rc < 0)
            return -1;
        if (rc == 0)
            continue;
        uint64_t here = tables_block_bytes(block, digestlog_size(t->v[i]));
        uint64_t whole = tables_block_bytes(block, size);
        *ret_bytes = here < whole ? here : whole;
        return 1;
    }
    return 0;
}

int tables_next(const struct tables *t, uint64_t from, uint64_t *ret, struct vr_err *err)
{
    int found = 0;
    uint64_t least = 0;
    for (size_t i = 0; i < t->n; i++) {
        struct digest_record r;
        int rc = digestlog_next(t->v[i], from, &r, err);
        if (rc < 0)
            return -1;
        if (rc > 0 && (!found || r.block < least)) {
            least = r.block;
            found = 1;
        }
    }
    if (found)
        *ret = least;
    return found;
}

int tables_merge(const char *upper, const char *lower, uint64_t size, bool *ret_sound,
                 struct vr_err *err)
{
    enum { BATCH = 512 };
    vr_auto(digestlog_free) struct digestlog *up = NULL, *low = NULL;
    struct digest_record r;
    if (digestlog_open(upper, 0, false, &up, err) < 0 ||
        digestlog_open(lower, 0, false, &low, err) < 0)
        return -1;
    uint64_t had = digestlog_size(low);
    if (had < size && had % VR_BLOCK_SIZE) {
        int held = digestlog_get(low, had / VR_BLOCK_SIZE, &r.digest, err);
        int anew = held > 0 ? digestlog_get(up, had / VR_BLOCK_SIZE, &r.digest, err) : 1;
        if (held < 0 || anew < 0)
            return -1;
        if (!anew) {
            *ret_sound = false;
            return 0;
        }
    }
    digestlog_free(vr_take(low));
    if (digestlog_open(lower, size, true, &low, err) < 0)
        return -1;
    vr_autofree struct digest_record *batch = vr_new0(BATCH, sizeof *batch);
    size_t n = 0;
    int rc = 1;
    for (uint64_t at = 0; rc > 0; at = r.block + 1) {
        rc = digestlog_next(up, at, &r, err);
        if (rc > 0)
            batch[n++] = r;
        if (rc < 0 || ((rc == 0 || n == BATCH) && digestlog_set(low, batch, n, err) < 0))
            return -1;
        if (n == BATCH)
            n = 0;
    }
    if (digestlog_sync(low, err) < 0)
        return -1;
    *ret_sound = true;
    return 0;
}
