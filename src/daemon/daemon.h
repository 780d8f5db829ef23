/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_DAEMON_H
#define VR_DAEMON_DAEMON_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/exec.h"
#include "base/mailbox.h"
#include "base/uuidmap.h"
#include "cim/providers/host.h"
#include "daemon/config.h"
#include "daemon/looks.h"
#include "daemon/proofplan.h"
#include "daemon/turns.h"
#include "hypervisor/hv.h"
#include "replication/engine.h"
#include "store/store.h"
#include "transfer/xfer.h"
#include "transport/xport.h"

/* The wiring: the engine's effects and the providers' host are carried out with the real
 * hypervisor, store, transfer and transport. Everything in struct daemon belongs to the control
 * thread unless said; other threads get copies and answer through the mailbox. */

struct sd_event;
struct cim_server;
struct wsm;
struct access;
struct vr_gss_cred;
struct wsm_http;

/* What is going on with one machine, besides its relationship. */
struct machine_rt {
    struct machine_rt *next;
    struct vr_uuid machine;
    struct hv_capture *capture;      /* held between CAPTURED and RETIRE/DROP */
    struct xfer_progress *sending;   /* while SHIP runs */
    struct vr_stream *opening;       /* likewise, until the peer has accepted: to shut it down */
    struct xfer_progress *receiving; /* while a transfer comes in */
    struct rx *rx;                   /* likewise; receive.c */
    char *xml;                       /* definition sent by the primary, for MAKE_REPLICA */
    struct proof proof;
    struct merge_task *merge; /* RETENTION runs, or waits for a worker; retention.c */
    bool merge_again;
    struct pin_task *pins;      /* the first one runs, the others wait for it; retention.c */
    struct store_point *points; /* snapshot for the providers */
    size_t n_points;
    bool points_beneath;    /* they are what a primary keeps below its disks */
    const char *effect;     /* being run, for fault_after() */
    bool runs_on;           /* superseded, and running all the same: that was said */
    bool untold;            /* the last attempt to tell the settings failed */
    bool reversed_seeded;   /* answer of the peer to REVERSE_CALL */
    bool stale_checkpoints; /* RECONCILE or RETIRE failed: the next RETIRE does its work */
    struct hv_look look;    /* a primary: ahead.c */
    bool ahead_known;       /* likewise */
    uint64_t ahead;         /* bytes written since `ahead_of` when it was last looked at */
    struct vr_point_id ahead_of;
    struct rel_story story;  /* what the peer told last of this machine */
    struct wall_us story_at; /* 0: nothing since the start */
    bool peer_away;          /* it did not answer since, */
    bool peer_sends;         /* although a transfer with it went on */
    struct rel_story left;   /* failed_over: what is told when there is no relationship; left.h */
    struct vr_uuid asked;    /* the job that asked it last at a user's wish */
    bool asks_ahead;         /* and what would be lost is being asked */
};

