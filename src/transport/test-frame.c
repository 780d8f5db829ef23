/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Frames without a network: what may arrive when, limits before memory, travelling errors, and the
 * rules of the pairing code. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/codec.h"
#include "transport/frame.h"
#include "transport/pair.h"

/* A stream that reads what was written to it. */
struct mem {
    struct vr_stream s;
    struct vr_buf b;
    size_t at;
};

static int mem_write(struct vr_stream *s, const void *p, size_t n, struct vr_err *err)
{
    return vr_buf_add(&((struct mem *)s)->b, p, n, err);
}

static int mem_flush(struct vr_stream *s, struct vr_err *err)
{
    return 0;
}

static int mem_read(struct vr_stream *s, void *p, size_t n, struct vr_err *err)
{
    struct mem *m = (struct mem *)s;
    if (m->b.len - m->at < n)
        return vr_fail(err, VR_E_PEER, 0, "the end");
    memcpy(p, m->b.data + m->at, n);
    m->at += n;
    return 0;
}

static struct mem mem_new(void)
{
    return (struct mem){ .s = { .write = mem_write, .flush = mem_flush, .read = mem_read } };
}

static void put_header(struct mem *m, unsigned type, unsigned zero, uint32_t n)
{
    uint8_t h[FRAME_HEADER];
    m->b.len = m->at = 0;
    vr_store_u16(h, (uint16_t)type);
    vr_store_u16(h + 2, (uint16_t)zero);
    vr_store_u32(h + 4, n);
    assert_int_equal(vr_buf_add(&m->b, h, sizeof h, NULL), 0);
}

static void test_roundtrip(void **state)
{
    struct mem m = mem_new();
    struct vr_err err = VR_ERR_INIT;
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    enum frame_type type;
    assert_int_equal(tframe_send(&m.s, FRAME_CALL, "ab", 2, "cde", 3, &err), 0);
    assert_int_equal(tframe_send(&m.s, FRAME_CALL, NULL, 0, NULL, 0, &err), 0);
    assert_int_equal(frame_recv(&m.s, FRAME_ST_PEER, &type, &b, &err), 0);
    assert_int_equal(type, FRAME_CALL);
    assert_int_equal(b.len, 5);
    assert_memory_equal(b.data, "abcde", 5);
    assert_int_equal(frame_recv(&m.s, FRAME_ST_PEER, &type, &b, &err), 0);
    assert_int_equal(b.len, 0);
    assert_int_equal(frame_recv(&m.s, FRAME_ST_PEER, &type, &b, &err), -1);
    assert_int_equal(err.kind, VR_E_PEER);
    vr_buf_done(&m.b);
}

/* Which frames a state takes; the rest is refused, to a stranger as not authorised. */
static void test_permit_table(void **state)
{
    static const struct {
        enum frame_state st;
        unsigned types; /* bits */
    } rows[] = {
        { FRAME_ST_HELLO, 1u << FRAME_HELLO },
        { FRAME_ST_STRANGER, 1u << FRAME_PAIR_TRY | 1u << FRAME_REFUSED },
        { FRAME_ST_PEER,
          1u << FRAME_PAIR_TRY | 1u << FRAME_REFUSED | 1u << FRAME_CALL | 1u << FRAME_TRANSFER },
        { FRAME_ST_HELLO_BACK, 1u << FRAME_HELLO | 1u << FRAME_REFUSED },
        { FRAME_ST_CALLING, 1u << FRAME_REPLY | 1u << FRAME_REFUSED },
        { FRAME_ST_OPENING, 1u << FRAME_ACCEPT | 1u << FRAME_REFUSED },
        { FRAME_ST_PAIRING, 1u << FRAME_PAIR_DONE | 1u << FRAME_REFUSED },
        { FRAME_ST_LOGIN, 1u << FRAME_LOGIN | 1u << FRAME_REFUSED },
        { FRAME_ST_LOGGING_IN, 1u << FRAME_LOGIN_DONE | 1u << FRAME_REFUSED },
        { FRAME_ST_RESULT, 1u << FRAME_RESULT },
    };
    assert_int_equal(VR_ARRAY_LEN(rows), FRAME_ST_COUNT);
    struct mem m = mem_new();
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    for (size_t i = 0; i < VR_ARRAY_LEN(rows); i++)
        for (unsigned type = 0; type < 32; type++) {
            struct vr_err err = VR_ERR_INIT;
            enum frame_type got;
            put_header(&m, type, 0, 0);
            bool ok = frame_recv(&m.s, rows[i].st, &got, &b, &err) == 0;
            if (ok != !!(rows[i].types & (1u << type)))
                fail_msg("%s in state %d", tframe_name(type), rows[i].st);
            bool stranger = (rows[i].st == FRAME_ST_STRANGER || rows[i].st == FRAME_ST_LOGIN) &&
                            strcmp(tframe_name(type), "?");
            if (!ok)
                assert_int_equal(err.kind, stranger ? VR_E_AUTH : VR_E_PROTO);
        }
    vr_buf_done(&m.b);
}

