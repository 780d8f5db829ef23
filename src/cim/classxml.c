/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writing class declarations as CIM-XML, which clients fetch before they build embedded instances
 * or call methods with typed arguments. src:[contract.md E.3; DSP0201]. Any thread. */
#include "base/alloc.h"
#include "cim/cimxml.h"

static void qual_value(struct vr_xmlw *w, const char *name, const char *type, const char *value)
{
    vr_xmlw_start(w, NULL, "QUALIFIER");
    vr_xmlw_attr(w, "NAME", name);
    vr_xmlw_attr(w, "TYPE", type);
    vr_xmlw_elem(w, NULL, "VALUE", value);
    vr_xmlw_end(w);
}

static void qual_flag(struct vr_xmlw *w, const char *name, bool on)
{
    if (on)
        qual_value(w, name, "boolean", "true");
}

static void qual_number(struct vr_xmlw *w, const char *name, const char *type, size_t value)
{
    vr_autofree char *text = vr_printf("%zu", value);

    qual_value(w, name, type, text);
}

static void qual_strings(struct vr_xmlw *w, const char *name, const char *const *v, size_t n)
{
    vr_xmlw_start(w, NULL, "QUALIFIER");
    vr_xmlw_attr(w, "NAME", name);
    vr_xmlw_attr(w, "TYPE", "string");
    vr_xmlw_start(w, NULL, "VALUE.ARRAY");
    for (size_t i = 0; i < n; i++)
        vr_xmlw_elem(w, NULL, "VALUE", v[i]);
    vr_xmlw_end(w);
    vr_xmlw_end(w);
}

static void qual_map(struct vr_xmlw *w, const struct cim_valuemap *m)
{
    if (!m)
        return;
    qual_strings(w, "ValueMap", m->codes, m->n);
    if (m->texts)
        qual_strings(w, "Values", m->texts, m->n);
}

static void qual_embedded(struct vr_xmlw *w, enum cim_type type, const char *ref_class,
                          const char *embedded)
{
    const char *cls = type == CIM_INSTANCE ? ref_class : embedded;

    if (cls)
        qual_value(w, "EmbeddedInstance", "string", cls);
}

/* Which element replaces it is said nowhere: the convention for that. */
static void qual_deprecated(struct vr_xmlw *w, unsigned flags)
{
    static const char *const unknown[] = { "No value" };

    if (flags & CIM_F_DEPRECATED)
        qual_strings(w, "Deprecated", unknown, 1);
}

/* Declared here, but first by a class above. */
static void qual_override(struct vr_xmlw *w, const struct cim_class *c, const char *name,
                          enum cim_class_id origin, unsigned flags)
{
    if (flags & CIM_F_LOCAL && origin != c->id)
        qual_value(w, "Override", "string", name);
}

static void write_default(struct vr_xmlw *w, const struct cim_prop *p)
{
    if (!p->def)
        return;
    if (!(p->flags & CIM_F_ARRAY)) {
        vr_xmlw_elem(w, NULL, "VALUE", p->def[0]);
        return;
    }
    vr_xmlw_start(w, NULL, "VALUE.ARRAY");
    for (size_t i = 0; i < p->n_def; i++)
        vr_xmlw_elem(w, NULL, "VALUE", p->def[i]);
    vr_xmlw_end(w);
}

static void origin_attrs(struct vr_xmlw *w, const struct cim_xml_class_opts *o,
                         enum cim_class_id origin, unsigned flags)
{
    if (!o->origin)
        return;
    vr_xmlw_attr(w, "CLASSORIGIN", cim_class_get(origin)->name);
    vr_xmlw_attr(w, "PROPAGATED", flags & CIM_F_LOCAL ? "false" : "true");
}

static void write_prop(struct vr_xmlw *w, const struct cim_class *c, const struct cim_prop *p,
                       const struct cim_xml_class_opts *o)
{
    cim_xml_start_prop(w, p, p->flags & CIM_F_ARRAY);
    origin_attrs(w, o, p->origin, p->flags);
    if (o->qualifiers) {
        qual_flag(w, "Key", p->flags & CIM_F_KEY);
        qual_flag(w, "Read", true);
        qual_flag(w, "Write", p->flags & CIM_F_WRITE);
        qual_embedded(w, p->type, p->ref_class, p->embedded);
        if (p->maxlen)
            qual_number(w, "MaxLen", "uint32", p->maxlen);
        qual_map(w, p->map);
        qual_override(w, c, p->name, p->origin, p->flags);
        qual_deprecated(w, p->flags);
    }
    write_default(w, p);
    vr_xmlw_end(w);
}

