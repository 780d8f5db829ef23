/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening and closing the store, documents, and the bracket around transactions. Store thread.
 *
 * Recovery follows one rule: a name is in the database before its file is made, and in the trash
 * table before its file goes. So whatever a crash leaves is known by name, nothing is found by
 * looking into folders, and a file that we did not make cannot be deleted by mistake. */
#include "store/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/answers.h"
#include "base/log.h"
#include "store/store_int.h"

enum { LOCK_WAIT_MS = 15000, ANSWER_MS = 5000, TEXT_MAX = 16 << 20 };

/* One process at a time. A qemu-img of a process that was killed holds the lock until it is gone:
 * that takes moments, so wait a little. */
static int lock_dir(const char *dir, int *ret_fd, struct vr_err *err)
{
    vr_autofree char *path = vr_printf("%s/state.lock", dir);
    vr_autoclose int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot open %s", path);
    for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += 50) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return vr_fail(err, VR_E_IO, errno, "cannot lock %s", path);
        if (waited >= LOCK_WAIT_MS)
            return vr_fail(err, VR_E_BUSY, 0, "%s is in use by another process", dir);
        poll(NULL, 0, 50);
    }
    *ret_fd = vr_take_fd(&fd);
    return 0;
}

bool store_silent(const struct store *st, const char *path)
{
    for (size_t i = 0; i < st->n_silent; i++) {
        size_t n = strlen(st->silent[i]);
        if (!strncmp(path, st->silent[i], n) && path[n] == '/')
            return true;
    }
    return false;
}

bool machine_silent(struct store *st, const struct vr_uuid *machine)
{
    vr_autochain struct chain_row c = { 0 };
    return st->n_silent && chain_load(st, machine, &c, NULL) == 0 && store_silent(st, c.folder);
}

/* Which locations do not answer: nothing on them is looked at, and what is not complete there is
 * completed before anything else happens to that chain. */
static int find_silent(struct store *st, struct vr_err *err)
{
    char **v = NULL;
    size_t n = 0;
    vr_auto(db_rows_free) struct db_rows *r = db_select(
        st->db, err, "SELECT DISTINCT rtrim(folder, replace(folder, '/', '')) FROM chain", "");
    int rc = r ? 1 : -1;
    while (rc > 0 && (rc = db_step(r, err)) > 0) {
        v = vr_grow(v, n + 1, sizeof *v);
        v[n++] = vr_strndup(db_text(r, 0), strlen(db_text(r, 0)) - 1); /* the slash */
    }
    st->silent = vr_new0(n ? n : 1, sizeof *st->silent);
    for (size_t i = 0; i < n; i++) {
        if (rc < 0 || vr_folder_answers(v[i], ANSWER_MS)) {
            free(v[i]);
            continue;
        }
        st->silent[st->n_silent++] = v[i];
        vr_log(VR_LOG_ERROR, "store: the storage location %s does not answer: its replicas wait",
               v[i]);
    }
    free(v);
    return rc;
}

static int recover(struct store *st, struct vr_err *err)
{
    if (find_silent(st, err) < 0 || merge_recover(st, err) < 0 || repair_recover(st, err) < 0 ||
        stage_recover(st, err) < 0 || failover_recover(st, err) < 0)
        return vr_err_wrap(err, "recovery of %s", st->dir);
    /* What cannot be deleted now stays marked: no reason to refuse service. */
    struct vr_err e = VR_ERR_INIT;
    if (trash_empty(st, NULL, true, true, &e) < 0)
        vr_log_err(VR_LOG_WARN, "store: deleting what no row references", &e);
    return 0;
}

int store_open_fs(const char *dir, const struct fsops *fs, struct store **ret, struct vr_err *err)
{
    if (fs->mkdir(fs, dir, 0700, err) < 0)
        return -1;
    vr_auto(store_close) struct store *st = vr_new(struct store);
    pthread_mutex_init(&st->baton, NULL);
    st->opened_wall = vr_wall_now();
    st->opened_mono = vr_mono_now();
    st->stop_ms = 10000;
    st->lock_fd = -1;
    st->fs = fs;
    st->dir = vr_strdup(dir);
    st->db_path = vr_printf("%s/state.db", dir);
    if (lock_dir(dir, &st->lock_fd, err) < 0 || db_open(st->db_path, false, &st->db, err) < 0 ||
        fs->sync_dir(fs, dir, err) < 0 || recover(st, err) < 0)
        return -1;
    *ret = vr_take(st);
    return 0;
}

