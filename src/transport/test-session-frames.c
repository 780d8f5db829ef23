/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Each frame of a session is lost, cut short, the last one, swallowed, slow, sent twice, and
 * overtaken by the next one of its sender. TLS lets nobody between two hosts do that to a frame, so
 * it is done as the frame is sent. Whoever asked gets the right answer or an error of the right
 * kind, nothing is done more often than docs/protocol.md says, the next try works, and nothing
 * stays behind. */
#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/codec.h"
#include "base/testing.h"
#include "gss/testkdc.h"
#include "transport/frame.h"
#include "transport/test-hosts.h"

/* ---- what is expected ---- */

enum trouble { LOST, SHORT, CUT, MUTE, SLOW, TWICE, OVERTAKEN, N_TROUBLES };
static const char *const trouble_names[] = {
    "the connection ends before it", "in the middle of it", "right after it",
    "nothing arrives from it on",    "it is slow",          "it comes twice",
    "the next one overtakes it",
};

enum scene {
    CALLS,        /* a call on a new connection */
    KEPT,         /* on one that was kept; it is made once more when that breaks */
    PAIRS,        /* with a code */
    TRANSFERS,    /* both sides say RESULT, the receiver acts on the sender's */
    HASTY,        /* the receiver accepts and gives up at once (VR_E_STATE) */
    REFUSES,      /* it does not accept (VR_E_BUSY) */
    LOGS_IN,      /* a call by Kerberos */
    NOT_ADMITTED, /* by a host that may not (VR_E_AUTH) */
};

/* It cannot be: OVERTAKEN when its sender says nothing more before it was answered, MUTE when
 * somebody waits for as long as the other is alive (docs/protocol.md 4.2; test-stream.c has that).
 */
#define NEVER VR_E_COUNT

#define PEER VR_E_PEER
#define PROTO VR_E_PROTO
#define AUTH VR_E_AUTH
#define BUSY VR_E_BUSY
#define STATE VR_E_STATE
#define TIME VR_E_TIMEOUT
#define OK VR_OK

/* How it ends for who asked, by trouble. The nth frame of the type is meant: of the types that both
 * sides send the first is the asking side's. every_type_has_a_case() says which type is missing. */
static const struct row {
    enum scene scene;
    enum frame_type type;
    int nth;
    enum vr_kind ends[N_TROUBLES];
} rows[] = {
    /*                                LOST   SHORT CUT   MUTE   SLOW  TWICE  OVERTAKEN */
    { CALLS, FRAME_HELLO, 1, { PEER, PEER, PEER, NEVER, OK, PROTO, NEVER } },
    { CALLS, FRAME_HELLO, 2, { PEER, PEER, PEER, TIME, OK, PROTO, NEVER } },
    { CALLS, FRAME_CALL, 1, { PEER, PEER, PEER, TIME, OK, OK, NEVER } },
    { CALLS, FRAME_REPLY, 1, { PEER, PEER, OK, TIME, OK, OK, NEVER } },
    { KEPT, FRAME_CALL, 1, { OK, OK, OK, NEVER, OK, OK, NEVER } },
    { KEPT, FRAME_REPLY, 1, { OK, OK, OK, NEVER, OK, OK, NEVER } },
    { PAIRS, FRAME_HELLO, 1, { PEER, PEER, PEER, NEVER, OK, AUTH, NEVER } },
    { PAIRS, FRAME_PAIR_TRY, 1, { PEER, PEER, PEER, NEVER, OK, OK, NEVER } },
    { PAIRS, FRAME_PAIR_DONE, 1, { PEER, PEER, OK, NEVER, OK, OK, NEVER } },
    { TRANSFERS, FRAME_TRANSFER, 1, { PEER, PEER, PEER, NEVER, OK, PROTO, NEVER } },
    { TRANSFERS, FRAME_ACCEPT, 1, { PEER, PEER, PEER, NEVER, OK, PROTO, NEVER } },
    { TRANSFERS, FRAME_RESULT, 1, { PEER, PEER, PEER, NEVER, OK, OK, NEVER } },
    { TRANSFERS, FRAME_RESULT, 2, { PEER, PEER, OK, NEVER, OK, OK, NEVER } },
    { HASTY, FRAME_ACCEPT, 1, { PEER, PEER, PEER, NEVER, STATE, PROTO, PROTO } },
    { REFUSES, FRAME_REFUSED, 1, { PEER, PEER, BUSY, NEVER, BUSY, BUSY, NEVER } },
    { LOGS_IN, FRAME_LOGIN, 1, { PEER, PEER, PEER, NEVER, OK, PROTO, NEVER } },
    { LOGS_IN, FRAME_LOGIN_DONE, 1, { PEER, PEER, PEER, NEVER, OK, PROTO, NEVER } },
    /* What is said before LOGIN_DONE counts for nothing: it is tried again. */
    { NOT_ADMITTED, FRAME_LOGIN_DONE, 1, { PEER, PEER, PEER, NEVER, AUTH, PROTO, PEER } },
};

