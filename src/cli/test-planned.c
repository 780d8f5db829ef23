/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmreplica failover --planned that is interrupted, at each of its steps: whoever pressed Ctrl-C is
 * told that the machine is off or goes off, and how to go on or back; and the same command again
 * goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli/testinst.h"

/* ---- both daemons ---- */
enum step { NEVER, BEFORE, ASKING, SHUTTING_DOWN, SHIPPING, FAILING_OVER, STARTING };

static struct {
    enum step stop; /* Ctrl-C comes then */
    enum step left; /* an earlier command was left then; what it began is still going on */
    bool interrupted;
    unsigned power, p_state, r_state; /* EnabledState at the primary; ReplicationStates */
    bool started;                     /* at the replica */
    unsigned deaf;                    /* so many times it does not answer */
    char asked[256], told[2048];
} d;

static void note(const char *method)
{
    size_t n = strlen(d.asked);
    snprintf(d.asked + n, sizeof d.asked - n, "%s%s", n ? " " : "", method);
}

static void __attribute__((format(printf, 1, 0))) tell(const char *fmt, va_list ap)
{
    size_t n = strlen(d.told);
    vsnprintf(d.told + n, sizeof d.told - n, fmt, ap);
}

/* A job that is waited for, in which Ctrl-C may come. */
static int job(enum step step, struct vr_err *err)
{
    if (d.stop != step)
        return 0;
    d.interrupted = true;
    return vr_fail(err, VR_E_CANCELLED, 0, "interrupted");
}

static char other_daemon;
static struct wsmc *const here = (struct wsmc *)&d, *const there = (struct wsmc *)&other_daemon;

int __wrap_wsmc_get(struct wsmc *c, const struct wsmc_ref *ref, struct wsmc_inst **ret,
                    struct vr_err *err);
int __wrap_wsmc_get(struct wsmc *c, const struct wsmc_ref *ref, struct wsmc_inst **ret,
                    struct vr_err *err)
{
    const struct wsmc_arg p[] = { { .name = "HostName", .value = c == here ? "hosta" : "hostb" } };
    *ret = made(ref->cls, p, VR_ARRAY_LEN(p));
    return 0;
}

void __wrap_wsmc_free(struct wsmc *c);
void __wrap_wsmc_free(struct wsmc *c)
{
}

int cli_connect_peer(struct cli *c, struct wsmc *via, const char *name, struct wsmc **ret,
                     struct vr_err *err)
{
    assert_string_equal(name, "hostb");
    *ret = there;
    return 0;
}

int cli_find_vm(struct wsmc *w, const char *name, struct cli_vm *ret, struct vr_err *err)
{
    bool p = w == here;
    *ret = (struct cli_vm){ .name = "web",
                            .rel_id = "x",
                            .mode = p ? 1 : 2,
                            .state = p ? d.p_state : d.r_state,
                            .power = p           ? d.power
                                     : d.started ? 2
                                                 : 3 };
    snprintf(ret->peer, sizeof ret->peer, "%s", p ? "hostb" : "hosta");
    return 0;
}

int cli_ask_peer(struct cli *c, const struct cli_vm *vm, struct wsmc_inst **ret, bool *ret_told,
                 struct vr_err *err)
{
    *ret_told = true;
    d.interrupted = d.stop == BEFORE;
    return 0;
}

const char *cli_peer_machine(const struct wsmc_inst *st, bool told)
{
    if (!d.deaf)
        return "off";
    d.deaf--;
    return "unreachable";
}

int cli_power(struct cli *c, struct wsmc *w, const struct cli_vm *vm, unsigned requested,
              const char *what, struct vr_err *err)
{
    note(w == here ? requested == 2 ? "on-a" : "off-a" : "on-b");
    if (w != here) {
        if (job(STARTING, err) < 0)
            return -1;
        d.started = true;
    } else if (requested == 2) {
        d.power = 2;
    } else if (job(ASKING, err) < 0) {
        return -1;
    } else {
        d.power = 4;
    }
    return 0;
}

void cli_sleep_ms(unsigned ms)
{
    if (!d.asked[0])
        return; /* for an answer */
    if (d.stop == SHUTTING_DOWN)
        d.interrupted = true;
    else
        d.power = 3;
}

int cli_rq(struct cli *c, struct wsmc *w, const struct cli_vm *vm, unsigned requested,
           const char *what, struct vr_err *err)
{
    note("prepare");
    assert_true(w == here);
    assert_int_equal(requested, 4);
    if (d.left == SHIPPING)
        return vr_fail(err, VR_E_BUSY, 0, "another operation is still running");
    if (job(SHIPPING, err) < 0)
        return -1;
    d.p_state = 4;
    return 0;
}

int cli_follow(struct cli *c, struct wsmc *w, const struct cli_vm *vm, unsigned state,
               unsigned type, const char *what, struct vr_err *err)
{
    note("follow");
    assert_int_equal(type, 100);
    if (d.left != SHIPPING)
        return 1;
    d.p_state = 4;
    return 0;
}

