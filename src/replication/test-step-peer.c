/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rows about the other host: a reversal that waits for it, a primary that it superseded. */
#include "replication/explain.h"
#include "replication/jobs.h"
#include "replication/test-step-kit.h"

static struct rel_event away(enum vr_kind k)
{
    struct rel_event ev = event(EV_PEER_AWAY);
    vr_fail(&ev.err, k, 0, "no answer");
    return ev;
}

/* The old primary cannot be reached: the reversal waits, over a restart, and begins when it is
 * there and its machine is off. */
static void test_reverse_that_waits(void **state)
{
    (void)state;
    struct rel r = in_state(ST_R_RECOVERED);
    struct rel_event told = event(EV_PEER_TOLD);
    uint32_t fx;
    assert_int_equal(feed(&r, event(EV_U_REVERSE), &fx, NULL), 0);
    assert_int_equal(fx, FX_PERSIST | FX_PROBE);
    assert_int_equal(feed(&r, away(VR_E_PEER), &fx, NULL), 0);
    assert_int_equal(r.st, ST_R_REVERSE_WAIT);
    assert_int_equal(rel_cim_state(&r), 5);
    assert_true(r.queued && (fx & FX_PERSIST) && !(fx & FX_JOB_FAIL));
    assert_int_not_equal(r.due.ms, 0);
    vr_autofree char *text = rel_encode(&r);
    assert_int_equal(rel_decode(text, &r, NULL), 0);
    assert_int_equal(feed(&r, event(EV_RESTART), &fx, NULL), 0);
    assert_true(fx & FX_PROBE);
    told.story.power = REL_POWER_ON;
    assert_int_equal(feed(&r, told, &fx, NULL), 0);
    assert_int_equal(r.st, ST_R_REVERSE_WAIT);
    assert_int_equal(r.last_err.kind, VR_E_RUNNING);
    told.story.power = REL_POWER_OFF;
    assert_int_equal(feed(&r, told, &fx, NULL), 0);
    assert_int_equal(r.st, ST_R_REVERSING);
    struct rel_event done = event(EV_REVERSED);
    done.seeded = done.diverged = true;
    assert_int_equal(feed(&r, done, &fx, NULL), 0);
    assert_int_equal(r.st, ST_P_IR); /* nobody is there who would start it */
}

static void test_reverse_that_is_withdrawn(void **state)
{
    (void)state;
    struct rel r = in_state(ST_R_RECOVERED);
    struct vr_err err = VR_ERR_INIT;
    uint32_t fx;
    feed(&r, event(EV_U_REVERSE), &fx, NULL);
    feed(&r, away(VR_E_PEER), &fx, NULL);
    assert_int_equal(feed(&r, event(EV_U_REVERT), &fx, &err), -1);
    assert_non_null(strstr(err.msg, "withdraw"));
    assert_int_equal(feed(&r, event(EV_U_WITHDRAW), &fx, NULL), 0);
    assert_int_equal(r.st, ST_R_RECOVERED);
    assert_true(fx & FX_JOB_CANCEL);
    assert_int_equal(feed(&r, event(EV_U_REVERT), &fx, NULL), 0);
}

/* Somebody waits for the answer: what is not a matter of waiting is refused at once. */
static void test_reverse_that_is_refused(void **state)
{
    (void)state;
    struct rel r = in_state(ST_R_RECOVERED);
    struct rel_event no = event(EV_REVERSE_FAILED);
    uint32_t fx;
    feed(&r, event(EV_U_REVERSE), &fx, NULL);
    assert_int_equal(feed(&r, away(VR_E_AUTH), &fx, NULL), 0);
    assert_int_equal(r.st, ST_R_RECOVERED);
    assert_true(fx & FX_JOB_FAIL);
    feed(&r, event(EV_U_REVERSE), &fx, NULL);
    feed(&r, event(EV_PEER_TOLD), &fx, NULL);
    vr_fail(&no.err, VR_E_RUNNING, 0, "it runs");
    assert_int_equal(feed(&r, no, &fx, NULL), 0);
    assert_int_equal(r.st, ST_R_RECOVERED);
    assert_true(fx & FX_JOB_FAIL);
}

/* ---- a primary that was superseded ---- */
static struct rel_event failed_over(void)
{
    struct rel_event ev = event(EV_PEER_TOLD);
    ev.story = (struct rel_story){ .mode = REL_MODE_REPLICA,
                                   .failed_over = true,
                                   .lineage = fresh,
                                   .of = line,
                                   .point = { line, 6 },
                                   .since.us = 8 };
    return ev;
}

/* Another certificate stops it for good as long as that is so, and no longer: it asks who the other
 * host is, and goes on when both prove it. What an authorization is lacking for waits for somebody.
 */
