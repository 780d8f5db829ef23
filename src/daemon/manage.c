/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Listeners of the management interface and the callbacks that say who is at the other end. What
 * may block (PAM, name services, Kerberos) runs on the workers of auth_exec. */
#include "daemon/export.h"
#include "daemon/manage.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/access.h"
#include "daemon/listen.h"
#include "daemon/service.h"
#include "daemon/testvm.h"
#include "wsman/auth_pam.h"
#include "gss/gss_krb5.h"
#include "wsman/http.h"
#include "wsman/wsm.h"

/* ---- who is it? ---- */
static void role_of_local(void *ctx, uint32_t uid, const unsigned *gids, size_t n,
                          struct wsm_identity *ret)
{
    struct daemon *d = ctx;
    ret->role = access_of_local(d->access, uid, gids, n);
}

static int role_of_thumbprint(void *ctx, const char *thumb, struct wsm_identity *ret)
{
    struct daemon *d = ctx;
    if (!strcmp(thumb, xport_thumb(d->xport))) {
        /* Whoever can read this host's key is its administrator. */
        snprintf(ret->name, sizeof ret->name, "host:%s", d->cfg.host_name);
        ret->role = CIM_ROLE_ADMIN;
        return 0;
    }
    for (size_t i = 0; i < d->n_peers; i++)
        if (!strcmp(d->peers[i].thumb, thumb)) {
            snprintf(ret->name, sizeof ret->name, "host:%s", d->peers[i].name);
            ret->role = CIM_ROLE_OPERATOR;
            return 0;
        }
    ret->role = access_of_thumb(d->access, thumb);
    snprintf(ret->name, sizeof ret->name, "certificate:%s", thumb);
    return ret->role == CIM_ROLE_NONE ? -1 : 0;
}

/* On a worker. */
static int check_password(void *ctx, const char *user, const char *password, const char *address,
                          struct wsm_identity *ret, struct vr_err *err)
{
    struct daemon *d = ctx;
    if (strlen("user:") + strlen(user) >= sizeof ret->name)
        return vr_fail(err, VR_E_AUTH, 0, "the user name is too long");
    if (wsm_pam_check("vmreplica", user, password, address, err) < 0)
        return -1;
    snprintf(ret->name, sizeof ret->name, "user:%s", user);
    ret->role = access_of_user(d->access, user);
    return 0;
}

/* On a worker. */
static int role_of_principal(void *ctx, const char *principal, const char *local_user,
                             struct wsm_identity *ret)
{
    struct daemon *d = ctx;
    if (strlen("principal:") + strlen(principal) >= sizeof ret->name)
        return -1; /* two of the same beginning must not be taken for one */
    snprintf(ret->name, sizeof ret->name, "principal:%s", principal);
    ret->role = access_of_principal(d->access, principal, local_user);
    return 0;
}

/* ---- the table ---- */
static int make_access(const struct config *cfg, struct access **ret, struct vr_err *err)
{
    vr_auto(access_free) struct access *a = access_new();
    if (access_add(a, CIM_ROLE_ADMIN, cfg->administrators, err) < 0)
        return vr_err_wrap(err, "administrators");
    if (access_add(a, CIM_ROLE_OPERATOR, cfg->operators, err) < 0)
        return vr_err_wrap(err, "operators");
    if (access_add(a, CIM_ROLE_READER, cfg->readers, err) < 0)
        return vr_err_wrap(err, "readers");
    *ret = vr_take(a);
    return 0;
}

static void resolve(void *arg)
{
    access_resolve(arg);
}

/* ---- listeners ---- */
static const char *address_of(const char *text)
{
    return *text ? text : NULL;
}

/* Told in the log, and to whoever looks at this host (Vmr_Host.KerberosManagement): otherwise
 * nobody would know before a client fails. */
static void no_kerberos(struct daemon *d, const struct vr_err *err)
{
    snprintf(d->krb_manage, sizeof d->krb_manage, "no: %.400s", err->msg);
    if (err->kind == VR_E_NOFILE)
        vr_log(VR_LOG_INFO, "management: no Kerberos, %s", err->msg);
    else
        vr_log_err(VR_LOG_ERROR, "management: no Kerberos", err);
}

/* Neither a host without Kerberos nor a mistake in it may keep replication from running. */
static void load_keys(struct daemon *d)
{
    struct vr_err err = VR_ERR_INIT;
    vr_autofree char *rcache = vr_printf("%s/krb5.rcache", d->cfg.state_dir);
    if (!d->cfg.http_port || !d->cfg.keytab[0]) {
        snprintf(d->krb_manage, sizeof d->krb_manage, "no: %s is not set in vmreplicad.conf",
                 d->cfg.http_port ? "keytab" : "http_port");
        return;
    }
    if (vr_gss_cred_new(d->cfg.keytab, rcache, &d->krb5_keys, &err) < 0)
        no_kerberos(d, &err);
}

static void listen_sealed(struct daemon *d)
{
    struct vr_err err = VR_ERR_INIT;
    uint16_t port;
    if (!d->krb5_keys || d->krb5_listens)
        return;
    if (wsm_http_listen_sealed(d->http, address_of(d->cfg.http_address), (uint16_t)d->cfg.http_port,
                               &port, &err) < 0) {
        no_kerberos(d, &err);
        return;
    }
    vr_log(VR_LOG_INFO, "management: Kerberos on HTTP port %u, keys of %s", port, d->cfg.keytab);
    snprintf(d->krb_manage, sizeof d->krb_manage, "port %u", port);
    d->krb5_listens = true;
}

