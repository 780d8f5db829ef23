/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests of proof where points stand beside the newest one: what rots in a branch, below the fork or
 * in an orphan is found and put right, and whole lives of that. */
#include "store/test-proof-kit.h"

/* The machine was failed over to point @to and is a replica again, with the point @as; what came
 * after it and is pinned stays beside as a branch. */
static void branch(struct fixture *f, unsigned to, unsigned as)
{
    struct vr_point_id p = id_of(to), back = id_of(as);
    ok(store_failover_prepare(f->st, &f->m, &p, "vmr.x", err));
    ok(store_failover_become_base(f->st, &f->m, err));
    ok(store_failover_return(f->st, &f->m, &back, now, VR_POINT_STANDARD, err));
    f->newest = back;
    f->now = f->at[as] = f->at[to];
}

/* What nobody received gets its tables. */
static void index_now(struct fixture *f)
{
    struct store_index *ix = NULL;
    ok(store_index_prepare(f->st, &f->m, false, &ix, err));
    if (!ix)
        return;
    ok(store_index_run(ix, NULL, err));
    ok(store_index_finish(f->st, ix, err));
}

static void pin(struct fixture *f, unsigned epoch)
{
    struct vr_point_id p = id_of(epoch);
    ok(store_point_pin(f->st, &f->m, &p, STORE_PIN_USER, true, err));
}

/* A pinned point on a branch beside the newest one: what rots there, and below the fork, is found.
 */
static void test_branch_beside(void **state)
{
    struct fixture *f = *state;
    for (uint8_t i = 1; i <= 4; i++)
        cycle(f, i, i);
    pin(f, 1);
    pin(f, 3);
    pin(f, 4);
    branch(f, 2, 9);
    cycle(f, 6, 6);
    assert_int_equal(scrub(f).blocks, 0);
    rot(f, 4, 4, 99);
    struct store_noted n = scrub(f);
    assert_int_equal(n.points, 1);
    assert_int_equal(n.wanted, 0); /* the newest point does not show it */
    assert_int_equal(state_of(f, 4), STORE_QUARANTINED);
    assert_int_equal(state_of(f, 3), STORE_SOUND);
    assert_int_equal(state_of(f, 10), STORE_SOUND);
    rot(f, 1, 1, 98); /* all stand on it */
    n = scrub(f);
    assert_int_equal(n.wanted, 1);
    assert_int_equal(state_of(f, 1), STORE_QUARANTINED);
    assert_int_equal(state_of(f, 10), STORE_QUARANTINED);
    assert_int_equal(state_of(f, 3), STORE_QUARANTINED); /* on its branch, too */
}

/* What rots lies under both branches: both are led around it. */
static void test_two_branches_stand_on_rot(void **state)
{
    struct fixture *f = *state;
    cycle(f, 1, 10);
    cycle(f, 3, 33); /* 2: the layer that rots */
    cycle(f, 4, 44); /* 3: a branch of its own later */
    pin(f, 2);
    pin(f, 3);
    branch(f, 2, 9);
    cycle(f, 3, 9);  /* 10 covers it */
    cycle(f, 3, 33); /* 11: the same bytes again */
    rot(f, 2, 3, 34);
    assert_int_equal(scrub(f).points, 3);
    assert_int_equal(repair(f), 1);
    for (int i = 0; i < 2; i++) {
        for (unsigned e = 2; e <= 11; e = e == 3 ? 9 : e + 1)
            assert_true(same(f, e));
        for (unsigned e = 2; e <= 9; e = e == 3 ? 9 : e + 1)
            assert_int_equal(state_of(f, e), STORE_REPAIRED);
        assert_int_equal(scrub(f).blocks, 0);
        td_reopen(f->dir, &f->st);
        merge_all(f, 5);
    }
}

/* Five points, of which 3 to 5 are a branch beside 9, 10, ... */
static void two_branches(struct fixture *f, uint8_t in_4)
{
    cycle(f, 1, 11);
    cycle(f, 2, 22);
    cycle(f, 3, 33);
    cycle(f, 3, in_4);
    cycle(f, 5, 55);
    for (unsigned e = 3; e <= 5; e++)
        pin(f, e);
    branch(f, 2, 9);
}

/* Points that are listed: all are what they were, and none is quarantined. */
static void all_sound(struct fixture *f)
{
    vr_autofree struct store_point *p = NULL;
    size_t n = 0;
    ok(store_points(f->st, &f->m, &p, &n, err));
    for (size_t i = 0; i < n; i++) {
        assert_int_not_equal(p[i].proof.quarantine, STORE_QUARANTINED);
        assert_true(same(f, (unsigned)p[i].id.epoch));
    }
}

