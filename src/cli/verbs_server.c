/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Commands about this host as a receiver of replicas: what it accepts, from whom, where to. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/alloc.h"
#include "cli/cli.h"

#define SETTINGS "Msvm_ReplicationServiceSettingData"
#define ENTRY "Msvm_ReplicationAuthorizationSettingData"

static const struct wsmc_ref service = { .cls = "Msvm_ReplicationService" };

static int is_yes(const char *text)
{
    static const char *const yes[] = { "yes", "on", "true" }, *const no[] = { "no", "off",
                                                                              "false" };
    for (size_t i = 0; i < VR_ARRAY_LEN(yes); i++) {
        if (!strcmp(text, yes[i]))
            return 1;
        if (!strcmp(text, no[i]))
            return 0;
    }
    return -1;
}

/* "18:30" local time as seconds of the day in UTC, -1 if it is none. */
static long start_of_window(const char *text)
{
    unsigned h, m;
    char rest;
    time_t now = time(NULL);
    struct tm tm;
    if (sscanf(text, "%2u:%2u%c", &h, &m, &rest) != 2 || h > 23 || m > 59 ||
        !localtime_r(&now, &tm))
        return -1;
    return ((long)(h * 3600 + m * 60) - tm.tm_gmtoff + 2 * 86400) % 86400;
}

static const struct {
    const char *word, *type;
} auth_words[] = { { "certificate", "2" }, { "kerberos", "1" }, { "both", "3" } };

static void show_settings(const struct wsmc_inst *in)
{
    bool on = !strcasecmp(cli_text_or(in, "RecoveryServerEnabled", "false"), "true");
    const char *type = cli_text_or(in, "AllowedAuthenticationType", "0"), *word = "-";
    for (unsigned i = 0; on && i < VR_ARRAY_LEN(auth_words); i++)
        if (!strcmp(type, auth_words[i].type))
            word = auth_words[i].word;
    printf("receives replicas: %s\nauthentication:    %s\nport:              %s\n"
           "Kerberos port:     %s\nstatistics:        windows of %lu h\n",
           on ? "yes" : "no", word, cli_text_or(in, "HttpsPort", "-"),
           cli_text_or(in, "HttpPort", "-"),
           strtoul(cli_text_or(in, "MonitoringInterval", "0"), NULL, 10) / 3600);
}

static int show_server(struct cli *c, struct vr_err *err)
{
    wsmc_autolist struct wsmc_list l = { 0 }, host = { 0 };
    if (wsmc_enumerate(c->local, NULL, SETTINGS, &l, err) < 0 ||
        (!c->json && wsmc_enumerate(c->local, WSMC_NS_OURS, "Vmr_Host", &host, err) < 0))
        return -1;
    if (c->json) {
        cli_json(&l);
        return 0;
    }
    for (size_t i = 0; i < l.n; i++)
        show_settings(l.v[i]);
    for (size_t i = 0; i < host.n; i++)
        printf("managed by Kerberos: %s\n", cli_text_or(host.v[i], "KerberosManagement", "-"));
    return 0;
}

const char *cli_auth_type(const char *word)
{
    for (unsigned i = 0; i < VR_ARRAY_LEN(auth_words); i++)
        if (!strcmp(word, auth_words[i].word) && i < 2)
            return auth_words[i].type;
    fputs("vmreplica: --auth takes certificate or kerberos\n", stderr);
    return NULL;
}

/* AllowedAuthenticationType of a word; NULL if it is none. */
static const char *allowed_type(const char *word)
{
    for (unsigned i = 0; i < VR_ARRAY_LEN(auth_words); i++)
        if (!strcmp(word, auth_words[i].word))
            return auth_words[i].type;
    return NULL;
}

