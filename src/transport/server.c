/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The accepting side: one thread accepts, one thread serves each connection.
 *
 *   accept --> TLS --> HELLO --> known certificate?  yes: PEER, may call, transfer, pair
 *                                                    no:  STRANGER, may only pair
 *   on the port for Kerberos:    LOGIN; admitted?      yes: PEER, may call, transfer
 * Anything else is refused, told to the peer in words, noted by `refused`, and the connection ends.
 * A peer is looked up again before each frame is served, so that one whose pairing was revoked
 * loses its access at once.
 *
 * Limits: connections in all; three quarters of them per address; half of them in all may be
 * unknown (before HELLO, or strangers), and half of that per address (IPv6: per /64). Addresses of
 * peers have the second half, too, so that silent strangers do not keep peers out. Threads: conn
 * fields that the acceptor reads are under server.lock. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/codec.h"
#include "transport/impl.h"

#define stream_auto __attribute__((cleanup(vr_stream_freep)))

struct conn {
    struct conn *next; /* lock */
    struct xport *x;
    enum xport_way way;
    pthread_t thread;
    int fd; /* until the session takes it */
    char address[NET_ADDR_MAX], block[NET_ADDR_MAX];
    bool expected; /* it came from an address of a peer */
    bool known;    /* lock: a paired peer */
    bool finished; /* lock: the thread is about to end */

    /* the thread's own */
    struct frame_hello hello;
    bool clock_passed; /* what its clock shows, on to our user */
    struct xport_peer peer;
    char host[VR_NAME_MAX]; /* who has logged in by Kerberos, "" nobody yet */
    uint16_t port;          /* where that awaits hosts, as it said just now */
    struct mono_ms born;
    struct vr_buf body;
};

/* Tell the peer why and let it hear that; @log is for us. */
static void refuse(struct conn *c, struct tls *t, const struct vr_err *told, const char *log)
{
    tell_refused(c->x, c->address, log);
    tls_set_deadline(t, net_after(XPORT_LINGER_MS));
    say_refused(tls_stream(t), told);
    tls_linger(t, XPORT_LINGER_MS);
}

/* Frames ---------------------------------------------------------------------------------- */

static int serve_call(struct conn *c, struct tls *t, struct vr_err *err)
{
    vr_autobuf struct vr_buf reply = VR_BUF_INIT;
    struct vr_err failed = VR_ERR_INIT;
    struct xport *x = c->x;
    uint8_t head = 1;
    if (c->body.len < 2)
        return vr_fail(err, VR_E_PROTO, 0, "CALL of %zu bytes", c->body.len);
    int rc = x->h.call(x->h.ctx, &c->peer, vr_load_u16(c->body.data), c->body.data + 2,
                       c->body.len - 2, &reply, &failed);
    tls_set_deadline(t, net_after(x->idle_ms * INT64_C(2)));
    if (rc == 0) {
        if (tframe_send(tls_stream(t), FRAME_REPLY, &head, 1, reply.data, reply.len, &failed) == 0)
            return 0;
        if (failed.kind != VR_E_LIMIT) {
            vr_err_move(err, &failed);
            return -1;
        }
    } /* an answer that is too long is a failed call */
    if (!failed.kind)
        vr_fail(&failed, VR_E_INTERNAL, 0, "the call failed without saying why");
    head = 0;
    reply.len = 0;
    if (frame_err_put(&failed, &reply, err) < 0)
        return -1;
    return tframe_send(tls_stream(t), FRAME_REPLY, &head, 1, reply.data, reply.len, err);
}

static int serve_transfer(struct conn *c, struct tls *t, struct vr_err *err)
{
    struct vr_err failed = VR_ERR_INIT;
    struct xport *x = c->x;
    tls_set_deadline(t, (struct mono_ms){ 0 });
    session_transfer(x, t, &c->peer);
    int rc = x->h.transfer(x->h.ctx, &c->peer, c->body.data, c->body.len, tls_stream(t), &failed);
    if (!tls_is_marked(t)) { /* never accepted */
        if (!failed.kind)
            vr_fail(&failed, VR_E_INTERNAL, 0, "the transfer was %s", rc ? "refused" : "dropped");
        say_refused(tls_stream(t), &failed);
    }
    tls_linger(t, XPORT_LINGER_MS);
    return vr_fail(err, VR_E_CANCELLED, 0, "the transfer is over");
}

int xport_transfer_accept(struct vr_stream *s, struct vr_err *err)
{
    struct tls *t = tls_of(s);
    if (tframe_send(s, FRAME_ACCEPT, NULL, 0, NULL, 0, err) < 0)
        return -1;
    if (t)
        tls_mark(t, true);
    return 0;
}

