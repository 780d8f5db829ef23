/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an old primary had written and nobody received is a point that retention does not merge away
 * before its time, over failover and return, until somebody discards it. */
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/testing.h"
#include "store/proof.h"
#include "store/merge.h"
#include "store/store_int.h"
#include "store/testdisk.h"
#include "transfer/digestlog.h"

#define MIB ((uint64_t)1 << 20)

struct fixture {
    char dir[TD_DIR];
    char *location, *base;
    struct store *st;
    struct vr_uuid m, line;
    struct vr_point_id orphan, newest;
    struct td_disk first, now;
};

static int setup(void **state)
{
    struct fixture *f = vr_new(struct fixture);
    td_setup(f->dir, &f->st);
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
                          VR_POINT_ORPHAN, err));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    td_teardown(f->dir, f->st);
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
    ok(store_stage_open(f->st, &f->m, &f->newest, &p, &d, 1, &sg, err));
    struct td_disk to = f->now;
    to.byte[p.epoch % 16] ^= 0x55;
    td_write(sg->disks[0].image, sg->disks[0].digests, &f->now, &to);
    ok(store_stage_commit(f->st, sg, (struct wall_us){ (int64_t)p.epoch * 1000000 },
                          VR_POINT_STANDARD, err));
    f->now = to;
    f->newest = p;
}

static void merge_all(struct fixture *f, uint32_t orphan_s)
{
    struct store_retention keep = { .least = 1, .orphan_s = orphan_s };
    for (struct store_merge *m = NULL;; m = NULL) {
        ok(store_merge_prepare(f->st, &f->m, &keep, &m, err));
        if (!m)
            return;
        ok(store_merge_run(m, err));
        ok(store_merge_finish(f->st, m, err));
    }
}

static bool listed(struct fixture *f, const struct vr_point_id *id)
{
    vr_autofree struct store_point *p = NULL;
    size_t n = 0;
    bool found = false;
    ok(store_points(f->st, &f->m, &p, &n, err));
    for (size_t i = 0; i < n; i++)
        found |= vr_point_eq(&p[i].id, id);
    return found;
}

/* What it takes up here: a machine's own disks are as good a layer as others. */
static uint64_t room_of(struct fixture *f, const struct vr_point_id *id)
{
    vr_autofree struct store_point *p = NULL;
    size_t n = 0;
    uint64_t room = 0;
    ok(store_points(f->st, &f->m, &p, &n, err));
    for (size_t i = 0; i < n; i++)
        room += vr_point_eq(&p[i].id, id) ? p[i].bytes : 0;
    return room;
}

static void is_whole(struct fixture *f)
{
    assert_true(listed(f, &f->orphan));
    assert_int_not_equal(room_of(f, &f->orphan), 0);
    assert_true(td_point_same(f->st, &f->m, &f->orphan, &f->first, 1));
    assert_true(td_point_same(f->st, &f->m, &f->newest, &f->now, 1));
    assert_true(td_same(f->base, "raw", &f->first)); /* the old primary's own file */
}

static struct wall_us written(struct fixture *f, const struct vr_point_id *id)
{
    vr_autofree struct store_point *p = NULL;
    size_t n = 0;
    struct wall_us t = { -1 };
    ok(store_points(f->st, &f->m, &p, &n, err));
    for (size_t i = 0; i < n; i++)
        if (vr_point_eq(&p[i].id, id))
            t = p[i].written;
    return t;
}

/* It has a time of its own, over changes of role, too; what was noted first stays. */
static void test_when_it_was_written(void **state)
{
    struct fixture *f = *state;
    struct vr_point_id back = { vr_uuid_new(), 3 };
    assert_int_equal(written(f, &f->orphan).us, 0);
    for (int i = 1; i <= 2; i++)
        ok(store_point_written(f->st, &f->m, &f->orphan, (struct wall_us){ i * 1000 }, err));
    assert_int_equal(written(f, &f->orphan).us, 1000);
    cycle(f);
    ok(store_point_written(f->st, &f->m, &f->newest, (struct wall_us){ 5 }, err));
    assert_int_equal(written(f, &f->newest).us, 0); /* it shows an instant */
    td_reopen(f->dir, &f->st);
    ok(store_failover_prepare(f->st, &f->m, &f->newest, "vmr.x.0", err));
    ok(store_failover_become_base(f->st, &f->m, err));
    ok(store_failover_return(f->st, &f->m, &back, (struct wall_us){ 5 }, VR_POINT_ORPHAN, err));
    ok(store_point_written(f->st, &f->m, &back, (struct wall_us){ 3000 }, err));
    assert_int_equal(written(f, &f->orphan).us, 1000);
    assert_int_equal(written(f, &back).us, 3000);
}

