/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Commands about hosts, machines and jobs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/cli.h"

#define CELLS 4096

int verb_pair(struct cli *c)
{
    const char *args[2], *code = NULL;
    const struct cli_option o[] = { { .name = "code", .value = &code } };
    if (cli_parse(c, "pair", o, 1, args, 0, 1) < 0)
        return cli_usage("pair");
    struct wsmc_ref ref = { .ns = WSMC_NS_OURS, .cls = "Vmr_Host" };
    struct vr_err err = VR_ERR_INIT;
    if (!args[0] && code) {
        fputs("vmreplica: name the host that showed this code: vmreplica pair HOST --code CODE\n",
              stderr);
        return cli_usage("pair");
    }
    if (!args[0]) {
        vr_auto(wsmc_inst_free) struct wsmc_inst *out = NULL;
        vr_auto(wsmc_inst_free) struct wsmc_inst *me = NULL;
        if (cli_invoke(c, c->local, &ref, "CreatePairingCode", NULL, 0, NULL, &out, &err) < 0 ||
            wsmc_get(c->local, &ref, &me, &err) < 0)
            return cli_fail(&err);
        const char *shown = cli_text_or(out, "Code", "?"),
                   *host = cli_text_or(me, "HostName", "this host");
        if (c->json) {
            const struct cli_field all[] = { { "HostName", host, CLI_TEXT },
                                             { "Code", shown, CLI_TEXT } };
            cli_json_object(all, VR_ARRAY_LEN(all));
            return EXIT_OK;
        }
        printf("One-time code, valid for 15 minutes: %s\n"
               "On the other host run:\n  vmreplica pair %s --code %s\n",
               shown, host, shown);
        return EXIT_OK;
    }
    if (!code) {
        fprintf(stderr,
                "vmreplica: give the code that 'vmreplica pair' showed on %s: --code CODE\n",
                args[0]);
        return cli_usage("pair");
    }
    char host[256], port[8] = "0";
    snprintf(host, sizeof host, "%s", args[0]);
    char *colon = strrchr(host, ':');
    if (colon && strchr(host, ':') == colon) {
        if (!cli_port(colon + 1))
            return cli_usage("pair");
        *colon = 0;
        snprintf(port, sizeof port, "%s", colon + 1);
    }
    struct wsmc_arg a[] = { { .name = "HostName", .value = host },
                            { .name = "Port", .value = port },
                            { .name = "Code", .value = code } };
    if (cli_invoke(c, c->local, &ref, "Pair", a, 3, NULL, NULL, &err) < 0)
        return cli_fail(&err);
    cli_say(c, "Paired with %s.", host);
    return EXIT_OK;
}

int verb_unpair(struct cli *c)
{
    const char *args[2];
    if (cli_parse(c, "unpair", NULL, 0, args, 1, 1) < 0)
        return cli_usage("unpair");
    struct wsmc_ref ref = { .ns = WSMC_NS_OURS, .cls = "Vmr_Host" };
    struct wsmc_arg a = { .name = "PeerName", .value = args[0] };
    struct vr_err err = VR_ERR_INIT;
    if (cli_invoke(c, c->local, &ref, "Unpair", &a, 1, NULL, NULL, &err) < 0)
        return cli_fail(&err);
    cli_say(c, "Host %s is no longer trusted.", args[0]);
    return EXIT_OK;
}

int verb_peers(struct cli *c)
{
    const char *args[1];
    if (cli_parse(c, "peers", NULL, 0, args, 0, 0) < 0)
        return cli_usage("peers");
    wsmc_autolist struct wsmc_list l = { 0 };
    struct vr_err err = VR_ERR_INIT;
    if (wsmc_enumerate(c->local, WSMC_NS_OURS, "Vmr_Peer", &l, &err) < 0)
        return cli_fail(&err);
    if (c->json) {
        cli_json(&l);
        return EXIT_OK;
    }
    if (!l.n) {
        cli_say(c, "No host is paired with this one. Begin with: vmreplica pair");
        return EXIT_OK;
    }
    vr_autofree const char **cells = vr_new0((l.n + 1) * 5, sizeof *cells);
    static const char *const head[] = { "HOST", "ADDRESS", "PORT", "AUTH", "STATE" };
    memcpy(cells, head, sizeof head);
    for (size_t i = 0; i < l.n; i++) {
        const char **r = &cells[(i + 1) * 5];
        r[0] = cli_text_or(l.v[i], "Name", "-");
        r[1] = cli_text_or(l.v[i], "Address", "-");
        r[2] = cli_text_or(l.v[i], "Port", "-");
        r[3] = wsmc_str(l.v[i], "Thumbprint") ? "certificate" : "kerberos";
        r[4] = cli_text_or(l.v[i], "State", "-");
    }
    cli_table(cells, 5, (unsigned)l.n + 1);
    return EXIT_OK;
}

