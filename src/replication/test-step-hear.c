/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What one end hears of how replication stands at the other, and what it says then. */
#include "replication/explain.h"
#include "replication/test-step-kit.h"

static struct rel_event told(uint16_t state)
{
    struct rel_event ev = event(EV_PEER_TOLD);
    ev.story.mode = state ? REL_MODE_PRIMARY : REL_MODE_NONE;
    ev.story.state_known = true;
    ev.story.state = state;
    return ev;
}

/* The most serious reason that stands in health, "" for none. */
static const char *health(const struct rel *r, uint16_t *ret_level)
{
    const char *why[8];
    size_t n = 0;
    *ret_level = rel_health(r, (struct wall_us){ 10000000 }, why, &n);
    return n ? why[0] : "";
}

static bool has_reason(const struct rel *r, const char *name)
{
    struct rel_reason *why = vr_new0(REL_REASONS_MAX, sizeof *why);
    struct rel_facts f = { .r = r, .now.us = 10000000 };
    size_t n = rel_reasons(&f, why), hits = 0;
    for (size_t i = 0; i < n; i++)
        hits += !strcmp(why[i].name, name);
    free(why);
    return hits == 1;
}

/* A replica that gets nothing for an interval and some time asks its primary, again and again. */
static void test_replica_asks_when_nothing_comes(void **state)
{
    (void)state;
    struct rel r = in_state(ST_R_REPL);
    struct rel_event point = event(EV_RX_COMMITTED), away = event(EV_PEER_AWAY);
    uint32_t fx;
    uint16_t level;
    r.set.interval_s = 30;
    feed(&r, point, &fx, NULL);
    assert_in_range(r.due.ms, point.mono.ms + 30000, point.mono.ms + 60000);
    struct rel_event opening = event(EV_RX_OPEN);
    opening.lineage = line;
    assert_int_equal(feed(&r, opening, &fx, NULL), 0);
    assert_int_equal(feed(&r, event(EV_TICK), &fx, NULL), 0);
    assert_int_equal(fx, 0); /* it sends: no need to ask */
    feed(&r, event(EV_RX_ENDED), &fx, NULL);
    assert_int_equal(feed(&r, event(EV_TICK), &fx, NULL), 0);
    assert_int_equal(fx, FX_PROBE);
    assert_int_equal(feed(&r, away, &fx, NULL), 0);
    assert_string_equal(health(&r, &level), "The primary host does not answer.");
    assert_int_equal(level, 2);
    assert_int_not_equal(r.due.ms, 0);
    feed(&r, point, &fx, NULL);
    assert_string_equal(health(&r, &level), "");
}

static void test_replica_says_how_its_primary_stands(void **state)
{
    (void)state;
    static const struct {
        uint16_t told, level;
        const char *reason;
    } all[] = { { 0, 2, "primary_ended" },    { 7, 2, "primary_paused" },
                { 11, 2, "primary_paused" },  { 8, 3, "primary_error" },
                { 9, 2, "primary_compares" }, { 10, 2, "primary_compares" } };
    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++) {
        struct rel r = in_state(ST_R_REPL);
        uint32_t fx;
        uint16_t level;
        assert_int_equal(feed(&r, told(all[i].told), &fx, NULL), 0);
        assert_int_equal(r.st, ST_R_REPL); /* a story changes nothing here */
        assert_true(has_reason(&r, all[i].reason));
        health(&r, &level);
        assert_int_equal(level, all[i].level);
        feed(&r, told(3), &fx, NULL);
        assert_string_equal(health(&r, &level), "");
        feed(&r, told(all[i].told), &fx, NULL);
        feed(&r, event(EV_RX_COMMITTED), &fx, NULL); /* whoever sends is replicating */
        assert_string_equal(health(&r, &level), "");
    }
}

/* 10 and 15 are for what comes in. Whoever resumes a replica in 11, or a start, asks at once
 * whether the primary still compares, and believes it. src:[contract.md B.5 Rq(3), C.3] */
