/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table as the contract has it, and what must hold of every row. What the rows do together,
 * under faults, is the business of tests/sim. */
#include "replication/explain.h"
#include "replication/test-step-kit.h"

#define IS_USER(e) ((e) <= EV_U_SYNC)

/* Everything that is under way succeeds. */
static void settle(struct rel *r)
{
    static const struct {
        enum rel_state st;
        enum rel_event_type ev;
    } next[] = {
        { ST_P_CREATING, EV_CREATED },   { ST_R_CREATING, EV_CREATED },
        { ST_P_YIELDING, EV_YIELDED },   { ST_R_FAILING, EV_FAILED_OVER },
        { ST_R_REVERTING, EV_REVERTED }, { ST_R_REVERSE_WAIT, EV_PEER_TOLD },
        { ST_R_REVERSING, EV_REVERSED }, { ST_P_REMOVING, EV_REMOVED },
        { ST_R_REMOVING, EV_REMOVED },   { ST_P_PREPARING, EV_TICK },
        { ST_P_PREPARING, EV_CAPTURED }, { ST_P_PREPARING, EV_SHIPPED },
        { ST_P_PREPARED, EV_ENDED },
    };
    for (size_t i = 0; i < VR_ARRAY_LEN(next); i++) {
        uint32_t fx;
        if (r->st == next[i].st)
            assert_int_equal(feed(r, event(next[i].ev), &fx, NULL), 0);
    }
}

/* ---- src:[contract.md C.1, C.2]: the state after success, X where it must be refused ---- */
enum { X = -1 };

struct line_of_contract {
    const char *operation;
    enum rel_event_type ev;
    int64_t in_us;    /* scheduled so much later */
    int8_t after[14]; /* by the columns below */
};

static const enum rel_state c1_columns[14] = {
    ST_NONE,      ST_P_READY,   ST_P_IR,          ST_P_REPL,        ST_P_PREPARED,
    ST_P_SUSP,    ST_P_CRIT,    ST_P_RESYNC_WAIT, ST_P_RESYNC,      ST_P_RESYNC_SUSP,
    ST_P_IR_SUSP, ST_P_IR_CRIT, ST_P_UPDATE,      ST_P_UPDATE_CRIT,
};

/* clang-format off */
static const struct line_of_contract c1[] = {
    /*                                                    0  1  2  3  4  7  8  9 10 11 7i 8i 15 16 */
    { "CreateReplicationRelationship", EV_U_CREATE, 0,  { 1, X, X, X, X, X, X, X, X, X, X, X, X, X } },
    { "ModifyReplicationSettings", EV_U_MODIFY, 0,      { X, 1, 2, 3, X, 7, 8, 9, X,11, 7, 8, X,16 } },
    { "StartReplication 1/3", EV_U_START_IR, 0,         { X, 2, X, X, X, X, X, X, X, X, X, X, X, X } },
    { "StartReplication at t", EV_U_START_IR, 1000000,  { X, 1, X, X, X, X, X, X, X, X, X, X, X, X } },
    { "Rq(1) cancel IR", EV_U_CANCEL_IR, 0,             { X, X, 1, X, X, X, X, X, X, X, 1, 1, X, X } },
    { "Rq(7) pause", EV_U_PAUSE, 0,                     { X, X, 7, 7, X, X, X, X,11, X, X, X, X, X } },
    { "Rq(3) resume", EV_U_RESUME, 0,                   { X, X, X, X, X, 3, 3,10, X,10, 2, 2, 3, 3 } },
    { "Resynchronize now", EV_U_RESYNC, 0,              { X, X, X, X, X,10,10,10, X,10, X, X, X, X } },
    { "Resynchronize at t", EV_U_RESYNC, 1000000,       { X, X, X, X, X, 9, 9, 9, X,11, X, X, X, X } },
    { "Rq(9)", EV_U_CANCEL_RESYNC, 0,                   { X, X, X, X, X, X, X, X, 9, 9, X, X, X, X } },
    { "Rq(4) prepare", EV_U_PREPARE, 0,                 { X, X, X, 4, X, X, X, X, X, X, X, X, X, X } },
    { "RevertFailover", EV_U_REVERT, 0,                 { X, X, X, X, 3, X, X, X, X, X, X, X, X, X } },
    { "InitiateFailover", EV_U_FAILOVER, 0,             { X, X, X, X, X, X, X, X, X, X, X, X, X, X } },
    { "CommitFailover", EV_U_COMMIT, 0,                 { X, X, X, X, X, X, X, X, X, X, X, X, X, X } },
    { "ReverseReplicationRelationship", EV_U_REVERSE, 0,{ X, X, X, X, X, X, X, X, X, X, X, X, X, X } },
    { "Rq(2) become replica", EV_U_BECOME_REPLICA, 0,   { 2, X, X, 2, 2, 2, 2, 2, X, 2, 2, 2, X, 2 } },
    { "Rq(15) retry", EV_U_RETRY_UPDATE, 0,             { X, X, X, X, X, X, X, X, X, X, X, X, X,15 } },
    { "RemoveReplicationRelationship", EV_U_REMOVE, 0,  { X, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 } },
};

