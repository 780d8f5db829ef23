/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The calls of the client: build an envelope, post it, read the reply or the fault. Blocks.
 * Invariant: a reply is believed only if it relates to the request. src:[wsman.md 2-6] */
#include "wsman/client.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/uuid.h"
#include "wsman/client_http.h"
#include "wsman/client_int.h"
#include "wsman/fault_kind.h"
#include "wsman/ns.h"

enum { PAGE = 1000 };

struct wsmc {
    struct wsmc_http *http;
};

/* One exchange. */
struct call {
    struct vr_buf out, in;
    struct vr_xmlw w;
    char id[VR_UUID_STR + 8];
    struct vr_xml_doc *doc;
    const struct vr_xml *body; /* first element in the reply's body, may be NULL */
};

static void call_done(struct call *k)
{
    vr_buf_done(&k->out);
    vr_buf_done(&k->in);
    vr_xml_doc_free(k->doc);
}
#define autocall __attribute__((cleanup(call_done)))

int wsmc_new(const struct wsmc_target *t, struct wsmc **ret, struct vr_err *err)
{
    struct wsmc_http *h;
    if (wsmc_http_new(t, &h, err))
        return -1;
    *ret = vr_new(struct wsmc);
    (*ret)->http = h;
    return 0;
}

void wsmc_free(struct wsmc *c)
{
    if (!c)
        return;
    wsmc_http_free(c->http);
    free(c);
}

/* ---- envelopes ------------------------------------------------------------------------------- */

static void open_envelope(struct call *k)
{
    vr_xmlw_init(&k->w, &k->out);
    vr_xmlw_start(&k->w, "s", "Envelope");
    vr_xmlw_ns(&k->w, "s", NS_SOAP);
    vr_xmlw_ns(&k->w, "a", NS_ADDR);
    vr_xmlw_ns(&k->w, "w", NS_WSMAN);
    vr_xmlw_ns(&k->w, "n", NS_ENUM);
    vr_xmlw_start(&k->w, "s", "Header");
}

/* The header of @action on @ref; the body is open afterwards. */
static int begin(struct call *k, const char *action, const struct wsmc_ref *ref, struct vr_err *err)
{
    char id[VR_UUID_STR];
    struct vr_uuid u = vr_uuid_new();
    snprintf(k->id, sizeof k->id, "uuid:%s", vr_uuid_fmt_upper(&u, id));
    open_envelope(k);
    vr_xmlw_elem(&k->w, "a", "To", "http://localhost/wsman");
    vr_xmlw_elem(&k->w, "a", "Action", action);
    vr_xmlw_elem(&k->w, "a", "MessageID", k->id);
    vr_xmlw_start(&k->w, "a", "ReplyTo");
    vr_xmlw_elem(&k->w, "a", "Address", ADDR_ANONYMOUS);
    vr_xmlw_end(&k->w);
    vr_xmlw_elem(&k->w, "w", "OperationTimeout", "PT60S");
    if (wsmc_put_ref(&k->w, ref, err))
        return -1;
    vr_xmlw_end(&k->w);
    vr_xmlw_start(&k->w, "s", "Body");
    return 0;
}

static const char *local(const char *qname)
{
    const char *colon = strchr(qname, ':');
    return colon ? colon + 1 : qname;
}

static int fault_error(const struct vr_xml *f, struct vr_err *err)
{
    const struct vr_xml *code = vr_xml_child(f, NS_SOAP, "Code");
    const char *value = vr_xml_child_trim(code, NS_SOAP, "Value");
    const char *sub = vr_xml_child_trim(vr_xml_child(code, NS_SOAP, "Subcode"), NS_SOAP, "Value");
    const char *text = vr_xml_child_trim(vr_xml_child(f, NS_SOAP, "Reason"), NS_SOAP, "Text");
    const char *name = local(sub ? sub : value ? value : "");
    enum vr_kind kind = wsm_fault_kind(name);
    if (text && *text)
        return vr_fail(err, kind, 0, "%s", text);
    return vr_fail(err, kind, 0, "the server answered with the fault %s", name);
}

