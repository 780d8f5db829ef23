/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hosts, raw peers and a listening proxy for tests of the transport. */
#include "transport/test-hosts.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "transport/frame.h"
#include "transport/net.h"

#define must(call)                                                           \
    do {                                                                     \
        struct vr_err err = VR_ERR_INIT;                                     \
        if ((call) < 0)                                                      \
            fail_msg("%s: %s (%s)", #call, err.msg, vr_kind_name(err.kind)); \
    } while (0)

/* Handlers -------------------------------------------------------------------------------- */

static bool on_lookup(void *ctx, const char *thumb, struct xport_peer *ret)
{
    struct host *h = ctx;
    bool found = false;
    pthread_mutex_lock(&h->lock);
    for (size_t i = 0; i < h->n_peers && !found; i++)
        if (!strcmp(h->peers[i].thumb, thumb)) {
            *ret = h->peers[i];
            found = true;
        }
    pthread_mutex_unlock(&h->lock);
    return found;
}

static void wait_gate(struct host *h)
{
    pthread_mutex_lock(&h->lock);
    while (h->gate_closed)
        pthread_cond_wait(&h->changed, &h->lock);
    pthread_mutex_unlock(&h->lock);
}

static int on_call(void *ctx, const struct xport_peer *from, uint16_t type, const void *body,
                   size_t n, struct vr_buf *reply, struct vr_err *err)
{
    struct host *h = ctx;
    pthread_mutex_lock(&h->lock);
    h->calls++;
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->lock);
    switch (type) {
    case HOST_CALL_ECHO:
        return vr_buf_add(reply, body, n, err);
    case HOST_CALL_FAIL:
        return vr_fail(err, (enum vr_kind) * (const uint8_t *)body, 0, "%.*s", (int)n - 1,
                       (const char *)body + 1);
    case HOST_CALL_GATE:
        wait_gate(h);
        return 0;
    case HOST_CALL_BIG:
        reply->max = 64 << 20;
        if (vr_buf_reserve(reply, 33 << 20, err) < 0)
            return -1;
        memset(reply->data, 0, 33 << 20);
        reply->len = 33 << 20;
        return 0;
    default:
        return vr_fail(err, VR_E_UNSUPPORTED, 0, "no call %u for %s", type, from->name);
    }
}

static int on_transfer(void *ctx, const struct xport_peer *from, const void *body, size_t n,
                       struct vr_stream *s, struct vr_err *err)
{
    struct host *h = ctx;
    char how[64];
    snprintf(how, sizeof how, "%.*s", (int)n, (const char *)body);
    int rc = h->transfer ? h->transfer(h, how, s, err)
                         : vr_fail(err, VR_E_UNSUPPORTED, 0, "no transfers for %s", from->name);
    pthread_mutex_lock(&h->lock);
    h->transfers_done++;
    h->transfer_rc = rc;
    if (rc < 0)
        h->transfer_err = *err;
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->lock);
    return rc;
}

static int on_paired(void *ctx, const struct xport_peer *peer, struct vr_err *err)
{
    struct host *h = ctx;
    int rc = 0;
    pthread_mutex_lock(&h->lock);
    size_t i = 0;
    while (i < h->n_peers && strcmp(h->peers[i].name, peer->name) != 0)
        i++;
    if (h->fail_paired) {
        h->fail_paired = false;
        rc = vr_fail(err, VR_E_NOSPACE, 0, "no room for peers");
    } else if (i == HOST_PEERS) {
        rc = vr_fail(err, VR_E_LIMIT, 0, "too many peers");
    } else {
        h->peers[i] = *peer;
        h->n_peers += i == h->n_peers;
        h->paired++;
    }
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->lock);
    return rc;
}

