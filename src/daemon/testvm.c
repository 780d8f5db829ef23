/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Test failover: machines made of a recovery point that run beside the replica.
 *
 *   document "test"/UUID says making -> pin -> overlays -> definition -> document says made
 *   document says destroying -> off -> undefine -> delete overlays -> unpin -> document goes
 *
 * Whatever is found making or destroying at start is destroyed to the end: a daemon that dies at
 * any line leaves either a whole test machine or none. The point stays pinned as long as a document
 * names it; it is unpinned by the last one (a pin of the user is another one). Replication does not
 * notice: overlays are no part of the chain. List and methods on the control thread, work() on
 * hypervisor workers, st_*() on the store thread. */
#include "daemon/testvm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-event.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/definitions.h"
#include "daemon/fault.h"
#include "daemon/storage.h"
#include "store/proof.h"

enum { TESTS_MAX = 64, AGAIN_US = 2000000, SETTLE_TRIES = 250, SETTLE_MS = 20 };

struct last_test {
    struct vr_uuid machine;
    struct wall_us when;
};

struct testvms {
    struct host_test v[TESTS_MAX];
    size_t n;
    struct last_test *last;
    size_t n_last;
};

struct test_task {
    struct task t;
    struct host_test test;
    struct vr_uuid job; /* to end; zero: none */
    struct wall_us when;
    struct hv_nic_net *nets;
    size_t n_nets;
    bool latest;  /* no point was named */
    char *folder; /* NULL: not known yet */
    char *path[VR_DISKS_MAX];
    struct hv_disk_path paths[VR_DISKS_MAX];
    struct rel_disk disks[VR_DISKS_MAX]; /* of the point */
    uint32_t n_disks;
    unsigned tries;
    bool gone; /* wanted: the machine is (not) among those of the host */
};

/* ---- the list ---- */
static struct testvms *tests_of(struct daemon *d)
{
    if (!d->tests)
        d->tests = vr_new(struct testvms);
    return d->tests;
}

static struct host_test *find(struct daemon *d, const struct vr_uuid *uuid)
{
    struct testvms *l = tests_of(d);
    for (size_t i = 0; i < l->n; i++)
        if (vr_uuid_eq(&l->v[i].uuid, uuid))
            return &l->v[i];
    return NULL;
}

static void forget(struct daemon *d, const struct vr_uuid *uuid)
{
    struct testvms *l = tests_of(d);
    struct host_test *t = find(d, uuid);
    if (t) {
        size_t at = (size_t)(t - l->v);
        memmove(t, t + 1, (--l->n - at) * sizeof *t);
    }
}

static void note_last(struct daemon *d, const struct vr_uuid *machine, struct wall_us when)
{
    struct testvms *l = tests_of(d);
    for (size_t i = 0; i < l->n_last; i++)
        if (vr_uuid_eq(&l->last[i].machine, machine)) {
            l->last[i].when = when;
            return;
        }
    l->last = vr_grow(l->last, l->n_last + 1, sizeof *l->last);
    l->last[l->n_last++] = (struct last_test){ *machine, when };
}

static size_t h_tests(void *ctx, const struct host_test **ret)
{
    struct testvms *l = tests_of(ctx);
    *ret = l->v;
    return l->n;
}

static struct wall_us h_last_test(void *ctx, const struct vr_uuid *machine)
{
    struct testvms *l = tests_of(ctx);
    for (size_t i = 0; i < l->n_last; i++)
        if (vr_uuid_eq(&l->last[i].machine, machine))
            return l->last[i].when;
    return (struct wall_us){ 0 };
}

/* ---- the document ---- */
static char *test_encode(const struct host_test *t, const char *state, const char *folder)
{
    char machine[VR_UUID_STR], lineage[VR_UUID_STR], job[VR_UUID_STR];
    return vr_printf("1 %s %s %s %" PRIu64 " %s 1\n%s\n%s", state,
                     vr_uuid_fmt(&t->machine, machine), vr_uuid_fmt(&t->point.lineage, lineage),
                     t->point.epoch, vr_uuid_fmt(&t->job, job), t->name, folder);
}

