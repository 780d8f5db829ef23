/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSPORT_XPORT_H
#define VR_TRANSPORT_XPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/stream.h"
#include "model/model.h"

/* Peers: TLS 1.3, ALPN "vmreplica/1". Two ways to know who the other is: certificates that pairing
 * has pinned, or Kerberos inside of the TLS session, bound to it; each has a port of its own. Two
 * uses of a connection: calls (request, reply) and transfers (a stream handed to transfer/).
 * docs/protocol.md is the standard. Client calls block: workers only. Server side: one thread per
 * connection, limited. */
struct xport;

enum xport_way { XPORT_CERT, XPORT_KERBEROS, XPORT_WAYS };

#define XPORT_THUMB 65  /* SHA-256 of the certificate, hex lower case, with the NUL */
#define XPORT_PORT 8443 /* default port of peers, bytes */

struct xport_peer {
    char name[VR_NAME_MAX];    /* the peer's own host name; with Kerberos what its principal says */
    char address[VR_NAME_MAX]; /* where to connect: name or address */
    uint16_t port;
    bool kerberos;           /* else by certificate */
    char thumb[XPORT_THUMB]; /* with Kerberos empty: any certificate */
};

struct xport_handlers {
    void *ctx;
    /* Is this certificate a paired peer's? Fill @ret and return true. Asked for every frame. Any
     * thread. */
    bool (*lookup)(void *ctx, const char *thumb, struct xport_peer *ret);
    /* A call of a paired peer; runs on the connection's thread, may block. On failure the error is
     * sent to the caller, who sees the same kind and message. */
    int (*call)(void *ctx, const struct xport_peer *from, uint16_t type, const void *body, size_t n,
                struct vr_buf *reply, struct vr_err *err);
    /* A transfer opened by a paired peer: @body is the opening message. The handler owns the thread
     * until it returns; @s is freed by the caller. A refusal before xport_transfer_accept() is
     * sent to the peer as an error reply. */
    int (*transfer)(void *ctx, const struct xport_peer *from, const void *body, size_t n,
                    struct vr_stream *s, struct vr_err *err);
    /* Pairing was completed with the right code: make the peer known (persist). Any thread. */
    int (*paired)(void *ctx, const struct xport_peer *peer, struct vr_err *err);
    /* Somebody was refused (unknown certificate, bad code...): for the log; may come as fast as
     * anybody on the network likes. Any thread; may be NULL. @why is one line of text. */
    void (*refused)(void *ctx, const char *address, const char *why);
    /* May the host that Kerberos calls @host (lower case; proven) call here? It said at its login
     * that it awaits hosts on @port itself (0: nowhere, or it has logged in before). Fill @ret.
     * Asked for every frame. Errors: VR_E_AUTH, told to the peer. Any thread; NULL: nobody may. */
    int (*admit)(void *ctx, const char *host, uint16_t port, struct xport_peer *ret,
                 struct vr_err *err);
    /* A known peer has said what its clock shows: so many microseconds more than ours, give or take
     * what the network and a busy host need. At each new connection. Any thread; may be NULL. */
    void (*clock)(void *ctx, const struct xport_peer *peer, int64_t ahead_us);
};

struct xport_config {
    const char *dir;        /* certificate and key: host.crt, host.key (0600), made when absent */
    const char *host_name;  /* our name, told to peers and put into the certificate */
    uint32_t idle_seconds;  /* silence (no keep-alive either) that breaks a stream; 0: 60 */
    size_t max_connections; /* that come in, each is a thread; 0: 64 */
    const char *keytab;     /* for Kerberos, read at each login; NULL: none */
    const char *service;    /* of the principals of hosts; NULL: "host" */
};

/* xport_new() - load or make the identity. Errors: VR_E_IO, VR_E_DENIED (key readable by others).
 */
int xport_new(const struct xport_config *cfg, const struct xport_handlers *h, struct xport **ret,
              struct vr_err *err);
/* xport_free() - stop listening, break all connections, wait for calls and handlers in progress (so
 * no handler may wait for the caller of this; a name look-up in progress is waited for too), join
 * threads. Streams of transfers that are still
 * out are broken; their users free them, before or after. NULL is fine. */
void xport_free(struct xport *x);
/* xport_thumb() - our certificate's SHA-256, hex. xport_thumb_sha1() - its SHA-1, hex in upper
 * case, which is what CertificateThumbPrint holds, src:[contract.md A.2].
 * xport_cert_pem()/xport_key_pem() - for the HTTPS listener; borrowed. */
const char *xport_thumb(const struct xport *x);
const char *xport_thumb_sha1(const struct xport *x);
const char *xport_cert_pem(const struct xport *x);
const char *xport_key_pem(const struct xport *x);

/* xport_self() - what Kerberos calls this host, in lower case. Reads the keytab.
 * Errors: VR_E_NOFILE, VR_E_INVAL, VR_E_AUTH as vr_gss_self(). */
int xport_self(const struct xport *x, char ret[VR_NAME_MAX], struct vr_err *err);

