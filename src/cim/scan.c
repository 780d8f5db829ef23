/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Collecting instances class by class and, where a provider can, machine by machine. Control thread
 * only. Associations are walked in two steps: first the pairs, then what they lead to. */
#include "cim/scan.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "cim/server_int.h"

enum kind { SCAN_GET, SCAN_CLASS, SCAN_QUERY, SCAN_LINKS, SCAN_OBJECTS };

/* Objects that were found already, by the text of their paths. */
struct path_set {
    char **v; /* open addressing, at most half full */
    size_t n, cap;
};

struct cim_scan {
    struct cim_server *s;
    char *name;
    struct cim_caller who;
    enum kind kind;
    const struct cim_class *cls;
    bool deep;
    struct cim_path
        *keys;   /* GET; CLASS: or NULL; LINKS, OBJECTS: the object, later with all its keys */
    bool any;    /* CLASS: @keys names properties of any kind */
    char **cols; /* the only properties that are shown; NULL: all */
    size_t n_cols;
    struct cim_query *q;
    char *assoc_class, *result_class, *role, *result_role;

    bool begun;
    uint64_t generation;
    unsigned restarts;
    size_t id;  /* class that is looked at */
    size_t pos; /* where its provider goes on */
    const struct cim_class *only, *result, *object_cls;
    struct cim_scan *object; /* LINKS, OBJECTS: until it is found */
    struct cim_list found, pairs;
    size_t pair; /* OBJECTS: the next one to follow */
    struct path_set seen;
};

/* ---- making and ending ---------------------------------------------------------------------- */

static struct cim_scan *scan_new(struct cim_server *s, const struct cim_caller *who, enum kind kind)
{
    struct cim_scan *sc = vr_new(struct cim_scan);

    sc->s = s;
    sc->kind = kind;
    sc->who = *who;
    sc->who.name = sc->name = vr_strdup(who->name);
    sc->who.address = NULL;
    return sc;
}

struct cim_scan *cim_scan_class(struct cim_server *s, const struct cim_caller *who,
                                const struct cim_class *c, bool deep, const struct cim_path *keys)
{
    struct cim_scan *sc = scan_new(s, who, SCAN_CLASS);

    sc->cls = c;
    sc->deep = deep;
    sc->keys = cim_path_dup(keys);
    return sc;
}

struct cim_scan *cim_scan_get(struct cim_server *s, const struct cim_caller *who,
                              const struct cim_path *path)
{
    struct cim_scan *sc = scan_new(s, who, SCAN_GET);

    sc->deep = true;
    sc->keys = cim_path_dup(path);
    return sc;
}

struct cim_scan *cim_scan_select(struct cim_server *s, const struct cim_caller *who,
                                 const struct cim_class *c, bool deep, const struct cim_path *props)
{
    struct cim_scan *sc = cim_scan_class(s, who, c, deep, props);

    sc->any = true;
    return sc;
}

void cim_scan_show(struct cim_scan *sc, const char *const *names, size_t n)
{
    assert(!sc->cols);
    sc->cols = vr_new0(n + 1, sizeof *sc->cols);
    for (; sc->n_cols < n; sc->n_cols++)
        sc->cols[sc->n_cols] = vr_strdup(names[sc->n_cols]);
}

static struct cim_scan *scan_assoc(struct cim_server *s, const struct cim_caller *who,
                                   enum kind kind, const struct cim_path *object,
                                   const struct cim_assoc *how)
{
    struct cim_scan *sc = scan_new(s, who, kind);

    sc->keys = cim_path_dup(object);
    sc->assoc_class = vr_strdup(how->assoc_class);
    sc->result_class = vr_strdup(how->result_class);
    sc->role = vr_strdup(how->role);
    sc->result_role = vr_strdup(how->result_role);
    return sc;
}

struct cim_scan *cim_scan_associators(struct cim_server *s, const struct cim_caller *who,
                                      const struct cim_path *object, const struct cim_assoc *how)
{
    return scan_assoc(s, who, SCAN_OBJECTS, object, how);
}

struct cim_scan *cim_scan_references(struct cim_server *s, const struct cim_caller *who,
                                     const struct cim_path *object, const struct cim_assoc *how)
{
    return scan_assoc(s, who, SCAN_LINKS, object, how);
}

