/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_HYPERVISOR_HV_H
#define VR_HYPERVISOR_HV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/uuid.h"
#include "model/model.h"

/* What we need of a hypervisor. hv_libvirt.c is the real one, hv_fake.c the one of tests.
 * All calls block and run on hypervisor workers, never on the control thread, unless said. Calls
 * for different machines may run side by side; calls for one machine are serialised by the engine.
 */
struct hv;

enum hv_power {
    HV_POWER_OFF,
    HV_POWER_RUNNING,
    HV_POWER_PAUSED,
    HV_POWER_SHUTTING_DOWN,
    HV_POWER_AWAY, /* off here since it was migrated to another host, where it may run */
    HV_POWER_OTHER
};

struct hv_disk {
    char target[VR_TARGET_MAX];
    char *path;      /* of the active image or device */
    char format[16]; /* "qcow2", "raw", ... */
    uint64_t size;   /* virtual bytes; 0 when the image does not exist (a replica, off) */
    bool trackable;  /* keeps persistent bitmaps (qcow2 version 3); else digest comparison */
    bool replicable; /* false: CD-ROM, floppy, shared, read-only, network, pass-through */
    bool left_out; /* not replicable and nobody expects it to be: CD-ROM, floppy, read-only, empty,
                    * transient */
    char *note;    /* why not replicable or not trackable, for people; else NULL */
};

struct hv_nic {
    char mac[18];
    char *source; /* network or bridge; may be NULL */
    char model[32];
};

/* What a machine is booted from; disks and CD-ROMs: the first of their kind. */
enum hv_boot { HV_BOOT_NONE, HV_BOOT_DISK, HV_BOOT_CDROM, HV_BOOT_FLOPPY, HV_BOOT_NETWORK };
#define HV_BOOT_MAX 4

struct hv_machine {
    struct vr_uuid uuid;
    char name[VR_NAME_MAX];
    enum hv_power power;
    bool saved; /* off, with its memory saved (managed save) */
    uint64_t memory_kib;
    unsigned vcpus;
    unsigned numa_nodes;       /* of the guest, at least 1 */
    bool uefi;                 /* firmware; else BIOS */
    bool secure_boot;          /* of a UEFI */
    bool autostart;            /* started with the host */
    bool restarts;             /* started again when the guest has crashed */
    uint8_t boot[HV_BOOT_MAX]; /* enum hv_boot, in this order, HV_BOOT_NONE ends them; of a BIOS */
    char hardware[16];         /* version of the virtual hardware ("7.2"), "" not known */
    char *nvram;               /* file with a UEFI's variables, NULL if there is none */
    char *definition;          /* file with the definition, NULL not known */
    char *notes;               /* description in the definition, NULL if there is none */
    unsigned pid;              /* QEMU's, 0 unknown or off */
    struct wall_us started;    /* when that process began, 0 unknown or off */
    struct wall_us configured; /* the definition was last changed, 0 unknown */
    struct wall_us changed;    /* power was last seen to change, 0 never: filled in by whoever
                                * keeps lists */
    size_t n_disks;
    struct hv_disk *disks;
    size_t n_nics;
    struct hv_nic *nics;
};

/* hv_machine_done() - free what is inside; hv_machines_free() - free an array of @n and its parts.
 */
void hv_machine_done(struct hv_machine *m);
void hv_machines_free(struct hv_machine *m, size_t n);

/* What happened to a machine or to the connection. */
enum hv_event_type {
    HV_EV_DEFINED,
    HV_EV_UNDEFINED,
    HV_EV_STARTED,
    HV_EV_STOPPED, /* shut down, destroyed, crashed, migrated away; a capture is lost */
    HV_EV_PAUSED,
    HV_EV_RESUMED,
    HV_EV_DISKS_CHANGED, /* attach, detach, resize, media change, block job */
    HV_EV_CONNECTED,     /* @uuid zero: to libvirtd, again: everything may have changed */
    HV_EV_DISCONNECTED,
};
/* Called on the hypervisor's own event thread; must not block: post to a mailbox. */
typedef void (*hv_event_fn)(void *ctx, enum hv_event_type type, const struct vr_uuid *uuid);

