/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What clients see: instances in every state, associations walked in both directions, jobs,
 * statistics, summaries and the classes of our own. */
#include "cim/providers/testhost.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cim/cimxml.h"
#include "cim/providers/prov.h"

static size_t count(struct world *w, const char *cls)
{
    struct cim_list l = CIM_LIST_INIT;
    const struct cim_class *c = cim_class_find(cls);

    assert_int_equal(cim_enumerate(w->cim, &w->who, c, true, NULL, &l, NULL), CIM_S_OK);
    size_t n = l.n;
    cim_list_done(&l);
    return n;
}

/* ---- machines and relationships ---- */
static void every_machine_has_both(void **st)
{
    struct world *w = *st;

    assert_int_equal(count(w, "Msvm_ComputerSystem"), 4); /* the host too */
    assert_int_equal(count(w, "Msvm_ReplicationSettingData"), 3);
    assert_int_equal(count(w, "Msvm_ReplicationRelationship"), 3);
    assert_int_equal(state(w, DB), 0);
    assert_int_equal(num(w, REL_PATH(DB, "0"), "ReplicationHealth"), 0);
    assert_string_equal(txt(w, REL_PATH(DB, "0"), "LastReplicationTime"), "(null)");
    assert_int_equal(num(w, FRSD_PATH(DB, "0"), "AutoResynchronizeEnabled"), 1);
    assert_string_equal(txt(w, FRSD_PATH(DB, "0"), "AutoResynchronizeIntervalStart"),
                        "00000000183000.000000:000");
    assert_string_equal(txt(w, FRSD_PATH(DB, "0"), "VirtualSystemType"),
                        "Microsoft:Hyper-V:Replica");
    make_replica(w);
    assert_int_equal(count(w, "Msvm_ReplicationSettingData"), 4);
    assert_int_equal(count(w, "Msvm_ReplicationRelationship"), 4);
    assert_int_equal(num(w, REL_PATH(WEB, "1"), "ReplicationState"), 0);
    assert_string_equal(txt(w, FRSD_PATH(WEB, "0"), "PrimaryHostSystem"), "hostb");
    assert_string_equal(txt(w, FRSD_PATH(WEB, "0"), "RecoveryHostSystem"), "hosta");
    /* libvirtd away: what the engine knows is still there */
    w->n_vms = 0;
    assert_int_equal(mode(w, WEB), 2);
    assert_int_equal(count(w, "Msvm_ComputerSystem"), 2);
}

static void machines_as_clients_know_them(void **st)
{
    struct world *w = *st;

    assert_string_equal(txt(w, VM(WEB), "Description"), "Microsoft Virtual Machine");
    assert_string_equal(txt(w, VM(WEB), "Caption"), "Virtual Machine");
    assert_string_equal(txt(w, VM(WEB), "ElementName"), "web");
    assert_int_equal(num(w, VM(WEB), "EnabledState"), 3);
    w->vm[0].power = HV_POWER_RUNNING;
    assert_int_equal(num(w, VM(WEB), "EnabledState"), 2);
    w->vm[0].power = HV_POWER_PAUSED;
    assert_int_equal(num(w, VM(WEB), "EnabledState"), 9);
    assert_string_equal(txt(w, VM(WEB), "ProcessID"), "(null)");
    assert_string_equal(txt(w, VM(WEB), "OnTimeInMilliseconds"), "(null)");
    w->vm[0].pid = 4711;
    w->vm[0].numa_nodes = 2;
    w->vm[0].started.us = w->vm[0].changed.us = vr_wall_now().us - 5000000;
    w->vm[0].configured.us = 1700000000000000;
    assert_int_equal(num(w, VM(WEB), "ProcessID"), 4711);
    assert_int_equal(num(w, VM(WEB), "NumberOfNumaNodes"), 2);
    assert_in_range(num(w, VM(WEB), "OnTimeInMilliseconds"), 5000, 3605000);
    assert_string_equal(txt(w, VM(WEB), "TimeOfLastConfigurationChange"),
                        "20231114221320.000000+000");
    assert_string_not_equal(txt(w, VM(WEB), "TimeOfLastStateChange"), "(null)");
    w->vm[0].power = HV_POWER_OFF;
    assert_int_equal(num(w, VM(WEB), "OnTimeInMilliseconds"), 0);
    w->vm[0].saved = true;
    assert_int_equal(num(w, VM(WEB), "EnabledState"), 6);
    make_replicating(w);
    /* what is saved is not off */
    assert_int_equal(CALL(w, VM(WEB), "RequestReplicationStateChange", { "RequestedState", "4" }),
                     32775);
    w->vm[0].saved = false;
    done(w, SVC(w, WEB, "RemoveReplicationRelationship"));
    assert_string_equal(txt(w, "Msvm_ComputerSystem.Name=\"hosta\"", "Caption"),
                        "Hosting Computer System");
    make_replicating(w);
    assert_int_equal(num(w, VM(WEB), "ReplicationState"), 3);
    assert_int_equal(num(w, VM(WEB), "ReplicationHealth"), 1);
}

