/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_STORE_QCOW2_H
#define VR_STORE_QCOW2_H

#include <stdint.h>

#include "base/err.h"
#include "transfer/extents.h"

/* What the store reads from qcow2 files itself: facts of the header and which clusters a file
 * holds. Files are never written here. src:[QEMU docs/interop/qcow2.txt] */
struct qcow2_info {
    uint64_t size; /* bytes of the disk */
    uint32_t cluster_bits;
    char **bitmaps; /* names of persistent bitmaps */
    size_t n_bitmaps;
};

/* qcow2_info() - read the header and the list of bitmaps of @path, which no program has open for
 * writing. Errors: VR_E_CORRUPT (not a qcow2 file, or damaged), VR_E_NOFILE, VR_E_IO. Any thread.
 */
int qcow2_info(const char *path, struct qcow2_info *ret, struct vr_err *err);
void qcow2_info_done(struct qcow2_info *q);

/* qcow2_backing() - the name of the backing file as it is written in @path, "" when there is none;
 * caller frees. Errors as qcow2_info(). Any thread. */
int qcow2_backing(const char *path, char **ret, struct vr_err *err);

/* qcow2_allocated() - add to @to the ranges that this file itself holds (data or zeros), cut at the
 * disk's size; what is not in them shines through from below. Errors as qcow2_info(). Any thread.
 */
int qcow2_allocated(const char *path, struct extents *to, struct vr_err *err);

/* image_room() - bytes that a file takes up on its file system, holes left out; 0 for a device. */
uint64_t image_room(const char *path);
/* image_size() - bytes of the disk in a "qcow2" or "raw" file or block device.
 * Errors: as qcow2_info(), VR_E_UNSUPPORTED for another format. */
int image_size(const char *path, const char *format, uint64_t *ret, struct vr_err *err);

#endif
