/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests of proof: flipped bits in real images are found, the right points are quarantined, blocks
 * are asked for again, older points are repaired, and nothing is repaired wrongly. */
#include "store/test-proof-kit.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

/* ---- tests ---- */

static void test_whole_is_proven(void **state)
{
    struct fixture *f = *state;
    cycle(f, 1, 11);
    cycle(f, 2, 12);
    assert_int_equal(scrub(f).blocks, 0);
    assert_int_equal(point(f, 2).proof.how, STORE_PROOF_NONE);
    assert_int_equal(compare(f, &f->now).blocks, 0);
    assert_int_equal(point(f, 2).proof.how, STORE_PROOF_PRIMARY);
    assert_int_equal(point(f, 2).proof.verified.us, now.us);
    assert_int_equal(state_of(f, 2), STORE_SOUND);
    assert_int_equal(point(f, 1).proof.how, STORE_PROOF_NONE);
}

/* What a whole pass reads is about what it was said to read, also of a thin disk. */
static void test_a_pass_reads_what_was_said(void **state)
{
    struct fixture *f = *state;
    struct store_scrub_at at = { 0 };
    enum { METADATA = 8 * VR_BLOCK_SIZE };
    cycle(f, 1, 11);
    for (uint8_t layers = 1; layers <= 3; layers++) {
        uint64_t said = 0, read = 0, bytes = 0;
        bool pass = false;
        ok(store_scrub_bytes(f->st, &f->m, &said, err));
        while (!pass) {
            struct store_scrub *s = NULL;
            struct store_noted n;
            ok(store_scrub_prepare(f->st, &f->m, &at, MIB, &s, err));
            ok(store_scrub_run(s, err));
            ok(store_scrub_finish(f->st, s, now, &at, &pass, &bytes, &n, err));
            read += bytes;
        }
        assert_int_equal(read, layers * 2 * VR_BLOCK_SIZE); /* two blocks of each layer */
        assert_in_range(said, read, read + layers * METADATA);
        cycle(f, 2, (uint8_t)(20 + layers));
    }
}

/* A block of an old layer: the points that show it, and no other. Its right bytes are in a newer
 * layer, so it is repaired, also after the daemon was gone in between. */
static void test_rot_is_repaired(void **state)
{
    struct fixture *f = *state;
    cycle(f, 1, 10); /* 1 */
    cycle(f, 3, 33); /* 2: the layer that rots */
    cycle(f, 4, 44); /* 3 shows it, too */
    cycle(f, 3, 9);  /* 4 covers it */
    cycle(f, 3, 33); /* 5: the same bytes again */
    rot(f, 2, 3, 34);
    assert_false(same(f, 2));
    struct store_noted n = scrub(f);
    assert_int_equal(n.blocks, 1);
    assert_int_equal(n.points, 2);
    assert_int_equal(state_of(f, 1), STORE_SOUND);
    assert_int_equal(state_of(f, 2), STORE_QUARANTINED);
    assert_int_equal(state_of(f, 3), STORE_QUARANTINED);
    assert_int_equal(state_of(f, 4), STORE_SOUND);
    assert_int_equal(point(f, 3).proof.bad, 1);
    assert_int_equal(scrub(f).blocks, 0); /* known already */
    store_stage_free(wants(f, 0, -1));    /* the newest point does not show it */
    td_reopen(f->dir, &f->st);
    assert_int_equal(repair(f), 1);
    for (unsigned e = 1; e <= 5; e++)
        assert_true(same(f, e));
    assert_int_equal(state_of(f, 2), STORE_REPAIRED);
    assert_int_equal(state_of(f, 3), STORE_REPAIRED);
    assert_int_equal(scrub(f).blocks, 0); /* the rotten layer is below, and nobody sees it */
    assert_int_equal(state_of(f, 2), STORE_REPAIRED);
    td_reopen(f->dir, &f->st);
    merge_all(f, 2);
    assert_true(same(f, 4));
    assert_true(same(f, 5));
    assert_int_equal(scrub(f).blocks, 0);
}

/* Nobody has the right bytes: the points stay quarantined, and retention keeps them until somebody
 * knows. */