static const char *power_text(uint64_t enabled_state)
{
    switch (enabled_state) {
    case 2:
        return "running";
    case 3:
        return "off";
    case 4:
        return "shutting down";
    case 6:
        return "saved";
    case 9:
    case 32768:
        return "paused";
    default:
        return "other";
    }
}

int verb_machines(struct cli *c)
{
    const char *args[1];
    if (cli_parse(c, "machines", NULL, 0, args, 0, 0) < 0)
        return cli_usage("machines");
    wsmc_autolist struct wsmc_list l = { 0 };
    struct vr_err err = VR_ERR_INIT;
    if (wsmc_query(c->local, NULL,
                   "SELECT * FROM Msvm_ComputerSystem WHERE Caption = 'Virtual Machine'", &l,
                   &err) < 0)
        return cli_fail(&err);
    static const char *const modes[] = { "-", "primary", "replica", "test", "extended" };
    if (c->json) {
        cli_json(&l);
        return EXIT_OK;
    }
    vr_autofree const char **cells = vr_new0((l.n + 1) * 4, sizeof *cells);
    static const char *const head[] = { "MACHINE", "UUID", "POWER", "ROLE" };
    memcpy(cells, head, sizeof head);
    for (size_t i = 0; i < l.n; i++) {
        const char **r = &cells[(i + 1) * 4];
        uint64_t mode = wsmc_uint(l.v[i], "ReplicationMode", 0);
        r[0] = cli_text_or(l.v[i], "ElementName", "-");
        r[1] = cli_text_or(l.v[i], "Name", "-");
        r[2] = power_text(wsmc_uint(l.v[i], "EnabledState", 0));
        r[3] = modes[mode < 5 ? mode : 0];
    }
    cli_table(cells, 4, (unsigned)l.n + 1);
    return EXIT_OK;
}

/* src:[contract.md A.12 JobState] */
static const char *job_state_text(uint64_t st)
{
    switch (st) {
    case 2:
        return "waiting";
    case 4:
        return "running";
    case 7:
        return "done";
    case 8:
        return "cancelled";
    case 10:
        return "failed";
    default:
        return "-";
    }
}

struct job_text {
    char percent[8], since[32];
};

/* What it waits for or does; its error; what it has to say beyond that it is over. */
static const char *job_news(const struct wsmc_inst *j, uint64_t state)
{
    const char *status = cli_text_or(j, "JobStatus", ""), *more = strchr(status, ':');
    if (state < 7)
        return status;
    return cli_text_or(j, "ErrorDescription", more ? more + 2 : "");
}

static void job_row(const struct wsmc_inst *j, struct job_text *t, const char **r)
{
    uint64_t state = wsmc_uint(j, "JobState", 0);
    snprintf(t->percent, sizeof t->percent, "%u",
             (unsigned)wsmc_uint(j, "PercentComplete", 0) % 1000);
    r[0] = cli_text_or(j, "InstanceID", "-");
    r[1] = cli_local_time(wsmc_str(j, "TimeSubmitted"), t->since);
    r[2] = cli_text_or(j, "Caption", cli_text_or(j, "Name", "-"));
    r[3] = job_state_text(state);
    r[4] = t->percent;
    r[5] = job_news(j, state);
}

