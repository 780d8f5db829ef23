/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A relay between sender and receiver that knows the frames: each type of frame is cut off, cut
 * short, slow, sent twice and overtaken by a later one, once. A frame out of place is refused, and
 * whatever happened, the next transfer makes the bytes equal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/proc.h"
#include "transfer/digestlog.h"
#include "transfer/frame.h"
#include "transfer/xfer.h"
#include "test-stream.h"
#include "test-xfer-kit.h"

/* ---- what is expected ---- */

enum trouble { LOST, SHORT, CUT, SLOW, TWICE, OVERTAKEN, N_TROUBLES };
static const char *const trouble_names[] = { "the connection ends before it",
                                             "in the middle of it",
                                             "right after it",
                                             "it is slow",
                                             "it comes twice",
                                             "a later one overtakes it" };

enum outcome {
    IMPOSSIBLE = 1, /* nothing follows it before it is answered */
    EQUAL,          /* the transfer ends well */
    REFUSED,        /* with VR_E_PROTO on both sides */
};

/* What makes a frame of the type occur. */
enum scene {
    ALWAYS = 1,
    LIMITED, /* the transfer takes a while */
    WAITING, /* the sender waits for the receiver's HAVE_END */
    DAMAGED, /* a record is damaged on its way */
};

/* One for each of FRAMES in frame.h: every_type_has_a_case() says which is missing. */
static const struct expect {
    enum scene scene;
    enum outcome twice, overtaken; /* after the next frame of another type from the same side */
} expects[256] = {
    [FRAME_START] = { ALWAYS, REFUSED, IMPOSSIBLE },
    [FRAME_HAVE] = { ALWAYS, EQUAL, REFUSED },
    [FRAME_HAVE_END] = { ALWAYS, REFUSED, IMPOSSIBLE },
    [FRAME_DATA] = { ALWAYS, REFUSED, REFUSED }, /* counted by SYNC and DONE */
    [FRAME_SYNC] = { LIMITED, EQUAL, REFUSED },
    [FRAME_DURABLE] = { LIMITED, EQUAL, EQUAL },
    /* What follows belongs to whoever called for the transfer. */
    [FRAME_DONE] = { ALWAYS, EQUAL, IMPOSSIBLE },
    [FRAME_RECEIVED] = { ALWAYS, EQUAL, IMPOSSIBLE },
    [FRAME_NOOP] = { WAITING, EQUAL, EQUAL },
    [FRAME_ERROR] = { DAMAGED, EQUAL, IMPOSSIBLE },
};

static const enum frame_type types[] = {
#define X(name, number, smallest, largest) FRAME_##name,
    FRAMES(X)
#undef X
};

static void every_type_has_a_case(void **state)
{
    (void)state;
    for (size_t i = 0; i < VR_ARRAY_LEN(types); i++)
        if (!expects[types[i]].scene || !expects[types[i]].twice || !expects[types[i]].overtaken)
            fail_msg("frame %s: nothing is said of it in expects[]", frame_name(types[i]));
}

/* ---- the relay ---- */

struct frame {
    uint8_t *p; /* header and body */
    size_t n;
};

struct relay {
    enum frame_type type;
    enum trouble trouble; /* N_TROUBLES: none */
    enum scene scene;
    int fd[2]; /* to the sender, to the receiver */
    pthread_t thread[2];
    pthread_mutex_t lock;
    bool happened, damaged, waited;
    atomic_bool over; /* nothing passes any more, in either direction */
};

struct side {
    struct relay *r;
    int from, to;
    struct frame held; /* to be overtaken */
};

