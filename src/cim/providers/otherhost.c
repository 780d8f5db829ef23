/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What Vmr_ReplicationStatus tells of the other host, and methods for when the two do not agree: a
 * reversal that waits, a machine that was failed over while it ran here. Control thread only. */
#include "cim/providers/prov.h"

#include <string.h>

#define P(n) CIM_P_VMR_REPLICATIONSTATUS_##n

static const char *const policies[ON_SUPERSEDED_COUNT] = {
    [ON_SUPERSEDED_HOST] = "host",
    [ON_SUPERSEDED_LEAVE] = "leave",
    [ON_SUPERSEDED_PAUSE] = "pause",
    [ON_SUPERSEDED_SHUTDOWN] = "shutdown",
};

static const char *power_text(enum rel_power power, enum host_answer answer)
{
    if (answer != HOST_ANSWERS)
        return answer == HOST_SENDS ? "sending" : "unreachable";
    return power == REL_POWER_ON ? "running" : power == REL_POWER_OFF ? "off" : "unknown";
}

void otherhost_set(const struct host_providers *p, const struct vm *vm, struct cim_inst *in)
{
    const struct host *h = p->h;
    const struct rel *r = vm->rel;
    struct rel_story story = { .mode = REL_MODE_NONE };
    struct wall_us when = { 0 };
    enum host_answer answer = HOST_ANSWERS;
    char id[PROV_ID_MAX];

    cim_inst_set_str(
        in, P(ONSUPERSEDED),
        policies[r->set.on_superseded < ON_SUPERSEDED_COUNT ? r->set.on_superseded : 0]);
    cim_inst_set_uint(in, P(LASTREVERSEDIVERGEDBYTES), r->last_back.dirty);
    cim_inst_set_uint(in, P(LASTREVERSEWRITTENBYTES), r->last_back.written);
    if (!r->last_back.compared) {
        cim_inst_set_uint(in, P(LASTREVERSEALONEBYTES), r->last_back.alone);
        cim_inst_set_uint(in, P(LASTREVERSEBETWEENBYTES), r->last_back.between);
    }
    cim_inst_set_bool(in, P(LASTREVERSECOMPARED), r->last_back.compared);
    cim_inst_set_uint(in, P(LASTREVERSEBYTES), r->way_back ? 0 : r->last_back.payload);
    cim_inst_set_uint(in, P(LASTREVERSEWIREBYTES), r->way_back ? 0 : r->last_back.wire);
    if (!vr_uuid_is_zero(&r->last_back.kept.lineage))
        cim_inst_set_str(in, P(LASTREVERSEORPHAN), id_point_text(id, &r->last_back.kept));
    if (!h->peer_story || rel_mode(r) == REL_MODE_NONE)
        return;
    bool known = h->peer_story(h->ctx, &vm->uuid, &story, &when, &answer);
    if (!known && answer == HOST_ANSWERS)
        return;
    cim_inst_set_str(in, P(PEERMACHINE), power_text(story.power, answer));
    cim_inst_set_time(in, P(PEERMACHINETIME), when);
}

/* ---- methods ---- */
static int target(struct call *c, struct vm *ret, struct vr_err *err)
{
    struct vr_uuid uuid;
    int n;

    if (!id_hvr_parse(cim_inst_str(c->target, P(INSTANCEID)), &uuid, &n) ||
        !vm_find(c->p, &uuid, ret))
        return vr_fail(err, VR_E_UNAVAIL, 0, "the machine is gone");
    return 0;
}

static int request(struct call *c, enum rel_event_type type, struct vr_err *err)
{
    struct rel_event ev = { .type = type };
    struct vm vm;

    if (target(c, &vm, err) < 0)
        return -1;
    return call_admit_request(c, &vm, &ev, JOB_STATE_CHANGE, err);
}

int otherhost_withdraw(struct call *c, struct vr_err *err)
{
    return request(c, EV_U_WITHDRAW, err);
}

int otherhost_allow_start(struct call *c, struct vr_err *err)
{
    return request(c, EV_U_ALLOW_START, err);
}

/* What is left of a replication that is over is nobody's: the host looks for it. */
int otherhost_abandon(struct call *c, struct vr_err *err)
{
    const struct host *h = c->p->h;
    struct rel_event ev = { .type = EV_U_ABANDON };
    struct vr_uuid job;
    struct vm vm;

    if (target(c, &vm, err) < 0)
        return -1;
    if (rel_mode(vm.rel) != REL_MODE_NONE)
        return call_admit_request(c, &vm, &ev, JOB_REMOVE, err);
    if (!h->abandon)
        return call_unsupported(c, err);
    if (h->abandon(h->ctx, &vm.uuid, c->who->name, &job, err) < 0)
        return -1;
    call_job(c, &job);
    return 0;
}

int otherhost_ask(struct call *c, struct vr_err *err)
{
    const struct host *h = c->p->h;
    struct vr_uuid job;
    struct vm vm;

    if (target(c, &vm, err) < 0)
        return -1;
    if (!h->ask_peer)
        return call_unsupported(c, err);
    if (rel_mode(vm.rel) == REL_MODE_NONE || !vm.rel->peer[0])
        return vr_fail(err, VR_E_STATE, 0, "machine %s is not replicated with any host", vm.name);
    if (h->ask_peer(h->ctx, &vm.uuid, c->who->name, &job, err) < 0)
        return -1;
    call_job(c, &job);
    return 0;
}

int otherhost_policy(struct call *c, const char *text, struct vr_err *err)
{
    struct rel_event ev = { .type = EV_U_MODIFY };
    struct vr_uuid job;
    struct vm vm;
    uint16_t i = 0;

    while (i < ON_SUPERSEDED_COUNT && (!text || strcmp(policies[i], text) != 0))
        i++;
    if (i == ON_SUPERSEDED_COUNT)
        return vr_fail(err, VR_E_INVAL, 0,
                       "OnSuperseded must be host, leave, pause or shutdown, not '%.40s'",
                       text ? text : "");
    if (target(c, &vm, err) < 0 || call_admit(c, &vm, &ev, err) < 0)
        return -1;
    ev.set = vm.rel->set;
    ev.set.on_superseded = i;
    return engine_request(c->p->h->engine, &vm.uuid, &ev, JOB_MODIFY, c->who->name, &job, err);
}

int otherhost_set_policy(struct call *c, struct vr_err *err)
{
    return otherhost_policy(c, cim_args_str(c->args, "Policy"), err);
}
