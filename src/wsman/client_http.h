/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_WSMAN_CLIENT_HTTP_H
#define VR_WSMAN_CLIENT_HTTP_H

#include "base/buf.h"
#include "wsman/client.h"

/* Blocking HTTP/1.1 POST over a UNIX socket, TLS or Kerberos. Inside the client. */
struct wsmc_http;

enum { WSMC_REPLY_MAX = 16 << 20 };

/* wsmc_http_new() - as wsmc_new(). */
int wsmc_http_new(const struct wsmc_target *t, struct wsmc_http **ret, struct vr_err *err);
/* wsmc_http_free() - NULL is fine. */
void wsmc_http_free(struct wsmc_http *h);
VR_DEFINE_CLEANUP(struct wsmc_http, wsmc_http_free)
/* wsmc_http_post() - send an envelope and receive the reply.
 * @again_ok: the request may be sent a second time when a kept connection turns out to be closed
 * @reply:    emptied, then filled; @ret_status: HTTP status */
int wsmc_http_post(struct wsmc_http *h, const void *body, size_t n, bool again_ok,
                   struct vr_buf *reply, int *ret_status, struct vr_err *err);

#endif
