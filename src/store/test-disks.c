/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests of chains whose points have different disks: one is added, taken out, added again; with
 * real images. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/proc.h"
#include "base/testing.h"
#include "store/store_int.h"
#include "store/testdisk.h"

#define MIB ((uint64_t)1 << 20)
enum { VDA, VDB, VDC, ALL, POINTS_MAX = 64 };

struct content {
    struct td_disk d[ALL];
    size_t n;
};

struct fixture {
    char dir[TD_DIR];
    char *location;
    struct store *st;
    struct vr_uuid m;
    struct vr_point_id newest;
    struct content at[POINTS_MAX]; /* by epoch */
};

static int setup(void **state)
{
    struct fixture *f = vr_new(struct fixture);
    td_setup(f->dir, &f->st);
    f->location = vr_printf("%s/replicas", f->dir);
    f->m = vr_uuid_new();
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

static const char *const names[ALL] = { "vda", "vdb", "vdc" };

static void names_of(const char *which, struct store_disk d[ALL], size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < ALL; i++) {
        if (!strchr(which, names[i][2]))
            continue;
        d[*n] = (struct store_disk){ .size = (i + 1) * MIB };
        strcpy(d[(*n)++].target, names[i]);
    }
}

static const struct td_disk *of(const struct content *c, const char *target)
{
    for (size_t i = 0; i < c->n; i++)
        if (!strcmp(c->d[i].target, target))
            return &c->d[i];
    return NULL;
}

static struct store_stage *stage_open(struct fixture *f, const char *which)
{
    struct store_stage *sg = NULL;
    struct store_disk d[ALL];
    struct vr_point_id p = f->newest;
    size_t n;
    p.lineage.b[0] = 1;
    p.epoch++;
    names_of(which, d, &n);
    ok(store_stage_open(f->st, &f->m, &f->newest, &p, d, n, &sg, err));
    assert_int_equal(sg->n_disks, n);
    return sg;
}

/* A point of the disks "ab", "abc", ...: each has some blocks of its own. */
static void point(struct fixture *f, const char *which)
{
    struct store_stage *sg = stage_open(f, which);
    struct vr_point_id p = sg->point;
    const struct content *before = &f->at[p.epoch - 1];
    struct content *now = &f->at[p.epoch];
    unsigned e = (unsigned)p.epoch;
    now->n = sg->n_disks;
    for (size_t i = 0; i < sg->n_disks; i++) {
        struct store_stage_disk *s = &sg->disks[i];
        struct td_disk none = { .size = s->size }, *to = &now->d[i];
        const struct td_disk *from = of(before, s->target);
        /* A disk that the point before lacks stands on nothing, whatever older points have. */
        assert_int_equal(s->fresh, from == NULL);
        *to = from ? *from : none;
        strcpy(to->target, s->target);
        strcpy(none.target, s->target);
        to->byte[e % 16] = (uint8_t)(e + i);
        to->byte[(e * 7 + 3) % 16] = (uint8_t)(e + i + 100);
        td_write(s->image, s->digests, from ? from : &none, to);
    }
    ok(store_stage_commit(f->st, sg, (struct wall_us){ e * 1000000 }, VR_POINT_STANDARD, err));
    f->newest = p;
}

static void chain_create(struct fixture *f, const char *which)
{
    struct store_disk d[ALL];
    size_t n;
    names_of(which, d, &n);
    ok(store_chain_create(f->st, &f->m, f->location, d, n, NULL, (struct wall_us){ 1 },
                          VR_POINT_STANDARD, err));
}