static void every_type_has_a_case(void **state)
{
    (void)state;
    static const enum frame_type types[] = {
#define X(n, name, max, states) FRAME_##name,
#include "transport/frames.def"
#undef X
    };
    for (size_t i = 0; i < VR_ARRAY_LEN(types); i++) {
        size_t k = 0;
        while (k < VR_ARRAY_LEN(rows) && rows[k].type != types[i])
            k++;
        if (k == VR_ARRAY_LEN(rows))
            fail_msg("frame %s: nothing is said of it in rows[]", tframe_name(types[i]));
    }
}

/* ---- the trouble ---- */

static struct {
    pthread_mutex_t lock;
    enum frame_type type;
    int nth; /* 0: no trouble */
    enum trouble trouble;
    bool happened;
    struct vr_stream *of; /* the frame's */
    struct vr_buf held;   /* to be overtaken */
} plan = { .lock = PTHREAD_MUTEX_INITIALIZER, .held = VR_BUF_INIT };

static void plan_set(const struct row *r, enum trouble trouble)
{
    pthread_mutex_lock(&plan.lock);
    plan.type = r ? r->type : FRAME_HELLO;
    plan.nth = r ? r->nth : 0;
    plan.trouble = trouble;
    plan.happened = false;
    plan.of = NULL;
    vr_buf_done(&plan.held);
    pthread_mutex_unlock(&plan.lock);
}

static bool plan_happened(void)
{
    pthread_mutex_lock(&plan.lock);
    bool yes = plan.happened;
    pthread_mutex_unlock(&plan.lock);
    return yes;
}

static int add_frame(struct vr_buf *b, enum frame_type type, const void *head, size_t n_head,
                     const void *body, size_t n_body, struct vr_err *err)
{
    return vr_put_u16(b, (uint16_t)type, err) < 0 || vr_put_u16(b, 0, err) < 0 ||
                   vr_put_u32(b, (uint32_t)(n_head + n_body), err) < 0 ||
                   (n_head && vr_buf_add(b, head, n_head, err) < 0) ||
                   (n_body && vr_buf_add(b, body, n_body, err) < 0)
               ? -1
               : 0;
}

static int push(struct vr_stream *s, const uint8_t *p, size_t n, struct vr_err *err)
{
    return s->write(s, p, n, err) < 0 ? -1 : s->flush(s, err);
}

/* Send the frame @b as the trouble wants it. What the network does is not told to the sender. */
static int mistreat(struct vr_stream *s, struct vr_buf *b, struct vr_err *err)
{
    struct vr_err ignored = VR_ERR_INIT;
    size_t n = b->len;
    switch (plan.trouble) {
    case LOST:
        s->shutdown(s);
        return 0;
    case SHORT:
        push(s, b->data, n / 2, &ignored);
        s->shutdown(s);
        return 0;
    case CUT:
        push(s, b->data, n, &ignored);
        s->shutdown(s);
        return 0;
    case SLOW:
        for (size_t i = 0; i < n; i++)
            if (push(s, b->data + i, 1, err) < 0)
                return -1;
        return 0;
    case TWICE: /* at once, so that both are there when one is */
        if (vr_buf_reserve(b, n, err) < 0 || vr_buf_add(b, b->data, n, err) < 0)
            return -1;
        return push(s, b->data, 2 * n, err);
    case OVERTAKEN:
        return vr_buf_add(&plan.held, b->data, n, err);
    default:
        return 0;
    }
}

