/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Arithmetic, written form and words of proof. Pure. Any thread. */
#include "daemon/proofplan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

uint64_t proof_budget(uint64_t total, uint32_t days, int64_t elapsed_s, uint64_t least)
{
    double period = (double)days * 86400;
    if (!days || elapsed_s <= 0 || !total)
        return 0;
    double part = (double)elapsed_s / period;
    uint64_t due = part >= 1 ? total : (uint64_t)((double)total * part);
    return due >= least || due >= total ? due : 0;
}

struct wall_us proof_since(struct wall_us since, struct wall_us now, uint64_t given, uint64_t left)
{
    if (!given || left > given || now.us <= since.us)
        return now;
    double unread = (double)(now.us - since.us) * ((double)left / (double)given);
    return (struct wall_us){ .us = now.us - (int64_t)unread };
}

struct wall_us scrub_since(struct wall_us since, struct wall_us now, uint64_t due, uint64_t read,
                           bool whole)
{
    return proof_since(since, now, due, whole || read >= due ? 0 : due - read);
}

char *proof_encode(const struct proof_state *s)
{
    return vr_printf("1 %u %" PRIu64 " %" PRId64 " %" PRIu64 " %" PRId64 " %" PRId64 " %" PRIu64
                     " %" PRId64 " %" PRIu64 " %" PRId64 " %" PRId64,
                     s->disk, s->block, s->began.us, s->bad, s->slice.us, s->last.us, s->last_bad,
                     s->layer, s->layer_block, s->scrub_piece.us, s->scrub_last.us);
}

int proof_decode(const char *text, struct proof_state *ret, struct vr_err *err)
{
    struct proof_state s = { .disk = 0 };
    if (sscanf(text,
               "1 %" SCNu32 " %" SCNu64 " %" SCNd64 " %" SCNu64 " %" SCNd64 " %" SCNd64 " %" SCNu64
               " %" SCNd64 " %" SCNu64 " %" SCNd64 " %" SCNd64,
               &s.disk, &s.block, &s.began.us, &s.bad, &s.slice.us, &s.last.us, &s.last_bad,
               &s.layer, &s.layer_block, &s.scrub_piece.us, &s.scrub_last.us) != 11)
        return vr_fail(err, VR_E_CORRUPT, 0, "a written state of proof cannot be read");
    *ret = s;
    return 0;
}

void proof_text(const struct proof_diff *d, char *out, size_t size)
{
    char where[96];
    snprintf(where, sizeof where,
             "%" PRIu64 " block%s of disk %.31s (the first at byte %" PRIu64 ")", d->blocks,
             d->blocks == 1 ? "" : "s", d->target, d->first * VR_BLOCK_SIZE);
    if (d->rot == d->blocks)
        snprintf(out, size,
                 "%s changed on host %.64s after they had been received; %" PRIu64
                 " recovery points that show them are quarantined.",
                 where, d->replica, d->points);
    else
        snprintf(out, size,
                 "%s differ between the primary and host %.64s at point %" PRIu64
                 ": the primary's disk changed there without its change map. The point is "
                 "quarantined; older ones hold the earlier content.",
                 where, d->replica, d->epoch);
}

static bool shows_damage(const struct store_point *p)
{
    return p->proof.quarantine == STORE_QUARANTINED || p->proof.quarantine == STORE_RELEASED;
}

bool proof_catch_up(struct rel *r, const struct store_point *p, size_t n, const char *host)
{
    uint64_t bad = 0;
    size_t points = 0;
    struct wall_us since = { 0 };
    for (size_t i = 0; i < n; i++) {
        const struct store_proof *f = &p[i].proof;
        if (f->quarantine == STORE_SOUND || f->acknowledged)
            continue;
        points++;
        bad = f->bad > bad ? f->bad : bad;
        since = f->since.us > since.us ? f->since : since;
    }
    bool open = points && shows_damage(&p[n - 1]) && !p[n - 1].proof.acknowledged;
    if (!points || (r->bad_blocks && (r->bad_open || !open)))
        return false;
    r->bad_open |= open;
    if (!r->bad_blocks) {
        r->bad_blocks = bad ? bad : 1;
        r->bad_since = since;
        snprintf(r->bad_text, sizeof r->bad_text,
                 "%" PRIu64 " or more blocks of %zu recovery points on host %.64s were found to be "
                 "wrong just before vmreplicad ended there; the points were quarantined.",
                 r->bad_blocks, points, host);
    }
    return true;
}
