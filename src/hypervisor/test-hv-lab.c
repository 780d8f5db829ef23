/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* hv_libvirt against a real libvirtd and a running guest. Runs inside a host of the lab, started by
 * tests/system/hv.test.sh: argv[1] is the name of a guest with two disks made by guest.sh, argv[2]
 * a filter of tests. */
#include "test-hv-lab-kit.h"

static void test_inventory(void **state)
{
    struct hv_machine *all = NULL;
    size_t n = 0;
    ok(hv_list(hv, &all, &n, err));
    assert_int_equal(n, 1);
    assert_string_equal(all[0].name, guest);
    assert_int_equal(all[0].n_disks, 2);
    assert_true(all[0].disks[0].trackable && all[0].disks[0].replicable);
    assert_int_equal(all[0].disks[1].size, 64 << 20);
    assert_int_equal(all[0].memory_kib, 192 * 1024);
    vr_autofree char *definition = vr_printf("/etc/libvirt/qemu/%s.xml", guest);
    assert_string_equal(all[0].definition, definition);
    assert_true(all[0].configured.us > 0);
    assert_false(all[0].autostart);
    struct vr_uuid id = all[0].uuid;
    hv_machines_free(all, n);
    struct hv_machine started;
    run("virsh", "-q", "autostart", guest, NULL);
    ok(hv_get(hv, &id, &started, err));
    run("virsh", "-q", "autostart", "--disable", guest, NULL);
    assert_true(started.autostart);
    hv_machine_done(&started);
    struct vr_uuid none = vr_uuid_new();
    struct hv_machine m;
    fails(VR_E_NOTFOUND, hv_get(hv, &none, &m, err));
}

static void test_live_increments(void **state)
{
    char a[64], b[64], c[64];
    start();
    baseline(a);
    tick(5);
    uint64_t dirty = increment(a, b);
    assert_true(dirty > 0 && dirty < (64u << 20));
    tick(3);
    increment(b, c);
    /* Nothing of the jobs is left. */
    run("sh", "-c", "test -z \"$(find /run/hv-lab/run -type f -o -type s)\"", NULL);
}

static void test_live_not_kept(void **state)
{
    char a[64], b[64], c[64];
    start();
    baseline(a);
    tick(2);
    struct hv_capture *cap = capture(a, b);
    ok(hv_capture_end(hv, cap, false, err));
    assert_string_equal(looks(b), "---");
    assert_string_equal(looks(a), "liu");
    tick(2);
    increment(a, c); /* what the dropped one covered is in it */
}

static void test_paused_machine(void **state)
{
    char a[64], b[64];
    start();
    baseline(a);
    tick(2);
    ok(hv_power(hv, &uuid, HV_PAUSE, err));
    until(power() == HV_POWER_PAUSED);
    increment(a, b);
    ok(hv_power(hv, &uuid, HV_UNPAUSE, err));
    until(power() == HV_POWER_RUNNING);
}

static void test_leftovers(void **state)
{
    char a[64];
    start();
    baseline(a);
    tick(2);
    /* Two begins without an end, the second of the same name: as after a crash of the daemon. */
    struct hv_capture *lost = NULL, *cap = NULL;
    ok(hv_capture_begin(hv, &uuid, disks, 2, a, "vmr.again", &lost, err));
    ok(hv_capture_begin(hv, &uuid, disks, 2, a, "vmr.again", &cap, err));
    fails(VR_E_STATE, hv_capture_valid(hv, lost, err));
    take_increment(cap);
    ok(hv_capture_end(hv, cap, true, err));
    assert_string_equal(looks("vmr.again"), "liu");
    assert_string_equal(looks(a), "---");
    fails(VR_E_STATE, hv_capture_end(hv, lost, true, err));
}

