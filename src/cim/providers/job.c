/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Msvm_ConcreteJob. Control thread only. src:[contract.md A.12, A.13, B.5] */
#include "cim/providers/prov.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "cim/cimxml.h"
#include "replication/explain.h"

#define P(n) CIM_P_MSVM_CONCRETEJOB_##n

/* ---- jobs of jobs ---- */
struct vr_uuid job_child_id(const struct vr_uuid *job)
{
    struct vr_uuid id = *job;

    id.b[0] ^= JOB_SEND_IR; /* and back again */
    return id;
}

/* The job that sends what @j has started. */
static bool child_of(const struct job *j, struct job *ret)
{
    if ((j->type != JOB_START_IR && j->type != JOB_START_SEEDED) || j->state == JOB_NEW ||
        !j->started.us)
        return false;
    *ret = *j;
    ret->id = job_child_id(&j->id);
    ret->type = JOB_SEND_IR;
    return true;
}

bool job_next(const struct host_providers *p, size_t *i, struct job *ret)
{
    const struct job *j;

    for (; (j = engine_job_at(p->h->engine, *i / 2)) != NULL; ++*i) {
        bool is_child = *i % 2;
        if (is_child && !child_of(j, ret))
            continue;
        if (!is_child)
            *ret = *j;
        ++*i;
        return true;
    }
    return false;
}

/* ---- instances ---- */
uint16_t job_percent(const struct host_providers *p, const struct job *j)
{
    struct host_transfer t;

    switch (j->type) {
    case JOB_START_IR:
    case JOB_START_SEEDED:
    case JOB_SEND_IR:
    case JOB_RESYNC:
    case JOB_UPDATE_DISKS:
    case JOB_PREPARE:
    case JOB_SEND_DELTA:
        break;
    default:
        return j->percent;
    }
    if (job_over(j) || !p->h->transfer(p->h->ctx, &j->machine, &t) || !t.total)
        return j->percent;
    uint64_t done = t.done < t.total ? t.done : t.total;
    uint16_t percent = (uint16_t)((double)done * 100 / (double)t.total);
    return percent > 99 ? 99 : percent;
}

static bool failed(const struct job *j)
{
    return j->state == JOB_EXCEPTION || j->state == JOB_TERMINATED;
}

/* A reversal that waits for its host can be withdrawn. */
static const struct rel *waiting_reversal(const struct host_providers *p, const struct job *j)
{
    const struct rel *r = j->type == JOB_REVERSE ? engine_find(p->h->engine, &j->machine) : NULL;

    return r && r->st == ST_R_REVERSE_WAIT && !job_over(j) ? r : NULL;
}

/* The host that a job waits for while it cannot be reached; NULL: none. */
static const char *awaited(const struct host_providers *p, const struct job *j)
{
    const struct rel *r = waiting_reversal(p, j);

    if (r)
        return r->queued ? r->peer : NULL;
    r = j->type == JOB_VERIFY && !job_over(j) ? engine_find(p->h->engine, &j->machine) : NULL;
    if (!r || rel_mode(r) != REL_MODE_PRIMARY) /* a replica reads its points alone */
        return NULL;
    struct rel_facts f = { .r = r };
    explain_peer(p, &f);
    return f.peer_away ? r->peer : NULL;
}

static bool cancellable(const struct host_providers *p, const struct job *j)
{
    if (j->type == JOB_REVERSE)
        return waiting_reversal(p, j) != NULL;
    return job_cancellable(j) && (j->type != JOB_VERIFY || p->h->cancel);
}

static const char *status_text(const struct job *j)
{
    switch (j->state) {
    case JOB_NEW:
        return "Waiting for its time";
    case JOB_COMPLETED:
        return "Completed";
    case JOB_WARNINGS:
        return "Completed with warnings";
    case JOB_TERMINATED:
        return "Cancelled";
    case JOB_EXCEPTION:
        return "Failed";
    default:
        return "Running";
    }
}

/* "Initiating failover failed: invalid state"; the caller frees. */
static char *summary_text(const struct job *j)
{
    return vr_printf("%s failed: %s", job_caption(j->type), vr_kind_text(j->err.kind));
}

static void set_times(struct cim_inst *in, const struct job *j)
{
    struct wall_us end = j->ended.us ? j->ended : vr_wall_now();
    bool waits = j->state == JOB_NEW;

    cim_inst_set_time(in, P(TIMESUBMITTED), j->submitted);
    cim_inst_set_time(in, P(SCHEDULEDSTARTTIME), j->scheduled);
    if (!waits)
        cim_inst_set_time(in, P(STARTTIME), j->started);
    cim_inst_set_interval(
        in, P(ELAPSEDTIME),
        waits || end.us < j->started.us ? 0 : (uint64_t)(end.us - j->started.us) / 1000000);
    cim_inst_set_time(in, P(TIMEOFLASTSTATECHANGE), j->ended.us ? j->ended : j->started);
}

