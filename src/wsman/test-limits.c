/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a caller can ask for in one request or hold on to is limited, and long work gives others
 * their turn. Envelopes in, envelopes out; no HTTP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "wsman/fake.h"
#include "wsman/ns.h"
#include "wsman/wsm.h"
#include "wsman/wsm_int.h"

enum { MACHINES = 3000 };
#define SERVICE URI_WMI "root/virtualization/v2/Msvm_ReplicationService"

static struct cim_server *svc;
static int woken;

struct reply {
    int status;
    char *text;
};

static const char *caller = "tester";

static struct reply send_raw(struct wsm *w, const char *text, const void *token, int64_t since)
{
    const struct cim_caller who = { .name = caller, .role = CIM_ROLE_ADMIN };
    const struct wsm_request rq = { .body = text,
                                    .len = strlen(text),
                                    .caller = &who,
                                    .token = token,
                                    .arrived = { since },
                                    .now = { 1000 } };
    struct wsm_reply rep;
    wsm_process(w, &rq, &rep);
    struct reply r = { rep.status, vr_strdup(rep.body.data ? (char *)rep.body.data : "") };
    wsm_reply_done(&rep);
    return r;
}

static char *envelope(const char *action, const char *cls, const char *header, const char *body)
{
    return vr_printf("<s:Envelope xmlns:s='" NS_SOAP "' xmlns:a='" NS_ADDR "' xmlns:w='" NS_WSMAN
                     "' xmlns:n='" NS_ENUM "' xmlns:e='" NS_EVENTING "'><s:Header><a:Action>%s"
                     "</a:Action><a:MessageID>uuid:1</a:MessageID><w:ResourceURI>" URI_WMI
                     "root/virtualization/v2/%s</w:ResourceURI>%s</s:Header><s:Body>%s</s:Body>"
                     "</s:Envelope>",
                     action, cls, header, body);
}

/* Must be answered by @status, and the answer must say @says. Returns it; the caller frees. */
static char *expect(struct wsm *w, const char *text, int status, const char *says)
{
    struct reply r = send_raw(w, text, NULL, 0);
    if (r.status != status || !strstr(r.text, says))
        fail_msg("%d instead of %d, or no \"%s\" in: %.2000s", r.status, status, says, r.text);
    return r.text;
}

#define ALL "<n:Enumerate><w:OptimizeEnumeration/><w:MaxElements>1</w:MaxElements></n:Enumerate>"

static struct wsm *new_wsm(const struct wsm_limits *lim)
{
    struct wsm *w = wsm_new(svc, lim);
    wsm_fake_machines(MACHINES);
    return w;
}

/* ---- one request ---- */
static void test_what_is_too_much_is_refused(void **st)
{
    vr_auto(wsm_free) struct wsm *w = new_wsm(NULL);
    vr_autobuf struct vr_buf sel = VR_BUF_INIT, el = VR_BUF_INIT, q = VR_BUF_INIT,
                             ors = VR_BUF_INIT;
    vr_buf_printf(&sel, NULL, "<w:SelectorSet>");
    for (int i = 0; i < 5000; i++)
        vr_buf_printf(&sel, NULL, "<w:Selector Name='k%d'>v</w:Selector>", i);
    vr_buf_printf(&sel, NULL, "</w:SelectorSet>");
    for (int i = 0; i < 20000; i++)
        vr_buf_printf(&el, NULL, "<a/>");
    vr_buf_printf(&q, NULL,
                  "<n:Enumerate><w:Filter Dialect='" DIALECT_WQL "'>SELECT * FROM "
                  "Msvm_ComputerSystem WHERE ElementName='x'");
    vr_buf_printf(&ors, NULL, "%s", (char *)q.data);
    for (int i = 0; i < 1000; i++)
        vr_buf_printf(&ors, NULL, " OR Name='%d'", i);
    for (int i = 0; i < 40000; i++)
        vr_buf_printf(&q, NULL, " ");
    vr_buf_printf(&q, NULL, "OR Name='y'</w:Filter></n:Enumerate>");
    vr_buf_printf(&ors, NULL, "</w:Filter></n:Enumerate>");
    const struct {
        const char *action, *header, *body, *says;
    } t[] = {
        { ACT_GET, (char *)sel.data, "", "w:InvalidSelectors" },
        { ACT_GET, "", (char *)el.data, "w:QuotaLimit" },
        { ACT_ENUMERATE, "", (char *)q.data, "n:CannotProcessFilter" },
        { ACT_ENUMERATE, "", (char *)ors.data, "n:CannotProcessFilter" },
    };
    for (size_t i = 0; i < VR_ARRAY_LEN(t); i++) {
        vr_autofree char *text =
            envelope(t[i].action, "Msvm_ComputerSystem", t[i].header, t[i].body);
        free(expect(w, text, 400, t[i].says));
    }
    vr_autobuf struct vr_buf big = VR_BUF_INIT;
    for (int i = 0; i < 60000; i++)
        vr_buf_printf(&big, NULL, "<!-- x -->");
    vr_autofree char *text = envelope(ACT_GET, "*", "", (char *)big.data);
    free(expect(w, text, 400, "w:QuotaLimit"));
}

