/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tagged-field bodies of calls, driven by the tables that msg.h declares.
 *
 *   body  = field*                      ids strictly ascending
 *   field = id u16, type u8, length u32, value
 *   type  = kind (bits 0..6), bit 7: a receiver that does not know the id must refuse the body
 *   LIST  = count u32, (length u32, body)*
 *
 * Nothing is trusted: each length is checked before use, each member against its table, and all
 * memory of one decode against MSG_MEMORY. A message that fails half-way is released whole.
 * Thread: any; no state. */
#include "transport/msg.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"

enum {
    MSG_MUST_KNOW = 0x80,
    MSG_DEPTH = 8, /* nesting of lists */
    MSG_MEMORY = 64 << 20,
};

/* Length of a value of fixed size, 0 for those without. */
static size_t fixed_len(enum msg_kind k)
{
    switch (k) {
    case MSG_U8:
    case MSG_BOOL:
        return 1;
    case MSG_U16:
        return 2;
    case MSG_U32:
        return 4;
    case MSG_U64:
    case MSG_I64:
        return 8;
    case MSG_UUID:
        return 16;
    case MSG_STR:
    case MSG_BYTES:
    case MSG_LIST:
        break;
    }
    return 0;
}

/* Encoding -------------------------------------------------------------------------------- */

static size_t count_of(const struct msg_field *f, const void *m)
{
    return *(const size_t *)((const char *)m + f->n_at);
}

/* The pointer member of STR, BYTES, LIST. All have the representation of a char pointer. */
static const void *pointer_of(const struct msg_field *f, const void *m)
{
    const void *p;
    memcpy(&p, (const char *)m + f->at, sizeof p);
    return p;
}

static bool is_empty(const struct msg_field *f, const void *m)
{
    static const uint8_t zero[16];
    switch (f->kind) {
    case MSG_STR:
        return !pointer_of(f, m);
    case MSG_BYTES:
    case MSG_LIST:
        return !count_of(f, m);
    default:
        return memcmp((const char *)m + f->at, zero, fixed_len(f->kind)) == 0;
    }
}

static int put_scalar(const struct msg_field *f, const void *m, struct vr_buf *to,
                      struct vr_err *err)
{
    const void *p = (const char *)m + f->at;
    switch (f->kind) {
    case MSG_U8:
        return vr_put_u8(to, *(const uint8_t *)p, err);
    case MSG_BOOL:
        return vr_put_u8(to, *(const bool *)p, err);
    case MSG_U16:
        return vr_put_u16(to, *(const uint16_t *)p, err);
    case MSG_U32:
        return vr_put_u32(to, *(const uint32_t *)p, err);
    case MSG_U64:
        return vr_put_u64(to, *(const uint64_t *)p, err);
    case MSG_I64:
        return vr_put_u64(to, (uint64_t) * (const int64_t *)p, err);
    case MSG_UUID:
        return vr_put_bytes(to, p, 16, err);
    default:
        return vr_fail(err, VR_E_INTERNAL, 0, "field %s has no kind", f->name);
    }
}

static int put_blob(const struct msg_desc *d, const struct msg_field *f, const void *m,
                    struct vr_buf *to, struct vr_err *err)
{
    const void *p = pointer_of(f, m);
    size_t n = f->kind == MSG_BYTES ? count_of(f, m) : p ? strlen(p) : 0;
    size_t max = f->kind == MSG_STR ? f->max - 1 : f->max;
    if (!p && (f->kind == MSG_STR || n))
        return vr_fail(err, VR_E_INVAL, 0, "%s: %s is missing", d->name, f->name);
    if (n > max)
        return vr_fail(err, VR_E_LIMIT, 0, "%s: %s has %zu bytes, at most %zu are allowed", d->name,
                       f->name, n, max);
    if (vr_put_u32(to, (uint32_t)n, err) < 0)
        return -1;
    return vr_put_bytes(to, p, n, err);
}

static int encode_at(const struct msg_desc *d, const void *m, int depth, struct vr_buf *to,
                     struct vr_err *err);

/* Reserve a u32 length, to be filled in by end_len() when what follows is known. */
static int begin_len(struct vr_buf *to, size_t *ret_at, struct vr_err *err)
{
    size_t at = to->len;
    if (vr_put_u32(to, 0, err) < 0)
        return -1;
    *ret_at = at;
    return 0;
}

static void end_len(struct vr_buf *to, size_t at)
{
    vr_store_u32(to->data + at, (uint32_t)(to->len - at - 4));
}

