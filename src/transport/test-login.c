/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hosts that were never paired talk by Kerberos, with a real domain controller; each way has its
 * own port and neither lets the other's callers in. Needs krb5kdc. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "base/testing.h"
#include "gss/gss_host.h"
#include "gss/testkdc.h"
#include "transport/frame.h"
#include "transport/test-hosts.h"

static const char *source;
static char keys_a[128], keys_b[128], keys_c[128];
static struct host A, B;

static struct xport_peer by_kerberos(const struct host *h, const char *name)
{
    struct xport_peer p = { .port = h->krb_port, .kerberos = true };
    snprintf(p.name, sizeof p.name, "%s", name);
    snprintf(p.address, sizeof p.address, "127.0.0.1");
    return p;
}

static int call(struct host *from, const struct xport_peer *to, struct vr_err *err)
{
    vr_autobuf struct vr_buf reply = VR_BUF_INIT;
    int rc = xport_call(from->x, to, HOST_CALL_ECHO, "hello", 5, &reply, 120000, err);
    if (rc == 0) {
        assert_int_equal(reply.len, 5);
        assert_memory_equal(reply.data, "hello", 5);
    }
    return rc;
}

static void refused(struct host *from, const struct xport_peer *to, enum vr_kind kind,
                    const char *words)
{
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(call(from, to, &e), -1);
    if (e.kind != kind || !strstr(e.msg, words))
        fail_msg("%s (%s), expected: %s", e.msg, vr_kind_name(e.kind), words);
}

static int begin(void **s)
{
    host_init(&A, "hosta");
    host_init(&B, "hostb");
    A.keytab = keys_a;
    B.keytab = keys_b;
    strcpy(A.admitted, "hostb.vmr.test");
    strcpy(B.admitted, "hosta.vmr.test");
    host_start(&A);
    host_start(&B);
    return 0;
}

static int end(void **s)
{
    host_done(&A);
    host_done(&B);
    return 0;
}

static void test_calls_both_ways(void **s)
{
    struct xport_peer b = by_kerberos(&B, "hostb.vmr.test"), a = by_kerberos(&A, "hosta.vmr.test");
    for (int i = 0; i < 3; i++) {
        ok(call(&A, &b, err));
        ok(call(&B, &a, err));
    }
    assert_int_equal(B.their_port, A.krb_port);
    assert_int_equal(A.their_port, B.krb_port);
    host_stop(&B); /* a kept connection dies, the next login is on a new one */
    refused(&A, &b, VR_E_PEER, "");
    host_start(&B);
    ok(call(&A, &b, err));
}

static int take_all(struct host *h, const char *how, struct vr_stream *s, struct vr_err *err)
{
    char got[6] = "";
    if (xport_transfer_accept(s, err) < 0 || s->read(s, got, 5, err) < 0)
        return -1;
    return xport_send_result(s, strcmp(got, "bytes") ? err : NULL, err);
}

static void test_a_transfer(void **s)
{
    struct xport_peer b = by_kerberos(&B, "hostb.vmr.test");
    struct vr_stream *t = NULL;
    B.transfer = take_all;
    ok(xport_transfer_open(A.x, &b, "how", 3, &t, err));
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(t->write(t, "bytes", 5, &e), 0);
    assert_int_equal(t->flush(t, &e), 0);
    ok(xport_recv_result(t, err));
    vr_stream_free(t);
}

/* Whoever loses its admission loses it at once, also on a connection that is there. */
static void test_who_is_not_admitted(void **s)
{
    struct xport_peer b = by_kerberos(&B, "hostb.vmr.test");
    ok(call(&A, &b, err));
    pthread_mutex_lock(&B.lock);
    strcpy(B.admitted, "hostc.vmr.test");
    pthread_mutex_unlock(&B.lock);
    refused(&A, &b, VR_E_AUTH, "no entry for hosta.vmr.test");
    refused(&A, &b, VR_E_AUTH, "no entry for hosta.vmr.test");
    assert_true(host_said(&B, "no entry for hosta.vmr.test"));
}

/* The name is what counts, not the address: another host of the realm that answers there is found
 * out, and so is a host without the keys. */
static void test_another_host_answers(void **s)
{
    struct xport_peer b = by_kerberos(&B, "hostc.vmr.test");
    refused(&A, &b, VR_E_PEER, "it has no such key");
    b = by_kerberos(&B, "nobody.vmr.test");
    refused(&A, &b, VR_E_AUTH, "name the host exactly as Kerberos does");
}

/* Somebody between two hosts who ends TLS on both sides: it must reach neither. */
static void test_somebody_in_the_middle(void **s)
{
    struct vr_gss_conf c = { .keytab = keys_a, .service = "host", .host_name = "hosta" };
    vr_auto(vr_gss_free) struct vr_gss *g = vr_gss_new();
    vr_autobuf struct vr_buf token = VR_BUF_INIT, b = VR_BUF_INIT, frame = VR_BUF_INIT;
    struct raw r;
    uint8_t theirs[96] = "the session of the caller with the one in the middle";
    struct host to = { .port = B.krb_port };
    raw_open(&r, &to);
    raw_hello(&r, FEATURE_BASE, FEATURES_OFFERED);
    assert_int_equal(raw_get(&r, &b), FRAME_HELLO);
    ok(vr_gss_host_begin(g, &c, "hostb.vmr.test", theirs, sizeof theirs, &token, err));
    assert_int_equal(vr_put_u16(&frame, 1, NULL), 0);
    assert_int_equal(vr_buf_add(&frame, token.data, token.len, NULL), 0);
    assert_int_equal(raw_put(&r, FRAME_LOGIN, (uint32_t)frame.len, frame.data, frame.len), 0);
    assert_int_equal(raw_get(&r, &b), FRAME_REFUSED);
    raw_close(&r);
    assert_true(host_wait(&B, &B.refused, 1));
    assert_true(host_said(&B, "somebody may be between the hosts"));
    assert_int_equal(host_get(&B, &B.calls), 0);
}

