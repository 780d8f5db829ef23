/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The disks of machines: a drive and the virtual disk in it for each. Control thread only.
 * src:[contract.md A.11] */
#include "cim/providers/prov.h"

#include <stdlib.h>

#include "base/alloc.h"

#define D(n) CIM_P_MSVM_STORAGEALLOCATIONSETTINGDATA_##n
#define R(n) CIM_P_MSVM_RESOURCEALLOCATIONSETTINGDATA_##n
#define TYPE_LOGICAL_DISK 31
#define TYPE_DISK_DRIVE 17
#define SECTOR 512
#define VIRTUAL_DISK "Microsoft:Hyper-V:Virtual Hard Disk"

/* One virtual disk; @sub_type, @size and @path (may be NULL) say what there is to say. */
static struct cim_inst *make_disk(const struct host_providers *p, const char *id,
                                  struct cim_path *take_drive, const char *target,
                                  const char *sub_type, uint64_t size, const char *path)
{
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_STORAGEALLOCATIONSETTINGDATA);
    vr_autofree char *drive = path_text(p, take_drive);

    cim_inst_set_str(in, D(INSTANCEID), id);
    cim_inst_set_str(in, D(ELEMENTNAME), "Hard Disk Image");
    cim_inst_set_uint(in, D(RESOURCETYPE), TYPE_LOGICAL_DISK);
    cim_inst_set_str(in, D(RESOURCESUBTYPE), sub_type);
    if (path)
        cim_inst_add_str(in, D(HOSTRESOURCE), path);
    cim_inst_set_str(in, D(PARENT), drive);
    cim_inst_set_str(in, D(ADDRESS), target);
    cim_inst_set_str(in, D(ADDRESSONPARENT), target);
    cim_inst_set_uint(in, D(VIRTUALQUANTITY), size / SECTOR);
    cim_inst_set_uint(in, D(VIRTUALRESOURCEBLOCKSIZE), SECTOR);
    cim_inst_set_uint(in, D(ACCESS), 3);
    cim_inst_set_bool(in, D(AUTOMATICALLOCATION), true);
    cim_inst_set_bool(in, D(AUTOMATICDEALLOCATION), true);
    return in;
}

static struct cim_inst *make_drive(const char *id, const char *target, const char *guid)
{
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_RESOURCEALLOCATIONSETTINGDATA);

    cim_inst_set_str(in, R(INSTANCEID), id);
    cim_inst_set_str(in, R(ELEMENTNAME), "Hard Drive");
    cim_inst_set_uint(in, R(RESOURCETYPE), TYPE_DISK_DRIVE);
    cim_inst_set_str(in, R(RESOURCESUBTYPE), "Microsoft:Hyper-V:Synthetic Disk Drive");
    cim_inst_set_str(in, R(ADDRESSONPARENT), target);
    cim_inst_set_uint(in, R(VIRTUALQUANTITY), 1);
    cim_inst_add_str(in, R(VIRTUALSYSTEMIDENTIFIERS), guid);
    return in;
}

/* Only what can be replicated is a virtual hard disk to clients. */
static const char *sub_type_of(const struct hv_disk *d)
{
    return d->replicable ? VIRTUAL_DISK
           : d->left_out ? "Microsoft:Hyper-V:Virtual CD/DVD Disk"
                         : "Microsoft:Hyper-V:Physical Disk Drive";
}

/* Those of the settings in force, then those that each recovery point holds. Which file that is
 * changes as points are merged: HostResource is NULL. */
static bool emit_disks(const struct host_providers *p, const struct vm *vm, struct cim_sink *sink)
{
    const struct store_point *v;
    size_t n = vm_points(p, vm, &v);
    char id[PROV_ID_MAX], target[VR_TARGET_MAX];
    uint64_t size;

    for (size_t i = 0; vm->hv && i < vm->hv->n_disks; i++) {
        const struct hv_disk *d = &vm->hv->disks[i];
        if (!cim_emit(sink, make_disk(p, id_disk(id, vm->guid, d->target, 'L'),
                                      path_disk(vm, d->target, 'D'), d->target, sub_type_of(d),
                                      d->size, d->path)))
            return false;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; vm_point_disk(vm, &v[i], k, target, &size); k++)
            if (!cim_emit(sink, make_disk(p, id_point_disk(id, &v[i].id, target, 'L'),
                                          path_point_disk(&v[i].id, target, 'D'), target,
                                          VIRTUAL_DISK, size, NULL)))
                return false;
    return true;
}

static bool emit_drives(const struct host_providers *p, const struct vm *vm, struct cim_sink *sink)
{
    const struct store_point *v;
    size_t n = vm_points(p, vm, &v);
    char id[PROV_ID_MAX], target[VR_TARGET_MAX];
    uint64_t size;

    for (size_t i = 0; vm->hv && i < vm->hv->n_disks; i++) {
        const char *own = vm->hv->disks[i].target;
        if (!cim_emit(sink, make_drive(id_disk(id, vm->guid, own, 'D'), own, vm->guid)))
            return false;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; vm_point_disk(vm, &v[i], k, target, &size); k++)
            if (!cim_emit(sink,
                          make_drive(id_point_disk(id, &v[i].id, target, 'D'), target, vm->guid)))
                return false;
    return true;
}

static enum cim_status enum_disks(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                  struct vr_err *err)
{
    return each_vm(ctx, sink, emit_disks);
}

static enum cim_status enum_drives(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                   struct vr_err *err)
{
    return each_vm(ctx, sink, emit_drives);
}

static enum cim_status get_disk(void *ctx, const struct cim_caller *who,
                                const struct cim_path *path, struct cim_inst **ret,
                                struct vr_err *err)
{
    return get_vm(ctx, path, emit_disks, ret, err);
}

static enum cim_status get_drive(void *ctx, const struct cim_caller *who,
                                 const struct cim_path *path, struct cim_inst **ret,
                                 struct vr_err *err)
{
    return get_vm(ctx, path, emit_drives, ret, err);
}

void prov_register_storage(struct cim_server *s, struct host_providers *p)
{
    cim_server_register(s, &(struct cim_provider){ .cls = CIM_C_MSVM_STORAGEALLOCATIONSETTINGDATA,
                                                   .ctx = p,
                                                   .enumerate = enum_disks,
                                                   .get = get_disk });
    cim_server_register(s, &(struct cim_provider){ .cls = CIM_C_MSVM_RESOURCEALLOCATIONSETTINGDATA,
                                                   .ctx = p,
                                                   .enumerate = enum_drives,
                                                   .get = get_drive });
}
