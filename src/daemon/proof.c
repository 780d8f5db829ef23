/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The primary's half of proof: slices of its disks, read through the capture of a point that the
 * replica holds already, and compared there. One slice at a time per machine; the position moves on
 * only over what was compared. Control thread, work() on transfer workers. */
#include "daemon/proof.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "base/log.h"
#include "daemon/messages.h"
#include "transfer/blockread.h"
#include "transfer/digestlog.h"

enum {
    BACKGROUND_MS = 2000, /* the longest slice when nobody waits */
    ASKED_MS = 10000,     /* and when somebody does */
    CHUNK_LEAST = 128,    /* blocks with data that are read for one call: 8 MiB, */
    CHUNK_MOST = 2048,    /* doubled up to 128 MiB */
    CHUNK_FAST_MS = 200,  /* while a call takes no longer than this */
    CALL_TIMEOUT_MS = 600000,
};

/* ---- written state ---- */
static int load_one(void *ctx, const char *id, const char *text, struct vr_err *err)
{
    struct daemon *d = ctx;
    struct vr_uuid machine;
    struct proof_state s;
    struct vr_err bad = VR_ERR_INIT;
    (void)err;
    if (vr_uuid_parse(id, &machine, &bad) < 0 || proof_decode(text, &s, &bad) < 0) {
        vr_log_err(VR_LOG_WARN, "proof begins anew", &bad);
        return 0;
    }
    rt_get(d, &machine)->proof.at = s;
    return 0;
}

int proof_load(struct daemon *d, struct vr_err *err)
{
    return store_doc_each(d->store, "proof", load_one, d, err);
}

struct save_task {
    struct task t;
    char *text; /* NULL: forget */
};

static void save_work(struct task *t)
{
    struct save_task *s = (struct save_task *)t;
    char id[VR_UUID_STR];
    vr_uuid_fmt(&t->r.machine, id);
    if (s->text)
        store_doc_put(t->d->store, "proof", id, s->text, &t->err);
    else
        store_doc_delete(t->d->store, "proof", id, &t->err);
}

static void save_done(struct task *t)
{
    free(((struct save_task *)t)->text);
    if (t->err.kind != VR_OK && t->err.kind != VR_E_NOTFOUND)
        vr_log_err(VR_LOG_WARN, "writing down how far proof is", &t->err);
}

static void save(struct daemon *d, const struct vr_uuid *machine, char *take_text)
{
    struct save_task *s = vr_new(struct save_task);
    s->t.work = save_work;
    s->t.done = save_done;
    s->t.r.machine = *machine;
    s->text = take_text;
    task_run(d, d->store_exec, &s->t);
}

void proof_save(struct daemon *d, const struct vr_uuid *machine)
{
    save(d, machine, proof_encode(&rt_get(d, machine)->proof.at));
}

void proof_forget(struct daemon *d, const struct vr_uuid *machine)
{
    rt_get(d, machine)->proof.at = (struct proof_state){ .disk = 0 };
    save(d, machine, NULL);
}

void proof_differs(struct daemon *d, const struct vr_uuid *machine, uint64_t blocks, bool open,
                   const char *text)
{
    const struct rel *r = engine_find(d->engine, machine);
    struct vr_err err = VR_ERR_INIT;
    vr_log(VR_LOG_ERROR, "machine %s: PROOF FAILED: %s", r ? r->name : "?", text);
    if (engine_differs(d->engine, machine, blocks, open, text, &err) < 0)
        vr_log_err(VR_LOG_WARN, "telling of a difference", &err);
    host_refresh_points(d, machine);
}

