/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checkpoints: libvirt's metadata and the bitmaps in the images, kept in step.
 *
 * The two are separate and may disagree in every way after a crash. Order of changes: an image gets
 * its bitmap before libvirt gets the metadata, and loses it before libvirt loses the metadata; so a
 * crash leaves either a bitmap that hv_checkpoint_list() finds by its name, or metadata without
 * bitmaps that shows as not usable. Both are deleted by hv_checkpoint_delete().
 * All bitmaps record independently: nothing is ever merged (docs/notes-libvirt.md 1.3).
 * Thread: hypervisor workers. */
#include "hv_libvirt_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "domxml.h"
#include "imginfo.h"
#include "nbdexport.h"

#define PREFIX "vmr."
enum { LIST_MAX = 1024 };

static virDomainCheckpointPtr lookup(virDomainPtr dom, const char *name)
{
    return virDomainCheckpointLookupByName(dom, name, 0);
}

int lv_checkpoint_known(virDomainPtr dom, const char *name, struct vr_err *err)
{
    lv_cp_auto cp = lookup(dom, name);
    if (cp)
        return 1;
    const virError *e = virGetLastError();
    if (e && e->code == VIR_ERR_NO_DOMAIN_CHECKPOINT)
        return 0;
    return lv_fail(err, "checkpoint %s", name);
}

/* ---- redefining ---- */

static int redefine(virDomainPtr dom, const char *name, const struct domxml_capture_disk *disks,
                    size_t n, bool validate, struct vr_err *err)
{
    vr_autofree char *xml = NULL;
    if (domxml_checkpoint(name, NULL, (int64_t)time(NULL), disks, n, &xml, err) < 0)
        return -1;
    unsigned flags = VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE;
    if (validate)
        flags |= VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE_VALIDATE;
    lv_cp_auto cp = virDomainCheckpointCreateXML(dom, xml, flags);
    return cp ? 0 : lv_fail(err, "cannot register checkpoint %s", name);
}

int lv_checkpoint_redefine(virDomainPtr dom, const struct hv_machine *m, const char *name,
                           const char *const targets[], size_t n_targets, struct vr_err *err)
{
    struct domxml_capture_disk disks[VR_DISKS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < n_targets && n < VR_DISKS_MAX; i++) {
        const struct hv_disk *d = lv_disk(m, targets[i]);
        if (d && d->trackable)
            disks[n++] = (struct domxml_capture_disk){ .target = targets[i], .tracked = true };
    }
    int active = lv_active(dom, err);
    if (n == 0 || active < 0)
        return active < 0 ? -1 : 0;
    return redefine(dom, name, disks, n, active > 0, err);
}

/* ---- deleting ---- */

static int forget(virDomainPtr dom, const char *name, struct vr_err *err)
{
    lv_cp_auto cp = lookup(dom, name);
    if (!cp || virDomainCheckpointDelete(cp, VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY) == 0)
        return 0;
    return lv_fail(err, "cannot forget checkpoint %s", name);
}

/* Running, and the bitmap is not on all the disks that libvirt believes to have it, or libvirt does
 * not know it: disk by disk, register it for that disk alone and have QEMU remove it. */
static int delete_piecewise(virDomainPtr dom, const struct hv_machine *m, const char *name,
                            struct vr_err *err)
{
    if (forget(dom, name, err) < 0)
        return -1;
    for (size_t i = 0; i < m->n_disks; i++) {
        if (!m->disks[i].trackable)
            continue;
        struct domxml_capture_disk d = { .target = m->disks[i].target, .tracked = true };
        if (redefine(dom, name, &d, 1, false, err) < 0)
            return -1;
        lv_cp_auto cp = lookup(dom, name);
        if (cp && virDomainCheckpointDelete(cp, 0) < 0 && forget(dom, name, err) < 0)
            return -1;
    }
    return 0;
}

static int delete_running(virDomainPtr dom, const struct hv_machine *m, const char *name,
                          struct vr_err *err)
{
    lv_cp_auto cp = lookup(dom, name);
    if (cp && virDomainCheckpointDelete(cp, 0) == 0)
        return 0;
    struct vr_err e = VR_ERR_INIT;
    if (cp)
        lv_fail(&e, "cannot delete checkpoint %s", name);
    if (e.kind == VR_E_BUSY || e.kind == VR_E_UNAVAIL) {
        vr_err_move(err, &e);
        return -1;
    }
    return delete_piecewise(dom, m, name, err);
}

