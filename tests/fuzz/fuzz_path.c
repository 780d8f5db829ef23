/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libFuzzer target: object paths and datetimes. What is accepted must survive being formatted. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cim/datetime.h"
#include "cim/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one_datetime(const char *text)
{
    struct cim_datetime d, again;
    char out[CIM_DATETIME_STR], xs[CIM_DATETIME_XS];

    if (cim_datetime_parse(text, &d, NULL) < 0)
        return;
    if (cim_datetime_parse(cim_datetime_xs(&d, xs), &again, NULL) < 0)
        abort();
    if (cim_datetime_parse(cim_datetime_fmt(&d, out), &again, NULL) < 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vr_autofree char *text = vr_strndup((const char *)data, size);
    vr_auto(cim_path_free) struct cim_path *p = NULL;
    vr_auto(cim_path_free) struct cim_path *back = NULL;
    vr_autofree char *out = NULL;

    one_datetime(text);
    if (cim_path_parse(text, &p, NULL) < 0)
        return 0;
    out = cim_path_fmt(p, "HOST");
    if (strlen(out) < CIM_PATH_LEN_MAX &&
        (cim_path_parse(out, &back, NULL) < 0 || !cim_path_equal(p, back)))
        abort();
    return 0;
}