static void test_trusted_again(void **state)
{
    (void)state;
    static const struct {
        enum rel_state from, crit;
    } ways[] = { { ST_P_IR, ST_P_IR_CRIT },
                 { ST_P_REPL, ST_P_CRIT },
                 { ST_P_UPDATE, ST_P_UPDATE_CRIT } };
    for (size_t i = 0; i < VR_ARRAY_LEN(ways); i++) {
        struct rel r = in_state(ways[i].from);
        struct rel_event no = event(EV_SHIP_FAILED), tick = event(EV_TICK),
                         told = event(EV_PEER_TOLD);
        uint32_t fx;
        r.has_acked = r.tracked = true;
        r.peer_away = true; /* of before */
        assert_int_equal(feed(&r, tick, &fx, NULL), 0);
        assert_int_equal(feed(&r, event(EV_CAPTURED), &fx, NULL), 0);
        vr_fail(&no.err, VR_E_AUTH, 0, "shows another certificate");
        assert_int_equal(feed(&r, no, &fx, NULL), 0);
        assert_int_equal(r.st, ways[i].crit);
        assert_true(fx & FX_PROBE);
        assert_int_equal(feed(&r, event(EV_ENDED), &fx, NULL), 0);
        struct rel lacks = r;
        assert_int_equal(feed(&lacks, told, &fx, NULL), 0); /* it answers: no matter of trust */
        assert_int_equal(lacks.st, ways[i].crit);
        assert_int_equal(feed(&lacks, tick, &fx, NULL), 0);
        assert_int_equal(fx, 0);

        assert_int_equal(feed(&r, away(VR_E_AUTH), &fx, NULL), 0);
        assert_int_equal(r.st, ways[i].crit);
        assert_int_equal(r.last_err.kind, VR_E_AUTH);
        assert_true(r.due.ms > 0);
        tick.mono.ms = told.mono.ms = r.due.ms;
        assert_int_equal(feed(&r, tick, &fx, NULL), 0);
        assert_int_equal(r.st, ways[i].crit);
        assert_int_equal(fx, FX_PROBE); /* and nothing else */
        snprintf(told.peer, sizeof told.peer, "somebody");
        assert_int_equal(feed(&r, told, &fx, NULL), 0);
        assert_int_equal(r.st, ways[i].crit);
        struct rel other = r, again = r;
        struct rel_event over = failed_over();
        assert_int_equal(feed(&other, over, &fx, NULL), 0);
        assert_int_equal(other.st, ST_P_SUPERSEDED);

        told = event(EV_PEER_TOLD);
        assert_int_equal(feed(&r, told, &fx, NULL), 0);
        assert_int_equal(r.st, ways[i].from);
        assert_int_equal(fx, FX_PERSIST);
        assert_int_equal(r.last_err.kind, VR_OK);
        assert_true(r.due.ms > 0);

        vr_autofree char *text = rel_encode(&again); /* it was put right while this one was down */
        assert_int_equal(rel_decode(text, &again, NULL), 0);
        assert_int_equal(feed(&again, event(EV_RESTART), &fx, NULL), 0);
        assert_int_equal(feed(&again, told, &fx, NULL), 0);
        assert_int_equal(again.st, ways[i].from);
    }
}

/* The host that was failed over to ended replication while the old primary was away: that learns of
 * the failover all the same, and what it is told to do is possible. */
static void test_superseded_by_what_was_ended(void **state)
{
    (void)state;
    static const enum rel_state over[] = { ST_R_RECOVERED, ST_R_COMMITTED, ST_R_REVERSE_WAIT };
    for (size_t i = 0; i < VR_ARRAY_LEN(over); i++) {
        struct rel b = in_state(over[i]), a = in_state(ST_P_REPL);
        struct rel_reason why[REL_REASONS_MAX];
        struct rel_facts f = { .r = &a };
        uint32_t fx;
        b.failover_kind = VR_POINT_STANDARD;
        struct rel_story before = rel_story(&b);
        assert_true(before.failed_over && vr_uuid_eq(&before.of, &a.lineage));
        assert_int_equal(feed(&b, event(EV_U_REMOVE), &fx, NULL), 0);
        struct rel_event told = event(EV_PEER_TOLD);
        told.story = rel_story(&b); /* also while it is being removed */
        assert_true(told.story.failed_over && vr_uuid_eq(&told.story.of, &before.of));
        told.story = rel_story_left(&b);
        told.story.power = REL_POWER_ON;
        assert_int_equal(told.story.mode, REL_MODE_NONE);
        assert_true(told.story.state_known && !told.story.state);
        assert_true(vr_uuid_eq(&told.story.lineage, &before.lineage));
        assert_int_equal(feed(&a, told, &fx, NULL), 0);
        assert_int_equal(a.st, ST_P_SUPERSEDED);
        assert_true(fx & FX_GUARD);
        assert_true(rel_reasons(&f, why) > 0);
        assert_string_equal(why[0].name, "superseded_ended");
        assert_int_equal(why[0].level, 3);
        assert_non_null(strstr(why[0].why, "it runs there"));
        assert_null(strstr(why[0].todo, "cancel"));
        assert_null(strstr(why[0].todo, "reverse"));
        feed(&a, event(EV_U_RESUME), &fx, NULL);
        feed(&a, told, &fx, NULL);
        assert_null(strstr(a.last_err.msg, "cancel"));
    }
    /* A replica that never ran leaves nothing to tell. */
    struct rel r = in_state(ST_R_REPL);
    uint32_t fx;
    feed(&r, event(EV_U_REMOVE), &fx, NULL);
    assert_false(rel_story_left(&r).failed_over);
}