/* Each listed point has the disks and bytes that it was made with, and no others. */
static void check_points(struct fixture *f, size_t want)
{
    vr_autofree struct store_point *p = NULL;
    size_t n = 0;
    ok(store_points(f->st, &f->m, &p, &n, err));
    assert_int_equal(n, want);
    for (size_t i = 0; i < n; i++) {
        const struct content *c = &f->at[p[i].id.epoch];
        struct store_disk d[VR_DISKS_MAX];
        size_t n_disks = 0;
        assert_true(td_point_same(f->st, &f->m, &p[i].id, c->d, c->n));
        ok(store_point_disks(f->st, &f->m, &p[i].id, d, &n_disks, err));
        assert_int_equal(n_disks, c->n);
        for (size_t k = 0; k < ALL; k++) {
            char *path = NULL;
            assert_int_equal(store_point_has(&p[i], names[k]), of(c, names[k]) != NULL);
            if (!of(c, names[k]))
                fails(VR_E_NOTFOUND,
                      store_point_image(f->st, &f->m, &p[i].id, names[k], &path, NULL, err));
        }
        vr_auto(store_verify_free) struct store_verify_input *v = NULL;
        uint64_t blocks = 0, bad = 0;
        ok(store_verify_prepare(f->st, &f->m, &p[i].id, &v, err));
        ok(store_verify_run(v, &blocks, &bad, err));
        assert_int_equal(bad, 0);
    }
}

static int merge_all(struct fixture *f, uint32_t least)
{
    struct store_retention r = { .least = least };
    for (int n = 0;; n++) {
        struct store_merge *m = NULL;
        ok(store_merge_prepare(f->st, &f->m, &r, &m, err));
        if (!m)
            return n;
        ok(store_merge_run(m, err));
        ok(store_merge_finish(f->st, m, err));
    }
}

static size_t files(struct fixture *f, const char *pattern)
{
    vr_autofree char *cmd = vr_printf("find '%s' -type f -name '%s' | wc -l", f->location, pattern);
    const char *argv[] = { "sh", "-c", cmd, NULL };
    vr_autobuf struct vr_buf out = VR_BUF_INIT;
    ok(vr_proc_run(argv, 30, &out, err));
    return (size_t)strtoul((const char *)out.data, NULL, 10);
}

static void several(struct fixture *f, const char *which, int n)
{
    while (n--)
        point(f, which);
}

static void test_added_and_removed(void **state)
{
    struct fixture *f = *state;
    chain_create(f, "a");
    several(f, "a", 2);
    several(f, "ab", 3);
    several(f, "a", 2);
    several(f, "abc", 2); /* vdb again: nothing of before lies below it */
    several(f, "bc", 2);
    check_points(f, 11);
    td_reopen(f->dir, &f->st);
    check_points(f, 11);
}

static void test_merges_keep_each_points_disks(void **state)
{
    struct fixture *f = *state;
    chain_create(f, "a");
    several(f, "a", 3);
    several(f, "ab", 5);
    several(f, "ac", 6);
    for (uint32_t keep = 13; keep > 8; keep--) {
        merge_all(f, keep);
        check_points(f, keep);
    }
    td_reopen(f->dir, &f->st);
    merge_all(f, 7);
    check_points(f, 7);
    assert_true(files(f, "vdb.*") > 0);
    merge_all(f, 6); /* the last point with vdb goes, and all of vdb with it */
    check_points(f, 6);
    assert_int_equal(files(f, "vdb.*"), 0);
    merge_all(f, 1);
    check_points(f, 1);
    several(f, "abc", 2);
    merge_all(f, 1);
    check_points(f, 1);
}

/* What a point in the middle shows is pinned; vdb is merged beside the newest point. */
static void test_merges_beside(void **state)
{
    struct fixture *f = *state;
    chain_create(f, "ab");
    several(f, "ab", 8);
    struct vr_point_id kept = f->newest;
    ok(store_point_pin(f->st, &f->m, &kept, STORE_PIN_USER, true, err));
    several(f, "a", 5);
    merge_all(f, 1);
    check_points(f, 2);
    ok(store_point_pin(f->st, &f->m, &kept, STORE_PIN_USER, false, err));
    merge_all(f, 1);
    check_points(f, 1);
    assert_int_equal(files(f, "vdb.*"), 0);
}

