/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_CONTENTS_H
#define VR_DAEMON_CONTENTS_H

#include "daemon/daemon.h"
#include "transfer/disksum.h"

/* What the disks that keep no bitmap (raw images, block devices) held at the newest point shipped:
 * a checksum each, found while they were read to be compared, and the only thing that later tells
 * whether such a disk was written to since. A document of the store, rewritten by every point, so a
 * stale one names another point. All calls block: workers. */
struct contents {
    size_t n;
    char target[VR_DISKS_MAX][VR_TARGET_MAX];
    struct disksum sum[VR_DISKS_MAX];
};

/* contents_save() - what the disks held at the point @of. contents_load() - VR_E_NOTFOUND when
 * nothing is written down for @of. */
int contents_save(struct daemon *d, const struct vr_uuid *machine, const struct vr_point_id *of,
                  const struct contents *c, struct vr_err *err);
int contents_load(struct daemon *d, const struct vr_uuid *machine, const struct vr_point_id *of,
                  struct contents *ret, struct vr_err *err);

/* contents_unchanged() - read the disk that @disk exports and compare: 1 it is as it was, 0 it is
 * not, or nothing is known of it; -1 with @err when it cannot be read (VR_E_CANCELLED: the daemon
 * stops). */
int contents_unchanged(struct daemon *d, const struct contents *c,
                       const struct hv_capture_disk *disk, struct vr_err *err);

#endif
