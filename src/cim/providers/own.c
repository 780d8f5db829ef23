/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Classes of our own: the host as a peer, its peers, recovery points. Control thread only.
 * src:[schema/vmreplica.mof] */
#include "cim/providers/prov.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define HOST(n) CIM_P_VMR_HOST_##n
#define PEER(n) CIM_P_VMR_PEER_##n
#define POINT(n) CIM_P_VMR_RECOVERYPOINT_##n

/* ---- host ---- */
static enum cim_status enum_host(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                 struct vr_err *err)
{
    const struct host_providers *p = ctx;
    struct cim_inst *in = cim_inst_new(CIM_C_VMR_HOST);

    cim_inst_set_str(in, HOST(HOSTNAME), p->h->name);
    cim_inst_set_str(in, HOST(VERSION), p->h->version);
    cim_inst_set_str(in, HOST(CERTIFICATETHUMBPRINT), p->h->thumb);
    cim_inst_set_uint(in, HOST(LISTENPORT), p->h->peer_port);
    if (p->h->kerberos_management)
        cim_inst_set_str(in, HOST(KERBEROSMANAGEMENT), p->h->kerberos_management(p->h->ctx));
    cim_emit(sink, in);
    return CIM_S_OK;
}

static int create_code(struct call *c, struct vr_err *err)
{
    const struct host *h = c->p->h;
    struct wall_us expires = { 0 };
    char code[64] = "";

    if (h->pair_code(h->ctx, code, &expires, err) < 0)
        return -1;
    struct cim_datetime dt = cim_datetime_at(expires);
    cim_value_put_str(cim_args_at(c->args, "Code"), code);
    cim_value_put_time(cim_args_at(c->args, "Expires"), &dt);
    return 0;
}

static int pair(struct call *c, struct vr_err *err)
{
    const struct host *h = c->p->h;
    const char *name = cim_args_str(c->args, "HostName");
    const char *code = cim_args_str(c->args, "Code");
    struct vr_uuid job;

    if (!name || !*name)
        return vr_fail(err, VR_E_INVAL, 0, "HostName must name the host to pair with");
    if (!code || !*code)
        return vr_fail(err, VR_E_INVAL, 0, "Code must be the one that host %.100s shows", name);
    if (h->pair(h->ctx, name, (uint16_t)cim_args_uint(c->args, "Port", 0), code, c->who->name, &job,
                err) < 0)
        return -1;
    call_job(c, &job);
    return 0;
}

static int unpair(struct call *c, struct vr_err *err)
{
    const struct host *h = c->p->h;
    const char *name = cim_args_str(c->args, "PeerName");

    if (!name || !*name)
        return vr_fail(err, VR_E_INVAL, 0, "PeerName must name a paired host");
    return h->unpair(h->ctx, name, err);
}

static int last_refusal(struct call *c, struct vr_err *err)
{
    const char *msg = prov_last_refusal(c->p, c->who);

    cim_value_put_str(cim_args_at(c->args, "Message"), *msg ? msg : NULL);
    return 0;
}

static const struct method methods[] = {
    { CIM_M_VMR_HOST_CREATEPAIRINGCODE, CIM_ROLE_ADMIN, create_code },
    { CIM_M_VMR_HOST_PAIR, CIM_ROLE_ADMIN, pair },
    { CIM_M_VMR_HOST_UNPAIR, CIM_ROLE_ADMIN, unpair },
    { CIM_M_VMR_HOST_LASTREFUSAL, CIM_ROLE_READER, last_refusal },
};

static enum cim_status invoke(void *ctx, const struct cim_caller *who,
                              const struct cim_inst *target, const struct cim_method *m,
                              struct cim_args *args, uint32_t *ret, struct vr_err *err)
{
    return prov_dispatch(ctx, who, target, m, args, methods, VR_ARRAY_LEN(methods), ret, err);
}

/* ---- peers ---- */
static enum cim_status enum_peers(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                  struct vr_err *err)
{
    const struct host_providers *p = ctx;
    const struct host_peer *v = NULL;
    size_t n = p->h->peers(p->h->ctx, &v);