static int put_list(const struct msg_desc *d, const struct msg_field *f, const void *m, int depth,
                    struct vr_buf *to, struct vr_err *err)
{
    const struct msg_desc *sub = f->sub();
    const char *p = pointer_of(f, m);
    size_t n = count_of(f, m), at, el;
    if (n > f->max)
        return vr_fail(err, VR_E_LIMIT, 0, "%s: %s has %zu elements, at most %zu are allowed",
                       d->name, f->name, n, f->max);
    if (begin_len(to, &at, err) < 0 || vr_put_u32(to, (uint32_t)n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (begin_len(to, &el, err) < 0)
            return -1;
        if (encode_at(sub, p + i * sub->size, depth + 1, to, err) < 0)
            return vr_err_wrap(err, "%s: %s[%zu]", d->name, f->name, i);
        end_len(to, el);
    }
    end_len(to, at);
    return 0;
}

static int encode_at(const struct msg_desc *d, const void *m, int depth, struct vr_buf *to,
                     struct vr_err *err)
{
    uint16_t last = 0;
    if (depth > MSG_DEPTH)
        return vr_fail(err, VR_E_INTERNAL, 0, "%s is nested too deeply", d->name);
    for (size_t i = 0; i < d->n_fields; i++) {
        const struct msg_field *f = &d->fields[i];
        if (f->id <= last)
            return vr_fail(err, VR_E_INTERNAL, 0, "table of %s: %s is out of order", d->name,
                           f->name);
        last = f->id;
        if (f->need != MSG_REQ && is_empty(f, m))
            continue;
        uint8_t type = (uint8_t)f->kind | (f->need == MSG_OPT ? 0 : MSG_MUST_KNOW);
        if (vr_put_u16(to, f->id, err) < 0 || vr_put_u8(to, type, err) < 0)
            return -1;
        size_t n = fixed_len(f->kind);
        if (n ? vr_put_u32(to, (uint32_t)n, err) < 0 || put_scalar(f, m, to, err) < 0
            : f->kind == MSG_LIST ? put_list(d, f, m, depth, to, err) < 0
                                  : put_blob(d, f, m, to, err) < 0)
            return -1;
    }
    return 0;
}

int msg_encode(const struct msg_desc *d, const void *m, struct vr_buf *to, struct vr_err *err)
{
    return encode_at(d, m, 0, to, err);
}

/* Decoding -------------------------------------------------------------------------------- */

struct decoder {
    size_t memory; /* bytes that may still be allocated */
    int depth;
};

static int decode_at(struct decoder *dec, const struct msg_desc *d, struct vr_rd r, void *m,
                     struct vr_err *err);

static void *get_memory(struct decoder *dec, size_t n, size_t size, struct vr_err *err)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > dec->memory) {
        vr_fail(err, VR_E_LIMIT, 0, "the message would take more than %d bytes of memory",
                MSG_MEMORY);
        return NULL;
    }
    void *p = calloc(n ? n : 1, size);
    if (!p) {
        vr_fail(err, VR_E_NOMEM, 0, "no memory for a message of %zu bytes", bytes);
        return NULL;
    }
    dec->memory -= bytes;
    return p;
}

static void set_pointer(const struct msg_field *f, void *m, const void *p)
{
    memcpy((char *)m + f->at, &p, sizeof p);
}

static void set_count(const struct msg_field *f, void *m, size_t n)
{
    *(size_t *)((char *)m + f->n_at) = n;
}

static int get_scalar(const struct msg_field *f, struct vr_rd *r, void *m, struct vr_err *err)
{
    void *p = (char *)m + f->at;
    uint8_t u8;
    switch (f->kind) {
    case MSG_U8:
        return vr_get_u8(r, p, err);
    case MSG_BOOL:
        if (vr_get_u8(r, &u8, err) < 0)
            return -1;
        if (u8 > 1)
            return vr_fail(err, VR_E_PROTO, 0, "%u is not a truth value", u8);
        *(bool *)p = u8;
        return 0;
    case MSG_U16:
        return vr_get_u16(r, p, err);
    case MSG_U32:
        return vr_get_u32(r, p, err);
    case MSG_U64:
    case MSG_I64:
        return vr_get_u64(r, p, err);
    case MSG_UUID:
        return vr_get_bytes(r, p, 16, err);
    default:
        return vr_fail(err, VR_E_INTERNAL, 0, "no such kind");
    }
}

static int get_blob(struct decoder *dec, const struct msg_field *f, struct vr_rd r, void *m,
                    struct vr_err *err)
{
    size_t n = r.left, max = f->kind == MSG_STR ? f->max - 1 : f->max;
    if (n > max)
        return vr_fail(err, VR_E_LIMIT, 0, "%zu bytes, at most %zu are allowed", n, max);
    if (f->kind == MSG_STR && n && memchr(r.p, 0, n))
        return vr_fail(err, VR_E_PROTO, 0, "text with a NUL byte inside");
    char *p = get_memory(dec, n + 1, 1, err);
    if (!p || vr_get_bytes(&r, p, n, err) < 0) {
        free(p);
        return -1;
    }
    set_pointer(f, m, p);
    if (f->kind == MSG_BYTES)
        set_count(f, m, n);
    return 0;
}

