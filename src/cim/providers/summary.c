/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Msvm_SummaryInformation: one machine in one instance. GetSummaryInformation fills in what its
 * codes ask for; as an object (associated with its machine) it has everything. What a Linux host
 * cannot know without looking into the guest stays NULL. Control thread only.
 * src:[contract.md A.9; schema.json Msvm_SummaryInformation] */
#include "cim/providers/prov.h"

#include <stdlib.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/uuidmap.h"

#define P(n) CIM_P_MSVM_SUMMARYINFORMATION_##n

static unsigned n_relationships(const struct vm *vm)
{
    return rel_mode(vm->rel) == REL_MODE_REPLICA ? 2 : 1;
}

/* ---- what a code fills in ---- */
typedef void (*info_fn)(const struct host_providers *p, const struct vm *vm, struct cim_inst *in);
#define INFO(name) \
    static void name(const struct host_providers *p, const struct vm *vm, struct cim_inst *in)

INFO(set_name)
{
    cim_inst_set_str(in, P(NAME), vm->guid);
}

INFO(set_element_name)
{
    cim_inst_set_str(in, P(ELEMENTNAME), vm->name);
}

INFO(set_notes)
{
    cim_inst_set_str(in, P(NOTES), vm->hv ? vm->hv->notes : NULL);
}

INFO(set_processors)
{
    if (vm->hv)
        cim_inst_set_uint(in, P(NUMBEROFPROCESSORS), vm->hv->vcpus);
}

INFO(set_switches)
{
    cim_value_empty(cim_inst_value(in, P(VIRTUALSWITCHNAMES)));
    for (size_t i = 0; vm->hv && i < vm->hv->n_nics; i++)
        if (vm->hv->nics[i].source)
            cim_inst_add_str(in, P(VIRTUALSWITCHNAMES), vm->hv->nics[i].source);
}

INFO(set_shielded)
{
    cim_inst_set_bool(in, P(SHIELDED), false);
}

INFO(set_enabled_state)
{
    cim_inst_set_uint(in, P(ENABLEDSTATE), vm_enabled_state(vm));
}

INFO(set_memory)
{
    if (vm->hv)
        cim_inst_set_uint(in, P(MEMORYUSAGE),
                          vm->hv->power == HV_POWER_OFF ? 0 : vm->hv->memory_kib / 1024);
}

INFO(set_uptime)
{
    uint64_t ms;

    if (vm_uptime_ms(vm, &ms))
        cim_inst_set_uint(in, P(UPTIME), ms);
}

/* Embedded, newest last. */
INFO(set_snapshots)
{
    const struct store_point *v;
    size_t n = vm_points(p, vm, &v);

    cim_value_empty(cim_inst_value(in, P(SNAPSHOTS)));
    for (size_t i = 0; i < n; i++)
        cim_inst_add_inst(in, P(SNAPSHOTS), point_inst(p, vm, &v[i], i ? &v[i - 1] : NULL));
}

INFO(set_tasks)
{
    struct job j;

    cim_value_empty(cim_inst_value(in, P(ASYNCHRONOUSTASKS)));
    for (size_t i = 0; job_next(p, &i, &j);)
        if (vr_uuid_eq(&j.machine, &vm->uuid) && !job_over(&j))
            cim_inst_add_inst(in, P(ASYNCHRONOUSTASKS), job_inst(p, &j));
}

INFO(set_health_state)
{
    cim_inst_set_uint(in, P(HEALTHSTATE), 5);
}

INFO(set_status)
{
    const char *text;
    uint16_t doing = vm_doing(p, vm, &text);

    cim_inst_add_uint(in, P(OPERATIONALSTATUS), 2);
    if (doing)
        cim_inst_add_uint(in, P(OPERATIONALSTATUS), doing);
}

INFO(set_descriptions)
{
    const char *text;

    cim_inst_add_str(in, P(STATUSDESCRIPTIONS), VM_STATUS_TEXT);
    if (vm_doing(p, vm, &text))
        cim_inst_add_str(in, P(STATUSDESCRIPTIONS), text);
}

