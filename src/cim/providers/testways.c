/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Situations of machine web, test machines and arguments for tests over the fake host. */
#include "cim/providers/testways.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cim/cimxml.h"

/* ---- test machines: one, made at once ---- */
static size_t tests(void *ctx, const struct host_test **ret)
{
    struct world *w = ctx;

    *ret = &w->made;
    return w->n_made;
}

static struct wall_us last_test(void *ctx, const struct vr_uuid *machine)
{
    return (struct wall_us){ ((struct world *)ctx)->n_made ? 1700000000000000 : 0 };
}

static int create(void *ctx, const struct vr_uuid *machine, const struct vr_point_id *point,
                  const struct hv_nic_net *nets, size_t n_nets, const char *owner,
                  struct vr_uuid *ret_job, struct vr_err *err)
{
    struct world *w = ctx;

    w->n_nets = n_nets;
    memcpy(w->nets, nets, n_nets * sizeof *nets);
    *ret_job = engine_job_new(w->engine, JOB_TEST_REPLICA, machine, owner);
    engine_job_end(w->engine, ret_job, NULL);
    w->made = (struct host_test){ .machine = *machine, .job = *ret_job, .ready = true };
    strcpy(w->made.name, "web - Test");
    vr_uuid_parse(TEST_VM, &w->made.uuid, NULL);
    w->made.point = point ? *point : w->points[1].id;
    w->n_made = 1;
    return 0;
}

static int destroy(void *ctx, const struct vr_uuid *test, const char *owner,
                   struct vr_uuid *ret_job, struct vr_err *err)
{
    struct world *w = ctx;

    *ret_job = engine_job_new(w->engine, JOB_DESTROY_TEST, test, owner);
    engine_job_end(w->engine, ret_job, NULL);
    w->n_made = 0;
    return 0;
}

void with_tests(struct world *w)
{
    w->host.tests = tests;
    w->host.last_test = last_test;
    w->host.test_create = create;
    w->host.test_destroy = destroy;
}

/* ---- points that are open for reading: one, opened at once ---- */
static size_t exports(void *ctx, const struct host_export *const **ret)
{
    struct world *w = ctx;

    w->opened_list[0] = &w->opened;
    *ret = w->opened_list;
    return w->n_opened;
}

static int export_open(void *ctx, const struct vr_uuid *machine, const struct vr_point_id *point,
                       const char *owner, struct vr_uuid *ret_id, struct vr_uuid *ret_job,
                       struct vr_err *err)
{
    struct world *w = ctx;

    *ret_job = engine_job_new(w->engine, JOB_EXPORT, machine, owner);
    engine_job_end(w->engine, ret_job, NULL);
    w->opened = (struct host_export){ .machine = *machine, .ready = true, .n_disks = 1 };
    vr_uuid_parse(EXPORT_ID, &w->opened.id, NULL);
    w->opened.point = point ? *point : w->points[1].id;
    strcpy(w->opened.folder, "/run/vmreplica/export/11111111");
    strcpy(w->opened.target[0], "vda");
    w->n_opened = 1;
    *ret_id = w->opened.id;
    return 0;
}

static int export_close(void *ctx, const struct vr_uuid *id, const char *owner,
                        struct vr_uuid *ret_job, struct vr_err *err)
{
    struct world *w = ctx;

    *ret_job = engine_job_new(w->engine, JOB_END_EXPORT, &w->opened.machine, owner);
    engine_job_end(w->engine, ret_job, NULL);
    w->n_opened = 0;
    return 0;
}

void with_exports(struct world *w)
{
    w->host.exports = exports;
    w->host.export_open = export_open;
    w->host.export_close = export_close;
}

void make_exported(struct world *w)
{
    with_exports(w);
    make_replica(w);
    done(w, CALL(w, STATUS_PATH(WEB), "ExportPoint"));
}

/* ---- arguments ---- */
static char *embedded(struct world *w, const char *text)
{
    vr_autofree char *copy = vr_strdup(text);
    char *save = NULL, *first = strtok_r(copy, "|", &save), *xml = NULL;
    struct vr_err err = VR_ERR_INIT;
    const struct cim_class *cls = cim_class_find(first);
    vr_auto(cim_inst_free) struct cim_inst *in = cls ? cim_inst_new_of(cls) : get(w, first);

    for (char *p; (p = strtok_r(NULL, "|", &save)) != NULL;) {
        char *eq = strchr(p, '=');
        assert_non_null(eq);
        *eq = 0;
        struct cim_value *v = cim_inst_named(in, p);
        assert_non_null(v);
        cim_value_clear(v);
        if (eq[1] && cim_value_put_text(v, eq + 1, &err) < 0)
            fail_msg("%s: %s", p, err.msg);
    }
    assert_int_equal(cim_xml_text(in, "hosta", &xml, NULL), 0);
    return xml;
}