static void test_rot_that_is_lost(void **state)
{
    struct fixture *f = *state;
    cycle(f, 1, 10);
    cycle(f, 3, 33);
    cycle(f, 3, 9);
    cycle(f, 5, 55);
    rot(f, 2, 3, 34);
    assert_int_equal(scrub(f).points, 1);
    assert_int_equal(repair(f), 0);
    assert_int_equal(state_of(f, 2), STORE_QUARANTINED);
    merge_all(f, 1);
    assert_int_equal(state_of(f, 2), STORE_QUARANTINED);
    struct vr_point_id p = id_of(2);
    ok(store_proof_release(f->st, &f->m, &p, err));
    assert_int_equal(state_of(f, 2), STORE_RELEASED);
    assert_int_equal(scrub(f).points, 0); /* nothing new */
    assert_int_equal(state_of(f, 2), STORE_RELEASED);
    ok(store_proof_acknowledge(f->st, &f->m, err));
    merge_all(f, 1);
    vr_autofree struct store_point *all = NULL;
    size_t n = 0;
    ok(store_points(f->st, &f->m, &all, &n, err));
    assert_int_equal(n, 1);
    assert_true(same(f, 4));
}

/* Rot that the newest point shows: the sender is asked for the block; with it all are repaired. */
static void test_rot_of_the_newest(void **state)
{
    struct fixture *f = *state;
    cycle(f, 1, 10);
    cycle(f, 3, 33);
    cycle(f, 4, 44);
    rot(f, 2, 3, 34);
    struct td_disk primary = f->now;
    struct store_noted n = compare(f, &primary);
    assert_int_equal(n.blocks, 1);
    assert_int_equal(n.points, 2);
    assert_int_equal(state_of(f, 3), STORE_QUARANTINED);
    assert_int_equal(repair(f), 0); /* not before the block came again */
    td_reopen(f->dir, &f->st);
    ship_again(f, wants(f, 1, 3), 3);
    assert_true(same(f, 4));
    store_stage_free(wants(f, 0, -1));
    assert_int_equal(repair(f), 1);
    for (unsigned e = 1; e <= 4; e++) {
        assert_true(same(f, e));
        assert_true(state_of(f, e) == STORE_SOUND || state_of(f, e) == STORE_REPAIRED);
    }
    /* A stage stood on the chain meanwhile: it goes on. */
    cycle(f, 6, 66);
    assert_true(same(f, 5));
    assert_int_equal(compare(f, &f->now).blocks, 0);
}

/* Rot found while a point is on its way, whose sender was not told of it: the new point shows it,
 * too, and is quarantined with the others until it is repaired. */
static void test_rot_found_in_mid_transfer(void **state)
{
    struct fixture *f = *state;
    struct td_disk to;
    cycle(f, 1, 10);
    cycle(f, 3, 33);
    struct store_stage *sg = stage_open(f);
    rot(f, 2, 3, 34);
    assert_int_equal(compare(f, &f->now).wanted, 1);
    to = f->now;
    to.byte[5] = 55;
    commit(f, sg, &to);
    assert_false(same(f, 3));
    assert_int_equal(state_of(f, 3), STORE_QUARANTINED);
    assert_int_equal(point(f, 3).proof.bad, 1);
    ship_again(f, wants(f, 1, 3), 3);
    assert_int_equal(state_of(f, 4), STORE_SOUND);
    assert_int_equal(repair(f), 1);
    assert_true(same(f, 3));
    assert_int_equal(state_of(f, 3), STORE_REPAIRED);
}

/* The same of a block of which only the primary says that it is wrong: nothing lifts it here. */
static void test_a_difference_found_in_mid_transfer(void **state)
{
    struct fixture *f = *state;
    cycle(f, 1, 10);
    struct store_stage *sg = stage_open(f);
    struct td_disk primary = f->now, to = f->now;
    primary.byte[1] = 99;
    assert_int_equal(compare(f, &primary).wanted, 1);
    to.byte[5] = 55;
    commit(f, sg, &to);
    assert_int_equal(state_of(f, 2), STORE_QUARANTINED);
    ship_again(f, wants(f, 1, 1), 1);
    assert_int_equal(state_of(f, 3), STORE_SOUND);
    assert_int_equal(repair(f), 0);
    assert_int_equal(state_of(f, 2), STORE_QUARANTINED);
}