static const enum rel_state c2_columns[13] = {
    ST_R_WAIT, ST_R_REPL, ST_R_RECOVERED, ST_R_COMMITTED, ST_R_SUSP,   ST_R_IR_SUSP,
    ST_R_FAILING, ST_R_REVERTING, ST_R_CRIT, ST_R_RESYNC, ST_R_RESYNC_SUSP, ST_R_UPDATE,
    ST_R_IR_CRIT,
};

static const struct line_of_contract c2[] = {
    /*                                                    2  3  5  6  7 7i 12 12  8 10 11 15 8i */
    { "Rq(7) pause", EV_U_PAUSE, 0,                     { 7, 7, X, X, X, X, X, X, X,11, X, X, X } },
    { "Rq(3) resume", EV_U_RESUME, 0,                   { X, X, X, X, 3, 2, X, X, 3, 3,10, 3, 2 } },
    { "InitiateFailover", EV_U_FAILOVER, 0,             { X, 5, X, X, 5, X, X, X, 5, 5, 5, 5, X } },
    { "RevertFailover", EV_U_REVERT, 0,                 { X, X, 3, X, X, X, X, X, X, X, X, X, X } },
    { "CommitFailover", EV_U_COMMIT, 0,                 { X, X, 6, X, X, X, X, X, X, X, X, X, X } },
    { "ReverseReplicationRelationship", EV_U_REVERSE, 0,{ X, X, 3, 3, X, X, X, X, X, X, X, X, X } },
    { "RemoveReplicationRelationship", EV_U_REMOVE, 0,  { 0, 0, 0, 0, 0, 0, X, X, 0, 0, 0, 0, 0 } },
    { "CreateReplicationRelationship", EV_U_CREATE, 0,  { X, X, X, X, X, X, X, X, X, X, X, X, X } },
    { "ModifyReplicationSettings", EV_U_MODIFY, 0,      { X, X, X, X, X, X, X, X, X, X, X, X, X } },
    { "StartReplication", EV_U_START_IR, 0,             { X, X, X, X, X, X, X, X, X, X, X, X, X } },
    { "Resynchronize", EV_U_RESYNC, 0,                  { X, X, X, X, X, X, X, X, X, X, X, X, X } },
    { "Rq(4) prepare", EV_U_PREPARE, 0,                 { X, X, X, X, X, X, X, X, X, X, X, X, X } },
    { "Rq(2) become replica", EV_U_BECOME_REPLICA, 0,   { X, X, X, X, X, X, X, X, X, X, X, X, X } },
};
/* clang-format on */

static void check_line(const struct line_of_contract *l, const enum rel_state *columns, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct rel r = in_state(columns[i]);
        struct rel_event ev = event(l->ev);
        struct vr_err err = VR_ERR_INIT;
        uint32_t fx = 0;
        if (l->in_us)
            ev.start_at.us = ev.wall.us + l->in_us;
        int rc = feed(&r, ev, &fx, &err);
        if (l->after[i] == X) {
            if (rc == 0)
                fail_msg("%s is accepted in state %s", l->operation, rel_state_name(columns[i]));
            assert_int_equal(err.kind, VR_E_STATE);
            continue;
        }
        if (rc < 0)
            fail_msg("%s in %s: %s", l->operation, rel_state_name(columns[i]), err.msg);
        settle(&r);
        if (rel_cim_state(&r) != l->after[i])
            fail_msg("%s in %s leads to %u, not %d", l->operation, rel_state_name(columns[i]),
                     rel_cim_state(&r), l->after[i]);
    }
}

static void test_contract_primary(void **state)
{
    (void)state;
    for (size_t i = 0; i < VR_ARRAY_LEN(c1); i++)
        check_line(&c1[i], c1_columns, VR_ARRAY_LEN(c1_columns));
}

static void test_contract_replica(void **state)
{
    (void)state;
    for (size_t i = 0; i < VR_ARRAY_LEN(c2); i++)
        check_line(&c2[i], c2_columns, VR_ARRAY_LEN(c2_columns));
}

