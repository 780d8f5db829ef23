/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What subscribers hear of jobs, relationships and machines; and that the providers which look at
 * one machine only find the same as those that look at all. */
#include "cim/providers/testways.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cim/watch.h"

struct ear {
    const char *prop;
    char text[2048];
};

static void hear(void *ctx, const struct cim_event *ev)
{
    struct ear *ear = ctx;
    size_t n = strlen(ear->text);
    const struct cim_value *v = cim_inst_named(ev->target, ear->prop);
    vr_autofree char *text = v && !v->is_null ? cim_value_text(v, 0) : vr_strdup("NULL");
    const char *sign = ev->kind == CIM_EV_CREATED ? "+" : ev->kind == CIM_EV_DELETED ? "-" : "";

    snprintf(ear->text + n, sizeof ear->text - n, "%s%s%s", n ? " " : "", sign, text);
}

static struct cim_watch *watch(struct world *w, struct ear *ear, const char *query)
{
    struct cim_query *q = NULL;
    struct cim_watch *ret = NULL;
    struct vr_err e = VR_ERR_INIT;

    if (cim_query_parse_event(NULL, query, &q, &e) != CIM_S_OK ||
        cim_watch_new(w->cim, &w->who, q, hear, ear, &ret, &e) != CIM_S_OK)
        fail_msg("%s: %s", query, e.msg);
    return ret;
}

/* The states that a client following an initial copy has to see, in their order. */
static void a_copy_is_heard_from_beginning_to_end(void **st)
{
    struct world *w = *st;
    struct ear states = { "ReplicationState", "" }, jobs = { "JobState", "" };
    struct ear machines = { "ReplicationMode", "" }, own = { "State", "" };
    vr_auto(cim_watch_free) struct cim_watch *a =
        watch(w, &states,
              "SELECT * FROM __InstanceModificationEvent WITHIN 5 WHERE TargetInstance ISA "
              "'Msvm_ReplicationRelationship' AND TargetInstance.InstanceID LIKE '%000A%'");
    vr_auto(cim_watch_free) struct cim_watch *b =
        watch(w, &jobs,
              "SELECT * FROM __InstanceOperationEvent WHERE TargetInstance ISA "
              "'Msvm_ConcreteJob'");
    vr_auto(cim_watch_free) struct cim_watch *c =
        watch(w, &machines,
              "SELECT * FROM CIM_InstModification WHERE SourceInstance ISA "
              "'Msvm_ComputerSystem' AND PreviousInstance.ReplicationMode = 0");
    vr_auto(cim_watch_free) struct cim_watch *d =
        watch(w, &own,
              "SELECT * FROM CIM_InstModification WHERE SourceInstance ISA "
              "'Vmr_ReplicationStatus' AND SourceInstance.MachineName = 'web'");

    make_replicating(w);
    assert_string_equal(states.text, "1 2 3");
    assert_non_null(strstr(jobs.text, "+4"));
    assert_non_null(strstr(jobs.text, " 7"));
    assert_string_equal(machines.text, "1");
    assert_non_null(strstr(own.text, "replicating"));
}