/* @ret_folder: the caller frees. */
static int test_decode(const char *id, const char *text, struct host_test *ret, char **ret_folder,
                       struct vr_err *err)
{
    char state[16], machine[VR_UUID_STR], lineage[VR_UUID_STR], job[VR_UUID_STR];
    struct host_test t = { .ready = false };
    int used = 0;
    if (sscanf(text, "1 %15s %36s %36s %" SCNu64 " %36s %*d\n%n", state, machine, lineage,
               &t.point.epoch, job, &used) != 5 ||
        vr_uuid_parse(id, &t.uuid, NULL) < 0 || vr_uuid_parse(machine, &t.machine, NULL) < 0 ||
        vr_uuid_parse(lineage, &t.point.lineage, NULL) < 0 || vr_uuid_parse(job, &t.job, NULL) < 0)
        return vr_fail(err, VR_E_CORRUPT, 0, "written test machine %s cannot be read", id);
    const char *name = text + used, *nl = strchr(name, '\n');
    if (!nl || nl - name >= VR_NAME_MAX || nl[1] != '/')
        return vr_fail(err, VR_E_CORRUPT, 0, "written test machine %s cannot be read", id);
    snprintf(t.name, sizeof t.name, "%.*s", (int)(nl - name), name);
    t.ready = !strcmp(state, "made");
    *ret = t;
    *ret_folder = vr_strdup(nl + 1);
    return 0;
}

static int put(struct test_task *x, const char *state, struct vr_err *err)
{
    char id[VR_UUID_STR];
    vr_autofree char *text = test_encode(&x->test, state, x->folder);
    return store_doc_put(x->t.d->store, "test", vr_uuid_fmt(&x->test.uuid, id), text, err);
}

/* Other documents that name the same point: *n of them. */
struct same {
    const struct host_test *of;
    size_t n;
};

static int see_same(void *ctx, const char *id, const char *text, struct vr_err *err)
{
    struct same *s = ctx;
    struct host_test t;
    vr_autofree char *folder = NULL;
    if (test_decode(id, text, &t, &folder, err) < 0)
        return -1;
    if (!vr_uuid_eq(&t.uuid, &s->of->uuid) && vr_uuid_eq(&t.machine, &s->of->machine) &&
        vr_point_eq(&t.point, &s->of->point))
        s->n++;
    return 0;
}

/* ---- making ---- */
/* The point that is named, or the one that a failover which names none takes. */
static int choose_point(struct test_task *x, struct vr_err *err)
{
    vr_autofree struct store_point *pts = NULL;
    const struct store_point *p = NULL;
    size_t n = 0;
    if (store_points(x->t.d->store, &x->test.machine, &pts, &n, err) < 0)
        return -1;
    if (x->latest)
        p = store_newest_sound(pts, n);
    for (size_t i = 0; !x->latest && i < n; i++)
        if (vr_point_eq(&pts[i].id, &x->test.point))
            p = &pts[i];
    if (!p && x->latest)
        return vr_fail(err, VR_E_STATE, 0,
                       "there is no recovery point that is taken without being named (orphans and "
                       "quarantined ones are not): see vmreplica points %s",
                       x->t.r.name);
    if (!p)
        return vr_fail(err, VR_E_NOTFOUND, 0,
                       "the recovery point does not exist any more; choose another one");
    x->test.point = p->id;
    return 0;
}

/* Beside the points, wherever these are: there is the room that was meant for the machine. */
static int name_folder(struct test_task *x, struct vr_err *err)
{
    char id[VR_UUID_STR];
    vr_autofree char *chain = NULL;
    if (store_chain_folder(x->t.d->store, &x->test.machine, &chain, err) < 0)
        return -1;
    x->folder = vr_printf("%s/test-%s", chain, vr_uuid_fmt(&x->test.uuid, id));
    return 0;
}

static void st_begin(void *arg)
{
    struct test_task *x = arg;
    struct vr_err *err = &x->t.err;
    if (name_folder(x, err) == 0 && choose_point(x, err) == 0 &&
        point_disks(x->t.d, &x->test.machine, &x->test.point, x->disks, &x->n_disks, err) == 0 &&
        put(x, "making", err) == 0)
        store_point_pin(x->t.d->store, &x->test.machine, &x->test.point, STORE_PIN_USE, true, err);
}

