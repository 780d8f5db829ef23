/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Unit tests of the XML reader and writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/alloc.h"
#include "base/xml.h"
#include "base/xmlw.h"

static struct vr_xml_doc *parse_ok(const char *text)
{
    struct vr_xml_doc *d = NULL;
    struct vr_err e = VR_ERR_INIT;
    if (vr_xml_parse(text, strlen(text), NULL, &d, &e))
        fail_msg("%s", e.msg);
    return d;
}

static void refuse(const void *data, size_t len, const struct vr_xml_limits *lim, enum vr_kind kind)
{
    struct vr_xml_doc *d = NULL;
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(vr_xml_parse(data, len, lim, &d, &e), -1);
    assert_int_equal(e.kind, kind);
    assert_null(d);
}

static void test_tree_namespaces_text_and_attributes(void **s)
{
    vr_auto(vr_xml_doc_free) struct vr_xml_doc *d = parse_ok(
        "<a:root xmlns:a='urn:a' xmlns='urn:d' a:n='1' n='2'>\n <b> x &amp; <![CDATA[<y>]]>"
        " </b><unknown/><b>second</b><a:B/></a:root>");
    const struct vr_xml *r = vr_xml_root(d);
    assert_true(vr_xml_is(r, "urn:a", "root"));
    assert_string_equal(vr_xml_attr(r, "urn:a", "n"), "1");
    assert_string_equal(vr_xml_attr(r, "", "n"), "2");
    assert_null(vr_xml_attr(r, "", "m"));
    const struct vr_xml *b = vr_xml_child(r, "urn:d", "b");
    assert_string_equal(b->text, " x & <y> ");
    assert_string_equal(b->trim, "x & <y>");
    b = vr_xml_again(b);
    assert_string_equal(b->trim, "second");
    assert_null(vr_xml_again(b));
    assert_non_null(vr_xml_child(r, "urn:a", "B"));
    assert_null(vr_xml_child(r, "urn:a", "b"));
    assert_non_null(vr_xml_child_ci(r, "UNKNOWN"));
    assert_ptr_equal(b->parent, r);
}

static void test_namespaces_are_short_and_attributes_in_them_few(void **s)
{
    (void)s;
    const struct vr_xml_limits few = { .elements = 4 };
    char uri[258];
    memset(uri, 'u', sizeof uri - 1);
    uri[sizeof uri - 1] = 0;
    vr_autofree char *longer = vr_printf("<r xmlns='%s'/>", uri);
    refuse(longer, strlen(longer), NULL, VR_E_LIMIT);
    uri[256] = 0;
    vr_autofree char *fits = vr_printf("<r xmlns='%s'/>", uri);
    vr_xml_doc_free(parse_ok(fits));
    static const char three[] = "<r xmlns:n='u:n' n:a='' n:b='' n:c='' a='' b=''/>";
    static const char four[] = "<r xmlns:n='u:n' n:a='' n:b='' n:c='' n:d=''/>";
    struct vr_xml_doc *d = NULL;
    assert_int_equal(vr_xml_parse(three, strlen(three), &few, &d, NULL), 0);
    vr_xml_doc_free(d);
    refuse(four, strlen(four), &few, VR_E_LIMIT);
}

static void test_encodings(void **s)
{
    /* a wrong name of the encoding does not matter, the mark does */
    vr_auto(vr_xml_doc_free) struct vr_xml_doc *d =
        parse_ok("<?xml version='1.0' encoding='utf-16'?><a>\xc3\xa9</a>");
    assert_string_equal(vr_xml_root(d)->text, "\xc3\xa9");
    const unsigned char le[] = { 0xff, 0xfe, '<', 0,   'a', 0,   '>', 0,   0xe9,
                                 0,    '<',  0,   '/', 0,   'a', 0,   '>', 0 };
    vr_auto(vr_xml_doc_free) struct vr_xml_doc *u = NULL;
    assert_int_equal(vr_xml_parse(le, sizeof le, NULL, &u, NULL), 0);
    assert_string_equal(vr_xml_root(u)->text, "\xc3\xa9");
    const unsigned char be[] = { 0xfe, 0xff, 0, '<', 0, 'a', 0, '/', 0, '>' };
    vr_auto(vr_xml_doc_free) struct vr_xml_doc *v = NULL;
    assert_int_equal(vr_xml_parse(be, sizeof be, NULL, &v, NULL), 0);
    refuse("<a>\xff</a>", 8, NULL, VR_E_PROTO);
    refuse("<a>\0</a>", 8, NULL, VR_E_PROTO);
}

static void test_refusals(void **s)
{
    static const char *const bad[] = {
        "",
        "   ",
        "<a>",
        "<a></b>",
        "<a/><b/>",
        "<p:a/>",
        "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>",
        "<!DOCTYPE a SYSTEM 'http://example.invalid/a.dtd'><a/>",
        "<a>&undefined;</a>",
    };
    for (size_t i = 0; i < VR_ARRAY_LEN(bad); i++)
        refuse(bad[i], strlen(bad[i]), NULL, VR_E_PROTO);
}

static void test_limits(void **s)
{
    const struct vr_xml_limits l = {
        .bytes = 100, .depth = 3, .elements = 5, .attrs = 2, .text = 4
    };
    static const char *const bad[] = {
        "<a><b><c><d/></c></b></a>", "<a><b/><b/><b/><b/><b/></a>",
        "<a x='1' y='2' z='3'/>",    "<a>12345</a>",
        "<a>123<b/>45</a>",
    };
    for (size_t i = 0; i < VR_ARRAY_LEN(bad); i++)
        refuse(bad[i], strlen(bad[i]), &l, VR_E_LIMIT);
    const char *good = "<a x='1' y='2'>1234<b><c/></b><b/><b/></a>";
    struct vr_xml_doc *d = NULL;
    assert_int_equal(vr_xml_parse(good, strlen(good), &l, &d, NULL), 0);
    vr_xml_doc_free(d);
    char big[128];
    memset(big, ' ', sizeof big);
    memcpy(big, "<a/>", 4);
    refuse(big, sizeof big, &l, VR_E_LIMIT);
    vr_autofree char *uri = vr_new0(1, 3000);
    memset(uri, 'u', 2000);
    vr_autofree char *text = vr_printf("<a xmlns='%s'/>", uri);
    refuse(text, strlen(text), NULL, VR_E_LIMIT);
}