/* ---- a slice ---- */
struct slice {
    struct task t;
    struct hv_capture *cap; /* the caller's, until then() */
    struct xport_peer peer;
    void (*then)(void *arg);
    void *then_arg;
    atomic_bool *cancel;
    struct proof_state at; /* moves on */
    bool whole;            /* began at the beginning of a pass */
    bool over;             /* and the pass ended */
    uint64_t budget;       /* blocks: of those given, the ones left */
    uint64_t given;        /* 0: as many as there are, somebody waits */
    int64_t until_ms;
    uint64_t chunk; /* blocks with data for the next call */
    uint64_t rate;
    uint64_t total, done;
    /* the last chunk */
    struct vr_digest *digests;
    uint64_t first, n, data; /* from, how many, of them read */
    bool unreadable;         /* the block after them */
    /* differences of one disk, the last one */
    struct proof_diff diff;
    uint64_t found; /* of all */
    char text[VR_BAD_TEXT];
};

static uint64_t blocks_of(const struct hv_capture_disk *d)
{
    return (d->size + VR_BLOCK_SIZE - 1) / VR_BLOCK_SIZE;
}

static int on_block(void *ctx, uint64_t block, const uint8_t *data, size_t n, struct vr_err *err)
{
    struct slice *s = ctx;
    (void)err;
    if (!data || s->data >= s->chunk) {
        s->n = block - s->first; /* what lies before it are holes, or was read */
        s->unreadable = !data;
        return 1;
    }
    s->data++;
    if (!blockread_all_zero(data, n))
        s->digests[block - s->first] = vr_digest_block(data, n);
    return 0;
}

/* Digests of the next blocks of a disk. */
static int read_chunk(struct slice *s, struct vnbd *nbd, uint64_t blocks, struct vr_err *err)
{
    s->first = s->at.block;
    s->n = blocks - s->first < PROOF_CALL_MAX ? blocks - s->first : PROOF_CALL_MAX;
    if (s->n > s->budget)
        s->n = s->budget;
    s->data = 0;
    s->unreadable = false;
    memset(s->digests, 0, PROOF_CALL_MAX * sizeof *s->digests);
    struct blockread r = { .nbd = nbd,
                           .cancel = s->cancel,
                           .bytes_per_second = s->rate,
                           .tolerant = true,
                           .fn = on_block,
                           .ctx = s };
    if (blockread_run(&r, s->first, s->first + s->n, err) < 0)
        return -1;
    return hv_capture_valid(s->t.d->hv, s->cap, err);
}

/* Does the pass end with this chunk? */
static bool is_last(const struct slice *s)
{
    return s->at.disk + 1 == s->cap->n_disks && !s->unreadable &&
           s->first + s->n == blocks_of(&s->cap->disks[s->at.disk]);
}

static int take_answer(struct slice *s, const char *target, const struct vr_buf *reply,
                       struct vr_err *err)
{
    __attribute__((cleanup(msg_prove_reply_done))) struct msg_prove_reply a = { 0 };
    if (msg_prove_reply_decode(reply->data, reply->len, &a, err) < 0)
        return -1;
    if (!a.bad)
        return 0;
    struct vr_rd rd = { a.ranges, a.n_ranges };
    uint64_t offset = s->first * VR_BLOCK_SIZE;
    if (a.n_ranges)
        vr_get_u64(&rd, &offset, err);
    s->diff = (struct proof_diff){ .replica = s->peer.name,
                                   .target = target,
                                   .epoch = s->t.r.flow.epoch,
                                   .blocks = a.bad,
                                   .rot = a.rot,
                                   .points = a.points,
                                   .first = offset / VR_BLOCK_SIZE };
    s->found += a.bad;
    s->at.bad += a.bad;
    proof_text(&s->diff, s->text, sizeof s->text);
    return 0;
}

static int ask(struct slice *s, const char *target, struct vr_err *err)
{
    struct msg_prove m = { .machine = s->t.r.machine,
                           .lineage = s->t.r.lineage,
                           .epoch = s->t.r.flow.epoch,
                           .target = target,
                           .first = s->first,
                           .digests = (const uint8_t *)s->digests,
                           .n_digests = s->n * sizeof *s->digests,
                           .ends = is_last(s) ? s->whole ? 2 : 1 : 0,
                           .clean = s->at.bad == 0 };
    vr_autobuf struct vr_buf b = VR_BUF_INIT, reply = VR_BUF_INIT;
    if (msg_prove_encode(&m, &b, err) < 0 || xport_call(s->t.d->xport, &s->peer, CALL_PROVE, b.data,
                                                        b.len, &reply, CALL_TIMEOUT_MS, err) < 0)
        return -1;
    return take_answer(s, target, &reply, err);
}

