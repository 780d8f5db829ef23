/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making a replica: at the peer, and here when a peer asks; settings. Workers. */
#include "daemon/swap.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/messages.h"
#include "daemon/service.h"
#include "daemon/storage.h"

static void st_make_chain(void *arg)
{
    struct swap_task *s = arg;
    const struct rel *r = &s->t.r;
    if (r->seed && store_chain_exists(s->t.d->store, &r->machine))
        return;
    for (uint32_t i = 0; i < r->n_disks; i++) {
        snprintf(s->disks[i].target, sizeof s->disks[i].target, "%s", r->disks[i].target);
        s->disks[i].size = r->disks[i].size;
    }
    store_chain_create(s->t.d->store, &r->machine, s->folder, s->disks, r->n_disks, NULL,
                       (struct wall_us){ 0 }, VR_POINT_NONE, &s->t.err);
}

/* ---- MAKE_REPLICA ---- */
/* A definition whose disks lie in the storage folder and do not exist was left by a creation that
 * was cut, or by a relationship that never had a point. One with disks is somebody's machine, also
 * when it was a replica once: it is never taken away. */
static bool is_empty_shell(const char *folder, const struct hv_machine *m)
{
    size_t n = strlen(folder), here = 0;
    for (size_t i = 0; i < m->n_disks; i++) {
        const char *path = m->disks[i].path ? m->disks[i].path : "";
        if (strncmp(path, folder, n) != 0 || path[n] != '/')
            continue;
        here++;
        if (access(path, F_OK) == 0)
            return false;
    }
    return here > 0 && m->power == HV_POWER_OFF;
}

static int may_define(struct task *t, const char *folder)
{
    struct hv_machine m;
    if (hv_get(t->d->hv, &t->r.machine, &m, &t->err) < 0) {
        if (t->err.kind != VR_E_NOTFOUND)
            return vr_err_wrap(&t->err, "making the replica on %s", t->d->cfg.host_name);
        vr_err_clear(&t->err);
        return 0;
    }
    bool ours = is_empty_shell(folder, &m);
    hv_machine_done(&m);
    if (ours)
        return 0;
    return vr_fail(&t->err, VR_E_EXISTS, 0,
                   "host %s already has a machine with the UUID of %s; undefine it there, or offer "
                   "its disks as a seed (vmreplica seed %s on %s)",
                   t->d->cfg.host_name, t->r.name, t->r.name, t->d->cfg.host_name);
}

static void make_work(struct task *t)
{
    struct swap_task *s = (struct swap_task *)t;
    service_folder(t->d, &t->r.machine, s->folder, sizeof s->folder);
    if (!t->r.seed && may_define(t, s->folder) < 0)
        return;
    storage_watch(t->d, s->folder);
    if (storage_answers(t->d, s->folder, &t->err))
        storage_call(t->d, &t->r.machine, st_make_chain, s, &t->err);
    if (t->err.kind == VR_OK)
        store_call(t->d, swap_st_paths, s);
    if (t->err.kind == VR_OK && s->xml)
        hv_define_replica(t->d->hv, s->xml, NULL, NULL, false, s->paths, s->n, &t->err);
    vr_err_wrap(&t->err, "making the replica on %s", t->d->cfg.host_name);
}

void fx_make_replica(struct daemon *d, const struct rel *r)
{
    struct swap_task *s = swap_new(r, make_work, EV_CREATED, EV_CREATE_FAILED);
    struct machine_rt *rt = rt_get(d, &r->machine);
    s->xml = vr_take(rt->xml);
    task_run(d, d->hv_exec, &s->t);
}

/* ---- CREATE_AT_PEER ---- */
static uint64_t sum_text(uint64_t sum, const char *s)
{
    for (; s && *s; s++)
        sum = (sum ^ (unsigned char)*s) * 0x100000001b3u;
    return (sum ^ 0xff) * 0x100000001b3u;
}

/* What tells whether disks were added, removed or exchanged. Never 0. */
static uint64_t sum_disks(const struct hv_machine *m)
{
    uint64_t sum = 0xcbf29ce484222325u;
    for (size_t i = 0; i < m->n_disks; i++) {
        sum = sum_text(sum, m->disks[i].target);
        sum = sum_text(sum, m->disks[i].path);
    }
    return sum | 1;
}

