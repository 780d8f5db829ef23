/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* multipart/encrypted in the form of MS-WSMV 2.2.9.1: header lines may be indented, no empty line
 * stands between them and the bytes, and the bytes end where the closing boundary begins. */
#include "wsman/sealed.h"

#include <string.h>
#include <strings.h>

#include "base/cleanup.h"

#define BOUNDARY "Encrypted Boundary"

enum { BOUNDARY_MAX = 70, LINE_SIZE = 512, LINES_MAX = 16 };

static const struct {
    const char *name, *content_type;
} protocols[WSM_PROTOCOL_COUNT] = {
#define P(n)                                                                  \
    {                                                                         \
        n, "multipart/encrypted;protocol=\"" n "\";boundary=\"" BOUNDARY "\"" \
    }
    [WSM_PROTOCOL_SPNEGO] = P("application/HTTP-SPNEGO-session-encrypted"),
    [WSM_PROTOCOL_KERBEROS] = P("application/HTTP-Kerberos-session-encrypted"),
#undef P
};

bool wsm_sealed_is(const char *type)
{
    static const char want[] = "multipart/encrypted";
    return type && !strncasecmp(type, want, sizeof want - 1) &&
           strchr("; \t", type[sizeof want - 1]) != NULL;
}

const char *wsm_sealed_content_type(enum wsm_protocol p)
{
    return protocols[p].content_type;
}

/* Value of a parameter of a header, quoted or not. */
static bool parameter(const char *header, const char *name, char *out, size_t size)
{
    size_t len = strlen(name);
    for (const char *p = strchr(header, ';'); p; p = strchr(p, ';')) {
        p += 1 + strspn(p + 1, " \t");
        bool hit = !strncasecmp(p, name, len) && p[len] == '=';
        p += strcspn(p, "=;");
        if (*p != '=')
            continue;
        const char *v = ++p;
        size_t n;
        if (*v == '"') {
            n = strcspn(++v, "\"");
            p = v + n;
            if (!*p)
                return false;
        } else {
            n = strcspn(v, "; \t");
            p = v + n;
        }
        if (!hit)
            continue;
        if (!n || n >= size)
            return false;
        memcpy(out, v, n);
        out[n] = 0;
        return true;
    }
    return false;
}

static int protocol_of(const char *name, size_t n, enum wsm_protocol *ret)
{
    for (size_t i = 0; i < WSM_PROTOCOL_COUNT; i++)
        if (strlen(protocols[i].name) == n && !strncasecmp(protocols[i].name, name, n)) {
            *ret = (enum wsm_protocol)i;
            return 0;
        }
    return -1;
}

struct reader {
    const char *p;
    size_t left;
};

/* Is @text next? Then it is taken. */
static bool take(struct reader *r, const char *text)
{
    size_t n = strlen(text);
    if (r->left < n || memcmp(r->p, text, n) != 0)
        return false;
    r->p += n;
    r->left -= n;
    return true;
}

static bool take_boundary(struct reader *r, const char *boundary)
{
    struct reader t = *r;
    if (!take(&t, "--") || !take(&t, boundary) || !take(&t, "\r\n"))
        return false;
    *r = t;
    return true;
}

/* One line without its end and the blanks around it. */
static bool take_line(struct reader *r, char out[LINE_SIZE])
{
    const char *end = memchr(r->p, '\n', r->left);
    if (!end || end == r->p || end[-1] != '\r' || (size_t)(end - r->p) > LINE_SIZE)
        return false;
    size_t n = (size_t)(end - 1 - r->p);
    if (memchr(r->p, 0, n))
        return false;
    const char *s = r->p;
    while (n && (*s == ' ' || *s == '\t')) {
        s++;
        n--;
    }
    while (n && (s[n - 1] == ' ' || s[n - 1] == '\t'))
        n--;
    memcpy(out, s, n);
    out[n] = 0;
    r->left -= (size_t)(end + 1 - r->p);
    r->p = end + 1;
    return true;
}

static const char *field(const char *line, const char *name)
{
    size_t n = strlen(name);
    if (strncasecmp(line, name, n) || line[n] != ':')
        return NULL;
    return line + n + 1 + strspn(line + n + 1, " \t");
}

