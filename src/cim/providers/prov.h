/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_CIM_PROVIDERS_PROV_H
#define VR_CIM_PROVIDERS_PROV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cim/provider.h"
#include "cim/providers/host.h"
#include "replication/explain.h"

/* What the files of this folder share. Control thread only, nothing blocks. */

/* Name of the built-in provider, src:[contract.md section 1] */
#define PROV_BUILTIN "22391CDC-272C-4DDF-BA88-9BEFB1A0975C"

enum { PROV_REFUSALS_MAX = 64, PROV_ID_MAX = 128, PROV_FOLDER_MAX = 512 };

/* Why a call was last refused, per caller; the oldest gives way. */
struct refusal {
    char who[64];
    char msg[512];
    uint64_t seq;
    struct mono_ms logged; /* a line about it was written last; 0 never */
    unsigned held_back;    /* lines since */
};

struct host_providers {
    const struct host *h;
    struct cim_server *server;
    struct rel none; /* relationship of machines that have none */
    struct refusal refusals[PROV_REFUSALS_MAX];
    uint64_t seq;
};

/* ---- machines: those of the hypervisor and those that only the engine knows (yet) ---- */
struct vm {
    struct vr_uuid uuid;
    char guid[VR_UUID_STR]; /* upper case, src:[contract.md section 1] */
    const char *name;
    const struct hv_machine *hv; /* NULL: the hypervisor does not know it */
    const struct rel *rel;       /* never NULL */
};
/* vm_next() - the next machine; *i starts at 0. False when there is no more. */
bool vm_next(const struct host_providers *p, size_t *i, struct vm *ret);
/* vm_find() - by identifier; false if there is none. */
bool vm_find(const struct host_providers *p, const struct vr_uuid *uuid, struct vm *ret);
/* vm_of_ref() - the machine that a reference parameter means. VR_E_INVAL: NULL, another class, no
 * identifier; VR_E_UNAVAIL: not on this host. */
int vm_of_ref(const struct host_providers *p, const struct cim_path *ref, struct vm *ret,
              struct vr_err *err);
/* vm_disk() - disk by target, NULL if it has none. */
const struct hv_disk *vm_disk(const struct vm *vm, const char *target);
/* vm_points() - recovery points of a replica, oldest first; vm_point() - by its identifier in
 * object paths or by "lineage:epoch", NULL if there is none. vm_points_held(), vm_point_held() -
 * also those that a primary keeps below its disks: orphans and pinned ones, which no failover takes
 * there. */
/* vm_point_disk() - target, and size if it is known (else 0), of disk @k of a recovery point; false
 * past the last one. Points of one machine may have different disks. */
bool vm_point_disk(const struct vm *vm, const struct store_point *pt, size_t k,
                   char target[VR_TARGET_MAX], uint64_t *size);
size_t vm_points(const struct host_providers *p, const struct vm *vm,
                 const struct store_point **ret);
const struct store_point *vm_point(const struct host_providers *p, const struct vm *vm,
                                   const char *id);
size_t vm_points_held(const struct host_providers *p, const struct vm *vm,
                      const struct store_point **ret);
const struct store_point *vm_point_held(const struct host_providers *p, const struct vm *vm,
                                        const char *id);
/* vm_health() - ReplicationHealth now. */
uint16_t vm_health(const struct vm *vm);
/* vm_enabled_state() - EnabledState; 0 unknown. src:[contract.md A.9] */
uint16_t vm_enabled_state(const struct vm *vm);
/* vm_uptime_ms() - how long it has been running; 0 when it is off. False: not known.
 * vm_sub_type() - VirtualSystemSubType, by its firmware; the hypervisor must know the machine. */
bool vm_uptime_ms(const struct vm *vm, uint64_t *ret);
const char *vm_sub_type(const struct vm *vm);
#define VM_STATUS_TEXT "Operating normally"
/* vm_doing() - what is being done to the machine's disks: the second element of OperationalStatus,
 * and in *ret_text that of StatusDescriptions. 0: nothing. src:[contract.md A.9] */
uint16_t vm_doing(const struct host_providers *p, const struct vm *vm, const char **ret_text);

/* ---- testfailover.c: test machines ---- */
/* vm_tests() - all. vm_as_test() - the test machine with this identifier. vm_test_of() - the first
 * one made of a replica. vm_test_of_job() - the one that a job has made. NULL if there is none. */
