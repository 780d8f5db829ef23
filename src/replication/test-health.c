/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Health, statistics and the daily window, row by row of the contract: D.1, A.7, D.4, C.3. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "replication/explain.h"
#include "replication/step.h"

#define S (1000000ll)
#define HOUR (3600 * S)
static const struct wall_us now = { 100 * HOUR };

static struct rel in_state(enum rel_state st)
{
    struct rel r = { .st = st, .machine = { { 1 } }, .name = "web", .peer = "hostb" };
    rel_settings_default(&r.set);
    r.has_acked = r.has_newest = r.tracked = true;
    r.last_time.us = r.newest_instant.us = now.us - 60 * S;
    return r;
}

static void feed(struct rel *r, struct rel_event ev, uint32_t *fx)
{
    struct rel next;
    struct vr_err err = VR_ERR_INIT;
    if (rel_step(r, &ev, &next, fx, &err) < 0)
        fail_msg("%s in %s: %s", rel_event_text(ev.type), rel_state_name(r->st), err.msg);
    *r = next;
}

/* ---- D.1: what decides, level, text that clients see ---- */
struct row {
    const char *rule; /* of the contract */
    enum rel_state st;
    int64_t silent_s; /* since the last point; -1: there never was one */
    uint32_t ok, miss, fail, failures, interval_s;
    uint16_t level;
    const char *text;
    bool hung; /* the storage of its files does not answer */
};

#define BEHIND "Replica is behind the primary by more than an hour."
#define MISSED "More than 20 percent of replication cycles have been missed."
#define ERROR8 \
    "Replication for virtual machine is in error. Fix the error(s) and resume replication."
