/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Providers with fixed answers, for tests only. */
#include "wsman/fake.h"

#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "cim/watch.h"

#define P(cls, prop) CIM_P_##cls##_##prop

static size_t machines = 2;
static char interval_text[64] = "43200";

static struct cim_inst *machine(size_t i)
{
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_COMPUTERSYSTEM);
    cim_inst_set_str(in, P(MSVM_COMPUTERSYSTEM, CREATIONCLASSNAME), "Msvm_ComputerSystem");
    cim_inst_set_strf(in, P(MSVM_COMPUTERSYSTEM, NAME), "00000000-0000-0000-0000-%012zu", i + 1);
    if (i < 2)
        cim_inst_set_str(in, P(MSVM_COMPUTERSYSTEM, ELEMENTNAME), i ? "b<e>&\"ta" : "alpha");
    else
        cim_inst_set_strf(in, P(MSVM_COMPUTERSYSTEM, ELEMENTNAME), "m%zu", i);
    const uint64_t ok[] = { 2, 5 };
    cim_inst_set_uintv(in, P(MSVM_COMPUTERSYSTEM, OPERATIONALSTATUS), ok, 2);
    const char *const text[] = { "OK", "" };
    cim_inst_set_strv(in, P(MSVM_COMPUTERSYSTEM, STATUSDESCRIPTIONS), text, 2);
    cim_inst_set_strv(in, P(MSVM_COMPUTERSYSTEM, ROLES), NULL, 0);
    cim_inst_set_uint(in, P(MSVM_COMPUTERSYSTEM, ENABLEDSTATE), 2);
    cim_inst_set_time(in, P(MSVM_COMPUTERSYSTEM, INSTALLDATE),
                      (struct wall_us){ INT64_C(1714543200000000) });
    return in;
}

static struct cim_inst *relationship(size_t i)
{
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_REPLICATIONRELATIONSHIP);
    cim_inst_set_strf(in, P(MSVM_REPLICATIONRELATIONSHIP, INSTANCEID),
                      "Microsoft:00000000-0000-0000-0000-%012zu\\HVR\\0", i + 1);
    return in;
}

static enum cim_status enum_machines(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                     struct vr_err *err)
{
    for (size_t i = cim_sink_at(sink); i < machines; i++)
        if (!cim_emit(sink, machine(i)) || cim_sink_pause(sink, i + 1))
            break;
    return CIM_S_OK;
}

static enum cim_status enum_relationships(void *ctx, const struct cim_caller *who,
                                          struct cim_sink *sink, struct vr_err *err)
{
    for (size_t i = 0; i < 2; i++)
        if (!cim_emit(sink, relationship(i)))
            break;
    return CIM_S_OK;
}

static enum cim_status enum_links(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                  struct vr_err *err)
{
    for (size_t i = 0; i < 2; i++) {
        vr_auto(cim_inst_free) struct cim_inst *m = machine(i), *r = relationship(i);
        vr_auto(cim_path_free) struct cim_path *mp = cim_inst_path(m), *rp = cim_inst_path(r);
        struct cim_inst *in = cim_inst_new(CIM_C_MSVM_SYSTEMREPLICATIONRELATIONSHIP);
        cim_inst_set_ref(in, P(MSVM_SYSTEMREPLICATIONRELATIONSHIP, ANTECEDENT), mp);
        cim_inst_set_ref(in, P(MSVM_SYSTEMREPLICATIONRELATIONSHIP, DEPENDENT), rp);
        if (!cim_emit(sink, in))
            break;
    }
    return CIM_S_OK;
}

static unsigned job_state = 7;

static void emit_job(void *ctx, struct cim_sink *sink)
{
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_CONCRETEJOB);
    cim_inst_set_str(in, P(MSVM_CONCRETEJOB, INSTANCEID), "JOB-1");
    cim_inst_set_interval(in, P(MSVM_CONCRETEJOB, TIMEBEFOREREMOVAL), 300);
    cim_inst_set_time(in, P(MSVM_CONCRETEJOB, STARTTIME),
                      (struct wall_us){ INT64_C(1714543200000000) });
    cim_inst_set_uint(in, P(MSVM_CONCRETEJOB, JOBSTATE), job_state);
    cim_emit(sink, in);
}

static enum cim_status enum_jobs(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                 struct vr_err *err)
{
    if (job_state)
        emit_job(ctx, sink);
    return CIM_S_OK;
}

static enum cim_status get_job(void *ctx, const struct cim_caller *who, const struct cim_path *path,
                               struct cim_inst **ret, struct vr_err *err)
{
    if (job_state)
        return cim_pick(path, emit_job, ctx, ret, err);
    vr_fail(err, VR_E_NOTFOUND, 0, "there is no such job");
    return CIM_S_NOT_FOUND;
}

