/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The replica's half of proof: call PROVE. The blocks that the primary read are read here, too,
 * from the images of the point, compared and the result is noted. Connection thread; what concerns
 * engine and store is done on their threads. */
#include "daemon/proof.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "base/log.h"
#include "daemon/messages.h"
#include "daemon/storage.h"
#include "store/proof.h"

enum { RANGES_MAX = 4096 };

struct proving {
    struct daemon *d;
    const struct xport_peer *from;
    const struct msg_prove *m;
    struct vr_point_id point;
    struct store_verify_input *in;
    enum store_proof_how how;
    struct store_noted noted;
    uint64_t rot;
    struct vr_err err;
};

static void ctl_admit(void *arg)
{
    struct proving *p = arg;
    const struct rel *r = engine_find(p->d->engine, &p->m->machine);
    if (!r || rel_mode(r) != REL_MODE_REPLICA || strcasecmp(r->peer, p->from->name) != 0)
        vr_fail(&p->err, VR_E_STATE, 0, "host %s holds no replica of that machine for host %s",
                p->d->cfg.host_name, p->from->name);
    else if (!vr_uuid_eq(&r->lineage, &p->m->lineage))
        vr_fail(&p->err, VR_E_SUPERSEDED, 0, "machine %s belongs to another line of writes here",
                r->name);
    else if (p->d->stopping)
        vr_fail(&p->err, VR_E_UNAVAIL, 0, "host %s is shutting down", p->d->cfg.host_name);
}

static void st_prepare(void *arg)
{
    struct proving *p = arg;
    store_slice_prepare(p->d->store, &p->m->machine, &p->point, &p->in, &p->err);
}

static void st_save(void *arg)
{
    struct proving *p = arg;
    store_verify_save(p->d->store, p->in, p->how, vr_wall_now(), &p->noted, &p->err);
}

static void alarm_of(struct proving *p)
{
    const struct store_bad_list *bad = store_verify_bad(p->in);
    struct proof_diff diff = { .replica = p->d->cfg.host_name,
                               .target = p->m->target,
                               .epoch = p->m->epoch,
                               .blocks = bad->total,
                               .rot = p->rot,
                               .points = p->noted.points,
                               .first = bad->v[0].block };
    char text[VR_BAD_TEXT];
    proof_text(&diff, text, sizeof text);
    proof_differs(p->d, &p->m->machine, p->noted.blocks, p->noted.wanted > 0, text);
}

static void ctl_told(void *arg)
{
    struct proving *p = arg;
    struct machine_rt *rt = rt_get(p->d, &p->m->machine);
    uint64_t bad = store_verify_bad(p->in)->total;
    if (p->noted.blocks)
        alarm_of(p);
    if (!p->m->ends)
        return;
    rt->proof.at.last = vr_wall_now();
    rt->proof.at.last_bad = bad + !p->m->clean;
    proof_save(p->d, &p->m->machine);
    host_refresh_points(p->d, &p->m->machine);
}

static int put_ranges(const struct store_bad_list *bad, struct vr_buf *to, struct vr_err *err)
{
    size_t n = 0;
    for (size_t i = 0; i < bad->n && n < RANGES_MAX; n++) {
        size_t k = i + 1;
        while (k < bad->n && bad->v[k].block == bad->v[k - 1].block + 1)
            k++;
        if (vr_put_u64(to, bad->v[i].block * VR_BLOCK_SIZE, err) < 0 ||
            vr_put_u64(to, (uint64_t)(k - i) * VR_BLOCK_SIZE, err) < 0)
            return -1;
        i = k;
    }
    return 0;
}

static int answer(const struct proving *p, struct vr_buf *reply, struct vr_err *err)
{
    const struct store_bad_list *bad = store_verify_bad(p->in);
    vr_autobuf struct vr_buf ranges = VR_BUF_INIT;
    if (put_ranges(bad, &ranges, err) < 0)
        return -1;
    struct msg_prove_reply a = { .bad = bad->total,
                                 .known = bad->total - p->noted.blocks,
                                 .rot = p->rot,
                                 .points = p->noted.points,
                                 .ranges = ranges.data,
                                 .n_ranges = ranges.len };
    return msg_prove_reply_encode(&a, reply, err);
}

static void compare(struct proving *p, struct vr_buf *reply)
{
    size_t n = p->m->n_digests / sizeof(struct vr_digest);
    vr_autofree struct vr_digest *theirs = vr_new0(n, sizeof *theirs);
    memcpy(theirs, p->m->digests, n * sizeof *theirs);
    store_verify_pace(p->in, (uint64_t)p->d->cfg.verify_rate << 20);
    if (store_verify_slice(p->in, p->m->target, p->m->first, theirs, n, &p->err) < 0)
        return;
    const struct store_bad_list *bad = store_verify_bad(p->in);
    for (size_t i = 0; i < bad->n; i++)
        p->rot += bad->v[i].rot;
    if (p->m->ends == 2 && p->m->clean)
        p->how = STORE_PROOF_PRIMARY;
    storage_call(p->d, &p->m->machine, st_save, p, NULL);
    if (p->err.kind != VR_OK)
        return;
    ctl_call(p->d, ctl_told, p);
    answer(p, reply, &p->err);
}

int proof_peer(struct daemon *d, const struct xport_peer *from, const void *body, size_t n,
               struct vr_buf *reply, struct vr_err *err)
{
    __attribute__((cleanup(msg_prove_done))) struct msg_prove m = { 0 };
    if (msg_prove_decode(body, n, &m, err) < 0)
        return -1;
    if (!m.n_digests || m.n_digests % sizeof(struct vr_digest))
        return vr_fail(err, VR_E_PROTO, 0, "digests of %zu bytes", (size_t)m.n_digests);
    struct proving p = {
        .d = d, .from = from, .m = &m, .point = { .lineage = m.lineage, .epoch = m.epoch }
    };
    ctl_call(d, ctl_admit, &p);
    if (p.err.kind == VR_OK)
        storage_call(d, &m.machine, st_prepare, &p, &p.err);
    if (p.err.kind == VR_OK)
        compare(&p, reply);
    store_verify_free(p.in);
    if (p.err.kind == VR_OK)
        return 0;
    *err = p.err;
    return -1;
}