/* ---- long enumerations ---- */
static void test_others_have_their_turn(void **st)
{
    const struct wsm_limits lim = { .slice_ms = 1 };
    vr_auto(wsm_free) struct wsm *w = new_wsm(&lim);
    vr_autofree char *all = envelope(ACT_ENUMERATE, "Msvm_ComputerSystem",
                                     "<w:"
                                     "RequestTotalItemsCountEstimate/>",
                                     ALL);
    vr_autofree char *get = envelope(ACT_GET, "Msvm_ReplicationService", "", "");
    struct reply r = send_raw(w, all, "one", 0);
    size_t slices = 1;
    for (; !r.status; slices++) {
        assert_true(slices < 100000);
        free(expect(w, get, 200, "Msvm_ReplicationService"));
        free(r.text);
        r = send_raw(w, all, "one", 1000);
    }
    assert_true(slices > 1);
    assert_int_equal(r.status, 200);
    if (!strstr(r.text, "<w:TotalItemsCountEstimate>3000<"))
        fail_msg("%.1000s", r.text);
    free(r.text);
}

/* Whoever names less than all keys makes us look at everything; others do not wait for that. */
static void test_looking_for_one_gives_others_their_turn(void **st)
{
    const struct wsm_limits lim = { .slice_ms = 1, .invocations_each = 2 };
    vr_auto(wsm_free) struct wsm *w = new_wsm(&lim);
    static const char *const keys[][2] = { { "000000003000", "m2999" }, { "000000009999", NULL } };
    for (size_t i = 0; i < VR_ARRAY_LEN(keys); i++) {
        vr_autofree char *sel = vr_printf("<w:SelectorSet><w:Selector Name='Name'>00000000-0000-"
                                          "0000-0000-%s</w:Selector></w:SelectorSet>",
                                          keys[i][0]);
        vr_autofree char *slow = envelope(ACT_GET, "CIM_ManagedElement", sel, "");
        vr_autofree char *get = envelope(ACT_GET, "Msvm_ReplicationService", "", "");
        size_t slices = 1;
        struct reply r = send_raw(w, slow, "one", 0);
        for (; !r.status; slices++) {
            assert_true(slices < 100000);
            free(expect(w, get, 200, "Msvm_ReplicationService"));
            free(r.text);
            r = send_raw(w, slow, "one", 1000);
        }
        assert_true(slices > 1);
        assert_int_equal(r.status, keys[i][1] ? 200 : 400);
        if (keys[i][1] && !strstr(r.text, keys[i][1]))
            fail_msg("%.2000s", r.text);
        free(r.text);
        for (int k = 0; k < 3; k++) { /* and only so many of one caller are looked for */
            r = send_raw(w, slow, &keys[k % 2][k / 2], 0);
            assert_int_equal(r.status, k < 2 ? 0 : 400);
            free(r.text);
        }
        wsm_forget(w, &keys[0][0]);
        wsm_forget(w, &keys[1][0]);
    }
    vr_autofree char *any = envelope(ACT_GET, "Msvm_ComputerSystem", "", "");
    free(expect(w, any, 400, "fit several instances"));
}

