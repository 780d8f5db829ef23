/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Msvm_ComputerSystem: the host and its machines, their power and the state changes of their
 * relationships. Control thread only. src:[contract.md A.9, B.5] */
#include "cim/providers/prov.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/alloc.h"
#include "replication/step.h"

#define P(n) CIM_P_MSVM_COMPUTERSYSTEM_##n

/* ---- instances ---- */
static struct cim_inst *make(const char *name, const char *element, const char *caption,
                             const char *description)
{
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_COMPUTERSYSTEM);
    static const uint64_t ok[] = { 2 }, none[] = { 0 };
    static const char *const texts[] = { VM_STATUS_TEXT };

    cim_inst_set_str(in, P(CREATIONCLASSNAME), "Msvm_ComputerSystem");
    cim_inst_set_str(in, P(NAME), name);
    cim_inst_set_str(in, P(ELEMENTNAME), element);
    cim_inst_set_str(in, P(CAPTION), caption);
    cim_inst_set_str(in, P(DESCRIPTION), description);
    cim_inst_set_uintv(in, P(OPERATIONALSTATUS), ok, 1);
    cim_inst_set_strv(in, P(STATUSDESCRIPTIONS), texts, 1);
    cim_inst_set_str(in, P(STATUS), "OK");
    cim_inst_set_uintv(in, P(DEDICATED), none, 1);
    cim_inst_set_uint(in, P(ENHANCEDSESSIONMODESTATE), 3);
    return in;
}

/* src:[contract.md A.9 EnabledState] */
uint16_t vm_enabled_state(const struct vm *vm)
{
    if (!vm->hv)
        return 0;
    switch (vm->hv->power) {
    case HV_POWER_OFF:
        return vm->hv->saved ? 6 : 3;
    case HV_POWER_AWAY:
        return 3;
    case HV_POWER_RUNNING:
        return 2;
    case HV_POWER_PAUSED:
        return 9;
    case HV_POWER_SHUTTING_DOWN:
        return 4;
    case HV_POWER_OTHER:
        break;
    }
    return 0;
}

uint16_t vm_doing(const struct host_providers *p, const struct vm *vm, const char **ret_text)
{
    switch (vm->rel->st) {
    case ST_R_FAILING:
    case ST_R_REVERTING:
        *ret_text = "Applying a recovery point";
        return 32769;
    case ST_R_REMOVING:
        break;
    default:
        if (!p->h->merging || !p->h->merging(p->h->ctx, &vm->uuid))
            return 0;
    }
    *ret_text = "Merging disks";
    return 32772;
}

bool vm_uptime_ms(const struct vm *vm, uint64_t *ret)
{
    if (!vm->hv || vm->hv->power == HV_POWER_OTHER)
        return false;
    *ret = 0;
    if (vm->hv->power == HV_POWER_OFF || vm->hv->power == HV_POWER_AWAY)
        return true;
    int64_t now = vr_wall_now().us, since = vm->hv->started.us;
    if (since && now > since)
        *ret = (uint64_t)(now - since) / 1000;
    return since != 0;
}

/* What the hypervisor knows of it. */
static void set_machine(const struct vm *vm, struct cim_inst *in)
{
    uint64_t ms;

    cim_inst_set_uint(in, P(ENABLEDSTATE), vm_enabled_state(vm));
    if (!vm->hv)
        return;
    cim_inst_set_uint(in, P(NUMBEROFNUMANODES), vm->hv->numa_nodes);
    if (vm_uptime_ms(vm, &ms))
        cim_inst_set_uint(in, P(ONTIMEINMILLISECONDS), ms);
    if (vm->hv->pid)
        cim_inst_set_uint(in, P(PROCESSID), vm->hv->pid);
    cim_inst_set_time(in, P(TIMEOFLASTSTATECHANGE), vm->hv->changed);
    cim_inst_set_time(in, P(TIMEOFLASTCONFIGURATIONCHANGE), vm->hv->configured);
}

