/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSFER_XFER_H
#define VR_TRANSFER_XFER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/stream.h"
#include "model/model.h"
#include "transfer/disksum.h"
#include "transfer/extents.h"

/* The read-ship-write pipelines. One transfer ships one epoch of all disks of one machine over one
 * stream, disk after disk. docs/protocol.md section "Data" describes the frames.
 *
 *   sender                                   receiver
 *     START (disks) ---------------------->
 *     <------------------------------ HAVE (block, digest)* per disk, HAVE_END
 *     DISK, DATA* (zero | plain | zstd), SYNC ---->
 *     <------------------------------------- DURABLE (records that would survive a crash)
 *     DONE (totals) ---------------------->
 *     <------------------------------------- RECEIVED (all durable, nothing committed yet)
 * What follows on the stream (commit, acknowledgement) belongs to the caller. */

struct xfer_progress {
    _Atomic uint64_t total;   /* bytes to consider, known after the dirty maps are read */
    _Atomic uint64_t done;    /* of them handled: sent, or skipped as equal */
    _Atomic uint64_t skipped; /* of done: the receiver had them already (equal digest) */
    _Atomic uint64_t zero;    /* of done: shipped as zero records */
    _Atomic uint64_t payload; /* bytes of data records before compression */
    _Atomic uint64_t wire;    /* bytes written to the stream */
    atomic_bool cancel;       /* set by anybody: ends with VR_E_CANCELLED */
};

/* How a disk's candidates are chosen. */
enum xfer_mode {
    XFER_ALL,     /* everything that is not a hole; holes as zero records (initial copy: receiver's
                     layer is new and empty: holes need no record) */
    XFER_DIRTY,   /* what the dirty context names; dirty holes as zero records */
    XFER_EXTENTS, /* dirty context (if any) united with @extra */
    XFER_COMPARE, /* read everything, ship what differs from the receiver's digests; with @own:
                     read only what is not known to be equal */
};

/* What is known of the sender's disk without reading it: the digest tables of the layers below all
 * that @extra and the dirty context name, newest first. */
struct xfer_own {
    const char *const *digests;
    size_t n_digests;
    bool complete; /* blocks that no table names are zeros; else they are read */
};

struct xfer_send_disk {
    char target[VR_TARGET_MAX];
    uint64_t size;      /* bytes */
    const char *socket; /* NBD UNIX socket */
    const char *export_name;
    const char *dirty_context; /* NULL: none */
    /* The image behind the export and its format when nobody has it open: what lies plainly in its
     * file is read from there, which spares a good part of the processor time. NULL: not so. */
    const char *image, *format;
    enum xfer_mode mode;
    const struct extents *extra; /* for XFER_EXTENTS, and with @own; borrowed, may be NULL */
    const struct xfer_own *own;  /* for XFER_COMPARE; borrowed, NULL: nothing is known */
};

struct xfer_send {
    struct vr_stream *stream;
    const struct xfer_send_disk *disks;
    size_t n_disks;
    int level;                      /* zstd level; 0: no compression; negative are the fast ones */
    uint64_t bytes_per_second;      /* limit, 0 none */
    unsigned hurry;                 /* SYNC and NOOP so many times as often; 0: as usual */
    struct xfer_progress *progress; /* shared with whoever shows it */
    /* NULL, or n_disks checksums, set on success: what each disk in mode XFER_COMPARE held. */
    struct disksum *sums;
};

/* xfer_send_run() - ship all disks; returns when the receiver said RECEIVED.
 * Errors: VR_E_PEER and VR_E_TIMEOUT (stream), VR_E_IO (source), VR_E_CANCELLED, VR_E_NOSPACE and
 * others as told by the receiver. Thread: a transfer worker; starts helpers of its own and joins
 * them. Memory: bounded (about 64 MiB) whatever the disk's size. */
int xfer_send_run(const struct xfer_send *x, struct vr_err *err);

/* xfer_dirty_map() - add to @ret what the dirty context of an export names. Errors: VR_E_IO,
 * VR_E_TRACKING (no such context). Thread: a worker; blocks. */
int xfer_dirty_map(const char *socket, const char *export_name, const char *dirty_context,
                   struct extents *ret, struct vr_err *err);

struct xfer_recv_disk {
    char target[VR_TARGET_MAX];
    uint64_t size;
    const char *image;   /* layer to write, exists */
    bool raw;            /* its format is raw; else qcow2, opened through qemu-nbd */
    bool fresh;          /* nothing below it and created empty: zero records need no write */
    const char *digests; /* path of the layer's digest table (digestlog.h), made when absent */
    /* Digest tables of the layers below, newest first: told to the sender (as effective digests)
     * only when it asks for them (XFER_COMPARE); may be none. */
    const char *const *parent_digests;
    size_t n_parent_digests;
    /* These tables know every block of the parent that is not a hole: a zero block that none of
     * them knows is equal already (XFER_COMPARE). */
    bool parents_complete;
    /* What lies below is known to be wrong there: told as doubt, so that the sender ships it. May
     * be NULL; borrowed. */
    const struct extents *wanted;
};

struct xfer_recv {
    struct vr_stream *stream;
    const struct xfer_recv_disk *disks;
    size_t n_disks;
    struct xfer_progress *progress;
};

/* xfer_recv_run() - receive all disks into their layers; returns after RECEIVED was sent: all data
 * and digest logs are flushed and fsynced, qemu-nbd has ended. On failure what is durable stays for
 * the next try (the digest logs say what it is) and the sender is told the reason if possible.
 * Errors: VR_E_PEER, VR_E_PROTO, VR_E_CORRUPT (a record's digest), VR_E_NOSPACE, VR_E_IO. */
int xfer_recv_run(const struct xfer_recv *x, struct vr_err *err);

#endif
