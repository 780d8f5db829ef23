/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Callers who ask for too much: they are told so, and nobody else notices. */
#include "cim/providers/testways.h"

#include <string.h>

#include "base/alloc.h"
#include "cim/providers/prov.h"

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

#define TEST_STRANGER(w)                                                                  \
    CALL(w, "Msvm_ReplicationService=@", "TestReplicationConnection",                     \
         { "RecoveryConnectionPoint", "stranger" }, { "RecoveryServerPortNumber", "80" }, \
         { "AuthenticationType", "2" })

/* What can be refused at once leaves only so many jobs behind. */
static void few_jobs_that_fail_at_once(void **st)
{
    struct world *w = *st;

    for (int i = 0; i < 32; i++)
        assert_int_equal(job_error(w, TEST_STRANGER(w)), 32773);
    assert_int_equal(TEST_STRANGER(w), 32773);
    assert_non_null(strstr(refusal(w), "host stranger is not paired"));
    assert_int_equal(TEST_HOSTB(w), 4096);
    w->who.name = "somebody else";
    assert_int_equal(job_error(w, TEST_STRANGER(w)), 32773);
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

/* Whoever is refused again and again fills no log. */
static void refusals_are_logged_once_a_second(void **st)
{
    struct world *w = *st;
    const struct cim_caller other = { .name = "other", .role = CIM_ROLE_READER };
    struct vr_err why = VR_ERR_INIT;
    unsigned lines = 0;

    vr_fail(&why, VR_E_DENIED, 0, "the test says so");
    int64_t began = vr_mono_now().ms;
    for (int i = 0; i < 1000; i++) {
        prov_refused(w->prov, &w->who, "the test says so");
        lines += prov_log_refusal(w->prov, &w->who, "Method", 32769, &why);
    }
    assert_in_range(lines, 1, 1 + (vr_mono_now().ms - began) / 1000 + 1);
    prov_refused(w->prov, &other, "something else");
    assert_true(prov_log_refusal(w->prov, &other, "Method", 32769, &why));
    assert_string_equal(prov_last_refusal(w->prov, &w->who), "the test says so");
    assert_string_equal(prov_last_refusal(w->prov, &other), "something else");
}

#define WEB_SETTINGS "Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:" WEB "\""
#define DB_SETTINGS "Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:" DB "\""

/* A machine is told once, however often it is named. */
static void repeated_machines(void **st)
{
    struct world *w = *st;
    struct arg args[302];

    make_replica(w);
    for (int i = 0; i < 300; i++)
        args[i] = (struct arg){ "SettingData", i == 250 ? DB_SETTINGS : WEB_SETTINGS };
    args[300] = (struct arg){ "RequestedInformation", "107" };
    args[301] = (struct arg){ NULL, NULL };
    assert_int_equal(
        call(w, "Msvm_VirtualSystemManagementService=@", "GetSummaryInformation", args), 0);
    assert_int_equal(cim_args_at(w->args, "SummaryInformation")->n, 2);
    args[300] = (struct arg){ "SettingData", "Msvm_VirtualSystemSettingData.InstanceID=\"x\"" };
    assert_int_equal(
        call(w, "Msvm_VirtualSystemManagementService=@", "GetSummaryInformation", args), 32773);
}

/* No more is collected than the reply can hold; also in slices nothing is told twice. */
static void more_than_the_reply_holds(void **st)
{
    struct world *w = *st;
    vr_auto(cim_path_free) struct cim_path *p = NULL;
    const struct cim_method *m;
    struct vr_err err = VR_ERR_INIT;
    uint32_t ret = 0;

    assert_int_equal(cim_path_parse("Msvm_VirtualSystemManagementService=@", &p, &err), 0);
    assert_int_equal(cim_find_method(p, "GetSummaryInformation", &m, &err), CIM_S_OK);
    vr_auto(cim_args_free) struct cim_args *all = cim_args_new(m), *few = cim_args_new(m),
                                           *slices = cim_args_new(m);
    all->room = 1 << 20;
    assert_int_equal(cim_invoke(w->cim, &w->who, p, all, &ret, &err), CIM_S_OK);
    assert_int_equal(cim_args_at(all, "SummaryInformation")->n, 3);
    assert_false(all->is_full);
    few->room = all->used / 3;
    assert_int_equal(cim_invoke(w->cim, &w->who, p, few, &ret, &err), CIM_S_OK);
    assert_int_equal(cim_args_at(few, "SummaryInformation")->n, 2);
    assert_true(few->is_full);
    static const char *const names[] = { WEB_SETTINGS, DB_SETTINGS, WEB_SETTINGS, WEB_SETTINGS };
    slices->until_us = 1;
    for (size_t i = 0; i < VR_ARRAY_LEN(names); i++)
        assert_int_equal(cim_value_put_text(cim_args_at(slices, "SettingData"), names[i], &err), 0);
    do
        assert_int_equal(cim_invoke(w->cim, &w->who, p, slices, &ret, &err), CIM_S_OK);
    while (slices->at);
    assert_int_equal(cim_args_at(slices, "SummaryInformation")->n, 2);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test_setup_teardown(few_connection_tests_at_a_time, world_new, world_free),
        cmocka_unit_test_setup_teardown(few_jobs_that_fail_at_once, world_new, world_free),
        cmocka_unit_test_setup_teardown(refusals_are_logged_once_a_second, world_new, world_free),
        cmocka_unit_test_setup_teardown(repeated_machines, world_new, world_free),
        cmocka_unit_test_setup_teardown(more_than_the_reply_holds, world_new, world_free),
        cmocka_unit_test_setup_teardown(who_has_too_many_jobs_waits, world_new, world_free),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
