/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sets of byte ranges against a plain array of flags. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "transfer/extents.h"

enum { SPACE = 500 };

static void check(const struct extents *e, const bool flags[SPACE])
{
    bool seen[SPACE] = { false };
    uint64_t bytes = 0;
    for (size_t i = 0; i < e->n; i++) {
        assert_true(e->v[i].length > 0);
        if (i)
            assert_true(e->v[i - 1].offset + e->v[i - 1].length < e->v[i].offset);
        for (uint64_t b = 0; b < e->v[i].length; b++)
            seen[e->v[i].offset + b] = true;
        bytes += e->v[i].length;
    }
    assert_memory_equal(seen, flags, sizeof seen);
    assert_int_equal(extents_bytes(e), bytes);
}

static bool all_set(const bool *flags, uint64_t from, uint64_t n)
{
    for (uint64_t i = from; i < from + n; i++)
        if (!flags[i])
            return false;
    return true;
}

static void any_order_gives_the_same_set(void **state)
{
    (void)state;
    unsigned int seed = 7;
    for (int round = 0; round < 300; round++) {
        struct extents e = { .v = NULL };
        bool flags[SPACE] = { false };
        for (int k = 0; k < 40; k++) {
            uint64_t off = (uint64_t)rand_r(&seed) % (SPACE - 20);
            uint64_t len = (uint64_t)rand_r(&seed) % 20;
            extents_add(&e, off, len);
            memset(flags + off, true, len);
            check(&e, flags);
        }
        for (int k = 0; k < 40; k++) {
            uint64_t off = (uint64_t)rand_r(&seed) % (SPACE - 20);
            uint64_t len = 1 + (uint64_t)rand_r(&seed) % 19;
            assert_int_equal(extents_contains(&e, off, len), all_set(flags, off, len));
        }
        extents_done(&e);
    }
}

static void neighbours_become_one(void **state)
{
    (void)state;
    struct extents e = { .v = NULL };
    extents_add(&e, 0, 10);
    extents_add(&e, 20, 10);
    assert_int_equal(e.n, 2);
    assert_false(extents_contains(&e, 10, 1));
    assert_true(extents_contains(&e, 20, 10));
    extents_add(&e, 10, 10);
    assert_int_equal(e.n, 1);
    assert_true(extents_contains(&e, 0, 30));
    extents_done(&e);
}

static void alignment_widens_and_cuts(void **state)
{
    (void)state;
    struct extents e = { .v = NULL }, more = { .v = NULL };
    extents_add(&e, 65, 1);
    extents_add(&more, 190, 3);
    extents_unite(&e, &more);
    extents_add(&e, 5000, 1); /* outside of the disk */
    extents_align(&e, 64, 200);
    assert_int_equal(e.n, 1);
    assert_int_equal(e.v[0].offset, 64);
    assert_int_equal(e.v[0].length, 136);
    extents_done(&e);
    extents_done(&more);
    extents_add(&e, UINT64_MAX - 5, 100);
    assert_int_equal(extents_bytes(&e), 5);
    extents_done(&e);
}

/* More ranges than can be written down: the smallest gaps are closed, nothing is lost. */
static void too_many_are_made_fewer(void **state)
{
    (void)state;
    unsigned int seed = 11;
    for (size_t max = 1; max < 30; max++) {
        struct extents e = { .v = NULL }, was = { .v = NULL };
        for (int k = 0; k < 60; k++)
            extents_add(&e, (uint64_t)rand_r(&seed) << 8, 1 + (uint64_t)rand_r(&seed) % 5000);
        extents_unite(&was, &e);
        uint64_t end = e.v[e.n - 1].offset + e.v[e.n - 1].length;
        extents_coarsen(&e, max);
        assert_in_range(e.n, 1, max);
        for (size_t i = 0; i < was.n; i++)
            assert_true(extents_contains(&e, was.v[i].offset, was.v[i].length));
        assert_int_equal(e.v[0].offset, was.v[0].offset);
        assert_int_equal(e.v[e.n - 1].offset + e.v[e.n - 1].length, end);
        extents_coarsen(&was, was.n);
        assert_true(was.n >= e.n);
        extents_done(&e);
        extents_done(&was);
    }
    struct extents none = { .v = NULL };
    extents_coarsen(&none, 1);
    assert_int_equal(none.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_order_gives_the_same_set),
        cmocka_unit_test(neighbours_become_one),
        cmocka_unit_test(alignment_widens_and_cuts),
        cmocka_unit_test(too_many_are_made_fewer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
