/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Unit tests of the daemon's pure parts: configuration, who may come in, messages between hosts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/access.h"
#include "daemon/choose.h"
#include "daemon/config.h"
#include "base/alloc.h"
#include "daemon/looks.h"
#include "daemon/messages.h"
#include "daemon/proofplan.h"
#include "daemon/story.h"
#include "daemon/turns.h"
#include "replication/rel.h"

static int load(const char *text, struct config *c, struct vr_err *err)
{
    char path[] = "/tmp/vmreplica-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    int rc = config_load(path, false, c, err);
    unlink(path);
    return rc;
}

static void test_config_defaults_and_values(void **s)
{
    (void)s;
    struct config c;
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(load("# nothing\n", &c, &e), 0);
    assert_int_equal(c.peer_port, 8443);
    assert_true(c.host_name[0] != 0);
    assert_int_equal(
        load("host_name = alpha\npeer_port=9000\n[vmreplicad]\nbandwidth = 10\n", &c, &e), 0);
    assert_string_equal(c.host_name, "alpha");
    assert_int_equal(c.peer_port, 9000);
    assert_int_equal(c.bandwidth, 10);
}

static void test_config_says_what_is_wrong(void **s)
{
    (void)s;
    static const struct {
        const char *text, *word;
    } bad[] = {
        { "peer_port = 0\n", "1 to 65535" },      { "peer_port = many\n", "many" },
        { "no_such = 1\n", "unknown parameter" }, { "[other]\npeer_port=1\n", "unknown section" },
        { "no equals sign\n", "line 1" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct config c;
        struct vr_err e = VR_ERR_INIT;
        assert_int_equal(load(bad[i].text, &c, &e), -1);
        assert_int_equal(e.kind, VR_E_INVAL);
        if (!strstr(e.msg, bad[i].word))
            fail_msg("'%s' does not say '%s'", e.msg, bad[i].word);
    }
    struct config c;
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(config_load("/nonexistent/x.conf", true, &c, &e), 0);
    assert_int_equal(config_load("/nonexistent/x.conf", false, &c, &e), -1);
}

static void test_config_lists_add_up(void **s)
{
    (void)s;
    struct config c;
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(load("", &c, &e), 0);
    assert_string_equal(c.administrators, "group:vmreplica");
    assert_string_equal(c.readers, "");
    assert_int_equal(
        load("administrators = user:a\nreaders = user:b\nadministrators = user:c\n", &c, &e), 0);
    assert_string_equal(c.administrators, "user:a, user:c");
    assert_string_equal(c.readers, "user:b");
    assert_int_equal(load("administrators =\n", &c, &e), 0);
    assert_string_equal(c.administrators, "");
}

#define THUMB "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static struct access *table(void)
{
    struct access *a = access_new();
    struct vr_err e = VR_ERR_INIT;
    if (access_add(a, CIM_ROLE_ADMIN, "group:daemon, principal:root/admin@A.TEST", &e) ||
        access_add(a, CIM_ROLE_OPERATOR, "user:games,principal:ops@A.TEST, principal-group:bin",
                   &e) ||
        access_add(a, CIM_ROLE_READER,
                   "principal:*@A.TEST, certificate: 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:"
                   "FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF, group:no-such-group, "
                   "user:no-such-user",
                   &e))
        fail_msg("%s", e.msg);
    access_resolve(a);
    return a;
}

/* Users and groups of the base system: root 0, daemon 1, bin 2, games 5 (user), 60 (group). */
static void test_roles_of_local_callers(void **s)
{
    (void)s;
    vr_auto(access_free) struct access *a = table(), *empty = access_new();
    const unsigned none[] = { 4711 }, daemons[] = { 4711, 1 };
    assert_int_equal(access_of_local(a, 0, none, 1), CIM_ROLE_ADMIN);
    assert_int_equal(access_of_local(empty, 0, none, 1), CIM_ROLE_ADMIN);
    assert_int_equal(access_of_local(a, 4711, none, 1), CIM_ROLE_NONE);
    assert_int_equal(access_of_local(a, 4711, daemons, 2), CIM_ROLE_ADMIN);
    assert_int_equal(access_of_local(a, 5, none, 1), CIM_ROLE_OPERATOR);
    assert_int_equal(access_of_local(a, 5, daemons, 2), CIM_ROLE_ADMIN); /* the highest */
    assert_int_equal(access_of_local(a, UINT32_MAX, none, 1), CIM_ROLE_NONE);
    assert_int_equal(access_of_local(empty, 4711, daemons, 2), CIM_ROLE_NONE);
    assert_int_equal(access_of_user(a, "root"), CIM_ROLE_ADMIN);
    assert_int_equal(access_of_user(a, "daemon"), CIM_ROLE_ADMIN); /* its primary group */
    assert_int_equal(access_of_user(a, "games"), CIM_ROLE_OPERATOR);
    assert_int_equal(access_of_user(a, "nobody"), CIM_ROLE_NONE);
    assert_int_equal(access_of_user(a, "no-such-user"), CIM_ROLE_NONE);
}

static void test_roles_of_principals_and_certificates(void **s)
{
    (void)s;
    vr_auto(access_free) struct access *a = table();
    static const struct {
        const char *principal, *local;
        enum cim_role role;
    } all[] = {
        { "root/admin@A.TEST", "", CIM_ROLE_ADMIN },
        { "ops@A.TEST", "", CIM_ROLE_OPERATOR },
        { "anybody@A.TEST", "", CIM_ROLE_READER },
        { "anybody/else@A.TEST", "", CIM_ROLE_READER },
        { "ops@B.TEST", "", CIM_ROLE_NONE },
        { "ops@A.TEST@B.TEST", "", CIM_ROLE_NONE },
        { "x@SUB.A.TEST", "", CIM_ROLE_NONE },
        { "ops", "", CIM_ROLE_NONE },
        /* Names alone do not make anybody a local user: */
        { "root@B.TEST", "root", CIM_ROLE_NONE },
        { "daemon@B.TEST", "daemon", CIM_ROLE_NONE },
        { "games@B.TEST", "games", CIM_ROLE_NONE },
        /* but a row for groups of principals does. */
        { "bin@B.TEST", "bin", CIM_ROLE_OPERATOR },
        { "bin@B.TEST", "", CIM_ROLE_NONE },
        { "x@B.TEST", "no-such-user", CIM_ROLE_NONE },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (access_of_principal(a, all[i].principal, all[i].local) != all[i].role)
            fail_msg("%s (%s) is not %d", all[i].principal, all[i].local, (int)all[i].role);
    assert_int_equal(access_of_thumb(a, THUMB), CIM_ROLE_READER);
    assert_int_equal(access_of_thumb(a, "00" THUMB), CIM_ROLE_NONE);
    assert_int_equal(access_of_thumb(a, ""), CIM_ROLE_NONE);
}

static void test_bad_rows_are_told(void **s)
{
    (void)s;
    static const char *const bad[] = {
        "alice",
        "groop:x",
        "group:",
        "principal:alice",
        "principal:@R",
        "principal:al*@R",
        "principal:*",
        "principal:a@",
        "certificate:0011",
        "user:a,,b",
        ("certificate:" THUMB "00"),
        ("certificate:zz" THUMB),
        "GROUP:x",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        vr_auto(access_free) struct access *a = access_new();
        struct vr_err e = VR_ERR_INIT;
        if (!access_add(a, CIM_ROLE_ADMIN, bad[i], &e) || e.kind != VR_E_INVAL)
            fail_msg("'%s' is taken", bad[i]);
    }
    vr_auto(access_free) struct access *a = access_new();
    assert_int_equal(access_add(a, CIM_ROLE_ADMIN, "", NULL), 0);
    assert_int_equal(access_add(a, CIM_ROLE_ADMIN, " , ", NULL), 0);
}

static struct rel_settings good_settings(void)
{
    struct rel_settings s;
    rel_settings_default(&s);
    strcpy(s.recovery_point, "hostb");
    s.recovery_port = 8443;
    s.interval_s = 30;
    return s;
}

static void test_settings_travel_whole(void **s)
{
    (void)s;
    struct rel_settings a = good_settings(), b;
    struct vr_err e = VR_ERR_INIT;
    strcpy(a.primary_point, "hosta");
    a.recovery_history = 7;
    a.rev = 12;
    struct msg_settings m = msg_from_settings(&a);
    assert_int_equal(msg_to_settings(&m, &b, &e), 0);
    assert_int_equal(b.interval_s, 30);
    assert_int_equal(b.recovery_history, 7);
    assert_string_equal(b.primary_point, "hosta");
    assert_string_equal(b.recovery_point, "hostb");
    assert_int_equal(b.rev, 12);
    m.interval_s = 1;
    assert_int_equal(msg_to_settings(&m, &b, &e), -1);
    assert_int_equal(e.kind, VR_E_INVAL);
}

/* An older version answers with nothing, and does not number what it sends. */
static void test_settings_and_older_versions(void **s)
{
    (void)s;
    struct vr_err e = VR_ERR_INIT;
    struct msg_settings_reply r = { .held = 3 };
    assert_int_equal(msg_settings_reply_decode("", 0, &r, &e), 0);
    assert_int_equal(r.held, 0);
    struct rel_settings a = good_settings(), b;
    struct msg_settings m = msg_from_settings(&a);
    struct msg_settings_push p = { .settings = &m, .n_settings = 1 }, q = { 0 };
    vr_autobuf struct vr_buf buf = VR_BUF_INIT;
    assert_int_equal(msg_settings_push_encode(&p, &buf, &e), 0);
    assert_int_equal(msg_settings_push_decode(buf.data, buf.len, &q, &e), 0);
    assert_int_equal(msg_to_settings(q.settings, &b, &e), 0);
    assert_int_equal(b.rev, 0);
    assert_true(vr_uuid_is_zero(&q.lineage));
    msg_settings_push_done(&q);
}

static void test_disks_of_a_peer_are_checked(void **s)
{
    (void)s;
    static const struct {
        const char *target;
        uint64_t size;
    } bad[] = { { "../../etc/x", 1 << 20 },
                { "", 1 << 20 },
                { "vda", 0 },
                { "vda", 1000 },
                { "vda", UINT64_MAX - 511 } };
    struct rel_disk out[VR_DISKS_MAX];
    uint32_t n;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct msg_disk m = { .target = bad[i].target, .size = bad[i].size };
        struct vr_err e = VR_ERR_INIT;
        assert_int_equal(msg_to_disks(&m, 1, out, &n, &e), -1);
        assert_int_equal(e.kind, VR_E_PROTO);
    }
    struct msg_disk twice[] = { { .target = "vda", .size = 1 << 20 },
                                { .target = "vda", .size = 1 << 20 } };
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(msg_to_disks(twice, 2, out, &n, &e), -1);
    vr_err_clear(&e);
    assert_int_equal(msg_to_disks(twice, 1, out, &n, &e), 0);
    assert_int_equal(n, 1);
    assert_string_equal(out[0].target, "vda");
}

static void test_transfer_opening_round_trip(void **s)
{
    (void)s;
    struct msg_disk d = { .target = "vda", .size = 1 << 20 };
    struct msg_transfer m = { .machine = vr_uuid_new(),
                              .lineage = vr_uuid_new(),
                              .has_since = true,
                              .since = 4,
                              .epoch = 5,
                              .kind = VR_POINT_PLANNED,
                              .instant_us = 1,
                              .disks = &d,
                              .n_disks = 1 };
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(msg_transfer_encode(&m, &b, &e), 0);
    struct msg_transfer got = { 0 };
    assert_int_equal(msg_transfer_decode(b.data, b.len, &got, &e), 0);
    assert_true(got.has_since);
    assert_int_equal(got.since, 4);
    assert_int_equal(got.epoch, 5);
    assert_int_equal(got.n_disks, 1);
    assert_string_equal(got.disks[0].target, "vda");
    msg_transfer_done(&got);
    for (size_t cut = 0; cut < b.len; cut++) {
        struct vr_err ce = VR_ERR_INIT;
        assert_int_equal(msg_transfer_decode(b.data, cut, &got, &ce), -1);
    }
}

static void test_proof_is_due_in_time(void **state)
{
    (void)state;
    const uint64_t week = 7 * 86400, total = 1 << 20; /* blocks: 64 GiB */
    assert_int_equal(proof_budget(total, 0, week, PROOF_LEAST), 0);
    assert_int_equal(proof_budget(total, 7, 0, PROOF_LEAST), 0);
    assert_int_equal(proof_budget(total, 7, -5, PROOF_LEAST), 0);
    assert_int_equal(proof_budget(total, 7, 60, PROOF_LEAST), 0); /* too little to begin */
    assert_int_equal(proof_budget(total, 7, week / 2, PROOF_LEAST), total / 2);
    assert_int_equal(proof_budget(total, 7, week, PROOF_LEAST), total);
    assert_int_equal(proof_budget(total, 7, 100 * week, PROOF_LEAST), total);
    assert_int_equal(proof_budget(10, 7, week - 1, PROOF_LEAST), 0); /* a small disk: all at once */
    assert_int_equal(proof_budget(10, 7, week, PROOF_LEAST), 10);
    /* Cycles of a minute, for a week: everything was read. */
    uint64_t read = 0;
    int64_t since = 0;
    for (int64_t now = 60; now <= (int64_t)week; now += 60) {
        uint64_t n = proof_budget(total, 7, now - since, PROOF_LEAST);
        read += n;
        since = n ? now : since;
    }
    assert_in_range(read, total - 10 * PROOF_LEAST, total);
}

/* Slices that are cut off by their time, cycles of five minutes: what they left is read later. */
static void test_proof_that_was_due_stays_due(void **state)
{
    (void)state;
    const uint64_t week = 7 * 86400, total = 1 << 20, most = 600; /* blocks in one slice */
    struct wall_us since = { .us = 1 };
    uint64_t read = 0;
    for (uint64_t s = 300; s <= week; s += 300) {
        struct wall_us now = { .us = 1 + (int64_t)s * 1000000 };
        if (s < week / 2 && s % 3600)
            continue; /* seldom at first: twelve times as much is due as a slice can read */
        uint64_t n = proof_budget(total, 7, (now.us - since.us) / 1000000, PROOF_LEAST);
        uint64_t now_read = n < most ? n : most;
        read += now_read;
        if (n)
            since = proof_since(since, now, n, n - now_read);
    }
    assert_in_range(read, 84 * most + 1008 * 599, total);
    assert_int_equal(proof_since((struct wall_us){ 5 }, (struct wall_us){ 9 }, 0, 0).us, 9);
    assert_int_equal(proof_since((struct wall_us){ 5 }, (struct wall_us){ 9 }, 4, 0).us, 9);
    assert_int_equal(proof_since((struct wall_us){ 5 }, (struct wall_us){ 9 }, 4, 4).us, 5);
    assert_int_equal(proof_since((struct wall_us){ 9 }, (struct wall_us){ 5 }, 4, 4).us,
                     5); /* set back */
}

/* Rounds of the scrub that read less than is due: that is read later, and all in the week. */
static void test_scrub_that_was_due_stays_due(void **state)
{
    (void)state;
    const uint64_t week = 7 * 86400, total = (uint64_t)100 << 30, most = 256 << 20;
    struct wall_us since = { .us = 1 };
    uint64_t read = 0;
    for (uint64_t s = 60; s <= week; s += 60) {
        struct wall_us now = { .us = 1 + (int64_t)s * 1000000 };
        if (s < week / 2 && s % (4 * 3600))
            continue; /* merges at first: ten times as much is due as a round reads */
        uint64_t due = proof_budget(total, 7, (now.us - since.us) / 1000000, 8 << 20);
        uint64_t piece = due < most ? due : most;
        read += piece;
        if (due)
            since = scrub_since(since, now, due, piece, false);
    }
    assert_in_range(read, total - most, total);
    struct wall_us a = { 5 }, b = { 9 };
    assert_int_equal(scrub_since(a, b, 8, 8, false).us, 9);
    assert_int_equal(scrub_since(a, b, 8, 9, false).us, 9); /* a run is read to its end */
    assert_int_equal(scrub_since(a, b, 8, 4, false).us, 7);
    assert_int_equal(scrub_since(a, b, 8, 4, true).us, 9); /* there was no more */
}

static void test_proof_is_written_down(void **state)
{
    (void)state;
    struct proof_state s = { .disk = 1,
                             .block = 2,
                             .began = { 3 },
                             .bad = 4,
                             .slice = { 5 },
                             .last = { 6 },
                             .last_bad = 7,
                             .layer = 8,
                             .layer_block = 9,
                             .scrub_piece = { 10 },
                             .scrub_last = { 11 } };
    struct proof_state back;
    struct vr_err e = VR_ERR_INIT;
    vr_autofree char *text = proof_encode(&s), *again = NULL;
    assert_int_equal(proof_decode(text, &back, &e), 0);
    again = proof_encode(&back);
    assert_string_equal(text, again);
    assert_int_equal(back.scrub_last.us, 11);
    assert_int_equal(proof_decode("1 2 3", &back, &e), -1);
    assert_int_equal(e.kind, VR_E_CORRUPT);
    assert_int_equal(proof_decode("", &back, NULL), -1);
}

static void test_proof_says_who_is_wrong(void **state)
{
    (void)state;
    char text[400];
    struct proof_diff d = {
        .replica = "hostb", .target = "vda", .epoch = 7, .blocks = 2, .rot = 2, .points = 3
    };
    d.first = 5;
    proof_text(&d, text, sizeof text);
    assert_non_null(
        strstr(text, "2 blocks of disk vda (the first at byte 327680) changed on host hostb"));
    assert_non_null(strstr(text, "3 recovery points"));
    d.rot = 1;
    proof_text(&d, text, sizeof text);
    assert_non_null(strstr(text, "differ between the primary and host hostb at point 7"));
    assert_non_null(strstr(text, "without its change map"));
}

/* ---- which point a failover takes ---- */
static void points_of(struct store_point p[3])
{
    struct vr_uuid lineage;
    assert_int_equal(vr_uuid_parse("6e7a2f20-1111-4222-8333-0000000000aa", &lineage, NULL), 0);
    memset(p, 0, 3 * sizeof *p);
    for (unsigned i = 0; i < 3; i++)
        p[i] = (struct store_point){ .id = { lineage, i + 1 }, .kind = VR_POINT_STANDARD };
}

static void test_failover_takes_the_newest_sound_point(void **state)
{
    struct rel r = { .failover_latest = true, .name = "web" };
    struct store_point p[3];
    struct vr_err err = VR_ERR_INIT;
    (void)state;
    points_of(p);
    assert_ptr_equal(choose_failover(&r, p, 3, &err), &p[2]);
    p[2].kind = VR_POINT_ORPHAN; /* another history: never without being named */
    assert_ptr_equal(choose_failover(&r, p, 3, &err), &p[1]);
    p[1].proof.quarantine = STORE_QUARANTINED;
    assert_ptr_equal(choose_failover(&r, p, 3, &err), &p[0]);
    p[1].proof.quarantine = STORE_RELEASED;
    assert_ptr_equal(choose_failover(&r, p, 3, &err), &p[1]);
    p[1].proof.quarantine = STORE_REPAIRED;
    assert_ptr_equal(choose_failover(&r, p, 3, &err), &p[1]);
    r.failover_latest = false; /* named: an orphan, too */
    r.failover = p[2].id;
    assert_ptr_equal(choose_failover(&r, p, 3, &err), &p[2]);
    assert_int_equal(err.kind, VR_OK);
}

static void test_failover_takes_no_other_point_unasked(void **state)
{
    struct rel r = { .failover_latest = true, .name = "web" };
    struct store_point p[3];
    struct vr_err err = VR_ERR_INIT;
    (void)state;
    points_of(p);
    p[0].kind = p[1].kind = VR_POINT_ORPHAN;
    p[2].proof.quarantine = STORE_QUARANTINED;
    assert_null(choose_failover(&r, p, 3, &err));
    assert_int_equal(err.kind, VR_E_STATE);
    assert_non_null(strstr(err.msg, "6e7a2f20-1111-4222-8333-0000000000aa:3 (quarantined), "));
    assert_non_null(strstr(err.msg, "6e7a2f20-1111-4222-8333-0000000000aa:1 (orphan). "));
    assert_non_null(strstr(err.msg, "vmreplica failover web --point POINT"));
    vr_err_clear(&err);
    assert_null(choose_failover(&r, p, 0, &err));
    assert_int_equal(err.kind, VR_E_NOTFOUND);
    vr_err_clear(&err);
    r.failover_latest = false;
    r.failover = p[2].id;
    assert_null(choose_failover(&r, p, 3, &err));
    assert_non_null(strstr(err.msg, "quarantined"));
}

/* ---- the daemon ended between noting damage and raising the alarm ---- */
static void test_damage_that_was_noted_is_told_after_a_start(void **state)
{
    struct rel r = { .name = "web" };
    struct store_point p[3];
    (void)state;
    points_of(p);
    assert_false(proof_catch_up(&r, p, 0, "hostb"));
    assert_false(proof_catch_up(&r, p, 3, "hostb"));
    p[0].proof = (struct store_proof){ .quarantine = STORE_QUARANTINED, .since = { 5 }, .bad = 2 };
    p[1].proof = (struct store_proof){ .quarantine = STORE_REPAIRED, .since = { 4 }, .bad = 1 };
    assert_true(proof_catch_up(&r, p, 3, "hostb"));
    assert_int_equal(r.bad_blocks, 2);
    assert_int_equal(r.bad_since.us, 5);
    assert_false(r.bad_open); /* the newest does not show it */
    assert_non_null(strstr(r.bad_text, "2 recovery points on host hostb"));
    assert_false(proof_catch_up(&r, p, 3, "hostb")); /* it is told already */
    /* The newest one was found to be wrong later; what was told of the others stays. */
    snprintf(r.bad_text, sizeof r.bad_text, "earlier");
    p[2].proof = (struct store_proof){ .quarantine = STORE_QUARANTINED, .since = { 9 }, .bad = 7 };
    assert_true(proof_catch_up(&r, p, 3, "hostb"));
    assert_true(r.bad_open);
    assert_string_equal(r.bad_text, "earlier");
    assert_false(proof_catch_up(&r, p, 3, "hostb"));
}

static void test_damage_that_was_acknowledged_is_not_told_again(void **state)
{
    struct rel r = { .name = "web" };
    struct store_point p[3];
    (void)state;
    points_of(p);
    for (int i = 0; i < 3; i++)
        p[i].proof = (struct store_proof){ .quarantine = STORE_QUARANTINED + i,
                                           .bad = 2,
                                           .acknowledged = true };
    assert_false(proof_catch_up(&r, p, 3, "hostb"));
    assert_int_equal(r.bad_blocks, 0);
    p[2].proof = (struct store_proof){ .quarantine = STORE_RELEASED, .bad = 1 };
    assert_true(proof_catch_up(&r, p, 3, "hostb"));
    assert_true(r.bad_open);
    assert_int_equal(r.bad_blocks, 1);
}

/* A message that waited for the network must not undo what is known since. */
static void test_stories_overtake_each_other(void **state)
{
    const struct vr_uuid run = vr_uuid_new(), later_run = vr_uuid_new();
    struct rel_story failed_over = {
        .failed_over = true, .told_by = run, .told_ms = 2000, .state_known = true, .state = 5
    };
    struct rel_story before = { .told_by = run, .told_ms = 1000 };
    struct rel_story after = { .told_by = run, .told_ms = 2000 };
    struct rel_story restarted = { .told_by = later_run, .told_ms = 5 };
    struct rel_story old_version = { .power = REL_POWER_ON };
    assert_false(story_is_news(&failed_over, &before));
    assert_true(story_is_news(&failed_over, &after));
    assert_true(story_is_news(&failed_over, &restarted));
    assert_true(story_is_news(&failed_over, &old_version));
    struct msg_story wire = msg_from_story(&failed_over);
    struct rel_story back = msg_to_story(&wire);
    assert_false(story_is_news(&back, &before));
    assert_true(back.state_known);
    assert_int_equal(back.state, 5);
}

/* A machine that does not answer is not asked again and again. */
static void test_one_look_at_a_time(void **s)
{
    (void)s;
    struct hv_look l = { .out = false };
    struct mono_ms now = { 1000 };
    assert_true(look_may(&l, now));
    look_begin(&l);
    now.ms += 3600000; /* it hangs for an hour */
    assert_false(look_may(&l, now));
    look_end(&l, true, now);
    assert_false(look_may(&l, now));
    now.ms += LOOK_REST_MS;
    assert_true(look_may(&l, now));
    look_begin(&l);
    look_end(&l, false, now);
    assert_true(look_may(&l, now));
}

/* However many machines have the same peer: few workers wait for it, and others get their turn. */
static void test_few_ask_one_host(void **s)
{
    (void)s;
    struct turns q = { NULL };
    struct turn t[8] = { 0 };
    for (int i = 0; i < 8; i++)
        strcpy(t[i].host, i < 6 ? "dead" : i < 7 ? "alive" : "DEAD");
    for (int i = 0; i < 8; i++)
        assert_int_equal(turns_wait(&q, &t[i]), i < TURNS_EACH || i == 6);
    assert_null(turns_next(&q, "dead"));
    assert_null(turns_next(&q, "alive"));
    turns_end(&q, &t[6]);
    turns_end(&q, &t[0]); /* answered */
    assert_ptr_equal(turns_next(&q, "dead"), &t[2]);
    assert_null(turns_next(&q, "dead"));
    turns_end(&q, &t[1]); /* did not */
    const int told[] = { 3, 4, 5, 7 };
    for (size_t i = 0; i < VR_ARRAY_LEN(told); i++)
        assert_ptr_equal(turns_give_up(&q, "dead"), &t[told[i]]);
    assert_null(turns_give_up(&q, "dead"));
    for (int i = 2; i < 8; i++)
        turns_end(&q, &t[i]);
    assert_null(q.all);
}

/* What is written down of a failover that was ended is told again by the next run. */
static void test_what_a_failover_leaves(void **s)
{
    (void)s;
    const struct rel_story left = { .state_known = true,
                                    .failed_over = true,
                                    .of = vr_uuid_new(),
                                    .lineage = vr_uuid_new(),
                                    .point = { vr_uuid_new(), 17 },
                                    .since.us = 1700000000000000 };
    struct rel_story got, none = { .failed_over = false };
    struct vr_err err = VR_ERR_INIT;
    vr_autofree char *text = story_encode_left(&left);
    assert_int_equal(story_decode_left(text, &got, &err), 0);
    assert_memory_equal(&got, &left, sizeof got);
    assert_null(story_encode_left(&none));
    assert_int_equal(story_decode_left("of nothing", &got, &err), -1);
    assert_int_equal(err.kind, VR_E_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_defaults_and_values),
        cmocka_unit_test(test_config_says_what_is_wrong),
        cmocka_unit_test(test_config_lists_add_up),
        cmocka_unit_test(test_roles_of_local_callers),
        cmocka_unit_test(test_roles_of_principals_and_certificates),
        cmocka_unit_test(test_bad_rows_are_told),
        cmocka_unit_test(test_settings_travel_whole),
        cmocka_unit_test(test_settings_and_older_versions),
        cmocka_unit_test(test_disks_of_a_peer_are_checked),
        cmocka_unit_test(test_transfer_opening_round_trip),
        cmocka_unit_test(test_failover_takes_the_newest_sound_point),
        cmocka_unit_test(test_failover_takes_no_other_point_unasked),
        cmocka_unit_test(test_proof_is_due_in_time),
        cmocka_unit_test(test_proof_that_was_due_stays_due),
        cmocka_unit_test(test_scrub_that_was_due_stays_due),
        cmocka_unit_test(test_proof_is_written_down),
        cmocka_unit_test(test_proof_says_who_is_wrong),
        cmocka_unit_test(test_damage_that_was_noted_is_told_after_a_start),
        cmocka_unit_test(test_damage_that_was_acknowledged_is_not_told_again),
        cmocka_unit_test(test_one_look_at_a_time),
        cmocka_unit_test(test_few_ask_one_host),
        cmocka_unit_test(test_what_a_failover_leaves),
        cmocka_unit_test(test_stories_overtake_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
