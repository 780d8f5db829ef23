/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Methods of the service for failing over and back. Control thread only.
 * src:[contract.md B.3, C.2, C.4] */
#include "cim/providers/prov.h"

#include <stdio.h>
#include <string.h>

int svc_failover(struct call *c, struct vr_err *err)
{
    struct rel_event ev = { .type = EV_U_FAILOVER, .latest = true };
    const struct cim_path *ref = cim_args_ref(c->args, "SnapshotSettingData");
    struct vm vm;

    if (call_vm(c, &vm, err) < 0)
        return -1;
    if (ref) {
        const char *id = cim_path_key(ref, "InstanceID");
        const struct store_point *pt = id ? vm_point(c->p, &vm, id) : NULL;
        if (!pt && rel_mode(vm.rel) == REL_MODE_REPLICA)
            return vr_fail(err, VR_E_INVAL, 0,
                           "SnapshotSettingData: \"%.80s\" is no recovery point of machine %s",
                           id ? id : "", vm.name);
        if (pt && proof_offers(&vm, pt, err) < 0)
            return -1;
        ev.latest = false;
        if (pt)
            ev.point = pt->id;
    }
    if (call_admit(c, &vm, &ev, err) < 0)
        return -1;
    ev.lineage = vr_uuid_new();
    return call_request(c, &vm, &ev, JOB_FAILOVER, err);
}

int svc_revert(struct call *c, struct vr_err *err)
{
    struct rel_event ev = { .type = EV_U_REVERT };
    struct vm vm;

    if (call_vm(c, &vm, err) < 0)
        return -1;
    return call_admit_request(c, &vm, &ev, JOB_REVERT, err);
}

int svc_commit(struct call *c, struct vr_err *err)
{
    struct rel_event ev = { .type = EV_U_COMMIT };
    struct vm vm;

    if (call_vm(c, &vm, err) < 0)
        return -1;
    return call_admit_request(c, &vm, &ev, JOB_COMMIT, err);
}

int svc_reverse(struct call *c, struct vr_err *err)
{
    struct rel_event ev = { .type = EV_U_REVERSE };
    vr_auto(cim_inst_free) struct cim_inst *in = NULL;
    const struct host_peer *peer;
    struct vm vm;

    if (settings_of_call(c, &vm, &in, err) < 0)
        return -1;
    if (call_admit(c, &vm, &ev, err) < 0 ||
        settings_of(c, &vm, in, SETTINGS_REVERSE, &ev.set, &peer, err) < 0 ||
        paired_may_use(c->who, peer->name, peer->name, err) < 0)
        return -1;
    snprintf(ev.peer, sizeof ev.peer, "%s", peer->name);
    return call_request(c, &vm, &ev, JOB_REVERSE, err);
}