static bool take(int fd, uint8_t *p, size_t n)
{
    while (n) {
        ssize_t got = recv(fd, p, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        p += got;
        n -= (size_t)got;
    }
    return true;
}

static bool give(int fd, const uint8_t *p, size_t n)
{
    while (n) {
        ssize_t w = send(fd, p, n, MSG_NOSIGNAL);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return false;
        p += w;
        n -= (size_t)w;
    }
    return true;
}

static bool take_frame(int fd, struct frame *f)
{
    uint8_t h[FRAME_HEADER];
    if (!take(fd, h, sizeof h))
        return false;
    size_t body = (size_t)h[4] << 24 | (size_t)h[5] << 16 | (size_t)h[6] << 8 | h[7];
    f->n = sizeof h + body;
    f->p = vr_new0(1, f->n);
    memcpy(f->p, h, sizeof h);
    return take(fd, f->p + sizeof h, body);
}

static bool cut(struct relay *r)
{
    shutdown(r->fd[0], SHUT_RDWR);
    shutdown(r->fd[1], SHUT_RDWR);
    return false;
}

/* Is it this frame's turn? Only the first of its type is meant. */
static bool is_due(struct relay *r, const struct frame *f)
{
    pthread_mutex_lock(&r->lock);
    bool due = r->trouble != N_TROUBLES && !r->happened && f->p[0] == r->type;
    r->happened |= due;
    pthread_mutex_unlock(&r->lock);
    return due;
}

static bool has_happened(struct relay *r)
{
    pthread_mutex_lock(&r->lock);
    bool yes = r->happened;
    pthread_mutex_unlock(&r->lock);
    return yes;
}

/* What makes rare frames occur, as the scene wants it. */
static void set_scene(struct relay *r, struct frame *f)
{
    if (r->scene == WAITING && f->p[0] == FRAME_HAVE_END && !r->waited) {
        r->waited = true;
        for (int i = 0; i < 12000 && !has_happened(r); i++) /* the sender says that it is there */
            usleep(5000);
    }
    if (r->scene == DAMAGED && f->p[0] == FRAME_DATA && f->n > FRAME_HEADER + FRAME_DATA_FIXED &&
        !r->damaged) {
        r->damaged = true;
        f->p[f->n - 1] ^= 0x10;
    }
}

/* Takes *f. False: the relay ends. */
static bool pass(struct side *s, struct frame *f)
{
    struct relay *r = s->r;
    set_scene(r, f);
    bool due = is_due(r, f);
    if (atomic_load(&r->over))
        return false;
    if (due && r->trouble <= CUT)
        atomic_store(&r->over, true);
    switch (due ? r->trouble : N_TROUBLES) {
    case LOST:
        return cut(r);
    case SHORT:
        give(s->to, f->p, f->n / 2);
        return cut(r);
    case CUT:
        give(s->to, f->p, f->n);
        return cut(r);
    case SLOW:
        usleep(300 * 1000);
        break;
    case TWICE:
        if (!give(s->to, f->p, f->n))
            return false;
        break;
    case OVERTAKEN:
        s->held = *f;
        *f = (struct frame){ .p = NULL };
        return true;
    default:
        break;
    }
    bool ok = give(s->to, f->p, f->n);
    if (ok && s->held.p && f->p[0] != s->held.p[0]) {
        ok = give(s->to, s->held.p, s->held.n);
        free(s->held.p);
        s->held.p = NULL;
    }
    return ok;
}

static void *relay_run(void *arg)
{
    struct side *s = arg;
    for (bool on = true; on;) {
        struct frame f = { .p = NULL };
        on = take_frame(s->from, &f) && pass(s, &f);
        free(f.p);
    }
    /* The other direction may have words under way. */
    shutdown(s->to, SHUT_WR);
    shutdown(s->from, SHUT_RD);
    free(s->held.p);
    return NULL;
}

/* A transfer through the relay. */
static void relayed(struct transfer *t, const struct xfer_send_disk *sd,
                    const struct xfer_recv_disk *rd, struct relay *r)
{
    int a[2], b[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, a), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, b), 0);
    r->fd[0] = a[1];
    r->fd[1] = b[1];
    pthread_mutex_init(&r->lock, NULL);
    struct side there = { .r = r, .from = a[1], .to = b[1] };
    struct side back = { .r = r, .from = b[1], .to = a[1] };
    assert_int_equal(pthread_create(&r->thread[0], NULL, relay_run, &there), 0);
    assert_int_equal(pthread_create(&r->thread[1], NULL, relay_run, &back), 0);
    transfer_over(t, sd, rd, 1, (const int[]){ a[0], b[0] });
    pthread_join(r->thread[0], NULL);
    pthread_join(r->thread[1], NULL);
    pthread_mutex_destroy(&r->lock);
    close(a[1]);
    close(b[1]);
}

/* ---- the cases ---- */

/* A SYNC is due in a third of the time that the limit makes the transfer take at least. */
enum { SIZE = 12 << 20, LIMIT = 4 << 20, HURRY = 8 };

/* The layer as an earlier transfer left it, the source as it is now, and the paths of one case. */
struct stand {
    char *old, *now, *layer, *table, *dst, *dst_table;
    struct server s;
    struct xfer_send_disk sd;
    struct xfer_recv_disk rd;
};

static void stand_up(struct stand *x)
{
    x->old = make_raw("old.raw", SIZE);
    x->layer = make_fresh("layer.img", SIZE);
    x->table = file("layer.dig");
    unlink(x->table);
    x->dst = file("dst.img");
    x->dst_table = file("dst.dig");
    struct server s = serve(x->old, "raw", NULL);
    struct xfer_send_disk sd = from(&s, SIZE, XFER_ALL, NULL);
    struct xfer_recv_disk rd = fresh_disk(x->layer, x->table, SIZE);
    struct transfer t = transfer_new();
    transfer_run(&t, &sd, &rd, 1);
    assert_done(&t);
    unserve(&s);
    x->now = file("now.raw");
    RUN("cp", x->old, x->now);
    int fd = open(x->now, O_RDWR | O_CLOEXEC);
    for (uint64_t b = 8; b + 8 < SIZE / BS; b += 3) /* 4 MiB; the rest is held */
        put_bytes(fd, b, BS, 1);
    close(fd);
    x->s = serve(x->now, "raw", NULL);
    x->sd = from(&x->s, SIZE, XFER_ALL, NULL);
    x->rd = fresh_disk(x->dst, x->dst_table, SIZE);
}

