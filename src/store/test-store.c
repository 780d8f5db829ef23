/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests of the database, documents, retention's rule and the reading of qcow2 files. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "store/db.h"
#include "store/qcow2.h"
#include "store/store_int.h"
#include "store/testdisk.h"
#include "transfer/digestlog.h"

struct fixture {
    char dir[TD_DIR];
    struct store *st;
};

static int setup(void **state)
{
    struct fixture *f = vr_new(struct fixture);
    td_setup(f->dir, &f->st);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    td_teardown(f->dir, f->st);
    free(f);
    return 0;
}

static int count(void *ctx, const char *id, const char *text, struct vr_err *err)
{
    vr_autofree char *was = *(char **)ctx;
    *(char **)ctx = vr_printf("%s%s=%s;", was ? was : "", id, text);
    return 0;
}

static void test_documents(void **state)
{
    struct fixture *f = *state;
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(store_doc_put(f->st, "rel", "b", "two", &e), 0);
    assert_int_equal(store_doc_put(f->st, "rel", "a", "one", &e), 0);
    assert_int_equal(store_doc_put(f->st, "peer", "a", "other", &e), 0);
    assert_int_equal(store_doc_put(f->st, "rel", "b", "three", &e), 0);
    td_reopen(f->dir, &f->st);
    vr_autofree char *all = NULL, *one = NULL;
    assert_int_equal(store_doc_each(f->st, "rel", count, &all, &e), 0);
    assert_string_equal(all, "a=one;b=three;");
    assert_int_equal(store_doc_get(f->st, "peer", "a", &one, &e), 0);
    assert_string_equal(one, "other");
    assert_int_equal(store_doc_delete(f->st, "rel", "a", &e), 0);
    assert_int_equal(store_doc_delete(f->st, "rel", "a", &e), 0);
    char *none = NULL;
    assert_int_equal(store_doc_get(f->st, "rel", "a", &none, &e), -1);
    assert_int_equal(e.kind, VR_E_NOTFOUND);
    assert_null(none);
}

/* Several are one transaction: the second cannot be written, so the first is not there, either. */
static void test_documents_together(void **state)
{
    struct fixture *f = *state;
    struct vr_err e = VR_ERR_INIT;
    vr_autofree char *all = NULL;
    const struct store_doc bad[] = { { "adapter", "a", "new" }, { "adapter", NULL, "new" } };
    const struct store_doc good[] = { { "adapter", "a", "new" }, { "adapter", "b", NULL } };
    assert_int_equal(store_doc_put(f->st, "adapter", "a", "old", &e), 0);
    assert_int_equal(store_doc_put(f->st, "adapter", "b", "old", &e), 0);
    assert_int_equal(store_docs_write(f->st, bad, 2, &e), -1);
    vr_err_clear(&e);
    td_reopen(f->dir, &f->st);
    assert_int_equal(store_doc_each(f->st, "adapter", count, &all, &e), 0);
    assert_string_equal(all, "a=old;b=old;");
    assert_int_equal(store_docs_write(f->st, good, 2, &e), 0);
    td_reopen(f->dir, &f->st);
    vr_autofree char *now = NULL;
    assert_int_equal(store_doc_each(f->st, "adapter", count, &now, &e), 0);
    assert_string_equal(now, "a=new;");
}

static const struct td_disk lost = { .target = "vda", .size = 1 << 20, .byte = { 0xab } };

/* A first stage of machine 7 in @location; returns the paths of its files. */
static void first_stage(struct fixture *f, const char *location, char **image, char **table)
{
    struct vr_err e = VR_ERR_INIT;
    struct vr_uuid machine = { .b = { 7 } };
    struct vr_point_id point = { .lineage = { .b = { 1 } }, .epoch = 1 };
    struct store_disk d = { .target = "vda", .size = lost.size };
    struct store_stage *stage = NULL;
    assert_int_equal(store_chain_create(f->st, &machine, location, &d, 1, NULL,
                                        (struct wall_us){ 0 }, VR_POINT_NONE, &e),
                     0);
    assert_int_equal(store_stage_open(f->st, &machine, NULL, &point, &d, 1, &stage, &e), 0);
    *image = vr_strdup(stage->disks[0].image);
    *table = vr_strdup(stage->disks[0].digests);
    store_stage_free(stage);
}

/* The folder of replicas outlives the database: what is there is neither emptied nor taken for what
 * has just been received. */
