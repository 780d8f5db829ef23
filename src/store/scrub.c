/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The scrub: the layers of a chain are read one after the other, lowest first, a piece at a time,
 * and compared with their own tables. So everything on disk is read once, however many points there
 * are. A piece is only begun while no merge runs: it may be changing the layer that is read. */
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "store/proof_int.h"
#include "store/scan.h"
#include "store/tables.h"
#include "transfer/blockread.h"

enum { LOOK_MOST = 1 << 20 }; /* blocks of a piece, also if they are holes */

struct store_scrub {
    struct hold *hold;
    struct vr_uuid machine;
    struct layer_row layer;
    bool last; /* no layer follows */
    uint64_t block, max_bytes, pace;
    /* results */
    struct digestlog *log;
    uint64_t next; /* block to go on from */
    bool through;  /* the layer's end was reached */
    uint64_t bytes, looked;
    struct store_bad_list bad;
};

static void scrub_free(struct store_scrub *s)
{
    digestlog_free(s->log);
    layer_row_done(&s->layer);
    hold_release(s->hold);
    free(s->bad.v);
    free(s);
}
VR_DEFINE_CLEANUP(struct store_scrub, scrub_free)

/* Layers with tables of a machine: the first with an id of at least @from, *ret_last when there is
 * no other one after it. 1 found, 0 none. */
static int next_layer(struct store *st, const struct vr_uuid *machine, int64_t from,
                      struct layer_row *ret, bool *ret_last, struct vr_err *err)
{
    int64_t id = 0, after = 0;
    int rc = db_one_int(st->db, &id, err,
                        "SELECT id FROM layer WHERE machine = ? AND role = ? AND known <> ?"
                        " AND digests IS NOT NULL AND id >= ? ORDER BY id LIMIT 1",
                        "uiii", machine, (int64_t)ROLE_CHAIN, (int64_t)KNOWN_NONE, from);
    if (rc <= 0 || layer_load(st->db, id, ret, err) < 0)
        return rc <= 0 ? rc : -1;
    rc = db_one_int(st->db, &after, err,
                    "SELECT id FROM layer WHERE machine = ? AND role = ? AND known <> ?"
                    " AND digests IS NOT NULL AND id > ? LIMIT 1",
                    "uiii", machine, (int64_t)ROLE_CHAIN, (int64_t)KNOWN_NONE, id);
    *ret_last = rc == 0;
    return rc < 0 ? -1 : 1;
}

int store_scrub_prepare(struct store *st, const struct vr_uuid *machine,
                        const struct store_scrub_at *at, uint64_t max_bytes,
                        struct store_scrub **ret, struct vr_err *err)
{
    vr_autochain struct chain_row c = { 0 };
    vr_auto(scrub_free) struct store_scrub *s = vr_new(struct store_scrub);
    int64_t newest = 0;
    *ret = NULL;
    if (chain_load(st, machine, &c, err) < 0)
        return -1;
    int rc = point_newest(st->db, machine, &newest, NULL, err);
    if (rc <= 0 || c.state != CHAIN_REPLICA || hold_find(st, HOLD_MERGE, machine))
        return rc < 0 ? -1 : 0;
    rc = next_layer(st, machine, at->layer, &s->layer, &s->last, err);
    if (rc == 0 && at->layer)
        rc = next_layer(st, machine, 0, &s->layer, &s->last, err);
    if (rc <= 0)
        return rc;
    s->machine = *machine;
    s->block = s->next = s->layer.id == at->layer ? at->block : 0;
    s->max_bytes = max_bytes;
    /* Held is the newest point: no merge is chosen meanwhile and no file goes. */
    s->hold = hold_new(st, HOLD_READ, machine, newest);
    *ret = vr_take(s);
    return 0;
}

/* ---- reading ---- */

struct piece {
    struct store_scrub *s;
    uint64_t next; /* first block of the run not looked at */
};

static int compare(struct piece *p, uint64_t block, const struct vr_digest *have,
                   struct vr_err *err)
{
    struct vr_digest want;
    int rc = digestlog_get(p->s->log, block, &want, err);
    if (rc > 0 && (!have || memcmp(&want, have, sizeof want) != 0))
        bad_add(&p->s->bad, p->s->layer.target, block, true);
    return rc < 0 ? -1 : 0;
}

static int zeros_to(struct piece *p, uint64_t end, struct vr_err *err)
{
    for (; p->next < end; p->next++) {
        struct vr_digest z = vr_digest_zero((size_t)tables_block_bytes(p->next, p->s->layer.size));
        if (compare(p, p->next, &z, err) < 0)
            return -1;
    }
    return 0;
}

