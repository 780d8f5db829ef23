/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSFER_NBD_LIBNBD_H
#define VR_TRANSFER_NBD_LIBNBD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

/* Disks over NBD: an export of somebody's server, or an image file through a qemu-nbd of our own.
 * One thread uses a handle at a time (it may be handed over). Requests are asynchronous: submitted
 * with a callback, which runs inside vnbd_wait() on the same thread. */
struct vnbd;

struct vnbd_config {
    /* Either an export of a server that listens on a UNIX socket... */
    const char *socket;
    const char *export_name;
    const char *dirty_context; /* asked for besides base:allocation; NULL: none */
    /* ...or an image file, opened by a qemu-nbd that ends with the handle or with us. */
    const char *image;
    const char *format; /* image only; NULL: qcow2 */
    bool writable;   /* image only */
    bool want_depth; /* image only: tell what the top layer itself holds */
    int connections; /* wanted; fewer when the server does not allow several */
    /* Asked at least five times a second while a call here blocks; true ends it (VR_E_CANCELLED).
     */
    bool (*stop)(void *ctx);
    void *stop_ctx;
};

/* vnbd_open() - connect. @cfg is needed during the call only.
 * Errors: VR_E_IO (no server, no such export), VR_E_TRACKING (the dirty context does not exist),
 * VR_E_NOFILE (image). vnbd_close() - disconnect; requests in flight are dropped without callback;
 * our qemu-nbd has flushed and ended when it returns. NULL is fine. */
int vnbd_open(const struct vnbd_config *cfg, struct vnbd **ret, struct vr_err *err);
void vnbd_close(struct vnbd *n);
VR_DEFINE_CLEANUP(struct vnbd, vnbd_close)

/* vnbd_size() - bytes of the disk. */
uint64_t vnbd_size(const struct vnbd *n);
/* vnbd_alive() - false after a connection was lost. */
bool vnbd_alive(const struct vnbd *n);

/* What vnbd_status() tells of a range; kinds of different contexts come in no particular order. */
enum vnbd_status_kind {
    VNBD_DATA,  /* base:allocation: may hold other than zeros */
    VNBD_DIRTY, /* the dirty context: changed */
    VNBD_OWN,   /* allocation depth: the top layer itself determines the content */
};
/* vnbd_status() - call @fn for every range in [@offset, @offset + @length) of which a kind is true;
 * ranges may come twice. Blocks. Errors: VR_E_IO, VR_E_CANCELLED. */
int vnbd_status(struct vnbd *n, uint64_t offset, uint64_t length,
                void (*fn)(void *ctx, enum vnbd_status_kind kind, uint64_t offset, uint64_t length),
                void *ctx, struct vr_err *err);

/* @done gets 0 or an errno. */
typedef void vnbd_done(void *ctx, int error);
/* vnbd_read/write/zero/flush() - submit a request. The buffer stays with the request until @done. A
 * flush covers all writes whose @done has run. Errors: VR_E_IO (connection lost). */
int vnbd_read(struct vnbd *n, void *buf, size_t len, uint64_t offset, vnbd_done *done, void *ctx,
              struct vr_err *err);
int vnbd_write(struct vnbd *n, const void *buf, size_t len, uint64_t offset, vnbd_done *done,
               void *ctx, struct vr_err *err);
int vnbd_zero(struct vnbd *n, uint64_t len, uint64_t offset, vnbd_done *done, void *ctx,
              struct vr_err *err);
int vnbd_flush(struct vnbd *n, vnbd_done *done, void *ctx, struct vr_err *err);
/* vnbd_in_flight() - requests whose @done has not run yet. vnbd_room() - may another one be
 * submitted without waiting behind a full server? */
size_t vnbd_in_flight(const struct vnbd *n);
bool vnbd_room(const struct vnbd *n);

/* vnbd_wait() - wait until requests of any of @n handles complete, @extra_fd (or -1) is readable,
 * or
 * @timeout_ms has passed; run the callbacks of what completed. Entries may be NULL.
 * A lost connection is no error here: its requests complete with an errno. Errors: VR_E_IO. */
int vnbd_wait(struct vnbd *const *v, size_t n, int extra_fd, int timeout_ms, struct vr_err *err);

#endif
