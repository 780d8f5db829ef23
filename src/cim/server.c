/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The registry of providers and the operations on instances that need no association. Control
 * thread only. Invariant: whatever leaves here is owned by the caller, so a provider may change
 * its mind about the next call at once. */
#include "cim/server_int.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "cim/watch.h"

static const struct {
    const char *name;
    enum vr_kind kind;
} statuses[] = {
    [CIM_S_OK] = { "ok", VR_OK },
    [CIM_S_NO_NAMESPACE] = { "unknown namespace", VR_E_NOTFOUND },
    [CIM_S_NO_CLASS] = { "unknown class", VR_E_NOTFOUND },
    [CIM_S_NOT_FOUND] = { "unknown instance", VR_E_NOTFOUND },
    [CIM_S_KEYS_MISSING] = { "keys missing", VR_E_INVAL },
    [CIM_S_KEYS_AMBIGUOUS] = { "ambiguous keys", VR_E_INVAL },
    [CIM_S_KEYS_UNKNOWN] = { "unknown key", VR_E_INVAL },
    [CIM_S_KEYS_INVALID] = { "invalid key", VR_E_INVAL },
    [CIM_S_NO_METHOD] = { "unknown method", VR_E_NOTFOUND },
    [CIM_S_PARAM_TYPE] = { "parameter of wrong type", VR_E_TYPE },
    [CIM_S_PARAM_INVALID] = { "invalid parameter", VR_E_INVAL },
    [CIM_S_BAD_QUERY] = { "bad query", VR_E_INVAL },
    [CIM_S_DENIED] = { "denied", VR_E_DENIED },
    [CIM_S_UNSUPPORTED] = { "not supported", VR_E_UNSUPPORTED },
    [CIM_S_LIMIT] = { "limit", VR_E_LIMIT },
    [CIM_S_BUSY] = { "busy", VR_E_BUSY },
    [CIM_S_STATE] = { "invalid state", VR_E_STATE },
    [CIM_S_FAILED] = { "failed", VR_E_INTERNAL },
};

const char *cim_status_name(enum cim_status s)
{
    return statuses[s].name;
}

enum cim_status cim_status_of(const struct vr_err *err)
{
    switch (err->kind) {
    case VR_OK:
        return CIM_S_OK;
    case VR_E_NOTFOUND:
        return CIM_S_NOT_FOUND;
    case VR_E_DENIED:
    case VR_E_AUTH:
        return CIM_S_DENIED;
    case VR_E_UNSUPPORTED:
        return CIM_S_UNSUPPORTED;
    case VR_E_LIMIT:
        return CIM_S_LIMIT;
    case VR_E_BUSY:
        return CIM_S_BUSY;
    case VR_E_STATE:
    case VR_E_RUNNING:
    case VR_E_DISKS:
    case VR_E_SUPERSEDED:
        return CIM_S_STATE;
    case VR_E_INVAL:
        return CIM_S_PARAM_INVALID;
    case VR_E_TYPE:
        return CIM_S_PARAM_TYPE;
    default:
        return CIM_S_FAILED;
    }
}

enum cim_status cim_fault(enum cim_status s, struct vr_err *err, const char *fmt, ...)
{
    char msg[sizeof err->msg];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    vr_fail(err, statuses[s].kind, 0, "%s", msg);
    return s;
}

enum cim_status cim_check_reader(const struct cim_caller *who, struct vr_err *err)
{
    if (who->role >= CIM_ROLE_READER)
        return CIM_S_OK;
    return cim_fault(CIM_S_DENIED, err, "%s has no role on this host",
                     who->name ? who->name : "the caller");
}

/* ---- lists ---- */

bool cim_list_add(struct cim_list *l, struct cim_inst *take_inst)
{
    if (l->n >= CIM_LIST_MAX) {
        cim_inst_free(take_inst);
        return false;
    }
    if ((l->n & (l->n - 1)) == 0)
        l->v = vr_grow(l->v, l->n ? l->n * 2 : 1, sizeof *l->v);
    l->weight += cim_inst_count(take_inst);
    l->v[l->n++] = take_inst;
    return true;
}