static void test_kept_and_discarded(void **state)
{
    struct fixture *f = *state;
    fails(VR_E_STATE, store_point_discard(f->st, &f->m, &f->orphan, err)); /* all stands on it */
    for (int i = 0; i < 6; i++)
        cycle(f);
    merge_all(f, 0);
    is_whole(f);
    fails(VR_E_STATE, store_point_discard(f->st, &f->m, &f->newest, err));
    ok(store_point_pin(f->st, &f->m, &f->orphan, STORE_PIN_USE, true, err));
    fails(VR_E_BUSY, store_point_discard(f->st, &f->m, &f->orphan, err));
    ok(store_point_pin(f->st, &f->m, &f->orphan, STORE_PIN_USE, false, err));
    ok(store_point_discard(f->st, &f->m, &f->orphan, err));
    assert_false(listed(f, &f->orphan));
    merge_all(f, 0);
    assert_true(td_point_same(f->st, &f->m, &f->newest, &f->now, 1));
    fails(VR_E_NOTFOUND, store_point_discard(f->st, &f->m, &f->orphan, err));
}

/* The machine goes there and back: the orphan lies below all of it. */
static void test_survives_failover_and_return(void **state)
{
    struct fixture *f = *state;
    struct vr_point_id back = { vr_uuid_new(), 3 };
    for (int i = 0; i < 3; i++)
        cycle(f);
    ok(store_failover_prepare(f->st, &f->m, &f->newest, "vmr.x.0", err));
    ok(store_failover_become_base(f->st, &f->m, err));
    assert_false(listed(f, &f->orphan)); /* a primary lists no points */
    ok(store_failover_return(f->st, &f->m, &back, (struct wall_us){ 5 }, VR_POINT_ORPHAN, err));
    f->newest = back;
    is_whole(f);
    assert_int_not_equal(room_of(f, &back), 0);
    cycle(f);
    merge_all(f, 0);
    is_whole(f);
    assert_true(listed(f, &back)); /* there are two now */
}

static void vm_writes(struct fixture *f, unsigned block, uint8_t byte)
{
    vr_autofree char *path = NULL;
    struct td_disk to = f->now;
    ok(store_failover_path(f->st, &f->m, "vda", &path, err));
    to.byte[block] = byte;
    td_write(path, NULL, &f->now, &to);
    f->now = to;
}

/* The tables, newest first, tell what @must holds. */
static void known_is(const struct store_known *k, const struct td_disk *must)
{
    struct digestlog *log[8];
    assert_in_range(k->n_digests, 1, 8);
    for (size_t i = 0; i < k->n_digests; i++)
        ok(digestlog_open(k->digests[i], 0, false, &log[i], err));
    for (uint64_t b = 0; b < 16; b++) {
        uint8_t block[VR_BLOCK_SIZE];
        struct vr_digest is = vr_digest_zero(sizeof block), want;
        memset(block, must->byte[b], sizeof block);
        want = vr_digest_block(block, sizeof block);
        for (size_t i = 0; i < k->n_digests; i++)
            if (digestlog_get(log[i], b, &is, NULL) == 1)
                break;
        assert_memory_equal(&is, &want, sizeof is);
    }
    for (size_t i = 0; i < k->n_digests; i++)
        digestlog_free(log[i]);
}

static void index_now(struct fixture *f)
{
    struct store_index *ix = NULL;
    ok(store_index_prepare(f->st, &f->m, false, &ix, err));
    assert_non_null(ix);
    ok(store_index_run(ix, NULL, err));
    ok(store_index_finish(f->st, ix, err));
}

