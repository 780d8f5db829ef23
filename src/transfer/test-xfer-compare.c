/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Transfers that compare instead of trusting a change map: what differs arrives, what is known is
 * not read, and what is wrong below is sent again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/proc.h"
#include "transfer/digestlog.h"
#include "transfer/xfer.h"
#include "test-stream.h"
#include "test-xfer-kit.h"

static bool holds(const struct server *s, const struct disksum *want)
{
    struct disksum is;
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(disksum_read(s->sock, "", NULL, &is, &e), 0);
    return is.half[0] == want->half[0] && is.half[1] == want->half[1];
}

/* The checksum is of the content, however it is stored, and wherever it changes. */
static void checksum_is_of_the_content(const char *q, const struct disksum *sum)
{
    qemu_io(q, "write -P 0 1M 64k");
    struct server s = serve(q, "qcow2", NULL);
    assert_true(holds(&s, sum));
    unserve(&s);
    qemu_io(q, "write -P 1 33M 512");
    s = serve(q, "qcow2", NULL);
    assert_false(holds(&s, sum));
    unserve(&s);
}

static void comparing_ships_what_differs(void **state)
{
    (void)state;
    const uint64_t size = 33 * 1048576 + 1024;
    vr_autofree char *raw = make_raw("src.raw", size);
    vr_autofree char *q = to_qcow2(raw, "src.qcow2");
    vr_autofree char *base = make_qcow2("base.qcow2", size, NULL);
    vr_autofree char *base_dig = file("base.dig");
    vr_autofree char *mid_dig = file("mid.dig");
    vr_autofree char *top_dig = file("top.dig");
    unlink(base_dig);
    unlink(mid_dig);
    unlink(top_dig);
    struct server s = serve(q, "qcow2", NULL);
    struct xfer_send_disk sd = from(&s, size, XFER_ALL, NULL);
    struct xfer_recv_disk rd = base_disk(base, base_dig, size);
    struct transfer first = transfer_new();
    transfer_run(&first, &sd, &rd, 1);
    assert_done(&first);
    unserve(&s);

    /* One layer by extents, then tracking is lost and a third one by comparison. */
    vr_autofree char *mid = make_qcow2("mid.qcow2", size, base);
    qemu_io(q, "write -P 0x61 1M 256k");
    struct extents extra = { .v = NULL };
    extents_add(&extra, 1 << 20, 256 << 10);
    s = serve(q, "qcow2", NULL);
    sd = from(&s, size, XFER_EXTENTS, NULL);
    sd.extra = &extra;
    rd = layer_disk(mid, mid_dig, size, NULL, 0);
    struct transfer second = transfer_new();
    transfer_run(&second, &sd, &rd, 1);
    assert_done(&second);
    extents_done(&extra);
    unserve(&s);

    vr_autofree char *top = make_qcow2("top.qcow2", size, mid);
    qemu_io(q, "write -P 0x62 3M 128k");
    qemu_io(q, "discard 1M 64k");
    const char *parents[] = { mid_dig, base_dig };
    s = serve(q, "qcow2", NULL);
    sd = from(&s, size, XFER_COMPARE, NULL);
    rd = layer_disk(top, top_dig, size, parents, 2);
    struct transfer third = transfer_new();
    transfer_run(&third, &sd, &rd, 1);
    assert_done(&third);
    assert_true(holds(&s, &third.sums[0]));
    unserve(&s);
    assert_same(q, "qcow2", top, "qcow2");
    assert_true(third.sent < 160 * 1024); /* 128 KiB of data, perhaps not compressed */
    assert_int_equal(atomic_load(&third.sp.payload) + atomic_load(&third.sp.zero), 192 << 10);

    /* Nothing known but what the stage has: unknown blocks are sent, zeros as records. */
    vr_autofree char *other = make_qcow2("other.qcow2", size, mid);
    vr_autofree char *other_dig = file("other.dig");
    unlink(other_dig);
    s = serve(q, "qcow2", NULL);
    sd.socket = s.sock;
    rd = layer_disk(other, other_dig, size, NULL, 0);
    struct transfer blind = transfer_new();
    transfer_run(&blind, &sd, &rd, 1);
    assert_done(&blind);
    assert_true(holds(&s, &blind.sums[0]));
    unserve(&s);
    assert_same(q, "qcow2", other, "qcow2");
    assert_int_equal(atomic_load(&blind.sp.skipped), 0);
    checksum_is_of_the_content(q, &third.sums[0]);
}

/* A digest table of a whole raw file: what an index of a disk makes. */
static void index_raw(const char *raw, const char *table, uint64_t size)
{
    struct digestlog *d = NULL;
    struct vr_err e = VR_ERR_INIT;
    unlink(table);
    assert_int_equal(digestlog_open(table, size, true, &d, &e), 0);
    int fd = open(raw, O_RDONLY | O_CLOEXEC);
    uint8_t *buf = malloc(BS);
    for (uint64_t b = 0; b * BS < size; b++) {
        size_t len = size - b * BS < BS ? (size_t)(size - b * BS) : BS;
        assert_int_equal(pread(fd, buf, len, (off_t)(b * BS)), len);
        struct digest_record r = { .block = b, .digest = vr_digest_block(buf, len) };
        struct vr_digest zero = vr_digest_zero(len);
        if (memcmp(&zero, &r.digest, sizeof zero) != 0)
            assert_int_equal(digestlog_set(d, &r, 1, &e), 0);
    }
    assert_int_equal(digestlog_sync(d, &e), 0);
    free(buf);
    close(fd);
    digestlog_free(d);
}

