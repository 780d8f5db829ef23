/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The digest table of one layer, a sparse file:
 *
 *   0     magic "VRDIGEST" | u32 version | u32 block size | u64 disk size | u32 digest kind | 0...
 *   4096  slot of block 0 (16 bytes) | slot of block 1 | ...
 *
 * Integers are big-endian. A slot of zeros means that the layer does not hold the block. The file
 * is made under another name, synced and renamed, so a table that exists has a whole header.
 * A handle belongs to one thread at a time: lookups go through one window of slots kept in memory.
 * This file knows nothing of the order between data and slots; its users keep it (digestlog.h). */
#include "transfer/digestlog.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/codec.h"

enum {
    HEADER_SIZE = 4096,
    HEADER_USED = 28,
    SLOT_SIZE = 16,
    VERSION = 1,
    KIND_XXH3_128 = 1,
    WINDOW_SLOTS = 4096, /* 64 KiB: one read covers 256 MiB of disk */
};

struct window {
    uint64_t first; /* block of the first slot */
    size_t n;       /* slots that are valid; 0: nothing is loaded */
    uint8_t slots[WINDOW_SLOTS * SLOT_SIZE];
};

struct digestlog {
    int fd;
    char *path; /* for messages */
    uint64_t size, blocks;
    struct window *win;
};

static const uint8_t magic[8] = { 'V', 'R', 'D', 'I', 'G', 'E', 'S', 'T' };

static off_t slot_at(uint64_t block)
{
    return (off_t)(HEADER_SIZE + block * SLOT_SIZE);
}

static uint64_t blocks_of(uint64_t size)
{
    return (size + VR_BLOCK_SIZE - 1) / VR_BLOCK_SIZE;
}

static int write_all(int fd, const void *p, size_t n, off_t at, const char *path,
                     struct vr_err *err)
{
    const uint8_t *b = p;
    while (n) {
        ssize_t w = pwrite(fd, b, n, at);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0) {
            int e = w < 0 ? errno : EIO;
            return vr_fail(err, vr_kind_from_errno(e), e, "cannot write digest table %s", path);
        }
        b += w;
        at += w;
        n -= (size_t)w;
    }
    return 0;
}

/* Read up to @n bytes; what lies behind the end of the file reads as zeros. */
static int read_all(int fd, void *p, size_t n, off_t at, const char *path, struct vr_err *err)
{
    uint8_t *b = p;
    while (n) {
        ssize_t r = pread(fd, b, n, at);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return vr_fail(err, VR_E_IO, errno, "cannot read digest table %s", path);
        if (r == 0) {
            memset(b, 0, n);
            return 0;
        }
        b += r;
        at += r;
        n -= (size_t)r;
    }
    return 0;
}

static void header_make(uint8_t h[HEADER_USED], uint64_t size)
{
    memcpy(h, magic, sizeof magic);
    vr_store_u32(h + 8, VERSION);
    vr_store_u32(h + 12, VR_BLOCK_SIZE);
    vr_store_u64(h + 16, size);
    vr_store_u32(h + 24, KIND_XXH3_128);
}

static int header_read(int fd, const char *path, uint64_t *ret_size, struct vr_err *err)
{
    uint8_t h[HEADER_USED], want[HEADER_USED];
    if (read_all(fd, h, sizeof h, 0, path, err) < 0)
        return -1;
    uint64_t size = vr_load_u64(h + 16);
    header_make(want, size);
    if (memcmp(h, want, sizeof h) != 0)
        return vr_fail(err, VR_E_CORRUPT, 0, "%s is not a digest table of this version", path);
    if (size == 0 || size > VR_DISK_MAX)
        return vr_fail(err, VR_E_CORRUPT, 0, "digest table %s names an impossible disk size", path);
    *ret_size = size;
    return 0;
}

static int sync_folder(const char *path, struct vr_err *err)
{
    vr_autofree char *dir = vr_strdup(path);
    char *slash = strrchr(dir, '/');
    if (slash)
        slash[slash == dir ? 1 : 0] = 0;
    vr_autoclose int fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return vr_fail(err, VR_E_IO, errno, "cannot sync the folder of %s", path);
    return 0;
}

