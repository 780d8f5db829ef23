/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Closed images and start guards, with the real qemu-img, qemu-nbd, nbdinfo and hook; no libvirt.
 * The folder of the tree comes in the environment as VMR_SOURCE. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/lastwrite.h"
#include "base/proc.h"
#include "base/testing.h"
#include "guard.h"
#include "hv.h"
#include "imginfo.h"
#include "nbdexport.h"

static char dir[] = "/tmp/vmr-images.XXXXXX";

static char *at(const char *name)
{
    return vr_printf("%s/%s", dir, name);
}

static void sh(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void sh(const char *format, ...)
{
    char script[1024];
    int n = snprintf(script, sizeof script, "set -e; cd %s; ", dir);
    va_list ap;
    va_start(ap, format);
    vsnprintf(script + n, sizeof script - (size_t)n, format, ap);
    va_end(ap);
    const char *argv[] = { "sh", "-c", script, NULL };
    vr_autobuf struct vr_buf out = VR_BUF_INIT;
    ok(vr_proc_run(argv, 60, &out, err));
}

static void make(const char *name)
{
    sh("rm -f %s; qemu-img create -q -f qcow2 %s 4M", name, name);
}

static void write_some(const char *name)
{
    sh("qemu-io -f qcow2 -c 'write -P 7 1M 128k' %s", name);
}

static void tracks(const char *path, const char *name, enum vr_lost want)
{
    struct vr_err err = VR_ERR_INIT;
    int rc = imginfo_tracks(path, name, &err);
    assert_int_equal(rc, want == VR_LOST_NOT ? 0 : -1);
    assert_int_equal(err.kind, want == VR_LOST_NOT ? VR_OK : VR_E_TRACKING);
    if (err.detail != want)
        fail_msg("%u instead of %d: %s", err.detail, (int)want, err.msg);
}

static void test_info(void **state)
{
    vr_autofree char *path = at("a,b=c.qcow2"), *raw = at("raw"), *old = at("old.qcow2");
    make("a,b=c.qcow2");
    imginfo_auto struct imginfo i = { .qcow2 = false };
    ok(imginfo_read(path, "qcow2", &i, err));
    assert_true(i.qcow2);
    assert_int_equal(i.version, 3);
    assert_int_equal(i.size, 4 << 20);
    assert_int_equal(i.n_bitmaps, 0);
    assert_null(i.backing);
    int64_t written = lastwrite_get(path);
    ok(hv_bitmap_add(path, "vmr.one", err));
    ok(hv_bitmap_add(path, "vmr.two", err));
    fails(VR_E_IO, hv_bitmap_add(path, "vmr.two", err));
    imginfo_done(&i);
    ok(imginfo_read(path, "qcow2", &i, err));
    assert_int_equal(i.n_bitmaps, 2);
    const struct imginfo_bitmap *b = imginfo_bitmap(&i, "vmr.one");
    assert_non_null(b);
    assert_true(b->recording && !b->in_use);
    assert_int_equal(b->granularity, 65536);
    assert_null(imginfo_bitmap(&i, "vmr.three"));
    ok(hv_bitmap_remove(path, "vmr.one", err));
    ok(hv_bitmap_remove(path, "vmr.one", err));
    if (getxattr(path, "user.vmreplica.written", NULL, 0) > 0) /* else the storage has none */
        assert_true(lastwrite_get(path) == written);
    imginfo_done(&i);
    ok(imginfo_read(path, "qcow2", &i, err));
    assert_int_equal(i.n_bitmaps, 1);

    sh("truncate -s 12345 raw; qemu-img create -q -f qcow2 -o compat=0.10 old.qcow2 1M");
    imginfo_done(&i);
    ok(imginfo_read(old, "qcow2", &i, err));
    assert_int_equal(i.version, 2);
    imginfo_done(&i);
    ok(imginfo_read(raw, "raw", &i, err));
    assert_int_equal(i.size, 12345);
    assert_false(i.qcow2);
    /* What a guest writes into a raw disk makes it no qcow2, and qcow2 is not believed blindly. */
    fails(VR_E_CORRUPT, imginfo_read(raw, "qcow2", &i, err));
    vr_autofree char *none = at("none");
    fails(VR_E_NOFILE, imginfo_read(none, "qcow2", &i, err));
    fails(VR_E_INVAL, imginfo_read("/dev/null", "raw", &i, err));
}

/* A guest writes the header of a qcow2 image into its raw disk: nobody follows it. */
static void test_raw_below(void **state)
{
    sh("qemu-img create -q -f qcow2 secret.qcow2 1M; "
       "qemu-img create -q -f qcow2 -b secret.qcow2 -F qcow2 below.raw 1M; "
       "qemu-img create -q -f qcow2 -b below.raw -F raw top.qcow2");
    vr_autofree char *top = at("top.qcow2"), *below = at("below.raw");
    vr_autofree char *path = NULL, *format = NULL, *next = NULL, *next_format = NULL;
    ok(imginfo_backing_path(top, "qcow2", &path, &format, err));
    assert_string_equal(path, below);
    assert_string_equal(format, "raw");
    ok(imginfo_backing_path(path, format, &next, &next_format, err));
    assert_null(next);
    ok(hv_bitmap_add(below, "vmr.one", err));
    ok(hv_bitmap_add(top, "vmr.one", err));
    ok(imginfo_tracks(top, "vmr.one", err));
}

/* No header of a damaged image may lead outside of what was read: flip every byte that matters. */
static void test_info_damaged(void **state)
{
    vr_autofree char *path = at("damaged.qcow2");
    make("damaged.qcow2");
    ok(hv_bitmap_add(path, "vmr.one", err));
    vr_autoclose int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    uint8_t header[512];
    assert_int_equal(pread(fd, header, sizeof header, 0), sizeof header);
    for (size_t k = 4; k < sizeof header; k++) {
        static const uint8_t values[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };
        for (size_t v = 0; v < sizeof values; v++) {
            assert_int_equal(pwrite(fd, &values[v], 1, (off_t)k), 1);
            struct imginfo i = { .qcow2 = false };
            if (imginfo_read(path, "qcow2", &i, NULL) == 0)
                imginfo_done(&i);
        }
        assert_int_equal(pwrite(fd, &header[k], 1, (off_t)k), 1);
    }
    tracks(path, "vmr.one", VR_LOST_NOT);
    /* A name before the file's beginning: offset + length of it are 0. */
    static const uint8_t backing[12] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf8, 0, 0, 0, 8
    };
    assert_int_equal(pwrite(fd, backing, sizeof backing, 8), sizeof backing);
    struct imginfo i = { .qcow2 = false };
    fails(VR_E_CORRUPT, imginfo_read(path, "qcow2", &i, err));
    assert_int_equal(pwrite(fd, header, sizeof header, 0), sizeof header);
    tracks(path, "vmr.one", VR_LOST_NOT);
    assert_int_equal(ftruncate(fd, 100), 0);
    tracks(path, "vmr.one", VR_LOST_UNKNOWN);
}

