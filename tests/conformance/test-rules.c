/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ten rules that an implementer must not miss and the fourteen points of the checklist, each
 * under its own number, with the real engine and providers. Rules that need two hosts have their
 * other half in tests/system; what is checked there is named. src:[contract.md section 0 and G] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cim/cimxml.h"
#include "cim/providers/testways.h"

#define SERVICE "Msvm_ReplicationService=@"
#define VSMS "Msvm_VirtualSystemManagementService=@"
#define REL1 "ReplicationRelationship", "+" REL_PATH(WEB, "1")

/* SVC() whose arguments are those of a client (arg_text()). */
#define ASK(w, method, name, text)                  \
    ({                                              \
        vr_autofree char *arg_ = arg_text(w, text); \
        SVC(w, WEB, method, { name, arg_ });        \
    })

static size_t n_of(struct world *w, const char *object, const char *assoc, const char *result)
{
    struct cim_list l = walk(w, object, assoc, result);
    size_t n = l.n;

    cim_list_done(&l);
    return n;
}

/* A new world in the middle of a test. */
static struct world *again(void **st)
{
    world_free(st);
    world_new(st);
    with_tests(*st);
    return *st;
}

static int begin(void **st)
{
    int rc = world_new(st);

    with_tests(*st);
    return rc;
}

static struct cim_inst *first_embedded(struct world *w, const char *param, const char *cls)
{
    const struct cim_value *v = cim_args_at(w->args, param);
    struct cim_inst *in = NULL;

    assert_true(v->n > 0);
    assert_int_equal(cim_xml_parse(v->many[0].str, cim_class_find(cls), &in, NULL), 0);
    return in;
}

static int is_running(struct world *w, unsigned type)
{
    struct cim_list l = walk(w, VM(WEB), "Msvm_AffectedJobElement", "Msvm_ConcreteJob");
    int n = 0;

    for (size_t i = 0; i < l.n; i++) {
        uint64_t s = cim_inst_uint(l.v[i], CIM_P_MSVM_CONCRETEJOB_JOBSTATE, 0);
        n += cim_inst_uint(l.v[i], CIM_P_MSVM_CONCRETEJOB_JOBTYPE, 0) == type &&
             (s == 2 || s == 4) &&
             cim_value_bool(cim_inst_value(l.v[i], CIM_P_MSVM_CONCRETEJOB_CANCELLABLE), false);
    }
    cim_list_done(&l);
    return n;
}

/* ---- the ten rules ---- */
static void rule_1_every_machine_has_settings_and_relationship(void **st)
{
    struct world *w = *st;
    static const char *const vms[] = { VM(WEB), VM(DB), VM(ODD) };

    for (size_t i = 0; i < VR_ARRAY_LEN(vms); i++) {
        assert_int_equal(n_of(w, vms[i], "Msvm_ElementSettingData", "Msvm_ReplicationSettingData"),
                         1);
        assert_int_equal(n_of(w, vms[i], "Msvm_SystemReplicationRelationship", NULL), 1);
    }
    assert_int_equal(num(w, REL_PATH(WEB, "0"), "ReplicationState"), 0);
    make_replica(w);
    assert_string_equal(txt(w, FRSD_PATH(WEB, "1"), "InstanceID"), "Microsoft:" WEB "\\HVR\\1");
    assert_int_equal(num(w, REL_PATH(WEB, "1"), "ReplicationState"), 0);
}

static void rule_2_keys_are_those_of_the_schema(void **st)
{
    static const struct {
        const char *cls, *keys;
    } all[] = {
        { "Msvm_ReplicationService", "SystemCreationClassName SystemName CreationClassName Name" },
        { "Msvm_ReplicationServiceSettingData", "InstanceID" },
        { "Msvm_ReplicationSettingData", "InstanceID" },
        { "Msvm_ReplicationRelationship", "InstanceID" },
        { "Msvm_ReplicationAuthorizationSettingData", "InstanceID" },
        { "Msvm_ReplicationProvider", "Name" },
        { "Msvm_ReplicationStatistics", "" },
        { "Msvm_FailoverNetworkAdapterSettingData", "InstanceID" },
        { "Msvm_ComputerSystem", "CreationClassName Name" },
        { "Msvm_ConcreteJob", "InstanceID" },
        { "Msvm_VirtualSystemSettingData", "InstanceID" },
        { "Msvm_StorageAllocationSettingData", "InstanceID" },
        { "Msvm_VirtualSystemCollection", "CollectionID" },
        { "Msvm_ElementSettingData", "ManagedElement SettingData" },
    };

    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++) {
        const struct cim_class *c = cim_class_find(all[i].cls);
        vr_autofree char *want = vr_strdup(all[i].keys);
        char *save = NULL;
        size_t n = 0;
        assert_non_null(c);
        for (char *k = strtok_r(want, " ", &save); k; k = strtok_r(NULL, " ", &save), n++) {
            int p = cim_class_prop(c, k);
            if (p < 0 || !(c->props[p].flags & CIM_F_KEY))
                fail_msg("%s.%s is no key", c->name, k);
        }
        assert_int_equal(c->n_keys, n);
    }
    /* case does not matter, neither in names nor in values */
    struct world *w = *st;
    assert_string_equal(
        txt(w, "msvm_computersystem.NAME=\"6e7a2f20-1111-4222-8333-00000000000a\"", "ElementName"),
        "web");
}

