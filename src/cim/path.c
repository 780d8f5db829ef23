/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Object paths. Key values stay text: their type follows from the class where it matters. Only
 * references are taken apart, because two texts may name the same object. */
#include "cim/path.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/buf.h"

struct cim_path *cim_path_new(const char *ns, const char *cls)
{
    struct cim_path *p = vr_new(struct cim_path);

    p->ns = vr_strdup(ns);
    p->cls = vr_strdup(cls);
    for (char *c = p->ns; c && *c; c++)
        if (*c == '\\')
            *c = '/';
    return p;
}

static void add_key(struct cim_path *p, char *take_name, char *take_text, struct cim_path *take_ref)
{
    p->keys = vr_grow(p->keys, p->n_keys + 1, sizeof *p->keys);
    p->keys[p->n_keys++] =
        (struct cim_key){ .name = take_name, .text = take_text, .ref = take_ref };
}

struct cim_path *cim_path_of(enum cim_class_id cls, const char *value)
{
    const struct cim_class *c = cim_class_get(cls);
    struct cim_path *p = cim_path_new(c->ns, c->name);

    assert(c->n_keys == 1);
    for (size_t i = 0; i < c->n_props; i++)
        if (c->props[i].flags & CIM_F_KEY)
            add_key(p, vr_strdup(c->props[i].name), vr_strdup(value), NULL);
    return p;
}

void cim_path_free(struct cim_path *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n_keys; i++) {
        free(p->keys[i].name);
        free(p->keys[i].text);
        cim_path_free(p->keys[i].ref);
    }
    free(p->keys);
    free(p->host);
    free(p->ns);
    free(p->cls);
    free(p);
}

struct cim_path *cim_path_dup(const struct cim_path *p)
{
    if (!p)
        return NULL;
    struct cim_path *q = cim_path_new(p->ns, p->cls);
    q->host = vr_strdup(p->host);
    for (size_t i = 0; i < p->n_keys; i++)
        add_key(q, vr_strdup(p->keys[i].name), vr_strdup(p->keys[i].text),
                cim_path_dup(p->keys[i].ref));
    return q;
}

static const struct cim_key *find_key(const struct cim_path *p, const char *name)
{
    for (size_t i = 0; i < p->n_keys; i++)
        if (strcasecmp(p->keys[i].name, name) == 0 || !*p->keys[i].name || !*name)
            return &p->keys[i];
    return NULL;
}

/* References nested inside @p, itself not counted. */
static int depth_of(const struct cim_path *p)
{
    int deepest = 0;

    for (size_t i = 0; i < p->n_keys; i++) {
        int d = p->keys[i].ref ? 1 + depth_of(p->keys[i].ref) : 0;
        deepest = d > deepest ? d : deepest;
    }
    return deepest;
}

static int check_room(const struct cim_path *p, const char *name, struct vr_err *err)
{
    if (p->n_keys >= CIM_PATH_KEYS_MAX)
        return vr_fail(err, VR_E_LIMIT, 0, "more than %d keys in a path", CIM_PATH_KEYS_MAX);
    if (find_key(p, name))
        return vr_fail(err, VR_E_INVAL, 0, "key \"%.60s\" given twice", name);
    return 0;
}

static int parse_at(const char *text, int depth, struct cim_path **ret, struct vr_err *err);

static bool key_is_ref(const struct cim_path *p, const char *name)
{
    const struct cim_class *c = cim_path_class(p);
    int i = c ? cim_class_prop(c, name) : -1;

    return i >= 0 && c->props[i].type == CIM_REFERENCE;
}

static int add_at(struct cim_path *p, const char *name, const char *text, int depth,
                  struct vr_err *err)
{
    struct cim_path *ref = NULL;

    if (check_room(p, name, err) < 0)
        return -1;
    if (strnlen(text, CIM_PATH_LEN_MAX) == CIM_PATH_LEN_MAX)
        return vr_fail(err, VR_E_LIMIT, 0, "key %.60s too long", name);
    if (key_is_ref(p, name)) {
        if (parse_at(text, depth + 1, &ref, err) < 0)
            return vr_err_wrap(err, "key %s", name);
        add_key(p, vr_strdup(name), NULL, ref);
    } else {
        add_key(p, vr_strdup(name), vr_strdup(text), NULL);
    }
    return 0;
}

int cim_path_add(struct cim_path *p, const char *name, const char *text, struct vr_err *err)
{
    return add_at(p, name, text, 0, err);
}

int cim_path_add_ref(struct cim_path *p, const char *name, struct cim_path *take_ref,
                     struct vr_err *err)
{
    vr_auto(cim_path_free) struct cim_path *ref = take_ref;

