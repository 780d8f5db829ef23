/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading and writing instances as CIM-XML. Reading is generous, because three kinds of clients
 * write three dialects; writing is strict, because one of them refuses everything else. Input is
 * hostile: sizes are bounded by base/xml, nesting of embedded instances here. */
#include "cim/cimxml.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "model/limits.h"

static int parse_inst(const struct vr_xml *el, const struct cim_class *want, int depth,
                      struct cim_inst **ret, struct vr_err *err);
static int parse_text(const char *text, const struct cim_class *want, int depth,
                      struct cim_inst **ret, struct vr_err *err);

static bool is_el(const struct vr_xml *el, const char *name)
{
    return strcasecmp(el->name, name) == 0;
}

/* Attribute by name in any case; some writers change the case of what they do not know. */
static const char *attr(const struct vr_xml *el, const char *name)
{
    for (size_t i = 0; i < el->n_attrs; i++)
        if (strcasecmp(el->attrs[i].name, name) == 0)
            return el->attrs[i].value;
    return NULL;
}

/* ---- references ---- */

/* Append every NAMESPACE below @el, joined by slashes; the depth is bounded by the XML reader. */
static void collect_ns(const struct vr_xml *el, char **ns)
{
    for (const struct vr_xml *c = el->first; c; c = c->next) {
        const char *name = attr(c, "NAME");
        if (is_el(c, "NAMESPACE") && name) {
            char *longer = *ns ? vr_printf("%s/%s", *ns, name) : vr_strdup(name);
            free(*ns);
            *ns = longer;
        } else if (!is_el(c, "INSTANCENAME")) {
            collect_ns(c, ns);
        }
    }
}

static int parse_ref(const struct vr_xml *el, int depth, struct cim_path **ret, struct vr_err *err);

/* KEYVALUE or VALUE.REFERENCE as the value of key @name. */
static int parse_key(const struct vr_xml *el, const char *name, int depth, struct cim_path *p,
                     struct vr_err *err)
{
    struct cim_path *ref = NULL;

    if (is_el(el, "KEYVALUE"))
        return cim_path_add(p, name, el->text, err);
    if (parse_ref(el, depth + 1, &ref, err) < 0)
        return -1;
    return cim_path_add_ref(p, name, ref, err);
}

static int parse_instancename(const struct vr_xml *el, int depth, struct cim_path **ret,
                              struct vr_err *err)
{
    const char *cls = attr(el, "CLASSNAME");

    if (!cls || !*cls)
        return vr_fail(err, VR_E_INVAL, 0, "INSTANCENAME without CLASSNAME");
    vr_auto(cim_path_free) struct cim_path *p = cim_path_new(NULL, cls);
    for (const struct vr_xml *c = el->first; c; c = c->next) {
        if (is_el(c, "KEYBINDING")) {
            const char *name = attr(c, "NAME");
            if (!name || !c->first)
                return vr_fail(err, VR_E_INVAL, 0, "KEYBINDING without NAME or value");
            if (parse_key(c->first, name, depth, p, err) < 0)
                return -1;
        } else if (is_el(c, "KEYVALUE") || is_el(c, "VALUE.REFERENCE")) {
            if (parse_key(c, "", depth, p, err) < 0)
                return -1;
        }
    }
    *ret = vr_take(p);
    return 0;
}

static const struct vr_xml *descend(const struct vr_xml *el, const char *name)
{
    if (is_el(el, name))
        return el;
    for (const struct vr_xml *c = el->first; c; c = c->next) {
        const struct vr_xml *hit = descend(c, name);
        if (hit)
            return hit;
    }
    return NULL;
}

