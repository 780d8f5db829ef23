/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The sender's listener: takes what the receiver says. First what it has, into tables that the
 * reader uses once they are complete; then confirmations, until RECEIVED. It never reads beyond
 * that frame: what follows on the stream is the caller's. */
#include <string.h>

#include "send_priv.h"

enum { DOUBT_MAX = 1 << 20 }; /* ranges of one disk: 16 MiB */

static int take_have(struct send_ctx *c, const struct vr_buf *body, struct vr_err *err)
{
    struct frame_have_run h;
    const uint8_t *digests;
    if (frame_get_have(body, c->sizes, c->x->n_disks, &h, &digests, err) < 0)
        return -1;
    struct plan_known *k = &c->disks[h.disk].known;
    if (h.kind == FRAME_DOUBT) {
        if (k->doubt.n >= DOUBT_MAX)
            return vr_fail(err, VR_E_LIMIT, 0, "the receiver doubts too many ranges");
        extents_add(&k->doubt, h.block * VR_BLOCK_SIZE, h.count * VR_BLOCK_SIZE);
        return 0;
    }
    enum { BATCH = 256 };
    struct digest_record r[BATCH];
    size_t n = 0;
    for (uint64_t i = 0; i < h.count; i++) {
        r[n].block = h.block + i;
        memcpy(r[n].digest.b, digests + i * 16, 16);
        if (++n == BATCH || i + 1 == h.count) {
            if (digestlog_set(k->table, r, n, err) < 0)
                return -1;
            n = 0;
        }
    }
    return 0;
}

static int take_have_end(struct send_ctx *c, const struct vr_buf *body, struct vr_err *err)
{
    if (body->len != 2 + c->x->n_disks || body->data[0] || body->data[1] != c->x->n_disks)
        return vr_fail(err, VR_E_PROTO, 0, "the receiver speaks of other disks");
    for (size_t i = 0; i < c->x->n_disks; i++) {
        uint8_t flags = body->data[2 + i];
        c->disks[i].known.fresh = flags & FRAME_FRESH;
        c->disks[i].known.parents_complete = flags & FRAME_PARENTS_COMPLETE;
    }
    return 0;
}

static int listen_all(struct send_ctx *c, struct vr_err *err)
{
    vr_autobuf struct vr_buf body = VR_BUF_INIT;
    bool known = false;
    for (;;) {
        struct frame_header h;
        if (frame_read_header(c->x->stream, &h, err) < 0 ||
            frame_read_body(c->x->stream, &h, &body, err) < 0)
            return -1;
        switch (h.type) {
        case FRAME_HAVE:
            if (known || take_have(c, &body, err) < 0)
                return known ? vr_fail(err, VR_E_PROTO, 0, "HAVE out of place") : -1;
            break;
        case FRAME_HAVE_END:
            if (known || take_have_end(c, &body, err) < 0)
                return known ? vr_fail(err, VR_E_PROTO, 0, "HAVE out of place") : -1;
            known = true;
            queue_push(c->told, c);
            break;
        case FRAME_NOOP:
        case FRAME_DURABLE:
            break;
        case FRAME_RECEIVED:
            return known ? 0 : vr_fail(err, VR_E_PROTO, 0, "RECEIVED before anything was sent");
        case FRAME_ERROR:
            return frame_get_error(&body, "the receiver says", err);
        default:
            return vr_fail(err, VR_E_PROTO, 0, "the receiver sent a frame %s", frame_name(h.type));
        }
    }
}

void *send_listener(void *arg)
{
    struct send_ctx *c = arg;
    struct vr_err err = VR_ERR_INIT;
    if (listen_all(c, &err) < 0) {
        send_failed(c, &err);
        /* Nothing more is to be expected: free a writer that waits for a full stream. */
        c->x->stream->shutdown(c->x->stream);
    }
    queue_close(c->told);
    queue_close(c->listener_end);
    return NULL;
}
