/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests of application-consistent points and of retention in the engine's core: when one is due,
 * what is counted, what a failure leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "replication/explain.h"
#include "replication/step.h"

#define SECOND ((int64_t)1000000)

/* A primary that replicates every 300 s and wants a consistent point every hour. */
static struct rel primary(void)
{
    struct rel r = { .machine = { { 1 } }, .name = "web01", .st = ST_P_REPL };
    rel_settings_default(&r.set);
    snprintf(r.peer, sizeof r.peer, "beta");
    r.lineage.b[0] = 2;
    r.epoch = 7;
    r.acked = (struct vr_point_id){ .lineage = r.lineage, .epoch = 7 };
    r.has_acked = r.tracked = true;
    r.set.app_interval_s = 3600;
    r.set.recovery_history = 4;
    return r;
}

static uint32_t feed(struct rel *r, const struct rel_event *ev)
{
    struct vr_err err = VR_ERR_INIT;
    struct rel next;
    uint32_t fx = 0;
    if (rel_step(r, ev, &next, &fx, &err) < 0)
        fail_msg("%s", err.msg);
    *r = next;
    return fx;
}

/* What the guest does when it is asked. */
enum guest { ANSWERS, HANGS, IS_OFF };

/* One cycle at a moment (seconds); was an application-consistent point wanted? */
static bool cycle(struct rel *r, int64_t at, enum guest guest)
{
    struct rel_event ev = { .type = EV_TICK, .wall.us = at * SECOND, .mono.ms = 1000 * at + 1 };
    assert_true(feed(r, &ev) & FX_CAPTURE);
    bool wanted = r->flow.app;
    ev.type = EV_CAPTURED;
    ev.vm_off = guest == IS_OFF;
    ev.kind = wanted && guest == ANSWERS ? VR_POINT_APPLICATION : VR_POINT_STANDARD;
    ev.frozen_ms = wanted && guest == ANSWERS ? 40 : 0;
    snprintf(ev.note, sizeof ev.note, "%s", wanted && guest == HANGS ? "it hangs" : "");
    feed(r, &ev);
    assert_int_equal(rel_flow_kind(r), ev.kind);
    ev.type = EV_SHIPPED;
    feed(r, &ev);
    ev.type = EV_ENDED;
    feed(r, &ev);
    return wanted;
}

static void an_hour_apart(void **state)
{
    (void)state;
    struct rel r = primary();
    int64_t at = 1000000;
    assert_true(cycle(&r, at, ANSWERS)); /* there has been none */
    assert_int_equal(r.last_kind, VR_POINT_APPLICATION);
    assert_int_equal(r.last_app_time.us, at * SECOND);
    assert_int_equal(r.app_frozen_ms, 40);
    for (int i = 1; i < 12; i++) {
        assert_false(cycle(&r, at + i * 300, ANSWERS));
        assert_int_equal(r.last_kind, VR_POINT_STANDARD);
    }
    /* Cycles are a little early or late: it is due all the same. */
    assert_true(cycle(&r, at + 3590, ANSWERS));
    assert_int_equal(r.stat_app_fail, 0);
    r.set.app_interval_s = 0;
    assert_false(cycle(&r, at + 100000, ANSWERS));
}

static void a_failure(void **state)
{
    (void)state;
    struct rel r = primary();
    const char *why[8];
    size_t n = 0;
    int64_t at = 1000000;
    assert_true(cycle(&r, at, HANGS));
    assert_int_equal(r.last_kind, VR_POINT_STANDARD);
    assert_int_equal(r.last_app_time.us, 0);
    assert_int_equal(r.stat_app_fail, 1);
    assert_string_equal(r.app_note, "it hangs");
    assert_int_equal(rel_health(&r, (struct wall_us){ at * SECOND }, why, &n), 2);
    assert_non_null(strstr(why[0], "Application-consistent"));
    /* Not in each cycle, but sooner than in an hour. */
    assert_false(cycle(&r, at + 300, ANSWERS));
    assert_true(cycle(&r, at + 900, HANGS));
    assert_true(cycle(&r, at + 1800, ANSWERS));
    assert_int_equal(r.stat_app_fail, 2);
    assert_string_equal(r.app_note, "");
    assert_int_equal(rel_health(&r, (struct wall_us){ (at + 1800) * SECOND }, why, &n), 1);
    assert_false(cycle(&r, at + 2700, ANSWERS));
}