static void singletons(void **st)
{
    struct world *w = *st;

    assert_string_equal(txt(w, "Msvm_ReplicationService=@", "Name"), "replicasvc");
    assert_string_equal(txt(w, "Msvm_ReplicationService=@", "SystemName"), "hosta");
    assert_int_equal(num(w, "Msvm_ReplicationService=@", "EnabledState"), 2);
    assert_int_equal(num(w, "Msvm_ReplicationService=@", "Started"), 1);
    assert_int_equal(num(w, "Msvm_ReplicationServiceSettingData=@", "MonitoringInterval"), 43200);
    assert_string_equal(txt(w, "Msvm_ReplicationProvider=@", "Name"),
                        "22391CDC-272C-4DDF-BA88-9BEFB1A0975C");
    const char *path = txt(w, FRSD_PATH(WEB, "0"), "ReplicationProvider");
    assert_non_null(strstr(path, "\"22391CDC-272C-4DDF-BA88-9BEFB1A0975C\""));
}

/* ---- associations, as the PowerShell client walks them: src:[contract.md A.16] ---- */
static char *path_of(const struct cim_inst *in)
{
    vr_auto(cim_path_free) struct cim_path *p = cim_inst_path(in);

    return cim_path_fmt(p, NULL);
}

static void walk_of_the_powershell_client(void **st)
{
    struct world *w = *st;

    make_replica(w);
    struct cim_list settings =
        walk(w, VM(WEB), "Msvm_ElementSettingData", "Msvm_ReplicationSettingData");
    assert_int_equal(settings.n, 2);
    for (size_t i = 0; i < settings.n; i++) {
        vr_autofree char *frsd_path = path_of(settings.v[i]);
        const char *id = cim_inst_str(settings.v[i], CIM_P_MSVM_REPLICATIONSETTINGDATA_INSTANCEID);
        bool first = id[strlen(id) - 1] == '0';
        struct cim_list rel =
            walk(w, frsd_path, "Msvm_SettingsDefineState", "Msvm_ReplicationRelationship");
        assert_int_equal(rel.n, 1);
        assert_int_equal(
            cim_inst_uint(rel.v[0], CIM_P_MSVM_REPLICATIONRELATIONSHIP_REPLICATIONSTATE, 99),
            first ? 3 : 0);
        vr_autofree char *rel_path = path_of(rel.v[0]);
        struct cim_list back = walk(w, rel_path, "Msvm_SettingsDefineState", NULL);
        assert_int_equal(back.n, 1);
        assert_true(cim_inst_equal(back.v[0], settings.v[i]));
        struct cim_list vm = walk(w, frsd_path, "Msvm_ElementSettingData", "Msvm_ComputerSystem");
        assert_int_equal(vm.n, 1);
        assert_string_equal(cim_inst_str(vm.v[0], CIM_P_MSVM_COMPUTERSYSTEM_NAME), WEB);
        cim_list_done(&rel);
        cim_list_done(&back);
        cim_list_done(&vm);
    }
    cim_list_done(&settings);
}

/* Every association leads from an object to others and from each of these back to it. */
static void associations_lead_back(void **st)
{
    struct world *w = *st;
    static const struct {
        const char *from, *assoc, *result;
        size_t n;
    } all[] = {
        { VM(WEB), "Msvm_SystemReplicationRelationship", "Msvm_ReplicationRelationship", 2 },
        { VM(WEB), "Msvm_SnapshotOfVirtualSystem", "Msvm_VirtualSystemSettingData", 2 },
        { VM(WEB), "Msvm_SettingsDefineState", "Msvm_VirtualSystemSettingData", 1 },
        { VM(WEB), "Msvm_MostCurrentSnapshotInBranch", NULL, 1 },
        { VM(WEB), "Msvm_LastAppliedSnapshot", "Msvm_VirtualSystemSettingData", 1 },
        { VM(WEB), "Msvm_HostedDependency", "Msvm_ComputerSystem", 1 },
        { VM(WEB), "Msvm_ServiceAffectsElement", "Msvm_ReplicationService", 1 },
        { VM(WEB), "Msvm_AffectedJobElement", "Msvm_ConcreteJob", 1 },
        { "Msvm_ReplicationService=@", "Msvm_HostedService", "Msvm_ComputerSystem", 1 },
        { "Msvm_ReplicationService=@", "Msvm_ServiceAffectsElement", "Msvm_ComputerSystem", 3 },
        { "Msvm_ReplicationService=@", "Msvm_ElementSettingData",
          "Msvm_ReplicationServiceSettingData", 1 },
        { "Msvm_ReplicationService=@", "Msvm_OwningJobElement", "Msvm_ConcreteJob", 1 },
        { "Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:" WEB "\"",
          "Msvm_VirtualSystemSettingDataComponent", "Msvm_StorageAllocationSettingData", 3 },
        { DISK(WEB, "vda"), "Msvm_ResourceDependentOnResource",
          "Msvm_ResourceAllocationSettingData", 1 },
    };

    make_failed_over(w);
    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++) {
        struct cim_list there = walk(w, all[i].from, all[i].assoc, all[i].result);
        if (there.n != all[i].n)
            fail_msg("%s over %s: %zu", all[i].from, all[i].assoc, there.n);
        vr_auto(cim_inst_free) struct cim_inst *self = get(w, all[i].from);
        for (size_t k = 0; k < there.n; k++) {
            vr_autofree char *path = path_of(there.v[k]);
            struct cim_list back = walk(w, path, all[i].assoc, NULL);
            bool found = false;
            for (size_t j = 0; j < back.n; j++)
                found |= cim_inst_equal(back.v[j], self);
            if (!found)
                fail_msg("%s does not lead back over %s", path, all[i].assoc);
            cim_list_done(&back);
        }
        cim_list_done(&there);
    }
}