static int read_reply(struct call *k, int status, struct vr_err *err)
{
    if (status == 401)
        return vr_fail(err, VR_E_AUTH, 0, "the server does not know who we are");
    if (status == 403)
        return vr_fail(err, VR_E_DENIED, 0, "%s",
                       k->in.len < 200 && k->in.len > 1 ? (const char *)k->in.data
                                                        : "the server refuses us");
    const struct vr_xml_limits lim = { .bytes = WSMC_REPLY_MAX,
                                       .text = WSMC_REPLY_MAX,
                                       .elements = 2000000 };
    if ((status != 200 && status != 400 && status != 500) || !k->in.len)
        return vr_fail(err, VR_E_PROTO, 0, "the server answered with HTTP status %d", status);
    if (vr_xml_parse(k->in.data, k->in.len, &lim, &k->doc, err))
        return vr_err_wrap(err, "answer (HTTP status %d)", status);
    const struct vr_xml *root = vr_xml_root(k->doc);
    const struct vr_xml *body = vr_xml_child(root, NS_SOAP, "Body");
    if (!vr_xml_is(root, NS_SOAP, "Envelope") || !body)
        return vr_fail(err, VR_E_PROTO, 0, "the answer is no SOAP envelope");
    k->body = body->first;
    if (vr_xml_is(k->body, NS_SOAP, "Fault"))
        return fault_error(k->body, err);
    if (status != 200)
        return vr_fail(err, VR_E_PROTO, 0, "the server answered with HTTP status %d", status);
    const struct vr_xml *header = vr_xml_child(root, NS_SOAP, "Header");
    const char *relates = vr_xml_child_trim(header, NS_ADDR, "RelatesTo");
    if (*k->id && (!relates || strcmp(relates, k->id)))
        return vr_fail(err, VR_E_PROTO, 0, "the answer belongs to another request");
    return 0;
}

/* Close the body, send, receive. */
static int send_call(struct wsmc *c, struct call *k, bool again_ok, struct vr_err *err)
{
    vr_xmlw_end(&k->w);
    vr_xmlw_end(&k->w);
    int status;
    k->in.max = WSMC_REPLY_MAX;
    if (vr_xmlw_finish(&k->w, err) ||
        wsmc_http_post(c->http, k->out.data, k->out.len, again_ok, &k->in, &status, err))
        return -1;
    return read_reply(k, status, err);
}

static int need_body(const struct call *k, struct vr_err *err)
{
    return k->body ? 0 : vr_fail(err, VR_E_PROTO, 0, "the answer is empty");
}

/* ---- calls ----------------------------------------------------------------------------------- */

int wsmc_identify(struct wsmc *c, struct wsmc_inst **ret, struct vr_err *err)
{
    autocall struct call k = { .id = "" };
    open_envelope(&k);
    vr_xmlw_end(&k.w);
    vr_xmlw_start(&k.w, "s", "Body");
    vr_xmlw_start(&k.w, "i", "Identify");
    vr_xmlw_ns(&k.w, "i", NS_IDENTITY);
    vr_xmlw_end(&k.w);
    if (send_call(c, &k, true, err) || need_body(&k, err))
        return -1;
    *ret = wsmc_inst_read(k.body, k.body->name, 0);
    return 0;
}

int wsmc_get(struct wsmc *c, const struct wsmc_ref *ref, struct wsmc_inst **ret, struct vr_err *err)
{
    autocall struct call k = { .id = "" };
    if (begin(&k, ACT_GET, ref, err) || send_call(c, &k, true, err) || need_body(&k, err))
        return -1;
    *ret = wsmc_inst_read(k.body, k.body->name, 0);
    return 0;
}

static void add_items(const struct vr_xml *items, struct wsmc_list *ret)
{
    for (const struct vr_xml *i = items ? items->first : NULL; i; i = i->next) {
        ret->v = vr_grow(ret->v, ret->n + 1, sizeof *ret->v);
        ret->v[ret->n++] = wsmc_inst_read(i, i->name, 0);
    }
}

