/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Commands about relationships: enable, cycles, settings, removal. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "cli/cli.h"

/* What ModifyReplicationSettings and CreateReplicationRelationship are told; NULL: unchanged. */
struct wanted {
    const char *interval, *history, *app, *to, *port, *window;
    bool compress, no_compress;
    char window_start[32], window_end[32]; /* as CIM has them */
};

/* "always", "never" or "18:30-06:00", local time of the primary. */
static int read_window(struct wanted *w)
{
    unsigned h1, m1, h2, m2;
    int end = 0;
    if (!w->window || !strcmp(w->window, "never"))
        return 0;
    if (!strcmp(w->window, "always"))
        h1 = m1 = h2 = m2 = 0;
    else if (sscanf(w->window, "%2u:%2u-%2u:%2u%n", &h1, &m1, &h2, &m2, &end) != 4 ||
             w->window[end] || h1 > 23 || h2 > 23 || m1 > 59 || m2 > 59)
        return fprintf(stderr, "vmreplica: --resync-window takes always, never or HH:MM-HH:MM\n"),
               -1;
    snprintf(w->window_start, sizeof w->window_start, "00000000%02u%02u00.000000:000", h1, m1);
    snprintf(w->window_end, sizeof w->window_end, "00000000%02u%02u00.000000:000", h2, m2);
    return 0;
}

static size_t wanted_props(const struct wanted *w, struct wsmc_arg *p)
{
    size_t n = 0;
    if (w->interval)
        p[n++] = (struct wsmc_arg){ .name = "ReplicationInterval", .value = w->interval };
    if (w->history)
        p[n++] = (struct wsmc_arg){ .name = "RecoveryHistory", .value = w->history };
    if (w->app)
        p[n++] =
            (struct wsmc_arg){ .name = "ApplicationConsistentSnapshotInterval", .value = w->app };
    if (w->compress || w->no_compress)
        p[n++] = (struct wsmc_arg){ .name = "CompressionEnabled",
                                    .value = w->no_compress ? "FALSE" : "TRUE" };
    if (w->window)
        p[n++] = (struct wsmc_arg){ .name = "AutoResynchronizeEnabled",
                                    .value = strcmp(w->window, "never") ? "TRUE" : "FALSE" };
    if (w->window_start[0]) {
        p[n++] =
            (struct wsmc_arg){ .name = "AutoResynchronizeIntervalStart", .value = w->window_start };
        p[n++] =
            (struct wsmc_arg){ .name = "AutoResynchronizeIntervalEnd", .value = w->window_end };
    }
    if (w->to)
        p[n++] = (struct wsmc_arg){ .name = "RecoveryConnectionPoint", .value = w->to };
    if (w->port)
        p[n++] = (struct wsmc_arg){ .name = "RecoveryServerPortNumber", .value = w->port };
    return n;
}

/* The disks of a machine but those excluded, as InstanceIDs. */
static int included(struct cli *c, const struct cli_vm *vm, const char *const *exclude,
                    struct wsmc_list *l, const char **out, size_t *ret_n, struct vr_err *err)
{
    if (wsmc_enumerate(c->local, NULL, "Msvm_StorageAllocationSettingData", l, err) < 0)
        return -1;
    vr_autofree char *prefix = vr_printf("Microsoft:%s\\", vm->guid);
    bool used[CLI_DISKS_MAX] = { false };
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++) {
        const char *id = wsmc_str(l->v[i], "InstanceID");
        if (!id || strncasecmp(id, prefix, strlen(prefix)) != 0)
            continue;
        /* What nobody expects to be replicated is no disk to the service, either. */
        const char *kind = wsmc_str(l->v[i], "ResourceSubType");
        bool skip = kind && strstr(kind, "CD/DVD");
        for (size_t k = 0; exclude[k]; k++)
            if (cli_same_disk(l->v[i], exclude[k]))
                skip = used[k] = true;
        if (!skip && n < CLI_DISKS_MAX)
            out[n++] = id;
    }
    for (size_t k = 0; exclude[k]; k++)
        if (!used[k])
            return vr_fail(err, VR_E_INVAL, 0, "machine %s has no disk '%s' to exclude", vm->name,
                           exclude[k]);
    if (!n)
        return vr_fail(err, VR_E_INVAL, 0, "machine %s has no disk left to replicate", vm->name);
    *ret_n = n;
    return 0;
}