int store_open(const char *dir, struct store **ret, struct vr_err *err)
{
    return store_open_fs(dir, fsops_real(), ret, err);
}

void store_close(struct store *st)
{
    if (!st)
        return;
    hold_all_drop(st);
    db_close(st->db);
    if (st->lock_fd >= 0)
        close(st->lock_fd);
    for (size_t i = 0; i < st->n_silent; i++)
        free(st->silent[i]);
    free(st->silent);
    for (size_t i = 0; i < st->n_seen; i++)
        free(st->seen[i].folder);
    free(st->seen);
    pthread_mutex_destroy(&st->baton);
    free(st->db_path);
    free(st->dir);
    free(st->failed);
    free(st);
}

/* ---- transactions ---- */

static void note(struct store *st, const char *when, const char *name)
{
    vr_autofree char *s = vr_printf("%s %s", when, name);
    st->fs->note(st->fs, s);
}

int store_begin(struct store *st, const char *name, struct vr_err *err)
{
    note(st, "begin", name);
    return db_begin(st->db, err);
}

int store_end(struct store *st, const char *name, int rc, struct vr_err *err)
{
    if (rc < 0) {
        db_rollback(st->db);
        return -1;
    }
    if (db_commit(st->db, err) < 0)
        return vr_err_wrap(err, "%s", name);
    note(st, "end", name);
    return 0;
}

/* The number of a name of ours, "vda.17.qcow2"; -1 of any other. */
static int64_t number_in(const char *name)
{
    const char *end = strrchr(name, '.'), *dot = end;
    while (dot && dot > name && dot[-1] != '.')
        dot--;
    if (!dot || dot == name || dot == end || strspn(dot, "0123456789") != (size_t)(end - dot))
        return -1;
    return strtoll(dot, NULL, 10);
}

/* The highest number that a file in @folder has; a folder that does not exist has none. */
static int highest_number(const char *folder, int64_t *max, struct vr_err *err)
{
    DIR *dir = opendir(folder);
    if (!dir)
        return errno == ENOENT ? 0
                               : vr_fail(err, vr_kind_from_errno(errno), errno,
                                         "cannot look into folder %s", folder);
    errno = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        int64_t n = number_in(e->d_name);
        *max = n > *max ? n : *max;
    }
    int rc =
        errno ? vr_fail(err, vr_kind_from_errno(errno), errno, "cannot read folder %s", folder) : 0;
    closedir(dir);
    return rc;
}

static int highest_of(const char *folder, int64_t *ret, struct vr_err *err)
{
    vr_autofree char *active = vr_printf("%s/active", folder);
    TOUCHES_FILES;
    return highest_number(folder, ret, err) < 0 || highest_number(active, ret, err) < 0 ? -1 : 0;
}

static struct folder_seen *seen(const struct store *st, const char *folder)
{
    for (size_t i = 0; i < st->n_seen; i++)
        if (!strcmp(st->seen[i].folder, folder))
            return &st->seen[i];
    return NULL;
}

/* Each time: what is there now may have been mounted over what was there before. */
void store_look_numbers(struct store *st, const char *folder)
{
    int64_t there = 0;
    struct vr_err e = VR_ERR_INIT;
    bool looked = highest_of(folder, &there, &e) == 0;
    struct folder_seen *f = seen(st, folder);
    if (looked && !f) {
        st->seen = vr_grow(st->seen, st->n_seen + 1, sizeof *st->seen);
        f = &st->seen[st->n_seen++];
        f->folder = vr_strdup(folder);
    }
    if (f)
        f->highest = looked ? there : -1;
}