static int make_known(struct conn *c, struct tls *t, uint16_t port, struct vr_err *err)
{
    struct xport_peer peer = { .port = port };
    snprintf(peer.name, sizeof peer.name, "%s", c->hello.host);
    snprintf(peer.address, sizeof peer.address, "%s", c->address);
    snprintf(peer.thumb, sizeof peer.thumb, "%s", tls_peer_thumb(t));
    return c->x->h.paired(c->x->h.ctx, &peer, err);
}

static int serve_pair(struct conn *c, struct tls *t, struct vr_err *err)
{
    struct xport *x = c->x;
    uint8_t binding[TLS_HASH], mine[TLS_HASH];
    uint64_t claim;
    struct vr_err e = VR_ERR_INIT;
    if (c->body.len < TLS_HASH + 2)
        return vr_fail(err, VR_E_PROTO, 0, "PAIR_TRY of %zu bytes", c->body.len);
    uint16_t port = vr_load_u16(c->body.data + TLS_HASH);
    if (!port)
        return vr_fail(err, VR_E_PROTO, 0, "PAIR_TRY without a port");
    if (tls_binding(t, TLS_LABEL_PAIRING, binding, err) < 0)
        return -1;
    if (pair_store_try(&x->pair, c->block, c->body.data, binding, tls_peer_hash(t), x->facts->hash,
                       mine, &claim, &e) < 0) {
        struct vr_err told = VR_ERR_INIT; /* less than our log gets */
        if (e.kind == VR_E_BUSY)
            vr_fail(&told, VR_E_AUTH, 0, "%s", e.msg);
        else
            vr_fail(&told, VR_E_AUTH, 0,
                    "the pairing code is wrong, expired or used: try again, or ask for a new one "
                    "on %s",
                    x->host_name);
        refuse(c, t, &told, e.msg);
        return vr_fail(err, VR_E_CANCELLED, 0, "refused");
    }
    int rc = make_known(c, t, port, err);
    pair_store_end(&x->pair, claim, rc == 0);
    if (rc < 0)
        return -1;
    return tframe_send(tls_stream(t), FRAME_PAIR_DONE, NULL, 0, mine, sizeof mine, err);
}

/* A connection ---------------------------------------------------------------------------- */

/* @why: why somebody who has logged in is not admitted. */
static bool look_up(struct conn *c, struct tls *t, struct vr_err *why)
{
    const struct xport_handlers *h = &c->x->h;
    bool known = false;
    if (c->way == XPORT_CERT)
        known = h->lookup(h->ctx, tls_peer_thumb(t), &c->peer);
    else if (c->host[0] && h->admit)
        known = h->admit(h->ctx, c->host, c->port, &c->peer, why) == 0;
    c->port = 0; /* told once: it may say another one by a call */
    if (known && !c->known)
        expected_met(&c->x->expected, c->block);
    pthread_mutex_lock(&c->x->server.lock);
    c->known = known;
    pthread_mutex_unlock(&c->x->server.lock);
    return known;
}

static int greet(struct conn *c, struct tls *t, struct vr_err *err)
{
    struct frame_hello mine;
    enum frame_type type;
    hello_fill(c->x, 0, &mine);
    if (frame_recv(tls_stream(t), FRAME_ST_HELLO, &type, &c->body, err) < 0 ||
        frame_hello_get(c->body.data, c->body.len, &c->hello, err) < 0 ||
        frame_hello_check(&mine, &c->hello, err) < 0)
        return -1;
    c->hello.ahead_us = hello_ahead(&c->hello);
    return say_hello(c->x, tls_stream(t), 0, err);
}

/* Who it is, first; whether that host is admitted is told to it only when it knows who says so. */
static int serve_login(struct conn *c, struct tls *t, struct vr_err *err)
{
    if (login_serve(c->x, t, &c->body, c->host, &c->port, err) < 0)
        return -1;
    if (look_up(c, t, err))
        return 0;
    return err->kind ? -1
                     : vr_fail(err, VR_E_AUTH, 0, "hosts with Kerberos are not admitted to %s",
                               c->x->host_name);
}

