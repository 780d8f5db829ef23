/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hosts that this one knows: paired by certificate, by Kerberos, or both; a document each,
 * "address port thumb krb_port" (thumb "-": not paired). A name means one host, whichever way it
 * comes in. Control thread unless said. */
#include "daemon/daemon.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/log.h"

static struct host_peer *find(const struct daemon *d, const char *name)
{
    for (size_t i = 0; i < d->n_peers; i++)
        if (!strcasecmp(d->peers[i].name, name))
            return &d->peers[i];
    return NULL;
}

static struct host_peer *entry(struct daemon *d, const char *name)
{
    struct host_peer *p = find(d, name);
    if (p)
        return p;
    d->peers = vr_grow(d->peers, d->n_peers + 1, sizeof *d->peers);
    p = &d->peers[d->n_peers++];
    *p = (struct host_peer){ .port = 0 };
    snprintf(p->name, sizeof p->name, "%s", name);
    return p;
}

static char *peer_text(const char *address, uint16_t port, const char *thumb, uint16_t krb_port)
{
    return vr_printf("%s %u %s %u", address, port, *thumb ? thumb : "-", krb_port);
}

static void peer_set(struct daemon *d, const char *name, const char *address, uint16_t port,
                     const char *thumb)
{
    struct host_peer *p = entry(d, name);
    snprintf(p->name, sizeof p->name, "%s", name);
    snprintf(p->address, sizeof p->address, "%s", address);
    snprintf(p->thumb, sizeof p->thumb, "%s", thumb);
    p->port = port;
}

static int load_peer(void *ctx, const char *id, const char *text, struct vr_err *err)
{
    char address[VR_NAME_MAX], thumb[65];
    unsigned port, krb_port = 0; /* versions before Kerberos wrote three values */
    if (sscanf(text, "%255s %u %64s %u", address, &port, thumb, &krb_port) < 3 || port > 65535 ||
        krb_port > 65535)
        return vr_fail(err, VR_E_CORRUPT, 0, "written peer %s cannot be read", id);
    peer_set(ctx, id, address, (uint16_t)port, strcmp(thumb, "-") != 0 ? thumb : "");
    find(ctx, id)->krb_port = (uint16_t)krb_port;
    return 0;
}

int host_load_peers(struct daemon *d, struct vr_err *err)
{
    return store_doc_each(d->store, "peer", load_peer, d, err);
}

/* The document of a peer is written from several threads. Each counts the changes that were begun:
 * who finds that there were others while it wrote writes once more what is true then, on the
 * store's own thread, behind all of them. */
static unsigned changes;

static void write_peer(struct daemon *d, const struct host_peer *p);

void host_peer_changes(void)
{
    changes++;
}

struct peer_ctl {
    struct daemon *d;
    unsigned changes; /* when it began */
    const struct xport_peer *p;
    const char *thumb; /* or what Kerberos calls a host */
    struct xport_peer *ret;
    uint16_t port; /* that a host with Kerberos says */
    bool found;
    char old[VR_NAME_MAX]; /* name under which the same host was known */
    char *text;
    struct vr_err err;
};

static void st_put_peer(void *arg)
{
    struct peer_ctl *c = arg;
    struct vr_err none = VR_ERR_INIT;
    if (store_doc_put(c->d->store, "peer", c->p->name, c->text, &c->err) == 0 && c->old[0])
        store_doc_delete(c->d->store, "peer", c->old, &none);
}

static bool replicates_with(const struct daemon *d, const char *peer)
{
    for (size_t i = 0; engine_at(d->engine, i); i++) {
        const struct rel *r = engine_at(d->engine, i);
        if (r->st != ST_NONE && !strcasecmp(r->peer, peer))
            return true;
    }
    return false;
}

/* Relationships know their peer by its name: a name must go on meaning the same host. One that was
 * installed anew (same address, new certificate) may take its old name back. */
