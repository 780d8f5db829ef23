/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSPORT_CALLERS_H
#define VR_TRANSPORT_CALLERS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"
#include "transport/net.h"

/* What an acceptor knows of the addresses that call it. An address stands for its block: itself for
 * IPv4, its /64 for IPv6, as whoever has one address of a /64 has all of them. */

/* callers_block() - the block of a numeric address, as text; an address that is none is its own. */
void callers_block(const char *address, char ret[NET_ADDR_MAX]);

/* ---- whose calls are expected: addresses of peers. Strangers cannot take their places. Any
 * thread. ---- */
enum { EXPECTED_MET = 64 };
struct expected {
    pthread_mutex_t lock;
    char (*told)[NET_ADDR_MAX]; /* blocks */
    size_t n_told;
    char met[EXPECTED_MET][NET_ADDR_MAX]; /* likewise, of peers that were here last */
    size_t next;
};
void expected_init(struct expected *e);
void expected_done(struct expected *e);
/* expected_tell() - @addresses are the peers' now, instead of those told before. */
void expected_tell(struct expected *e, const char *const *addresses, size_t n);
/* expected_met() - a peer is connected from block @block. */
void expected_met(struct expected *e, const char *block);
bool expected_has(struct expected *e, const char *block);

/* ---- who failed and has to wait before it tries again. The caller locks. ---- */
enum { SLOW_BLOCKS = 64, SLOW_MAX_MS = 32000, SLOW_FORGIVEN_MS = 600000 };
struct slow {
    struct slow_block {
        char block[NET_ADDR_MAX];
        unsigned failed;
        struct mono_ms until, last;
    } at[SLOW_BLOCKS];
};
/* slow_wait() - how many milliseconds @block has to wait; 0: none.
 * slow_failed() - it failed once more. The first time costs nothing, then 1 s, 2 s, 4 s, up to
 * SLOW_MAX_MS. Forgiven SLOW_FORGIVEN_MS after the last one; the one that failed longest ago gives
 * way when there are many. Returns how often it has failed. slow_forget() - it has not failed. */
int64_t slow_wait(const struct slow *s, const char *block, struct mono_ms now);
unsigned slow_failed(struct slow *s, const char *block, struct mono_ms now);
void slow_forget(struct slow *s, const char *block);

#endif
