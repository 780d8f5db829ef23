/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Digests of blocks: XXH3-128 in its canonical big-endian form. The only file that includes xxhash.
 * It guards against damage and tells equal from different; it is no defence against a forger: what
 * travels between hosts is authenticated by TLS. Pure functions, any thread. */
#include <pthread.h>
#include <string.h>

#include <xxhash.h>
#ifdef VR_XXHASH_DISPATCH
#include <xxh_x86dispatch.h> /* the widest vectors that the processor at hand has */
#endif

#include "transfer/digestlog.h"

struct vr_digest vr_digest_block(const void *p, size_t n)
{
    XXH128_canonical_t c;
    XXH128_canonicalFromHash(&c, XXH3_128bits(p, n));
    struct vr_digest d, none = { .b = { 0 } };
    memcpy(d.b, c.digest, sizeof d.b);
    /* All zero means "no digest" in tables. */
    if (memcmp(&d, &none, sizeof d) == 0)
        d.b[sizeof d.b - 1] = 1;
    return d;
}

static const uint8_t zeros[VR_BLOCK_SIZE];
static struct vr_digest of_zero_block;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void compute(void)
{
    of_zero_block = vr_digest_block(zeros, sizeof zeros);
}

struct vr_digest vr_digest_zero(size_t n)
{
    if (n < VR_BLOCK_SIZE)
        return vr_digest_block(zeros, n);
    pthread_once(&once, compute);
    return of_zero_block;
}
