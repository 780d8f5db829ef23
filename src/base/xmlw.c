/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* XML output with sticky errors. Names of open elements are kept as places in the output, so
 * nothing is allocated here. Any thread; one writer by one thread at a time. */
#include "base/xmlw.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

void vr_xmlw_init(struct vr_xmlw *w, struct vr_buf *b)
{
    *w = (struct vr_xmlw){ .b = b };
}

/* Most of what is written is a few bytes, for which there is room. */
static void put(struct vr_xmlw *w, const void *p, size_t n)
{
    struct vr_buf *b = w->b;
    size_t max = b->max ? b->max : VR_BUF_MAX;
    if (w->err.kind || !n)
        return;
    if (b->cap - b->len <= n || n > max || b->len > max - n) {
        vr_buf_add(b, p, n, &w->err);
        return;
    }
    memcpy(b->data + b->len, p, n);
    b->len += n;
    b->data[b->len] = 0;
}

static void puts_(struct vr_xmlw *w, const char *s)
{
    put(w, s, strlen(s));
}

static void close_tag(struct vr_xmlw *w)
{
    if (w->in_tag)
        put(w, ">", 1);
    w->in_tag = false;
}

/* Length of the valid XML character at @s, 0 if the first byte has to be replaced. */
static size_t char_len(const unsigned char *s, size_t n)
{
    if (s[0] < 0x80)
        return s[0] >= 0x20 || s[0] == '\t' || s[0] == '\n' || s[0] == '\r' ? 1 : 0;
    size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || len > n)
        return 0;
    uint32_t c = s[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3fu);
    }
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    if (c < least[len] || (c >= 0xd800 && c <= 0xdfff) || c == 0xfffe || c == 0xffff ||
        c > 0x10ffff)
        return 0;
    return len;
}

static const char *escape_of(unsigned char c, bool attr)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '\r':
        return "&#13;"; /* would be read back as a line feed */
    case '"':
        return attr ? "&quot;" : NULL;
    case '\n':
        return attr ? "&#10;" : NULL;
    case '\t':
        return attr ? "&#9;" : NULL;
    default:
        return NULL;
    }
}

/* Printable ASCII that nothing needs to be done about, in text and attributes alike. */
static const bool is_plain[256] = {
    [' '] = true,          ['!'] = true, ['#' ... '%'] = true,
    ['\'' ... ';'] = true, ['='] = true, ['?' ... '~'] = true,
};

static void escaped(struct vr_xmlw *w, const char *text, size_t n, bool attr)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t from = 0, i = 0;
    while (i < n) {
        if (is_plain[s[i]]) {
            i++;
            continue;
        }
        size_t len = char_len(s + i, n - i);
        const char *esc = len == 0 ? "\xef\xbf\xbd" : len == 1 ? escape_of(s[i], attr) : NULL;
        if (esc) {
            put(w, s + from, i - from);
            puts_(w, esc);
            from = i + 1;
        }
        i += len ? len : 1;
    }
    put(w, s + from, n - from);
}

void vr_xmlw_start2(struct vr_xmlw *w, const char *prefix, const char *name, const char *suffix)
{
    if (w->err.kind)
        return;
    if (w->depth == VR_XMLW_DEPTH) {
        vr_fail(&w->err, VR_E_LIMIT, 0, "XML output nests too deeply");
        return;
    }
    close_tag(w);
    put(w, "<", 1);
    size_t at = w->b->len;
    if (prefix && *prefix) {
        puts_(w, prefix);
        put(w, ":", 1);
    }
    puts_(w, name);
    if (suffix)
        puts_(w, suffix);
    w->open[w->depth].at = at;
    w->open[w->depth].len = w->b->len - at;
    w->depth++;
    w->in_tag = true;
}

void vr_xmlw_start(struct vr_xmlw *w, const char *prefix, const char *name)
{
    vr_xmlw_start2(w, prefix, name, NULL);
}

