/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Command lines of qemu-img. Nothing passes through a shell; paths are absolute, so none of them
 * can be taken for an option. Any thread. */
#include "store/img.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "store/baton.h"

static int run(const struct img *im, const char *const argv[], const char *path, struct vr_err *err)
{
    if (im->fs->run(im->fs, argv, im->lock_fd, im->cancel, err) < 0)
        return vr_err_wrap(err, "%s", path);
    return 0;
}

int img_create(const struct img *im, const char *path, const struct img_ref *below, uint64_t size,
               struct vr_err *err)
{
    vr_autofree char *bytes = vr_printf("%llu", (unsigned long long)size);
    if (!below) {
        const char *raw[] = { "qemu-img", "create", "-q", "-f", "raw", path, bytes, NULL };
        return run(im, raw, path, err);
    }
    const char *argv[20] = {
        "qemu-img", "create",
        "-q",       "-u",
        "-f",       "qcow2",
        "-o",       "compat=1.1,cluster_size=65536,extended_l2=off,lazy_refcounts=off"
    };
    size_t n = 8;
    argv[n++] = "-b";
    argv[n++] = below->path;
    argv[n++] = "-F";
    argv[n++] = below->format;
    argv[n++] = path;
    argv[n++] = bytes;
    return run(im, argv, path, err);
}

int img_grow(const struct img *im, const struct img_ref *ref, uint64_t size, struct vr_err *err)
{
    vr_autofree char *bytes = vr_printf("%llu", (unsigned long long)size);
    const char *argv[] = { "qemu-img", "resize", "-q", "-f", ref->format, ref->path, bytes, NULL };
    return run(im, argv, ref->path, err);
}

int img_bitmap_add(const struct img *im, const char *path, const char *name, struct vr_err *err)
{
    const char *argv[] = { "qemu-img", "bitmap", "--add", "-g", "65536",
                           "-f",       "qcow2",  path,    name, NULL };
    return run(im, argv, path, err);
}

int img_bitmap_remove(const struct img *im, const char *path, const char *name, struct vr_err *err)
{
    const char *argv[] = { "qemu-img", "bitmap", "--remove", "-f", "qcow2", path, name, NULL };
    return run(im, argv, path, err);
}

/* A comma in a value is written twice. */
static char *escaped(const char *s)
{
    char *out = vr_new0(strlen(s) * 2 + 1, 1), *o = out;
    for (; *s; s++) {
        if (*s == ',')
            *o++ = ',';
        *o++ = *s;
    }
    return out;
}

char *img_opts(const struct img_ref *ref, const char *prefix)
{
    TOUCHES_FILES;
    struct stat sb;
    bool block = stat(ref->path, &sb) == 0 && S_ISBLK(sb.st_mode);
    vr_autofree char *path = escaped(ref->path);
    return vr_printf("%sdriver=%s,%sfile.driver=%s,%sfile.locking=off,%sfile.filename=%s", prefix,
                     ref->format, prefix, block ? "host_device" : "file", prefix, prefix, path);
}

/* Can the file be written past the page cache? */
static bool is_direct(const char *path)
{
    vr_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    return fd >= 0;
}

int img_commit(const struct img *im, const char *upper, const struct img_ref *lower,
               struct vr_err *err)
{
    struct img_ref up = { upper, "qcow2" };
    vr_autofree char *u = img_opts(&up, ""), *l = img_opts(lower, "backing.");
    vr_autofree char *opts = vr_printf("%s,%s", u, l);
    /* -d: do not empty the upper layer afterwards, it is still the truth until its row is gone.
     * -t none: gigabytes in the page cache would have to reach the disk before this can be stopped,
     * and a failover waits for that. */
    const char *cache = is_direct(lower->path) && is_direct(upper) ? "none" : "writeback";
    const char *argv[] = {
        "qemu-img", "commit", "-q", "-d", "-t", cache, "--image-opts", opts, NULL
    };
    return run(im, argv, upper, err);
}

int img_rebase(const struct img *im, const char *path, const struct img_ref *below,
               struct vr_err *err)
{
    struct img_ref up = { path, "qcow2" };
    vr_autofree char *opts = img_opts(&up, "");
    const char *argv[] = { "qemu-img", "rebase",      "-q",           "-u", "-b", below->path,
                           "-F",       below->format, "--image-opts", opts, NULL };
    return run(im, argv, path, err);
}
