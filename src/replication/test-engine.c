/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The engine without a host around it: who asks, and who waits. */
#include "replication/engine.h"

#include "replication/test-step-kit.h"

struct env {
    uint32_t ran; /* effects */
    int64_t wall; /* beyond 9 s */
    uint32_t ids; /* given out */
};

static struct mono_ms env_mono(void *ctx)
{
    (void)ctx;
    return (struct mono_ms){ 5000 };
}

static struct wall_us env_wall(void *ctx)
{
    return (struct wall_us){ 9000000 + ((struct env *)ctx)->wall };
}

static void env_random(void *ctx, void *p, size_t n)
{
    uint32_t id = ++((struct env *)ctx)->ids;
    memset(p, 7, n);
    memcpy(p, &id, n < sizeof id ? n : sizeof id);
}

static void env_run(void *ctx, const struct rel *r, enum rel_fx_bit fx)
{
    (void)r;
    ((struct env *)ctx)->ran |= 1u << fx;
}

static void env_write_job(void *ctx, const struct vr_uuid *id, const char *text)
{
    (void)ctx;
    (void)id;
    (void)text;
}

static void env_changed(void *ctx, const struct rel *before, const struct rel *after,
                        const struct job *job)
{
    (void)ctx;
    (void)before;
    (void)after;
    (void)job;
}

struct asker {
    int answers;
    enum vr_kind kind;
};

static void on_reply(void *ctx, const struct rel *r, const struct vr_err *err)
{
    struct asker *a = ctx;
    assert_non_null(r);
    a->answers++;
    a->kind = err ? err->kind : VR_OK;
}

static void ask(struct engine *e, struct asker *a)
{
    struct rel_event ev = event(EV_PEER_REVERSE);
    engine_peer_request(e, &machine, &ev, on_reply, a);
}

static struct engine *new_engine(struct env *x)
{
    struct engine_env env = { .ctx = x,
                              .mono = env_mono,
                              .wall = env_wall,
                              .random = env_random,
                              .run = env_run,
                              .write_job = env_write_job,
                              .changed = env_changed };
    return engine_new(&env);
}

/* The old primary may read its disks for hours before it is the replica: a peer that asks again
 * meanwhile takes the place of its earlier question, so that one connection waits and not many. */
static void test_who_asks_again_takes_the_place(void **state)
{
    (void)state;
    struct env x = { 0 };
    struct engine *e = new_engine(&x);
    struct rel r = in_state(ST_P_PREPARED);
    struct asker a[5] = { { 0 } };
    struct vr_err err = VR_ERR_INIT;
    vr_autofree char *text = rel_encode(&r);
    assert_int_equal(engine_load(e, text, &err), 0);
    ask(e, &a[0]);
    while (!(x.ran & FX_YIELD)) {
        x.ran = 0;
        engine_done(e, &machine);
    }
    assert_int_equal(engine_find(e, &machine)->st, ST_P_YIELDING);
    assert_int_equal(a[0].answers, 0);
    for (int i = 1; i < 5; i++) {
        ask(e, &a[i]);
        assert_int_equal(a[i].answers, 0);
        assert_int_equal(a[i - 1].answers, 1);
        assert_int_equal(a[i - 1].kind, VR_E_BUSY);
    }
    struct rel_event done = { .type = EV_YIELDED };
    engine_event(e, &machine, &done);
    for (int i = 0; i < 20 && !a[4].answers; i++)
        engine_done(e, &machine);
    assert_int_equal(a[4].answers, 1);
    assert_int_equal(a[4].kind, VR_OK);
    for (int i = 0; i < 4; i++)
        assert_int_equal(a[i].answers, 1);
    engine_free(e);
}

/* Above the limit the oldest of the finished jobs go and no others: what became of a failover is
 * not lost because somebody makes many small jobs. */
static void test_only_the_oldest_jobs_are_forgotten(void **state)
{
    (void)state;
    struct env x = { 0 };
    struct engine *e = new_engine(&x);
    struct vr_uuid ids[10] = { 0 };
    struct vr_uuid runs = engine_job_new(e, JOB_VERIFY, NULL, "a");
    for (int i = 0; i < ENGINE_JOBS_MAX + 4; i++) {
        struct vr_uuid id = engine_job_new(e, JOB_POWER, NULL, "b");
        x.wall++;
        engine_job_end(e, &id, NULL);
        if (i < 10)
            ids[i] = id;
    }
    engine_tick(e);
    assert_non_null(engine_job(e, &runs));
    for (int i = 0; i < 10; i++)
        assert_int_equal(engine_job(e, &ids[i]) != NULL, i >= 5);
    x.wall += 301ll * 1000000;
    engine_tick(e);
    assert_non_null(engine_job(e, &runs));
    assert_null(engine_job_at(e, 1));
    engine_free(e);
}

static void test_unfinished_jobs_are_counted_for_each_owner(void **state)
{
    (void)state;
    struct env x = { 0 };
    struct engine *e = new_engine(&x);
    struct vr_uuid id;
    for (int i = 0; i < ENGINE_JOBS_EACH; i++) {
        assert_false(engine_jobs_too_many(e, "a"));
        id = engine_job_new(e, JOB_POWER, &machine, "a");
        engine_job_new(e, JOB_POWER, NULL, "b");
    }
    assert_true(engine_jobs_too_many(e, "a"));
    assert_false(engine_jobs_too_many(e, "c"));
    engine_job_end(e, &id, NULL);
    assert_false(engine_jobs_too_many(e, "a"));
    assert_int_equal(engine_jobs_unfinished(e, JOB_POWER, "a"), ENGINE_JOBS_EACH - 1);
    assert_int_equal(engine_jobs_unfinished(e, JOB_VERIFY, "a"), 0);
    engine_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_asks_again_takes_the_place),
        cmocka_unit_test(test_only_the_oldest_jobs_are_forgotten),
        cmocka_unit_test(test_unfinished_jobs_are_counted_for_each_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