/* Bytes that a process has read from anywhere, by the kernel's count. */
static uint64_t bytes_read_by(pid_t pid)
{
    vr_autofree char *path = vr_printf("/proc/%d/io", (int)pid);
    unsigned long long n = 0;
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "rchar: %llu", &n), 1);
    fclose(f);
    return n;
}

/* Both hosts went on from a common base: the sender knows its digests and what it wrote above them,
 * the receiver has read its own disk. The sender reads what it wrote and what differs, nothing
 * else. */
static void what_is_known_is_not_read(void **state)
{
    (void)state;
    const uint64_t size = 48 * 1048576 + 1024;
    vr_autofree char *raw = make_raw("common.raw", size);
    vr_autofree char *base = to_qcow2(raw, "base.qcow2");
    vr_autofree char *base_dig = file("base.dig"), *their_dig = file("theirs.dig");
    vr_autofree char *table = file("layer.dig");
    index_raw(raw, base_dig, size);
    vr_autofree char *q = make_qcow2("ours.qcow2", size, base);
    qemu_io(q, "write -P 0x71 5M 192k"); /* F */
    qemu_io(q, "write -z 9M 64k");
    qemu_io_as("raw", raw, "write -P 0x72 5120k 64k"); /* D: partly in F, */
    qemu_io_as("raw", raw, "write -P 0x73 20M 128k");  /* beyond it */
    qemu_io_as("raw", raw, "write -z 33M 64k");
    index_raw(raw, their_dig, size);
    vr_autofree char *theirs = to_qcow2(raw, "theirs.qcow2");
    struct extents f = { .v = NULL };
    extents_add(&f, 5 << 20, 192 << 10);
    extents_add(&f, 9 << 20, 64 << 10);
    const char *tables[] = { base_dig }, *parents[] = { their_dig };
    struct xfer_own own = { .digests = tables, .n_digests = 1, .complete = true };
    for (int whole = 0; whole < 2; whole++) {
        vr_autofree char *top = make_qcow2("top.qcow2", size, theirs);
        unlink(table);
        struct server s = serve(q, "qcow2", NULL);
        uint64_t before = bytes_read_by(s.pid);
        struct xfer_send_disk sd = from(&s, size, XFER_COMPARE, NULL);
        sd.extra = &f;
        sd.own = &own;
        own.complete = !whole; /* blocks without a digest are zeros, or nothing is known of them */
        struct xfer_recv_disk rd = layer_disk(top, table, size, parents, 1);
        struct transfer t = transfer_new();
        transfer_run(&t, &sd, &rd, 1);
        assert_done(&t);
        uint64_t read = bytes_read_by(s.pid) - before;
        unserve(&s);
        assert_same(q, "qcow2", top, "qcow2");
        uint64_t differ = (192 + 64 + 128 + 64) << 10;
        assert_true(atomic_load(&t.sp.payload) + atomic_load(&t.sp.zero) <= differ);
        if (!whole) {
            assert_true(atomic_load(&t.sp.total) <= differ);
            assert_true(read < differ + (1 << 20)); /* of about 36 MiB, besides its tables */
        }
    }
    extents_done(&f);
}

/* Below the layer some bytes changed behind everybody's back; the receiver knows where, and gets
 * them again although no bitmap names them and the digests say that they are equal. */
static void what_is_wrong_below_is_sent_again(void **state)
{
    (void)state;
    const uint64_t size = 8 * 1048576;
    vr_autofree char *raw = make_raw("src.raw", size);
    vr_autofree char *q = to_qcow2(raw, "src.qcow2");
    qemu_io(q, "write -P 0x61 1M 64k");
    qemu_io(q, "write -z 2M 64k");
    vr_autofree char *base = make_qcow2("base.qcow2", size, NULL);
    vr_autofree char *base_dig = file("base.dig"), *table = file("layer.dig");
    unlink(base_dig);
    RUN("qemu-img", "bitmap", "--add", "-f", "qcow2", q, "b0");
    struct server s = serve(q, "qcow2", "b0");
    struct xfer_send_disk sd = from(&s, size, XFER_ALL, NULL);
    struct xfer_recv_disk rd = base_disk(base, base_dig, size);
    struct transfer first = transfer_new();
    transfer_run(&first, &sd, &rd, 1);
    assert_done(&first);
    qemu_io(base, "write -P 0x62 1M 64k");
    qemu_io(base, "write -P 0x63 2M 64k");

    struct extents wanted = { .v = NULL };
    extents_add(&wanted, 1 << 20, 64 << 10);
    extents_add(&wanted, 2 << 20, 64 << 10);
    const char *parents[] = { base_dig };
    enum xfer_mode modes[] = { XFER_DIRTY, XFER_COMPARE };
    for (size_t i = 0; i < VR_ARRAY_LEN(modes); i++) {
        vr_autofree char *layer = make_qcow2("layer.qcow2", size, base);
        unlink(table);
        sd = from(&s, size, modes[i], modes[i] == XFER_DIRTY ? "qemu:dirty-bitmap:b0" : NULL);
        rd = layer_disk(layer, table, size, parents, 1);
        rd.wanted = &wanted;
        struct transfer t = transfer_new();
        transfer_run(&t, &sd, &rd, 1);
        assert_done(&t);
        assert_same(q, "qcow2", layer, "qcow2");
        assert_int_equal(atomic_load(&t.sp.payload) + atomic_load(&t.sp.zero), 128 << 10);
        unlink(layer);
    }
    extents_done(&wanted);
    unserve(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comparing_ships_what_differs),
        cmocka_unit_test(what_is_known_is_not_read),
        cmocka_unit_test(what_is_wrong_below_is_sent_again),
    };
    return cmocka_run_group_tests(tests, setup, cleanup);
}
