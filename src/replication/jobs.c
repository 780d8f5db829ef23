/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Jobs as values. Pure. */
#include "replication/jobs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"

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

/* "lineage:epoch", "" of zeros. */
static char *kept_text(const struct vr_point_id *p)
{
    char lineage[VR_UUID_STR];
    if (vr_uuid_is_zero(&p->lineage))
        return vr_strdup("");
    return vr_printf("%s:%" PRIu64, vr_uuid_fmt(&p->lineage, lineage), p->epoch);
}

char *job_moved(const struct job *j)
{
    const struct rel_moved *v = &j->moved;
    if (!v->ms && !v->wire)
        return NULL;
    vr_autofree char *parts =
        v->compared ? vr_printf("%" PRIu64 " KiB written here, the rest found by comparing",
                                v->written >> 10)
                    : vr_printf("%" PRIu64 " KiB written here, %" PRIu64
                                " KiB written there alone, %" PRIu64 " KiB between the points",
                                v->written >> 10, v->alone >> 10, v->between >> 10);
    vr_autofree char *kept = kept_text(&v->kept);
    return vr_printf("%" PRIu64 " KiB may have differed (%s); %" PRIu64 " KiB shipped, %" PRIu64
                     " KiB on the wire%s%s",
                     v->dirty >> 10, parts, v->payload >> 10, v->wire >> 10,
                     *kept ? "; what only the old primary had is kept there as orphan point " : "",
                     kept);
}

char *job_encode(const struct job *j)
{
    char m[VR_UUID_STR];
    const struct rel_moved *v = &j->moved;
    vr_autofree char *kept = kept_text(&v->kept);
    return vr_printf(
        "%d %d %s %u %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %d %s %" PRIu64 " %" PRIu64
        " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %d%s%s\n%s\n%s",
        (int)j->type, (int)j->state, vr_uuid_fmt(&j->machine, m), j->percent, j->submitted.us,
        j->started.us, j->ended.us, j->scheduled.us, j->waits_for_cycle, vr_kind_name(j->err.kind),
        v->dirty, v->payload, v->wire, v->ms, v->written, v->between, v->alone, v->compared,
        *kept ? " " : "", kept, j->owner, j->err.msg);
}

/* The end of the first line; an older version did not write it. */
static const char *decode_moved(const char *s, struct rel_moved *v)
{
    int compared = 0, used = 0;
    struct rel_moved got = { .dirty = 0 };
    if (sscanf(s,
               " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
               " %d%n",
               &got.dirty, &got.payload, &got.wire, &got.ms, &got.written, &got.between, &got.alone,
               &compared, &used) == 8) {
        *v = got;
        v->compared = compared != 0;
        s += used;
    }
    char lineage[VR_UUID_STR];
    if (sscanf(s, " %36[0-9a-f-]:%" SCNu64 "%n", lineage, &got.kept.epoch, &used) == 2 &&
        vr_uuid_parse(lineage, &got.kept.lineage, NULL) == 0) {
        v->kept = got.kept;
        s += used;
    }
    return *s == '\n' ? s + 1 : s;
}

int job_decode(const char *id, const char *text, struct job *ret, struct vr_err *err)
{
    struct job j = { .percent = 0 };
    int type, state, waits, used = 0;
    char m[VR_UUID_STR], kind[32];
    if (vr_uuid_parse(id, &j.id, err) < 0)
        return vr_err_wrap(err, "written job");
    if (sscanf(text,
               "%d %d %36s %" SCNu16 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %d %31s%n",
               &type, &state, m, &j.percent, &j.submitted.us, &j.started.us, &j.ended.us,
               &j.scheduled.us, &waits, kind, &used) != 10 ||
        vr_uuid_parse(m, &j.machine, NULL) < 0)
        return vr_fail(err, VR_E_CORRUPT, 0, "written job %s cannot be read", id);
    j.type = (enum job_type)type;
    j.state = (enum job_state)state;
    j.waits_for_cycle = waits;
    const char *line = text + used;
    const char *owner = *line == ' ' ? decode_moved(line, &j.moved) : line + (*line == '\n');
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