static char *sending_job(struct world *w)
{
    struct cim_list l = walk(w, VM(WEB), "Msvm_AffectedJobElement", "Msvm_ConcreteJob");
    char *text = NULL;

    for (size_t i = 0; i < l.n && !text; i++)
        if (cim_inst_uint(l.v[i], CIM_P_MSVM_CONCRETEJOB_JOBTYPE, 0) == JOB_SEND_IR) {
            vr_auto(cim_path_free) struct cim_path *p = cim_inst_path(l.v[i]);
            text = cim_path_fmt(p, NULL);
        }
    cim_list_done(&l);
    assert_non_null(text);
    return text;
}

char *arg_text(struct world *w, const char *text)
{
    if (*text == '+')
        return embedded(w, text + 1);
    if (!strcmp(text, ARG_LATER)) {
        struct cim_datetime dt = cim_datetime_at((struct wall_us){ vr_wall_now().us + 3600000000 });
        char at[CIM_DATETIME_STR];
        return vr_strdup(cim_datetime_fmt(&dt, at));
    }
    if (!strcmp(text, ARG_SENDING))
        return sending_job(w);
    if (!strcmp(text, ARG_JOB)) {
        vr_auto(cim_inst_free) struct cim_inst *in = last_job(w);
        vr_auto(cim_path_free) struct cim_path *p = cim_inst_path(in);
        return cim_path_fmt(p, NULL);
    }
    if (strcmp(text, ARG_POINT) != 0)
        return vr_strdup(text);
    struct cim_list l = walk(w, VM(WEB), "Msvm_SnapshotOfVirtualSystem", NULL);
    assert_true(l.n > 0);
    vr_auto(cim_path_free) struct cim_path *p = cim_inst_path(l.v[0]);
    cim_list_done(&l);
    return cim_path_fmt(p, NULL);
}

/* ---- situations ---- */
uint32_t rq(struct world *w, const char *requested)
{
    return CALL(w, VM(WEB), "RequestReplicationStateChangeEx", { "RequestedState", requested });
}

/* The call is under way and stays so. */
static void begun(struct world *w, uint32_t code, unsigned then)
{
    assert_int_equal(code, 4096);
    pump(w);
    assert_int_equal(state(w, WEB), then);
}

void make_nothing(struct world *w)
{
}

void make_kerberos(struct world *w)
{
    w->kerberos = "hosta.example.com";
}

void make_any_server(struct world *w)
{
    vr_autofree char *xml = arg_text(w, "+" ENTRY_OF("*", "DEFAULT", "/srv/any"));

    done(w, CALL(w, "Msvm_ReplicationService=@", "AddAuthorizationEntry",
                 { "AuthorizationEntry", xml }));
}

void make_copying(struct world *w)
{
    make_ready(w);
    w->hold = FX_SHIP;
    begun(w, SVC(w, WEB, "StartReplication", { "InitialReplicationType", "1" }), 2);
}

void make_scheduled(struct world *w)
{
    struct cim_datetime dt = cim_datetime_at((struct wall_us){ vr_wall_now().us + 3600000000 });
    char text[CIM_DATETIME_STR];

    make_ready(w);
    begun(w,
          SVC(w, WEB, "StartReplication", { "InitialReplicationType", "1" },
              { "StartTime", cim_datetime_fmt(&dt, text) }),
          1);
}

void make_copy_paused(struct world *w)
{
    make_copying(w);
    assert_int_equal(rq(w, "7"), 4096);
    pump(w);
    assert_int_equal(state(w, WEB), 7);
}

void make_paused(struct world *w)
{
    make_replicating(w);
    done(w, rq(w, "7"));
    assert_int_equal(state(w, WEB), 7);
}

void make_creating(struct world *w)
{
    vr_autofree char *set = arg_text(w, FRSD0 TO_HOSTB);

    w->hold = FX_CREATE_AT_PEER;
    begun(w, SVC(w, WEB, "CreateReplicationRelationship", { "ReplicationSettingData", set }), 0);
}

void make_preparing(struct world *w)
{
    make_replicating(w);
    w->hold = FX_CAPTURE;
    begun(w, rq(w, "4"), 3);
}

void make_yielding(struct world *w)
{
    make_replicating(w);
    w->hold = FX_YIELD;
    begun(w, rq(w, "2"), 4);
}

void make_removing(struct world *w)
{
    make_replicating(w);
    w->hold = FX_REMOVE;
    begun(w, SVC(w, WEB, "RemoveReplicationRelationship"), 0);
}

void make_replica_removing(struct world *w)
{
    make_replica(w);
    w->hold = FX_REMOVE;
    begun(w, SVC(w, WEB, "RemoveReplicationRelationship"), 0);
}

void make_prepared(struct world *w)
{
    make_replicating(w);
    done(w, rq(w, "4"));
    assert_int_equal(state(w, WEB), 4);
}

