/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* TLS sessions over GnuTLS. Certificates and keys are in tls_cert_gnutls.c.
 *
 * The library never touches the socket: it takes cipher text from `cin` and puts it into `cout`,
 * and our code moves both, in large pieces, over a non-blocking socket with poll(). So no call of
 * the library ever blocks, and one mutex around it makes the session safe for a reader, a writer
 * and the keep-alive at once, key updates included:
 *
 *   writer: plain (16 KiB) --[lib: encrypt]--> cout --[send]--> socket, holding `wlock`
 *   reader: socket --[recv]--> cin --[lib: decrypt]--> rest (16 KiB) or straight to the caller
 *
 * `lib` is held only while the library computes, never while waiting. Order: wlock, then lib.
 * Anyone may set `broken` and signal `wake`, which every poll() watches: that is shutdown(). After
 * a failed write one can still read, so that the peer's last words, the reason, are not lost.
 * A peer counts as alive while anything arrives from it, so a slow reader that still sends empty
 * records (tls_keepalive) does not break a blocked writer. */
#include "transport/tls_gnutls.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "transport/net.h"
#include "transport/tls_gnutls_int.h"

enum {
    TLS_RECORD = 16384,        /* bytes of plain text in a full record */
    TLS_OUT = 128 * 1024,      /* bytes of cipher text that are sent at once */
    TLS_OUT_MAX = 1024 * 1024, /* never reached: bound of a bug */
    TLS_IN = 256 * 1024,
};

struct tls {
    struct vr_stream stream; /* first: the session is a stream */
    gnutls_session_t session;
    int fd, wake;
    uint32_t idle_ms;
    struct mono_ms deadline; /* .ms 0: none */
    atomic_bool broken;      /* by shutdown() */
    atomic_bool no_write,
        no_read; /* a direction failed; the other may still have something to say */
    atomic_bool marked;
    void (*on_free)(void *arg);
    void *on_free_arg;
    _Atomic int64_t heard_ms; /* when something arrived last, monotonic */
    pthread_mutex_t wlock, lib;

    /* under wlock */
    uint8_t *plain;
    size_t plain_len;
    struct vr_buf sending; /* swapped with cout to be sent without holding lib */
    size_t sent;           /* of sending */

    /* under lib */
    struct vr_buf cout;

    /* reader only */
    uint8_t *rest;
    size_t rest_at, rest_len;
    uint8_t *cin; /* touched by the library only while the reader is inside it */
    size_t cin_at, cin_len;

    uint8_t peer_hash[TLS_HASH];
    char peer_thumb[2 * TLS_HASH + 1];
};

/* The library's side of the two cipher text buffers; called with `lib` held -------------------- */

static ssize_t lib_push(gnutls_transport_ptr_t ptr, const giovec_t *iov, int n)
{
    struct tls *t = ptr;
    size_t all = 0;
    for (int i = 0; i < n; i++) {
        if (vr_buf_add(&t->cout, iov[i].iov_base, iov[i].iov_len, NULL) < 0) {
            gnutls_transport_set_errno(t->session, ENOMEM);
            return -1;
        }
        all += iov[i].iov_len;
    }
    return (ssize_t)all;
}

static ssize_t lib_pull(gnutls_transport_ptr_t ptr, void *to, size_t n)
{
    struct tls *t = ptr;
    size_t have = t->cin_len - t->cin_at;
    if (!have) {
        gnutls_transport_set_errno(t->session, EAGAIN);
        return -1;
    }
    if (n > have)
        n = have;
    memcpy(to, t->cin + t->cin_at, n);
    t->cin_at += n;
    return (ssize_t)n;
}

/* Whether data waits is answered by lib_pull(); the library must not poll on its own. */
static int lib_pull_timeout(gnutls_transport_ptr_t ptr, unsigned ms)
{
    struct tls *t = ptr;
    return t->cin_len > t->cin_at;
}

/* The socket's side ----------------------------------------------------------------------- */

static int broken_fail(struct vr_err *err)
{
    return vr_fail(err, VR_E_PEER, 0, "the connection is broken");
}

/* A failure ends its direction for good: half a record may have passed. */
static int end_with(atomic_bool *direction, const struct vr_err *why, struct vr_err *err)
{
    struct vr_err e = *why;
    if (e.kind == VR_E_CANCELLED)
        e.kind = VR_E_PEER;
    atomic_store(direction, true);
    vr_err_move(err, &e);
    return -1;
}

static bool cannot_write(struct tls *t)
{
    return atomic_load(&t->broken) || atomic_load(&t->no_write);
}

