/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* status and verify. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cli/cli.h"

/* Is it the id of that machine, "Microsoft:UUID\HVR\0"? */
static bool has_uuid(const char *id, const char *uuid)
{
    const char *colon = id ? strchr(id, ':') : NULL;
    size_t n = strlen(uuid);
    return colon && !strncasecmp(colon + 1, uuid, n) && colon[1 + n] == '\\';
}

/* Keep the relationships that concern @name (all when NULL) and that exist at all. */
static void select_rows(struct wsmc_list *l, const char *name)
{
    size_t kept = 0;
    for (size_t i = 0; i < l->n; i++) {
        const char *vm = wsmc_str(l->v[i], "MachineName"), *id = wsmc_str(l->v[i], "InstanceID");
        const char *role = cli_text_or(l->v[i], "Role", "none");
        bool mine = !name || (vm && !strcmp(vm, name)) || has_uuid(id, name);
        if (mine && (strcmp(role, "none") != 0 || name) && !(id && strstr(id, "\\HVR\\1")))
            l->v[kept++] = l->v[i];
        else
            wsmc_inst_free(l->v[i]);
    }
    l->n = kept;
}

/* ReplicationHealth: what Microsoft's tools know. */
static unsigned health_of(const struct wsmc_list *rels, const char *id)
{
    for (size_t i = 0; i < rels->n; i++) {
        const char *rid = wsmc_str(rels->v[i], "InstanceID");
        if (rid && id && !strcasecmp(rid, id)) {
            uint64_t h = wsmc_uint(rels->v[i], "ReplicationHealth", 0);
            return h < 4 ? (unsigned)h : 0;
        }
    }
    return 0;
}

static bool is_critical(const struct wsmc_prop *levels, size_t i)
{
    return levels && i < levels->n && !strcmp(levels->v[i], "3");
}

/* What those tools have no words for is critical all the same. */
static const char *worst_of(const struct wsmc_list *rels, const struct wsmc_inst *s)
{
    static const char *const names[] = { "-", "ok", "warning", "critical" };
    const struct wsmc_prop *levels = wsmc_prop(s, "ReasonLevels");
    for (size_t i = 0; levels && i < levels->n; i++)
        if (is_critical(levels, i))
            return names[3];
    return names[health_of(rels, wsmc_str(s, "InstanceID"))];
}

struct row_text {
    char age[32], progress[80];
};

static void fill_row(const struct wsmc_inst *s, const struct wsmc_list *rels, struct row_text *t,
                     const char **cells)
{
    char a[32], b[32];
    cells[0] = cli_text_or(s, "MachineName", "-");
    cells[1] = cli_text_or(s, "Role", "-");
    cells[2] = cli_text_or(s, "PeerName", "-");
    cells[3] = cli_text_or(s, "State", "-");
    cells[4] = worst_of(rels, s);
    cells[5] =
        wsmc_str(s, "NewestPointTime") ? cli_age(wsmc_uint(s, "DataAgeSeconds", 0), t->age) : "-";
    uint64_t total = wsmc_uint(s, "BytesTotal", 0), done = wsmc_uint(s, "BytesDone", 0);
    if (total)
        snprintf(t->progress, sizeof t->progress, "%s of %s (%" PRIu64 " %%)", cli_bytes(done, a),
                 cli_bytes(total, b), done * 100 / total);
    else if (wsmc_uint(s, "LastCycleMilliseconds", 0))
        snprintf(t->progress, sizeof t->progress, "last: %s changed, %s sent, %.1f s",
                 cli_bytes(wsmc_uint(s, "LastCycleBytes", 0), a),
                 cli_bytes(wsmc_uint(s, "LastCycleWireBytes", 0), b),
                 (double)wsmc_uint(s, "LastCycleMilliseconds", 0) / 1000);
    else
        snprintf(t->progress, sizeof t->progress, "-");
    cells[6] = t->progress;
}

/* One machine: the whole story, which names the reasons and the last error, too. Several: a line
 * for each trouble, and for a machine that is off. */