struct cim_inst *job_inst(const struct host_providers *p, const struct job *j)
{
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_CONCRETEJOB);
    const char *caption = job_caption(j->type);
    char id[VR_UUID_STR];

    cim_inst_set_str(in, P(INSTANCEID), vr_uuid_fmt_upper(&j->id, id));
    cim_inst_set_str(in, P(NAME), caption);
    cim_inst_set_str(in, P(CAPTION), caption);
    cim_inst_set_str(in, P(ELEMENTNAME), caption);
    cim_inst_set_str(in, P(DESCRIPTION), caption);
    const char *host = awaited(p, j);
    vr_autofree char *moved = job_moved(j);
    if (host)
        cim_inst_set_strf(in, P(JOBSTATUS), "Waiting for host %s", host);
    else if (moved)
        cim_inst_set_strf(in, P(JOBSTATUS), "%s: %s", status_text(j), moved);
    else
        cim_inst_set_str(in, P(JOBSTATUS), status_text(j));
    set_times(in, j);
    cim_inst_set_str(in, P(OWNER), j->owner);
    cim_inst_set_uint(in, P(PERCENTCOMPLETE), job_percent(p, j));
    cim_inst_set_bool(in, P(DELETEONCOMPLETION), false);
    cim_inst_set_uint(in, P(ERRORCODE), 0);
    if (failed(j) && j->err.kind != VR_OK) {
        cim_inst_set_uint(in, P(ERRORCODE), vr_kind_code(j->err.kind));
        cim_inst_set_str(in, P(ERRORDESCRIPTION), j->err.msg);
        vr_autofree char *summary = summary_text(j);
        cim_inst_set_str(in, P(ERRORSUMMARYDESCRIPTION), summary);
    }
    if (j->state == JOB_WARNINGS)
        cim_inst_set_str(in, P(ERRORDESCRIPTION), j->err.msg);
    cim_inst_set_uint(in, P(JOBSTATE), j->state);
    /* Numbers of ours are no JobType that a client could know. */
    cim_inst_set_uint(in, P(JOBTYPE), j->type < 1000 ? j->type : 0);
    cim_inst_set_bool(in, P(CANCELLABLE), cancellable(p, j));
    return in;
}

static enum cim_status enumerate(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                 struct vr_err *err)
{
    const struct host_providers *p = ctx;
    struct job j;

    for (size_t i = cim_sink_at(sink); job_next(p, &i, &j);)
        if (!cim_emit(sink, job_inst(p, &j)) || cim_sink_pause(sink, i))
            break;
    return CIM_S_OK;
}

static bool find(const struct host_providers *p, const char *id, struct job *ret)
{
    struct vr_uuid uuid;

    if (!id || vr_uuid_parse(id, &uuid, NULL) < 0)
        return false;
    const struct job *j = engine_job(p->h->engine, &uuid);
    if (j) {
        *ret = *j;
        return true;
    }
    uuid = job_child_id(&uuid);
    j = engine_job(p->h->engine, &uuid);
    return j && child_of(j, ret);
}

static enum cim_status get(void *ctx, const struct cim_caller *who, const struct cim_path *path,
                           struct cim_inst **ret, struct vr_err *err)
{
    const struct host_providers *p = ctx;
    struct job j;

    if (!find(p, cim_path_key(path, "InstanceID"), &j)) {
        vr_fail(err, VR_E_NOTFOUND, 0, "there is no such job; jobs are kept for five minutes");
        return CIM_S_NOT_FOUND;
    }
    *ret = job_inst(p, &j);
    return CIM_S_OK;
}

/* ---- methods ---- */
static int target(struct call *c, struct job *ret, struct vr_err *err)
{
    if (!find(c->p, cim_inst_str(c->target, P(INSTANCEID)), ret))
        return vr_fail(err, VR_E_INVAL, 0, "there is no such job");
    return 0;
}

static int cancel(struct call *c, struct vr_err *err)
{
    struct job j;

    if (target(c, &j, err) < 0 || paired_may_act(c->p, c->who, &j.machine, err) < 0)
        return -1;
    if (!cancellable(c->p, &j))
        return vr_fail(err, VR_E_STATE, 0, "job \"%s\" cannot be cancelled%s", job_caption(j.type),
                       job_over(&j) ? ": it is over" : "");
    if (j.type == JOB_VERIFY)
        return c->p->h->cancel(c->p->h->ctx, &j.id, err);
    struct vr_uuid id = j.type == JOB_SEND_IR ? job_child_id(&j.id) : j.id;
    return engine_job_cancel(c->p->h->engine, &id, err);
}

