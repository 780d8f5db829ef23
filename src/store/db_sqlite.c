/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The database: SQLite in write-ahead mode with full synchronisation, so that a transaction that
 * was committed survives the loss of power. The only file that includes sqlite3.h. One handle is
 * used by one thread at a time; a second read-only handle may read beside it. */
#include "store/db.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"

#define SCHEMA_VERSION 4
enum { BUSY_MS = 10000 };

struct db {
    sqlite3 *h;
    bool tx;
};

struct db_rows {
    sqlite3_stmt *st;
    struct db *db;
};

/* The database of version n has what is there since versions 1 to n. */
static const struct {
    int since;
    const char *sql;
} schema[] = {
#define T(sql) { 1, sql },
#define SINCE(version, sql) { version, sql },
#include "store/schema.def"
#undef SINCE
#undef T
};

static enum vr_kind kind_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return VR_E_NOSPACE;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return VR_E_BUSY;
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
        return VR_E_DENIED;
    case SQLITE_IOERR:
        return VR_E_IO;
    default:
        return VR_E_STORE;
    }
}

static int db_fail(struct db *db, int rc, const char *what, struct vr_err *err)
{
    return vr_fail(err, kind_of(rc), 0, "database: %s: %s", what,
                   db->h ? sqlite3_errmsg(db->h) : sqlite3_errstr(rc));
}

static int bind_all(struct db *db, sqlite3_stmt *st, const char *types, va_list ap,
                    struct vr_err *err)
{
    for (int i = 0; types && types[i]; i++) {
        int rc = SQLITE_MISUSE;
        if (types[i] == 'i') {
            rc = sqlite3_bind_int64(st, i + 1, va_arg(ap, int64_t));
        } else if (types[i] == 's') {
            const char *s = va_arg(ap, const char *);
            rc = s ? sqlite3_bind_text(st, i + 1, s, -1, SQLITE_TRANSIENT)
                   : sqlite3_bind_null(st, i + 1);
        } else if (types[i] == 'u') {
            const struct vr_uuid *u = va_arg(ap, const struct vr_uuid *);
            rc = sqlite3_bind_blob(st, i + 1, u->b, sizeof u->b, SQLITE_TRANSIENT);
        }
        if (rc != SQLITE_OK)
            return db_fail(db, rc, "bind", err);
    }
    return 0;
}

static struct db_rows *select_va(struct db *db, struct vr_err *err, const char *sql,
                                 const char *types, va_list ap)
{
    vr_auto(db_rows_free) struct db_rows *r = vr_new(struct db_rows);
    r->db = db;
    int rc = sqlite3_prepare_v2(db->h, sql, -1, &r->st, NULL);
    if (rc != SQLITE_OK) {
        db_fail(db, rc, sql, err);
        return NULL;
    }
    if (bind_all(db, r->st, types, ap, err) < 0)
        return NULL;
    return vr_take(r);
}

struct db_rows *db_select(struct db *db, struct vr_err *err, const char *sql, const char *types,
                          ...)
{
    va_list ap;
    va_start(ap, types);
    struct db_rows *r = select_va(db, err, sql, types, ap);
    va_end(ap);
    return r;
}

int db_step(struct db_rows *r, struct vr_err *err)
{
    int rc = sqlite3_step(r->st);
    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE)
        return 0;
    return db_fail(r->db, rc, sqlite3_sql(r->st), err);
}

int64_t db_int(const struct db_rows *r, int i)
{
    return sqlite3_column_int64(r->st, i);
}

const char *db_text(const struct db_rows *r, int i)
{
    return (const char *)sqlite3_column_text(r->st, i);
}

struct vr_uuid db_uuid(const struct db_rows *r, int i)
{
    struct vr_uuid u = { { 0 } };
    const void *p = sqlite3_column_blob(r->st, i);
    if (p && sqlite3_column_bytes(r->st, i) == (int)sizeof u.b)
        memcpy(u.b, p, sizeof u.b);
    return u;
}

void db_rows_free(struct db_rows *r)
{
    if (!r)
        return;
    sqlite3_finalize(r->st);
    free(r);
}

int db_run(struct db *db, struct vr_err *err, const char *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    vr_auto(db_rows_free) struct db_rows *r = select_va(db, err, sql, types, ap);
    va_end(ap);
    if (!r)
        return -1;
    int rc = 1;
    while (rc > 0)
        rc = db_step(r, err);
    return rc;
}

