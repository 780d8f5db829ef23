/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_PROOFPLAN_H
#define VR_DAEMON_PROOFPLAN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "model/model.h"
#include "replication/rel.h"
#include "store/store.h"

/* How much is proven when, where a proof stands, and what is said about a difference. Pure. */

enum {
    PROOF_LEAST = 128,      /* blocks (8 MiB): less is not worth the effort of opening images */
    PROOF_CALL_MAX = 16384, /* blocks of one call (1 GiB): 256 KiB of digests */
};

/* proof_budget() - how much of @total is due when @elapsed_s have passed since the last piece and
 * everything is to be read once in @days. 0: nothing yet, it is less than @least (and less than
 * everything). */
uint64_t proof_budget(uint64_t total, uint32_t days, int64_t elapsed_s, uint64_t least);
/* proof_since() - from when on time counts for the next piece, when one with a budget of @given
 * blocks that was due since @since ended at @now with @left of them unread: what a piece could not
 * read in its time stays due. */
struct wall_us proof_since(struct wall_us since, struct wall_us now, uint64_t given, uint64_t left);

/* scrub_since() - likewise of a round of the scrub, in bytes: of @due that were due since @since it
 * has @read. @whole: it read all there is, so nothing is left to read, whatever was expected. */
struct wall_us scrub_since(struct wall_us since, struct wall_us now, uint64_t due, uint64_t read,
                           bool whole);

/* What is kept of the proof of a machine: document "proof". */
struct proof_state {
    /* End to end; the primary's. */
    uint32_t disk;        /* where the pass goes on: index of the disk, */
    uint64_t block;       /* and block */
    struct wall_us began; /* of the pass; 0: none has begun */
    uint64_t bad;         /* blocks that differed in it */
    struct wall_us slice; /* what has become due since then is to be read: proof_since() */
    /* Of the last whole pass; both sides'. */
    struct wall_us last; /* its end; 0: there was none */
    uint64_t last_bad;
    /* The scrub; the replica's. */
    int64_t layer;
    uint64_t layer_block;
    struct wall_us scrub_piece; /* what has become due since then is to be read: scrub_since() */
    struct wall_us scrub_last;  /* end of the last pass; 0: there was none */
};
/* proof_encode() - caller frees. proof_decode() - VR_E_CORRUPT. */
char *proof_encode(const struct proof_state *s);
int proof_decode(const char *text, struct proof_state *ret, struct vr_err *err);

/* Of a machine; part of its machine_rt. */
struct proof {
    struct proof_state at;
    bool asked;         /* somebody waits for a whole pass */
    struct vr_uuid job; /* and this is the job */
    bool restart;       /* the next slice begins a pass */
    bool running;       /* a slice is being read */
    atomic_bool cancel; /* it ends soon */
    bool unsupported;   /* the peer does not know how */
    bool scrubbing, indexing;
    struct mono_ms index_after; /* not before: a disk could not be read */
    uint64_t total;             /* blocks of all disks, of the last slice */
    uint64_t done;              /* of them up to the position */
};

/* A difference, for people. */
struct proof_diff {
    const char *replica, *target;
    uint64_t epoch;
    uint64_t blocks, rot, points;
    uint64_t first; /* block */
};
/* proof_text() - a sentence or two into @out. */
void proof_text(const struct proof_diff *d, char *out, size_t size);

/* proof_catch_up() - damage is noted with the points first and the alarm is raised then: raise it
 * in
 * @r when the @n points @p of the replica, oldest first, tell of damage that nobody has
 * acknowledged and @r does not, or not that the newest point shows it. @host: this one. True: @r
 * was changed. */
bool proof_catch_up(struct rel *r, const struct store_point *p, size_t n, const char *host);

#endif
