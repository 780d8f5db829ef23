/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/slots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static char order[64];

static struct vr_uuid id(char c)
{
    return (struct vr_uuid){ { (uint8_t)c } };
}

static void begin(void *arg)
{
    strcat(order, arg);
}

static void ask(struct slots *s, const char *name, enum slot_class c)
{
    struct vr_uuid u = id(*name);
    slots_ask(s, &u, c, begin, (void *)(uintptr_t)name);
}

static void end(struct slots *s, char name)
{
    struct vr_uuid u = id(name);
    slots_release(s, &u);
}

/* No capture before its transfer can begin; who is urgent goes first, then who came first. */
static void capture_waits_for_a_slot(void **state)
{
    (void)state;
    struct slots *s = slots_new(2, 0);
    order[0] = 0;
    ask(s, "a", SLOT_BULK);
    ask(s, "b", SLOT_CYCLE);
    ask(s, "c", SLOT_BULK);
    ask(s, "d", SLOT_CYCLE);
    ask(s, "e", SLOT_CYCLE);
    ask(s, "f", SLOT_FINAL);
    assert_string_equal(order, "ab");
    struct vr_uuid c = id('c'), a = id('a');
    assert_true(slots_waits(s, &c));
    assert_false(slots_waits(s, &a));
    end(s, 'a');
    assert_string_equal(order, "abf");
    end(s, 'f');
    end(s, 'f'); /* twice is once */
    end(s, 'b');
    assert_string_equal(order, "abfde");
    end(s, 'd');
    assert_string_equal(order, "abfdec");
    slots_free(s);
}

/* Long copies leave room for cycles. */
static void bulk_work_leaves_room(void **state)
{
    (void)state;
    struct slots *s = slots_new(3, 2);
    order[0] = 0;
    ask(s, "a", SLOT_BULK);
    ask(s, "b", SLOT_BULK);
    ask(s, "c", SLOT_BULK);
    assert_string_equal(order, "ab");
    ask(s, "d", SLOT_CYCLE);
    assert_string_equal(order, "abd");
    end(s, 'd');
    assert_string_equal(order, "abd");
    end(s, 'b');
    assert_string_equal(order, "abdc");
    slots_free(s);
}

/* Somebody suspends a machine that waits: it does not wait any longer. */
static void waiting_can_be_given_up(void **state)
{
    (void)state;
    struct slots *s = slots_new(1, 0);
    struct vr_uuid b = id('b'), a = id('a');
    order[0] = 0;
    ask(s, "a", SLOT_CYCLE);
    ask(s, "b", SLOT_CYCLE);
    ask(s, "c", SLOT_CYCLE);
    assert_string_equal(slots_give_up(s, &b), "b");
    assert_null(slots_give_up(s, &b));
    assert_null(slots_give_up(s, &a)); /* it has begun */
    end(s, 'a');
    assert_string_equal(order, "ac");
    slots_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(capture_waits_for_a_slot),
        cmocka_unit_test(bulk_work_leaves_room),
        cmocka_unit_test(waiting_can_be_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