static bool emit_machine(const struct host_providers *p, const struct vm *vm, struct cim_sink *sink)
{
    struct cim_inst *in = make(vm->guid, vm->name, "Virtual Machine", "Microsoft Virtual Machine");
    const struct rel *r = vm->rel;
    uint16_t state = rel_cim_state(r);

    const char *text;
    uint16_t doing = vm_doing(p, vm, &text);

    set_machine(vm, in);
    if (doing) {
        cim_inst_add_uint(in, P(OPERATIONALSTATUS), doing);
        cim_inst_add_str(in, P(STATUSDESCRIPTIONS), text);
    }
    cim_inst_set_uint(in, P(REPLICATIONMODE), vm_mode(p, vm));
    cim_inst_set_uint(in, P(REPLICATIONSTATE), state);
    cim_inst_set_uint(in, P(REPLICATIONHEALTH), vm_health(vm));
    cim_inst_set_uint(in, P(FAILEDOVERREPLICATIONTYPE),
                      state == 5 || state == 6 ? rel_failover_type(r) : VR_POINT_NONE);
    cim_inst_set_uint(in, P(LASTREPLICATIONTYPE), r->last_kind);
    cim_inst_set_time(in, P(LASTREPLICATIONTIME), r->last_time);
    cim_inst_set_time(in, P(LASTAPPLICATIONCONSISTENTREPLICATIONTIME), r->last_app_time);
    return cim_emit(sink, in);
}

static bool emit_host(const struct host_providers *p, struct cim_sink *sink)
{
    struct cim_inst *host = make(p->h->name, p->h->name, "Hosting Computer System",
                                 "Microsoft Hosting Computer System");

    cim_inst_set_uint(host, P(REPLICATIONMODE), 0);
    cim_inst_set_uint(host, P(REPLICATIONSTATE), 0);
    cim_inst_set_uint(host, P(REPLICATIONHEALTH), 0);
    return cim_emit(sink, host);
}

static enum cim_status enumerate(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                 struct vr_err *err)
{
    if (!cim_sink_at(sink) && !emit_host(ctx, sink))
        return CIM_S_OK;
    return each_vm(ctx, sink, emit_machine);
}

static void emit_host_only(void *ctx, struct cim_sink *sink)
{
    emit_host(ctx, sink);
}

static enum cim_status get(void *ctx, const struct cim_caller *who, const struct cim_path *path,
                           struct cim_inst **ret, struct vr_err *err)
{
    const struct host_providers *p = ctx;
    const char *name = cim_path_key(path, "Name");

    if (name && !strcasecmp(name, p->h->name))
        return cim_pick(path, emit_host_only, ctx, ret, err);
    return get_vm(ctx, path, emit_machine, ret, err);
}

static const int quiet[] = { P(ONTIMEINMILLISECONDS) };
static const struct cim_watchable watchable = { .key = P(NAME),
                                                .quiet = quiet,
                                                .n_quiet = VR_ARRAY_LEN(quiet) };

/* ---- methods ---- */
static int target(struct call *c, struct vm *vm, struct vr_err *err)
{
    const char *name = cim_inst_str(c->target, P(NAME));

    if (!strcasecmp(name, c->p->h->name))
        return vr_fail(err, VR_E_UNSUPPORTED, 0, "this is for machines, not for the host itself");
    vr_auto(cim_path_free) struct cim_path *path = cim_inst_path(c->target);
    return vm_of_ref(c->p, path, vm, err);
}

/* What was prepared cannot always be taken back: the other host may run the machine by now. */
static int may_not_before_cancel(const struct vm *vm, struct vr_err *err)
{
    const struct rel_event cancel = { .type = EV_U_REVERT };
    struct rel next;
    uint32_t fx;
    if (rel_step(vm->rel, &cancel, &next, &fx, err) < 0) {
        err->kind = VR_E_STATE;
        return vr_err_wrap(err, "machine %s cannot be started here", vm->name);
    }
    return vr_fail(err, VR_E_STATE, 0,
                   "machine %s is prepared for a planned failover to %s; to start it here, first: "
                   "vmreplica cancel %s",
                   vm->name, vm->rel->peer, vm->name);
}

