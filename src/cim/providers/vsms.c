/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Msvm_VirtualSystemManagementService, as far as clients of replication use it: summaries of
 * machines. Control thread only. src:[contract.md A.9] */
#include "cim/providers/network.h"
#include "cim/providers/prov.h"

#include <stdlib.h>
#include <strings.h>

#include "base/alloc.h"

#define SVC(n) CIM_P_MSVM_VIRTUALSYSTEMMANAGEMENTSERVICE_##n
#define P(n) CIM_P_MSVM_SUMMARYINFORMATION_##n

static enum cim_status enumerate(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                 struct vr_err *err)
{
    const struct host_providers *p = ctx;
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_VIRTUALSYSTEMMANAGEMENTSERVICE);
    static const uint64_t ok[] = { 2 };

    cim_inst_set_str(in, SVC(SYSTEMCREATIONCLASSNAME), "Msvm_ComputerSystem");
    cim_inst_set_str(in, SVC(SYSTEMNAME), p->h->name);
    cim_inst_set_str(in, SVC(CREATIONCLASSNAME), "Msvm_VirtualSystemManagementService");
    cim_inst_set_str(in, SVC(NAME), "vmms");
    cim_inst_set_bool(in, SVC(STARTED), true);
    cim_inst_set_uintv(in, SVC(OPERATIONALSTATUS), ok, 1);
    cim_emit(sink, in);
    return CIM_S_OK;
}

/* ---- summaries ---- */
static void set_replication(const struct host_providers *p, const struct vm *vm, unsigned what,
                            struct cim_inst *in)
{
    unsigned n = rel_mode(vm->rel) == REL_MODE_REPLICA ? 2 : 1;
    vr_autofree char *provider =
        path_text(p, cim_path_of(CIM_C_MSVM_REPLICATIONPROVIDER, PROV_BUILTIN));

    for (unsigned i = 0; i < n; i++)
        switch (what) {
        case 118:
            cim_inst_add_uint(in, P(REPLICATIONSTATEEX), i ? 0 : rel_cim_state(vm->rel));
            break;
        case 119:
            cim_inst_add_uint(in, P(REPLICATIONHEALTHEX), i ? 0 : vm_health(vm));
            break;
        default:
            cim_inst_add_str(in, P(REPLICATIONPROVIDERID), provider);
        }
}

static void set_test(const struct host_providers *p, const struct vm *vm, struct cim_inst *in)
{
    const struct host_test *t = vm_test_of(p, &vm->uuid);
    char guid[VR_UUID_STR];

    if (!t || !t->ready)
        return;
    vr_auto(cim_path_free) struct cim_path *path = path_system(vr_uuid_fmt_upper(&t->uuid, guid));
    cim_inst_set_ref(in, P(TESTREPLICASYSTEM), path);
}

/* What a requested code fills in; codes that concern nothing we know stay NULL. */
static void set_info(const struct host_providers *p, const struct vm *vm, unsigned what,
                     struct cim_inst *in)
{
    static const uint64_t ok[] = { 2 };

    switch (what) {
    case 0:
        cim_inst_set_str(in, P(NAME), vm->guid);
        break;
    case 1:
        cim_inst_set_str(in, P(ELEMENTNAME), vm->name);
        break;
    case 4:
        cim_inst_set_uint(in, P(NUMBEROFPROCESSORS), vm->hv ? vm->hv->vcpus : 0);
        break;
    case 100:
        cim_inst_set_uint(in, P(ENABLEDSTATE), vm_enabled_state(vm));
        break;
    case 103:
        cim_inst_set_uint(in, P(MEMORYUSAGE), vm->hv ? vm->hv->memory_kib / 1024 : 0);
        break;
    case 109:
        cim_inst_set_uint(in, P(HEALTHSTATE), 5);
        break;
    case 110:
        cim_inst_set_uintv(in, P(OPERATIONALSTATUS), ok, 1);
        break;
    case 114:
        cim_inst_set_uint(in, P(REPLICATIONMODE), vm_mode(p, vm));
        break;
    case 115:
        cim_inst_set_uint(in, P(REPLICATIONSTATE), rel_cim_state(vm->rel));
        break;
    case 116:
        cim_inst_set_uint(in, P(REPLICATIONHEALTH), vm_health(vm));
        set_test(p, vm, in);
        break;
    case 118:
    case 119:
    case 122:
        set_replication(p, vm, what, in);
        break;
    default:
        break;
    }
}

