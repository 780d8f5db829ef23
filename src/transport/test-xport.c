/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two hosts in one process: pairing, who is let in, calls, limits, and what is on the wire. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "transport/frame.h"
#include "transport/net.h"
#include "transport/pair.h"
#include "transport/test-hosts.h"

static struct host A, B;

static int setup(void **state)
{
    host_init(&A, "alpha.example");
    host_init(&B, "beta.example");
    host_start(&A);
    host_start(&B);
    return 0;
}

static int teardown(void **state)
{
    host_done(&A);
    host_done(&B);
    return 0;
}

/* A call of ECHO that must work. */
static void must_echo(struct host *from, const struct xport_peer *to)
{
    struct vr_err err = VR_ERR_INIT;
    vr_autobuf struct vr_buf reply = VR_BUF_INIT;
    if (xport_call(from->x, to, HOST_CALL_ECHO, "hello", 5, &reply, 120000, &err) < 0)
        fail_msg("call: %s (%s)", err.msg, vr_kind_name(err.kind));
    assert_int_equal(reply.len, 5);
    assert_memory_equal(reply.data, "hello", 5);
}

/* A call that must fail with @kind; the message is returned, valid until the next one. */
static const char *must_fail(struct host *from, const struct xport_peer *to, enum vr_kind kind)
{
    static struct vr_err err;
    vr_err_clear(&err);
    assert_int_equal(xport_call(from->x, to, HOST_CALL_ECHO, "x", 1, NULL, 120000, &err), -1);
    if (err.kind != kind)
        fail_msg("%s instead of %s: %s", vr_kind_name(err.kind), vr_kind_name(kind), err.msg);
    return err.msg;
}

/* Pairing --------------------------------------------------------------------------------- */

static void test_pair(void **state)
{
    struct xport_peer b = host_pair(&A, &B);
    assert_string_equal(b.name, "beta.example");
    assert_string_equal(b.address, "127.0.0.1");
    assert_int_equal(b.port, B.port);
    assert_string_equal(b.thumb, xport_thumb(B.x));
    assert_int_equal(A.n_peers, 1);
    assert_int_equal(B.n_peers, 1);
    assert_string_equal(A.peers[0].thumb, xport_thumb(B.x));
    assert_string_equal(B.peers[0].name, "alpha.example");
    assert_string_equal(B.peers[0].address, "127.0.0.1");
    assert_int_equal(B.peers[0].port, A.port);
    assert_string_equal(B.peers[0].thumb, xport_thumb(A.x));
    must_echo(&A, &b);
    must_echo(&B, &B.peers[0]); /* both directions, from one pairing */
}

static void test_pair_again_updates(void **state)
{
    host_pair(&A, &B);
    uint16_t old = A.port;
    host_stop(&A);
    A.port = 0;
    host_start(&A);
    struct xport_peer b = host_pair(&A, &B);
    assert_int_equal(B.n_peers, 1);
    assert_int_equal(B.peers[0].port, A.port);
    assert_int_not_equal(old, 0);
    must_echo(&A, &b);
    host_pair(&B, &A); /* and in the other direction */
    assert_int_equal(B.n_peers, 1);
    must_echo(&B, &B.peers[0]);
}

static void pair_must_fail(const char *code, enum vr_kind kind)
{
    struct vr_err err = VR_ERR_INIT;
    struct xport_peer peer;
    unsigned a = A.paired, b = B.paired;
    assert_int_equal(xport_pair(A.x, "127.0.0.1", B.port, code, A.port, &peer, &err), -1);
    if (err.kind != kind)
        fail_msg("%s instead of %s: %s", vr_kind_name(err.kind), vr_kind_name(kind), err.msg);
    assert_int_equal(A.paired, a);
    assert_int_equal(B.paired, b);
}

