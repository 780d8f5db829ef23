/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files about libvirt's domain documents share: the only user of libxml2, and short words
 * for its tree. Elements are such without a namespace. Thread: any. */
#pragma once

#include <libxml/parser.h>
#include <libxml/tree.h>
#include <string.h>

#include "base/alloc.h"
#include "domxml.h"

VR_DEFINE_CLEANUP(xmlDoc, xmlFreeDoc)

static inline void xstr_freep(xmlChar **s)
{
    if (*s)
        xmlFree(*s);
}
#define xstr __attribute__((cleanup(xstr_freep))) xmlChar *

static inline bool is(const xmlNode *n, const char *name)
{
    return n->type == XML_ELEMENT_NODE && !n->ns && strcmp((const char *)n->name, name) == 0;
}

static inline xmlNodePtr child(const xmlNode *of, const char *name)
{
    for (xmlNodePtr n = of ? of->children : NULL; n; n = n->next)
        if (is(n, name))
            return n;
    return NULL;
}

static inline xmlNodePtr again(const xmlNode *n)
{
    for (xmlNodePtr x = n->next; x; x = x->next)
        if (is(x, (const char *)n->name))
            return x;
    return NULL;
}

static inline size_t count(const xmlNode *of, const char *name)
{
    size_t n = 0;
    for (xmlNodePtr c = child(of, name); c; c = again(c))
        n++;
    return n;
}

static inline xmlChar *attr(const xmlNode *n, const char *name)
{
    return n ? xmlGetNoNsProp(n, (const xmlChar *)name) : NULL;
}

static inline bool attr_is(const xmlNode *n, const char *name, const char *value)
{
    xstr v = attr(n, name);
    return v && strcmp((const char *)v, value) == 0;
}

static inline void set_attr(xmlNodePtr n, const char *name, const char *value)
{
    xmlSetProp(n, (const xmlChar *)name, (const xmlChar *)value);
}

static inline void set_text(xmlNodePtr n, const char *text)
{
    xmlNodeSetContent(n, NULL);
    xmlNodeAddContent(n, (const xmlChar *)text);
}

static inline void drop(xmlNodePtr n)
{
    if (n) {
        xmlUnlinkNode(n);
        xmlFreeNode(n);
    }
}

static inline void drop_children(xmlNodePtr of, const char *name)
{
    for (xmlNodePtr n; (n = child(of, name));)
        drop(n);
}

/* domxml_platform() - firmware, boot order, NUMA cells, description: for people to look at. */
void domxml_platform(xmlNodePtr root, struct hv_machine *m);

/* domxml_edit_nics() - new MAC addresses for all network cards of @devices, and their links down,
 * as asked for. */
void domxml_edit_nics(xmlNodePtr devices, bool new_macs, bool disconnect);

/* domxml_nics_on() - as domxml_on_networks(). */
void domxml_nics_on(xmlNodePtr devices, const struct hv_nic_net *nets, size_t n);