static int delete_off(virDomainPtr dom, const struct hv_machine *m, const char *name,
                      struct vr_err *err)
{
    for (size_t i = 0; i < m->n_disks; i++) {
        const struct hv_disk *d = &m->disks[i];
        struct vr_err e = VR_ERR_INIT;
        if (d->trackable && hv_bitmap_remove(d->path, name, &e) < 0 && e.kind != VR_E_NOFILE) {
            vr_err_move(err, &e);
            return -1;
        }
    }
    return forget(dom, name, err);
}

/* ---- one of both at a time: forgetting a checkpoint, and asking for the size of one ----
 * libvirtd looks a checkpoint up, then waits until the machine is free, and then reads what
 * somebody who deleted it meanwhile has freed (seen with libvirt 9.0: it ends with a segmentation
 * fault). A machine that hangs holds up nobody but itself, and a worker for no longer than libvirtd
 * waits for a machine that is busy. */
enum { TURNS_MAX = 256, TURN_S = 30 };
static struct {
    pthread_once_t once;
    pthread_mutex_t mu;
    pthread_cond_t cond;
    unsigned char taken[TURNS_MAX][VIR_UUID_BUFLEN];
    size_t n;
} turns = { .once = PTHREAD_ONCE_INIT, .mu = PTHREAD_MUTEX_INITIALIZER };

static void turns_init(void)
{
    pthread_condattr_t ca;
    pthread_condattr_init(&ca);
    pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
    pthread_cond_init(&turns.cond, &ca);
    pthread_condattr_destroy(&ca);
}

static size_t turn_of(const unsigned char *uuid)
{
    size_t i = 0;
    while (i < turns.n && memcmp(turns.taken[i], uuid, VIR_UUID_BUFLEN) != 0)
        i++;
    return i;
}

/* @seconds: to wait for whoever has it. VR_E_BUSY when somebody still has it then. */
static int turn_take(virDomainPtr dom, int seconds, struct vr_err *err)
{
    unsigned char uuid[VIR_UUID_BUFLEN] = { 0 };
    struct timespec end;
    bool busy;
    pthread_once(&turns.once, turns_init);
    virDomainGetUUID(dom, uuid);
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += seconds;
    pthread_mutex_lock(&turns.mu);
    while ((busy = turn_of(uuid) < turns.n || turns.n == TURNS_MAX) && seconds &&
           pthread_cond_timedwait(&turns.cond, &turns.mu, &end) != ETIMEDOUT)
        ;
    if (!busy)
        memcpy(turns.taken[turns.n++], uuid, VIR_UUID_BUFLEN);
    pthread_mutex_unlock(&turns.mu);
    return busy ? vr_fail(err, VR_E_BUSY, 0, "%s: its checkpoints are being asked for or deleted",
                          virDomainGetName(dom))
                : 0;
}

static void turn_leave(virDomainPtr dom)
{
    unsigned char uuid[VIR_UUID_BUFLEN] = { 0 };
    virDomainGetUUID(dom, uuid);
    pthread_mutex_lock(&turns.mu);
    memmove(turns.taken[turn_of(uuid)], turns.taken[--turns.n], VIR_UUID_BUFLEN);
    pthread_cond_broadcast(&turns.cond);
    pthread_mutex_unlock(&turns.mu);
}

static int delete_in_turn(virDomainPtr dom, const struct hv_machine *m, const char *name,
                          struct vr_err *err)
{
    if (turn_take(dom, TURN_S, err) < 0)
        return -1;
    int rc = delete_running(dom, m, name, err);
    turn_leave(dom);
    return rc;
}

int lv_checkpoint_delete(virDomainPtr dom, const char *name, struct vr_err *err)
{
    /* The machine may be started or stopped under our hands: then the other way is the right one.
     */
    for (int attempt = 0;; attempt++) {
        struct vr_err e = VR_ERR_INIT;
        struct hv_machine m = { .power = HV_POWER_OTHER };
        int active = lv_active(dom, err);
        if (active < 0 || lv_machine(NULL, dom, &m, err) < 0)
            return -1;
        int rc = active ? delete_in_turn(dom, &m, name, &e) : delete_off(dom, &m, name, &e);
        hv_machine_done(&m);
        if (rc == 0)
            return 0;
        if (attempt == 2 || virDomainIsActive(dom) == active) {
            vr_err_move(err, &e);
            return -1;
        }
    }
}

int hv_checkpoint_delete(struct hv *hv, const struct vr_uuid *uuid, const char *name,
                         struct vr_err *err)
{
    lv_dom_auto dom = lv_dom(hv, uuid, 0, err);
    return dom ? lv_checkpoint_delete(dom, name, err) : -1;
}

/* ---- listing ---- */

