/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "replication/explain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "replication/step.h"

#define HOUR (3600ll * 1000000)
static const struct wall_us now = { 100 * HOUR };

static struct rel in_state(enum rel_state st)
{
    struct rel r = { .st = st, .machine = { { 1 } }, .name = "web", .peer = "hostb" };
    rel_settings_default(&r.set);
    r.last_time.us = r.newest_instant.us = now.us - HOUR / 2;
    r.has_acked = r.has_newest = r.tracked = true;
    return r;
}

/* Whoever asks gets an answer in every state, and no placeholder is left in it. */
static void no_state_without_words(void **state)
{
    (void)state;
    for (int st = 0; st < ST_COUNT; st++) {
        struct rel r = in_state((enum rel_state)st);
        struct rel_facts f = { .r = &r, .now = now };
        struct rel_reason why[REL_REASONS_MAX];
        char text[REL_TEXT_MAX], command[384];
        rel_doing(&f, text);
        if (!text[0] || strchr(text, '$'))
            fail_msg("%s: '%s'", rel_state_name(r.st), text);
        rel_loss(&f, text);
        if (!text[0] || strchr(text, '$'))
            fail_msg("%s: '%s'", rel_state_name(r.st), text);
        rel_next(&f, text, command);
        if (strchr(text, '$') || strchr(command, '$'))
            fail_msg("%s: '%s'", rel_state_name(r.st), text);
        size_t n = rel_reasons(&f, why);
        for (size_t i = 0; i < n; i++)
            if (!why[i].why[0] || strchr(why[i].why, '$') || strchr(why[i].todo, '$') ||
                strchr(why[i].command, '$'))
                fail_msg("%s: %s: '%s'", rel_state_name(r.st), why[i].name, why[i].why);
    }
}

/* What is critical or a warning says what to do, unless it goes away by itself. */
static void trouble_comes_with_advice(void **state)
{
    (void)state;
    for (int st = 0; st < ST_COUNT; st++)
        for (int k = 1; k < VR_E_COUNT; k++) {
            struct rel r = in_state((enum rel_state)st);
            struct rel_facts f = { .r = &r, .now = now };
            struct rel_reason why[REL_REASONS_MAX];
            r.last_err.kind = (enum vr_kind)k;
            snprintf(r.last_err.msg, sizeof r.last_err.msg, "the message");
            size_t n = rel_reasons(&f, why);
            for (size_t i = 0; i < n; i++)
                if (!strcmp(why[i].name, "error") &&
                    (!strstr(why[i].why, "the message") ||
                     (vr_kind_scope(r.last_err.kind) == VR_SCOPE_REL && !why[i].todo[0])))
                    fail_msg("%s with %s: what to do?", rel_state_name(r.st), vr_kind_name(k));
        }
}

static const struct rel_reason *has(const struct rel_facts *f, const char *name)
{
    static struct rel_reason why[REL_REASONS_MAX];
    size_t n = rel_reasons(f, why);
    for (size_t i = 0; i < n; i++)
        if (!strcmp(why[i].name, name))
            return &why[i];
    return NULL;
}

/* A reversal that was refused: the host that asked tells it to whoever looks later, until something
 * else is asked for; the same after a restart of the daemon. */
static void refused_reversal_is_told(void **state)
{
    (void)state;
    static const struct {
        enum rel_state from;
        enum rel_event_type type;
        bool committed;
        enum rel_state to;
    } rows[] = { { ST_R_REVERSING, EV_REVERSE_FAILED, false, ST_R_RECOVERED },
                 { ST_R_REVERSING, EV_REVERSE_FAILED, true, ST_R_COMMITTED },
                 { ST_R_REVERTING, EV_REVERT_FAILED, false, ST_R_RECOVERED } };
    for (size_t i = 0; i < VR_ARRAY_LEN(rows); i++) {
        struct rel r = in_state(rows[i].from), next, back;
        struct rel_event ev = { .type = rows[i].type, .wall = now };
        struct vr_err err = VR_ERR_INIT;
        uint32_t fx;
        r.committed = rows[i].committed;
        vr_fail(&ev.err, VR_E_STATE, 0, "host beta has another machine of that name");
        assert_int_equal(rel_step(&r, &ev, &next, &fx, NULL), 0);
        assert_int_equal(next.st, rows[i].to);
        vr_autofree char *text = rel_encode(&next);
        if (rel_decode(text, &back, &err) < 0)
            fail_msg("%s", err.msg);
        struct rel_facts f = { .r = &back, .now = now };
        const char *name = rows[i].committed ? "not_done_committed" : "not_done";
        const struct rel_reason *why = has(&f, name);
        assert_non_null(why);
        assert_non_null(strstr(why->why, "host beta has another machine of that name"));
        assert_non_null(strstr(why->todo, "vmreplica reverse web"));
        vr_err_clear(&back.last_err);
        assert_null(has(&f, name));
    }
}

