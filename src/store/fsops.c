/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The real file operations of the store. qemu-img is started here and not through base/proc, for
 * two reasons: it must end when we end (a merge that outlives its daemon would write under the feet
 * of the next one), and it must hold the store's lock until then. Any thread. */
#include "store/fsops.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "store/baton.h"

static int real_mkdir(const struct fsops *fs, const char *path, unsigned mode, struct vr_err *err)
{
    TOUCHES_FILES;
    if (mkdir(path, mode) == 0 && chmod(path, mode) == 0) /* whatever the umask */
        return 0;
    int e = errno;
    struct stat sb;
    if (e == EEXIST && stat(path, &sb) == 0 && S_ISDIR(sb.st_mode))
        return 0;
    return vr_fail(err, vr_kind_from_errno(e), e, "cannot make the folder %s", path);
}

static int sync_path(const char *path, int flags, struct vr_err *err)
{
    TOUCHES_FILES;
    vr_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    if (fd < 0 || fsync(fd) < 0)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot sync %s", path);
    return 0;
}

static int real_sync_file(const struct fsops *fs, const char *path, struct vr_err *err)
{
    return sync_path(path, 0, err);
}

static int real_sync_dir(const struct fsops *fs, const char *path, struct vr_err *err)
{
    return sync_path(path, O_DIRECTORY, err);
}

static int real_unlink(const struct fsops *fs, const char *path, struct vr_err *err)
{
    TOUCHES_FILES;
    if (unlink(path) < 0 && errno != ENOENT)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot remove %s", path);
    return 0;
}

static void real_note(const struct fsops *fs, const char *what)
{
}

/* In the child: only calls that are safe after fork() in a program with threads. */
__attribute__((noreturn)) static void child(const char *const argv[], int words, int lock_fd,
                                            pid_t parent)
{
    umask(077);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(126);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(null, 0);
    dup2(null, 1);
    dup2(words, 2);
    if (lock_fd >= 0)
        fcntl(lock_fd, F_SETFD, 0);
    execvp(argv[0], (char *const *)argv);
    _exit(127);
}

/* Gather standard error until its end. False when cancelled. */
static bool gather(int fd, struct vr_buf *words, const atomic_bool *cancel)
{
    for (;;) {
        if (cancel && atomic_load(cancel))
            return false;
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if (poll(&p, 1, cancel ? 20 : -1) <= 0)
            continue;
        char chunk[512];
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n == 0 || (n < 0 && errno != EINTR))
            return true;
        if (n > 0)
            (void)vr_buf_add(words, chunk, (size_t)n, NULL); /* over the limit: cut */
    }
}

static int judge(const char *name, int status, const struct vr_buf *words, struct vr_err *err)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return vr_fail(err, VR_E_NOFILE, 0, "cannot start %s", name);
    const char *said = words->len ? (const char *)words->data : "no message";
    enum vr_kind k = strstr(said, "No space left") ? VR_E_NOSPACE : VR_E_IO;
    return vr_fail(
        err, k, 0, "%s ended with %s %d: %.*s", name, WIFEXITED(status) ? "status" : "signal",
        WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), (int)strcspn(said, "\n"), said);
}

static int real_run(const struct fsops *fs, const char *const argv[], int lock_fd,
                    const atomic_bool *cancel, struct vr_err *err)
{
    TOUCHES_FILES;
    int po[2];
    if (pipe2(po, O_CLOEXEC) < 0)
        return vr_fail(err, VR_E_IO, errno, "cannot make a pipe for %s", argv[0]);
    pid_t self = getpid(), pid = fork();
    if (pid == 0)
        child(argv, po[1], lock_fd, self);
    int e = errno;
    close(po[1]);
    if (pid < 0) {
        close(po[0]);
        return vr_fail(err, vr_kind_from_errno(e), e, "cannot start %s", argv[0]);
    }
    vr_autobuf struct vr_buf words = { .max = 4096 };
    bool whole = gather(po[0], &words, cancel);
    close(po[0]);
    if (!whole)
        kill(pid, SIGKILL);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!whole)
        return vr_fail(err, VR_E_CANCELLED, 0, "%s was stopped", argv[0]);
    return judge(argv[0], status, &words, err);
}

const struct fsops *fsops_real(void)
{
    static const struct fsops real = {
        .mkdir = real_mkdir,
        .sync_file = real_sync_file,
        .sync_dir = real_sync_dir,
        .unlink = real_unlink,
        .run = real_run,
        .note = real_note,
    };
    return &real;
}
