/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Recovery points that are open for reading: a read-only qemu-nbd for each disk on a socket that
 * only root can use.
 *
 *   document "export"/UUID says opening -> pin -> qemu-nbds -> document says open
 *   document says closing -> qemu-nbds end, folder goes -> unpin -> document goes
 *
 * The programs go on when the daemon ends, and the next one finds them by their sockets; those that
 * do not answer (systemd ended them, or the host was switched off) are started again on the same
 * sockets. What is found opening or closing at start is closed to the end. The point stays pinned
 * as long as its document is there, whatever becomes of the machine. What cannot be served again
 * stays open, is not ready, and is tried again when somebody opens it. Each point is open once.
 * List and methods on the control thread, work() on hypervisor workers, st_*() on the store thread.
 */
#include "daemon/export.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "daemon/fault.h"
#include "daemon/storage.h"
#include "hypervisor/nbdexport.h"

#define KIND "export"
enum { EXPORTS_MAX = 32 };

struct exports {
    struct host_export *v[EXPORTS_MAX];
    size_t n;
};

struct export_task {
    struct task t;
    struct host_export x;
    struct vr_uuid job; /* to end; zero: none */
    bool open;          /* ends up open, when all goes well */
    bool gone;          /* nothing is left of it */
};

/* ---- the list ---- */
static struct exports *exports_of(struct daemon *d)
{
    if (!d->exports)
        d->exports = vr_new(struct exports);
    return d->exports;
}

static struct host_export *find(struct daemon *d, const struct vr_uuid *id)
{
    struct exports *l = exports_of(d);
    for (size_t i = 0; i < l->n; i++)
        if (vr_uuid_eq(&l->v[i]->id, id))
            return l->v[i];
    return NULL;
}

static struct host_export *add(struct daemon *d, const struct host_export *x)
{
    struct exports *l = exports_of(d);
    struct host_export *e = vr_new(struct host_export);
    *e = *x;
    l->v[l->n++] = e;
    return e;
}

static void forget(struct daemon *d, const struct vr_uuid *id)
{
    struct exports *l = exports_of(d);
    for (size_t i = 0; i < l->n; i++)
        if (vr_uuid_eq(&l->v[i]->id, id)) {
            free(l->v[i]);
            memmove(&l->v[i], &l->v[i + 1], (--l->n - i) * sizeof(struct host_export *));
            return;
        }
}

static size_t h_exports(void *ctx, const struct host_export *const **ret)
{
    struct exports *l = exports_of(ctx);
    *ret = (const struct host_export *const *)l->v;
    return l->n;
}

static void folder_of(const struct daemon *d, const struct vr_uuid *id, char out[HOST_SOCKET_MAX])
{
    char text[VR_UUID_STR];
    snprintf(out, HOST_SOCKET_MAX, "%.40s/export/%.8s", d->cfg.run_dir, vr_uuid_fmt(id, text));
}

/* ---- the document: "1 STATE MACHINE LINEAGE EPOCH", then a line for each disk ---- */
static char *export_encode(const struct host_export *x, const char *state)
{
    struct vr_buf b = VR_BUF_INIT;
    char machine[VR_UUID_STR], lineage[VR_UUID_STR];
    vr_buf_printf(&b, NULL, "1 %s %s %s %" PRIu64 "\n", state, vr_uuid_fmt(&x->machine, machine),
                  vr_uuid_fmt(&x->point.lineage, lineage), x->point.epoch);
    for (size_t i = 0; i < x->n_disks; i++)
        vr_buf_printf(&b, NULL, "%s\n", x->target[i]);
    return (char *)b.data;
}

