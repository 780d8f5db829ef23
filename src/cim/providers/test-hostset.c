/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Settings of the service, authorization entries and what they mean for peers; network adapters. */
#include "cim/providers/testways.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cim/cimxml.h"
#include "cim/providers/hostset.h"

#define SVCSET "Msvm_ReplicationServiceSettingData=@"
#define SERVICE "Msvm_ReplicationService=@"
#define ENTRY(host)                                          \
    "Msvm_ReplicationAuthorizationSettingData.InstanceID=\"" \
    "Microsoft:hosta\\\\HVRAuthorization\\\\" host "\""

/* ---- settings of the service ---- */
static uint32_t set(struct world *w, const char *prop, const char *value)
{
    vr_autofree char *xml = vr_printf(
        "<INSTANCE CLASSNAME=\"Msvm_ReplicationServiceSettingData\"><PROPERTY NAME=\"%s\" "
        "TYPE=\"string\">%s%s%s</PROPERTY></INSTANCE>",
        prop, value ? "<VALUE>" : "", value ? value : "", value ? "</VALUE>" : "");
    return CALL(w, SERVICE, "ModifyServiceSettings", { "SettingData", xml });
}

static void settings_of_a_new_host(void **st)
{
    struct world *w = *st;

    assert_int_equal(num(w, SVCSET, "RecoveryServerEnabled"), 1); /* a host is paired */
    assert_int_equal(num(w, SVCSET, "AllowedAuthenticationType"), 2);
    assert_int_equal(num(w, SVCSET, "HttpsPort"), 4433);
    assert_int_equal(num(w, SVCSET, "HttpPort"), 80);
    assert_int_equal(num(w, SVCSET, "MonitoringInterval"), 43200);
    assert_false(hostset_enabled(w->host.set, 0));
}

static void settings_are_checked(void **st)
{
    struct world *w = *st;
    static const struct {
        const char *prop, *value;
        uint32_t code;
    } bad[] = {
        { "MonitoringInterval", "3599", 32773 },
        { "MonitoringInterval", "604801", 32773 },
        { "MonitoringInterval", NULL, 32773 },
        { "MonitoringStartTime", "20260101000000.000000+000", 32773 },
        { "MonitoringStartTime", "00000001010000.000000:000", 32773 },
        { "MonitoringStartTime", "noon", 32773 },
        { "AllowedAuthenticationType", "0", 32773 },
        { "AllowedAuthenticationType", "4", 32773 },
        { "AllowedAuthenticationType", "1", 32779 }, /* no keytab */
        { "AllowedAuthenticationType", "3", 32779 },
        { "CertificateThumbPrint", PEER_THUMB, 32773 },
        { "HttpPort", "0", 32773 },
        { "HttpsPort", "0", 32773 },
        { "RecoveryServerEnabled", "FALSE", 32773 }, /* with type 2 */
    };

    for (size_t i = 0; i < VR_ARRAY_LEN(bad); i++)
        if (set(w, bad[i].prop, bad[i].value) != bad[i].code)
            fail_msg("%s %s", bad[i].prop, bad[i].value);
    assert_int_equal(CALL(w, SERVICE, "ModifyServiceSettings"), 32773);
    assert_int_equal(CALL(w, SERVICE, "ModifyServiceSettings",
                          { "SettingData", "<INSTANCE CLASSNAME=\"Msvm_Error\"></INSTANCE>" }),
                     32776);
    w->who.role = CIM_ROLE_OPERATOR;
    assert_int_equal(set(w, "MonitoringInterval", "3600"), 32769);
}

static void settings_are_kept(void **st)
{
    struct world *w = *st;

    done(w, set(w, "MonitoringInterval", "3600"));
    vr_auto(cim_inst_free) struct cim_inst *j = last_job(w);
    assert_int_equal(cim_inst_uint(j, CIM_P_MSVM_CONCRETEJOB_JOBTYPE, 0), 90);
    done(w, set(w, "MonitoringStartTime", "00000000010000.000000:000"));
    done(w, set(w, "CertificateThumbPrint", OUR_THUMB));
    assert_int_equal(num(w, SVCSET, "MonitoringInterval"), 3600);
    assert_string_equal(txt(w, SVCSET, "MonitoringStartTime"), "00000000010000.000000:000");
    /* after a restart */
    hostset_free(w->host.set);
    w->host.set = w->written;
    w->written = hostset_new();
    assert_int_equal(num(w, SVCSET, "MonitoringInterval"), 3600);
    assert_int_equal(num(w, SVCSET, "RecoveryServerEnabled"), 1);
}

