/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TESTS_SIM_SIM_H
#define VR_TESTS_SIM_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "replication/engine.h"
#include "store/store.h"

/* Two hosts, one machine, one process, one seed. Engines are the real ones; disks, hypervisors,
 * stores, the net and the clock are arrays and numbers. Nothing here reads a real clock or a real
 * random source, so a seed is a complete description of a run. */

enum { HOSTS = 2, BLOCKS = 64, POINTS_MAX = 64, CHECKPOINTS_MAX = 16, ORPHANS_MAX = 48 };

struct sim;
struct host;

enum fault {
#define F(n, text) FAULT_##n,
#include "faults.def"
#undef F
    FAULT_COUNT
};

enum message {
#define M(n, text) MSG_##n,
#include "messages.def"
#undef M
    MSG_COUNT
};
enum trouble { CUT, SLOW, REORDERED, TROUBLES };

/* ---- the disk of a machine: one number per block, 0 is a hole ---- */
struct disk {
    uint32_t b[BLOCKS];
};

struct checkpoint {
    char name[64];
    bool dirty[BLOCKS]; /* written since it was made */
    bool inconsistent;  /* the machine was killed while it ran */
};

struct capture {
    bool held, live, lost;
    char name[64];
    struct disk at;     /* the instant */
    bool dirty[BLOCKS]; /* since the parent */
    int oracle;
    int64_t when;
    bool frozen, hung; /* the guest, at the instant; it was to be, and its agent did not answer */
};

struct point {
    struct vr_point_id id;
    struct disk d;
    enum vr_point_kind kind;
    struct wall_us instant;
    int64_t received, moment, ours; /* as the store tells its age */
    int oracle;
    /* Proof, rot.c: @d is what the images show; */
    struct disk told;                         /* what their digest tables say, */
    uint32_t copy[BLOCKS];                    /* which stored block it is: points share them */
    uint32_t read[BLOCKS], read_told[BLOCKS]; /* what a verifier has read there, */
    bool compared[BLOCKS];                    /* and what the primary */
    uint32_t theirs[BLOCKS], ours_then[BLOCKS];
    bool known[BLOCKS]; /* to be rotten */
    int bad, sticky;
    enum store_quarantine quarantine;
    bool acknowledged;
};

/* What survives a crash of the daemon, and, but for what is marked, of the host. */
struct durable {
    char *rel;
    struct jobdoc {
        struct vr_uuid id;
        char *text;
    } jobs[64];
    int n_jobs;
    bool chain;
    struct point points[POINTS_MAX];
    int n_points;
    struct point kept[ORPHANS_MAX]; /* orphan points of a primary: not listed, and not forgotten */
    int n_kept;
    struct orphan { /* what must be there: made and not yet discarded by anybody */
        struct vr_point_id id;
        int64_t since;
    } orphans[ORPHANS_MAX];
    int n_orphans;
    struct {
        bool exists, has_parent;
        struct vr_point_id parent;
        bool have[BLOCKS];
        bool flushed[BLOCKS]; /* the others are lost when the host dies */
        uint32_t val[BLOCKS];
    } stage;
    struct divergence { /* blocks in which the two hosts may differ, and between which points */
        bool known;
        struct vr_point_id of;
        bool b[BLOCKS];
    } wrote, extra;      /* as old primary; as new one */
    bool wanted[BLOCKS]; /* known to be wrong in the newest point: to be sent again */
    bool failed_over;    /* the machine's disk is an overlay on a point of the chain */
    struct vr_uuid overlay_lineage;
    struct vr_point_id overlay_on;
    struct disk overlay_base; /* what lies below the overlay, as its digest tables tell it */
};

/* The hypervisor's side; goes on when the daemon dies. */
struct hvside {
    bool has_disk; /* the definition points at disks that exist */
    bool running, guarded;
    struct disk disk;
    bool allocated[BLOCKS]; /* in the overlay of a failover: whatever was written, also what is as
                               before */
    struct checkpoint cp[CHECKPOINTS_MAX];
    int n_cp;
    struct capture cap;
};