static void recovery_points(void **st)
{
    struct world *w = *st;
    vr_autofree char *newest = NULL, *oldest = NULL;

    make_replica(w);
    struct cim_list l = walk(w, VM(WEB), "Msvm_SnapshotOfVirtualSystem", NULL);
    assert_int_equal(l.n, 2);
    oldest = path_of(l.v[0]);
    newest = path_of(l.v[1]);
    assert_string_equal(txt(w, oldest, "VirtualSystemType"),
                        "Microsoft:Hyper-V:Snapshot:Replica:Standard");
    assert_string_equal(txt(w, newest, "VirtualSystemType"),
                        "Microsoft:Hyper-V:Snapshot:Replica:PlannedFailover");
    assert_string_equal(txt(w, newest, "VirtualSystemIdentifier"), WEB);
    struct cim_list child = walk(w, oldest, "Msvm_ParentChildSettingData", NULL);
    assert_int_equal(child.n, 1);
    assert_true(cim_inst_equal(child.v[0], l.v[1]));
    /* our own view of the same */
    char id[128];
    snprintf(id, sizeof id, "%s", txt(w, newest, "Notes"));
    vr_autofree char *own = vr_printf("Vmr_RecoveryPoint.InstanceID=\"%s\"", id);
    assert_string_equal(txt(w, own, "Kind"), "planned");
    assert_string_equal(txt(w, own, "MachineName"), "web");
    assert_int_equal(num(w, own, "Bytes"), 65536);
    vr_autofree char *ref = vr_printf("Msvm_VirtualSystemSettingData.InstanceID=\"%s\"", id);
    done(w, CALL(w, STATUS_PATH(WEB), "VerifyPoint", { "PointId", id }));
    assert_int_equal(CALL(w, STATUS_PATH(WEB), "VerifyPoint", { "PointId", "x" }), 32773);
    done(w, CALL(w, STATUS_PATH(WEB), "VerifyPoint")); /* the newest */
    assert_int_equal(CALL(w, STATUS_PATH(DB), "VerifyPoint", { "PointId", id }), 32775);
    /* the short form of the id will do for a failover */
    done(w, SVC(w, WEB, "InitiateFailover", { "SnapshotSettingData", ref }));
    cim_list_done(&l);
    cim_list_done(&child);
}

static void disks(void **st)
{
    struct world *w = *st;

    assert_int_equal(num(w, DISK(WEB, "vda"), "ResourceType"), 31);
    assert_string_equal(txt(w, DISK(WEB, "vda"), "ResourceSubType"),
                        "Microsoft:Hyper-V:Virtual Hard Disk");
    assert_string_equal(txt(w, DISK(WEB, "vda"), "HostResource"), "/srv/disk.qcow2");
    assert_int_equal(num(w, DISK(WEB, "vda"), "VirtualQuantity"), (1 << 30) / 512);
    assert_string_not_equal(txt(w, DISK(WEB, "sda"), "ResourceSubType"),
                            "Microsoft:Hyper-V:Virtual Hard Disk");
    /* a drive each, and a controller of each bus */
    assert_int_equal(count(w, "Msvm_ResourceAllocationSettingData"), 4 + 3);
}

/* Clients make numbers of places, and go up from the disk to its controller. */
static void place_of(struct world *w, const char *disk, unsigned long place, unsigned type)
{
    static const char *const names[] = { "Address", "AddressOnParent" };
    vr_autofree char *drive = vr_strdup(txt(w, disk, "Parent"));
    vr_autofree char *controller = vr_strdup(txt(w, drive, "Parent"));
    char *rest;

    assert_int_equal(strtoul(txt(w, disk, "AddressOnParent"), &rest, 10), 0);
    assert_string_equal(rest, "");
    for (size_t i = 0; i < VR_ARRAY_LEN(names); i++) {
        assert_int_equal(strtoul(txt(w, drive, names[i]), &rest, 10), place);
        assert_string_equal(rest, "");
    }
    assert_int_equal(num(w, drive, "ResourceType"), 17);
    assert_int_equal(num(w, controller, "ResourceType"), type);
    strtoul(txt(w, controller, "Address"), &rest, 10);
    assert_string_equal(rest, "");
    struct cim_list of = walk(w, controller, "Msvm_VirtualSystemSettingDataComponent", NULL);
    assert_int_equal(of.n, 1);
    cim_list_done(&of);
}

static void disks_have_places(void **st)
{
    struct world *w = *st;

    place_of(w, DISK(WEB, "vda"), 0, 6);
    place_of(w, DISK(WEB, "vdb"), 1, 6);
    place_of(w, DISK(WEB, "sda"), 0, 6);
    make_replica(w);
    struct cim_list points = walk(w, VM(WEB), "Msvm_SnapshotOfVirtualSystem", NULL);
    vr_autofree char *path = path_of(points.v[0]);
    struct cim_list disks = walk(w, path, "Msvm_VirtualSystemSettingDataComponent",
                                 "Msvm_StorageAllocationSettingData");
    assert_int_equal(disks.n, 2);
    vr_autofree char *second = path_of(disks.v[1]);
    place_of(w, second, 1, 6);
    cim_list_done(&points);
    cim_list_done(&disks);
}