static void on_refused(void *ctx, const char *address, const char *why)
{
    struct host *h = ctx;
    pthread_mutex_lock(&h->lock);
    h->refused++;
    snprintf(h->why, sizeof h->why, "%s: %s", address, why);
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

static int on_admit(void *ctx, const char *host, uint16_t port, struct xport_peer *ret,
                    struct vr_err *err)
{
    struct host *h = ctx;
    pthread_mutex_lock(&h->lock);
    bool known = !strcmp(h->admitted, host);
    if (port)
        h->their_port = port;
    pthread_mutex_unlock(&h->lock);
    if (!known)
        return vr_fail(err, VR_E_AUTH, 0, "no entry for %s", host);
    *ret = (struct xport_peer){ .port = port, .kerberos = true };
    snprintf(ret->name, sizeof ret->name, "%s", host);
    return 0;
}

/* Hosts ----------------------------------------------------------------------------------- */

void host_init(struct host *h, const char *name)
{
    *h = (struct host){ .idle_seconds = 20 };
    snprintf(h->name, sizeof h->name, "%s", name);
    snprintf(h->dir, sizeof h->dir, "/tmp/vr-xport-XXXXXX");
    assert_non_null(mkdtemp(h->dir));
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->changed, NULL);
}

void host_start(struct host *h)
{
    struct xport_config cfg = { h->dir,    h->name, h->idle_seconds, h->max_connections,
                                h->keytab, NULL };
    struct xport_handlers on = {
        h, on_lookup, on_call, on_transfer, on_paired, on_refused, on_admit
    };
    must(xport_new(&cfg, &on, &h->x, &err));
    must(xport_listen(h->x, XPORT_CERT, "127.0.0.1", h->port, &h->port, &err));
    if (h->keytab)
        must(xport_listen(h->x, XPORT_KERBEROS, "127.0.0.1", h->krb_port, &h->krb_port, &err));
}

void host_stop(struct host *h)
{
    host_gate(h, false);
    xport_free(h->x);
    h->x = NULL;
}

void host_done(struct host *h)
{
    host_stop(h);
    const char *names[] = { "host.crt", "host.key" };
    for (size_t i = 0; i < VR_ARRAY_LEN(names); i++) {
        vr_autofree char *path = vr_printf("%s/%s", h->dir, names[i]);
        unlink(path);
    }
    rmdir(h->dir);
    pthread_mutex_destroy(&h->lock);
    pthread_cond_destroy(&h->changed);
}

struct xport_peer host_pair(struct host *a, struct host *b)
{
    char code[64];
    struct xport_peer peer;
    must(xport_pair_code(b->x, 600, code, &err));
    must(xport_pair(a->x, "127.0.0.1", b->port, code, a->port, &peer, &err));
    return peer;
}

void host_forget(struct host *h)
{
    pthread_mutex_lock(&h->lock);
    h->n_peers = 0;
    pthread_mutex_unlock(&h->lock);
}

void host_gate(struct host *h, bool closed)
{
    pthread_mutex_lock(&h->lock);
    h->gate_closed = closed;
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

bool host_wait(struct host *h, const unsigned *counter, unsigned n)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 120;
    pthread_mutex_lock(&h->lock);
    int rc = 0;
    while (*counter < n && rc == 0)
        rc = pthread_cond_timedwait(&h->changed, &h->lock, &until);
    bool ok = *counter >= n;
    pthread_mutex_unlock(&h->lock);
    return ok;
}

bool host_said(struct host *h, const char *text)
{
    pthread_mutex_lock(&h->lock);
    bool found = strstr(h->why, text) != NULL;
    pthread_mutex_unlock(&h->lock);
    return found;
}

unsigned host_get(struct host *h, const unsigned *counter)
{
    pthread_mutex_lock(&h->lock);
    unsigned n = *counter;
    pthread_mutex_unlock(&h->lock);
    return n;
}

/* Raw peers ------------------------------------------------------------------------------- */

void raw_again(struct raw *r, const struct host *h)
{
    int fd = -1;
    must(net_connect("127.0.0.1", h->port, -1, net_after(60000), &fd, &err));
    must(tls_new(r->id, fd, false, 60000, &r->t, &err));
    must(tls_handshake(r->t, &err));
    r->s = tls_stream(r->t);
}

