/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The set of replicated disks is changed: in which states, what is sent as a whole, and what
 * becomes of it when the change is called off or something comes between. */
#include "replication/test-step-kit.h"

/* "vda vdb": the disks of an event. */
static struct rel_event with_disks(enum rel_event_type t, const char *names)
{
    struct rel_event ev = event(t);
    ev.n_disks = 0;
    for (const char *at = names; *at; at += strspn(at, " ")) {
        size_t n = strcspn(at, " ");
        struct rel_disk *d = &ev.disks[ev.n_disks++];
        *d = (struct rel_disk){ .size = 1 << 20 };
        snprintf(d->target, sizeof d->target, "%.*s", (int)n, at);
        at += n;
    }
    return ev;
}

/* "vda +vdb -vdc": those of the next point, `+`: sent as a whole; then those that leave. */
static void assert_disks(const struct rel *r, const char *want)
{
    char text[256] = "";
    for (uint32_t i = 0; i < r->n_disks + r->n_leaving; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s%s", i ? " " : "",
                 i >= r->n_disks     ? "-"
                 : r->disks[i].added ? "+"
                                     : "",
                 r->disks[i].target);
    assert_string_equal(text, want);
}

static uint32_t give(struct rel *r, struct rel_event ev)
{
    uint32_t fx = 0;
    struct vr_err err = VR_ERR_INIT;
    if (feed(r, ev, &fx, &err) < 0)
        fail_msg("%s in %s: %s", rel_event_text(ev.type), rel_state_name(r->st), err.msg);
    return fx;
}

static void refused(struct rel *r, struct rel_event ev, enum vr_kind kind)
{
    uint32_t fx = 0;
    struct vr_err err = VR_ERR_INIT;
    assert_int_equal(feed(r, ev, &fx, &err), -1);
    assert_int_equal(err.kind, kind);
}

static struct rel replicating(const char *names)
{
    struct rel r = in_state(ST_P_REPL);
    struct rel_event ev = with_disks(EV_U_MODIFY, names);
    r.n_disks = ev.n_disks;
    memcpy(r.disks, ev.disks, sizeof r.disks);
    return r;
}

static void test_added_and_removed(void **state)
{
    (void)state;
    struct rel r = replicating("vda vdb");
    uint32_t fx = give(&r, with_disks(EV_U_MODIFY, "vda vdc"));
    assert_int_equal(r.st, ST_P_UPDATE);
    assert_int_equal(rel_cim_state(&r), 15);
    assert_true(fx & FX_PERSIST && fx & FX_JOB_DONE);
    assert_disks(&r, "vda +vdc -vdb");
    fx = give(&r, event(EV_TICK));
    assert_true(fx & FX_CAPTURE);
    assert_int_equal(r.flow.kind, FLOW_UPDATE);
    assert_true(r.flow.has_since); /* of vda what changed */
    give(&r, with_disks(EV_CAPTURED, "vda vdc"));
    refused(&r, with_disks(EV_U_MODIFY, "vda"), VR_E_STATE);
    refused(&r, event(EV_U_PAUSE), VR_E_STATE);
    fx = give(&r, event(EV_SHIPPED));
    assert_int_equal(r.st, ST_P_REPL);
    assert_true(fx & FX_RETIRE && fx & FX_JOB_DONE);
    assert_disks(&r, "vda vdc");
    assert_false(r.disks_changed);
}

static void test_same_set_changes_nothing(void **state)
{
    (void)state;
    struct rel r = replicating("vda vdb");
    give(&r, with_disks(EV_U_MODIFY, "vdb vda"));
    assert_int_equal(r.st, ST_P_REPL);
    struct rel_event ev = with_disks(EV_U_MODIFY, "");
    give(&r, ev);
    assert_int_equal(r.st, ST_P_REPL);
    assert_disks(&r, "vda vdb");
    assert_false(r.disks_changed);
}

/* A cycle of the disks as they were is broken; if it ends well all the same, nothing is taken for
 * held that was not in it. */
static void test_a_cycle_on_its_way(void **state)
{
    (void)state;
    struct rel r = replicating("vda");
    give(&r, event(EV_TICK));
    give(&r, with_disks(EV_CAPTURED, "vda"));
    uint32_t fx = give(&r, with_disks(EV_U_MODIFY, "vda vdb"));
    assert_true(fx & FX_CANCEL_FLOW);
    struct rel broken = r;
    fx = give(&r, event(EV_SHIPPED));
    assert_int_equal(r.st, ST_P_UPDATE);
    assert_false(fx & FX_JOB_DONE);
    assert_disks(&r, "vda +vdb");
    give(&r, event(EV_ENDED));
    assert_true(give(&r, event(EV_TICK)) & FX_CAPTURE);
    assert_int_equal(r.flow.kind, FLOW_UPDATE);
    assert_false(r.flow.stale);

    struct rel_event ev = event(EV_SHIP_FAILED);
    vr_fail(&ev.err, VR_E_CANCELLED, 0, "cancelled");
    give(&broken, ev);
    assert_int_equal(broken.st, ST_P_UPDATE);
    give(&broken, event(EV_ENDED));
    assert_true(broken.due.ms != 0);
    assert_true(give(&broken, event(EV_TICK)) & FX_CAPTURE);
    assert_disks(&broken, "vda +vdb");
}