static void test_files_of_a_lost_database(void **state)
{
    struct fixture *f = *state;
    struct vr_err e = VR_ERR_INIT;
    struct td_disk empty = lost;
    vr_autofree char *location = vr_printf("%s/replicas", f->dir);
    vr_autofree char *db = vr_printf("%s/state.db", f->dir);
    vr_autofree char *image = NULL, *table = NULL, *image2 = NULL, *table2 = NULL;
    first_stage(f, location, &image, &table);
    empty.byte[0] = 0;
    td_write(image, table, &empty, &lost);
    store_close(f->st);
    f->st = NULL;
    assert_int_equal(unlink(db), 0);
    assert_int_equal(store_open(f->dir, &f->st, &e), 0);

    first_stage(f, location, &image2, &table2);
    struct digest_record r;
    vr_auto(digestlog_free) struct digestlog *log = NULL;
    assert_int_equal(digestlog_open(table2, lost.size, false, &log, &e), 0);
    assert_int_equal(digestlog_next(log, 0, &r, &e), 0);
    assert_true(td_same(image2, "raw", &empty));
    assert_true(td_same(image, "raw", &lost));
}

/* The location is mounted while the daemon runs, over the folder that was there. */
static void test_files_that_come_later(void **state)
{
    struct fixture *f = *state;
    struct vr_err e = VR_ERR_INIT;
    struct vr_uuid machine = { .b = { 7 } };
    struct td_disk empty = lost;
    vr_autofree char *location = vr_printf("%s/replicas", f->dir);
    vr_autofree char *image = NULL, *table = NULL, *image2 = NULL, *table2 = NULL;
    first_stage(f, location, &image, &table);
    char *number = strstr(image, "/vda."), *end = NULL;
    assert_non_null(number);
    number += strlen("/vda.");
    long next = strtol(number, &end, 10) + 1;
    assert_string_equal(end, ".raw");
    vr_autofree char *later = vr_printf("%.*s%ld.raw", (int)(number - image), image, next);
    const char *copy[] = { "cp", image, later, NULL };
    td_run(copy);
    empty.byte[0] = 0;
    td_write(later, NULL, &empty, &lost);
    assert_int_equal(store_stage_discard(f->st, &machine, &e), 0);
    first_stage(f, location, &image2, &table2);
    assert_string_not_equal(image2, later);
    assert_true(td_same(later, "raw", &lost));
}

/* ---- the trash ---- */

static int stuck_unlink(const struct fsops *fs, const char *path, struct vr_err *err)
{
    if (strstr(path, "/a-read-only/"))
        return vr_fail(err, VR_E_IO, EROFS, "cannot delete %s", path);
    return fsops_real()->unlink(fs, path, err);
}

/* One file that cannot be deleted stays in the trash; the others go, and nobody fails. */
static void test_undeletable_file(void **state)
{
    struct fixture *f = *state;
    struct vr_err e = VR_ERR_INIT;
    struct fsops fs = *fsops_real();
    int64_t left = 0;
    fs.unlink = stuck_unlink;
    store_close(f->st);
    f->st = NULL;
    assert_int_equal(store_open_fs(f->dir, &fs, &f->st, &e), 0);
    static const char *const folders[] = { "a-read-only", "b" };
    for (size_t i = 0; i < 2; i++) {
        vr_autofree char *folder = vr_printf("%s/%s", f->dir, folders[i]);
        vr_autofree char *path = vr_printf("%s/vda.1.qcow2", folder);
        assert_int_equal(mkdir(folder, 0700), 0);
        vr_autoclose int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(trash_add(f->st, path, TRASH_DELETE, &e), 0);
    }
    assert_int_equal(trash_empty(f->st, NULL, false, false, &e), 0);
    vr_autofree char *other = vr_printf("%s/b/vda.1.qcow2", f->dir);
    assert_int_equal(access(other, F_OK), -1);
    assert_int_equal(db_one_int(f->st->db, &left, &e, "SELECT count(*) FROM trash", ""), 1);
    assert_int_equal(left, 1);
    td_reopen(f->dir, &f->st); /* it can be deleted now */
    assert_int_equal(db_one_int(f->st->db, &left, &e, "SELECT count(*) FROM trash", ""), 1);
    assert_int_equal(left, 0);
}