/* A machine that nobody runs is told of where it should run, not where it must not. */
static void off_is_told_where_it_lives(void **state)
{
    (void)state;
    static const struct {
        enum rel_state st;
        bool told;
    } rows[] = { { ST_P_READY, true },       { ST_P_IR, true },         { ST_P_REPL, true },
                 { ST_P_SUSP, true },        { ST_P_CRIT, true },       { ST_P_RESYNC_WAIT, true },
                 { ST_P_UPDATE, true },      { ST_P_PREPARING, false }, { ST_P_PREPARED, false },
                 { ST_P_SUPERSEDED, false }, { ST_P_YIELDING, false },  { ST_P_REMOVING, false },
                 { ST_R_REPL, false },       { ST_R_WAIT, false },      { ST_R_FAILING, false },
                 { ST_R_RECOVERED, true },   { ST_R_COMMITTED, true },  { ST_NONE, false } };
    for (size_t i = 0; i < VR_ARRAY_LEN(rows); i++) {
        struct rel r = in_state(rows[i].st);
        struct rel_facts f = { .r = &r, .now = now };
        assert_null(has(&f, "off"));
        f.off = true;
        const struct rel_reason *why = has(&f, "off");
        if (!why != !rows[i].told)
            fail_msg("%s: %s", rel_state_name(r.st), why ? why->why : "not told");
        if (why && (why->level != 1 || !strstr(why->why, "vmreplica boot web")))
            fail_msg("%s: %s", rel_state_name(r.st), why->why);
    }
}

/* Each reason of a loss of tracking is told with what was found and when. */
static void tracking_lost_says_why(void **state)
{
    (void)state;
    for (int l = VR_LOST_UNKNOWN; l < VR_LOST_COUNT; l++) {
        struct rel r = in_state(ST_P_REPL), next;
        struct rel_event ev = { .type = EV_CAPTURE_FAILED, .wall = { now.us - HOUR } };
        uint32_t fx;
        r.flow = (struct rel_flow){ .phase = FLOW_CAPTURE, .kind = FLOW_CYCLE, .has_since = true };
        vr_fail_detail(&ev.err, VR_E_TRACKING, (unsigned)l, "disk vda: what was found");
        assert_int_equal(rel_step(&r, &ev, &next, &fx, NULL), 0);
        assert_int_equal(next.st, ST_P_RESYNC_WAIT);
        struct rel_facts f = { .r = &next, .now = now };
        const struct rel_reason *why = has(&f, "resync_required");
        assert_non_null(why);
        assert_int_equal(why->level, 3);
        assert_non_null(strstr(why->why, "disk vda: what was found"));
        assert_non_null(strstr(why->why, "Found at 1970-01-05T03:00:00Z"));
        assert_string_equal(why->command, "vmreplica resync web");
        /* the same is told while it is made up for, and after a restart of the daemon */
        vr_autofree char *text = rel_encode(&next);
        struct rel back;
        struct vr_err err = VR_ERR_INIT;
        if (rel_decode(text, &back, &err) < 0)
            fail_msg("%s", err.msg);
        back.st = ST_P_RESYNC;
        f.r = &back;
        assert_non_null(strstr(has(&f, "resyncing")->why, "what was found"));
    }
}

/* What is asked for later does not hide why it was needed; a point makes up for it. */
static void first_reason_of_a_loss_stays(void **state)
{
    (void)state;
    struct rel r = in_state(ST_P_RESYNC_WAIT), next, last;
    struct rel_event ev = { .type = EV_U_RESYNC, .wall = now };
    uint32_t fx;
    r.lost = VR_LOST_UNCLEAN;
    assert_int_equal(rel_step(&r, &ev, &next, &fx, NULL), 0);
    assert_int_equal(next.lost, VR_LOST_UNCLEAN);
    next.flow = (struct rel_flow){ .phase = FLOW_SHIP, .kind = FLOW_RESYNC };
    ev.type = EV_SHIPPED;
    assert_int_equal(rel_step(&next, &ev, &last, &fx, NULL), 0);
    assert_int_equal(last.lost, VR_LOST_NOT);
    assert_true(last.tracked);
    assert_int_equal(last.since.us, now.us);
}

