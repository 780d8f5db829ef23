/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_WSMAN_FAULT_H
#define VR_WSMAN_FAULT_H

#include <stdbool.h>

#include "base/xmlw.h"
#include "cim/provider.h"

enum wsm_fault_id {
    WSM_F_NONE,
#define X(n, code, pfx, sub, detail, win, kind) WSM_F_##n,
#include "wsman/faults.def"
#undef X
    WSM_F_COUNT
};

/* A refusal on its way to the client. */
struct wsm_fault {
    enum wsm_fault_id id;
    char text[640];
    const char *header_ns, *header_name; /* of NOT_UNDERSTOOD; belong to the request */
};

/* wsm_fail() - set the fault, unless one is set already. Always returns -1. */
int wsm_fail(struct wsm_fault *f, enum wsm_fault_id id, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* wsm_fail_cim() - the fault for a status of the CIM server other than CIM_S_OK. Returns -1. */
int wsm_fail_cim(struct wsm_fault *f, enum cim_status st, const struct vr_err *err);
/* wsm_fault_status() - HTTP status that carries it: 400 when the sender is to blame, else 500. */
int wsm_fault_status(const struct wsm_fault *f);
/* wsm_fault_action() - wsa:Action of the reply: each specification has its own, src:[DSP0226 14].
 */
const char *wsm_fault_action(const struct wsm_fault *f, bool addr10);
/* wsm_fault_prefix() - first letter of the prefix of its subcode, which must be declared; 0: none.
 */
char wsm_fault_prefix(const struct wsm_fault *f);
/* wsm_fault_body() - write <s:Fault>; prefixes s, a, w, n and f must be declared.
 * @machine: host name for the detail */
void wsm_fault_body(struct vr_xmlw *w, const struct wsm_fault *f, const char *machine);

#endif
