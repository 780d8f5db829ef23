/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Unit tests of base/: errors, buffers, codec, uuid, mailbox, executor, processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "base/codec.h"
#include "base/exec.h"
#include "base/mailbox.h"
#include "base/proc.h"
#include "base/uuid.h"

static void test_err_wraps_outermost_first(void **s)
{
    (void)s;
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(vr_fail(&e, VR_E_NOSPACE, ENOSPC, "write %s", "vda"), -1);
    vr_err_wrap(&e, "machine %s", "web01");
    assert_string_equal(e.msg, "machine web01: write vda: No space left on device");
    struct vr_err net = VR_ERR_INIT;
    vr_fail(&net, VR_E_PEER, 0, "b port 8443: no route");
    vr_err_wrap(&net, "b port 8443");
    vr_err_wrap(&net, "pairing with b port 8443");
    assert_string_equal(net.msg, "pairing with b port 8443: no route");
    vr_err_clear(&net);
    vr_fail(&net, VR_E_PEER, 0, "vda: gone");
    vr_err_wrap(&net, "hvda"); /* another name that only ends so */
    assert_string_equal(net.msg, "hvda: vda: gone");
    static const struct {
        const char *msg, *context, *want;
    } once[] = {
        { "host b already has it", "host b", "host b already has it" },
        { "host b already has it", "b", "host b already has it" },
        { "host b, port 5, is full", "host b", "host b, port 5, is full" },
        { "host bb already has it", "host b", "host b: host bb already has it" },
        { "b: no route", "host b", "host b: no route" },
        { "no route", "host b", "host b: no route" },
    };
    for (size_t i = 0; i < VR_ARRAY_LEN(once); i++) {
        vr_err_clear(&net);
        vr_fail(&net, VR_E_PEER, 0, "%s", once[i].msg);
        vr_err_wrap(&net, "%s", once[i].context);
        assert_string_equal(net.msg, once[i].want);
    }
    assert_int_equal(vr_kind_code(VR_E_STATE), 32775);
    assert_int_equal(vr_kind_scope(e.kind), VR_SCOPE_XFER);
    assert_int_equal(vr_kind_from_name("NOSPACE"), VR_E_NOSPACE);
}

static void test_buf_refuses_more_than_its_maximum(void **s)
{
    (void)s;
    vr_autobuf struct vr_buf b = { .max = 8 };
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(vr_buf_add(&b, "12345678", 8, &e), 0);
    assert_int_equal(vr_buf_add(&b, "9", 1, &e), -1);
    assert_int_equal(e.kind, VR_E_LIMIT);
    assert_string_equal((char *)b.data, "12345678");
}

static void test_base64(void **s)
{
    (void)s;
    static const char *const pairs[][2] = {
        /* src:[RFC 4648 section 10] */
        { "", "" },        { "f", "Zg==" },        { "fo", "Zm8=" },
        { "foo", "Zm9v" }, { "foob", "Zm9vYg==" }, { "foobar", "Zm9vYmFy" }
    };
    for (size_t i = 0; i < VR_ARRAY_LEN(pairs); i++) {
        vr_autobuf struct vr_buf b = VR_BUF_INIT;
        vr_autofree char *text = vr_base64(pairs[i][0], strlen(pairs[i][0]));
        assert_string_equal(text, pairs[i][1]);
        assert_int_equal(vr_base64_decode(text, &b, NULL), 0);
        assert_int_equal(b.len, strlen(pairs[i][0]));
        assert_memory_equal(b.len ? (char *)b.data : "", pairs[i][0], b.len);
    }
    static const char *const bad[] = { "Zg==Zg", "Z g=", "Zg-_", "\xff" };
    for (size_t i = 0; i < VR_ARRAY_LEN(bad); i++) {
        vr_autobuf struct vr_buf b = VR_BUF_INIT;
        assert_int_equal(vr_base64_decode(bad[i], &b, NULL), -1);
    }
    vr_autobuf struct vr_buf small = { .max = 2 };
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(vr_base64_decode("Zm9v", &small, &e), -1);
    assert_int_equal(e.kind, VR_E_LIMIT);
}

static void test_codec_round_trip_and_truncation(void **s)
{
    (void)s;
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(vr_put_u16(&b, 0x1234, &e), 0);
    assert_int_equal(vr_put_u64(&b, 0x1122334455667788, &e), 0);
    assert_int_equal(vr_put_str(&b, "disk", &e), 0);
    struct vr_rd r = { b.data, b.len };
    uint16_t a;
    uint64_t c;
    vr_autofree char *str = NULL;
    assert_int_equal(vr_get_u16(&r, &a, &e), 0);
    assert_int_equal(vr_get_u64(&r, &c, &e), 0);
    assert_int_equal(vr_get_str(&r, 4, &str, &e), 0);
    assert_int_equal(vr_get_end(&r, &e), 0);
    assert_int_equal(a, 0x1234);
    assert_true(c == 0x1122334455667788);
    assert_string_equal(str, "disk");
    struct vr_rd cut = { b.data + 10, 7 };
    char *none = NULL;
    assert_int_equal(vr_get_str(&cut, 100, &none, &e), -1);
    assert_int_equal(e.kind, VR_E_PROTO);
    assert_null(none);
}

