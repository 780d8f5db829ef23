/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whole transfers between real qemu-nbd processes over a socket pair: what arrives is compared byte
 * by byte with what was to be sent. Comparisons are in test-xfer-compare.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/proc.h"
#include "transfer/digestlog.h"
#include "transfer/imagelock.h"
#include "transfer/xfer.h"
#include "test-stream.h"
#include "test-xfer-kit.h"
#include "transfer/nbd_libnbd.h"

static void full_copy_is_equal(void **state)
{
    (void)state;
    const uint64_t size = 37 * 1048576 + 5 * 512; /* an odd size */
    vr_autofree char *raw = make_raw("src.raw", size);
    vr_autofree char *q = to_qcow2(raw, "src.qcow2");
    vr_autofree char *dst = make_fresh("dst.img", size);
    vr_autofree char *table = file("dst.dig");
    unlink(table);
    struct server s = serve(q, "qcow2", NULL);
    struct xfer_send_disk sd = from(&s, size, XFER_ALL, NULL);
    struct xfer_recv_disk rd = fresh_disk(dst, table, size);
    struct transfer t = transfer_new();
    transfer_run(&t, &sd, &rd, 1);
    assert_done(&t);
    unserve(&s);
    assert_same(raw, "raw", dst, fresh_format());
    assert_true(assert_table_true(table, raw, size) > 0);
    assert_int_equal(atomic_load(&t.sp.done), atomic_load(&t.sp.total));
    /* Compressible blocks and zeros do not travel as they are. */
    assert_true(t.sent < size * 2 / 3);
    assert_int_equal(t.sent, atomic_load(&t.sp.wire) + 8 + 8 + 4 + 3 + 12);

    /* The same again: everything is known, next to nothing is sent. */
    s = serve(q, "qcow2", NULL);
    sd.socket = s.sock;
    struct transfer again = transfer_new();
    transfer_run(&again, &sd, &rd, 1);
    assert_done(&again);
    unserve(&s);
    assert_true(again.sent < 4096);
    assert_same(raw, "raw", dst, fresh_format());
}

/* A source with a bitmap, changed in places: writes, zeros, discards. */
static void change(const char *q)
{
    char cmd[128];
    for (int i = 0; i < 12; i++) {
        unsigned int at = (unsigned int)rand_r(&seed) % 500;
        const char *what[] = { "write -P 0x5a", "write -z", "write -z -u", "discard" };
        snprintf(cmd, sizeof cmd, "%s %uk %uk", what[i % 4], at * 64 + (i % 4 ? 0 : 4),
                 64 * (1 + (unsigned int)rand_r(&seed) % 5));
        qemu_io(q, cmd);
    }
}

static void only_what_is_dirty_travels(void **state)
{
    (void)state;
    const uint64_t size = 40 * 1048576;
    vr_autofree char *raw = make_raw("src.raw", size);
    vr_autofree char *q = to_qcow2(raw, "src.qcow2");
    vr_autofree char *base = to_qcow2(raw, "base.qcow2");
    vr_autofree char *dst = make_qcow2("layer.qcow2", size, base);
    vr_autofree char *table = file("layer.dig");
    unlink(table);
    RUN("qemu-img", "bitmap", "--add", "-f", "qcow2", q, "b0");
    change(q);
    struct server s = serve(q, "qcow2", "b0");
    struct xfer_send_disk sd = from(&s, size, XFER_DIRTY, "qemu:dirty-bitmap:b0");
    struct xfer_recv_disk rd = layer_disk(dst, table, size, NULL, 0);
    struct transfer t = transfer_new();
    transfer_run(&t, &sd, &rd, 1);
    assert_done(&t);
    assert_same(q, "qcow2", dst, "qcow2");
    assert_true(atomic_load(&t.sp.total) < 8 * 1048576);
    assert_true(atomic_load(&t.sp.zero) > 0);
    /* Below, nothing changed. */
    assert_same(raw, "raw", base, "qcow2");

    /* A context that is not there is told apart from other trouble. */
    sd.dirty_context = "qemu:dirty-bitmap:other";
    struct transfer no = transfer_new();
    transfer_run(&no, &sd, &rd, 1);
    assert_int_equal(no.src, -1);
    assert_int_equal(no.se.kind, VR_E_TRACKING);
    assert_int_equal(no.re.kind, VR_E_TRACKING);
    unserve(&s);
}

