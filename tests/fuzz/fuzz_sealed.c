/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libFuzzer target: what comes before anybody is known on the listener for Kerberos: the header
 * with its token, and sealed bodies. The first line of the input is the Content-Type, the rest the
 * body. What is accepted lies inside of the body and survives being written and read again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "wsman/http_gss.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void header(const char *line)
{
    const char *rest = NULL;
    vr_autobuf struct vr_buf token = VR_BUF_INIT;
    if (wsm_scheme_of(line, &rest) == WSM_SCHEME_NONE)
        return;
    if (wsm_token_of(rest, &token, NULL))
        return;
    check(token.len <= VR_GSS_TOKEN_MAX);
    vr_autofree char *text = vr_base64(token.data, token.len);
    vr_autobuf struct vr_buf again = VR_BUF_INIT;
    check(!vr_base64_decode(text, &again, NULL) && again.len == token.len);
    check(!token.len || !memcmp(again.data, token.data, token.len));
}

static void sealed(const char *type, const uint8_t *body, size_t n)
{
    struct wsm_sealed s, t;
    if (wsm_sealed_parse(type, body, n, &s, NULL))
        return;
    check(s.protocol < WSM_PROTOCOL_COUNT && strlen(s.type) < sizeof s.type);
    check(s.data >= body && s.n <= n && s.data + s.n <= body + n);
    vr_autobuf struct vr_buf out = VR_BUF_INIT;
    check(!wsm_sealed_begin(s.protocol, s.type, s.length, &out, NULL) &&
          !vr_buf_add(&out, s.data, s.n, NULL) && !wsm_sealed_end(&out, NULL));
    check(!wsm_sealed_parse(wsm_sealed_content_type(s.protocol), out.data, out.len, &t, NULL));
    check(t.length == s.length && t.n == s.n && !strcmp(t.type, s.type) &&
          !memcmp(t.data, s.data, s.n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *eol = memchr(data, '\n', size);
    size_t n = eol ? (size_t)(eol - data) : size;
    vr_autofree char *line = vr_strndup((const char *)data, n);
    header(line);
    if (eol) {
        /* a copy of its own, so that reading beyond the end is seen */
        vr_autofree uint8_t *body = vr_new0(1, size - n);
        memcpy(body, eol + 1, size - n - 1);
        sealed(line, body, size - n - 1);
    }
    return 0;
}
