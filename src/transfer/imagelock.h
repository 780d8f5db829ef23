/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSFER_IMAGELOCK_H
#define VR_TRANSFER_IMAGELOCK_H

#include <stdbool.h>

#include "base/err.h"

/* An argument by which the servers that a transfer starts are known: nobody else gives it. */
#define IMAGELOCK_MARK "--description=vmreplica transfer"

/* imagelock_wait() - wait until nobody holds @path for writing, for a qemu-nbd of ours shall. One
 * that an earlier run of this daemon left (it died between starting the server and connecting to
 * it, or the server has still to write what it got) is waited for, then told to end, then ended.
 * Nobody else's process is touched, nor one of ours with another purpose (IMAGELOCK_MARK). @stop
 * (may be NULL): asked while it waits, true ends it. Errors: VR_E_IO somebody else has it open,
 * VR_E_CANCELLED. Thread: any worker; blocks for at most half a minute. Source: QEMU
 * block/file-posix.c, the locked bytes. */
int imagelock_wait(const char *path, bool (*stop)(void *ctx), void *ctx, struct vr_err *err);

#endif
