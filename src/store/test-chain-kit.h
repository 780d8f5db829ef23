/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_STORE_TEST_CHAIN_KIT_H
#define VR_STORE_TEST_CHAIN_KIT_H

/* A chain of two disks whose points are known, with real images: cycles, merges, and what each
 * point must hold. For test-chain.c and test-chain-back.c. */
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

#endif
