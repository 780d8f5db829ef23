/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The connecting side: calls, opening of transfers, pairing.
 *
 * A call takes an idle connection to its peer or makes one, and gives it back when the answer was
 * read whole. A kept connection may have died meanwhile (the peer restarted, closed it for being
 * idle, a firewall forgot it). If one breaks before an answer began, the call is made once more on
 * a new connection; so the peer may see a call twice and calls must be idempotent. A connection
 * made for the call is never retried: that is for the caller to decide.
 * Thread: any but the control thread; everything here blocks. */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "transport/impl.h"

#define stream_auto __attribute__((cleanup(vr_stream_freep)))

/* Being busy ------------------------------------------------------------------------------ */

static int enter(struct xport *x, struct vr_err *err)
{
    pthread_mutex_lock(&x->cache.lock);
    bool ok = !x->cache.stopping;
    if (ok)
        x->cache.busy++;
    pthread_mutex_unlock(&x->cache.lock);
    return ok ? 0 : vr_fail(err, VR_E_CANCELLED, 0, "the transport is being stopped");
}

static void leave(struct xport *x)
{
    pthread_mutex_lock(&x->cache.lock);
    if (--x->cache.busy == 0)
        pthread_cond_broadcast(&x->cache.quiet);
    pthread_mutex_unlock(&x->cache.lock);
}

/* Kept connections ------------------------------------------------------------------------ */

static bool same_place(const struct xport_peer *a, const struct xport_peer *b)
{
    return a->port == b->port && a->kerberos == b->kerberos && !strcmp(a->thumb, b->thumb) &&
           !strcmp(a->address, b->address) && (!a->kerberos || !strcmp(a->name, b->name));
}

/* Take entry @i off the list. Called with the lock. */
static struct vr_stream *take_at(struct xport *x, size_t i)
{
    struct vr_stream *s = x->cache.at[i].s;
    x->cache.at[i] = x->cache.at[--x->cache.n];
    return s;
}

static struct vr_stream *cache_take(struct xport *x, const struct xport_peer *peer)
{
    struct vr_stream *s = NULL;
    pthread_mutex_lock(&x->cache.lock);
    for (size_t i = 0; i < x->cache.n && !s; i++)
        if (same_place(&x->cache.at[i].peer, peer))
            s = take_at(x, i);
    pthread_mutex_unlock(&x->cache.lock);
    if (s && !tls_is_fresh(tls_of(s))) {
        vr_stream_free(s);
        s = NULL;
    }
    return s;
}

static void cache_put(struct xport *x, const struct xport_peer *peer, struct vr_stream *take_s)
{
    struct vr_stream *old = take_s;
    pthread_mutex_lock(&x->cache.lock);
    bool room = !x->cache.stopping && x->cache.n < XPORT_CACHE_MAX;
    for (size_t i = 0; i < x->cache.n && room; i++)
        room = !same_place(&x->cache.at[i].peer, peer);
    if (room) {
        x->cache.at[x->cache.n++] = (struct cached){ take_s, *peer, vr_mono_now() };
        old = NULL;
    }
    pthread_mutex_unlock(&x->cache.lock);
    vr_stream_free(old);
}

/* Close kept connections that are older than @age_ms. */
static void cache_drop(struct xport *x, int64_t age_ms)
{
    struct vr_stream *s;
    do {
        int64_t now = vr_mono_now().ms;
        s = NULL;
        pthread_mutex_lock(&x->cache.lock);
        for (size_t i = 0; i < x->cache.n && !s; i++)
            if (now - x->cache.at[i].since.ms >= age_ms)
                s = take_at(x, i);
        pthread_mutex_unlock(&x->cache.lock);
        vr_stream_free(s);
    } while (s);
}

void client_trim(struct xport *x)
{
    cache_drop(x, x->idle_ms / 2);
}

void client_stop(struct xport *x)
{
    pthread_mutex_lock(&x->cache.lock);
    x->cache.stopping = true;
    while (x->cache.busy)
        pthread_cond_wait(&x->cache.quiet, &x->cache.lock);
    pthread_mutex_unlock(&x->cache.lock);
    cache_drop(x, 0);
}

/* Connecting ------------------------------------------------------------------------------ */

