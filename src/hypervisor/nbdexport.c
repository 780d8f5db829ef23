/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Closed images: bitmaps by qemu-img, exports by qemu-nbd.
 *
 * Bitmaps of QEMU record independently of each other: adding or removing one changes nothing for
 * the others, so there is never anything to merge (docs/notes-libvirt.md 1.3).
 * Thread: any; every call blocks. */
#include "nbdexport.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/lastwrite.h"
#include "base/proc.h"
#include "imginfo.h"

enum { IMG_SECONDS = 120, START_SECONDS = 30, TRY_MS = 1000, LATE_MS = 30000 };

/* What is done to bitmaps is no write of the machine. */
static int change_bitmap(const char *const argv[], const char *path, struct vr_err *err)
{
    int64_t was = lastwrite_get(path);
    int rc = vr_proc_run(argv, IMG_SECONDS, NULL, err);
    lastwrite_keep(path, was);
    return rc;
}

int hv_bitmap_add(const char *path, const char *name, struct vr_err *err)
{
    const char *argv[] = { "qemu-img", "bitmap", "--add", "-g", "65536",
                           "-f",       "qcow2",  path,    name, NULL };
    if (change_bitmap(argv, path, err) < 0)
        return vr_err_wrap(err, "cannot add bitmap %s to %s", name, path);
    return 0;
}

int hv_bitmap_remove(const char *path, const char *name, struct vr_err *err)
{
    imginfo_auto struct imginfo i = { .qcow2 = false };
    if (imginfo_read_closed(path, &i, err) < 0)
        return -1;
    if (!imginfo_bitmap(&i, name))
        return 0;
    const char *argv[] = { "qemu-img", "bitmap", "--remove", "-f", "qcow2", path, name, NULL };
    if (change_bitmap(argv, path, err) < 0)
        return vr_err_wrap(err, "cannot remove bitmap %s from %s", name, path);
    return 0;
}

static int image_make(const char *path, uint64_t size, struct vr_err *err)
{
    char bytes[24];
    snprintf(bytes, sizeof bytes, "%" PRIu64, size);
    const char *argv[] = { "qemu-img", "create", "-q", "-f", "qcow2", path, bytes, NULL };
    if (vr_proc_run(argv, IMG_SECONDS, NULL, err) < 0)
        return vr_err_wrap(err, "cannot make %s", path);
    return 0;
}

int hv_scratch_make(const char *dir, char *const path[], const uint64_t size[], size_t n, uid_t uid,
                    gid_t gid, struct vr_err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (image_make(path[i], size[i], err) < 0)
            return -1;
        if (lchown(path[i], uid, gid) < 0)
            return vr_fail(err, VR_E_IO, errno, "cannot give %s to the machine", path[i]);
    }
    if (lchown(dir, uid, gid) < 0)
        return vr_fail(err, VR_E_IO, errno, "cannot give %s to the machine", dir);
    return 0;
}

/* Option strings of QEMU separate with commas; a comma in a value is doubled. */
static char *escape(const char *s)
{
    char *out = vr_new0(strlen(s) * 2 + 1, 1);
    for (char *o = out; *s; s++) {
        *o++ = *s;
        if (*s == ',')
            *o++ = ',';
    }
    return out;
}

/* Does a server of NBD answer on the socket within @ms? 1 yes, 0 not yet. Leaves no half-made
 * handshake. */
static int answers(const struct sockaddr_un *sa, int ms)
{
    vr_autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)sa, sizeof *sa) < 0)
        return 0;
    char magic[8];
    struct pollfd p = { .fd = fd, .events = POLLIN };
    return poll(&p, 1, ms) == 1 && read(fd, magic, sizeof magic) == (ssize_t)sizeof magic &&
           memcmp(magic, "NBDMAGIC", 8) == 0;
}

/* The program's last words, for the message. */
static void read_words(int fd, char *out, size_t n)
{
    ssize_t got = fd < 0 ? 0 : pread(fd, out, n - 1, 0);
    out[got > 0 ? got : 0] = 0;
    out[strcspn(out, "\n")] = 0;
}

static int wait_ready(struct nbdexport *x, int words_fd, struct vr_err *err)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", x->socket);
    int64_t end = vr_mono_now().ms + START_SECONDS * 1000;
    char words[256];
    while (!answers(&sa, TRY_MS)) {
        int status;
        if (waitpid(x->pid, &status, WNOHANG) == x->pid) {
            x->pid = 0;
            read_words(words_fd, words, sizeof words);
            return vr_fail(err, VR_E_IO, 0, "qemu-nbd ended at once: %s",
                           words[0] ? words : "no message");
        }
        if (vr_mono_now().ms > end)
            return vr_fail(err, VR_E_TIMEOUT, 0, "qemu-nbd does not answer on %s", x->socket);
        poll(NULL, 0, 5);
    }
    return 0;
}