static const struct store_stage_disk *staged(const struct store_stage *sg, const char *target)
{
    for (size_t i = 0; i < sg->n_disks; i++)
        if (!strcmp(sg->disks[i].target, target))
            return &sg->disks[i];
    return NULL;
}

/* The set of disks is changed while a point comes in: of those that stay nothing is lost, those
 * that go leave no files. */
static void test_stage_keeps_the_disks_that_stay(void **state)
{
    struct fixture *f = *state;
    chain_create(f, "ab");
    for (int first = 1; first >= 0; first--) { /* the initial copy; a later point */
        struct store_stage *sg = stage_open(f, "ab");
        vr_autofree char *a = vr_strdup(staged(sg, "vda")->image);
        vr_autofree char *b = vr_strdup(staged(sg, "vdb")->image);
        struct td_disk none = { .size = MIB, .target = "vda" }, some = none;
        some.byte[5] = 77;
        td_write(a, staged(sg, "vda")->digests, &none, &some);
        store_stage_free(sg);
        sg = stage_open(f, "ac");
        assert_string_equal(staged(sg, "vda")->image, a);
        assert_non_null(staged(sg, "vdc"));
        assert_int_equal(access(b, F_OK), -1);
        assert_int_equal(access(staged(sg, "vdc")->image, R_OK | W_OK), 0);
        vr_autofree char *c = vr_strdup(staged(sg, "vdc")->image);
        store_stage_free(sg);
        td_reopen(f->dir, &f->st);
        sg = stage_open(f, "abc");
        assert_string_equal(staged(sg, "vda")->image, a);
        assert_string_equal(staged(sg, "vdc")->image, c);
        store_stage_free(sg);
        sg = stage_open(f, "b");
        assert_int_equal(access(a, F_OK), -1);
        store_stage_free(sg);
        ok(store_stage_discard(f->st, &f->m, err));
        several(f, "ab", 2);
        check_points(f, first ? 2 : 4);
    }
}

static void test_stage_of_other_disks(void **state)
{
    struct fixture *f = *state;
    struct store_stage *sg;
    struct store_disk d[2] = { { .size = MIB }, { .size = MIB } };
    struct vr_point_id p;
    chain_create(f, "ab");
    several(f, "ab", 2);
    store_stage_free(stage_open(f, "ab"));
    store_stage_free(stage_open(f, "abc"));
    several(f, "abc", 1);
    store_stage_free(stage_open(f, "ab"));
    td_reopen(f->dir, &f->st);
    several(f, "a", 1);
    check_points(f, 4);
    p = f->newest;
    p.epoch++;
    strcpy(d[0].target, "vda");
    strcpy(d[1].target, "vda");
    fails(VR_E_INVAL, store_stage_open(f->st, &f->m, &f->newest, &p, d, 2, &sg, err));
    strcpy(d[1].target, "../vdb");
    fails(VR_E_INVAL, store_stage_open(f->st, &f->m, &f->newest, &p, d, 2, &sg, err));
    fails(VR_E_DISKS, store_stage_open(f->st, &f->m, &f->newest, &p, d, 0, &sg, err));
}

/* Failed over to, cancelled, and failed over to again: the overlays are the point's disks. */
static void test_failover_has_the_points_disks(void **state)
{
    struct fixture *f = *state;
    chain_create(f, "a");
    several(f, "a", 2);
    struct vr_point_id first = f->newest;
    several(f, "ab", 2);
    struct vr_point_id middle = f->newest;
    several(f, "ac", 2);
    ok(store_failover_prepare(f->st, &f->m, &middle, "vmr.x", err));
    for (size_t i = 0; i < ALL; i++) {
        vr_autofree char *path = NULL;
        ok(store_failover_path(f->st, &f->m, names[i], &path, err));
        assert_int_equal(access(path, F_OK) == 0, i != VDC);
        if (i != VDC)
            assert_true(td_same(path, "qcow2", of(&f->at[middle.epoch], names[i])));
    }
    ok(store_failover_drop(f->st, &f->m, err));
    check_points(f, 6);
    ok(store_failover_prepare(f->st, &f->m, &first, "vmr.y", err));
    for (size_t i = 0; i < ALL; i++) {
        vr_autofree char *path = NULL;
        ok(store_failover_path(f->st, &f->m, names[i], &path, err));
        assert_int_equal(access(path, F_OK) == 0, i == VDA);
    }
    ok(store_failover_drop(f->st, &f->m, err));
    several(f, "ac", 1);
    check_points(f, 7);
}