static void rule_3_disks_and_providers_are_object_paths(void **st)
{
    struct world *w = *st;

    done(w, ASK(w, "CreateReplicationRelationship", "ReplicationSettingData",
                FRSD0 TO_HOSTB "|IncludedDisks=" DISK(WEB, "vda")));
    assert_non_null(strstr(txt(w, FRSD_PATH(WEB, "0"), "IncludedDisks"),
                           ":Msvm_StorageAllocationSettingData.InstanceID=\"Microsoft:"));
    const char *provider = txt(w, FRSD_PATH(WEB, "0"), "ReplicationProvider");
    const char suffix[] = "\"22391CDC-272C-4DDF-BA88-9BEFB1A0975C\"";
    assert_true(strlen(provider) > strlen(suffix));
    assert_string_equal(provider + strlen(provider) - strlen(suffix), suffix);
    /* a bare InstanceID is understood as well */
    w = again(st);
    done(w, ASK(w, "CreateReplicationRelationship", "ReplicationSettingData",
                FRSD0 TO_HOSTB "|IncludedDisks=Microsoft:" WEB "\\vdb\\L"));
    assert_non_null(strstr(txt(w, FRSD_PATH(WEB, "0"), "IncludedDisks"), "vdb"));
}

static void rule_4_what_cannot_be_set_comes_back_and_is_ignored(void **st)
{
    struct world *w = *st;

    make_replicating(w);
    done(w, ASK(w, "ModifyReplicationSettings", "ReplicationSettingData",
                FRSD0 "|ElementName=other|PrimaryHostSystem=elsewhere|RecoveryHostSystem=nowhere"
                      "|RootCertificateThumbPrint=00|VirtualSystemType=x|RecoveryHistory=2"));
    assert_int_equal(num(w, FRSD_PATH(WEB, "0"), "RecoveryHistory"), 2);
    assert_string_equal(txt(w, FRSD_PATH(WEB, "0"), "ElementName"), "web");
    assert_string_equal(txt(w, FRSD_PATH(WEB, "0"), "PrimaryHostSystem"), "hosta");
    assert_string_equal(txt(w, FRSD_PATH(WEB, "0"), "RecoveryHostSystem"), "hostb");
    /* MOF is no form of an embedded instance */
    assert_int_equal(ASK(w, "ModifyReplicationSettings", "ReplicationSettingData",
                         "instance of Msvm_ReplicationSettingData {};"),
                     32773);
}

/* What is NULL, written as the MI client writes it. The caller frees. */
static char *with_null_arrays(const char *xml)
{
    static const char of_null[] = "><VALUE.ARRAY><VALUE.NULL/></VALUE.ARRAY></PROPERTY.ARRAY>";
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    const char *at;

    while ((at = strstr(xml, "<PROPERTY.ARRAY "))) {
        const char *close = at + strcspn(at, ">");
        bool null = close[-1] == '/';
        vr_buf_add(&b, xml, (size_t)(close - null - xml), NULL);
        vr_buf_add(&b, null ? of_null : ">", null ? sizeof of_null - 1 : 1, NULL);
        xml = close + 1;
    }
    vr_buf_add(&b, xml, strlen(xml), NULL);
    return vr_strdup((char *)b.data);
}

static void rule_4_null_arrays_come_back_as_arrays_of_null(void **st)
{
    struct world *w = *st;

    make_replicating(w);
    vr_autofree char *rel = arg_text(w, "+" REL_PATH(WEB, "0"));
    vr_autofree char *set = arg_text(w, FRSD0 "|RecoveryHistory=2");
    vr_autofree char *r = with_null_arrays(rel), *s = with_null_arrays(set);
    assert_non_null(strstr(r, "<VALUE.NULL/>"));
    assert_non_null(strstr(s, "<VALUE.NULL/>"));
    done(w, SVC(w, WEB, "ModifyReplicationSettings", { "ReplicationSettingData", s }));
    assert_int_equal(num(w, FRSD_PATH(WEB, "0"), "RecoveryHistory"), 2);
    assert_int_equal(SVC(w, WEB, "GetReplicationStatisticsEx", { "ReplicationRelationship", r }),
                     0);
    assert_int_equal(SVC(w, WEB, "ResetReplicationStatisticsEx", { "ReplicationRelationship", r }),
                     0);
    done(w, CALL(w, VM(WEB), "RequestReplicationStateChangeEx", { "ReplicationRelationship", r },
                 { "RequestedState", "7" }));
    assert_int_equal(state(w, WEB), 7);
    done(w, SVC(w, WEB, "RemoveReplicationRelationshipEx", { "ReplicationRelationship", r }));
    assert_int_equal(state(w, WEB), 0);
}

