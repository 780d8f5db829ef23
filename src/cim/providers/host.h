/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_CIM_PROVIDERS_HOST_H
#define VR_CIM_PROVIDERS_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "cim/providers/hostset.h"
#include "hypervisor/hv.h"
#include "model/model.h"
#include "replication/engine.h"
#include "store/store.h"

/* What the providers need of the host besides the engine: snapshots that the daemon keeps and
 * actions that it carries out. Control thread; nothing blocks; pointers are valid until control
 * returns to the event loop. */

struct host_peer {
    char name[VR_NAME_MAX];
    char address[VR_NAME_MAX];
    uint16_t port;
    char thumb[65];        /* SHA-256, "": not paired, known by Kerberos only */
    uint16_t krb_port;     /* where it awaits hosts with Kerberos, 0: not known */
    bool reachable;        /* at the last contact */
    uint16_t told_port;    /* that it knows us to listen on, 0: unknown */
    uint16_t told_krb;     /* likewise for Kerberos */
    struct wall_us seen;   /* last contact, 0 never */
    struct mono_ms failed; /* when it did not answer; 0: never, or reached since */
    int64_t clock_s;       /* its clock is so many seconds ahead of ours; 0: about the same */
};

/* HOST_SENDS: no answer came in time, but a transfer with it went on, so that it is not gone. */
enum host_answer { HOST_ANSWERS, HOST_SENDS, HOST_SILENT };

struct host_transfer {
    uint64_t total, done, payload, wire; /* bytes, see struct xfer_progress */
    bool sending;
};

/* A machine made of a recovery point for a test (test failover). */
struct host_test {
    struct vr_uuid uuid;    /* its own */
    struct vr_uuid machine; /* the replica it was made of */
    struct vr_uuid job;     /* that made it */
    struct vr_point_id point;
    char name[VR_NAME_MAX];
    bool ready;             /* made, and not being destroyed */
    bool busy;              /* that is just being done */
    struct mono_ms running; /* since when it runs without a stop; 0: it does not */
    bool booted;            /* it has run long enough */
};

/* A recovery point whose disks are served read-only, each on a UNIX socket. */
enum { HOST_SOCKET_MAX = 108 };
struct host_export {
    struct vr_uuid id, machine;
    struct vr_point_id point;
    char folder[HOST_SOCKET_MAX]; /* of the sockets */
    size_t n_disks;
    char target[VR_DISKS_MAX][VR_TARGET_MAX];
    bool open;  /* it stays until it is closed, and is not being closed */
    bool ready; /* and is served: what of it could not be served again is open all the same */
    bool busy;  /* something is just being done with it */
};
/* host_export_socket() - that of disk @i, in @out. Pure. */
const char *host_export_socket(const struct host_export *x, size_t i, char out[HOST_SOCKET_MAX]);

/* Proof that both hosts hold the same. */
struct host_proof {
    bool running;            /* a pass has begun */
    uint16_t percent;        /* of it; primary */
    struct wall_us last;     /* end of the last pass, 0 never */
    uint64_t last_bad;       /* blocks that differed in it */
    struct wall_us scrubbed; /* all that is held was last read and compared; replica, 0 never */
    bool unsupported;        /* the other host does not know how */
};

/* What the host listens on for peers. */
struct host_listen {
    bool cert, krb; /* at all, by certificate and with Kerberos */
    uint16_t port, krb_port;
};

struct host {
    void *ctx;
    struct engine *engine;
    const char *name; /* host name as peers and object paths have it */
    const char *version;
    const char *thumb;      /* SHA-256 of the host certificate */
    const char *thumb_sha1; /* as Microsoft's CertificateThumbPrint, upper case hex */
    uint16_t peer_port;     /* where peers connect, or would if this host listened */
    const char *cert_der_base64;
    const char *storage;   /* default folder of replicas */
    struct rel_keep floor; /* replicas here are never kept with fewer points */

    struct hostset *set; /* loaded before; changed by the providers, which call save() then */