static int parse_ref(const struct vr_xml *el, int depth, struct cim_path **ret, struct vr_err *err)
{
    vr_auto(cim_path_free) struct cim_path *p = NULL;

    if (depth > CIM_PATH_DEPTH_MAX)
        return vr_fail(err, VR_E_LIMIT, 0, "references nested too deeply");
    if (!el->first)
        return cim_path_parse(el->trim, ret, err);
    const struct vr_xml *name = descend(el, "INSTANCENAME");
    if (!name) {
        const struct vr_xml *cls = descend(el, "CLASSNAME");
        const char *n = cls ? attr(cls, "NAME") : NULL;
        if (!n || !*n)
            return vr_fail(err, VR_E_INVAL, 0, "reference without INSTANCENAME");
        p = cim_path_new(NULL, n);
    } else if (parse_instancename(name, depth, &p, err) < 0) {
        return -1;
    }
    if (!is_el(el, "INSTANCENAME")) {
        const struct vr_xml *host = descend(el, "HOST");
        collect_ns(el, &p->ns);
        p->host = host && *host->trim ? vr_strdup(host->trim) : NULL;
    }
    *ret = vr_take(p);
    return 0;
}

int cim_xml_parse_path(const struct vr_xml *el, struct cim_path **ret, struct vr_err *err)
{
    return parse_ref(el, 0, ret, err);
}

/* ---- values ---- */

/* What no value of that type is: where less may be set than the type holds, that is told. */
static int put_text(struct cim_value *v, const struct cim_prop *pr, const char *text,
                    struct vr_err *err)
{
    struct vr_err bad = VR_ERR_INIT;

    if (cim_value_put_text(v, text, &bad) == 0)
        return 0;
    const struct vr_limit *l = vr_limit(pr->name);
    if (l)
        return vr_fail(err, VR_E_INVAL, 0, "must be %u to %u%s, not \"%.60s\"", l->least, l->most,
                       l->unit, text);
    if (err)
        *err = bad;
    return -1;
}

/* One VALUE, VALUE.REFERENCE, VALUE.OBJECT, VALUE.NULL or INSTANCE into @v. */
static int put_el(struct cim_value *v, const struct cim_prop *pr, const struct vr_xml *el,
                  int depth, struct vr_err *err)
{
    struct cim_path *ref = NULL;
    struct cim_inst *in = NULL;

    if (is_el(el, "VALUE.NULL")) {
        if (v->is_array && v->type == CIM_STRING)
            cim_value_put_str(v, NULL);
        else if (v->is_array)
            return vr_fail(err, VR_E_INVAL, 0, "NULL inside an array of %s",
                           cim_type_name(v->type));
        return 0;
    }
    switch (v->type) {
    case CIM_STRING:
        cim_value_put_str(v, el->text);
        return 0;
    case CIM_REFERENCE:
        if (parse_ref(el, 0, &ref, err) < 0)
            return -1;
        cim_value_put_ref(v, ref);
        cim_path_free(ref);
        return 0;
    case CIM_INSTANCE: {
        const struct cim_class *want = cim_class_find(pr->ref_class);
        const struct vr_xml *inner = descend(el, "INSTANCE");
        if (inner ? parse_inst(inner, want, depth + 1, &in, err) < 0
                  : parse_text(el->text, want, depth + 1, &in, err) < 0)
            return -1;
        cim_value_put_inst(v, in);
        return 0;
    }
    default:
        if (!*el->trim && !v->is_array)
            return 0; /* an empty VALUE of anything but a string says nothing */
        return put_text(v, pr, el->trim, err);
    }
}

static bool is_value(const struct vr_xml *el)
{
    return strncasecmp(el->name, "VALUE", 5) == 0 && !is_el(el, "VALUE.ARRAY") &&
           !is_el(el, "VALUE.REFARRAY") && !is_el(el, "VALUE.OBJECTARRAY");
}

static bool is_value_array(const struct vr_xml *el)
{
    return is_el(el, "VALUE.ARRAY") || is_el(el, "VALUE.REFARRAY") ||
           is_el(el, "VALUE.OBJECTARRAY");
}

/* The MI client writes a NULL array back as an array of one NULL. */
static bool is_all_null(const struct vr_xml *array)
{
    const struct vr_xml *c = array->first;

    while (c && is_el(c, "VALUE.NULL"))
        c = c->next;
    return array->first && !c;
}

