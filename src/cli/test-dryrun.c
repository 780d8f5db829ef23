/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* failover --dry-run names the point that the daemon says it would take, not merely the last one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli/testinst.h"

/* ---- the daemon: its recovery points, oldest first ---- */
static const struct point {
    const char *id, *kind, *quarantine, *taken;
} * points;
static size_t n_points;
static char chosen[64], newer[24]; /* what the dry run told */

int __wrap_wsmc_get(struct wsmc *c, const struct wsmc_ref *ref, struct wsmc_inst **ret,
                    struct vr_err *err);
int __wrap_wsmc_get(struct wsmc *c, const struct wsmc_ref *ref, struct wsmc_inst **ret,
                    struct vr_err *err)
{
    const struct wsmc_arg p[] = { { .name = "State", .value = "replicating" } };
    *ret = made(ref->cls, p, VR_ARRAY_LEN(p));
    return 0;
}

int __wrap_wsmc_query(struct wsmc *c, const char *ns, const char *wql, struct wsmc_list *ret,
                      struct vr_err *err);
int __wrap_wsmc_query(struct wsmc *c, const char *ns, const char *wql, struct wsmc_list *ret,
                      struct vr_err *err)
{
    ret->v = calloc(n_points + 1, sizeof *ret->v);
    for (ret->n = 0; ret->n < n_points; ret->n++) {
        const struct point *at = &points[ret->n];
        const struct wsmc_arg p[] = { { .name = "InstanceID", .value = at->id },
                                      { .name = "Kind", .value = at->kind },
                                      { .name = "Quarantine", .value = at->quarantine },
                                      { .name = "TakenByFailover", .value = at->taken } };
        ret->v[ret->n] = made("Vmr_RecoveryPoint", p, VR_ARRAY_LEN(p));
    }
    return 0;
}

int cli_ask_peer(struct cli *c, const struct cli_vm *vm, struct wsmc_inst **ret, bool *ret_told,
                 struct vr_err *err)
{
    const struct wsmc_arg p[] = { { .name = "PeerMachine", .value = "running" } };
    *ret = made("Vmr_ReplicationStatus", p, VR_ARRAY_LEN(p));
    *ret_told = true;
    return 0;
}

const char *cli_peer_machine(const struct wsmc_inst *st, bool told)
{
    return "running";
}

void cli_json_object(const struct cli_field *f, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(f[i].name, "Point"))
            snprintf(chosen, sizeof chosen, "%s", f[i].value ? f[i].value : "-");
        else if (!strcmp(f[i].name, "NewerPoints"))
            snprintf(newer, sizeof newer, "%s", f[i].value ? f[i].value : "-");
}

bool cli_seconds_of(const char *cim, int64_t *ret)
{
    return false;
}

char *cli_bytes(uint64_t n, char *out)
{
    return out;
}

char *cli_age(uint64_t seconds, char *out)
{
    return out;
}

char *cli_local_time(const char *cim, char *out)
{
    return out;
}

static int dry_run(const struct point *p, size_t n, const char *point, struct vr_err *err)
{
    struct cli c = { .json = true };
    const struct cli_vm vm = { .name = "web", .mode = 2 };
    points = p;
    n_points = n;
    chosen[0] = newer[0] = 0;
    return cli_dry_run(&c, &vm, point, err);
}

/* ---- tests ---- */
static const struct point bad_at_the_end[] = { { "x:1", "standard", "none", "false" },
                                               { "x:2", "standard", "none", "true" },
                                               { "x:3", "standard", "quarantined", "false" },
                                               { "y:1", "orphan", "none", "false" } };

static void names_what_a_failover_takes(void **st)
{
    struct vr_err err = VR_ERR_INIT;
    assert_int_equal(dry_run(bad_at_the_end, 4, NULL, &err), 0);
    assert_string_equal(chosen, "x:2");
    assert_int_equal(dry_run(bad_at_the_end, 4, "x:3", &err), 0); /* that was asked for */
    assert_string_equal(chosen, "x:3");
}

/* Besides what the primary wrote since the newest point, what newer points hold would be lost. */
static void counts_what_is_newer(void **st)
{
    struct vr_err err = VR_ERR_INIT;
    assert_int_equal(dry_run(bad_at_the_end, 4, "x:1", &err), 0);
    assert_string_equal(newer, "2"); /* an orphan is none of the primary's */
    assert_int_equal(dry_run(bad_at_the_end, 4, NULL, &err), 0);
    assert_string_equal(newer, "1");
    assert_int_equal(dry_run(bad_at_the_end, 4, "x:3", &err), 0);
    assert_string_equal(newer, "0");
}

static void says_that_it_would_be_refused(void **st)
{
    struct vr_err err = VR_ERR_INIT;
    assert_int_equal(dry_run(bad_at_the_end + 2, 2, NULL, &err), -1);
    assert_non_null(strstr(err.msg, "would be refused"));
    assert_non_null(strstr(err.msg, "--point"));
    vr_err_clear(&err);
    assert_int_equal(dry_run(bad_at_the_end, 0, NULL, &err), -1);
    assert_non_null(strstr(err.msg, "no recovery point yet"));
}

int main(void)
{
    const struct CMUnitTest all[] = { cmocka_unit_test(names_what_a_failover_takes),
                                      cmocka_unit_test(counts_what_is_newer),
                                      cmocka_unit_test(says_that_it_would_be_refused) };
    return cmocka_run_group_tests(all, NULL, NULL);
}
