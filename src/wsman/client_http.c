/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Blocking HTTP/1.1 client over a UNIX socket, TLS, or TCP with Kerberos and sealed bodies. One
 * connection that is kept; a request goes out a second time only if a kept connection was closed
 * before a single byte of an answer came. Invariants: password only inside TLS; with Kerberos no
 * body in clear text, in neither direction; a reply is at most WSMC_REPLY_MAX bytes. */
#include "wsman/client_http.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "base/clock.h"
#include "wsman/http_gss.h"
#include "wsman/tls.h"

enum { HEAD_MAX = 16384, LEGS_MAX = 5 };

#define SOAP_TYPE "application/soap+xml;charset=UTF-8"

struct wsmc_http {
    char *unix_path, *host, *cert, *key, *ca, *pin, *basic;
    char port[8];
    int timeout_ms;
    int fd;
    struct wsm_tls *tls;
    bool kerberos;
    struct vr_gss *gss; /* of this connection */
    struct vr_buf in;   /* received, not used yet */
};

static char *basic_of(const char *user, const char *password)
{
    vr_autofree char *plain = vr_printf("%s:%s", user, password);
    size_t n = strlen(plain);
    char *out = vr_base64(plain, n);
    explicit_bzero(plain, n);
    return out;
}

int wsmc_http_new(const struct wsmc_target *t, struct wsmc_http **ret, struct vr_err *err)
{
    if (!t->unix_path && !t->host)
        return vr_fail(err, VR_E_INVAL, 0, "neither a socket nor a host is given");
    if (t->kerberos && t->unix_path)
        return vr_fail(err, VR_E_INVAL, 0, "Kerberos is for other hosts, not for the local socket");
    if (t->host && strpbrk(t->host, "\r\n /"))
        return vr_fail(err, VR_E_INVAL, 0, "\"%s\" is no host name", t->host);
    if (t->unix_path && strlen(t->unix_path) >= sizeof((struct sockaddr_un *)0)->sun_path)
        return vr_fail(err, VR_E_INVAL, 0, "socket path %s is too long", t->unix_path);
    struct wsmc_http *h = vr_new(struct wsmc_http);
    h->unix_path = vr_strdup(t->unix_path);
    h->host = vr_strdup(t->unix_path ? "localhost" : t->host);
    h->cert = vr_strdup(t->cert_pem);
    h->key = vr_strdup(t->key_pem);
    h->ca = vr_strdup(t->ca_pem);
    h->pin = vr_strdup(t->pin);
    h->basic = t->user && t->password && !t->unix_path ? basic_of(t->user, t->password) : NULL;
    snprintf(h->port, sizeof h->port, "%u", t->port ? t->port : t->kerberos ? 5985 : 5986);
    h->kerberos = t->kerberos;
    h->timeout_ms = t->timeout_ms ? t->timeout_ms : 60000;
    h->fd = -1;
    h->in.max = WSMC_REPLY_MAX + HEAD_MAX;
    *ret = h;
    return 0;
}

static void disconnect(struct wsmc_http *h)
{
    wsm_tls_free(vr_take(h->tls));
    vr_gss_free(vr_take(h->gss));
    vr_closep(&h->fd);
    vr_buf_done(&h->in);
}

void wsmc_http_free(struct wsmc_http *h)
{
    if (!h)
        return;
    disconnect(h);
    if (h->basic)
        explicit_bzero(h->basic, strlen(h->basic));
    if (h->key)
        explicit_bzero(h->key, strlen(h->key));
    char *const all[] = { h->unix_path, h->host, h->cert, h->key, h->ca, h->pin, h->basic };
    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++)
        free(all[i]);
    free(h);
}

/* ---- connecting ------------------------------------------------------------------------------ */

static int wait_connected(int fd, int timeout_ms)
{
    struct pollfd p = { .fd = fd, .events = POLLOUT };
    int n = poll(&p, 1, timeout_ms);
    if (n == 0)
        errno = ETIMEDOUT;
    if (n <= 0)
        return -1;
    int e = 0;
    socklen_t len = sizeof e;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len);
    errno = e;
    return e ? -1 : 0;
}

static int try_address(const struct sockaddr *sa, socklen_t len, int family, int timeout_ms)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, sa, len) && (errno != EINPROGRESS || wait_connected(fd, timeout_ms))) {
        int e = errno;
        close(fd);
        errno = e;
        return -1;
    }
    return fd;
}