static int export_decode(const char *id, const char *text, struct host_export *ret,
                         struct vr_err *err)
{
    char state[16], machine[VR_UUID_STR], lineage[VR_UUID_STR];
    struct host_export x = { .open = false };
    int used = 0;
    if (sscanf(text, "1 %15s %36s %36s %" SCNu64 "%n", state, machine, lineage, &x.point.epoch,
               &used) != 4 ||
        vr_uuid_parse(id, &x.id, NULL) < 0 || vr_uuid_parse(machine, &x.machine, NULL) < 0 ||
        vr_uuid_parse(lineage, &x.point.lineage, NULL) < 0)
        return vr_fail(err, VR_E_CORRUPT, 0, "written export %s cannot be read", id);
    for (const char *at = text + used; *at == '\n' && at[1]; at += strcspn(at, "\n")) {
        size_t n = strcspn(++at, "\n");
        if (x.n_disks == VR_DISKS_MAX || !n || n >= VR_TARGET_MAX)
            return vr_fail(err, VR_E_CORRUPT, 0, "written export %s cannot be read", id);
        memcpy(x.target[x.n_disks++], at, n);
    }
    x.open = !strcmp(state, "open");
    *ret = x;
    return 0;
}

static int put(struct export_task *x, const char *state, struct vr_err *err)
{
    char id[VR_UUID_STR];
    vr_autofree char *text = export_encode(&x->x, state);
    return store_doc_put(x->t.d->store, KIND, vr_uuid_fmt(&x->x.id, id), text, err);
}

/* ---- serving ---- */
struct image {
    struct export_task *x;
    size_t i;
    char *path, *format;
};

static void image_done(struct image *im)
{
    free(im->path);
    free(im->format);
}

static void st_image(void *arg)
{
    struct image *im = arg;
    const struct host_export *x = &im->x->x;
    store_point_image(im->x->t.d->store, &x->machine, &x->point, x->target[im->i], &im->path,
                      &im->format, &im->x->t.err);
}

static bool all_answer(const struct host_export *x)
{
    char socket[HOST_SOCKET_MAX];
    for (size_t i = 0; i < x->n_disks; i++)
        if (!nbdexport_answers(host_export_socket(x, i, socket)))
            return false;
    return x->n_disks > 0;
}

static int serve_disk(struct export_task *x, size_t i)
{
    __attribute__((cleanup(image_done))) struct image im = { .x = x, .i = i };
    struct nbdexport n = { .pid = 0 };
    char socket[HOST_SOCKET_MAX];
    store_call(x->t.d, st_image, &im);
    if (x->t.err.kind != VR_OK)
        return -1;
    if (nbdexport_start(&n, im.path, im.format, "", NULL, host_export_socket(&x->x, i, socket),
                        &x->t.err) < 0) {
        nbdexport_stop(&n);
        return vr_err_wrap(&x->t.err, "disk %s", x->x.target[i]);
    }
    nbdexport_leave(&n);
    return 0;
}

static int make_folders(struct export_task *x)
{
    vr_autofree char *parent = vr_printf("%s/export", x->t.d->cfg.run_dir);
    const char *all[] = { parent, x->x.folder };
    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++)
        if (mkdir(all[i], 0700) < 0 && errno != EEXIST)
            return vr_fail(&x->t.err, vr_kind_from_errno(errno), errno, "cannot make folder %s",
                           all[i]);
    return 0;
}

static void serve(struct export_task *x)
{
    if (all_answer(&x->x))
        return;
    nbdexport_sweep(x->x.folder);
    if (make_folders(x) < 0)
        return;
    for (size_t i = 0; i < x->x.n_disks; i++)
        if (serve_disk(x, i) < 0)
            return;
}

/* ---- closing: each step may have been done before ---- */
static void st_closing(void *arg)
{
    struct export_task *x = arg;
    put(x, "closing", &x->t.err);
}

struct end {
    struct export_task *x;
    struct vr_err *err;
};

/* A point that went by other means needs no unpinning. */
static void st_end(void *arg)
{
    struct end *e = arg;
    struct store *st = e->x->t.d->store;
    struct vr_err gone = VR_ERR_INIT;
    char id[VR_UUID_STR];
    if (store_point_pin(st, &e->x->x.machine, &e->x->x.point, STORE_PIN_EXPORT, false, &gone) < 0 &&
        gone.kind != VR_E_NOTFOUND) {
        vr_err_move(e->err, &gone);
        return;
    }
    vr_err_clear(&gone);
    if (store_doc_delete(st, KIND, vr_uuid_fmt(&e->x->x.id, id), &gone) < 0 &&
        gone.kind != VR_E_NOTFOUND)
        vr_err_move(e->err, &gone);
}

