/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_BASE_STREAM_H
#define VR_BASE_STREAM_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* A reliable two-way byte stream to a peer: TLS in production, a socket pair in tests. One thread
 * may read while another writes; shutdown() may come from any thread and wakes both. */
struct vr_stream {
    /* Write all @n bytes; may buffer. Errors: VR_E_PEER, VR_E_TIMEOUT. */
    int (*write)(struct vr_stream *s, const void *p, size_t n, struct vr_err *err);
    /* Push what write() buffered. */
    int (*flush)(struct vr_stream *s, struct vr_err *err);
    /* Read exactly @n bytes. Errors: VR_E_PEER (also end of stream), VR_E_TIMEOUT. */
    int (*read)(struct vr_stream *s, void *p, size_t n, struct vr_err *err);
    /* Break the stream: calls in progress and later ones fail with VR_E_PEER. */
    void (*shutdown)(struct vr_stream *s);
    /* Close and free. */
    void (*free)(struct vr_stream *s);
    uint64_t bytes_in, bytes_out; /* on the wire, counted by the stream; read by its user */
};

static inline void vr_stream_free(struct vr_stream *s)
{
    if (s)
        s->free(s);
}

static inline void vr_stream_freep(struct vr_stream **s)
{
    vr_stream_free(*s);
}

#endif
