/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Retention and pins as a client sees them: who may set what on which side, what counts in the end,
 * what recovery points say about themselves. */
#include "cim/providers/testhost.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

#define KEEP_PATH(guid) "Vmr_Retention.InstanceID=\"Microsoft:" guid "\\\\HVR\\\\0\""

static void the_primary_asks(void **st)
{
    struct world *w = *st;

    make_replicating(w);
    assert_int_equal(num(w, KEEP_PATH(WEB), "EverySeconds"), 3600);
    assert_int_equal(num(w, KEEP_PATH(WEB), "Hourly"), 24);
    assert_int_equal(num(w, KEEP_PATH(WEB), "EffectiveHourly"), 24);
    assert_int_equal(CALL(w, KEEP_PATH(WEB), "SetRetention", { "Hourly", "6" }, { "Daily", "7" }),
                     0);
    pump(w);
    assert_int_equal(num(w, KEEP_PATH(WEB), "Hourly"), 6);
    assert_int_equal(num(w, KEEP_PATH(WEB), "Daily"), 7);
    assert_int_equal(num(w, KEEP_PATH(WEB), "EverySeconds"), 3600); /* NULL: as it was */
    /* RecoveryHistory is a number of hourly points: the larger one counts. */
    done(w, SVC(w, WEB, "ModifyReplicationSettings",
                { "ReplicationSettingData", frsd("RecoveryHistory", "12", NULL) }));
    assert_int_equal(num(w, KEEP_PATH(WEB), "Hourly"), 6);
    assert_int_equal(num(w, KEEP_PATH(WEB), "EffectiveHourly"), 12);
    assert_int_equal(CALL(w, KEEP_PATH(WEB), "SetFloor", { "Hourly", "6" }), 32775);
    assert_int_equal(CALL(w, KEEP_PATH(WEB), "SetRetention", { "Hourly", "49" }), 32773);
    assert_non_null(strstr(refusal(w), "48"));
    assert_int_equal(CALL(w, KEEP_PATH(WEB), "SetRetention", { "EverySeconds", "86401" }), 32773);
    w->who.role = CIM_ROLE_OPERATOR;
    assert_int_equal(CALL(w, KEEP_PATH(WEB), "SetRetention", { "Hourly", "1" }), 32769);
    assert_int_equal(num(w, KEEP_PATH(WEB), "Hourly"), 6);
}

static void the_interval_of_consistent_points(void **st)
{
    struct world *w = *st;

    make_replicating(w);
    /* Microsoft's rule holds for our seconds, too. */
    assert_int_equal(
        CALL(w, KEEP_PATH(WEB), "SetRetention", { "ApplicationIntervalSeconds", "60" }), 32773);
    assert_non_null(strstr(refusal(w), "RecoveryHistory"));
    done(w,
         SVC(w, WEB, "ModifyReplicationSettings",
             { "ReplicationSettingData",
               frsd("RecoveryHistory", "4", "ApplicationConsistentSnapshotInterval", "4", NULL) }));
    assert_int_equal(num(w, KEEP_PATH(WEB), "ApplicationIntervalSeconds"), 4 * 3600);
    assert_int_equal(
        CALL(w, KEEP_PATH(WEB), "SetRetention", { "ApplicationIntervalSeconds", "5400" }), 0);
    pump(w);
    assert_int_equal(num(w, FRSD_PATH(WEB, "0"), "ApplicationConsistentSnapshotInterval"), 2);
    /* A client that hands back what it read changes nothing; another number of hours does. */
    done(w, SVC(w, WEB, "ModifyReplicationSettings",
                { "ReplicationSettingData",
                  frsd("ApplicationConsistentSnapshotInterval", "2", NULL) }));
    assert_int_equal(num(w, KEEP_PATH(WEB), "ApplicationIntervalSeconds"), 5400);
    done(w, SVC(w, WEB, "ModifyReplicationSettings",
                { "ReplicationSettingData",
                  frsd("ApplicationConsistentSnapshotInterval", "1", NULL) }));
    assert_int_equal(num(w, KEEP_PATH(WEB), "ApplicationIntervalSeconds"), 3600);
}

