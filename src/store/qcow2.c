/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading facts from qcow2 files: size, bitmaps, allocated clusters. src:[QEMU
 * docs/interop/qcow2.txt]. All numbers come from a file and are checked before use; nothing is
 * allocated that is larger than one cluster or the L1 table's own limit. Any thread. */
#include "store/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/codec.h"
#include "store/baton.h"

enum {
    HEADER_MAX = 512,
    BACKING_MAX = 1023,
    L1_MAX_BYTES = 32 << 20,
    BITMAPS_MAX = 65535,
    BITMAP_DIR_MAX = 64 << 20,
    EXT_END = 0,
    DIR_ENTRY = 24,
    INCOMPAT_EXTL2_BIT = 4,
};
#define QCOW2_MAGIC 0x514649fbu
#define EXT_BITMAPS 0x23852875u
#define OFFSET_MASK 0x00fffffffffffe00ull

struct file {
    int fd;
    const char *path;
    uint64_t size, l1_offset;
    uint32_t cluster_bits, l1_entries, header_length;
    bool extended_l2;
};

static int damaged(const struct file *f, const char *what, struct vr_err *err)
{
    return vr_fail(err, VR_E_CORRUPT, 0, "%s is not a sound qcow2 image: %s", f->path, what);
}

static int read_at(const struct file *f, void *p, size_t n, uint64_t at, struct vr_err *err)
{
    uint8_t *b = p;
    while (n) {
        ssize_t r = pread(f->fd, b, n, (off_t)at);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return vr_fail(err, VR_E_IO, errno, "cannot read %s", f->path);
        if (r == 0)
            return damaged(f, "it ends too early", err);
        b += r;
        at += (uint64_t)r;
        n -= (size_t)r;
    }
    return 0;
}

static int open_file(const char *path, struct file *f, struct vr_err *err)
{
    *f = (struct file){ .fd = open(path, O_RDONLY | O_CLOEXEC), .path = path };
    if (f->fd < 0)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot open %s", path);
    uint8_t h[104] = { 0 };
    if (read_at(f, h, 72, 0, err) < 0)
        return -1;
    uint32_t version = vr_load_u32(h + 4);
    f->cluster_bits = vr_load_u32(h + 20);
    f->size = vr_load_u64(h + 24);
    f->l1_entries = vr_load_u32(h + 36);
    f->l1_offset = vr_load_u64(h + 40);
    f->header_length = 72;
    if (vr_load_u32(h) != QCOW2_MAGIC || (version != 2 && version != 3))
        return damaged(f, "no header", err);
    if (f->cluster_bits < 9 || f->cluster_bits > 21)
        return damaged(f, "cluster size", err);
    if (version == 3) {
        if (read_at(f, h + 72, 32, 72, err) < 0)
            return -1;
        f->extended_l2 = vr_load_u64(h + 72) >> INCOMPAT_EXTL2_BIT & 1;
        f->header_length = vr_load_u32(h + 100);
    }
    if (f->header_length < 72 || f->header_length > HEADER_MAX || f->header_length % 8)
        return damaged(f, "header length", err);
    return 0;
}

static void close_file(struct file *f)
{
    if (f->fd >= 0)
        close(f->fd);
}

int qcow2_backing(const char *path, char **ret, struct vr_err *err)
{
    TOUCHES_FILES;
    struct file f;
    uint8_t h[20];
    int rc = open_file(path, &f, err);
    if (rc == 0)
        rc = read_at(&f, h, sizeof h, 0, err);
    uint64_t at = rc == 0 ? vr_load_u64(h + 8) : 0;
    uint32_t n = rc == 0 ? vr_load_u32(h + 16) : 0;
    if (rc == 0 && n > BACKING_MAX)
        rc = damaged(&f, "name of the backing file", err);
    vr_autofree char *name = vr_new0((at ? n : 0) + 1, 1);
    if (rc == 0 && at)
        rc = read_at(&f, name, n, at, err);
    if (rc == 0)
        *ret = vr_take(name);
    close_file(&f);
    return rc;
}

/* ---- bitmaps ---- */

static int read_bitmaps(const struct file *f, uint64_t at, struct qcow2_info *q, struct vr_err *err)
{
    uint8_t e[24];
    if (read_at(f, e, sizeof e, at, err) < 0)
        return -1;
    uint32_t n = vr_load_u32(e);
    uint64_t left = vr_load_u64(e + 8), pos = vr_load_u64(e + 16);
    if (n > BITMAPS_MAX || left > BITMAP_DIR_MAX)
        return damaged(f, "bitmap directory", err);
    for (uint32_t i = 0; i < n; i++) {
        uint8_t d[DIR_ENTRY];
        if (left < sizeof d || read_at(f, d, sizeof d, pos, err) < 0)
            return left < sizeof d ? damaged(f, "bitmap directory", err) : -1;
        uint64_t name_len = vr_load_u16(d + 18), extra = vr_load_u32(d + 20);
        uint64_t whole = (sizeof d + extra + name_len + 7) / 8 * 8;
        if (whole > left || name_len > 1023)
            return damaged(f, "bitmap directory", err);
        char *name = vr_new0(name_len + 1, 1);
        q->bitmaps = vr_grow(q->bitmaps, q->n_bitmaps + 1, sizeof *q->bitmaps);
        q->bitmaps[q->n_bitmaps++] = name;
        if (read_at(f, name, name_len, pos + sizeof d + extra, err) < 0)
            return -1;
        pos += whole;
        left -= whole;
    }
    return 0;
}

