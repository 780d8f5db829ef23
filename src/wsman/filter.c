/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Filters of Enumerate. Control thread. src:[wsman.md 4] [DSP0227 clause 17: association filters]
 */
#include <string.h>
#include <strings.h>

#include "wsman/ns.h"
#include "wsman/wsm_int.h"

static int by_class(struct wsm_call *c, const struct wsm_resource *r, bool deep,
                    const struct cim_path *props, struct wsm_answer *ret)
{
    const struct cim_class *cls;
    if (wsm_resource_class(r, &cls, &c->fault))
        return -1;
    ret->by_class = true;
    ret->scan = props ? cim_scan_select(c->w->svc, c->rq->caller, cls, deep, props)
                      : cim_scan_class(c->w->svc, c->rq->caller, cls, deep, NULL);
    return 0;
}

/* With a column list Windows answers with elements in no namespace. src:[DSP0227 8.1, MS-WSMV
 * 3.1.4.1.13: rendered as for CQL; what its clients take apart] */
static int by_wql(struct wsm_call *c, const struct wsm_resource *r, const struct vr_xml *filter,
                  struct wsm_answer *ret)
{
    struct vr_err e = VR_ERR_INIT;
    const char *ns = r->ns ? r->ns : CIM_NS_VIRT;
    struct cim_query *q = NULL;
    enum cim_status st = cim_query_parse(ns, filter->trim, &q, &e);
    if (st != CIM_S_OK)
        return wsm_fail_cim(&c->fault, st, &e);
    ret->fragments = ret->bare = q->cols != NULL;
    ret->sys = q->sys;
    ret->scan = cim_scan_query(c->w->svc, c->rq->caller, q);
    return 0;
}

static int by_selectors(struct wsm_call *c, const struct wsm_resource *r,
                        const struct vr_xml *filter, bool deep, struct wsm_answer *ret)
{
    const struct vr_xml *set = vr_xml_child(filter, NS_WSMAN, "SelectorSet");
    if (!set)
        return wsm_fail(&c->fault, WSM_F_BAD_FILTER, "the selector filter has no SelectorSet");
    vr_auto(cim_path_free) struct cim_path *p = NULL;
    struct wsm_fault f = { 0 };
    if (wsm_resource_path(r, set, &p, &f))
        return wsm_fail(&c->fault, f.id == WSM_F_NO_RESOURCE ? f.id : WSM_F_BAD_FILTER, "%s",
                        f.text);
    return by_class(c, r, deep, p, ret);
}

static const char *part(const struct vr_xml *el, const char *name)
{
    const char *t = vr_xml_child_trim(el, NS_BINDING, name);
    return t && *t ? t : NULL;
}

enum { NAMES_MAX = CIM_QUERY_COLS_MAX };

/* The properties that the filter wants; none: all. src:[DSP0227 R8.2.1-10] */
static int read_names(struct wsm_call *c, const struct vr_xml *el, const char *names[NAMES_MAX],
                      size_t *ret_n)
{
    *ret_n = 0;
    for (const struct vr_xml *i = el->first; i; i = i->next) {
        if (!vr_xml_is(i, NS_BINDING, "IncludeResultProperty"))
            continue;
        if (*ret_n == NAMES_MAX)
            return wsm_fail(&c->fault, WSM_F_BAD_FILTER, "more than %d IncludeResultProperty",
                            NAMES_MAX);
        names[(*ret_n)++] = i->trim;
    }
    return 0;
}

static int by_association(struct wsm_call *c, const struct vr_xml *filter, struct wsm_answer *ret)
{
    const struct vr_xml *objects = vr_xml_child(filter, NS_BINDING, "AssociatedInstances");
    const struct vr_xml *links = vr_xml_child(filter, NS_BINDING, "AssociationInstances");
    const struct vr_xml *el = objects ? objects : links;
    const struct vr_xml *object = vr_xml_child(el, NS_BINDING, "Object");
    const char *names[NAMES_MAX];
    size_t n;
    if (!object)
        return wsm_fail(&c->fault, WSM_F_BAD_FILTER, "the association filter names no Object");
    vr_auto(cim_path_free) struct cim_path *p = NULL;
    if (wsm_epr_read(object, WSM_F_BAD_FILTER, &p, &c->fault) || read_names(c, el, names, &n))
        return -1;
    const struct cim_assoc how = { .assoc_class = part(el, "AssociationClassName"),
                                   .result_class = part(el, "ResultClassName"),
                                   .role = part(el, "Role"),
                                   .result_role = part(el, "ResultRole") };
    ret->scan = objects ? cim_scan_associators(c->w->svc, c->rq->caller, p, &how)
                        : cim_scan_references(c->w->svc, c->rq->caller, p, &how);
    if (n)
        cim_scan_show(ret->scan, names, n);
    ret->fragments = n;
    return 0;
}

int wsm_filter(struct wsm_call *c, const struct wsm_resource *r, const struct vr_xml *filter,
               bool deep, struct wsm_answer *ret)
{
    *ret = (struct wsm_answer){ 0 };
    if (!filter && r->all)
        return wsm_fail(&c->fault, WSM_F_BAD_FILTER, "enumerating \"*\" needs a filter");
    if (!filter)
        return by_class(c, r, deep, NULL, ret);
    const char *dialect = vr_xml_attr(filter, "", "Dialect");
    if (!dialect)
        dialect = "XPath";
    if (!strcasecmp(dialect, DIALECT_WQL))
        return by_wql(c, r, filter, ret);
    if (!strcasecmp(dialect, DIALECT_SELECTOR))
        return by_selectors(c, r, filter, deep, ret);
    if (!strcasecmp(dialect, DIALECT_ASSOC))
        return by_association(c, filter, ret);
    return wsm_fail(&c->fault, WSM_F_NO_DIALECT,
                    "the filter dialect %.200s is not served; there are WQL, selector and "
                    "association filters",
                    dialect);
}
