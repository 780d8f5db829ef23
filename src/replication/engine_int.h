/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_REPLICATION_ENGINE_INT_H
#define VR_REPLICATION_ENGINE_INT_H

#include "base/uuidmap.h"
#include "replication/engine.h"

/* Between the engine's files. */
struct fx_item; /* engine.c */
struct waiter;  /* engine.c */

/* A relationship and what is to be done for it. */
struct item {
    struct rel r;
    struct fx_item *head, **tail;
    bool running; /* the head's predecessor is being run by the environment */
    bool draining;
    struct vr_uuid job; /* exclusive job, zero if none */
    struct waiter *waiters;
    struct { /* the settings: engine_tell.c */
        bool running;
        unsigned failures;
        struct mono_ms due; /* of the next attempt; 0: none is wanted */
    } tell;
};

struct engine {
    struct engine_env env;
    struct item **items;
    size_t n_items;
    struct vr_uuidmap by_machine; /* the same, by machine */
    struct job *jobs;
    size_t n_jobs, jobs_cap;
};

/* ---- engine.c: facts of a relationship that change without an event of the table ---- */

/* engine_rel() - to change it; NULL if there is none. Valid until the next call that changes the
 * engine. */
struct rel *engine_rel(struct engine *e, const struct vr_uuid *machine);
/* engine_write_down() - the relationship was changed: have it written; @before, or NULL: tell the
 * environment, too. */
void engine_write_down(struct engine *e, const struct vr_uuid *machine, const struct rel *before);
/* engine_item() - NULL if there is none. engine_order() - an effect of the relationship as it is
 * now, behind those that are ordered already. */
struct item *engine_item(struct engine *e, const struct vr_uuid *machine);
void engine_order(struct engine *e, struct item *it, enum rel_fx_bit fx);
/* engine_is_silent() - what somebody asks for cannot be begun while the storage of the machine's
 * files does not answer: VR_E_IO. */
int engine_is_silent(const struct rel *r, enum rel_event_type ev, struct vr_err *err);
/* engine_now() - the environment's wall clock. */
struct wall_us engine_now(const struct engine *e);

/* ---- engine_jobs.c ----
 * engine_job_find() - NULL: none. engine_job_changed() - have it written and told.
 * engine_job_finish() - unless it is over already; @err: why, NULL none. engine_jobs_expire() -
 * forget those that ended long ago, and the oldest
 * while there are too many. */
struct job *engine_job_find(const struct engine *e, const struct vr_uuid *id);
void engine_job_changed(struct engine *e, const struct job *j);
void engine_job_finish(struct engine *e, struct job *j, enum job_state st,
                       const struct vr_err *err);
void engine_jobs_expire(struct engine *e);
/* engine_sync_end() - a cycle that began at @began ended: so do the jobs that waited for it.
 * engine_sync_give_up() - none will follow, as @r says. engine_has_cycles() - in these states
 * cycles follow each other; in others a job that waits for one would wait for ever. */
void engine_sync_end(struct engine *e, const struct vr_uuid *machine, struct mono_ms began,
                     const struct vr_err *err);
void engine_sync_give_up(struct engine *e, const struct rel *r);
bool engine_has_cycles(enum rel_state st);
/* engine_tell_way_back() - the first point of a new direction is there: the jobs that led to it
 * tell what it cost, also the one that is over since the direction was changed. */
void engine_tell_way_back(struct engine *e, const struct rel *r);

/* ---- engine_tell.c: the replica is told the settings until it acknowledges them ----
 * engine_tell_follow() - after every event. engine_tell_begin() - PUSH_SETTINGS has its turn, with
 * settings that are written down. engine_tell_tick() - it may be time for another attempt. */
void engine_tell_follow(struct item *it, const struct rel_event *ev);
void engine_tell_begin(struct engine *e, struct item *it, const struct rel *written);
void engine_tell_tick(struct engine *e, struct item *it, struct mono_ms now);

#endif
