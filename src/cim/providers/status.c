/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Vmr_ReplicationStatus: one per machine, all there is to know about its relationship, and what
 * would happen at a failover now. Control thread only. src:[schema/vmreplica.mof] */
#include "cim/providers/prov.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replication/explain.h"

#define P(n) CIM_P_VMR_REPLICATIONSTATUS_##n

static const char *const roles[] = {
    [REL_MODE_NONE] = "none", [REL_MODE_PRIMARY] = "primary",   [REL_MODE_REPLICA] = "replica",
    [REL_MODE_TEST] = "test", [REL_MODE_EXTENDED] = "extended",
};

/* ---- instances ---- */
/* Instant and epoch of the newest complete point at the receiving end. */
static bool newest(const struct rel *r, uint64_t *ret_epoch)
{
    if (rel_mode(r) == REL_MODE_PRIMARY && r->has_acked)
        *ret_epoch = r->acked.epoch;
    else if (rel_mode(r) == REL_MODE_REPLICA && r->has_newest)
        *ret_epoch = r->newest.epoch;
    else
        return false;
    return true;
}

static void set_progress(const struct host_providers *p, const struct vm *vm, struct cim_inst *in)
{
    const struct job *j = engine_running_job(p->h->engine, &vm->uuid);
    struct host_transfer t;

    if (p->h->transfer(p->h->ctx, &vm->uuid, &t)) {
        uint64_t done = t.done < t.total ? t.done : t.total;
        cim_inst_set_uint(in, P(BYTESDONE), done);
        cim_inst_set_uint(in, P(BYTESTOTAL), t.total);
        cim_inst_set_uint(in, P(JOBPERCENT),
                          t.total ? (uint16_t)((double)done * 100 / (double)t.total) : 0);
    } else if (j) {
        cim_inst_set_uint(in, P(JOBPERCENT), job_percent(p, j));
    }
}

static void set_next(const struct rel *r, struct wall_us now, struct cim_inst *in)
{
    int64_t wait = r->due.ms - vr_mono_now().ms;

    if (r->due.ms && rel_mode(r) == REL_MODE_PRIMARY)
        cim_inst_set_time(in, P(NEXTCYCLETIME),
                          (struct wall_us){ now.us + (wait > 0 ? wait * 1000 : 0) });
}

static bool emit_status(const struct host_providers *p, const struct vm *vm, struct cim_sink *sink)
{
    struct cim_inst *in = cim_inst_new(CIM_C_VMR_REPLICATIONSTATUS);
    struct wall_us now = vr_wall_now();
    const struct rel *r = vm->rel;
    const char *why[8];
    char id[PROV_ID_MAX];
    uint64_t epoch = 0, age = 0;
    size_t n = 0;

    cim_inst_set_uint(in, P(HEALTH), rel_health(r, now, why, &n));
    cim_inst_set_str(in, P(INSTANCEID), id_hvr(id, vm->guid, 0));
    cim_inst_set_str(in, P(MACHINENAME), vm->name);
    cim_inst_set_str(in, P(ROLE), roles[vm_mode(p, vm)]);
    vm_set_tests(p, vm, in, P(TESTMACHINES));
    cim_inst_set_str(in, P(PEERNAME), r->peer[0] ? r->peer : NULL);
    cim_inst_set_str(in, P(STATE), rel_state_text(r->st));
    cim_inst_set_strv(in, P(HEALTHREASONS), why, n);
    if (newest(r, &epoch))
        cim_inst_set_uint(in, P(NEWESTPOINTEPOCH), epoch);
    struct rel_facts f = { .r = r, .now = now };
    explain_peer(p, &f);
    if (rel_age(&f, &age)) {
        cim_inst_set_time(in, P(NEWESTPOINTTIME), r->newest_instant);
        cim_inst_set_uint(in, P(DATAAGESECONDS), age);
    }
    set_progress(p, vm, in);
    cim_inst_set_uint(in, P(LASTCYCLEBYTES), r->last.payload);
    cim_inst_set_uint(in, P(LASTCYCLEWIREBYTES), r->last.wire);
    cim_inst_set_uint(in, P(LASTCYCLEMILLISECONDS), r->last.ms);
    cim_inst_set_str(in, P(LASTERROR), r->last_err.kind != VR_OK ? r->last_err.msg : NULL);
    cim_inst_set_time(in, P(LASTAPPLICATIONCONSISTENTTIME), r->last_app_time);
    if (r->app_tried.us)
        cim_inst_set_uint(in, P(LASTFREEZEMILLISECONDS), r->app_frozen_ms);
    cim_inst_set_str(in, P(APPLICATIONCONSISTENTERROR), r->app_note[0] ? r->app_note : NULL);
    set_next(r, now, in);
    otherhost_set(p, vm, in);
    explain_set(p, vm, in);
    proof_set_status(p, vm, in);
    cim_inst_set_uint(in, P(INTERVALSECONDS), r->set.interval_s);
    return cim_emit(sink, in);
}

