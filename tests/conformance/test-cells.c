/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every operation in every state, on both sides: cells.def is the table, each cell a test with the
 * real engine and providers. src:[contract.md C.1, C.2] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cim/providers/testways.h"
#include "cells.def"

enum hold { FREE, HELD };
enum { COLUMNS_MAX = 24 };

struct column {
    const char *name;
    void (*situation)(struct world *w);
};

struct row {
    const char *operation;
    enum hold hold;
    const char *cells[COLUMNS_MAX];
};

struct cell {
    char name[96];
    const struct column *column;
    const struct row *row;
    const char *want;
    bool replica;
};

/* clang-format off */
#define C(name, fn) { name, fn },
#define R(op, held, ...) { op, held, { __VA_ARGS__ } },
static const struct column p_columns[] = { P_COLUMNS(C) }, r_columns[] = { R_COLUMNS(C) };
static const struct row p_rows[] = { P_ROWS(R) }, r_rows[] = { R_ROWS(R) };
#undef C
#undef R
/* clang-format on */

/* ---- operations ---- */
static uint32_t create(struct world *w)
{
    vr_autofree char *set = arg_text(w, FRSD0 TO_HOSTB);
    return SVC(w, WEB, "CreateReplicationRelationship", { "ReplicationSettingData", set });
}

static uint32_t modify(struct world *w)
{
    vr_autofree char *set = arg_text(w, FRSD0 "|RecoveryHistory=3");
    return SVC(w, WEB, "ModifyReplicationSettings", { "ReplicationSettingData", set });
}

static uint32_t start(struct world *w)
{
    return SVC(w, WEB, "StartReplication", { "InitialReplicationType", "1" });
}

static uint32_t start_export(struct world *w)
{
    return SVC(w, WEB, "StartReplication", { "InitialReplicationType", "2" },
               { "InitialReplicationExportLocation", "/srv/out" });
}

static uint32_t resync_later(struct world *w)
{
    struct cim_datetime dt = cim_datetime_at((struct wall_us){ vr_wall_now().us + 3600000000 });
    char text[CIM_DATETIME_STR];

    return SVC(w, WEB, "Resynchronize", { "StartTime", cim_datetime_fmt(&dt, text) });
}

static uint32_t import(struct world *w)
{
    return SVC(w, WEB, "ImportInitialReplica", { "InitialReplicationImportLocation", "/srv/in" });
}

static uint32_t reverse(struct world *w)
{
    vr_autofree char *set = arg_text(w, FRSD0 TO_HOSTB);
    return SVC(w, WEB, "ReverseReplicationRelationship", { "ReplicationSettingData", set });
}

static uint32_t set_entry(struct world *w)
{
    vr_autofree char *entry = arg_text(w, "+" ENTRY_OF("*", "DEFAULT", "/srv/any"));
    return SVC(w, WEB, "SetAuthorizationEntry", { "AuthorizationEntry", entry });
}

static uint32_t change_mode(struct world *w)
{
    return SVC(w, WEB, "ChangeReplicationModeToPrimary");
}

static uint32_t power_on(struct world *w)
{
    return CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", "2" });
}

/* ---- what is to be seen of success where the state stays ---- */
static bool modified(struct world *w)
{
    return num(w, FRSD_PATH(WEB, "0"), "RecoveryHistory") == 3;
}

static bool bound(struct world *w)
{
    cim_autolist struct cim_list l =
        walk(w, VM(WEB), "Msvm_ElementSettingData", "Msvm_ReplicationAuthorizationSettingData");
    return l.n == 1;
}

static bool started(struct world *w)
{
    return w->action == HV_START;
}

static bool counted(struct world *w)
{
    return cim_args_at(w->args, "ReplicationStatistics")->n == 1 &&
           !cim_args_at(w->args, "ReplicationHealthIssues")->is_null;
}

static bool began_anew(struct world *w)
{
    const struct rel *r = engine_find(w->engine, &w->vm[0].uuid);
    return r->stat_ok == 0 && vr_wall_now().us - r->stat_start.us < 60000000;
}

static bool tested(struct world *w)
{
    return w->n_made == 1;
}

static const struct {
    const char *name;
    uint32_t (*fn)(struct world *w); /* NULL: nothing but the machine is needed */
    bool (*seen)(struct world *w);
    bool at_once;       /* 0, without a job */
    unsigned job_state; /* 0: it succeeds, or runs where something is held */
} operations[] = {
    { "CreateReplicationRelationship", create },
    { "ModifyReplicationSettings", modify, modified },
    { "GetReplicationStatisticsEx", NULL, counted, true },
    { "ResetReplicationStatisticsEx", NULL, began_anew, true },
    { "TestReplicaSystem", NULL, tested },
    { "StartReplication", start },
    { "StartReplication export", start_export },
    { "Resynchronize later", resync_later, .job_state = 2 },
    { "ImportInitialReplica", import },
    { "ReverseReplicationRelationship", reverse },
    { "SetAuthorizationEntry", set_entry, bound },
    { "ChangeReplicationModeToPrimary", change_mode },
    { "Start VM", power_on, started },
};

static uint32_t operate(struct world *w, const char *name)
{
    if (!strncmp(name, "Rq ", 3))
        return rq(w, name + 3);
    for (size_t i = 0; i < VR_ARRAY_LEN(operations); i++)
        if (!strcmp(operations[i].name, name) && operations[i].fn)
            return operations[i].fn(w);
    return SVC(w, WEB, name);
}

