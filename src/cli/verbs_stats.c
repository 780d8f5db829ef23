/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stats: how replication did in the window that began when the host's settings say, or at a reset.
 * src:[contract.md A.13] */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/cli.h"

static int call(struct cli *c, const struct cli_vm *vm, const char *method, struct wsmc_inst **out,
                struct vr_err *err)
{
    struct wsmc_key keys[] = { { "CreationClassName", "Msvm_ComputerSystem" },
                               { "Name", vm->guid } };
    struct wsmc_ref machine = { .cls = "Msvm_ComputerSystem", .keys = keys, .n_keys = 2 };
    struct wsmc_ref svc = { .cls = "Msvm_ReplicationService" };
    struct wsmc_arg a = { .name = "ComputerSystem", .ref = &machine };
    return cli_invoke(c, c->local, &svc, method, &a, 1, NULL, out, err);
}

static void number(const char *label, uint64_t n)
{
    printf("%-24s%" PRIu64 "\n", label, n);
}

static void size(const char *label, uint64_t n)
{
    char a[32];
    printf("%-24s%s\n", label, cli_bytes(n, a));
}

static void print_stats(const struct cli_vm *vm, const struct wsmc_inst *s)
{
    static const char *const health[] = { "not replicated", "ok", "warning", "critical" };
    char from[32], to[32], tested[32];
    uint64_t cycles = wsmc_uint(s, "ReplicationSuccessCount", 0);
    uint64_t h = wsmc_uint(s, "ReplicationHealth", 0);
    printf("Machine %s, from %s to %s:\n", vm->name,
           cli_local_time(wsmc_str(s, "StartStatisticTime"), from),
           cli_local_time(wsmc_str(s, "EndStatisticTime"), to));
    printf("%-24s%s\n", "health:", health[h < 4 ? h : 0]);
    number("cycles:", cycles);
    number("missed cycles:", wsmc_uint(s, "ReplicationMissCount", 0));
    number("network failures:", wsmc_uint(s, "NetworkFailureCount", 0));
    number("other failures:", wsmc_uint(s, "ReplicationFailureCount", 0));
    number("not app-consistent:", wsmc_uint(s, "ApplicationConsistentSnapshotFailureCount", 0));
    if (cycles) {
        size("bytes, average:", wsmc_uint(s, "ReplicationSize", 0) / cycles);
        size("bytes, largest:", wsmc_uint(s, "MaxReplicationSize", 0));
        printf("%-24s%.1f s\n", "duration, average:",
               (double)wsmc_uint(s, "ReplicationLatency", 0) / (double)cycles);
        printf("%-24s%" PRIu64 " s\n",
               "duration, longest:", wsmc_uint(s, "MaxReplicationLatency", 0));
    }
    size("waiting to be sent:", wsmc_uint(s, "PendingReplicationSize", 0));
    printf("%-24s%s\n",
           "last test failover:", cli_local_time(wsmc_str(s, "LastTestFailoverTime"), tested));
}

static int show(struct cli *c, const struct cli_vm *vm, struct vr_err *err)
{
    vr_auto(wsmc_inst_free) struct wsmc_inst *out = NULL;
    if (call(c, vm, "GetReplicationStatisticsEx", &out, err) < 0)
        return -1;
    const char *text = wsmc_str(out, "ReplicationStatistics");
    wsmc_autolist struct wsmc_list l = { .v = vr_new0(1, sizeof *l.v) };
    if (!text)
        return vr_fail(err, VR_E_PROTO, 0, "the daemon told no statistics");
    if (wsmc_cim_xml(text, &l.v[0], err) < 0)
        return -1;
    l.n = 1;
    if (c->json)
        cli_json(&l);
    else
        print_stats(vm, l.v[0]);
    return 0;
}

int verb_stats(struct cli *c)
{
    const char *args[2];
    bool reset = false;
    const struct cli_option o[] = { { .name = "reset", .flag = &reset } };
    struct cli_vm vm;
    struct vr_err err = VR_ERR_INIT;
    if (cli_parse(c, "stats", o, VR_ARRAY_LEN(o), args, 1, 1) < 0)
        return cli_usage("stats");
    if (cli_find_vm(c->local, args[0], &vm, &err) < 0)
        return cli_fail(&err);
    if (!reset)
        return show(c, &vm, &err) < 0 ? cli_fail(&err) : EXIT_OK;
    if (call(c, &vm, "ResetReplicationStatisticsEx", NULL, &err) < 0)
        return cli_fail(&err);
    cli_say(c, "The statistics of %s begin anew.", vm.name);
    return EXIT_OK;
}
