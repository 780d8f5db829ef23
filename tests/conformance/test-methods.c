/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every method of the interface: with 0 or with a job, the job's number, whether it can be
 * cancelled, what it affects, who owns it (methods.def), and the code for each argument that cannot
 * be. src:[contract.md section B] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cim/providers/testways.h"

#define SERVICE "Msvm_ReplicationService=@"
#define VSMS "Msvm_VirtualSystemManagementService=@"
#define SVC_OWNS "Msvm_ReplicationService"
#define HOST "hosta"
#define OF_WEB                    \
    {                             \
        "ComputerSystem", VM(WEB) \
    }

enum { AT_ONCE = -1, OURS = 0, LATER = 0x80000000u, ARGS_MAX = 5 };

struct row {
    const char *target, *method;
    void (*situation)(struct world *w);
    int type;
    uint32_t hold;
    bool cancellable;
    const char *affected, *owner;
    struct arg args[ARGS_MAX];
};

static void bindable(struct world *w)
{
    make_any_server(w);
    make_replica(w);
}

/* clang-format off */
static const struct row rows[] = {
#include "methods.def"
};
/* clang-format on */

static uint32_t ask(struct world *w, const struct row *r, const char *instead_of, const char *text)
{
    struct arg args[ARGS_MAX + 1] = { { NULL, NULL } };
    size_t n = 0;

    for (size_t i = 0; i < ARGS_MAX && r->args[i].name; i++) {
        const char *value = r->args[i].text;
        if (instead_of && !strcmp(r->args[i].name, instead_of))
            value = text;
        if (value)
            args[n++] = (struct arg){ r->args[i].name, arg_text(w, value) };
    }
    uint32_t code = call(w, r->target, r->method, args);
    for (size_t i = 0; i < n; i++)
        free((char *)args[i].text);
    return code;
}

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
    uint32_t code = ask(w, r, NULL, NULL);
    if (code != (r->type == AT_ONCE ? 0 : 4096))
        fail_msg("%s returns %u: %s", r->method, code, refusal(w));
    if (r->type == AT_ONCE)
        return;
    pump(w);
    check_job(w, r);
}

/* ---- arguments that cannot be ---- */
#define XML(cls) "<INSTANCE CLASSNAME=\"" cls "\"></INSTANCE>"
#define DEEP8(x) x x x x x x x x
static const struct {
    const char *what;
    bool of_embedded; /* else of references */
    const char *text;
    uint32_t code;
    const char *only; /* for this parameter; NULL: for all */
} wrong[] = {
    { "missing", false, NULL, 32773 },
    { "of another class", false, FRSD_PATH(WEB, "0"), 32773 },
    { "a machine that is not there", false, VM(NOBODY), 32777 },
    { "missing", true, NULL, 32773 },
    { "empty", true, "", 32773 },
    { "cut off", true, "<INSTANCE CLASSNAME=\"", 32773 },
    { "no XML", true, "instance of X {};", 32773 },
    { "of another class", true, XML("Msvm_ReplicationStatistics"), 32776 },
    { "of an unknown class", true, XML("Msvm_Nothing"), 32776 },
    { "nested without end", true, "<INSTANCE CLASSNAME=\"X\">" DEEP8(DEEP8(DEEP8("<a>"))), 32768 },
    { "of another machine", true, "+" FRSD_PATH(ODD, "0"), 32773, "ReplicationSettingData" },
    { "of another machine", true, "+" REL_PATH(ODD, "0"), 32773, "ReplicationRelationship" },
};

static void wrong_arguments(void **st)
{
    struct world *w = *st;
    const struct row *r = w->test;

    with_tests(w);
    r->situation(w);
    unsigned was_state = state(w, WEB), was_mode = mode(w, WEB);
    for (size_t i = 0; i < ARGS_MAX && r->args[i].name; i++) {
        bool embedded = *r->args[i].text == '+';
        bool machine = !strcmp(r->args[i].name, "ComputerSystem");
        bool optional = !strcmp(r->args[i].name, "ReplicationRelationship");
        for (size_t k = 0; k < VR_ARRAY_LEN(wrong) && (embedded || machine); k++) {
            if (wrong[k].of_embedded != embedded ||
                (optional && (!wrong[k].text || !*wrong[k].text)) ||
                (wrong[k].only && strcmp(wrong[k].only, r->args[i].name) != 0))
                continue;
            /* Resources are of many classes, of which one is carried: docs/conformance.md. */
            bool other = !strcmp(wrong[k].what, "of another class") &&
                         !strcmp(r->args[i].name, "ResourceSettings");
            uint32_t code = ask(w, r, r->args[i].name, wrong[k].text),
                     want = other ? 32770 : wrong[k].code;
            if (code != want)
                fail_msg("%s, %s %s: returns %u instead of %u (%s)", r->method, r->args[i].name,
                         wrong[k].what, code, want, refusal(w));
        }
    }
    pump(w);
    assert_int_equal(state(w, WEB), was_state);
    assert_int_equal(mode(w, WEB), was_mode);
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
    static struct CMUnitTest tests[2 * N + 1];
    static char names[2 * N][96];

    for (size_t i = 0; i < 2 * N; i++) {
        const struct row *r = &rows[i % N];
        snprintf(names[i], sizeof names[i], "%s%s, %zu", r->method,
                 i < N ? "" : " with wrong arguments", i % N);
        tests[i] = (struct CMUnitTest){ .name = names[i],
                                        .test_func = i < N ? its_job : wrong_arguments,
                                        .setup_func = setup,
                                        .teardown_func = world_free,
                                        .initial_state = (void *)r };
    }
    tests[2 * N] = (struct CMUnitTest)cmocka_unit_test_setup_teardown(jobs_that_are_looked_for,
                                                                      setup, world_free);
    return _cmocka_run_group_tests("methods", tests, 2 * N + 1, NULL, NULL);
}