/* "(off)" in the contract's tables */
static void test_machine_must_be_off(void **state)
{
    (void)state;
    static const struct {
        enum rel_state st;
        enum rel_event_type ev;
    } must[] = { { ST_P_REPL, EV_U_PREPARE },
                 { ST_R_RECOVERED, EV_U_REVERT },
                 { ST_P_REPL, EV_U_BECOME_REPLICA },
                 { ST_NONE, EV_U_BECOME_REPLICA },
                 { ST_P_PREPARED, EV_PEER_REVERSE } };
    for (size_t i = 0; i < VR_ARRAY_LEN(must); i++) {
        struct rel r = in_state(must[i].st);
        struct rel_event ev = event(must[i].ev);
        struct vr_err err = VR_ERR_INIT;
        uint32_t fx;
        ev.vm_off = false;
        assert_int_equal(feed(&r, ev, &fx, &err), -1);
        assert_int_equal(err.kind, ev.type == EV_PEER_REVERSE ? VR_E_RUNNING : VR_E_STATE);
    }
}

/* ---- what holds of every row ---- */
static bool is_volatile(enum rel_state st)
{
    return st == ST_NONE || st == ST_P_CREATING || st == ST_R_CREATING;
}

static void test_names(void **state)
{
    (void)state;
    for (int i = 0; i < ST_COUNT; i++) {
        assert_true(rel_state_name((enum rel_state)i)[0] && rel_state_text((enum rel_state)i)[0]);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(rel_state_name((enum rel_state)i),
                                    rel_state_name((enum rel_state)k));
    }
    for (int i = 0; i < EV_COUNT; i++)
        assert_true(rel_event_text((enum rel_event_type)i)[0]);
    assert_string_equal(rel_state_name(ST_COUNT), "?");
    assert_string_equal(rel_event_text(EV_COUNT), "?");
    for (int i = 0; i < FX_BIT_COUNT; i++)
        assert_true(rel_fx_name((enum rel_fx_bit)i)[0]);
}

static void test_every_state_can_be_reached(void **state)
{
    (void)state;
    bool seen[ST_COUNT] = { [ST_NONE] = true };
    struct rel_row row;
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; rel_table_row(i, &row); i++)
            if (seen[row.from] && !seen[row.to])
                seen[row.to] = more = true;
    }
    for (int i = 0; i < ST_COUNT; i++)
        if (!seen[i])
            fail_msg("nothing leads to state %s", rel_state_name((enum rel_state)i));
}

static void test_rows(void **state)
{
    (void)state;
    bool restarts[ST_COUNT] = { false };
    struct rel_row row;
    for (size_t i = 0; rel_table_row(i, &row); i++) {
        const char *from = rel_state_name(row.from), *to = rel_state_name(row.to);
        if (!row.source[0])
            fail_msg("row %zu (%s) has no source", i, from);
        /* A state is written before anybody can see it. */
        if (row.from != row.to && !is_volatile(row.to) && !(row.fx & FX_PERSIST))
            fail_msg("row %zu: %s -> %s is not written", i, from, to);
        if (row.to == ST_NONE && !is_volatile(row.from) && !(row.fx & FX_FORGET))
            fail_msg("row %zu: %s -> %s is not forgotten", i, from, to);
        /* A user's request ends, or something that ends it begins. */
        if (row.ev == EV_RESTART) {
            restarts[row.from] = true;
            assert_int_equal(row.from, row.to);
        }
    }
    for (int i = 0; i < ST_COUNT; i++)
        if (!restarts[i] && !is_volatile((enum rel_state)i))
            fail_msg("state %s has no row for RESTART", rel_state_name((enum rel_state)i));
}

/* After a restart the machine is locked or free as the state implies. */
static void test_restart_sets_the_guard(void **state)
{
    (void)state;
    struct rel_row row;
    for (size_t i = 0; rel_table_row(i, &row); i++) {
        struct rel r = in_state(row.from);
        enum rel_state st = row.from;
        if (row.ev != EV_RESTART || st == ST_P_REMOVING || st == ST_R_REMOVING ||
            st == ST_R_FAILING) /* their effects set it */
            continue;
        bool locked = st == ST_P_PREPARING || st == ST_P_PREPARED || st == ST_P_YIELDING ||
                      (st == ST_P_SUPERSEDED && strcmp(row.guard, "start_allowed") != 0) ||
                      st == ST_R_REVERTING ||
                      (rel_mode(&r) == REL_MODE_REPLICA && rel_cim_state(&r) != 5 &&
                       rel_cim_state(&r) != 6 && strcmp(row.guard, "over_here") != 0);
        if (!(row.fx & (locked ? FX_GUARD : FX_UNGUARD)))
            fail_msg("restart in %s leaves the guard as it is", rel_state_name(st));
    }
}