/* Read and serve one frame. */
static int serve_one(struct conn *c, struct tls *t, struct vr_err *err)
{
    struct xport *x = c->x;
    enum frame_type type;
    bool known = look_up(c, t, err);
    enum frame_state st = known                      ? FRAME_ST_PEER
                          : c->way == XPORT_KERBEROS ? FRAME_ST_LOGIN
                                                     : FRAME_ST_STRANGER;
    if (err->kind)
        return -1;
    /* a frame must begin within the idle time and end within another */
    tls_set_deadline(t, known ? net_after(x->idle_ms * INT64_C(2))
                              : (struct mono_ms){ c->born.ms + XPORT_STRANGER_MS });
    if (frame_recv(tls_stream(t), st, &type, &c->body, err) < 0)
        return -1;
    if (known && !look_up(c, t, err))
        return err->kind ? -1
                         : vr_fail(err, VR_E_AUTH, 0, "the pairing with this host was revoked");
    if (known && !c->clock_passed && x->h.clock && c->hello.wall_us)
        x->h.clock(x->h.ctx, &c->peer, c->hello.ahead_us);
    c->clock_passed |= known;
    switch (type) {
    case FRAME_CALL:
        return serve_call(c, t, err);
    case FRAME_TRANSFER:
        return serve_transfer(c, t, err);
    case FRAME_PAIR_TRY:
        return c->way == XPORT_CERT ? serve_pair(c, t, err)
                                    : vr_fail(err, VR_E_AUTH, 0,
                                              "this port is for hosts with Kerberos, not to pair");
    case FRAME_LOGIN:
        return serve_login(c, t, err);
    case FRAME_REFUSED: /* the peer cannot work with us, and it says so to its own user */
        return vr_fail(err, VR_E_CANCELLED, 0, "refused by the peer");
    default: /* frames.def lets nothing else pass in these states */
        return vr_fail(err, VR_E_PROTO, 0, "unexpected frame %s", tframe_name(type));
    }
}

/* Should the end of a connection for reason @k be told to the peer? Not when it cannot hear us. */
static bool is_worth_telling(enum vr_kind k)
{
    return k != VR_E_PEER && k != VR_E_TIMEOUT && k != VR_E_CANCELLED && k != VR_E_IO;
}

static void converse(struct conn *c, struct tls *t)
{
    struct vr_err err = VR_ERR_INIT;
    tls_set_deadline(t, net_after(c->x->handshake_ms));
    if (tls_handshake(t, &err) < 0) {
        if (err.kind != VR_E_CANCELLED)
            tell_refused(c->x, c->address, err.msg);
        return;
    }
    int rc = greet(c, t, &err);
    while (rc == 0)
        rc = serve_one(c, t, &err);
    if (is_worth_telling(err.kind))
        refuse(c, t, &err, err.msg);
}

static void *serve(void *arg)
{
    struct conn *c = arg;
    struct xport *x = c->x;
    struct tls *t = NULL;
    struct vr_err err = VR_ERR_INIT;
    pthread_setname_np(pthread_self(), "xport-conn");
    if (session_new(x, c->fd, (int)c->way, &t, &err) < 0) {
        tell_refused(x, c->address, err.msg);
    } else {
        converse(c, t);
        vr_stream_free(tls_stream(t));
    }
    vr_buf_done(&c->body);
    pthread_mutex_lock(&x->server.lock);
    c->finished = true;
    x->server.n--;
    pthread_mutex_unlock(&x->server.lock);
    return NULL;
}

/* Accepting ------------------------------------------------------------------------------- */

/* Join threads that have finished, or all that came in by @way. */
enum { REAP_FINISHED = -1 };
static void reap(struct xport *x, int way)
{
    for (;;) {
        struct conn *c = NULL;
        pthread_mutex_lock(&x->server.lock);
        struct conn **p = &x->server.first;
        while (*p && !(way == REAP_FINISHED ? (*p)->finished : (int)(*p)->way == way))
            p = &(*p)->next;
        if (*p) {
            c = *p;
            *p = c->next;
        }
        pthread_mutex_unlock(&x->server.lock);
        if (!c)
            return;
        pthread_join(c->thread, NULL);
        free(c);
    }
}

/* Why the connection @of cannot be served now, NULL if it can. */
static const char *over_limit(struct xport *x, const struct conn *of)
{
    size_t max = x->max_connections, same = 0, unknown = 0, same_unknown = 0;
    size_t max_same = max - max / 4, max_unknown = max / 2 + 1, max_same_unknown = max / 4 + 1;
    pthread_mutex_lock(&x->server.lock);
    size_t n = x->server.n;
    for (const struct conn *c = x->server.first; c; c = c->next) {
        if (c->finished)
            continue;
        same += !strcmp(c->address, of->address);
        unknown += !c->known && !c->expected;
        same_unknown += !c->known && !strcmp(c->block, of->block);
    }
    pthread_mutex_unlock(&x->server.lock);
    return n >= max                                  ? "too many connections"
           : same >= max_same                        ? "too many connections of this address"
           : unknown >= max_unknown && !of->expected ? "too many connections of unknown hosts"
           : same_unknown >= max_same_unknown ? "too many unidentified connections of this address"
                                              : NULL;
}

