/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The fourteen points of the checklist, each under its own number, with the real engine and
 * providers. What needs two hosts has its other half in tests/system; what is checked there is
 * named. src:[contract.md section G] */
#include "rules.h"

#include "cim/cimxml.h"

#define SERVICE "Msvm_ReplicationService=@"
#define VSMS "Msvm_VirtualSystemManagementService=@"

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
    power_on_of_both_sides(st);
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

/* An object path in place of an instance stands for that instance as it is. */
static void g_13_references_to_instances(void **st)
{
    static const char *const bad[] = {
        REL_PATH(WEB, "7"),
        REL_PATH(DB, "0"), /* of another machine */
        "Msvm_ReplicationRelationship",
        "Msvm_ReplicationRelationship.Name=\"x\"",
        "Msvm_Nothing.InstanceID=\"x\"",
        "CIM_ManagedElement.InstanceID=\"Microsoft:" WEB "\\\\HVR\\\\0\"",
        "instance of Msvm_ReplicationRelationship { };",
    };
    struct world *w = *st;

    make_replicating(w);
    for (size_t i = 0; i < VR_ARRAY_LEN(bad); i++)
        assert_int_equal(
            SVC(w, WEB, "GetReplicationStatisticsEx", { "ReplicationRelationship", bad[i] }),
            32773);
    assert_int_equal(
        SVC(w, WEB, "GetReplicationStatisticsEx", { "ReplicationRelationship", VM(WEB) }), 32773);
    assert_int_equal(SVC(w, WEB, "GetReplicationStatisticsEx",
                         { "ReplicationRelationship", FRSD_PATH(WEB, "0") }),
                     32776);
    assert_int_equal(SVC(w, WEB, "GetReplicationStatisticsEx",
                         { "ReplicationRelationship", REL_PATH(WEB, "0") }),
                     0);
    assert_int_equal(CALL(w, VM(WEB), "RequestReplicationStateChangeEx",
                          { "ReplicationRelationship",
                            "\\\\HOSTA\\root\\virtualization\\v2:" REL_PATH(WEB, "0") },
                          { "RequestedState", "7" }),
                     4096);
    pump(w);
    assert_int_equal(state(w, WEB), 7);
    /* nothing is another than it is */
    done(w, SVC(w, WEB, "ModifyReplicationSettings",
                { "ReplicationSettingData", FRSD_PATH(WEB, "0") }));
    assert_int_equal(num(w, FRSD_PATH(WEB, "0"), "ReplicationInterval"), 30);
    assert_int_equal(state(w, WEB), 7);
    done(w, SVC(w, WEB, "RemoveReplicationRelationshipEx",
                { "ReplicationRelationship", REL_PATH(WEB, "0") }));
    assert_int_equal(state(w, WEB), 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
        T(g_13_references_to_instances),
        T(g_14_restart_in_transient_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
