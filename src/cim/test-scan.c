/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Answers in slices: nothing missing, nothing twice, whatever happens between two slices. The
 * providers take a while for each machine, so that a slice never does all of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "cim/scan.h"
#include "cim/watch.h"

#define SYS(n) CIM_P_MSVM_COMPUTERSYSTEM_##n
#define REL(n) CIM_P_MSVM_REPLICATIONRELATIONSHIP_##n
#define LINK(n) CIM_P_MSVM_SYSTEMREPLICATIONRELATIONSHIP_##n

static const struct cim_caller reader = { "reader", CIM_ROLE_READER, true, NULL };
static size_t first, last; /* machines that there are */
static bool broken;

static void work(void)
{
    struct timespec t = { 0, 300000 };
    nanosleep(&t, NULL);
}

static struct cim_inst *system_of(size_t i)
{
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_COMPUTERSYSTEM);
    cim_inst_set_str(in, SYS(CREATIONCLASSNAME), "Msvm_ComputerSystem");
    cim_inst_set_strf(in, SYS(NAME), "m%zu", i);
    cim_inst_set_strf(in, SYS(ELEMENTNAME), "%s", i % 2 ? "odd" : "even");
    return in;
}

static struct cim_inst *rel_of(size_t i)
{
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_REPLICATIONRELATIONSHIP);
    cim_inst_set_strf(in, REL(INSTANCEID), "r%zu", i);
    return in;
}

/* Each machine is linked with its own relationship and, twice, with the one of all. */
static bool emit_links(struct cim_sink *sink, size_t i)
{
    const size_t to[] = { i, 0, 0 };
    for (size_t k = 0; k < VR_ARRAY_LEN(to); k++) {
        vr_auto(cim_inst_free) struct cim_inst *a = system_of(i), *b = rel_of(to[k]);
        vr_auto(cim_path_free) struct cim_path *pa = cim_inst_path(a), *pb = cim_inst_path(b);
        struct cim_inst *in = cim_inst_new(CIM_C_MSVM_SYSTEMREPLICATIONRELATIONSHIP);
        cim_inst_set_ref(in, LINK(ANTECEDENT), pa);
        cim_inst_set_ref(in, LINK(DEPENDENT), pb);
        if (!cim_emit(sink, in))
            return false;
    }
    return true;
}

#define EACH(name, emit)                                                                        \
    static enum cim_status name(void *ctx, const struct cim_caller *who, struct cim_sink *sink, \
                                struct vr_err *err)                                             \
    {                                                                                           \
        size_t at = cim_sink_at(sink);                                                          \
        for (size_t i = at ? at : first; i < last; i++) {                                       \
            work();                                                                             \
            if (!(emit) || cim_sink_pause(sink, i + 1))                                         \
                break;                                                                          \
        }                                                                                       \
        if (!broken)                                                                            \
            return CIM_S_OK;                                                                    \
        vr_fail(err, VR_E_IO, 0, "broken");                                                     \
        return CIM_S_FAILED;                                                                    \
    }
EACH(enum_systems, cim_emit(sink, system_of(i)))
EACH(enum_links, emit_links(sink, i))

static enum cim_status enum_rels(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                 struct vr_err *err)
{
    for (size_t i = 0; i < last; i++)
        if (!cim_emit(sink, rel_of(i)))
            break;
    return CIM_S_OK;
}

static int setup(void **st)
{
    struct cim_server *s = cim_server_new("HOST");
    cim_server_register(
        s, &(struct cim_provider){ .cls = CIM_C_MSVM_COMPUTERSYSTEM, .enumerate = enum_systems });
    cim_server_register(s, &(struct cim_provider){ .cls = CIM_C_MSVM_REPLICATIONRELATIONSHIP,
                                                   .enumerate = enum_rels });
    cim_server_register(s, &(struct cim_provider){ .cls = CIM_C_MSVM_SYSTEMREPLICATIONRELATIONSHIP,
                                                   .enumerate = enum_links });
    first = 1;
    last = 40;
    broken = false;
    *st = s;
    return 0;
}

static int teardown(void **st)
{
    cim_server_free(*st);
    return 0;
}

/* Runs to the end; @between is called once after the first slice. Returns the number of slices. */
static size_t finish(struct cim_scan *sc, void (*between)(struct cim_server *), void *s,
                     struct cim_list *ret)
{
    bool over = false;
    size_t n = 0;
    for (; !over; n++) {
        struct vr_err e = VR_ERR_INIT;
        if (n == 1 && between)
            between(s);
        if (cim_scan_run(sc, 1, &over, &e) != CIM_S_OK)
            fail_msg("%s", e.msg);
        assert_true(n < 10000);
    }
    cim_scan_take(sc, ret);
    return n;
}

static void same(const struct cim_list *a, const struct cim_list *b)
{
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++)
        assert_true(cim_inst_equal(a->v[i], b->v[i]));
}

static const struct cim_class *class_of(const char *name)
{
    return cim_class_find(name);
}

