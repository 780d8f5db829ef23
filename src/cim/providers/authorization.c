/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Authorization entries: which primaries may replicate to this host, where their replicas are
 * stored, and which entry a replica is bound to. Control thread only. src:[contract.md A.4, B.1] */
#include "cim/providers/prov.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "cim/cimxml.h"

#define P(n) CIM_P_MSVM_REPLICATIONAUTHORIZATIONSETTINGDATA_##n

struct cim_path *path_entry(const struct host_providers *p, const struct cim_inst *entry)
{
    vr_autofree char *id = vr_printf("Microsoft:%s\\HVRAuthorization\\%s", p->h->name,
                                     cim_inst_str(entry, P(ALLOWEDPRIMARYHOSTSYSTEM)));

    return cim_path_of(CIM_C_MSVM_REPLICATIONAUTHORIZATIONSETTINGDATA, id);
}

static enum cim_status enumerate(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                 struct vr_err *err)
{
    const struct host_providers *p = ctx;
    const struct cim_inst *entry;

    for (size_t i = 0; (entry = hostset_at(p->h->set, HOSTSET_ENTRY, i)) != NULL; i++) {
        struct cim_inst *in = cim_inst_dup(entry);
        vr_auto(cim_path_free) struct cim_path *path = path_entry(p, entry);
        cim_inst_set_str(in, P(INSTANCEID), cim_path_key(path, "InstanceID"));
        if (!cim_emit(sink, in))
            break;
    }
    return CIM_S_OK;
}

void prov_register_authorization(struct cim_server *s, struct host_providers *p)
{
    cim_server_register(
        s, &(struct cim_provider){ .cls = CIM_C_MSVM_REPLICATIONAUTHORIZATIONSETTINGDATA,
                                   .ctx = p,
                                   .enumerate = enumerate });
}

/* ---- checks ---- */
static int check_text(const char *prop, const char *s, size_t max, struct vr_err *err)
{
    if (!s || !*s)
        return vr_fail(err, VR_E_INVAL, 0, "%s must be given", prop);
    if (strlen(s) >= max)
        return vr_fail(err, VR_E_INVAL, 0, "%s is longer than %zu characters", prop, max - 1);
    for (const char *c = s; *c; c++)
        if ((unsigned char)*c < ' ')
            return vr_fail(err, VR_E_INVAL, 0, "%s has a control character in it", prop);
    return 0;
}

/* A host name, "*.domain" or "*". */
static int check_host(const char *s, struct vr_err *err)
{
    const char *name = s;

    if (check_text("AllowedPrimaryHostSystem", s, VR_NAME_MAX, err) < 0)
        return -1;
    if (!strcmp(s, "*"))
        return 0;
    if (!strncmp(s, "*.", 2))
        name = s + 2;
    bool ok = *name && *name != '.' && *name != '-';
    for (const char *c = name; *c; c++)
        ok = ok && (isalnum((unsigned char)*c) || strchr("-_.:", *c));
    if (ok)
        return 0;
    return vr_fail(err, VR_E_INVAL, 0,
                   "AllowedPrimaryHostSystem must be a host name, *.domain or *, not \"%.80s\"", s);
}

static int check_folder(const char *s, struct vr_err *err)
{
    if (check_text("ReplicaStorageLocation", s, PROV_FOLDER_MAX, err) < 0)
        return -1;
    size_t n = strlen(s);
    if (*s != '/' || n < 2 || strstr(s, "/../") || (n >= 3 && !strcmp(s + n - 3, "/..")))
        return vr_fail(err, VR_E_INVAL, 0,
                       "ReplicaStorageLocation must be the full path of a folder, not \"%.80s\"",
                       s);
    return 0;
}

static int parse_entry(struct call *c, struct cim_inst **ret, struct vr_err *err)
{
    static const int used[] = { P(ALLOWEDPRIMARYHOSTSYSTEM), P(TRUSTGROUP),
                                P(REPLICASTORAGELOCATION) };
    const char *text = cim_args_str(c->args, "AuthorizationEntry");

    if (!text || !*text)
        return vr_fail(err, VR_E_INVAL, 0, "AuthorizationEntry must be given");
    if (call_instance(c, text, cim_class_get(CIM_C_MSVM_REPLICATIONAUTHORIZATIONSETTINGDATA), used,
                      VR_ARRAY_LEN(used), ret, err) < 0)
        return vr_err_wrap(err, "AuthorizationEntry");
    return check_host(cim_inst_str(*ret, P(ALLOWEDPRIMARYHOSTSYSTEM)), err);
}

/* What is kept of an entry; the rest of the embedded instance is the client's. */
static int save_entry(struct call *c, const char *host, const char *group, const char *folder,
                      struct vr_err *err)
{
    vr_auto(cim_inst_free) struct cim_inst *in =
        cim_inst_new(CIM_C_MSVM_REPLICATIONAUTHORIZATIONSETTINGDATA);