static int greet(struct xport *x, struct vr_stream *s, uint64_t more, struct frame_hello *ret,
                 struct vr_err *err)
{
    struct frame_hello mine, theirs;
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    enum frame_type type;
    if (say_hello(x, s, more, err) < 0 || frame_recv(s, FRAME_ST_HELLO_BACK, &type, &b, err) < 0)
        return -1;
    if (type == FRAME_REFUSED)
        return take_refused(&b, err);
    hello_fill(x, more, &mine);
    struct vr_err e = VR_ERR_INIT;
    if (frame_hello_get(b.data, b.len, &theirs, &e) < 0 ||
        frame_hello_check(&mine, &theirs, &e) < 0) {
        say_refused(s, &e);
        vr_err_move(err, &e);
        return -1;
    }
    theirs.ahead_us = hello_ahead(&theirs);
    *ret = theirs;
    return 0;
}

/* A session with whoever is at @address, HELLO exchanged. @thumb NULL: any certificate. Errors do
 * not say where that is: the caller does. */
static int connect_to(struct xport *x, const char *address, uint16_t port, const char *thumb,
                      uint64_t more, struct mono_ms deadline, struct vr_stream **ret,
                      struct frame_hello *ret_hello, struct vr_err *err)
{
    struct tls *t = NULL;
    int fd = -1;
    if (net_connect(address, port, x->stop_fd, deadline, &fd, err) < 0 ||
        session_new(x, fd, SESSION_OURS, &t, err) < 0)
        return -1;
    stream_auto struct vr_stream *s = tls_stream(t);
    struct mono_ms soon = net_after(x->handshake_ms);
    tls_set_deadline(t, deadline.ms < soon.ms ? deadline : soon);
    if (tls_handshake(t, err) < 0)
        return -1;
    if (thumb && strcmp(thumb, tls_peer_thumb(t)) != 0)
        return vr_fail(err, VR_E_AUTH, 0,
                       "it shows another certificate (%s) than the paired one (%s): if its "
                       "certificate was replaced on purpose, pair again",
                       tls_peer_thumb(t), thumb);
    if (greet(x, s, more, ret_hello, err) < 0)
        return -1;
    tls_set_deadline(t, deadline);
    *ret = vr_take(s);
    return 0;
}

/* With Kerberos nobody has proven anything before the login is over: what was said until then may
 * fail this try, but not stop a relationship for good. */
static int doubt(struct vr_err *err)
{
    if (vr_kind_scope(err->kind) == VR_SCOPE_REL)
        err->kind = VR_E_PEER;
    return -1;
}

static int log_in(struct xport *x, const struct xport_peer *peer, struct mono_ms deadline,
                  struct vr_stream **ret, struct vr_err *err)
{
    stream_auto struct vr_stream *s = NULL;
    struct frame_hello hello;
    const char *thumb = peer->kerberos ? NULL : peer->thumb;
    if (connect_to(x, peer->address, peer->port, thumb, peer->kerberos ? FEATURE_KERBEROS : 0,
                   deadline, &s, &hello, err) < 0)
        return peer->kerberos ? doubt(err) : -1;
    if (peer->kerberos && login_call(x, s, peer->name, err) < 0)
        return -1;
    if (x->h.clock && hello.wall_us)
        x->h.clock(x->h.ctx, peer, hello.ahead_us);
    *ret = vr_take(s);
    return 0;
}

/* Who and where is said once, here: of a connection that fails, and of an answer that does not
 * come. */
static int at_peer(const struct xport_peer *peer, struct vr_err *err)
{
    return vr_err_wrap(err, "host %s at %s port %u", peer->name, peer->address, peer->port);
}

static int connect_peer(struct xport *x, const struct xport_peer *peer, struct mono_ms deadline,
                        struct vr_stream **ret, struct vr_err *err)
{
    return log_in(x, peer, deadline, ret, err) == 0 ? 0 : at_peer(peer, err);
}

/* Read the answer to what we sent; @sent tells whether sending went well. When it did not, the peer
 * may still have said why before it closed. */
static int answer(struct vr_stream *s, int sent, struct vr_err *send_err, enum frame_state st,
                  enum frame_type *ret, struct vr_buf *b, struct vr_err *err)
{
    struct vr_err e = VR_ERR_INIT;
    if (sent == 0)
        return frame_recv(s, st, ret, b, err);
    if (send_err->kind == VR_E_PEER && frame_recv(s, st, ret, b, &e) == 0 && *ret == FRAME_REFUSED)
        return 0;
    vr_err_move(err, send_err);
    return -1;
}