int store_file_number(struct store *st, const char *folder, int64_t *ret, struct vr_err *err)
{
    int64_t n = 0, there = 0;
    const struct folder_seen *known = seen(st, folder);
    if (known && known->highest >= 0)
        there = known->highest;
    else if (highest_of(folder, &there, err) < 0)
        return -1;
    if (db_run(st->db, err,
               "INSERT INTO counter(name, value) VALUES('file', 1)"
               " ON CONFLICT(name) DO UPDATE SET value = value + 1",
               "") < 0 ||
        db_one_int(st->db, &n, err, "SELECT value FROM counter WHERE name = 'file'", "") < 0)
        return -1;
    if (n <= there) {
        n = there + 1;
        if (db_run(st->db, err, "UPDATE counter SET value = ? WHERE name = 'file'", "i", n) < 0)
            return -1;
    }
    *ret = n;
    return 0;
}

/* ---- documents ---- */

static int write_doc(struct store *st, const struct store_doc *d, struct vr_err *err)
{
    if (!d->text)
        return db_run(st->db, err, "DELETE FROM doc WHERE kind = ? AND id = ?", "ss", d->kind,
                      d->id);
    return db_run(st->db, err,
                  "INSERT INTO doc(kind, id, text) VALUES(?,?,?)"
                  " ON CONFLICT(kind, id) DO UPDATE SET text = excluded.text",
                  "sss", d->kind, d->id, d->text);
}

int store_docs_write(struct store *st, const struct store_doc docs[], size_t n, struct vr_err *err)
{
    for (size_t i = 0; i < n; i++)
        if (docs[i].text && strlen(docs[i].text) > TEXT_MAX)
            return vr_fail(err, VR_E_LIMIT, 0, "document %s/%s is over %d bytes", docs[i].kind,
                           docs[i].id, TEXT_MAX);
    if (store_begin(st, "doc", err) < 0)
        return -1;
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = write_doc(st, &docs[i], err);
    return store_end(st, "doc", rc, err);
}

int store_doc_put(struct store *st, const char *kind, const char *id, const char *text,
                  struct vr_err *err)
{
    return store_docs_write(st, &(struct store_doc){ kind, id, text }, 1, err);
}

int store_doc_delete(struct store *st, const char *kind, const char *id, struct vr_err *err)
{
    return store_docs_write(st, &(struct store_doc){ kind, id, NULL }, 1, err);
}

int store_doc_get(struct store *st, const char *kind, const char *id, char **ret,
                  struct vr_err *err)
{
    vr_auto(db_rows_free) struct db_rows *r =
        db_select(st->db, err, "SELECT text FROM doc WHERE kind = ? AND id = ?", "ss", kind, id);
    int rc = r ? db_step(r, err) : -1;
    if (rc < 0)
        return -1;
    if (rc == 0)
        return vr_fail(err, VR_E_NOTFOUND, 0, "there is no document %s/%s", kind, id);
    *ret = vr_strdup(db_text(r, 0));
    return 0;
}

struct docs {
    char **id, **text;
    size_t n;
};

static void docs_done(struct docs *d)
{
    for (size_t i = 0; i < d->n; i++) {
        free(d->id[i]);
        free(d->text[i]);
    }
    free(d->id);
    free(d->text);
}

/* All are read before the first call of @fn, which may change documents itself. */
int store_doc_each(struct store *st, const char *kind,
                   int (*fn)(void *ctx, const char *id, const char *text, struct vr_err *err),
                   void *ctx, struct vr_err *err)
{
    __attribute__((cleanup(docs_done))) struct docs d = { NULL };
    vr_auto(db_rows_free) struct db_rows *r =
        db_select(st->db, err, "SELECT id, text FROM doc WHERE kind = ? ORDER BY id", "s", kind);
    int rc = r ? 1 : -1;
    while (rc > 0 && (rc = db_step(r, err)) > 0) {
        d.id = vr_grow(d.id, d.n + 1, sizeof *d.id);
        d.text = vr_grow(d.text, d.n + 1, sizeof *d.text);
        d.id[d.n] = vr_strdup(db_text(r, 0));
        d.text[d.n++] = vr_strdup(db_text(r, 1));
    }
    for (size_t i = 0; rc >= 0 && i < d.n; i++)
        rc = fn(ctx, d.id[i], d.text[i], err);
    return rc < 0 ? -1 : 0;
}