int verb_server(struct cli *c)
{
    const char *args[1], *receive = NULL, *port = NULL, *hours = NULL, *start = NULL, *auth = NULL,
                         *kport = NULL;
    const struct cli_option o[] = { { .name = "receive", .value = &receive },
                                    { .name = "auth", .value = &auth },
                                    { .name = "port", .value = &port, .number = true },
                                    { .name = "kerberos-port", .value = &kport, .number = true },
                                    { .name = "window-hours", .value = &hours, .number = true },
                                    { .name = "window-start", .value = &start } };
    struct vr_err err = VR_ERR_INIT;
    struct wsmc_arg p[8];
    char seconds[24], since[32];
    size_t n = 0;
    if (cli_parse(c, "server", o, VR_ARRAY_LEN(o), args, 0, 0) < 0)
        return cli_usage("server");
    int on = receive ? is_yes(receive) : 0;
    long at = start ? start_of_window(start) : 0;
    const char *type = auth ? allowed_type(auth) : "2";
    if (on < 0 || at < 0 || !type || (auth && receive && !on)) {
        fputs("vmreplica: --receive takes yes or no, --auth (not with no) certificate, kerberos or "
              "both, --window-start a time such as 09:00\n",
              stderr);
        return cli_usage("server");
    }
    if (receive || auth) { /* --auth says that this host receives */
        on = on || auth;
        p[n++] =
            (struct wsmc_arg){ .name = "RecoveryServerEnabled", .value = on ? "TRUE" : "FALSE" };
        p[n++] = (struct wsmc_arg){ .name = "AllowedAuthenticationType", .value = on ? type : "0" };
    }
    if (kport)
        p[n++] = (struct wsmc_arg){ .name = "HttpPort", .value = kport };
    if (port)
        p[n++] = (struct wsmc_arg){ .name = "HttpsPort", .value = port };
    if (hours) {
        snprintf(seconds, sizeof seconds, "%lu", strtoul(hours, NULL, 10) * 3600);
        p[n++] = (struct wsmc_arg){ .name = "MonitoringInterval", .value = seconds };
    }
    if (start) {
        snprintf(since, sizeof since, "00000000%02ld%02ld00.000000:000", at / 3600, at / 60 % 60);
        p[n++] = (struct wsmc_arg){ .name = "MonitoringStartTime", .value = since };
    }
    if (n) {
        vr_autofree char *xml = wsmc_make_cim_xml(SETTINGS, p, n);
        struct wsmc_arg a = { .name = "SettingData", .value = xml };
        if (cli_invoke(c, c->local, &service, "ModifyServiceSettings", &a, 1, NULL, NULL, &err) < 0)
            return cli_fail(&err);
        cli_say(c, "The settings of the host are changed.");
        return EXIT_OK;
    }
    return show_server(c, &err) < 0 ? cli_fail(&err) : EXIT_OK;
}

static int show_entries(struct cli *c, struct vr_err *err)
{
    wsmc_autolist struct wsmc_list l = { 0 };
    if (wsmc_enumerate(c->local, NULL, ENTRY, &l, err) < 0)
        return -1;
    if (c->json) {
        cli_json(&l);
        return 0;
    }
    if (!l.n) {
        cli_say(c, "Every paired host may replicate here.");
        return 0;
    }
    vr_autofree const char **cells = vr_new0((l.n + 1) * 3, sizeof *cells);
    static const char *const head[] = { "HOST", "GROUP", "STORAGE" };
    memcpy(cells, head, sizeof head);
    for (size_t i = 0; i < l.n; i++) {
        const char **r = &cells[(i + 1) * 3];
        r[0] = cli_text_or(l.v[i], "AllowedPrimaryHostSystem", "-");
        r[1] = cli_text_or(l.v[i], "TrustGroup", "-");
        r[2] = cli_text_or(l.v[i], "ReplicaStorageLocation", "-");
    }
    cli_table(cells, 3, (unsigned)l.n + 1);
    return 0;
}

/* Is there an entry for this host (in this spelling or another)? */
static int has_entry(struct cli *c, const char *host, bool *ret, struct vr_err *err)
{
    wsmc_autolist struct wsmc_list l = { 0 };
    if (wsmc_enumerate(c->local, NULL, ENTRY, &l, err) < 0)
        return -1;
    *ret = false;
    for (size_t i = 0; i < l.n; i++)
        *ret |= !strcasecmp(cli_text_or(l.v[i], "AllowedPrimaryHostSystem", ""), host);
    return 0;
}