static void the_listener_follows_the_settings(void **st)
{
    struct world *w = *st;

    done(w, set(w, "HttpsPort", "9443"));
    assert_int_equal(num(w, SVCSET, "HttpsPort"), 9443);
    assert_int_equal(hostset_port(w->written, 1), 9443);
    assert_true(w->listens);
    /* a port that is taken changes nothing */
    assert_int_equal(job_error(w, set(w, "HttpsPort", "444")), 32774);
    assert_int_equal(num(w, SVCSET, "HttpsPort"), 9443);
    assert_int_equal(hostset_port(w->written, 1), 9443);
    /* closed */
    done(w, CALL(w, SERVICE, "ModifyServiceSettings",
                 { "SettingData",
                   "<INSTANCE CLASSNAME=\"Msvm_ReplicationServiceSettingData\">"
                   "<PROPERTY NAME=\"RecoveryServerEnabled\" TYPE=\"boolean\"><VALUE>FALSE</VALUE>"
                   "</PROPERTY><PROPERTY NAME=\"AllowedAuthenticationType\" TYPE=\"uint16\">"
                   "<VALUE>0</VALUE></PROPERTY></INSTANCE>" }));
    assert_false(w->listens);
    assert_false(hostset_listens(w->written));
    assert_int_equal(num(w, SVCSET, "HttpsPort"), 9443);
}

/* Each way has its listener, and a type that needs no keys anymore is possible without them. */
static void ways_of_authentication(void **st)
{
    struct world *w = *st;

    w->kerberos = "hosta.example.com";
    assert_int_equal(hostset_auth(w->host.set), HOSTSET_AUTH_CERT);
    done(w, set(w, "AllowedAuthenticationType", "3"));
    assert_int_equal(hostset_auth(w->written), HOSTSET_AUTH_CERT | HOSTSET_AUTH_KERBEROS);
    assert_true(w->listen.cert && w->listen.krb);
    assert_int_equal(w->listen.krb_port, 80);
    assert_int_equal(set(w, "HttpPort", "4433"), 32773); /* that of certificates */
    done(w, set(w, "HttpPort", "8080"));
    assert_int_equal(w->listen.krb_port, 8080);
    assert_int_equal(hostset_http_port(w->written), 8080);
    done(w, set(w, "AllowedAuthenticationType", "1"));
    assert_false(w->listen.cert);
    assert_true(w->listen.krb);
    assert_true(hostset_enabled(w->written, 0)); /* also when nobody is paired */
    assert_int_equal(num(w, SVCSET, "AllowedAuthenticationType"), 1);
    assert_string_equal(txt(w, SVCSET, "CertificateThumbPrint"), "(null)");
    w->kerberos = NULL;
    done(w, set(w, "MonitoringInterval", "3600")); /* the keys are gone, which is no matter */
    done(w, set(w, "AllowedAuthenticationType", "2"));
    assert_true(w->listen.cert);
    assert_false(w->listen.krb);
}

/* Who is known by Kerberos only needs an entry; its address says nothing. */
static void kerberos_needs_an_entry(void **st)
{
    struct world *w = *st;
    struct vr_err err = VR_ERR_INIT;
    const struct hostset_sender from = { .name = "hostc.example.com" };
    const struct cim_inst *entry = NULL;

    assert_int_equal(hostset_admit(w->host.set, 1, &from, NULL, true, &entry, &err), -1);
    assert_int_equal(err.kind, VR_E_AUTH);
    vr_err_clear(&err);
    done(w, CALL(w, SERVICE, "AddAuthorizationEntry",
                 { "AuthorizationEntry",
                   "<INSTANCE CLASSNAME=\"Msvm_ReplicationAuthorizationSettingData\">"
                   "<PROPERTY NAME=\"AllowedPrimaryHostSystem\" TYPE=\"string\"><VALUE>"
                   "*.EXAMPLE.com</VALUE></PROPERTY><PROPERTY NAME=\"TrustGroup\" TYPE=\"string\">"
                   "<VALUE>red</VALUE></PROPERTY><PROPERTY NAME=\"ReplicaStorageLocation\" "
                   "TYPE=\"string\"><VALUE>/srv/k</VALUE></PROPERTY></INSTANCE>" }));
    assert_int_equal(hostset_admit(w->host.set, 1, &from, NULL, true, &entry, &err), 0);
    assert_non_null(entry);
    const struct hostset_sender other = { .name = "hostc.example.org" };
    assert_int_equal(hostset_admit(w->host.set, 1, &other, NULL, true, &entry, &err), -1);
}

