/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Recorded exchanges over WS-Management with the real providers and the real engine on a fake host:
 * of every class that is served one Enumerate (objects and references) and one Get of its first
 * instance, more Enumerates in the situations of looks.def, of each of its methods at least one
 * Invoke with the job that it starts, and Puts. methods.def says with what; a method without a row
 * is called without arguments. golden/CLASS.txt holds what is expected, requests included; a class
 * or a method that is not in there fails the test. What is asked of no single class is in files of
 * its own (walks.h). test-exchanges GOLDEN_FOLDER [--update] | --schemas
 * --schemas prints the definition of every class as it goes over the wire, by Get and by Enumerate,
 * for check_wire_schema.py. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "situations.h"
#include "walks.h"
#include "wire.h"

enum { FILE_MAX = 4 << 20, ARGS_MAX = 8 };

static const char *folder;
static bool update;

/* clang-format off */
static const struct exchange {
    const char *cls, *method;
    void (*situation)(struct world *w);
    const char *target;
    struct arg args[ARGS_MAX];
} rows[] = {
#include "methods.def"
};
static const struct look {
    const char *cls, *title;
    void (*situation)(struct world *w);
} looks[] = {
#include "looks.def"
};
/* clang-format on */

/* ---- looking ---- */
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

static char *uri_of(const struct cim_class *c)
{
    return vr_printf(WMI "%s/%s", c->ns, c->name);
}

/* Who knows how many processors there are. */
static bool is_of_host(const struct cim_class *c)
{
    return !cim_ns_equal(c->ns, CIM_NS_VIRT) && !cim_ns_equal(c->ns, CIM_NS_OURS);
}

static void look(struct vr_buf *out, const struct cim_class *c)
{
    vr_autofree char *uri = uri_of(c);
    vr_autofree char *all =
        wire_envelope(uri, ENUMERATE, NULL, "",
                      "<n:Enumerate><w:OptimizeEnumeration/>"
                      "<w:EnumerationMode>EnumerateObjectAndEPR</w:EnumerationMode>"
                      "<w:MaxElements>1000</w:MaxElements></n:Enumerate>");
    struct wire x;

    wire_begin(&x, out, make_rich);
    x.of_host = is_of_host(c);
    if (!x.of_host)
        assert_int_equal(wire_exchange(&x, "Enumerate", all, NULL), 200);
    vr_auto(cim_path_free) struct cim_path *p = first_of(x.w, c);
    if (p) {
        vr_autofree char *one = wire_envelope(uri, GET, p, "", "");
        assert_int_equal(wire_exchange(&x, "Get", one, NULL), 200);
    }
    wire_end(&x);
}

/* The same class elsewhere. */
static void look_again(struct vr_buf *out, const struct cim_class *c, const struct look *row)
{
    vr_autofree char *uri = uri_of(c);
    vr_autofree char *all =
        wire_envelope(uri, ENUMERATE, NULL, "",
                      "<n:Enumerate><w:OptimizeEnumeration/><w:MaxElements>1000</w:MaxElements>"
                      "</n:Enumerate>");
    vr_autofree char *title = vr_printf("Enumerate: %s", row->title);
    vr_autofree char *reply = NULL;
    struct wire x;

    wire_begin(&x, out, row->situation);
    assert_int_equal(wire_exchange(&x, title, all, &reply), 200);
    if (!strstr(reply, "<w:Item>") && !strstr(reply, "<w:Items><p:"))
        fail_msg("%s: %s: there is no instance", c->name, row->title);
    wire_end(&x);
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
        vr_auto(cim_path_free) struct cim_path *p = wire_path(text);
        wire_reference(b, p);
    } else {
        wire_escape(b, text);
    }
    vr_buf_printf(b, NULL, "</p:%s>", name);
}

/* The job that a reply names; NULL if it names none. The caller frees. */
static struct cim_path *job_in(const char *reply)
{
    static const char key[] = "<w:Selector Name=\"InstanceID\">";
    const char *job = strstr(reply, "<p:Job>"), *id = job ? strstr(job, key) : NULL;

