/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_REPLICATION_TEST_STEP_KIT_H
#define VR_REPLICATION_TEST_STEP_KIT_H

/* What the tests of rel_step() share: relationships and events as they are when all is well. */
#include "replication/step.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/cleanup.h"

static const struct vr_uuid machine = { { 1 } }, line = { { 2 } }, fresh = { { 3 } };

/* A relationship as it is in @st when all is well. */
static struct rel in_state(enum rel_state st)
{
    struct rel r = { .machine = machine, .name = "web01", .st = st };
    rel_settings_default(&r.set);
    if (st == ST_NONE)
        return r;
    snprintf(r.peer, sizeof r.peer, "beta");
    snprintf(r.set.recovery_point, sizeof r.set.recovery_point, "beta");
    r.set.recovery_port = 4433;
    r.n_disks = 1;
    snprintf(r.disks[0].target, sizeof r.disks[0].target, "vda");
    r.lineage = line;
    r.epoch = 7;
    r.acked = r.newest = r.failover = (struct vr_point_id){ .lineage = line, .epoch = 7 };
    r.failed_over_at.us = 1;
    bool ir = st == ST_P_READY || st == ST_P_IR || st == ST_P_IR_SUSP || st == ST_P_IR_CRIT ||
              st == ST_R_WAIT || st == ST_R_IR_SUSP || st == ST_R_IR_CRIT;
    r.has_acked = r.tracked = r.has_newest = !ir;
    r.committed = st == ST_R_COMMITTED;
    r.yield_from = ST_P_PREPARED;
    return r;
}

static struct rel_event event(enum rel_event_type t)
{
    struct rel_event ev = { .type = t, .mono.ms = 5000, .wall.us = 9000000, .vm_off = true };
    snprintf(ev.peer, sizeof ev.peer, "beta");
    snprintf(ev.name, sizeof ev.name, "web01");
    ev.lineage = fresh;
    ev.point = (struct vr_point_id){ .lineage = line, .epoch = 7 };
    ev.n_disks = 1;
    snprintf(ev.disks[0].target, sizeof ev.disks[0].target, "vda");
    rel_settings_default(&ev.set);
    return ev;
}

static inline int feed(struct rel *r, struct rel_event ev, uint32_t *fx, struct vr_err *err)
{
    struct rel next;
    if (rel_step(r, &ev, &next, fx, err) < 0)
        return -1;
    *r = next;
    return 0;
}

#endif