static int one_job(struct cli *c, const char *id, bool cancel)
{
    struct wsmc_key key = { "InstanceID", id };
    struct wsmc_ref ref = { .cls = "Msvm_ConcreteJob", .keys = &key, .n_keys = 1 };
    struct vr_err err = VR_ERR_INIT;
    vr_auto(wsmc_inst_free) struct wsmc_inst *job = NULL;
    if (wsmc_get(c->local, &ref, &job, &err) < 0) {
        if (err.kind != VR_E_NOTFOUND)
            return cli_fail(&err);
        cli_print(
            stderr,
            "vmreplica: there is no job '%s' here; vmreplica jobs lists those of the last five "
            "minutes\n",
            id);
        return EXIT_FAILED;
    }
    if (cancel) {
        struct wsmc_arg a = { .name = "RequestedState", .value = "4" };
        if (cli_invoke(c, c->local, &ref, "RequestStateChange", &a, 1, NULL, NULL, &err) < 0)
            return cli_fail(&err);
        cli_say(c, "Job %s is cancelled.", id);
        return EXIT_OK;
    }
    if (c->json) {
        wsmc_autolist struct wsmc_list l = { .v = vr_new0(1, sizeof *l.v), .n = 0 };
        if (wsmc_get(c->local, &ref, &l.v[0], &err) < 0)
            return cli_fail(&err);
        l.n = 1;
        cli_json(&l);
        return EXIT_OK;
    }
    if (cli_wait_job(c, c->local, id, "Job", &err) < 0)
        return cli_fail(&err);
    cli_say(c, "Job %s is done.", id);
    return EXIT_OK;
}

int verb_jobs(struct cli *c)
{
    const char *args[2];
    bool cancel = false;
    const struct cli_option o[] = { { .name = "cancel", .flag = &cancel } };
    if (cli_parse(c, "jobs", o, 1, args, 0, 1) < 0)
        return cli_usage("jobs");
    if (cancel && !args[0]) {
        fputs("vmreplica: --cancel needs the ID of a job; vmreplica jobs lists them\n", stderr);
        return cli_usage("jobs");
    }
    if (args[0])
        return one_job(c, args[0], cancel);
    wsmc_autolist struct wsmc_list l = { 0 };
    struct vr_err err = VR_ERR_INIT;
    if (wsmc_enumerate(c->local, NULL, "Msvm_ConcreteJob", &l, &err) < 0)
        return cli_fail(&err);
    if (c->json) {
        cli_json(&l);
        return EXIT_OK;
    }
    if (!l.n) {
        cli_say(c, "No jobs in the last five minutes.");
        return EXIT_OK;
    }
    vr_autofree const char **cells = vr_new0((l.n + 1) * 6, sizeof *cells);
    vr_autofree struct job_text *texts = vr_new0(l.n, sizeof *texts);
    static const char *const head[] = { "JOB", "SINCE", "WHAT", "STATE", "%", "STATUS" };
    memcpy(cells, head, sizeof head);
    for (size_t i = 0; i < l.n; i++)
        job_row(l.v[i], &texts[i], &cells[(i + 1) * 6]);
    cli_table(cells, 6, (unsigned)l.n + 1);
    return EXIT_OK;
}

int verb_boot(struct cli *c)
{
    const char *args[2];
    bool anyway = false;
    const struct cli_option o[] = { { .name = "anyway", .flag = &anyway } };
    struct cli_vm vm;
    struct vr_err err = VR_ERR_INIT;
    if (cli_parse(c, "boot", o, 1, args, 1, 1) < 0)
        return cli_usage("boot");
    if (cli_find_vm(c->local, args[0], &vm, &err) < 0 ||
        (anyway && vm.mode == 1 && vm.state == 8 && cli_own(c, &vm, "AllowStart", &err) < 0) ||
        cli_power(c, c->local, &vm, 2, NULL, &err) < 0)
        return cli_fail(&err);
    cli_say(c, vm.power == 2 ? "Machine %s runs already." : "Machine %s is started.", vm.name);
    return EXIT_OK;
}

int verb_shutdown(struct cli *c)
{
    const char *args[2];
    bool force = false;
    const struct cli_option o[] = { { .name = "force", .flag = &force } };
    struct cli_vm vm;
    struct vr_err err = VR_ERR_INIT;
    if (cli_parse(c, "shutdown", o, 1, args, 1, 1) < 0)
        return cli_usage("shutdown");
    if (cli_find_vm(c->local, args[0], &vm, &err) < 0 ||
        cli_power(c, c->local, &vm, force ? 3 : 4, NULL, &err) < 0)
        return cli_fail(&err);
    cli_say(c,
            vm.power == 3 ? "Machine %s is off already."
            : force       ? "Machine %s is off."
                          : "Machine %s was asked to shut down.",
            vm.name);
    return EXIT_OK;
}
