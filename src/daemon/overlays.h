/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_OVERLAYS_H
#define VR_DAEMON_OVERLAYS_H

#include "daemon/daemon.h"

/* A machine that was failed over and has not sent a point since, or lost its change map since: what
 * is known of its disks without reading them. */
struct overlay {
    bool has_written;       /* the change map is lost, and */
    struct extents written; /* F, by what the failover overlay holds */
    bool has_below;
    struct store_known below; /* outside of F: digests of what lies below the overlay */
};

/* overlays_captured() - the change map of the failover could not be used (@why) when @r's disks
 * were to be captured: capture them without it, so that overlays_look() can tell what was written.
 * *ret NULL and the error @why when that is not possible. */
void overlays_captured(struct daemon *d, const struct rel *r, const char *const targets[],
                       size_t n_targets, const char *name, struct hv_capture **ret,
                       struct vr_err *why);
/* overlays_look() - for each disk of @cap fill in @o, as far as it is known; @below: also of what
 * lies below. Nothing is known of disks that are not the overlays any more. Worker; blocks. */
void overlays_look(struct daemon *d, const struct rel *r, const struct hv_capture *cap, bool below,
                   struct overlay o[VR_DISKS_MAX]);
void overlays_done(struct overlay o[VR_DISKS_MAX]);

#endif
