/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_REPLICATION_JOBS_H
#define VR_REPLICATION_JOBS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "model/model.h"
#include "replication/rel.h"

/* Long work as clients see it. src:[contract.md A.12] */

/* JobState. src:[contract.md A.12] */
enum job_state {
    JOB_NEW = 2,
    JOB_STARTING = 3,
    JOB_RUNNING = 4,
    JOB_SUSPENDED = 5,
    JOB_COMPLETED = 7,
    JOB_TERMINATED = 8,
    JOB_EXCEPTION = 10,
    JOB_WARNINGS = 32768,
};

/* JobType. src:[contract.md A.12] JT(NAME, number, caption, cancellable) */
#define JOB_TYPES(JT)                                                       \
    JT(SERVICE_SETTINGS, 90, "Modifying replication settings", false)       \
    JT(CREATE, 91, "Creating replication relationship", false)              \
    JT(MODIFY, 92, "Modifying replication relationship settings", false)    \
    JT(REMOVE, 93, "Removing replication relationship", false)              \
    JT(START_IR, 94, "Starting in-band initial replication", true)          \
    JT(IMPORT, 95, "Importing initial replica", false)                      \
    JT(STATE_CHANGE, 96, "Changing replication state", false)               \
    JT(FAILOVER, 97, "Initiating failover", false)                          \
    JT(REVERT, 98, "Reverting failover", false)                             \
    JT(COMMIT, 99, "Committing failover", false)                            \
    JT(PREPARE, 100, "Initiating synced replication", true)                 \
    JT(TEST_REPLICA, 102, "Initiating test replica", false)                 \
    JT(DESTROY_TEST, 103, "Destroying virtual machine", false)              \
    JT(REVERSE, 104, "Reversing replication relationship", true)            \
    JT(SEND_DELTA, 105, "Sending delta", false)                             \
    JT(RESYNC, 107, "Resynchronizing replication", true)                    \
    JT(TEST_CONNECTION, 115, "Testing replication connection", false)       \
    JT(SEND_IR, 116, "Sending initial replica", true)                       \
    JT(START_SEEDED, 117, "Starting seeded initial replication", true)      \
    JT(RESET_STATS, 119, "Resetting replication statistics", false)         \
    JT(UPDATE_DISKS, 125, "Updating disk set", true)                        \
    JT(PAIR, 1000, "Pairing with a host", false)                            \
    JT(POWER, 1001, "Changing machine state", false)                        \
    JT(VERIFY, 1002, "Verifying", true)                                     \
    JT(VERIFY_NOTE, 1090, "Noting what is known of recovery points", false) \
    JT(PIN, 1010, "Pinning a recovery point", false)                        \
    JT(EXPORT, 1020, "Opening a recovery point", false)                     \
    JT(END_EXPORT, 1021, "Closing a recovery point", false)

enum job_type {
#define JT(n, num, caption, cancellable) JOB_##n = num,
    JOB_TYPES(JT)
#undef JT
};

struct job {
    struct vr_uuid id;
    enum job_type type;
    enum job_state state;
    struct vr_uuid machine; /* zero when it concerns the host */
    char owner[64];
    uint16_t percent;
    struct wall_us submitted, started, ended; /* 0 not yet */
    struct wall_us scheduled;                 /* 0 at once */
    struct mono_ms created;
    struct vr_err err; /* why it failed; JOB_WARNINGS: what to know */
    bool warned;       /* volatile: there is something to know, in `err` */
    bool waits_for_cycle;
    struct rel_moved moved; /* what the first point after a reversal moved; zeros before */
};

/* job_caption() - English text of a type, static. job_cancellable() - whether Terminate works.
 * job_over() - no longer running. */
const char *job_caption(enum job_type t);
bool job_cancellable(const struct job *j);
bool job_over(const struct job *j);
/* job_moved() - what was shipped on the way back, in words; NULL: nothing to tell. Caller frees. */
char *job_moved(const struct job *j);
/* job_encode()/job_decode() - written form, as rel_encode(). */
char *job_encode(const struct job *j);
int job_decode(const char *id, const char *text, struct job *ret, struct vr_err *err);

#endif