static void test_tracks(void **state)
{
    vr_autofree char *base = at("base.qcow2"), *top = at("top.qcow2");
    make("base.qcow2");
    tracks(base, "vmr.b", VR_LOST_MISSING);
    ok(hv_bitmap_add(base, "vmr.b", err));
    tracks(base, "vmr.b", VR_LOST_NOT);
    sh("qemu-img bitmap --disable base.qcow2 vmr.b");
    tracks(base, "vmr.b", VR_LOST_DISABLED);
    sh("qemu-img bitmap --enable base.qcow2 vmr.b");
    /* A bitmap of an image below does not count, nor does one that begins only at a snapshot. */
    sh("qemu-img create -q -f qcow2 -F qcow2 -b base.qcow2 mid.qcow2;"
       "qemu-img create -q -f qcow2 -F qcow2 -b mid.qcow2 top.qcow2");
    tracks(top, "vmr.b", VR_LOST_MISSING);
    ok(hv_bitmap_add(top, "vmr.b", err));
    tracks(top, "vmr.b", VR_LOST_SNAPSHOT);
    ok(hv_bitmap_add(top, "vmr.fresh", err));
    tracks(top, "vmr.fresh", VR_LOST_NOT);
}

/* A QEMU that dies leaves its bitmaps in use; they can be removed but not trusted. */
static void test_inconsistent(void **state)
{
    vr_autofree char *path = at("crash.qcow2"), *sock = at("crash.sock");
    make("crash.qcow2");
    ok(hv_bitmap_add(path, "vmr.c", err));
    const char *argv[] = { "qemu-nbd", "-t", "-f", "qcow2", "-k", sock, path, NULL };
    pid_t pid = 0;
    ok(vr_proc_spawn(argv, -1, &pid, err));
    sh("for i in $(seq 600); do nbdinfo --size 'nbd+unix:///?socket=crash.sock' >/dev/null 2>&1 &&"
       " exit 0; sleep 0.1; done; exit 1");
    /* A write makes QEMU mark the bitmap in use. */
    sh("qemu-io -f raw -c 'write 0 64k' 'nbd+unix:///?socket=crash.sock'");
    /* While somebody writes it, no bitmap can be added behind his back, and none is judged. */
    fails(VR_E_IO, hv_bitmap_add(path, "vmr.d", err));
    fails(VR_E_BUSY, hv_bitmap_remove(path, "vmr.d", err));
    fails(VR_E_BUSY, imginfo_tracks(path, "vmr.c", err));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    tracks(path, "vmr.c", VR_LOST_UNCLEAN);
    ok(hv_bitmap_remove(path, "vmr.c", err));
    ok(hv_bitmap_add(path, "vmr.d", err));
    tracks(path, "vmr.d", VR_LOST_NOT);
}