void cim_list_done(struct cim_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        cim_inst_free(l->v[i]);
    free(l->v);
    *l = (struct cim_list)CIM_LIST_INIT;
}

bool cim_emit(struct cim_sink *sink, struct cim_inst *take_inst)
{
    if (sink->most && sink->list->n >= sink->most) {
        cim_inst_free(take_inst);
        return false;
    }
    if (sink->accept && !sink->accept(sink->ctx, take_inst)) {
        cim_inst_free(take_inst);
        return true;
    }
    if (!cim_list_add(sink->list, take_inst))
        sink->is_full = true;
    return !sink->is_full;
}

size_t cim_sink_at(const struct cim_sink *sink)
{
    return sink->pos;
}

bool cim_sink_pause(struct cim_sink *sink, size_t pos)
{
    if (!sink->deadline_us || vr_mono_us() < sink->deadline_us)
        return false;
    sink->pos = pos;
    sink->is_paused = true;
    return true;
}

/* ---- registry ---- */

struct cim_server *cim_server_new(const char *host)
{
    struct cim_server *s = vr_new(struct cim_server);

    s->host = vr_strdup(host);
    return s;
}

void cim_server_free(struct cim_server *s)
{
    if (!s)
        return;
    while (s->watches)
        cim_watch_free(s->watches);
    for (size_t i = 0; i < CIM_CLASS_COUNT; i++)
        free(s->by_class[i]);
    free(s->host);
    free(s);
}

const char *cim_server_host(const struct cim_server *s)
{
    return s->host;
}

void cim_server_register(struct cim_server *s, const struct cim_provider *p)
{
    assert(!s->by_class[p->cls] && p->enumerate && !cim_class_get(p->cls)->is_abstract);
    assert(!p->watch || p->get);
    s->by_class[p->cls] = vr_new(struct cim_provider);
    *s->by_class[p->cls] = *p;
}

bool cim_server_has(const struct cim_server *s, const struct cim_class *c)
{
    for (size_t i = 0; i < CIM_CLASS_COUNT; i++)
        if (s->by_class[i] && cim_class_is_a(&cim_classes[i], c))
            return true;
    return false;
}

enum cim_status cim_lookup_class(const char *ns, const char *name, const struct cim_class **ret,
                                 struct vr_err *err)
{
    const struct cim_class *c = cim_class_find_in(ns, name);

    if (!c && ns && !cim_ns_known(ns))
        return cim_fault(CIM_S_NO_NAMESPACE, err, "there is no namespace %.100s", ns);
    if (!c)
        return cim_fault(CIM_S_NO_CLASS, err, "there is no class %.100s in namespace %.100s", name,
                         ns ? ns : "(any)");
    *ret = c;
    return CIM_S_OK;
}

/* ---- instances ---- */

static bool accept_keys(void *ctx, const struct cim_inst *in)
{
    return cim_inst_matches(in, ctx);
}

enum cim_status cim_pick(const struct cim_path *path, cim_emit_fn emit, void *ctx,
                         struct cim_inst **ret, struct vr_err *err)
{
    cim_autolist struct cim_list found = CIM_LIST_INIT;
    struct cim_sink sink = { .list = &found, .accept = accept_keys, .ctx = (void *)path };

    emit(ctx, &sink);
    if (!found.n) {
        vr_autofree char *text = cim_path_fmt(path, NULL);
        return cim_fault(CIM_S_NOT_FOUND, err, "there is no %s", text);
    }
    *ret = vr_take(found.v[0]);
    return CIM_S_OK;
}

/* The key of this name; with @any also another property that is no array and no object. */
static const struct cim_prop *selectable(const struct cim_class *c, const char *name, bool any)
{
    int i = cim_class_prop(c, name);
    const struct cim_prop *p = i >= 0 ? &c->props[i] : NULL;
    bool fits =
        p && (any ? !(p->flags & CIM_F_ARRAY) && p->type != CIM_INSTANCE : p->flags & CIM_F_KEY);

    return fits ? p : NULL;
}