static bool cannot_read(struct tls *t)
{
    return atomic_load(&t->broken) || atomic_load(&t->no_read);
}

/* Bytes that arrived and were not taken yet. */
static int waiting_in(const struct tls *t)
{
    int n = 0;
    return ioctl(t->fd, FIONREAD, &n) < 0 ? 0 : n;
}

/* Wait for @events. Silence counts from the last sign of life, not from now. */
static int wait_for(struct tls *t, short events, struct vr_err *err)
{
    int64_t start = vr_mono_now().ms;
    for (;;) {
        struct vr_err e = VR_ERR_INIT;
        int64_t heard = atomic_load(&t->heard_ms);
        int waiting = waiting_in(t);
        struct mono_ms until = { (heard > start ? heard : start) + t->idle_ms };
        if (t->deadline.ms && t->deadline.ms < until.ms)
            until = t->deadline;
        if (net_wait(t->fd, events, t->wake, until, &e) == 0)
            return 0;
        bool late = t->deadline.ms && net_left_ms(t->deadline) == 0;
        if (e.kind == VR_E_TIMEOUT && !late && waiting_in(t) != waiting)
            start = vr_mono_now().ms; /* we write, nobody reads, and the peer is alive */
        else if (e.kind != VR_E_TIMEOUT || late || atomic_load(&t->heard_ms) == heard)
            return end_with(events == POLLIN ? &t->no_read : &t->no_write, &e, err);
    }
}

/* Send all cipher text that there is; without @block only what the socket takes at once. Called
 * with wlock held. */
static int drain(struct tls *t, bool block, struct vr_err *err)
{
    for (;;) {
        if (t->sent == t->sending.len) {
            t->sending.len = t->sent = 0;
            pthread_mutex_lock(&t->lib);
            struct vr_buf full = t->cout;
            t->cout = t->sending;
            t->sending = full;
            pthread_mutex_unlock(&t->lib);
            if (!t->sending.len)
                return 0;
        }
        if (cannot_write(t))
            return broken_fail(err);
        ssize_t n = send(t->fd, t->sending.data + t->sent, t->sending.len - t->sent, MSG_NOSIGNAL);
        if (n >= 0) {
            t->sent += (size_t)n;
            __atomic_fetch_add(&t->stream.bytes_out, (uint64_t)n, __ATOMIC_RELAXED);
        } else if (errno == EAGAIN) {
            if (!block)
                return 0;
            if (wait_for(t, POLLOUT, err) < 0)
                return -1;
        } else if (errno != EINTR) {
            struct vr_err e = VR_ERR_INIT;
            vr_fail(&e, VR_E_PEER, errno, "cannot send");
            return end_with(&t->no_write, &e, err);
        }
    }
}

/* Wait for cipher text. Called by the reader when the library has used all there was. */
static int fill(struct tls *t, struct vr_err *err)
{
    for (;;) {
        if (cannot_read(t))
            return broken_fail(err);
        struct vr_err e = VR_ERR_INIT;
        ssize_t n = recv(t->fd, t->cin, TLS_IN, 0);
        if (n > 0) {
            t->cin_at = 0;
            t->cin_len = (size_t)n;
            atomic_store(&t->heard_ms, vr_mono_now().ms);
            __atomic_fetch_add(&t->stream.bytes_in, (uint64_t)n, __ATOMIC_RELAXED);
            return 0;
        }
        if (n == 0) {
            vr_fail(&e, VR_E_PEER, 0, "the peer closed the connection");
            return end_with(&t->no_read, &e, err);
        }
        if (errno == EAGAIN) {
            if (wait_for(t, POLLIN, err) < 0)
                return -1;
        } else if (errno != EINTR) {
            vr_fail(&e, VR_E_PEER, errno, "cannot receive");
            return end_with(&t->no_read, &e, err);
        }
    }
}