static const struct row d1[] = {
    { "0: replication disabled", ST_NONE, -1, .level = 0 },
    { "0: being enabled", ST_P_CREATING, -1, .level = 0 },
    { "P 3: cannot send", ST_P_REPL, 60, .failures = 3, .level = 3,
      .text = "Changes cannot be sent to the replica." },
    { "P 1: one failure is repeated at once", ST_P_REPL, 60, .failures = 1, .level = 1 },
    { "P 3: state 8", ST_P_CRIT, 60, .level = 3, .text = ERROR8 },
    { "P 3: state 16", ST_P_UPDATE_CRIT, 60, .level = 3, .text = ERROR8 },
    { "P 1: state 15", ST_P_UPDATE, 60, .level = 1 },
    { "P 3: state 15, cannot send", ST_P_UPDATE, 60, .failures = 3, .level = 3,
      .text = "Changes cannot be sent to the replica." },
    { "R 1: state 15", ST_R_UPDATE, 60, .level = 1 },
    { "P 3: state 8, initial copy", ST_P_IR_CRIT, -1, .level = 3, .text = ERROR8 },
    { "P 3: state 9", ST_P_RESYNC_WAIT, 60, .level = 3, .text = "Resynchronization is required." },
    { "R 3: paused", ST_R_SUSP, 60, .level = 3, .text = "Replication is paused." },
    { "R 3: paused before the initial copy", ST_R_IR_SUSP, -1, .level = 3,
      .text = "Replication is paused." },
    { "P 2: >20 % missed", ST_P_REPL, 60, .ok = 7, .miss = 2, .level = 2, .text = MISSED },
    { "P 1: 20 % is not more than 20 %", ST_P_REPL, 60, .ok = 8, .miss = 2, .level = 1 },
    { "P 2: repeated attempts do not dilute what was missed", ST_P_REPL, 60, .ok = 7, .miss = 2,
      .fail = 1000, .level = 2, .text = MISSED },
    { "P 2: >1 h since the last successful send", ST_P_REPL, 3601, .level = 2, .text = BEHIND },
    { "P 1: an hour is not more than an hour", ST_P_REPL, 3600, .level = 1 },
    { "P 1: with an interval of an hour: two of them", ST_P_REPL, 7200, .interval_s = 3600,
      .level = 1 },
    { "P 2: with an interval of an hour: more than two", ST_P_REPL, 7201, .interval_s = 3600,
      .level = 2, .text = BEHIND },
    { "P 2: IR not completed", ST_P_READY, -1, .level = 2,
      .text = "Initial replication has not completed." },
    { "P 2: IR not completed", ST_P_IR, -1, .level = 2,
      .text = "Initial replication has not completed." },
    { "P 2: replication paused", ST_P_SUSP, 60, .level = 2, .text = "Replication is paused." },
    { "P 2: resynchronisation paused", ST_P_RESYNC_SUSP, 60, .level = 2,
      .text = "Replication is paused." },
    { "P 2: resynchronising (C.3: Critical until it is over)", ST_P_RESYNC, 60, .level = 2,
      .text = "Resynchronization is in progress." },
    { "P 1: prepared (C.3)", ST_P_PREPARED, 60, .level = 1 },
    { "P 1: otherwise", ST_P_REPL, 60, .ok = 10, .level = 1 },
    { "R 2: IR not completed (C.3)", ST_R_WAIT, -1, .level = 2,
      .text = "Initial replication has not completed." },
    { "R 2: >1 h since the last receive", ST_R_REPL, 3601, .level = 2, .text = BEHIND },
    { "R 1: otherwise", ST_R_REPL, 60, .level = 1 },
    { "R 2: failed over, not reversed", ST_R_RECOVERED, 60, .level = 2,
      .text = "The machine was failed over and replication is not reversed yet." },
    { "R 2: committed, not reversed", ST_R_COMMITTED, 7 * 3600, .level = 2,
      .text = "The machine was failed over and replication is not reversed yet." },
    { "R 3: state 8", ST_R_CRIT, 60, .level = 3, .text = ERROR8 },
    { "R 3: state 8, initial copy", ST_R_IR_CRIT, -1, .level = 3, .text = ERROR8 },
    { "R 2: resynchronising (C.3)", ST_R_RESYNC, 60, .level = 2,
      .text = "Resynchronization is in progress." },
    { "R 3: resynchronisation paused", ST_R_RESYNC_SUSP, 60, .level = 3,
      .text = "Replication is paused." },
    { "R 1: failing over", ST_R_FAILING, 60, .level = 1 },
    { "ours: the replica's files", ST_R_REPL, 60, .hung = true, .level = 3,
      .text = "The storage of the replica does not answer." },
    { "ours: the disks of a primary that was a replica", ST_P_REPL, 60, .hung = true, .level = 3,
      .text = "The storage of the machine does not answer." },
    { "ours: the disks of a machine that was failed over", ST_R_RECOVERED, 60, .hung = true,
      .level = 3, .text = "The storage of the machine does not answer." },
};

static void health_by_the_contract(void **state)
{
    (void)state;
    for (size_t i = 0; i < VR_ARRAY_LEN(d1); i++) {
        const struct row *w = &d1[i];
        struct rel r = in_state(w->st);
        const char *why[8];
        size_t n = 0;
        r.last_time.us = w->silent_s < 0 ? 0 : now.us - w->silent_s * S;
        r.stat_ok = w->ok, r.stat_miss = w->miss, r.stat_fail = w->fail, r.failures = w->failures;
        if (w->interval_s)
            r.set.interval_s = w->interval_s;
        snprintf(r.silent, sizeof r.silent, "%s", w->hung ? "/srv" : "");
        uint16_t level = rel_health(&r, now, why, &n);
        if (level != w->level)
            fail_msg("%s: %u instead of %u", w->rule, level, w->level);
        bool told = !w->text;
        for (size_t k = 0; k < n; k++)
            told |= w->text && !strcmp(why[k], w->text);
        if (!told || (w->level <= 1 && n))
            fail_msg("%s: %zu texts, the first '%s'", w->rule, n, n ? why[0] : "");
    }
}