static void test_writer_escapes_and_nests(void **s)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct vr_xmlw w;
    vr_xmlw_init(&w, &b);
    vr_xmlw_start2(&w, "p", "Do", "_INPUT");
    vr_xmlw_ns(&w, "p", "urn:p");
    vr_xmlw_attr(&w, "q", "a\"<\n");
    vr_xmlw_elem(&w, "p", "Empty", "");
    vr_xmlw_elem(&w, "p", "T", "a<b>&\x01\xff\r\xc3\xa9\xed\xa0\x80");
    vr_xmlw_raw(&w, "<r/>", 4);
    vr_xmlw_end(&w);
    assert_int_equal(vr_xmlw_finish(&w, NULL), 0);
    assert_string_equal((char *)b.data,
                        "<p:Do_INPUT xmlns:p=\"urn:p\" q=\"a&quot;&lt;&#10;\"><p:Empty/>"
                        "<p:T>a&lt;b&gt;&amp;\xef\xbf\xbd\xef\xbf\xbd&#13;\xc3\xa9"
                        "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd</p:T><r/></p:Do_INPUT>");
    vr_auto(vr_xml_doc_free) struct vr_xml_doc *d = parse_ok((char *)b.data);
    assert_string_equal(vr_xml_attr(vr_xml_root(d), "", "q"), "a\"<\n");
}

static void test_writer_errors_stick(void **s)
{
    vr_autobuf struct vr_buf b = { .max = 16 };
    struct vr_xmlw w;
    struct vr_err e = VR_ERR_INIT;
    vr_xmlw_init(&w, &b);
    vr_xmlw_elem(&w, NULL, "element", "more than sixteen bytes");
    vr_xmlw_elem(&w, NULL, "x", NULL);
    assert_int_equal(vr_xmlw_finish(&w, &e), -1);
    assert_int_equal(e.kind, VR_E_LIMIT);
    vr_autobuf struct vr_buf c = VR_BUF_INIT;
    vr_xmlw_init(&w, &c);
    vr_xmlw_start(&w, NULL, "open");
    assert_int_equal(vr_xmlw_finish(&w, NULL), -1);
}

static void test_tree_is_written_back_the_same(void **s)
{
    vr_auto(vr_xml_doc_free) struct vr_xml_doc *d = parse_ok(
        "<p:a xmlns:p='urn:1' xmlns:q='urn:2' q:t='v' xml:space='preserve'><q:b>t&lt;</q:b>"
        "<c/><p:d> </p:d></p:a>");
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct vr_xmlw w;
    vr_xmlw_init(&w, &b);
    vr_xmlw_tree(&w, vr_xml_root(d));
    assert_int_equal(vr_xmlw_finish(&w, NULL), 0);
    vr_auto(vr_xml_doc_free) struct vr_xml_doc *e = parse_ok((char *)b.data);
    const struct vr_xml *r = vr_xml_root(e);
    assert_true(vr_xml_is(r, "urn:1", "a"));
    assert_string_equal(vr_xml_attr(r, "urn:2", "t"), "v");
    assert_string_equal(vr_xml_child_trim(r, "urn:2", "b"), "t<");
    assert_non_null(vr_xml_child(r, "", "c"));
    assert_string_equal(vr_xml_child(r, "urn:1", "d")->text, " ");
}

/* Long URIs that differ in one place only are told apart, and only so many are taken. */
static void test_many_namespaces(void **s)
{
    (void)s;
    char pad[120];
    memset(pad, 'u', sizeof pad - 1);
    pad[sizeof pad - 1] = 0;
    for (int n = 64; n <= 65; n++) {
        vr_autobuf struct vr_buf b = VR_BUF_INIT;
        vr_auto(vr_xml_doc_free) struct vr_xml_doc *doc = NULL;
        struct vr_err err = VR_ERR_INIT;
        vr_buf_printf(&b, NULL, "<r");
        for (int i = 0; i < n; i++)
            vr_buf_printf(&b, NULL, " xmlns:n%d='%s%02d%s'", i, pad, i, pad);
        vr_buf_printf(&b, NULL, ">");
        for (int i = 0; i < n; i++)
            vr_buf_printf(&b, NULL, "<n%d:e/>", i);
        vr_buf_printf(&b, NULL, "</r>");
        int rc = vr_xml_parse(b.data, b.len, NULL, &doc, &err);
        assert_int_equal(rc, n == 64 ? 0 : -1);
        if (rc < 0) {
            assert_int_equal(err.kind, VR_E_LIMIT);
            continue;
        }
        int i = 0;
        for (const struct vr_xml *e = vr_xml_root(doc)->first; e; e = e->next, i++)
            assert_int_equal(strtol(e->ns + strlen(pad), NULL, 10), i);
        assert_int_equal(i, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree_namespaces_text_and_attributes),
        cmocka_unit_test(test_many_namespaces),
        cmocka_unit_test(test_namespaces_are_short_and_attributes_in_them_few),
        cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_writer_escapes_and_nests),
        cmocka_unit_test(test_writer_errors_stick),
        cmocka_unit_test(test_tree_is_written_back_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