/* A job that begins and ends within one call is heard as both. */
static void a_short_job_is_heard_twice(void **st)
{
    struct world *w = *st;
    struct ear jobs = { "JobState", "" };
    vr_auto(cim_watch_free) struct cim_watch *a =
        watch(w, &jobs,
              "SELECT * FROM __InstanceOperationEvent WHERE TargetInstance ISA "
              "'CIM_ConcreteJob'");

    done(w, CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", "2" }));
    assert_string_equal(jobs.text, "+4 7");
}

/* Machines come and go in the hypervisor. */
static void machines_of_the_hypervisor_are_heard(void **st)
{
    struct world *w = *st;
    struct ear names = { "ElementName", "" }, ids = { "InstanceID", "" };
    vr_auto(cim_watch_free) struct cim_watch *a =
        watch(w, &names,
              "SELECT * FROM __InstanceOperationEvent WHERE TargetInstance ISA "
              "'Msvm_ComputerSystem'");
    vr_auto(cim_watch_free) struct cim_watch *b =
        watch(w, &ids,
              "SELECT * FROM __InstanceDeletionEvent WHERE TargetInstance ISA "
              "'Msvm_ReplicationRelationship'");

    w->vm[1].power = HV_POWER_RUNNING;
    w->n_vms = 2;
    host_providers_machines_changed(w->prov, true);
    for (int i = 0; i < 40; i++) /* a look may take more than one */
        cim_watch_tick(w->cim, vr_mono_now());
    assert_string_equal(names.text, "db -odd");
    assert_string_equal(ids.text, "-Microsoft:" ODD "\\HVR\\0");
}

/* ---- one machine and all of them ---- */
static void same_by_get(struct world *w, const struct cim_inst *in)
{
    vr_auto(cim_path_free) struct cim_path *path = cim_inst_path(in);
    vr_auto(cim_inst_free) struct cim_inst *again = NULL;
    struct vr_err e = VR_ERR_INIT;

    if (cim_get(w->cim, &w->who, path, &again, &e) != CIM_S_OK)
        fail_msg("%s is listed, but: %s", in->cls->name, e.msg);
    vr_auto(cim_path_free) struct cim_path *there = cim_inst_path(again);
    assert_true(in->cls == again->cls && cim_path_equal(path, there));
}

static void found_from_both_ends(struct world *w, const struct cim_inst *in)
{
    for (size_t i = 0; i < in->cls->n_props; i++) {
        const struct cim_path *end = cim_value_ref(&in->props[i]);
        const struct cim_assoc how = { .result_class = in->cls->name };
        cim_autolist struct cim_list refs = CIM_LIST_INIT;
        struct vr_err e = VR_ERR_INIT;
        bool found = false;

        if (!end)
            continue;
        if (cim_references(w->cim, &w->who, end, &how, &refs, &e) != CIM_S_OK) {
            vr_autofree char *text = cim_path_fmt(end, NULL);
            fail_msg("%s names %s: %s", in->cls->name, text, e.msg);
        }
        for (size_t k = 0; k < refs.n; k++)
            found |= cim_inst_equal(refs.v[k], in);
        if (!found)
            fail_msg("a %s is not found from its %s", in->cls->name, in->cls->props[i].name);
    }
}

/* All that there is, by its own key and from both ends of what refers to it. */
static size_t everything_is_found(struct world *w)
{
    size_t seen = 0;

    for (size_t i = 0; i < CIM_CLASS_COUNT; i++) {
        cim_autolist struct cim_list all = CIM_LIST_INIT;
        struct vr_err e = VR_ERR_INIT;
        if (cim_enumerate(w->cim, &w->who, &cim_classes[i], false, NULL, &all, &e) != CIM_S_OK)
            fail_msg("%s: %s", cim_classes[i].name, e.msg);
        for (size_t k = 0; k < all.n; k++, seen++) {
            same_by_get(w, all.v[k]);
            if (cim_classes[i].is_association)
                found_from_both_ends(w, all.v[k]);
        }
    }
    return seen;
}

static void make_bound(struct world *w)
{
    make_any_server(w);
    make_replica(w);
}

static void everything_is_found_one_by_one(void **st)
{
    static void (*const situations[])(struct world *) = {
        make_nothing,      make_ready,       make_copying,   make_replicating,
        make_prepared,     make_updating,    make_waiting,   make_replica,
        make_bound,        make_failed_over, make_committed, make_replica_updating,
        make_failing_over, make_reversing,   make_tested,    make_exported,
    };

    for (size_t i = 0; i < VR_ARRAY_LEN(situations); i++) {
        world_free(st);
        world_new(st);
        situations[i](*st);
        assert_true(everything_is_found(*st) > 50);
    }
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, world_new, world_free)
    const struct CMUnitTest tests[] = { T(a_copy_is_heard_from_beginning_to_end),
                                        T(a_short_job_is_heard_twice),
                                        T(machines_of_the_hypervisor_are_heard),
                                        T(everything_is_found_one_by_one) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