/* A text of health has one number, wherever it stands, and no other text has it. */
static void every_issue_has_its_number(void **state)
{
    (void)state;
    static const struct {
        unsigned id, level;
        const char *text;
    } all[] = {
#define R(name, level, id, health, why, todo, command) { id, level, health },
#include "replication/explain.def"
    };
    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++) {
        bool told = all[i].text && all[i].level >= 2;
        if (told != (all[i].id != 0) || (told && all[i].id / 100 != 334))
            fail_msg("row %zu: number %u, level %u, '%s'", i, all[i].id, all[i].level,
                     all[i].text ? all[i].text : "");
        if (!told)
            continue;
        assert_int_equal(rel_health_id(all[i].text), all[i].id);
        for (size_t k = 0; k < i; k++)
            if (all[k].text && (all[k].id == all[i].id) != !strcmp(all[k].text, all[i].text))
                fail_msg("%u: '%s' and %u: '%s'", all[k].id, all[k].text, all[i].id, all[i].text);
    }
    assert_int_equal(rel_health_id(BEHIND), 33414); /* src:[contract.md D.1] */
    assert_int_equal(rel_health_id("nonsense"), 0);
}

/* ---- A.7: counters ---- */
static struct rel_event at(enum rel_event_type t, int64_t mono_s)
{
    struct rel_event ev = { .type = t, .mono.ms = mono_s * 1000, .wall.us = mono_s * S };
    ev.n_disks = 1;
    return ev;
}

static void cycle(struct rel *r, int64_t from_s, int64_t to_s, uint64_t wire)
{
    uint32_t fx;
    struct rel_event ev = at(EV_SHIPPED, to_s);
    ev.moved = (struct rel_moved){ .wire = wire, .ms = (uint64_t)(to_s - from_s) * 1000 };
    feed(r, at(EV_TICK, from_s), &fx);
    feed(r, at(EV_CAPTURED, from_s), &fx);
    feed(r, ev, &fx);
    feed(r, at(EV_ENDED, to_s), &fx);
}

static void failed_cycle(struct rel *r, int64_t at_s, enum vr_kind kind)
{
    uint32_t fx;
    struct rel_event ev = at(EV_SHIP_FAILED, at_s);
    vr_fail(&ev.err, kind, 0, "it failed");
    feed(r, at(EV_TICK, at_s), &fx);
    feed(r, at(EV_CAPTURED, at_s), &fx);
    feed(r, ev, &fx);
    feed(r, at(EV_ENDED, at_s), &fx);
}

static void counters(void **state)
{
    (void)state;
    struct rel r = in_state(ST_P_REPL);
    r.set.interval_s = 100;
    cycle(&r, 1000, 1010, 500);
    cycle(&r, 1100, 1130, 700);
    assert_int_equal(r.stat_ok, 2);
    assert_int_equal(r.stat_bytes, 1200);
    assert_int_equal(r.stat_max_bytes, 700);
    assert_int_equal(r.stat_ms, 40000);
    assert_int_equal(r.stat_max_ms, 30000);
    assert_int_equal(r.stat_miss, 0);
    cycle(&r, 1200, 1300, 1); /* just in time */
    assert_int_equal(r.stat_miss, 0);
    cycle(&r, 1300, 1401, 1); /* one interval without a point */
    assert_int_equal(r.stat_miss, 1);
    cycle(&r, 1401, 1702, 1);
    assert_int_equal(r.stat_miss, 4);
    failed_cycle(&r, 2000, VR_E_PEER);
    failed_cycle(&r, 2050, VR_E_TIMEOUT);
    failed_cycle(&r, 2090, VR_E_NOSPACE);
    assert_int_equal(r.stat_net_fail, 2);
    assert_int_equal(r.stat_fail, 3);
    assert_int_equal(r.stat_miss, 4); /* the interval is not over yet */
    failed_cycle(&r, 2250, VR_E_PEER);
    assert_int_equal(r.stat_miss, 6);
    failed_cycle(&r, 2251, VR_E_PEER); /* nothing is counted twice */
    assert_int_equal(r.stat_miss, 6);
    cycle(&r, 2310, 2320, 1);
    assert_int_equal(r.stat_miss, 7);
    assert_int_equal(r.stat_ok, 6);
}

