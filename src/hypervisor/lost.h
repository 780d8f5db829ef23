/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_HYPERVISOR_LOST_H
#define VR_HYPERVISOR_LOST_H

/* Why a change map is not where it should be: judged by what is known of the run of QEMU that made
 * it. Pure; any thread. */
#include <stdbool.h>

#include "model/model.h"

/* How the last run of a machine ended, as far as libvirt or its events tell. */
enum lost_end {
    LOST_END_UNKNOWN, /* the host was reset, or libvirtd and we were away */
    LOST_END_ORDERLY, /* QEMU closed the disks, and stored the change maps in doing so */
    LOST_END_CRASH,
};

struct lost_facts {
    bool noted;      /* the checkpoint was made by a running QEMU, and says by which */
    bool same_run;   /* that one runs still */
    bool made_later; /* a disk's file was made after the checkpoint: it is another file */
    enum lost_end end;
};

/* lost_by_run() - @lost as the images tell it, or VR_LOST_UNCLEAN for a map that is missing because
 * the QEMU that kept it in its memory never closed the disk. src:[docs/notes-libvirt.md 3: bitmaps
 * are written at a clean close only] */
enum vr_lost lost_by_run(enum vr_lost lost, const struct lost_facts *f);

#endif