static void a_point_that_did_not_arrive(void **state)
{
    (void)state;
    struct rel r = primary();
    struct rel_event ev = { .type = EV_TICK, .wall.us = 77 * SECOND, .mono.ms = 77000 };
    feed(&r, &ev);
    ev.type = EV_CAPTURED;
    ev.kind = VR_POINT_APPLICATION;
    feed(&r, &ev);
    ev.type = EV_SHIP_FAILED;
    vr_fail(&ev.err, VR_E_PEER, 0, "not reachable");
    feed(&r, &ev);
    ev.type = EV_ENDED;
    feed(&r, &ev);
    assert_int_equal(r.last_app_time.us, 0);
    vr_err_clear(&r.last_err);
    assert_true(cycle(&r, 80, ANSWERS)); /* the next one takes its place */
}

static void off_and_jumping_clocks(void **state)
{
    (void)state;
    struct rel r = primary();
    int64_t at = 1000000;
    assert_true(cycle(&r, at, IS_OFF)); /* nothing to freeze: neither done nor failed */
    assert_int_equal(r.stat_app_fail, 0);
    assert_int_equal(r.last_kind, VR_POINT_STANDARD);
    assert_true(cycle(&r, at + 300, ANSWERS));
    assert_false(cycle(&r, at + 600, ANSWERS));
    assert_true(cycle(&r, at - 86400, ANSWERS)); /* the clock was set back: not another day */
}

/* What is told is of the newest attempt, whatever it came to. */
static void the_newest_attempt(void **state)
{
    (void)state;
    struct rel r = primary();
    struct rel_event asked = { .type = EV_U_SYNC, .app = true, .mono.ms = 1 };
    static const enum guest order[] = { ANSWERS, HANGS, IS_OFF, HANGS, ANSWERS, IS_OFF };
    r.set.app_interval_s = 0;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        int64_t at = 1000 + 10 * (int64_t)i;
        feed(&r, &asked);
        assert_true(cycle(&r, at, order[i]));
        assert_int_equal(r.app_tried.us, order[i] == IS_OFF ? 0 : at * SECOND);
        assert_int_equal(r.app_frozen_ms, order[i] == ANSWERS ? 40 : 0);
        assert_string_equal(r.app_note, order[i] == HANGS ? "it hangs" : "");
    }
}

static void on_request(void **state)
{
    (void)state;
    struct rel r = primary();
    r.set.app_interval_s = 0;
    struct rel_event ev = { .type = EV_U_SYNC, .app = true, .mono.ms = 1 };
    feed(&r, &ev);
    assert_true(cycle(&r, 1000, ANSWERS));
    assert_int_equal(r.last_kind, VR_POINT_APPLICATION);
    assert_false(cycle(&r, 1010, ANSWERS));
}

static void what_counts(void **state)
{
    (void)state;
    struct rel r = primary();
    struct rel_keep k = rel_keep(&r);
    assert_int_equal(k.every_s, 3600);
    assert_int_equal(k.hourly, 24); /* the default is more than RecoveryHistory */
    r.set.keep = (struct rel_keep){ .daily = 2 };
    r.floor = (struct rel_keep){ .daily = 1, .weekly = 5 };
    k = rel_keep(&r);
    assert_int_equal(k.every_s, 0);
    assert_int_equal(k.hourly, 4); /* RecoveryHistory */
    assert_int_equal(k.daily, 2);
    assert_int_equal(k.weekly, 5);
}

/* What a version wrote that knew nothing of retention must not read as "keep nothing". */
static void what_an_older_version_wrote(void **state)
{
    (void)state;
    struct rel r;
    struct vr_err err = VR_ERR_INIT;
    if (rel_decode("state=R_REPL\nmachine=01000000-0000-0000-0000-000000000000\n", &r, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(r.set.keep.every_s, 3600);
    assert_int_equal(r.set.keep.hourly, 24);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_hour_apart),
        cmocka_unit_test(a_failure),
        cmocka_unit_test(a_point_that_did_not_arrive),
        cmocka_unit_test(off_and_jumping_clocks),
        cmocka_unit_test(the_newest_attempt),
        cmocka_unit_test(on_request),
        cmocka_unit_test(what_counts),
        cmocka_unit_test(what_an_older_version_wrote),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
