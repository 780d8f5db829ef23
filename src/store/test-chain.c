/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests of chains: receiving points, merging, failing over and coming back, with real images. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/proc.h"
#include "base/testing.h"
#include "store/qcow2.h"
#include "store/store_int.h"
#include "store/testdisk.h"

#define MIB ((uint64_t)1 << 20)
#define N 2 /* disks */

struct fixture {
    char dir[TD_DIR];
    char *location;
    struct store *st;
    struct vr_uuid m;
    struct vr_point_id newest;
    struct td_disk now[N];  /* content of the newest point */
    struct td_disk at[200]; /* content of disk vda at each epoch */
    struct td_disk vdb[200];
};

static int setup(void **state)
{
    struct fixture *f = vr_new(struct fixture);
    td_setup(f->dir, &f->st);
    f->location = vr_printf("%s/with, comma", f->dir);
    f->m = vr_uuid_new();
    f->now[0] = (struct td_disk){ .target = "vda", .size = MIB };
    f->now[1] = (struct td_disk){ .target = "vdb", .size = 2 * MIB };
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    td_teardown(f->dir, f->st);
    free(f->location);
    free(f);
    return 0;
}

static void disks_of(const struct fixture *f, struct store_disk d[N])
{
    for (size_t i = 0; i < N; i++) {
        d[i] = (struct store_disk){ .size = f->now[i].size };
        strcpy(d[i].target, f->now[i].target);
    }
}

static void chain_create(struct fixture *f)
{
    struct store_disk d[N];
    disks_of(f, d);
    struct wall_us t = { 1 };
    ok(store_chain_create(f->st, &f->m, f->location, d, N, NULL, t, VR_POINT_STANDARD, err));
}

static struct vr_point_id next_id(const struct fixture *f)
{
    struct vr_point_id p = f->newest;
    p.lineage.b[0] = 1;
    p.epoch++;
    return p;
}

static struct store_stage *stage_open(struct fixture *f)
{
    struct store_stage *sg = NULL;
    struct store_disk d[N];
    struct vr_point_id p = next_id(f);
    disks_of(f, d);
    ok(store_stage_open(f->st, &f->m, &f->newest, &p, d, N, &sg, err));
    assert_int_equal(sg->n_disks, N);
    return sg;
}

static void remember(struct fixture *f, const struct vr_point_id *p)
{
    f->newest = *p;
    f->at[p->epoch] = f->now[0];
    f->vdb[p->epoch] = f->now[1];
}

static void stage_commit(struct fixture *f, struct store_stage *sg, const struct td_disk to[N])
{
    struct vr_point_id p = sg->point;
    struct wall_us t = { (int64_t)p.epoch * 1000000 };
    for (size_t i = 0; i < N; i++)
        td_write(sg->disks[i].image, sg->disks[i].digests, &f->now[i], &to[i]);
    ok(store_stage_commit(f->st, sg, t, VR_POINT_STANDARD, err));
    memcpy(f->now, to, sizeof f->now);
    remember(f, &p);
}

/* One cycle in which some blocks of vda and, in every third, of vdb change. */
static void cycle(struct fixture *f)
{
    struct td_disk to[N];
    memcpy(to, f->now, sizeof to);
    unsigned e = (unsigned)f->newest.epoch;
    to[0].byte[e % 16] = (uint8_t)(e + 1);
    to[0].byte[(e * 7 + 3) % 16] = e % 4 ? (uint8_t)(e + 101) : 0;
    if (e % 3 == 0)
        to[1].byte[(e * 5) % 32] = (uint8_t)(e + 51);
    stage_commit(f, stage_open(f), to);
}

static void check_points(struct fixture *f, size_t want)
{
    vr_autofree struct store_point *p = NULL;
    size_t n = 0;
    ok(store_points(f->st, &f->m, &p, &n, err));
    if (want)
        assert_int_equal(n, want);
    assert_true(vr_point_eq(&p[n - 1].id, &f->newest));
    for (size_t i = 0; i < n; i++) {
        struct td_disk d[N] = { f->at[p[i].id.epoch], f->vdb[p[i].id.epoch] };
        assert_true(td_point_same(f->st, &f->m, &p[i].id, d, N));
    }
}

