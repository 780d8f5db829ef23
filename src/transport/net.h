/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSPORT_NET_H
#define VR_TRANSPORT_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"

/* TCP sockets: non-blocking, close-on-exec, IPv4 and IPv6. Nothing here knows what is sent. */

#define NET_ADDR_MAX 64 /* bytes of a numeric address with the final NUL */

/* net_left_ms() - milliseconds until @deadline, at least 0, at most INT_MAX; -1 (for poll: for
 * ever) when @deadline.ms is 0. Thread: any. */
int net_left_ms(struct mono_ms deadline);
/* net_after() - the moment @ms milliseconds from now. Thread: any. */
struct mono_ms net_after(int64_t ms);

/* net_wait() - wait until @fd has one of @events (poll's) or an error, or until @wake is readable.
 * @wake: descriptor that interrupts, -1 for none
 * Errors: VR_E_TIMEOUT at @deadline, VR_E_CANCELLED by @wake. Thread: any; blocks. */
int net_wait(int fd, short events, int wake, struct mono_ms deadline, struct vr_err *err);

/* net_connect() - connect to @address (name or number), trying all its addresses in order.
 * @wake: descriptor that interrupts, -1 for none. Looking a name up cannot be interrupted.
 * @ret:  the socket, closed by the caller; keep-alive and no-delay are set
 * Errors: VR_E_PEER, VR_E_TIMEOUT, VR_E_CANCELLED. Thread: workers; blocks until @deadline. */
int net_connect(const char *address, uint16_t port, int wake, struct mono_ms deadline, int *ret,
                struct vr_err *err);

/* net_lookup() - the numeric addresses of @name (or of a number), at most @max; how many. Thread:
 * workers; blocks as long as looking a name up takes. */
size_t net_lookup(const char *name, char ret[][NET_ADDR_MAX], size_t max);

/* net_listen() - listen on @address ("" for all, both IPv4 and IPv6) and @port, 0 for any.
 * Errors: VR_E_BUSY the port is taken, VR_E_INVAL no such local address, VR_E_IO. */
int net_listen(const char *address, uint16_t port, int *ret, uint16_t *ret_port,
               struct vr_err *err);

/* net_accept() - take one connection; options set as by net_connect().
 * @ret_addr: the other side's numeric address, IPv4 in its own form also on an IPv6 socket
 * Returns 0 also when there is none: then *@ret is -1. Errors: VR_E_LIMIT out of descriptors or
 * memory, VR_E_IO the socket is unusable. */
int net_accept(int fd, int *ret, char ret_addr[NET_ADDR_MAX], struct vr_err *err);

#endif
