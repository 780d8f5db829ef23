/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_WSMAN_MSG_H
#define VR_WSMAN_MSG_H

#include "base/xml.h"
#include "wsman/fault.h"

/* One request as read from its envelope. Pointers belong to the document. */
struct wsm_msg {
    const struct vr_xml *header; /* may be NULL */
    const struct vr_xml *body;   /* first element in the body, may be NULL */
    bool addr10;                 /* the 2005/08 addressing namespace */
    const char *action, *message_id, *to, *resource_uri; /* NULL when absent */
    const struct vr_xml *selectors, *options;            /* may be NULL */
    size_t max_envelope;                                 /* 0 when not given */
    uint64_t timeout_ms;                                 /* OperationTimeout; 0 when not given */
    const char *identifier;                              /* of a subscription; NULL when absent */
    bool want_estimate;                                  /* RequestTotalItemsCountEstimate */
    bool want_epr;                                       /* RequestEPR */
    bool datetime_elements; /* wrap datetimes, as the client expects, src:[contract.md E.3] */
};

enum { WSM_ENVELOPE_LEAST = 8192 }; /* src:[DSP0226 13.1] */

/* wsm_msg_envelope() - find header and body of a parsed envelope. Fills only these. */
int wsm_msg_envelope(const struct vr_xml *root, struct wsm_msg *m, struct wsm_fault *f);
/* wsm_msg_header() - read and check the header blocks. What was found before a fault stays set, so
 * that the fault can relate to its request. */
int wsm_msg_header(struct wsm_msg *m, struct wsm_fault *f);
/* wsm_msg_option() - value of an option whose name without prefix is @name; NULL if absent. */
const char *wsm_msg_option(const struct wsm_msg *m, const char *name);
/* wsm_is_addr() - is @el the addressing element @name, in either version? */
bool wsm_is_addr(const struct vr_xml *el, const char *name);
/* wsm_addr_child() - first child that is the addressing element @name; NULL if none. */
const struct vr_xml *wsm_addr_child(const struct vr_xml *el, const char *name);
/* wsm_duration() - an xs:duration in milliseconds, fractions rounded up. Returns -1 for anything
 * else. */
int wsm_duration(const char *text, uint64_t *ret_ms);
/* wsm_number() - a decimal number up to @max. Returns -1 for anything else. */
int wsm_number(const char *text, size_t max, size_t *ret);

#endif