/* hv_libvirt_new() - connect to @uri ("qemu:///system") and keep connected: re-connects by itself
 * after libvirtd is restarted. Returns at once even when libvirtd is not there (calls then fail
 * with VR_E_UNAVAIL until HV_EV_CONNECTED). @run_dir holds a folder per machine for NBD sockets,
 * which only root and that machine's QEMU can enter; @guard_dir holds start guards (hv_guard()).
 * @fn may be NULL. The parents of both folders must exist; keep @run_dir below 40 characters.
 * What an earlier process left in @run_dir (exports, backup jobs) is ended: one process per folder.
 * hv_free() - disconnect and free. End captures before: those of running machines go on. */
struct hv *hv_libvirt_new(const char *uri, const char *run_dir, const char *guard_dir,
                          hv_event_fn fn, void *ctx, struct vr_err *err);
void hv_free(struct hv *hv);
/* hv_set_scratch_dir() - the folder (made when missing) for what a guest overwrites during a
 * capture: as large as its busiest disk in the worst case and as fast as possible. NULL, the
 * default: below @run_dir, which is wrong where that is in memory. Holds for later captures. What
 * an earlier process left in it is removed. */
int hv_set_scratch_dir(struct hv *hv, const char *dir, struct vr_err *err);

/* hv_list() - all machines; one with a definition beyond our limits is there without its disks and
 * network cards, and its notes say why. hv_get() - one, VR_E_NOTFOUND if there is none. */
int hv_list(struct hv *hv, struct hv_machine **ret, size_t *ret_n, struct vr_err *err);
int hv_get(struct hv *hv, const struct vr_uuid *uuid, struct hv_machine *ret, struct vr_err *err);

enum hv_action {
    HV_START,
    HV_SHUTDOWN,
    HV_FORCE_OFF,
    HV_PAUSE,
    HV_UNPAUSE,
    HV_REBOOT,
    HV_RESET,
    HV_SAVE
};
/* hv_power() - change power. HV_SHUTDOWN only asks the guest (ACPI, agent when there): the caller
 * waits for HV_EV_STOPPED. HV_FORCE_OFF also discards memory that was saved. HV_SAVE writes the
 * memory to a file from which HV_START goes on; it takes as long as that. All are idempotent: the
 * wanted state already reached is success. Errors: VR_E_NOTFOUND, VR_E_STATE, VR_E_HV (with
 * libvirt's text), VR_E_UNAVAIL. */
int hv_power(struct hv *hv, const struct vr_uuid *uuid, enum hv_action action, struct vr_err *err);

/* hv_flush() - all that the machine has written before this call, and the tables of its images that
 * tell where it lies, are in the files when it returns. A running machine is paused for that,
 * mostly for some milliseconds; it is resumed whatever happens, by a watchdog, and by the next
 * hv_libvirt_new() when this process died meanwhile (marks guard_dir/<uuid>.paused). One that is
 * off or paused is left alone. Errors: VR_E_NOTFOUND, VR_E_UNAVAIL, VR_E_HV, VR_E_BUSY, VR_E_STATE.
 * Source: QEMU do_vm_stop(), which calls bdrv_flush_all(). */
int hv_flush(struct hv *hv, const struct vr_uuid *uuid, struct vr_err *err);

/* hv_xml() - the inactive definition (caller frees). */
int hv_xml(struct hv *hv, const struct vr_uuid *uuid, char **ret_xml, struct vr_err *err);

/* Where a disk of a replica's definition shall point. */
struct hv_disk_path {
    char target[VR_TARGET_MAX];
    const char *path; /* need not exist (yet); format is qcow2; NULL: remove the disk,
                         "": leave it as it is */
};
/* hv_define_replica() - define (or redefine) the machine of @xml with the same UUID and name and
 * its included disks at @paths, disks not named removed. What a definition that came from another
 * host could abuse here is left out and logged: QEMU command lines, host devices, folders, files,
 * programs and labels (domxml_replica()). @name/@uuid NULL: those of @xml; else a copy under
 * another identity with new MACs (test failover), @disconnect: network links down. Errors:
 * VR_E_EXISTS when the name belongs to another UUID; VR_E_STATE when it is running. */
int hv_define_replica(struct hv *hv, const char *xml, const char *name, const struct vr_uuid *uuid,
                      bool disconnect, const struct hv_disk_path *paths, size_t n_paths,
                      struct vr_err *err);
