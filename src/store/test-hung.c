/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A storage that does not answer: the point of one machine hangs in the middle of its commit, and
 * another machine, elsewhere, goes on meanwhile. What two threads do to the store at a time. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "store/store_int.h"
#include "store/testdisk.h"

enum { SIZE = 1 << 20 };
static const struct td_disk nothing = { .target = "vda", .size = SIZE };
static const struct td_disk content = { .target = "vda", .size = SIZE, .byte = { 0x5a, 0, 0x17 } };

/* Real files, but for those below @hangs: whoever makes one durable waits. */
struct hanging {
    struct fsops ops;
    char hangs[96];
    atomic_bool on;
    sem_t reached, thaw;
};

static int hang_sync(const struct fsops *fs, const char *path, struct vr_err *err)
{
    struct hanging *h = (struct hanging *)fs;
    if (atomic_load(&h->on) && !strncmp(path, h->hangs, strlen(h->hangs))) {
        TOUCHES_FILES;
        sem_post(&h->reached);
        sem_wait(&h->thaw);
    }
    return fsops_real()->sync_file(fs, path, err);
}

struct machine {
    struct store *st;
    struct vr_uuid id;
    struct vr_point_id point;
    char location[96];
    struct store_stage *stage;
    int rc;
};

static struct vr_err e;

static void stage(struct machine *m)
{
    struct store_disk d = { .target = "vda", .size = SIZE };
    store_enter(m->st);
    assert_int_equal(store_chain_create(m->st, &m->id, m->location, &d, 1, NULL,
                                        (struct wall_us){ 0 }, VR_POINT_NONE, &e),
                     0);
    assert_int_equal(store_stage_open(m->st, &m->id, NULL, &m->point, &d, 1, &m->stage, &e), 0);
    store_leave(m->st);
    td_write(m->stage->disks[0].image, m->stage->disks[0].digests, &nothing, &content);
}

static void *commit(void *arg)
{
    struct machine *m = arg;
    struct vr_err err = VR_ERR_INIT;
    store_enter(m->st);
    m->rc = store_stage_commit(m->st, m->stage, (struct wall_us){ 1 }, VR_POINT_STANDARD, &err);
    store_leave(m->st);
    return NULL;
}

static size_t n_points(struct machine *m)
{
    vr_autofree struct store_point *v = NULL;
    size_t n = 0;
    store_enter(m->st);
    assert_int_equal(store_points(m->st, &m->id, &v, &n, &e), 0);
    store_leave(m->st);
    return n;
}

static bool has_content(struct machine *m)
{
    store_enter(m->st);
    bool same = td_point_same(m->st, &m->id, &m->point, &content, 1);
    store_leave(m->st);
    return same;
}

static void test_others_go_on(void **state)
{
    char dir[] = "/tmp/vmr-hung-XXXXXX";
    struct hanging h = { .ops = *fsops_real() };
    struct store *st = NULL;
    assert_non_null(mkdtemp(dir));
    h.ops.sync_file = hang_sync;
    sem_init(&h.reached, 0, 0);
    sem_init(&h.thaw, 0, 0);
    assert_int_equal(store_open_fs(dir, &h.ops, &st, &e), 0);
    struct machine bad = { .st = st, .id = { { 1 } }, .point = { { { 9 } }, 1 } };
    struct machine good = { .st = st, .id = { { 2 } }, .point = { { { 8 } }, 1 } };
    snprintf(bad.location, sizeof bad.location, "%s/bad", dir);
    snprintf(good.location, sizeof good.location, "%s/good", dir);
    snprintf(h.hangs, sizeof h.hangs, "%s/bad/", dir);
    stage(&bad);
    atomic_store(&h.on, true);
    pthread_t hung;
    assert_int_equal(pthread_create(&hung, NULL, commit, &bad), 0);
    sem_wait(&h.reached);

    /* All of this would wait for ever if the storage kept anybody else waiting. */
    stage(&good);
    commit(&good);
    assert_int_equal(good.rc, 0);
    assert_int_equal(n_points(&good), 1);
    assert_int_equal(n_points(&bad), 0);
    store_enter(st);
    assert_int_equal(store_doc_put(st, "relationship", "x", "y", &e), 0);
    store_leave(st);
    assert_true(has_content(&good));

    atomic_store(&h.on, false);
    sem_post(&h.thaw);
    assert_int_equal(pthread_join(hung, NULL), 0);
    assert_int_equal(bad.rc, 0);
    assert_int_equal(n_points(&bad), 1);
    assert_true(has_content(&bad));
    store_close(st);
    const char *argv[] = { "rm", "-rf", dir, NULL };
    td_run(argv);
}