/* ---- a cell ---- */
static const struct {
    const char *cell;
    uint32_t code;
} refusals[] = { { "-", 32775 }, { "busy", 32774 }, { "no", 32770 } };

static uint32_t refusal_of(const char *cell)
{
    for (size_t i = 0; i < VR_ARRAY_LEN(refusals); i++)
        if (!strcmp(refusals[i].cell, cell))
            return refusals[i].code;
    return 0;
}

static void check_after(struct world *w, const struct cell *c, unsigned was_state,
                        unsigned was_mode)
{
    char *end = (char *)c->want;
    unsigned state_then = was_state, mode_then = was_mode;

    if (!refusal_of(c->want) && strcmp(c->want, "=") != 0) {
        state_then = (unsigned)strtoul(c->want, &end, 10);
        mode_then = *end == 'r' ? 2 : *end == 'p' ? 1 : !state_then ? 0 : was_mode;
        if (!was_mode && !*end)
            mode_then = 1; /* enabled */
    }
    if (state(w, WEB) != state_then || mode(w, WEB) != mode_then)
        fail_msg("%s: state %u, mode %u afterwards; expected %u, %u", c->name, state(w, WEB),
                 mode(w, WEB), state_then, mode_then);
}

static bool is_running(struct world *w)
{
    vr_auto(cim_inst_free) struct cim_inst *j = last_job(w);
    return cim_inst_uint(j, CIM_P_MSVM_CONCRETEJOB_JOBSTATE, 0) == 4;
}

/* The code that goes with success, the job's end, and what it did. */
static void check_success(struct world *w, const struct cell *c, uint32_t code)
{
    bool at_once = false;
    bool (*seen)(struct world *) = NULL;
    unsigned want = 0;

    for (size_t i = 0; i < VR_ARRAY_LEN(operations); i++)
        if (!strcmp(operations[i].name, c->row->operation)) {
            at_once = operations[i].at_once;
            seen = operations[i].seen;
            want = operations[i].job_state;
        }
    if (code != (at_once ? 0 : 4096))
        fail_msg("%s: returns %u (%s)", c->name, code, refusal(w));
    if (!strcmp(c->want, "=") && (!seen || !seen(w)))
        fail_msg("%s: nothing is seen of it", c->name);
    if (at_once)
        return;
    if (c->row->hold == FREE && is_running(w)) { /* what is under way ends first */
        w->hold = 0;
        pump(w);
    }
    vr_auto(cim_inst_free) struct cim_inst *j = last_job(w);
    uint64_t s = cim_inst_uint(j, CIM_P_MSVM_CONCRETEJOB_JOBSTATE, 0);
    if (want ? s != want : s != 7 && (c->row->hold == FREE || s != 4))
        fail_msg("%s: the job is in state %u: %s", c->name, (unsigned)s,
                 cim_inst_str(j, CIM_P_MSVM_CONCRETEJOB_ERRORDESCRIPTION));
}

static void one_cell(void **st)
{
    struct world *w = *st;
    const struct cell *c = w->test;

    with_tests(w);
    make_any_server(w);
    c->column->situation(w);
    unsigned was_state = state(w, WEB), was_mode = mode(w, WEB);
    if (c->row->hold == HELD)
        w->hold |= FX_SHIP;
    uint32_t code = operate(w, c->row->operation), refused = refusal_of(c->want);
    if (refused && code != refused)
        fail_msg("%s: returns %u (%s)", c->name, code, refusal(w));
    pump(w);
    if (!refused)
        check_success(w, c, code);
    check_after(w, c, was_state, was_mode);
}

static int setup(void **st)
{
    const void *c = *st;
    int rc = world_new(st);

    ((struct world *)*st)->test = c;
    return rc;
}

/* ---- all of them ---- */
static struct cell cells[1024];
static struct CMUnitTest tests[VR_ARRAY_LEN(cells)];
static size_t n_cells;

static void add(const struct column *cols, size_t n_cols, const struct row *rows, size_t n_rows,
                bool replica)
{
    for (size_t r = 0; r < n_rows; r++)
        for (size_t i = 0; i < n_cols; i++) {
            struct cell *c = &cells[n_cells];
            if (!rows[r].cells[i] || (n_cols < COLUMNS_MAX && rows[r].cells[n_cols])) {
                fprintf(stderr, "%s: not as many cells as columns\n", rows[r].operation);
                exit(1);
            }
            *c = (struct cell){
                .column = &cols[i], .row = &rows[r], .want = rows[r].cells[i], .replica = replica
            };
            snprintf(c->name, sizeof c->name, "%s: %s in state %s", replica ? "R" : "P",
                     rows[r].operation, cols[i].name);
            tests[n_cells++] = (struct CMUnitTest){ .name = c->name,
                                                    .test_func = one_cell,
                                                    .setup_func = setup,
                                                    .teardown_func = world_free,
                                                    .initial_state = c };
        }
}

int main(void)
{
    add(p_columns, VR_ARRAY_LEN(p_columns), p_rows, VR_ARRAY_LEN(p_rows), false);
    add(r_columns, VR_ARRAY_LEN(r_columns), r_rows, VR_ARRAY_LEN(r_rows), true);
    return _cmocka_run_group_tests("cells", tests, n_cells, NULL, NULL);
}
