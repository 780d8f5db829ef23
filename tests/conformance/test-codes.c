/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every value that each method returns, against the table of docs/conformance.md: what stands there
 * was returned here, and nothing else was. src:[contract.md section B] */
#include "methods.h"

#include <stdio.h>

#include "cim/class.h"

/* ---- situations ---- */
static void no_kerberos(struct world *w)
{
    w->host.kerberos_name = NULL;
}

static void no_kerberos_replicating(struct world *w)
{
    make_replicating(w);
    no_kerberos(w);
}

static void no_kerberos_failed_over(struct world *w)
{
    make_failed_over(w);
    no_kerberos(w);
}

static int still_saving(void *ctx, const char *text, const struct host_listen *want,
                        const char *owner, struct vr_uuid *ret_job, struct vr_err *err)
{
    return vr_fail(err, VR_E_BUSY, 0, "an earlier change is not over yet");
}

static void being_saved(struct world *w)
{
    w->host.save_service = still_saving;
}

static void three_tests(struct world *w)
{
    for (int i = 0; i < 3; i++)
        engine_job_new(w->engine, JOB_TEST_CONNECTION, NULL, "root");
}

/* So many that a further one is told by its code only. */
static void failed_jobs(struct world *w, enum job_type type)
{
    struct vr_err why = VR_ERR_INIT;

    vr_fail(&why, VR_E_PEER, 0, "it does not answer");
    for (int i = 0; i < 32; i++) {
        struct vr_uuid job = engine_job_new(w->engine, type, NULL, "root");
        engine_job_end(w->engine, &job, &why);
    }
}

static void failed_tests(struct world *w)
{
    failed_jobs(w, JOB_TEST_CONNECTION);
}

static void failed_creations(struct world *w)
{
    failed_jobs(w, JOB_CREATE);
}

static void no_kerberos_failed_tests(struct world *w)
{
    failed_tests(w);
    no_kerberos(w);
}

static void power_unknown(struct world *w)
{
    make_replica(w);
    w->vm[0].power = HV_POWER_OTHER;
}

static void power_on(struct world *w)
{
    make_replica(w);
    w->vm[0].power = HV_POWER_RUNNING;
}

static void no_hypervisor(struct world *w)
{
    make_replica(w);
    w->n_vms = 0;
}

static void failed_over_power_unknown(struct world *w)
{
    make_failed_over(w);
    w->vm[0].power = HV_POWER_OTHER;
}

static void failed_over_no_hypervisor(struct world *w)
{
    make_failed_over(w);
    w->n_vms = 0;
}

static void primary_power_unknown(struct world *w)
{
    make_replicating(w);
    w->vm[0].power = HV_POWER_OTHER;
}

static void primary_no_hypervisor(struct world *w)
{
    make_replicating(w);
    w->n_vms = 0;
}

static void operator(struct world *w)
{
    w->who.role = CIM_ROLE_OPERATOR;
}

static void job_that_is_over(struct world *w)
{
    make_replicating(w);
    done(w, rq(w, "7"));
}

static void job_that_goes_on(struct world *w)
{
    make_failed_over(w);
    w->hold = FX_REVERT;
    assert_int_equal(SVC(w, WEB, "RevertFailover"), 4096);
    pump(w);
}

static void test_runs(struct world *w)
{
    make_tested(w);
    w->vm[2].power = HV_POWER_RUNNING;
}

static int not_destroyed(void *ctx, const struct vr_uuid *test, const char *owner,
                         struct vr_uuid *ret_job, struct vr_err *err)
{
    return vr_fail(err, VR_E_STORE, 0, "it cannot be written down");
}

static void test_cannot_go(struct world *w)
{
    make_tested(w);
    w->host.test_destroy = not_destroyed;
}

struct code_row {
    const char *target, *method;
    void (*situation)(struct world *w);
    uint32_t code;
    struct arg args[ARGS_MAX];
};

/* clang-format off */
static const struct code_row code_rows[] = {
#include "codes.def"
};
/* clang-format on */