/* Nor does a replica that ended and was started by hand go unnoticed. */
static void test_what_was_the_replica_runs(void **state)
{
    (void)state;
    struct rel a = in_state(ST_P_REPL);
    struct rel_event told = event(EV_PEER_TOLD);
    struct rel_reason why[REL_REASONS_MAX];
    struct rel_facts f = { .r = &a };
    uint32_t fx;
    told.story = (struct rel_story){ .state_known = true, .power = REL_POWER_ON };
    assert_int_equal(feed(&a, told, &fx, NULL), 0);
    assert_int_equal(a.st, ST_P_REPL);
    assert_true(rel_reasons(&f, why) > 0);
    assert_string_equal(why[0].name, "runs_there");
    assert_int_equal(why[0].level, 3);
    told.story.power = REL_POWER_OFF;
    assert_int_equal(feed(&a, told, &fx, NULL), 0);
    assert_true(rel_reasons(&f, why) > 0);
    assert_string_equal(why[0].name, "replica_ended");
}

static void test_superseded(void **state)
{
    (void)state;
    static const enum rel_state all[] = { ST_P_READY,      ST_P_IR,          ST_P_IR_SUSP,
                                          ST_P_REPL,       ST_P_PREPARING,   ST_P_SUSP,
                                          ST_P_CRIT,       ST_P_RESYNC_WAIT, ST_P_RESYNC,
                                          ST_P_RESYNC_SUSP };
    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++) {
        struct rel r = in_state(all[i]);
        struct rel_event other = failed_over();
        uint32_t fx;
        other.story.of = fresh; /* the failover left another lineage */
        assert_int_equal(feed(&r, other, &fx, NULL), 0);
        assert_int_equal(r.st, all[i]);
        other = failed_over();
        snprintf(other.peer, sizeof other.peer, "gamma"); /* nobody we replicate with */
        assert_int_equal(feed(&r, other, &fx, NULL), 0);
        assert_int_equal(r.st, all[i]);
        assert_int_equal(feed(&r, failed_over(), &fx, NULL), 0);
        assert_int_equal(r.st, ST_P_SUPERSEDED);
        assert_int_equal(rel_cim_state(&r), 8);
        assert_true((fx & FX_GUARD) && (fx & FX_POLICY) && (fx & FX_PERSIST));
        assert_int_equal(r.last_err.kind, VR_E_SUPERSEDED);
        assert_int_equal(feed(&r, event(EV_RESTART), &fx, NULL), 0);
        assert_true((fx & FX_GUARD) && (fx & FX_POLICY)); /* it may have died before either */
        assert_int_equal(feed(&r, event(EV_TICK), &fx, NULL), 0);
        assert_int_equal(fx, FX_POLICY | FX_PROBE); /* nothing is captured or shipped */
        assert_int_equal(feed(&r, event(EV_U_SYNC), &fx, NULL), -1);
    }
}

static struct rel_event event_to(const char *peer)
{
    struct rel_event ev = event(EV_U_REVERSE);
    snprintf(ev.set.recovery_point, sizeof ev.set.recovery_point, "%s", peer);
    return ev;
}

/* The peer became the replica, the answer was lost, and it was failed over since: this host is the
 * primary that it superseded, and says so; the way back is the one of any old primary. */
static void test_superseded_after_a_lost_answer(void **state)
{
    (void)state;
    static const enum rel_state all[] = { ST_R_REVERSE_WAIT, ST_R_RECOVERED, ST_R_COMMITTED };
    static const struct vr_uuid newer = { { 5 } };
    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++) {
        struct rel r = in_state(all[i] == ST_R_REVERSE_WAIT ? ST_R_RECOVERED : all[i]);
        struct rel_event told = failed_over();
        uint32_t fx;
        r.next_lineage = fresh;
        snprintf(r.set.recovery_point, sizeof r.set.recovery_point, "alpha");
        if (all[i] == ST_R_RECOVERED) { /* refused, or so it seemed */
            assert_int_equal(feed(&r, event_to("beta"), &fx, NULL), 0);
            assert_int_equal(feed(&r, away(VR_E_AUTH), &fx, NULL), 0);
        } else { /* committed: it was withdrawn */
            assert_int_equal(feed(&r, event_to("beta"), &fx, NULL), 0);
            r.queued = r.asked = true;
            if (all[i] == ST_R_COMMITTED)
                assert_int_equal(feed(&r, event(EV_U_WITHDRAW), &fx, NULL), 0);
        }
        assert_int_equal(r.st, all[i]);
        told.story.of = fresh;
        told.story.lineage = newer;
        told.story.point = (struct vr_point_id){ fresh, 0 };
        told.story.power = REL_POWER_ON;
        assert_int_equal(feed(&r, told, &fx, NULL), 0);
        assert_int_equal(r.st, ST_P_SUPERSEDED);
        assert_int_equal(fx, FX_PERSIST | FX_BECOME_PRIMARY | FX_GUARD | FX_POLICY | FX_JOB_FAIL);
        assert_int_equal(r.last_err.kind, VR_E_SUPERSEDED);
        assert_true(vr_uuid_eq(&r.lineage, &fresh) && vr_uuid_eq(&r.super_lineage, &newer));
        assert_false(r.queued || r.asked);
        assert_string_equal(r.set.recovery_point, "beta");
        vr_autofree char *text = rel_encode(&r);
        assert_int_equal(rel_decode(text, &r, NULL), 0);
        assert_int_equal(feed(&r, event(EV_RESTART), &fx, NULL), 0);
        assert_true((fx & FX_BECOME_PRIMARY) && (fx & FX_GUARD));
        struct rel before = r;
        struct rel_event ask = event(EV_PEER_REVERSE); /* go on with what runs there */
        ask.lineage = newer;
        ask.point = ask.newest = (struct vr_point_id){ fresh, 0 };
        assert_int_equal(feed(&r, ask, &fx, NULL), 0);
        assert_int_equal(r.st, ST_P_YIELDING);
        r = before; /* or with what is here: the failover there was cancelled */
        told.story = (struct rel_story){ .mode = REL_MODE_REPLICA, .lineage = fresh };
        assert_int_equal(feed(&r, told, &fx, NULL), 0);
        assert_int_equal(r.st, ST_P_REPL);
    }
}