struct cim_scan *cim_scan_query(struct cim_server *s, const struct cim_caller *who,
                                struct cim_query *take_q)
{
    const struct cim_assoc how = { take_q->assoc_class, take_q->result_class, take_q->role,
                                   take_q->result_role };
    struct cim_scan *sc;

    if (take_q->kind == CIM_Q_ASSOCIATORS)
        sc = cim_scan_associators(s, who, take_q->path, &how);
    else if (take_q->kind == CIM_Q_REFERENCES)
        sc = cim_scan_references(s, who, take_q->path, &how);
    else
        sc = scan_new(s, who, SCAN_QUERY);
    sc->q = take_q;
    if (take_q->cols)
        cim_scan_show(sc, (const char *const *)take_q->cols, take_q->n_cols);
    return sc;
}

static void forget_seen(struct cim_scan *sc)
{
    for (size_t i = 0; i < sc->seen.cap; i++)
        free(sc->seen.v[i]);
    free(sc->seen.v);
    sc->seen = (struct path_set){ 0 };
}

void cim_scan_free(struct cim_scan *sc)
{
    if (!sc)
        return;
    cim_scan_free(sc->object);
    cim_list_done(&sc->found);
    cim_list_done(&sc->pairs);
    forget_seen(sc);
    cim_path_free(sc->keys);
    cim_query_free(sc->q);
    for (size_t i = 0; i < sc->n_cols; i++)
        free(sc->cols[i]);
    free(sc->cols);
    free(sc->name);
    free(sc->assoc_class);
    free(sc->result_class);
    free(sc->role);
    free(sc->result_role);
    free(sc);
}

/* ---- what belongs to the answer ------------------------------------------------------------- */

static bool role_is(const char *want, const char *name)
{
    return !want || !*want || strcasecmp(want, name) == 0;
}

/* Index of a reference by which @in names the object; -1 if there is none. */
static int ref_to_object(const struct cim_scan *sc, const struct cim_inst *in)
{
    for (size_t i = 0; i < in->cls->n_props; i++) {
        const struct cim_path *p = cim_value_ref(&in->props[i]);
        if (p && role_is(sc->role, in->cls->props[i].name) && cim_path_equal(p, sc->keys))
            return (int)i;
    }
    return -1;
}

static bool accept(void *ctx, const struct cim_inst *in)
{
    const struct cim_scan *sc = ctx;

    switch (sc->kind) {
    case SCAN_GET:
        return cim_inst_matches(in, sc->keys);
    case SCAN_CLASS:
        return !sc->keys || (sc->any ? cim_inst_has(in, sc->keys) : cim_inst_matches(in, sc->keys));
    case SCAN_QUERY:
        return cim_query_matches(sc->q, in);
    default:
        return ref_to_object(sc, in) >= 0;
    }
}

/* Can an association class refer to the object at all? Saves asking most providers. */
static bool may_refer(const struct cim_scan *sc, const struct cim_class *assoc)
{
    for (size_t i = 0; i < assoc->n_props; i++) {
        const struct cim_prop *p = &assoc->props[i];
        if (p->type == CIM_REFERENCE && role_is(sc->role, p->name) &&
            cim_class_is(sc->object_cls, p->ref_class))
            return true;
    }
    return false;
}

static bool is_wanted(const struct cim_scan *sc, const struct cim_class *c)
{
    switch (sc->kind) {
    case SCAN_GET:
    case SCAN_CLASS:
        return c == sc->cls || (sc->deep && cim_class_is_a(c, sc->cls));
    case SCAN_QUERY:
        return cim_class_is_a(c, sc->q->cls);
    default:
        return c->is_association && (!sc->only || cim_class_is_a(c, sc->only)) && may_refer(sc, c);
    }
}

/* ---- the steps ------------------------------------------------------------------------------ */

static enum cim_status named_class(const char *name, const struct cim_class **ret,
                                   struct vr_err *err)
{
    *ret = NULL;
    return name && *name ? cim_lookup_class(NULL, name, ret, err) : CIM_S_OK;
}

static enum cim_status look_for_object(struct cim_scan *sc, struct vr_err *err)
{
    bool links = sc->kind == SCAN_LINKS;
    const char *assoc = links && sc->result_class ? sc->result_class : sc->assoc_class;

