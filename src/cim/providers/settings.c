/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Msvm_ReplicationSettingData: shown, read back from embedded instances and checked. A client
 * overlays its wishes on the instance it read, so everything comes back: what cannot be set is
 * ignored, what is absent stays. Control thread only. src:[contract.md A.3, E.1, section 0 rule 4]
 */
#include "cim/providers/prov.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "cim/cimxml.h"

#define P(n) CIM_P_MSVM_REPLICATIONSETTINGDATA_##n

/* ---- showing ---- */
static char *provider_path(const struct host_providers *p)
{
    return path_text(p, cim_path_of(CIM_C_MSVM_REPLICATIONPROVIDER, PROV_BUILTIN));
}

static const char *or_null(const char *s)
{
    return s && *s ? s : NULL;
}

static void show_relationship(const struct host_providers *p, const struct vm *vm,
                              struct cim_inst *in)
{
    const struct rel *r = vm->rel;
    const struct rel_settings *s = &r->set;
    bool primary = rel_mode(r) == REL_MODE_PRIMARY;

    cim_inst_set_uint(in, P(AUTHENTICATIONTYPE), s->auth_type);
    cim_inst_set_str(in, P(CERTIFICATETHUMBPRINT), or_null(s->thumbprint));
    /* The host's certificate is its own issuer. */
    cim_inst_set_str(in, P(ROOTCERTIFICATETHUMBPRINT), or_null(s->thumbprint));
    cim_inst_set_str(in, P(RECOVERYCONNECTIONPOINT), or_null(s->recovery_point));
    cim_inst_set_uint(in, P(RECOVERYSERVERPORTNUMBER), s->recovery_port);
    cim_inst_set_str(in, P(PRIMARYCONNECTIONPOINT), or_null(s->primary_point));
    cim_inst_set_str(in, P(RECOVERYHOSTSYSTEM), primary ? or_null(r->peer) : p->h->name);
    cim_inst_set_str(in, P(PRIMARYHOSTSYSTEM), primary ? p->h->name : or_null(r->peer));
    for (uint32_t i = 0; i < r->n_disks; i++) {
        vr_autofree char *path = path_text(p, path_disk(vm, r->disks[i].target, 'L'));
        cim_inst_add_str(in, P(INCLUDEDDISKS), path);
    }
}

static bool emit_one(const struct host_providers *p, const struct vm *vm, int n,
                     struct cim_sink *sink)
{
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_REPLICATIONSETTINGDATA);
    const struct rel_settings *s = n ? &p->none.set : &vm->rel->set;
    vr_autofree char *provider = provider_path(p);
    char id[PROV_ID_MAX];

    cim_inst_set_str(in, P(INSTANCEID), id_hvr(id, vm->guid, n));
    cim_inst_set_str(in, P(ELEMENTNAME), vm->name);
    cim_inst_set_str(in, P(VIRTUALSYSTEMIDENTIFIER), vm->guid);
    cim_inst_set_bool(in, P(COMPRESSIONENABLED), s->compression);
    cim_inst_set_bool(in, P(BYPASSPROXYSERVER), s->bypass_proxy);
    cim_inst_set_bool(in, P(REPLICATEHOSTKVPITEMS), s->replicate_kvp);
    cim_inst_set_uint(in, P(APPLICATIONCONSISTENTSNAPSHOTINTERVAL), rel_app_hours(s));
    cim_inst_set_uint(in, P(RECOVERYHISTORY), s->recovery_history);
    cim_inst_set_bool(in, P(AUTORESYNCHRONIZEENABLED), s->auto_resync);
    cim_inst_set_interval(in, P(AUTORESYNCHRONIZEINTERVALSTART), s->resync_start_s);
    cim_inst_set_interval(in, P(AUTORESYNCHRONIZEINTERVALEND), s->resync_end_s);
    cim_inst_set_bool(in, P(ENABLEWRITEORDERPRESERVATIONACROSSDISKS), true);
    cim_inst_set_uint(in, P(REPLICATIONINTERVAL), s->interval_s);
    cim_inst_set_str(in, P(REPLICATIONPROVIDER), provider);
    if (!n && vm->rel->st != ST_NONE)
        show_relationship(p, vm, in);
    return cim_emit(sink, in);
}

static bool emit_settings(const struct host_providers *p, const struct vm *vm,
                          struct cim_sink *sink)
{
    if (!emit_one(p, vm, 0, sink))
        return false;
    return rel_mode(vm->rel) != REL_MODE_REPLICA || emit_one(p, vm, 1, sink);
}

