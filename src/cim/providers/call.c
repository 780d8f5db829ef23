/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What all methods have in common: roles, return codes, reasons of refusals, the way to the engine.
 * Control thread only. Invariant: a refused call has changed nothing. */
#include "cim/providers/prov.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "cim/cimxml.h"

#define JOB_STARTED 4096
enum {
    REFUSAL_LOG_MS = 1000,
    FAILED_JOBS_EACH = 32 /* of one type, see call_failed_job() */
};

struct host_providers *host_providers_register(struct cim_server *s, const struct host *h)
{
    struct host_providers *p = vr_new(struct host_providers);

    p->h = h;
    p->server = s;
    rel_settings_default(&p->none.set);
#define G(name) prov_register_##name(s, p);
    PROV_GROUPS(G)
#undef G
    return p;
}

void host_providers_free(struct host_providers *p)
{
    free(p);
}

/* ---- refusals ---- */
static const char *caller_name(const struct cim_caller *who)
{
    return who->name ? who->name : "";
}

static bool is_of(const struct refusal *r, const struct cim_caller *who)
{
    return r->seq && !strncmp(r->who, caller_name(who), sizeof r->who - 1);
}

static struct refusal *refusal_of(struct host_providers *p, const struct cim_caller *who)
{
    struct refusal *r = &p->refusals[0];

    for (size_t i = 0; i < PROV_REFUSALS_MAX; i++) {
        struct refusal *x = &p->refusals[i];
        if (is_of(x, who))
            return x;
        if (x->seq < r->seq)
            r = x;
    }
    *r = (struct refusal){ .seq = ++p->seq };
    snprintf(r->who, sizeof r->who, "%s", caller_name(who));
    return r;
}

void prov_refused(struct host_providers *p, const struct cim_caller *who, const char *msg)
{
    struct refusal *r = refusal_of(p, who);

    snprintf(r->msg, sizeof r->msg, "%s", msg);
    r->seq = ++p->seq;
}

const char *prov_last_refusal(const struct host_providers *p, const struct cim_caller *who)
{
    for (size_t i = 0; i < PROV_REFUSALS_MAX; i++)
        if (is_of(&p->refusals[i], who))
            return p->refusals[i].msg;
    return "";
}

bool prov_log_refusal(struct host_providers *p, const struct cim_caller *who, const char *method,
                      uint32_t code, const struct vr_err *why)
{
    struct refusal *r = refusal_of(p, who);
    struct mono_ms now = vr_mono_now();
    char more[64] = "";

    if (r->logged.ms && now.ms - r->logged.ms < REFUSAL_LOG_MS) {
        r->held_back++;
        return false;
    }
    if (r->held_back)
        snprintf(more, sizeof more, " (and %u more refusals of the same before)", r->held_back);
    vr_log(why->kind == VR_E_DENIED ? VR_LOG_WARN : VR_LOG_INFO,
           "management: %s by %s from %s refused with %u: %s%s", method, caller_name(who),
           who->address ? who->address : "?", code, why->msg, more);
    r->logged = now;
    r->held_back = 0;
    return true;
}

/* ---- dispatch ---- */
static const char *role_name(enum cim_role r)
{
    return r >= CIM_ROLE_ADMIN ? "administrator" : r >= CIM_ROLE_OPERATOR ? "operator" : "reader";
}

/* May this be called at all? Ending a job says for itself who may, and can be done at any time. */
static int admit(const struct call *c, const struct method *row, const struct cim_method *m,
                 struct vr_err *err)
{
    const struct cim_caller *who = c->who;

    if (who->role < row->role)
        return vr_fail(err, VR_E_DENIED, 0, "%s needs the role %s; %s is %s", m->name,
                       role_name(row->role), caller_name(who), role_name(who->role));
    if (row->role <= CIM_ROLE_READER || c->target->cls->id == CIM_C_MSVM_CONCRETEJOB)
        return 0;
    if (paired_may_call(c, err) < 0)
        return -1;
    if (engine_jobs_too_many(c->p->h->engine, caller_name(who)))
        return vr_fail(err, VR_E_BUSY, 0,
                       "%d jobs of %s are still running; wait for some: vmreplica jobs",
                       ENGINE_JOBS_EACH, caller_name(who));
    return 0;
}

