/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Error objects: kind, place, message with context. Any thread; no allocation, no logging. */
#include "base/err.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    enum vr_scope scope;
    uint32_t code;
    const char *text;
} kinds[VR_E_COUNT] = {
    [VR_OK] = { "OK", VR_SCOPE_NONE, 0, "ok" },
#define X(n, s, c, t) [VR_E_##n] = { #n, VR_SCOPE_##s, (c), (t) },
#include "base/errors.def"
#undef X
};

int vr_fail_at(struct vr_err *e, const char *where, enum vr_kind k, int sys, const char *fmt, ...)
{
    if (!e)
        return -1;
    assert(k != VR_OK && k < VR_E_COUNT);
    assert(e->kind == VR_OK); /* the first error wins; setting a second one is a bug */
    e->kind = k;
    e->sys = sys;
    e->detail = 0;
    e->where = where;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    if (sys > 0 && n >= 0 && (size_t)n < sizeof e->msg) {
        char text[128];
        const char *s = strerror_r(sys, text, sizeof text);
        snprintf(e->msg + n, sizeof e->msg - (size_t)n, ": %s", s);
    }
    return -1;
}

int vr_err_detail(struct vr_err *e, unsigned detail)
{
    if (e)
        e->detail = detail;
    return -1;
}

/* How much of @msg says again what @context ends with: "sending to b" before "b: no route". */
static size_t said_already(const char *context, const char *msg)
{
    const char *colon = strstr(msg, ": ");
    size_t n = strlen(context), head = colon ? (size_t)(colon - msg) : 0;
    if (!head || head > n || memcmp(context + n - head, msg, head) != 0 ||
        (head < n && context[n - head - 1] != ' '))
        return 0;
    return head + 2;
}

/* Whether @msg begins with what @context says: "host b" before "host b already has it", also "b".
 */
static bool says_it_itself(const char *context, const char *msg)
{
    static const char host[] = "host ";
    size_t n = strlen(context);
    if (!strncmp(msg, host, strlen(host)) && strncmp(context, host, strlen(host)) != 0)
        msg += strlen(host);
    return n && !strncmp(msg, context, n) && (msg[n] == ' ' || msg[n] == ',');
}

int vr_err_wrap(struct vr_err *e, const char *fmt, ...)
{
    if (!e || e->kind == VR_OK)
        return -1;
    char out[sizeof e->msg];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(out, sizeof out, fmt, ap);
    va_end(ap);
    if (says_it_itself(out, e->msg))
        return -1;
    if (n >= 0 && (size_t)n < sizeof out)
        snprintf(out + n, sizeof out - (size_t)n, ": %s", e->msg + said_already(out, e->msg));
    memcpy(e->msg, out, sizeof out);
    return -1;
}

void vr_err_clear(struct vr_err *e)
{
    *e = (struct vr_err)VR_ERR_INIT;
}

void vr_err_move(struct vr_err *to, const struct vr_err *from)
{
    if (to && to->kind == VR_OK)
        *to = *from;
}

const char *vr_kind_name(enum vr_kind k)
{
    return k < VR_E_COUNT ? kinds[k].name : "?";
}

const char *vr_kind_text(enum vr_kind k)
{
    return k < VR_E_COUNT ? kinds[k].text : "?";
}

enum vr_scope vr_kind_scope(enum vr_kind k)
{
    return k < VR_E_COUNT ? kinds[k].scope : VR_SCOPE_PROC;
}

uint32_t vr_kind_code(enum vr_kind k)
{
    return k < VR_E_COUNT ? kinds[k].code : 32768;
}

enum vr_kind vr_kind_from_name(const char *name)
{
    for (int i = 1; i < VR_E_COUNT; i++)
        if (!strcmp(kinds[i].name, name))
            return (enum vr_kind)i;
    return VR_E_INTERNAL;
}

enum vr_kind vr_kind_from_errno(int err)
{
    switch (err) {
    case ENOSPC:
    case EDQUOT:
        return VR_E_NOSPACE;
    case ENOMEM:
        return VR_E_NOMEM;
    case ENOENT:
        return VR_E_NOFILE;
    case EACCES:
    case EPERM:
        return VR_E_DENIED;
    case EEXIST:
        return VR_E_EXISTS;
    case ETIMEDOUT:
        return VR_E_TIMEOUT;
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENOTCONN:
        return VR_E_PEER;
    default:
        return VR_E_IO;
    }
}