/* A change of something else decides neither the port nor whether a host receives. */
static void what_nobody_changed_stays_open(void **st)
{
    struct world *w = *st;

    done(w, set(w, "MonitoringInterval", "3600"));
    assert_int_equal(hostset_port(w->written, 7777), 7777);
    assert_false(hostset_enabled(w->written, 0));
    assert_true(hostset_enabled(w->written, 1));
    assert_true(hostset_listens(w->written));
}

static int admit(struct world *w, const char *peer, const struct vr_uuid *machine)
{
    struct vr_err err = VR_ERR_INIT;

    const struct hostset_sender from = { .name = peer, .address = "192.0.2.2", .paired = true };
    hostset_admit(w->host.set, 1, &from, machine, false, NULL, &err);
    return (int)err.kind;
}

/* Entries of others keep nobody from sending back what was replicated to it, and only that. */
static void the_replica_sends_back_without_an_entry(void **st)
{
    struct world *w = *st;
    struct vr_err err = VR_ERR_INIT;
    struct vr_uuid machine = { .b = { 1 } }, another = { .b = { 2 } };
    char id[VR_UUID_STR];
    const struct hostset_sender back = {
        .name = "hostb", .address = "192.0.2.2", .paired = true, .reverses = true
    };

    done(w, CALL(w, SERVICE, "AddAuthorizationEntry",
                 { "AuthorizationEntry",
                   "<INSTANCE CLASSNAME=\"Msvm_ReplicationAuthorizationSettingData\">"
                   "<PROPERTY NAME=\"AllowedPrimaryHostSystem\" TYPE=\"string\"><VALUE>"
                   "other.example</VALUE></PROPERTY><PROPERTY NAME=\"TrustGroup\" TYPE=\"string\">"
                   "<VALUE>red</VALUE></PROPERTY><PROPERTY NAME=\"ReplicaStorageLocation\" "
                   "TYPE=\"string\"><VALUE>/srv/k</VALUE></PROPERTY></INSTANCE>" }));
    assert_int_equal(admit(w, "hostb", &machine), VR_E_AUTH);
    assert_int_equal(hostset_admit(w->host.set, 1, &back, &machine, true, NULL, &err), 0);
    assert_int_equal(hostset_put(w->host.set, HOSTSET_BINDING, vr_uuid_fmt(&machine, id),
                                 HOSTSET_REVERSED "hostb", &err),
                     0);
    assert_int_equal(admit(w, "hostb", &machine), VR_OK); /* what it ships afterwards */
    assert_int_equal(admit(w, "hostb", &another), VR_E_AUTH);
    assert_int_equal(admit(w, "hostc", &machine), VR_E_AUTH);
}

static void disabled_host_receives_nothing(void **st)
{
    struct world *w = *st;

    assert_int_equal(admit(w, "hostb", NULL), VR_OK);
    done(w, CALL(w, SERVICE, "ModifyServiceSettings",
                 { "SettingData",
                   "<INSTANCE CLASSNAME=\"Msvm_ReplicationServiceSettingData\">"
                   "<PROPERTY NAME=\"RecoveryServerEnabled\" TYPE=\"boolean\"><VALUE>FALSE</VALUE>"
                   "</PROPERTY><PROPERTY NAME=\"AllowedAuthenticationType\" TYPE=\"uint16\">"
                   "<VALUE>0</VALUE></PROPERTY></INSTANCE>" }));
    assert_int_equal(admit(w, "hostb", NULL), VR_E_UNAVAIL);
    assert_int_equal(num(w, SVCSET, "RecoveryServerEnabled"), 0);
    assert_int_equal(num(w, SVCSET, "AllowedAuthenticationType"), 0);
    assert_string_equal(txt(w, SVCSET, "CertificateThumbPrint"), "(null)");
}

static void windows_are_aligned(void **st)
{
    struct world *w = *st;
    enum { HOUR = 3600 };
    const int64_t day = 20000ll * 86400;
#define AT(h) ((struct wall_us){ (day + (h)*HOUR) * 1000000ll })

    done(w, set(w, "MonitoringStartTime", "00000000060000.000000:000"));
    assert_int_equal(hostset_window(w->host.set, AT(14)).us, AT(6).us);
    assert_int_equal(hostset_window(w->host.set, AT(6)).us, AT(6).us);
    assert_int_equal(hostset_window(w->host.set, AT(18)).us, AT(18).us);
    assert_int_equal(hostset_window(w->host.set, AT(5)).us, AT(-6).us);
    done(w, set(w, "MonitoringInterval", "7200"));
    assert_int_equal(hostset_window(w->host.set, AT(5)).us, AT(4).us);
#undef AT
}

