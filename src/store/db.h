/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_STORE_DB_H
#define VR_STORE_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/uuid.h"

/* The one database of a host, behind a small interface so that one file knows SQLite.
 *
 * Values are bound by a string of letters, one per argument:
 *   i  int64_t     s  const char * (NULL becomes SQL NULL)     u  const struct vr_uuid *
 * A statement changes nothing durable outside of a transaction that db_commit() ended. Thread: one
 * at a time per handle. Kinds of errors: VR_E_NOSPACE (disk full), VR_E_BUSY (locked by another
 * process), VR_E_DENIED (cannot open or write), VR_E_STORE (corrupt, newer, anything else). */
struct db;
struct db_rows;

/* db_open() - open @path, made with mode 0600 when absent, check it and bring its schema up to
 * date.
 * @read_only: a second handle for reading beside the first one; the file must exist. */
int db_open(const char *path, bool read_only, struct db **ret, struct vr_err *err);
/* db_close() - roll back what is open and close; NULL is fine. */
void db_close(struct db *db);
VR_DEFINE_CLEANUP(struct db, db_close)

/* db_begin() / db_commit() / db_rollback() - one transaction at a time. db_commit() returns when it
 * is durable; on failure the transaction is rolled back. db_rollback() without one is fine. */
int db_begin(struct db *db, struct vr_err *err);
int db_commit(struct db *db, struct vr_err *err);
void db_rollback(struct db *db);
/* db_in_tx() - whether a transaction is open. */
bool db_in_tx(const struct db *db);

/* db_run() - one statement without rows. db_last_id() - id of the row inserted last.
 * db_changes() - rows that the last statement changed. */
int db_run(struct db *db, struct vr_err *err, const char *sql, const char *types, ...);
int64_t db_last_id(const struct db *db);
int64_t db_changes(const struct db *db);

/* db_select() - start reading rows; caller ends with db_rows_free(). db_step(): 1 a row, 0 no more,
 * -1 error. db_int() and db_text() read column @i of the current row; text is borrowed until the
 * next step and is NULL for SQL NULL; db_uuid() is zero when the value is not 16 bytes. */
struct db_rows *db_select(struct db *db, struct vr_err *err, const char *sql, const char *types,
                          ...);
int db_step(struct db_rows *r, struct vr_err *err);
int64_t db_int(const struct db_rows *r, int i);
const char *db_text(const struct db_rows *r, int i);
struct vr_uuid db_uuid(const struct db_rows *r, int i);
void db_rows_free(struct db_rows *r);
VR_DEFINE_CLEANUP(struct db_rows, db_rows_free)

/* db_one_int() - the integer of a query with one row and column: 1 found, 0 no row, -1 error. */
int db_one_int(struct db *db, int64_t *ret, struct vr_err *err, const char *sql, const char *types,
               ...);

#endif
