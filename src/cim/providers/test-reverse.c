/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Failover and reversal through the management interface. Of the fourteen values that
 * ReverseReplicationRelationship may return each that can occur is produced here, as a return value
 * or as the ErrorCode of its job; docs/conformance.md says which cannot, and why. */
#include "cim/providers/testhost.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cim/providers/prov.h"

#define REVERSE(w, guid, xml) \
    SVC(w, guid, "ReverseReplicationRelationship", { "ReplicationSettingData", xml })

/* ---- the fourteen values ---- */
static void reverse_4096_job_started(void **st)
{
    struct world *w = *st;

    make_failed_over(w);
    done(w, REVERSE(w, WEB, frsd(GOOD, NULL)));
    assert_int_equal(mode(w, WEB), 1);
    assert_int_equal(state(w, WEB), 3);
    assert_string_equal(txt(w, FRSD_PATH(WEB, "0"), "RecoveryConnectionPoint"), "hostb");
    assert_string_equal(txt(w, FRSD_PATH(WEB, "0"), "PrimaryConnectionPoint"), "hosta");
    assert_string_equal(txt(w, FRSD_PATH(WEB, "0"), "CertificateThumbPrint"), OUR_THUMB);
    assert_int_equal(num(w, REL_PATH(WEB, "0"), "FailedOverReplicationType"), 0);
}

/* A client hands the replica's settings back as it read them: with the port on which this host
 * listens. What is meant is the one of the new receiver, which may listen elsewhere. */
static void reverse_to_a_host_with_another_port(void **st)
{
    struct world *w = *st;

    w->peer.port = 5555;
    make_failed_over(w);
    assert_int_equal(num(w, FRSD_PATH(WEB, "0"), "RecoveryServerPortNumber"), 4433);
    done(w, REVERSE(w, WEB, frsd(GOOD, NULL)));
    assert_int_equal(num(w, FRSD_PATH(WEB, "0"), "RecoveryServerPortNumber"), 5555);
}

static void reverse_to_a_port_that_is_named(void **st)
{
    struct world *w = *st;

    make_failed_over(w);
    done(w, REVERSE(w, WEB,
                    frsd("AuthenticationType", "2", "RecoveryConnectionPoint", "hostb",
                         "RecoveryServerPortNumber", "6666", NULL)));
    assert_int_equal(num(w, FRSD_PATH(WEB, "0"), "RecoveryServerPortNumber"), 6666);
}

/* The old primary has the disks but not the state: an initial copy by comparison must follow. */
static void reverse_4096_towards_a_seed(void **st)
{
    struct world *w = *st;

    make_failed_over(w);
    done(w, SVC(w, WEB, "CommitFailover"));
    assert_int_equal(state(w, WEB), 6);
    w->seeded = true;
    done(w, REVERSE(w, WEB, frsd(GOOD, NULL)));
    assert_int_equal(mode(w, WEB), 1);
    assert_int_equal(state(w, WEB), 1);
    done(w, SVC(w, WEB, "StartReplication", { "InitialReplicationType", "3" }));
    assert_int_equal(state(w, WEB), 3);

    /* Both jobs, of the reversal and of the start, tell what it cost. */
    size_t told = 0;
    for (size_t i = 0; engine_job_at(w->engine, i); i++) {
        const struct job *job = engine_job_at(w->engine, i);
        vr_auto(cim_inst_free) struct cim_inst *j = job_inst(w->prov, job);
        const char *text = cim_inst_str(j, CIM_P_MSVM_CONCRETEJOB_JOBSTATUS);
        bool way_back = job->type == JOB_REVERSE || job->type == JOB_START_SEEDED;
        assert_int_equal(strstr(text, "2 KiB shipped, 1 KiB on the wire") != NULL, way_back);
        told += way_back;
    }
    assert_int_equal(told, 2);
}

/* Too much of something in the instance. */
static void reverse_32768_failed(void **st)
{
    struct world *w = *st;
    static char deep[8192] = "<INSTANCE CLASSNAME=\"Msvm_ReplicationSettingData\">";

    make_failed_over(w);
    for (int i = 0; i < 1000; i++)
        strcat(deep, "<a>");
    assert_int_equal(REVERSE(w, WEB, deep), 32768);
    assert_int_equal(state(w, WEB), 5);
}

static void reverse_32769_access_denied(void **st)
{
    struct world *w = *st;

    make_failed_over(w);
    w->who.role = CIM_ROLE_READER;
    assert_int_equal(REVERSE(w, WEB, frsd(GOOD, NULL)), 32769);
    assert_non_null(strstr(refusal(w), "operator"));
    w->who.role = CIM_ROLE_OPERATOR;
    done(w, REVERSE(w, WEB, frsd(GOOD, NULL)));
}