static void targets_have_places(void **st)
{
    static const struct {
        const char *target, *controller;
        enum disk_bus bus;
        unsigned number, place;
    } all[] = {
        { "vda", "vd0", DISK_BUS_SCSI, 0, 0 },   { "vdab", "vd0", DISK_BUS_SCSI, 0, 27 },
        { "sdz", "sd0", DISK_BUS_SCSI, 1, 25 },  { "hdd", "hd1", DISK_BUS_IDE, 1, 1 },
        { "hda", "hd0", DISK_BUS_IDE, 0, 0 },    { "fdb", "fd0", DISK_BUS_FLOPPY, 0, 1 },
        { "xvdc", "xvd0", DISK_BUS_SCSI, 2, 2 }, { "disk", "disk0", DISK_BUS_SCSI, 4, 0 },
        { "", "0", DISK_BUS_SCSI, 4, 0 },
    };

    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++) {
        struct disk_slot s;
        disk_slot(all[i].target, &s);
        assert_string_equal(s.controller, all[i].controller);
        assert_int_equal(s.bus, all[i].bus);
        assert_int_equal(s.number, all[i].number);
        assert_int_equal(s.place, all[i].place);
    }
}

/* A recovery point has the disks that are replicated, and they lead back to it. */
static void disks_of_recovery_points(void **st)
{
    struct world *w = *st;

    make_replica(w);
    struct cim_list points = walk(w, VM(WEB), "Msvm_SnapshotOfVirtualSystem", NULL);
    assert_int_equal(points.n, 2);
    for (size_t i = 0; i < points.n; i++) {
        vr_autofree char *path = path_of(points.v[i]);
        struct cim_list disks = walk(w, path, "Msvm_VirtualSystemSettingDataComponent",
                                     "Msvm_StorageAllocationSettingData");
        assert_int_equal(disks.n, 2);
        vr_autofree char *disk = path_of(disks.v[0]);
        struct cim_list back = walk(w, disk, "Msvm_VirtualSystemSettingDataComponent", NULL);
        assert_int_equal(back.n, 1);
        assert_true(cim_inst_equal(back.v[0], points.v[i]));
        struct cim_list drive = walk(w, disk, "Msvm_ResourceDependentOnResource", NULL);
        assert_int_equal(drive.n, 1);
        cim_list_done(&disks);
        cim_list_done(&back);
        cim_list_done(&drive);
    }
    cim_list_done(&points);
}

/* ---- statistics ---- */
static struct cim_inst *embedded(struct world *w, const char *param, size_t i, const char *cls)
{
    const struct cim_value *v = cim_args_at(w->args, param);
    struct cim_inst *in = NULL;

    assert_true(i < v->n);
    assert_int_equal(cim_xml_parse(v->many[i].str, cim_class_find(cls), &in, NULL), 0);
    return in;
}

static void statistics_at_once(void **st)
{
    struct world *w = *st;

    assert_int_equal(SVC(w, WEB, "GetReplicationStatisticsEx"), 32775);
    assert_int_equal(SVC(w, NOBODY, "GetReplicationStatistics"), 32777);
    assert_int_equal(SVC(w, WEB, "ResetReplicationStatistics"), 32775);
    make_replicating(w);
    w->who.role = CIM_ROLE_READER;
    w->transferring = true;
    w->transfer = (struct host_transfer){ .total = 300, .done = 100, .sending = true };
    assert_int_equal(SVC(w, WEB, "GetReplicationStatisticsEx"), 0);
    assert_null(cim_args_ref(w->args, "Job"));
    assert_false(cim_args_at(w->args, "ReplicationHealthIssues")->is_null);
    assert_int_equal(cim_args_at(w->args, "ReplicationHealthIssues")->n, 0);
    assert_int_equal(cim_args_at(w->args, "ReplicationStatistics")->n, 1);
    vr_auto(cim_inst_free) struct cim_inst *s =
        embedded(w, "ReplicationStatistics", 0, "Msvm_ReplicationStatistics");
#define S(n) cim_inst_uint(s, CIM_P_MSVM_REPLICATIONSTATISTICS_##n, 99)
    assert_int_equal(S(REPLICATIONSUCCESSCOUNT), 1);
    assert_int_equal(S(REPLICATIONSIZE), 1024);
    assert_int_equal(S(REPLICATIONLATENCY), 2);
    assert_int_equal(S(PENDINGREPLICATIONSIZE), 200);
    assert_int_equal(S(REPLICATIONHEALTH), 1);
#undef S
    assert_int_equal(SVC(w, WEB, "ResetReplicationStatisticsEx"), 32769);
    w->who.role = CIM_ROLE_OPERATOR;
    assert_int_equal(SVC(w, WEB, "ResetReplicationStatisticsEx"), 0);
    assert_int_equal(SVC(w, WEB, "GetReplicationStatistics"), 0);
    vr_auto(cim_inst_free) struct cim_inst *after =
        embedded(w, "ReplicationStatistics", 0, "Msvm_ReplicationStatistics");
    assert_int_equal(
        cim_inst_uint(after, CIM_P_MSVM_REPLICATIONSTATISTICS_REPLICATIONSUCCESSCOUNT, 99), 0);
}