static void st_overlays(void *arg)
{
    struct test_task *x = arg;
    for (uint32_t i = 0; i < x->n_disks; i++) {
        const char *target = x->disks[i].target;
        x->path[i] = vr_printf("%s/%s.qcow2", x->folder, target);
        snprintf(x->paths[i].target, sizeof x->paths[i].target, "%s", target);
        x->paths[i].path = x->path[i];
        if (store_point_beside(x->t.d->store, &x->test.machine, &x->test.point, target, x->path[i],
                               &x->t.err) < 0)
            return;
    }
}

static void st_made(void *arg)
{
    struct test_task *x = arg;
    char id[VR_UUID_STR];
    vr_autofree char *when = vr_printf("%" PRId64, x->when.us);
    if (put(x, "made", &x->t.err) == 0)
        store_doc_put(x->t.d->store, "last-test", vr_uuid_fmt(&x->test.machine, id), when,
                      &x->t.err);
}

static int sync_parent(const char *folder, struct vr_err *err)
{
    const char *slash = strrchr(folder, '/');
    vr_autofree char *parent = vr_strndup(folder, (size_t)(slash - folder));
    vr_autoclose int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 || fsync(fd) < 0)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot sync %s", parent);
    return 0;
}

static int make_folder(const char *folder, struct vr_err *err)
{
    if ((mkdir(folder, 0711) < 0 && errno != EEXIST) || chmod(folder, 0711) < 0)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot make folder %s", folder);
    return sync_parent(folder, err);
}

/* Beside the points: who waits for that storage waits as for theirs. */
static void fs_make_folder(void *arg)
{
    struct test_task *x = arg;
    make_folder(x->folder, &x->t.err);
}

static void remove_all(struct test_task *x, struct vr_err *err);

static void create_work(struct task *t)
{
    struct test_task *x = (struct test_task *)t;
    vr_autofree char *xml = NULL;
    fault_before("TEST_MAKE");
    storage_call(t->d, &x->test.machine, st_begin, x, &t->err);
    fault_before("TEST_OVERLAYS");
    if (t->err.kind == VR_OK)
        storage_files(t->d, &x->test.machine, fs_make_folder, x, &t->err);
    if (t->err.kind == VR_OK)
        storage_call(t->d, &x->test.machine, st_overlays, x, &t->err);
    fault_before("TEST_DEFINE");
    if (t->err.kind == VR_OK &&
        definitions_xml(t->d, &x->test.machine, x->disks, x->n_disks, &xml, &t->err) == 0)
        hv_define_test(t->d->hv, xml, x->test.name, &x->test.uuid, x->nets, x->n_nets, x->paths,
                       x->n_disks, &t->err);
    fault_after("TEST_DEFINE");
    if (t->err.kind == VR_OK)
        store_call(t->d, st_made, x);
    if (t->err.kind == VR_OK)
        return;
    struct vr_err left = VR_ERR_INIT;
    remove_all(x, &left);
    if (left.kind != VR_OK)
        vr_log_err(VR_LOG_WARN, "what there was of a test machine is removed later", &left);
    x->gone = left.kind == VR_OK;
    vr_err_wrap(&t->err, "making a test machine of %s", t->r.name);
}

/* ---- removing: each step may have been done before ---- */
static int delete_folder(const char *folder, struct vr_err *err)
{
    vr_autoclosedir DIR *dir = opendir(folder);
    if (!dir && errno == ENOENT)
        return 0;
    if (!dir)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot open folder %s", folder);
    for (struct dirent *e; (e = readdir(dir));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        if (unlinkat(dirfd(dir), e->d_name, 0) < 0 && errno != ENOENT)
            return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot delete %s/%s", folder,
                           e->d_name);
    }
    if (rmdir(folder) < 0 && errno != ENOENT)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot delete folder %s", folder);
    return sync_parent(folder, err);
}

static void st_destroying(void *arg)
{
    struct test_task *x = arg;
    struct host_test as_written;
    vr_autofree char *text = NULL;
    char id[VR_UUID_STR];
    struct vr_err *err = &x->t.err;
    if (store_doc_get(x->t.d->store, "test", vr_uuid_fmt(&x->test.uuid, id), &text, err) == 0 &&
        test_decode(id, text, &as_written, &x->folder, err) == 0)
        put(x, "destroying", err);
}

