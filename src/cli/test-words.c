/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages of the daemon in the words of the command line; numbers are numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/cli.h"

static void properties_become_options(void **st)
{
    static const char *const rows[][2] = {
        { "ReplicationInterval must be 5 to 3600 seconds, not 2",
          "the interval (--interval) must be 5 to 3600 seconds, not 2" },
        { "X needs RecoveryHistory above 0",
          "X needs the number of hourly points (--points) above 0" },
        { "ReplicationIntervals, MyRecoveryHistory", "ReplicationIntervals, MyRecoveryHistory" },
        { "g\xc3\xbcltig: 3 %s", "g\xc3\xbcltig: 3 %s" },
        { "", "" },
    };
    for (size_t i = 0; i < VR_ARRAY_LEN(rows); i++) {
        char *words = cli_words(rows[i][0]);
        assert_string_equal(words, rows[i][1]);
        free(words);
    }
}

static int parsed(const char *value)
{
    const char *args[2], *interval = NULL;
    const struct cli_option o[] = { { .name = "interval", .value = &interval, .number = true } };
    char copy[32];
    char *argv[] = { (char[]){ "web" }, (char[]){ "--interval" }, copy, NULL };
    struct cli c = { .argv = argv, .argc = 3 };
    snprintf(copy, sizeof copy, "%s", value);
    return cli_parse(&c, "set", o, 1, args, 1, 1);
}

static void numbers_are_numbers(void **st)
{
    assert_int_equal(parsed("30"), 0);
    assert_int_equal(parsed("abc"), -1);
    assert_int_equal(parsed("-3"), -1);
    assert_int_equal(parsed("3s"), -1);
}

int main(void)
{
    const struct CMUnitTest all[] = { cmocka_unit_test(properties_become_options),
                                      cmocka_unit_test(numbers_are_numbers) };
    return cmocka_run_group_tests(all, NULL, NULL);
}
