/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Class definitions in CIM-XML: of one class by Get, of many by Enumerate, as Get-CimClass asks for
 * them. Control thread. src:[DSP0227 clause 15] [MS-WSMV 3.1.4.1.38, 3.1.4.2, 3.1.4.8] */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "wsman/ns.h"
#include "wsman/wsm_int.h"

/* ClassName in the URI or among the selectors; NULL or empty: none. */
static const char *class_name(const struct wsm_call *c, const struct wsm_resource *r)
{
    const struct vr_xml *set = c->msg.selectors;
    if (r->cls)
        return r->cls;
    for (const struct vr_xml *s = set ? set->first : NULL; s; s = s->next) {
        const char *n = vr_xml_attr(s, "", "Name");
        if (n && !strcasecmp(n, "ClassName"))
            return s->trim;
    }
    return NULL;
}

static struct cim_xml_class_opts how(const struct wsm_call *c)
{
    return (struct cim_xml_class_opts){
        .inherited = wsm_call_option(c, "IncludeInheritedElements", true),
        .qualifiers = wsm_call_option(c, "IncludeQualifiers", true),
        .origin = wsm_call_option(c, "IncludeClassOrigin", true),
    };
}

static int lookup(struct wsm_call *c, const struct wsm_resource *r, const char *name,
                  const struct cim_class **ret)
{
    struct vr_err e = VR_ERR_INIT;
    enum cim_status st = cim_lookup_class(r->ns, name, ret, &e);
    return st == CIM_S_OK ? 0 : wsm_fail_cim(&c->fault, st, &e);
}

int wsm_schema_get(struct wsm_call *c, const struct wsm_resource *r)
{
    const char *name = class_name(c, r);
    const struct cim_class *cls;
    if (!name)
        return wsm_fail(&c->fault, WSM_F_SEL_MISSING, "the selector ClassName is missing");
    if (lookup(c, r, name, &cls))
        return -1;
    const struct cim_xml_class_opts o = how(c);
    cim_xml_write_class(&c->out, cls, &o);
    return 0;
}

static bool in_namespace(const struct cim_class *c, const char *ns)
{
    return !ns || cim_ns_equal(ns, c->ns);
}

/* No ClassName means all classes of the namespace, whatever is said of those below: there is
 * nothing that they could be below of. */
int wsm_schema_list(struct wsm_call *c, const struct wsm_resource *r, const struct vr_xml *filter,
                    struct wsm_schema *ret)
{
    const char *name = class_name(c, r);
    const struct cim_class *top = NULL;
    if (filter)
        return wsm_fail(&c->fault, WSM_F_UNSUPPORTED,
                        "class definitions are listed without filter");
    if (r->ns && !cim_ns_known(r->ns))
        return wsm_fail(&c->fault, WSM_F_NO_RESOURCE, "there is no namespace %.100s", r->ns);
    if (name && *name && lookup(c, r, name, &top))
        return -1;
    bool deep = wsm_call_option(c, "IncludeSubClasses", false);
    struct wsm_schema s = { .how = how(c) };
    s.paths = wsm_call_option(c, "IncludePath", false);
    s.names_only = wsm_call_option(c, "ExcludeClassSpecification", false);
    s.v = vr_new0(CIM_CLASS_COUNT, sizeof *s.v);
    for (size_t i = 0; i < CIM_CLASS_COUNT; i++) {
        const struct cim_class *k = &cim_classes[i];
        if (top ? k == top || (deep && cim_class_is_a(k, top)) : in_namespace(k, r->ns))
            s.v[s.n++] = k;
    }
    *ret = s;
    return 0;
}

void wsm_schema_done(struct wsm_schema *s)
{
    free(s->v);
    *s = (struct wsm_schema){ 0 };
}

static void put_selector(struct vr_xmlw *w, const char *name, const char *value)
{
    vr_xmlw_start(w, "w", "Selector");
    vr_xmlw_attr(w, "Name", name);
    vr_xmlw_text(w, value);
    vr_xmlw_end(w);
}

static void put_path(struct vr_xmlw *w, const struct cim_class *c, bool addr10)
{
    vr_xmlw_start(w, "a", "EndpointReference");
    vr_xmlw_elem(w, "a", "Address", addr10 ? ADDR10_ANONYMOUS : ADDR_ANONYMOUS);
    vr_xmlw_start(w, "a", "ReferenceParameters");
    vr_xmlw_elem(w, "w", "ResourceURI", URI_SCHEMA "*");
    vr_xmlw_start(w, "w", "SelectorSet");
    put_selector(w, SELECTOR_NS, c->ns);
    put_selector(w, "ClassName", c->name);
    vr_xmlw_end(w);
    vr_xmlw_end(w);
    vr_xmlw_end(w);
}

void wsm_schema_put(struct vr_xmlw *w, const struct wsm_schema *s, size_t i, bool object, bool epr,
                    bool addr10)
{
    object = object && !s->names_only;
    epr = epr || s->paths || !object;
    if (object && epr)
        vr_xmlw_start(w, "w", "Item");
    if (object)
        cim_xml_write_class(w, s->v[i], &s->how);
    if (epr)
        put_path(w, s->v[i], addr10);
    if (object && epr)
        vr_xmlw_end(w);
}