/* What this host cannot read of its own disk is nobody's fault but the disk's; the pass goes on. */
static void skip_unreadable(struct slice *s, const char *target)
{
    snprintf(
        s->text, sizeof s->text,
        "Disk %.31s cannot be read at byte %" PRIu64
        " on the primary itself: look for errors of that disk. The replica holds what was sent "
        "before.",
        target, s->at.block * VR_BLOCK_SIZE);
    s->found++;
    s->at.bad++;
    s->at.block++;
    s->done++;
}

static int chunk(struct slice *s, struct vnbd *nbd, const struct hv_capture_disk *d,
                 struct vr_err *err)
{
    struct mono_ms began = vr_mono_now();
    if (read_chunk(s, nbd, blocks_of(d), err) < 0)
        return -1;
    bool last = is_last(s);
    if (s->n && ask(s, d->target, err) < 0)
        return -1;
    s->at.block += s->n;
    s->done += s->n;
    s->budget -= s->n;
    s->over = last;
    if (s->unreadable)
        skip_unreadable(s, d->target);
    if (vr_mono_now().ms - began.ms <= CHUNK_FAST_MS && s->chunk < CHUNK_MOST)
        s->chunk *= 2;
    return 0;
}

static bool enough(const struct slice *s)
{
    return s->over || !s->budget || atomic_load(s->cancel) || vr_mono_now().ms >= s->until_ms;
}

static int disk(struct slice *s, struct vr_err *err)
{
    const struct hv_capture_disk *d = &s->cap->disks[s->at.disk];
    vr_auto(vnbd_close) struct vnbd *nbd = NULL;
    struct vnbd_config cfg = { .socket = d->socket, .export_name = d->export_name };
    cfg.connections = 1;
    if (vnbd_open(&cfg, &nbd, err) < 0)
        return vr_err_wrap(err, "disk %s", d->target);
    while (s->at.block < blocks_of(d) && !enough(s))
        if (chunk(s, nbd, d, err) < 0)
            return vr_err_wrap(err, "disk %s", d->target);
    return 0;
}

static void slice_work(struct task *t)
{
    struct slice *s = (struct slice *)t;
    if (t->err.kind != VR_OK)
        return;
    s->digests = vr_new0(PROOF_CALL_MAX, sizeof *s->digests);
    do {
        if (s->at.disk < s->cap->n_disks && s->at.block >= blocks_of(&s->cap->disks[s->at.disk])) {
            s->at.disk++;
            s->at.block = 0;
        }
        if (s->at.disk >= s->cap->n_disks) {
            s->over = true; /* ended with a block that could not be read, or a disk went */
            break;
        }
    } while (disk(s, &t->err) == 0 && !enough(s));
    free(s->digests);
    s->digests = NULL;
}

/* ---- what follows ---- */
static void end_job(struct daemon *d, struct proof *p, const struct vr_err *err)
{
    static const struct vr_uuid none;
    if (!p->asked)
        return;
    p->asked = p->restart = false;
    engine_job_end(d->engine, &p->job, err);
    p->job = none;
}

static void pass_over(struct daemon *d, const struct rel *r, struct proof *p)
{
    struct vr_err bad = VR_ERR_INIT;
    p->at.last = vr_wall_now();
    p->at.last_bad = p->at.bad;
    p->at.disk = 0;
    p->at.block = p->at.bad = 0;
    p->at.began.us = 0;
    if (!p->at.last_bad) {
        vr_log(VR_LOG_INFO, "machine %s: every block is the same on this host and on %s", r->name,
               r->peer);
        end_job(d, p, NULL);
        return;
    }
    vr_fail(&bad, VR_E_CORRUPT, 0,
            "%" PRIu64 " blocks differed; they are part of the next recovery point, which is right "
            "again; see: vmreplica explain %s",
            p->at.last_bad, r->name);
    end_job(d, p, &bad);
}

