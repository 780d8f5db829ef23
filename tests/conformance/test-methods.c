/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every method of the interface: with 0 or with a job, the job's number, whether it can be
 * cancelled, what it affects, who owns it (methods.def). src:[contract.md section B] */
#include "methods.h"

#include <stdio.h>

/* ---- the job ---- */
/* The names of what @job affects, in any order. */
static void check_affected(struct world *w, const struct row *r, const char *job)
{
    cim_autolist struct cim_list l = walk(w, job, "Msvm_AffectedJobElement", NULL);
    size_t found = 0, want = 1;

    for (const char *c = r->affected; *c; c++)
        want += *c == ' ';
    for (size_t i = 0; i < l.n; i++) {
        const char *name = cim_inst_str(l.v[i], CIM_P_MSVM_COMPUTERSYSTEM_NAME);
        found += name && strstr(r->affected, name) != NULL;
    }
    if (l.n != want || found != want)
        fail_msg("%s affects %zu elements, %zu of %s", r->method, l.n, found, r->affected);
    /* and from the other end, as the cmdlets look for it */
    for (size_t i = 0; i < l.n; i++) {
        vr_auto(cim_path_free) struct cim_path *p = cim_inst_path(l.v[i]);
        vr_autofree char *element = cim_path_fmt(p, NULL);
        vr_auto(cim_inst_free) struct cim_inst *mine = last_job(w);
        cim_autolist struct cim_list back =
            walk(w, element, "Msvm_AffectedJobElement", "Msvm_ConcreteJob");
        const char *id = cim_inst_str(mine, CIM_P_MSVM_CONCRETEJOB_INSTANCEID);
        bool there = false;
        for (size_t k = 0; k < back.n; k++)
            there |= !strcmp(cim_inst_str(back.v[k], CIM_P_MSVM_CONCRETEJOB_INSTANCEID), id);
        if (!there)
            fail_msg("%s: its job is not found from %s", r->method, element);
    }
}

static void check_job(struct world *w, const struct row *r)
{
    vr_autofree char *job = arg_text(w, ARG_JOB);
    unsigned running = r->hold == LATER ? 2 : r->hold ? 4 : 7;

    if (num(w, job, "JobState") != running || num(w, job, "JobType") != (unsigned)r->type ||
        (num(w, job, "Cancellable") != 0) != r->cancellable)
        fail_msg("%s: job in state %u of type %u, cancellable %u; expected %u, %d, %d", r->method,
                 (unsigned)num(w, job, "JobState"), (unsigned)num(w, job, "JobType"),
                 (unsigned)num(w, job, "Cancellable"), running, r->type, r->cancellable);
    assert_string_equal(txt(w, job, "Owner"), "root");
    check_affected(w, r, job);
    cim_autolist struct cim_list l = walk(w, job, "Msvm_OwningJobElement", NULL);
    if (l.n != 1 || strcmp(l.v[0]->cls->name, r->owner) != 0)
        fail_msg("%s: its job belongs to %zu, the first a %s", r->method, l.n,
                 l.n ? l.v[0]->cls->name : "");
    if (r->hold == LATER) {
        assert_string_not_equal(txt(w, job, "ScheduledStartTime"), "(null)");
        return;
    }
    w->hold = 0;
    pump(w);
    if (num(w, job, "JobState") != 7 || num(w, job, "Cancellable"))
        fail_msg("%s: %s", r->method, txt(w, job, "ErrorDescription"));
}

static void its_job(void **st)
{
    struct world *w = *st;
    const struct row *r = w->test;

    with_tests(w);
    r->situation(w);
    w->hold = r->hold == LATER ? 0 : r->hold;
    uint32_t code = ask(w, r->target, r->method, r->args, NULL, NULL);
    if (code != (r->type == AT_ONCE ? 0 : 4096))
        fail_msg("%s returns %u: %s", r->method, code, refusal(w));
    if (r->type == AT_ONCE)
        return;
    pump(w);
    check_job(w, r);
}

/* ---- jobs that no method returns ---- */
/* What sends an initial copy, and what changes the set of disks: clients look for them among the
 * machine's jobs. src:[contract.md A.12] */
static void jobs_that_are_looked_for(void **st)
{
    static const struct {
        void (*situation)(struct world *w);
        unsigned type;
    } all[] = { { make_copying, 94 },
                { make_copying, 116 },
                { make_resynchronizing, 107 },
                { make_updating, 125 } };
    struct world *w = *st;

    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++) {
        all[i].situation(w);
        cim_autolist struct cim_list l =
            walk(w, VM(WEB), "Msvm_AffectedJobElement", "Msvm_ConcreteJob");
        size_t n = 0;
        for (size_t k = 0; k < l.n; k++) {
            uint64_t s = cim_inst_uint(l.v[k], CIM_P_MSVM_CONCRETEJOB_JOBSTATE, 0);
            n += cim_inst_uint(l.v[k], CIM_P_MSVM_CONCRETEJOB_JOBTYPE, 0) == all[i].type &&
                 s == 4 &&
                 cim_value_bool(cim_inst_value(l.v[k], CIM_P_MSVM_CONCRETEJOB_CANCELLABLE), false);
        }
        if (n != 1)
            fail_msg("%zu jobs of type %u run and can be cancelled", n, all[i].type);
        world_free(st);
        world_new(st);
        w = *st;
    }
}

/* ---- all of them ---- */
static int setup(void **st)
{
    const void *r = *st;
    int rc = world_new(st);

    ((struct world *)*st)->test = r;
    return rc;
}

int main(void)
{
    enum { N = VR_ARRAY_LEN(rows) };
    static struct CMUnitTest tests[N + 1];
    static char names[N][96];

    for (size_t i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "%s, %zu", rows[i].method, i);
        tests[i] = (struct CMUnitTest){ .name = names[i],
                                        .test_func = its_job,
                                        .setup_func = setup,
                                        .teardown_func = world_free,
                                        .initial_state = (void *)&rows[i] };
    }
    tests[N] = (struct CMUnitTest)cmocka_unit_test_setup_teardown(jobs_that_are_looked_for, setup,
                                                                  world_free);
    return _cmocka_run_group_tests("methods", tests, N + 1, NULL, NULL);
}
