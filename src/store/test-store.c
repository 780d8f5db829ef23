/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests of the database, documents, retention's rule and the reading of qcow2 files. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "store/db.h"
#include "store/qcow2.h"
#include "store/retain.h"
#include "store/testdisk.h"

struct fixture {
    char dir[64];
    struct store *st;
};

static int setup(void **state)
{
    struct fixture *f = vr_new(struct fixture);
    struct vr_err e = VR_ERR_INIT;
    strcpy(f->dir, "/tmp/vmr-store-XXXXXX");
    if (!mkdtemp(f->dir) || store_open(f->dir, &f->st, &e) < 0)
        return -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    store_close(f->st);
    const char *argv[] = { "rm", "-rf", f->dir, NULL };
    td_run(argv);
    free(f);
    return 0;
}

static void reopen(struct fixture *f)
{
    struct vr_err e = VR_ERR_INIT;
    store_close(f->st);
    f->st = NULL;
    assert_int_equal(store_open(f->dir, &f->st, &e), 0);
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
    reopen(f);
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

static void choose(const int *minutes_ago, size_t n, struct store_retention r, char *ret)
{
    struct store_point p[16] = { 0 };
    bool drop[16];
    struct wall_us now = { 1000000 * 60 * minute };
    for (size_t i = 0; i < n; i++)
        p[i].instant.us = now.us - minutes_ago[i] * minute;
    retain_choose(p, n, &r, now, drop);
    for (size_t i = 0; i < n; i++)
        ret[i] = drop[i] ? '-' : 'k';
    ret[n] = 0;
}

static void test_retention(void **state)
{
    char got[17];
    static const int ages[] = { 310, 250, 190, 185, 130, 70, 65, 10, 5, 0 };
    choose(ages, 10, (struct store_retention){ .keep_min = 1 }, got);
    assert_string_equal(got, "---------k");
    choose(ages, 10, (struct store_retention){ 0 }, got);
    assert_string_equal(got, "---------k");
    choose(ages, 10, (struct store_retention){ .keep_seconds = 600, .keep_min = 1 }, got);
    assert_string_equal(got, "-------kkk");
    choose(ages, 10, (struct store_retention){ .keep_seconds = 600, .keep_hourly = 3 }, got);
    assert_string_equal(got, "---kk-kkkk"); /* the newest of three hours */
    choose(ages, 10, (struct store_retention){ .keep_min = 4 }, got);
    assert_string_equal(got, "------kkkk");
    choose(ages, 10, (struct store_retention){ .keep_seconds = 9000, .keep_max = 3 }, got);
    assert_string_equal(got, "-------kkk");
    choose(ages, 10,
           (struct store_retention){ .keep_seconds = 99999, .keep_max = 2, .keep_min = 5 }, got);
    assert_string_equal(got, "-----kkkkk");
    choose(ages, 1, (struct store_retention){ .keep_min = 1 }, got);
    assert_string_equal(got, "k");
}

static void test_retention_pinned(void **state)
{
    struct store_point p[3] = { { .pinned = true } };
    struct store_retention r = { .keep_min = 1, .keep_max = 1 };
    bool drop[3];
    retain_choose(p, 3, &r, (struct wall_us){ 100 * minute }, drop);
    assert_false(drop[0]);
    assert_true(drop[1]);
    assert_false(drop[2]);
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
        T(test_private),
        T(test_newer_is_refused),
        T(test_damage_is_refused),
        T(test_transaction_rolls_back),
        cmocka_unit_test(test_retention),
        cmocka_unit_test(test_retention_pinned),
        T(test_qcow2_facts),
        T(test_qcow2_rubbish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
