/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSPORT_FRAME_H
#define VR_TRANSPORT_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/stream.h"
#include "model/model.h"

/* Frames: what two ends of a session say to each other; docs/protocol.md sections 4 to 6. */

/* What this end waits for; decides which frames may arrive. */
enum frame_state {
    FRAME_ST_HELLO,      /* accepting side, the first frame */
    FRAME_ST_STRANGER,   /* accepting side, the certificate is not a paired peer's */
    FRAME_ST_PEER,       /* accepting side, it is */
    FRAME_ST_HELLO_BACK, /* connecting side, after HELLO */
    FRAME_ST_CALLING,    /* connecting side, after CALL */
    FRAME_ST_OPENING,    /* connecting side, after TRANSFER */
    FRAME_ST_PAIRING,    /* connecting side, after PAIR_TRY */
    FRAME_ST_LOGIN,      /* accepting side, port for Kerberos, nobody has logged in yet */
    FRAME_ST_LOGGING_IN, /* connecting side, after LOGIN */
    FRAME_ST_RESULT,     /* either side, at the end of a transfer */
    FRAME_ST_COUNT,
};

enum frame_type {
#define X(n, name, max, states) FRAME_##name = n,
#include "transport/frames.def"
#undef X
};

enum {
    FRAME_HEADER = 8, /* type u16, zero u16, length u32 */
    FRAME_PROTOCOL = 1,
    FRAME_SOFTWARE_MAX = 64,
};
#define FRAME_MAGIC 0x564d5250u /* "VMRP" */

/* Features. Bits 0-31 are given out by docs/protocol.md, 32-47 are for experiments, 48-63 are
 * reserved: nobody knows them, so whoever requires one is refused. */
#define FEATURE_BASE (UINT64_C(1) << 0)
#define FEATURE_KERBEROS (UINT64_C(1) << 1) /* LOGIN */
#define FEATURES_REQUIRED FEATURE_BASE
#define FEATURES_OFFERED (FEATURE_BASE | FEATURE_KERBEROS)

struct frame_hello {
    uint64_t required; /* the sender does not go on without these */
    uint64_t offered;  /* the sender knows these */
    char host[VR_NAME_MAX];
    char software[FRAME_SOFTWARE_MAX];
    int64_t wall_us;  /* the sender's clock, microseconds since 1970; 0: of a version without it */
    int64_t ahead_us; /* not on the wire: how far it was ahead of ours as it was heard */
};

/* tframe_name() - static text, "?" for an unknown number. */
const char *tframe_name(unsigned type);

/* tframe_send() - write one frame whose body is @head followed by @body, and flush.
 * Errors: VR_E_LIMIT too long for its type (nothing was written), those of the stream. */
int tframe_send(struct vr_stream *s, enum frame_type type, const void *head, size_t n_head,
                const void *body, size_t n_body, struct vr_err *err);

/* frame_recv() - read one frame that may arrive in state @st.
 * @body: emptied, then filled; memory is taken as the bytes arrive, not as the length says
 * Errors: VR_E_PROTO unknown or not permitted now, VR_E_AUTH not permitted to a stranger or before
 * a login, VR_E_LIMIT too long for its type, those of the stream. The stream is of no use after
 * these. */
int frame_recv(struct vr_stream *s, enum frame_state st, enum frame_type *ret, struct vr_buf *body,
               struct vr_err *err);

/* frame_is_host() - may @name be a host's name: letters, digits, dot, hyphen, underscore. */
bool frame_is_host(const char *name);

/* frame_hello_put() / frame_hello_get() - body of HELLO. Bytes after the known fields are ignored.
 * Errors of get: VR_E_PROTO not our protocol or malformed, VR_E_LIMIT. */
int frame_hello_put(const struct frame_hello *h, struct vr_buf *to, struct vr_err *err);
int frame_hello_get(const void *p, size_t n, struct frame_hello *ret, struct vr_err *err);

/* frame_hello_check() - can the two work together? Errors: VR_E_VERSION; the message names both
 * hosts, both versions and the features in question; sys is EPROTONOSUPPORT, also when the protocol
 * of frame_hello_get() is another one: a host of ours was met, but not of our version. */
int frame_hello_check(const struct frame_hello *mine, const struct frame_hello *theirs,
                      struct vr_err *err);

/* frame_err_put() / frame_err_get() - an error object as it travels: kind by name, code, message.
 * Kinds that would stop a process here (scope PROC) or that this version does not know arrive as
 * VR_E_PEER with the name in the message: the peer's trouble is not ours. Control characters in
 * the message become spaces.
 * Errors of get: VR_E_PROTO, VR_E_LIMIT; otherwise 0 and *@ret holds the error that travelled. */
int frame_err_put(const struct vr_err *e, struct vr_buf *to, struct vr_err *err);
int frame_err_get(const void *p, size_t n, struct vr_err *ret, struct vr_err *err);

#endif