struct listing {
    struct hv_machine m;
    bool active;
    const struct hv_disk *disks[VR_DISKS_MAX]; /* the trackable ones that were asked for */
    struct imginfo info[VR_DISKS_MAX];
    size_t n_disks;
    struct hv_checkpoint *all;
    int64_t *created; /* beside all */
    size_t n;
};

static void listing_done(struct listing *l)
{
    for (size_t i = 0; i < l->n_disks; i++)
        imginfo_done(&l->info[i]);
    hv_machine_done(&l->m);
    free(l->all);
    free(l->created);
}

static bool wanted(const char *target, const char *const targets[], size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(targets[i], target) == 0)
            return true;
    return n == 0;
}

static int gather_disks(struct listing *l, const char *const targets[], size_t n,
                        struct vr_err *err)
{
    for (size_t i = 0; i < l->m.n_disks; i++) {
        const struct hv_disk *d = &l->m.disks[i];
        struct vr_err e = VR_ERR_INIT;
        if (!d->trackable || !wanted(d->target, targets, n))
            continue;
        struct imginfo *info = &l->info[l->n_disks];
        l->disks[l->n_disks++] = d;
        /* While QEMU rewrites the directory the image may look damaged; its own word counts then.
         */
        int rc = l->active ? imginfo_read(d->path, "qcow2", info, &e)
                           : imginfo_read_closed(d->path, info, &e);
        if (rc < 0 && e.kind != VR_E_NOFILE && !l->active) {
            vr_err_move(err, &e);
            return -1;
        }
    }
    return 0;
}

static struct hv_checkpoint *add(struct listing *l, const char *name, int64_t created)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->all[i].name, name) == 0)
            return &l->all[i];
    if (l->n >= LIST_MAX || strlen(name) >= sizeof l->all->name)
        return NULL;
    l->all = vr_grow(l->all, l->n + 1, sizeof *l->all);
    l->created = vr_grow(l->created, l->n + 1, sizeof *l->created);
    struct hv_checkpoint *c = &l->all[l->n];
    *c = (struct hv_checkpoint){ .in_image = true, .usable = true };
    snprintf(c->name, sizeof c->name, "%s", name);
    l->created[l->n++] = created;
    return c;
}

/* Keep creation order: libvirt gives parents first, times have a resolution of one second. */
static void sort_last(struct listing *l)
{
    for (size_t i = l->n - 1; i > 0 && l->created[i - 1] > l->created[i]; i--) {
        struct hv_checkpoint c = l->all[i];
        int64_t t = l->created[i];
        l->all[i] = l->all[i - 1];
        l->created[i] = l->created[i - 1];
        l->all[i - 1] = c;
        l->created[i - 1] = t;
    }
}

static void judge(const struct listing *l, struct hv_checkpoint *c, const char *xml)
{
    for (size_t i = 0; i < l->n_disks; i++) {
        bool stored = imginfo_bitmap(&l->info[i], c->name) != NULL;
        bool good = l->active ? xml && domxml_checkpoint_has(xml, l->disks[i]->target, true)
                              : imginfo_tracks(l->disks[i]->path, c->name, NULL) == 0;
        if (!good)
            c->usable = false;
        if (!good && !stored)
            c->in_image = false;
    }
}

static void list_one(struct listing *l, virDomainCheckpointPtr cp)
{
    const char *name = virDomainCheckpointGetName(cp);
    if (!name || strncmp(name, PREFIX, strlen(PREFIX)) != 0)
        return;
    vr_autofree char *xml = NULL;
    if (l->active) /* with sizes: QEMU is asked, and what it cannot use gets none */
        xml = virDomainCheckpointGetXMLDesc(cp, VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN |
                                                    VIR_DOMAIN_CHECKPOINT_XML_SIZE);
    if (!xml)
        xml = virDomainCheckpointGetXMLDesc(cp, VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN);
    if (!xml)
        return; /* deleted meanwhile */
    struct hv_checkpoint *c = add(l, name, domxml_checkpoint_created(xml));
    if (!c)
        return;
    c->in_libvirt = true;
    judge(l, c, xml);
    sort_last(l);
}

/* Bitmaps with our prefix that libvirt does not know; last, in the order of the image. */
static void list_images(struct listing *l)
{
    size_t known = l->n;
    for (size_t i = 0; i < l->n_disks; i++) {
        for (size_t k = 0; k < l->info[i].n_bitmaps; k++) {
            const char *name = l->info[i].bitmaps[k].name;
            size_t before = l->n;
            struct hv_checkpoint *c =
                strncmp(name, PREFIX, strlen(PREFIX)) == 0 ? add(l, name, INT64_MAX) : NULL;
            if (c && before >= known && l->n > before)
                judge(l, c, NULL);
        }
    }
}

