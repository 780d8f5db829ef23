/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_STORE_PROOF_H
#define VR_STORE_PROOF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "model/model.h"
#include "store/store.h"

/* What follows from reading points: proof, damage, quarantine, repair. docs/decisions/0007-proof.md
 * says why, docs/store.md section 10 what is kept. Store thread unless said. */

/* A block that is not what it should be. */
struct store_bad {
    char target[VR_TARGET_MAX];
    uint64_t block;
    bool rot; /* the image does not hold what its digest table says; false: it does, and the primary
               * read something else */
};
enum { STORE_BAD_MAX = 65536 }; /* of one reading; beyond it only the number is known */
struct store_bad_list {
    struct store_bad *v;
    size_t n;
    uint64_t total;
};

/* ---- reading, on any worker, see store.h ---- */
/* store_verify_bad() - the blocks that the run()s and slice()s of @v found; valid until it is
 * freed. store_verify_pace() - read at most so many bytes in a second, 0: as fast as possible.
 * store_verify_percent() - how far a run() is. Any thread. */
const struct store_bad_list *store_verify_bad(const struct store_verify_input *v);
void store_verify_pace(struct store_verify_input *v, uint64_t bytes_per_second);
unsigned store_verify_percent(const struct store_verify_input *v);
/* store_slice_prepare() - as store_verify_prepare(), but a merge under way goes on: for short
 * readings of the newest point. */
int store_slice_prepare(struct store *st, const struct vr_uuid *machine,
                        const struct vr_point_id *p, struct store_verify_input **ret,
                        struct vr_err *err);
/* store_verify_slice() - read the blocks [@first, @first + @n) of a disk and compare them with the
 * table and with what the other host read (@theirs; all bytes zero: zeros). Errors: VR_E_INVAL no
 * such disk or range, VR_E_IO, VR_E_CORRUPT, VR_E_CANCELLED. Any worker. */
int store_verify_slice(struct store_verify_input *v, const char *target, uint64_t first,
                       const struct vr_digest *theirs, size_t n, struct vr_err *err);

/* store_proof_booted() - a test machine of the point, listed or not, has run. VR_E_NOTFOUND when
 * the point is gone. */
int store_proof_booted(struct store *st, const struct vr_uuid *machine, const struct vr_point_id *p,
                       struct wall_us now, struct vr_err *err);
/* store_proof_release() - offer a quarantined point for failover all the same. Idempotent. Errors:
 * VR_E_NOTFOUND. */
int store_proof_release(struct store *st, const struct vr_uuid *machine,
                        const struct vr_point_id *p, struct vr_err *err);
/* store_proof_acknowledge() - somebody knows: retention may give quarantined points up. */
int store_proof_acknowledge(struct store *st, const struct vr_uuid *machine, struct vr_err *err);

/* ---- the scrub: layers and their tables ---- */
/* Where the scrub of a machine stands; starts as zeros. */
struct store_scrub_at {
    int64_t layer; /* the layer being read, 0: begin with the lowest */
    uint64_t block;
};
/* store_scrub_prepare() - the next piece of about @max_bytes after @at, *ret NULL: nothing to do
 * now (no chain at rest, a merge under way, no layer with a table). store_scrub_pace() - read at
 * most so many bytes in a second, 0: as fast as possible. store_scrub_run() - read and compare; any
 * worker. Errors: VR_E_IO, VR_E_CORRUPT, VR_E_CANCELLED. store_scrub_finish() - always called after
 * prepare() gave one; notes damage and quarantine, frees. *at becomes the place to go on from,
 * *ret_pass: everything was read, it begins anew. *ret_bytes: that were read, without holes; @ret:
 * what was found. */
struct store_scrub;
int store_scrub_prepare(struct store *st, const struct vr_uuid *machine,
                        const struct store_scrub_at *at, uint64_t max_bytes,
                        struct store_scrub **ret, struct vr_err *err);
void store_scrub_pace(struct store_scrub *s, uint64_t bytes_per_second);
int store_scrub_run(struct store_scrub *s, struct vr_err *err);
int store_scrub_finish(struct store *st, struct store_scrub *s, struct wall_us now,
                       struct store_scrub_at *at, bool *ret_pass, uint64_t *ret_bytes,
                       struct store_noted *ret, struct vr_err *err);
/* store_scrub_bytes() - about what a whole pass has to read: what the files take up, not what thin
 * disks could hold. */
int store_scrub_bytes(struct store *st, const struct vr_uuid *machine, uint64_t *ret,
                      struct vr_err *err);

/* ---- repair ---- */
/* store_repair_prepare() - one rotten layer whose right bytes may be known; *ret NULL: none.
 * store_repair_run() - find the bytes and write them into a new layer; any worker.
 * store_repair_finish() - always called after prepare() gave one: puts the layer in, frees.
 *   *ret_blocks: repaired, *ret_points: points whose quarantine ended. VR_E_IO also when all that
 * was put in and something is left to be tried again, because a layer could not be read. */
struct store_repair;
int store_repair_prepare(struct store *st, const struct vr_uuid *machine, struct store_repair **ret,
                         struct vr_err *err);
int store_repair_run(struct store_repair *r, struct vr_err *err);
int store_repair_finish(struct store *st, struct store_repair *r, size_t *ret_blocks,
                        size_t *ret_points, struct vr_err *err);

#endif
