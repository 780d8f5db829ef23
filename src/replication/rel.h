/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_REPLICATION_REL_H
#define VR_REPLICATION_REL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "model/model.h"

/* A relationship as one host sees it: a plain value without pointers, so that step() can copy it.
 */

enum rel_state {
#define S(n, mode, cim, text) ST_##n,
#include "replication/states.def"
#undef S
    ST_COUNT
};

enum rel_event_type {
#define E(n, otherwise, text) EV_##n,
#include "replication/events.def"
#undef E
    EV_COUNT
};

#define VR_LOST_TEXT 256
#define VR_BAD_TEXT 400
#define VR_SILENT_TEXT 200

/* How many recovery points are kept; docs/store.md section 5. */
struct rel_keep {
    uint32_t every_s; /* every cycle of so many seconds */
    uint16_t hourly, daily, weekly;
};

/* What shall happen to a machine that runs on a host whose lineage is superseded. */
enum rel_on_superseded {
    ON_SUPERSEDED_HOST, /* as the host's configuration says */
    ON_SUPERSEDED_LEAVE,
    ON_SUPERSEDED_PAUSE,
    ON_SUPERSEDED_SHUTDOWN,
    ON_SUPERSEDED_COUNT
};

/* What is known of a machine's power at the other host. */
enum rel_power { REL_POWER_UNKNOWN, REL_POWER_OFF, REL_POWER_ON };

/* What the user may set; the names are the contract's. src:[contract.md A.3] */
struct rel_settings {
    uint16_t auth_type; /* 1 Kerberos, 2 certificate */
    char thumbprint[129];
    bool compression;
    bool bypass_proxy;
    bool replicate_kvp;
    bool auto_resync;
    char recovery_point[VR_NAME_MAX]; /* RecoveryConnectionPoint */
    uint16_t recovery_port;
    char primary_point[VR_NAME_MAX]; /* PrimaryConnectionPoint */
    uint32_t app_interval_s;         /* 0 never; the contract's hours show it, rounded up */
    uint16_t recovery_history;
    struct rel_keep keep; /* what the primary asks for beyond recovery_history */
    uint32_t interval_s;  /* 5..3600; the contract's ReplicationInterval shows it */
    uint32_t resync_start_s, resync_end_s; /* seconds of the local day */
    uint16_t on_superseded;                /* enum rel_on_superseded */
    /* Which of the primary's settings these are: each change has the next number. 0: of a version
     * that does not number them. Nobody sets it. */
    uint64_t rev;
};

/* A replicated disk. */
struct rel_disk {
    char target[VR_TARGET_MAX];
    uint64_t size; /* bytes at the last capture */
    bool added;    /* P: the acknowledged point does not have it: it is sent as a whole */
};

enum flow_phase { FLOW_IDLE, FLOW_CAPTURE, FLOW_SHIP, FLOW_RETIRE, FLOW_DROP };
enum flow_kind { FLOW_NONE, FLOW_IR, FLOW_CYCLE, FLOW_FINAL, FLOW_RESYNC, FLOW_UPDATE };

/* The cycle in progress on a primary. Not persistent: a restart begins anew from `acked`. */
struct rel_flow {
    enum flow_phase phase;
    enum flow_kind kind;
    uint64_t epoch; /* being captured and shipped */
    bool has_since; /* the changes since the acknowledged point are known; else nothing is */
    struct wall_us instant; /* of the capture */
    struct mono_ms began;
    bool cancelled;
    bool stale;    /* the set of disks was changed since it began */
    bool again;    /* a sync was asked for while this cycle ran */
    bool app;      /* the point shall be application-consistent, */
    bool app_done; /* and it is */
    bool differed; /* a proof found a difference since it began: its point may show it as well */
};

/* What a finished transfer moved. */
struct rel_moved {
    uint64_t dirty;   /* bytes considered */
    uint64_t payload; /* bytes shipped before compression */
    uint64_t wire;    /* bytes on the wire */
    uint64_t ms;
    /* The first one after a reversal: bytes in whole blocks of F (written here since the failover),
     * O (between the point failed over to and the newest) and D (written by the old primary alone).
     * docs/architecture.md "Reverse" */
    uint64_t written, between, alone;
    bool compared;           /* O and D were not known, but found by comparing */
    struct vr_point_id kept; /* the orphan point that the old primary keeps; zeros: none known */
};

struct rel {
    struct vr_uuid machine;
    char name[VR_NAME_MAX];
    enum rel_state st;
    char peer[VR_NAME_MAX]; /* name of the paired host at the other end */
    struct rel_settings set;
    uint64_t told_rev; /* P: the peer has acknowledged settings up to this number, */
    bool untold;       /* volatile: and could not be told those that followed */
    uint32_t n_disks;
    struct rel_disk disks[VR_DISKS_MAX];
    uint32_t n_leaving; /* P: behind those: in the acknowledged point, and not to be in the next */
    bool disks_changed; /* P: the next point has other disks than the acknowledged one, or may */

