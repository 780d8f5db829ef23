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
        { "ReplicationSettingData: instance of Msvm_ReplicationSettingData: property "
          "ReplicationInterval: must be 5 to 3600 seconds, not \"99999\"",
          "the interval (--interval) must be 5 to 3600 seconds, not \"99999\"" },
        { "ReplicationSettingData: instance of Msvm_ReplicationSettingData: property "
          "RecoveryServerPortNumber: \"99999\" is no uint16",
          "the port (--port): \"99999\" is no uint16" },
        { "a: instance of b c: property d", "a: instance of b c: property d" },
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

static void ports(void **st)
{
    static const struct {
        const char *text;
        uint16_t port;
    } rows[] = { { "1", 1 },  { "8443", 8443 }, { "65535", 65535 }, { "65536", 0 },
                 { "0", 0 },  { "80x", 0 },     { "x", 0 },         { "", 0 },
                 { "-1", 0 }, { " 1", 0 },      { "+1", 0 },        { "99999999999999999999", 0 } };
    for (size_t i = 0; i < VR_ARRAY_LEN(rows); i++)
        assert_int_equal(cli_port(rows[i].text), rows[i].port);
}

static void commands_ask_the_same_host(void **st)
{
    static const char *const rows[][2] = {
        { "Next: vmreplica reverse web01; or vmreplica commit web01",
          "Next: vmreplica --host b:59 --pin AB reverse web01; or vmreplica --host b:59 --pin AB "
          "commit web01" },
        { "vmreplica status, vmreplica explain web01.",
          "vmreplica --host b:59 --pin AB status, vmreplica --host b:59 --pin AB explain web01." },
        { "to keep it (vmreplica export web01), insist on it: vmreplica failover web01 --force",
          "to keep it (vmreplica --host b:59 --pin AB export web01), insist on it: vmreplica "
          "--host "
          "b:59 --pin AB failover web01 --force" },
        /* for another host */
        { "run there: vmreplica disable web01", NULL },
        { "one there (vmreplica allow b --storage DIR)", NULL },
        { "on a: vmreplica status", NULL },
        { "on host a: vmreplica disable web01 and seed web01 here", NULL },
        { "on a vmreplica shutdown web01, disable web01", NULL },
        { "a seed (vmreplica seed web01 on a), or", NULL },
        { "copying everything: vmreplica seed web01 there, then", NULL },
        { "vmreplica --host a cancel web01 --discard", NULL },
        /* no command */
        { "version of vmreplica on both hosts", NULL },
        { "vmreplica: vmreplica COMMAND --help, vmreplica statusy", NULL },
        { "", NULL },
    };
    struct cli c = { .host = "b", .port = 59, .pin = "AB" };
    for (int remote = 0; remote <= 1; remote++)
        for (size_t i = 0; i < VR_ARRAY_LEN(rows); i++) {
            cli_asked(remote ? &c : &(struct cli){ 0 });
            char *hints = cli_hints(rows[i][0]);
            assert_string_equal(hints, remote && rows[i][1] ? rows[i][1] : rows[i][0]);
            free(hints);
        }
    cli_asked(&(struct cli){ 0 });
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
                                      cmocka_unit_test(ports),
                                      cmocka_unit_test(commands_ask_the_same_host),
                                      cmocka_unit_test(numbers_are_numbers) };
    return cmocka_run_group_tests(all, NULL, NULL);
}
