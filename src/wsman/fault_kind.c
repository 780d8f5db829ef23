/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client's reading of the fault table. Any thread; no state. */
#include "wsman/fault_kind.h"

#include <string.h>

#include "base/cleanup.h"

static const struct {
    const char *code, *subcode;
    enum vr_kind kind;
} names[] = {
#define X(n, code, pfx, sub, detail, win, k) { code, sub, VR_E_##k },
#include "wsman/faults.def"
#undef X
};

enum vr_kind wsm_fault_kind(const char *subcode)
{
    for (size_t i = 0; i < VR_ARRAY_LEN(names); i++)
        if (!strcmp(*names[i].subcode ? names[i].subcode : names[i].code, subcode))
            return names[i].kind;
    return VR_E_UNKNOWN;
}
