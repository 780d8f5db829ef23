/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_STORE_STORE_H
#define VR_STORE_STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "model/model.h"
#include "transfer/extents.h"

/* The durable state of a host: documents (relationships, peers, jobs, settings) and the recovery
 * points of replicated machines as qcow2 chains with digest tables. SQLite holds the facts, files
 * hold the bytes. All calls block. Except for those marked "any worker", which touch only files,
 * the caller has entered the store, and calls for one machine are made one after the other.
 * Invariants: style 4.6, repeated at the top of commit.c. */
struct store;

/* store_open() - open or create the database @dir/state.db and recover: unfinished merges are
 * finished or undone, files that no row references are deleted and logged.
 * Errors: VR_E_STORE (corrupt or newer database), VR_E_IO, VR_E_DENIED. store_close(): NULL is
 * fine. */
int store_open(const char *dir, struct store **ret, struct vr_err *err);
void store_close(struct store *st);
VR_DEFINE_CLEANUP(struct store, store_close)

/* store_enter() - from here to store_leave() on the same thread the store may be used. While a call
 * touches files others may enter: a storage that does not answer blocks only its own machines. "The
 * store thread" below means: having entered. Not needed as long as there is only one thread. */
void store_enter(struct store *st);
void store_leave(struct store *st);

/* ---- documents: small texts by (kind, id), each change one durable transaction ---- */
int store_doc_put(struct store *st, const char *kind, const char *id, const char *text,
                  struct vr_err *err);
/* store_doc_get() - VR_E_NOTFOUND if there is none; caller frees. */
int store_doc_get(struct store *st, const char *kind, const char *id, char **ret,
                  struct vr_err *err);
int store_doc_delete(struct store *st, const char *kind, const char *id, struct vr_err *err);
/* store_docs_write() - put and delete (text NULL) several in one transaction: all or none. */
struct store_doc {
    const char *kind, *id, *text;
};
int store_docs_write(struct store *st, const struct store_doc docs[], size_t n, struct vr_err *err);
int store_doc_each(struct store *st, const char *kind,
                   int (*fn)(void *ctx, const char *id, const char *text, struct vr_err *err),
                   void *ctx, struct vr_err *err);

/* ---- chains: one per replicated machine on this host ---- */
struct store_disk {
    char target[VR_TARGET_MAX];
    uint64_t size;    /* bytes */
    const char *base; /* existing qcow2/raw image that already holds the first point (reverse) */
    const char *base_format; /* its format; both NULL: the first stage creates the base */
};

/* store_chain_create() - a new, empty chain in the folder @location/<machine uuid>/ (created 0711:
 * QEMU may run as another user; files are 0600). With bases: the point @first exists at once, made
 * of these files in place (they are the only good copy and are never written before a merge that
 * retention asks for). Idempotent for equal input. Errors: VR_E_EXISTS (a different chain is
 * there, or one with points although an empty one is wanted), VR_E_NOSPACE, VR_E_IO. */
int store_chain_create(struct store *st, const struct vr_uuid *machine, const char *location,
                       const struct store_disk *disks, size_t n_disks,
                       const struct vr_point_id *first, struct wall_us instant,
                       enum vr_point_kind kind, struct vr_err *err);
bool store_chain_exists(struct store *st, const struct vr_uuid *machine);
/* store_chain_folder() - where its files are made; the caller frees. Errors: VR_E_NOTFOUND. */
int store_chain_folder(struct store *st, const struct vr_uuid *machine, char **ret,
                       struct vr_err *err);
/* store_chain_drop() - forget the chain; its files stay. @delete_files, only for a chain without
 * points (VR_E_STATE otherwise): layers that we made are deleted (never a base that was adopted).
 */
int store_chain_drop(struct store *st, const struct vr_uuid *machine, bool delete_files,
                     struct vr_err *err);

