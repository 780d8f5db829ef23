/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libFuzzer target: envelopes against the fake world. Every reply must be an HTTP status alone or
 * an envelope that can be read. Corpus: tests/wsman. */
#include <stdint.h>
#include <stdlib.h>

#include "base/xml.h"
#include "wsman/fake.h"
#include "wsman/wsm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct wsm *w;
    static int64_t now;
    if (!w)
        w = wsm_new(wsm_fake_server(), NULL);
    now += 20000; /* so that enumerations expire */
    const struct cim_caller who = { .name = "fuzz", .role = CIM_ROLE_ADMIN };
    const struct wsm_request rq = { .body = data,
                                    .len = size,
                                    .caller = size % 8 ? &who : NULL,
                                    .user_agent = size % 2 ? "WinRM" : NULL,
                                    .now = { now } };
    struct wsm_reply rep;
    wsm_process(w, &rq, &rep);
    if (rep.status < 200 || rep.status > 599)
        abort();
    if (rep.content_type) {
        struct vr_xml_doc *doc = NULL;
        const struct vr_xml_limits lim = { .bytes = 4 << 20, .text = 4 << 20 };
        if (vr_xml_parse(rep.body.data, rep.body.len, &lim, &doc, NULL))
            abort();
        vr_xml_doc_free(doc);
    }
    wsm_reply_done(&rep);
    return 0;
}
