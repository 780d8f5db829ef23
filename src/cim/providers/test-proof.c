/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Proof as clients see and use it: what differs is told until somebody acknowledges, quarantined
 * points are not failed over to unless they are released, verification can be cancelled. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cim/providers/prov.h"
#include "cim/providers/testways.h"

static char *point_path(struct world *w, size_t i)
{
    static char path[192];
    char lineage[VR_UUID_STR];
    const struct vr_point_id *p = &w->points[i].id;
    snprintf(path, sizeof path, "Vmr_RecoveryPoint.InstanceID=\"%s:%llu\"",
             vr_uuid_fmt(&p->lineage, lineage), (unsigned long long)p->epoch);
    return path;
}

static void what_differs_is_told(void **st)
{
    struct world *w = *st;
    struct vr_err err = VR_ERR_INIT;
    struct vr_uuid web;

    make_replicating(w);
    vr_uuid_parse(WEB, &web, NULL);
    assert_int_equal(num(w, STATUS_PATH(WEB), "Mismatches"), 0);
    assert_string_equal(txt(w, STATUS_PATH(WEB), "LastVerified"), "(null)");
    assert_int_equal(num(w, REL_PATH(WEB, "0"), "ReplicationHealth"), 1);
    engine_differs(w->engine, &web, 3, true, "3 blocks of disk vda differ.", &err);
    pump(w);
    assert_int_equal(num(w, REL_PATH(WEB, "0"), "ReplicationHealth"), 3);
    assert_int_equal(num(w, STATUS_PATH(WEB), "Mismatches"), 3);
    assert_non_null(
        strstr(txt(w, STATUS_PATH(WEB), "Explanation"), "3 blocks of disk vda differ."));
    world_restart(w); /* and it is still known */
    pump(w);
    assert_int_equal(num(w, STATUS_PATH(WEB), "Mismatches"), 3);
    done(w, CALL(w, STATUS_PATH(WEB), "SyncNow")); /* the next point has the right bytes */
    assert_int_equal(num(w, REL_PATH(WEB, "0"), "ReplicationHealth"), 2);
    w->who.role = CIM_ROLE_READER;
    assert_int_equal(CALL(w, STATUS_PATH(WEB), "Acknowledge"), 32769);
    w->who.role = CIM_ROLE_OPERATOR;
    done(w, CALL(w, STATUS_PATH(WEB), "Acknowledge"));
    assert_int_equal(num(w, REL_PATH(WEB, "0"), "ReplicationHealth"), 1);
    assert_int_equal(num(w, STATUS_PATH(WEB), "Mismatches"), 0);
}

static void how_far_it_is(void **st)
{
    struct world *w = *st;

    make_replicating(w);
    w->proof = (struct host_proof){
        .running = true, .percent = 42, .last = { 1700000000000000 }, .last_bad = 2
    };
    assert_int_equal(num(w, STATUS_PATH(WEB), "VerifyProgress"), 42);
    assert_int_equal(num(w, STATUS_PATH(WEB), "LastVerifiedMismatches"), 2);
    assert_non_null(strstr(txt(w, STATUS_PATH(WEB), "LastVerified"), "20231114"));
    assert_string_equal(txt(w, STATUS_PATH(WEB), "LastScrubbed"), "(null)");
}

static void a_pass_can_be_cancelled(void **st)
{
    struct world *w = *st;

    make_replicating(w);
    assert_int_equal(CALL(w, STATUS_PATH(WEB), "VerifyPoint", { "PointId", "x:1" }), 32775);
    assert_int_equal(CALL(w, STATUS_PATH(WEB), "VerifyPoint"), 4096);
    vr_auto(cim_inst_free) struct cim_inst *job = last_job(w);
    char path[128];
    snprintf(path, sizeof path, "Msvm_ConcreteJob.InstanceID=\"%s\"",
             cim_inst_str(job, CIM_P_MSVM_CONCRETEJOB_INSTANCEID));
    assert_string_equal(txt(w, path, "Cancellable"), "true");
    assert_int_equal(num(w, path, "JobState"), 4);
    assert_int_equal(CALL(w, path, "RequestStateChange", { "RequestedState", "4" }), 0);
    assert_int_equal(num(w, path, "JobState"), 8);
    assert_string_equal(txt(w, path, "Cancellable"), "false");
}