    enum cim_status st = named_class(assoc, &sc->only, err);
    if (st == CIM_S_OK && !links)
        st = named_class(sc->result_class, &sc->result, err);
    if (st == CIM_S_OK)
        sc->object = cim_scan_get(sc->s, &sc->who, sc->keys);
    return st;
}

/* The object must exist; its own class and all its keys decide. */
static enum cim_status find_object(struct cim_scan *sc, unsigned slice_ms, bool *ret_over,
                                   struct vr_err *err)
{
    enum cim_status st = cim_scan_run(sc->object, slice_ms, ret_over, err);

    if (st != CIM_S_OK || !*ret_over)
        return st;
    const struct cim_inst *in = sc->object->found.v[0];
    cim_path_free(sc->keys);
    sc->keys = cim_inst_path(in);
    sc->object_cls = in->cls;
    cim_scan_free(sc->object);
    sc->object = NULL;
    return CIM_S_OK;
}

static enum cim_status begin(struct cim_scan *sc, struct vr_err *err)
{
    enum cim_status st = cim_check_reader(&sc->who, err);

    sc->begun = true;
    sc->generation = sc->s->generation;
    if (st == CIM_S_OK && sc->kind == SCAN_GET)
        st = cim_lookup_class(sc->keys->ns, sc->keys->cls, &sc->cls, err);
    if (st == CIM_S_OK && (sc->kind == SCAN_CLASS || sc->kind == SCAN_GET) && sc->keys)
        st = sc->any ? cim_check_props(sc->s, sc->cls, sc->keys, err)
                     : cim_check_keys(sc->s, sc->cls, sc->keys, err);
    if (st == CIM_S_OK && (sc->kind == SCAN_LINKS || sc->kind == SCAN_OBJECTS))
        st = look_for_object(sc, err);
    return st;
}

static void begin_anew(struct cim_scan *sc)
{
    cim_list_done(&sc->found);
    cim_list_done(&sc->pairs);
    forget_seen(sc);
    sc->id = sc->pos = sc->pair = 0;
    sc->generation = sc->s->generation;
    sc->restarts++;
}

static bool is_late(int64_t deadline_us)
{
    return deadline_us && vr_mono_us() >= deadline_us;
}

/* GET: two are one too many already. */
enum { GET_ENOUGH = 2 };
static bool is_decided(const struct cim_scan *sc)
{
    return sc->kind == SCAN_GET && sc->found.n >= GET_ENOUGH;
}

/* GET of an association that names one of its ends: it is among those of that object. */
static const struct cim_path *ref_in_path(const struct cim_scan *sc)
{
    for (size_t i = 0; sc->kind == SCAN_GET && i < sc->keys->n_keys; i++)
        if (sc->keys->keys[i].ref)
            return sc->keys->keys[i].ref;
    return NULL;
}

static enum cim_status judge_found(const struct cim_scan *sc, struct vr_err *err)
{
    const struct cim_path *path = sc->keys;

    if (sc->found.n == 1)
        return CIM_S_OK;
    if (sc->found.n)
        return cim_fault(path->n_keys && path->n_keys >= sc->cls->n_keys ? CIM_S_KEYS_AMBIGUOUS
                                                                         : CIM_S_KEYS_MISSING,
                         err, "the keys given fit several instances of class %s", sc->cls->name);
    vr_autofree char *text = cim_path_fmt(path, NULL);
    return cim_fault(CIM_S_NOT_FOUND, err, "there is no %s", text);
}

/* The classes, one after the other. False in *ret_over when the slice ended before. */
static enum cim_status collect(struct cim_scan *sc, int64_t deadline_us, bool *ret_over,
                               struct vr_err *err)
{
    bool assoc = sc->kind == SCAN_LINKS || sc->kind == SCAN_OBJECTS;

