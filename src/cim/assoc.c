/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Walking associations. An association instance is a pair of references; providers only list
 * them, everything else is worked out here from the class tables. Control thread only. */
#include <strings.h>

#include "cim/server_int.h"

struct walk {
    const struct cim_path *object; /* with all its keys */
    const struct cim_class *cls;   /* of the object */
    const struct cim_assoc *how;
};

static bool role_is(const char *want, const char *name)
{
    return !want || !*want || strcasecmp(want, name) == 0;
}

/* Index of a reference by which @in names the object, from @from on; -1 if there is none. */
static int ref_to_object(const struct walk *w, const struct cim_inst *in, size_t from)
{
    for (size_t i = from; i < in->cls->n_props; i++) {
        const struct cim_path *p = cim_value_ref(&in->props[i]);
        if (p && role_is(w->how->role, in->cls->props[i].name) && cim_path_equal(p, w->object))
            return (int)i;
    }
    return -1;
}

static bool accept_ref(void *ctx, const struct cim_inst *in)
{
    return ref_to_object(ctx, in, 0) >= 0;
}

/* Can an association class refer to the object at all? Saves asking most providers. */
static bool may_refer(const struct walk *w, const struct cim_class *assoc)
{
    for (size_t i = 0; i < assoc->n_props; i++) {
        const struct cim_prop *p = &assoc->props[i];
        if (p->type == CIM_REFERENCE && role_is(w->how->role, p->name) &&
            cim_class_is(w->cls, p->ref_class))
            return true;
    }
    return false;
}

static enum cim_status named_class(const char *name, const struct cim_class **ret,
                                   struct vr_err *err)
{
    *ret = NULL;
    return name && *name ? cim_lookup_class(NULL, name, ret, err) : CIM_S_OK;
}

/* All association instances of class @only (NULL: any) that refer to the object. */
static enum cim_status collect(struct cim_server *s, const struct cim_caller *who, struct walk *w,
                               const struct cim_class *only, struct cim_list *ret,
                               struct vr_err *err)
{
    enum cim_status st = CIM_S_OK;

    for (size_t i = 0; st == CIM_S_OK && i < CIM_CLASS_COUNT; i++) {
        const struct cim_class *c = &cim_classes[i];
        if (s->by_class[i] && c->is_association && (!only || cim_class_is_a(c, only)) &&
            may_refer(w, c))
            st = cim_collect_refs(s, who, i, w->object, accept_ref, w, ret, err);
    }
    return st;
}

enum cim_status cim_references(struct cim_server *s, const struct cim_caller *who,
                               const struct cim_path *object, const struct cim_assoc *how,
                               struct cim_list *ret, struct vr_err *err)
{
    vr_auto(cim_inst_free) struct cim_inst *in = NULL;
    const struct cim_class *only = NULL;
    enum cim_status st =
        named_class(how->result_class ? how->result_class : how->assoc_class, &only, err);

    if (st == CIM_S_OK)
        st = cim_get(s, who, object, &in, err);
    if (st != CIM_S_OK)
        return st;
    vr_auto(cim_path_free) struct cim_path *full = cim_inst_path(in);
    struct walk w = { .object = full, .cls = in->cls, .how = how };
    return collect(s, who, &w, only, ret, err);
}

static bool listed(const struct cim_list *l, size_t from, const struct cim_path *p)
{
    for (size_t i = from; i < l->n; i++)
        if (cim_inst_matches(l->v[i], p))
            return true;
    return false;
}

/* Append the object that reference @i of @assoc names, unless it is there already, is gone, or is
 * not of class @result. */
static enum cim_status add_result(struct cim_server *s, const struct cim_caller *who,
                                  const struct cim_inst *assoc, size_t i,
                                  const struct cim_class *result, size_t from, struct cim_list *ret,
                                  struct vr_err *err)
{
    const struct cim_path *p = cim_value_ref(&assoc->props[i]);
    struct vr_err none = VR_ERR_INIT;
    struct cim_inst *in = NULL;

    if (!p || listed(ret, from, p))
        return CIM_S_OK;
    enum cim_status st = cim_get(s, who, p, &in, &none);
    if (st == CIM_S_NOT_FOUND || st == CIM_S_NO_CLASS)
        return CIM_S_OK;
    vr_err_move(err, &none);
    if (st != CIM_S_OK)
        return st;
    if (result && !cim_class_is_a(in->cls, result)) {
        cim_inst_free(in);
        return CIM_S_OK;
    }
    if (!cim_list_add(ret, in))
        return cim_fault(CIM_S_LIMIT, err, "more than %d instances", CIM_LIST_MAX);
    return CIM_S_OK;
}

enum cim_status cim_associators(struct cim_server *s, const struct cim_caller *who,
                                const struct cim_path *object, const struct cim_assoc *how,
                                struct cim_list *ret, struct vr_err *err)
{
    vr_auto(cim_inst_free) struct cim_inst *in = NULL;
    cim_autolist struct cim_list pairs = CIM_LIST_INIT;
    const struct cim_class *only, *result = NULL;
    size_t from = ret->n;

    enum cim_status st = named_class(how->assoc_class, &only, err);
    if (st == CIM_S_OK)
        st = named_class(how->result_class, &result, err);
    if (st == CIM_S_OK)
        st = cim_get(s, who, object, &in, err);
    if (st != CIM_S_OK)
        return st;
    vr_auto(cim_path_free) struct cim_path *full = cim_inst_path(in);
    struct walk w = { .object = full, .cls = in->cls, .how = how };
    st = collect(s, who, &w, only, &pairs, err);
    for (size_t k = 0; st == CIM_S_OK && k < pairs.n; k++) {
        const struct cim_class *c = pairs.v[k]->cls;
        int self = ref_to_object(&w, pairs.v[k], 0);
        for (size_t i = 0; st == CIM_S_OK && i < c->n_props; i++)
            if ((int)i != self && c->props[i].type == CIM_REFERENCE &&
                role_is(how->result_role, c->props[i].name))
                st = add_result(s, who, pairs.v[k], i, result, from, ret, err);
    }
    return st;
}
