/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An envelope in, an envelope out: parsing, dispatch by action, the envelope of the reply, faults.
 * Control thread; nothing blocks. Invariant: whatever the input is, the reply is either a complete
 * envelope within the limit or a bare HTTP status. src:[wsman.md 1, 2] [DSP0226] */
#include "wsman/wsm.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/uuid.h"
#include "wsman/ns.h"
#include "wsman/utf16.h"
#include "wsman/wsm_int.h"

enum {
    OVERHEAD_EPR = 4096,
    OVERHEAD = 3072,
    ELEMENTS_MAX = 10000 /* in a request */
};                       /* of a reply's envelope, but for the MessageID that it relates to */

/* src:[wsman.md 1-4]; everything else may be a method. */
static const struct {
    const char *action;
    int (*run)(struct wsm_call *c);
} actions[] = {
    { ACT_GET, wsm_op_get },
    { ACT_PUT, wsm_op_put },
    { ACT_ENUMERATE, wsm_op_enumerate },
    { ACT_PULL, wsm_op_pull },
    { ACT_RELEASE, wsm_op_release },
    { ACT_SUBSCRIBE, wsm_op_subscribe },
    { ACT_RENEW, wsm_op_renew },
    { ACT_STATUS, wsm_op_status },
    { ACT_UNSUBSCRIBE, wsm_op_unsubscribe },
};

static const struct {
    enum wsm_profile is;
    const char *uri;
} profiles[] = {
    { WSM_PROFILE_HTTPS_BASIC,
      "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/basic" },
    { WSM_PROFILE_HTTPS_MUTUAL,
      "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual" },
    { WSM_PROFILE_HTTP_KERBEROS,
      "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/http/spnego-kerberos" },
};

/* Tools look for this form; it is what Windows tells a stranger, and so do we. */
#define PRODUCT "OS: 0.0.0 SP: 0.0 Stack: 3.0"

struct wsm *wsm_new(struct cim_server *svc, const struct wsm_limits *lim)
{
    struct wsm *w = vr_new(struct wsm);
    w->svc = svc;
    if (lim)
        w->lim = *lim;
    if (!w->lim.envelope_bytes)
        w->lim.envelope_bytes = 512000;
    if (!w->lim.contexts)
        w->lim.contexts = 256;
    if (!w->lim.contexts_each)
        w->lim.contexts_each = 32;
    if (!w->lim.items)
        w->lim.items = 400000;
    if (!w->lim.invocations)
        w->lim.invocations = 32;
    if (!w->lim.invocations_each)
        w->lim.invocations_each = 8;
    if (!w->lim.slice_ms)
        w->lim.slice_ms = 5;
    if (!w->lim.context_s)
        w->lim.context_s = 300;
    if (!w->lim.subscriptions)
        w->lim.subscriptions = 64;
    if (!w->lim.subscriptions_each)
        w->lim.subscriptions_each = 16;
    if (!w->lim.subscription_s)
        w->lim.subscription_s = 600;
    if (!w->lim.subscription_max_s)
        w->lim.subscription_max_s = 86400;
    if (!w->lim.events)
        w->lim.events = 256;
    if (!w->lim.event_bytes)
        w->lim.event_bytes = 524288;
    if (!w->lim.pull_s)
        w->lim.pull_s = 30;
    if (!w->lim.pull_max_s)
        w->lim.pull_max_s = 300;
    return w;
}

void wsm_free(struct wsm *w)
{
    if (!w)
        return;
    wsm_contexts_drop(w);
    free(w);
}

void wsm_reply_done(struct wsm_reply *r)
{
    vr_buf_done(&r->body);
}

/* ---- writing the reply ---------------------------------------------------------------------- */

