/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* disable: ends this host's half, and says what is left at the other end. What nobody else holds
 * goes with it only by the operator's word. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "cli/cli.h"

/* ---- recovery points ---- */
/* Points that somebody wanted kept: orphans are on no other host, pins are a user's word. */
static void name_kept(const struct wsmc_inst *pt, struct vr_buf *names, size_t *n)
{
    bool orphan = !strcmp(cli_text_or(pt, "Kind", ""), "orphan");
    bool pinned = !strcasecmp(cli_text_or(pt, "Pinned", "false"), "true");
    if (!orphan && !pinned)
        return;
    vr_buf_printf(names, NULL, "%s%s%s", *n ? ", " : "", orphan ? "the orphan " : "the pinned ",
                  cli_text_or(pt, "InstanceID", "?"));
    ++*n;
}

/* All of them go from the lists with the relationship. */
static int may_lose_points(struct cli *c, const struct cli_vm *vm, bool discard, size_t *ret_n,
                           struct vr_err *err)
{
    vr_autofree char *q =
        vr_printf("SELECT * FROM Vmr_RecoveryPoint WHERE MachineIdentifier = '%s'", vm->guid);
    vr_autobuf struct vr_buf names = VR_BUF_INIT;
    wsmc_autolist struct wsmc_list l = { 0 };
    size_t kept = 0;
    if (wsmc_query(c->local, WSMC_NS_OURS, q, &l, err) < 0)
        return -1;
    for (size_t i = 0; i < l.n; i++)
        name_kept(l.v[i], &names, &kept);
    *ret_n = l.n;
    if (!kept || discard)
        return 0;
    return vr_fail(err, VR_E_STATE, 0,
                   "%zu recovery point(s) of machine %s that are to be kept would be lost: %s. "
                   "Nothing was changed. Save what they hold first (vmreplica export %s --point "
                   "POINT), or give them up: vmreplica disable %s --discard",
                   kept, vm->name, (const char *)names.data, vm->name, vm->name);
}

/* ---- the other host ---- */

/* How the other half stands, as far as it can be known. */
enum other { OTHER_HAS_IT, OTHER_ENDED, OTHER_AWAY };

static enum other ask_other(struct cli *c, const struct cli_vm *vm)
{
    struct wsmc_key key = { "InstanceID", vm->rel_id };
    struct wsmc_ref ref = {
        .ns = WSMC_NS_OURS, .cls = "Vmr_ReplicationStatus", .keys = &key, .n_keys = 1
    };
    vr_auto(wsmc_inst_free) struct wsmc_inst *st = NULL;
    struct vr_err unknown = VR_ERR_INIT;
    if (cli_own(c, vm, "AskPeer", &unknown) < 0 || wsmc_get(c->local, &ref, &st, &unknown) < 0 ||
        cli_peer_silent(cli_text_or(st, "PeerMachine", "")))
        return OTHER_AWAY;
    const struct wsmc_prop *why = wsmc_prop(st, "Reasons");
    static const char *const ended[] = { "replica_ended", "primary_ended", "old_primary_ended",
                                         "superseded_ended", "runs_there" };
    for (size_t i = 0; why && i < why->n; i++)
        for (size_t k = 0; k < VR_ARRAY_LEN(ended); k++)
            if (!strcmp(why->v[i], ended[k]))
                return OTHER_ENDED;
    return OTHER_HAS_IT;
}

/* Failed over to this host (5 Recovered, 6 Committed; also while the reversal waits). */
static bool is_failed_over(const struct cli_vm *vm)
{
    return vm->mode == 2 && (vm->state == 5 || vm->state == 6);
}

/* A host that was away and comes back believes that it is the primary until it is told. */
static int may_leave_other(const struct cli_vm *vm, enum other other, bool force,
                           struct vr_err *err)
{
    if (other != OTHER_AWAY || !is_failed_over(vm) || force)
        return 0;
    return vr_fail(err, VR_E_STATE, 0,
                   "machine %s was failed over to this host, and host %s, which cannot be reached "
                   "now, still has its half: when it is back it may start its old copy before it "
                   "learns of that. Nothing was changed. Wait for it and make it the replica "
                   "(vmreplica reverse %s), or end the half here all the same: vmreplica disable "
                   "%s --force",
                   vm->name, vm->peer, vm->name, vm->name);
}

static void say_what_is_left(const struct cli *c, const struct cli_vm *vm, enum other other)
{
    /* A host never gives up its half because the other one says so. */
    if (other == OTHER_ENDED)
        cli_say(c, "Host %s had ended its half already: nothing is left to do.", vm->peer);
    else if (other == OTHER_HAS_IT)
        cli_say(
            c,
            "Host %s is told, and keeps its half until somebody runs there: vmreplica disable %s",
            vm->peer, vm->name);
    else
        cli_say(c,
                "Host %s could not be reached. If it still has its half, run there: vmreplica "
                "disable %s",
                vm->peer, vm->name);
    if (other == OTHER_AWAY && is_failed_over(vm))
        cli_say(c,
                "Until it has heard of the failover it takes itself for the primary of %s and may "
                "start its old copy: see that it does not run there.",
                vm->name);
}

/* What is left of a replica, or of one whose replication could not be ended as it should. */
static int abandon(struct cli *c, const struct cli_vm *vm)
{
    struct wsmc_key key = { "InstanceID", vm->rel_id };
    struct wsmc_ref ref = {
        .ns = WSMC_NS_OURS, .cls = "Vmr_ReplicationStatus", .keys = &key, .n_keys = 1
    };
    struct vr_err err = VR_ERR_INIT;
    if (cli_invoke(c, c->local, &ref, "AbandonReplica", NULL, 0, NULL, NULL, &err) < 0)
        return cli_fail(&err);
    cli_say(c, "The recovery points of machine %s are given up. Their files stay where they are.",
            vm->name);
    return EXIT_OK;
}

int verb_disable(struct cli *c)
{
    const char *args[2];
    struct cli_vm vm;
    struct vr_err err = VR_ERR_INIT;
    enum other other = OTHER_ENDED;
    bool give_up = false, discard = false, force = false;
    size_t n_points = 0;
    const struct cli_option o[] = { { .name = "abandon", .flag = &give_up },
                                    { .name = "discard", .flag = &discard },
                                    { .name = "force", .flag = &force } };
    if (cli_parse(c, "disable", o, VR_ARRAY_LEN(o), args, 1, 1) < 0)
        return cli_usage("disable");
    if (cli_find_vm(c->local, args[0], &vm, &err) < 0)
        return cli_fail(&err);
    if (give_up)
        return abandon(c, &vm);
    if (!vm.mode) {
        cli_say(c, "Machine %s is not replicated.", vm.name);
        return EXIT_OK;
    }
    if (may_lose_points(c, &vm, discard, &n_points, &err) < 0)
        return cli_fail(&err);
    if (vm.peer[0] && (!c->no_wait || is_failed_over(&vm)))
        other = ask_other(c, &vm);
    if (may_leave_other(&vm, other, force, &err) < 0)
        return cli_fail(&err);
    if (cli_service(c, c->local, &vm, "RemoveReplicationRelationship", NULL, 0, NULL, &err) < 0)
        return cli_fail(&err);
    cli_say(c, "Machine %s is no longer replicated.%s", vm.name,
            vm.peer[0] ? " It stays here, with its disks." : "");
    if (n_points)
        cli_say(c, "Its %zu recovery point(s) on this host are given up.", n_points);
    if (vm.peer[0])
        say_what_is_left(c, &vm, other);
    return EXIT_OK;
}
