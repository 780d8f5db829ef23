/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_BASE_QEMULOCK_H
#define VR_BASE_QEMULOCK_H

#include <stdbool.h>

/* QEMU locks one byte of an image for each permission that it has, and one for each that it does
 * not grant to others. */
enum vr_qemulock {
    VR_QEMULOCK_WRITES = 101,       /* somebody has the image open for writing */
    VR_QEMULOCK_DENIES_WRITE = 201, /* somebody bears no writer beside him */
};

/* vr_qemulock_held() - does another process hold the lock on the image that is open as @fd, in
 * whatever mode? Takes nothing, so nobody is disturbed. Thread: any.
 * Source: QEMU block/file-posix.c, RAW_LOCK_PERM_BASE, RAW_LOCK_SHARED_BASE. */
bool vr_qemulock_held(int fd, enum vr_qemulock which);

#endif