/* src:[contract.md D.1] what a failover now would lose */
static void loss(void **state)
{
    (void)state;
    static const struct {
        enum rel_state st;
        bool has_ahead;
        enum vr_point_kind kind;
        const char *text;
    } rows[] = {
        { ST_NONE, false, 0, "machine would be lost" },
        { ST_P_REPL, false, 0, "as it was 30 min ago." },
        { ST_P_REPL, true, 0, "as it was 30 min ago; at least 5.0 MiB" },
        { ST_P_CRIT, true, 0, "at least 5.0 MiB" },
        { ST_P_PREPARED, true, 0, "Nothing: host hostb has everything" },
        { ST_R_REPL, false, VR_POINT_STANDARD, "set the machine back by 30 min" },
        { ST_R_REPL, false, VR_POINT_PLANNED, "made after the machine was shut down" },
        { ST_P_SUPERSEDED, true, 0, "written here since the failover to host hostb" },
        { ST_R_RECOVERED, false, 0, "everything since the failover would be lost" },
        { ST_R_COMMITTED, false, 0, "everything since the failover would be lost" },
    };
    for (size_t i = 0; i < VR_ARRAY_LEN(rows); i++) {
        struct rel r = in_state(rows[i].st);
        struct rel_facts f = { .r = &r, .now = now, .has_ahead = rows[i].has_ahead };
        char text[REL_TEXT_MAX];
        f.ahead = rows[i].has_ahead ? (uint64_t)5 << 20 : 0;
        r.last_kind = rows[i].kind;
        rel_loss(&f, text);
        if (!strstr(text, rows[i].text))
            fail_msg("%s: '%s' does not say '%s'", rel_state_name(r.st), text, rows[i].text);
    }
    struct rel r = in_state(ST_R_WAIT);
    char text[REL_TEXT_MAX];
    r.has_newest = false;
    assert_non_null(strstr(rel_loss(&(struct rel_facts){ .r = &r, .now = now }, text), "nothing"));
}

/* A failover takes no point that is quarantined; what it takes instead is older. */
static void loss_when_the_newest_is_quarantined(void **state)
{
    (void)state;
    struct rel r = in_state(ST_R_REPL);
    struct rel_facts f = { .r = &r, .now = now, .newest_bad = true, .has_ahead = true, .ahead = 7 };
    char text[REL_TEXT_MAX];
    assert_non_null(strstr(rel_loss(&f, text), "has to name one"));
    f.has_sound = true;
    f.sound.us = now.us - 2 * HOUR;
    assert_non_null(strstr(rel_loss(&f, text), "quarantined"));
    assert_non_null(strstr(text, "back by 2 h"));
    r = in_state(ST_R_RECOVERED); /* the failover is over */
    assert_non_null(strstr(rel_loss(&f, text), "everything since the failover"));
}

/* After a reversal of two hosts that had written apart the other one holds only what it had itself,
 * until the first transfer is over. */
static void loss_before_the_first_way_back(void **state)
{
    static const enum rel_state first[] = { ST_P_READY, ST_P_IR, ST_P_IR_SUSP, ST_P_IR_CRIT };
    (void)state;
    for (size_t i = 0; i < VR_ARRAY_LEN(first); i++) {
        struct rel r = in_state(first[i]);
        struct rel_facts f = { .r = &r, .now = now, .has_ahead = true, .ahead = 7 };
        char text[REL_TEXT_MAX];
        uint64_t age;
        r.seeded_start = true;
        assert_non_null(strstr(rel_loss(&f, text), "vmreplica --host hostb points web"));
        assert_false(rel_age(&f, &age));
        r.acked.epoch = 1;
        assert_non_null(strstr(rel_loss(&f, text), "as it was 30 min ago"));
        assert_true(rel_age(&f, &age));
    }
}

