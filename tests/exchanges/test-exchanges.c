/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Recorded exchanges over WS-Management with the real providers and the real engine on a fake host:
 * of every class that is served one Enumerate (objects and references) and one Get of its first
 * instance, of each of its methods at least one Invoke, and Puts. methods.def says with what; a
 * method without a row is called without arguments. golden/CLASS.txt holds what is expected,
 * requests included; a class or a method that is not in there fails the test. test-exchanges
 * GOLDEN_FOLDER [--update] | --schemas
 * --schemas prints the definition of every class as it goes over the wire, by Get and by Enumerate,
 * for check_wire_schema.py. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/xmlw.h"
#include "canonical.h"
#include "cim/providers/testways.h"
#include "wsman/wsm.h"

#define WMI "http://schemas.microsoft.com/wbem/wsman/1/wmi/"
#define GET "http://schemas.xmlsoap.org/ws/2004/09/transfer/Get"
#define PUT "http://schemas.xmlsoap.org/ws/2004/09/transfer/Put"
#define ENUMERATE "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Enumerate"
#define PULL "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Pull"
#define ANONYMOUS "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous"
enum { FILE_MAX = 4 << 20, ARGS_MAX = 8 };

static const char *folder;
static bool update;
static bool of_host; /* the class tells of the computer on which the test runs */

static void make_bound(struct world *w);
static void make_replica_with_orphan(struct world *w);
static void make_waiting_to_reverse(struct world *w);
static void make_superseded(struct world *w);
static void make_left_over(struct world *w);

/* clang-format off */
static const struct exchange {
    const char *cls, *method;
    void (*situation)(struct world *w);
    const char *target;
    struct arg args[ARGS_MAX];
} rows[] = {
#include "methods.def"
};
/* clang-format on */

/* ---- envelopes ---- */
static void escape(struct vr_buf *b, const char *text)
{
    for (; *text; text++)
        switch (*text) {
        case '<':
            vr_buf_printf(b, NULL, "&lt;");
            break;
        case '>':
            vr_buf_printf(b, NULL, "&gt;");
            break;
        case '&':
            vr_buf_printf(b, NULL, "&amp;");
            break;
        case '"':
            vr_buf_printf(b, NULL, "&quot;");
            break;
        default:
            vr_buf_add(b, text, 1, NULL);
        }
}

static void selectors(struct vr_buf *b, const struct cim_path *p);

/* What is in an endpoint reference. */
static void reference(struct vr_buf *b, const struct cim_path *p)
{
    const struct cim_class *c = cim_path_class(p);

    vr_buf_printf(b, NULL,
                  "<a:Address>" ANONYMOUS "</a:Address><a:ReferenceParameters>"
                  "<w:ResourceURI>" WMI "%s/%s</w:ResourceURI>",
                  c ? c->ns : CIM_NS_VIRT, p->cls);
    selectors(b, p);
    vr_buf_printf(b, NULL, "</a:ReferenceParameters>");
}

static void selectors(struct vr_buf *b, const struct cim_path *p)
{
    if (!p->n_keys)
        return;
    vr_buf_printf(b, NULL, "<w:SelectorSet>");
    for (size_t i = 0; i < p->n_keys; i++) {
        vr_buf_printf(b, NULL, "<w:Selector Name=\"%s\">", p->keys[i].name);
        if (p->keys[i].ref) {
            vr_buf_printf(b, NULL, "<a:EndpointReference>");
            reference(b, p->keys[i].ref);
            vr_buf_printf(b, NULL, "</a:EndpointReference>");
        } else {
            escape(b, p->keys[i].text);
        }
        vr_buf_printf(b, NULL, "</w:Selector>");
    }
    vr_buf_printf(b, NULL, "</w:SelectorSet>");
}

static struct cim_path *path_of_text(const char *text)
{
    struct cim_path *p = NULL;
    struct vr_err err = VR_ERR_INIT;

    if (cim_path_parse(text, &p, &err) < 0)
        fail_msg("%s: %s", text, err.msg);
    return p;
}

