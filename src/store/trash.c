/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that are to be deleted, or that are being made and must be deleted if we die before they
 * are of use. A path enters in the transaction that makes it useless (or before it is made) and
 * leaves after it is gone. Store thread. */
#include <errno.h>
#include <libgen.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/log.h"
#include "store/store_int.h"

int trash_add(struct store *st, const char *path, enum trash_state state, struct vr_err *err)
{
    return db_run(st->db, err, "INSERT OR REPLACE INTO trash(path, state) VALUES(?,?)", "si", path,
                  (int64_t)state);
}

int trash_forget(struct store *st, const char *path, struct vr_err *err)
{
    return db_run(st->db, err, "DELETE FROM trash WHERE path = ?", "s", path);
}

struct paths {
    char **v;
    size_t n;
};

static void paths_done(struct paths *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->v[i]);
    free(p->v);
}

/* The files of a machine are all below a folder that is named by its UUID. */
static bool wanted(struct store *st, const struct vr_uuid *machine, const char *path)
{
    char id[VR_UUID_STR];
    return machine ? strstr(path, vr_uuid_fmt(machine, id)) != NULL : !store_silent(st, path);
}

static int load(struct store *st, const struct vr_uuid *machine, bool all, struct paths *p,
                struct vr_err *err)
{
    vr_auto(db_rows_free) struct db_rows *r =
        db_select(st->db, err, "SELECT path FROM trash WHERE state <= ? ORDER BY path", "i",
                  (int64_t)(all ? TRASH_MAKING : TRASH_DELETE));
    int rc = r ? 1 : -1;
    while (rc > 0 && (rc = db_step(r, err)) > 0) {
        if (!wanted(st, machine, db_text(r, 0)))
            continue;
        p->v = vr_grow(p->v, p->n + 1, sizeof *p->v);
        p->v[p->n++] = vr_strdup(db_text(r, 0));
    }
    return rc;
}

/* Delete @path and the half-made table that may lie beside it. 1: gone, 0: in use, or its folder is
 * not there (not mounted?), -1: error. */
static int delete_one(struct store *st, const char *path, bool log, struct vr_err *err)
{
    vr_autofree char *copy = vr_strdup(path), *half = vr_printf("%s.new", path);
    struct stat sb;
    if (hold_on_path(st, path))
        return 0;
    TOUCHES_FILES;
    if (stat(dirname(copy), &sb) < 0)
        return 0;
    bool there = lstat(path, &sb) == 0;
    if (st->fs->unlink(st->fs, path, err) < 0 || st->fs->unlink(st->fs, half, err) < 0)
        return -1;
    if (there && log)
        vr_log(VR_LOG_INFO, "store: deleted %s, which no row references", path);
    return 1;
}

/* A file that cannot be deleted, on a disk that became read-only, say, keeps nobody else from
 * working: it stays in the trash. Said loudly once, as this is tried again and again. */
static void cannot_delete(struct store *st, struct vr_err *e)
{
    vr_log_err(st->trash_stuck ? VR_LOG_DEBUG : VR_LOG_WARN, "store: a file stays in the trash", e);
    st->trash_stuck = true;
    vr_err_clear(e);
}

/* The paths [@from, @to) are in one folder, which is durable before their rows go. */
static void empty_folder(struct store *st, const struct paths *p, size_t from, size_t to, bool log,
                         bool *gone)
{
    struct vr_err e = VR_ERR_INIT;
    vr_autofree char *dir = vr_strdup(p->v[from]);
    bool any = false;
    for (size_t i = from; i < to; i++) {
        int rc = delete_one(st, p->v[i], log, &e);
        if (rc < 0)
            cannot_delete(st, &e);
        gone[i] = rc > 0;
        any |= rc > 0;
    }
    if (!any || st->fs->sync_dir(st->fs, dirname(dir), &e) == 0)
        return;
    cannot_delete(st, &e);
    memset(gone + from, 0, (to - from) * sizeof *gone);
}

static bool same_folder(const char *a, const char *b)
{
    size_t n = (size_t)(strrchr(a, '/') - a);
    return n == (size_t)(strrchr(b, '/') - b) && memcmp(a, b, n) == 0;
}

int trash_empty(struct store *st, const struct vr_uuid *machine, bool all, bool log,
                struct vr_err *err)
{
    __attribute__((cleanup(paths_done))) struct paths p = { NULL };
    if (load(st, machine, all, &p, err) < 0)
        return -1;
    if (p.n == 0)
        return 0;
    vr_autofree bool *gone = vr_new0(p.n, sizeof *gone);
    for (size_t i = 0, k; i < p.n; i = k) {
        for (k = i + 1; k < p.n && same_folder(p.v[i], p.v[k]); k++)
            ;
        empty_folder(st, &p, i, k, log, gone);
    }
    if (store_begin(st, "trash", err) < 0)
        return -1;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < p.n; i++)
        if (gone[i])
            rc = trash_forget(st, p.v[i], err);
    return store_end(st, "trash", rc, err);
}

void trash_sweep(struct store *st, const struct vr_uuid *machine)
{
    struct vr_err e = VR_ERR_INIT;
    if (trash_empty(st, machine, false, false, &e) < 0)
        vr_log_err(VR_LOG_DEBUG, "store: deleting files", &e);
}
