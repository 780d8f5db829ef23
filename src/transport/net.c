/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* TCP sockets for peers. Every wait has a deadline and can be interrupted by a descriptor, so that
 * nobody hangs on a peer that went away. Thread: any, no state. */
#include "transport/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"

enum {
    NET_BACKLOG = 64,
    NET_KEEP_IDLE = 15, /* seconds; a dead host is noticed after 15 + 3 * 5 s */
    NET_KEEP_EACH = 5,
    NET_KEEP_TRIES = 3,
};

struct mono_ms net_after(int64_t ms)
{
    return (struct mono_ms){ vr_mono_now().ms + ms };
}

int net_left_ms(struct mono_ms deadline)
{
    if (!deadline.ms)
        return -1;
    int64_t left = deadline.ms - vr_mono_now().ms;
    return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

int net_wait(int fd, short events, int wake, struct mono_ms deadline, struct vr_err *err)
{
    for (;;) {
        struct pollfd p[2] = { { .fd = fd, .events = events }, { .fd = wake, .events = POLLIN } };
        int left = net_left_ms(deadline);
        int n = poll(p, wake >= 0 ? 2 : 1, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vr_fail(err, VR_E_IO, errno, "cannot wait for the network");
        if (wake >= 0 && p[1].revents)
            return vr_fail(err, VR_E_CANCELLED, 0, "the connection was broken on purpose");
        if (n > 0)
            return 0;
        if (net_left_ms(deadline) == 0)
            return vr_fail(err, VR_E_TIMEOUT, 0, "the peer was silent for too long");
    }
}

static void set_options(int fd)
{
    /* Advice only: a socket without them works, so failures do not matter. */
    int on = 1, idle = NET_KEEP_IDLE, each = NET_KEEP_EACH, tries = NET_KEEP_TRIES;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &each, sizeof each);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof tries);
}

static int connect_one(const struct addrinfo *ai, int wake, struct mono_ms deadline, int *ret,
                       struct vr_err *err)
{
    vr_autoclose int fd =
        socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, ai->ai_protocol);
    if (fd < 0)
        return vr_fail(err, VR_E_PEER, errno, "cannot make a socket");
    set_options(fd);
    if (connect(fd, ai->ai_addr, ai->ai_addrlen) < 0) {
        if (errno != EINPROGRESS && errno != EINTR)
            return vr_fail(err, VR_E_PEER, errno, "cannot connect");
        if (net_wait(fd, POLLOUT, wake, deadline, err) < 0)
            return -1;
        int e = 0;
        socklen_t len = sizeof e;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0)
            e = errno;
        if (e)
            return vr_fail(err, VR_E_PEER, e, "cannot connect");
    }
    *ret = vr_take_fd(&fd);
    return 0;
}

int net_connect(const char *address, uint16_t port, int wake, struct mono_ms deadline, int *ret,
                struct vr_err *err)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
    struct addrinfo *list = NULL;
    char service[8];
    int left_addrs = 0, rc = -1;
    snprintf(service, sizeof service, "%u", port);
    int gai = getaddrinfo(address, service, &hints, &list);
    if (gai) { /* AI_ADDRCONFIG hides the loopback on a host without any network */
        hints.ai_flags = 0;
        gai = getaddrinfo(address, service, &hints, &list);
    }
    if (gai)
        return vr_fail(err, VR_E_PEER, gai == EAI_SYSTEM ? errno : 0,
                       "cannot find the address of %s: %s", address, gai_strerror(gai));
    for (const struct addrinfo *ai = list; ai; ai = ai->ai_next)
        left_addrs++;
    struct vr_err last = VR_ERR_INIT;
    for (const struct addrinfo *ai = list; ai && rc < 0; ai = ai->ai_next, left_addrs--) {
        /* An address that swallows packets must leave time for the others. */
        int left = net_left_ms(deadline);
        struct mono_ms until = left < 0 ? deadline : net_after(left / left_addrs);
        vr_err_clear(&last);
        rc = connect_one(ai, wake, until, ret, &last);
        if (last.kind == VR_E_CANCELLED)
            break;
    }
    freeaddrinfo(list);
    if (rc < 0) {
        if (!last.kind)
            vr_fail(&last, VR_E_PEER, 0, "no address");
        vr_err_wrap(&last, "%s port %u", address, port);
        vr_err_move(err, &last);
    }
    return rc;
}

