/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSFER_OWN_H
#define VR_TRANSFER_OWN_H

#include "transfer/digestlog.h"
#include "transfer/xfer.h"

/* What the sender knows of its own disk without reading it: the digest tables of the layers that
 * lie below what was written since, seen as one. One thread at a time. */
struct own;

/* own_open() - open the tables of @d (xfer_send_disk.own). Errors: as digestlog_open(). */
int own_open(const struct xfer_send_disk *d, struct own **ret, struct vr_err *err);
void own_free(struct own *o);

/* own_begin() - go to block @first. own_at() - what is known of @block, which must not be smaller
 * than in the call before: 1 *ret is its digest, 0 nothing, -1 error. own_next() - the smallest
 * block at or after the last one asked for that a table names; UINT64_MAX: none. own_complete() -
 * blocks that no table names are zeros; else nothing is known of them. */
int own_begin(struct own *o, uint64_t first, struct vr_err *err);
int own_at(struct own *o, uint64_t block, struct vr_digest *ret, struct vr_err *err);
uint64_t own_next(const struct own *o);
bool own_complete(const struct own *o);

#endif