/* What is parsed is kept for the next slice; another request with that token is read anew. */
static void test_a_request_is_parsed_once(void **st)
{
    const struct wsm_limits lim = { .slice_ms = 1 };
    vr_auto(wsm_free) struct wsm *w = new_wsm(&lim);
    vr_autofree char *all = envelope(ACT_ENUMERATE, "Msvm_ComputerSystem", "", ALL);
    struct reply r = send_raw(w, all, "one", 0);
    for (size_t slices = 1; !r.status && slices < 100000; slices++) {
        free(r.text);
        r = send_raw(w, "not read again", "one", 1000);
    }
    assert_int_equal(r.status, 200);
    free(r.text);
    r = send_raw(w, all, "one", 0);
    assert_int_equal(r.status, 0);
    free(r.text);
    r = send_raw(w, "read", "one", 0);
    assert_int_equal(r.status, 400);
    free(r.text);
}

static void test_a_caller_who_goes_away_leaves_nothing(void **st)
{
    const struct wsm_limits lim = { .slice_ms = 1, .contexts_each = 2 };
    vr_auto(wsm_free) struct wsm *w = new_wsm(&lim);
    vr_autofree char *all = envelope(ACT_ENUMERATE, "Msvm_ComputerSystem", "", ALL);
    static const char *const tokens[] = { "a", "b", "c", "d" };
    for (size_t round = 0; round < VR_ARRAY_LEN(tokens); round++) {
        struct reply r = send_raw(w, all, tokens[round], 0);
        assert_int_equal(r.status, 0);
        free(r.text);
        wsm_forget(w, tokens[round]);
    }
    for (int i = 0; i < 2; i++) { /* but those who stay are counted */
        struct reply r = send_raw(w, all, tokens[i], 0);
        assert_int_equal(r.status, 0);
        free(r.text);
    }
    struct reply r = send_raw(w, all, "e", 0);
    assert_int_equal(r.status, 400);
    assert_non_null(strstr(r.text, "w:QuotaLimit"));
    free(r.text);
}

/* The context in @reply; the caller frees. */
static char *context_of(const char *reply)
{
    const char *at = strstr(reply, "<n:EnumerationContext>");
    assert_non_null(at);
    at += strlen("<n:EnumerationContext>");
    return vr_strndup(at, strcspn(at, "<"));
}

/* @verb: Release or Pull. */
static char *to_context(const char *action, const char *verb, const char *id, const char *more)
{
    vr_autofree char *body = vr_printf(
        "<n:%s><n:EnumerationContext>%s</n:EnumerationContext>%s</n:%s>", verb, id, more, verb);
    return envelope(action, "Msvm_ComputerSystem", "", body);
}

static void test_what_is_held_in_all_is_limited(void **st)
{
    const struct wsm_limits lim = { .items = 2 * MACHINES + 10 };
    vr_auto(wsm_free) struct wsm *w = new_wsm(&lim);
    vr_autofree char *all = envelope(ACT_ENUMERATE, "Msvm_ComputerSystem", "", ALL);
    vr_autofree char *one = expect(w, all, 200, "EnumerationContext");
    caller = "b";
    free(expect(w, all, 200, "EnumerationContext"));
    caller = "c";
    free(expect(w, all, 400, "w:QuotaLimit"));
    caller = "tester";
    vr_autofree char *id = context_of(one);
    vr_autofree char *release = to_context(ACT_RELEASE, "Release", id, "");
    free(expect(w, release, 200, "Envelope"));
    caller = "c";
    free(expect(w, all, 200, "EnumerationContext"));
    caller = "tester";
}

