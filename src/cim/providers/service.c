/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Msvm_ReplicationService, its settings and the carrier of the data; the table of its methods.
 * Control thread only. src:[contract.md A.1, A.2, A.6, B.1] */
#include "cim/providers/network.h"
#include "cim/providers/prov.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cim/cimxml.h"

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

/* ---- its settings ---- */
size_t host_n_paired(const struct host *h)
{
    const struct host_peer *v = NULL;
    size_t all = h->peers(h->ctx, &v), n = 0;

    for (size_t i = 0; i < all; i++)
        n += v[i].thumb[0] != 0;
    return n;
}

static struct cim_inst *make_settings(const struct host_providers *p)
{
    const struct cim_inst *kept = hostset_inst(p->h->set, HOSTSET_SERVICE, HOSTSET_SERVICE_ID);
    struct cim_inst *in =
        kept ? cim_inst_dup(kept) : cim_inst_new(CIM_C_MSVM_REPLICATIONSERVICESETTINGDATA);
    bool on = hostset_enabled(p->h->set, host_n_paired(p->h));
    unsigned auth = on ? hostset_auth(p->h->set) : 0;

    cim_inst_set_strf(in, SET(INSTANCEID), "Microsoft:%s\\HVRServiceSettings", p->h->name);
    if (!kept)
        cim_inst_set_interval(in, SET(MONITORINGSTARTTIME), hostset_default_start());
    cim_inst_set_bool(in, SET(RECOVERYSERVERENABLED), on);
    cim_inst_set_uint(in, SET(ALLOWEDAUTHENTICATIONTYPE), auth);
    cim_inst_set_str(in, SET(CERTIFICATETHUMBPRINT),
                     auth & HOSTSET_AUTH_CERT ? p->h->thumb_sha1 : NULL);
    cim_inst_set_uint(in, SET(HTTPSPORT), p->h->peer_port);
    return in;
}

static enum cim_status enum_settings(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                     struct vr_err *err)
{
    cim_emit(sink, make_settings(ctx));
    return CIM_S_OK;
}

/* src:[contract.md A.2, B.1] */
static int check_receiving(const struct host *h, const struct cim_inst *in, struct vr_err *err)
{
    bool on = cim_value_bool(cim_inst_value(in, SET(RECOVERYSERVERENABLED)), false);
    uint64_t type = cim_inst_uint(in, SET(ALLOWEDAUTHENTICATIONTYPE), 0);
    const char *thumb = cim_inst_str(in, SET(CERTIFICATETHUMBPRINT));

    if (!on && type)
        return vr_fail(err, VR_E_INVAL, 0,
                       "AllowedAuthenticationType must be 0 when RecoveryServerEnabled is FALSE");
    if (!on)
        return 0;
    if (type < 1 || type > 3)
        return vr_fail(
            err, VR_E_INVAL, 0,
            "AllowedAuthenticationType must be 1 (Kerberos), 2 (certificate) or 3 (both) "
            "to enable this host");
    bool begins = (type & HOSTSET_AUTH_KERBEROS) && !(hostset_auth(h->set) & HOSTSET_AUTH_KERBEROS);
    if (begins && !kerberos_name(h, err))
        return vr_err_wrap(err, "Kerberos cannot be enabled");
    if (type == (HOSTSET_AUTH_KERBEROS | HOSTSET_AUTH_CERT) &&
        cim_inst_uint(in, SET(HTTPPORT), 0) == cim_inst_uint(in, SET(HTTPSPORT), 0))
        return vr_fail(err, VR_E_INVAL, 0, "HttpPort and HttpsPort must not be the same");
    if ((type & HOSTSET_AUTH_CERT) && thumb && *thumb && !same_thumb(thumb, h->thumb_sha1))
        return vr_fail(err, VR_E_INVAL, 0,
                       "CertificateThumbPrint %.64s is not that of this host's certificate (%s)",
                       thumb, h->thumb_sha1);
    return 0;
}

static int check_settings(const struct host *h, const struct cim_inst *in, struct vr_err *err)
{
    uint64_t interval = cim_inst_uint(in, SET(MONITORINGINTERVAL), 0);
    uint64_t port = cim_inst_uint(in, SET(HTTPSPORT), 0);
    struct cim_datetime dt;

    if (check_receiving(h, in, err) < 0)
        return -1;
    if (!port || !cim_inst_uint(in, SET(HTTPPORT), 0))
        return vr_fail(err, VR_E_INVAL, 0, "HttpPort and HttpsPort must not be 0");
    if (interval < 3600 || interval > 604800)
        return vr_fail(err, VR_E_INVAL, 0, "MonitoringInterval must be 3600 to 604800 seconds");
    if (!cim_value_time(cim_inst_value(in, SET(MONITORINGSTARTTIME)), &dt) || !dt.is_interval ||
        dt.us >= 86400ll * 1000000)
        return vr_fail(err, VR_E_INVAL, 0,
                       "MonitoringStartTime must be an interval of less than a day");
    return 0;
}

/* What nobody has changed yet stays open: a host where RecoveryServerEnabled was never touched is
 * enabled by its first pairing, and the configuration file may still choose the port. */
static void leave_open(const struct cim_inst *kept, int prop, bool same, struct cim_inst *in)
{
    if (same && (!kept || cim_inst_value(kept, prop)->is_null))
        cim_value_clear(cim_inst_value(in, prop));
}

