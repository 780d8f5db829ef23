/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmreplica failover --dry-run: what a failover now would mean, before anybody decides. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "cli/cli.h"

struct facts {
    struct wsmc_inst *status;
    bool told; /* what it says of the primary is so now */
    struct wsmc_list points;
    const struct wsmc_inst *chosen, *consistent, *booted; /* the newest of each; NULL: none */
};

static void facts_done(struct facts *f)
{
    wsmc_inst_free(f->status);
    wsmc_list_done(&f->points);
}

static const char *kind_of(const struct wsmc_inst *p)
{
    return cli_text_or(p, "Kind", "standard");
}

/* Blocks of it were found wrong, and are still. */
static bool is_bad(const struct wsmc_inst *p)
{
    const char *how = cli_text_or(p, "Quarantine", "none");
    return !strcmp(how, "quarantined") || !strcmp(how, "released");
}

static int choose(struct facts *f, const struct cli_vm *vm, const char *point, struct vr_err *err)
{
    for (size_t i = 0; i < f->points.n; i++) {
        const struct wsmc_inst *p = f->points.v[i];
        if (point ? !strcmp(cli_text_or(p, "InstanceID", ""), point)
                  : wsmc_bool(p, "TakenByFailover")) /* the daemon's rule, not one of our own */
            f->chosen = p;
        if (!is_bad(p) && (!strcmp(kind_of(p), "application") || !strcmp(kind_of(p), "planned")))
            f->consistent = p;
        if (!is_bad(p) && wsmc_str(p, "TestBooted"))
            f->booted = p;
    }
    if (f->chosen)
        return 0;
    if (point)
        return vr_fail(err, VR_E_NOTFOUND, 0,
                       "there is no recovery point '%s'; see vmreplica points %s", point, vm->name);
    if (f->points.n)
        return vr_fail(err, VR_E_STATE, 0,
                       "a failover of %s would be refused: all its recovery points are orphans or "
                       "quarantined, and such a one must be named; see vmreplica points %s, then "
                       "--point POINT",
                       vm->name, vm->name);
    return vr_fail(err, VR_E_STATE, 0,
                   "machine %s has no recovery point yet (it is \"%s\"): there is nothing to fail "
                   "over to; see: vmreplica explain %s",
                   vm->name, vm->phase, vm->name);
}

static int gather(struct cli *c, const struct cli_vm *vm, const char *point, struct facts *f,
                  struct vr_err *err)
{
    vr_autofree char *q =
        vr_printf("SELECT * FROM Vmr_RecoveryPoint WHERE MachineIdentifier = '%s'", vm->guid);
    if (vm->mode != 2)
        return vr_fail(err, VR_E_STATE, 0,
                       "machine %s is not a replica here; ask on the host that holds the replica "
                       "(vmreplica --host %s failover %s --dry-run)",
                       vm->name, vm->peer[0] ? vm->peer : "HOST", vm->name);
    /* Ask the primary first; that it does not answer is part of the answer. */
    if (cli_ask_peer(c, vm, &f->status, &f->told, err) < 0 ||
        wsmc_query(c->local, WSMC_NS_OURS, q, &f->points, err) < 0)
        return -1;
    return choose(f, vm, point, err);
}

/* What the primary wrote in a second, going by the last cycle. */
static bool rate(const struct wsmc_inst *s, uint64_t *ret)
{
    uint64_t interval = wsmc_uint(s, "IntervalSeconds", 0);
    *ret = interval ? wsmc_uint(s, "LastCycleBytes", 0) / interval : 0;
    return *ret != 0;
}

/* The host knows how old its newest point is, whatever its clock, the primary's and ours show. */
static bool age_of(const struct wsmc_inst *p, const struct wsmc_inst *s, uint64_t *ret)
{
    int64_t when = 0, newest = 0, now = time(NULL);
    if (!cli_seconds_of(wsmc_str(p, "Time"), &when))
        return false;
    if (wsmc_str(s, "DataAgeSeconds") && cli_seconds_of(wsmc_str(s, "NewestPointTime"), &newest))
        now = newest + (int64_t)wsmc_uint(s, "DataAgeSeconds", 0);
    *ret = now > when ? (uint64_t)(now - when) : 0;
    return true;
}