static void health_issues_say_why(void **st)
{
    struct world *w = *st;

    make_failed_over(w);
    assert_int_equal(SVC(w, WEB, "GetReplicationStatisticsEx"), 0);
    assert_true(cim_args_at(w->args, "ReplicationHealthIssues")->n > 0);
    vr_auto(cim_inst_free) struct cim_inst *e =
        embedded(w, "ReplicationHealthIssues", 0, "Msvm_Error");
    assert_non_null(strstr(cim_inst_str(e, CIM_P_MSVM_ERROR_MESSAGE), "failed over"));
    assert_int_equal(cim_inst_uint(e, CIM_P_MSVM_ERROR_PERCEIVEDSEVERITY, 0), 3);
    const struct cim_value *todo = cim_inst_value(e, CIM_P_MSVM_ERROR_RECOMMENDEDACTIONS);
    assert_int_equal(todo->n, 2); /* in words, and the command */
    assert_string_equal(cim_value_at(todo, 1)->str, "vmreplica reverse web");
}

/* A warning stays one beside something worse. */
static void each_health_issue_has_its_own_severity(void **st)
{
    struct world *w = *st;
    static const char *const ids[] = { "33405", "33414" };
    static const unsigned severities[] = { 6, 3 };

    make_replica(w);
    done(w, CALL(w, VM(WEB), "RequestReplicationStateChangeEx", { "RequestedState", "7" }));
    ((struct rel *)engine_at(w->engine, 0))->last_time.us -= 3601ll * 1000000;
    assert_int_equal(SVC(w, WEB, "GetReplicationStatisticsEx"), 0);
    assert_int_equal(cim_args_at(w->args, "ReplicationHealthIssues")->n, 2);
    for (size_t i = 0; i < VR_ARRAY_LEN(ids); i++) {
        vr_auto(cim_inst_free) struct cim_inst *e =
            embedded(w, "ReplicationHealthIssues", i, "Msvm_Error");
        assert_string_equal(cim_inst_str(e, CIM_P_MSVM_ERROR_MESSAGEID), ids[i]);
        assert_int_equal(cim_inst_uint(e, CIM_P_MSVM_ERROR_PERCEIVEDSEVERITY, 0), severities[i]);
    }
}

/* Monitoring looks for numbers, not for words. src:[contract.md A.13, D.1] */
static void health_issues_have_numbers(void **st)
{
    struct world *w = *st;
    static void (*const ways[])(struct world *) = { make_replica, make_failed_over, make_ready };
    static const char *const want[] = { "33414", "33417", "33410" };

    for (size_t i = 0; i < VR_ARRAY_LEN(ways); i++) {
        bool found = false;
        if (i) {
            world_free(st);
            world_new(st);
            w = *st;
        }
        ways[i](w);
        if (!i) /* an hour of silence */
            ((struct rel *)engine_at(w->engine, 0))->last_time.us -= 3601ll * 1000000;
        assert_int_equal(SVC(w, WEB, "GetReplicationStatisticsEx"), 0);
        size_t n = cim_args_at(w->args, "ReplicationHealthIssues")->n;
        for (size_t k = 0; k < n; k++) {
            vr_auto(cim_inst_free) struct cim_inst *e =
                embedded(w, "ReplicationHealthIssues", k, "Msvm_Error");
            const char *id = cim_inst_str(e, CIM_P_MSVM_ERROR_MESSAGEID);
            assert_non_null(id);
            assert_in_range(strtoul(id, NULL, 10), 32768, 40000);
            found |= !strcmp(id, want[i]);
        }
        if (!found)
            fail_msg("no issue %s", want[i]);
    }
}

/* ---- jobs ---- */
static void failed_job_tells_why(void **st)
{
    struct world *w = *st;

    make_ready(w);
    w->fail[FX_BIT_CAPTURE] = VR_E_AUTH;
    assert_int_equal(
        job_error(w, SVC(w, WEB, "StartReplication", { "InitialReplicationType", "1" })), 32769);
    vr_auto(cim_inst_free) struct cim_inst *j = last_job(w);
    vr_autofree char *path = path_of(j);
    assert_non_null(strstr(txt(w, path, "ErrorDescription"), "CAPTURE"));
    assert_int_equal(num(w, path, "Cancellable"), 0);
    assert_string_equal(txt(w, path, "Owner"), "root");
    assert_int_equal(CALL(w, path, "GetErrorEx"), 0);
    assert_int_equal(cim_args_at(w->args, "Errors")->n, 2); /* outermost first */
    vr_auto(cim_inst_free) struct cim_inst *outer = embedded(w, "Errors", 0, "Msvm_Error");
    assert_non_null(strstr(cim_inst_str(outer, CIM_P_MSVM_ERROR_MESSAGE), "Starting in-band"));
    vr_auto(cim_inst_free) struct cim_inst *e = embedded(w, "Errors", 1, "Msvm_Error");
    assert_non_null(strstr(cim_inst_str(e, CIM_P_MSVM_ERROR_MESSAGE), "CAPTURE"));
    assert_string_equal(cim_inst_str(e, CIM_P_MSVM_ERROR_MESSAGEID), "32769");
    assert_int_equal(cim_inst_uint(e, CIM_P_MSVM_ERROR_ERRORTYPE, 0), 7);
    assert_int_equal(CALL(w, path, "GetError"), 0);
    assert_non_null(strstr(cim_args_str(w->args, "Error"), "<INSTANCE CLASSNAME=\"Msvm_Error\">"));
    assert_int_equal(CALL(w, path, "RequestStateChange", { "RequestedState", "4" }), 32775);
    assert_int_equal(CALL(w, path, "RequestStateChange", { "RequestedState", "2" }), 32770);
    assert_int_equal(CALL(w, path, "RequestStateChange", { "RequestedState", "1" }), 32773);
    assert_int_equal(CALL(w, path, "KillJob"), 4);
    w->who.role = CIM_ROLE_READER;
    assert_int_equal(CALL(w, path, "KillJob"), 6);
    assert_int_equal(CALL(w, path, "RequestStateChange", { "RequestedState", "4" }), 32769);
    assert_int_equal(state(w, WEB), 8);
    assert_int_equal(num(w, REL_PATH(WEB, "0"), "ReplicationHealth"), 3);
}

