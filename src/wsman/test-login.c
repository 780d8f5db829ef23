/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Attempts to log in without HTTP: how many at a time, how late failures are told, and what becomes
 * of an attempt whose asker is gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <systemd/sd-event.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/exec.h"
#include "base/log.h"
#include "wsman/http_login.h"

static int gate[2]; /* a byte lets one check go on */

static int check(void *ctx, const char *user, const char *password, const char *address,
                 struct wsm_identity *ret, struct vr_err *err)
{
    char c;
    if (read(gate[0], &c, 1) != 1 || strcmp(password, "right") != 0)
        return vr_fail(err, VR_E_AUTH, 0, "wrong user name or password");
    ret->role = CIM_ROLE_READER;
    snprintf(ret->name, sizeof ret->name, "%s", user);
    return 0;
}

static void let_go(int n)
{
    for (int i = 0; i < n; i++)
        assert_int_equal(write(gate[1], "x", 1), 1);
}

struct tester {
    sd_event *ev;
    struct vr_exec *x;
    struct wsm_logins *l;
    struct wsm_auth auth;
    unsigned told, good;
    char last[64];
};

static void on_told(void *arg, struct wsm_login_result *r)
{
    struct tester *t = arg;
    t->told++;
    t->good += r->end == WSM_LOGIN_GOOD;
    snprintf(t->last, sizeof t->last, "%s", r->who.name);
}

static void begin(struct tester *t)
{
    static const struct wsm_http_limits lim = { .failed_delay_ms = 300 };
    struct vr_err e = VR_ERR_INIT;
    *t = (struct tester){ .x = vr_exec_new("auth", 1) };
    t->auth = (struct wsm_auth){ .check_password = check, .exec = t->x };
    assert_true(sd_event_new(&t->ev) >= 0);
    if (wsm_logins_new(t->ev, &t->auth, &lim, &t->l, &e))
        fail_msg("%s", e.msg);
}

static void finish(struct tester *t)
{
    wsm_logins_free(t->l);
    vr_exec_free(t->x);
    sd_event_unref(t->ev);
}

static struct wsm_login *ask(struct tester *t, const char *address, const char *password)
{
    return wsm_login_password(t->l, address, "op", password, on_told, t);
}

static void run_until(struct tester *t, unsigned told)
{
    int64_t end = vr_mono_now().ms + 60000;
    while (t->told < told && vr_mono_now().ms < end)
        sd_event_run(t->ev, 100000);
    assert_int_equal(t->told, told);
}

static void test_one_address_cannot_fill_the_queue(void **s)
{
    struct tester t;
    begin(&t);
    for (int i = 0; i < 4; i++)
        assert_non_null(ask(&t, "192.0.2.1", "right"));
    assert_null(ask(&t, "192.0.2.1", "right"));
    for (int i = 0; i < 12; i++) {
        char a[32];
        snprintf(a, sizeof a, "198.51.100.%d", i);
        assert_non_null(ask(&t, a, "right"));
    }
    assert_null(ask(&t, "203.0.113.1", "right")); /* all places are taken */
    let_go(16);
    run_until(&t, 16);
    assert_int_equal(t.good, 16);
    assert_string_equal(t.last, "op");
    assert_non_null(ask(&t, "192.0.2.1", "right")); /* and free again */
    let_go(1);
    run_until(&t, 17);
    finish(&t);
}

static void test_failures_are_told_late(void **s)
{
    struct tester t;
    begin(&t);
    for (unsigned i = 0; i < 2; i++) {
        int64_t at = vr_mono_now().ms;
        assert_non_null(ask(&t, "192.0.2.1", "wrong"));
        let_go(1);
        run_until(&t, i + 1);
        assert_true(vr_mono_now().ms - at >= 300 << i);
    }
    assert_int_equal(t.good, 0);
    finish(&t);
}

static void test_nobody_is_told_who_is_gone(void **s)
{
    struct tester t;
    begin(&t);
    struct wsm_login *running = ask(&t, "192.0.2.1", "right"), *late;
    assert_non_null(running);
    wsm_login_forget(running);
    late = ask(&t, "192.0.2.2", "wrong");
    assert_non_null(late);
    assert_non_null(ask(&t, "192.0.2.3", "right"));
    let_go(3);
    run_until(&t, 1); /* the third; the second waits by now */
    wsm_login_forget(late);
    assert_non_null(ask(&t, "192.0.2.4", "right"));
    wsm_login_forget(ask(&t, "192.0.2.5", "right")); /* still with a worker at the end */
    let_go(2);
    run_until(&t, 2);
    finish(&t);
    assert_int_equal(t.told, 2);
}

static void test_those_who_guess_wait_longer_and_fill_no_log(void **s)
{
    struct wsm_throttle t = { 0 };
    static const unsigned delays[] = { 100, 200, 400, 800, 1600, 1600 };
    struct mono_ms now = { 5000 };
    for (size_t i = 0; i < VR_ARRAY_LEN(delays); i++, now.ms += 10)
        assert_int_equal(wsm_throttle_delay(&t, now, "192.0.2.1", 100), delays[i]);
    assert_int_equal(wsm_throttle_delay(&t, now, "192.0.2.2", 100), 100); /* another address */
    now.ms += WSM_THROTTLE_FORGET_MS - 100;
    assert_int_equal(wsm_throttle_delay(&t, now, "192.0.2.1", 100), 1600);
    now.ms += WSM_THROTTLE_FORGET_MS + 1;
    assert_int_equal(wsm_throttle_delay(&t, now, "192.0.2.1", 100), 100);
    vr_log_level(VR_LOG_ERROR);
    assert_true(wsm_throttle_log(&t, now, "192.0.2.1", "login", "x"));
    assert_false(wsm_throttle_log(&t, now, "192.0.2.1", "login", "x"));
    assert_true(wsm_throttle_log(&t, now, "192.0.2.3", "login", "x"));
    now.ms += 999;
    assert_false(wsm_throttle_log(&t, now, "192.0.2.1", "login", "x"));
    now.ms += 1;
    assert_true(wsm_throttle_log(&t, now, "192.0.2.1", "login", "x"));
    for (int i = 0; i < 1000; i++) { /* many addresses push the quiet ones out, nothing else */
        char a[32];
        snprintf(a, sizeof a, "198.51.100.%d", i);
        now.ms++;
        assert_true(wsm_throttle_log(&t, now, a, "login", "x"));
    }
    vr_log_level(VR_LOG_INFO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_address_cannot_fill_the_queue),
        cmocka_unit_test(test_failures_are_told_late),
        cmocka_unit_test(test_nobody_is_told_who_is_gone),
        cmocka_unit_test(test_those_who_guess_wait_longer_and_fill_no_log),
    };
    if (pipe(gate))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
