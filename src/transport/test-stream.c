/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Streams of transfers: both directions at once, broken at any moment, kept alive while nobody
 * speaks, and the last word. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "transport/test-hosts.h"

enum { CHUNK = 100003, CHUNKS = 200 }; /* odd on purpose: records and chunks do not meet */

static struct host A, B;
static struct xport_peer at_b; /* B as A knows it */

/* Byte @i of a stream that can be checked anywhere. */
static uint8_t pattern(uint64_t i, unsigned salt)
{
    return (uint8_t)((i * 2654435761u >> 7) + i + salt);
}

struct flow {
    struct vr_stream *s;
    unsigned salt;
    int chunks; /* -1: for ever */
    _Atomic uint64_t bytes;
    struct vr_err err;
};

static void *pump(void *arg)
{
    struct flow *f = arg;
    uint8_t *p = malloc(CHUNK);
    for (int i = 0; f->chunks < 0 || i < f->chunks; i++) {
        for (size_t k = 0; k < CHUNK; k++)
            p[k] = pattern(f->bytes + k, f->salt);
        if (f->s->write(f->s, p, CHUNK, &f->err) < 0)
            break;
        f->bytes += CHUNK;
    }
    if (!f->err.kind)
        f->s->flush(f->s, &f->err);
    free(p);
    return NULL;
}

static void *drink(void *arg)
{
    struct flow *f = arg;
    uint8_t *p = malloc(CHUNK);
    static const size_t sizes[] = { 1, 20, 16384, 65536, 16385, 7, 100000 };
    uint64_t all = f->chunks < 0 ? UINT64_MAX : (uint64_t)f->chunks * CHUNK;
    for (size_t i = 0; f->bytes < all && !f->err.kind; i++) {
        size_t n = sizes[i % 7];
        if (n > all - f->bytes)
            n = (size_t)(all - f->bytes);
        if (f->s->read(f->s, p, n, &f->err) < 0)
            break;
        for (size_t k = 0; k < n && !f->err.kind; k++)
            if (p[k] != pattern(f->bytes + k, f->salt))
                vr_fail(&f->err, VR_E_CORRUPT, 0, "byte %zu", (size_t)f->bytes + k);
        f->bytes += n;
    }
    free(p);
    return NULL;
}

/* Both directions at once; returns the first error. */
static int both_ways(struct vr_stream *s, unsigned out, unsigned in, int chunks, struct vr_err *err)
{
    struct flow w = { .s = s, .salt = out, .chunks = chunks };
    struct flow r = { .s = s, .salt = in, .chunks = chunks };
    pthread_t th;
    if (pthread_create(&th, NULL, pump, &w))
        return vr_fail(err, VR_E_INTERNAL, 0, "no thread");
    drink(&r);
    pthread_join(th, NULL);
    vr_err_move(err, &r.err);
    if (!r.err.kind)
        vr_err_move(err, &w.err);
    return r.err.kind || w.err.kind ? -1 : 0;
}

/* The receiving host, as the opening message asks. */
static int serve(struct host *h, const char *how, struct vr_stream *s, struct vr_err *err)
{
    struct vr_err why = VR_ERR_INIT;
    uint8_t c;
    if (!strcmp(how, "refuse"))
        return vr_fail(err, VR_E_BUSY, 0, "web01 is being merged");
    if (!strcmp(how, "drop"))
        return 0;
    if (!strcmp(how, "slow"))
        for (bool wait = true; wait; nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL)) {
            pthread_mutex_lock(&h->lock);
            wait = h->gate_closed;
            pthread_mutex_unlock(&h->lock);
        }
    if (xport_transfer_accept(s, err) < 0)
        return -1;
    if (!strcmp(how, "both") && both_ways(s, 2, 1, CHUNKS, err) < 0)
        return -1;
    if (!strcmp(how, "endless"))
        return both_ways(s, 2, 1, -1, err);
    if (!strcmp(how, "full")) { /* stops reading in the middle and says why */
        vr_fail(&why, VR_E_NOSPACE, 0, "the disk of web01 is full");
        if (s->read(s, &c, 1, err) < 0 || xport_send_result(s, &why, err) < 0)
            return -1;
        return vr_fail(err, VR_E_NOSPACE, 0, "full");
    }
    if (!strcmp(how, "mute"))
        return s->read(s, &c, 1, err);
    return xport_send_result(s, NULL, err);
}