/* A guest may not hear the power button, and somebody may start or resume the machine. */
static void test_policy_is_carried_out_again(void **state)
{
    (void)state;
    struct rel r = in_state(ST_P_SUPERSEDED);
    uint32_t fx;
    assert_int_equal(feed(&r, event(EV_TICK), &fx, NULL), 0);
    assert_int_equal(fx, FX_POLICY | FX_PROBE);
    assert_int_equal(feed(&r, event(EV_U_ALLOW_START), &fx, NULL), 0);
    assert_int_equal(feed(&r, event(EV_TICK), &fx, NULL), 0);
    assert_int_equal(fx, FX_PROBE);
}

/* Two hosts that tell each other as often as they look do not put each other's looks off. */
static void test_being_told_puts_no_look_off(void **state)
{
    (void)state;
    static const enum rel_state all[] = { ST_P_SUPERSEDED, ST_R_RECOVERED, ST_R_COMMITTED };
    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++) {
        struct rel r = in_state(all[i]);
        struct rel_event told = event(EV_PEER_TOLD);
        uint32_t fx;
        assert_int_equal(feed(&r, told, &fx, NULL), 0);
        int64_t due = r.due.ms;
        assert_true(due > told.mono.ms);
        for (int n = 1; n < 3; n++) {
            told.mono.ms = due - 3000 / n;
            assert_int_equal(feed(&r, told, &fx, NULL), 0);
            assert_int_equal(r.due.ms, due);
        }
        r.due.ms = 0; /* it has looked */
        assert_int_equal(feed(&r, told, &fx, NULL), 0);
        assert_true(r.due.ms > told.mono.ms);
    }
}

/* What was prepared is not taken back while this host knows that the peer was failed over. */
static void test_prepared_is_failed_over_there(void **state)
{
    (void)state;
    struct rel r = in_state(ST_P_PREPARED);
    struct vr_err err = VR_ERR_INIT;
    uint32_t fx;
    assert_int_equal(feed(&r, failed_over(), &fx, NULL), 0);
    assert_int_equal(feed(&r, event(EV_U_REVERT), &fx, &err), -1);
    assert_int_equal(err.kind, VR_E_SUPERSEDED);
    assert_non_null(strstr(err.msg, "vmreplica --host beta cancel web01 --discard"));
    struct rel_event committed = failed_over();
    committed.story.state_known = true;
    committed.story.state = 6; /* that way is closed */
    assert_int_equal(feed(&r, committed, &fx, NULL), 0);
    vr_err_clear(&err);
    assert_int_equal(feed(&r, event(EV_U_REVERT), &fx, &err), -1);
    assert_non_null(strstr(err.msg, "vmreplica --host beta reverse web01"));
    assert_null(strstr(err.msg, "cancel"));
    struct rel_event cancelled = event(EV_PEER_TOLD);
    cancelled.story = (struct rel_story){ .mode = REL_MODE_REPLICA, .lineage = line };
    assert_int_equal(feed(&r, cancelled, &fx, NULL), 0);
    assert_int_equal(feed(&r, event(EV_U_REVERT), &fx, NULL), 0);
    assert_int_equal(r.st, ST_P_REPL);
}

