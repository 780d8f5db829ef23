/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TESTS_CRASH_WORLD_H
#define VR_TESTS_CRASH_WORLD_H

#include "store/store_int.h"
#include "store/testdisk.h"

/* What the test knows about the machines whose life it plays: what each point must show, and what
 * was acknowledged and may not be lost. It changes before an operation begins (what may go is no
 * longer asked for) and after it has ended (what was promised is asked for from now on). */
enum { DISKS = 2, KNOWN = 64 };

struct known_point {
    struct vr_point_id id;
    struct td_disk d[DISKS];
    bool must; /* listed, or something was lost */
    bool pinned;
    bool rotten; /* its bytes were damaged and are being repaired: it may show either */
    bool found;  /* and that is known: it shows what is right, or is quarantined */
};

struct mach {
    struct vr_uuid id;
    bool must_exist;
    struct td_disk now[DISKS];      /* the newest point */
    bool pending[DISKS][TD_BLOCKS]; /* written into a stage that was not committed */
    struct vr_point_id newest;
    struct known_point known[KNOWN];
    size_t n_known;
    char *overlay[DISKS];
    struct td_disk over[DISKS];
    bool must_overlay; /* the failover overlays show over[] */
    char *base[DISKS]; /* adopted; NULL: none */
};

struct world {
    char work[64], spare[64];
    char *dir, *location;
    struct store *st;
    struct mach m[2];
    size_t n;
    const char *doc; /* acknowledged text, or NULL */
    const char *doc_next;
};

/* Each ends the process with a message when the store says no. */
void w_create(struct world *w, struct mach *m);
void w_cycle(struct world *w, struct mach *m, unsigned seed);
void w_half_stage(struct world *w, struct mach *m, unsigned seed);
void w_merge(struct world *w, struct mach *m, uint32_t keep);
void w_pin(struct world *w, struct mach *m, const struct vr_point_id *p, bool on);
void w_index(struct world *w, struct mach *m);
void w_failover(struct world *w, struct mach *m, const struct vr_point_id *p);
void w_vm_writes(struct world *w, struct mach *m, unsigned seed);
void w_cancel(struct world *w, struct mach *m);
void w_become(struct world *w, struct mach *m);
void w_forget_newer(struct world *w, struct mach *m);
void w_return(struct world *w, struct mach *m);
void w_drop(struct world *w, struct mach *m);
/* w_rot() - damage block 4 in the layer of point @p, which the @n points @show show. w_find() -
 * find it. w_repair() - repair it: the right bytes are in a newer layer. w_put_right() - find and
 * repair what there is; -1: a point is wrong, or quarantined, all the same. */
void w_rot(struct world *w, struct mach *m, const struct vr_point_id *p,
           const struct vr_point_id *show, size_t n);
void w_find(struct world *w, struct mach *m);
void w_repair(struct world *w, struct mach *m);
int w_put_right(struct world *w, struct mach *m);
void w_doc(struct world *w, const char *text);
/* w_known() - what point @id must show, NULL if the test never made it. */
struct known_point *w_known(struct mach *m, const struct vr_point_id *id);
/* w_check() - open the store again (after a cut) and check everything, then go on living a little
 * and check again. 0: all is well. */
int w_check(void *world);

#endif