struct daemon {
    struct config cfg;
    struct sd_event *loop;
    struct vr_mailbox *mail;
    struct vr_exec *store_exec; /* one thread: the database; what touches files: storage.h */
    struct vr_exec *hv_exec;
    struct vr_exec *look_exec; /* hypervisor calls that nobody waits for: ahead.c */
    struct vr_exec *yield_exec;
    struct vr_exec *net_exec;
    struct vr_exec *ask_exec;   /* asking a peer for somebody who waits: never behind probes */
    struct vr_exec *auth_exec;  /* logins: nobody waits for a peer to log in */
    struct vr_exec *xfer_exec;  /* a thread for each slot */
    struct vr_exec *proof_exec; /* slices: a held capture waits for them, so nothing else does */
    unsigned slices;            /* that run */
    struct vr_exec *disk_exec;  /* long work on disks of no location; else storage_workers() */
    struct slots *slots;        /* who may send; slots.h */
    struct store *store;        /* whoever has entered it */
    struct hv *hv;              /* any worker */
    struct xport *xport;        /* any worker */
    struct engine *engine;
    struct host host;
    struct cim_server *cim;
    struct host_providers *prov;
    struct wsm *wsm;
    struct wsm_http *http;
    struct access *access;         /* who may manage this host */
    struct vr_gss_cred *krb5_keys; /* NULL: no Kerberos */
    bool krb5_listens;
    unsigned reloads; /* how often the access lists were read anew */
    const char *config_file;
    bool config_may_miss;
    struct machine_rt *rts;
    struct vr_uuidmap rt_by_machine; /* the same */
    struct testvms *tests;           /* testvm.c */
    struct exports *exports;         /* export.c */
    struct hv_machine *machines;     /* snapshot for the providers and vm_off */
    size_t n_machines;
    struct vr_uuidmap machine_by_uuid; /* the same */
    bool machines_wanted, machines_busy;
    uint64_t lists; /* of machines, begun so far */
    struct power_end *power_ends;
    struct turns probes, asks; /* probe.c: of the engine, of users */
    bool machines_known;       /* the hypervisor answered when it was last asked */
    struct host_peer *peers;
    size_t n_peers;
    uint16_t peer_port; /* where peers are awaited, or would be when `listening` is false */
    bool listening;
    uint16_t krb_port; /* the same for hosts with Kerberos (HttpPort) */
    bool krb_listening;
    bool krb_failed;        /* its port could not be opened at the last try */
    bool listen_busy;       /* the listener is being changed */
    char krb_manage[512];   /* the port on which this host is managed with Kerberos, or why not */
    bool expecting;         /* addresses of peers are being looked up */
    bool announcing;        /* a peer is just told our port */
    unsigned announce_next; /* whose turn it is */
    struct mono_ms announce_due;
    unsigned tasks;     /* posted and not yet answered */
    struct vr_uuid run; /* of this process, for peers to tell what it said before what */
    atomic_bool stopping;
};

/* rt_get() - the entry of a machine, made when absent. Control thread. */
struct machine_rt *rt_get(struct daemon *d, const struct vr_uuid *machine);

/* ---- tasks: work on another thread, answered on the control thread ---- */
struct task {
    struct daemon *d;
    void (*work)(struct task *t); /* on the executor */
    void (*done)(struct task *t); /* back on the control thread; task_run() frees @t afterwards */
    struct rel r;                 /* copy of the relationship, if it is about one */
    bool in_store;                /* posted to the store's executor: work() has entered it */
    struct vr_err err;
};
/* task_run() - @t starts with struct task and was made with vr_new0(); @x runs work(). Control. */
void task_run(struct daemon *d, struct vr_exec *x, struct task *t);

/* ctl_call() - run fn(arg) on the control thread and wait. From any other thread. */
void ctl_call(struct daemon *d, void (*fn)(void *arg), void *arg);

/* store_call() - run fn(arg), which touches no file of a machine, with the store entered. From
 * workers and connection threads. For what touches files: storage_call(). */
void store_call(struct daemon *d, void (*fn)(void *arg), void *arg);

/* ---- effects.c, ship.c, swap.c: the engine's environment ---- */
struct engine_env daemon_env(struct daemon *d);
/* Effects by file; each begins the work of one effect. */
void fx_capture(struct daemon *d, const struct rel *r);
void fx_cancel_flow(struct daemon *d, const struct rel *r);
void fx_ship(struct daemon *d, const struct rel *r);
/* ship_cancel() - end what is being sent of a machine, if anything, soon. Control thread. */
void ship_cancel(struct machine_rt *rt);
void fx_end_capture(struct daemon *d, const struct rel *r, bool keep);
void fx_create_at_peer(struct daemon *d, const struct rel *r);
void fx_make_replica(struct daemon *d, const struct rel *r);
void fx_push_settings(struct daemon *d, const struct rel *r);
void fx_failover(struct daemon *d, const struct rel *r);
void fx_revert(struct daemon *d, const struct rel *r);
void fx_reverse_call(struct daemon *d, const struct rel *r);
void fx_become_primary(struct daemon *d, const struct rel *r);
void fx_yield(struct daemon *d, const struct rel *r);
void fx_remove(struct daemon *d, const struct rel *r);
void fx_reconcile(struct daemon *d, const struct rel *r);
void fx_clean_tracking(struct daemon *d, const struct rel *r);
void fx_retention(struct daemon *d, const struct rel *r);
/* retention_of() - which points of @r are kept on this host. Any thread. */
struct store_retention retention_of(const struct daemon *d, const struct rel *r);
/* retention_host(), remove_host() - their parts of struct host. Control thread. */
void retention_host(struct daemon *d);
void remove_host(struct daemon *d);
/* clean_checkpoints() - delete our checkpoints of the task's machine except @but (may be NULL); the
 * error is t->err. Worker. */
