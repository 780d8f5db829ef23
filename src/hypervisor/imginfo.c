/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading the header of a disk image: version, size, backing file, bitmap directory.
 *
 * Any thread; only pread(2) on a descriptor of its own, never a lock, so neither a running machine
 * is disturbed (its bitmaps then show as in use) nor one that is just being started. Every number
 * of the file is bounded before use. */
#include "imginfo.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "base/qemulock.h"
#include "model/model.h"

enum {
    HEADER_V2 = 72,
    HEADER_MAX = 65536,      /* header and its extensions lie in the first cluster */
    DIRECTORY_MAX = 4 << 20, /* QEMU itself allows 64 MiB; a sane image has some hundred bytes */
    BITMAPS_MAX = 4096,
    CHAIN_MAX = 256,
    LOOKS_MAX = 100,
};
#define QCOW2_MAGIC 0x514649fbu
#define EXT_BITMAPS 0x23852875u
#define EXT_BACKING_FORMAT 0xe2792acau
#define AUTOCLEAR_BITMAPS 1u
#define BME_IN_USE 1u
#define BME_AUTO 2u

void imginfo_done(struct imginfo *i)
{
    free(i->backing);
    free(i->backing_format);
    free(i->bitmaps);
    *i = (struct imginfo){ .qcow2 = false };
}

const struct imginfo_bitmap *imginfo_bitmap(const struct imginfo *i, const char *name)
{
    for (size_t k = 0; k < i->n_bitmaps; k++)
        if (strcmp(i->bitmaps[k].name, name) == 0)
            return &i->bitmaps[k];
    return NULL;
}

/* Read up to @n bytes; fewer at the end of the file. */
static int read_at(int fd, void *p, size_t n, uint64_t off, size_t *ret_n, struct vr_err *err)
{
    size_t got = 0;
    while (got < n) {
        ssize_t r = pread(fd, (uint8_t *)p + got, n - got, (off_t)(off + got));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return vr_fail(err, VR_E_IO, errno, "cannot read");
        if (r == 0)
            break;
        got += (size_t)r;
    }
    *ret_n = got;
    return 0;
}

static int parse_directory(struct vr_rd r, uint32_t n, struct imginfo *i, struct vr_err *err)
{
    i->bitmaps = vr_new0(n, sizeof *i->bitmaps);
    for (uint32_t k = 0; k < n; k++) {
        uint64_t table;
        uint32_t table_size, flags, extra;
        uint8_t type, gran;
        uint16_t name_len;
        if (vr_get_u64(&r, &table, err) < 0 || vr_get_u32(&r, &table_size, err) < 0 ||
            vr_get_u32(&r, &flags, err) < 0 || vr_get_u8(&r, &type, err) < 0 ||
            vr_get_u8(&r, &gran, err) < 0 || vr_get_u16(&r, &name_len, err) < 0 ||
            vr_get_u32(&r, &extra, err) < 0)
            return -1;
        size_t body = (size_t)extra + name_len;
        size_t padded = ((24 + body + 7) & ~(size_t)7) - 24;
        if (gran > 31 || padded > r.left)
            return vr_fail(err, VR_E_CORRUPT, 0, "bitmap directory is damaged");
        struct imginfo_bitmap *b = &i->bitmaps[i->n_bitmaps];
        if (name_len < sizeof b->name && type == 1) {
            memcpy(b->name, r.p + extra, name_len);
            b->in_use = flags & BME_IN_USE;
            b->recording = flags & BME_AUTO;
            b->granularity = 1ull << gran;
            i->n_bitmaps++;
        }
        r.p += padded;
        r.left -= padded;
    }
    return 0;
}

static int read_directory(int fd, struct vr_rd ext, struct imginfo *i, struct vr_err *err)
{
    uint32_t n, reserved;
    uint64_t size, off;
    if (vr_get_u32(&ext, &n, err) < 0 || vr_get_u32(&ext, &reserved, err) < 0 ||
        vr_get_u64(&ext, &size, err) < 0 || vr_get_u64(&ext, &off, err) < 0)
        return -1;
    if (n > BITMAPS_MAX || size > DIRECTORY_MAX || off > INT64_MAX - size)
        return vr_fail(err, VR_E_CORRUPT, 0, "bitmap directory out of bounds");
    vr_autofree uint8_t *dir = vr_new0(size ? size : 1, 1);
    size_t got;
    if (read_at(fd, dir, size, off, &got, err) < 0)
        return -1;
    if (got != size)
        return vr_fail(err, VR_E_CORRUPT, 0, "bitmap directory is cut off");
    return parse_directory((struct vr_rd){ .p = dir, .left = size }, n, i, err);
}