int __real_tframe_send(struct vr_stream *s, enum frame_type type, const void *head, size_t n_head,
                       const void *body, size_t n_body, struct vr_err *err);
int __wrap_tframe_send(struct vr_stream *s, enum frame_type type, const void *head, size_t n_head,
                       const void *body, size_t n_body, struct vr_err *err);

int __wrap_tframe_send(struct vr_stream *s, enum frame_type type, const void *head, size_t n_head,
                       const void *body, size_t n_body, struct vr_err *err)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT, held = VR_BUF_INIT;
    pthread_mutex_lock(&plan.lock);
    if (plan.nth && type == plan.type && --plan.nth == 0) {
        plan.happened = true;
        plan.of = s;
        int rc = add_frame(&b, type, head, n_head, body, n_body, err);
        if (rc == 0)
            rc = mistreat(s, &b, err);
        pthread_mutex_unlock(&plan.lock);
        return rc;
    }
    bool mute = plan.trouble == MUTE && plan.of == s;
    if (plan.of == s && plan.held.len) {
        held = plan.held;
        plan.held = (struct vr_buf)VR_BUF_INIT;
    }
    pthread_mutex_unlock(&plan.lock);
    if (mute)
        return 0;
    int rc = __real_tframe_send(s, type, head, n_head, body, n_body, err);
    return rc == 0 && held.len ? push(s, held.data, held.len, err) : rc;
}

/* ---- what is done ---- */

static const char *source;
static bool no_kdc;
static struct host A, B;
static struct xport_peer beta; /* B as A knows it by pairing */
static char code[64];
static unsigned committed; /* transfers that B has carried out; under B.lock */

static int receive(struct host *h, struct vr_stream *s, struct vr_err *err)
{
    char got[6] = "";
    if (s->read(s, got, 5, err) < 0)
        return -1;
    if (strcmp(got, "bytes") != 0)
        return vr_fail(err, VR_E_PROTO, 0, "this is not what belongs into a transfer");
    if (xport_recv_result(s, err) < 0)
        return -1;
    pthread_mutex_lock(&h->lock);
    committed++;
    pthread_mutex_unlock(&h->lock);
    return 0;
}

static int on_transfer(struct host *h, const char *how, struct vr_stream *s, struct vr_err *err)
{
    struct vr_err told = VR_ERR_INIT;
    if (!strcmp(how, "refuse"))
        return vr_fail(err, VR_E_BUSY, 0, "another transfer is going on");
    if (xport_transfer_accept(s, err) < 0)
        return -1;
    if (!strcmp(how, "hasty"))
        vr_fail(&told, VR_E_STATE, 0, "the replica was paused");
    else
        receive(h, s, &told);
    return xport_send_result(s, &told, err);
}

/* As docs/protocol.md 11.4; who cannot write any more may still hear why (9.3). */
static int transfer(const char *how, struct vr_err *err)
{
    struct vr_stream *s = NULL;
    struct vr_err ignored = VR_ERR_INIT;
    if (xport_transfer_open(A.x, &beta, how, strlen(how), &s, err) < 0)
        return -1;
    if (push(s, (const uint8_t *)"bytes", 5, &ignored) == 0)
        xport_send_result(s, NULL, &ignored);
    int rc = xport_recv_result(s, err);
    vr_stream_free(s);
    return rc;
}

static int call(const struct xport_peer *to, uint32_t timeout_ms, struct vr_err *err)
{
    static unsigned asked;
    vr_autobuf struct vr_buf reply = VR_BUF_INIT;
    vr_autofree char *text = vr_printf("question %u", ++asked);
    int rc = xport_call(A.x, to, HOST_CALL_ECHO, text, strlen(text), &reply, timeout_ms, err);
    if (rc == 0) { /* the answer to this question, not to an earlier one */
        assert_int_equal(reply.len, strlen(text));
        assert_memory_equal(reply.data, text, reply.len);
    }
    return rc;
}

