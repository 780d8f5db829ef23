/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Msvm_ReplicationService, its settings and the carrier of the data; the table of its methods.
 * Control thread only. src:[contract.md A.1, A.2, A.6, B.1] */
#include "cim/providers/prov.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define SVC(n) CIM_P_MSVM_REPLICATIONSERVICE_##n
#define SET(n) CIM_P_MSVM_REPLICATIONSERVICESETTINGDATA_##n
#define PRV(n) CIM_P_MSVM_REPLICATIONPROVIDER_##n

static enum cim_status enum_service(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                    struct vr_err *err)
{
    const struct host_providers *p = ctx;
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_REPLICATIONSERVICE);
    static const uint64_t ok[] = { 2 };

    cim_inst_set_str(in, SVC(SYSTEMNAME), p->h->name);
    cim_inst_set_uintv(in, SVC(OPERATIONALSTATUS), ok, 1);
    cim_emit(sink, in);
    return CIM_S_OK;
}

/* This host receives from whoever is paired; the listener of peers is the only one. */
static enum cim_status enum_settings(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                     struct vr_err *err)
{
    const struct host_providers *p = ctx;
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_REPLICATIONSERVICESETTINGDATA);

    cim_inst_set_strf(in, SET(INSTANCEID), "Microsoft:%s\\HVRServiceSettings", p->h->name);
    cim_inst_set_bool(in, SET(RECOVERYSERVERENABLED), true);
    cim_inst_set_uint(in, SET(ALLOWEDAUTHENTICATIONTYPE), 2);
    cim_inst_set_str(in, SET(CERTIFICATETHUMBPRINT), p->h->thumb_sha1);
    cim_inst_set_uint(in, SET(HTTPSPORT), p->h->peer_port);
    cim_inst_set_interval(in, SET(MONITORINGSTARTTIME), 9 * 3600);
    cim_emit(sink, in);
    return CIM_S_OK;
}

static enum cim_status enum_provider(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                     struct vr_err *err)
{
    const struct host_providers *p = ctx;
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_REPLICATIONPROVIDER);
    static const char text[] = "Virtual machine replication provider to Hyper-V host";
    static const uint64_t ok[] = { 2 };

    cim_inst_set_str(in, PRV(NAME), PROV_BUILTIN);
    cim_inst_set_str(in, PRV(DESCRIPTION), text);
    cim_inst_set_str(in, PRV(ELEMENTNAME), text);
    cim_inst_set_strf(in, PRV(INSTANCEID), "Microsoft:%s\\ReplicationProvider\\%s", p->h->name,
                      PROV_BUILTIN);
    cim_inst_set_uintv(in, PRV(OPERATIONALSTATUS), ok, 1);
    cim_emit(sink, in);
    return CIM_S_OK;
}

/* ---- methods that concern no relationship ---- */
static int get_certificates(struct call *c, struct vr_err *err)
{
    struct cim_value *v = cim_args_at(c->args, "EncodedCertificates");

    cim_value_empty(v);
    if (c->p->h->cert_der_base64)
        cim_value_put_str(v, c->p->h->cert_der_base64);
    return 0;
}

static int test_connection(struct call *c, struct vr_err *err)
{
    const struct host *h = c->p->h;
    const char *point = cim_args_str(c->args, "RecoveryConnectionPoint");
    uint16_t port = (uint16_t)cim_args_uint(c->args, "RecoveryServerPortNumber", 0);
    struct vr_uuid job;

    if (!point || !*point)
        return vr_fail(err, VR_E_INVAL, 0, "RecoveryConnectionPoint must name the replica host");
    if (!port)
        return vr_fail(err, VR_E_INVAL, 0, "RecoveryServerPortNumber must not be 0");
    if (settings_connection(h, cim_args_uint(c->args, "AuthenticationType", 0),
                            cim_args_str(c->args, "CertificateThumbPrint"), NULL, err) < 0)
        return -1;
    if (!h->find_peer(h->ctx, point))
        return vr_fail(err, VR_E_INVAL, 0, "host %.100s is not paired with this one", point);
    if (h->test_connection(h->ctx, point, port, c->who->name, &job, err) < 0)
        return -1;
    call_job(c, &job);
    return 0;
}