/* What a point's content was compared with. */
enum store_proof_how {
    STORE_PROOF_NONE,
    STORE_PROOF_DIGESTS, /* its digest tables, which came with the data */
    STORE_PROOF_PRIMARY, /* the primary's disks, at the instant of the point */
};
/* store/proof.h, docs/decisions/0007-proof.md */
enum store_quarantine {
    STORE_SOUND,
    STORE_QUARANTINED, /* holds wrong blocks: not to be failed over to */
    STORE_RELEASED,    /* and somebody wants it all the same */
    STORE_REPAIRED,    /* they have been put right */
};
struct store_proof {
    struct wall_us verified; /* last comparison without a difference; 0 never */
    enum store_proof_how how;
    enum store_quarantine quarantine;
    struct wall_us since;  /* of the quarantine */
    uint64_t bad;          /* blocks */
    bool acknowledged;     /* somebody knows about it */
    struct wall_us booted; /* a test machine of it ran; 0 never */
};

struct store_point {
    struct vr_point_id id;
    struct wall_us instant;  /* what moment of the primary it shows */
    struct wall_us received; /* committed here */
    struct wall_us moment;   /* by which its age is told: the instant, unless a clock jumped */
    int64_t ours;            /* microseconds of this host's clock without its jumps; only the
                                difference of two of them means anything */
    struct wall_us written;  /* of an orphan: when its disks were last written, about; 0 unknown */
    enum vr_point_kind kind;
    uint64_t bytes;  /* data held by its own layers */
    char digest[65]; /* SHA-256 hex over (target, block, digest)* of the whole point; "" while
                        unknown */
    char disks[160]; /* its disks by target, with blanks between; " ..." at the end: and more */
    unsigned pins;   /* enum store_pin bits */
    struct store_proof proof;
    /* Filled in by store_retention_apply() only: */
    unsigned why;        /* enum store_why bits; 0: it goes with the next merge */
    struct wall_us goes; /* not before this moment; 0: no time can be told */
};
/* store_newest_sound() - which of @n points @p, oldest first, a failover takes that names none: the
 * newest that is neither quarantined (wrong blocks) nor an orphan (what an old primary wrote and
 * the one that went on never had: it is taken only by its name). NULL: there is none. Pure. */
static inline const struct store_point *store_newest_sound(const struct store_point *p, size_t n)
{
    while (n--)
        if (p[n].proof.quarantine != STORE_QUARANTINED && p[n].kind != VR_POINT_ORPHAN)
            return &p[n];
    return NULL;
}
/* store_points() - oldest first; caller frees the array. A primary has none of these.
 * store_points_beneath() - what a primary keeps below its disks: orphans, and points that are
 * pinned or being read. They are listed again when it is a replica; nothing is failed over to them
 * before. Of a replica: none. */
int store_points(struct store *st, const struct vr_uuid *machine, struct store_point **ret,
                 size_t *ret_n, struct vr_err *err);
int store_points_beneath(struct store *st, const struct vr_uuid *machine, struct store_point **ret,
                         size_t *ret_n, struct vr_err *err);
/* store_point_has() - does the point have the disk @target? (Also if that cannot be told: " ...".)
 * Pure. store_point_disks() - targets and sizes of a point's disks, listed or not, in the chain's
 * order. Points of one machine may have different disks. Errors: VR_E_NOTFOUND, VR_E_STORE. */
bool store_point_has(const struct store_point *p, const char *target);
int store_point_disks(struct store *st, const struct vr_uuid *machine, const struct vr_point_id *p,
                      struct store_disk ret[VR_DISKS_MAX], size_t *ret_n, struct vr_err *err);