void wsm_fake_job(struct cim_server *s, unsigned state)
{
    job_state = state;
    cim_changed(s, CIM_C_MSVM_CONCRETEJOB, "JOB-1");
}

static enum cim_status enum_service(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                    struct vr_err *err)
{
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_REPLICATIONSERVICE);
    cim_inst_set_str(in, P(MSVM_REPLICATIONSERVICE, SYSTEMNAME), "LAB");
    cim_emit(sink, in);
    return CIM_S_OK;
}

static enum cim_status enum_settings(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                     struct vr_err *err)
{
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_REPLICATIONSERVICESETTINGDATA);
    cim_inst_set_str(in, P(MSVM_REPLICATIONSERVICESETTINGDATA, INSTANCEID), "Microsoft:LAB");
    cim_inst_set_str(in, P(MSVM_REPLICATIONSERVICESETTINGDATA, ELEMENTNAME), interval_text);
    cim_emit(sink, in);
    return CIM_S_OK;
}

static enum cim_status put_settings(void *ctx, const struct cim_caller *who,
                                    const struct cim_inst *old, const struct cim_inst *want,
                                    struct vr_err *err)
{
    int i = P(MSVM_REPLICATIONSERVICESETTINGDATA, ELEMENTNAME);
    const char *name = cim_inst_str(want, i);
    if (name && !strcmp(name, "busy")) {
        vr_fail(err, VR_E_BUSY, 0, "another change is under way");
        return CIM_S_BUSY;
    }
    if (name && !strcmp(name, "broken")) {
        vr_fail(err, VR_E_IO, 0, "it cannot be written down");
        return CIM_S_FAILED;
    }
    if (cim_inst_is_seen(want, i) && cim_inst_str(want, i))
        snprintf(interval_text, sizeof interval_text, "%s", cim_inst_str(want, i));
    return CIM_S_OK;
}

/* InitiateFailover starts the job for a known machine; GetReplicationStatistics echoes what it got;
 * everything else is in an invalid state. */
static enum cim_status call_service(void *ctx, const struct cim_caller *who,
                                    const struct cim_inst *target, const struct cim_method *m,
                                    struct cim_args *args, uint32_t *ret, struct vr_err *err)
{
    const struct cim_path *vm = cim_args_ref(args, "ComputerSystem");
    *ret = 32775;
    if (!strcmp(m->name, "InitiateFailover")) {
        if (!vm)
            *ret = 32773;
        const char *name = vm ? cim_path_key(vm, "Name") : NULL;
        if (!name || strcasecmp(name, "00000000-0000-0000-0000-000000000001"))
            return CIM_S_OK;
        vr_auto(cim_path_free) struct cim_path *job = cim_path_of(CIM_C_MSVM_CONCRETEJOB, "JOB-1");
        cim_value_put_ref(cim_args_at(args, "Job"), job);
        *ret = 4096;
    } else if (!strcmp(m->name, "GetReplicationStatisticsEx")) {
        const char *text = cim_args_str(args, "ReplicationRelationship");
        cim_value_put_str(cim_args_at(args, "ReplicationStatistics"), text ? text : "none");
        cim_value_put_str(cim_args_at(args, "ReplicationStatistics"),
                          "<INSTANCE CLASSNAME=\"X\"/>");
        cim_value_empty(cim_args_at(args, "ReplicationHealthIssues"));
        *ret = 0;
    } else if (!strcmp(m->name, "StartService")) { /* goes on for three slices */
        args->at = args->until_us && args->at < 3 ? args->at + 1 : 0;
        *ret = 0;
    }
    return CIM_S_OK;
}

void wsm_fake_machines(size_t n)
{
    machines = n;
}

struct cim_server *wsm_fake_server(void)
{
    static const struct cim_watchable watch_jobs = { .key = P(MSVM_CONCRETEJOB, INSTANCEID) };
    static const struct cim_provider all[] = {
        { .cls = CIM_C_MSVM_COMPUTERSYSTEM, .enumerate = enum_machines },
        { .cls = CIM_C_MSVM_REPLICATIONRELATIONSHIP, .enumerate = enum_relationships },
        { .cls = CIM_C_MSVM_SYSTEMREPLICATIONRELATIONSHIP, .enumerate = enum_links },
        { .cls = CIM_C_MSVM_CONCRETEJOB,
          .enumerate = enum_jobs,
          .get = get_job,
          .watch = &watch_jobs },
        { .cls = CIM_C_MSVM_REPLICATIONSERVICE, .enumerate = enum_service, .invoke = call_service },
        { .cls = CIM_C_MSVM_REPLICATIONSERVICESETTINGDATA,
          .enumerate = enum_settings,
          .put = put_settings },
    };
    struct cim_server *s = cim_server_new("LAB");
    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++)
        cim_server_register(s, &all[i]);
    return s;
}