enum cim_status prov_dispatch(struct host_providers *p, const struct cim_caller *who,
                              const struct cim_inst *target, const struct cim_method *m,
                              struct cim_args *args, const struct method *table, size_t n,
                              uint32_t *ret, struct vr_err *err)
{
    struct call c = { .p = p, .who = who, .target = target, .args = args };
    struct vr_err why = VR_ERR_INIT;
    int index = cim_method_index(target->cls, m);

    for (size_t i = 0; i < n; i++) {
        if (table[i].index != index)
            continue;
        int rc = admit(&c, &table[i], m, &why) < 0 ? -1 : table[i].fn(&c, &why);
        if (rc == 0) {
            *ret = c.code;
            return CIM_S_OK;
        }
        *ret = vr_kind_code(why.kind);
        prov_refused(p, who, why.msg);
        prov_log_refusal(p, who, m->name, *ret, &why);
        return CIM_S_OK;
    }
    vr_fail(err, VR_E_UNSUPPORTED, 0, "method %s of class %s is not offered here", m->name,
            target->cls->name);
    return CIM_S_NO_METHOD;
}

int call_unsupported(struct call *c, struct vr_err *err)
{
    return vr_fail(err, VR_E_UNSUPPORTED, 0, "%s is not supported", c->args->method->name);
}

int call_dmtf_unsupported(struct call *c, struct vr_err *err)
{
    prov_refused(c->p, c->who, "this cannot be changed here");
    c->code = 1;
    return 0;
}

/* ---- documents ---- */
static int save_docs(struct call *c, const struct host_doc docs[], size_t n,
                     const struct vr_uuid *machine, struct vr_err *err)
{
    const struct host *h = c->p->h;
    struct vr_uuid job;

    if (hostset_put_all(h->set, docs, n, err) < 0 ||
        h->save(h->ctx, docs, n, machine, c->who->name, &job, err) < 0)
        return -1;
    call_job(c, &job);
    return 0;
}

int call_save(struct call *c, enum hostset_kind k, const char *id, const char *text,
              const struct vr_uuid *machine, struct vr_err *err)
{
    return save_docs(c, &(struct host_doc){ k, id, text }, 1, machine, err);
}

int call_save_inst(struct call *c, enum hostset_kind k, const char *id, const struct cim_inst *in,
                   const struct vr_uuid *machine, struct vr_err *err)
{
    vr_autofree char *text = NULL;

    if (cim_xml_text(in, c->p->h->name, &text, err) < 0)
        return -1;
    return call_save(c, k, id, text, machine, err);
}

int call_save_insts(struct call *c, enum hostset_kind k, struct cim_inst *const in[], size_t n,
                    const struct vr_uuid *machine, struct vr_err *err)
{
    vr_autofree struct host_doc *docs = vr_new0(n, sizeof *docs);
    vr_autofree char **text = vr_new0(n, sizeof *text);
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = cim_xml_text(in[i], c->p->h->name, &text[i], err);
        docs[i] =
            (struct host_doc){ k, cim_value_str(cim_inst_named(in[i], "InstanceID")), text[i] };
    }
    if (rc == 0)
        rc = save_docs(c, docs, n, machine, err);
    for (size_t i = 0; i < n; i++)
        free(text[i]);
    return rc;
}

/* ---- parameters ---- */
int call_vm(struct call *c, struct vm *ret, struct vr_err *err)
{
    if (vm_of_ref(c->p, cim_args_ref(c->args, "ComputerSystem"), ret, err) < 0)
        return vr_err_wrap(err, "ComputerSystem");
    return 0;
}

static int rel1(const struct vm *vm, enum vr_kind kind, struct vr_err *err)
{
    const struct rel *r = vm->rel;
    if (rel_mode(r) != REL_MODE_REPLICA || !r->peer[0])
        return vr_fail(err, kind, 0, "the replica of machine %s is not replicated any further",
                       vm->name);
    return vr_fail(err, kind, 0,
                   "machine %s is a replica here (\"%s\"), and is not replicated any further; what "
                   "concerns its replication from host %s is asked of that: vmreplica --host %s "
                   "explain %s",
                   vm->name, rel_state_text(r->st), r->peer, r->peer, vm->name);
}

int call_rel1(const struct vm *vm, struct vr_err *err)
{
    return rel1(vm, VR_E_STATE, err);
}

int call_rel1_begin(const struct vm *vm, struct vr_err *err)
{
    return rel1(vm, VR_E_UNSUPPORTED, err);
}

static bool has_subclasses(const struct cim_class *cls)
{
    for (size_t i = 0; i < CIM_CLASS_COUNT; i++)
        if (cim_classes[i].super == cls)
            return true;
    return false;
}

