/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libFuzzer target: embedded instances. Whatever is accepted must survive writing and reading. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cim/cimxml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vr_autofree char *text = vr_strndup((const char *)data, size);
    vr_auto(cim_inst_free) struct cim_inst *in = NULL;
    vr_auto(cim_inst_free) struct cim_inst *back = NULL;
    vr_autofree char *xml = NULL;

    if (cim_xml_parse(text, NULL, &in, NULL) < 0 || cim_xml_text(in, NULL, &xml, NULL) < 0)
        return 0;
    if (cim_xml_parse(xml, in->cls, &back, NULL) < 0)
        abort();
    return 0;
}
