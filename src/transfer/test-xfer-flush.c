/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A flush of the receiver's disk or table that fails; and what the receiver must not leave out when
 * it tells what it has. Linux tells of lost writes once: the next fdatasync()
 * succeeds though the bytes are on no disk. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/proc.h"
#include "base/uuid.h"
#include "transfer/digestlog.h"
#include "transfer/test-stream.h"
#include "transfer/xfer.h"

#include "transfer/test-xfer-kit.h"

/* The linker lets rawio.c call this one (--wrap=fdatasync). */
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
static const char *fails_once; /* the next flush of this file fails */
static int failed;

int __wrap_fdatasync(int fd)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n < 0 ? 0 : n] = 0;
    if (!fails_once || strcmp(path, fails_once) != 0)
        return __real_fdatasync(fd);
    fails_once = NULL;
    failed++;
    errno = EIO;
    return -1;
}

static void what_a_failed_flush_covered_is_not_held(void **state)
{
    (void)state;
    const uint64_t size = 8 * 1048576;
    vr_autofree char *raw = make_raw("src.raw", size);
    vr_autofree char *dst = make_fresh("dst.img", size);
    vr_autofree char *table = file("dst.dig");
    struct server s = serve(raw, "raw", NULL);
    struct xfer_send_disk sd = from(&s, size, XFER_ALL, NULL);
    struct xfer_recv_disk rd = fresh_disk(dst, table, size);
    struct transfer t = transfer_new(), more = transfer_new();
    fails_once = dst;
    transfer_run(&t, &sd, &rd, 1);
    assert_int_equal(failed, 1);
    assert_int_equal(t.rrc, -1);
    assert_int_equal(assert_table_true(table, raw, size), 0);
    /* What the disk lost: the next try has to bring all of it. */
    assert_int_equal(truncate(dst, 0), 0);
    assert_int_equal(truncate(dst, (off_t)size), 0);
    transfer_run(&more, &sd, &rd, 1);
    assert_done(&more);
    unserve(&s);
    assert_same(raw, "raw", dst, fresh_format());
}

/* Slots are taken back before their blocks are written over. When that cannot be made durable the
 * blocks keep what they have, so the slots have to stay: what the kernel still shows of the table
 * is taken for what lies on the disk by the next try, which would write without taking them back.
 */
static void slots_that_cannot_be_taken_back_stay(void **state)
{
    (void)state;
    const uint64_t size = 8 * 1048576;
    vr_autofree char *raw = make_raw("src.raw", size);
    vr_autofree char *dst = make_fresh("dst.img", size);
    vr_autofree char *table = file("dst.dig");
    unlink(table);
    struct server s = serve(raw, "raw", NULL);
    struct xfer_send_disk sd = from(&s, size, XFER_ALL, NULL);
    struct xfer_recv_disk rd = fresh_disk(dst, table, size);
    struct transfer t = transfer_new(), again = transfer_new(), more = transfer_new();
    transfer_run(&t, &sd, &rd, 1);
    assert_done(&t);
    unserve(&s);
    vr_autofree char *old = file("old.raw");
    RUN("cp", raw, old);
    uint64_t n = assert_table_true(table, old, size);
    qemu_io_as("raw", raw, "write -P 0x61 1M 128k");
    qemu_io_as("raw", raw, "write -P 0x62 5M 64k");
    s = serve(raw, "raw", NULL);
    sd.socket = s.sock;
    failed = 0;
    fails_once = table;
    transfer_run(&again, &sd, &rd, 1);
    assert_int_equal(failed, 1);
    assert_int_equal(again.rrc, -1);
    assert_true(assert_table_true(table, old, size) >= n); /* all are there, and true */
    transfer_run(&more, &sd, &rd, 1);
    assert_done(&more);
    unserve(&s);
    assert_same(raw, "raw", dst, fresh_format());
    assert_table_true(table, raw, size);
}

/* The disk grew: of its short last block of then the table below tells nothing any more. The block
 * is not zeros for that. */
static void a_block_that_grew_is_not_taken_for_zeros(void **state)
{
    (void)state;
    const uint64_t size = 1048576 + 4096, grown = 2 * 1048576;
    vr_autofree char *raw = make_raw("src.raw", size);
    vr_autofree char *base = make_qcow2("base.qcow2", size, NULL);
    vr_autofree char *base_dig = file("base.dig"), *top_dig = file("top.dig");
    unlink(base_dig);
    unlink(top_dig);
    qemu_io_as("raw", raw, "write -P 0x61 1M 4k");
    struct server s = serve(raw, "raw", NULL);
    struct xfer_send_disk sd = from(&s, size, XFER_ALL, NULL);
    struct xfer_recv_disk rd = base_disk(base, base_dig, size);
    struct transfer t = transfer_new(), more = transfer_new();
    transfer_run(&t, &sd, &rd, 1);
    assert_done(&t);
    unserve(&s);
    assert_int_equal(truncate(raw, (off_t)(size - 4096)), 0); /* zeros there now */
    assert_int_equal(truncate(raw, (off_t)grown), 0);
    vr_autofree char *top = make_qcow2("top.qcow2", grown, base);
    const char *parents[] = { base_dig };
    s = serve(raw, "raw", NULL);
    sd = from(&s, grown, XFER_COMPARE, NULL);
    rd = layer_disk(top, top_dig, grown, parents, 1);
    transfer_run(&more, &sd, &rd, 1);
    assert_done(&more);
    unserve(&s);
    assert_same(raw, "raw", top, "qcow2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_failed_flush_covered_is_not_held),
        cmocka_unit_test(slots_that_cannot_be_taken_back_stay),
        cmocka_unit_test(a_block_that_grew_is_not_taken_for_zeros),
    };
    return cmocka_run_group_tests(tests, setup, cleanup);
}