INFO(set_mode)
{
    cim_inst_set_uint(in, P(REPLICATIONMODE), vm_mode(p, vm));
}

INFO(set_state)
{
    cim_inst_set_uint(in, P(REPLICATIONSTATE), rel_cim_state(vm->rel));
}

/* Code 116 is for both. src:[contract.md A.9] */
INFO(set_health)
{
    const struct host_test *t = vm_test_of(p, &vm->uuid);
    char guid[VR_UUID_STR];

    cim_inst_set_uint(in, P(REPLICATIONHEALTH), vm_health(vm));
    if (!t || !t->ready)
        return;
    vr_auto(cim_path_free) struct cim_path *path = path_system(vr_uuid_fmt_upper(&t->uuid, guid));
    cim_inst_set_ref(in, P(TESTREPLICASYSTEM), path);
}

INFO(set_state_ex)
{
    for (unsigned i = 0; i < n_relationships(vm); i++)
        cim_inst_add_uint(in, P(REPLICATIONSTATEEX), i ? 0 : rel_cim_state(vm->rel));
}

INFO(set_health_ex)
{
    for (unsigned i = 0; i < n_relationships(vm); i++)
        cim_inst_add_uint(in, P(REPLICATIONHEALTHEX), i ? 0 : vm_health(vm));
}

INFO(set_swap)
{
    cim_inst_set_bool(in, P(SWAPFILESINUSE), false);
}

INFO(set_provider)
{
    vr_autofree char *provider =
        path_text(p, cim_path_of(CIM_C_MSVM_REPLICATIONPROVIDER, PROV_BUILTIN));

    for (unsigned i = 0; i < n_relationships(vm); i++)
        cim_inst_add_str(in, P(REPLICATIONPROVIDERID), provider);
}

INFO(set_sub_type)
{
    if (vm->hv)
        cim_inst_set_str(in, P(VIRTUALSYSTEMSUBTYPE), vm_sub_type(vm));
}

INFO(set_host)
{
    cim_inst_set_str(in, P(HOSTCOMPUTERSYSTEMNAME), p->h->name);
}

INFO(set_session)
{
    cim_inst_set_uint(in, P(ENHANCEDSESSIONMODESTATE), 3);
}

/* Codes without a row concern what is inside of the guest, pictures, history, or is not known here.
 * The last two have no code of their own. */
#define NO_CODE UINT32_MAX
static const struct {
    uint32_t code;
    info_fn fn;
} infos[] = {
    { 0, set_name },
    { 1, set_element_name },
    { 3, set_notes },
    { 4, set_processors },
    { 9, set_switches },
    { 11, set_shielded },
    { 100, set_enabled_state },
    { 103, set_memory },
    { 105, set_uptime },
    { 107, set_snapshots },
    { 108, set_tasks },
    { 109, set_health_state },
    { 110, set_status },
    { 111, set_descriptions },
    { 114, set_mode },
    { 115, set_state },
    { 116, set_health },
    { 118, set_state_ex },
    { 119, set_health_ex },
    { 120, set_swap },
    { 122, set_provider },
    { 132, set_sub_type },
    { 133, set_host },
    { NO_CODE, set_session },
};

static struct cim_inst *make(const struct vm *vm)
{
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_SUMMARYINFORMATION);

    cim_inst_set_strf(in, P(INSTANCEID), "Microsoft:%s", vm->guid);
    return in;
}

/* ---- objects ---- */
static bool emit_summary(const struct host_providers *p, const struct vm *vm, struct cim_sink *sink)
{
    struct cim_inst *in = make(vm);

    for (size_t i = 0; i < VR_ARRAY_LEN(infos); i++)
        infos[i].fn(p, vm, in);
    return cim_emit(sink, in);
}

static enum cim_status enumerate(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                 struct vr_err *err)
{
    return each_vm(ctx, sink, emit_summary);
}

static enum cim_status get(void *ctx, const struct cim_caller *who, const struct cim_path *path,
                           struct cim_inst **ret, struct vr_err *err)
{
    return get_vm(ctx, path, emit_summary, ret, err);
}