/* ---- what was returned, and what the document says ---- */
struct values {
    char method[96]; /* with its class */
    uint32_t v[20];
    size_t n;
};

static struct values seen[64], told[64];
static size_t n_seen, n_told;
static const char *conformance_file, *access_file; /* docs/ */

static struct values *values_of(struct values *all, size_t *n, const char *method)
{
    for (size_t i = 0; i < *n; i++)
        if (!strcmp(all[i].method, method))
            return &all[i];
    assert_true(*n < VR_ARRAY_LEN(seen));
    snprintf(all[*n].method, sizeof all[*n].method, "%s", method);
    return &all[(*n)++];
}

static bool has(const struct values *v, uint32_t code)
{
    for (size_t i = 0; i < v->n; i++)
        if (v->v[i] == code)
            return true;
    return false;
}

static void put(struct values *v, uint32_t code)
{
    if (has(v, code))
        return;
    assert_true(v->n < VR_ARRAY_LEN(v->v));
    size_t i = v->n++;
    for (; i && v->v[i - 1] > code; i--)
        v->v[i] = v->v[i - 1];
    v->v[i] = code;
}

static void note(const char *target, const char *method, uint32_t code)
{
    const char *cls = *target == '(' ? "Msvm_ConcreteJob" : target;
    vr_autofree char *name = vr_printf("%.*s.%s", (int)strcspn(cls, ".="), cls, method);

    put(values_of(seen, &n_seen, name), code);
}

/* A refusal tells its reason. */
static void check_reason(struct world *w, const char *method, uint32_t code)
{
    if (code >= 32768 && !*refusal(w))
        fail_msg("%s returns %u and says nothing", method, code);
}

/* ---- the calls ---- */
static void succeeds(void **st)
{
    struct world *w = *st;
    const struct row *r = w->test;

    with_tests(w);
    r->situation(w);
    uint32_t code = ask(w, r->target, r->method, r->args, NULL, NULL);
    if (code != (r->type == AT_ONCE ? 0 : 4096))
        fail_msg("%s returns %u: %s", r->method, code, refusal(w));
    note(r->target, r->method, code);
}

static void returns(void **st)
{
    struct world *w = *st;
    const struct code_row *r = w->test;

    with_tests(w);
    r->situation(w);
    uint32_t code = ask(w, r->target, r->method, r->args, NULL, NULL);
    if (code != r->code)
        fail_msg("%s returns %u instead of %u: %s", r->method, code, r->code, refusal(w));
    check_reason(w, r->method, code);
    note(r->target, r->method, code);
}

/* The role comes first: docs/access.md says of each method which it needs. */
static bool for_readers(const char *target, const char *method)
{
    vr_autofclose FILE *f = fopen(access_file, "re");
    const char *of = *target == '(' ? "Msvm_ConcreteJob" : target;
    char line[512], cls[64], name[64], role[32];

    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "| %63[A-Za-z_] | %63[A-Za-z] | %31[a-z] |", cls, name, role) == 3 &&
            strlen(cls) == strcspn(of, ".=") && !strncmp(cls, of, strlen(cls)) &&
            !strcmp(name, method))
            return !strcmp(role, "reader");
    fail_msg("docs/access.md does not have %s of %s", method, target);
    return false;
}

static void ask_as_reader(struct world *w, const char *target, const char *method,
                          const struct arg args[ARGS_MAX])
{
    unsigned was_state = state(w, WEB), was_mode = mode(w, WEB);
    uint32_t want = strcmp(method, "KillJob") ? 32769 : 6;

    if (for_readers(target, method) && want != 6)
        return;
    w->who.role = CIM_ROLE_READER;
    uint32_t code = ask(w, target, method, args, NULL, NULL);
    if (code != want)
        fail_msg("%s by a reader returns %u: %s", method, code, refusal(w));
    check_reason(w, method, code);
    note(target, method, code);
    w->who.role = CIM_ROLE_ADMIN;
    pump(w);
    assert_int_equal(state(w, WEB), was_state);
    assert_int_equal(mode(w, WEB), was_mode);
}

