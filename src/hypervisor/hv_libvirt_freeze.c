/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Freezing the file systems of a guest through its agent for the instant of a capture, and
 * releasing them whatever happens.
 *
 *   mark guard_dir/<uuid>.frozen -> entry with a deadline -> virDomainFSFreeze
 *     -> the instant -> virDomainFSThaw -> no entry -> no mark
 *
 * Likewise stopping a machine for the moment in which QEMU writes out what it caches (hv_flush()),
 * with the mark guard_dir/<uuid>.paused, virDomainSuspend and virDomainResume.
 *
 * The watchdog thread releases what is still frozen when its deadline is over: over a connection of
 * its own, because the worker's may be stuck, and again until it succeeds or the machine is off. It
 * also takes over when the worker's own release fails, and at start what the marks of a process
 * that was killed tell. Only the agent can release a guest: as long as it or libvirtd does not
 * answer, nobody can, and the log says so.
 *
 * Thread: any worker; the list is guarded by the mutex, marks are made and removed under it. */
#include "hv_libvirt_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "domxml.h"

/* GRACE: what the worker's own release may take beyond the limit before the watchdog steps in. */
enum {
    GRACE_MS = 500,
    AGAIN_MS = 2000,
    SAY_MS = 60000,
    AGENT_S = 5,
    KEEPALIVE_S = 5,
    KEEPALIVE_COUNT = 3
};

enum held { HELD_FROZEN, HELD_PAUSED };
static const char *const suffix[] = { [HELD_FROZEN] = ".frozen", [HELD_PAUSED] = ".paused" };

struct entry {
    struct vr_uuid uuid;
    enum held held;
    int64_t began_ms, deadline_ms, said_ms;
    bool fired;  /* the watchdog has begun to release it */
    bool inside; /* the worker's call that holds it is not over: it may yet be carried out */
};

struct lv_thaw {
    char *uri, *dir;
    pthread_t thread;
    pthread_mutex_t mu; /* guards what follows */
    pthread_cond_t cond;
    bool stop;
    struct entry *v;
    size_t n;
};

/* ---- the list and its marks ---- */
static char *mark_path(const struct lv_thaw *w, const struct vr_uuid *uuid, enum held held)
{
    char text[VR_UUID_STR];
    return vr_printf("%s/%s%s", w->dir, vr_uuid_fmt(uuid, text), suffix[held]);
}

static struct entry *find(struct lv_thaw *w, const struct vr_uuid *uuid, enum held held)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->v[i].held == held && vr_uuid_eq(&w->v[i].uuid, uuid))
            return &w->v[i];
    return NULL;
}

static void add(struct lv_thaw *w, const struct vr_uuid *uuid, enum held held, int64_t deadline_ms)
{
    struct entry *e = find(w, uuid, held);
    if (!e) {
        w->v = vr_grow(w->v, w->n + 1, sizeof *w->v);
        e = &w->v[w->n++];
    }
    *e = (struct entry){ .uuid = *uuid,
                         .held = held,
                         .began_ms = vr_mono_now().ms,
                         .deadline_ms = deadline_ms,
                         .inside = deadline_ms != 0 };
    pthread_cond_broadcast(&w->cond);
}

/* The worker's call is over: what it did is done. */
static void left(struct lv_thaw *w, const struct vr_uuid *uuid, enum held held)
{
    pthread_mutex_lock(&w->mu);
    struct entry *e = find(w, uuid, held);
    if (e)
        e->inside = false;
    pthread_mutex_unlock(&w->mu);
}

/* It is released: nothing is left to do. */
static void forget(struct lv_thaw *w, const struct vr_uuid *uuid, enum held held)
{
    struct entry *e = find(w, uuid, held);
    vr_autofree char *mark = mark_path(w, uuid, held);
    if (e)
        *e = w->v[--w->n];
    if (unlink(mark) < 0 && errno != ENOENT)
        vr_log(VR_LOG_WARN, "cannot remove %s: %s", mark, strerror(errno));
}

/* Without a mark a guest could stay frozen for good: then it is not frozen at all. */
static bool make_mark(const struct lv_thaw *w, const struct vr_uuid *uuid, enum held held,
                      char why[160])
{
    vr_autofree char *mark = mark_path(w, uuid, held);
    vr_autoclose int fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0)
        return true;
    snprintf(why, 160, "%.80s cannot be made: %s", mark, strerror(errno));
    return false;
}

