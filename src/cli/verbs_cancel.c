/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cancel: takes back whatever is under way. Only a failover that is taken back gives data up, so
 * nothing leads there but a state in which the daemon admits it, and the operator's word. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

/* ReplicationState 5 has three phases (docs/states.md). One that is not known is none of them. */
static const char failed_over[] = "failed over, waiting for completion";
static const char preparing[] = "preparing planned failover"; /* shows 3 */
static const char waits_to_reverse[] = "failed over, waiting to reverse";
static const char superseded[] = "superseded by a failover"; /* shows 8 */

/* Nothing else is touched: the machine runs on, the failover stays. */
static int withdraw(struct cli *c, const struct cli_vm *vm, struct vr_err *err)
{
    if (cli_own(c, vm, "WithdrawReverse", err) < 0)
        return vr_err_wrap(err,
                           "the reversal of %s was not withdrawn; the machine and its failover "
                           "are as they were (see: vmreplica status %s)",
                           vm->name, vm->name);
    cli_say(c, "The reversal of %s is withdrawn; the failover stays.", vm->name);
    return 0;
}

/* What it wrote since the failover is nowhere else. */
static int turn_off(struct cli *c, const struct cli_vm *vm, bool discard, struct vr_err *err)
{
    bool no_wait = c->no_wait;
    if (vm->power == 3)
        return 0;
    if (!discard)
        return vr_fail(err, VR_E_STATE, 0,
                       "machine %s runs here since the failover: what it wrote since the failover "
                       "is lost when that is cancelled. Nothing was changed. To keep it: vmreplica "
                       "reverse %s. To give it up, add --discard",
                       vm->name, vm->name);
    c->no_wait = false; /* the next step needs it */
    int rc = cli_power(c, c->local, vm, 3, NULL, err);
    c->no_wait = no_wait;
    return rc;
}

/* Whether the old primary heard of the failover cannot be told from here: it may be away. */
static void say_what_next(struct cli *c, const struct cli_vm *vm)
{
    const char *host = vm->peer[0] ? vm->peer : "the primary host";
    cli_say(
        c,
        "The failover of %s is cancelled; what it wrote on this host since then is given up.\n"
        "Replication from %s goes on by itself, unless somebody suspended it there. Only if it was "
        "a\nplanned failover, take back what was prepared there: vmreplica cancel %s.",
        vm->name, host, vm->name);
}

static int revert(struct cli *c, const struct cli_vm *vm, bool discard, struct vr_err *err)
{
    bool off = vm->power == 3;
    if (turn_off(c, vm, discard, err) < 0)
        return -1;
    if (cli_service(c, c->local, vm, "RevertFailover", NULL, 0, "Cancel", err) < 0)
        return off ? -1
                   : vr_err_wrap(err,
                                 "machine %s was turned off, but its failover is not cancelled: "
                                 "nothing is given up, and vmreplica boot %s starts it again",
                                 vm->name, vm->name);
    if (!c->no_wait)
        say_what_next(c, vm);
    return 0;
}

static int failover_or_reversal(struct cli *c, const struct cli_vm *vm, bool discard,
                                struct vr_err *err)
{
    if (!strcmp(vm->phase, waits_to_reverse))
        return withdraw(c, vm, err);
    if (!strcmp(vm->phase, failed_over))
        return revert(c, vm, discard, err);
    return vr_fail(err, VR_E_STATE, 0,
                   "machine %s is \"%s\" and cannot be cancelled now; nothing was changed. Wait "
                   "until that is over (vmreplica status %s)",
                   vm->name, vm->phase[0] ? vm->phase : "?", vm->name);
}

static int cancel(struct cli *c, const struct cli_vm *vm, bool discard, struct vr_err *err)
{
    int rc;
    /* A reversal that waits shows 6 when the failover was committed before. */
    if (vm->mode == 2 && (vm->state == 5 || !strcmp(vm->phase, waits_to_reverse)))
        return failover_or_reversal(c, vm, discard, err);
    /* src:[contract.md B.5 Rq(1) and Rq(9)] */
    if (vm->mode == 1 && strcmp(vm->phase, superseded) != 0 &&
        (vm->state <= 2 || vm->state == 7 || vm->state == 8))
        rc = cli_rq(c, c->local, vm, 1, NULL, err);
    else if (vm->mode == 1 && vm->state >= 9 && vm->state <= 11)
        rc = cli_rq(c, c->local, vm, 9, NULL, err);
    else if (vm->mode == 1 && vm->state >= 15 && vm->state <= 16) /* of the set of disks */
        rc = cli_rq(c, c->local, vm, 3, NULL, err);
    else /* a planned failover's preparation, or the daemon says why not */
        rc = cli_service(c, c->local, vm, "RevertFailover", NULL, 0, "Cancel", err);
    if (rc < 0)
        return -1;
    /* It was shut down for the failover: nobody starts it by itself. */
    if (vm->mode == 1 && (vm->state == 4 || !strcmp(vm->phase, preparing)) && vm->power == 3)
        cli_say(c, "Cancelled for %s. The machine is OFF here; start it: vmreplica boot %s",
                vm->name, vm->name);
    else
        cli_say(c, "Cancelled for %s.", vm->name);
    return 0;
}

int verb_cancel(struct cli *c)
{
    const char *args[2];
    bool discard = false;
    const struct cli_option o[] = { { .name = "discard", .flag = &discard } };
    struct cli_vm vm;
    struct vr_err err = VR_ERR_INIT;
    if (cli_parse(c, "cancel", o, VR_ARRAY_LEN(o), args, 1, 1) < 0)
        return cli_usage("cancel");
    if (cli_find_vm(c->local, args[0], &vm, &err) < 0 || cancel(c, &vm, discard, &err) < 0)
        return cli_fail(&err);
    return EXIT_OK;
}