static void statistics_begin_anew(void **st)
{
    struct world *w = *st;

    make_replicating(w);
    const struct rel *r = engine_find(w->engine, &w->vm[0].uuid);
    assert_true(r->stat_ok > 0);
    host_providers_tick(w->prov);
    assert_true(engine_find(w->engine, &w->vm[0].uuid)->stat_ok > 0);
    /* as if it had been enabled eight days ago */
    ((struct rel *)r)->stat_start.us -= 8 * 86400ll * 1000000;
    host_providers_tick(w->prov);
    r = engine_find(w->engine, &w->vm[0].uuid);
    assert_int_equal(r->stat_ok, 0);
    assert_int_equal(r->stat_bytes, 0);
    assert_in_range(r->stat_start.us, hostset_window(w->host.set, vr_wall_now()).us, INT64_MAX);
}

/* The window that runs ends where the new start time has a boundary, not where the old one had. */
static void a_new_start_time_moves_the_window(void **st)
{
    struct world *w = *st;
    const int64_t second = 1000000, day = 86400;
    char text[CIM_DATETIME_STR];

    make_replicating(w);
    struct rel *r = (struct rel *)engine_find(w->engine, &w->vm[0].uuid);
    const int64_t began = vr_wall_now().us - 100 * second;
#define START_IN(s)                                                                         \
    cim_datetime_fmt(                                                                       \
        &(struct cim_datetime){ .is_interval = true,                                        \
                                .us = ((vr_wall_now().us / second + (s)) % day) * second }, \
        text)
    /* A boundary that is still to come: the window goes on. */
    r->stat_start.us = began;
    done(w, set(w, "MonitoringInterval", "3600"));
    done(w, set(w, "MonitoringStartTime", START_IN(600)));
    host_providers_tick(w->prov);
    r = (struct rel *)engine_find(w->engine, &w->vm[0].uuid);
    assert_true(r->stat_ok > 0);
    assert_int_equal(r->stat_start.us, began);
    /* One that lies within the window that runs: it has ended there. */
    done(w, set(w, "MonitoringStartTime", START_IN(-50)));
    host_providers_tick(w->prov);
    r = (struct rel *)engine_find(w->engine, &w->vm[0].uuid);
    assert_int_equal(r->stat_ok, 0);
    assert_true(r->stat_start.us > began);
    const int64_t again = r->stat_start.us;
    host_providers_tick(w->prov);
    assert_int_equal(engine_find(w->engine, &w->vm[0].uuid)->stat_start.us, again);
#undef START_IN
}

/* ---- authorization entries ---- */
static const char *entry(const char *host, const char *group, const char *folder)
{
    static char xml[2048];
#define PROP(n) "<PROPERTY NAME=\"" n "\" TYPE=\"string\"><VALUE>%s</VALUE></PROPERTY>"

    snprintf(xml, sizeof xml,
             "<INSTANCE CLASSNAME=\"Msvm_ReplicationAuthorizationSettingData\">" PROP(
                 "AllowedPrimaryHostSystem") PROP("TrustGroup")
                 PROP("ReplicaStorageLocation") "</INSTANCE>",
             host, group, folder);
    return xml;
}

static uint32_t add(struct world *w, const char *host, const char *group, const char *folder)
{
    return CALL(w, SERVICE, "AddAuthorizationEntry",
                { "AuthorizationEntry", entry(host, group, folder) });
}

static uint32_t take(struct world *w, const char *host)
{
    return CALL(w, SERVICE, "RemoveAuthorizationEntry", { "AllowedPrimaryHostSystem", host });
}

static void entries_are_added_and_shown(void **st)
{
    struct world *w = *st;

    done(w, add(w, "hostb", "red", "/srv/red"));
    assert_string_equal(txt(w, ENTRY("hostb"), "TrustGroup"), "red");
    assert_string_equal(txt(w, ENTRY("hostb"), "ReplicaStorageLocation"), "/srv/red");
    struct cim_list l =
        walk(w, SERVICE, "Msvm_ElementSettingData", "Msvm_ReplicationAuthorizationSettingData");
    assert_int_equal(l.n, 1);
    cim_list_done(&l);
    l = walk(w, ENTRY("hostb"), "Msvm_ElementSettingData", "Msvm_ReplicationService");
    assert_int_equal(l.n, 1);
    cim_list_done(&l);
    done(w, CALL(w, SERVICE, "ModifyAuthorizationEntry",
                 { "AuthorizationEntry", entry("HOSTB", "blue", "/srv/blue") }));
    assert_string_equal(txt(w, ENTRY("hostb"), "TrustGroup"), "blue");
    assert_non_null(hostset_inst(w->written, HOSTSET_ENTRY, "hostb"));
    done(w, take(w, "HostB"));
    assert_null(hostset_at(w->host.set, HOSTSET_ENTRY, 0));
    assert_null(hostset_at(w->written, HOSTSET_ENTRY, 0));
}

