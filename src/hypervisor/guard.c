/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Start guards: one small file per machine that must not be started, read by the libvirt hook.
 *
 * Written beside its place, fsynced, renamed, and the folder fsynced: after a crash the guard is
 * there whole or not at all. Thread: any; calls for one machine are serialised by the engine. */
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"

static int write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return -1;
        p += w;
        n -= (size_t)w;
    }
    return 0;
}

static int put(int dirfd, const char *name, const char *text, struct vr_err *err)
{
    vr_autofree char *tmp = vr_printf(".%s.new", name);
    vr_autoclose int fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot make %s", tmp);
    if (write_all(fd, text, strlen(text)) < 0 || fsync(fd) < 0 ||
        renameat(dirfd, tmp, dirfd, name) < 0) {
        int e = errno;
        unlinkat(dirfd, tmp, 0);
        return vr_fail(err, vr_kind_from_errno(e), e, "cannot write %s", name);
    }
    return 0;
}

int guard_set(const char *dir, const struct vr_uuid *uuid, const char *reason, struct vr_err *err)
{
    if (mkdir(dir, 0755) < 0 && errno != EEXIST)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot make %s", dir);
    vr_autoclose int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot open %s", dir);
    char name[VR_UUID_STR];
    vr_uuid_fmt(uuid, name);
    if (reason) {
        vr_autofree char *text = vr_printf("%s\n", reason);
        for (char *c = text; c[0] && c[1]; c++)
            if (*c == '\n' || *c == '\r')
                *c = ' ';
        if (put(fd, name, text, err) < 0)
            return vr_err_wrap(err, "guard in %s", dir);
    } else if (unlinkat(fd, name, 0) < 0 && errno != ENOENT) {
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot remove guard %s/%s", dir,
                       name);
    }
    if (fsync(fd) < 0)
        return vr_fail(err, VR_E_IO, errno, "cannot make %s durable", dir);
    return 0;
}

int guard_mark(const char *path)
{
    vr_autofree char *dir = vr_strdup(path);
    char *slash = strrchr(dir, '/');
    if (!slash) {
        errno = EINVAL;
        return -1;
    }
    *slash = 0;
    vr_autoclose int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    vr_autoclose int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || dirfd < 0 || fsync(fd) < 0 || fsync(dirfd) < 0 ? -1 : 0;
}
