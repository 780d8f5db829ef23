/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_MESSAGES_H
#define VR_DAEMON_MESSAGES_H

#include "model/model.h"
#include "transport/msg.h"

/* What hosts say to each other, as tables; docs/protocol.md "Calls of the engine" explains them. */

/* Types of calls. src: our own protocol */
enum call_type {
    CALL_TEST = 1,     /* nothing -> msg_test_reply */
    CALL_CREATE = 2,   /* msg_create -> msg_create_reply */
    CALL_SETTINGS = 3, /* msg_settings_push -> msg_settings_reply */
    CALL_REVERSE = 4,  /* msg_reverse -> msg_reverse_reply */
    CALL_STATUS = 5,   /* msg_status -> msg_status_reply */
    CALL_PORT = 6,     /* msg_port -> nothing: where the caller listens now */
    CALL_PROVE = 7,    /* msg_prove -> msg_prove_reply */
};

#define MSG_DISK(X)                       \
    X(1, STR, REQ, target, VR_TARGET_MAX) \
    X(2, U64, REQ, size)                  \
    X(3, BOOL, OPT, whole) /* of a transfer of changes: all of it is compared or sent */

/* app_interval_s: when 0, the hours. keep: the numbers of retention follow; else the default. */
#define MSG_SETTINGS(X)                         \
    X(1, U16, REQ, auth_type)                   \
    X(2, BOOL, OPT, compression)                \
    X(3, BOOL, OPT, replicate_kvp)              \
    X(4, BOOL, OPT, auto_resync)                \
    X(5, STR, OPT, recovery_point, VR_NAME_MAX) \
    X(6, U16, OPT, recovery_port)               \
    X(7, STR, OPT, primary_point, VR_NAME_MAX)  \
    X(8, U16, OPT, app_interval_hours)          \
    X(9, U16, OPT, recovery_history)            \
    X(10, U32, REQ, interval_s)                 \
    X(11, U32, OPT, resync_start_s)             \
    X(12, U32, OPT, resync_end_s)               \
    X(13, STR, OPT, thumbprint, 129)            \
    X(14, BOOL, OPT, bypass_proxy)              \
    X(15, U32, OPT, app_interval_s)             \
    X(16, BOOL, OPT, keep)                      \
    X(17, U32, OPT, keep_every_s)               \
    X(18, U16, OPT, keep_hourly)                \
    X(19, U16, OPT, keep_daily)                 \
    X(20, U16, OPT, keep_weekly)                \
    X(40, U16, OPT, on_superseded)              \
    X(41, U64, OPT, rev) /* counts changes; 0: of a version that does not */

#define MSG_TEST_REPLY(X)             \
    X(1, STR, REQ, host, VR_NAME_MAX) \
    X(2, STR, REQ, version, 64)

#define MSG_CREATE(X)                          \
    X(1, UUID, REQ, machine)                   \
    X(2, STR, REQ, name, VR_NAME_MAX)          \
    X(3, STR, REQ, xml, 1048576)               \
    X(4, UUID, REQ, lineage)                   \
    X(5, LIST, REQ, settings, 1, msg_settings) \
    X(6, LIST, REQ, disks, VR_DISKS_MAX, msg_disk)

#define MSG_CREATE_REPLY(X) \
    X(1, BOOL, OPT, seeded) /* there are disks already: the initial copy must compare */

#define MSG_SETTINGS_PUSH(X)                   \
    X(1, UUID, REQ, machine)                   \
    X(2, LIST, REQ, settings, 1, msg_settings) \
    X(3, UUID, OPT, lineage) /* that they are for */

#define MSG_SETTINGS_REPLY(X) X(1, U64, OPT, held) /* `rev` of those that hold there now */

#define MSG_REVERSE(X)                                                                   \
    X(1, UUID, REQ, machine)                                                             \
    X(2, UUID, REQ, lineage)       /* the one that began with the failover */            \
    X(3, UUID, REQ, point_lineage) /* the point failed over to */                        \
    X(4, U64, REQ, point_epoch)                                                          \
    X(5, LIST, REQ, settings, 1, msg_settings)                                           \
    X(6, LIST, REQ, disks, VR_DISKS_MAX, msg_disk)                                       \
    X(7, UUID, OPT, newest_lineage) /* the newest point received from the old primary */ \
    X(8, U64, OPT, newest_epoch)

/* Ranges of one disk: (offset u64, length u64)*. */
#define MSG_RANGES(X)                     \
    X(1, STR, REQ, target, VR_TARGET_MAX) \
    X(2, BYTES, OPT, ranges, 16777216)

/* seeded: the disks there are a seed, an initial copy must follow; diverged: `wrote` names all that
 * was written there on its own, so that copy need not compare. */
#define MSG_REVERSE_REPLY(X)                                                              \
    X(1, BOOL, OPT, seeded)                                                               \
    X(2, BOOL, OPT, diverged)                                                             \
    X(3, LIST, OPT, wrote, VR_DISKS_MAX, msg_ranges)                                      \
    X(4, UUID, OPT, kept_lineage) /* seeded: the orphan point that the disks are there */ \
    X(5, U64, OPT, kept_epoch)

#define MSG_PORT(X) X(1, U16, REQ, port)

/* How a machine stands at a host (struct rel_story); in the question, if the asker knows it, too.
 */
