/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* HTTP for WS-Management; the only file that includes libmicrohttpd. Each listener is a daemon of
 * that library without threads: its epoll descriptor and its timer sit in the control thread's
 * event loop. Password checks run on workers while the connection is suspended.
 *
 *   connect -> [idle_s] -> header -> [request_s] -> whole body -> who is it? -> reply -> [reply_s]
 *                                                    | password: suspended, worker, resumed
 *
 * Invariants: a connection has a deadline in every phase but while suspended, and no single byte
 * extends it; a request's body never passes the limit; a suspended request is in http.suspended. */
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <systemd/sd-event.h>

#include "base/alloc.h"
#include "base/exec.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "wsman/http_int.h"
#include "wsman/wsm.h"

enum { CHECKS_MAX = 16, TICK_MS = 1000 };

struct listener;

struct conn {
    struct conn *next, **prev;
    struct listener *l;
    struct MHD_Connection *mc;
    int fd;
    int64_t deadline; /* monotonic ms; INT64_MAX none */
    struct wsm_peer peer;
};

enum auth_state { AUTH_NONE, AUTH_RUNNING, AUTH_GOOD, AUTH_BAD };

struct check;

struct req {
    struct req *next, **prev; /* in http.suspended */
    struct conn *c;
    struct vr_buf body;
    unsigned status; /* refused already with this */
    enum auth_state auth;
    struct check *check; /* running for us */
    struct wsm_identity who;
};

/* A password check; owned by the control thread but for run_check(). */
struct check {
    struct wsm_http *h;
    struct req *rq; /* NULL when the request is gone */
    sd_event_source *delay;
    char *user, *password, *header, address[64];
    struct wsm_identity who;
    int rc;
    struct vr_err err;
};

struct listener {
    struct listener *next;
    struct wsm_http *h;
    struct MHD_Daemon *d;
    bool local;
    sd_event_source *io, *timer;
    struct conn *conns;
    int64_t next_reap; /* monotonic ms */
    char *path;        /* of a UNIX socket */
};

struct wsm_http {
    sd_event *ev;
    struct wsm *wsm;
    struct wsm_auth auth;
    struct wsm_http_limits lim;
    struct vr_mailbox *mail;
    sd_event_source *mail_io;
    struct listener *listeners;
    struct req *suspended;
    unsigned checks;
    bool closing;
    struct wsm_throttle throttle;
};

static int64_t in_s(unsigned s)
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
    if (want)
        sd_event_source_set_time(l->timer, (uint64_t)(vr_mono_now().ms + (int64_t)ms) * 1000);
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

static int on_io(sd_event_source *s, int fd, uint32_t ev, void *arg)
{
    struct listener *l = arg;
    reap(l); /* steady input keeps pushing the timer away */
    MHD_run(l->d);
    arm(l);
    return 0;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *arg)
{
    struct listener *l = arg;
    reap(l);
    MHD_run(l->d);
    arm(l);
    return 0;
}

static int on_mail(sd_event_source *s, int fd, uint32_t ev, void *arg)
{
    struct wsm_http *h = arg;
    vr_mailbox_run(h->mail);
    return 0;
}

__attribute__((format(printf, 2, 0))) static void on_log(void *arg, const char *fmt, va_list ap)
{
    char line[256];
    vsnprintf(line, sizeof line, fmt, ap);
    line[strcspn(line, "\n")] = 0;
    vr_log(VR_LOG_DEBUG, "http: %s", line);
}

/* ---- replies ------------------------------------------------------------------------------- */

static enum MHD_Result send_response(struct req *rq, unsigned status, struct MHD_Response *r)
{
    rq->c->deadline = in_s(rq->c->l->h->lim.reply_s);
    enum MHD_Result ok = MHD_queue_response(rq->c->mc, status, r);
    MHD_destroy_response(r);
    return ok;
}

static const char *status_text(unsigned status)
{
    switch (status) {
    case 401:
        return "Say who you are.\n";
    case 403:
        return "You are not allowed to manage this host.\n";
    case 404:
        return "WS-Management is at /wsman.\n";
    case 405:
        return "Only POST is served.\n";
    case 413:
        return "The envelope is over the limit.\n";
    case 415:
        return "Only application/soap+xml is served.\n";
    case 503:
        return "Too many logins at the moment.\n";
    default:
        return "The request could not be served.\n";
    }
}

static enum MHD_Result send_status(struct req *rq, unsigned status)
{
    const struct wsm_auth *auth = &rq->c->l->h->auth;
    bool basic = auth->check_password && !rq->c->l->local;
    if (status == 401 && !basic)
        status = 403; /* there is no scheme to offer */
    const char *text = status_text(status);
    struct MHD_Response *r = MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text,
                                                             MHD_RESPMEM_PERSISTENT);
    if (!r)
        return MHD_NO;
    MHD_add_response_header(r, "Content-Type", "text/plain;charset=UTF-8");
    if (status == 401)
        MHD_add_response_header(r, "WWW-Authenticate", "Basic realm=\"vmreplica\"");
    if (status == 405)
        MHD_add_response_header(r, "Allow", "POST");
    return send_response(rq, status, r);
}