/* A daemon that dies in the middle of captures: the next one ends what they left. */
static void test_daemon_killed(void **state)
{
    char a[64], b[64];
    start();
    baseline(a);
    tick(2);
    for (int running = 1; running >= 0; running--) {
        struct hv_capture *lost = capture(a, b);
        /* Another adapter on the same folder, as a new process would be. */
        struct vr_err e = VR_ERR_INIT;
        unsigned before = events(HV_EV_CONNECTED);
        struct hv *next = hv_libvirt_new("qemu:///system", WORK "/run", "/var/lib/vmreplica/guard",
                                         on_event, NULL, &e);
        assert_non_null(next);
        until(events(HV_EV_CONNECTED) > before);
        if (running)
            until(hv_capture_valid(hv, lost, NULL) < 0);
        run("sh", "-c", "! pgrep -r R,S,D qemu-nbd", NULL);
        hv_free(next);
        assert_int_equal(hv_capture_end(hv, lost, false, NULL), running ? -1 : 0);
        assert_string_equal(looks(b), "---");
        assert_string_equal(looks(a), "liu");
        if (running)
            stop_clean();
    }
    increment(a, b);
}

static void test_foreign_job(void **state)
{
    char name[64];
    struct hv_capture *cap = NULL;
    start();
    FILE *f = fopen(WORK "/backup.xml", "we");
    assert_non_null(f);
    fputs("<domainbackup mode='pull'><server transport='unix' socket='/run/foreign'/>"
          "<disks><disk name='vda' backup='yes' type='file'><scratch file='/run/foreign-s'/></disk>"
          "</disks></domainbackup>",
          f);
    fclose(f);
    run("virsh", "-q", "backup-begin", guest, WORK "/backup.xml", NULL);
    name_it(name);
    fails(VR_E_BUSY, hv_capture_begin(hv, &uuid, disks, 2, NULL, name, &cap, err));
    run("virsh", "-q", "domjobabort", guest, NULL);
    const char *const job[] = { "virsh", "-q", "backup-dumpxml", guest, NULL };
    until(try_run(job, NULL) < 0);
}

static void test_wrong_arguments(void **state)
{
    struct hv_capture *cap = NULL;
    const char *const none[] = { "vdx" };
    struct vr_uuid nobody = vr_uuid_new();
    start();
    fails(VR_E_TRACKING, hv_capture_begin(hv, &uuid, disks, 2, "vmr.never", "vmr.x", &cap, err));
    fails(VR_E_NOTFOUND, hv_capture_begin(hv, &uuid, none, 1, NULL, "vmr.x", &cap, err));
    fails(VR_E_NOTFOUND, hv_capture_begin(hv, &nobody, disks, 2, NULL, "vmr.x", &cap, err));
    fails(VR_E_INVAL, hv_capture_begin(hv, &uuid, disks, 2, NULL, "--remove", &cap, err));
    assert_string_equal(looks("vmr.x"), "---");
    ok(hv_checkpoint_delete(hv, &uuid, "vmr.never", err));
}

static void test_shutdown_during_capture(void **state)
{
    char a[64], b[64], c[64];
    start();
    baseline(a);
    tick(2);
    struct hv_capture *cap = capture(a, b);
    stop_clean();
    fails(VR_E_STATE, hv_capture_valid(hv, cap, err));
    fails(VR_E_STATE, hv_capture_end(hv, cap, false, err));
    assert_string_equal(looks(b), "---");
    assert_string_equal(looks(a), "liu");
    increment(a, c); /* off-line */
    assert_int_equal(power(), HV_POWER_OFF);
}

static void test_keep_after_shutdown(void **state)
{
    char a[64], b[64], c[64];
    start();
    baseline(a);
    tick(2);
    struct hv_capture *cap = capture(a, b);
    take_increment(cap);
    stop_clean();
    fails(VR_E_STATE, hv_capture_end(hv, cap, true, err));
    assert_string_equal(looks(a), "---"); /* retired all the same */
    assert_string_equal(looks(b), "liu");
    increment(b, c);
}

static void test_destroy_during_capture(void **state)
{
    char a[64], b[64], c[64];
    start();
    baseline(a);
    tick(2);
    struct hv_capture *cap = capture(a, b);
    force_off();
    fails(VR_E_STATE, hv_capture_end(hv, cap, false, err));
    assert_string_equal(looks(a), "liu");
    start();
    increment(a, c);
}

