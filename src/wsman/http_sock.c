/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Listening sockets of the management side. Control thread, at start-up. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "wsman/http_int.h"

enum { BACKLOG = 128 };

/* Is there somebody behind this socket, or is it left over from a crash? */
static bool answers(const struct sockaddr_un *sa)
{
    vr_autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    return !connect(fd, (const struct sockaddr *)sa, sizeof *sa) || errno == EAGAIN;
}

int wsm_listen_unix(const char *path, struct vr_err *err)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof sa.sun_path)
        return vr_fail(err, VR_E_INVAL, 0, "socket path %s is longer than %zu bytes", path,
                       sizeof sa.sun_path - 1);
    memcpy(sa.sun_path, path, strlen(path) + 1);
    if (answers(&sa))
        return vr_fail(err, VR_E_BUSY, 0, "somebody already serves %s", path);
    vr_autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return vr_fail(err, VR_E_IO, errno, "socket");
    struct stat st;
    if (!lstat(path, &st) && S_ISSOCK(st.st_mode))
        unlink(path);
    if (bind(fd, (struct sockaddr *)&sa, sizeof sa))
        return vr_fail(err, VR_E_IO, errno, "bind %s", path);
    if (chmod(path, 0666) || listen(fd, BACKLOG)) {
        int e = errno;
        unlink(path);
        return vr_fail(err, VR_E_IO, e, "listen on %s", path);
    }
    return vr_take_fd(&fd);
}

static int make_address(const char *text, uint16_t port, struct sockaddr_storage *sa,
                        socklen_t *len)
{
    memset(sa, 0, sizeof *sa);
    struct sockaddr_in *v4 = (struct sockaddr_in *)sa;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)sa;
    if (text && inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        *len = sizeof *v4;
        return 0;
    }
    if (text && inet_pton(AF_INET6, text, &v6->sin6_addr) != 1)
        return -1;
    v6->sin6_family = AF_INET6; /* the unset address is "any", both families */
    v6->sin6_port = htons(port);
    *len = sizeof *v6;
    return 0;
}

int wsm_listen_tcp(const char *address, uint16_t port, uint16_t *ret_port, struct vr_err *err)
{
    struct sockaddr_storage sa;
    socklen_t len;
    if (make_address(address, port, &sa, &len))
        return vr_fail(err, VR_E_INVAL, 0, "\"%s\" is not a numeric address", address);
    vr_autoclose int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 && !address && errno == EAFNOSUPPORT) { /* no IPv6 here */
        make_address("0.0.0.0", port, &sa, &len);
        fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    }
    if (fd < 0)
        return vr_fail(err, VR_E_IO, errno, "socket");
    int on = 1, off = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (sa.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, address ? &on : &off, sizeof on);
    if (bind(fd, (struct sockaddr *)&sa, len) || listen(fd, BACKLOG))
        return vr_fail(err, errno == EADDRINUSE ? VR_E_BUSY : VR_E_IO, errno,
                       "listen on %s port %u", address ? address : "*", port);
    len = sizeof sa;
    if (getsockname(fd, (struct sockaddr *)&sa, &len))
        return vr_fail(err, VR_E_IO, errno, "getsockname");
    *ret_port = ntohs(sa.ss_family == AF_INET ? ((struct sockaddr_in *)&sa)->sin_port
                                              : ((struct sockaddr_in6 *)&sa)->sin6_port);
    return vr_take_fd(&fd);
}
