/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSPORT_IMPL_H
#define VR_TRANSPORT_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "gss/gss_host.h"
#include "transport/callers.h"
#include "transport/frame.h"
#include "transport/net.h"
#include "transport/pair.h"
#include "transport/tls_gnutls.h"
#include "transport/xport.h"

/* Inside of the transport; nobody else includes this.
 * Locks, in this order, none held while a handler or the network is waited for:
 *   server.lock, cache.lock, sessions.lock (innermost but for those of a session) */

enum {
    XPORT_HANDSHAKE_MS = 10000, /* TLS and HELLO */
    XPORT_STRANGER_MS = 30000,  /* all that an unknown peer may take */
    XPORT_CONNECT_MS = 20000,   /* connecting for a transfer or pairing, handshake included */
    XPORT_LINGER_MS = 5000,
    XPORT_IDLE_DEFAULT = 60, /* seconds */
    XPORT_IDLE_MAX = 86400,  /* seconds */
    XPORT_CONNECTIONS = 64,  /* default of max_connections */
    XPORT_CACHE_MAX = 64,    /* idle client connections in all */
};

/* All live sessions, to be broken at the end and kept alive in between. Outlives the xport as long
 * as a stream is out. */
struct session {
    struct sessions *all;
    struct session *prev, *next;
    struct tls *tls;
    int way;       /* it came in by, or SESSION_OURS */
    bool transfer; /* it carries one, */
    char with[VR_NAME_MAX];
};

enum { SESSION_OURS = -1, SESSION_ALL = -2 };

struct sessions {
    pthread_mutex_t lock;
    unsigned refs;           /* the xport and each session */
    bool stopping;           /* no new ones */
    bool closed[XPORT_WAYS]; /* no new ones that come in so */
    struct session *first;
};

/* A connection of ours that waits for the next call. */
struct cached {
    struct vr_stream *s;
    struct xport_peer peer;
    struct mono_ms since;
};

struct conn; /* server.c */

struct listener {
    struct xport *x;
    enum xport_way way;
    bool running;
    int listen_fd, stop_fd;
    _Atomic uint16_t port; /* 0: not listening */
    pthread_t acceptor;
};

struct server {
    pthread_mutex_t lock;
    struct listener at[XPORT_WAYS];
    struct conn *first;
    size_t n; /* connections being served */
};

struct xport {
    struct xport_handlers h;
    char host_name[VR_NAME_MAX];
    char keytab[256], service[VR_NAME_MAX]; /* of Kerberos */
    uint32_t idle_ms;
    uint32_t handshake_ms; /* TLS and HELLO together */
    size_t max_connections;
    struct tls_identity *id;
    const struct tls_facts *facts;
    struct sessions *sessions;
    struct pair_store pair;
    struct expected expected;
    int stop_fd; /* eventfd: interrupts connecting */

    struct server server;

    struct {
        pthread_mutex_t lock;
        pthread_cond_t quiet; /* busy became 0 */
        unsigned busy;        /* calls into client.c in progress */
        bool stopping;
        struct cached at[XPORT_CACHE_MAX];
        size_t n;
    } cache;

    struct {
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t wake;
        bool stop;
    } ticker;
};

/* session_new() - a TLS session on @take_fd that xport_free() will break; before its handshake.
 * Errors: VR_E_CANCELLED the transport is being stopped, those of tls_new(). */
int session_new(struct xport *x, int take_fd, int way, struct tls **ret, struct vr_err *err);
/* session_transfer() - @t carries a transfer with @peer: from now on the ticker sends empty records
 * on it, and what is heard there tells that the peer lives. */
void session_transfer(struct xport *x, struct tls *t, const struct xport_peer *peer);
/* sessions_break() - shut sessions down and refuse new ones: those that come in by @way, or
 * SESSION_ALL. sessions_admit() - let them come in again. */
void sessions_break(struct sessions *all, int way);
void sessions_admit(struct sessions *all, enum xport_way way);

/* say_hello() - our HELLO; @more: features that this connection requires besides.
 * say_refused() - REFUSED with @why, best effort, no error. take_refused() - what the peer says
 * instead of what we wait for; -1. hello_ahead() - by how many microseconds the clock of who has
 * just said @theirs is ahead of ours; 0 also when it told none. */
int64_t hello_ahead(const struct frame_hello *theirs);
void hello_fill(const struct xport *x, uint64_t more, struct frame_hello *ret);
int say_hello(const struct xport *x, struct vr_stream *s, uint64_t more, struct vr_err *err);
void say_refused(struct vr_stream *s, const struct vr_err *why);
int take_refused(const struct vr_buf *b, struct vr_err *err);

/* login_call() - the connecting side, after HELLO: prove to the other that we are this host, and
 * that it is the one that Kerberos calls @host. Errors: VR_E_PEER, those of vr_gss_host_begin().
 * login_serve() - the accepting side: check the body of LOGIN and answer it. @host: gets who it is,
 * @port: where it awaits hosts. Both may wait for a domain controller. docs/protocol.md 7a. */
int login_call(struct xport *x, struct vr_stream *s, const char *host, struct vr_err *err);
int login_serve(struct xport *x, struct tls *t, const struct vr_buf *body, char host[VR_NAME_MAX],
                uint16_t *port, struct vr_err *err);

/* tell_refused() - tell the owner's log. */
void tell_refused(const struct xport *x, const char *address, const char *why);

/* client_stop() - refuse new calls, wait for those in progress (their sessions are broken
 * already), drop cached connections. client_trim() - close those that are idle for too long. */
void client_stop(struct xport *x);
void client_trim(struct xport *x);

#endif