    /* Machines as libvirt has them. */
    size_t (*machines)(void *ctx, const struct hv_machine **ret);
    /* One of them, NULL if libvirt does not know it. May be NULL: they are searched. */
    const struct hv_machine *(*machine)(void *ctx, const struct vr_uuid *uuid);
    /* Recovery points of a machine, oldest first. */
    size_t (*points)(void *ctx, const struct vr_uuid *machine, const struct store_point **ret);
    size_t (*peers)(void *ctx, const struct host_peer **ret);
    /* The peer that a connection point (name or address, case-insensitive) means; NULL: unknown. */
    const struct host_peer *(*find_peer)(void *ctx, const char *point);
    /* The transfer in progress of a machine; false when there is none. */
    bool (*transfer)(void *ctx, const struct vr_uuid *machine, struct host_transfer *ret);

    /* Did the hypervisor answer when it was last asked for its machines? May be NULL. */
    bool (*hypervisor_answers)(void *ctx);
    /* Does the machine's next transfer wait until others are over? May be NULL. */
    bool (*queued)(void *ctx, const struct vr_uuid *machine);
    /* Are recovery points of the machine being merged away? May be NULL. */
    bool (*merging)(void *ctx, const struct vr_uuid *machine);
    /* The guest's file systems may still be frozen although they should not be; may be NULL. */
    bool (*stuck)(void *ctx, const struct vr_uuid *machine);
    /* Bytes that a primary wrote since the last acknowledged point, as far as its change map knows;
     * false when that is not known. May be NULL. */
    bool (*ahead)(void *ctx, const struct vr_uuid *machine, uint64_t *ret);

    /* What the peer told last of a machine and when; *ret_answer: how it took a question since.
     * False when nothing is known. NULL function: never. */
    bool (*peer_story)(void *ctx, const struct vr_uuid *machine, struct rel_story *ret,
                       struct wall_us *ret_when, enum host_answer *ret_answer);
    /* Ask it now; that it does not answer is an answer. */
    int (*ask_peer)(void *ctx, const struct vr_uuid *machine, const char *owner,
                    struct vr_uuid *ret_job, struct vr_err *err);

    /* One-time code for pairing. */
    int (*pair_code)(void *ctx, char code[64], struct wall_us *ret_expires, struct vr_err *err);
    /* Actions with a job; the job exists when they return 0. */
    int (*pair)(void *ctx, const char *address, uint16_t port, const char *code, const char *owner,
                struct vr_uuid *ret_job, struct vr_err *err);
    int (*unpair)(void *ctx, const char *peer, struct vr_err *err);
    int (*power)(void *ctx, const struct vr_uuid *machine, enum hv_action action, const char *owner,
                 struct vr_uuid *ret_job, struct vr_err *err);
    int (*test_connection)(void *ctx, const char *point, uint16_t port, bool kerberos,
                           const char *owner, struct vr_uuid *ret_job, struct vr_err *err);
    /* What Kerberos calls this host; NULL and why when it has no usable key. Borrowed until the
     * next call. May be NULL: no Kerberos. */
    const char *(*kerberos_name)(void *ctx, struct vr_err *err);
    /* The port on which this host is managed with Kerberos, or why it is not, in a sentence.
     * Borrowed until control returns. May be NULL: not known. */
    const char *(*kerberos_management)(void *ctx);
    /* @point NULL, on a primary: compare everything with the replica. Else, on a replica: read that
     * point and compare it with what was received. */
    int (*verify)(void *ctx, const struct vr_uuid *machine, const struct vr_point_id *point,
                  const char *owner, struct vr_uuid *ret_job, struct vr_err *err);
    /* May be NULL, as the three below: end a job made by verify. */
    int (*cancel)(void *ctx, const struct vr_uuid *job, struct vr_err *err);
    /* Somebody knows about the differences that were found. Offer a quarantined point. */
    int (*acknowledge)(void *ctx, const struct vr_uuid *machine, const char *owner,
                       struct vr_uuid *ret_job, struct vr_err *err);
    int (*release)(void *ctx, const struct vr_uuid *machine, const struct vr_point_id *point,
                   const char *owner, struct vr_uuid *ret_job, struct vr_err *err);
    /* How far the proof of a machine is; false: nothing is known. */
    bool (*proof)(void *ctx, const struct vr_uuid *machine, struct host_proof *ret);

