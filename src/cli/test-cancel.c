/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmreplica cancel against a daemon in each phase of a failover: what it asks for, in which order,
 * and what it never asks for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "replication/rel.h"

/* ---- the daemon, as far as cancel sees it ---- */
static struct {
    enum rel_state st;
    bool committed;     /* before the reversal was asked for */
    bool runs, stale;   /* stale: the client's picture is of before the withdrawal */
    const char *broken; /* a method that fails */
    char asked[256];    /* methods, in their order */
    char told[1024];    /* error or message */
} d;

static int ask(const char *method, struct vr_err *err)
{
    size_t n = strlen(d.asked);
    snprintf(d.asked + n, sizeof d.asked - n, "%s%s", n ? " " : "", method);
    if (d.broken && !strcmp(d.broken, method))
        return vr_fail(err, VR_E_STATE, 0, "%s is refused", method);
    return 0;
}

int cli_find_vm(struct wsmc *w, const char *name, struct cli_vm *ret, struct vr_err *err)
{
    enum rel_state seen = d.stale ? ST_R_REVERSE_WAIT : d.st;
    *ret = (struct cli_vm){ .mode = 2, .power = d.runs ? 2 : 3, .peer = "hosta" };
    ret->state = seen == ST_R_COMMITTED || (d.committed && seen != ST_R_REPL) ? 6
                 : seen == ST_R_REPL                                          ? 3
                                                                              : 5;
    if (seen == ST_P_PREPARING)
        ret->mode = 1, ret->state = 3;
    if (seen == ST_P_SUPERSEDED)
        ret->mode = 1, ret->state = 8;
    snprintf(ret->name, sizeof ret->name, "%s", name);
    snprintf(ret->phase, sizeof ret->phase, "%s", rel_state_text(seen));
    return 0;
}

int cli_own(struct cli *c, const struct cli_vm *vm, const char *method, struct vr_err *err)
{
    if (ask(method, err) < 0)
        return -1;
    if (d.st != ST_R_REVERSE_WAIT)
        return vr_fail(err, VR_E_STATE, 0, "withdrawal of the reversal is not possible");
    d.st = ST_R_RECOVERED;
    return 0;
}

int cli_power(struct cli *c, struct wsmc *w, const struct cli_vm *vm, unsigned requested,
              const char *what, struct vr_err *err)
{
    assert_int_equal(requested, 3);
    assert_false(c->no_wait); /* what follows needs it done */
    if (ask("off", err) < 0)
        return -1;
    d.runs = false;
    return 0;
}

int cli_service(struct cli *c, struct wsmc *w, const struct cli_vm *vm, const char *method,
                const struct wsmc_arg *args, size_t n, const char *what, struct vr_err *err)
{
    if (ask(method, err) < 0)
        return -1;
    if (d.st == ST_P_PREPARING) {
        d.st = ST_P_REPL;
        return 0;
    }
    if (d.st != ST_R_RECOVERED || d.runs)
        return vr_fail(err, VR_E_STATE, 0, "cancel of the failover is not possible");
    d.st = ST_R_REPL;
    return 0;
}

int cli_rq(struct cli *c, struct wsmc *w, const struct cli_vm *vm, unsigned requested,
           const char *what, struct vr_err *err)
{
    return ask("rq", err);
}

int cli_usage(const char *verb)
{
    snprintf(d.told, sizeof d.told, "usage of %s", verb);
    return EXIT_USAGE;
}

int cli_fail(const struct vr_err *err)
{
    snprintf(d.told, sizeof d.told, "%s", err->msg);
    return EXIT_FAILED;
}

void cli_say(const struct cli *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(d.told, sizeof d.told, fmt, ap);
    va_end(ap);
}

static int run(const char *option, bool no_wait)
{
    char machine[] = "g1";
    char *argv[] = { machine, (char *)option };
    struct cli c = { .argv = argv, .argc = option ? 2 : 1, .no_wait = no_wait };
    d.asked[0] = d.told[0] = 0;
    return verb_cancel(&c);
}

static void failed_over(enum rel_state st, bool runs)
{
    memset(&d, 0, sizeof d);
    d.st = st;
    d.runs = runs;
}

static bool told(const char *words)
{
    return strstr(d.told, words) != NULL;
}

/* ---- tests ---- */
/* The primary is dead, the machine runs here, the reversal waits, and the word is given twice. */
static void given_twice(void **st)
{
    failed_over(ST_R_REVERSE_WAIT, true);
    assert_int_equal(run(NULL, false), EXIT_OK);
    assert_string_equal(d.asked, "WithdrawReverse");
    assert_true(told("the failover stays"));
    assert_int_equal(run(NULL, false), EXIT_FAILED);
    assert_string_equal(d.asked, "");
    assert_true(d.runs);
    assert_int_equal(d.st, ST_R_RECOVERED);
    assert_true(told("what it wrote since the failover is lost"));
    assert_true(told("add --discard"));
}