size_t vm_tests(const struct host_providers *p, const struct host_test **ret);
const struct host_test *vm_as_test(const struct host_providers *p, const struct vr_uuid *uuid);
const struct host_test *vm_test_of(const struct host_providers *p, const struct vr_uuid *machine);
const struct host_test *vm_test_of_job(const struct host_providers *p, const struct vr_uuid *job);
/* vm_mode() - ReplicationMode: that of the relationship, or test. */
/* vm_exports() - recovery points that are open for reading; export.c. */
size_t vm_exports(const struct host_providers *p, const struct host_export *const **ret);
uint16_t vm_mode(const struct host_providers *p, const struct vm *vm);
/* vm_set_tests() - identifiers of a replica's test machines as array @property of @in. */
void vm_set_tests(const struct host_providers *p, const struct vm *vm, struct cim_inst *in,
                  int property);
/* vm_explain_tests() - a sentence about it, NULL if there is nothing to say; the caller frees. */
char *vm_explain_tests(const struct host_providers *p, const struct vm *vm);

/* ---- explain.c ---- */
/* explain_set() - the properties of a Vmr_ReplicationStatus that tell people what is so and why. */
void explain_set(const struct host_providers *p, const struct vm *vm, struct cim_inst *in);
/* explain_peer() - what is known of the host at the other end of @f->r, into @f. */
void explain_peer(const struct host_providers *p, struct rel_facts *f);

/* explain_reasons() - as rel_reasons(), into @out of REL_REASONS_MAX. */
struct rel_reason;
size_t explain_reasons(const struct host_providers *p, const struct vm *vm,
                       struct rel_reason out[]);

/* ---- identifiers, src:[contract.md section 1] ---- */
/* id_hvr() - Microsoft:<GUID>\HVR\<n>. id_hvr_parse() - its parts; false if it is none. */
char *id_hvr(char out[PROV_ID_MAX], const char *guid, int n);
bool id_hvr_parse(const char *text, struct vr_uuid *ret, int *ret_n);
/* id_disk() - Microsoft:<GUID>\<target>\<L disk, D drive>, or \<controller>\C. */
char *id_disk(char out[PROV_ID_MAX], const char *guid, const char *target, char kind);
bool id_disk_parse(const char *text, struct vr_uuid *ret, char target[VR_TARGET_MAX]);
/* id_point() - Microsoft:<GUID of the point>; id_point_text() - lineage:epoch. */
char *id_point(char out[PROV_ID_MAX], const struct vr_point_id *pt);
char *id_point_disk(char out[PROV_ID_MAX], const struct vr_point_id *pt, const char *target,
                    char kind);
char *id_point_text(char out[PROV_ID_MAX], const struct vr_point_id *pt);
bool id_point_parse(const char *text, struct vr_point_id *ret);

/* ---- storage.c ---- */
/* Where a disk is. Clients make numbers of places. */
enum disk_bus { DISK_BUS_IDE, DISK_BUS_SCSI, DISK_BUS_FLOPPY };
struct disk_slot {
    enum disk_bus bus;
    unsigned number, place;         /* of the controller among those of its bus; on it */
    char controller[VR_TARGET_MAX]; /* its name: "vd0", "hd1" */
};
/* disk_slot() - that of a target such as "vda". */
void disk_slot(const char *target, struct disk_slot *ret);
/* vm_kth_disk() - the @k-th disk that the machine has now (@pt NULL) or that a recovery point
 * holds: its target; false behind the last. @ret_size: its virtual bytes; may be NULL. */
bool vm_kth_disk(const struct vm *vm, const struct store_point *pt, size_t k,
                 char target[VR_TARGET_MAX], uint64_t *ret_size);
/* vm_first_on() - is the @k-th disk the first one on its controller? */
bool vm_first_on(const struct vm *vm, const struct store_point *pt, size_t k,
                 const struct disk_slot *slot);
/* path_of_disk() - disk, drive or controller of the machine (@pt NULL) or of a recovery point. */
struct cim_path *path_of_disk(const struct vm *vm, const struct store_point *pt, const char *name,
                              char kind);

/* ---- object paths; the caller frees ---- */
struct cim_path *path_system(const char *name);
struct cim_path *path_service(const struct host_providers *p, enum cim_class_id cls);
struct cim_path *path_hvr(const struct vm *vm, enum cim_class_id cls, int n);
struct cim_path *path_vssd(const struct vm *vm);
struct cim_path *path_point(const struct vr_point_id *pt);
struct cim_path *path_disk(const struct vm *vm, const char *target, char kind);
/* path_point_disk() - disk or drive of a recovery point. */
struct cim_path *path_point_disk(const struct vr_point_id *pt, const char *target, char kind);
struct cim_path *path_job(const struct vr_uuid *id);
struct cim_path *path_entry(const struct host_providers *p, const struct cim_inst *entry);
/* path_text() - the same as text with the host, taking @p. */
char *path_text(const struct host_providers *p, struct cim_path *take_p);

