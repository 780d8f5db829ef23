/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSFER_IMAGEMAP_H
#define VR_TRANSFER_IMAGEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

/* Where the data of a closed image lies in its file, so that it can be read without a server in
 * between. Only speed is gained: what is not known here is read over NBD as ever. All calls for one
 * map are made by one thread at a time; its descriptor may be read by any. */
struct imagemap;

/* imagemap_open() - for @image, a path, of @format "raw" or "qcow2". The image must stay closed
 * while the map is used (whoever has the capture looks at that at its end). No lock is taken.
 * Errors: VR_E_UNSUPPORTED (another format, no regular file), VR_E_NOFILE, VR_E_DENIED, VR_E_IO. */
int imagemap_open(const char *image, const char *format, struct imagemap **ret, struct vr_err *err);
/* imagemap_free() - NULL is fine. */
void imagemap_free(struct imagemap *m);
VR_DEFINE_CLEANUP(struct imagemap, imagemap_free)
/* imagemap_fd() - the file, for pread(2); belongs to the map. */
int imagemap_fd(const struct imagemap *m);

/* A piece of the file. */
struct imagemap_run {
    uint64_t offset, length; /* bytes */
};

/* imagemap_find() - the pieces of the file that hold the disk's bytes from @offset on, @length of
 * them, in order. Looks at windows of the disk, so it is cheapest when @offset goes up.
 * Returns how many pieces @runs got; 0 when they would not be @max or fewer, or when part of the
 * range lies elsewhere or nowhere: below, compressed, encrypted, in a file of its own, zeros.
 * Source: qemu-img(1) map. Blocks. */
size_t imagemap_find(struct imagemap *m, uint64_t offset, uint64_t length,
                     struct imagemap_run *runs, size_t max);

#endif
