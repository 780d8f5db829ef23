/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_HYPERVISOR_GUARD_H
#define VR_HYPERVISOR_GUARD_H

#include "base/err.h"
#include "base/uuid.h"

/* guard_set() - write (or with @reason NULL remove) the start guard of @uuid in folder @dir, which
 * is made 0755 when it is missing. The hook packaging/libvirt-hook-qemu refuses to start a machine
 * that has one. Durable when it returns 0. Line ends in @reason become blanks.
 * Errors: VR_E_IO, VR_E_NOSPACE. Thread: any; blocks on fsync. Source: design 3 and 6. */
int guard_set(const char *dir, const struct vr_uuid *uuid, const char *reason, struct vr_err *err);
/* guard_mark() - make the empty file @path, 0600, in a folder that is there; durable. -1 with
 * errno. Thread: any; blocks on fsync. */
int guard_mark(const char *path);

#endif