/* The instance that an object path names. Only by its own class and its key: otherwise it would
 * have to be looked for among all, in one go. */
static int named_instance(struct call *c, const char *path, struct cim_inst **ret,
                          struct vr_err *err)
{
    vr_auto(cim_path_free) struct cim_path *p = NULL;
    struct vr_err why = VR_ERR_INIT;

    if (cim_path_parse(path, &p, &why) < 0)
        return vr_fail(err, why.kind, 0, "neither an instance in CIM-XML nor an object path: %s",
                       why.msg);
    const struct cim_class *cls = cim_path_class(p);
    if (!cls || has_subclasses(cls) || !cim_path_key(p, "InstanceID"))
        return vr_fail(err, VR_E_INVAL, 0,
                       "the object path names no instance by its own class and InstanceID");
    if (cim_get(c->p->server, c->who, p, ret, &why) != CIM_S_OK)
        return vr_fail(err, VR_E_INVAL, 0, "%s", why.msg);
    return 0;
}

int call_instance(struct call *c, const char *text, const struct cim_class *want, const int used[],
                  size_t n, struct cim_inst **ret, struct vr_err *err)
{
    vr_auto(cim_inst_free) struct cim_inst *named = NULL;
    vr_autofree char *xml = NULL;
    const char *start = text + strspn(text, " \t\r\n");

    if (!isalpha((unsigned char)*start) && *start != '\\' && *start != '/')
        return cim_xml_parse_used(text, want, used, n, ret, err);
    if (named_instance(c, start, &named, err) < 0 ||
        cim_xml_text(named, c->p->h->name, &xml, err) < 0)
        return -1;
    return cim_xml_parse_used(xml, want, used, n, ret, err);
}

int call_relationship(struct call *c, const struct vm *vm, int *ret_n, struct vr_err *err)
{
    const char *text = cim_args_str(c->args, "ReplicationRelationship");
    vr_auto(cim_inst_free) struct cim_inst *in = NULL;
    struct vr_uuid uuid;

    *ret_n = 0;
    if (!text || !*text)
        return 0;
    static const int used[] = { CIM_P_MSVM_REPLICATIONRELATIONSHIP_INSTANCEID };
    if (call_instance(c, text, cim_class_get(CIM_C_MSVM_REPLICATIONRELATIONSHIP), used,
                      VR_ARRAY_LEN(used), &in, err) < 0)
        return vr_err_wrap(err, "ReplicationRelationship");
    const char *id = cim_inst_str(in, used[0]);
    if (!id)
        return 0;
    if (!id_hvr_parse(id, &uuid, ret_n) || !vr_uuid_eq(&uuid, &vm->uuid))
        return vr_fail(err, VR_E_INVAL, 0, "\"%.80s\" is no relationship of machine %s", id,
                       vm->name);
    return 0;
}

int call_start_time(struct call *c, struct wall_us *ret, struct vr_err *err)
{
    const struct cim_value *v = cim_args_at(c->args, "StartTime");
    struct cim_datetime dt;
    int64_t now = vr_wall_now().us;

    ret->us = 0;
    if (!v || !cim_value_time(v, &dt))
        return 0;
    if (dt.is_interval)
        return vr_fail(err, VR_E_INVAL, 0, "StartTime must be an instant, not an interval");
    if (dt.us > now + 7ll * 86400 * 1000000)
        return vr_fail(err, VR_E_INVAL, 0, "StartTime lies more than 7 days ahead");
    if (dt.us > now)
        ret->us = dt.us;
    return 0;
}

/* ---- the engine ---- */
void call_job(struct call *c, const struct vr_uuid *job)
{
    vr_auto(cim_path_free) struct cim_path *path = path_job(job);

    cim_value_put_ref(cim_args_at(c->args, "Job"), path);
    c->code = JOB_STARTED;
}

static bool too_many_failed(const struct engine *e, enum job_type type, const char *owner)
{
    const struct job *j;
    size_t n = 0;

    for (size_t i = 0; (j = engine_job_at(e, i)); i++)
        n += j->type == type && j->state == JOB_EXCEPTION &&
             !strncmp(j->owner, owner, sizeof j->owner - 1);
    return n >= FAILED_JOBS_EACH;
}

int call_failed_job(struct call *c, enum job_type type, const struct vr_uuid *machine,
                    struct vr_err *io_why)
{
    struct engine *e = c->p->h->engine;

