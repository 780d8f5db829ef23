/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSFER_PLAN_H
#define VR_TRANSFER_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "transfer/digestlog.h"
#include "transfer/nbd_libnbd.h"
#include "transfer/own.h"
#include "transfer/xfer.h"

/* Which blocks of one window of a disk are to be looked at, and which of them may hold data. */

enum { PLAN_BLOCKS = 1 << 24 }; /* blocks of one window (1 TiB): two bitmaps of 2 MiB */

struct plan {
    uint64_t first, n; /* blocks of the window */
    uint64_t size;     /* bytes of the disk */
    uint8_t *wanted;   /* bitmap: candidates */
    uint8_t *data;     /* bitmap: not known to be zeros */
};

/* What the receiver told about a disk before the transfer. */
struct plan_known {
    struct digestlog *table; /* digests of what it has: the stage, and the parents when asked for */
    struct extents doubt;    /* in bytes: it may hold something there and does not know what */
    bool fresh;              /* blocks that are not mentioned read as zeros there */
    bool parents_complete;   /* so do blocks that neither table nor doubt names */
};

/* plan_done() - free. */
void plan_done(struct plan *p);
/* plan_build() - the window that starts at block @first. Candidates: by the mode of @d; and
 * whatever it says all blocks of @known, because the receiver's stage may come from another try at
 * another instant: what it holds beyond the candidates of today must be looked at again. With @own
 * (comparing; NULL: nothing is known) blocks that are equal by their digests are no candidates.
 * Errors: VR_E_IO, VR_E_CANCELLED. */
int plan_build(struct plan *p, const struct xfer_send_disk *d, struct vnbd *nbd,
               const struct plan_known *known, struct own *own, uint64_t first, struct vr_err *err);
/* plan_bytes() - bytes of the candidates. */
uint64_t plan_bytes(const struct plan *p);
/* plan_next() - first run of candidates at or after block @from that are alike in having data, at
 * most @max_data blocks with data or @max_zero without. false: none left. */
struct plan_run {
    uint64_t block, n;
    bool data;
};
bool plan_next(const struct plan *p, uint64_t from, uint64_t max_data, uint64_t max_zero,
               struct plan_run *ret);

#endif