static const char *header(struct req *rq, const char *name)
{
    return MHD_lookup_connection_value(rq->c->mc, MHD_HEADER_KIND, name);
}

static enum MHD_Result answer(struct req *rq, const struct wsm_identity *who)
{
    const struct cim_caller caller = { .name = who ? who->name : NULL,
                                       .role = who ? who->role : CIM_ROLE_NONE,
                                       .is_local = rq->c->peer.local };
    const struct wsm_request in = { .body = rq->body.data,
                                    .len = rq->body.len,
                                    .content_type = header(rq, "Content-Type"),
                                    .user_agent = header(rq, "User-Agent"),
                                    .caller = who ? &caller : NULL,
                                    .now = vr_mono_now() };
    struct wsm_reply out;
    wsm_process(rq->c->l->h->wsm, &in, &out);
    if (!out.content_type) {
        wsm_reply_done(&out);
        return send_status(rq, (unsigned)out.status);
    }
    struct MHD_Response *r =
        MHD_create_response_from_buffer(out.body.len, out.body.data, MHD_RESPMEM_MUST_FREE);
    if (!r) {
        wsm_reply_done(&out);
        return MHD_NO;
    }
    MHD_add_response_header(r, "Content-Type", out.content_type);
    return send_response(rq, (unsigned)out.status, r);
}

/* ---- password checks ------------------------------------------------------------------------ */

static void check_free(struct check *k)
{
    explicit_bzero(k->password, strlen(k->password));
    explicit_bzero(k->header, strlen(k->header));
    free(k->password);
    free(k->header);
    free(k->user);
    sd_event_source_unref(k->delay);
    free(k);
}

static void resume(struct req *rq)
{
    *rq->prev = rq->next;
    if (rq->next)
        rq->next->prev = rq->prev;
    rq->prev = NULL;
    rq->c->deadline = in_s(rq->c->l->h->lim.reply_s);
    MHD_resume_connection(rq->c->mc);
    MHD_run(rq->c->l->d);
}

static int on_delay(sd_event_source *s, uint64_t usec, void *arg)
{
    struct check *k = arg;
    if (k->rq) {
        struct req *rq = k->rq;
        rq->check = NULL;
        resume(rq);
    }
    check_free(k);
    return 0;
}

static void check_done(void *arg)
{
    struct check *k = arg;
    struct wsm_http *h = k->h;
    h->checks--;
    if (k->rq)
        k->rq->auth = k->rc ? AUTH_BAD : AUTH_GOOD;
    if (k->rc) {
        wsm_throttle_failed(&h->throttle, k->address, &k->err);
        uint64_t at = (uint64_t)(vr_mono_now().ms + h->lim.failed_delay_ms) * 1000;
        if (k->rq &&
            sd_event_add_time(h->ev, &k->delay, CLOCK_MONOTONIC, at, 1000, on_delay, k) >= 0)
            return;
    } else if (k->rq) {
        struct wsm_peer *p = &k->rq->c->peer;
        k->rq->who = k->who;
        wsm_peer_done(p);
        p->basic = vr_strdup(k->header);
        p->basic_who = k->who;
    }
    if (k->rq) {
        struct req *rq = k->rq;
        rq->check = NULL;
        resume(rq);
    }
    check_free(k);
}

/* On a worker. */
static void run_check(void *arg)
{
    struct check *k = arg;
    const struct wsm_auth *a = &k->h->auth;
    k->rc = a->check_password(a->ctx, k->user, k->password, k->address, &k->who, &k->err);
    if (k->rc && k->err.kind == VR_OK)
        vr_fail(&k->err, VR_E_AUTH, 0, "refused");
    vr_mailbox_post(k->h->mail, check_done, k);
}

/* Returns false when the connection was suspended for a check. */
static bool start_check(struct req *rq, const char *basic)
{
    struct wsm_http *h = rq->c->l->h;
    if (h->checks >= CHECKS_MAX || h->closing) {
        rq->status = 503;
        return true;
    }
    struct check *k = vr_new(struct check);
    if (wsm_basic_decode(basic, &k->user, &k->password)) {
        free(k);
        rq->auth = AUTH_BAD;
        return true;
    }
    k->h = h;
    k->rq = rq;
    k->header = vr_strdup(basic);
    memcpy(k->address, rq->c->peer.address, sizeof k->address);
    rq->check = k;
    rq->auth = AUTH_RUNNING;
    rq->c->deadline = INT64_MAX;
    rq->next = h->suspended;
    rq->prev = &h->suspended;
    if (rq->next)
        rq->next->prev = &rq->next;
    h->suspended = rq;
    h->checks++;
    MHD_suspend_connection(rq->c->mc);
    vr_exec_post(h->auth.exec, run_check, k);
    return false;
}