/* Without the autoclear bit a writer that knows no bitmaps was here: they do not count. */
static int parse_extensions(int fd, struct vr_rd r, bool bitmaps, struct imginfo *i,
                            struct vr_err *err)
{
    for (;;) {
        uint32_t type, len;
        if (r.left < 8)
            return 0;
        if (vr_get_u32(&r, &type, err) < 0 || vr_get_u32(&r, &len, err) < 0)
            return -1;
        size_t padded = ((size_t)len + 7) & ~(size_t)7;
        if (type == 0)
            return 0;
        if (padded > r.left)
            return vr_fail(err, VR_E_CORRUPT, 0, "header extension out of bounds");
        if (type == EXT_BACKING_FORMAT && !i->backing_format)
            i->backing_format = vr_strndup((const char *)r.p, len);
        if (type == EXT_BITMAPS && bitmaps && !i->bitmaps &&
            read_directory(fd, (struct vr_rd){ .p = r.p, .left = len }, i, err) < 0)
            return -1;
        r.p += padded;
        r.left -= padded;
    }
}

static int parse_qcow2(int fd, const uint8_t *h, size_t n, struct imginfo *i, struct vr_err *err)
{
    struct vr_rd r = { .p = h, .left = n };
    uint32_t magic, version, backing_len, cluster_bits, header_len = HEADER_V2;
    uint64_t backing_off, size, autoclear = 0;
    if (n < HEADER_V2 || vr_get_u32(&r, &magic, err) < 0 || magic != QCOW2_MAGIC)
        return vr_fail(err, VR_E_CORRUPT, 0, "is not a qcow2 image");
    if (vr_get_u32(&r, &version, err) < 0 || vr_get_u64(&r, &backing_off, err) < 0 ||
        vr_get_u32(&r, &backing_len, err) < 0 || vr_get_u32(&r, &cluster_bits, err) < 0 ||
        vr_get_u64(&r, &size, err) < 0)
        return -1;
    if (version < 2 || version > 3 || cluster_bits < 9 || cluster_bits > 21 || backing_len > 1023)
        return vr_fail(err, VR_E_CORRUPT, 0, "qcow2 header out of bounds (version %u)", version);
    if (version == 3) {
        struct vr_rd x = { .p = h + 88, .left = n >= 104 ? 16 : 0 };
        uint32_t order;
        if (vr_get_u64(&x, &autoclear, err) < 0 || vr_get_u32(&x, &order, err) < 0 ||
            vr_get_u32(&x, &header_len, err) < 0)
            return -1;
    }
    if (header_len > n || (backing_off && (backing_off > n || backing_len > n - backing_off)))
        return vr_fail(err, VR_E_CORRUPT, 0, "qcow2 header out of bounds");
    i->qcow2 = true;
    i->version = version;
    i->size = size;
    if (backing_off && backing_len)
        i->backing = vr_strndup((const char *)h + backing_off, backing_len);
    size_t end = (size_t)1 << cluster_bits;
    if (backing_off && backing_off < end)
        end = backing_off;
    if (end > n)
        end = n;
    if (header_len > end)
        return 0;
    struct vr_rd ext = { .p = h + header_len, .left = end - header_len };
    return parse_extensions(fd, ext, version == 3 && (autoclear & AUTOCLEAR_BITMAPS), i, err);
}

static int plain_size(int fd, const struct stat *st, uint64_t *ret, struct vr_err *err)
{
    if (S_ISREG(st->st_mode)) {
        *ret = (uint64_t)st->st_size;
        return 0;
    }
    if (ioctl(fd, BLKGETSIZE64, ret) < 0)
        return vr_fail(err, VR_E_IO, errno, "cannot tell the size");
    return 0;
}

int imginfo_read(const char *path, const char *format, struct imginfo *ret, struct vr_err *err)
{
    vr_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "%s", path);
    struct stat st;
    if (fstat(fd, &st) < 0)
        return vr_fail(err, VR_E_IO, errno, "%s", path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return vr_fail(err, VR_E_INVAL, 0, "%s is neither a file nor a block device", path);
    imginfo_auto struct imginfo i = { .qcow2 = false };
    if (strcmp(format, "qcow2") != 0) {
        if (plain_size(fd, &st, &i.size, err) < 0)
            return vr_err_wrap(err, "%s", path);
    } else {
        vr_autofree uint8_t *h = vr_new0(HEADER_MAX, 1);
        size_t n = 0;
        if (read_at(fd, h, HEADER_MAX, 0, &n, err) < 0 || parse_qcow2(fd, h, n, &i, err) < 0)
            return vr_err_wrap(err, "%s", path);
    }
    *ret = i;
    i = (struct imginfo){ .qcow2 = false };
    return 0;
}