/* ---- one machine with two points ---- */
struct two {
    char dir[TD_DIR];
    struct machine m;
    struct vr_point_id first;
    atomic_bool entered, over;
    pthread_t other;
};

static void two_setup(struct two *t)
{
    struct store_disk d = { .target = "vda", .size = SIZE };
    td_setup(t->dir, &t->m.st);
    t->m.id = (struct vr_uuid){ { 2 } };
    t->m.point = t->first = (struct vr_point_id){ { { 8 } }, 1 };
    snprintf(t->m.location, sizeof t->m.location, "%s/replicas", t->dir);
    stage(&t->m);
    commit(&t->m);
    assert_int_equal(t->m.rc, 0);
    t->m.point.epoch = 2;
    store_enter(t->m.st);
    assert_int_equal(
        store_stage_open(t->m.st, &t->m.id, &t->first, &t->m.point, &d, 1, &t->m.stage, &e), 0);
    store_leave(t->m.st);
    td_write(t->m.stage->disks[0].image, t->m.stage->disks[0].digests, &content, &nothing);
    commit(&t->m);
    assert_int_equal(t->m.rc, 0);
}

static void *changed(void *arg)
{
    struct two *t = arg;
    struct extents found = { .v = NULL };
    struct vr_err err = VR_ERR_INIT;
    store_enter(t->m.st);
    atomic_store(&t->entered, true);
    t->m.rc = store_changed(t->m.st, &t->m.id, "vda", &t->first, &t->m.point, &found, &err);
    store_leave(t->m.st);
    extents_done(&found);
    atomic_store(&t->over, true);
    return NULL;
}

/* Opening a pipe that nobody writes to waits, as for a storage that does not answer. */
static void test_tables_keep_nobody_waiting(void **state)
{
    struct two t = { .entered = false };
    two_setup(&t);
    vr_auto(db_rows_free) struct db_rows *r =
        db_select(t.m.st->db, &e, "SELECT digests FROM layer WHERE below IS NOT NULL", "");
    assert_int_equal(db_step(r, &e), 1);
    vr_autofree char *table = vr_strdup(db_text(r, 0));
    db_rows_free(vr_take(r));
    assert_int_equal(unlink(table), 0);
    assert_int_equal(mkfifo(table, 0600), 0);
    assert_int_equal(pthread_create(&t.other, NULL, changed, &t), 0);
    while (!atomic_load(&t.entered))
        poll(NULL, 0, 1);
    assert_int_equal(n_points(&t.m), 2);
    assert_false(atomic_load(&t.over));
    while (!atomic_load(&t.over)) {
        vr_autoclose int fd = open(table, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        poll(NULL, 0, 1);
    }
    assert_int_equal(pthread_join(t.other, NULL), 0);
    assert_int_equal(t.m.rc, -1); /* it was no table */
    td_teardown(t.dir, t.m.st);
}

static void *pin_for_export(void *arg)
{
    struct two *t = arg;
    struct vr_err err = VR_ERR_INIT;
    store_enter(t->m.st);
    t->m.rc = store_point_pin(t->m.st, &t->m.id, &t->first, STORE_PIN_EXPORT, true, &err);
    store_leave(t->m.st);
    return NULL;
}

static void pin_for_test(struct two *t, bool on)
{
    store_enter(t->m.st);
    assert_int_equal(store_point_pin(t->m.st, &t->m.id, &t->first, STORE_PIN_USE, on, &e), 0);
    store_leave(t->m.st);
}

/* A test ends while an export of the same point waits for a merge: its pin does not come back. */
static void test_pins_beside_each_other(void **state)
{
    struct two t = { .entered = false };
    two_setup(&t);
    pin_for_test(&t, true);
    struct hold *merge = hold_new(t.m.st, HOLD_MERGE, &t.m.id, 0);
    atomic_store(&merge->running, true);
    assert_int_equal(pthread_create(&t.other, NULL, pin_for_export, &t), 0);
    while (!atomic_load(&merge->cancel))
        poll(NULL, 0, 1);
    pin_for_test(&t, false);
    atomic_store(&merge->running, false);
    assert_int_equal(pthread_join(t.other, NULL), 0);
    assert_int_equal(t.m.rc, 0);
    hold_release(merge);
    vr_autofree struct store_point *v = NULL;
    size_t n = 0;
    assert_int_equal(store_points(t.m.st, &t.m.id, &v, &n, &e), 0);
    assert_int_equal(n, 2);
    assert_int_equal(v[0].pins, STORE_PIN_EXPORT);
    td_teardown(t.dir, t.m.st);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_others_go_on),
                                        cmocka_unit_test(test_tables_keep_nobody_waiting),
                                        cmocka_unit_test(test_pins_beside_each_other) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