/* Items and context of an EnumerateResponse or PullResponse. *ret_context is NULL at the end. */
static int take_page(const struct call *k, struct wsmc_list *ret, char **ret_context,
                     struct vr_err *err)
{
    if (need_body(k, err))
        return -1;
    const struct vr_xml *items = vr_xml_child(k->body, NULL, "Items");
    bool end = vr_xml_child(k->body, NULL, "EndOfSequence");
    const char *context = vr_xml_child_trim(k->body, NS_ENUM, "EnumerationContext");
    add_items(items, ret);
    if (!end && context && *context)
        vr_set_str(ret_context, context);
    else if (end)
        vr_set_str(ret_context, NULL);
    if (!end && !*ret_context)
        return vr_fail(err, VR_E_PROTO, 0, "the answer has neither an end nor a context");
    return 0;
}

static int enumerate(struct wsmc *c, const struct wsmc_ref *ref, const char *wql,
                     struct wsmc_list *ret, struct vr_err *err)
{
    autocall struct call k = { .id = "" };
    vr_autofree char *context = NULL;
    vr_autofree char *page = vr_printf("%d", PAGE);
    if (begin(&k, ACT_ENUMERATE, ref, err))
        return -1;
    vr_xmlw_start(&k.w, "n", "Enumerate");
    vr_xmlw_elem(&k.w, "w", "OptimizeEnumeration", NULL);
    vr_xmlw_elem(&k.w, "w", "MaxElements", page);
    if (wql) {
        vr_xmlw_start(&k.w, "w", "Filter");
        vr_xmlw_attr(&k.w, "Dialect", DIALECT_WQL);
        vr_xmlw_text(&k.w, wql);
        vr_xmlw_end(&k.w);
    }
    vr_xmlw_end(&k.w);
    if (send_call(c, &k, true, err) || take_page(&k, ret, &context, err))
        return -1;
    while (context) {
        autocall struct call p = { .id = "" };
        size_t before = ret->n;
        if (begin(&p, ACT_PULL, ref, err))
            return -1;
        vr_xmlw_start(&p.w, "n", "Pull");
        vr_xmlw_elem(&p.w, "n", "EnumerationContext", context);
        vr_xmlw_elem(&p.w, "n", "MaxElements", page);
        vr_xmlw_end(&p.w);
        if (send_call(c, &p, false, err) || take_page(&p, ret, &context, err))
            return -1;
        if (context && ret->n == before)
            return vr_fail(err, VR_E_PROTO, 0, "the server sends no items and no end");
    }
    return 0;
}

int wsmc_enumerate(struct wsmc *c, const char *ns, const char *cls, struct wsmc_list *ret,
                   struct vr_err *err)
{
    const struct wsmc_ref ref = { .ns = ns, .cls = cls };
    return enumerate(c, &ref, NULL, ret, err);
}

int wsmc_query(struct wsmc *c, const char *ns, const char *wql, struct wsmc_list *ret,
               struct vr_err *err)
{
    const struct wsmc_ref ref = { .ns = ns, .cls = "*" };
    return enumerate(c, &ref, wql, ret, err);
}

/* ---- events ---- */

int wsmc_subscribe(struct wsmc *c, const char *ns, const char *wql, unsigned beat_s,
                   char **ret_context, struct vr_err *err)
{
    const struct wsmc_ref ref = { .ns = ns, .cls = "*" };
    autocall struct call k = { .id = "" };
    vr_autofree char *beat = vr_printf("PT%uS", beat_s);
    if (begin(&k, ACT_SUBSCRIBE, &ref, err))
        return -1;
    vr_xmlw_start(&k.w, "e", "Subscribe");
    vr_xmlw_ns(&k.w, "e", NS_EVENTING);
    vr_xmlw_start(&k.w, "e", "Delivery");
    vr_xmlw_attr(&k.w, "Mode", MODE_PULL);
    vr_xmlw_elem(&k.w, "w", "Heartbeats", beat);
    vr_xmlw_end(&k.w);
    vr_xmlw_elem(&k.w, "e", "Expires", "P1D");
    vr_xmlw_start(&k.w, "w", "Filter");
    vr_xmlw_attr(&k.w, "Dialect", DIALECT_WQL);
    vr_xmlw_text(&k.w, wql);
    vr_xmlw_end(&k.w);
    vr_xmlw_end(&k.w);
    if (send_call(c, &k, false, err) || need_body(&k, err))
        return -1;
    const char *context = vr_xml_child_trim(k.body, NS_ENUM, "EnumerationContext");
    if (!context)
        return vr_fail(err, VR_E_PROTO, 0, "the answer has no context");
    *ret_context = vr_strdup(context);
    return 0;
}