static void take_down(struct export_task *x, struct vr_err *err)
{
    struct end end = { x, err };
    nbdexport_sweep(x->x.folder);
    if (rmdir(x->x.folder) < 0 && errno != ENOENT) {
        vr_fail(err, vr_kind_from_errno(errno), errno, "cannot delete folder %s", x->x.folder);
        return;
    }
    fault_before("EXPORT_UNPIN");
    store_call(x->t.d, st_end, &end);
    x->gone = err->kind == VR_OK;
}

static void close_work(struct task *t)
{
    struct export_task *x = (struct export_task *)t;
    store_call(t->d, st_closing, x);
    fault_before("EXPORT_END");
    if (t->err.kind == VR_OK)
        take_down(x, &t->err);
    vr_err_wrap(&t->err, "closing an export");
}

/* ---- opening ---- */
static void st_begin(void *arg)
{
    struct export_task *x = arg;
    struct vr_err *err = &x->t.err;
    if (put(x, "opening", err) == 0)
        store_point_pin(x->t.d->store, &x->x.machine, &x->x.point, STORE_PIN_EXPORT, true, err);
}

static void st_open(void *arg)
{
    struct export_task *x = arg;
    put(x, "open", &x->t.err);
}

static void open_work(struct task *t)
{
    struct export_task *x = (struct export_task *)t;
    storage_call(t->d, &x->x.machine, st_begin, x, &t->err);
    fault_before("EXPORT_SERVE");
    if (t->err.kind == VR_OK)
        serve(x);
    fault_before("EXPORT_OPEN");
    if (t->err.kind == VR_OK)
        store_call(t->d, st_open, x);
    if (t->err.kind == VR_OK)
        return;
    struct vr_err left = VR_ERR_INIT;
    take_down(x, &left);
    if (left.kind != VR_OK)
        vr_log_err(VR_LOG_WARN, "what there was of an export is removed at the next start", &left);
    vr_err_wrap(&t->err, "opening a recovery point of %s", t->r.name);
}

static void again_work(struct task *t)
{
    serve((struct export_task *)t);
    vr_err_wrap(&t->err, "serving an open recovery point again");
}

static void task_over(struct task *t)
{
    struct export_task *x = (struct export_task *)t;
    struct daemon *d = t->d;
    struct host_export *e = find(d, &x->x.id);
    if (t->err.kind != VR_OK)
        vr_log_err(VR_LOG_WARN, "export", &t->err);
    if (x->gone)
        forget(d, &x->x.id);
    else if (e) {
        e->busy = false;
        e->ready = x->open && t->err.kind == VR_OK;
        e->open |= e->ready;
    }
    host_refresh_points(d, &x->x.machine);
    if (!vr_uuid_is_zero(&x->job))
        engine_job_end(d->engine, &x->job, t->err.kind == VR_OK ? NULL : &t->err);
}

static void begin(struct daemon *d, struct host_export *e, void (*work)(struct task *),
                  const struct vr_uuid *job)
{
    struct export_task *x = vr_new(struct export_task);
    const struct rel *r = engine_find(d->engine, &e->machine);
    e->busy = true;
    x->t.work = work;
    x->t.done = task_over;
    if (r)
        x->t.r = *r;
    x->x = *e;
    x->open = work != close_work;
    if (job)
        x->job = *job;
    task_run(d, d->hv_exec, &x->t);
}

/* ---- what the providers ask for ---- */
static const struct store_point *choose(struct daemon *d, const struct rel *r,
                                        const struct vr_point_id *named, struct vr_err *err)
{
    const struct machine_rt *rt = rt_get(d, &r->machine);
    const struct store_point *p = named ? NULL : store_newest_sound(rt->points, rt->n_points);
    for (size_t i = 0; named && i < rt->n_points; i++)
        if (vr_point_eq(&rt->points[i].id, named))
            p = &rt->points[i];
    if (!p && named)
        vr_fail(err, VR_E_NOTFOUND, 0, "machine %s has no such recovery point here", r->name);
    else if (!p && rt->n_points)
        vr_fail(err, VR_E_STATE, 0,
                "machine %s has no recovery point that is taken without being named (vmreplica "
                "points %s)",
                r->name, r->name);
    else if (!p)
        vr_fail(err, VR_E_STATE, 0, "machine %s has no recovery points on this host", r->name);
    return p;
}