/* The primary's bytes changed and nothing here did: the compared point is not what the machine
 * sees; older ones keep what was. */
static void test_the_primary_differs(void **state)
{
    struct fixture *f = *state;
    cycle(f, 1, 10);
    cycle(f, 2, 20);
    struct td_disk primary = f->now;
    primary.byte[1] = 99;
    primary.byte[7] = 98; /* zeros here */
    primary.byte[2] = 0;  /* zeros there */
    struct store_noted n = compare(f, &primary);
    assert_int_equal(n.blocks, 3);
    assert_int_equal(n.points, 1);
    assert_int_equal(state_of(f, 1), STORE_SOUND);
    assert_int_equal(state_of(f, 2), STORE_QUARANTINED);
    assert_int_equal(point(f, 2).proof.bad, 3);
    struct store_stage *sg = wants(f, 3, 7);
    commit(f, sg, &primary);
    assert_true(same(f, 3));
    assert_true(same(f, 1));
    assert_true(same(f, 2)); /* as it was received */
    store_stage_free(wants(f, 0, -1));
    assert_int_equal(compare(f, &primary).blocks, 0);
    assert_int_equal(repair(f), 0);
    assert_int_equal(state_of(f, 2), STORE_QUARANTINED);
    assert_int_equal(point(f, 3).proof.how, STORE_PROOF_PRIMARY);
}

/* An upper layer shows something that its table does not know: below it nothing can be repaired,
 * and nothing is declared sound. */
static void test_phantom_block(void **state)
{
    struct fixture *f = *state;
    cycle(f, 3, 33);
    cycle(f, 4, 44);
    cycle(f, 5, 55);
    rot(f, 2, 3, 34); /* layer 2 does not hold block 3 */
    struct store_noted n = compare(f, &f->now);
    assert_int_equal(n.blocks, 1);
    assert_int_equal(state_of(f, 3), STORE_QUARANTINED);
    assert_int_equal(state_of(f, 2), STORE_QUARANTINED);
    ship_again(f, wants(f, 1, 3), 3);
    assert_true(same(f, 4));
    assert_int_equal(repair(f), 0);
    assert_int_equal(state_of(f, 2), STORE_QUARANTINED);
    assert_true(same(f, 1));
}

/* Rot in a layer that a merge then carries down. No point is sound: a sound one would be kept. */
static void test_rot_moves_with_a_merge(void **state)
{
    struct fixture *f = *state;
    cycle(f, 1, 10);
    cycle(f, 3, 33);
    cycle(f, 4, 44);
    cycle(f, 5, 55);
    rot(f, 1, 1, 9);
    rot(f, 2, 3, 34);
    assert_int_equal(scrub(f).blocks, 2);
    ok(store_proof_acknowledge(f->st, &f->m, err));
    merge_all(f, 2);
    assert_int_equal(state_of(f, 3), STORE_QUARANTINED);
    assert_int_equal(state_of(f, 4), STORE_QUARANTINED);
    struct store_stage *sg = wants(f, 2, 3);
    struct td_disk to = f->now;
    f->now.byte[1]++; /* so that td_write() writes them */
    f->now.byte[3]++;
    commit(f, sg, &to);
    assert_int_equal(repair(f), 2);
    for (unsigned e = 3; e <= 5; e++)
        assert_true(same(f, e));
}

/* The newest point that one can fail over to is kept, whatever else is. */
static void test_the_last_sound_point_stays(void **state)
{
    struct fixture *f = *state;
    cycle(f, 1, 10);
    cycle(f, 3, 33);
    cycle(f, 4, 44);
    rot(f, 2, 3, 34);
    assert_int_equal(scrub(f).blocks, 1);
    ok(store_proof_acknowledge(f->st, &f->m, err));
    merge_all(f, 1);
    assert_int_equal(state_of(f, 1), STORE_SOUND);
    assert_int_equal(state_of(f, 3), STORE_QUARANTINED);
    assert_true(same(f, 1));
}