/* Who wants a point kept; each has a bit of its own, so nobody lifts another's pin. */
enum store_pin {
    STORE_PIN_USER = 1, /* retention never gives it up */
    STORE_PIN_USE = 2,  /* and no layer at or below it changes any more: a test machine reads it, */
    STORE_PIN_EXPORT = 4, /* or whoever it is exported to */
    STORE_PIN_READ = STORE_PIN_USE | STORE_PIN_EXPORT,
};
enum { STORE_USER_PINS_MAX = 16 }; /* of one machine: each costs a layer of the chain */
/* store_point_pin() - set or (@on false) lift one pin of a point. For a test failover pin the point
 * with STORE_PIN_USE first, then let the machine read store_point_image(); when the machine is
 * gone, unpin. A pinned point outlives failovers and changes of role, and its pin can be lifted
 * while it is not listed; those of store_points_beneath() can be pinned, too. Durable, idempotent.
 * Errors: VR_E_NOTFOUND, VR_E_LIMIT too many pins of the user, VR_E_BUSY to be read on a primary: a
 * merge was left unfinished. */
int store_point_pin(struct store *st, const struct vr_uuid *machine, const struct vr_point_id *p,
                    enum store_pin pin, bool on, struct vr_err *err);
/* store_point_written() - an orphan point's disks were last written at about @when; what is known
 * already stays, and of other points nothing is noted: they show an instant. Durable. Errors: of
 * the database. */
int store_point_written(struct store *st, const struct vr_uuid *machine,
                        const struct vr_point_id *p, struct wall_us when, struct vr_err *err);
/* store_point_discard() - give an orphan point up, listed or not; its layers go with the next
 * merges, those on which nothing stands at once. No layer that a machine or another point reads is
 * touched. Durable.
 * Errors: VR_E_NOTFOUND; VR_E_STATE no orphan, the newest point (what follows stands on it), or the
 * one that was failed over to; VR_E_BUSY pinned or being read. */
int store_point_discard(struct store *st, const struct vr_uuid *machine,
                        const struct vr_point_id *p, struct vr_err *err);
/* store_point_image() - path of the top layer of a disk of a point, listed or not (read-only use!),
 * and, unless @ret_format is NULL, its format; caller frees both. */
int store_point_image(struct store *st, const struct vr_uuid *machine, const struct vr_point_id *p,
                      const char *target, char **ret, char **ret_format, struct vr_err *err);
/* store_point_beside() - make (or make anew) @path: an empty qcow2 overlay over the disk @target of
 * a pinned point, for a machine that runs beside the chain. It is the caller's: the chain does not
 * know it. Errors: VR_E_NOTFOUND, VR_E_STATE when the point is not pinned, VR_E_NOSPACE, VR_E_IO.
 */
int store_point_beside(struct store *st, const struct vr_uuid *machine, const struct vr_point_id *p,
                       const char *target, const char *path, struct vr_err *err);

/* ---- stage: a point being received ---- */
struct store_stage_disk {
    char target[VR_TARGET_MAX];
    uint64_t size;
    char *image;           /* layer to write */
    bool raw;              /* its format is raw; else qcow2 */
    char *digests;         /* its digest table */
    bool fresh;            /* nothing below it */
    char **parent_digests; /* digest tables below it, newest first */
    size_t n_parent_digests;
    bool parents_complete; /* these tables together know every non-hole block of the parent */
    struct extents wanted; /* bytes that are wrong below: the sender shall ship them whatever it
                              thinks (proof.h) */
};
struct store_stage {
    struct vr_uuid machine;
    struct vr_point_id parent; /* epoch 0 and zero lineage: none */
    struct vr_point_id point;
    size_t n_disks;
    struct store_stage_disk *disks;
};
/* store_stage_open() - begin or go on with the stage over @parent (which must be the newest point,
 * or zero when there is none): layers are created with qemu-img, or those of an earlier unfinished
 * stage over the same parent are used again, whatever epoch they were for (their digest tables say
 * what is durable). A stage over another parent, or of other disks, is discarded first. Disk sizes
 * may have grown. @disks need not be those of @parent: a disk that it lacks is fresh, and one that
 * is not named is not part of the new point; earlier points keep theirs.
 * Errors: VR_E_STATE when @parent is not the newest point, VR_E_NOSPACE, VR_E_IO. */