static enum cim_status enumerate(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                 struct vr_err *err)
{
    return each_vm(ctx, sink, emit_settings);
}

static enum cim_status get(void *ctx, const struct cim_caller *who, const struct cim_path *path,
                           struct cim_inst **ret, struct vr_err *err)
{
    return get_vm(ctx, path, emit_settings, ret, err);
}

void prov_register_settings(struct cim_server *s, struct host_providers *p)
{
    cim_server_register(s, &(struct cim_provider){ .cls = CIM_C_MSVM_REPLICATIONSETTINGDATA,
                                                   .ctx = p,
                                                   .enumerate = enumerate,
                                                   .get = get });
}

/* ---- reading ---- */
static const int used[] = { P(INSTANCEID),
                            P(REPLICATIONPROVIDER),
                            P(AUTHENTICATIONTYPE),
                            P(CERTIFICATETHUMBPRINT),
                            P(RECOVERYCONNECTIONPOINT),
                            P(RECOVERYSERVERPORTNUMBER),
                            P(COMPRESSIONENABLED),
                            P(BYPASSPROXYSERVER),
                            P(REPLICATEHOSTKVPITEMS),
                            P(AUTORESYNCHRONIZEENABLED),
                            P(AUTORESYNCHRONIZEINTERVALSTART),
                            P(AUTORESYNCHRONIZEINTERVALEND),
                            P(APPLICATIONCONSISTENTSNAPSHOTINTERVAL),
                            P(RECOVERYHISTORY),
                            P(REPLICATIONINTERVAL),
                            P(INCLUDEDDISKS) };

int settings_parse(struct call *c, const struct vm *vm, struct cim_inst **ret, int *ret_n,
                   struct vr_err *err)
{
    const char *text = cim_args_str(c->args, "ReplicationSettingData");
    vr_auto(cim_inst_free) struct cim_inst *in = NULL;
    struct vr_uuid uuid;
    int n = 0;

    if (!text || !*text)
        return vr_fail(err, VR_E_INVAL, 0, "ReplicationSettingData must be given");
    if (call_instance(c, text, cim_class_get(CIM_C_MSVM_REPLICATIONSETTINGDATA), used,
                      VR_ARRAY_LEN(used), &in, err) < 0)
        return vr_err_wrap(err, "ReplicationSettingData");
    const char *id = or_null(cim_inst_str(in, P(INSTANCEID)));
    if (id && (!id_hvr_parse(id, &uuid, &n) || !vr_uuid_eq(&uuid, &vm->uuid)))
        return vr_fail(err, VR_E_INVAL, 0, "InstanceID \"%.80s\" is not that of machine %s", id,
                       vm->name);
    *ret = vr_take(in);
    *ret_n = n;
    return 0;
}

int settings_of_call(struct call *c, struct vm *vm, struct cim_inst **ret, struct vr_err *err)
{
    int n;

    if (call_vm(c, vm, err) < 0 || settings_parse(c, vm, ret, &n, err) < 0)
        return -1;
    return n ? call_rel1(vm, err) : 0;
}

/* Thumbprints come with spaces, colons and, when copied from a dialog, with invisible marks. */
bool same_thumb(const char *a, const char *b)
{
    for (;; a++, b++) {
        while (*a && (*a == ' ' || *a == ':' || (unsigned char)*a >= 0x80))
            a++;
        while (*b && (*b == ' ' || *b == ':' || (unsigned char)*b >= 0x80))
            b++;
        if (!*a || !*b)
            return !*a && !*b;
        if (strncasecmp(a, b, 1) != 0)
            return false;
    }
}

const char *kerberos_name(const struct host *h, struct vr_err *err)
{
    if (h->kerberos_name)
        return h->kerberos_name(h->ctx, err);
    vr_fail(err, VR_E_UNSUPPORTED, 0, "this host knows no Kerberos");
    return NULL;
}

/* Names only: what Kerberos proves is a name. src:[contract.md A.3 RecoveryConnectionPoint] */
static int check_name(const char *point, struct vr_err *err)
{
    bool letters = false, odd = false;

    for (const char *p = point; *p; p++) {
        letters |= isalpha((unsigned char)*p) != 0;
        odd |= !isascii((unsigned char)*p) || !(isalnum((unsigned char)*p) || strchr("._-", *p));
    }
    if (letters && !odd)
        return 0;
    return vr_fail(err, VR_E_INVAL, 0,
                   "with Kerberos the replica host is given by its full name, not as \"%.100s\"",
                   point);
}

