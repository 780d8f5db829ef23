/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_BASE_XML_H
#define VR_BASE_XML_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/err.h"

/* A namespace-aware XML tree for input from anybody: every size is bounded, document type and
 * entity declarations are refused, nothing is ever fetched. All memory belongs to the document. */

/* What one document may cost. A member that is 0 takes its default. */
struct vr_xml_limits {
    size_t bytes;    /* of the input; default 1 MiB */
    size_t depth;    /* nesting of elements; default 64 */
    size_t elements; /* in all; default 50000 */
    size_t attrs;    /* per element, xmlns not counted; default 64 */
    size_t text;     /* bytes of character data directly inside one element; default 1 MiB */
};

struct vr_xml_attr {
    const char *ns; /* "" when the name has no prefix */
    const char *name;
    const char *value;
};

/* One element. All pointers belong to the document; strings are UTF-8 and never NULL. */
struct vr_xml {
    const char *ns;   /* namespace URI, "" for none */
    const char *name; /* local name */
    const char *text; /* character data directly inside, as sent (CDATA and references resolved) */
    const char *trim; /* the same without white space at both ends */
    const struct vr_xml_attr *attrs;
    size_t n_attrs;
    struct vr_xml *parent; /* NULL for the root */
    struct vr_xml *first;  /* first child element */
    struct vr_xml *next;   /* next sibling element */
    struct vr_xml *last;   /* last child element */
};

struct vr_xml_doc;

/* vr_xml_parse() - parse one whole document.
 * @data, @len: UTF-8, or UTF-16 with a byte order mark; an encoding named in the XML declaration is
 *              ignored, because embedded documents carry wrong ones, src:[contract.md E.1]
 * @lim:        limits, NULL for the defaults
 * @ret:        the document, freed by the caller with vr_xml_doc_free()
 * Errors: VR_E_PROTO not well-formed (the message has line and column) or with a document type,
 * VR_E_LIMIT over a limit. Thread: any. */
int vr_xml_parse(const void *data, size_t len, const struct vr_xml_limits *lim,
                 struct vr_xml_doc **ret, struct vr_err *err);
/* vr_xml_doc_free() - free the document and its whole tree. NULL is fine. */
void vr_xml_doc_free(struct vr_xml_doc *doc);
VR_DEFINE_CLEANUP(struct vr_xml_doc, vr_xml_doc_free)

/* vr_xml_root() - the root element, never NULL. */
const struct vr_xml *vr_xml_root(const struct vr_xml_doc *doc);

/* vr_xml_is() - is @el the element @name of namespace @ns? @ns NULL means any namespace, "" none.
 * False for NULL. */
bool vr_xml_is(const struct vr_xml *el, const char *ns, const char *name);
/* vr_xml_child() - first child @name of @ns (NULL: any); NULL if none or if @el is NULL. Children
 * of other names are skipped. */
const struct vr_xml *vr_xml_child(const struct vr_xml *el, const char *ns, const char *name);
/* vr_xml_child_ci() - the same in any namespace, the name in any case (ASCII). */
const struct vr_xml *vr_xml_child_ci(const struct vr_xml *el, const char *name);
/* vr_xml_again() - next sibling of @el with the same namespace and name, NULL if none. */
const struct vr_xml *vr_xml_again(const struct vr_xml *el);
/* vr_xml_attr() - value of the attribute @name of @ns ("" unprefixed, NULL any), NULL if absent. */
const char *vr_xml_attr(const struct vr_xml *el, const char *ns, const char *name);
/* vr_xml_child_trim() - trimmed text of the first child @name of @ns, NULL if there is none. */
const char *vr_xml_child_trim(const struct vr_xml *el, const char *ns, const char *name);

#endif
