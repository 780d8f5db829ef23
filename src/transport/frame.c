/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Frames, HELLO and travelling errors. What may arrive, and how long it may be, is in frames.def
 * and checked before a byte of the body is read. Thread: any; no state. */
#include "transport/frame.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "model/model.h"

#define FRAME_WALL_MAX (UINT64_C(1) << 60) /* the year 38503: what is later is no time */
enum { FRAME_STEP = 1 << 20 };             /* bytes of a body that are taken on trust at a time */

#define FRAME_IN(st) (1u << FRAME_ST_##st)
static const struct frame_row {
    uint16_t type;
    const char *name;
    uint32_t max;
    unsigned states;
} frame_rows[] = {
#define X(n, name, max, states) { n, #name, max, states },
#include "transport/frames.def"
#undef X
};

static const struct frame_row *row_of(unsigned type)
{
    for (size_t i = 0; i < VR_ARRAY_LEN(frame_rows); i++)
        if (frame_rows[i].type == type)
            return &frame_rows[i];
    return NULL;
}

const char *tframe_name(unsigned type)
{
    const struct frame_row *row = row_of(type);
    return row ? row->name : "?";
}

int tframe_send(struct vr_stream *s, enum frame_type type, const void *head, size_t n_head,
                const void *body, size_t n_body, struct vr_err *err)
{
    const struct frame_row *row = row_of(type);
    uint8_t h[FRAME_HEADER] = { 0 };
    if (n_body > row->max || n_head > row->max - n_body)
        return vr_fail(err, VR_E_LIMIT, 0, "%s of %zu bytes, at most %u are allowed", row->name,
                       n_head + n_body, row->max);
    vr_store_u16(h, (uint16_t)type);
    vr_store_u32(h + 4, (uint32_t)(n_head + n_body));
    if (s->write(s, h, sizeof h, err) < 0 || (n_head && s->write(s, head, n_head, err) < 0) ||
        (n_body && s->write(s, body, n_body, err) < 0))
        return -1;
    return s->flush(s, err);
}

static int not_permitted(enum frame_state st, const struct frame_row *row, struct vr_err *err)
{
    if ((st == FRAME_ST_STRANGER || st == FRAME_ST_PEER) && row->type == FRAME_LOGIN)
        return vr_fail(err, st == FRAME_ST_STRANGER ? VR_E_AUTH : VR_E_PROTO, 0,
                       "this port is for hosts with certificates; that for Kerberos is HttpPort of "
                       "the service settings");
    if (st == FRAME_ST_STRANGER)
        return vr_fail(err, VR_E_AUTH, 0,
                       "this host does not know your certificate: %s is refused until the hosts "
                       "are paired",
                       row->name);
    if (st == FRAME_ST_LOGIN)
        return vr_fail(err, VR_E_AUTH, 0,
                       "this port is for hosts with Kerberos: %s is refused; that for certificates "
                       "is HttpsPort of the service settings",
                       row->name);
    return vr_fail(err, VR_E_PROTO, 0, "unexpected frame %s of the peer", row->name);
}

int frame_recv(struct vr_stream *s, enum frame_state st, enum frame_type *ret, struct vr_buf *body,
               struct vr_err *err)
{
    uint8_t h[FRAME_HEADER];
    if (s->read(s, h, sizeof h, err) < 0)
        return -1;
    unsigned type = vr_load_u16(h), zero = vr_load_u16(h + 2);
    uint32_t n = vr_load_u32(h + 4);
    const struct frame_row *row = row_of(type);
    if (!row || zero)
        return vr_fail(err, VR_E_PROTO, 0, "unknown frame %u.%u of the peer", type, zero);
    if (!(row->states & (1u << st)))
        return not_permitted(st, row, err);
    if (n > row->max)
        return vr_fail(err, VR_E_LIMIT, 0, "%s of %u bytes, at most %u are allowed", row->name, n,
                       row->max);
    body->len = 0;
    body->max = row->max;
    while (body->len < n) {
        size_t part = n - body->len < FRAME_STEP ? n - body->len : FRAME_STEP;
        if (vr_buf_reserve(body, part, err) < 0 ||
            s->read(s, body->data + body->len, part, err) < 0)
            return -1;
        body->len += part;
        body->data[body->len] = 0;
    }
    *ret = (enum frame_type)type;
    return 0;
}

bool frame_is_host(const char *name)
{
    if (!*name || strlen(name) >= VR_NAME_MAX)
        return false;
    for (const char *p = name; *p; p++)
        if (!isascii((unsigned char)*p) || !(isalnum((unsigned char)*p) || strchr("._-", *p)))
            return false;
    return true;
}

/* Marked, so that who asks can tell it from a port that is somebody else's. */
static int versions_differ(struct vr_err *err)
{
    err->sys = EPROTONOSUPPORT;
    return -1;
}

/* vmreplicad-fault speaks another protocol when it is told to (daemon/fault.h). */
static unsigned our_protocol(void)
{
#ifdef VR_FAULT
    const char *env = getenv("VMREPLICA_PROTOCOL");
    if (env)
        return (uint16_t)strtoul(env, NULL, 10);
#endif
    return FRAME_PROTOCOL;
}

