/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kerberos between hosts: one token each way inside of a TLS session whose certificates nobody
 * knows. The tokens are bound to the session and to both certificates, so somebody in the middle,
 * who has two sessions, cannot pass them on. Thread: any but the control thread; files and the
 * domain controller are waited for. docs/protocol.md section 7a. */
#include <string.h>

#include "base/cleanup.h"
#include "base/codec.h"
#include "transport/impl.h"

enum { BINDING = 3 * TLS_HASH };

static struct vr_gss_conf conf_of(const struct xport *x)
{
    return (struct vr_gss_conf){ .keytab = x->keytab,
                                 .service = x->service,
                                 .host_name = x->host_name };
}

/* The exporter of the session, the initiator's certificate, the acceptor's. */
static int bind_to(const struct xport *x, struct tls *t, bool initiator, uint8_t ret[BINDING],
                   struct vr_err *err)
{
    const uint8_t *mine = x->facts->hash, *theirs = tls_peer_hash(t);
    memcpy(ret + TLS_HASH, initiator ? mine : theirs, TLS_HASH);
    memcpy(ret + TLS_HASH * 2, initiator ? theirs : mine, TLS_HASH);
    return tls_binding(t, TLS_LABEL_KERBEROS, ret, err);
}

int xport_self(const struct xport *x, char ret[VR_NAME_MAX], struct vr_err *err)
{
    struct vr_gss_conf c = conf_of(x);
    struct vr_gss_self self;
    if (vr_gss_self(&c, &self, err) < 0)
        return -1;
    if (strlen(self.host) >= VR_NAME_MAX)
        return vr_fail(err, VR_E_INVAL, 0, "the name %.100s... is too long", self.host);
    memcpy(ret, self.host, strlen(self.host) + 1);
    return 0;
}

/* What the other side says is not known to be its own before this has succeeded: none of it may
 * stop a relationship for good. */
static int finish(struct xport *x, struct vr_gss *g, const uint8_t binding[BINDING],
                  struct vr_stream *s, const char *host, struct vr_err *err)
{
    struct vr_gss_conf c = conf_of(x);
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    enum frame_type type;
    int rc = frame_recv(s, FRAME_ST_LOGGING_IN, &type, &b, err);
    if (rc == 0 && type == FRAME_REFUSED)
        rc = take_refused(&b, err);
    else if (rc == 0 && vr_gss_host_end(g, &c, binding, BINDING, b.data, b.len, err) < 0)
        rc = vr_err_wrap(err, "whoever answers is not known to be %s", host);
    if (rc < 0 && vr_kind_scope(err->kind) == VR_SCOPE_REL)
        err->kind = VR_E_PEER;
    return rc;
}

int login_call(struct xport *x, struct vr_stream *s, const char *host, struct vr_err *err)
{
    struct vr_gss_conf c = conf_of(x);
    const struct listener *l = &x->server.at[XPORT_KERBEROS];
    vr_auto(vr_gss_free) struct vr_gss *g = vr_gss_new();
    vr_autobuf struct vr_buf token = VR_BUF_INIT;
    uint8_t binding[BINDING], head[2];
    if (bind_to(x, tls_of(s), true, binding, err) < 0 ||
        vr_gss_host_begin(g, &c, host, binding, BINDING, &token, err) < 0)
        return -1;
    vr_store_u16(head, atomic_load(&l->port));
    if (tframe_send(s, FRAME_LOGIN, head, sizeof head, token.data, token.len, err) < 0)
        return -1;
    return finish(x, g, binding, s, host, err);
}

int login_serve(struct xport *x, struct tls *t, const struct vr_buf *body, char host[VR_NAME_MAX],
                uint16_t *port, struct vr_err *err)
{
    struct vr_gss_conf c = conf_of(x);
    vr_auto(vr_gss_free) struct vr_gss *g = vr_gss_new();
    vr_autobuf struct vr_buf reply = VR_BUF_INIT;
    uint8_t binding[BINDING];
    if (body->len <= 2)
        return vr_fail(err, VR_E_PROTO, 0, "LOGIN of %zu bytes", body->len);
    if (bind_to(x, t, false, binding, err) < 0)
        return -1;
    if (vr_gss_host_accept(g, &c, binding, BINDING, body->data + 2, body->len - 2, &reply, err) <
        0) {
        err->kind = VR_E_AUTH; /* whatever it was, the caller is there to be told */
        return vr_err_wrap(err, "host %s", x->host_name);
    }
    const char *who = vr_gss_host_name(g);
    if (strlen(who) >= VR_NAME_MAX || !frame_is_host(who))
        return vr_fail(err, VR_E_AUTH, 0, "the name %.100s of the host is not possible", who);
    if (tframe_send(tls_stream(t), FRAME_LOGIN_DONE, NULL, 0, reply.data, reply.len, err) < 0)
        return -1;
    *port = vr_load_u16(body->data);
    memcpy(host, who, strlen(who) + 1);
    return 0;
}