/* Points of one machine may have different disks. When there are too many names to be known here,
 * the replicated disks are tried. */
static void name_disks(const struct store_point *p, const struct rel *r, struct host_export *x)
{
    bool all = !strstr(p->disks, "...");
    for (const char *at = p->disks; all && *at && x->n_disks < VR_DISKS_MAX;) {
        size_t n = strcspn(at, " ");
        snprintf(x->target[x->n_disks++], VR_TARGET_MAX, "%.*s", (int)n, at);
        at += n + strspn(at + n, " ");
    }
    for (uint32_t i = 0; !all && i < r->n_disks; i++)
        snprintf(x->target[x->n_disks++], VR_TARGET_MAX, "%s", r->disks[i].target);
}

static int h_open(void *ctx, const struct vr_uuid *machine, const struct vr_point_id *point,
                  const char *owner, struct vr_uuid *ret_id, struct vr_uuid *ret_job,
                  struct vr_err *err)
{
    struct daemon *d = ctx;
    struct exports *l = exports_of(d);
    const struct rel *r = engine_find(d->engine, machine);
    if (!r)
        return vr_fail(err, VR_E_STATE, 0, "the machine is not replicated");
    const struct store_point *p = choose(d, r, point, err);
    if (!p)
        return -1;
    struct host_export *e = NULL;
    for (size_t i = 0; i < l->n; i++)
        if (vr_uuid_eq(&l->v[i]->machine, machine) && vr_point_eq(&l->v[i]->point, &p->id))
            e = l->v[i];
    if (e && e->busy)
        return vr_fail(err, VR_E_BUSY, 0, "this recovery point is just being opened or closed");
    if (e && !e->open)
        return vr_fail(err, VR_E_BUSY, 0,
                       "this recovery point could not be closed completely; close it again "
                       "(vmreplica export %s --close)",
                       r->name);
    if (!e && l->n == EXPORTS_MAX)
        return vr_fail(err, VR_E_LIMIT, 0, "%d recovery points are open on this host", EXPORTS_MAX);
    bool again = e != NULL;
    if (!e) {
        struct host_export x = { .id = vr_uuid_new(), .machine = *machine, .point = p->id };
        folder_of(d, &x.id, x.folder);
        name_disks(p, r, &x);
        e = add(d, &x);
    }
    *ret_id = e->id;
    *ret_job = engine_job_new(d->engine, JOB_EXPORT, machine, owner);
    begin(d, e, again ? again_work : open_work, ret_job);
    return 0;
}

static int h_close(void *ctx, const struct vr_uuid *id, const char *owner, struct vr_uuid *ret_job,
                   struct vr_err *err)
{
    struct daemon *d = ctx;
    struct host_export *e = find(d, id);
    if (!e)
        return vr_fail(err, VR_E_NOTFOUND, 0, "there is no such export");
    if (e->busy)
        return vr_fail(err, VR_E_BUSY, 0, "this recovery point is just being opened or closed");
    e->open = e->ready = false;
    *ret_job = engine_job_new(d->engine, JOB_END_EXPORT, &e->machine, owner);
    begin(d, e, close_work, ret_job);
    return 0;
}

/* ---- start ---- */
static int load_export(void *ctx, const char *id, const char *text, struct vr_err *err)
{
    struct daemon *d = ctx;
    struct host_export x;
    if (exports_of(d)->n == EXPORTS_MAX)
        return vr_fail(err, VR_E_CORRUPT, 0, "too many written exports");
    if (export_decode(id, text, &x, err) < 0)
        return -1;
    folder_of(d, &x.id, x.folder);
    add(d, &x);
    return 0;
}

int export_load(struct daemon *d, struct vr_err *err)
{
    return store_doc_each(d->store, KIND, load_export, d, err);
}

void export_recover(struct daemon *d)
{
    struct exports *l = exports_of(d);
    for (size_t i = 0; i < l->n; i++)
        begin(d, l->v[i], l->v[i]->open ? again_work : close_work, NULL);
}

void export_host(struct daemon *d)
{
    d->host.exports = h_exports;
    d->host.export_open = h_open;
    d->host.export_close = h_close;
}