static void withdrawal_that_fails(void **st)
{
    failed_over(ST_R_REVERSE_WAIT, true);
    d.broken = "WithdrawReverse";
    assert_int_equal(run("--discard", false), EXIT_FAILED);
    assert_string_equal(d.asked, "WithdrawReverse");
    assert_true(d.runs);
    assert_true(told("was not withdrawn") && told("WithdrawReverse is refused"));
    d.broken = NULL; /* the same when it began, or was withdrawn, just now */
    d.stale = true;
    d.st = ST_R_REVERSING;
    assert_int_equal(run("--discard", false), EXIT_FAILED);
    assert_string_equal(d.asked, "WithdrawReverse");
    d.st = ST_R_RECOVERED;
    assert_int_equal(run("--discard", false), EXIT_FAILED);
    assert_string_equal(d.asked, "WithdrawReverse");
    assert_true(d.runs);
}

/* The daemon would refuse the cancel: then the machine is not turned off first. */
static void while_it_reverses(void **st)
{
    failed_over(ST_R_REVERSING, true);
    assert_int_equal(run("--discard", false), EXIT_FAILED);
    assert_string_equal(d.asked, "");
    assert_true(d.runs);
    assert_true(told("\"reversing\"") && told("nothing was changed"));
}

static void discarded_by_word(void **st)
{
    for (int no_wait = 0; no_wait < 2; no_wait++) {
        failed_over(ST_R_RECOVERED, true);
        assert_int_equal(run("--discard", no_wait), EXIT_OK);
        assert_string_equal(d.asked, "off RevertFailover");
        assert_int_equal(d.st, ST_R_REPL);
    }
}

static void not_turned_off_or_not_cancelled(void **st)
{
    failed_over(ST_R_RECOVERED, true);
    d.broken = "off";
    assert_int_equal(run("--discard", false), EXIT_FAILED);
    assert_string_equal(d.asked, "off");
    d.broken = "RevertFailover";
    assert_int_equal(run("--discard", false), EXIT_FAILED);
    assert_true(told("was turned off") && told("vmreplica boot g1"));
}

static void off_already(void **st)
{
    failed_over(ST_R_RECOVERED, false);
    assert_int_equal(run(NULL, false), EXIT_OK);
    assert_string_equal(d.asked, "RevertFailover");
    assert_true(told("what it wrote on this host since then is given up"));
    /* and what to do on the old primary */
    assert_true(told("from hosta") && told("by itself") && told("vmreplica cancel g1"));
}

static void committed_stays(void **st)
{
    failed_over(ST_R_COMMITTED, true);
    assert_int_equal(run("--discard", false), EXIT_FAILED);
    assert_string_equal(d.asked, "RevertFailover");
    assert_true(d.runs);
}

/* Committed first, then the reversal was asked for and waits: that is what is taken back. */
static void committed_and_waiting(void **st)
{
    failed_over(ST_R_REVERSE_WAIT, true);
    d.committed = true;
    assert_int_equal(run(NULL, false), EXIT_OK);
    assert_string_equal(d.asked, "WithdrawReverse");
    assert_true(d.runs);
}

/* The last changes were on their way: the machine was shut down for that. */
static void while_it_is_prepared(void **st)
{
    for (int runs = 0; runs < 2; runs++) {
        failed_over(ST_P_PREPARING, runs);
        assert_int_equal(run(NULL, false), EXIT_OK);
        assert_string_equal(d.asked, "RevertFailover");
        assert_int_equal(told("is OFF here; start it: vmreplica boot g1"), !runs);
    }
}

/* It is a failover that somebody wants to take back there, not a copy. The daemon says how. */
static void failed_over_elsewhere(void **st)
{
    failed_over(ST_P_SUPERSEDED, true);
    assert_int_equal(run(NULL, false), EXIT_FAILED);
    assert_string_equal(d.asked, "RevertFailover");
}

static void words_it_does_not_know(void **st)
{
    failed_over(ST_R_RECOVERED, true);
    assert_int_equal(run("--force", false), EXIT_USAGE);
    assert_string_equal(d.asked, "");
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(given_twice),
        cmocka_unit_test(failed_over_elsewhere),
        cmocka_unit_test(withdrawal_that_fails),
        cmocka_unit_test(while_it_reverses),
        cmocka_unit_test(discarded_by_word),
        cmocka_unit_test(not_turned_off_or_not_cancelled),
        cmocka_unit_test(off_already),
        cmocka_unit_test(committed_stays),
        cmocka_unit_test(committed_and_waiting),
        cmocka_unit_test(while_it_is_prepared),
        cmocka_unit_test(words_it_does_not_know),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
