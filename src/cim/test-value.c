/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Classes, datetimes, values, instances. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cim/instance.h"

#define FRSD CIM_C_MSVM_REPLICATIONSETTINGDATA
#define P(n) CIM_P_MSVM_REPLICATIONSETTINGDATA_##n

static void test_class_lookup(void **st)
{
    for (size_t i = 0; i < CIM_CLASS_COUNT; i++) {
        assert_int_equal(cim_classes[i].id, i);
        assert_ptr_equal(cim_class_find(cim_classes[i].name), &cim_classes[i]);
    }
    const struct cim_class *c = cim_class_find("msvm_REPLICATIONrelationship");
    assert_non_null(c);
    assert_string_equal(c->name, "Msvm_ReplicationRelationship");
    assert_ptr_equal(cim_class_find_in("ROOT\\virtualization\\V2", c->name), c);
    assert_null(cim_class_find_in(CIM_NS_OURS, c->name));
    assert_null(cim_class_find("Msvm_Nothing"));
    assert_null(cim_class_find(NULL));
    assert_true(cim_class_is(c, "cim_managedelement"));
    assert_false(cim_class_is(c, "CIM_SettingData"));
    assert_true(cim_ns_known("root/vmreplica/v1"));
    assert_false(cim_ns_known("root/cimv3"));
}

static void test_class_members(void **st)
{
    const struct cim_class *c = cim_class_get(CIM_C_MSVM_REPLICATIONSERVICE);
    const struct cim_method *m = cim_class_method(c, "initiatefailover");

    assert_int_equal(cim_method_index(c, m), CIM_M_MSVM_REPLICATIONSERVICE_INITIATEFAILOVER);
    assert_int_equal(m->n_params, 3);
    assert_string_equal(m->params[0].name, "ComputerSystem");
    assert_int_equal(m->params[0].type, CIM_REFERENCE);
    assert_string_equal(m->params[1].ref_class, "CIM_VirtualSystemSettingData");
    assert_true(m->params[2].flags & CIM_F_OUT);
    assert_int_equal(cim_method_param(m, "job"), 2);
    assert_string_equal(cim_map_text(m->map, 32775), "Invalid state for this operation");
    assert_int_equal(c->n_keys, 4);
    c = cim_class_get(CIM_C_MSVM_REPLICATIONRELATIONSHIP);
    assert_string_equal(cim_prop_text(c, "ReplicationState", 9),
                        "Waiting to start resynchronization");
    assert_string_equal(cim_prop_text(c, "HealthState", 25), "Critical failure");
    assert_string_equal(cim_prop_text(c, "OperationalStatus", 0x9000), "Vendor Reserved");
    assert_null(cim_prop_text(c, "ReplicationState", 77));
    assert_int_equal(cim_class_prop(c, "InstanceID"), 0);
    assert_true(c->props[0].flags & CIM_F_KEY);
    assert_int_equal(c->props[0].origin, CIM_C_CIM_MANAGEDELEMENT);
    assert_int_equal(cim_class_prop(c, "Nonsense"), -1);
}

static void check_time(const char *in, const char *cim, const char *xs)
{
    struct cim_datetime d;
    struct vr_err err = VR_ERR_INIT;
    char a[CIM_DATETIME_STR], b[CIM_DATETIME_XS];

    if (cim_datetime_parse(in, &d, &err) < 0)
        fail_msg("%s: %s", in, err.msg);
    assert_string_equal(cim_datetime_fmt(&d, a), cim);
    assert_string_equal(cim_datetime_xs(&d, b), xs);
}