/* Before the initial copy is complete the set is simply another one; what is on its way is broken,
 * and if it becomes a point all the same the rest is a change as any other. */
static void test_before_the_first_point(void **state)
{
    (void)state;
    static const enum rel_state waits[] = { ST_P_IR_SUSP, ST_P_IR_CRIT, ST_P_READY };
    for (size_t i = 0; i < VR_ARRAY_LEN(waits); i++) {
        struct rel r = in_state(waits[i]);
        give(&r, with_disks(EV_U_MODIFY, "vdb"));
        assert_int_equal(r.st, waits[i]);
        assert_disks(&r, "vdb");
    }
    struct rel r = in_state(ST_P_IR);
    give(&r, with_disks(EV_U_MODIFY, "vda vdb"));
    give(&r, event(EV_TICK));
    give(&r, with_disks(EV_CAPTURED, "vda vdb"));
    uint32_t fx = give(&r, with_disks(EV_U_MODIFY, "vda vdc"));
    assert_int_equal(r.st, ST_P_IR);
    assert_true(fx & FX_CANCEL_FLOW && fx & FX_PERSIST && fx & FX_PUSH_SETTINGS);
    struct rel late = r;

    struct rel_event ev = event(EV_SHIP_FAILED);
    vr_fail(&ev.err, VR_E_CANCELLED, 0, "cancelled");
    give(&r, ev);
    give(&r, event(EV_ENDED));
    assert_int_equal(r.failures, 0);
    assert_true(give(&r, event(EV_TICK)) & FX_CAPTURE);
    assert_int_equal(r.flow.kind, FLOW_IR);
    assert_disks(&r, "vda vdc");
    assert_true(r.disks_changed); /* the receiver is told the definition */
    fx = give(&r, event(EV_SHIPPED));
    assert_int_equal(r.st, ST_P_REPL);
    assert_true(fx & FX_JOB_DONE);
    assert_disks(&r, "vda vdc");
    assert_false(r.disks_changed);

    fx = give(&late, event(EV_SHIPPED)); /* vda and vdb are held */
    assert_int_equal(late.st, ST_P_REPL);
    assert_disks(&late, "vda +vdc -vdb");
    give(&late, event(EV_ENDED));
    assert_true(give(&late, event(EV_TICK)) & FX_CAPTURE);
    assert_int_equal(late.st, ST_P_UPDATE);
    give(&late, event(EV_U_RESUME)); /* called off */
    assert_int_equal(late.st, ST_P_REPL);
}

static void test_called_off(void **state)
{
    (void)state;
    struct rel r = replicating("vda vdb");
    give(&r, with_disks(EV_U_MODIFY, "vda vdc"));
    struct rel early = r;
    uint32_t fx = give(&early, event(EV_U_RESUME));
    assert_int_equal(early.st, ST_P_REPL);
    assert_true(fx & FX_JOB_CANCEL);
    assert_disks(&early, "vda vdb");
    assert_false(early.disks_changed);
    /* While the transfer runs it may still become a point without vdb: that is sent again. */
    give(&r, event(EV_TICK));
    give(&r, with_disks(EV_CAPTURED, "vda vdc"));
    struct rel before_ack = r;
    give(&r, event(EV_U_RESUME));
    assert_disks(&r, "vda +vdb");
    assert_true(r.flow.cancelled && r.disks_changed);
    give(&r, event(EV_SHIPPED));
    assert_disks(&r, "vda +vdb");
    give(&r, event(EV_ENDED));
    give(&r, event(EV_TICK));
    assert_int_equal(r.st, ST_P_UPDATE);
    /* Broken off for sure: the acknowledged point is the one before. */
    struct rel_event ev = event(EV_SHIP_FAILED);
    vr_fail(&ev.err, VR_E_DISKS, 0, "not with me");
    fx = give(&before_ack, ev);
    assert_int_equal(before_ack.st, ST_P_UPDATE_CRIT);
    assert_int_equal(rel_cim_state(&before_ack), 16);
    assert_true(fx & FX_JOB_FAIL);
    struct rel again = before_ack;
    give(&before_ack, event(EV_U_RESUME));
    assert_disks(&before_ack, "vda vdb");
    give(&again, event(EV_U_RETRY_UPDATE));
    assert_int_equal(again.st, ST_P_UPDATE);
    assert_disks(&again, "vda +vdc -vdb");
}

