/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmreplica test: a machine made of a recovery point, to look whether it works. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "cli/cli.h"

/* What the host says of a replica; with the identifiers of its test machines. */
static int status_of(struct cli *c, const struct cli_vm *vm, struct wsmc_inst **ret,
                     struct vr_err *err)
{
    struct wsmc_key key = { "InstanceID", vm->rel_id };
    struct wsmc_ref ref = {
        .ns = WSMC_NS_OURS, .cls = "Vmr_ReplicationStatus", .keys = &key, .n_keys = 1
    };
    return wsmc_get(c->local, &ref, ret, err);
}

static int make(struct cli *c, const struct cli_vm *vm, const struct wsmc_arg *args, size_t n,
                struct vr_err *err)
{
    struct wsmc_key key = { "InstanceID", vm->rel_id };
    struct wsmc_ref ref = {
        .ns = WSMC_NS_OURS, .cls = "Vmr_ReplicationStatus", .keys = &key, .n_keys = 1
    };
    return cli_invoke(c, c->local, &ref, "TestFailover", args, n, "Test machine", NULL, err);
}

static int begin(struct cli *c, const struct cli_vm *vm, const struct wsmc_arg *args, size_t n,
                 bool start, struct vr_err *err)
{
    vr_auto(wsmc_inst_free) struct wsmc_inst *now = NULL;
    struct cli_vm test;
    if (make(c, vm, args, n, err) < 0)
        return -1;
    if (c->no_wait)
        return 0;
    if (status_of(c, vm, &now, err) < 0)
        return -1;
    const struct wsmc_prop *all = wsmc_prop(now, "TestMachines");
    if (!all || !all->n)
        return vr_fail(err, VR_E_STATE, 0, "the test machine is gone again");
    if (cli_find_vm(c->local, all->v[all->n - 1], &test, err) < 0)
        return -1;
    if (start && cli_power(c, c->local, &test, 2, NULL, err) < 0)
        return vr_err_wrap(err, "test machine \"%s\" was made, but did not start", test.name);
    if (c->json)
        printf("{\"name\": \"%s\", \"uuid\": \"%s\"}\n", test.name, test.guid);
    cli_say(c,
            "Test machine \"%s\" %s; replication goes on. End the test with: vmreplica test %s "
            "--end",
            test.name, start ? "is started" : "is ready", vm->name);
    return 0;
}

static int turn_off(struct cli *c, const struct cli_vm *test, struct vr_err *err)
{
    struct cli_vm now = *test;
    int64_t end = vr_mono_now().ms + 30000;
    if (now.power == 3)
        return 0;
    if (cli_power(c, c->local, test, 3, NULL, err) < 0)
        return -1;
    while (now.power != 3 && vr_mono_now().ms < end && !cli_interrupted()) {
        cli_sleep_ms(100);
        if (cli_find_vm(c->local, test->guid, &now, err) < 0)
            return -1;
    }
    return 0;
}

static int destroy(struct cli *c, const char *guid, struct vr_err *err)
{
    struct wsmc_key keys[] = { { "CreationClassName", "Msvm_ComputerSystem" }, { "Name", guid } };
    struct wsmc_ref machine = { .cls = "Msvm_ComputerSystem", .keys = keys, .n_keys = 2 };
    struct wsmc_ref svc = { .cls = "Msvm_VirtualSystemManagementService" };
    struct wsmc_arg arg = { .name = "AffectedSystem", .ref = &machine };
    struct vr_err none = VR_ERR_INIT;
    struct cli_vm test;
    /* One that somebody undefined is still to be cleaned up. */
    if (cli_find_vm(c->local, guid, &test, &none) == 0 && turn_off(c, &test, err) < 0)
        return -1;
    return cli_invoke(c, c->local, &svc, "DestroySystem", &arg, 1, NULL, NULL, err);
}

/* The daemon cleans up by itself what it could not before, and may just have been faster. */
static bool is_gone(struct cli *c, const struct cli_vm *vm, const char *guid)
{
    vr_auto(wsmc_inst_free) struct wsmc_inst *now = NULL;
    struct vr_err none = VR_ERR_INIT;
    if (status_of(c, vm, &now, &none) < 0)
        return false;
    const struct wsmc_prop *left = wsmc_prop(now, "TestMachines");
    for (size_t i = 0; left && i < left->n; i++)
        if (!strcasecmp(left->v[i], guid))
            return false;
    return true;
}

static int end_all(struct cli *c, const struct cli_vm *vm, struct vr_err *err)
{
    vr_auto(wsmc_inst_free) struct wsmc_inst *now = NULL;
    if (vm->mode == 3) { /* the test machine itself was named */
        if (destroy(c, vm->guid, err) < 0)
            return -1;
        cli_say(c, "Test machine \"%s\" is removed.", vm->name);
        return 0;
    }
    if (status_of(c, vm, &now, err) < 0)
        return -1;
    const struct wsmc_prop *all = wsmc_prop(now, "TestMachines");
    size_t n = all ? all->n : 0;
    for (size_t i = 0; i < n; i++) {
        struct vr_err e = VR_ERR_INIT;
        if (destroy(c, all->v[i], &e) == 0 || is_gone(c, vm, all->v[i]))
            continue;
        vr_err_move(err, &e);
        return -1;
    }
    cli_say(c, n ? "The test of %s is over; nothing is left of it." : "There is no test of %s.",
            vm->name);
    return 0;
}

int verb_test(struct cli *c)
{
    const char *args[2], *point = NULL, *network = NULL;
    bool end = false, no_start = false, another = false;
    const struct cli_option o[] = { { .name = "point", .value = &point },
                                    { .name = "network", .value = &network },
                                    { .name = "another", .flag = &another },
                                    { .name = "no-start", .flag = &no_start },
                                    { .name = "end", .flag = &end } };
    struct cli_vm vm;
    struct vr_err err = VR_ERR_INIT;
    bool bad = cli_parse(c, "test", o, VR_ARRAY_LEN(o), args, 1, 1) < 0;
    if (bad || (end && (point || network || no_start || another)))
        return cli_usage("test");
    if (cli_find_vm(c->local, args[0], &vm, &err) < 0)
        return cli_fail(&err);
    if (end)
        return end_all(c, &vm, &err) < 0 ? cli_fail(&err) : EXIT_OK;
    struct wsmc_arg a[3];
    size_t n = 0;
    if (point)
        a[n++] = (struct wsmc_arg){ .name = "PointId", .value = point };
    if (network)
        a[n++] = (struct wsmc_arg){ .name = "Network", .value = network };
    if (another)
        a[n++] = (struct wsmc_arg){ .name = "Another", .value = "true" };
    return begin(c, &vm, a, n, !no_start, &err) < 0 ? cli_fail(&err) : EXIT_OK;
}
