/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmreplica failover on the replica: while the machine is known to run at the primary, nothing
 * happens without the operator's word. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli/testcalls.h"
#include "cli/testinst.h"

/* ---- the daemon ---- */
static struct {
    const char *primary;    /* PeerMachine; NULL: it cannot be asked at all */
    const char *quarantine; /* of the point */
} d;

int __wrap_wsmc_get(struct wsmc *c, const struct wsmc_ref *ref, struct wsmc_inst **ret,
                    struct vr_err *err);
int __wrap_wsmc_get(struct wsmc *c, const struct wsmc_ref *ref, struct wsmc_inst **ret,
                    struct vr_err *err)
{
    const struct wsmc_arg p[] = { { .name = "PeerMachine", .value = d.primary },
                                  { .name = "Quarantine", .value = d.quarantine } };
    *ret = made(ref->cls, p, VR_ARRAY_LEN(p));
    return 0;
}

int __wrap_wsmc_enumerate(struct wsmc *c, const char *ns, const char *cls, struct wsmc_list *ret,
                          struct vr_err *err);
int __wrap_wsmc_enumerate(struct wsmc *c, const char *ns, const char *cls, struct wsmc_list *ret,
                          struct vr_err *err)
{
    const struct wsmc_arg p[] = { { .name = "Notes", .value = "x:3" },
                                  { .name = "InstanceID", .value = "Microsoft:3" } };
    ret->v = calloc(1, sizeof *ret->v);
    ret->v[0] = made(cls, p, VR_ARRAY_LEN(p));
    ret->n = 1;
    return 0;
}

int cli_ask_peer(struct cli *c, const struct cli_vm *vm, struct wsmc_inst **ret, bool *ret_told,
                 struct vr_err *err)
{
    note("AskPeer");
    if (!d.primary)
        return vr_fail(err, VR_E_AUTH, 0, "not trusted any more");
    *ret_told = true;
    return 0;
}

const char *cli_peer_machine(const struct wsmc_inst *st, bool told)
{
    return d.primary;
}

int cli_power(struct cli *c, struct wsmc *w, const struct cli_vm *vm, unsigned requested,
              const char *what, struct vr_err *err)
{
    note("on");
    return 0;
}

bool cli_answers_yes(const char *question)
{
    fail_msg("nobody sits here to be asked: %s", question);
    return false;
}

bool cli_interrupted(void)
{
    return false;
}

int cli_parse(struct cli *c, const char *verb, const struct cli_option *o, size_t n,
              const char **args, unsigned least, unsigned max)
{
    args[0] = "web";
    for (size_t i = 0; i < n; i++)
        if (c->argc && !strcmp(o[i].name, "force"))
            *o[i].flag = true;
    return 0;
}

int cli_usage(const char *verb)
{
    return EXIT_USAGE;
}

static char failed[512];

int cli_fail(const struct vr_err *err)
{
    snprintf(failed, sizeof failed, "%s", err->msg);
    return EXIT_FAILED;
}

int cli_find_vm(struct wsmc *w, const char *name, struct cli_vm *ret, struct vr_err *err)
{
    *ret = (struct cli_vm){ .name = "web", .mode = 2, .state = 5, .peer = "hosta" };
    return 0;
}

void cli_say(const struct cli *c, const char *fmt, ...)
{
}

static int fail_over_in(unsigned state, const char *primary, const char *point, bool force,
                        struct vr_err *err)
{
    struct cli c = { .quiet = true };
    const struct cli_vm vm = { .name = "web", .mode = 2, .state = state, .peer = "hosta" };
    d.primary = primary;
    asked[0] = 0;
    return cli_unplanned(&c, &vm, point, force, true, err);
}

static int fail_over(const char *primary, const char *point, bool force, struct vr_err *err)
{
    return fail_over_in(3, primary, point, force, err);
}

/* ---- tests ---- */
/* Wherever the daemon takes a failover: also while the primary compares, or the replica is full. */
static void a_running_primary_needs_a_word_in_every_state(void **st)
{
    static const unsigned all[] = { 3, 7, 8, 10, 11 };
    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++) {
        struct vr_err err = VR_ERR_INIT;
        assert_int_equal(fail_over_in(all[i], "running", NULL, false, &err), -1);
        assert_string_equal(asked, "AskPeer");
        assert_int_equal(fail_over_in(all[i], "running", NULL, true, &err), 0);
    }
}

