/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_WSMAN_CODEC_H
#define VR_WSMAN_CODEC_H

#include "wsman/resource.h"

/* CIM values as XML. src:[DSP0230] [wsman.md 5] [contract.md E.2, E.3]. Any thread. */

/* How to write. */
struct wsm_enc {
    enum wsm_style style;
    bool addr10;
    bool datetime_elements; /* <cim:Datetime> and <cim:Interval> instead of bare text */
    bool precise_arrays;    /* a NULL array is marked as such: no element means an empty one */
    bool bare;              /* what is not embedded is in no namespace */
    unsigned level;         /* of embedding; 0 for what is not embedded */
};

/* wsm_put_instance() - <p:Class> with all properties that are not hidden. Prefixes a and w must be
 * declared; p, xsi and cim are declared on the element.
 * @as: show it as this superclass, with its properties only; NULL: as what it is */
void wsm_put_instance(struct vr_xmlw *w, const struct wsm_enc *enc, const struct cim_inst *in,
                      const struct cim_class *as);
/* wsm_put_fragment() - <w:XmlFragment> with all properties that are not hidden, @bare: in no
 * namespace, after the columns @sys (enum cim_syscol), for which @host is this host's name.
 * Prefixes as above. */
void wsm_put_fragment(struct vr_xmlw *w, const struct wsm_enc *enc, const struct cim_inst *in,
                      bool bare, unsigned sys, const char *host);
/* wsm_put_value() - element(s) p:@name for a value; prefixes a, w, p, xsi and cim declared. */
void wsm_put_value(struct vr_xmlw *w, const struct wsm_enc *enc, const char *name,
                   const struct cim_value *v);
/* wsm_put_embedded() - properties of an embedded object into the open element, with its own prefix
 * and xsi:type. wsm_put_datetime() - as this client wants them; prefix cim declared. */
void wsm_put_embedded(struct vr_xmlw *w, const struct wsm_enc *enc, const struct cim_inst *in);
void wsm_put_datetime(struct vr_xmlw *w, const struct wsm_enc *enc, const struct cim_datetime *d);
/* wsm_put_output() - <p:METHOD_OUTPUT> with out parameters and return value.
 * @uri: resource URI that was invoked */
void wsm_put_output(struct vr_xmlw *w, const struct wsm_enc *enc, const char *uri,
                    const struct cim_args *args, uint32_t ret);

/* wsm_get_args() - read <METHOD_INPUT> (NULL: no parameters at all) into @args. */
int wsm_get_args(const struct vr_xml *input, struct cim_args *args, struct wsm_fault *f);
/* wsm_get_instance() - read an instance of @c from an element; what is in it gets marked as seen.
 * Elements that are no properties of the class are refused. */
int wsm_get_instance(const struct vr_xml *el, const struct cim_class *c, struct cim_inst **ret,
                     struct wsm_fault *f);

#endif