/* Somebody waits, or something is to be put right: the next cycle follows at once. */
static void next_cycle(struct daemon *d, const struct vr_uuid *machine)
{
    struct rel_event ev = { .type = EV_U_SYNC };
    engine_event(d->engine, machine, &ev);
}

static void slice_failed(struct daemon *d, const struct rel *r, struct proof *p,
                         const struct vr_err *err)
{
    vr_log_err(err->kind == VR_E_CANCELLED ? VR_LOG_DEBUG : VR_LOG_WARN,
               "proof (it goes on with the next cycle)", err);
    if (err->kind != VR_E_UNSUPPORTED)
        return;
    struct vr_err old = VR_ERR_INIT;
    vr_fail(&old, VR_E_UNSUPPORTED, 0,
            "host %s cannot compare: install the same version of vmreplica there", r->peer);
    p->unsupported = true;
    end_job(d, p, &old);
}

static void slice_done(struct task *t)
{
    struct slice *s = (struct slice *)t;
    struct daemon *d = t->d;
    struct proof *p = &rt_get(d, &t->r.machine)->proof;
    bool again = s->found > 0;
    p->running = false;
    d->slices--;
    if (!p->restart) { /* else somebody asked for a pass meanwhile: it begins at the beginning */
        p->at = s->at;
        p->at.slice = proof_since(p->at.slice, vr_wall_now(), s->given, s->over ? 0 : s->budget);
        p->total = s->total;
        p->done = s->done;
    }
    if (s->found)
        proof_differs(d, &t->r.machine, s->found, true, s->text);
    if (t->err.kind != VR_OK)
        slice_failed(d, &t->r, p, &t->err);
    else if (s->over && !p->restart)
        pass_over(d, &t->r, p);
    if (p->asked) {
        engine_job_percent(d->engine, &p->job,
                           s->total ? (uint16_t)((double)p->done * 100 / (double)s->total) : 0);
        again |= t->err.kind == VR_OK;
    }
    proof_save(d, &t->r.machine);
    if (again)
        next_cycle(d, &t->r.machine);
    s->then(s->then_arg);
}

/* Blocks of all disks, and those before the position. */
static void measure(struct slice *s)
{
    for (size_t i = 0; i < s->cap->n_disks; i++) {
        uint64_t n = blocks_of(&s->cap->disks[i]);
        s->total += n;
        if (i < s->at.disk)
            s->done += n;
        else if (i == s->at.disk)
            s->done += s->at.block < n ? s->at.block : n;
    }
}

static bool is_due(struct daemon *d, const struct rel *r, struct proof *p, struct slice *s)
{
    const struct rel *now = engine_find(d->engine, &r->machine);
    if (!now || now->st != ST_P_REPL || p->running || p->unsupported || d->stopping ||
        d->slices == PROOF_SLICES) /* another cycle, then */
        return false;
    int64_t half = (int64_t)r->set.interval_s * 500;
    s->until_ms = vr_mono_now().ms + (half < BACKGROUND_MS ? half : BACKGROUND_MS);
    if (p->asked) {
        s->budget = UINT64_MAX;
        s->until_ms = vr_mono_now().ms + (half < ASKED_MS ? half : ASKED_MS);
        return true;
    }
    if (!p->at.slice.us) { /* time counts from the first cycle on */
        p->at.slice = vr_wall_now();
        proof_save(d, &r->machine);
    }
    s->budget = proof_budget(s->total, d->cfg.verify_days,
                             (vr_wall_now().us - p->at.slice.us) / 1000000, PROOF_LEAST);
    s->given = s->budget;
    return s->budget > 0;
}

