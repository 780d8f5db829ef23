/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Queries for events, and events of a class whose instances the test changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "cim/watch.h"

#define J(n) CIM_P_MSVM_CONCRETEJOB_##n
#define ISA_JOB "TargetInstance ISA 'Msvm_ConcreteJob'"

static const struct cim_caller reader = { "reader", CIM_ROLE_READER, true };

/* ---- a world of jobs ---- */
static struct {
    const char *id;
    unsigned state, percent, elapsed;
} jobs[8];
static size_t n_jobs;
static bool broken;
static int looks;
static long slow_ns; /* each job takes that long to read */

static struct cim_inst *make(size_t i)
{
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_CONCRETEJOB);

    cim_inst_set_str(in, J(INSTANCEID), jobs[i].id);
    cim_inst_set_uint(in, J(JOBSTATE), jobs[i].state);
    cim_inst_set_uint(in, J(PERCENTCOMPLETE), jobs[i].percent);
    cim_inst_set_interval(in, J(ELAPSEDTIME), jobs[i].elapsed);
    return in;
}

static enum cim_status enumerate(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                 struct vr_err *err)
{
    looks += !cim_sink_at(sink);
    for (size_t i = cim_sink_at(sink); i < n_jobs; i++) {
        const struct timespec t = { 0, slow_ns };
        if (slow_ns)
            nanosleep(&t, NULL);
        if (!cim_emit(sink, make(i)) || cim_sink_pause(sink, i + 1))
            break;
    }
    if (!broken)
        return CIM_S_OK;
    vr_fail(err, VR_E_IO, 0, "broken");
    return CIM_S_FAILED;
}

static enum cim_status get(void *ctx, const struct cim_caller *who, const struct cim_path *path,
                           struct cim_inst **ret, struct vr_err *err)
{
    for (size_t i = 0; i < n_jobs; i++)
        if (!strcasecmp(jobs[i].id, cim_path_key(path, "InstanceID"))) {
            *ret = make(i);
            return CIM_S_OK;
        }
    vr_fail(err, VR_E_NOTFOUND, 0, "no such job");
    return CIM_S_NOT_FOUND;
}

static enum cim_status enum_others(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                   struct vr_err *err)
{
    return CIM_S_OK;
}

struct fixture {
    struct cim_server *s;
    char log[1024]; /* what was heard */
};

static int setup(void **st)
{
    static const int quiet[] = { J(ELAPSEDTIME) };
    static const struct cim_watchable how = { J(INSTANCEID), quiet, 1 };
    struct fixture *f = vr_new(struct fixture);

    f->s = cim_server_new("HOST");
    cim_server_register(f->s, &(struct cim_provider){ .cls = CIM_C_MSVM_CONCRETEJOB,
                                                      .enumerate = enumerate,
                                                      .get = get,
                                                      .watch = &how });
    cim_server_register(f->s, &(struct cim_provider){ .cls = CIM_C_MSVM_REPLICATIONSERVICE,
                                                      .enumerate = enum_others });
    jobs[0].id = "b";
    jobs[0].state = 4;
    jobs[0].percent = jobs[0].elapsed = 0;
    n_jobs = 1;
    broken = false;
    slow_ns = 0;
    *st = f;
    return 0;
}

static int teardown(void **st)
{
    struct fixture *f = *st;

    cim_server_free(f->s);
    free(f);
    return 0;
}

static void on_event(void *ctx, const struct cim_event *ev)
{
    struct fixture *f = ctx;
    size_t n = strlen(f->log);
    const char *what = ev->kind == CIM_EV_CREATED ? "+" : ev->kind == CIM_EV_MODIFIED ? "~" : "-";

    assert_int_equal(ev->previous != NULL, ev->kind == CIM_EV_MODIFIED);
    n += (size_t)snprintf(f->log + n, sizeof f->log - n, "%s%s%u", what,
                          cim_inst_str(ev->target, J(INSTANCEID)),
                          (unsigned)cim_inst_uint(ev->target, J(PERCENTCOMPLETE), 999));
    if (ev->previous)
        snprintf(f->log + n, sizeof f->log - n, "<%u",
                 (unsigned)cim_inst_uint(ev->previous, J(PERCENTCOMPLETE), 999));
}

