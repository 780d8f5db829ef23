/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The disks of machines: controllers, a drive and the virtual disk in it for each. Control thread
 * only. src:[contract.md A.11] */
#include "cim/providers/prov.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define D(n) CIM_P_MSVM_STORAGEALLOCATIONSETTINGDATA_##n
#define R(n) CIM_P_MSVM_RESOURCEALLOCATIONSETTINGDATA_##n
#define TYPE_LOGICAL_DISK 31
#define TYPE_DISK_DRIVE 17
#define SECTOR 512
#define VIRTUAL_DISK "Microsoft:Hyper-V:Virtual Hard Disk"

/* ---- places --------------------------------------------------------------------------------- */

/* The beginnings of targets that libvirt knows, and which controller of their kind each is. Two
 * disks to a controller: IDE; else all are on one. */
static const struct {
    const char *prefix;
    enum disk_bus bus;
    unsigned number, places;
} buses[] = {
    { "hd", DISK_BUS_IDE, 0, 2 },  { "fd", DISK_BUS_FLOPPY, 0, 0 }, { "vd", DISK_BUS_SCSI, 0, 0 },
    { "sd", DISK_BUS_SCSI, 1, 0 }, { "xvd", DISK_BUS_SCSI, 2, 0 },  { "ubd", DISK_BUS_SCSI, 3, 0 },
};

/* "a" is 0, "z" 25, "aa" 26. */
static unsigned place_of(const char *letters)
{
    unsigned n = 0;

    for (; *letters >= 'a' && *letters <= 'z' && n < 100000; letters++)
        n = n * 26 + (unsigned)(*letters - 'a') + 1;
    return n ? n - 1 : 0;
}

void disk_slot(const char *target, struct disk_slot *ret)
{
    struct disk_slot s = { .bus = DISK_BUS_SCSI, .number = VR_ARRAY_LEN(buses) - 2 };
    unsigned on = 0;
    size_t named = strlen(target);

    for (size_t i = 0; i < VR_ARRAY_LEN(buses); i++) {
        size_t n = strlen(buses[i].prefix);
        if (strncmp(target, buses[i].prefix, n) != 0 || !target[n])
            continue;
        named = n;
        s.bus = buses[i].bus;
        s.number = buses[i].number;
        s.place = place_of(target + n);
        if (buses[i].places) {
            s.number = on = s.place / buses[i].places;
            s.place %= buses[i].places;
        }
        break;
    }
    snprintf(s.controller, sizeof s.controller, "%.*s%u", (int)named, target, on);
    *ret = s;
}

bool vm_kth_disk(const struct vm *vm, const struct store_point *pt, size_t k,
                 char target[VR_TARGET_MAX], uint64_t *ret_size)
{
    uint64_t size;

    if (pt)
        return vm_point_disk(vm, pt, k, target, ret_size ? ret_size : &size);
    if (!vm->hv || k >= vm->hv->n_disks)
        return false;
    snprintf(target, VR_TARGET_MAX, "%s", vm->hv->disks[k].target);
    if (ret_size)
        *ret_size = vm->hv->disks[k].size;
    return true;
}

bool vm_first_on(const struct vm *vm, const struct store_point *pt, size_t k,
                 const struct disk_slot *slot)
{
    char target[VR_TARGET_MAX];
    struct disk_slot other;

    for (size_t i = 0; i < k && vm_kth_disk(vm, pt, i, target, NULL); i++) {
        disk_slot(target, &other);
        if (!strcmp(other.controller, slot->controller))
            return false;
    }
    return true;
}

struct cim_path *path_of_disk(const struct vm *vm, const struct store_point *pt, const char *name,
                              char kind)
{
    return pt ? path_point_disk(&pt->id, name, kind) : path_disk(vm, name, kind);
}

static char *id_of_disk(char out[PROV_ID_MAX], const struct vm *vm, const struct store_point *pt,
                        const char *name, char kind)
{
    return pt ? id_point_disk(out, &pt->id, name, kind) : id_disk(out, vm->guid, name, kind);
}

/* ---- disks ---------------------------------------------------------------------------------- */

/* Only what can be replicated is a virtual hard disk to clients. */
static const char *sub_type_of(const struct hv_disk *d)
{
    return d->replicable ? VIRTUAL_DISK
           : d->left_out ? "Microsoft:Hyper-V:Virtual CD/DVD Disk"
                         : "Microsoft:Hyper-V:Physical Disk Drive";
}

/* One virtual disk. Which file that of a recovery point is changes as points are merged:
 * HostResource is NULL. */
static struct cim_inst *make_disk(const struct host_providers *p, const struct vm *vm,
                                  const struct store_point *pt, size_t k, const char *target,
                                  uint64_t size)
{
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_STORAGEALLOCATIONSETTINGDATA);
    vr_autofree char *drive = path_text(p, path_of_disk(vm, pt, target, 'D'));
    const struct hv_disk *d = pt ? NULL : &vm->hv->disks[k];
    char id[PROV_ID_MAX];

    cim_inst_set_str(in, D(INSTANCEID), id_of_disk(id, vm, pt, target, 'L'));
    cim_inst_set_str(in, D(ELEMENTNAME), "Hard Disk Image");
    cim_inst_set_uint(in, D(RESOURCETYPE), TYPE_LOGICAL_DISK);
    cim_inst_set_str(in, D(RESOURCESUBTYPE), d ? sub_type_of(d) : VIRTUAL_DISK);
    if (d && d->path)
        cim_inst_add_str(in, D(HOSTRESOURCE), d->path);
    cim_inst_set_str(in, D(PARENT), drive);
    cim_inst_set_str(in, D(ADDRESS), "0"); /* the only one in its drive */
    cim_inst_set_str(in, D(ADDRESSONPARENT), "0");
    cim_inst_set_uint(in, D(VIRTUALQUANTITY), size / SECTOR);
    cim_inst_set_uint(in, D(VIRTUALRESOURCEBLOCKSIZE), SECTOR);
    cim_inst_set_uint(in, D(ACCESS), 3);
    cim_inst_set_bool(in, D(AUTOMATICALLOCATION), true);
    cim_inst_set_bool(in, D(AUTOMATICDEALLOCATION), true);
    return in;
}

