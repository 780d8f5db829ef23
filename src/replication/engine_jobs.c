/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The engine's list of jobs: made, changed, ended and forgotten; those that wait for a cycle. Which
 * job is a machine's exclusive one is engine.c's. Control thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "replication/engine_int.h"

#define JOB_KEEP_US (300ll * 1000000) /* src:[contract.md A.12 TimeBeforeRemoval] */

struct job *engine_job_find(const struct engine *e, const struct vr_uuid *id)
{
    for (size_t i = 0; i < e->n_jobs; i++)
        if (vr_uuid_eq(&e->jobs[i].id, id))
            return &e->jobs[i];
    return NULL;
}

void engine_job_changed(struct engine *e, const struct job *j)
{
    vr_autofree char *text = job_encode(j);
    e->env.write_job(e->env.ctx, &j->id, text);
    e->env.changed(e->env.ctx, NULL, NULL, j);
}

static void add(struct engine *e, const struct job *j)
{
    if (e->n_jobs == e->jobs_cap) {
        e->jobs_cap = e->jobs_cap ? e->jobs_cap * 2 : 16;
        e->jobs = vr_grow(e->jobs, e->jobs_cap, sizeof *e->jobs);
    }
    e->jobs[e->n_jobs++] = *j;
}

struct vr_uuid engine_job_new(struct engine *e, enum job_type type, const struct vr_uuid *machine,
                              const char *owner)
{
    struct job j = { .type = type, .state = JOB_RUNNING };
    e->env.random(e->env.ctx, j.id.b, sizeof j.id.b);
    if (machine)
        j.machine = *machine;
    snprintf(j.owner, sizeof j.owner, "%s", owner ? owner : "");
    j.submitted = j.started = e->env.wall(e->env.ctx);
    j.created = e->env.mono(e->env.ctx);
    add(e, &j);
    engine_job_changed(e, &e->jobs[e->n_jobs - 1]);
    return j.id;
}

void engine_job_finish(struct engine *e, struct job *j, enum job_state st, const struct vr_err *err)
{
    if (job_over(j))
        return;
    j->state = st == JOB_COMPLETED && j->warned ? JOB_WARNINGS : st;
    j->ended = e->env.wall(e->env.ctx);
    if (st == JOB_COMPLETED)
        j->percent = 100;
    if (err)
        j->err = *err;
    engine_job_changed(e, j);
}

void engine_job_end(struct engine *e, const struct vr_uuid *id, const struct vr_err *err)
{
    struct job *j = engine_job_find(e, id);
    if (j)
        engine_job_finish(e, j,
                          !err                          ? JOB_COMPLETED
                          : err->kind == VR_E_CANCELLED ? JOB_TERMINATED
                                                        : JOB_EXCEPTION,
                          err);
}

void engine_job_warn(struct engine *e, const struct vr_uuid *id, const char *text)
{
    struct job *j = engine_job_find(e, id);
    if (!j || (job_over(j) && j->state != JOB_COMPLETED))
        return;
    j->warned = true;
    vr_err_clear(&j->err);
    vr_fail(&j->err, VR_E_UNSUPPORTED, 0, "%s", text);
    if (j->state == JOB_COMPLETED) {
        j->state = JOB_WARNINGS;
        engine_job_changed(e, j);
    }
}

void engine_job_percent(struct engine *e, const struct vr_uuid *id, uint16_t percent)
{
    struct job *j = engine_job_find(e, id);
    if (j && !job_over(j))
        j->percent = percent > 100 ? 100 : percent;
}

