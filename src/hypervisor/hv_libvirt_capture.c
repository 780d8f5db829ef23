/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Captures: one instant of a machine's disks, exported over NBD.
 *
 *   running:  virDomainBackupBegin (pull mode) with a new checkpoint: one transaction in QEMU
 *   off:      qemu-img bitmap --add on every trackable disk, metadata to libvirt, one qemu-nbd per
 *             disk. The parent's bitmap is untouched until the capture is kept, so a crash at any
 *             step leaves the parent good and at most a new bitmap that the next begin removes.
 *
 * Files: run_dir/<uuid>/ for sockets, scratch/<uuid>/ for scratch files; the QEMU of the machine
 * owns both, nobody else but root can enter.
 * Thread: hypervisor workers; calls for one machine are serialised by the engine. */
#include "hv_libvirt_priv.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "domxml.h"
#include "imginfo.h"
#include "nbdexport.h"

enum { PATIENCE_MS = 15000, ABORT_MS = 60000, ENDS_MS = 2000 };

struct lv_capture {
    struct lv_mark mark;
    unsigned id;    /* of the running domain: another one after a restart */
    char *socket;   /* live */
    char *dir;      /* of sockets */
    char *scratch;  /* of scratch files */
    bool untracked; /* a disk of it keeps no bitmap */
    struct nbdexport *exports;
    size_t n_exports;
};

/* What hv_capture_begin() works with. */
struct begin {
    struct hv *hv;
    virDomainPtr dom;
    struct hv_machine m;
    const char *const *targets;
    size_t n;
    const char *parent; /* NULL: full */
    const bool *whole;  /* by target: the parent does not have it; NULL: it has all */
    const char *name;
    unsigned limit_s; /* freeze the guest's file systems for so long at most; 0: do not */
    uid_t uid;        /* whom the machine's QEMU runs as */
    gid_t gid;
    struct hv_capture *cap;
    struct lv_capture *p;
};

/* The checkpoint since which the changes of target @i are wanted, NULL: all of it is. */
static const char *parent_of(const struct begin *b, size_t i)
{
    return b->whole && b->whole[i] ? NULL : b->parent;
}

static void capture_free(struct hv_capture *cap)
{
    struct lv_capture *p = cap->priv;
    for (size_t i = 0; i < p->n_exports; i++)
        nbdexport_stop(&p->exports[i]);
    for (size_t i = 0; i < cap->n_disks; i++) {
        free(cap->disks[i].socket);
        free(cap->disks[i].export_name);
        free(cap->disks[i].dirty_context);
        free(cap->disks[i].image);
        free(cap->disks[i].format);
    }
    free(cap->disks);
    free(p->exports);
    free(p->socket);
    free(p->dir);
    free(p->scratch);
    free(p);
    free(cap);
}

/* ---- folders ---- */

/* Taken from the machine's QEMU as long as we change anything in it. */
static int private_dir(const char *dir, struct vr_err *err)
{
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot make %s", dir);
    if (lchown(dir, 0, 0) < 0 || chmod(dir, 0700) < 0)
        return vr_fail(err, VR_E_IO, errno, "cannot take %s", dir);
    nbdexport_sweep(dir);
    return 0;
}

static int make_dirs(struct begin *b, bool live, struct vr_err *err)
{
    char uuid[VR_UUID_STR];
    vr_uuid_fmt(&b->m.uuid, uuid);
    if (live) {
        vr_autofree char *xml = virDomainGetXMLDesc(b->dom, 0);
        if (!xml)
            return lv_fail(err, "definition");
        if (domxml_owner(xml, &b->uid, &b->gid, NULL) < 0)
            b->uid = 0, b->gid = 0; /* no DAC driver: QEMU runs as libvirtd does */
    }
    pthread_mutex_lock(&b->hv->mu);
    vr_autofree char *base = b->hv->scratch_dir ? vr_strdup(b->hv->scratch_dir)
                                                : vr_printf("%s/scratch", b->hv->run_dir);
    pthread_mutex_unlock(&b->hv->mu);
    b->p->dir = vr_printf("%s/%s", b->hv->run_dir, uuid);
    b->p->scratch = vr_printf("%s/%s", base, uuid);
    if (mkdir(base, 0711) < 0 && errno != EEXIST)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot make %s", base);
    if (private_dir(b->p->dir, err) < 0 || private_dir(b->p->scratch, err) < 0)
        return -1;
    if (lchown(b->p->dir, b->uid, b->gid) < 0)
        return vr_fail(err, VR_E_IO, errno, "cannot give %s to the machine", b->p->dir);
    return 0;
}