static void test_pair_wrong_code(void **state)
{
    struct vr_err err = VR_ERR_INIT;
    struct xport_peer peer;
    char code[64];
    pair_must_fail("0000-0000-0000-0000-0000", VR_E_AUTH); /* none is waiting */
    assert_int_equal(xport_pair_code(B.x, 600, code, &err), 0);
    pair_must_fail("0000-0000-0000-0000-0000", VR_E_AUTH);
    assert_true(host_wait(&B, &B.refused, 2));
    assert_true(host_said(&B, "127.0.0.1: wrong pairing code, try 1 from this address"));
    pair_must_fail("no code", VR_E_INVAL);
    /* the right one still works, once */
    assert_int_equal(xport_pair(A.x, "127.0.0.1", B.port, code, A.port, &peer, &err), 0);
    pair_must_fail(code, VR_E_AUTH);
}

/* Whoever tries wrong codes has to wait and is told so; the code is still good. */
static void test_pair_tries_are_slowed_down(void **state)
{
    struct vr_err err = VR_ERR_INIT;
    struct xport_peer peer;
    char code[64];
    assert_int_equal(xport_pair_code(B.x, 600, code, &err), 0);
    for (int i = 0; i < 6; i++)
        pair_must_fail("0000-0000-0000-0000-0000", VR_E_AUTH);
    for (;;) {
        vr_err_clear(&err);
        if (xport_pair(A.x, "127.0.0.1", B.port, code, A.port, &peer, &err) == 0)
            break;
        if (err.kind != VR_E_AUTH || !strstr(err.msg, "wait 1 second"))
            fail_msg("%s", err.msg);
        usleep(50000);
    }
}

static void test_pair_new_code_replaces(void **state)
{
    struct vr_err err = VR_ERR_INIT;
    char old[64], code[64];
    struct xport_peer peer;
    assert_int_equal(xport_pair_code(B.x, 600, old, &err), 0);
    assert_int_equal(xport_pair_code(B.x, 600, code, &err), 0);
    pair_must_fail(old, VR_E_AUTH);
    /* as somebody types it */
    for (char *p = code; *p; p++)
        *p = *p == '-' ? ' ' : *p == '0' ? 'o' : *p == '1' ? 'l' : *p;
    assert_int_equal(xport_pair(A.x, "127.0.0.1", B.port, code, A.port, &peer, &err), 0);
}

static void test_pair_that_cannot_be_kept(void **state)
{
    struct vr_err err = VR_ERR_INIT;
    char code[64];
    struct xport_peer peer;
    B.fail_paired = true;
    assert_int_equal(xport_pair_code(B.x, 600, code, &err), 0);
    pair_must_fail(code, VR_E_NOSPACE); /* the acceptor's own words */
    assert_int_equal(xport_pair(A.x, "127.0.0.1", B.port, code, A.port, &peer, &err), 0);
}

static void test_pair_with_oneself(void **state)
{
    struct vr_err err = VR_ERR_INIT;
    char code[64];
    struct xport_peer peer;
    assert_int_equal(xport_pair_code(A.x, 600, code, &err), 0);
    assert_int_equal(xport_pair(A.x, "127.0.0.1", A.port, code, A.port, &peer, &err), -1);
    assert_int_equal(err.kind, VR_E_INVAL);
}

/* A proof that was right on one connection is worth nothing on another. */
static void test_pair_replay(void **state)
{
    struct vr_err err = VR_ERR_INIT;
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct raw r = { 0 };
    char code[64];
    uint8_t key[TLS_HASH], binding[TLS_HASH], hash[TLS_HASH], try[TLS_HASH + 2] = { 0 };
    assert_int_equal(xport_pair_code(B.x, 600, code, &err), 0);
    assert_int_equal(pair_code_key(code, key, &err), 0);
    raw_open(&r, &B);
    memcpy(hash, tls_peer_hash(r.t), TLS_HASH);
    assert_int_equal(tls_binding(r.t, TLS_LABEL_PAIRING, binding, &err), 0);
    pair_proof(key, PAIR_INITIATOR, binding, tls_identity_facts(r.id)->hash, hash, try);
    try[TLS_HASH + 1] = 77;
    vr_stream_free(r.s);
    raw_again(&r, &B); /* the same proof, certificate and code on another connection */
    raw_hello(&r, 0, ~UINT64_C(0));
    assert_int_equal(raw_get(&r, &b), FRAME_HELLO);
    assert_int_equal(raw_put(&r, FRAME_PAIR_TRY, sizeof try, try, sizeof try), 0);
    assert_int_equal(raw_get(&r, &b), FRAME_REFUSED);
    assert_int_equal(B.n_peers, 0);
    raw_close(&r);
}

