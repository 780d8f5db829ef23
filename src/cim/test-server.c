/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The server over a small world: one host, three machines, their relationships, a job. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "cim/query.h"

static const struct cim_caller reader = { "reader", CIM_ROLE_READER, true };
static const struct cim_caller nobody = { "nobody", CIM_ROLE_NONE, false };

#define SYS(n) CIM_P_MSVM_COMPUTERSYSTEM_##n
#define REL(n) CIM_P_MSVM_REPLICATIONRELATIONSHIP_##n
#define PAIR(n) CIM_P_MSVM_SYSTEMREPLICATIONRELATIONSHIP_##n

static const struct {
    const char *guid, *name;
    uint16_t state, mode;
} machines[] = { { "AAAA", "web_01", 2, 1 }, { "BBBB", "db", 3, 2 }, { "CCCC", "Web02", 3, 0 } };

static struct cim_inst *make_system(const char *guid, const char *name, const char *caption)
{
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_COMPUTERSYSTEM);

    cim_inst_set_str(in, SYS(CREATIONCLASSNAME), "Msvm_ComputerSystem");
    cim_inst_set_str(in, SYS(NAME), guid);
    cim_inst_set_str(in, SYS(ELEMENTNAME), name);
    cim_inst_set_str(in, SYS(CAPTION), caption);
    return in;
}

static enum cim_status enum_systems(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                    struct vr_err *err)
{
    if (!cim_emit(sink, make_system("HOST", "HOST", "Hosting Computer System")))
        return CIM_S_OK;
    for (size_t i = 0; i < 3; i++) {
        struct cim_inst *in = make_system(machines[i].guid, machines[i].name, "Virtual Machine");
        cim_inst_set_uint(in, SYS(ENABLEDSTATE), machines[i].state);
        cim_inst_set_uint(in, SYS(REPLICATIONMODE), machines[i].mode);
        if (i == 0)
            cim_inst_set_time(in, SYS(LASTREPLICATIONTIME), (struct wall_us){ 1714543200000000 });
        if (!cim_emit(sink, in))
            return CIM_S_OK;
    }
    return CIM_S_OK;
}

static struct cim_inst *make_rel(size_t i)
{
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_REPLICATIONRELATIONSHIP);

    cim_inst_set_strf(in, REL(INSTANCEID), "Microsoft:%s\\HVR\\0", machines[i].guid);
    cim_inst_set_uint(in, REL(REPLICATIONSTATE), 3 * i);
    return in;
}

static enum cim_status enum_rels(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                 struct vr_err *err)
{
    for (size_t i = 0; i < 3; i++)
        if (!cim_emit(sink, make_rel(i)))
            break;
    return CIM_S_OK;
}

static int gets;

static enum cim_status get_rel(void *ctx, const struct cim_caller *who, const struct cim_path *path,
                               struct cim_inst **ret, struct vr_err *err)
{
    gets++;
    for (size_t i = 0; i < 3; i++) {
        vr_auto(cim_inst_free) struct cim_inst *in = make_rel(i);
        if (cim_inst_matches(in, path)) {
            *ret = vr_take(in);
            return CIM_S_OK;
        }
    }
    return CIM_S_NOT_FOUND;
}

static enum cim_status enum_pairs(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                  struct vr_err *err)
{
    for (size_t i = 0; i < 3; i++) {
        struct cim_inst *in = cim_inst_new(CIM_C_MSVM_SYSTEMREPLICATIONRELATIONSHIP);
        vr_auto(cim_inst_free) struct cim_inst *sys = make_system(machines[i].guid, "", "");
        vr_auto(cim_inst_free) struct cim_inst *rel = make_rel(i);
        vr_auto(cim_path_free) struct cim_path *a = cim_inst_path(sys);
        vr_auto(cim_path_free) struct cim_path *b = cim_inst_path(rel);
        cim_inst_set_ref(in, PAIR(ANTECEDENT), a);
        cim_inst_set_ref(in, PAIR(DEPENDENT), b);
        if (!cim_emit(sink, in))
            break;
    }
    return CIM_S_OK;
}

