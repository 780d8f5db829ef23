/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests of chains: receiving points and merging them, with real images. */
#include "store/test-chain-kit.h"

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

/* What is told of a point's size is what its layers take up, with what they took over from those
 * that went. */
static void check_room(struct fixture *f)
{
    static const char *const targets[] = { "vda", "vdb" };
    vr_autofree struct store_point *p = NULL;
    char last[VR_ARRAY_LEN(targets)][512] = { "" };
    size_t n = 0;
    ok(store_points(f->st, &f->m, &p, &n, err));
    for (size_t i = 0; i < n; i++) {
        uint64_t room = 0;
        for (size_t t = 0; t < VR_ARRAY_LEN(targets); t++) {
            vr_autofree char *path = NULL;
            ok(store_point_image(f->st, &f->m, &p[i].id, targets[t], &path, NULL, err));
            if (strcmp(path, last[t]) != 0)
                room += image_room(path);
            snprintf(last[t], sizeof last[t], "%s", path);
        }
        assert_true(room > 0 || i > 0);
        assert_int_equal(p[i].bytes, room);
    }
}

static void test_merge_tells_the_room(void **state)
{
    struct fixture *f = *state;
    chain_create(f);
    for (int i = 0; i < 8; i++)
        cycle(f);
    check_room(f);
    assert_true(merge_all(f, 3) > 0);
    check_room(f);
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
        T(test_merge_tells_the_room),
        T(test_merge_below_an_open_stage),
        T(test_pinned_stays),
        T(test_pinned_by_user),
        T(test_pins_have_a_limit),
        T(test_cancelled_merge),
        T(test_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
