/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Callers who ask for too much: they are told so, and nobody else notices. */
#include "cim/providers/testways.h"

#include <string.h>

#include "base/alloc.h"

static void run_jobs(struct world *w, enum job_type type, const char *owner, size_t n)
{
    while (n--)
        engine_job_new(w->engine, type, NULL, owner);
}

#define TEST_HOSTB(w)                                                                    \
    CALL(w, "Msvm_ReplicationService=@", "TestReplicationConnection",                    \
         { "RecoveryConnectionPoint", "hostb" }, { "RecoveryServerPortNumber", "4433" }, \
         { "AuthenticationType", "2" }, { "CertificateThumbPrint", OUR_THUMB })

/* Each connection test may keep a worker for as long as a connection takes to fail. */
static void few_connection_tests_at_a_time(void **st)
{
    struct world *w = *st;

    run_jobs(w, JOB_TEST_CONNECTION, "root", 2);
    assert_int_equal(TEST_HOSTB(w), 4096);
    run_jobs(w, JOB_TEST_CONNECTION, "root", 1);
    assert_int_equal(TEST_HOSTB(w), 32774);
    assert_non_null(strstr(refusal(w), "still running"));
    w->who.name = "somebody else";
    assert_int_equal(TEST_HOSTB(w), 4096);
}

static void who_has_too_many_jobs_waits(void **st)
{
    struct world *w = *st;

    make_ready(w);
    run_jobs(w, JOB_POWER, "root", ENGINE_JOBS_EACH);
    uint32_t busy = SVC(w, WEB, "StartReplication", { "InitialReplicationType", "1" });
    assert_int_equal(busy, 32774);
    assert_non_null(strstr(refusal(w), "jobs of root"));
    assert_int_equal(SVC(w, WEB, "GetReplicationStatistics"), 0);
    w->who.name = "somebody else";
    done(w, SVC(w, WEB, "StartReplication", { "InitialReplicationType", "1" }));
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test_setup_teardown(few_connection_tests_at_a_time, world_new, world_free),
        cmocka_unit_test_setup_teardown(who_has_too_many_jobs_waits, world_new, world_free),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
