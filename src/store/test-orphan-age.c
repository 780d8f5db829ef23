/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How old an orphan point is, for retention: whatever clocks do, it is not given up before its
 * time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/retain.h"
#include "store/store.h"

#define DAY ((int64_t)86400 * 1000000)

static void test_time_is_up(void **state)
{
    (void)state;
    struct store_point p[3] = {
        { .kind = VR_POINT_ORPHAN, .moment = { 0 }, .ours = 0 },
        { .kind = VR_POINT_STANDARD, .moment = { DAY }, .ours = DAY },
        { .kind = VR_POINT_STANDARD, .moment = { 9 * DAY }, .ours = 9 * DAY },
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

/* A host comes back with a clock of the year 2000 and its daemon is started anew when the clock is
 * right: the orphan is no day older by that. The points of the other host tell the time. */
static void test_clock_jumps_do_not_age(void **state)
{
    (void)state;
    enum { SECONDS = 1000000 };
    const int64_t now = 20000 * DAY, year_2000 = 10957 * DAY;
    struct store_retention keep = { .least = 1, .orphan_s = 30 * 86400 };
    for (int jump = 0; jump < 2;
         jump++) { /* our clock is put right; or the other host's runs off */
        struct retain_time orphan = { .instant = now - DAY, .received = year_2000 };
        retain_place(NULL, &orphan);
        struct retain_time last = orphan;
        for (int day = 0; day <= 40; day++) {
            struct retain_time t = {
                .instant = now + day * DAY + (jump ? 3000 * DAY : 0),
                .received = (jump ? year_2000 : now) + day * DAY + 60ll * SECONDS,
            };
            retain_place(&last, &t);
            last = t;
            struct store_point p[2] = {
                { .kind = VR_POINT_ORPHAN,
                  .received = { orphan.received },
                  .moment = { orphan.moment },
                  .ours = orphan.ours },
                { .received = { t.received }, .moment = { t.moment }, .ours = t.ours },
            };
            store_retention_apply(p, 2, &keep);
            if (day < 29)
                assert_int_equal(p[0].why, STORE_WHY_ORPHAN);
            if (day > 31)
                assert_int_equal(p[0].why, 0);
        }
    }
}

/* Two orphans: the second one was written long before this host came back with it. Its time begins
 * here, not when it was written. */
static void test_time_begins_with_the_return(void **state)
{
    (void)state;
    struct retain_time first = { .instant = 0, .received = 0 };
    retain_place(NULL, &first);
    struct retain_time second = { .instant = 60 * DAY, .received = 100 * DAY };
    retain_place(&first, &second);
    struct retain_time t = { .instant = 100 * DAY, .received = 100 * DAY + 60000000 };
    retain_place(&second, &t);
    struct store_point p[2] = {
        { .kind = VR_POINT_ORPHAN, .moment = { second.moment }, .ours = second.ours },
        { .moment = { t.moment }, .ours = t.ours },
    };
    store_retention_apply(p, 2, &(struct store_retention){ .least = 1, .orphan_s = 30 * 86400 });
    assert_int_equal(p[0].why, STORE_WHY_ORPHAN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_time_is_up),
        cmocka_unit_test(test_clock_jumps_do_not_age),
        cmocka_unit_test(test_time_begins_with_the_return),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
