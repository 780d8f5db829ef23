/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmreplica: global options, verbs, errors. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

static const struct {
    const char *name, *usage, *text;
    int (*run)(struct cli *c);
} verbs[] = {
#define V(n, u, t) { #n, u, t, verb_##n },
    CLI_VERBS(V)
#undef V
};

static void usage(FILE *to)
{
    fprintf(to, "Usage: vmreplica [OPTIONS] COMMAND ...\n"
                "Replicates libvirt machines to another host and back.\n\nCommands:\n");
    for (size_t i = 0; i < VR_ARRAY_LEN(verbs); i++)
        fprintf(to, "  %-46s %s\n", verbs[i].usage, verbs[i].text);
    fprintf(
        to,
        "\nOptions:\n"
        "  --host HOST[:PORT]  ask the daemon of another host (HTTPS, port 5986)\n"
        "  --kerberos          the same with Kerberos (HTTP, port 5985) and the tickets of kinit;\n"
        "                      HOST must be called as in the realm\n"
        "  --user NAME         log in there with a password (VMREPLICA_PASSWORD or asked for)\n"
        "  --pin SHA256        its certificate, when it is not paired with this host\n"
        "  --ca FILE           trusted issuers, when its certificate has one\n"
        "  --socket PATH       local daemon [/run/vmreplica/wsman.sock]\n"
        "  --state-dir DIR     where this host's certificate lies [/var/lib/vmreplica]\n"
        "  --json              output for programs: names and types are those of the schema\n"
        "  --quiet             say nothing when all is well\n"
        "  --no-wait           do not wait for jobs, print their ids\n"
        "  --help, --version\n"
        "\nExit status: 0 done, 1 failed, 2 wrong usage, 3 daemon not reachable, 130 interrupted\n"
        "(the job goes on). Options may stand before or after the command.\n"
        "\nvmreplica COMMAND --help tells the options of a command.\n");
}

int cli_usage(const char *verb)
{
    for (size_t i = 0; i < VR_ARRAY_LEN(verbs); i++)
        if (!strcmp(verbs[i].name, verb))
            fprintf(stderr, "Usage: vmreplica %s\nvmreplica %s --help tells the options\n",
                    verbs[i].usage, verb);
    return EXIT_USAGE;
}

static bool asks_for_help(const struct cli *c)
{
    for (int i = 0; i < c->argc && strcmp(c->argv[i], "--") != 0; i++)
        if (!strcmp(c->argv[i], "--help") || !strcmp(c->argv[i], "-h"))
            return true;
    return false;
}

int cli_fail(const struct vr_err *err)
{
    if (err->kind == VR_E_CANCELLED)
        return EXIT_INTERRUPTED;
    cli_print(stderr, "vmreplica: %s\n", err->msg);
    return err->kind == VR_E_PEER || err->kind == VR_E_TIMEOUT ? EXIT_CONNECT : EXIT_FAILED;
}

/* Global options are taken out of argv wherever they stand; the rest belongs to the verb. */
static int globals(struct cli *c, int argc, char **argv)
{
    char *host = NULL;
    const struct {
        const char *name;
        const char **value;
        bool *flag;
    } all[] = { { "--host", (const char **)&host, NULL },
                { "--user", &c->user, NULL },
                { "--pin", &c->pin, NULL },
                { "--ca", &c->ca_file, NULL },
                { "--socket", &c->socket, NULL },
                { "--state-dir", &c->state_dir, NULL },
                { "--kerberos", NULL, &c->kerberos },
                { "--json", NULL, &c->json },
                { "--quiet", NULL, &c->quiet },
                { "--no-wait", NULL, &c->no_wait } };
    int kept = 0;
    bool literal = false;
    for (int i = 1; i < argc; i++) {
        size_t k = 0, len = strcspn(argv[i], "=");
        literal |= !strcmp(argv[i], "--");
        while (k < VR_ARRAY_LEN(all) &&
               (strlen(all[k].name) != len || strncmp(all[k].name, argv[i], len) != 0))
            k++;
        if (literal || k == VR_ARRAY_LEN(all)) {
            argv[kept++] = argv[i];
        } else if (all[k].flag && argv[i][len]) {
            fprintf(stderr, "vmreplica: option '%s' takes no value\n", all[k].name);
            return -1;
        } else if (all[k].flag) {
            *all[k].flag = true;
        } else if (argv[i][len]) {
            *all[k].value = argv[i] + len + 1;
        } else if (i + 1 < argc) {
            *all[k].value = argv[++i];
        } else {
            fprintf(stderr, "vmreplica: option '%s' needs a value\n", argv[i]);
            return -1;
        }
    }
    argv[kept] = NULL;
    c->argc = kept;
    c->argv = argv;
    if (!host)
        return 0;
    char *colon = strrchr(host, ':');
    if (colon && strchr(host, ':') == colon) {
        c->port = cli_port(colon + 1);
        if (!c->port)
            return -1;
        *colon = 0;
    }
    if (!*host) {
        fputs("vmreplica: option '--host' needs a value\n", stderr);
        return -1;
    }
    c->host = host;
    return 0;
}

/* Options that contradict each other are told, not ignored. */
static int check_globals(const struct cli *c)
{
    const char *other = c->user ? "--user" : c->pin ? "--pin" : c->ca_file ? "--ca" : NULL;
    if ((c->kerberos || other) && !c->host) {
        fprintf(stderr, "vmreplica: %s needs --host\n", c->kerberos ? "--kerberos" : other);
        return -1;
    }
    if (c->kerberos && other) {
        fprintf(stderr, "vmreplica: --kerberos and %s cannot go together\n", other);
        return -1;
    }
    return 0;
}

/* What could not be written (a full disk, say) must not look like a good answer. */
static int written(int rc)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return rc;
    fputs("vmreplica: the output could not be written\n", stderr);
    return rc == EXIT_OK ? EXIT_FAILED : rc;
}

int main(int argc, char **argv)
{
    struct cli c = { .socket = "/run/vmreplica/wsman.sock",
                     .state_dir = "/var/lib/vmreplica",
                     .tty = isatty(STDERR_FILENO),
                     .asks = isatty(STDERR_FILENO) && isatty(STDIN_FILENO) };
    if (getenv("VMREPLICA_SOCKET"))
        c.socket = getenv("VMREPLICA_SOCKET");
    if (globals(&c, argc, argv) < 0 || check_globals(&c) < 0)
        return EXIT_USAGE;
    const char *name = c.argc ? c.argv[0] : NULL;
    if (!name || !strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
        usage(name ? stdout : stderr);
        return name ? EXIT_OK : EXIT_USAGE;
    }
    if (!strcmp(name, "--version")) {
        puts("vmreplica " VR_VERSION);
        return EXIT_OK;
    }
    c.argv++;
    c.argc--;
    for (size_t i = 0; i < VR_ARRAY_LEN(verbs); i++) {
        if (strcmp(verbs[i].name, name) != 0)
            continue;
        if (asks_for_help(&c)) {
            printf("Usage: vmreplica %s\n%s\n%s", verbs[i].usage, verbs[i].text,
                   cli_option_help(name));
            return EXIT_OK;
        }
        struct vr_err err = VR_ERR_INIT;
        if (cli_connect(&c, &err) < 0)
            return cli_fail(&err);
        cli_asked(&c); /* what was said so far was of this host */
        int rc = verbs[i].run(&c);
        wsmc_free(c.local);
        return written(rc);
    }
    fprintf(stderr, "vmreplica: unknown command '%s'; vmreplica --help lists them\n", name);
    return EXIT_USAGE;
}