    for (size_t i = 0; i < n; i++) {
        struct cim_inst *in = cim_inst_new(CIM_C_VMR_PEER);
        cim_inst_set_str(in, PEER(NAME), v[i].name);
        cim_inst_set_str(in, PEER(ADDRESS), v[i].address);
        cim_inst_set_uint(in, PEER(PORT), v[i].thumb[0] ? v[i].port : v[i].krb_port);
        cim_inst_set_str(in, PEER(THUMBPRINT), v[i].thumb[0] ? v[i].thumb : NULL);
        cim_inst_set_str(in, PEER(STATE), v[i].reachable ? "connected" : "unreachable");
        cim_inst_set_time(in, PEER(LASTSEEN), v[i].seen);
        if (!cim_emit(sink, in))
            break;
    }
    return CIM_S_OK;
}

/* ---- recovery points ---- */
static const char *const point_kinds[] = {
    [VR_POINT_NONE] = "standard",           [VR_POINT_STANDARD] = "standard",
    [VR_POINT_APPLICATION] = "application", [VR_POINT_PLANNED] = "planned",
    [VR_POINT_ORPHAN] = "orphan",
};

static const struct {
    unsigned bit;
    const char *text;
} reasons[] = {
    { STORE_WHY_NEWEST, "newest" },         { STORE_WHY_APP, "application" },
    { STORE_WHY_EVERY, "every" },           { STORE_WHY_HOURLY, "hourly" },
    { STORE_WHY_DAILY, "daily" },           { STORE_WHY_WEEKLY, "weekly" },
    { STORE_WHY_QUARANTINE, "quarantine" }, { STORE_WHY_ORPHAN, "orphan" },
};

static void set_retention(struct cim_inst *in, const struct store_point *pt)
{
    const char *why[VR_ARRAY_LEN(reasons) + 2];
    size_t n = 0;

    if (pt->pins & STORE_PIN_USER)
        why[n++] = "pinned";
    if (pt->pins & STORE_PIN_READ)
        why[n++] = "in use";
    for (size_t i = 0; i < VR_ARRAY_LEN(reasons); i++)
        if (pt->why & reasons[i].bit)
            why[n++] = reasons[i].text;
    cim_inst_set_bool(in, POINT(PINNED), pt->pins & STORE_PIN_USER);
    cim_inst_set_strv(in, POINT(KEPTBECAUSE), why, n);
    cim_inst_set_time(in, POINT(GOESAFTER), pt->goes);
}

static bool emit_points(const struct host_providers *p, const struct vm *vm, struct cim_sink *sink)
{
    const struct store_point *v;
    size_t n = vm_points_held(p, vm, &v);
    bool offers = rel_mode(vm->rel) == REL_MODE_REPLICA;
    const struct store_point *taken = offers ? store_newest_sound(v, n) : NULL;
    char id[PROV_ID_MAX], target[VR_TARGET_MAX];
    uint64_t size;

    for (size_t i = 0; i < n; i++) {
        struct cim_inst *in = cim_inst_new(CIM_C_VMR_RECOVERYPOINT);
        unsigned kind = v[i].kind < VR_ARRAY_LEN(point_kinds) ? v[i].kind : 0;
        cim_inst_set_str(in, POINT(INSTANCEID), id_point_text(id, &v[i].id));
        cim_inst_set_str(in, POINT(MACHINENAME), vm->name);
        cim_inst_set_str(in, POINT(MACHINEIDENTIFIER), vm->guid);
        cim_inst_set_time(in, POINT(TIME), v[i].instant);
        cim_inst_set_time(in, POINT(LASTWRITTEN), v[i].written);
        cim_inst_set_str(in, POINT(KIND), point_kinds[kind]);
        cim_inst_set_bool(in, POINT(TAKENBYFAILOVER), &v[i] == taken);
        cim_inst_set_uint(in, POINT(BYTES), v[i].bytes);
        for (size_t k = 0; vm_point_disk(vm, &v[i], k, target, &size); k++)
            cim_inst_add_str(in, POINT(DISKS), target);
        cim_inst_set_str(in, POINT(DIGEST), v[i].digest[0] ? v[i].digest : NULL);
        set_retention(in, &v[i]);
        proof_set_point(&v[i], in);
        if (!cim_emit(sink, in))
            return false;
    }
    return true;
}

