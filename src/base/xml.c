/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A bounded XML tree over expat (the only file that includes it). The tree lives in an arena that
 * the document owns; namespace URIs are stored once, so that a long URI declared on the root does
 * not multiply with the elements. Any thread; one document by one thread at a time.
 * Invariant: memory is at most a constant factor of the input, which is itself limited. */
#include "base/xml.h"

#include <ctype.h>
#include <expat.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/buf.h"

enum {
    ARENA_BLOCK = 16384,
    NS_LEN_MAX = 256, /* expat copies and hashes it for each name that has it */
    NS_COUNT_MAX = 64,
    DEPTH_HARD = 256, /* recursive users of the tree rely on it */
};
static const struct vr_xml_limits defaults = {
    .bytes = 1 << 20, .depth = 64, .elements = 50000, .attrs = 64, .text = 1 << 20
};
#define NS_SEP '\xff' /* never part of UTF-8 */

struct block {
    struct block *next;
    size_t used, size;
    max_align_t data[];
};

struct vr_xml_doc {
    struct block *blocks;
    struct vr_xml *root;
    struct {
        const char *uri;
        size_t len;
        uint64_t hash;
    } ns[NS_COUNT_MAX];
    size_t n_ns;
};

struct parse {
    XML_Parser xp;
    struct vr_xml_doc *doc;
    struct vr_xml_limits lim;
    struct vr_xml *cur;
    size_t depth, elements;
    struct vr_buf *text; /* one buffer per open element */
    struct vr_err err;
};

static void *arena(struct vr_xml_doc *d, size_t n)
{
    n = (n + 15) & ~(size_t)15;
    if (!d->blocks || d->blocks->size - d->blocks->used < n) {
        size_t size = n > ARENA_BLOCK ? n : ARENA_BLOCK;
        struct block *b = vr_new0(1, sizeof *b + size);
        b->size = size;
        b->next = d->blocks;
        d->blocks = b;
    }
    void *p = (char *)d->blocks->data + d->blocks->used;
    d->blocks->used += n;
    return p;
}

static const char *arena_str(struct vr_xml_doc *d, const char *s, size_t n)
{
    if (!n)
        return "";
    char *p = arena(d, n + 1);
    memcpy(p, s, n);
    p[n] = 0;
    return p;
}

static void stop(struct parse *p, enum vr_kind kind, const char *what)
{
    if (p->err.kind == VR_OK)
        vr_fail(&p->err, kind, 0, "XML line %lu: %s", XML_GetCurrentLineNumber(p->xp), what);
    XML_StopParser(p->xp, XML_FALSE);
}

/* Whoever writes the document chooses the URIs: long ones that differ somewhere only must not cost
 * a comparison with each other one at every attribute. */
static uint64_t hash_of(const char *s, size_t n)
{
    uint64_t h = n;
    for (; n >= sizeof h; s += sizeof h, n -= sizeof h) {
        uint64_t word;
        memcpy(&word, s, sizeof word);
        h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 29;
    }
    while (n--)
        h = (h ^ (unsigned char)*s++) * UINT64_C(0x9e3779b97f4a7c15);
    return h;
}

/* Split expat's "uri SEP local" and intern the URI. */
static int split(struct parse *p, const char *qname, const char **ns, const char **name)
{
    struct vr_xml_doc *d = p->doc;
    const char *sep = strchr(qname, NS_SEP);
    if (!sep) {
        *ns = "";
        *name = arena_str(d, qname, strlen(qname));
        return 0;
    }
    size_t n = (size_t)(sep - qname);
    *name = arena_str(d, sep + 1, strlen(sep + 1));
    uint64_t hash = hash_of(qname, n);
    for (size_t i = d->n_ns; i-- > 0;) {
        if (d->ns[i].hash == hash && d->ns[i].len == n && !memcmp(d->ns[i].uri, qname, n)) {
            *ns = d->ns[i].uri;
            return 0;
        }
    }
    if (d->n_ns == NS_COUNT_MAX) {
        stop(p, VR_E_LIMIT, "too many namespaces");
        return -1;
    }
    *ns = arena_str(d, qname, n);
    d->ns[d->n_ns].uri = *ns;
    d->ns[d->n_ns].len = n;
    d->ns[d->n_ns++].hash = hash;
    return 0;
}