struct host {
    struct sim *s;
    int no;
    char name[8];
    uint32_t inc; /* of the daemon; grows with each crash */
    bool up;
    struct engine *e;
    struct durable d;
    struct hvside hv;
    struct xfer *tx, *rx;
    int64_t store_free; /* the store does one thing after the other */
    int effects;        /* begun and not done */
    int64_t tick_at;
    uint64_t sent,
        arrived; /* messages: numbers of the last one sent, and of the last that arrived */
    enum rel_fx_bit running_fx; /* the last one that was begun */
    bool merging;
    bool alarm; /* differences were found and nobody has acknowledged them */
    int scrub_point;
    int64_t full_until, away_until; /* its disk is full; its hypervisor does not answer */
    bool edited;                    /* while prepared: its disk is not the last point any more */
    struct vr_point_id edited_of;   /* that point */
    bool may_compare;               /* something happened after which only a comparison helps */
    struct vr_point_id untracked;   /* somebody deleted the checkpoint of this point */
    struct rel_story left;          /* what is told when there is no relationship; durable */
};

/* ---- the queue of what happens next ---- */
struct task {
    int64_t at;
    uint64_t seq;
    int host; /* -1: nobody's, survives crashes */
    uint32_t inc;
    void (*fn)(struct sim *s, struct task *t);
    int step;
    struct rel *r; /* owned, may be NULL */
    enum rel_fx_bit fx;
    void *arg;
    struct vr_uuid id;
    char *text;
};

struct oracle {
    struct vr_point_id id;
    struct disk d;
    bool consistent; /* the guest was frozen at the instant, or off */
};

enum xphase { X_CONNECT, X_DATA, X_GO, X_COMMIT, X_TELL, X_OVER };
/* KNOWN: a comparison that reads only what was written since the failover, and what differs. */
enum xmode { MODE_ALL, MODE_DIRTY, MODE_COMPARE, MODE_KNOWN };
struct xfer {
    struct xfer *next;
    int from, to;
    bool tx, rx; /* this end still takes part */
    bool tx_cancel, rx_cancel;
    bool broken; /* the connection is gone; the ends learn of it one by one */
    bool committed;
    enum xphase phase;
    enum xmode mode;
    struct rel r; /* the sender's, when it began */
    struct disk at;
    int oracle;
    bool todo[BLOCKS];
    bool doubt[BLOCKS]; /* the receiver wants them in any case */
    int shipped;
    uint64_t sent; /* number of the message under way */
    struct wall_us instant;
    enum vr_point_kind kind;
};

struct call {
    struct call *next;
    int from, to;
    uint32_t from_inc, to_inc;
    enum rel_fx_bit fx;
    struct rel r;
    bool over;              /* the caller has given up or got its answer */
    uint64_t sent, replied; /* what was sent when, in the order of all messages of a host */
    bool seeded, diverged;
    uint64_t held;          /* SETTINGS: the number of those that the peer has */
    struct rel_story story; /* PROBE: the answer */
    struct divergence wrote;
    struct vr_err err;
};

struct sim {
    uint64_t seed, rng;
    int64_t now;
    uint64_t seq;
    bool trace, faults, users, stop;
    bool rots, blind; /* bits flip; the verifier sees nothing */
    uint32_t next_copy;
    struct task **q;
    int n_q, cap_q;
    struct host h[HOSTS];
    bool link;
    int64_t wall_off;            /* of the wall clock, milliseconds */
    bool jumps;                  /* somebody sets the wall clock */
    struct store_retention keep; /* on both hosts */
    uint32_t fault_ms;           /* how often things go wrong */
    struct oracle *oracle;
    int n_oracle;
    struct xfer *xfers;
    struct call *calls;
    struct vr_uuid machine;
    uint32_t next_val;
    long steps, max_steps;
    bool split; /* users have declared that both may run (unplanned failover, ...) */
    bool removed_once;
    int64_t slow_until;
    long seen[FAULT_COUNT], killed[FX_BIT_COUNT], troubled[MSG_COUNT][TROUBLES];
    /* counters, for the summary and for the test of the simulator itself */
    long n_diverged, n_points, n_full, n_compare, n_known, n_allocation, n_reverse, n_failover,
        n_crash, n_seed, n_cuts, n_resync, n_app, n_app_failed, n_lost_answers, n_ops, n_refused,
        n_superseded, n_queued, n_orphan, n_discarded, n_given_up, n_rot, n_found, n_repaired,
        n_resent;
};

