/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_CLI_TESTCALLS_H
#define VR_CLI_TESTCALLS_H

/* For tests with cmocka, whose headers come first: a daemon that does whatever it is asked to, and
 * what it was asked. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static char asked[256]; /* methods, in their order */

static void note(const char *method)
{
    size_t n = strlen(asked);
    snprintf(asked + n, sizeof asked - n, "%s%s", n ? " " : "", method);
}

int cli_invoke(struct cli *c, struct wsmc *w, const struct wsmc_ref *ref, const char *method,
               const struct wsmc_arg *args, size_t n, const char *what, struct wsmc_inst **ret_out,
               struct vr_err *err)
{
    note(method);
    return 0;
}

int cli_service(struct cli *c, struct wsmc *w, const struct cli_vm *vm, const char *method,
                const struct wsmc_arg *args, size_t n, const char *what, struct vr_err *err)
{
    note(method);
    return 0;
}

#endif
