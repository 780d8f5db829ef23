/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_BASE_XMLW_H
#define VR_BASE_XMLW_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/xml.h"

/* Writes XML into a buffer. Errors stick: after the first one nothing more is written, and
 * vr_xmlw_finish() reports it, so single calls need no check. Prefixes are chosen by the caller.
 * Text is escaped; characters that XML 1.0 forbids and bytes that are not UTF-8 become U+FFFD. */
enum { VR_XMLW_DEPTH = 128 };

struct vr_xmlw {
    struct vr_buf *b;
    struct vr_err err;
    bool in_tag; /* the start tag is still open for attributes */
    int depth;
    struct {
        size_t at, len; /* the element's name in the buffer */
    } open[VR_XMLW_DEPTH];
};

/* vr_xmlw_init() - start writing at the end of @b (borrowed; its max is the limit). */
void vr_xmlw_init(struct vr_xmlw *w, struct vr_buf *b);
/* vr_xmlw_start() - open <prefix:name>; @prefix NULL or "" for none. */
void vr_xmlw_start(struct vr_xmlw *w, const char *prefix, const char *name);
/* vr_xmlw_start2() - open <prefix:name+suffix>, as in "p:Class" + "_OUTPUT"; @suffix may be NULL.
 */
void vr_xmlw_start2(struct vr_xmlw *w, const char *prefix, const char *name, const char *suffix);
/* vr_xmlw_ns() - declare @prefix (NULL or "": the default namespace) on the element just opened. */
void vr_xmlw_ns(struct vr_xmlw *w, const char *prefix, const char *uri);
/* vr_xmlw_attr() - attribute of the element just opened; @qname as written ("xsi:nil"). */
void vr_xmlw_attr(struct vr_xmlw *w, const char *qname, const char *value);
/* vr_xmlw_text() - escaped character data; NULL writes nothing. */
void vr_xmlw_text(struct vr_xmlw *w, const char *text);
/* vr_xmlw_textn() - the same for @n bytes. */
void vr_xmlw_textn(struct vr_xmlw *w, const char *text, size_t n);
/* vr_xmlw_raw() - @n bytes of well-formed XML, unchanged. */
void vr_xmlw_raw(struct vr_xmlw *w, const void *xml, size_t n);
/* vr_xmlw_end() - close the innermost element. */
void vr_xmlw_end(struct vr_xmlw *w);
/* vr_xmlw_elem() - a whole element with text; @text NULL or "" makes it empty. */
void vr_xmlw_elem(struct vr_xmlw *w, const char *prefix, const char *name, const char *text);
/* vr_xmlw_tree() - write @el with all below it. Each element declares its namespace as default
 * where it differs from its parent's, so the result stands alone. Attributes in a namespace get
 * prefixes of their own. Text comes before child elements. */
void vr_xmlw_tree(struct vr_xmlw *w, const struct vr_xml *el);
/* vr_xmlw_finish() - check the end. Errors: the first one of the writing (VR_E_LIMIT when the
 * buffer is full), VR_E_INTERNAL when elements are still open. */
int vr_xmlw_finish(struct vr_xmlw *w, struct vr_err *err);

#endif