static int get_list(struct decoder *dec, const struct msg_field *f, struct vr_rd r, void *m,
                    struct vr_err *err)
{
    const struct msg_desc *sub = f->sub();
    uint32_t n, len;
    if (vr_get_u32(&r, &n, err) < 0)
        return -1;
    if (n > f->max)
        return vr_fail(err, VR_E_LIMIT, 0, "%u elements, at most %zu are allowed", n, f->max);
    if (n > r.left / 4)
        return vr_fail(err, VR_E_PROTO, 0, "%u elements in %zu bytes", n, r.left);
    if (!n)
        return vr_get_end(&r, err);
    char *p = get_memory(dec, n, sub->size, err);
    if (!p)
        return -1;
    set_pointer(f, m, p); /* owned by the message from here on, also when an element fails */
    set_count(f, m, n);
    for (uint32_t i = 0; i < n; i++) {
        if (vr_get_u32(&r, &len, err) < 0)
            return -1;
        if (len > r.left)
            return vr_fail(err, VR_E_PROTO, 0, "element %u is truncated", i);
        if (decode_at(dec, sub, (struct vr_rd){ r.p, len }, p + i * sub->size, err) < 0)
            return vr_err_wrap(err, "element %u", i);
        r.p += len;
        r.left -= len;
    }
    return vr_get_end(&r, err);
}

static int get_field(struct decoder *dec, const struct msg_field *f, uint8_t type, struct vr_rd r,
                     void *m, struct vr_err *err)
{
    if ((type & ~MSG_MUST_KNOW) != (int)f->kind)
        return vr_fail(err, VR_E_PROTO, 0, "kind %u where %d is expected", type & ~MSG_MUST_KNOW,
                       f->kind);
    size_t n = fixed_len(f->kind);
    if (n && r.left != n)
        return vr_fail(err, VR_E_PROTO, 0, "%zu bytes where %zu are expected", r.left, n);
    if (n)
        return get_scalar(f, &r, m, err);
    return f->kind == MSG_LIST ? get_list(dec, f, r, m, err) : get_blob(dec, f, r, m, err);
}

static int missing(const struct msg_desc *d, const struct msg_field *f, struct vr_err *err)
{
    return vr_fail(err, VR_E_PROTO, 0, "%s: required field %s is missing", d->name, f->name);
}

static int decode_at(struct decoder *dec, const struct msg_desc *d, struct vr_rd r, void *m,
                     struct vr_err *err)
{
    size_t at = 0; /* both the table and the wire ascend: one walk along both */
    uint16_t id, last = 0;
    uint8_t type;
    uint32_t len;
    if (++dec->depth > MSG_DEPTH)
        return vr_fail(err, VR_E_LIMIT, 0, "%s is nested too deeply", d->name);
    while (r.left) {
        if (vr_get_u16(&r, &id, err) < 0 || vr_get_u8(&r, &type, err) < 0 ||
            vr_get_u32(&r, &len, err) < 0)
            return vr_err_wrap(err, "%s", d->name);
        if (id <= last)
            return vr_fail(err, VR_E_PROTO, 0, "%s: field %u after field %u", d->name, id, last);
        if (len > r.left)
            return vr_fail(err, VR_E_PROTO, 0, "%s: field %u is truncated", d->name, id);
        last = id;
        for (; at < d->n_fields && d->fields[at].id < id; at++)
            if (d->fields[at].need == MSG_REQ)
                return missing(d, &d->fields[at], err);
        if (at < d->n_fields && d->fields[at].id == id) {
            if (get_field(dec, &d->fields[at], type, (struct vr_rd){ r.p, len }, m, err) < 0)
                return vr_err_wrap(err, "%s: %s", d->name, d->fields[at].name);
            at++;
        } else if (type & MSG_MUST_KNOW) {
            return vr_fail(err, VR_E_UNSUPPORTED, 0,
                           "%s: field %u must be understood, and this version does not know it",
                           d->name, id);
        }
        r.p += len;
        r.left -= len;
    }
    for (; at < d->n_fields; at++)
        if (d->fields[at].need == MSG_REQ)
            return missing(d, &d->fields[at], err);
    dec->depth--;
    return 0;
}

int msg_decode(const struct msg_desc *d, const void *p, size_t n, void *ret, struct vr_err *err)
{
    struct decoder dec = { .memory = MSG_MEMORY };
    void *m = get_memory(&dec, 1, d->size, err);
    if (!m)
        return -1;
    int rc = decode_at(&dec, d, (struct vr_rd){ p, n }, m, err);
    if (rc < 0)
        msg_done(d, m);
    else
        memcpy(ret, m, d->size);
    free(m);
    return rc;
}

void msg_done(const struct msg_desc *d, void *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < d->n_fields; i++) {
        const struct msg_field *f = &d->fields[i];
        if (f->kind != MSG_STR && f->kind != MSG_BYTES && f->kind != MSG_LIST)
            continue;
        char *p = (char *)(uintptr_t)pointer_of(f, m);
        if (f->kind == MSG_LIST && p) {
            const struct msg_desc *sub = f->sub();
            for (size_t k = 0; k < count_of(f, m); k++)
                msg_done(sub, p + k * sub->size);
        }
        free(p);
    }
    memset(m, 0, d->size);
}
