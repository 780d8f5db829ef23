/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_REPLICATION_ENGINE_H
#define VR_REPLICATION_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "replication/jobs.h"
#include "replication/rel.h"
#include "replication/step.h"

/* The engine: all relationships of a host and their jobs. It feeds events to rel_step() and has the
 * environment run the effects. One thread (control). It never blocks and calls nothing but the
 * environment, so that the simulator can run several engines in one process. */
struct engine;

struct engine_env {
    void *ctx;
    struct mono_ms (*mono)(void *ctx);
    struct wall_us (*wall)(void *ctx);
    /* Second of the local day at @t, 0..86399. NULL: of the UTC day. */
    uint32_t (*day_second)(void *ctx, struct wall_us t);
    void (*random)(void *ctx, void *p, size_t n);
    /* Begin effect @fx for @r (a copy, valid during the call). It ends with engine_done() - not
     * from within run() unless it was instant - after the event that it produced, if any, was
     * handed to engine_event(). Effects of one machine run one after the other, except SHIP,
     * RETENTION, PROBE and PUSH_SETTINGS: the engine goes on at once after these, they only report
     * by event (RETENTION by none, PUSH_SETTINGS by engine_settings_told()), and engine_done() is
     * not called for them. CANCEL_FLOW and CANCEL_RX are instant and
     * come out of turn. */
    void (*run)(void *ctx, const struct rel *r, enum rel_fx_bit fx);
    /* Write a job down or (NULL text) forget it; best effort, in order. */
    void (*write_job)(void *ctx, const struct vr_uuid *id, const char *text);
    /* A relationship or job changed (for events and logs); @job NULL for a relationship. */
    void (*changed)(void *ctx, const struct rel *before, const struct rel *after,
                    const struct job *job);
};

/* engine_new() - @env is copied. engine_free() - no effects are run. */
struct engine *engine_new(const struct engine_env *env);
void engine_free(struct engine *e);

/* engine_load() / engine_load_job() - put back what was written; engine_restart() - after all were
 * loaded: every relationship gets RESTART, unfinished jobs are picked up or failed. */
int engine_load(struct engine *e, const char *text, struct vr_err *err);
int engine_load_job(struct engine *e, const char *id, const char *text, struct vr_err *err);
void engine_restart(struct engine *e);

/* engine_request() - a user asks. Clock fields of @ev are filled in.
 * @ev:      type U_*
 * @type:    of the job that is made
 * @owner:   who asks
 * @ret_job: the job; it may be over already when the request was instant
 * Errors: those of rel_step(); VR_E_BUSY when another exclusive job runs; VR_E_NOTFOUND when the
 * machine has no relationship (except U_CREATE, U_BECOME_REPLICA). No job is made then.
 * Source: contract.md B.0, C.6. */
int engine_request(struct engine *e, const struct vr_uuid *machine, struct rel_event *ev,
                   enum job_type type, const char *owner, struct vr_uuid *ret_job,
                   struct vr_err *err);

/* engine_event() - the result of an effect, or news. */
void engine_event(struct engine *e, const struct vr_uuid *machine, struct rel_event *ev);
/* engine_done() - the running effect of a machine is over; the next one begins. */
void engine_done(struct engine *e, const struct vr_uuid *machine);

/* engine_peer_request() - a peer asks (PEER_*); @reply is called once, with NULL or the error, when
 * the answer is durable. May be called at once. While the same is being done already only the last
 * one who asks waits: who asked before is answered VR_E_BUSY. */
typedef void (*engine_reply_fn)(void *ctx, const struct rel *r, const struct vr_err *err);
void engine_peer_request(struct engine *e, const struct vr_uuid *machine, struct rel_event *ev,
                         engine_reply_fn reply, void *ctx);
/* engine_rx_open() - may this transfer come in? @ev: RX_OPEN. After success RX_ENDED must follow.
 */
int engine_rx_open(struct engine *e, const struct vr_uuid *machine, struct rel_event *ev,
                   struct vr_err *err);