/* What was prepared has been done: nobody is told to fail over again, or to cancel here. */
static void prepared_and_done(void **state)
{
    (void)state;
    struct rel r = in_state(ST_P_PREPARED);
    struct rel_facts f = { .r = &r, .now = now, .host = "hosta" };
    char text[REL_TEXT_MAX], command[384];
    assert_null(has(&f, "failed_over_there"));
    r.peer_over = true;
    assert_non_null(strstr(rel_doing(&f, text), "was failed over to host hostb"));
    rel_next(&f, text, command);
    assert_string_equal(command, "vmreplica --host hostb reverse web");
    assert_null(strstr(text, "cancel"));
    assert_non_null(has(&f, "failed_over_there"));
    assert_non_null(strstr(rel_loss(&f, text), "written there since the failover"));
    r.peer_state_known = true; /* and replication was ended there */
    r.peer_state = 0;
    rel_next(&f, text, command);
    assert_string_equal(command, "");
    assert_non_null(has(&f, "superseded_ended"));
    assert_non_null(strstr(has(&f, "superseded_ended")->todo,
                           "vmreplica --host hostb enable web --to hosta and vmreplica --host "
                           "hostb start web --seeded"));
}

/* Nobody has to complete what is told to be typed: "vmreplica disable web, enable web". */
static void commands_are_whole(void **state)
{
    (void)state;
    static const char *const texts[] = {
#define W(st, doing, todo, command) doing, todo, command,
#include "replication/explain.def"
#define V(name, doing, todo, command) doing, todo, command,
#include "replication/explain.def"
#define R(name, level, id, health, why, todo, command) why, todo, command,
#include "replication/explain.def"
#define K(kind, todo, command) todo, command,
#include "replication/explain.def"
    };
    static const char *const verbs[] = { "enable",  "disable", "start",  "seed",
                                         "reverse", "commit",  "cancel", "resume",
                                         "suspend", "test",    "resync", "failover" };
    for (size_t i = 0; i < VR_ARRAY_LEN(texts); i++)
        for (size_t k = 0; k < VR_ARRAY_LEN(verbs) && texts[i]; k++) {
            char bare[32];
            snprintf(bare, sizeof bare, " %s $M", verbs[k]);
            for (const char *at = texts[i]; (at = strstr(at, bare)); at++) {
                static const char program[] = "vmreplica", there[] = "--host $P";
                size_t n = (size_t)(at - texts[i]);
                bool whole = (n >= sizeof program - 1 &&
                              !strncmp(at - (sizeof program - 1), program, sizeof program - 1)) ||
                             (n >= sizeof there - 1 &&
                              !strncmp(at - (sizeof there - 1), there, sizeof there - 1));
                if (!whole)
                    fail_msg("'%s' without its program: %s", bare, texts[i]);
            }
        }
}

/* Facts that a relationship does not know. */
static void facts_of_the_host(void **state)
{
    (void)state;
    struct rel r = in_state(ST_P_REPL);
    struct rel_facts f = { .r = &r, .now = now };
    assert_null(has(&f, "new_disks"));
    f.new_disks = "vdc";
    f.gone_disks = "vdb";
    f.plain_disks = "vda";
    f.machine_gone = f.machine_away = f.peer_away = f.stuck = true;
    f.peer_seen.us = now.us - 60 * 1000000;
    f.off = true;
    f.tests = "web - Test";
    assert_non_null(strstr(has(&f, "new_disks")->why, "vdc"));
    assert_non_null(strstr(has(&f, "disks_gone")->why, "vdb"));
    assert_non_null(strstr(has(&f, "plain_disks")->why, "vda"));
    assert_non_null(has(&f, "machine_gone"));
    assert_non_null(strstr(has(&f, "off")->why, "is off on this host"));
    assert_string_equal(has(&f, "machine_away")->command, "vmreplica disable web");
    assert_string_equal(has(&f, "still_frozen")->command, "virsh reset web");
    assert_non_null(strstr(has(&f, "peer_away")->why, "60 s ago"));
    assert_non_null(strstr(has(&f, "tests")->why, "web - Test"));
    f.moving = true;
    f.moved = 1 << 20;
    f.to_move = 20 << 20;
    char text[REL_TEXT_MAX];
    assert_non_null(strstr(rel_doing(&f, text), "1.0 MiB of 20.0 MiB done"));
    f.to_move = f.moved = 0;
    assert_null(strstr(rel_doing(&f, text), "done"));
}