/* The daemon stops: what reads or merges ends, and nothing has happened. */
static void test_interrupted(void **state)
{
    struct fixture *f = *state;
    struct vr_err e = VR_ERR_INIT;
    struct store_retention r = { .least = 1 };
    struct store_verify_input *v = NULL;
    struct store_merge *m = NULL;
    uint64_t blocks = 0, bad = 0;
    for (int i = 0; i < 4; i++)
        cycle(f, 1, (uint8_t)(10 + i));
    struct vr_point_id p = id_of(4);
    ok(store_verify_prepare(f->st, &f->m, &p, &v, err));
    store_interrupt(f->st);
    assert_int_equal(store_verify_run(v, &blocks, &bad, &e), -1);
    assert_int_equal(e.kind, VR_E_CANCELLED);
    store_verify_free(v);
    vr_err_clear(&e);
    ok(store_merge_prepare(f->st, &f->m, &r, &m, err));
    assert_non_null(m);
    store_interrupt(f->st);
    assert_int_equal(store_merge_run(m, &e), -1);
    assert_int_equal(e.kind, VR_E_CANCELLED);
    ok(store_merge_finish(f->st, m, err));
    assert_true(same(f, 4));
    merge_all(f, 1);
    assert_true(same(f, 4));
}

static void test_booted(void **state)
{
    struct fixture *f = *state;
    cycle(f, 1, 10);
    struct vr_point_id p = id_of(1), none = id_of(9);
    struct vr_err e = VR_ERR_INIT;
    ok(store_proof_booted(f->st, &f->m, &p, now, err));
    assert_int_equal(point(f, 1).proof.booted.us, now.us);
    assert_int_equal(store_proof_booted(f->st, &f->m, &none, now, &e), -1);
    assert_int_equal(e.kind, VR_E_NOTFOUND);
}

#define T(n) cmocka_unit_test_setup_teardown(n, setup, teardown)
/* The machine ran here: its overlay @path holds block @b, and no table tells of it yet. */
static void runs_and_returns(struct fixture *f, size_t b, uint8_t v)
{
    struct vr_point_id back = id_of((unsigned)f->newest.epoch + 1);
    vr_autofree char *path = NULL;
    struct td_disk to = f->now;
    to.byte[b] = v;
    ok(store_failover_prepare(f->st, &f->m, &f->newest, "vmr.x.0", err));
    ok(store_failover_path(f->st, &f->m, "vda", &path, err));
    td_write(path, NULL, &f->now, &to);
    ok(store_failover_become_base(f->st, &f->m, err));
    ok(store_failover_return(f->st, &f->m, &back, now, VR_POINT_PLANNED, err));
    f->now = f->at[back.epoch] = to;
    f->newest = back;
}

/* A merge that is cut leaves bytes of the upper layer in the lower one. While no table tells what
 * the upper one holds, they are no rot that anybody sees. */
static void test_cut_merge_of_an_unknown_layer(void **state)
{
    struct fixture *f = *state;
    struct store_retention keep = { .least = 1 };
    struct store_merge *m = NULL;
    cycle(f, 1, 11);
    runs_and_returns(f, 1, 12);
    cycle(f, 5, 13);
    cycle(f, 6, 14);
    ok(store_merge_prepare(f->st, &f->m, &keep, &m, err));
    assert_non_null(m);
    ok(store_merge_run(m, err));
    store_interrupt(f->st);
    ok(store_merge_finish(f->st, m, err));
    td_reopen(f->dir, &f->st);
    struct store_noted n = scrub(f);
    assert_int_equal(n.points, 0);
    assert_int_equal(state_of(f, (unsigned)f->newest.epoch), STORE_SOUND);
    assert_true(same(f, (unsigned)f->newest.epoch));
}

/* A layer whose table a merge took away cannot be repaired, and keeps no other one from it. */
static void test_no_table_no_repair(void **state)
{
    struct fixture *f = *state;
    struct store_repair *r = NULL;
    cycle(f, 1, 11);
    cycle(f, 1, 12);
    cycle(f, 2, 13);
    rot(f, 1, 1, 99);
    assert_int_equal(scrub(f).points, 1);
    store_close(f->st);
    f->st = NULL;
    vr_autofree char *db = vr_printf("%s/state.db", f->dir);
    struct db *raw = NULL;
    ok(db_open(db, false, &raw, err));
    ok(db_run(raw, err, "UPDATE layer SET digests = NULL, known = ? WHERE id = 1", "i",
              (int64_t)KNOWN_NONE));
    db_close(raw);
    ok(store_open(f->dir, &f->st, err));
    ok(store_repair_prepare(f->st, &f->m, &r, err));
    assert_null(r);
}