#define VALUE_OF(name, v) \
    "<PROPERTY NAME=\"" name "\" TYPE=\"string\"><VALUE>" v "</VALUE></PROPERTY>"
#define OF_CLASS(cls, id, rest) \
    "<INSTANCE CLASSNAME=\"" cls "\">" VALUE_OF("InstanceID", id) rest "</INSTANCE>"

/* Also what cannot even be read, where nobody reads it. */
static void rule_4_unreadable_values_of_what_cannot_be_set_are_ignored(void **st)
{
    static const char rel[] =
        OF_CLASS("Msvm_ReplicationRelationship", "Microsoft:" WEB "\\HVR\\0",
                 VALUE_OF("LastApplyTime", "yesterday") VALUE_OF("ReplicationState", "-1"));
    static const char set[] =
        OF_CLASS("Msvm_ReplicationSettingData", "Microsoft:" WEB "\\HVR\\0",
                 VALUE_OF("AutomaticStartupAction", "soon") VALUE_OF("CreationTime", "now")
                     VALUE_OF("RecoveryHistory", "3"));
    static const char bad[] = OF_CLASS("Msvm_ReplicationSettingData", "Microsoft:" WEB "\\HVR\\0",
                                       VALUE_OF("RecoveryHistory", "many"));
    static const char connection[] =
        OF_CLASS("Msvm_EthernetPortAllocationSettingData", "Microsoft:" WEB "\\" NIC "\\C",
                 VALUE_OF("Weight", "heavy") VALUE_OF("TestReplicaSwitchName", "lab"));
    static const char service[] =
        OF_CLASS("Msvm_ReplicationServiceSettingData", "x", VALUE_OF("MonitoringInterval", "7200"));
    struct world *w = *st;

    make_replicating(w);
    assert_int_equal(SVC(w, WEB, "GetReplicationStatisticsEx", { "ReplicationRelationship", rel }),
                     0);
    done(w, SVC(w, WEB, "ModifyReplicationSettings", { "ReplicationSettingData", set }));
    assert_int_equal(num(w, FRSD_PATH(WEB, "0"), "RecoveryHistory"), 3);
    assert_int_equal(SVC(w, WEB, "ModifyReplicationSettings", { "ReplicationSettingData", bad }),
                     32773);
    done(w, CALL(w, "Msvm_VirtualSystemManagementService=@", "ModifyResourceSettings",
                 { "ResourceSettings", connection }));
    assert_string_equal(txt(w, NIC_CONNECTION, "TestReplicaSwitchName"), "lab");
    done(w,
         CALL(w, "Msvm_ReplicationService=@", "ModifyServiceSettings", { "SettingData", service }));
}

static void rule_5_job_exactly_with_4096(void **st)
{
    struct world *w = *st;

    make_replica(w);
    assert_int_equal(SVC(w, WEB, "GetReplicationStatisticsEx"), 0);
    assert_null(cim_args_ref(w->args, "Job"));
    assert_int_equal(SVC(w, WEB, "CommitFailover"), 32775);
    assert_null(cim_args_ref(w->args, "Job"));
    assert_int_equal(SVC(w, WEB, "TestReplicaSystem"), 4096);
    assert_non_null(cim_args_ref(w->args, "Job"));
    assert_null(cim_args_ref(w->args, "ResultingSystem"));
}

static void rule_6_statistics_at_once(void **st)
{
    static void (*const ways[])(struct world *) = {
        make_ready,         make_copying,        make_replicating,     make_prepared,
        make_paused,        make_critical,       make_needing_resync,  make_resynchronizing,
        make_resync_paused, make_updating,       make_update_critical, make_waiting,
        make_replica,       make_replica_paused, make_replica_resync,  make_replica_updating,
        make_failing_over,  make_failed_over,    make_committed
    };
    struct world *w = *st;

    for (size_t i = 0; i < VR_ARRAY_LEN(ways); i++) {
        ways[i](w);
        assert_int_equal(SVC(w, WEB, "GetReplicationStatisticsEx"), 0);
        assert_int_equal(cim_args_at(w->args, "ReplicationStatistics")->n, 1);
        assert_false(cim_args_at(w->args, "ReplicationHealthIssues")->is_null);
        w = again(st);
    }
}

/* Methods without a relationship act on the first one of a primary, and on the second of a replica
 * where they begin something; the second is never enabled here. */
static void rule_7_plain_methods_choose_the_relationship(void **st)
{
    struct world *w = *st;

    make_replica(w);
    /* \HVR\1: not carried */
    assert_int_equal(ASK(w, "CreateReplicationRelationship", "ReplicationSettingData",
                         "+" FRSD_PATH(WEB, "1") TO_HOSTB),
                     32770);
    assert_int_equal(SVC(w, WEB, "StartReplication", { "InitialReplicationType", "1" }), 32770);
    assert_non_null(strstr(refusal(w), "not replicated any further"));
    assert_int_equal(SVC(w, WEB, "Resynchronize"), 32770);
    assert_non_null(strstr(refusal(w), "not replicated any further"));
    assert_int_equal(
        ASK(w, "ModifyReplicationSettings", "ReplicationSettingData", FRSD0 "|RecoveryHistory=1"),
        32775);
    /* \HVR\0 */
    assert_int_equal(SVC(w, WEB, "GetReplicationStatistics"), 0);
    assert_int_equal(SVC(w, WEB, "ResetReplicationStatistics"), 0);
    done(w, CALL(w, VM(WEB), "RequestReplicationStateChange", { "RequestedState", "7" }));
    assert_int_equal(state(w, WEB), 7);
    done(w, SVC(w, WEB, "RemoveReplicationRelationship"));
    assert_int_equal(mode(w, WEB), 0);
}