static void a_layer_of_another_try_gets_todays_content(void **state)
{
    (void)state;
    const uint64_t size = 32 * 1048576 + 4096;
    vr_autofree char *raw = make_raw("src.raw", size);
    vr_autofree char *q = to_qcow2(raw, "src.qcow2");
    vr_autofree char *base = to_qcow2(raw, "base.qcow2");
    vr_autofree char *dst = make_qcow2("layer.qcow2", size, base);
    vr_autofree char *table = file("layer.dig");
    unlink(table);
    /* First try: blocks 3 and 4 are dirty and arrive; block 9 was written in the layer, and the
     * crash came before its digest. Then tracking was reset and the blocks changed back. */
    qemu_io(q, "write -P 0x11 192k 128k");
    struct xfer_recv_disk rd = layer_disk(dst, table, size, NULL, 0);
    struct extents extra = { .v = NULL };
    extents_add(&extra, 3 * BS, 2 * BS);
    struct server s = serve(q, "qcow2", NULL);
    struct xfer_send_disk sd = from(&s, size, XFER_EXTENTS, NULL);
    sd.extra = &extra;
    struct transfer t = transfer_new();
    transfer_run(&t, &sd, &rd, 1);
    assert_done(&t);
    assert_int_equal(atomic_load(&t.sp.total), 2 * BS);
    unserve(&s);
    extents_done(&extra);
    qemu_io(dst, "write -P 0x77 576k 64k");

    qemu_io(q, "write -P 0x22 192k 64k");
    qemu_io(q, "write -z 256k 64k");
    RUN("qemu-img", "bitmap", "--add", "-f", "qcow2", q, "b1");
    qemu_io(q, "write -P 0x33 1280k 64k");
    s = serve(q, "qcow2", "b1");
    sd = from(&s, size, XFER_DIRTY, "qemu:dirty-bitmap:b1");
    struct transfer again = transfer_new();
    transfer_run(&again, &sd, &rd, 1);
    assert_done(&again);
    assert_int_equal(atomic_load(&again.sp.total), 4 * BS);
    unserve(&s);
    assert_same(q, "qcow2", dst, "qcow2");
}

static void zeros_reach_a_fresh_layer_that_is_not_clean(void **state)
{
    (void)state;
    const uint64_t size = 8 * 1048576;
    vr_autofree char *q = make_qcow2("src.qcow2", size, NULL);
    vr_autofree char *dst = make_fresh("dst.img", size);
    vr_autofree char *table = file("dst.dig");
    unlink(table);
    qemu_io(q, "write -P 0x41 0 1M");
    /* Remains of a try without digest, over what is a hole and over written zeros today. */
    qemu_io_as(fresh_format(), dst, "write -P 0x99 2M 192k");
    qemu_io_as(fresh_format(), dst, "write -P 0x99 512k 64k");
    qemu_io(q, "write -z 512k 64k");
    struct server s = serve(q, "qcow2", NULL);
    struct xfer_send_disk sd = from(&s, size, XFER_ALL, NULL);
    struct xfer_recv_disk rd = fresh_disk(dst, table, size);
    struct transfer t = transfer_new();
    transfer_run(&t, &sd, &rd, 1);
    assert_done(&t);
    assert_same(q, "qcow2", dst, fresh_format());
    unserve(&s);

    /* The guest discards what had arrived: a resumed copy of a later instant follows. */
    qemu_io(q, "discard 0 512k");
    s = serve(q, "qcow2", NULL);
    sd.socket = s.sock;
    struct transfer again = transfer_new();
    transfer_run(&again, &sd, &rd, 1);
    assert_done(&again);
    assert_same(q, "qcow2", dst, fresh_format());
    assert_int_equal(atomic_load(&again.sp.zero), 512 * 1024);
    unserve(&s);
}