/* Merge until nothing is to do; returns how many there were. */
static int merge_all(struct fixture *f, uint32_t keep_min)
{
    struct store_retention r = { .least = keep_min };
    for (int n = 0;; n++) {
        struct store_merge *m = NULL;
        ok(store_merge_prepare(f->st, &f->m, &r, &m, err));
        if (!m)
            return n;
        ok(store_merge_run(m, err));
        ok(store_merge_finish(f->st, m, err));
    }
}

static size_t files(struct fixture *f)
{
    vr_autofree char *cmd = vr_printf("find '%s' -type f ! -name '*.db*' | wc -l", f->location);
    const char *argv[] = { "sh", "-c", cmd, NULL };
    vr_autobuf struct vr_buf out = VR_BUF_INIT;
    ok(vr_proc_run(argv, 30, &out, err));
    return (size_t)strtoul((const char *)out.data, NULL, 10);
}

/* Files go only with a chain without points. */
static void drop_all(struct fixture *f)
{
    fails(VR_E_STATE, store_chain_drop(f->st, &f->m, true, err));
    ok(db_run(f->st->db, err, "DELETE FROM point WHERE machine = ?", "u", &f->m));
    ok(store_chain_drop(f->st, &f->m, true, err));
    assert_int_equal(files(f), 0);
}

static size_t length(struct fixture *f, const char *target)
{
    vr_autofree char *path = NULL;
    ok(store_point_image(f->st, &f->m, &f->newest, target, &path, NULL, err));
    return td_chain_length(path);
}

/* ---- receiving ---- */

static void test_points_are_kept(void **state)
{
    struct fixture *f = *state;
    chain_create(f);
    chain_create(f); /* idempotent */
    for (int i = 0; i < 5; i++)
        cycle(f);
    check_points(f, 5);
    td_reopen(f->dir, &f->st);
    check_points(f, 5);
    struct store_disk d[N];
    disks_of(f, d);
    struct wall_us t = { 1 };
    fails(VR_E_EXISTS,
          store_chain_create(f->st, &f->m, f->location, d, 1, NULL, t, VR_POINT_STANDARD, err));
    drop_all(f);
    assert_false(store_chain_exists(f->st, &f->m));
}

static void test_nothing_changed_makes_no_file(void **state)
{
    struct fixture *f = *state;
    chain_create(f);
    cycle(f);
    size_t had = files(f);
    for (int i = 0; i < 3; i++)
        stage_commit(f, stage_open(f), f->now);
    assert_int_equal(files(f), had);
    check_points(f, 4);
    merge_all(f, 1);
    check_points(f, 1);
}

static void test_wrong_parent(void **state)
{
    struct fixture *f = *state;
    struct store_stage *sg = NULL;
    struct store_disk d[N];
    chain_create(f);
    disks_of(f, d);
    struct vr_point_id p = next_id(f), q = p;
    fails(VR_E_STATE, store_stage_open(f->st, &f->m, &p, &q, d, N, &sg, err));
    cycle(f);
    p.epoch = 7;
    fails(VR_E_STATE, store_stage_open(f->st, &f->m, &p, &q, d, N, &sg, err));
    fails(VR_E_EXISTS, store_stage_open(f->st, &f->m, &f->newest, &f->newest, d, N, &sg, err));
    d[0].size = MIB / 2;
    fails(VR_E_DISKS, store_stage_open(f->st, &f->m, &f->newest, &p, d, N, &sg, err));
    fails(VR_E_DISKS, store_stage_open(f->st, &f->m, &f->newest, &p, d, 1, &sg, err));
}

static void test_stage_is_continued(void **state)
{
    struct fixture *f = *state;
    chain_create(f);
    cycle(f);
    struct store_stage *sg = stage_open(f);
    struct td_disk half[N];
    memcpy(half, f->now, sizeof half);
    half[0].byte[9] = 77;
    td_write(sg->disks[0].image, sg->disks[0].digests, &f->now[0], &half[0]);
    vr_autofree char *image = vr_strdup(sg->disks[0].image);
    struct store_disk d[N];
    struct store_stage *second = NULL;
    disks_of(f, d);
    fails(VR_E_BUSY, store_stage_open(f->st, &f->m, &f->newest, &sg->point, d, N, &second, err));
    store_stage_free(sg);
    td_reopen(f->dir, &f->st);
    struct vr_point_id p = next_id(f);
    p.epoch += 5; /* another epoch, the same layer */
    ok(store_stage_open(f->st, &f->m, &f->newest, &p, d, N, &sg, err));
    assert_string_equal(sg->disks[0].image, image);
    assert_int_equal(sg->point.epoch, p.epoch);
    stage_commit(f, sg, half);
    check_points(f, 2);
    sg = stage_open(f);
    store_stage_free(sg);
    ok(store_stage_discard(f->st, &f->m, err));
    ok(store_stage_discard(f->st, &f->m, err));
    cycle(f);
    check_points(f, 3);
}

