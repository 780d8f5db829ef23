/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kerberos through MIT's GSSAPI for people and their programs; hosts are in gss_host.c. No HTTP and
 * no roles in here.
 *
 *   client                                   server
 *     AP-REQ (ticket for HTTP/host)  ------->  accept: key from the keytab, replay cache, time
 *     proof of the server's key      <-------  AP-REP
 *     { length | header | sealed }   <------>  { length | header | sealed }
 *
 * Invariants: a context counts only after mutual authentication; every message is encrypted with
 * the RFC 4121 mechanisms (AES and newer) and its number is higher than that of the one before. */
#include "gss/gss_int.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/codec.h"

/* src:[RFC 4178] 1.3.6.1.5.5.2; the array is not const because the library's type is not */
static gss_OID_desc spnego = { 6, (void *)(uintptr_t) "\x2b\x06\x01\x05\x05\x02" };

enum { HEADER_MIN = 16, HEADER_MAX = 1024 }; /* of a sealed message */

struct vr_gss_cred {
    gss_cred_id_t c;
};

/* ---- errors --------------------------------------------------------------------------------- */

static void add_text(char *to, size_t size, OM_uint32 code, int kind)
{
    OM_uint32 minor, more = 0;
    do {
        gss_buffer_desc text = GSS_C_EMPTY_BUFFER;
        if (GSS_ERROR(gss_display_status(&minor, code, kind, GSS_C_NO_OID, &more, &text)))
            return;
        size_t at = strlen(to);
        snprintf(to + at, size - at, "%s%.*s", at ? ": " : "", (int)text.length,
                 (const char *)text.value);
        gss_release_buffer(&minor, &text);
    } while (more);
}

int gss_int_fail(const char *what, OM_uint32 major, OM_uint32 minor, struct vr_err *err)
{
    char text[400] = "";
    if (GSS_ROUTINE_ERROR(major) != GSS_S_FAILURE || !minor)
        add_text(text, sizeof text, major, GSS_C_GSS_CODE);
    if (minor)
        add_text(text, sizeof text, minor, GSS_C_MECH_CODE);
    return vr_fail(err, VR_E_AUTH, 0, "%s: %s", what, text);
}

/* ---- keys ------------------------------------------------------------------------------------ */

static bool is_our_service(const char *principal)
{
    return !strncasecmp(principal, "HTTP/", 5) || !strncasecmp(principal, "WSMAN/", 6);
}

/* Without a look into the keytab a wrong one would be told to nobody before the first client. */
static int check_keytab(const char *path, struct vr_err *err)
{
    krb5_context k = NULL;
    krb5_keytab kt = NULL;
    krb5_kt_cursor cur;
    krb5_keytab_entry e;
    bool found = false;
    vr_autofree char *name = vr_printf("FILE:%s", path);
    krb5_error_code rc = krb5_init_context(&k);
    if (rc)
        return vr_fail(err, VR_E_AUTH, 0, "Kerberos does not start (error %d); look at krb5.conf",
                       (int)rc);
    rc = krb5_kt_resolve(k, name, &kt);
    if (!rc && !(rc = krb5_kt_start_seq_get(k, kt, &cur))) {
        while (!krb5_kt_next_entry(k, kt, &e, &cur)) {
            char *text = NULL;
            if (!krb5_unparse_name(k, e.principal, &text))
                found |= is_our_service(text);
            krb5_free_unparsed_name(k, text);
            krb5_free_keytab_entry_contents(k, &e);
        }
        krb5_kt_end_seq_get(k, kt, &cur);
    }
    if (rc) {
        const char *text = krb5_get_error_message(k, rc);
        vr_fail(err, VR_E_AUTH, 0, "keytab %s: %s", path, text);
        krb5_free_error_message(k, text);
    } else if (!found) {
        vr_fail(
            err, VR_E_INVAL, 0,
            "keytab %s has no key of HTTP/... or WSMAN/..., only a host's at most, which serves "
            "replication but not management; add one with ktadd or ktpass, then reload the "
            "daemon",
            path);
    }
    if (kt)
        krb5_kt_close(k, kt);
    krb5_free_context(k);
    return rc || !found ? -1 : 0;
}

