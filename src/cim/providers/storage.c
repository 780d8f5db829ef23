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

static bool emit_disks(const struct host_providers *p, const struct vm *vm, struct cim_sink *sink)
{
    for (size_t i = 0; vm->hv && i < vm->hv->n_disks; i++) {
        const struct hv_disk *d = &vm->hv->disks[i];
        struct cim_inst *in = cim_inst_new(CIM_C_MSVM_STORAGEALLOCATIONSETTINGDATA);
        vr_autofree char *drive = path_text(p, path_disk(vm, d->target, 'D'));
        char id[PROV_ID_MAX];
        cim_inst_set_str(in, D(INSTANCEID), id_disk(id, vm->guid, d->target, 'L'));
        cim_inst_set_str(in, D(ELEMENTNAME), "Hard Disk Image");
        cim_inst_set_uint(in, D(RESOURCETYPE), TYPE_LOGICAL_DISK);
        /* Only what can be replicated is a virtual hard disk to clients. */
        cim_inst_set_str(in, D(RESOURCESUBTYPE),
                         d->replicable ? "Microsoft:Hyper-V:Virtual Hard Disk"
                         : d->left_out ? "Microsoft:Hyper-V:Virtual CD/DVD Disk"
                                       : "Microsoft:Hyper-V:Physical Disk Drive");
        if (d->path)
            cim_inst_add_str(in, D(HOSTRESOURCE), d->path);
        cim_inst_set_str(in, D(PARENT), drive);
        cim_inst_set_str(in, D(ADDRESS), d->target);
        cim_inst_set_str(in, D(ADDRESSONPARENT), d->target);
        cim_inst_set_uint(in, D(VIRTUALQUANTITY), d->size / SECTOR);
        cim_inst_set_uint(in, D(VIRTUALRESOURCEBLOCKSIZE), SECTOR);
        cim_inst_set_uint(in, D(ACCESS), 3);
        cim_inst_set_bool(in, D(AUTOMATICALLOCATION), true);
        cim_inst_set_bool(in, D(AUTOMATICDEALLOCATION), true);
        if (!cim_emit(sink, in))
            return false;
    }
    return true;
}

static bool emit_drives(const struct host_providers *p, const struct vm *vm, struct cim_sink *sink)
{
    for (size_t i = 0; vm->hv && i < vm->hv->n_disks; i++) {
        const struct hv_disk *d = &vm->hv->disks[i];
        struct cim_inst *in = cim_inst_new(CIM_C_MSVM_RESOURCEALLOCATIONSETTINGDATA);
        char id[PROV_ID_MAX];
        cim_inst_set_str(in, R(INSTANCEID), id_disk(id, vm->guid, d->target, 'D'));
        cim_inst_set_str(in, R(ELEMENTNAME), "Hard Drive");
        cim_inst_set_uint(in, R(RESOURCETYPE), TYPE_DISK_DRIVE);
        cim_inst_set_str(in, R(RESOURCESUBTYPE), "Microsoft:Hyper-V:Synthetic Disk Drive");
        cim_inst_set_str(in, R(ADDRESSONPARENT), d->target);
        cim_inst_set_uint(in, R(VIRTUALQUANTITY), 1);
        cim_inst_add_str(in, R(VIRTUALSYSTEMIDENTIFIERS), vm->guid);
        if (!cim_emit(sink, in))
            return false;
    }
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