int store_stage_open(struct store *st, const struct vr_uuid *machine,
                     const struct vr_point_id *parent, const struct vr_point_id *point,
                     const struct store_disk *disks, size_t n_disks, struct store_stage **ret,
                     struct vr_err *err);
/* store_stage_commit() - make it a recovery point: files, folder, row, in this order. The images
 * must be closed. After it returns the point survives any crash. A layer that holds no block makes
 * no new file: the point shares its parent's layers. Frees @sg on success. */
int store_stage_commit(struct store *st, struct store_stage *sg, struct wall_us instant,
                       enum vr_point_kind kind, struct vr_err *err);
/* store_stage_free() - close without committing; what is durable is kept for the next try. */
void store_stage_free(struct store_stage *sg);
/* store_stage_discard() - delete a stage that will not be continued, if there is one. */
int store_stage_discard(struct store *st, const struct vr_uuid *machine, struct vr_err *err);

/* ---- failover ---- */
/* store_failover_paths() - where the replica machine's disks will be on failover: stable for a
 * chain, @ret one path per disk in the chain's order; the files do not exist unless failed over. */
int store_failover_path(struct store *st, const struct vr_uuid *machine, const char *target,
                        char **ret, struct vr_err *err);
/* store_failover_prepare() - make the writable overlays on @point, each with an enabled persistent
 * bitmap @bitmap, durably. A half-made set from a crash is replaced; a complete set on the same
 * point with the same bitmap is success (idempotent). The overlays become part of the chain. */
int store_failover_prepare(struct store *st, const struct vr_uuid *machine,
                           const struct vr_point_id *point, const char *bitmap, struct vr_err *err);
/* store_failover_drop() - cancel: delete the overlays. Idempotent.
 * store_failover_is_dropped() - there is a replica's chain, and nothing of a failover. */
int store_failover_drop(struct store *st, const struct vr_uuid *machine, struct vr_err *err);
bool store_failover_is_dropped(struct store *st, const struct vr_uuid *machine);
/* store_failover_become_base() - the failed-over machine becomes a primary: the chain stays on disk
 * as the machine's own (backing files of its running disks), points are no longer listed. */
int store_failover_become_base(struct store *st, const struct vr_uuid *machine, struct vr_err *err);
/* store_failover_return() - the reverse of the above: the machine (off) becomes a replica again
 * and what its disks hold is @first: the overlays become the newest layers of the chain and the one
 * listed point. For a machine that never was a replica use store_chain_create() with bases. */
int store_failover_return(struct store *st, const struct vr_uuid *machine,
                          const struct vr_point_id *first, struct wall_us instant,
                          enum vr_point_kind kind, struct vr_err *err);
/* store_failover_unreturn() - undo store_failover_return(), or store_chain_create() with bases,
 * that made @first: the machine is a primary on its own disks as before, and points below that are
 * kept stay, not listed. Nothing to do when @first is not the newest point. */
int store_failover_unreturn(struct store *st, const struct vr_uuid *machine,
                            const struct vr_point_id *first, struct vr_err *err);
/* store_points_kept() - how many points of the machine's chain somebody may want back after a
 * change of role: orphans and those that a user has pinned, listed or not. (One that only a test
 * machine reads outlives it too, as long as the test does.) */
int store_points_kept(struct store *st, const struct vr_uuid *machine, size_t *ret,
                      struct vr_err *err);
/* store_failover_changed() - add to @ret what the overlay of @target holds: every block written
 * since the failover, from the image's own tables (F of a reverse when the bitmap is lost). The
 * machine is off, or was flushed (hv_flush()) after the instant in question: what it allocates
 * meanwhile may be in @ret or not. Errors: VR_E_NOTFOUND, VR_E_CORRUPT, VR_E_IO. Any worker. */
int store_failover_changed(struct store *st, const struct vr_uuid *machine, const char *target,
                           struct extents *ret, struct vr_err *err);