static enum cim_status enumerate(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                 struct vr_err *err)
{
    return each_vm(ctx, sink, emit_status);
}

static enum cim_status get(void *ctx, const struct cim_caller *who, const struct cim_path *path,
                           struct cim_inst **ret, struct vr_err *err)
{
    return get_vm(ctx, path, emit_status, ret, err);
}

/* What tells how old something is changes all the time. */
static const int quiet[] = { P(DATAAGESECONDS), P(NEXTCYCLETIME), P(EXPLANATION),
                             P(LOSSNOW),        P(REASONTEXTS),   P(PEERMACHINETIME) };
static const struct cim_watchable watchable = { .key = P(INSTANCEID),
                                                .quiet = quiet,
                                                .n_quiet = VR_ARRAY_LEN(quiet) };

/* ---- methods ---- */
static int target(const struct host_providers *p, const struct cim_inst *in, struct vm *ret,
                  struct vr_err *err)
{
    struct vr_uuid uuid;
    int n;

    if (!id_hvr_parse(cim_inst_str(in, P(INSTANCEID)), &uuid, &n) || !vm_find(p, &uuid, ret))
        return vr_fail(err, VR_E_UNAVAIL, 0, "the machine is gone");
    return 0;
}

static int sync_now(struct call *c, struct vr_err *err)
{
    struct rel_event ev = { .type = EV_U_SYNC };
    const struct cim_value *app = cim_args_at(c->args, "ApplicationConsistent");
    struct vm vm;

    ev.app = app && cim_value_bool(app, false);
    if (target(c->p, c->target, &vm, err) < 0)
        return -1;
    return call_admit_request(c, &vm, &ev, JOB_SEND_DELTA, err);
}

static int change_interval(struct call *c, uint64_t seconds, struct vr_err *err)
{
    struct rel_event ev = { .type = EV_U_MODIFY };
    struct vr_uuid job;
    struct vm vm;

    if (target(c->p, c->target, &vm, err) < 0 || call_admit(c, &vm, &ev, err) < 0)
        return -1;
    ev.set = vm.rel->set;
    ev.set.interval_s = seconds > UINT32_MAX ? UINT32_MAX : (uint32_t)seconds;
    if (rel_settings_check(&ev.set, err) < 0)
        return -1;
    return engine_request(c->p->h->engine, &vm.uuid, &ev, JOB_MODIFY, c->who->name, &job, err);
}

static int set_interval(struct call *c, struct vr_err *err)
{
    return change_interval(c, cim_args_uint(c->args, "Seconds", 0), err);
}

static int verify(struct call *c, struct vr_err *err)
{
    struct vm vm;

    return target(c->p, c->target, &vm, err) < 0 ? -1 : status_verify(c, &vm, err);
}

static int acknowledge(struct call *c, struct vr_err *err)
{
    struct vm vm;

    return target(c->p, c->target, &vm, err) < 0 ? -1 : status_acknowledge(c, &vm, err);
}

