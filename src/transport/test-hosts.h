/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSPORT_TEST_HOSTS_H
#define VR_TRANSPORT_TEST_HOSTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "transport/tls_gnutls.h"
#include "transport/xport.h"

/* Hosts for tests of the transport: an xport with a directory of its own and handlers that note
 * what happens, a raw peer that can say anything, and a proxy that listens to the wire. */

enum { HOST_PEERS = 8 };

struct host {
    struct xport *x;
    char dir[64];
    char name[64];
    uint32_t idle_seconds;
    size_t max_connections;
    uint16_t port;
    const char *keytab; /* Kerberos: host_start() listens for it, too */
    uint16_t krb_port;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct xport_peer peers[HOST_PEERS];
    size_t n_peers;
    unsigned calls, paired, refused, transfers_done;
    char why[600];       /* of the last refusal */
    char admitted[64];   /* host that may come in by Kerberos */
    uint16_t their_port; /* that it said to listen on */
    bool fail_paired;    /* answer of the next paired() */
    bool gate_closed;    /* HOST_CALL_GATE and transfers wait until it opens */
    int transfer_rc;
    struct vr_err transfer_err;
    /* what the transfer handler does; body of the opening message is the text "how" */
    int (*transfer)(struct host *h, const char *how, struct vr_stream *s, struct vr_err *err);
};

/* Types of calls that hosts answer. */
enum {
    HOST_CALL_ECHO = 1,     /* answers its body */
    HOST_CALL_FAIL = 2,     /* fails with kind body[0] and the message body + 1 */
    HOST_CALL_GATE = 3,     /* waits until the gate opens */
    HOST_CALL_BIG = 0xffff, /* answers more than a reply may hold */
};

/* host_start() - make a host that listens on a loopback port; fails the test if it cannot.
 * host_stop() - free the xport, keep the directory. host_restart() - again, on the same port.
 * host_free() - all. host_done() - free and remove the directory. */
void host_init(struct host *h, const char *name);
void host_start(struct host *h);
void host_stop(struct host *h);
void host_done(struct host *h);
/* host_pair() - pair @a with @b, both ways known afterwards. Returns b as a knows it. */
struct xport_peer host_pair(struct host *a, struct host *b);
/* host_forget() - nobody is a paired peer any more. */
void host_forget(struct host *h);
void host_gate(struct host *h, bool closed);
/* host_wait() - wait until *@counter (a member, under lock) is at least @n; false after 120 s. */
bool host_wait(struct host *h, const unsigned *counter, unsigned n);
/* host_said() - does the last refusal contain @text? */
bool host_said(struct host *h, const char *text);
unsigned host_get(struct host *h, const unsigned *counter);

/* A peer that says what the test wants. */
struct raw {
    struct tls_identity *id;
    struct tls *t;
    struct vr_stream *s;
};
/* raw_open() - TLS session with @h under a fresh certificate; raw_put/raw_get frames by hand. */
void raw_open(struct raw *r, const struct host *h);
void raw_again(struct raw *r, const struct host *h);
int raw_put(struct raw *r, unsigned type, uint32_t length, const void *p, size_t n);
/* raw_hello() - say HELLO with these features. */
void raw_hello(struct raw *r, uint64_t required, uint64_t offered);
/* raw_get() - next frame; type, or -1 when the connection ended. */
int raw_get(struct raw *r, struct vr_buf *body);
void raw_close(struct raw *r);

/* A proxy in front of a host that keeps all bytes of both directions. */
struct tap {
    int listen_fd;
    uint16_t port, to;
    pthread_t thread;
    atomic_bool frozen; /* bytes are left where they are */
    struct vr_buf seen;
};
void tap_start(struct tap *t, uint16_t to);
/* tap_freeze() - stop or go on passing bytes. tap_stop() - after both ends are closed. */
void tap_freeze(struct tap *t, bool frozen);
void tap_stop(struct tap *t);

#endif
