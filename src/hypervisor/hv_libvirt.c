/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The connection to libvirtd: opening, watching, opening again; its events; its errors.
 *
 * Threads: one event thread of the process runs libvirt's event loop for ever; every hv has a
 * connector thread that opens connections, because opening may block. Workers take a reference to
 * the connection for the length of a call, so a lost one is freed when the last call has failed.
 * Invariant: hv->conn is NULL or a connection on which events are registered. */
#include "hv_libvirt_priv.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/alloc.h"
#include "base/log.h"
#include "guard.h"
#include "nbdexport.h"

enum { KEEPALIVE_S = 5, KEEPALIVE_COUNT = 4, RETRY_MS = 500, RETRY_MAX_MS = 5000, GENS_MAX = 4096 };
enum { CAME_MS = 5000 }; /* see lv_just_came() */

/* ---- errors ---- */

/* The last error that lv_note() saw on this thread. */
static __thread struct {
    int code, domain;
    char text[400];
} noted;

void lv_note(void)
{
    const virError *e = virGetLastError();
    const char *text = e && e->message ? e->message : "libvirt gave no reason";
    noted.code = e ? e->code : VIR_ERR_OK;
    noted.domain = e ? e->domain : 0;
    /* Of a refusing hook only its own words matter, not how it was called. */
    const char *said =
        noted.code == VIR_ERR_HOOK_SCRIPT_FAILED ? strstr(text, "unexpected exit status ") : NULL;
    said = said ? strstr(said, ": ") : NULL;
    snprintf(noted.text, sizeof noted.text, "%s", said ? said + 2 : text);
    for (size_t n = strlen(noted.text); n && noted.text[n - 1] == '\n';)
        noted.text[--n] = 0;
}

static enum vr_kind noted_kind(void)
{
    switch (noted.code) {
    case VIR_ERR_NO_DOMAIN:
        return VR_E_NOTFOUND;
    case VIR_ERR_OPERATION_INVALID:
    case VIR_ERR_HOOK_SCRIPT_FAILED: /* the guard */
        return VR_E_STATE;
    case VIR_ERR_OPERATION_TIMEOUT: /* the state change lock: somebody else's job */
        return VR_E_BUSY;
    case VIR_ERR_CHECKPOINT_INCONSISTENT:
    case VIR_ERR_NO_DOMAIN_CHECKPOINT:
        return VR_E_TRACKING;
    case VIR_ERR_NO_SUPPORT:
    case VIR_ERR_OPERATION_UNSUPPORTED:
    case VIR_ERR_CONFIG_UNSUPPORTED:
        return VR_E_UNSUPPORTED;
    case VIR_ERR_AUTH_FAILED:
    case VIR_ERR_AUTH_CANCELLED:
    case VIR_ERR_ACCESS_DENIED:
    case VIR_ERR_OPERATION_DENIED:
        return VR_E_DENIED;
    case VIR_ERR_NO_MEMORY:
        return VR_E_NOMEM;
    case VIR_ERR_NO_CONNECT:
    case VIR_ERR_INVALID_CONN:
    case VIR_ERR_RPC:
        return VR_E_UNAVAIL;
    default:
        if (noted.domain == VIR_FROM_RPC || noted.domain == VIR_FROM_REMOTE)
            return VR_E_UNAVAIL;
        return strstr(noted.text, "No space left") ? VR_E_NOSPACE : VR_E_HV;
    }
}

int lv_fail_at(struct vr_err *err, const char *where, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return vr_fail_at(err, where, noted_kind(), 0, "%s: %s", text, noted.text);
}

static void no_print(void *ctx, virErrorPtr e)
{
    (void)ctx;
    (void)e;
}

/* ---- the event thread ---- */

static void *event_loop(void *arg)
{
    (void)arg;
    for (;;) {
        if (virEventRunDefaultImpl() < 0) {
            vr_log(VR_LOG_ERROR, "libvirt's event loop fails: %s", virGetLastErrorMessage());
            struct timespec second = { .tv_sec = 1 };
            nanosleep(&second, NULL);
        }
    }
    return NULL;
}

static void wake(int timer, void *arg)
{
    (void)timer;
    (void)arg;
}

