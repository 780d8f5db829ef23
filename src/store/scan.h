/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_STORE_SCAN_H
#define VR_STORE_SCAN_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* image_scan() - read an image as a machine would see it, all layers together.
 * @format: "qcow2" or "raw"
 * @cancel: set by anybody: ends with VR_E_CANCELLED
 * @fn:     called in ascending order for every block (VR_BLOCK_SIZE, the last one may be shorter)
 *          that may be other than zeros; blocks in between are zeros. -1 ends the scan.
 * @ret_size: bytes of the disk
 * Errors: VR_E_NOFILE, VR_E_IO, VR_E_CANCELLED, those of @fn. Any worker; long. */
int image_scan(const char *path, const char *format, const atomic_bool *cancel,
               int (*fn)(void *ctx, uint64_t block, const uint8_t *data, size_t n,
                         struct vr_err *err),
               void *ctx, uint64_t *ret_size, struct vr_err *err);

#endif