int db_one_int(struct db *db, int64_t *ret, struct vr_err *err, const char *sql, const char *types,
               ...)
{
    va_list ap;
    va_start(ap, types);
    vr_auto(db_rows_free) struct db_rows *r = select_va(db, err, sql, types, ap);
    va_end(ap);
    if (!r)
        return -1;
    int rc = db_step(r, err);
    if (rc > 0)
        *ret = db_int(r, 0);
    return rc;
}

int64_t db_last_id(const struct db *db)
{
    return sqlite3_last_insert_rowid(db->h);
}

int64_t db_changes(const struct db *db)
{
    return sqlite3_changes(db->h);
}

bool db_in_tx(const struct db *db)
{
    return db->tx;
}

int db_begin(struct db *db, struct vr_err *err)
{
    if (db->tx)
        return vr_fail(err, VR_E_INTERNAL, 0, "database: a transaction is open already");
    if (db_run(db, err, "BEGIN IMMEDIATE", "") < 0)
        return -1;
    db->tx = true;
    return 0;
}

int db_commit(struct db *db, struct vr_err *err)
{
    if (db_run(db, err, "COMMIT", "") < 0) {
        db_rollback(db);
        return -1;
    }
    db->tx = false;
    return 0;
}

void db_rollback(struct db *db)
{
    if (db->tx)
        (void)db_run(db, NULL, "ROLLBACK", ""); /* may have been rolled back by the failure */
    db->tx = false;
}

/* ---- opening ---- */

static int check_integrity(struct db *db, const char *path, struct vr_err *err)
{
    vr_auto(db_rows_free) struct db_rows *r = db_select(db, err, "PRAGMA integrity_check(1)", "");
    if (!r || db_step(r, err) < 0)
        return vr_err_wrap(err, "checking %s", path);
    const char *said = db_text(r, 0);
    if (!said || strcmp(said, "ok") != 0)
        return vr_fail(err, VR_E_STORE, 0, "the database %s is corrupt: %s", path,
                       said ? said : "no answer");
    return 0;
}

/* Bring a database of version @from (0: empty) up to date. */
static int make_schema(struct db *db, int64_t from, struct vr_err *err)
{
    if (db_begin(db, err) < 0)
        return -1;
    for (size_t i = 0; i < VR_ARRAY_LEN(schema); i++)
        if (schema[i].since > from && db_run(db, err, schema[i].sql, "") < 0)
            goto fail;
    if (db_run(db, err, "PRAGMA user_version=" VR_STR(SCHEMA_VERSION), "") < 0)
        goto fail;
    return db_commit(db, err);
fail:
    db_rollback(db);
    return -1;
}

static int check_version(struct db *db, const char *path, bool read_only, struct vr_err *err)
{
    int64_t version = 0;
    if (db_one_int(db, &version, err, "PRAGMA user_version", "") < 0)
        return vr_err_wrap(err, "opening %s", path);
    if (version == SCHEMA_VERSION)
        return 0;
    if (version >= 0 && version < SCHEMA_VERSION && !read_only)
        return make_schema(db, version, err);
    return vr_fail(err, VR_E_STORE, 0,
                   "the database %s has version %lld, this program knows version %d", path,
                   (long long)version, SCHEMA_VERSION);
}

static int make_file(const char *path, struct vr_err *err)
{
    vr_autoclose int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot open the database %s", path);
    return 0;
}

int db_open(const char *path, bool read_only, struct db **ret, struct vr_err *err)
{
    static const char *const pragmas[] = { "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL",
                                           "PRAGMA foreign_keys=ON", "PRAGMA trusted_schema=OFF" };
    if (!read_only && make_file(path, err) < 0)
        return -1;
    vr_auto(db_close) struct db *db = vr_new(struct db);
    int flags = (read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE) | SQLITE_OPEN_NOMUTEX |
                SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE;
    int rc = sqlite3_open_v2(path, &db->h, flags, NULL);
    if (rc != SQLITE_OK)
        return db_fail(db, rc, path, err);
    sqlite3_busy_timeout(db->h, BUSY_MS);
    for (size_t i = read_only ? 2 : 0; i < VR_ARRAY_LEN(pragmas); i++)
        if (db_run(db, err, pragmas[i], "") < 0)
            return vr_err_wrap(err, "opening %s", path);
    if (!read_only && check_integrity(db, path, err) < 0)
        return -1;
    if (check_version(db, path, read_only, err) < 0)
        return -1;
    *ret = vr_take(db);
    return 0;
}

void db_close(struct db *db)
{
    if (!db)
        return;
    if (db->h)
        db_rollback(db);
    sqlite3_close_v2(db->h);
    free(db);
}
