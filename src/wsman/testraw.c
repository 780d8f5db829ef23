/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Raw connections to the listener for Kerberos, for tests that do what no client would. */
#include "wsman/testraw.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/base64.h"

uint16_t raw_port;
const char *raw_source = ".";

void raw_must(int rc, const struct vr_err *e)
{
    if (rc)
        fail_msg("%s", e->msg);
}

struct raw raw_open(void)
{
    struct raw r = { .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .g = vr_gss_new() };
    const struct sockaddr_in sa = { .sin_family = AF_INET,
                                    .sin_port = htons(raw_port),
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    assert_int_equal(connect(r.fd, (const struct sockaddr *)&sa, sizeof sa), 0);
    return r;
}

void raw_close(struct raw *r)
{
    close(r->fd);
    vr_gss_free(r->g);
    vr_buf_done(&r->body);
}

static void raw_read(struct raw *r)
{
    vr_autobuf struct vr_buf in = VR_BUF_INIT;
    char *end = NULL;
    size_t want = 0;
    vr_buf_done(&r->body);
    r->status = 0;
    for (;;) {
        char piece[4096];
        struct pollfd p = { .fd = r->fd, .events = POLLIN };
        assert_int_equal(poll(&p, 1, 60000), 1);
        ssize_t n = recv(r->fd, piece, sizeof piece, 0);
        if (n <= 0)
            return; /* closed */
        assert_int_equal(vr_buf_add(&in, piece, (size_t)n, NULL), 0);
        if (!end && (end = strstr((char *)in.data, "\r\n\r\n"))) {
            size_t len = (size_t)(end - (char *)in.data);
            assert_true(len < sizeof r->head);
            memcpy(r->head, in.data, len);
            r->head[len] = 0;
            const char *cl = strcasestr(r->head, "Content-Length:");
            want = len + 4 + (cl ? strtoul(cl + 15, NULL, 10) : 0);
        }
        if (end && in.len >= want)
            break;
    }
    assert_int_equal(sscanf(r->head, "HTTP/1.1 %d", &r->status), 1);
    size_t head = strlen(r->head) + 4;
    assert_int_equal(vr_buf_add(&r->body, in.data + head, in.len - head, NULL), 0);
}

void raw_post(struct raw *r, const char *type, const char *extra, const void *p, size_t n)
{
    vr_autobuf struct vr_buf out = VR_BUF_INIT;
    vr_buf_printf(&out, NULL,
                  "POST /wsman HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\n"
                  "Content-Length: %zu\r\n%s\r\n",
                  type, n, extra);
    vr_buf_add(&out, p, n, NULL);
    for (size_t at = 0; at < out.len;) {
        ssize_t k = send(r->fd, out.data + at, out.len - at, MSG_NOSIGNAL);
        assert_true(k > 0);
        at += (size_t)k;
    }
    raw_read(r);
}

const char raw_identify[] =
    "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope' "
    "xmlns:i='http://schemas.dmtf.org/"
    "wbem/wsman/identity/1/wsmanidentity.xsd'><s:Body><i:Identify/></s:Body></s:Envelope>";

char *raw_first_token(struct raw *r, bool spnego)
{
    vr_autobuf struct vr_buf token = VR_BUF_INIT;
    struct vr_err e = VR_ERR_INIT;
    bool more;
    raw_must(vr_gss_connect(r->g, "localhost", spnego, NULL, 0, &token, &more, &e), &e);
    vr_autofree char *text = vr_base64(token.data, token.len);
    return vr_printf("Authorization: %s %s\r\n", spnego ? "Negotiate" : "Kerberos", text);
}

void raw_login(struct raw *r, bool spnego)
{
    vr_autobuf struct vr_buf token = VR_BUF_INIT, none = VR_BUF_INIT;
    struct vr_err e = VR_ERR_INIT;
    bool more;
    vr_autofree char *line = raw_first_token(r, spnego);
    raw_post(r, SOAP, line, NULL, 0);
    assert_int_equal(r->status, 200);
    const char *want = spnego ? "WWW-Authenticate: Negotiate " : "WWW-Authenticate: Kerberos ";
    char *back = strstr(r->head, want);
    assert_non_null(back);
    back += strlen(want);
    vr_autofree char *text = vr_strndup(back, strcspn(back, "\r"));
    raw_must(wsm_token_of(text, &token, &e), &e);
    raw_must(vr_gss_connect(r->g, "localhost", spnego, token.data, token.len, &none, &more, &e),
             &e);
    assert_false(more);
}

char *raw_exchange(struct raw *r, const char *file, const char *context, int status)
{
    vr_autofree char *path = vr_printf("%s/tests/wsman/%s", raw_source, file);
    vr_autofclose FILE *f = fopen(path, "re");
    vr_autobuf struct vr_buf sealed = VR_BUF_INIT, plain = VR_BUF_INIT;
    char text[8192], type[WSM_SEALED_TYPE_MAX];
    struct vr_err e = VR_ERR_INIT;
    enum wsm_protocol p;
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = 0;
    char *at = strstr(text, "<s:Envelope"), *mark = strstr(at, "@CONTEXT@");
    vr_autofree char *body =
        mark ? vr_printf("%.*s%s%s", (int)(mark - at), at, context, mark + strlen("@CONTEXT@"))
             : vr_strdup(at);
    raw_must(wsm_body_seal(r->g, WSM_PROTOCOL_SPNEGO, SOAP, body, strlen(body), &sealed, &e), &e);
    raw_post(r, wsm_sealed_content_type(WSM_PROTOCOL_SPNEGO), "", sealed.data, sealed.len);
    assert_int_equal(r->status, status);
    raw_must(wsm_body_open(r->g, wsm_sealed_content_type(WSM_PROTOCOL_SPNEGO), &r->body, &plain,
                           type, &p, &e),
             &e);
    return vr_strdup((char *)plain.data);
}

void raw_sealed(struct raw *r, enum wsm_protocol p, struct vr_buf *sealed)
{
    struct vr_err e = VR_ERR_INIT;
    raw_must(wsm_body_seal(r->g, p, SOAP, raw_identify, strlen(raw_identify), sealed, &e), &e);
}

void raw_assert_closed(struct raw *r)
{
    char c;
    assert_non_null(strstr(r->head, "Connection: close"));
    struct pollfd p = { .fd = r->fd, .events = POLLIN };
    assert_int_equal(poll(&p, 1, 60000), 1);
    assert_true(recv(r->fd, &c, 1, 0) <= 0);
}

void raw_assert_offers_kerberos_only(const struct raw *r)
{
    assert_int_equal(r->status, 401);
    assert_non_null(strstr(r->head, "WWW-Authenticate: Negotiate"));
    assert_non_null(strstr(r->head, "WWW-Authenticate: Kerberos"));
    assert_null(strcasestr(r->head, "Basic"));
}
