/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "situations.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define SECOND_NIC "564D5245-504C-4943-8000-525400AABB02"
#define CONNECTION_OF(nic) \
    "Msvm_EthernetPortAllocationSettingData.InstanceID=\"Microsoft:" WEB "\\\\" nic "\\\\C\""
#define SERVICE "Msvm_ReplicationService=@"

static void set_addresses(struct world *w, const char *change)
{
    vr_autofree char *text = vr_printf("+" NIC_AFTER "%s", change);
    vr_autofree char *nic = arg_text(w, text);

    done(w, SVC(w, WEB, "SetFailoverNetworkAdapterSettings", { "NetworkSettings", nic }));
}

static void add_entry(struct world *w, const char *text)
{
    vr_autofree char *entry = arg_text(w, text);

    done(w, CALL(w, SERVICE, "AddAuthorizationEntry", { "AuthorizationEntry", entry }));
}

void make_rich(struct world *w)
{
    make_any_server(w);
    make_tested(w);
    with_exports(w);
    done(w, CALL(w, STATUS_PATH(WEB), "ExportPoint"));
    set_addresses(w, "|ProtocolIFType=4096|DHCPEnabled=false|IPAddresses=192.0.2.7"
                     "|Subnets=255.255.255.0|DefaultGateways=192.0.2.1");
    vr_autofree char *entry = arg_text(w, "+" ENTRY_OF("*", "DEFAULT", "/srv/any"));
    done(w, SVC(w, WEB, "SetAuthorizationEntry", { "AuthorizationEntry", entry }));
}

void make_bound(struct world *w)
{
    make_any_server(w);
    make_replica(w);
}

void make_replica_with_orphan(struct world *w)
{
    make_replica(w);
    w->points[0].kind = VR_POINT_ORPHAN;
    w->points[0].written.us = w->points[0].instant.us + 90 * INT64_C(1000000);
}

void make_waiting_to_reverse(struct world *w)
{
    make_failed_over(w);
    vr_autofree char *set = arg_text(w, FRSD0 TO_HOSTB);
    w->fail[FX_BIT_PROBE] = VR_E_PEER;
    assert_int_equal(
        SVC(w, WEB, "ReverseReplicationRelationship", { "ReplicationSettingData", set }), 4096);
    pump(w);
}

void make_superseded(struct world *w)
{
    make_replicating(w);
    const struct rel *r = engine_find(w->engine, &w->vm[0].uuid);
    struct rel_event ev = { .type = EV_PEER_TOLD, .peer = "hostb" };

    ev.story = (struct rel_story){ .mode = REL_MODE_REPLICA,
                                   .failed_over = true,
                                   .of = r->lineage,
                                   .lineage = vr_uuid_new(),
                                   .point = r->acked };
    engine_event(w->engine, &w->vm[0].uuid, &ev);
    pump(w);
    assert_int_equal(state(w, WEB), 8);
}

void make_left_over(struct world *w)
{
    make_replica(w);
    w->fail[FX_BIT_REMOVE] = VR_E_NOSPACE;
    assert_int_equal(SVC(w, WEB, "RemoveReplicationRelationship"), 4096);
    pump(w);
    assert_int_equal(state(w, WEB), 8);
}

/* ---- for classes whose instances are alike in the others ---- */
void make_running(struct world *w)
{
    static char notes[] = "shop, front end", definition[] = "/etc/libvirt/qemu/web.xml",
                nvram[] = "/var/lib/libvirt/qemu/nvram/web_VARS.fd";
    const struct wall_us then = { 1700000000000000 };

    w->vm[0].power = HV_POWER_RUNNING;
    w->vm[0].memory_kib = 2 << 20;
    w->vm[0].vcpus = 4;
    w->vm[0].numa_nodes = 2;
    w->vm[0].uefi = w->vm[0].secure_boot = true;
    w->vm[0].autostart = w->vm[0].restarts = true;
    w->vm[0].definition = definition;
    w->vm[0].nvram = nvram;
    strcpy(w->vm[0].hardware, "7.2");
    w->vm[1].uefi = true;
    memcpy(w->vm[2].boot, (const uint8_t[]){ HV_BOOT_NETWORK, HV_BOOT_DISK }, 2);
    w->vm[0].notes = notes;
    w->vm[0].pid = 4242;
    w->vm[0].started = w->vm[0].configured = w->vm[0].changed = then;
    w->vm[1].power = HV_POWER_PAUSED;
    w->vm[2].saved = true;
}

static bool merging(void *ctx, const struct vr_uuid *machine)
{
    return vr_uuid_eq(machine, &((struct world *)ctx)->vm[0].uuid);
}

void make_merging(struct world *w)
{
    make_replica(w);
    w->host.merging = merging;
}

void make_application(struct world *w)
{
    make_replica(w);
    const struct rel *r = engine_find(w->engine, &w->vm[0].uuid);
    struct rel_event ev = { .type = EV_RX_OPEN, .peer = "hostb", .lineage = r->lineage };

    assert_int_equal(engine_rx_open(w->engine, &w->vm[0].uuid, &ev, NULL), 0);
    ev = (struct rel_event){ .type = EV_RX_COMMITTED,
                             .point = { r->lineage, 3 },
                             .kind = VR_POINT_APPLICATION,
                             .n_disks = 2,
                             .instant = vr_wall_now() };
    memcpy(ev.disks, r->disks, sizeof ev.disks);
    engine_event(w->engine, &w->vm[0].uuid, &ev);
    w->points[w->n_points++] = (struct store_point){
        .id = ev.point, .kind = ev.kind, .instant = ev.instant, .bytes = 131072
    };
    ev = (struct rel_event){ .type = EV_RX_ENDED };
    engine_event(w->engine, &w->vm[0].uuid, &ev);
    pump(w);
}