static char *envelope(const char *uri, const char *action, const struct cim_path *target,
                      const char *options, const char *body)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;

    vr_buf_printf(&b, NULL,
                  "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" "
                  "xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" "
                  "xmlns:w=\"http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd\" "
                  "xmlns:n=\"http://schemas.xmlsoap.org/ws/2004/09/enumeration\">"
                  "<s:Header><a:To>https://hosta:5986/wsman</a:To>"
                  "<w:ResourceURI s:mustUnderstand=\"true\">%s</w:ResourceURI>"
                  "<a:ReplyTo><a:Address>" ANONYMOUS "</a:Address></a:ReplyTo>"
                  "<a:Action s:mustUnderstand=\"true\">%s</a:Action>"
                  "<a:MessageID>uuid:ABCDEFAB-0000-0000-0000-000000000001</a:MessageID>",
                  uri, action);
    if (target)
        selectors(&b, target);
    vr_buf_printf(&b, NULL, "%s</s:Header><s:Body>%s</s:Body></s:Envelope>", options, body);
    return vr_strdup((char *)b.data);
}

static char *ask(struct wsm *m, struct world *w, const char *request, int *ret_status)
{
    const struct wsm_request rq = { .body = request,
                                    .len = strlen(request),
                                    .user_agent = "test",
                                    .caller = &w->who,
                                    .now = { 1000 } };
    struct wsm_reply rep;

    wsm_process(m, &rq, &rep);
    char *text = vr_strdup(rep.body.data ? (const char *)rep.body.data : "");
    *ret_status = rep.status;
    wsm_reply_done(&rep);
    return text;
}

/* Returns the status of the reply. */
static int exchange(struct vr_buf *out, struct wsm *m, struct world *w, const char *title,
                    const char *request)
{
    int status = 0;
    vr_autofree char *reply = ask(m, w, request, &status);
    vr_autofree char *asked = canonical(request);
    vr_autofree char *said = canonical(reply);
    vr_autofree char *asked_less = of_host ? canonical_host(asked) : NULL;
    vr_autofree char *said_less = of_host ? canonical_host(said) : NULL;

    vr_buf_printf(out, NULL, "==== %s\n%s---- %d\n%s", title, of_host ? asked_less : asked, status,
                  of_host ? said_less : said);
    return status;
}

/* ---- looking ---- */
/* A host where every class has something to show: web is a replica bound to an entry, with a test
 * machine and a point that is open for reading; addresses and a test network are set; jobs have
 * run. */
static void rich(struct world *w)
{
    vr_autofree char *nic =
        arg_text(w, "+" NIC_AFTER "|ProtocolIFType=4096|DHCPEnabled=false|IPAddresses=192.0.2.7"
                    "|Subnets=255.255.255.0|DefaultGateways=192.0.2.1");

    make_any_server(w);
    make_tested(w);
    with_exports(w);
    done(w, CALL(w, STATUS_PATH(WEB), "ExportPoint"));
    done(w, SVC(w, WEB, "SetFailoverNetworkAdapterSettings", { "NetworkSettings", nic }));
    vr_autofree char *entry = arg_text(w, "+" ENTRY_OF("*", "DEFAULT", "/srv/any"));
    done(w, SVC(w, WEB, "SetAuthorizationEntry", { "AuthorizationEntry", entry }));
}

/* ---- more situations ---- */
static void make_bound(struct world *w)
{
    make_any_server(w);
    make_replica(w);
}

static void make_replica_with_orphan(struct world *w)
{
    make_replica(w);
    w->points[0].kind = VR_POINT_ORPHAN;
}

/* The other host does not answer. */
static void make_waiting_to_reverse(struct world *w)
{
    make_failed_over(w);
    vr_autofree char *set = arg_text(w, FRSD0 TO_HOSTB);
    w->fail[FX_BIT_PROBE] = VR_E_PEER;
    assert_int_equal(
        SVC(w, WEB, "ReverseReplicationRelationship", { "ReplicationSettingData", set }), 4096);
    pump(w);
}

/* The machine was failed over to the other host while this one was away. */
static void make_superseded(struct world *w)
{
    make_replicating(w);
    const struct rel *r = engine_find(w->engine, &w->vm[0].uuid);
    struct rel_event ev = { .type = EV_PEER_TOLD, .peer = "hostb" };

    ev.story = (struct rel_story){ .mode = REL_MODE_REPLICA,
                                   .failed_over = true,
                                   .of = r->lineage,
                                   .lineage = vr_uuid_new(),
                                   .point = r->acked };
    engine_event(w->engine, &w->vm[0].uuid, &ev);
    pump(w);
    assert_int_equal(state(w, WEB), 8);
}