int verb_enable(struct cli *c)
{
    const char *args[2];
    const char *exclude[65] = { NULL };
    struct wanted w = { .window = "always" };
    const char *auth = "certificate";
    bool start = false;
    const struct cli_option o[] = { { .name = "to", .value = &w.to },
                                    { .name = "auth", .value = &auth },
                                    { .name = "port", .value = &w.port, .number = true },
                                    { .name = "interval", .value = &w.interval, .number = true },
                                    { .name = "points", .value = &w.history, .number = true },
                                    { .name = "exclude", .many = exclude },
                                    { .name = "resync-window", .value = &w.window },
                                    { .name = "no-compression", .flag = &w.no_compress },
                                    { .name = "start", .flag = &start } };
    if (cli_parse(c, "enable", o, VR_ARRAY_LEN(o), args, 1, 1) < 0 || read_window(&w) < 0)
        return cli_usage("enable");
    const char *type = cli_auth_type(auth);
    if (!type)
        return cli_usage("enable");
    if (!w.to) {
        fputs("vmreplica: --to HOST is needed: the host that shall hold the replica\n", stderr);
        return cli_usage("enable");
    }
    struct vr_err err = VR_ERR_INIT;
    struct cli_vm vm;
    wsmc_autolist struct wsmc_list disks = { 0 };
    const char *ids[CLI_DISKS_MAX];
    size_t n_ids = 0, n = 0;
    struct wsmc_arg p[16];
    if (cli_find_vm(c->local, args[0], &vm, &err) < 0 ||
        included(c, &vm, exclude, &disks, ids, &n_ids, &err) < 0)
        return cli_fail(&err);
    p[n++] = (struct wsmc_arg){ .name = "InstanceID", .value = vm.rel_id };
    p[n++] = (struct wsmc_arg){ .name = "AuthenticationType", .value = type };
    if (exclude[0])
        p[n++] = (struct wsmc_arg){ .name = "IncludedDisks", .many = ids, .n = n_ids };
    n += wanted_props(&w, p + n);
    vr_autofree char *xml = wsmc_make_cim_xml("Msvm_ReplicationSettingData", p, n);
    struct wsmc_arg a = { .name = "ReplicationSettingData", .value = xml };
    bool no_wait = c->no_wait;
    c->no_wait = no_wait && !start; /* a second step can only follow the first */
    if (cli_service(c, c->local, &vm, "CreateReplicationRelationship", &a, 1, NULL, &err) < 0)
        return cli_fail(&err);
    c->no_wait = no_wait;
    cli_say(c, "Machine %s will be replicated to %s.", vm.name, w.to);
    if (!start) {
        cli_say(c, "Make the initial copy with: vmreplica start %s", vm.name);
        return EXIT_OK;
    }
    struct wsmc_arg t = { .name = "InitialReplicationType", .value = "1" };
    if (cli_service(c, c->local, &vm, "StartReplication", &t, 1, "Initial copy", &err) < 0)
        return cli_fail(&err);
    cli_say(c, "The initial copy of %s is done.", vm.name);
    return EXIT_OK;
}

/* src:[contract.md A.12 JobType, JobState] */
int cli_follow(struct cli *c, struct wsmc *w, const struct cli_vm *vm, unsigned state,
               unsigned type, const char *what, struct vr_err *err)
{
    wsmc_autolist struct wsmc_list l = { 0 };
    struct vr_err none = VR_ERR_INIT;
    struct cli_vm now;
    vr_autofree char *wql =
        vr_printf("ASSOCIATORS OF {Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\","
                  "Name=\"%s\"} WHERE AssocClass = Msvm_AffectedJobElement",
                  vm->guid);
    if (cli_find_vm(w, vm->guid, &now, &none) < 0 || now.mode != 1 || now.state != state ||
        wsmc_query(w, NULL, wql, &l, &none) < 0)
        return 1;
    for (size_t i = 0; i < l.n; i++) {
        if (wsmc_uint(l.v[i], "JobType", 0) != type || wsmc_uint(l.v[i], "JobState", 0) != 4)
            continue;
        cli_say(c, "%s of %s is running already.", what, vm->name);
        return cli_see_job(c, w, cli_text_or(l.v[i], "InstanceID", ""), what, err);
    }
    return 1;
}

