/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When a machine's disks were last written, by what files and the hypervisor tell. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/lastwrite.h"
#include "daemon/written.h"

enum { SECOND = 1000000 };

static char first[] = "/tmp/vmreplica-written-XXXXXX", second[] = "/tmp/vmreplica-written-XXXXXX";

static void touch(const char *path, int64_t seconds)
{
    const struct timespec t[2] = { { .tv_sec = seconds }, { .tv_sec = seconds } };
    assert_int_equal(utimensat(AT_FDCWD, path, t, 0), 0);
}

static void make(char *path, int64_t seconds)
{
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    touch(path, seconds);
}

static int64_t at(char *const *path, size_t n, int64_t stopped, int64_t now)
{
    return disks_written(path, n, (struct wall_us){ stopped * SECOND },
                         (struct wall_us){ now * SECOND })
               .us /
           SECOND;
}

static void test_when(void **state)
{
    (void)state;
    char none[] = "/nonexistent/vda", null[] = "/dev/null";
    char *both[] = { first, second }, *gone[] = { first, none }, *device[] = { first, null };
    make(first, 1000);
    make(second, 2000);
    assert_int_equal(at(both, 2, 0, 9000), 2000);    /* the newest */
    assert_int_equal(at(both, 1, 0, 9000), 1000);    /* of those that are asked for */
    assert_int_equal(at(both, 2, 1500, 9000), 1500); /* not by the machine any more */
    assert_int_equal(at(both, 2, 2500, 9000), 2000); /* it ran on and wrote nothing */
    assert_int_equal(at(both, 2, 0, 1700), 1700);    /* a clock was put back */
    assert_int_equal(at(gone, 2, 0, 9000), 0);
    assert_int_equal(at(device, 2, 0, 9000), 0);
    assert_int_equal(at(device, 2, 1500, 9000), 1500);
}

/* Our own changes do not count, what others write after them does. */
static void test_our_own_changes(void **state)
{
    (void)state;
    char *one[] = { first };
    int64_t was = lastwrite_get(first);
    touch(first, 3000);
    lastwrite_keep(first, was);
    if (getxattr(first, "user.vmreplica.written", NULL, 0) <= 0)
        skip(); /* the file system keeps none */
    assert_int_equal(at(one, 1, 0, 9000), 1000);
    was = lastwrite_get(first);
    touch(first, 4000);
    lastwrite_keep(first, was);
    assert_int_equal(at(one, 1, 0, 9000), 1000);
    touch(first, 5000);
    assert_int_equal(at(one, 1, 0, 9000), 5000);
}

static int unlink_all(void **state)
{
    (void)state;
    unlink(first);
    unlink(second);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_when),
                                        cmocka_unit_test(test_our_own_changes) };
    return cmocka_run_group_tests(tests, NULL, unlink_all);
}