static void test_no_request_is_ignored(void **state)
{
    (void)state;
    for (int st = 0; st < ST_COUNT; st++)
        for (int e = 0; IS_USER(e); e++) {
            struct rel r = in_state((enum rel_state)st), before = r;
            struct vr_err err = VR_ERR_INIT;
            uint32_t fx = 0;
            if (feed(&r, event((enum rel_event_type)e), &fx, &err) < 0) {
                assert_true(err.msg[0]);
                assert_memory_equal(&r, &before, sizeof r);
                continue;
            }
            if (!fx && r.st == before.st && r.due.ms == before.due.ms && !r.flow.again)
                fail_msg("%s does nothing in %s", rel_event_text((enum rel_event_type)e),
                         rel_state_name((enum rel_state)st));
        }
}

/* ---- single facts ---- */
static void test_reverse_that_fails(void **state)
{
    (void)state;
    struct rel r = in_state(ST_R_RECOVERED);
    struct rel_event ev = event(EV_U_REVERSE);
    uint32_t fx;
    snprintf(ev.peer, sizeof ev.peer, "gamma");
    ev.set.interval_s = 42;
    assert_int_equal(feed(&r, ev, &fx, NULL), 0);
    assert_string_equal(r.peer, "gamma");
    ev = event(EV_PEER_TOLD);
    snprintf(ev.peer, sizeof ev.peer, "gamma");
    assert_int_equal(feed(&r, ev, &fx, NULL), 0);
    assert_int_equal(r.st, ST_R_REVERSING);
    struct rel asked = r;
    ev = event(EV_REVERSE_FAILED);
    vr_fail(&ev.err, VR_E_STATE, 0, "refused");
    assert_int_equal(feed(&r, ev, &fx, NULL), 0);
    assert_int_equal(r.st, ST_R_RECOVERED);
    assert_string_equal(r.peer, "beta");
    assert_int_equal(r.set.interval_s, 300);
    /* Without an answer the peer may have done it: there is no way back to a replica. */
    r = asked;
    ev = event(EV_REVERSE_FAILED);
    vr_fail(&ev.err, VR_E_TIMEOUT, 0, "no answer");
    assert_int_equal(feed(&r, ev, &fx, NULL), 0);
    assert_int_equal(r.st, ST_R_REVERSE_WAIT);
    assert_int_equal(rel_cim_state(&r), 6);
    assert_false(fx & FX_JOB_FAIL);
    assert_int_equal(feed(&r, event(EV_U_REVERT), &fx, NULL), -1);
    assert_int_equal(feed(&r, event(EV_U_REVERSE), &fx, NULL), 0);
    assert_int_equal(feed(&r, event(EV_U_WITHDRAW), &fx, NULL), 0);
    assert_int_equal(r.st, ST_R_COMMITTED);
    assert_int_equal(feed(&r, event(EV_U_REVERT), &fx, NULL), -1);
}

static void test_offer_that_fails(void **state)
{
    (void)state;
    static const enum rel_state from[] = { ST_NONE, ST_P_PREPARED, ST_P_SUSP, ST_P_IR_SUSP,
                                           ST_P_SUPERSEDED };
    for (size_t i = 0; i < VR_ARRAY_LEN(from); i++) {
        struct rel r = in_state(from[i]);
        uint32_t fx;
        struct rel_event ev = event(EV_YIELD_FAILED);
        vr_fail(&ev.err, VR_E_NOSPACE, 0, "no space");
        assert_int_equal(feed(&r, event(EV_U_BECOME_REPLICA), &fx, NULL), 0);
        assert_int_equal(feed(&r, ev, &fx, NULL), 0);
        assert_int_equal(r.st, from[i]);
        assert_false(r.seed);
        assert_int_equal(!!(fx & FX_UNGUARD),
                         from[i] != ST_P_PREPARED && from[i] != ST_P_SUPERSEDED);
    }
}