int cli_service(struct cli *c, struct wsmc *w, const struct cli_vm *vm, const char *method,
                const struct wsmc_arg *args, size_t n, const char *what, struct vr_err *err)
{
    note(method);
    if (job(FAILING_OVER, err) < 0)
        return -1;
    assert_true(w == there);
    d.r_state = 5;
    return 0;
}

bool cli_interrupted(void)
{
    return d.interrupted;
}

int cli_unplanned(struct cli *c, const struct cli_vm *vm, const char *point, bool force, bool start,
                  struct vr_err *err)
{
    fail_msg("this one is planned");
    return -1;
}

int cli_dry_run(struct cli *c, const struct cli_vm *vm, const char *point, struct vr_err *err)
{
    fail_msg("this one is real");
    return -1;
}

int cli_usage(const char *verb)
{
    return EXIT_USAGE;
}

int cli_fail(const struct vr_err *err)
{
    return err->kind == VR_E_CANCELLED ? EXIT_INTERRUPTED : EXIT_FAILED;
}

void cli_say(const struct cli *c, const char *fmt, ...)
{
}

void __wrap_cli_print(FILE *to, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void __wrap_cli_print(FILE *to, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    tell(fmt, ap);
    va_end(ap);
}

void cli_json_object(const struct cli_field *f, size_t n)
{
}

static int run(void)
{
    char machine[] = "web", planned[] = "--planned";
    char *argv[] = { machine, planned, NULL };
    struct cli c = { .argv = argv, .argc = 2, .local = here };
    d.asked[0] = d.told[0] = 0;
    return verb_failover(&c);
}

static void begin(enum step stop)
{
    memset(&d, 0, sizeof d);
    d.stop = stop;
    d.power = 2;
    d.p_state = d.r_state = 3;
}

#define told(words) assert_non_null(strstr(d.told, words))

/* ---- the cases ---- */
static void nobody_interrupts(void **st)
{
    begin(NEVER);
    assert_int_equal(run(), EXIT_OK);
    assert_string_equal(d.asked, "off-a prepare InitiateFailover on-b");
    assert_string_equal(d.told, "");
}

/* Who is busy answers later; who is gone does not. */
static void a_host_that_does_not_answer(void **st)
{
    for (unsigned deaf = 1; deaf <= 2; deaf++) {
        begin(NEVER);
        d.deaf = deaf;
        assert_int_equal(run(), EXIT_OK);
    }
    begin(NEVER);
    d.deaf = 100;
    assert_int_equal(run(), EXIT_FAILED);
    assert_string_equal(d.asked, "");
    assert_true(d.deaf > 90);
}

static void before_it_begins(void **st)
{
    begin(BEFORE);
    assert_int_equal(run(), EXIT_INTERRUPTED);
    assert_string_equal(d.asked, "");
    begin(BEFORE);
    d.power = 3;
    d.p_state = 4; /* prepared by an earlier command */
    assert_int_equal(run(), EXIT_INTERRUPTED);
    assert_string_equal(d.asked, "");
}

/* The guest has heard the power button: it goes off, whoever waits for it or not. */
static void while_it_shuts_down(void **st)
{
    for (enum step s = ASKING; s <= SHUTTING_DOWN; s++) {
        begin(s);
        assert_int_equal(run(), EXIT_INTERRUPTED);
        assert_string_equal(d.asked, "off-a");
        told("web was asked to shut down on hosta");
        told("the same command again");
        told("vmreplica boot web");
    }
}

static void while_the_last_changes_are_shipped(void **st)
{
    begin(SHIPPING);
    assert_int_equal(run(), EXIT_INTERRUPTED);
    assert_string_equal(d.asked, "off-a prepare");
    told("is OFF on hosta");
    told("the same command again");
    told("vmreplica cancel web"); /* first: until then it is not started */
    assert_true(strstr(d.told, "vmreplica cancel web") < strstr(d.told, "vmreplica boot web"));
}

static void while_it_fails_over(void **st)
{
    for (enum step s = FAILING_OVER; s <= STARTING; s++) {
        begin(s);
        assert_int_equal(run(), EXIT_INTERRUPTED);
        told("is OFF on hosta");
        told("on hostb");
        told("the same command again");
    }
}

/* What the first command was left in goes on by itself; the second one follows it. */
static void the_same_command_again(void **st)
{
    begin(NEVER);
    d.power = 3;
    d.left = SHIPPING;
    assert_int_equal(run(), EXIT_OK);
    assert_string_equal(d.asked, "prepare follow InitiateFailover on-b");
    assert_string_equal(d.told, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_interrupts),
        cmocka_unit_test(a_host_that_does_not_answer),
        cmocka_unit_test(before_it_begins),
        cmocka_unit_test(while_it_shuts_down),
        cmocka_unit_test(while_the_last_changes_are_shipped),
        cmocka_unit_test(while_it_fails_over),
        cmocka_unit_test(the_same_command_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
