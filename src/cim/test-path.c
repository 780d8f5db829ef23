/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Object paths as people and programs write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "cim/path.h"

static struct cim_path *parse(const char *text)
{
    struct vr_err err = VR_ERR_INIT;
    struct cim_path *p = NULL;

    if (cim_path_parse(text, &p, &err) < 0)
        fail_msg("%s: %s", text, err.msg);
    return p;
}

static void round_trip(const char *text, const char *want)
{
    vr_auto(cim_path_free) struct cim_path *p = parse(text);
    vr_autofree char *s = cim_path_fmt(p, NULL);

    assert_string_equal(s, want);
    vr_auto(cim_path_free) struct cim_path *again = parse(s);
    assert_true(cim_path_equal(p, again));
}

static void test_forms(void **st)
{
    round_trip("\\\\HOST\\root\\virtualization\\v2:Msvm_ReplicationRelationship."
               "InstanceID=\"Microsoft:G\\\\HVR\\\\0\"",
               "\\\\HOST\\root\\virtualization\\v2:Msvm_ReplicationRelationship."
               "InstanceID=\"Microsoft:G\\\\HVR\\\\0\"");
    round_trip("//host.example/root/virtualization/v2:msvm_computersystem.Name='X',"
               "creationclassname=\"Msvm_ComputerSystem\"",
               "\\\\host.example\\root\\virtualization\\v2:Msvm_ComputerSystem."
               "CreationClassName=\"Msvm_ComputerSystem\",Name=\"X\"");
    round_trip("root/virtualization/v2:Msvm_ConcreteJob.InstanceID=\"A:B.C=D\"",
               "root\\virtualization\\v2:Msvm_ConcreteJob.InstanceID=\"A:B.C=D\"");
    round_trip("Msvm_ConcreteJob=\"x\"", "Msvm_ConcreteJob.InstanceID=\"x\"");
    round_trip("Msvm_ReplicationService=@", "Msvm_ReplicationService");
    round_trip("Msvm_ReplicationService", "Msvm_ReplicationService");
    round_trip("Strange_Class.A=1,B=\"a\\\"b\"", "Strange_Class.A=\"1\",B=\"a\\\"b\"");
    /* single backslashes that people forgot to double */
    round_trip("Msvm_ReplicationRelationship.InstanceID=\"Microsoft:G\\HVR\\0\"",
               "Msvm_ReplicationRelationship.InstanceID=\"Microsoft:G\\\\HVR\\\\0\"");
}

static void test_bad(void **st)
{
    const char *bad[] = { "",
                          ".",
                          "\\\\",
                          "\\\\host",
                          "\\\\host\\root",
                          "A.",
                          "A.B",
                          "A.B=",
                          "A.B=\"x",
                          "A.B=\"x\",",
                          "A.B=\"x\"y",
                          "A=\"x\"y",
                          "A.B=\"x\",b=\"y\"",
                          "root:",
                          "A B",
                          "A.B=\"x\" ",
                          "Msvm_HostedService.Antecedent=\"no path at all\"" };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct vr_err err = VR_ERR_INIT;
        struct cim_path *p = NULL;
        if (cim_path_parse(bad[i], &p, &err) == 0)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_null(p);
    }
}

#define VM                                                 \
    "\\\\H\\root\\virtualization\\v2:Msvm_ComputerSystem." \
    "CreationClassName=\"Msvm_ComputerSystem\",Name=\"AB\""

