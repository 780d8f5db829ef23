/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Associations among what the other files show. Each is a list of pairs; walking them in either
 * direction is the server's work. Control thread only. src:[contract.md A.16] */
#include "cim/providers/network.h"
#include "cim/providers/prov.h"

#include <stdio.h>

#define REPL CIM_C_MSVM_REPLICATIONSERVICE
#define VSMS CIM_C_MSVM_VIRTUALSYSTEMMANAGEMENTSERVICE
#define FRSD CIM_C_MSVM_REPLICATIONSETTINGDATA
#define RELATIONSHIP CIM_C_MSVM_REPLICATIONRELATIONSHIP

/* One association instance; both paths are taken over. False when no more is wanted. */
static bool pair(struct cim_sink *sink, enum cim_class_id cls, int first,
                 struct cim_path *take_first, int second, struct cim_path *take_second)
{
    struct cim_inst *in = cim_inst_new(cls);

    cim_inst_set_ref(in, first, take_first);
    cim_inst_set_ref(in, second, take_second);
    cim_path_free(take_first);
    cim_path_free(take_second);
    return cim_emit(sink, in);
}

/* PAIR(sink, CLASS, REF, path, REF, path) */
#define PAIR(sink, c, a, pa, b, pb) \
    pair(sink, CIM_C_##c, CIM_P_##c##_##a, (pa), CIM_P_##c##_##b, (pb))

static int n_relationships(const struct vm *vm)
{
    return rel_mode(vm->rel) == REL_MODE_REPLICA ? 2 : 1;
}

/* ---- the host ---- */
static enum cim_status enum_hosted_service(void *ctx, const struct cim_caller *who,
                                           struct cim_sink *sink, struct vr_err *err)
{
    const struct host_providers *p = ctx;

    static const enum cim_class_id services[] = { REPL, VSMS,
                                                  CIM_C_MSVM_VIRTUALSYSTEMSNAPSHOTSERVICE };

    for (size_t i = 0; i < VR_ARRAY_LEN(services); i++)
        if (!PAIR(sink, MSVM_HOSTEDSERVICE, ANTECEDENT, path_system(p->h->name), DEPENDENT,
                  path_service(p, services[i])))
            break;
    return CIM_S_OK;
}

static bool emit_hosted(const struct host_providers *p, const struct vm *vm, struct cim_sink *sink)
{
    return PAIR(sink, MSVM_HOSTEDDEPENDENCY, ANTECEDENT, path_system(p->h->name), DEPENDENT,
                path_system(vm->guid));
}

static bool emit_affects(const struct host_providers *p, const struct vm *vm, struct cim_sink *sink)
{
    return PAIR(sink, MSVM_SERVICEAFFECTSELEMENT, AFFECTEDELEMENT, path_system(vm->guid),
                AFFECTINGELEMENT, path_service(p, REPL)) &&
           PAIR(sink, MSVM_SERVICEAFFECTSELEMENT, AFFECTEDELEMENT, path_system(vm->guid),
                AFFECTINGELEMENT, path_service(p, VSMS));
}

/* ---- settings ---- */
static bool emit_element_setting(const struct host_providers *p, const struct vm *vm,
                                 struct cim_sink *sink)
{
    for (int n = 0; n < n_relationships(vm); n++)
        if (!PAIR(sink, MSVM_ELEMENTSETTINGDATA, MANAGEDELEMENT, path_system(vm->guid), SETTINGDATA,
                  path_hvr(vm, FRSD, n)))
            return false;
    const struct cim_inst *entry = hostset_entry_of(p->h->set, &vm->uuid);
    return !entry || rel_mode(vm->rel) != REL_MODE_REPLICA ||
           PAIR(sink, MSVM_ELEMENTSETTINGDATA, MANAGEDELEMENT, path_system(vm->guid), SETTINGDATA,
                path_entry(p, entry));
}

/* The service's own settings. False when no more is wanted. */
static bool emit_service_settings(const struct host_providers *p, struct cim_sink *sink)
{
    char id[PROV_ID_MAX + VR_NAME_MAX];
    const struct cim_inst *entry;

    snprintf(id, sizeof id, "Microsoft:%s\\HVRServiceSettings", p->h->name);
    if (!PAIR(sink, MSVM_ELEMENTSETTINGDATA, MANAGEDELEMENT, path_service(p, REPL), SETTINGDATA,
              cim_path_of(CIM_C_MSVM_REPLICATIONSERVICESETTINGDATA, id)))
        return false;
    for (size_t i = 0; (entry = hostset_at(p->h->set, HOSTSET_ENTRY, i)) != NULL; i++)
        if (!PAIR(sink, MSVM_ELEMENTSETTINGDATA, MANAGEDELEMENT, path_service(p, REPL), SETTINGDATA,
                  path_entry(p, entry)))
            return false;
    return true;
}

static enum cim_status enum_element_setting(void *ctx, const struct cim_caller *who,
                                            struct cim_sink *sink, struct vr_err *err)
{
    if (!cim_sink_at(sink) && !emit_service_settings(ctx, sink))
        return CIM_S_OK;
    return each_vm(ctx, sink, emit_element_setting);
}

static enum cim_status refs_element_setting(void *ctx, const struct cim_caller *who,
                                            const struct cim_path *object, struct cim_sink *sink,
                                            struct vr_err *err)
{
    if (!cim_sink_at(sink) && !emit_service_settings(ctx, sink))
        return CIM_S_OK;
    return refs_vm(ctx, object, sink, emit_element_setting);
}

static bool emit_define_state(const struct host_providers *p, const struct vm *vm,
                              struct cim_sink *sink)
{
    for (int n = 0; n < n_relationships(vm); n++)
        if (!PAIR(sink, MSVM_SETTINGSDEFINESTATE, MANAGEDELEMENT, path_hvr(vm, RELATIONSHIP, n),
                  SETTINGDATA, path_hvr(vm, FRSD, n)))
            return false;
    return PAIR(sink, MSVM_SETTINGSDEFINESTATE, MANAGEDELEMENT, path_system(vm->guid), SETTINGDATA,
                path_vssd(vm));
}

static bool emit_system_relationship(const struct host_providers *p, const struct vm *vm,
                                     struct cim_sink *sink)
{
    for (int n = 0; n < n_relationships(vm); n++)
        if (!PAIR(sink, MSVM_SYSTEMREPLICATIONRELATIONSHIP, ANTECEDENT, path_system(vm->guid),
                  DEPENDENT, path_hvr(vm, RELATIONSHIP, n)))
            return false;
    return true;
}

static bool emit_summary(const struct host_providers *p, const struct vm *vm, struct cim_sink *sink)
{
    char id[PROV_ID_MAX];

    snprintf(id, sizeof id, "Microsoft:%s", vm->guid);
    return PAIR(sink, MSVM_COMPUTERSYSTEMSUMMARYINFORMATION, ANTECEDENT, path_system(vm->guid),
                DEPENDENT, cim_path_of(CIM_C_MSVM_SUMMARYINFORMATION, id));
}

/* ---- recovery points ---- */
static bool emit_snapshots(const struct host_providers *p, const struct vm *vm,
                           struct cim_sink *sink)
{
    const struct store_point *v;
    size_t n = vm_points(p, vm, &v);

    for (size_t i = 0; i < n; i++)
        if (!PAIR(sink, MSVM_SNAPSHOTOFVIRTUALSYSTEM, ANTECEDENT, path_system(vm->guid), DEPENDENT,
                  path_point(&v[i].id)))
            return false;
    return true;
}

static bool emit_parents(const struct host_providers *p, const struct vm *vm, struct cim_sink *sink)
{
    const struct store_point *v;
    size_t n = vm_points(p, vm, &v);

    for (size_t i = 1; i < n; i++)
        if (!PAIR(sink, MSVM_PARENTCHILDSETTINGDATA, ANTECEDENT, path_point(&v[i - 1].id),
                  DEPENDENT, path_point(&v[i].id)))
            return false;
    return true;
}

/* The point below the current state, to which it was set back: only a machine that was failed over
 * has one. NULL: none. */
static const struct store_point *point_below(const struct host_providers *p, const struct vm *vm)
{
    const struct store_point *v;
    size_t n = vm_points(p, vm, &v);
    uint16_t state = rel_cim_state(vm->rel);

    for (size_t i = 0; (state == 5 || state == 6) && i < n; i++)
        if (vr_point_eq(&v[i].id, &vm->rel->failover))
            return &v[i];
    return NULL;
}

static bool emit_current(const struct host_providers *p, const struct vm *vm, struct cim_sink *sink)
{
    const struct store_point *pt = point_below(p, vm);

    return !pt || PAIR(sink, MSVM_MOSTCURRENTSNAPSHOTINBRANCH, ANTECEDENT, path_system(vm->guid),
                       DEPENDENT, path_point(&pt->id));
}

static bool emit_applied(const struct host_providers *p, const struct vm *vm, struct cim_sink *sink)
{
    const struct store_point *pt = point_below(p, vm);

    return !pt || PAIR(sink, MSVM_LASTAPPLIEDSNAPSHOT, ANTECEDENT, path_point(&pt->id), DEPENDENT,
                       path_system(vm->guid));
}

/* ---- disks ---- */
/* Controllers, drives and disks of the settings in force (@pt NULL) or of a recovery point, which
 * holds the replicated ones. */
static bool emit_disk_components(const struct vm *vm, const struct store_point *pt,
                                 struct cim_sink *sink)
{
    char target[VR_TARGET_MAX];
    struct disk_slot slot;

    for (size_t k = 0; vm_kth_disk(vm, pt, k, target, NULL); k++) {
        disk_slot(target, &slot);
        const char *const parts[] = { slot.controller, target, target };
        static const char kinds[] = { 'C', 'D', 'L' };
        for (size_t i = !vm_first_on(vm, pt, k, &slot); i < sizeof kinds; i++)
            if (!PAIR(sink, MSVM_VIRTUALSYSTEMSETTINGDATACOMPONENT, GROUPCOMPONENT,
                      pt ? path_point(&pt->id) : path_vssd(vm), PARTCOMPONENT,
                      path_of_disk(vm, pt, parts[i], kinds[i])))
                return false;
    }
    return true;
}

static bool emit_components(const struct host_providers *p, const struct vm *vm,
                            struct cim_sink *sink)
{
    const struct store_point *v;
    size_t n = vm_points(p, vm, &v);

    if (!emit_disk_components(vm, NULL, sink) || !emit_nic_components(p, vm, sink))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!emit_disk_components(vm, &v[i], sink))
            return false;
    return true;
}