#define MSG_STORY(X)                                                                        \
    X(1, U16, REQ, mode)                                                                    \
    X(2, U8, OPT, power)         /* enum rel_power */                                       \
    X(3, UUID, OPT, lineage)     /* that it carries */                                      \
    X(4, BOOL, OPT, failed_over) /* away from lineage `of`, at this point: */               \
    X(5, UUID, OPT, of)                                                                     \
    X(6, UUID, OPT, point_lineage)                                                          \
    X(7, U64, OPT, point_epoch)                                                             \
    X(8, I64, OPT, since_us)                                                                \
    X(9, BOOL, OPT, ahead_known) /* a primary: written since the last acknowledged point */ \
    X(10, U64, OPT, ahead)                                                                  \
    X(11, UUID, OPT, told_by) /* of this run of the daemon, */                              \
    X(12, I64, OPT, told_ms)  /* by its own clock: messages may overtake each other */      \
    X(13, BOOL, OPT, state_known)                                                           \
    X(14, U16, OPT, state) /* ReplicationState, 0: it is not replicated with anybody */

#define MSG_STATUS(X)                    \
    X(1, UUID, REQ, machine)             \
    X(2, LIST, OPT, story, 1, msg_story) \
    X(3, BOOL, OPT, want_ahead)

#define MSG_STATUS_REPLY(X)      \
    X(1, U16, REQ, mode)         \
    X(2, U16, REQ, state)        \
    X(3, STR, REQ, text, 128)    \
    X(4, BOOL, OPT, running)     \
    X(5, UUID, OPT, lineage)     \
    X(6, U64, OPT, newest_epoch) \
    X(7, LIST, OPT, story, 1, msg_story)

/* What the primary read at the instant of a point, to be compared with what the replica reads.
 * digests: 16 bytes for each block from `first` on; all zero: the block is zeros. ends: 1 with
 * these blocks a pass over all disks ends, 2 and all of it was compared with this point. clean: no
 * block of the pass differed. */
#define MSG_PROVE(X)                      \
    X(1, UUID, REQ, machine)              \
    X(2, UUID, REQ, lineage)              \
    X(3, U64, REQ, epoch)                 \
    X(4, STR, REQ, target, VR_TARGET_MAX) \
    X(5, U64, OPT, first)                 \
    X(6, BYTES, REQ, digests, 1048576)    \
    X(7, U8, OPT, ends)                   \
    X(8, BOOL, OPT, clean)

/* bad: blocks that differ; known: of them those that were known before; rot: of them those in which
 * the replica's own image does not hold what it received; ranges: (offset u64, length u64)* of
 * them, the first 4096. */
#define MSG_PROVE_REPLY(X) \
    X(1, U64, OPT, bad)    \
    X(2, U64, OPT, known)  \
    X(3, U64, OPT, rot)    \
    X(4, U64, OPT, points) \
    X(5, BYTES, OPT, ranges, 65536)

/* Opening message of a transfer. */
#define MSG_TRANSFER(X)                                                                    \
    X(1, UUID, REQ, machine)                                                               \
    X(2, UUID, REQ, lineage)                                                               \
    X(3, BOOL, MUST, has_since) /* changes since `since` only */                           \
    X(4, U64, OPT, since)                                                                  \
    X(5, U64, REQ, epoch)                                                                  \
    X(6, U8, REQ, kind) /* enum vr_point_kind */                                           \
    X(7, I64, REQ, instant_us)                                                             \
    X(8, LIST, REQ, disks, VR_DISKS_MAX, msg_disk)                                         \
    X(9, BOOL, OPT, compare)     /* the sender will ask for the digests of what is held */ \
    X(10, BOOL, OPT, diverged)   /* what the receiver wrote on its own is covered, too */  \
    X(11, BOOL, OPT, resync)     /* the primary resynchronises: all disks are compared */  \
    X(12, BOOL, OPT, update)     /* the disks are not those of the last point */           \
    X(13, STR, OPT, xml, 786432) /* the machine's definition, when disks may be new */

MSG_DECLARE(msg_disk, MSG_DISK)
MSG_DECLARE(msg_settings, MSG_SETTINGS)
MSG_DECLARE(msg_test_reply, MSG_TEST_REPLY)
MSG_DECLARE(msg_create, MSG_CREATE)
MSG_DECLARE(msg_create_reply, MSG_CREATE_REPLY)
MSG_DECLARE(msg_settings_push, MSG_SETTINGS_PUSH)
MSG_DECLARE(msg_settings_reply, MSG_SETTINGS_REPLY)
MSG_DECLARE(msg_reverse, MSG_REVERSE)
MSG_DECLARE(msg_ranges, MSG_RANGES)
MSG_DECLARE(msg_reverse_reply, MSG_REVERSE_REPLY)
MSG_DECLARE(msg_port, MSG_PORT)
MSG_DECLARE(msg_story, MSG_STORY)
MSG_DECLARE(msg_status, MSG_STATUS)
MSG_DECLARE(msg_status_reply, MSG_STATUS_REPLY)
MSG_DECLARE(msg_prove, MSG_PROVE)
MSG_DECLARE(msg_prove_reply, MSG_PROVE_REPLY)
MSG_DECLARE(msg_transfer, MSG_TRANSFER)

struct rel;
struct rel_disk;
struct rel_settings;

/* msg_from_settings() - borrows the texts of @s. msg_to_settings() - with bounds checks.
 * msg_to_disks(): VR_E_PROTO for sizes out of range, duplicate or bad targets. Pure. */
struct msg_settings msg_from_settings(const struct rel_settings *s);
int msg_to_settings(const struct msg_settings *m, struct rel_settings *ret, struct vr_err *err);
void msg_from_disks(const struct rel_disk *d, uint32_t n, struct msg_disk *out);
int msg_to_disks(const struct msg_disk *m, size_t n, struct rel_disk *ret, uint32_t *ret_n,
                 struct vr_err *err);

#endif
