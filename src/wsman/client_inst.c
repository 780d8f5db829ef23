/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Results of the client: elements of a reply, or CIM-XML text, to plain properties. No state. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "wsman/client_int.h"
#include "wsman/ns.h"

enum { DEPTH_MAX = 8 };

void wsmc_inst_free(struct wsmc_inst *in)
{
    if (!in)
        return;
    for (size_t i = 0; i < in->n; i++) {
        struct wsmc_prop *p = &in->props[i];
        for (size_t k = 0; k < p->n; k++) {
            free(p->v[k]);
            if (p->inst)
                wsmc_inst_free(p->inst[k]);
            if (p->ref_id)
                free(p->ref_id[k]);
        }
        free(p->name);
        free(p->v);
        free(p->inst);
        free(p->ref_id);
    }
    free(in->props);
    free(in->cls);
    free(in);
}

void wsmc_list_done(struct wsmc_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        wsmc_inst_free(l->v[i]);
    free(l->v);
    *l = (struct wsmc_list){ 0 };
}

const struct wsmc_prop *wsmc_prop(const struct wsmc_inst *in, const char *name)
{
    for (size_t i = 0; in && i < in->n; i++)
        if (!strcasecmp(in->props[i].name, name))
            return &in->props[i];
    return NULL;
}

const char *wsmc_str(const struct wsmc_inst *in, const char *name)
{
    const struct wsmc_prop *p = wsmc_prop(in, name);
    return p && p->n ? p->v[0] : NULL;
}

uint64_t wsmc_uint(const struct wsmc_inst *in, const char *name, uint64_t dflt)
{
    const char *s = wsmc_str(in, name);
    if (!s || !*s || strspn(s, "0123456789") != strlen(s))
        return dflt;
    errno = 0;
    unsigned long long v = strtoull(s, NULL, 10);
    return errno ? dflt : v;
}

bool wsmc_bool(const struct wsmc_inst *in, const char *name)
{
    const char *s = wsmc_str(in, name);
    return s && !strcasecmp(s, "true");
}

const char *wsmc_job_id(const struct wsmc_inst *out)
{
    const struct wsmc_prop *p = wsmc_prop(out, "Job");
    return p && p->n && p->ref_id ? p->ref_id[0] : NULL;
}

/* ---- reading --------------------------------------------------------------------------------- */

static struct wsmc_prop *prop_for(struct wsmc_inst *in, const char *name)
{
    for (size_t i = 0; i < in->n; i++)
        if (!strcmp(in->props[i].name, name))
            return &in->props[i];
    in->props = vr_grow(in->props, in->n + 1, sizeof *in->props);
    struct wsmc_prop *p = &in->props[in->n++];
    *p = (struct wsmc_prop){ .name = vr_strdup(name) };
    return p;
}

/* Takes all three. */
static void add_value(struct wsmc_prop *p, char *text, struct wsmc_inst *inst, char *ref_id)
{
    p->v = vr_grow(p->v, p->n + 1, sizeof *p->v);
    p->inst = vr_grow(p->inst, p->n + 1, sizeof *p->inst);
    p->ref_id = vr_grow(p->ref_id, p->n + 1, sizeof *p->ref_id);
    p->v[p->n] = text;
    p->inst[p->n] = inst;
    p->ref_id[p->n] = ref_id;
    p->n++;
}

static const struct vr_xml *addr_child(const struct vr_xml *el, const char *name)
{
    const struct vr_xml *c = vr_xml_child(el, NS_ADDR, name);
    return c ? c : vr_xml_child(el, NS_ADDR10, name);
}

static void add_key(struct vr_buf *b, const char *name, const char *value, bool first)
{
    vr_buf_printf(b, NULL, "%s%s=\"", first ? "." : ",", name);
    for (; *value; value++)
        vr_buf_printf(b, NULL, *value == '"' || *value == '\\' ? "\\%c" : "%c", *value);
    vr_buf_add(b, "\"", 1, NULL);
}

/* An endpoint reference as object path. @ret_id: value of its last key, or NULL. */
static char *ref_path(const struct vr_xml *par, char **ret_id, int depth)
{
    const char *uri = vr_xml_child_trim(par, NS_WSMAN, "ResourceURI");
    const char *cls = uri ? strrchr(uri, '/') : NULL;
    const char *ns = WSMC_NS_VIRT;
    vr_autobuf struct vr_buf keys = VR_BUF_INIT;
    const struct vr_xml *set = vr_xml_child(par, NS_WSMAN, "SelectorSet");
    *ret_id = NULL;
    for (const struct vr_xml *s = set ? set->first : NULL; s; s = s->next) {
        const char *name = vr_xml_attr(s, "", "Name");
        if (!name)
            continue;
        if (!strcasecmp(name, SELECTOR_NS)) {
            ns = s->trim;
            continue;
        }
        const struct vr_xml *inner =
            addr_child(addr_child(s, "EndpointReference"), "ReferenceParameters");
        vr_autofree char *unused = NULL;
        vr_autofree char *nested =
            inner && depth < DEPTH_MAX ? ref_path(inner, &unused, depth + 1) : NULL;
        const char *value = nested ? nested : s->text;
        add_key(&keys, name, value, !keys.len);
        vr_set_str(ret_id, value);
    }
    return vr_printf("%s:%s%s", ns, cls ? cls + 1 : "", keys.len ? (char *)keys.data : "");
}