static int setup(void **state)
{
    host_init(&A, "alpha");
    host_init(&B, "beta");
    if (state && *state)
        A.idle_seconds = B.idle_seconds = 3; /* long enough for a handshake on a busy machine */
    host_start(&A);
    host_start(&B);
    B.transfer = serve;
    at_b = host_pair(&A, &B);
    return 0;
}

static int setup_impatient(void **state)
{
    static int yes = 1;
    *state = &yes;
    return setup(state);
}

static int teardown(void **state)
{
    host_done(&A);
    host_done(&B);
    return 0;
}

static struct vr_stream *open_to_b(const char *how)
{
    struct vr_err err = VR_ERR_INIT;
    struct vr_stream *s = NULL;
    if (xport_transfer_open(A.x, &at_b, how, strlen(how), &s, &err) < 0)
        fail_msg("open: %s (%s)", err.msg, vr_kind_name(err.kind));
    return s;
}

static void test_both_directions(void **state)
{
    struct vr_err err = VR_ERR_INIT;
    struct vr_stream *s = open_to_b("both");
    if (both_ways(s, 1, 2, CHUNKS, &err) < 0 || xport_recv_result(s, &err) < 0)
        fail_msg("%s (%s)", err.msg, vr_kind_name(err.kind));
    uint64_t n = (uint64_t)CHUNK * CHUNKS;
    assert_true(s->bytes_out > n && s->bytes_out < n + n / 50);
    assert_true(s->bytes_in > n && s->bytes_in < n + n / 50);
    vr_stream_free(s);
    assert_true(host_wait(&B, &B.transfers_done, 1));
    assert_int_equal(B.transfer_rc, 0);
}

/* What comes in on a transfer tells that its other end lives, whoever opened it. */
static void test_heard_on_a_transfer(void **state)
{
    const struct xport_peer other = { .name = "other" };
    struct mono_ms before = vr_mono_now();
    assert_int_equal(xport_transfer_heard(A.x, &at_b).ms, 0);
    struct vr_stream *s = open_to_b("mute");
    assert_true(xport_transfer_heard(A.x, &at_b).ms >= before.ms);
    assert_true(xport_transfer_heard(B.x, &B.peers[0]).ms >= before.ms);
    assert_int_equal(xport_transfer_heard(A.x, &other).ms, 0);
    vr_stream_free(s);
    assert_int_equal(xport_transfer_heard(A.x, &at_b).ms, 0);
    assert_true(host_wait(&B, &B.transfers_done, 1));
}

static void test_many_at_once(void **state)
{
    struct vr_stream *s[6];
    for (size_t i = 0; i < VR_ARRAY_LEN(s); i++)
        s[i] = open_to_b("ok");
    for (size_t i = 0; i < VR_ARRAY_LEN(s); i++) {
        struct vr_err err = VR_ERR_INIT;
        assert_int_equal(xport_recv_result(s[i], &err), 0);
        vr_stream_free(s[i]);
    }
}

static void test_refused(void **state)
{
    struct vr_err err = VR_ERR_INIT;
    struct vr_stream *s = NULL;
    assert_int_equal(xport_transfer_open(A.x, &at_b, "refuse", 6, &s, &err), -1);
    assert_int_equal(err.kind, VR_E_BUSY);
    assert_string_equal(err.msg, "web01 is being merged");
    vr_err_clear(&err);
    assert_int_equal(xport_transfer_open(A.x, &at_b, "drop", 4, &s, &err), -1);
    assert_int_equal(err.kind, VR_E_PEER);
}