static void test_uuid_text(void **s)
{
    (void)s;
    struct vr_uuid u = vr_uuid_new(), v;
    char lo[VR_UUID_STR], up[VR_UUID_STR];
    assert_int_equal(vr_uuid_parse(vr_uuid_fmt_upper(&u, up), &v, NULL), 0);
    assert_true(vr_uuid_eq(&u, &v));
    assert_int_equal(strcasecmp(vr_uuid_fmt(&u, lo), up), 0);
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(vr_uuid_parse("not-a-uuid", &v, &e), -1);
    assert_int_equal(vr_uuid_parse("zz345678-1234-1234-1234-123456789012", &v, NULL), -1);
}

static void add_one(void *arg)
{
    (*(int *)arg)++;
}

struct relay {
    struct vr_mailbox *m;
    int *n;
};

static void post_back(void *arg)
{
    struct relay *r = arg;
    vr_mailbox_post(r->m, add_one, r->n);
}

static void test_executor_and_mailbox(void **s)
{
    (void)s;
    struct vr_mailbox *m = vr_mailbox_new();
    struct vr_exec *x = vr_exec_new("test", 2);
    int n = 0, called = 0;
    struct relay r = { m, &n };
    for (int i = 0; i < 100; i++)
        vr_exec_post(x, post_back, &r);
    vr_exec_call(x, add_one, &called);
    assert_int_equal(called, 1);
    while (n < 100) {
        struct pollfd p = { .fd = vr_mailbox_fd(m), .events = POLLIN };
        assert_int_equal(poll(&p, 1, 60000), 1);
        vr_mailbox_run(m);
    }
    assert_int_equal(n, 100);
    vr_exec_free(x);
    vr_mailbox_free(m);
}

/* What serves an open point goes on when the daemon ends, also when it is stopped at that moment.
 */
static void test_proc_outlives_who_started_it(void **s)
{
    (void)s;
    int told[2], status;
    pid_t pid = 0;
    assert_int_equal(pipe(told), 0);
    pid_t starter = fork();
    if (starter == 0) {
        static const char *const argv[] = { "sleep", "600", NULL };
        struct vr_err e = VR_ERR_INIT;
        setpgid(0, 0);
        if (vr_proc_spawn(argv, -1, &pid, &e) < 0 || kill(pid, SIGSTOP) < 0 ||
            waitpid(pid, &status, WUNTRACED) != pid ||
            write(told[1], &pid, sizeof pid) != (ssize_t)sizeof pid)
            _exit(1);
        _exit(0);
    }
    assert_true(starter > 0);
    assert_int_equal(waitpid(starter, &status, 0), starter);
    assert_int_equal(status, 0);
    assert_int_equal(read(told[0], &pid, sizeof pid), sizeof pid);
    /* Whoever hangs up does that before the starter is reaped; one that is still stopped got
     * nothing. */
    char path[64], line[256] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    fclose(f);
    kill(pid, SIGKILL);
    assert_non_null(strstr(line, "(sleep) T "));
    close(told[0]);
    close(told[1]);
}

static void test_proc_reports_last_words(void **s)
{
    (void)s;
    vr_autobuf struct vr_buf out = VR_BUF_INIT;
    struct vr_err e = VR_ERR_INIT;
    const char *ok[] = { "sh", "-c", "echo hello", NULL };
    assert_int_equal(vr_proc_run(ok, 60, &out, &e), 0);
    assert_string_equal((char *)out.data, "hello\n");
    const char *bad[] = { "sh", "-c", "echo 'No space left on device' >&2; exit 3", NULL };
    assert_int_equal(vr_proc_run(bad, 60, NULL, &e), -1);
    assert_int_equal(e.kind, VR_E_NOSPACE);
    assert_non_null(strstr(e.msg, "status 3"));
    vr_err_clear(&e);
    const char *none[] = { "vr-no-such-program", NULL };
    assert_int_equal(vr_proc_run(none, 60, NULL, &e), -1);
    assert_int_equal(e.kind, VR_E_NOFILE);
    vr_err_clear(&e);
    const char *slow[] = { "sleep", "600", NULL };
    assert_int_equal(vr_proc_run(slow, 1, NULL, &e), -1);
    assert_int_equal(e.kind, VR_E_TIMEOUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_err_wraps_outermost_first),
        cmocka_unit_test(test_buf_refuses_more_than_its_maximum),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_codec_round_trip_and_truncation),
        cmocka_unit_test(test_uuid_text),
        cmocka_unit_test(test_executor_and_mailbox),
        cmocka_unit_test(test_proc_reports_last_words),
        cmocka_unit_test(test_proc_outlives_who_started_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