    if (check_room(p, name, err) < 0)
        return -1;
    if (depth_of(ref) >= CIM_PATH_DEPTH_MAX)
        return vr_fail(err, VR_E_LIMIT, 0, "object path nested too deeply");
    add_key(p, vr_strdup(name), NULL, vr_take(ref));
    return 0;
}

static bool is_slash(char c)
{
    return c == '\\' || c == '/';
}

static int bad_path(const char *text, const char *at, const char *what, struct vr_err *err)
{
    return vr_fail(err, VR_E_INVAL, 0, "object path \"%.100s\": %s at character %zu", text, what,
                   (size_t)(at - text) + 1);
}

/* Host and namespace, each optional; *@at is then at the class. */
static int parse_prefix(const char *text, struct cim_path *p, const char **at, struct vr_err *err)
{
    const char *s = text;

    if (is_slash(s[0]) && is_slash(s[1])) {
        size_t n = strcspn(s + 2, "\\/:\"");
        if (!n || !is_slash(s[2 + n]))
            return bad_path(text, s + 2, "host and namespace expected", err);
        p->host = vr_strndup(s + 2, n);
        s += 3 + n;
    }
    size_t n = strcspn(s, ":.=\"'");
    if (s[n] == ':') {
        p->ns = vr_strndup(s, n);
        for (char *c = p->ns; *c; c++)
            if (*c == '\\')
                *c = '/';
        s += n + 1;
    } else if (p->host) {
        return bad_path(text, s, "namespace and colon expected", err);
    }
    *at = s;
    return 0;
}

/* A quoted string or a bare word (number, boolean) at *@at. */
static int parse_value(const char *text, const char **at, char **ret, struct vr_err *err)
{
    const char *s = *at;
    char quote = *s;

    if (quote != '"' && quote != '\'') {
        size_t n = strcspn(s, ",\"' ");
        if (!n)
            return bad_path(text, s, "value expected", err);
        *ret = vr_strndup(s, n);
        *at = s + n;
        return 0;
    }
    vr_autofree char *out = vr_new0(strlen(s), 1);
    size_t len = 0;
    for (s++; *s && *s != quote; s++) {
        if (*s == '\\' && (s[1] == '\\' || s[1] == '"' || s[1] == '\''))
            s++;
        out[len++] = *s;
    }
    if (!*s)
        return bad_path(text, s, "closing quote missing", err);
    *ret = vr_take(out);
    *at = s + 1;
    return 0;
}

static int parse_keys(const char *text, const char *s, int depth, struct cim_path *p,
                      struct vr_err *err)
{
    for (;;) {
        vr_autofree char *name = NULL;
        vr_autofree char *value = NULL;
        size_t n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
        if (!n || s[n] != '=')
            return bad_path(text, s, "key and \"=\" expected", err);
        name = vr_strndup(s, n);
        s += n + 1;
        if (parse_value(text, &s, &value, err) < 0 || add_at(p, name, value, depth, err) < 0)
            return -1;
        if (!*s)
            return 0;
        if (*s++ != ',')
            return bad_path(text, s - 1, "comma expected", err);
    }
}

static int parse_at(const char *text, int depth, struct cim_path **ret, struct vr_err *err)
{
    vr_auto(cim_path_free) struct cim_path *p = vr_new(struct cim_path);
    const char *s = text;

    if (depth > CIM_PATH_DEPTH_MAX)
        return vr_fail(err, VR_E_LIMIT, 0, "object path nested too deeply");
    if (strnlen(text, CIM_PATH_LEN_MAX) == CIM_PATH_LEN_MAX)
        return vr_fail(err, VR_E_LIMIT, 0, "object path too long");
    if (parse_prefix(text, p, &s, err) < 0)
        return -1;
    size_t n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
    if (!n)
        return bad_path(text, s, "class name expected", err);
    p->cls = vr_strndup(s, n);
    s += n;
    if (*s == '.') {
        if (parse_keys(text, s + 1, depth, p, err) < 0)
            return -1;
    } else if (*s == '=' && strcmp(s + 1, "@") != 0) {
        vr_autofree char *value = NULL;
        s++;
        if (parse_value(text, &s, &value, err) < 0)
            return -1;
        if (*s)
            return bad_path(text, s, "end expected", err);
        add_key(p, vr_strdup(""), vr_take(value), NULL);
    } else if (*s && *s != '=') {
        return bad_path(text, s, "\".\" or \"=\" expected", err);
    }
    *ret = vr_take(p);
    return 0;
}

int cim_path_parse(const char *text, struct cim_path **ret, struct vr_err *err)
{
    return parse_at(text, 0, ret, err);
}

