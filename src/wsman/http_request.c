/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One HTTP request from its header to its reply: is it for us, who asks, what is answered. While
 * somebody logs in the connection is suspended. Control thread.
 *
 * On the listener for Kerberos a connection is nobody's until a token was accepted on it; from then
 * on its bodies are sealed in both directions, and a clear one ends it. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "base/log.h"
#include "wsman/http_mhd.h"
#include "wsman/wsm.h"

enum {
    LEGS_MAX = 5, /* tokens for one context */
    /* Bytes beyond the limit that are read and thrown away, so that the sender gets to read why. */
    DISCARD_MAX = 4 << 20,
};

/* ---- replies ------------------------------------------------------------------------------- */

static enum MHD_Result send_response(struct req *rq, unsigned status, struct MHD_Response *r)
{
    if (rq->close)
        MHD_add_response_header(r, "Connection", "close");
    rq->c->deadline = wsm_in_s(rq->c->l->h->lim.reply_s);
    enum MHD_Result ok = MHD_queue_response(rq->c->mc, status, r);
    MHD_destroy_response(r);
    return ok;
}

static const char *status_text(unsigned status)
{
    switch (status) {
    case 200:
        return "";
    case 400:
        return "Log in with Kerberos, then send sealed bodies (multipart/encrypted).\n";
    case 401:
        return "Say who you are.\n";
    case 403:
        return "You are not allowed to manage this host.\n";
    case 404:
        return "WS-Management is at /wsman.\n";
    case 405:
        return "Only POST is served.\n";
    case 413:
        return "The envelope is over the limit.\n";
    case 415:
        return "Only application/soap+xml is served.\n";
    case 503:
        return "Too many logins at the moment.\n";
    default:
        return "The request could not be served.\n";
    }
}

static void add_token(struct req *rq, struct MHD_Response *r)
{
    if (!rq->token)
        return;
    vr_autofree char *v = vr_printf("%s %s", wsm_scheme_name(rq->scheme), rq->token);
    MHD_add_response_header(r, "WWW-Authenticate", v);
}

/* Each listener offers what it takes; a token that goes on stands for itself. */
static void add_schemes(struct req *rq, struct MHD_Response *r)
{
    if (rq->token) {
        add_token(rq, r);
    } else if (rq->c->l->kind == LISTENER_SEALED) {
        MHD_add_response_header(r, "WWW-Authenticate", "Negotiate");
        MHD_add_response_header(r, "WWW-Authenticate", "Kerberos");
    } else {
        MHD_add_response_header(r, "WWW-Authenticate", "Basic realm=\"vmreplica\"");
    }
}

static enum MHD_Result send_status(struct req *rq, unsigned status)
{
    const struct wsm_auth *auth = &rq->c->l->h->auth;
    bool can_login = rq->c->l->kind == LISTENER_SEALED ||
                     (rq->c->l->kind == LISTENER_TLS && auth->check_password);
    if (status == 401 && !can_login)
        status = 403; /* there is no scheme to offer */
    const char *text = status_text(status);
    struct MHD_Response *r = MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text,
                                                             MHD_RESPMEM_PERSISTENT);
    if (!r)
        return MHD_NO;
    if (*text)
        MHD_add_response_header(r, "Content-Type", "text/plain;charset=UTF-8");
    if (status == 401)
        add_schemes(rq, r);
    else
        add_token(rq, r);
    if (status == 405)
        MHD_add_response_header(r, "Allow", "POST");
    return send_response(rq, status, r);
}

static const char *header(struct req *rq, const char *name)
{
    return MHD_lookup_connection_value(rq->c->mc, MHD_HEADER_KIND, name);
}

/* ---- answers -------------------------------------------------------------------------------- */

static int seal(const struct wsm_envelope *e, struct wsm_reply *out)
{
    struct vr_buf sealed = { .max = VR_BUF_MAX };
    struct vr_err err = VR_ERR_INIT;
    if (wsm_body_seal(e->gss, e->protocol, out->content_type, out->body.data, out->body.len,
                      &sealed, &err)) {
        vr_log_err(VR_LOG_ERROR, "management: a reply cannot be sealed", &err);
        vr_buf_done(&sealed);
        return -1;
    }
    vr_buf_done(&out->body);
    out->body = sealed;
    out->content_type = wsm_sealed_content_type(e->protocol);
    return 0;
}

