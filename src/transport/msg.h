/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSPORT_MSG_H
#define VR_TRANSPORT_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/uuid.h"

/* Bodies of calls, declared as tables. One table makes the struct, the encoder and the decoder:
 *
 *   #define MSG_DISK(X)                                  \
 *       X(1, STR, REQ, target, VR_TARGET_MAX)            \
 *       X(2, U64, REQ, size)
 *   #define MSG_CREATE(X)                                \
 *       X(1, STR, REQ, name, VR_NAME_MAX)                \
 *       X(2, UUID, REQ, machine)                         \
 *       X(3, U32, OPT, interval_seconds)                 \
 *       X(4, BYTES, OPT, state, 65536)                   \
 *       X(5, LIST, OPT, disks, VR_DISKS_MAX, msg_disk)
 *   MSG_DECLARE(msg_disk, MSG_DISK)       in the header
 *   MSG_DECLARE(msg_create, MSG_CREATE)
 *   MSG_DEFINE(msg_disk, MSG_DISK)        in one .c
 *   MSG_DEFINE(msg_create, MSG_CREATE)
 *
 * gives, for each message M (shown for msg_create):
 *   struct msg_create { const char *name; struct vr_uuid machine; uint32_t interval_seconds;
 *                       const uint8_t *state; size_t n_state;
 *                       const struct msg_disk *disks; size_t n_disks; };
 *   int  msg_create_encode(const struct msg_create *m, struct vr_buf *to, struct vr_err *err);
 *   int  msg_create_decode(const void *p, size_t n, struct msg_create *ret, struct vr_err *err);
 *   void msg_create_done(struct msg_create *m);   only for what decode made; also as
 *                                                 __attribute__((cleanup(msg_create_done)))
 * To encode, members may point anywhere (nothing is freed). What decode made owns its members.
 *
 * X(id, kind, need, member[, max[, sub-message]])
 *   id    1..32767, ascending, never used again for another meaning
 *   kind  U8 U16 U32 U64 I64 BOOL UUID, STR (max: bytes with the final NUL), BYTES (max: bytes),
 *         LIST (max: elements)
 *   need  REQ   always sent; refused when missing; refused by a receiver that does not know it
 *         MUST  sent unless zero/NULL/empty; refused by a receiver that does not know it
 *         OPT   sent unless zero/NULL/empty; skipped by a receiver that does not know it
 * An absent member decodes as zero, NULL or empty. Encoding: docs/protocol.md "Message bodies". */

enum msg_kind {
    MSG_U8 = 1,
    MSG_U16,
    MSG_U32,
    MSG_U64,
    MSG_I64,
    MSG_BOOL,
    MSG_STR,
    MSG_UUID,
    MSG_BYTES,
    MSG_LIST,
};

enum msg_need { MSG_OPT, MSG_MUST, MSG_REQ };

struct msg_desc;

struct msg_field {
    uint16_t id;
    enum msg_kind kind;
    enum msg_need need;
    const char *name;
    size_t at;   /* offset of the member */
    size_t n_at; /* offset of its count, BYTES and LIST */
    size_t max;
    const struct msg_desc *(*sub)(void); /* LIST */
};

struct msg_desc {
    const char *name;
    size_t size; /* of the struct, bytes */
    const struct msg_field *fields;
    size_t n_fields;
};

/* msg_encode() - append @m (a struct described by @d) to @to.
 * Errors: VR_E_INVAL a required pointer is NULL, VR_E_LIMIT a member is longer than its table
 * allows or the buffer is full. After an error the buffer holds a part and must not be sent.
 * Thread: any. Use the generated M_encode(). */
int msg_encode(const struct msg_desc *d, const void *m, struct vr_buf *to, struct vr_err *err);

/* msg_decode() - decode @n bytes at @p into the struct @ret, which is untouched on failure.
 * Errors: VR_E_PROTO malformed, missing or of wrong kind; VR_E_LIMIT over a member's maximum or
 * too much memory in all (64 MiB); VR_E_UNSUPPORTED an unknown field that must be understood.
 * Ownership: the caller releases *@ret with msg_done(). Thread: any. Use the generated M_decode().
 */