static void test_resync_needs_a_comparison(void **state)
{
    (void)state;
    struct rel r = in_state(ST_P_REPL);
    uint32_t fx;
    feed(&r, event(EV_TICK), &fx, NULL);
    feed(&r, event(EV_CAPTURED), &fx, NULL);
    feed(&r, event(EV_U_PAUSE), &fx, NULL);
    feed(&r, event(EV_U_RESYNC), &fx, NULL);
    assert_int_equal(feed(&r, event(EV_SHIPPED), &fx, NULL), 0);
    assert_int_equal(r.st, ST_P_RESYNC);
    assert_false(fx & FX_JOB_DONE);
    feed(&r, event(EV_ENDED), &fx, NULL);
    assert_int_not_equal(r.due.ms, 0);
    feed(&r, event(EV_TICK), &fx, NULL);
    assert_int_equal(r.flow.kind, FLOW_RESYNC);
    assert_false(r.flow.has_since);
}

/* The copy ends although it was to be suspended: its job ends, too. */
static void test_job_of_a_suspended_copy(void **state)
{
    (void)state;
    static const enum rel_state copies[] = { ST_P_IR, ST_P_RESYNC };
    for (size_t i = 0; i < VR_ARRAY_LEN(copies); i++) {
        struct rel r = in_state(copies[i]);
        uint32_t fx;
        feed(&r, event(EV_TICK), &fx, NULL);
        feed(&r, event(EV_CAPTURED), &fx, NULL);
        feed(&r, event(EV_U_PAUSE), &fx, NULL);
        assert_true(fx & FX_CANCEL_FLOW);
        assert_int_equal(feed(&r, event(EV_SHIPPED), &fx, NULL), 0);
        assert_int_equal(r.st, ST_P_SUSP);
        assert_true(fx & FX_JOB_DONE);
        assert_true(r.has_acked);
    }
}

/* The last delta counts only when nobody can write after it. */
static void test_prepare_of_a_started_machine(void **state)
{
    (void)state;
    struct rel r = in_state(ST_P_REPL);
    struct rel_event ev = event(EV_CAPTURED);
    uint32_t fx;
    feed(&r, event(EV_U_PREPARE), &fx, NULL);
    assert_true(fx & FX_GUARD);
    feed(&r, event(EV_TICK), &fx, NULL);
    ev.vm_off = false;
    assert_int_equal(feed(&r, ev, &fx, NULL), 0);
    assert_int_equal(r.st, ST_P_REPL);
    assert_true((fx & FX_DROP) && (fx & FX_UNGUARD) && (fx & FX_JOB_FAIL));
    assert_true(r.last_err.msg[0]);
}

static void test_incoming(void **state)
{
    (void)state;
    static const struct {
        bool since;
        uint64_t epoch;
        uint8_t lineage;
        const char *peer;
        enum vr_kind kind;
    } cases[] = {
        { true, 7, 2, "beta", VR_OK },
        { true, 6, 2, "beta", VR_OK }, /* redundant, never wrong */
        { true, 8, 2, "beta", VR_E_TRACKING },
        { false, 0, 2, "beta", VR_OK },
        { true, 7, 9, "beta", VR_E_SUPERSEDED },
        { true, 7, 2, "gamma", VR_E_AUTH },
    };
    for (size_t i = 0; i < VR_ARRAY_LEN(cases); i++) {
        struct rel r = in_state(ST_R_REPL);
        struct rel_event ev = event(EV_RX_OPEN);
        struct vr_err err = VR_ERR_INIT;
        uint32_t fx;
        ev.latest = cases[i].since;
        ev.lineage = (struct vr_uuid){ { cases[i].lineage } };
        ev.point = (struct vr_point_id){ .lineage = ev.lineage, .epoch = cases[i].epoch };
        snprintf(ev.peer, sizeof ev.peer, "%s", cases[i].peer);
        assert_int_equal(feed(&r, ev, &fx, &err), cases[i].kind == VR_OK ? 0 : -1);
        assert_int_equal(err.kind, cases[i].kind);
        if (cases[i].kind != VR_OK)
            continue;
        assert_int_equal(feed(&r, ev, &fx, &err), -1);
        assert_int_equal(err.kind, VR_E_BUSY);
    }
    struct rel over = in_state(ST_R_RECOVERED);
    struct vr_err err = VR_ERR_INIT;
    uint32_t fx;
    assert_int_equal(feed(&over, event(EV_RX_OPEN), &fx, &err), -1);
    assert_int_equal(err.kind, VR_E_SUPERSEDED);
}