/* Who is let in --------------------------------------------------------------------------- */

static void test_unknown_certificate(void **state)
{
    struct xport_peer b = host_pair(&A, &B);
    host_forget(&B);
    const char *msg = must_fail(&A, &b, VR_E_AUTH);
    assert_non_null(strstr(msg, "does not know your certificate"));
    assert_int_equal(host_get(&B, &B.calls), 0);
    assert_true(host_wait(&B, &B.refused, 1));
    assert_true(host_said(&B, "127.0.0.1"));
}

/* A connection that is already open loses its rights with the pairing. */
static void test_revoked_while_connected(void **state)
{
    struct xport_peer b = host_pair(&A, &B);
    must_echo(&A, &b);
    host_forget(&B);
    must_fail(&A, &b, VR_E_AUTH);
    assert_int_equal(host_get(&B, &B.calls), 1);
}

static void test_unknown_may_only_pair(void **state)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    static const unsigned types[] = { FRAME_CALL, FRAME_TRANSFER, FRAME_REPLY, FRAME_HELLO, 4711 };
    for (size_t i = 0; i < VR_ARRAY_LEN(types); i++) {
        struct raw r = { 0 };
        raw_open(&r, &B);
        raw_hello(&r, 0, ~UINT64_C(0));
        assert_int_equal(raw_get(&r, &b), FRAME_HELLO);
        assert_int_equal(raw_put(&r, types[i], 4, "abcd", 4), 0);
        assert_int_equal(raw_get(&r, &b), FRAME_REFUSED);
        assert_int_equal(raw_get(&r, &b), -1);
        raw_close(&r);
        assert_true(host_wait(&B, &B.refused, (unsigned)i + 1));
    }
    assert_int_equal(host_get(&B, &B.calls), 0);
}

static void test_replaced_certificate(void **state)
{
    struct xport_peer b = host_pair(&A, &B);
    uint16_t port = B.port;
    host_done(&B);
    host_init(&B, "beta.example");
    B.port = port;
    host_start(&B); /* the same place, another key */
    const char *msg = must_fail(&A, &b, VR_E_AUTH);
    assert_non_null(strstr(msg, b.thumb));
    assert_non_null(strstr(msg, xport_thumb(B.x)));
    /* who it is stands there once, whatever is put before it on the way up */
    struct vr_err err = VR_ERR_INIT;
    char want[128];
    snprintf(want, sizeof want, "host beta.example at 127.0.0.1 port %u: it shows another ", port);
    vr_fail(&err, VR_E_AUTH, 0, "%s", msg);
    vr_err_wrap(&err, "host beta.example");
    vr_err_wrap(&err, "host beta.example at 127.0.0.1 port %u", port);
    assert_memory_equal(err.msg, want, strlen(want));
}

static void test_versions(void **state)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct vr_err theirs = VR_ERR_INIT, err = VR_ERR_INIT;
    /* a feature of the future, a reserved one, and a peer without our base */
    static const uint64_t features[][2] = { { UINT64_C(1) << 20, ~UINT64_C(0) },
                                            { UINT64_C(1) << 63, ~UINT64_C(0) },
                                            { 0, 0 } };
    for (size_t i = 0; i < VR_ARRAY_LEN(features); i++) {
        struct raw r = { 0 };
        raw_open(&r, &B);
        raw_hello(&r, features[i][0], features[i][1]);
        assert_int_equal(raw_get(&r, &b), FRAME_REFUSED);
        vr_err_clear(&theirs);
        assert_int_equal(frame_err_get(b.data, b.len, &theirs, &err), 0);
        assert_int_equal(theirs.kind, VR_E_VERSION);
        assert_non_null(strstr(theirs.msg, "rawhost (vmreplica 9.9-raw)"));
        assert_non_null(strstr(theirs.msg, "beta.example (vmreplica " VR_VERSION ")"));
        raw_close(&r);
    }
    assert_true(host_wait(&B, &B.refused, 3));
}

