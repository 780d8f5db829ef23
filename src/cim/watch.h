/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CIM_WATCH_H
#define CIM_WATCH_H

#include "base/clock.h"
#include "cim/query.h"

/* Events: what came, went or changed among the instances of a class. A class is watched by
 * comparing its instances with those seen before: at once when somebody tells that one changed,
 * and from time to time for what changes by itself. Control thread only; nothing blocks. */

struct cim_watch;

struct cim_event {
    enum cim_event_kind kind;
    const struct cim_inst *target;   /* as it is now, or was last when it is gone */
    const struct cim_inst *previous; /* as it was before; only when modified, else NULL */
};
/* Gets an event; borrowed during the call, from which the server must not be called. */
typedef void (*cim_event_fn)(void *ctx, const struct cim_event *ev);

/* cim_watch_new() - begin to watch. What happened before is not told.
 * @take_q: from cim_query_parse_event(); freed also on failure
 * Statuses: DENIED, UNSUPPORTED when no class that the query means has events, LIMIT. */
enum cim_status cim_watch_new(struct cim_server *s, const struct cim_caller *who,
                              struct cim_query *take_q, cim_event_fn fn, void *ctx,
                              struct cim_watch **ret, struct vr_err *err);
/* cim_watch_begin(), cim_watch_run() - the same in slices of about @slice_ms (0: to the end), so
 * that nobody has to wait for the first look at many instances. @ret_over: whether it watches; what
 * happened before is not told. After a failure it is to be freed, too. */
enum cim_status cim_watch_begin(struct cim_server *s, const struct cim_caller *who,
                                struct cim_query *take_q, cim_event_fn fn, void *ctx,
                                struct cim_watch **ret, struct vr_err *err);
enum cim_status cim_watch_run(struct cim_watch *w, unsigned slice_ms, bool *ret_over,
                              struct vr_err *err);
/* cim_watch_free() - end it. NULL is fine. cim_server_free() ends those that are left. */
void cim_watch_free(struct cim_watch *w);
VR_DEFINE_CLEANUP(struct cim_watch, cim_watch_free)

/* cim_changed() - the instance of class @id with this key may have come, gone or changed: events
 * are given out before it returns. Cheap when nobody watches the class. */
void cim_changed(struct cim_server *s, enum cim_class_id id, const char *key);
/* cim_changed_all() - any instances of the class may have; the next cim_watch_tick() looks. */
void cim_changed_all(struct cim_server *s, enum cim_class_id id);
/* cim_moved() - something came or went, or is in another place: scans (cim/scan.h) that are under
 * way begin anew. */
void cim_moved(struct cim_server *s);
/* cim_watch_tick() - look for changes that nobody told; to be called several times a second. Reads
 * one class for a few milliseconds, and each at most for a hundredth of the time. */
void cim_watch_tick(struct cim_server *s, struct mono_ms now);

#endif