/* xport_listen() - accept peers of one way on @address ("" for all) and @port; 0 chooses one.
 * xport_relisten() - the same when the port may be in use already: listens on the new port first,
 * then gives the old one up with the connections that came in there; the same port: nothing is
 * done. When it fails on the new port, the old one goes on.
 * xport_unlisten() - stop accepting, break connections that came in, wait for their handlers.
 * Errors: VR_E_BUSY the port is taken, VR_E_INVAL no such address, VR_E_STATE already listening.
 * Thread: one that no handler waits for. */
int xport_listen(struct xport *x, enum xport_way way, const char *address, uint16_t port,
                 uint16_t *ret_port, struct vr_err *err);
int xport_relisten(struct xport *x, enum xport_way way, const char *address, uint16_t port,
                   uint16_t *ret_port, struct vr_err *err);
void xport_unlisten(struct xport *x, enum xport_way way);

/* xport_expect() - the names or numeric addresses of peers, instead of those said before: strangers
 * cannot take the places that these need to come in. Thread: workers; looks the names up. */
void xport_expect(struct xport *x, const char *const *addresses, size_t n);

/* xport_pair_code() - a fresh one-time code (100 bits, easy to type), valid for @seconds, for one
 * peer; a new one replaces the old one. Whoever tries wrong ones has to wait. @ret has 64 bytes. */
int xport_pair_code(struct xport *x, uint32_t seconds, char ret[64], struct vr_err *err);
/* xport_pair() - pair with the host at @address:@port by its code. Both certificates are proven by
 * the code over the TLS channel binding in both directions; then @paired of both sides is called.
 * @my_port is told to the peer as ours; our address it takes from the connection. Pairing again
 * with a paired host is fine: @paired is called again. Errors: VR_E_AUTH (wrong or expired code),
 * VR_E_INVAL (not a code, no port), VR_E_PEER, VR_E_TIMEOUT, VR_E_VERSION, those of @paired. */
int xport_pair(struct xport *x, const char *address, uint16_t port, const char *code,
               uint16_t my_port, struct xport_peer *ret, struct vr_err *err);

/* xport_call() - ask a peer and wait for the answer, at most @timeout_ms. One idle connection per
 * peer is kept and used again. Errors: VR_E_PEER (not reachable; with Kerberos also whatever goes
 * wrong before it is known who the peer is), VR_E_AUTH (certificate is not the pinned one, or we
 * are unknown there; our own keys are no good), VR_E_VERSION, VR_E_TIMEOUT, VR_E_LIMIT (over 8 MiB,
 * reply over 32 MiB), VR_E_CANCELLED (being stopped), or the peer's own answer: same kind and
 * message, except that a kind of scope PROC (STORE, NOMEM, INTERNAL) or unknown here arrives as
 * VR_E_PEER. When no connection or no answer comes, the message begins with "host NAME at ADDRESS
 * port PORT: "; the peer's own words do not name it. CALLS MUST BE IDEMPOTENT: when a kept
 * connection breaks before the answer, the call is made once more on a new one, and the peer may
 * see it twice.
 * @reply may be NULL; it is appended to. */
int xport_call(struct xport *x, const struct xport_peer *peer, uint16_t type, const void *body,
               size_t n, struct vr_buf *reply, uint32_t timeout_ms, struct vr_err *err);

/* xport_transfer_open() - a connection of its own for one transfer; returns when the peer accepted
 * the opening message. The peer may take its time for that as long as it is alive. @body at most
 * 1 MiB. While a transfer is open both ends send empty records by themselves, so reads and writes
 * fail with VR_E_TIMEOUT only when the peer or the network is dead, not when its user computes.
 * write() and flush() may be used by one thread while another reads; a failed write does not stop
 * reading: the peer's reason may still be on its way. Errors as xport_call(). */
int xport_transfer_open(struct xport *x, const struct xport_peer *peer, const void *body, size_t n,
                        struct vr_stream **ret, struct vr_err *err);
/* xport_transfer_open_watched() - the same, for somebody who may have to stop it while the peer
 * takes its time.
 * @watch: called with the stream before it is waited on, and with NULL before it goes away or is
 *         handed out; in between shutdown() may be called on it, by any thread. False: do not
 * begin. Errors also: VR_E_CANCELLED when @watch said so, VR_E_PEER after shutdown(). */
typedef bool (*xport_watch_fn)(void *ctx, struct vr_stream *s);
int xport_transfer_open_watched(struct xport *x, const struct xport_peer *peer, const void *body,
                                size_t n, xport_watch_fn watch, void *ctx, struct vr_stream **ret,
                                struct vr_err *err);
/* xport_transfer_heard() - when something arrived last from @peer on a transfer that goes on, in
 * either direction; zero when there is none. Thread: any. */
struct mono_ms xport_transfer_heard(struct xport *x, const struct xport_peer *peer);
/* xport_transfer_accept() - receiver's side: say yes; from then on the stream belongs to transfer/.
 * xport_send_result() / xport_recv_result() - a final word on a transfer stream, after the
 * pipelines are done: success, or an error object that travels whole. */
int xport_transfer_accept(struct vr_stream *s, struct vr_err *err);
int xport_send_result(struct vr_stream *s, const struct vr_err *result, struct vr_err *err);
int xport_recv_result(struct vr_stream *s, struct vr_err *err);

#endif