static void test_off_line(void **state)
{
    char a[64], b[64], c[64], d[64];
    start();
    baseline(a);
    tick(2);
    stop_clean();
    assert_true(increment(a, b) > 0);
    assert_int_equal(increment(b, c), 0); /* nothing ran, nothing changed */
    struct hv_capture *cap = capture(c, d);
    assert_false(cap->live);
    assert_string_equal(looks(d), "liu");
    ok(hv_capture_end(hv, cap, false, err));
    assert_string_equal(looks(d), "---");
    start();
    tick(3);
    assert_true(increment(c, d) > 0); /* live again, since an off-line checkpoint */
}

static void test_off_line_full(void **state)
{
    char a[64], b[64];
    stop_clean();
    baseline(a);
    start();
    tick(2);
    increment(a, b);
}

static void test_start_during_off_line_capture(void **state)
{
    char a[64], b[64], c[64];
    stop_clean();
    baseline(a);
    struct hv_capture *cap = capture(a, b);
    ok(hv_capture_valid(hv, cap, err));
    start(); /* is not hindered by our reading */
    fails(VR_E_STATE, hv_capture_valid(hv, cap, err));
    fails(VR_E_STATE, hv_capture_end(hv, cap, false, err));
    assert_string_equal(looks(b), "---");
    assert_string_equal(looks(a), "liu");
    increment(a, c);
    /* Started and stopped again: off as before, but not the same. */
    stop_clean();
    cap = capture(c, b);
    start();
    stop_clean();
    fails(VR_E_STATE, hv_capture_end(hv, cap, true, err));
    assert_string_equal(looks(c), "---");
    assert_string_equal(looks(b), "liu");
}

/* In the moment when QEMU closes its disks it knows no change maps any more: none is lost by that.
 */
static void test_begin_while_it_ends(void **state)
{
    char a[64], b[64];
    for (int i = 0; i < 4; i++) {
        struct vr_err lost = VR_ERR_INIT;
        stop_clean();
        baseline(a);
        start();
        ok(hv_power(hv, &uuid, HV_SHUTDOWN, err));
        while (power() != HV_POWER_OFF && lost.kind == VR_OK) {
            struct hv_capture *cap = NULL;
            struct vr_err e = VR_ERR_INIT;
            name_it(b);
            if (hv_capture_begin(hv, &uuid, disks, 2, a, b, &cap, &e) == 0)
                hv_capture_end(hv, cap, false, &e);
            if (e.kind == VR_E_TRACKING)
                vr_err_move(&lost, &e);
            vr_err_clear(&e);
        }
        until(power() == HV_POWER_OFF);
        /* QEMU 7.2 may die of a job that begins then: that is a loss, and has to be told. */
        if (lost.kind != VR_OK && strcmp(looks(a), "liu") == 0)
            fail_msg("%s", lost.msg);
        vr_err_clear(&lost);
    }
}

static void *flush_it(void *arg)
{
    struct vr_err e = VR_ERR_INIT;
    *(int *)arg = hv_flush(hv, &uuid, &e);
    return NULL;
}

/* QEMU does not answer for so long that the watchdog's own attempt to resume it is over, too: what
 * may still be paused is not forgotten before the worker's call has ended. */
static void test_slow_to_pause(void **state)
{
    char text[VR_UUID_STR];
    vr_autofree char *mark =
        vr_printf("/var/lib/vmreplica/guard/%s.paused", vr_uuid_fmt(&uuid, text));
    pthread_t th;
    int rc = 1;
    start();
    ok(hv_guard(hv, &uuid, NULL, err)); /* makes the folder */
    signal_qemu(SIGSTOP);
    assert_int_equal(pthread_create(&th, NULL, flush_it, &rc), 0);
    until(access(mark, F_OK) == 0);
    bool kept = true;
    for (int64_t end = vr_mono_now().ms + 50000; vr_mono_now().ms < end && kept; poll(NULL, 0, 100))
        kept = access(mark, F_OK) == 0;
    signal_qemu(SIGCONT);
    pthread_join(th, NULL);
    assert_true(kept);
    until(access(mark, F_OK) < 0 && power() == HV_POWER_RUNNING);
    tick(2);
    ok(hv_flush(hv, &uuid, err));
    tick(2);
}