static int test_failover(struct call *c, struct vr_err *err)
{
    struct vm vm;

    return target(c->p, c->target, &vm, err) < 0 ? -1 : status_test(c, &vm, err);
}

static int export_point(struct call *c, struct vr_err *err)
{
    struct vm vm;

    return target(c->p, c->target, &vm, err) < 0 ? -1 : status_export(c, &vm, err);
}

static const struct method methods[] = {
    { CIM_M_VMR_REPLICATIONSTATUS_EXPORTPOINT, CIM_ROLE_OPERATOR, export_point },
    { CIM_M_VMR_REPLICATIONSTATUS_TESTFAILOVER, CIM_ROLE_OPERATOR, test_failover },
    { CIM_M_VMR_REPLICATIONSTATUS_SYNCNOW, CIM_ROLE_OPERATOR, sync_now },
    { CIM_M_VMR_REPLICATIONSTATUS_SETINTERVAL, CIM_ROLE_ADMIN, set_interval },
    { CIM_M_VMR_REPLICATIONSTATUS_VERIFYPOINT, CIM_ROLE_OPERATOR, verify },
    { CIM_M_VMR_REPLICATIONSTATUS_ACKNOWLEDGE, CIM_ROLE_OPERATOR, acknowledge },
    { CIM_M_VMR_REPLICATIONSTATUS_ASKPEER, CIM_ROLE_READER, otherhost_ask },
    { CIM_M_VMR_REPLICATIONSTATUS_WITHDRAWREVERSE, CIM_ROLE_OPERATOR, otherhost_withdraw },
    { CIM_M_VMR_REPLICATIONSTATUS_ALLOWSTART, CIM_ROLE_OPERATOR, otherhost_allow_start },
    { CIM_M_VMR_REPLICATIONSTATUS_ABANDONREPLICA, CIM_ROLE_ADMIN, otherhost_abandon },
    { CIM_M_VMR_REPLICATIONSTATUS_SETONSUPERSEDED, CIM_ROLE_ADMIN, otherhost_set_policy },
};

static enum cim_status invoke(void *ctx, const struct cim_caller *who, const struct cim_inst *in,
                              const struct cim_method *m, struct cim_args *args, uint32_t *ret,
                              struct vr_err *err)
{
    return prov_dispatch(ctx, who, in, m, args, methods, VR_ARRAY_LEN(methods), ret, err);
}

/* IntervalSeconds and OnSuperseded can be written. */
static int put_all(struct call *c, const struct cim_inst *want, struct vr_err *err)
{
    if (cim_inst_is_seen(want, P(INTERVALSECONDS)) &&
        change_interval(c, cim_inst_uint(want, P(INTERVALSECONDS), 0), err) < 0)
        return -1;
    if (cim_inst_is_seen(want, P(ONSUPERSEDED)))
        return otherhost_policy(c, cim_inst_str(want, P(ONSUPERSEDED)), err);
    return 0;
}

static enum cim_status put(void *ctx, const struct cim_caller *who, const struct cim_inst *old,
                           const struct cim_inst *want, struct vr_err *err)
{
    struct call c = { .p = ctx, .who = who, .target = old };
    struct vr_err why = VR_ERR_INIT;

    if (!cim_inst_is_seen(want, P(INTERVALSECONDS)) && !cim_inst_is_seen(want, P(ONSUPERSEDED)))
        return CIM_S_OK;
    if (put_all(&c, want, &why) == 0)
        return CIM_S_OK;
    prov_refused(ctx, who, why.msg);
    vr_err_move(err, &why);
    return cim_status_of(&why);
}

void prov_register_status(struct cim_server *s, struct host_providers *p)
{
    cim_server_register(s, &(struct cim_provider){ .cls = CIM_C_VMR_REPLICATIONSTATUS,
                                                   .ctx = p,
                                                   .enumerate = enumerate,
                                                   .get = get,
                                                   .watch = &watchable,
                                                   .invoke = invoke,
                                                   .put = put });
}