static void reverse_32770_not_supported(void **st)
{
    struct world *w = *st;

    make_failed_over(w);
    w->host.kerberos_name = NULL;
    assert_int_equal(REVERSE(w, WEB,
                             frsd("AuthenticationType", "1", "RecoveryConnectionPoint", "hostb",
                                  "RecoveryServerPortNumber", "80", NULL)),
                     32770);
    assert_int_equal(state(w, WEB), 5);
}

static void reverse_32773_invalid_parameter(void **st)
{
    struct world *w = *st;

    make_failed_over(w);
    assert_int_equal(CALL(w, "Msvm_ReplicationService=@", "ReverseReplicationRelationship",
                          { "ReplicationSettingData", frsd(GOOD, NULL) }),
                     32773);
    assert_int_equal(SVC(w, WEB, "ReverseReplicationRelationship"), 32773);
    assert_int_equal(REVERSE(w, WEB, "instance of Msvm_ReplicationSettingData {};"), 32773);
    /* left at this host: that is what the replica's own copy says */
    assert_int_equal(REVERSE(w, WEB, frsd("RecoveryConnectionPoint", "hosta", NULL)), 32773);
    assert_non_null(strstr(refusal(w), "this host itself"));
    assert_int_equal(REVERSE(w, WEB, frsd("RecoveryConnectionPoint", "hostc", NULL)), 32773);
    assert_non_null(strstr(refusal(w), "not paired"));
    assert_int_equal(REVERSE(w, WEB, frsd("RecoveryServerPortNumber", "0", NULL)), 32773);
    assert_int_equal(REVERSE(w, WEB, frsd("CertificateThumbPrint", "00112233", NULL)), 32773);
    assert_int_equal(REVERSE(w, WEB, frsd("ReplicationInterval", "4", NULL)), 32773);
    assert_int_equal(REVERSE(w, WEB, frsd("InstanceID", "Microsoft:" DB "\\HVR\\0", GOOD, NULL)),
                     32773);
    assert_int_equal(state(w, WEB), 5);
}

static void reverse_32774_in_use(void **st)
{
    struct world *w = *st;

    make_failed_over(w);
    w->hold = FX_REVERSE_CALL;
    assert_int_equal(REVERSE(w, WEB, frsd(GOOD, NULL)), 4096);
    pump(w);
    assert_int_equal(REVERSE(w, WEB, frsd(GOOD, NULL)), 32774);
    assert_int_equal(SVC(w, WEB, "CommitFailover"), 32774);
    assert_int_equal(SVC(w, WEB, "RemoveReplicationRelationship"), 32774);
    w->hold = 0;
    pump(w);
    assert_int_equal(mode(w, WEB), 1);
}

static void reverse_32775_invalid_state(void **st)
{
    struct world *w = *st;

    assert_int_equal(REVERSE(w, WEB, frsd(GOOD, NULL)), 32775); /* not replicated */
    make_replica(w);
    assert_int_equal(REVERSE(w, WEB, frsd(GOOD, NULL)), 32775); /* not failed over */
    assert_non_null(strstr(refusal(w), "web"));
    assert_int_equal(REVERSE(w, WEB, frsd("InstanceID", "Microsoft:" WEB "\\HVR\\1", GOOD, NULL)),
                     32775);
}

static void reverse_32775_on_the_primary(void **st)
{
    struct world *w = *st;

    make_replicating(w);
    assert_int_equal(REVERSE(w, WEB, frsd(GOOD, NULL)), 32775);
}

static void reverse_32776_incorrect_data_type(void **st)
{
    struct world *w = *st;

    make_failed_over(w);
    assert_int_equal(REVERSE(w, WEB, "<INSTANCE CLASSNAME=\"Msvm_ComputerSystem\"/>"), 32776);
    assert_int_equal(REVERSE(w, WEB, "<INSTANCE CLASSNAME=\"Unheard_Of\"/>"), 32776);
}

static void reverse_32777_system_not_available(void **st)
{
    struct world *w = *st;

    assert_int_equal(REVERSE(w, NOBODY, frsd(GOOD, NULL)), 32777);
}

/* What only turns out later is the job's ErrorCode; the machine stays failed over and the reversal
 * can be tried again. */