static void test_qemu_killed(void **state)
{
    char a[64], b[64], c[64];
    struct hv_capture *cap = NULL;
    stop_clean();
    baseline(a); /* in the image at start: inconsistent after the crash */
    start();
    tick(2);
    cap = capture(a, b);
    kill_qemu();
    fails(VR_E_STATE, hv_capture_end(hv, cap, false, err));
    assert_string_equal(looks(a), "li-");
    name_it(c);
    fails(VR_E_TRACKING, hv_capture_begin(hv, &uuid, disks, 2, a, c, &cap, err));
    start();
    assert_string_equal(looks(a), "li-");
    fails(VR_E_TRACKING, hv_capture_begin(hv, &uuid, disks, 2, a, c, &cap, err));
    ok(hv_checkpoint_delete(hv, &uuid, a, err)); /* running */
    assert_string_equal(looks(a), "---");

    baseline(a); /* made by the running QEMU: nowhere after the crash */
    kill_qemu();
    assert_string_equal(looks(a), "l--");
    fails(VR_E_TRACKING, hv_capture_begin(hv, &uuid, disks, 2, a, c, &cap, err));
    start();
    assert_string_equal(looks(a), "l--");
    fails(VR_E_TRACKING, hv_capture_begin(hv, &uuid, disks, 2, a, c, &cap, err));
    ok(hv_checkpoint_delete(hv, &uuid, a, err));
    assert_string_equal(looks(a), "---");
    baseline(a);
    tick(2);
    increment(a, b);
}

static char *image(const char *target)
{
    struct hv_machine m;
    char *path = NULL;
    ok(hv_get(hv, &uuid, &m, err));
    for (size_t i = 0; i < m.n_disks; i++)
        if (strcmp(m.disks[i].target, target) == 0)
            path = vr_strdup(m.disks[i].path);
    hv_machine_done(&m);
    assert_non_null(path);
    return path;
}

/* Bitmaps and metadata that disagree, on a machine that is off and on one that runs. */
static void test_disagreement(void **state)
{
    vr_autofree char *vda = image("vda"), *vdb = image("vdb");
    char a[64], b[64];
    for (int running = 0; running < 2; running++) {
        stop_clean();
        baseline(a);
        /* a: vdb's bitmap missing. half: a bitmap in vda that nobody knows. */
        run("qemu-img", "bitmap", "--remove", vdb, a, NULL);
        run("qemu-img", "bitmap", "--add", vda, "vmr.half", NULL);
        if (running)
            start();
        assert_string_equal(looks(a), "l--");
        assert_string_equal(looks("vmr.half"), "---");
        struct hv_capture *cap = NULL;
        name_it(b);
        fails(VR_E_TRACKING, hv_capture_begin(hv, &uuid, disks, 2, a, b, &cap, err));
        ok(hv_checkpoint_delete(hv, &uuid, a, err));
        assert_string_equal(looks(a), "---");
        /* The name of a left-over bitmap can be used at once. */
        ok(hv_capture_begin(hv, &uuid, disks, 2, NULL, "vmr.half", &cap, err));
        ok(hv_capture_end(hv, cap, true, err));
        assert_string_equal(looks("vmr.half"), "liu");
        ok(hv_checkpoint_delete(hv, &uuid, "vmr.half", err));
    }
    /* Metadata lost: the images still have it, it is found and used. */
    stop_clean();
    baseline(a);
    run("virsh", "-q", "checkpoint-delete", guest, a, "--metadata", NULL);
    assert_string_equal(looks(a), "-iu");
    start();
    tick(2);
    increment(a, b);
}

