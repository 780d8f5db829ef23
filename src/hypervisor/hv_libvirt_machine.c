/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Machines through libvirt: what there is, power, definitions.
 * Thread: hypervisor workers; every call blocks on libvirtd. */
#include "hv_libvirt_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "domxml.h"
#include "guard.h"
#include "imginfo.h"

enum { MACHINES_MAX = 4096 };

/* libvirtd forgets why a machine is off when it is restarted. That it was migrated away is noted in
 * guard_dir/<uuid>.away until it runs here again: the disks that it left behind are old. */
static bool remember_away(const struct hv *hv, const struct vr_uuid *uuid, int state, int reason)
{
    char text[VR_UUID_STR];
    vr_autofree char *mark = vr_printf("%s/%s.away", hv->guard_dir, vr_uuid_fmt(uuid, text));
    bool off = state == VIR_DOMAIN_SHUTOFF;
    bool noted = access(mark, F_OK) == 0;
    if (off && reason == VIR_DOMAIN_SHUTOFF_MIGRATED) {
        if (!noted && guard_mark(mark) < 0)
            vr_log(VR_LOG_WARN, "cannot make %s: %s", mark, strerror(errno));
        return true;
    }
    /* One that could not be started has not run. */
    bool untold =
        off && (reason == VIR_DOMAIN_SHUTOFF_UNKNOWN || reason == VIR_DOMAIN_SHUTOFF_FAILED);
    if (noted && !untold && unlink(mark) < 0 && errno != ENOENT)
        vr_log(VR_LOG_WARN, "cannot remove %s: %s", mark, strerror(errno));
    return noted && untold;
}

static enum hv_power power_of(const struct hv *hv, const struct vr_uuid *uuid, int state,
                              int reason)
{
    bool away = hv ? remember_away(hv, uuid, state, reason) : reason == VIR_DOMAIN_SHUTOFF_MIGRATED;
    switch (state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
        return HV_POWER_RUNNING;
    case VIR_DOMAIN_PAUSED:
        return HV_POWER_PAUSED;
    case VIR_DOMAIN_SHUTDOWN:
        return HV_POWER_SHUTTING_DOWN;
    case VIR_DOMAIN_SHUTOFF:
        return away ? HV_POWER_AWAY : HV_POWER_OFF;
    case VIR_DOMAIN_CRASHED:
        return HV_POWER_OTHER;
    default:
        return HV_POWER_OTHER;
    }
}

/* Size and abilities, from the image itself; an image that is not there is a fact, not an error. */
static void probe_disk(struct hv_disk *d)
{
    imginfo_auto struct imginfo i = { .qcow2 = false };
    struct vr_err e = VR_ERR_INIT;
    if (!d->path || !d->replicable)
        return;
    if (imginfo_read(d->path, d->format, &i, &e) < 0) {
        if (e.kind != VR_E_NOFILE)
            vr_set_str(&d->note, e.msg);
        return;
    }
    d->size = i.size;
    if (d->trackable && i.version < 3) {
        d->trackable = false;
        vr_set_str(&d->note, "qcow2 version 2 keeps no dirty bitmaps: changes are found by "
                             "digests (qemu-img amend -o compat=1.1 helps)");
    }
}

static int xml_of(virDomainPtr dom, unsigned flags, char **ret, struct vr_err *err)
{
    char *xml = virDomainGetXMLDesc(dom, flags);
    if (!xml)
        return lv_fail(err, "%s: definition", virDomainGetName(dom));
    *ret = xml;
    return 0;
}

