/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CIM values from XML: method parameters and instances. Element names compare without case, in any
 * namespace, because clients differ; unknown ones are refused, so that a misspelt parameter is not
 * silently dropped. Any thread; no state. src:[contract.md E.1-E.3] */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "wsman/codec.h"
#include "wsman/ns.h"

enum { ARRAY_MAX = 4096, EMBED_DEPTH_MAX = 8 };

/* What a value has to look like. */
struct slot {
    const char *name;
    enum cim_type type;
    const char *ref_class;
    int depth;
};

static bool is_nil(const struct vr_xml *el)
{
    /* Some clients bind their prefix to the schema's namespace instead. src:[wsman.md 9] */
    const char *v = vr_xml_attr(el, NS_XSI, "nil");
    if (!v)
        v = vr_xml_attr(el, NS_XSD, "nil");
    return v && (!strcasecmp(v, "true") || !strcmp(v, "1"));
}

/* A document that came as elements instead of text. */
static int text_of_tree(const struct vr_xml *el, struct cim_value *v, struct wsm_fault *f)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct vr_xmlw w;
    vr_xmlw_init(&w, &b);
    vr_xmlw_tree(&w, el);
    struct vr_err e = VR_ERR_INIT;
    if (vr_xmlw_finish(&w, &e))
        return wsm_fail(f, WSM_F_PAR_VALUE, "%s", e.msg);
    cim_value_put_str(v, (const char *)b.data);
    return 0;
}

static bool is_epr(const struct vr_xml *el)
{
    return wsm_addr_child(el, "EndpointReference") || wsm_addr_child(el, "ReferenceParameters") ||
           wsm_addr_child(el, "ReferenceProperties");
}

/* An endpoint reference where a document belongs: as the text of the object path. */
static int text_of_reference(const struct vr_xml *el, struct cim_value *v, struct wsm_fault *f)
{
    vr_auto(cim_path_free) struct cim_path *p = NULL;
    if (wsm_epr_read(el, WSM_F_PAR_VALUE, &p, f))
        return -1;
    vr_autofree char *text = cim_path_fmt(p, NULL);
    cim_value_put_str(v, text);
    return 0;
}

static int get_instance(const struct vr_xml *el, const struct cim_class *c, int depth,
                        struct cim_inst **ret, struct wsm_fault *f);

static int get_embedded(const struct vr_xml *el, const struct slot *s, struct cim_value *v,
                        struct wsm_fault *f)
{
    const char *type = vr_xml_attr(el, NS_XSI, "type");
    if (!type)
        type = vr_xml_attr(el, NS_XSD, "type"); /* see is_nil() */
    const char *name = s->ref_class ? s->ref_class : "";
    vr_autofree char *given = NULL;
    if (type) {
        const char *colon = strrchr(type, ':');
        given = vr_strdup(colon ? colon + 1 : type);
        size_t n = strlen(given), k = strlen("_Type");
        if (n > k && !strcasecmp(given + n - k, "_Type"))
            given[n - k] = 0;
        name = given;
    }
    const struct cim_class *c = cim_class_find(name);
    if (!c || (s->ref_class && !cim_class_is(c, s->ref_class)))
        return wsm_fail(f, WSM_F_PAR_TYPE, "%s: \"%s\" is no class that fits here", s->name, name);
    struct cim_inst *in = NULL;
    if (get_instance(el, c, s->depth + 1, &in, f))
        return -1;
    cim_value_put_inst(v, in);
    return 0;
}

static int get_reference(const struct vr_xml *el, struct cim_value *v, struct wsm_fault *f)
{
    vr_auto(cim_path_free) struct cim_path *p = NULL;
    if (wsm_epr_read(el, WSM_F_PAR_VALUE, &p, f))
        return -1;
    cim_value_put_ref(v, p);
    return 0;
}