static int on_block(void *ctx, uint64_t block, const uint8_t *data, size_t n, struct vr_err *err)
{
    struct piece *p = ctx;
    struct vr_digest have;
    if (zeros_to(p, block, err) < 0)
        return -1;
    p->next = block + 1;
    p->s->bytes += n;
    if (data)
        have = vr_digest_block(data, n);
    return compare(p, block, data ? &have : NULL, err);
}

/* The next run of blocks that the table holds, at most 64: [*from, *end). */
static int next_run(struct store_scrub *s, uint64_t *from, uint64_t *end, struct vr_err *err)
{
    struct digest_record r;
    int rc = digestlog_next(s->log, s->next, &r, err);
    if (rc <= 0)
        return rc;
    *from = r.block;
    *end = r.block + 1;
    while (*end - *from < 64 && (rc = digestlog_get(s->log, *end, &r.digest, err)) > 0)
        ++*end;
    return rc < 0 ? -1 : 1;
}

static int read_piece(struct store_scrub *s, struct vnbd *nbd, struct vr_err *err)
{
    uint64_t from = 0, end = 0;
    while (s->bytes < s->max_bytes && s->looked < LOOK_MOST) {
        int rc = next_run(s, &from, &end, err);
        if (rc < 0)
            return -1;
        if (rc == 0) {
            s->through = true;
            return 0;
        }
        struct piece p = { .s = s, .next = from };
        struct blockread r = { .nbd = nbd,
                               .cancel = &s->hold->cancel,
                               .bytes_per_second = s->pace,
                               .tolerant = true,
                               .fn = on_block,
                               .ctx = &p };
        if (blockread_run(&r, from, end, err) < 0 || zeros_to(&p, end, err) < 0)
            return -1;
        s->looked += end - from;
        s->next = end;
    }
    return 0;
}

void store_scrub_pace(struct store_scrub *s, uint64_t bytes_per_second)
{
    s->pace = bytes_per_second;
}

int store_scrub_run(struct store_scrub *s, struct vr_err *err)
{
    vr_auto(vnbd_close) struct vnbd *nbd = NULL;
    if (digestlog_open(s->layer.digests, 0, false, &s->log, err) < 0 ||
        image_open(s->layer.path, s->layer.format, &s->hold->cancel, &nbd, err) < 0 ||
        read_piece(s, nbd, err) < 0)
        return vr_err_wrap(err, "reading %s", s->layer.path);
    return 0;
}

int store_scrub_finish(struct store *st, struct store_scrub *take, struct wall_us now,
                       struct store_scrub_at *at, bool *ret_pass, uint64_t *ret_bytes,
                       struct store_noted *ret, struct vr_err *err)
{
    vr_auto(scrub_free) struct store_scrub *s = take;
    *ret = (struct store_noted){ 0 };
    *ret_bytes = s->bytes;
    *ret_pass = s->through && s->last;
    if (*ret_pass)
        *at = (struct store_scrub_at){ 0 };
    else if (s->through)
        *at = (struct store_scrub_at){ .layer = s->layer.id + 1 };
    else
        *at = (struct store_scrub_at){ .layer = s->layer.id, .block = s->next };
    if (!s->bad.n || s->hold->stale)
        return 0;
    const struct damage d = {
        .machine = &s->machine, .bad = &s->bad, .hold = s->hold, .layer = s->layer.id
    };
    if (damage_found(st, &d, now, ret, err) == 0)
        return 0;
    if (!s->hold->stale)
        return -1;
    vr_err_clear(err); /* it did not count any more */
    return 0;
}

/* Bytes that a file takes up; -1: nobody can tell. */
static int64_t room(const char *path)
{
    struct stat sb;
    return stat(path, &sb) < 0 || !S_ISREG(sb.st_mode) ? -1 : (int64_t)sb.st_blocks * 512;
}

/* Bytes of a layer that a pass reads, about. */
static uint64_t to_read(const struct layer_row *l)
{
    TOUCHES_FILES;
    int64_t has = room(l->path);
    /* A table has something in it: a file system that says it had not does not tell. */
    if (has < 0 || (has == 0 && room(l->digests) <= 0))
        return l->size;
    return (uint64_t)has < l->size ? (uint64_t)has : l->size;
}

int store_scrub_bytes(struct store *st, const struct vr_uuid *machine, uint64_t *ret,
                      struct vr_err *err)
{
    vr_autolayers struct layers l = { 0 };
    uint64_t n = 0;
    if (layers_role(st->db, machine, ROLE_CHAIN, &l, err) < 0)
        return -1;
    for (size_t i = 0; i < l.n; i++)
        if (l.v[i].known != KNOWN_NONE && l.v[i].digests)
            n += to_read(&l.v[i]);
    *ret = n;
    return 0;
}