/* Sentences longer than there is room for are cut, not overrun. */
static void long_texts_are_cut(void **state)
{
    (void)state;
    struct rel r = in_state(ST_P_CRIT);
    r.last_err.kind = VR_E_AUTH;
    memset(r.last_err.msg, 'x', sizeof r.last_err.msg - 1);
    memset(r.name, 'n', sizeof r.name - 1);
    memset(r.peer, 'p', sizeof r.peer - 1);
    struct rel_facts f = { .r = &r, .now = now };
    struct rel_reason why[REL_REASONS_MAX];
    size_t n = rel_reasons(&f, why);
    assert_true(n > 0);
    assert_true(strlen(why[0].why) < sizeof why[0].why);
}

/* ---- refusals. issue 4 "Bad input": legal, or 32775 with the state, what would make it legal and
 * the command that does that ---- */
static bool has_row(enum rel_state st, enum rel_event_type ev)
{
    struct rel_row row;
    for (size_t i = 0; rel_table_row(i, &row); i++)
        if (row.from == st && row.ev == ev)
            return true;
    return false;
}

static void every_refusal_says_what_helps(void **state)
{
    (void)state;
    size_t refused = 0;
    for (int st = 0; st < ST_COUNT; st++)
        for (int t = 0; t <= EV_U_SYNC; t++) {
            struct rel r = in_state((enum rel_state)st), next;
            struct rel_event ev = { .type = (enum rel_event_type)t };
            struct vr_err err = VR_ERR_INIT;
            uint32_t fx;
            if (has_row(r.st, ev.type))
                continue;
            refused++;
            assert_int_equal(rel_step(&r, &ev, &next, &fx, &err), -1);
            assert_int_equal(vr_kind_code(err.kind), 32775);
            if (!strstr(err.msg, rel_state_text(r.st)))
                fail_msg("%s in %s: %s", rel_event_text(ev.type), rel_state_name(r.st), err.msg);
            if (!strstr(err.msg, "vmreplica ") && !strstr(err.msg, "wait until"))
                fail_msg("%s in %s: %s", rel_event_text(ev.type), rel_state_name(r.st), err.msg);
        }
    assert_true(refused > 200);
}

/* Nobody is told to reverse who did already. */
static void waiting_to_reverse(void **state)
{
    (void)state;
    struct rel r = in_state(ST_R_REVERSE_WAIT);
    struct rel_facts f = { .r = &r, .now = now };
    r.queued = true;
    assert_non_null(has(&f, "reverse_waits"));
    assert_null(has(&f, "failed_over"));
    r = in_state(ST_R_RECOVERED);
    assert_non_null(has(&f, "failed_over"));
    r.peer_power = REL_POWER_ON;
    assert_non_null(strstr(has(&f, "both_run")->todo, "vmreplica cancel web"));
    r.st = ST_R_COMMITTED; /* that way is closed now */
    assert_null(has(&f, "both_run"));
    assert_null(strstr(has(&f, "both_run_committed")->todo, "vmreplica cancel"));
}

/* The old primary, too, names no way that is closed. */
static void committed_there(void **state)
{
    (void)state;
    struct rel r = in_state(ST_P_SUPERSEDED);
    struct rel_facts f = { .r = &r, .now = now };
    struct rel_reason why[REL_REASONS_MAX];
    assert_non_null(strstr(has(&f, "superseded")->todo, "cancel web --discard"));
    r.peer_state_known = true;
    r.peer_state = 6;
    assert_null(has(&f, "superseded"));
    size_t n = rel_reasons(&f, why);
    for (size_t i = 0; i < n; i++)
        assert_null(strstr(why[i].todo, "cancel"));
    assert_non_null(strstr(has(&f, "superseded_committed")->todo, "seed web"));
    assert_int_equal(has(&f, "superseded_committed")->level, 3);
    r = in_state(ST_R_COMMITTED);
    r.last_err.kind = VR_E_PEER;
    assert_null(has(&f, "not_done"));
    assert_null(strstr(has(&f, "not_done_committed")->todo, "vmreplica cancel"));
}