/* Points of the primary after the chosen one: what they hold would be lost with a commit. */
static size_t newer(const struct facts *f)
{
    size_t n = 0;
    for (size_t i = f->points.n; i-- && f->points.v[i] != f->chosen;)
        n += strcmp(kind_of(f->points.v[i]), "orphan") != 0;
    return n;
}

/* ---- for programs ---- */
static void print_json(const struct cli_vm *vm, const struct facts *f)
{
    const struct wsmc_inst *s = f->status, *p = f->chosen;
    char age_text[24], guess_text[24], newer_text[24];
    uint64_t per_second = 0, age = 0;
    bool aged = age_of(p, s, &age), guess = aged && rate(s, &per_second);
    snprintf(age_text, sizeof age_text, "%" PRIu64, age);
    snprintf(newer_text, sizeof newer_text, "%zu", newer(f));
    snprintf(guess_text, sizeof guess_text, "%" PRIu64, per_second * age);
    const struct cli_field all[] = {
        { "Machine", vm->name, CLI_TEXT },
        { "State", wsmc_str(s, "State"), CLI_TEXT },
        { "Point", wsmc_str(p, "InstanceID"), CLI_TEXT },
        { "PointTime", wsmc_str(p, "Time"), CLI_TEXT },
        { "PointKind", kind_of(p), CLI_TEXT },
        { "PointAgeSeconds", aged ? age_text : NULL, CLI_NUMBER },
        { "PointVerified", wsmc_str(p, "Verified"), CLI_TEXT },
        { "PointTestBooted", wsmc_str(p, "TestBooted"), CLI_TEXT },
        { "PointQuarantine", wsmc_str(p, "Quarantine"), CLI_TEXT },
        { "NewerPoints", newer_text, CLI_NUMBER },
        { "BytesAhead", wsmc_str(s, "BytesAhead"), CLI_NUMBER },
        { "EstimatedBytesAhead", guess ? guess_text : NULL, CLI_NUMBER },
        { "PeerName", wsmc_str(s, "PeerName"), CLI_TEXT },
        { "PeerMachine", cli_peer_machine(s, f->told), CLI_TEXT },
        { "PeerMachineTime", wsmc_str(s, "PeerMachineTime"), CLI_TEXT },
        { "NewestConsistent", f->consistent ? wsmc_str(f->consistent, "InstanceID") : NULL,
          CLI_TEXT },
        { "NewestTestBooted", f->booted ? wsmc_str(f->booted, "InstanceID") : NULL, CLI_TEXT },
    };
    cli_json_object(all, VR_ARRAY_LEN(all));
}

/* ---- for people ---- */
static void print_point(const char *label, const struct wsmc_inst *p,
                        const struct wsmc_inst *status)
{
    char when[32], age[32];
    uint64_t s = 0;
    if (!p) {
        printf("%-14s none\n", label);
        return;
    }
    printf("%-14s %s, %s old (%s, %s)\n", label, cli_text_or(p, "InstanceID", "?"),
           age_of(p, status, &s) ? cli_age(s, age) : "?", cli_local_time(wsmc_str(p, "Time"), when),
           kind_of(p));
}

static bool has_disk(const struct wsmc_prop *disks, const char *target)
{
    for (size_t i = 0; i < disks->n; i++)
        if (!strcmp(disks->v[i], target) || !strcmp(disks->v[i], "..."))
            return true;
    return false;
}

/* The machine gets the disks of the point; others may have been added since, or taken out. */
static void print_disks(const struct facts *f)
{
    const struct wsmc_prop *disks = wsmc_prop(f->chosen, "Disks");
    if (!disks)
        return;
    printf("%-14s", "disks:");
    for (size_t i = 0; i < disks->n; i++)
        printf("%s %s", i ? "," : "", disks->v[i]);
    printf("\n");
    const struct wsmc_prop *newest = wsmc_prop(f->points.v[f->points.n - 1], "Disks");
    for (size_t i = 0; newest && i < newest->n; i++)
        if (!has_disk(disks, newest->v[i]) && strcmp(newest->v[i], "...") != 0)
            printf("%-14s disk %s is not in this point: the machine would start without it\n",
                   "WARNING:", newest->v[i]);
}

