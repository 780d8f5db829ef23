/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_REPLICATION_STEP_INT_H
#define VR_REPLICATION_STEP_INT_H

#include "replication/step.h"

/* Between step.c, guards.c and actions.c. The table names them, so the table declares them. */
#define GUARD(name) \
    int rel_g_##name(const struct rel *r, const struct rel_event *ev, struct vr_err *err)
#define ACTION(name) void rel_a_##name(struct rel *r, const struct rel_event *ev)

#define T(f, e, g, a, t, x, src) \
    GUARD(g);                    \
    ACTION(a);
#include "replication/transitions.def"
#undef T
GUARD(from_peer);

/* rel_shrunk_disk() - the first captured disk that is smaller than it was at the last capture, and
 * how large it was; NULL if there is none. */
const struct rel_disk *rel_shrunk_disk(const struct rel *r, const struct rel_event *ev,
                                       uint64_t *ret_was);

/* Pieces of actions: rel_set_error() - what is shown as the reason of trouble; rel_copy_disks() -
 * the event's disks; rel_copy_name() - cut to VR_NAME_MAX; rel_stats_reset() - a new window;
 * rel_count() - a transfer that is done, with what it moved;
 * rel_new_settings() - those of a user's event; rel_forget_attempt() - there is none at an
 * application-consistent point that anything is to be told of; rel_due_now() - a TICK as soon as
 * possible; rel_lose() - the checkpoint of `acked` is not to be relied on any more, why (enum
 * vr_lost) and what was found; rel_keep_old(), rel_back_to_old() - partner and settings before a
 * change of role, for when it fails; rel_forget_story() - of another lineage. */
void rel_set_error(struct rel *r, const struct rel_event *ev);
void rel_copy_disks(struct rel *r, const struct rel_event *ev);
/* rel_disk_sizes() - the event tells how large they are now. rel_disks_held() - the point that is
 * acknowledged has the disks that are wanted (unless they were changed meanwhile).
 * rel_disks_settle() - they are what they are, nothing is wanted of them. rel_disks_fresh() - no
 * point has any of them yet, if that is so. rel_begin() - a cycle. */
void rel_disk_sizes(struct rel *r, const struct rel_event *ev);
void rel_disks_held(struct rel *r);
void rel_disks_settle(struct rel *r);
void rel_disks_fresh(struct rel *r);
void rel_begin(struct rel *r, const struct rel_event *ev, enum flow_kind kind, bool has_since);
void rel_copy_name(char to[VR_NAME_MAX], const char *from);
void rel_stats_reset(struct rel *r, struct wall_us now);
void rel_count(struct rel *r, const struct rel_moved *moved);
void rel_lose(struct rel *r, const struct rel_event *ev, unsigned why, const char *text);
void rel_forget_attempt(struct rel *r);
void rel_new_settings(struct rel *r, const struct rel_event *ev);
void rel_due_now(struct rel *r, const struct rel_event *ev);
void rel_keep_old(struct rel *r);
void rel_back_to_old(struct rel *r);
/* rel_listen() - a replica asks its primary when it has not heard of it until then. rel_heard() -
 * it sends. */
void rel_listen(struct rel *r, const struct rel_event *ev);
void rel_heard(struct rel *r, const struct rel_event *ev);
void rel_forget_story(struct rel *r);

#endif
