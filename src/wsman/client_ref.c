/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* References of the client: by class and keys or by object path, to resource URI and selectors.
 * No state. src:[contract.md section 1, E.3] */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "wsman/client_int.h"
#include "wsman/ns.h"

enum { KEYS_MAX = 16 };

/* A path taken apart. */
struct parts {
    char *ns, *cls;
    char *name[KEYS_MAX], *value[KEYS_MAX];
    size_t n;
};

static void parts_done(struct parts *p)
{
    free(p->ns);
    free(p->cls);
    for (size_t i = 0; i < p->n; i++) {
        free(p->name[i]);
        free(p->value[i]);
    }
}

/* The value at *at, quoted or not; moves behind it. */
static char *key_value(const char **at)
{
    const char *s = *at;
    char *out = vr_new0(1, strlen(s) + 1), *o = out;
    if (*s == '"') {
        for (s++; *s && *s != '"'; s++) {
            if (*s == '\\' && (s[1] == '\\' || s[1] == '"'))
                s++;
            *o++ = *s;
        }
        s += *s == '"';
    } else {
        while (*s && *s != ',')
            *o++ = *s++;
    }
    *at = s;
    return out;
}

static int parse_keys(const char *s, struct parts *p, const char *path, struct vr_err *err)
{
    while (*s) {
        const char *eq = strchr(s, '=');
        if (!eq || eq == s || p->n == KEYS_MAX)
            return vr_fail(err, VR_E_INVAL, 0, "\"%.200s\" is no object path", path);
        p->name[p->n] = vr_strndup(s, (size_t)(eq - s));
        s = eq + 1;
        p->value[p->n++] = key_value(&s);
        if (*s && *s++ != ',')
            return vr_fail(err, VR_E_INVAL, 0, "\"%.200s\" is no object path", path);
    }
    return 0;
}

static int parse_path(const char *path, struct parts *p, struct vr_err *err)
{
    const char *s = path;
    if ((s[0] == '\\' && s[1] == '\\') || (s[0] == '/' && s[1] == '/')) {
        s += 2;
        s += strcspn(s, "\\/"); /* the host */
        s += *s != 0;
    }
    size_t dot = strcspn(s, ".=\"");
    const char *colon = memchr(s, ':', dot);
    if (colon) {
        p->ns = vr_strndup(s, (size_t)(colon - s));
        for (char *c = p->ns; *c; c++)
            if (*c == '\\')
                *c = '/';
        dot -= (size_t)(colon + 1 - s);
        s = colon + 1;
    }
    if (!dot)
        return vr_fail(err, VR_E_INVAL, 0, "\"%.200s\" is no object path", path);
    p->cls = vr_strndup(s, dot);
    s += dot;
    return *s == '.' ? parse_keys(s + 1, p, path, err) : 0;
}

static int take_apart(const struct wsmc_ref *ref, struct parts *p, struct vr_err *err)
{
    if (!ref->cls && !ref->path)
        return vr_fail(err, VR_E_INVAL, 0, "a reference names neither class nor path");
    if (!ref->cls && parse_path(ref->path, p, err))
        return -1;
    if (ref->cls) {
        p->cls = vr_strdup(ref->cls);
        for (size_t i = 0; i < ref->n_keys && i < KEYS_MAX; i++) {
            p->name[i] = vr_strdup(ref->keys[i].name);
            p->value[i] = vr_strdup(ref->keys[i].value);
            p->n++;
        }
    }
    if (!p->ns)
        p->ns = vr_strdup(ref->ns ? ref->ns : WSMC_NS_VIRT);
    return 0;
}

static void put_selectors(struct vr_xmlw *w, const struct parts *p)
{
    vr_xmlw_start(w, "w", "SelectorSet");
    vr_xmlw_start(w, "w", "Selector");
    vr_xmlw_attr(w, "Name", SELECTOR_NS);
    vr_xmlw_text(w, p->ns);
    vr_xmlw_end(w);
    for (size_t i = 0; i < p->n; i++) {
        vr_xmlw_start(w, "w", "Selector");
        vr_xmlw_attr(w, "Name", p->name[i]);
        vr_xmlw_text(w, p->value[i]);
        vr_xmlw_end(w);
    }
    vr_xmlw_end(w);
}

int wsmc_put_ref(struct vr_xmlw *w, const struct wsmc_ref *ref, struct vr_err *err)
{
    struct parts p = { 0 };
    int rc = take_apart(ref, &p, err);
    if (!rc) {
        vr_autofree char *uri = vr_printf(URI_WMI "%s/%s", p.ns, p.cls);
        vr_xmlw_elem(w, "w", "ResourceURI", uri);
        put_selectors(w, &p);
    }
    parts_done(&p);
    return rc;
}

int wsmc_ref_uri(const struct wsmc_ref *ref, char **ret, struct vr_err *err)
{
    struct parts p = { 0 };
    int rc = take_apart(ref, &p, err);
    if (!rc)
        *ret = vr_printf(URI_WMI "%s/%s", p.ns, p.cls);
    parts_done(&p);
    return rc;
}

static int put_arg(struct vr_xmlw *w, const struct wsmc_arg *a, struct vr_err *err)
{
    if (!a->ref) {
        if (a->value)
            vr_xmlw_elem(w, "p", a->name, a->value);
        for (size_t i = 0; i < a->n; i++)
            vr_xmlw_elem(w, "p", a->name, a->many[i]);
        return 0;
    }
    vr_xmlw_start(w, "p", a->name);
    vr_xmlw_elem(w, "a", "Address", ADDR_ANONYMOUS);
    vr_xmlw_start(w, "a", "ReferenceParameters");
    int rc = wsmc_put_ref(w, a->ref, err);
    vr_xmlw_end(w);
    vr_xmlw_end(w);
    return rc;
}

int wsmc_put_args(struct vr_xmlw *w, const struct wsmc_arg *args, size_t n, struct vr_err *err)
{
    for (size_t i = 0; i < n; i++)
        if (put_arg(w, &args[i], err))
            return vr_err_wrap(err, "parameter %s", args[i].name);
    return 0;
}