    /* Forget the recovery points that are left of a machine that is not replicated; the files stay.
     * May be NULL. */
    int (*abandon)(void *ctx, const struct vr_uuid *machine, const char *owner,
                   struct vr_uuid *ret_job, struct vr_err *err);
    /* Give an orphan point up; the job ends when it is written. */
    int (*discard)(void *ctx, const struct vr_uuid *machine, const struct vr_point_id *point,
                   const char *owner, struct vr_uuid *ret_job, struct vr_err *err);
    /* Pin a recovery point for the user or lift that pin; the job ends when it is written. */
    int (*pin)(void *ctx, const struct vr_uuid *machine, const struct vr_point_id *point, bool on,
               const char *owner, struct vr_uuid *ret_job, struct vr_err *err);

    /* Test machines, also such as are being made or destroyed; in the order they were made. May be
     * NULL, as the three below. */
    size_t (*tests)(void *ctx, const struct host_test **ret);
    /* When the last one of a replica was made; 0 never. */
    struct wall_us (*last_test)(void *ctx, const struct vr_uuid *machine);
    /* Make one of @point (NULL: the newest that is neither quarantined nor an orphan): off, each
     * network card on the libvirt network that @nets names for it, or on none. Its machine is
     * defined when the job is over. @nets is copied. */
    int (*test_create)(void *ctx, const struct vr_uuid *machine, const struct vr_point_id *point,
                       const struct hv_nic_net *nets, size_t n_nets, const char *owner,
                       struct vr_uuid *ret_job, struct vr_err *err);
    /* Turn off, undefine, delete what it wrote. */
    int (*test_destroy)(void *ctx, const struct vr_uuid *test, const char *owner,
                        struct vr_uuid *ret_job, struct vr_err *err);
    /* Recovery points that are open for reading, also such as are being opened or closed, in the
     * order they were opened. May be NULL, as the two below. */
    size_t (*exports)(void *ctx, const struct host_export *const **ret);
    /* Open @point (NULL: the newest that is neither quarantined nor an orphan). One that is open
     * already is served again if it is not. *ret_id: of the export. */
    int (*export_open)(void *ctx, const struct vr_uuid *machine, const struct vr_point_id *point,
                       const char *owner, struct vr_uuid *ret_id, struct vr_uuid *ret_job,
                       struct vr_err *err);
    int (*export_close)(void *ctx, const struct vr_uuid *id, const char *owner,
                        struct vr_uuid *ret_job, struct vr_err *err);
    /* The settings of the service: listen for peers as @want says, then keep @text in the set and
     * write it down. When a port cannot be used the job fails and nothing changes.
     * VR_E_BUSY: an earlier change is not over. */
    int (*save_service)(void *ctx, const char *text, const struct host_listen *want,
                        const char *owner, struct vr_uuid *ret_job, struct vr_err *err);
    /* Write documents of the host's set down: one job for all of them, and all or none. */
    int (*save)(void *ctx, const struct host_doc docs[], size_t n, const struct vr_uuid *machine,
                const char *owner, struct vr_uuid *ret_job, struct vr_err *err);
};

/* A new machine's relationship is requested with engine_request(EV_U_CREATE): set, peer (name of
 * the paired host), name, disks (from hv), lineage = vr_uuid_new(). U_FAILOVER: lineage =
 * vr_uuid_new(), latest or point. U_BECOME_REPLICA: name, disks, lineage, vm_off. U_PREPARE,
 * U_REVERT, U_FAILOVER: vm_off from hv. */

/* host_n_paired() - how many hosts are paired by certificate. Control thread. */
size_t host_n_paired(const struct host *h);

struct cim_server;

/* host_providers_register() - make the providers of both namespaces known to @s.
 * @h: borrowed, must outlive @s.
 * Returns: their common state, to be freed with host_providers_free() after @s. */
struct host_providers;
struct host_providers *host_providers_register(struct cim_server *s, const struct host *h);
/* host_providers_tick() - begin new windows of statistics when their time has come; to be called
 * every now and then. src:[contract.md D.2] */
void host_providers_tick(struct host_providers *p);
/* host_providers_changed() - the relationship of @machine or (else NULL) @job changed: whoever
 * subscribed is told. host_providers_machines_changed() - host.machines() has another answer;
 * @moved: machines came, went or have another order. host_providers_jobs_removed() - jobs went. */
void host_providers_changed(struct host_providers *p, const struct vr_uuid *machine,
                            const struct job *job);
void host_providers_machines_changed(struct host_providers *p, bool moved);
void host_providers_jobs_removed(struct host_providers *p);
/* host_providers_free() - NULL is fine. */
void host_providers_free(struct host_providers *p);

#endif
