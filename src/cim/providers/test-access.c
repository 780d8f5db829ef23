/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Walks everything that is served with every role, against the table of docs/access.md: what a role
 * may do it can, what it may not do is refused and changes nothing. */
#include "cim/providers/testways.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cim/class.h"
#include "replication/engine.h"

#define DENIED 32769
#define KILLJOB_DENIED 6 /* src:[DMTF CIM_ConcreteJob.KillJob] */

struct row {
    char cls[64], method[64];
    enum cim_role role;
    bool met;
};

static const char *table_file;
static struct row rows[256];
static size_t n_rows;

static enum cim_role role_of(const char *word)
{
    return !strcmp(word, "reader")          ? CIM_ROLE_READER
           : !strcmp(word, "operator")      ? CIM_ROLE_OPERATOR
           : !strcmp(word, "administrator") ? CIM_ROLE_ADMIN
                                            : CIM_ROLE_NONE;
}

static int load_table(void **st)
{
    vr_autofclose FILE *f = fopen(table_file, "re");
    char line[512], role[32];
    if (!f)
        return -1;
    while (fgets(line, sizeof line, f)) {
        struct row r = { .met = false };
        if (sscanf(line, "| %63[A-Za-z_] | %63[A-Za-z] | %31[a-z] |", r.cls, r.method, role) != 3 ||
            !strchr(r.cls, '_'))
            continue;
        r.role = role_of(role);
        if (r.role == CIM_ROLE_NONE || n_rows == VR_ARRAY_LEN(rows))
            return -1;
        rows[n_rows++] = r;
    }
    return n_rows ? 0 : -1;
}

static struct row *row_of(const char *cls, const char *method)
{
    for (size_t i = 0; i < n_rows; i++)
        if (!strcmp(rows[i].cls, cls) && !strcmp(rows[i].method, method))
            return &rows[i];
    return NULL;
}

/* A world in which every class with methods has an instance: web was failed over here, a
 * point of it is open for reading. */
static struct world *make_world(void)
{
    void *st = NULL;
    assert_int_equal(world_new(&st), 0);
    with_exports(st);
    make_failed_over(st);
    done(st, CALL(st, STATUS_PATH(WEB), "ExportPoint"));
    return st;
}

static void drop_world(struct world *w)
{
    void *st = w;
    world_free(&st);
}

static struct cim_caller as(enum cim_role role)
{
    return (struct cim_caller){ .name = "somebody", .role = role, .address = "192.0.2.1" };
}

/* The first instance of exactly this class, NULL if there is none. */
static struct cim_inst *first_of(struct world *w, const struct cim_class *c)
{
    cim_autolist struct cim_list l = CIM_LIST_INIT;
    struct vr_err e = VR_ERR_INIT;
    const struct cim_caller who = as(CIM_ROLE_READER);
    if (cim_enumerate(w->cim, &who, c, false, NULL, &l, &e) != CIM_S_OK)
        fail_msg("%s: %s", c->name, e.msg);
    return l.n ? cim_inst_dup(l.v[0]) : NULL;
}

static enum cim_status invoke_as(struct world *w, const struct cim_inst *in,
                                 const struct cim_method *m, enum cim_role role, uint32_t *code)
{
    vr_auto(cim_path_free) struct cim_path *p = cim_inst_path(in);
    vr_auto(cim_args_free) struct cim_args *args = cim_args_new(m);
    const struct cim_caller who = as(role);
    struct vr_err e = VR_ERR_INIT;
    *code = 0;
    return cim_invoke(w->cim, &who, p, args, code, &e);
}

static void assert_untouched(const struct world *w, const char *what)
{
    if (w->n_queue || engine_running_job(w->engine, &w->vm[0].uuid))
        fail_msg("%s was refused but began something", what);
}

static void one_call(const struct cim_class *c, const struct cim_method *m, enum cim_role role)
{
    struct world *w = make_world();
    vr_auto(cim_inst_free) struct cim_inst *in = first_of(w, c);
    struct row *r = row_of(c->name, m->name);
    vr_autofree char *what = vr_printf("%s.%s with role %d", c->name, m->name, (int)role);
    uint32_t code;
    if (!in)
        fail_msg("the test's world has no instance of %s", c->name);
    enum cim_status st = invoke_as(w, in, m, role, &code);
    uint32_t denied = strcmp(m->name, "KillJob") ? DENIED : KILLJOB_DENIED;
    if (role == CIM_ROLE_NONE) {
        if (st != CIM_S_DENIED)
            fail_msg("%s: %s", what, cim_status_name(st));
    } else if (!r) {
        if (st != CIM_S_NO_METHOD)
            fail_msg("%s is offered but not in docs/access.md", what);
    } else {
        r->met = true;
        if (st != CIM_S_OK)
            fail_msg("%s: %s", what, cim_status_name(st));
        if ((role < r->role) != (code == denied))
            fail_msg("%s: returned %u, but docs/access.md says %d", what, code, (int)r->role);
    }
    if (role == CIM_ROLE_NONE || (r && role < r->role))
        assert_untouched(w, what);
    drop_world(w);
}

