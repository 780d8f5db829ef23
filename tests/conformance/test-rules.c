/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ten rules that an implementer must not miss, each under its own number, with the real engine
 * and providers. What needs two hosts has its other half in tests/system; what is checked there is
 * named. src:[contract.md section 0] */
#include "rules.h"

#include "base/buf.h"

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

static void rule_10_power_on_is_refused(void **st)
{
    power_on_of_both_sides(st);
}

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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
