/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two hosts of a realm prove to each other who they are, with a real domain controller: bound to
 * their connection, and nobody else. Needs krb5kdc. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/testing.h"
#include "gss/gss_host.h"
#include "gss/testkdc.h"

static const char *source;
static const uint8_t here[] = "bytes of this connection", there[] = "bytes of that connection";

/* The configuration of a host whose keys are in @file. */
static struct vr_gss_conf conf(const char *file, char path[128])
{
    snprintf(path, 128, "%s/%s", testkdc_dir, file);
    return (struct vr_gss_conf){ .keytab = path, .service = "host", .host_name = "hosta" };
}

/* @from (file of keys) calls @to, which has the keys of @at; tokens are made for @sent and taken
 * for @got. */
static int login(const char *from, const char *to, const char *at, const uint8_t *sent,
                 const uint8_t *got, char who[VR_GSS_PRINCIPAL_MAX], struct vr_err *err)
{
    char p1[128], p2[128];
    struct vr_gss_conf a = conf(from, p1), b = conf(at, p2);
    vr_auto(vr_gss_free) struct vr_gss *i = vr_gss_new();
    vr_auto(vr_gss_free) struct vr_gss *r = vr_gss_new();
    vr_autobuf struct vr_buf token = VR_BUF_INIT, back = VR_BUF_INIT;
    if (vr_gss_host_begin(i, &a, to, sent, sizeof here, &token, err) < 0 ||
        vr_gss_host_accept(r, &b, got, sizeof here, token.data, token.len, &back, err) < 0)
        return -1;
    if (who)
        snprintf(who, VR_GSS_PRINCIPAL_MAX, "%s", vr_gss_host_name(r));
    return vr_gss_host_end(i, &a, sent, sizeof here, back.data, back.len, err);
}

static void refused(enum vr_kind kind, const char *words, const char *from, const char *to,
                    const char *at)
{
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(login(from, to, at, here, here, NULL, &e), -1);
    if (e.kind != kind || !strstr(e.msg, words))
        fail_msg("%s (%s), expected: %s", e.msg, vr_kind_name(e.kind), words);
}

static void test_both_are_known(void **s)
{
    char who[VR_GSS_PRINCIPAL_MAX];
    ok(login("a.keytab", "hostb.vmr.test", "b.keytab", here, here, who, err));
    assert_string_equal(who, "hosta.vmr.test");
    ok(login("b.keytab", "HostA.vmr.test", "a.keytab", here, here, who, err));
    assert_string_equal(who, "hostb.vmr.test");
}

static void test_bound_to_the_connection(void **s)
{
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(login("a.keytab", "hostb.vmr.test", "b.keytab", there, here, NULL, &e), -1);
    assert_int_equal(e.kind, VR_E_AUTH);
    assert_non_null(strstr(e.msg, "between the hosts"));
}

/* A token of a program that binds to nothing: MIT's library would accept it. */
static int accept_python(const char *options, struct vr_err *err)
{
    char path[128], token[8192];
    struct vr_gss_conf b = conf("b.keytab", path);
    vr_auto(vr_gss_free) struct vr_gss *r = vr_gss_new();
    vr_autobuf struct vr_buf back = VR_BUF_INIT;
    testkdc_shell(
        "cd %s && KRB5_CLIENT_KTNAME=FILE:$PWD/a.keytab KRB5CCNAME=FILE:$PWD/py.cc "
        "/usr/bin/python3 -c 'import gssapi\n"
        "from gssapi.raw import ChannelBindings\n"
        "n = gssapi.Name(\"host/hostb.vmr.test@VMR.TEST\", gssapi.NameType.kerberos_principal)\n"
        "m = gssapi.RequirementFlag.mutual_authentication\n"
        "b = ChannelBindings(application_data=b\"bytes of this connection\\0\")\n"
        "c = gssapi.SecurityContext(name=n, usage=\"initiate\", %s)\n"
        "open(\"token\", \"wb\").write(c.step())'",
        testkdc_dir, options);
    snprintf(path, sizeof path, "%s/token", testkdc_dir);
    vr_autofclose FILE *f = fopen(path, "re");
    assert_non_null(f);
    size_t n = fread(token, 1, sizeof token, f);
    snprintf(path, sizeof path, "%s/b.keytab", testkdc_dir);
    return vr_gss_host_accept(r, &b, here, sizeof here, token, n, &back, err);
}

static void test_a_token_without_binding_or_mutual_authentication(void **s)
{
    struct vr_err e = VR_ERR_INIT;
    ok(accept_python("flags=[m], channel_bindings=b", err));
    assert_int_equal(accept_python("flags=[m]", &e), -1);
    assert_non_null(strstr(e.msg, "not made for this connection"));
    vr_err_clear(&e);
    assert_int_equal(
        accept_python("flags=[gssapi.RequirementFlag.integrity], channel_bindings=b", &e), -1);
    assert_non_null(strstr(e.msg, "does not ask who this host is"));
}

static void test_who_is_refused(void **s)
{
    /* the keys of another host, of a service that is none, of a realm that nobody trusts */
    refused(VR_E_AUTH, "c.keytab of host hosta: it has no such key", "a.keytab", "hostb.vmr.test",
            "c.keytab");
    refused(VR_E_INVAL, "has no key of host/FULL.NAME", "http.keytab", "hostb.vmr.test",
            "b.keytab");
    refused(VR_E_AUTH, "of another realm", "other.keytab", "hostb.vmr.test", "b.keytab");
    refused(VR_E_AUTH, "name the host exactly as Kerberos does", "a.keytab", "hostb", "b.keytab");
    refused(VR_E_NOFILE, "there is no keytab", "none.keytab", "hostb.vmr.test", "b.keytab");
    refused(VR_E_NOFILE, "there is no keytab", "a.keytab", "hostb.vmr.test", "none.keytab");
    testkdc_shell("echo nonsense >%s/bad.keytab", testkdc_dir);
    refused(VR_E_AUTH, "bad.keytab of host", "bad.keytab", "hostb.vmr.test", "b.keytab");
}

