/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* set --add-disk, --remove-disk: another set of replicated disks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "cli/cli.h"

enum { AGAIN_MS = 300, STATE_UPDATE = 15, STATE_UPDATE_CRITICAL = 16 };

/* The target in "...Microsoft:GUID\vda\L", also where backslashes are doubled; "" if there is none.
 */
static void target_of(const char *included, char out[32])
{
    char text[512];
    size_t n = 0;
    for (const char *s = included; *s && n + 1 < sizeof text; s++)
        if (n == 0 || *s != '\\' || text[n - 1] != '\\')
            text[n++] = *s;
    text[n] = 0;
    char *end = strrchr(text, '\\');
    out[0] = 0;
    if (!end)
        return;
    *end = 0;
    char *start = strrchr(text, '\\');
    if (start)
        snprintf(out, 32, "%s", start + 1);
}

bool cli_same_disk(const struct wsmc_inst *d, const char *name)
{
    const char *path = wsmc_str(d, "HostResource"), *id = wsmc_str(d, "InstanceID");
    char target[32];
    target_of(id ? id : "", target);
    return (path && !strcmp(path, name)) || !strcmp(target, name) || (id && !strcasecmp(id, name));
}

/* Is it the disk with this target? */
static bool has_target(const struct wsmc_inst *d, const char *target)
{
    char own[32];
    target_of(cli_text_or(d, "InstanceID", ""), own);
    return !strcmp(own, target);
}

static bool is_of(const struct wsmc_inst *d, const struct cli_vm *vm)
{
    const char *id = wsmc_str(d, "InstanceID");
    vr_autofree char *prefix = vr_printf("Microsoft:%s\\", vm->guid);
    return id && !strncasecmp(id, prefix, strlen(prefix));
}

/* The machine's disk that somebody calls @name, NULL if it has none. */
static const struct wsmc_inst *find(const struct wsmc_list *l, const struct cli_vm *vm,
                                    const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (is_of(l->v[i], vm) && cli_same_disk(l->v[i], name))
            return l->v[i];
    return NULL;
}

/* Is @name this replicated disk? The machine may not have it any more. */
static bool is_named(const struct wsmc_list *l, const struct cli_vm *vm, const char *target,
                     const char *name)
{
    const struct wsmc_inst *d = find(l, vm, name);
    return !strcmp(target, name) || (d && has_target(d, target));
}

static int add(struct cli_disks *s, const struct cli_vm *vm, const char *name, struct vr_err *err)
{
    const struct wsmc_inst *d = find(&s->all, vm, name);
    char target[32];
    if (!d)
        return vr_fail(err, VR_E_INVAL, 0, "machine %s has no disk '%s'", vm->name, name);
    for (size_t i = 0; i < s->n; i++) {
        target_of(s->ids[i], target);
        if (has_target(d, target))
            return vr_fail(err, VR_E_INVAL, 0, "disk %s of machine %s is replicated already", name,
                           vm->name);
    }
    if (s->n == CLI_DISKS_MAX)
        return vr_fail(err, VR_E_LIMIT, 0, "more than %d disks", CLI_DISKS_MAX);
    s->ids[s->n++] = wsmc_str(d, "InstanceID");
    return 0;
}

int cli_disks(struct cli *c, const struct cli_vm *vm, const char *const *added,
              const char *const *removed, struct cli_disks *s, struct vr_err *err)
{
    struct wsmc_key key = { "InstanceID", vm->rel_id };
    struct wsmc_ref ref = { .cls = "Msvm_ReplicationSettingData", .keys = &key, .n_keys = 1 };
    bool used[CLI_DISKS_MAX + 1] = { false };
    if (wsmc_enumerate(c->local, NULL, "Msvm_StorageAllocationSettingData", &s->all, err) < 0 ||
        wsmc_get(c->local, &ref, &s->settings, err) < 0)
        return -1;
    const struct wsmc_prop *now = wsmc_prop(s->settings, "IncludedDisks");
    for (size_t i = 0; now && i < now->n && i < CLI_DISKS_MAX; i++) {
        char target[32];
        bool gone = false;
        target_of(now->v[i], target);
        for (size_t k = 0; removed[k]; k++)
            if (is_named(&s->all, vm, target, removed[k]))
                gone = used[k] = true;
        if (!gone)
            s->ids[s->n++] = now->v[i];
    }
    for (size_t k = 0; removed[k]; k++)
        if (!used[k])
            return vr_fail(err, VR_E_INVAL, 0, "disk '%s' of machine %s is not replicated",
                           removed[k], vm->name);
    for (size_t k = 0; added[k]; k++)
        if (add(s, vm, added[k], err) < 0)
            return -1;
    if (!s->n)
        return vr_fail(err, VR_E_INVAL, 0, "machine %s has no disk left to replicate", vm->name);
    return 0;
}

void cli_disks_done(struct cli_disks *s)
{
    wsmc_list_done(&s->all);
    wsmc_inst_free(s->settings);
}

int cli_disks_wait(struct cli *c, const struct cli_vm *vm, struct vr_err *err)
{
    struct cli_vm now = *vm;
    while (!c->no_wait) {
        if (cli_find_vm(c->local, vm->guid, &now, err) < 0)
            return -1;
        if (now.state != STATE_UPDATE)
            break;
        if (cli_interrupted())
            return vr_fail(err, VR_E_CANCELLED, 0,
                           "the change of the disks of %s goes on (vmreplica status %s)", vm->name,
                           vm->name);
        cli_sleep_ms(AGAIN_MS);
    }
    if (now.state == STATE_UPDATE_CRITICAL)
        return vr_fail(err, VR_E_STATE, 0,
                       "the disks of %s could not be changed; why, and what to do: vmreplica "
                       "explain %s",
                       vm->name, vm->name);
    if (c->no_wait)
        return 0;
    if (now.state == 3)
        cli_say(c, "The newest recovery point of %s has these disks; earlier ones keep theirs.",
                vm->name);
    else if (now.state == 2)
        cli_say(c, "The initial copy of %s goes on with these disks.", vm->name);
    else
        cli_say(c, "It takes effect when replication of %s goes on.", vm->name);
    return 0;
}
