/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The fault table and what is derived from it. Any thread; no state. */
#include "wsman/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "wsman/ns.h"

static const struct {
    const char *code, *prefix, *subcode, *detail, *win32;
} faults[WSM_F_COUNT] = {
#define X(n, c, p, s, d, w, k) [WSM_F_##n] = { c, p, s, d, w },
#include "wsman/faults.def"
#undef X
};

int wsm_fail(struct wsm_fault *f, enum wsm_fault_id id, const char *fmt, ...)
{
    if (f->id != WSM_F_NONE)
        return -1;
    f->id = id;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(f->text, sizeof f->text, fmt, ap);
    va_end(ap);
    return -1;
}

static enum wsm_fault_id fault_of(enum cim_status st)
{
    switch (st) {
    case CIM_S_NO_NAMESPACE:
    case CIM_S_NO_CLASS:
        return WSM_F_NO_RESOURCE;
    case CIM_S_NOT_FOUND:
        return WSM_F_NO_INSTANCE;
    case CIM_S_KEYS_MISSING:
        return WSM_F_SEL_MISSING;
    case CIM_S_KEYS_AMBIGUOUS:
        return WSM_F_SEL_AMBIGUOUS;
    case CIM_S_KEYS_UNKNOWN:
        return WSM_F_SEL_UNKNOWN;
    case CIM_S_KEYS_INVALID:
        return WSM_F_SEL_TYPE;
    case CIM_S_NO_METHOD:
        return WSM_F_NO_METHOD;
    case CIM_S_PARAM_TYPE:
        return WSM_F_PAR_TYPE;
    case CIM_S_PARAM_INVALID:
        return WSM_F_PAR_VALUE;
    case CIM_S_BAD_QUERY:
        return WSM_F_BAD_FILTER;
    case CIM_S_DENIED:
        return WSM_F_DENIED;
    case CIM_S_UNSUPPORTED:
        return WSM_F_UNSUPPORTED;
    case CIM_S_LIMIT:
        return WSM_F_QUOTA;
    case CIM_S_BUSY:
        return WSM_F_BUSY;
    case CIM_S_STATE:
        return WSM_F_STATE;
    case CIM_S_OK:
    case CIM_S_FAILED:
        break;
    }
    return WSM_F_INTERNAL;
}

int wsm_fail_cim(struct wsm_fault *f, enum cim_status st, const struct vr_err *err)
{
    const char *text = err->kind != VR_OK ? err->msg : cim_status_name(st);
    enum wsm_fault_id id = fault_of(st);
    if (id == WSM_F_INTERNAL && err->kind == VR_E_TIMEOUT)
        id = WSM_F_TIMED_OUT;
    return wsm_fail(f, id, "%s", text);
}

const char *wsm_fault_action(const struct wsm_fault *f, bool addr10)
{
    switch (*faults[f->id].prefix) {
    case 'w':
        return "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault";
    case 'n':
        return NS_ENUM "/fault";
    case 'e':
        return NS_EVENTING "/fault";
    case 'b': /* src:[DSP0227] its faults are those of WS-Management */
        return "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault";
    default:
        return addr10 ? NS_ADDR10 "/fault" : NS_ADDR "/fault";
    }
}

char wsm_fault_prefix(const struct wsm_fault *f)
{
    return *faults[f->id].prefix;
}

int wsm_fault_status(const struct wsm_fault *f)
{
    return !strcmp(faults[f->id].code, "Sender") ? 400 : 500;
}

static void put_code(struct vr_xmlw *w, enum wsm_fault_id id)
{
    char qname[96];
    vr_xmlw_start(w, "s", "Code");
    snprintf(qname, sizeof qname, "s:%s", faults[id].code);
    vr_xmlw_elem(w, "s", "Value", qname);
    if (*faults[id].subcode) {
        snprintf(qname, sizeof qname, "%s:%s", faults[id].prefix, faults[id].subcode);
        vr_xmlw_start(w, "s", "Subcode");
        vr_xmlw_elem(w, "s", "Value", qname);
        vr_xmlw_end(w);
    }
    vr_xmlw_end(w);
}

void wsm_fault_body(struct vr_xmlw *w, const struct wsm_fault *f, const char *machine)
{
    vr_xmlw_start(w, "s", "Fault");
    put_code(w, f->id);
    vr_xmlw_start(w, "s", "Reason");
    vr_xmlw_start(w, "s", "Text");
    vr_xmlw_attr(w, "xml:lang", "en-US");
    vr_xmlw_text(w, f->text);
    vr_xmlw_end(w);
    vr_xmlw_end(w);
    vr_xmlw_start(w, "s", "Detail");
    if (*faults[f->id].detail) {
        vr_xmlw_start(w, "w", "FaultDetail");
        vr_xmlw_text(w, DETAIL_BASE);
        vr_xmlw_text(w, faults[f->id].detail);
        vr_xmlw_end(w);
    }
    if (f->id == WSM_F_NO_DELIVERY)
        vr_xmlw_elem(w, "e", "SupportedDeliveryMode", MODE_PULL);
    if (f->id == WSM_F_NO_EVENT_DIALECT)
        vr_xmlw_elem(w, "e", "SupportedDialect", DIALECT_WQL);
    vr_xmlw_start(w, "f", "WSManFault");
    vr_xmlw_attr(w, "Code", faults[f->id].win32);
    vr_xmlw_attr(w, "Machine", machine);
    vr_xmlw_elem(w, "f", "Message", f->text);
    vr_xmlw_end(w);
    vr_xmlw_end(w);
    vr_xmlw_end(w);
}