static void print_proof(const struct wsmc_inst *p)
{
    char a[32], b[32];
    const char *verified = wsmc_str(p, "Verified"), *booted = wsmc_str(p, "TestBooted");
    uint64_t wrong = wsmc_uint(p, "WrongBlocks", 0);
    printf("%-14s %s%s; %s%s\n", "proven:", verified ? "verified " : "not verified",
           verified ? cli_local_time(verified, a) : "", booted ? "test boot " : "no test boot",
           booted ? cli_local_time(booted, b) : "");
    if (is_bad(p))
        printf("%-14s the point is quarantined: %" PRIu64
               " blocks differ from what the primary sent%s\n",
               "WARNING:", wrong,
               strcmp(cli_text_or(p, "Quarantine", ""), "released")
                   ? "; a failover takes it only with --force"
                   : " (released)");
}

/* What came in was heard of it, too. */
static const char *heard_of(const struct facts *f)
{
    int64_t told = 0, came = 0;
    const char *t = wsmc_str(f->status, "PeerMachineTime");
    const char *n = wsmc_str(f->status, "NewestPointTime");
    bool has_told = cli_seconds_of(t, &told);
    return cli_seconds_of(n, &came) && (!has_told || came > told) ? n : t;
}

static void print_primary(const struct facts *f)
{
    const struct wsmc_inst *s = f->status;
    const char *how = cli_peer_machine(s, f->told);
    const char *host = cli_text_or(s, "PeerName", "?");
    char when[32];
    if (!strcmp(how, "unreachable"))
        printf("%-14s host %s does not answer (last heard of: %s): it is dead, or the network is\n",
               "primary:", host, cli_local_time(heard_of(f), when));
    else if (!strcmp(how, "sending"))
        printf(
            "%-14s host %s sends data just now, but did not answer in time: it is not lost, the\n"
            "%-14s machine may run there, and a failover make two\n",
            "primary:", host, "");
    else if (!strcmp(how, "running"))
        printf("%-14s host %s answers, and the machine RUNS there: a failover would make two\n",
               "primary:", host);
    else
        printf("%-14s host %s answers; the machine there is %s\n", "primary:", host, how);
}

/* What the primary told counts for the moment when it told it. */
static void print_loss(const struct facts *f)
{
    uint64_t per_second = 0, age = 0;
    char a[32];
    bool known = wsmc_str(f->status, "BytesAhead") != NULL;
    bool now = known && !cli_peer_silent(cli_peer_machine(f->status, f->told));
    if (known)
        printf("%-14s %s%s that the primary has written since the newest point%s\n",
               "would be lost:", now ? "about " : "at least ",
               cli_bytes(wsmc_uint(f->status, "BytesAhead", 0), a), now ? "" : ", as it told last");
    if (known && newer(f))
        printf("%-14s and what the %zu newer point%s of the primary %s\n", "", newer(f),
               newer(f) == 1 ? "" : "s", newer(f) == 1 ? "holds" : "hold");
    if (!now && rate(f->status, &per_second) && age_of(f->chosen, f->status, &age))
        printf("%-14s about %s, going by what the last cycle had\n",
               known ? "" : "would be lost:", cli_bytes(per_second * age, a));
    else if (!known)
        printf("%-14s what was written since the point; how much is not known\n", "would be lost:");
}

int cli_dry_run(struct cli *c, const struct cli_vm *vm, const char *point, struct vr_err *err)
{
    __attribute__((cleanup(facts_done))) struct facts f = { 0 };
    if (gather(c, vm, point, &f, err) < 0)
        return -1;
    if (c->json) {
        print_json(vm, &f);
        return 0;
    }
    printf("A failover of %s now (state: %s):\n", vm->name, cli_text_or(f.status, "State", "?"));
    print_point("to point:", f.chosen, f.status);
    print_disks(&f);
    print_loss(&f);
    print_proof(f.chosen);
    print_primary(&f);
    print_point("consistent:", f.consistent, f.status);
    print_point("test-booted:", f.booted, f.status);
    if (vm->state == 5) /* recovered */
        cli_print(stdout,
                  "%-14s it is failed over already; to another point: first vmreplica cancel %s\n",
                  "NOT POSSIBLE:", vm->name);
    else if (vm->state == 6) /* committed */
        cli_print(stdout,
                  "%-14s it is failed over for good; it goes on with: vmreplica reverse %s\n",
                  "NOT POSSIBLE:", vm->name);
    printf("Nothing was changed.\n");
    return 0;
}