    if (check_text("TrustGroup", group, VR_NAME_MAX, err) < 0 || check_folder(folder, err) < 0)
        return -1;
    cim_inst_set_str(in, P(ALLOWEDPRIMARYHOSTSYSTEM), host);
    cim_inst_set_str(in, P(TRUSTGROUP), group);
    cim_inst_set_str(in, P(REPLICASTORAGELOCATION), folder);
    return call_save_inst(c, HOSTSET_ENTRY, host, in, NULL, err);
}

/* ---- methods ---- */
int svc_add_entry(struct call *c, struct vr_err *err)
{
    const struct hostset *hs = c->p->h->set;
    vr_auto(cim_inst_free) struct cim_inst *in = NULL;

    if (parse_entry(c, &in, err) < 0)
        return -1;
    const char *host = cim_inst_str(in, P(ALLOWEDPRIMARYHOSTSYSTEM));
    if (hostset_inst(hs, HOSTSET_ENTRY, host))
        return vr_fail(err, VR_E_EXISTS, 0, "there is an authorization entry for %s already", host);
    if (hostset_inst(hs, HOSTSET_ENTRY, "*"))
        return vr_fail(err, VR_E_INVAL, 0,
                       "every host is allowed (entry *); remove that before naming hosts");
    if (!strcmp(host, "*") && hostset_at(hs, HOSTSET_ENTRY, 0))
        return vr_fail(err, VR_E_INVAL, 0,
                       "remove the entries that name hosts before allowing every host (*)");
    return save_entry(c, host, cim_inst_str(in, P(TRUSTGROUP)),
                      cim_inst_str(in, P(REPLICASTORAGELOCATION)), err);
}

static int existing(struct call *c, const char *host, const struct cim_inst **ret,
                    struct vr_err *err)
{
    *ret = hostset_inst(c->p->h->set, HOSTSET_ENTRY, host);
    if (*ret)
        return 0;
    return vr_fail(err, VR_E_NOTFOUND, 0, "there is no authorization entry for %.200s", host);
}

int svc_modify_entry(struct call *c, struct vr_err *err)
{
    vr_auto(cim_inst_free) struct cim_inst *in = NULL;
    const struct cim_inst *old;

    if (parse_entry(c, &in, err) < 0 ||
        existing(c, cim_inst_str(in, P(ALLOWEDPRIMARYHOSTSYSTEM)), &old, err) < 0)
        return -1;
#define NEW(i) cim_inst_str(cim_inst_is_seen(in, i) ? in : old, i)
    vr_autofree char *host = vr_strdup(cim_inst_str(old, P(ALLOWEDPRIMARYHOSTSYSTEM)));
    vr_autofree char *group = vr_strdup(NEW(P(TRUSTGROUP)));
    vr_autofree char *folder = vr_strdup(NEW(P(REPLICASTORAGELOCATION)));
#undef NEW
    return save_entry(c, host, group, folder, err);
}

/* Replicas bound to it are not received any more, unless another entry fits their primary. */
int svc_remove_entry(struct call *c, struct vr_err *err)
{
    const char *host = cim_args_str(c->args, "AllowedPrimaryHostSystem");
    const struct cim_inst *old;

    if (check_host(host, err) < 0 || existing(c, host, &old, err) < 0)
        return -1;
    vr_autofree char *id = vr_strdup(cim_inst_str(old, P(ALLOWEDPRIMARYHOSTSYSTEM)));
    return call_save(c, HOSTSET_ENTRY, id, NULL, NULL, err);
}

int svc_set_entry(struct call *c, struct vr_err *err)
{
    vr_auto(cim_inst_free) struct cim_inst *in = NULL;
    const struct cim_inst *entry;
    char id[VR_UUID_STR];
    struct vm vm;

    if (call_vm(c, &vm, err) < 0 || parse_entry(c, &in, err) < 0)
        return -1;
    if (rel_mode(vm.rel) != REL_MODE_REPLICA)
        return vr_fail(err, VR_E_STATE, 0, "machine %s is no replica", vm.name);
    if (rel_cim_state(vm.rel) == 12) /* src:[contract.md C.2] */
        return vr_fail(err, VR_E_STATE, 0, "machine %s is just being failed over", vm.name);
    if (existing(c, cim_inst_str(in, P(ALLOWEDPRIMARYHOSTSYSTEM)), &entry, err) < 0)
        return -1;
    return call_save(c, HOSTSET_BINDING, vr_uuid_fmt(&vm.uuid, id),
                     cim_inst_str(entry, P(ALLOWEDPRIMARYHOSTSYSTEM)), &vm.uuid, err);
}
