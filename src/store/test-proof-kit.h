/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_STORE_TEST_PROOF_KIT_H
#define VR_STORE_TEST_PROOF_KIT_H

/* A chain of real images whose contents are known, and what is done to them: cycles, rot, readings,
 * repairs. For test-proof.c and test-proof-branch.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/proc.h"
#include "base/testing.h"
#include "store/proof.h"
#include "store/store_int.h"
#include "store/testdisk.h"
#include "transfer/digestlog.h"

#define MIB ((uint64_t)1 << 20)
enum { BLOCKS = 16, EPOCHS = 32 };

struct fixture {
    char dir[TD_DIR];
    struct store *st;
    struct vr_uuid m;
    struct vr_point_id newest;
    struct td_disk now, at[EPOCHS];
};

static const struct wall_us now = { 1000000 };

static int setup(void **state)
{
    struct fixture *f = vr_new(struct fixture);
    struct vr_err e = VR_ERR_INIT;
    td_setup(f->dir, &f->st);
    f->m = vr_uuid_new();
    f->now = (struct td_disk){ .target = "vda", .size = MIB };
    struct store_disk d = { .target = "vda", .size = MIB };
    vr_autofree char *location = vr_printf("%s/machines", f->dir);
    if (store_chain_create(f->st, &f->m, location, &d, 1, NULL, now, VR_POINT_STANDARD, &e) < 0)
        return -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    td_teardown(f->dir, f->st);
    free(f);
    return 0;
}

static struct vr_point_id id_of(unsigned epoch)
{
    struct vr_point_id p = { .epoch = epoch };
    p.lineage.b[0] = 1;
    return p;
}

static struct store_stage *stage_open(struct fixture *f)
{
    struct store_stage *sg = NULL;
    struct store_disk d = { .target = "vda", .size = f->now.size };
    struct vr_point_id p = id_of((unsigned)f->newest.epoch + 1);
    ok(store_stage_open(f->st, &f->m, &f->newest, &p, &d, 1, &sg, err));
    return sg;
}

static void commit(struct fixture *f, struct store_stage *sg, const struct td_disk *to)
{
    struct vr_point_id p = sg->point;
    td_write(sg->disks[0].image, sg->disks[0].digests, &f->now, to);
    ok(store_stage_commit(f->st, sg, now, VR_POINT_STANDARD, err));
    f->now = f->at[p.epoch] = *to;
    f->newest = p;
}

/* A point in which block @b becomes @v, and another one, too, so that each has a layer. */
static void cycle(struct fixture *f, size_t b, uint8_t v)
{
    struct td_disk to = f->now;
    to.byte[b] = v;
    to.byte[15] = (uint8_t)(200 + f->newest.epoch);
    commit(f, stage_open(f), &to);
}

static char *image(struct fixture *f, unsigned epoch)
{
    struct vr_point_id p = id_of(epoch);
    char *path = NULL;
    ok(store_point_image(f->st, &f->m, &p, "vda", &path, NULL, err));
    return path;
}

/* Other bytes in the layer of a point, whose table does not learn of it. */
static void rot(struct fixture *f, unsigned epoch, size_t b, uint8_t v)
{
    vr_autofree char *path = image(f, epoch);
    vr_autofree char *cmd =
        vr_printf("write -P %u %zu %u", v, b * VR_BLOCK_SIZE, (unsigned)VR_BLOCK_SIZE);
    const char *format = strstr(path, ".raw") ? "raw" : "qcow2"; /* the base is raw */
    const char *argv[] = { "qemu-io", "-f", format, "-c", cmd, path, NULL };
    td_run(argv);
}

static struct store_point point(struct fixture *f, unsigned epoch)
{
    vr_autofree struct store_point *p = NULL;
    size_t n = 0;
    ok(store_points(f->st, &f->m, &p, &n, err));
    for (size_t i = 0; i < n; i++)
        if (p[i].id.epoch == epoch)
            return p[i];
    fail_msg("there is no point %u", epoch);
    return (struct store_point){ .pins = 0 };
}

