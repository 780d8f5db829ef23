/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_STORE_FSOPS_H
#define VR_STORE_FSOPS_H

#include <stdatomic.h>

#include "base/err.h"

/* Everything the store does to files goes through this table, so that a test can record it and cut
 * it anywhere. Digest tables are made and filled by transfer/digestlog, the database by SQLite: the
 * table sees the moments before and after a transaction as notes. Any thread. */
struct fsops {
    /* Make a folder with @mode; it may exist. */
    int (*mkdir)(const struct fsops *fs, const char *path, unsigned mode, struct vr_err *err);
    /* Make the content of a file durable. */
    int (*sync_file)(const struct fsops *fs, const char *path, struct vr_err *err);
    /* Make the names in a folder durable. */
    int (*sync_dir)(const struct fsops *fs, const char *path, struct vr_err *err);
    /* Remove a file; it may be absent. */
    int (*unlink)(const struct fsops *fs, const char *path, struct vr_err *err);
    /* Run qemu-img to its end: @argv as for vr_proc_run(). @cancel (may be NULL) set: the program
     * is killed, VR_E_CANCELLED. The program dies with the calling thread and holds @lock_fd (or
     * -1) open for as long as it lives. */
    int (*run)(const struct fsops *fs, const char *const argv[], int lock_fd,
               const atomic_bool *cancel, struct vr_err *err);
    /* Called around each transaction: "begin NAME", "end NAME". Nothing in production. */
    void (*note)(const struct fsops *fs, const char *what);
};

/* fsops_real() - the real file system; static. */
const struct fsops *fsops_real(void);

#endif
