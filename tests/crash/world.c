/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The life of machines in a store, and the book that the test keeps of it. */
#include "world.h"

#include <string.h>

#include "base/alloc.h"
#include "store/proof.h"

#define ok(call)                                                         \
    do {                                                                 \
        struct vr_err err = VR_ERR_INIT;                                 \
        if ((call) < 0) {                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, err.msg); \
            _exit(2);                                                    \
        }                                                                \
    } while (0)

static void disks_of(const struct mach *m, struct store_disk d[DISKS])
{
    for (size_t i = 0; i < DISKS; i++) {
        d[i] = (struct store_disk){ .size = m->now[i].size, .base = m->base[i] };
        d[i].base_format = m->base[i] ? "qcow2" : NULL;
        strcpy(d[i].target, m->now[i].target);
    }
}

struct known_point *w_known(struct mach *m, const struct vr_point_id *id)
{
    for (size_t i = 0; i < m->n_known; i++)
        if (vr_point_eq(&m->known[i].id, id))
            return &m->known[i];
    return NULL;
}

static struct known_point *learn(struct mach *m, const struct vr_point_id *id,
                                 const struct td_disk d[DISKS])
{
    struct known_point *k = w_known(m, id);
    if (!k) {
        if (m->n_known == KNOWN)
            abort();
        k = &m->known[m->n_known++];
    }
    *k = (struct known_point){ .id = *id };
    memcpy(k->d, d, sizeof k->d);
    return k;
}

void w_doc(struct world *w, const char *text)
{
    w->doc_next = text;
    ok(store_doc_put(w->st, "rel", "one", text, &err));
    w->doc = text;
}

void w_create(struct world *w, struct mach *m)
{
    struct store_disk d[DISKS];
    struct vr_point_id first = { .epoch = 1 };
    first.lineage.b[0] = 9;
    struct known_point *k = NULL;
    disks_of(m, d);
    if (m->base[0])
        k = learn(m, &first, m->now);
    ok(store_chain_create(w->st, &m->id, w->location, d, DISKS, &first, (struct wall_us){ 1 },
                          VR_POINT_STANDARD, &err));
    m->must_exist = true;
    if (k) {
        k->must = true;
        m->newest = first;
    }
}

static struct store_stage *open_stage(struct world *w, struct mach *m, uint64_t epoch)
{
    struct store_stage *sg = NULL;
    struct store_disk d[DISKS];
    struct vr_point_id p = m->newest;
    p.lineage.b[0] = 9;
    p.epoch = epoch;
    disks_of(m, d);
    ok(store_stage_open(w->st, &m->id, &m->newest, &p, d, DISKS, &sg, &err));
    return sg;
}

/* Write what changes, and all that an earlier try may have left in the stage. */
static void fill(struct mach *m, struct store_stage *sg, const struct td_disk to[DISKS])
{
    for (size_t i = 0; i < DISKS; i++) {
        struct td_disk from = m->now[i];
        for (size_t b = 0; b < TD_BLOCKS; b++) {
            if (m->pending[i][b])
                from.byte[b] = (uint8_t)(to[i].byte[b] ^ 0xff);
            m->pending[i][b] = from.byte[b] != to[i].byte[b];
        }
        td_write(sg->disks[i].image, sg->disks[i].digests, &from, &to[i]);
    }
}

static void vary(const struct mach *m, unsigned seed, struct td_disk to[DISKS])
{
    memcpy(to, m->now, sizeof m->now);
    to[0].byte[seed % 16] = (uint8_t)(seed + 1);
    to[0].byte[(seed * 7 + 3) % 16] = seed % 4 ? (uint8_t)(seed + 101) : 0;
    if (seed % 3 != 1)
        to[1].byte[(seed * 5) % 16] = (uint8_t)(seed + 51);
}

void w_half_stage(struct world *w, struct mach *m, unsigned seed)
{
    struct td_disk to[DISKS];
    vary(m, seed, to);
    struct store_stage *sg = open_stage(w, m, m->newest.epoch + 1);
    fill(m, sg, to);
    store_stage_free(sg);
}

void w_cycle(struct world *w, struct mach *m, unsigned seed)
{
    struct td_disk to[DISKS];
    vary(m, seed, to);
    struct store_stage *sg = open_stage(w, m, m->newest.epoch + 2);
    fill(m, sg, to);
    struct vr_point_id id = sg->point;
    struct known_point *k = learn(m, &id, to);
    ok(store_stage_commit(w->st, sg, (struct wall_us){ (int64_t)id.epoch }, VR_POINT_STANDARD,
                          &err));
    k->must = true;
    m->newest = id;
    memcpy(m->now, to, sizeof m->now);
    memset(m->pending, 0, sizeof m->pending);
}

/* What retention may give up: all but the newest one and the pinned ones, as long as @keep are
 * left. */
static void forgive(struct mach *m, size_t keep)
{
    size_t kept = 0;
    bool newest = keep > 0;
    for (size_t i = 0; i < m->n_known; i++)
        kept += m->known[i].must && m->known[i].pinned;
    for (size_t i = m->n_known; i-- > 0;) {
        if (!m->known[i].must || m->known[i].pinned) {
            newest = newest && !m->known[i].must;
            continue;
        }
        if (newest || kept < keep)
            kept++;
        else
            m->known[i].must = false;
        newest = false;
    }
}

void w_merge(struct world *w, struct mach *m, uint32_t keep)
{
    struct store_retention r = { .least = keep };
    forgive(m, keep);
    for (;;) {
        struct store_merge *mg = NULL;
        ok(store_merge_prepare(w->st, &m->id, &r, &mg, &err));
        if (!mg)
            return;
        ok(store_merge_run(mg, &err));
        ok(store_merge_finish(w->st, mg, &err));
    }
}