static void test_superseded_goes_on(void **state)
{
    (void)state;
    struct rel r = in_state(ST_P_REPL);
    uint32_t fx;
    feed(&r, failed_over(), &fx, NULL);
    assert_int_equal(feed(&r, event(EV_U_RESUME), &fx, NULL), 0);
    assert_int_equal(fx, FX_PROBE);
    assert_int_equal(feed(&r, failed_over(), &fx, NULL), 0); /* still so: refused */
    assert_int_equal(r.st, ST_P_SUPERSEDED);
    assert_true(fx & FX_JOB_FAIL);
    assert_int_equal(feed(&r, event(EV_U_RESUME), &fx, NULL), 0);
    assert_int_equal(feed(&r, away(VR_E_PEER), &fx, NULL), 0);
    assert_int_equal(r.st, ST_P_SUPERSEDED);
    assert_true(fx & FX_JOB_FAIL);
    struct rel_event cancelled = event(EV_PEER_TOLD);
    cancelled.story = (struct rel_story){ .mode = REL_MODE_REPLICA, .lineage = line };
    struct rel before = r;
    feed(&r, event(EV_U_RESUME), &fx, NULL);
    assert_int_equal(feed(&r, cancelled, &fx, NULL), 0);
    assert_int_equal(r.st, ST_P_REPL);
    assert_true((fx & FX_UNGUARD) && (fx & FX_JOB_DONE));
    r = before; /* told before the failover, heard after it: no reason to go on */
    cancelled.unasked = true;
    assert_int_equal(feed(&r, cancelled, &fx, NULL), 0);
    assert_int_equal(r.st, ST_P_SUPERSEDED);
    cancelled.unasked = false;
    r = before; /* nobody asks: it goes on by itself */
    assert_int_equal(feed(&r, cancelled, &fx, NULL), 0);
    assert_int_equal(r.st, ST_P_REPL);
    assert_int_equal(fx, FX_PERSIST | FX_UNGUARD);
    assert_true(r.due.ms && r.last_err.kind == VR_OK);
    r = before;
    cancelled.story.lineage = fresh; /* a replica, but of another line of writes */
    assert_int_equal(feed(&r, cancelled, &fx, NULL), 0);
    assert_int_equal(r.st, ST_P_SUPERSEDED);
    assert_int_equal(feed(&r, event(EV_U_ALLOW_START), &fx, NULL), 0);
    assert_true(r.start_allowed && (fx & FX_UNGUARD));
    assert_int_equal(feed(&r, event(EV_RESTART), &fx, NULL), 0);
    assert_false(fx & FX_POLICY); /* somebody wants it to run */
}

/* After a failover that was cancelled everything is as it was: what somebody had stopped stays
 * stopped, and changes that are not known are found by a comparison when that may be. */
static void test_superseded_goes_on_as_before(void **state)
{
    (void)state;
    static const struct {
        enum rel_state was, is;
    } all[] = { { ST_P_READY, ST_P_READY },        { ST_P_IR, ST_P_IR },
                { ST_P_IR_SUSP, ST_P_IR_SUSP },    { ST_P_IR_CRIT, ST_P_IR },
                { ST_P_REPL, ST_P_REPL },          { ST_P_PREPARING, ST_P_REPL },
                { ST_P_SUSP, ST_P_SUSP },          { ST_P_CRIT, ST_P_REPL },
                { ST_P_RESYNC, ST_P_RESYNC_WAIT }, { ST_P_RESYNC_WAIT, ST_P_RESYNC_WAIT },
                { ST_P_RESYNC_SUSP, ST_P_SUSP } };
    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++) {
        struct rel r = in_state(all[i].was);
        struct rel_event cancelled = event(EV_PEER_TOLD);
        uint32_t fx;
        r.tracked &= all[i].was != ST_P_RESYNC && all[i].was != ST_P_RESYNC_WAIT;
        r.resync_held = true;
        cancelled.story = (struct rel_story){ .mode = REL_MODE_REPLICA, .lineage = line };
        assert_int_equal(feed(&r, failed_over(), &fx, NULL), 0);
        vr_autofree char *text = rel_encode(&r); /* also over a restart of the daemon */
        assert_int_equal(rel_decode(text, &r, NULL), 0);
        assert_int_equal(feed(&r, cancelled, &fx, NULL), 0);
        if (r.st != all[i].is)
            fail_msg("from %s to %s", rel_state_name(all[i].was), rel_state_name(r.st));
        bool runs = r.st == ST_P_IR || r.st == ST_P_REPL || r.st == ST_P_RESYNC_WAIT;
        assert_int_equal(r.due.ms != 0, runs);
        assert_true(r.st != ST_P_RESYNC_WAIT || r.resync_held);
    }
}

/* Nobody copies or reads whole disks without saying so, and what it costs. */
static void test_comparison_is_announced(void **state)
{
    (void)state;
    for (int known = 0; known < 2; known++) {
        struct rel r = in_state(ST_R_RECOVERED);
        struct rel_event done = event(EV_REVERSED);
        struct rel_reason *why = vr_new0(REL_REASONS_MAX, sizeof *why);
        const char *told = NULL;
        uint32_t fx;
        r.disks[0].size = (uint64_t)3 << 30;
        feed(&r, event(EV_U_REVERSE), &fx, NULL);
        feed(&r, event(EV_PEER_TOLD), &fx, NULL);
        done.seeded = true;
        done.diverged = known;
        assert_int_equal(feed(&r, done, &fx, NULL), 0);
        assert_int_equal(r.st, ST_P_READY);
        struct rel_facts f = { .r = &r, .now.us = 1 };
        size_t n = rel_reasons(&f, why);
        for (size_t i = 0; i < n; i++)
            if (!strcmp(why[i].name, "compares_back"))
                told = why[i].why;
        assert_int_equal(told != NULL, !known);
        if (told)
            assert_non_null(strstr(told, "3.0 GiB"));
        free(why);
    }
}

/* A prepared primary whose disks are not the last point any more: what it wrote becomes a point of
 * its own, and the peer is told that it has to ship more than it wrote itself. */