/* The machine runs here from @on (which shows @as), and comes back with the point @back. */
static void there_and_back(struct fixture *f, const struct vr_point_id *on,
                           const struct td_disk *as, const struct vr_point_id *back,
                           enum vr_point_kind kind, uint8_t byte)
{
    ok(store_failover_prepare(f->st, &f->m, on, "vmr.x.0", err));
    f->now = *as;
    vm_writes(f, 3, byte);
    ok(store_failover_become_base(f->st, &f->m, err));
    ok(store_failover_forget_newer(f->st, &f->m, err));
    vm_writes(f, 7, byte);
    ok(store_failover_return(f->st, &f->m, back, (struct wall_us){ 5 }, kind, err));
    f->newest = *back;
    f->line = vr_uuid_new(); /* each direction has its own */
}

/* What is known of a failed-over disk outside of what was written since: here, with disks of its
 * own below, only what was received; once they are indexed, everything. */
static void test_what_lies_below_an_overlay(void **state)
{
    struct fixture *f = *state;
    struct store_known k = { .n_digests = 0 };
    for (int i = 0; i < 3; i++)
        cycle(f);
    fails(VR_E_NOTFOUND, store_failover_known(f->st, &f->m, "vda", &k, err));
    ok(store_failover_prepare(f->st, &f->m, &f->newest, "vmr.x.0", err));
    ok(store_failover_known(f->st, &f->m, "vda", &k, err));
    assert_false(k.complete);
    assert_true(k.n_digests > 0 && !k.wrong.n);
    store_known_done(&k);
    ok(store_failover_drop(f->st, &f->m, err));
    index_now(f);
    struct td_disk was = f->now;
    ok(store_failover_prepare(f->st, &f->m, &f->newest, "vmr.x.1", err));
    vm_writes(f, 3, 77);
    ok(store_failover_become_base(f->st, &f->m, err));
    ok(store_failover_known(f->st, &f->m, "vda", &k, err));
    assert_true(k.complete);
    known_is(&k, &was);
    store_known_done(&k);
    vr_autofree char *path = NULL;
    ok(store_failover_path(f->st, &f->m, "vda", &path, err));
    const char *other[] = { "qemu-img", "rebase", "-u",  "-f", "qcow2", "-b",
                            f->base,    "-F",     "raw", path, NULL };
    td_run(other);
    fails(VR_E_STATE, store_failover_known(f->st, &f->m, "vda", &k, err));
}

/* What is read for its digests: of an overlay that came back what it holds, of an image that was
 * adopted everything, and of both nothing that counts when the machine writes there meanwhile. */
static void test_layers_get_their_tables(void **state)
{
    struct fixture *f = *state;
    struct store_known k = { .n_digests = 0 };
    struct store_index *ix = NULL, *other = NULL;
    struct vr_point_id back = { .epoch = 7 };
    for (int i = 0; i < 3; i++)
        cycle(f);
    index_now(f);
    there_and_back(f, &f->newest, &f->now, &back, VR_POINT_STANDARD, 55);
    struct td_disk was = f->now;
    ok(store_index_prepare(f->st, &f->m, true, &ix, err));
    assert_non_null(ix);
    ok(store_index_prepare(f->st, &f->m, true, &other, err));
    assert_null(other); /* one in the background is enough */
    ok(store_index_run(ix, NULL, err));
    /* The points that come meanwhile are merged as ever, above what is read. */
    cycle(f);
    cycle(f);
    struct td_disk newest = f->now;
    ok(store_index_finish(f->st, ix, err));
    ok(store_index_prepare(f->st, &f->m, true, &ix, err));
    assert_null(ix);
    ok(store_failover_prepare(f->st, &f->m, &back, "vmr.x.2", err));
    ok(store_failover_known(f->st, &f->m, "vda", &k, err));
    assert_true(k.complete);
    known_is(&k, &was);
    store_known_done(&k);
    ok(store_failover_drop(f->st, &f->m, err));
    ok(store_failover_prepare(f->st, &f->m, &f->newest, "vmr.x.3", err));
    ok(store_failover_known(f->st, &f->m, "vda", &k, err));
    assert_true(k.complete);
    known_is(&k, &newest);
    store_known_done(&k);
}

/* While the machine runs on the chain what lies below its disks is read, too; when it comes back
 * before the end nothing of it counts, for from then on layers are merged. */