static void test_snapshot_between(void **state)
{
    char a[64], b[64], c[64];
    start();
    baseline(a);
    tick(2);
    run("virsh", "-q", "snapshot-create-as", guest, "s1", "--disk-only", "--no-metadata", NULL);
    tick(2);
    increment(a, b); /* live: QEMU knows the bitmaps of the whole chain */
    tick(2);
    stop_clean();
    increment(b, c);
    /* libvirt refuses a snapshot now; somebody does it by hand, without bitmaps. */
    vr_autofree char *xml = NULL, *vda = image("vda"), *vdb = image("vdb");
    const struct hv_disk_path paths[] = { { "vda", WORK "/s2-a.qcow2" },
                                          { "vdb", WORK "/s2-b.qcow2" } };
    /* First wrongly: libvirt goes on believing in the chain before the snapshot. */
    vr_autofree char *script = vr_printf(
        "cd " WORK " && virsh dumpxml --inactive %s >good.xml && sed 's/%s-0[.]s1/%s-0.s9/' "
        "good.xml >bad.xml && qemu-img create -q -f qcow2 -F qcow2 -b "
        "/var/lib/libvirt/images/%s-0.s1 "
        "/var/lib/libvirt/images/%s-0.s9 && virsh -q define bad.xml",
        guest, guest, guest, guest, guest);
    struct hv_capture *wrong = NULL;
    run("sh", "-c", script, NULL);
    fails(VR_E_HV, hv_capture_begin(hv, &uuid, disks, 2, NULL, "vmr.wrong", &wrong, err));
    run("virsh", "-q", "define", WORK "/good.xml", NULL);
    assert_string_equal(looks("vmr.wrong"), "---");
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", vda, paths[0].path, NULL);
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", vdb, paths[1].path, NULL);
    ok(hv_xml(hv, &uuid, &xml, err));
    ok(hv_define_replica(hv, xml, NULL, NULL, false, paths, 2, err));
    struct hv_capture *cap = NULL;
    assert_string_equal(looks(c), "l--");
    fails(VR_E_TRACKING, hv_capture_begin(hv, &uuid, disks, 2, c, "vmr.late", &cap, err));
    baseline(a);
    start();
    tick(2);
    increment(a, b);
}

static void test_libvirtd_restart(void **state)
{
    char a[64], b[64], c[64];
    start();
    baseline(a);
    tick(2);
    struct hv_capture *cap = capture(a, b);
    restart_libvirtd();
    ok(hv_capture_valid(hv, cap, err));
    take_increment(cap);
    ok(hv_capture_end(hv, cap, true, err));
    assert_string_equal(looks(a), "---");
    assert_string_equal(looks(b), "liu");
    stop_clean();
    cap = capture(b, c);
    restart_libvirtd();
    ok(hv_capture_valid(hv, cap, err));
    take_increment(cap);
    ok(hv_capture_end(hv, cap, true, err));
    assert_string_equal(looks(c), "liu");
}

static void test_raw_disk(void **state)
{
    static const char *const three[] = { "vda", "vdb", "vdc" };
    char a[64], b[64];
    stop_clean();
    drop_all();
    run("truncate", "-s", "8M", WORK "/raw", NULL);
    run("virsh", "-q", "attach-disk", guest, WORK "/raw", "vdc", "--subdriver", "raw",
        "--sourcetype", "file", "--config", NULL);
    for (int running = 0; running < 2; running++) {
        struct hv_capture *cap = NULL;
        if (running)
            start();
        name_it(a);
        ok(hv_capture_begin(hv, &uuid, three, 3, NULL, a, &cap, err));
        ok(hv_capture_end(hv, cap, true, err));
        name_it(b);
        ok(hv_capture_begin(hv, &uuid, three, 3, a, b, &cap, err));
        assert_non_null(cap->disks[1].dirty_context);
        assert_null(cap->disks[2].dirty_context);
        assert_int_equal(cap->disks[2].size, 8 << 20);
        copy_export(&cap->disks[2], WORK "/raw-copy");
        run("cmp", WORK "/raw", WORK "/raw-copy", NULL);
        ok(hv_capture_end(hv, cap, true, err));
        assert_string_equal(looks(b), "liu");
    }
    stop_clean();
    run("virsh", "-q", "detach-disk", guest, "vdc", "--config", NULL);
}