static void a_cut_anywhere_is_resumed(void **state)
{
    (void)state;
    const uint64_t size = 48 * 1048576 + 512;
    vr_autofree char *raw = make_raw("src.raw", size);
    vr_autofree char *q = to_qcow2(raw, "src.qcow2");
    vr_autofree char *table = file("dst.dig");
    struct server s = serve(q, "qcow2", NULL);
    struct xfer_send_disk sd = from(&s, size, XFER_ALL, NULL);
    uint64_t whole = 0;
    for (int round = 0; round < 8; round++) {
        vr_autofree char *dst = make_fresh("dst.img", size);
        unlink(table);
        struct xfer_recv_disk rd = fresh_disk(dst, table, size);
        uint64_t before = 0;
        if (round > 0) {
            struct transfer cut = transfer_new();
            cut.cut_after = round == 1 ? 20 : (uint64_t)rand_r(&seed) % (whole / 4 * 3);
            transfer_run(&cut, &sd, &rd, 1);
            /* How much is compressed depends on what the link costs just now. */
            bool early = cut.sent < cut.cut_after;
            assert_int_equal(cut.src, early ? 0 : -1);
            assert_int_equal(cut.rrc, early ? 0 : -1);
            assert_int_equal(cut.se.kind, early ? VR_OK : VR_E_PEER);
            assert_int_equal(cut.re.kind, early ? VR_OK : VR_E_PEER);
            before = cut.sent;
            if (access(table, R_OK) == 0)
                assert_table_true(table, raw, size);
        }
        struct transfer t = transfer_new();
        transfer_run(&t, &sd, &rd, 1);
        assert_done(&t);
        assert_same(raw, "raw", dst, fresh_format());
        assert_table_true(table, raw, size);
        if (round == 0)
            whole = t.sent;
        /* What had arrived is saved; at most the pipelines' content was under way at the cut. */
        if (before > 2 << 20)
            assert_true(atomic_load(&t.sp.skipped) > 0);
    }
    unserve(&s);
}

static void a_damaged_byte_is_noticed(void **state)
{
    (void)state;
    const uint64_t size = 16 * 1048576;
    vr_autofree char *raw = make_raw("src.raw", size);
    vr_autofree char *table = file("dst.dig");
    struct server s = serve(raw, "raw", NULL);
    struct xfer_send_disk sd = from(&s, size, XFER_ALL, NULL);
    for (int round = 0; round < 6; round++) {
        vr_autofree char *dst = make_fresh("dst.img", size);
        unlink(table);
        struct xfer_recv_disk rd = fresh_disk(dst, table, size);
        struct transfer bad = transfer_new();
        bad.flip_at = 100 + (uint64_t)rand_r(&seed) % 1000000;
        transfer_run(&bad, &sd, &rd, 1);
        assert_true(bad.sent > bad.flip_at);
        assert_int_equal(bad.rrc, -1);
        assert_true(bad.re.kind == VR_E_CORRUPT || bad.re.kind == VR_E_PROTO);
        assert_int_equal(bad.src, -1);
        assert_true(bad.se.kind == VR_E_CORRUPT || bad.se.kind == VR_E_PROTO);
        assert_non_null(strstr(bad.se.msg, "the receiver says"));
        assert_table_true(table, raw, size);
        struct transfer t = transfer_new();
        transfer_run(&t, &sd, &rd, 1);
        assert_done(&t);
        assert_same(raw, "raw", dst, fresh_format());
    }
    unserve(&s);
}

