/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_STORE_STORE_INT_H
#define VR_STORE_STORE_INT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "store/baton.h"
#include "store/db.h"
#include "store/fsops.h"
#include "store/retain.h"
#include "store/store.h"

/* What the files of the store share. Nothing outside of src/store and tests/crash includes this. */

enum chain_state { CHAIN_REPLICA, CHAIN_PREPARING, CHAIN_FAILED_OVER, CHAIN_PRIMARY };
enum layer_role { ROLE_CHAIN, ROLE_STAGE, ROLE_OVERLAY };
/* What a layer's digest table tells: nothing, all that the layer itself holds, or all that is not
 * zero in the whole image seen through this layer. */
enum known { KNOWN_NONE, KNOWN_LAYER, KNOWN_FULL };
enum stage_state { STAGE_MAKING, STAGE_READY };
enum merge_state { MERGE_COPY, MERGE_COPIED };
enum trash_state { TRASH_DELETE, TRASH_MAKING };

/* Something in memory that must not be changed under its user. Shared by the store (which looks at
 * it on its own thread) and one user on any thread; counted by @refs. */
enum hold_kind { HOLD_STAGE, HOLD_MERGE, HOLD_READ };
struct hold {
    atomic_int refs;
    enum hold_kind kind;
    struct vr_uuid machine;
    int64_t point; /* HOLD_READ: the point being read */
    bool foreign;  /* HOLD_MERGE: writes into an image with clusters of another size */
    bool index;    /* HOLD_READ: for a digest table */
    bool stale;    /* HOLD_READ: the chain changed its role meanwhile, what was read does not count;
                      store    thread only */
    atomic_bool released; /* by the user */
    atomic_bool cancel;   /* by the store: the user stops as soon as it can */
    atomic_bool running;  /* by the user, while it touches files */
    struct hold *next;    /* store thread only */
};

/* The highest number that was found in a folder when it was looked into last; -1: that failed. */
struct folder_seen {
    char *folder;
    int64_t highest;
};

struct store {
    pthread_mutex_t baton; /* guards what follows; baton.h */
    char *dir, *db_path;
    int lock_fd;
    struct db *db;
    const struct fsops *fs;
    struct hold *holds;
    int64_t *failed; /* layers whose repair failed; repair.c */
    size_t n_failed;
    struct folder_seen *seen;
    size_t n_seen;
    char **silent; /* locations that did not answer when it was opened */
    size_t n_silent;
    int64_t stop_ms;            /* how long a merge may take to stop */
    bool trash_stuck;           /* a file could not be deleted, and that was said */
    struct wall_us opened_wall; /* when it was opened */
    struct mono_ms opened_mono;
};

struct chain_row {
    struct vr_uuid machine;
    char *folder, *origin, *fo_bitmap;
    enum chain_state state;
    int64_t active, fo_point;
};

struct layer_row {
    int64_t id, below; /* 0: nothing below */
    char target[VR_TARGET_MAX];
    char *path, *digests;
    char format[16];
    bool adopted;
    enum layer_role role;
    uint64_t size;
    enum known known;
};

/* Layers of one disk, the top one first. */
struct layers {
    struct layer_row *v;
    size_t n;
};

/* ---- store.c ---- */
/* store_open_fs() - store_open() with other file operations; @fs is borrowed. */
int store_open_fs(const char *dir, const struct fsops *fs, struct store **ret, struct vr_err *err);
/* store_begin() / store_commit() - a transaction with its notes; @name for the notes.
 * store_end() - commit when @rc is 0, roll back otherwise; returns the result. */
int store_begin(struct store *st, const char *name, struct vr_err *err);
int store_end(struct store *st, const char *name, int rc, struct vr_err *err);
/* store_file_number() - a number that no file of this store ever had, nor one that is in @folder
 * (of a machine) or its "active": the folder may have outlived the database that knew its files,
 * and they may be all that is left of points. Inside a transaction. store_look_numbers() - look
 * into the folder before that, so that no transaction waits for it; that it cannot be read is told
 * by store_file_number(). */
void store_look_numbers(struct store *st, const char *folder);
int store_file_number(struct store *st, const char *folder, int64_t *ret, struct vr_err *err);

/* store_silent() - is @path on a location that did not answer when the store was opened?
 * machine_silent() - are the files of @machine? */
bool store_silent(const struct store *st, const char *path);
bool machine_silent(struct store *st, const struct vr_uuid *machine);

