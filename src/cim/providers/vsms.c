/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Msvm_VirtualSystemManagementService, as far as clients of replication use it. Control thread
 * only. src:[contract.md A.9] */
#include "cim/providers/network.h"
#include "cim/providers/prov.h"

#define SVC(n) CIM_P_MSVM_VIRTUALSYSTEMMANAGEMENTSERVICE_##n

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

#define M(n) CIM_M_MSVM_VIRTUALSYSTEMMANAGEMENTSERVICE_##n
static const struct method methods[] = {
    { M(REQUESTSTATECHANGE), CIM_ROLE_READER, call_dmtf_unsupported },
    { M(STARTSERVICE), CIM_ROLE_READER, call_dmtf_unsupported },
    { M(STOPSERVICE), CIM_ROLE_READER, call_dmtf_unsupported },
    { M(DESTROYSYSTEM), CIM_ROLE_OPERATOR, vsms_destroy },
    { M(MODIFYRESOURCESETTINGS), CIM_ROLE_ADMIN, vsms_modify_resources },
    { M(GETSUMMARYINFORMATION), CIM_ROLE_READER, vsms_summary },
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