/* Can the value be one of the key's type? */
static bool fits(const struct cim_prop *p, const struct cim_key *k)
{
    struct cim_value v;

    if (p->type == CIM_REFERENCE || k->ref)
        return (p->type == CIM_REFERENCE) == (k->ref != NULL);
    cim_value_init(&v, p->type, false);
    int rc = cim_value_put_text(&v, k->text, NULL);
    cim_value_clear(&v);
    return rc == 0;
}

/* Each name must be one of the class, or of a class below it that somebody answers for, and its
 * value of that type. */
static enum cim_status check(struct cim_server *s, const struct cim_class *c,
                             const struct cim_path *path, bool any, struct vr_err *err)
{
    for (size_t k = 0; k < path->n_keys; k++) {
        const char *name = path->keys[k].name;
        const struct cim_prop *p = selectable(c, name, any);
        if (!*name)
            continue;
        for (size_t i = 0; !p && i < CIM_CLASS_COUNT; i++)
            if (s->by_class[i] && cim_class_is_a(&cim_classes[i], c))
                p = selectable(&cim_classes[i], name, any);
        if (!p)
            return cim_fault(any ? CIM_S_BAD_QUERY : CIM_S_KEYS_UNKNOWN, err,
                             "\"%.100s\" is no %s of class %s", name,
                             any ? "property with one value" : "key", c->name);
        if (!fits(p, &path->keys[k]))
            return cim_fault(any ? CIM_S_BAD_QUERY : CIM_S_KEYS_INVALID, err,
                             "%s %s of class %s must be a %s", any ? "property" : "key", p->name,
                             c->name, cim_type_name(p->type));
    }
    return CIM_S_OK;
}

enum cim_status cim_check_keys(struct cim_server *s, const struct cim_class *c,
                               const struct cim_path *path, struct vr_err *err)
{
    return check(s, c, path, false, err);
}

enum cim_status cim_check_props(struct cim_server *s, const struct cim_class *c,
                                const struct cim_path *path, struct vr_err *err)
{
    return check(s, c, path, true, err);
}

/* The path under the name of class @c, if it has all the keys of that class; else NULL. */
static struct cim_path *full_path(const struct cim_class *c, const struct cim_path *path)
{
    vr_auto(cim_path_free) struct cim_path *p = cim_path_new(c->ns, c->name);

    if (path->n_keys != c->n_keys)
        return NULL;
    for (size_t i = 0; i < c->n_props; i++) {
        const char *name = c->props[i].name;
        const char *text = cim_path_key(path, name);
        const struct cim_path *ref = cim_path_ref(path, name);
        int rc = -1;
        if (!(c->props[i].flags & CIM_F_KEY))
            continue;
        if (ref)
            rc = cim_path_add_ref(p, name, cim_path_dup(ref), NULL);
        else if (text)
            rc = cim_path_add(p, name, text, NULL);
        if (rc < 0)
            return NULL;
    }
    return vr_take(p);
}

/* The same with only the key that tells instances of the class apart, if @path has that one. */
static struct cim_path *telling_path(const struct cim_provider *p, const struct cim_class *c,
                                     const struct cim_path *path)
{
    const char *name = p->watch ? c->props[p->watch->key].name : NULL;
    const char *text = name ? cim_path_key(path, name) : NULL;
    vr_auto(cim_path_free) struct cim_path *one = cim_path_new(c->ns, c->name);

    return text && !cim_path_add(one, name, text, NULL) ? vr_take(one) : NULL;
}

bool cim_find_direct(struct cim_server *s, const struct cim_caller *who, enum cim_class_id id,
                     const struct cim_path *path, struct cim_list *ret, enum cim_status *ret_status,
                     struct vr_err *err)
{
    const struct cim_provider *p = s->by_class[id];
    vr_auto(cim_path_free) struct cim_path *all =
        p->get ? full_path(cim_class_get(id), path) : NULL;

