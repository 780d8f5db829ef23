/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "wire.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "canonical.h"

void wire_begin(struct wire *x, struct vr_buf *out, void (*situation)(struct world *w))
{
    void *st;

    world_new(&st);
    *x = (struct wire){ .w = st, .out = out };
    situation(x->w);
    x->m = wsm_new(x->w->cim, NULL);
    canonical_begin();
}

void wire_end(struct wire *x)
{
    void *st = x->w;

    wsm_free(x->m);
    world_free(&st);
}

/* ---- envelopes ---- */
void wire_escape(struct vr_buf *b, const char *text)
{
    for (; *text; text++)
        switch (*text) {
        case '<':
            vr_buf_printf(b, NULL, "&lt;");
            break;
        case '>':
            vr_buf_printf(b, NULL, "&gt;");
            break;
        case '&':
            vr_buf_printf(b, NULL, "&amp;");
            break;
        case '"':
            vr_buf_printf(b, NULL, "&quot;");
            break;
        default:
            vr_buf_add(b, text, 1, NULL);
        }
}

static void selectors(struct vr_buf *b, const struct cim_path *p)
{
    if (!p->n_keys)
        return;
    vr_buf_printf(b, NULL, "<w:SelectorSet>");
    for (size_t i = 0; i < p->n_keys; i++) {
        vr_buf_printf(b, NULL, "<w:Selector Name=\"%s\">", p->keys[i].name);
        if (p->keys[i].ref) {
            vr_buf_printf(b, NULL, "<a:EndpointReference>");
            wire_reference(b, p->keys[i].ref);
            vr_buf_printf(b, NULL, "</a:EndpointReference>");
        } else {
            wire_escape(b, p->keys[i].text);
        }
        vr_buf_printf(b, NULL, "</w:Selector>");
    }
    vr_buf_printf(b, NULL, "</w:SelectorSet>");
}

void wire_reference(struct vr_buf *b, const struct cim_path *p)
{
    const struct cim_class *c = cim_path_class(p);

    vr_buf_printf(b, NULL,
                  "<a:Address>" ANONYMOUS "</a:Address><a:ReferenceParameters>"
                  "<w:ResourceURI>" WMI "%s/%s</w:ResourceURI>",
                  c ? c->ns : CIM_NS_VIRT, p->cls);
    selectors(b, p);
    vr_buf_printf(b, NULL, "</a:ReferenceParameters>");
}

struct cim_path *wire_path(const char *text)
{
    struct cim_path *p = NULL;
    struct vr_err err = VR_ERR_INIT;

    if (cim_path_parse(text, &p, &err) < 0)
        fail_msg("%s: %s", text, err.msg);
    return p;
}

char *wire_envelope(const char *uri, const char *action, const struct cim_path *target,
                    const char *options, const char *body)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;

    vr_buf_printf(&b, NULL,
                  "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" "
                  "xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" "
                  "xmlns:w=\"http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd\" "
                  "xmlns:n=\"http://schemas.xmlsoap.org/ws/2004/09/enumeration\">"
                  "<s:Header><a:To>https://hosta:5986/wsman</a:To>"
                  "<w:ResourceURI s:mustUnderstand=\"true\">%s</w:ResourceURI>"
                  "<a:ReplyTo><a:Address>" ANONYMOUS "</a:Address></a:ReplyTo>"
                  "<a:Action s:mustUnderstand=\"true\">%s</a:Action>"
                  "<a:MessageID>uuid:ABCDEFAB-0000-0000-0000-000000000001</a:MessageID>",
                  uri, action);
    if (target)
        selectors(&b, target);
    vr_buf_printf(&b, NULL, "%s</s:Header><s:Body>%s</s:Body></s:Envelope>", options, body);
    return vr_strdup((char *)b.data);
}

/* ---- exchanges ---- */
char *wire_ask(const struct wire *x, const char *request, int *ret_status)
{
    const struct wsm_request rq = { .body = request,
                                    .len = strlen(request),
                                    .user_agent = "test",
                                    .caller = &x->w->who,
                                    .now = { 1000 } };
    struct wsm_reply rep;

    wsm_process(x->m, &rq, &rep);
    char *text = vr_strdup(rep.body.data ? (const char *)rep.body.data : "");
    *ret_status = rep.status;
    wsm_reply_done(&rep);
    return text;
}

int wire_exchange(const struct wire *x, const char *title, const char *request, char **ret_reply)
{
    int status = 0;
    vr_autofree char *reply = wire_ask(x, request, &status);
    vr_autofree char *asked = canonical(request);
    vr_autofree char *said = canonical(reply);
    vr_autofree char *asked_less = x->of_host ? canonical_host(asked) : NULL;
    vr_autofree char *said_less = x->of_host ? canonical_host(said) : NULL;

    vr_buf_printf(x->out, NULL, "==== %s\n%s---- %d\n%s", title, x->of_host ? asked_less : asked,
                  status, x->of_host ? said_less : said);
    if (ret_reply) {
        *ret_reply = reply;
        reply = NULL;
    }
    return status;
}