static void test_tables_below_a_machine(void **state)
{
    struct fixture *f = *state;
    struct store_known k = { .n_digests = 0 };
    struct store_index *ix = NULL;
    struct vr_point_id back = { .epoch = 9 };
    cycle(f);
    struct td_disk was = f->now;
    ok(store_failover_prepare(f->st, &f->m, &f->newest, "vmr.x.0", err));
    vm_writes(f, 2, 99);
    ok(store_failover_become_base(f->st, &f->m, err));
    ok(store_index_prepare(f->st, &f->m, true, &ix, err));
    assert_non_null(ix);
    ok(store_index_run(ix, NULL, err));
    ok(store_index_finish(f->st, ix, err));
    ok(store_failover_known(f->st, &f->m, "vda", &k, err));
    assert_true(k.complete);
    known_is(&k, &was);
    store_known_done(&k);
    ok(store_failover_return(f->st, &f->m, &back, (struct wall_us){ 5 }, VR_POINT_STANDARD, err));
    f->newest = back;
    ok(store_index_prepare(f->st, &f->m, false, &ix, err));
    assert_non_null(ix);
    ok(store_index_run(ix, NULL, err));
    ok(store_failover_unreturn(f->st, &f->m, &back, err)); /* it writes to it again */
    vm_writes(f, 4, 98);
    ok(store_index_finish(f->st, ix, err));
    ok(store_failover_return(f->st, &f->m, &back, (struct wall_us){ 5 }, VR_POINT_STANDARD, err));
    ok(store_index_prepare(f->st, &f->m, false, &ix, err));
    assert_non_null(ix);
    ok(store_index_run(ix, NULL, err));
    ok(store_index_finish(f->st, ix, err));
    was = f->now;
    ok(store_failover_prepare(f->st, &f->m, &back, "vmr.x.1", err));
    ok(store_failover_known(f->st, &f->m, "vda", &k, err));
    assert_true(k.complete);
    known_is(&k, &was);
    store_known_done(&k);
}

static size_t layers_on_disk(struct fixture *f)
{
    glob_t g;
    vr_autofree char *all = vr_printf("%s/*/active/*.qcow2", f->location);
    vr_autofree char *more = vr_printf("%s/*/vda.*.qcow2", f->location);
    glob(all, 0, NULL, &g);
    glob(more, GLOB_APPEND, NULL, &g);
    size_t n = g.gl_pathc;
    globfree(&g);
    return n;
}

static bool beneath(struct fixture *f, const struct vr_point_id *id)
{
    vr_autofree struct store_point *p = NULL;
    size_t n = 0;
    bool found = false;
    ok(store_points_beneath(f->st, &f->m, &p, &n, err));
    for (size_t i = 0; i < n; i++)
        found |= vr_point_eq(&p[i].id, id);
    return found;
}

/* While the machine runs here what is kept below its disks is told, read and given up. What it
 * reads itself is not touched by that. */
static void test_given_up_below_a_machine(void **state)
{
    struct fixture *f = *state;
    struct vr_point_id back = { vr_uuid_new(), 3 }, gone;
    for (int i = 0; i < 3; i++)
        cycle(f);
    assert_false(beneath(f, &f->orphan)); /* a replica lists it */
    gone = f->newest;
    ok(store_failover_prepare(f->st, &f->m, &f->newest, "vmr.x.0", err));
    ok(store_failover_become_base(f->st, &f->m, err));
    vm_writes(f, 3, 77);
    assert_true(beneath(f, &f->orphan) && !listed(f, &f->orphan));
    assert_false(beneath(f, &f->newest)); /* nobody wanted it kept */
    fails(VR_E_NOTFOUND, store_point_pin(f->st, &f->m, &gone, STORE_PIN_USER, true, err));
    fails(VR_E_NOTFOUND, store_point_discard(f->st, &f->m, &f->newest, err));
    ok(store_point_pin(f->st, &f->m, &f->orphan, STORE_PIN_EXPORT, true, err));
    assert_true(td_point_same(f->st, &f->m, &f->orphan, &f->first, 1));
    fails(VR_E_BUSY, store_point_discard(f->st, &f->m, &f->orphan, err));
    ok(store_point_pin(f->st, &f->m, &f->orphan, STORE_PIN_EXPORT, false, err));
    size_t layers = layers_on_disk(f);
    ok(store_point_discard(f->st, &f->m, &f->orphan, err));
    assert_false(beneath(f, &f->orphan));
    assert_int_equal(layers_on_disk(f), layers);
    vr_autofree char *path = NULL;
    ok(store_failover_path(f->st, &f->m, "vda", &path, err));
    assert_true(td_same(path, "qcow2", &f->now));
    ok(store_failover_return(f->st, &f->m, &back, (struct wall_us){ 5 }, VR_POINT_STANDARD, err));
    f->newest = back;
    cycle(f);
    merge_all(f, 0);
    assert_false(listed(f, &f->orphan));
    assert_true(td_point_same(f->st, &f->m, &f->newest, &f->now, 1));
}

