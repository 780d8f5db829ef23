/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CIM values to XML. One element per property in class order; NULL is xsi:nil; arrays repeat the
 * element, an empty array is no element. Who asks for precise arrays can tell a NULL array from one
 * with a NULL in it. Any thread; no state. src:[wsman.md 5] [MS-WSMV 4.11.1] */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cim/query.h"
#include "wsman/codec.h"
#include "wsman/ns.h"

static void put_props(struct vr_xmlw *w, const struct wsm_enc *enc, const struct cim_inst *in,
                      const struct cim_class *as);

/* An embedded object is in the namespace of its own class, its element in that of the outer one. */
static const char *prefix(const struct wsm_enc *enc)
{
    static const char *const names[] = { "p", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8" };
    if (enc->bare && !enc->level)
        return NULL;
    return names[enc->level < VR_ARRAY_LEN(names) ? enc->level : VR_ARRAY_LEN(names) - 1];
}

static void put_nil(struct vr_xmlw *w, const struct wsm_enc *enc, const char *name, bool array)
{
    bool mark = array && enc->precise_arrays;
    vr_xmlw_start(w, prefix(enc), name);
    if (mark)
        vr_xmlw_ns(w, "m", NS_MS);
    vr_xmlw_attr(w, "xsi:nil", "true");
    if (mark)
        vr_xmlw_attr(w, "m:IsNullArray", "true");
    vr_xmlw_end(w);
}

void wsm_put_datetime(struct vr_xmlw *w, const struct wsm_enc *enc, const struct cim_datetime *d)
{
    char text[CIM_DATETIME_XS];
    if (enc->datetime_elements)
        vr_xmlw_elem(w, enc->bare && !enc->level ? NULL : "cim",
                     d->is_interval ? "Interval" : "Datetime", cim_datetime_xs(d, text));
    else
        vr_xmlw_text(w, cim_datetime_fmt(d, text));
}

static void put_type(struct vr_xmlw *w, const struct wsm_enc *enc, const struct cim_class *c)
{
    vr_autofree char *type = vr_printf("%s:%s_Type", prefix(enc), c->name);
    vr_xmlw_attr(w, "xsi:type", type);
}

void wsm_put_embedded(struct vr_xmlw *w, const struct wsm_enc *enc, const struct cim_inst *in)
{
    vr_autofree char *uri = wsm_class_uri(enc->style, in->cls->ns, in->cls->name);
    struct wsm_enc inner = *enc;
    inner.level++;
    vr_xmlw_ns(w, prefix(&inner), uri);
    put_type(w, &inner, in->cls);
    put_props(w, &inner, in, in->cls);
}

static void put_one(struct vr_xmlw *w, const struct wsm_enc *enc, const char *name,
                    const struct cim_value *v, size_t i)
{
    const union cim_datum *d = cim_value_at(v, i);
    bool null = (v->type == CIM_STRING && !d->str) || (v->type == CIM_REFERENCE && !d->ref) ||
                (v->type == CIM_INSTANCE && !d->inst);
    if (null) {
        put_nil(w, enc, name, false);
        return;
    }
    vr_xmlw_start(w, prefix(enc), name);
    if (v->type == CIM_STRING) {
        vr_xmlw_text(w, d->str);
    } else if (v->type == CIM_DATETIME) {
        wsm_put_datetime(w, enc, &d->dt);
    } else if (v->type == CIM_REFERENCE) {
        wsm_epr_write(w, d->ref, enc->style, enc->addr10, false);
    } else if (v->type == CIM_INSTANCE) {
        wsm_put_embedded(w, enc, d->inst);
    } else {
        vr_autofree char *text = cim_value_text(v, i);
        vr_xmlw_text(w, text);
    }
    vr_xmlw_end(w);
}

void wsm_put_value(struct vr_xmlw *w, const struct wsm_enc *enc, const char *name,
                   const struct cim_value *v)
{
    if (v->is_null)
        put_nil(w, enc, name, v->is_array);
    for (size_t i = 0; !v->is_null && i < v->n; i++)
        put_one(w, enc, name, v, i);
}

static void put_props(struct vr_xmlw *w, const struct wsm_enc *enc, const struct cim_inst *in,
                      const struct cim_class *as)
{
    for (size_t i = 0; i < as->n_props; i++) {
        int k = as == in->cls ? (int)i : cim_class_prop(in->cls, as->props[i].name);
        if (k >= 0 && !cim_inst_is_hidden(in, k))
            wsm_put_value(w, enc, as->props[i].name, cim_inst_value(in, k));
    }
}

static void declare(struct vr_xmlw *w, const char *uri)
{
    if (uri)
        vr_xmlw_ns(w, "p", uri);
    vr_xmlw_ns(w, "xsi", NS_XSI);
    vr_xmlw_ns(w, "cim", NS_CIM);
}

void wsm_put_instance(struct vr_xmlw *w, const struct wsm_enc *enc, const struct cim_inst *in,
                      const struct cim_class *as)
{
    if (!as)
        as = in->cls;
    vr_autofree char *uri = wsm_class_uri(enc->style, as->ns, as->name);
    vr_xmlw_start(w, "p", as->name);
    declare(w, uri);
    put_type(w, enc, as);
    put_props(w, enc, in, as);
    vr_xmlw_end(w);
}

static void put_system(struct vr_xmlw *w, const struct wsm_enc *enc, const struct cim_inst *in,
                       unsigned sys, const char *host)
{
    static const struct {
        enum cim_syscol col;
        const char *name;
    } cols[] = {
#define A(bit, n, text) { CIM_SYS_##n, text },
        CIM_SYSTEM_COLUMNS(A)
#undef A
    };

    for (size_t i = 0; i < VR_ARRAY_LEN(cols); i++) {
        if (!(sys & cols[i].col))
            continue;
        vr_autofree char *text = cim_system_text(in, cols[i].col, host);
        if (text)
            vr_xmlw_elem(w, prefix(enc), cols[i].name, text);
        else
            put_nil(w, enc, cols[i].name, false);
    }
}

void wsm_put_fragment(struct vr_xmlw *w, const struct wsm_enc *enc, const struct cim_inst *in,
                      bool bare, unsigned sys, const char *host)
{
    struct wsm_enc e = *enc;
    e.bare = bare;
    vr_autofree char *uri = wsm_class_uri(enc->style, in->cls->ns, in->cls->name);
    vr_xmlw_start(w, "w", "XmlFragment");
    declare(w, bare ? NULL : uri);
    put_system(w, &e, in, sys, host);
    put_props(w, &e, in, in->cls);
    vr_xmlw_end(w);
}

void wsm_put_output(struct vr_xmlw *w, const struct wsm_enc *enc, const char *uri,
                    const struct cim_args *args, uint32_t ret)
{
    const struct cim_method *m = args->method;
    vr_xmlw_start2(w, "p", m->name, "_OUTPUT");
    declare(w, uri);
    for (size_t i = 0; i < m->n_params; i++)
        if (m->params[i].flags & CIM_F_OUT)
            wsm_put_value(w, enc, m->params[i].name, &args->v[i]);
    vr_autofree char *text = vr_printf("%u", ret);
    vr_xmlw_elem(w, "p", "ReturnValue", text);
    vr_xmlw_end(w);
}