/* engine_reset_stats() - a fresh statistics window. src:[contract.md B.4] */
int engine_reset_stats(struct engine *e, const struct vr_uuid *machine, struct vr_err *err);
/* engine_port_moved() - host @peer (NULL: this one) is reached on port @to, no longer on @from:
 * relationships whose data goes there on the old port follow. */
void engine_port_moved(struct engine *e, const char *peer, uint16_t from, uint16_t to);

/* engine_set_floor() - what this host keeps of a replica's points in any case.
 * Errors: VR_E_STATE not replicated, VR_E_INVAL (rel_keep_check()). */
int engine_set_floor(struct engine *e, const struct vr_uuid *machine, const struct rel_keep *floor,
                     struct vr_err *err);

/* engine_settings_told() - PUSH_SETTINGS is over.
 * @rev:  the number of the settings sent; @held: of those that the peer holds now, 0 when it does
 * not say (an older version)
 * @err:  NULL: acknowledged; else it is told again after a while
 * Call it once for each PUSH_SETTINGS. */
void engine_settings_told(struct engine *e, const struct vr_uuid *machine, uint64_t rev,
                          uint64_t held, const struct vr_err *err);
/* engine_rename() - the machine has another name now. */
void engine_rename(struct engine *e, const struct vr_uuid *machine, const char *name);

/* engine_differs() - a proof found @blocks that differ: both sides tell it until
 * engine_acknowledge().
 * @open: the newest point shows them, until one is there whose transfer began later; @text: a
 * sentence, which disks and what follows. Further findings add up. Errors of both: VR_E_STATE when
 * the machine is not replicated. */
int engine_differs(struct engine *e, const struct vr_uuid *machine, uint64_t blocks, bool open,
                   const char *text, struct vr_err *err);
int engine_acknowledge(struct engine *e, const struct vr_uuid *machine, struct vr_err *err);

/* engine_silent() - the storage @what of the machine's files has not answered since @since, or ("")
 * does. Not written down. */
void engine_silent(struct engine *e, const struct vr_uuid *machine, const char *what,
                   struct wall_us since);

/* Timers: engine_next() - when engine_tick() is wanted (0: never). */
struct mono_ms engine_next(const struct engine *e);
void engine_tick(struct engine *e);

/* Reading; pointers are valid until the next call that changes the engine. */
const struct rel *engine_find(const struct engine *e, const struct vr_uuid *machine);
const struct rel *engine_at(const struct engine *e, size_t i); /* NULL past the end */
const struct job *engine_job(const struct engine *e, const struct vr_uuid *id);
const struct job *engine_job_at(const struct engine *e, size_t i);
/* engine_jobs_unfinished() - of this type (0: any) and owner. engine_jobs_too_many() - has @owner
 * ENGINE_JOBS_EACH of them? Whoever has is to be told to wait before a further one is made. */
#define ENGINE_JOBS_EACH 2000
#define ENGINE_JOBS_MAX 10000 /* above, the oldest that are finished are forgotten */
size_t engine_jobs_unfinished(const struct engine *e, enum job_type type, const char *owner);
bool engine_jobs_too_many(const struct engine *e, const char *owner);
/* engine_running_job() - the exclusive job of a machine, NULL if none. */
const struct job *engine_running_job(const struct engine *e, const struct vr_uuid *machine);

/* engine_idle() - no effect is being run or waits to be run (SHIP and RETENTION do not count). */
bool engine_idle(const struct engine *e);

/* Jobs that are no relationship's: pairing, power, connection tests. */
struct vr_uuid engine_job_new(struct engine *e, enum job_type type, const struct vr_uuid *machine,
                              const char *owner);
void engine_job_end(struct engine *e, const struct vr_uuid *id,
                    const struct vr_err *err /* or NULL */);
/* engine_job_warn() - if it ends (or ended) well it is "completed with warnings", and this is the
 * warning. */
void engine_job_warn(struct engine *e, const struct vr_uuid *id, const char *text);
void engine_job_percent(struct engine *e, const struct vr_uuid *id, uint16_t percent);
/* engine_job_cancel() - Terminate. Errors: VR_E_NOTFOUND, VR_E_STATE when it cannot be cancelled.
 */
int engine_job_cancel(struct engine *e, const struct vr_uuid *id, struct vr_err *err);

#endif
