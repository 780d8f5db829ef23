/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A paired host, known by its certificate, acts on what is replicated with it and on nothing else.
 * Web is replicated with hostb. */
#include "cim/providers/testways.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

#define DENIED 32769
#define SNAPSHOTS "Msvm_VirtualSystemSnapshotService=@"
#define VSMS "Msvm_VirtualSystemManagementService=@"

static void as_host(struct world *w, const char *name)
{
    w->who = (struct cim_caller){ .name = name, .role = CIM_ROLE_OPERATOR };
}

static void refused(struct world *w, uint32_t code)
{
    assert_int_equal(code, DENIED);
    assert_non_null(strstr(refusal(w), "replicated with it"));
    assert_int_equal(w->n_queue, 0);
}

/* Every way in which the table of docs/access.md lets an operator act. */
static void a_third_host_is_refused(void **st)
{
    struct world *w = *st;
    char point[512];

    with_exports(w);
    make_replica(w);
    done(w, CALL(w, STATUS_PATH(WEB), "ExportPoint"));
    as_host(w, "host:hostc");
    refused(w, CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", "3" }));
    refused(w, rq(w, "7"));
    refused(w, CALL(w, VM(WEB), "RequestReplicationStateChange", { "RequestedState", "7" }));
    refused(w, SVC(w, WEB, "InitiateFailover"));
    refused(w, SVC(w, WEB, "RevertFailover"));
    refused(w, SVC(w, WEB, "CommitFailover"));
    refused(w, SVC(w, WEB, "TestReplicaSystem"));
    refused(w, SVC(w, WEB, "ReverseReplicationRelationship"));
    refused(w, SVC(w, WEB, "Resynchronize"));
    refused(w, SVC(w, WEB, "ResetReplicationStatistics"));
    static const char *const own[] = { "ExportPoint", "TestFailover",    "SyncNow",   "VerifyPoint",
                                       "Acknowledge", "WithdrawReverse", "AllowStart" };
    for (size_t i = 0; i < VR_ARRAY_LEN(own); i++)
        refused(w, CALL(w, STATUS_PATH(WEB), own[i]));
    refused(w, CALL(w, "Vmr_PointExport.InstanceID=\"" EXPORT_ID "\"", "Close"));
    vr_autofree char *text = arg_text(w, ARG_POINT);
    snprintf(point, sizeof point, "%s", text);
    refused(w, CALL(w, SNAPSHOTS, "DestroySnapshot", { "AffectedSnapshot", point }));
    refused(w, CALL(w, VSMS, "DestroySystem", { "AffectedSystem", VM(WEB) }));
    refused(w, CALL(w, "Msvm_ReplicationService=@", "TestReplicationConnection"));
    /* Reading is for everybody with a role, and asking the peer is reading. */
    assert_int_equal(CALL(w, STATUS_PATH(WEB), "AskPeer"), 4096);
    assert_int_equal(SVC(w, WEB, "GetReplicationStatistics"), 0);
}

static void its_own_peer_acts(void **st)
{
    struct world *w = *st;

    with_exports(w);
    make_replica(w);
    as_host(w, "host:HOSTB");
    done(w, CALL(w, STATUS_PATH(WEB), "ExportPoint"));
    done(w, CALL(w, "Vmr_PointExport.InstanceID=\"" EXPORT_ID "\"", "Close"));
    done(w, SVC(w, WEB, "InitiateFailover"));
    done(w, CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", "2" }));
    refused(w, CALL(w, VM(DB), "RequestStateChange", { "RequestedState", "2" }));
}

static void jobs_of_others_go_on(void **st)
{
    struct world *w = *st;

    make_copying(w);
    vr_autofree char *job = arg_text(w, ARG_JOB);
    as_host(w, "host:hostc");
    assert_int_equal(CALL(w, job, "RequestStateChange", { "RequestedState", "4" }), DENIED);
    assert_int_equal(CALL(w, job, "KillJob"), 6);
    assert_non_null(engine_running_job(w->engine, &w->vm[0].uuid));
    as_host(w, "host:hostb");
    assert_int_equal(CALL(w, job, "RequestStateChange", { "RequestedState", "4" }), 0);
}

static void test_machines_belong_to_their_replica(void **st)
{
    struct world *w = *st;

    with_tests(w);
    make_replica(w);
    done(w, SVC(w, WEB, "TestReplicaSystem"));
    as_host(w, "host:hostc");
    refused(w, CALL(w, VM(TEST_VM), "RequestStateChange", { "RequestedState", "2" }));
    refused(w, CALL(w, VSMS, "DestroySystem", { "AffectedSystem", VM(TEST_VM) }));
    as_host(w, "host:hostb");
    done(w, CALL(w, VSMS, "DestroySystem", { "AffectedSystem", VM(TEST_VM) }));
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test_setup_teardown(a_third_host_is_refused, world_new, world_free),
        cmocka_unit_test_setup_teardown(its_own_peer_acts, world_new, world_free),
        cmocka_unit_test_setup_teardown(jobs_of_others_go_on, world_new, world_free),
        cmocka_unit_test_setup_teardown(test_machines_belong_to_their_replica, world_new,
                                        world_free),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