int wsmc_pull(struct wsmc *c, const char *ns, const char *context, struct wsmc_list *ret,
              struct vr_err *err)
{
    const struct wsmc_ref ref = { .ns = ns, .cls = "*" };
    autocall struct call k = { .id = "" };
    if (begin(&k, ACT_PULL, &ref, err))
        return -1;
    vr_xmlw_start(&k.w, "n", "Pull");
    vr_xmlw_elem(&k.w, "n", "EnumerationContext", context);
    vr_xmlw_elem(&k.w, "n", "MaxElements", "100");
    vr_xmlw_end(&k.w);
    if (send_call(c, &k, false, err) || need_body(&k, err))
        return -1;
    const struct vr_xml *items = vr_xml_child(k.body, NS_ENUM, "Items");
    const struct vr_xml *first = items ? items->first : NULL;
    if (!vr_xml_is(first, NS_WSMAN, "Event")) /* a heartbeat */
        add_items(items, ret);
    return 0;
}

int wsmc_unsubscribe(struct wsmc *c, const char *ns, const char *context, struct vr_err *err)
{
    const struct wsmc_ref ref = { .ns = ns, .cls = "*" };
    autocall struct call k = { .id = "" };
    if (begin(&k, ACT_RELEASE, &ref, err))
        return -1;
    vr_xmlw_start(&k.w, "n", "Release");
    vr_xmlw_elem(&k.w, "n", "EnumerationContext", context);
    vr_xmlw_end(&k.w);
    return send_call(c, &k, false, err);
}

/* Take the return value out of the out parameters. */
static int take_return(struct wsmc_inst *out, uint32_t *ret, struct vr_err *err)
{
    uint64_t v = wsmc_uint(out, "ReturnValue", UINT64_MAX);
    if (v > UINT32_MAX)
        return vr_fail(err, VR_E_PROTO, 0, "the answer has no ReturnValue");
    *ret = (uint32_t)v;
    return 0;
}

int wsmc_invoke(struct wsmc *c, const struct wsmc_ref *ref, const char *method,
                const struct wsmc_arg *args, size_t n_args, uint32_t *ret,
                struct wsmc_inst **ret_out, struct vr_err *err)
{
    autocall struct call k = { .id = "" };
    vr_autofree char *uri = NULL;
    if (wsmc_ref_uri(ref, &uri, err))
        return -1;
    vr_autofree char *action = vr_printf("%s/%s", uri, method);
    if (begin(&k, action, ref, err))
        return -1;
    vr_xmlw_start2(&k.w, "p", method, "_INPUT");
    vr_xmlw_ns(&k.w, "p", uri);
    if (wsmc_put_args(&k.w, args, n_args, err))
        return -1;
    vr_xmlw_end(&k.w);
    if (send_call(c, &k, false, err) || need_body(&k, err))
        return -1;
    vr_auto(wsmc_inst_free) struct wsmc_inst *out = wsmc_inst_read(k.body, k.body->name, 0);
    if (take_return(out, ret, err))
        return -1;
    if (ret_out)
        *ret_out = vr_take(out);
    return 0;
}

int wsmc_put(struct wsmc *c, const struct wsmc_ref *ref, const struct wsmc_arg *args, size_t n_args,
             struct wsmc_inst **ret, struct vr_err *err)
{
    autocall struct call k = { .id = "" };
    vr_autofree char *uri = NULL;
    if (wsmc_ref_uri(ref, &uri, err) || begin(&k, ACT_PUT, ref, err))
        return -1;
    vr_xmlw_start(&k.w, "p", strrchr(uri, '/') + 1);
    vr_xmlw_ns(&k.w, "p", uri);
    if (wsmc_put_args(&k.w, args, n_args, err))
        return -1;
    vr_xmlw_end(&k.w);
    if (send_call(c, &k, true, err) || need_body(&k, err))
        return -1;
    if (ret)
        *ret = wsmc_inst_read(k.body, k.body->name, 0);
    return 0;
}
