/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* After a cut: recover, look, go on, look again. */
#include <ftw.h>
#include <string.h>

#include "base/alloc.h"
#include "world.h"

#define want(cond, ...)                   \
    do {                                  \
        if (!(cond)) {                    \
            fprintf(stderr, __VA_ARGS__); \
            fputc('\n', stderr);          \
            return -1;                    \
        }                                 \
    } while (0)

/* ---- files that no row references ---- */

static struct {
    struct db *db;
    size_t strangers;
} look;

static int visit(const char *path, const struct stat *sb, int type, struct FTW *f)
{
    int64_t one = 0;
    struct vr_err e = VR_ERR_INIT;
    if (type != FTW_F)
        return 0;
    int rc = db_one_int(look.db, &one, &e, "SELECT 1 FROM layer WHERE path = ? OR digests = ?",
                        "ss", path, path);
    if (rc != 1) {
        fprintf(stderr, "no row references %s %s\n", path, e.msg);
        look.strangers++;
    }
    return 0;
}

static int check_files(struct world *w)
{
    struct vr_err e = VR_ERR_INIT;
    int64_t n = 0;
    look.strangers = 0;
    look.db = w->st->db;
    if (access(w->location, F_OK) == 0)
        nftw(w->location, visit, 16, FTW_PHYS);
    want(look.strangers == 0, "%zu files are unknown", look.strangers);
    want(db_one_int(w->st->db, &n, &e, "SELECT count(*) FROM trash", "") == 1 && n == 0,
         "%lld files are still to be deleted", (long long)n);
    return 0;
}

/* ---- one machine ---- */

static int check_points(struct world *w, struct mach *m)
{
    struct vr_err e = VR_ERR_INIT;
    vr_autofree struct store_point *p = NULL;
    size_t n = 0;
    want(store_points(w->st, &m->id, &p, &n, &e) == 0, "%s", e.msg);
    for (size_t i = 0; i < n; i++) {
        const struct known_point *k = w_known(m, &p[i].id);
        want(k, "a point of epoch %llu was never made", (unsigned long long)p[i].id.epoch);
        bool may = k->found ? p[i].proof.quarantine == STORE_QUARANTINED : k->rotten;
        want(may || td_point_same(w->st, &m->id, &p[i].id, k->d, DISKS), "epoch %llu is wrong",
             (unsigned long long)p[i].id.epoch);
    }
    for (size_t i = 0; i < m->n_known; i++) {
        bool listed = !m->known[i].must;
        for (size_t j = 0; j < n && !listed; j++)
            listed = vr_point_eq(&p[j].id, &m->known[i].id);
        want(listed, "epoch %llu was lost", (unsigned long long)m->known[i].id.epoch);
    }
    if (n) { /* what the machine goes on from */
        m->newest = p[n - 1].id;
        memcpy(m->now, w_known(m, &m->newest)->d, sizeof m->now);
    } else {
        m->newest = (struct vr_point_id){ 0 };
        for (size_t i = 0; i < DISKS; i++)
            memset(m->now[i].byte, 0, sizeof m->now[i].byte);
    }
    return 0;
}

static int check_overlay(struct world *w, struct mach *m)
{
    for (size_t i = 0; m->must_overlay && i < DISKS; i++)
        want(td_same(m->overlay[i], "qcow2", &m->over[i]), "what the machine wrote was lost");
    return 0;
}

/* The digests say what is there. */
static int check_digests(struct world *w, struct mach *m)
{
    struct vr_err e = VR_ERR_INIT;
    struct store_verify_input *v = NULL;
    uint64_t blocks = 0, bad = 0;
    want(store_verify_prepare(w->st, &m->id, &m->newest, &v, &e) == 0, "%s", e.msg);
    int rc = store_verify_run(v, &blocks, &bad, &e);
    store_verify_free(v);
    want(rc == 0, "%s", e.msg);
    want(bad == 0, "%llu digests are wrong", (unsigned long long)bad);
    return 0;
}

static int put_right(struct world *w, struct mach *m)
{
    bool found = false;
    for (size_t i = 0; i < m->n_known; i++)
        found |= m->known[i].found;
    return found && (w_put_right(w, m) < 0 || check_points(w, m) < 0) ? -1 : 0;
}

static int go_on(struct world *w, struct mach *m)
{
    struct vr_err e = VR_ERR_INIT;
    vr_autochain struct chain_row c = { 0 };
    want(chain_load(w->st, &m->id, &c, &e) == 0, "%s", e.msg);
    want(c.state != CHAIN_PREPARING, "a half-made failover was left");
    if (c.state == CHAIN_FAILED_OVER) {
        w_cancel(w, m);
    } else if (c.state == CHAIN_PRIMARY) {
        m->newest.epoch = 500;
        w_return(w, m);
    }
    w_cycle(w, m, 13);
    w_merge(w, m, 1);
    w_cycle(w, m, 14);
    return check_points(w, m) < 0 || check_digests(w, m) < 0 ? -1 : 0;
}

static int check_doc(struct world *w)
{
    struct vr_err e = VR_ERR_INIT;
    vr_autofree char *text = NULL;
    if (store_doc_get(w->st, "rel", "one", &text, &e) < 0) {
        want(!w->doc, "a document was lost: %s", e.msg);
        return 0;
    }
    want((w->doc && !strcmp(text, w->doc)) || !strcmp(text, w->doc_next), "a document is wrong");
    return 0;
}

int w_check(void *world)
{
    struct world *w = world;
    struct vr_err e = VR_ERR_INIT;
    w->st = NULL; /* the other process's */
    want(store_open(w->dir, &w->st, &e) == 0, "recovery: %s", e.msg);
    if (check_files(w) < 0 || check_doc(w) < 0)
        return -1;
    for (size_t i = 0; i < w->n; i++) {
        struct mach *m = &w->m[i];
        bool exists = store_chain_exists(w->st, &m->id);
        want(exists || !m->must_exist, "a chain was lost");
        if (!exists)
            continue;
        if (check_points(w, m) < 0 || check_overlay(w, m) < 0 || put_right(w, m) < 0 ||
            go_on(w, m) < 0)
            return -1;
    }
    if (check_files(w) < 0)
        return -1;
    store_close(w->st);
    return 0;
}