static void rule_8_requested_states(void **st)
{
    static const struct {
        void (*situation)(struct world *);
        const char *requested;
        unsigned then;
        bool held;
    } all[] = {
        { make_replicating, "7", 7, false },      { make_paused, "3", 3, false },
        { make_resynchronizing, "9", 9, false },  { make_copying, "1", 1, false },
        { make_replicating, "4", 4, false },      { make_nothing, "2", 2, false },
        { make_resynchronizing, "7", 11, false }, { make_resync_paused, "3", 10, true },
        { make_update_critical, "15", 15, true }, { make_update_critical, "15", 3, false },
    };
    struct world *w = *st;

    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++) {
        all[i].situation(w);
        w->hold = all[i].held ? FX_SHIP : w->hold;
        assert_int_equal(rq(w, all[i].requested), 4096);
        pump(w);
        assert_int_equal(state(w, WEB), all[i].then);
        w = again(st);
    }
    make_replicating(w);
    assert_int_equal(rq(w, "15"), 32775); /* no change of disks failed */
    assert_int_equal(rq(w, "5"), 32773);
    assert_int_equal(rq(w, "0"), 32773);
}

/* Both hosts: tests/system/main.test.sh, reverse.test.sh. */
static void rule_9_reverse_is_called_on_the_replica(void **st)
{
    struct world *w = *st;

    make_prepared(w);
    assert_int_equal(
        ASK(w, "ReverseReplicationRelationship", "ReplicationSettingData", FRSD0 TO_HOSTB), 32775);
    w = again(st);
    make_failed_over(w); /* planned: nothing need be copied */
    done(w, ASK(w, "ReverseReplicationRelationship", "ReplicationSettingData", FRSD0 TO_HOSTB));
    assert_int_equal(mode(w, WEB), 1);
    assert_int_equal(state(w, WEB), 3);
    w = again(st);
    make_failed_over(w); /* unplanned: the other side is a seed, StartReplication must follow */
    w->seeded = true;
    done(w, ASK(w, "ReverseReplicationRelationship", "ReplicationSettingData", FRSD0 TO_HOSTB));
    assert_int_equal(mode(w, WEB), 1);
    assert_int_equal(state(w, WEB), 1);
    done(w, SVC(w, WEB, "StartReplication", { "InitialReplicationType", "3" }));
    assert_int_equal(state(w, WEB), 3);
}

