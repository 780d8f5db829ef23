/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hosts and their keys. The keytab is read at each login: keys that were renewed count at once.
 *
 *   calling host                                     called host
 *     ticket for SERVICE/called@REALM, from a keytab
 *     AP-REQ, hash of the binding        ------->      key from the keytab; bound to this
 * connection? proof of the called host's key     <-------      AP-REP
 *
 * Invariants: the called side accepts nobody whose token does not carry its own binding, so whoever
 * gets an answer is bound as well; both sides check that the other is a host of their realm. */
#include "gss/gss_host.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/alloc.h"
#include "gss/gss_int.h"

/* ---- errors --------------------------------------------------------------------------------- */

/* What passes by itself is tried again (PEER); the rest waits for somebody. X(code, kind, is the
 * keytab of the host that says so at fault?, what to do). src:[RFC 4120 7.5.9] */
#define TEXT_CLOCKS \
    "set the clocks of both hosts and of the domain controller (NTP); it is tried again"
#define TEXT_OUTDATED "its key is not the one that the domain controller has now: ktadd again"
#define TEXT_NO_KEY "it has no such key: is it of another realm, or outdated? (klist -k, ktadd)"
#define ADVICE(X)                                                                                  \
    X(KRB5_KDC_UNREACH, PEER, false,                                                               \
      "look at the network, DNS and [realms] in krb5.conf; it is tried again")                     \
    X(KRB5_REALM_UNKNOWN, PEER, false, "look at DNS and [realms] in krb5.conf; it is tried again") \
    X(KRB5KRB_AP_ERR_SKEW, PEER, false, TEXT_CLOCKS)                                               \
    X(KRB5KRB_AP_ERR_TKT_NYV, PEER, false, TEXT_CLOCKS)                                            \
    X(KRB5KRB_AP_ERR_TKT_EXPIRED, PEER, false,                                                     \
      "it is tried again with a new ticket; if that fails, too, set the clocks (NTP)")             \
    X(KRB5KDC_ERR_S_PRINCIPAL_UNKNOWN, AUTH, false,                                                \
      "name the host exactly as Kerberos does (its full name), or make its principal there")       \
    X(KRB5KDC_ERR_C_PRINCIPAL_UNKNOWN, AUTH, true,                                                 \
      "the domain controller does not know its principal: make principal and keytab anew")         \
    X(KRB5KDC_ERR_PREAUTH_FAILED, AUTH, true, TEXT_OUTDATED)                                       \
    X(KRB5_PREAUTH_FAILED, AUTH, true, TEXT_OUTDATED)                                              \
    X(KRB5_KT_KVNONOTFOUND, AUTH, true, TEXT_OUTDATED)                                             \
    X(KRB5KRB_AP_ERR_BADKEYVER, AUTH, true, TEXT_OUTDATED)                                         \
    X(KRB5KRB_AP_ERR_MODIFIED, AUTH, true, TEXT_OUTDATED)                                          \
    X(KRB5KRB_AP_ERR_BAD_INTEGRITY, AUTH, true, TEXT_OUTDATED)                                     \
    X(KRB5_KT_NOTFOUND, AUTH, true, TEXT_NO_KEY)                                                   \
    X(KRB5KRB_AP_ERR_NOKEY, AUTH, true, TEXT_NO_KEY)                                               \
    X(KRB5KRB_AP_WRONG_PRINC, AUTH, true, TEXT_NO_KEY)                                             \
    X(KRB5KRB_AP_ERR_NOT_US, AUTH, true, TEXT_NO_KEY)

static const struct {
    krb5_error_code code;
    enum vr_kind kind;
    bool keytab;
    const char *advice;
} advices[] = {
#define X(code, kind, keytab, text) { code, VR_E_##kind, keytab, text },
    ADVICE(X)
#undef X
};

static int fail(const struct vr_gss_conf *c, const char *what, OM_uint32 major, OM_uint32 minor,
                struct vr_err *err)
{
    struct vr_err e = VR_ERR_INIT;
    size_t i = 0;
    gss_int_fail(what, major, minor, &e);
    while (i < VR_ARRAY_LEN(advices) && (OM_uint32)advices[i].code != minor)
        i++;
    if (i == VR_ARRAY_LEN(advices)) {
        vr_err_move(err, &e);
        return -1;
    }
    if (!advices[i].keytab)
        return vr_fail(err, advices[i].kind, 0, "%s; %s", e.msg, advices[i].advice);
    return vr_fail(err, advices[i].kind, 0, "%s; keytab %s of host %s: %s", e.msg, c->keytab,
                   c->host_name, advices[i].advice);
}

/* ---- names ----------------------------------------------------------------------------------- */