static int read_extensions(const struct file *f, struct qcow2_info *q, struct vr_err *err)
{
    uint64_t end = (uint64_t)1 << f->cluster_bits, at = f->header_length;
    while (at + 8 <= end) {
        uint8_t e[8];
        if (read_at(f, e, sizeof e, at, err) < 0)
            return -1;
        uint32_t type = vr_load_u32(e), len = vr_load_u32(e + 4);
        if (type == EXT_END)
            return 0;
        if (len > end - at - 8)
            return damaged(f, "header extension", err);
        if (type == EXT_BITMAPS)
            return len < 24 ? damaged(f, "bitmap extension", err) : read_bitmaps(f, at + 8, q, err);
        at += 8 + ((uint64_t)len + 7) / 8 * 8;
    }
    return 0;
}

int qcow2_info(const char *path, struct qcow2_info *ret, struct vr_err *err)
{
    TOUCHES_FILES;
    __attribute__((cleanup(close_file))) struct file f = { .fd = -1 };
    if (open_file(path, &f, err) < 0)
        return -1;
    struct qcow2_info q = { .size = f.size, .cluster_bits = f.cluster_bits };
    if (f.header_length > 72 && read_extensions(&f, &q, err) < 0) {
        qcow2_info_done(&q);
        return -1;
    }
    *ret = q;
    return 0;
}

void qcow2_info_done(struct qcow2_info *q)
{
    for (size_t i = 0; i < q->n_bitmaps; i++)
        free(q->bitmaps[i]);
    free(q->bitmaps);
    *q = (struct qcow2_info){ 0 };
}

/* ---- allocation ---- */

static void add_cut(const struct file *f, struct extents *to, uint64_t at, uint64_t n)
{
    if (at < f->size)
        extents_add(to, at, n < f->size - at ? n : f->size - at);
}

static int add_l2(const struct file *f, uint64_t offset, uint64_t disk_at, uint8_t *l2,
                  struct extents *to, struct vr_err *err)
{
    uint64_t cluster = (uint64_t)1 << f->cluster_bits;
    size_t entry = f->extended_l2 ? 16 : 8;
    if (read_at(f, l2, cluster, offset, err) < 0)
        return -1;
    for (size_t i = 0; i < cluster / entry; i++) {
        uint64_t here = vr_load_u64(l2 + i * entry);
        uint64_t sub = f->extended_l2 ? vr_load_u64(l2 + i * entry + 8) : 0;
        if (here || sub)
            add_cut(f, to, disk_at + i * cluster, cluster);
    }
    return 0;
}

int qcow2_allocated(const char *path, struct extents *to, struct vr_err *err)
{
    TOUCHES_FILES;
    __attribute__((cleanup(close_file))) struct file f = { .fd = -1 };
    if (open_file(path, &f, err) < 0)
        return -1;
    if ((uint64_t)f.l1_entries * 8 > L1_MAX_BYTES)
        return damaged(&f, "L1 table", err);
    uint64_t cluster = (uint64_t)1 << f.cluster_bits;
    uint64_t covers = cluster / (f.extended_l2 ? 16 : 8) * cluster;
    vr_autofree uint8_t *l2 = vr_new0(cluster, 1);
    for (uint32_t i = 0; i < f.l1_entries; i++) {
        uint8_t e[8];
        if (read_at(&f, e, sizeof e, f.l1_offset + (uint64_t)i * 8, err) < 0)
            return -1;
        uint64_t offset = vr_load_u64(e) & OFFSET_MASK;
        if (offset && add_l2(&f, offset, i * covers, l2, to, err) < 0)
            return -1;
    }
    return 0;
}

uint64_t image_room(const char *path)
{
    TOUCHES_FILES;
    struct stat sb;
    return stat(path, &sb) == 0 ? (uint64_t)sb.st_blocks * 512 : 0;
}

int image_size(const char *path, const char *format, uint64_t *ret, struct vr_err *err)
{
    TOUCHES_FILES;
    if (!strcmp(format, "qcow2")) {
        __attribute__((cleanup(close_file))) struct file f = { .fd = -1 };
        if (open_file(path, &f, err) < 0)
            return -1;
        *ret = f.size;
        return 0;
    }
    if (strcmp(format, "raw") != 0)
        return vr_fail(err, VR_E_UNSUPPORTED, 0, "%s: images of format %s are not supported", path,
                       format);
    vr_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    if (end < 0)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot open %s", path);
    *ret = (uint64_t)end;
    return 0;
}