/* The ways in that this host offers. */
static unsigned profiles(const struct wsm_http *h)
{
    unsigned all = 0;
    for (const struct listener *l = h->listeners; l; l = l->next) {
        if (l->kind == LISTENER_SEALED)
            all |= WSM_PROFILE_HTTP_KERBEROS;
        if (l->kind == LISTENER_TLS)
            all |=
                WSM_PROFILE_HTTPS_MUTUAL | (h->auth.check_password ? WSM_PROFILE_HTTPS_BASIC : 0);
    }
    return all;
}

static enum MHD_Result answer(struct req *rq, const struct wsm_envelope *e)
{
    struct wsm_http *h = rq->c->l->h;
    const struct cim_caller caller = { .name = e->who ? e->who->name : NULL,
                                       .role = e->who ? e->who->role : CIM_ROLE_NONE,
                                       .address = rq->c->peer.address,
                                       .is_local = rq->c->peer.local };
    const struct wsm_request in = { .body = e->body->data,
                                    .len = e->body->len,
                                    .content_type = e->type,
                                    .user_agent = header(rq, "User-Agent"),
                                    .caller = e->who ? &caller : NULL,
                                    .profiles = profiles(h),
                                    .now = vr_mono_now(),
                                    .token = rq,
                                    .arrived = wsm_wait_since(rq) };
    struct wsm_reply out;
    wsm_process(h->wsm, &in, &out);
    if (!out.status)
        return wsm_wait(rq, e, out.until) ? MHD_YES : send_status(rq, 503);
    if (out.content_type && e->gss && seal(e, &out)) {
        wsm_reply_done(&out);
        rq->close = true;
        return send_status(rq, 500);
    }
    if (!out.content_type) {
        wsm_reply_done(&out);
        return send_status(rq, (unsigned)out.status);
    }
    struct MHD_Response *r =
        MHD_create_response_from_buffer(out.body.len, out.body.data, MHD_RESPMEM_MUST_FREE);
    if (!r) {
        wsm_reply_done(&out);
        return MHD_NO;
    }
    MHD_add_response_header(r, "Content-Type", out.content_type);
    add_token(rq, r);
    return send_response(rq, (unsigned)out.status, r);
}

static enum MHD_Result answer_clear(struct req *rq, const struct wsm_identity *who)
{
    /* Somebody without a role gets a fault that says so, but not our time. */
    bool stranger = !who || who->role == CIM_ROLE_NONE;
    if (stranger && rq->body.len > rq->c->l->h->lim.anonymous_bytes)
        return send_status(rq, who ? 403 : 401);
    const struct wsm_envelope e = { .body = &rq->body,
                                    .type = header(rq, "Content-Type"),
                                    .who = who };
    return answer(rq, &e);
}

/* ---- logging in ----------------------------------------------------------------------------- */

void wsm_request_suspend(struct req *rq)
{
    struct wsm_http *h = rq->c->l->h;
    rq->c->deadline = INT64_MAX;
    rq->next = h->suspended;
    rq->prev = &h->suspended;
    if (rq->next)
        rq->next->prev = &rq->next;
    h->suspended = rq;
    MHD_suspend_connection(rq->c->mc);
}

static void suspend(struct req *rq, struct wsm_login *login)
{
    rq->login = login;
    rq->auth = AUTH_RUNNING;
    wsm_request_suspend(rq);
}

void wsm_request_resume(struct req *rq)
{
    struct listener *l = rq->c->l; /* the request may be over when this returns */
    *rq->prev = rq->next;
    if (rq->next)
        rq->next->prev = rq->prev;
    rq->prev = NULL;
    rq->login = NULL;
    rq->c->deadline = wsm_in_s(l->h->lim.reply_s);
    MHD_resume_connection(rq->c->mc);
    wsm_listener_run(l);
}