/* Who releases much, or goes away, keeps nobody waiting until it is freed. */
static void test_a_large_enumeration_goes_little_by_little(void **st)
{
    const struct wsm_limits lim = { .slice_ms = 1 };
    vr_auto(wsm_free) struct wsm *w = new_wsm(&lim);
    vr_autofree char *all = envelope(ACT_ENUMERATE, "Msvm_ComputerSystem", "", ALL);
    vr_autofree char *one = expect(w, all, 200, "EnumerationContext");
    vr_autofree char *id = context_of(one);
    vr_autofree char *release = to_context(ACT_RELEASE, "Release", id, "");
    assert_null(w->ended);
    free(expect(w, release, 200, "Envelope"));
    assert_non_null(w->ended);
    free(expect(w, release, 500, "InvalidEnumerationContext"));
    while (w->ended)
        wsm_expire(w, vr_mono_now());
    free(expect(w, all, 200, "EnumerationContext"));
}

/* However much one caller opens, another one can look; what was pulled counts no longer. */
static void test_one_caller_leaves_room_for_others(void **st)
{
    const struct wsm_limits lim = { .items = 4 * 2 * MACHINES };
    vr_auto(wsm_free) struct wsm *w = new_wsm(&lim);
    vr_autofree char *all = envelope(ACT_ENUMERATE, "Msvm_ComputerSystem", "", ALL);
    vr_autofree char *one = expect(w, all, 200, "EnumerationContext");
    free(expect(w, all, 200, "EnumerationContext"));
    free(expect(w, all, 400, "w:QuotaLimit"));
    caller = "b";
    free(expect(w, all, 200, "EnumerationContext"));
    caller = "tester";
    vr_autofree char *id = context_of(one);
    vr_autofree char *pull =
        to_context(ACT_PULL, "Pull", id, "<n:MaxElements>100000</n:MaxElements>");
    for (int i = 0; i < 4; i++)
        free(expect(w, pull, 200, "PullResponse"));
    free(expect(w, all, 400, "w:QuotaLimit"));
    for (bool last = false; !last;) {
        vr_autofree char *got = expect(w, pull, 200, "PullResponse");
        last = strstr(got, "EndOfSequence");
    }
    free(expect(w, all, 200, "EnumerationContext"));
}

/* A call that goes on in slices is answered in the end, but only so many go on at a time. */
static void test_calls_that_go_on_are_limited(void **st)
{
    const struct wsm_limits lim = { .invocations = 3, .invocations_each = 2 };
    vr_auto(wsm_free) struct wsm *w = new_wsm(&lim);
    vr_autofree char *text =
        vr_printf("<s:Envelope xmlns:s='" NS_SOAP "' xmlns:a='" NS_ADDR "' xmlns:w='" NS_WSMAN
                  "'><s:Header><a:Action>%s/%s</a:Action><a:MessageID>uuid:1</a:MessageID>"
                  "<w:ResourceURI>%s</w:ResourceURI></s:Header><s:Body/></s:Envelope>",
                  SERVICE, "StartService", SERVICE);
    static const char *const tokens[] = { "a", "b", "c", "d", "e" };
    static const char *const names[] = { "x", "x", "x", "y", "y" };
    static const int status[] = { 0, 0, 400, 0, 400 };
    for (size_t i = 0; i < VR_ARRAY_LEN(tokens); i++) {
        caller = names[i];
        struct reply r = send_raw(w, text, tokens[i], 0);
        if (r.status != status[i] || (r.status && !strstr(r.text, "w:QuotaLimit")))
            fail_msg("%zu: %d %.1000s", i, r.status, r.text);
        free(r.text);
    }
    wsm_forget(w, "b");
    caller = "y";
    struct reply r = send_raw(w, text, "e", 0);
    assert_int_equal(r.status, 0);
    free(r.text);
    caller = "x";
    for (int i = 0; i < 1000 && !(r = send_raw(w, text, "a", 1000)).status; i++)
        free(r.text);
    assert_int_equal(r.status, 200);
    free(r.text);
    caller = "tester";
}

/* ---- subscriptions ---- */
static void on_wake(void *ctx, const void *token)
{
    woken++;
}

