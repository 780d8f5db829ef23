/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What paired hosts may do here. By its certificate such a host is an operator; it acts on machines
 * that are replicated with itself and on nothing else, so that a host that was broken into reaches
 * no further than what it could reach by replicating. Control thread only. Invariant: what cannot
 * be told to concern such a machine is refused. */
#include "cim/providers/prov.h"

#include <string.h>
#include <strings.h>

#include "base/alloc.h"

#define HOST_PREFIX "host:"

/* The host's name; NULL: the caller is no paired host. This host's own certificate is an
 * administrator's. */
static const char *paired_host(const struct cim_caller *who)
{
    if (who->role >= CIM_ROLE_ADMIN || !who->name ||
        strncmp(who->name, HOST_PREFIX, strlen(HOST_PREFIX)) != 0)
        return NULL;
    return who->name + strlen(HOST_PREFIX);
}

int paired_may_use(const struct cim_caller *who, const char *peer, const char *what,
                   struct vr_err *err)
{
    const char *host = paired_host(who);

    if (!host || (*peer && !strcasecmp(host, peer)))
        return 0;
    return vr_fail(err, VR_E_DENIED, 0,
                   "host %.100s acts with its certificate on machines that are replicated with it "
                   "only; %.100s is not. Log in as an operator for it",
                   host, what);
}

int paired_may_act(const struct host_providers *p, const struct cim_caller *who,
                   const struct vr_uuid *machine, struct vr_err *err)
{
    const struct host_test *t = vm_as_test(p, machine);
    struct vm vm;
    bool found = vm_find(p, t ? &t->machine : machine, &vm);

    return paired_may_use(who, found && vm.rel->st != ST_NONE ? vm.rel->peer : "",
                          found ? vm.name : "this", err);
}

static int may_act_on(const struct call *c, const struct cim_path *path, struct vr_err *err)
{
    struct vr_uuid id;
    struct vm vm;

    if (id_of_path(path, &id) && vm_as_test(c->p, &id))
        return paired_may_act(c->p, c->who, &id, err);
    if (vm_of_path(c->p, path, &vm))
        return paired_may_act(c->p, c->who, &vm.uuid, err);
    return paired_may_use(c->who, "", path->cls, err);
}

/* Classes whose instances have an identifier of their own name their machine besides. */
static int may_act_on_target(const struct call *c, struct vr_err *err)
{
    int prop = cim_class_prop(c->target->cls, "MachineIdentifier");
    const char *id = prop >= 0 ? cim_inst_str(c->target, prop) : NULL;
    struct vr_uuid machine;

    if (id && vr_uuid_parse(id, &machine, NULL) == 0)
        return paired_may_act(c->p, c->who, &machine, err);
    vr_auto(cim_path_free) struct cim_path *path = cim_inst_path(c->target);
    return may_act_on(c, path, err);
}

int paired_may_call(const struct call *c, struct vr_err *err)
{
    const struct cim_method *m = c->args->method;
    bool named = false;

    if (!paired_host(c->who))
        return 0;
    for (size_t i = 0; i < m->n_params; i++) {
        const struct cim_value *v = &c->args->v[i];
        if (m->params[i].type != CIM_REFERENCE || !(m->params[i].flags & CIM_F_IN))
            continue;
        for (size_t k = 0; k < v->n; k++) {
            if (may_act_on(c, cim_value_at(v, k)->ref, err) < 0)
                return -1;
            named = true;
        }
    }
    return named ? 0 : may_act_on_target(c, err);
}
