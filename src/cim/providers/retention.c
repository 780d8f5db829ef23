/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Vmr_Retention: how many recovery points of a machine are kept. The primary asks (it travels with
 * the settings), the replica has a floor. Control thread only. src:[schema/vmreplica.mof] */
#include "cim/providers/prov.h"

#include <inttypes.h>

#include "base/alloc.h"

#define P(n) CIM_P_VMR_RETENTION_##n

static bool emit(const struct host_providers *p, const struct vm *vm, struct cim_sink *sink)
{
    const struct rel *r = vm->rel;
    enum rel_mode mode = rel_mode(r);
    char id[PROV_ID_MAX];

    if (mode != REL_MODE_PRIMARY && mode != REL_MODE_REPLICA)
        return true;
    const struct rel_keep *k = &r->set.keep, *f = &r->floor;
    struct rel_keep all = rel_keep(r);
    if (mode == REL_MODE_REPLICA)
        all = rel_keep_most(all, p->h->floor);
    struct cim_inst *in = cim_inst_new(CIM_C_VMR_RETENTION);
    cim_inst_set_str(in, P(INSTANCEID), id_hvr(id, vm->guid, 0));
    cim_inst_set_str(in, P(MACHINENAME), vm->name);
    cim_inst_set_uint(in, P(EVERYSECONDS), k->every_s);
    cim_inst_set_uint(in, P(HOURLY), k->hourly);
    cim_inst_set_uint(in, P(DAILY), k->daily);
    cim_inst_set_uint(in, P(WEEKLY), k->weekly);
    cim_inst_set_uint(in, P(APPLICATIONINTERVALSECONDS), r->set.app_interval_s);
    cim_inst_set_uint(in, P(FLOOREVERYSECONDS), f->every_s);
    cim_inst_set_uint(in, P(FLOORHOURLY), f->hourly);
    cim_inst_set_uint(in, P(FLOORDAILY), f->daily);
    cim_inst_set_uint(in, P(FLOORWEEKLY), f->weekly);
    cim_inst_set_uint(in, P(EFFECTIVEEVERYSECONDS), all.every_s);
    cim_inst_set_uint(in, P(EFFECTIVEHOURLY), all.hourly);
    cim_inst_set_uint(in, P(EFFECTIVEDAILY), all.daily);
    cim_inst_set_uint(in, P(EFFECTIVEWEEKLY), all.weekly);
    return cim_emit(sink, in);
}

static enum cim_status enumerate(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                 struct vr_err *err)
{
    return each_vm(ctx, sink, emit);
}

static enum cim_status get(void *ctx, const struct cim_caller *who, const struct cim_path *path,
                           struct cim_inst **ret, struct vr_err *err)
{
    return get_vm(ctx, path, emit, ret, err);
}

static int target(const struct call *c, struct vm *ret, struct vr_err *err)
{
    struct vr_uuid uuid;
    int n;

    if (!id_hvr_parse(cim_inst_str(c->target, P(INSTANCEID)), &uuid, &n) ||
        !vm_find(c->p, &uuid, ret))
        return vr_fail(err, VR_E_UNAVAIL, 0, "the machine is gone");
    return 0;
}

static uint16_t number(const struct call *c, const char *name, uint16_t now)
{
    uint64_t n = cim_args_uint(c->args, name, now);
    return n > UINT16_MAX ? UINT16_MAX : (uint16_t)n;
}

static uint32_t seconds(const struct call *c, const char *name, uint32_t now)
{
    uint64_t n = cim_args_uint(c->args, name, now);
    return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

static void overlay(const struct call *c, struct rel_keep *k)
{
    k->every_s = seconds(c, "EverySeconds", k->every_s);
    k->hourly = number(c, "Hourly", k->hourly);
    k->daily = number(c, "Daily", k->daily);
    k->weekly = number(c, "Weekly", k->weekly);
}

static int set_retention(struct call *c, struct vr_err *err)
{
    struct rel_event ev = { .type = EV_U_MODIFY };
    struct vr_uuid job;
    struct vm vm;

    if (target(c, &vm, err) < 0)
        return -1;
    if (rel_mode(vm.rel) == REL_MODE_REPLICA)
        return vr_fail(err, VR_E_STATE, 0,
                       "machine %s is the replica here: the primary %s says what is kept; what is "
                       "kept here in any case is the floor (vmreplica retention %s --floor ...)",
                       vm.name, vm.rel->peer, vm.name);
    if (call_admit(c, &vm, &ev, err) < 0)
        return -1;
    ev.set = vm.rel->set;
    overlay(c, &ev.set.keep);
    ev.set.app_interval_s = seconds(c, "ApplicationIntervalSeconds", ev.set.app_interval_s);
    if (rel_settings_check(&ev.set, err) < 0)
        return -1;
    return engine_request(c->p->h->engine, &vm.uuid, &ev, JOB_MODIFY, c->who->name, &job, err);
}

static int set_floor(struct call *c, struct vr_err *err)
{
    struct vm vm;

    if (target(c, &vm, err) < 0)
        return -1;
    if (rel_mode(vm.rel) != REL_MODE_REPLICA)
        return vr_fail(err, VR_E_STATE, 0,
                       "machine %s is no replica here: a floor is set on the host that holds the "
                       "recovery points",
                       vm.name);
    struct rel_keep floor = vm.rel->floor;
    overlay(c, &floor);
    return engine_set_floor(c->p->h->engine, &vm.uuid, &floor, err);
}

static const struct method methods[] = {
    { CIM_M_VMR_RETENTION_SETRETENTION, CIM_ROLE_ADMIN, set_retention },
    { CIM_M_VMR_RETENTION_SETFLOOR, CIM_ROLE_ADMIN, set_floor },
};

static enum cim_status invoke(void *ctx, const struct cim_caller *who, const struct cim_inst *in,
                              const struct cim_method *m, struct cim_args *args, uint32_t *ret,
                              struct vr_err *err)
{
    return prov_dispatch(ctx, who, in, m, args, methods, VR_ARRAY_LEN(methods), ret, err);
}

void prov_register_retention(struct cim_server *s, struct host_providers *p)
{
    cim_server_register(s, &(struct cim_provider){ .cls = CIM_C_VMR_RETENTION,
                                                   .ctx = p,
                                                   .enumerate = enumerate,
                                                   .get = get,
                                                   .invoke = invoke });
}