/* A method of the service that leads to @state; whoever was quicker is followed. */
static int begin_or_follow(struct cli *c, const struct cli_vm *vm, const char *method,
                           const struct wsmc_arg *a, size_t n, unsigned state, unsigned type,
                           const char *what, struct vr_err *err)
{
    struct vr_err why = VR_ERR_INIT;
    int rc = vm->state == state ? cli_follow(c, c->local, vm, state, type, what, err) : 1;
    if (rc < 1)
        return rc;
    if (cli_service(c, c->local, vm, method, a, n, what, &why) == 0)
        return 0;
    rc = why.kind == VR_E_STATE || why.kind == VR_E_BUSY
             ? cli_follow(c, c->local, vm, state, type, what, err)
             : 1;
    if (rc == 1)
        vr_err_move(err, &why);
    return rc == 0 ? 0 : -1;
}

int verb_start(struct cli *c)
{
    const char *args[2];
    bool seeded = false;
    const struct cli_option o[] = { { .name = "seeded", .flag = &seeded } };
    struct cli_vm vm;
    struct vr_err err = VR_ERR_INIT;
    if (cli_parse(c, "start", o, 1, args, 1, 1) < 0)
        return cli_usage("start");
    struct wsmc_arg t = { .name = "InitialReplicationType", .value = seeded ? "3" : "1" };
    if (cli_find_vm(c->local, args[0], &vm, &err) < 0)
        return cli_fail(&err);
    if (vm.mode == 2 && vm.state == 2) {
        vr_fail(
            &err, VR_E_STATE, 0,
            "machine %s is a replica here (\"%s\"); its initial copy is started on the primary: "
            "vmreplica --host %s start %s",
            vm.name, vm.phase, vm.peer[0] ? vm.peer : "HOST", vm.name);
        return cli_fail(&err);
    }
    if (begin_or_follow(c, &vm, "StartReplication", &t, 1, 2, seeded ? 117 : 94, "Initial copy",
                        &err) < 0)
        return cli_fail(&err);
    if (!c->no_wait)
        cli_say(c, "The initial copy of %s is done.", vm.name);
    return EXIT_OK;
}

static int set_policy(struct cli *c, const struct cli_vm *vm, const char *policy,
                      struct vr_err *err)
{
    struct wsmc_key key = { "InstanceID", vm->rel_id };
    struct wsmc_ref ref = {
        .ns = WSMC_NS_OURS, .cls = "Vmr_ReplicationStatus", .keys = &key, .n_keys = 1
    };
    struct wsmc_arg a = { .name = "Policy", .value = policy };
    return cli_invoke(c, c->local, &ref, "SetOnSuperseded", &a, 1, NULL, NULL, err);
}

/* What ModifyReplicationSettings is told; nothing to tell is success. */
static int modify(struct cli *c, const struct cli_vm *vm, const struct wanted *w,
                  const char *const *added, const char *const *removed, struct vr_err *err)
{
    __attribute__((cleanup(cli_disks_done))) struct cli_disks disks = { .n = 0 };
    bool other = added[0] || removed[0];
    struct wsmc_arg p[16];
    size_t n = 1 + wanted_props(w, p + 1);
    p[0] = (struct wsmc_arg){ .name = "InstanceID", .value = vm->rel_id };
    if (other && cli_disks(c, vm, added, removed, &disks, err) < 0)
        return -1;
    if (other)
        p[n++] = (struct wsmc_arg){ .name = "IncludedDisks", .many = disks.ids, .n = disks.n };
    if (n == 1)
        return 0;
    vr_autofree char *xml = wsmc_make_cim_xml("Msvm_ReplicationSettingData", p, n);
    struct wsmc_arg a = { .name = "ReplicationSettingData", .value = xml };
    return cli_service(c, c->local, vm, "ModifyReplicationSettings", &a, 1, NULL, err);
}