static void reverse_job_ends_with_each_code(void **st)
{
    struct world *w = *st;
    static const struct {
        enum vr_kind kind;
        unsigned code;
    } ends[] = {
        { VR_E_LIMIT, 32768 },   { VR_E_AUTH, 32769 },    { VR_E_VERSION, 32770 },
        { VR_E_UNKNOWN, 32771 }, { VR_E_INVAL, 32773 },   { VR_E_BUSY, 32774 },
        { VR_E_STATE, 32775 },   { VR_E_RUNNING, 32775 }, { VR_E_TYPE, 32776 },
        { VR_E_NOFILE, 32779 },
    };

    make_failed_over(w);
    for (size_t i = 0; i < VR_ARRAY_LEN(ends); i++) {
        w->fail[FX_BIT_REVERSE_CALL] = ends[i].kind;
        assert_int_equal(job_error(w, REVERSE(w, WEB, frsd(GOOD, NULL))), ends[i].code);
        assert_int_equal(mode(w, WEB), 2);
        assert_int_equal(state(w, WEB), 5);
    }
    done(w, REVERSE(w, WEB, frsd(GOOD, NULL)));
}

#define JOB(n) CIM_P_MSVM_CONCRETEJOB_##n

/* The other host cannot be asked: the job waits and says so, can be cancelled, and goes on by
 * itself. The failover shows 5 as before; 6 when the old primary may have become the replica before
 * the answer got lost. */
static void reverse_waits_for_the_other_host(void **st)
{
    struct world *w = *st;
    static const struct {
        enum rel_fx_bit fx;
        enum vr_kind kind;
        unsigned state;
    } away[] = {
        { FX_BIT_PROBE, VR_E_PEER, 5 },
        { FX_BIT_PROBE, VR_E_TIMEOUT, 5 },
        { FX_BIT_REVERSE_CALL, VR_E_TIMEOUT, 6 },
    };

    make_failed_over(w);
    for (size_t i = 0; i < VR_ARRAY_LEN(away); i++) {
        w->fail[away[i].fx] = away[i].kind;
        assert_int_equal(REVERSE(w, WEB, frsd(GOOD, NULL)), 4096);
        pump(w);
        vr_auto(cim_inst_free) struct cim_inst *j = last_job(w);
        assert_int_equal(cim_inst_uint(j, JOB(JOBSTATE), 0), 4);
        assert_string_equal(cim_inst_str(j, JOB(JOBSTATUS)), "Waiting for host hostb");
        assert_int_equal(cim_value_bool(cim_inst_value(j, JOB(CANCELLABLE)), false), true);
        assert_int_equal(mode(w, WEB), 2);
        assert_int_equal(state(w, WEB), away[i].state);
        assert_int_equal(SVC(w, WEB, "RevertFailover"), 32775);
        assert_non_null(strstr(refusal(w), "withdraw"));
        vr_auto(cim_path_free) struct cim_path *path = cim_inst_path(j);
        vr_autofree char *text = cim_path_fmt(path, NULL);
        assert_int_equal(CALL(w, text, "RequestStateChange", { "RequestedState", "4" }), 0);
        pump(w);
        assert_int_equal(state(w, WEB), away[i].state);
    }
    w->fail[FX_BIT_PROBE] = VR_E_PEER;
    assert_int_equal(REVERSE(w, WEB, frsd(GOOD, NULL)), 4096);
    pump(w);
    assert_int_equal(mode(w, WEB), 2);
    w->mono += 5000;
    pump(w);
    assert_int_equal(mode(w, WEB), 1);
}

/* Clients that leave out what they do not care for, or hand back what they read. */
static void reverse_takes_defaults(void **st)
{
    struct world *w = *st;

    make_failed_over(w);
    done(w,
         REVERSE(w, WEB,
                 frsd("CertificateThumbPrint", PEER_THUMB, "RecoveryConnectionPoint", NULL, NULL)));
    assert_string_equal(txt(w, FRSD_PATH(WEB, "0"), "RecoveryConnectionPoint"), "hostb");
    assert_int_equal(num(w, FRSD_PATH(WEB, "0"), "RecoveryServerPortNumber"), 4433);
    assert_string_equal(txt(w, FRSD_PATH(WEB, "0"), "CertificateThumbPrint"), OUR_THUMB);
}

/* ---- failover, cancel, commit ---- */
static void failover_to_latest_and_back(void **st)
{
    struct world *w = *st;

    make_failed_over(w);
    assert_int_equal(num(w, REL_PATH(WEB, "0"), "FailedOverReplicationType"), 3);
    assert_int_equal(mode(w, WEB), 2);
    done(w, SVC(w, WEB, "RevertFailover"));
    assert_int_equal(state(w, WEB), 3);
    assert_int_equal(num(w, REL_PATH(WEB, "0"), "FailedOverReplicationType"), 0);
}

static void failover_shows_12_meanwhile(void **st)
{
    struct world *w = *st;

    make_replica(w);
    w->hold = FX_FAILOVER;
    assert_int_equal(SVC(w, WEB, "InitiateFailover"), 4096);
    pump(w);
    assert_int_equal(state(w, WEB), 12);
    assert_int_equal(SVC(w, WEB, "RevertFailover"), 32774);
    w->hold = 0;
    pump(w);
    assert_int_equal(state(w, WEB), 5);
}