bool proof_slice(struct daemon *d, const struct rel *r, struct hv_capture *cap,
                 void (*then)(void *arg), void *arg)
{
    struct proof *p = &rt_get(d, &r->machine)->proof;
    struct slice *s = vr_new(struct slice);
    s->cap = cap;
    /* A pass goes on by the number of the disk: of other disks it begins anew. */
    if (r->flow.kind == FLOW_UPDATE || r->flow.kind == FLOW_RESYNC)
        p->at.disk = 0, p->at.block = p->at.bad = 0;
    s->at = p->at;
    if (p->restart || s->at.disk >= cap->n_disks) {
        s->at.disk = 0;
        s->at.block = s->at.bad = 0;
        s->at.began.us = 0;
    }
    measure(s);
    if (!is_due(d, r, p, s)) {
        free(s);
        return false;
    }
    s->whole = s->at.disk == 0 && s->at.block == 0;
    if (s->whole)
        s->at.began = vr_wall_now();
    s->t.work = slice_work;
    s->t.done = slice_done;
    s->t.r = *r;
    s->then = then;
    s->then_arg = arg;
    s->chunk = CHUNK_LEAST;
    s->rate = (uint64_t)d->cfg.verify_rate << 20;
    s->cancel = &p->cancel;
    atomic_store(&p->cancel, false);
    p->running = true;
    p->restart = false;
    peer_to_ask(d, r, &s->peer, &s->t.err);
    d->slices++;
    task_run(d, d->proof_exec, &s->t);
    return true;
}

void proof_stop(struct machine_rt *rt)
{
    atomic_store(&rt->proof.cancel, true);
}

void proof_changed(struct daemon *d, const struct rel *r)
{
    struct machine_rt *rt = rt_get(d, &r->machine);
    if (r->st == ST_P_REPL)
        return;
    proof_stop(rt);
    struct vr_err err = VR_ERR_INIT;
    vr_fail(&err, VR_E_STATE, 0,
            "replication of %s is no longer going on (%s); what was compared so far was the same",
            r->name, rel_state_text(r->st));
    if (rt->proof.at.bad)
        vr_fail(&err, VR_E_STATE, 0, "replication of %s is no longer going on (%s)", r->name,
                rel_state_text(r->st));
    end_job(d, &rt->proof, &err);
}

/* ---- on demand ---- */
int proof_ask(struct daemon *d, const struct vr_uuid *machine, const char *owner,
              struct vr_uuid *ret_job, struct vr_err *err)
{
    const struct rel *r = engine_find(d->engine, machine);
    struct proof *p = &rt_get(d, machine)->proof;
    if (!r || r->st != ST_P_REPL)
        return vr_fail(err, VR_E_STATE, 0,
                       "machine %s is not replicating (\"%s\"): there is nothing to compare now; "
                       "see: vmreplica explain %s",
                       r ? r->name : "?", rel_state_text(r ? r->st : ST_NONE), r ? r->name : "?");
    if (p->asked)
        return vr_fail(err, VR_E_BUSY, 0,
                       "machine %s is being verified already; see: vmreplica jobs", r->name);
    p->asked = p->restart = true;
    p->unsupported = false;
    p->job = engine_job_new(d->engine, JOB_VERIFY, machine, owner);
    *ret_job = p->job;
    next_cycle(d, machine);
    return 0;
}

bool proof_cancel(struct daemon *d, const struct vr_uuid *job)
{
    for (struct machine_rt *rt = d->rts; rt; rt = rt->next) {
        if (!rt->proof.asked || !vr_uuid_eq(&rt->proof.job, job))
            continue;
        struct vr_err err = VR_ERR_INIT;
        vr_fail(&err, VR_E_CANCELLED, 0, "the verification was cancelled");
        proof_stop(rt);
        end_job(d, &rt->proof, &err);
        return true;
    }
    return false;
}
