/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_REPLICATION_STEP_H
#define VR_REPLICATION_STEP_H

#include "replication/rel.h"

/* The engine's core: a pure function. No I/O, no clock, no randomness: all of it comes in events.
 */

/* Effects, run in the order of their numbers; PERSIST is durable before the next one starts, FORGET
 * comes when everything else is undone: what is still written is done again after a crash.
 * FX(NAME, what the environment does, with what of the relationship) */
#define REL_EFFECTS(FX)                                                                       \
    FX(PERSIST, "write the relationship down")                                                \
    FX(CREATE_AT_PEER, "ask the peer to make a replica -> CREATED | CREATE_FAILED")           \
    FX(MAKE_REPLICA, "make the chain and define the machine here -> CREATED | CREATE_FAILED") \
    FX(PUSH_SETTINGS, "tell the peer the settings, until it acknowledges them")               \
    FX(CAPTURE, "capture flow.epoch -> CAPTURED | CAPTURE_FAILED")                            \
    FX(SHIP, "ship the capture -> SHIPPED | SHIP_FAILED")                                     \
    FX(RETIRE, "end the capture, keep its checkpoint -> ENDED")                               \
    FX(DROP, "end the capture, give up its checkpoint -> ENDED")                              \
    FX(CANCEL_FLOW, "break the transfer in progress; SHIP_FAILED follows")                    \
    FX(CANCEL_RX, "break the incoming transfer; RX_ENDED follows")                            \
    FX(GUARD, "refuse power-on of the machine here")                                          \
    FX(UNGUARD, "allow power-on again")                                                       \
    FX(POLICY, "do with a running machine that is superseded what the policy says")           \
    FX(FAILOVER, "make overlays on `failover` -> FAILED_OVER | FAILOVER_FAILED")              \
    FX(REVERT, "drop the overlays -> REVERTED | REVERT_FAILED")                               \
    FX(REVERSE_CALL, "ask the peer to become the replica -> REVERSED | REVERSE_FAILED")       \
    FX(BECOME_PRIMARY, "the chain becomes the machine's own disks")                           \
    FX(YIELD, "become the replica of next_lineage -> YIELDED | YIELD_FAILED")                 \
    FX(CLEAN_TRACKING, "delete all our checkpoints of the machine")                           \
    FX(RECONCILE, "delete our checkpoints other than the acknowledged one")                   \
    FX(REMOVE, "end what is ours here: guards, stage, chain -> REMOVED | REMOVE_FAILED")      \
    FX(PROBE, "ask the peer how it stands and tell it -> PEER_TOLD | PEER_AWAY")              \
    FX(RETENTION, "merge away what retention no longer wants")                                \
    FX(FORGET, "delete the written relationship")                                             \
    FX(REPLY, "answer the peer who waits: success")                                           \
    FX(REPLY_ERR, "answer the peer who waits: last_err")                                      \
    FX(JOB_DONE, "the operation's job has succeeded")                                         \
    FX(JOB_FAIL, "the operation's job has failed with last_err")                              \
    FX(JOB_CANCEL, "the operation's job was cancelled")                                       \
    FX(SYNC_DONE, "a cycle ended: jobs that wait for one are done")                           \
    FX(SYNC_FAIL, "a cycle failed: jobs that wait for one have failed with last_err")

enum rel_fx_bit {
#define FX(n, text) FX_BIT_##n,
    REL_EFFECTS(FX)
#undef FX
        FX_BIT_COUNT
};
_Static_assert(FX_BIT_COUNT <= 32, "effects are bits of an unsigned number");
enum rel_fx {
#define FX(n, text) FX_##n = 1u << FX_BIT_##n,
    REL_EFFECTS(FX)
#undef FX
};

/* What one host tells the other of a machine that both know. */
struct rel_story {
    enum rel_mode mode;
    bool failed_over;       /* it left lineage `of` at `point` for one of its own, at `since` */
    struct vr_uuid lineage; /* that one, or the one it carries */
    struct vr_uuid of;
    struct vr_point_id point; /* failed over to */
    struct wall_us since;
    enum rel_power power;
    bool ahead_known; /* a primary: bytes written since its last acknowledged point */
    uint64_t ahead;
    struct vr_uuid told_by; /* run of the daemon that tells; zero: of an older version */
    int64_t told_ms;        /* when, by that run's clock that never goes back */
    bool state_known; /* not told by an older version, nor while it is being made or removed */
    uint16_t state;   /* ReplicationState; 0: it is not replicated there (any more) */
};