int hv_checkpoint_list(struct hv *hv, const struct vr_uuid *uuid, const char *const targets[],
                       size_t n_targets, struct hv_checkpoint **ret, size_t *ret_n,
                       struct vr_err *err)
{
    lv_dom_auto dom = lv_dom(hv, uuid, 0, err);
    int active = dom ? lv_active(dom, err) : -1;
    if (active < 0)
        return -1;
    struct listing l = { .active = active > 0 };
    virDomainCheckpointPtr *cps = NULL;
    int n = -1;
    if (lv_machine(hv, dom, &l.m, err) == 0 && gather_disks(&l, targets, n_targets, err) == 0) {
        n = virDomainListAllCheckpoints(dom, &cps, VIR_DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL);
        if (n < 0)
            lv_fail(err, "%s: list of checkpoints", virDomainGetName(dom));
    }
    for (int i = 0; i < n; i++) {
        list_one(&l, cps[i]);
        virDomainCheckpointFree(cps[i]);
    }
    free(cps);
    if (n >= 0) {
        list_images(&l);
        *ret_n = l.n;
        *ret = vr_take(l.all);
    }
    listing_done(&l);
    return n < 0 ? -1 : 0;
}

/* ---- adopting ---- */

static int covers(virDomainPtr dom, const struct hv_machine *m, const char *name,
                  const char *const targets[], size_t n)
{
    lv_cp_auto cp = lookup(dom, name);
    vr_autofree char *xml =
        cp ? virDomainCheckpointGetXMLDesc(cp, VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN) : NULL;
    for (size_t i = 0; i < n && xml; i++) {
        const struct hv_disk *d = lv_disk(m, targets[i]);
        if (d && d->trackable && !domxml_checkpoint_has(xml, targets[i], false))
            return 0;
    }
    return xml != NULL;
}

static int adopt(virDomainPtr dom, const struct hv_machine *m, const char *name,
                 const char *const targets[], size_t n, struct vr_err *err)
{
    int active = lv_active(dom, err);
    if (active < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        const struct hv_disk *d = lv_disk(m, targets[i]);
        if (!d)
            return vr_fail(err, VR_E_INVAL, 0, "%s has no disk %s", m->name, targets[i]);
        if (!active && d->trackable && imginfo_tracks(d->path, name, err) < 0)
            return vr_err_wrap(err, "disk %s", targets[i]);
    }
    if (covers(dom, m, name, targets, n))
        return 0;
    if (forget(dom, name, err) < 0)
        return -1;
    return lv_checkpoint_redefine(dom, m, name, targets, n, err);
}

int hv_checkpoint_adopt(struct hv *hv, const struct vr_uuid *uuid, const char *name,
                        const char *const targets[], size_t n_targets, struct vr_err *err)
{
    lv_dom_auto dom = lv_dom(hv, uuid, 0, err);
    struct hv_machine m = { .power = HV_POWER_OTHER };
    if (!dom || lv_machine(hv, dom, &m, err) < 0)
        return -1;
    int rc = turn_take(dom, TURN_S, err);
    if (rc == 0) {
        rc = adopt(dom, &m, name, targets, n_targets, err);
        turn_leave(dom);
    }
    hv_machine_done(&m);
    return rc;
}

static int dirty(virDomainPtr dom, const char *name, uint64_t *ret_bytes, struct vr_err *err)
{
    lv_cp_auto cp = lookup(dom, name);
    if (!cp)
        return lv_fail(err, "checkpoint %s", name);
    vr_autofree char *xml = virDomainCheckpointGetXMLDesc(cp, VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN |
                                                                  VIR_DOMAIN_CHECKPOINT_XML_SIZE);
    if (!xml)
        return lv_fail(err, "size of checkpoint %s", name);
    if (!domxml_checkpoint_size(xml, ret_bytes))
        return vr_fail(err, VR_E_TRACKING, 0, "checkpoint %s shows no size", name);
    return 0;
}

int hv_checkpoint_dirty(struct hv *hv, const struct vr_uuid *uuid, const char *name,
                        uint64_t *ret_bytes, struct vr_err *err)
{
    lv_dom_auto dom = lv_dom(hv, uuid, 0, err);
    if (!dom)
        return -1;
    if (turn_take(dom, 0, err) < 0)
        return -1;
    int rc = dirty(dom, name, ret_bytes, err);
    turn_leave(dom);
    return rc;
}