/* The value children of a property element. */
static int put_values(struct cim_value *v, const struct cim_prop *pr, const struct vr_xml *el,
                      int depth, struct vr_err *err)
{
    for (const struct vr_xml *c = el->first; c; c = c->next) {
        if (is_value_array(c)) {
            if (!v->is_array)
                return vr_fail(err, VR_E_INVAL, 0, "an array where one value belongs");
            if (is_all_null(c))
                return 0;
            cim_value_empty(v);
            return put_values(v, pr, c, depth, err);
        }
        if (!is_value(c))
            continue;
        if (!v->is_array && !v->is_null)
            return vr_fail(err, VR_E_INVAL, 0, "two values where one belongs");
        if (put_el(v, pr, c, depth, err) < 0)
            return -1;
    }
    return 0;
}

/* Which properties somebody looks at; v is NULL for all. Of instances in instances: all. */
struct used {
    const int *v;
    size_t n;
};

static bool is_used(const struct used *u, int prop)
{
    size_t i = 0;

    while (u->v && i < u->n && u->v[i] != prop)
        i++;
    return !u->v || i < u->n;
}

static int put_prop(struct cim_inst *in, const struct vr_xml *el, int depth, const struct used *u,
                    struct vr_err *err)
{
    struct vr_err bad = VR_ERR_INIT;
    const char *name = attr(el, "NAME");
    int i = name ? cim_class_prop(in->cls, name) : -1;

    if (i < 0)
        return 0;
    if (in->marks[i] & CIM_MARK_SEEN)
        return vr_fail(err, VR_E_INVAL, 0, "property %s given twice", in->cls->props[i].name);
    cim_value_clear(&in->props[i]);
    in->marks[i] |= CIM_MARK_SEEN;
    if (put_values(&in->props[i], &in->cls->props[i], el, depth, &bad) == 0)
        return 0;
    if (bad.kind != VR_E_LIMIT && !is_used(u, i)) {
        cim_value_clear(&in->props[i]);
        in->marks[i] &= (uint8_t)~CIM_MARK_SEEN;
        return 0;
    }
    if (err)
        *err = bad;
    return vr_err_wrap(err, "property %s", in->cls->props[i].name);
}

/* ---- instances ---- */

/* CLASSNAME may carry a path: \\HOST\root\...:Class.Key="..." */
static const struct cim_class *class_named(const char *text)
{
    vr_auto(cim_path_free) struct cim_path *p = NULL;

    if (cim_path_parse(text, &p, NULL) < 0)
        return NULL;
    return cim_class_find(p->cls);
}

static int pick_class(const struct vr_xml *el, const struct cim_class *want,
                      const struct cim_class **ret, struct vr_err *err)
{
    const char *name = attr(el, "CLASSNAME");
    const struct cim_class *c = name ? class_named(name) : NULL;

    if (!c)
        return vr_fail(err, VR_E_TYPE, 0, "instance of unknown class \"%.100s\"", name ? name : "");
    if (want && cim_class_is_a(want, c))
        c = want;
    if (want && !cim_class_is_a(c, want))
        return vr_fail(err, VR_E_TYPE, 0, "instance of class %s where %s belongs", c->name,
                       want->name);
    *ret = c;
    return 0;
}

static int parse_inst_used(const struct vr_xml *el, const struct cim_class *want, int depth,
                           const struct used *u, struct cim_inst **ret, struct vr_err *err)
{
    const struct cim_class *c = NULL;

    if (depth > CIM_XML_DEPTH_MAX)
        return vr_fail(err, VR_E_LIMIT, 0, "instances nested too deeply");
    if (pick_class(el, want, &c, err) < 0)
        return -1;
    vr_auto(cim_inst_free) struct cim_inst *in = cim_inst_new_of(c);
    for (const struct vr_xml *p = el->first; p; p = p->next)
        if (strncasecmp(p->name, "PROPERTY", 8) == 0 && put_prop(in, p, depth, u, err) < 0)
            return vr_err_wrap(err, "instance of %s", c->name);
    *ret = vr_take(in);
    return 0;
}

