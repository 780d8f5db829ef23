/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A primary's cycle: capture, ship, end. work() functions run on workers, done() on control. */
#include "daemon/daemon.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/proc.h"
#include "daemon/contents.h"
#include "daemon/diverge.h"
#include "daemon/fault.h"
#include "daemon/messages.h"
#include "daemon/overlays.h"
#include "daemon/proof.h"
#include "daemon/slots.h"
#include "daemon/swap.h"

enum { DEFINITION_MAX = 786432 }; /* bytes of one in a transfer's opening message */

/* ---- capture ---- */
struct capture_task {
    struct task t;
    struct hv_capture *cap;
};

static void capture_work(struct task *t)
{
    struct capture_task *c = (struct capture_task *)t;
    const struct rel *r = &t->r;
    const char *targets[VR_DISKS_MAX];
    char parent[64], name[64];
    rel_checkpoint(&r->acked.lineage, r->acked.epoch, parent);
    rel_checkpoint(&r->lineage, r->flow.epoch, name);
    bool whole[VR_DISKS_MAX];
    size_t n = rel_targets(r, targets);
    rel_whole(r, whole);
    if (hv_capture_begin_frozen(t->d->hv, &r->machine, targets, whole, n,
                                r->flow.has_since ? parent : NULL, name,
                                r->flow.app ? t->d->cfg.freeze_seconds : 0, &c->cap, &t->err) < 0 &&
        r->flow.has_since)
        overlays_captured(t->d, r, targets, n, name, &c->cap, &t->err);
    if (c->cap && r->flow.kind == FLOW_FINAL && c->cap->live) {
        /* Started between the request and the guard: the last delta would not be the last. */
        struct vr_err ignored = VR_ERR_INIT;
        hv_capture_end(t->d->hv, c->cap, false, &ignored);
        c->cap = NULL;
        vr_fail(&t->err, VR_E_STATE, 0, "machine %s was started; shut it down first", r->name);
    }
}

static void capture_done(struct task *t)
{
    struct capture_task *c = (struct capture_task *)t;
    if (!c->cap)
        slots_release(t->d->slots, &t->r.machine);
    struct rel_event ev = { .type = EV_CAPTURE_FAILED, .err = t->err };
    if (c->cap) {
        struct machine_rt *rt = rt_get(t->d, &t->r.machine);
        rt->capture = c->cap;
        ev.type = EV_CAPTURED;
        ev.instant = c->cap->instant;
        ev.vm_off = !c->cap->live;
        ev.kind = c->cap->consistent ? VR_POINT_APPLICATION : VR_POINT_STANDARD;
        ev.frozen_ms = c->cap->frozen_ms;
        memcpy(ev.note, c->cap->why_not, sizeof ev.note);
        if (ev.note[0])
            vr_log(VR_LOG_WARN, "machine %s: point %" PRIu64 " is %sapplication-consistent: %s",
                   t->r.name, t->r.flow.epoch, c->cap->consistent ? "" : "not ", ev.note);
        ev.n_disks = (uint32_t)c->cap->n_disks;
        for (size_t i = 0; i < c->cap->n_disks && i < VR_DISKS_MAX; i++) {
            snprintf(ev.disks[i].target, sizeof ev.disks[i].target, "%s", c->cap->disks[i].target);
            ev.disks[i].size = c->cap->disks[i].size;
        }
    }
    finish_effect(t->d, &t->r.machine, &ev);
}

static void capture_start(void *arg)
{
    struct capture_task *c = arg;
    task_run(c->t.d, c->t.d->hv_exec, &c->t);
}

void fx_capture(struct daemon *d, const struct rel *r)
{
    static const enum slot_class classes[] = {
        [FLOW_NONE] = SLOT_CYCLE,  [FLOW_IR] = SLOT_BULK,     [FLOW_CYCLE] = SLOT_CYCLE,
        [FLOW_FINAL] = SLOT_FINAL, [FLOW_RESYNC] = SLOT_BULK, [FLOW_UPDATE] = SLOT_BULK
    };
    struct capture_task *c = vr_new(struct capture_task);
    c->t.d = d;
    c->t.work = capture_work;
    c->t.done = capture_done;
    c->t.r = *r;
    slots_ask(d->slots, &r->machine, classes[r->flow.kind], capture_start, c);
}

static void capture_given_up(void *arg)
{
    struct capture_task *c = arg;
    struct rel_event ev = { .type = EV_CAPTURE_FAILED };
    vr_fail(&ev.err, VR_E_CANCELLED, 0, "cancelled while it waited for its turn");
    finish_effect(c->t.d, &c->t.r.machine, &ev);
    free(c);
}