/* What the library says about a session, and the alert if the peer sent one. */
static int session_fail(struct tls *t, int rc, const char *what, struct vr_err *err)
{
    enum vr_kind k = VR_E_PROTO;
    const char *text = NULL;
    int alert = -1;
    if (rc == GNUTLS_E_FATAL_ALERT_RECEIVED) {
        alert = (int)gnutls_alert_get(t->session);
        text = gnutls_alert_get_name((gnutls_alert_description_t)alert);
    }
    if (rc == GNUTLS_E_NO_APPLICATION_PROTOCOL || rc == GNUTLS_E_UNSUPPORTED_VERSION_PACKET ||
        alert == GNUTLS_A_NO_APPLICATION_PROTOCOL || alert == GNUTLS_A_PROTOCOL_VERSION)
        k = VR_E_VERSION;
    else if (rc == GNUTLS_E_NO_CERTIFICATE_FOUND || rc == GNUTLS_E_CERTIFICATE_REQUIRED ||
             alert == GNUTLS_A_CERTIFICATE_REQUIRED || alert == GNUTLS_A_BAD_CERTIFICATE)
        k = VR_E_AUTH;
    else if (rc == GNUTLS_E_PREMATURE_TERMINATION)
        k = VR_E_PEER;
    return vr_fail(err, k, 0, "%s: %s%s%s", what, gnutls_strerror(rc), text ? " " : "",
                   text ? text : "");
}

/* The stream ------------------------------------------------------------------------------ */

/* Encrypt one record. Called with wlock held. */
static int seal(struct tls *t, const void *p, size_t n, struct vr_err *err)
{
    pthread_mutex_lock(&t->lib);
    ssize_t rc = gnutls_record_send(t->session, p, n);
    size_t out = t->cout.len;
    pthread_mutex_unlock(&t->lib);
    if (rc != (ssize_t)n) {
        struct vr_err e = VR_ERR_INIT;
        tls_lib_fail(&e, VR_E_PEER, "cannot encrypt", rc < 0 ? (int)rc : GNUTLS_E_INTERNAL_ERROR);
        return end_with(&t->no_write, &e, err);
    }
    return out >= TLS_OUT ? drain(t, true, err) : 0;
}

static int seal_plain(struct tls *t, struct vr_err *err)
{
    size_t n = t->plain_len;
    t->plain_len = 0;
    return n ? seal(t, t->plain, n, err) : 0;
}

static int write_locked(struct tls *t, const uint8_t *p, size_t n, struct vr_err *err)
{
    while (n) {
        size_t part = TLS_RECORD - t->plain_len;
        if (!t->plain_len && n >= TLS_RECORD) {
            if (seal(t, p, TLS_RECORD, err) < 0)
                return -1;
            part = TLS_RECORD;
        } else {
            if (part > n)
                part = n;
            memcpy(t->plain + t->plain_len, p, part);
            t->plain_len += part;
            if (t->plain_len == TLS_RECORD && seal_plain(t, err) < 0)
                return -1;
        }
        p += part;
        n -= part;
    }
    return 0;
}

static int tls_write(struct vr_stream *s, const void *p, size_t n, struct vr_err *err)
{
    struct tls *t = (struct tls *)s;
    if (cannot_write(t))
        return broken_fail(err);
    pthread_mutex_lock(&t->wlock);
    int rc = write_locked(t, p, n, err);
    pthread_mutex_unlock(&t->wlock);
    return rc;
}

static int tls_flush(struct vr_stream *s, struct vr_err *err)
{
    struct tls *t = (struct tls *)s;
    if (cannot_write(t))
        return broken_fail(err);
    pthread_mutex_lock(&t->wlock);
    int rc = seal_plain(t, err) < 0 ? -1 : drain(t, true, err);
    pthread_mutex_unlock(&t->wlock);
    return rc;
}

/* Decrypt at least one byte and at most @n into @to. */
static ssize_t open_some(struct tls *t, void *to, size_t n, struct vr_err *err)
{
    struct vr_err e = VR_ERR_INIT;
    for (;;) {
        pthread_mutex_lock(&t->lib);
        ssize_t rc = gnutls_record_recv(t->session, to, n);
        pthread_mutex_unlock(&t->lib);
        if (rc > 0)
            return rc;
        if (rc == 0) {
            vr_fail(&e, VR_E_PEER, 0, "the peer closed the connection");
            return end_with(&t->no_read, &e, err);
        }
        if (rc == GNUTLS_E_AGAIN) {
            if (t->cin_at == t->cin_len && fill(t, err) < 0)
                return -1;
        } else if (rc != GNUTLS_E_INTERRUPTED && gnutls_error_is_fatal((int)rc)) {
            session_fail(t, (int)rc, "the TLS session failed", &e);
            return end_with(&t->no_read, &e, err);
        }
    }
}