static void take(const struct listener *l, int take_fd, const char *address)
{
    struct xport *x = l->x;
    reap(x, REAP_FINISHED);
    struct conn *c = vr_new(struct conn);
    c->x = x;
    c->way = l->way;
    c->fd = take_fd;
    c->born = vr_mono_now();
    snprintf(c->address, sizeof c->address, "%s", address);
    callers_block(address, c->block);
    c->expected = expected_has(&x->expected, c->block);
    const char *why = over_limit(x, c);
    if (why) {
        close(take_fd);
        free(c);
        tell_refused(x, address, why);
        return;
    }
    pthread_mutex_lock(&x->server.lock);
    int rc = pthread_create(&c->thread, NULL, serve, c);
    if (rc == 0) {
        c->next = x->server.first;
        x->server.first = c;
        x->server.n++;
    }
    pthread_mutex_unlock(&x->server.lock);
    if (rc) {
        close(take_fd);
        free(c);
        tell_refused(x, address, "no thread for a connection");
    }
}

static void *accept_all(void *arg)
{
    const struct listener *l = arg;
    struct xport *x = l->x;
    pthread_setname_np(pthread_self(), "xport-accept");
    for (;;) {
        struct vr_err err = VR_ERR_INIT;
        char address[NET_ADDR_MAX];
        int fd = -1;
        if (net_wait(l->listen_fd, POLLIN, l->stop_fd, (struct mono_ms){ 0 }, &err) < 0)
            return NULL; /* told to stop; poll() itself fails only for lack of memory */
        if (net_accept(l->listen_fd, &fd, address, &err) < 0) {
            tell_refused(x, "", err.msg);
            vr_err_clear(&err);
            /* out of descriptors: the listener stays readable, so do not spin */
            if (net_wait(l->stop_fd, POLLIN, -1, net_after(200), &err) == 0)
                return NULL;
        } else if (fd >= 0) {
            take(l, fd, address);
        }
    }
}

/* Begin to accept on @fd, which is taken over on success. */
static int begin(struct listener *l, int fd, uint16_t port, struct vr_err *err)
{
    vr_autoclose int stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stop < 0)
        return vr_fail(err, VR_E_IO, errno, "cannot make a descriptor");
    sessions_admit(l->x->sessions, l->way);
    l->listen_fd = fd;
    l->stop_fd = stop;
    atomic_store(&l->port, port);
    int rc = pthread_create(&l->acceptor, NULL, accept_all, l);
    if (rc)
        return vr_fail(err, VR_E_NOMEM, rc, "cannot start a thread");
    vr_take_fd(&stop);
    l->running = true;
    return 0;
}

int xport_listen(struct xport *x, enum xport_way way, const char *address, uint16_t port,
                 uint16_t *ret_port, struct vr_err *err)
{
    struct listener *l = &x->server.at[way];
    vr_autoclose int fd = -1;
    uint16_t got = 0;
    if (l->running)
        return vr_fail(err, VR_E_STATE, 0, "already listening on port %u", atomic_load(&l->port));
    if (net_listen(address, port, &fd, &got, err) < 0 || begin(l, fd, got, err) < 0)
        return -1;
    vr_take_fd(&fd);
    if (ret_port)
        *ret_port = got;
    return 0;
}

int xport_relisten(struct xport *x, enum xport_way way, const char *address, uint16_t port,
                   uint16_t *ret_port, struct vr_err *err)
{
    struct listener *l = &x->server.at[way];
    vr_autoclose int fd = -1;
    uint16_t got = 0;
    if (l->running && atomic_load(&l->port) == port) {
        if (ret_port)
            *ret_port = port;
        return 0;
    }
    if (net_listen(address, port, &fd, &got, err) < 0)
        return -1;
    xport_unlisten(x, way);
    if (begin(l, fd, got, err) < 0)
        return -1;
    vr_take_fd(&fd);
    if (ret_port)
        *ret_port = got;
    return 0;
}

void xport_unlisten(struct xport *x, enum xport_way way)
{
    struct listener *l = &x->server.at[way];
    if (!l->running)
        return;
    eventfd_write(l->stop_fd, 1);
    pthread_join(l->acceptor, NULL);
    sessions_break(x->sessions, (int)way);
    reap(x, (int)way);
    close(l->listen_fd);
    close(l->stop_fd);
    l->listen_fd = l->stop_fd = -1;
    l->running = false;
    atomic_store(&l->port, 0);
}