    for (; sc->id < CIM_CLASS_COUNT && !is_decided(sc); sc->id++, sc->pos = 0) {
        const struct cim_provider *p = sc->s->by_class[sc->id];
        enum cim_status st = CIM_S_OK;
        struct cim_sink sink = { .list = sc->kind == SCAN_OBJECTS ? &sc->pairs : &sc->found,
                                 .accept = accept,
                                 .ctx = sc,
                                 .most = sc->kind == SCAN_GET ? GET_ENOUGH : 0,
                                 .deadline_us = deadline_us,
                                 .pos = sc->pos };
        if (!p || !is_wanted(sc, &cim_classes[sc->id]))
            continue;
        *ret_over = false;
        if (is_late(deadline_us))
            return CIM_S_OK;
        if (sc->kind == SCAN_GET && cim_find_direct(sc->s, &sc->who, (enum cim_class_id)sc->id,
                                                    sc->keys, &sc->found, &st, err)) {
            if (st != CIM_S_OK)
                return st;
            continue;
        }
        const struct cim_path *object = assoc ? sc->keys : ref_in_path(sc);
        st = object && p->references ? p->references(p->ctx, &sc->who, object, &sink, err)
                                     : p->enumerate(p->ctx, &sc->who, &sink, err);
        if (st != CIM_S_OK)
            return st;
        if (sink.is_full)
            return cim_fault(CIM_S_LIMIT, err, "more than %d instances", CIM_LIST_MAX);
        if (sink.is_paused) {
            sc->pos = sink.pos;
            return CIM_S_OK;
        }
    }
    *ret_over = true;
    return CIM_S_OK;
}

static size_t hash(const char *s)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
    return (size_t)h;
}

static bool add_to(char **v, size_t cap, char *take_text)
{
    size_t i = hash(take_text) & (cap - 1);

    for (; v[i]; i = (i + 1) & (cap - 1))
        if (!strcmp(v[i], take_text)) {
            free(take_text);
            return false;
        }
    v[i] = take_text;
    return true;
}

/* Is the object new? */
static bool see(struct path_set *set, const struct cim_inst *in)
{
    vr_auto(cim_path_free) struct cim_path *p = cim_inst_path(in);

    if (set->n * 2 >= set->cap) {
        size_t cap = set->cap ? set->cap * 2 : 64;
        char **v = vr_new0(cap, sizeof *v);
        for (size_t i = 0; i < set->cap; i++)
            if (set->v[i])
                add_to(v, cap, set->v[i]);
        free(set->v);
        set->v = v;
        set->cap = cap;
    }
    bool is_new = add_to(set->v, set->cap, cim_path_fmt(p, NULL));
    set->n += is_new;
    return is_new;
}

/* Append the object that @p names, unless it is there already, is gone, or is not wanted. */
static enum cim_status add_object(struct cim_scan *sc, const struct cim_path *p, struct vr_err *err)
{
    struct vr_err none = VR_ERR_INIT;
    struct cim_inst *in = NULL;

    enum cim_status st = cim_get(sc->s, &sc->who, p, &in, &none);
    if (st == CIM_S_NOT_FOUND || st == CIM_S_NO_CLASS)
        return CIM_S_OK;
    vr_err_move(err, &none);
    if (st != CIM_S_OK)
        return st;
    if ((sc->result && !cim_class_is_a(in->cls, sc->result)) || !see(&sc->seen, in)) {
        cim_inst_free(in);
        return CIM_S_OK;
    }
    if (!cim_list_add(&sc->found, in))
        return cim_fault(CIM_S_LIMIT, err, "more than %d instances", CIM_LIST_MAX);
    return CIM_S_OK;
}

static enum cim_status follow(struct cim_scan *sc, int64_t deadline_us, bool *ret_over,
                              struct vr_err *err)
{
    enum cim_status st = CIM_S_OK;

    for (; st == CIM_S_OK && sc->pair < sc->pairs.n; sc->pair++) {
        const struct cim_inst *in = sc->pairs.v[sc->pair];
        int self = ref_to_object(sc, in);
        if (is_late(deadline_us)) {
            *ret_over = false;
            return CIM_S_OK;
        }
        for (size_t i = 0; st == CIM_S_OK && i < in->cls->n_props; i++) {
            const struct cim_path *p = cim_value_ref(&in->props[i]);
            if (p && (int)i != self && role_is(sc->result_role, in->cls->props[i].name))
                st = add_object(sc, p, err);
        }
    }
    return st;
}

/* Hide what is not to be shown. Of a class the names are looked for once as long as its instances
 * follow each other. */
