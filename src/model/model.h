/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_MODEL_MODEL_H
#define VR_MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/uuid.h"

/* Plain facts shared by all parts; no I/O. */

#define VR_NAME_MAX 256     /* bytes of a machine, host or peer name with the final NUL */
#define VR_TARGET_MAX 32    /* bytes of a disk target ("vda") with the final NUL */
#define VR_DISKS_MAX 64     /* disks of one machine */
#define VR_BLOCK_SIZE 65536 /* bytes of a digest block; also qcow2 cluster and bitmap granularity \
                             */
#define VR_DISK_MAX ((uint64_t)64 << 40) /* bytes of the largest disk we accept */

/* Identity of a recovery point: an epoch of a lineage (design: words). */
struct vr_point_id {
    struct vr_uuid lineage;
    uint64_t epoch;
};

/* Kind of a point. src:[contract.md A.0 last replication type, A.10 VirtualSystemType] */
enum vr_point_kind {
    VR_POINT_NONE,
    VR_POINT_STANDARD,
    VR_POINT_APPLICATION,
    VR_POINT_PLANNED,
    VR_POINT_ORPHAN, /* ours: what an old primary had written and nobody received */
};

/* Why what was written since the last acknowledged point is not known any more: the detail of
 * VR_E_TRACKING. L(NAME, text, what to do), see model/lost.def. */
enum vr_lost {
#define L(n, text, todo) VR_LOST_##n,
#include "model/lost.def"
#undef L
    VR_LOST_COUNT
};

/* 128-bit digest of one block (XXH3-128, canonical big-endian form). */
struct vr_digest {
    uint8_t b[16];
};

static inline bool vr_point_eq(const struct vr_point_id *a, const struct vr_point_id *b)
{
    return a->epoch == b->epoch && vr_uuid_eq(&a->lineage, &b->lineage);
}

#endif