/* A pass for which the other host is needed says that it waits for it, while it is away. */
static void a_pass_waits_for_the_other_host(void **st)
{
    struct world *w = *st;

    make_replicating(w);
    assert_int_equal(CALL(w, STATUS_PATH(WEB), "VerifyPoint"), 4096);
    vr_auto(cim_inst_free) struct cim_inst *job = last_job(w);
    char path[128];
    snprintf(path, sizeof path, "Msvm_ConcreteJob.InstanceID=\"%s\"",
             cim_inst_str(job, CIM_P_MSVM_CONCRETEJOB_INSTANCEID));
    w->peer.seen.us = 1;
    w->peer.reachable = true;
    assert_null(strstr(txt(w, path, "JobStatus"), "Waiting"));
    w->peer.reachable = false;
    assert_string_equal(txt(w, path, "JobStatus"), "Waiting for host hostb");
    assert_string_equal(txt(w, path, "Cancellable"), "true");
    w->peer.reachable = true;
    assert_null(strstr(txt(w, path, "JobStatus"), "Waiting"));
    w->peer.reachable = false;
    assert_int_equal(CALL(w, path, "RequestStateChange", { "RequestedState", "4" }), 0);
    assert_null(strstr(txt(w, path, "JobStatus"), "Waiting"));
}

static void quarantine(void **st)
{
    struct world *w = *st;

    make_replica(w);
    done(w, CALL(w, STATUS_PATH(WEB), "VerifyPoint"));
    struct store_proof *first = &w->points[0].proof;
    assert_string_equal(txt(w, point_path(w, 0), "Quarantine"), "none");
    *first = (struct store_proof){ .quarantine = STORE_QUARANTINED, .since = { 1 }, .bad = 5 };
    assert_string_equal(txt(w, point_path(w, 0), "Quarantine"), "quarantined");
    assert_int_equal(num(w, point_path(w, 0), "WrongBlocks"), 5);
    assert_string_equal(txt(w, point_path(w, 0), "Proof"), "none");
    vr_autofree char *ref = arg_text(w, ARG_POINT);
    assert_int_equal(SVC(w, WEB, "InitiateFailover", { "SnapshotSettingData", ref }), 32775);
    assert_non_null(strstr(refusal(w), "quarantined"));
    w->who.role = CIM_ROLE_READER;
    assert_int_equal(CALL(w, point_path(w, 0), "Release"), 32769);
    w->who.role = CIM_ROLE_OPERATOR;
    done(w, CALL(w, point_path(w, 0), "Release"));
    assert_string_equal(txt(w, point_path(w, 0), "Quarantine"), "released");
    assert_int_equal(CALL(w, point_path(w, 0), "Release"), 0); /* again */
    done(w, SVC(w, WEB, "InitiateFailover", { "SnapshotSettingData", ref }));
}

/* Whoever insists on a quarantined point releases it and fails over. When the failover cannot be
 * the quarantine must not be gone either. */
static void a_failover_that_is_refused_releases_nothing(void **st)
{
    struct world *w = *st;

    make_failing_over(w);
    w->points[0].proof = (struct store_proof){ .quarantine = STORE_QUARANTINED, .bad = 5 };
    assert_int_equal(CALL(w, point_path(w, 0), "Release"), 32774);
    w->hold = 0;
    pump(w);
    assert_int_equal(state(w, WEB), 5);
    assert_int_equal(CALL(w, point_path(w, 0), "Release"), 32775);
    assert_non_null(strstr(refusal(w), "stays quarantined"));
    assert_string_equal(txt(w, point_path(w, 0), "Quarantine"), "quarantined");
    done(w, SVC(w, WEB, "RevertFailover"));
    done(w, CALL(w, point_path(w, 0), "Release"));
    assert_string_equal(txt(w, point_path(w, 0), "Quarantine"), "released");
}