static int keep_settings(struct call *c, struct cim_inst *in, struct vr_err *err)
{
    const struct host *h = c->p->h;
    const struct cim_inst *kept = hostset_inst(h->set, HOSTSET_SERVICE, HOSTSET_SERVICE_ID);
    vr_auto(cim_inst_free) struct cim_inst *before = make_settings(c->p);
    bool on = cim_value_bool(cim_inst_value(in, SET(RECOVERYSERVERENABLED)), false);
    bool was = cim_value_bool(cim_inst_value(before, SET(RECOVERYSERVERENABLED)), false);
    uint16_t port = (uint16_t)cim_inst_uint(in, SET(HTTPSPORT), h->peer_port);
    vr_autofree char *text = NULL;
    struct vr_uuid job;

    uint64_t type = cim_inst_uint(in, SET(ALLOWEDAUTHENTICATIONTYPE), 0);
    bool same_type = type == cim_inst_uint(before, SET(ALLOWEDAUTHENTICATIONTYPE), 0);

    leave_open(kept, SET(RECOVERYSERVERENABLED), on == was && same_type, in);
    leave_open(kept, SET(HTTPSPORT), port == h->peer_port, in);
    bool open = cim_inst_value(in, SET(RECOVERYSERVERENABLED))->is_null;
    const struct host_listen want = { .cert = open || (on && (type & HOSTSET_AUTH_CERT)),
                                      .krb = !open && on && (type & HOSTSET_AUTH_KERBEROS),
                                      .port = port,
                                      .krb_port = (uint16_t)cim_inst_uint(in, SET(HTTPPORT), 0) };
    if (cim_xml_text(in, h->name, &text, err) < 0 ||
        h->save_service(h->ctx, text, &want, c->who->name, &job, err) < 0)
        return -1;
    call_job(c, &job);
    return 0;
}

static int modify_settings(struct call *c, struct vr_err *err)
{
    static const int settable[] = { SET(RECOVERYSERVERENABLED),
                                    SET(ALLOWEDAUTHENTICATIONTYPE),
                                    SET(CERTIFICATETHUMBPRINT),
                                    SET(HTTPPORT),
                                    SET(HTTPSPORT),
                                    SET(MONITORINGINTERVAL),
                                    SET(MONITORINGSTARTTIME) };
    const char *text = cim_args_str(c->args, "SettingData");
    vr_auto(cim_inst_free) struct cim_inst *in = NULL;
    vr_auto(cim_inst_free) struct cim_inst *now = make_settings(c->p);

    if (!text || !*text)
        return vr_fail(err, VR_E_INVAL, 0, "SettingData must be given");
    if (call_instance(c, text, now->cls, settable, VR_ARRAY_LEN(settable), &in, err) < 0)
        return vr_err_wrap(err, "SettingData");
    for (size_t i = 0; i < VR_ARRAY_LEN(settable); i++)
        if (cim_inst_is_seen(in, settable[i]))
            cim_value_copy(cim_inst_value(now, settable[i]), cim_inst_value(in, settable[i]));
    if (check_settings(c->p->h, now, err) < 0)
        return -1;
    return keep_settings(c, now, err);
}

/* ---- the carrier ---- */
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

/* Each may keep a worker for as long as a connection takes to fail. */
enum { TESTS_EACH = 3 };

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
    uint16_t auth = (uint16_t)cim_args_uint(c->args, "AuthenticationType", 0);
    if (auth == 1 && !kerberos_name(h, err))
        return call_failed_job(c, JOB_TEST_CONNECTION, NULL, err);
    if (settings_connection(h, auth, cim_args_str(c->args, "CertificateThumbPrint"), NULL, err) < 0)
        return -1;
    const struct host_peer *peer = settings_peer(h, auth, point, err);
    if (!peer && err->kind == VR_E_NOTFOUND)
        return call_failed_job(c, JOB_TEST_CONNECTION, NULL, err);
    if (!peer)
        return -1;
    if (engine_jobs_unfinished(h->engine, JOB_TEST_CONNECTION, c->who->name) >= TESTS_EACH)
        return vr_fail(err, VR_E_BUSY, 0,
                       "%d connection tests of %s are still running; wait for them", TESTS_EACH,
                       c->who->name);
    if (h->test_connection(h->ctx, auth == 1 ? peer->name : point, port, auth == 1, c->who->name,
                           &job, err) < 0)
        return -1;
    call_job(c, &job);
    return 0;
}

#define M(n) CIM_M_MSVM_REPLICATIONSERVICE_##n
static const struct method methods[] = {
    { M(REQUESTSTATECHANGE), CIM_ROLE_READER, call_dmtf_unsupported },
    { M(STARTSERVICE), CIM_ROLE_READER, call_dmtf_unsupported },
    { M(STOPSERVICE), CIM_ROLE_READER, call_dmtf_unsupported },
    { M(MODIFYSERVICESETTINGS), CIM_ROLE_ADMIN, modify_settings },
    { M(ADDAUTHORIZATIONENTRY), CIM_ROLE_ADMIN, svc_add_entry },
    { M(MODIFYAUTHORIZATIONENTRY), CIM_ROLE_ADMIN, svc_modify_entry },
    { M(REMOVEAUTHORIZATIONENTRY), CIM_ROLE_ADMIN, svc_remove_entry },
    { M(SETAUTHORIZATIONENTRY), CIM_ROLE_ADMIN, svc_set_entry },
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
    { M(TESTREPLICASYSTEM), CIM_ROLE_OPERATOR, svc_test },
    { M(RESYNCHRONIZE), CIM_ROLE_OPERATOR, svc_resync },
    { M(SETFAILOVERNETWORKADAPTERSETTINGS), CIM_ROLE_ADMIN, svc_set_failover_network },
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
