/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Recovery points that are open for reading, as a client sees them. */
#include "cim/providers/testways.h"

#include <string.h>

#include "base/alloc.h"

#define EXPORT_PATH "Vmr_PointExport.InstanceID=\"" EXPORT_ID "\""

static int begin(void **st)
{
    int rc = world_new(st);

    with_exports(*st);
    return rc;
}

static void opened_and_closed(void **st)
{
    struct world *w = *st;

    make_replica(w);
    done(w, CALL(w, STATUS_PATH(WEB), "ExportPoint"));
    assert_string_equal(txt(w, EXPORT_PATH, "MachineName"), "web");
    assert_string_equal(txt(w, EXPORT_PATH, "URIs"),
                        "nbd+unix:///?socket=/run/vmreplica/export/11111111/vda.sock");
    assert_non_null(strstr(txt(w, STATUS_PATH(WEB), "Explanation"), "Open for reading"));
    /* It is in nobody's way but that of a removal, in whatever role this host is. */
    assert_int_equal(SVC(w, WEB, "RemoveReplicationRelationship"), 32775);
    assert_non_null(strstr(refusal(w), "--close"));
    done(w, SVC(w, WEB, "InitiateFailover"));
    done(w, SVC(w, WEB, "CommitFailover"));
    assert_int_equal(SVC(w, WEB, "RemoveReplicationRelationship"), 32775);
    done(w, CALL(w, EXPORT_PATH, "Close"));
    assert_int_equal(w->n_opened, 0);
    done(w, SVC(w, WEB, "RemoveReplicationRelationship"));
}

static void refusals(void **st)
{
    struct world *w = *st;

    assert_int_equal(CALL(w, STATUS_PATH(WEB), "ExportPoint"), 32775); /* not replicated */
    make_replica(w);
    assert_int_equal(CALL(w, STATUS_PATH(WEB), "ExportPoint", { "PointId", "nonsense" }), 32773);
    w->who.role = CIM_ROLE_READER;
    assert_int_equal(CALL(w, STATUS_PATH(WEB), "ExportPoint"), 32769);
}

/* What a primary keeps below its disks is read by its name, and is nothing to fail over to. */
static void kept_below_a_primary(void **st)
{
    struct world *w = *st;
    char id[96], path[160], lineage[VR_UUID_STR];

    make_replicating(w);
    assert_null(strstr(txt(w, STATUS_PATH(WEB), "Explanation"), "Below the disks"));
    w->points_of = w->vm[0].uuid;
    w->points[w->n_points++] = (struct store_point){ .id = { vr_uuid_new(), 7 },
                                                     .kind = VR_POINT_STANDARD,
                                                     .pins = STORE_PIN_USER };
    w->points[w->n_points++] =
        (struct store_point){ .id = { vr_uuid_new(), 9 }, .kind = VR_POINT_ORPHAN };
    for (size_t i = 0; i < w->n_points; i++) {
        snprintf(id, sizeof id, "%s:%d", vr_uuid_fmt(&w->points[i].id.lineage, lineage),
                 (int)w->points[i].id.epoch);
        snprintf(path, sizeof path, "Vmr_RecoveryPoint.InstanceID=\"%s\"", id);
        assert_string_equal(txt(w, path, "TakenByFailover"), "false");
    }
    assert_string_equal(txt(w, path, "Kind"), "orphan");
    assert_non_null(strstr(txt(w, STATUS_PATH(WEB), "Explanation"), "Below the disks"));
    assert_int_equal(CALL(w, STATUS_PATH(WEB), "ExportPoint"), 32775); /* it must be named */
    assert_int_equal(SVC(w, WEB, "InitiateFailover"), 32775);
    done(w, CALL(w, STATUS_PATH(WEB), "ExportPoint", { "PointId", id }));
    done(w, CALL(w, EXPORT_PATH, "Close"));
    done(w, CALL(w, path, "Discard"));
    assert_int_equal(w->n_points, 1);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test_setup_teardown(opened_and_closed, begin, world_free),
        cmocka_unit_test_setup_teardown(refusals, begin, world_free),
        cmocka_unit_test_setup_teardown(kept_below_a_primary, begin, world_free),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
