/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmreplica pin and unpin: what is said of it is so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli/testcalls.h"
#include "cli/testinst.h"

/* ---- the daemon: a point that is pinned or not ---- */
static const char *pinned;
static char told[256];

int __wrap_wsmc_query(struct wsmc *c, const char *ns, const char *wql, struct wsmc_list *ret,
                      struct vr_err *err);
int __wrap_wsmc_query(struct wsmc *c, const char *ns, const char *wql, struct wsmc_list *ret,
                      struct vr_err *err)
{
    const struct wsmc_arg p[][2] = {
        { { .name = "InstanceID", .value = "x:1" }, { .name = "Pinned", .value = pinned } },
        { { .name = "InstanceID", .value = "x:2" }, { .name = "Pinned", .value = "true" } }
    };
    ret->v = calloc(VR_ARRAY_LEN(p), sizeof *ret->v);
    for (ret->n = 0; ret->n < VR_ARRAY_LEN(p); ret->n++)
        ret->v[ret->n] = made("Vmr_RecoveryPoint", p[ret->n], VR_ARRAY_LEN(p[0]));
    return 0;
}

int cli_find_vm(struct wsmc *w, const char *name, struct cli_vm *ret, struct vr_err *err)
{
    *ret = (struct cli_vm){ .name = "web", .mode = 2, .state = 3, .power = 3, .peer = "hosta" };
    return 0;
}

int cli_usage(const char *verb)
{
    return EXIT_USAGE;
}

int cli_fail(const struct vr_err *err)
{
    snprintf(told, sizeof told, "%s", err->msg);
    return EXIT_FAILED;
}

__attribute__((format(printf, 2, 3))) void __wrap_cli_say(const struct cli *c, const char *fmt,
                                                          ...);
void __wrap_cli_say(const struct cli *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(told, sizeof told, fmt, ap);
    va_end(ap);
}

static int run(int (*verb)(struct cli *c), const char *point)
{
    char machine[] = "web";
    char *argv[] = { machine, (char *)point, NULL };
    struct cli c = { .argv = argv, .argc = 2 };
    asked[0] = told[0] = 0;
    return verb(&c);
}

/* ---- tests ---- */
static void unpin_says_what_was_so(void **st)
{
    pinned = "true";
    assert_int_equal(run(verb_unpin, "x:1"), EXIT_OK);
    assert_string_equal(asked, "Unpin");
    assert_string_equal(told, "Point x:1 is no longer pinned.");
    pinned = "false";
    assert_int_equal(run(verb_unpin, "x:1"), EXIT_OK);
    assert_string_equal(told, "Point x:1 was not pinned.");
    assert_int_equal(run(verb_pin, "x:1"), EXIT_OK);
    assert_string_equal(asked, "Pin");
    assert_string_equal(told, "Point x:1 is kept until it is unpinned.");
}

static void no_such_point(void **st)
{
    assert_int_equal(run(verb_unpin, "x:3"), EXIT_FAILED);
    assert_string_equal(asked, "");
    assert_non_null(strstr(told, "has no recovery point x:3"));
}

int main(void)
{
    const struct CMUnitTest all[] = { cmocka_unit_test(unpin_says_what_was_so),
                                      cmocka_unit_test(no_such_point) };
    return cmocka_run_group_tests(all, NULL, NULL);
}