/* The parts of SERVICE/HOST@REALM; false if @text is not of @service or has anything odd in it. */
static bool split(const char *text, const char *service, struct vr_gss_self *ret)
{
    size_t n = strlen(service);
    const char *at = strrchr(text, '@');
    if (strncmp(text, service, n) != 0 || text[n] != '/' || !at || at == text + n + 1 || !at[1] ||
        strlen(text) >= sizeof ret->principal)
        return false;
    *ret = (struct vr_gss_self){ .host = "" };
    size_t len = (size_t)(at - text) - n - 1;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[n + 1 + i];
        if (!isascii(c) || !(isalnum(c) || strchr("._-", c)))
            return false;
        ret->host[i] = (char)tolower(c);
    }
    snprintf(ret->principal, sizeof ret->principal, "%s", text);
    snprintf(ret->realm, sizeof ret->realm, "%s", at + 1);
    return true;
}

/* How well a principal of the keytab fits: our name, or the first label of it; our usual realm. */
static int closeness(const struct vr_gss_self *s, const char *host_name, const char *realm)
{
    size_t label = strcspn(s->host, ".");
    int n = realm && !strcmp(s->realm, realm) ? 1 : 0;
    if (!strcasecmp(s->host, host_name))
        n += 4;
    else if (strlen(host_name) == label && !strncasecmp(s->host, host_name, label))
        n += 2;
    return n;
}

struct pick {
    const struct vr_gss_conf *c;
    char *realm;
    struct vr_gss_self best, other; /* other: fits as well and is called something else */
    int best_fit;
};

static void consider(struct pick *p, const char *principal)
{
    struct vr_gss_self s;
    if (!split(principal, p->c->service, &s))
        return;
    int fit = closeness(&s, p->c->host_name, p->realm);
    if (!p->best.host[0] || fit > p->best_fit) {
        p->best = s;
        p->best_fit = fit;
        p->other.host[0] = 0;
    } else if (fit == p->best_fit && strcmp(s.principal, p->best.principal) != 0) {
        p->other = s;
    }
}

static krb5_error_code read_keytab(krb5_context k, const char *path, struct pick *p)
{
    krb5_keytab kt = NULL;
    krb5_kt_cursor cur;
    krb5_keytab_entry e;
    vr_autofree char *name = vr_printf("FILE:%s", path);
    krb5_error_code rc = krb5_kt_resolve(k, name, &kt);
    if (rc)
        return rc;
    rc = krb5_kt_start_seq_get(k, kt, &cur);
    if (!rc) {
        while (!krb5_kt_next_entry(k, kt, &e, &cur)) {
            char *text = NULL;
            if (!krb5_unparse_name(k, e.principal, &text))
                consider(p, text);
            krb5_free_unparsed_name(k, text);
            krb5_free_keytab_entry_contents(k, &e);
        }
        krb5_kt_end_seq_get(k, kt, &cur);
    }
    krb5_kt_close(k, kt);
    return rc;
}

int vr_gss_self(const struct vr_gss_conf *c, struct vr_gss_self *ret, struct vr_err *err)
{
    struct pick p = { .c = c };
    krb5_context k = NULL;
    if (!c->keytab || !*c->keytab || access(c->keytab, R_OK))
        return vr_fail(err, VR_E_NOFILE, 0,
                       "there is no keytab %s on host %s: Kerberos needs one with the keys of "
                       "%s/FULL.NAME of this host",
                       c->keytab && *c->keytab ? c->keytab : "(keytab in vmreplicad.conf is empty)",
                       c->host_name, c->service);
    krb5_error_code rc = krb5_init_context(&k);
    if (rc)
        return vr_fail(err, VR_E_AUTH, 0, "Kerberos does not start (error %d); look at krb5.conf",
                       (int)rc);
    if (krb5_get_default_realm(k, &p.realm))
        p.realm = NULL;
    rc = read_keytab(k, c->keytab, &p);
    if (rc) {
        const char *text = krb5_get_error_message(k, rc);
        vr_fail(err, VR_E_AUTH, 0, "keytab %s of host %s: %s", c->keytab, c->host_name, text);
        krb5_free_error_message(k, text);
    } else if (!p.best.host[0]) {
        vr_fail(err, VR_E_INVAL, 0,
                "keytab %s of host %s has no key of %s/FULL.NAME; add it with ktadd or ktpass",
                c->keytab, c->host_name, c->service);
        rc = -1;
    } else if (p.other.host[0]) {
        vr_fail(err, VR_E_INVAL, 0,
                "keytab %s of host %s has keys of %.120s and of %.120s: which one is this host? "
                "Leave one out, or set host_name in vmreplicad.conf to its name",
                c->keytab, c->host_name, p.best.principal, p.other.principal);
        rc = -1;
    }
    if (p.realm)
        krb5_free_default_realm(k, p.realm);
    krb5_free_context(k);
    if (rc)
        return -1;
    *ret = p.best;
    return 0;
}