int lv_machine(const struct hv *hv, virDomainPtr dom, struct hv_machine *ret, struct vr_err *err)
{
    int state = 0, reason = 0, autostart = 0;
    vr_autofree char *xml = NULL;
    struct hv_machine m;
    if (virDomainGetState(dom, &state, &reason, 0) < 0)
        return lv_fail(err, "%s: state", virDomainGetName(dom));
    if (xml_of(dom, 0, &xml, err) < 0 || domxml_parse(xml, &m, err) < 0)
        return -1;
    m.power = power_of(hv, &m.uuid, state, reason);
    m.saved = m.power == HV_POWER_OFF && virDomainHasManagedSaveImage(dom, 0) == 1;
    m.autostart = virDomainGetAutostart(dom, &autostart) == 0 && autostart;
    lv_process(&m);
    for (size_t i = 0; i < m.n_disks; i++)
        probe_disk(&m.disks[i]);
    *ret = m;
    return 0;
}

const struct hv_disk *lv_disk(const struct hv_machine *m, const char *target)
{
    for (size_t i = 0; i < m->n_disks; i++)
        if (strcmp(m->disks[i].target, target) == 0)
            return &m->disks[i];
    return NULL;
}

/* One odd machine hides no other: it is listed, and that it runs is seen, but it cannot be
 * replicated: hv_get() says why. @why is used up unless -1 is returned. */
static int odd_machine(const struct hv *hv, virDomainPtr dom, struct hv_machine *ret,
                       struct vr_err *why)
{
    struct hv_machine m = { .power = HV_POWER_OTHER, .numa_nodes = 1 };
    int state = 0, reason = 0;
    const char *name = virDomainGetName(dom);
    bool odd = why->kind == VR_E_LIMIT || why->kind == VR_E_INVAL;
    if (!odd || !name || virDomainGetUUID(dom, m.uuid.b) < 0 ||
        virDomainGetState(dom, &state, &reason, 0) < 0)
        return -1;
    snprintf(m.name, sizeof m.name, "%s", name);
    m.power = power_of(hv, &m.uuid, state, reason);
    m.saved = m.power == HV_POWER_OFF && virDomainHasManagedSaveImage(dom, 0) == 1;
    m.notes = vr_printf("it cannot be replicated: %s", why->msg);
    m.disks = vr_new(struct hv_disk);
    m.nics = vr_new(struct hv_nic);
    lv_process(&m);
    vr_log_err(VR_LOG_DEBUG, name, why);
    vr_err_clear(why);
    *ret = m;
    return 0;
}

int hv_list(struct hv *hv, struct hv_machine **ret, size_t *ret_n, struct vr_err *err)
{
    lv_conn_auto conn = lv_conn(hv, 0, err);
    if (!conn)
        return -1;
    virDomainPtr *doms = NULL;
    int n = virConnectListAllDomains(conn, &doms, 0);
    if (n < 0)
        return lv_fail(err, "list of machines");
    struct hv_machine *all = vr_new0(n ? (size_t)n : 1, sizeof *all);
    size_t k = 0;
    int rc = 0;
    for (int i = 0; i < n; i++) {
        struct vr_err e = VR_ERR_INIT;
        if (rc == 0 && k < MACHINES_MAX &&
            (lv_machine(hv, doms[i], &all[k], &e) == 0 ||
             odd_machine(hv, doms[i], &all[k], &e) == 0))
            k++;
        else if (e.kind != VR_OK && e.kind != VR_E_NOTFOUND && rc == 0) {
            vr_err_move(err, &e); /* one that vanished meanwhile is no error */
            rc = -1;
        }
        virDomainFree(doms[i]);
    }
    free(doms);
    if (rc < 0) {
        hv_machines_free(all, k);
        return vr_err_wrap(err, "list of machines");
    }
    *ret = all;
    *ret_n = k;
    return 0;
}

int hv_get(struct hv *hv, const struct vr_uuid *uuid, struct hv_machine *ret, struct vr_err *err)
{
    lv_dom_auto dom = lv_dom(hv, uuid, 0, err);
    return dom ? lv_machine(hv, dom, ret, err) : -1;
}

int hv_xml(struct hv *hv, const struct vr_uuid *uuid, char **ret_xml, struct vr_err *err)
{
    lv_dom_auto dom = lv_dom(hv, uuid, 0, err);
    return dom ? xml_of(dom, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE, ret_xml, err) : -1;
}

