/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_REPLICATION_EXPLAIN_H
#define VR_REPLICATION_EXPLAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "replication/rel.h"

/* What people are told about a relationship: what is going on, what is wrong and why, what a
 * failover now would lose, what to do. Pure. All texts stand in explain.def.
 *
 * To tell one thing more: a row R(...) in explain.def and its condition WHY(name) in reasons.c.
 * What the condition needs and a relationship does not know becomes a field of struct rel_facts,
 * which cim/providers/explain.c fills in. */

/* What is known of a machine besides its relationship; zero or NULL where it is not known. */
struct rel_facts {
    const struct rel *r;
    struct wall_us now;
    const char *host;  /* name of this host */
    const char *name;  /* of the machine, for one that has never been replicated */
    bool machine_gone; /* the hypervisor does not know it, and it can be asked */
    bool machine_away; /* it was migrated to another host, and is off here since then */
    bool off;          /* it is known to be off, and was not migrated away */
    bool running;
    bool peer_away;           /* at the last contact */
    struct wall_us peer_seen; /* last contact */
    int64_t peer_clock_s;     /* its clock is so many seconds ahead; 0: about the same */
    const char *new_disks;    /* "vdb, vdc": could be replicated and are not */
    const char *gone_disks;   /* are replicated, and the machine has none of that name */
    const char *plain_disks;  /* replicated ones that keep no change map */
    bool stuck;               /* the guest's file systems may still be frozen */
    bool queued;              /* the next transfer waits until others are over */
    bool moving;              /* a transfer is in progress */
    uint64_t moved, to_move;  /* bytes of it */
    bool has_ahead;           /* primary: how much was written since the last acknowledged point */
    uint64_t ahead;           /* bytes, rounded up to what the change map records */
    const char *tests;        /* names of test machines */
    const char *exports;      /* points that are open for reading */
    bool kept_below;          /* primary: orphan or pinned points lie below its disks */
    bool newest_bad;          /* replica: its newest point is quarantined */
    bool has_sound;           /* then: a failover takes an older one */
    struct wall_us sound;     /* that was captured at this instant */
};

enum { REL_REASONS_MAX = 12, REL_TEXT_MAX = 768 };

/* One thing that is so, most serious first. */
struct rel_reason {
    const char *name;        /* static: of the row, lower case */
    uint16_t level;          /* 3 critical, 2 warning, 1 worth knowing. src:[contract.md D.1] */
    const char *health;      /* static: what Microsoft's tools show; NULL: nothing to them */
    char why[REL_TEXT_MAX];  /* a sentence or two */
    char todo[REL_TEXT_MAX]; /* "" when nothing is to be done */
    char command[384];       /* that does it; "" when there is none */
};

/* rel_reasons() - all that hold, at most REL_REASONS_MAX. Returns: how many. */
size_t rel_reasons(const struct rel_facts *f, struct rel_reason out[REL_REASONS_MAX]);
/* rel_doing() - what is going on, into @out. rel_loss() - what a failover now would lose. Return
 * @out. */
char *rel_doing(const struct rel_facts *f, char out[REL_TEXT_MAX]);
char *rel_loss(const struct rel_facts *f, char out[REL_TEXT_MAX]);
/* rel_next() - what one does in this state when nothing is wrong: a sentence into @todo, a command
 * into
 * @command; "" when nothing is to be done. */
void rel_next(const struct rel_facts *f, char todo[REL_TEXT_MAX], char command[384]);
/* rel_age() - how old what a failover now would start from is; false when there is nothing yet. */
bool rel_age(const struct rel_facts *f, uint64_t *ret_s);

/* rel_hint() - what would make @ev legal, which it is not in the state of @r: "; first: COMMAND" or
 * where it is legal; "" when nothing helps. Written to @out, which is returned. */
char *rel_hint(const struct rel *r, enum rel_event_type ev, char *out, size_t max);

/* rel_health() - ReplicationHealth, 0..3; the health texts of the reasons go to @why, at most 8.
 * src:[contract.md D.1] */
uint16_t rel_health(const struct rel *r, struct wall_us now, const char *why[8], size_t *ret_n);
/* rel_health_id() - the number of such a text; 0 when it is none. */
unsigned rel_health_id(const char *why);

#endif
