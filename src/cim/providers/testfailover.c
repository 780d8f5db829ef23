/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Test failover: TestReplicaSystem, DestroySystem, and what the other files need to know about test
 * machines. Control thread only. src:[contract.md A.9, A.16, B.3, B.5, C.2, C.5] */
#include "cim/providers/network.h"
#include "cim/providers/prov.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

/* ---- looking ---- */
size_t vm_tests(const struct host_providers *p, const struct host_test **ret)
{
    *ret = NULL;
    return p->h->tests ? p->h->tests(p->h->ctx, ret) : 0;
}

const struct host_test *vm_as_test(const struct host_providers *p, const struct vr_uuid *uuid)
{
    const struct host_test *v;
    size_t n = vm_tests(p, &v);

    for (size_t i = 0; i < n; i++)
        if (vr_uuid_eq(&v[i].uuid, uuid))
            return &v[i];
    return NULL;
}

const struct host_test *vm_test_of(const struct host_providers *p, const struct vr_uuid *machine)
{
    const struct host_test *v;
    size_t n = vm_tests(p, &v);

    for (size_t i = 0; i < n; i++)
        if (vr_uuid_eq(&v[i].machine, machine))
            return &v[i];
    return NULL;
}

const struct host_test *vm_test_of_job(const struct host_providers *p, const struct vr_uuid *job)
{
    const struct host_test *v;
    size_t n = vm_tests(p, &v);

    for (size_t i = 0; i < n; i++)
        if (v[i].ready && vr_uuid_eq(&v[i].job, job))
            return &v[i];
    return NULL;
}

uint16_t vm_mode(const struct host_providers *p, const struct vm *vm)
{
    return vm_as_test(p, &vm->uuid) ? REL_MODE_TEST : (uint16_t)rel_mode(vm->rel);
}

void vm_set_tests(const struct host_providers *p, const struct vm *vm, struct cim_inst *in,
                  int property)
{
    const struct host_test *v;
    size_t n = vm_tests(p, &v);
    char guid[VR_UUID_STR];

    cim_inst_set_strv(in, property, NULL, 0);
    for (size_t i = 0; i < n; i++)
        if (vr_uuid_eq(&v[i].machine, &vm->uuid))
            cim_inst_add_str(in, property, vr_uuid_fmt_upper(&v[i].uuid, guid));
}

char *vm_explain_tests(const struct host_providers *p, const struct vm *vm)
{
    const struct host_test *t = vm_as_test(p, &vm->uuid);
    char id[PROV_ID_MAX];
    struct vm of;

    if (t) {
        bool known = vm_find(p, &t->machine, &of);
        return vr_printf("The machine is a test of %s at point %s; it ends with: vmreplica test "
                         "%s --end",
                         known ? of.name : "a replica", id_point_text(id, &t->point),
                         known ? of.name : vm->name);
    }
    t = vm_test_of(p, &vm->uuid);
    if (!t)
        return NULL;
    return vr_printf("Test machine \"%s\" shows point %s; it ends with: vmreplica test %s --end",
                     t->name, id_point_text(id, &t->point), vm->name);
}

/* ---- what a test forbids. src:[contract.md B.3] A failover is not among it: a disaster does not
 * wait until somebody has tidied up, and a test stands on a point that no failover changes. ---- */
int call_admit_tests(struct call *c, const struct vm *vm, enum rel_event_type ev,
                     struct vr_err *err)
{
    const struct host_test *t = vm_as_test(c->p, &vm->uuid);

    if (t)
        return vr_fail(err, VR_E_STATE, 0, "machine %s is a test and is not replicated", vm->name);
    t = vm_test_of(c->p, &vm->uuid);
    if (t && (ev == EV_U_REMOVE || ev == EV_U_ABANDON))
        return vr_fail(err, VR_E_STATE, 0,
                       "%s is not possible: there is a test machine of %s; end the test first "
                       "(vmreplica test %s --end)",
                       rel_event_text(ev), vm->name, vm->name);
    return 0;
}