static struct cim_watch *watch(struct fixture *f, const char *text)
{
    struct cim_query *q = NULL;
    struct cim_watch *w = NULL;
    struct vr_err e = VR_ERR_INIT;

    enum cim_status st = cim_query_parse_event(CIM_NS_VIRT, text, &q, &e);
    if (st != CIM_S_OK)
        fail_msg("%s: %s", text, e.msg);
    if (cim_watch_new(f->s, &reader, q, on_event, f, &w, &e) != CIM_S_OK)
        fail_msg("%s: %s", text, e.msg);
    return w;
}

static void heard(struct fixture *f, const char *what)
{
    assert_string_equal(f->log, what);
    f->log[0] = 0;
}

static void tick(struct fixture *f)
{
    cim_changed_all(f->s, CIM_C_MSVM_CONCRETEJOB);
    cim_watch_tick(f->s, vr_mono_now());
}

/* ---- tests ---- */
static void test_what_is_told(void **st)
{
    struct fixture *f = *st;
    struct cim_watch *w = watch(f, "SELECT * FROM __InstanceOperationEvent WHERE " ISA_JOB);

    heard(f, ""); /* not what was there before */
    jobs[1] = jobs[0];
    jobs[1].id = "a";
    n_jobs = 2;
    cim_changed(f->s, CIM_C_MSVM_CONCRETEJOB, "a");
    heard(f, "+a0");
    jobs[1].percent = 50;
    cim_changed(f->s, CIM_C_MSVM_CONCRETEJOB, "A");
    heard(f, "~a50<0");
    cim_changed(f->s, CIM_C_MSVM_CONCRETEJOB, "a");
    heard(f, "");
    jobs[1].elapsed = 7; /* quiet */
    cim_changed(f->s, CIM_C_MSVM_CONCRETEJOB, "a");
    heard(f, "");
    n_jobs = 1;
    cim_changed(f->s, CIM_C_MSVM_CONCRETEJOB, "a");
    heard(f, "-a50");
    cim_changed(f->s, CIM_C_MSVM_CONCRETEJOB, "a");
    cim_changed(f->s, CIM_C_MSVM_COMPUTERSYSTEM, "a");
    heard(f, "");
    cim_watch_free(w);
}

static void test_what_nobody_tells_is_found(void **st)
{
    struct fixture *f = *st;
    struct cim_watch *w = watch(f, "SELECT * FROM CIM_InstIndication WHERE SourceInstance ISA "
                                   "'CIM_Job'");

    jobs[0].percent = 10;
    jobs[1] = jobs[0];
    jobs[1].id = "a";
    jobs[2] = jobs[0];
    jobs[2].id = "c";
    n_jobs = 3;
    tick(f);
    heard(f, "+a10~b10<0+c10");
    tick(f);
    heard(f, "");
    jobs[0] = jobs[2];
    n_jobs = 1;
    tick(f);
    heard(f, "-a10-b10");
    broken = true; /* a failed look tells nothing, and not that all are gone */
    tick(f);
    heard(f, "");
    cim_watch_free(w);
}

static void test_looks_keep_their_distance(void **st)
{
    struct fixture *f = *st;
    struct cim_watch *w = watch(f, "SELECT * FROM __InstanceCreationEvent WITHIN 2 WHERE " ISA_JOB);
    struct mono_ms now = vr_mono_now();

    now.ms += 1500; /* the first look is due a second after the beginning */
    looks = 0;
    cim_watch_tick(f->s, now);
    assert_int_equal(looks, 1);
    now.ms += 1999;
    cim_watch_tick(f->s, now);
    assert_int_equal(looks, 1);
    now.ms += 1;
    cim_watch_tick(f->s, now);
    assert_int_equal(looks, 2);
    cim_changed_all(f->s, CIM_C_MSVM_CONCRETEJOB);
    cim_watch_tick(f->s, now);
    assert_int_equal(looks, 3);
    cim_watch_free(w);
    cim_watch_tick(f->s, (struct mono_ms){ INT64_MAX / 2 });
    assert_int_equal(looks, 3); /* nobody watches any more */
}

