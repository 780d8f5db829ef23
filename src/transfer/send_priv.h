/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSFER_SEND_PRIV_H
#define VR_TRANSFER_SEND_PRIV_H

#include <pthread.h>

#include "transfer/codec_zstd.h"
#include "transfer/disksum.h"
#include "transfer/frame.h"
#include "transfer/imagemap.h"
#include "transfer/plan.h"
#include "transfer/queue.h"
#include "transfer/steer.h"
#include "transfer/xfer.h"

/* The sender's pipeline. Units travel in a circle:
 *
 *   spare -> [reader: disk by NBD] -> read -> [packers: digest, compare, compress] -> ready
 *     ^                                                                                |
 *     +----------------------------- [writer: stream] <-------------------------------+
 *
 * and a listener takes what the receiver says. The reader is the caller's thread. What it finds in
 * the file of a closed image it leaves to the packers to read. */

enum {
    SEND_UNITS = 10, /* more would not fit into a processor's cache any longer */
    SEND_PACKERS_MAX = 4,
    SEND_SEGMENTS = FRAME_BLOCKS_MAX * 2 + 2,
    SEND_SYNC_BYTES = 192 << 20, /* of disk between two SYNC */
    SEND_SYNC_MS = 2000,
    SEND_NOOP_MS = 4000, /* after so much silence say something */
    SEND_SLICE_MS = 200, /* how often a waiting thread looks around */
};

/* A piece of disk on its way. */
struct send_unit {
    uint16_t disk;
    uint64_t offset;
    uint64_t length;
    bool zero; /* only a zero record: no data was read */
    /* Where the packer reads the data; none: it is there already. */
    struct imagemap_run runs[FRAME_BLOCKS_MAX];
    size_t n_runs;
    uint8_t *data; /* FRAME_DATA_MAX bytes */
    uint8_t *packed;
    bool has[FRAME_BLOCKS_MAX];  /* the receiver told a digest for the block */
    bool must[FRAME_BLOCKS_MAX]; /* zeros must be told: the receiver may hold something else */
    struct vr_digest known[FRAME_BLOCKS_MAX];
    struct send_ctx *ctx;
    /* The packer's result: frames as pieces of memory, one after the other. */
    uint8_t heads[FRAME_BLOCKS_MAX * (FRAME_HEADER + FRAME_DATA_FIXED + 16)];
    struct {
        const void *p;
        size_t n;
    } segments[SEND_SEGMENTS];
    size_t n_segments;
    struct steer_unit pay; /* what compression cost and brought */
    uint64_t records, payload, zeros, skipped;
    struct disksum sum; /* of the blocks of this unit, if the disk is compared */
};

struct send_disk {
    struct vnbd *nbd;
    struct imagemap *map; /* NULL: all is read over NBD */
    struct own *own;      /* NULL: nothing is known without reading */
    struct plan_known known;
    struct disksum sum; /* the writer's */
};

struct send_ctx {
    const struct xfer_send *x;
    struct xfer_progress *progress; /* never NULL */
    struct fault *fault;
    struct queue *spare, *read, *ready;
    struct queue *told; /* one item when the receiver's HAVE is complete, closed at the end */
    struct queue *writer_end, *listener_end; /* closed by these threads when they end */
    struct send_unit *units;
    uint8_t *buffers; /* all their data */
    struct send_disk *disks;
    uint64_t sizes[VR_DISKS_MAX];
    struct steer steer;
    int want_packers, n_packers; /* the second: running, known to the caller's thread only */
    pthread_t packers[SEND_PACKERS_MAX], writer, listener;
    bool has_writer, has_listener;
};

/* send_failed() - note an error and stop the pipeline; the listener's stream is broken later, by
 * the caller's thread, so that the writer can still tell the receiver. Any thread. */
void send_failed(struct send_ctx *c, const struct vr_err *err);
/* send_stopping() - has anything failed, or did somebody cancel? (a vnbd_config.stop) */
bool send_stopping(void *ctx);

/* The parts: send_read.c, send_pack.c, send_write.c, send_listen.c. */
int send_open_disks(struct send_ctx *c, struct vr_err *err);
int send_read_all(struct send_ctx *c, struct vr_err *err);
void *send_packer(void *arg);
void *send_writer(void *arg);
void *send_listener(void *arg);

#endif