static void test_nested(void **st)
{
    struct vr_err err = VR_ERR_INIT;
    vr_auto(cim_path_free) struct cim_path *vm = parse(VM);
    vr_auto(cim_path_free) struct cim_path *rel =
        cim_path_of(CIM_C_MSVM_REPLICATIONRELATIONSHIP, "Microsoft:AB\\HVR\\0");
    vr_auto(cim_path_free) struct cim_path *p =
        cim_path_new(CIM_NS_VIRT, "Msvm_SystemReplicationRelationship");

    assert_int_equal(cim_path_add_ref(p, "Antecedent", cim_path_dup(vm), &err), 0);
    assert_int_equal(cim_path_add_ref(p, "Dependent", cim_path_dup(rel), &err), 0);
    vr_autofree char *text = cim_path_fmt(p, "H");
    assert_non_null(strstr(text, "Antecedent=\"\\\\\\\\H\\\\root"));
    assert_non_null(strstr(text, "Microsoft:AB\\\\\\\\HVR\\\\\\\\0"));
    vr_auto(cim_path_free) struct cim_path *back = parse(text);
    assert_true(cim_path_equal(p, back));
    assert_true(cim_path_equal(cim_path_ref(back, "antecedent"), vm));
    assert_null(cim_path_key(back, "antecedent"));
    /* as a selector would bring it */
    vr_auto(cim_path_free) struct cim_path *sel =
        cim_path_new("root\\virtualization\\v2", "msvm_systemreplicationrelationship");
    vr_autofree char *inner = cim_path_fmt(rel, NULL);
    assert_int_equal(cim_path_add(sel, "Dependent", inner, &err), 0);
    assert_int_equal(cim_path_add(sel, "Antecedent", VM, &err), 0);
    assert_true(cim_path_equal(sel, p));
    assert_int_equal(cim_path_add(sel, "dependent", inner, &err), -1);
}

static void check_equal(const char *a, const char *b, bool want)
{
    vr_auto(cim_path_free) struct cim_path *p = parse(a);
    vr_auto(cim_path_free) struct cim_path *q = parse(b);

    if (cim_path_equal(p, q) != want || cim_path_equal(q, p) != want)
        fail_msg("%s and %s", a, b);
}

static void test_equal(void **st)
{
    check_equal(VM, "msvm_computersystem.NAME=\"ab\",CreationClassName=\"msvm_computersystem\"",
                true);
    check_equal(VM, "CIM_ComputerSystem.Name=\"ab\",CreationClassName=\"Msvm_ComputerSystem\"",
                true);
    check_equal(VM, "Msvm_ComputerSystem.Name=\"ac\",CreationClassName=\"Msvm_ComputerSystem\"",
                false);
    check_equal(VM, "Msvm_ComputerSystem.Name=\"ab\"", false);
    check_equal("Msvm_ConcreteJob=\"x\"", "Msvm_ConcreteJob.InstanceID=\"X\"", true);
    check_equal("Msvm_ConcreteJob=\"x\"", "Msvm_ReplicationProvider.Name=\"x\"", false);
    check_equal("root/virtualization/v2:Msvm_ConcreteJob=\"x\"",
                "root\\other:Msvm_ConcreteJob=\"x\"", false);
}

static void test_limits(void **st)
{
    struct vr_err err = VR_ERR_INIT;
    struct cim_path *none = NULL;
    vr_auto(cim_path_free) struct cim_path *p = cim_path_new(NULL, "X");
    vr_autofree char *longest = vr_new0(70001, 1);

    for (int i = 0; i < CIM_PATH_KEYS_MAX; i++) {
        vr_autofree char *name = vr_printf("k%d", i);
        assert_int_equal(cim_path_add(p, name, "v", &err), 0);
    }
    assert_int_equal(cim_path_add(p, "more", "v", &err), -1);
    assert_int_equal(err.kind, VR_E_LIMIT);
    vr_err_clear(&err);
    struct cim_path *chain = cim_path_new(NULL, "C");
    for (int i = 0; i < CIM_PATH_DEPTH_MAX; i++) {
        struct cim_path *outer = cim_path_new(NULL, "C");
        assert_int_equal(cim_path_add_ref(outer, "Inner", chain, &err), 0);
        chain = outer;
    }
    vr_auto(cim_path_free) struct cim_path *deep = cim_path_new(NULL, "C");
    assert_int_equal(cim_path_add_ref(deep, "Inner", chain, &err), -1);
    assert_int_equal(err.kind, VR_E_LIMIT);
    memset(longest, 'a', 70000);
    vr_err_clear(&err);
    assert_int_equal(cim_path_add(deep, "k", longest, &err), -1);
    assert_int_equal(cim_path_parse(longest, &none, NULL), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms), cmocka_unit_test(test_bad),    cmocka_unit_test(test_nested),
        cmocka_unit_test(test_equal), cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
