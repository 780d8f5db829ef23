/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who else writes to an image, and whose process that is. */
#include "transfer/imagelock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/qemulock.h"

enum {
    LOOK_MS = 50,
    ASK_MS = 3000, /* after so long a left-over is asked to end, */
    KILL_MS = 15000,
    GIVE_UP_MS = 20000,
};

static bool is_locked(const char *path)
{
    vr_autoclose int fd = open(path, O_RDWR | O_CLOEXEC);
    return fd >= 0 && (vr_qemulock_held(fd, VR_QEMULOCK_WRITES) ||
                       vr_qemulock_held(fd, VR_QEMULOCK_DENIES_WRITE));
}

static bool link_of(long pid, const char *what, char *ret, size_t room)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/%s", pid, what);
    ssize_t n = readlink(path, ret, room - 1);
    if (n < 0)
        return false;
    ret[n] = 0;
    return true;
}

/* Is the process a qemu-nbd with our mark, of which @image is the last argument? */
static bool serves(long pid, const char *image)
{
    char path[64], exe[4096], args[8192];
    static const char mark[] = "\0" IMAGELOCK_MARK; /* an argument of its own, ended by a zero */
    const char *name = link_of(pid, "exe", exe, sizeof exe) ? strrchr(exe, '/') : NULL;
    if (!name || strcmp(name, "/qemu-nbd") != 0)
        return false;
    snprintf(path, sizeof path, "/proc/%ld/cmdline", pid);
    vr_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, args, sizeof args);
    size_t len = strlen(image) + 1;
    return n > (ssize_t)len && args[n - (ssize_t)len - 1] == 0 &&
           memcmp(args + n - len, image, len) == 0 && memmem(args, (size_t)n, mark, sizeof mark);
}

static long parent_of(long pid)
{
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%ld/status", pid);
    FILE *f = fopen(path, "re");
    long parent = -1;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "PPid: %ld", &parent) == 1)
            break;
    if (f)
        fclose(f);
    return parent;
}

/* Has whoever started it, a program as this one is, gone? */
static bool is_left_over(long pid)
{
    char own[4096], theirs[4096];
    long parent = parent_of(pid);
    if (parent < 0 || parent == getpid() || !link_of(getpid(), "exe", own, sizeof own))
        return false;
    return parent <= 1 || !link_of(parent, "exe", theirs, sizeof theirs) ||
           strcmp(own, theirs) != 0;
}

static void signal_left_overs(const char *image, int sig)
{
    vr_autoclosedir DIR *d = opendir("/proc");
    for (struct dirent *e; d && (e = readdir(d));) {
        long pid = strtol(e->d_name, NULL, 10);
        if (pid > 1 && serves(pid, image) && is_left_over(pid))
            kill((pid_t)pid, sig);
    }
}

int imagelock_wait(const char *path, bool (*stop)(void *ctx), void *ctx, struct vr_err *err)
{
    int64_t began = vr_mono_now().ms, waited = 0;
    bool asked = false, killed = false;
    for (; is_locked(path); waited = vr_mono_now().ms - began) {
        if (stop && stop(ctx))
            return vr_fail(err, VR_E_CANCELLED, 0, "cancelled");
        if (waited > GIVE_UP_MS)
            return vr_fail(err, VR_E_IO, 0, "%s is open for writing in another process", path);
        if (!asked && waited > ASK_MS)
            signal_left_overs(path, SIGTERM);
        if (!killed && waited > KILL_MS)
            signal_left_overs(path, SIGKILL);
        asked = waited > ASK_MS;
        killed = waited > KILL_MS;
        poll(NULL, 0, LOOK_MS);
    }
    return 0;
}