static void on_namespace(void *ud, const XML_Char *prefix, const XML_Char *uri)
{
    struct parse *p = ud;
    if (uri && strlen(uri) > NS_LEN_MAX)
        stop(p, VR_E_LIMIT, "namespace URI is too long");
}

static int add_attrs(struct parse *p, struct vr_xml *el, const XML_Char **atts)
{
    size_t n = 0;
    while (atts[2 * n])
        n++;
    if (n > p->lim.attrs) {
        stop(p, VR_E_LIMIT, "too many attributes");
        return -1;
    }
    struct vr_xml_attr *a = n ? arena(p->doc, n * sizeof *a) : NULL;
    for (size_t i = 0; i < n; i++) {
        if (split(p, atts[2 * i], &a[i].ns, &a[i].name))
            return -1;
        if (*a[i].ns && ++p->elements > p->lim.elements) { /* it costs as much */
            stop(p, VR_E_LIMIT, "too many elements and attributes in namespaces");
            return -1;
        }
        a[i].value = arena_str(p->doc, atts[2 * i + 1], strlen(atts[2 * i + 1]));
    }
    el->attrs = a;
    el->n_attrs = n;
    return 0;
}

static void on_start(void *ud, const XML_Char *name, const XML_Char **atts)
{
    struct parse *p = ud;
    if (p->err.kind)
        return;
    if (p->depth == p->lim.depth) {
        stop(p, VR_E_LIMIT, "elements nest too deeply");
        return;
    }
    if (++p->elements > p->lim.elements) {
        stop(p, VR_E_LIMIT, "too many elements");
        return;
    }
    struct vr_xml *el = arena(p->doc, sizeof *el);
    el->text = el->trim = "";
    if (split(p, name, &el->ns, &el->name) || add_attrs(p, el, atts))
        return;
    el->parent = p->cur;
    if (!p->cur)
        p->doc->root = el;
    else if (p->cur->last)
        p->cur->last = p->cur->last->next = el;
    else
        p->cur->first = p->cur->last = el;
    p->cur = el;
    p->text[p->depth].len = 0;
    p->depth++;
}

static void on_text(void *ud, const XML_Char *s, int len)
{
    struct parse *p = ud;
    if (p->err.kind || !p->depth || len <= 0)
        return;
    struct vr_buf *b = &p->text[p->depth - 1];
    if (b->len + (size_t)len > p->lim.text)
        stop(p, VR_E_LIMIT, "text is too long");
    else if (vr_buf_add(b, s, (size_t)len, &p->err))
        XML_StopParser(p->xp, XML_FALSE);
}

static void on_end(void *ud, const XML_Char *name)
{
    struct parse *p = ud;
    if (p->err.kind || !p->depth)
        return;
    const struct vr_buf *b = &p->text[--p->depth];
    struct vr_xml *el = p->cur;
    size_t from = 0, to = b->len;
    while (from < to && strchr(" \t\r\n", b->data[from]))
        from++;
    while (to > from && strchr(" \t\r\n", b->data[to - 1]))
        to--;
    if (b->len)
        el->text = arena_str(p->doc, (const char *)b->data, b->len);
    if (from == 0 && to == b->len)
        el->trim = el->text;
    else
        el->trim = arena_str(p->doc, (const char *)b->data + from, to - from);
    p->cur = el->parent;
}

static void on_doctype(void *ud, const XML_Char *name, const XML_Char *sysid, const XML_Char *pubid,
                       int internal)
{
    stop(ud, VR_E_PROTO, "document type declarations are not accepted");
}

static const char *encoding_of(const unsigned char *d, size_t len)
{
    if (len >= 2 && ((d[0] == 0xff && d[1] == 0xfe) || (d[0] == 0xfe && d[1] == 0xff)))
        return "UTF-16";
    return "UTF-8";
}

static void set_limits(struct vr_xml_limits *to, const struct vr_xml_limits *from)
{
    *to = defaults;
    if (!from)
        return;
    to->bytes = from->bytes ? from->bytes : to->bytes;
    to->depth = from->depth ? from->depth : to->depth;
    to->elements = from->elements ? from->elements : to->elements;
    to->attrs = from->attrs ? from->attrs : to->attrs;
    to->text = from->text ? from->text : to->text;
    if (to->depth > DEPTH_HARD)
        to->depth = DEPTH_HARD;
}