static int import(const struct vr_gss_conf *c, const char *principal, gss_name_t *ret,
                  struct vr_err *err)
{
    gss_buffer_desc name = { strlen(principal), (void *)(uintptr_t)principal };
    OM_uint32 minor,
        major = gss_import_name(&minor, &name, (gss_OID)GSS_KRB5_NT_PRINCIPAL_NAME, ret);
    return GSS_ERROR(major) ? fail(c, principal, major, minor, err) : 0;
}

/* ---- keys ------------------------------------------------------------------------------------ */

/* Of our own principal only: a ticket for another one of the keytab opens nothing here. The tickets
 * that we fetch lie in memory; the library renews them. */
static int keys(const struct vr_gss_conf *c, bool accept, struct vr_gss_self *self,
                gss_cred_id_t *ret, struct vr_err *err)
{
    gss_name_t me = GSS_C_NO_NAME;
    if (vr_gss_self(c, self, err) < 0 || import(c, self->principal, &me, err) < 0)
        return -1;
    vr_autofree char *kt = vr_printf("FILE:%s", c->keytab);
    vr_autofree char *cc = vr_printf("MEMORY:vmreplica %s", self->principal);
    gss_key_value_element_desc taking[] = { { "keytab", kt }, { "rcache", "none:" } };
    gss_key_value_element_desc asking[] = { { "client_keytab", kt }, { "ccache", cc } };
    const gss_key_value_set_desc store = { 2, accept ? taking : asking };
    gss_OID_desc mechs[] = { *gss_mech_krb5 };
    gss_OID_set_desc set = { 1, mechs };
    OM_uint32 none, minor,
        major =
            gss_acquire_cred_from(&minor, me, GSS_C_INDEFINITE, &set,
                                  accept ? GSS_C_ACCEPT : GSS_C_INITIATE, &store, ret, NULL, NULL);
    gss_release_name(&none, &me);
    return GSS_ERROR(major) ? fail(c, self->principal, major, minor, err) : 0;
}

/* ---- the calling side ------------------------------------------------------------------------ */

static int step(struct vr_gss *g, const struct vr_gss_conf *c, gss_cred_id_t cred,
                const void *binding, size_t n_binding, gss_buffer_desc *in, struct vr_buf *token,
                bool *ret_more, struct vr_err *err)
{
    struct gss_channel_bindings_struct cb = { .application_data = { n_binding,
                                                                    (void *)(uintptr_t)binding } };
    gss_buffer_desc out = GSS_C_EMPTY_BUFFER;
    OM_uint32 minor, flags = 0;
    OM_uint32 major =
        gss_init_sec_context(&minor, cred, &g->ctx, g->target, gss_mech_krb5,
                             GSS_C_MUTUAL_FLAG | GSS_C_INTEG_FLAG | GSS_C_CHANNEL_BOUND_FLAG,
                             GSS_C_INDEFINITE, &cb, in, NULL, &out, &flags, NULL);
    if (GSS_ERROR(major)) {
        OM_uint32 none;
        gss_release_buffer(&none, &out);
        return fail(c, "Kerberos", major, minor, err);
    }
    *ret_more = (major & GSS_S_CONTINUE_NEEDED) != 0;
    if (!*ret_more && !(flags & GSS_C_MUTUAL_FLAG))
        vr_fail(err, VR_E_AUTH, 0, "the host called did not prove who it is");
    if (token ? gss_int_take(&out, token, err) : (int)gss_release_buffer(&minor, &out))
        return -1;
    return !*ret_more && !(flags & GSS_C_MUTUAL_FLAG) ? -1 : 0;
}

