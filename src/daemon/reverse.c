/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The host that was failed over to becomes the primary. Network workers. */
#include "daemon/swap.h"

#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "base/log.h"
#include "daemon/diverge.h"
#include "daemon/messages.h"
#include "daemon/storage.h"

/* ---- REVERSE_CALL and BECOME_PRIMARY, on the failed-over host ---- */
/* A disk that the old primary did not replicate any more is not among those it tells of. */
static int knows_all(const struct swap_task *s, struct divergence *v, struct vr_err *err)
{
    for (uint32_t i = 0; i < s->t.r.n_disks; i++)
        if (!divergence_of(v, s->t.r.disks[i].target))
            return vr_fail(err, VR_E_TRACKING, 0, "host %s did not tell what it wrote on disk %s",
                           s->peer.name, s->t.r.disks[i].target);
    return 0;
}

/* O and D, written down before the direction changes. */
static bool note_divergence(struct swap_task *s, const struct msg_reverse_reply *rr)
{
    struct divergence v = { .of = { .lineage = s->t.r.next_lineage }, .known = true };
    struct vr_err err = VR_ERR_INIT;
    bool ok = msg_to_divergence(rr, &v, &err) == 0 && knows_all(s, &v, &err) == 0 &&
              divergence_add_points(s->t.d, &s->t.r, &v, &err) == 0 &&
              divergence_save(s->t.d, &s->t.r.machine, &v, &err) == 0;
    if (!ok)
        vr_log_err(VR_LOG_WARN, s->t.r.name, &err);
    divergence_done(&v);
    return ok;
}

/* O or D cannot be told: the point failed over to is not known any more, or the old primary lost
 * its bitmap. Then the first copy compares. */
static void say_comparison(const struct swap_task *s)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < s->t.r.n_disks; i++)
        bytes += s->t.r.disks[i].size;
    vr_log(VR_LOG_WARN,
           "machine %s: what differs is found by comparing: host %s reads its disks, up to %" PRIu64
           " MiB; this one reads what was written since the failover and what differs; only what "
           "differs is sent",
           s->t.r.name, s->peer.name, bytes >> 20);
}

/* An old primary that has just come back may be in the middle of a cycle that ends at once. */
static int ask_to_yield(struct swap_task *s, const struct vr_buf *b, struct vr_buf *reply)
{
    struct daemon *d = s->t.d;
    for (int i = 0;; i++) {
        int rc =
            xport_call(d->xport, &s->peer, CALL_REVERSE, b->data, b->len, reply, 120000, &s->t.err);
        if (rc == 0 || s->t.err.kind != VR_E_BUSY || i == 30 || d->stopping)
            return rc;
        vr_err_clear(&s->t.err);
        poll(NULL, 0, 300);
    }
}

static void reverse_work(struct task *t)
{
    struct swap_task *s = (struct swap_task *)t;
    const struct rel *r = &t->r;
    if (t->err.kind != VR_OK)
        return;
    struct msg_settings set = msg_from_settings(&r->set);
    struct msg_disk disks[VR_DISKS_MAX];
    msg_from_disks(r->disks, r->n_disks, disks);
    struct msg_reverse m = { .machine = r->machine,
                             .lineage = r->next_lineage,
                             .point_lineage = r->failover.lineage,
                             .point_epoch = r->failover.epoch,
                             .settings = &set,
                             .n_settings = 1,
                             .disks = disks,
                             .n_disks = r->n_disks,
                             .newest_lineage = r->newest.lineage,
                             .newest_epoch = r->newest.epoch };
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    vr_autobuf struct vr_buf reply = VR_BUF_INIT;
    if (msg_reverse_encode(&m, &b, &t->err) == 0 && ask_to_yield(s, &b, &reply) == 0) {
        __attribute__((cleanup(msg_reverse_reply_done))) struct msg_reverse_reply rr = { 0 };
        if (msg_reverse_reply_decode(reply.data, reply.len, &rr, &t->err) == 0) {
            s->ev.seeded = rr.seeded;
            s->ev.point = (struct vr_point_id){ rr.kept_lineage, rr.kept_epoch };
            s->ev.diverged = rr.seeded && rr.diverged && note_divergence(s, &rr);
            if (rr.seeded && !s->ev.diverged)
                say_comparison(s);
        }
    }
    vr_err_wrap(&t->err, "host %s", s->peer.name);
}

void fx_reverse_call(struct daemon *d, const struct rel *r)
{
    struct swap_task *s = swap_new(r, reverse_work, EV_REVERSED, EV_REVERSE_FAILED);
    peer_of_rel(d, r, &s->peer, &s->t.err);
    task_run(d, d->net_exec, &s->t);
}

static void st_become_base(void *arg)
{
    struct swap_task *s = arg;
    if (s->t.r.ever_replica && store_chain_exists(s->t.d->store, &s->t.r.machine))
        store_failover_become_base(s->t.d->store, &s->t.r.machine, &s->t.err);
}

static void become_primary_work(struct task *t)
{
    storage_call(t->d, &t->r.machine, st_become_base, t, NULL); /* it is too late to refuse */
    if (t->err.kind != VR_OK)
        vr_log_err(VR_LOG_ERROR, "the chain did not become the machine's own", &t->err);
    else if (!t->r.way_back) /* a start, perhaps after one that ended before it could */
        swap_forget_newer(t);
}

struct forget {
    struct task *t;
    struct vr_err err;
};

static void st_forget_newer(void *arg)
{
    struct forget *f = arg;
    struct store *st = f->t->d->store;
    if (f->t->r.ever_replica && store_chain_exists(st, &f->t->r.machine))
        store_failover_forget_newer(st, &f->t->r.machine, &f->err);
}

/* Until now they told what lies between the point failed over to and the newest one. */
void swap_forget_newer(struct task *t)
{
    struct forget f = { .t = t };
    storage_call(t->d, &t->r.machine, st_forget_newer, &f, &f.err);
    if (f.err.kind != VR_OK)
        vr_log_err(VR_LOG_INFO, "points after the one failed over to stay for now", &f.err);
}

void fx_become_primary(struct daemon *d, const struct rel *r)
{
    struct swap_task *s = swap_new(r, become_primary_work, EV_COUNT, EV_COUNT);
    run_without_merge(d, d->hv_exec, &s->t);
}