struct end {
    struct test_task *x;
    struct vr_err *err;
};

static void fs_delete_folder(void *arg)
{
    struct end *e = arg;
    delete_folder(e->x->folder, e->err);
}

/* A point that was given up meanwhile by other means needs no unpinning. */
static void st_end(void *arg)
{
    struct end *e = arg;
    struct store *st = e->x->t.d->store;
    struct same same = { .of = &e->x->test };
    struct vr_err gone = VR_ERR_INIT;
    char id[VR_UUID_STR];
    if (store_doc_each(st, "test", see_same, &same, e->err) < 0)
        return;
    if (!same.n &&
        store_point_pin(st, &e->x->test.machine, &e->x->test.point, STORE_PIN_USE, false, &gone) <
            0 &&
        gone.kind != VR_E_NOTFOUND) {
        vr_err_move(e->err, &gone);
        return;
    }
    vr_uuid_fmt(&e->x->test.uuid, id);
    vr_err_clear(&gone);
    if (store_doc_delete(st, "test", id, &gone) < 0 && gone.kind != VR_E_NOTFOUND)
        vr_err_move(e->err, &gone);
}

static void remove_all(struct test_task *x, struct vr_err *err)
{
    struct hv *hv = x->t.d->hv;
    struct vr_err e = VR_ERR_INIT;
    struct end end = { x, err };
    fault_before("TEST_OFF");
    if (hv_power(hv, &x->test.uuid, HV_FORCE_OFF, &e) < 0 && e.kind != VR_E_NOTFOUND) {
        vr_err_move(err, &e);
        return;
    }
    if (hv_undefine_test(hv, &x->test.uuid, err) < 0)
        return;
    fault_before("TEST_DELETE");
    if (x->folder)
        storage_files(x->t.d, &x->test.machine, fs_delete_folder, &end, err);
    if (err->kind != VR_OK)
        return;
    fault_before("TEST_UNPIN");
    store_call(x->t.d, st_end, &end);
    fault_after("TEST_UNPIN");
}

static void destroy_work(struct task *t)
{
    struct test_task *x = (struct test_task *)t;
    store_call(t->d, st_destroying, x);
    if (t->err.kind == VR_E_NOTFOUND) { /* as if it had been done before */
        vr_err_clear(&t->err);
        return;
    }
    if (t->err.kind == VR_OK)
        remove_all(x, &t->err);
    vr_err_wrap(&t->err, "destroying test machine %s", x->test.name);
}

/* ---- ends: a job is over when the list of machines shows what it did ---- */
static void task_clean(struct test_task *x)
{
    for (size_t i = 0; i < VR_DISKS_MAX; i++)
        free(x->path[i]);
    free(x->folder);
    free(x->nets);
}

static void settle_work(struct task *t)
{
    const struct timespec wait = { .tv_nsec = SETTLE_MS * 1000000L };
    (void)t;
    nanosleep(&wait, NULL);
}

static void settle_done(struct task *t);

static void settle(struct daemon *d, const struct test_task *x)
{
    struct test_task *s = vr_new(struct test_task);
    s->t.work = settle_work;
    s->t.done = settle_done;
    s->t.err = x->t.err;
    s->test = x->test;
    s->job = x->job;
    s->gone = x->gone;
    s->tries = x->tries + 1;
    if (s->tries % 10 == 1)
        host_refresh_machines(d);
    task_run(d, d->hv_exec, &s->t);
}

static void settle_done(struct task *t)
{
    struct test_task *x = (struct test_task *)t;
    struct daemon *d = t->d;
    bool there = host_machine(d, &x->test.uuid) != NULL;
    if (there == x->gone && x->tries < SETTLE_TRIES && !d->stopping) {
        settle(d, x);
        return;
    }
    struct host_test *h = find(d, &x->test.uuid);
    if (x->gone)
        forget(d, &x->test.uuid);
    else if (h)
        h->ready = t->err.kind == VR_OK;
    if (h && !x->gone)
        h->busy = false;
    host_refresh_points(d, &x->test.machine);
    if (!vr_uuid_is_zero(&x->job))
        engine_job_end(d->engine, &x->job, t->err.kind == VR_OK ? NULL : &t->err);
}

static void recover_later(struct daemon *d, const struct vr_uuid *uuid);