static void start_events(void)
{
    pthread_t t;
    virSetErrorFunc(NULL, no_print);
    if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0) {
        vr_log(VR_LOG_ERROR, "libvirt does not start: %s", virGetLastErrorMessage());
        return;
    }
    /* Without any handle or timer the loop would not wait but fail. */
    virEventAddTimeout(60000, wake, NULL, NULL);
    if (pthread_create(&t, NULL, event_loop, NULL) == 0) {
        pthread_setname_np(t, "hv-events");
        pthread_detach(t);
    }
}

struct barrier {
    pthread_mutex_t mu;
    pthread_cond_t cond;
    bool passed;
};

static void pass(int timer, void *arg)
{
    struct barrier *b = arg;
    virEventRemoveTimeout(timer);
    pthread_mutex_lock(&b->mu);
    b->passed = true;
    pthread_cond_signal(&b->cond);
    pthread_mutex_unlock(&b->mu);
}

/* Wait until no callback that was running when we came is running any more. */
static void event_barrier(void)
{
    struct barrier b = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false };
    if (virEventAddTimeout(0, pass, &b, NULL) < 0)
        return;
    pthread_mutex_lock(&b.mu);
    while (!b.passed)
        pthread_cond_wait(&b.cond, &b.mu);
    pthread_mutex_unlock(&b.mu);
}

/* ---- events ---- */

static void emit(struct hv *hv, enum hv_event_type type, virDomainPtr dom)
{
    struct vr_uuid uuid = { { 0 } };
    if (dom && virDomainGetUUID(dom, uuid.b) < 0)
        return;
    if (hv->fn)
        hv->fn(hv->ctx, type, &uuid);
}

/* What is noted of a machine, made if need be; NULL: no room. With hv->mu. */
static struct lv_gen *gen_of(struct hv *hv, const struct vr_uuid *uuid)
{
    size_t i = 0;
    while (i < hv->n_gens && !vr_uuid_eq(&hv->gens[i].uuid, uuid))
        i++;
    if (i == hv->n_gens && hv->n_gens < GENS_MAX) {
        hv->gens = vr_grow(hv->gens, hv->n_gens + 1, sizeof *hv->gens);
        hv->gens[hv->n_gens++] = (struct lv_gen){ .uuid = *uuid };
    }
    return i < hv->n_gens ? &hv->gens[i] : NULL;
}

/* A machine was started, @came: by a migration that ends now. */
static void count_generation(struct hv *hv, const struct vr_uuid *uuid, bool came)
{
    pthread_mutex_lock(&hv->mu);
    struct lv_gen *g = gen_of(hv, uuid);
    if (g) {
        g->n++;
        if (came)
            g->came = vr_mono_now();
    } else
        hv->conn_gen++; /* no room to count: distrust everything */
    pthread_mutex_unlock(&hv->mu);
}

static void note_end(struct hv *hv, const struct vr_uuid *uuid, int detail)
{
    bool crash =
        detail == VIR_DOMAIN_EVENT_STOPPED_CRASHED || detail == VIR_DOMAIN_EVENT_STOPPED_FAILED;
    pthread_mutex_lock(&hv->mu);
    struct lv_gen *g = gen_of(hv, uuid);
    if (g)
        g->end = crash ? LOST_END_CRASH : LOST_END_ORDERLY;
    pthread_mutex_unlock(&hv->mu);
}

enum lost_end lv_last_end(struct hv *hv, const struct vr_uuid *uuid)
{
    enum lost_end end = LOST_END_UNKNOWN;
    pthread_mutex_lock(&hv->mu);
    for (size_t i = 0; i < hv->n_gens; i++)
        if (vr_uuid_eq(&hv->gens[i].uuid, uuid))
            end = hv->gens[i].end;
    pthread_mutex_unlock(&hv->mu);
    return end;
}

struct lv_mark lv_generation(struct hv *hv, const struct vr_uuid *uuid)
{
    struct lv_mark m = { 0 };
    pthread_mutex_lock(&hv->mu);
    m.conn = hv->conn_gen;
    for (size_t i = 0; i < hv->n_gens; i++)
        if (vr_uuid_eq(&hv->gens[i].uuid, uuid))
            m.machine = hv->gens[i].n;
    pthread_mutex_unlock(&hv->mu);
    return m;
}