static enum store_quarantine state_of(struct fixture *f, unsigned epoch)
{
    return point(f, epoch).proof.quarantine;
}

static bool same(struct fixture *f, unsigned epoch)
{
    struct vr_point_id p = id_of(epoch);
    return td_point_same(f->st, &f->m, &p, &f->at[epoch], 1);
}

static uint64_t piece = 1; /* bytes that are scrubbed at a time, at least: a block */

/* Scrub everything once; what was found that was not known. */
static struct store_noted scrub(struct fixture *f)
{
    struct store_scrub_at at = { 0 };
    struct store_noted all = { 0 };
    bool pass = false;
    for (int i = 0; !pass && i < 1000; i++) {
        struct store_scrub *s = NULL;
        struct store_noted n;
        uint64_t bytes = 0;
        ok(store_scrub_prepare(f->st, &f->m, &at, piece, &s, err));
        assert_non_null(s);
        ok(store_scrub_run(s, err));
        ok(store_scrub_finish(f->st, s, now, &at, &pass, &bytes, &n, err));
        all.blocks += n.blocks;
        all.points += n.points;
        all.wanted += n.wanted;
    }
    assert_true(pass);
    return all;
}

/* Repair until nothing is left to try; blocks that were repaired. */
static size_t repair(struct fixture *f)
{
    size_t all = 0;
    for (int i = 0;; i++) {
        struct store_repair *r = NULL;
        size_t blocks = 0, points = 0;
        ok(store_repair_prepare(f->st, &f->m, &r, err));
        if (!r)
            return all;
        assert_true(i < 20);
        ok(store_repair_run(r, err));
        ok(store_repair_finish(f->st, r, &blocks, &points, err));
        all += blocks;
    }
}

static void merge_all(struct fixture *f, uint32_t keep)
{
    struct store_retention r = { .least = keep };
    for (;;) {
        struct store_merge *m = NULL;
        ok(store_merge_prepare(f->st, &f->m, &r, &m, err));
        if (!m)
            return;
        ok(store_merge_run(m, err));
        ok(store_merge_finish(f->st, m, err));
    }
}

/* What the primary reads of @d, as it tells it. */
static void read_theirs(const struct td_disk *d, struct vr_digest out[BLOCKS])
{
    static uint8_t data[VR_BLOCK_SIZE];
    for (size_t b = 0; b < BLOCKS; b++) {
        memset(data, d->byte[b], sizeof data);
        out[b] = d->byte[b] ? vr_digest_block(data, sizeof data) : (struct vr_digest){ { 0 } };
    }
}

static struct store_noted compare(struct fixture *f, const struct td_disk *primary)
{
    struct store_verify_input *v = NULL;
    struct vr_digest theirs[BLOCKS];
    struct store_noted n;
    read_theirs(primary, theirs);
    ok(store_slice_prepare(f->st, &f->m, &f->newest, &v, err));
    ok(store_verify_slice(v, "vda", 0, theirs, 5, err));
    ok(store_verify_slice(v, "vda", 5, theirs + 5, BLOCKS - 5, err));
    ok(store_verify_save(f->st, v, STORE_PROOF_PRIMARY, now, &n, err));
    store_verify_free(v);
    return n;
}

/* The sender was told of @n blocks that it must ship, among them @b (or -1). */
static struct store_stage *wants(struct fixture *f, size_t n, int b)
{
    struct store_stage *sg = stage_open(f);
    assert_int_equal(extents_bytes(&sg->disks[0].wanted), n * VR_BLOCK_SIZE);
    if (b >= 0)
        assert_true(extents_contains(&sg->disks[0].wanted, (uint64_t)b * VR_BLOCK_SIZE, 1));
    return sg;
}

/* The sender ships block @b of the newest content again. */
static void ship_again(struct fixture *f, struct store_stage *sg, size_t b)
{
    struct td_disk to = f->now;
    uint8_t v = f->now.byte[b];
    f->now.byte[b] = (uint8_t)(v + 1); /* so that td_write() writes it */
    commit(f, sg, &to);
}

#endif