/* Another operation is under way. */
/* Replication could not be ended: there was no room. */
static void make_left_over(struct world *w)
{
    make_replica(w);
    w->fail[FX_BIT_REMOVE] = VR_E_NOSPACE;
    assert_int_equal(SVC(w, WEB, "RemoveReplicationRelationship"), 4096);
    pump(w);
    assert_int_equal(state(w, WEB), 8);
}

static bool is_served(const struct world *w, const struct cim_class *c)
{
    return !c->is_abstract && cim_server_has(w->cim, c);
}

/* The first instance of exactly this class; NULL if there is none. */
static struct cim_path *first_of(struct world *w, const struct cim_class *c)
{
    struct cim_list l = CIM_LIST_INIT;
    struct cim_path *p = NULL;

    assert_int_equal(cim_enumerate(w->cim, &w->who, c, false, NULL, &l, NULL), CIM_S_OK);
    if (l.n)
        p = cim_inst_path(l.v[0]);
    cim_list_done(&l);
    return p;
}

static void look(struct vr_buf *out, const struct cim_class *c)
{
    struct world *w;
    void *st;

    world_new(&st);
    w = st;
    rich(w);
    vr_auto(wsm_free) struct wsm *m = wsm_new(w->cim, NULL);
    vr_autofree char *uri = vr_printf(WMI "%s/%s", c->ns, c->name);
    vr_autofree char *all = envelope(uri, ENUMERATE, NULL, "",
                                     "<n:Enumerate><w:OptimizeEnumeration/>"
                                     "<w:EnumerationMode>EnumerateObjectAndEPR</w:EnumerationMode>"
                                     "<w:MaxElements>1000</w:MaxElements></n:Enumerate>");
    canonical_begin();
    of_host = !cim_ns_equal(c->ns, CIM_NS_VIRT) && !cim_ns_equal(c->ns, CIM_NS_OURS);
    if (!of_host) /* who knows how many processors there are */
        assert_int_equal(exchange(out, m, w, "Enumerate", all), 200);
    vr_auto(cim_path_free) struct cim_path *p = first_of(w, c);
    if (p) {
        vr_autofree char *one = envelope(uri, GET, p, "", "");
        assert_int_equal(exchange(out, m, w, "Get", one), 200);
    }
    world_free(&st);
}

/* ---- calling ---- */
static void put_arg(struct vr_buf *b, const struct cim_method *m, const char *name,
                    const char *text)
{
    int i = cim_method_param(m, name);

    if (i < 0)
        fail_msg("%s has no parameter %s", m->name, name);
    vr_buf_printf(b, NULL, "<p:%s>", name);
    if (m->params[i].type == CIM_REFERENCE) {
        vr_auto(cim_path_free) struct cim_path *p = path_of_text(text);
        reference(b, p);
    } else {
        escape(b, text);
    }
    vr_buf_printf(b, NULL, "</p:%s>", name);
}

static void invoke(struct vr_buf *out, const struct cim_class *c, const struct cim_method *m,
                   const struct exchange *row)
{
    vr_autobuf struct vr_buf body = VR_BUF_INIT;
    struct world *w;
    void *st;

    world_new(&st);
    w = st;
    if (row)
        with_tests(w);
    (row ? row->situation : rich)(w);
    vr_auto(wsm_free) struct wsm *wsm = wsm_new(w->cim, NULL);
    vr_autofree char *uri = vr_printf(WMI "%s/%s", c->ns, c->name);
    vr_autofree char *action = vr_printf("%s/%s", uri, m->name);
    vr_autofree char *target = row && row->target ? arg_text(w, row->target) : NULL;
    vr_auto(cim_path_free) struct cim_path *p = target ? path_of_text(target) : first_of(w, c);
    vr_buf_printf(&body, NULL, "<p:%s_INPUT xmlns:p=\"%s\">", m->name, uri);
    for (size_t i = 0; row && i < ARGS_MAX && row->args[i].name; i++) {
        vr_autofree char *text = arg_text(w, row->args[i].text);
        put_arg(&body, m, row->args[i].name, text);
    }
    vr_buf_printf(&body, NULL, "</p:%s_INPUT>", m->name);
    vr_autofree char *request = envelope(uri, action, p, "", (char *)body.data);
    canonical_begin();
    size_t before = out->len;
    int status = exchange(out, wsm, w, m->name, request);
    /* what docs/conformance.md says of methods in none of its tables */
    if (status != 200 && !row)
        assert_non_null(strstr((char *)out->data + before, "a:ActionNotSupported"));
    world_free(&st);
}