static void test_guard(void **state)
{
    const char *const argv[] = { "virsh", "-q", "start", guest, NULL };
    struct vr_err e = VR_ERR_INIT;
    stop_clean();
    ok(hv_guard(hv, &uuid, "it was failed over to hostb", err));
    ok(hv_guard(hv, &uuid, "it was failed over to hostb", err));
    assert_int_equal(try_run(argv, &e), -1);
    assert_non_null(strstr(e.msg, "it was failed over to hostb"));
    fails(VR_E_STATE, hv_power(hv, &uuid, HV_START, err));
    assert_int_equal(power(), HV_POWER_OFF);
    ok(hv_guard(hv, &uuid, NULL, err));
    ok(hv_guard(hv, &uuid, NULL, err));
    ok(hv_power(hv, &uuid, HV_START, err));
    until(power() == HV_POWER_RUNNING);
}

static void overlay(const char *backing, const char *path, const char *bitmap)
{
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", backing, path, NULL);
    run("qemu-img", "bitmap", "--add", path, bitmap, NULL);
}

static void test_failover(void **state)
{
    char b[64], a[64] = "vmr.failover";
    vr_autofree char *vda = image("vda"), *vdb = image("vdb"), *xml = NULL;
    stop_clean();
    drop_all();
    ok(hv_xml(hv, &uuid, &xml, err));
    ok(hv_undefine(hv, &uuid, err));
    struct hv_disk_path paths[] = { { "vda", "/run/hv-lab/missing-a" },
                                    { "vdb", "/run/hv-lab/missing-b" } };
    ok(hv_define_replica(hv, xml, NULL, NULL, false, paths, 2, err));
    /* Off, and cannot be started by accident. */
    assert_int_equal(power(), HV_POWER_OFF);
    fails(VR_E_HV, hv_power(hv, &uuid, HV_START, err));
    overlay(vda, WORK "/over-a.qcow2", a);
    overlay(vdb, WORK "/over-b.qcow2", a);
    paths[0].path = WORK "/over-a.qcow2";
    paths[1].path = WORK "/over-b.qcow2";
    ok(hv_define_replica(hv, xml, NULL, NULL, false, paths, 2, err));
    assert_string_equal(looks(a), "-iu");
    ok(hv_checkpoint_adopt(hv, &uuid, a, disks, 2, err));
    ok(hv_checkpoint_adopt(hv, &uuid, a, disks, 2, err));
    assert_string_equal(looks(a), "liu");
    fails(VR_E_TRACKING, hv_checkpoint_adopt(hv, &uuid, "vmr.none", disks, 2, err));
    /* The replica's state before its first write is that of the point. */
    run("qemu-img", "convert", "-O", "raw", vda, WORK "/replica-vda", NULL);
    run("qemu-img", "convert", "-O", "raw", vdb, WORK "/replica-vdb", NULL);
    run("virsh", "-q", "start", guest, NULL);
    tick(3);
    increment(a, b);
    fails(VR_E_STATE, hv_define_replica(hv, xml, NULL, NULL, false, paths, 2, err));
    struct vr_uuid other = vr_uuid_new();
    fails(VR_E_EXISTS, hv_define_replica(hv, xml, NULL, &other, false, paths, 2, err));
}

static void test_copy(void **state)
{
    vr_autofree char *xml = NULL, *name = vr_printf("%s - Test", guest);
    ok(hv_xml(hv, &uuid, &xml, err));
    struct vr_uuid other = vr_uuid_new();
    run("qemu-img", "create", "-q", "-f", "qcow2", WORK "/copy.qcow2", "1M", NULL);
    struct hv_disk_path paths[] = { { "vda", WORK "/copy.qcow2" } };
    ok(hv_define_replica(hv, xml, name, &other, true, paths, 1, err));
    struct hv_machine m;
    ok(hv_get(hv, &other, &m, err));
    assert_string_equal(m.name, name);
    assert_int_equal(m.n_disks, 1);
    hv_machine_done(&m);
    ok(hv_undefine(hv, &other, err));
    fails(VR_E_NOTFOUND, hv_undefine(hv, &other, err));
    assert_int_equal(access(WORK "/copy.qcow2", F_OK), 0);
}

