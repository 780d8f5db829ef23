/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmreplica disable: what nobody else holds is not given up without the operator's word. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli/testcalls.h"
#include "cli/testinst.h"

/* ---- the daemon ---- */
struct point {
    const char *id, *kind, *pinned;
};

static struct {
    const struct point *points;
    size_t n_points;
    const char *peer_machine; /* of the status; NULL: the other host cannot be asked */
    unsigned state;
    char told[2048]; /* error or messages */
} d;

int __wrap_wsmc_get(struct wsmc *c, const struct wsmc_ref *ref, struct wsmc_inst **ret,
                    struct vr_err *err);
int __wrap_wsmc_get(struct wsmc *c, const struct wsmc_ref *ref, struct wsmc_inst **ret,
                    struct vr_err *err)
{
    const struct wsmc_arg p[] = { { .name = "PeerMachine", .value = d.peer_machine } };
    *ret = made(ref->cls, p, VR_ARRAY_LEN(p));
    return 0;
}

int __wrap_wsmc_query(struct wsmc *c, const char *ns, const char *wql, struct wsmc_list *ret,
                      struct vr_err *err);
int __wrap_wsmc_query(struct wsmc *c, const char *ns, const char *wql, struct wsmc_list *ret,
                      struct vr_err *err)
{
    assert_non_null(strstr(wql, "Vmr_RecoveryPoint"));
    ret->v = calloc(d.n_points + 1, sizeof *ret->v);
    for (ret->n = 0; ret->n < d.n_points; ret->n++) {
        const struct point *pt = &d.points[ret->n];
        const struct wsmc_arg p[] = { { .name = "InstanceID", .value = pt->id },
                                      { .name = "Kind", .value = pt->kind },
                                      { .name = "Pinned", .value = pt->pinned } };
        ret->v[ret->n] = made("Vmr_RecoveryPoint", p, VR_ARRAY_LEN(p));
    }
    return 0;
}

int cli_find_vm(struct wsmc *w, const char *name, struct cli_vm *ret, struct vr_err *err)
{
    *ret = (struct cli_vm){ .mode = 2, .state = d.state, .power = 3, .peer = "hosta" };
    snprintf(ret->name, sizeof ret->name, "%s", name);
    return 0;
}

int cli_own(struct cli *c, const struct cli_vm *vm, const char *method, struct vr_err *err)
{
    note(method);
    return d.peer_machine ? 0 : vr_fail(err, VR_E_AUTH, 0, "not trusted any more");
}

int cli_usage(const char *verb)
{
    return EXIT_USAGE;
}

__attribute__((format(printf, 1, 0))) static void told(const char *fmt, va_list ap)
{
    size_t n = strlen(d.told);
    vsnprintf(d.told + n, sizeof d.told - n, fmt, ap);
}

int cli_fail(const struct vr_err *err)
{
    snprintf(d.told, sizeof d.told, "%s", err->msg);
    return EXIT_FAILED;
}

void cli_say(const struct cli *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    told(fmt, ap);
    va_end(ap);
}

static bool says(const char *words)
{
    return strstr(d.told, words) != NULL;
}

static int disable(const char *option)
{
    char machine[] = "web";
    char *argv[] = { machine, (char *)option };
    struct cli c = { .argv = argv, .argc = option ? 2 : 1 };
    asked[0] = d.told[0] = 0;
    return verb_disable(&c);
}

#define WITH(all)                       \
    do {                                \
        memset(&d, 0, sizeof d);        \
        d.points = all;                 \
        d.n_points = VR_ARRAY_LEN(all); \
        d.peer_machine = "off";         \
        d.state = 3;                    \
    } while (0)

/* ---- tests ---- */
static void orphans_and_pins_need_a_word(void **st)
{
    static const struct point all[] = { { "x:0", "orphan", "false" },
                                        { "x:1", "standard", "false" },
                                        { "x:2", "standard", "true" } };
    WITH(all);
    assert_int_equal(disable(NULL), EXIT_FAILED);
    assert_string_equal(asked, "");
    assert_true(says("the orphan x:0") && says("the pinned x:2") && !says("x:1"));
    assert_true(says("Nothing was changed") && says("--discard") && says("vmreplica export web"));
    assert_int_equal(disable("--discard"), EXIT_OK);
    assert_string_equal(asked, "AskPeer RemoveReplicationRelationship");
    assert_true(says("3 recovery point(s)"));
}

static void others_are_told_of(void **st)
{
    static const struct point all[] = { { "x:1", "standard", "false" },
                                        { "x:2", "application", "false" } };
    WITH(all);
    assert_int_equal(disable(NULL), EXIT_OK);
    assert_string_equal(asked, "AskPeer RemoveReplicationRelationship");
    assert_true(says("2 recovery point(s)") && says("no longer replicated"));
}

/* The old primary would come back and take itself for the primary. */
static void a_failed_over_machine_needs_a_word(void **st)
{
    static const struct point all[] = { { "x:1", "standard", "false" } };
    WITH(all);
    for (d.state = 5; d.state <= 6; d.state++) {
        d.peer_machine = "unreachable";
        assert_int_equal(disable(NULL), EXIT_FAILED);
        assert_string_equal(asked, "AskPeer");
        assert_true(says("hosta") && says("Nothing was changed") && says("--force"));
        assert_int_equal(disable("--force"), EXIT_OK);
        assert_string_equal(asked, "AskPeer RemoveReplicationRelationship");
        assert_true(says("takes itself for the primary"));
        d.peer_machine = "running"; /* it knows */
        assert_int_equal(disable(NULL), EXIT_OK);
    }
    d.state = 3; /* a replica that never ran */
    d.peer_machine = NULL;
    assert_int_equal(disable(NULL), EXIT_OK);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(orphans_and_pins_need_a_word),
        cmocka_unit_test(others_are_told_of),
        cmocka_unit_test(a_failed_over_machine_needs_a_word),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