/* It stays so, whatever happens next: looked at, opened again, merged. */
static void stays_sound(struct fixture *f)
{
    all_sound(f);
    assert_int_equal(scrub(f).points, 0);
    td_reopen(f->dir, &f->st);
    cycle(f, 12, 99);
    merge_all(f, 1);
    all_sound(f);
    assert_int_equal(scrub(f).points, 0);
}

/* What only a branch shows: the newest point's branch, which received the same bytes, has them. */
static void test_a_branch_is_repaired_from_the_newest(void **state)
{
    struct fixture *f = *state;
    two_branches(f, 34);
    cycle(f, 3, 33);
    rot(f, 3, 3, 99);
    struct store_noted n = scrub(f);
    assert_int_equal(n.points, 1);
    assert_int_equal(n.wanted, 0);
    assert_int_equal(state_of(f, 3), STORE_QUARANTINED);
    assert_int_equal(repair(f), 1);
    assert_int_equal(state_of(f, 3), STORE_REPAIRED);
    stays_sound(f);
}

/* Or the branch itself has them, further up. */
static void test_a_branch_is_repaired_from_itself(void **state)
{
    struct fixture *f = *state;
    two_branches(f, 34);
    for (int stays = 0; stays < 2; stays++)
        cycle(f, 6, (uint8_t)(60 + stays));
    rot(f, 4, 3, 99);
    assert_int_equal(scrub(f).points, 2);
    assert_int_equal(repair(f), 0); /* nobody has them */
    assert_int_equal(state_of(f, 4), STORE_QUARANTINED);
    assert_int_equal(state_of(f, 5), STORE_QUARANTINED);
    assert_int_equal(state_of(f, 3), STORE_SOUND);
    assert_int_equal(state_of(f, 11), STORE_SOUND);
    cycle(f, 3, 34); /* now somebody has */
    assert_int_equal(scrub(f).blocks, 0);
    assert_int_equal(repair(f), 1);
    assert_int_equal(state_of(f, 5), STORE_REPAIRED);
    stays_sound(f);
}

/* The last layer of a branch: nothing stands on it. */
static void test_the_tip_of_a_branch_is_repaired(void **state)
{
    struct fixture *f = *state;
    two_branches(f, 34);
    cycle(f, 5, 55);
    rot(f, 5, 5, 99);
    assert_int_equal(scrub(f).points, 1);
    assert_int_equal(state_of(f, 5), STORE_QUARANTINED);
    td_reopen(f->dir, &f->st);
    assert_int_equal(repair(f), 1);
    assert_int_equal(state_of(f, 5), STORE_REPAIRED);
    stays_sound(f);
    /* The machine goes on from there. */
    branch(f, 5, 20);
    index_now(f);
    cycle(f, 7, 77);
    merge_all(f, 1);
    all_sound(f);
}

/* Below the fork, where the newest point does not see it: only a branch has the right bytes. */
static void test_below_the_fork_a_branch_has_the_bytes(void **state)
{
    struct fixture *f = *state;
    cycle(f, 3, 33); /* 1: the layer that rots */
    cycle(f, 1, 11); /* 2: the fork */
    cycle(f, 3, 34);
    cycle(f, 3, 33); /* 4: the same bytes */
    for (unsigned e = 1; e <= 4; e++)
        pin(f, e);
    branch(f, 2, 9);
    cycle(f, 3, 35);
    rot(f, 1, 3, 99);
    assert_int_equal(scrub(f).points, 3); /* 1, 2 and 9 */
    assert_int_equal(repair(f), 1);
    stays_sound(f);
}

/* Whoever has the right bytes cannot be read just now: that is no reason to give them up. */
static void test_who_cannot_be_read_is_asked_again(void **state)
{
    struct fixture *f = *state;
    struct store_repair *r = NULL;
    size_t blocks = 0, points = 0;
    two_branches(f, 34);
    cycle(f, 3, 33);
    rot(f, 3, 3, 99);
    assert_int_equal(scrub(f).points, 1);
    vr_autofree char *path = image(f, (unsigned)f->newest.epoch);
    vr_autofree char *away = vr_printf("%s.away", path);
    assert_int_equal(rename(path, away), 0);
    ok(store_repair_prepare(f->st, &f->m, &r, err));
    assert_non_null(r);
    ok(store_repair_run(r, err));
    fails(VR_E_IO, store_repair_finish(f->st, r, &blocks, &points, err));
    assert_int_equal(blocks, 0);
    assert_int_equal(state_of(f, 3), STORE_QUARANTINED);
    assert_int_equal(rename(away, path), 0);
    assert_int_equal(repair(f), 1);
    assert_int_equal(state_of(f, 3), STORE_REPAIRED);
    stays_sound(f);
}