void raw_open(struct raw *r, const struct host *h)
{
    vr_autobuf struct vr_buf key = VR_BUF_INIT, crt = VR_BUF_INIT;
    must(tls_make_cert("raw", &key, &crt, &err));
    must(tls_identity_new((const char *)crt.data, (const char *)key.data, &r->id, &err));
    raw_again(r, h);
}

int raw_put(struct raw *r, unsigned type, uint32_t length, const void *p, size_t n)
{
    uint8_t head[FRAME_HEADER] = { 0 };
    vr_store_u16(head, (uint16_t)type);
    vr_store_u32(head + 4, length);
    struct vr_err err = VR_ERR_INIT;
    return r->s->write(r->s, head, sizeof head, &err) < 0 || r->s->write(r->s, p, n, &err) < 0 ||
                   r->s->flush(r->s, &err) < 0
               ? -1
               : 0;
}

void raw_hello(struct raw *r, uint64_t required, uint64_t offered)
{
    struct frame_hello mine = { required, offered, "rawhost", "9.9-raw" };
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    must(frame_hello_put(&mine, &b, &err));
    must(raw_put(r, FRAME_HELLO, (uint32_t)b.len, b.data, b.len));
}

int raw_get(struct raw *r, struct vr_buf *body)
{
    uint8_t head[FRAME_HEADER];
    struct vr_err err = VR_ERR_INIT;
    if (r->s->read(r->s, head, sizeof head, &err) < 0)
        return -1;
    uint32_t n = vr_load_u32(head + 4);
    body->len = 0;
    assert_int_equal(vr_buf_reserve(body, n, &err), 0);
    vr_err_clear(&err);
    if (r->s->read(r->s, body->data, n, &err) < 0)
        return -1;
    body->len = n;
    return vr_load_u16(head);
}

void raw_close(struct raw *r)
{
    vr_stream_free(r->s);
    tls_identity_free(r->id);
    *r = (struct raw){ 0 };
}

/* The tap --------------------------------------------------------------------------------- */

/* Move what is there from @from to @to and keep a copy. False at the end. */
static bool tap_move(struct tap *t, int from, int to)
{
    char part[65536];
    ssize_t n = recv(from, part, sizeof part, 0);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    vr_buf_add(&t->seen, part, (size_t)n, NULL);
    for (ssize_t at = 0; at < n;) {
        ssize_t m = send(to, part + at, (size_t)(n - at), MSG_NOSIGNAL);
        struct pollfd p = { .fd = to, .events = POLLOUT };
        if (m < 0 && (errno != EAGAIN || poll(&p, 1, 60000) != 1))
            return false;
        at += m > 0 ? m : 0;
    }
    return true;
}

static void *tap_run(void *arg)
{
    struct tap *t = arg;
    char address[NET_ADDR_MAX];
    for (;;) { /* one connection after the other */
        struct pollfd p = { .fd = t->listen_fd, .events = POLLIN };
        int in = -1, out = -1;
        if (poll(&p, 1, -1) != 1 || net_accept(t->listen_fd, &in, address, NULL) < 0)
            return NULL;
        if (in < 0 || net_connect("127.0.0.1", t->to, -1, net_after(60000), &out, NULL) < 0)
            return NULL;
        struct pollfd q[2] = { { .fd = in, .events = POLLIN }, { .fd = out, .events = POLLIN } };
        bool on = true;
        while (on) {
            if (atomic_load(&t->frozen) || poll(q, 2, 100) == 0) {
                nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
                continue;
            }
            on = (!q[0].revents || tap_move(t, in, out)) && (!q[1].revents || tap_move(t, out, in));
        }
        close(in);
        close(out);
    }
}

void tap_start(struct tap *t, uint16_t to)
{
    *t = (struct tap){ .to = to };
    must(net_listen("127.0.0.1", 0, &t->listen_fd, &t->port, &err));
    assert_int_equal(pthread_create(&t->thread, NULL, tap_run, t), 0);
}

void tap_freeze(struct tap *t, bool frozen)
{
    atomic_store(&t->frozen, frozen);
}

void tap_stop(struct tap *t)
{
    shutdown(t->listen_fd, SHUT_RDWR);
    pthread_join(t->thread, NULL);
    close(t->listen_fd);
}