    bool partial = !all && p->get;
    if (partial)
        all = telling_path(p, cim_class_get(id), path);
    if (!all)
        return false;
    struct cim_inst *in = NULL;
    struct vr_err none = VR_ERR_INIT;
    enum cim_status st = p->get(p->ctx, who, all, &in, &none);
    *ret_status = CIM_S_OK;
    if (st == CIM_S_NOT_FOUND)
        return true;
    vr_err_move(err, &none);
    *ret_status = st;
    if (st == CIM_S_OK && (!partial || cim_inst_matches(in, path)))
        cim_list_add(ret, in);
    else if (st == CIM_S_OK)
        cim_inst_free(in);
    return true;
}

/* ---- methods and changes ---- */

enum cim_status cim_find_method(const struct cim_path *target, const char *method,
                                const struct cim_method **ret, struct vr_err *err)
{
    const struct cim_class *c = NULL;
    enum cim_status st = cim_lookup_class(target->ns, target->cls, &c, err);

    if (st != CIM_S_OK)
        return st;
    const struct cim_method *m = cim_class_method(c, method);
    if (!m)
        return cim_fault(CIM_S_NO_METHOD, err, "class %s has no method %.100s", c->name, method);
    *ret = m;
    return CIM_S_OK;
}

/* A superclass may have been addressed: make @args those of the method in the real class. */
static const struct cim_method *rebind(const struct cim_class *c, struct cim_args *args)
{
    const struct cim_method *m = cim_class_method(c, args->method->name);

    if (!m || m->n_params != args->method->n_params)
        return NULL;
    for (size_t i = 0; i < m->n_params; i++)
        if (m->params[i].type != args->v[i].type ||
            !(m->params[i].flags & CIM_F_ARRAY) != !args->v[i].is_array)
            return NULL;
    args->method = m;
    return m;
}

static void clear_outputs(struct cim_args *args)
{
    for (size_t i = 0; i < args->method->n_params; i++)
        if (args->method->params[i].flags & CIM_F_OUT)
            cim_value_clear(&args->v[i]);
}

enum cim_status cim_invoke(struct cim_server *s, const struct cim_caller *who,
                           const struct cim_path *target, struct cim_args *args, uint32_t *ret,
                           struct vr_err *err)
{
    vr_auto(cim_inst_free) struct cim_inst *in = NULL;
    enum cim_status st = cim_get(s, who, target, &in, err);
    uint32_t code = 0;

    if (st != CIM_S_OK)
        return st;
    const struct cim_method *m = rebind(in->cls, args);
    const struct cim_provider *p = s->by_class[in->cls->id];
    if (!m || !p->invoke)
        return cim_fault(CIM_S_NO_METHOD, err, "method %s of class %s is not offered here",
                         args->method->name, in->cls->name);
    if (args->at && args->generation != s->generation) {
        clear_outputs(args);
        args->at = args->used = 0;
        if (++args->restarts >= RESTARTS_MAX)
            args->until_us = 0; /* in one go, then */
    }
    args->generation = s->generation;
    st = p->invoke(p->ctx, who, in, m, args, &code, err);
    if (st != CIM_S_OK)
        return st;
    if (code != 0 && code != 4096)
        clear_outputs(args);
    *ret = code;
    return CIM_S_OK;
}

enum cim_status cim_put(struct cim_server *s, const struct cim_caller *who,
                        const struct cim_path *path, const struct cim_inst *want,
                        struct cim_inst **ret, struct vr_err *err)
{
    vr_auto(cim_inst_free) struct cim_inst *old = NULL;
    enum cim_status st = cim_get(s, who, path, &old, err);

    if (st != CIM_S_OK)
        return st;
    const struct cim_provider *p = s->by_class[old->cls->id];
    if (!p->put)
        return cim_fault(CIM_S_UNSUPPORTED, err, "instances of class %s change by methods only",
                         old->cls->name);
    if (who->role < CIM_ROLE_ADMIN)
        return cim_fault(CIM_S_DENIED, err, "changing a %s needs the role administrator",
                         old->cls->name);
    if (want->cls != old->cls)
        return cim_fault(CIM_S_PARAM_TYPE, err, "a %s cannot become a %s", old->cls->name,
                         want->cls->name);
    st = p->put(p->ctx, who, old, want, err);
    return st == CIM_S_OK ? cim_get(s, who, path, ret, err) : st;
}
