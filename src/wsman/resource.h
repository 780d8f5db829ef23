/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_WSMAN_RESOURCE_H
#define VR_WSMAN_RESOURCE_H

#include "wsman/msg.h"

/* How a client builds its resource URIs; replies use the same. src:[wsman.md 3] */
enum wsm_style { WSM_STYLE_WMI, WSM_STYLE_DMTF };

/* What a resource URI (with its selectors) names. */
struct wsm_resource {
    enum wsm_style style;
    bool all;    /* "*" instead of a class */
    bool schema; /* class definitions */
    char *ns;    /* canonical, with slashes; NULL when neither URI nor selector has one */
    char *cls;   /* as written; NULL when all */
};

/* wsm_resource_parse() - read the URI, and __cimnamespace from @selectors (may be NULL).
 * @ret: free with wsm_resource_done(); untouched on failure */
int wsm_resource_parse(const char *uri, const struct vr_xml *selectors, struct wsm_resource *ret,
                       struct wsm_fault *f);
/* wsm_resource_done() - free what it holds. */
void wsm_resource_done(struct wsm_resource *r);
#define wsm_autoresource __attribute__((cleanup(wsm_resource_done)))

/* wsm_resource_class() - the class it names, or the fault. */
int wsm_resource_class(const struct wsm_resource *r, const struct cim_class **ret,
                       struct wsm_fault *f);
/* wsm_resource_path() - object path from it and the selectors (may be NULL). */
int wsm_resource_path(const struct wsm_resource *r, const struct vr_xml *selectors,
                      struct cim_path **ret, struct wsm_fault *f);

/* wsm_class_uri() - canonical resource URI of a class; the caller frees. */
char *wsm_class_uri(enum wsm_style style, const char *ns, const char *cls);

/* wsm_epr_read() - object path from an element that holds an endpoint reference (directly or in a
 * wrapper) or the text of an object path. On failure @f is INVALID-parameter-like: the caller says
 * in @bad which fault it should be. */
int wsm_epr_read(const struct vr_xml *el, enum wsm_fault_id bad, struct cim_path **ret,
                 struct wsm_fault *f);

/* wsm_epr_write() - Address and ReferenceParameters of @p into the open element; with @wrap inside
 * an EndpointReference of its own. Prefixes a and w must be declared. @addr10: version of a. */
void wsm_epr_write(struct vr_xmlw *w, const struct cim_path *p, enum wsm_style style, bool addr10,
                   bool wrap);

#endif
