/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bodies of calls: what goes in comes out, newer peers are understood as far as possible, and
 * nothing a peer can send does harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/codec.h"
#include "transport/msg.h"

/* clang-format off */
#define T_DISK(X)                      \
    X(1, STR, REQ, target, 32)         \
    X(2, U64, REQ, size)
#define T_OLD(X)                       \
    X(1, STR, REQ, name, 16)           \
    X(4, U32, OPT, four)
#define T_NEW(X)                       \
    X(1, STR, REQ, name, 16)           \
    X(2, U8, OPT, small)               \
    X(3, U16, OPT, port)               \
    X(4, U32, OPT, four)               \
    X(5, I64, OPT, offset)             \
    X(6, BOOL, OPT, yes)               \
    X(7, UUID, OPT, machine)           \
    X(8, BYTES, OPT, blob, 100)        \
    X(9, LIST, OPT, disks, 4, t_disk)  \
    X(10, U64, MUST, vital)            \
    X(20, STR, OPT, note, 1000)
/* clang-format on */
MSG_DECLARE(t_disk, T_DISK)
MSG_DECLARE(t_old, T_OLD)
MSG_DECLARE(t_new, T_NEW)
MSG_DEFINE(t_disk, T_DISK)
MSG_DEFINE(t_old, T_OLD)
MSG_DEFINE(t_new, T_NEW)

#define autodone(T) __attribute__((cleanup(T##_done))) struct T

static const struct t_disk two_disks[] = { { "vda", 1 << 30 }, { "vdb", 0 } };

static struct t_new sample(void)
{
    return (struct t_new){ .name = "web01",
                           .small = 255,
                           .port = 8443,
                           .four = 4000000000u,
                           .offset = -5,
                           .yes = true,
                           .machine = { { 1, 2, 3 } },
                           .blob = (const uint8_t *)"\0\1\2",
                           .n_blob = 3,
                           .disks = two_disks,
                           .n_disks = 2,
                           .note = "" };
}

static void test_roundtrip(void **state)
{
    struct vr_err err = VR_ERR_INIT;
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    autodone(t_new) out = { 0 };
    struct t_new in = sample();
    assert_int_equal(t_new_encode(&in, &b, &err), 0);
    assert_int_equal(t_new_decode(b.data, b.len, &out, &err), 0);
    assert_string_equal(out.name, "web01");
    assert_int_equal(out.small, 255);
    assert_int_equal(out.port, 8443);
    assert_int_equal(out.four, 4000000000u);
    assert_int_equal(out.offset, -5);
    assert_true(out.yes);
    assert_true(vr_uuid_eq(&out.machine, &in.machine));
    assert_int_equal(out.n_blob, 3);
    assert_memory_equal(out.blob, in.blob, 3);
    assert_int_equal(out.n_disks, 2);
    assert_string_equal(out.disks[1].target, "vdb");
    assert_int_equal(out.disks[0].size, 1 << 30);
    assert_string_equal(out.note, ""); /* an empty text is not an absent one */
}

static void test_absent_is_zero(void **state)
{
    struct vr_err err = VR_ERR_INIT;
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    autodone(t_new) out = { 0 };
    assert_int_equal(t_new_encode(&(struct t_new){ .name = "x" }, &b, &err), 0);
    assert_int_equal(b.len, 7 + 1); /* only the name was sent */
    assert_int_equal(t_new_decode(b.data, b.len, &out, &err), 0);
    assert_null(out.note);
    assert_null(out.disks);
    assert_int_equal(out.vital, 0);
}

static void test_older_receiver_skips(void **state)
{
    struct vr_err err = VR_ERR_INIT;
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    autodone(t_old) out = { 0 };
    struct t_new in = sample();
    assert_int_equal(t_new_encode(&in, &b, &err), 0);
    assert_int_equal(t_old_decode(b.data, b.len, &out, &err), 0);
    assert_string_equal(out.name, "web01");
    assert_int_equal(out.four, 4000000000u);
}

static void test_older_receiver_refuses_vital(void **state)
{
    struct vr_err err = VR_ERR_INIT;
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct t_old out = { .four = 77 };
    struct t_new in = sample();
    in.vital = 1;
    assert_int_equal(t_new_encode(&in, &b, &err), 0);
    assert_int_equal(t_old_decode(b.data, b.len, &out, &err), -1);
    assert_int_equal(err.kind, VR_E_UNSUPPORTED);
    assert_int_equal(out.four, 77); /* untouched on failure */
}

static void test_limits_of_sender(void **state)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct vr_err err = VR_ERR_INIT;
    struct t_new in = sample();
    in.name = "0123456789abcdef"; /* 16 bytes, and the final NUL makes 17 */
    assert_int_equal(t_new_encode(&in, &b, &err), -1);
    assert_int_equal(err.kind, VR_E_LIMIT);
    vr_err_clear(&err);
    in = sample();
    in.name = NULL;
    assert_int_equal(t_new_encode(&in, &b, &err), -1);
    assert_int_equal(err.kind, VR_E_INVAL);
    vr_err_clear(&err);
    in = sample();
    in.n_disks = 5;
    assert_int_equal(t_new_encode(&in, &b, &err), -1);
    assert_int_equal(err.kind, VR_E_LIMIT);
}