static bool emit_disks_in_drives(const struct vm *vm, const struct store_point *pt,
                                 struct cim_sink *sink)
{
    char target[VR_TARGET_MAX];

    for (size_t k = 0; vm_kth_disk(vm, pt, k, target, NULL); k++)
        if (!PAIR(sink, MSVM_RESOURCEDEPENDENTONRESOURCE, ANTECEDENT,
                  path_of_disk(vm, pt, target, 'D'), DEPENDENT, path_of_disk(vm, pt, target, 'L')))
            return false;
    return true;
}

static bool emit_in_drive(const struct host_providers *p, const struct vm *vm,
                          struct cim_sink *sink)
{
    const struct store_point *v;
    size_t n = vm_points(p, vm, &v);

    if (!emit_disks_in_drives(vm, NULL, sink))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!emit_disks_in_drives(vm, &v[i], sink))
            return false;
    return true;
}

/* ---- jobs ---- */
/* A job's affected elements, those that name @only if it is not NULL. False when no more is wanted.
 */
static bool emit_affected(const struct host_providers *p, const struct job *j,
                          const struct vr_uuid *only, struct cim_sink *sink)
{
    const struct host_test *t = vm_test_of_job(p, &j->id);
    bool is_job = !only || vr_uuid_eq(only, &j->id);
    char guid[VR_UUID_STR];

    if (is_job || vr_uuid_eq(only, &j->machine)) {
        struct cim_path *of = vr_uuid_is_zero(&j->machine)
                                  ? path_system(p->h->name)
                                  : path_system(vr_uuid_fmt_upper(&j->machine, guid));
        if (!PAIR(sink, MSVM_AFFECTEDJOBELEMENT, AFFECTEDELEMENT, of, AFFECTINGELEMENT,
                  path_job(&j->id)))
            return false;
    }
    return !t || !(is_job || vr_uuid_eq(only, &t->uuid)) ||
           PAIR(sink, MSVM_AFFECTEDJOBELEMENT, AFFECTEDELEMENT,
                path_system(vr_uuid_fmt_upper(&t->uuid, guid)), AFFECTINGELEMENT, path_job(&j->id));
}

