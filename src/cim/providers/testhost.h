/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_CIM_PROVIDERS_TESTHOST_H
#define VR_CIM_PROVIDERS_TESTHOST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cim/provider.h"
#include "cim/providers/host.h"

/* A host for tests: the real engine and the real providers over effects that the test answers.
 * Host "hosta", paired with "hostb" (port 4433, SHA-1 thumbprint of ours "AABB...").
 * Machines: web (disks vda, vdb and the CD-ROM sda), db (no disk), odd (one disk). */

#define WEB "6E7A2F20-1111-4222-8333-00000000000A"
#define DB "6E7A2F20-1111-4222-8333-00000000000B"
#define ODD "6E7A2F20-1111-4222-8333-00000000000C"
#define NOBODY "6E7A2F20-1111-4222-8333-0000000000FF"
#define OUR_THUMB "AABBCCDDEEFF00112233445566778899AABBCCDD"
#define PEER_THUMB "0123456789ABCDEF0123456789ABCDEF01234567"

#define TAKEN_PORT 444 /* where the host cannot listen */

struct pending {
    struct rel r;
    enum rel_fx_bit fx;
};

struct world {
    struct engine *engine;
    struct host host;
    struct host_providers *prov;
    struct cim_server *cim;
    struct cim_caller who;
    struct hv_machine vm[3];
    size_t n_vms; /* 0: the hypervisor is away */
    struct hv_disk disks[4];
    struct hv_nic nics[2]; /* of web */
    struct host_peer peer;
    struct store_point points[8];
    size_t n_points;
    struct vr_uuid points_of;
    struct hostset *written; /* what save() was told */
    bool listens;            /* for peers */
    struct host_listen listen;
    const char *kerberos; /* what Kerberos calls this host, NULL: it has no keys */
    char tested[128];     /* the last connection that was tested */
    char *rel_text;       /* web's relationship as it was written down last */
    struct {
        struct vr_uuid id;
        char *text;
    } jobs[32]; /* likewise */
    size_t n_jobs;
    struct host_export opened; /* testways.h */
    const struct host_export *opened_list[1];
    size_t n_opened;
    struct host_test made; /* testways.h */
    size_t n_made;
    struct hv_nic_net nets[2]; /* where its cards are */
    size_t n_nets;
    struct host_transfer transfer;
    struct host_proof proof;
    bool transferring;
    int64_t mono;
    enum vr_kind fail[FX_BIT_COUNT]; /* how an effect fails, VR_OK: it does not */
    uint32_t hold;                   /* effects (FX_*) that are not answered for now */
    bool seeded;                     /* the peer answers a reversal with "a seed" */
    struct pending queue[64];
    size_t n_queue;
    struct cim_args *args; /* of the last call */
    enum hv_action action; /* last power action */
    enum cim_status status;
    const void *test; /* the test's own */
};

struct arg {
    const char *name, *text;
};

/* world_new()/world_free() - as cmocka fixtures. */
int world_new(void **st);
int world_free(void **st);

/* world_restart() - a new engine that knows what was written down and nothing else; effects that
 * were under way are gone. */
void world_restart(struct world *w);

/* pump() - answer effects and let time pass until nothing more happens by itself. */
void pump(struct world *w);
/* call() - invoke; texts are converted to the parameters' types, arrays by repeating the name.
 * Returns the return value; the call itself must succeed. */
uint32_t call(struct world *w, const char *target, const char *method, const struct arg *args);
#define CALL(w, target, method, ...) \
    call(w, target, method, (const struct arg[]){ __VA_ARGS__ __VA_OPT__(, ){ NULL, NULL } })
/* svc() - of Msvm_ReplicationService for machine @guid. */
#define SVC(w, guid, method, ...)                \
    CALL(w, "Msvm_ReplicationService=@", method, \
         { "ComputerSystem", VM(guid) } __VA_OPT__(, ) __VA_ARGS__)
#define VM(guid) "Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"" guid "\""
#define FRSD_PATH(guid, n) \
    "Msvm_ReplicationSettingData.InstanceID=\"Microsoft:" guid "\\\\HVR\\\\" n "\""
#define REL_PATH(guid, n) \
    "Msvm_ReplicationRelationship.InstanceID=\"Microsoft:" guid "\\\\HVR\\\\" n "\""
#define STATUS_PATH(guid) "Vmr_ReplicationStatus.InstanceID=\"Microsoft:" guid "\\\\HVR\\\\0\""
#define DISK(guid, target) \
    "Msvm_StorageAllocationSettingData.InstanceID=\"Microsoft:" guid "\\\\" target "\\\\L\""
/* done() - the return value is 4096, and after pump() the job has succeeded. */
void done(struct world *w, uint32_t code);
/* job_error() - the same with a job that failed; returns its ErrorCode. */
unsigned job_error(struct world *w, uint32_t code);
/* last_job() - the instance of the last call's job; the caller frees. */
struct cim_inst *last_job(struct world *w);
/* refusal() - LastRefusal of the caller, in a static buffer. */
const char *refusal(struct world *w);

/* frsd() - an embedded instance of pairs name, value, ..., NULL in a static buffer. A value NULL is
 * a property without value; a name given several times makes an array. */
const char *frsd(const char *name, ...) __attribute__((sentinel));
/* Settings that CreateReplicationRelationship and a reversal accept. */
#define GOOD                                                                                   \
    "AuthenticationType", "2", "RecoveryConnectionPoint", "hostb", "RecoveryServerPortNumber", \
        "4433", "ReplicationInterval", "30"

/* get() - one instance by path text; the caller frees; it must exist. num()/txt() - a property by
 * name (txt: in a static buffer, "(null)" for NULL). */
struct cim_inst *get(struct world *w, const char *path);
uint64_t num(struct world *w, const char *path, const char *prop);
const char *txt(struct world *w, const char *path, const char *prop);
/* state()/mode() - ReplicationState of the first relationship, ReplicationMode. */
unsigned state(struct world *w, const char *guid);
unsigned mode(struct world *w, const char *guid);
/* walk() - associators; the caller ends the list with cim_list_done(). */
struct cim_list walk(struct world *w, const char *object, const char *assoc, const char *result);

/* Ways to a situation of machine web. */
void make_ready(struct world *w);       /* P 1 */
void make_replicating(struct world *w); /* P 3 */
void make_being_made(struct world *w);  /* R 0, the peer has it made */
void make_waiting(struct world *w);     /* R 2 */
void make_replica(struct world *w);     /* R 3, two points */
void make_failed_over(struct world *w); /* R 5 */

#endif
