/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_DIVERGE_H
#define VR_DAEMON_DIVERGE_H

#include "daemon/daemon.h"
#include "transfer/extents.h"

/* Where two hosts' disks may differ after an unplanned failover: D, what the old primary wrote that
 * nobody received, and O, what lies between the point failed over to and the newest one. (F, what
 * the new primary wrote, is in its checkpoint.) Kept as a document of the store until the first
 * point of the new direction is there. All calls block: workers and connection threads. */
struct divergence {
    struct vr_point_id of;   /* old primary: the point its disks became; new one: its lineage, 0 */
    bool known;              /* false: tracking was lost, the disks must be compared */
    uint64_t alone, between; /* new primary: bytes of D and of O in what the ranges unite */
    size_t n;
    char target[VR_DISKS_MAX][VR_TARGET_MAX];
    struct extents ranges[VR_DISKS_MAX];
};

/* divergence_bytes() - of all ranges, in whole blocks. divergence_done() - free the ranges.
 * divergence_of() - the ranges of @target, NULL if none. */
uint64_t divergence_bytes(const struct divergence *v);
void divergence_done(struct divergence *v);
struct extents *divergence_of(struct divergence *v, const char *target);

/* divergence_of_old_primary() - D from the checkpoint of the newest acknowledged point, saved as
 * the machine's document before it is returned; the document when there is one already. The machine
 * is off. Lost tracking is no error: known is false then. */
int divergence_of_old_primary(struct daemon *d, const struct rel *r, struct divergence *ret,
                              struct vr_err *err);
/* divergence_is_none() - of a machine that is off and prepared: 1 nothing was written since the
 * newest acknowledged point, 0 something was, or nobody can tell (its checkpoint is gone). -1 and
 * @err when the hypervisor cannot be asked. Nothing is saved. */
int divergence_is_none(struct daemon *d, const struct rel *r, struct vr_err *err);
/* divergence_add_points() - unite D, in @v, with O: from r->failover to the newest point held;
 * tells how much either is. VR_E_NOTFOUND when a point in between was pruned: then only a
 * comparison finds it. */
int divergence_add_points(struct daemon *d, const struct rel *r, struct divergence *v,
                          struct vr_err *err);
/* divergence_save() / divergence_load() / divergence_forget() - the machine's document. Save:
 * closes small gaps in @v when there are too many ranges to be written down. Load: VR_E_NOTFOUND if
 * there is none for @of (one of an earlier failover does not count). */
int divergence_save(struct daemon *d, const struct vr_uuid *machine, struct divergence *v,
                    struct vr_err *err);
int divergence_load(struct daemon *d, const struct vr_uuid *machine, const struct vr_point_id *of,
                    struct divergence *ret, struct vr_err *err);
void divergence_forget(struct daemon *d, const struct vr_uuid *machine);

/* divergence_to_msg() - for the reply to REVERSE; @bufs and @out have VR_DISKS_MAX elements, the
 * caller frees the buffers. msg_to_divergence() - checks what the peer says. Pure. */
struct msg_ranges;
struct msg_reverse_reply;
int divergence_to_msg(const struct divergence *v, struct vr_buf *bufs, struct msg_ranges *out,
                      struct vr_err *err);
int msg_to_divergence(const struct msg_reverse_reply *m, struct divergence *ret,
                      struct vr_err *err);

#endif
