/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_PROBE_H
#define VR_DAEMON_PROBE_H

#include "daemon/swap.h"

/* How a machine stands at the two ends of a relationship. */

/* story_here() - what this host tells of @machine. Control thread. story_ahead() - a primary's
 * bytes since its last acknowledged point, from its bitmaps; unknown when they cannot be asked.
 * Workers and connection threads; blocks. */
struct rel_story story_here(struct daemon *d, const struct vr_uuid *machine);
void story_ahead(struct daemon *d, const struct rel *r, struct rel_story *s);

/* fx_probe(), fx_policy() - the effects. Control thread. */
void fx_probe(struct daemon *d, const struct rel *r);
void fx_policy(struct daemon *d, const struct rel *r);

/* policy_undo() - let a machine go on that fx_policy() has paused, if it is paused still: what it
 * was superseded by is no more. policy_forget() - it never will. Nothing to undo is no error.
 * Workers. */
int policy_undo(struct daemon *d, const struct vr_uuid *machine, struct vr_err *err);
int policy_forget(struct daemon *d, const struct vr_uuid *machine, struct vr_err *err);

/* probe_peer() - ask the peer now, at a user's wish: the job ends when it has answered or has not
 * (machine_rt.story, story_at). Control thread. Returns 0. */
int probe_peer(struct daemon *d, const struct rel *r, const char *owner, struct vr_uuid *ret_job);

/* call_status() - answer CALL_STATUS. Connection threads. */
int call_status(struct daemon *d, const struct xport_peer *from, const void *body, size_t n,
                struct vr_buf *reply, struct vr_err *err);

#endif
