/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_CLI_TESTINST_H
#define VR_CLI_TESTINST_H

/* For tests with cmocka, whose headers come first: instances as a server would answer. */

#include <stdlib.h>

#include "wsman/client.h"

/* made() - an instance of @cls with the @n properties @p; the caller frees. */
static struct wsmc_inst *made(const char *cls, const struct wsmc_arg *p, size_t n)
{
    struct wsmc_inst *in = NULL;
    struct vr_err err = VR_ERR_INIT;
    char *xml = wsmc_make_cim_xml(cls, p, n);
    assert_int_equal(wsmc_cim_xml(xml, &in, &err), 0);
    free(xml);
    return in;
}

#endif