void ship_cancel(struct machine_rt *rt)
{
    if (rt->sending)
        atomic_store(&rt->sending->cancel, true);
    if (rt->opening)
        rt->opening->shutdown(rt->opening);
}

void fx_cancel_flow(struct daemon *d, const struct rel *r)
{
    struct machine_rt *rt = rt_get(d, &r->machine);
    struct capture_task *c = slots_give_up(d->slots, &r->machine);
    ship_cancel(rt);
    if (c) /* not from within the effect that cancels it */
        vr_mailbox_post(d->mail, capture_given_up, c);
}

struct end_task {
    struct task t;
    struct hv_capture *cap;
    bool keep;
    bool first; /* the point is the first one since a reversal, perhaps */
    bool stale; /* checkpoints of an earlier run may be there */
};

/* The capture started from the failover, or from nothing. */
static bool starts_a_way(const struct rel *r, const struct hv_capture *cap)
{
    char failover[64];
    rel_checkpoint(&r->lineage, 0, failover);
    return r->ever_replica && (!cap->parent[0] || !strcmp(cap->parent, failover));
}

static void end_work(struct task *t)
{
    struct end_task *e = (struct end_task *)t;
    char kept[64];
    if (e->first)
        swap_forget_newer(t);
    if (e->cap && hv_capture_end(t->d->hv, e->cap, e->keep, &t->err) == 0 && e->keep && e->stale) {
        rel_checkpoint(&t->r.acked.lineage, t->r.acked.epoch, kept);
        clean_checkpoints(t, kept);
    }
}

static void end_done(struct task *t)
{
    struct end_task *e = (struct end_task *)t;
    if (e->stale && e->keep && t->err.kind == VR_OK)
        rt_get(t->d, &t->r.machine)->stale_checkpoints = false;
    if (t->err.kind != VR_OK) {
        vr_log_err(e->keep ? VR_LOG_WARN : VR_LOG_INFO, t->r.name, &t->err);
        rt_get(t->d, &t->r.machine)->stale_checkpoints = true; /* the next one deletes this, too */
    }
    struct rel_event ev = { .type = EV_ENDED };
    finish_effect(t->d, &t->r.machine, &ev);
}

static void end_begin(void *arg)
{
    struct end_task *e = arg;
    task_run(e->t.d, e->t.d->hv_exec, &e->t);
}

void fx_end_capture(struct daemon *d, const struct rel *r, bool keep)
{
    struct machine_rt *rt = rt_get(d, &r->machine);
    struct end_task *e = vr_new(struct end_task);
    e->t.work = end_work;
    e->t.done = end_done;
    e->t.r = *r;
    e->cap = rt->capture;
    e->keep = keep;
    /* Who starts from nothing has no parent that the end of the capture would delete: what was
     * acknowledged before a loss of tracking goes here. */
    e->stale = rt->stale_checkpoints || (e->cap && !e->cap->parent[0]);
    e->first = keep && e->cap && starts_a_way(r, e->cap);
    e->t.d = d;
    rt->capture = NULL;
    slots_release(d->slots, &r->machine);
    /* The point is there and its instant is still held: the moment to compare. */
    if (!keep || !e->cap || !proof_slice(d, r, e->cap, end_begin, e))
        end_begin(e);
}

/* ---- ship ---- */
struct ship_task {
    struct task t;
    struct hv_capture *cap; /* held by the machine's rt until the task is done */
    struct xport_peer peer;
    struct xfer_progress progress;
    struct mono_ms began;
    uint64_t written, alone, between; /* bytes of F, D and O, on the way back */
    bool way_back, compared;
    struct divergence diverged; /* what the first point after an unplanned failover ships besides */
    struct overlay *overlays;   /* VR_DISKS_MAX; of a machine that was failed over */
    struct extents *extra; /* VR_DISKS_MAX; what is shipped or looked at besides the change map */
    struct xfer_own *own;  /* VR_DISKS_MAX */
    bool reached;
};