static void entries_are_checked(void **st)
{
    struct world *w = *st;

    assert_int_equal(add(w, "", "red", "/srv"), 32773);
    assert_int_equal(add(w, "a b", "red", "/srv"), 32773);
    assert_int_equal(add(w, "*x", "red", "/srv"), 32773);
    assert_int_equal(add(w, "hostb", "", "/srv"), 32773);
    assert_int_equal(add(w, "hostb", "red", ""), 32773);
    assert_int_equal(add(w, "hostb", "red", "replicas"), 32773);
    assert_int_equal(add(w, "hostb", "red", "/srv/../etc"), 32773);
    assert_int_equal(CALL(w, SERVICE, "AddAuthorizationEntry"), 32773);
    assert_int_equal(CALL(w, SERVICE, "ModifyAuthorizationEntry",
                          { "AuthorizationEntry", entry("hostb", "red", "/srv") }),
                     32773);
    assert_int_equal(take(w, "hostb"), 32773);
    done(w, add(w, "hostb", "red", "/srv"));
    assert_int_equal(add(w, "HOSTB", "red", "/srv"), 32773);
    assert_int_equal(add(w, "*", "DEFAULT", "/srv"), 32773);
    done(w, take(w, "hostb"));
    done(w, add(w, "*", "DEFAULT", "/srv"));
    assert_int_equal(add(w, "hostb", "red", "/srv"), 32773);
    w->who.role = CIM_ROLE_OPERATOR;
    assert_int_equal(take(w, "*"), 32769);
}

static void entries_decide_who_may_come(void **st)
{
    struct world *w = *st;
    struct vr_uuid *web = &w->vm[0].uuid;

    assert_int_equal(admit(w, "hostb", web), VR_OK); /* none at all: every paired host */
    done(w, add(w, "*.red.example", "red", "/srv/red"));
    assert_int_equal(admit(w, "hostb", web), VR_E_AUTH);
    assert_int_equal(admit(w, "hostb.red.example", web), VR_OK);
    assert_int_equal(admit(w, "red.example", web), VR_E_AUTH);
    assert_int_equal(admit(w, "hostb.blue.example", web), VR_E_AUTH);
    done(w, add(w, "hostb.red.example", "special", "/srv/special"));
    assert_string_equal(
        cim_inst_str(hostset_match(w->host.set, "HOSTB.red.example", NULL),
                     CIM_P_MSVM_REPLICATIONAUTHORIZATIONSETTINGDATA_REPLICASTORAGELOCATION),
        "/srv/special");
}

static uint32_t bind(struct world *w, const char *host)
{
    return SVC(w, WEB, "SetAuthorizationEntry", { "AuthorizationEntry", entry(host, "x", "/y") });
}

static void replica_is_bound_to_its_entry(void **st)
{
    struct world *w = *st;
    struct vr_uuid *web = &w->vm[0].uuid;

    done(w, add(w, "hostb", "red", "/srv/red"));
    done(w, add(w, "hostc", "red", "/srv/red"));
    done(w, add(w, "hostd", "blue", "/srv/blue"));
    assert_int_equal(bind(w, "hostb"), 32775);
    make_replica(w);
    assert_int_equal(bind(w, "hostx"), 32773);
    assert_int_equal(SVC(w, NOBODY, "SetAuthorizationEntry"), 32777);
    done(w, bind(w, "hostb"));
    struct cim_list l =
        walk(w, VM(WEB), "Msvm_ElementSettingData", "Msvm_ReplicationAuthorizationSettingData");
    assert_int_equal(l.n, 1);
    cim_list_done(&l);
    l = walk(w, ENTRY("hostb"), "Msvm_ElementSettingData", "Msvm_ComputerSystem");
    assert_int_equal(l.n, 1);
    cim_list_done(&l);
    assert_int_equal(admit(w, "hostb", web), VR_OK);
    assert_int_equal(admit(w, "hostc", web), VR_OK); /* of the same trust group */
    assert_int_equal(admit(w, "hostd", web), VR_E_AUTH);
    /* without its entry the machine is not received, although no entry at all means everybody */
    done(w, take(w, "hostb"));
    assert_int_equal(admit(w, "hostb", web), VR_E_AUTH);
    done(w, take(w, "hostc"));
    done(w, take(w, "hostd"));
    assert_int_equal(admit(w, "hostb", web), VR_E_AUTH);
    assert_int_equal(admit(w, "hostb", &w->vm[1].uuid), VR_OK);
    done(w, add(w, "*", "DEFAULT", "/srv"));
    assert_int_equal(admit(w, "hostb", web), VR_OK);
}