void wsm_request_abort(struct req *rq)
{
    if (rq->login)
        wsm_login_forget(rq->login);
    rq->status = 503;
    rq->auth = AUTH_BAD;
    wsm_request_resume(rq);
}

static void password_checked(void *arg, struct wsm_login_result *r)
{
    struct req *rq = arg;
    struct wsm_peer *p = &rq->c->peer;
    rq->auth = r->end == WSM_LOGIN_GOOD ? AUTH_GOOD : AUTH_BAD;
    if (rq->auth == AUTH_GOOD) {
        rq->who = r->who;
        if (rq->roles == p->roles) /* else what was found may be true no longer */
            wsm_peer_keep_basic(p, header(rq, "Authorization"), &r->who);
    }
    wsm_request_resume(rq);
}

static void token_checked(void *arg, struct wsm_login_result *r)
{
    static const enum auth_state ends[] = {
        [WSM_LOGIN_BAD] = AUTH_BAD, [WSM_LOGIN_MORE] = AUTH_MORE, [WSM_LOGIN_GOOD] = AUTH_GOOD
    };
    struct req *rq = arg;
    struct wsm_peer *p = &rq->c->peer;
    rq->auth = ends[r->end];
    if (r->end != WSM_LOGIN_BAD && r->token.len)
        rq->token = vr_base64(r->token.data, r->token.len);
    if (r->end == WSM_LOGIN_MORE)
        p->pending = vr_take(r->gss);
    if (r->end == WSM_LOGIN_GOOD)
        wsm_peer_keep_gss(p, vr_take(r->gss), &r->who);
    wsm_request_resume(rq);
}

/* Returns whether the connection was suspended. If not, the request's status says why. */
static bool start_password(struct req *rq, const char *rest)
{
    struct wsm_http *h = rq->c->l->h;
    vr_autofree char *user = NULL;
    char *password = NULL;
    struct wsm_login *login = NULL;
    rq->status = 401;
    if (wsm_basic_decode(rest, &user, &password))
        return false;
    rq->status = 503;
    if (!h->closing)
        login = wsm_login_password(h->logins, rq->c->peer.address, user, password, password_checked,
                                   rq);
    explicit_bzero(password, strlen(password));
    free(password);
    if (!login)
        return false;
    rq->status = 0;
    rq->roles = rq->c->peer.roles;
    suspend(rq, login);
    return true;
}

static bool start_token(struct req *rq, const char *rest)
{
    struct wsm_http *h = rq->c->l->h;
    struct wsm_peer *p = &rq->c->peer;
    vr_autobuf struct vr_buf token = VR_BUF_INIT;
    struct vr_err err = VR_ERR_INIT;
    rq->status = 401;
    rq->close = true;
    if (!wsm_token_of(rest, &token, &err) && ++p->legs > LEGS_MAX)
        vr_fail(&err, VR_E_AUTH, 0, "too many tokens without a result");
    if (err.kind != VR_OK) {
        wsm_throttle_log(wsm_logins_throttle(h->logins), vr_mono_now(), p->address, "login",
                         err.msg);
        return false;
    }
    rq->status = 503;
    if (h->closing)
        return false;
    struct wsm_login *login =
        wsm_login_token(h->logins, p->address, vr_take(p->pending), &token, token_checked, rq);
    if (!login)
        return false;
    rq->status = 0;
    rq->close = false;
    suspend(rq, login);
    return true;
}

/* ---- the listener for Kerberos -------------------------------------------------------------- */

static enum MHD_Result refuse_sealed(struct req *rq, unsigned status, const char *why)
{
    struct wsm_peer *p = &rq->c->peer;
    const char *who = p->gss ? p->gss_who.name : "a request";
    wsm_throttle_log(wsm_logins_throttle(rq->c->l->h->logins), vr_mono_now(), p->address, who, why);
    wsm_peer_drop_gss(p);
    rq->close = true;
    return send_status(rq, status);
}