static void test_filters(void **st)
{
    static const struct {
        const char *query, *heard;
    } t[] = {
        { "SELECT * FROM __InstanceModificationEvent WITHIN 1 WHERE " ISA_JOB, "~b50<0~b90<50" },
        { "select * from __instancemodificationevent where targetinstance isa \"cim_concretejob\"",
          "~b50<0~b90<50" },
        { "SELECT * FROM __InstanceModificationEvent WHERE " ISA_JOB
          " AND TargetInstance.PercentComplete > 60",
          "~b90<50" },
        { "SELECT * FROM __InstanceModificationEvent WHERE TargetInstance.PercentComplete > 60 "
          "AND " ISA_JOB,
          "~b90<50" },
        { "SELECT * FROM __InstanceModificationEvent WHERE " ISA_JOB
          " AND PreviousInstance.PercentComplete = 0",
          "~b50<0" },
        { "SELECT * FROM CIM_InstModification WHERE SourceInstance ISA 'Msvm_ConcreteJob' AND "
          "SourceInstance.JobState <> 4",
          "" },
        { "SELECT * FROM __InstanceOperationEvent WHERE " ISA_JOB
          " AND PreviousInstance.PercentComplete IS NULL",
          "" },
        { "SELECT * FROM __InstanceOperationEvent WHERE " ISA_JOB
          " AND (TargetInstance.InstanceID LIKE 'x%' OR PreviousInstance.PercentComplete = 50)",
          "~b90<50" },
        { "SELECT TargetInstance FROM __InstanceCreationEvent WHERE " ISA_JOB, "+z0" },
        { "SELECT * FROM __InstanceDeletionEvent WHERE " ISA_JOB
          " AND TargetInstance.__CLASS = 'msvm_concretejob'",
          "-z0" },
        { "SELECT * FROM CIM_InstIndication", "~b50<0~b90<50+z0-z0" },
        { "SELECT * FROM __InstanceCreationEvent WHERE TargetInstance ISA 'Msvm_ConcreteJob' OR "
          "TargetInstance ISA 'Msvm_ReplicationRelationship'",
          "+z0" },
    };
    struct fixture *f = *st;

    for (size_t i = 0; i < VR_ARRAY_LEN(t); i++) {
        jobs[0].percent = 0;
        struct cim_watch *w = watch(f, t[i].query);
        jobs[0].percent = 50;
        cim_changed(f->s, CIM_C_MSVM_CONCRETEJOB, "b");
        jobs[0].percent = 90;
        cim_changed(f->s, CIM_C_MSVM_CONCRETEJOB, "b");
        jobs[1].id = "z";
        jobs[1].percent = 0;
        n_jobs = 2;
        cim_changed(f->s, CIM_C_MSVM_CONCRETEJOB, "z");
        n_jobs = 1;
        cim_changed(f->s, CIM_C_MSVM_CONCRETEJOB, "z");
        heard(f, t[i].heard);
        cim_watch_free(w);
    }
}