/* hv_define_own() - the same as hv_define_replica() with the identity of @xml for a definition that
 * was made on this host: nothing is left out of it but disks. */
int hv_define_own(struct hv *hv, const char *xml, const struct hv_disk_path *paths, size_t n_paths,
                  struct vr_err *err);
/* Which libvirt network a card of a copy is on. */
struct hv_nic_net {
    char mac[18]; /* of the card in the original; "": every card */
    char network[VR_NAME_MAX];
};
/* hv_define_test() - a copy of @xml under @name and @uuid, as hv_define_replica(). A network card
 * that @nets does not name is connected to nothing. VR_E_INVAL: a network is not there. */
int hv_define_test(struct hv *hv, const char *xml, const char *name, const struct vr_uuid *uuid,
                   const struct hv_nic_net *nets, size_t n_nets, const struct hv_disk_path *paths,
                   size_t n_paths, struct vr_err *err);
/* hv_undefine_test() - forget a copy made by hv_define_test() with all that is its own (NVRAM);
 * disks stay. A machine that is not there is success. */
int hv_undefine_test(struct hv *hv, const struct vr_uuid *uuid, struct vr_err *err);
/* hv_undefine() - forget the machine with its checkpoint metadata and NVRAM reference; disks stay.
 */
int hv_undefine(struct hv *hv, const struct vr_uuid *uuid, struct vr_err *err);

/* hv_guard() - refuse power-on of the machine by anybody, with @reason, until taken back with a
 * NULL reason. Works through the libvirt hook (packaging/libvirt-hook-qemu) that looks for the file
 * guard_dir/<uuid> and prints its text. Idempotent, survives restarts. */
int hv_guard(struct hv *hv, const struct vr_uuid *uuid, const char *reason, struct vr_err *err);

/* One disk of a capture: an NBD export that shows the instant until hv_capture_end(). */
struct hv_capture_disk {
    char target[VR_TARGET_MAX];
    uint64_t size;       /* bytes at the instant */
    char *socket;        /* UNIX socket */
    char *export_name;   /* "" for qemu-nbd's default */
    char *dirty_context; /* "qemu:dirty-bitmap:..." ; NULL: not tracked, all may have changed */
    char *image;         /* the closed image behind the export, NULL when the machine runs */
    char *format;        /* its format */
    bool untrackable;    /* its format keeps no bitmap, whoever asks */
};
struct hv_capture {
    struct vr_uuid uuid;
    char parent[64];     /* checkpoint the dirty maps are relative to, "" for a full capture */
    char checkpoint[64]; /* the new one */
    struct wall_us instant;
    bool live;       /* a backup job of a running machine; else qemu-nbd over the closed images */
    bool consistent; /* the guest's file systems were frozen at the instant */
    uint32_t frozen_ms; /* for how long in all */
    char why_not[160];  /* they were wanted frozen and were not; else "" */
    size_t n_disks;
    struct hv_capture_disk *disks;
    void *priv;
};

/* hv_capture_begin() - freeze one instant of all @targets in one transaction and export it.
 * @parent:     checkpoint since which changes are wanted; NULL for all
 * @checkpoint: name of the checkpoint that is created at this instant (at most 63 characters)
 * A running machine: pull-mode backup with checkpoint. A machine that is off: bitmaps added with
 * qemu-img, images exported read-only with qemu-nbd -U; if it is started meanwhile the capture is
 * void and hv_capture_end() says so (VR_E_STATE). Left-overs of an earlier, lost capture of ours
 * (job, sockets, scratch files, a checkpoint of the same name) are cleaned up first.
 * Errors: VR_E_TRACKING when @parent does not exist or its bitmap is missing or inconsistent in any
 * trackable disk; VR_E_BUSY when a foreign job runs, or when another program has an image of a
 * machine that is off open for writing: its bitmaps cannot be judged then; VR_E_NOTFOUND; VR_E_HV.
 * Source: libvirt formatbackup, formatcheckpoint; docs/notes-libvirt.md. */
int hv_capture_begin(struct hv *hv, const struct vr_uuid *uuid, const char *const targets[],
                     size_t n_targets, const char *parent, const char *checkpoint,
                     struct hv_capture **ret, struct vr_err *err);

