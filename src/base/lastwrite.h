/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_BASE_LASTWRITE_H
#define VR_BASE_LASTWRITE_H

#include <stdint.h>

/* When a disk image was last written by its machine. Its modification time tells that until we add
 * or remove a bitmap in it, so what it told before is kept beside it, in the extended attribute
 * "user.vmreplica.written" of the file: "<last write> <modification time after our change>". That
 * counts while nobody has written since, which the modification time shows. Where a file system
 * has no such attributes, or we died in between, our own change counts as a write. Any thread; the
 * storage may not answer.
 *
 * lastwrite_get() - nanoseconds since 1970; 0: not a regular file, or not there.
 * lastwrite_keep() - we have changed the file, and before that lastwrite_get() said @was. */
int64_t lastwrite_get(const char *path);
void lastwrite_keep(const char *path, int64_t was);

#endif