/* ---- requests ------------------------------------------------------------------------------- */

/* The whole body is here: find out who asks, then answer. */
static enum MHD_Result finish(struct req *rq)
{
    struct wsm_http *h = rq->c->l->h;
    struct wsm_peer *p = &rq->c->peer;
    if (rq->auth == AUTH_RUNNING)
        return MHD_YES;
    if (p->refused)
        rq->status = 403;
    if (rq->status)
        return send_status(rq, rq->status);
    if (p->known)
        return answer(rq, &p->who);
    if (rq->auth == AUTH_GOOD)
        return answer(rq, &rq->who);
    if (rq->auth == AUTH_BAD)
        return send_status(rq, 401);
    const char *basic = header(rq, "Authorization");
    if (basic && h->auth.check_password && !p->local) {
        if (p->basic && !strcmp(p->basic, basic))
            return answer(rq, &p->basic_who);
        if (!start_check(rq, basic))
            return MHD_YES;
        return send_status(rq, rq->status ? rq->status : 401);
    }
    if (rq->body.len > h->lim.anonymous_bytes)
        return send_status(rq, 401);
    return answer(rq, NULL);
}

static unsigned judge_header(struct req *rq, const char *url, const char *method)
{
    if (strcasecmp(url, "/wsman") && strcasecmp(url, "/wsman/"))
        return 404;
    if (strcmp(method, "POST"))
        return 405;
    if (!wsm_body_type_ok(header(rq, "Content-Type")))
        return 415;
    return 0;
}

static bool announced_too_long(struct req *rq)
{
    const char *len = header(rq, "Content-Length");
    if (!len)
        return false;
    char *end;
    errno = 0;
    unsigned long long n = strtoull(len, &end, 10);
    return errno || n > rq->body.max;
}

static enum MHD_Result begin(struct conn *c, const char *url, const char *method, void **con_cls)
{
    struct wsm_http *h = c->l->h;
    struct req *rq = vr_new(struct req);
    rq->c = c;
    rq->body.max = h->lim.envelope_bytes;
    *con_cls = rq;
    c->deadline = in_s(h->lim.request_s);
    if (!c->peer.checked) {
        const union MHD_ConnectionInfo *i =
            MHD_get_connection_info(c->mc, MHD_CONNECTION_INFO_GNUTLS_SESSION);
        char thumb[WSM_THUMB_SIZE];
        bool has = i && wsm_tls_peer_thumb(i->tls_session, thumb);
        wsm_peer_certificate(&c->peer, &h->auth, has ? thumb : NULL);
    }
    if (announced_too_long(rq))
        return send_status(rq, 413); /* before it is sent; the library then closes */
    rq->status = judge_header(rq, url, method);
    return MHD_YES;
}

static enum MHD_Result take_body(struct req *rq, const char *data, size_t n)
{
    if (rq->status)
        return MHD_YES;
    struct vr_err e = VR_ERR_INIT;
    if (vr_buf_add(&rq->body, data, n, &e)) {
        vr_buf_done(&rq->body);
        rq->status = 413;
    }
    return MHD_YES;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *mc, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **con_cls)
{
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(mc, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct conn *c = i ? i->socket_context : NULL;
    if (!c)
        return MHD_NO;
    struct req *rq = *con_cls;
    if (!rq)
        return begin(c, url, method, con_cls);
    if (!*size)
        return finish(rq);
    size_t n = *size;
    *size = 0;
    return take_body(rq, data, n);
}

static void on_completed(void *arg, struct MHD_Connection *mc, void **con_cls,
                         enum MHD_RequestTerminationCode why)
{
    struct req *rq = *con_cls;
    if (!rq)
        return;
    *con_cls = NULL;
    if (rq->check)
        rq->check->rq = NULL;
    if (rq->prev) {
        *rq->prev = rq->next;
        if (rq->next)
            rq->next->prev = rq->prev;
    }
    rq->c->deadline = in_s(rq->c->l->h->lim.idle_s);
    vr_buf_done(&rq->body);
    free(rq);
}

/* ---- connections ---------------------------------------------------------------------------- */

static void set_address(struct wsm_peer *p, struct MHD_Connection *mc)
{
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(mc, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *sa = i ? i->client_addr : NULL;
    memcpy(p->address, "?", 2);
    if (sa && sa->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)sa)->sin_addr, p->address,
                  sizeof p->address);
    else if (sa && sa->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)sa)->sin6_addr, p->address,
                  sizeof p->address);
}