static void test_every_method_with_every_role(void **st)
{
    struct world *w = make_world();
    size_t calls = 0;
    for (size_t i = 0; i < CIM_CLASS_COUNT; i++) {
        const struct cim_class *c = &cim_classes[i];
        if (c->is_abstract || !c->n_methods || !cim_server_has(w->cim, c))
            continue;
        for (size_t k = 0; k < c->n_methods; k++)
            for (int role = CIM_ROLE_NONE; role <= CIM_ROLE_ADMIN; role++, calls++)
                one_call(c, &c->methods[k], (enum cim_role)role);
    }
    drop_world(w);
    assert_true(calls > 4 * n_rows / 2);
    for (size_t i = 0; i < n_rows; i++)
        if (!rows[i].met)
            fail_msg("docs/access.md has %s.%s, which nobody serves", rows[i].cls, rows[i].method);
}

static void test_reading_needs_a_role(void **st)
{
    struct world *w = make_world();
    for (size_t i = 0; i < CIM_CLASS_COUNT; i++) {
        const struct cim_class *c = &cim_classes[i];
        const struct cim_caller nobody = as(CIM_ROLE_NONE);
        cim_autolist struct cim_list l = CIM_LIST_INIT;
        vr_auto(cim_inst_free) struct cim_inst *in = NULL, *got = NULL;
        if (c->is_abstract || !cim_server_has(w->cim, c))
            continue;
        if (cim_enumerate(w->cim, &nobody, c, true, NULL, &l, NULL) != CIM_S_DENIED || l.n)
            fail_msg("%s can be enumerated by nobody", c->name);
        in = first_of(w, c);
        if (!in)
            continue;
        vr_auto(cim_path_free) struct cim_path *p = cim_inst_path(in);
        if (cim_get(w->cim, &nobody, p, &got, NULL) != CIM_S_DENIED || got)
            fail_msg("%s can be read by nobody", c->name);
    }
    drop_world(w);
}

/* All of an instance as somebody would send it back. */
static struct cim_inst *all_seen(const struct cim_inst *in)
{
    struct cim_inst *want = cim_inst_dup(in);
    for (size_t i = 0; i < in->cls->n_props; i++)
        if (cim_inst_value(in, (int)i)->is_null)
            cim_inst_set_null(want, (int)i);
        else if (in->cls->props[i].type == CIM_UINT32 && !cim_inst_value(in, (int)i)->is_array)
            cim_inst_set_uint(want, (int)i, 60);
    return want;
}

static void test_changing_needs_an_administrator(void **st)
{
    struct world *w = make_world();
    size_t changeable = 0;
    for (size_t i = 0; i < CIM_CLASS_COUNT; i++) {
        const struct cim_class *c = &cim_classes[i];
        if (c->is_abstract || !cim_server_has(w->cim, c))
            continue;
        vr_auto(cim_inst_free) struct cim_inst *in = first_of(w, c);
        for (int role = CIM_ROLE_NONE; in && role <= CIM_ROLE_OPERATOR; role++) {
            vr_auto(cim_inst_free) struct cim_inst *want = all_seen(in), *now = NULL;
            vr_auto(cim_path_free) struct cim_path *p = cim_inst_path(in);
            const struct cim_caller who = as((enum cim_role)role);
            enum cim_status got = cim_put(w->cim, &who, p, want, &now, NULL);
            if (got != CIM_S_DENIED && (got != CIM_S_UNSUPPORTED || role == CIM_ROLE_NONE))
                fail_msg("Put of %s by role %d: %s", c->name, role, cim_status_name(got));
            changeable += got == CIM_S_DENIED && role == CIM_ROLE_OPERATOR;
            assert_untouched(w, c->name);
        }
    }
    assert_true(changeable > 0);
    drop_world(w);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_method_with_every_role),
        cmocka_unit_test(test_reading_needs_a_role),
        cmocka_unit_test(test_changing_needs_an_administrator),
    };
    if (argc < 2)
        return 2;
    table_file = argv[1];
    return cmocka_run_group_tests(tests, load_table, NULL);
}