/* TestReplicaSystem is for the states that Hyper-V has it in; recovery points can be tested
 * whenever they are there. src:[contract.md B.3] */
static bool testable(const struct rel *r, bool strict)
{
    return strict ? r->st == ST_R_REPL || r->st == ST_R_SUSP : rel_follows(r);
}

static int may_test(struct call *c, const struct vm *vm, bool strict, bool another,
                    struct vr_err *err)
{
    const struct job *j = engine_running_job(c->p->h->engine, &vm->uuid);
    const struct host_test *t = vm_test_of(c->p, &vm->uuid);

    if (!c->p->h->test_create)
        return call_unsupported(c, err);
    if (rel_mode(vm->rel) == REL_MODE_NONE)
        return vr_fail(
            err, VR_E_STATE, 0,
            "machine %s is not replicated, so there is no recovery point to test; first: "
            "vmreplica enable %s --to HOST",
            vm->name, vm->name);
    if (rel_mode(vm->rel) != REL_MODE_REPLICA)
        return vr_fail(
            err, VR_E_STATE, 0,
            "machine %s is no replica here but the primary (\"%s\"); its recovery points "
            "are tested where they are held: vmreplica --host %s test %s",
            vm->name, rel_state_text(vm->rel->st), vm->rel->peer[0] ? vm->rel->peer : "HOST",
            vm->name);
    if (j)
        return vr_fail(err, VR_E_BUSY, 0, "another operation of machine %s is still running (%s)",
                       vm->name, job_caption(j->type));
    if (!testable(vm->rel, strict))
        return vr_fail(err, VR_E_STATE, 0,
                       "a test of machine %s is not possible in state \"%s\": it must be "
                       "replicating or suspended; see: vmreplica explain %s",
                       vm->name, rel_state_text(vm->rel->st), vm->name);
    if (!vm->rel->has_newest)
        return vr_fail(err, VR_E_STATE, 0, "machine %s has no recovery point yet", vm->name);
    if (t && !t->ready)
        return vr_fail(err, VR_E_BUSY, 0, "a test of machine %s is being made or ended", vm->name);
    if (t && !another)
        return vr_fail(err, VR_E_STATE, 0,
                       "there is a test machine of %s already; end it first (vmreplica test %s "
                       "--end), or have one more (vmreplica test %s --another)",
                       vm->name, vm->name, vm->name);
    return 0;
}

/* ---- methods ---- */
/* @network: for all adapters; NULL: what is set for each. src:[contract.md A.14] */
static int begin(struct call *c, const struct vm *vm, const char *point, const char *network,
                 struct vr_err *err)
{
    const struct store_point *pt = point ? vm_point(c->p, vm, point) : NULL;
    const struct host *h = c->p->h;
    vr_autofree struct hv_nic_net *nets = NULL;
    struct vr_uuid job;
    size_t n = network ? 0 : vm_test_networks(c->p, vm, &nets);

    if (point && !pt)
        return vr_fail(err, VR_E_INVAL, 0, "\"%.80s\" is no recovery point of machine %s", point,
                       vm->name);
    if (network) {
        nets = vr_new0(1, sizeof *nets);
        if (strlen(network) >= VR_NAME_MAX)
            return vr_fail(err, VR_E_INVAL, 0, "\"%.60s\" is no name of a network", network);
        snprintf(nets[n++].network, VR_NAME_MAX, "%s", network);
    }
    if (h->test_create(h->ctx, &vm->uuid, pt ? &pt->id : NULL, nets, n, c->who->name, &job, err) <
        0)
        return -1;
    call_job(c, &job);
    return 0;
}

int svc_test(struct call *c, struct vr_err *err)
{
    const struct cim_path *ref = cim_args_ref(c->args, "SnapshotSettingData");
    struct vm vm;

    if (call_vm(c, &vm, err) < 0 || may_test(c, &vm, true, false, err) < 0)
        return -1;
    const char *id = ref ? cim_path_key(ref, "InstanceID") : NULL;
    return begin(c, &vm, ref ? id ? id : "" : NULL, NULL, err);
}