static void test_lengths(void **state)
{
    struct mem m = mem_new();
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct vr_err err = VR_ERR_INIT;
    enum frame_type type;
    put_header(&m, FRAME_CALL, 0, (8 << 20) + 1);
    assert_int_equal(frame_recv(&m.s, FRAME_ST_PEER, &type, &b, &err), -1);
    assert_int_equal(err.kind, VR_E_LIMIT);
    vr_err_clear(&err);
    put_header(&m, FRAME_REPLY, 0, 32 << 20); /* permitted, but nothing follows */
    assert_int_equal(frame_recv(&m.s, FRAME_ST_CALLING, &type, &b, &err), -1);
    assert_int_equal(err.kind, VR_E_PEER);
    assert_true(b.cap < 4 << 20); /* memory was not taken on trust */
    vr_err_clear(&err);
    put_header(&m, FRAME_CALL, 1, 0);
    assert_int_equal(frame_recv(&m.s, FRAME_ST_PEER, &type, &b, &err), -1);
    assert_int_equal(err.kind, VR_E_PROTO);
    vr_err_clear(&err);
    assert_int_equal(tframe_send(&m.s, FRAME_ACCEPT, "x", 1, NULL, 0, &err), -1);
    assert_int_equal(err.kind, VR_E_LIMIT);
    vr_buf_done(&m.b);
}

static void test_hello(void **state)
{
    struct vr_err err = VR_ERR_INIT;
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct frame_hello in = { 1, 3, "web-1.example.org", "1.2.3", 1234567 }, out;
    assert_int_equal(frame_hello_put(&in, &b, &err), 0);
    assert_int_equal(vr_buf_add(&b, "of a later version", 18, &err), 0);
    assert_int_equal(frame_hello_get(b.data, b.len, &out, &err), 0);
    assert_int_equal(out.required, 1);
    assert_int_equal(out.offered, 3);
    assert_string_equal(out.host, "web-1.example.org");
    assert_string_equal(out.software, "1.2.3");
    assert_int_equal(out.wall_us, 1234567);
    assert_int_equal(frame_hello_get(b.data, b.len - 18 - 8, &out, &err), 0);
    assert_int_equal(out.wall_us, 0); /* of a version that does not tell it */
    memset(b.data + b.len - 18 - 8, 0xff, 8);
    assert_int_equal(frame_hello_get(b.data, b.len, &out, &err), 0);
    assert_int_equal(out.wall_us, 0); /* no time */
    b.data[5]++;                      /* protocol */
    assert_int_equal(frame_hello_get(b.data, b.len, &out, &err), -1);
    assert_int_equal(err.kind, VR_E_VERSION);
    assert_non_null(strstr(err.msg, "1.2.3"));
    assert_non_null(strstr(err.msg, VR_VERSION));
    assert_int_equal(err.sys, EPROTONOSUPPORT);
    static const char *const bad[] = { "", "a b", "a\nb", "caf\xc3\xa9", "<b>", "a/b" };
    for (size_t i = 0; i < VR_ARRAY_LEN(bad); i++)
        assert_false(frame_is_host(bad[i]));
}

static void test_feature_rules(void **state)
{
    struct frame_hello a = { 1, 3, "a", "1" }, b = { 1, 1, "b", "2" };
    struct vr_err err = VR_ERR_INIT;
    assert_int_equal(frame_hello_check(&a, &b, &err), 0);
    assert_int_equal(frame_hello_check(&b, &a, &err), 0); /* an unknown offer does not matter */
    a.required = 3;
    assert_int_equal(frame_hello_check(&a, &b, &err), -1);
    assert_int_equal(err.kind, VR_E_VERSION);
    vr_err_clear(&err);
    assert_int_equal(frame_hello_check(&b, &a, &err), -1);
    assert_string_equal(err.msg, "a (vmreplica 1) requires features 0x2 that b (vmreplica 2) does "
                                 "not know: update the older one");
}