/* hv_capture_begin_frozen() - the same, and at the instant the file systems of a running guest are
 * frozen through its agent, for @limit_s seconds at most. When that does not succeed (no agent, it
 * does not answer) the capture is made all the same and says why not. They are released in any
 * case: at once after the instant; by a watchdog of its own connection when the limit is over, when
 * libvirtd or the agent does not answer (then again and again until they do), and by the next
 * hv_libvirt_new() when this process died meanwhile (marks guard_dir/<uuid>.frozen). @limit_s 0: as
 * hv_capture_begin().
 * @whole: NULL, or for each target whether @parent does not have it: of such a disk no change map
 * is asked for (dirty_context is NULL), of the others it is; the new checkpoint has them all.
 * Source: libvirt virDomainFSFreeze; docs/notes-libvirt.md 7. */
int hv_capture_begin_frozen(struct hv *hv, const struct vr_uuid *uuid, const char *const targets[],
                            const bool whole[], size_t n_targets, const char *parent,
                            const char *checkpoint, unsigned limit_s, struct hv_capture **ret,
                            struct vr_err *err);

/* hv_is_stuck() - the guest's file systems may still be frozen although their time is over: its
 * agent does not release them, and is asked again and again. Any thread, does not block. */
bool hv_is_stuck(struct hv *hv, const struct vr_uuid *uuid);

/* hv_capture_end() - end the job and free @cap (also on failure).
 * @keep: true: the instant is safe at the peer: the new checkpoint stays, the parent is deleted.
 *        false: the new checkpoint is deleted; the parent went on recording: nothing is lost.
 * Close every NBD connection before: a job that ends while a client is in the middle of its
 * handshake stops the guest for good (docs/notes-libvirt.md 1.3).
 * Waits some seconds for a libvirtd that is being restarted.
 * Errors: VR_E_STATE when the capture had been lost (machine stopped or started meanwhile): what
 * @keep asks for was done all the same. Any other error: it was not; delete the checkpoint later.
 */
int hv_capture_end(struct hv *hv, struct hv_capture *cap, bool keep, struct vr_err *err);
/* hv_capture_valid() - 0 when the instant is still held (machine not stopped/started since), else
 * VR_E_STATE. To be called after the last read and before the data is called a point: what is read
 * of a machine that was off and has been started is torn. */
int hv_capture_valid(struct hv *hv, const struct hv_capture *cap, struct vr_err *err);

/* Our checkpoints of a machine ("vmr." prefix), running or off. */
struct hv_checkpoint {
    char name[64];
    bool in_libvirt; /* libvirt has metadata */
    bool in_image;   /* every trackable disk of @targets has the bitmap */
    bool usable;     /* recording and not inconsistent in all of them */
};
/* hv_checkpoint_list() - what is there, in creation order. Caller frees. */
int hv_checkpoint_list(struct hv *hv, const struct vr_uuid *uuid, const char *const targets[],
                       size_t n_targets, struct hv_checkpoint **ret, size_t *ret_n,
                       struct vr_err *err);
/* hv_checkpoint_dirty() - bytes written since checkpoint @name, from the bitmaps of a running
 * machine. Errors: VR_E_NOTFOUND, VR_E_TRACKING (a bitmap that cannot be asked), VR_E_BUSY (one is
 * being deleted), VR_E_HV. */
int hv_checkpoint_dirty(struct hv *hv, const struct vr_uuid *uuid, const char *name,
                        uint64_t *ret_bytes, struct vr_err *err);
/* hv_checkpoint_delete() - delete it from libvirt and images, running or off; a later bitmap is
 * merged into an earlier one as libvirt does. Not there is success. Inconsistent: removed. */
int hv_checkpoint_delete(struct hv *hv, const struct vr_uuid *uuid, const char *name,
                         struct vr_err *err);
/* hv_checkpoint_adopt() - machine off: make libvirt know the checkpoint @name whose bitmaps already
 * are in the images (made by qemu-img bitmap on failover overlays). Idempotent. */
int hv_checkpoint_adopt(struct hv *hv, const struct vr_uuid *uuid, const char *name,
                        const char *const targets[], size_t n_targets, struct vr_err *err);

#endif