void vr_xmlw_attr(struct vr_xmlw *w, const char *qname, const char *value)
{
    if (w->err.kind)
        return;
    if (!w->in_tag) {
        vr_fail(&w->err, VR_E_INTERNAL, 0, "XML attribute %s outside of a start tag", qname);
        return;
    }
    put(w, " ", 1);
    puts_(w, qname);
    put(w, "=\"", 2);
    escaped(w, value, strlen(value), true);
    put(w, "\"", 1);
}

void vr_xmlw_ns(struct vr_xmlw *w, const char *prefix, const char *uri)
{
    char name[64];
    if (prefix && *prefix)
        snprintf(name, sizeof name, "xmlns:%s", prefix);
    else
        snprintf(name, sizeof name, "xmlns");
    vr_xmlw_attr(w, name, uri);
}

void vr_xmlw_textn(struct vr_xmlw *w, const char *text, size_t n)
{
    if (!n)
        return;
    close_tag(w);
    escaped(w, text, n, false);
}

void vr_xmlw_text(struct vr_xmlw *w, const char *text)
{
    if (text)
        vr_xmlw_textn(w, text, strlen(text));
}

void vr_xmlw_raw(struct vr_xmlw *w, const void *xml, size_t n)
{
    if (!n)
        return;
    close_tag(w);
    put(w, xml, n);
}

void vr_xmlw_end(struct vr_xmlw *w)
{
    if (w->err.kind)
        return;
    if (!w->depth) {
        vr_fail(&w->err, VR_E_INTERNAL, 0, "XML end without start");
        return;
    }
    w->depth--;
    if (w->in_tag) {
        put(w, "/>", 2);
        w->in_tag = false;
        return;
    }
    size_t at = w->open[w->depth].at, len = w->open[w->depth].len;
    put(w, "</", 2);
    if (!w->err.kind && !vr_buf_reserve(w->b, len + 1, &w->err)) /* the source may move before */
        put(w, w->b->data + at, len);
    put(w, ">", 1);
}

void vr_xmlw_elem(struct vr_xmlw *w, const char *prefix, const char *name, const char *text)
{
    vr_xmlw_start(w, prefix, name);
    vr_xmlw_text(w, text);
    vr_xmlw_end(w);
}

static void tree_attr(struct vr_xmlw *w, const char *prefix, const struct vr_xml_attr *a)
{
    char qname[256];
    if (snprintf(qname, sizeof qname, "%s:%s", prefix, a->name) < (int)sizeof qname)
        vr_xmlw_attr(w, qname, a->value);
    else if (!w->err.kind)
        vr_fail(&w->err, VR_E_LIMIT, 0, "XML attribute name is too long");
}

static void tree(struct vr_xmlw *w, const struct vr_xml *el, const char *outer_ns)
{
    vr_xmlw_start(w, NULL, el->name);
    if (strcmp(el->ns, outer_ns))
        vr_xmlw_ns(w, NULL, el->ns);
    for (size_t i = 0; i < el->n_attrs; i++) {
        const struct vr_xml_attr *a = &el->attrs[i];
        if (!*a->ns) {
            vr_xmlw_attr(w, a->name, a->value);
        } else if (!strcmp(a->ns, "http://www.w3.org/XML/1998/namespace")) {
            tree_attr(w, "xml", a);
        } else {
            char prefix[32];
            snprintf(prefix, sizeof prefix, "a%zu", i);
            vr_xmlw_ns(w, prefix, a->ns);
            tree_attr(w, prefix, a);
        }
    }
    vr_xmlw_text(w, el->first ? el->trim : el->text);
    for (const struct vr_xml *c = el->first; c; c = c->next)
        tree(w, c, el->ns);
    vr_xmlw_end(w);
}

void vr_xmlw_tree(struct vr_xmlw *w, const struct vr_xml *el)
{
    tree(w, el, "");
}

int vr_xmlw_finish(struct vr_xmlw *w, struct vr_err *err)
{
    if (w->err.kind) {
        vr_err_move(err, &w->err);
        return -1;
    }
    if (w->depth)
        return vr_fail(err, VR_E_INTERNAL, 0, "%d XML elements are still open", w->depth);
    return 0;
}