/* Somebody may open the image, store its bitmaps and be gone between two of our calls: what was
 * read counts only if the file is the same before and after. */
static bool same_stamp(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

int imginfo_read_closed(const char *path, struct imginfo *ret, struct vr_err *err)
{
    for (unsigned look = 0; look < LOOKS_MAX; look++) {
        struct vr_err e = VR_ERR_INIT;
        struct stat before, after;
        vr_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 || fstat(fd, &before) < 0)
            return vr_fail(err, vr_kind_from_errno(errno), errno, "%s", path);
        imginfo_auto struct imginfo i = { .qcow2 = false };
        int rc = imginfo_read(path, "qcow2", &i, &e);
        if (vr_qemulock_held(fd, VR_QEMULOCK_WRITES))
            return vr_fail(err, VR_E_BUSY, 0,
                           "%s is open for writing in another program: try again when it is closed",
                           path);
        if (stat(path, &after) < 0 || !same_stamp(&before, &after))
            continue;
        if (rc < 0) {
            vr_err_move(err, &e);
            return -1;
        }
        *ret = i;
        i = (struct imginfo){ .qcow2 = false };
        return 0;
    }
    return vr_fail(err, VR_E_BUSY, 0, "%s is being changed by another program", path);
}

/* The path of backing file @name of @image; NULL if it is not a plain file name. */
static char *backing_path(const char *image, const char *name)
{
    if (name[0] == '/')
        return vr_strdup(name);
    if (strncmp(name, "file:", 5) == 0)
        return backing_path(image, name + 5);
    if (strchr(name, ':'))
        return NULL;
    const char *slash = strrchr(image, '/');
    return slash ? vr_printf("%.*s/%s", (int)(slash - image), image, name) : vr_strdup(name);
}

/* Images of old tools may not name the format of what is below; such chains are of one kind. */
static const char *format_below(const struct imginfo *i)
{
    return i->backing_format ? i->backing_format : "qcow2";
}

int imginfo_backing_path(const char *path, const char *format, char **ret, char **ret_format,
                         struct vr_err *err)
{
    imginfo_auto struct imginfo i = { .qcow2 = false };
    if (imginfo_read(path, format, &i, err) < 0)
        return -1;
    *ret = i.backing ? backing_path(path, i.backing) : NULL;
    *ret_format = *ret ? vr_strdup(format_below(&i)) : NULL;
    return 0;
}

/* Is there a bitmap @name in an image below @path? Images that are no qcow2 have none. */
static bool below_has(const char *path, const char *name)
{
    vr_autofree char *at = vr_strdup(path), *format = vr_strdup("qcow2");
    for (int depth = 0; depth < CHAIN_MAX; depth++) {
        char *next = NULL, *next_format = NULL;
        if (imginfo_backing_path(at, format, &next, &next_format, NULL) < 0 || !next)
            return false;
        free(at);
        free(format);
        at = next;
        format = next_format;
        imginfo_auto struct imginfo i = { .qcow2 = false };
        if (imginfo_read(at, format, &i, NULL) < 0)
            return false;
        if (imginfo_bitmap(&i, name))
            return true;
    }
    return false;
}

int imginfo_tracks(const char *path, const char *name, struct vr_err *err)
{
    struct vr_err e = VR_ERR_INIT;
    imginfo_auto struct imginfo i = { .qcow2 = false };
    if (imginfo_read_closed(path, &i, &e) < 0 && e.kind == VR_E_BUSY) {
        vr_err_move(err, &e);
        return -1;
    }
    if (e.kind != VR_OK)
        return vr_fail_detail(err, VR_E_TRACKING, VR_LOST_UNKNOWN, "%s", e.msg);
    const struct imginfo_bitmap *b = imginfo_bitmap(&i, name);
    const struct {
        bool so;
        enum vr_lost lost;
        const char *what;
    } cases[] = {
        { !b, VR_LOST_MISSING, "is not in the image" },
        { b && b->in_use, VR_LOST_UNCLEAN, "was not closed cleanly" },
        { b && !b->recording, VR_LOST_DISABLED, "is disabled and missed writes" },
        { below_has(path, name), VR_LOST_SNAPSHOT, "is spread over a chain of snapshots" },
    };
    for (size_t k = 0; k < VR_ARRAY_LEN(cases); k++)
        if (cases[k].so)
            return vr_fail_detail(err, VR_E_TRACKING, cases[k].lost, "bitmap %s %s (%s)", name,
                                  cases[k].what, path);
    return 0;
}
