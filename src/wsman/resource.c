/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Resource URIs, selectors and endpoint references to object paths and back. Pure; any thread.
 * Names compare without case and are answered canonically. src:[wsman.md 2, 3] [contract.md E.3] */
#include "wsman/resource.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "wsman/ns.h"

enum { URI_MAX = 1024, EPR_DEPTH_MAX = 4 };

static const char *after(const char *uri, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncasecmp(uri, prefix, n) ? NULL : uri + n;
}

static const char *selector_ns(const struct vr_xml *selectors)
{
    for (const struct vr_xml *s = selectors ? selectors->first : NULL; s; s = s->next) {
        const char *name = vr_xml_attr(s, "", "Name");
        if (name && !strcasecmp(name, SELECTOR_NS))
            return s->trim;
    }
    return NULL;
}

static char *canonical_ns(const char *ns, size_t n)
{
    char *c = vr_strndup(ns, n);
    for (char *p = c; *p; p++)
        if (*p == '\\')
            *p = '/';
    static const char *const known[] = { CIM_NS_VIRT, CIM_NS_OURS, CIM_NS_HOST };
    for (size_t i = 0; i < VR_ARRAY_LEN(known); i++)
        if (cim_ns_equal(c, known[i]))
            vr_set_str(&c, known[i]);
    return c;
}

int wsm_resource_parse(const char *uri, const struct vr_xml *selectors, struct wsm_resource *ret,
                       struct wsm_fault *f)
{
    struct wsm_resource r = { .style = WSM_STYLE_DMTF };
    const char *ns = selector_ns(selectors), *cls = NULL, *rest;
    size_t ns_len = ns ? strlen(ns) : 0;
    if (strlen(uri) > URI_MAX)
        return wsm_fail(f, WSM_F_NO_RESOURCE, "the resource URI is too long");
    if ((rest = after(uri, URI_WMI))) {
        const char *slash = strrchr(rest, '/');
        if (!slash || slash == rest)
            return wsm_fail(f, WSM_F_NO_RESOURCE, "the resource URI %.200s names no class", uri);
        r.style = WSM_STYLE_WMI;
        ns = rest;
        ns_len = (size_t)(slash - rest);
        cls = slash + 1;
    } else if ((rest = after(uri, URI_DMTF))) {
        cls = rest;
    } else if ((rest = after(uri, URI_SCHEMA))) {
        r.schema = true;
        cls = rest;
    } else if (!strcasecmp(uri, URI_DMTF_ALL)) {
        cls = "*";
    }
    if (!cls || !*cls || strchr(cls, '/'))
        return wsm_fail(f, WSM_F_NO_RESOURCE, "there is no resource %.200s", uri);
    r.all = !strcmp(cls, "*");
    r.cls = r.all ? NULL : vr_strdup(cls);
    r.ns = ns ? canonical_ns(ns, ns_len) : NULL;
    *ret = r;
    return 0;
}

void wsm_resource_done(struct wsm_resource *r)
{
    free(r->ns);
    free(r->cls);
    *r = (struct wsm_resource){ 0 };
}

int wsm_resource_class(const struct wsm_resource *r, const struct cim_class **ret,
                       struct wsm_fault *f)
{
    if (r->all || r->schema)
        return wsm_fail(f, WSM_F_NO_RESOURCE, "the resource URI must name a class for this");
    struct vr_err e = VR_ERR_INIT;
    enum cim_status st = cim_lookup_class(r->ns, r->cls, ret, &e);
    return st == CIM_S_OK ? 0 : wsm_fail_cim(f, st, &e);
}

static bool has_key(const struct cim_path *p, const char *name)
{
    for (size_t i = 0; i < p->n_keys; i++)
        if (!strcasecmp(p->keys[i].name, name))
            return true;
    return false;
}

static int epr_read(const struct vr_xml *el, enum wsm_fault_id bad, int depth,
                    struct cim_path **ret, struct wsm_fault *f);

static int add_selector(struct cim_path *p, const struct vr_xml *s, int depth, struct wsm_fault *f)
{
    const char *name = vr_xml_attr(s, "", "Name");
    struct vr_err e = VR_ERR_INIT;
    if (!name || !*name)
        return wsm_fail(f, WSM_F_SEL_VALUE, "a selector has no name");
    if (!strcasecmp(name, SELECTOR_NS))
        return 0;
    if (has_key(p, name))
        return wsm_fail(f, WSM_F_SEL_TWICE, "the selector %s is given twice", name);
    if (s->first) {
        struct cim_path *ref = NULL;
        if (epr_read(s, WSM_F_SEL_VALUE, depth + 1, &ref, f))
            return -1;
        if (cim_path_add_ref(p, name, ref, &e))
            return wsm_fail(f, WSM_F_SEL_VALUE, "selector %s: %s", name, e.msg);
        return 0;
    }
    if (cim_path_add(p, name, s->text, &e))
        return wsm_fail(f, WSM_F_SEL_VALUE, "selector %s: %s", name, e.msg);
    return 0;
}