bool lv_just_came(struct hv *hv, const struct vr_uuid *uuid)
{
    bool just = false;
    pthread_mutex_lock(&hv->mu);
    for (size_t i = 0; i < hv->n_gens; i++)
        if (vr_uuid_eq(&hv->gens[i].uuid, uuid))
            just = hv->gens[i].came.ms && vr_mono_now().ms < hv->gens[i].came.ms + CAME_MS;
    pthread_mutex_unlock(&hv->mu);
    return just;
}

static int on_lifecycle(virConnectPtr conn, virDomainPtr dom, int event, int detail, void *arg)
{
    struct hv *hv = arg;
    static const struct {
        int event;
        enum hv_event_type type;
    } map[] = {
        { VIR_DOMAIN_EVENT_DEFINED, HV_EV_DEFINED },
        { VIR_DOMAIN_EVENT_UNDEFINED, HV_EV_UNDEFINED },
        { VIR_DOMAIN_EVENT_STARTED, HV_EV_STARTED },
        { VIR_DOMAIN_EVENT_STOPPED, HV_EV_STOPPED },
        { VIR_DOMAIN_EVENT_SUSPENDED, HV_EV_PAUSED },
        { VIR_DOMAIN_EVENT_PMSUSPENDED, HV_EV_PAUSED },
        { VIR_DOMAIN_EVENT_CRASHED, HV_EV_PAUSED }, /* QEMU lives on; STOPPED follows if not */
        { VIR_DOMAIN_EVENT_RESUMED, HV_EV_RESUMED },
    };
    (void)conn;
    struct vr_uuid uuid;
    bool came = event == VIR_DOMAIN_EVENT_RESUMED && detail == VIR_DOMAIN_EVENT_RESUMED_MIGRATED;
    /* Not stops: what is told late of a machine that was off before a capture says nothing of it.
     */
    if ((event == VIR_DOMAIN_EVENT_STARTED || came) && virDomainGetUUID(dom, uuid.b) == 0)
        count_generation(hv, &uuid, came);
    if (event == VIR_DOMAIN_EVENT_STOPPED && virDomainGetUUID(dom, uuid.b) == 0)
        note_end(hv, &uuid, detail);
    for (size_t i = 0; i < VR_ARRAY_LEN(map); i++)
        if (map[i].event == event)
            emit(hv, map[i].type, dom);
    return 0;
}

static void on_disk_change(virConnectPtr conn, virDomainPtr dom, const char *old, const char *now,
                           const char *alias, int reason, void *arg)
{
    (void)conn, (void)old, (void)now, (void)alias, (void)reason;
    emit(arg, HV_EV_DISKS_CHANGED, dom);
}

static void on_device(virConnectPtr conn, virDomainPtr dom, const char *alias, void *arg)
{
    (void)conn, (void)alias;
    emit(arg, HV_EV_DISKS_CHANGED, dom);
}

static void on_block_job(virConnectPtr conn, virDomainPtr dom, const char *disk, int type,
                         int status, void *arg)
{
    (void)conn, (void)disk;
    if (type != VIR_DOMAIN_BLOCK_JOB_TYPE_BACKUP && status == VIR_DOMAIN_BLOCK_JOB_COMPLETED)
        emit(arg, HV_EV_DISKS_CHANGED, dom);
}

static void watch(struct hv *hv, virConnectPtr conn)
{
    const struct {
        int id;
        virConnectDomainEventGenericCallback fn;
    } cbs[] = {
        { VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle) },
        { VIR_DOMAIN_EVENT_ID_DISK_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_disk_change) },
        { VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, VIR_DOMAIN_EVENT_CALLBACK(on_device) },
        { VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, VIR_DOMAIN_EVENT_CALLBACK(on_device) },
        { VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2, VIR_DOMAIN_EVENT_CALLBACK(on_block_job) },
    };
    hv->n_callbacks = 0;
    for (size_t i = 0; i < VR_ARRAY_LEN(cbs); i++) {
        int id = virConnectDomainEventRegisterAny(conn, NULL, cbs[i].id, cbs[i].fn, hv, NULL);
        if (id >= 0)
            hv->callbacks[hv->n_callbacks++] = id;
        else
            vr_log(VR_LOG_WARN, "libvirt event %d cannot be watched: %s", cbs[i].id,
                   virGetLastErrorMessage());
    }
}

