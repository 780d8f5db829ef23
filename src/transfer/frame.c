/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Frames of a transfer to bytes and back. Everything a peer says is checked here against the table
 * of limits and the sizes of the disks; what passes may be used without another look. */
#include "transfer/frame.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/codec.h"
#include "transfer/digestlog.h"

static const uint32_t start_magic = 0x56525831; /* "VRX1" */

static const struct limit {
    const char *name;
    uint32_t smallest, largest;
} limits[] = {
#define X(name, number, smallest, largest) [number] = { #name, smallest, largest },
    FRAMES(X)
#undef X
};

const char *frame_name(enum frame_type t)
{
    return (size_t)t < VR_ARRAY_LEN(limits) && limits[t].name ? limits[t].name : "unknown";
}

void frame_put_header(uint8_t *p, enum frame_type t, uint32_t length)
{
    memset(p, 0, FRAME_HEADER);
    p[0] = (uint8_t)t;
    vr_store_u32(p + 4, length);
}

int frame_read_header(struct vr_stream *s, struct frame_header *ret, struct vr_err *err)
{
    uint8_t h[FRAME_HEADER];
    if (s->read(s, h, sizeof h, err) < 0)
        return -1;
    uint32_t length = vr_load_u32(h + 4);
    if (h[0] >= VR_ARRAY_LEN(limits) || !limits[h[0]].name || h[1] || h[2] || h[3])
        return vr_fail(err, VR_E_PROTO, 0, "unknown frame of type %u", h[0]);
    const struct limit *l = &limits[h[0]];
    if (length < l->smallest || length > l->largest)
        return vr_fail(err, VR_E_PROTO, 0, "frame %s of %u bytes is not between %u and %u", l->name,
                       length, l->smallest, l->largest);
    *ret = (struct frame_header){ .type = h[0], .length = length };
    return 0;
}

int frame_read_body(struct vr_stream *s, const struct frame_header *h, struct vr_buf *b,
                    struct vr_err *err)
{
    b->len = 0;
    if (vr_buf_reserve(b, h->length, err) < 0)
        return -1;
    if (h->length && s->read(s, b->data, h->length, err) < 0)
        return -1;
    b->len = h->length;
    return 0;
}

int frame_send(struct vr_stream *s, enum frame_type t, const void *body, size_t n,
               struct vr_err *err)
{
    uint8_t h[FRAME_HEADER];
    frame_put_header(h, t, (uint32_t)n);
    if (s->write(s, h, sizeof h, err) < 0 || (n && s->write(s, body, n, err) < 0))
        return -1;
    return 0;
}

int frame_send_u64(struct vr_stream *s, enum frame_type t, uint64_t v, struct vr_err *err)
{
    uint8_t b[FRAME_HEADER + 8];
    frame_put_header(b, t, 8);
    vr_store_u64(b + FRAME_HEADER, v);
    return s->write(s, b, sizeof b, err);
}

int frame_get_u64(const struct vr_buf *body, uint64_t *ret, struct vr_err *err)
{
    struct vr_rd r = { body->data, body->len };
    uint64_t v;
    if (vr_get_u64(&r, &v, err) < 0 || vr_get_end(&r, err) < 0)
        return -1;
    *ret = v;
    return 0;
}

/* Do [@offset, @offset + @length) start at a block and end at one or at the end of the disk? */
static bool on_blocks(uint64_t offset, uint64_t length, uint64_t size)
{
    if (offset % VR_BLOCK_SIZE || !length || offset >= size || length > size - offset)
        return false;
    return length % VR_BLOCK_SIZE == 0 || offset + length == size;
}

/* Digests cover the data; this covers where it belongs. */
static void data_check(const uint8_t *p, uint8_t check[4])
{
    struct vr_digest d = vr_digest_block(p, FRAME_DATA_FIXED - 4);
    memcpy(check, d.b, 4);
}

void frame_put_data(uint8_t *p, const struct frame_data *d)
{
    vr_store_u16(p, d->disk);
    p[2] = (uint8_t)d->encoding;
    p[3] = 0;
    vr_store_u64(p + 4, d->offset);
    vr_store_u64(p + 12, d->length);
    data_check(p, p + 20);
}

