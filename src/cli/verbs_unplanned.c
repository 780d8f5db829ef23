/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The failover without the primary, and its commit: to the newest recovery point or the one that
 * was named. While the machine runs at the primary it would make two, so that takes the operator's
 * word. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cli/cli.h"

/* ---- does the machine run at the primary? ---- */
/* Any other answer than yes; Ctrl-C is one, too. */
static int left_alone(struct vr_err *err)
{
    if (!cli_interrupted())
        return vr_fail(err, VR_E_STATE, 0, "nothing was changed");
    fputs("\nvmreplica: nothing was changed\n", stderr);
    return vr_fail(err, VR_E_CANCELLED, 0, "interrupted");
}

/* Whoever sits at a terminal is asked; a program gets an error that says what to give. @sends: the
 * host did not answer in time, as behind a line that is full, but is there. */
static int confirm(struct cli *c, const struct cli_vm *vm, bool sends, struct vr_err *err)
{
    const char *host = vm->peer[0] ? vm->peer : "the primary";
    vr_autofree char *why =
        vr_printf(sends ? "Host %s sends data of replication just now, but did not answer in time: "
                          "it is not lost,\nand machine %s may RUN there. A failover now could make"
                        : "Host %s answers, and machine %s RUNS there. A failover now makes",
                  host, vm->name);
    if (c->asks && !c->json && !c->quiet) {
        cli_print(stderr,
                  "%s two copies that write\napart from each other, and one of them has to be "
                  "given up later. To move it without loss:\nvmreplica failover %s --planned\n",
                  why, vm->name);
        vr_autofree char *question =
            vr_printf("Fail over all the same? Type \"yes\" to make two copies of %s: ", vm->name);
        return cli_answers_yes(question) ? 0 : left_alone(err);
    }
    return vr_fail(err, VR_E_STATE, 0,
                   sends ? "host %s sends data of replication just now, but did not answer in "
                           "time: it is not lost, and machine %s may run there: a failover could "
                           "make two copies that write apart from each other. Nothing was changed. "
                           "To move it without loss: vmreplica failover %s --planned. To fail over "
                           "all the same, add --force"
                         : "host %s answers, and machine %s runs there: a failover would make two "
                           "copies that write apart from each other. Nothing was changed. To move "
                           "it without loss: vmreplica failover %s --planned. To fail over all the "
                           "same, add --force",
                   host, vm->name, vm->name);
}

/* A host that cannot be asked is what failovers are for: only what is known stands in the way. */
static int only_one_runs(struct cli *c, const struct cli_vm *vm, struct vr_err *err)
{
    vr_auto(wsmc_inst_free) struct wsmc_inst *st = NULL;
    struct vr_err unknown = VR_ERR_INIT;
    bool told = false;
    if (cli_ask_peer(c, vm, &st, &told, &unknown) < 0) {
        if (cli_interrupted())
            return vr_fail(err, VR_E_CANCELLED, 0, "interrupted");
        fprintf(stderr, "vmreplica: whether the machine runs at its primary is not known: %s\n",
                unknown.msg);
        return 0;
    }
    const char *how = cli_peer_machine(st, told);
    bool sends = !strcmp(how, "sending");
    if (!strcmp(how, "unreachable"))
        cli_say(c, "Host %s does not answer.", vm->peer[0] ? vm->peer : "of the primary");
    return !sends && strcmp(how, "running") != 0 ? 0 : confirm(c, vm, sends, err);
}

/* ---- the point ---- */
static int is_quarantined(struct cli *c, const struct wsmc_ref *point, bool *ret,
                          struct vr_err *err)
{
    vr_auto(wsmc_inst_free) struct wsmc_inst *p = NULL;
    if (wsmc_get(c->local, point, &p, err) < 0)
        return -1;
    *ret = !strcmp(cli_text_or(p, "Quarantine", "none"), "quarantined");
    return 0;
}

/* The snapshot of a point carries the point's id in Notes. */
static char *snapshot_of(struct cli *c, const struct cli_vm *vm, const char *point,
                         struct vr_err *err)
{
    wsmc_autolist struct wsmc_list l = { 0 };
    if (wsmc_enumerate(c->local, NULL, "Msvm_VirtualSystemSettingData", &l, err) < 0)
        return NULL;
    for (size_t i = 0; i < l.n; i++) {
        const char *notes = wsmc_str(l.v[i], "Notes"), *id = wsmc_str(l.v[i], "InstanceID");
        if (id && notes && !strcmp(notes, point))
            return vr_strdup(id);
    }
    vr_fail(err, VR_E_NOTFOUND, 0, "there is no recovery point '%s'; see vmreplica points %s",
            point, vm->name);
    return NULL;
}

/* ReplicationStates in which the daemon takes a failover; in others it says why not. */
static bool may_fail_over(unsigned state)
{
    static const unsigned all[] = { 3, 7, 8, 10, 11 };
    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++)
        if (all[i] == state)
            return true;
    return false;
}