static void test_wrong_magic(void **state)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct raw r = { 0 };
    raw_open(&r, &B);
    assert_int_equal(raw_put(&r, FRAME_HELLO, 8, "GET / HT", 8), 0);
    assert_int_equal(raw_get(&r, &b), FRAME_REFUSED);
    raw_close(&r);
}

/* A length over the limit is refused before anything of the body is read. */
static void test_oversized_frames(void **state)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct vr_err theirs = VR_ERR_INIT, err = VR_ERR_INIT;
    struct raw r = { 0 };
    raw_open(&r, &B);
    assert_int_equal(raw_put(&r, FRAME_HELLO, UINT32_MAX, "", 0), 0);
    assert_int_equal(raw_get(&r, &b), FRAME_REFUSED);
    assert_int_equal(frame_err_get(b.data, b.len, &theirs, &err), 0);
    assert_int_equal(theirs.kind, VR_E_LIMIT);
    raw_close(&r);
    /* our own side does not even begin */
    struct xport_peer peer = host_pair(&A, &B);
    char *big = calloc(1, (8 << 20) + 1);
    assert_int_equal(xport_call(A.x, &peer, HOST_CALL_ECHO, big, (8 << 20) + 1, NULL, 120000, &err),
                     -1);
    assert_int_equal(err.kind, VR_E_LIMIT);
    free(big);
    /* nor does the peer when its answer is too long */
    vr_err_clear(&err);
    assert_int_equal(xport_call(A.x, &peer, HOST_CALL_BIG, NULL, 0, NULL, 120000, &err), -1);
    assert_int_equal(err.kind, VR_E_LIMIT);
    must_echo(&A, &peer);
}

static void test_too_many_connections(void **state)
{
    host_done(&B);
    host_init(&B, "beta.example");
    B.max_connections = 8; /* of which 3 of one address may be unknown */
    host_start(&B);
    int fds[12];
    for (size_t i = 0; i < VR_ARRAY_LEN(fds); i++)
        assert_int_equal(net_connect("127.0.0.1", B.port, -1, net_after(60000), &fds[i], NULL), 0);
    assert_true(host_wait(&B, &B.refused, VR_ARRAY_LEN(fds) - 3));
    assert_true(host_said(&B, "too many"));
    for (size_t i = 0; i < VR_ARRAY_LEN(fds); i++)
        close(fds[i]);
    /* they go, and others are served again */
    assert_true(host_wait(&B, &B.refused, VR_ARRAY_LEN(fds)));
    must_echo(&A, &(struct xport_peer[]){ host_pair(&A, &B) }[0]);
}

