/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asking how the machine stands on the other host: an answer counts, an old one does not, and
 * nobody waits for a host that is gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli/testinst.h"

static struct {
    enum vr_kind how;  /* AskPeer ends */
    bool told;         /* a story came meanwhile */
    unsigned looks;    /* at the status */
    unsigned patience; /* with which AskPeer was called */
    const char *machine;
} d;

int __wrap_wsmc_get(struct wsmc *c, const struct wsmc_ref *ref, struct wsmc_inst **ret,
                    struct vr_err *err);
int __wrap_wsmc_get(struct wsmc *c, const struct wsmc_ref *ref, struct wsmc_inst **ret,
                    struct vr_err *err)
{
    const struct wsmc_arg p[] = { { .name = "PeerMachine", .value = d.machine },
                                  { .name = "PeerMachineTime",
                                    .value = d.looks && d.told ? "20260131123456.000000+000"
                                                               : "20260131123400.000000+000" } };
    d.looks++;
    *ret = made(ref->cls, p, VR_ARRAY_LEN(p));
    return 0;
}

int cli_own(struct cli *c, const struct cli_vm *vm, const char *method, struct vr_err *err)
{
    assert_string_equal(method, "AskPeer");
    d.patience = c->patience_ms;
    return d.how == VR_OK ? 0 : vr_fail(err, d.how, 0, "it is not over");
}

bool cli_interrupted(void)
{
    return false;
}

static const char *asked(enum vr_kind how, bool told, const char *machine, struct vr_err *err)
{
    static char ret[32];
    struct cli c = { .quiet = true };
    const struct cli_vm vm = { .name = "web", .mode = 2, .peer = "hosta" };
    vr_auto(wsmc_inst_free) struct wsmc_inst *st = NULL;
    bool known = false;
    d = (typeof(d)){ .how = how, .told = told, .machine = machine };
    if (cli_ask_peer(&c, &vm, &st, &known, err) < 0)
        return NULL;
    assert_int_equal(c.patience_ms, 0); /* what comes next is waited for */
    snprintf(ret, sizeof ret, "%s", cli_peer_machine(st, known));
    return ret;
}

static void an_answer_counts(void **st)
{
    struct vr_err err = VR_ERR_INIT;
    assert_string_equal(asked(VR_OK, true, "running", &err), "running");
    assert_in_range(d.patience, 1, 3000);
    assert_string_equal(asked(VR_OK, false, "unreachable", &err), "unreachable");
    assert_string_equal(asked(VR_OK, false, "sending", &err), "sending");
}

/* "running" was said before the host went. */
static void an_old_answer_counts_for_nothing(void **st)
{
    struct vr_err err = VR_ERR_INIT;
    assert_string_equal(asked(VR_E_TIMEOUT, false, "running", &err), "unreachable");
    assert_int_equal(err.kind, VR_OK);
}

/* The host has told how its machine stands, and looks up still what would be lost. */
static void an_answer_of_which_more_is_to_come_counts(void **st)
{
    struct vr_err err = VR_ERR_INIT;
    assert_string_equal(asked(VR_E_TIMEOUT, true, "running", &err), "running");
}

static void a_refusal_is_told(void **st)
{
    struct vr_err err = VR_ERR_INIT;
    assert_null(asked(VR_E_AUTH, false, "running", &err));
    assert_int_equal(err.kind, VR_E_AUTH);
}

int main(void)
{
    const struct CMUnitTest all[] = { cmocka_unit_test(an_answer_counts),
                                      cmocka_unit_test(an_old_answer_counts_for_nothing),
                                      cmocka_unit_test(an_answer_of_which_more_is_to_come_counts),
                                      cmocka_unit_test(a_refusal_is_told) };
    return cmocka_run_group_tests(all, NULL, NULL);
}
