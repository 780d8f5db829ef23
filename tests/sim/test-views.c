/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Both sides' views of the normal life of a relationship: two engines in a world where nothing goes
 * wrong by itself. views.def is the table, each row a test. src:[contract.md C.3] */
#include "sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "replication/explain.h"

enum { ANY = -1 };

static struct sim sim;
static struct host *P, *R;

struct view {
    int mode, state, health;
};

static struct view view_of(const struct host *h)
{
    const char *why[8];
    size_t n;
    const struct rel *r = rel_of(h);
    return (struct view){ rel_mode(r), rel_cim_state(r),
                          rel_health(r, (struct wall_us){ sim.now * 1000 }, why, &n) };
}

/* ---- time ---- */
static void let_pass(int64_t ms)
{
    for (int64_t end = sim.now + ms; sim.now < end && world_step(&sim);)
        ;
}

static void until(bool (*holds)(void), const char *what)
{
    for (int64_t end = sim.now + 300000; sim.now < end && world_step(&sim);)
        if (holds())
            return;
    fail_msg("%s: never; P %s, R %s", what, rel_state_name(rel_of(P)->st),
             rel_state_name(rel_of(R)->st));
}
#define UNTIL(condition) until(condition, #condition)

static bool at_rest(void)
{
    return engine_idle(P->e) && engine_idle(R->e) && !P->effects && !R->effects &&
           rel_of(P)->flow.phase == FLOW_IDLE && rel_of(R)->flow.phase == FLOW_IDLE;
}

/* ---- people ---- */
static struct rel_event request_of(struct host *h, enum rel_event_type t)
{
    struct rel_event ev = { .type = t, .set = rel_of(h)->set, .vm_off = !h->hv.running };
    ev.set.auth_type = 2;
    ev.set.auto_resync = false; /* state 9 stays until somebody acts */
    ev.set.interval_s = 10;
    ev.set.recovery_port = 4433;
    ev.set.app_interval_s = 0;
    snprintf(ev.set.recovery_point, sizeof ev.set.recovery_point, "%s", other(h)->name);
    snprintf(ev.peer, sizeof ev.peer, "%s", other(h)->name);
    snprintf(ev.name, sizeof ev.name, "vm");
    ev.n_disks = 1;
    snprintf(ev.disks[0].target, sizeof ev.disks[0].target, "vda");
    ev.disks[0].size = (uint64_t)BLOCKS * VR_BLOCK_SIZE;
    ev.lineage = rnd_uuid(&sim);
    ev.latest = true;
    return ev;
}

static void ask(struct host *h, enum rel_event_type t, enum job_type job)
{
    struct rel_event ev = request_of(h, t);
    struct vr_err err = VR_ERR_INIT;
    struct vr_uuid id;
    if (t == EV_U_START_IR)
        ev.seeded = job == JOB_START_SEEDED;
    if (engine_request(h->e, &sim.machine, &ev, job, "user", &id, &err) < 0)
        fail_msg("%s: %s", rel_event_text(t), err.msg);
}

static void create(void)
{
    vm_start(P);
    ask(P, EV_U_CREATE, JOB_CREATE);
    UNTIL(at_rest);
}

static bool copying(void)
{
    return rel_of(P)->st == ST_P_IR && rel_of(R)->rx_active;
}

static void start(void)
{
    ask(P, EV_U_START_IR, JOB_START_IR);
    UNTIL(copying);
}

static bool replicating(void)
{
    return rel_of(P)->st == ST_P_REPL && rel_of(R)->st == ST_R_REPL && at_rest();
}

static void copied(void)
{
    UNTIL(replicating);
}

static void pause_primary(void)
{
    ask(P, EV_U_PAUSE, JOB_STATE_CHANGE);
    UNTIL(at_rest);
}

static void silence(void)
{
    let_pass(3601000);
}

static bool fails_often(void)
{
    return rel_of(P)->failures >= 3 && at_rest();
}

static void pause_replica(void)
{
    ask(P, EV_U_RESUME, JOB_STATE_CHANGE);
    UNTIL(replicating);
    ask(R, EV_U_PAUSE, JOB_STATE_CHANGE);
    UNTIL(fails_often);
}

static bool needs_resync(void)
{
    return rel_of(P)->st == ST_P_RESYNC_WAIT && at_rest();
}

static void lose_tracking(void)
{
    ask(R, EV_U_RESUME, JOB_STATE_CHANGE);
    UNTIL(replicating);
    for (int i = 0; i < P->hv.n_cp; i++)
        P->hv.cp[i].inconsistent = true;
    P->may_compare = true;
    UNTIL(needs_resync);
}

static bool resync_coming_in(void)
{
    return rel_of(P)->st == ST_P_RESYNC && rel_of(R)->rx_active;
}

static void resync(void)
{
    ask(P, EV_U_RESYNC, JOB_RESYNC);
    UNTIL(resync_coming_in);
}

static void resync_paused(void)
{
    ask(R, EV_U_PAUSE, JOB_STATE_CHANGE);
    UNTIL(at_rest);
}

/* It goes on where it was, and is aborted on this side; the primary tries again later. */
static void resync_aborted(void)
{
    ask(R, EV_U_RESUME, JOB_STATE_CHANGE);
    UNTIL(resync_coming_in);
    assert_int_equal(view_of(R).state, 10);
    ask(R, EV_U_RESUME, JOB_STATE_CHANGE);
    UNTIL(at_rest);
}