/* ---- the connector thread ---- */

static void on_close(virConnectPtr conn, int reason, void *arg)
{
    struct hv *hv = arg;
    (void)conn, (void)reason;
    pthread_mutex_lock(&hv->mu);
    hv->lost = true;
    pthread_cond_broadcast(&hv->cond);
    pthread_mutex_unlock(&hv->mu);
}

/* Give up the connection; calls in progress on other threads fail by themselves. */
static void disconnect(struct hv *hv)
{
    pthread_mutex_lock(&hv->mu);
    virConnectPtr conn = hv->conn;
    hv->conn = NULL;
    hv->lost = false;
    hv->conn_gen++;
    pthread_mutex_unlock(&hv->mu);
    if (!conn)
        return;
    virConnectUnregisterCloseCallback(conn, on_close);
    for (size_t i = 0; i < hv->n_callbacks; i++)
        virConnectDomainEventDeregisterAny(conn, hv->callbacks[i]);
    hv->n_callbacks = 0;
    virConnectClose(conn);
    event_barrier();
}

static bool try_connect(struct hv *hv)
{
    virConnectPtr conn = virConnectOpen(hv->uri);
    if (!conn) {
        vr_log(VR_LOG_DEBUG, "cannot connect to %s: %s", hv->uri, virGetLastErrorMessage());
        return false;
    }
    if (virConnectSetKeepAlive(conn, KEEPALIVE_S, KEEPALIVE_COUNT) < 0)
        vr_log(VR_LOG_DEBUG, "no keepalive to %s: %s", hv->uri, virGetLastErrorMessage());
    if (virConnectRegisterCloseCallback(conn, on_close, hv, NULL) < 0) {
        virConnectClose(conn);
        return false;
    }
    watch(hv, conn);
    if (!hv->swept)
        lv_sweep_jobs(hv, conn);
    hv->swept = true;
    pthread_mutex_lock(&hv->mu);
    hv->conn = conn;
    hv->conn_gen++;
    pthread_cond_broadcast(&hv->cond);
    pthread_mutex_unlock(&hv->mu);
    return true;
}

static void deadline(struct timespec *ts, int ms)
{
    clock_gettime(CLOCK_MONOTONIC, ts);
    ts->tv_sec += ms / 1000;
    ts->tv_nsec += (long)(ms % 1000) * 1000000;
    if (ts->tv_nsec >= 1000000000) {
        ts->tv_sec++;
        ts->tv_nsec -= 1000000000;
    }
}

static void *connector(void *arg)
{
    struct hv *hv = arg;
    int wait_ms = RETRY_MS;
    pthread_mutex_lock(&hv->mu);
    while (!hv->stop) {
        bool have = hv->conn != NULL, lost = hv->lost;
        if (have && !lost) {
            pthread_cond_wait(&hv->cond, &hv->mu);
            continue;
        }
        pthread_mutex_unlock(&hv->mu);
        if (lost) {
            disconnect(hv);
            emit(hv, HV_EV_DISCONNECTED, NULL);
        }
        bool ok = try_connect(hv);
        if (ok)
            emit(hv, HV_EV_CONNECTED, NULL);
        pthread_mutex_lock(&hv->mu);
        if (ok) {
            wait_ms = RETRY_MS;
        } else if (!hv->stop) {
            struct timespec ts;
            deadline(&ts, wait_ms);
            pthread_cond_timedwait(&hv->cond, &hv->mu, &ts);
            wait_ms = wait_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : wait_ms * 2;
        }
    }
    pthread_mutex_unlock(&hv->mu);
    disconnect(hv);
    return NULL;
}

/* ---- life ---- */

static int make_dir(const char *dir, mode_t mode, struct vr_err *err)
{
    if (mkdir(dir, mode) < 0 && errno != EEXIST)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot make %s", dir);
    if (chmod(dir, mode) < 0)
        return vr_fail(err, VR_E_IO, errno, "cannot set the mode of %s", dir);
    return 0;
}

/* What an earlier daemon left in the folders of machines when it was killed: exports, scratch
 * files. QEMU keeps what it has open. */