static void ctl_check_peer(void *arg)
{
    struct peer_ctl *c = arg;
    const struct xport_peer *p = c->p;
    if (!strcasecmp(p->name, c->d->cfg.host_name)) {
        vr_fail(&c->err, VR_E_EXISTS, 0,
                "both hosts are called '%s'; give one of them another host_name in its "
                "vmreplicad.conf",
                p->name);
        return;
    }
    for (size_t i = 0; i < c->d->n_peers && c->err.kind == VR_OK; i++) {
        const struct host_peer *had = &c->d->peers[i];
        bool same_name = !strcasecmp(had->name, p->name), same_cert = !strcmp(had->thumb, p->thumb);
        if (same_name == same_cert)
            continue;
        if (!replicates_with(c->d, had->name)) {
            if (same_cert)
                snprintf(c->old, sizeof c->old, "%s", had->name);
            continue;
        }
        if (same_cert)
            vr_fail(&c->err, VR_E_EXISTS, 0,
                    "host '%s' is paired under its old name '%s', and machines are replicated with "
                    "it; give it that name again (host_name in its vmreplicad.conf)",
                    p->name, had->name);
        else if (strcmp(had->address, p->address) != 0)
            vr_fail(&c->err, VR_E_EXISTS, 0,
                    "another host called '%s' (%s) is paired, and machines are replicated with it; "
                    "give this one another host_name in its vmreplicad.conf, or, if it is the same "
                    "host installed anew, pair it from here by the address %s",
                    had->name, had->address, had->address);
    }
}

static void ctl_text(void *arg)
{
    struct peer_ctl *c = arg;
    const struct host_peer *had = find(c->d, c->p->name);
    c->changes = changes;
    c->text = peer_text(c->p->address, c->p->port, c->p->thumb, had ? had->krb_port : 0);
}

static void ctl_put_peer(void *arg)
{
    struct peer_ctl *c = arg;
    for (size_t i = 0; c->old[0] && i < c->d->n_peers; i++)
        if (!strcmp(c->d->peers[i].name, c->old))
            c->d->peers[i--] = c->d->peers[--c->d->n_peers];
    for (size_t i = 0; i < c->d->n_peers; i++)
        if (!strcasecmp(c->d->peers[i].name, c->p->name) && c->d->peers[i].port != c->p->port)
            engine_port_moved(c->d->engine, c->p->name, c->d->peers[i].port, c->p->port);
    peer_set(c->d, c->p->name, c->p->address, c->p->port, c->p->thumb);
    if (changes++ != c->changes)
        write_peer(c->d, find(c->d, c->p->name));
    host_peers_changed(c->d);
    host_peer_contact(c->d, c->p->name, true);
}

int host_peer_store(struct daemon *d, const struct xport_peer *p, struct vr_err *err)
{
    struct peer_ctl c = { .d = d, .p = p };
    ctl_call(d, ctl_check_peer, &c);
    if (c.err.kind != VR_OK) {
        vr_err_move(err, &c.err);
        return -1;
    }
    ctl_call(d, ctl_text, &c);
    store_call(d, st_put_peer, &c);
    free(c.text);
    if (c.err.kind != VR_OK) {
        vr_err_move(err, &c.err);
        return -1;
    }
    ctl_call(d, ctl_put_peer, &c);
    return 0;
}

static void ctl_lookup(void *arg)
{
    struct peer_ctl *c = arg;
    for (size_t i = 0; i < c->d->n_peers; i++)
        if (c->d->peers[i].thumb[0] && !strcmp(c->d->peers[i].thumb, c->thumb)) {
            struct vr_err none = VR_ERR_INIT;
            c->found = peer_of(c->d, c->d->peers[i].name, c->ret, &none) == 0;
            return;
        }
}

bool on_peer_lookup(void *ctx, const char *thumb, struct xport_peer *ret)
{
    struct peer_ctl c = { .d = ctx, .thumb = thumb, .ret = ret };
    ctl_call(ctx, ctl_lookup, &c);
    return c.found;
}