/* Is @state already what @action would lead to? */
static bool reached(enum hv_action action, int state)
{
    bool off = state == VIR_DOMAIN_SHUTOFF;
    switch (action) {
    case HV_START:
        return !off && state != VIR_DOMAIN_CRASHED;
    case HV_SHUTDOWN:
    case HV_FORCE_OFF:
    case HV_SAVE:
        return off;
    case HV_PAUSE:
        return state == VIR_DOMAIN_PAUSED;
    case HV_UNPAUSE:
        return state == VIR_DOMAIN_RUNNING;
    case HV_REBOOT:
    case HV_RESET:
        return false;
    }
    return false;
}

static int act(virDomainPtr dom, enum hv_action action)
{
    switch (action) {
    case HV_START:
        return virDomainCreate(dom);
    case HV_SHUTDOWN:
        return virDomainShutdown(dom);
    case HV_FORCE_OFF:
        return virDomainDestroy(dom);
    case HV_PAUSE:
        return virDomainSuspend(dom);
    case HV_UNPAUSE:
        return virDomainResume(dom);
    case HV_REBOOT:
        return virDomainReboot(dom, 0);
    case HV_RESET:
        return virDomainReset(dom, 0);
    case HV_SAVE:
        return virDomainManagedSave(dom, 0);
    }
    return -1;
}

int hv_power(struct hv *hv, const struct vr_uuid *uuid, enum hv_action action, struct vr_err *err)
{
    static const char *const names[] = {
        [HV_START] = "start", [HV_SHUTDOWN] = "shut down", [HV_FORCE_OFF] = "force off",
        [HV_PAUSE] = "pause", [HV_UNPAUSE] = "unpause",    [HV_REBOOT] = "reboot",
        [HV_RESET] = "reset", [HV_SAVE] = "save",
    };
    lv_dom_auto dom = lv_dom(hv, uuid, 0, err);
    int state = 0, reason = 0;
    if (!dom)
        return -1;
    if (virDomainGetState(dom, &state, &reason, 0) < 0)
        return lv_fail(err, "%s: state", virDomainGetName(dom));
    /* Off is what has nothing to go on with. */
    if (action == HV_FORCE_OFF && state == VIR_DOMAIN_SHUTOFF &&
        virDomainHasManagedSaveImage(dom, 0) == 1)
        return virDomainManagedSaveRemove(dom, 0) < 0
                   ? lv_fail(err, "cannot discard the saved memory of %s", virDomainGetName(dom))
                   : 0;
    if (reached(action, state))
        return 0;
    if (act(dom, action) == 0)
        return 0;
    /* Somebody else may have been quicker. */
    struct vr_err e = VR_ERR_INIT;
    lv_fail(&e, "cannot %s %s", names[action], virDomainGetName(dom));
    if (virDomainGetState(dom, &state, &reason, 0) == 0 && reached(action, state))
        return 0;
    vr_err_move(err, &e);
    return -1;
}

/* The name must be free or the machine's own; the machine must be off or not there. */
static int check_identity(virConnectPtr conn, const struct vr_uuid *uuid, const char *name,
                          struct vr_err *err)
{
    lv_dom_auto by_name = virDomainLookupByName(conn, name);
    struct vr_uuid other;
    if (by_name && virDomainGetUUID(by_name, other.b) == 0 && !vr_uuid_eq(&other, uuid))
        return vr_fail(err, VR_E_EXISTS, 0, "the name %s belongs to another machine of this host",
                       name);
    lv_dom_auto by_uuid = virDomainLookupByUUID(conn, uuid->b);
    if (!by_uuid)
        return 0;
    int active = lv_active(by_uuid, err);
    if (active > 0)
        return vr_fail(err, VR_E_STATE, 0, "%s is running on this host", name);
    const char *now = virDomainGetName(by_uuid);
    if (active == 0 && now && strcmp(now, name) != 0 && virDomainRename(by_uuid, name, 0) < 0)
        return lv_fail(err, "cannot rename %s to %s", now, name);
    return active;
}