static int login(const char *admitted, struct vr_err *err)
{
    struct xport_peer b = { .port = B.krb_port, .kerberos = true };
    snprintf(b.name, sizeof b.name, "hostb.vmr.test");
    snprintf(b.address, sizeof b.address, "127.0.0.1");
    pthread_mutex_lock(&B.lock);
    snprintf(B.admitted, sizeof B.admitted, "%s", admitted);
    pthread_mutex_unlock(&B.lock);
    return call(&b, 120000, err);
}

static int act(enum scene scene, uint32_t timeout_ms, struct vr_err *err)
{
    struct xport_peer peer;
    switch (scene) {
    case CALLS:
    case KEPT:
        return call(&beta, timeout_ms, err);
    case PAIRS:
        return xport_pair(A.x, "127.0.0.1", B.port, code, A.port, &peer, err);
    case TRANSFERS:
        return transfer("all", err);
    case HASTY:
        return transfer("hasty", err);
    case REFUSES:
        return transfer("refuse", err);
    case LOGS_IN:
        return login("hosta.vmr.test", err);
    default:
        return login("hostc.vmr.test", err);
    }
}

/* How often B did what it was asked for. */
static unsigned acted(enum scene scene)
{
    return host_get(&B, scene == PAIRS                           ? &B.paired
                        : scene >= TRANSFERS && scene <= REFUSES ? &committed
                                                                 : &B.calls);
}

/* ---- the cases ---- */