void host_peer_contact(struct daemon *d, const char *name, bool reached)
{
    for (size_t i = 0; i < d->n_peers; i++)
        if (!strcasecmp(d->peers[i].name, name)) {
            d->peers[i].reachable = reached;
            if (!reached)
                continue;
            d->peers[i].seen = vr_wall_now();
            d->peers[i].failed = (struct mono_ms){ 0 }; /* it is there again: it may be asked */
        }
}

/* ---- their clocks ---- */
/* Below this the network, or a host that is busy, may be the cause. */
#define CLOCKS_DIFFER_S 60

struct clock_news {
    struct daemon *d;
    char name[VR_NAME_MAX];
    int64_t ahead_s;
};

static void clock_told(void *arg)
{
    struct clock_news *n = arg;
    for (size_t i = 0; i < n->d->n_peers; i++) {
        struct host_peer *p = &n->d->peers[i];
        if (strcasecmp(p->name, n->name) != 0)
            continue;
        int64_t now = llabs(n->ahead_s) < CLOCKS_DIFFER_S ? 0 : n->ahead_s;
        if (llabs(now - p->clock_s) >= CLOCKS_DIFFER_S)
            vr_log(now ? VR_LOG_WARN : VR_LOG_INFO,
                   "the clock of host %s is %" PRId64 " s %s ours%s", p->name, (int64_t)llabs(now),
                   now >= 0 ? "ahead of" : "behind",
                   now ? ": set the clocks of both hosts right (NTP)" : "");
        p->clock_s = now;
    }
    free(n);
}

void on_peer_clock(void *ctx, const struct xport_peer *peer, int64_t ahead_us)
{
    struct clock_news *n = vr_new(struct clock_news);
    n->d = ctx;
    snprintf(n->name, sizeof n->name, "%s", peer->name);
    n->ahead_s = ahead_us / 1000000;
    vr_mailbox_post(n->d->mail, clock_told, n);
}

int peer_of(struct daemon *d, const char *name, struct xport_peer *ret, struct vr_err *err)
{
    const struct host_peer *p = find(d, name);
    if (!p || !p->thumb[0])
        return vr_fail(err, VR_E_AUTH, 0,
                       "host '%s' is not paired with this one; pair them first (vmreplica pair)",
                       name);
    *ret = (struct xport_peer){ .port = p->port };
    snprintf(ret->name, sizeof ret->name, "%s", p->name);
    snprintf(ret->address, sizeof ret->address, "%s", p->address);
    snprintf(ret->thumb, sizeof ret->thumb, "%s", p->thumb);
    return 0;
}

void peer_by_kerberos(const char *name, const char *address, uint16_t port, struct xport_peer *ret)
{
    *ret = (struct xport_peer){ .port = port, .kerberos = true };
    snprintf(ret->name, sizeof ret->name, "%s", name);
    snprintf(ret->address, sizeof ret->address, "%s", address);
}

/* ---- hosts with Kerberos: known while they are admitted or replicated to ---- */
struct note_task {
    struct task t;
    char *name, *text;
};

static void note_work(struct task *t)
{
    struct note_task *n = (struct note_task *)t;
    store_doc_put(t->d->store, "peer", n->name, n->text, &t->err);
}

static void note_done(struct task *t)
{
    struct note_task *n = (struct note_task *)t;
    if (t->err.kind != VR_OK)
        vr_log_err(VR_LOG_ERROR, "noting a host down", &t->err);
    free(n->name);
    free(n->text);
}

static void write_peer(struct daemon *d, const struct host_peer *p)
{
    struct note_task *n = vr_new(struct note_task);
    n->t.work = note_work;
    n->t.done = note_done;
    n->name = vr_strdup(p->name);
    n->text = peer_text(p->address, p->port, p->thumb, p->krb_port);
    changes++;
    task_run(d, d->store_exec, &n->t);
}