const struct host_peer *settings_peer(const struct host *h, uint64_t auth_type, const char *point,
                                      struct vr_err *err)
{
    static struct host_peer named;
    const struct host_peer *v = NULL, *p = NULL;
    const char *self = auth_type == 1 ? kerberos_name(h, err) : h->name;

    if (!self)
        return NULL;
    if (auth_type != 1)
        p = h->find_peer(h->ctx, point);
    if (!p && (!strcasecmp(point, self) || !strcasecmp(point, h->name))) {
        vr_fail(err, VR_E_INVAL, 0,
                "RecoveryConnectionPoint %s is this host itself; name the one that shall receive",
                point);
        return NULL;
    }
    if (auth_type != 1 && !p)
        vr_fail(err, VR_E_NOTFOUND, 0,
                "host %.200s is not paired with this one; pair it first (vmreplica pair)", point);
    if (auth_type != 1 || check_name(point, err) < 0)
        return p;
    for (size_t i = 0, n = h->peers(h->ctx, &v); i < n; i++)
        if (!strcasecmp(v[i].name, point) && v[i].krb_port)
            return &v[i];
    named = (struct host_peer){ .krb_port = HOSTSET_HTTP_PORT };
    snprintf(named.name, sizeof named.name, "%s", point);
    for (char *c = named.name; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    snprintf(named.address, sizeof named.address, "%s", named.name);
    return &named;
}

int settings_connection(const struct host *h, uint64_t auth_type, const char *thumb,
                        const char *mirror, struct vr_err *err)
{
    bool given = thumb && *thumb;

    if (auth_type != 1 && auth_type != 2)
        return vr_fail(err, VR_E_INVAL, 0,
                       "AuthenticationType must be 1 (Kerberos) or 2 (certificate), not %" PRIu64,
                       auth_type);
    if (auth_type == 1 && given)
        return vr_fail(err, VR_E_INVAL, 0,
                       "CertificateThumbPrint must be empty with AuthenticationType 1 (Kerberos)");
    if (auth_type == 1)
        return kerberos_name(h, err) ? 0 : -1;
    if (given && !same_thumb(thumb, h->thumb_sha1) && !(mirror && same_thumb(thumb, mirror)))
        return vr_fail(err, VR_E_INVAL, 0,
                       "CertificateThumbPrint %.64s is not that of this host's certificate (%s)",
                       thumb, h->thumb_sha1);
    return 0;
}

static bool get_bool(const struct cim_inst *in, int i, bool old, bool dflt)
{
    return cim_inst_is_seen(in, i) ? cim_value_bool(cim_inst_value(in, i), dflt) : old;
}

static uint64_t get_uint(const struct cim_inst *in, int i, uint64_t old, uint64_t dflt)
{
    return cim_inst_is_seen(in, i) ? cim_inst_uint(in, i, dflt) : old;
}

static int get_time_of_day(const struct cim_inst *in, int i, uint32_t dflt, uint32_t *io,
                           struct vr_err *err)
{
    struct cim_datetime dt;