static void summarise(struct call *c, const struct vm *vm)
{
    const struct cim_value *want = cim_args_at(c->args, "RequestedInformation");
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_SUMMARYINFORMATION);

    cim_inst_set_strf(in, P(INSTANCEID), "Microsoft:%s", vm->guid);
    for (size_t i = 0; i < want->n; i++)
        set_info(c->p, vm, (unsigned)cim_value_at(want, i)->u, in);
    cim_value_put_inst(cim_args_at(c->args, "SummaryInformation"), in);
}

/* The machine of settings in force; recovery points have no summary of their own. */
static int vm_of_settings(const struct host_providers *p, const struct cim_path *ref,
                          struct vm *ret, struct vr_err *err)
{
    const char *id = ref ? cim_path_key(ref, "InstanceID") : NULL;
    struct vr_uuid uuid;

    if (!id || strncasecmp(id, "Microsoft:", 10) != 0 || vr_uuid_parse(id + 10, &uuid, NULL) < 0)
        return vr_fail(err, VR_E_INVAL, 0, "SettingData: \"%.80s\" are no settings of a machine",
                       id ? id : "");
    if (!vm_find(p, &uuid, ret))
        return vr_fail(err, VR_E_INVAL, 0, "SettingData: there is no machine %.40s", id + 10);
    return 0;
}

static int get_summary(struct call *c, struct vr_err *err)
{
    const struct cim_value *of = cim_args_at(c->args, "SettingData");
    struct vm vm;

    cim_value_empty(cim_args_at(c->args, "SummaryInformation"));
    if (of->is_null)
        for (size_t i = 0; vm_next(c->p, &i, &vm);)
            summarise(c, &vm);
    for (size_t i = 0; i < of->n; i++) {
        if (vm_of_settings(c->p, cim_value_at(of, i)->ref, &vm, err) < 0)
            return -1;
        summarise(c, &vm);
    }
    return 0;
}

#define M(n) CIM_M_MSVM_VIRTUALSYSTEMMANAGEMENTSERVICE_##n
static const struct method methods[] = {
    { M(REQUESTSTATECHANGE), CIM_ROLE_READER, call_dmtf_unsupported },
    { M(STARTSERVICE), CIM_ROLE_READER, call_dmtf_unsupported },
    { M(STOPSERVICE), CIM_ROLE_READER, call_dmtf_unsupported },
    { M(DESTROYSYSTEM), CIM_ROLE_OPERATOR, vsms_destroy },
    { M(MODIFYRESOURCESETTINGS), CIM_ROLE_ADMIN, vsms_modify_resources },
    { M(GETSUMMARYINFORMATION), CIM_ROLE_READER, get_summary },
};
#undef M

static enum cim_status invoke(void *ctx, const struct cim_caller *who,
                              const struct cim_inst *target, const struct cim_method *m,
                              struct cim_args *args, uint32_t *ret, struct vr_err *err)
{
    return prov_dispatch(ctx, who, target, m, args, methods, VR_ARRAY_LEN(methods), ret, err);
}

void prov_register_vsms(struct cim_server *s, struct host_providers *p)
{
    cim_server_register(s, &(struct cim_provider){ .cls = CIM_C_MSVM_VIRTUALSYSTEMMANAGEMENTSERVICE,
                                                   .ctx = p,
                                                   .enumerate = enumerate,
                                                   .invoke = invoke });
}