/* A machine that runs on the orphan itself stands on it. A second one, beside it, goes at once. */
static void test_not_what_the_machine_stands_on(void **state)
{
    struct fixture *f = *state;
    struct vr_point_id second = { vr_uuid_new(), 3 };
    for (int i = 0; i < 3; i++)
        cycle(f);
    there_and_back(f, &f->newest, &f->now, &second, VR_POINT_ORPHAN, 200);
    cycle(f);
    struct vr_err e = VR_ERR_INIT;
    ok(store_failover_prepare(f->st, &f->m, &f->orphan, "vmr.x.1", err));
    f->now = f->first;
    vm_writes(f, 3, 78);
    for (int primary = 0; primary < 2; primary++) {
        assert_int_equal(store_point_discard(f->st, &f->m, &f->orphan, &e), -1);
        assert_non_null(strstr(e.msg, "disks stand on this orphan point"));
        vr_err_clear(&e);
        if (!primary)
            ok(store_failover_become_base(f->st, &f->m, err));
    }
    ok(store_failover_forget_newer(f->st, &f->m, err));
    assert_true(beneath(f, &f->orphan) && beneath(f, &second));
    size_t layers = layers_on_disk(f);
    ok(store_point_discard(f->st, &f->m, &second, err));
    assert_true(layers_on_disk(f) < layers && beneath(f, &f->orphan));
    vr_autofree char *path = NULL;
    ok(store_failover_path(f->st, &f->m, "vda", &path, err));
    assert_true(td_same(path, "qcow2", &f->now));
    assert_true(td_point_same(f->st, &f->m, &f->orphan, &f->first, 1));
}

/* Every block in which two disks differ is among @x. */
static void covers(const struct extents *x, const struct td_disk *a, const struct td_disk *b)
{
    for (uint64_t i = 0; i < 16; i++)
        if (a->byte[i] != b->byte[i])
            assert_true(extents_contains(x, i * VR_BLOCK_SIZE, VR_BLOCK_SIZE));
}

/* Two lost rounds, and the machine goes on from the first of them: the second one and what it
 * stands on are a branch of their own until it is given up. */
static void test_failover_to_the_older_of_two(void **state)
{
    struct fixture *f = *state;
    struct vr_point_id second = { vr_uuid_new(), 3 }, third = { vr_uuid_new(), 4 },
                       last = { vr_uuid_new(), 5 };
    for (int i = 0; i < 3; i++)
        cycle(f);
    there_and_back(f, &f->newest, &f->now, &second, VR_POINT_ORPHAN, 200);
    struct td_disk at_second = f->now;
    for (int i = 0; i < 3; i++)
        cycle(f);
    there_and_back(f, &f->orphan, &f->first, &third, VR_POINT_STANDARD, 201);
    is_whole(f);
    assert_true(listed(f, &second));
    assert_true(td_point_same(f->st, &f->m, &second, &at_second, 1));
    struct extents x = { 0 };
    ok(store_changed(f->st, &f->m, "vda", &second, &third, &x, err));
    covers(&x, &at_second, &f->now);
    extents_done(&x);
    for (int i = 0; i < 5; i++)
        cycle(f);
    merge_all(f, 0);
    is_whole(f);
    assert_true(td_point_same(f->st, &f->m, &second, &at_second, 1));
    /* Both branches stand on the first one: nothing may be merged into it. */
    ok(store_point_discard(f->st, &f->m, &f->orphan, err));
    merge_all(f, 0);
    assert_true(td_point_same(f->st, &f->m, &second, &at_second, 1));
    assert_true(td_point_same(f->st, &f->m, &f->newest, &f->now, 1));
    assert_true(td_same(f->base, "raw", &f->first));
    /* The machine runs from the branch; the other one goes on its return. */
    struct td_disk was = f->now;
    struct vr_point_id before = f->newest;
    ok(store_failover_prepare(f->st, &f->m, &second, "vmr.x.1", err));
    f->now = at_second;
    vm_writes(f, 9, 77);
    ok(store_failover_drop(f->st, &f->m, err));
    f->now = was;
    assert_true(td_point_same(f->st, &f->m, &before, &was, 1));
    there_and_back(f, &second, &at_second, &last, VR_POINT_STANDARD, 202);
    assert_true(td_point_same(f->st, &f->m, &second, &at_second, 1));
    assert_false(listed(f, &before));
    for (int i = 0; i < 4; i++)
        cycle(f);
    merge_all(f, 0);
    assert_true(td_point_same(f->st, &f->m, &second, &at_second, 1));
    assert_true(td_point_same(f->st, &f->m, &f->newest, &f->now, 1));
}