/* ---- trash.c: files to delete, durable before the first one goes ---- */
int trash_add(struct store *st, const char *path, enum trash_state state, struct vr_err *err);
int trash_forget(struct store *st, const char *path, struct vr_err *err);
/* trash_empty() - delete what is marked TRASH_DELETE (@all: also TRASH_MAKING) of @machine (NULL:
 * of all whose storage answers); not inside a transaction. Files stay marked while their folder is
 * not there, or while a reader or a receiver may still be opening them, or while they cannot be
 * deleted: that is no error, for it must not keep other machines from working. @log: tell each
 * deletion. Errors: of the database. */
int trash_empty(struct store *st, const struct vr_uuid *machine, bool all, bool log,
                struct vr_err *err);
/* trash_sweep() - the same after an operation that has succeeded already: a failure is only a
 * debug message, the next sweep tries again. */
void trash_sweep(struct store *st, const struct vr_uuid *machine);

/* ---- rows.c ---- */
int chain_load(struct store *st, const struct vr_uuid *machine, struct chain_row *ret,
               struct vr_err *err); /* VR_E_NOTFOUND */
void chain_row_done(struct chain_row *c);
#define vr_autochain __attribute__((cleanup(chain_row_done)))
int chain_set_state(struct store *st, const struct vr_uuid *machine, enum chain_state state,
                    struct vr_err *err);
/* layer_load() - one row. layers_below() - @top and all below it. layers_role() - all layers of a
 * machine with a role, in the order of the chain's disks. layers_owned() - those that this point
 * shows and no older one. */
int layer_load(struct db *db, int64_t id, struct layer_row *ret, struct vr_err *err);
int layers_below(struct db *db, int64_t top, struct layers *ret, struct vr_err *err);
int layers_role(struct db *db, const struct vr_uuid *machine, enum layer_role role,
                struct layers *ret, struct vr_err *err);
int layers_owned(struct db *db, int64_t point, struct layers *ret, struct vr_err *err);
void layer_row_done(struct layer_row *l);
void layers_done(struct layers *l);
#define vr_autolayer __attribute__((cleanup(layer_row_done)))
#define vr_autolayers __attribute__((cleanup(layers_done)))
/* layer_add() - insert; l->id is set. layer_drop() - delete the row, its files become trash unless
 * adopted. */
int layer_add(struct store *st, const struct vr_uuid *machine, struct layer_row *l,
              struct vr_err *err);
int layer_drop(struct store *st, const struct layer_row *l, struct vr_err *err);
/* point_seq() - row of a point: 1 found, 0 not, -1 error. point_newest() - likewise, the newest
 * listed one. point_top() - the top layer of a point's disk: VR_E_NOTFOUND. */
int point_seq(struct db *db, const struct vr_uuid *machine, const struct vr_point_id *p,
              bool listed_only, int64_t *ret, struct vr_err *err);
int point_newest(struct db *db, const struct vr_uuid *machine, int64_t *ret_seq,
                 struct vr_point_id *ret_id, struct vr_err *err);
int point_top(struct db *db, int64_t seq, const char *target, int64_t *ret, struct vr_err *err);
/* point_top_if() - likewise: 1 found, 0 the point does not have the disk, -1 error. */
int point_top_if(struct db *db, int64_t seq, const char *target, int64_t *ret, struct vr_err *err);
/* branches_drop() - delete the layers of a chain that no point shows and nothing stands on; in a
 * transaction, while no merge is under way. */
int branches_drop(struct store *st, const struct vr_uuid *machine, struct vr_err *err);
/* chain_targets() - all disks that a point of the chain ever had, in order; caller frees the array.
 * chain_add_target() - one more, unless it is there; in a transaction. point_targets() - the disks
 * of one point, in the same order. */
int chain_targets(struct db *db, const struct vr_uuid *machine, char (**ret)[VR_TARGET_MAX],
                  size_t *ret_n, struct vr_err *err);
int chain_add_target(struct db *db, const struct vr_uuid *machine, const char *target,
                     struct vr_err *err);
int point_targets(struct db *db, int64_t seq, char (**ret)[VR_TARGET_MAX], size_t *ret_n,
                  struct vr_err *err);
/* is_plain_target() - can it be part of a file's name? */
bool is_plain_target(const char *s);
/* machine_name() - for messages: "machine UUID" in @out[64]. */
const char *machine_name(const struct vr_uuid *m, char out[64]);

/* ---- point.c ---- */
struct new_point {
    struct vr_uuid machine;
    struct vr_point_id id;
    struct wall_us instant;
    enum vr_point_kind kind;
    uint64_t bytes;
};
/* point_add() - insert the row, listed; inside a transaction. point_add_disk() - its disk. */
int point_add(struct store *st, const struct new_point *p, int64_t *ret_seq, struct vr_err *err);
int point_add_disk(struct store *st, int64_t seq, const char *target, int64_t layer,
                   struct vr_err *err);