int frame_hello_put(const struct frame_hello *h, struct vr_buf *to, struct vr_err *err)
{
    return vr_put_u32(to, FRAME_MAGIC, err) < 0 ||
                   vr_put_u16(to, (uint16_t)our_protocol(), err) < 0 ||
                   vr_put_u64(to, h->required, err) < 0 || vr_put_u64(to, h->offered, err) < 0 ||
                   vr_put_str(to, h->host, err) < 0 || vr_put_str(to, h->software, err) < 0 ||
                   vr_put_u64(to, (uint64_t)h->wall_us, err) < 0
               ? -1
               : 0;
}

/* A text of at most @size - 1 bytes into @out. */
static int get_text(struct vr_rd *r, char *out, size_t size, struct vr_err *err)
{
    char *s = NULL;
    if (vr_get_str(r, size - 1, &s, err) < 0)
        return -1;
    memcpy(out, s, strlen(s) + 1);
    free(s);
    return 0;
}

static void make_printable(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            *s = ' ';
}

int frame_hello_get(const void *p, size_t n, struct frame_hello *ret, struct vr_err *err)
{
    struct vr_rd r = { p, n };
    struct frame_hello h = { 0 };
    uint32_t magic;
    uint16_t protocol;
    if (vr_get_u32(&r, &magic, err) < 0)
        return vr_err_wrap(err, "HELLO");
    if (magic != FRAME_MAGIC)
        return vr_fail(err, VR_E_PROTO, 0, "HELLO with the wrong magic number %08" PRIx32, magic);
    if (vr_get_u16(&r, &protocol, err) < 0 || vr_get_u64(&r, &h.required, err) < 0 ||
        vr_get_u64(&r, &h.offered, err) < 0 || get_text(&r, h.host, sizeof h.host, err) < 0 ||
        get_text(&r, h.software, sizeof h.software, err) < 0)
        return vr_err_wrap(err, "HELLO");
    make_printable(h.software);
    uint64_t wall = 0;
    if (r.left >= sizeof wall && vr_get_u64(&r, &wall, err) < 0)
        return vr_err_wrap(err, "HELLO");
    h.wall_us = wall <= FRAME_WALL_MAX ? (int64_t)wall : 0;
    if (!frame_is_host(h.host))
        return vr_fail(err, VR_E_PROTO, 0, "HELLO without a valid host name");
    if (protocol != our_protocol()) {
        vr_fail(err, VR_E_VERSION, 0,
                "%s (vmreplica %s) speaks protocol %u, the other host (vmreplica %s) "
                "protocol %u: update the older one",
                h.host, h.software, protocol, VR_VERSION, our_protocol());
        return versions_differ(err);
    }
    *ret = h;
    return 0;
}

int frame_hello_check(const struct frame_hello *mine, const struct frame_hello *theirs,
                      struct vr_err *err)
{
    uint64_t unknown_here = theirs->required & ~mine->offered;
    uint64_t unknown_there = mine->required & ~theirs->offered;
    if (unknown_here) {
        vr_fail(err, VR_E_VERSION, 0,
                "%s (vmreplica %s) requires features %#" PRIx64
                " that %s (vmreplica %s) does not know: update the older one",
                theirs->host, theirs->software, unknown_here, mine->host, mine->software);
        return versions_differ(err);
    }
    if (unknown_there) {
        vr_fail(err, VR_E_VERSION, 0,
                "%s (vmreplica %s) requires features %#" PRIx64
                " that %s (vmreplica %s) does not know: update the older one",
                mine->host, mine->software, unknown_there, theirs->host, theirs->software);
        return versions_differ(err);
    }
    return 0;
}

int frame_err_put(const struct vr_err *e, struct vr_buf *to, struct vr_err *err)
{
    return vr_put_str(to, vr_kind_name(e->kind), err) < 0 ||
                   vr_put_u32(to, (uint32_t)e->sys, err) < 0 || vr_put_str(to, e->msg, err) < 0
               ? -1
               : 0;
}

int frame_err_get(const void *p, size_t n, struct vr_err *ret, struct vr_err *err)
{
    struct vr_rd r = { p, n };
    struct vr_err e = VR_ERR_INIT;
    char name[32], msg[sizeof e.msg];
    uint32_t sys;
    if (get_text(&r, name, sizeof name, err) < 0 || vr_get_u32(&r, &sys, err) < 0 ||
        get_text(&r, msg, sizeof msg, err) < 0)
        return vr_err_wrap(err, "error of the peer");
    make_printable(name);
    make_printable(msg);
    enum vr_kind k = vr_kind_from_name(name);
    bool known = k != VR_OK && vr_kind_scope(k) != VR_SCOPE_PROC;
    e.kind = known ? k : VR_E_PEER;
    e.sys = (int)sys;
    e.detail = k == VR_E_TRACKING ? VR_LOST_PEER : 0;
    e.where = "peer";
    if (known)
        snprintf(e.msg, sizeof e.msg, "%s", msg);
    else
        snprintf(e.msg, sizeof e.msg, "%s (%s on the peer)", msg, name);
    *ret = e;
    return 0;
}
