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

#include "base/testing.h"
#include "daemon/storage.h"
#include "store/testdisk.h"

enum { WAITING = 12 };
static const struct vr_uuid machine = { { 1 } }, other = { { 2 } };
static struct daemon d = { .cfg.storage_seconds = 3600 };
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

int main(void)
{
    char dir[TD_DIR];
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_in_the_order_they_came) };
    sem_init(&inside, 0, 0);
    sem_init(&go, 0, 0);
    td_setup(dir, &d.store);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    td_teardown(dir, d.store);
    return rc;
}