int vr_gss_cred_new(const char *keytab, const char *rcache, struct vr_gss_cred **ret,
                    struct vr_err *err)
{
    if (access(keytab, R_OK))
        return vr_fail(err, VR_E_NOFILE, 0, "there is no keytab %s", keytab);
    if (check_keytab(keytab, err))
        return -1;
    vr_autofree char *kt = vr_printf("FILE:%s", keytab);
    vr_autofree char *rc = vr_printf("file2:%s", rcache);
    gss_key_value_element_desc places[] = { { "keytab", kt }, { "rcache", rc } };
    const gss_key_value_set_desc store = { VR_ARRAY_LEN(places), places };
    gss_OID_desc mechs[] = { *gss_mech_krb5, spnego };
    gss_OID_set_desc set = { VR_ARRAY_LEN(mechs), mechs }, only = { 1, mechs };
    struct vr_gss_cred *c = vr_new(struct vr_gss_cred);
    OM_uint32 minor, major = gss_acquire_cred_from(&minor, GSS_C_NO_NAME, GSS_C_INDEFINITE, &set,
                                                   GSS_C_ACCEPT, &store, &c->c, NULL, NULL);
    if (!GSS_ERROR(major)) /* SPNEGO offers Kerberos and nothing else, whatever is installed */
        major = gss_set_neg_mechs(&minor, c->c, &only);
    if (GSS_ERROR(major)) {
        vr_gss_cred_free(c);
        return gss_int_fail(keytab, major, minor, err);
    }
    *ret = c;
    return 0;
}

void vr_gss_cred_free(struct vr_gss_cred *c)
{
    OM_uint32 minor;
    if (!c)
        return;
    gss_release_cred(&minor, &c->c);
    free(c);
}

/* ---- contexts -------------------------------------------------------------------------------- */

struct vr_gss *vr_gss_new(void)
{
    return vr_new(struct vr_gss);
}

void vr_gss_free(struct vr_gss *g)
{
    OM_uint32 minor;
    if (!g)
        return;
    gss_delete_sec_context(&minor, &g->ctx, GSS_C_NO_BUFFER);
    gss_release_name(&minor, &g->target);
    free(g);
}

int gss_int_name(gss_name_t name, char out[VR_GSS_PRINCIPAL_MAX], struct vr_err *err)
{
    gss_buffer_desc text = GSS_C_EMPTY_BUFFER;
    OM_uint32 minor, major = gss_display_name(&minor, name, &text, NULL);
    if (GSS_ERROR(major))
        return gss_int_fail("name of the caller", major, minor, err);
    bool fits = text.length < VR_GSS_PRINCIPAL_MAX && !memchr(text.value, 0, text.length);
    if (fits) {
        memcpy(out, text.value, text.length);
        out[text.length] = 0;
    }
    gss_release_buffer(&minor, &text);
    return fits ? 0 : vr_fail(err, VR_E_AUTH, 0, "the caller's principal is too long");
}

static void set_local_user(struct vr_gss *g, gss_name_t name)
{
    gss_buffer_desc text = GSS_C_EMPTY_BUFFER;
    OM_uint32 minor;
    if (GSS_ERROR(gss_localname(&minor, name, GSS_C_NO_OID, &text)))
        return; /* it has none, which is usual */
    if (text.length < sizeof g->local_user)
        snprintf(g->local_user, sizeof g->local_user, "%.*s", (int)text.length,
                 (const char *)text.value);
    gss_release_buffer(&minor, &text);
}

/* Also under the two other names that it has had. */
static bool is_krb5(gss_OID mech)
{
    return gss_oid_equal(mech, gss_mech_krb5) || gss_oid_equal(mech, gss_mech_krb5_old) ||
           gss_oid_equal(mech, gss_mech_krb5_wrong);
}

/* What must hold whatever the library has accepted. */
static int judge(struct vr_gss *g, OM_uint32 flags, struct vr_err *err)
{
    gss_name_t from = GSS_C_NO_NAME, to = GSS_C_NO_NAME;
    gss_OID mech = GSS_C_NO_OID;
    char service[VR_GSS_PRINCIPAL_MAX] = "";
    OM_uint32 minor,
        major = gss_inquire_context(&minor, g->ctx, &from, &to, NULL, &mech, NULL, NULL, NULL);
    if (GSS_ERROR(major))
        return gss_int_fail("security context", major, minor, err);
    int rc = gss_int_name(from, g->principal, err);
    if (!rc)
        rc = gss_int_name(to, service, err);
    if (!rc && !is_krb5(mech))
        rc = vr_fail(err, VR_E_AUTH, 0, "%s did not use Kerberos", g->principal);
    if (!rc && !(flags & GSS_C_MUTUAL_FLAG))
        rc = vr_fail(err, VR_E_AUTH, 0, "the client of %s does not ask for mutual authentication",
                     g->principal);
    if (!rc && !is_our_service(service))
        rc = vr_fail(err, VR_E_AUTH, 0,
                     "%s has a ticket for %s, but this is the service HTTP or WSMAN", g->principal,
                     service);
    if (!rc)
        set_local_user(g, from);
    gss_release_name(&minor, &from);
    gss_release_name(&minor, &to);
    return rc;
}

