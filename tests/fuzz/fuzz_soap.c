/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libFuzzer target: envelopes against the fake world. Every reply must be an HTTP status alone or
 * an envelope that can be read. Corpus: tests/wsman. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xml.h"
#include "wsman/fake.h"
#include "wsman/wsm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char context[64]; /* the last one that a reply had */

static void note_context(const char *reply)
{
    static const char tag[] = "<n:EnumerationContext>";
    const char *at = strstr(reply, tag);
    if (at)
        snprintf(context, sizeof context, "%.*s", (int)strcspn(at + strlen(tag), "<"),
                 at + strlen(tag));
}

/* The golden exchanges name an open enumeration or subscription by "@CONTEXT@". */
static void fill_in(const uint8_t *data, size_t size, struct vr_buf *ret)
{
    static const char mark[] = "@CONTEXT@";
    const size_t n = sizeof mark - 1;
    for (size_t i = 0; i < size;) {
        bool is_mark = size - i >= n && !memcmp(data + i, mark, n);
        vr_buf_add(ret, is_mark ? (const void *)context : data + i, is_mark ? strlen(context) : 1,
                   NULL);
        i += is_mark ? n : 1;
    }
}

static void must_be_xml(const struct wsm_reply *rep)
{
    struct vr_xml_doc *doc = NULL;
    const struct vr_xml_limits lim = { .bytes = 4 << 20, .text = 4 << 20, .elements = 200000 };
    if (vr_xml_parse(rep->body.data, rep->body.len, &lim, &doc, NULL))
        abort();
    vr_xml_doc_free(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct cim_server *svc;
    static struct wsm *w;
    static int64_t now;
    if (!w)
        w = wsm_new(svc = wsm_fake_server(), NULL);
    now += 20000; /* so that enumerations expire */
    wsm_fake_job(svc, size % 3 ? (unsigned)size % 12 : 0);
    vr_autobuf struct vr_buf body = VR_BUF_INIT;
    fill_in(data, size, &body);
    const struct cim_caller who = { .name = "fuzz", .role = CIM_ROLE_ADMIN };
    struct wsm_request rq = { .body = body.data,
                              .len = body.len,
                              .caller = size % 8 ? &who : NULL,
                              .user_agent = size % 2 ? "WinRM" : NULL,
                              .token = size % 5 ? &who : NULL,
                              .now = { now } };
    struct wsm_reply rep;
    wsm_process(w, &rq, &rep);
    if (!rep.status) { /* it waits: until its time is over, or it goes away */
        if (!rq.token)
            abort();
        rq.arrived = rq.now;
        now = rq.now.ms = rep.until.ms;
        if (size % 7)
            wsm_process(w, &rq, &rep);
        wsm_forget(w, rq.token);
    }
    if (rep.status && (rep.status < 200 || rep.status > 599))
        abort();
    if (rep.content_type) {
        must_be_xml(&rep);
        note_context((char *)rep.body.data);
    }
    wsm_reply_done(&rep);
    return 0;
}