static void test_bad_queries(void **st)
{
    static const struct {
        const char *query, *says;
    } t[] = {
        { "SELECT * FROM Msvm_ConcreteJob", "character 15" },
        { "SELECT * FROM __InstanceCreationEvent WITHIN", "seconds" },
        { "SELECT * FROM __InstanceCreationEvent WITHIN -1 WHERE " ISA_JOB, "seconds" },
        { "SELECT * FROM __InstanceCreationEvent WITHIN 1.2.3 WHERE " ISA_JOB, "seconds" },
        { "SELECT * FROM __InstanceCreationEvent WHERE JobState = 4 AND " ISA_JOB,
          "TargetInstance.Property" },
        { "SELECT * FROM __InstanceCreationEvent WHERE TargetInstance.JobState = 4", "ISA" },
        { "SELECT * FROM __InstanceCreationEvent WHERE TargetInstance ISA 'No_Such'", "No_Such" },
        { "SELECT * FROM __InstanceCreationEvent WHERE " ISA_JOB " AND TargetInstance.Nope = 4",
          "no such property" },
        { "SELECT * FROM __InstanceCreationEvent WHERE " ISA_JOB " AND TargetInstance.JobState "
          "= 'x'",
          "does not fit" },
        { "SELECT * FROM __InstanceCreationEvent WHERE " ISA_JOB " GROUP WITHIN 5", "end of" },
        { "SELECT * FROM __InstanceCreationEvent WHERE Other ISA 'Msvm_ConcreteJob'", "ISA" },
        { "ASSOCIATORS OF {Msvm_ConcreteJob=\"b\"}", "select" },
        { "", "select" },
    };

    for (size_t i = 0; i < VR_ARRAY_LEN(t); i++) {
        struct cim_query *q = NULL;
        struct vr_err e = VR_ERR_INIT;
        assert_int_not_equal(cim_query_parse_event(CIM_NS_VIRT, t[i].query, &q, &e), CIM_S_OK);
        if (!strstr(e.msg, t[i].says))
            fail_msg("%s: \"%s\" does not say \"%s\"", t[i].query, e.msg, t[i].says);
    }
    /* Events are no instances that could be enumerated. */
    struct cim_query *q = NULL;
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(cim_query_parse(CIM_NS_VIRT, "SELECT * FROM __InstanceCreationEvent", &q, &e),
                     CIM_S_NO_CLASS);
}

static void test_classes_without_events(void **st)
{
    struct fixture *f = *st;
    const struct cim_caller none = { "none", CIM_ROLE_NONE, false };
    struct cim_query *q = NULL;
    struct cim_watch *w = NULL;
    struct vr_err e = VR_ERR_INIT;

    assert_int_equal(cim_query_parse_event(CIM_NS_VIRT,
                                           "SELECT * FROM CIM_InstCreation WHERE SourceInstance "
                                           "ISA 'Msvm_ReplicationService'",
                                           &q, &e),
                     CIM_S_OK);
    assert_int_equal(cim_watch_new(f->s, &reader, q, on_event, f, &w, &e), CIM_S_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "Msvm_ConcreteJob")); /* says what there is instead */
    e = (struct vr_err)VR_ERR_INIT;
    assert_int_equal(cim_query_parse_event(CIM_NS_VIRT, "SELECT * FROM CIM_InstCreation", &q, &e),
                     CIM_S_OK);
    assert_int_equal(cim_watch_new(f->s, &none, q, on_event, f, &w, &e), CIM_S_DENIED);
}

/* A look in slices. What is told between them is told once, and nothing is taken back. */
static void test_a_long_look(void **st)
{
    struct fixture *f = *st;
    struct cim_watch *w = watch(f, "SELECT * FROM __InstanceOperationEvent WHERE " ISA_JOB);
    static const char *const ids[] = { "b", "c", "d", "e" };
    struct mono_ms now = vr_mono_now();

    for (size_t i = 1; i < VR_ARRAY_LEN(ids); i++) {
        jobs[i] = jobs[0];
        jobs[i].id = ids[i];
    }
    n_jobs = VR_ARRAY_LEN(ids);
    slow_ns = 6000000; /* longer than a slice */
    cim_changed_all(f->s, CIM_C_MSVM_CONCRETEJOB);
    cim_watch_tick(f->s, now); /* has read b */
    heard(f, "");
    jobs[0].percent = 7;
    cim_changed(f->s, CIM_C_MSVM_CONCRETEJOB, "b");
    heard(f, "~b7<0");
    for (int i = 0; i < 20 && !*f->log; i++)
        cim_watch_tick(f->s, now);
    heard(f, "+c0+d0+e0");
    /* Somebody changes all the time: it comes to an end all the same. */
    n_jobs = 3;
    cim_changed_all(f->s, CIM_C_MSVM_CONCRETEJOB);
    for (int i = 0; i < 40 && !strchr(f->log, '-'); i++) {
        cim_watch_tick(f->s, now);
        jobs[0].percent++;
        cim_changed(f->s, CIM_C_MSVM_CONCRETEJOB, "b");
    }
    assert_non_null(strstr(f->log, "-e0"));
    cim_watch_free(w);
}