/* ---- network adapters ---- */
#define NIC1 "564D5245-504C-4943-8000-525400AABB01"
#define PORT "Msvm_SyntheticEthernetPortSettingData.InstanceID=\"Microsoft:" WEB "\\\\" NIC1 "\""
#define CONNECTION \
    "Msvm_EthernetPortAllocationSettingData.InstanceID=\"Microsoft:" WEB "\\\\" NIC1 "\\\\C\""
#define AFTER                                                                                    \
    "Msvm_FailoverNetworkAdapterSettingData.InstanceID=\"Microsoft:Failover\\\\" WEB "\\\\" NIC1 \
    "\""

static void adapters_and_their_parts(void **st)
{
    struct world *w = *st;

    assert_string_equal(txt(w, PORT, "Address"), "525400AABB01");
    assert_int_equal(num(w, PORT, "ResourceType"), 10);
    vr_auto(cim_path_free) struct cim_path *on = NULL;
    assert_int_equal(cim_path_parse(txt(w, CONNECTION, "HostResource"), &on, NULL), 0);
    assert_string_equal(on->cls, "Msvm_VirtualEthernetSwitch");
    assert_string_equal(cim_path_key(on, "Name"), "default");
    assert_string_equal(txt(w, CONNECTION, "LastKnownSwitchName"), "default");
    assert_int_equal(num(w, AFTER, "ProtocolIFType"), 0);
    assert_int_equal(num(w, AFTER, "DHCPEnabled"), 1);
    struct cim_list l = walk(w, PORT, "Msvm_EthernetPortFailoverSettingDataComponent",
                             "Msvm_FailoverNetworkAdapterSettingData");
    assert_int_equal(l.n, 1);
    cim_list_done(&l);
    l = walk(w, AFTER, "Msvm_EthernetPortFailoverSettingDataComponent", NULL);
    assert_int_equal(l.n, 1);
    cim_list_done(&l);
    l = walk(w, "Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:" WEB "\"",
             "Msvm_VirtualSystemSettingDataComponent", "Msvm_EthernetPortAllocationSettingData");
    assert_int_equal(l.n, 2);
    cim_list_done(&l);
    l = walk(w, CONNECTION, "Msvm_VirtualSystemSettingDataComponent", NULL);
    assert_int_equal(l.n, 1);
    cim_list_done(&l);
}

/* SetFailoverNetworkAdapterSettings with the settings as they are, one property changed. */
static uint32_t after(struct world *w, const char *guid, int prop, const char *const *v, size_t n)
{
    vr_auto(cim_inst_free) struct cim_inst *in = get(w, AFTER);
    vr_autofree char *xml = NULL, *vm = vr_printf("Msvm_ComputerSystem.Name=\"%s\"", guid);
    static const char *const ip[] = { "192.0.2.9", "2001:db8::9" }, *const net[] = {
        "255.255.255.0", "64"
    };

    cim_inst_set_uint(in, CIM_P_MSVM_FAILOVERNETWORKADAPTERSETTINGDATA_PROTOCOLIFTYPE, 4098);
    cim_inst_set_strv(in, CIM_P_MSVM_FAILOVERNETWORKADAPTERSETTINGDATA_IPADDRESSES, ip, 2);
    cim_inst_set_strv(in, CIM_P_MSVM_FAILOVERNETWORKADAPTERSETTINGDATA_SUBNETS, net, 2);
    if (prop >= 0)
        cim_inst_set_strv(in, prop, v, n);
    assert_int_equal(cim_xml_text(in, "hosta", &xml, NULL), 0);
    return CALL(w, SERVICE, "SetFailoverNetworkAdapterSettings", { "ComputerSystem", vm },
                { "NetworkSettings", xml });
}

static size_t n_jobs(struct world *w)
{
    size_t n = 0;

    while (engine_job_at(w->engine, n))
        n++;
    return n;
}