/* src:[contract.md C.2, C.3] What a replica shows of what comes in. */
static void test_views_of_a_replica(void **state)
{
    (void)state;
    static const struct {
        enum rel_state st;
        bool resync;
        enum rel_state open; /* while it comes in */
        enum vr_kind kind;   /* how it ends, VR_OK: with a point */
        const char *where;   /* of the error */
        enum rel_state after;
    } cases[] = {
        { ST_R_REPL, false, ST_R_REPL, VR_OK, NULL, ST_R_REPL },
        { ST_R_REPL, true, ST_R_RESYNC, VR_OK, NULL, ST_R_REPL },
        { ST_R_REPL, true, ST_R_RESYNC, VR_E_PEER, "here", ST_R_REPL },
        { ST_R_REPL, true, ST_R_RESYNC, VR_E_NOSPACE, "here", ST_R_CRIT },
        { ST_R_REPL, false, ST_R_REPL, VR_E_NOSPACE, "here", ST_R_CRIT },
        { ST_R_REPL, false, ST_R_REPL, VR_E_IO, "here", ST_R_CRIT },
        { ST_R_REPL, false, ST_R_REPL, VR_E_IO, "peer", ST_R_REPL },
        { ST_R_REPL, false, ST_R_REPL, VR_E_CANCELLED, "here", ST_R_REPL },
        { ST_R_WAIT, false, ST_R_WAIT, VR_E_PEER, "here", ST_R_WAIT },
        { ST_R_WAIT, false, ST_R_WAIT, VR_E_IO, "peer", ST_R_WAIT },
        { ST_R_WAIT, false, ST_R_WAIT, VR_E_NOSPACE, "here", ST_R_IR_CRIT },
        { ST_R_IR_CRIT, false, ST_R_IR_CRIT, VR_E_NOSPACE, "here", ST_R_IR_CRIT },
        { ST_R_IR_CRIT, false, ST_R_IR_CRIT, VR_OK, NULL, ST_R_REPL },
        { ST_R_RESYNC, false, ST_R_REPL, VR_OK, NULL, ST_R_REPL },
        { ST_R_CRIT, false, ST_R_CRIT, VR_OK, NULL, ST_R_REPL },
        { ST_R_CRIT, false, ST_R_CRIT, VR_E_PEER, "here", ST_R_CRIT },
        { ST_R_CRIT, true, ST_R_RESYNC, VR_OK, NULL, ST_R_REPL },
    };
    for (size_t i = 0; i < VR_ARRAY_LEN(cases); i++) {
        struct rel r = in_state(cases[i].st);
        struct rel_event ev = event(EV_RX_OPEN), end = event(EV_RX_ENDED);
        uint32_t fx;
        ev.lineage = line;
        ev.latest = !cases[i].resync && r.has_newest; /* changes since a point, or everything */
        ev.resync = cases[i].resync;
        assert_int_equal(feed(&r, ev, &fx, NULL), 0);
        assert_int_equal(r.st, cases[i].open);
        if (cases[i].kind == VR_OK)
            assert_int_equal(feed(&r, event(EV_RX_COMMITTED), &fx, NULL), 0);
        else
            vr_fail_at(&end.err, cases[i].where, cases[i].kind, 0, "it went wrong");
        assert_int_equal(feed(&r, end, &fx, NULL), 0);
        if (r.st != cases[i].after)
            fail_msg("case %zu ends in %s", i, rel_state_name(r.st));
        assert_false(r.rx_active);
    }
}

static void test_back_off(void **state)
{
    (void)state;
    struct rel r = in_state(ST_P_REPL);
    uint32_t fx;
    int64_t wait = 0;
    for (int i = 0; i < 12; i++) {
        struct rel_event ev = event(EV_SHIP_FAILED);
        vr_fail(&ev.err, VR_E_PEER, 0, "not reachable");
        feed(&r, event(EV_TICK), &fx, NULL);
        assert_true(fx & FX_CAPTURE);
        feed(&r, event(EV_CAPTURED), &fx, NULL);
        feed(&r, ev, &fx, NULL);
        feed(&r, event(EV_ENDED), &fx, NULL);
        assert_true(r.due.ms - 5000 >= wait && r.due.ms - 5000 <= 30000);
        wait = r.due.ms - 5000;
    }
    assert_int_equal(wait, 30000);
    assert_int_equal(r.st, ST_P_REPL);
    assert_int_equal(r.epoch, 7 + 12); /* no epoch is used twice */
    assert_int_equal(r.acked.epoch, 7);
    feed(&r, event(EV_U_SYNC), &fx, NULL);
    assert_int_equal(r.due.ms, 5000);
}