/* Failed over to a point of other disks than the newest has, a primary for a while, and back. */
static void test_roles_change(void **state)
{
    struct fixture *f = *state;
    struct extents x = { 0 };
    chain_create(f, "ab");
    several(f, "ab", 3);
    struct vr_point_id old = f->newest;
    several(f, "ac", 2);
    ok(store_failover_prepare(f->st, &f->m, &old, "vmr.x", err));
    ok(store_failover_become_base(f->st, &f->m, err));
    /* What lies between cannot be told of a disk that one of them lacks. */
    fails(VR_E_NOTFOUND, store_changed(f->st, &f->m, "vdb", &old, &f->newest, &x, err));
    ok(store_changed(f->st, &f->m, "vda", &old, &f->newest, &x, err));
    assert_true(x.n > 0);
    extents_done(&x);
    ok(store_failover_forget_newer(f->st, &f->m, err));
    assert_int_equal(files(f, "vdc.*"), 0);
    struct vr_point_id back = { .epoch = 20 };
    back.lineage.b[0] = 2;
    ok(store_failover_return(f->st, &f->m, &back, (struct wall_us){ 40000000 }, VR_POINT_PLANNED,
                             err));
    f->at[20] = f->at[old.epoch];
    f->newest = back;
    check_points(f, 1);
    ok(store_failover_unreturn(f->st, &f->m, &back, err));
    ok(store_failover_return(f->st, &f->m, &back, (struct wall_us){ 40000000 }, VR_POINT_PLANNED,
                             err));
    struct store_stage *sg = NULL;
    struct store_disk d[ALL];
    size_t n;
    struct vr_point_id p = { .lineage = back.lineage, .epoch = 21 };
    names_of("bc", d, &n);
    ok(store_stage_open(f->st, &f->m, &back, &p, d, n, &sg, err));
    assert_int_equal(sg->disks[0].fresh + sg->disks[1].fresh, 1);
    store_stage_free(sg);
}

/* The disks of a seed are adopted: taken out of replication they are never deleted. */
static void test_adopted_disk_stays(void **state)
{
    struct fixture *f = *state;
    vr_autofree char *base = vr_printf("%s/own.raw", f->dir);
    const char *argv[] = { "qemu-img", "create", "-q", "-f", "raw", base, "1M", NULL };
    td_run(argv);
    struct store_disk d[1] = { { .size = MIB, .base = base, .base_format = "raw" } };
    strcpy(d[0].target, "vda");
    struct vr_point_id first = { .epoch = 0 };
    first.lineage.b[0] = 1;
    ok(store_chain_create(f->st, &f->m, f->location, d, 1, &first, (struct wall_us){ 1 },
                          VR_POINT_STANDARD, err));
    f->newest = first;
    f->at[0].n = 1;
    f->at[0].d[0] = (struct td_disk){ .target = "vda", .size = MIB };
    several(f, "ab", 2);
    check_points(f, 3);
    several(f, "b", 2);
    check_points(f, 5);
    merge_all(f, 1);
    check_points(f, 1);
    assert_int_equal(access(base, F_OK), 0);
}

/* An earlier removal failed, and its relationship is gone: what is left is neither taken for the
 * chain of a new one nor deleted. */
