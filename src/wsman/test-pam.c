/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Passwords through the real PAM with the service file that is installed, in a mount namespace with
 * users of its own. Needs root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/proc.h"
#include "wsman/auth_pam.h"

static const char *source; /* of the project */
static char dir[] = "/tmp/vr-test-pam-XXXXXX";

static int shell(const char *cmd)
{
    const char *argv[] = { "sh", "-c", cmd, NULL };
    struct vr_err e = VR_ERR_INIT;
    if (!vr_proc_run(argv, 60, NULL, &e))
        return 0;
    fprintf(stderr, "%s: %s\n", cmd, e.msg);
    return -1;
}

/* alice may come in, bob's account has expired, carol's password is locked. */
static int make_users(void)
{
    vr_autofree char *cmd = vr_printf(
        "cd %s && umask 022 && cp /etc/passwd passwd && cp /etc/group group && "
        "for n in alice:7001 bob:7002 carol:7003; do "
        "echo ${n%%%%:*}:x:${n#*:}:7000::/nonexistent:/bin/sh; done >>passwd && "
        "echo staff-of-tests:x:7000: >>group && umask 077 && "
        "h=$(printf %%s 'right one' | openssl passwd -6 -stdin) && "
        "{ cat /etc/shadow; echo \"alice:$h:19000:0:99999:7:::\"; "
        "echo \"bob:$h:19000:0:99999:7::1:\"; echo \"carol:!$h:19000:0:99999:7:::\"; } >shadow && "
        "cp -a /etc/pam.d pam.d && cp %s/packaging/pam/vmreplica pam.d/vmreplica",
        dir, source);
    return shell(cmd);
}

static int set_up(void **s)
{
    static const char *const places[] = { "passwd", "group", "shadow", "pam.d" };
    if (!mkdtemp(dir) || make_users() || unshare(CLONE_NEWNS) ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
        return -1;
    for (size_t i = 0; i < VR_ARRAY_LEN(places); i++) {
        vr_autofree char *from = vr_printf("%s/%s", dir, places[i]);
        vr_autofree char *to = vr_printf("/etc/%s", places[i]);
        if (mount(from, to, NULL, MS_BIND, NULL))
            return -1;
    }
    return 0;
}

static int tear_down(void **s)
{
    vr_autofree char *cmd = vr_printf("rm -rf %s", dir);
    umount("/etc/pam.d");
    umount("/etc/shadow");
    umount("/etc/group");
    umount("/etc/passwd");
    return shell(cmd);
}

static enum vr_kind ask(const char *user, const char *password, char msg[512])
{
    struct vr_err e = VR_ERR_INIT;
    int rc = wsm_pam_check("vmreplica", user, password, "192.0.2.7", &e);
    assert_int_equal(rc, e.kind == VR_OK ? 0 : -1);
    if (msg)
        memcpy(msg, e.msg, sizeof e.msg);
    return e.kind;
}

static void test_the_right_password_is_taken(void **s)
{
    char why[512];
    if (ask("alice", "right one", why) != VR_OK)
        fail_msg("%s", why);
}

static void test_wrong_ones_tell_nothing(void **s)
{
    char wrong[512], unknown[512], locked[512];
    assert_int_equal(ask("alice", "wrong one", wrong), VR_E_AUTH);
    assert_int_equal(ask("nobody-at-all", "right one", unknown), VR_E_AUTH);
    assert_int_equal(ask("carol", "right one", locked), VR_E_AUTH);
    assert_string_equal(wrong, unknown);
    assert_string_equal(wrong, locked);
    assert_int_equal(ask("alice", "", NULL), VR_E_AUTH);
    assert_int_equal(ask("al\nice", "right one", NULL), VR_E_AUTH);
    assert_int_equal(ask("", "right one", NULL), VR_E_AUTH);
}

static void test_a_closed_account_is_refused(void **s)
{
    char why[512];
    assert_int_equal(ask("bob", "right one", why), VR_E_DENIED);
    assert_non_null(strstr(why, "bob"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_right_password_is_taken),
        cmocka_unit_test(test_wrong_ones_tell_nothing),
        cmocka_unit_test(test_a_closed_account_is_refused),
    };
    source = argc > 1 ? argv[1] : ".";
    if (geteuid()) {
        puts("users of one's own need root");
        return 77;
    }
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