static void good_job_has_no_error(void **st)
{
    struct world *w = *st;

    make_ready(w);
    vr_auto(cim_inst_free) struct cim_inst *j = last_job(w);
    vr_autofree char *path = path_of(j);
    assert_int_equal(num(w, path, "JobType"), 91);
    assert_int_equal(num(w, path, "PercentComplete"), 100);
    assert_int_equal(num(w, path, "ErrorCode"), 0);
    assert_string_equal(txt(w, path, "TimeBeforeRemoval"), "00000000000500.000000:000");
    assert_int_equal(CALL(w, path, "GetError"), 0);
    assert_null(cim_args_str(w->args, "Error"));
    assert_int_equal(CALL(w, path, "GetErrorEx"), 0);
    assert_false(cim_args_at(w->args, "Errors")->is_null);
    assert_int_equal(cim_args_at(w->args, "Errors")->n, 0);
}

static void job_is_cancelled(void **st)
{
    struct world *w = *st;

    make_ready(w);
    w->hold = FX_SHIP;
    assert_int_equal(SVC(w, WEB, "StartReplication", { "InitialReplicationType", "1" }), 4096);
    pump(w);
    vr_auto(cim_inst_free) struct cim_inst *j = last_job(w);
    vr_autofree char *path = path_of(j);
    assert_int_equal(num(w, path, "Cancellable"), 1);
    assert_int_equal(CALL(w, path, "KillJob"), 0);
    pump(w);
    assert_int_equal(num(w, path, "JobState"), 8);
    assert_int_equal(CALL(w, path, "GetErrorEx"), 0);
    assert_int_equal(cim_args_at(w->args, "Errors")->n, 1);
    assert_int_equal(state(w, WEB), 1);
}

/* ---- summaries ---- */
static void summary(void **st)
{
    struct world *w = *st;
    static const char service[] = "Msvm_VirtualSystemManagementService=@";

    make_replica(w);
    assert_int_equal(
        CALL(w, service, "GetSummaryInformation",
             { "SettingData", "Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:" WEB "\"" },
             { "RequestedInformation", "1" }, { "RequestedInformation", "114" },
             { "RequestedInformation", "118" }),
        0);
    const struct cim_value *v = cim_args_at(w->args, "SummaryInformation");
    assert_int_equal(v->n, 1);
    const struct cim_inst *in = v->many[0].inst;
    assert_string_equal(cim_inst_str(in, CIM_P_MSVM_SUMMARYINFORMATION_ELEMENTNAME), "web");
    assert_int_equal(cim_inst_uint(in, CIM_P_MSVM_SUMMARYINFORMATION_REPLICATIONMODE, 0), 2);
    const struct cim_value *ex =
        cim_inst_value(in, CIM_P_MSVM_SUMMARYINFORMATION_REPLICATIONSTATEEX);
    assert_int_equal(ex->n, 2);
    assert_int_equal(ex->many[0].u, 3);
    assert_int_equal(ex->many[1].u, 0);
    assert_int_equal(CALL(w, service, "GetSummaryInformation"), 0);
    assert_int_equal(cim_args_at(w->args, "SummaryInformation")->n, 3);
    assert_int_equal(CALL(w, service, "GetSummaryInformation",
                          { "SettingData", "Msvm_VirtualSystemSettingData.InstanceID=\"x\"" }),
                     32773);
    assert_int_equal(CALL(w, service, "DestroySystem", { "AffectedSystem", VM(WEB) }), 1);
}