    if (!cim_inst_is_seen(in, i))
        return 0;
    if (!cim_value_time(cim_inst_value(in, i), &dt)) {
        *io = dflt;
        return 0;
    }
    if (!dt.is_interval || dt.us >= 86400ll * 1000000)
        return vr_fail(err, VR_E_INVAL, 0, "%s must be an interval below one day",
                       in->cls->props[i].name);
    *io = (uint32_t)(dt.us / 1000000);
    return 0;
}

/* Where the data shall go. */
static int get_connection(struct call *c, const struct vm *vm, const struct cim_inst *in,
                          enum settings_use use, struct rel_settings *s,
                          const struct host_peer **ret_peer, struct vr_err *err)
{
    const struct host *h = c->p->h;
    const char *point = cim_inst_str(in, P(RECOVERYCONNECTIONPOINT));
    int port_prop = P(RECOVERYSERVERPORTNUMBER);

    if (use == SETTINGS_REVERSE && !or_null(point))
        point = s->primary_point;
    else if (use == SETTINGS_MODIFY && !cim_inst_is_seen(in, P(RECOVERYCONNECTIONPOINT)))
        point = s->recovery_point;
    if (!or_null(point))
        return vr_fail(err, VR_E_INVAL, 0, "RecoveryConnectionPoint must name the replica host");
    if (strlen(point) >= VR_NAME_MAX)
        return vr_fail(err, VR_E_INVAL, 0, "RecoveryConnectionPoint is longer than %d characters",
                       VR_NAME_MAX - 1);
    const struct host_peer *peer = settings_peer(h, s->auth_type, point, err);
    if (!peer)
        return -1;
    if (use == SETTINGS_MODIFY && strcasecmp(peer->name, vm->rel->peer) != 0)
        return vr_fail(err, VR_E_INVAL, 0,
                       "the replica of machine %s is on host %s; to replicate to %s, disable and "
                       "enable replication",
                       vm->name, vm->rel->peer, peer->name);
    uint16_t theirs = s->auth_type == 1 ? peer->krb_port : peer->port;
    bool as_before = use == SETTINGS_MODIFY && s->auth_type == vm->rel->set.auth_type;
    uint64_t port = get_uint(in, port_prop, as_before ? s->recovery_port : theirs, theirs);
    /* A replica shows its own port; whoever reverses may hand it back unread. */
    if (use == SETTINGS_REVERSE && port && port == s->recovery_port)
        port = theirs;
    s->recovery_port = (uint16_t)port;
    if (point != s->recovery_point)
        snprintf(s->recovery_point, sizeof s->recovery_point, "%s", point);
    *ret_peer = peer;
    return 0;
}

static int get_authentication(struct call *c, const struct cim_inst *in, enum settings_use use,
                              struct rel_settings *s, struct vr_err *err)
{
    uint64_t type = get_uint(in, P(AUTHENTICATIONTYPE), s->auth_type, 2);
    /* A replica shows its primary's certificate; whoever reverses may hand it back unread. */
    const char *mirror = use == SETTINGS_REVERSE && s->thumbprint[0] ? s->thumbprint : NULL;

    if (settings_connection(c->p->h, type, cim_inst_str(in, P(CERTIFICATETHUMBPRINT)), mirror,
                            err) < 0)
        return -1;
    s->auth_type = (uint16_t)type;
    snprintf(s->thumbprint, sizeof s->thumbprint, "%s", type == 1 ? "" : c->p->h->thumb_sha1);
    return 0;
}

static int get_provider(const struct cim_inst *in, struct vr_err *err)
{
    const char *path = or_null(cim_inst_str(in, P(REPLICATIONPROVIDER)));
    static const char suffix[] = "\"" PROV_BUILTIN "\"";
    size_t n = path ? strlen(path) : 0;

    if (!path || (n >= strlen(suffix) && !strcasecmp(path + n - strlen(suffix), suffix)))
        return 0;
    return vr_fail(err, VR_E_INVAL, 0, "there is no replication provider %.200s", path);
}

int settings_of(struct call *c, const struct vm *vm, const struct cim_inst *in,
                enum settings_use use, struct rel_settings *ret, const struct host_peer **ret_peer,
                struct vr_err *err)
{
    const struct rel_settings *d = &c->p->none.set;
    struct rel_settings s = use == SETTINGS_CREATE ? *d : vm->rel->set;
    const struct host_peer *peer = NULL;