static void test_left_chain_is_kept(void **state)
{
    struct fixture *f = *state;
    struct store_disk d[ALL];
    struct wall_us t = { 1 };
    size_t n;
    names_of("ab", d, &n);
    chain_create(f, "ab");
    chain_create(f, "ab"); /* nothing was received: the same again */
    several(f, "ab", 2);
    fails(VR_E_EXISTS,
          store_chain_create(f->st, &f->m, f->location, d, n, NULL, t, VR_POINT_STANDARD, err));
    fails(VR_E_STATE, store_chain_drop(f->st, &f->m, true, err));
    check_points(f, 2);
    vr_autofree char *path = NULL;
    ok(store_point_image(f->st, &f->m, &f->newest, "vda", &path, NULL, err));
    ok(store_chain_drop(f->st, &f->m, false, err));
    assert_int_equal(access(path, F_OK), 0);
    chain_create(f, "ab");
    td_reopen(f->dir, &f->st);
    assert_int_equal(access(path, F_OK), 0);
}

/* ---- merges that cannot be finished, or do not stop ---- */

static struct vr_point_id id_of(const struct fixture *f, uint64_t epoch)
{
    struct vr_point_id p = f->newest;
    p.epoch = epoch;
    return p;
}

/* A merge of the second layer into the first is copied, and its end fails: the one above is away.
 * Its path; the caller frees. */
static char *leave_copied_merge(struct fixture *f)
{
    struct store_retention keep = { .least = 1 };
    struct store_merge *m = NULL;
    struct vr_err e = VR_ERR_INIT;
    for (uint64_t i = 2; i <= f->newest.epoch; i++) {
        struct vr_point_id p = id_of(f, i);
        ok(store_point_pin(f->st, &f->m, &p, STORE_PIN_USER, true, err));
    }
    ok(store_merge_prepare(f->st, &f->m, &keep, &m, err));
    assert_non_null(m);
    ok(store_merge_run(m, err));
    struct vr_point_id third = id_of(f, 3);
    char *path = NULL;
    ok(store_point_image(f->st, &f->m, &third, "vda", &path, NULL, err));
    vr_autofree char *away = vr_printf("%s.away", path);
    assert_int_equal(rename(path, away), 0);
    assert_int_equal(store_merge_finish(f->st, m, &e), -1);
    return path;
}

static size_t merges(struct fixture *f)
{
    int64_t n = 0;
    ok(db_one_int(f->st->db, &n, err, "SELECT count(*) FROM merge", ""));
    return (size_t)n;
}

/* The failover is to the very layer that is to go: when the machine has come back, its disk stands
 * on the layer that holds the bytes then, and so does the branch that was failed over from. */
static void test_failover_beside_a_merge_that_cannot_end(void **state)
{
    struct fixture *f = *state;
    chain_create(f, "a");
    several(f, "a", 4);
    vr_autofree char *path = leave_copied_merge(f);
    vr_autofree char *away = vr_printf("%s.away", path);
    struct vr_point_id on = id_of(f, 2), back = { .lineage = { { 9 } }, .epoch = 20 };
    ok(store_failover_prepare(f->st, &f->m, &on, "vmr.x", err));
    assert_int_equal(rename(away, path), 0);
    ok(store_failover_become_base(f->st, &f->m, err));
    /* The machine runs, and the store is opened again: no file of the chain changes. */
    td_reopen(f->dir, &f->st);
    assert_int_equal(merges(f), 1);
    vr_autofree char *disk = NULL;
    ok(store_failover_path(f->st, &f->m, "vda", &disk, err));
    f->at[20] = f->at[2];
    f->at[20].d[0].byte[5] = 99;
    td_write(disk, NULL, &f->at[2].d[0], &f->at[20].d[0]);
    ok(store_failover_forget_newer(f->st, &f->m, err)); /* pinned ones stay */
    ok(store_failover_return(f->st, &f->m, &back, (struct wall_us){ 40000000 }, VR_POINT_PLANNED,
                             err));
    merge_all(f, 1);
    assert_int_equal(merges(f), 0);
    vr_autofree struct store_point *p = NULL;
    size_t n = 0;
    ok(store_points(f->st, &f->m, &p, &n, err));
    assert_int_equal(n, 4);
    for (size_t i = 0; i < n; i++)
        assert_true(td_point_same(f->st, &f->m, &p[i].id, f->at[p[i].id.epoch].d, 1));
    assert_true(td_same(disk, "qcow2", &f->at[20].d[0]));
}

