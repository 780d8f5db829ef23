/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The engine without a host around it: who asks, and who waits. */
#include "replication/engine.h"

#include "replication/test-step-kit.h"

struct env {
    uint32_t ran; /* effects */
    int64_t wall; /* beyond 9 s */
    uint32_t ids; /* given out */
    int64_t now;  /* ms; 0: 5000 */
    int pushes;
    uint64_t pushed; /* number of the settings in the last one */
    char *written;
};

static struct mono_ms env_mono(void *ctx)
{
    const struct env *x = ctx;
    return (struct mono_ms){ x->now ? x->now : 5000 };
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
    struct env *x = ctx;
    x->ran |= 1u << fx;
    if (fx == FX_BIT_PUSH_SETTINGS) {
        x->pushes++;
        x->pushed = r->set.rev;
    }
    if (fx == FX_BIT_PERSIST) {
        free(x->written);
        x->written = rel_encode(r);
    }
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

static struct engine *engine_with(struct env *x, const char *text)
{
    struct engine *e = new_engine(x);
    struct vr_err err = VR_ERR_INIT;
    assert_int_equal(engine_load(e, text, &err), 0);
    return e;
}

/* The old primary may read its disks for hours before it is the replica: a peer that asks again
 * meanwhile takes the place of its earlier question, so that one connection waits and not many. */
static void test_who_asks_again_takes_the_place(void **state)
{
    (void)state;
    struct env x = { 0 };
    struct rel r = in_state(ST_P_PREPARED);
    struct asker a[5] = { { 0 } };
    vr_autofree char *text = rel_encode(&r);
    struct engine *e = engine_with(&x, text);
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
    free(x.written);
}

/* ---- the settings at the replica ---- */
static void settle(struct engine *e)
{
    for (int i = 0; i < 10; i++)
        engine_done(e, &machine);
}

static void modify(struct engine *e, uint32_t interval_s)
{
    struct rel_event ev = event(EV_U_MODIFY);
    struct vr_uuid job;
    struct vr_err err = VR_ERR_INIT;
    ev.set = engine_find(e, &machine)->set;
    ev.set.interval_s = interval_s;
    assert_int_equal(engine_request(e, &machine, &ev, JOB_MODIFY, "me", &job, &err), 0);
    settle(e);
}

static void answer(struct engine *e, uint64_t rev, uint64_t held, bool failed)
{
    struct vr_err err = VR_ERR_INIT;
    vr_fail(&err, VR_E_PEER, 0, "nobody is there");
    engine_settings_told(e, &machine, rev, held, failed ? &err : NULL);
    settle(e);
}

/* Time passes until the engine has pushed once more; false: it does not. */
static bool pushes_again(struct env *x, struct engine *e)
{
    int before = x->pushes;
    for (int64_t end = x->now + 300000; x->now < end && x->pushes == before; x->now += 1000) {
        engine_tick(e);
        settle(e);
    }
    return x->pushes > before;
}

static struct engine *told(struct env *x)
{
    struct rel r = in_state(ST_P_SUSP); /* no cycle brings the two together */
    r.set.rev = r.told_rev = 4;
    vr_autofree char *text = rel_encode(&r);
    x->now = 5000;
    struct engine *e = engine_with(x, text);
    engine_restart(e);
    settle(e);
    assert_false(pushes_again(x, e));
    return e;
}

static void test_settings_are_told_until_they_are_known(void **state)
{
    (void)state;
    struct env x = { 0 };
    struct engine *e = told(&x);
    modify(e, 77);
    assert_int_equal(x.pushes, 1);
    assert_int_equal(x.pushed, 5);
    for (int i = 0; i < 20; i++) {
        answer(e, 5, 0, true);
        assert_true(engine_find(e, &machine)->untold);
        assert_true(pushes_again(&x, e));
    }
    /* The debt outlives the daemon. */
    engine_free(e);
    vr_autofree char *text = x.written;
    x.written = NULL;
    e = engine_with(&x, text);
    engine_restart(e);
    settle(e);
    assert_true(pushes_again(&x, e));
    assert_int_equal(x.pushed, 5);
    answer(e, 5, 5, false);
    assert_false(engine_find(e, &machine)->untold);
    assert_false(rel_owes_settings(engine_find(e, &machine)));
    assert_false(pushes_again(&x, e));
    engine_free(e);
    free(x.written);
}

/* One at a time, so that none overtakes another; the newest one is the last. */
static void test_settings_are_told_in_order(void **state)
{
    (void)state;
    struct env x = { 0 };
    struct engine *e = told(&x);
    modify(e, 77);
    modify(e, 78);
    modify(e, 79);
    assert_int_equal(x.pushes, 1);
    answer(e, 5, 5, false);
    assert_int_equal(x.pushes, 2);
    assert_int_equal(x.pushed, 7);
    answer(e, 7, 7, false);
    assert_false(pushes_again(&x, e));
    engine_free(e);
    free(x.written);
}

/* Who hears from the replica again does not wait for the next attempt. */
static void test_settings_are_told_who_is_back(void **state)
{
    (void)state;
    struct env x = { 0 };
    struct engine *e = told(&x);
    modify(e, 77);
    answer(e, 5, 0, true);
    struct rel_event ev = event(EV_PEER_TOLD);
    engine_event(e, &machine, &ev);
    engine_tick(e);
    settle(e);
    assert_int_equal(x.pushes, 2);
    answer(e, 5, 0, false); /* of a version that does not number them */
    assert_false(pushes_again(&x, e));
    engine_free(e);
    free(x.written);
}

/* A host that was restored counts anew; the replica would drop what has an old number. */
static void test_settings_of_a_restored_host(void **state)
{
    (void)state;
    struct env x = { 0 };
    struct engine *e = told(&x);
    modify(e, 77);
    answer(e, 5, 9, false);
    assert_int_equal(x.pushes, 2);
    assert_int_equal(x.pushed, 10);
    answer(e, 10, 10, false);
    assert_false(pushes_again(&x, e));
    engine_free(e);
    free(x.written);
}

/* What a version wrote that did not count them: whether the replica knows them is not known. */
static void test_settings_of_an_older_version(void **state)
{
    (void)state;
    struct env x = { 0 };
    struct rel r = in_state(ST_P_SUSP);
    vr_autofree char *text = rel_encode(&r);
    for (char *at; (at = strstr(text, "settings_rev=")) || (at = strstr(text, "told_rev="));) {
        while (at > text && at[-1] != '\n')
            at--;
        memmove(at, strchr(at, '\n') + 1, strlen(strchr(at, '\n') + 1) + 1);
    }
    x.now = 5000;
    struct engine *e = engine_with(&x, text);
    engine_restart(e);
    settle(e);
    assert_true(pushes_again(&x, e));
    answer(e, x.pushed, 0, false);
    assert_false(pushes_again(&x, e));
    engine_free(e);
    free(x.written);
}

/* The replica: what was overtaken is dropped, what says no number is taken as before. */
static void test_older_settings_are_dropped(void **state)
{
    (void)state;
    static const enum rel_state states[] = { ST_R_WAIT, ST_R_REPL, ST_R_SUSP, ST_R_RESYNC_SUSP };
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        struct rel r = in_state(states[i]);
        struct vr_err err = VR_ERR_INIT;
        uint32_t fx;
        struct rel_event ev = event(EV_PEER_SETTINGS);
        ev.lineage = line;
        ev.set.rev = 5;
        ev.set.interval_s = 55;
        assert_int_equal(feed(&r, ev, &fx, &err), 0);
        assert_int_equal(r.set.interval_s, 55);
        ev.set.rev = 4;
        ev.set.interval_s = 44;
        assert_int_equal(feed(&r, ev, &fx, &err), 0);
        assert_int_equal(fx, FX_REPLY);
        assert_int_equal(r.set.interval_s, 55);
        ev.set.rev = 0;
        ev.lineage = (struct vr_uuid){ { 0 } };
        assert_int_equal(feed(&r, ev, &fx, &err), 0);
        assert_int_equal(r.set.interval_s, 44);
        ev.set.rev = 9;
        ev.lineage = fresh; /* of a relationship that was ended */
        ev.set.interval_s = 99;
        assert_int_equal(feed(&r, ev, &fx, &err), -1);
        assert_int_equal(r.set.interval_s, 44);
    }
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

/* ---- a planned failover that is being prepared ---- */
static struct vr_uuid request(struct engine *e, enum rel_event_type t, enum job_type type)
{
    struct rel_event ev = event(t);
    struct vr_uuid job = { { 0 } };
    struct vr_err err = VR_ERR_INIT;
    if (engine_request(e, &machine, &ev, type, "me", &job, &err) < 0)
        fail_msg("%s", err.msg);
    settle(e);
    return job;
}

static void test_preparing_can_be_called_off(void **state)
{
    (void)state;
    for (int by_job = 0; by_job < 2; by_job++) {
        struct env x = { .now = 5000 };
        struct rel r = in_state(ST_P_REPL);
        r.set.rev = r.told_rev = 1;
        vr_autofree char *text = rel_encode(&r);
        struct engine *e = engine_with(&x, text);
        struct vr_uuid prepare = request(e, EV_U_PREPARE, JOB_PREPARE);
        engine_tick(e);
        settle(e);
        struct rel_event ev = event(EV_CAPTURED);
        engine_event(e, &machine, &ev);
        settle(e);
        assert_true(x.ran & FX_SHIP); /* the last delta is on its way */
        assert_int_equal(engine_find(e, &machine)->st, ST_P_PREPARING);
        assert_int_equal(engine_find(e, &machine)->flow.kind, FLOW_FINAL);
        x.ran = 0;
        if (by_job) {
            struct vr_err err = VR_ERR_INIT;
            assert_true(job_cancellable(engine_job(e, &prepare)));
            assert_int_equal(engine_job_cancel(e, &prepare, &err), 0);
            settle(e);
        } else {
            struct vr_uuid revert = request(e, EV_U_REVERT, JOB_REVERT);
            assert_int_equal(engine_job(e, &revert)->state, JOB_COMPLETED);
        }
        assert_int_equal(engine_job(e, &prepare)->state, JOB_TERMINATED);
        assert_int_equal(engine_find(e, &machine)->st, ST_P_REPL);
        assert_int_equal(x.ran & (FX_CANCEL_FLOW | FX_UNGUARD), FX_CANCEL_FLOW | FX_UNGUARD);
        assert_null(engine_running_job(e, &machine));
        /* The delta that was on its way is not the last one of another preparation. */
        struct rel again = *engine_find(e, &machine), next;
        struct vr_err none = VR_ERR_INIT;
        uint32_t fx;
        struct rel_event anew = event(EV_U_PREPARE), late = event(EV_SHIPPED);
        assert_int_equal(rel_step(&again, &anew, &next, &fx, &none), 0);
        again = next;
        assert_int_equal(rel_step(&again, &late, &next, &fx, &none), 0);
        assert_int_equal(next.st, ST_P_PREPARING);
        /* What was on its way is given up, and cycles follow. */
        struct rel_event gone = event(EV_SHIP_FAILED);
        vr_fail(&gone.err, VR_E_CANCELLED, 0, "cancelled");
        engine_event(e, &machine, &gone);
        settle(e);
        assert_true(x.ran & FX_DROP);
        struct rel_event ended = event(EV_ENDED);
        engine_event(e, &machine, &ended);
        x.ran = 0;
        engine_tick(e);
        settle(e);
        assert_true(x.ran & FX_CAPTURE);
        assert_int_equal(engine_find(e, &machine)->flow.kind, FLOW_CYCLE);
        assert_int_equal(engine_find(e, &machine)->last_err.kind, VR_OK);
        engine_free(e);
        free(x.written);
    }
}

/* ---- what a proof found ---- */
static void differs(struct engine *e, bool open)
{
    struct vr_err err = VR_ERR_INIT;
    assert_int_equal(engine_differs(e, &machine, 1, open, "1 block differs.", &err), 0);
}

static void newest_is(struct engine *e, bool right)
{
    assert_true(engine_find(e, &machine)->bad_blocks > 0);
    assert_int_equal(engine_find(e, &machine)->bad_open, !right);
}

static void receives(struct engine *e)
{
    struct rel_event ev = event(EV_RX_OPEN);
    struct vr_err err = VR_ERR_INIT;
    ev.lineage = line;
    ev.latest = engine_find(e, &machine)->has_newest;
    assert_int_equal(engine_rx_open(e, &machine, &ev, &err), 0);
}

static void commits(struct engine *e)
{
    struct rel_event point = event(EV_RX_COMMITTED), end = event(EV_RX_ENDED);
    engine_event(e, &machine, &point);
    engine_event(e, &machine, &end);
}

/* Its sender had been told what to send before the damage was found: the point that is committed
 * shows it as well. */
static void test_the_alarm_stays_until_the_newest_point_is_right(void **state)
{
    (void)state;
    struct env x = { 0 };
    struct rel r = in_state(ST_R_REPL);
    vr_autofree char *text = rel_encode(&r);
    struct engine *e = engine_with(&x, text);
    receives(e);
    differs(e, true);
    newest_is(e, false);
    commits(e);
    newest_is(e, false);
    receives(e);
    differs(e, false); /* an older point; the newest does not show it */
    commits(e);
    newest_is(e, true);
    differs(e, true); /* between two */
    receives(e);
    commits(e);
    newest_is(e, true);
    engine_free(e);
    free(x.written);
}

/* The primary, too: the answer of a comparison may come while the next point is on its way. */
static void test_the_alarm_stays_at_the_primary_too(void **state)
{
    (void)state;
    struct env x = { 0 };
    struct rel r = in_state(ST_P_REPL);
    r.due.ms = 1;
    vr_autofree char *text = rel_encode(&r);
    struct engine *e = engine_with(&x, text);
    for (int i = 0; i < 3; i++) {
        struct rel_event go = event(EV_U_SYNC), captured = event(EV_CAPTURED),
                         shipped = event(EV_SHIPPED), ended = event(EV_ENDED);
        captured.n_disks = 1;
        snprintf(captured.disks[0].target, sizeof captured.disks[0].target, "vda");
        engine_event(e, &machine, &go);
        engine_tick(e);
        settle(e);
        engine_event(e, &machine, &captured);
        settle(e);
        assert_int_equal(engine_find(e, &machine)->flow.phase, FLOW_SHIP);
        if (i == 0)
            differs(e, true); /* while it ships */
        engine_event(e, &machine, &shipped);
        settle(e);
        if (i == 0)
            newest_is(e, false);
        else
            newest_is(e, true);
        if (i == 1) { /* what is captured still is compared */
            assert_int_equal(engine_find(e, &machine)->flow.phase, FLOW_RETIRE);
            differs(e, true);
            newest_is(e, false);
        }
        engine_event(e, &machine, &ended);
        settle(e);
    }
    engine_free(e);
    free(x.written);
}

/* The daemon died while the disks became a replica's. What a user had asked for, and was cancelled
 * when the peer's reversal came, does not come to life again: it would never end, and a failover
 * would wait for it. What a user had asked to become goes on. */
static void test_jobs_of_what_was_cancelled_stay_dead(void **state)
{
    (void)state;
    static const char id[] = "6f1c2a34-0001-4e55-9c00-aabbccddeeff";
    for (int for_peer = 0; for_peer < 2; for_peer++) {
        struct env x = { 0 };
        struct vr_err err = VR_ERR_INIT;
        struct rel r = in_state(ST_P_YIELDING);
        r.yield_from = ST_P_SUPERSEDED;
        r.seed = r.diverged = true;
        r.yield_for_peer = for_peer;
        const struct job j = {
            .type = JOB_STATE_CHANGE, .state = JOB_RUNNING, .machine = machine, .owner = "user:x"
        };
        vr_autofree char *text = rel_encode(&r), *job = job_encode(&j);
        struct engine *e = engine_with(&x, text);
        assert_int_equal(engine_load_job(e, id, job, &err), 0);
        engine_restart(e);
        assert_int_equal(!job_over(engine_job_at(e, 0)), !for_peer);
        settle(e);
        struct rel_event yielded = event(EV_YIELDED);
        engine_event(e, &machine, &yielded);
        settle(e);
        assert_int_equal(engine_find(e, &machine)->st, ST_R_WAIT);
        assert_true(job_over(engine_job_at(e, 0)));
        assert_null(engine_running_job(e, &machine));
        engine_free(e);
        free(x.written);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_asks_again_takes_the_place),
        cmocka_unit_test(test_only_the_oldest_jobs_are_forgotten),
        cmocka_unit_test(test_unfinished_jobs_are_counted_for_each_owner),
        cmocka_unit_test(test_settings_are_told_until_they_are_known),
        cmocka_unit_test(test_settings_are_told_in_order),
        cmocka_unit_test(test_settings_are_told_who_is_back),
        cmocka_unit_test(test_settings_of_a_restored_host),
        cmocka_unit_test(test_settings_of_an_older_version),
        cmocka_unit_test(test_older_settings_are_dropped),
        cmocka_unit_test(test_preparing_can_be_called_off),
        cmocka_unit_test(test_jobs_of_what_was_cancelled_stay_dead),
        cmocka_unit_test(test_the_alarm_stays_until_the_newest_point_is_right),
        cmocka_unit_test(test_the_alarm_stays_at_the_primary_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