static int define(struct hv *hv, const char *text, struct vr_err *err)
{
    struct hv_machine m;
    if (domxml_parse(text, &m, err) < 0)
        return -1;
    lv_conn_auto conn = lv_conn(hv, 0, err);
    int rc = conn ? check_identity(conn, &m.uuid, m.name, err) : -1;
    if (rc == 0) {
        lv_dom_auto dom = virDomainDefineXMLFlags(conn, text, 0);
        if (!dom)
            rc = lv_fail(err, "cannot define %s", m.name);
    }
    hv_machine_done(&m);
    return rc;
}

int hv_define_replica(struct hv *hv, const char *xml, const char *name, const struct vr_uuid *uuid,
                      bool disconnect, const struct hv_disk_path *paths, size_t n_paths,
                      struct vr_err *err)
{
    vr_autofree char *text = NULL;
    if (domxml_replica(xml, name, uuid, disconnect, paths, n_paths, &text, err) < 0)
        return -1;
    return define(hv, text, err);
}

int hv_define_own(struct hv *hv, const char *xml, const struct hv_disk_path *paths, size_t n_paths,
                  struct vr_err *err)
{
    vr_autofree char *text = NULL;
    return domxml_own(xml, paths, n_paths, &text, err) < 0 ? -1 : define(hv, text, err);
}

static int check_networks(struct hv *hv, const struct hv_nic_net *nets, size_t n,
                          struct vr_err *err)
{
    lv_conn_auto conn = lv_conn(hv, 0, err);
    if (!conn)
        return -1;
    for (size_t i = 0; i < n; i++) {
        virNetworkPtr net = virNetworkLookupByName(conn, nets[i].network);
        if (!net)
            return vr_fail(err, VR_E_INVAL, 0, "this host has no network '%.60s'", nets[i].network);
        virNetworkFree(net);
    }
    return 0;
}

int hv_define_test(struct hv *hv, const char *xml, const char *name, const struct vr_uuid *uuid,
                   const struct hv_nic_net *nets, size_t n_nets, const struct hv_disk_path *paths,
                   size_t n_paths, struct vr_err *err)
{
    vr_autofree char *copy = NULL, *connected = NULL;
    /* By the addresses that the cards of the original have: before the copy gets its own. */
    if (check_networks(hv, nets, n_nets, err) < 0 ||
        domxml_on_networks(xml, nets, n_nets, &connected, err) < 0 ||
        domxml_replica(connected, name, uuid, false, paths, n_paths, &copy, err) < 0)
        return -1;
    return define(hv, copy, err);
}

static const unsigned forget_all = VIR_DOMAIN_UNDEFINE_MANAGED_SAVE |
                                   VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
                                   VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA;

static int undefine(struct hv *hv, const struct vr_uuid *uuid, unsigned flags, struct vr_err *err)
{
    lv_dom_auto dom = lv_dom(hv, uuid, 0, err);
    if (!dom)
        return -1;
    if (virDomainUndefineFlags(dom, flags) < 0)
        return lv_fail(err, "cannot undefine %s", virDomainGetName(dom));
    return 0;
}

int hv_undefine(struct hv *hv, const struct vr_uuid *uuid, struct vr_err *err)
{
    return undefine(hv, uuid, forget_all | VIR_DOMAIN_UNDEFINE_KEEP_NVRAM, err);
}

int hv_undefine_test(struct hv *hv, const struct vr_uuid *uuid, struct vr_err *err)
{
    struct vr_err e = VR_ERR_INIT;
    if (undefine(hv, uuid, forget_all | VIR_DOMAIN_UNDEFINE_NVRAM, &e) == 0 ||
        e.kind == VR_E_NOTFOUND)
        return 0;
    vr_err_move(err, &e);
    return -1;
}
