/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_HYPERVISOR_IMGINFO_H
#define VR_HYPERVISOR_IMGINFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "model/model.h"

/* What an image says about itself, read from its header without starting a program. */

struct imginfo_bitmap {
    char name[128];
    bool in_use;    /* not closed cleanly, or in use by a running QEMU */
    bool recording; /* QEMU's "auto": follows every write */
    uint64_t granularity;
};

struct imginfo {
    bool qcow2;
    unsigned version;     /* of qcow2: 2 or 3; else 0 */
    uint64_t size;        /* virtual bytes */
    char *backing;        /* name of the backing file as written in the header, NULL if none */
    char *backing_format; /* and its format, NULL if it is not told */
    size_t n_bitmaps;
    struct imginfo_bitmap *bitmaps;
};

/* imginfo_read() - read the header of @path.
 * @format: as libvirt knows it; only "qcow2" is looked into, the rest has just a size. The format
 *          is never guessed, because a guest can write a header into a raw disk.
 * Errors: VR_E_NOFILE, VR_E_IO, VR_E_CORRUPT (not qcow2, or fields out of bounds).
 * Ownership: imginfo_done(). Thread: any; blocks on the disk.
 * Source: QEMU docs/interop/qcow2.txt (header, bitmaps extension, bitmap directory). */
int imginfo_read(const char *path, const char *format, struct imginfo *ret, struct vr_err *err);
/* imginfo_read_closed() - the same of a qcow2 image that nobody is writing to: a machine's that is
 * off. While a program has it open, its bitmaps are marked in use, and for a moment, while they are
 * stored, the header says that there are none. Errors: also VR_E_BUSY, somebody has it open for
 * writing, or it was being changed all the time. */
int imginfo_read_closed(const char *path, struct imginfo *ret, struct vr_err *err);
/* imginfo_done() - free what is inside. */
void imginfo_done(struct imginfo *i);
#define imginfo_auto __attribute__((cleanup(imginfo_done)))

/* imginfo_bitmap() - the bitmap @name, NULL if the image has none of that name. */
const struct imginfo_bitmap *imginfo_bitmap(const struct imginfo *i, const char *name);

/* imginfo_tracks() - can the changes since bitmap @name be had from the closed image @path alone?
 * The bitmap must be there, recording, not inconsistent, and no image below may have one of the
 * same name (then a snapshot was taken and the bitmap on top knows only what came after it).
 * Returns: 0, or VR_E_TRACKING with the case (enum vr_lost) as detail, or VR_E_BUSY as
 * imginfo_read_closed(): then nobody knows. Thread: any; blocks. */
int imginfo_tracks(const char *path, const char *name, struct vr_err *err);

/* imginfo_backing_path() - path and format of the file below image @path; both are NULL if there is
 * none or if it is no plain file. A plain @format has none: a chain must be walked with the format
 * that each image names for the next. Caller frees both. Errors: as imginfo_read(). */
int imginfo_backing_path(const char *path, const char *format, char **ret, char **ret_format,
                         struct vr_err *err);

#endif