static void project(struct cim_scan *sc)
{
    for (size_t i = 0; sc->cols && i < sc->found.n; i++) {
        struct cim_inst *in = sc->found.v[i];
        const struct cim_inst *last = i ? sc->found.v[i - 1] : NULL;
        if (!last || last->cls != in->cls)
            cim_project(sc->cols, sc->n_cols, in);
        else
            for (size_t k = 0; k < in->cls->n_props; k++)
                in->marks[k] |= last->marks[k] & CIM_MARK_HIDDEN;
    }
}

enum cim_status cim_scan_run(struct cim_scan *sc, unsigned slice_ms, bool *ret_over,
                             struct vr_err *err)
{
    int64_t deadline = slice_ms ? vr_mono_us() + (int64_t)slice_ms * 1000 : 0;
    enum cim_status st = CIM_S_OK;

    *ret_over = true;
    if (!sc->begun)
        st = begin(sc, err);
    if (st == CIM_S_OK && sc->object)
        st = find_object(sc, slice_ms, ret_over, err);
    if (st != CIM_S_OK || !*ret_over)
        return st;
    if (sc->generation != sc->s->generation)
        begin_anew(sc);
    if (sc->restarts > RESTARTS_MAX)
        deadline = 0; /* else it might never end */
    if (st == CIM_S_OK)
        st = collect(sc, deadline, ret_over, err);
    if (st == CIM_S_OK && *ret_over && sc->kind == SCAN_OBJECTS)
        st = follow(sc, deadline, ret_over, err);
    if (st == CIM_S_OK && *ret_over && sc->kind == SCAN_GET)
        st = judge_found(sc, err);
    if (st != CIM_S_OK)
        *ret_over = true;
    else if (*ret_over)
        project(sc);
    return st;
}

size_t cim_scan_found(const struct cim_scan *sc)
{
    return sc->found.weight + sc->pairs.weight;
}

void cim_scan_take(struct cim_scan *sc, struct cim_list *ret)
{
    if (!ret->n) {
        cim_list_done(ret);
        *ret = sc->found;
        sc->found = (struct cim_list)CIM_LIST_INIT;
        return;
    }
    for (size_t i = 0; i < sc->found.n; i++)
        cim_list_add(ret, sc->found.v[i]);
    free(sc->found.v);
    sc->found = (struct cim_list)CIM_LIST_INIT;
}

/* ---- in one slice --------------------------------------------------------------------------- */

static enum cim_status run_all(struct cim_scan *take_sc, struct cim_list *ret, struct vr_err *err)
{
    bool over;
    enum cim_status st = cim_scan_run(take_sc, 0, &over, err);

    if (st == CIM_S_OK)
        cim_scan_take(take_sc, ret);
    cim_scan_free(take_sc);
    return st;
}

enum cim_status cim_get(struct cim_server *s, const struct cim_caller *who,
                        const struct cim_path *path, struct cim_inst **ret, struct vr_err *err)
{
    cim_autolist struct cim_list found = CIM_LIST_INIT;
    enum cim_status st = run_all(cim_scan_get(s, who, path), &found, err);

    if (st == CIM_S_OK)
        *ret = vr_take(found.v[0]);
    return st;
}

enum cim_status cim_enumerate(struct cim_server *s, const struct cim_caller *who,
                              const struct cim_class *c, bool deep, const struct cim_path *keys,
                              struct cim_list *ret, struct vr_err *err)
{
    return run_all(cim_scan_class(s, who, c, deep, keys), ret, err);
}

enum cim_status cim_associators(struct cim_server *s, const struct cim_caller *who,
                                const struct cim_path *object, const struct cim_assoc *how,
                                struct cim_list *ret, struct vr_err *err)
{
    return run_all(cim_scan_associators(s, who, object, how), ret, err);
}

enum cim_status cim_references(struct cim_server *s, const struct cim_caller *who,
                               const struct cim_path *object, const struct cim_assoc *how,
                               struct cim_list *ret, struct vr_err *err)
{
    return run_all(cim_scan_references(s, who, object, how), ret, err);
}

enum cim_status cim_query(struct cim_server *s, const struct cim_caller *who, const char *ns,
                          const char *text, struct cim_list *ret, struct vr_err *err)
{
    struct cim_query *q = NULL;
    enum cim_status st = cim_query_parse(ns, text, &q, err);

    return st == CIM_S_OK ? run_all(cim_scan_query(s, who, q), ret, err) : st;
}