int verb_set(struct cli *c)
{
    const char *args[2], *policy = NULL;
    const char *added[65] = { NULL }, *removed[65] = { NULL };
    struct wanted w = { 0 };
    bool retry = false;
    const struct cli_option o[] = { { .name = "interval", .value = &w.interval, .number = true },
                                    { .name = "points", .value = &w.history, .number = true },
                                    { .name = "app-hours", .value = &w.app, .number = true },
                                    { .name = "port", .value = &w.port, .number = true },
                                    { .name = "resync-window", .value = &w.window },
                                    { .name = "compression", .flag = &w.compress },
                                    { .name = "no-compression", .flag = &w.no_compress },
                                    { .name = "add-disk", .many = added },
                                    { .name = "remove-disk", .many = removed },
                                    { .name = "retry-disks", .flag = &retry },
                                    { .name = "on-superseded", .value = &policy } };
    struct wsmc_arg none[16];
    if (cli_parse(c, "set", o, VR_ARRAY_LEN(o), args, 1, 1) < 0 || read_window(&w) < 0)
        return cli_usage("set");
    bool disks = added[0] || removed[0];
    if (!wanted_props(&w, none) && !policy && !disks && !retry) {
        fputs("vmreplica: nothing to set\n", stderr);
        return cli_usage("set");
    }
    struct cli_vm vm;
    struct vr_err err = VR_ERR_INIT;
    if (cli_find_vm(c->local, args[0], &vm, &err) < 0 ||
        (policy && set_policy(c, &vm, policy, &err) < 0) ||
        modify(c, &vm, &w, added, removed, &err) < 0 ||
        (retry && cli_rq(c, c->local, &vm, 15, NULL, &err) < 0)) /* src:[contract.md B.5] */
        return cli_fail(&err);
    cli_say(c, "Settings of %s are changed.", vm.name);
    if ((disks || retry) && cli_disks_wait(c, &vm, &err) < 0)
        return cli_fail(&err);
    return EXIT_OK;
}

static void sync_json(const char *name, const struct wsmc_inst *in, bool app)
{
    const struct cli_field all[] = {
        { "Machine", name, CLI_TEXT },
        { "NewestPointEpoch", wsmc_str(in, "NewestPointEpoch"), CLI_NUMBER },
        { "NewestPointTime", wsmc_str(in, "NewestPointTime"), CLI_TEXT },
        { "LastCycleBytes", wsmc_str(in, "LastCycleBytes"), CLI_NUMBER },
        { "LastCycleWireBytes", wsmc_str(in, "LastCycleWireBytes"), CLI_NUMBER },
        { "LastCycleMilliseconds", wsmc_str(in, "LastCycleMilliseconds"), CLI_NUMBER },
        { "ApplicationConsistent", app ? "true" : NULL, CLI_BOOL },
    };
    cli_json_object(all, VR_ARRAY_LEN(all));
}

/* Was the point that was just made what was asked for? */
static int tell_application(struct cli *c, const struct wsmc_inst *in, const char *name,
                            struct vr_err *err)
{
    char when[32];
    const char *why = wsmc_str(in, "ApplicationConsistentError");
    if (why && *why)
        return vr_fail(err, VR_E_STATE, 0, "the point is not application-consistent: %s", why);
    cli_say(c,
            "Machine %s: an application-consistent point was made at %s; the guest's file "
            "systems were held for %s ms.",
            name, cli_local_time(wsmc_str(in, "LastApplicationConsistentTime"), when),
            cli_text_or(in, "LastFreezeMilliseconds", "?"));
    return 0;
}