static enum MHD_Result answer_sealed(struct req *rq)
{
    struct wsm_peer *p = &rq->c->peer;
    struct wsm_http *h = rq->c->l->h;
    vr_autobuf struct vr_buf plain = { .max = h->lim.envelope_bytes };
    char type[WSM_SEALED_TYPE_MAX];
    struct vr_err err = VR_ERR_INIT;
    struct wsm_envelope e = { .body = &plain, .type = type, .who = &p->gss_who, .gss = p->gss };
    if (vr_gss_is_over(p->gss))
        return refuse_sealed(rq, 401, "the ticket's time is over");
    if (!rq->body.len)
        return send_status(rq, 200);
    if (!wsm_sealed_is(header(rq, "Content-Type")))
        return refuse_sealed(rq, 400, "the body is in clear text");
    if (wsm_body_open(p->gss, header(rq, "Content-Type"), &rq->body, &plain, type, &e.protocol,
                      &err))
        return refuse_sealed(rq, 400, err.msg);
    if (p->gss_who.role == CIM_ROLE_NONE && plain.len > h->lim.anonymous_bytes)
        return refuse_sealed(rq, 403, "no role, and a long request");
    return answer(rq, &e);
}

static enum MHD_Result finish_sealed(struct req *rq)
{
    struct wsm_peer *p = &rq->c->peer;
    const char *rest = NULL;
    switch (rq->auth) {
    case AUTH_GOOD:
        return answer_sealed(rq);
    case AUTH_MORE:
        return send_status(rq, 401);
    case AUTH_BAD: /* it was logged */
        wsm_peer_drop_gss(p);
        rq->close = true;
        return send_status(rq, 401);
    default:
        break;
    }
    switch (wsm_scheme_of(header(rq, "Authorization"), &rest)) {
    case WSM_SCHEME_NEGOTIATE:
    case WSM_SCHEME_KERBEROS:
        rq->scheme = wsm_scheme_of(header(rq, "Authorization"), &rest);
        return start_token(rq, rest) ? MHD_YES : send_status(rq, rq->status);
    case WSM_SCHEME_BASIC:
        return refuse_sealed(rq, 401,
                             "a password came in clear text over HTTP; it was not looked at, and "
                             "others may have seen it");
    case WSM_SCHEME_NONE:
        break;
    }
    if (p->gss)
        return answer_sealed(rq);
    if (rq->body.len && !wsm_sealed_is(header(rq, "Content-Type")))
        return refuse_sealed(rq, 401, "the body is in clear text");
    rq->close = rq->body.len > 0;
    return send_status(rq, 401);
}

/* ---- requests ------------------------------------------------------------------------------- */