static int make_path(const struct wsm_resource *r, const struct vr_xml *selectors, int depth,
                     struct cim_path **ret, struct wsm_fault *f)
{
    const struct cim_class *c;
    if (wsm_resource_class(r, &c, f))
        return -1;
    vr_auto(cim_path_free) struct cim_path *p = cim_path_new(c->ns, c->name);
    for (const struct vr_xml *s = selectors ? selectors->first : NULL; s; s = s->next)
        if (vr_xml_is(s, NS_WSMAN, "Selector") && add_selector(p, s, depth, f))
            return -1;
    *ret = vr_take(p);
    return 0;
}

int wsm_resource_path(const struct wsm_resource *r, const struct vr_xml *selectors,
                      struct cim_path **ret, struct wsm_fault *f)
{
    return make_path(r, selectors, 0, ret, f);
}

char *wsm_class_uri(enum wsm_style style, const char *ns, const char *cls)
{
    if (style == WSM_STYLE_DMTF)
        return vr_printf("%s%s", URI_DMTF, cls);
    return vr_printf("%s%s/%s", URI_WMI, ns ? ns : CIM_NS_VIRT, cls);
}

static int path_text(const char *text, enum wsm_fault_id bad, struct cim_path **ret,
                     struct wsm_fault *f)
{
    struct vr_err e = VR_ERR_INIT;
    if (!*text)
        return wsm_fail(f, bad, "a reference is empty");
    if (cim_path_parse(text, ret, &e))
        return wsm_fail(f, bad, "reference: %s", e.msg);
    return 0;
}

static int epr_read(const struct vr_xml *el, enum wsm_fault_id bad, int depth,
                    struct cim_path **ret, struct wsm_fault *f)
{
    if (depth > EPR_DEPTH_MAX)
        return wsm_fail(f, bad, "references nest too deeply");
    const struct vr_xml *inner = wsm_addr_child(el, "EndpointReference");
    if (inner)
        el = inner;
    if (!el->first)
        return path_text(el->trim, bad, ret, f);
    const struct vr_xml *par = wsm_addr_child(el, "ReferenceParameters");
    if (!par)
        par = wsm_addr_child(el, "ReferenceProperties");
    const char *uri = vr_xml_child_trim(par, NS_WSMAN, "ResourceURI");
    if (!uri)
        return wsm_fail(f, bad, "an endpoint reference has no ResourceURI");
    const struct vr_xml *sel = vr_xml_child(par, NS_WSMAN, "SelectorSet");
    wsm_autoresource struct wsm_resource r = { 0 };
    struct wsm_fault g = { 0 };
    if (wsm_resource_parse(uri, sel, &r, &g) || make_path(&r, sel, depth, ret, &g))
        return wsm_fail(f, bad, "endpoint reference: %.500s", g.text);
    return 0;
}

int wsm_epr_read(const struct vr_xml *el, enum wsm_fault_id bad, struct cim_path **ret,
                 struct wsm_fault *f)
{
    return epr_read(el, bad, 0, ret, f);
}

static void put_selectors(struct vr_xmlw *w, const struct cim_path *p, const char *ns,
                          enum wsm_style style, bool addr10)
{
    vr_xmlw_start(w, "w", "SelectorSet");
    vr_xmlw_start(w, "w", "Selector");
    vr_xmlw_attr(w, "Name", SELECTOR_NS);
    vr_xmlw_text(w, ns);
    vr_xmlw_end(w);
    for (size_t i = 0; i < p->n_keys; i++) {
        vr_xmlw_start(w, "w", "Selector");
        vr_xmlw_attr(w, "Name", p->keys[i].name);
        if (p->keys[i].ref)
            wsm_epr_write(w, p->keys[i].ref, style, addr10, true);
        else
            vr_xmlw_text(w, p->keys[i].text);
        vr_xmlw_end(w);
    }
    vr_xmlw_end(w);
}

void wsm_epr_write(struct vr_xmlw *w, const struct cim_path *p, enum wsm_style style, bool addr10,
                   bool wrap)
{
    const struct cim_class *c = cim_path_class(p);
    const char *ns = p->ns ? p->ns : c ? c->ns : CIM_NS_VIRT;
    vr_autofree char *canon = canonical_ns(ns, strlen(ns));
    vr_autofree char *uri = wsm_class_uri(style, canon, c ? c->name : p->cls);
    if (wrap)
        vr_xmlw_start(w, "a", "EndpointReference");
    vr_xmlw_elem(w, "a", "Address", addr10 ? ADDR10_ANONYMOUS : ADDR_ANONYMOUS);
    vr_xmlw_start(w, "a", "ReferenceParameters");
    vr_xmlw_elem(w, "w", "ResourceURI", uri);
    put_selectors(w, p, canon, style, addr10);
    vr_xmlw_end(w);
    if (wrap)
        vr_xmlw_end(w);
}