/* A pinned point stays over the swap; a branch that nobody needs any more leaves the disk, whoever
 * gives its point up. */
static void test_branch_goes_with_its_point(void **state)
{
    struct fixture *f = *state;
    for (int by_hand = 0; by_hand < 2; by_hand++) {
        struct vr_point_id second = { vr_uuid_new(), 3 }, third = { vr_uuid_new(), 4 };
        struct vr_point_id one = f->newest;
        struct td_disk at = f->now;
        ok(store_point_pin(f->st, &f->m, &one, STORE_PIN_USER, true, err));
        for (int i = 0; i < 4; i++)
            cycle(f);
        there_and_back(f, &f->newest, &f->now, &second,
                       by_hand ? VR_POINT_ORPHAN : VR_POINT_STANDARD, 200);
        if (!by_hand)
            ok(store_point_pin(f->st, &f->m, &second, STORE_PIN_USER, true, err));
        struct td_disk at_second = f->now;
        there_and_back(f, &one, &at, &third, VR_POINT_STANDARD, 201);
        for (int i = 0; i < 4; i++)
            cycle(f);
        /* Nothing moves on either branch while somebody reads one of them. */
        size_t unmerged = layers_on_disk(f);
        ok(store_point_pin(f->st, &f->m, &f->newest, STORE_PIN_USE, true, err));
        merge_all(f, 0);
        assert_int_equal(layers_on_disk(f), unmerged);
        ok(store_point_pin(f->st, &f->m, &f->newest, STORE_PIN_USE, false, err));
        merge_all(f, 0);
        assert_true(layers_on_disk(f) < unmerged);
        assert_true(td_point_same(f->st, &f->m, &second, &at_second, 1));
        size_t before = layers_on_disk(f);
        if (by_hand)
            ok(store_point_discard(f->st, &f->m, &second, err));
        else
            ok(store_point_pin(f->st, &f->m, &second, STORE_PIN_USER, false, err));
        merge_all(f, 0);
        assert_false(listed(f, &second));
        assert_true(layers_on_disk(f) < before);
        assert_true(td_point_same(f->st, &f->m, &one, &at, 1));
        assert_true(td_point_same(f->st, &f->m, &f->newest, &f->now, 1));
        ok(store_point_pin(f->st, &f->m, &one, STORE_PIN_USER, false, err));
    }
}

/* The machine could not become a replica after all: what it owns it owns as before, and what lies
 * below is not forgotten. */
