/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Running other programs (qemu-img, qemu-nbd). Blocks; not for the control thread. */
#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

extern char **environ;

static int spawn(const char *const argv[], int out_fd, int err_fd, pid_t *ret_pid,
                 struct vr_err *err)
{
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t at;
    posix_spawn_file_actions_init(&fa);
    posix_spawnattr_init(&at);
    posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    if (out_fd >= 0)
        posix_spawn_file_actions_adddup2(&fa, out_fd, 1);
    if (err_fd >= 0)
        posix_spawn_file_actions_adddup2(&fa, err_fd, 2);
    sigset_t none, dfl;
    sigemptyset(&none);
    sigfillset(&dfl);
    posix_spawnattr_setsigmask(&at, &none);
    posix_spawnattr_setsigdefault(&at, &dfl);
    /* A session of its own, not only a process group: of a group that the daemon's end orphans the
     * kernel hangs up every member if one of them is stopped just then. src:[POSIX, _exit()] */
    posix_spawnattr_setflags(&at,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    pid_t pid;
    int rc = posix_spawnp(&pid, argv[0], &fa, &at, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&at);
    if (rc)
        return vr_fail(err, rc == ENOENT ? VR_E_NOFILE : vr_kind_from_errno(rc), rc,
                       "cannot start %s", argv[0]);
    *ret_pid = pid;
    return 0;
}

int vr_proc_spawn(const char *const argv[], int stderr_fd, pid_t *ret_pid, struct vr_err *err)
{
    return spawn(argv, -1, stderr_fd, ret_pid, err);
}

void vr_proc_stop(pid_t pid, int seconds)
{
    if (pid <= 0)
        return;
    kill(pid, SIGTERM);
    struct mono_ms end = { vr_mono_now().ms + (int64_t)seconds * 1000 };
    for (;;) {
        pid_t r = waitpid(pid, NULL, WNOHANG);
        if (r == pid || (r < 0 && errno != EINTR))
            return;
        if (vr_mono_now().ms >= end.ms)
            break;
        poll(NULL, 0, 5);
    }
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

/* Read both pipes until both are closed or the time is up. Returns 0, or -1 on time-out. */
static int drain(int fds[2], struct vr_buf *bufs[2], struct mono_ms end, bool limited)
{
    struct pollfd p[2] = { { .fd = fds[0], .events = POLLIN }, { .fd = fds[1], .events = POLLIN } };
    while (p[0].fd >= 0 || p[1].fd >= 0) {
        int wait = -1;
        if (limited) {
            int64_t left = end.ms - vr_mono_now().ms;
            if (left <= 0)
                return -1;
            wait = left > 60000 ? 60000 : (int)left;
        }
        if (poll(p, 2, wait) < 0 && errno != EINTR)
            return -1;
        for (int i = 0; i < 2; i++) {
            if (p[i].fd < 0 || !p[i].revents)
                continue;
            char chunk[4096];
            ssize_t n = read(p[i].fd, chunk, sizeof chunk);
            if (n > 0 && bufs[i])
                (void)vr_buf_add(bufs[i], chunk, (size_t)n, NULL); /* over the limit: cut */
            else if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
                p[i].fd = -1;
        }
    }
    return 0;
}

static int judge(const char *name, int status, const struct vr_buf *words, struct vr_err *err)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    char said[320] = "no message";
    if (words->len) {
        size_t n = words->len < sizeof said - 1 ? words->len : sizeof said - 1;
        memcpy(said, words->data + words->len - n, n);
        said[n] = 0;
        while (n && said[n - 1] == '\n')
            said[--n] = 0;
    }
    enum vr_kind k = strstr(said, "No space left") ? VR_E_NOSPACE : VR_E_IO;
    if (WIFEXITED(status))
        return vr_fail(err, k, 0, "%s ended with status %d: %s", name, WEXITSTATUS(status), said);
    return vr_fail(err, k, 0, "%s was killed by signal %d: %s", name, WTERMSIG(status), said);
}

int vr_proc_run(const char *const argv[], int seconds, struct vr_buf *out, struct vr_err *err)
{
    int po[2] = { -1, -1 }, pe[2] = { -1, -1 };
    if (pipe2(po, O_CLOEXEC) < 0 || pipe2(pe, O_CLOEXEC) < 0) {
        int e = errno;
        if (po[0] >= 0) {
            close(po[0]);
            close(po[1]);
        }
        return vr_fail(err, VR_E_IO, e, "cannot make a pipe for %s", argv[0]);
    }
    vr_autobuf struct vr_buf words = { .max = 16384 };
    pid_t pid = -1;
    int rc = spawn(argv, po[1], pe[1], &pid, err);
    close(po[1]);
    close(pe[1]);
    if (rc == 0) {
        struct mono_ms end = { vr_mono_now().ms + (int64_t)seconds * 1000 };
        int fds[2] = { po[0], pe[0] };
        struct vr_buf *bufs[2] = { out, &words };
        if (drain(fds, bufs, end, seconds > 0) < 0) {
            kill(-pid, SIGKILL);
            while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
            rc = vr_fail(err, VR_E_TIMEOUT, 0, "%s did not end within %d s", argv[0], seconds);
        } else {
            int status = 0;
            while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
            rc = judge(argv[0], status, &words, err);
        }
    }
    close(po[0]);
    close(pe[0]);
    return rc;
}