/* Another program writes to the image of a machine that is off, again and again. While QEMU stores
 * the bitmaps the header says for a moment that there are none, and while it is open they are
 * marked in use: neither is a loss. */
static void test_written_meanwhile(void **state)
{
    vr_autofree char *path = at("busy.qcow2");
    make("busy.qcow2");
    ok(hv_bitmap_add(path, "vmr.w", err));
    vr_autofree char *script =
        vr_printf("for i in $(seq 60); do qemu-io -f qcow2 -c 'write -P 7 1M 64k' %s; done", path);
    const char *argv[] = { "sh", "-c", script, NULL };
    vr_autoclose int quiet = open("/dev/null", O_WRONLY | O_CLOEXEC);
    pid_t pid = 0;
    ok(vr_proc_spawn(argv, quiet, &pid, err));
    unsigned good = 0, busy = 0;
    while (waitpid(pid, NULL, WNOHANG) == 0) {
        struct vr_err err = VR_ERR_INIT;
        if (imginfo_tracks(path, "vmr.w", &err) == 0)
            good++;
        else if (err.kind == VR_E_BUSY)
            busy++;
        else
            fail_msg("after %u good looks and %u at a writer: %s", good, busy, err.msg);
    }
    assert_true(good && busy);
    tracks(path, "vmr.w", VR_LOST_NOT);
}

static void test_export(void **state)
{
    vr_autofree char *path = at("x,y.qcow2"), *sock = at("x.sock");
    make("x,y.qcow2");
    ok(hv_bitmap_add(path, "vmr.p", err));
    write_some("x,y.qcow2");
    ok(hv_bitmap_add(path, "vmr.n", err));
    struct nbdexport x;
    ok(nbdexport_start(&x, path, "qcow2", "vda", "vmr.p", sock, err));
    assert_true(nbdexport_intact(&x));
    /* Exactly what was written since is dirty; several readers may come, one after the other. */
    sh("u='nbd+unix:///vda?socket=x.sock'; nbdinfo --map=qemu:dirty-bitmap:vmr.p \"$u\" |"
       " awk '$3 { print $1, $2 }' >got; test \"$(cat got)\" = '1048576 131072'");
    sh("u='nbd+unix:///vda?socket=x.sock'; nbdcopy \"$u\" got;"
       " qemu-img convert -O raw 'x,y.qcow2' want; cmp got want");
    /* Reading does not keep a machine from being started, and a writer is noticed. */
    write_some("x,y.qcow2");
    assert_false(nbdexport_intact(&x));
    nbdexport_stop(&x);
    assert_int_equal(access(sock, F_OK), -1);
    nbdexport_stop(&x);
}