static void test_slices_and_the_whole_are_the_same(void **st)
{
    static const char *const classes[] = { "Msvm_ComputerSystem", "CIM_ManagedElement",
                                           "Msvm_SystemReplicationRelationship" };
    for (size_t i = 0; i < VR_ARRAY_LEN(classes); i++) {
        cim_autolist struct cim_list whole = CIM_LIST_INIT, sliced = CIM_LIST_INIT;
        vr_auto(cim_scan_free) struct cim_scan *sc =
            cim_scan_class(*st, &reader, class_of(classes[i]), true, NULL);
        assert_int_equal(
            cim_enumerate(*st, &reader, class_of(classes[i]), true, NULL, &whole, NULL), CIM_S_OK);
        assert_true(finish(sc, NULL, NULL, &sliced) > 5);
        assert_true(whole.n >= 39);
        same(&whole, &sliced);
    }
}

static void test_queries(void **st)
{
    static const struct {
        const char *text;
        size_t n;
    } t[] = {
        { "SELECT ElementName FROM Msvm_ComputerSystem WHERE ElementName = 'odd'", 20 },
        { "REFERENCES OF {Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\","
          "Name=\"m7\"}",
          3 },
        { "ASSOCIATORS OF {Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\","
          "Name=\"m7\"}",
          2 }, /* its own, and once the one of all */
        { "ASSOCIATORS OF {Msvm_ReplicationRelationship=\"r0\"}", 39 },
        { "ASSOCIATORS OF {Msvm_ReplicationRelationship=\"r0\"} WHERE ResultClass = "
          "CIM_ComputerSystem Role = Dependent",
          39 },
        { "ASSOCIATORS OF {Msvm_ReplicationRelationship=\"r0\"} WHERE Role = Antecedent", 0 },
    };
    for (size_t i = 0; i < VR_ARRAY_LEN(t); i++) {
        cim_autolist struct cim_list whole = CIM_LIST_INIT, sliced = CIM_LIST_INIT;
        struct cim_query *q = NULL;
        struct vr_err e = VR_ERR_INIT;
        if (cim_query(*st, &reader, CIM_NS_VIRT, t[i].text, &whole, &e) != CIM_S_OK)
            fail_msg("%s: %s", t[i].text, e.msg);
        assert_int_equal(whole.n, t[i].n);
        assert_int_equal(cim_query_parse(CIM_NS_VIRT, t[i].text, &q, &e), CIM_S_OK);
        vr_auto(cim_scan_free) struct cim_scan *sc = cim_scan_query(*st, &reader, q);
        finish(sc, NULL, NULL, &sliced);
        same(&whole, &sliced);
    }
}

static void machines_went(struct cim_server *s)
{
    first = 3;
    cim_moved(s);
}

static void test_machines_go_between_two_slices(void **st)
{
    cim_autolist struct cim_list found = CIM_LIST_INIT;
    vr_auto(cim_scan_free) struct cim_scan *sc =
        cim_scan_class(*st, &reader, class_of("Msvm_ComputerSystem"), true, NULL);
    finish(sc, machines_went, *st, &found);
    assert_int_equal(found.n, 37);
    for (size_t i = 0; i < found.n; i++) {
        char want[16];
        snprintf(want, sizeof want, "m%zu", i + 3);
        assert_string_equal(cim_inst_str(found.v[i], SYS(NAME)), want);
    }
}

/* Machines that come and go all the time do not keep a scan from ending. */
static void test_a_scan_ends(void **st)
{
    vr_auto(cim_scan_free) struct cim_scan *sc =
        cim_scan_class(*st, &reader, class_of("Msvm_ComputerSystem"), true, NULL);
    bool over = false;
    int n = 0;
    for (; !over; n++) {
        assert_true(n < 10);
        assert_int_equal(cim_scan_run(sc, 1, &over, NULL), CIM_S_OK);
        cim_moved(*st);
    }
    assert_int_equal(cim_scan_found(sc), 39);
}

static void test_failures(void **st)
{
    const struct cim_caller none = { "none", CIM_ROLE_NONE, false, NULL };
    const struct cim_assoc how = { 0 };
    vr_auto(cim_path_free) struct cim_path *nowhere =
        cim_path_of(CIM_C_MSVM_REPLICATIONRELATIONSHIP, "r99");
    vr_auto(cim_scan_free) struct cim_scan *a =
        cim_scan_class(*st, &none, class_of("Msvm_ComputerSystem"), true, NULL);
    vr_auto(cim_scan_free) struct cim_scan *b = cim_scan_associators(*st, &reader, nowhere, &how);
    vr_auto(cim_scan_free) struct cim_scan *c =
        cim_scan_class(*st, &reader, class_of("Msvm_ComputerSystem"), true, nowhere);
    vr_auto(cim_scan_free) struct cim_scan *d =
        cim_scan_class(*st, &reader, class_of("Msvm_ComputerSystem"), true, NULL);
    bool over = false;
    assert_int_equal(cim_scan_run(a, 2, &over, NULL), CIM_S_DENIED);
    assert_true(over);
    assert_int_equal(cim_scan_run(b, 2, &over, NULL), CIM_S_NOT_FOUND);
    assert_int_equal(cim_scan_run(c, 2, &over, NULL), CIM_S_KEYS_UNKNOWN);
    assert_int_equal(cim_scan_run(d, 1, &over, NULL), CIM_S_OK);
    assert_false(over);
    broken = true;
    assert_int_equal(cim_scan_run(d, 1, &over, NULL), CIM_S_FAILED);
    assert_true(over);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = { T(test_slices_and_the_whole_are_the_same), T(test_queries),
                                        T(test_machines_go_between_two_slices), T(test_a_scan_ends),
                                        T(test_failures) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