/* A machine that is more than can be replicated hides no other one. */
static void test_odd_machine(void **state)
{
    (void)state;
    struct hv_machine *all = NULL;
    size_t n = 0, odd = 0, known = 0;
    FILE *f = fopen(WORK "/odd.xml", "w");
    assert_non_null(f);
    fputs("<domain type='qemu'><name>odd</name><memory>65536</memory><os><type arch='x86_64'>hvm"
          "</type></os><devices><controller type='scsi' index='0' model='virtio-scsi'/>",
          f);
    for (int i = 0; i <= VR_DISKS_MAX; i++)
        fprintf(f,
                "<disk type='file' device='cdrom'><target dev='sd%c%c' bus='scsi'/><readonly/>"
                "<address type='drive' controller='0' bus='0' target='0' unit='%d'/></disk>",
                'a' + i / 26, 'a' + i % 26, i);
    fputs("</devices></domain>\n", f);
    assert_int_equal(fclose(f), 0);
    run("virsh", "-q", "define", WORK "/odd.xml", NULL);
    ok(hv_list(hv, &all, &n, err));
    for (size_t i = 0; i < n; i++) {
        known += vr_uuid_eq(&all[i].uuid, &uuid) && all[i].n_disks > 0;
        if (strcmp(all[i].name, "odd") != 0)
            continue;
        odd++;
        assert_int_equal(all[i].power, HV_POWER_OFF);
        assert_non_null(strstr(all[i].notes, "65 disks"));
        struct vr_uuid id = all[i].uuid;
        struct hv_machine m;
        fails(VR_E_LIMIT, hv_get(hv, &id, &m, err));
    }
    hv_machines_free(all, n);
    run("virsh", "-q", "undefine", "odd", NULL);
    assert_int_equal(known, 1);
    assert_int_equal(odd, 1);
}

static int find_guest(void)
{
    struct hv_machine *all = NULL;
    size_t n = 0;
    struct vr_err e = VR_ERR_INIT;
    until(events(HV_EV_CONNECTED) > 0);
    if (hv_list(hv, &all, &n, &e) < 0) {
        fprintf(stderr, "%s\n", e.msg);
        return -1;
    }
    for (size_t i = 0; i < n; i++)
        if (strcmp(all[i].name, guest) == 0)
            uuid = all[i].uuid;
    hv_machines_free(all, n);
    return vr_uuid_is_zero(&uuid) ? -1 : 0;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "to be run inside the lab: see tests/system/hv.test.sh\n");
        return 77;
    }
    guest = argv[1];
    mkdir(WORK, 0755);
    struct vr_err e = VR_ERR_INIT;
    hv = hv_libvirt_new("qemu:///system", WORK "/run", "/var/lib/vmreplica/guard", on_event, NULL,
                        &e);
    if (!hv || find_guest() < 0) {
        fprintf(stderr, "no guest %s here: %s\n", guest, e.msg);
        return 1;
    }
    if (argc > 2)
        cmocka_set_test_filter(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inventory),
        cmocka_unit_test(test_odd_machine),
        cmocka_unit_test(test_live_increments),
        cmocka_unit_test(test_live_not_kept),
        cmocka_unit_test(test_paused_machine),
        cmocka_unit_test(test_leftovers),
        cmocka_unit_test(test_daemon_killed),
        cmocka_unit_test(test_foreign_job),
        cmocka_unit_test(test_wrong_arguments),
        cmocka_unit_test(test_shutdown_during_capture),
        cmocka_unit_test(test_keep_after_shutdown),
        cmocka_unit_test(test_destroy_during_capture),
        cmocka_unit_test(test_off_line),
        cmocka_unit_test(test_off_line_full),
        cmocka_unit_test(test_start_during_off_line_capture),
        cmocka_unit_test(test_begin_while_it_ends),
        cmocka_unit_test(test_qemu_killed),
        cmocka_unit_test(test_slow_to_pause),
        cmocka_unit_test(test_disagreement),
        cmocka_unit_test(test_libvirtd_restart),
        cmocka_unit_test(test_raw_disk),
        cmocka_unit_test(test_guard),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_snapshot_between),
        cmocka_unit_test(test_failover),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    hv_free(hv);
    return rc;
}