/* In slices it is the same; when machines come or go in between it begins anew. */
static void summary_in_slices(void **st)
{
    struct world *w = *st;
    vr_auto(cim_path_free) struct cim_path *p = NULL;
    const struct cim_method *m;
    struct vr_err err = VR_ERR_INIT;
    uint32_t ret = 99;

    assert_int_equal(cim_path_parse("Msvm_VirtualSystemManagementService=@", &p, &err), 0);
    assert_int_equal(cim_find_method(p, "GetSummaryInformation", &m, &err), CIM_S_OK);
    vr_auto(cim_args_free) struct cim_args *args = cim_args_new(m);
    assert_int_equal(cim_value_put_text(cim_args_at(args, "RequestedInformation"), "1", &err), 0);
    args->until_us = 1; /* long ago: one machine each time */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cim_invoke(w->cim, &w->who, p, args, &ret, &err), CIM_S_OK);
        assert_int_not_equal(args->at, 0);
        assert_int_equal(cim_args_at(args, "SummaryInformation")->n, i + 1);
    }
    w->n_vms = 2;
    host_providers_machines_changed(w->prov, true);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cim_invoke(w->cim, &w->who, p, args, &ret, &err), CIM_S_OK);
        assert_int_equal(cim_args_at(args, "SummaryInformation")->n, i + 1);
    }
    while (args->at)
        assert_int_equal(cim_invoke(w->cim, &w->who, p, args, &ret, &err), CIM_S_OK);
    assert_int_equal(ret, 0);
    const struct cim_value *v = cim_args_at(args, "SummaryInformation");
    assert_int_equal(v->n, 2);
    assert_string_equal(cim_inst_str(v->many[0].inst, CIM_P_MSVM_SUMMARYINFORMATION_ELEMENTNAME),
                        "web");
    assert_string_equal(cim_inst_str(v->many[1].inst, CIM_P_MSVM_SUMMARYINFORMATION_ELEMENTNAME),
                        "db");
}

/* As an object the summary has everything, and it is found from its machine. */
static void summary_as_an_object(void **st)
{
    struct world *w = *st;
    static char note[] = "the shop";
    static const char path[] = "Msvm_SummaryInformation.InstanceID=\"Microsoft:" WEB "\"";

    make_replica(w);
    w->vm[0].notes = note;
    w->vm[0].uefi = true;
    assert_string_equal(txt(w, path, "Notes"), "the shop");
    assert_string_equal(txt(w, path, "HostComputerSystemName"), "hosta");
    assert_string_equal(txt(w, path, "VirtualSwitchNames"), "default");
    assert_string_equal(txt(w, path, "VirtualSystemSubType"), "Microsoft:Hyper-V:SubType:2");
    assert_int_equal(num(w, path, "EnabledState"), 3);
    assert_int_equal(num(w, path, "UpTime"), 0);
    vr_auto(cim_inst_free) struct cim_inst *in = get(w, path);
    assert_int_equal(cim_inst_named(in, "Snapshots")->n, 2);
    assert_int_equal(cim_inst_named(in, "AsynchronousTasks")->n, 0);
    struct cim_list l = walk(w, VM(WEB), "Msvm_ComputerSystemSummaryInformation", NULL);
    assert_int_equal(l.n, 1);
    assert_true(cim_inst_equal(l.v[0], in));
    cim_list_done(&l);
}

/* ---- our own ---- */
static void own_host_and_peers(void **st)
{
    struct world *w = *st;

    assert_string_equal(txt(w, "Vmr_Host=@", "HostName"), "hosta");
    assert_string_equal(txt(w, "Vmr_Peer.Name=\"hostb\"", "Address"), "192.0.2.2");
    assert_string_equal(txt(w, "Vmr_Peer.Name=\"hostb\"", "State"), "unreachable");
    assert_int_equal(CALL(w, "Vmr_Host=@", "CreatePairingCode"), 0);
    assert_string_equal(cim_args_str(w->args, "Code"), "ABCD-EFGH");
    done(w, CALL(w, "Vmr_Host=@", "Pair", { "HostName", "hostc" }, { "Code", "X" }));
    assert_int_equal(CALL(w, "Vmr_Host=@", "Pair", { "Code", "X" }), 32773);
    assert_int_equal(CALL(w, "Vmr_Host=@", "Pair", { "HostName", "hostc" }), 32773);
    assert_int_equal(CALL(w, "Vmr_Host=@", "Unpair", { "PeerName", "hostb" }), 0);
    assert_int_equal(CALL(w, "Vmr_Host=@", "Unpair", { "PeerName", "hostz" }), 32773);
    assert_int_equal(CALL(w, "Vmr_Host=@", "Unpair"), 32773);
    w->who.role = CIM_ROLE_OPERATOR;
    assert_int_equal(CALL(w, "Vmr_Host=@", "CreatePairingCode"), 32769);
    assert_int_equal(CALL(w, "Vmr_Host=@", "Unpair", { "PeerName", "hostb" }), 32769);
}

static void own_status(void **st)
{
    struct world *w = *st;

    assert_int_equal(count(w, "Vmr_ReplicationStatus"), 3);
    assert_string_equal(txt(w, STATUS_PATH(WEB), "Role"), "none");
    assert_int_equal(CALL(w, STATUS_PATH(WEB), "SyncNow"), 32775);
    make_replicating(w);
    assert_string_equal(txt(w, STATUS_PATH(WEB), "Role"), "primary");
    assert_string_equal(txt(w, STATUS_PATH(WEB), "State"), "replicating");
    assert_string_equal(txt(w, STATUS_PATH(WEB), "PeerName"), "hostb");
    assert_int_equal(num(w, STATUS_PATH(WEB), "LastCycleWireBytes"), 1024);
    assert_in_range(num(w, STATUS_PATH(WEB), "DataAgeSeconds"), 0, 60);
    assert_non_null(strstr(txt(w, STATUS_PATH(WEB), "Explanation"), "host hostb could start"));
    done(w, CALL(w, STATUS_PATH(WEB), "SyncNow"));
    assert_int_equal(CALL(w, STATUS_PATH(WEB), "SetInterval", { "Seconds", "5" }), 0);
    assert_int_equal(num(w, STATUS_PATH(WEB), "IntervalSeconds"), 5);
    assert_int_equal(CALL(w, STATUS_PATH(WEB), "SetInterval", { "Seconds", "4" }), 32773);
    assert_int_equal(CALL(w, STATUS_PATH(WEB), "SetInterval"), 32773);
    w->who.role = CIM_ROLE_OPERATOR;
    assert_int_equal(CALL(w, STATUS_PATH(WEB), "SetInterval", { "Seconds", "60" }), 32769);
}