    if (too_many_failed(e, type, c->who->name))
        return -1;
    struct vr_uuid job = engine_job_new(e, type, machine, c->who->name);
    engine_job_end(e, &job, io_why);
    call_job(c, &job);
    vr_err_clear(io_why);
    return 0;
}

/* Long work that shows in ReplicationState; its state decides what is allowed meanwhile. */
static bool is_long(enum job_type t)
{
    return t == JOB_START_IR || t == JOB_START_SEEDED || t == JOB_RESYNC || t == JOB_UPDATE_DISKS;
}

/* What this event ends by being asked for. */
static bool gives_way(enum job_type t, enum rel_event_type to)
{
    return is_long(t) || (t == JOB_PREPARE && to == EV_U_REVERT);
}

static bool needs_power(const struct vm *vm, enum rel_event_type t)
{
    return t == EV_U_PREPARE || t == EV_U_FAILOVER || t == EV_U_BECOME_REPLICA ||
           (t == EV_U_REVERT && rel_mode(vm->rel) == REL_MODE_REPLICA);
}

int call_admit(struct call *c, const struct vm *vm, struct rel_event *ev, struct vr_err *err)
{
    const struct job *j = engine_running_job(c->p->h->engine, &vm->uuid);
    struct rel next;
    uint32_t fx;

    if (j && !gives_way(j->type, ev->type) && vm->rel->st != ST_R_REVERSE_WAIT)
        return vr_fail(err, VR_E_BUSY, 0,
                       "another operation of machine %s is still running (%s); wait for it: "
                       "vmreplica jobs",
                       vm->name, job_caption(j->type));
    if (vm->rel->st == ST_NONE && ev->type != EV_U_CREATE && ev->type != EV_U_BECOME_REPLICA) {
        struct rel none = { .st = ST_NONE };
        char hint[300];
        snprintf(none.name, sizeof none.name, "%s", vm->name);
        return vr_fail(err, VR_E_STATE, 0, "%s is not possible: machine %s is not replicated%s",
                       rel_event_text(ev->type), vm->name,
                       rel_hint(&none, ev->type, hint, sizeof hint));
    }
    if (call_admit_tests(c, vm, ev->type, err) < 0 || call_admit_exports(c, vm, ev->type, err) < 0)
        return -1;
    ev->vm_off = true;
    ev->wall = vr_wall_now();
    ev->mono = vr_mono_now();
    /* First what is wrong whatever the machine's power may be. */
    if (rel_step(vm->rel, ev, &next, &fx, err) < 0)
        return -1;
    if (!needs_power(vm, ev->type))
        return 0;
    if (!vm->hv)
        return vr_fail(err, VR_E_UNAVAIL, 0,
                       "the hypervisor does not know machine %s, or cannot be reached", vm->name);
    if (vm->hv->power == HV_POWER_OTHER)
        return vr_fail(err, VR_E_UNKNOWN, 0,
                       "whether machine %s is off cannot be told; look at it with virsh domstate",
                       vm->name);
    if (vm->hv->power == HV_POWER_AWAY)
        return vr_fail(err, VR_E_STATE, 0,
                       "machine %s was migrated away from this host and may run elsewhere. Migrate "
                       "it back; or, if it does not run any more, start it here and shut it down",
                       vm->name);
    ev->vm_off = vm->hv->power == HV_POWER_OFF;
    if (vm->hv->saved && (ev->type == EV_U_PREPARE || ev->type == EV_U_BECOME_REPLICA))
        return vr_fail(
            err, VR_E_STATE, 0,
            "machine %s is saved, not off: what it had in memory would be lost. Start it "
            "and shut it down, or discard that (vmreplica shutdown %s --force)",
            vm->name, vm->name);
    if (ev->vm_off)
        return 0;
    return rel_must_be_off(vm->name, vm->rel->st, ev->type, err);
}

int call_request(struct call *c, const struct vm *vm, struct rel_event *ev, enum job_type type,
                 struct vr_err *err)
{
    struct vr_uuid job;

    if (engine_request(c->p->h->engine, &vm->uuid, ev, type, c->who->name, &job, err) < 0)
        return -1;
    call_job(c, &job);
    return 0;
}

int call_admit_request(struct call *c, const struct vm *vm, struct rel_event *ev,
                       enum job_type type, struct vr_err *err)
{
    if (call_admit(c, vm, ev, err) < 0)
        return -1;
    return call_request(c, vm, ev, type, err);
}
