/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asks qemu-img(1) where the data of an image lies, a window of the disk at a time. In a raw image
 * the question is none.
 *
 * The plain output of "map" is asked for, not JSON: it names the file of each piece, so what lies
 * in an image below or in an external data file is told apart. It fails as a whole for a window
 * with compressed or encrypted pieces; that window is read over NBD. */
#include "transfer/imagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/proc.h"

enum {
    WINDOW_CLUSTERS = 16384, /* about 2 MiB of qemu-img's words when no two lie together */
    CLUSTER_BITS_AT = 20,    /* of the header */
    MAP_SECONDS = 120,
};

struct piece {
    uint64_t start, length, offset;
};

struct imagemap {
    char *image;
    bool raw;
    int fd;
    uint64_t size;       /* of the file */
    uint64_t window;     /* bytes of disk looked at together */
    uint64_t first, end; /* what @pieces tells of; nothing yet: both 0 */
    struct piece *pieces;
    size_t n_pieces, cap, at; /* at: where the last search ended */
    bool told;                /* that a window cannot be read directly */
};

void imagemap_free(struct imagemap *m)
{
    if (!m)
        return;
    if (m->fd >= 0)
        close(m->fd);
    free(m->pieces);
    free(m->image);
    free(m);
}

int imagemap_fd(const struct imagemap *m)
{
    return m->fd;
}

int imagemap_open(const char *image, const char *format, struct imagemap **ret, struct vr_err *err)
{
    vr_auto(imagemap_free) struct imagemap *m = vr_new(struct imagemap);
    struct stat st;
    m->image = vr_strdup(image);
    m->raw = strcmp(format, "raw") == 0;
    m->fd = open(image, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (m->fd < 0 || fstat(m->fd, &st) < 0)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot open %s", image);
    if (!S_ISREG(st.st_mode) || (!m->raw && strcmp(format, "qcow2") != 0))
        return vr_fail(err, VR_E_UNSUPPORTED, 0, "%s is no image file of a known format", image);
    m->size = (uint64_t)st.st_size;
    uint8_t bits[4] = { 0 };
    if (!m->raw && pread(m->fd, bits, sizeof bits, CLUSTER_BITS_AT) != sizeof bits)
        return vr_fail(err, VR_E_IO, errno, "cannot read %s", image);
    m->window = (uint64_t)WINDOW_CLUSTERS << (bits[3] >= 9 && bits[3] <= 21 ? bits[3] : 16);
    *ret = vr_take(m);
    return 0;
}

/* A line of qemu-img's table: start, length, offset, file. */
static bool parse_line(const char *line, const char *image, struct piece *ret)
{
    uint64_t *const to[] = { &ret->start, &ret->length, &ret->offset };
    for (size_t i = 0; i < 3; i++) {
        char *end;
        errno = 0;
        *to[i] = strtoull(line, &end, 0);
        if (end == line || errno)
            return false;
        line = end;
    }
    line += strspn(line, " ");
    return strcmp(line, image) == 0;
}

static void add_piece(struct imagemap *m, const struct piece *p)
{
    if (p->length > INT64_MAX || p->start > INT64_MAX || p->offset > m->size ||
        p->length > m->size - p->offset)
        return;
    if (m->n_pieces && p->start < m->pieces[m->n_pieces - 1].start)
        return; /* never seen; the search needs them in order */
    if (m->n_pieces == m->cap) {
        m->cap = m->cap ? m->cap * 2 : 256;
        m->pieces = vr_grow(m->pieces, m->cap, sizeof *m->pieces);
    }
    m->pieces[m->n_pieces++] = *p;
}

static int ask(const struct imagemap *m, struct vr_buf *out, struct vr_err *err)
{
    vr_autofree char *start = vr_printf("--start-offset=%llu", (unsigned long long)m->first);
    vr_autofree char *length =
        vr_printf("--max-length=%llu", (unsigned long long)(m->end - m->first));
    const char *argv[] = { "qemu-img",       "map", "-U",   "-f",     "qcow2",
                           "--output=human", start, length, m->image, NULL };
    return vr_proc_run(argv, MAP_SECONDS, out, err);
}

/* Learn the window that @offset lies in. */
static void look(struct imagemap *m, uint64_t offset)
{
    vr_autobuf struct vr_buf out = VR_BUF_INIT;
    struct vr_err e = VR_ERR_INIT;
    m->first = offset / m->window * m->window;
    m->end = m->first + m->window;
    m->n_pieces = m->at = 0;
    if (ask(m, &out, &e) < 0 || vr_buf_add(&out, "", 1, &e) < 0) {
        if (!m->told)
            vr_log_err(VR_LOG_DEBUG, "an image is read through qemu-nbd", &e);
        m->told = true;
        return;
    }
    char *save = NULL;
    for (char *line = strtok_r((char *)out.data, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        struct piece p;
        if (parse_line(line, m->image, &p))
            add_piece(m, &p);
    }
}

/* The piece that @offset lies in, or NULL. */
static const struct piece *piece_at(struct imagemap *m, uint64_t offset)
{
    if (m->at >= m->n_pieces || m->pieces[m->at].start > offset)
        m->at = 0;
    while (m->at < m->n_pieces && m->pieces[m->at].start + m->pieces[m->at].length <= offset)
        m->at++;
    if (m->at >= m->n_pieces || m->pieces[m->at].start > offset)
        return NULL;
    return &m->pieces[m->at];
}

static size_t find_raw(const struct imagemap *m, uint64_t offset, uint64_t length,
                       struct imagemap_run *runs)
{
    if (offset > m->size || length > m->size - offset)
        return 0; /* the end of a file that is no multiple of a sector */
    runs[0] = (struct imagemap_run){ offset, length };
    return 1;
}

size_t imagemap_find(struct imagemap *m, uint64_t offset, uint64_t length,
                     struct imagemap_run *runs, size_t max)
{
    if (m->raw)
        return max ? find_raw(m, offset, length, runs) : 0;
    size_t n = 0;
    while (length) {
        if (offset < m->first || offset >= m->end)
            look(m, offset);
        const struct piece *p = piece_at(m, offset);
        if (!p)
            return 0;
        uint64_t in = offset - p->start, here = p->length - in;
        if (here > length)
            here = length;
        uint64_t at = p->offset + in;
        if (n && runs[n - 1].offset + runs[n - 1].length == at)
            runs[n - 1].length += here;
        else if (n < max)
            runs[n++] = (struct imagemap_run){ at, here };
        else
            return 0;
        offset += here;
        length -= here;
    }
    return n;
}