int verb_sync(struct cli *c)
{
    const char *args[2];
    bool app = false;
    const struct cli_option o[] = { { .name = "application", .flag = &app } };
    struct cli_vm vm;
    struct vr_err err = VR_ERR_INIT;
    if (cli_parse(c, "sync", o, 1, args, 1, 1) < 0)
        return cli_usage("sync");
    if (cli_find_vm(c->local, args[0], &vm, &err) < 0)
        return cli_fail(&err);
    struct wsmc_key key = { "InstanceID", vm.rel_id };
    struct wsmc_ref ref = {
        .ns = WSMC_NS_OURS, .cls = "Vmr_ReplicationStatus", .keys = &key, .n_keys = 1
    };
    struct wsmc_arg a = { .name = "ApplicationConsistent", .value = "true" };
    if (cli_invoke(c, c->local, &ref, "SyncNow", &a, app, "Cycle", NULL, &err) < 0)
        return cli_fail(&err);
    vr_auto(wsmc_inst_free) struct wsmc_inst *in = NULL;
    if (c->no_wait)
        return EXIT_OK;
    if (wsmc_get(c->local, &ref, &in, &err) < 0 ||
        (app && tell_application(c, in, vm.name, &err) < 0))
        return cli_fail(&err);
    if (c->json)
        sync_json(vm.name, in, app);
    else if (!app)
        cli_say(c, "Machine %s: a cycle is done.", vm.name);
    return EXIT_OK;
}

static int rq_verb(struct cli *c, const char *verb, unsigned requested, const char *done)
{
    const char *args[2];
    struct cli_vm vm;
    struct vr_err err = VR_ERR_INIT;
    if (cli_parse(c, verb, NULL, 0, args, 1, 1) < 0)
        return cli_usage(verb);
    if (cli_find_vm(c->local, args[0], &vm, &err) < 0)
        return cli_fail(&err);
    /* Asking for what already is counts as done. */
    if (requested == 7 && (vm.state == 7 || vm.state == 11)) {
        cli_say(c, "Replication of %s is suspended already.", vm.name);
        return EXIT_OK;
    }
    if (requested == 3 && (vm.state == 3 || vm.state == 2)) {
        cli_say(c, "Replication of %s is running already.", vm.name);
        return EXIT_OK;
    }
    if (cli_rq(c, c->local, &vm, requested, NULL, &err) < 0)
        return cli_fail(&err);
    cli_say(c, "Machine %s: %s", vm.name, done);
    return EXIT_OK;
}

int verb_suspend(struct cli *c)
{
    return rq_verb(c, "suspend", 7, "replication is suspended.");
}

int verb_resume(struct cli *c)
{
    return rq_verb(c, "resume", 3, "replication goes on.");
}

int verb_seed(struct cli *c)
{
    return rq_verb(c, "seed", 2, "it waits as a replica; its disks are the seed.");
}

int verb_resync(struct cli *c)
{
    const char *args[2];
    struct cli_vm vm;
    struct vr_err err = VR_ERR_INIT;
    if (cli_parse(c, "resync", NULL, 0, args, 1, 1) < 0)
        return cli_usage("resync");
    if (cli_find_vm(c->local, args[0], &vm, &err) < 0)
        return cli_fail(&err);
    bool no_wait = c->no_wait;                  /* for the last step */
    bool pause = vm.mode == 1 && vm.state == 3; /* src:[contract.md D.4] */
    c->no_wait = false;
    if (pause && cli_rq(c, c->local, &vm, 7, NULL, &err) < 0)
        return cli_fail(&err);
    c->no_wait = no_wait;
    if (begin_or_follow(c, &vm, "Resynchronize", NULL, 0, 10, 107, "Resynchronisation", &err) < 0) {
        if (pause && err.kind != VR_E_CANCELLED)
            vr_err_wrap(
                &err, "replication of %s was suspended for it; if it stays so: vmreplica resume %s",
                vm.name, vm.name);
        return cli_fail(&err);
    }
    if (!c->no_wait)
        cli_say(c, "Machine %s is resynchronised.", vm.name);
    return EXIT_OK;
}