/* What a machine wrote here and nobody received, below a branch of its own. */
static void test_an_orphan_is_repaired(void **state)
{
    struct fixture *f = *state;
    vr_autofree char *path = NULL;
    struct vr_point_id on, lost = id_of(9);
    cycle(f, 1, 11);
    cycle(f, 2, 22);
    on = f->newest;
    pin(f, 2);
    struct td_disk to = f->now;
    to.byte[3] = 33;
    ok(store_failover_prepare(f->st, &f->m, &on, "vmr.x", err));
    ok(store_failover_path(f->st, &f->m, "vda", &path, err));
    td_write(path, NULL, &f->now, &to);
    ok(store_failover_become_base(f->st, &f->m, err));
    ok(store_failover_return(f->st, &f->m, &lost, now, VR_POINT_ORPHAN, err));
    f->newest = lost;
    f->now = f->at[9] = to;
    index_now(f);
    branch(f, 2, 10);
    index_now(f);
    cycle(f, 3, 33);
    assert_int_equal(scrub(f).blocks, 0);
    rot(f, 9, 3, 99);
    struct store_noted n = scrub(f);
    assert_int_equal(n.points, 1);
    assert_int_equal(n.wanted, 0);
    assert_int_equal(state_of(f, 9), STORE_QUARANTINED);
    assert_int_equal(repair(f), 1);
    assert_int_equal(state_of(f, 9), STORE_REPAIRED);
    stays_sound(f);
    ok(store_point_discard(f->st, &f->m, &lost, err));
    merge_all(f, 1);
    all_sound(f);
}

/* A layer of the branch shows what its table does not know; what it covers reads right by now, and
 * nothing is declared sound for that. */
static void test_a_fork_further_up_releases_nothing(void **state)
{
    struct fixture *f = *state;
    cycle(f, 3, 33);
    cycle(f, 4, 44); /* the fork */
    cycle(f, 5, 55);
    rot(f, 3, 3, 99); /* layer 3 does not hold block 3 */
    assert_int_equal(compare(f, &f->now).points, 3);
    pin(f, 3);
    branch(f, 2, 9);
    ship_again(f, wants(f, 1, 3), 3);
    assert_int_equal(repair(f), 0);
    assert_false(same(f, 3));
    assert_int_equal(state_of(f, 3), STORE_QUARANTINED);
    assert_true(same(f, 10));
}

/* The machine fails over while a branch is being repaired: nothing is put in, and it is repaired
 * later. */
static void test_a_failover_in_the_middle(void **state)
{
    struct fixture *f = *state;
    struct store_repair *r = NULL;
    size_t blocks = 0, points = 0;
    two_branches(f, 34);
    cycle(f, 5, 55);
    rot(f, 5, 5, 99);
    assert_int_equal(scrub(f).points, 1);
    ok(store_repair_prepare(f->st, &f->m, &r, err));
    assert_non_null(r);
    ok(store_repair_run(r, err));
    ok(store_failover_prepare(f->st, &f->m, &f->newest, "vmr.y", err));
    ok(store_repair_finish(f->st, r, &blocks, &points, err));
    assert_int_equal(blocks, 0);
    ok(store_failover_drop(f->st, &f->m, err));
    assert_int_equal(repair(f), 1);
    stays_sound(f);
}

/* ---- a life of cycles, rot on either side, merges, restarts ---- */

enum { NO_BLOCK = BLOCKS };

struct life {
    struct fixture *f;
    unsigned seed;
    size_t held[EPOCHS]; /* a block that the point's own layer holds, or NO_BLOCK */
    size_t rotten, repaired, differed, branches;
};

static unsigned dice(struct life *l, unsigned n)
{
    return (unsigned)rand_r(&l->seed) % n;
}

/* Few values, so that the same bytes come again. */
static void live_cycle(struct life *l)
{
    size_t b = dice(l, 8);
    cycle(l->f, b, (uint8_t)(l->f->now.byte[b] % 4 + 1));
    l->held[l->f->newest.epoch] = b;
}

static void live_rot(struct life *l)
{
    vr_autofree struct store_point *p = NULL;
    size_t n = 0;
    ok(store_points(l->f->st, &l->f->m, &p, &n, err));
    unsigned e = (unsigned)p[dice(l, (unsigned)n)].id.epoch;
    if (l->held[e] == NO_BLOCK)
        return;
    rot(l->f, e, l->held[e], (uint8_t)(100 + dice(l, 100)));
    l->rotten++;
}