static void test_datetime(void **st)
{
    char out[CIM_DATETIME_STR];
    struct cim_datetime d = cim_datetime_at((struct wall_us){ 1714543200000000 });

    assert_string_equal(cim_datetime_fmt(&d, out), "20240501060000.000000+000");
    check_time("20240501060000.000000-000", "20240501060000.000000+000", "2024-05-01T06:00:00Z");
    check_time("20240229235959.123456+060", "20240229235959.123456+060",
               "2024-02-29T22:59:59.123456Z");
    check_time("19690101000000.000000-480", "19690101000000.000000-480", "1969-01-01T08:00:00Z");
    check_time("2024****060000.******+000", "20240101060000.000000+000", "2024-01-01T06:00:00Z");
    check_time("00000000183000.000000:000", "00000000183000.000000:000", "P0DT18H30M0S");
    check_time("P0DT0H5M0S", "00000000000500.000000:000", "P0DT0H5M0S");
    check_time("PT60S", "00000000000100.000000:000", "P0DT0H1M0S");
    check_time("P2DT1.5S", "00000002000001.500000:000", "P2DT0H0M1.5S");
    check_time("2024-05-01T06:00:00Z", "20240501060000.000000+000", "2024-05-01T06:00:00Z");
    check_time("2024-05-01T06:00:00.25+02:00", "20240501060000.250000+120",
               "2024-05-01T04:00:00.25Z");
    check_time("99991231000000.000000+000", "99991231000000.000000+000", "9999-12-31T00:00:00Z");
    d = cim_datetime_interval(UINT64_MAX);
    assert_string_equal(cim_datetime_fmt(&d, out), "99999999000000.000000:000");
    const char *bad[] = { "",
                          "P",
                          "P1Y",
                          "PT",
                          "yesterday",
                          "20230229000000.000000+000",
                          "20240501250000.000000+000",
                          "20240501060000.000000+00",
                          "2024-05-01",
                          "2024-05-01T06:00",
                          "2024-05-01T06:00:00.",
                          "00000000183000.000000:060",
                          "2024-13-01T06:00:00Z",
                          "P99999999999999999999D",
                          "PT2024050100H2024050100H",
                          "2024-05-01T06:00:00+15:00" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct vr_err err = VR_ERR_INIT;
        if (cim_datetime_parse(bad[i], &d, &err) == 0)
            fail_msg("%s was taken", bad[i]);
        assert_int_equal(err.kind, VR_E_INVAL);
    }
}

static int put(struct cim_value *v, const char *text)
{
    struct vr_err err = VR_ERR_INIT;

    return cim_value_put_text(v, text, &err);
}

static void test_value_text(void **st)
{
    struct cim_value v;
    char *s;

    cim_value_init(&v, CIM_UINT16, false);
    assert_int_equal(put(&v, "65535"), 0);
    assert_int_equal(put(&v, "65536"), -1);
    assert_int_equal(put(&v, "-1"), -1);
    assert_int_equal(put(&v, " 1"), -1);
    assert_int_equal(put(&v, "1x"), -1);
    assert_int_equal(put(&v, ""), -1);
    assert_int_equal(cim_value_uint(&v, 0), 65535);
    assert_int_equal(put(&v, "0x10"), 0);
    s = cim_value_text(&v, 0);
    assert_string_equal(s, "16");
    free(s);
    cim_value_init(&v, CIM_SINT8, false);
    assert_int_equal(put(&v, "-128"), 0);
    assert_int_equal(put(&v, "-129"), -1);
    assert_int_equal(put(&v, "128"), -1);
    cim_value_init(&v, CIM_UINT64, false);
    assert_int_equal(put(&v, "18446744073709551615"), 0);
    assert_int_equal(put(&v, "18446744073709551616"), -1);
    assert_true(cim_value_uint(&v, 0) == UINT64_MAX);
    cim_value_init(&v, CIM_BOOLEAN, false);
    assert_int_equal(put(&v, "TRUE"), 0);
    assert_true(cim_value_bool(&v, false));
    assert_int_equal(put(&v, "maybe"), -1);
}

