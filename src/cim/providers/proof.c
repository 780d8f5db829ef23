/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Proof as clients see it: properties and methods of Vmr_ReplicationStatus and Vmr_RecoveryPoint.
 * Control thread only. src:[schema/vmreplica.mof] */
#include "cim/providers/prov.h"

#include <inttypes.h>

#define STATUS(n) CIM_P_VMR_REPLICATIONSTATUS_##n
#define POINT(n) CIM_P_VMR_RECOVERYPOINT_##n

void proof_set_status(const struct host_providers *p, const struct vm *vm, struct cim_inst *in)
{
    struct host_proof f;

    cim_inst_set_uint(in, STATUS(MISMATCHES), vm->rel->bad_blocks);
    if (!p->h->proof || !p->h->proof(p->h->ctx, &vm->uuid, &f))
        return;
    cim_inst_set_time(in, STATUS(LASTVERIFIED), f.last);
    if (f.last.us)
        cim_inst_set_uint(in, STATUS(LASTVERIFIEDMISMATCHES), f.last_bad);
    cim_inst_set_time(in, STATUS(LASTSCRUBBED), f.scrubbed);
    if (f.running && rel_mode(vm->rel) == REL_MODE_PRIMARY)
        cim_inst_set_uint(in, STATUS(VERIFYPROGRESS), f.percent);
    cim_inst_set_bool(in, STATUS(VERIFYUNSUPPORTED), f.unsupported);
}

static const char *const hows[] = {
    [STORE_PROOF_NONE] = "none",
    [STORE_PROOF_DIGESTS] = "digests",
    [STORE_PROOF_PRIMARY] = "primary",
};

static const char *const quarantines[] = {
    [STORE_SOUND] = "none",
    [STORE_QUARANTINED] = "quarantined",
    [STORE_RELEASED] = "released",
    [STORE_REPAIRED] = "repaired",
};

void proof_set_point(const struct store_point *pt, struct cim_inst *in)
{
    const struct store_proof *f = &pt->proof;

    cim_inst_set_time(in, POINT(VERIFIED), f->verified);
    cim_inst_set_str(in, POINT(PROOF), hows[f->how]);
    cim_inst_set_str(in, POINT(QUARANTINE), quarantines[f->quarantine]);
    cim_inst_set_time(in, POINT(QUARANTINEDSINCE), f->since);
    cim_inst_set_uint(in, POINT(WRONGBLOCKS), f->quarantine == STORE_REPAIRED ? 0 : f->bad);
    cim_inst_set_time(in, POINT(TESTBOOTED), f->booted);
}

/* ---- methods ---- */
int status_verify(struct call *c, const struct vm *vm, struct vr_err *err)
{
    const struct host *h = c->p->h;
    const char *id = cim_args_str(c->args, "PointId");
    const struct store_point *pt = NULL, *all = NULL;
    struct vr_uuid job;

    if (rel_mode(vm->rel) != REL_MODE_REPLICA && id)
        return vr_fail(err, VR_E_STATE, 0,
                       "machine %s has no recovery points here: they are held on the replica",
                       vm->name);
    if (rel_mode(vm->rel) == REL_MODE_NONE)
        return vr_fail(err, VR_E_STATE, 0,
                       "machine %s is not replicated; first: vmreplica enable %s --to HOST",
                       vm->name, vm->name);
    if (rel_mode(vm->rel) == REL_MODE_REPLICA) {
        size_t n = vm_points(c->p, vm, &all);
        pt = id ? vm_point(c->p, vm, id) : store_newest_sound(all, n);
        if (!pt && !id)
            return vr_fail(
                err, VR_E_STATE, 0,
                "machine %s (\"%s\") has no recovery point that is taken without being named: see "
                "vmreplica points %s",
                vm->name, rel_state_text(vm->rel->st), vm->name);
        if (!pt)
            return vr_fail(err, VR_E_INVAL, 0, "\"%.80s\" is no recovery point of machine %s",
                           id ? id : "", vm->name);
    }
    if (h->verify(h->ctx, &vm->uuid, pt ? &pt->id : NULL, c->who->name, &job, err) < 0)
        return -1;
    call_job(c, &job);
    return 0;
}

int status_acknowledge(struct call *c, const struct vm *vm, struct vr_err *err)
{
    const struct host *h = c->p->h;
    struct vr_uuid job;

    if (!h->acknowledge)
        return call_unsupported(c, err);
    if (h->acknowledge(h->ctx, &vm->uuid, c->who->name, &job, err) < 0)
        return -1;
    call_job(c, &job);
    return 0;
}

int point_release(struct call *c, const struct vm *vm, const struct store_point *pt,
                  struct vr_err *err)
{
    const struct host *h = c->p->h;
    /* It is for good, and for a failover: not when that would be refused anyway. */
    struct rel_event ev = { .type = EV_U_FAILOVER, .point = pt->id };
    struct vr_uuid job;

    if (!h->release)
        return call_unsupported(c, err);
    if (pt->proof.quarantine != STORE_QUARANTINED)
        return 0;
    if (call_admit(c, vm, &ev, err) < 0)
        return vr_err_wrap(err, "the point stays quarantined");
    if (h->release(h->ctx, &vm->uuid, &pt->id, c->who->name, &job, err) < 0)
        return -1;
    call_job(c, &job);
    return 0;
}

int proof_offers(const struct vm *vm, const struct store_point *pt, struct vr_err *err)
{
    if (pt->proof.quarantine != STORE_QUARANTINED)
        return 0;
    return vr_fail(
        err, VR_E_STATE, 0,
        "this recovery point of machine %s is quarantined: %" PRIu64
        " blocks are not what the primary had; choose another one (vmreplica points %s), "
        "or insist on it: vmreplica failover %s --point ... --force",
        vm->name, pt->proof.bad, vm->name, vm->name);
}
