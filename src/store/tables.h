/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_STORE_TABLES_H
#define VR_STORE_TABLES_H

#include "model/model.h"
#include "store/store_int.h"
#include "transfer/digestlog.h"

/* Digest tables of a chain of layers, taken together. */

/* tables_paths() - the tables that count for the image of @below (top first), newest first.
 * @ret_complete: they know every block that is not zero. Below a layer without a table none counts:
 * that layer may have changed any block. Below a table of the whole image none is needed. */
void tables_paths(const struct layers *below, char ***ret, size_t *ret_n, bool *ret_complete);

/* The same tables, open. */
struct tables {
    struct digestlog **v;
    size_t n;
    bool complete;
};
int tables_open(char *const *paths, size_t n, bool complete, struct tables *ret,
                struct vr_err *err);
void tables_done(struct tables *t);

/* tables_get() - what the tables say of a block of a disk of @size bytes. 1: *ret is the digest of
 * the first *ret_bytes bytes, zeros follow (a disk that has grown); 0: zeros, if the tables are
 * complete, unknown otherwise; -1 error. */
int tables_get(const struct tables *t, uint64_t block, uint64_t size, struct vr_digest *ret,
               uint64_t *ret_bytes, struct vr_err *err);
/* tables_next() - the smallest block >= @from that any table holds: 1 found, 0 none, -1 error. */
int tables_next(const struct tables *t, uint64_t from, uint64_t *ret, struct vr_err *err);
/* tables_block_bytes() - bytes of a block of a disk. */
uint64_t tables_block_bytes(uint64_t block, uint64_t size);

/* tables_merge() - put the slots of @upper into @lower, which grows to @size and is synced.
 * *ret_sound false: @lower can no longer be trusted, because its last block was a short one whose
 * digest is gone (nothing was changed then). */
int tables_merge(const char *upper, const char *lower, uint64_t size, bool *ret_sound,
                 struct vr_err *err);

#endif
