/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_CONFORMANCE_RULES_H
#define VR_CONFORMANCE_RULES_H

/* What the tests of the rules and of the checklist share: a world with test machines in it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cim/providers/testways.h"

/* SVC() whose arguments are those of a client (arg_text()). */
#define ASK(w, method, name, text)                  \
    ({                                              \
        vr_autofree char *arg_ = arg_text(w, text); \
        SVC(w, WEB, method, { name, arg_ });        \
    })

static size_t n_of(struct world *w, const char *object, const char *assoc, const char *result)
{
    struct cim_list l = walk(w, object, assoc, result);
    size_t n = l.n;

    cim_list_done(&l);
    return n;
}

/* A new world in the middle of a test. */
static struct world *again(void **st)
{
    world_free(st);
    world_new(st);
    with_tests(*st);
    return *st;
}

static int begin(void **st)
{
    int rc = world_new(st);

    with_tests(*st);
    return rc;
}

/* Whoever else starts the machine meets the guard: tests/system/power.test.sh. */
static void power_on_of_both_sides(void **st)
{
    static void (*const locked[])(struct world *) = { make_prepared,       make_waiting,
                                                      make_replica,        make_replica_paused,
                                                      make_waiting_paused, make_failing_over };
    struct world *w = *st;

    for (size_t i = 0; i < VR_ARRAY_LEN(locked); i++) {
        locked[i](w);
        assert_int_equal(CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", "2" }), 32775);
        w = again(st);
    }
    make_failed_over(w);
    done(w, CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", "2" }));
    assert_int_equal(w->action, HV_START);
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, world_free)

#endif
