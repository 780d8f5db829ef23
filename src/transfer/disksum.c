/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The checksum of a whole disk. Pure but for disksum_read(), which blocks its worker. */
#include "transfer/disksum.h"

#include <string.h>

#include "transfer/blockread.h"

static uint64_t big_endian(const uint8_t *b)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | b[i];
    return v;
}

void disksum_add(struct disksum *s, uint64_t block, const struct vr_digest *digest, size_t n)
{
    struct vr_digest zero = vr_digest_zero(n);
    if (memcmp(digest, &zero, sizeof zero) == 0)
        return; /* a hole, if the disk stores it as one */
    uint8_t named[8 + sizeof digest->b];
    for (int i = 0; i < 8; i++)
        named[i] = (uint8_t)(block >> (56 - 8 * i));
    memcpy(named + 8, digest->b, sizeof digest->b);
    struct vr_digest d = vr_digest_block(named, sizeof named);
    s->half[0] += big_endian(d.b);
    s->half[1] += big_endian(d.b + 8);
}

void disksum_join(struct disksum *s, const struct disksum *other)
{
    s->half[0] += other->half[0];
    s->half[1] += other->half[1];
}

static int on_block(void *ctx, uint64_t block, const uint8_t *data, size_t n, struct vr_err *err)
{
    (void)err;
    struct vr_digest d = vr_digest_block(data, n);
    disksum_add(ctx, block, &d, n);
    return 0;
}

int disksum_read(const char *socket, const char *export_name, const atomic_bool *cancel,
                 struct disksum *ret, struct vr_err *err)
{
    struct vnbd *nbd = NULL;
    struct vnbd_config cfg = { .socket = socket, .export_name = export_name, .connections = 1 };
    if (vnbd_open(&cfg, &nbd, err) < 0)
        return -1;
    *ret = (struct disksum){ .half = { 0 } };
    struct blockread r = { .nbd = nbd, .cancel = cancel, .fn = on_block, .ctx = ret };
    int rc = blockread_run(&r, 0, UINT64_MAX / VR_BLOCK_SIZE, err);
    vnbd_close(nbd);
    return rc;
}