/* store_failover_known() - what is known, without reading it, of the disk @target of a machine that
 * was failed over, outside of what store_failover_changed() tells: the digest tables of the layers
 * below, newest first. Valid while the machine is failed over or a primary. Any worker.
 * store_known_done() - free what is inside. Errors: VR_E_NOTFOUND, VR_E_STORE, VR_E_STATE somebody
 * has put the overlay on another image. */
struct store_known {
    char **digests; /* paths */
    size_t n_digests;
    bool complete;        /* blocks that no table names are zeros; else nothing is known of them */
    struct extents wrong; /* bytes of which the tables may not tell the truth */
};
int store_failover_known(struct store *st, const struct vr_uuid *machine, const char *target,
                         struct store_known *ret, struct vr_err *err);
void store_known_done(struct store_known *k);
/* store_failover_forget_newer() - a primary that was failed over needs O no longer: delete the
 * points after the one failed over to. store_failover_return() does the same. Idempotent. */
int store_failover_forget_newer(struct store *st, const struct vr_uuid *machine,
                                struct vr_err *err);

/* ---- what changed between points (O of a reverse) ---- */
/* store_changed() - ranges of @target that differ or may differ between points @from and @to
 * (@from older), from the layers' digest tables, also of layers merged meanwhile while @from is
 * listed. Errors: VR_E_NOTFOUND when @from was pruned. Any worker. */
int store_changed(struct store *st, const struct vr_uuid *machine, const char *target,
                  const struct vr_point_id *from, const struct vr_point_id *to, struct extents *ret,
                  struct vr_err *err);

/* ---- retention ---- */
struct store_retention {
    uint32_t every_s;    /* every point that is not older, */
    uint32_t every_max;  /* but of these at most about so many: the newer half whole, the older half
                            spread evenly; 0: no limit */
    uint32_t interval_s; /* between points: when one is thinned out; 0: not known, not told */
    uint32_t hourly, daily, weekly; /* one of each of so many past hours, days, weeks (UTC; weeks
                                       begin on Monday) that have points */
    uint32_t least;                 /* never fewer points in all (at least 1) */
    uint32_t orphan_s; /* orphan points that are not older; 0: until they are discarded */
    bool app; /* application-consistent points are being made: the newest one stays in any case */
};
/* Why a point is kept. */
enum store_why {
    STORE_WHY_NEWEST = 1,
    STORE_WHY_APP = 2,
    STORE_WHY_PINNED = 4,
    STORE_WHY_EVERY = 8,
    STORE_WHY_HOURLY = 16,
    STORE_WHY_DAILY = 32,
    STORE_WHY_WEEKLY = 64,
    STORE_WHY_LEAST = 128,
    STORE_WHY_ORPHAN = 512,     /* what an old primary had written and nobody received */
    STORE_WHY_QUARANTINE = 256, /* wrong blocks were found, and nobody has acknowledged */
};
/* store_retention_apply() - the rule of retention (docs/store.md section 5): fill in why and goes
 * of
 * @n points @p of one machine, oldest first. No clock is read: age counts back from the newest
 * point, so nothing goes while nothing comes, and a clock that is set makes no point older than it
 * is. Pure, any thread. */
void store_retention_apply(struct store_point *p, size_t n, const struct store_retention *r);
/* store_merge_prepare() - give up the points that @r does not keep and choose one merge: a layer
 * that no point needs any more takes in the one above it. *ret NULL: nothing to do. Call again
 * after each merge. Store thread. VR_E_BUSY while another merge of the machine is under way.
 * store_merge_run() - copy; any worker, long. May run while a stage is open. A failover, a pin or a
 *   verification stops it (VR_E_CANCELLED), it is chosen again later.
 * store_merge_finish() - store thread; ALWAYS called after a prepare that returned one, also when
 *   run() failed (then nothing has happened); frees it. NULL is fine.
 * The newest point, pinned points and a machine that is failed over are never touched; whatever
 * interrupts it, no listed point changes. */