static void stand_down(struct stand *x)
{
    unserve(&x->s);
    char *all[] = { x->old, x->now, x->layer, x->table, x->dst, x->dst_table };
    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++)
        free(all[i]);
}

/* May the side say that all went well? The sender must, the receiver may, only for equal bytes. */
static enum outcome wanted(const struct expect *e, enum frame_type type, enum trouble trouble)
{
    switch (trouble) {
    case SLOW:
        return EQUAL;
    case TWICE:
        return e->twice;
    case OVERTAKEN:
        return e->overtaken;
    case CUT:
        return type == FRAME_RECEIVED ? EQUAL : 0;
    default:
        return 0;
    }
}

static void check_refused(const struct transfer *t)
{
    assert_int_equal(t->src, -1);
    assert_int_equal(t->rrc, -1);
    /* Who notices says it; what the other one hears first may be the end of the stream. */
    assert_true(t->se.kind == VR_E_PROTO || t->re.kind == VR_E_PROTO);
    assert_true(t->se.kind == VR_E_PROTO || t->se.kind == VR_E_PEER);
    assert_true(t->re.kind == VR_E_PROTO || t->re.kind == VR_E_PEER);
}

static void check_case(struct stand *x, enum frame_type type, enum trouble trouble)
{
    const struct expect *e = &expects[type];
    enum outcome want = wanted(e, type, trouble);
    if (want == IMPOSSIBLE)
        return;
    RUN("cp", "--sparse=always", x->layer, x->dst);
    RUN("cp", x->table, x->dst_table);
    struct relay r = { .type = type, .trouble = trouble, .scene = e->scene };
    struct transfer t = transfer_new();
    t.send.hurry = HURRY;
    if (e->scene == LIMITED)
        t.send.bytes_per_second = LIMIT;
    relayed(&t, &x->sd, &x->rd, &r);
    print_message("%s, %s: sender: %s; receiver: %s\n", frame_name(type), trouble_names[trouble],
                  t.src ? t.se.msg : "done", t.rrc ? t.re.msg : "done");
    assert_true(r.happened);
    if (e->scene == DAMAGED) {
        assert_true(t.re.kind == VR_E_CORRUPT || t.re.kind == VR_E_PEER);
        assert_int_equal(t.src, -1);
        if (trouble > CUT) /* else the end may be noticed first */
            assert_non_null(strstr(t.se.msg, "the receiver says"));
    } else if (want == REFUSED) {
        check_refused(&t);
    } else if (want == EQUAL) {
        assert_done(&t);
    } else {
        assert_int_equal(t.src, -1);
        assert_int_equal(t.se.kind, VR_E_PEER);
        /* After DONE it may have written its last frame before the end came. */
        if (type != FRAME_DONE || trouble != CUT)
            assert_int_equal(t.rrc, type == FRAME_RECEIVED ? 0 : -1);
    }
    if (t.src == 0 || t.rrc == 0)
        assert_same(x->now, "raw", x->dst, fresh_format());
    assert_table_true(x->dst_table, t.src == 0 || t.rrc == 0 ? x->now : x->dst, SIZE);

    struct transfer again = transfer_new();
    transfer_run(&again, &x->sd, &x->rd, 1);
    assert_done(&again);
    assert_same(x->now, "raw", x->dst, fresh_format());
    assert_table_true(x->dst_table, x->now, SIZE);
    if (t.rrc == 0) /* nothing is sent twice */
        assert_int_equal(atomic_load(&again.sp.payload), 0);
}

static void troubles(enum scene scene)
{
    struct stand x;
    stand_up(&x);
    for (size_t i = 0; i < VR_ARRAY_LEN(types); i++)
        for (enum trouble k = 0; expects[types[i]].scene == scene && k < N_TROUBLES; k++)
            check_case(&x, types[i], k);
    stand_down(&x);
}

static void frames_of_every_transfer(void **state)
{
    (void)state;
    troubles(ALWAYS);
}

static void frames_of_a_long_transfer(void **state)
{
    (void)state;
    troubles(LIMITED);
}

static void frames_of_a_sender_that_waits(void **state)
{
    (void)state;
    troubles(WAITING);
}

static void last_words(void **state)
{
    (void)state;
    troubles(DAMAGED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_has_a_case),
        cmocka_unit_test(frames_of_every_transfer),
        cmocka_unit_test(frames_of_a_long_transfer),
        cmocka_unit_test(frames_of_a_sender_that_waits),
        cmocka_unit_test(last_words),
    };
    return cmocka_run_group_tests(tests, setup, cleanup);
}