static enum cim_status invoke_system(void *ctx, const struct cim_caller *who,
                                     const struct cim_inst *target, const struct cim_method *m,
                                     struct cim_args *args, uint32_t *ret, struct vr_err *err)
{
    if (cim_method_index(target->cls, m) != CIM_M_MSVM_COMPUTERSYSTEM_REQUESTSTATECHANGE)
        return CIM_S_UNSUPPORTED;
    vr_auto(cim_path_free) struct cim_path *job = cim_path_of(CIM_C_MSVM_CONCRETEJOB, "J");
    cim_value_put_ref(cim_args_at(args, "Job"), job);
    *ret = cim_args_uint(args, "RequestedState", 0) == 2 ? 4096 : 32775;
    return CIM_S_OK;
}

static struct cim_server *make_server(void)
{
    struct cim_server *s = cim_server_new("HOST");
    const struct cim_provider p[] = {
        { .cls = CIM_C_MSVM_COMPUTERSYSTEM, .enumerate = enum_systems, .invoke = invoke_system },
        { .cls = CIM_C_MSVM_REPLICATIONRELATIONSHIP, .enumerate = enum_rels, .get = get_rel },
        { .cls = CIM_C_MSVM_SYSTEMREPLICATIONRELATIONSHIP, .enumerate = enum_pairs },
    };

    for (size_t i = 0; i < sizeof p / sizeof *p; i++)
        cim_server_register(s, &p[i]);
    return s;
}

static enum cim_status get(struct cim_server *s, const char *path, struct cim_inst **ret)
{
    struct vr_err err = VR_ERR_INIT;
    struct cim_path *p = NULL;

    assert_int_equal(cim_path_parse(path, &p, NULL), 0);
    enum cim_status st = cim_get(s, &reader, p, ret, &err);
    assert_int_equal(st == CIM_S_OK, err.kind == VR_OK);
    cim_path_free(p);
    return st;
}

static void test_get(void **st)
{
    vr_auto(cim_server_free) struct cim_server *s = make_server();
    struct cim_inst *in = NULL;

    assert_int_equal(get(s, "Msvm_ComputerSystem.Name=\"bbbb\"", &in), CIM_S_OK);
    assert_string_equal(cim_inst_str(in, SYS(ELEMENTNAME)), "db");
    cim_inst_free(vr_take(in));
    /* by a superclass, with all keys */
    assert_int_equal(
        get(s, "CIM_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"BBBB\"", &in),
        CIM_S_OK);
    assert_int_equal(in->cls->id, CIM_C_MSVM_COMPUTERSYSTEM);
    cim_inst_free(vr_take(in));
    gets = 0;
    assert_int_equal(get(s, "Msvm_ReplicationRelationship=\"Microsoft:AAAA\\HVR\\0\"", &in),
                     CIM_S_OK);
    assert_int_equal(gets, 1);
    cim_inst_free(vr_take(in));
    assert_int_equal(get(s, "CIM_ManagedElement.InstanceID=\"Microsoft:BBBB\\HVR\\0\"", &in),
                     CIM_S_OK);
    cim_inst_free(vr_take(in));
    assert_int_equal(get(s, "Msvm_ComputerSystem.Name=\"x\"", &in), CIM_S_NOT_FOUND);
    assert_int_equal(get(s, "Msvm_ComputerSystem", &in), CIM_S_KEYS_MISSING);
    assert_int_equal(get(s, "Msvm_ComputerSystem.Colour=\"x\"", &in), CIM_S_KEYS_UNKNOWN);
    assert_int_equal(get(s, "Msvm_ComputerSystem.ElementName=\"x\"", &in), CIM_S_KEYS_UNKNOWN);
    assert_int_equal(get(s, "Msvm_Nothing.Name=\"x\"", &in), CIM_S_NO_CLASS);
    assert_int_equal(get(s, "root/else:Msvm_ComputerSystem.Name=\"x\"", &in), CIM_S_NO_NAMESPACE);
    assert_int_equal(get(s, "root/vmreplica/v1:Msvm_ComputerSystem.Name=\"x\"", &in),
                     CIM_S_NO_CLASS);
    assert_int_equal(get(s, "Msvm_ConcreteJob=\"x\"", &in), CIM_S_NOT_FOUND);
    assert_null(in);
}