#define SUBSCRIBE                                                                                 \
    "<e:Subscribe><e:Delivery Mode='" MODE_PULL "'/><w:Filter Dialect='" DIALECT_WQL              \
    "'>SELECT * FROM CIM_InstModification WHERE SourceInstance ISA 'Msvm_ConcreteJob'</w:Filter>" \
    "</e:Subscribe>"

static char *pull_of(struct wsm *w)
{
    vr_autofree char *text = envelope(ACT_SUBSCRIBE, "*", "", SUBSCRIBE);
    vr_autofree char *reply = expect(w, text, 200, "<n:EnumerationContext>");
    char *at = strstr(reply, "<n:EnumerationContext>") + strlen("<n:EnumerationContext>");
    vr_autofree char *body = vr_printf("<n:Pull><n:EnumerationContext>%.*s</n:EnumerationContext>"
                                       "<n:MaxElements>100</n:MaxElements></n:Pull>",
                                       (int)strcspn(at, "<"), at);
    return envelope(ACT_PULL, "*", "", body);
}

/* An event that does not fit at all is told as lost, and at once. */
static void test_bytes_of_events_are_limited(void **st)
{
    const struct wsm_limits lim = { .event_bytes = 100 };
    vr_auto(wsm_free) struct wsm *w = new_wsm(&lim);
    vr_autofree char *pull = pull_of(w);
    wsm_on_wake(w, on_wake, NULL);
    woken = 0;
    struct reply r = send_raw(w, pull, "one", 0);
    assert_int_equal(r.status, 0);
    free(r.text);
    wsm_fake_job(svc, 4);
    wsm_fake_job(svc, 7);
    assert_true(woken > 0);
    r = send_raw(w, pull, "one", 1000);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.text, "DroppedEvents\">2<"));
    free(r.text);
    wsm_on_wake(w, NULL, NULL);
}

/* However much happens: what is kept stays within the limits, and the count of the rest is right.
 */
static void test_a_flood_of_events(void **st)
{
    const struct wsm_limits lim = { .events = 16, .event_bytes = 20000 };
    vr_auto(wsm_free) struct wsm *w = new_wsm(&lim);
    vr_autofree char *pull = pull_of(w);
    size_t told = 0, lost = 0;
    for (unsigned i = 0; i < 1000; i++)
        wsm_fake_job(svc, i % 2 ? 7 : 4);
    for (int i = 0; i < 20; i++) {
        struct reply r = send_raw(w, pull, NULL, 0);
        assert_true(strlen(r.text) < 40000);
        for (const char *p = r.text; (p = strstr(p, "</p:CIM_InstModification>")); p++)
            told++;
        const char *d = strstr(r.text, "DroppedEvents\">");
        lost += d ? strtoul(d + strlen("DroppedEvents\">"), NULL, 10) : 0;
        free(r.text);
    }
    assert_true(told > 0 && told <= 16);
    assert_int_equal(told + lost, 1000);
}

/* A Pull that cannot wait is told so. */
static void test_a_pull_that_cannot_wait(void **st)
{
    vr_auto(wsm_free) struct wsm *w = new_wsm(NULL);
    vr_autofree char *pull = pull_of(w);
    free(expect(w, pull, 500, "w:TimedOut"));
}

static int set_up(void **st)
{
    svc = wsm_fake_server();
    wsm_fake_job(svc, 7);
    return 0;
}

static int tear_down(void **st)
{
    cim_server_free(svc);
    return 0;
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_what_is_too_much_is_refused),
        T(test_others_have_their_turn),
        T(test_looking_for_one_gives_others_their_turn),
        T(test_a_request_is_parsed_once),
        T(test_a_caller_who_goes_away_leaves_nothing),
        T(test_what_is_held_in_all_is_limited),
        T(test_a_large_enumeration_goes_little_by_little),
        T(test_one_caller_leaves_room_for_others),
        T(test_calls_that_go_on_are_limited),
        T(test_bytes_of_events_are_limited),
        T(test_a_flood_of_events),
        T(test_a_pull_that_cannot_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
