/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Methods of the service that make, change, start and end relationships. Control thread only.
 * src:[contract.md B.2, C.1] */
#include "cim/providers/prov.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

int svc_create(struct call *c, struct vr_err *err)
{
    struct rel_event ev = { .type = EV_U_CREATE };
    vr_auto(cim_inst_free) struct cim_inst *in = NULL;
    const struct host_peer *peer;
    struct vm vm;
    int n;

    if (call_vm(c, &vm, err) < 0 || settings_parse(c, &vm, &in, &n, err) < 0)
        return -1;
    if (rel_mode(vm.rel) == REL_MODE_REPLICA)
        return vr_fail(
            err, VR_E_UNSUPPORTED, 0,
            "machine %s is a replica here (\"%s\"); replicating it on to a third host is "
            "not supported. What can be done: vmreplica explain %s",
            vm.name, rel_state_text(vm.rel->st), vm.name);
    if (n)
        return call_rel1(&vm, err);
    if (!vm.hv)
        return vr_fail(err, VR_E_UNAVAIL, 0, "the hypervisor does not know machine %s", vm.name);
    if (call_admit(c, &vm, &ev, err) < 0)
        return -1;
    if (cim_inst_uint(in, CIM_P_MSVM_REPLICATIONSETTINGDATA_AUTHENTICATIONTYPE, 0) == 1 &&
        !kerberos_name(c->p->h, err))
        return call_failed_job(c, JOB_CREATE, &vm.uuid, err);
    if (settings_of(c, &vm, in, SETTINGS_CREATE, &ev.set, &peer, err) < 0)
        return err->kind == VR_E_NOTFOUND ? call_failed_job(c, JOB_CREATE, &vm.uuid, err) : -1;
    if (settings_disks(&vm, in, &ev, err) < 0)
        return -1;
    snprintf(ev.peer, sizeof ev.peer, "%s", peer->name);
    snprintf(ev.name, sizeof ev.name, "%s", vm.name);
    ev.lineage = vr_uuid_new();
    return call_request(c, &vm, &ev, JOB_CREATE, err);
}

/* IncludedDisks, if it is given, names the disks that are to be replicated from now on. */
static int other_disks(const struct vm *vm, const struct cim_inst *in, struct rel_event *ev,
                       struct vr_err *err)
{
    const struct cim_value *v = cim_inst_value(in, CIM_P_MSVM_REPLICATIONSETTINGDATA_INCLUDEDDISKS);

    ev->n_disks = 0;
    return v->is_null ? 0 : settings_disks(vm, in, ev, err);
}

int svc_modify(struct call *c, struct vr_err *err)
{
    struct rel_event ev = { .type = EV_U_MODIFY };
    vr_auto(cim_inst_free) struct cim_inst *in = NULL;
    const struct host_peer *peer;
    struct vm vm;

    if (settings_of_call(c, &vm, &in, err) < 0)
        return -1;
    if (rel_mode(vm.rel) == REL_MODE_REPLICA)
        return vr_fail(err, VR_E_STATE, 0,
                       "machine %s is a replica here (\"%s\"); its settings are changed where it "
                       "is the primary: vmreplica --host %s set %s",
                       vm.name, rel_state_text(vm.rel->st), vm.rel->peer[0] ? vm.rel->peer : "HOST",
                       vm.name);
    if (call_admit(c, &vm, &ev, err) < 0 ||
        settings_of(c, &vm, in, SETTINGS_MODIFY, &ev.set, &peer, err) < 0 ||
        other_disks(&vm, in, &ev, err) < 0)
        return -1;
    return call_request(c, &vm, &ev, JOB_MODIFY, err);
}

int svc_remove(struct call *c, struct vr_err *err)
{
    struct rel_event ev = { .type = EV_U_REMOVE };
    struct vm vm;
    int n = 0;

    if (call_vm(c, &vm, err) < 0)
        return -1;
    if (cim_args_at(c->args, "ReplicationRelationship") && call_relationship(c, &vm, &n, err) < 0)
        return -1;
    if (n)
        return call_rel1(&vm, err);
    return call_admit_request(c, &vm, &ev, JOB_REMOVE, err);
}

int svc_start(struct call *c, struct vr_err *err)
{
    struct rel_event ev = { .type = EV_U_START_IR };
    uint64_t type = cim_args_uint(c->args, "InitialReplicationType", 0);
    const char *where = cim_args_str(c->args, "InitialReplicationExportLocation");
    struct vm vm;

    if (call_vm(c, &vm, err) < 0)
        return -1;
    if (type < 1 || type > 3)
        return vr_fail(err, VR_E_INVAL, 0,
                       "InitialReplicationType must be 1 (network), 2 (export) or 3 (seeded)");
    if (type == 2)
        return vr_fail(err, VR_E_UNSUPPORTED, 0,
                       "an initial copy by export is not supported; use type 1 or 3");
    if (where && *where)
        return vr_fail(err, VR_E_INVAL, 0,
                       "InitialReplicationExportLocation is only for an export");
    if (call_start_time(c, &ev.start_at, err) < 0)
        return -1;
    if (rel_mode(vm.rel) == REL_MODE_REPLICA)
        return call_rel1_begin(&vm, err);
    ev.seeded = type == 3;
    return call_admit_request(c, &vm, &ev, ev.seeded ? JOB_START_SEEDED : JOB_START_IR, err);
}

int svc_resync(struct call *c, struct vr_err *err)
{
    struct rel_event ev = { .type = EV_U_RESYNC };
    struct vm vm;

    if (call_vm(c, &vm, err) < 0 || call_start_time(c, &ev.start_at, err) < 0)
        return -1;
    if (rel_mode(vm.rel) == REL_MODE_REPLICA)
        return call_rel1_begin(&vm, err);
    return call_admit_request(c, &vm, &ev, JOB_RESYNC, err);
}