/* ---- methods ---- */
struct call {
    struct host_providers *p;
    const struct cim_caller *who;
    const struct cim_inst *target;
    struct cim_args *args;
    uint32_t code; /* what is returned on success; 0 at first */
};
typedef int (*method_fn)(struct call *c, struct vr_err *err);
struct method {
    int index; /* CIM_M_class_method */
    enum cim_role role;
    method_fn fn;
};
/* prov_dispatch() - find the method, check the role, run it, turn an error into a return code, note
 * it for LastRefusal and log it. */
enum cim_status prov_dispatch(struct host_providers *p, const struct cim_caller *who,
                              const struct cim_inst *target, const struct cim_method *m,
                              struct cim_args *args, const struct method *table, size_t n,
                              uint32_t *ret, struct vr_err *err);
/* prov_log_refusal() - after prov_refused(): the log's line about it: what, who, from where, why. A
 * warning when the role was too low. At most one for each caller and second; the next says how many
 * were left out. Returns whether it was written. */
bool prov_log_refusal(struct host_providers *p, const struct cim_caller *who, const char *method,
                      uint32_t code, const struct vr_err *why);
/* prov_refused() - remember why @who was refused; prov_last_refusal() - "" if never. */
void prov_refused(struct host_providers *p, const struct cim_caller *who, const char *msg);
const char *prov_last_refusal(const struct host_providers *p, const struct cim_caller *who);
/* paired.c: a caller that is a paired host acts on what is replicated with it; all return 0 for
 * other callers, and VR_E_DENIED for what it may not. paired_may_call() - on what the call is
 * about. paired_may_act() - on @machine, or the one that it is a test machine of. paired_may_use()
 * - on
 * @what, which is replicated with @peer ("": with nobody). */
int paired_may_call(const struct call *c, struct vr_err *err);
int paired_may_act(const struct host_providers *p, const struct cim_caller *who,
                   const struct vr_uuid *machine, struct vr_err *err);
int paired_may_use(const struct cim_caller *who, const char *peer, const char *what,
                   struct vr_err *err);
/* call_job() - the call is answered by 4096 and this job. */
void call_job(struct call *c, const struct vr_uuid *job);
/* call_failed_job() - what is wrong lies with the hosts, not with the call: it is answered by 4096
 * and a job of this type that has failed with *@io_why, because a return code alone would not say
 * what to do. @machine: that it is about, or NULL. Returns 0, and *@io_why is empty; or -1 and
 * leaves it when so many of this caller's are kept already that they would be in the way of others.
 */
int call_failed_job(struct call *c, enum job_type type, const struct vr_uuid *machine,
                    struct vr_err *io_why);
/* call_admit() - may @ev happen to the machine now? Fills in vm_off where it counts. Errors:
 * VR_E_BUSY another operation runs, VR_E_STATE wrong state or side, VR_E_UNAVAIL or VR_E_UNKNOWN
 * the machine's power cannot be told. Changes nothing. src:[contract.md C.1, C.2, C.6] */
int call_admit(struct call *c, const struct vm *vm, struct rel_event *ev, struct vr_err *err);
/* call_request() - ask the engine and answer with the job. */
int call_request(struct call *c, const struct vm *vm, struct rel_event *ev, enum job_type type,
                 struct vr_err *err);
/* call_admit_request() - both. */
int call_admit_request(struct call *c, const struct vm *vm, struct rel_event *ev,
                       enum job_type type, struct vr_err *err);
/* call_admit_tests() - what test machines forbid; part of call_admit(). */
int call_admit_tests(struct call *c, const struct vm *vm, enum rel_event_type ev,
                     struct vr_err *err);
/* call_admit_exports() - likewise, what points that are open for reading forbid. */
int call_admit_exports(struct call *c, const struct vm *vm, enum rel_event_type ev,
                       struct vr_err *err);
/* call_vm() - machine of parameter ComputerSystem. call_rel1() - refusal of what is legal in other
 * states than 0, in which the second relationship of a replica always is: VR_E_STATE;
 * call_rel1_begin() - of what would make it do something, which is not carried: VR_E_UNSUPPORTED.
 */
int call_vm(struct call *c, struct vm *ret, struct vr_err *err);
int call_rel1(const struct vm *vm, struct vr_err *err);
int call_rel1_begin(const struct vm *vm, struct vr_err *err);
/* call_instance() - the embedded instance that @text (not NULL) is, as cim_xml_parse_used(). An
 * object path with an InstanceID stands for that instance as it is now: all its properties are
 * seen. */
