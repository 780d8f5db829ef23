/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_STORE_SCAN_H
#define VR_STORE_SCAN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* A whole image as a machine would see it, all layers together. */
struct image_scan {
    const char *path, *format; /* "qcow2" or "raw" */
    const atomic_bool *cancel; /* may be NULL; set by anybody: ends with VR_E_CANCELLED */
    uint64_t bytes_per_second; /* limit, 0 none */
    bool tolerant;             /* blocks that cannot be read are told with @data NULL */
    /* Called in ascending order for every block (VR_BLOCK_SIZE, the last one may be shorter) that
     * may be other than zeros; blocks in between are zeros. -1 ends the scan. */
    int (*fn)(void *ctx, uint64_t block, const uint8_t *data, size_t n, struct vr_err *err);
    void *ctx;
};
/* image_open() - the image over NBD, read-only, through a qemu-nbd that ends with the handle.
 * Errors: VR_E_NOFILE, VR_E_IO, VR_E_CANCELLED. */
struct vnbd;
int image_open(const char *path, const char *format, const atomic_bool *cancel, struct vnbd **ret,
               struct vr_err *err);
/* image_scan() - read it. @ret_size: bytes of the disk. Errors: VR_E_NOFILE, VR_E_IO,
 * VR_E_CANCELLED, those of @fn. Any worker; long. */
int image_scan(const struct image_scan *what, uint64_t *ret_size, struct vr_err *err);

#endif