static int open_fds(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void begin_case(const struct row *r)
{
    host_start(&A);
    host_start(&B);
    if (r->scene == PAIRS) {
        host_forget(&A);
        host_forget(&B);
        ok(xport_pair_code(B.x, 600, code, err));
    }
    if (r->scene == KEPT)
        ok(act(KEPT, 120000, err));
}

/* What was asked for can be asked for again, at once. */
static void go_on(const struct row *r, enum trouble trouble)
{
    enum vr_kind want = r->scene == HASTY          ? VR_E_STATE
                        : r->scene == REFUSES      ? VR_E_BUSY
                        : r->scene == NOT_ADMITTED ? VR_E_AUTH
                                                   : VR_OK;
    struct vr_err e = VR_ERR_INIT;
    if (r->type == FRAME_CALL && trouble == TWICE) {
        host_stop(&A); /* a second answer may come at any time, so a new connection */
        host_start(&A);
    }
    /* The code was not used up by a try that did not arrive. */
    bool good = r->type == FRAME_HELLO || (r->type == FRAME_PAIR_TRY && trouble <= SHORT);
    if (r->scene == PAIRS && (r->ends[trouble] == VR_OK || !good))
        ok(xport_pair_code(B.x, 600, code, err));
    act(r->scene, 120000, &e);
    if (e.kind != want)
        fail_msg("%s, %s: the next try: %s (%s)", tframe_name(r->type), trouble_names[trouble],
                 e.msg, vr_kind_name(e.kind));
}

/* At most that often may it be done. */
static unsigned bound(const struct row *r, enum trouble trouble)
{
    if (r->scene == HASTY || r->scene == REFUSES || r->scene == NOT_ADMITTED)
        return 0;
    if (r->scene == KEPT) /* docs/protocol.md 8.3: once more on a new connection */
        return trouble == SLOW || (r->type == FRAME_CALL && trouble <= SHORT) ? 1 : 2;
    if (r->type == FRAME_CALL && trouble == TWICE)
        return 2;
    bool answer = r->type == FRAME_REPLY || r->type == FRAME_PAIR_DONE ||
                  (r->type == FRAME_RESULT && r->nth == 2);
    return trouble <= SHORT && !answer ? 0 : 1;
}

/* A user must be told who does not answer, and what to do when that is not just to try again. */
static void check_words(const struct row *r, const char *msg)
{
    const char *want = r->scene != PAIRS        ? "host hostb"
                       : r->type != FRAME_HELLO ? "pair again with a new code"
                                                : ""; /* the caller knows with whom */
    /* The last word of a transfer: likewise. */
    if (!strstr(msg, want) && !strstr(msg, "waiting for the peer's result"))
        fail_msg("this says too little: %s", msg);
}

static void check_case(const struct row *r, enum trouble trouble)
{
    struct vr_err e = VR_ERR_INIT;
    enum vr_kind want = r->ends[trouble];
    begin_case(r);
    unsigned did = acted(r->scene), known = A.paired;
    plan_set(r, trouble);
    int rc = act(r->scene, trouble == MUTE ? 2000 : 120000, &e);
    print_message("%s %d, %s: %s\n", tframe_name(r->type), r->nth, trouble_names[trouble],
                  rc ? e.msg : "done");
    assert_true(plan_happened());
    if (e.kind != want || (rc == 0) != (want == VR_OK))
        fail_msg("%s instead of %s: %s", vr_kind_name(e.kind), vr_kind_name(want), e.msg);
    if (want == PEER || want == TIME)
        check_words(r, e.msg);
    if (r->scene == PAIRS)
        assert_int_equal(A.paired - known, rc == 0);
    if (rc == 0)
        assert_in_range(acted(r->scene) - did, 1, bound(r, trouble));
    plan_set(NULL, N_TROUBLES);
    go_on(r, trouble);
    host_stop(&A);
    host_stop(&B); /* waits for all that is being done */
    unsigned again = bound(r, SLOW);
    assert_in_range(acted(r->scene) - did, again, again + bound(r, trouble));
}

static void troubles(enum scene scene)
{
    int idle = -1;
    for (size_t i = 0; i < VR_ARRAY_LEN(rows); i++)
        for (enum trouble k = 0; rows[i].scene == scene && k < N_TROUBLES; k++) {
            if (rows[i].ends[k] == NEVER)
                continue;
            check_case(&rows[i], k);
            if (idle >= 0) /* after the first one: libraries keep what they opened */
                assert_int_equal(open_fds(), idle);
            idle = open_fds();
        }
}

static void frames_of_a_call(void **state)
{
    (void)state;
    troubles(CALLS);
}

static void frames_on_a_kept_connection(void **state)
{
    (void)state;
    troubles(KEPT);
}

static void frames_of_a_pairing(void **state)
{
    (void)state;
    troubles(PAIRS);
}

static void frames_around_a_transfer(void **state)
{
    (void)state;
    troubles(TRANSFERS);
    troubles(HASTY);
    troubles(REFUSES);
}

static void frames_of_a_login(void **state)
{
    (void)state;
    if (no_kdc)
        skip();
    troubles(LOGS_IN);
    troubles(NOT_ADMITTED);
}

static int begin(void **state)
{
    (void)state;
    static char keys[2][160];
    host_init(&A, "hosta");
    host_init(&B, "hostb");
    B.transfer = on_transfer;
    host_start(&A);
    host_start(&B);
    beta = host_pair(&A, &B);
    host_stop(&A);
    host_stop(&B);
    for (size_t i = 0; !no_kdc && i < VR_ARRAY_LEN(keys); i++) {
        struct host *h = i ? &B : &A;
        snprintf(keys[i], sizeof keys[i], "%s/%s.keytab", testkdc_dir, h->name);
        h->keytab = keys[i];
    }
    return 0;
}

static int end(void **state)
{
    (void)state;
    host_start(&A); /* for host_done() */
    host_start(&B);
    host_done(&A);
    host_done(&B);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    if (no_kdc)
        return 0;
    testkdc_up(source);
    testkdc_become(NULL, "krb5.conf");
    static const char *const names[] = { "hosta", "hostb" };
    for (size_t i = 0; i < VR_ARRAY_LEN(names); i++)
        testkdc_shell("%s/tests/lab/kdc.sh service %s %s.vmr.test %s/%s.keytab host", source,
                      testkdc_dir, names[i], testkdc_dir, names[i]);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (!no_kdc)
        testkdc_down();
    return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(int argc, char **argv)
{
    source = argc > 1 ? argv[1] : ".";
    no_kdc = testkdc_missing();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_has_a_case),
        T(frames_of_a_call),
        T(frames_on_a_kept_connection),
        T(frames_of_a_pairing),
        T(frames_around_a_transfer),
        T(frames_of_a_login),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