static void a_full_replica_says_so_and_goes_on_later(void **state)
{
    (void)state;
    const uint64_t size = 48 * 1048576;
    vr_autofree char *raw = file("src.raw");
    int fd = open(raw, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    for (uint64_t b = 0; b * BS < size; b++)
        put_bytes(fd, b, BS, 1);
    close(fd);
    vr_autofree char *mnt = file("small");
    assert_int_equal(mkdir(mnt, 0700), 0);
    if (mount("vr-xfer-test", mnt, "tmpfs", 0, "size=24m") < 0) {
        rmdir(mnt);
        print_message("cannot mount a small file system: not root\n");
        skip();
    }
    vr_autofree char *dst = make_fresh("small/dst.img", size);
    vr_autofree char *table = file("dst.dig");
    unlink(table);
    struct server s = serve(raw, "raw", NULL);
    struct xfer_send_disk sd = from(&s, size, XFER_ALL, NULL);
    struct xfer_recv_disk rd = fresh_disk(dst, table, size);
    struct transfer t = transfer_new();
    transfer_run(&t, &sd, &rd, 1);
    assert_int_equal(t.rrc, -1);
    assert_int_equal(t.src, -1);
    assert_int_equal(t.re.kind, VR_E_NOSPACE);
    assert_int_equal(t.se.kind, VR_E_NOSPACE);
    assert_non_null(strstr(t.se.msg, "vda"));
    assert_int_equal(mount("vr-xfer-test", mnt, "tmpfs", MS_REMOUNT, "size=96m"), 0);
    assert_table_true(table, raw, size);
    struct transfer more = transfer_new();
    transfer_run(&more, &sd, &rd, 1);
    assert_done(&more);
    unserve(&s);
    assert_same(raw, "raw", dst, fresh_format());
    unlink(dst);
    assert_int_equal(umount(mnt), 0);
    rmdir(mnt);
}

struct later {
    struct transfer *t;
    pid_t kill;
    bool cancel;
};

/* Acts when the transfer has moved some data. */
static void *act_later(void *arg)
{
    struct later *l = arg;
    while (atomic_load(&l->t->sp.done) < 2 << 20)
        usleep(1000);
    if (l->kill > 0)
        kill(l->kill, SIGKILL);
    if (l->cancel)
        atomic_store(&l->t->sp.cancel, true);
    return NULL;
}

static void interrupted(bool cancel, enum vr_kind kind)
{
    const uint64_t size = 64 * 1048576;
    vr_autofree char *raw = make_raw("src.raw", size);
    vr_autofree char *dst = make_fresh("dst.img", size);
    vr_autofree char *table = file("dst.dig");
    unlink(table);
    struct server s = serve(raw, "raw", NULL);
    struct xfer_send_disk sd = from(&s, size, XFER_ALL, NULL);
    struct xfer_recv_disk rd = fresh_disk(dst, table, size);
    struct transfer t = transfer_new();
    t.send.bytes_per_second = 8 << 20; /* slow, so that it does not end before */
    struct later l = { .t = &t, .kill = cancel ? 0 : s.pid, .cancel = cancel };
    pthread_t th;
    pthread_create(&th, NULL, act_later, &l);
    transfer_run(&t, &sd, &rd, 1);
    pthread_join(th, NULL);
    assert_int_equal(t.src, -1);
    assert_int_equal(t.se.kind, kind);
    /* The receiver is told why. */
    assert_int_equal(t.rrc, -1);
    assert_int_equal(t.re.kind, kind);
    assert_non_null(strstr(t.re.msg, "the sender says"));
    assert_string_equal(t.re.where, "peer"); /* and that it is not its own trouble */
    if (!cancel) {
        unserve(&s);
        s = serve(raw, "raw", NULL);
        sd.socket = s.sock;
    }
    struct transfer again = transfer_new();
    transfer_run(&again, &sd, &rd, 1);
    assert_done(&again);
    assert_same(raw, "raw", dst, fresh_format());
    assert_true(atomic_load(&again.sp.skipped) > 0);
    unserve(&s);
}

static void cancelling_ends_both_sides(void **state)
{
    (void)state;
    interrupted(true, VR_E_CANCELLED);
}

static void a_source_that_dies_is_an_error(void **state)
{
    (void)state;
    interrupted(false, VR_E_IO);
}

/* What a daemon leaves that died before it connected to the server that it had started. */
static void a_server_left_by_a_dead_daemon_is_ended(void **state)
{
    (void)state;
    vr_autofree char *image = make_qcow2("left.qcow2", 1 << 20, NULL);
    vr_autofree char *sock = file("left.sock"), *line = NULL;
    line = vr_printf("qemu-nbd '" IMAGELOCK_MARK "' -t -f qcow2 -k '%s' '%s' >/dev/null 2>&1 &",
                     sock, image);
    RUN("sh", "-c", line);
    struct vnbd_config cfg = { .socket = sock, .export_name = "" };
    struct vnbd *n = NULL;
    struct vr_err e = VR_ERR_INIT;
    while (vnbd_open(&cfg, &n, &e) < 0) { /* it has the image when it answers */
        vr_err_clear(&e);
        usleep(10000);
    }
    vnbd_close(n);
    cfg = (struct vnbd_config){ .image = image, .writable = true };
    assert_int_equal(vnbd_open(&cfg, &n, &e), 0);
    vnbd_close(n);
}

static bool at_once(void *ctx)
{
    (void)ctx;
    return true;
}

static void somebody_elses_server_is_left_alone(void **state)
{
    (void)state;
    vr_autofree char *image = make_qcow2("theirs.qcow2", 1 << 20, NULL);
    struct vnbd_config cfg = { .image = image, .writable = true };
    struct vnbd *first = NULL, *second = NULL;
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(vnbd_open(&cfg, &first, &e), 0);
    cfg.stop = at_once;
    assert_int_equal(vnbd_open(&cfg, &second, &e), -1);
    assert_int_equal(e.kind, VR_E_CANCELLED); /* it waited */
    assert_true(vnbd_alive(first));
    vnbd_close(first);
}

static void several_disks_in_one_transfer(void **state)
{
    (void)state;
    enum { N = 3 };
    const uint64_t sizes[N] = { 9 << 20, 512, (5 << 20) + 512 };
    struct server s[N];
    struct xfer_send_disk sd[N];
    struct xfer_recv_disk rd[N];
    char *raw[N], *dst[N], *table[N];
    for (int i = 0; i < N; i++) {
        char name[32];
        snprintf(name, sizeof name, "src%d.raw", i);
        raw[i] = make_raw(name, sizes[i]);
        snprintf(name, sizeof name, "dst%d.img", i);
        dst[i] = i == 1 ? make_qcow2(name, sizes[i], NULL) : make_fresh(name, sizes[i]);
        snprintf(name, sizeof name, "dst%d.dig", i);
        table[i] = file(name);
        s[i] = serve(raw[i], "raw", NULL);
        sd[i] = from(&s[i], sizes[i], XFER_ALL, NULL);
        snprintf(sd[i].target, sizeof sd[i].target, "vd%c", 'a' + i);
    }
    for (int i = 0; i < N; i++) { /* the receiver lists them in another order */
        int k = N - 1 - i;
        rd[i] = (struct xfer_recv_disk){
            .size = sizes[k], .image = dst[k], .fresh = true, .raw = k != 1, .digests = table[k]
        };
        snprintf(rd[i].target, sizeof rd[i].target, "vd%c", 'a' + k);
    }
    struct transfer t = transfer_new();
    transfer_run(&t, sd, rd, N);
    assert_done(&t);
    assert_int_equal(atomic_load(&t.sp.done), atomic_load(&t.sp.total));

    rd[0].size += 512;
    struct transfer bad = transfer_new();
    transfer_run(&bad, sd, rd, N);
    assert_int_equal(bad.re.kind, VR_E_INVAL);
    assert_int_equal(bad.se.kind, VR_E_INVAL);
    for (int i = 0; i < N; i++) {
        unserve(&s[i]);
        assert_same(raw[i], "raw", dst[i], i == 1 ? "qcow2" : "raw");
        free(raw[i]);
        free(dst[i]);
        free(table[i]);
    }
}

static void the_limit_is_kept(void **state)
{
    (void)state;
    const uint64_t size = 6 << 20;
    vr_autofree char *raw = file("src.raw");
    int fd = open(raw, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    for (uint64_t b = 0; b * BS < size; b++)
        put_bytes(fd, b, BS, 1);
    close(fd);
    vr_autofree char *dst = make_fresh("dst.img", size);
    vr_autofree char *table = file("dst.dig");
    unlink(table);
    struct server s = serve(raw, "raw", NULL);
    struct xfer_send_disk sd = from(&s, size, XFER_ALL, NULL);
    struct xfer_recv_disk rd = fresh_disk(dst, table, size);
    struct transfer t = transfer_new();
    t.send.bytes_per_second = 4 << 20;
    struct mono_ms start = vr_mono_now();
    transfer_run(&t, &sd, &rd, 1);
    int64_t took = vr_mono_now().ms - start.ms;
    assert_done(&t);
    unserve(&s);
    assert_true(took >= 1100); /* 6 MiB at 4 MiB/s, with a quarter of a second in hand */
    assert_same(raw, "raw", dst, fresh_format());
}

/* A layer with nothing below may be qcow2, too. */
static int with_qcow2(void **state)
{
    (void)state;
    fresh_raw = false;
    return 0;
}

static int with_raw(void **state)
{
    (void)state;
    fresh_raw = true;
    return 0;
}

#define QCOW2(f) cmocka_unit_test_setup_teardown(f, with_qcow2, with_raw)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_copy_is_equal),
        cmocka_unit_test(only_what_is_dirty_travels),
        cmocka_unit_test(a_layer_of_another_try_gets_todays_content),
        cmocka_unit_test(zeros_reach_a_fresh_layer_that_is_not_clean),
        cmocka_unit_test(a_cut_anywhere_is_resumed),
        cmocka_unit_test(a_damaged_byte_is_noticed),
        cmocka_unit_test(a_full_replica_says_so_and_goes_on_later),
        cmocka_unit_test(cancelling_ends_both_sides),
        cmocka_unit_test(a_source_that_dies_is_an_error),
        cmocka_unit_test(a_server_left_by_a_dead_daemon_is_ended),
        cmocka_unit_test(somebody_elses_server_is_left_alone),
        cmocka_unit_test(several_disks_in_one_transfer),
        cmocka_unit_test(the_limit_is_kept),
        QCOW2(full_copy_is_equal),
        QCOW2(zeros_reach_a_fresh_layer_that_is_not_clean),
        QCOW2(a_full_replica_says_so_and_goes_on_later),
    };
    return cmocka_run_group_tests(tests, setup, cleanup);
}
