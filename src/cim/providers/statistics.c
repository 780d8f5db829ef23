/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Statistics of a relationship and what is wrong with it; always answered at once. Control thread
 * only. src:[contract.md A.7, A.13, B.4, section 0 rule 6] */
#include "cim/providers/prov.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "cim/cimxml.h"
#include "replication/explain.h"

#define P(n) CIM_P_MSVM_REPLICATIONSTATISTICS_##n
#define E(n) CIM_P_MSVM_ERROR_##n

/* ErrorType and CIMStatusCode of the kinds that have special ones; else 4 (software), 1 (failed).
 */
static const struct {
    enum vr_kind kind;
    uint16_t type;
    uint32_t status;
} kinds[] = {
    { VR_E_IO, 5, 1 },           { VR_E_NOSPACE, 9, 1 }, { VR_E_PEER, 2, 1 },
    { VR_E_PROTO, 2, 1 },        { VR_E_TIMEOUT, 2, 1 }, { VR_E_AUTH, 7, 2 },
    { VR_E_DENIED, 7, 2 },       { VR_E_INVAL, 4, 4 },   { VR_E_NOTFOUND, 4, 6 },
    { VR_E_NOFILE, 4, 6 },       { VR_E_EXISTS, 4, 11 }, { VR_E_VERSION, 10, 7 },
    { VR_E_UNSUPPORTED, 10, 7 }, { VR_E_CORRUPT, 5, 1 },
};

struct cim_inst *error_inst(enum vr_kind kind, const char *msg, bool is_warning, const char *source)
{
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_ERROR);
    uint16_t type = 4;
    uint32_t status = 1;

    for (size_t i = 0; i < VR_ARRAY_LEN(kinds); i++)
        if (kinds[i].kind == kind) {
            type = kinds[i].type;
            status = kinds[i].status;
        }
    cim_inst_set_uint(in, E(ERRORTYPE), type);
    cim_inst_set_str(in, E(OWNINGENTITY), "vmreplica");
    cim_inst_set_str(in, E(MESSAGE), msg);
    cim_inst_set_uint(in, E(PERCEIVEDSEVERITY), is_warning ? 3 : 6);
    cim_inst_set_uint(in, E(CIMSTATUSCODE), status);
    if (kind != VR_OK) {
        cim_inst_set_strf(in, E(MESSAGEID), "%u", vr_kind_code(kind));
        cim_inst_set_str(in, E(CIMSTATUSCODEDESCRIPTION), vr_kind_text(kind));
    }
    if (source) {
        cim_inst_set_str(in, E(ERRORSOURCE), source);
        cim_inst_set_uint(in, E(ERRORSOURCEFORMAT), 2);
    }
    return in;
}

static int put_inst(struct call *c, const char *param, const struct cim_inst *in,
                    struct vr_err *err)
{
    vr_autofree char *text = NULL;

    if (cim_xml_text(in, c->p->h->name, &text, err) < 0)
        return -1;
    cim_value_put_str(cim_args_at(c->args, param), text);
    return 0;
}

static uint64_t pending(const struct host_providers *p, const struct vm *vm)
{
    struct host_transfer t;

    uint64_t n = 0;

    if (p->h->transfer(p->h->ctx, &vm->uuid, &t) && t.sending && t.done <= t.total)
        return t.total - t.done;
    return p->h->ahead && p->h->ahead(p->h->ctx, &vm->uuid, &n) ? n : 0;
}

static struct cim_inst *make_statistics(const struct host_providers *p, const struct vm *vm)
{
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_REPLICATIONSTATISTICS);
    const struct rel *r = vm->rel;

    cim_inst_set_time(in, P(STARTSTATISTICTIME), r->stat_start);
    cim_inst_set_time(in, P(ENDSTATISTICTIME), vr_wall_now());
    cim_inst_set_uint(in, P(REPLICATIONSUCCESSCOUNT), r->stat_ok);
    cim_inst_set_uint(in, P(REPLICATIONSIZE), r->stat_bytes);
    cim_inst_set_uint(in, P(MAXREPLICATIONSIZE), r->stat_max_bytes);
    cim_inst_set_uint(in, P(REPLICATIONLATENCY), (uint32_t)(r->stat_ms / 1000));
    cim_inst_set_uint(in, P(MAXREPLICATIONLATENCY), (uint32_t)(r->stat_max_ms / 1000));
    cim_inst_set_uint(in, P(REPLICATIONMISSCOUNT), r->stat_miss);
    cim_inst_set_uint(in, P(NETWORKFAILURECOUNT), r->stat_net_fail);
    cim_inst_set_uint(in, P(REPLICATIONFAILURECOUNT), r->stat_fail);
    cim_inst_set_uint(in, P(PENDINGREPLICATIONSIZE), pending(p, vm));
    cim_inst_set_uint(in, P(APPLICATIONCONSISTENTSNAPSHOTFAILURECOUNT), r->stat_app_fail);
    cim_inst_set_uint(in, P(REPLICATIONHEALTH), vm_health(vm));
    if (p->h->last_test)
        cim_inst_set_time(in, P(LASTTESTFAILOVERTIME), p->h->last_test(p->h->ctx, &vm->uuid));
    return in;
}