/* The peer prepares for hours: who asked can be stopped all the same. */
struct watched {
    struct vr_stream *s;
    int calls;
    bool no;
    struct vr_err err;
    int rc;
    pthread_mutex_t lock;
};

static bool on_watch(void *ctx, struct vr_stream *s)
{
    struct watched *w = ctx;
    pthread_mutex_lock(&w->lock);
    w->s = s;
    w->calls++;
    pthread_mutex_unlock(&w->lock);
    return !w->no;
}

static void *open_slow(void *arg)
{
    struct watched *w = arg;
    struct vr_stream *s = NULL;
    w->rc = xport_transfer_open_watched(A.x, &at_b, "slow", 4, on_watch, w, &s, &w->err);
    vr_stream_free(s);
    return NULL;
}

static void gate(bool closed)
{
    pthread_mutex_lock(&B.lock);
    B.gate_closed = closed;
    pthread_mutex_unlock(&B.lock);
}

static void test_stopped_while_the_peer_prepares(void **state)
{
    (void)state;
    struct watched w = { .lock = PTHREAD_MUTEX_INITIALIZER };
    pthread_t th;
    gate(true);
    assert_int_equal(pthread_create(&th, NULL, open_slow, &w), 0);
    for (bool stopped = false; !stopped;
         nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL)) {
        pthread_mutex_lock(&w.lock);
        if (w.s) {
            w.s->shutdown(w.s);
            stopped = true;
        }
        pthread_mutex_unlock(&w.lock);
    }
    pthread_join(th, NULL); /* the gate is still closed */
    assert_int_equal(w.rc, -1);
    assert_int_equal(w.err.kind, VR_E_PEER);
    assert_int_equal(w.calls, 2);
    assert_null(w.s);
    gate(false);
    assert_true(host_wait(&B, &B.transfers_done, 1));
    w = (struct watched){ .no = true, .lock = PTHREAD_MUTEX_INITIALIZER };
    open_slow(&w);
    assert_int_equal(w.rc, -1);
    assert_int_equal(w.err.kind, VR_E_CANCELLED);
}

/* Break a stream that is busy both ways, from a third thread; all four ends come back. */
static void break_busy(void (*how)(struct vr_stream *s))
{
    struct vr_stream *s = open_to_b("endless");
    struct flow w = { .s = s, .salt = 1, .chunks = -1 }, r = { .s = s, .salt = 2, .chunks = -1 };
    pthread_t th[2];
    assert_int_equal(pthread_create(&th[0], NULL, pump, &w), 0);
    assert_int_equal(pthread_create(&th[1], NULL, drink, &r), 0);
    while (w.bytes < 30 * CHUNK || r.bytes < 30 * CHUNK)
        sched_yield();
    how(s);
    pthread_join(th[0], NULL);
    pthread_join(th[1], NULL);
    assert_int_equal(w.err.kind, VR_E_PEER);
    assert_int_equal(r.err.kind, VR_E_PEER);
    vr_stream_free(s);
    assert_true(host_wait(&B, &B.transfers_done, 1));
    assert_int_equal(B.transfer_err.kind, VR_E_PEER);
}

static void by_shutdown(struct vr_stream *s)
{
    s->shutdown(s);
}

static void by_our_end(struct vr_stream *s)
{
    host_stop(&A);
}

static void by_their_end(struct vr_stream *s)
{
    xport_unlisten(B.x, XPORT_CERT);
}

static void test_shutdown_in_the_middle(void **state)
{
    break_busy(by_shutdown);
}

static void test_free_in_the_middle(void **state)
{
    break_busy(by_our_end);
}

static void test_unlisten_in_the_middle(void **state)
{
    break_busy(by_their_end);
}

/* A blocked reader and a blocked writer are woken. */
static void test_shutdown_wakes_blocked(void **state)
{
    struct vr_stream *s = open_to_b("mute");
    struct flow r = { .s = s, .chunks = 1 };
    pthread_t th;
    assert_int_equal(pthread_create(&th, NULL, drink, &r), 0);
    s->shutdown(s);
    pthread_join(th, NULL);
    assert_int_equal(r.err.kind, VR_E_PEER);
    struct vr_err err = VR_ERR_INIT;
    assert_int_equal(s->write(s, "x", 1, &err), -1);
    assert_int_equal(err.kind, VR_E_PEER);
    vr_stream_free(s);
}