static void test_denied(void **st)
{
    vr_auto(cim_server_free) struct cim_server *s = make_server();
    cim_autolist struct cim_list l = CIM_LIST_INIT;
    struct vr_err err = VR_ERR_INIT;

    assert_int_equal(cim_query(s, &nobody, NULL, "select * from Msvm_ComputerSystem", &l, &err),
                     CIM_S_DENIED);
    assert_int_equal(l.n, 0);
}

static void test_enumerate(void **st)
{
    vr_auto(cim_server_free) struct cim_server *s = make_server();
    cim_autolist struct cim_list l = CIM_LIST_INIT;
    struct vr_err err = VR_ERR_INIT;

    assert_int_equal(
        cim_enumerate(s, &reader, cim_class_find("CIM_ManagedElement"), false, NULL, &l, &err),
        CIM_S_OK);
    assert_int_equal(l.n, 0);
    assert_int_equal(
        cim_enumerate(s, &reader, cim_class_find("CIM_ManagedElement"), true, NULL, &l, &err),
        CIM_S_OK);
    assert_int_equal(l.n, 7);
    assert_true(cim_server_has(s, cim_class_find("CIM_Dependency")));
    assert_false(cim_server_has(s, cim_class_find("CIM_Job")));
}

static void test_invoke(void **st)
{
    vr_auto(cim_server_free) struct cim_server *s = make_server();
    vr_auto(cim_path_free) struct cim_path *p =
        cim_path_new(CIM_NS_VIRT, "CIM_EnabledLogicalElement");
    struct vr_err err = VR_ERR_INIT;
    const struct cim_method *m;
    uint32_t code = 1;

    assert_int_equal(cim_path_add(p, "Name", "AAAA", NULL), 0);
    assert_int_equal(cim_path_add(p, "CreationClassName", "Msvm_ComputerSystem", NULL), 0);
    assert_int_equal(cim_find_method(p, "requeststatechange", &m, &err), CIM_S_OK);
    vr_auto(cim_args_free) struct cim_args *a = cim_args_new(m);
    cim_value_put_uint(cim_args_at(a, "RequestedState"), 2);
    assert_int_equal(cim_invoke(s, &reader, p, a, &code, &err), CIM_S_OK);
    assert_int_equal(code, 4096);
    assert_string_equal(cim_path_key(cim_args_ref(a, "Job"), "InstanceID"), "J");
    cim_value_put_uint(cim_args_at(a, "RequestedState"), 3);
    assert_int_equal(cim_invoke(s, &reader, p, a, &code, &err), CIM_S_OK);
    assert_int_equal(code, 32775);
    assert_null(cim_args_ref(a, "Job"));
    assert_int_equal(cim_find_method(p, "Explode", &m, &err), CIM_S_NO_METHOD);
}

/* Names of the machines or ids that a query finds, in order, joined by commas. */
static void check(const char *query, const char *want)
{
    vr_auto(cim_server_free) struct cim_server *s = make_server();
    cim_autolist struct cim_list l = CIM_LIST_INIT;
    struct vr_err err = VR_ERR_INIT;
    char got[256] = "";

    enum cim_status st = cim_query(s, &reader, CIM_NS_VIRT, query, &l, &err);
    if (st != CIM_S_OK)
        fail_msg("%s: %s", query, err.msg);
    for (size_t i = 0; i < l.n; i++) {
        const struct cim_value *v = cim_inst_named(l.v[i], "ElementName");
        const char *n = v ? cim_value_str(v) : NULL;
        if (!n)
            n = v ? cim_value_str(cim_inst_named(l.v[i], "InstanceID")) : l.v[i]->cls->name;
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", i ? "," : "", n);
    }
    if (strcmp(got, want) != 0)
        fail_msg("%s: found %s, not %s", query, got, want);
}

#define ALL "SELECT * FROM Msvm_ComputerSystem WHERE "