static void load_marks(struct lv_thaw *w)
{
    vr_autoclosedir DIR *d = opendir(w->dir);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));)
        for (enum held held = HELD_FROZEN; held <= HELD_PAUSED; held++) {
            struct vr_uuid uuid;
            char text[VR_UUID_STR];
            if (strlen(e->d_name) != VR_UUID_STR - 1 + strlen(suffix[held]) ||
                strcmp(e->d_name + VR_UUID_STR - 1, suffix[held]) != 0)
                continue;
            snprintf(text, sizeof text, "%s", e->d_name);
            if (vr_uuid_parse(text, &uuid, NULL) < 0)
                continue;
            vr_log(VR_LOG_WARN, "machine %s was %s when the daemon ended: releasing it", text,
                   suffix[held] + 1);
            add(w, &uuid, held, 0);
        }
}

/* ---- the watchdog ---- */
static bool is_definite(void)
{
    switch (virGetLastErrorCode()) {
    case VIR_ERR_INTERNAL_ERROR: /* the agent answered, and refused */
    case VIR_ERR_ARGUMENT_UNSUPPORTED:
    case VIR_ERR_OPERATION_UNSUPPORTED:
    case VIR_ERR_OPERATION_INVALID: /* not running any more */
    case VIR_ERR_NO_SUPPORT:
    case VIR_ERR_NO_DOMAIN:
        return true;
    default:
        return false;
    }
}

/* A call to an agent that does not answer ends after so many seconds, not never. */
static void set_patience(virDomainPtr dom, int seconds)
{
    if (virDomainAgentSetResponseTimeout(dom, seconds, 0) < 0)
        vr_log(VR_LOG_DEBUG, "patience with the guest agent: %s", virGetLastErrorMessage());
}

/* Does it run? Resuming first, whatever it seems to be: a suspend that libvirt has not carried out
 * yet comes before it in the machine's queue, and the state does not tell of it. */
static bool resume(virDomainPtr dom, char why[160])
{
    int state = 0;
    if (virDomainResume(dom) == 0)
        return true;
    snprintf(why, 160, "%.120s", virGetLastErrorMessage());
    return virDomainGetState(dom, &state, NULL, 0) == 0 && state != VIR_DOMAIN_PAUSED;
}

/* Is the machine released, or past being frozen? @why else. */
static bool release(virConnectPtr *conn, const char *uri, const struct vr_uuid *uuid,
                    enum held held, char why[160])
{
    if (*conn && virConnectIsAlive(*conn) != 1) {
        virConnectClose(*conn);
        *conn = NULL;
    }
    if (!*conn)
        *conn = virConnectOpen(uri);
    if (!*conn) {
        snprintf(why, 160, "libvirtd does not answer: %.100s", virGetLastErrorMessage());
        return false;
    }
    virConnectSetKeepAlive(*conn, KEEPALIVE_S, KEEPALIVE_COUNT);
    lv_dom_auto dom = virDomainLookupByUUID(*conn, uuid->b);
    if (!dom) {
        snprintf(why, 160, "%.120s", virGetLastErrorMessage());
        return virGetLastErrorCode() == VIR_ERR_NO_DOMAIN;
    }
    if (virDomainIsActive(dom) == 0)
        return true;
    if (held == HELD_PAUSED)
        return resume(dom, why);
    set_patience(dom, AGENT_S);
    int n = virDomainFSThaw(dom, NULL, 0, 0);
    if (n < 0)
        snprintf(why, 160, "%.120s", virGetLastErrorMessage());
    bool over = n >= 0 || virGetLastErrorCode() == VIR_ERR_ARGUMENT_UNSUPPORTED;
    set_patience(dom, VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK);
    return over;
}

static void wait_until(struct lv_thaw *w, int64_t ms)
{
    struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };
    pthread_cond_timedwait(&w->cond, &w->mu, &ts);
}

static void say(struct entry *e, bool over, const char *why)
{
    char text[VR_UUID_STR];
    int64_t now = vr_mono_now().ms;
    vr_uuid_fmt(&e->uuid, text);
    if (e->held == HELD_PAUSED && (over || !e->said_ms || now - e->said_ms > SAY_MS)) {
        if (over)
            vr_log(VR_LOG_WARN, "machine %s: it is no longer paused", text);
        else
            vr_log(VR_LOG_ERROR,
                   "machine %s: it may be paused and cannot be resumed (%s); trying again until it "
                   "succeeds",
                   text, why);
        e->said_ms = now;
    } else if (e->held == HELD_PAUSED) {
        return;
    } else if (over) {
        vr_log(VR_LOG_WARN, "machine %s: its file systems are released", text);
    } else if (!e->said_ms || now - e->said_ms > SAY_MS) {
        vr_log(
            VR_LOG_ERROR,
            "machine %s: its file systems may be frozen and cannot be released (%s); trying again "
            "until it succeeds. If the guest hangs, reset it",
            text, why);
        e->said_ms = now;
    }
}