/* ---- paired hosts come and go ---- */
struct expect {
    struct daemon *d;
    char (*at)[VR_NAME_MAX];
    size_t n;
};

static void expected(void *arg)
{
    struct daemon *d = arg;
    d->expecting = false;
}

/* On a worker: names are looked up. */
static void expect(void *arg)
{
    struct expect *e = arg;
    vr_autofree const char **list = vr_new0(e->n + 1, sizeof *list);
    for (size_t i = 0; i < e->n; i++)
        list[i] = e->at[i];
    xport_expect(e->d->xport, list, e->n);
    vr_mailbox_post(e->d->mail, expected, e->d);
    free(e->at);
    free(e);
}

/* Strangers must not take the places of hosts that replicate. */
static void expect_hosts(struct daemon *d)
{
    if (d->expecting)
        return;
    struct expect *e = vr_new(struct expect);
    *e = (struct expect){ d, vr_new0(d->n_peers + 1, sizeof *e->at), d->n_peers };
    for (size_t i = 0; i < e->n; i++)
        snprintf(e->at[i], sizeof e->at[i], "%s", d->peers[i].address);
    d->expecting = true;
    vr_exec_post(d->auth_exec, expect, e);
}

static void judge_hosts(void *arg)
{
    struct daemon *d = arg;
    if (d->http)
        wsm_http_certificates_changed(d->http);
    expect_hosts(d);
}

/* Later: an unpairing may itself have come over one of the connections. */
void host_peers_changed(struct daemon *d)
{
    vr_mailbox_post(d->mail, judge_hosts, d);
}

void manage_refresh(struct daemon *d)
{
    vr_exec_post(d->auth_exec, resolve, d->access);
    expect_hosts(d);
}

/* ---- SIGHUP: who may come in, and keys that were not there before ---- */
struct reload {
    struct daemon *d;
    struct access *access;
    unsigned number;
};

/* Control thread. One that was overtaken by a later reading of the file no longer counts. */
static void roles_changed(void *arg)
{
    struct reload *r = arg;
    struct daemon *d = r->d;
    if (r->number == d->reloads) {
        access_replace(d->access, r->access);
        wsm_http_roles_changed(d->http);
        vr_log(VR_LOG_INFO, "who may manage this host was read anew from %s", d->config_file);
    } else {
        access_free(r->access);
    }
    free(r);
}

/* On a worker: name services are asked before the new table counts, or members of a group would be
 * strangers for a moment. */
static void reload_access(void *arg)
{
    struct reload *r = arg;
    access_resolve(r->access);
    vr_mailbox_post(r->d->mail, roles_changed, r);
}

void manage_reload(struct daemon *d)
{
    struct vr_err err = VR_ERR_INIT;
    vr_autofree struct config *cfg = vr_new(struct config);
    struct access *a = NULL;
    if (config_load(d->config_file, d->config_may_miss, cfg, &err) < 0 ||
        make_access(cfg, &a, &err) < 0) {
        vr_log_err(VR_LOG_ERROR, "configuration: who may manage this host stays as it was", &err);
        return;
    }
    struct reload *r = vr_new(struct reload);
    *r = (struct reload){ d, a, ++d->reloads };
    vr_exec_post(d->auth_exec, reload_access, r);
    if (!d->krb5_keys) { /* the file itself is read at each login */
        load_keys(d);
        wsm_http_set_keys(d->http, d->krb5_keys);
    }
    listen_sealed(d);
}

int manage_start(struct daemon *d, struct vr_err *err)
{
    if (make_access(&d->cfg, &d->access, err) < 0)
        return vr_err_wrap(err, "configuration");
    access_resolve(d->access);
    expect_hosts(d);
    load_keys(d);
    d->cim = cim_server_new(d->cfg.host_name);
    host_init(d);
    if (service_init(d, err) < 0 || listen_start(d, err) < 0)
        return -1;
    testvm_host(d);
    export_host(d);
    retention_host(d);
    remove_host(d);
    d->prov = host_providers_register(d->cim, &d->host);
    d->wsm = wsm_new(d->cim, NULL);
    const struct wsm_auth auth = { .ctx = d,
                                   .role_of_local = role_of_local,
                                   .role_of_thumbprint = role_of_thumbprint,
                                   .check_password = check_password,
                                   .role_of_principal = role_of_principal,
                                   .keys = d->krb5_keys,
                                   .exec = d->auth_exec };
    if (wsm_http_new(d->loop, d->wsm, &auth, NULL, &d->http, err) < 0 ||
        wsm_http_listen_unix(d->http, d->cfg.socket, err) < 0)
        return -1;
    listen_sealed(d);
    if (!d->cfg.https_port)
        return 0;
    const struct wsm_tls_listen l = { .address = address_of(d->cfg.https_address),
                                      .port = (uint16_t)d->cfg.https_port,
                                      .cert_pem = xport_cert_pem(d->xport),
                                      .key_pem = xport_key_pem(d->xport) };
    return wsm_http_listen_tls(d->http, &l, NULL, err);
}