/* The request was checked against a view that may be seconds old: libvirt tells nobody when a disk
 * is attached to a definition. */
static int same_disks(struct swap_task *s, struct vr_err *err)
{
    struct hv_machine m;
    if (hv_get(s->t.d->hv, &s->t.r.machine, &m, err) < 0)
        return -1;
    bool same = !s->seen || s->seen == sum_disks(&m);
    hv_machine_done(&m);
    if (same)
        return 0;
    return vr_fail(err, VR_E_BUSY, 0, "the disks of machine %s have just been changed; try again",
                   s->t.r.name);
}

static void create_work(struct task *t)
{
    struct swap_task *s = (struct swap_task *)t;
    const struct rel *r = &t->r;
    if (t->err.kind != VR_OK || same_disks(s, &t->err) < 0)
        return;
    if (hv_xml(t->d->hv, &r->machine, &s->xml, &t->err) < 0)
        return;
    struct msg_settings set = msg_from_settings(&r->set);
    struct msg_disk disks[VR_DISKS_MAX];
    msg_from_disks(r->disks, r->n_disks, disks);
    struct msg_create m = { .machine = r->machine,
                            .name = r->name,
                            .xml = s->xml,
                            .lineage = r->lineage,
                            .settings = &set,
                            .n_settings = 1,
                            .disks = disks,
                            .n_disks = r->n_disks };
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    vr_autobuf struct vr_buf reply = VR_BUF_INIT;
    if (msg_create_encode(&m, &b, &t->err) == 0 &&
        xport_call(t->d->xport, &s->peer, CALL_CREATE, b.data, b.len, &reply, 120000, &t->err) ==
            0) {
        __attribute__((cleanup(msg_create_reply_done))) struct msg_create_reply cr = { 0 };
        if (msg_create_reply_decode(reply.data, reply.len, &cr, &t->err) == 0)
            s->ev.seeded = cr.seeded;
    }
    vr_err_wrap(&t->err, "host %s", s->peer.name);
}

void fx_create_at_peer(struct daemon *d, const struct rel *r)
{
    struct swap_task *s = swap_new(r, create_work, EV_CREATED, EV_CREATE_FAILED);
    const struct hv_machine *m = host_machine(d, &r->machine);
    s->seen = m ? sum_disks(m) : 0;
    peer_of_rel(d, r, &s->peer, &s->t.err);
    task_run(d, d->net_exec, &s->t);
}

/* ---- PUSH_SETTINGS ---- */
static void push_work(struct task *t)
{
    struct swap_task *s = (struct swap_task *)t;
    if (t->err.kind != VR_OK)
        return;
    struct msg_settings set = msg_from_settings(&t->r.set);
    struct msg_settings_push m = {
        .machine = t->r.machine, .settings = &set, .n_settings = 1, .lineage = t->r.lineage
    };
    __attribute__((cleanup(msg_settings_reply_done))) struct msg_settings_reply sr = { 0 };
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    vr_autobuf struct vr_buf reply = VR_BUF_INIT;
    if (msg_settings_push_encode(&m, &b, &t->err) == 0 &&
        xport_call(t->d->xport, &s->peer, CALL_SETTINGS, b.data, b.len, &reply, 20000, &t->err) ==
            0 &&
        msg_settings_reply_decode(reply.data, reply.len, &sr, &t->err) == 0)
        s->seen = sr.held;
}

static void push_done(struct task *t)
{
    struct swap_task *s = (struct swap_task *)t;
    struct machine_rt *rt = rt_get(t->d, &t->r.machine);
    bool failed = t->err.kind != VR_OK;
    if (failed && !rt->untold) /* it is tried again and again; once is enough to say */
        vr_log_err(VR_LOG_WARN, "the peer was not told the new settings yet", &t->err);
    rt->untold = failed;
    engine_settings_told(t->d->engine, &t->r.machine, t->r.set.rev, s->seen,
                         failed ? &t->err : NULL);
}

void fx_push_settings(struct daemon *d, const struct rel *r)
{
    struct swap_task *s = swap_new(r, push_work, EV_COUNT, EV_COUNT);
    s->t.done = push_done;
    peer_of_rel(d, r, &s->peer, &s->t.err);
    task_run(d, d->net_exec, &s->t);
}