void make_critical(struct world *w)
{
    make_replicating(w);
    w->fail[FX_BIT_SHIP] = VR_E_AUTH;
    job_error(w, CALL(w, STATUS_PATH(WEB), "SyncNow"));
    assert_int_equal(state(w, WEB), 8);
}

void make_copy_critical(struct world *w)
{
    make_ready(w);
    w->fail[FX_BIT_CAPTURE] = VR_E_AUTH;
    job_error(w, SVC(w, WEB, "StartReplication", { "InitialReplicationType", "1" }));
    assert_int_equal(state(w, WEB), 8);
}

void make_resynchronizing(struct world *w)
{
    make_paused(w);
    w->hold = FX_SHIP;
    begun(w, SVC(w, WEB, "Resynchronize"), 10);
}

void make_updating(struct world *w)
{
    make_replicating(w);
    w->hold = FX_SHIP;
    done(w, SVC(w, WEB, "ModifyReplicationSettings",
                { "ReplicationSettingData", frsd("IncludedDisks", DISK(WEB, "vda"), NULL) }));
    assert_int_equal(state(w, WEB), 15);
}

void make_update_critical(struct world *w)
{
    make_replicating(w);
    w->fail[FX_BIT_SHIP] = VR_E_AUTH;
    done(w, SVC(w, WEB, "ModifyReplicationSettings",
                { "ReplicationSettingData", frsd("IncludedDisks", DISK(WEB, "vda"), NULL) }));
    assert_int_equal(state(w, WEB), 16);
}

void make_needing_resync(struct world *w)
{
    make_resynchronizing(w);
    assert_int_equal(rq(w, "9"), 4096);
    pump(w);
    assert_int_equal(state(w, WEB), 9);
}

void make_resync_paused(struct world *w)
{
    make_resynchronizing(w);
    assert_int_equal(rq(w, "7"), 4096);
    pump(w);
    assert_int_equal(state(w, WEB), 11);
}

void make_replica_paused(struct world *w)
{
    make_replica(w);
    done(w, rq(w, "7"));
    assert_int_equal(state(w, WEB), 7);
}

static void incoming(struct world *w, bool resync)
{
    const struct rel *r = engine_find(w->engine, &w->vm[0].uuid);
    struct rel_event ev = { .type = EV_RX_OPEN, .lineage = r->lineage, .resync = resync };

    strcpy(ev.peer, "hostb");
    assert_int_equal(engine_rx_open(w->engine, &w->vm[0].uuid, &ev, NULL), 0);
    pump(w);
}

void make_replica_critical(struct world *w)
{
    struct rel_event ev = { .type = EV_RX_ENDED };

    make_replica(w);
    incoming(w, false);
    vr_fail(&ev.err, VR_E_NOSPACE, 0, "no space left on the replica's disk");
    engine_event(w->engine, &w->vm[0].uuid, &ev);
    pump(w);
    assert_int_equal(state(w, WEB), 8);
}

void make_replica_resync(struct world *w)
{
    make_replica(w);
    incoming(w, true);
    assert_int_equal(state(w, WEB), 10);
}

void make_replica_updating(struct world *w)
{
    const struct rel *r;
    struct rel_event ev = { .type = EV_RX_OPEN, .update = true };

    make_replica(w);
    r = engine_find(w->engine, &w->vm[0].uuid);
    ev.lineage = r->lineage;
    strcpy(ev.peer, "hostb");
    assert_int_equal(engine_rx_open(w->engine, &w->vm[0].uuid, &ev, NULL), 0);
    pump(w);
    assert_int_equal(state(w, WEB), 15);
}

void make_replica_resync_paused(struct world *w)
{
    make_replica_resync(w);
    done(w, rq(w, "7"));
    assert_int_equal(state(w, WEB), 11);
}

void make_waiting_paused(struct world *w)
{
    make_waiting(w);
    done(w, rq(w, "7"));
    assert_int_equal(state(w, WEB), 7);
}

void make_failing_over(struct world *w)
{
    make_replica(w);
    w->hold = FX_FAILOVER;
    begun(w, SVC(w, WEB, "InitiateFailover"), 12);
}

void make_committed(struct world *w)
{
    make_failed_over(w);
    done(w, SVC(w, WEB, "CommitFailover"));
    assert_int_equal(state(w, WEB), 6);
}

void make_tested(struct world *w)
{
    with_tests(w);
    make_replica(w);
    done(w, SVC(w, WEB, "TestReplicaSystem"));
}

void make_reversing(struct world *w)
{
    make_failed_over(w);
    w->hold = FX_REVERSE_CALL;
    vr_autofree char *set = arg_text(w, FRSD0 TO_HOSTB);
    begun(w, SVC(w, WEB, "ReverseReplicationRelationship", { "ReplicationSettingData", set }), 5);
}