static int connect_from(const char *source, uint16_t port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = 0 };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(inet_pton(AF_INET, source, &a.sin_addr), 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    a.sin_port = htons(port);
    assert_int_equal(inet_pton(AF_INET, "127.0.0.1", &a.sin_addr), 1);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

/* Strangers from many addresses who say nothing take their own places only. */
static void test_silent_strangers_keep_no_peer_out(void **state)
{
    static const char *const from[] = { "127.0.0.2", "127.0.0.2", "127.0.0.2", "127.0.0.3",
                                        "127.0.0.3", "127.0.0.3", "127.0.0.4" };
    static const char *const peers[] = { "127.0.0.1" };
    int fds[VR_ARRAY_LEN(from)];
    struct xport_peer b = host_pair(&A, &B);
    host_stop(&B);
    B.max_connections = 8; /* of which 5 may be unknown, 3 of one address */
    host_start(&B);
    xport_expect(B.x, peers, 1);
    unsigned refused = host_get(&B, &B.refused);
    for (size_t i = 0; i < VR_ARRAY_LEN(from); i++)
        fds[i] = connect_from(from[i], B.port);
    assert_true(host_wait(&B, &B.refused, refused + 2));
    must_echo(&A, &b);
    for (size_t i = 0; i < VR_ARRAY_LEN(fds); i++)
        close(fds[i]);
}

/* Calls ----------------------------------------------------------------------------------- */

static void test_errors_travel_whole(void **state)
{
    struct xport_peer b = host_pair(&A, &B);
    for (int k = VR_OK + 1; k < VR_E_COUNT; k++) {
        struct vr_err err = VR_ERR_INIT;
        char body[400];
        memset(body, 'm', sizeof body);
        body[0] = (char)k;
        snprintf(body + 1, 30, "web01: kind %s", vr_kind_name((enum vr_kind)k));
        body[1 + strlen(body + 1)] = '!'; /* a long message after all */
        assert_int_equal(xport_call(A.x, &b, HOST_CALL_FAIL, body, sizeof body, NULL, 120000, &err),
                         -1);
        bool ours = vr_kind_scope((enum vr_kind)k) != VR_SCOPE_PROC;
        assert_int_equal(err.kind, ours ? k : VR_E_PEER);
        assert_memory_equal(err.msg, body + 1, sizeof body - 1);
        assert_non_null(ours ? body : strstr(err.msg, vr_kind_name((enum vr_kind)k)));
    }
}

static void test_big_call(void **state)
{
    struct xport_peer b = host_pair(&A, &B);
    struct vr_err err = VR_ERR_INIT;
    vr_autobuf struct vr_buf reply = VR_BUF_INIT;
    size_t n = (8 << 20) - 2;
    uint8_t *big = malloc(n);
    for (size_t i = 0; i < n; i++)
        big[i] = (uint8_t)(i * 31 >> 3);
    assert_int_equal(xport_call(A.x, &b, HOST_CALL_ECHO, big, n, &reply, 60000, &err), 0);
    assert_int_equal(reply.len, n);
    assert_memory_equal(reply.data, big, n);
    free(big);
}

/* The peer restarted; the kept connection is dead. Nobody notices. */
static void test_call_after_restart(void **state)
{
    struct xport_peer b = host_pair(&A, &B);
    must_echo(&A, &b);
    host_stop(&B);
    must_fail(&A, &b, VR_E_PEER);
    host_start(&B);
    must_echo(&A, &b);
    /* and when it dies in the very moment of the call */
    for (int i = 0; i < 5; i++) {
        xport_unlisten(B.x, XPORT_CERT);
        struct vr_err err = VR_ERR_INIT;
        assert_int_equal(xport_listen(B.x, XPORT_CERT, "127.0.0.1", B.port, NULL, &err), 0);
        must_echo(&A, &b);
    }
    assert_int_equal(host_get(&B, &B.calls), 7);
}

/* The listener moves: the old port is closed, the new one answers. A port that is taken changes
 * nothing. */
static void test_listener_moves(void **state)
{
    struct xport_peer b = host_pair(&A, &B), there = b;
    struct vr_err err = VR_ERR_INIT;
    uint16_t old = B.port, now = 0;
    must_echo(&A, &b);
    assert_int_equal(xport_relisten(B.x, XPORT_CERT, "127.0.0.1", A.port, &now, &err), -1);
    assert_int_equal(err.kind, VR_E_BUSY);
    vr_err_clear(&err);
    must_echo(&A, &b);
    assert_int_equal(xport_relisten(B.x, XPORT_CERT, "127.0.0.1", 0, &now, &err), 0);
    assert_int_not_equal(now, old);
    there.port = now;
    must_fail(&A, &b, VR_E_PEER);
    must_echo(&A, &there);
    assert_int_equal(xport_relisten(B.x, XPORT_CERT, "127.0.0.1", now, &now, &err),
                     0); /* nothing to do */
    must_echo(&A, &there);
    xport_unlisten(B.x, XPORT_CERT);
    must_fail(&A, &there, VR_E_PEER);
    assert_int_equal(xport_relisten(B.x, XPORT_CERT, "127.0.0.1", old, &now, &err), 0);
    assert_int_equal(now, old);
    must_echo(&A, &b);
}

static void *call_gate(void *arg)
{
    struct vr_err err = VR_ERR_INIT;
    int rc = xport_call(A.x, arg, HOST_CALL_GATE, NULL, 0, NULL, 60000, &err);
    return (void *)(intptr_t)(rc < 0 ? err.kind : VR_OK);
}

static void test_calls_in_parallel(void **state)
{
    struct xport_peer b = host_pair(&A, &B);
    pthread_t th[8];
    host_gate(&B, true);
    for (size_t i = 0; i < VR_ARRAY_LEN(th); i++)
        assert_int_equal(pthread_create(&th[i], NULL, call_gate, &b), 0);
    assert_true(host_wait(&B, &B.calls, VR_ARRAY_LEN(th))); /* all are there at once */
    host_gate(&B, false);
    for (size_t i = 0; i < VR_ARRAY_LEN(th); i++) {
        void *kind;
        pthread_join(th[i], &kind);
        assert_int_equal((intptr_t)kind, VR_OK);
    }
}

static void test_call_timeout(void **state)
{
    struct xport_peer b = host_pair(&A, &B);
    struct vr_err err = VR_ERR_INIT;
    host_gate(&B, true);
    assert_int_equal(xport_call(A.x, &b, HOST_CALL_GATE, NULL, 0, NULL, 300, &err), -1);
    assert_int_equal(err.kind, VR_E_TIMEOUT);
    host_gate(&B, false);
    must_echo(&A, &b); /* not the late answer of the other call */
}

static void test_silent_peer(void **state)
{
    struct vr_err err = VR_ERR_INIT;
    int fd = -1;
    struct xport_peer mute = { .name = "mute", .address = "127.0.0.1", .thumb = "00" };
    assert_int_equal(net_listen("127.0.0.1", 0, &fd, &mute.port, &err), 0);
    assert_int_equal(xport_call(A.x, &mute, HOST_CALL_ECHO, "x", 1, NULL, 300, &err), -1);
    assert_int_equal(err.kind, VR_E_TIMEOUT);
    close(fd);
    vr_err_clear(&err);
    assert_int_equal(xport_call(A.x, &mute, HOST_CALL_ECHO, "x", 1, NULL, 120000, &err), -1);
    assert_int_equal(err.kind, VR_E_PEER); /* nobody listens there any more */
}

/* Who connects and says nothing, or stops in the middle, is put out. */
static void test_slow_clients(void **state)
{
    host_done(&B);
    host_init(&B, "beta.example");
    B.idle_seconds = 3; /* what speaks is not put out on a busy machine */
    host_start(&B);
    int fd = -1;
    char c;
    assert_int_equal(net_connect("127.0.0.1", B.port, -1, net_after(60000), &fd, NULL), 0);
    struct raw r = { 0 };
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    raw_open(&r, &B);
    raw_hello(&r, 0, ~UINT64_C(0));
    assert_int_equal(raw_get(&r, &b), FRAME_HELLO);
    assert_int_equal(raw_put(&r, FRAME_PAIR_TRY, 34, "half", 4), 0);
    assert_int_equal(raw_get(&r, &b), -1);
    raw_close(&r);
    assert_int_equal(net_wait(fd, POLLIN, -1, net_after(120000), NULL), 0);
    assert_true(recv(fd, &c, 1, 0) <= 0);
    close(fd);
}

static void *call_echo_forever(void *arg)
{
    struct vr_err err = VR_ERR_INIT;
    while (xport_call(A.x, arg, HOST_CALL_ECHO, "x", 1, NULL, 120000, &err) == 0)
        ;
    return NULL;
}

/* The transport can be freed while others are calling and being called. */
static void test_free_under_load(void **state)
{
    struct xport_peer b = host_pair(&A, &B);
    pthread_t th[3];
    host_gate(&B, true);
    assert_int_equal(pthread_create(&th[0], NULL, call_gate, &b), 0);
    assert_true(host_wait(&B, &B.calls, 1));
    for (size_t i = 1; i < VR_ARRAY_LEN(th); i++)
        assert_int_equal(pthread_create(&th[i], NULL, call_echo_forever, &b), 0);
    assert_true(host_wait(&B, &B.calls, 50));
    host_stop(&B);
    for (size_t i = 0; i < VR_ARRAY_LEN(th); i++)
        pthread_join(th[i], NULL);
}

/* Identity and wire ----------------------------------------------------------------------- */

static void test_identity_is_kept(void **state)
{
    struct vr_err err = VR_ERR_INIT;
    struct stat st;
    struct xport *x = NULL;
    char thumb[XPORT_THUMB];
    vr_autofree char *key = vr_printf("%s/host.key", A.dir);
    vr_autofree char *crt = vr_printf("%s/host.crt", A.dir);
    struct xport_config cfg = { A.dir, A.name, 0, 0 };
    struct xport_handlers none = { 0 };
    snprintf(thumb, sizeof thumb, "%s", xport_thumb(A.x));
    assert_int_equal(strlen(xport_thumb_sha1(A.x)), 40);
    assert_int_equal(stat(key, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    host_stop(&A);
    host_start(&A);
    assert_string_equal(xport_thumb(A.x), thumb);
    assert_int_equal(chmod(key, 0640), 0);
    assert_int_equal(xport_new(&cfg, &none, &x, &err), -1);
    assert_int_equal(err.kind, VR_E_DENIED);
    assert_int_equal(chmod(key, 0600), 0);
    vr_err_clear(&err);
    assert_int_equal(unlink(crt), 0); /* a crash between key and certificate */
    assert_int_equal(xport_new(&cfg, &none, &x, &err), 0);
    xport_free(x);
    assert_int_equal(unlink(key), 0);
    assert_int_equal(xport_new(&cfg, &none, &x, &err), -1);
    assert_int_equal(err.kind, VR_E_NOFILE);
}

static void test_nothing_in_clear(void **state)
{
    struct vr_err err = VR_ERR_INIT;
    vr_autobuf struct vr_buf reply = VR_BUF_INIT;
    struct xport_peer b;
    struct tap tap;
    char code[64];
    static const char secret[] = "the quick brown fox jumps over the lazy dog";
    tap_start(&tap, B.port);
    assert_int_equal(xport_pair_code(B.x, 600, code, &err), 0);
    assert_int_equal(xport_pair(A.x, "127.0.0.1", tap.port, code, A.port, &b, &err), 0);
    assert_int_equal(
        xport_call(A.x, &b, HOST_CALL_ECHO, secret, sizeof secret, &reply, 120000, &err), 0);
    assert_string_equal((const char *)reply.data, secret);
    xport_unlisten(B.x, XPORT_CERT);
    tap_stop(&tap);
    assert_true(tap.seen.len > 2 * sizeof secret);
    const char *words[] = { secret, code, "quick", "alpha", "beta", "example", "VMRP" };
    for (size_t i = 0; i < VR_ARRAY_LEN(words); i++)
        if (memmem(tap.seen.data, tap.seen.len, words[i], strlen(words[i])))
            fail_msg("\"%s\" can be read on the wire", words[i]);
    vr_buf_done(&tap.seen);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_pair),
        T(test_pair_again_updates),
        T(test_pair_wrong_code),
        T(test_pair_tries_are_slowed_down),
        T(test_pair_new_code_replaces),
        T(test_pair_that_cannot_be_kept),
        T(test_pair_with_oneself),
        T(test_pair_replay),
        T(test_unknown_certificate),
        T(test_revoked_while_connected),
        T(test_unknown_may_only_pair),
        T(test_replaced_certificate),
        T(test_versions),
        T(test_wrong_magic),
        T(test_oversized_frames),
        T(test_too_many_connections),
        T(test_silent_strangers_keep_no_peer_out),
        T(test_errors_travel_whole),
        T(test_big_call),
        T(test_call_after_restart),
        T(test_listener_moves),
        T(test_calls_in_parallel),
        T(test_call_timeout),
        T(test_silent_peer),
        T(test_slow_clients),
        T(test_free_under_load),
        T(test_identity_is_kept),
        T(test_nothing_in_clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
