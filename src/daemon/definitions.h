/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_DEFINITIONS_H
#define VR_DAEMON_DEFINITIONS_H

#include "daemon/daemon.h"

/* The definitions of a replica, one for each set of disks that its points have. The machine that
 * libvirt shows has the disks of the newest point; a failover to a point of other disks defines it
 * with those. Documents "definition"/UUID TARGET,TARGET,... keep what it is defined from. All
 * block: workers and connection threads, nothing else being done to the machine. */

/* definitions_learn() - points of @disks will be received: keep the definition that the machine has
 * now, and one for them: its own if it has these disks, else @xml of the primary, which may be
 * NULL. Errors: VR_E_TRACKING when nobody knows a definition with these disks: the primary sends
 * one with whatever is not a cycle; VR_E_UNAVAIL, VR_E_STORE. */
int definitions_learn(struct daemon *d, const struct vr_uuid *machine, const struct rel_disk *disks,
                      uint32_t n, const char *xml, struct vr_err *err);
/* definitions_follow() - define the machine (which is off) with the failover disks of this set,
 * unless it is. Disks of its own that were never replicated stay. Idempotent. Errors: VR_E_NOTFOUND
 * when no definition is kept, those of hv_define_replica(). */
int definitions_follow(struct daemon *d, const struct vr_uuid *machine,
                       const struct rel_disk *disks, uint32_t n, struct vr_err *err);
/* definitions_xml() - what a test machine with this set is made from; caller frees. Errors as
 * definitions_follow(). */
int definitions_xml(struct daemon *d, const struct vr_uuid *machine, const struct rel_disk *disks,
                    uint32_t n, char **ret, struct vr_err *err);
/* definitions_forget() - the machine is no replica any more. Failures are logged. */
void definitions_forget(struct daemon *d, const struct vr_uuid *machine);

/* point_disks() - the disks of a recovery point as a relationship has them. Store thread. */
int point_disks(struct daemon *d, const struct vr_uuid *machine, const struct vr_point_id *p,
                struct rel_disk ret[VR_DISKS_MAX], uint32_t *ret_n, struct vr_err *err);

#endif
