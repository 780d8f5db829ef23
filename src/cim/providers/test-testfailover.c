/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Test failover as a client sees it: who may, when, what it finds, what it forbids. */
#include "cim/providers/testways.h"

#include <string.h>

#include "base/alloc.h"

#define TEST TEST_VM

static int begin(void **st)
{
    int rc = world_new(st);

    with_tests(*st);
    return rc;
}

#define VSMS "Msvm_VirtualSystemManagementService=@"

static void a_test_and_its_end(void **st)
{
    struct world *w = *st;

    make_replica(w);
    done(w, SVC(w, WEB, "TestReplicaSystem"));
    assert_int_equal(state(w, WEB), 3);
    assert_int_equal(mode(w, TEST), 3);
    assert_string_equal(txt(w, STATUS_PATH(TEST), "Role"), "test");
    cim_autolist struct cim_list l = walk(w, VM(WEB), "Msvm_ReplicaSystemDependency", NULL);
    assert_int_equal(l.n, 1);
    /* The job names both machines: the client takes the other one. */
    vr_auto(cim_inst_free) struct cim_inst *job = last_job(w);
    vr_auto(cim_path_free) struct cim_path *path = cim_inst_path(job);
    vr_autofree char *text = cim_path_fmt(path, NULL);
    cim_autolist struct cim_list of = walk(w, text, "Msvm_AffectedJobElement", NULL);
    assert_int_equal(of.n, 2);
    /* One at a time for this method. */
    assert_int_equal(SVC(w, WEB, "TestReplicaSystem"), 32775);
    assert_int_equal(SVC(w, WEB, "RemoveReplicationRelationship"), 32775);
    assert_non_null(strstr(refusal(w), "--end"));
    assert_int_equal(CALL(w, STATUS_PATH(WEB), "TestFailover", { "Another", "true" }), 4096);
    w->vm[2].power = HV_POWER_RUNNING;
    assert_int_equal(CALL(w, VSMS, "DestroySystem", { "AffectedSystem", VM(TEST) }), 5);
    w->who.role = CIM_ROLE_OPERATOR; /* who acts on the replica acts on its tests */
    assert_int_equal(CALL(w, VM(TEST), "RequestStateChange", { "RequestedState", "3" }), 4096);
    w->who.role = CIM_ROLE_ADMIN;
    w->vm[2].power = HV_POWER_OFF;
    done(w, CALL(w, VSMS, "DestroySystem", { "AffectedSystem", VM(TEST) }));
    assert_int_equal(mode(w, TEST), 0);
    done(w, SVC(w, WEB, "InitiateFailover"));
}

/* A disaster while somebody tests: nothing is to be tidied up first, and the test can be ended at
 * any moment of it. */
static void failover_during_a_test(void **st)
{
    struct world *w = *st;

    make_replica(w);
    done(w, SVC(w, WEB, "TestReplicaSystem"));
    done(w, SVC(w, WEB, "InitiateFailover"));
    assert_int_equal(state(w, WEB), 5);
    done(w, SVC(w, WEB, "RevertFailover"));
    assert_int_equal(state(w, WEB), 3);
    done(w, SVC(w, WEB, "InitiateFailover"));
    done(w, SVC(w, WEB, "CommitFailover"));
    assert_int_equal(state(w, WEB), 6);
    /* No more of them, and it is not forgotten. */
    assert_int_equal(SVC(w, WEB, "TestReplicaSystem"), 32775);
    assert_int_equal(SVC(w, WEB, "RemoveReplicationRelationship"), 32775);
    assert_int_equal(mode(w, TEST), 3);
    done(w, CALL(w, VSMS, "DestroySystem", { "AffectedSystem", VM(TEST) }));
    done(w, SVC(w, WEB, "RemoveReplicationRelationship"));
}

static void refusals(void **st)
{
    struct world *w = *st;

    assert_int_equal(SVC(w, WEB, "TestReplicaSystem"), 32775); /* not replicated */
    assert_int_equal(CALL(w, VSMS, "DestroySystem", { "AffectedSystem", VM(WEB) }), 1);
    assert_int_equal(CALL(w, VSMS, "DestroySystem", { "AffectedSystem", VM(NOBODY) }), 4);
    make_replica(w);
    assert_int_equal(
        SVC(w, WEB, "TestReplicaSystem", { "SnapshotSettingData", FRSD_PATH(WEB, "0") }), 32773);
    assert_int_equal(CALL(w, STATUS_PATH(WEB), "TestFailover", { "PointId", "nonsense" }), 32773);
    done(w, SVC(w, WEB, "InitiateFailover"));
    assert_int_equal(SVC(w, WEB, "TestReplicaSystem"), 32775);
    w->who.role = CIM_ROLE_READER;
    assert_int_equal(SVC(w, WEB, "TestReplicaSystem"), 32769);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test_setup_teardown(a_test_and_its_end, begin, world_free),
        cmocka_unit_test_setup_teardown(failover_during_a_test, begin, world_free),
        cmocka_unit_test_setup_teardown(refusals, begin, world_free),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