/* What the sender is asked for comes with the next point. */
static void live_heal(struct life *l)
{
    struct fixture *f = l->f;
    struct store_stage *sg = stage_open(f);
    struct td_disk to = f->now;
    to.byte[15] = (uint8_t)(200 + f->newest.epoch);
    for (size_t b = 0; b < BLOCKS; b++)
        if (extents_contains(&sg->disks[0].wanted, b * VR_BLOCK_SIZE, 1))
            f->now.byte[b] = (uint8_t)(to.byte[b] + 1); /* so that td_write() writes it */
    commit(f, sg, &to);
    l->held[f->newest.epoch] = 15;
    l->repaired += repair(f);
}

/* The primary's disk changes behind its bitmap; the next point lacks it, and is found out. */
static void live_flip(struct life *l)
{
    struct fixture *f = l->f;
    struct td_disk primary = f->now;
    size_t b = dice(l, 8);
    primary.byte[b] = (uint8_t)(100 + dice(l, 100));
    cycle(f, 15, 0);
    l->held[f->newest.epoch] = 15;
    primary.byte[15] = f->now.byte[15];
    f->at[f->newest.epoch] = primary;
    assert_true(compare(f, &primary).blocks >= 1);
    f->now = primary;
    l->differed++;
    live_heal(l);
}

/* The machine fails over to some point, and a pin keeps what came after it. */
static void live_branch(struct life *l)
{
    struct fixture *f = l->f;
    vr_autofree struct store_point *p = NULL;
    size_t n = 0;
    ok(store_points(f->st, &f->m, &p, &n, err));
    const struct store_point *to = &p[dice(l, (unsigned)n)], *other = &p[dice(l, (unsigned)n)];
    if (other->pins)
        ok(store_point_pin(f->st, &f->m, &other->id, STORE_PIN_USER, false, err));
    if (to->proof.quarantine == STORE_QUARANTINED || vr_point_eq(&to->id, &f->newest))
        return;
    pin(f, (unsigned)f->newest.epoch);
    branch(f, (unsigned)to->id.epoch, (unsigned)f->newest.epoch + 1);
    index_now(f);
    l->held[f->newest.epoch] = NO_BLOCK;
    l->branches++;
}

/* Whoever looks at everything finds all that is wrong: a point is what it was, or it is
 * quarantined. */
static void live_check(struct life *l)
{
    struct fixture *f = l->f;
    vr_autofree struct store_point *p = NULL;
    size_t n = 0;
    scrub(f);
    compare(f, &f->now);
    live_heal(l);
    assert_int_equal(compare(f, &f->now).blocks, 0);
    ok(store_points(f->st, &f->m, &p, &n, err));
    for (size_t i = 0; i < n; i++) {
        unsigned e = (unsigned)p[i].id.epoch;
        if (p[i].proof.quarantine != STORE_QUARANTINED)
            assert_true(same(f, e));
    }
    assert_true(same(f, (unsigned)f->newest.epoch));
}

static void test_random_lives(void **state)
{
    struct life l = { .f = *state };
    const char *seed = getenv("VMR_PROOF_SEED");
    l.seed = seed ? (unsigned)strtoul(seed, NULL, 10) : 1;
    live_cycle(&l);
    while (l.f->newest.epoch < EPOCHS - 8) {
        switch (dice(&l, 9)) {
        case 0:
        case 1:
            live_rot(&l);
            break;
        case 2:
            live_flip(&l);
            break;
        case 3:
            if (dice(&l, 2))
                ok(store_proof_acknowledge(l.f->st, &l.f->m, err));
            merge_all(l.f, 3 + dice(&l, 3));
            break;
        case 4:
            live_check(&l);
            break;
        case 5:
            td_reopen(l.f->dir, &l.f->st);
            break;
        case 6:
            live_branch(&l);
            break;
        default:
            live_cycle(&l);
        }
    }
    live_check(&l);
    print_message(
        "seed %u: %zu times rotten, %zu blocks repaired, %zu times the primary differed, %zu "
        "branches\n",
        seed ? (unsigned)strtoul(seed, NULL, 10) : 1, l.rotten, l.repaired, l.differed, l.branches);
    if (!seed)
        assert_true(l.rotten > 3 && l.differed > 0 && l.branches > 0);
}

#define T(n) cmocka_unit_test_setup_teardown(n, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_branch_beside),
        T(test_two_branches_stand_on_rot),
        T(test_a_branch_is_repaired_from_the_newest),
        T(test_a_branch_is_repaired_from_itself),
        T(test_who_cannot_be_read_is_asked_again),
        T(test_the_tip_of_a_branch_is_repaired),
        T(test_below_the_fork_a_branch_has_the_bytes),
        T(test_an_orphan_is_repaired),
        T(test_a_fork_further_up_releases_nothing),
        T(test_a_failover_in_the_middle),
        T(test_random_lives),
    };
    piece = MIB; /* each takes a process; test-proof.c reads block by block */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