/* Twelve intervals of an hour without the network are missed, however often it was tried. */
static void an_outage_is_missed_cycles(void **state)
{
    (void)state;
    struct rel r = in_state(ST_P_REPL);
    const char *why[8];
    size_t n;
    r.set.interval_s = 300;
    for (int64_t t = 5000; t <= 5000 + 3601; t += 30)
        failed_cycle(&r, t, VR_E_PEER);
    assert_int_equal(r.stat_miss, 11);
    cycle(&r, 8601, 8605, 1);
    assert_int_equal(r.stat_miss, 12);
    r.last_time = r.newest_instant = now;
    assert_int_equal(rel_health(&r, now, why, &n), 2);
    assert_string_equal(why[0], MISSED);
}

/* Who pauses does not miss; a comparison is no cycle. */
static void what_nobody_wants_is_not_missed(void **state)
{
    (void)state;
    struct rel r = in_state(ST_P_REPL);
    uint32_t fx;
    r.set.interval_s = 100;
    failed_cycle(&r, 1000, VR_E_PEER);
    feed(&r, at(EV_U_PAUSE, 1010), &fx);
    feed(&r, at(EV_U_RESUME, 9000), &fx);
    cycle(&r, 9000, 9010, 1);
    assert_int_equal(r.stat_miss, 0);
    feed(&r, at(EV_U_PAUSE, 9020), &fx);
    feed(&r, at(EV_U_RESYNC, 9030), &fx);
    cycle(&r, 9030, 9930, 1);
    assert_int_equal(r.st, ST_P_REPL);
    assert_int_equal(r.stat_miss, 0);
}

/* ---- D.4: the daily window ---- */
#define AT(h, m) ((h)*3600 + (m)*60)

static void daily_window(void **state)
{
    (void)state;
    static const struct {
        uint32_t start, end, now;
        int64_t wait_s; /* 0: at once */
    } rows[] = {
        { AT(18, 30), AT(6, 0), AT(18, 29) + 59, 1 },
        { AT(18, 30), AT(6, 0), AT(18, 30), 0 },
        { AT(18, 30), AT(6, 0), AT(23, 59), 0 },
        { AT(18, 30), AT(6, 0), AT(0, 0), 0 },
        { AT(18, 30), AT(6, 0), AT(5, 59) + 59, 0 },
        { AT(18, 30), AT(6, 0), AT(6, 0), AT(12, 30) },
        { AT(9, 0), AT(10, 0), AT(9, 30), 0 },
        { AT(9, 0), AT(10, 0), AT(10, 0), AT(23, 0) },
        { AT(9, 0), AT(10, 0), AT(8, 0), AT(1, 0) },
        { AT(7, 0), AT(7, 0), AT(3, 0), 0 },
        { AT(0, 0), AT(0, 0), AT(12, 0), 0 },
    };
    for (size_t i = 0; i < VR_ARRAY_LEN(rows); i++) {
        struct rel r = in_state(ST_P_RESYNC_WAIT);
        struct rel_event ev = at(EV_TICK, 1000);
        uint32_t fx;
        r.tracked = false;
        r.set.resync_start_s = rows[i].start;
        r.set.resync_end_s = rows[i].end;
        ev.day_s = rows[i].now;
        feed(&r, ev, &fx);
        if (r.st != (rows[i].wait_s ? ST_P_RESYNC_WAIT : ST_P_RESYNC))
            fail_msg("row %zu: %s", i, rel_state_name(r.st));
        if (!rows[i].wait_s)
            continue;
        assert_int_equal(r.start_at.us, 1000 * S + rows[i].wait_s * S);
        assert_int_equal(r.due.ms, 1000 * 1000 + rows[i].wait_s * 1000 + 1);
        assert_true(fx & FX_PERSIST);
        /* and then */
        struct rel_event then = at(EV_TICK, 1000 + rows[i].wait_s);
        then.day_s = rows[i].start;
        feed(&r, then, &fx);
        assert_int_equal(r.st, ST_P_RESYNC);
    }
}

