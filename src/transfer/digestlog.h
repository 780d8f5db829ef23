/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSFER_DIGESTLOG_H
#define VR_TRANSFER_DIGESTLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "model/model.h"

/* The digest table of one layer: which blocks it holds and their digests. A sparse file: a header
 * block, then one 16-byte slot per block of the disk, all zero = the layer does not hold it. Slots
 * never straddle a sector, so each is whole or absent after a crash. Order that makes it true:
 *   set:       data written, data flushed, slot written, slot synced
 *   overwrite: slot cleared, slot synced, then data written (write-ahead invalidation)
 * so a slot that is there always tells the digest of durable data. A block of zeros that the layer
 * holds has the digest of zeros. Memory use is small whatever the disk's size.
 * Thread: one at a time per handle; a table may be read through one handle while another writes. */
struct digestlog;

struct digest_record {
    uint64_t block;
    struct vr_digest digest;
};

/* digestlog_open() - open @path for a disk of @size bytes.
 * @size:   bytes of the disk; 0 (only without @create) takes what the table says
 * @create: open for writing and make it when absent (durably); a table of a smaller disk grows: its
 *          short last block, if there was one, is forgotten. Without it: read-only.
 * Errors: VR_E_CORRUPT when the header does not fit, VR_E_NOFILE, VR_E_IO, VR_E_NOSPACE. */
int digestlog_open(const char *path, uint64_t size, bool create, struct digestlog **ret,
                   struct vr_err *err);
/* digestlog_open_temp() - an empty table without a name, gone when closed; for what a peer told.
 * Errors: VR_E_IO, VR_E_NOSPACE. */
int digestlog_open_temp(uint64_t size, struct digestlog **ret, struct vr_err *err);
/* digestlog_set() / digestlog_clear() - write slots; durable after digestlog_sync(). */
int digestlog_set(struct digestlog *d, const struct digest_record *r, size_t n, struct vr_err *err);
int digestlog_clear(struct digestlog *d, uint64_t block, struct vr_err *err);
int digestlog_sync(struct digestlog *d, struct vr_err *err);
/* digestlog_take_back() - clear the slots of @n blocks, durably, before the blocks are written
 * over. When that fails the slots are as they were: the kernel tells of a failed write once and
 * shows what was to be written, so whoever looks later would take slots for cleared that are still
 * on the disk. */
int digestlog_take_back(struct digestlog *d, const uint64_t *blocks, size_t n, struct vr_err *err);
/* digestlog_get() - false when the layer does not hold the block. Errors are told as -1: returns 1
 * found, 0 absent, -1 error. */
int digestlog_get(const struct digestlog *d, uint64_t block, struct vr_digest *ret,
                  struct vr_err *err);
/* digestlog_next() - smallest held block >= @from: 1 found, 0 none, -1 error. Skips holes fast. */
int digestlog_next(const struct digestlog *d, uint64_t from, struct digest_record *ret,
                   struct vr_err *err);
/* digestlog_size() - bytes of the disk it describes. digestlog_free() - close; NULL is fine. */
uint64_t digestlog_size(const struct digestlog *d);
void digestlog_free(struct digestlog *d);
VR_DEFINE_CLEANUP(struct digestlog, digestlog_free)

/* vr_digest_block() - digest of @n bytes (a block, or the shorter last one of a disk); never the
 * all-zero value. vr_digest_zero() - digest of @n zero bytes, cheap for VR_BLOCK_SIZE. */
struct vr_digest vr_digest_block(const void *p, size_t n);
struct vr_digest vr_digest_zero(size_t n);

#endif
