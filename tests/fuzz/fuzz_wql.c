/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libFuzzer target: queries and event queries, parsed and run against one instance of their class.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cim/query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vr_autofree char *text = vr_strndup((const char *)data, size);
    vr_auto(cim_query_free) struct cim_query *q = NULL;

    vr_auto(cim_query_free) struct cim_query *ev = NULL;
    if (cim_query_parse_event(CIM_NS_VIRT, text, &ev, NULL) == CIM_S_OK && ev->cls) {
        vr_auto(cim_inst_free) struct cim_inst *now = cim_inst_new_of(ev->cls);
        (void)cim_query_takes(ev, CIM_EV_MODIFIED, now, now);
        (void)cim_query_takes(ev, CIM_EV_DELETED, now, NULL);
    }
    if (cim_query_parse(CIM_NS_VIRT, text, &q, NULL) != CIM_S_OK || q->kind != CIM_Q_SELECT)
        return 0;
    vr_auto(cim_inst_free) struct cim_inst *in = cim_inst_new_of(q->cls);
    for (size_t i = 0; i < in->cls->n_props; i++)
        if (in->props[i].is_null && in->props[i].type == CIM_STRING)
            cim_value_put_str(&in->props[i], "some text");
    (void)cim_query_matches(q, in);
    if (q->cols)
        cim_project(q->cols, q->n_cols, in);
    return 0;
}