static void by_a_reader(void **st)
{
    struct world *w = *st;
    const struct row *r = w->test;

    with_tests(w);
    r->situation(w);
    ask_as_reader(w, r->target, r->method, r->args);
}

static void refused_to_a_reader(void **st)
{
    struct world *w = *st;
    const struct code_row *r = w->test;

    with_tests(w);
    r->situation(w);
    ask_as_reader(w, r->target, r->method, r->args);
}

/* What is not there cannot be called: that is a fault on the wire, and no value. */
static void unknown_objects(void **st)
{
    static const struct {
        const char *object, *method;
    } all[] = {
        { VM(NOBODY), "RequestStateChange" },
        { VM(NOBODY), "RequestReplicationStateChangeEx" },
        { "Msvm_ConcreteJob.InstanceID=\"" NOBODY "\"", "RequestStateChange" },
        { "Msvm_ConcreteJob.InstanceID=\"" NOBODY "\"", "GetErrorEx" },
        { "Msvm_ConcreteJob.InstanceID=\"no job\"", "KillJob" },
        { "Msvm_ReplicationService.Name=\"nosvc\"", "CommitFailover" },
    };
    struct world *w = *st;

    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++) {
        vr_auto(cim_path_free) struct cim_path *p = NULL;
        const struct cim_method *m = NULL;
        struct vr_err err = VR_ERR_INIT;
        uint32_t code = 0;
        assert_int_equal(cim_path_parse(all[i].object, &p, &err), 0);
        assert_int_equal(cim_find_method(p, all[i].method, &m, &err), CIM_S_OK);
        vr_auto(cim_args_free) struct cim_args *args = cim_args_new(m);
        enum cim_status s = cim_invoke(w->cim, &w->who, p, args, &code, &err);
        if (s != CIM_S_NOT_FOUND)
            fail_msg("%s of %s: %s, %u", all[i].method, all[i].object, cim_status_name(s), code);
    }
}

/* Another operation of the machine is under way: what needs the machine for itself, says so. */
static void meanwhile(void **st)
{
    static void (*const busy[])(struct world * w) = { make_creating, make_failing_over };
    struct world *w = *st;
    const struct row *r = w->test;

    for (size_t i = 0; i < VR_ARRAY_LEN(busy); i++) {
        with_tests(w);
        make_any_server(w);
        busy[i](w);
        unsigned was = state(w, WEB);
        /* There may be no recovery point that could be named. */
        uint32_t code = ask(w, r->target, r->method, r->args, "SnapshotSettingData", NULL);
        check_reason(w, r->method, code);
        if (code == 32774) {
            note(r->target, r->method, code);
            pump(w);
            assert_int_equal(state(w, WEB), was);
        }
        world_free(st);
        world_new(st);
        w = *st;
    }
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
            uint32_t code = ask(w, r->target, r->method, r->args, r->args[i].name, wrong[k].text),
                     want = other ? 32770 : wrong[k].code;
            if (code != want)
                fail_msg("%s, %s %s: returns %u instead of %u (%s)", r->method, r->args[i].name,
                         wrong[k].what, code, want, refusal(w));
            check_reason(w, r->method, code);
            note(r->target, r->method, code);
        }
    }
    pump(w);
    assert_int_equal(state(w, WEB), was_state);
    assert_int_equal(mode(w, WEB), was_mode);
}

/* ---- the table ---- */
static void read_table(void)
{
    vr_autofclose FILE *f = fopen(conformance_file, "re");
    char line[4096], method[96], list[256];

    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "| %95[A-Za-z_.] | %255[0-9 ] |", method, list) != 2 ||
            !strchr(method, '.'))
            continue;
        struct values *v = values_of(told, &n_told, method);
        for (char *save = NULL, *c = strtok_r(list, " ", &save); c; c = strtok_r(NULL, " ", &save))
            put(v, (uint32_t)strtoul(c, NULL, 10));
    }
}