void make_failed_over_to_it(struct world *w)
{
    make_application(w);
    done(w, SVC(w, WEB, "InitiateFailover"));
    assert_int_equal(state(w, WEB), 5);
}

void make_every_setting(struct world *w)
{
    make_kerberos(w);
    vr_autofree char *set = arg_text(
        w, FRSD0 "|AuthenticationType=1|RecoveryConnectionPoint=hostb|RecoveryServerPortNumber=80"
                 "|CertificateThumbPrint=|ReplicationInterval=30|RecoveryHistory=4"
                 "|ApplicationConsistentSnapshotInterval=2|CompressionEnabled=false"
                 "|BypassProxyServer=true|ReplicateHostKvpItems=false"
                 "|AutoResynchronizeEnabled=false"
                 "|AutoResynchronizeIntervalStart=00000000010000.000000:000"
                 "|AutoResynchronizeIntervalEnd=00000000020000.000000:000");

    done(w, SVC(w, WEB, "CreateReplicationRelationship", { "ReplicationSettingData", set }));
}

void make_service_settings(struct world *w)
{
    make_kerberos(w);
    vr_autofree char *set = arg_text(
        w, "+Msvm_ReplicationServiceSettingData=@|RecoveryServerEnabled=true"
           "|AllowedAuthenticationType=1|CertificateThumbPrint=|HttpsPort=9443|HttpPort=8080"
           "|MonitoringStartTime=00000000013000.000000:000|MonitoringInterval=3600");

    done(w, CALL(w, SERVICE, "ModifyServiceSettings", { "SettingData", set }));
}

void make_closed(struct world *w)
{
    vr_autofree char *set =
        arg_text(w, "+Msvm_ReplicationServiceSettingData=@|RecoveryServerEnabled=false"
                    "|AllowedAuthenticationType=0|CertificateThumbPrint=");

    done(w, CALL(w, SERVICE, "ModifyServiceSettings", { "SettingData", set }));
}

void make_port_taken(struct world *w)
{
    vr_autofree char *set =
        arg_text(w, "+Msvm_ReplicationServiceSettingData=@|HttpsPort=444"); /* TAKEN_PORT */

    job_error(w, CALL(w, SERVICE, "ModifyServiceSettings", { "SettingData", set }));
}

void make_entries(struct world *w)
{
    add_entry(w, "+" ENTRY_OF("hostb.example.com", "red", "/srv/red"));
    add_entry(w, "+" ENTRY_OF("*.example.org", "blue", "/srv/blue"));
}

void make_connections(struct world *w)
{
    static const char *const changes[] = {
        "+" CONNECTION_OF(NIC) "|TestReplicaSwitchName=isolated",
        "+" CONNECTION_OF(SECOND_NIC) "|TestReplicaPoolID=pool",
    };

    for (size_t i = 0; i < VR_ARRAY_LEN(changes); i++) {
        vr_autofree char *set = arg_text(w, changes[i]);
        done(w, CALL(w, "Msvm_VirtualSystemManagementService=@", "ModifyResourceSettings",
                     { "ResourceSettings", set }));
    }
}

void make_addresses(struct world *w)
{
    make_replica(w);
    set_addresses(w, "|ProtocolIFType=4097|DHCPEnabled=false|IPAddresses=2001:db8::7|Subnets=64"
                     "|DefaultGateways=2001:db8::1|DNSServers=2001:db8::53");
}

void make_disks(struct world *w)
{
    static const char *const targets[] = { "hda", "sdb", "fda", "hdc" };
    static char device[] = "/dev/sdz", note[] = "it is a device of the host";

    for (size_t i = 0; i < VR_ARRAY_LEN(targets); i++)
        strcpy(w->disks[i].target, targets[i]);
    w->vm[0].n_disks = VR_ARRAY_LEN(targets);
    w->disks[1].path = device;
    w->disks[1].replicable = false;
    w->disks[1].note = note;
    w->disks[3].size = 3ULL << 30;
}

void make_trouble(struct world *w)
{
    w->vm[0].power = HV_POWER_RUNNING;
    make_replicating(w);
    done(w, CALL(w, STATUS_PATH(WEB), "SyncNow", { "ApplicationConsistent", "true" }));
    w->fail[FX_BIT_SHIP] = VR_E_PEER;
    job_error(w, CALL(w, STATUS_PATH(WEB), "SyncNow"));
    for (int hour = 0; hour < 2; hour++) {
        w->fail[FX_BIT_SHIP] = VR_E_PEER;
        w->hold = hour ? FX_SHIP : 0;
        w->mono += 3600 * 1000;
        engine_tick(w->engine);
        pump(w);
    }
    w->transferring = true;
    w->transfer = (struct host_transfer){ .sending = true, .done = 1 << 20, .total = 5 << 20 };
}

void make_job_of_another(struct world *w)
{
    make_replicating(w);
    w->who.name = "alice";
    done(w, rq(w, "7"));
}

void make_warned(struct world *w)
{
    make_addresses(w);
}
