/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The choice of a compression level by trying, over links and processors made of arithmetic. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "transfer/steer.h"

enum { MIB = 1 << 20 };

/* What each step makes of the data, and how fast. */
static const double ratio[] = { 1, 0.6, 0.5, 0.4, 0.35, 0.3, 0.25 };
static const double mib_s[] = { 1e9, 1800, 900, 450, 220, 90, 25 };

struct world {
    struct steer z;
    double link;  /* MiB/s */
    bool busy;    /* two processors do everything, the link's work too */
    bool dense;   /* every third MiB cannot be compressed */
    double noise; /* up to so much longer than it should take */
    double now;   /* microseconds */
    unsigned seed;
    int tried; /* MiB packed with another step than the best one */
};

static double cost(const struct world *w, int step)
{
    double line = ratio[step] / w->link, pack = 1 / mib_s[step];
    if (w->busy)
        return line + pack / 2;
    return line > pack ? line : pack; /* seconds per MiB: they overlap */
}

static int best(const struct world *w)
{
    int b = 0;
    for (int i = 1; i < w->z.steps; i++)
        if (cost(w, i) < cost(w, b) * 0.94)
            b = i;
    return b;
}

static void run(struct world *w, int mib)
{
    for (int i = 0; i < mib; i++) {
        struct steer_unit u = { .step = w->z.step, .bytes = MIB };
        bool dense = w->dense && i % 3 == 0;
        if (!dense) {
            u.step = steer_take(&w->z, &u.sample);
            u.compressible = MIB;
            u.compressed = (uint64_t)(MIB * ratio[u.step]);
            u.work_us = (int64_t)(1e6 / mib_s[u.step]);
            u.ran_us = u.work_us + 100;
            u.waited_us = w->busy ? u.ran_us : 0;
        }
        w->seed = w->seed * 1103515245 + 12345;
        double longer = 1 + w->noise * (w->seed >> 16) / 65536;
        w->now += cost(w, dense ? 0 : u.step) * 1e6 * longer;
        w->tried += u.step != best(w);
        steer_note(&w->z, &u, (int64_t)w->now);
    }
}

static void a_slow_link_ends_at_the_strongest_level_that_keeps_up(void **state)
{
    (void)state;
    for (double link = 2; link < 300; link *= 3) {
        struct world w = { .link = link };
        steer_init(&w.z, 12, 4);
        run(&w, 600);
        w.tried = 0;
        run(&w, 4096);
        assert_true(w.tried < 4096 / 8);
    }
}

static void a_fast_link_is_left_alone(void **state)
{
    (void)state;
    struct world w = { .link = 4000 };
    steer_init(&w.z, 3, 4);
    run(&w, 16 * 1024);
    assert_int_equal(w.z.step, 0);
    assert_true(w.tried < 160);
}

/* Everything on two processors: a level that is too strong is paid at once, so it is hardly tried.
 */
static void busy_processors_are_not_made_busier(void **state)
{
    (void)state;
    for (int dense = 0; dense < 2; dense++) {
        struct world w = { .link = 2400, .busy = true, .dense = dense, .noise = 0.5, .seed = 1 };
        steer_init(&w.z, 3, 2);
        run(&w, 1200);
        assert_int_equal(w.z.step, 0);
        assert_true(w.tried < 1200 / 50);
    }
}

static void a_link_that_changes_is_followed(void **state)
{
    (void)state;
    struct world w = { .link = 4000 };
    steer_init(&w.z, 3, 4);
    run(&w, 16 * 1024);
    w.link = 10;
    run(&w, 16 * 1024);
    w.tried = 0;
    run(&w, 1024);
    assert_true(w.tried < 256);
    w.link = 4000;
    run(&w, 16 * 1024);
    assert_int_equal(w.z.step, 0);
}

static void no_level_is_no_compression(void **state)
{
    (void)state;
    struct world w = { .link = 1 };
    steer_init(&w.z, 0, 4);
    run(&w, 256);
    assert_int_equal(w.z.step, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_link_ends_at_the_strongest_level_that_keeps_up),
        cmocka_unit_test(a_fast_link_is_left_alone),
        cmocka_unit_test(busy_processors_are_not_made_busier),
        cmocka_unit_test(a_link_that_changes_is_followed),
        cmocka_unit_test(no_level_is_no_compression),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