/* Both adapters in one call: one job, and both are kept, or neither. */
static void addresses_of_several_adapters(void **st)
{
    struct world *w = *st;
    const struct cim_class *cls = cim_class_get(CIM_C_MSVM_FAILOVERNETWORKADAPTERSETTINGDATA);
    struct cim_list l = CIM_LIST_INIT;
    char *xml[2];

    make_replica(w);
    assert_int_equal(cim_enumerate(w->cim, &w->who, cls, false, NULL, &l, NULL), CIM_S_OK);
    assert_int_equal(l.n, 2);
    for (int good = 0; good < 2; good++) {
        for (size_t i = 0; i < 2; i++) {
            const char *ip[] = { i && !good ? "nonsense" : i ? "192.0.2.12" : "192.0.2.11" };
            static const char *const net[] = { "255.255.255.0" };
            cim_inst_set_uint(l.v[i], CIM_P_MSVM_FAILOVERNETWORKADAPTERSETTINGDATA_PROTOCOLIFTYPE,
                              4096);
            cim_inst_set_bool(l.v[i], CIM_P_MSVM_FAILOVERNETWORKADAPTERSETTINGDATA_DHCPENABLED,
                              false);
            cim_inst_set_strv(l.v[i], CIM_P_MSVM_FAILOVERNETWORKADAPTERSETTINGDATA_IPADDRESSES, ip,
                              1);
            cim_inst_set_strv(l.v[i], CIM_P_MSVM_FAILOVERNETWORKADAPTERSETTINGDATA_SUBNETS, net, 1);
            assert_int_equal(cim_xml_text(l.v[i], "hosta", &xml[i], NULL), 0);
        }
        size_t before = n_jobs(w);
        uint32_t code = SVC(w, WEB, "SetFailoverNetworkAdapterSettings",
                            { "NetworkSettings", xml[0] }, { "NetworkSettings", xml[1] });
        if (good) {
            done(w, code);
            const struct job *j = engine_job_at(w->engine, n_jobs(w) - 1);
            assert_int_equal(j->state, JOB_WARNINGS); /* the guest does not get them */
            assert_non_null(strstr(j->err.msg, "the guest is not given them"));
        } else {
            assert_int_equal(code, 32773);
        }
        assert_int_equal(n_jobs(w), before + (size_t)good);
        struct cim_list now = CIM_LIST_INIT;
        assert_int_equal(cim_enumerate(w->cim, &w->who, cls, false, NULL, &now, NULL), CIM_S_OK);
        for (size_t i = 0; i < 2; i++)
            assert_int_equal(
                cim_inst_uint(now.v[i], CIM_P_MSVM_FAILOVERNETWORKADAPTERSETTINGDATA_PROTOCOLIFTYPE,
                              0),
                good ? 4096 : 0);
        cim_list_done(&now);
        free(xml[0]);
        free(xml[1]);
    }
    cim_list_done(&l);
}

/* What cannot be kept is found before anything is. */
static void documents_are_all_or_none(void **st)
{
    struct world *w = *st;
    struct vr_err err = VR_ERR_INIT;
    const struct host_doc docs[] = { { HOSTSET_BINDING, "one", "hosta" },
                                     { HOSTSET_FAILOVER_NIC, "two", "no XML" } };

    assert_int_equal(hostset_put_all(w->host.set, docs, 2, &err), -1);
    assert_null(hostset_text(w->host.set, HOSTSET_BINDING, "one"));
    vr_err_clear(&err);
    assert_int_equal(hostset_put_all(w->host.set, docs, 1, &err), 0);
    assert_string_equal(hostset_text(w->host.set, HOSTSET_BINDING, "one"), "hosta");
}

static void addresses_after_a_failover(void **st)
{
    struct world *w = *st;
    static const char *const bad[] = { "1", "2", "3", "4", "5", "6" };
    static const char *const gap[] = { "255.0.255.0", "64" };
    static const char *const gateways[] = { "192.0.2.1", "192.0.2.1", "192.0.2.1",
                                            "192.0.2.1", "192.0.2.1", "192.0.2.1" };
#define SET(prop, v, n) after(w, WEB, CIM_P_MSVM_FAILOVERNETWORKADAPTERSETTINGDATA_##prop, v, n)

    assert_int_equal(after(w, WEB, -1, NULL, 0), 32775); /* not replicated */
    make_replica(w);
    assert_int_equal(after(w, DB, -1, NULL, 0), 32775);
    assert_int_equal(SVC(w, WEB, "SetFailoverNetworkAdapterSettings"), 32773);
    assert_int_equal(SET(IPADDRESSES, bad, 2), 32773);
    assert_int_equal(SET(SUBNETS, gap, 2), 32773);
    assert_int_equal(SET(SUBNETS, gap, 1), 32773);
    assert_int_equal(SET(DEFAULTGATEWAYS, gateways, 6), 32773);
    assert_int_equal(SET(DNSSERVERS, bad, 1), 32773);
    assert_int_equal(num(w, AFTER, "ProtocolIFType"), 0);
    done(w, SET(DEFAULTGATEWAYS, gateways, 5));
    assert_int_equal(num(w, AFTER, "ProtocolIFType"), 4098);
    assert_string_equal(txt(w, AFTER, "IPAddresses"), "192.0.2.9");
    assert_string_equal(txt(w, AFTER, "DefaultGateways"), "192.0.2.1");
    w->who.role = CIM_ROLE_OPERATOR;
    assert_int_equal(after(w, WEB, -1, NULL, 0), 32769);
#undef SET
}