/* The first look of a new watch in slices: what happens meanwhile is not told to it, unless it
 * happens after its end; an older watch hears all of it once. One that is given up leaves nothing.
 */
static void test_a_watch_that_begins_in_slices(void **st)
{
    struct fixture *f = *st, late = { .s = f->s };
    static const char *const ids[] = { "b", "c", "d", "e" };
    struct cim_watch *old = NULL, *w = NULL;
    struct cim_query *q = NULL;
    struct vr_err e = VR_ERR_INIT;
    bool over = false;
    int slices = 0;

    for (size_t i = 0; i < VR_ARRAY_LEN(ids); i++) {
        jobs[i] = jobs[0];
        jobs[i].id = ids[i];
    }
    n_jobs = 3;
    for (int with_old = 0; with_old < 2; with_old++) {
        if (with_old)
            old = watch(f, "SELECT * FROM __InstanceOperationEvent WHERE " ISA_JOB);
        slow_ns = 3000000;
        for (int give_up = 1; give_up >= 0; give_up--) {
            assert_int_equal(
                cim_query_parse_event(
                    CIM_NS_VIRT, "SELECT * FROM __InstanceOperationEvent WHERE " ISA_JOB, &q, &e),
                CIM_S_OK);
            assert_int_equal(cim_watch_begin(f->s, &reader, q, on_event, &late, &w, &e), CIM_S_OK);
            assert_int_equal(cim_watch_run(w, 1, &over, &e), CIM_S_OK);
            assert_false(over);
            if (give_up)
                cim_watch_free(w);
        }
        jobs[0].percent += 7; /* already read, and told by nobody: a look has to find it */
        jobs[1].percent += 5;
        cim_changed(f->s, CIM_C_MSVM_CONCRETEJOB, "c"); /* spoils what was read */
        for (slices = 0; !over && slices < 50; slices++) {
            cim_watch_tick(f->s, vr_mono_now());
            assert_int_equal(cim_watch_run(w, 1, &over, &e), CIM_S_OK);
        }
        assert_true(over && slices > 2);
        heard(&late, "");
        heard(f, with_old ? "~c10<5~b14<7" : "");
        slow_ns = 0;
        jobs[2].percent = 1 + (unsigned)with_old;
        cim_changed(f->s, CIM_C_MSVM_CONCRETEJOB, "d");
        heard(&late, with_old ? "~d2<1" : "~d1<0");
        f->log[0] = 0;
        cim_watch_free(w);
    }
    cim_watch_free(old);
}

/* A second watch begins with what is there now; the first misses nothing by it. */
static void test_a_second_watch(void **st)
{
    struct fixture *f = *st;
    struct cim_watch *one = watch(f, "SELECT * FROM __InstanceModificationEvent WHERE " ISA_JOB);

    jobs[0].percent = 30;
    struct cim_watch *two = watch(f, "SELECT * FROM __InstanceModificationEvent WHERE " ISA_JOB);
    heard(f, "~b30<0");
    jobs[0].percent = 31;
    cim_changed(f->s, CIM_C_MSVM_CONCRETEJOB, "b");
    heard(f, "~b31<30~b31<30");
    cim_watch_free(one);
    jobs[0].percent = 32;
    cim_changed(f->s, CIM_C_MSVM_CONCRETEJOB, "b");
    heard(f, "~b32<31");
    cim_watch_free(two);
    broken = true;
    struct cim_query *q = NULL;
    struct cim_watch *w = NULL;
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(cim_query_parse_event(CIM_NS_VIRT, "SELECT * FROM CIM_InstCreation", &q, &e),
                     CIM_S_OK);
    assert_int_equal(cim_watch_new(f->s, &reader, q, on_event, f, &w, &e), CIM_S_FAILED);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = { T(test_what_is_told),
                                        T(test_a_watch_that_begins_in_slices),
                                        T(test_what_nobody_tells_is_found),
                                        T(test_looks_keep_their_distance),
                                        T(test_filters),
                                        T(test_bad_queries),
                                        T(test_classes_without_events),
                                        T(test_a_long_look),
                                        T(test_a_second_watch) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