/* The bytes of an instant, for whoever wants to look at them while they are held (config.h). */
static int run_hook(const struct ship_task *s, struct vr_err *err)
{
    const struct config *cfg = &s->t.d->cfg;
    if (!cfg->capture_hook[0])
        return 0;
    const char *argv[4 + 3 * VR_DISKS_MAX + 1] = { cfg->capture_hook };
    char machine[VR_UUID_STR], lineage[VR_UUID_STR], epoch[32];
    size_t n = 1;
    argv[n++] = vr_uuid_fmt(&s->t.r.machine, machine);
    argv[n++] = vr_uuid_fmt(&s->t.r.lineage, lineage);
    snprintf(epoch, sizeof epoch, "%" PRIu64, s->t.r.flow.epoch);
    argv[n++] = epoch;
    for (size_t i = 0; i < s->cap->n_disks; i++) {
        argv[n++] = s->cap->disks[i].target;
        argv[n++] = s->cap->disks[i].socket;
        argv[n++] = s->cap->disks[i].export_name;
    }
    argv[n] = NULL;
    if (vr_proc_run(argv, 600, NULL, err) < 0)
        return vr_err_wrap(err, "capture_hook");
    return 0;
}

static enum xfer_mode mode_of(const struct rel *r, const struct hv_capture_disk *d,
                              const struct overlay *o)
{
    if (rel_ships_changes(r) && (d->dirty_context || o->has_written))
        return r->diverged || o->has_written ? XFER_EXTENTS : XFER_DIRTY;
    return r->flow.kind != FLOW_IR || r->seeded_start || r->diverged ? XFER_COMPARE : XFER_ALL;
}

static bool compares(const struct ship_task *s)
{
    for (size_t i = 0; i < s->cap->n_disks; i++)
        if (mode_of(&s->t.r, &s->cap->disks[i], &s->overlays[i]) == XFER_COMPARE)
            return true;
    return false;
}

/* Is this the machine's disks in every way as the receiver knows them? If not, or perhaps not, it
 * is told how the machine is defined. One that cannot be read now is not needed now, or asked for.
 */
static char *definition_to_send(const struct ship_task *s)
{
    const struct rel *r = &s->t.r;
    struct vr_err err = VR_ERR_INIT;
    char *xml = NULL;
    bool usual = r->flow.kind == FLOW_CYCLE || r->flow.kind == FLOW_FINAL;
    if (usual && !r->disks_changed && !r->way_back)
        return NULL;
    if (hv_xml(s->t.d->hv, &r->machine, &xml, &err) < 0)
        vr_log_err(VR_LOG_WARN, r->name, &err);
    if (xml && strlen(xml) >= DEFINITION_MAX)
        vr_set_str(&xml, NULL);
    return xml;
}

/* The peer may read its disks for hours before it accepts: who cancels must be able to end that. */
struct opening {
    struct ship_task *s;
    struct vr_stream *stream;
    bool go;
};

static void opening_note(void *arg)
{
    struct opening *o = arg;
    rt_get(o->s->t.d, &o->s->t.r.machine)->opening = o->stream;
    o->go = !atomic_load(&o->s->progress.cancel);
}

static bool opening_watch(void *ctx, struct vr_stream *stream)
{
    struct opening o = { .s = ctx, .stream = stream };
    ctl_call(o.s->t.d, opening_note, &o);
    if (!o.go && stream) {
        o.stream = NULL;
        ctl_call(o.s->t.d, opening_note, &o);
        return false;
    }
    return true;
}

static int open_transfer(struct ship_task *s, struct vr_stream **ret, struct vr_err *err)
{
    const struct rel *r = &s->t.r;
    struct msg_disk disks[VR_DISKS_MAX];
    vr_autofree char *xml = definition_to_send(s);
    msg_from_disks(r->disks, r->n_disks, disks);
    for (size_t i = 0; i < s->cap->n_disks && i < r->n_disks; i++) {
        enum xfer_mode mode = mode_of(r, &s->cap->disks[i], &s->overlays[i]);
        disks[i].whole = mode == XFER_COMPARE || mode == XFER_ALL;
    }
    struct msg_transfer m = {
        .machine = r->machine,
        .lineage = r->lineage,
        .has_since = rel_ships_changes(r),
        .diverged = rel_ships_changes(r) && r->diverged,
        .since = rel_ships_changes(r) ? r->acked.epoch : 0,
        .epoch = r->flow.epoch,
        .kind = rel_flow_kind(r),
        .instant_us = s->cap->instant.us,
        .disks = disks,
        .n_disks = r->n_disks,
        .compare = compares(s),
        .resync = r->flow.kind == FLOW_RESYNC,
        .update = r->flow.kind == FLOW_UPDATE,
        .xml = xml,
    };
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    if (msg_transfer_encode(&m, &b, err) < 0)
        return -1;
    if (xport_transfer_open_watched(s->t.d->xport, &s->peer, b.data, b.len, opening_watch, s, ret,
                                    err) == 0)
        return 0;
    if (err->kind == VR_E_PEER && atomic_load(&s->progress.cancel)) {
        vr_err_clear(err);
        vr_fail(err, VR_E_CANCELLED, 0, "cancelled while the peer prepared for the transfer");
    }
    return -1;
}

