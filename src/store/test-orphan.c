/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an old primary had written and nobody received is a point that retention does not merge away
 * before its time, over failover and return, until somebody discards it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "store/testdisk.h"

#define MIB ((uint64_t)1 << 20)
#define DAY ((int64_t)86400 * 1000000)

struct fixture {
    char dir[64];
    char *location, *base;
    struct store *st;
    struct vr_uuid m, line;
    struct vr_point_id orphan, newest;
    struct td_disk first, now;
};

#define ok(call)                         \
    do {                                 \
        struct vr_err err = VR_ERR_INIT; \
        if ((call) < 0)                  \
            fail_msg("%s", err.msg);     \
    } while (0)
#define fails(expected, call)                 \
    do {                                      \
        struct vr_err err = VR_ERR_INIT;      \
        assert_int_equal(call, -1);           \
        assert_int_equal(err.kind, expected); \
    } while (0)

static int setup(void **state)
{
    struct fixture *f = vr_new(struct fixture);
    strcpy(f->dir, "/tmp/vmr-store-XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    ok(store_open(f->dir, &f->st, &err));
    f->location = vr_printf("%s/replicas", f->dir);
    f->base = vr_printf("%s/own.raw", f->dir);
    f->m = vr_uuid_new();
    f->line = vr_uuid_new();
    f->first = (struct td_disk){ .target = "vda", .size = MIB };
    const char *mk[] = { "qemu-img", "create", "-q", "-f", "raw", f->base, "1M", NULL };
    td_run(mk);
    f->now = f->first;
    for (int i = 0; i < 16; i++)
        f->now.byte[i] = (uint8_t)(100 + i);
    td_write(f->base, NULL, &f->first, &f->now);
    f->first = f->now;
    f->orphan = f->newest = (struct vr_point_id){ .lineage = vr_uuid_new(), .epoch = 9 };
    struct store_disk d = { .target = "vda", .size = MIB, .base = f->base, .base_format = "raw" };
    ok(store_chain_create(f->st, &f->m, f->location, &d, 1, &f->orphan, (struct wall_us){ 1 },
                          VR_POINT_ORPHAN, &err));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    store_close(f->st);
    const char *argv[] = { "rm", "-rf", f->dir, NULL };
    td_run(argv);
    free(f->location);
    free(f->base);
    free(f);
    return 0;
}

static void cycle(struct fixture *f)
{
    struct store_stage *sg = NULL;
    struct store_disk d = { .target = "vda", .size = MIB };
    struct vr_point_id p = { f->line,
                             vr_uuid_eq(&f->newest.lineage, &f->line) ? f->newest.epoch + 1 : 1 };
    ok(store_stage_open(f->st, &f->m, &f->newest, &p, &d, 1, &sg, &err));
    struct td_disk to = f->now;
    to.byte[p.epoch % 16] ^= 0x55;
    td_write(sg->disks[0].image, sg->disks[0].digests, &f->now, &to);
    ok(store_stage_commit(f->st, sg, (struct wall_us){ (int64_t)p.epoch * 1000000 },
                          VR_POINT_STANDARD, &err));
    f->now = to;
    f->newest = p;
}

static void merge_all(struct fixture *f, uint32_t orphan_s)
{
    struct store_retention keep = { .least = 1, .orphan_s = orphan_s };
    for (struct store_merge *m = NULL;; m = NULL) {
        ok(store_merge_prepare(f->st, &f->m, &keep, &m, &err));
        if (!m)
            return;
        ok(store_merge_run(m, &err));
        ok(store_merge_finish(f->st, m, &err));
    }
}

static bool listed(struct fixture *f, const struct vr_point_id *id)
{
    vr_autofree struct store_point *p = NULL;
    size_t n = 0;
    bool found = false;
    ok(store_points(f->st, &f->m, &p, &n, &err));
    for (size_t i = 0; i < n; i++)
        found |= vr_point_eq(&p[i].id, id);
    return found;
}

static void is_whole(struct fixture *f)
{
    assert_true(listed(f, &f->orphan));
    assert_true(td_point_same(f->st, &f->m, &f->orphan, &f->first, 1));
    assert_true(td_point_same(f->st, &f->m, &f->newest, &f->now, 1));
    assert_true(td_same(f->base, "raw", &f->first)); /* the old primary's own file */
}

static void test_kept_and_discarded(void **state)
{
    struct fixture *f = *state;
    fails(VR_E_STATE, store_point_discard(f->st, &f->m, &f->orphan, &err)); /* all stands on it */
    for (int i = 0; i < 6; i++)
        cycle(f);
    merge_all(f, 0);
    is_whole(f);
    fails(VR_E_STATE, store_point_discard(f->st, &f->m, &f->newest, &err));
    ok(store_point_pin(f->st, &f->m, &f->orphan, STORE_PIN_USE, true, &err));
    fails(VR_E_BUSY, store_point_discard(f->st, &f->m, &f->orphan, &err));
    ok(store_point_pin(f->st, &f->m, &f->orphan, STORE_PIN_USE, false, &err));
    ok(store_point_discard(f->st, &f->m, &f->orphan, &err));
    assert_false(listed(f, &f->orphan));
    merge_all(f, 0);
    assert_true(td_point_same(f->st, &f->m, &f->newest, &f->now, 1));
    fails(VR_E_NOTFOUND, store_point_discard(f->st, &f->m, &f->orphan, &err));
}

/* The machine goes there and back: the orphan lies below all of it. */
static void test_survives_failover_and_return(void **state)
{
    struct fixture *f = *state;
    struct vr_point_id back = { vr_uuid_new(), 3 };
    for (int i = 0; i < 3; i++)
        cycle(f);
    ok(store_failover_prepare(f->st, &f->m, &f->newest, "vmr.x.0", &err));
    ok(store_failover_become_base(f->st, &f->m, &err));
    assert_false(listed(f, &f->orphan)); /* a primary lists no points */
    ok(store_failover_return(f->st, &f->m, &back, (struct wall_us){ 5 }, VR_POINT_ORPHAN, &err));
    f->newest = back;
    is_whole(f);
    cycle(f);
    merge_all(f, 0);
    is_whole(f);
    assert_true(listed(f, &back)); /* there are two now */
}

static void test_time_is_up(void **state)
{
    (void)state;
    struct store_point p[3] = {
        { .kind = VR_POINT_ORPHAN, .received = { 0 }, .moment = { 0 } },
        { .kind = VR_POINT_STANDARD, .received = { DAY }, .moment = { DAY } },
        { .kind = VR_POINT_STANDARD, .received = { 9 * DAY }, .moment = { 9 * DAY } },
    };
    struct store_retention keep = { .least = 1, .orphan_s = 10 * 86400 };
    store_retention_apply(p, 3, &keep);
    assert_int_equal(p[0].why, STORE_WHY_ORPHAN);
    assert_true(p[0].goes.us == 10 * DAY);
    assert_int_equal(p[1].why, 0);
    keep.orphan_s = 8 * 86400;
    store_retention_apply(p, 3, &keep);
    assert_int_equal(p[0].why, 0);
    keep.orphan_s = 0;
    store_retention_apply(p, 3, &keep);
    assert_int_equal(p[0].why, STORE_WHY_ORPHAN);
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_kept_and_discarded),
        T(test_survives_failover_and_return),
        cmocka_unit_test(test_time_is_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