int gss_int_take(gss_buffer_desc *token, struct vr_buf *reply, struct vr_err *err)
{
    OM_uint32 minor;
    int rc = token->length ? vr_buf_add(reply, token->value, token->length, err) : 0;
    gss_release_buffer(&minor, token);
    return rc;
}

int vr_gss_accept(struct vr_gss *g, const struct vr_gss_cred *cred, const void *token, size_t n,
                  struct vr_buf *reply, bool *ret_more, struct vr_err *err)
{
    if (g->ready || !n || n > VR_GSS_TOKEN_MAX)
        return vr_fail(err, VR_E_AUTH, 0, "the token is empty, too long or one too many");
    gss_buffer_desc in = { n, (void *)(uintptr_t)token }, out = GSS_C_EMPTY_BUFFER;
    OM_uint32 minor, flags = 0;
    OM_uint32 major =
        gss_accept_sec_context(&minor, &g->ctx, cred->c, &in, GSS_C_NO_CHANNEL_BINDINGS, NULL, NULL,
                               &out, &flags, NULL, NULL);
    if (GSS_ERROR(major)) {
        OM_uint32 none;
        gss_release_buffer(&none, &out);
        return gss_int_fail("Kerberos", major, minor, err);
    }
    if (gss_int_take(&out, reply, err))
        return -1;
    *ret_more = (major & GSS_S_CONTINUE_NEEDED) != 0;
    if (*ret_more)
        return 0;
    if (judge(g, flags, err))
        return -1;
    g->ready = true;
    return 0;
}

const char *vr_gss_principal(const struct vr_gss *g)
{
    return g->principal;
}

const char *vr_gss_local_user(const struct vr_gss *g)
{
    return g->local_user;
}

bool vr_gss_is_over(const struct vr_gss *g)
{
    OM_uint32 minor, left = 0;
    return GSS_ERROR(gss_context_time(&minor, g->ctx, &left)) || !left;
}

/* ---- client ---------------------------------------------------------------------------------- */

int vr_gss_connect(struct vr_gss *g, const char *host, bool use_spnego, const void *token, size_t n,
                   struct vr_buf *reply, bool *ret_more, struct vr_err *err)
{
    OM_uint32 minor, major, flags = 0;
    if (!g->target) {
        vr_autofree char *text = vr_printf("HTTP@%s", host);
        gss_buffer_desc name = { strlen(text), text };
        major = gss_import_name(&minor, &name, GSS_C_NT_HOSTBASED_SERVICE, &g->target);
        if (GSS_ERROR(major))
            return gss_int_fail(text, major, minor, err);
    }
    gss_buffer_desc in = { n, (void *)(uintptr_t)token }, out = GSS_C_EMPTY_BUFFER;
    major = gss_init_sec_context(
        &minor, GSS_C_NO_CREDENTIAL, &g->ctx, g->target, use_spnego ? &spnego : gss_mech_krb5,
        GSS_C_MUTUAL_FLAG | GSS_C_REPLAY_FLAG | GSS_C_SEQUENCE_FLAG | GSS_C_CONF_FLAG |
            GSS_C_INTEG_FLAG,
        GSS_C_INDEFINITE, GSS_C_NO_CHANNEL_BINDINGS, n ? &in : NULL, NULL, &out, &flags, NULL);
    if (GSS_ERROR(major)) {
        OM_uint32 none;
        gss_release_buffer(&none, &out);
        gss_int_fail("Kerberos", major, minor, err);
        return vr_err_wrap(err, "%s (is there a ticket? kinit gets one, klist shows it)", host);
    }
    if (gss_int_take(&out, reply, err))
        return -1;
    *ret_more = (major & GSS_S_CONTINUE_NEEDED) != 0;
    if (*ret_more)
        return 0;
    if (!(flags & GSS_C_MUTUAL_FLAG) || !(flags & GSS_C_CONF_FLAG))
        return vr_fail(err, VR_E_AUTH, 0, "%s did not prove who it is", host);
    g->ready = true;
    return 0;
}