static void test_errors(void **state)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct vr_err in = VR_ERR_INIT, out = VR_ERR_INIT, err = VR_ERR_INIT;
    vr_fail(&in, VR_E_NOSPACE, 28, "line\nbreak");
    assert_int_equal(frame_err_put(&in, &b, &err), 0);
    assert_int_equal(frame_err_get(b.data, b.len, &out, &err), 0);
    assert_int_equal(out.kind, VR_E_NOSPACE);
    assert_int_equal(out.sys, 28);
    assert_memory_equal(out.msg, "line break", 10); /* no forged lines in our log */
    b.len = 0;
    vr_put_str(&b, "KIND_OF_TOMORROW", &err);
    vr_put_u32(&b, 0, &err);
    vr_put_str(&b, "what?", &err);
    vr_err_clear(&out);
    assert_int_equal(frame_err_get(b.data, b.len, &out, &err), 0);
    assert_int_equal(out.kind, VR_E_PEER);
    assert_string_equal(out.msg, "what? (KIND_OF_TOMORROW on the peer)");
    assert_int_equal(frame_err_get(b.data, b.len - 1, &out, &err), -1);
    assert_int_equal(err.kind, VR_E_PROTO);
}

/* Pairing --------------------------------------------------------------------------------- */

static void test_code_text(void **state)
{
    struct vr_err err = VR_ERR_INIT;
    char code[PAIR_TEXT], other[PAIR_TEXT];
    uint8_t a[TLS_HASH], b[TLS_HASH];
    pair_code_new(code);
    pair_code_new(other);
    assert_string_not_equal(code, other);
    assert_int_equal(strlen(code), 24); /* five groups of four: 100 bits */
    assert_int_equal(code[4], '-');
    assert_int_equal(pair_code_key("01AB-CDEF-GHJK-MNPQ-RSTV", a, &err), 0);
    assert_int_equal(pair_code_key(" oiab cdef ghjk mnpqrstv ", b, &err), 0);
    assert_memory_equal(a, b, TLS_HASH);
    assert_int_equal(pair_code_key("01AB-CDEF-GHJK-MNPQ-RSTW", b, &err), 0);
    assert_memory_not_equal(a, b, TLS_HASH);
    static const char *const bad[] = { "", "01AB", "01AB-CDEF-GHJK-MNPQ-RSTVW",
                                       "01AB-CDEF-GHJK-MNPQ-RSTU", "01AB_CDEF-GHJK-MNPQ-RSTV" };
    for (size_t i = 0; i < VR_ARRAY_LEN(bad); i++) {
        vr_err_clear(&err);
        assert_int_equal(pair_code_key(bad[i], b, &err), -1);
        assert_int_equal(err.kind, VR_E_INVAL);
    }
}

static const uint8_t k1[TLS_HASH] = { 1 }, bind1[TLS_HASH] = { 2 }, bind2[TLS_HASH] = { 3 },
                     ini[TLS_HASH] = { 4 }, acc[TLS_HASH] = { 5 };

static int try_proof(struct pair_store *ps, const uint8_t *proof, uint64_t *claim,
                     struct vr_err *err)
{
    uint8_t answer[TLS_HASH];
    vr_err_clear(err);
    return pair_store_try(ps, "192.0.2.9", proof, bind1, ini, acc, answer, claim, err);
}

static void test_proofs_differ(void **state)
{
    uint8_t p[5][TLS_HASH];
    pair_proof(k1, PAIR_INITIATOR, bind1, ini, acc, p[0]);
    pair_proof(k1, PAIR_ACCEPTOR, bind1, ini, acc, p[1]);  /* cannot be reflected */
    pair_proof(k1, PAIR_INITIATOR, bind2, ini, acc, p[2]); /* nor replayed */
    pair_proof(k1, PAIR_INITIATOR, bind1, acc, ini, p[3]);
    pair_proof(bind2, PAIR_INITIATOR, bind1, ini, acc, p[4]);
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < i; k++)
            assert_memory_not_equal(p[i], p[k], TLS_HASH);
}