/* Appending cannot fail: the text of a path is at most what one request holds (1 MiB) doubled by
 * the escapes of each of at most CIM_PATH_DEPTH_MAX + 1 levels, half the limit of a buffer. */
static void add_text(struct vr_buf *b, const char *s, size_t n)
{
    int rc = vr_buf_add(b, s, n, NULL);
    assert(rc == 0);
    (void)rc;
}

static void add_str(struct vr_buf *b, const char *s)
{
    add_text(b, s, strlen(s));
}

static void add_quoted(struct vr_buf *b, const char *s)
{
    add_str(b, "\"");
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            add_str(b, "\\");
        add_text(b, s, 1);
    }
    add_str(b, "\"");
}

/* Integers and booleans stand without quotes, src:[DSP0004 8.2.5]; not so text that is neither. */
static bool is_bare(const struct cim_class *c, const char *name, const char *text)
{
    int i = c ? cim_class_prop(c, name) : -1;

    return i >= 0 && (c->props[i].type == CIM_BOOLEAN || cim_type_bits(c->props[i].type)) &&
           *text && !text[strspn(text, "-0123456789TRUEFALStruefals")];
}

/* The name as the class spells it; a value without a name gets that of the only key. */
static const char *key_name(const struct cim_class *c, const char *name)
{
    for (size_t i = 0; c && i < c->n_props; i++)
        if (c->props[i].flags & CIM_F_KEY &&
            (strcasecmp(c->props[i].name, name) == 0 || (!*name && c->n_keys == 1)))
            return c->props[i].name;
    return name;
}

static void add_one_key(struct vr_buf *b, const struct cim_class *c, const struct cim_key *k,
                        bool first, const char *host)
{
    const char *name = key_name(c, k->name);

    if (*name) {
        add_str(b, first ? "." : ",");
        add_str(b, name);
    }
    add_str(b, "=");
    if (k->ref) {
        vr_autofree char *inner = cim_path_fmt(k->ref, host);
        add_quoted(b, inner);
    } else if (is_bare(c, name, k->text)) {
        add_str(b, k->text);
    } else {
        add_quoted(b, k->text);
    }
}

/* Positions of the keys by name. */
static void sort_keys(const struct cim_path *p, size_t order[CIM_PATH_KEYS_MAX])
{
    for (size_t i = 0; i < p->n_keys; i++) {
        size_t at = i;
        for (; at > 0 && strcasecmp(p->keys[order[at - 1]].name, p->keys[i].name) > 0; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

char *cim_path_fmt(const struct cim_path *p, const char *host)
{
    const struct cim_class *c = cim_path_class(p);
    struct vr_buf b = VR_BUF_INIT;
    const char *h = p->host ? p->host : host;

    if (h && p->ns) {
        add_str(&b, "\\\\");
        add_str(&b, h);
        add_str(&b, "\\");
    }
    for (const char *s = p->ns; s && *s; s++)
        add_text(&b, *s == '/' ? "\\" : s, 1);
    if (p->ns)
        add_str(&b, ":");
    add_str(&b, c ? c->name : p->cls);
    size_t order[CIM_PATH_KEYS_MAX];
    sort_keys(p, order);
    for (size_t i = 0; i < p->n_keys; i++)
        add_one_key(&b, c, &p->keys[order[i]], i == 0, host);
    return (char *)b.data;
}

const char *cim_path_key(const struct cim_path *p, const char *name)
{
    const struct cim_key *k = find_key(p, name);

    return k ? k->text : NULL;
}

const struct cim_path *cim_path_ref(const struct cim_path *p, const char *name)
{
    const struct cim_key *k = find_key(p, name);

    return k ? k->ref : NULL;
}

const struct cim_class *cim_path_class(const struct cim_path *p)
{
    return cim_class_find_in(p->ns, p->cls);
}

static bool class_equal(const struct cim_path *a, const struct cim_path *b)
{
    const struct cim_class *ca = cim_path_class(a), *cb = cim_path_class(b);

    if (a->ns && b->ns && !cim_ns_equal(a->ns, b->ns))
        return false;
    if (ca && cb)
        return cim_class_is_a(ca, cb) || cim_class_is_a(cb, ca);
    return strcasecmp(a->cls, b->cls) == 0;
}

bool cim_path_equal(const struct cim_path *a, const struct cim_path *b)
{
    if (!a || !b || a->n_keys != b->n_keys || !class_equal(a, b))
        return false;
    for (size_t i = 0; i < a->n_keys; i++) {
        const struct cim_key *k = &a->keys[i], *o = find_key(b, k->name);
        if (!o || !k->ref != !o->ref)
            return false;
        if (k->ref ? !cim_path_equal(k->ref, o->ref) : strcasecmp(k->text, o->text) != 0)
            return false;
    }
    return true;
}