static void conn_open(struct listener *l, struct MHD_Connection *mc, void **ctx)
{
    struct conn *c = vr_new(struct conn);
    c->l = l;
    c->mc = mc;
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(mc, MHD_CONNECTION_INFO_CONNECTION_FD);
    c->fd = i ? i->connect_fd : -1;
    c->deadline = in_s(l->h->lim.idle_s);
    if (l->local) {
        const char *group = l->h->auth.admin_group;
        wsm_peer_local(&c->peer, c->fd, group ? group : "vmreplica");
    } else {
        set_address(&c->peer, mc);
        i = MHD_get_connection_info(mc, MHD_CONNECTION_INFO_GNUTLS_SESSION);
        if (i && l->h->auth.role_of_thumbprint)
            wsm_tls_ask_certificate(i->tls_session);
    }
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

/* @fd: the listening socket; stays with the caller, a copy is used. @tls: NULL for a UNIX socket.
 */
static int add_listener(struct wsm_http *h, int fd, const struct wsm_tls_listen *tls,
                        struct vr_err *err)
{
    vr_auto(listener_free) struct listener *l = vr_new(struct listener);
    l->h = h;
    l->local = !tls;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0)
        return vr_fail(err, VR_E_IO, errno, "listening socket");
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    struct MHD_OptionItem secure[] = {
        { MHD_OPTION_HTTPS_MEM_CERT, 0, tls ? (void *)(uintptr_t)tls->cert_pem : NULL },
        { MHD_OPTION_HTTPS_MEM_KEY, 0, tls ? (void *)(uintptr_t)tls->key_pem : NULL },
        { MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)WSM_TLS_PRIORITY },
        { MHD_OPTION_PER_IP_CONNECTION_LIMIT, (intptr_t)h->lim.per_address, NULL },
        { MHD_OPTION_END, 0, NULL }
    };
    struct MHD_OptionItem none[] = { { MHD_OPTION_END, 0, NULL } };
    l->d = MHD_start_daemon(
        flags | (tls ? MHD_USE_TLS : 0), 0, NULL, NULL, on_request, l, MHD_OPTION_EXTERNAL_LOGGER,
        on_log, NULL, MHD_OPTION_LISTEN_SOCKET, copy, MHD_OPTION_CONNECTION_LIMIT,
        h->lim.connections, MHD_OPTION_CONNECTION_TIMEOUT, h->lim.idle_s,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, l, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
        l, MHD_OPTION_ARRAY, tls ? secure : none, MHD_OPTION_END);
    if (!l->d)
        drop_copy(fd, copy);
    if (!l->d)
        return vr_fail(err, tls ? VR_E_INVAL : VR_E_IO, 0, "the %s listener does not start%s",
                       tls ? "HTTPS" : "UNIX socket",
                       tls ? "; are certificate and key a pair in PEM?" : "");
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
    if (add_listener(h, fd, NULL, err)) {
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
    if (fd < 0 || add_listener(h, fd, l, err))
        return -1;
    if (ret_port)
        *ret_port = port;
    return 0;
}

static void set_limits(struct wsm_http_limits *to, const struct wsm_http_limits *from)
{
    static const struct wsm_http_limits std = { 512000, 16384, 128, 32, 75, 30, 60, 1000 };
    *to = from ? *from : std;
#define DEFAULT(m) \
    if (!to->m)    \
    to->m = std.m
    DEFAULT(envelope_bytes);
    DEFAULT(anonymous_bytes);
    DEFAULT(connections);
    DEFAULT(per_address);
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
    h->mail = vr_mailbox_new();
    int rc = sd_event_add_io(ev, &h->mail_io, vr_mailbox_fd(h->mail), EPOLLIN, on_mail, h);
    if (rc < 0)
        return vr_fail(err, VR_E_IO, -rc, "watch the mailbox");
    *ret = vr_take(h);
    return 0;
}

void wsm_http_free(struct wsm_http *h)
{
    if (!h)
        return;
    h->closing = true;
    for (struct req *rq = h->suspended, *next; rq; rq = next) {
        next = rq->next;
        rq->status = 503;
        rq->auth = AUTH_BAD;
        if (rq->check && rq->check->delay) {
            check_free(rq->check);
        } else if (rq->check) {
            rq->check->rq = NULL;
        }
        rq->check = NULL;
        resume(rq); /* the library must not be stopped with suspended connections */
    }
    while (h->listeners) {
        struct listener *l = h->listeners;
        h->listeners = l->next;
        listener_free(l);
    }
    while (h->checks) { /* workers still refer to us */
        struct pollfd p = { .fd = vr_mailbox_fd(h->mail), .events = POLLIN };
        poll(&p, 1, -1);
        vr_mailbox_run(h->mail);
    }
    sd_event_source_disable_unref(h->mail_io);
    vr_mailbox_free(h->mail);
    sd_event_unref(h->ev);
    free(h);
}