static void test_private(void **state)
{
    struct fixture *f = *state;
    vr_autofree char *path = vr_printf("%s/state.db", f->dir);
    struct stat sb;
    assert_int_equal(stat(path, &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0600);
}

static void test_newer_is_refused(void **state)
{
    struct fixture *f = *state;
    struct vr_err e = VR_ERR_INIT;
    vr_autofree char *path = vr_printf("%s/state.db", f->dir);
    struct db *db = NULL;
    store_close(f->st);
    f->st = NULL;
    assert_int_equal(db_open(path, false, &db, &e), 0);
    assert_int_equal(db_run(db, &e, "PRAGMA user_version=99", ""), 0);
    db_close(db);
    assert_int_equal(store_open(f->dir, &f->st, &e), -1);
    assert_int_equal(e.kind, VR_E_STORE);
    assert_non_null(strstr(e.msg, "99"));
}

/* What an older version wrote is brought up to date, and every point is still there. */
static void test_older_is_brought_up(void **state)
{
    struct fixture *f = *state;
    struct vr_err e = VR_ERR_INIT;
    vr_autofree char *path = vr_printf("%s/state.db", f->dir);
    struct vr_uuid m = vr_uuid_new();
    struct db *db = NULL;
    store_close(f->st);
    f->st = NULL;
    assert_int_equal(db_open(path, false, &db, &e), 0);
    static const char *const back[] = { "ALTER TABLE point DROP COLUMN written",
                                        "ALTER TABLE point DROP COLUMN steady",
                                        "ALTER TABLE point DROP COLUMN moment",
                                        "ALTER TABLE point DROP COLUMN ours",
                                        "DROP TABLE proof",
                                        "DROP TABLE damage",
                                        "DROP TABLE repair",
                                        "PRAGMA user_version=1" };
    assert_int_equal(db_run(db, &e, "INSERT INTO chain VALUES(?,'/x','',0,0,NULL,NULL)", "u", &m),
                     0);
    for (size_t i = 0; i < VR_ARRAY_LEN(back); i++)
        assert_int_equal(db_run(db, &e, back[i], ""), 0);
    assert_int_equal(db_run(db, &e,
                            "INSERT INTO point(machine, lineage, epoch, instant, received, kind,"
                            " bytes, digest, pinned, listed) VALUES(?,?,1,77,88,?,0,'',0,1)",
                            "uui", &m, &m, (int64_t)VR_POINT_ORPHAN),
                     0);
    db_close(db);
    if (store_open(f->dir, &f->st, &e) < 0)
        fail_msg("%s", e.msg);
    vr_autofree struct store_point *p = NULL;
    size_t n = 0;
    assert_int_equal(store_points(f->st, &m, &p, &n, &e), 0);
    assert_int_equal(n, 1);
    assert_int_equal(p[0].moment.us, 77);
    assert_int_equal(p[0].written.us, 0); /* nobody knew */
}

static void test_damage_is_refused(void **state)
{
    struct fixture *f = *state;
    struct vr_err e = VR_ERR_INIT;
    vr_autofree char *path = vr_printf("%s/state.db", f->dir);
    store_close(f->st);
    f->st = NULL;
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    char rubbish[2048];
    memset(rubbish, 0x5a, sizeof rubbish);
    assert_int_equal(pwrite(fd, rubbish, sizeof rubbish, 0), sizeof rubbish);
    close(fd);
    assert_int_equal(store_open(f->dir, &f->st, &e), -1);
    assert_int_equal(e.kind, VR_E_STORE);
}

static void test_transaction_rolls_back(void **state)
{
    struct vr_err e = VR_ERR_INIT;
    struct fixture *f = *state;
    vr_autofree char *path = vr_printf("%s/other.db", f->dir);
    vr_auto(db_close) struct db *db = NULL, *reader = NULL;
    int64_t n = 0;
    assert_int_equal(db_open(path, false, &db, &e), 0);
    assert_int_equal(db_begin(db, &e), 0);
    assert_int_equal(db_run(db, &e, "INSERT INTO doc VALUES(?,?,?)", "sss", "k", "i", "t"), 0);
    /* A second handle sees only what was committed. */
    assert_int_equal(db_open(path, true, &reader, &e), 0);
    assert_int_equal(db_one_int(reader, &n, &e, "SELECT count(*) FROM doc", ""), 1);
    assert_int_equal(n, 0);
    db_rollback(db);
    assert_int_equal(db_one_int(db, &n, &e, "SELECT count(*) FROM doc", ""), 1);
    assert_int_equal(n, 0);
    assert_int_equal(db_run(reader, &e, "DELETE FROM doc", ""), -1);
    assert_int_equal(e.kind, VR_E_DENIED);
}

/* ---- retention ---- */

static const int64_t minute = 60 * 1000000LL;
/* Monday, 2024-01-01 00:00 UTC */
static const int64_t monday = 1704067200 * 1000000LL;

/* Points at these moments (minutes after @from) by both clocks: 'k' kept, '-' given up. */
static void choose(int64_t from, const int *at, size_t n, struct store_retention r, char *ret)
{
    struct store_point p[16] = { 0 };
    for (size_t i = 0; i < n; i++)
        p[i].moment.us = from + at[i] * minute;
    store_retention_apply(p, n, &r);
    for (size_t i = 0; i < n; i++)
        ret[i] = p[i].why ? 'k' : '-';
    ret[n] = 0;
}

#define CHOOSE(from, ...) \
    choose(from, at, VR_ARRAY_LEN(at), (struct store_retention){ __VA_ARGS__ }, got)

static void test_retention(void **state)
{
    char got[17];
    /*                        9:50 10:50 11:50 11:55 12:50 13:50 13:55 14:50 14:55 14:59 */
    static const int at[] = { 590, 650, 710, 715, 770, 830, 835, 890, 895, 899 };
    CHOOSE(monday, .least = 1);
    assert_string_equal(got, "---------k");
    CHOOSE(monday, .least = 0);
    assert_string_equal(got, "---------k");
    CHOOSE(monday, .every_s = 540);
    assert_string_equal(got, "-------kkk");
    CHOOSE(monday, .every_s = 539);
    assert_string_equal(got, "--------kk");
    /* The newest of each of the hours before the one that the newest point lies in. */
    CHOOSE(monday, .hourly = 1);
    assert_string_equal(got, "------k--k");
    CHOOSE(monday, .hourly = 3);
    assert_string_equal(got, "---kk-k--k");
    CHOOSE(monday, .hourly = 24);
    assert_string_equal(got, "kk-kk-k--k");
    CHOOSE(monday, .every_s = 540, .hourly = 2);
    assert_string_equal(got, "----k-kkkk");
    CHOOSE(monday, .daily = 7);
    assert_string_equal(got, "---------k");
    CHOOSE(monday, .least = 4);
    assert_string_equal(got, "------kkkk");
    CHOOSE(monday, .least = 100);
    assert_string_equal(got, "kkkkkkkkkk");
}

static void test_retention_days_and_weeks(void **state)
{
    enum { DAY = 1440 };
    char got[17];
    /*                        Fri       Sat            Sun       Mon   Mon   Tue     next Mon */
    static const int at[] = { -3 * DAY, -2 * DAY + 60, -1, 0, 700, DAY + 5, 7 * DAY };
    CHOOSE(monday, .daily = 2);
    assert_string_equal(got, "----kkk");
    CHOOSE(monday, .daily = 7);
    assert_string_equal(got, "kkk-kkk");
    CHOOSE(monday, .weekly = 1);
    assert_string_equal(got, "-----kk");
    CHOOSE(monday, .weekly = 4);
    assert_string_equal(got, "--k--kk"); /* Sunday 23:59 ends a week */
    /* Before 1970 a week begins on Monday, too. */
    choose(monday - 2840ll * 7 * DAY * minute, at, 7, (struct store_retention){ .weekly = 4 }, got);
    assert_string_equal(got, "--k--kk");
}

/* Nothing but the points counts: a replica that has been away for a month gives nothing up. */
static void test_retention_waits_for_points(void **state)
{
    struct store_point p[3] = { 0 };
    for (int i = 0; i < 3; i++)
        p[i].moment.us = monday + i * 10 * minute;
    store_retention_apply(p, 3, &(struct store_retention){ .every_s = 3600 });
    for (int i = 0; i < 3; i++)
        assert_int_equal(p[i].why & STORE_WHY_EVERY, STORE_WHY_EVERY);
    assert_int_equal(p[0].goes.us, monday + 60 * minute);
}

static void test_retention_kinds(void **state)
{
    struct store_point p[6] = { 0 };
    static const int at[] = { 0, 20, 40, 70, 75, 80 };
    struct store_retention r = { .hourly = 4 };
    for (int i = 0; i < 6; i++) {
        p[i].moment.us = monday + at[i] * minute;
        p[i].kind = VR_POINT_STANDARD;
    }
    p[1].kind = p[3].kind = VR_POINT_APPLICATION;
    store_retention_apply(p, 6, &r);
    /* Of an hour the application-consistent one; also in the hour that is not over. */
    static const unsigned want[] = {
        0, STORE_WHY_HOURLY, 0, STORE_WHY_HOURLY, 0, STORE_WHY_NEWEST
    };
    for (int i = 0; i < 6; i++)
        assert_int_equal(p[i].why, want[i]);
    assert_int_equal(p[1].goes.us, monday + 5 * 60 * minute);
    r = (struct store_retention){ .app = true };
    store_retention_apply(p, 6, &r);
    for (int i = 0; i < 6; i++)
        assert_int_equal(p[i].why, i == 3 ? STORE_WHY_APP : i == 5 ? STORE_WHY_NEWEST : 0);
    assert_int_equal(p[3].goes.us, 0);
}

/* A point with wrong blocks neither stands for its hour nor pushes the last good one out. */
static void test_retention_quarantined(void **state)
{
    struct store_point p[5] = { 0 };
    static const int at[] = { 0, 20, 40, 70, 80 };
    struct store_retention r = { .hourly = 4 };
    for (int i = 0; i < 5; i++)
        p[i].moment.us = monday + at[i] * minute;
    p[1].kind = VR_POINT_APPLICATION;
    p[1].proof.quarantine = p[2].proof.quarantine = p[4].proof.quarantine = STORE_QUARANTINED;
    for (int i = 0; i < 5; i++)
        p[i].proof.acknowledged = true;
    store_retention_apply(p, 5, &r);
    static const unsigned want[] = { STORE_WHY_HOURLY, 0, 0, STORE_WHY_NEWEST, STORE_WHY_NEWEST };
    for (int i = 0; i < 5; i++)
        assert_int_equal(p[i].why, want[i]);
    p[2].proof.acknowledged = false; /* somebody shall see it first */
    store_retention_apply(p, 5, &r);
    assert_int_equal(p[2].why, STORE_WHY_QUARANTINE);
}

static void test_retention_pinned(void **state)
{
    struct store_point p[4] = { { .pins = STORE_PIN_USER }, { .pins = STORE_PIN_USE } };
    store_retention_apply(p, 4, &(struct store_retention){ .least = 1 });
    assert_int_equal(p[0].why, STORE_WHY_PINNED);
    assert_int_equal(p[1].why, STORE_WHY_PINNED);
    assert_int_equal(p[2].why, 0);
    assert_int_equal(p[3].why, STORE_WHY_NEWEST);
    store_retention_apply(p, 0, &(struct store_retention){ .least = 1 });
}

/* A life: every @step seconds a point, what retention drops is gone. The clocks of primary and
 * replica are off by what jump() says. Returns how many points there are at the end. */
enum { LIFE_MAX = 512 };
struct life {
    struct store_point p[LIFE_MAX];
    size_t n;
    struct retain_time last;
};

static void live(struct life *l, int from, int seconds, int step, int64_t (*theirs)(int s),
                 int64_t (*ours)(int s), struct store_retention r)
{
    for (int s = from; s <= seconds; s += step) {
        assert_true(l->n < LIFE_MAX);
        struct retain_time t = {
            .instant = monday + (s + (theirs ? theirs(s) : 0)) * 1000000ll,
            .received = monday + (s + 2 + (ours ? ours(s) : 0)) * 1000000ll,
        };
        int64_t told[LIFE_MAX];
        for (size_t i = 0; i < l->n; i++)
            told[i] = l->p[i].goes.us;
        retain_place(s ? &l->last : NULL, &t);
        l->last = t;
        l->p[l->n++] = (struct store_point){ .id.epoch = (uint64_t)s, .moment = { t.moment } };
        store_retention_apply(l->p, l->n, &r);
        size_t kept = 0;
        for (size_t i = 0; i < l->n; i++) {
            if (l->p[i].why)
                l->p[kept++] = l->p[i];
            else if (r.interval_s) /* none goes before it was said to go */
                assert_true(told[i] <= t.moment);
        }
        l->n = kept;
    }
}

/* Is there a point at most @apart seconds away from each of the moments @from, @from - @every, ...
 * (@count of them; seconds of true time)? */
static bool reaches(const struct life *l, int64_t from, int64_t every, int count, int64_t apart)
{
    for (int k = 0; k < count; k++) {
        int64_t want = from - k * every, best = INT64_MAX;
        for (size_t i = 0; i < l->n; i++) {
            int64_t off = llabs((int64_t)l->p[i].id.epoch - want);
            best = off < best ? off : best;
        }
        if (best > apart)
            return false;
    }
    return true;
}

static void test_retention_life(void **state)
{
    enum { DAY = 86400 };
    static struct life l;
    /* The default, cycles of 30 s: of the last hour the newest whole, the others a minute or two
     * apart; 24 hours; a week of days. */
    struct store_retention r = { .every_s = 3600, .every_max = 64, .hourly = 24, .daily = 7 };
    l.n = 0;
    live(&l, 0, 10 * DAY + 1800, 30, NULL, NULL, r);
    assert_true(l.n <= 64 + 2 + 24 + 7);
    assert_true(reaches(&l, 10 * DAY + 1800, 30, 32, 0));
    assert_true(reaches(&l, 10 * DAY + 1800, 113, 32, 120));
    assert_true(reaches(&l, 10 * DAY - 1, 3600, 24, 60));
    assert_true(reaches(&l, 10 * DAY - 1, DAY, 7, 60));
    /* When each goes is told as it comes: also of those that are thinned out long before. */
    r.interval_s = 30;
    l.n = 0;
    live(&l, 0, DAY, 30, NULL, NULL, r);
    assert_true(l.p[l.n - 30].goes.us < l.p[l.n - 30].moment.us + 3600 * 1000000ll);
    r.interval_s = 300; /* slow enough for each to stay as long as is asked for */
    l.n = 0;
    live(&l, 0, DAY, 300, NULL, NULL, r);
    assert_true(l.p[l.n - 2].goes.us >= l.p[l.n - 2].moment.us + 3600 * 1000000ll);
    /* The fastest cycles: no more points than before. */
    l.n = 0;
    r.interval_s = 5;
    live(&l, 0, DAY, 5, NULL, NULL, r);
    assert_true(l.n <= 64 + 2 + 24 + 7);
    assert_true(reaches(&l, DAY, 113, 32, 120));
    assert_true(reaches(&l, DAY - 1, 3600, 24, 10));
}

static int64_t year_ahead(int s)
{
    return s < 36000 ? 0 : 365 * 86400;
}

static int64_t day_back(int s)
{
    return s < 36000 ? 0 : -86400;
}

static int64_t there_and_back(int s)
{
    return s >= 36000 && s < 37000 ? 365ll * 86400 : 0;
}

static int64_t to_1970(int s)
{
    return s < 36000 ? 0 : -1704067200;
}

/* Summer time ends in a country whose hosts keep local time. */
static int64_t hour_back(int s)
{
    return s < 36000 ? 0 : -3600;
}

static int64_t runs_a_hundred_times_as_fast(int s)
{
    return s < 36000 ? 0 : 99ll * (s - 36000);
}

/* Whichever clock jumps, what a clock that is right would keep is there: all of the last hour, and
 * a point of each of the last hours (their edges may have moved by the jump). */
static void test_retention_clock_jumps(void **state)
{
    static struct life l;
    int64_t (*const jumps[])(int) = { year_ahead, day_back, there_and_back, to_1970, hour_back };
    struct store_retention r = { .every_s = 3600, .hourly = 12 };
    for (size_t i = 0; i < VR_ARRAY_LEN(jumps); i++)
        for (int who = 0; who < 2; who++)
            for (int after = 0; after < 4; after++) {
                int end = 36000 + after * 2400;
                l.n = 0;
                live(&l, 0, end, 300, who ? NULL : jumps[i], who ? jumps[i] : NULL, r);
                assert_true(reaches(&l, end, 300, 12, 0));
                if (!reaches(&l, end, 3600, 10, 3900)) {
                    printf("jump %zu who %d after %d\n", i, who, after);
                    for (size_t k = 0; k < l.n; k++)
                        printf(" %d", (int)l.p[k].id.epoch);
                    puts("");
                }
                assert_true(reaches(&l, end, 3600, 10, 3900));
            }
}

/* A primary that was taken over claims that years pass, to have the good points given up. */
static void test_retention_lying_primary(void **state)
{
    static struct life l;
    struct store_retention r = { .every_s = 0, .hourly = 24, .daily = 7 };
    l.n = 0;
    live(&l, 0, 10 * 3600, 60, NULL, NULL, r);
    size_t before = l.n;
    live(&l, 10 * 3600 + 5, 12 * 3600, 5, runs_a_hundred_times_as_fast, NULL, r);
    assert_true(reaches(&l, 10 * 3600 - 1, 3600, 9, 60) && l.n >= before);
}

/* ---- qcow2 ---- */

static void test_qcow2_facts(void **state)
{
    struct fixture *f = *state;
    struct vr_err e = VR_ERR_INIT;
    vr_autofree char *img = vr_printf("%s/a.qcow2", f->dir);
    const char *create[] = { "qemu-img", "create", "-q", "-f", "qcow2", img, "3M", NULL };
    const char *one[] = { "qemu-img", "bitmap", "--add", img, "vmr.first", NULL };
    const char *two[] = { "qemu-img", "bitmap", "--add", img, "theirs", NULL };
    const char *write[] = { "qemu-io",        "-f", "qcow2", "-c", "write 1M 64k", "-c",
                            "write -z 2M 1k", img,  NULL };
    td_run(create);
    td_run(one);
    td_run(two);
    td_run(write);
    struct qcow2_info q = { 0 };
    assert_int_equal(qcow2_info(img, &q, &e), 0);
    assert_int_equal(q.size, 3 << 20);
    assert_int_equal(q.cluster_bits, 16);
    assert_int_equal(q.n_bitmaps, 2);
    assert_string_equal(q.bitmaps[0], "vmr.first");
    assert_string_equal(q.bitmaps[1], "theirs");
    qcow2_info_done(&q);
    struct extents x = { 0 };
    assert_int_equal(qcow2_allocated(img, &x, &e), 0);
    assert_int_equal(x.n, 2);
    assert_int_equal(x.v[0].offset, 1 << 20);
    assert_int_equal(x.v[0].length, 65536);
    assert_int_equal(x.v[1].offset, 2 << 20);
    extents_done(&x);
}

/* Whatever bytes a header has, reading it ends with an answer. */
static void test_qcow2_rubbish(void **state)
{
    struct fixture *f = *state;
    vr_autofree char *img = vr_printf("%s/a.qcow2", f->dir);
    const char *create[] = { "qemu-img", "create", "-q", "-f", "qcow2", img, "1M", NULL };
    const char *bitmap[] = { "qemu-img", "bitmap", "--add", img, "vmr.first", NULL };
    td_run(create);
    td_run(bitmap);
    uint8_t whole[4096];
    int fd = open(img, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, whole, sizeof whole, 0), sizeof whole);
    for (int at = 0; at < 320; at++)
        for (int v = 0; v < 3; v++) {
            uint8_t byte = v == 0 ? 0 : v == 1 ? 0xff : (uint8_t)(whole[at] + 1);
            struct vr_err e = VR_ERR_INIT;
            struct qcow2_info q = { 0 };
            struct extents x = { 0 };
            assert_int_equal(pwrite(fd, &byte, 1, at), 1);
            if (qcow2_info(img, &q, &e) == 0)
                qcow2_info_done(&q);
            vr_err_clear(&e);
            (void)qcow2_allocated(img, &x, &e);
            extents_done(&x);
            assert_int_equal(pwrite(fd, whole + at, 1, at), 1);
        }
    close(fd);
}

int main(void)
{
#define T(n) cmocka_unit_test_setup_teardown(n, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_documents),
        T(test_documents_together),
        T(test_files_of_a_lost_database),
        T(test_files_that_come_later),
        T(test_undeletable_file),
        T(test_private),
        T(test_newer_is_refused),
        T(test_older_is_brought_up),
        T(test_damage_is_refused),
        T(test_transaction_rolls_back),
        cmocka_unit_test(test_retention),
        cmocka_unit_test(test_retention_days_and_weeks),
        cmocka_unit_test(test_retention_waits_for_points),
        cmocka_unit_test(test_retention_kinds),
        cmocka_unit_test(test_retention_quarantined),
        cmocka_unit_test(test_retention_life),
        cmocka_unit_test(test_retention_clock_jumps),
        cmocka_unit_test(test_retention_lying_primary),
        cmocka_unit_test(test_retention_pinned),
        T(test_qcow2_facts),
        T(test_qcow2_rubbish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