/* The layers of the merge go with the points after the one that was failed over to. */
static void test_a_merge_whose_layers_go(void **state)
{
    struct fixture *f = *state;
    struct vr_point_id back = { .lineage = { { 9 } }, .epoch = 20 };
    chain_create(f, "a");
    several(f, "a", 4);
    for (uint64_t i = 1; i <= 3; i += 2) {
        struct vr_point_id p = id_of(f, i);
        ok(store_point_pin(f->st, &f->m, &p, STORE_PIN_USER, true, err));
    }
    struct store_retention keep = { .least = 1 };
    struct store_merge *m = NULL;
    ok(store_merge_prepare(f->st, &f->m, &keep, &m, err));
    assert_non_null(m); /* the third layer into the second */
    ok(store_merge_run(m, err));
    struct vr_point_id first = id_of(f, 1), third = id_of(f, 3);
    vr_autofree char *path = NULL;
    ok(store_point_image(f->st, &f->m, &f->newest, "vda", &path, NULL, err));
    vr_autofree char *away = vr_printf("%s.away", path);
    assert_int_equal(rename(path, away), 0);
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(store_merge_finish(f->st, m, &e), -1);
    assert_int_equal(merges(f), 1);
    ok(store_failover_prepare(f->st, &f->m, &first, "vmr.x", err));
    assert_int_equal(rename(away, path), 0);
    ok(store_failover_become_base(f->st, &f->m, err));
    ok(db_run(f->st->db, err, "UPDATE point SET pinned = 0 WHERE epoch = ?", "i",
              (int64_t)third.epoch));
    ok(store_failover_forget_newer(f->st, &f->m, err));
    assert_int_equal(merges(f), 0);
    f->at[20] = f->at[1];
    ok(store_failover_return(f->st, &f->m, &back, (struct wall_us){ 40000000 }, VR_POINT_PLANNED,
                             err));
    td_reopen(f->dir, &f->st);
    merge_all(f, 1);
    assert_true(td_point_same(f->st, &f->m, &back, f->at[1].d, 1));
}

/* Storage that hangs: whoever needs the chain is told, and the store goes on. */
static void test_a_merge_that_does_not_stop(void **state)
{
    struct fixture *f = *state;
    struct vr_uuid other = vr_uuid_new();
    chain_create(f, "a");
    several(f, "a", 2);
    f->st->stop_ms = 50;
    struct hold *h = hold_new(f->st, HOLD_MERGE, &f->m, 0);
    struct hold *elsewhere = hold_new(f->st, HOLD_MERGE, &other, 0);
    atomic_store(&h->running, true);
    atomic_store(&elsewhere->running, true);
    fails(VR_E_BUSY, store_failover_prepare(f->st, &f->m, &f->newest, "vmr.x", err));
    fails(VR_E_BUSY, store_chain_drop(f->st, &f->m, false, err));
    assert_true(atomic_load(&h->cancel));
    assert_false(atomic_load(&elsewhere->cancel));
    atomic_store(&h->running, false);
    hold_release(h);
    ok(store_failover_prepare(f->st, &f->m, &f->newest, "vmr.x", err));
    hold_release(elsewhere);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        T(test_added_and_removed),
        T(test_merges_keep_each_points_disks),
        T(test_merges_beside),
        T(test_stage_of_other_disks),
        T(test_stage_keeps_the_disks_that_stay),
        T(test_failover_has_the_points_disks),
        T(test_roles_change),
        T(test_adopted_disk_stays),
        T(test_left_chain_is_kept),
        T(test_failover_beside_a_merge_that_cannot_end),
        T(test_a_merge_whose_layers_go),
        T(test_a_merge_that_does_not_stop),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