/* ---- messages -------------------------------------------------------------------------------- */

static void put_le32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static uint32_t get_le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

int vr_gss_seal(struct vr_gss *g, const void *p, size_t n, struct vr_buf *out, struct vr_err *err)
{
    gss_iov_buffer_desc iov[] = { { GSS_IOV_BUFFER_TYPE_HEADER, GSS_C_EMPTY_BUFFER },
                                  { GSS_IOV_BUFFER_TYPE_DATA, { n, (void *)(uintptr_t)p } },
                                  { GSS_IOV_BUFFER_TYPE_PADDING, GSS_C_EMPTY_BUFFER } };
    OM_uint32 minor, major;
    int conf = 0;
    if (!g->ready)
        return vr_fail(err, VR_E_AUTH, 0, "nobody has logged in on this connection");
    major = gss_wrap_iov_length(&minor, g->ctx, 1, GSS_C_QOP_DEFAULT, &conf, iov, 3);
    if (GSS_ERROR(major))
        return gss_int_fail("sealing", major, minor, err);
    size_t head = iov[0].buffer.length;
    if (!conf || iov[2].buffer.length)
        return vr_fail(err, VR_E_AUTH, 0, "the encryption type of the ticket is too old");
    if (vr_buf_reserve(out, 4 + head + n, err))
        return -1;
    uint8_t *to = out->data + out->len;
    put_le32(to, (uint32_t)head);
    if (n)
        memcpy(to + 4 + head, p, n);
    iov[0].buffer.value = to + 4;
    iov[1].buffer.value = to + 4 + head;
    major = gss_wrap_iov(&minor, g->ctx, 1, GSS_C_QOP_DEFAULT, &conf, iov, 3);
    if (GSS_ERROR(major) || !conf)
        return gss_int_fail("sealing", major, minor, err);
    out->len += 4 + head + n;
    return 0;
}

/* Not all clients ask the library to look for repeated messages, so it is done here. */
static int check_order(struct vr_gss *g, uint64_t number, struct vr_err *err)
{
    if (g->has_last && number <= g->last)
        return vr_fail(err, VR_E_AUTH, 0, "a sealed message was repeated or came out of order");
    g->has_last = true;
    g->last = number;
    return 0;
}

int vr_gss_unseal(struct vr_gss *g, uint8_t *p, size_t n, struct vr_buf *out, struct vr_err *err)
{
    if (!g->ready)
        return vr_fail(err, VR_E_AUTH, 0, "nobody has logged in on this connection");
    uint32_t head = n >= 4 ? get_le32(p) : 0;
    if (head < HEADER_MIN || head > HEADER_MAX || head > n - 4)
        return vr_fail(err, VR_E_PROTO, 0, "the sealed part is cut or has no header");
    /* src:[RFC 4121 4.2.6.2] Wrap token: 05 04, flags, ff, EC, RRC, 64-bit number */
    if (p[4] != 5 || p[5] != 4)
        return vr_fail(err, VR_E_AUTH, 0,
                       "the sealed part is of an encryption type that is too old; use AES");
    uint64_t number = vr_load_u64(p + 12);
    gss_iov_buffer_desc iov[] = { { GSS_IOV_BUFFER_TYPE_STREAM, { n - 4, p + 4 } },
                                  { GSS_IOV_BUFFER_TYPE_DATA, GSS_C_EMPTY_BUFFER } };
    int conf = 0;
    OM_uint32 minor, major = gss_unwrap_iov(&minor, g->ctx, &conf, NULL, iov, 2);
    if (major != GSS_S_COMPLETE) /* also for repeated messages, which are no "error" */
        return gss_int_fail("a sealed part cannot be opened", major, minor, err);
    if (!conf)
        return vr_fail(err, VR_E_AUTH, 0, "a part is only signed, not encrypted");
    if (check_order(g, number, err))
        return -1;
    return vr_buf_add(out, iov[1].buffer.value, iov[1].buffer.length, err);
}