int frame_get_data(const uint8_t *p, uint32_t length, const uint64_t *sizes, size_t n_disks,
                   struct frame_data *ret, struct vr_err *err)
{
    struct frame_data d = { .disk = vr_load_u16(p),
                            .encoding = p[2],
                            .offset = vr_load_u64(p + 4),
                            .length = vr_load_u64(p + 12) };
    uint32_t rest = length - FRAME_DATA_FIXED;
    uint8_t check[4];
    data_check(p, check);
    if (memcmp(check, p + 20, sizeof check) != 0)
        return vr_fail(err, VR_E_CORRUPT, 0, "the head of a data record was damaged on its way");
    if (d.disk >= n_disks || p[2] > FRAME_ZERO || p[3])
        return vr_fail(err, VR_E_PROTO, 0, "data record of unknown disk or kind");
    if (!on_blocks(d.offset, d.length, sizes[d.disk]))
        return vr_fail(err, VR_E_PROTO, 0, "data record outside of its disk");
    if (d.encoding == FRAME_ZERO) {
        if (d.length > FRAME_ZERO_MAX || rest)
            return vr_fail(err, VR_E_PROTO, 0, "zero record of a wrong length");
        *ret = d;
        return 0;
    }
    if (d.length > FRAME_DATA_MAX)
        return vr_fail(err, VR_E_PROTO, 0, "data record is too long");
    d.blocks = (uint32_t)((d.length + VR_BLOCK_SIZE - 1) / VR_BLOCK_SIZE);
    if (rest <= d.blocks * 16)
        return vr_fail(err, VR_E_PROTO, 0, "data record without data");
    d.payload = rest - d.blocks * 16;
    if (d.encoding == FRAME_PLAIN ? d.payload != d.length : d.payload >= d.length)
        return vr_fail(err, VR_E_PROTO, 0, "data record with a wrong amount of data");
    *ret = d;
    return 0;
}