/* Columns of what an instance is. */
static void test_system_columns(void **st)
{
    vr_auto(cim_query_free) struct cim_query *q = NULL, *no = NULL;
    vr_auto(cim_inst_free) struct cim_inst *in = cim_inst_new(CIM_C_MSVM_CONCRETEJOB);
    static const struct {
        enum cim_syscol col;
        const char *text;
    } rows[] = { { CIM_SYS_CLASS, "Msvm_ConcreteJob" },
                 { CIM_SYS_SUPERCLASS, "CIM_ConcreteJob" },
                 { CIM_SYS_NAMESPACE, CIM_NS_VIRT },
                 { CIM_SYS_SERVER, "hosta" },
                 { CIM_SYS_RELPATH, "Msvm_ConcreteJob.InstanceID=\"A\\\\B\"" },
                 { CIM_SYS_PATH, "\\\\hosta\\root\\virtualization\\v2:Msvm_ConcreteJob."
                                 "InstanceID=\"A\\\\B\"" } };
    struct vr_err err = VR_ERR_INIT;

    cim_inst_set_str(in, CIM_P_MSVM_CONCRETEJOB_INSTANCEID, "A\\B");
    for (size_t i = 0; i < VR_ARRAY_LEN(rows); i++) {
        vr_autofree char *text = cim_system_text(in, rows[i].col, "hosta");
        assert_string_equal(text, rows[i].text);
    }
    assert_int_equal(
        cim_query_parse(NULL, "SELECT __path, JobState, __CLASS FROM CIM_Job", &q, &err), CIM_S_OK);
    assert_int_equal(q->sys, CIM_SYS_PATH | CIM_SYS_CLASS);
    assert_int_equal(cim_query_parse(NULL, "SELECT __FILE FROM CIM_Job", &no, &err),
                     CIM_S_BAD_QUERY);
    vr_auto(cim_inst_free) struct cim_inst *root =
        cim_inst_new_of(cim_class_find("CIM_ManagedElement"));
    assert_null(cim_system_text(root, CIM_SYS_SUPERCLASS, "hosta"));
}

static void test_select(void **st)
{
    check("select * from msvm_computersystem", "HOST,web_01,db,Web02");
    check("SELECT ElementName, Name FROM CIM_System;", "HOST,web_01,db,Web02");
    check(ALL "Name = 'bbbb'", "db");
    check(ALL "'bbbb' = Name", "db");
    check(ALL "Caption = \"Virtual Machine\" AND EnabledState = 3", "db,Web02");
    check(ALL "Caption <> 'Virtual Machine'", "HOST");
    check(ALL "ElementName = 'db' OR ElementName = 'HOST' AND EnabledState = 99", "db");
    check(ALL "(ElementName = 'db' OR ElementName = 'HOST') AND NOT EnabledState = 3", "HOST");
    check(ALL "ElementName LIKE 'web%'", "web_01,Web02");
    check(ALL "ElementName LIKE '%[_]0_'", "web_01");
    check(ALL "ElementName LIKE '[^w]%'", "HOST,db");
    check(ALL "NOT ElementName LIKE '%b%'", "HOST");
    check(ALL "ReplicationMode >= 1 AND ReplicationMode < 2", "web_01");
    check(ALL "2 > ReplicationMode", "web_01,Web02");
    check(ALL "ReplicationMode IS NULL", "HOST");
    check(ALL "ReplicationMode = NULL", "HOST");
    check(ALL "LastReplicationTime IS NOT NULL", "web_01");
    check(ALL "LastReplicationTime > '20240501055959.000000+000'", "web_01");
    check(ALL "NOT ReplicationMode = 1", "db,Web02");
    check(ALL "__CLASS = 'msvm_computersystem' AND Name = 'AAAA'", "web_01");
    check("SELECT * FROM CIM_ManagedElement WHERE __THIS ISA 'Msvm_ReplicationRelationship'",
          "Microsoft:AAAA\\HVR\\0,Microsoft:BBBB\\HVR\\0,Microsoft:CCCC\\HVR\\0");
    check("SELECT * FROM Msvm_ReplicationRelationship WHERE InstanceID = "
          "'Microsoft:BBBB\\\\HVR\\\\0'",
          "Microsoft:BBBB\\HVR\\0");
}

