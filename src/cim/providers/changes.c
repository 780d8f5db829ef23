/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which instances change when a relationship, a job or a machine does, for whoever subscribed to
 * events. Control thread only. */
#include "cim/providers/prov.h"
#include "cim/watch.h"

static void relationship_changed(struct host_providers *p, const struct vr_uuid *machine)
{
    char guid[VR_UUID_STR], id[PROV_ID_MAX];

    vr_uuid_fmt_upper(machine, guid);
    cim_changed(p->server, CIM_C_MSVM_COMPUTERSYSTEM, guid);
    for (int n = 0; n < 2; n++)
        cim_changed(p->server, CIM_C_MSVM_REPLICATIONRELATIONSHIP, id_hvr(id, guid, n));
    cim_changed(p->server, CIM_C_VMR_REPLICATIONSTATUS, id_hvr(id, guid, 0));
}

void host_providers_changed(struct host_providers *p, const struct vr_uuid *machine,
                            const struct job *job)
{
    char id[VR_UUID_STR];

    if (machine)
        relationship_changed(p, machine);
    if (!job)
        return;
    struct vr_uuid child = job_child_id(&job->id);
    cim_changed(p->server, CIM_C_MSVM_CONCRETEJOB, vr_uuid_fmt_upper(&job->id, id));
    if (job->type == JOB_START_IR || job->type == JOB_START_SEEDED)
        cim_changed(p->server, CIM_C_MSVM_CONCRETEJOB, vr_uuid_fmt_upper(&child, id));
}

void host_providers_jobs_removed(struct host_providers *p)
{
    cim_moved(p->server);
}

void host_providers_machines_changed(struct host_providers *p, bool moved)
{
    static const enum cim_class_id classes[] = { CIM_C_MSVM_COMPUTERSYSTEM,
                                                 CIM_C_MSVM_REPLICATIONRELATIONSHIP,
                                                 CIM_C_VMR_REPLICATIONSTATUS };

    if (moved)
        cim_moved(p->server);
    for (size_t i = 0; i < VR_ARRAY_LEN(classes); i++)
        cim_changed_all(p->server, classes[i]);
}