static void test_replica_compares_no_longer_than_its_primary(void **state)
{
    (void)state;
    static const struct {
        enum rel_state st;
        uint16_t told;
        enum rel_state then;
    } all[] = { { ST_R_RESYNC, 10, ST_R_RESYNC }, { ST_R_RESYNC, 9, ST_R_REPL },
                { ST_R_RESYNC, 3, ST_R_REPL },    { ST_R_RESYNC, 0, ST_R_REPL },
                { ST_R_UPDATE, 15, ST_R_UPDATE }, { ST_R_UPDATE, 16, ST_R_REPL } };
    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++) {
        struct rel r = in_state(all[i].st);
        uint32_t fx;
        r.rx_active = true;
        assert_int_equal(feed(&r, told(all[i].told), &fx, NULL), 0);
        assert_int_equal(r.st, all[i].st); /* it comes in */
        r.rx_active = false;
        assert_int_equal(feed(&r, event(EV_PEER_TOLD), &fx, NULL), 0);
        assert_int_equal(r.st, all[i].st); /* an older version says nothing of it */
        assert_int_equal(feed(&r, told(all[i].told), &fx, NULL), 0);
        assert_int_equal(r.st, all[i].then);
        assert_int_equal(fx, all[i].then == all[i].st ? 0 : FX_PERSIST);
    }
    struct rel r = in_state(ST_R_RESYNC_SUSP);
    uint32_t fx;
    assert_int_equal(feed(&r, event(EV_U_RESUME), &fx, NULL), 0);
    assert_int_equal(r.st, ST_R_RESYNC);
    assert_true(fx & FX_PROBE);
}

/* An older version tells no state, and somebody else is not asked. */
static void test_what_is_not_told_is_not_known(void **state)
{
    (void)state;
    struct rel r = in_state(ST_R_REPL);
    struct rel_event older = event(EV_PEER_TOLD), other = told(8);
    uint32_t fx;
    uint16_t level;
    feed(&r, older, &fx, NULL);
    assert_string_equal(health(&r, &level), "");
    snprintf(other.peer, sizeof other.peer, "gamma");
    feed(&r, other, &fx, NULL);
    assert_string_equal(health(&r, &level), "");
    r = in_state(ST_R_WAIT);
    r.peer[0] = 0;
    feed(&r, event(EV_TICK), &fx, NULL);
    assert_int_equal(fx, 0); /* a seed has nobody to ask */
}

/* A removal that fails gives nothing up: it can be asked for again, or the points be given up. */
static void test_a_removal_that_fails(void **state)
{
    (void)state;
    static const enum rel_state all[] = { ST_P_REPL, ST_P_CRIT, ST_R_REPL, ST_R_CRIT };
    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++) {
        struct rel r = in_state(all[i]);
        struct rel_event no = event(EV_REMOVE_FAILED);
        struct vr_err err = VR_ERR_INIT;
        uint32_t fx;
        bool replica = i >= 2;
        uint16_t level;
        vr_fail(&no.err, VR_E_NOSPACE, 0, "/x: no room");
        assert_int_equal(feed(&r, event(EV_U_ABANDON), &fx, &err), -1); /* first the good way */
        assert_int_equal(err.kind, VR_E_STATE);
        feed(&r, event(EV_U_REMOVE), &fx, NULL);
        feed(&r, no, &fx, NULL);
        assert_int_equal(fx, FX_PERSIST | FX_JOB_FAIL);
        assert_int_equal(rel_cim_state(&r), 8);
        assert_string_equal(r.last_err.msg, "/x: no room");
        assert_true(has_reason(&r, replica ? "replica_not_removed" : "not_removed"));
        assert_false(has_reason(&r, "error") || has_reason(&r, "cannot_receive"));
        health(&r, &level);
        assert_int_equal(level, 3);
        assert_int_equal(rel_story(&r).state, 8);
        vr_err_clear(&err);
        assert_int_equal(feed(&r, event(EV_U_RESUME), &fx, &err), -1);
        assert_int_equal(feed(&r, event(EV_RESTART), &fx, NULL), 0);
        assert_int_equal(rel_cim_state(&r), 8);
        struct rel given_up = r;
        feed(&r, event(EV_U_REMOVE), &fx, NULL);
        assert_true(fx & FX_REMOVE);
        assert_false(r.abandon);
        feed(&r, event(EV_REMOVED), &fx, NULL);
        assert_int_equal(r.st, ST_NONE);
        vr_err_clear(&err);
        assert_int_equal(feed(&given_up, event(EV_U_ABANDON), &fx, &err), replica ? 0 : -1);
        assert_int_equal(given_up.abandon, replica);
    }
}

/* Ending a failover's half is not taking the failover back: the old primary stays locked. */
static void test_removing_is_no_revert(void **state)
{
    (void)state;
    struct rel r = in_state(ST_R_RECOVERED), old = in_state(ST_P_SUPERSEDED);
    struct rel_event tell = event(EV_PEER_TOLD);
    uint32_t fx;
    r.failover_kind = VR_POINT_STANDARD;
    r.next_lineage = fresh;
    old.super_from = ST_P_REPL;
    feed(&r, event(EV_U_REMOVE), &fx, NULL);
    for (int i = 0; i < 2; i++) {
        tell.story = rel_story(&r);
        assert_true(tell.story.failed_over);
        feed(&old, tell, &fx, NULL);
        assert_int_equal(old.st, ST_P_SUPERSEDED);
        feed(&r, event(EV_REMOVE_FAILED), &fx, NULL);
        assert_int_equal(r.st, ST_R_REMOVE_CRIT);
    }
    feed(&r, event(EV_RESTART), &fx, NULL);
    assert_true(fx & FX_UNGUARD);
}