/* Calls ----------------------------------------------------------------------------------- */

struct call {
    const struct xport_peer *peer;
    uint16_t type;
    const void *body;
    size_t n;
    struct vr_buf *reply;
};

/* One try on @s. Returns 1 when the peer answered with an error: then @s is in order. */
static int call_on(struct vr_stream *s, const struct call *c, struct vr_err *err)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct vr_err send_err = VR_ERR_INIT, theirs = VR_ERR_INIT;
    enum frame_type type;
    uint8_t head[2] = { (uint8_t)(c->type >> 8), (uint8_t)c->type };
    int sent = tframe_send(s, FRAME_CALL, head, sizeof head, c->body, c->n, &send_err);
    if (answer(s, sent, &send_err, FRAME_ST_CALLING, &type, &b, err) < 0)
        return at_peer(c->peer, err);
    if (type == FRAME_REFUSED)
        return take_refused(&b, err);
    if (!b.len || b.data[0] > 1)
        return vr_fail(err, VR_E_PROTO, 0, "malformed reply of the peer");
    if (b.data[0] == 1)
        return c->reply ? vr_buf_add(c->reply, b.data + 1, b.len - 1, err) : 0;
    if (frame_err_get(b.data + 1, b.len - 1, &theirs, err) < 0)
        return -1;
    vr_err_move(err, &theirs);
    return 1;
}

static int call_new(struct xport *x, const struct xport_peer *peer, const struct call *c,
                    struct mono_ms deadline, struct vr_err *err)
{
    stream_auto struct vr_stream *s = NULL;
    if (connect_peer(x, peer, deadline, &s, err) < 0)
        return -1;
    int rc = call_on(s, c, err);
    if (rc >= 0)
        cache_put(x, peer, vr_take(s));
    return rc ? -1 : 0;
}

int xport_call(struct xport *x, const struct xport_peer *peer, uint16_t type, const void *body,
               size_t n, struct vr_buf *reply, uint32_t timeout_ms, struct vr_err *err)
{
    struct call c = { peer, type, body, n, reply };
    struct mono_ms deadline = net_after(timeout_ms);
    if (enter(x, err) < 0)
        return -1;
    stream_auto struct vr_stream *s = cache_take(x, peer);
    int rc = -1;
    if (s) {
        struct vr_err e = VR_ERR_INIT;
        tls_set_deadline(tls_of(s), deadline);
        rc = call_on(s, &c, &e);
        if (rc >= 0)
            cache_put(x, peer, vr_take(s));
        if (rc < 0 && e.kind == VR_E_PEER) { /* it died in the cache */
            vr_stream_free(vr_take(s));
            rc = call_new(x, peer, &c, deadline, err);
        } else if (rc) {
            vr_err_move(err, &e);
            rc = -1;
        }
    } else {
        rc = call_new(x, peer, &c, deadline, err);
    }
    leave(x);
    return rc;
}

/* Transfers ------------------------------------------------------------------------------- */

static bool unwatched(void *ctx, struct vr_stream *s)
{
    (void)ctx;
    (void)s;
    return true;
}

static int ask_transfer(struct xport *x, const struct xport_peer *peer, struct vr_stream *s,
                        const void *body, size_t n, struct vr_err *err)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct vr_err send_err = VR_ERR_INIT;
    enum frame_type type;
    /* from here on only silence ends it: preparing may take the peer as long as it likes */
    tls_set_deadline(tls_of(s), (struct mono_ms){ 0 });
    int sent = tframe_send(s, FRAME_TRANSFER, NULL, 0, body, n, &send_err);
    session_transfer(x, tls_of(s), peer);
    if (answer(s, sent, &send_err, FRAME_ST_OPENING, &type, &b, err) < 0)
        return at_peer(peer, err);
    return type == FRAME_REFUSED ? take_refused(&b, err) : 0;
}

static int open_transfer(struct xport *x, const struct xport_peer *peer, const void *body, size_t n,
                         xport_watch_fn watch, void *ctx, struct vr_stream **ret,
                         struct vr_err *err)
{
    stream_auto struct vr_stream *s = NULL;
    if (connect_peer(x, peer, net_after(XPORT_CONNECT_MS), &s, err) < 0)
        return -1;
    if (!watch(ctx, s))
        return vr_fail(err, VR_E_CANCELLED, 0, "cancelled before the transfer began");
    int rc = ask_transfer(x, peer, s, body, n, err);
    watch(ctx, NULL);
    if (rc == 0)
        *ret = vr_take(s);
    return rc;
}

