/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSFER_FRAME_H
#define VR_TRANSFER_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/stream.h"
#include "model/model.h"

/* The frames of a transfer, docs/protocol-data.md: u8 type, u8 zero, u16 zero, u32 body length,
 * body. X(NAME, number, smallest body, largest body) */
#define FRAMES(X)                                               \
    X(START, 1, 8, 8 + VR_DISKS_MAX * (4 + VR_TARGET_MAX + 12)) \
    X(HAVE, 2, 24, 24 + FRAME_HAVE_MAX * 16)                    \
    X(HAVE_END, 3, 2, 2 + VR_DISKS_MAX)                         \
    X(DATA, 4, 24, 24 + FRAME_BLOCKS_MAX * 16 + FRAME_DATA_MAX) \
    X(SYNC, 5, 8, 8)                                            \
    X(DURABLE, 6, 8, 8)                                         \
    X(DONE, 7, 8, 8)                                            \
    X(RECEIVED, 8, 8, 8)                                        \
    X(NOOP, 9, 0, 0)                                            \
    X(ERROR, 10, 8, 8 + 32 + 512)

enum {
    FRAME_HEADER = 8, /* bytes */
    FRAME_VERSION = 1,
    FRAME_DATA_MAX = 1 << 19, /* bytes of disk in one record with data */
    FRAME_BLOCKS_MAX = FRAME_DATA_MAX / VR_BLOCK_SIZE,
    FRAME_ZERO_MAX = 64 << 20, /* bytes of disk in one zero record */
    FRAME_HAVE_MAX = 4096,     /* digests in one HAVE */
    FRAME_DATA_FIXED = 24,     /* bytes of a DATA body before its digests */
};

enum frame_type {
#define X(name, number, smallest, largest) FRAME_##name = number,
    FRAMES(X)
#undef X
};

enum frame_encoding { FRAME_PLAIN, FRAME_ZSTD, FRAME_ZERO };
enum frame_have { FRAME_HELD = 1, FRAME_PARENT, FRAME_DOUBT };
/* Flags of a disk in HAVE_END. */
enum { FRAME_FRESH = 1, FRAME_PARENTS_COMPLETE = 2 };

struct frame_header {
    enum frame_type type;
    uint32_t length;
};

/* A DATA body up to its digests. */
struct frame_data {
    uint16_t disk;
    enum frame_encoding encoding;
    uint64_t offset;
    uint64_t length;  /* bytes of disk */
    uint32_t blocks;  /* digests that follow; 0 for a zero record */
    uint32_t payload; /* bytes that follow the digests */
};

struct frame_start_disk {
    char target[VR_TARGET_MAX];
    uint64_t size;
    bool want_parents;
};

struct frame_have_run {
    uint16_t disk;
    enum frame_have kind;
    uint64_t block;
    uint64_t count; /* blocks; as many digests follow unless kind is FRAME_DOUBT */
};

/* frame_name() - for messages, static. */
const char *frame_name(enum frame_type t);
/* frame_put_header() - the header into @p[FRAME_HEADER]. */
void frame_put_header(uint8_t *p, enum frame_type t, uint32_t length);
/* frame_read_header() - next frame of @s. Errors: VR_E_PROTO (unknown type, length out of its
 * limits), the stream's. */
int frame_read_header(struct vr_stream *s, struct frame_header *ret, struct vr_err *err);
/* frame_read_body() - the whole body into @b (emptied first). */
int frame_read_body(struct vr_stream *s, const struct frame_header *h, struct vr_buf *b,
                    struct vr_err *err);
/* frame_send() - header and body, one write. frame_send_u64() - the types with one number. */
int frame_send(struct vr_stream *s, enum frame_type t, const void *body, size_t n,
               struct vr_err *err);
int frame_send_u64(struct vr_stream *s, enum frame_type t, uint64_t v, struct vr_err *err);
int frame_get_u64(const struct vr_buf *body, uint64_t *ret, struct vr_err *err);

/* frame_put_data()/frame_get_data() - the fixed part of a DATA body, FRAME_DATA_FIXED bytes;
 * @length is that of the frame, @size the disk's by its number (n_disks of them). Errors:
 * VR_E_PROTO for anything that does not fit together. */
void frame_put_data(uint8_t *p, const struct frame_data *d);
int frame_get_data(const uint8_t *p, uint32_t length, const uint64_t *sizes, size_t n_disks,
                   struct frame_data *ret, struct vr_err *err);

/* START, HAVE, HAVE_END and ERROR bodies. Errors: VR_E_PROTO, VR_E_VERSION, VR_E_LIMIT.
 * frame_get_error() makes @ret the error that the peer told; kinds that would stop our process
 * become VR_E_PEER. */
int frame_put_start(struct vr_buf *b, const struct frame_start_disk *d, size_t n,
                    struct vr_err *err);
int frame_get_start(const struct vr_buf *body, struct frame_start_disk *ret, size_t *ret_n,
                    struct vr_err *err);
int frame_put_have(struct vr_buf *b, const struct frame_have_run *r, struct vr_err *err);
int frame_get_have(const struct vr_buf *body, const uint64_t *sizes, size_t n_disks,
                   struct frame_have_run *ret, const uint8_t **ret_digests, struct vr_err *err);
int frame_put_error(struct vr_buf *b, const struct vr_err *e, struct vr_err *err);
int frame_get_error(const struct vr_buf *body, const char *who, struct vr_err *ret);
/* frame_tell_error() - send @e to the peer at once, unless it is the stream itself that failed; it
 * is the last word, so whether it arrives does not matter. */
void frame_tell_error(struct vr_stream *s, const struct vr_err *e);

#endif