/* What a failover would take is told by the daemon; clients need no rule of their own. */
static void what_a_failover_takes(void **st)
{
    struct world *w = *st;

    make_replica(w);
    size_t last = w->n_points - 1;
    assert_string_equal(txt(w, point_path(w, last), "TakenByFailover"), "true");
    w->points[last].proof.quarantine = STORE_QUARANTINED;
    assert_string_equal(txt(w, point_path(w, last), "TakenByFailover"), "false");
    if (last)
        assert_string_equal(txt(w, point_path(w, last - 1), "TakenByFailover"), "true");
    w->points[last].proof.quarantine = STORE_RELEASED;
    assert_string_equal(txt(w, point_path(w, last), "TakenByFailover"), "true");
    w->points[last].kind = VR_POINT_ORPHAN;
    assert_string_equal(txt(w, point_path(w, last), "TakenByFailover"), "false");
}

/* What would be lost counts from the point that a failover takes. */
static void what_a_failover_loses(void **st)
{
    struct world *w = *st;

    make_replica(w);
    size_t last = w->n_points - 1;
    assert_null(strstr(txt(w, STATUS_PATH(WEB), "LossNow"), "quarantined"));
    w->points[last].proof.quarantine = STORE_QUARANTINED;
    assert_non_null(
        strstr(txt(w, STATUS_PATH(WEB), "LossNow"), last ? "an older one" : "has to name one"));
    w->points[last].proof.quarantine = STORE_RELEASED;
    assert_null(strstr(txt(w, STATUS_PATH(WEB), "LossNow"), "quarantined"));
}

/* An orphan has a time of its own, if it was known when it was made. */
static void when_an_orphan_was_written(void **st)
{
    struct world *w = *st;
    char id[PROV_ID_MAX], settings[PROV_ID_MAX + 64];

    make_replica(w);
    w->points[0].kind = VR_POINT_ORPHAN;
    w->points[0].instant.us = 1700000000000000;
    snprintf(settings, sizeof settings, "Msvm_VirtualSystemSettingData.InstanceID=\"%s\"",
             id_point(id, &w->points[0].id));
    /* Not one of the types that scripts look for recovery points by */
    assert_string_equal(txt(w, settings, "VirtualSystemType"),
                        "Microsoft:Hyper-V:Snapshot:Realized");
    assert_string_equal(txt(w, point_path(w, 0), "LastWritten"), "(null)");
    assert_non_null(strstr(txt(w, settings, "CreationTime"), "20231114"));
    w->points[0].written.us = 1700000000000000 + 86400 * INT64_C(1000000);
    assert_non_null(strstr(txt(w, point_path(w, 0), "Time"), "20231114"));
    assert_non_null(strstr(txt(w, point_path(w, 0), "LastWritten"), "20231115"));
    assert_non_null(strstr(txt(w, settings, "CreationTime"), "20231115"));
    assert_non_null(strstr(txt(w, settings, "ElementName"), "2023-11-15"));
}

static void what_is_proven(void **st)
{
    struct world *w = *st;

    make_replica(w);
    w->points[0].proof = (struct store_proof){ .how = STORE_PROOF_PRIMARY,
                                               .verified = { 1700000000000000 },
                                               .booted = { 1700000000000000 } };
    assert_string_equal(txt(w, point_path(w, 0), "Proof"), "primary");
    assert_non_null(strstr(txt(w, point_path(w, 0), "Verified"), "20231114"));
    assert_non_null(strstr(txt(w, point_path(w, 0), "TestBooted"), "20231114"));
}

#define T(n) cmocka_unit_test_setup_teardown(n, world_new, world_free)
int main(void)
{
    const struct CMUnitTest all[] = { T(what_differs_is_told),
                                      T(how_far_it_is),
                                      T(when_an_orphan_was_written),
                                      T(a_pass_can_be_cancelled),
                                      T(a_pass_waits_for_the_other_host),
                                      T(quarantine),
                                      T(a_failover_that_is_refused_releases_nothing),
                                      T(what_a_failover_takes),
                                      T(what_a_failover_loses),
                                      T(what_is_proven) };
    return cmocka_run_group_tests(all, NULL, NULL);
}
