/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A receiver whose peer misbehaves: it must say what is wrong, end, and keep its table true. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/proc.h"
#include "transfer/digestlog.h"
#include "transfer/frame.h"
#include "transfer/xfer.h"
#include "test-stream.h"

static char dir[] = "/var/tmp/vr-xferpeer-XXXXXX";
enum { SIZE = 4 << 20 };

struct receiver {
    struct xfer_recv_disk disk;
    struct xfer_recv x;
    struct vr_stream *mine; /* the peer's end */
    char *image, *table;
    pthread_t thread;
    struct vr_err err;
    int rc;
};

static void *receive(void *arg)
{
    struct receiver *r = arg;
    r->rc = xfer_recv_run(&r->x, &r->err);
    r->x.stream->shutdown(r->x.stream);
    return NULL;
}

static void start(struct receiver *r)
{
    *r = (struct receiver){ .image = vr_printf("%s/layer", dir),
                            .table = vr_printf("%s/table", dir) };
    unlink(r->table);
    struct vr_err e = VR_ERR_INIT;
    const char *const argv[] = { "qemu-img", "create", "-q", "-f", "qcow2", r->image, "4M", NULL };
    if (vr_proc_run(argv, 60, NULL, &e) < 0)
        fail_msg("%s", e.msg);
    r->disk = (struct xfer_recv_disk){
        .target = "vda", .size = SIZE, .image = r->image, .fresh = true, .digests = r->table
    };
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    r->mine = test_stream_new(fd[0]);
    r->x = (struct xfer_recv){ .stream = test_stream_new(fd[1]), .disks = &r->disk, .n_disks = 1 };
    pthread_create(&r->thread, NULL, receive, r);
}

static void greet(struct receiver *r)
{
    struct frame_start_disk d = { .target = "vda", .size = SIZE };
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct frame_header h;
    assert_int_equal(frame_put_start(&b, &d, 1, NULL), 0);
    assert_int_equal(frame_send(r->mine, FRAME_START, b.data, b.len, NULL), 0);
    do {
        assert_int_equal(frame_read_header(r->mine, &h, NULL), 0);
        assert_int_equal(frame_read_body(r->mine, &h, &b, NULL), 0);
    } while (h.type != FRAME_HAVE_END);
}

/* The receiver must end with @kind; when @told it says so to the peer. */
static void finish(struct receiver *r, enum vr_kind kind, bool told)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct frame_header h = { .type = FRAME_NOOP };
    while (told && frame_read_header(r->mine, &h, NULL) == 0 &&
           frame_read_body(r->mine, &h, &b, NULL) == 0 && h.type != FRAME_ERROR)
        ;
    if (told) {
        struct vr_err e = VR_ERR_INIT;
        assert_int_equal(h.type, FRAME_ERROR);
        frame_get_error(&b, "it says", &e);
        assert_int_equal(e.kind, kind);
    }
    r->mine->shutdown(r->mine);
    pthread_join(r->thread, NULL);
    assert_int_equal(r->rc, -1);
    assert_int_equal(r->err.kind, kind);
    vr_stream_free(r->mine);
    vr_stream_free(r->x.stream);
    free(r->image);
    free(r->table);
}

static void put_record(struct receiver *r, uint64_t block, uint8_t fill, bool right)
{
    uint8_t *f = vr_new0(1, FRAME_DATA_FIXED + 16 + VR_BLOCK_SIZE);
    struct frame_data d = { .offset = block * VR_BLOCK_SIZE, .length = VR_BLOCK_SIZE };
    uint8_t *data = f + FRAME_DATA_FIXED + 16;
    memset(data, fill, VR_BLOCK_SIZE);
    frame_put_data(f, &d);
    struct vr_digest digest = vr_digest_block(data, VR_BLOCK_SIZE);
    memcpy(f + FRAME_DATA_FIXED, digest.b, 16);
    if (!right)
        data[77] ^= 1;
    /* It may have hung up already. */
    (void)frame_send(r->mine, FRAME_DATA, f, FRAME_DATA_FIXED + 16 + VR_BLOCK_SIZE, NULL);
    free(f);
}

static void garbage_is_refused(void **state)
{
    (void)state;
    struct receiver r;
    start(&r);
    assert_int_equal(r.mine->write(r.mine, "GET / HTTP/1.1\r\n\r\n", 18, NULL), 0);
    finish(&r, VR_E_PROTO, true);
    start(&r);
    greet(&r);
    assert_int_equal(r.mine->write(r.mine, "\377\0\0\0\0\0\0\0", 8, NULL), 0);
    finish(&r, VR_E_PROTO, true);
}

static void an_end_in_the_middle_is_told(void **state)
{
    (void)state;
    struct receiver r;
    start(&r);
    finish(&r, VR_E_PEER, false);
    start(&r);
    greet(&r);
    put_record(&r, 3, 1, true);
    finish(&r, VR_E_PEER, false);
}

static void another_version_is_named(void **state)
{
    (void)state;
    struct receiver r;
    start(&r);
    const uint8_t body[] = { 'V', 'R', 'X', '1', 0, 9, 0, 1 };
    assert_int_equal(frame_send(r.mine, FRAME_START, body, sizeof body, NULL), 0);
    finish(&r, VR_E_VERSION, true);
}

static void a_block_twice_is_refused(void **state)
{
    (void)state;
    struct receiver r;
    start(&r);
    greet(&r);
    put_record(&r, 5, 1, true);
    put_record(&r, 5, 2, true);
    finish(&r, VR_E_PROTO, true);
}

static void wrong_counts_are_refused(void **state)
{
    (void)state;
    struct receiver r;
    start(&r);
    greet(&r);
    put_record(&r, 5, 1, true);
    assert_int_equal(frame_send_u64(r.mine, FRAME_DONE, 2, NULL), 0);
    finish(&r, VR_E_PROTO, true);
}

static void what_is_wrong_never_reaches_the_table(void **state)
{
    (void)state;
    struct receiver r;
    start(&r);
    greet(&r);
    for (uint64_t b = 0; b < 8; b++)
        put_record(&r, b, (uint8_t)b, b != 6);
    vr_autofree char *table = vr_strdup(r.table);
    finish(&r, VR_E_CORRUPT, true);
    struct digestlog *d = NULL;
    struct vr_digest got;
    assert_int_equal(digestlog_open(table, SIZE, false, &d, NULL), 0);
    assert_int_equal(digestlog_get(d, 6, &got, NULL), 0);
    digestlog_free(d);
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int cleanup(void **state)
{
    (void)state;
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    const char *const argv[] = { "rm", "-rf", dir, NULL };
    return vr_proc_run(argv, 60, NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(garbage_is_refused),
        cmocka_unit_test(an_end_in_the_middle_is_told),
        cmocka_unit_test(another_version_is_named),
        cmocka_unit_test(a_block_twice_is_refused),
        cmocka_unit_test(wrong_counts_are_refused),
        cmocka_unit_test(what_is_wrong_never_reaches_the_table),
    };
    return cmocka_run_group_tests(tests, setup, cleanup);
}