static void test_walks(void **st)
{
#define AA                                                              \
    "{\\\\H\\root\\virtualization\\v2:Msvm_ComputerSystem.Name='AAAA'," \
    "CreationClassName='Msvm_ComputerSystem'}"
    check("ASSOCIATORS OF " AA, "Microsoft:AAAA\\HVR\\0");
    check(
        "associators of " AA " where ResultClass = Msvm_ReplicationRelationship "
        "AssocClass = Msvm_SystemReplicationRelationship Role = antecedent ResultRole = Dependent",
        "Microsoft:AAAA\\HVR\\0");
    check("ASSOCIATORS OF " AA " WHERE Role = Dependent", "");
    check("ASSOCIATORS OF " AA " WHERE ResultClass = CIM_Job", "");
    check("ASSOCIATORS OF " AA " WHERE AssocClass = CIM_Component", "");
    check("ASSOCIATORS OF {Msvm_ReplicationRelationship.InstanceID=\"Microsoft:BBBB\\\\HVR\\\\0\"}",
          "db");
    check("REFERENCES OF " AA, "Msvm_SystemReplicationRelationship");
    check("REFERENCES OF " AA " WHERE ResultClass = CIM_Dependency",
          "Msvm_SystemReplicationRelationship");
    check("REFERENCES OF {Msvm_ComputerSystem.Name=\"HOST\"}", "");
}

static void test_bad_queries(void **st)
{
    static const struct {
        const char *text;
        enum cim_status want;
    } bad[] = {
        { "", CIM_S_BAD_QUERY },
        { "DELETE FROM Msvm_ComputerSystem", CIM_S_BAD_QUERY },
        { "SELECT", CIM_S_BAD_QUERY },
        { "SELECT * FROM", CIM_S_BAD_QUERY },
        { "SELECT * FROM Msvm_Nothing", CIM_S_NO_CLASS },
        { "SELECT Colour FROM Msvm_ComputerSystem", CIM_S_BAD_QUERY },
        { ALL, CIM_S_BAD_QUERY },
        { ALL "Colour = 1", CIM_S_BAD_QUERY },
        { ALL "Name", CIM_S_BAD_QUERY },
        { ALL "Name = ", CIM_S_BAD_QUERY },
        { ALL "Name = 'x", CIM_S_BAD_QUERY },
        { ALL "Name = 'x' garbage", CIM_S_BAD_QUERY },
        { ALL "(Name = 'x'", CIM_S_BAD_QUERY },
        { ALL "Name > NULL", CIM_S_BAD_QUERY },
        { ALL "EnabledState = 'blue'", CIM_S_BAD_QUERY },
        { ALL "EnabledState LIKE 'b'", CIM_S_BAD_QUERY },
        { ALL "OperationalStatus = 2", CIM_S_BAD_QUERY },
        { ALL "Name = Name", CIM_S_BAD_QUERY },
        { ALL "#", CIM_S_BAD_QUERY },
        { "ASSOCIATORS OF", CIM_S_BAD_QUERY },
        { "ASSOCIATORS OF {x", CIM_S_BAD_QUERY },
        { "ASSOCIATORS OF {}", CIM_S_BAD_QUERY },
        { "ASSOCIATORS OF {Msvm_ComputerSystem.Name='HOST'} WHERE", CIM_S_BAD_QUERY },
        { "ASSOCIATORS OF {Msvm_ComputerSystem.Name='HOST'} WHERE Colour = x", CIM_S_BAD_QUERY },
        { "ASSOCIATORS OF {Msvm_ComputerSystem.Name='HOST'} WHERE ClassDefsOnly", CIM_S_BAD_QUERY },
        { "ASSOCIATORS OF {Msvm_ComputerSystem.Name='HOST'} WHERE RequiredQualifier = x",
          CIM_S_BAD_QUERY },
        { "REFERENCES OF {Msvm_ComputerSystem.Name='HOST'} WHERE SchemaOnly", CIM_S_BAD_QUERY },
        { ALL "Name = 'x' ORDER BY Name", CIM_S_BAD_QUERY },
        { "SELECT COUNT(*) FROM Msvm_ComputerSystem", CIM_S_BAD_QUERY },
        { "SELECT * FROM meta_class", CIM_S_NO_CLASS },
        { "ASSOCIATORS OF {Msvm_ComputerSystem.Name='HOST'} WHERE AssocClass = No",
          CIM_S_NO_CLASS },
        { "REFERENCES OF {Msvm_ComputerSystem.Name='nobody'}", CIM_S_NOT_FOUND },
    };
    vr_auto(cim_server_free) struct cim_server *s = make_server();

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cim_autolist struct cim_list l = CIM_LIST_INIT;
        struct vr_err err = VR_ERR_INIT;
        enum cim_status got = cim_query(s, &reader, CIM_NS_VIRT, bad[i].text, &l, &err);
        if (got != bad[i].want)
            fail_msg("\"%s\": %s (%s)", bad[i].text, cim_status_name(got), err.msg);
        assert_true(err.msg[0]);
    }
}

