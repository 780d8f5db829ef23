/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_SWAP_H
#define VR_DAEMON_SWAP_H

#include "daemon/daemon.h"

/* What the effects share that make, fail over, reverse and remove: those that touch the chain and
 * the machine's definition. Every work() can be run again after a crash at any line. */

/* A task of an effect with an event as its result and room for what the effects need. */
struct swap_task {
    struct task t;
    struct rel_event ev;        /* what is told on success */
    enum rel_event_type failed; /* and on failure (with t.err); same as ev.type: told anyway */
    struct xport_peer peer;
    char *xml;
    struct store_disk disks[VR_DISKS_MAX];
    char *base[VR_DISKS_MAX];
    struct hv_disk_path paths[2 * VR_DISKS_MAX];
    char kept[VR_DISKS_MAX][VR_TARGET_MAX]; /* disks outside replication, by target */
    size_t n_kept;
    bool was_yielded, was_dropped; /* by an attempt that a crash interrupted */
    struct wall_us stopped;        /* YIELD: when the machine was seen to stop; 0: it was not */
    struct wall_us written;        /* and when its disks were last written, about; 0 unknown */
    char *path[VR_DISKS_MAX];
    size_t n;
    uint64_t seen; /* CREATE: sum of the disks that the request was checked against; PUSH_SETTINGS:
                      the number of those that the peer holds */
    char checkpoint[64];
    char folder[512]; /* where the replica belongs, for MAKE_REPLICA */
};

/* swap_new() - a task whose end tells the engine @ok, or @failed with the error (EV_COUNT:
 * nothing), and ends the effect. Control thread. swap_done() - that end, for those that need more
 * of their own. */
struct swap_task *swap_new(const struct rel *r, void (*work)(struct task *), enum rel_event_type ok,
                           enum rel_event_type failed);
void swap_done(struct task *t);
/* swap_wait_hv() - a daemon or libvirtd that has just started: wait some seconds for the connection
 * before an effect is called a failure for its want. Workers; before anything else. */
void swap_wait_hv(struct task *t);
/* swap_st_paths() - fill path and paths with where the machine's disks are on failover. Store
 * thread. */
void swap_st_paths(void *arg);

/* swap_forget_newer() - of a primary: give up what lay after the point that was failed over to. The
 * first point of the new direction is at the peer, so nobody asks any more what differs. Repeated
 * at the next start, and done by the return at the latest; a failure is logged only. Workers. */
void swap_forget_newer(struct task *t);

#endif