/* Whoever else starts the machine meets the guard: tests/system/power.test.sh. */
static void rule_10_power_on_is_refused(void **st)
{
    static void (*const locked[])(struct world *) = { make_prepared,       make_waiting,
                                                      make_replica,        make_replica_paused,
                                                      make_waiting_paused, make_failing_over };
    struct world *w = *st;

    for (size_t i = 0; i < VR_ARRAY_LEN(locked); i++) {
        locked[i](w);
        assert_int_equal(CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", "2" }), 32775);
        w = again(st);
    }
    make_failed_over(w);
    done(w, CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", "2" }));
    assert_int_equal(w->action, HV_START);
}

/* ---- the fourteen points ---- */
/* What Get-VMReplication reads, in every state. */
static void g_1_get_in_every_state(void **st)
{
    static void (*const ways[])(struct world *) = {
        make_nothing,          make_ready,
        make_scheduled,        make_copying,
        make_copy_paused,      make_replicating,
        make_prepared,         make_paused,
        make_critical,         make_copy_critical,
        make_needing_resync,   make_resynchronizing,
        make_resync_paused,    make_waiting,
        make_replica,          make_replica_paused,
        make_waiting_paused,   make_failing_over,
        make_failed_over,      make_committed,
        make_reversing,        make_tested,
        make_updating,         make_update_critical,
        make_replica_updating, make_replica_critical,
        make_replica_resync,   make_replica_resync_paused,
    };
    bool seen[17] = { false };
    struct world *w = *st;

    for (size_t i = 0; i < VR_ARRAY_LEN(ways); i++) {
        ways[i](w);
        struct cim_list l =
            walk(w, VM(WEB), "Msvm_ElementSettingData", "Msvm_ReplicationSettingData");
        assert_int_equal(l.n, mode(w, WEB) == 2 ? 2 : 1);
        for (size_t k = 0; k < l.n; k++) {
            vr_auto(cim_path_free) struct cim_path *p = cim_inst_path(l.v[k]);
            vr_autofree char *path = cim_path_fmt(p, NULL);
            assert_int_equal(
                n_of(w, path, "Msvm_SettingsDefineState", "Msvm_ReplicationRelationship"), 1);
            assert_int_equal(n_of(w, path, "Msvm_ElementSettingData", "Msvm_ComputerSystem"), 1);
        }
        cim_list_done(&l);
        uint64_t s = num(w, REL_PATH(WEB, "0"), "ReplicationState");
        assert_in_range(s, 0, 16);
        seen[s] = true;
        assert_int_equal(num(w, VM(WEB), "ReplicationState"), s);
        assert_int_equal(num(w, REL_PATH(WEB, "0"), "ReplicationHealth") == 0, s == 0);
        w = again(st);
    }
    for (size_t s = 0; s < VR_ARRAY_LEN(seen); s++) /* 13 and 14 are of external providers */
        assert_int_equal(seen[s], s != 13 && s != 14);
}

static void g_2_enable_start_measure_suspend_resume_remove(void **st)
{
    struct world *w = *st;

    done(w, ASK(w, "CreateReplicationRelationship", "ReplicationSettingData", FRSD0 TO_HOSTB));
    assert_string_equal(txt(w, REL_PATH(WEB, "0"), "LastReplicationTime"), "(null)");
    done(w, SVC(w, WEB, "StartReplication", { "InitialReplicationType", "1" }));
    assert_string_not_equal(txt(w, REL_PATH(WEB, "0"), "LastReplicationTime"), "(null)");
    assert_int_equal(SVC(w, WEB, "GetReplicationStatisticsEx"), 0);
    done(w, rq(w, "7"));
    assert_int_equal(state(w, WEB), 7);
    done(w, rq(w, "3"));
    assert_int_equal(state(w, WEB), 3);
    done(w, SVC(w, WEB, "RemoveReplicationRelationship"));
    assert_int_equal(state(w, WEB), 0);
    assert_string_equal(txt(w, FRSD_PATH(WEB, "0"), "AuthenticationType"), "(null)");
}

static void g_3_scheduled_copy_is_cancelled_by_its_job(void **st)
{
    struct world *w = *st;

    make_scheduled(w);
    assert_int_equal(is_running(w, 94), 1);
    vr_autofree char *job = arg_text(w, ARG_JOB);
    assert_string_not_equal(txt(w, job, "ScheduledStartTime"), "(null)");
    assert_int_equal(CALL(w, job, "RequestStateChange", { "RequestedState", "4" }), 0);
    pump(w);
    assert_int_equal(num(w, job, "JobState"), 8);
    assert_int_equal(state(w, WEB), 1);
    assert_int_equal(is_running(w, 94), 0);
}

static void g_4_prepare_and_back(void **st)
{
    struct world *w = *st;

    make_prepared(w);
    done(w, SVC(w, WEB, "RevertFailover"));
    assert_int_equal(state(w, WEB), 3);
    done(w, CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", "2" }));
    w->vm[0].power = HV_POWER_RUNNING;
    assert_int_equal(rq(w, "4"), 32775); /* not off */
}

/* And back again, with bytes: tests/system/main.test.sh, reverse.test.sh. */
static void g_5_planned_failover_with_and_without_complete(void **st)
{
    struct world *w = *st;

    make_failed_over(w);
    assert_int_equal(num(w, REL_PATH(WEB, "0"), "FailedOverReplicationType"), 3);
    done(w, ASK(w, "ReverseReplicationRelationship", "ReplicationSettingData", FRSD0 TO_HOSTB));
    assert_int_equal(mode(w, WEB), 1);
    w = again(st);
    make_committed(w);
    done(w, ASK(w, "ReverseReplicationRelationship", "ReplicationSettingData", FRSD0 TO_HOSTB));
    assert_int_equal(mode(w, WEB), 1);
    assert_int_equal(state(w, WEB), 3);
    assert_int_equal(num(w, REL_PATH(WEB, "0"), "FailedOverReplicationType"), 0);
    /* and back: prepare here */
    done(w, rq(w, "4"));
    assert_int_equal(state(w, WEB), 4);
}

static void g_6_unplanned_to_an_older_point_and_reverse(void **st)
{
    struct world *w = *st;

    make_replica(w);
    done(w, ASK(w, "InitiateFailover", "SnapshotSettingData", ARG_POINT));
    assert_int_equal(num(w, REL_PATH(WEB, "0"), "FailedOverReplicationType"), 1);
    done(w, SVC(w, WEB, "RevertFailover"));
    assert_int_equal(state(w, WEB), 3);
    done(w, ASK(w, "InitiateFailover", "SnapshotSettingData", ARG_POINT));
    done(w, SVC(w, WEB, "CommitFailover"));
    assert_int_equal(SVC(w, WEB, "RevertFailover"), 32775);
    w->seeded = true; /* the old primary was turned into a replica: rule 8, "2" */
    done(w, ASK(w, "ReverseReplicationRelationship", "ReplicationSettingData", FRSD0 TO_HOSTB));
    assert_int_equal(state(w, WEB), 1);
    done(w, SVC(w, WEB, "StartReplication", { "InitialReplicationType", "3" }));
    assert_int_equal(state(w, WEB), 3);
    /* a point of nobody */
    w = again(st);
    make_replica(w);
    assert_int_equal(SVC(w, WEB, "InitiateFailover",
                         { "SnapshotSettingData",
                           "Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:" DB "\"" }),
                     32773);
}

static void g_7_one_test_failover_at_a_time(void **st)
{
    struct world *w = *st;

    make_tested(w);
    assert_int_equal(mode(w, TEST_VM), 3);
    assert_int_equal(n_of(w, VM(WEB), "Msvm_ReplicaSystemDependency", NULL), 1);
    assert_int_equal(SVC(w, WEB, "TestReplicaSystem"), 32775);
    assert_int_equal(state(w, WEB), 3); /* replication goes on */
    done(w, CALL(w, VSMS, "DestroySystem", { "AffectedSystem", VM(TEST_VM) }));
    assert_int_equal(n_of(w, VM(WEB), "Msvm_ReplicaSystemDependency", NULL), 0);
    done(w, SVC(w, WEB, "TestReplicaSystem"));
}

static void g_8_power_on_of_both_sides(void **st)
{
    rule_10_power_on_is_refused(st);
}

/* Recovery points survive it: tests/system/resync.test.sh. */
static void g_9_resynchronize_schedule_cancel_pause_continue(void **st)
{
    struct cim_datetime dt = cim_datetime_at((struct wall_us){ vr_wall_now().us + 3600000000 });
    char later[CIM_DATETIME_STR];
    struct world *w = *st;

    make_paused(w);
    assert_int_equal(SVC(w, WEB, "Resynchronize", { "StartTime", cim_datetime_fmt(&dt, later) }),
                     4096);
    pump(w);
    assert_int_equal(state(w, WEB), 9);
    assert_int_equal(num(w, REL_PATH(WEB, "0"), "ReplicationHealth"), 3);
    assert_int_equal(is_running(w, 107), 1);
    vr_autofree char *job = arg_text(w, ARG_JOB);
    assert_int_equal(CALL(w, job, "RequestStateChange", { "RequestedState", "4" }), 0);
    pump(w);
    assert_int_equal(state(w, WEB), 9);
    assert_int_equal(is_running(w, 107), 0);
    w->hold = FX_SHIP;
    assert_int_equal(SVC(w, WEB, "Resynchronize"), 4096);
    pump(w);
    assert_int_equal(state(w, WEB), 10);
    assert_int_equal(rq(w, "7"), 4096);
    pump(w);
    assert_int_equal(state(w, WEB), 11);
    w->hold = 0;
    assert_int_equal(rq(w, "3"), 4096);
    pump(w);
    assert_int_equal(state(w, WEB), 3);
    assert_int_equal(SVC(w, WEB, "Resynchronize"), 32775); /* a healthy one is paused first */
}

/* Not carried: every door is there and says so. */
static void g_10_extended_replication_is_refused(void **st)
{
    struct world *w = *st;

    make_replica(w);
    assert_int_equal(ASK(w, "CreateReplicationRelationship", "ReplicationSettingData",
                         "+" FRSD_PATH(WEB, "1") TO_HOSTB),
                     32770);
    assert_non_null(strstr(refusal(w), "third host"));
    assert_int_equal(
        ASK(w, "ChangeReplicationModeToPrimary", "ReplicationRelationship", "+" REL_PATH(WEB, "1")),
        32770);
    /* the second relationship is in state 0, where nothing else is legal */
    assert_int_equal(ASK(w, "RemoveReplicationRelationshipEx", "ReplicationRelationship",
                         "+" REL_PATH(WEB, "1")),
                     32775);
    assert_int_equal(
        ASK(w, "GetReplicationStatisticsEx", "ReplicationRelationship", "+" REL_PATH(WEB, "1")),
        32775);
    vr_autofree char *rel1 = arg_text(w, "+" REL_PATH(WEB, "1"));
    static const char *const requests[] = { "1", "2", "3", "4", "7", "9", "15" };
    for (size_t i = 0; i < VR_ARRAY_LEN(requests); i++)
        assert_int_equal(CALL(w, VM(WEB), "RequestReplicationStateChangeEx",
                              { "ReplicationRelationship", rel1 },
                              { "RequestedState", requests[i] }),
                         32770);
    assert_non_null(strstr(refusal(w), "not replicated any further"));
    assert_int_equal(CALL(w, VM(WEB), "RequestReplicationStateChangeEx",
                          { "ReplicationRelationship", rel1 }, { "RequestedState", "5" }),
                     32773);
    assert_int_equal(state(w, WEB), 3);
}

/* Between two hosts: tests/system/service.test.sh. */
static void g_11_authorization_entries(void **st)
{
    struct world *w = *st;
    vr_autofree char *any = arg_text(w, "+" ENTRY_OF("*", "DEFAULT", "/srv/any"));
    vr_autofree char *one = arg_text(w, "+" ENTRY_OF("hostb", "red", "/srv/red"));
    struct vr_err err = VR_ERR_INIT;

    done(w, CALL(w, SERVICE, "AddAuthorizationEntry", { "AuthorizationEntry", any }));
    assert_int_equal(CALL(w, SERVICE, "AddAuthorizationEntry", { "AuthorizationEntry", one }),
                     32773);
    done(w, CALL(w, SERVICE, "RemoveAuthorizationEntry", { "AllowedPrimaryHostSystem", "*" }));
    done(w, CALL(w, SERVICE, "AddAuthorizationEntry", { "AuthorizationEntry", one }));
    assert_int_equal(CALL(w, SERVICE, "AddAuthorizationEntry", { "AuthorizationEntry", any }),
                     32773);
    make_replica(w);
    done(w, SVC(w, WEB, "SetAuthorizationEntry", { "AuthorizationEntry", one }));
    assert_int_equal(
        n_of(w, VM(WEB), "Msvm_ElementSettingData", "Msvm_ReplicationAuthorizationSettingData"), 1);
    /* another host of the same trust group is accepted, one of another is not */
    vr_autofree char *same = arg_text(w, "+" ENTRY_OF("hostc", "red", "/srv/c"));
    vr_autofree char *other = arg_text(w, "+" ENTRY_OF("hostd", "blue", "/srv/d"));
    done(w, CALL(w, SERVICE, "AddAuthorizationEntry", { "AuthorizationEntry", same }));
    done(w, CALL(w, SERVICE, "AddAuthorizationEntry", { "AuthorizationEntry", other }));
    const struct vr_uuid *web = &w->vm[0].uuid;
    assert_int_equal(hostset_admit(w->host.set, 1, &(struct hostset_sender){ "hostc", NULL, true },
                                   web, false, NULL, &err),
                     0);
    assert_int_equal(hostset_admit(w->host.set, 1, &(struct hostset_sender){ "hostd", NULL, true },
                                   web, false, NULL, &err),
                     -1);
    assert_int_equal(err.kind, VR_E_AUTH);
    vr_err_clear(&err);
    /* removing the entry ends it for the machines bound to it */
    done(w, CALL(w, SERVICE, "RemoveAuthorizationEntry", { "AllowedPrimaryHostSystem", "hostb" }));
    assert_int_equal(hostset_admit(w->host.set, 1, &(struct hostset_sender){ "hostb", NULL, true },
                                   web, false, NULL, &err),
                     -1);
    assert_int_equal(err.kind, VR_E_AUTH);
}

static void g_12_errors_are_readable(void **st)
{
    struct world *w = *st;

    assert_int_equal(SVC(w, WEB, "CommitFailover"), 32775);
    assert_true(strlen(refusal(w)) > 10);
    make_ready(w);
    w->fail[FX_BIT_CAPTURE] = VR_E_AUTH;
    assert_int_equal(
        job_error(w, SVC(w, WEB, "StartReplication", { "InitialReplicationType", "1" })), 32769);
    vr_autofree char *job = arg_text(w, ARG_JOB);
    assert_int_equal(num(w, job, "JobState"), 10);
    assert_string_not_equal(txt(w, job, "ErrorDescription"), "(null)");
    assert_string_not_equal(txt(w, job, "ErrorSummaryDescription"), "(null)");
    assert_int_equal(CALL(w, job, "GetErrorEx"), 0);
    assert_int_equal(cim_args_at(w->args, "Errors")->n, 2);
    vr_auto(cim_inst_free) struct cim_inst *e = first_embedded(w, "Errors", "Msvm_Error");
    assert_non_null(cim_inst_str(e, CIM_P_MSVM_ERROR_MESSAGE));
}

/* The dialects: CIM DTD 2.0, WMI DTD 2.0 with system properties, the serializer of PowerShell with
 * a class in front; escapings on the wire: tests/wsman 063 to 065. */
static void g_13_dialects_of_embedded_instances(void **st)
{
#define PROP(name, type, value) \
    "<PROPERTY NAME=\"" name "\" TYPE=\"" type "\"><VALUE>" value "</VALUE></PROPERTY>"
#define BODY                                           \
    PROP("AuthenticationType", "uint16", "2")          \
    PROP("RecoveryConnectionPoint", "string", "hostb") \
    PROP("RecoveryServerPortNumber", "uint16", "4433")
    static const char *const texts[] = {
        "<INSTANCE CLASSNAME=\"Msvm_ReplicationSettingData\"><QUALIFIER NAME=\"dynamic\" "
        "TYPE=\"boolean\"><VALUE>true</VALUE></QUALIFIER>" BODY
        "<PROPERTY NAME=\"CertificateThumbPrint\" TYPE=\"string\"></PROPERTY></INSTANCE>",
        "<INSTANCE CLASSNAME=\"Msvm_ReplicationSettingData\">"
        "<PROPERTY NAME=\"__PATH\" CLASSORIGIN=\"___SYSTEM\" TYPE=\"string\"><VALUE>x</VALUE>"
        "</PROPERTY><PROPERTY.ARRAY NAME=\"__DERIVATION\" CLASSORIGIN=\"___SYSTEM\" "
        "TYPE=\"string\"><VALUE.ARRAY><VALUE>CIM_VirtualSystemSettingData</VALUE></VALUE.ARRAY>"
        "</PROPERTY.ARRAY>" BODY "</INSTANCE>",
        "<?xml version=\"1.0\" encoding=\"utf-16\"?><CIM CIMVERSION=\"2.0\" DTDVERSION=\"2.0\">"
        "<DECLARATION><DECLGROUP><VALUE.OBJECT><CLASS NAME=\"Msvm_ReplicationSettingData\"/>"
        "</VALUE.OBJECT><VALUE.OBJECT><INSTANCE CLASSNAME=\"Msvm_ReplicationSettingData\">"
        "<PROPERTY NAME=\"RecoveryHistory\" TYPE=\"uint16\" MODIFIED=\"TRUE\"><VALUE>3</VALUE>"
        "</PROPERTY>" BODY "</INSTANCE></VALUE.OBJECT></DECLGROUP></DECLARATION></CIM>",
    };
    struct world *w = *st;

    for (size_t i = 0; i < VR_ARRAY_LEN(texts); i++) {
        done(w,
             SVC(w, WEB, "CreateReplicationRelationship", { "ReplicationSettingData", texts[i] }));
        assert_int_equal(state(w, WEB), 1);
        assert_int_equal(num(w, FRSD_PATH(WEB, "0"), "RecoveryHistory"), i == 2 ? 3 : 0);
        w = again(st);
    }
    /* NULL is not empty: no disks at all is refused, no property means all */
    assert_int_equal(
        SVC(w, WEB, "CreateReplicationRelationship",
            { "ReplicationSettingData",
              "<INSTANCE CLASSNAME=\"Msvm_ReplicationSettingData\">" BODY
              "<PROPERTY.ARRAY NAME=\"IncludedDisks\" TYPE=\"string\"><VALUE.ARRAY></VALUE.ARRAY>"
              "</PROPERTY.ARRAY></INSTANCE>" }),
        32773);
    done(w, SVC(w, WEB, "CreateReplicationRelationship",
                { "ReplicationSettingData",
                  "<INSTANCE CLASSNAME=\"Msvm_ReplicationSettingData\">" BODY
                  "<PROPERTY.ARRAY NAME=\"IncludedDisks\" TYPE=\"string\"></PROPERTY.ARRAY>"
                  "</INSTANCE>" }));
#undef PROP
#undef BODY
}

/* The daemon is killed in these states with real disks in tests/system/restart.test.sh and
 * crash.test.sh; here the engine forgets all but what was written down. */
static void g_14_restart_in_transient_states(void **st)
{
    static const struct {
        void (*situation)(struct world *);
        unsigned then; /* after the restart, when nothing is held any more */
        unsigned mode;
    } all[] = {
        { make_copying, 3, 1 },
        { make_resynchronizing, 3, 1 },
        { make_failing_over, 5, 2 },
        { make_reversing, 3, 1 },
        { make_updating, 3, 1 },
        { make_replica_updating, 15, 2 }, /* until the primary sends again */
    };
    struct world *w = *st;

    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++) {
        all[i].situation(w);
        world_restart(w);
        w->hold = 0;
        pump(w);
        if (state(w, WEB) != all[i].then || mode(w, WEB) != all[i].mode)
            fail_msg("%zu: state %u, mode %u after the restart", i, state(w, WEB), mode(w, WEB));
        w = again(st);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, world_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(rule_1_every_machine_has_settings_and_relationship),
        T(rule_2_keys_are_those_of_the_schema),
        T(rule_3_disks_and_providers_are_object_paths),
        T(rule_4_what_cannot_be_set_comes_back_and_is_ignored),
        T(rule_4_null_arrays_come_back_as_arrays_of_null),
        T(rule_4_unreadable_values_of_what_cannot_be_set_are_ignored),
        T(rule_5_job_exactly_with_4096),
        T(rule_6_statistics_at_once),
        T(rule_7_plain_methods_choose_the_relationship),
        T(rule_8_requested_states),
        T(rule_9_reverse_is_called_on_the_replica),
        T(rule_10_power_on_is_refused),
        T(g_1_get_in_every_state),
        T(g_2_enable_start_measure_suspend_resume_remove),
        T(g_3_scheduled_copy_is_cancelled_by_its_job),
        T(g_4_prepare_and_back),
        T(g_5_planned_failover_with_and_without_complete),
        T(g_6_unplanned_to_an_older_point_and_reverse),
        T(g_7_one_test_failover_at_a_time),
        T(g_8_power_on_of_both_sides),
        T(g_9_resynchronize_schedule_cancel_pause_continue),
        T(g_10_extended_replication_is_refused),
        T(g_11_authorization_entries),
        T(g_12_errors_are_readable),
        T(g_13_dialects_of_embedded_instances),
        T(g_14_restart_in_transient_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