static void test_prepared_disks_were_altered(void **state)
{
    (void)state;
    struct rel r = in_state(ST_P_PREPARED);
    struct rel_event no = event(EV_YIELD_FAILED);
    uint32_t fx;
    assert_int_equal(feed(&r, event(EV_PEER_REVERSE), &fx, NULL), 0);
    assert_int_equal(r.st, ST_P_YIELDING);
    assert_false(r.seed || r.diverged);
    assert_int_equal(feed(&r, event(EV_YIELD_ALTERED), &fx, NULL), 0);
    assert_int_equal(r.st, ST_P_YIELDING);
    assert_int_equal(fx, FX_PERSIST | FX_YIELD);
    assert_true(r.seed && r.diverged && r.yield_for_peer);
    struct vr_point_id own = rel_seed_point(&r);
    assert_true(vr_uuid_eq(&own.lineage, &line));
    assert_int_equal(own.epoch, 8);
    struct rel before = r;
    vr_fail(&no.err, VR_E_NOSPACE, 0, "no space");
    assert_int_equal(feed(&r, no, &fx, NULL), 0);
    assert_int_equal(r.st, ST_P_PREPARED);
    assert_true((fx & FX_REPLY_ERR) && !(fx & FX_UNGUARD));
    assert_false(r.seed || r.diverged);
    r = before;
    assert_int_equal(feed(&r, event(EV_YIELDED), &fx, NULL), 0);
    assert_int_equal(r.st, ST_R_WAIT);
    assert_true(fx & FX_REPLY);
    assert_true(r.seed && r.diverged && vr_point_eq(&r.newest, &own));
    assert_true(vr_uuid_eq(&r.lineage, &fresh));
}

/* While a cycle runs: what is told to do is what can be done in that state. */
static void test_seed_while_a_cycle_runs(void **state)
{
    (void)state;
    for (int st = 0; st < ST_COUNT; st++) {
        struct rel r = in_state((enum rel_state)st);
        struct vr_err err = VR_ERR_INIT, no = VR_ERR_INIT;
        uint32_t fx;
        r.flow = (struct rel_flow){ .phase = FLOW_SHIP, .kind = FLOW_CYCLE };
        struct rel paused = r;
        if (feed(&r, event(EV_U_BECOME_REPLICA), &fx, &err) == 0 || err.kind != VR_E_BUSY)
            continue;
        bool may_pause = feed(&paused, event(EV_U_PAUSE), &fx, &no) == 0;
        if (!strstr(err.msg, may_pause ? "vmreplica suspend web01" : "wait a moment"))
            fail_msg("%s: %s", rel_state_name((enum rel_state)st), err.msg);
        if (may_pause && !strstr(err.msg, "vmreplica shutdown web01")) /* both steps at once */
            fail_msg("%s: %s", rel_state_name((enum rel_state)st), err.msg);
    }
}

/* A primary that runs has to be suspended, too, as soon as a cycle begins: both steps at once. */
static void test_seed_of_a_machine_that_runs(void **state)
{
    (void)state;
    static const enum rel_state states[] = { ST_P_REPL, ST_P_SUSP, ST_NONE };
    for (size_t i = 0; i < VR_ARRAY_LEN(states); i++) {
        struct rel r = in_state(states[i]);
        struct rel_event ev = event(EV_U_BECOME_REPLICA);
        struct vr_err err = VR_ERR_INIT;
        uint32_t fx;
        ev.vm_off = false;
        assert_int_equal(feed(&r, ev, &fx, &err), -1);
        assert_non_null(strstr(err.msg, "must be off"));
        const char *suspend = strstr(err.msg, "vmreplica suspend web01");
        if (states[i] == ST_P_REPL)
            assert_true(suspend && strstr(suspend, "vmreplica shutdown web01"));
        else
            assert_null(suspend);
    }
}

/* The peer was failed over to what it had itself: the way on is told in whole commands. */
static void test_reverse_from_a_point_of_their_own(void **state)
{
    (void)state;
    struct rel r = in_state(ST_P_SUPERSEDED);
    struct rel_event ask = event(EV_PEER_REVERSE);
    struct vr_err err = VR_ERR_INIT;
    uint32_t fx;
    ask.point = ask.newest = (struct vr_point_id){ .lineage = { { 9 } }, .epoch = 1 };
    assert_int_equal(feed(&r, ask, &fx, &err), -1);
    assert_non_null(strstr(err.msg, "there: vmreplica seed web01"));
    assert_non_null(strstr(err.msg, "vmreplica reverse web01"));
    assert_int_equal(feed(&r, event(EV_U_BECOME_REPLICA), &fx, NULL), 0);
    assert_int_equal(feed(&r, event(EV_YIELDED), &fx, NULL), 0);
    assert_int_equal(feed(&r, ask, &fx, NULL), 0); /* so it is */
    assert_int_equal(r.st, ST_R_WAIT);
}

/* Disks are offered that count their changes since point 7; a peer that was restored and holds 6
 * only cannot know what lies between. */