    struct vr_uuid lineage;   /* the line of writes this relationship carries */
    uint64_t epoch;           /* P: last epoch number used, also by failed cycles */
    struct vr_point_id acked; /* P: newest point the peer holds durably; epoch 0 + zero: none */
    bool has_acked;
    bool tracked;              /* P: the checkpoint of `acked` can be relied on */
    struct vr_point_id newest; /* R: newest point held */
    bool has_newest;
    struct wall_us newest_instant; /* both: instant of acked/newest */
    struct wall_us last_time;      /* LastReplicationTime: when it was committed */
    struct wall_us last_app_time;  /* both: when the newest application-consistent one was */
    struct wall_us app_tried;      /* P: when the last attempt at one was made */
    char app_note[160];            /* P: why it failed; "" when it did not */
    uint32_t app_frozen_ms;        /* P: how long the last one held the guest's file systems */
    bool app_now;                  /* P, volatile: one was asked for */
    enum vr_point_kind last_kind;

    struct vr_point_id failover; /* R: point failed over to */
    enum vr_point_kind failover_kind;
    bool failover_latest;        /* R: take the newest when the effect runs */
    struct vr_uuid next_lineage; /* R: lineage that began with the failover */
    struct rel_keep floor;       /* R: set on this host; never kept less than this */
    bool committed;              /* R: failover was committed (state while reversing) */
    bool abandon; /* R: while it is removed: the points are given up. Not written: asked again */
    bool ever_replica;   /* this host's disks are a chain of the store */
    bool diverged;       /* R: what this host wrote since its last point is known and part of what
                            the primary sends; P: and is to be shipped with the first point */
    bool yield_for_peer; /* P_YIELDING: a peer waits for it */
    bool seed;           /* waiting with disks of its own to compare with */
    bool seeded_start;   /* P: the initial copy compares instead of copying */
    struct wall_us start_at;  /* P: scheduled start of the initial copy or resync; 0 none */
    bool paused_for_failover; /* R: was suspended when the failover began */
    struct wall_us failed_over_at;
    bool queued; /* R: the reversal waits for a host that could not be asked */
    bool asked;  /* R: the peer was asked to become the replica and has not surely refused */
    /* P_SUPERSEDED: the failover at the other host, as it told it. */
    struct vr_uuid super_lineage;
    struct vr_point_id super_point;
    struct wall_us super_since;
    enum rel_state super_from;     /* state in which this host learned of it */
    struct vr_uuid parent_lineage; /* P: the lineage that this one left; zero: none */
    bool start_allowed;            /* somebody wants the machine to start here all the same */
    bool way_back;                 /* P: the next point is the first one after a reversal */
    /* While a reverse or a change of role is under way: what to go back to if it fails. After a
     * reversal that failed: the settings that the peer was asked with. */
    char old_peer[VR_NAME_MAX];
    struct rel_settings old_set;
    enum rel_state yield_from;

    bool resync_held;     /* P: somebody cancelled the comparison; it does not start by itself */
    bool start_by_window; /* P: start_at is the begin of the daily window */

    struct rel_flow flow;        /* P, volatile */
    struct mono_ms wanted_since; /* P, volatile: when the cycle was begun that has not ended yet */
    uint32_t missed;             /* P, volatile: intervals since then that were counted as missed */
    bool rx_active;              /* R, volatile: a transfer is coming in */
    bool rx_cancel;              /* R, volatile: and has been told to stop */
    bool
        rx_differed; /* R, volatile: a proof found a difference since it began, see flow.differed */
    struct mono_ms due; /* volatile: when TICK is wanted; 0 never */
    /* What the peer told last (volatile). */
    bool peer_away;           /* it did not answer when it was asked last, */
    char other_version[256];  /* as the versions of the two hosts differ in this way; "" else */
    bool peer_over;           /* it was failed over away from the lineage of this host */
    struct wall_us peer_seen; /* when it did; 0 not since the start */
    enum rel_power peer_power;
    bool peer_state_known;
    uint16_t peer_state;         /* ReplicationState there; 0: ended there */
    bool resuming;               /* P_SUPERSEDED: asked to go on, if the peer says so */
    char silent[VR_SILENT_TEXT]; /* volatile: the storage of its files that does not answer; "" */
    struct wall_us silent_since;
    uint32_t failures;      /* volatile: consecutive failed cycles */
    struct vr_err last_err; /* why it is in trouble, empty when not */
    struct wall_us last_err_time;
    struct wall_us since; /* when it came into this state */
    enum vr_lost lost;    /* P: why the checkpoint of `acked` cannot be relied on, until a
                             comparison has made up for it */
    struct wall_us lost_at;
    char lost_text[VR_LOST_TEXT]; /* what was found */

