/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Msvm_ReplicationRelationship: every machine has the first one, a replica also the second, which
 * is always off here. Control thread only. src:[contract.md A.5, section 0 rule 1] */
#include "cim/providers/prov.h"

#define P(n) CIM_P_MSVM_REPLICATIONRELATIONSHIP_##n

static bool emit_one(const struct vm *vm, int n, struct cim_sink *sink)
{
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_REPLICATIONRELATIONSHIP);
    const struct rel *r = vm->rel;
    uint16_t state = n ? 0 : rel_cim_state(r);
    char id[PROV_ID_MAX];

    cim_inst_set_str(in, P(INSTANCEID), id_hvr(id, vm->guid, n));
    cim_inst_set_uint(in, P(REPLICATIONSTATE), state);
    cim_inst_set_uint(in, P(REPLICATIONHEALTH), n ? 0 : vm_health(vm));
    cim_inst_set_uint(in, P(FAILEDOVERREPLICATIONTYPE),
                      state == 5 || state == 6 ? rel_failover_type(r) : VR_POINT_NONE);
    cim_inst_set_uint(in, P(LASTREPLICATIONTYPE), n ? VR_POINT_NONE : r->last_kind);
    if (!n) {
        cim_inst_set_time(in, P(LASTREPLICATIONTIME), r->last_time);
        cim_inst_set_time(in, P(LASTAPPLICATIONCONSISTENTREPLICATIONTIME), r->last_app_time);
        /* A point is applied when it is acknowledged. */
        cim_inst_set_time(in, P(LASTAPPLYTIME), r->last_time);
    }
    return cim_emit(sink, in);
}

static bool emit_relationships(const struct host_providers *p, const struct vm *vm,
                               struct cim_sink *sink)
{
    if (!emit_one(vm, 0, sink))
        return false;
    return rel_mode(vm->rel) != REL_MODE_REPLICA || emit_one(vm, 1, sink);
}

static enum cim_status enumerate(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                 struct vr_err *err)
{
    return each_vm(ctx, sink, emit_relationships);
}

static enum cim_status get(void *ctx, const struct cim_caller *who, const struct cim_path *path,
                           struct cim_inst **ret, struct vr_err *err)
{
    return get_vm(ctx, path, emit_relationships, ret, err);
}

static const struct cim_watchable watchable = { .key = P(INSTANCEID) };

void prov_register_relationship(struct cim_server *s, struct host_providers *p)
{
    cim_server_register(s, &(struct cim_provider){ .cls = CIM_C_MSVM_REPLICATIONRELATIONSHIP,
                                                   .ctx = p,
                                                   .enumerate = enumerate,
                                                   .get = get,
                                                   .watch = &watchable });
}