static void test_disk_grows(void **state)
{
    struct fixture *f = *state;
    chain_create(f);
    cycle(f);
    struct td_disk to[N];
    memcpy(to, f->now, sizeof to);
    /* Half a stage at the old size, then the disk grows. */
    store_stage_free(stage_open(f));
    f->now[0].size = to[0].size = MIB + 100 * 1024;
    to[0].byte[17] = 200;
    stage_commit(f, stage_open(f), to);
    check_points(f, 2);
    f->now[0].size = to[0].size = 2 * MIB;
    to[0].byte[17] = 202;
    to[0].byte[30] = 201;
    stage_commit(f, stage_open(f), to);
    cycle(f);
    check_points(f, 4);
    merge_all(f, 2);
    check_points(f, 2);
    cycle(f);
    merge_all(f, 1);
    check_points(f, 1);
}

static void test_parent_digests(void **state)
{
    struct fixture *f = *state;
    chain_create(f);
    struct store_stage *sg = stage_open(f);
    assert_true(sg->disks[0].fresh);
    assert_int_equal(sg->disks[0].n_parent_digests, 0);
    stage_commit(f, sg, f->now);
    cycle(f);
    cycle(f);
    sg = stage_open(f);
    assert_false(sg->disks[0].fresh);
    assert_true(sg->disks[0].parents_complete);
    assert_int_equal(sg->disks[0].n_parent_digests, 3);
    store_stage_free(sg);
}

/* ---- merging ---- */

static void test_merge_keeps_content(void **state)
{
    struct fixture *f = *state;
    chain_create(f);
    for (int i = 0; i < 8; i++)
        cycle(f);
    assert_true(merge_all(f, 3) > 0);
    check_points(f, 3);
    assert_true(length(f, "vda") <= 4);
    td_reopen(f->dir, &f->st);
    cycle(f);
    merge_all(f, 1);
    check_points(f, 1);
    assert_true(length(f, "vda") <= 2);
    /* The digests still describe what is there. */
    struct store_verify_input *v = NULL;
    uint64_t blocks = 0, bad = 1;
    ok(store_verify_prepare(f->st, &f->m, &f->newest, &v, err));
    ok(store_verify_run(v, &blocks, &bad, err));
    store_verify_free(v);
    assert_int_equal(bad, 0);
    assert_true(blocks > 5);
}

static void test_merge_below_an_open_stage(void **state)
{
    struct fixture *f = *state;
    chain_create(f);
    for (int i = 0; i < 6; i++)
        cycle(f);
    struct store_stage *sg = stage_open(f);
    merge_all(f, 2);
    check_points(f, 2);
    struct td_disk to[N];
    memcpy(to, f->now, sizeof to);
    to[0].byte[4] = 250;
    stage_commit(f, sg, to);
    merge_all(f, 2);
    check_points(f, 2);
    assert_true(files(f) <= 2 * 2 * N);
}

static void test_pinned_stays(void **state)
{
    struct fixture *f = *state;
    chain_create(f);
    for (int i = 0; i < 6; i++)
        cycle(f);
    struct vr_point_id p = f->newest;
    p.epoch = 3;
    ok(store_point_pin(f->st, &f->m, &p, STORE_PIN_USE, true, err));
    vr_autofree char *image = NULL, *after = NULL;
    ok(store_point_image(f->st, &f->m, &p, "vda", &image, NULL, err));
    size_t had = td_chain_length(image);
    merge_all(f, 1);
    check_points(f, 2);
    ok(store_point_image(f->st, &f->m, &p, "vda", &after, NULL, err));
    assert_string_equal(after, image);
    assert_int_equal(td_chain_length(image), had);
    ok(store_point_pin(f->st, &f->m, &p, STORE_PIN_USE, false, err));
    merge_all(f, 1);
    check_points(f, 1);
    assert_int_equal(length(f, "vda"), 2);
}