/* rel_story() - what @r tells of itself, but for power and ahead. rel_story_left() - what is still
 * told when @r, which is just being removed, is no more. Pure. */
struct rel_story rel_story(const struct rel *r);
struct rel_story rel_story_left(const struct rel *r);

/* An event with what it carries. Only the fields named by the event's type count. */
struct rel_event {
    enum rel_event_type type;
    struct mono_ms mono;     /* always */
    struct wall_us wall;     /* always */
    uint32_t day_s;          /* always: second of the local day, 0..86399 */
    struct vr_err err;       /* *_FAILED, ENDED (may be empty) */
    struct rel_settings set; /* U_CREATE, U_MODIFY, U_REVERSE, PEER_* */
    char peer[VR_NAME_MAX];  /* U_CREATE, PEER_*, U_REVERSE: the other host */
    char name[VR_NAME_MAX];  /* U_CREATE, PEER_CREATE, U_BECOME_REPLICA */
    uint32_t n_disks; /* U_CREATE, PEER_*, CAPTURED, U_BECOME_REPLICA, RX_COMMITTED; U_MODIFY:
                         0 as before; FAILED_OVER, REVERTED: of the point */
    struct rel_disk disks[VR_DISKS_MAX];
    struct vr_uuid lineage;    /* U_CREATE, U_FAILOVER: a fresh random one; PEER_*: the peer's */
    struct vr_point_id point;  /* U_FAILOVER, RX_*, FAILED_OVER, PEER_REVERSE: parent point;
                                  REVERSED: the orphan that was kept there, or zeros */
    struct vr_point_id newest; /* PEER_REVERSE: newest point that the peer received */
    bool latest;               /* U_FAILOVER: no point was named */
    enum vr_point_kind kind;   /* RX_*, FAILED_OVER; CAPTURED: APPLICATION when it is consistent */
    bool app;                  /* U_SYNC: the point shall be application-consistent */
    char note[160];            /* CAPTURED: why it is not although it should */
    uint32_t frozen_ms;        /* CAPTURED: how long the guest's file systems were frozen */
    struct wall_us instant;    /* CAPTURED, RX_COMMITTED */
    bool vm_off;   /* CAPTURED: the instant is of a machine that is off; U_PREPARE, U_FAILOVER,
                      U_REVERT, PEER_REVERSE, U_BECOME_REPLICA */
    bool diverged; /* REVERSED: the peer told what it wrote on its own; RX_OPEN: that is in it, too
                    */
    bool resync;   /* RX_OPEN: all disks are compared, as the primary needs or wants it */
    bool update;   /* RX_OPEN: the primary has changed the set of disks */
    bool seeded;   /* U_START_IR type 3; CREATED, REVERSED: the peer has disks to compare with */
    struct wall_us start_at; /* U_START_IR, U_RESYNC: 0 now */
    struct rel_moved moved;  /* SHIPPED, RX_COMMITTED */
    struct rel_story story;  /* PEER_TOLD; `peer` is who told it */
    bool unasked;            /* PEER_TOLD: not an answer; it may have been on its way for long */
};

/* rel_must_be_off() - refuses @ev in state @st because machine @name runs, with all that has to be
 * done first. Returns -1 with VR_E_STATE. Pure. */
int rel_must_be_off(const char *name, enum rel_state st, enum rel_event_type ev,
                    struct vr_err *err);

/* step() - what @ev does to @r: *ret_next and the effects (rel_fx bits) in *ret_fx.
 * Errors: VR_E_STATE when the event is not legal in this state; VR_E_SUPERSEDED, VR_E_INVAL,
 * VR_E_BUSY from guards. On failure nothing changes. Pure. Source: contract.md C.1, C.2, C.4. */
int rel_step(const struct rel *r, const struct rel_event *ev, struct rel *ret_next,
             uint32_t *ret_fx, struct vr_err *err);

/* rel_fx_name() - "CAPTURE"; for logs and the generated documents. */
const char *rel_fx_name(enum rel_fx_bit bit);

/* The table, for docs/states.md and the tests: rows in order; false past the end. */
struct rel_row {
    enum rel_state from;
    enum rel_event_type ev;
    const char *guard, *action;
    enum rel_state to;
    uint32_t fx;
    const char *source;
};
bool rel_table_row(size_t i, struct rel_row *ret);

#endif
