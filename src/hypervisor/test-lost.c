/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A change map that is not in the image: by a crash, or by somebody's doing? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/testing.h"
#include "lost.h"

static void test_by_run(void **state)
{
    static const struct {
        struct lost_facts f;
        enum vr_lost lost;
    } cases[] = {
        /* The host was reset: nobody saw the end. Or QEMU was killed. */
        { { .noted = true }, VR_LOST_UNCLEAN },
        { { .noted = true, .end = LOST_END_CRASH }, VR_LOST_UNCLEAN },
        /* It was stored then, so somebody has taken it away since. */
        { { .noted = true, .end = LOST_END_ORDERLY }, VR_LOST_MISSING },
        /* QEMU has it in its memory, or somebody deleted it there. */
        { { .noted = true, .same_run = true }, VR_LOST_MISSING },
        /* Restored from a backup, or made anew. */
        { { .noted = true, .made_later = true, .end = LOST_END_CRASH }, VR_LOST_MISSING },
        /* Made while the machine was off: it was in the file. */
        { { .end = LOST_END_CRASH }, VR_LOST_MISSING },
        { { .noted = false }, VR_LOST_MISSING },
    };
    (void)state;
    for (size_t i = 0; i < VR_ARRAY_LEN(cases); i++) {
        assert_int_equal(lost_by_run(VR_LOST_MISSING, &cases[i].f), cases[i].lost);
        for (int k = 0; k < VR_LOST_COUNT; k++)
            if (k != VR_LOST_MISSING)
                assert_int_equal(lost_by_run((enum vr_lost)k, &cases[i].f), k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_by_run) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
