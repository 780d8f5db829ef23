/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libFuzzer target: all that a peer can send before and after it is known: frames in every state,
 * HELLO, travelling errors, bodies of calls. A body that is accepted must survive being written and
 * read again. The first byte chooses the state. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "transport/frame.h"
#include "transport/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* clang-format off */
#define FUZZ_LEAF(X)                          \
    X(1, STR, REQ, name, 32)                  \
    X(2, U64, OPT, size)
#define FUZZ_NODE(X)                          \
    X(1, UUID, REQ, id)                       \
    X(3, LIST, OPT, leaves, 100, fuzz_leaf)
#define FUZZ_ROOT(X)                          \
    X(1, STR, REQ, name, 256)                 \
    X(2, U8, OPT, u8)                         \
    X(3, U16, OPT, u16)                       \
    X(4, U32, MUST, u32)                      \
    X(5, I64, OPT, i64)                       \
    X(6, BOOL, OPT, yes)                      \
    X(7, BYTES, OPT, blob, 4096)              \
    X(9, LIST, OPT, nodes, 1000, fuzz_node)   \
    X(300, STR, OPT, note, 1024)
/* clang-format on */
MSG_DECLARE(fuzz_leaf, FUZZ_LEAF)
MSG_DECLARE(fuzz_node, FUZZ_NODE)
MSG_DECLARE(fuzz_root, FUZZ_ROOT)
MSG_DEFINE(fuzz_leaf, FUZZ_LEAF)
MSG_DEFINE(fuzz_node, FUZZ_NODE)
MSG_DEFINE(fuzz_root, FUZZ_ROOT)

/* A stream of the input's bytes. */
struct input {
    struct vr_stream s;
    struct vr_rd rd;
};

static int input_read(struct vr_stream *s, void *p, size_t n, struct vr_err *err)
{
    return vr_get_bytes(&((struct input *)s)->rd, p, n, err);
}

static void check_body(const uint8_t *p, size_t n)
{
    struct fuzz_root a = { 0 }, b = { 0 };
    vr_autobuf struct vr_buf once = VR_BUF_INIT, twice = VR_BUF_INIT;
    struct vr_err err = VR_ERR_INIT;
    if (fuzz_root_decode(p, n, &a, &err) < 0)
        return;
    if (fuzz_root_encode(&a, &once, &err) < 0 ||
        fuzz_root_decode(once.data, once.len, &b, &err) < 0 ||
        fuzz_root_encode(&b, &twice, &err) < 0 || once.len != twice.len ||
        memcmp(once.data, twice.data, once.len) != 0)
        abort();
    fuzz_root_done(&a);
    fuzz_root_done(&b);
}

static void check_words(const uint8_t *p, size_t n)
{
    struct frame_hello hello, mine = { 1, 1, "fuzz", "0" };
    struct vr_err err = VR_ERR_INIT, theirs = VR_ERR_INIT;
    if (frame_hello_get(p, n, &hello, &err) == 0) {
        if (!frame_is_host(hello.host))
            abort();
        frame_hello_check(&mine, &hello, &err);
    }
    vr_err_clear(&err);
    if (frame_err_get(p, n, &theirs, &err) == 0 &&
        (theirs.kind == VR_OK || vr_kind_scope(theirs.kind) == VR_SCOPE_PROC))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    struct input in = { .s = { .read = input_read }, .rd = { data + 1, size - 1 } };
    vr_autobuf struct vr_buf body = VR_BUF_INIT;
    struct vr_err err = VR_ERR_INIT;
    enum frame_type type;
    enum frame_state st = (enum frame_state)(data[0] % FRAME_ST_COUNT);
    while (frame_recv(&in.s, st, &type, &body, &err) == 0) {
        check_words(body.data, body.len);
        check_body(body.data, body.len);
        if (type == FRAME_REPLY && body.len)
            check_words(body.data + 1, body.len - 1);
    }
    check_words(data + 1, size - 1);
    check_body(data + 1, size - 1);
    return 0;
}
