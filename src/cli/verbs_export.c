/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmreplica export: read what a recovery point holds without starting a machine of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/cli.h"

static int exports_of(struct cli *c, const struct cli_vm *vm, struct wsmc_list *l,
                      struct vr_err *err)
{
    vr_autofree char *q =
        vr_printf("SELECT * FROM Vmr_PointExport WHERE MachineIdentifier = '%s'", vm->guid);
    return wsmc_query(c->local, WSMC_NS_OURS, q, l, err);
}

/* ---- opening ---- */
static void warn_of(struct cli *c, const struct wsmc_inst *export)
{
    struct wsmc_key key = { "InstanceID", wsmc_str(export, "PointId") };
    struct wsmc_ref ref = {
        .ns = WSMC_NS_OURS, .cls = "Vmr_RecoveryPoint", .keys = &key, .n_keys = 1
    };
    vr_auto(wsmc_inst_free) struct wsmc_inst *point = NULL;
    struct vr_err none = VR_ERR_INIT;
    if (wsmc_get(c->local, &ref, &point, &none) < 0)
        return;
    const char *quarantine = cli_text_or(point, "Quarantine", "none");
    if (!strcmp(quarantine, "quarantined") || !strcmp(quarantine, "released"))
        fprintf(stderr,
                "WARNING: %s blocks of this recovery point are known to be wrong; see: vmreplica "
                "points\n",
                cli_text_or(point, "WrongBlocks", "some"));
    if (!strcmp(cli_text_or(point, "Kind", ""), "orphan"))
        cli_say(c, "It is what the old primary had written and nobody received.");
}

static void print_export(struct cli *c, const struct cli_vm *vm, const struct wsmc_inst *in)
{
    const struct wsmc_prop *targets = wsmc_prop(in, "Targets"), *uris = wsmc_prop(in, "URIs");
    size_t n = targets && uris && targets->n == uris->n ? uris->n : 0;
    cli_say(c,
            "Recovery point %s of %s can be read on %s, by root:", cli_text_or(in, "PointId", "?"),
            vm->name, c->host ? c->host : "this host");
    for (size_t i = 0; i < n; i++)
        printf("%s  %s\n", targets->v[i], uris->v[i]);
    if (n)
        cli_say(c, "For example: nbdcopy '%s' %s.raw", uris->v[0], targets->v[0]);
    cli_say(c, "It stays as it is until: vmreplica export %s --close", vm->name);
}

static int open_point(struct cli *c, const struct cli_vm *vm, const char *point, struct vr_err *err)
{
    struct wsmc_key key = { "InstanceID", vm->rel_id };
    struct wsmc_ref ref = {
        .ns = WSMC_NS_OURS, .cls = "Vmr_ReplicationStatus", .keys = &key, .n_keys = 1
    };
    struct wsmc_arg a = { .name = "PointId", .value = point };
    vr_auto(wsmc_inst_free) struct wsmc_inst *out = NULL;
    vr_auto(wsmc_inst_free) struct wsmc_inst *export = NULL;
    if (cli_invoke(c, c->local, &ref, "ExportPoint", &a, point ? 1 : 0, NULL, &out, err) < 0)
        return -1;
    if (c->no_wait)
        return 0;
    struct wsmc_key id = { "InstanceID", wsmc_str(out, "ExportId") };
    struct wsmc_ref it = { .ns = WSMC_NS_OURS, .cls = "Vmr_PointExport", .keys = &id, .n_keys = 1 };
    if (!id.value)
        return vr_fail(err, VR_E_PROTO, 0, "the daemon did not say what it opened");
    if (wsmc_get(c->local, &it, &export, err) < 0)
        return -1;
    warn_of(c, export);
    if (c->json)
        cli_json(&(struct wsmc_list){ .v = &export, .n = 1 });
    else
        print_export(c, vm, export);
    return 0;
}

/* ---- listing ---- */
static int list_open(struct cli *c, const struct cli_vm *vm, struct vr_err *err)
{
    wsmc_autolist struct wsmc_list l = { 0 };
    if (exports_of(c, vm, &l, err) < 0)
        return -1;
    if (c->json) {
        cli_json(&l);
        return 0;
    }
    if (!l.n)
        cli_say(c, "No recovery point of %s is open for reading.", vm->name);
    for (size_t i = 0; i < l.n; i++) {
        const struct wsmc_prop *t = wsmc_prop(l.v[i], "Targets"), *u = wsmc_prop(l.v[i], "URIs");
        const char *point = cli_text_or(l.v[i], "PointId", "?");
        bool ready = wsmc_bool(l.v[i], "Ready");
        printf("%s%s\n", point, ready ? "" : "  cannot be read at the moment");
        for (size_t k = 0; ready && t && u && k < t->n && k < u->n; k++)
            printf("  %s  %s\n", t->v[k], u->v[k]);
        if (!ready)
            cli_print(stdout, "  To serve it again: vmreplica export %s --point %s\n", vm->name,
                      point);
    }
    return 0;
}

/* ---- closing ---- */
static int close_all(struct cli *c, const struct cli_vm *vm, const char *point, struct vr_err *err)
{
    __attribute__((cleanup(wsmc_list_done))) struct wsmc_list l = { 0 };
    size_t closed = 0;
    if (exports_of(c, vm, &l, err) < 0)
        return -1;
    for (size_t i = 0; i < l.n; i++) {
        struct wsmc_key id = { "InstanceID", wsmc_str(l.v[i], "InstanceID") };
        struct wsmc_ref it = {
            .ns = WSMC_NS_OURS, .cls = "Vmr_PointExport", .keys = &id, .n_keys = 1
        };
        if (point && strcmp(cli_text_or(l.v[i], "PointId", ""), point) != 0)
            continue;
        if (cli_invoke(c, c->local, &it, "Close", NULL, 0, NULL, NULL, err) < 0)
            return -1;
        closed++;
    }
    if (point && !closed)
        return vr_fail(err, VR_E_NOTFOUND, 0, "recovery point %s of %s is not open", point,
                       vm->name);
    cli_say(c,
            closed ? "No recovery point of %s is open for reading there any more."
                   : "No recovery point of %s is open for reading.",
            vm->name);
    return 0;
}

int verb_export(struct cli *c)
{
    const char *args[2], *point = NULL;
    bool end = false, list = false;
    const struct cli_option o[] = { { .name = "point", .value = &point },
                                    { .name = "close", .flag = &end },
                                    { .name = "list", .flag = &list } };
    struct cli_vm vm;
    struct vr_err err = VR_ERR_INIT;
    if (cli_parse(c, "export", o, VR_ARRAY_LEN(o), args, 1, 1) < 0 || (list && (end || point)))
        return cli_usage("export");
    if (cli_find_vm(c->local, args[0], &vm, &err) < 0)
        return cli_fail(&err);
    int rc = list  ? list_open(c, &vm, &err)
             : end ? close_all(c, &vm, point, &err)
                   : open_point(c, &vm, point, &err);
    return rc < 0 ? cli_fail(&err) : EXIT_OK;
}