/* world.c */
/* sim_init() - nothing happens before users_start() and faults_start(). */
void sim_init(struct sim *s, uint64_t seed, long steps, bool trace);
void sim_done(struct sim *s);
uint32_t rnd(struct sim *s, uint32_t n); /* 0..n-1 */
bool chance(struct sim *s, uint32_t percent);
struct vr_uuid rnd_uuid(struct sim *s);
struct task *later(struct sim *s, int64_t ms, int host, void (*fn)(struct sim *, struct task *));
void task_free(struct task *t);
bool world_step(struct sim *s);
void tell(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void violated(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int oracle_put(struct sim *s, const struct vr_point_id *id, const struct disk *d);
int oracle_find(const struct sim *s, const struct vr_point_id *id);
struct host *other(struct host *h);
const struct rel *rel_of(const struct host *h);

/* host.c */
void host_boot(struct host *h);
void host_crash(struct host *h, bool power);
void host_event(struct host *h, struct rel_event *ev);
void host_arm(struct host *h);
struct checkpoint *cp_find(struct host *h, const char *name);
void cp_delete_but(struct host *h, const char *keep);
void cp_delete(struct host *h, const char *name);
struct checkpoint *cp_new(struct host *h, const char *name);
void vm_start(struct host *h);
void vm_stop(struct host *h, bool clean);
struct point *point_newest(struct host *h);
struct point *point_find(struct host *h, const struct vr_point_id *id);
void point_add(struct host *h, const struct point *p);

/* points.c: orphan points and retention */
/* point_place() - the times of a new point. point_expired() - which one goes by the real rule of
 * retention, -1: none. points_hide() - this
 * host is a primary: orphans but @first (NULL: all) stay, unlisted. points_return() - they are
 * listed again, below what follows. points_forget() - the chain is gone. point_discard() - a user
 * gives an orphan up. orphan_made(), orphan_unmade() - what must be there from now on. */
void point_place(struct host *h, struct point *p);
int point_expired(struct host *h);
void points_hide(struct host *h, const struct vr_point_id *first);
void points_return(struct host *h);
void points_forget(struct host *h);
void point_discard(struct host *h);
void orphan_made(struct host *h, const struct vr_point_id *id);
void orphan_unmade(struct host *h, const struct vr_point_id *id);
void check_orphans(struct host *h);

/* effects.c */
/* sim_stops_superseded() - policy of both hosts. */
bool sim_stops_superseded(const struct sim *s);
struct engine_env host_env(struct host *h);
void finish(struct host *h, struct rel_event *ev);

/* net.c */
void net_call(struct host *h, const struct rel *r, enum rel_fx_bit fx);
void net_ship(struct host *h, const struct rel *r);
void net_break(struct sim *s, struct xfer *x);
void net_host_down(struct sim *s, int host);

/* users.c */
void users_start(struct sim *s);
void faults_start(struct sim *s);
void user_soon(struct host *h);
void fault_soon(struct host *h);

/* faults.c */
void seen(struct sim *s, enum fault f);
void seen_death(struct host *h);
/* message_sent() - its number among those of @h. message_came() - it arrives: was it overtaken?
 * troubled() - this was done to a message. */
uint64_t message_sent(struct host *h);
void message_came(struct host *from, enum message m, uint64_t sent);
void troubled(struct sim *s, enum message m, enum trouble t);
int faults_missing(const long all[FAULT_COUNT], const long killed[FX_BIT_COUNT],
                   const long troubled[MSG_COUNT][TROUBLES]);

/* rot.c: bits that flip, and proof */
/* rot_start() - bits may flip from now on, and verifiers read. rot_flip() - one does on @h.
 * rot_same(), rot_same_disk() - equal but for what rotted. rot_fresh() - the files of a point are
 * new. rot_prove() - the primary has a slice of its capture compared. rot_commit() - what a new
 * point has of the one below it. rot_choose() - what a failover takes. */
void rot_start(struct sim *s);
void rot_flip(struct host *h);
bool rot_same(uint32_t a, uint32_t b);
bool rot_same_disk(const struct disk *a, const struct disk *b);
uint32_t rot_copy(struct sim *s);
void rot_fresh(struct sim *s, struct point *p);
void rot_prove(struct host *h, const struct rel *r);
void rot_commit(struct host *h, struct point *p, const bool have[BLOCKS]);
struct point *rot_choose(struct host *h, const struct rel *r, struct vr_err *err);
void check_rot(struct host *h);
void check_rot_settled(struct host *p);

/* check.c */
void check_all(struct sim *s);
void check_settled(struct sim *s, const uint64_t acked_before[HOSTS]);
void check_sync_job(struct host *h, const struct job *j);

#endif