static void open_envelope(struct vr_xmlw *w, const struct wsm_call *c)
{
    vr_xmlw_start(w, "s", "Envelope");
    vr_xmlw_attr(w, "xml:lang", "en-US");
    vr_xmlw_ns(w, "s", NS_SOAP);
    vr_xmlw_ns(w, "a", c->msg.addr10 ? NS_ADDR10 : NS_ADDR);
    vr_xmlw_ns(w, "w", NS_WSMAN);
    vr_xmlw_ns(w, "n", NS_ENUM);
    vr_xmlw_ns(w, "x", NS_TRANSFER);
    vr_xmlw_ns(w, "f", NS_FAULT);
    char fault = c->fault.id ? wsm_fault_prefix(&c->fault) : 0;
    if (c->eventing || fault == 'e')
        vr_xmlw_ns(w, "e", NS_EVENTING);
    if (fault == 'b')
        vr_xmlw_ns(w, "b", NS_BINDING);
}

static void put_header(struct vr_xmlw *w, const struct wsm_call *c, const char *action)
{
    const struct wsm_msg *m = &c->msg;
    char id[VR_UUID_STR];
    struct vr_uuid u = vr_uuid_new();
    vr_xmlw_start(w, "s", "Header");
    vr_xmlw_elem(w, "a", "To", m->addr10 ? ADDR10_ANONYMOUS : ADDR_ANONYMOUS);
    vr_xmlw_elem(w, "a", "Action", action);
    vr_autofree char *mid = vr_printf("uuid:%s", vr_uuid_fmt_upper(&u, id));
    vr_xmlw_elem(w, "a", "MessageID", mid);
    if (m->message_id)
        vr_xmlw_elem(w, "a", "RelatesTo", m->message_id);
    if (c->has_estimate && !c->fault.id) {
        vr_autofree char *n = vr_printf("%zu", c->estimate);
        vr_xmlw_elem(w, "w", "TotalItemsCountEstimate", n);
    }
    if (c->epr && !c->fault.id) { /* src:[DSP0226 6.6] */
        vr_xmlw_start(w, "w", "RequestedEPR");
        wsm_epr_write(w, c->epr, c->epr_style, m->addr10, true);
        vr_xmlw_end(w);
    }
    if (c->fault.id == WSM_F_NOT_UNDERSTOOD) {
        bool plain = !*c->fault.header_ns; /* no prefix can stand for "no namespace" */
        vr_autofree char *qname = vr_printf("%s%s", plain ? "" : "h:", c->fault.header_name);
        vr_xmlw_start(w, "s", "NotUnderstood");
        if (!plain)
            vr_xmlw_ns(w, "h", c->fault.header_ns);
        vr_xmlw_attr(w, "qname", qname);
        vr_xmlw_end(w);
    }
    vr_xmlw_end(w);
}

static int put_envelope(const struct wsm_call *c, const char *action, const struct vr_buf *content,
                        struct vr_buf *out, struct vr_err *err)
{
    struct vr_xmlw w;
    vr_xmlw_init(&w, out);
    open_envelope(&w, c);
    put_header(&w, c, action);
    vr_xmlw_start(&w, "s", "Body");
    vr_xmlw_raw(&w, content->data, content->len);
    vr_xmlw_end(&w);
    vr_xmlw_end(&w);
    return vr_xmlw_finish(&w, err);
}

static void send_status(struct wsm_reply *ret, int status)
{
    vr_buf_done(&ret->body);
    ret->status = status;
    ret->content_type = NULL;
}

/* Somebody whom we know tried what is not for them: who, from where, what. */
static void log_denied(struct wsm_call *c)
{
    const struct cim_caller *who = c->rq->caller;
    if (c->fault.id != WSM_F_DENIED || !who)
        return;
    vr_autofree char *what = vr_printf("%s: %.120s on %.120s", who->name ? who->name : "?",
                                       c->msg.action ? c->msg.action : "a request",
                                       c->msg.resource_uri ? c->msg.resource_uri : "-");
    wsm_throttle_log(&c->w->throttle, c->rq->now, who->address ? who->address : "?", what,
                     c->fault.text);
}

static void send_fault(struct wsm_call *c, struct wsm_reply *ret)
{
    log_denied(c);
    const char *action = wsm_fault_action(&c->fault, c->msg.addr10);
    vr_autobuf struct vr_buf content = VR_BUF_INIT;
    struct vr_xmlw w;
    vr_xmlw_init(&w, &content);
    wsm_fault_body(&w, &c->fault, cim_server_host(c->w->svc));
    vr_buf_done(&ret->body);
    ret->body.max = 0;
    if (vr_xmlw_finish(&w, NULL) || put_envelope(c, action, &content, &ret->body, NULL)) {
        send_status(ret, 500);
        return;
    }
    ret->status = wsm_fault_status(&c->fault);
}