static void explain(const struct wsmc_list *l, const struct wsmc_list *rels)
{
    for (size_t i = 0; i < l->n; i++) {
        const struct wsmc_prop *why = wsmc_prop(l->v[i], "HealthReasons");
        const char *err = wsmc_str(l->v[i], "LastError"), *text = wsmc_str(l->v[i], "Explanation");
        if (l->n == 1 && text && *text) {
            vr_autofree char *local = cli_local_text(text);
            printf("%s\n", local);
            continue;
        }
        const struct wsmc_prop *names = wsmc_prop(l->v[i], "Reasons");
        const struct wsmc_prop *texts = wsmc_prop(l->v[i], "ReasonTexts");
        const struct wsmc_prop *levels = wsmc_prop(l->v[i], "ReasonLevels");
        bool unheard = health_of(rels, wsmc_str(l->v[i], "InstanceID")) < 3;
        for (size_t k = 0; names && texts && k < names->n && k < texts->n; k++)
            if ((unheard && is_critical(levels, k)) ||
                !strcmp(names->v[k], "off")) /* no trouble, but nobody would look for it */
                cli_print(stdout, "%s: %s\n", cli_text_or(l->v[i], "MachineName", "?"),
                          texts->v[k]);
        for (size_t k = 0; why && k < why->n; k++)
            cli_print(stdout, "%s: %s\n", cli_text_or(l->v[i], "MachineName", "?"), why->v[k]);
        if (err && *err)
            cli_print(stdout, "%s: last error: %s\n", cli_text_or(l->v[i], "MachineName", "?"),
                      err);
    }
}

static int show_status(struct cli *c, const char *name, bool watch, struct vr_err *err)
{
    wsmc_autolist struct wsmc_list l = { 0 };
    wsmc_autolist struct wsmc_list rels = { 0 };
    if (wsmc_enumerate(c->local, WSMC_NS_OURS, "Vmr_ReplicationStatus", &l, err) < 0 ||
        wsmc_enumerate(c->local, NULL, "Msvm_ReplicationRelationship", &rels, err) < 0)
        return -1;
    select_rows(&l, name);
    if (name && !l.n)
        return vr_fail(err, VR_E_NOTFOUND, 0, "there is no machine '%s' on this host", name);
    if (c->json) {
        (watch ? cli_json_line : cli_json)(&l);
        return 0;
    }
    if (!l.n) {
        cli_say(c, "No machine is replicated. Begin with: vmreplica enable MACHINE --to HOST");
        return 0;
    }
    vr_autofree const char **cells = vr_new0((l.n + 1) * 7, sizeof *cells);
    vr_autofree struct row_text *texts = vr_new0(l.n, sizeof *texts);
    static const char *const head[] = { "MACHINE", "ROLE", "PEER",    "STATE",
                                        "HEALTH",  "AGE",  "PROGRESS" };
    memcpy(cells, head, sizeof head);
    for (size_t i = 0; i < l.n; i++)
        fill_row(l.v[i], &rels, &texts[i], &cells[(i + 1) * 7]);
    cli_table(cells, 7, (unsigned)l.n + 1);
    explain(&l, &rels);
    return 0;
}

int verb_status(struct cli *c)
{
    const char *args[2];
    bool watch = false;
    const struct cli_option o[] = { { .name = "watch", .flag = &watch } };
    if (cli_parse(c, "status", o, 1, args, 0, 1) < 0)
        return cli_usage("status");
    do {
        struct vr_err err = VR_ERR_INIT;
        if (watch && !c->json && isatty(STDOUT_FILENO))
            fputs("\033[H\033[2J", stdout);
        if (show_status(c, args[0], watch, &err) < 0) {
            bool away = err.kind == VR_E_PEER || err.kind == VR_E_TIMEOUT;
            int status = cli_fail(&err);
            if (!watch || !away) /* whoever watches wants to see it come back */
                return status;
        }
        if (watch)
            cli_sleep_ms(1000);
    } while (watch && !cli_interrupted());
    return EXIT_OK;
}