static void test_query_limits(void **st)
{
    struct cim_query *q = NULL;
    struct vr_err err = VR_ERR_INIT;
    vr_autofree char *deep = vr_new0(1, 4096);

    memcpy(deep, ALL, strlen(ALL));
    memset(deep + strlen(ALL), '(', 200);
    assert_int_equal(cim_query_parse(NULL, deep, &q, &err), CIM_S_BAD_QUERY);
    assert_non_null(strstr(err.msg, "nested"));
    vr_autofree char *lots = vr_new0(1, CIM_QUERY_LEN_MAX + 2);
    memset(lots, ' ', CIM_QUERY_LEN_MAX + 1);
    vr_err_clear(&err);
    assert_int_equal(cim_query_parse(NULL, lots, &q, &err), CIM_S_BAD_QUERY);
}

static void test_like(void **st)
{
    assert_true(cim_like("", ""));
    assert_true(cim_like("", "%"));
    assert_true(cim_like("abc", "a%c"));
    assert_true(cim_like("abcbc", "a%bc"));
    assert_true(cim_like("a-b", "a[+-]b"));
    assert_true(cim_like("a]", "a]"));
    assert_true(cim_like("a[", "a["));
    assert_false(cim_like("abc", "ab"));
    assert_false(cim_like("ab", "abc"));
    assert_false(cim_like("abc", "a_"));
    assert_false(cim_like("b", "[^a-c]"));
    assert_true(cim_like("K\u00f6ln", "k_ln"));
    assert_true(cim_like("\u00f6\u20ac\U0001f600", "___"));
    assert_false(cim_like("\u00f6", "__"));
    assert_true(cim_like("K\u00f6ln", "K[\u00e4\u00f6\u00fc]ln"));
    assert_true(cim_like("K\u00f6ln", "K[\u00e0-\u00ff]ln"));
    assert_false(cim_like("K\u00e4ln", "K[\u00f6\u00fc]ln")); /* they share their first byte */
    assert_false(cim_like("K\u00f6ln", "K[^\u00f6]ln"));
    assert_true(cim_like("\u20ac1 \u20ac22", "%\u20ac__"));
    assert_false(cim_like("\u00e9", "%\xa9")); /* no half of a character */
    assert_true(cim_like("a\xff"
                         "b",
                         "a_b"));
    assert_true(cim_like("\xe2\x82", "__"));
}

static void test_projection(void **st)
{
    vr_auto(cim_server_free) struct cim_server *s = make_server();
    cim_autolist struct cim_list l = CIM_LIST_INIT;

    assert_int_equal(
        cim_query(s, &reader, NULL, "select elementname from Msvm_ComputerSystem", &l, NULL),
        CIM_S_OK);
    assert_false(cim_inst_is_hidden(l.v[0], SYS(ELEMENTNAME)));
    assert_true(cim_inst_is_hidden(l.v[0], SYS(NAME))); /* a key, but nobody asked for it */
    assert_true(cim_inst_is_hidden(l.v[0], SYS(CAPTION)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get),          cmocka_unit_test(test_denied),
        cmocka_unit_test(test_enumerate),    cmocka_unit_test(test_invoke),
        cmocka_unit_test(test_select),       cmocka_unit_test(test_system_columns),
        cmocka_unit_test(test_walks),        cmocka_unit_test(test_bad_queries),
        cmocka_unit_test(test_query_limits), cmocka_unit_test(test_like),
        cmocka_unit_test(test_projection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
