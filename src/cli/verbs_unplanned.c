/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The failover without the primary: to the newest recovery point or the one that was named. While
 * the machine runs at the primary it would make two, so that takes the operator's word. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cli/cli.h"

/* ---- does the machine run at the primary? ---- */
static bool answers_yes(const struct cli_vm *vm)
{
    char line[16] = "";
    fprintf(stderr, "Fail over all the same? Type \"yes\" to make two copies of %s: ", vm->name);
    if (!fgets(line, sizeof line, stdin))
        return false;
    line[strcspn(line, "\r\n")] = 0;
    return !strcasecmp(line, "yes");
}

/* Whoever sits at a terminal is asked; a program gets an error that says what to give. */
static int confirm(struct cli *c, const struct cli_vm *vm, bool force, struct vr_err *err)
{
    const char *host = vm->peer[0] ? vm->peer : "the primary";
    if (force) {
        fprintf(stderr,
                "vmreplica: machine %s runs on host %s, too: from now on each copy writes what the "
                "other does not have\n",
                vm->name, host);
        return 0;
    }
    if (c->asks && !c->json && !c->quiet) {
        fprintf(stderr,
                "Host %s answers, and machine %s RUNS there. A failover now makes two copies that "
                "write\napart from each other, and one of them has to be given up later. To move "
                "it without loss:\nvmreplica failover %s --planned\n",
                host, vm->name, vm->name);
        if (answers_yes(vm))
            return 0;
        return vr_fail(err, VR_E_STATE, 0, "nothing was changed");
    }
    return vr_fail(err, VR_E_STATE, 0,
                   "host %s answers, and machine %s runs there: a failover would make two copies "
                   "that write apart from each other. Nothing was changed. To move it without "
                   "loss: vmreplica failover %s --planned. To fail over all the same, add --force",
                   host, vm->name, vm->name);
}

/* A host that cannot be asked is what failovers are for: only what is known stands in the way. */
static int only_one_runs(struct cli *c, const struct cli_vm *vm, bool force, struct vr_err *err)
{
    struct wsmc_key key = { "InstanceID", vm->rel_id };
    struct wsmc_ref ref = {
        .ns = WSMC_NS_OURS, .cls = "Vmr_ReplicationStatus", .keys = &key, .n_keys = 1
    };
    vr_auto(wsmc_inst_free) struct wsmc_inst *st = NULL;
    struct vr_err unknown = VR_ERR_INIT;
    if (cli_own(c, vm, "AskPeer", &unknown) < 0 || wsmc_get(c->local, &ref, &st, &unknown) < 0) {
        if (cli_interrupted())
            return vr_fail(err, VR_E_CANCELLED, 0, "interrupted");
        fprintf(stderr, "vmreplica: whether the machine runs at its primary is not known: %s\n",
                unknown.msg);
        return 0;
    }
    if (strcmp(cli_text_or(st, "PeerMachine", ""), "running") != 0)
        return 0;
    return confirm(c, vm, force, err);
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
    if (vm->mode != 2)
        return vr_fail(err, VR_E_STATE, 0,
                       "machine %s is not a replica here; fail over on the host "
                       "that holds the replica, or use --planned",
                       vm->name);
    if (point && (!(path = snapshot_of(c, vm, point, err)) ||
                  is_quarantined(c, &taken, &quarantined, err) < 0))
        return -1;
    /* The daemon refuses a quarantined point; that is told first: one --force is for all that was
     * told. */
    if (may && (force || !quarantined) && only_one_runs(c, vm, force, err) < 0)
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
    cli_say(c, "Machine %s was failed over%s. Next: vmreplica commit, cancel or reverse.", vm->name,
            start ? " and is started" : "; it is off (vmreplica boot starts it)");
    return 0;
}