static void resynced(void)
{
    UNTIL(replicating);
}

static bool replica_critical(void)
{
    return rel_of(R)->st == ST_R_CRIT && at_rest();
}

static void no_room(void)
{
    R->full_until = INT64_MAX;
    UNTIL(replica_critical);
}

static void room(void)
{
    R->full_until = 0;
    UNTIL(replicating);
}

static bool prepared(void)
{
    return rel_of(P)->st == ST_P_PREPARED && at_rest();
}

/* Disk vdb is taken into the set. */
static bool updating(void)
{
    return rel_of(P)->st == ST_P_UPDATE && rel_of(R)->st == ST_R_UPDATE;
}

static void change_disks(void)
{
    struct rel_event ev = request_of(P, EV_U_MODIFY);
    struct vr_err err = VR_ERR_INIT;
    struct vr_uuid id;
    ev.n_disks = 2;
    snprintf(ev.disks[1].target, sizeof ev.disks[1].target, "vdb");
    ev.disks[1].size = VR_BLOCK_SIZE;
    if (engine_request(P->e, &sim.machine, &ev, JOB_MODIFY, "user", &id, &err) < 0)
        fail_msg("changing the disks: %s", err.msg);
    UNTIL(updating);
}

static void prepare(void)
{
    vm_stop(P, true);
    ask(P, EV_U_PREPARE, JOB_PREPARE);
    UNTIL(prepared);
    assert_int_equal(point_newest(R)->kind, VR_POINT_PLANNED);
    assert_true(P->hv.guarded && R->hv.guarded);
}

static bool failed_over(void)
{
    return rel_of(R)->st == ST_R_RECOVERED && at_rest();
}

static bool primary_knows(void)
{
    return rel_of(P)->peer_over;
}

static void failover_planned(void)
{
    ask(R, EV_U_FAILOVER, JOB_FAILOVER);
    UNTIL(failed_over);
    assert_int_equal(rel_failover_type(rel_of(R)), 3);
    assert_true(P->hv.guarded && !R->hv.guarded);
    UNTIL(primary_knows);
}

static bool reversed(void)
{
    return rel_mode(rel_of(P)) == REL_MODE_REPLICA && rel_mode(rel_of(R)) == REL_MODE_PRIMARY &&
           at_rest();
}

static void reverse_planned(void)
{
    ask(R, EV_U_REVERSE, JOB_REVERSE);
    UNTIL(reversed);
    assert_true(P->hv.guarded && !R->hv.guarded);
    assert_int_equal(rel_failover_type(rel_of(R)), 0);
}

static bool superseded(void)
{
    return rel_of(P)->st == ST_P_SUPERSEDED && failed_over();
}

/* The roles are the other way round from here on. */
static void failover_unplanned(void)
{
    struct host *was = P;
    P = R;
    R = was;
    sim.split = true;
    vm_start(P);
    UNTIL(replicating);
    ask(R, EV_U_FAILOVER, JOB_FAILOVER);
    UNTIL(superseded);
    vm_stop(P, true);
    let_pass(30000); /* the other host hears that it does not run there any more */
    int type = rel_failover_type(rel_of(R));
    assert_true(type == 1 || type == 2);
    vm_start(R);
    assert_true(R->hv.running);
}

static void commit(void)
{
    ask(R, EV_U_COMMIT, JOB_COMMIT);
    UNTIL(at_rest);
}

static void as_replica(void)
{
    ask(P, EV_U_BECOME_REPLICA, JOB_STATE_CHANGE);
    UNTIL(at_rest);
    assert_false(P->hv.running);
}

static void reverse_unplanned(void)
{
    ask(R, EV_U_REVERSE, JOB_REVERSE);
    UNTIL(reversed);
    assert_true(R->hv.running);
}

static void start_seeded(void)
{
    struct host *was = P;
    P = R;
    R = was;
    ask(P, EV_U_START_IR, JOB_START_SEEDED);
    UNTIL(copying);
}

/* ---- the table ---- */
struct row {
    const char *name;
    void (*go)(void);
    struct view p, r;
};

static const struct row rows[] = {
#define V(name, go, pm, ps, ph, rm, rs, rh) { name, go, { pm, ps, ph }, { rm, rs, rh } },
#include "views.def"
#undef V
};

static void check(const struct host *h, const char *side, const struct view *want)
{
    struct view is = view_of(h);
    bool health = want->health == ANY || is.health == want->health;
    if (is.mode != want->mode || is.state != want->state || !health)
        fail_msg("%s shows mode %d, state %d, health %d; expected %d, %d, %d", side, is.mode,
                 is.state, is.health, want->mode, want->state, want->health);
}

static void one_row(void **state)
{
    const struct row *w = *state;
    w->go();
    check(P, "P", &w->p);
    check(R, "R", &w->r);
}

int main(void)
{
    struct CMUnitTest tests[VR_ARRAY_LEN(rows)];
    sim_init(&sim, 5, 1000000, getenv("VMR_TRACE") != NULL); /* a kind world */
    sim.users = false;
    P = &sim.h[0];
    R = &sim.h[1];
    for (size_t i = 0; i < VR_ARRAY_LEN(rows); i++)
        tests[i] = (struct CMUnitTest){ .name = rows[i].name,
                                        .test_func = one_row,
                                        .initial_state = (void *)&rows[i] };
    int rc = _cmocka_run_group_tests("views", tests, VR_ARRAY_LEN(rows), NULL, NULL);
    sim_done(&sim);
    return rc;
}