static int set_blocking(struct wsmc_http *h, struct vr_err *err)
{
    struct timeval tv = { .tv_sec = h->timeout_ms / 1000, .tv_usec = h->timeout_ms % 1000 * 1000 };
    int off = 0;
    if (ioctl(h->fd, FIONBIO, &off) || setsockopt(h->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) ||
        setsockopt(h->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv))
        return vr_fail(err, VR_E_IO, errno, "socket options");
    return 0;
}

static int connect_unix(struct wsmc_http *h, struct vr_err *err)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    memcpy(sa.sun_path, h->unix_path, strlen(h->unix_path));
    h->fd = try_address((struct sockaddr *)&sa, sizeof sa, AF_UNIX, h->timeout_ms);
    if (h->fd < 0)
        return vr_fail(err, VR_E_PEER, errno, "connect to %s (is vmreplicad running?)",
                       h->unix_path);
    return set_blocking(h, err);
}

static int connect_tcp(struct wsmc_http *h, struct vr_err *err)
{
    struct addrinfo hint = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG }, *list = NULL;
    int rc = getaddrinfo(h->host, h->port, &hint, &list);
    if (rc)
        return vr_fail(err, VR_E_PEER, 0, "address of %s: %s", h->host, gai_strerror(rc));
    for (struct addrinfo *a = list; a && h->fd < 0; a = a->ai_next)
        h->fd = try_address(a->ai_addr, a->ai_addrlen, a->ai_family, h->timeout_ms);
    int e = errno;
    freeaddrinfo(list);
    if (h->fd < 0)
        return vr_fail(err, e == ETIMEDOUT ? VR_E_TIMEOUT : VR_E_PEER, e, "connect to %s port %s",
                       h->host, h->port);
    if (set_blocking(h, err))
        return -1;
    if (h->kerberos)
        return 0;
    const struct wsm_tls_client tc = { .host = h->host,
                                       .cert_pem = h->cert,
                                       .key_pem = h->key,
                                       .ca_pem = h->ca,
                                       .pin = h->pin,
                                       .timeout_ms = h->timeout_ms };
    return wsm_tls_connect(h->fd, &tc, &h->tls, err);
}

