/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Helpers of the store's tests; real qemu-img and qemu-io on tiny disks. */
#include "store/testdisk.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/proc.h"
#include "transfer/digestlog.h"

static void must(int rc, const struct vr_err *err, const char *what)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "%s: %s\n", what, err->msg);
    abort();
}

void td_run(const char *const argv[])
{
    struct vr_err e = VR_ERR_INIT;
    must(vr_proc_run(argv, 60, NULL, &e), &e, argv[0]);
}

/* Where files of tests go; what test programs take at once is some 10 MiB each. */
static const char *files_go(void)
{
    const char *set = getenv("TMPDIR");
    struct statfs fs;
    if (set && *set)
        return set;
    if (statfs("/dev/shm", &fs) == 0 && fs.f_type == TMPFS_MAGIC &&
        (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize >= (uint64_t)512 << 20 &&
        access("/dev/shm", W_OK) == 0)
        return "/dev/shm";
    return "/tmp";
}

void td_folder(char dir[TD_DIR])
{
    snprintf(dir, TD_DIR, "%s/vmr-store-XXXXXX", files_go());
    if (!mkdtemp(dir)) {
        perror(dir);
        abort();
    }
}

void td_remove(const char *dir)
{
    const char *argv[] = { "rm", "-rf", dir, NULL };
    td_run(argv);
}

void td_reopen(const char *dir, struct store **st)
{
    struct vr_err e = VR_ERR_INIT;
    store_close(*st);
    *st = NULL;
    must(store_open(dir, st, &e), &e, dir);
}

void td_setup(char dir[TD_DIR], struct store **st)
{
    td_folder(dir);
    *st = NULL;
    td_reopen(dir, st);
}

void td_teardown(const char *dir, struct store *st)
{
    store_close(st);
    td_remove(dir);
}

static size_t blocks(const struct td_disk *d)
{
    return (size_t)((d->size + VR_BLOCK_SIZE - 1) / VR_BLOCK_SIZE);
}

static size_t block_bytes(const struct td_disk *d, size_t b)
{
    uint64_t left = d->size - (uint64_t)b * VR_BLOCK_SIZE;
    return left < VR_BLOCK_SIZE ? (size_t)left : VR_BLOCK_SIZE;
}

static void put_digests(const char *path, const struct td_disk *from, const struct td_disk *to)
{
    static uint8_t data[VR_BLOCK_SIZE];
    struct vr_err e = VR_ERR_INIT;
    vr_auto(digestlog_free) struct digestlog *log = NULL;
    must(digestlog_open(path, to->size, true, &log, &e), &e, path);
    for (size_t b = 0; b < blocks(to); b++) {
        if (from->byte[b] == to->byte[b])
            continue;
        size_t n = block_bytes(to, b);
        memset(data, to->byte[b], n);
        struct digest_record r = { .block = b, .digest = vr_digest_block(data, n) };
        must(digestlog_set(log, &r, 1, &e), &e, path);
    }
    must(digestlog_sync(log, &e), &e, path);
}

const char *td_format(const char *image)
{
    size_t n = strlen(image);
    return n > 4 && !strcmp(image + n - 4, ".raw") ? "raw" : "qcow2";
}

void td_write(const char *image, const char *digests, const struct td_disk *from,
              const struct td_disk *to)
{
    const char *argv[5 + 2 * TD_BLOCKS + 1] = { "qemu-io", "-f", td_format(image) };
    char *text[TD_BLOCKS];
    size_t n = 3, k = 0;
    for (size_t b = 0; b < blocks(to); b++) {
        if (from->byte[b] == to->byte[b])
            continue;
        size_t at = b * VR_BLOCK_SIZE, len = block_bytes(to, b);
        text[k] = to->byte[b] ? vr_printf("write -P %u %zu %zu", to->byte[b], at, len)
                              : vr_printf("write -z %zu %zu", at, len);
        argv[n++] = "-c";
        argv[n++] = text[k++];
    }
    argv[n++] = image;
    if (k)
        td_run(argv);
    while (k)
        free(text[--k]);
    if (digests)
        put_digests(digests, from, to);
}

bool td_same(const char *image, const char *format, const struct td_disk *want)
{
    vr_autofree char *raw = vr_printf("%s/vmr-store-test-XXXXXX", files_go());
    vr_autoclose int fd = mkstemp(raw);
    const char *argv[] = { "qemu-img", "convert", "-f", format, "-O", "raw", image, raw, NULL };
    struct vr_err e = VR_ERR_INIT;
    if (fd < 0 || vr_proc_run(argv, 60, NULL, &e) < 0) {
        fprintf(stderr, "%s: %s\n", image, e.msg);
        unlink(raw);
        return false;
    }
    bool same = lseek(fd, 0, SEEK_END) == (off_t)want->size;
    if (!same)
        fprintf(stderr, "%s: wrong size\n", image);
    for (size_t b = 0; same && b < blocks(want); b++) {
        static uint8_t data[VR_BLOCK_SIZE], expected[VR_BLOCK_SIZE];
        size_t n = block_bytes(want, b);
        memset(expected, want->byte[b], n);
        if (pread(fd, data, n, (off_t)(b * VR_BLOCK_SIZE)) != (ssize_t)n ||
            memcmp(data, expected, n) != 0) {
            fprintf(stderr, "%s: block %zu is %u instead of %u\n", image, b, data[0],
                    want->byte[b]);
            same = false;
        }
    }
    unlink(raw);
    return same;
}

bool td_point_same(struct store *st, const struct vr_uuid *m, const struct vr_point_id *p,
                   const struct td_disk *want, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        vr_autofree char *path = NULL;
        struct vr_err e = VR_ERR_INIT;
        must(store_point_image(st, m, p, want[i].target, &path, NULL, &e), &e, "image");
        if (!td_same(path, td_format(path), &want[i]))
            return false;
    }
    return true;
}

size_t td_chain_length(const char *image)
{
    const char *argv[] = { "qemu-img", "info", "-U", "--backing-chain", image, NULL };
    vr_autobuf struct vr_buf out = VR_BUF_INIT;
    struct vr_err e = VR_ERR_INIT;
    must(vr_proc_run(argv, 60, &out, &e), &e, image);
    size_t n = 0;
    for (const char *s = (const char *)out.data; s && (s = strstr(s, "virtual size:")); s++)
        n++;
    return n;
}