static void *watchdog(void *arg)
{
    struct lv_thaw *w = arg;
    virConnectPtr conn = NULL;
    pthread_mutex_lock(&w->mu);
    while (!w->stop) {
        struct entry *next = NULL;
        for (size_t i = 0; i < w->n; i++)
            if (!next || w->v[i].deadline_ms < next->deadline_ms)
                next = &w->v[i];
        if (!next) {
            pthread_cond_wait(&w->cond, &w->mu);
            continue;
        }
        if (next->deadline_ms > vr_mono_now().ms) {
            wait_until(w, next->deadline_ms);
            continue;
        }
        struct vr_uuid uuid = next->uuid;
        enum held held = next->held;
        char why[160] = "";
        next->fired = true;
        pthread_mutex_unlock(&w->mu);
        bool over = release(&conn, w->uri, &uuid, held, why);
        pthread_mutex_lock(&w->mu);
        struct entry *e = find(w, &uuid, held);
        if (!e || !e->fired) /* the worker was faster; or froze it anew */
            continue;
        /* What was released may be held once more when the worker's call is carried out at last:
         * then there is nobody else to release it. */
        bool certain = over && !e->inside;
        if (certain || !over)
            say(e, over, why);
        e->deadline_ms = vr_mono_now().ms + AGAIN_MS;
        if (certain)
            forget(w, &uuid, held);
    }
    pthread_mutex_unlock(&w->mu);
    if (conn)
        virConnectClose(conn);
    return NULL;
}

struct lv_thaw *lv_thaw_new(const char *uri, const char *guard_dir, struct vr_err *err)
{
    struct lv_thaw *w = vr_new(struct lv_thaw);
    w->uri = vr_strdup(uri);
    w->dir = vr_strdup(guard_dir);
    pthread_mutex_init(&w->mu, NULL);
    pthread_condattr_t ca;
    pthread_condattr_init(&ca);
    pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
    pthread_cond_init(&w->cond, &ca);
    pthread_condattr_destroy(&ca);
    load_marks(w);
    int rc = pthread_create(&w->thread, NULL, watchdog, w);
    if (rc == 0) {
        pthread_setname_np(w->thread, "hv-thaw");
        return w;
    }
    vr_fail(err, VR_E_NOMEM, rc, "cannot start the watchdog of frozen guests");
    w->stop = true;
    lv_thaw_free(w);
    return NULL;
}

void lv_thaw_free(struct lv_thaw *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->mu);
    bool running = !w->stop;
    w->stop = true;
    pthread_cond_broadcast(&w->cond);
    pthread_mutex_unlock(&w->mu);
    if (running)
        pthread_join(w->thread, NULL);
    pthread_mutex_destroy(&w->mu);
    pthread_cond_destroy(&w->cond);
    free(w->uri);
    free(w->dir);
    free(w->v);
    free(w);
}

/* ---- the worker ---- */
/* Whether asking makes sense: without an agent every call would take its time to fail. */
static bool has_agent(virDomainPtr dom, char why[160])
{
    int state = 0;
    if (virDomainGetState(dom, &state, NULL, 0) == 0 && state == VIR_DOMAIN_PAUSED) {
        snprintf(why, 160, "the machine is paused: its guest agent cannot answer");
        return false;
    }
    vr_autofree char *xml = virDomainGetXMLDesc(dom, 0);
    int there = xml ? domxml_agent(xml, NULL) : -1;
    if (there == 2)
        return true;
    snprintf(why, 160, "%s",
             there == 1   ? "the guest agent (qemu-guest-agent) is not running in the guest"
             : there == 0 ? "the machine has no channel for the guest agent"
                          : "whether there is a guest agent cannot be told");
    return false;
}

bool lv_freeze(struct hv *hv, virDomainPtr dom, const struct vr_uuid *uuid, unsigned limit_s,
               char why[160])
{
    struct lv_thaw *w = hv->thaw;
    if (!has_agent(dom, why))
        return false;
    pthread_mutex_lock(&w->mu);
    bool still = find(w, uuid, HELD_FROZEN) != NULL;
    bool marked = !still && make_mark(w, uuid, HELD_FROZEN, why);
    if (marked)
        add(w, uuid, HELD_FROZEN, vr_mono_now().ms + (int64_t)limit_s * 1000 + GRACE_MS);
    pthread_mutex_unlock(&w->mu);
    if (still)
        snprintf(why, 160, "the guest agent has not yet released what was frozen before");
    if (!marked)
        return false;
    set_patience(dom, (int)limit_s);
    int n = virDomainFSFreeze(dom, NULL, 0, 0);
    bool definite = n < 0 && is_definite();
    left(w, uuid, HELD_FROZEN);
    if (n > 0)
        return true;
    if (n == 0)
        snprintf(why, 160, "the guest agent found no file system to freeze");
    else
        snprintf(why, 160, "%.159s", virGetLastErrorMessage());
    set_patience(dom, VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK);
    pthread_mutex_lock(&w->mu);
    struct entry *e = find(w, uuid, HELD_FROZEN);
    if (definite)
        forget(w, uuid, HELD_FROZEN);
    else if (e) /* it may be carried out later: the watchdog releases it until that is certain */
        e->deadline_ms = 0;
    pthread_cond_broadcast(&w->cond);
    pthread_mutex_unlock(&w->mu);
    return false;
}

