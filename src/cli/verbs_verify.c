/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmreplica verify: proof that the replica holds what the primary has. Works from either host: the
 * other one is reached with this host's certificate. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "cli/cli.h"

static int ask(struct cli *c, struct wsmc *w, const struct cli_vm *vm, const char *point,
               const char *what, struct vr_err *err)
{
    struct wsmc_key key = { "InstanceID", vm->rel_id };
    struct wsmc_ref ref = {
        .ns = WSMC_NS_OURS, .cls = "Vmr_ReplicationStatus", .keys = &key, .n_keys = 1
    };
    struct wsmc_arg a = { .name = "PointId", .value = point };
    return cli_invoke(c, w, &ref, "VerifyPoint", &a, point ? 1 : 0, what, NULL, err);
}

/* The same machine on the other host. */
static int far_end(struct cli *c, const struct cli_vm *vm, struct wsmc **ret, struct cli_vm *far,
                   struct vr_err *err)
{
    if (cli_connect_peer(c, c->local, vm->peer, ret, err) < 0 ||
        cli_find_vm(*ret, vm->guid, far, err) < 0)
        return vr_err_wrap(err, "host %s", vm->peer);
    return 0;
}

static int whole(struct cli *c, struct wsmc *primary, const struct cli_vm *vm, struct vr_err *err)
{
    if (ask(c, primary, vm, NULL, "Comparing every block on both hosts", err) < 0)
        return -1;
    if (!c->no_wait)
        cli_say(c, "Every block of the disks of %s was read on both hosts and is the same.",
                vm->name);
    return 0;
}

static int one_point(struct cli *c, struct wsmc *replica, const struct cli_vm *vm,
                     const char *point, struct vr_err *err)
{
    struct wsmc_key key = { "InstanceID", point };
    const struct wsmc_ref ref = {
        .ns = WSMC_NS_OURS, .cls = "Vmr_RecoveryPoint", .keys = &key, .n_keys = 1
    };
    vr_auto(wsmc_inst_free) struct wsmc_inst *pt = NULL;
    if (ask(c, replica, vm, point, "Reading the recovery point", err) < 0)
        return -1;
    if (c->no_wait)
        return 0;
    if (point && wsmc_get(replica, &ref, &pt, err) < 0)
        return -1;
    /* Nobody sent an orphan, or what was offered as a seed. Unasked the newest one is read, which is
     * a primary's. */
    if (pt && !strcmp(cli_text_or(pt, "Kind", ""), "orphan"))
        cli_say(c, "The point was read whole and every block is what was read when its host became "
                   "the replica. It was written there; no primary has sent it.");
    else
        cli_say(c, "The point was read whole and every block is what the primary sent.");
    return 0;
}

static int on_primary(struct cli *c, const struct cli_vm *vm, const char *point, struct vr_err *err)
{
    vr_auto(wsmc_free) struct wsmc *other = NULL;
    struct cli_vm far;
    if (!point)
        return whole(c, c->local, vm, err);
    if (far_end(c, vm, &other, &far, err) < 0)
        return -1;
    return one_point(c, other, &far, point, err);
}

static int on_replica(struct cli *c, const struct cli_vm *vm, const char *point, struct vr_err *err)
{
    vr_auto(wsmc_free) struct wsmc *other = NULL;
    struct vr_err away = VR_ERR_INIT;
    struct cli_vm far;
    if (one_point(c, c->local, vm, point, err) < 0)
        return -1;
    if (point)
        return 0;
    if (far_end(c, vm, &other, &far, &away) < 0 || far.mode != 1) {
        c->uncompared = true;
        cli_say(c, "It was not compared with the primary: %s.",
                away.kind != VR_OK ? away.msg : "there is none at the moment");
        return 0;
    }
    return whole(c, other, &far, err);
}

static int acknowledge_at(struct cli *c, struct wsmc *w, const struct cli_vm *vm,
                          struct vr_err *err)
{
    struct wsmc_key key = { "InstanceID", vm->rel_id };
    struct wsmc_ref ref = {
        .ns = WSMC_NS_OURS, .cls = "Vmr_ReplicationStatus", .keys = &key, .n_keys = 1
    };
    return cli_invoke(c, w, &ref, "Acknowledge", NULL, 0, NULL, NULL, err);
}

/* Here, and on the other host if it can be reached. */
static int acknowledge(struct cli *c, const struct cli_vm *vm, struct vr_err *err)
{
    vr_auto(wsmc_free) struct wsmc *other = NULL;
    struct vr_err away = VR_ERR_INIT;
    struct cli_vm far;
    if (acknowledge_at(c, c->local, vm, err) < 0)
        return -1;
    if (far_end(c, vm, &other, &far, &away) < 0 || acknowledge_at(c, other, &far, &away) < 0)
        cli_say(c, "Acknowledged here, but not on the other host (%s); repeat it there.", away.msg);
    else
        cli_say(c, "Acknowledged on both hosts.");
    return 0;
}

/* What was proven; a difference that was found is an error and printed as one. What was not looked
 * at is null, not false: nobody knows. */
static void verify_json(const struct cli *c, const struct cli_vm *vm, const char *point)
{
    bool read = vm->mode == 2 || point, compared = !point && !c->uncompared;
    const struct cli_field all[] = {
        { "Machine", vm->name, CLI_TEXT },
        { "Point", point, CLI_TEXT },
        { "PointRead", read ? "true" : "false", CLI_BOOL },
        { "PointIntact", read ? "true" : NULL, CLI_BOOL },
        { "ComparedWithPrimary", compared ? "true" : "false", CLI_BOOL },
        { "Same", compared ? "true" : NULL, CLI_BOOL },
    };
    cli_json_object(all, VR_ARRAY_LEN(all));
}

int verb_verify(struct cli *c)
{
    const char *args[2], *point = NULL;
    bool ack = false;
    const struct cli_option o[] = { { .name = "point", .value = &point },
                                    { .name = "acknowledge", .flag = &ack } };
    struct cli_vm vm;
    struct vr_err err = VR_ERR_INIT;
    if (cli_parse(c, "verify", o, VR_ARRAY_LEN(o), args, 1, 1) < 0 || (ack && point))
        return cli_usage("verify");
    if (cli_find_vm(c->local, args[0], &vm, &err) < 0)
        return cli_fail(&err);
    int rc;
    if (ack)
        rc = acknowledge(c, &vm, &err);
    else
        rc = vm.mode == 2 ? on_replica(c, &vm, point, &err) : on_primary(c, &vm, point, &err);
    if (rc == 0 && c->json && !ack && !c->no_wait)
        verify_json(c, &vm, point);
    return rc < 0 ? cli_fail(&err) : EXIT_OK;
}