/* The disks that keep no bitmap were read as a whole just now: remember what they held. Without it
 * they are compared again when it matters, so a failure is no more than a warning. */
static void note_contents(const struct ship_task *s, const struct xfer_send_disk *disks,
                          const struct disksum *sums)
{
    const struct vr_point_id of = { .lineage = s->t.r.lineage, .epoch = s->t.r.flow.epoch };
    struct contents c = { .n = 0 };
    struct vr_err err = VR_ERR_INIT;
    for (size_t i = 0; i < s->cap->n_disks; i++) {
        if (!s->cap->disks[i].untrackable || disks[i].mode != XFER_COMPARE || disks[i].own)
            continue;
        snprintf(c.target[c.n], sizeof c.target[c.n], "%s", disks[i].target);
        c.sum[c.n++] = sums[i];
    }
    if (c.n && contents_save(s->t.d, &s->t.r.machine, &of, &c, &err) < 0)
        vr_log_err(VR_LOG_WARN, "writing down what the disks without a bitmap hold", &err);
}

/* What is shipped besides what the change map tells, or, when comparing, what is looked at because
 * the digests of what lies below cannot tell it. */
static void add_known(struct ship_task *s, size_t i, struct xfer_send_disk *to)
{
    struct overlay *o = &s->overlays[i];
    const char *context = s->cap->disks[i].dirty_context;
    bool knows = (context || o->has_written) && o->has_below;
    if (to->mode == XFER_ALL || (to->mode == XFER_COMPARE && !knows))
        return;
    to->dirty_context = context;
    to->extra = &s->extra[i];
    extents_unite(&s->extra[i], &o->written);
    if (to->mode == XFER_EXTENTS) {
        struct extents *apart = divergence_of(&s->diverged, to->target);
        if (apart)
            extents_unite(&s->extra[i], apart);
        return;
    }
    extents_unite(&s->extra[i], &o->below.wrong);
    s->own[i] = (struct xfer_own){ .digests = (const char *const *)o->below.digests,
                                   .n_digests = o->below.n_digests,
                                   .complete = o->below.complete };
    to->own = &s->own[i];
}

static int ship_all(struct ship_task *s, struct vr_stream *stream, struct vr_err *err)
{
    const struct config *cfg = &s->t.d->cfg;
    struct xfer_send_disk disks[VR_DISKS_MAX];
    size_t n = s->cap->n_disks;
    for (size_t i = 0; i < n; i++) {
        const struct hv_capture_disk *d = &s->cap->disks[i];
        disks[i] = (struct xfer_send_disk){ .size = d->size,
                                            .socket = d->socket,
                                            .export_name = d->export_name,
                                            .image = d->image,
                                            .format = d->format,
                                            .mode = mode_of(&s->t.r, d, &s->overlays[i]) };
        snprintf(disks[i].target, sizeof disks[i].target, "%s", d->target);
        add_known(s, i, &disks[i]);
    }
    struct xfer_send x = {
        .stream = stream,
        .disks = disks,
        .n_disks = n,
        .level = s->t.r.set.compression ? (int)cfg->compression_level : 0,
        .bytes_per_second = (uint64_t)cfg->bandwidth << 20,
        .progress = &s->progress,
    };
    struct disksum sums[VR_DISKS_MAX];
    x.sums = sums;
    if (xfer_send_run(&x, err) < 0)
        return -1;
    /* The bytes are there. They are a point only if they still are of one instant. */
    struct vr_err valid = VR_ERR_INIT;
    hv_capture_valid(s->t.d->hv, s->cap, &valid);
    if (xport_send_result(stream, valid.kind == VR_OK ? NULL : &valid, err) < 0)
        return -1;
    if (valid.kind != VR_OK) {
        *err = valid;
        return -1;
    }
    if (xport_recv_result(stream, err) < 0)
        return -1;
    note_contents(s, disks, sums);
    return 0;
}