static int tls_read(struct vr_stream *s, void *p, size_t n, struct vr_err *err)
{
    struct tls *t = (struct tls *)s;
    uint8_t *to = p;
    if (cannot_read(t))
        return broken_fail(err);
    while (n) {
        size_t have = t->rest_len - t->rest_at;
        if (have) {
            if (have > n)
                have = n;
            memcpy(to, t->rest + t->rest_at, have);
            t->rest_at += have;
            to += have;
            n -= have;
            continue;
        }
        bool direct = n >= TLS_RECORD;
        ssize_t got = open_some(t, direct ? to : t->rest, TLS_RECORD, err);
        if (got < 0)
            return -1;
        if (direct) {
            to += got;
            n -= (size_t)got;
        } else {
            t->rest_at = 0;
            t->rest_len = (size_t)got;
        }
    }
    return 0;
}

static void tls_shutdown(struct vr_stream *s)
{
    struct tls *t = (struct tls *)s;
    atomic_store(&t->broken, true);
    eventfd_write(t->wake, 1); /* never read: stays signalled */
    shutdown(t->fd, SHUT_RDWR);
}

static void tls_free(struct vr_stream *s)
{
    struct tls *t = (struct tls *)s;
    if (t->on_free)
        t->on_free(t->on_free_arg);
    if (t->session)
        gnutls_deinit(t->session);
    close(t->fd);
    if (t->wake >= 0)
        close(t->wake);
    vr_buf_done(&t->cout);
    vr_buf_done(&t->sending);
    free(t->plain);
    free(t->rest);
    free(t->cin);
    pthread_mutex_destroy(&t->wlock);
    pthread_mutex_destroy(&t->lib);
    free(t);
}

/* Sessions -------------------------------------------------------------------------------- */