static void window_that_changes(void **state)
{
    (void)state;
    struct rel r = in_state(ST_P_RESYNC_WAIT);
    struct rel_event ev = at(EV_TICK, 1000);
    uint32_t fx;
    ev.day_s = AT(12, 0);
    feed(&r, ev, &fx);
    assert_true(r.start_by_window);
    struct rel_event modify = at(EV_U_MODIFY, 1001);
    modify.set = r.set;
    modify.set.resync_start_s = AT(11, 0);
    feed(&r, modify, &fx);
    ev = at(EV_TICK, 1002);
    ev.day_s = AT(12, 0);
    feed(&r, ev, &fx);
    assert_int_equal(r.st, ST_P_RESYNC);
    /* what a user scheduled stays */
    r = in_state(ST_P_RESYNC_WAIT);
    ev = at(EV_U_RESYNC, 1000);
    ev.start_at.us = 5000 * S;
    feed(&r, ev, &fx);
    feed(&r, modify, &fx);
    assert_int_equal(r.start_at.us, 5000 * S);
}

/* src:[contract.md C.1 Rq(9)] Who cancels a comparison does not see it start again by itself. */
static void cancelled_stays_cancelled(void **state)
{
    (void)state;
    struct rel r = in_state(ST_P_RESYNC), back;
    uint32_t fx;
    r.set.resync_start_s = r.set.resync_end_s = 0;
    feed(&r, at(EV_U_CANCEL_RESYNC, 1000), &fx);
    assert_int_equal(r.st, ST_P_RESYNC_WAIT);
    vr_autofree char *text = rel_encode(&r);
    assert_int_equal(rel_decode(text, &back, NULL), 0);
    feed(&back, at(EV_RESTART, 2000), &fx);
    feed(&back, at(EV_TICK, 2001), &fx);
    assert_int_equal(back.st, ST_P_RESYNC_WAIT);
    feed(&back, at(EV_U_RESUME, 3000), &fx);
    assert_int_equal(back.st, ST_P_RESYNC);
    assert_false(back.resync_held);
}

/* AutoResynchronizeEnabled off: it waits for somebody. */
static void nothing_starts_by_itself_when_it_is_off(void **state)
{
    (void)state;
    struct rel r = in_state(ST_P_RESYNC_WAIT);
    uint32_t fx;
    r.set.auto_resync = false;
    r.set.resync_start_s = r.set.resync_end_s = 0;
    feed(&r, at(EV_TICK, 1000), &fx);
    assert_int_equal(r.st, ST_P_RESYNC_WAIT);
    assert_int_equal(r.due.ms, 0);
}