/* The whole body is here: find out who asks, then answer. */
/* Once for a connection, and again when roles have changed since. */
static void look_at_certificate(struct conn *c)
{
    if (c->peer.checked)
        return;
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(c->mc, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    char thumb[WSM_THUMB_SIZE];
    bool has = i && wsm_tls_peer_thumb(i->tls_session, thumb);
    wsm_peer_certificate(&c->peer, &c->l->h->auth, has ? thumb : NULL);
}

static enum MHD_Result finish(struct req *rq)
{
    struct wsm_http *h = rq->c->l->h;
    struct wsm_peer *p = &rq->c->peer;
    const char *rest = NULL;
    if (rq->auth == AUTH_RUNNING)
        return MHD_YES;
    if (rq->status)
        return send_status(rq, rq->status);
    struct wsm_envelope again;
    if (wsm_wait_over(rq, &again)) /* who asks was known when it began to wait */
        return answer(rq, &again);
    if (rq->c->l->kind == LISTENER_SEALED)
        return finish_sealed(rq);
    look_at_certificate(rq->c);
    if (p->known)
        return answer_clear(rq, &p->who);
    if (rq->auth == AUTH_GOOD)
        return answer_clear(rq, &rq->who);
    if (rq->auth == AUTH_BAD)
        return send_status(rq, 401);
    const char *basic = header(rq, "Authorization");
    if (wsm_scheme_of(basic, &rest) == WSM_SCHEME_BASIC && h->auth.check_password && !p->local) {
        if (p->basic && !strcmp(p->basic, basic))
            return answer_clear(rq, &p->basic_who);
        return start_password(rq, rest) ? MHD_YES : send_status(rq, rq->status);
    }
    return answer_clear(rq, NULL);
}

/* A page can make its browser, which may have a certificate or a password for us, send a body
 * without a type. A browser says so in these headers, which a page cannot leave out. */
static bool is_from_page(struct req *rq)
{
    static const char *const names[] = { "Origin", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Referer",
                                         "Cookie" };
    for (size_t i = 0; i < VR_ARRAY_LEN(names); i++)
        if (header(rq, names[i]))
            return true;
    const char *agent = header(rq, "User-Agent");
    return agent && !strncasecmp(agent, "Mozilla", 7);
}

/* Some clients send no type at all. */
static bool type_ok(struct req *rq)
{
    const char *type = header(rq, "Content-Type"), *len = header(rq, "Content-Length");
    if (rq->c->l->kind != LISTENER_SEALED)
        return type ? wsm_body_type_ok(type) : !is_from_page(rq);
    return wsm_sealed_is(type) || wsm_body_type_ok(type) || (!type && len && !strcmp(len, "0"));
}

static unsigned judge_header(struct req *rq, const char *url, const char *method)
{
    if (strcasecmp(url, "/wsman") && strcasecmp(url, "/wsman/"))
        return 404;
    if (strcmp(method, "POST"))
        return 405;
    return type_ok(rq) ? 0 : 415;
}

/* Bytes of the body as announced; 0 when nothing is said, the greatest number for nonsense. */
static unsigned long long announced(struct req *rq)
{
    const char *len = header(rq, "Content-Length");
    if (!len)
        return 0;
    errno = 0;
    unsigned long long n = strtoull(len, NULL, 10);
    return errno ? ULLONG_MAX : n;
}

/* What is around a sealed envelope, and its own limit while nobody has logged in. */
static size_t body_limit(const struct conn *c)
{
    const struct wsm_http_limits *lim = &c->l->h->lim;
    if (c->l->kind != LISTENER_SEALED)
        return lim->envelope_bytes;
    return (c->peer.gss ? lim->envelope_bytes : lim->anonymous_bytes) + 4096;
}

static enum MHD_Result begin(struct conn *c, const char *url, const char *method, void **con_cls)
{
    struct wsm_http *h = c->l->h;
    struct req *rq = vr_new(struct req);
    rq->c = c;
    rq->body.max = body_limit(c);
    *con_cls = rq;
    c->deadline = wsm_in_s(h->lim.request_s);
    look_at_certificate(c);
    unsigned long long length = announced(rq);
    if (length > rq->body.max + DISCARD_MAX)
        return send_status(rq,
                           413); /* the library then closes, and a reset may swallow the answer */
    rq->status = length > rq->body.max ? 413 : judge_header(rq, url, method);
    return MHD_YES;
}

static enum MHD_Result take_body(struct req *rq, const char *data, size_t n)
{
    if (rq->status)
        return MHD_YES;
    struct vr_err e = VR_ERR_INIT;
    if (vr_buf_add(&rq->body, data, n, &e)) {
        vr_buf_done(&rq->body);
        rq->status = 413;
    }
    return MHD_YES;
}

enum MHD_Result wsm_on_request(void *arg, struct MHD_Connection *mc, const char *url,
                               const char *method, const char *version, const char *data,
                               size_t *size, void **con_cls)
{
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(mc, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct conn *c = i ? i->socket_context : NULL;
    if (!c)
        return MHD_NO;
    struct req *rq = *con_cls;
    if (!rq)
        return begin(c, url, method, con_cls);
    if (!*size)
        return finish(rq);
    size_t n = *size;
    *size = 0;
    return take_body(rq, data, n);
}

void wsm_on_completed(void *arg, struct MHD_Connection *mc, void **con_cls,
                      enum MHD_RequestTerminationCode why)
{
    struct req *rq = *con_cls;
    if (!rq)
        return;
    *con_cls = NULL;
    if (rq->login)
        wsm_login_forget(rq->login);
    if (rq->prev) {
        *rq->prev = rq->next;
        if (rq->next)
            rq->next->prev = rq->prev;
    }
    rq->c->deadline = wsm_idle_deadline(rq->c);
    wsm_wait_end(rq);
    vr_buf_done(&rq->body);
    free(rq->token);
    free(rq);
}