/* ---- hold.c ---- */
/* hold_new() - a hold with two references: the store's and the user's. hold_release() - the user's
 * end, any thread. hold_find() - whether a kind is there for a machine (NULL: none).
 * hold_index() - whether the machine's layers are being read for their tables; @stop: that ends.
 * hold_readers_stop() - layers may be written to from now on: readers end, and what they read does
 * not count.
 * hold_merges_stop() - cancel merges of a machine and wait until they touch no file any more; their
 * records are dropped. VR_E_BUSY when one does not stop within st->stop_ms: ask again later. */
struct hold *hold_new(struct store *st, enum hold_kind kind, const struct vr_uuid *machine,
                      int64_t point);
void hold_release(struct hold *h);
struct hold *hold_find(struct store *st, enum hold_kind kind, const struct vr_uuid *machine);
bool hold_on_point(struct store *st, int64_t seq);
/* hold_on_path() - whether a stage or a reader may be using files of the folder @path is in. */
bool hold_on_path(struct store *st, const char *path);
bool hold_index(struct store *st, const struct vr_uuid *machine, bool stop);
void hold_readers_stop(struct store *st, const struct vr_uuid *machine);
void hold_all_drop(struct store *st);
int hold_merges_stop(struct store *st, const struct vr_uuid *machine, struct vr_err *err);

/* ---- merge_finish.c ---- */
/* merges_settle() - hold_merges_stop(), and what was copied already is finished: afterwards no file
 * of the chain changes any more until the next store_merge_prepare(). */
int merges_settle(struct store *st, const struct vr_uuid *machine, struct vr_err *err);
/* chain_rests() - whether nobody but us touches the files of the chain: 1, 0, -1 error. Headers of
 * layers are changed only then.
 * merges_leave() - like merges_settle(), but what cannot be finished now is left until it can:
 * before a failover. */
int chain_rests(struct store *st, const struct vr_uuid *machine, struct vr_err *err);
/* rebase_all() - the headers of all layers of the chain whose rows stand on layer @standing_on name
 * the image of @to; durable. Nothing is copied. */
int rebase_all(struct store *st, const struct vr_uuid *machine, int64_t standing_on,
               const struct layer_row *to, struct vr_err *err);
int merges_leave(struct store *st, const struct vr_uuid *machine, struct vr_err *err);
/* merge_yield() - a stage is about to be opened: stop a merge that must not run beside it
 * (docs/store.md, "Merging under readers"). */
int merge_yield(struct store *st, const struct vr_uuid *machine, struct vr_err *err);

/* ---- proof.c ---- */
/* proof_wanted() - add the blocks of a disk of @size bytes that the newest point shows wrong.
 * proof_look() - which of them layer @l of a stage holds, as whole blocks; reads its table, not
 * inside a transaction. proof_received() - the layer becomes one of the chain: they are wanted no
 * more; in a transaction. */
int proof_wanted(struct store *st, const struct vr_uuid *machine, const char *target, uint64_t size,
                 struct extents *ret, struct vr_err *err);
int proof_look(struct store *st, const struct vr_uuid *machine, const struct layer_row *l,
               struct extents *ret, struct vr_err *err);
int proof_received(struct store *st, const struct vr_uuid *machine, const char *target,
                   const struct extents *got, struct vr_err *err);
/* proof_committed() - point @seq was made of @sg: quarantined if it shows what was found to be
 * wrong after the sender had been told what to send; in the transaction of its commit. */
int proof_committed(struct store *st, const struct store_stage *sg, int64_t seq,
                    struct vr_err *err);

/* ---- parts of recovery ---- */
int stage_recover(struct store *st, struct vr_err *err);
int failover_recover(struct store *st, struct vr_err *err);
int merge_recover(struct store *st, struct vr_err *err);
/* recover_machines() - @complete every machine that @select (one column) names. One machine's
 * folder may be away: that is logged, its record stays and is completed before anything else
 * happens to that chain. */
int recover_machines(struct store *st, const char *select,
                     int (*complete)(struct store *st, const struct vr_uuid *machine,
                                     struct vr_err *err),
                     struct vr_err *err);
int repair_recover(struct store *st, struct vr_err *err);
/* repair_complete() - finish a repair of @machine whose rows are there already. Nothing to do is
 * success. */
int repair_complete(struct store *st, const struct vr_uuid *machine, struct vr_err *err);
/* stage_drop_rows() - forget the stage of a machine, its files become trash; in a transaction. */
int stage_drop_rows(struct store *st, const struct vr_uuid *machine, struct vr_err *err);

#endif
