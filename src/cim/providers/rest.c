/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What clients expect to find although there is little of it here: the service of snapshots, which
 * destroys none of a replica's points, and classes without instances. Control thread only.
 * src:[contract.md A.15, A.16, B.5] */
#include "cim/providers/prov.h"

#define SVC(n) CIM_P_MSVM_VIRTUALSYSTEMSNAPSHOTSERVICE_##n
#define M(n) CIM_M_MSVM_VIRTUALSYSTEMSNAPSHOTSERVICE_##n

static enum cim_status enum_service(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                    struct vr_err *err)
{
    const struct host_providers *p = ctx;
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_VIRTUALSYSTEMSNAPSHOTSERVICE);

    cim_inst_set_str(in, SVC(SYSTEMCREATIONCLASSNAME), "Msvm_ComputerSystem");
    cim_inst_set_str(in, SVC(SYSTEMNAME), p->h->name);
    cim_emit(sink, in);
    return CIM_S_OK;
}

/* The points of a replica go by its settings, not one by one. */
static int destroy(struct call *c, struct vr_err *err)
{
    const char *param =
        cim_args_at(c->args, "AffectedSnapshot") ? "AffectedSnapshot" : "SnapshotSettingData";
    const struct cim_path *ref = cim_args_ref(c->args, param);
    const char *id = ref ? cim_path_key(ref, "InstanceID") : NULL;
    struct vm vm;

    for (size_t i = 0; id && vm_next(c->p, &i, &vm);)
        if (vm_point(c->p, &vm, id))
            return vr_fail(err, VR_E_STATE, 0,
                           "a recovery point of machine %s cannot be destroyed; RecoveryHistory "
                           "says how many are kept",
                           vm.name);
    return vr_fail(err, VR_E_INVAL, 0, "%s: \"%.80s\" is no snapshot of a machine", param,
                   id ? id : "");
}

static const struct method methods[] = {
    { M(REQUESTSTATECHANGE), CIM_ROLE_READER, call_dmtf_unsupported },
    { M(STARTSERVICE), CIM_ROLE_READER, call_dmtf_unsupported },
    { M(STOPSERVICE), CIM_ROLE_READER, call_dmtf_unsupported },
    { M(DESTROYSNAPSHOT), CIM_ROLE_OPERATOR, destroy },
    { M(DESTROYSNAPSHOTTREE), CIM_ROLE_OPERATOR, destroy },
    { M(CREATESNAPSHOT), CIM_ROLE_OPERATOR, call_unsupported },
    { M(APPLYSNAPSHOT), CIM_ROLE_OPERATOR, call_unsupported },
};

static enum cim_status invoke(void *ctx, const struct cim_caller *who,
                              const struct cim_inst *target, const struct cim_method *m,
                              struct cim_args *args, uint32_t *ret, struct vr_err *err)
{
    return prov_dispatch(ctx, who, target, m, args, methods, VR_ARRAY_LEN(methods), ret, err);
}

static enum cim_status enum_nothing(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                    struct vr_err *err)
{
    return CIM_S_OK;
}

/* Groups of machines and devices (as opposed to their settings). */
static const enum cim_class_id empty[] = {
    CIM_C_MSVM_VIRTUALSYSTEMCOLLECTION,
    CIM_C_MSVM_COLLECTEDVIRTUALSYSTEMS,
    CIM_C_MSVM_SYSTEMDEVICE,
    CIM_C_MSVM_EMULATEDETHERNETPORTSETTINGDATA,
};

void prov_register_rest(struct cim_server *s, struct host_providers *p)
{
    cim_server_register(s, &(struct cim_provider){ .cls = CIM_C_MSVM_VIRTUALSYSTEMSNAPSHOTSERVICE,
                                                   .ctx = p,
                                                   .enumerate = enum_service,
                                                   .invoke = invoke });
    for (size_t i = 0; i < VR_ARRAY_LEN(empty); i++)
        cim_server_register(
            s, &(struct cim_provider){ .cls = empty[i], .ctx = p, .enumerate = enum_nothing });
}