/* A row of method "Put": its arguments are the properties that are sent. */
static void put(struct vr_buf *out, const struct cim_class *c, const struct exchange *row)
{
    vr_autobuf struct vr_buf body = VR_BUF_INIT;
    struct world *w;
    void *st;

    world_new(&st);
    w = st;
    row->situation(w);
    vr_auto(wsm_free) struct wsm *wsm = wsm_new(w->cim, NULL);
    vr_autofree char *uri = vr_printf(WMI "%s/%s", c->ns, c->name);
    vr_autofree char *target = arg_text(w, row->target);
    vr_auto(cim_path_free) struct cim_path *p = path_of_text(target);
    vr_buf_printf(&body, NULL, "<p:%s xmlns:p=\"%s\">", c->name, uri);
    for (size_t i = 0; i < ARGS_MAX && row->args[i].name; i++) {
        vr_buf_printf(&body, NULL, "<p:%s>", row->args[i].name);
        escape(&body, row->args[i].text);
        vr_buf_printf(&body, NULL, "</p:%s>", row->args[i].name);
    }
    vr_buf_printf(&body, NULL, "</p:%s>", c->name);
    vr_autofree char *request = envelope(uri, PUT, p, "", (char *)body.data);
    canonical_begin();
    exchange(out, wsm, w, "Put", request);
    world_free(&st);
}

static bool is_put(const struct exchange *row)
{
    return !strcmp(row->method, "Put");
}

static void invoke_all(struct vr_buf *out, const struct cim_class *c, const struct cim_method *m)
{
    size_t n = 0;

    for (size_t i = 0; i < VR_ARRAY_LEN(rows); i++)
        if (!strcmp(rows[i].cls, c->name) && !strcmp(rows[i].method, m->name)) {
            invoke(out, c, m, &rows[i]);
            n++;
        }
    if (!n)
        invoke(out, c, m, NULL);
}

/* ---- files ---- */
static char *read_file(const char *path)
{
    vr_autofclose FILE *f = fopen(path, "re");

    if (!f)
        return NULL;
    char *buf = vr_new0(1, FILE_MAX + 1);
    buf[fread(buf, 1, FILE_MAX, f)] = 0;
    return buf;
}

/* The line where two texts part, with the exchange that it is in. */
static void show_difference(const char *name, const char *want, const char *got)
{
    const char *title = "", *line = want;
    size_t i = 0, n = 0;

    while (want[i] && want[i] == got[i]) {
        if (want[i++] != '\n')
            continue;
        line = want + i;
        n++;
        if (!strncmp(line, "==== ", 5))
            title = line + 5;
    }
    const char *other = got + (line - want);
    fail_msg("%s, exchange %.*s, line %zu:\n  recorded: %.*s\n  now:      %.*s\n(--update writes "
             "the recorded ones anew)",
             name, (int)strcspn(title, "\n"), title, n + 1, (int)strcspn(line, "\n"), line,
             (int)strcspn(other, "\n"), other);
}

static void one_class(void **st)
{
    const struct cim_class *c = *st;
    vr_autobuf struct vr_buf out = VR_BUF_INIT;
    vr_autofree char *path = vr_printf("%s/%s.txt", folder, c->name);

    look(&out, c);
    for (size_t i = 0; i < c->n_methods; i++)
        invoke_all(&out, c, &c->methods[i]);
    for (size_t i = 0; i < VR_ARRAY_LEN(rows); i++)
        if (!strcmp(rows[i].cls, c->name) && is_put(&rows[i]))
            put(&out, c, &rows[i]);
    if (update) {
        vr_autofclose FILE *f = fopen(path, "we");
        assert_non_null(f);
        fputs((char *)out.data, f);
        return;
    }
    vr_autofree char *want = read_file(path);
    if (!want)
        fail_msg("class %s has no recorded exchanges: run with --update", c->name);
    if (strcmp(want, (char *)out.data) != 0)
        show_difference(c->name, want, (char *)out.data);
}