/* ---- rel.c ---- */
static void test_settings(void **state)
{
    (void)state;
    struct rel_settings good, s;
    rel_settings_default(&good);
    struct vr_err err = VR_ERR_INIT;
    assert_int_equal(rel_settings_check(&good, &err), -1); /* nobody to send to yet */
    snprintf(good.recovery_point, sizeof good.recovery_point, "beta");
    good.recovery_port = 4433;
    assert_int_equal(rel_settings_check(&good, NULL), 0);
#define REFUSES(property, change)                         \
    do {                                                  \
        struct vr_err e = VR_ERR_INIT;                    \
        s = good;                                         \
        s.change;                                         \
        assert_int_equal(rel_settings_check(&s, &e), -1); \
        assert_int_equal(e.kind, VR_E_INVAL);             \
        assert_non_null(strstr(e.msg, property));         \
    } while (0)
    REFUSES("AuthenticationType", auth_type = 0);
    REFUSES("AuthenticationType", auth_type = 3);
    REFUSES("RecoveryConnectionPoint", recovery_point[0] = 0);
    REFUSES("RecoveryServerPortNumber", recovery_port = 0);
    REFUSES("ReplicationInterval", interval_s = 4);
    REFUSES("ReplicationInterval", interval_s = 3601);
    REFUSES("RecoveryHistory", recovery_history = 25);
    REFUSES("ApplicationConsistentSnapshotInterval", app_interval_s = 12 * 3600 + 1);
    REFUSES("ApplicationConsistentSnapshotInterval", app_interval_s = 60);
    REFUSES("AutoResynchronizeInterval", resync_start_s = 86400);
    REFUSES("AutoResynchronizeInterval", resync_end_s = 86400);
    s = good;
    s.interval_s = 5, s.recovery_history = 24, s.app_interval_s = 12 * 3600;
    assert_int_equal(rel_settings_check(&s, NULL), 0);
}

static struct rel full_of_values(void)
{
    struct rel r = in_state(ST_R_REVERSING);
    snprintf(r.name, sizeof r.name, "a=b %%41\n\tö");
    snprintf(r.old_peer, sizeof r.old_peer, "gamma");
    r.old_set = r.set;
    r.old_set.interval_s = 77;
    r.set.app_interval_s = 3 * 3600;
    r.set.recovery_history = 24;
    snprintf(r.set.thumbprint, sizeof r.set.thumbprint, "0123456789abcdef");
    r.n_disks = 2;
    r.disks[0].size = 1ull << 40;
    snprintf(r.disks[1].target, sizeof r.disks[1].target, "sdb");
    r.next_lineage = fresh;
    r.failover_kind = VR_POINT_PLANNED;
    r.epoch = UINT32_MAX + 5ull;
    r.start_at.us = r.last_time.us = r.newest_instant.us = 1700000000000000;
    r.stat_app_fail = 2, r.stat_ok = 3, r.stat_bytes = 1ull << 50;
    r.last.wire = 99;
    vr_fail(&r.last_err, VR_E_PEER, 0, "host beta: \"no\"\nroute");
    r.last_err.where = NULL;
    return r;
}

static void test_written_form(void **state)
{
    (void)state;
    struct rel r = full_of_values(), back;
    struct vr_err err = VR_ERR_INIT;
    vr_autofree char *text = rel_encode(&r);
    if (rel_decode(text, &back, &err) < 0)
        fail_msg("%s", err.msg);
    assert_memory_equal(&r.set, &back.set, sizeof r.set);
    assert_memory_equal(&r.old_set, &back.old_set, sizeof r.old_set);
    vr_autofree char *again = rel_encode(&back);
    assert_string_equal(text, again);
    assert_string_equal(back.name, r.name);
    assert_string_equal(back.last_err.msg, r.last_err.msg);
    assert_int_equal(back.last_err.kind, VR_E_PEER);
    assert_int_equal(back.st, ST_R_REVERSING);
    assert_int_equal(back.epoch, r.epoch);
    assert_int_equal(back.disks[0].size, r.disks[0].size);
    assert_string_equal(back.disks[1].target, "sdb");
    assert_true(vr_point_eq(&back.failover, &r.failover));
}