static void print(const struct values *v)
{
    fprintf(stderr, "| %s |", v->method);
    for (size_t i = 0; i < v->n; i++)
        fprintf(stderr, " %u", v->v[i]);
    fprintf(stderr, " |\n");
}

static void as_documented(void **st)
{
    size_t differ = 0;

    (void)st;
    read_table();
    for (size_t i = 0; i < n_seen; i++) {
        struct values *t = values_of(told, &n_told, seen[i].method);
        bool same = t->n == seen[i].n;
        for (size_t k = 0; k < seen[i].n; k++)
            same &= has(t, seen[i].v[k]);
        if (!same) {
            fprintf(stderr, "docs/conformance.md: this was returned:\n");
            print(&seen[i]);
            differ++;
        }
    }
    for (size_t i = 0; i < n_told; i++)
        if (!values_of(seen, &n_seen, told[i].method)->n) {
            fprintf(stderr, "docs/conformance.md: this was never called: ");
            print(&told[i]);
            differ++;
        }
    assert_int_equal(differ, 0);
}

/* All methods that are offered in these classes are in it. */
static void none_is_left_out(void **st)
{
    static const char *const classes[] = { "Msvm_ReplicationService", "Msvm_ComputerSystem",
                                           "Msvm_ConcreteJob" };
    vr_autofclose FILE *f = fopen(access_file, "re");
    char line[512], cls[64], method[64];
    size_t found = 0;

    (void)st;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "| %63[A-Za-z_] | %63[A-Za-z] | %*[a-z] |", cls, method) != 2)
            continue;
        vr_autofree char *name = vr_printf("%s.%s", cls, method);
        for (size_t i = 0; i < VR_ARRAY_LEN(classes); i++) {
            if (strcmp(cls, classes[i]) != 0)
                continue;
            found++;
            if (!values_of(seen, &n_seen, name)->n)
                fail_msg("%s is called by no row", name);
        }
    }
    assert_true(found > 30);
}

/* ---- all of them ---- */
static int setup(void **st)
{
    const void *r = *st;
    int rc = world_new(st);

    ((struct world *)*st)->test = r;
    return rc;
}

int main(int argc, char **argv)
{
    enum { N = VR_ARRAY_LEN(rows), C = VR_ARRAY_LEN(code_rows), ALL = 4 * N + 2 * C + 3 };
    static struct CMUnitTest tests[ALL];
    static char names[ALL][96];
    static const struct {
        const char *what;
        void (*fn)(void **st);
    } each[] = { { "", succeeds },
                 { " by a reader", by_a_reader },
                 { " during another operation", meanwhile },
                 { " with wrong arguments", wrong_arguments } };
    size_t n = 0;

    if (argc < 3)
        return 2;
    conformance_file = argv[1];
    access_file = argv[2];
    for (size_t i = 0; i < 4 * N; i++, n++) {
        const struct row *r = &rows[i % N];
        snprintf(names[n], sizeof names[n], "%s%s, %zu", r->method, each[i / N].what, i % N);
        tests[n] = (struct CMUnitTest){ names[n], each[i / N].fn, setup, world_free, (void *)r };
    }
    for (size_t i = 0; i < C; i++, n++) {
        const struct code_row *r = &code_rows[i];
        snprintf(names[n], sizeof names[n], "%s returns %u, %zu", r->method, r->code, i);
        tests[n] = (struct CMUnitTest){ names[n], returns, setup, world_free, (void *)r };
        n++;
        snprintf(names[n], sizeof names[n], "%s for a reader, %zu", r->method, i);
        tests[n] =
            (struct CMUnitTest){ names[n], refused_to_a_reader, setup, world_free, (void *)r };
    }
    tests[n++] =
        (struct CMUnitTest)cmocka_unit_test_setup_teardown(unknown_objects, setup, world_free);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(as_documented);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(none_is_left_out);
    return _cmocka_run_group_tests("codes", tests, n, NULL, NULL);
}