/* For whoever wants to know what a way back costs. The map is asked for again, which is cheap. */
static void count_written(struct ship_task *s)
{
    struct vr_err err = VR_ERR_INIT;
    for (size_t i = 0; i < s->cap->n_disks; i++) {
        const struct hv_capture_disk *d = &s->cap->disks[i];
        struct extents f = { .v = NULL };
        extents_unite(&f, &s->overlays[i].written);
        if (d->dirty_context &&
            xfer_dirty_map(d->socket, d->export_name, d->dirty_context, &f, &err) < 0)
            vr_log_err(VR_LOG_DEBUG, d->target, &err);
        vr_err_clear(&err);
        extents_align(&f, VR_BLOCK_SIZE, d->size);
        s->written += extents_bytes(&f);
        extents_done(&f);
    }
}

static void ship_work(struct task *t)
{
    struct ship_task *s = (struct ship_task *)t;
    if (t->err.kind != VR_OK || run_hook(s, &t->err) < 0)
        return;
    bool diverged = t->r.diverged;
    if (rel_ships_changes(&t->r) && diverged) {
        struct vr_err err = VR_ERR_INIT;
        if (divergence_load(t->d, &t->r.machine, &t->r.acked, &s->diverged, &err) < 0) {
            vr_log_err(VR_LOG_WARN, "the disks are compared instead", &err);
            t->r.diverged = false; /* of this task's copy: nobody knows what differs */
            t->r.seeded_start = true;
        }
    }
    overlays_look(t->d, &t->r, s->cap, !rel_ships_changes(&t->r), s->overlays);
    s->alone = s->diverged.alone;
    s->between = s->diverged.between;
    s->way_back = rel_since_failover(&t->r);
    s->compared = compares(s);
    if (s->way_back)
        count_written(s);
    struct vr_stream *stream = NULL;
    if (open_transfer(s, &stream, &t->err) == 0) {
        s->reached = true;
        ship_all(s, stream, &t->err);
    }
    vr_stream_free(stream);
    divergence_done(&s->diverged);
    if (t->err.kind == VR_OK && diverged)
        divergence_forget(t->d, &t->r.machine);
    vr_err_wrap(&t->err, "sending to %s", s->peer.name[0] ? s->peer.name : t->r.peer);
}

static void ship_done(struct task *t)
{
    struct ship_task *s = (struct ship_task *)t;
    struct machine_rt *rt = rt_get(t->d, &t->r.machine);
    rt->sending = NULL;
    overlays_done(s->overlays);
    for (size_t i = 0; i < VR_DISKS_MAX; i++)
        extents_done(&s->extra[i]);
    free(s->overlays);
    free(s->extra);
    free(s->own);
    slots_release(t->d->slots, &t->r.machine);
    fault_after("SHIP");
    struct rel_event ev = { .type = t->err.kind == VR_OK ? EV_SHIPPED : EV_SHIP_FAILED,
                            .err = t->err };
    ev.moved = (struct rel_moved){ .dirty = atomic_load(&s->progress.done),
                                   .payload = atomic_load(&s->progress.payload),
                                   .wire = atomic_load(&s->progress.wire),
                                   .ms = (uint64_t)(vr_mono_now().ms - s->began.ms) };
    if (s->way_back) {
        ev.moved.written = s->written;
        ev.moved.alone = s->alone;
        ev.moved.between = s->between;
        ev.moved.compared = s->compared;
    }
    host_peer_contact(t->d, t->r.peer, s->reached || t->err.kind != VR_E_PEER);
    if (t->err.kind == VR_OK)
        vr_log(VR_LOG_INFO,
               "machine %s: point %" PRIu64 " at %s: %" PRIu64 " KiB changed, %" PRIu64
               " KiB on the wire, %" PRIu64 " ms",
               t->r.name, t->r.flow.epoch, t->r.peer, ev.moved.dirty >> 10, ev.moved.wire >> 10,
               ev.moved.ms);
    /* SHIP does not hold the queue: no engine_done(). */
    engine_event(t->d->engine, &t->r.machine, &ev);
}

void fx_ship(struct daemon *d, const struct rel *r)
{
    struct machine_rt *rt = rt_get(d, &r->machine);
    struct ship_task *s = vr_new(struct ship_task);
    s->t.work = ship_work;
    s->t.done = ship_done;
    s->t.r = *r;
    s->cap = rt->capture;
    s->began = vr_mono_now();
    s->overlays = vr_new0(VR_DISKS_MAX, sizeof *s->overlays);
    s->extra = vr_new0(VR_DISKS_MAX, sizeof *s->extra);
    s->own = vr_new0(VR_DISKS_MAX, sizeof *s->own);
    peer_of_rel(d, r, &s->peer, &s->t.err);
    atomic_store(&s->progress.cancel, r->flow.cancelled || d->stopping);
    rt->sending = &s->progress;
    task_run(d, d->xfer_exec, &s->t);
}
