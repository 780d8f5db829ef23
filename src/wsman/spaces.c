/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Instances of __NAMESPACE: what there is below a namespace, where CIM browsers begin. They are no
 * class of the tables, because every class there is of one namespace, and this is one of all.
 * Control thread. src:[Win32 WMI: __Namespace class] */
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "cim/path.h"
#include "wsman/ns.h"
#include "wsman/wsm_int.h"

#define SPACE_CLASS "__NAMESPACE"

bool wsm_is_spaces(const struct wsm_resource *r)
{
    return !r->schema && r->cls && !strcasecmp(r->cls, SPACE_CLASS);
}

/* The first part of what is left of a namespace, once. */
static void add(struct wsm_spaces *s, const char *rest)
{
    size_t n = strcspn(rest, "/");
    for (size_t i = 0; i < s->n; i++)
        if (!strncasecmp(s->v[i].name, rest, n) && s->v[i].len == n)
            return;
    s->v[s->n].name = rest;
    s->v[s->n++].len = n;
}

int wsm_spaces_list(struct wsm_call *c, const struct wsm_resource *r, const struct vr_xml *filter,
                    struct wsm_spaces *ret)
{
    static const char *const all[WSM_SPACES_MAX] = { CIM_NS_HOST, CIM_NS_VIRT, CIM_NS_OURS };
    const char *ns = r->ns ? r->ns : "root";
    struct wsm_spaces s = { .style = r->style };
    size_t n = strlen(ns);
    bool there = false;
    if (filter)
        return wsm_fail(&c->fault, WSM_F_UNSUPPORTED, "namespaces are listed without filter");
    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++) {
        if (strncasecmp(all[i], ns, n) != 0 || (all[i][n] && all[i][n] != '/'))
            continue;
        there = true;
        s.of = all[i];
        s.of_len = n;
        if (all[i][n])
            add(&s, all[i] + n + 1);
    }
    if (!n || !there)
        return wsm_fail(&c->fault, WSM_F_NO_RESOURCE, "there is no namespace %.100s", ns);
    *ret = s;
    return 0;
}

static struct cim_path *path_of(const struct wsm_spaces *s, size_t i)
{
    vr_autofree char *ns = vr_strndup(s->of, s->of_len);
    vr_autofree char *name = vr_strndup(s->v[i].name, s->v[i].len);
    struct cim_path *p = cim_path_new(ns, SPACE_CLASS);
    cim_path_add(p, "Name", name, NULL);
    return p;
}

static void put_object(struct vr_xmlw *w, const struct wsm_spaces *s, const struct cim_path *p)
{
    vr_autofree char *uri = wsm_class_uri(s->style, p->ns, SPACE_CLASS);
    vr_xmlw_start(w, "p", SPACE_CLASS);
    vr_xmlw_ns(w, "p", uri);
    vr_xmlw_ns(w, "xsi", NS_XSI);
    vr_xmlw_attr(w, "xsi:type", "p:" SPACE_CLASS "_Type");
    vr_xmlw_elem(w, "p", "Name", cim_path_key(p, "Name"));
    vr_xmlw_end(w);
}

void wsm_spaces_put(struct vr_xmlw *w, const struct wsm_spaces *s, size_t i, bool object, bool epr,
                    bool addr10)
{
    vr_auto(cim_path_free) struct cim_path *p = path_of(s, i);
    if (object && epr)
        vr_xmlw_start(w, "w", "Item");
    if (object)
        put_object(w, s, p);
    if (epr)
        wsm_epr_write(w, p, s->style, addr10, true);
    if (object && epr)
        vr_xmlw_end(w);
}

static const char *selector(const struct wsm_call *c, const char *name)
{
    const struct vr_xml *set = c->msg.selectors;
    for (const struct vr_xml *s = set ? set->first : NULL; s; s = s->next) {
        const char *n = vr_xml_attr(s, "", "Name");
        if (n && !strcasecmp(n, name))
            return s->trim;
    }
    return NULL;
}

int wsm_spaces_get(struct wsm_call *c, const struct wsm_resource *r)
{
    struct wsm_spaces s;
    const char *name = selector(c, "Name");
    if (wsm_spaces_list(c, r, NULL, &s))
        return -1;
    if (!name)
        return wsm_fail(&c->fault, WSM_F_SEL_MISSING, "the selector Name is missing");
    for (size_t i = 0; i < s.n; i++)
        if (strlen(name) == s.v[i].len && !strncasecmp(name, s.v[i].name, s.v[i].len)) {
            wsm_spaces_put(&c->out, &s, i, true, false, c->msg.addr10);
            return 0;
        }
    return wsm_fail(&c->fault, WSM_F_NO_INSTANCE, "there is no namespace %.100s in %.100s", name,
                    r->ns ? r->ns : "root");
}