static void test_survives_a_return_that_is_undone(void **state)
{
    struct fixture *f = *state;
    struct vr_point_id back = { vr_uuid_new(), 3 };
    vr_autofree char *was = NULL, *is = NULL, *later = NULL;
    size_t n = 0;
    for (int i = 0; i < 3; i++)
        cycle(f);
    ok(store_failover_path(f->st, &f->m, "vda", &was, err));
    ok(store_failover_prepare(f->st, &f->m, &f->newest, "vmr.x.0", err));
    ok(store_failover_become_base(f->st, &f->m, err));
    ok(store_failover_return(f->st, &f->m, &back, (struct wall_us){ 5 }, VR_POINT_ORPHAN, err));
    ok(store_points_kept(f->st, &f->m, &n, err));
    assert_int_equal(n, 2);
    for (int twice = 0; twice < 2; twice++) {
        ok(store_failover_unreturn(f->st, &f->m, &back, err));
        assert_false(listed(f, &back) || listed(f, &f->orphan));
        ok(store_points_kept(f->st, &f->m, &n, err));
        assert_int_equal(n, 1);
    }
    ok(store_failover_path(f->st, &f->m, "vda", &is, err));
    assert_string_equal(is, was); /* the disk that the machine has */
    struct td_disk to = f->now;
    to.byte[5] ^= 0x11;
    td_write(is, NULL, &f->now, &to); /* and it runs on */
    f->now = to;
    ok(store_failover_forget_newer(f->st, &f->m, err));
    back.epoch++; /* the number of an attempt is used once */
    ok(store_failover_return(f->st, &f->m, &back, (struct wall_us){ 6 }, VR_POINT_ORPHAN, err));
    ok(store_failover_path(f->st, &f->m, "vda", &later, err));
    assert_string_not_equal(later, was);
    f->newest = back;
    is_whole(f);
    cycle(f);
    merge_all(f, 0);
    is_whole(f);
    assert_true(listed(f, &back));
}

/* A merge whose copy is done is finished before the machine writes to the layer above it again: at
 * the next start the disk of a running machine would be re-based. */
static void test_no_merge_is_left_by_a_return_that_is_undone(void **state)
{
    struct fixture *f = *state;
    struct vr_point_id back = { vr_uuid_new(), 3 };
    int64_t n = 0;
    for (int i = 0; i < 3; i++)
        cycle(f);
    ok(store_failover_prepare(f->st, &f->m, &f->newest, "vmr.x.0", err));
    ok(store_failover_become_base(f->st, &f->m, err));
    ok(store_failover_return(f->st, &f->m, &back, (struct wall_us){ 5 }, VR_POINT_ORPHAN, err));
    struct store_retention keep = { .least = 1 };
    struct store_merge *m = NULL;
    ok(store_merge_prepare(f->st, &f->m, &keep, &m, err));
    assert_non_null(m);
    ok(store_merge_run(m, err));
    vr_autolayer struct layer_row above = { 0 };
    vr_autofree char *away = NULL;
    ok(layer_load(f->st->db, m->above, &above, err));
    away = vr_printf("%s.away", above.path);
    assert_int_equal(rename(above.path, away), 0); /* it cannot be finished now */
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(store_merge_finish(f->st, m, &e), -1);
    vr_err_clear(&e);
    assert_int_equal(store_failover_unreturn(f->st, &f->m, &back, &e), -1);
    assert_true(listed(f, &back));
    assert_int_equal(rename(away, above.path), 0);
    ok(store_failover_unreturn(f->st, &f->m, &back, err));
    ok(db_one_int(f->st->db, &n, err, "SELECT count(*) FROM merge", ""));
    assert_int_equal(n, 0);
}

/* A test machine reads @on; what it wrote itself lies in its own overlay. */
static char *test_begins(struct fixture *f, const char *name, const struct vr_point_id *on,
                         const struct td_disk *as, struct td_disk *ret)
{
    char *path = vr_printf("%s/%s.qcow2", f->dir, name);
    ok(store_point_pin(f->st, &f->m, on, STORE_PIN_USE, true, err));
    ok(store_point_beside(f->st, &f->m, on, "vda", path, err));
    *ret = *as;
    ret->byte[0] = 250;
    td_write(path, NULL, as, ret);
    return path;
}

/* Two tests go on while the machine fails over (to a point below, between and beside them),
 * cancels, becomes the primary, comes back and receives: what they read never changes. Their pins
 * are lifted in whatever role the chain is; then nothing of them stays. */