static int parse_inst(const struct vr_xml *el, const struct cim_class *want, int depth,
                      struct cim_inst **ret, struct vr_err *err)
{
    return parse_inst_used(el, want, depth, &(const struct used){ NULL, 0 }, ret, err);
}

/* The first INSTANCE that is no part of a class declaration. */
static const struct vr_xml *find_instance(const struct vr_xml *el)
{
    if (is_el(el, "INSTANCE"))
        return el;
    for (const struct vr_xml *c = is_el(el, "CLASS") ? NULL : el->first; c; c = c->next) {
        const struct vr_xml *hit = find_instance(c);
        if (hit)
            return hit;
    }
    return NULL;
}

static int parse_text_used(const char *text, const struct cim_class *want, int depth,
                           const struct used *u, struct cim_inst **ret, struct vr_err *err)
{
    vr_auto(vr_xml_doc_free) struct vr_xml_doc *doc = NULL;
    struct vr_err bad = VR_ERR_INIT;

    if (vr_xml_parse(text, strlen(text), NULL, &doc, &bad) < 0)
        return vr_fail(err, bad.kind == VR_E_LIMIT ? VR_E_LIMIT : VR_E_INVAL, 0,
                       "embedded instance: %s", bad.msg);
    const struct vr_xml *el = find_instance(vr_xml_root(doc));
    if (!el)
        return vr_fail(err, VR_E_INVAL, 0, "embedded instance: no INSTANCE element");
    return parse_inst_used(el, want, depth, u, ret, err);
}

static int parse_text(const char *text, const struct cim_class *want, int depth,
                      struct cim_inst **ret, struct vr_err *err)
{
    return parse_text_used(text, want, depth, &(const struct used){ NULL, 0 }, ret, err);
}

int cim_xml_parse_used(const char *text, const struct cim_class *want, const int used[], size_t n,
                       struct cim_inst **ret, struct vr_err *err)
{
    return parse_text_used(text, want, 0, &(const struct used){ used, n }, ret, err);
}

int cim_xml_parse(const char *text, const struct cim_class *want, struct cim_inst **ret,
                  struct vr_err *err)
{
    return parse_text(text, want, 0, ret, err);
}

int cim_xml_parse_el(const struct vr_xml *el, const struct cim_class *want, struct cim_inst **ret,
                     struct vr_err *err)
{
    return parse_inst(el, want, 0, ret, err);
}

/* ---- writing ---- */

static void write_path(struct vr_xmlw *w, const struct cim_path *p, const char *host);

static void write_namespace(struct vr_xmlw *w, const char *ns)
{
    vr_xmlw_start(w, NULL, "LOCALNAMESPACEPATH");
    for (const char *s = ns; *s;) {
        size_t n = strcspn(s, "/");
        vr_autofree char *part = vr_strndup(s, n);
        vr_xmlw_start(w, NULL, "NAMESPACE");
        vr_xmlw_attr(w, "NAME", part);
        vr_xmlw_end(w);
        s += n + (s[n] == '/');
    }
    vr_xmlw_end(w);
}

static void write_instancename(struct vr_xmlw *w, const struct cim_path *p, const char *host)
{
    vr_xmlw_start(w, NULL, "INSTANCENAME");
    vr_xmlw_attr(w, "CLASSNAME", p->cls);
    for (size_t i = 0; i < p->n_keys; i++) {
        const struct cim_key *k = &p->keys[i];
        if (*k->name) {
            vr_xmlw_start(w, NULL, "KEYBINDING");
            vr_xmlw_attr(w, "NAME", k->name);
        }
        if (k->ref) {
            write_path(w, k->ref, host);
        } else {
            vr_xmlw_start(w, NULL, "KEYVALUE");
            vr_xmlw_attr(w, "VALUETYPE", "string");
            vr_xmlw_text(w, k->text);
            vr_xmlw_end(w);
        }
        if (*k->name)
            vr_xmlw_end(w);
    }
    vr_xmlw_end(w);
}

