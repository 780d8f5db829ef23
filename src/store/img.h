/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_STORE_IMG_H
#define VR_STORE_IMG_H

#include <stdatomic.h>
#include <stdint.h>

#include "store/fsops.h"

/* qemu-img as the store uses it. Every call blocks; any thread. Errors: VR_E_NOFILE (no qemu-img),
 * VR_E_NOSPACE, VR_E_IO with qemu-img's own words, VR_E_CANCELLED. */
struct img {
    const struct fsops *fs;
    int lock_fd;               /* kept open by qemu-img while it runs */
    const atomic_bool *cancel; /* may be NULL */
};

struct img_ref {
    const char *path, *format; /* "qcow2" or "raw" */
};

/* img_create() - a new layer of @size bytes: qcow2 over @below, options of docs/store.md; raw, all
 * zeros, when @below is NULL. Nothing is durable yet. */
int img_create(const struct img *im, const char *path, const struct img_ref *below, uint64_t size,
               struct vr_err *err);
/* img_grow() - make a layer larger; zeros appear. */
int img_grow(const struct img *im, const struct img_ref *ref, uint64_t size, struct vr_err *err);
/* img_bitmap_add() / img_bitmap_remove() - an enabled persistent bitmap of 64 KiB granularity. */
int img_bitmap_add(const struct img *im, const char *path, const char *name, struct vr_err *err);
int img_bitmap_remove(const struct img *im, const char *path, const char *name, struct vr_err *err);
/* img_commit() - write all that @upper holds into @lower, its backing file; @upper stays as it is.
 * Works while others read layers above (docs/store.md, "Merging under readers"). */
int img_commit(const struct img *im, const char *upper, const struct img_ref *lower,
               struct vr_err *err);
/* img_rebase() - let @path name @below as its backing file; no data is copied. */
int img_rebase(const struct img *im, const char *path, const struct img_ref *below,
               struct vr_err *err);
/* img_opts() - an option string for --image-opts that opens @ref without image locks, the values of
 * keys prefixed with @prefix; caller frees. */
char *img_opts(const struct img_ref *ref, const char *prefix);

#endif