void w_pin(struct world *w, struct mach *m, const struct vr_point_id *p, bool on)
{
    struct known_point *k = w_known(m, p);
    if (!on)
        k->pinned = false;
    ok(store_point_pin(w->st, &m->id, p, STORE_PIN_USER, on, &err));
    k->pinned = on;
}

void w_index(struct world *w, struct mach *m)
{
    struct store_index *ix = NULL;
    ok(store_index_prepare(w->st, &m->id, false, &ix, &err));
    if (!ix)
        return;
    ok(store_index_run(ix, NULL, &err));
    ok(store_index_finish(w->st, ix, &err));
}

void w_failover(struct world *w, struct mach *m, const struct vr_point_id *p)
{
    const struct known_point *k = w_known(m, p);
    for (size_t i = 0; i < DISKS; i++) {
        free(m->overlay[i]);
        ok(store_failover_path(w->st, &m->id, m->now[i].target, &m->overlay[i], &err));
    }
    memcpy(m->over, k->d, sizeof m->over);
    ok(store_failover_prepare(w->st, &m->id, p, "vmr.crash", &err));
    m->must_overlay = true;
}

void w_vm_writes(struct world *w, struct mach *m, unsigned seed)
{
    for (size_t i = 0; i < DISKS; i++) {
        struct td_disk to = m->over[i];
        to.byte[seed % 16] = (uint8_t)(seed + 11);
        td_write(m->overlay[i], NULL, &m->over[i], &to);
        m->over[i] = to;
    }
}

void w_cancel(struct world *w, struct mach *m)
{
    m->must_overlay = false;
    ok(store_failover_drop(w->st, &m->id, &err));
}

void w_become(struct world *w, struct mach *m)
{
    forgive(m, 0);
    ok(store_failover_become_base(w->st, &m->id, &err));
}

void w_forget_newer(struct world *w, struct mach *m)
{
    ok(store_failover_forget_newer(w->st, &m->id, &err));
}

void w_return(struct world *w, struct mach *m)
{
    struct vr_point_id first = m->newest;
    first.epoch += 20;
    struct known_point *k = learn(m, &first, m->over);
    ok(store_failover_return(w->st, &m->id, &first, (struct wall_us){ 7 }, VR_POINT_STANDARD,
                             &err));
    k->must = true;
    m->must_overlay = false; /* a point now */
    m->newest = first;
    memcpy(m->now, m->over, sizeof m->now);
    memset(m->pending, 0, sizeof m->pending);
}

void w_drop(struct world *w, struct mach *m)
{
    m->must_exist = false;
    m->must_overlay = false;
    forgive(m, 0);
    /* Files go only with a chain without points. */
    ok(db_run(w->st->db, &err, "DELETE FROM point WHERE machine = ?", "u", &m->id));
    ok(store_chain_drop(w->st, &m->id, true, &err));
}

void w_rot(struct world *w, struct mach *m, const struct vr_point_id *p,
           const struct vr_point_id *show, size_t n)
{
    vr_autofree char *path = NULL;
    ok(store_point_image(w->st, &m->id, p, "vda", &path, NULL, &err));
    for (size_t i = 0; i < n; i++)
        w_known(m, &show[i])->rotten = true;
    const char *argv[] = { "qemu-io", "-f", "qcow2", "-c", "write -P 77 256k 64k", path, NULL };
    td_run(argv);
}

static void scrub(struct world *w, struct mach *m)
{
    struct store_scrub_at at = { 0 };
    struct store_noted noted;
    uint64_t bytes = 0;
    bool pass = false;
    while (!pass) {
        struct store_scrub *s = NULL;
        ok(store_scrub_prepare(w->st, &m->id, &at, UINT64_MAX, &s, &err));
        if (!s)
            _exit(3);
        ok(store_scrub_run(s, &err));
        ok(store_scrub_finish(w->st, s, vr_wall_now(), &at, &pass, &bytes, &noted, &err));
    }
}

void w_find(struct world *w, struct mach *m)
{
    scrub(w, m);
    for (size_t i = 0; i < m->n_known; i++)
        m->known[i].found = m->known[i].rotten;
}

/* Points whose quarantine ended, of one layer; -1: nothing could be repaired. */
static int repair(struct world *w, struct mach *m)
{
    struct store_repair *r = NULL;
    size_t blocks = 0, points = 0;
    ok(store_repair_prepare(w->st, &m->id, &r, &err));
    if (!r)
        return -1;
    ok(store_repair_run(r, &err));
    ok(store_repair_finish(w->st, r, &blocks, &points, &err));
    return blocks ? (int)points : -1;
}

void w_repair(struct world *w, struct mach *m)
{
    int rotten = 0;
    for (size_t i = 0; i < m->n_known; i++)
        rotten += m->known[i].found;
    if (repair(w, m) != rotten)
        _exit(5);
    for (size_t i = 0; i < m->n_known; i++)
        m->known[i].rotten = m->known[i].found = false;
}

int w_put_right(struct world *w, struct mach *m)
{
    vr_autofree struct store_point *p = NULL;
    size_t n = 0;
    scrub(w, m);
    while (repair(w, m) >= 0)
        ;
    for (size_t i = 0; i < m->n_known; i++)
        m->known[i].rotten = m->known[i].found = false;
    ok(store_points(w->st, &m->id, &p, &n, &err));
    for (size_t i = 0; i < n; i++)
        if (p[i].proof.quarantine == STORE_QUARANTINED) {
            fprintf(stderr, "epoch %llu stays quarantined\n", (unsigned long long)p[i].id.epoch);
            return -1;
        }
    return 0; /* that all are right is looked at later */
}