static char *image_options(const char *image, const char *format, const struct stat *st)
{
    vr_autofree char *file = escape(image);
    return vr_printf("driver=%s,force-share=on,read-only=on,file.driver=%s,file.filename=%s",
                     format, S_ISBLK(st->st_mode) ? "host_device" : "file", file);
}

int nbdexport_start(struct nbdexport *x, const char *image, const char *format, const char *name,
                    const char *bitmap, const char *socket, struct vr_err *err)
{
    *x = (struct nbdexport){ .pid = 0 };
    if (image[0] != '/' || strchr(format, ','))
        return vr_fail(err, VR_E_INVAL, 0, "%s (%s) cannot be exported", image, format);
    if (strlen(socket) >= sizeof((struct sockaddr_un *)0)->sun_path)
        return vr_fail(err, VR_E_LIMIT, 0, "socket path too long: %s", socket);
    x->socket = vr_strdup(socket);
    x->pidfile = vr_printf("%s.pid", socket);
    x->image = vr_strdup(image);
    if (stat(image, &x->stamp) < 0)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "%s", image);
    vr_autofree char *opts = image_options(image, format, &x->stamp);
    vr_autofree char *pid_opt = vr_printf("--pid-file=%s", x->pidfile);
    const char *argv[24] = { "qemu-nbd", "--read-only", "--persistent", "--shared=0", "-k",
                             socket,     "-x",          name,           pid_opt };
    int n = 9;
    if (bitmap) {
        argv[n++] = "-B";
        argv[n++] = bitmap;
    }
    argv[n++] = "--image-opts";
    argv[n++] = opts;
    argv[n] = NULL;
    unlink(socket);
    vr_autoclose int words = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (vr_proc_spawn(argv, words, &x->pid, err) < 0)
        return -1;
    if (wait_ready(x, words, err) < 0)
        return vr_err_wrap(err, "export of %s", image);
    return 0;
}

bool nbdexport_intact(const struct nbdexport *x)
{
    struct stat st;
    if (stat(x->image, &st) < 0)
        return false;
    if (S_ISBLK(st.st_mode))
        return st.st_rdev == x->stamp.st_rdev;
    return st.st_dev == x->stamp.st_dev && st.st_ino == x->stamp.st_ino &&
           st.st_size == x->stamp.st_size && st.st_mtim.tv_sec == x->stamp.st_mtim.tv_sec &&
           st.st_mtim.tv_nsec == x->stamp.st_mtim.tv_nsec;
}

void nbdexport_stop(struct nbdexport *x)
{
    vr_proc_stop(x->pid, 5);
    if (x->socket)
        unlink(x->socket);
    if (x->pidfile)
        unlink(x->pidfile);
    nbdexport_leave(x);
}

bool nbdexport_answers(const char *socket)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    if (strlen(socket) >= sizeof sa.sun_path)
        return false;
    strcpy(sa.sun_path, socket);
    /* Where nothing listens that is known at once; what listens and is slow may have readers. */
    return answers(&sa, LATE_MS) > 0;
}

void nbdexport_leave(struct nbdexport *x)
{
    free(x->socket);
    free(x->pidfile);
    free(x->image);
    *x = (struct nbdexport){ .pid = 0 };
}

/* End the process of a pid file, if it still is a qemu-nbd that serves from @dir. */
static void end_stale(int dirfd, const char *dir, const char *file)
{
    vr_autoclose int fd = openat(dirfd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    char text[32] = "", line[4096];
    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
        return;
    long pid = strtol(text, NULL, 10);
    if (pid <= 1)
        return;
    vr_autofree char *path = vr_printf("/proc/%ld/cmdline", pid);
    vr_autoclose int cl = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = cl < 0 ? 0 : read(cl, line, sizeof line - 1);
    if (n <= 0)
        return;
    for (ssize_t i = 0; i < n; i++)
        if (!line[i])
            line[i] = ' ';
    line[n] = 0;
    if (strncmp(line, "qemu-nbd ", 9) != 0 || !strstr(line, dir) || kill((pid_t)pid, SIGKILL) < 0)
        return;
    while (waitpid((pid_t)pid, NULL, 0) < 0 && errno == EINTR) /* ECHILD: an earlier daemon's */
        ;
}

void nbdexport_sweep(const char *dir)
{
    vr_autoclosedir DIR *d = opendir(dir);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        size_t n = strlen(e->d_name);
        if (n > 4 && strcmp(e->d_name + n - 4, ".pid") == 0)
            end_stale(dirfd(d), dir, e->d_name);
        unlinkat(dirfd(d), e->d_name, 0);
    }
}