/* A person of the realm is no host, however good the ticket is. */
static void test_a_user_is_no_host(void **s)
{
    char path[128];
    struct vr_gss_conf c = conf("alice.keytab", path);
    struct vr_err e = VR_ERR_INIT;
    struct vr_gss_self self;
    assert_int_equal(vr_gss_self(&c, &self, &e), -1);
    testkdc_shell("cd %s && cp a.keytab a.save && cp alice.keytab a.keytab", testkdc_dir);
    vr_err_clear(&e);
    assert_int_equal(accept_python("flags=[m], channel_bindings=b, "
                                   "creds=gssapi.Credentials(usage=\"initiate\", "
                                   "name=gssapi.Name(\"alice@VMR.TEST\"), "
                                   "store={\"client_keytab\": \"FILE:alice.keytab\", "
                                   "\"ccache\": \"MEMORY:alice\"})",
                                   &e),
                     -1);
    testkdc_shell("cd %s && mv a.save a.keytab", testkdc_dir);
    assert_non_null(strstr(e.msg, "alice@VMR.TEST is no host"));
}

static void test_whose_keytab_it_is(void **s)
{
    char path[128];
    struct vr_gss_conf c = conf("two.keytab", path);
    struct vr_gss_self self;
    struct vr_err e = VR_ERR_INIT;
    testkdc_shell("cd %s && cat a.keytab >two.keytab && tail -c +3 b.keytab >>two.keytab",
                  testkdc_dir);
    ok(vr_gss_self(&c, &self, err));
    assert_string_equal(self.host, "hosta.vmr.test");
    assert_string_equal(self.realm, "VMR.TEST");
    c.host_name = "hostb.vmr.test";
    ok(vr_gss_self(&c, &self, err));
    assert_string_equal(self.principal, "host/hostb.vmr.test@VMR.TEST");
    c.host_name = "third";
    assert_int_equal(vr_gss_self(&c, &self, &e), -1);
    assert_int_equal(e.kind, VR_E_INVAL);
    assert_non_null(strstr(e.msg, "which one is this host?"));
}

/* A key that was renewed at the controller only, then in the keytab, too. */
static void test_keys_are_renewed(void **s)
{
    char who[VR_GSS_PRINCIPAL_MAX];
    testkdc_shell("cd %s && K=%s/tests/lab/kdc.sh && $K service . hostd.vmr.test d.keytab host && "
                  "cp d.keytab d.old && $K service . hostd.vmr.test d.keytab host",
                  testkdc_dir, source);
    refused(VR_E_AUTH, "d.old of host hosta: its key is not", "d.old", "hostb.vmr.test",
            "b.keytab");
    refused(VR_E_AUTH, "d.old of host hosta", "a.keytab", "hostd.vmr.test", "d.old");
    ok(login("a.keytab", "hostd.vmr.test", "d.keytab", here, here, who, err));
    ok(login("d.keytab", "hostb.vmr.test", "b.keytab", here, here, who, err));
    assert_string_equal(who, "hostd.vmr.test");
}

static void test_no_controller(void **s)
{
    testkdc_shell("cd %s && %s/tests/lab/kdc.sh service . hoste.vmr.test e.keytab host",
                  testkdc_dir, source);
    testkdc_stop();
    refused(VR_E_PEER, "it is tried again", "e.keytab", "hostb.vmr.test", "b.keytab");
    testkdc_again();
    ok(login("e.keytab", "hostb.vmr.test", "b.keytab", here, here, NULL, err));
}

static int set_up(void **s)
{
    testkdc_up(source);
    testkdc_shell(
        "cd %s && K=%s/tests/lab/kdc.sh && $K service . hosta.vmr.test a.keytab host && "
        "$K service . hostb.vmr.test b.keytab host && "
        "$K service . hostc.vmr.test c.keytab host && "
        "$K service . hosta.vmr.test http.keytab HTTP && "
        "$K service-other . hosta.vmr.test other.keytab host && $K user . alice && "
        "export KRB5_KDC_PROFILE=$PWD/kdc.conf KRB5_CONFIG=$PWD/krb5.conf && "
        "PATH=$PATH:/usr/sbin kadmin.local -r VMR.TEST ktadd -k alice.keytab alice >/dev/null",
        testkdc_dir, source);
    testkdc_become(NULL, "krb5.conf");
    return 0;
}

static int tear_down(void **s)
{
    testkdc_down();
    return 0;
}

int main(int argc, char **argv)
{
    source = argc > 1 ? argv[1] : ".";
    if (testkdc_missing())
        return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_are_known),
        cmocka_unit_test(test_bound_to_the_connection),
        cmocka_unit_test(test_a_token_without_binding_or_mutual_authentication),
        cmocka_unit_test(test_who_is_refused),
        cmocka_unit_test(test_a_user_is_no_host),
        cmocka_unit_test(test_whose_keytab_it_is),
        cmocka_unit_test(test_keys_are_renewed),
        cmocka_unit_test(test_no_controller),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