static enum cim_status enum_points(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                   struct vr_err *err)
{
    return each_vm(ctx, sink, emit_points);
}

static enum cim_status get(void *ctx, const struct cim_caller *who, const struct cim_path *path,
                           struct cim_inst **ret, struct vr_err *err)
{
    return get_vm(ctx, path, emit_points, ret, err);
}

static int target_point(struct call *c, struct vm *vm, const struct store_point **ret,
                        struct vr_err *err)
{
    struct vr_uuid uuid;

    if (vr_uuid_parse(cim_inst_str(c->target, POINT(MACHINEIDENTIFIER)), &uuid, err) < 0 ||
        !vm_find(c->p, &uuid, vm))
        return vr_fail(err, VR_E_UNAVAIL, 0, "the machine is gone");
    *ret = vm_point_held(c->p, vm, cim_inst_str(c->target, POINT(INSTANCEID)));
    return *ret ? 0 : vr_fail(err, VR_E_STATE, 0, "the recovery point is gone");
}

static int release(struct call *c, struct vr_err *err)
{
    const struct store_point *pt;
    struct vm vm;

    return target_point(c, &vm, &pt, err) < 0 ? -1 : point_release(c, &vm, pt, err);
}

static int change_pin(struct call *c, bool on, struct vr_err *err)
{
    const struct host *h = c->p->h;
    const struct store_point *pt;
    struct vr_uuid job;
    struct vm vm;

    if (target_point(c, &vm, &pt, err) < 0)
        return -1;
    if (h->pin(h->ctx, &vm.uuid, &pt->id, on, c->who->name, &job, err) < 0)
        return -1;
    call_job(c, &job);
    return 0;
}

static int pin(struct call *c, struct vr_err *err)
{
    return change_pin(c, true, err);
}

static int unpin(struct call *c, struct vr_err *err)
{
    return change_pin(c, false, err);
}

static int discard(struct call *c, struct vr_err *err)
{
    const struct host *h = c->p->h;
    const struct store_point *pt;
    struct vr_uuid job;
    struct vm vm;

    if (target_point(c, &vm, &pt, err) < 0)
        return -1;
    if (pt->kind != VR_POINT_ORPHAN)
        return vr_fail(err, VR_E_STATE, 0,
                       "only orphan points are discarded; others go as retention says (vmreplica "
                       "retention %s)",
                       vm.name);
    if (!h->discard)
        return call_unsupported(c, err);
    if (h->discard(h->ctx, &vm.uuid, &pt->id, c->who->name, &job, err) < 0)
        return -1;
    call_job(c, &job);
    return 0;
}

static const struct method point_methods[] = {
    { CIM_M_VMR_RECOVERYPOINT_DISCARD, CIM_ROLE_ADMIN, discard },
    { CIM_M_VMR_RECOVERYPOINT_PIN, CIM_ROLE_OPERATOR, pin },
    { CIM_M_VMR_RECOVERYPOINT_UNPIN, CIM_ROLE_ADMIN, unpin },
    { CIM_M_VMR_RECOVERYPOINT_RELEASE, CIM_ROLE_OPERATOR, release },
};

static enum cim_status invoke_point(void *ctx, const struct cim_caller *who,
                                    const struct cim_inst *target, const struct cim_method *m,
                                    struct cim_args *args, uint32_t *ret, struct vr_err *err)
{
    return prov_dispatch(ctx, who, target, m, args, point_methods, VR_ARRAY_LEN(point_methods), ret,
                         err);
}

void prov_register_own(struct cim_server *s, struct host_providers *p)
{
    cim_server_register(
        s, &(struct cim_provider){
               .cls = CIM_C_VMR_HOST, .ctx = p, .enumerate = enum_host, .invoke = invoke });
    cim_server_register(
        s, &(struct cim_provider){ .cls = CIM_C_VMR_PEER, .ctx = p, .enumerate = enum_peers });
    cim_server_register(s, &(struct cim_provider){ .cls = CIM_C_VMR_RECOVERYPOINT,
                                                   .ctx = p,
                                                   .enumerate = enum_points,
                                                   .get = get,
                                                   .invoke = invoke_point });
}