static void the_replica_has_a_floor(void **st)
{
    struct world *w = *st;

    w->host.floor = (struct rel_keep){ .daily = 3 };
    make_replica(w);
    assert_int_equal(CALL(w, KEEP_PATH(WEB), "SetRetention", { "Hourly", "1" }), 32775);
    assert_non_null(strstr(refusal(w), "--floor"));
    assert_int_equal(CALL(w, KEEP_PATH(WEB), "SetFloor", { "Hourly", "30" }, { "Daily", "2" }), 0);
    pump(w);
    assert_int_equal(num(w, KEEP_PATH(WEB), "FloorHourly"), 30);
    assert_int_equal(num(w, KEEP_PATH(WEB), "FloorDaily"), 2);
    assert_int_equal(num(w, KEEP_PATH(WEB), "EffectiveHourly"), 30);
    assert_int_equal(num(w, KEEP_PATH(WEB), "EffectiveDaily"), 3); /* the host's */
    assert_int_equal(num(w, KEEP_PATH(WEB), "EffectiveEverySeconds"), 3600);
    assert_int_equal(CALL(w, KEEP_PATH(WEB), "SetFloor", { "Weekly", "27" }), 32773);
    /* Whatever the primary sends now, the floor stays. */
    struct rel_event ev = { .type = EV_PEER_SETTINGS };
    struct vr_uuid web;
    vr_uuid_parse(WEB, &web, NULL);
    ev.set = engine_find(w->engine, &web)->set;
    ev.set.keep = (struct rel_keep){ 0 };
    ev.set.recovery_history = 0;
    snprintf(ev.peer, sizeof ev.peer, "hostb");
    engine_event(w->engine, &web, &ev);
    pump(w);
    assert_int_equal(num(w, KEEP_PATH(WEB), "Hourly"), 0);
    assert_int_equal(num(w, KEEP_PATH(WEB), "EffectiveHourly"), 30);
    assert_int_equal(num(w, KEEP_PATH(WEB), "EffectiveDaily"), 3);
}

static void pins(void **st)
{
    struct world *w = *st;
    char id[128], path[192], lineage[VR_UUID_STR];

    make_replica(w);
    const struct vr_point_id *p = &w->points[0].id;
    snprintf(id, sizeof id, "%s:%llu", vr_uuid_fmt(&p->lineage, lineage),
             (unsigned long long)p->epoch);
    snprintf(path, sizeof path, "Vmr_RecoveryPoint.InstanceID=\"%s\"", id);
    w->points[0].why = STORE_WHY_HOURLY;
    w->points[0].goes.us = 1700000000000000;
    assert_string_equal(txt(w, path, "Pinned"), "false");
    assert_string_equal(txt(w, path, "KeptBecause"), "hourly");
    assert_non_null(strstr(txt(w, path, "GoesAfter"), "20231114"));
    done(w, CALL(w, path, "Pin"));
    assert_string_equal(txt(w, path, "Pinned"), "true");
    assert_string_equal(txt(w, path, "KeptBecause"), "pinned");
    w->who.role = CIM_ROLE_OPERATOR;
    assert_int_equal(CALL(w, path, "Unpin"), 32769);
    w->who.role = CIM_ROLE_ADMIN;
    done(w, CALL(w, path, "Unpin"));
    assert_string_equal(txt(w, path, "Pinned"), "false");
}

/* src:[contract.md A.10, A.5] as Microsoft's tools see an application-consistent point */
static void an_application_consistent_point(void **st)
{
    struct world *w = *st;
    char path[192], id[128], lineage[VR_UUID_STR];

    make_replica(w);
    w->points[0].kind = VR_POINT_APPLICATION;
    const struct vr_point_id *p = &w->points[0].id;
    snprintf(id, sizeof id, "%s:%llu", vr_uuid_fmt(&p->lineage, lineage),
             (unsigned long long)p->epoch);
    snprintf(path, sizeof path, "Vmr_RecoveryPoint.InstanceID=\"%s\"", id);
    assert_string_equal(txt(w, path, "Kind"), "application");
    cim_autolist struct cim_list l = walk(w, VM(WEB), "Msvm_SnapshotOfVirtualSystem", NULL);
    assert_int_equal(l.n, 2);
    bool found = false;
    for (size_t i = 0; i < l.n; i++) {
        const char *type =
            cim_inst_str(l.v[i], CIM_P_MSVM_VIRTUALSYSTEMSETTINGDATA_VIRTUALSYSTEMTYPE);
        found |= !strcmp(type, "Microsoft:Hyper-V:Snapshot:Replica:ApplicationConsistent");
    }
    assert_true(found);
    /* When one is received, the times of the relationship and of the machine tell it. */
    assert_string_equal(txt(w, REL_PATH(WEB, "0"), "LastApplicationConsistentReplicationTime"),
                        "(null)");
    struct rel_event ev = { .type = EV_RX_COMMITTED, .kind = VR_POINT_APPLICATION, .n_disks = 1 };
    struct vr_uuid web;
    vr_uuid_parse(WEB, &web, NULL);
    ev.point = (struct vr_point_id){ .lineage = p->lineage, .epoch = 9 };
    engine_event(w->engine, &web, &ev);
    pump(w);
    assert_string_not_equal(txt(w, REL_PATH(WEB, "0"), "LastApplicationConsistentReplicationTime"),
                            "(null)");
    assert_string_not_equal(txt(w, VM(WEB), "LastApplicationConsistentReplicationTime"), "(null)");
    assert_string_not_equal(txt(w, STATUS_PATH(WEB), "LastApplicationConsistentTime"), "(null)");
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test_setup_teardown(the_primary_asks, world_new, world_free),
        cmocka_unit_test_setup_teardown(the_interval_of_consistent_points, world_new, world_free),
        cmocka_unit_test_setup_teardown(the_replica_has_a_floor, world_new, world_free),
        cmocka_unit_test_setup_teardown(pins, world_new, world_free),
        cmocka_unit_test_setup_teardown(an_application_consistent_point, world_new, world_free),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
