/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_HYPERVISOR_HV_LIBVIRT_PRIV_H
#define VR_HYPERVISOR_HV_LIBVIRT_PRIV_H

/* Shared by the hv_libvirt*.c files only: the single place that includes libvirt's headers. */
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pthread.h>

#include "hv.h"
#include "lost.h"

VR_DEFINE_CLEANUP(virConnect, virConnectClose)
VR_DEFINE_CLEANUP(virDomain, virDomainFree)
VR_DEFINE_CLEANUP(virDomainCheckpoint, virDomainCheckpointFree)
#define lv_conn_auto vr_auto(virConnectClose) virConnectPtr
#define lv_dom_auto vr_auto(virDomainFree) virDomainPtr
#define lv_cp_auto vr_auto(virDomainCheckpointFree) virDomainCheckpointPtr

/* How often a machine was started while we watched, when it came in by migration, how it ended. */
struct lv_gen {
    struct vr_uuid uuid;
    uint64_t n;
    struct mono_ms came; /* 0: it did not */
    enum lost_end end;   /* of the last run whose end we saw */
};

struct lv_thaw; /* the watchdog of frozen guests; hv_libvirt_freeze.c */

struct hv {
    struct lv_thaw *thaw;
    char *uri, *run_dir, *guard_dir;
    hv_event_fn fn;
    void *ctx;
    pthread_mutex_t mu; /* guards all below */
    pthread_cond_t cond;
    char *scratch_dir;
    pthread_t connector;
    bool stop, lost;
    bool swept;         /* connector thread only: left-over jobs were looked for */
    virConnectPtr conn; /* NULL while disconnected */
    uint64_t conn_gen;  /* counts connections */
    struct lv_gen *gens;
    size_t n_gens;
    int callbacks[8]; /* connector thread only */
    size_t n_callbacks;
};

/* lv_fail() - turn libvirt's last error of this thread into ours, "text: libvirt's text". The error
 * is noted before the arguments are evaluated: even virDomainGetName() forgets it. */
void lv_note(void);
int lv_fail_at(struct vr_err *err, const char *where, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
#define lv_fail(err, ...) (lv_note(), lv_fail_at((err), __FILE__ ":" VR_STR(__LINE__), __VA_ARGS__))

/* lv_dom() - the machine. It keeps its connection. @patience_ms: how long to wait for libvirtd if
 * it is away just now, for what must not be given up lightly. Errors: VR_E_UNAVAIL, VR_E_NOTFOUND.
 */
virDomainPtr lv_dom(struct hv *hv, const struct vr_uuid *uuid, int patience_ms, struct vr_err *err);
/* lv_conn() - a reference to the connection. Errors: VR_E_UNAVAIL. */
virConnectPtr lv_conn(struct hv *hv, int patience_ms, struct vr_err *err);
/* lv_active() - 1 running in whatever way, 0 off, -1 error. */
int lv_active(virDomainPtr dom, struct vr_err *err);
/* lv_generation() - changes whenever the machine was started, and with every new
 * connection, because we may have missed something while there was none. */
struct lv_mark {
    uint64_t conn, machine;
};
struct lv_mark lv_generation(struct hv *hv, const struct vr_uuid *uuid);
/* lv_just_came() - it runs here by a migration that ended within the last seconds, as far as we
 * watched. */
bool lv_just_came(struct hv *hv, const struct vr_uuid *uuid);
/* lv_last_end() - how the last run ended whose end we saw; LOST_END_UNKNOWN: we saw none. */
enum lost_end lv_last_end(struct hv *hv, const struct vr_uuid *uuid);

/* lv_machine() - the machine as it is now, with sizes and what its images can do. @hv NULL:
 * whether it was migrated away is not asked. */
int lv_machine(const struct hv *hv, virDomainPtr dom, struct hv_machine *ret, struct vr_err *err);
/* lv_process() - fill in what the host knows of the machine's process and definition. */
void lv_process(struct hv_machine *m);
/* lv_run() - names the running QEMU of machine @name in a way that never comes back, not after a
 * reset of the host either: a text without spaces; NULL if the host does not tell. Caller frees it.
 */
char *lv_run(const char *name);
/* lv_disk() - the disk of @m named @target, NULL if there is none. */
const struct hv_disk *lv_disk(const struct hv_machine *m, const char *target);

/* lv_thaw_new() - start the watchdog; what marks in guard_dir tell is released. lv_thaw_free() -
 * stop it; what is still frozen keeps its mark. NULL is fine. */
struct lv_thaw *lv_thaw_new(const char *uri, const char *guard_dir, struct vr_err *err);
void lv_thaw_free(struct lv_thaw *w);
/* lv_freeze() - freeze the file systems of a running machine for @limit_s seconds at most. false:
 * they are not, or are being released again, @why says why. After true lv_unfreeze() follows at
 * once after the instant: releases them; true when they had been frozen up to its call. */
bool lv_freeze(struct hv *hv, virDomainPtr dom, const struct vr_uuid *uuid, unsigned limit_s,
               char why[160]);
bool lv_unfreeze(struct hv *hv, virDomainPtr dom, const struct vr_uuid *uuid, uint32_t *ret_ms,
                 char why[160]);

/* lv_sweep_jobs() - end the backup jobs that an earlier daemon of ours left. Does not wait. */
void lv_sweep_jobs(struct hv *hv, virConnectPtr conn);

/* lv_checkpoint_redefine() - tell libvirt of a checkpoint whose bitmaps are in the trackable ones
 * of @targets. Metadata only; running (then checked by libvirt) or off. */
int lv_checkpoint_redefine(virDomainPtr dom, const struct hv_machine *m, const char *name,
                           const char *const targets[], size_t n_targets, struct vr_err *err);
/* lv_checkpoint_known() - has libvirt metadata of @name? 1, 0, -1. */
int lv_checkpoint_known(virDomainPtr dom, const char *name, struct vr_err *err);
/* lv_checkpoint_note() - what is kept with a checkpoint that the running QEMU of machine @name
 * makes now, so that lv_lost() can tell; may be NULL. Caller frees it. */
char *lv_checkpoint_note(const char *name);
/* lv_lost() - why the changes since checkpoint @name are lost, @lost being what the images tell of
 * it: VR_LOST_UNCLEAN also for a map that is missing because its QEMU or the host died. Only
 * @targets count. Reads the images and libvirt's metadata; what cannot be read counts as unknown.
 */
enum vr_lost lv_lost(struct hv *hv, virDomainPtr dom, const struct hv_machine *m, const char *name,
                     const char *const targets[], size_t n_targets, enum vr_lost lost);
/* lv_checkpoint_delete() - hv_checkpoint_delete() of a machine at hand. */
int lv_checkpoint_delete(virDomainPtr dom, const char *name, struct vr_err *err);

#endif