    if (get_provider(in, err) < 0 || get_authentication(c, in, use, &s, err) < 0 ||
        get_connection(c, vm, in, use, &s, &peer, err) < 0)
        return -1;
    s.compression = get_bool(in, P(COMPRESSIONENABLED), s.compression, d->compression);
    s.bypass_proxy = get_bool(in, P(BYPASSPROXYSERVER), s.bypass_proxy, d->bypass_proxy);
    s.replicate_kvp = get_bool(in, P(REPLICATEHOSTKVPITEMS), s.replicate_kvp, d->replicate_kvp);
    s.auto_resync = get_bool(in, P(AUTORESYNCHRONIZEENABLED), s.auto_resync, d->auto_resync);
    uint64_t hours =
        get_uint(in, P(APPLICATIONCONSISTENTSNAPSHOTINTERVAL), rel_app_hours(&s), rel_app_hours(d));
    if (hours != rel_app_hours(&s)) /* handed back unchanged: an interval in seconds stays */
        s.app_interval_s = hours > UINT16_MAX ? UINT32_MAX : (uint32_t)hours * 3600;
    s.recovery_history =
        (uint16_t)get_uint(in, P(RECOVERYHISTORY), s.recovery_history, d->recovery_history);
    s.interval_s = (uint32_t)get_uint(in, P(REPLICATIONINTERVAL), s.interval_s, d->interval_s);
    if (get_time_of_day(in, P(AUTORESYNCHRONIZEINTERVALSTART), d->resync_start_s, &s.resync_start_s,
                        err) < 0 ||
        get_time_of_day(in, P(AUTORESYNCHRONIZEINTERVALEND), d->resync_end_s, &s.resync_end_s,
                        err) < 0)
        return -1;
    const char *self = s.auth_type == 1 ? kerberos_name(c->p->h, err) : c->p->h->name;
    if (!self)
        return -1;
    snprintf(s.primary_point, sizeof s.primary_point, "%s", self);
    if (rel_settings_check(&s, err) < 0)
        return -1;
    *ret = s;
    *ret_peer = peer;
    return 0;
}

/* ---- disks ---- */
static void add_disk(struct rel_event *ev, const struct hv_disk *d)
{
    for (uint32_t i = 0; i < ev->n_disks; i++)
        if (!strcmp(ev->disks[i].target, d->target))
            return;
    if (ev->n_disks == VR_DISKS_MAX)
        return; /* a machine has no more */
    struct rel_disk *to = &ev->disks[ev->n_disks++];
    snprintf(to->target, sizeof to->target, "%s", d->target);
    to->size = d->size;
}

int settings_all_disks(const struct vm *vm, struct rel_event *ev, struct vr_err *err)
{
    for (size_t i = 0; vm->hv && i < vm->hv->n_disks; i++) {
        const struct hv_disk *d = &vm->hv->disks[i];
        if (d->replicable)
            add_disk(ev, d);
        else if (!d->left_out)
            return vr_fail(err, VR_E_INVAL, 0,
                           "disk %s of machine %s cannot be replicated (%s): exclude it to go on "
                           "without it",
                           d->target, vm->name, d->note ? d->note : "not of a suitable kind");
    }
    if (!ev->n_disks)
        return vr_fail(err, VR_E_INVAL, 0, "machine %s has no disk that can be replicated",
                       vm->name);
    return 0;
}

/* The InstanceID in an object path or on its own. */
static int disk_id(const char *text, char id[PROV_ID_MAX], struct vr_err *err)
{
    vr_auto(cim_path_free) struct cim_path *path = NULL;
    const char *key = text;

    if (strncasecmp(text, "Microsoft:", 10) != 0) {
        if (cim_path_parse(text, &path, err) < 0)
            return -1;
        const struct cim_class *cls = cim_path_class(path);
        if (!cls || !cim_class_is_a(cim_class_get(CIM_C_MSVM_STORAGEALLOCATIONSETTINGDATA), cls))
            return vr_fail(err, VR_E_INVAL, 0, "a %.60s is no virtual disk", path->cls);
        key = cim_path_key(path, "InstanceID");
    }
    if (!key || strlen(key) >= PROV_ID_MAX)
        return vr_fail(err, VR_E_INVAL, 0, "no InstanceID, or too long a one");
    snprintf(id, PROV_ID_MAX, "%s", key);
    return 0;
}

static int include_disk(const struct vm *vm, const char *text, struct rel_event *ev,
                        struct vr_err *err)
{
    char id[PROV_ID_MAX], target[VR_TARGET_MAX];
    struct vr_uuid uuid;

    if (!text || !*text)
        return vr_fail(err, VR_E_INVAL, 0, "empty element");
    if (disk_id(text, id, err) < 0)
        return -1;
    if (!id_disk_parse(id, &uuid, target) || !vr_uuid_eq(&uuid, &vm->uuid))
        return vr_fail(err, VR_E_INVAL, 0, "\"%.100s\" is no disk of machine %s", id, vm->name);
    const struct hv_disk *d = vm_disk(vm, target);
    if (!d)
        return vr_fail(err, VR_E_INVAL, 0, "machine %s has no disk %s", vm->name, target);
    if (!d->replicable)
        return vr_fail(err, VR_E_INVAL, 0, "disk %s of machine %s cannot be replicated: %s", target,
                       vm->name, d->note ? d->note : "not of a suitable kind");
    add_disk(ev, d);
    return 0;
}

int settings_disks(const struct vm *vm, const struct cim_inst *in, struct rel_event *ev,
                   struct vr_err *err)
{
    const struct cim_value *v = cim_inst_value(in, P(INCLUDEDDISKS));

    ev->n_disks = 0;
    if (v->is_null)
        return settings_all_disks(vm, ev, err);
    for (size_t i = 0; i < v->n; i++)
        if (include_disk(vm, cim_value_at(v, i)->str, ev, err) < 0)
            return vr_err_wrap(err, "IncludedDisks");
    if (!ev->n_disks)
        return vr_fail(err, VR_E_INVAL, 0, "IncludedDisks must name at least one disk");
    return 0;
}
