/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whoever wants to do something with the files of a machine does it in the order in which they
 * came. */
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/testing.h"
#include "daemon/storage.h"
#include "store/testdisk.h"

enum { WAITING = 12 };
static const struct vr_uuid machine = { { 1 } }, other = { { 2 } };
static struct daemon d = { .cfg.storage_seconds = 3600 };
static char dir[TD_DIR];
static sem_t inside, go;
static int order[WAITING], n_order;

static void hold(void *arg)
{
    (void)arg;
    sem_post(&inside);
    while (sem_wait(&go) < 0)
        ;
}

static void *run_hold(void *arg)
{
    ok(storage_files(&d, &machine, hold, arg, err));
    return NULL;
}

static void in_turn(void *arg)
{
    order[n_order++] = *(int *)arg; /* one at a time */
}

static void *run_in_turn(void *arg)
{
    struct vr_err e = VR_ERR_INIT;
    int i = *(int *)arg;
    int rc = i % 3 ? storage_call(&d, &machine, in_turn, arg, i % 3 == 1 ? &e : NULL)
                   : storage_files(&d, &machine, in_turn, arg, &e);
    assert_int_equal(rc, 0);
    return NULL;
}

static void test_in_the_order_they_came(void **state)
{
    pthread_t first, t[WAITING];
    int number[WAITING];
    (void)state;
    assert_int_equal(pthread_create(&first, NULL, run_hold, NULL), 0);
    sem_wait(&inside);
    for (int i = 0; i < WAITING; i++) {
        number[i] = i;
        assert_int_equal(pthread_create(&t[i], NULL, run_in_turn, &number[i]), 0);
        while (storage_waiting(&machine) != (unsigned)i + 1)
            poll(NULL, 0, 1);
    }
    int alone = 0;
    n_order = 0;
    ok(storage_call(&d, &other, in_turn, &alone, err)); /* another machine does not wait */
    assert_int_equal(n_order, 1);
    n_order = 0;
    sem_post(&go);
    assert_int_equal(pthread_join(first, NULL), 0);
    for (int i = 0; i < WAITING; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
    assert_int_equal(n_order, WAITING);
    for (int i = 0; i < WAITING; i++)
        assert_int_equal(order[i], i);
    assert_int_equal(storage_waiting(&machine), 0);
}

struct refusable {
    _Atomic int refused; /* times in a row */
};

static void nothing(void *arg)
{
    (void)arg;
}

static void *run_refusable(void *arg)
{
    struct refusable *r = arg;
    struct vr_err e = VR_ERR_INIT;
    /* Under load the location itself may seem not to answer once. */
    while (storage_call(&d, &machine, nothing, NULL, &e) < 0 && ++r->refused < 20)
        vr_err_clear(&e);
    return NULL;
}

/* What takes long at a location that answers is waited for. */
static void test_slow_is_not_hung(void **state)
{
    pthread_t first, second;
    struct refusable r = { 0 };
    vr_autofree char *folder = vr_printf("%s/1", dir);
    (void)state;
    d.cfg.storage_seconds = 2;
    storage_learn(&d, &machine, folder);
    assert_int_equal(pthread_create(&first, NULL, run_hold, NULL), 0);
    sem_wait(&inside);
    struct mono_ms since = vr_mono_now();
    while (vr_mono_now().ms - since.ms <= 2100)
        poll(NULL, 0, 10);
    assert_int_equal(pthread_create(&second, NULL, run_refusable, &r), 0);
    while (storage_waiting(&machine) != 1 && r.refused < 20)
        poll(NULL, 0, 1);
    sem_post(&go);
    assert_int_equal(pthread_join(first, NULL), 0);
    assert_int_equal(pthread_join(second, NULL), 0);
    assert_true(r.refused < 20);
    d.cfg.storage_seconds = 3600;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_in_the_order_they_came),
                                        cmocka_unit_test(test_slow_is_not_hung) };
    sem_init(&inside, 0, 0);
    sem_init(&go, 0, 0);
    td_setup(dir, &d.store);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    td_teardown(dir, d.store);
    return rc;
}