static int run(struct parse *p, const void *data, size_t len, struct vr_err *err)
{
    p->xp = XML_ParserCreateNS(encoding_of(data, len), NS_SEP);
    if (!p->xp)
        return vr_fail(err, VR_E_NOMEM, 0, "no memory for an XML parser");
    XML_SetUserData(p->xp, p);
    XML_SetElementHandler(p->xp, on_start, on_end);
    XML_SetCharacterDataHandler(p->xp, on_text);
    XML_SetStartNamespaceDeclHandler(p->xp, on_namespace);
    XML_SetStartDoctypeDeclHandler(p->xp, on_doctype);
    XML_SetParamEntityParsing(p->xp, XML_PARAM_ENTITY_PARSING_NEVER);
    enum XML_Status st = XML_Parse(p->xp, data, (int)len, XML_TRUE);
    int rc = 0;
    if (p->err.kind) {
        vr_err_move(err, &p->err);
        rc = -1;
    } else if (st != XML_STATUS_OK || !p->doc->root) {
        rc = vr_fail(err, VR_E_PROTO, 0, "XML line %lu column %lu: %s",
                     XML_GetCurrentLineNumber(p->xp), XML_GetCurrentColumnNumber(p->xp),
                     XML_ErrorString(XML_GetErrorCode(p->xp)));
    }
    XML_ParserFree(p->xp);
    return rc;
}

int vr_xml_parse(const void *data, size_t len, const struct vr_xml_limits *lim,
                 struct vr_xml_doc **ret, struct vr_err *err)
{
    struct parse p = { 0 };
    set_limits(&p.lim, lim);
    if (len > p.lim.bytes || len > INT32_MAX)
        return vr_fail(err, VR_E_LIMIT, 0, "XML document of %zu bytes is over the limit of %zu",
                       len, p.lim.bytes);
    if (!len)
        return vr_fail(err, VR_E_PROTO, 0, "XML document is empty");
    vr_auto(vr_xml_doc_free) struct vr_xml_doc *doc = vr_new(struct vr_xml_doc);
    p.doc = doc;
    p.text = vr_new0(p.lim.depth, sizeof *p.text);
    int rc = run(&p, data, len, err);
    for (size_t i = 0; i < p.lim.depth; i++)
        vr_buf_done(&p.text[i]);
    free(p.text);
    if (rc)
        return -1;
    *ret = vr_take(doc);
    return 0;
}

void vr_xml_doc_free(struct vr_xml_doc *doc)
{
    if (!doc)
        return;
    while (doc->blocks) {
        struct block *b = doc->blocks;
        doc->blocks = b->next;
        free(b);
    }
    free(doc);
}

const struct vr_xml *vr_xml_root(const struct vr_xml_doc *doc)
{
    return doc->root;
}

bool vr_xml_is(const struct vr_xml *el, const char *ns, const char *name)
{
    return el && !strcmp(el->name, name) && (!ns || !strcmp(el->ns, ns));
}

const struct vr_xml *vr_xml_child(const struct vr_xml *el, const char *ns, const char *name)
{
    const struct vr_xml *c = el ? el->first : NULL;
    while (c && !vr_xml_is(c, ns, name))
        c = c->next;
    return c;
}

const struct vr_xml *vr_xml_child_ci(const struct vr_xml *el, const char *name)
{
    const struct vr_xml *c = el ? el->first : NULL;
    while (c && strcasecmp(c->name, name))
        c = c->next;
    return c;
}

const struct vr_xml *vr_xml_again(const struct vr_xml *el)
{
    const struct vr_xml *c = el->next;
    while (c && !vr_xml_is(c, el->ns, el->name))
        c = c->next;
    return c;
}

const char *vr_xml_attr(const struct vr_xml *el, const char *ns, const char *name)
{
    for (size_t i = 0; el && i < el->n_attrs; i++) {
        const struct vr_xml_attr *a = &el->attrs[i];
        if (!strcmp(a->name, name) && (!ns || !strcmp(a->ns, ns)))
            return a->value;
    }
    return NULL;
}

const char *vr_xml_child_trim(const struct vr_xml *el, const char *ns, const char *name)
{
    const struct vr_xml *c = vr_xml_child(el, ns, name);
    return c ? c->trim : NULL;
}