static void test_seed_for_a_peer_that_lost_a_point(void **state)
{
    (void)state;
    for (uint64_t newest = 6; newest <= 8; newest++) {
        struct rel r = in_state(ST_P_SUSP);
        struct rel_event ask = event(EV_PEER_REVERSE);
        uint32_t fx;
        feed(&r, event(EV_U_BECOME_REPLICA), &fx, NULL);
        assert_int_equal(feed(&r, event(EV_YIELDED), &fx, NULL), 0);
        assert_int_equal(r.st, ST_R_WAIT);
        assert_true(r.seed && r.diverged);
        ask.lineage = (struct vr_uuid){ { 4 } };
        ask.newest = (struct vr_point_id){ .lineage = line, .epoch = newest };
        ask.point = (struct vr_point_id){ .lineage = line, .epoch = 5 };
        assert_int_equal(feed(&r, ask, &fx, NULL), 0);
        assert_int_equal(r.diverged, newest >= 7);
        assert_true(r.seed);
    }
}

/* What a way back cost stays with its job; jobs of older versions know nothing of it. */
/* The new primary was lost before its first copy came: what this host had written, which nobody
 * else has, can be failed over to by its name, and taken back to what it was. */
static void test_own_points_are_failed_over_to(void **state)
{
    (void)state;
    static const struct {
        enum rel_state from, back;
    } all[] = { { ST_R_WAIT, ST_R_WAIT },
                { ST_R_IR_SUSP, ST_R_IR_SUSP },
                { ST_R_IR_CRIT, ST_R_WAIT } };
    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++) {
        struct rel r = in_state(all[i].from);
        struct rel_event ev = event(EV_U_FAILOVER);
        struct vr_err err = VR_ERR_INIT;
        uint32_t fx;
        assert_int_equal(feed(&r, ev, &fx, &err), -1); /* there is none */
        vr_err_clear(&err);
        r.seed = r.diverged = r.has_newest = true;
        ev.latest = true;
        assert_int_equal(feed(&r, ev, &fx, &err), -1);
        assert_int_equal(err.kind, VR_E_STATE);
        assert_non_null(strstr(err.msg, "vmreplica failover web01 --point POINT"));
        vr_err_clear(&err);
        ev.latest = false;
        r.rx_active = true;
        assert_int_equal(feed(&r, ev, &fx, NULL), 0);
        assert_int_equal(fx, FX_PERSIST | FX_CANCEL_RX);
        assert_int_equal(feed(&r, event(EV_RX_ENDED), &fx, NULL), 0);
        assert_int_equal(fx, FX_FAILOVER);
        struct rel before = r;
        struct rel_event failed = event(EV_FAILOVER_FAILED);
        vr_fail(&failed.err, VR_E_IO, 0, "no");
        assert_int_equal(feed(&r, failed, &fx, NULL), 0);
        assert_int_equal(r.st, all[i].back);
        r = before;
        assert_int_equal(feed(&r, event(EV_FAILED_OVER), &fx, NULL), 0);
        assert_int_equal(r.st, ST_R_RECOVERED);
        assert_int_equal(feed(&r, event(EV_U_REVERT), &fx, NULL), 0);
        assert_int_equal(feed(&r, event(EV_REVERTED), &fx, NULL), 0);
        assert_int_equal(r.st, all[i].back);
        assert_true(r.seed && r.has_newest);
    }
    struct rel r = in_state(ST_R_WAIT); /* a seed that nobody has claimed */
    struct rel_event ev = event(EV_U_FAILOVER);
    r.seed = r.has_newest = true;
    r.peer[0] = 0;
    uint32_t fx;
    assert_int_equal(feed(&r, ev, &fx, NULL), -1);
}

/* The answer to a reversal was lost, and the new replica was failed over to what it had before
 * that: when that is taken back, its disks are still to be compared. */
static void test_superseded_by_a_seed(void **state)
{
    (void)state;
    struct rel r = in_state(ST_R_RECOVERED);
    struct rel_event told = failed_over();
    uint32_t fx;
    r.next_lineage = fresh;
    assert_int_equal(feed(&r, event_to("beta"), &fx, NULL), 0);
    r.queued = r.asked = true;
    told.story.of = fresh;
    told.story.lineage = (struct vr_uuid){ { 5 } };
    told.story.point = (struct vr_point_id){ line, 9 };
    assert_int_equal(feed(&r, told, &fx, NULL), 0);
    assert_int_equal(r.st, ST_P_SUPERSEDED);
    told.story = (struct rel_story){ .mode = REL_MODE_REPLICA, .lineage = fresh };
    assert_int_equal(feed(&r, told, &fx, NULL), 0);
    assert_int_equal(r.st, ST_P_IR);
    assert_true(r.seeded_start);
}