int xport_transfer_open_watched(struct xport *x, const struct xport_peer *peer, const void *body,
                                size_t n, xport_watch_fn watch, void *ctx, struct vr_stream **ret,
                                struct vr_err *err)
{
    if (enter(x, err) < 0)
        return -1;
    int rc = open_transfer(x, peer, body, n, watch, ctx, ret, err);
    leave(x);
    return rc;
}

int xport_transfer_open(struct xport *x, const struct xport_peer *peer, const void *body, size_t n,
                        struct vr_stream **ret, struct vr_err *err)
{
    return xport_transfer_open_watched(x, peer, body, n, unwatched, NULL, ret, err);
}

/* Pairing --------------------------------------------------------------------------------- */

/* Prove that we have the code and check that the other side has it. */
static int prove(struct xport *x, struct vr_stream *s, const uint8_t key[TLS_HASH],
                 uint16_t my_port, struct vr_err *err)
{
    uint8_t binding[TLS_HASH], try[TLS_HASH + 2], want[TLS_HASH];
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct tls *t = tls_of(s);
    struct vr_err send_err = VR_ERR_INIT;
    enum frame_type type;
    if (!strcmp(tls_peer_thumb(t), x->facts->thumb))
        return vr_fail(err, VR_E_INVAL, 0, "this is the host itself: it cannot be its own peer");
    if (tls_binding(t, TLS_LABEL_PAIRING, binding, err) < 0)
        return -1;
    pair_proof(key, PAIR_INITIATOR, binding, x->facts->hash, tls_peer_hash(t), try);
    try[TLS_HASH] = (uint8_t)(my_port >> 8);
    try[TLS_HASH + 1] = (uint8_t)my_port;
    int sent = tframe_send(s, FRAME_PAIR_TRY, NULL, 0, try, sizeof try, &send_err);
    if (answer(s, sent, &send_err, FRAME_ST_PAIRING, &type, &b, err) < 0)
        return err->kind == VR_E_PEER || err->kind == VR_E_TIMEOUT
                   ? vr_err_wrap(err, "no answer came: the host there may know this one already; "
                                      "pair again with a new code")
                   : -1;
    if (type == FRAME_REFUSED)
        return take_refused(&b, err);
    pair_proof(key, PAIR_ACCEPTOR, binding, x->facts->hash, tls_peer_hash(t), want);
    if (b.len < TLS_HASH || !tls_hash_eq(want, b.data))
        return vr_fail(err, VR_E_AUTH, 0, "the host there could not prove that it made the code");
    return 0;
}

static int pair_with(struct xport *x, const char *address, uint16_t port,
                     const uint8_t key[TLS_HASH], uint16_t my_port, struct xport_peer *ret,
                     struct vr_err *err)
{
    stream_auto struct vr_stream *s = NULL;
    struct xport_peer peer = { .port = port };
    struct frame_hello hello;
    if ((size_t)snprintf(peer.address, sizeof peer.address, "%s", address) >= sizeof peer.address)
        return vr_fail(err, VR_E_INVAL, 0, "the address is too long");
    if (connect_to(x, address, port, NULL, 0, net_after(XPORT_CONNECT_MS), &s, &hello, err) < 0 ||
        prove(x, s, key, my_port, err) < 0)
        return -1;
    snprintf(peer.name, sizeof peer.name, "%s", hello.host);
    snprintf(peer.thumb, sizeof peer.thumb, "%s", tls_peer_thumb(tls_of(s)));
    if (x->h.paired(x->h.ctx, &peer, err) < 0)
        return vr_err_wrap(err,
                           "%s knows this host now, but this host could not note it down: pair "
                           "again",
                           peer.name);
    *ret = peer;
    return 0;
}

int xport_pair(struct xport *x, const char *address, uint16_t port, const char *code,
               uint16_t my_port, struct xport_peer *ret, struct vr_err *err)
{
    uint8_t key[TLS_HASH];
    if (!my_port)
        return vr_fail(err, VR_E_INVAL, 0, "the peer must be told a port of ours");
    if (pair_code_key(code, key, err) < 0 || enter(x, err) < 0)
        return -1;
    int rc = pair_with(x, address, port, key, my_port, ret, err);
    leave(x);
    explicit_bzero(key, sizeof key);
    return rc;
}