int msg_decode(const struct msg_desc *d, const void *p, size_t n, void *ret, struct vr_err *err);

/* msg_done() - free what msg_decode() put into @m and zero it. NULL is fine. Thread: any. */
void msg_done(const struct msg_desc *d, void *m);

/* Members of the struct by kind. */
#define MSG_MEMBER_U8(name) uint8_t name;
#define MSG_MEMBER_U16(name) uint16_t name;
#define MSG_MEMBER_U32(name) uint32_t name;
#define MSG_MEMBER_U64(name) uint64_t name;
#define MSG_MEMBER_I64(name) int64_t name;
#define MSG_MEMBER_BOOL(name) bool name;
#define MSG_MEMBER_UUID(name) struct vr_uuid name;
#define MSG_MEMBER_STR(name, max) const char *name;
#define MSG_MEMBER_BYTES(name, max) \
    const uint8_t *name;            \
    size_t n_##name;
#define MSG_MEMBER_LIST(name, max, sub) \
    const struct sub *name;             \
    size_t n_##name;
#define MSG_X_MEMBER(id, kind, need, name, ...) MSG_MEMBER_##kind(name, ##__VA_ARGS__)

/* The kind's part of the table row; msg_self is the struct, see MSG_DEFINE. */
#define MSG_ROW_U8(name)
#define MSG_ROW_U16(name)
#define MSG_ROW_U32(name)
#define MSG_ROW_U64(name)
#define MSG_ROW_I64(name)
#define MSG_ROW_BOOL(name)
#define MSG_ROW_UUID(name)
#define MSG_ROW_STR(name, max_) .max = (max_),
#define MSG_ROW_BYTES(name, max_) .max = (max_), .n_at = offsetof(msg_self, n_##name),
#define MSG_ROW_LIST(name, max_, sub_) \
    .max = (max_), .n_at = offsetof(msg_self, n_##name), .sub = sub_##_desc,
#define MSG_X_ROW(id_, kind_, need_, name_, ...)                                                  \
    { MSG_ROW_##kind_(name_, ##__VA_ARGS__).id = (id_), .kind = MSG_##kind_, .need = MSG_##need_, \
      .name = #name_, .at = offsetof(msg_self, name_) },

/* One member per id: a number used twice does not compile. */
#define MSG_X_UNIQUE(id, ...) char id_##id;

#define MSG_DECLARE(T, FIELDS)                                                                   \
    struct T {                                                                                   \
        FIELDS(MSG_X_MEMBER)                                                                     \
    };                                                                                           \
    const struct msg_desc *T##_desc(void);                                                       \
    __attribute__((unused)) static inline int T##_encode(const struct T *m, struct vr_buf *to,   \
                                                         struct vr_err *err)                     \
    {                                                                                            \
        return msg_encode(T##_desc(), m, to, err);                                               \
    }                                                                                            \
    __attribute__((unused)) static inline int T##_decode(const void *p, size_t n, struct T *ret, \
                                                         struct vr_err *err)                     \
    {                                                                                            \
        return msg_decode(T##_desc(), p, n, ret, err);                                           \
    }                                                                                            \
    __attribute__((unused)) static inline void T##_done(struct T *m)                             \
    {                                                                                            \
        msg_done(T##_desc(), m);                                                                 \
    }

#define MSG_DEFINE(T, FIELDS)                                                \
    struct T##_unique {                                                      \
        FIELDS(MSG_X_UNIQUE)                                                 \
    };                                                                       \
    const struct msg_desc *T##_desc(void)                                    \
    {                                                                        \
        typedef struct T msg_self;                                           \
        static const struct msg_field fields[] = { FIELDS(MSG_X_ROW) };      \
        static const struct msg_desc d = { #T, sizeof(msg_self), fields,     \
                                           sizeof fields / sizeof *fields }; \
        return &d;                                                           \
    }

#endif