static void test_export_refuses(void **state)
{
    vr_autofree char *path = at("r.qcow2"), *sock = at("r.sock"), *none = at("none.qcow2");
    struct nbdexport x;
    make("r.qcow2");
    fails(VR_E_IO, nbdexport_start(&x, path, "qcow2", "vda", "vmr.none", sock, err));
    nbdexport_stop(&x);
    fails(VR_E_NOFILE, nbdexport_start(&x, none, "qcow2", "vda", NULL, sock, err));
    nbdexport_stop(&x);
    fails(VR_E_INVAL, nbdexport_start(&x, "json:{}", "qcow2", "vda", NULL, sock, err));
    nbdexport_stop(&x);
}

static void test_sweep(void **state)
{
    vr_autofree char *path = at("s.qcow2"), *sub = at("sub"), *sock = at("sub/s.sock");
    make("s.qcow2");
    sh("mkdir sub; echo stale >sub/scratch; echo 1 >sub/x.pid; echo junk >sub/y.pid;"
       "mkfifo sub/z.pid"); /* the machine's QEMU owns such folders: nobody waits for it */
    struct nbdexport x;
    ok(nbdexport_start(&x, path, "qcow2", "vda", NULL, sock, err));
    alarm(60);
    nbdexport_sweep(sub);
    alarm(0);
    assert_int_equal(kill(x.pid, 0), -1); /* it was ended, and is no zombie of ours */
    x.pid = 0;
    nbdexport_stop(&x);
    assert_int_equal(rmdir(sub), 0);
    nbdexport_sweep(sub);
}

/* ---- guard ---- */

static int run_hook(const char *operation, const char *sub, const char *uuid, struct vr_buf *out)
{
    const char *source = getenv("VMR_SOURCE");
    assert_non_null(source);
    vr_autofree char *script = vr_printf(
        "printf \"<domain type='kvm'>\\n  <name>g1</name>\\n  <uuid>%s</uuid>\\n"
        "  <metadata>\\n  <uuid>00000000-0000-0000-0000-000000000001</uuid>\\n  </metadata>\\n"
        "</domain>\\n\" | VMREPLICA_GUARD_DIR=%s/guard %s/packaging/libvirt-hook-qemu g1 %s %s - "
        "2>&1; echo \"status $?\"",
        uuid, dir, source, operation, sub);
    const char *argv[] = { "sh", "-c", script, NULL };
    out->len = 0;
    ok(vr_proc_run(argv, 60, out, err));
    const char *status = strstr((char *)out->data, "status ");
    assert_non_null(status);
    return status[7] - '0';
}

static void test_guard(void **state)
{
    const char *text = "6f1c2a34-0001-4e55-9c00-aabbccddeeff";
    const char *upper = "6F1C2A34-0001-4E55-9C00-AABBCCDDEEFF";
    vr_autofree char *folder = at("guard");
    vr_autobuf struct vr_buf out = VR_BUF_INIT;
    struct vr_uuid uuid;
    ok(vr_uuid_parse(text, &uuid, err));
    assert_int_equal(run_hook("prepare", "begin", text, &out), 0); /* no folder yet */
    ok(guard_set(folder, &uuid, NULL, err));
    assert_int_equal(run_hook("prepare", "begin", text, &out), 0);
    ok(guard_set(folder, &uuid, "first", err));
    ok(guard_set(folder, &uuid, "failed over to\nhostb \"$(id)\"", err));
    assert_int_equal(run_hook("prepare", "begin", text, &out), 1);
    assert_non_null(strstr((char *)out.data, "failed over to hostb \"$(id)\""));
    assert_int_equal(run_hook("prepare", "begin", upper, &out), 1);
    assert_int_equal(run_hook("stopped", "end", text, &out), 0);
    assert_int_equal(run_hook("prepare", "end", text, &out), 0);
    assert_int_equal(run_hook("prepare", "begin", "6f1c2a34-0001-4e55-9c00-aabbccddee00", &out), 0);
    assert_int_equal(run_hook("prepare", "begin", "what", &out), 1); /* when in doubt, no */
    ok(guard_set(folder, &uuid, NULL, err));
    ok(guard_set(folder, &uuid, NULL, err));
    assert_int_equal(run_hook("prepare", "begin", text, &out), 0);
    sh("test -z \"$(ls -A guard)\"");
}