int vr_gss_host_begin(struct vr_gss *g, const struct vr_gss_conf *c, const char *host,
                      const void *binding, size_t n_binding, struct vr_buf *token,
                      struct vr_err *err)
{
    struct vr_gss_self self;
    gss_cred_id_t cred = GSS_C_NO_CREDENTIAL;
    OM_uint32 minor;
    bool more = false;
    char lower[VR_GSS_PRINCIPAL_MAX];
    snprintf(lower, sizeof lower, "%s", host);
    for (char *p = lower; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    int rc = keys(c, false, &self, &cred, err);
    vr_autofree char *target = vr_printf("%s/%s@%s", c->service, lower, rc ? "" : self.realm);
    if (rc == 0)
        rc = import(c, target, &g->target, err);
    if (rc == 0 && step(g, c, cred, binding, n_binding, NULL, token, &more, err) < 0)
        rc = vr_err_wrap(err, "a ticket for %s", target);
    if (rc == 0 && !more)
        rc = vr_fail(err, VR_E_AUTH, 0, "Kerberos wants no answer of the host called");
    gss_release_cred(&minor, &cred);
    return rc;
}

int vr_gss_host_end(struct vr_gss *g, const struct vr_gss_conf *c, const void *binding,
                    size_t n_binding, const void *token, size_t n, struct vr_err *err)
{
    gss_buffer_desc in = { n, (void *)(uintptr_t)token };
    bool more = false;
    if (g->ready || !g->ctx || !n || n > VR_GSS_TOKEN_MAX)
        return vr_fail(err, VR_E_AUTH, 0, "the token is empty, too long or one too many");
    if (step(g, c, GSS_C_NO_CREDENTIAL, binding, n_binding, &in, NULL, &more, err) < 0)
        return -1;
    if (more)
        return vr_fail(err, VR_E_AUTH, 0, "the host called wants another token");
    g->ready = true;
    return 0;
}

/* ---- the called side ------------------------------------------------------------------------- */

/* Is the caller a host of our realm? */
static int judge(struct vr_gss *g, const struct vr_gss_conf *c, const struct vr_gss_self *self,
                 OM_uint32 flags, struct vr_err *err)
{
    gss_name_t from = GSS_C_NO_NAME;
    struct vr_gss_self who;
    OM_uint32 minor,
        major = gss_inquire_context(&minor, g->ctx, &from, NULL, NULL, NULL, NULL, NULL, NULL);
    if (GSS_ERROR(major))
        return fail(c, "security context", major, minor, err);
    int rc = gss_int_name(from, g->principal, err);
    gss_release_name(&minor, &from);
    if (rc)
        return -1;
    if (!(flags & GSS_C_CHANNEL_BOUND_FLAG))
        return vr_fail(err, VR_E_AUTH, 0,
                       "the ticket of %s was not made for this connection: somebody may be between "
                       "the hosts",
                       g->principal);
    if (!(flags & GSS_C_MUTUAL_FLAG))
        return vr_fail(err, VR_E_AUTH, 0, "%s does not ask who this host is", g->principal);
    if (!split(g->principal, c->service, &who))
        return vr_fail(err, VR_E_AUTH, 0, "%s is no host (%s/FULL.NAME@%s is one)", g->principal,
                       c->service, self->realm);
    if (strcmp(who.realm, self->realm) != 0)
        return vr_fail(err, VR_E_AUTH, 0,
                       "%s is of another realm than this host (%s): hosts of one realm only "
                       "replicate with Kerberos; pair them instead (certificates)",
                       g->principal, self->realm);
    snprintf(g->host, sizeof g->host, "%s", who.host);
    return 0;
}

static int accept(struct vr_gss *g, const struct vr_gss_conf *c, const struct vr_gss_self *self,
                  gss_cred_id_t cred, const void *binding, size_t n_binding, const void *token,
                  size_t n, struct vr_buf *reply, struct vr_err *err)
{
    struct gss_channel_bindings_struct cb = { .application_data = { n_binding,
                                                                    (void *)(uintptr_t)binding } };
    gss_buffer_desc in = { n, (void *)(uintptr_t)token }, out = GSS_C_EMPTY_BUFFER;
    OM_uint32 none, minor, flags = 0;
    OM_uint32 major = gss_accept_sec_context(&minor, &g->ctx, cred, &in, &cb, NULL, NULL, &out,
                                             &flags, NULL, NULL);
    int rc = 0;
    if (GSS_ERROR(major))
        rc = GSS_ROUTINE_ERROR(major) == GSS_S_BAD_BINDINGS
                 ? vr_fail(err, VR_E_AUTH, 0,
                           "the ticket was made for another connection: somebody may be between "
                           "the hosts")
                 : fail(c, "Kerberos", major, minor, err);
    else if (major & GSS_S_CONTINUE_NEEDED)
        rc = vr_fail(err, VR_E_AUTH, 0, "Kerberos needs more than one token");
    else
        rc = judge(g, c, self, flags, err);
    if (rc == 0)
        rc = gss_int_take(&out, reply, err);
    else
        gss_release_buffer(&none, &out);
    return rc;
}

int vr_gss_host_accept(struct vr_gss *g, const struct vr_gss_conf *c, const void *binding,
                       size_t n_binding, const void *token, size_t n, struct vr_buf *reply,
                       struct vr_err *err)
{
    struct vr_gss_self self;
    gss_cred_id_t cred = GSS_C_NO_CREDENTIAL;
    OM_uint32 minor;
    if (g->ready || !n || n > VR_GSS_TOKEN_MAX)
        return vr_fail(err, VR_E_AUTH, 0, "the token is empty, too long or one too many");
    int rc = keys(c, true, &self, &cred, err);
    if (rc == 0)
        rc = accept(g, c, &self, cred, binding, n_binding, token, n, reply, err);
    gss_release_cred(&minor, &cred);
    g->ready = rc == 0;
    return rc;
}

const char *vr_gss_host_name(const struct vr_gss *g)
{
    return g->host;
}