static void write_path(struct vr_xmlw *w, const struct cim_path *p, const char *host)
{
    const char *h = p->host ? p->host : host;

    vr_xmlw_start(w, NULL, "VALUE.REFERENCE");
    if (p->ns && h) {
        vr_xmlw_start(w, NULL, "INSTANCEPATH");
        vr_xmlw_start(w, NULL, "NAMESPACEPATH");
        vr_xmlw_elem(w, NULL, "HOST", h);
        write_namespace(w, p->ns);
        vr_xmlw_end(w);
    } else if (p->ns) {
        vr_xmlw_start(w, NULL, "LOCALINSTANCEPATH");
        write_namespace(w, p->ns);
    }
    write_instancename(w, p, host);
    if (p->ns)
        vr_xmlw_end(w);
    vr_xmlw_end(w);
}

/* An error inside sticks to @w, like those of the writer itself. */
static void write_datum(struct vr_xmlw *w, const struct cim_value *v, size_t i, const char *host)
{
    vr_autofree char *text = NULL;

    if (v->type == CIM_REFERENCE && cim_value_at(v, i)->ref) {
        write_path(w, cim_value_at(v, i)->ref, host);
        return;
    }
    if (v->type == CIM_INSTANCE) {
        struct vr_err *e = w->err.kind == VR_OK ? &w->err : NULL;
        if (cim_xml_text(cim_value_at(v, i)->inst, host, &text, e) < 0)
            return;
    } else {
        text = cim_value_text(v, i);
    }
    vr_xmlw_elem(w, NULL, text ? "VALUE" : "VALUE.NULL", text);
}

void cim_xml_start_prop(struct vr_xmlw *w, const struct cim_prop *p, bool is_array)
{
    bool is_ref = p->type == CIM_REFERENCE;

    vr_xmlw_start(w, NULL,
                  is_array ? "PROPERTY.ARRAY"
                  : is_ref ? "PROPERTY.REFERENCE"
                           : "PROPERTY");
    vr_xmlw_attr(w, "NAME", p->name);
    if (is_ref)
        vr_xmlw_attr(w, "REFERENCECLASS", p->ref_class);
    else
        vr_xmlw_attr(w, "TYPE", p->type == CIM_INSTANCE ? "string" : cim_type_name(p->type));
    if (p->type == CIM_INSTANCE)
        vr_xmlw_attr(w, "EmbeddedObject", "instance");
}

static void write_prop(struct vr_xmlw *w, const struct cim_prop *p, const struct cim_value *v,
                       const char *host)
{
    cim_xml_start_prop(w, p, v->is_array);
    if (!v->is_null) {
        if (v->is_array)
            vr_xmlw_start(w, NULL, "VALUE.ARRAY");
        for (size_t i = 0; i < v->n; i++)
            write_datum(w, v, i, host);
        if (v->is_array)
            vr_xmlw_end(w);
    }
    vr_xmlw_end(w);
}

void cim_xml_write(struct vr_xmlw *w, const struct cim_inst *in, const char *host)
{
    vr_xmlw_start(w, NULL, "INSTANCE");
    vr_xmlw_attr(w, "CLASSNAME", in->cls->name);
    for (size_t i = 0; i < in->cls->n_props; i++)
        write_prop(w, &in->cls->props[i], &in->props[i], host);
    vr_xmlw_end(w);
}

int cim_xml_text(const struct cim_inst *in, const char *host, char **ret, struct vr_err *err)
{
    struct vr_buf b = VR_BUF_INIT;
    struct vr_xmlw w;

    vr_xmlw_init(&w, &b);
    cim_xml_write(&w, in, host);
    if (vr_xmlw_finish(&w, err) < 0) {
        vr_buf_done(&b);
        return -1;
    }
    *ret = (char *)b.data;
    return 0;
}