static int session_setup(struct tls *t, struct tls_identity *id, bool server)
{
    static const gnutls_datum_t alpn = { (unsigned char *)TLS_ALPN, sizeof TLS_ALPN - 1 };
    int rc = gnutls_init(&t->session, (server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NONBLOCK |
                                          GNUTLS_NO_TICKETS | GNUTLS_NO_SIGNAL);
    if (rc < 0)
        return rc;
    if ((rc = gnutls_priority_set(t->session, id->priority)) < 0 ||
        (rc = gnutls_credentials_set(t->session, GNUTLS_CRD_CERTIFICATE, id->cred)) < 0 ||
        (rc = gnutls_alpn_set_protocols(t->session, &alpn, 1, GNUTLS_ALPN_MANDATORY)) < 0)
        return rc;
    if (server)
        gnutls_certificate_server_set_request(t->session, GNUTLS_CERT_REQUIRE);
    gnutls_handshake_set_timeout(t->session, GNUTLS_INDEFINITE_TIMEOUT); /* ours is the deadline */
    gnutls_transport_set_ptr(t->session, t);
    gnutls_transport_set_vec_push_function(t->session, lib_push);
    gnutls_transport_set_pull_function(t->session, lib_pull);
    gnutls_transport_set_pull_timeout_function(t->session, lib_pull_timeout);
    return 0;
}

int tls_new(struct tls_identity *id, int take_fd, bool server, uint32_t idle_ms, struct tls **ret,
            struct vr_err *err)
{
    struct tls *t = vr_new(struct tls);
    t->stream.write = tls_write;
    t->stream.flush = tls_flush;
    t->stream.read = tls_read;
    t->stream.shutdown = tls_shutdown;
    t->stream.free = tls_free;
    t->fd = take_fd;
    t->idle_ms = idle_ms;
    t->cout.max = t->sending.max = TLS_OUT_MAX;
    atomic_store(&t->heard_ms, vr_mono_now().ms);
    pthread_mutex_init(&t->wlock, NULL);
    pthread_mutex_init(&t->lib, NULL);
    t->plain = malloc(TLS_RECORD);
    t->rest = malloc(TLS_RECORD);
    t->cin = malloc(TLS_IN);
    t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = session_setup(t, id, server);
    if (!t->plain || !t->rest || !t->cin)
        vr_fail(err, VR_E_NOMEM, 0, "no memory for a connection");
    else if (t->wake < 0)
        vr_fail(err, VR_E_LIMIT, errno, "no descriptor for a connection");
    else if (rc < 0)
        tls_lib_fail(err, VR_E_INTERNAL, "cannot start TLS", rc);
    else {
        *ret = t;
        return 0;
    }
    tls_free(&t->stream);
    return -1;
}

static int take_peer_cert(struct tls *t, struct vr_err *err)
{
    unsigned n = 0;
    size_t len = TLS_HASH;
    const gnutls_datum_t *list = gnutls_certificate_get_peers(t->session, &n);
    if (!list || !n)
        return vr_fail(err, VR_E_AUTH, 0, "the peer showed no certificate");
    int rc = gnutls_fingerprint(GNUTLS_DIG_SHA256, &list[0], t->peer_hash, &len);
    if (rc < 0)
        return tls_lib_fail(err, VR_E_PROTO, "the peer's certificate is unusable", rc);
    tls_to_hex(t->peer_hash, TLS_HASH, "0123456789abcdef", t->peer_thumb);
    return 0;
}

int tls_handshake(struct tls *t, struct vr_err *err)
{
    int rc;
    do {
        pthread_mutex_lock(&t->lib);
        rc = gnutls_handshake(t->session);
        /* a refusal is told to the peer before we go */
        if (rc < 0 && gnutls_error_is_fatal(rc))
            gnutls_alert_send_appropriate(t->session, rc);
        pthread_mutex_unlock(&t->lib);
        pthread_mutex_lock(&t->wlock);
        struct vr_err e = VR_ERR_INIT;
        int sent = drain(t, true, &e);
        pthread_mutex_unlock(&t->wlock);
        if (rc < 0 && gnutls_error_is_fatal(rc))
            return session_fail(t, rc, "no TLS session with the peer", err);
        if (sent < 0) {
            vr_err_move(err, &e);
            return -1;
        }
        if (rc == GNUTLS_E_AGAIN && t->cin_at == t->cin_len && fill(t, err) < 0)
            return -1;
    } while (rc < 0);
    gnutls_datum_t proto;
    if (gnutls_alpn_get_selected_protocol(t->session, &proto) < 0 ||
        proto.size != sizeof TLS_ALPN - 1 || memcmp(proto.data, TLS_ALPN, proto.size) != 0)
        return vr_fail(err, VR_E_VERSION, 0, "the peer does not speak " TLS_ALPN);
    return take_peer_cert(t, err);
}

struct vr_stream *tls_stream(struct tls *t)
{
    return &t->stream;
}

struct tls *tls_of(struct vr_stream *s)
{
    return s->write == tls_write ? (struct tls *)s : NULL;
}

const uint8_t *tls_peer_hash(const struct tls *t)
{
    return t->peer_hash;
}

const char *tls_peer_thumb(const struct tls *t)
{
    return t->peer_thumb;
}

int tls_binding(struct tls *t, const char *label, uint8_t ret[TLS_HASH], struct vr_err *err)
{
    int rc = gnutls_prf_rfc5705(t->session, strlen(label), label, 0, NULL, TLS_HASH, (char *)ret);
    return rc < 0 ? tls_lib_fail(err, VR_E_INTERNAL, "no channel binding", rc) : 0;
}

void tls_set_deadline(struct tls *t, struct mono_ms deadline)
{
    t->deadline = deadline;
}

bool tls_is_fresh(struct tls *t)
{
    struct pollfd p = { .fd = t->fd, .events = POLLIN };
    return !cannot_read(t) && !cannot_write(t) && t->rest_at == t->rest_len &&
           t->cin_at == t->cin_len && poll(&p, 1, 0) == 0;
}

void tls_keepalive(struct tls *t)
{
    if (cannot_write(t) || pthread_mutex_trylock(&t->wlock) != 0)
        return; /* a writer at work is sign of life enough */
    pthread_mutex_lock(&t->lib);
    if (!t->cout.len && t->sent == t->sending.len)
        gnutls_record_send2(t->session, "", 0, 1, 0); /* NULL would mean "go on" */
    pthread_mutex_unlock(&t->lib);
    drain(t, false, NULL);
    pthread_mutex_unlock(&t->wlock);
}

struct mono_ms tls_heard(const struct tls *t)
{
    return (struct mono_ms){ atomic_load(&t->heard_ms) };
}

void tls_on_free(struct tls *t, void (*fn)(void *arg), void *arg)
{
    t->on_free = fn;
    t->on_free_arg = arg;
}

void tls_linger(struct tls *t, int ms)
{
    struct mono_ms until = net_after(ms);
    char sink[4096];
    if (atomic_load(&t->broken))
        return;
    shutdown(t->fd, SHUT_WR);
    for (;;) {
        ssize_t n = recv(t->fd, sink, sizeof sink, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return;
        if (net_left_ms(until) == 0)
            return;
        if (n < 0 && net_wait(t->fd, POLLIN, t->wake, until, NULL) < 0)
            return;
    }
}

void tls_mark(struct tls *t, bool on)
{
    atomic_store(&t->marked, on);
}

bool tls_is_marked(const struct tls *t)
{
    return atomic_load(&t->marked);
}
