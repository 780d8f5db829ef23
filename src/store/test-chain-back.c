/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests of chains: failing over, coming back, images that become a base, and what is found of their
 * tables and damage; with real images. */
#include "store/test-chain-kit.h"

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
        T(test_failover_and_cancel), T(test_role_swaps),      T(test_adopted_base),
        T(test_index_and_digest),    T(test_damage_is_found), T(test_folder_is_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
