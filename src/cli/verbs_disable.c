/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* disable: ends this host's half, and says what is left at the other end. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"

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
        !strcmp(cli_text_or(st, "PeerMachine", ""), "unreachable"))
        return OTHER_AWAY;
    const struct wsmc_prop *why = wsmc_prop(st, "Reasons");
    for (size_t i = 0; why && i < why->n; i++)
        if (!strcmp(why->v[i], "replica_ended") || !strcmp(why->v[i], "primary_ended") ||
            !strcmp(why->v[i], "old_primary_ended"))
            return OTHER_ENDED;
    return OTHER_HAS_IT;
}

static void say_what_is_left(const struct cli *c, const struct cli_vm *vm, enum other other)
{
    cli_say(c, "Machine %s is no longer replicated. It stays here, with its disks.", vm->name);
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
    bool give_up = false;
    const struct cli_option o[] = { { .name = "abandon", .flag = &give_up } };
    struct cli_vm vm;
    struct vr_err err = VR_ERR_INIT;
    enum other other = OTHER_ENDED;
    if (cli_parse(c, "disable", o, 1, args, 1, 1) < 0)
        return cli_usage("disable");
    if (cli_find_vm(c->local, args[0], &vm, &err) < 0)
        return cli_fail(&err);
    if (give_up)
        return abandon(c, &vm);
    if (!vm.mode) {
        cli_say(c, "Machine %s is not replicated.", vm.name);
        return EXIT_OK;
    }
    if (vm.peer[0] && !c->no_wait)
        other = ask_other(c, &vm);
    if (cli_service(c, c->local, &vm, "RemoveReplicationRelationship", NULL, 0, NULL, &err) < 0)
        return cli_fail(&err);
    if (vm.peer[0])
        say_what_is_left(c, &vm, other);
    else
        cli_say(c, "Machine %s is no longer replicated.", vm.name);
    return EXIT_OK;
}