int verb_allow(struct cli *c)
{
    const char *args[2], *group = NULL, *storage = NULL;
    const struct cli_option o[] = { { .name = "group", .value = &group },
                                    { .name = "storage", .value = &storage } };
    struct vr_err err = VR_ERR_INIT;
    bool there = false;
    if (cli_parse(c, "allow", o, VR_ARRAY_LEN(o), args, 0, 1) < 0)
        return cli_usage("allow");
    if (!args[0])
        return show_entries(c, &err) < 0 ? cli_fail(&err) : EXIT_OK;
    if (has_entry(c, args[0], &there, &err) < 0)
        return cli_fail(&err);
    if (!there && !storage) {
        fputs("vmreplica: --storage FOLDER is needed: where replicas from this host are kept\n",
              stderr);
        return cli_usage("allow");
    }
    struct wsmc_arg p[3] = { { .name = "AllowedPrimaryHostSystem", .value = args[0] } };
    size_t n = 1;
    if (group || !there)
        p[n++] = (struct wsmc_arg){ .name = "TrustGroup", .value = group ? group : "DEFAULT" };
    if (storage)
        p[n++] = (struct wsmc_arg){ .name = "ReplicaStorageLocation", .value = storage };
    vr_autofree char *xml = wsmc_make_cim_xml(ENTRY, p, n);
    struct wsmc_arg a = { .name = "AuthorizationEntry", .value = xml };
    if (cli_invoke(c, c->local, &service,
                   there ? "ModifyAuthorizationEntry" : "AddAuthorizationEntry", &a, 1, NULL, NULL,
                   &err) < 0)
        return cli_fail(&err);
    cli_say(c, "%s may replicate here.", strcmp(args[0], "*") ? args[0] : "Every paired host");
    return EXIT_OK;
}

int verb_deny(struct cli *c)
{
    const char *args[2];
    struct vr_err err = VR_ERR_INIT;
    if (cli_parse(c, "deny", NULL, 0, args, 1, 1) < 0)
        return cli_usage("deny");
    struct wsmc_arg a = { .name = "AllowedPrimaryHostSystem", .value = args[0] };
    if (cli_invoke(c, c->local, &service, "RemoveAuthorizationEntry", &a, 1, NULL, NULL, &err) < 0)
        return cli_fail(&err);
    cli_say(c, "The entry of %s is gone.", args[0]);
    return EXIT_OK;
}

/* The port that the host is known to have. */
static int port_of(struct cli *c, const char *host, bool kerberos, char out[8], struct vr_err *err)
{
    wsmc_autolist struct wsmc_list l = { 0 };
    if (wsmc_enumerate(c->local, WSMC_NS_OURS, "Vmr_Peer", &l, err) < 0)
        return -1;
    snprintf(out, 8, "%s", kerberos ? "80" : "8443");
    for (size_t i = 0; i < l.n; i++)
        if (kerberos == !wsmc_str(l.v[i], "Thumbprint") &&
            strcmp(cli_text_or(l.v[i], "Port", "0"), "0") != 0 &&
            (!strcasecmp(cli_text_or(l.v[i], "Name", ""), host) ||
             !strcasecmp(cli_text_or(l.v[i], "Address", ""), host)))
            snprintf(out, 8, "%s", cli_text_or(l.v[i], "Port", "8443"));
    return 0;
}

int verb_check(struct cli *c)
{
    const char *args[2], *port = NULL, *auth = "certificate";
    const struct cli_option o[] = { { .name = "port", .value = &port, .number = true },
                                    { .name = "auth", .value = &auth } };
    struct vr_err err = VR_ERR_INIT;
    char known[8];
    if (cli_parse(c, "check", o, VR_ARRAY_LEN(o), args, 1, 1) < 0)
        return cli_usage("check");
    const char *type = cli_auth_type(auth);
    if (!type)
        return cli_usage("check");
    if (!port && port_of(c, args[0], !strcmp(type, "1"), known, &err) < 0)
        return cli_fail(&err);
    struct wsmc_arg a[] = { { .name = "RecoveryConnectionPoint", .value = args[0] },
                            { .name = "RecoveryServerPortNumber", .value = port ? port : known },
                            { .name = "AuthenticationType", .value = type } };
    if (cli_invoke(c, c->local, &service, "TestReplicationConnection", a, VR_ARRAY_LEN(a), NULL,
                   NULL, &err) < 0)
        return cli_fail(&err);
    const struct cli_field all[] = { { "HostName", args[0], CLI_TEXT },
                                     { "Port", port ? port : known, CLI_NUMBER },
                                     { "Accepts", "true", CLI_BOOL } };
    if (c->json && !c->no_wait)
        cli_json_object(all, VR_ARRAY_LEN(all));
    cli_say(c, "Host %s is reached and accepts replicas from this one.", args[0]);
    return EXIT_OK;
}