    if (!id)
        return NULL;
    id += strlen(key);
    vr_autofree char *text = vr_strndup(id, strcspn(id, "<"));
    return cim_path_of(CIM_C_MSVM_CONCRETEJOB, text);
}

/* The job that was started, now and, if it is not over, when nothing more happens by itself. */
static void follow(struct wire *x, const char *reply)
{
    static const char running[] = "<p:JobState>4</p:JobState>";
    vr_auto(cim_path_free) struct cim_path *p = job_in(reply);
    int status;

    if (!p)
        return;
    vr_autofree char *get = wire_envelope(WMI CIM_NS_VIRT "/Msvm_ConcreteJob", GET, p, "", "");
    vr_autofree char *now = NULL;
    assert_int_equal(wire_exchange(x, "Get of its job", get, &now), 200);
    if (!strstr(now, running))
        return;
    pump(x->w);
    vr_autofree char *later = wire_ask(x, get, &status);
    if (!strstr(later, running))
        assert_int_equal(wire_exchange(x, "Get of its job, later", get, NULL), 200);
}

static void invoke(struct vr_buf *out, const struct cim_class *c, const struct cim_method *m,
                   const struct exchange *row)
{
    vr_autobuf struct vr_buf body = VR_BUF_INIT;
    struct wire x;

    wire_begin(&x, out, row ? row->situation : make_rich);
    if (row)
        with_tests(x.w);
    x.of_host = is_of_host(c);
    vr_autofree char *uri = uri_of(c);
    vr_autofree char *action = vr_printf("%s/%s", uri, m->name);
    vr_autofree char *target = row && row->target ? arg_text(x.w, row->target) : NULL;
    vr_auto(cim_path_free) struct cim_path *p = target ? wire_path(target) : first_of(x.w, c);
    vr_buf_printf(&body, NULL, "<p:%s_INPUT xmlns:p=\"%s\">", m->name, uri);
    for (size_t i = 0; row && i < ARGS_MAX && row->args[i].name; i++) {
        vr_autofree char *text = arg_text(x.w, row->args[i].text);
        put_arg(&body, m, row->args[i].name, text);
    }
    vr_buf_printf(&body, NULL, "</p:%s_INPUT>", m->name);
    vr_autofree char *request = wire_envelope(uri, action, p, "", (char *)body.data);
    vr_autofree char *reply = NULL;
    int status = wire_exchange(&x, m->name, request, &reply);
    /* what docs/conformance.md says of methods in none of its tables */
    if (status != 200 && !row)
        assert_non_null(strstr(reply, "a:ActionNotSupported"));
    follow(&x, reply);
    wire_end(&x);
}