/* TestFailover of Vmr_ReplicationStatus: what TestReplicaSystem cannot express. */
int status_test(struct call *c, const struct vm *vm, struct vr_err *err)
{
    const struct cim_value *v = cim_args_at(c->args, "Another");
    bool another = v && cim_value_bool(v, false);

    if (may_test(c, vm, false, another, err) < 0)
        return -1;
    return begin(c, vm, cim_args_str(c->args, "PointId"), cim_args_str(c->args, "Network"), err);
}

/* DMTF codes: 1 not supported, 2 failed, 4 invalid parameter, 5 invalid state. Only test machines
 * are destroyed here. src:[contract.md B.5] */
static uint32_t destroy(struct call *c, struct vr_err *err)
{
    const struct cim_path *ref = cim_args_ref(c->args, "AffectedSystem");
    const struct host *h = c->p->h;
    const char *name = ref ? cim_path_key(ref, "Name") : NULL;
    struct vr_uuid uuid, job;
    struct vm vm;

    if (!name || vr_uuid_parse(name, &uuid, NULL) < 0) {
        vr_fail(err, VR_E_INVAL, 0, "AffectedSystem must name a machine");
        return 4;
    }
    const struct host_test *t = vm_as_test(c->p, &uuid);
    bool found = vm_find(c->p, &uuid, &vm);
    if (!t) {
        vr_fail(err, VR_E_UNSUPPORTED, 0,
                found ? "machine %.60s is no test machine; others are removed with virsh undefine"
                      : "there is no machine %.60s on this host",
                found ? vm.name : name);
        return found ? 1 : 4;
    }
    if (found && vm.hv && vm.hv->power != HV_POWER_OFF) {
        vr_fail(err, VR_E_STATE, 0, "test machine %s must be turned off first", vm.name);
        return 5;
    }
    if (h->test_destroy(h->ctx, &uuid, c->who->name, &job, err) < 0)
        return err->kind == VR_E_BUSY ? 5 : 2;
    call_job(c, &job);
    return c->code;
}

int vsms_destroy(struct call *c, struct vr_err *err)
{
    struct vr_err why = VR_ERR_INIT;

    (void)err;
    c->code = destroy(c, &why);
    if (why.kind != VR_OK) {
        prov_refused(c->p, c->who, why.msg);
        vr_log(VR_LOG_INFO, "DestroySystem refused with %u: %s", c->code, why.msg);
    }
    return 0;
}

/* ---- Msvm_ReplicaSystemDependency ---- */
static enum cim_status enum_dependency(void *ctx, const struct cim_caller *who,
                                       struct cim_sink *sink, struct vr_err *err)
{
    const struct host_providers *p = ctx;
    const struct host_test *v;
    size_t n = vm_tests(p, &v);
    char guid[VR_UUID_STR];

    for (size_t i = 0; i < n; i++) {
        if (!v[i].ready)
            continue;
        struct cim_inst *in = cim_inst_new(CIM_C_MSVM_REPLICASYSTEMDEPENDENCY);
        vr_auto(cim_path_free) struct cim_path *of =
            path_system(vr_uuid_fmt_upper(&v[i].machine, guid));
        vr_auto(cim_path_free) struct cim_path *test =
            path_system(vr_uuid_fmt_upper(&v[i].uuid, guid));
        cim_inst_set_ref(in, CIM_P_MSVM_REPLICASYSTEMDEPENDENCY_ANTECEDENT, of);
        cim_inst_set_ref(in, CIM_P_MSVM_REPLICASYSTEMDEPENDENCY_DEPENDENT, test);
        if (!cim_emit(sink, in))
            break;
    }
    return CIM_S_OK;
}

void prov_register_testfailover(struct cim_server *s, struct host_providers *p)
{
    cim_server_register(s, &(struct cim_provider){ .cls = CIM_C_MSVM_REPLICASYSTEMDEPENDENCY,
                                                   .ctx = p,
                                                   .enumerate = enum_dependency });
}
