/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSFER_BLOCKREAD_H
#define VR_TRANSFER_BLOCKREAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/model.h"
#include "transfer/nbd_libnbd.h"

/* Reading the blocks of an open disk in order, for whoever looks at all of them: proof, digest
 * tables. Holes are passed over without being read. */
struct blockread {
    struct vnbd *nbd;
    const atomic_bool *cancel; /* may be NULL; set by anybody: ends with VR_E_CANCELLED */
    uint64_t bytes_per_second; /* limit, 0 none */
    bool tolerant;             /* a block that cannot be read is told with @data NULL, no error */
    /* Called in ascending order for every block that may be other than zeros; blocks in between are
     * zeros. @n: its bytes (the last one of a disk may be short). -1 ends with the error, 1
     * without: this block was the last one wanted. */
    int (*fn)(void *ctx, uint64_t block, const uint8_t *data, size_t n, struct vr_err *err);
    void *ctx;
};

/* blockread_run() - blocks [@first, @end) as far as the disk has them. Returns 0, 1 when @fn ended
 * it, or -1. Errors: VR_E_IO, VR_E_CANCELLED, those of @fn. Thread: a worker; blocks. */
int blockread_run(const struct blockread *r, uint64_t first, uint64_t end, struct vr_err *err);

/* blockread_all_zero() - whether @n bytes are zeros. Pure. */
bool blockread_all_zero(const uint8_t *p, size_t n);

#endif