static void test_written_form_refuses(void **state)
{
    (void)state;
    vr_autofree char *good = NULL;
    struct rel r = full_of_values(), back;
    good = rel_encode(&r);
    static const struct {
        const char *more;
        enum vr_kind kind;
    } bad[] = {
        { "junk\n", VR_E_CORRUPT },
        { "new_field=1\n", VR_E_VERSION },
        { "state=P_FLYING\n", VR_E_VERSION },
        { "epoch=-1x\n", VR_E_CORRUPT },
        { "epoch=\n", VR_E_CORRUPT },
        { "compression=2\n", VR_E_CORRUPT },
        { "auth_type=65536\n", VR_E_CORRUPT },
        { "last_kind=9\n", VR_E_CORRUPT },
        { "lineage=zz\n", VR_E_INVAL },
        { "disk=12\n", VR_E_CORRUPT },
        { "disk=99999999999999999999 vda\n", VR_E_CORRUPT },
    };
    for (size_t i = 0; i < VR_ARRAY_LEN(bad); i++) {
        struct vr_err err = VR_ERR_INIT;
        vr_autofree char *text = vr_printf("%s%s", good, bad[i].more);
        if (rel_decode(text, &back, &err) == 0)
            fail_msg("'%s' is accepted", bad[i].more);
        assert_int_equal(err.kind, bad[i].kind);
    }
    assert_int_equal(rel_decode("", &back, NULL), -1);
    struct vr_buf_line {
        char text[400];
    } longer;
    memset(longer.text, 'x', sizeof longer.text);
    memcpy(longer.text, "name=", 5);
    longer.text[399] = 0;
    assert_int_equal(rel_decode(longer.text, &back, NULL), -1);
}

static void test_checkpoint_name(void **state)
{
    (void)state;
    char name[64];
    rel_checkpoint(&line, 18446744073709551615ull, name);
    assert_string_equal(name, "vmr.02000000.18446744073709551615");
}

/* src:[contract.md D.1] */
static void test_health(void **state)
{
    (void)state;
    const int64_t hour = 3600ll * 1000000;
    const struct wall_us now = { 100 * hour };
    static const struct {
        enum rel_state st;
        uint16_t level;
    } by_state[] = { { ST_NONE, 0 },          { ST_P_READY, 2 },     { ST_P_IR, 2 },
                     { ST_P_REPL, 1 },        { ST_P_SUSP, 2 },      { ST_P_CRIT, 3 },
                     { ST_P_RESYNC_WAIT, 3 }, { ST_R_WAIT, 2 },      { ST_R_REPL, 1 },
                     { ST_R_SUSP, 3 },        { ST_R_RECOVERED, 2 }, { ST_R_COMMITTED, 2 },
                     { ST_P_PREPARED, 1 },    { ST_R_CRIT, 3 },      { ST_R_RESYNC, 2 },
                     { ST_R_RESYNC_SUSP, 3 }, { ST_R_IR_CRIT, 3 } };
    const char *why[8];
    size_t n;
    for (size_t i = 0; i < VR_ARRAY_LEN(by_state); i++) {
        struct rel r = in_state(by_state[i].st);
        r.last_time.us = now.us - hour / 2;
        if (rel_health(&r, now, why, &n) != by_state[i].level)
            fail_msg("health in %s is not %u", rel_state_name(by_state[i].st), by_state[i].level);
        assert_int_equal(n > 0, by_state[i].level > 1);
    }
    struct rel r = in_state(ST_R_REPL);
    r.last_time.us = now.us - hour - 1;
    assert_int_equal(rel_health(&r, now, why, &n), 2);
    assert_non_null(strstr(why[0], "behind the primary by more than an hour"));
    r = in_state(ST_P_REPL);
    r.last_time = now;
    r.stat_ok = 8, r.stat_miss = 2;
    assert_int_equal(rel_health(&r, now, why, &n), 1); /* 20 percent is not more than 20 */
    r.stat_ok = 7, r.stat_miss = 3;
    assert_int_equal(rel_health(&r, now, why, &n), 2);
    r.failures = 3;
    assert_int_equal(rel_health(&r, now, why, &n), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_every_state_can_be_reached),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_restart_sets_the_guard),
        cmocka_unit_test(test_no_request_is_ignored),
        cmocka_unit_test(test_contract_primary),
        cmocka_unit_test(test_contract_replica),
        cmocka_unit_test(test_machine_must_be_off),
        cmocka_unit_test(test_reverse_that_fails),
        cmocka_unit_test(test_offer_that_fails),
        cmocka_unit_test(test_resync_needs_a_comparison),
        cmocka_unit_test(test_job_of_a_suspended_copy),
        cmocka_unit_test(test_prepare_of_a_started_machine),
        cmocka_unit_test(test_incoming),
        cmocka_unit_test(test_views_of_a_replica),
        cmocka_unit_test(test_back_off),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_written_form),
        cmocka_unit_test(test_written_form_refuses),
        cmocka_unit_test(test_checkpoint_name),
        cmocka_unit_test(test_health),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
