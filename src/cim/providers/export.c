/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Recovery points that are open for reading: Vmr_PointExport, ExportPoint of
 * Vmr_ReplicationStatus, and what they forbid. Control thread only. src:[schema/vmreplica.mof] */
#include "cim/providers/prov.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define P(n) CIM_P_VMR_POINTEXPORT_##n

const char *host_export_socket(const struct host_export *x, size_t i, char out[HOST_SOCKET_MAX])
{
    snprintf(out, HOST_SOCKET_MAX, "%.*s/%.*s.sock", 60, x->folder, VR_TARGET_MAX - 1,
             x->target[i]);
    return out;
}

size_t vm_exports(const struct host_providers *p, const struct host_export *const **ret)
{
    *ret = NULL;
    return p->h->exports ? p->h->exports(p->h->ctx, ret) : 0;
}

/* ---- instances ---- */
static bool emit(const struct host_providers *p, const struct host_export *x, struct cim_sink *sink)
{
    struct cim_inst *in = cim_inst_new(CIM_C_VMR_POINTEXPORT);
    char id[PROV_ID_MAX], guid[VR_UUID_STR], socket[HOST_SOCKET_MAX];
    struct vm vm;

    cim_inst_set_str(in, P(INSTANCEID), vr_uuid_fmt_upper(&x->id, guid));
    cim_inst_set_str(in, P(MACHINENAME), vm_find(p, &x->machine, &vm) ? vm.name : NULL);
    cim_inst_set_str(in, P(MACHINEIDENTIFIER), vr_uuid_fmt_upper(&x->machine, guid));
    cim_inst_set_str(in, P(POINTID), id_point_text(id, &x->point));
    cim_inst_set_bool(in, P(READY), x->ready && !x->busy);
    cim_inst_set_strv(in, P(TARGETS), NULL, 0);
    cim_inst_set_strv(in, P(URIS), NULL, 0);
    for (size_t i = 0; i < x->n_disks; i++) {
        vr_autofree char *uri =
            vr_printf("nbd+unix:///?socket=%s", host_export_socket(x, i, socket));
        cim_inst_add_str(in, P(TARGETS), x->target[i]);
        cim_inst_add_str(in, P(URIS), uri);
    }
    return cim_emit(sink, in);
}

static enum cim_status enumerate(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                 struct vr_err *err)
{
    const struct host_providers *p = ctx;
    const struct host_export *const *v;
    size_t n = vm_exports(p, &v);

    for (size_t i = 0; i < n; i++)
        if (!emit(p, v[i], sink))
            break;
    return CIM_S_OK;
}

/* ---- what they forbid ---- */
int call_admit_exports(struct call *c, const struct vm *vm, enum rel_event_type ev,
                       struct vr_err *err)
{
    const struct host_export *const *v;
    size_t n = (ev == EV_U_REMOVE || ev == EV_U_ABANDON) ? vm_exports(c->p, &v) : 0;

    for (size_t i = 0; i < n; i++)
        if (vr_uuid_eq(&v[i]->machine, &vm->uuid))
            return vr_fail(err, VR_E_STATE, 0,
                           "%s is not possible: a recovery point of %s is open for reading; close "
                           "it first (vmreplica export %s --close)",
                           rel_event_text(ev), vm->name, vm->name);
    return 0;
}

/* ---- methods ---- */
int status_export(struct call *c, const struct vm *vm, struct vr_err *err)
{
    const struct host *h = c->p->h;
    const char *id = cim_args_str(c->args, "PointId");
    const struct store_point *pt = id ? vm_point_held(c->p, vm, id) : NULL;
    struct vr_uuid export, job;
    char guid[VR_UUID_STR];

    if (!h->export_open)
        return call_unsupported(c, err);
    if (rel_mode(vm->rel) != REL_MODE_REPLICA && !pt)
        return vr_fail(err, VR_E_STATE, 0,
                       "machine %s has no %srecovery point%s here: they are held on the replica",
                       vm->name, id ? "such " : "", id ? "" : "s");
    if (id && !pt)
        return vr_fail(err, VR_E_INVAL, 0, "\"%.80s\" is no recovery point of machine %s", id,
                       vm->name);
    if (h->export_open(h->ctx, &vm->uuid, pt ? &pt->id : NULL, c->who->name, &export, &job, err) <
        0)
        return -1;
    cim_value_put_str(cim_args_at(c->args, "ExportId"), vr_uuid_fmt_upper(&export, guid));
    call_job(c, &job);
    return 0;
}

static int close_export(struct call *c, struct vr_err *err)
{
    const struct host *h = c->p->h;
    struct vr_uuid id, job;

    if (vr_uuid_parse(cim_inst_str(c->target, P(INSTANCEID)), &id, err) < 0 ||
        h->export_close(h->ctx, &id, c->who->name, &job, err) < 0)
        return -1;
    call_job(c, &job);
    return 0;
}

static const struct method methods[] = {
    { CIM_M_VMR_POINTEXPORT_CLOSE, CIM_ROLE_OPERATOR, close_export },
};

static enum cim_status invoke(void *ctx, const struct cim_caller *who, const struct cim_inst *in,
                              const struct cim_method *m, struct cim_args *args, uint32_t *ret,
                              struct vr_err *err)
{
    return prov_dispatch(ctx, who, in, m, args, methods, VR_ARRAY_LEN(methods), ret, err);
}

void prov_register_export(struct cim_server *s, struct host_providers *p)
{
    cim_server_register(
        s, &(struct cim_provider){
               .cls = CIM_C_VMR_POINTEXPORT, .ctx = p, .enumerate = enumerate, .invoke = invoke });
}
