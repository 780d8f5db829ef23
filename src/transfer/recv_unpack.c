/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The receiver's unpackers: decompress records. Every block is checked against its digest, here or,
 * when it came as it is, by the reader; what does not fit its digest never reaches a disk. */
#include <string.h>

#include "recv_priv.h"
#include "transfer/codec_zstd.h"

int recv_check(const struct recv_unit *u, uint32_t block, struct vr_err *err)
{
    uint64_t at = (uint64_t)block * VR_BLOCK_SIZE;
    struct vr_digest is = vr_digest_block(u->raw + at, recv_block_bytes(u, block));
    if (memcmp(&is, &u->digests[block], sizeof is) != 0)
        return vr_fail(err, VR_E_CORRUPT, 0,
                       "disk %s: the data received for offset %llu does not match its digest",
                       u->ctx->disks[u->d.disk].x->target, (unsigned long long)(u->d.offset + at));
    return 0;
}

void *recv_unpacker(void *arg)
{
    struct recv_ctx *c = arg;
    vr_auto(zunpack_free) struct zunpack *z = zunpack_new();
    while (!queue_ended(c->packed)) {
        struct recv_unit *u = queue_pop(c->packed, RECV_SLICE_MS);
        if (!u)
            continue;
        struct vr_err err = VR_ERR_INIT;
        int rc = zunpack_run(z, u->packed, u->d.payload, u->raw, (size_t)u->d.length, &err);
        for (uint32_t i = 0; rc == 0 && i < u->d.blocks; i++)
            rc = recv_check(u, i, &err);
        if (rc == 0)
            queue_push(c->ready, u);
        else
            recv_failed(c, &err);
    }
    return NULL;
}
