/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tokens in headers and sealed bodies, of server and client alike. src:[RFC 4559] [MS-WSMV 2.2.9.1]
 */
#include "wsman/http_gss.h"

#include <string.h>
#include <strings.h>

#include "base/base64.h"

static const char *const names[] = { [WSM_SCHEME_NONE] = "",
                                     [WSM_SCHEME_BASIC] = "Basic",
                                     [WSM_SCHEME_NEGOTIATE] = "Negotiate",
                                     [WSM_SCHEME_KERBEROS] = "Kerberos" };

enum wsm_scheme wsm_scheme_of(const char *header, const char **ret_rest)
{
    for (size_t i = WSM_SCHEME_BASIC; header && i < VR_ARRAY_LEN(names); i++) {
        size_t n = strlen(names[i]);
        if (strncasecmp(header, names[i], n) || (header[n] && header[n] != ' '))
            continue;
        *ret_rest = header + n + strspn(header + n, " ");
        return (enum wsm_scheme)i;
    }
    return WSM_SCHEME_NONE;
}

const char *wsm_scheme_name(enum wsm_scheme s)
{
    return names[s];
}

int wsm_token_of(const char *rest, struct vr_buf *ret, struct vr_err *err)
{
    ret->max = VR_GSS_TOKEN_MAX;
    if (!*rest)
        return vr_fail(err, VR_E_INVAL, 0, "there is no token");
    return vr_base64_decode(rest, ret, err);
}

int wsm_body_open(struct vr_gss *g, const char *content_type, struct vr_buf *body,
                  struct vr_buf *plain, char ret_type[WSM_SEALED_TYPE_MAX],
                  enum wsm_protocol *ret_protocol, struct vr_err *err)
{
    struct wsm_sealed s;
    if (wsm_sealed_parse(content_type, body->data, body->len, &s, err) ||
        vr_gss_unseal(g, body->data + (s.data - body->data), s.n, plain, err))
        return -1;
    if (plain->len != s.length)
        return vr_fail(err, VR_E_PROTO, 0, "the sealed body has %zu bytes instead of %zu",
                       plain->len, s.length);
    memcpy(ret_type, s.type, WSM_SEALED_TYPE_MAX);
    *ret_protocol = s.protocol;
    return 0;
}

int wsm_body_seal(struct vr_gss *g, enum wsm_protocol protocol, const char *type, const void *p,
                  size_t n, struct vr_buf *out, struct vr_err *err)
{
    if (wsm_sealed_begin(protocol, type, n, out, err) || vr_gss_seal(g, p, n, out, err) ||
        wsm_sealed_end(out, err))
        return -1;
    return 0;
}
