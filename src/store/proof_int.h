/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_STORE_PROOF_INT_H
#define VR_STORE_PROOF_INT_H

#include "store/proof.h"
#include "store/store_int.h"

/* What the files of proof share: verify.c, proof.c, scrub.c, repair.c. */

struct verify_disk {
    char target[VR_TARGET_MAX];
    char *path;
    char format[16];
    uint64_t size;
    char **tables;
    size_t n_tables;
    bool complete;
};

struct store_verify_input {
    struct hold *hold;
    struct vr_uuid machine;
    int64_t seq;
    struct verify_disk *disks; /* in the byte order of their targets */
    size_t n_disks;
    char digest[65]; /* "" until everything was read and nothing was bad */
    struct store_bad_list bad;
    uint64_t pace;
    uint64_t total;        /* bytes of all disks, */
    _Atomic uint64_t done; /* and of them read */
};

/* bad_add() - one more; beyond STORE_BAD_MAX it is only counted. */
void bad_add(struct store_bad_list *l, const char *target, uint64_t block, bool rot);

/* What a reading of a machine's files found wrong. */
struct damage {
    const struct vr_uuid *machine;
    const struct store_bad_list *bad;
    const struct hold *hold; /* of the reading */
    int64_t layer, seq;      /* the layer that was read, 0: point @seq was */
};
/* damage_found() - note bad blocks and quarantine the points that show them, in a transaction of
 * its own, before which it reads digest tables. @ret: what was not known before; untouched on
 * failure. Errors: VR_E_CANCELLED when what was read counts no more. */
int damage_found(struct store *st, const struct damage *d, struct wall_us now,
                 struct store_noted *ret, struct vr_err *err);
/* quarantine_review() - lift the quarantine of points that show no damage any more; likewise. */
int quarantine_review(struct store *st, const struct vr_uuid *machine, size_t *ret_points,
                      struct vr_err *err);

#endif
