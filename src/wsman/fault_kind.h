/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_WSMAN_FAULT_KIND_H
#define VR_WSMAN_FAULT_KIND_H

#include "base/err.h"

/* wsm_fault_kind() - what a client makes of the local name of a fault's subcode ("AccessDenied"),
 * or of its code where there is no subcode. VR_E_UNKNOWN for names that we never send. Any thread.
 */
enum vr_kind wsm_fault_kind(const char *subcode);

#endif
