/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_BASE_ERR_H
#define VR_BASE_ERR_H

#include <stdbool.h>
#include <stdint.h>

/* Kind of an error: selects scope, retry and return code through errors.def. */
enum vr_kind {
    VR_OK,
#define X(n, scope, code, text) VR_E_##n,
#include "base/errors.def"
#undef X
    VR_E_COUNT
};

/* What an error stops; see docs/architecture.md "Failure scopes". */
enum vr_scope { VR_SCOPE_NONE, VR_SCOPE_OP, VR_SCOPE_XFER, VR_SCOPE_REL, VR_SCOPE_PROC };

/* An error object. Owned by the caller, no allocation. Zero-initialise with VR_ERR_INIT. */
struct vr_err {
    enum vr_kind kind;
    int sys;           /* errno or library code, 0 if none */
    unsigned detail;   /* which case of the kind, 0 if it has none: TRACKING: enum vr_lost */
    const char *where; /* file:line of the first failure, static storage */
    char msg[512];     /* for people: what failed, why, what to do */
};
#define VR_ERR_INIT   \
    {                 \
        .kind = VR_OK \
    }

/* vr_fail_at() - fill an error object; use the vr_fail() macro.
 * @e:     the object, may be NULL; it must not hold an error already (asserted)
 * @where: static string with the place
 * @k:     kind, not VR_OK
 * @sys:   errno or 0; when not 0 its text is appended to the message
 * Returns: always -1, so that `return vr_fail(...)` reads well. Thread: any. */
__attribute__((format(printf, 5, 6))) int vr_fail_at(struct vr_err *e, const char *where,
                                                     enum vr_kind k, int sys, const char *fmt, ...);

/* vr_err_wrap() - put context before the message: "context: message". What the context ends with
 * is not said twice, and nothing is put before a message that begins with the context.
 * @e: may be NULL or empty (then nothing happens). Returns: always -1. Thread: any. */
__attribute__((format(printf, 2, 3))) int vr_err_wrap(struct vr_err *e, const char *fmt, ...);

/* vr_err_clear() - make the object empty again, for a deliberate retry. Thread: any. */
void vr_err_clear(struct vr_err *e);

/* vr_err_move() - copy @from into @to unless @to is NULL or already holds an error (first wins). */
void vr_err_move(struct vr_err *to, const struct vr_err *from);

/* vr_kind_name() - symbolic name ("PEER"), static. vr_kind_text() - short text, static.
 * vr_kind_scope() - scope. vr_kind_code() - method return code, src:[contract.md B.0].
 * vr_kind_from_name() - reverse of name, VR_E_INTERNAL if unknown. */
const char *vr_kind_name(enum vr_kind k);
const char *vr_kind_text(enum vr_kind k);
enum vr_scope vr_kind_scope(enum vr_kind k);
uint32_t vr_kind_code(enum vr_kind k);
enum vr_kind vr_kind_from_name(const char *name);

/* vr_kind_from_errno() - ENOSPC, ENOMEM, ENOENT... to a kind; VR_E_IO for the rest. */
enum vr_kind vr_kind_from_errno(int err);

/* vr_fail_detail() - vr_fail() with a detail; the first error of @e still wins. Returns: -1. */
#define vr_fail_detail(e, k, d, ...) \
    (vr_fail_at((e), __FILE_NAME__ ":" VR_STR(__LINE__), (k), 0, __VA_ARGS__), vr_err_detail(e, d))
int vr_err_detail(struct vr_err *e, unsigned detail);

#define VR_STR_(x) #x
#define VR_STR(x) VR_STR_(x)
#define vr_fail(e, k, sys, ...) \
    vr_fail_at((e), __FILE_NAME__ ":" VR_STR(__LINE__), (k), (sys), __VA_ARGS__)

#endif