/* What a user pins stays, but costs one layer: what lies below is merged as ever. */
static void test_pinned_by_user(void **state)
{
    struct fixture *f = *state;
    chain_create(f);
    for (int i = 0; i < 8; i++)
        cycle(f);
    struct vr_point_id p = f->newest;
    p.epoch = 6;
    ok(store_point_pin(f->st, &f->m, &p, STORE_PIN_USER, true, err));
    ok(store_point_pin(f->st, &f->m, &p, STORE_PIN_USER, true, err));
    /* A test of the same point comes and goes: the user's pin is not its to lift. */
    ok(store_point_pin(f->st, &f->m, &p, STORE_PIN_USE, true, err));
    merge_all(f, 1);
    check_points(f, 2);
    assert_true(length(f, "vda") > 4);
    ok(store_point_pin(f->st, &f->m, &p, STORE_PIN_USE, false, err));
    merge_all(f, 1);
    check_points(f, 2);
    assert_true(length(f, "vda") <= 3);
    ok(store_point_pin(f->st, &f->m, &p, STORE_PIN_USER, false, err));
    merge_all(f, 1);
    check_points(f, 1);
    fails(VR_E_NOTFOUND, store_point_pin(f->st, &f->m, &p, STORE_PIN_USER, true, err));
}

static void test_pins_have_a_limit(void **state)
{
    struct fixture *f = *state;
    chain_create(f);
    for (int i = 0; i < STORE_USER_PINS_MAX + 1; i++) {
        cycle(f);
        if (i < STORE_USER_PINS_MAX)
            ok(store_point_pin(f->st, &f->m, &f->newest, STORE_PIN_USER, true, err));
    }
    fails(VR_E_LIMIT, store_point_pin(f->st, &f->m, &f->newest, STORE_PIN_USER, true, err));
    ok(store_point_pin(f->st, &f->m, &f->newest, STORE_PIN_USE, true, err));
}

static void test_cancelled_merge(void **state)
{
    struct fixture *f = *state;
    struct store_retention r = { .least = 1 };
    struct store_merge *m = NULL, *second = NULL;
    chain_create(f);
    for (int i = 0; i < 5; i++)
        cycle(f);
    ok(store_merge_prepare(f->st, &f->m, &r, &m, err));
    assert_non_null(m);
    fails(VR_E_BUSY, store_merge_prepare(f->st, &f->m, &r, &second, err));
    ok(store_failover_prepare(f->st, &f->m, &f->newest, "vmr.x", err));
    fails(VR_E_CANCELLED, store_merge_run(m, err));
    ok(store_merge_finish(f->st, m, err));
    ok(store_failover_drop(f->st, &f->m, err));
    /* Called off between the copy and the end. */
    ok(store_merge_prepare(f->st, &f->m, &r, &m, err));
    ok(store_merge_run(m, err));
    ok(store_failover_prepare(f->st, &f->m, &f->newest, "vmr.y", err));
    ok(store_merge_finish(f->st, m, err));
    check_points(f, 1);
    ok(store_failover_drop(f->st, &f->m, err));
    merge_all(f, 1);
    check_points(f, 1);
    assert_int_equal(length(f, "vda"), 2);
}

static void test_changed(void **state)
{
    struct fixture *f = *state;
    struct td_disk to[N];
    chain_create(f);
    for (int i = 0; i < 3; i++)
        cycle(f);
    struct vr_point_id from = f->newest;
    for (int k = 0; k < 3; k++) {
        memcpy(to, f->now, sizeof to);
        to[1].byte[k * 4] = 99;
        stage_commit(f, stage_open(f), to);
    }
    for (int round = 0; round < 2; round++) {
        struct extents x = { 0 };
        ok(store_changed(f->st, &f->m, "vdb", &from, &f->newest, &x, err));
        assert_int_equal(extents_bytes(&x), 3 * VR_BLOCK_SIZE);
        for (uint64_t k = 0; k < 3; k++)
            assert_true(extents_contains(&x, k * 4 * VR_BLOCK_SIZE, VR_BLOCK_SIZE));
        extents_done(&x);
        /* Again with the points in between merged away. */
        ok(store_point_pin(f->st, &f->m, &from, STORE_PIN_USE, true, err));
        merge_all(f, 1);
        check_points(f, 2);
    }
    struct vr_point_id gone = from;
    gone.epoch = 1;
    struct extents x = { 0 };
    fails(VR_E_NOTFOUND, store_changed(f->st, &f->m, "vdb", &gone, &f->newest, &x, err));
}

/* ---- failover ---- */

