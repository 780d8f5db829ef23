/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSFER_DISKSUM_H
#define VR_TRANSFER_DISKSUM_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/err.h"
#include "transfer/digestlog.h"

/* The checksum of a whole disk's content: the sum, in two halves modulo 2^64, of the digests of
 * (number, digest) of every block other than zeros. The order in which blocks are met and how holes
 * are stored make no difference, so threads can add up what each has seen. Like vr_digest_block()
 * it tells equal from different and is no defence against a forger. */
struct disksum {
    uint64_t half[2];
};

/* disksum_add() - one block of @n bytes, met once, whose digest is @digest. disksum_join() - add
 * what another thread has seen of the same disk. Pure. */
void disksum_add(struct disksum *s, uint64_t block, const struct vr_digest *digest, size_t n);
void disksum_join(struct disksum *s, const struct disksum *other);

/* disksum_read() - of a disk behind an NBD UNIX socket, read as a whole except for its holes.
 * @cancel: may be NULL; set by anybody. Errors: VR_E_IO, VR_E_CANCELLED. Thread: a worker; blocks.
 */
int disksum_read(const char *socket, const char *export_name, const atomic_bool *cancel,
                 struct disksum *ret, struct vr_err *err);

#endif