/* Kerberos calls a host @name and it awaits hosts on @port (0: nowhere, or not known). */
static struct host_peer *note(struct daemon *d, const char *name, uint16_t port)
{
    struct host_peer *p = entry(d, name);
    if (p->address[0] && (!port || p->krb_port == port))
        return p;
    if (!p->address[0])
        snprintf(p->address, sizeof p->address, "%s", name);
    uint16_t before = p->krb_port ? p->krb_port : HOSTSET_HTTP_PORT; /* that it is taken to have */
    if (port && before != port) {
        engine_port_moved(d->engine, name, before, port);
        vr_log(VR_LOG_INFO, "host %s is reached on port %u from now on, no longer on %u", name,
               port, before);
    }
    if (port)
        p->krb_port = port;
    write_peer(d, p);
    return p;
}

int peer_of_rel(struct daemon *d, const struct rel *r, struct xport_peer *ret, struct vr_err *err)
{
    if (r->set.auth_type == 1) {
        note(d, r->peer, 0);
        peer_by_kerberos(r->peer, r->set.recovery_point[0] ? r->set.recovery_point : r->peer,
                         r->set.recovery_port, ret);
        return 0;
    }
    if (peer_of(d, r->peer, ret, err) < 0)
        return -1;
    if (r->set.recovery_port)
        ret->port = r->set.recovery_port;
    return 0;
}

int peer_to_ask(struct daemon *d, const struct rel *r, struct xport_peer *ret, struct vr_err *err)
{
    if (r->set.auth_type != 1)
        return peer_of(d, r->peer, ret, err);
    if (rel_mode(r) == REL_MODE_PRIMARY)
        return peer_of_rel(d, r, ret, err);
    const struct host_peer *p = find(d, r->peer);
    if (!p || !p->krb_port)
        return vr_fail(err, VR_E_PEER, 0,
                       "host %s did not say that it awaits hosts with Kerberos: enable that there, "
                       "too (vmreplica server --receive yes --auth kerberos)",
                       r->peer);
    peer_by_kerberos(p->name, p->name, p->krb_port, ret);
    return 0;
}

static bool replicates_by_kerberos(const struct daemon *d, const char *peer)
{
    for (size_t i = 0; engine_at(d->engine, i); i++) {
        const struct rel *r = engine_at(d->engine, i);
        if (r->st != ST_NONE && r->set.auth_type == 1 && !strcasecmp(r->peer, peer))
            return true;
    }
    return false;
}

static void ctl_admit(void *arg)
{
    struct peer_ctl *c = arg;
    struct daemon *d = c->d;
    if (!(hostset_auth(d->host.set) & HOSTSET_AUTH_KERBEROS)) {
        vr_fail(&c->err, VR_E_UNAVAIL, 0, "host %s does not receive by Kerberos any more",
                d->cfg.host_name);
        return;
    }
    if (!replicates_by_kerberos(d, c->thumb) && !hostset_match(d->host.set, c->thumb, NULL)) {
        vr_fail(&c->err, VR_E_AUTH, 0,
                "no authorization entry of host %s names %s, which has logged in with Kerberos: "
                "make one there (vmreplica allow %s --storage FOLDER)",
                d->cfg.host_name, c->thumb, c->thumb);
        return;
    }
    const struct host_peer *p = note(d, c->thumb, c->port);
    peer_by_kerberos(p->name, p->name, p->krb_port, c->ret);
}

int on_peer_admit(void *ctx, const char *host, uint16_t port, struct xport_peer *ret,
                  struct vr_err *err)
{
    struct peer_ctl c = { .d = ctx, .thumb = host, .port = port, .ret = ret };
    ctl_call(ctx, ctl_admit, &c);
    if (c.err.kind == VR_OK)
        return 0;
    vr_err_move(err, &c.err);
    return -1;
}