static void sweep_machines(const char *all)
{
    vr_autoclosedir DIR *d = opendir(all);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        struct vr_uuid uuid;
        vr_autofree char *dir = vr_printf("%s/%s", all, e->d_name);
        if (vr_uuid_parse(e->d_name, &uuid, NULL) == 0) {
            nbdexport_sweep(dir);
            rmdir(dir);
        }
    }
}

static void free_parts(struct hv *hv)
{
    pthread_mutex_destroy(&hv->mu);
    pthread_cond_destroy(&hv->cond);
    free(hv->uri);
    free(hv->run_dir);
    free(hv->guard_dir);
    free(hv->scratch_dir);
    free(hv->gens);
    free(hv);
}

struct hv *hv_libvirt_new(const char *uri, const char *run_dir, const char *guard_dir,
                          hv_event_fn fn, void *ctx, struct vr_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_events);
    if (make_dir(run_dir, 0711, err) < 0)
        return NULL;
    sweep_machines(run_dir);
    struct hv *hv = vr_new(struct hv);
    hv->uri = vr_strdup(uri);
    hv->run_dir = vr_strdup(run_dir);
    hv->guard_dir = vr_strdup(guard_dir);
    hv->fn = fn;
    hv->ctx = ctx;
    pthread_mutex_init(&hv->mu, NULL);
    pthread_condattr_t ca;
    pthread_condattr_init(&ca);
    pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
    pthread_cond_init(&hv->cond, &ca);
    pthread_condattr_destroy(&ca);
    hv->thaw = lv_thaw_new(uri, guard_dir, err);
    int rc = hv->thaw ? pthread_create(&hv->connector, NULL, connector, hv) : ENOMEM;
    if (rc) {
        if (hv->thaw)
            vr_fail(err, VR_E_NOMEM, rc, "cannot start the connector thread");
        lv_thaw_free(hv->thaw);
        free_parts(hv);
        return NULL;
    }
    pthread_setname_np(hv->connector, "hv-connect");
    return hv;
}

void hv_free(struct hv *hv)
{
    if (!hv)
        return;
    pthread_mutex_lock(&hv->mu);
    hv->stop = true;
    pthread_cond_broadcast(&hv->cond);
    pthread_mutex_unlock(&hv->mu);
    pthread_join(hv->connector, NULL);
    lv_thaw_free(hv->thaw);
    free_parts(hv);
}

int hv_set_scratch_dir(struct hv *hv, const char *dir, struct vr_err *err)
{
    if (dir && make_dir(dir, 0711, err) < 0)
        return -1;
    if (dir)
        sweep_machines(dir);
    pthread_mutex_lock(&hv->mu);
    vr_set_str(&hv->scratch_dir, dir);
    pthread_mutex_unlock(&hv->mu);
    return 0;
}

/* ---- getting at things ---- */

virConnectPtr lv_conn(struct hv *hv, int patience_ms, struct vr_err *err)
{
    struct timespec ts;
    deadline(&ts, patience_ms);
    virConnectPtr conn = NULL;
    pthread_mutex_lock(&hv->mu);
    while (!hv->stop && (!hv->conn || hv->lost) && patience_ms > 0)
        if (pthread_cond_timedwait(&hv->cond, &hv->mu, &ts))
            break;
    if (hv->conn && !hv->lost && virConnectRef(hv->conn) == 0)
        conn = hv->conn;
    pthread_mutex_unlock(&hv->mu);
    if (!conn)
        vr_fail(err, VR_E_UNAVAIL, 0, "libvirtd (%s) is not there", hv->uri);
    return conn;
}

virDomainPtr lv_dom(struct hv *hv, const struct vr_uuid *uuid, int patience_ms, struct vr_err *err)
{
    lv_conn_auto conn = lv_conn(hv, patience_ms, err);
    if (!conn)
        return NULL;
    virDomainPtr dom = virDomainLookupByUUID(conn, uuid->b);
    if (!dom)
        lv_fail(err, "machine");
    return dom;
}

int lv_active(virDomainPtr dom, struct vr_err *err)
{
    int r = virDomainIsActive(dom);
    return r < 0 ? lv_fail(err, "%s: state", virDomainGetName(dom)) : r;
}

int hv_guard(struct hv *hv, const struct vr_uuid *uuid, const char *reason, struct vr_err *err)
{
    return guard_set(hv->guard_dir, uuid, reason, err);
}