static void test_value_order(void **st)
{
    struct cim_value a, b;
    int r;

    cim_value_init(&a, CIM_UINT64, false);
    cim_value_init(&b, CIM_SINT32, false);
    assert_false(cim_value_compare(&a, &b, &r));
    cim_value_put_uint(&a, 5);
    cim_value_put_sint(&b, -7);
    assert_true(cim_value_compare(&a, &b, &r));
    assert_true(r > 0);
    cim_value_init(&a, CIM_STRING, false);
    cim_value_init(&b, CIM_STRING, false);
    cim_value_put_str(&a, "ABC");
    cim_value_put_str(&b, "abc");
    assert_true(cim_value_compare(&a, &b, &r));
    assert_int_equal(r, 0);
    assert_false(cim_value_equal(&a, &b));
    cim_value_copy(&b, &a);
    assert_true(cim_value_equal(&a, &b));
    cim_value_clear(&a);
    cim_value_clear(&b);
}

static void test_instance(void **st)
{
    vr_auto(cim_inst_free) struct cim_inst *in = cim_inst_new(FRSD);
    const char *const disks[] = { "a", "b" };

    assert_int_equal(cim_inst_uint(in, P(REPLICATIONINTERVAL), 0), 300);
    assert_string_equal(cim_inst_str(in, P(CAPTION)), "Replication Settings");
    assert_false(cim_inst_is_seen(in, P(CAPTION)));
    assert_true(cim_value_bool(cim_inst_named(in, "autoresynchronizeenabled"), false));
    cim_inst_set_strf(in, P(INSTANCEID), "Microsoft:%s\\HVR\\%d", "G", 0);
    cim_inst_set_strv(in, P(INCLUDEDDISKS), disks, 2);
    cim_inst_set_uint(in, P(RECOVERYHISTORY), 24);
    cim_inst_set_interval(in, P(AUTORESYNCHRONIZEINTERVALSTART), 3600);
    assert_true(cim_inst_is_seen(in, P(RECOVERYHISTORY)));
    vr_auto(cim_inst_free) struct cim_inst *copy = cim_inst_dup(in);
    assert_true(cim_inst_equal(in, copy));
    cim_inst_add_str(copy, P(INCLUDEDDISKS), "c");
    assert_false(cim_inst_equal(in, copy));
    assert_int_equal(cim_inst_value(copy, P(INCLUDEDDISKS))->n, 3);
    cim_inst_set_strv(copy, P(INCLUDEDDISKS), NULL, 0);
    assert_false(cim_inst_value(copy, P(INCLUDEDDISKS))->is_null);
    vr_auto(cim_path_free) struct cim_path *p = cim_inst_path(in);
    vr_autofree char *text = cim_path_fmt(p, "HOST");
    assert_string_equal(text, "\\\\HOST\\root\\virtualization\\v2:Msvm_ReplicationSettingData."
                              "InstanceID=\"Microsoft:G\\\\HVR\\\\0\"");
    assert_true(cim_inst_matches(copy, p));
    cim_inst_set_str(copy, P(INSTANCEID), "other");
    assert_false(cim_inst_matches(copy, p));
}

static void test_defaults_of_all(void **st)
{
    for (size_t i = 0; i < CIM_CLASS_COUNT; i++) {
        vr_auto(cim_inst_free) struct cim_inst *in = cim_inst_new(i);
        for (size_t k = 0; k < in->cls->n_props; k++)
            assert_int_equal(in->props[k].is_null, in->cls->props[k].def == NULL);
    }
}

static void test_args(void **st)
{
    const struct cim_method *m =
        cim_class_method(cim_class_get(CIM_C_MSVM_REPLICATIONSERVICE), "StartReplication");
    vr_auto(cim_args_free) struct cim_args *a = cim_args_new(m);

    assert_null(cim_args_at(a, "NoSuch"));
    assert_int_equal(cim_args_uint(a, "InitialReplicationType", 9), 9);
    cim_value_put_uint(cim_args_at(a, "initialreplicationtype"), 1);
    assert_int_equal(cim_args_uint(a, "InitialReplicationType", 9), 1);
    assert_null(cim_args_ref(a, "ComputerSystem"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_class_lookup),    cmocka_unit_test(test_class_members),
        cmocka_unit_test(test_datetime),        cmocka_unit_test(test_value_text),
        cmocka_unit_test(test_value_order),     cmocka_unit_test(test_instance),
        cmocka_unit_test(test_defaults_of_all), cmocka_unit_test(test_args),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
