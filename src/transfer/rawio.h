/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSFER_RAWIO_H
#define VR_TRANSFER_RAWIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

/* Raw image files, written without a server in between: a few threads carry out the requests, their
 * ends are told on the thread that calls rawio_complete(). All calls for one pool and its files are
 * made by one thread at a time. The interface is that of nbd_libnbd.h, so that a receiver can
 * use either. */
struct rawio;
struct rawfile;

/* rawio_new() - a pool of threads. NULL and VR_E_NOMEM when they cannot be started.
 * rawio_free() - waits for requests that are being carried out, drops the others without a
 * callback, ends the threads. Its files must be closed after it. NULL is fine. */
struct rawio *rawio_new(struct vr_err *err);
void rawio_free(struct rawio *io);
VR_DEFINE_CLEANUP(struct rawio, rawio_free)

/* rawio_fd() - readable exactly while requests are over whose callback has not run.
 * rawio_complete() - run these callbacks. */
int rawio_fd(const struct rawio *io);
void rawio_complete(struct rawio *io);

/* rawfile_open() - open @path for writing, past the page cache where the file system can.
 * Errors: VR_E_NOFILE, VR_E_IO, VR_E_DENIED. rawfile_close(): NULL is fine. */
int rawfile_open(struct rawio *io, const char *path, struct rawfile **ret, struct vr_err *err);
void rawfile_close(struct rawfile *f);
VR_DEFINE_CLEANUP(struct rawfile, rawfile_close)
/* rawfile_size() - bytes, at the time of opening. */
uint64_t rawfile_size(const struct rawfile *f);

/* rawfile_holds() - call @fn for every range that may hold other than zeros. Errors: VR_E_IO. */
int rawfile_holds(const struct rawfile *f, void (*fn)(void *ctx, uint64_t offset, uint64_t length),
                  void *ctx, struct vr_err *err);

/* rawfile_write/zero/flush() - submit a request; @done gets 0 or an errno. @buf stays with the
 * request until then and starts at a multiple of 4096 in memory. zero() makes holes where the file
 * system can. A flush covers all writes whose @done has run. */
typedef void rawfile_done(void *ctx, int error);
void rawfile_write(struct rawfile *f, const void *buf, size_t len, uint64_t offset,
                   rawfile_done *done, void *ctx);
void rawfile_zero(struct rawfile *f, uint64_t len, uint64_t offset, rawfile_done *done, void *ctx);
void rawfile_flush(struct rawfile *f, rawfile_done *done, void *ctx);
/* rawfile_in_flight() - requests whose @done has not run yet. */
size_t rawfile_in_flight(const struct rawfile *f);

#endif