/* The receiver gives up while we are still sending: its reason arrives although writing fails. */
static void test_reason_of_the_receiver(void **state)
{
    struct vr_err err = VR_ERR_INIT;
    struct vr_stream *s = open_to_b("full");
    struct flow w = { .s = s, .salt = 1, .chunks = -1 };
    pthread_t th;
    assert_int_equal(pthread_create(&th, NULL, pump, &w), 0);
    assert_int_equal(xport_recv_result(s, &err), -1);
    assert_int_equal(err.kind, VR_E_NOSPACE);
    assert_string_equal(err.msg, "the disk of web01 is full");
    s->shutdown(s);
    pthread_join(th, NULL);
    vr_stream_free(s);
}

/* Idle limit 1 s. A peer that computes for longer, before it accepts and afterwards, is alive. */
static void test_quiet_is_not_dead(void **state)
{
    struct vr_err err = VR_ERR_INIT;
    struct vr_stream *s = NULL;
    struct timespec three = { .tv_sec = 3 }; /* time itself is the subject here */
    s = open_to_b("mute");
    nanosleep(&three, NULL); /* we are quiet, B reads; then B is quiet, we read */
    assert_int_equal(host_get(&B, &B.transfers_done), 0);
    assert_int_equal(s->write(s, "x", 1, &err), 0);
    assert_int_equal(s->flush(s, &err), 0);
    assert_true(host_wait(&B, &B.transfers_done, 1));
    assert_int_equal(B.transfer_rc, 0);
    vr_stream_free(s);
}

static void *open_gate_later(void *arg)
{
    nanosleep(&(struct timespec){ .tv_sec = 3 }, NULL);
    host_gate(&B, false);
    return NULL;
}

static void test_slow_to_accept(void **state)
{
    struct vr_err err = VR_ERR_INIT;
    pthread_t th;
    host_gate(&B, true);
    assert_int_equal(pthread_create(&th, NULL, open_gate_later, NULL), 0);
    struct vr_stream *s = open_to_b("slow");
    assert_int_equal(xport_recv_result(s, &err), 0);
    pthread_join(th, NULL);
    vr_stream_free(s);
}

/* A network that swallows everything: the stream ends by itself. */
static void test_dead_network(void **state)
{
    struct vr_err err = VR_ERR_INIT;
    struct tap tap;
    struct xport_peer through = at_b;
    struct vr_stream *s = NULL;
    uint8_t c;
    tap_start(&tap, B.port);
    through.port = tap.port;
    assert_int_equal(xport_transfer_open(A.x, &through, "mute", 4, &s, &err), 0);
    tap_freeze(&tap, true);
    assert_int_equal(s->read(s, &c, 1, &err), -1);
    assert_int_equal(err.kind, VR_E_TIMEOUT);
    assert_true(host_wait(&B, &B.transfers_done, 1));
    assert_int_equal(B.transfer_err.kind, VR_E_TIMEOUT);
    vr_stream_free(s);
    tap_freeze(&tap, false);
    tap_stop(&tap);
    vr_buf_done(&tap.seen);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define T_IMPATIENT(name) cmocka_unit_test_setup_teardown(name, setup_impatient, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_both_directions),
        T(test_heard_on_a_transfer),
        T(test_many_at_once),
        T(test_refused),
        T(test_stopped_while_the_peer_prepares),
        T(test_shutdown_in_the_middle),
        T(test_free_in_the_middle),
        T(test_unlisten_in_the_middle),
        T(test_shutdown_wakes_blocked),
        T(test_reason_of_the_receiver),
        T_IMPATIENT(test_quiet_is_not_dead),
        T_IMPATIENT(test_slow_to_accept),
        T_IMPATIENT(test_dead_network),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
