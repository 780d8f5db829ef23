/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libFuzzer target: envelopes against the real providers and the real engine on a fake host, in a
 * world of its own for each input: what reads disks, points, entries, settings and addresses out of
 * what strangers write. Every reply must be an HTTP status alone or an envelope that can be read,
 * and the engine comes to rest after it. Corpus: the requests of tests/exchanges/golden, by
 * seeds.py. */
#include <stdlib.h>

#include "base/log.h"
#include "base/xml.h"
#include "cim/providers/testways.h"
#include "wsman/wsm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_be_xml(const struct wsm_reply *rep)
{
    struct vr_xml_doc *doc = NULL;
    const struct vr_xml_limits lim = { .bytes = 4 << 20, .text = 4 << 20, .elements = 200000 };

    if (vr_xml_parse(rep->body.data, rep->body.len, &lim, &doc, NULL))
        abort();
    vr_xml_doc_free(doc);
}

static void ask(struct world *w, const uint8_t *data, size_t size)
{
    struct wsm *m = wsm_new(w->cim, NULL);
    const struct wsm_request rq = {
        .body = data, .len = size, .caller = &w->who, .user_agent = "WinRM", .now = { 1000 }
    };
    struct wsm_reply rep;

    wsm_process(m, &rq, &rep); /* without a token nothing waits */
    pump(w);
    if (rep.status < 200 || rep.status > 599)
        abort();
    if (rep.content_type)
        must_be_xml(&rep);
    wsm_reply_done(&rep);
    wsm_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const situations[])(struct world * w) = { make_nothing, make_any_server,
                                                            make_paused, make_replica,
                                                            make_failed_over };
    void *st;

    vr_log_level(VR_LOG_ERROR);
    world_new(&st);
    situations[size % 5](st);
    ask(st, data, size);
    world_free(&st);
    return 0;
}