/* Each side ends its half for itself, tells the other when it is over, and the other says so. */
static void test_the_end_is_told(void **state)
{
    (void)state;
    static const enum rel_state all[] = { ST_P_REPL, ST_P_SUSP, ST_R_REPL, ST_R_SUSP };
    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++) {
        struct rel r = in_state(all[i]), other = in_state(i < 2 ? ST_R_REPL : ST_P_REPL);
        struct rel_event end = event(EV_PEER_TOLD);
        uint32_t fx;
        assert_int_equal(feed(&r, event(EV_U_REMOVE), &fx, NULL), 0);
        assert_true((fx & FX_PROBE) && (fx & FX_REMOVE));
        assert_false(rel_story(&r).state_known);
        feed(&r, event(EV_REMOVED), &fx, NULL);
        end.story = rel_story(&r); /* PROBE runs after REMOVE, and tells what is so then */
        assert_true(end.story.state_known);
        assert_int_equal(end.story.state, 0);
        assert_int_equal(feed(&other, end, &fx, NULL), 0);
        assert_true(has_reason(&other, i < 2 ? "primary_ended" : "replica_ended"));
        other.failures = 10; /* what follows from it is not told, too */
        vr_fail(&other.last_err, VR_E_STATE, 0, "refused");
        assert_false(has_reason(&other, "cannot_send"));
    }
}

/* What the other host shall know at once. */
static void test_trouble_is_told(void **state)
{
    (void)state;
    struct rel r = in_state(ST_P_REPL);
    struct rel_event no = event(EV_CAPTURE_FAILED);
    uint32_t fx;
    feed(&r, event(EV_U_PAUSE), &fx, NULL);
    assert_true(fx & FX_PROBE);
    assert_int_equal(rel_story(&r).state, 7);
    r = in_state(ST_P_REPL);
    vr_fail(&no.err, VR_E_DISKS, 0, "not those");
    feed(&r, no, &fx, NULL);
    assert_int_equal(r.st, ST_P_CRIT);
    assert_true(fx & FX_PROBE);
}

/* The failover was cancelled there, and the daemon died before it told so: the old primary looks by
 * itself, again while nobody answers and after a restart of its own, and goes on when it hears it.
 */
static void test_a_cancel_that_is_not_told(void **state)
{
    (void)state;
    struct rel r = in_state(ST_P_REPL);
    struct rel_event over = told(0), cancelled = told(0), away = event(EV_PEER_AWAY);
    uint32_t fx;
    over.story = (struct rel_story){ .mode = REL_MODE_REPLICA,
                                     .failed_over = true,
                                     .lineage = fresh,
                                     .of = line,
                                     .point = { line, 1 } };
    cancelled.story = (struct rel_story){ .mode = REL_MODE_REPLICA, .lineage = line };
    assert_int_equal(feed(&r, over, &fx, NULL), 0);
    assert_int_equal(r.st, ST_P_SUPERSEDED);
    for (int i = 0; i < 3; i++) {
        assert_in_range(r.due.ms, 1, over.mono.ms + 10000);
        r.due.ms = 0; /* as the engine does */
        assert_int_equal(feed(&r, event(EV_TICK), &fx, NULL), 0);
        assert_true(fx & FX_PROBE);
        assert_int_equal(feed(&r, i == 1 ? over : away, &fx, NULL), 0);
        assert_int_equal(r.st, ST_P_SUPERSEDED);
    }
    vr_autofree char *text = rel_encode(&r);
    assert_int_equal(rel_decode(text, &r, NULL), 0);
    assert_int_equal(feed(&r, event(EV_RESTART), &fx, NULL), 0);
    assert_true(fx & FX_PROBE);
    assert_int_equal(feed(&r, cancelled, &fx, NULL), 0);
    assert_int_equal(r.st, ST_P_REPL);
    assert_true(fx & FX_UNGUARD);
    assert_int_not_equal(r.due.ms, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replica_asks_when_nothing_comes),
        cmocka_unit_test(test_replica_compares_no_longer_than_its_primary),
        cmocka_unit_test(test_replica_says_how_its_primary_stands),
        cmocka_unit_test(test_what_is_not_told_is_not_known),
        cmocka_unit_test(test_a_removal_that_fails),
        cmocka_unit_test(test_removing_is_no_revert),
        cmocka_unit_test(test_the_end_is_told),
        cmocka_unit_test(test_trouble_is_told),
        cmocka_unit_test(test_a_cancel_that_is_not_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