static int request_state(struct call *c, struct vr_err *err)
{
    switch (cim_args_uint(c->args, "RequestedState", 0)) {
    case 4:
    case 5:
        return cancel(c, err);
    case 2:
    case 3:
    case 6:
        return vr_fail(err, VR_E_UNSUPPORTED, 0, "a job can only be cancelled (4)");
    default:
        return vr_fail(err, VR_E_INVAL, 0, "RequestedState must be 4 (Terminate)");
    }
}

/* DMTF codes: 0 done, 4 failed, 6 access denied. */
static int kill_job(struct call *c, struct vr_err *err)
{
    struct vr_err why = VR_ERR_INIT;

    if (c->who->role < CIM_ROLE_OPERATOR) {
        c->code = 6;
        vr_fail(&why, VR_E_DENIED, 0, "KillJob needs the role operator");
    } else if (cancel(c, &why) < 0) {
        c->code = why.kind == VR_E_DENIED ? 6 : 4;
    }
    if (c->code) {
        prov_refused(c->p, c->who, why.msg);
        prov_log_refusal(c->p, c->who, "KillJob", c->code, &why);
    }
    return 0;
}

/* One Msvm_Error as text. */
static int error_text(struct call *c, const struct job *j, enum vr_kind kind, const char *msg,
                      char **ret, struct vr_err *err)
{
    char guid[VR_UUID_STR];
    vr_autofree char *source =
        vr_uuid_is_zero(&j->machine)
            ? NULL
            : path_text(c->p, path_system(vr_uuid_fmt_upper(&j->machine, guid)));
    vr_auto(cim_inst_free) struct cim_inst *in =
        error_inst(kind, msg, kind == VR_E_CANCELLED || j->state == JOB_WARNINGS, source);

    return cim_xml_text(in, c->p->h->name, ret, err);
}

/* What went wrong, or what is to be known of a job that did not fail; NULL in *ret when nothing. */
static int cause_text(struct call *c, const struct job *j, char **ret, struct vr_err *err)
{
    *ret = NULL;
    if (j->state == JOB_WARNINGS)
        return error_text(c, j, VR_OK, j->err.msg, ret, err);
    if (!failed(j))
        return 0;
    return j->err.kind != VR_OK
               ? error_text(c, j, j->err.kind, j->err.msg, ret, err)
               : error_text(c, j, VR_E_CANCELLED, "The job was cancelled.", ret, err);
}

static int get_error(struct call *c, struct vr_err *err)
{
    vr_autofree char *text = NULL;
    struct job j;

    if (target(c, &j, err) < 0 || (failed(&j) && cause_text(c, &j, &text, err) < 0))
        return -1;
    cim_value_put_str(cim_args_at(c->args, "Error"), text);
    return 0;
}

/* Outermost first: what failed, then why. src:[contract.md B.5] */
static int get_error_ex(struct call *c, struct vr_err *err)
{
    struct cim_value *list = cim_args_at(c->args, "Errors");
    vr_autofree char *why = NULL, *what = NULL;
    struct job j;

    if (target(c, &j, err) < 0 || cause_text(c, &j, &why, err) < 0)
        return -1;
    cim_value_empty(list);
    if (!why)
        return 0;
    if (failed(&j) && j.err.kind != VR_OK) {
        vr_autofree char *msg = summary_text(&j);
        if (error_text(c, &j, j.err.kind, msg, &what, err) < 0)
            return -1;
        cim_value_put_str(list, what);
    }
    cim_value_put_str(list, why);
    return 0;
}

#define M(n) CIM_M_MSVM_CONCRETEJOB_##n
static const struct method methods[] = {
    { M(REQUESTSTATECHANGE), CIM_ROLE_OPERATOR, request_state },
    { M(KILLJOB), CIM_ROLE_READER, kill_job },
    { M(GETERROR), CIM_ROLE_READER, get_error },
    { M(GETERROREX), CIM_ROLE_READER, get_error_ex },
};
#undef M

static enum cim_status invoke(void *ctx, const struct cim_caller *who, const struct cim_inst *in,
                              const struct cim_method *m, struct cim_args *args, uint32_t *ret,
                              struct vr_err *err)
{
    return prov_dispatch(ctx, who, in, m, args, methods, VR_ARRAY_LEN(methods), ret, err);
}

/* A job that runs is older at every look. */
static const int quiet[] = { P(ELAPSEDTIME) };
static const struct cim_watchable watchable = { .key = P(INSTANCEID),
                                                .quiet = quiet,
                                                .n_quiet = VR_ARRAY_LEN(quiet) };

void prov_register_job(struct cim_server *s, struct host_providers *p)
{
    cim_server_register(s, &(struct cim_provider){ .cls = CIM_C_MSVM_CONCRETEJOB,
                                                   .ctx = p,
                                                   .enumerate = enumerate,
                                                   .get = get,
                                                   .watch = &watchable,
                                                   .invoke = invoke });
}
