/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Msvm_VirtualSystemSettingData: the settings in force of each machine and the recovery points of
 * replicas. Control thread only. src:[contract.md A.10] */
#include "cim/providers/prov.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"

#define P(n) CIM_P_MSVM_VIRTUALSYSTEMSETTINGDATA_##n

/* Generation 1 of machines has a BIOS, generation 2 has UEFI. */
const char *vm_sub_type(const struct vm *vm)
{
    return vm->hv->uefi ? "Microsoft:Hyper-V:SubType:2" : "Microsoft:Hyper-V:SubType:1";
}

static const char *const point_types[] = {
    [VR_POINT_NONE] = "Microsoft:Hyper-V:Snapshot:Replica:Standard",
    [VR_POINT_STANDARD] = "Microsoft:Hyper-V:Snapshot:Replica:Standard",
    [VR_POINT_APPLICATION] = "Microsoft:Hyper-V:Snapshot:Replica:ApplicationConsistent",
    [VR_POINT_PLANNED] = "Microsoft:Hyper-V:Snapshot:Replica:PlannedFailover",
    /* An ordinary snapshot of what this host had: scripts that take the newest replica point must
     * not find it. design: */
    [VR_POINT_ORPHAN] = "Microsoft:Hyper-V:Snapshot:Realized",
};

static struct cim_inst *make(const struct vm *vm, const char *id, const char *name,
                             const char *type)
{
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_VIRTUALSYSTEMSETTINGDATA);

    cim_inst_set_str(in, P(INSTANCEID), id);
    cim_inst_set_str(in, P(ELEMENTNAME), name);
    cim_inst_set_str(in, P(VIRTUALSYSTEMIDENTIFIER), vm->guid);
    cim_inst_set_str(in, P(VIRTUALSYSTEMTYPE), type);
    /* What follows "Microsoft:" */
    cim_inst_set_str(in, P(CONFIGURATIONID), strchr(id, ':') + 1);
    cim_inst_set_bool(in, P(ISSAVED), false);
    return in;
}

/* BootOrder of machines with a BIOS; which disk "disk" is says the first one.
 * src:[schema.json BootOrder] */
static void set_boot(const struct hv_machine *hv, struct cim_inst *in)
{
    struct disk_slot slot = { .bus = DISK_BUS_SCSI };

    if (hv->n_disks)
        disk_slot(hv->disks[0].target, &slot);
    for (size_t i = 0; i < HV_BOOT_MAX && hv->boot[i]; i++) {
        static const uint8_t as[] = {
            [HV_BOOT_FLOPPY] = 0, [HV_BOOT_CDROM] = 1, [HV_BOOT_NETWORK] = 3, [HV_BOOT_DISK] = 2
        };
        bool scsi = hv->boot[i] == HV_BOOT_DISK && slot.bus == DISK_BUS_SCSI;
        cim_inst_add_uint(in, P(BOOTORDER), scsi ? 4 : as[hv->boot[i]]);
    }
}

/* A file as clients have it: the folder and what is in it. */
static void set_file(struct cim_inst *in, int folder, int file, const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;

    if (!slash)
        return;
    vr_autofree char *dir = vr_strndup(path, slash > path ? (size_t)(slash - path) : 1);
    cim_inst_set_str(in, folder, dir);
    cim_inst_set_str(in, file, slash + 1);
}

/* What the hypervisor knows of it. */
static void set_platform(const struct vm *vm, struct cim_inst *in)
{
    const struct hv_machine *hv = vm->hv;

    cim_inst_set_bool(in, P(ISSAVED), hv->saved);
    cim_inst_set_str(in, P(VIRTUALSYSTEMSUBTYPE), vm_sub_type(vm));
    cim_inst_set_bool(in, P(VIRTUALNUMAENABLED), hv->numa_nodes > 1);
    cim_inst_set_uint(in, P(AUTOMATICSTARTUPACTION), hv->autostart ? 4 : 2);
    cim_inst_set_uint(in, P(AUTOMATICRECOVERYACTION), hv->restarts ? 3 : 2);
    cim_inst_set_strf(in, P(BIOSGUID), "{%s}", vm->guid);
    set_file(in, P(CONFIGURATIONDATAROOT), P(CONFIGURATIONFILE), hv->definition);
    set_file(in, P(GUESTSTATEDATAROOT), P(GUESTSTATEFILE), hv->nvram);
    if (*hv->hardware)
        cim_inst_set_str(in, P(VERSION), hv->hardware);
    if (hv->uefi)
        cim_inst_set_bool(in, P(SECUREBOOTENABLED), hv->secure_boot);
    set_boot(hv, in);
    if (hv->notes)
        cim_inst_add_str(in, P(NOTES), hv->notes);
}

static bool emit_realized(const struct vm *vm, struct cim_sink *sink)
{
    char id[PROV_ID_MAX];

    snprintf(id, sizeof id, "Microsoft:%s", vm->guid);
    struct cim_inst *in = make(vm, id, vm->name, "Microsoft:Hyper-V:System:Realized");
    if (vm->hv)
        set_platform(vm, in);
    return cim_emit(sink, in);
}

/* What an orphan shows is younger than the last point that the other host received. */
static struct wall_us made_at(const struct store_point *pt)
{
    return pt->written.us ? pt->written : pt->instant;
}

static void point_name(const struct vm *vm, const struct store_point *pt, char *out, size_t size)
{
    time_t t = (time_t)(made_at(pt).us / 1000000);
    char when[64] = "";
    struct tm tm;

    if (localtime_r(&t, &tm))
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    snprintf(out, size, "%s - (%s)", vm->name, when);
}

struct cim_inst *point_inst(const struct host_providers *p, const struct vm *vm,
                            const struct store_point *pt, const struct store_point *parent)
{
    char id[PROV_ID_MAX], text[PROV_ID_MAX], name[VR_NAME_MAX + 80];

    point_name(vm, pt, name, sizeof name);
    struct cim_inst *in = make(vm, id_point(id, &pt->id), name,
                               point_types[pt->kind < VR_ARRAY_LEN(point_types) ? pt->kind : 0]);
    cim_inst_set_time(in, P(CREATIONTIME), made_at(pt));
    cim_inst_add_str(in, P(NOTES), id_point_text(text, &pt->id));
    if (parent) {
        vr_autofree char *path = path_text(p, path_point(&parent->id));
        cim_inst_set_str(in, P(PARENT), path);
    }
    return in;
}

static bool emit_machine(const struct host_providers *p, const struct vm *vm, struct cim_sink *sink)
{
    const struct store_point *v;
    size_t n = vm_points(p, vm, &v);

    if (!emit_realized(vm, sink))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!cim_emit(sink, point_inst(p, vm, &v[i], i ? &v[i - 1] : NULL)))
            return false;
    return true;
}

static enum cim_status enumerate(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                 struct vr_err *err)
{
    return each_vm(ctx, sink, emit_machine);
}

static enum cim_status get(void *ctx, const struct cim_caller *who, const struct cim_path *path,
                           struct cim_inst **ret, struct vr_err *err)
{
    return get_vm(ctx, path, emit_machine, ret, err);
}

void prov_register_vssd(struct cim_server *s, struct host_providers *p)
{
    cim_server_register(s, &(struct cim_provider){ .cls = CIM_C_MSVM_VIRTUALSYSTEMSETTINGDATA,
                                                   .ctx = p,
                                                   .enumerate = enumerate,
                                                   .get = get });
}