static void test_goes_on_over_a_swap(void **state)
{
    struct fixture *f = *state;
    for (int end_as_primary = 0; end_as_primary < 2; end_as_primary++) {
        struct vr_point_id back = { vr_uuid_new(), 3 }, one, two;
        struct td_disk at_one, at_two, test_one, test_two;
        cycle(f);
        one = f->newest, at_one = f->now;
        for (int i = 0; i < 2; i++)
            cycle(f);
        struct vr_point_id mid = f->newest;
        struct td_disk at_mid = f->now;
        for (int i = 0; i < 2; i++)
            cycle(f);
        two = f->newest, at_two = f->now;
        cycle(f);
        vr_autofree char *t1 = test_begins(f, "one", &one, &at_one, &test_one);
        vr_autofree char *t2 = test_begins(f, "two", &two, &at_two, &test_two);
#define BOTH_READ_THE_SAME()                          \
    do {                                              \
        assert_true(td_same(t1, "qcow2", &test_one)); \
        assert_true(td_same(t2, "qcow2", &test_two)); \
    } while (0)
        merge_all(f, 0);
        BOTH_READ_THE_SAME();
        ok(store_failover_prepare(f->st, &f->m, &two, "vmr.x.0", err));
        BOTH_READ_THE_SAME();
        ok(store_failover_drop(f->st, &f->m, err));
        /* The middle one is not there any more when retention took it. */
        bool has_mid = listed(f, &mid);
        const struct vr_point_id *on = has_mid ? &mid : &one;
        ok(store_failover_prepare(f->st, &f->m, on, "vmr.x.1", err));
        f->now = has_mid ? at_mid : at_one;
        vm_writes(f, 3, 99);
        ok(store_failover_become_base(f->st, &f->m, err));
        vm_writes(f, 7, 98);
        ok(store_failover_forget_newer(f->st, &f->m, err));
        BOTH_READ_THE_SAME();
        ok(store_proof_booted(f->st, &f->m, &two, (struct wall_us){ 7 }, err));
        if (end_as_primary) {
            ok(store_point_pin(f->st, &f->m, &one, STORE_PIN_USE, false, err));
            ok(store_point_pin(f->st, &f->m, &two, STORE_PIN_USE, false, err));
            fails(VR_E_NOTFOUND, store_point_pin(f->st, &f->m, &one, STORE_PIN_USE, true, err));
        }
        ok(store_failover_return(f->st, &f->m, &back, (struct wall_us){ 5 }, VR_POINT_STANDARD,
                                 err));
        f->newest = back;
        f->line = vr_uuid_new();
        assert_int_equal(listed(f, &one), !end_as_primary);
        assert_int_equal(listed(f, &two), !end_as_primary);
        for (int i = 0; i < 4; i++)
            cycle(f);
        merge_all(f, 0);
        is_whole(f);
        if (!end_as_primary) {
            BOTH_READ_THE_SAME();
            assert_true(td_point_same(f->st, &f->m, &one, &at_one, 1));
            assert_true(td_point_same(f->st, &f->m, &two, &at_two, 1));
            ok(store_point_pin(f->st, &f->m, &one, STORE_PIN_USE, false, err));
            ok(store_point_pin(f->st, &f->m, &two, STORE_PIN_USE, false, err));
            merge_all(f, 0);
        }
        assert_false(listed(f, &one) || listed(f, &two));
        is_whole(f);
        assert_int_equal(layers_on_disk(f), 2); /* as short as a chain over the orphan gets */
    }
#undef BOTH_READ_THE_SAME
}

/* A chain that was made of the machine's own disks goes as a whole, the disks stay. */
static void test_first_return_is_undone(void **state)
{
    struct fixture *f = *state;
    struct vr_point_id other = { f->line, 1 };
    ok(store_failover_unreturn(f->st, &f->m, &other, err));
    assert_true(store_chain_exists(f->st, &f->m));
    ok(store_failover_unreturn(f->st, &f->m, &f->orphan, err));
    assert_false(store_chain_exists(f->st, &f->m));
    assert_true(td_same(f->base, "raw", &f->first));
    ok(store_failover_unreturn(f->st, &f->m, &f->orphan, err));
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_kept_and_discarded),
        T(test_when_it_was_written),
        T(test_survives_failover_and_return),
        T(test_given_up_below_a_machine),
        T(test_not_what_the_machine_stands_on),
        T(test_failover_to_the_older_of_two),
        T(test_branch_goes_with_its_point),
        T(test_survives_a_return_that_is_undone),
        T(test_goes_on_over_a_swap),
        T(test_first_return_is_undone),
        T(test_what_lies_below_an_overlay),
        T(test_layers_get_their_tables),
        T(test_tables_below_a_machine),
        T(test_no_merge_is_left_by_a_return_that_is_undone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