/* A job's owner: the machine that is turned on or off, or the service. */
static bool emit_owning(const struct host_providers *p, const struct job *j,
                        const struct vr_uuid *only, struct cim_sink *sink)
{
    bool of_machine = j->type == JOB_POWER;
    char guid[VR_UUID_STR];

    if (only && !vr_uuid_eq(only, &j->id) && !(of_machine && vr_uuid_eq(only, &j->machine)))
        return true;
    struct cim_path *owner =
        of_machine ? path_system(vr_uuid_fmt_upper(&j->machine, guid)) : path_service(p, REPL);
    return PAIR(sink, MSVM_OWNINGJOBELEMENT, OWNINGELEMENT, owner, OWNEDELEMENT, path_job(&j->id));
}

typedef bool (*job_emit_fn)(const struct host_providers *p, const struct job *j,
                            const struct vr_uuid *only, struct cim_sink *sink);

/* @object: NULL for all */
static enum cim_status each_job(const struct host_providers *p, const struct cim_path *object,
                                struct cim_sink *sink, job_emit_fn fn)
{
    struct vr_uuid uuid;
    const struct vr_uuid *only = object && id_of_path(object, &uuid) ? &uuid : NULL;
    struct job j;

    for (size_t i = cim_sink_at(sink); job_next(p, &i, &j);)
        if (!fn(p, &j, only, sink) || cim_sink_pause(sink, i))
            break;
    return CIM_S_OK;
}