int call_instance(struct call *c, const char *text, const struct cim_class *want, const int used[],
                  size_t n, struct cim_inst **ret, struct vr_err *err);
/* call_relationship() - which relationship of @vm a parameter with an embedded instance means:
 * *ret_n 0 or 1; NULL means 0. */
int call_relationship(struct call *c, const struct vm *vm, int *ret_n, struct vr_err *err);
/* call_start_time() - parameter StartTime: 0 for now. src:[contract.md B.2] */
int call_start_time(struct call *c, struct wall_us *ret, struct vr_err *err);
int call_unsupported(struct call *c, struct vr_err *err);
/* call_save() - keep document @id of the host (NULL text: forget it) and answer with the job that
 * ends when it is on disk. @machine: that it concerns, or NULL. call_save_inst() - the same from an
 * instance. */
int call_save(struct call *c, enum hostset_kind k, const char *id, const char *text,
              const struct vr_uuid *machine, struct vr_err *err);
int call_save_inst(struct call *c, enum hostset_kind k, const char *id, const struct cim_inst *in,
                   const struct vr_uuid *machine, struct vr_err *err);
/* call_save_insts() - the same for @n instances of one kind, with one job. Each is known by its
 * InstanceID. */
int call_save_insts(struct call *c, enum hostset_kind k, struct cim_inst *const in[], size_t n,
                    const struct vr_uuid *machine, struct vr_err *err);
int call_dmtf_unsupported(struct call *c, struct vr_err *err); /* returns 1 "Not Supported" */

/* ---- settings.c ---- */
enum settings_use { SETTINGS_CREATE, SETTINGS_MODIFY, SETTINGS_REVERSE };
/* settings_parse() - parameter ReplicationSettingData: well-formed, of the right class and, if it
 * has an InstanceID, of this machine. *ret_n: which relationship. */
int settings_parse(struct call *c, const struct vm *vm, struct cim_inst **ret, int *ret_n,
                   struct vr_err *err);
/* settings_of_call() - call_vm() and settings_parse() of a method that concerns a machine's first
 * relationship only: another one is refused. */
int settings_of_call(struct call *c, struct vm *vm, struct cim_inst **ret, struct vr_err *err);
/* settings_of() - the settings that @in asks for, checked. *ret_peer: the paired host meant. */
int settings_of(struct call *c, const struct vm *vm, const struct cim_inst *in,
                enum settings_use use, struct rel_settings *ret, const struct host_peer **ret_peer,
                struct vr_err *err);
/* settings_disks() - the disks that IncludedDisks names, all when it is NULL. */
int settings_disks(const struct vm *vm, const struct cim_inst *in, struct rel_event *ev,
                   struct vr_err *err);
int settings_all_disks(const struct vm *vm, struct rel_event *ev, struct vr_err *err);
/* settings_connection() - rules of AuthenticationType and CertificateThumbPrint. @mirror: value
 * that the settings had before and that may come back unchanged, or NULL. */
bool same_thumb(const char *a, const char *b);
/* settings_peer() - the host that a connection point means with this AuthenticationType; with
 * Kerberos any name does. NULL and why (VR_E_NOTFOUND: not paired). Borrowed until the next call or
 * until control returns. */
const struct host_peer *settings_peer(const struct host *h, uint64_t auth_type, const char *point,
                                      struct vr_err *err);
/* kerberos_name() - what Kerberos calls this host; NULL and why. */
const char *kerberos_name(const struct host *h, struct vr_err *err);
int settings_connection(const struct host *h, uint64_t auth_type, const char *thumb,
                        const char *mirror, struct vr_err *err);

/* ---- instances made elsewhere ---- */
/* error_inst() - Msvm_Error for an error or a health reason. */
struct cim_inst *error_inst(enum vr_kind kind, const char *msg, bool is_warning,
                            const char *source);
/* job_next() - the next job as clients see it; *i starts at 0. Besides the engine's there is, for
 * an initial copy that has begun, the one that sends it: clients show its progress.
 * job_child_id() - identifier of that one. src:[contract.md B.2 StartReplication] */
bool job_next(const struct host_providers *p, size_t *i, struct job *ret);
struct vr_uuid job_child_id(const struct vr_uuid *job);
/* job_inst() - a job. point_inst() - a recovery point, @parent the one before or NULL. */
struct cim_inst *job_inst(const struct host_providers *p, const struct job *j);
struct cim_inst *point_inst(const struct host_providers *p, const struct vm *vm,
                            const struct store_point *pt, const struct store_point *parent);