/* A folder that QEMU's user owns while root makes files in it is a way to any file of the host. */
static void test_scratch_is_given_away_last(void **state)
{
    (void)state;
    enum { USER = 65534 };
    struct stat st;
    vr_autofree char *scratch = at("given"), *bin = at("bin"), *one = at("given/vda-0a1b2c");
    vr_autofree char *two = at("given/vdb-0a1b2c");
    vr_autofree char *before = vr_strdup(getenv("PATH"));
    vr_autofree char *path = vr_printf("%s:%s", bin, before);
    char *const paths[] = { one, two };
    static const uint64_t sizes[] = { 1 << 20, 2 << 20 };
    if (geteuid())
        skip();
    sh("mkdir -m 700 given; mkdir bin; >bin/qemu-img cat <<'E'\n"
       "#!/bin/sh\nstat -c %%u given >>owners\nPATH=%s exec qemu-img \"$@\"\nE\n"
       "chmod +x bin/qemu-img",
       before);
    assert_int_equal(chdir(dir), 0);
    assert_int_equal(setenv("PATH", path, 1), 0);
    ok(hv_scratch_make(scratch, paths, sizes, 2, USER, USER, err));
    assert_int_equal(setenv("PATH", before, 1), 0);
    sh("test \"$(cat owners)\" = \"0\n0\"");
    for (size_t i = 0; i < VR_ARRAY_LEN(paths); i++) {
        imginfo_auto struct imginfo info = { .qcow2 = false };
        ok(imginfo_read(paths[i], "qcow2", &info, err));
        assert_int_equal(info.size, sizes[i]);
        assert_int_equal(stat(paths[i], &st), 0);
        assert_int_equal(st.st_uid, USER);
    }
    assert_int_equal(stat(scratch, &st), 0);
    assert_int_equal(st.st_uid, USER);
}

static void on_event(void *ctx, enum hv_event_type type, const struct vr_uuid *uuid)
{
    (void)ctx;
    (void)type;
    (void)uuid;
}

/* QEMU is given scratch images that are ours: a daemon that was killed leaves them. */
static void test_scratch_of_an_earlier_daemon(void **state)
{
    (void)state;
    vr_autofree char *run = at("run"), *guards = at("guards"), *scratch = at("scratch");
    vr_autofree char *kept = at("scratch/mine/vda");
    vr_autofree char *left = at("scratch/7d4a1f0e-1c2b-4b3a-9c55-2f1f3f0e9a11");
    sh("mkdir -p guards scratch/mine %s; : >%s; : >%s/vda-0a1b2c", left, kept, left);
    struct hv *hv = NULL;
    struct vr_err e = VR_ERR_INIT;
    hv = hv_libvirt_new("test:///default", run, guards, on_event, NULL, &e);
    assert_non_null(hv);
    ok(hv_set_scratch_dir(hv, scratch, err));
    assert_int_equal(access(left, F_OK), -1);
    assert_int_equal(access(kept, F_OK), 0);
    hv_free(hv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_info_damaged),
        cmocka_unit_test(test_raw_below),
        cmocka_unit_test(test_tracks),
        cmocka_unit_test(test_inconsistent),
        cmocka_unit_test(test_export),
        cmocka_unit_test(test_export_refuses),
        cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_guard),
        cmocka_unit_test(test_written_meanwhile),
        cmocka_unit_test(test_scratch_is_given_away_last),
        cmocka_unit_test(test_scratch_of_an_earlier_daemon),
    };
    if (!mkdtemp(dir))
        return 1;
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    const char *const rm[] = { "rm", "-rf", dir, NULL };
    if (vr_proc_run(rm, 60, NULL, NULL) < 0)
        fprintf(stderr, "%s is left\n", dir);
    return rc;
}