static void test_code_rules(void **state)
{
    struct pair_store ps;
    struct vr_err err = VR_ERR_INIT;
    uint8_t good[TLS_HASH];
    uint64_t claim = 0;
    pair_store_init(&ps);
    pair_proof(k1, PAIR_INITIATOR, bind1, ini, acc, good);
    assert_int_equal(try_proof(&ps, good, &claim, &err), -1); /* none yet */
    pair_store_set(&ps, k1, 0);
    assert_int_equal(try_proof(&ps, good, &claim, &err), -1);
    assert_int_equal(err.kind, VR_E_AUTH);
    assert_non_null(strstr(err.msg, "expired"));
    pair_store_set(&ps, k1, 600);
    assert_int_equal(try_proof(&ps, good, &claim, &err), 0);
    uint64_t second = 0;
    assert_int_equal(try_proof(&ps, good, &second, &err), -1); /* while it is being used */
    pair_store_end(&ps, claim, false);
    assert_int_equal(try_proof(&ps, good, &claim, &err), 0);
    pair_store_set(&ps, k1, 600); /* replaced meanwhile: the old claim ends nothing */
    pair_store_end(&ps, claim, true);
    assert_int_equal(try_proof(&ps, good, &claim, &err), 0);
    pair_store_end(&ps, claim, true);
    assert_int_equal(try_proof(&ps, good, &claim, &err), -1); /* once only */
    pair_store_set(&ps, k1, 600);
    /* Somebody who tries wrong ones waits, and takes the code from nobody. */
    uint8_t answer[TLS_HASH];
    for (int i = 0; i < 1000; i++) {
        vr_err_clear(&err);
        assert_int_equal(
            pair_store_try(&ps, "192.0.2.1", bind2, bind1, ini, acc, answer, &claim, &err), -1);
        assert_int_equal(err.kind, i < 2 ? VR_E_AUTH : VR_E_BUSY);
    }
    assert_non_null(strstr(err.msg, "wait 1 second"));
    assert_int_equal(try_proof(&ps, good, &claim, &err), 0);
    pair_store_end(&ps, claim, false);
    pair_store_set(&ps, k1, 600); /* a new code: everybody begins anew */
    vr_err_clear(&err);
    assert_int_equal(pair_store_try(&ps, "192.0.2.1", good, bind1, ini, acc, answer, &claim, &err),
                     0);
    pair_store_done(&ps);
}

static void test_callers_are_slowed_down(void **state)
{
    struct slow s = { 0 };
    struct mono_ms now = { 5000 };
    static const int64_t waits[] = { 0, 1000, 2000, 4000, 8000, 16000, 32000, 32000 };
    assert_int_equal(slow_wait(&s, "a", now), 0);
    for (unsigned i = 0; i < VR_ARRAY_LEN(waits); i++) {
        assert_int_equal(slow_failed(&s, "a", now), i + 1);
        assert_int_equal(slow_wait(&s, "a", now), waits[i]);
        assert_int_equal(slow_wait(&s, "b", now), 0);
        now.ms += waits[i];
        assert_int_equal(slow_wait(&s, "a", now), 0);
    }
    now.ms += SLOW_FORGIVEN_MS;
    assert_int_equal(slow_failed(&s, "a", now), 1);
    assert_int_equal(slow_failed(&s, "a", now), 2);
    for (int i = 0; i < 10 * SLOW_BLOCKS; i++) { /* many: the oldest gives way */
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        now.ms++;
        assert_int_equal(slow_failed(&s, name, now), 1);
    }
    assert_int_equal(slow_failed(&s, "n639", now), 2);
    slow_forget(&s, "n639");
    assert_int_equal(slow_wait(&s, "n639", now), 0);
    assert_int_equal(slow_failed(&s, "a", now), 1);
}

static void test_callers_have_blocks(void **state)
{
    static const struct {
        const char *address, *block;
    } t[] = { { "192.0.2.1", "192.0.2.1" },
              { "::ffff:192.0.2.1", "192.0.2.1" },
              { "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::" },
              { "2001:db8:1:2::99", "2001:db8:1:2::" },
              { "fe80::1%eth0", "fe80::" },
              { "?", "?" } };
    char block[NET_ADDR_MAX];
    for (size_t i = 0; i < VR_ARRAY_LEN(t); i++) {
        callers_block(t[i].address, block);
        assert_string_equal(block, t[i].block);
    }
    struct expected e;
    expected_init(&e);
    static const char *const told[] = { "2001:db8::7", "192.0.2.7" };
    expected_tell(&e, told, 2);
    assert_true(expected_has(&e, "2001:db8::"));
    assert_true(expected_has(&e, "192.0.2.7"));
    for (int i = 0; i < 2 * EXPECTED_MET; i++) {
        snprintf(block, sizeof block, "10.0.0.%d", i);
        assert_false(expected_has(&e, block));
        expected_met(&e, block);
        assert_true(expected_has(&e, block));
    }
    assert_false(expected_has(&e, "10.0.0.0"));
    expected_tell(&e, told, 1);
    assert_false(expected_has(&e, "192.0.2.7"));
    expected_done(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_roundtrip),
        cmocka_unit_test(test_permit_table),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_hello),
        cmocka_unit_test(test_feature_rules),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_code_text),
        cmocka_unit_test(test_proofs_differ),
        cmocka_unit_test(test_code_rules),
        cmocka_unit_test(test_callers_are_slowed_down),
        cmocka_unit_test(test_callers_have_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