static void create_done(struct task *t)
{
    struct test_task *x = (struct test_task *)t;
    struct host_test *h = find(t->d, &x->test.uuid);
    if (h)
        h->point = x->test.point;
    if (t->err.kind == VR_OK)
        note_last(t->d, &x->test.machine, x->when);
    else if (!x->gone)
        recover_later(t->d, &x->test.uuid);
    if (t->err.kind == VR_OK || x->gone)
        settle(t->d, x);
    else
        engine_job_end(t->d->engine, &x->job, &t->err);
    task_clean(x);
}

static void destroy_done(struct task *t)
{
    struct test_task *x = (struct test_task *)t;
    if (t->err.kind == VR_OK) {
        x->gone = true;
        settle(t->d, x);
    } else {
        vr_log_err(VR_LOG_WARN, "tried again later", &t->err);
        if (!vr_uuid_is_zero(&x->job))
            engine_job_end(t->d->engine, &x->job, &t->err);
        recover_later(t->d, &x->test.uuid);
    }
    task_clean(x);
}

/* ---- what the providers ask for ---- */
static void choose_name(struct daemon *d, const char *of, char out[VR_NAME_MAX])
{
    for (unsigned k = 1; k <= TESTS_MAX + 1; k++) {
        bool taken = false;
        if (k == 1)
            snprintf(out, VR_NAME_MAX, "%.200s - Test", of);
        else
            snprintf(out, VR_NAME_MAX, "%.200s - Test %u", of, k);
        for (size_t i = 0; i < d->n_machines; i++)
            taken |= !strcmp(d->machines[i].name, out);
        for (size_t i = 0; i < tests_of(d)->n; i++)
            taken |= !strcmp(tests_of(d)->v[i].name, out);
        if (!taken)
            return;
    }
}

static int h_test_create(void *ctx, const struct vr_uuid *machine, const struct vr_point_id *point,
                         const struct hv_nic_net *nets, size_t n_nets, const char *owner,
                         struct vr_uuid *ret_job, struct vr_err *err)
{
    struct daemon *d = ctx;
    struct testvms *l = tests_of(d);
    const struct rel *r = engine_find(d->engine, machine);
    if (!r || !rel_follows(r) || !r->has_newest)
        return vr_fail(err, VR_E_STATE, 0, "there is no recovery point to test");
    if (l->n == TESTS_MAX)
        return vr_fail(err, VR_E_LIMIT, 0, "there are %d test machines on this host", TESTS_MAX);
    struct test_task *x = vr_new(struct test_task);
    x->t.work = create_work;
    x->t.done = create_done;
    x->t.r = *r;
    x->when = vr_wall_now();
    x->test = (struct host_test){ .uuid = vr_uuid_new(), .machine = *machine };
    x->test.point = point ? *point : r->newest;
    x->latest = !point;
    choose_name(d, r->name, x->test.name);
    x->nets = vr_new0(n_nets ? n_nets : 1, sizeof *nets);
    for (x->n_nets = 0; x->n_nets < n_nets; x->n_nets++)
        x->nets[x->n_nets] = nets[x->n_nets];
    x->job = x->test.job = engine_job_new(d->engine, JOB_TEST_REPLICA, machine, owner);
    *ret_job = x->job;
    x->test.busy = true;
    l->v[l->n++] = x->test;
    task_run(d, d->hv_exec, &x->t);
    return 0;
}

static void destroy_start(struct daemon *d, struct host_test *t, const struct vr_uuid *job)
{
    struct test_task *x = vr_new(struct test_task);
    t->ready = false;
    t->busy = true;
    x->t.work = destroy_work;
    x->t.done = destroy_done;
    x->test = *t;
    if (job)
        x->job = *job;
    task_run(d, d->hv_exec, &x->t);
}

static int h_test_destroy(void *ctx, const struct vr_uuid *test, const char *owner,
                          struct vr_uuid *ret_job, struct vr_err *err)
{
    struct daemon *d = ctx;
    struct host_test *t = find(d, test);
    if (!t)
        return vr_fail(err, VR_E_NOTFOUND, 0, "there is no such test machine");
    if (!t->ready)
        return vr_fail(err, VR_E_BUSY, 0, "test machine %s is just being made or destroyed",
                       t->name);
    *ret_job = engine_job_new(d->engine, JOB_DESTROY_TEST, test, owner);
    destroy_start(d, t, ret_job);
    return 0;
}