/* Rows and files that belong to nothing. */
static void nothing_is_left_over(void **st)
{
    void *ws;

    world_new(&ws);
    for (size_t i = 0; i < VR_ARRAY_LEN(rows); i++) {
        const struct cim_class *c = cim_class_find(rows[i].cls);
        if (!c || !is_served(ws, c) || (!is_put(&rows[i]) && !cim_class_method(c, rows[i].method)))
            fail_msg("methods.def: %s.%s is not served", rows[i].cls, rows[i].method);
    }
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        vr_autofree char *name = vr_strndup(e->d_name, strcspn(e->d_name, "."));
        const struct cim_class *c = cim_class_find(name);
        if (*name && (!c || !is_served(ws, c)))
            fail_msg("%s/%s: no such class is served", folder, e->d_name);
    }
    closedir(d);
    world_free(&ws);
}

/* ---- definitions over the wire ---- */
#define SCHEMA "http://schemas.dmtf.org/wbem/cim-xml/2/cim-schema/2/*"
#define SCHEMA_OPTIONS                                                            \
    "<w:OptionSet><w:Option Name=\"IncludeInheritanceHierarchy\">true</w:Option>" \
    "<w:Option Name=\"IncludeInheritedElements\">true</w:Option>"                 \
    "<w:Option Name=\"IncludeQualifiers\">true</w:Option></w:OptionSet>"

/* One reply a line; dies of a fault. The caller frees. */
static char *print_reply(struct wsm *m, struct world *w, const char *action, const char *ns,
                         const char *cls, const char *body)
{
    vr_auto(cim_path_free) struct cim_path *p = cim_path_new(ns, "");
    int status = 0;

    if (cim_path_add(p, "__cimnamespace", ns, NULL) < 0 ||
        cim_path_add(p, "ClassName", cls, NULL) < 0)
        exit(1);
    vr_autofree char *request = envelope(SCHEMA, action, p, SCHEMA_OPTIONS, body);
    char *line = ask(m, w, request, &status);
    if (status != 200) {
        fprintf(stderr, "%s %s: %s\n", ns, cls, line);
        exit(1);
    }
    for (char *nl = line; (nl = strchr(nl, '\n')) != NULL;)
        *nl = ' ';
    puts(line);
    return line;
}

/* All of a namespace, in pages. */
static void print_namespace(struct wsm *m, struct world *w, const char *ns)
{
    static const char begin[] = "<n:EnumerationContext>";
    vr_autofree char *reply = print_reply(
        m, w, ENUMERATE, ns, "",
        "<n:Enumerate><w:OptimizeEnumeration/><w:MaxElements>32000</w:MaxElements></n:Enumerate>");

    for (const char *at; (at = strstr(reply, begin)) != NULL;) {
        at += strlen(begin);
        vr_autofree char *body =
            vr_printf("<n:Pull>%s%.*s</n:EnumerationContext><n:MaxElements>32000</n:MaxElements>"
                      "</n:Pull>",
                      begin, (int)strcspn(at, "<"), at);
        vr_freep(&reply);
        reply = print_reply(m, w, PULL, ns, "", body);
    }
}

static int print_schemas(void)
{
    static const char *const namespaces[] = { CIM_NS_VIRT, CIM_NS_OURS, CIM_NS_HOST };
    struct world *w;
    void *st;

    world_new(&st);
    w = st;
    vr_auto(wsm_free) struct wsm *m = wsm_new(w->cim, NULL);
    for (size_t i = 0; i < CIM_CLASS_COUNT; i++)
        free(print_reply(m, w, GET, cim_classes[i].ns, cim_classes[i].name, ""));
    for (size_t i = 0; i < VR_ARRAY_LEN(namespaces); i++)
        print_namespace(m, w, namespaces[i]);
    world_free(&st);
    return 0;
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[CIM_CLASS_COUNT + 1];
    size_t n = 0;
    void *st;

    setenv("TZ", "UTC", 1);
    if (argc == 2 && !strcmp(argv[1], "--schemas"))
        return print_schemas();
    if (argc < 2) {
        fputs("Usage: test-exchanges GOLDEN_FOLDER [--update] | --schemas\n", stderr);
        return 2;
    }
    folder = argv[1];
    update = argc > 2 && !strcmp(argv[2], "--update");
    world_new(&st);
    for (size_t i = 0; i < CIM_CLASS_COUNT; i++)
        if (is_served(st, &cim_classes[i]))
            tests[n++] = (struct CMUnitTest){ .name = cim_classes[i].name,
                                              .test_func = one_class,
                                              .initial_state = (void *)&cim_classes[i] };
    world_free(&st);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(nothing_is_left_over);
    return _cmocka_run_group_tests("exchanges", tests, n, NULL, NULL);
}