/* ---- dispatch ------------------------------------------------------------------------------- */

static int run(struct wsm_call *c)
{
    if (c->rq->caller->role == CIM_ROLE_NONE)
        return wsm_fail(&c->fault, WSM_F_DENIED, "you have no role on this host");
    for (size_t i = 0; i < VR_ARRAY_LEN(actions); i++)
        if (!strcmp(c->msg.action, actions[i].action))
            return actions[i].run(c);
    return wsm_op_invoke(c);
}

static int set_room(struct wsm_call *c, bool utf16)
{
    size_t limit = c->w->lim.envelope_bytes;
    if (c->msg.max_envelope && c->msg.max_envelope < limit)
        limit = c->msg.max_envelope;
    if (utf16)
        limit /= 2;
    size_t used = OVERHEAD + (c->msg.want_epr ? OVERHEAD_EPR : 0);
    for (const char *p = c->msg.message_id; *p; p++)
        used += *p == '&' || *p == '<' || *p == '>' ? 5 : 1;
    if (used + 256 > limit)
        return wsm_fail(&c->fault, WSM_F_TOO_BIG, "the MessageID leaves no room for a reply");
    c->room = limit - used;
    return 0;
}

/* The operation with its content in a buffer, then the envelope around it. */
static int answer(struct wsm_call *c, bool utf16, struct wsm_reply *ret)
{
    if (wsm_msg_header(&c->msg, &c->fault) || set_room(c, utf16))
        return -1;
    vr_autobuf struct vr_buf content = { .max = c->room + 512 }; /* what is around items */
    struct vr_err e = VR_ERR_INIT;
    vr_xmlw_init(&c->out, &content);
    if (run(c))
        return -1;
    if (c->until.ms) {
        send_status(ret, 0);
        ret->until = c->until;
        return 0;
    }
    vr_autofree char *action = vr_printf("%sResponse", c->msg.action);
    if (vr_xmlw_finish(&c->out, &e) || put_envelope(c, action, &content, &ret->body, &e))
        return wsm_fail(&c->fault, e.kind == VR_E_LIMIT ? WSM_F_TOO_BIG : WSM_F_INTERNAL,
                        "the reply does not fit: %s", e.msg);
    ret->status = 200;
    return 0;
}

/* A stranger learns neither our version nor how one gets in. src:[MS-WSMV 3.1.4.1.23] */
static void identify(struct wsm_call *c, struct wsm_reply *ret)
{
    struct vr_xmlw w;
    vr_xmlw_init(&w, &ret->body);
    vr_xmlw_start(&w, "s", "Envelope");
    vr_xmlw_ns(&w, "s", NS_SOAP);
    vr_xmlw_ns(&w, "i", NS_IDENTITY);
    vr_xmlw_elem(&w, "s", "Header", NULL);
    vr_xmlw_start(&w, "s", "Body");
    vr_xmlw_start(&w, "i", "IdentifyResponse");
    vr_xmlw_elem(&w, "i", "ProtocolVersion", NS_WSMAN);
    vr_xmlw_elem(&w, "i", "ProductVendor", "vmreplica");
    vr_xmlw_elem(&w, "i", "ProductVersion",
                 c->rq->caller ? PRODUCT " vmreplica " VR_VERSION : PRODUCT);
    if (c->rq->caller && c->rq->profiles) {
        vr_xmlw_start(&w, "i", "SecurityProfiles");
        for (size_t i = 0; i < VR_ARRAY_LEN(profiles); i++)
            if (c->rq->profiles & profiles[i].is)
                vr_xmlw_elem(&w, "i", "SecurityProfileName", profiles[i].uri);
        vr_xmlw_end(&w);
    }
    for (int i = 0; i < 3; i++)
        vr_xmlw_end(&w);
    if (vr_xmlw_finish(&w, NULL))
        send_status(ret, 500);
    else
        ret->status = 200;
}