static const char *param_element(const struct cim_param *p)
{
    if (p->type == CIM_REFERENCE)
        return p->flags & CIM_F_ARRAY ? "PARAMETER.REFARRAY" : "PARAMETER.REFERENCE";
    return p->flags & CIM_F_ARRAY ? "PARAMETER.ARRAY" : "PARAMETER";
}

static void write_param(struct vr_xmlw *w, const struct cim_param *p, size_t id,
                        const struct cim_xml_class_opts *o)
{
    vr_xmlw_start(w, NULL, param_element(p));
    vr_xmlw_attr(w, "NAME", p->name);
    if (p->type == CIM_REFERENCE)
        vr_xmlw_attr(w, "REFERENCECLASS", p->ref_class);
    else
        vr_xmlw_attr(w, "TYPE", p->type == CIM_INSTANCE ? "string" : cim_type_name(p->type));
    if (p->type == CIM_INSTANCE)
        vr_xmlw_attr(w, "EmbeddedObject", "instance");
    if (o->qualifiers) {
        qual_flag(w, "In", p->flags & CIM_F_IN);
        qual_flag(w, "Out", p->flags & CIM_F_OUT);
        qual_number(w, "ID", "sint32", id);
        qual_embedded(w, p->type, p->ref_class, p->embedded);
        qual_map(w, p->map);
    }
    vr_xmlw_end(w);
}

static void write_method(struct vr_xmlw *w, const struct cim_class *c, const struct cim_method *m,
                         const struct cim_xml_class_opts *o)
{
    vr_xmlw_start(w, NULL, "METHOD");
    vr_xmlw_attr(w, "NAME", m->name);
    vr_xmlw_attr(w, "TYPE", cim_type_name(m->type));
    origin_attrs(w, o, m->origin, m->flags);
    if (o->qualifiers) {
        qual_flag(w, "Implemented", m->flags & CIM_F_IMPLEMENTED);
        /* src:[contract.md B.0] WMI's word for a method that is called without a Get before it */
        qual_flag(w, "Bypass_GetObject", m->flags & CIM_F_IMPLEMENTED);
        qual_flag(w, "Static", m->flags & CIM_F_STATIC);
        qual_map(w, m->map);
        qual_override(w, c, m->name, m->origin, m->flags);
        qual_deprecated(w, m->flags);
    }
    for (size_t i = 0; i < m->n_params; i++)
        write_param(w, &m->params[i], i, o);
    vr_xmlw_end(w);
}

void cim_xml_write_class(struct vr_xmlw *w, const struct cim_class *c,
                         const struct cim_xml_class_opts *o)
{
    vr_xmlw_start(w, NULL, "CLASS");
    vr_xmlw_attr(w, "NAME", c->name);
    if (c->super) {
        vr_autofree char *chain = vr_strdup(c->super->name);
        vr_xmlw_attr(w, "SUPERCLASS", c->super->name);
        for (const struct cim_class *s = c->super->super; s; s = s->super) {
            char *longer = vr_printf("%s,%s", chain, s->name);
            vr_freep(&chain);
            chain = longer;
        }
        vr_xmlw_attr(w, "DERIVATION", chain);
    }
    if (o->qualifiers) {
        qual_flag(w, "Abstract", c->is_abstract);
        qual_flag(w, "Association", c->is_association);
    }
    for (size_t i = 0; i < c->n_props; i++)
        if (o->inherited || c->props[i].flags & CIM_F_LOCAL)
            write_prop(w, c, &c->props[i], o);
    for (size_t i = 0; i < c->n_methods; i++)
        if (o->inherited || c->methods[i].flags & CIM_F_LOCAL)
            write_method(w, c, &c->methods[i], o);
    vr_xmlw_end(w);
}