static bool is_nil(const struct vr_xml *el)
{
    const char *v = vr_xml_attr(el, NS_XSI, "nil");
    return v && (!strcasecmp(v, "true") || !strcmp(v, "1"));
}

static void read_value(struct wsmc_prop *p, const struct vr_xml *el, int depth)
{
    const struct vr_xml *epr = addr_child(el, "EndpointReference");
    const struct vr_xml *par = addr_child(epr ? epr : el, "ReferenceParameters");
    if (is_nil(el)) {
        p->is_nil = !p->n;
    } else if (par) {
        char *id;
        char *path = ref_path(par, &id, depth);
        add_value(p, path, NULL, id);
    } else if (el->first && !strcmp(el->first->ns, NS_CIM)) {
        add_value(p, vr_strdup(el->first->trim), NULL, NULL); /* datetime */
    } else if (el->first && depth < DEPTH_MAX) {
        const char *type = vr_xml_attr(el, NS_XSI, "type");
        const char *colon = type ? strrchr(type, ':') : NULL;
        vr_autofree char *cls = vr_strdup(colon ? colon + 1 : type ? type : el->name);
        char *end = strstr(cls, "_Type");
        if (end)
            *end = 0;
        add_value(p, vr_strdup(""), wsmc_inst_read(el, cls, depth + 1), NULL);
    } else {
        add_value(p, vr_strdup(el->text), NULL, NULL);
    }
}

struct wsmc_inst *wsmc_inst_read(const struct vr_xml *el, const char *cls, int depth)
{
    struct wsmc_inst *in = vr_new(struct wsmc_inst);
    in->cls = vr_strdup(cls);
    for (const struct vr_xml *c = el->first; c; c = c->next)
        read_value(prop_for(in, c->name), c, depth);
    return in;
}

/* ---- CIM-XML --------------------------------------------------------------------------------- */

static const struct vr_xml *find_instance(const struct vr_xml *el)
{
    if (!strcmp(el->name, "INSTANCE"))
        return el;
    for (const struct vr_xml *c = el->first; c; c = c->next) {
        const struct vr_xml *found = find_instance(c); /* depth is limited by the parser */
        if (found)
            return found;
    }
    return NULL;
}

static void read_cim_property(struct wsmc_inst *in, const struct vr_xml *el)
{
    const char *name = vr_xml_attr(el, "", "NAME");
    if (!name || strncmp(el->name, "PROPERTY", 8))
        return;
    struct wsmc_prop *p = prop_for(in, name);
    const struct vr_xml *list = vr_xml_child(el, "", "VALUE.ARRAY");
    const struct vr_xml *one = vr_xml_child(el, "", "VALUE");
    p->is_nil = !list && !one;
    for (const struct vr_xml *v = list ? list->first : one; v; v = list ? v->next : NULL)
        add_value(p, vr_strdup(v->text), NULL, NULL);
}

int wsmc_cim_xml(const char *text, struct wsmc_inst **ret, struct vr_err *err)
{
    vr_auto(vr_xml_doc_free) struct vr_xml_doc *doc = NULL;
    if (vr_xml_parse(text, strlen(text), NULL, &doc, err))
        return vr_err_wrap(err, "embedded instance");
    const struct vr_xml *el = find_instance(vr_xml_root(doc));
    const char *cls = el ? vr_xml_attr(el, "", "CLASSNAME") : NULL;
    if (!cls)
        return vr_fail(err, VR_E_PROTO, 0, "the text holds no instance");
    struct wsmc_inst *in = vr_new(struct wsmc_inst);
    in->cls = vr_strdup(cls);
    for (const struct vr_xml *c = el->first; c; c = c->next)
        read_cim_property(in, c);
    *ret = in;
    return 0;
}

char *wsmc_make_cim_xml(const char *cls, const struct wsmc_arg *props, size_t n)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct vr_xmlw w;
    vr_xmlw_init(&w, &b);
    vr_xmlw_start(&w, NULL, "INSTANCE");
    vr_xmlw_attr(&w, "CLASSNAME", cls);
    for (size_t i = 0; i < n; i++) {
        const struct wsmc_arg *a = &props[i];
        vr_xmlw_start(&w, NULL, a->many ? "PROPERTY.ARRAY" : "PROPERTY");
        vr_xmlw_attr(&w, "NAME", a->name);
        vr_xmlw_attr(&w, "TYPE", "string");
        if (a->many)
            vr_xmlw_start(&w, NULL, "VALUE.ARRAY");
        if (!a->many && a->value)
            vr_xmlw_elem(&w, NULL, "VALUE", a->value);
        for (size_t k = 0; a->many && k < a->n; k++)
            vr_xmlw_elem(&w, NULL, "VALUE", a->many[k]);
        if (a->many)
            vr_xmlw_end(&w);
        vr_xmlw_end(&w);
    }
    vr_xmlw_end(&w);
    return b.data ? vr_strdup((char *)b.data) : vr_strdup("");
}