static void network_of_test_failovers(void **st)
{
    struct world *w = *st;
    static const char vsms[] = "Msvm_VirtualSystemManagementService=@";
    make_replica(w);
    with_tests(w);
    done(w, SVC(w, WEB, "TestReplicaSystem"));
    assert_int_equal(w->n_nets, 0); /* none is named: no card is connected */
    done(w, CALL(w, vsms, "DestroySystem", { "AffectedSystem", VM(TEST_VM) }));
    vr_auto(cim_inst_free) struct cim_inst *in = get(w, CONNECTION);
    vr_autofree char *xml = NULL, *disk = NULL;

    cim_inst_set_str(in, CIM_P_MSVM_ETHERNETPORTALLOCATIONSETTINGDATA_TESTREPLICASWITCHNAME,
                     "isolated");
    assert_int_equal(cim_xml_text(in, "hosta", &xml, NULL), 0);
    done(w, CALL(w, vsms, "ModifyResourceSettings", { "ResourceSettings", xml }));
    assert_int_equal(cim_args_at(w->args, "ResultingResourceSettings")->n, 1);
    assert_string_equal(txt(w, CONNECTION, "TestReplicaSwitchName"), "isolated");
    /* This card, and not the other, on whose network nothing of a test may be. */
    done(w, SVC(w, WEB, "TestReplicaSystem"));
    assert_int_equal(w->n_nets, 1);
    assert_string_equal(w->nets[0].mac, "52:54:00:aa:bb:01");
    assert_string_equal(w->nets[0].network, "isolated");
    vr_auto(cim_inst_free) struct cim_inst *d = get(w, DISK(WEB, "vda"));
    assert_int_equal(cim_xml_text(d, "hosta", &disk, NULL), 0);
    assert_int_equal(CALL(w, vsms, "ModifyResourceSettings", { "ResourceSettings", disk }), 32770);
    assert_int_equal(CALL(w, vsms, "ModifyResourceSettings"), 32773);
}

/* ---- what there is little of ---- */
static void points_are_not_destroyed(void **st)
{
    struct world *w = *st;
    static const char service[] = "Msvm_VirtualSystemSnapshotService=@";

    make_replica(w);
    struct cim_list l = walk(w, VM(WEB), "Msvm_SnapshotOfVirtualSystem", NULL);
    vr_auto(cim_path_free) struct cim_path *p = cim_inst_path(l.v[0]);
    vr_autofree char *point = cim_path_fmt(p, NULL);
    assert_int_equal(CALL(w, service, "DestroySnapshot", { "AffectedSnapshot", point }), 32775);
    assert_int_equal(CALL(w, service, "DestroySnapshot"), 32773);
    cim_list_done(&l);
    l = walk(w, service, "Msvm_HostedService", "Msvm_ComputerSystem");
    assert_int_equal(l.n, 1);
    cim_list_done(&l);
    l = walk(w, VM(WEB), "Msvm_CollectedVirtualSystems", NULL);
    assert_int_equal(l.n, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, world_new, world_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(settings_of_a_new_host),
        T(settings_are_checked),
        T(the_listener_follows_the_settings),
        T(ways_of_authentication),
        T(kerberos_needs_an_entry),
        T(what_nobody_changed_stays_open),
        T(settings_are_kept),
        T(disabled_host_receives_nothing),
        T(windows_are_aligned),
        T(statistics_begin_anew),
        T(a_new_start_time_moves_the_window),
        T(entries_are_added_and_shown),
        T(entries_are_checked),
        T(entries_decide_who_may_come),
        T(replica_is_bound_to_its_entry),
        T(the_replica_sends_back_without_an_entry),
        T(adapters_and_their_parts),
        T(addresses_after_a_failover),
        T(addresses_of_several_adapters),
        T(documents_are_all_or_none),
        T(network_of_test_failovers),
        T(points_are_not_destroyed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