static struct cim_inst *make_drive(const struct host_providers *p, const struct vm *vm,
                                   const struct store_point *pt, const char *target,
                                   const struct disk_slot *slot)
{
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_RESOURCEALLOCATIONSETTINGDATA);
    vr_autofree char *controller = path_text(p, path_of_disk(vm, pt, slot->controller, 'C'));
    char id[PROV_ID_MAX];

    cim_inst_set_str(in, R(INSTANCEID), id_of_disk(id, vm, pt, target, 'D'));
    cim_inst_set_str(in, R(ELEMENTNAME), "Hard Drive");
    cim_inst_set_uint(in, R(RESOURCETYPE), TYPE_DISK_DRIVE);
    cim_inst_set_str(in, R(RESOURCESUBTYPE), "Microsoft:Hyper-V:Synthetic Disk Drive");
    cim_inst_set_str(in, R(PARENT), controller);
    cim_inst_set_strf(in, R(ADDRESS), "%u", slot->place);
    cim_inst_set_strf(in, R(ADDRESSONPARENT), "%u", slot->place);
    cim_inst_set_uint(in, R(VIRTUALQUANTITY), 1);
    cim_inst_add_str(in, R(VIRTUALSYSTEMIDENTIFIERS), vm->guid);
    return in;
}

static struct cim_inst *make_controller(const struct vm *vm, const struct store_point *pt,
                                        const struct disk_slot *slot)
{
    static const struct {
        unsigned type;
        const char *name, *sub_type;
    } kinds[] = {
        [DISK_BUS_IDE] = { 5, "IDE Controller", "Microsoft:Hyper-V:Emulated IDE Controller" },
        [DISK_BUS_SCSI] = { 6, "SCSI Controller", "Microsoft:Hyper-V:Synthetic SCSI Controller" },
        [DISK_BUS_FLOPPY] = { 1, "Diskette Controller",
                              "Microsoft:Hyper-V:Emulated Diskette Controller" },
    };
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_RESOURCEALLOCATIONSETTINGDATA);
    char id[PROV_ID_MAX];

    cim_inst_set_str(in, R(INSTANCEID), id_of_disk(id, vm, pt, slot->controller, 'C'));
    cim_inst_set_strf(in, R(ELEMENTNAME), "%s %u", kinds[slot->bus].name, slot->number);
    cim_inst_set_uint(in, R(RESOURCETYPE), kinds[slot->bus].type);
    cim_inst_set_str(in, R(RESOURCESUBTYPE), kinds[slot->bus].sub_type);
    cim_inst_set_strf(in, R(ADDRESS), "%u", slot->number);
    cim_inst_set_uint(in, R(VIRTUALQUANTITY), 1);
    cim_inst_add_str(in, R(VIRTUALSYSTEMIDENTIFIERS), vm->guid);
    return in;
}

/* Those of the settings in force (@pt NULL) or of a recovery point. */
static bool emit_disks_of(const struct host_providers *p, const struct vm *vm,
                          const struct store_point *pt, struct cim_sink *sink)
{
    char target[VR_TARGET_MAX];
    uint64_t size;

    for (size_t k = 0; vm_kth_disk(vm, pt, k, target, &size); k++)
        if (!cim_emit(sink, make_disk(p, vm, pt, k, target, size)))
            return false;
    return true;
}

static bool emit_drives_of(const struct host_providers *p, const struct vm *vm,
                           const struct store_point *pt, struct cim_sink *sink)
{
    char target[VR_TARGET_MAX];
    struct disk_slot slot;

    for (size_t k = 0; vm_kth_disk(vm, pt, k, target, NULL); k++) {
        disk_slot(target, &slot);
        if (vm_first_on(vm, pt, k, &slot) && !cim_emit(sink, make_controller(vm, pt, &slot)))
            return false;
        if (!cim_emit(sink, make_drive(p, vm, pt, target, &slot)))
            return false;
    }
    return true;
}

typedef bool (*emit_fn)(const struct host_providers *p, const struct vm *vm,
                        const struct store_point *pt, struct cim_sink *sink);

static bool now_and_points(const struct host_providers *p, const struct vm *vm,
                           struct cim_sink *sink, emit_fn emit)
{
    const struct store_point *v;
    size_t n = vm_points(p, vm, &v);

    if (!emit(p, vm, NULL, sink))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!emit(p, vm, &v[i], sink))
            return false;
    return true;
}

static bool emit_disks(const struct host_providers *p, const struct vm *vm, struct cim_sink *sink)
{
    return now_and_points(p, vm, sink, emit_disks_of);
}

static bool emit_drives(const struct host_providers *p, const struct vm *vm, struct cim_sink *sink)
{
    return now_and_points(p, vm, sink, emit_drives_of);
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