/* Bytes that must be refused, with the kind of the refusal; as t_new. */
struct bad_row {
    const char *what;
    enum vr_kind kind;
    size_t n;
    const char *bytes;
};
#define BAD(what, kind, bytes)               \
    {                                        \
        what, kind, sizeof(bytes) - 1, bytes \
    }
#define NAME_X "\0\1\x87\0\0\0\1x"
static const struct bad_row bad_rows[] = {
    BAD("nothing", VR_E_PROTO, ""),
    BAD("half a header", VR_E_PROTO, "\0\1\x87\0"),
    BAD("truncated value", VR_E_PROTO, "\0\1\x87\0\0\0\2x"),
    BAD("huge length", VR_E_PROTO, "\0\1\x87\xff\xff\xff\xffx"),
    BAD("id zero", VR_E_PROTO, "\0\0\x07\0\0\0\1x" NAME_X),
    BAD("twice", VR_E_PROTO, NAME_X NAME_X),
    BAD("descending", VR_E_PROTO, NAME_X "\0\4\3\0\0\0\4abcd\0\3\2\0\0\0\2ab"),
    BAD("wrong kind", VR_E_PROTO, "\0\1\x09\0\0\0\1x"),
    BAD("wrong size", VR_E_PROTO, NAME_X "\0\3\2\0\0\0\3abc"),
    BAD("truth of 2", VR_E_PROTO, NAME_X "\0\6\6\0\0\0\1\2"),
    BAD("NUL in text", VR_E_PROTO, "\0\1\x87\0\0\0\3a\0b"),
    BAD("text too long", VR_E_LIMIT,
        "\0\1\x87\0\0\0\x10"
        "0123456789abcdef"),
    BAD("list without count", VR_E_PROTO, NAME_X "\0\x09\x0a\0\0\0\2\0\0"),
    BAD("too many elements", VR_E_LIMIT, NAME_X "\0\x09\x0a\0\0\0\4\0\0\0\5"),
    BAD("more elements than bytes", VR_E_PROTO, NAME_X "\0\x09\x0a\0\0\0\4\0\0\0\4"),
    BAD("element truncated", VR_E_PROTO, NAME_X "\0\x09\x0a\0\0\0\x08\0\0\0\1\0\0\0\1"),
    BAD("empty element", VR_E_PROTO, NAME_X "\0\x09\x0a\0\0\0\x08\0\0\0\1\0\0\0\0"),
    BAD("bytes after the list", VR_E_PROTO, NAME_X "\0\x09\x0a\0\0\0\5\0\0\0\0x"),
    BAD("required missing", VR_E_PROTO, "\0\4\3\0\0\0\4abcd"),
};

static void test_bad_bytes(void **state)
{
    for (size_t i = 0; i < VR_ARRAY_LEN(bad_rows); i++) {
        struct vr_err err = VR_ERR_INIT;
        struct t_new out = { 0 };
        /* an exact copy, so that a sanitiser sees reads beyond the end */
        uint8_t *copy = malloc(bad_rows[i].n + 1);
        memcpy(copy, bad_rows[i].bytes, bad_rows[i].n);
        copy = realloc(copy, bad_rows[i].n ? bad_rows[i].n : 1);
        int rc = t_new_decode(copy, bad_rows[i].n, &out, &err);
        free(copy);
        if (rc == 0 || err.kind != bad_rows[i].kind)
            fail_msg("%s: rc %d, %s: %s", bad_rows[i].what, rc, vr_kind_name(err.kind), err.msg);
    }
}

static void test_every_prefix_and_flip(void **state)
{
    struct vr_err err = VR_ERR_INIT;
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct t_new in = sample();
    assert_int_equal(t_new_encode(&in, &b, &err), 0);
    for (size_t n = 0; n < b.len; n++) {
        autodone(t_new) out = { 0 };
        vr_err_clear(&err);
        t_new_decode(b.data, n, &out, &err); /* must not crash; some prefixes are whole */
    }
    for (size_t i = 0; i < b.len * 8; i++) {
        autodone(t_new) out = { 0 };
        vr_err_clear(&err);
        b.data[i / 8] ^= 1u << (i % 8);
        t_new_decode(b.data, b.len, &out, &err);
        b.data[i / 8] ^= 1u << (i % 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_roundtrip),
        cmocka_unit_test(test_absent_is_zero),
        cmocka_unit_test(test_older_receiver_skips),
        cmocka_unit_test(test_older_receiver_refuses_vital),
        cmocka_unit_test(test_limits_of_sender),
        cmocka_unit_test(test_bad_bytes),
        cmocka_unit_test(test_every_prefix_and_flip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