static void hints(void **state)
{
    (void)state;
    static const struct {
        enum rel_state st;
        enum rel_event_type ev;
        const char *hint;
    } rows[] = {
        { ST_NONE, EV_U_SYNC, "; first: vmreplica enable web --to HOST" },
        { ST_P_READY, EV_U_SYNC, "; first: vmreplica start web" },
        { ST_P_SUSP, EV_U_PREPARE, "; first: vmreplica resume web" },
        { ST_P_REPL, EV_U_RESYNC, "; first: vmreplica suspend web" },
        { ST_P_REPL, EV_U_COMMIT, "; it was not failed over; to move the machine to host hostb" },
        { ST_P_SUSP, EV_U_COMMIT,
          "; only the replica can do that: vmreplica --host hostb commit web" },
        { ST_R_REPL, EV_U_SYNC, "; only the primary can do that: vmreplica --host hostb sync web" },
        { ST_R_REPL, EV_U_COMMIT, "; it was not failed over; to move" },
        { ST_P_REPL, EV_U_CREATE, "; it is replicated already" },
        { ST_P_REPL, EV_U_START_IR, "; the initial copy is done already" },
        { ST_P_SUPERSEDED, EV_U_SYNC, "; what can be done here: vmreplica explain web" },
        { ST_P_SUPERSEDED, EV_U_REVERT, "; that was done on host hostb; there, unless it is comm" },
        { ST_NONE, EV_U_REVERT, "; there is nothing to take back" },
        { ST_R_COMMITTED, EV_U_COMMIT,
          "; it is committed already; it goes on with: vmreplica rev" },
        { ST_R_COMMITTED, EV_U_REVERT, "; it is committed and cannot be taken back" },
        { ST_R_FAILING, EV_U_REVERSE, "; first: wait until the failover is ready" },
        { ST_R_REPL, EV_U_REVERT, "; there is nothing to take back; see: vmreplica explain web" },
        { ST_R_FAILING, EV_U_REVERT, "; first: wait until the failover is ready" },
        { ST_P_REPL, EV_U_CANCEL_IR, "; there is nothing to take back" },
        { ST_R_WAIT, EV_U_FAILOVER, "; first: wait until the primary has sent a recovery point" },
        { ST_R_SUSP, EV_RX_OPEN, "; first, there: vmreplica resume web" },
    };
    for (size_t i = 0; i < VR_ARRAY_LEN(rows); i++) {
        struct rel r = in_state(rows[i].st);
        char text[400];
        rel_hint(&r, rows[i].ev, text, sizeof text);
        if (strncmp(text, rows[i].hint, strlen(rows[i].hint)) != 0)
            fail_msg("%s in %s: '%s'", rel_event_text(rows[i].ev), rel_state_name(r.st), text);
    }
}

/* The replica tells the age of its data by the primary's clock, which is a day ahead here; both say
 * by how much the clocks differ. */
static void clocks_differ(void **state)
{
    (void)state;
    struct rel r = in_state(ST_R_REPL);
    struct rel_facts f = { .r = &r, .now = now };
    uint64_t age = 0;
    const struct {
        int64_t ahead_s;
        const char *text;
    } rows[] = { { 86399, "is 24 h ahead of" },
                 { -86401, "is 24 h behind" },
                 { 61, "is 61 s ahead of" } };
    r.has_newest = true;
    snprintf(r.peer, sizeof r.peer, "hosta");
    assert_null(has(&f, "clocks_differ"));
    for (size_t i = 0; i < VR_ARRAY_LEN(rows); i++) {
        f.peer_clock_s = rows[i].ahead_s;
        r.newest_instant.us = now.us + (rows[i].ahead_s - 7) * 1000000;
        assert_true(rel_age(&f, &age));
        assert_int_equal(age, 7);
        assert_non_null(has(&f, "clocks_differ"));
        assert_non_null(strstr(has(&f, "clocks_differ")->why, rows[i].text));
    }
    r.st = ST_P_REPL; /* its own clock made the instant */
    r.has_acked = true;
    r.newest_instant.us = now.us - 7000000;
    assert_true(rel_age(&f, &age));
    assert_int_equal(age, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clocks_differ),
        cmocka_unit_test(no_state_without_words),
        cmocka_unit_test(trouble_comes_with_advice),
        cmocka_unit_test(refused_reversal_is_told),
        cmocka_unit_test(off_is_told_where_it_lives),
        cmocka_unit_test(tracking_lost_says_why),
        cmocka_unit_test(first_reason_of_a_loss_stays),
        cmocka_unit_test(loss),
        cmocka_unit_test(loss_when_the_newest_is_quarantined),
        cmocka_unit_test(loss_before_the_first_way_back),
        cmocka_unit_test(facts_of_the_host),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(every_refusal_says_what_helps),
        cmocka_unit_test(hints),
        cmocka_unit_test(waiting_to_reverse),
        cmocka_unit_test(committed_there),
        cmocka_unit_test(prepared_and_done),
        cmocka_unit_test(commands_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