/* One element into a value (appended when that is an array). */
static int get_one(const struct vr_xml *el, const struct slot *s, struct cim_value *v,
                   struct wsm_fault *f)
{
    if (s->type == CIM_STRING) {
        if (is_epr(el))
            return text_of_reference(el, v, f);
        if (el->first)
            return text_of_tree(el->first, v, f);
        cim_value_put_str(v, el->text);
        return 0;
    }
    if (s->type == CIM_INSTANCE)
        return get_embedded(el, s, v, f);
    if (s->type == CIM_REFERENCE)
        return el->first || *el->trim ? get_reference(el, v, f) : 0;
    const char *text = el->first ? el->first->trim : el->trim; /* cim:Datetime, cim:Interval */
    if (el->first && s->type != CIM_DATETIME)
        return wsm_fail(f, WSM_F_PAR_TYPE, "%s must be a %s, not elements", s->name,
                        cim_type_name(s->type));
    if (!*text && !v->is_array)
        return 0;
    struct vr_err e = VR_ERR_INIT;
    if (cim_value_put_text(v, text, &e))
        return wsm_fail(f, WSM_F_PAR_TYPE, "%s: %s", s->name, e.msg);
    return 0;
}

/* @again: the element was there before. */
static int get_value(const struct vr_xml *el, const struct slot *s, bool again, struct cim_value *v,
                     struct wsm_fault *f)
{
    if (again && !v->is_array)
        return wsm_fail(f, WSM_F_PAR_VALUE, "%s is given more than once", s->name);
    if (v->n >= ARRAY_MAX)
        return wsm_fail(f, WSM_F_PAR_VALUE, "%s has more than %d elements", s->name, ARRAY_MAX);
    if (is_nil(el)) {
        if (again && v->is_array && (s->type == CIM_STRING || s->type == CIM_REFERENCE))
            s->type == CIM_STRING ? cim_value_put_str(v, NULL) : cim_value_put_ref(v, NULL);
        return 0;
    }
    return get_one(el, s, v, f);
}

int wsm_get_args(const struct vr_xml *input, struct cim_args *args, struct wsm_fault *f)
{
    const struct cim_method *m = args->method;
    vr_autofree bool *seen = vr_new0(m->n_params + 1, sizeof *seen);
    for (const struct vr_xml *el = input ? input->first : NULL; el; el = el->next) {
        int i = cim_method_param(m, el->name);
        if (i < 0 || !(m->params[i].flags & CIM_F_IN))
            return wsm_fail(f, WSM_F_PAR_VALUE, "the method %s has no input parameter %.100s",
                            m->name, el->name);
        const struct slot s = { m->params[i].name, m->params[i].type, m->params[i].ref_class, 0 };
        if (get_value(el, &s, seen[i], &args->v[i], f))
            return -1;
        seen[i] = true;
    }
    return 0;
}

static int get_instance(const struct vr_xml *el, const struct cim_class *c, int depth,
                        struct cim_inst **ret, struct wsm_fault *f)
{
    if (depth > EMBED_DEPTH_MAX)
        return wsm_fail(f, WSM_F_PAR_VALUE, "embedded objects nest too deeply");
    vr_auto(cim_inst_free) struct cim_inst *in = cim_inst_new_of(c);
    for (const struct vr_xml *p = el->first; p; p = p->next) {
        int i = cim_class_prop(c, p->name);
        if (i < 0)
            return wsm_fail(f, WSM_F_PAR_VALUE, "the class %s has no property %.100s", c->name,
                            p->name);
        bool again = in->marks[i] & CIM_MARK_SEEN;
        if (!again)
            cim_value_clear(&in->props[i]); /* drop the default */
        const struct slot s = { c->props[i].name, c->props[i].type, c->props[i].ref_class, depth };
        if (get_value(p, &s, again, &in->props[i], f))
            return -1;
        in->marks[i] |= CIM_MARK_SEEN;
    }
    *ret = vr_take(in);
    return 0;
}

int wsm_get_instance(const struct vr_xml *el, const struct cim_class *c, struct cim_inst **ret,
                     struct wsm_fault *f)
{
    return get_instance(el, c, 0, ret, f);
}