static void vm_writes(struct fixture *f, unsigned seed)
{
    for (size_t i = 0; i < N; i++) {
        vr_autofree char *path = NULL;
        struct td_disk to = f->now[i];
        ok(store_failover_path(f->st, &f->m, f->now[i].target, &path, err));
        to.byte[seed % 16] = (uint8_t)(seed + 1);
        to.byte[(seed * 3 + 2) % 16] = (uint8_t)(seed * 5 + 7);
        td_write(path, NULL, &f->now[i], &to);
        f->now[i] = to;
    }
}

static void test_failover_and_cancel(void **state)
{
    struct fixture *f = *state;
    vr_autofree char *path = NULL, *again = NULL;
    chain_create(f);
    for (int i = 0; i < 4; i++)
        cycle(f);
    ok(store_failover_path(f->st, &f->m, "vda", &path, err));
    assert_int_equal(access(path, F_OK), -1);
    struct vr_point_id p = f->newest;
    p.epoch = 2;
    struct td_disk now[N];
    memcpy(now, f->now, sizeof now);
    ok(store_failover_prepare(f->st, &f->m, &p, "vmr.one", err));
    ok(store_failover_prepare(f->st, &f->m, &p, "vmr.one", err));
    fails(VR_E_STATE, store_failover_prepare(f->st, &f->m, &f->newest, "vmr.one", err));
    assert_true(td_same(path, "qcow2", &f->at[2]));
    struct qcow2_info q = { 0 };
    ok(qcow2_info(path, &q, err));
    assert_int_equal(q.n_bitmaps, 1);
    assert_string_equal(q.bitmaps[0], "vmr.one");
    qcow2_info_done(&q);
    f->now[0] = f->at[2];
    f->now[1] = f->vdb[2];
    vm_writes(f, 5);
    struct extents x = { 0 };
    ok(store_failover_changed(f->st, &f->m, "vda", &x, err));
    assert_int_equal(extents_bytes(&x), 2 * VR_BLOCK_SIZE);
    extents_done(&x);
    td_reopen(f->dir, &f->st);
    assert_true(td_same(path, "qcow2", &f->now[0]));
    check_points(f, 4);
    assert_int_equal(merge_all(f, 1), 0);
    struct store_stage *sg = NULL;
    struct store_disk d[N];
    struct vr_point_id nx = next_id(f);
    disks_of(f, d);
    fails(VR_E_STATE, store_stage_open(f->st, &f->m, &f->newest, &nx, d, N, &sg, err));
    ok(store_failover_drop(f->st, &f->m, err));
    ok(store_failover_drop(f->st, &f->m, err));
    assert_int_equal(access(path, F_OK), -1);
    memcpy(f->now, now, sizeof now);
    cycle(f);
    check_points(f, 5);
    ok(store_failover_path(f->st, &f->m, "vda", &again, err));
    assert_string_equal(again, path);
}

static void test_role_swaps(void **state)
{
    struct fixture *f = *state;
    chain_create(f);
    cycle(f);
    for (unsigned round = 0; round < 10; round++) {
        cycle(f);
        struct vr_point_id on = f->newest, n;
        cycle(f);
        n = f->newest;
        vr_autofree char *path = NULL, *next = NULL;
        ok(store_failover_path(f->st, &f->m, "vda", &path, err));
        bool older = round % 2;
        ok(store_failover_prepare(f->st, &f->m, older ? &on : &n, "vmr.swap", err));
        if (older) {
            f->now[0] = f->at[on.epoch];
            f->now[1] = f->vdb[on.epoch];
        }
        vm_writes(f, round);
        ok(store_failover_become_base(f->st, &f->m, err));
        ok(store_failover_become_base(f->st, &f->m, err));
        fails(VR_E_STATE, store_failover_drop(f->st, &f->m, err));
        if (older) {
            struct extents x = { 0 };
            ok(store_changed(f->st, &f->m, "vda", &on, &n, &x, err));
            assert_true(extents_bytes(&x) > 0);
            extents_done(&x);
        }
        if (round % 4 == 1)
            ok(store_failover_forget_newer(f->st, &f->m, err));
        vm_writes(f, round + 40);
        td_reopen(f->dir, &f->st);
        struct vr_point_id first = { .epoch = n.epoch + 1 };
        first.lineage.b[0] = 1;
        first.lineage.b[1] = (uint8_t)round;
        struct wall_us t = { 1 };
        ok(store_failover_return(f->st, &f->m, &first, t, VR_POINT_STANDARD, err));
        ok(store_failover_return(f->st, &f->m, &first, t, VR_POINT_STANDARD, err));
        remember(f, &first);
        check_points(f, 1);
        ok(store_failover_path(f->st, &f->m, "vda", &next, err));
        assert_string_not_equal(next, path);
        assert_int_equal(access(next, F_OK), -1);
        cycle(f);
        merge_all(f, 2);
        check_points(f, 2);
        assert_true(length(f, "vda") <= 3);
    }
    drop_all(f);
}