/* ---- disks: issue 2 "a disk whose size changed (say what happens)" ---- */
static void disk_that_changes_its_size(void **state)
{
    (void)state;
    static const enum rel_state states[] = { ST_P_IR, ST_P_REPL, ST_P_RESYNC, ST_P_PREPARING };
    for (size_t i = 0; i < VR_ARRAY_LEN(states); i++)
        for (int grows = 0; grows <= 1; grows++) {
            struct rel r = in_state(states[i]);
            struct rel_event ev = at(EV_CAPTURED, 1000);
            uint32_t fx;
            r.n_disks = 2;
            strcpy(r.disks[0].target, "vda");
            strcpy(r.disks[1].target, "vdb");
            r.disks[0].size = r.disks[1].size = 1 << 20;
            ev.n_disks = 2;
            memcpy(ev.disks, r.disks, sizeof ev.disks);
            ev.disks[1].size = grows ? 2 << 20 : 1 << 19;
            ev.vm_off = true;
            feed(&r, at(EV_TICK, 999), &fx);
            feed(&r, ev, &fx);
            if (grows) { /* it goes on, and the replica's disk grows, too */
                assert_true(fx & FX_SHIP);
                assert_int_equal(r.disks[1].size, 2 << 20);
                continue;
            }
            assert_true(fx & FX_DROP && fx & FX_SYNC_FAIL && !(fx & FX_SHIP));
            assert_int_equal(rel_cim_state(&r), 8);
            assert_non_null(strstr(r.last_err.msg, "vdb of machine web has shrunk from 1048576"));
            assert_int_equal(r.disks[1].size, 1 << 20); /* as large it has to be again */
            struct rel_reason why[REL_REASONS_MAX];
            struct rel_facts f = { .r = &r, .now = now };
            assert_true(rel_reasons(&f, why) > 0);
            assert_non_null(strstr(why[0].todo, "as large as it was"));
            /* made large enough again: it goes on */
            feed(&r, at(EV_ENDED, 1001), &fx);
            feed(&r, at(EV_U_RESUME, 1002), &fx);
            feed(&r, at(EV_TICK, 1003), &fx);
            ev.disks[1].size = 1 << 20;
            feed(&r, ev, &fx);
            assert_true(fx & FX_SHIP);
        }
}

/* ---- the same machine enabled from two primaries ---- */
static void two_primaries(void **state)
{
    (void)state;
    static const struct {
        enum rel_state st;
        enum vr_kind kind;
    } rows[] = { { ST_R_WAIT, VR_E_EXISTS },
                 { ST_R_REPL, VR_E_STATE },
                 { ST_R_SUSP, VR_E_STATE },
                 { ST_P_REPL, VR_E_STATE },
                 { ST_R_RECOVERED, VR_E_STATE } };
    for (size_t i = 0; i < VR_ARRAY_LEN(rows); i++) {
        struct rel r = in_state(rows[i].st), next;
        struct rel_event ev = at(EV_PEER_CREATE, 1000);
        struct vr_err err = VR_ERR_INIT;
        uint32_t fx;
        strcpy(ev.peer, "hostc");
        assert_int_equal(rel_step(&r, &ev, &next, &fx, &err), -1);
        if (err.kind != rows[i].kind || !strstr(err.msg, "web") || !strstr(err.msg, "hostb"))
            fail_msg("%s: %s", rel_state_name(r.st), err.msg);
        /* nor does it take what the second one sends */
        ev.type = EV_RX_OPEN;
        vr_err_clear(&err);
        assert_int_equal(rel_step(&r, &ev, &next, &fx, &err), -1);
    }
    struct rel r = in_state(ST_R_WAIT), next;
    struct rel_event ev = at(EV_PEER_CREATE, 1000);
    struct vr_err err = VR_ERR_INIT;
    uint32_t fx;
    strcpy(ev.peer, "hostc");
    assert_int_equal(rel_step(&r, &ev, &next, &fx, &err), -1);
    assert_non_null(strstr(err.msg, "hostb")); /* who has it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(health_by_the_contract),
        cmocka_unit_test(every_issue_has_its_number),
        cmocka_unit_test(counters),
        cmocka_unit_test(an_outage_is_missed_cycles),
        cmocka_unit_test(what_nobody_wants_is_not_missed),
        cmocka_unit_test(daily_window),
        cmocka_unit_test(window_that_changes),
        cmocka_unit_test(cancelled_stays_cancelled),
        cmocka_unit_test(nothing_starts_by_itself_when_it_is_off),
        cmocka_unit_test(disk_that_changes_its_size),
        cmocka_unit_test(two_primaries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