/* A way back that is cut and goes on has shipped what all its attempts shipped. */
static void test_way_back_in_attempts(void **state)
{
    (void)state;
    struct rel r = in_state(ST_P_REPL);
    struct rel_event no = event(EV_SHIP_FAILED), done = event(EV_SHIPPED), tick = event(EV_TICK);
    uint32_t fx;
    r.has_acked = r.tracked = r.way_back = true;
    r.last_back.kept.epoch = 7;
    no.moved = (struct rel_moved){ .payload = 5, .wire = 2, .ms = 10 };
    done.moved = (struct rel_moved){ .dirty = 8, .payload = 3, .wire = 1, .ms = 20 };
    vr_fail(&no.err, VR_E_PEER, 0, "cut");
    for (int i = 0; i < 3; i++) {
        tick.mono.ms = r.due.ms;
        assert_int_equal(feed(&r, tick, &fx, NULL), 0);
        assert_int_equal(feed(&r, event(EV_CAPTURED), &fx, NULL), 0);
        assert_int_equal(feed(&r, i < 2 ? no : done, &fx, NULL), 0);
        assert_int_equal(feed(&r, event(EV_ENDED), &fx, NULL), 0);
    }
    assert_false(r.way_back);
    assert_int_equal(r.last_back.dirty, 8);
    assert_int_equal(r.last_back.payload, 13);
    assert_int_equal(r.last_back.wire, 5);
    assert_int_equal(r.last_back.ms, 40);
    assert_int_equal(r.last_back.kept.epoch, 7);
    assert_int_equal(r.last.payload, 3);
}

static void test_job_keeps_what_was_moved(void **state)
{
    (void)state;
    struct job j = { .type = JOB_REVERSE, .state = JOB_COMPLETED, .owner = "root", .percent = 100 };
    struct job back;
    assert_null(job_moved(&j));
    j.moved = (struct rel_moved){ .dirty = 9 << 10,
                                  .payload = 8 << 10,
                                  .wire = 3 << 10,
                                  .ms = 5,
                                  .written = 4 << 10,
                                  .between = 3 << 10,
                                  .alone = 2 << 10 };
    vr_fail(&j.err, VR_E_PEER, 0, "no\nanswer");
    vr_autofree char *text = job_encode(&j);
    assert_int_equal(job_decode("00000000-0000-0000-0000-000000000001", text, &back, NULL), 0);
    assert_memory_equal(&j.moved, &back.moved, sizeof j.moved);
    assert_string_equal(back.owner, "root");
    assert_string_equal(back.err.msg, j.err.msg);
    vr_autofree char *words = job_moved(&back);
    assert_string_equal(words,
                        "9 KiB may have differed (4 KiB written here, 2 KiB written there "
                        "alone, 3 KiB between the points); 8 KiB shipped, 3 KiB on the wire");
    static const char old[] = "104 7 00000000-0000-0000-0000-000000000002 100 1 2 3 0 0 PEER\n"
                              "root\nno answer";
    assert_int_equal(job_decode("00000000-0000-0000-0000-000000000001", old, &back, NULL), 0);
    assert_null(job_moved(&back));
    assert_string_equal(back.owner, "root");
    assert_string_equal(back.err.msg, "no answer");
}

/* What lies on disks that somebody offers is no point of any primary. */
static void test_seed_is_an_orphan(void **state)
{
    (void)state;
    struct rel r = in_state(ST_NONE);
    struct rel_event ev = event(EV_U_BECOME_REPLICA);
    struct rel_facts f = { .r = &r };
    char text[REL_TEXT_MAX];
    uint32_t fx;
    ev.vm_off = true;
    assert_int_equal(feed(&r, ev, &fx, NULL), 0);
    assert_true(fx & FX_YIELD);
    assert_int_equal(rel_yield_kind(&r), VR_POINT_ORPHAN);
    assert_int_equal(feed(&r, event(EV_YIELDED), &fx, NULL), 0);
    assert_int_equal(r.st, ST_R_WAIT);
    r.peer[0] = 0;
    assert_null(strstr(rel_doing(&f, text), "HOST"));
    r.seed = r.diverged = false; /* what a planned failover leaves is one */
    assert_int_equal(rel_yield_kind(&r), VR_POINT_PLANNED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reverse_that_waits),
        cmocka_unit_test(test_reverse_that_is_withdrawn),
        cmocka_unit_test(test_reverse_that_is_refused),
        cmocka_unit_test(test_trusted_again),
        cmocka_unit_test(test_comparison_is_announced),
        cmocka_unit_test(test_prepared_disks_were_altered),
        cmocka_unit_test(test_seed_for_a_peer_that_lost_a_point),
        cmocka_unit_test(test_seed_while_a_cycle_runs),
        cmocka_unit_test(test_seed_of_a_machine_that_runs),
        cmocka_unit_test(test_reverse_from_a_point_of_their_own),
        cmocka_unit_test(test_seed_is_an_orphan),
        cmocka_unit_test(test_own_points_are_failed_over_to),
        cmocka_unit_test(test_superseded_by_a_seed),
        cmocka_unit_test(test_way_back_in_attempts),
        cmocka_unit_test(test_job_keeps_what_was_moved),
        cmocka_unit_test(test_superseded),
        cmocka_unit_test(test_superseded_by_what_was_ended),
        cmocka_unit_test(test_what_was_the_replica_runs),
        cmocka_unit_test(test_superseded_after_a_lost_answer),
        cmocka_unit_test(test_prepared_is_failed_over_there),
        cmocka_unit_test(test_policy_is_carried_out_again),
        cmocka_unit_test(test_being_told_puts_no_look_off),
        cmocka_unit_test(test_superseded_goes_on),
        cmocka_unit_test(test_superseded_goes_on_as_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