/* ---- adopted images ---- */

static void adopt(struct fixture *f, const char *base[N], const char *format[N])
{
    struct store_disk d[N];
    struct vr_point_id p = next_id(f);
    struct wall_us t = { 1 };
    disks_of(f, d);
    for (size_t i = 0; i < N; i++) {
        d[i].base = base[i];
        d[i].base_format = format[i];
        f->now[i].byte[3] = (uint8_t)(30 + i);
        const char *mk[] = { "qemu-img", "create",        "-q", "-f", format[i],
                             base[i],    i ? "2M" : "1M", NULL };
        td_run(mk);
        struct td_disk empty = f->now[i];
        memset(empty.byte, 0, sizeof empty.byte);
        td_write(base[i], NULL, &empty, &f->now[i]);
    }
    const char *b[] = { "qemu-img", "bitmap", "--add", base[0], "vmr.old", NULL };
    td_run(b);
    const char *c[] = { "qemu-img", "bitmap", "--add", base[0], "theirs", NULL };
    td_run(c);
    ok(store_chain_create(f->st, &f->m, f->location, d, N, &p, t, VR_POINT_STANDARD, err));
    ok(store_chain_create(f->st, &f->m, f->location, d, N, &p, t, VR_POINT_STANDARD, err));
    remember(f, &p);
}

static void test_adopted_base(void **state)
{
    struct fixture *f = *state;
    vr_autofree char *a = vr_printf("%s/a.qcow2", f->dir), *b = vr_printf("%s/b.raw", f->dir);
    const char *base[N] = { a, b }, *format[N] = { "qcow2", "raw" };
    adopt(f, base, format);
    check_points(f, 1);
    struct store_stage *sg = stage_open(f);
    assert_false(sg->disks[0].parents_complete);
    assert_int_equal(sg->disks[0].n_parent_digests, 0);
    store_stage_free(sg);
    for (int i = 0; i < 4; i++)
        cycle(f);
    check_points(f, 5);
    assert_true(td_same(a, "qcow2", &f->at[1])); /* untouched until retention asks */
    merge_all(f, 1);
    check_points(f, 1);
    struct qcow2_info q = { 0 };
    ok(qcow2_info(a, &q, err));
    assert_int_equal(q.n_bitmaps, 1);
    assert_string_equal(q.bitmaps[0], "theirs");
    qcow2_info_done(&q);
    drop_all(f);
    assert_int_equal(access(a, F_OK), 0);
    assert_int_equal(access(b, F_OK), 0);
}

static void index_all(struct fixture *f, bool expect)
{
    struct store_index *ix = NULL;
    atomic_bool cancel = true; /* ends at once, and nothing of it counts */
    ok(store_index_prepare(f->st, &f->m, false, &ix, err));
    if (ix)
        fails(VR_E_CANCELLED, store_index_run(ix, &cancel, err));
    ok(store_index_finish(f->st, vr_take(ix), err));
    ok(store_index_prepare(f->st, &f->m, false, &ix, err));
    assert_int_equal(ix != NULL, expect);
    if (ix)
        ok(store_index_run(ix, NULL, err));
    ok(store_index_finish(f->st, ix, err));
}

static void digest(struct fixture *f, char run[65], char tables[65], uint64_t want_bad)
{
    struct store_verify_input *v = NULL;
    uint64_t blocks = 0, bad = 0;
    ok(store_verify_prepare(f->st, &f->m, &f->newest, &v, err));
    ok(store_verify_run(v, &blocks, &bad, err));
    ok(store_verify_digest(v, tables, err));
    ok(store_verify_save(f->st, v, STORE_PROOF_DIGESTS, (struct wall_us){ 7 }, NULL, err));
    store_verify_free(v);
    assert_int_equal(bad, want_bad);
    assert_true(blocks > 0);
    vr_autofree struct store_point *p = NULL;
    size_t n = 0;
    ok(store_points(f->st, &f->m, &p, &n, err));
    strcpy(run, p[n - 1].digest);
}

