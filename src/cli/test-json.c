/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What programs get to read: types come from the schema, never from what a text looks like. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "cli/cli.h"
#include "cli/testinst.h"

static char out[4096];

/* What @print writes to standard output, in @out without white space. */
static const char *printed(void (*print)(void *), void *arg)
{
    vr_autofree char *text = NULL;
    size_t len = 0, n = 0;
    FILE *was = stdout;
    stdout = open_memstream(&text, &len);
    assert_non_null(stdout);
    print(arg);
    fclose(stdout);
    stdout = was;
    for (size_t i = 0; i < len && n + 1 < sizeof out; i++)
        if (!strchr(" \n", text[i]))
            out[n++] = text[i];
    out[n] = 0;
    return out;
}

static void print_list(void *arg)
{
    struct wsmc_inst *in = arg;
    cli_json(&(struct wsmc_list){ &in, 1 });
}

static void print_object(void *arg)
{
    (void)arg;
    const struct cli_field all[] = {
        { "Machine", "true", CLI_TEXT }, { "Point", "123", CLI_TEXT },
        { "Port", "8443", CLI_NUMBER },  { "Accepts", "true", CLI_BOOL },
        { "Same", NULL, CLI_BOOL },
    };
    cli_json_object(all, VR_ARRAY_LEN(all));
}

static void test_object(void **state)
{
    (void)state;
    assert_string_equal(
        printed(print_object, NULL),
        "{\"Machine\":\"true\",\"Point\":\"123\",\"Port\":8443,\"Accepts\":true,\"Same\":null}");
}

static struct wsmc_inst *some(const char *cls)
{
    static const char *const one[] = { "7" };
    const struct wsmc_arg p[] = {
        { .name = "ElementName", .value = "true" },
        { .name = "MachineName", .value = "123" },
        { .name = "EnabledState", .value = "42" },
        { .name = "OperationalStatus", .many = one, .n = 1 },
        { .name = "Ready", .value = "TRUE" },
        { .name = "Targets", .many = one, .n = 1 },
        { .name = "StatusDescriptions" },
    };
    return made(cls, p, VR_ARRAY_LEN(p));
}

static void print_line(void *arg)
{
    struct wsmc_inst *in = arg;
    cli_json_line(&(struct wsmc_list){ &in, 1 });
}

/* In a series of values each is a line of its own. */
static void test_line(void **state)
{
    (void)state;
    vr_auto(wsmc_inst_free) struct wsmc_inst *in = some("Other_Class");
    vr_autofree char *text = NULL;
    size_t len = 0;
    FILE *was = stdout;
    stdout = open_memstream(&text, &len);
    assert_non_null(stdout);
    print_line(in);
    fclose(stdout);
    stdout = was;
    assert_ptr_equal(strchr(text, '\n'), text + len - 1);
}

/* Of this class some arrays came, and the others are empty: not absent. */
static void test_empty_arrays(void **state)
{
    (void)state;
    static const char *const one[] = { "paused" };
    const struct wsmc_arg p[] = { { .name = "State", .value = "replicating" },
                                  { .name = "Reasons", .many = one, .n = 1 } };
    vr_auto(wsmc_inst_free) struct wsmc_inst *in =
        made("Vmr_ReplicationStatus", p, VR_ARRAY_LEN(p));
    const char *text = printed(print_list, in);
    assert_non_null(strstr(text, "\"Reasons\":[\"paused\"]"));
    assert_non_null(strstr(text, "\"ReasonTexts\":[]"));
    assert_non_null(strstr(text, "\"TestMachines\":[]"));
}

/* Without the arrays that are empty, which @want does not name. */
static void says(const char *cls, const char *want)
{
    vr_auto(wsmc_inst_free) struct wsmc_inst *in = some(cls);
    const char *text = printed(print_list, in);
    size_t n = strlen(want) - 2; /* "}]" */
    if (strncmp(text, want, n) != 0)
        assert_string_equal(text, want);
    for (text += n; *text == ','; text += strcspn(text + 1, ",}") + 1)
        assert_memory_equal(text + strcspn(text, ":"), ":[]", 3);
    assert_string_equal(text, "}]");
}

static void test_instance(void **state)
{
    (void)state;
    says("Msvm_ComputerSystem",
         "[{\"ElementName\":\"true\",\"MachineName\":\"123\",\"EnabledState\":42,"
         "\"OperationalStatus\":[7],\"Ready\":\"TRUE\",\"Targets\":\"7\",\"StatusDescriptions\":[]}"
         "]");
    says("vmr_pointexport",
         "[{\"ElementName\":\"true\",\"MachineName\":\"123\",\"EnabledState\":\"42\","
         "\"OperationalStatus\":\"7\",\"Ready\":true,\"Targets\":[\"7\"],\"StatusDescriptions\":"
         "null}]");
    says("Other_Class",
         "[{\"ElementName\":\"true\",\"MachineName\":\"123\",\"EnabledState\":\"42\","
         "\"OperationalStatus\":\"7\",\"Ready\":\"TRUE\",\"Targets\":\"7\",\"StatusDescriptions\":"
         "null}]");
}

static void test_local_text(void **state)
{
    (void)state;
    setenv("TZ", "XXX-2", 1);
    tzset();
    vr_autofree char *a =
        cli_local_text("over at 2026-01-31T12:34:56Z, to point 7; at 2026-01-31T12:34 or 9");
    assert_string_equal(a, "over at 2026-01-31 14:34:56, to point 7; at 2026-01-31T12:34 or 9");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_object),       cmocka_unit_test(test_instance),
        cmocka_unit_test(test_empty_arrays), cmocka_unit_test(test_line),
        cmocka_unit_test(test_local_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