int clean_checkpoints(struct task *t, const char *but);
/* run_without_merge() - run @t, task of an effect that needs the chain alone: a merge of the
 * machine that has not begun does not, and one that has is stopped by the store. Control thread. */
void run_without_merge(struct daemon *d, struct vr_exec *x, struct task *t);

/* finish_effect() - common end of an effect: its event (NULL: none) and engine_done(). Control. */
void finish_effect(struct daemon *d, const struct vr_uuid *machine, struct rel_event *ev);

/* rel_targets() - the targets of a relationship as hv wants them; @out has VR_DISKS_MAX. */
size_t rel_targets(const struct rel *r, const char *out[]);
/* rel_whole() - which of them the acknowledged point does not have. */
void rel_whole(const struct rel *r, bool out[]);
/* peer_of() - transport's view of a paired host by name. VR_E_AUTH: not paired. Control thread. */
int peer_of(struct daemon *d, const char *name, struct xport_peer *ret, struct vr_err *err);
/* peer_of_rel() - the host that a relationship's data goes to, on the port of its settings. */
int peer_of_rel(struct daemon *d, const struct rel *r, struct xport_peer *ret, struct vr_err *err);
/* peer_to_ask() - the other end of a relationship, whichever this one is, where it awaits hosts.
 * peer_by_kerberos() - a host by its name in Kerberos. */
int peer_to_ask(struct daemon *d, const struct rel *r, struct xport_peer *ret, struct vr_err *err);
void peer_by_kerberos(const char *name, const char *address, uint16_t port, struct xport_peer *ret);

/* ---- ahead.c ---- */
/* ahead_start() - begin to look at primaries, after d->loop is there. ahead_of() - what is known of
 * one; false: nothing.
 */
int ahead_start(struct daemon *d, struct vr_err *err);
bool ahead_of(struct daemon *d, const struct vr_uuid *machine, uint64_t *ret);

/* ---- receive.c: what peers send (connection threads) ---- */
int on_peer_call(void *ctx, const struct xport_peer *from, uint16_t type, const void *body,
                 size_t n, struct vr_buf *reply, struct vr_err *err);
int on_peer_transfer(void *ctx, const struct xport_peer *from, const void *body, size_t n,
                     struct vr_stream *s, struct vr_err *err);

/* rx_cancel() - end what comes in for a machine, soon. Control thread. */
void rx_cancel(struct machine_rt *rt);

/* ---- hostview.c: snapshots and actions for the providers ---- */
void host_init(struct daemon *d);
/* host_refresh_machines() / host_refresh_points() - take the snapshots anew, asynchronously. */
void host_refresh_machines(struct daemon *d);
void host_refresh_points(struct daemon *d, const struct vr_uuid *machine);
/* host_machine() - from the snapshot, NULL if unknown. */
const struct hv_machine *host_machine(const struct daemon *d, const struct vr_uuid *uuid);
/* ---- peers.c ---- */
/* host_load_peers() - start-up. */
int host_load_peers(struct daemon *d, struct vr_err *err);
/* host_peer_store() - remember a paired host durably (connection or worker thread). */
int host_peer_store(struct daemon *d, const struct xport_peer *p, struct vr_err *err);
/* host_peers_changed() - a paired host is gone or has another certificate: what was concluded from
 * the old one on open connections to the management ends before the next request. Control thread.
 */
void host_peers_changed(struct daemon *d);
/* host_peer_changes() - somebody else than peers.c begins to write the document of a peer. Control
 * thread. */
void host_peer_changes(void);
/* host_peer_contact() - note whether a peer was reached. Control thread. */
void host_peer_contact(struct daemon *d, const char *name, bool reached);
/* on_peer_clock() - how far a peer's clock is ahead of ours. Any thread. */
void on_peer_clock(void *ctx, const struct xport_peer *peer, int64_t ahead_us);
/* on_peer_lookup() - by certificate. on_peer_admit() - by Kerberos: those that an authorization
 * entry names, and the other ends of relationships with Kerberos. Any thread but control. */
bool on_peer_lookup(void *ctx, const char *thumb, struct xport_peer *ret);
int on_peer_admit(void *ctx, const char *host, uint16_t port, struct xport_peer *ret,
                  struct vr_err *err);

#endif