bool lv_unfreeze(struct hv *hv, virDomainPtr dom, const struct vr_uuid *uuid, uint32_t *ret_ms,
                 char why[160])
{
    struct lv_thaw *w = hv->thaw;
    pthread_mutex_lock(&w->mu);
    struct entry *e = find(w, uuid, HELD_FROZEN);
    bool early = !e || e->fired;
    int64_t began = e ? e->began_ms : vr_mono_now().ms;
    pthread_mutex_unlock(&w->mu);
    int n = virDomainFSThaw(dom, NULL, 0, 0);
    if (n < 0)
        snprintf(why, 160, "%.159s", virGetLastErrorMessage());
    *ret_ms = (uint32_t)(vr_mono_now().ms - began);
    set_patience(dom, VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK);
    pthread_mutex_lock(&w->mu);
    e = find(w, uuid, HELD_FROZEN);
    if (n >= 0 && e && !e->fired)
        forget(w, uuid, HELD_FROZEN);
    else if (e)
        e->deadline_ms = 0;
    pthread_cond_broadcast(&w->cond);
    pthread_mutex_unlock(&w->mu);
    if (early)
        snprintf(why, 160, "the file systems were released before the instant: it took too long");
    else if (n == 0)
        snprintf(why, 160, "somebody else released the file systems before the instant");
    return !early && n != 0;
}

/* ---- writing out what QEMU caches ---- */
enum { PAUSE_MS = 10000 };

/* Stop and go on. What does not end here is ended by the watchdog. */
static int stop_and_go(struct hv *hv, virDomainPtr dom, const struct vr_uuid *uuid,
                       struct vr_err *err)
{
    struct lv_thaw *w = hv->thaw;
    char why[160] = "";
    pthread_mutex_lock(&w->mu);
    bool still = find(w, uuid, HELD_PAUSED) != NULL;
    bool marked = !still && make_mark(w, uuid, HELD_PAUSED, why);
    if (marked)
        add(w, uuid, HELD_PAUSED, vr_mono_now().ms + PAUSE_MS);
    pthread_mutex_unlock(&w->mu);
    if (!marked)
        return vr_fail(err, VR_E_BUSY, 0, "pausing for a moment: %s",
                       still ? "it has not yet been resumed from the last time" : why);
    int rc = virDomainSuspend(dom);
    if (rc < 0)
        lv_fail(err, "pausing for a moment");
    if (rc == 0 && virDomainResume(dom) < 0)
        rc = lv_fail(err, "resuming after a moment");
    left(w, uuid, HELD_PAUSED);
    pthread_mutex_lock(&w->mu);
    struct entry *e = find(w, uuid, HELD_PAUSED);
    if (rc == 0 && e && !e->fired)
        forget(w, uuid, HELD_PAUSED);
    else if (e)
        e->deadline_ms = 0;
    pthread_cond_broadcast(&w->cond);
    pthread_mutex_unlock(&w->mu);
    return rc;
}

int hv_flush(struct hv *hv, const struct vr_uuid *uuid, struct vr_err *err)
{
    int state = 0;
    lv_dom_auto dom = lv_dom(hv, uuid, 0, err);
    if (!dom)
        return -1;
    if (virDomainGetState(dom, &state, NULL, 0) < 0)
        return lv_fail(err, "state");
    /* QEMU writes everything out when it stops, and a stopped machine writes nothing more. */
    if (state == VIR_DOMAIN_PAUSED || state == VIR_DOMAIN_SHUTOFF)
        return 0;
    if (state != VIR_DOMAIN_RUNNING && state != VIR_DOMAIN_BLOCKED)
        return vr_fail(err, VR_E_STATE, 0, "the machine neither runs nor is it paused");
    return stop_and_go(hv, dom, uuid, err);
}

bool hv_is_stuck(struct hv *hv, const struct vr_uuid *uuid)
{
    struct lv_thaw *w = hv->thaw;
    pthread_mutex_lock(&w->mu);
    const struct entry *e = find(w, uuid, HELD_FROZEN);
    bool stuck = e && e->said_ms;
    pthread_mutex_unlock(&w->mu);
    return stuck;
}