static char *socket_path(struct begin *b, const char *what, struct vr_err *err)
{
    uint8_t r[3];
    vr_random(r, sizeof r);
    char *path = vr_printf("%s/%s-%02x%02x%02x", b->p->dir, what, r[0], r[1], r[2]);
    if (strlen(path) < sizeof((struct sockaddr_un *)0)->sun_path)
        return path;
    vr_fail(err, VR_E_LIMIT, 0, "socket path too long: %s", path);
    free(path);
    return NULL;
}

/* ---- the backup job ---- */

/* 1 and its socket (may be NULL) if a backup job is there, 0 if not, -1 on error. */
static int job_socket(virDomainPtr dom, char **ret, struct vr_err *err)
{
    vr_autofree char *xml = virDomainBackupGetXMLDesc(dom, 0);
    if (xml)
        return domxml_backup_socket(xml, ret, err) < 0 ? -1 : 1;
    const virError *e = virGetLastError();
    if (e && (e->code == VIR_ERR_NO_DOMAIN_BACKUP || e->code == VIR_ERR_OPERATION_INVALID))
        return 0;
    return lv_fail(err, "%s: backup job", virDomainGetName(dom));
}

static int abort_job(virDomainPtr dom, struct vr_err *err)
{
    struct vr_err why = VR_ERR_INIT;
    if (virDomainAbortJob(dom) < 0)
        lv_fail(&why, "%s: cannot end the backup job", virDomainGetName(dom));
    int64_t end = vr_mono_now().ms + ABORT_MS;
    for (;;) {
        vr_autofree char *socket = NULL;
        int there = job_socket(dom, &socket, err);
        if (there <= 0)
            return there;
        if (why.kind != VR_OK) {
            vr_err_move(err, &why);
            return -1;
        }
        if (vr_mono_now().ms > end)
            return vr_fail(err, VR_E_TIMEOUT, 0, "%s: the backup job does not end",
                           virDomainGetName(dom));
        poll(NULL, 0, 10);
    }
}

static bool is_ours(const struct hv *hv, const char *socket)
{
    size_t n = strlen(hv->run_dir);
    return socket && strncmp(socket, hv->run_dir, n) == 0 && socket[n] == '/';
}

/* A job that an earlier daemon left. Its machine may hang, and who ends the job hangs with it: on a
 * thread and a connection of its own, that is nobody. */
struct left_job {
    char *uri, *socket;
    struct vr_uuid uuid;
};

static void *end_left_job(void *arg)
{
    struct left_job *l = arg;
    {
        lv_conn_auto conn = virConnectOpen(l->uri);
        lv_dom_auto dom = conn ? virDomainLookupByUUID(conn, l->uuid.b) : NULL;
        vr_autofree char *now = NULL;
        /* Not one that this daemon has begun since. */
        if (dom && job_socket(dom, &now, NULL) > 0 && now && strcmp(now, l->socket) == 0)
            virDomainAbortJob(dom);
    }
    free(l->uri);
    free(l->socket);
    free(l);
    return NULL;
}

static void end_later(const struct hv *hv, virDomainPtr dom, const char *socket)
{
    struct left_job *l = vr_new(struct left_job);
    pthread_t t;
    *l = (struct left_job){ .uri = vr_strdup(hv->uri), .socket = vr_strdup(socket) };
    virDomainGetUUID(dom, l->uuid.b);
    if (pthread_create(&t, NULL, end_left_job, l) == 0) {
        pthread_setname_np(t, "hv-left-job");
        pthread_detach(t);
        return;
    }
    free(l->uri); /* the next capture ends it */
    free(l->socket);
    free(l);
}