/* One reason of health: its number, and what to do. src:[contract.md A.13, D.1] */
static int put_issue(struct call *c, const struct rel_reason *why, const char *source,
                     struct vr_err *err)
{
    vr_auto(cim_inst_free) struct cim_inst *in =
        error_inst(VR_OK, why->health, why->level < 3, source);

    cim_inst_set_strf(in, E(MESSAGEID), "%u", rel_health_id(why->health));
    if (why->todo[0])
        cim_inst_add_str(in, E(RECOMMENDEDACTIONS), why->todo);
    if (why->command[0])
        cim_inst_add_str(in, E(RECOMMENDEDACTIONS), why->command);
    return put_inst(c, "ReplicationHealthIssues", in, err);
}

static int put_issues(struct call *c, const struct vm *vm, struct vr_err *err)
{
    vr_autofree struct rel_reason *why = vr_new0(REL_REASONS_MAX, sizeof *why);
    size_t n = explain_reasons(c->p, vm, why);
    vr_autofree char *source = path_text(c->p, path_system(vm->guid));

    cim_value_empty(cim_args_at(c->args, "ReplicationHealthIssues"));
    for (size_t i = 0; i < n; i++)
        if (why[i].health && why[i].level > 1 && put_issue(c, &why[i], source, err) < 0)
            return -1;
    if (vm->rel->last_err.kind == VR_OK)
        return 0;
    vr_auto(cim_inst_free) struct cim_inst *in =
        error_inst(vm->rel->last_err.kind, vm->rel->last_err.msg, vm_health(vm) < 3, source);
    return put_inst(c, "ReplicationHealthIssues", in, err);
}

/* The machine and its first relationship, which must be there. */
static int target(struct call *c, struct vm *vm, struct vr_err *err)
{
    int n = 0;

    if (call_vm(c, vm, err) < 0)
        return -1;
    if (cim_args_at(c->args, "ReplicationRelationship") && call_relationship(c, vm, &n, err) < 0)
        return -1;
    if (n)
        return call_rel1(vm, err);
    if (rel_mode(vm->rel) == REL_MODE_NONE)
        return vr_fail(err, VR_E_STATE, 0, "machine %s is not replicated", vm->name);
    return 0;
}

int svc_statistics(struct call *c, struct vr_err *err)
{
    struct vm vm;

    if (target(c, &vm, err) < 0)
        return -1;
    vr_auto(cim_inst_free) struct cim_inst *in = make_statistics(c->p, &vm);
    if (put_inst(c, "ReplicationStatistics", in, err) < 0)
        return -1;
    return put_issues(c, &vm, err);
}

int svc_reset_statistics(struct call *c, struct vr_err *err)
{
    struct vm vm;

    if (target(c, &vm, err) < 0)
        return -1;
    return engine_reset_stats(c->p->h->engine, &vm.uuid, err);
}

/* ---- windows ---- */
static void end_window(const struct host_providers *p, const struct rel *r)
{
    struct vr_err err = VR_ERR_INIT;

    vr_log(VR_LOG_INFO,
           "machine %s: statistics of the window that ended: %u cycles, %" PRIu64 " bytes, %u "
           "missed, %u network failures, %u failures",
           r->name, r->stat_ok, r->stat_bytes, r->stat_miss, r->stat_net_fail, r->stat_fail);
    if (engine_reset_stats(p->h->engine, &r->machine, &err) < 0)
        vr_log_err(VR_LOG_WARN, "a new window of statistics", &err);
}

/* A window that lasts since before a stop of the daemon ends at the next start. */
void host_providers_tick(struct host_providers *p)
{
    struct wall_us begin = hostset_window(p->h->set, vr_wall_now());
    const struct rel *r;

    for (size_t i = 0; (r = engine_at(p->h->engine, i)) != NULL; i++)
        if (rel_mode(r) != REL_MODE_NONE && r->stat_start.us && r->stat_start.us < begin.us)
            end_window(p, r);
}