static int64_t damage(struct fixture *f, const char *where)
{
    int64_t n = 0;
    vr_autofree char *sql = vr_printf("SELECT count(*) FROM damage WHERE %s", where);
    ok(db_one_int(f->st->db, &n, err, sql, ""));
    return n;
}

/* What a layer without a table has written over in a merge is not wrong any more, also if nobody
 * can tell afterwards what is right there. */
static void test_what_a_merge_covers_is_put_right(void **state)
{
    struct fixture *f = *state;
    cycle(f, 1, 11);
    cycle(f, 2, 12);
    rot(f, 1, 1, 99);
    assert_int_equal(scrub(f).blocks, 1);
    assert_int_equal(damage(f, "1"), 1);
    runs_and_returns(f, 1, 13);
    cycle(f, 3, 14);
    merge_all(f, 1);
    assert_int_equal(damage(f, "1"), 0);
    assert_true(same(f, (unsigned)f->newest.epoch));
    assert_int_equal(state_of(f, (unsigned)f->newest.epoch), STORE_SOUND);
}

/* A repair that fails each time keeps no other one from being made. */
static void test_a_repair_that_fails_goes_last(void **state)
{
    struct fixture *f = *state;
    for (uint8_t i = 1; i <= 4; i++)
        cycle(f, i / 3, (uint8_t)(10 + i));
    rot(f, 1, 0, 99);
    rot(f, 3, 1, 98);
    cycle(f, 0, 20);
    cycle(f, 1, 13); /* the bytes that rotted */
    assert_int_equal(scrub(f).blocks, 2);
    assert_int_equal(damage(f, "lost = 0"), 2);
    vr_autolayer struct layer_row l = { 0 };
    ok(layer_load(f->st->db, 1, &l, err));
    vr_autofree char *away = vr_printf("%s.away", l.digests);
    assert_int_equal(rename(l.digests, away), 0);
    for (int i = 0; i < 2; i++) {
        struct store_repair *r = NULL;
        struct vr_err e = VR_ERR_INIT;
        size_t blocks, points;
        ok(store_repair_prepare(f->st, &f->m, &r, err));
        assert_non_null(r);
        assert_int_equal(store_repair_run(r, &e), i ? 0 : -1);
        ok(store_repair_finish(f->st, r, &blocks, &points, err));
        assert_int_equal(blocks, i);
    }
    assert_int_equal(damage(f, "lost = 0"), 1);
    assert_int_equal(rename(away, l.digests), 0);
    repair(f);
    assert_int_equal(damage(f, "lost = 0"), 0);
}

/* ---- a storage that does not answer ---- */
static atomic_bool hangs, over;
static sem_t news, thaw;

int __real_digestlog_open(const char *path, uint64_t size, bool create, struct digestlog **ret,
                          struct vr_err *err);
int __wrap_digestlog_open(const char *path, uint64_t size, bool create, struct digestlog **ret,
                          struct vr_err *err);
int __wrap_digestlog_open(const char *path, uint64_t size, bool create, struct digestlog **ret,
                          struct vr_err *err)
{
    if (atomic_load(&hangs)) {
        sem_post(&news);
        sem_wait(&thaw);
    }
    return __real_digestlog_open(path, size, create, ret, err);
}

struct act {
    struct fixture *f;
    void (*fn)(struct fixture *f, void *arg);
    void *arg;
};

static void *run_act(void *arg)
{
    struct act *a = arg;
    store_enter(a->f->st);
    a->fn(a->f, a->arg);
    store_leave(a->f->st);
    atomic_store(&over, true);
    sem_post(&news);
    return NULL;
}

/* Each time that @fn has a table before it that does not answer, others use the store. How often.
 */