    /* A proof found a difference (docs/decisions/0007-proof.md), until somebody acknowledges. */
    uint64_t bad_blocks; /* 0: nothing to tell */
    bool bad_open;       /* the newest point still shows them */
    struct wall_us bad_since;
    char bad_text[VR_BAD_TEXT]; /* what was found */

    /* statistics of the monitoring window src:[contract.md A.7] */
    struct wall_us stat_start;
    uint32_t stat_ok, stat_miss, stat_net_fail, stat_fail, stat_app_fail;
    uint64_t stat_bytes, stat_max_bytes;
    uint64_t stat_ms, stat_max_ms;
    struct rel_moved last; /* last finished transfer */
    /* The first one after the last reversal. As long as it has not finished (way_back) payload,
     * wire and ms are those of the attempts that failed. */
    struct rel_moved last_back;
};

/* rel_flow_kind() - of the point that the cycle in progress makes. Pure. */
enum vr_point_kind rel_flow_kind(const struct rel *r);
/* rel_ships_changes() - the cycle in progress ships what changed since the acknowledged point, and
 * what the hosts wrote apart; else disks are copied or compared. rel_since_failover() - what
 * changed since the acknowledged point is all that was written here since the failover.
 * rel_uncopied() - the first copy, or the first comparison after a reversal, is not over. Pure. */
bool rel_ships_changes(const struct rel *r);
bool rel_since_failover(const struct rel *r);
bool rel_uncopied(const struct rel *r);
/* rel_owes_settings() - a primary whose replica has not acknowledged the settings and is to be told
 * them. Pure. */
bool rel_owes_settings(const struct rel *r);
/* rel_app_hours() - app_interval_s as ApplicationConsistentSnapshotInterval. Pure. */
uint16_t rel_app_hours(const struct rel_settings *s);
/* rel_keep_check() - VR_E_INVAL with a message that names the number. rel_keep_most() - of each
 * number the larger one: what keeps at least as much as either. rel_keep() - what applies to the
 * points of @r: what the primary asks for and the floor of this replica. Pure. */
int rel_keep_check(const struct rel_keep *k, struct vr_err *err);
struct rel_keep rel_keep_most(struct rel_keep a, struct rel_keep b);
struct rel_keep rel_keep(const struct rel *r);

enum rel_mode {
    REL_MODE_NONE,
    REL_MODE_PRIMARY,
    REL_MODE_REPLICA,
    REL_MODE_TEST,
    REL_MODE_EXTENDED
};

/* rel_follows() - a replica with recovery points that is not failed over: it receives, could, or is
 * kept from it. Pure. */
bool rel_follows(const struct rel *r);

/* rel_mode() - ReplicationMode; rel_cim_state() - ReplicationState; rel_state_text() - for people;
 * rel_state_name() - "P_REPL", for records and tests. Pure. src:[contract.md A.0] */
enum rel_mode rel_mode(const struct rel *r);
uint16_t rel_cim_state(const struct rel *r);
/* rel_failover_type() - FailedOverReplicationType: an orphan point is one like the others there. */
uint16_t rel_failover_type(const struct rel *r);
/* rel_yield_kind() - what the disks of a host that becomes the replica are listed as: PLANNED when
 * they are the very point that the peer failed over to, else ORPHAN: written here, on no other
 * host, and never what a failover takes by itself. */
enum vr_point_kind rel_yield_kind(const struct rel *r);
const char *rel_state_text(enum rel_state st);
const char *rel_state_name(enum rel_state st);
const char *rel_event_text(enum rel_event_type t);
/* rel_seed_point() - the id under which this host's disks are listed when they become a seed; to be
 * asked before the relationship changes sides. */
struct vr_point_id rel_seed_point(const struct rel *r);
/* rel_checkpoint() - name of the checkpoint of an epoch: "vmr.<8 hex of lineage>.<epoch>". */
void rel_checkpoint(const struct vr_uuid *lineage, uint64_t epoch, char out[64]);
/* rel_settings_default() - the values of a machine that never replicated. src:[contract.md A.3] */
void rel_settings_default(struct rel_settings *s);
/* rel_settings_check() - VR_E_INVAL with a message that names the property. src:[contract.md A.3]
 */
int rel_settings_check(const struct rel_settings *s, struct vr_err *err);

/* rel_encode()/rel_decode() - the persistent part as "key=value" lines; unknown keys are refused
 * with VR_E_VERSION by decode, so that an older daemon does not lose what a newer one wrote. */
char *rel_encode(const struct rel *r);
int rel_decode(const char *text, struct rel *ret, struct vr_err *err);

#endif