/* type=TYPE;Length=N */
static int original(const char *v, struct wsm_sealed *ret)
{
    const char *length = strcasestr(v, ";Length=");
    if (strncasecmp(v, "type=", 5) || !length || length < v + 5)
        return -1;
    size_t n = (size_t)(length - v - 5);
    const char *digits = length + 8;
    size_t k = strspn(digits, "0123456789");
    if (!n || n >= sizeof ret->type || !k || k > 9 || digits[k])
        return -1;
    memcpy(ret->type, v + 5, n);
    ret->type[n] = 0;
    ret->length = 0;
    for (size_t i = 0; i < k; i++)
        ret->length = ret->length * 10 + (size_t)(digits[i] - '0');
    return 0;
}

static int first_part(struct reader *r, const char *boundary, struct wsm_sealed *ret,
                      struct vr_err *err)
{
    char line[LINE_SIZE];
    bool has_original = false;
    for (int i = 0; !take_boundary(r, boundary); i++) {
        if (i == LINES_MAX || !take_line(r, line))
            return vr_fail(err, VR_E_PROTO, 0, "the first part of the sealed body is broken");
        const char *v = field(line, "OriginalContent"), *type = field(line, "Content-Type");
        enum wsm_protocol p;
        if (type && (protocol_of(type, strlen(type), &p) || p != ret->protocol))
            return vr_fail(err, VR_E_PROTO, 0, "the parts of the sealed body contradict its type");
        if (v && (has_original || original(v, ret)))
            return vr_fail(err, VR_E_PROTO, 0, "OriginalContent of the sealed body is broken");
        has_original |= v != NULL;
    }
    if (!has_original)
        return vr_fail(err, VR_E_PROTO, 0, "the sealed body has no OriginalContent");
    return 0;
}

int wsm_sealed_parse(const char *content_type, const void *body, size_t n, struct wsm_sealed *ret,
                     struct vr_err *err)
{
    char boundary[BOUNDARY_MAX + 1], name[WSM_SEALED_TYPE_MAX], line[LINE_SIZE],
        tail[BOUNDARY_MAX + 8];
    struct wsm_sealed s = { 0 };
    if (!wsm_sealed_is(content_type) ||
        !parameter(content_type, "boundary", boundary, sizeof boundary) ||
        !parameter(content_type, "protocol", name, sizeof name))
        return vr_fail(err, VR_E_PROTO, 0, "the Content-Type of the sealed body is broken");
    if (protocol_of(name, strlen(name), &s.protocol))
        return vr_fail(err, VR_E_PROTO, 0, "sealing by %s is not served", name);
    struct reader r = { body, n };
    take(&r, "\r\n");
    if (!take_boundary(&r, boundary))
        return vr_fail(err, VR_E_PROTO, 0, "the sealed body does not begin with its boundary");
    if (first_part(&r, boundary, &s, err))
        return -1;
    const char *type = take_line(&r, line) ? field(line, "Content-Type") : NULL;
    if (!type || strcasecmp(type, "application/octet-stream") != 0)
        return vr_fail(err, VR_E_PROTO, 0, "the second part of the sealed body is broken");
    size_t t = (size_t)snprintf(tail, sizeof tail, "--%s--", boundary);
    if (r.left >= 2 && !memcmp(r.p + r.left - 2, "\r\n", 2))
        r.left -= 2;
    if (r.left < t || memcmp(r.p + r.left - t, tail, t) != 0)
        return vr_fail(err, VR_E_PROTO, 0, "the sealed body does not end with its boundary");
    s.data = (const uint8_t *)r.p;
    s.n = r.left - t;
    *ret = s;
    return 0;
}

int wsm_sealed_begin(enum wsm_protocol p, const char *type, size_t length, struct vr_buf *out,
                     struct vr_err *err)
{
    /* As Windows writes it; some clients look for the tabulators. */
    return vr_buf_printf(out, err,
                         "--" BOUNDARY "\r\n\tContent-Type: %s\r\n"
                         "\tOriginalContent: type=%s;Length=%zu\r\n"
                         "--" BOUNDARY "\r\n\tContent-Type: application/octet-stream\r\n",
                         protocols[p].name, type, length);
}

int wsm_sealed_end(struct vr_buf *out, struct vr_err *err)
{
    return vr_buf_printf(out, err, "--" BOUNDARY "--\r\n");
}