static int listen_on(const struct addrinfo *ai, bool both, int *ret, uint16_t *ret_port,
                     struct vr_err *err)
{
    vr_autoclose int fd =
        socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, ai->ai_protocol);
    if (fd < 0)
        return vr_fail(err, VR_E_IO, errno, "cannot make a socket");
    int on = 1, v6only = !both;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (ai->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only);
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, NET_BACKLOG) < 0)
        return vr_fail(err,
                       errno == EADDRINUSE      ? VR_E_BUSY
                       : errno == EADDRNOTAVAIL ? VR_E_INVAL
                                                : VR_E_IO,
                       errno, "cannot listen");
    struct sockaddr_storage ss;
    socklen_t len = sizeof ss;
    if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
        return vr_fail(err, VR_E_IO, errno, "cannot learn the port");
    *ret_port = ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&ss)->sin6_port
                                               : ((struct sockaddr_in *)&ss)->sin_port);
    *ret = vr_take_fd(&fd);
    return 0;
}

int net_listen(const char *address, uint16_t port, int *ret, uint16_t *ret_port, struct vr_err *err)
{
    bool all = !address || !*address;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
    struct addrinfo *list = NULL;
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    /* "::" takes IPv4 too; a kernel without IPv6 gets the plain wildcard */
    int gai = getaddrinfo(all ? "::" : address, service, &hints, &list);
    if (gai)
        return vr_fail(err, VR_E_INVAL, 0, "cannot listen on %s: %s", address, gai_strerror(gai));
    struct vr_err first = VR_ERR_INIT;
    int rc = listen_on(list, all, ret, ret_port, &first);
    freeaddrinfo(list);
    if (rc < 0 && all && first.sys == EAFNOSUPPORT) {
        vr_err_clear(&first);
        if (getaddrinfo("0.0.0.0", service, &hints, &list) == 0) {
            rc = listen_on(list, false, ret, ret_port, &first);
            freeaddrinfo(list);
        }
    }
    if (rc < 0) {
        vr_err_wrap(&first, "%s port %u", all ? "all addresses" : address, port);
        vr_err_move(err, &first);
    }
    return rc;
}

static void address_text(const struct sockaddr_storage *ss, char out[NET_ADDR_MAX])
{
    snprintf(out, NET_ADDR_MAX, "?");
    if (ss->ss_family == AF_INET) {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)ss)->sin_addr, out, NET_ADDR_MAX);
    } else if (ss->ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)ss;
        if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
            inet_ntop(AF_INET, &six->sin6_addr.s6_addr[12], out, NET_ADDR_MAX);
        else
            getnameinfo((const struct sockaddr *)ss, sizeof *six, out, NET_ADDR_MAX, NULL, 0,
                        NI_NUMERICHOST); /* with the scope of a link-local address */
    }
}

size_t net_lookup(const char *name, char ret[][NET_ADDR_MAX], size_t max)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    struct addrinfo *list = NULL;
    size_t n = 0;
    if (getaddrinfo(name, NULL, &hints, &list))
        return 0;
    for (const struct addrinfo *ai = list; ai && n < max; ai = ai->ai_next) {
        struct sockaddr_storage ss = { 0 };
        memcpy(&ss, ai->ai_addr, ai->ai_addrlen < sizeof ss ? ai->ai_addrlen : sizeof ss);
        address_text(&ss, ret[n++]);
    }
    freeaddrinfo(list);
    return n;
}

int net_accept(int fd, int *ret, char ret_addr[NET_ADDR_MAX], struct vr_err *err)
{
    struct sockaddr_storage ss = { 0 };
    socklen_t len = sizeof ss;
    int c = accept4(fd, (struct sockaddr *)&ss, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (c < 0) {
        switch (errno) {
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
            return vr_fail(err, VR_E_LIMIT, errno, "cannot accept a connection");
        case EBADF:
        case EINVAL:
        case ENOTSOCK:
            return vr_fail(err, VR_E_IO, errno, "cannot accept connections");
        default: /* what went wrong with the one connection is not our trouble */
            *ret = -1;
            return 0;
        }
    }
    set_options(c);
    address_text(&ss, ret_addr);
    *ret = c;
    return 0;
}
