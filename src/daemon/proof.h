/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_PROOF_H
#define VR_DAEMON_PROOF_H

#include "daemon/daemon.h"
#include "daemon/proofplan.h"

/* Proof that both hosts hold the same, docs/decisions/0007-proof.md. proof.c: the primary's slices,
 * proof_peer.c: what the replica answers, verify.c: reading a point when somebody asks, scrub.c:
 * the replica's layers in the background, and repair. Control thread unless said. */

enum { PROOF_SLICES = 2 }; /* of different machines that are read at once */

/* proof_load() - at start, before the store thread begins. */
int proof_load(struct daemon *d, struct vr_err *err);
/* proof_save() - write the state of a machine down; best effort. */
void proof_save(struct daemon *d, const struct vr_uuid *machine);
/* proof_forget() - the relationship ends. */
void proof_forget(struct daemon *d, const struct vr_uuid *machine);
/* proof_slice() - called when the capture of an acknowledged point is about to be given up: read a
 * slice of it first, if one is due, then call @then. False: nothing is due, and @then is not
 * called. */
bool proof_slice(struct daemon *d, const struct rel *r, struct hv_capture *cap,
                 void (*then)(void *arg), void *arg);
/* proof_changed() - a relationship changed: what does not belong to its state ends.
 * proof_stop() - the daemon stops. */
void proof_changed(struct daemon *d, const struct rel *r);
void proof_stop(struct machine_rt *rt);
/* proof_ask() - a whole pass now, with a job. Errors: VR_E_STATE, VR_E_BUSY, VR_E_UNSUPPORTED. */
int proof_ask(struct daemon *d, const struct vr_uuid *machine, const char *owner,
              struct vr_uuid *ret_job, struct vr_err *err);
/* proof_cancel() - end the pass that @job stands for; false: it stands for none. */
bool proof_cancel(struct daemon *d, const struct vr_uuid *job);

/* proof_peer.c: call PROVE. Connection thread. */
int proof_peer(struct daemon *d, const struct xport_peer *from, const void *body, size_t n,
               struct vr_buf *reply, struct vr_err *err);

/* scrub.c: scrub_tick() - begin what is due; every now and then. proof_repair() - repair one layer
 * of a machine if one can be; true when something was done. Transfer worker. */
void scrub_tick(struct daemon *d);
bool proof_repair(struct task *t);

/* index.c: index_tick() - read disks that have no digest table yet; every now and then. */
void index_tick(struct daemon *d);

/* verify.c: what the providers may have done. */
void verify_host(struct daemon *d);
void verify_tick(struct daemon *d);
/* proof_differs() - tell of blocks that differ: health, log, points. */
void proof_differs(struct daemon *d, const struct vr_uuid *machine, uint64_t blocks, bool open,
                   const char *text);

#endif