static int beside_others(struct fixture *f, void (*fn)(struct fixture *f, void *arg), void *arg)
{
    struct act a = { f, fn, arg };
    pthread_t tid;
    int n = 0;
    sem_init(&news, 0, 0);
    sem_init(&thaw, 0, 0);
    atomic_store(&over, false);
    atomic_store(&hangs, true);
    assert_int_equal(pthread_create(&tid, NULL, run_act, &a), 0);
    for (;; n++) {
        while (sem_wait(&news) < 0)
            ;
        if (atomic_load(&over))
            break;
        store_enter(f->st); /* would wait for ever if it were kept waiting */
        ok(store_doc_put(f->st, "relationship", "x", "y", err));
        store_leave(f->st);
        sem_post(&thaw);
    }
    atomic_store(&hangs, false);
    assert_int_equal(pthread_join(tid, NULL), 0);
    return n;
}

static void end_scrub(struct fixture *f, void *arg)
{
    struct store_scrub_at at = { 0 };
    struct store_noted n;
    bool pass;
    uint64_t bytes;
    ok(store_scrub_finish(f->st, arg, now, &at, &pass, &bytes, &n, err));
    assert_int_equal(n.blocks, 2);
    assert_int_equal(n.points, 2);
    assert_int_equal(n.wanted, 1);
}

static void end_stage(struct fixture *f, void *arg)
{
    ok(store_stage_commit(f->st, arg, now, VR_POINT_STANDARD, err));
}

static void end_repair(struct fixture *f, void *arg)
{
    size_t blocks = 0, points = 0;
    ok(store_repair_finish(f->st, arg, &blocks, &points, err));
    assert_int_equal(blocks, 1);
    assert_int_equal(points, 1);
}

static void test_tables_keep_nobody_waiting(void **state)
{
    struct fixture *f = *state;
    struct store_scrub_at at = { 0 };
    struct store_scrub *s = NULL;
    struct store_repair *r = NULL;
    cycle(f, 3, 33);
    cycle(f, 3, 34); /* the layer that rots */
    cycle(f, 4, 44);
    rot(f, 2, 3, 35);
    rot(f, 2, 15, 99);            /* covered by point 3, and nobody has the right bytes */
    for (int i = 0; i < 2; i++) { /* the first layer, then the second one */
        struct store_noted n;
        bool pass;
        uint64_t bytes;
        ok(store_scrub_prepare(f->st, &f->m, &at, MIB * 64, &s, err));
        ok(store_scrub_run(s, err));
        if (i == 0)
            ok(store_scrub_finish(f->st, s, now, &at, &pass, &bytes, &n, err));
    }
    assert_true(beside_others(f, end_scrub, s) > 0);
    assert_int_equal(state_of(f, 3), STORE_QUARANTINED);
    struct store_stage *sg = wants(f, 1, 3);
    struct td_disk before = f->now;
    before.byte[3]++; /* so that it is written */
    td_write(sg->disks[0].image, sg->disks[0].digests, &before, &f->now);
    f->newest = sg->point;
    f->at[4] = f->now;
    assert_true(beside_others(f, end_stage, sg) > 0);
    store_stage_free(wants(f, 0, -1));
    ok(store_repair_prepare(f->st, &f->m, &r, err));
    ok(store_repair_run(r, err));
    assert_true(beside_others(f, end_repair, r) > 0);
    for (unsigned e = 1; e <= 4; e++)
        assert_int_equal(same(f, e), e != 2);
    assert_int_equal(state_of(f, 2), STORE_QUARANTINED);
    assert_int_equal(state_of(f, 3), STORE_REPAIRED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_whole_is_proven),
        T(test_a_pass_reads_what_was_said),
        T(test_rot_is_repaired),
        T(test_rot_that_is_lost),
        T(test_rot_of_the_newest),
        T(test_phantom_block),
        T(test_rot_found_in_mid_transfer),
        T(test_a_difference_found_in_mid_transfer),
        T(test_the_primary_differs),
        T(test_rot_moves_with_a_merge),
        T(test_booted),
        T(test_the_last_sound_point_stays),
        T(test_interrupted),
        T(test_no_table_no_repair),
        T(test_what_a_merge_covers_is_put_right),
        T(test_a_repair_that_fails_goes_last),
        T(test_cut_merge_of_an_unknown_layer),
        T(test_tables_keep_nobody_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