#define JOBS(A)                \
    A(affected, emit_affected) \
    A(owning, emit_owning)
#define A(name, fn)                                                                          \
    static enum cim_status enum_##name(void *ctx, const struct cim_caller *who,              \
                                       struct cim_sink *sink, struct vr_err *err)            \
    {                                                                                        \
        return each_job(ctx, NULL, sink, fn);                                                \
    }                                                                                        \
    static enum cim_status refs_##name(void *ctx, const struct cim_caller *who,              \
                                       const struct cim_path *object, struct cim_sink *sink, \
                                       struct vr_err *err)                                   \
    {                                                                                        \
        return each_job(ctx, object, sink, fn);                                              \
    }
JOBS(A)
#undef A

/* ---- registration ---- */
#define PER_MACHINE(A)                                              \
    A(MSVM_HOSTEDDEPENDENCY, emit_hosted)                           \
    A(MSVM_SERVICEAFFECTSELEMENT, emit_affects)                     \
    A(MSVM_SETTINGSDEFINESTATE, emit_define_state)                  \
    A(MSVM_SYSTEMREPLICATIONRELATIONSHIP, emit_system_relationship) \
    A(MSVM_COMPUTERSYSTEMSUMMARYINFORMATION, emit_summary)          \
    A(MSVM_SNAPSHOTOFVIRTUALSYSTEM, emit_snapshots)                 \
    A(MSVM_PARENTCHILDSETTINGDATA, emit_parents)                    \
    A(MSVM_MOSTCURRENTSNAPSHOTINBRANCH, emit_current)               \
    A(MSVM_LASTAPPLIEDSNAPSHOT, emit_applied)                       \
    A(MSVM_VIRTUALSYSTEMSETTINGDATACOMPONENT, emit_components)      \
    A(MSVM_RESOURCEDEPENDENTONRESOURCE, emit_in_drive)

#define A(cls, fn)                                                                          \
    static enum cim_status enum_##cls(void *ctx, const struct cim_caller *who,              \
                                      struct cim_sink *sink, struct vr_err *err)            \
    {                                                                                       \
        return each_vm(ctx, sink, fn);                                                      \
    }                                                                                       \
    static enum cim_status refs_##cls(void *ctx, const struct cim_caller *who,              \
                                      const struct cim_path *object, struct cim_sink *sink, \
                                      struct vr_err *err)                                   \
    {                                                                                       \
        return refs_vm(ctx, object, sink, fn);                                              \
    }
PER_MACHINE(A)
#undef A

static const struct cim_provider all[] = {
#define A(c, fn) { .cls = CIM_C_##c, .enumerate = enum_##c, .references = refs_##c },
    PER_MACHINE(A)
#undef A
        { .cls = CIM_C_MSVM_HOSTEDSERVICE, .enumerate = enum_hosted_service },
    { .cls = CIM_C_MSVM_ELEMENTSETTINGDATA,
      .enumerate = enum_element_setting,
      .references = refs_element_setting },
    { .cls = CIM_C_MSVM_AFFECTEDJOBELEMENT,
      .enumerate = enum_affected,
      .references = refs_affected },
    { .cls = CIM_C_MSVM_OWNINGJOBELEMENT, .enumerate = enum_owning, .references = refs_owning },
};

void prov_register_assoc(struct cim_server *s, struct host_providers *p)
{
    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++) {
        struct cim_provider one = all[i];
        one.ctx = p;
        cim_server_register(s, &one);
    }
}
