/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Why a change map cannot be used, when the image does not have it.
 *
 * A running QEMU keeps a new bitmap in its memory and writes it when it closes the disk. So each
 * checkpoint that is made of a running machine notes, in libvirt's metadata, which QEMU that was:
 * when the map is not in the image and that QEMU is gone, it died with it, unless its end is known
 * to have been an orderly one or the file is a younger one. Thread: hypervisor workers. */
#include "hv_libvirt_priv.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "domxml.h"
#include "imginfo.h"

#define RUN "made by the running QEMU "

char *lv_checkpoint_note(const char *name)
{
    vr_autofree char *run = lv_run(name);
    return run ? vr_printf(RUN "%s", run) : NULL;
}

static enum lost_end end_of(struct hv *hv, virDomainPtr dom, const struct vr_uuid *uuid)
{
    int state = 0, reason = 0;
    if (virDomainGetState(dom, &state, &reason, 0) < 0)
        return LOST_END_UNKNOWN;
    if (state != VIR_DOMAIN_SHUTOFF) /* it was started again */
        return lv_last_end(hv, uuid);
    switch (reason) {
    case VIR_DOMAIN_SHUTOFF_SHUTDOWN:
    case VIR_DOMAIN_SHUTOFF_DESTROYED:
    case VIR_DOMAIN_SHUTOFF_MIGRATED:
    case VIR_DOMAIN_SHUTOFF_SAVED:
    case VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT:
        return LOST_END_ORDERLY;
    case VIR_DOMAIN_SHUTOFF_CRASHED:
        return LOST_END_CRASH;
    default: /* libvirtd forgets it when it is restarted, and when a start failed */
        return lv_last_end(hv, uuid);
    }
}

/* Was the file made after second @created? File systems that do not tell when a file was made: no.
 */
static bool made_after(const char *path, int64_t created)
{
    struct statx st;
    return created > 0 && statx(AT_FDCWD, path, 0, STATX_BTIME, &st) == 0 &&
           (st.stx_mask & STATX_BTIME) && st.stx_btime.tv_sec > created;
}

static bool made_later(const struct hv_machine *m, const char *name, const char *const targets[],
                       size_t n, int64_t created)
{
    for (size_t i = 0; i < n; i++) {
        imginfo_auto struct imginfo info = { .qcow2 = false };
        const struct hv_disk *d = lv_disk(m, targets[i]);
        if (d && d->trackable && imginfo_read(d->path, "qcow2", &info, NULL) == 0 &&
            !imginfo_bitmap(&info, name) && made_after(d->path, created))
            return true;
    }
    return false;
}

enum vr_lost lv_lost(struct hv *hv, virDomainPtr dom, const struct hv_machine *m, const char *name,
                     const char *const targets[], size_t n_targets, enum vr_lost lost)
{
    lv_cp_auto cp = virDomainCheckpointLookupByName(dom, name, 0);
    vr_autofree char *xml =
        cp ? virDomainCheckpointGetXMLDesc(cp, VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN) : NULL;
    vr_autofree char *note = xml ? domxml_checkpoint_note(xml) : NULL;
    vr_autofree char *now = lv_checkpoint_note(m->name);
    if (!note)
        return lost;
    struct lost_facts f = {
        .noted = strncmp(note, RUN, strlen(RUN)) == 0,
        .same_run = now && strcmp(note, now) == 0,
        .made_later = made_later(m, name, targets, n_targets, domxml_checkpoint_created(xml)),
        .end = end_of(hv, dom, &m->uuid),
    };
    return lost_by_run(lost, &f);
}
