/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* HTTP for WS-Management: listeners and connections. Each listener is a daemon of the library
 * without threads: its epoll descriptor and its timer sit in the control thread's event loop.
 *
 *   connect -> [idle_s] -> header -> [request_s] -> whole body -> who is it? -> reply -> [reply_s]
 *                                                    | login: suspended, worker, resumed
 *                                                    | no event yet: suspended, resumed
 *
 * Invariants: a connection has a deadline in every phase but while suspended, and no single byte
 * extends it; a request's body never passes the limit; a suspended request is in http.suspended. */
#include "wsman/http_mhd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/log.h"

/* A connection's memory: what fits holds the header with its token in base64. */
enum { TICK_MS = 1000, SEALED_MEMORY = 96 << 10 };

int64_t wsm_in_s(unsigned s)
{
    return vr_mono_now().ms + (int64_t)s * 1000;
}

/* ---- running the library ------------------------------------------------------------------- */

static void arm(struct listener *l)
{
    MHD_UNSIGNED_LONG_LONG ms = 0;
    bool want = MHD_get_timeout(l->d, &ms) == MHD_YES;
    if (l->conns && (!want || ms > TICK_MS)) {
        want = true;
        ms = TICK_MS;
    }
    /* A time that is just over would still be put off by the timer's accuracy, and with TLS the
     * library asks for "at once" after each 16 KiB that it sends. */
    if (want)
        sd_event_source_set_time(l->timer,
                                 ms ? (uint64_t)(vr_mono_now().ms + (int64_t)ms) * 1000 : 0);
    sd_event_source_set_enabled(l->timer, want ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

static void reap(struct listener *l)
{
    int64_t now = vr_mono_now().ms;
    if (now < l->next_reap)
        return;
    l->next_reap = now + TICK_MS / 2;
    for (struct conn *c = l->conns; c; c = c->next) {
        if (c->deadline > now)
            continue;
        shutdown(c->fd, SHUT_RDWR); /* the library sees the end and closes it */
        c->deadline = now + TICK_MS;
    }
}

void wsm_listener_run(struct listener *l)
{
    MHD_run(l->d);
    arm(l); /* the library may have left something for at once */
}

static int on_io(sd_event_source *s, int fd, uint32_t ev, void *arg)
{
    struct listener *l = arg;
    reap(l); /* steady input keeps pushing the timer away */
    wsm_listener_run(l);
    return 0;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *arg)
{
    struct listener *l = arg;
    reap(l);
    wsm_listener_run(l);
    return 0;
}

__attribute__((format(printf, 2, 0))) static void on_log(void *arg, const char *fmt, va_list ap)
{
    char line[256];
    vsnprintf(line, sizeof line, fmt, ap);
    line[strcspn(line, "\n")] = 0;
    vr_log(VR_LOG_DEBUG, "http: %s", line);
}

/* ---- connections ---------------------------------------------------------------------------- */

/* IPv4 callers look alike on all listeners, also on those that take both families. */
static void set_address(struct wsm_peer *p, struct MHD_Connection *mc)
{
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(mc, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *sa = i ? i->client_addr : NULL;
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)sa;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)sa;
    memcpy(p->address, "?", 2);
    if (sa && sa->sa_family == AF_INET)
        inet_ntop(AF_INET, &v4->sin_addr, p->address, sizeof p->address);
    else if (sa && sa->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
        inet_ntop(AF_INET, v6->sin6_addr.s6_addr + 12, p->address, sizeof p->address);
    else if (sa && sa->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &v6->sin6_addr, p->address, sizeof p->address);
}

/* Idle connections of strangers are how the others would be kept out. */
int64_t wsm_idle_deadline(const struct conn *c)
{
    const struct wsm_peer *p = &c->peer;
    bool known = (p->known && p->who.role != CIM_ROLE_NONE) || p->basic || p->gss;
    return wsm_in_s(known ? c->l->h->lim.idle_s : c->l->h->lim.stranger_s);
}

/* The socket is open to every user of the host, and none may take it away from the others. */
static void limit_local(struct conn *c)
{
    unsigned same = 1;
    if (c->peer.uid == 0)
        return;
    for (const struct conn *o = c->l->conns; o; o = o->next)
        same += o->peer.uid == c->peer.uid;
    if (same > c->l->h->lim.per_address)
        shutdown(c->fd, SHUT_RDWR);
}

static void conn_open(struct listener *l, struct MHD_Connection *mc, void **ctx)
{
    struct conn *c = vr_new(struct conn);
    c->l = l;
    c->mc = mc;
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(mc, MHD_CONNECTION_INFO_CONNECTION_FD);
    c->fd = i ? i->connect_fd : -1;
    if (l->kind == LISTENER_LOCAL) {
        wsm_peer_local(&c->peer, c->fd, &l->h->auth);
        limit_local(c);
    } else {
        set_address(&c->peer, mc);
        i = MHD_get_connection_info(mc, MHD_CONNECTION_INFO_GNUTLS_SESSION);
        if (i && l->h->auth.role_of_thumbprint)
            wsm_tls_ask_certificate(i->tls_session);
    }
    c->deadline = wsm_idle_deadline(c);
    c->next = l->conns;
    c->prev = &l->conns;
    if (c->next)
        c->next->prev = &c->next;
    l->conns = c;
    *ctx = c;
}

static void on_connection(void *arg, struct MHD_Connection *mc, void **ctx,
                          enum MHD_ConnectionNotificationCode what)
{
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        conn_open(arg, mc, ctx);
        return;
    }
    struct conn *c = *ctx;
    if (!c)
        return;
    *ctx = NULL;
    *c->prev = c->next;
    if (c->next)
        c->next->prev = c->prev;
    wsm_peer_done(&c->peer);
    free(c);
}

/* ---- listeners ------------------------------------------------------------------------------ */

static void listener_free(struct listener *l)
{
    sd_event_source_disable_unref(l->io);
    sd_event_source_disable_unref(l->timer);
    if (l->d)
        MHD_stop_daemon(l->d); /* closes the listening socket as well */
    if (l->path)
        unlink(l->path);
    free(l->path);
    free(l);
}
VR_DEFINE_CLEANUP(struct listener, listener_free)

/* Close @copy if it still is the socket @fd: when the library does not start, it has closed the
 * socket that it was given after some errors and not after others. */
static void drop_copy(int fd, int copy)
{
    struct stat a, b;
    if (!fstat(fd, &a) && !fstat(copy, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
        close(copy);
}

/* @fd: the listening socket; stays with the caller, a copy is used. @tls: for that kind only. */
static int add_listener(struct wsm_http *h, int fd, enum wsm_listener_kind kind,
                        const struct wsm_tls_listen *tls, struct vr_err *err)
{
    static const char *const kinds[] = { "UNIX socket", "HTTPS", "HTTP" };
    vr_auto(listener_free) struct listener *l = vr_new(struct listener);
    l->h = h;
    l->kind = kind;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0)
        return vr_fail(err, VR_E_IO, errno, "listening socket");
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    const struct MHD_OptionItem per_ip = { MHD_OPTION_PER_IP_CONNECTION_LIMIT,
                                           (intptr_t)h->lim.per_address, NULL };
    const struct MHD_OptionItem end = { MHD_OPTION_END, 0, NULL };
    struct MHD_OptionItem secure[] = {
        { MHD_OPTION_HTTPS_MEM_CERT, 0, tls ? (void *)(uintptr_t)tls->cert_pem : NULL },
        { MHD_OPTION_HTTPS_MEM_KEY, 0, tls ? (void *)(uintptr_t)tls->key_pem : NULL },
        { MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)WSM_TLS_PRIORITY },
        per_ip,
        end
    };
    struct MHD_OptionItem sealed[] = { { MHD_OPTION_CONNECTION_MEMORY_LIMIT, SEALED_MEMORY, NULL },
                                       per_ip,
                                       end };
    struct MHD_OptionItem none[] = { end };
    struct MHD_OptionItem *const more[] = {
        [LISTENER_LOCAL] = none, [LISTENER_TLS] = secure, [LISTENER_SEALED] = sealed
    };
    l->d =
        MHD_start_daemon(flags | (tls ? MHD_USE_TLS : 0), 0, NULL, NULL, wsm_on_request, l,
                         MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET, copy,
                         MHD_OPTION_CONNECTION_LIMIT, h->lim.connections,
                         MHD_OPTION_CONNECTION_TIMEOUT, h->lim.idle_s, MHD_OPTION_NOTIFY_COMPLETED,
                         wsm_on_completed, l, MHD_OPTION_NOTIFY_CONNECTION, on_connection, l,
                         MHD_OPTION_ARRAY, more[kind], MHD_OPTION_END);
    if (!l->d)
        drop_copy(fd, copy);
    if (!l->d)
        return vr_fail(err, tls ? VR_E_INVAL : VR_E_IO, 0, "the %s listener does not start%s",
                       kinds[kind], tls ? "; are certificate and key a pair in PEM?" : "");
    const union MHD_DaemonInfo *i = MHD_get_daemon_info(l->d, MHD_DAEMON_INFO_EPOLL_FD);
    int rc = i ? sd_event_add_io(h->ev, &l->io, i->epoll_fd, EPOLLIN, on_io, l) : -ENOTSUP;
    if (rc >= 0)
        rc = sd_event_add_time(h->ev, &l->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, l);
    if (rc < 0)
        return vr_fail(err, VR_E_IO, -rc, "watch the listener");
    arm(l);
    l->next = h->listeners;
    h->listeners = vr_take(l);
    return 0;
}

int wsm_http_listen_unix(struct wsm_http *h, const char *path, struct vr_err *err)
{
    vr_autoclose int fd = wsm_listen_unix(path, err);
    if (fd < 0)
        return -1;
    if (add_listener(h, fd, LISTENER_LOCAL, NULL, err)) {
        unlink(path);
        return -1;
    }
    h->listeners->path = vr_strdup(path);
    return 0;
}

int wsm_http_listen_tls(struct wsm_http *h, const struct wsm_tls_listen *l, uint16_t *ret_port,
                        struct vr_err *err)
{
    if (!l->cert_pem || !l->key_pem)
        return vr_fail(err, VR_E_INVAL, 0, "HTTPS needs a certificate and a key");
    uint16_t port;
    vr_autoclose int fd = wsm_listen_tcp(l->address, l->port, &port, err);
    if (fd < 0 || add_listener(h, fd, LISTENER_TLS, l, err))
        return -1;
    if (ret_port)
        *ret_port = port;
    return 0;
}

int wsm_http_listen_sealed(struct wsm_http *h, const char *address, uint16_t port,
                           uint16_t *ret_port, struct vr_err *err)
{
    uint16_t got;
    if (!h->auth.keys || !h->auth.role_of_principal)
        return vr_fail(err, VR_E_INVAL, 0, "HTTP needs a keytab: it is for Kerberos only");
    vr_autoclose int fd = wsm_listen_tcp(address, port, &got, err);
    if (fd < 0 || add_listener(h, fd, LISTENER_SEALED, NULL, err))
        return -1;
    if (ret_port)
        *ret_port = got;
    return 0;
}

void wsm_http_set_keys(struct wsm_http *h, struct vr_gss_cred *keys)
{
    h->auth.keys = keys;
}

/* What was learned about a connection is forgotten where that can be learned again on it; a
 * Kerberos context cannot: a reply that is awaited would have to be sealed with it. */
void wsm_http_roles_changed(struct wsm_http *h)
{
    for (struct listener *l = h->listeners; l; l = l->next)
        for (struct conn *c = l->conns; c; c = c->next)
            if (l->kind == LISTENER_SEALED)
                shutdown(c->fd, SHUT_RDWR);
            else
                wsm_peer_again(&c->peer, c->fd, &h->auth);
    wsm_wait_roles_changed(h);
}

void wsm_http_certificates_changed(struct wsm_http *h)
{
    for (struct listener *l = h->listeners; l; l = l->next)
        for (struct conn *c = l->conns; c && l->kind == LISTENER_TLS; c = c->next)
            wsm_peer_again(&c->peer, c->fd, &h->auth);
    wsm_wait_certificates_changed(h);
}

static void set_limits(struct wsm_http_limits *to, const struct wsm_http_limits *from)
{
    static const struct wsm_http_limits std = { .envelope_bytes = 512000,
                                                .anonymous_bytes = 16384,
                                                .connections = 128,
                                                .per_address = 32,
                                                .stranger_s = 15,
                                                .idle_s = 75,
                                                .request_s = 30,
                                                .reply_s = 60,
                                                .failed_delay_ms = 1000 };
    *to = from ? *from : std;
#define DEFAULT(m) \
    if (!to->m)    \
    to->m = std.m
    DEFAULT(envelope_bytes);
    DEFAULT(anonymous_bytes);
    DEFAULT(connections);
    DEFAULT(per_address);
    DEFAULT(stranger_s);
    DEFAULT(idle_s);
    DEFAULT(request_s);
    DEFAULT(reply_s);
    DEFAULT(failed_delay_ms);
#undef DEFAULT
}

int wsm_http_new(struct sd_event *ev, struct wsm *w, const struct wsm_auth *auth,
                 const struct wsm_http_limits *lim, struct wsm_http **ret, struct vr_err *err)
{
    vr_auto(wsm_http_free) struct wsm_http *h = vr_new(struct wsm_http);
    h->ev = sd_event_ref(ev);
    h->wsm = w;
    h->auth = *auth;
    set_limits(&h->lim, lim);
    if (wsm_logins_new(ev, &h->auth, &h->lim, &h->logins, err))
        return -1;
    if (wsm_wait_init(h, err))
        return -1;
    *ret = vr_take(h);
    return 0;
}

void wsm_http_free(struct wsm_http *h)
{
    if (!h)
        return;
    h->closing = true;
    wsm_wait_done(h);
    for (struct req *rq = h->suspended, *next; rq; rq = next) {
        next = rq->next;
        wsm_request_abort(rq); /* the library must not be stopped with suspended connections */
    }
    while (h->listeners) {
        struct listener *l = h->listeners;
        h->listeners = l->next;
        listener_free(l);
    }
    wsm_logins_free(h->logins);
    sd_event_unref(h->ev);
    free(h);
}