static void own_status_of_a_replica(void **st)
{
    struct world *w = *st;

    make_replica(w);
    assert_string_equal(txt(w, STATUS_PATH(WEB), "Role"), "replica");
    assert_int_equal(num(w, STATUS_PATH(WEB), "NewestPointEpoch"), 2);
    assert_non_null(strstr(txt(w, STATUS_PATH(WEB), "Explanation"), "A failover now"));
    assert_int_equal(CALL(w, STATUS_PATH(WEB), "SyncNow"), 32775);
    assert_int_equal(CALL(w, STATUS_PATH(WEB), "SetInterval", { "Seconds", "60" }), 32775);
    done(w, SVC(w, WEB, "InitiateFailover"));
    assert_non_null(strstr(txt(w, STATUS_PATH(WEB), "Explanation"), "not protected"));
}

static void own_interval_is_written(void **st)
{
    struct world *w = *st;
    vr_auto(cim_path_free) struct cim_path *p = NULL;
    vr_auto(cim_inst_free) struct cim_inst *want = cim_inst_new(CIM_C_VMR_REPLICATIONSTATUS);
    vr_auto(cim_inst_free) struct cim_inst *now = NULL;
    struct vr_err err = VR_ERR_INIT;

    make_replicating(w);
    assert_int_equal(cim_path_parse(STATUS_PATH(WEB), &p, NULL), 0);
    cim_inst_set_uint(want, CIM_P_VMR_REPLICATIONSTATUS_INTERVALSECONDS, 77);
    assert_int_equal(cim_put(w->cim, &w->who, p, want, &now, &err), CIM_S_OK);
    assert_int_equal(cim_inst_uint(now, CIM_P_VMR_REPLICATIONSTATUS_INTERVALSECONDS, 0), 77);
    cim_inst_set_uint(want, CIM_P_VMR_REPLICATIONSTATUS_INTERVALSECONDS, 1);
    vr_auto(cim_inst_free) struct cim_inst *none = NULL;
    assert_int_equal(cim_put(w->cim, &w->who, p, want, &none, &err), CIM_S_PARAM_INVALID);
}

#define T(f) cmocka_unit_test_setup_teardown(f, world_new, world_free)

/* What clients ask of any host before they come to machines, against the kernel's own words. */
static void the_host_itself(void **st)
{
    struct world *w = *st;
    struct utsname u;
    struct sysinfo si;

    assert_int_equal(uname(&u), 0);
    assert_int_equal(sysinfo(&si), 0);
    assert_string_equal(txt(w, "root/cimv2:Win32_ComputerSystem=\"hosta\"", "DNSHostName"),
                        "hosta");
    uint64_t memory = num(w, "root/cimv2:Win32_ComputerSystem=\"hosta\"", "TotalPhysicalMemory");
    assert_true(memory / si.mem_unit == si.totalram);
    assert_int_equal(
        num(w, "root/cimv2:Win32_ComputerSystem=\"hosta\"", "NumberOfLogicalProcessors"),
        sysconf(_SC_NPROCESSORS_ONLN));
    assert_string_equal(txt(w, "root/cimv2:Win32_OperatingSystem=@", "Version"), u.release);
    assert_int_equal(num(w, "root/cimv2:Win32_OperatingSystem=@", "OSType"), 36);
    assert_true(num(w, "root/cimv2:Win32_OperatingSystem=@", "TotalVisibleMemorySize") * 1024 ==
                memory);
    assert_true(num(w, "root/cimv2:Win32_Processor=\"CPU0\"", "NumberOfCores") > 0);
    assert_string_not_equal(txt(w, "root/cimv2:Win32_ComputerSystemProduct=@", "Name"), "(null)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(every_machine_has_both),
        T(machines_as_clients_know_them),
        T(singletons),
        T(summary_in_slices),
        T(walk_of_the_powershell_client),
        T(associations_lead_back),
        T(recovery_points),
        T(disks),
        T(disks_have_places),
        T(targets_have_places),
        T(disks_of_recovery_points),
        T(statistics_at_once),
        T(health_issues_say_why),
        T(each_health_issue_has_its_own_severity),
        T(health_issues_have_numbers),
        T(failed_job_tells_why),
        T(good_job_has_no_error),
        T(job_is_cancelled),
        T(summary),
        T(summary_as_an_object),
        T(own_host_and_peers),
        T(own_status),
        T(own_status_of_a_replica),
        T(own_interval_is_written),
        T(the_host_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
