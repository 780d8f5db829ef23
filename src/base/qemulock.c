/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/qemulock.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/types.h>

bool vr_qemulock_held(int fd, enum vr_qemulock which)
{
    struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = which, .l_len = 1 };
    return fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}