/* Windows' clients expect typed datetimes, others plain text. src:[contract.md E.3] */
static bool is_winrm(const char *agent)
{
    return agent && strcasestr(agent, "winrm");
}

static void process(struct wsm_call *c, const struct vr_xml *root, bool utf16,
                    struct wsm_reply *ret)
{
    int rc = root ? wsm_msg_envelope(root, &c->msg, &c->fault) : -1;
    if (!rc && vr_xml_is(c->msg.body, NS_IDENTITY, "Identify")) {
        identify(c, ret);
        return;
    }
    if (!c->rq->caller) {
        send_status(ret, 401);
        return;
    }
    c->msg.datetime_elements = is_winrm(c->rq->user_agent);
    if (rc || answer(c, utf16, ret))
        send_fault(c, ret);
}

/* ---- requests that go on in the next slice -------------------------------------------------- */

enum { KEPT_BYTES_MAX = 2 << 20 }; /* of envelopes; those above are parsed for each slice */

struct wsm_kept {
    struct wsm_kept *next;
    const void *token;
    struct vr_xml_doc *doc;
    size_t bytes;
};

static struct vr_xml_doc *take_kept(struct wsm *w, const void *token)
{
    for (struct wsm_kept **at = &w->kept; token && *at; at = &(*at)->next)
        if ((*at)->token == token) {
            struct wsm_kept *k = *at;
            struct vr_xml_doc *doc = k->doc;
            *at = k->next;
            w->kept_bytes -= k->bytes;
            free(k);
            return doc;
        }
    return NULL;
}

void wsm_kept_forget(struct wsm *w, const void *token)
{
    struct vr_xml_doc *doc;
    while ((doc = take_kept(w, token ? token : w->kept ? w->kept->token : NULL)))
        vr_xml_doc_free(doc);
}

static void keep(struct wsm *w, const struct wsm_request *rq, struct vr_xml_doc *take_doc)
{
    if (rq->len > KEPT_BYTES_MAX - w->kept_bytes) {
        vr_xml_doc_free(take_doc);
        return;
    }
    struct wsm_kept *k = vr_new(struct wsm_kept);
    *k = (struct wsm_kept){ w->kept, rq->token, take_doc, rq->len };
    w->kept = k;
    w->kept_bytes += k->bytes;
}

/* Parsed for its first slice, or now. */
static struct vr_xml_doc *document(struct wsm_call *c)
{
    const struct wsm_request *rq = c->rq;
    const struct vr_xml_limits lim = { .bytes = c->w->lim.envelope_bytes,
                                       .elements = ELEMENTS_MAX,
                                       .text = c->w->lim.envelope_bytes };
    struct vr_xml_doc *doc = take_kept(c->w, rq->token);
    struct vr_err e = VR_ERR_INIT;
    if (doc && rq->arrived.ms)
        return doc;
    vr_xml_doc_free(doc);
    doc = NULL;
    if (vr_xml_parse(rq->body, rq->len, &lim, &doc, &e))
        wsm_fail(&c->fault, e.kind == VR_E_LIMIT ? WSM_F_QUOTA : WSM_F_MALFORMED, "%s", e.msg);
    return doc;
}

void wsm_process(struct wsm *w, const struct wsm_request *rq, struct wsm_reply *ret)
{
    *ret = (struct wsm_reply){ .status = 500 };
    wsm_expire(w, rq->now);
    struct wsm_call c = { .w = w, .rq = rq };
    bool utf16 = wsm_is_utf16(rq->body, rq->len);
    ret->content_type = "application/soap+xml;charset=UTF-8";
    vr_auto(vr_xml_doc_free) struct vr_xml_doc *doc = document(&c);
    process(&c, doc ? vr_xml_root(doc) : NULL, utf16, ret);
    cim_path_free(c.epr);
    if (!ret->status && ret->until.ms <= rq->now.ms && rq->token)
        keep(w, rq, vr_take(doc));
    if (utf16 && ret->content_type) {
        if (wsm_to_utf16(&ret->body, NULL))
            send_status(ret, 500);
        else
            ret->content_type = "application/soap+xml;charset=UTF-16";
    }
}