/* May the machine be started as far as replication goes? src:[contract.md C.1, C.2 "Start VM",
 * section 0 rule 10] */
static int may_start(const struct vm *vm, struct vr_err *err)
{
    const char *peer = vm->rel->peer[0] ? vm->rel->peer : "its primary";

    switch (vm->rel->st) {
    case ST_P_PREPARING:
    case ST_P_PREPARED:
        return may_not_before_cancel(vm, err);
    case ST_P_YIELDING:
        return vr_fail(err, VR_E_STATE, 0,
                       "the disks of machine %s are just becoming a replica; it can be started "
                       "after a failover (see: vmreplica status %s)",
                       vm->name, vm->name);
    case ST_R_CREATING:
    case ST_R_WAIT:
    case ST_R_REPL:
    case ST_R_SUSP:
    case ST_R_IR_SUSP:
    case ST_R_CRIT:
    case ST_R_IR_CRIT:
    case ST_R_RESYNC:
    case ST_R_UPDATE:
    case ST_R_RESYNC_SUSP:
    case ST_R_FAILING:
    case ST_R_REVERTING:
    case ST_R_REMOVING:
        return vr_fail(err, VR_E_STATE, 0,
                       "machine %s is the replica of one on %s; it can be started after a failover",
                       vm->name, peer);
    default:
        return 0;
    }
}

static int power_action(const struct vm *vm, uint64_t wanted, enum hv_action *ret,
                        struct vr_err *err)
{
    enum hv_power now = vm->hv->power;

    switch (wanted) {
    case 2:
        *ret = now == HV_POWER_PAUSED ? HV_UNPAUSE : HV_START;
        return may_start(vm, err);
    case 3:
        *ret = HV_FORCE_OFF;
        return 0;
    case 4:
        *ret = HV_SHUTDOWN;
        if (!vm->hv->saved)
            return 0;
        return vr_fail(err, VR_E_STATE, 0,
                       "machine %s is saved, not off, and cannot be shut down like this. Start it "
                       "first, or discard what it had in memory (vmreplica shutdown %s --force)",
                       vm->name, vm->name);
    case 9:
        *ret = HV_PAUSE;
        break;
    case 10:
        *ret = HV_REBOOT;
        break;
    case 11:
        *ret = HV_RESET;
        break;
    case 6:
        *ret = HV_SAVE;
        break;
    case 7:
    case 8:
        return vr_fail(err, VR_E_UNSUPPORTED, 0, "RequestedState %u is not supported",
                       (unsigned)wanted);
    default:
        return vr_fail(err, VR_E_INVAL, 0, "RequestedState %u is not one that can be asked for",
                       (unsigned)wanted);
    }
    if (now == HV_POWER_OFF)
        return vr_fail(err, VR_E_STATE, 0, "machine %s is off", vm->name);
    return 0;
}

/* An operator, and each paired host is one, acts on what is protected and its test machines only.
 */
static int may_act(const struct call *c, const struct vm *vm, struct vr_err *err)
{
    if (c->who->role >= CIM_ROLE_ADMIN || vm->rel->st != ST_NONE || vm_as_test(c->p, &vm->uuid))
        return 0;
    return vr_fail(err, VR_E_DENIED, 0,
                   "machine %s is not replicated; what happens to it is for an administrator",
                   vm->name);
}

static int request_state(struct call *c, struct vr_err *err)
{
    const struct host *h = c->p->h;
    enum hv_action action = HV_START;
    struct vr_uuid job;
    struct vm vm;

    if (target(c, &vm, err) < 0 || may_act(c, &vm, err) < 0)
        return -1;
    if (!vm.hv)
        return vr_fail(err, VR_E_UNAVAIL, 0,
                       "the hypervisor does not know machine %s, or cannot be reached", vm.name);
    if (power_action(&vm, cim_args_uint(c->args, "RequestedState", 0), &action, err) < 0 ||
        h->power(h->ctx, &vm.uuid, action, c->who->name, &job, err) < 0)
        return -1;
    call_job(c, &job);
    return 0;
}