/* Suspended, in error, waiting for a comparison: it takes effect afterwards. */
static void test_later(void **state)
{
    (void)state;
    static const enum rel_state states[] = { ST_P_SUSP, ST_P_CRIT, ST_P_RESYNC_WAIT,
                                             ST_P_RESYNC_SUSP };
    for (size_t i = 0; i < VR_ARRAY_LEN(states); i++) {
        struct rel r = replicating("vda vdb");
        r.st = states[i];
        give(&r, with_disks(EV_U_MODIFY, "vda"));
        assert_int_equal(r.st, states[i]);
        assert_disks(&r, "vda -vdb");
        give(&r, with_disks(EV_U_MODIFY, "vda vdb")); /* thought better of it */
        assert_disks(&r, "vda vdb");
        give(&r, with_disks(EV_U_MODIFY, "vda vdb vdc"));
        give(&r, event(EV_U_RESUME));
        give(&r, event(EV_TICK));
        if (states[i] == ST_P_SUSP || states[i] == ST_P_CRIT)
            assert_int_equal(r.st, ST_P_UPDATE);
        else
            assert_int_equal(r.flow.kind, FLOW_RESYNC);
        give(&r, with_disks(EV_CAPTURED, "vda vdb vdc"));
        give(&r, event(EV_SHIPPED));
        assert_int_equal(r.st, ST_P_REPL);
        assert_disks(&r, "vda vdb vdc");
        assert_false(r.disks_changed);
    }
}

static void test_refused(void **state)
{
    (void)state;
    struct rel r = in_state(ST_P_SUPERSEDED);
    refused(&r, with_disks(EV_U_MODIFY, "vda vdb"), VR_E_STATE);
    give(&r, with_disks(EV_U_MODIFY, "vda"));
    assert_int_equal(r.st, ST_P_SUPERSEDED);
}

/* The change map is lost meanwhile: everything is compared, and the change goes on. */
static void test_tracking_is_lost(void **state)
{
    (void)state;
    struct rel r = replicating("vda");
    give(&r, with_disks(EV_U_MODIFY, "vda vdb"));
    give(&r, event(EV_TICK));
    struct rel_event ev = event(EV_CAPTURE_FAILED);
    vr_fail(&ev.err, VR_E_TRACKING, 0, "gone");
    give(&r, ev);
    assert_int_equal(r.st, ST_P_UPDATE);
    assert_true(give(&r, event(EV_TICK)) & FX_CAPTURE);
    assert_false(r.flow.has_since);
}

static void test_written_down(void **state)
{
    (void)state;
    struct vr_err err = VR_ERR_INIT;
    struct rel r = replicating("vda vdb"), back;
    give(&r, with_disks(EV_U_MODIFY, "vda vdc"));
    vr_autofree char *text = rel_encode(&r);
    assert_int_equal(rel_decode(text, &back, &err), 0);
    assert_disks(&back, "vda +vdc -vdb");
    assert_true(back.disks_changed);
    assert_int_equal(back.st, ST_P_UPDATE);
    give(&back, event(EV_RESTART));
    assert_true(give(&back, event(EV_TICK)) & FX_CAPTURE);
    /* Nothing that an older version does not know, as long as nothing is changed. */
    struct rel quiet = replicating("vda vdb");
    vr_autofree char *plain = rel_encode(&quiet);
    assert_null(strstr(plain, "disk_"));
    assert_null(strstr(plain, "disks_changed"));
}

/* The replica shows it while it receives. */
static void test_replica(void **state)
{
    (void)state;
    struct rel r = in_state(ST_R_REPL);
    struct rel_event open = with_disks(EV_RX_OPEN, "vda vdb");
    open.lineage = line;
    open.latest = open.update = true;
    open.point = r.newest;
    give(&r, open);
    assert_int_equal(rel_cim_state(&r), 15);
    struct rel broken = r;
    struct rel_event got = with_disks(EV_RX_COMMITTED, "vda vdb");
    got.point = (struct vr_point_id){ .lineage = line, .epoch = 8 };
    got.disks[1].added = true; /* it came as a whole */
    give(&r, got);
    give(&r, event(EV_RX_ENDED));
    assert_int_equal(r.st, ST_R_REPL);
    assert_disks(&r, "vda vdb");
    give(&broken, event(EV_RX_ENDED));
    assert_int_equal(broken.st, ST_R_REPL);
    assert_disks(&broken, "vda");
}

/* While it is failed over the machine has the disks of that point; then those of the newest. */
static void test_failed_over(void **state)
{
    (void)state;
    struct rel r = in_state(ST_R_FAILING);
    give(&r, with_disks(EV_FAILED_OVER, "vda vdb"));
    assert_disks(&r, "vda vdb");
    r.st = ST_R_REVERTING;
    give(&r, with_disks(EV_REVERTED, "vda"));
    assert_disks(&r, "vda");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_added_and_removed),
        cmocka_unit_test(test_same_set_changes_nothing),
        cmocka_unit_test(test_a_cycle_on_its_way),
        cmocka_unit_test(test_before_the_first_point),
        cmocka_unit_test(test_called_off),
        cmocka_unit_test(test_later),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_tracking_is_lost),
        cmocka_unit_test(test_written_down),
        cmocka_unit_test(test_replica),
        cmocka_unit_test(test_failed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