static void test_index_and_digest(void **state)
{
    struct fixture *f = *state;
    vr_autofree char *a = vr_printf("%s/a.qcow2", f->dir), *b = vr_printf("%s/b.raw", f->dir);
    const char *base[N] = { a, b }, *format[N] = { "qcow2", "raw" };
    adopt(f, base, format);
    index_all(f, true);
    index_all(f, false);
    struct store_stage *sg = stage_open(f);
    assert_true(sg->disks[0].parents_complete);
    assert_int_equal(sg->disks[0].n_parent_digests, 1);
    store_stage_free(sg);
    for (int i = 0; i < 4; i++)
        cycle(f);
    char run[65], tables[65], merged[65];
    digest(f, run, tables, 0);
    assert_int_equal(strlen(run), 64);
    assert_string_equal(run, tables);
    merge_all(f, 1);
    digest(f, merged, tables, 0);
    assert_string_equal(merged, run); /* how the layers lie does not matter */
    assert_string_equal(tables, run);
    /* A failover and back: the overlay is unknown until it is indexed. */
    ok(store_failover_prepare(f->st, &f->m, &f->newest, "vmr.z", err));
    vm_writes(f, 8);
    ok(store_failover_become_base(f->st, &f->m, err));
    struct vr_point_id p = next_id(f);
    ok(store_failover_return(f->st, &f->m, &p, (struct wall_us){ 1 }, VR_POINT_PLANNED, err));
    remember(f, &p);
    index_all(f, true);
    cycle(f);
    merge_all(f, 1);
    check_points(f, 1);
    digest(f, run, tables, 0);
    assert_string_equal(run, tables);
}

static void test_damage_is_found(void **state)
{
    struct fixture *f = *state;
    chain_create(f);
    for (int i = 0; i < 3; i++)
        cycle(f);
    vr_autofree char *image = NULL;
    char run[65], tables[65];
    ok(store_point_image(f->st, &f->m, &f->newest, "vda", &image, NULL, err));
    struct td_disk bad = f->now[0];
    bad.byte[1] ^= 0x40;
    bad.byte[15] ^= 0x40; /* may be a block that no table holds */
    td_write(image, NULL, &f->now[0], &bad);
    digest(f, run, tables, 2);
    assert_string_equal(run, "");
}

/* A chain that was dropped with its files kept, and one made anew in the same folder over them. */
static void test_folder_is_used_again(void **state)
{
    struct fixture *f = *state;
    chain_create(f);
    for (int i = 0; i < 3; i++)
        cycle(f);
    ok(store_failover_prepare(f->st, &f->m, &f->newest, "vmr.q", err));
    vm_writes(f, 3);
    ok(store_failover_become_base(f->st, &f->m, err));
    char *base[N] = { NULL };
    struct store_disk d[N];
    disks_of(f, d);
    for (size_t i = 0; i < N; i++) {
        ok(store_failover_path(f->st, &f->m, f->now[i].target, &base[i], err));
        d[i].base = base[i];
        d[i].base_format = "qcow2";
    }
    ok(store_chain_drop(f->st, &f->m, false, err));
    struct vr_point_id p = next_id(f);
    ok(store_chain_create(f->st, &f->m, f->location, d, N, &p, (struct wall_us){ 1 },
                          VR_POINT_STANDARD, err));
    remember(f, &p);
    td_reopen(f->dir, &f->st);
    for (int i = 0; i < 3; i++)
        cycle(f);
    check_points(f, 4);
    merge_all(f, 1);
    check_points(f, 1);
    for (size_t i = 0; i < N; i++)
        free(base[i]);
}

int main(void)
{
#define T(n) cmocka_unit_test_setup_teardown(n, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_points_are_kept),
        T(test_nothing_changed_makes_no_file),
        T(test_wrong_parent),
        T(test_stage_is_continued),
        T(test_disk_grows),
        T(test_parent_digests),
        T(test_merge_keeps_content),
        T(test_merge_below_an_open_stage),
        T(test_pinned_stays),
        T(test_pinned_by_user),
        T(test_pins_have_a_limit),
        T(test_cancelled_merge),
        T(test_changed),
        T(test_failover_and_cancel),
        T(test_role_swaps),
        T(test_adopted_base),
        T(test_index_and_digest),
        T(test_damage_is_found),
        T(test_folder_is_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
