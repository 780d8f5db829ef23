/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libFuzzer target: the XML reader; what it accepts must survive being written and read again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/xmlw.h"
#include "wsman/client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t count(const struct vr_xml *el)
{
    size_t n = 1 + strlen(el->name) + strlen(el->ns) + strlen(el->trim);
    for (const struct vr_xml *c = el->first; c; c = c->next)
        n += count(c);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vr_auto(vr_xml_doc_free) struct vr_xml_doc *doc = NULL, *again = NULL;
    const struct vr_xml_limits lim = { .bytes = 65536, .depth = 32, .elements = 1000, .attrs = 16 };
    const struct vr_xml_limits roomy = { .bytes = 16 << 20, .text = 16 << 20, .attrs = 64 };
    if (vr_xml_parse(data, size, &lim, &doc, NULL))
        return 0;
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct vr_xmlw w;
    struct vr_err e = VR_ERR_INIT;
    vr_xmlw_init(&w, &b);
    vr_xmlw_tree(&w, vr_xml_root(doc));
    if (vr_xmlw_finish(&w, &e)) {
        if (e.kind != VR_E_LIMIT)
            abort();
        return 0;
    }
    if (vr_xml_parse(b.data, b.len, &roomy, &again, &e))
        abort();
    if (count(vr_xml_root(doc)) != count(vr_xml_root(again)))
        abort();
    vr_auto(wsmc_inst_free) struct wsmc_inst *in = NULL;
    (void)wsmc_cim_xml((const char *)b.data, &in, NULL);
    return 0;
}