/* job_percent() - PercentComplete. */
uint16_t job_percent(const struct host_providers *p, const struct job *j);

/* Enumerations over machines. */
typedef bool (*vm_emit_fn)(const struct host_providers *p, const struct vm *vm,
                           struct cim_sink *sink);
enum cim_status each_vm(void *ctx, struct cim_sink *sink, vm_emit_fn fn);
/* id_of_path() - the first identifier (of a machine, a point, a job) in the keys of @path; false if
 * there is none. */
bool id_of_path(const struct cim_path *path, struct vr_uuid *ret);
/* vm_of_path() - the machine that the keys of @path are about, by its own identifier or by that of
 * one of its points. False: none of them is. */
bool vm_of_path(const struct host_providers *p, const struct cim_path *path, struct vm *ret);
/* get_vm() - get() of a class of which each machine has instances: only the machine that @path is
 * about is asked. refs_vm() - the same for references(). */
enum cim_status get_vm(void *ctx, const struct cim_path *path, vm_emit_fn fn, struct cim_inst **ret,
                       struct vr_err *err);
enum cim_status refs_vm(void *ctx, const struct cim_path *object, struct cim_sink *sink,
                        vm_emit_fn fn);

/* Each file's providers. */
/* clang-format off */
#define PROV_GROUPS(G) \
    G(service) \
    G(relationship) \
    G(settings) \
    G(system) \
    G(job) \
    G(vssd) \
    G(storage) \
    G(assoc) \
    G(own) \
    G(status) \
    G(vsms) \
    G(summary) \
    G(testfailover) \
    G(export) \
    G(authorization) \
    G(network) \
    G(retention) \
    G(cimv2) \
    G(rest)
/* clang-format on */
#define G(name) void prov_register_##name(struct cim_server *s, struct host_providers *p);
PROV_GROUPS(G)
#undef G

/* Methods of the service that live in files of their own. */
int svc_create(struct call *c, struct vr_err *err);
int svc_modify(struct call *c, struct vr_err *err);
int svc_remove(struct call *c, struct vr_err *err);
int svc_start(struct call *c, struct vr_err *err);
int svc_resync(struct call *c, struct vr_err *err);
int svc_failover(struct call *c, struct vr_err *err);
int svc_revert(struct call *c, struct vr_err *err);
int svc_test(struct call *c, struct vr_err *err);
int vsms_destroy(struct call *c, struct vr_err *err);
int vsms_summary(struct call *c, struct vr_err *err);
/* ---- proof.c ---- */
/* proof_set_status() / proof_set_point() - properties of Vmr_ReplicationStatus, Vmr_RecoveryPoint.
 * proof_offers() - VR_E_STATE when the point is quarantined. The others are methods. */
void proof_set_status(const struct host_providers *p, const struct vm *vm, struct cim_inst *in);
void proof_set_point(const struct store_point *pt, struct cim_inst *in);
int proof_offers(const struct vm *vm, const struct store_point *pt, struct vr_err *err);
int status_verify(struct call *c, const struct vm *vm, struct vr_err *err);
int status_acknowledge(struct call *c, const struct vm *vm, struct vr_err *err);
int point_release(struct call *c, const struct vm *vm, const struct store_point *pt,
                  struct vr_err *err);
/* status_test() - method TestFailover of Vmr_ReplicationStatus for machine @vm. */
int status_export(struct call *c, const struct vm *vm, struct vr_err *err);
int status_test(struct call *c, const struct vm *vm, struct vr_err *err);
/* otherhost.c: properties of Vmr_ReplicationStatus about the other host, and its methods. */
void otherhost_set(const struct host_providers *p, const struct vm *vm, struct cim_inst *in);
int otherhost_withdraw(struct call *c, struct vr_err *err);
int otherhost_allow_start(struct call *c, struct vr_err *err);
int otherhost_ask(struct call *c, struct vr_err *err);
int otherhost_abandon(struct call *c, struct vr_err *err);
int otherhost_set_policy(struct call *c, struct vr_err *err);
int otherhost_policy(struct call *c, const char *text, struct vr_err *err);
int svc_commit(struct call *c, struct vr_err *err);
int svc_reverse(struct call *c, struct vr_err *err);
int svc_add_entry(struct call *c, struct vr_err *err);
int svc_modify_entry(struct call *c, struct vr_err *err);
int svc_remove_entry(struct call *c, struct vr_err *err);
int svc_set_entry(struct call *c, struct vr_err *err);
int svc_statistics(struct call *c, struct vr_err *err);
int svc_reset_statistics(struct call *c, struct vr_err *err);

#endif