/* What may be said before the login, and where: one frame on a fresh connection. */
static void says(uint16_t port, unsigned type, const void *p, size_t n, const char *words)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct raw r;
    struct host to = { .port = port };
    unsigned had = host_get(&B, &B.refused);
    raw_open(&r, &to);
    raw_hello(&r, FEATURE_BASE, FEATURES_OFFERED);
    assert_int_equal(raw_get(&r, &b), FRAME_HELLO);
    assert_int_equal(raw_put(&r, type, (uint32_t)n, p, n), 0);
    assert_int_equal(raw_get(&r, &b), FRAME_REFUSED);
    raw_close(&r);
    assert_true(host_wait(&B, &B.refused, had + 1));
    if (!host_said(&B, words))
        fail_msg("%s, expected: %s", B.why, words);
}

static void test_each_port_has_its_way(void **s)
{
    says(B.krb_port, FRAME_CALL, "\0\1x", 3, "this port is for hosts with Kerberos");
    says(B.krb_port, FRAME_TRANSFER, "x", 1, "this port is for hosts with Kerberos");
    says(B.krb_port, FRAME_PAIR_TRY, "x", 1, "this port is for hosts with Kerberos");
    says(B.krb_port, FRAME_LOGIN, "\0\1", 2, "LOGIN of 2 bytes");
    says(B.krb_port, FRAME_LOGIN, "\0\1nonsense", 10, "Kerberos");
    says(B.port, FRAME_LOGIN, "\0\1nonsense", 10, "this port is for hosts with certificates");
    assert_int_equal(host_get(&B, &B.calls), 0);
    /* a certificate that is paired opens the other port only */
    struct xport_peer paired = host_pair(&A, &B);
    ok(call(&A, &paired, err));
    paired.port = B.krb_port;
    refused(&A, &paired, VR_E_AUTH, "this port is for hosts with Kerberos");
    struct xport_peer b = by_kerberos(&B, "hostb.vmr.test");
    b.port = B.port;
    refused(&A, &b, VR_E_PROTO, "this port is for hosts with certificates");
}

/* One listener goes, the other's connections stay. */
static void test_listeners_are_separate(void **s)
{
    struct xport_peer b = by_kerberos(&B, "hostb.vmr.test"), paired = host_pair(&A, &B);
    ok(call(&A, &b, err));
    ok(call(&A, &paired, err));
    xport_unlisten(B.x, XPORT_KERBEROS);
    ok(call(&A, &paired, err));
    refused(&A, &b, VR_E_PEER, "");
    uint16_t port = 0;
    ok(xport_listen(B.x, XPORT_KERBEROS, "127.0.0.1", 0, &port, err));
    b.port = port;
    ok(call(&A, &b, err));
    xport_unlisten(B.x, XPORT_CERT);
    ok(call(&A, &b, err));
    refused(&A, &paired, VR_E_PEER, "");
    struct xport_peer a = by_kerberos(&A, "hosta.vmr.test");
    ok(call(&B, &a, err));
    assert_int_equal(A.their_port, port);
}

/* Keys that are not there, come later, and controllers that do not answer. */
static void test_trouble_passes(void **s)
{
    static char later[160];
    snprintf(later, sizeof later, "%s/later.keytab", testkdc_dir);
    struct xport_peer b = by_kerberos(&B, "hostb.vmr.test");
    host_stop(&A);
    A.keytab = later;
    host_start(&A);
    char self[VR_NAME_MAX];
    fails(VR_E_NOFILE, xport_self(A.x, self, err));
    refused(&A, &b, VR_E_NOFILE, "there is no keytab");
    testkdc_shell("cp %s %s", keys_c, later);
    ok(xport_self(A.x, self, err));
    assert_string_equal(self, "hostc.vmr.test");
    testkdc_stop();
    refused(&A, &b, VR_E_PEER, "it is tried again");
    testkdc_again();
    refused(&A, &b, VR_E_AUTH, "no entry for hostc.vmr.test");
    testkdc_shell("cp %s %s", keys_a, later);
    ok(call(&A, &b, err));
}

static int set_up(void **s)
{
    testkdc_up(source);
    testkdc_become(NULL, "krb5.conf");
    const char *names[] = { "hosta", "hostb", "hostc" };
    char *files[] = { keys_a, keys_b, keys_c };
    for (size_t i = 0; i < VR_ARRAY_LEN(names); i++) {
        snprintf(files[i], sizeof keys_a, "%s/%s.keytab", testkdc_dir, names[i]);
        testkdc_shell("%s/tests/lab/kdc.sh service %s %s.vmr.test %s host", source, testkdc_dir,
                      names[i], files[i]);
    }
    return 0;
}

static int tear_down(void **s)
{
    testkdc_down();
    return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(int argc, char **argv)
{
    source = argc > 1 ? argv[1] : ".";
    if (testkdc_missing())
        return 77;
    const struct CMUnitTest tests[] = {
        T(test_calls_both_ways),        T(test_a_transfer),
        T(test_who_is_not_admitted),    T(test_another_host_answers),
        T(test_somebody_in_the_middle), T(test_each_port_has_its_way),
        T(test_listeners_are_separate), T(test_trouble_passes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
