/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Jobs as values. Pure. */
#include "replication/jobs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

static const struct {
    enum job_type type;
    const char *caption;
    bool cancellable;
} types[] = {
#define JT(n, num, caption, cancellable) { JOB_##n, caption, cancellable },
    JOB_TYPES(JT)
#undef JT
};

const char *job_caption(enum job_type t)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].type == t)
            return types[i].caption;
    return "Job";
}

bool job_over(const struct job *j)
{
    return j->state == JOB_COMPLETED || j->state == JOB_TERMINATED || j->state == JOB_EXCEPTION ||
           j->state == JOB_WARNINGS;
}

bool job_cancellable(const struct job *j)
{
    if (job_over(j))
        return false;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].type == j->type)
            return types[i].cancellable;
    return false;
}

char *job_encode(const struct job *j)
{
    char m[VR_UUID_STR];
    return vr_printf("%d %d %s %u %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %d %s\n%s\n%s",
                     (int)j->type, (int)j->state, vr_uuid_fmt(&j->machine, m), j->percent,
                     j->submitted.us, j->started.us, j->ended.us, j->scheduled.us,
                     j->waits_for_cycle, vr_kind_name(j->err.kind), j->owner, j->err.msg);
}

int job_decode(const char *id, const char *text, struct job *ret, struct vr_err *err)
{
    struct job j = { .percent = 0 };
    int type, state, waits, used = 0;
    char m[VR_UUID_STR], kind[32];
    if (vr_uuid_parse(id, &j.id, err) < 0)
        return vr_err_wrap(err, "written job");
    if (sscanf(text,
               "%d %d %36s %" SCNu16 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %d %31s\n%n",
               &type, &state, m, &j.percent, &j.submitted.us, &j.started.us, &j.ended.us,
               &j.scheduled.us, &waits, kind, &used) != 10 ||
        vr_uuid_parse(m, &j.machine, NULL) < 0)
        return vr_fail(err, VR_E_CORRUPT, 0, "written job %s cannot be read", id);
    j.type = (enum job_type)type;
    j.state = (enum job_state)state;
    j.waits_for_cycle = waits;
    const char *owner = text + used;
    const char *nl = strchr(owner, '\n');
    size_t n = nl ? (size_t)(nl - owner) : strlen(owner);
    snprintf(j.owner, sizeof j.owner, "%.*s", (int)n, owner);
    if (nl && strcmp(kind, "OK") != 0) {
        j.err.kind = vr_kind_from_name(kind);
        snprintf(j.err.msg, sizeof j.err.msg, "%s", nl + 1);
    }
    *ret = j;
    return 0;
}
