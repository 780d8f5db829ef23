/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* explain: the whole story of one machine. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "cli/cli.h"

static void line(const char *label, const char *text)
{
    vr_autofree char *local = text && *text ? cli_local_text(text) : NULL;
    if (local)
        printf("%-12s%s\n", label, local);
}

static const char *item(const struct wsmc_prop *p, size_t i)
{
    return p && i < p->n && p->v[i] ? p->v[i] : "";
}

/* Returns whether one of them said what to do. */
static bool print_reasons(const struct wsmc_inst *s)
{
    static const char *const levels[] = { "", "note", "warning", "CRITICAL" };
    const struct wsmc_prop *names = wsmc_prop(s, "Reasons"), *level = wsmc_prop(s, "ReasonLevels");
    const struct wsmc_prop *why = wsmc_prop(s, "ReasonTexts");
    const struct wsmc_prop *todo = wsmc_prop(s, "ReasonAdvice");
    const struct wsmc_prop *command = wsmc_prop(s, "ReasonCommands");
    bool advised = false;
    for (size_t i = 0; names && i < names->n; i++) {
        const char *v = item(level, i);
        char label[32];
        snprintf(label, sizeof label,
                 "%s:", v[0] >= '1' && v[0] <= '3' ? levels[v[0] - '0'] : "note");
        line(label, item(why, i));
        line("", item(todo, i));
        advised |= *item(todo, i) != 0;
        if (*item(command, i))
            cli_print(stdout, "%-12s    %s\n", "", item(command, i));
    }
    return advised;
}

static void print_since(const struct wsmc_inst *s)
{
    char when[32];
    const char *since = wsmc_str(s, "StateSince");
    vr_autofree char *text =
        since ? vr_printf("%s, since %s", cli_text_or(s, "State", "-"), cli_local_time(since, when))
              : vr_strdup(cli_text_or(s, "State", "-"));
    line("state:", text);
}

static void print_story(const struct wsmc_inst *s)
{
    vr_autofree char *who =
        wsmc_str(s, "PeerName")
            ? vr_printf("%s (%s; the other host is %s)", cli_text_or(s, "MachineName", "-"),
                        cli_text_or(s, "Role", "-"), wsmc_str(s, "PeerName"))
            : vr_printf("%s (%s)", cli_text_or(s, "MachineName", "-"), cli_text_or(s, "Role", "-"));
    line("machine:", who);
    print_since(s);
    line("now:", wsmc_str(s, "Doing"));
    line("at risk:", wsmc_str(s, "LossNow"));
    if (print_reasons(s))
        return;
    line("next:", wsmc_str(s, "NextStep"));
    if (wsmc_str(s, "NextCommand"))
        printf("%-12s    %s\n", "", wsmc_str(s, "NextCommand"));
}

int verb_explain(struct cli *c)
{
    const char *args[2];
    struct cli_vm vm;
    struct vr_err err = VR_ERR_INIT;
    if (cli_parse(c, "explain", NULL, 0, args, 1, 1) < 0)
        return cli_usage("explain");
    if (cli_find_vm(c->local, args[0], &vm, &err) < 0)
        return cli_fail(&err);
    struct wsmc_key key = { "InstanceID", vm.rel_id };
    struct wsmc_ref ref = {
        .ns = WSMC_NS_OURS, .cls = "Vmr_ReplicationStatus", .keys = &key, .n_keys = 1
    };
    wsmc_autolist struct wsmc_list l = { .v = vr_new0(1, sizeof *l.v) };
    if (wsmc_get(c->local, &ref, &l.v[0], &err) < 0)
        return cli_fail(&err);
    l.n = 1;
    if (c->json)
        cli_json(&l);
    else if (!strcmp(cli_text_or(l.v[0], "Role", ""), "test"))
        cli_print(
            stdout,
            "Machine %s is the test of a recovery point: it is not replicated, and is removed when "
            "the test is ended (vmreplica test MACHINE --end).\n",
            vm.name);
    else
        print_story(l.v[0]);
    return EXIT_OK;
}