/* A row of method "Put": its arguments are the properties that are sent. */
static void put(struct vr_buf *out, const struct cim_class *c, const struct exchange *row)
{
    vr_autobuf struct vr_buf body = VR_BUF_INIT;
    struct wire x;

    wire_begin(&x, out, row->situation);
    vr_autofree char *uri = uri_of(c);
    vr_autofree char *target = arg_text(x.w, row->target);
    vr_auto(cim_path_free) struct cim_path *p = wire_path(target);
    vr_buf_printf(&body, NULL, "<p:%s xmlns:p=\"%s\">", c->name, uri);
    for (size_t i = 0; i < ARGS_MAX && row->args[i].name; i++) {
        vr_buf_printf(&body, NULL, "<p:%s>", row->args[i].name);
        wire_escape(&body, row->args[i].text);
        vr_buf_printf(&body, NULL, "</p:%s>", row->args[i].name);
    }
    vr_buf_printf(&body, NULL, "</p:%s>", c->name);
    vr_autofree char *request = wire_envelope(uri, PUT, p, "", (char *)body.data);
    wire_exchange(&x, "Put", request, NULL);
    wire_end(&x);
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

static void record(const char *name, const struct vr_buf *out)
{
    vr_autofree char *path = vr_printf("%s/%s.txt", folder, name);

    if (update) {
        vr_autofclose FILE *f = fopen(path, "we");
        assert_non_null(f);
        fputs((char *)out->data, f);
        return;
    }
    vr_autofree char *want = read_file(path);
    if (!want)
        fail_msg("%s has no recorded exchanges: run with --update", name);
    if (strcmp(want, (char *)out->data) != 0)
        show_difference(name, want, (char *)out->data);
}

static void one_class(void **st)
{
    const struct cim_class *c = *st;
    vr_autobuf struct vr_buf out = VR_BUF_INIT;

    look(&out, c);
    for (size_t i = 0; i < VR_ARRAY_LEN(looks); i++)
        if (!strcmp(looks[i].cls, c->name))
            look_again(&out, c, &looks[i]);
    for (size_t i = 0; i < c->n_methods; i++)
        invoke_all(&out, c, &c->methods[i]);
    for (size_t i = 0; i < VR_ARRAY_LEN(rows); i++)
        if (!strcmp(rows[i].cls, c->name) && is_put(&rows[i]))
            put(&out, c, &rows[i]);
    record(c->name, &out);
}

static void one_walk(void **st)
{
    const struct walk_file *f = *st;
    vr_autobuf struct vr_buf out = VR_BUF_INIT;

    f->tell(&out);
    record(f->name, &out);
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
    for (size_t i = 0; i < VR_ARRAY_LEN(looks); i++) {
        const struct cim_class *c = cim_class_find(looks[i].cls);
        if (!c || !is_served(ws, c))
            fail_msg("looks.def: %s is not served", looks[i].cls);
    }
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        vr_autofree char *name = vr_strndup(e->d_name, strcspn(e->d_name, "."));
        const struct cim_class *c = cim_class_find(name);
        bool is_walk = false;
        for (size_t i = 0; i < n_walk_files; i++)
            is_walk |= !strcmp(walk_files[i].name, name);
        if (*name && !is_walk && (!c || !is_served(ws, c)))
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
static char *print_reply(const struct wire *x, const char *action, const char *ns, const char *cls,
                         const char *body)
{
    vr_auto(cim_path_free) struct cim_path *p = cim_path_new(ns, "");
    int status = 0;

    if (cim_path_add(p, "__cimnamespace", ns, NULL) < 0 ||
        cim_path_add(p, "ClassName", cls, NULL) < 0)
        exit(1);
    vr_autofree char *request = wire_envelope(SCHEMA, action, p, SCHEMA_OPTIONS, body);
    char *line = wire_ask(x, request, &status);
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
static void print_namespace(const struct wire *x, const char *ns)
{
    static const char begin[] = "<n:EnumerationContext>";
    vr_autofree char *reply = print_reply(
        x, ENUMERATE, ns, "",
        "<n:Enumerate><w:OptimizeEnumeration/><w:MaxElements>32000</w:MaxElements></n:Enumerate>");

    for (const char *at; (at = strstr(reply, begin)) != NULL;) {
        at += strlen(begin);
        vr_autofree char *body =
            vr_printf("<n:Pull>%s%.*s</n:EnumerationContext><n:MaxElements>32000</n:MaxElements>"
                      "</n:Pull>",
                      begin, (int)strcspn(at, "<"), at);
        vr_freep(&reply);
        reply = print_reply(x, PULL, ns, "", body);
    }
}

static int print_schemas(void)
{
    static const char *const namespaces[] = { CIM_NS_VIRT, CIM_NS_OURS, CIM_NS_HOST };
    struct wire x;

    wire_begin(&x, NULL, make_nothing);
    for (size_t i = 0; i < CIM_CLASS_COUNT; i++)
        free(print_reply(&x, GET, cim_classes[i].ns, cim_classes[i].name, ""));
    for (size_t i = 0; i < VR_ARRAY_LEN(namespaces); i++)
        print_namespace(&x, namespaces[i]);
    wire_end(&x);
    return 0;
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[CIM_CLASS_COUNT + 16];
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
    for (size_t i = 0; i < n_walk_files; i++)
        tests[n++] = (struct CMUnitTest){ .name = walk_files[i].name,
                                          .test_func = one_walk,
                                          .initial_state = (void *)&walk_files[i] };
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(nothing_is_left_over);
    return _cmocka_run_group_tests("exchanges", tests, n, NULL, NULL);
}
