/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSFER_RECV_PRIV_H
#define VR_TRANSFER_RECV_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "transfer/digestlog.h"
#include "transfer/extents.h"
#include "transfer/frame.h"
#include "transfer/nbd_libnbd.h"
#include "transfer/queue.h"
#include "transfer/rawio.h"
#include "transfer/xfer.h"

/* The receiver's pipeline:
 *
 *            compressed    +-> packed -> [unpackers: decompress, verify] -+
 *   spare -> [reader: stream]                                             +-> ready
 *     ^      plain, zero    +-> verified as it comes in ------------------+     |
 *     +------------------------- [writer: disk, digest tables] <----------------+
 *
 * The reader is the caller's thread. The writer is the only one that touches disks and tables, and,
 * while the pipeline runs, the only one that writes to the stream. */

enum {
    RECV_UNITS = 12, /* as SEND_UNITS */
    RECV_UNPACKERS_MAX = 3,
    RECV_HOLD_MAX = 5,        /* units that wait for slots to be cleared; less than RECV_UNITS */
    RECV_BATCH_MAX = 1 << 15, /* blocks written between two flushes of our own */
    RECV_SLICE_MS = 200,
    RECV_NOOP_MS = 4000,
    RECV_DRAIN_MS = 10000,
};

enum recv_kind { RECV_DATA, RECV_SYNC, RECV_DONE };

struct recv_unit {
    enum recv_kind kind;
    _Atomic uint64_t seq; /* number of the record; RECV_IDLE when it is none, or is complete */
    uint64_t records;     /* SYNC, DONE: how many records it covers */
    struct frame_data d;
    struct vr_digest digests[FRAME_BLOCKS_MAX];
    uint8_t *raw, *packed; /* FRAME_DATA_MAX bytes each */
    bool held;             /* the layer held blocks of it: their slots were cleared first */
    struct recv_ctx *ctx;
    struct recv_unit *next;
};
#define RECV_IDLE UINT64_MAX

struct recv_batch {
    struct digest_record *v;
    size_t n, cap;
};

struct recv_disk {
    const struct xfer_recv_disk *x;
    bool want_parents;
    struct recv_ctx *ctx;
    struct vnbd *nbd;    /* a qcow2 layer... */
    struct rawfile *raw; /* ...or a raw image: one of the two is set */
    struct digestlog *slots;
    struct extents doubt; /* bytes that the layer holds without a digest: of a try that broke */
    /* Blocks whose record was accepted and whose slot is not written yet: such a block must not
     * come again, or its slot could tell the digest of other data. Bitmaps made when needed. */
    struct unsettled {
        uint8_t *bits;
        uint32_t n;
    } * unsettled;
    size_t n_unsettled;
    struct recv_batch written, flushing;
};

struct recv_ctx {
    const struct xfer_recv *x;
    struct xfer_progress *progress; /* never NULL */
    struct fault *fault;
    struct queue *spare, *packed, *ready;
    struct recv_unit *units;
    uint8_t *buffers;                /* all their raw data */
    struct recv_disk *disks;         /* in the sender's order */
    struct vnbd *nbds[VR_DISKS_MAX]; /* those of the disks, for waiting */
    struct rawio *raw;               /* NULL when no image is raw */
    int wake;                        /* with `raw`: readable when `ready` or `raw` has something */
    uint64_t sizes[VR_DISKS_MAX];
    size_t n_disks;
    int n_unpackers;
    pthread_t unpackers[RECV_UNPACKERS_MAX], writer;
    bool has_writer, wrote; /* runs; was started, and tells the sender of failures */
    /* The writer's own. */
    struct recv_unit *hold, *tokens, **last_token;
    size_t n_hold;
    size_t flushes; /* in flight */
    bool flushing, flush_failed, finished;
    struct recv_unit *flush_for; /* the token that asked, NULL: our own idea */
    uint64_t durable;
    int64_t last_said_ms;
};

/* recv_failed() - note an error and stop the pipeline. Any thread. */
void recv_failed(struct recv_ctx *c, const struct vr_err *err);
/* recv_stopping() - has anything failed, or did somebody cancel? (a vnbd_config.stop) */
bool recv_stopping(void *ctx);
/* recv_block_bytes() - of one block of a record. recv_check() - its data fits its digest, or
 * VR_E_CORRUPT. */
static inline size_t recv_block_bytes(const struct recv_unit *u, uint32_t block)
{
    uint64_t left = u->d.length - (uint64_t)block * VR_BLOCK_SIZE;
    return left < VR_BLOCK_SIZE ? (size_t)left : VR_BLOCK_SIZE;
}
int recv_check(const struct recv_unit *u, uint32_t block, struct vr_err *err);

/* recv_disk.c: the disks. recv_disk_open() - open number @i; its size must be the expected one.
 * recv_disks_close() - all; what is in flight is dropped without callback. recv_disk_holds() - add
 * to
 * @ret what the layer itself determines. recv_disk_write/zero/flush() - as those of vnbd and
 * rawfile. recv_disk_busy() - has requests in flight. recv_disks_wait() - until requests complete,
 * the queue `ready` has something (if @or_ready), or the time is over; runs the callbacks. */
int recv_disk_open(struct recv_ctx *c, size_t i, struct vr_err *err);
void recv_disks_close(struct recv_ctx *c);
int recv_disk_holds(struct recv_disk *d, struct extents *ret, struct vr_err *err);
int recv_disk_write(struct recv_disk *d, const void *buf, size_t len, uint64_t offset,
                    vnbd_done *done, void *ctx, struct vr_err *err);
int recv_disk_zero(struct recv_disk *d, uint64_t len, uint64_t offset, vnbd_done *done, void *ctx,
                   struct vr_err *err);
int recv_disk_flush(struct recv_disk *d, vnbd_done *done, void *ctx, struct vr_err *err);
bool recv_disk_busy(const struct recv_disk *d);
bool recv_disk_alive(const struct recv_disk *d);
int recv_disks_wait(struct recv_ctx *c, bool or_ready, int timeout_ms, struct vr_err *err);

/* recv_have() - open the disks that START names and tell what they hold. Caller's thread. */
int recv_have(struct recv_ctx *c, struct vr_err *err);
void *recv_unpacker(void *arg);
void *recv_writer(void *arg);

#endif