void lv_sweep_jobs(struct hv *hv, virConnectPtr conn)
{
    virDomainPtr *doms = NULL;
    int n = virConnectListAllDomains(conn, &doms, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
    for (int i = 0; i < n; i++) {
        vr_autofree char *socket = NULL;
        if (job_socket(doms[i], &socket, NULL) > 0 && is_ours(hv, socket))
            end_later(hv, doms[i], socket);
        virDomainFree(doms[i]);
    }
    free(doms);
}

/* End a job that an earlier daemon of ours left; a foreign one is not to be touched. */
static int clear_jobs(struct begin *b, struct vr_err *err)
{
    vr_autofree char *socket = NULL;
    int there = job_socket(b->dom, &socket, err);
    if (there < 0)
        return -1;
    if (there && is_ours(b->hv, socket))
        return abort_job(b->dom, err);
    /* Of a machine that comes in by migration libvirt tells no job but an error. A backup that is
     * begun then waits for the end of the migration and starts in the moment of it, when QEMU still
     * takes down what it received the disks with. QEMU 7.2 has ended there once; that this was the
     * cause is not proven. */
    virDomainJobInfo info;
    int told = virDomainGetJobInfo(b->dom, &info);
    bool comes = told < 0 && virGetLastErrorCode() == VIR_ERR_OPERATION_UNSUPPORTED;
    if (there || comes || (told == 0 && info.type != VIR_DOMAIN_JOB_NONE))
        return vr_fail(err, VR_E_BUSY, 0, "%s: another job is running", b->m.name);
    if (lv_just_came(b->hv, &b->m.uuid))
        return vr_fail(err, VR_E_BUSY, 0, "%s has just come to this host by migration", b->m.name);
    return 0;
}

static int live_job(struct begin *b, const struct domxml_capture_disk *d, bool tracked,
                    struct vr_err *err)
{
    vr_autofree char *backup = NULL, *checkpoint = NULL, *note = lv_checkpoint_note(b->m.name);
    if (domxml_backup(b->p->socket, b->parent, d, b->n, &backup, err) < 0 ||
        (tracked && domxml_checkpoint(b->name, note, 0, d, b->n, &checkpoint, err) < 0))
        return -1;
    char *why = b->cap->why_not;
    bool frozen = b->limit_s && lv_freeze(b->hv, b->dom, &b->m.uuid, b->limit_s, b->cap->why_not);
    b->cap->instant = vr_wall_now();
    int rc =
        virDomainBackupBegin(b->dom, backup, checkpoint, VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL);
    if (rc < 0) /* before another call makes libvirt forget the reason */
        lv_fail(err, "%s: cannot begin the backup job", b->m.name);
    if (frozen)
        b->cap->consistent = lv_unfreeze(b->hv, b->dom, &b->m.uuid, &b->cap->frozen_ms, why);
    return rc;
}

static int begin_live(struct begin *b, struct vr_err *err)
{
    struct domxml_capture_disk d[VR_DISKS_MAX] = { 0 };
    char *scratch[VR_DISKS_MAX] = { 0 };
    uint64_t size[VR_DISKS_MAX] = { 0 };
    bool tracked = false;
    if (make_dirs(b, true, err) < 0 || !(b->p->socket = socket_path(b, "live", err)))
        return -1;
    for (size_t i = 0; i < b->n; i++) {
        struct hv_capture_disk *c = &b->cap->disks[i];
        /* Never the name of an earlier one: libvirt may still be about to let go of that. */
        scratch[i] = vr_printf("%s/%s%s", b->p->scratch, b->targets[i], strrchr(b->p->socket, '-'));
        size[i] = c->size;
        d[i].target = b->targets[i];
        d[i].scratch = scratch[i];
        d[i].tracked = lv_disk(&b->m, b->targets[i])->trackable;
        d[i].incremental = d[i].tracked && parent_of(b, i);
        tracked |= d[i].tracked;
        c->untrackable = !d[i].tracked;
        c->socket = vr_strdup(b->p->socket);
        c->export_name = vr_strdup(b->targets[i]);
        if (d[i].incremental)
            c->dirty_context = vr_strdup("qemu:dirty-bitmap:" DOMXML_DIRTY);
    }
    b->p->id = virDomainGetID(b->dom);
    /* QEMU that is told to make an image has its node half open for a moment, and ends with a
     * failed assertion when somebody, a monitoring system say, asks for statistics just then (seen
     * with QEMU 7.2). So it gets one that is there. */
    int rc = hv_scratch_make(b->p->scratch, scratch, size, b->n, b->uid, b->gid, err);
    if (rc == 0)
        rc = live_job(b, d, tracked, err);
    if (rc < 0)
        nbdexport_sweep(b->p->scratch);
    for (size_t i = 0; i < b->n; i++)
        free(scratch[i]);
    return rc;
}

/* ---- a machine that is off ---- */

static int export_off(struct begin *b, size_t i, struct vr_err *err)
{
    const struct hv_disk *d = lv_disk(&b->m, b->targets[i]);
    struct hv_capture_disk *c = &b->cap->disks[i];
    const char *bitmap = d->trackable ? parent_of(b, i) : NULL;
    c->socket = socket_path(b, d->target, err);
    if (!c->socket)
        return -1;
    c->export_name = vr_strdup(d->target);
    c->image = vr_strdup(d->path);
    c->format = vr_strdup(d->format);
    c->untrackable = !d->trackable;
    if (bitmap)
        c->dirty_context = vr_printf("qemu:dirty-bitmap:%s", bitmap);
    return nbdexport_start(&b->p->exports[b->p->n_exports++], d->path, d->format, d->target, bitmap,
                           c->socket, err);
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    if (!a || !b)
        return a == b;
    return strcmp(a, b) == 0 ||
           (stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

/* qemu-nbd follows the names in the images, libvirt what the definition says of them, if anything:
 * where the two differ we would read something else than the machine. */
static int check_chain(struct begin *b, const struct hv_disk *d, const char *xml,
                       struct vr_err *err)
{
    vr_autofree char *at = vr_strdup(d->path), *format = vr_strdup(d->format);
    for (int depth = 1; depth < 200; depth++) {
        vr_autofree char *said = NULL, *real = NULL, *real_format = NULL;
        int r = domxml_backing(xml, d->target, depth, &said, err);
        if (r <= 0)
            return r;
        if (imginfo_backing_path(at, format, &real, &real_format, NULL) < 0)
            real = NULL; /* of another format: its end is where the definition ends, too */
        if (!same_file(said, real))
            return vr_fail(err, VR_E_HV, 0,
                           "%s: below %s lies %s, but the definition says %s: use qemu-img rebase "
                           "-u or remove <backingStore> of disk %s",
                           b->m.name, at, real ? real : "nothing", said ? said : "nothing",
                           d->target);
        if (!real)
            return 0;
        vr_set_str(&at, real);
        vr_set_str(&format, real_format);
    }
    return 0;
}

static int check_chains(struct begin *b, struct vr_err *err)
{
    vr_autofree char *xml = virDomainGetXMLDesc(b->dom, VIR_DOMAIN_XML_INACTIVE);
    if (!xml)
        return lv_fail(err, "definition");
    for (size_t i = 0; i < b->n; i++)
        if (check_chain(b, lv_disk(&b->m, b->targets[i]), xml, err) < 0)
            return -1;
    return 0;
}

static int begin_off(struct begin *b, struct vr_err *err)
{
    if (check_chains(b, err) < 0 || make_dirs(b, false, err) < 0)
        return -1;
    b->p->exports = vr_new0(b->n, sizeof *b->p->exports);
    b->cap->instant = vr_wall_now();
    for (size_t i = 0; i < b->n; i++) {
        const struct hv_disk *d = lv_disk(&b->m, b->targets[i]);
        if (d->trackable && hv_bitmap_add(d->path, b->name, err) < 0)
            return -1;
    }
    if (lv_checkpoint_redefine(b->dom, &b->m, b->name, b->targets, b->n, err) < 0)
        return -1;
    for (size_t i = 0; i < b->n; i++)
        if (export_off(b, i, err) < 0)
            return -1;
    return hv_capture_valid(b->hv, b->cap, err);
}

/* ---- begin ---- */

/* Names become arguments and file contents: only what both take without quoting. */
static int check_name(const char *name, struct vr_err *err)
{
    size_t n = strlen(name);
    if (n == 0 || n > 63 || name[0] == '-' || name[0] == '.' ||
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != n)
        return vr_fail(err, VR_E_INVAL, 0, "'%s' cannot name a checkpoint", name);
    return 0;
}

static int check_targets(struct begin *b, struct vr_err *err)
{
    if (b->n == 0 || b->n > VR_DISKS_MAX)
        return vr_fail(err, VR_E_INVAL, 0, "%zu disks to capture", b->n);
    for (size_t i = 0; i < b->n; i++) {
        const struct hv_disk *d = lv_disk(&b->m, b->targets[i]);
        if (!d)
            return vr_fail(
                err, VR_E_NOTFOUND, 0,
                "%s has no disk %s any more; if that is meant to be so: vmreplica set %s "
                "--remove-disk %s",
                b->m.name, b->targets[i], b->m.name, b->targets[i]);
        if (!d->replicable)
            return vr_fail(err, VR_E_INVAL, 0, "%s: disk %s cannot be replicated: %s", b->m.name,
                           d->target, d->note ? d->note : "unsuitable");
        for (size_t k = 0; k < i; k++)
            if (strcmp(b->targets[k], b->targets[i]) == 0)
                return vr_fail(err, VR_E_INVAL, 0, "disk %s is named twice", d->target);
        struct hv_capture_disk *c = &b->cap->disks[b->cap->n_disks++];
        snprintf(c->target, sizeof c->target, "%s", d->target);
        c->size = d->size;
        if (d->size == 0)
            return vr_fail(err, VR_E_NOFILE, 0, "%s: the image of disk %s cannot be read: %s",
                           b->m.name, d->target, d->path ? d->path : "none");
        b->p->untracked |= !d->trackable;
    }
    return 0;
}

/* A checkpoint of the new one's name can only be a left-over. */
static int clear_name(struct begin *b, bool live, struct vr_err *err)
{
    int there = lv_checkpoint_known(b->dom, b->name, err);
    if (there < 0)
        return -1;
    for (size_t i = 0; i < b->n && !there; i++) {
        imginfo_auto struct imginfo info = { .qcow2 = false };
        const struct hv_disk *d = lv_disk(&b->m, b->targets[i]);
        struct vr_err e = VR_ERR_INIT;
        if (!d->trackable)
            continue;
        int rc = live ? imginfo_read(d->path, "qcow2", &info, &e)
                      : imginfo_read_closed(d->path, &info, &e);
        if (e.kind == VR_E_BUSY) {
            vr_err_move(err, &e);
            return -1;
        }
        there = rc == 0 && imginfo_bitmap(&info, b->name);
    }
    return there ? lv_checkpoint_delete(b->dom, b->name, err) : 0;
}

/* The parent must be known to libvirt; if only the images have it, it is made known. */
static int check_parent(struct begin *b, bool live, struct vr_err *err)
{
    if (!b->parent)
        return 0;
    struct vr_err e = VR_ERR_INIT;
    const char *with[VR_DISKS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++)
        if (parent_of(b, i))
            with[n++] = b->targets[i];
    int known = lv_checkpoint_known(b->dom, b->parent, err);
    if (known < 0)
        return -1;
    if ((!known || !live) && hv_checkpoint_adopt(b->hv, &b->m.uuid, b->parent, with, n, &e) < 0) {
        if (e.kind == VR_E_UNAVAIL || e.kind == VR_E_BUSY) { /* nobody knows */
            vr_err_move(err, &e);
            return -1;
        }
        enum vr_lost lost = e.kind == VR_E_TRACKING ? (enum vr_lost)e.detail : VR_LOST_NOT;
        lost = lv_lost(b->hv, b->dom, &b->m, b->parent, with, n, lost);
        return vr_fail_detail(err, VR_E_TRACKING, lost, "%s: %s", b->parent, e.msg);
    }
    return 0;
}

/* libvirt says only that a change map cannot be used; the images know whether it was ever there. */
static void name_the_loss(struct begin *b, struct vr_err *e)
{
    if (!b->parent || e->kind != VR_E_TRACKING || e->detail != VR_LOST_NOT)
        return;
    e->detail = VR_LOST_UNCLEAN;
    const char *with[VR_DISKS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++) {
        imginfo_auto struct imginfo info = { .qcow2 = false };
        const struct hv_disk *d = lv_disk(&b->m, b->targets[i]);
        if (!d || !d->trackable || !parent_of(b, i) ||
            imginfo_read(d->path, "qcow2", &info, NULL) < 0 || imginfo_bitmap(&info, b->parent))
            continue;
        with[n++] = b->targets[i];
    }
    if (!n)
        return;
    e->detail = lv_lost(b->hv, b->dom, &b->m, b->parent, with, n, VR_LOST_MISSING);
    vr_err_wrap(e, "disk %s", with[0]);
}

/* A QEMU that closes its disks has no change maps any more, and libvirt says of them what it says
 * of lost ones: whether the machine has ended, or does so within a moment, since we looked at it.
 */
static bool just_ends(const struct begin *b)
{
    int64_t end = vr_mono_now().ms + ENDS_MS;
    for (;;) {
        int state = VIR_DOMAIN_NOSTATE, reason = 0;
        if (virDomainGetState(b->dom, &state, &reason, 0) < 0 || state == VIR_DOMAIN_SHUTDOWN ||
            state == VIR_DOMAIN_SHUTOFF || state == VIR_DOMAIN_CRASHED ||
            lv_generation(b->hv, &b->m.uuid).machine != b->p->mark.machine)
            return true;
        if (vr_mono_now().ms > end)
            return false;
        poll(NULL, 0, 50);
    }
}

static int begin_running(struct begin *b, struct vr_err *err)
{
    if (begin_live(b, err) == 0)
        return 0;
    if (err->kind != VR_E_TRACKING || !just_ends(b))
        return -1;
    vr_err_clear(err);
    return vr_fail(err, VR_E_STATE, 0, "%s: the machine was stopped", b->m.name);
}

static int begin(struct begin *b, struct vr_err *err)
{
    b->p->mark = lv_generation(b->hv, &b->m.uuid);
    int live = lv_active(b->dom, err);
    if (live < 0 || check_targets(b, err) < 0)
        return -1;
    /* The disks here are no longer the machine's: points of them would pretend to be new. */
    if (!live && b->m.power == HV_POWER_AWAY)
        return vr_fail(err, VR_E_STATE, 0, "machine %s was migrated away from this host",
                       b->m.name);
    b->cap->live = live > 0;
    if (live && clear_jobs(b, err) < 0)
        return -1;
    if (clear_name(b, live > 0, err) < 0 || check_parent(b, live > 0, err) < 0)
        return -1;
    if (live)
        return begin_running(b, err);
    if (begin_off(b, err) == 0)
        return 0;
    for (size_t i = 0; i < b->p->n_exports; i++)
        nbdexport_stop(&b->p->exports[i]);
    /* What cannot be undone now is undone by the next begin, or found by the list. */
    lv_checkpoint_delete(b->dom, b->name, NULL);
    return virDomainIsActive(b->dom) == 1 ? vr_err_wrap(err, "the machine was started") : -1;
}

int hv_capture_begin(struct hv *hv, const struct vr_uuid *uuid, const char *const targets[],
                     size_t n_targets, const char *parent, const char *checkpoint,
                     struct hv_capture **ret, struct vr_err *err)
{
    return hv_capture_begin_frozen(hv, uuid, targets, NULL, n_targets, parent, checkpoint, 0, ret,
                                   err);
}

int hv_capture_begin_frozen(struct hv *hv, const struct vr_uuid *uuid, const char *const targets[],
                            const bool whole[], size_t n_targets, const char *parent,
                            const char *checkpoint, unsigned limit_s, struct hv_capture **ret,
                            struct vr_err *err)
{
    if (parent && !*parent)
        parent = NULL;
    if (check_name(checkpoint, err) < 0 || (parent && check_name(parent, err) < 0))
        return -1;
    lv_dom_auto dom = lv_dom(hv, uuid, 0, err);
    if (!dom)
        return -1;
    struct begin b = { hv, dom, { .power = HV_POWER_OTHER }, targets, n_targets, parent, whole };
    if (lv_machine(hv, dom, &b.m, err) < 0)
        return -1;
    b.name = checkpoint;
    b.limit_s = limit_s;
    b.cap = vr_new(struct hv_capture);
    b.cap->priv = b.p = vr_new(struct lv_capture);
    b.cap->uuid = *uuid;
    b.cap->disks = vr_new0(VR_DISKS_MAX, sizeof *b.cap->disks);
    snprintf(b.cap->checkpoint, sizeof b.cap->checkpoint, "%s", checkpoint);
    snprintf(b.cap->parent, sizeof b.cap->parent, "%s", parent ? parent : "");
    struct vr_err why = VR_ERR_INIT;
    int rc = begin(&b, &why);
    name_the_loss(&b, &why);
    vr_err_move(err, &why);
    hv_machine_done(&b.m);
    if (rc < 0) {
        capture_free(b.cap);
        return vr_err_wrap(err, "capture");
    }
    *ret = b.cap;
    return 0;
}

/* ---- valid and end ---- */

static int lost(struct vr_err *err, virDomainPtr dom, const char *why)
{
    return vr_fail(err, VR_E_STATE, 0, "%s: the capture is lost: %s", virDomainGetName(dom), why);
}

static int valid_live(virDomainPtr dom, const struct lv_capture *p, struct vr_err *err)
{
    vr_autofree char *socket = NULL;
    int there = job_socket(dom, &socket, err);
    if (there < 0)
        return -1;
    if (!there || !socket || strcmp(socket, p->socket) != 0 || virDomainGetID(dom) != p->id)
        return lost(err, dom, "the machine was stopped or somebody ended the job");
    return 0;
}

static int valid_off(struct hv *hv, virDomainPtr dom, const struct hv_capture *cap,
                     struct vr_err *err)
{
    const struct lv_capture *p = cap->priv;
    int active = lv_active(dom, err);
    if (active < 0)
        return -1;
    struct lv_mark now = lv_generation(hv, &cap->uuid);
    if (active || now.machine != p->mark.machine)
        return lost(err, dom, "the machine was started meanwhile");
    if (p->untracked && now.conn != p->mark.conn)
        return lost(err, dom, "libvirtd was away, so a start may have been missed");
    for (size_t i = 0; i < p->n_exports; i++)
        if (!nbdexport_intact(&p->exports[i]))
            return lost(err, dom, "an image was written meanwhile");
    return 0;
}

static int valid(struct hv *hv, virDomainPtr dom, const struct hv_capture *cap, struct vr_err *err)
{
    return cap->live ? valid_live(dom, cap->priv, err) : valid_off(hv, dom, cap, err);
}

int hv_capture_valid(struct hv *hv, const struct hv_capture *cap, struct vr_err *err)
{
    lv_dom_auto dom = lv_dom(hv, &cap->uuid, PATIENCE_MS, err);
    return dom ? valid(hv, dom, cap, err) : -1;
}

static int end(struct hv *hv, virDomainPtr dom, struct hv_capture *cap, bool keep,
               struct vr_err *err)
{
    struct lv_capture *p = cap->priv;
    struct vr_err state = VR_ERR_INIT;
    if (valid(hv, dom, cap, &state) < 0 && state.kind != VR_E_STATE) {
        vr_err_move(err, &state);
        return -1;
    }
    if (cap->live && state.kind == VR_OK && abort_job(dom, err) < 0)
        return -1;
    for (size_t i = 0; i < p->n_exports; i++)
        nbdexport_stop(&p->exports[i]);
    p->n_exports = 0;
    const char *gone = keep ? cap->parent : cap->checkpoint;
    if (gone[0] && lv_checkpoint_delete(dom, gone, err) < 0)
        return -1;
    if (state.kind != VR_OK) {
        vr_err_move(err, &state);
        return -1;
    }
    return 0;
}

int hv_capture_end(struct hv *hv, struct hv_capture *cap, bool keep, struct vr_err *err)
{
    struct lv_capture *p = cap->priv;
    lv_dom_auto dom = lv_dom(hv, &cap->uuid, PATIENCE_MS, err);
    int rc = dom ? end(hv, dom, cap, keep, err) : -1;
    if (p->socket)
        unlink(p->socket);
    if (p->dir)
        rmdir(p->dir); /* when nothing is left in it */
    if (p->scratch) {
        nbdexport_sweep(p->scratch);
        rmdir(p->scratch);
    }
    capture_free(cap);
    return rc < 0 ? vr_err_wrap(err, "end of capture") : 0;
}
