/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_GSS_GSS_INT_H
#define VR_GSS_GSS_INT_H

#include <gssapi/gssapi.h>
#include <gssapi/gssapi_ext.h>
#include <gssapi/gssapi_krb5.h>
#include <krb5.h>

#include "gss/gss_krb5.h"

/* Inside of this folder; the only file that includes the headers of Kerberos. */

struct vr_gss {
    gss_ctx_id_t ctx;
    gss_name_t target; /* of the client's part */
    bool ready;
    bool has_last;
    uint64_t last; /* number of the last message that was received */
    char principal[VR_GSS_PRINCIPAL_MAX], local_user[VR_GSS_PRINCIPAL_MAX];
    char host[VR_GSS_PRINCIPAL_MAX]; /* of a host that was accepted */
};

/* gss_int_fail() - VR_E_AUTH with what the library says. gss_int_name() - a name as text.
 * gss_int_take() - append a token to @reply and release it. */
int gss_int_fail(const char *what, OM_uint32 major, OM_uint32 minor, struct vr_err *err);
int gss_int_name(gss_name_t name, char out[VR_GSS_PRINCIPAL_MAX], struct vr_err *err);
int gss_int_take(gss_buffer_desc *token, struct vr_buf *reply, struct vr_err *err);

#endif