/* ---- start ---- */
static int load_test(void *ctx, const char *id, const char *text, struct vr_err *err)
{
    struct daemon *d = ctx;
    struct testvms *l = tests_of(d);
    vr_autofree char *folder = NULL;
    if (l->n == TESTS_MAX)
        return vr_fail(err, VR_E_CORRUPT, 0, "too many written test machines");
    if (test_decode(id, text, &l->v[l->n], &folder, err) < 0)
        return -1;
    l->n++;
    return 0;
}

static int load_last(void *ctx, const char *id, const char *text, struct vr_err *err)
{
    struct vr_uuid machine;
    int64_t us = 0;
    (void)err;
    if (vr_uuid_parse(id, &machine, NULL) == 0 && sscanf(text, "%" SCNd64, &us) == 1)
        note_last(ctx, &machine, (struct wall_us){ us });
    return 0;
}

int testvm_load(struct daemon *d, struct vr_err *err)
{
    if (store_doc_each(d->store, "test", load_test, d, err) < 0)
        return -1;
    return store_doc_each(d->store, "last-test", load_last, d, err);
}

void testvm_recover(struct daemon *d)
{
    struct testvms *l = tests_of(d);
    for (size_t i = 0; i < l->n; i++)
        if (!l->v[i].ready && !l->v[i].busy) {
            vr_log(VR_LOG_INFO, "test machine %s was not made or destroyed to the end: removing it",
                   l->v[i].name);
            destroy_start(d, &l->v[i], NULL);
        }
}

static int on_again(sd_event_source *s, uint64_t usec, void *user)
{
    struct daemon *d = user;
    (void)usec;
    sd_event_source_unref(s);
    if (!d->stopping)
        testvm_recover(d);
    return 0;
}

static void recover_later(struct daemon *d, const struct vr_uuid *uuid)
{
    struct host_test *t = find(d, uuid);
    if (t)
        t->busy = false;
    sd_event_source *s = NULL;
    uint64_t now = 0;
    sd_event_now(d->loop, CLOCK_MONOTONIC, &now);
    if (sd_event_add_time(d->loop, &s, CLOCK_MONOTONIC, now + AGAIN_US, 100000, on_again, d) < 0)
        vr_log(VR_LOG_ERROR, "a test machine is removed at the next start only");
}

/* ---- proof that a point boots ---- */
static void booted_work(struct task *t)
{
    struct test_task *x = (struct test_task *)t;
    store_proof_booted(t->d->store, &x->test.machine, &x->test.point, x->when, &t->err);
}

static void booted_done(struct task *t)
{
    struct test_task *x = (struct test_task *)t;
    if (t->err.kind != VR_OK)
        vr_log_err(VR_LOG_WARN, "noting that a test machine ran", &t->err);
    else
        vr_log(VR_LOG_INFO, "test machine %s ran for %u s: its recovery point %" PRIu64 " boots",
               x->test.name, t->d->cfg.test_boot_seconds, x->test.point.epoch);
    host_refresh_points(t->d, &x->test.machine);
}

void testvm_tick(struct daemon *d)
{
    struct testvms *l = tests_of(d);
    struct mono_ms now = vr_mono_now();
    for (size_t i = 0; i < l->n; i++) {
        struct host_test *v = &l->v[i];
        const struct hv_machine *m = host_machine(d, &v->uuid);
        if (!m || m->power != HV_POWER_RUNNING)
            v->running.ms = 0;
        else if (!v->running.ms)
            v->running = now;
        if (v->booted || !v->running.ms ||
            now.ms - v->running.ms < (int64_t)d->cfg.test_boot_seconds * 1000)
            continue;
        v->booted = true;
        struct test_task *x = vr_new(struct test_task);
        x->t.work = booted_work;
        x->t.done = booted_done;
        x->test = *v;
        x->when = vr_wall_now();
        task_run(d, d->store_exec, &x->t);
    }
}

void testvm_host(struct daemon *d)
{
    d->host.tests = h_tests;
    d->host.last_test = h_last_test;
    d->host.test_create = h_test_create;
    d->host.test_destroy = h_test_destroy;
}
