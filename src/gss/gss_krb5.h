/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_GSS_GSS_KRB5_H
#define VR_GSS_GSS_KRB5_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"

/* Kerberos 5 through GSSAPI, alone or inside SPNEGO: proof of who both sides are, then sealed
 * messages. One context belongs to one TCP connection. src:[RFC 4121] [RFC 4178] [RFC 4559] */

/* Bytes of a token. Windows' own limit is 48000; a ticket with many groups comes near it. */
enum { VR_GSS_TOKEN_MAX = 48000, VR_GSS_PRINCIPAL_MAX = 256 };

struct vr_gss_cred; /* a server's keys */
struct vr_gss;      /* a context of one connection */

/* vr_gss_cred_new() - keys of services HTTP/... and WSMAN/... from a keytab.
 * @keytab: path; @rcache: path of the replay cache, made when missing
 * Errors: VR_E_NOFILE no such keytab, VR_E_INVAL it has no key of those services, VR_E_AUTH other.
 * Thread: any; reads files. */
int vr_gss_cred_new(const char *keytab, const char *rcache, struct vr_gss_cred **ret,
                    struct vr_err *err);
/* vr_gss_cred_free() - NULL is fine. */
void vr_gss_cred_free(struct vr_gss_cred *c);
VR_DEFINE_CLEANUP(struct vr_gss_cred, vr_gss_cred_free)

/* vr_gss_new() - a context that has met nobody. Thread: of this and all below any, one at a time.
 */
struct vr_gss *vr_gss_new(void);
/* vr_gss_free() - forget all keys. NULL is fine. */
void vr_gss_free(struct vr_gss *g);
VR_DEFINE_CLEANUP(struct vr_gss, vr_gss_free)

/* vr_gss_accept() - the server's part: take one token of the client.
 * @reply:    appended to: the token to be sent back, maybe nothing
 * @ret_more: another token is needed; else the caller is known and has been shown who we are
 * Errors: VR_E_AUTH with what is wrong: no such key here, expired, replayed, no mutual
 * authentication, another service, weak encryption. The context is of no use then. Blocks on the
 * replay cache and on name services. */
int vr_gss_accept(struct vr_gss *g, const struct vr_gss_cred *cred, const void *token, size_t n,
                  struct vr_buf *reply, bool *ret_more, struct vr_err *err);
/* vr_gss_principal() - who was accepted, "alice@REALM". vr_gss_local_user() - the local user that
 * krb5.conf (auth_to_local) makes of it, "" if none. Both live as long as @g. */
const char *vr_gss_principal(const struct vr_gss *g);
const char *vr_gss_local_user(const struct vr_gss *g);
/* vr_gss_is_over() - has the ticket's time run out (with the clock skew that krb5.conf allows)? */
bool vr_gss_is_over(const struct vr_gss *g);

/* vr_gss_connect() - the client's part, with the caller's ticket cache.
 * @host:     name of the server; its principal is HTTP/host
 * @spnego:   tokens for the scheme Negotiate, else for the scheme Kerberos
 * @token, @n: what the server answered; none at first
 * @reply:    appended to: the token to be sent, maybe nothing
 * Errors: VR_E_AUTH with advice (no ticket: kinit; unknown service). Blocks on the network. */
int vr_gss_connect(struct vr_gss *g, const char *host, bool spnego, const void *token, size_t n,
                   struct vr_buf *reply, bool *ret_more, struct vr_err *err);

/* vr_gss_seal() - append to @out: 32-bit little-endian length of the header, header, sealed data.
 * Errors: VR_E_AUTH, VR_E_LIMIT of @out. src:[MS-WSMV 2.2.9.1.1.2.2] */
int vr_gss_seal(struct vr_gss *g, const void *p, size_t n, struct vr_buf *out, struct vr_err *err);
/* vr_gss_unseal() - the reverse, appended to @out. The @n bytes at @p are overwritten. Messages
 * must come in the order in which they were sealed, each once.
 * Errors: VR_E_PROTO not of this form, VR_E_AUTH changed on the way, not encrypted, repeated. */
int vr_gss_unseal(struct vr_gss *g, uint8_t *p, size_t n, struct vr_buf *out, struct vr_err *err);

#endif
