/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CIM_CIMXML_H
#define CIM_CIMXML_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/xml.h"
#include "base/xmlw.h"
#include "cim/instance.h"

/* CIM-XML: embedded instances in string parameters and class documents.
 * src:[contract.md E.1, E.3; DSP0201 CIM DTD 2.0]. Any thread. */

enum { CIM_XML_DEPTH_MAX = 4 }; /* instances embedded in instances */

/* cim_xml_parse() - read one instance out of text in any of the three dialects (CIM DTD, WMI DTD,
 * a whole CIM document with class declarations).
 * @want: class it must be, or be derived from, or be a superclass of (then it is read as @want);
 *        NULL: any known class
 * Properties that were present are marked as seen; absent ones have their defaults. Unknown
 * properties and those of WMI that begin with "__" are skipped. The text tells the type only where
 * it does not matter: values are read as the class has them.
 * Errors: VR_E_INVAL not well-formed, no instance inside, bad value; VR_E_TYPE class unknown or
 * unrelated to @want; VR_E_LIMIT. */
int cim_xml_parse(const char *text, const struct cim_class *want, struct cim_inst **ret,
                  struct vr_err *err);
/* cim_xml_parse_used() - the same for a caller that looks at @n properties @used only: a value of
 * another one that cannot be read is as if it were absent, and NULL. Clients hand back whole
 * instances. src:[contract.md section 0 rule 4] */
int cim_xml_parse_used(const char *text, const struct cim_class *want, const int used[], size_t n,
                       struct cim_inst **ret, struct vr_err *err);
/* cim_xml_parse_el() - the same from an INSTANCE element. cim_xml_parse_path() - object path from
 * VALUE.REFERENCE, INSTANCEPATH, LOCALINSTANCEPATH or INSTANCENAME. */
int cim_xml_parse_el(const struct vr_xml *el, const struct cim_class *want, struct cim_inst **ret,
                     struct vr_err *err);
int cim_xml_parse_path(const struct vr_xml *el, struct cim_path **ret, struct vr_err *err);

/* cim_xml_write() - INSTANCE element as strict readers accept it: every property in class order,
 * NULL as a property without VALUE, nothing that is optional. @host stands in references without
 * one, may be NULL. cim_xml_text() - the same as text of its own; the caller frees. Errors:
 * VR_E_LIMIT. */
void cim_xml_write(struct vr_xmlw *w, const struct cim_inst *in, const char *host);
int cim_xml_text(const struct cim_inst *in, const char *host, char **ret, struct vr_err *err);

/* cim_xml_start_prop() - begin the element of property @p with the attributes that it has in
 * instances and in class documents; the caller ends it. */
void cim_xml_start_prop(struct vr_xmlw *w, const struct cim_prop *p, bool is_array);

/* What a class document shows. */
struct cim_xml_class_opts {
    bool inherited;  /* also what superclasses declare */
    bool qualifiers; /* In, Out, Key, ValueMap... */
    bool origin;     /* CLASSORIGIN and PROPAGATED */
};
/* cim_xml_write_class() - CLASS element. Default values are left out. */
void cim_xml_write_class(struct vr_xmlw *w, const struct cim_class *c,
                         const struct cim_xml_class_opts *opts);

#endif