static int by_time(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* Jobs that ended before are to be forgotten: their time is up, or there are too many and these are
 * the oldest. */
static int64_t keep_from(const struct engine *e)
{
    int64_t from = e->env.wall(e->env.ctx).us - JOB_KEEP_US;
    size_t over = 0;
    if (e->n_jobs <= ENGINE_JOBS_MAX)
        return from;
    vr_autofree int64_t *ended = vr_new0(e->n_jobs, sizeof *ended);
    for (size_t i = 0; i < e->n_jobs; i++)
        if (job_over(&e->jobs[i]))
            ended[over++] = e->jobs[i].ended.us;
    qsort(ended, over, sizeof *ended, by_time);
    size_t drop = e->n_jobs - ENGINE_JOBS_MAX;
    drop = drop < over ? drop : over;
    return drop && ended[drop - 1] >= from ? ended[drop - 1] + 1 : from;
}

void engine_jobs_expire(struct engine *e)
{
    int64_t from = keep_from(e);
    size_t kept = 0;
    for (size_t i = 0; i < e->n_jobs; i++) {
        struct job *j = &e->jobs[i];
        if (job_over(j) && j->ended.us < from)
            e->env.write_job(e->env.ctx, &j->id, NULL);
        else
            e->jobs[kept++] = *j;
    }
    e->n_jobs = kept;
}

/* Jobs that wait for a cycle which began after them. */
void engine_sync_end(struct engine *e, const struct vr_uuid *machine, struct mono_ms began,
                     const struct vr_err *err)
{
    for (size_t i = 0; i < e->n_jobs; i++) {
        struct job *j = &e->jobs[i];
        if (j->waits_for_cycle && !job_over(j) && vr_uuid_eq(&j->machine, machine) &&
            j->created.ms <= began.ms)
            engine_job_finish(e, j, err ? JOB_EXCEPTION : JOB_COMPLETED, err);
    }
}

bool engine_has_cycles(enum rel_state st)
{
    return st == ST_P_IR || st == ST_P_REPL || st == ST_P_RESYNC || st == ST_P_UPDATE ||
           st == ST_P_PREPARING || st == ST_P_PREPARED;
}

void engine_sync_give_up(struct engine *e, const struct rel *r)
{
    for (size_t i = 0; i < e->n_jobs; i++) {
        struct job *j = &e->jobs[i];
        if (!j->waits_for_cycle || job_over(j) || !vr_uuid_eq(&j->machine, &r->machine))
            continue;
        struct vr_err err = VR_ERR_INIT;
        vr_fail(&err, VR_E_STATE, 0, "machine %s went into state \"%s\"; no cycle follows%s%s",
                r->name, rel_state_text(r->st), r->last_err.msg[0] ? ": " : "", r->last_err.msg);
        engine_job_finish(e, j, JOB_EXCEPTION, &err);
    }
}

/* The first point of a new direction is there: the jobs that led to it tell what it cost, also the
 * one that is over since the direction was changed. */
void engine_tell_way_back(struct engine *e, const struct rel *r)
{
    struct job *reversal = NULL;
    for (size_t i = 0; i < e->n_jobs; i++) {
        struct job *j = &e->jobs[i];
        bool starts = j->type == JOB_START_IR || j->type == JOB_START_SEEDED;
        if (!vr_uuid_eq(&j->machine, &r->machine))
            continue;
        if (j->type == JOB_REVERSE && j->state == JOB_COMPLETED)
            reversal = j; /* the last one */
        if (!starts || job_over(j))
            continue;
        j->moved = r->last_back;
        engine_job_changed(e, j);
    }
    if (reversal) {
        reversal->moved = r->last_back;
        engine_job_changed(e, reversal);
    }
}

int engine_load_job(struct engine *e, const char *id, const char *text, struct vr_err *err)
{
    struct job j;
    if (job_decode(id, text, &j, err) < 0)
        return -1;
    j.created = (struct mono_ms){ 0 };
    add(e, &j);
    return 0;
}

const struct job *engine_job(const struct engine *e, const struct vr_uuid *id)
{
    return engine_job_find(e, id);
}

const struct job *engine_job_at(const struct engine *e, size_t i)
{
    return i < e->n_jobs ? &e->jobs[i] : NULL;
}

size_t engine_jobs_unfinished(const struct engine *e, enum job_type type, const char *owner)
{
    size_t n = 0;
    for (size_t i = 0; i < e->n_jobs; i++) {
        const struct job *j = &e->jobs[i];
        n += !job_over(j) && (!type || j->type == type) &&
             !strncmp(j->owner, owner, sizeof j->owner - 1);
    }
    return n;
}

bool engine_jobs_too_many(const struct engine *e, const char *owner)
{
    return e->n_jobs >= ENGINE_JOBS_EACH && engine_jobs_unfinished(e, 0, owner) >= ENGINE_JOBS_EACH;
}