void prov_register_summary(struct cim_server *s, struct host_providers *p)
{
    cim_server_register(s, &(struct cim_provider){ .cls = CIM_C_MSVM_SUMMARYINFORMATION,
                                                   .ctx = p,
                                                   .enumerate = enumerate,
                                                   .get = get });
}

/* ---- the method ---- */
static void set_info(const struct host_providers *p, const struct vm *vm, uint32_t code,
                     struct cim_inst *in)
{
    for (size_t i = 0; i < VR_ARRAY_LEN(infos); i++)
        if (infos[i].code == code && code != NO_CODE)
            infos[i].fn(p, vm, in);
}

static void summarise(struct call *c, const struct vm *vm)
{
    const struct cim_value *want = cim_args_at(c->args, "RequestedInformation");
    struct cim_inst *in = make(vm);

    for (size_t i = 0; i < want->n; i++) {
        uint64_t code = cim_value_at(want, i)->u;
        bool again = false;
        for (size_t k = 0; k < i; k++)
            again |= cim_value_at(want, k)->u == code;
        if (!again)
            set_info(c->p, vm, (uint32_t)code, in);
    }
    c->args->used += cim_inst_least_xml(in);
    c->args->is_full = c->args->room && c->args->used > c->args->room;
    cim_value_put_inst(cim_args_at(c->args, "SummaryInformation"), in);
}

/* The machine of settings in force; recovery points have no summary of their own. */
static bool id_of_settings(const struct cim_path *ref, struct vr_uuid *ret)
{
    const char *id = ref ? cim_path_key(ref, "InstanceID") : NULL;

    return id && strncasecmp(id, "Microsoft:", 10) == 0 && vr_uuid_parse(id + 10, ret, NULL) == 0;
}

static int vm_of_settings(const struct host_providers *p, const struct cim_path *ref,
                          struct vm *ret, struct vr_err *err)
{
    const char *id = ref ? cim_path_key(ref, "InstanceID") : NULL;
    struct vr_uuid uuid;

    if (!id_of_settings(ref, &uuid))
        return vr_fail(err, VR_E_INVAL, 0, "SettingData: \"%.80s\" are no settings of a machine",
                       id ? id : "");
    if (!vm_find(p, &uuid, ret))
        return vr_fail(err, VR_E_INVAL, 0, "SettingData: there is no machine %.40s", id + 10);
    return 0;
}

/* Machines that were asked for already: each is told once, however often it is named. */
static void note_asked(struct vr_uuidmap *asked, const struct cim_path *ref)
{
    struct vr_uuid uuid;

    if (id_of_settings(ref, &uuid))
        vr_uuidmap_put(asked, &uuid, asked);
}

static int summaries(struct call *c, struct vr_uuidmap *asked, struct vr_err *err)
{
    const struct cim_value *of = cim_args_at(c->args, "SettingData");
    size_t i = c->args->at, from = i;
    struct vm vm;

    for (size_t k = 0; !of->is_null && k < i; k++)
        note_asked(asked, cim_value_at(of, k)->ref);
    while (!c->args->is_full) {
        c->args->at = i;
        if (i != from && c->args->until_us && vr_mono_us() >= c->args->until_us)
            return 0; /* goes on here */
        if (of->is_null) {
            if (!vm_next(c->p, &i, &vm))
                break;
        } else {
            if (i == of->n)
                break;
            const struct cim_path *ref = cim_value_at(of, i++)->ref;
            if (vm_of_settings(c->p, ref, &vm, err) < 0)
                return -1;
            if (vr_uuidmap_get(asked, &vm.uuid))
                continue;
            note_asked(asked, ref);
        }
        summarise(c, &vm);
    }
    c->args->at = 0;
    return 0;
}

int vsms_summary(struct call *c, struct vr_err *err)
{
    struct vr_uuidmap asked = VR_UUIDMAP_INIT;

    if (!c->args->at)
        cim_value_empty(cim_args_at(c->args, "SummaryInformation"));
    int rc = summaries(c, &asked, err);
    vr_uuidmap_done(&asked);
    if (rc < 0)
        c->args->at = 0;
    return rc;
}