struct store_merge;
int store_merge_prepare(struct store *st, const struct vr_uuid *machine,
                        const struct store_retention *r,
                        struct store_merge **ret /* NULL: nothing to do */, struct vr_err *err);
int store_merge_run(struct store_merge *m, struct vr_err *err);
int store_merge_finish(struct store *st, struct store_merge *m, struct vr_err *err);

/* store_interrupt() - the daemon stops: whatever reads or merges in the background ends soon with
 * VR_E_CANCELLED; nothing is lost by it. Store thread. */
void store_interrupt(struct store *st);

/* ---- proof ---- */
/* Verifying a point: prepare on the store thread (the point is held: it cannot be given up and its
 * files do not change until the input is freed), run on any worker, save on the store thread, free
 * anywhere. proof.h has more.
 * store_verify_run() - read every block of the point's disks and compare with the digest tables.
 *   *ret_blocks counts blocks that were compared, *ret_bad those that differ or cannot be read;
 * blocks without a known digest are read but not compared. Long. Errors: VR_E_IO, VR_E_CORRUPT,
 *   VR_E_CANCELLED.
 * store_verify_digest() - the point's digest from the tables alone, without reading the images.
 *   VR_E_STATE when they do not know everything: then run() finds it.
 * store_verify_save() - note what was found. Nothing bad: that the point was compared with @how and
 *   the digest that a run() found. Otherwise the damage, and the points that show it are
 * quarantined.
 *   @ret (may be NULL): what was not known before.
 * store_verify_cancel() - a run() on another thread ends soon with VR_E_CANCELLED. Any thread. */
struct store_verify_input;
struct store_noted {
    size_t points;   /* that are quarantined now and were not */
    uint64_t blocks; /* that are known to be wrong now and were not */
    uint64_t wanted; /* of them, that the newest point shows: the sender will be asked for them */
};
int store_verify_prepare(struct store *st, const struct vr_uuid *machine,
                         const struct vr_point_id *p, struct store_verify_input **ret,
                         struct vr_err *err);
int store_verify_run(struct store_verify_input *v, uint64_t *ret_blocks, uint64_t *ret_bad,
                     struct vr_err *err);
int store_verify_digest(struct store_verify_input *v, char out[65], struct vr_err *err);
int store_verify_save(struct store *st, const struct store_verify_input *v,
                      enum store_proof_how how, struct wall_us now, struct store_noted *ret,
                      struct vr_err *err);
void store_verify_cancel(struct store_verify_input *v);
void store_verify_free(struct store_verify_input *v);
VR_DEFINE_CLEANUP(struct store_verify_input, store_verify_free)

/* ---- digest tables of images that were not received ---- */
/* Layers may lack digest tables (adopted bases, overlays that came back): then
 * store_stage_disk.parents_complete and store_known.complete are false. store_index_prepare()
 * (store thread) chooses what to read, *ret NULL when nothing is missing: the newest point's
 * layers, or, of a machine that was failed over, those below its disks. @background: also NULL
 * while somebody reads them for this already; else who does ends. store_index_pace() - read at most
 * so many bytes in a second, 0: as fast as possible. store_index_run() (any worker) reads the
 * images once, until *@cancel (may be NULL) is set: VR_E_CANCELLED, and what was read of a layer
 * that was not read to its end is thrown away; store_index_finish() (store thread) is always
 * called, also when run() failed, and frees. */
struct store_index;
int store_index_prepare(struct store *st, const struct vr_uuid *machine, bool background,
                        struct store_index **ret, struct vr_err *err);
void store_index_pace(struct store_index *ix, uint64_t bytes_per_second);
int store_index_run(struct store_index *ix, const atomic_bool *cancel, struct vr_err *err);
int store_index_finish(struct store *st, struct store_index *ix, struct vr_err *err);

#endif