static int table_create(const char *path, uint64_t size, struct vr_err *err)
{
    vr_autofree char *tmp = vr_printf("%s.new", path);
    vr_autoclose int fd = open(tmp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot make digest table %s", tmp);
    uint8_t h[HEADER_SIZE] = { 0 };
    header_make(h, size);
    if (write_all(fd, h, sizeof h, 0, tmp, err) < 0)
        return -1;
    if (fsync(fd) < 0 || rename(tmp, path) < 0)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot make digest table %s", path);
    return sync_folder(path, err);
}

/* The disk grew: the last block, if it was a short one, is another block now. The slot goes first,
 * so a crash in between loses a digest but never tells a wrong one. */
static int table_grow(struct digestlog *d, uint64_t size, struct vr_err *err)
{
    uint64_t last = d->blocks - 1;
    if (d->size % VR_BLOCK_SIZE && digestlog_take_back(d, &last, 1, err) < 0)
        return -1;
    uint8_t h[HEADER_USED];
    header_make(h, size);
    if (write_all(d->fd, h, sizeof h, 0, d->path, err) < 0 || digestlog_sync(d, err) < 0)
        return -1;
    d->size = size;
    d->blocks = blocks_of(size);
    d->win->n = 0;
    return 0;
}

int digestlog_open(const char *path, uint64_t size, bool create, struct digestlog **ret,
                   struct vr_err *err)
{
    if (size > VR_DISK_MAX || (create && size == 0))
        return vr_fail(err, VR_E_INVAL, 0, "impossible disk size for digest table %s", path);
    vr_autoclose int fd = open(path, (create ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT && create) {
        if (table_create(path, size, err) < 0)
            return -1;
        fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    }
    if (fd < 0)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot open digest table %s", path);
    uint64_t has = 0;
    if (header_read(fd, path, &has, err) < 0)
        return -1;
    if (size && has != size && !(create && has < size))
        return vr_fail(err, VR_E_CORRUPT, 0,
                       "digest table %s is for a disk of %llu bytes, not of %llu", path,
                       (unsigned long long)has, (unsigned long long)size);
    vr_auto(digestlog_free) struct digestlog *d = vr_new(struct digestlog);
    d->fd = vr_take_fd(&fd);
    d->path = vr_strdup(path);
    d->size = has;
    d->blocks = blocks_of(has);
    d->win = vr_new(struct window);
    if (size > has && table_grow(d, size, err) < 0)
        return -1;
    *ret = vr_take(d);
    return 0;
}

int digestlog_open_temp(uint64_t size, struct digestlog **ret, struct vr_err *err)
{
    if (size == 0 || size > VR_DISK_MAX)
        return vr_fail(err, VR_E_INVAL, 0, "impossible disk size for a digest table");
    const char *folder = "/var/tmp";
    int fd = open(folder, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    if (fd < 0) {
        folder = "/tmp";
        fd = open(folder, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    }
    if (fd < 0)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot make a file in %s", folder);
    struct digestlog *d = vr_new(struct digestlog);
    d->fd = fd;
    d->path = vr_printf("(temporary file in %s)", folder);
    d->size = size;
    d->blocks = blocks_of(size);
    d->win = vr_new(struct window);
    *ret = d;
    return 0;
}

void digestlog_free(struct digestlog *d)
{
    if (!d)
        return;
    if (d->fd >= 0)
        close(d->fd);
    free(d->path);
    free(d->win);
    free(d);
}

uint64_t digestlog_size(const struct digestlog *d)
{
    return d->size;
}

/* Write @n slots from @block on and keep the window true. */
static int put_slots(struct digestlog *d, uint64_t block, const uint8_t *slots, size_t n,
                     struct vr_err *err)
{
    if (block >= d->blocks || n > d->blocks - block)
        return vr_fail(err, VR_E_INVAL, 0, "block %llu lies outside of digest table %s",
                       (unsigned long long)block, d->path);
    d->win->n = 0;
    return write_all(d->fd, slots, n * SLOT_SIZE, slot_at(block), d->path, err);
}

int digestlog_set(struct digestlog *d, const struct digest_record *r, size_t n, struct vr_err *err)
{
    enum { RUN = 256 };
    uint8_t run[RUN * SLOT_SIZE];
    size_t in_run = 0;
    for (size_t i = 0; i < n; i++) {
        memcpy(run + in_run * SLOT_SIZE, r[i].digest.b, SLOT_SIZE);
        in_run++;
        bool goes_on = i + 1 < n && r[i + 1].block == r[i].block + 1 && in_run < RUN;
        if (goes_on)
            continue;
        if (put_slots(d, r[i].block + 1 - in_run, run, in_run, err) < 0)
            return -1;
        in_run = 0;
    }
    return 0;
}

int digestlog_clear(struct digestlog *d, uint64_t block, struct vr_err *err)
{
    static const uint8_t none[SLOT_SIZE];
    struct vr_digest had;
    int rc = digestlog_get(d, block, &had, err);
    if (rc <= 0)
        return rc; /* nothing to clear: the file keeps its hole */
    if (put_slots(d, block, none, 1, err) < 0)
        return -1;
    return 0;
}

int digestlog_take_back(struct digestlog *d, const uint64_t *blocks, size_t n, struct vr_err *err)
{
    vr_autofree struct digest_record *had = vr_new0(n ? n : 1, sizeof *had);
    size_t cleared = 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        had[cleared].block = blocks[i];
        int got = digestlog_get(d, blocks[i], &had[cleared].digest, err);
        if (got > 0)
            cleared++;
        if (got < 0 || (got > 0 && digestlog_clear(d, blocks[i], err) < 0))
            rc = -1;
    }
    if (rc == 0)
        rc = digestlog_sync(d, err);
    if (rc < 0)
        (void)digestlog_set(d, had, cleared, NULL);
    return rc;
}

int digestlog_sync(struct digestlog *d, struct vr_err *err)
{
    if (fdatasync(d->fd) < 0)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot sync digest table %s",
                       d->path);
    return 0;
}

/* Make the window hold the slot of @block (< blocks). */
static int load(const struct digestlog *d, uint64_t block, struct vr_err *err)
{
    struct window *w = d->win;
    if (w->n && block >= w->first && block - w->first < w->n)
        return 0;
    uint64_t first = block / WINDOW_SLOTS * WINDOW_SLOTS;
    uint64_t left = d->blocks - first;
    size_t n = left < WINDOW_SLOTS ? (size_t)left : WINDOW_SLOTS;
    w->n = 0;
    if (read_all(d->fd, w->slots, n * SLOT_SIZE, slot_at(first), d->path, err) < 0)
        return -1;
    w->first = first;
    w->n = n;
    return 0;
}

static bool slot_held(const struct window *w, size_t i)
{
    static const uint8_t none[SLOT_SIZE];
    return memcmp(w->slots + i * SLOT_SIZE, none, SLOT_SIZE) != 0;
}

int digestlog_get(const struct digestlog *d, uint64_t block, struct vr_digest *ret,
                  struct vr_err *err)
{
    if (block >= d->blocks)
        return 0;
    if (load(d, block, err) < 0)
        return -1;
    size_t i = (size_t)(block - d->win->first);
    if (!slot_held(d->win, i))
        return 0;
    memcpy(ret->b, d->win->slots + i * SLOT_SIZE, SLOT_SIZE);
    return 1;
}

int digestlog_next(const struct digestlog *d, uint64_t from, struct digest_record *ret,
                   struct vr_err *err)
{
    while (from < d->blocks) {
        struct window *w = d->win;
        bool loaded = w->n && from >= w->first && from - w->first < w->n;
        if (!loaded) {
            off_t at = lseek(d->fd, slot_at(from), SEEK_DATA);
            if (at < 0 && errno == ENXIO)
                return 0;
            if (at > slot_at(from))
                from = (uint64_t)(at - HEADER_SIZE) / SLOT_SIZE;
            /* A file system without holes answers EINVAL or the same place: just read. */
            if (from >= d->blocks)
                return 0;
            if (load(d, from, err) < 0)
                return -1;
        }
        for (size_t i = (size_t)(from - w->first); i < w->n; i++) {
            if (!slot_held(w, i))
                continue;
            ret->block = w->first + i;
            memcpy(ret->digest.b, w->slots + i * SLOT_SIZE, SLOT_SIZE);
            return 1;
        }
        from = w->first + w->n;
    }
    return 0;
}