/* src:[contract.md B.5] */
static const struct {
    uint16_t requested;
    enum rel_event_type ev;
    enum job_type job;
} changes[] = {
    { 1, EV_U_CANCEL_IR, JOB_STATE_CHANGE },     { 2, EV_U_BECOME_REPLICA, JOB_STATE_CHANGE },
    { 3, EV_U_RESUME, JOB_STATE_CHANGE },        { 4, EV_U_PREPARE, JOB_PREPARE },
    { 7, EV_U_PAUSE, JOB_STATE_CHANGE },         { 9, EV_U_CANCEL_RESYNC, JOB_STATE_CHANGE },
    { 15, EV_U_RETRY_UPDATE, JOB_STATE_CHANGE },
};

static int become_replica(const struct vm *vm, struct rel_event *ev, struct vr_err *err)
{
    snprintf(ev->name, sizeof ev->name, "%s", vm->name);
    ev->lineage = vr_uuid_new();
    /* A relationship that ends this way keeps the disks it had. */
    return vm->rel->st == ST_NONE ? settings_all_disks(vm, ev, err) : 0;
}

static int request_replication_state(struct call *c, struct vr_err *err)
{
    uint64_t wanted = cim_args_uint(c->args, "RequestedState", 0);
    struct rel_event ev = { .type = EV_COUNT };
    enum job_type type = JOB_STATE_CHANGE;
    struct vm vm;
    int n = 0;

    if (target(c, &vm, err) < 0)
        return -1;
    if (cim_args_at(c->args, "ReplicationRelationship") && call_relationship(c, &vm, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < VR_ARRAY_LEN(changes); i++)
        if (changes[i].requested == wanted) {
            ev.type = changes[i].ev;
            type = changes[i].job;
        }
    if (ev.type == EV_COUNT)
        return vr_fail(err, VR_E_INVAL, 0, "RequestedState %u is not one that can be asked for",
                       (unsigned)wanted);
    if (n)
        return call_rel1_begin(&vm, err);
    if (wanted == 2 && may_act(c, &vm, err) < 0)
        return -1;
    if (call_admit(c, &vm, &ev, err) < 0 || (wanted == 2 && become_replica(&vm, &ev, err) < 0))
        return -1;
    return call_request(c, &vm, &ev, type, err);
}

#define M(n) CIM_M_MSVM_COMPUTERSYSTEM_##n
static const struct method methods[] = {
    { M(REQUESTSTATECHANGE), CIM_ROLE_OPERATOR, request_state },
    { M(REQUESTREPLICATIONSTATECHANGE), CIM_ROLE_OPERATOR, request_replication_state },
    { M(REQUESTREPLICATIONSTATECHANGEEX), CIM_ROLE_OPERATOR, request_replication_state },
    { M(REQUESTCUSTOMRESTORE), CIM_ROLE_ADMIN, call_unsupported },
};
#undef M

static enum cim_status invoke(void *ctx, const struct cim_caller *who, const struct cim_inst *in,
                              const struct cim_method *m, struct cim_args *args, uint32_t *ret,
                              struct vr_err *err)
{
    return prov_dispatch(ctx, who, in, m, args, methods, VR_ARRAY_LEN(methods), ret, err);
}

void prov_register_system(struct cim_server *s, struct host_providers *p)
{
    cim_server_register(s, &(struct cim_provider){ .cls = CIM_C_MSVM_COMPUTERSYSTEM,
                                                   .ctx = p,
                                                   .enumerate = enumerate,
                                                   .get = get,
                                                   .watch = &watchable,
                                                   .invoke = invoke });
}