int frame_put_start(struct vr_buf *b, const struct frame_start_disk *d, size_t n,
                    struct vr_err *err)
{
    if (vr_put_u32(b, start_magic, err) < 0 || vr_put_u16(b, FRAME_VERSION, err) < 0 ||
        vr_put_u16(b, (uint16_t)n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (vr_put_str(b, d[i].target, err) < 0 || vr_put_u64(b, d[i].size, err) < 0 ||
            vr_put_u32(b, d[i].want_parents, err) < 0)
            return -1;
    return 0;
}

static int get_start_disk(struct vr_rd *r, struct frame_start_disk *d, struct vr_err *err)
{
    vr_autofree char *target = NULL;
    uint32_t flags;
    if (vr_get_str(r, VR_TARGET_MAX - 1, &target, err) < 0 || vr_get_u64(r, &d->size, err) < 0 ||
        vr_get_u32(r, &flags, err) < 0)
        return -1;
    if (!*target || flags > 1 || d->size == 0 || d->size > VR_DISK_MAX)
        return vr_fail(err, VR_E_PROTO, 0, "impossible disk in the start of a transfer");
    memcpy(d->target, target, strlen(target) + 1);
    d->want_parents = flags == 1;
    return 0;
}

int frame_get_start(const struct vr_buf *body, struct frame_start_disk *ret, size_t *ret_n,
                    struct vr_err *err)
{
    struct vr_rd r = { body->data, body->len };
    uint32_t magic;
    uint16_t version, n;
    if (vr_get_u32(&r, &magic, err) < 0 || vr_get_u16(&r, &version, err) < 0 ||
        vr_get_u16(&r, &n, err) < 0)
        return -1;
    if (magic != start_magic)
        return vr_fail(err, VR_E_PROTO, 0, "this is not the start of a transfer");
    if (version != FRAME_VERSION)
        return vr_fail(err, VR_E_VERSION, 0, "the sender transfers by version %u, we by version %d",
                       version, FRAME_VERSION);
    if (n == 0 || n > VR_DISKS_MAX)
        return vr_fail(err, VR_E_PROTO, 0, "a transfer of %u disks", n);
    for (size_t i = 0; i < n; i++)
        if (get_start_disk(&r, &ret[i], err) < 0)
            return -1;
    if (vr_get_end(&r, err) < 0)
        return -1;
    *ret_n = n;
    return 0;
}

int frame_put_have(struct vr_buf *b, const struct frame_have_run *h, struct vr_err *err)
{
    if (vr_put_u16(b, h->disk, err) < 0 || vr_put_u16(b, (uint16_t)h->kind, err) < 0 ||
        vr_put_u32(b, 0, err) < 0 || vr_put_u64(b, h->block, err) < 0 ||
        vr_put_u64(b, h->count, err) < 0)
        return -1;
    return 0;
}

int frame_get_have(const struct vr_buf *body, const uint64_t *sizes, size_t n_disks,
                   struct frame_have_run *ret, const uint8_t **ret_digests, struct vr_err *err)
{
    struct vr_rd r = { body->data, body->len };
    struct frame_have_run h;
    uint16_t kind;
    uint32_t zero;
    if (vr_get_u16(&r, &h.disk, err) < 0 || vr_get_u16(&r, &kind, err) < 0 ||
        vr_get_u32(&r, &zero, err) < 0 || vr_get_u64(&r, &h.block, err) < 0 ||
        vr_get_u64(&r, &h.count, err) < 0)
        return -1;
    if (h.disk >= n_disks || kind < FRAME_HELD || kind > FRAME_DOUBT || zero)
        return vr_fail(err, VR_E_PROTO, 0, "wrong HAVE");
    h.kind = kind;
    uint64_t blocks = (sizes[h.disk] + VR_BLOCK_SIZE - 1) / VR_BLOCK_SIZE;
    if (!h.count || h.block >= blocks || h.count > blocks - h.block)
        return vr_fail(err, VR_E_PROTO, 0, "HAVE outside of its disk");
    bool digests = h.kind != FRAME_DOUBT;
    if (digests ? h.count > FRAME_HAVE_MAX || r.left != h.count * 16 : r.left != 0)
        return vr_fail(err, VR_E_PROTO, 0, "HAVE of a wrong length");
    *ret = h;
    *ret_digests = digests ? r.p : NULL;
    return 0;
}

int frame_put_error(struct vr_buf *b, const struct vr_err *e, struct vr_err *err)
{
    char msg[512];
    size_t n = strnlen(e->msg, sizeof msg - 1);
    memcpy(msg, e->msg, n);
    msg[n] = 0;
    if (vr_put_str(b, vr_kind_name(e->kind), err) < 0 || vr_put_str(b, msg, err) < 0)
        return -1;
    return 0;
}

int frame_get_error(const struct vr_buf *body, const char *who, struct vr_err *ret)
{
    struct vr_rd r = { body->data, body->len };
    vr_autofree char *kind = NULL;
    vr_autofree char *msg = NULL;
    if (vr_get_str(&r, 32, &kind, ret) < 0 || vr_get_str(&r, 512, &msg, ret) < 0 ||
        vr_get_end(&r, ret) < 0)
        return -1;
    enum vr_kind k = vr_kind_from_name(kind);
    if (k == VR_OK || vr_kind_scope(k) == VR_SCOPE_PROC)
        k = VR_E_PEER;
    /* It goes into logs and on terminals. */
    for (char *c = msg; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    vr_fail(ret, k, 0, "%s: %s", who, msg);
    ret->where = "peer"; /* whose trouble it is decides who has to do something */
    return -1;
}

void frame_tell_error(struct vr_stream *s, const struct vr_err *e)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    if (e->kind == VR_E_PEER || e->kind == VR_E_TIMEOUT)
        return;
    if (frame_put_error(&b, e, NULL) == 0 && frame_send(s, FRAME_ERROR, b.data, b.len, NULL) == 0)
        (void)s->flush(s, NULL);
}
