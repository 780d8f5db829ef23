/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_HYPERVISOR_DOMXML_H
#define VR_HYPERVISOR_DOMXML_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "hv.h"

/* Reading and editing libvirt's domain documents. Pure: strings in, strings out.
 * Documents may come from a peer: at most DOMXML_MAX bytes, no document type declaration. */
enum { DOMXML_MAX = 1 << 20 };

/* domxml_parse() - what the document says about a machine: identity, memory, disks, cards.
 * Of a disk: target, path, format, replicable, note; size stays 0 and trackable says only that the
 * format could keep bitmaps. Power is not in the document.
 * Errors: VR_E_INVAL (not a domain, a field missing), VR_E_LIMIT (too many disks, too long names).
 * Ownership: hv_machine_done(). Thread: any. Source: libvirt formatdomain. */
int domxml_parse(const char *xml, struct hv_machine *ret, struct vr_err *err);

/* domxml_owner() - user and group of the running QEMU, from the live document's DAC label.
 * Errors: VR_E_NOTFOUND if there is no such label. */
int domxml_owner(const char *xml, uid_t *ret_uid, gid_t *ret_gid, struct vr_err *err);

/* domxml_backing() - the file that @xml says lies @depth levels (1 is directly) below the image of
 * disk @target; *ret is NULL if it says that there is none. Caller frees *ret.
 * Returns: 1 if the document says so, 0 if it leaves that to the image, -1 on error. */
int domxml_backing(const char *xml, const char *target, int depth, char **ret, struct vr_err *err);

/* domxml_replica() - the definition of a replica made of @xml; arguments as hv_define_replica().
 * Every target of @paths with a path must be a disk of @xml (VR_E_NOTFOUND).
 * With @uuid the result is a copy that may live beside the original: new MAC addresses, automatic
 * display ports, NVRAM of its own, new generation id, console logs that bear its name.
 * Left out, and logged, is what the sender of @xml could abuse on this host: elements of other
 * namespaces (<qemu:commandline>), <seclabel>, <resource>, <hostdev>, <filesystem>, <shmem>,
 * <smartcard>, <redirdev>, <audio>, NVDIMMs, passed-through TPMs and inputs, emulators that are no
 * QEMU of this host, boot files that are not here or not readable for everybody, NVRAM outside of
 * libvirt's folder, ACPI tables and fw_cfg entries from files, scripts of network cards. Character
 * devices of host files and sockets become terminals (a log below /var/log/libvirt whose folder is
 * here stays), cards on other than networks and bridges are unplugged, random numbers come from
 * the kernel.
 * Errors: VR_E_INVAL, VR_E_NOTFOUND, VR_E_LIMIT. Ownership: caller frees *ret. Thread: any. */
int domxml_replica(const char *xml, const char *name, const struct vr_uuid *uuid, bool disconnect,
                   const struct hv_disk_path *paths, size_t n_paths, char **ret,
                   struct vr_err *err);

/* domxml_own() - only the disks are edited: for a definition that was made on this host.
 * domxml_on_networks() - network cards connected as @nets says: each on the libvirt network that is
 * named for its MAC address (or for all), the others on none, their links down.
 * Errors, ownership and thread as domxml_replica(). */
int domxml_own(const char *xml, const struct hv_disk_path *paths, size_t n_paths, char **ret,
               struct vr_err *err);
int domxml_on_networks(const char *xml, const struct hv_nic_net *nets, size_t n_nets, char **ret,
                       struct vr_err *err);

/* A disk as the backup and checkpoint documents name it. */
struct domxml_capture_disk {
    const char *target;
    const char *scratch; /* file for what the guest overwrites meanwhile; backup only */
    bool tracked;        /* gets a bitmap in the checkpoint */
    bool incremental;    /* export the changes since the parent; backup only */
};

/* domxml_kib() - @v of libvirt's @unit (NULL: KiB) in KiB; 0 when it is too large. */
uint64_t domxml_kib(const char *unit, uint64_t v);

/* domxml_backup() - a pull-mode <domainbackup> over the UNIX socket @socket; incremental disks
 * export the context "qemu:dirty-bitmap:" DOMXML_DIRTY. Caller frees *ret. */
#define DOMXML_DIRTY "vmr-dirty"
int domxml_backup(const char *socket, const char *parent, const struct domxml_capture_disk *disks,
                  size_t n, char **ret, struct vr_err *err);
/* domxml_checkpoint() - a <domaincheckpoint>; @note is kept with it as its description, NULL for
 * none; @created in seconds since 1970, 0 to leave it out (then it cannot be used to redefine).
 * Caller frees *ret. */
int domxml_checkpoint(const char *name, const char *note, int64_t created,
                      const struct domxml_capture_disk *disks, size_t n, char **ret,
                      struct vr_err *err);

/* domxml_backup_socket() - the UNIX socket in a <domainbackup>, NULL in *ret if it has none.
 * Caller frees *ret. Errors: VR_E_INVAL. */
int domxml_backup_socket(const char *xml, char **ret, struct vr_err *err);

/* domxml_agent() - has a running machine a channel for the guest agent? 0 no, 1 yes, and nobody is
 * at its other end, 2 an agent is, -1 error. */
int domxml_agent(const char *xml, struct vr_err *err);

/* domxml_checkpoint_has() - does the <domaincheckpoint> @xml keep a bitmap of disk @target?
 * @sized: only counts if libvirt wrote a size, that is if QEMU really has it and can use it. */
bool domxml_checkpoint_has(const char *xml, const char *target, bool sized);
/* domxml_checkpoint_size() - bytes marked since the checkpoint, all disks, as libvirt wrote them on
 * request: false if a disk that has a bitmap shows none. */
bool domxml_checkpoint_size(const char *xml, uint64_t *ret);
/* domxml_checkpoint_note() - its description, NULL if it has none. Caller frees it. */
char *domxml_checkpoint_note(const char *xml);
/* domxml_checkpoint_created() - its creation time in seconds since 1970, 0 if it has none. */
int64_t domxml_checkpoint_created(const char *xml);

#endif