static void a_running_primary_needs_a_word(void **st)
{
    struct vr_err err = VR_ERR_INIT;
    assert_int_equal(fail_over("running", NULL, false, &err), -1);
    assert_string_equal(asked, "AskPeer"); /* and nothing else */
    assert_non_null(strstr(err.msg, "--planned"));
    assert_non_null(strstr(err.msg, "--force"));
    vr_err_clear(&err);
    d.quarantine = "none";
    assert_int_equal(fail_over("running", "x:3", false, &err), -1);
    assert_string_equal(asked, "AskPeer");
    assert_int_equal(fail_over("running", NULL, true, &err), 0);
    assert_string_equal(asked, "InitiateFailover on"); /* who is sure waits for nobody */
}

/* A host whose data comes in just now is not lost, though it is too slow to say how the machine is.
 */
static void a_primary_that_sends_needs_a_word(void **st)
{
    struct vr_err err = VR_ERR_INIT;
    assert_int_equal(fail_over("sending", NULL, false, &err), -1);
    assert_string_equal(asked, "AskPeer");
    assert_non_null(strstr(err.msg, "may run there"));
    assert_non_null(strstr(err.msg, "--force"));
    assert_int_equal(fail_over("sending", NULL, true, &err), 0);
    assert_string_equal(asked, "InitiateFailover on");
}

/* Nobody is told to fail over again, planned or not, who did. */
static void it_was_failed_over_already(void **st)
{
    struct vr_err err = VR_ERR_INIT;
    struct cli c = { .quiet = true };
    const struct cli_vm vm = {
        .name = "web", .peer = "hostb", .mode = 1, .state = 8, .phase = "superseded by a failover"
    };
    asked[0] = 0;
    assert_int_equal(cli_unplanned(&c, &vm, NULL, false, true, &err), -1);
    assert_string_equal(asked, "");
    assert_null(strstr(err.msg, "vmreplica failover"));
    assert_null(strstr(err.msg, "--host hostb failover"));
    assert_non_null(strstr(err.msg, "vmreplica explain web"));
}

/* What is not known stands in nobody's way on such a day. */
static void a_lost_primary_needs_none(void **st)
{
    static const char *const all[] = { "unreachable", "off", "unknown", NULL };
    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++) {
        struct vr_err err = VR_ERR_INIT;
        assert_int_equal(fail_over(all[i], NULL, false, &err), 0);
        assert_string_equal(asked, "AskPeer InitiateFailover on");
    }
}

/* Only a quarantine is lifted, and only when that was said. */
static void a_quarantine_is_lifted_with_force(void **st)
{
    struct vr_err err = VR_ERR_INIT;
    d.quarantine = "quarantined";
    assert_int_equal(fail_over("off", "x:3", true, &err), 0);
    assert_string_equal(asked, "Release InitiateFailover on");
    /* without it the daemon refuses, and says why, before anything else is asked or told */
    fail_over("running", "x:3", false, &err);
    assert_string_equal(asked, "InitiateFailover on");
    d.quarantine = "none";
    assert_int_equal(fail_over("running", "x:3", true, &err), 0);
    assert_string_equal(asked, "InitiateFailover on");
    assert_int_equal(fail_over("off", "x:4", true, &err), -1);
    assert_string_equal(asked, "");
    assert_non_null(strstr(err.msg, "no recovery point 'x:4'"));
}

/* Whoever wants the other copy has no way back afterwards. */
static void a_commit_in_a_split_brain_needs_a_word(void **st)
{
    struct cli c = { .quiet = true };
    d.primary = "running";
    asked[0] = 0;
    assert_int_equal(verb_commit(&c), EXIT_FAILED);
    assert_string_equal(asked, "AskPeer");
    assert_non_null(strstr(failed, "--force"));
    asked[0] = 0;
    c.argc = 1;
    assert_int_equal(verb_commit(&c), EXIT_OK);
    assert_string_equal(asked, "CommitFailover");
    c.argc = 0;
    d.primary = "off";
    assert_int_equal(verb_commit(&c), EXIT_OK);
    d.primary = NULL;
    assert_int_equal(verb_commit(&c), EXIT_OK);
}

int main(void)
{
    const struct CMUnitTest all[] = { cmocka_unit_test(a_running_primary_needs_a_word),
                                      cmocka_unit_test(it_was_failed_over_already),
                                      cmocka_unit_test(
                                          a_running_primary_needs_a_word_in_every_state),
                                      cmocka_unit_test(a_primary_that_sends_needs_a_word),
                                      cmocka_unit_test(a_lost_primary_needs_none),
                                      cmocka_unit_test(a_commit_in_a_split_brain_needs_a_word),
                                      cmocka_unit_test(a_quarantine_is_lifted_with_force) };
    return cmocka_run_group_tests(all, NULL, NULL);
}