static void failover_to_a_point(void **st)
{
    struct world *w = *st;

    make_replica(w);
    struct cim_list points = walk(w, VM(WEB), "Msvm_SnapshotOfVirtualSystem", NULL);
    assert_int_equal(points.n, 2);
    vr_auto(cim_path_free) struct cim_path *p = cim_inst_path(points.v[0]);
    vr_autofree char *older = cim_path_fmt(p, "hosta");
    done(w, SVC(w, WEB, "InitiateFailover", { "SnapshotSettingData", older }));
    assert_int_equal(num(w, REL_PATH(WEB, "0"), "FailedOverReplicationType"), 1);
    struct cim_list at = walk(w, VM(WEB), "Msvm_MostCurrentSnapshotInBranch", NULL);
    assert_int_equal(at.n, 1);
    assert_true(cim_inst_equal(at.v[0], points.v[0]));
    cim_list_done(&at);
    cim_list_done(&points);
}

static void failover_refused(void **st)
{
    struct world *w = *st;
    static const char nothing[] =
        "Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:" NOBODY "\"";

    assert_int_equal(SVC(w, WEB, "InitiateFailover"), 32775);
    make_waiting(w);
    assert_int_equal(SVC(w, WEB, "InitiateFailover"), 32775); /* nothing received yet */
    assert_int_equal(SVC(w, WEB, "RevertFailover"), 32775);
    assert_int_equal(SVC(w, WEB, "CommitFailover"), 32775);
    assert_int_equal(SVC(w, WEB, "InitiateFailover", { "SnapshotSettingData", nothing }), 32773);
    assert_int_equal(CALL(w, "Msvm_ReplicationService=@", "InitiateFailover"), 32773);
    assert_int_equal(SVC(w, NOBODY, "CommitFailover"), 32777);
    assert_int_equal(SVC(w, NOBODY, "RevertFailover"), 32777);
    w->who.role = CIM_ROLE_READER;
    assert_int_equal(SVC(w, WEB, "InitiateFailover"), 32769);
    assert_int_equal(SVC(w, WEB, "RevertFailover"), 32769);
    assert_int_equal(SVC(w, WEB, "CommitFailover"), 32769);
}

static void failover_needs_the_machine_off(void **st)
{
    struct world *w = *st;

    make_replica(w);
    w->vm[0].power = HV_POWER_RUNNING;
    assert_int_equal(SVC(w, WEB, "InitiateFailover"), 32775);
    assert_non_null(strstr(refusal(w), "must be off"));
    w->vm[0].power = HV_POWER_OTHER;
    assert_int_equal(SVC(w, WEB, "InitiateFailover"), 32771);
    w->n_vms = 0; /* libvirtd is away */
    assert_int_equal(SVC(w, WEB, "InitiateFailover"), 32777);
    w->n_vms = 3;
    w->vm[0].power = HV_POWER_OFF;
    w->fail[FX_BIT_FAILOVER] = VR_E_NOSPACE;
    assert_int_equal(job_error(w, SVC(w, WEB, "InitiateFailover")), 32768);
    assert_int_equal(state(w, WEB), 3);
    done(w, SVC(w, WEB, "InitiateFailover"));
    w->vm[0].power = HV_POWER_RUNNING;
    assert_int_equal(SVC(w, WEB, "RevertFailover"), 32775);
    done(w, SVC(w, WEB, "CommitFailover")); /* may run */
    w->vm[0].power = HV_POWER_OFF;
    assert_int_equal(SVC(w, WEB, "RevertFailover"), 32775); /* committed: no way back */
    assert_int_equal(SVC(w, WEB, "CommitFailover"), 32775);
}

#define T(f) cmocka_unit_test_setup_teardown(f, world_new, world_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(reverse_4096_job_started),
        T(reverse_to_a_host_with_another_port),
        T(reverse_to_a_port_that_is_named),
        T(reverse_4096_towards_a_seed),
        T(reverse_32768_failed),
        T(reverse_32769_access_denied),
        T(reverse_32770_not_supported),
        T(reverse_32773_invalid_parameter),
        T(reverse_32774_in_use),
        T(reverse_32775_invalid_state),
        T(reverse_32775_on_the_primary),
        T(reverse_32776_incorrect_data_type),
        T(reverse_32777_system_not_available),
        T(reverse_job_ends_with_each_code),
        T(reverse_waits_for_the_other_host),
        T(reverse_takes_defaults),
        T(failover_to_latest_and_back),
        T(failover_shows_12_meanwhile),
        T(failover_to_a_point),
        T(failover_refused),
        T(failover_needs_the_machine_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