/* A kept connection that has something to say before we asked was closed, or will be. */
static bool is_stale(const struct wsmc_http *h)
{
    struct pollfd p = { .fd = h->fd, .events = POLLIN };
    return h->in.len || poll(&p, 1, 0) != 0;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static int send_all(struct wsmc_http *h, const void *p, size_t n, struct vr_err *err)
{
    if (h->tls)
        return wsm_tls_write(h->tls, p, n, err);
    const char *s = p;
    while (n) {
        ssize_t k = send(h->fd, s, n, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return vr_fail(err, errno == EAGAIN ? VR_E_TIMEOUT : VR_E_PEER, errno, "send");
        s += k;
        n -= (size_t)k;
    }
    return 0;
}

/* One more piece into h->in. *ret_n 0: the server closed. */
static int receive(struct wsmc_http *h, size_t *ret_n, struct vr_err *err)
{
    char piece[16384];
    if (h->tls) {
        if (wsm_tls_read(h->tls, piece, sizeof piece, ret_n, err))
            return -1;
    } else {
        ssize_t k;
        do
            k = recv(h->fd, piece, sizeof piece, 0);
        while (k < 0 && errno == EINTR);
        if (k < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return vr_fail(err, VR_E_TIMEOUT, 0, "no answer within %d ms", h->timeout_ms);
        if (k < 0)
            return vr_fail(err, VR_E_PEER, errno, "receive");
        *ret_n = (size_t)k;
    }
    return vr_buf_add(&h->in, piece, *ret_n, err);
}

static int need(struct wsmc_http *h, size_t n, struct vr_err *err)
{
    if (n > WSMC_REPLY_MAX)
        return vr_fail(err, VR_E_LIMIT, 0, "the answer has more than %d bytes", WSMC_REPLY_MAX);
    while (h->in.len < n) {
        size_t k;
        if (receive(h, &k, err))
            return -1;
        if (!k)
            return vr_fail(err, VR_E_PEER, 0, "the server closed in the middle of an answer");
    }
    return 0;
}

static void consume(struct wsmc_http *h, size_t n)
{
    memmove(h->in.data, h->in.data + n, h->in.len - n + 1); /* with the final NUL */
    h->in.len -= n;
}

/* ---- replies --------------------------------------------------------------------------------- */

struct head {
    int status;
    bool close, chunked, has_length;
    size_t length;
    char *type, *token; /* Content-Type; base64 of WWW-Authenticate: Negotiate */
};

static void head_done(struct head *hd)
{
    free(hd->type);
    free(hd->token);
    *hd = (struct head){ 0 };
}
#define autohead __attribute__((cleanup(head_done)))

static int parse_field(char *line, struct head *hd, struct vr_err *err)
{
    char *colon = strchr(line, ':');
    if (!colon)
        return vr_fail(err, VR_E_PROTO, 0, "bad HTTP header");
    *colon = 0;
    char *v = colon + 1 + strspn(colon + 1, " \t");
    if (!strcasecmp(line, "Content-Length")) {
        char *end;
        errno = 0;
        hd->length = strtoul(v, &end, 10);
        if (errno || end == v || *v == '-')
            return vr_fail(err, VR_E_PROTO, 0, "bad Content-Length");
        hd->has_length = true;
    } else if (!strcasecmp(line, "Transfer-Encoding")) {
        hd->chunked = strcasestr(v, "chunked") != NULL;
    } else if (!strcasecmp(line, "Connection")) {
        hd->close = strcasestr(v, "close") != NULL;
    } else if (!strcasecmp(line, "Content-Type")) {
        free(hd->type);
        hd->type = vr_strdup(v);
    } else if (!strcasecmp(line, "WWW-Authenticate")) {
        const char *rest = NULL;
        if (wsm_scheme_of(v, &rest) == WSM_SCHEME_NEGOTIATE && !hd->token)
            hd->token = vr_strdup(rest);
    }
    return 0;
}

static int parse_head(char *text, struct head *hd, struct vr_err *err)
{
    char *save = NULL, *line = strtok_r(text, "\r\n", &save);
    if (!line || sscanf(line, "HTTP/1.%*1[01] %3d", &hd->status) != 1)
        return vr_fail(err, VR_E_PROTO, 0, "the answer is not HTTP");
    while ((line = strtok_r(NULL, "\r\n", &save)))
        if (parse_field(line, hd, err))
            return -1;
    return 0;
}

static int read_head(struct wsmc_http *h, struct head *hd, struct vr_err *err)
{
    char *end;
    while (!h->in.len || !(end = strstr((char *)h->in.data, "\r\n\r\n"))) {
        size_t k;
        if (h->in.len > HEAD_MAX)
            return vr_fail(err, VR_E_PROTO, 0, "the answer's header is too long");
        if (receive(h, &k, err))
            return -1;
        if (!k)
            return vr_fail(err, VR_E_PEER, 0, "the server closed the connection");
    }
    end[2] = 0;
    int rc = parse_head((char *)h->in.data, hd, err);
    consume(h, (size_t)(end + 4 - (char *)h->in.data));
    return rc;
}

static int read_chunks(struct wsmc_http *h, struct vr_buf *reply, struct vr_err *err)
{
    for (;;) {
        char *eol;
        while (!h->in.len || !(eol = strstr((char *)h->in.data, "\r\n")))
            if (need(h, h->in.len + 1, err))
                return -1;
        char *end;
        errno = 0;
        size_t n = strtoul((char *)h->in.data, &end, 16);
        if (errno || end == (char *)h->in.data || n > WSMC_REPLY_MAX)
            return vr_fail(err, VR_E_PROTO, 0, "bad chunk in the answer");
        size_t at = (size_t)(eol + 2 - (char *)h->in.data);
        if (need(h, at + n + 2, err) || vr_buf_add(reply, h->in.data + at, n, err))
            return -1;
        consume(h, at + n + 2);
        if (!n)
            return 0; /* servers of this protocol send no trailers */
    }
}

static int read_reply(struct wsmc_http *h, struct head *hd, struct vr_buf *reply,
                      struct vr_err *err)
{
    do {
        head_done(hd);
        if (read_head(h, hd, err))
            return -1;
    } while (hd->status == 100);
    if (hd->chunked)
        return read_chunks(h, reply, err);
    if (!hd->has_length)
        return vr_fail(err, VR_E_PROTO, 0, "the answer has no length");
    if (need(h, hd->length, err) || vr_buf_add(reply, h->in.data, hd->length, err))
        return -1;
    if (hd->length)
        consume(h, hd->length);
    return 0;
}

/* ---- requests -------------------------------------------------------------------------------- */

/* @extra: a further header line with its end, or "". */
static int send_request(struct wsmc_http *h, const char *type, const char *extra, const void *body,
                        size_t n, struct vr_err *err)
{
    vr_autobuf struct vr_buf out = VR_BUF_INIT;
    bool v6 = strchr(h->host, ':');
    if (vr_buf_printf(&out, err,
                      "POST /wsman HTTP/1.1\r\nHost: %s%s%s\r\nUser-Agent: vmreplica\r\n"
                      "Content-Type: %s\r\nContent-Length: %zu\r\n%s\r\n",
                      v6 ? "[" : "", h->host, v6 ? "]" : "", type, n, extra) ||
        vr_buf_add(&out, body, n, err))
        return -1;
    return send_all(h, out.data, out.len, err);
}

/* Tokens go back and forth on the connection until both sides know each other. */
static int log_in(struct wsmc_http *h, struct vr_err *err)
{
    vr_autobuf struct vr_buf got = VR_BUF_INIT;
    bool more = true;
    h->gss = vr_gss_new();
    for (int leg = 0; leg < LEGS_MAX; leg++) {
        vr_autobuf struct vr_buf token = VR_BUF_INIT, ignored = VR_BUF_INIT;
        autohead struct head hd = { 0 };
        if (vr_gss_connect(h->gss, h->host, true, got.data, got.len, &token, &more, err))
            return -1;
        if (!more && !token.len)
            return 0;
        vr_autofree char *text = vr_base64(token.data, token.len);
        vr_autofree char *line = vr_printf("Authorization: Negotiate %s\r\n", text);
        if (send_request(h, SOAP_TYPE, line, NULL, 0, err) || read_reply(h, &hd, &ignored, err))
            return -1;
        if (hd.status != 200 && !(hd.status == 401 && hd.token && *hd.token))
            return vr_fail(err, VR_E_AUTH, 0,
                           "%s refused the Kerberos login (HTTP %d); its log says why", h->host,
                           hd.status);
        if (!more)
            return 0;
        vr_buf_done(&got);
        if (!hd.token || wsm_token_of(hd.token, &got, NULL))
            break;
    }
    return vr_fail(err, VR_E_AUTH, 0, "%s did not prove who it is", h->host);
}

static int ensure_connected(struct wsmc_http *h, struct vr_err *err)
{
    if (h->fd >= 0 && is_stale(h))
        disconnect(h);
    if (h->fd >= 0)
        return 0;
    if (h->unix_path ? connect_unix(h, err) : connect_tcp(h, err))
        return -1;
    return h->kerberos ? log_in(h, err) : 0;
}

static int exchange_sealed(struct wsmc_http *h, const void *body, size_t n, struct head *hd,
                           struct vr_buf *reply, struct vr_err *err)
{
    vr_autobuf struct vr_buf sealed = VR_BUF_INIT, back = { .max = WSMC_REPLY_MAX };
    char type[WSM_SEALED_TYPE_MAX];
    enum wsm_protocol protocol;
    if (wsm_body_seal(h->gss, WSM_PROTOCOL_SPNEGO, SOAP_TYPE, body, n, &sealed, err) ||
        send_request(h, wsm_sealed_content_type(WSM_PROTOCOL_SPNEGO), "", sealed.data, sealed.len,
                     err) ||
        read_reply(h, hd, &back, err))
        return -1;
    if (!wsm_sealed_is(hd->type)) { /* the status is all that may be believed of it */
        return hd->status == 200 ? vr_fail(err, VR_E_AUTH, 0, "%s answered in clear text", h->host)
                                 : 0;
    }
    return wsm_body_open(h->gss, hd->type, &back, reply, type, &protocol, err);
}

static int exchange(struct wsmc_http *h, const void *body, size_t n, struct vr_buf *reply,
                    int *ret_status, struct vr_err *err)
{
    autohead struct head hd = { 0 };
    if (ensure_connected(h, err))
        return -1;
    if (h->kerberos) {
        if (exchange_sealed(h, body, n, &hd, reply, err))
            return -1;
    } else {
        vr_autofree char *basic =
            h->basic ? vr_printf("Authorization: Basic %s\r\n", h->basic) : vr_strdup("");
        int rc = send_request(h, SOAP_TYPE, basic, body, n, err);
        explicit_bzero(basic, strlen(basic));
        if (rc || read_reply(h, &hd, reply, err))
            return -1;
    }
    if (hd.close)
        disconnect(h);
    *ret_status = hd.status;
    return 0;
}

int wsmc_http_post(struct wsmc_http *h, const void *body, size_t n, bool again_ok,
                   struct vr_buf *reply, int *ret_status, struct vr_err *err)
{
    struct vr_err e = VR_ERR_INIT;
    for (;;) {
        reply->len = 0;
        bool was_kept = h->fd >= 0;
        vr_err_clear(&e);
        if (!exchange(h, body, n, reply, ret_status, &e))
            return 0;
        bool silent = !h->in.len && !reply->len;
        disconnect(h);
        if (!was_kept || !again_ok || !silent || e.kind != VR_E_PEER)
            break;
    }
    vr_err_move(err, &e);
    return -1;
}
