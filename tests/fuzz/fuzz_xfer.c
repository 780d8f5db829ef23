/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libFuzzer target: the frames of a transfer as a peer may send them, in any order. What is
 * accepted must lie within the disks and survive being written and read again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "transfer/codec_zstd.h"
#include "transfer/digestlog.h"
#include "transfer/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A stream of the input's bytes. */
struct input {
    struct vr_stream s;
    struct vr_rd rd;
};

static int input_read(struct vr_stream *s, void *p, size_t n, struct vr_err *err)
{
    return vr_get_bytes(&((struct input *)s)->rd, p, n, err);
}

static const uint64_t sizes[] = { (uint64_t)3 << 30, 512, 65536 * 3 + 1024 };
enum { DISKS = 3 };

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_data(const struct vr_buf *body)
{
    struct frame_data d;
    uint8_t again[FRAME_DATA_FIXED];
    /* Make the check right, or nothing would come past it. */
    struct vr_digest sum = vr_digest_block(body->data, FRAME_DATA_FIXED - 4);
    memcpy(body->data + FRAME_DATA_FIXED - 4, sum.b, 4);
    if (frame_get_data(body->data, (uint32_t)body->len, sizes, DISKS, &d, NULL) < 0)
        return;
    check(d.disk < DISKS && d.offset < sizes[d.disk] && d.length <= sizes[d.disk] - d.offset);
    check(FRAME_DATA_FIXED + (size_t)d.blocks * 16 + d.payload == body->len);
    check(d.encoding == FRAME_ZERO || d.length <= FRAME_DATA_MAX);
    frame_put_data(again, &d);
    check(memcmp(again, body->data, sizeof again) == 0);
    if (d.encoding == FRAME_ZSTD) {
        struct zunpack *z = zunpack_new();
        uint8_t *out = malloc((size_t)d.length);
        check(out != NULL);
        (void)zunpack_run(z, body->data + body->len - d.payload, d.payload, out, (size_t)d.length,
                          NULL);
        free(out);
        zunpack_free(z);
    }
}

static void check_start(const struct vr_buf *body)
{
    struct frame_start_disk d[VR_DISKS_MAX];
    size_t n;
    if (frame_get_start(body, d, &n, NULL) < 0)
        return;
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    check(frame_put_start(&b, d, n, NULL) == 0 && b.len == body->len);
    check(memcmp(b.data, body->data, b.len) == 0);
}

static void check_have(const struct vr_buf *body)
{
    struct frame_have_run h;
    const uint8_t *digests;
    if (frame_get_have(body, sizes, DISKS, &h, &digests, NULL) < 0)
        return;
    uint64_t blocks = (sizes[h.disk] + VR_BLOCK_SIZE - 1) / VR_BLOCK_SIZE;
    check(h.count && h.block < blocks && h.count <= blocks - h.block);
    check(!digests || digests + h.count * 16 == body->data + body->len);
}

static void check_error(const struct vr_buf *body)
{
    struct vr_err e = VR_ERR_INIT;
    check(frame_get_error(body, "peer", &e) == -1 && e.kind != VR_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = { .s = { .read = input_read }, .rd = { data, size } };
    vr_autobuf struct vr_buf body = VR_BUF_INIT;
    struct frame_header h;
    uint64_t v;
    while (frame_read_header(&in.s, &h, NULL) == 0 &&
           frame_read_body(&in.s, &h, &body, NULL) == 0) {
        if (h.type == FRAME_DATA)
            check_data(&body);
        else if (h.type == FRAME_START)
            check_start(&body);
        else if (h.type == FRAME_HAVE)
            check_have(&body);
        else if (h.type == FRAME_ERROR)
            check_error(&body);
        else if (body.len == 8)
            check(frame_get_u64(&body, &v, NULL) == 0);
    }
    return 0;
}