int cli_unplanned(struct cli *c, const struct cli_vm *vm, const char *point, bool force, bool start,
                  struct vr_err *err)
{
    vr_autofree char *path = NULL;
    bool quarantined = false, may = may_fail_over(vm->state);
    struct wsmc_key id = { "InstanceID", point };
    const struct wsmc_ref taken = {
        .ns = WSMC_NS_OURS, .cls = "Vmr_RecoveryPoint", .keys = &id, .n_keys = 1
    };
    if (vm->mode == 1 && !strcmp(vm->phase, "superseded by a failover"))
        return vr_fail(err, VR_E_STATE, 0,
                       "machine %s was failed over to host %s already; what is so and what can be "
                       "done: vmreplica explain %s",
                       vm->name, vm->peer[0] ? vm->peer : "?", vm->name);
    if (vm->mode != 2)
        return vr_fail(
            err, VR_E_STATE, 0,
            "machine %s is not a replica here but the primary (\"%s\"), and host %s holds "
            "the replica. Without loss, while both hosts are up: vmreplica failover %s "
            "--planned. Else there: vmreplica --host %s failover %s",
            vm->name, vm->phase, vm->peer[0] ? vm->peer : "?", vm->name,
            vm->peer[0] ? vm->peer : "HOST", vm->name);
    if (point && (!(path = snapshot_of(c, vm, point, err)) ||
                  is_quarantined(c, &taken, &quarantined, err) < 0))
        return -1;
    /* The daemon refuses a quarantined point; that is told first: one --force is for all that was
     * told. */
    if (may && !force && !quarantined && only_one_runs(c, vm, err) < 0)
        return -1;
    if (start)
        c->no_wait = false; /* what is not failed over yet cannot be started */
    struct wsmc_key key = { "InstanceID", path };
    struct wsmc_ref snap = { .cls = "Msvm_VirtualSystemSettingData", .keys = &key, .n_keys = 1 };
    struct wsmc_arg a = { .name = "SnapshotSettingData", .ref = &snap };
    bool lift = quarantined && force; /* refused where the failover would be: never in vain */
    if (lift && cli_invoke(c, c->local, &taken, "Release", NULL, 0, NULL, NULL, err) < 0)
        return -1;
    if (cli_service(c, c->local, vm, "InitiateFailover", &a, path != NULL, "Failover", err) < 0)
        return !lift ? -1
                     : vr_err_wrap(err,
                                   "point %s is not quarantined any more, but the failover to it "
                                   "failed",
                                   point);
    if (start && cli_power(c, c->local, vm, 2, NULL, err) < 0)
        return vr_err_wrap(err,
                           "machine %s was failed over, but did not start; to try again: vmreplica "
                           "boot %s",
                           vm->name, vm->name);
    cli_say(c,
            "Machine %s was failed over%s. Next: vmreplica reverse %s; or vmreplica commit %s, or "
            "vmreplica cancel %s.",
            vm->name, start ? " and is started" : "; it is off (vmreplica boot starts it)",
            vm->name, vm->name, vm->name);
    return 0;
}

/* ---- commit ---- */
/* While both copies run somebody may want the other one still: a commit closes that way. */
static int may_commit(struct cli *c, const struct cli_vm *vm, struct vr_err *err)
{
    vr_auto(wsmc_inst_free) struct wsmc_inst *st = NULL;
    struct vr_err unknown = VR_ERR_INIT;
    bool told = false;
    if (vm->mode != 2 || vm->state != 5 || cli_ask_peer(c, vm, &st, &told, &unknown) < 0 ||
        strcmp(cli_peer_machine(st, told), "running") != 0)
        return 0;
    if (c->asks && !c->json && !c->quiet) {
        vr_autofree char *question = vr_printf(
            "Machine %s RUNS on host %s, too. After a commit that copy cannot be gone on with by "
            "taking\nthe failover back. Type \"yes\" to give it up: ",
            vm->name, vm->peer);
        return cli_answers_yes(question) ? 0 : left_alone(err);
    }
    return vr_fail(
        err, VR_E_STATE, 0,
        "machine %s runs on host %s, too: after a commit that copy cannot be gone on "
        "with by taking the failover back. Nothing was changed. To give that copy up: "
        "vmreplica reverse %s --stop-old, or add --force. To give up this one: vmreplica "
        "cancel %s --discard",
        vm->name, vm->peer, vm->name, vm->name);
}

int verb_commit(struct cli *c)
{
    const char *args[2];
    bool force = false;
    const struct cli_option o[] = { { .name = "force", .flag = &force } };
    struct cli_vm vm;
    struct vr_err err = VR_ERR_INIT;
    if (cli_parse(c, "commit", o, VR_ARRAY_LEN(o), args, 1, 1) < 0)
        return cli_usage("commit");
    if (cli_find_vm(c->local, args[0], &vm, &err) < 0 || (!force && may_commit(c, &vm, &err) < 0) ||
        cli_service(c, c->local, &vm, "CommitFailover", NULL, 0, "Commit", &err) < 0)
        return cli_fail(&err);
    cli_say(c, "The failover of %s is complete. Next: vmreplica reverse %s", vm.name, vm.name);
    return EXIT_OK;
}