#define M(n) CIM_M_MSVM_REPLICATIONSERVICE_##n
static const struct method methods[] = {
    { M(REQUESTSTATECHANGE), CIM_ROLE_READER, call_dmtf_unsupported },
    { M(STARTSERVICE), CIM_ROLE_READER, call_dmtf_unsupported },
    { M(STOPSERVICE), CIM_ROLE_READER, call_dmtf_unsupported },
    { M(MODIFYSERVICESETTINGS), CIM_ROLE_ADMIN, call_unsupported },
    { M(ADDAUTHORIZATIONENTRY), CIM_ROLE_ADMIN, call_unsupported },
    { M(MODIFYAUTHORIZATIONENTRY), CIM_ROLE_ADMIN, call_unsupported },
    { M(REMOVEAUTHORIZATIONENTRY), CIM_ROLE_ADMIN, call_unsupported },
    { M(SETAUTHORIZATIONENTRY), CIM_ROLE_ADMIN, call_unsupported },
    { M(TESTREPLICATIONCONNECTION), CIM_ROLE_OPERATOR, test_connection },
    { M(CREATEREPLICATIONRELATIONSHIP), CIM_ROLE_ADMIN, svc_create },
    { M(MODIFYREPLICATIONSETTINGS), CIM_ROLE_ADMIN, svc_modify },
    { M(REMOVEREPLICATIONRELATIONSHIP), CIM_ROLE_ADMIN, svc_remove },
    { M(REMOVEREPLICATIONRELATIONSHIPEX), CIM_ROLE_ADMIN, svc_remove },
    { M(STARTREPLICATION), CIM_ROLE_ADMIN, svc_start },
    { M(IMPORTINITIALREPLICA), CIM_ROLE_ADMIN, call_unsupported },
    { M(REVERSEREPLICATIONRELATIONSHIP), CIM_ROLE_OPERATOR, svc_reverse },
    { M(INITIATEFAILOVER), CIM_ROLE_OPERATOR, svc_failover },
    { M(REVERTFAILOVER), CIM_ROLE_OPERATOR, svc_revert },
    { M(COMMITFAILOVER), CIM_ROLE_OPERATOR, svc_commit },
    { M(TESTREPLICASYSTEM), CIM_ROLE_OPERATOR, call_unsupported },
    { M(RESYNCHRONIZE), CIM_ROLE_OPERATOR, svc_resync },
    { M(SETFAILOVERNETWORKADAPTERSETTINGS), CIM_ROLE_ADMIN, call_unsupported },
    { M(GETREPLICATIONSTATISTICS), CIM_ROLE_READER, svc_statistics },
    { M(GETREPLICATIONSTATISTICSEX), CIM_ROLE_READER, svc_statistics },
    { M(RESETREPLICATIONSTATISTICS), CIM_ROLE_OPERATOR, svc_reset_statistics },
    { M(RESETREPLICATIONSTATISTICSEX), CIM_ROLE_OPERATOR, svc_reset_statistics },
    { M(GETSYSTEMCERTIFICATES), CIM_ROLE_READER, get_certificates },
    { M(CHANGEREPLICATIONMODETOPRIMARY), CIM_ROLE_OPERATOR, call_unsupported },
    { M(INITIATEFAILBACK), CIM_ROLE_OPERATOR, call_unsupported },
};
#undef M

static enum cim_status invoke(void *ctx, const struct cim_caller *who,
                              const struct cim_inst *target, const struct cim_method *m,
                              struct cim_args *args, uint32_t *ret, struct vr_err *err)
{
    return prov_dispatch(ctx, who, target, m, args, methods, VR_ARRAY_LEN(methods), ret, err);
}

void prov_register_service(struct cim_server *s, struct host_providers *p)
{
    cim_server_register(s, &(struct cim_provider){ .cls = CIM_C_MSVM_REPLICATIONSERVICE,
                                                   .ctx = p,
                                                   .enumerate = enum_service,
                                                   .invoke = invoke });
    cim_server_register(s, &(struct cim_provider){ .cls = CIM_C_MSVM_REPLICATIONSERVICESETTINGDATA,
                                                   .ctx = p,
                                                   .enumerate = enum_settings });
    cim_server_register(s, &(struct cim_provider){ .cls = CIM_C_MSVM_REPLICATIONPROVIDER,
                                                   .ctx = p,
                                                   .enumerate = enum_provider });
}
