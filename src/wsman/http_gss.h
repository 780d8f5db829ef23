/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_WSMAN_HTTP_GSS_H
#define VR_WSMAN_HTTP_GSS_H

#include "gss/gss_krb5.h"
#include "wsman/sealed.h"

/* Between HTTP and GSSAPI: tokens in headers, sealed bodies. Any thread. */

enum wsm_scheme { WSM_SCHEME_NONE, WSM_SCHEME_BASIC, WSM_SCHEME_NEGOTIATE, WSM_SCHEME_KERBEROS };

/* wsm_scheme_of() - of an Authorization or WWW-Authenticate header (NULL: NONE). *ret_rest: what
 * follows the scheme. wsm_scheme_name() - as it is written. */
enum wsm_scheme wsm_scheme_of(const char *header, const char **ret_rest);
const char *wsm_scheme_name(enum wsm_scheme s);
/* wsm_token_of() - bytes of the token that follows a scheme. Errors: VR_E_INVAL none or no base64,
 * VR_E_LIMIT longer than VR_GSS_TOKEN_MAX. */
int wsm_token_of(const char *rest, struct vr_buf *ret, struct vr_err *err);

/* wsm_body_open() - unseal a body.
 * @body:  overwritten
 * @plain: appended to; @ret_type: its Content-Type; @ret_protocol: to seal the reply with
 * Errors: VR_E_PROTO broken, VR_E_AUTH not what the other side sealed, VR_E_LIMIT. */
int wsm_body_open(struct vr_gss *g, const char *content_type, struct vr_buf *body,
                  struct vr_buf *plain, char ret_type[WSM_SEALED_TYPE_MAX],
                  enum wsm_protocol *ret_protocol, struct vr_err *err);
/* wsm_body_seal() - the reverse: append to @out. */
int wsm_body_seal(struct vr_gss *g, enum wsm_protocol protocol, const char *type, const void *p,
                  size_t n, struct vr_buf *out, struct vr_err *err);

#endif
