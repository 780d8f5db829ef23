/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Storage locations and who is at work on them. Any thread; what is shared is behind one lock,
 * under which nothing blocks. Locations and gates are never freed: there are few. */
#include "daemon/storage.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/answers.h"
#include "base/log.h"

enum {
    TOUCH_S = 5,   /* between two looks at a location */
    AT_ONCE = 2,   /* calls at a location: what a location that hangs may keep of the workers */
    WORKERS = 4,   /* for long work, of each location */
    PATIENCE = 10, /* times as long may a call take at a location that answers meanwhile */
    LOOK_MS = 250,
    TICK_MS = 1000,
};

struct location {
    struct location *next;
    char *path;
    struct vr_exec *workers;
    struct mono_ms asked; /* 0: it has answered */
    struct wall_us asked_wall;
    bool said;
};

/* One that waits at a gate, on its own stack. */
struct waiter {
    struct waiter *next;
};

/* What is going on with the files of one machine. */
struct gate {
    struct gate *next;
    struct vr_uuid machine;
    struct location *at; /* NULL: not known, or nowhere */
    char *folder;
    struct waiter *first; /* who came first */
    bool busy;
    struct mono_ms since; /* busy */
    struct wall_us since_wall;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all below */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct location *locations;
static struct gate *gates;
static struct vr_uuidmap gate_by_machine;

static bool longer(const struct daemon *d, struct mono_ms since, int times)
{
    return since.ms && vr_mono_now().ms - since.ms > (int64_t)d->cfg.storage_seconds * 1000 * times;
}

static bool late(const struct daemon *d, struct mono_ms since)
{
    return longer(d, since, 1);
}

/* ---- locations ---- */
static void *watch(void *arg)
{
    struct location *l = arg;
    for (;;) {
        pthread_mutex_lock(&lock);
        l->asked = vr_mono_now();
        l->asked_wall = vr_wall_now();
        pthread_mutex_unlock(&lock);
        vr_touch_folder(l->path);
        pthread_mutex_lock(&lock);
        l->asked.ms = 0;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
        const struct timespec wait = { .tv_sec = TOUCH_S };
        nanosleep(&wait, NULL);
    }
    return NULL;
}

static struct location *find_location(const char *path, size_t n)
{
    struct location *l = locations;
    while (l && (strncmp(l->path, path, n) != 0 || l->path[n]))
        l = l->next;
    return l;
}

static struct location *location_of(const char *path, size_t n)
{
    struct location *l = find_location(path, n);
    if (l)
        return l;
    l = vr_new(struct location);
    l->path = vr_strndup(path, n);
    l->next = locations;
    locations = l;
    pthread_t tid;
    sigset_t all, old;
    sigfillset(&all); /* signals are for the control thread alone */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    if (pthread_create(&tid, NULL, watch, l))
        abort();
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_setname_np(tid, "storage");
    pthread_detach(tid);
    return l;
}

void storage_watch(struct daemon *d, const char *location)
{
    (void)d;
    pthread_mutex_lock(&lock);
    location_of(location, strlen(location));
    pthread_mutex_unlock(&lock);
}

static int fail(struct vr_err *err, const char *what, struct wall_us since)
{
    char when[32];
    return vr_fail(err, VR_E_IO, 0,
                   "the storage %s of this host has not answered since %s: nothing more is begun "
                   "there before it does; replicas elsewhere go on (a disk that is only slow: "
                   "storage_seconds in vmreplicad.conf)",
                   what, vr_wall_iso(since, when));
}

bool storage_answers(struct daemon *d, const char *location, struct vr_err *err)
{
    pthread_mutex_lock(&lock);
    struct location *l = find_location(location, strlen(location));
    bool hangs = l && late(d, l->asked);
    struct wall_us since = l ? l->asked_wall : (struct wall_us){ 0 };
    pthread_mutex_unlock(&lock);
    if (hangs)
        fail(err, location, since);
    return !hangs;
}

/* ---- machines ---- */
static struct gate *gate_of(const struct vr_uuid *machine)
{
    struct gate *g = vr_uuidmap_get(&gate_by_machine, machine);
    if (g)
        return g;
    g = vr_new(struct gate);
    g->machine = *machine;
    g->next = gates;
    gates = g;
    vr_uuidmap_put(&gate_by_machine, machine, g);
    return g;
}

void storage_learn(struct daemon *d, const struct vr_uuid *machine, const char *folder)
{
    (void)d;
    const char *slash = folder ? strrchr(folder, '/') : NULL;
    pthread_mutex_lock(&lock);
    struct gate *g = gate_of(machine);
    free(g->folder);
    g->folder = folder ? vr_strdup(folder) : NULL;
    g->at = slash && slash > folder ? location_of(folder, (size_t)(slash - folder)) : NULL;
    pthread_mutex_unlock(&lock);
}

static void learn(struct daemon *d, const struct vr_uuid *machine)
{
    vr_autofree char *folder = NULL;
    struct vr_err none = VR_ERR_INIT;
    (void)store_chain_folder(d->store, machine, &folder, &none);
    storage_learn(d, machine, folder);
}

/* Calls that are under way at @l. What takes long at a location that answers waits for another
 * storage (the disks of a machine that became a replica in place), and does not count. */
static int busy_at(const struct daemon *d, const struct location *l)
{
    int n = 0;
    for (const struct gate *g = gates; g; g = g->next)
        n += g->busy && g->at == l && (late(d, l->asked) || !late(d, g->since));
    return n;
}

static bool may_begin(const struct daemon *d, const struct gate *g, bool refusable)
{
    return !g->busy && (!refusable || !g->at || busy_at(d, g->at) < AT_ONCE);
}

/* What keeps @g from beginning, if it is more than a matter of moments. */
static bool hangs(const struct daemon *d, const struct gate *g, const char **ret_what,
                  struct wall_us *ret_since)
{
    if (g->at && late(d, g->at->asked)) {
        *ret_what = g->at->path;
        *ret_since = g->at->asked_wall;
        return true;
    }
    /* A long flush of a disk that answers is waited for: above all, a failover is not refused. */
    if (!g->busy || !longer(d, g->since, g->at ? PATIENCE : 1))
        return false;
    *ret_what = g->folder ? g->folder : "of a new replica";
    *ret_since = g->since_wall;
    return true;
}

static void look_again_later(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until); /* a clock that is set costs one look at most */
    until.tv_nsec += LOOK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_cond_timedwait(&changed, &lock, &until);
}

static void line_up(struct gate *g, struct waiter *w)
{
    struct waiter **end = &g->first;
    while (*end)
        end = &(*end)->next;
    w->next = NULL;
    *end = w;
}

static void step_out(struct gate *g, const struct waiter *w)
{
    struct waiter **at = &g->first;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    pthread_cond_broadcast(&changed); /* the next one may be the first */
}

/* In the order in which they came. */
static int enter(struct daemon *d, struct gate *g, struct vr_err *err)
{
    const char *what = NULL;
    struct wall_us since = { 0 };
    struct waiter me;
    line_up(g, &me);
    for (;;) {
        if (err && hangs(d, g, &what, &since)) {
            step_out(g, &me);
            return fail(err, what, since);
        }
        if (g->first == &me && may_begin(d, g, err != NULL))
            break;
        look_again_later();
    }
    step_out(g, &me);
    g->busy = true;
    g->since = vr_mono_now();
    g->since_wall = vr_wall_now();
    return 0;
}

static struct gate *begin(struct daemon *d, const struct vr_uuid *machine, struct vr_err *err)
{
    pthread_mutex_lock(&lock);
    struct gate *g = gate_of(machine);
    if (enter(d, g, err) < 0)
        g = NULL;
    pthread_mutex_unlock(&lock);
    return g;
}

static void end(struct gate *g)
{
    pthread_mutex_lock(&lock);
    g->busy = false;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

int storage_call(struct daemon *d, const struct vr_uuid *machine, void (*fn)(void *arg), void *arg,
                 struct vr_err *err)
{
    struct gate *g = begin(d, machine, err);
    if (!g)
        return -1;
    store_enter(d->store);
    fn(arg);
    learn(d, machine);
    store_leave(d->store);
    end(g);
    return 0;
}

int storage_files(struct daemon *d, const struct vr_uuid *machine, void (*fn)(void *arg), void *arg,
                  struct vr_err *err)
{
    struct gate *g = begin(d, machine, err);
    if (!g)
        return -1;
    fn(arg);
    end(g);
    return 0;
}

unsigned storage_waiting(const struct vr_uuid *machine)
{
    unsigned n = 0;
    pthread_mutex_lock(&lock);
    for (const struct waiter *w = gate_of(machine)->first; w; w = w->next)
        n++;
    pthread_mutex_unlock(&lock);
    return n;
}

struct vr_exec *storage_workers(struct daemon *d, const struct vr_uuid *machine)
{
    pthread_mutex_lock(&lock);
    struct location *l = gate_of(machine)->at;
    if (l && !l->workers)
        l->workers = vr_exec_new("disk", WORKERS);
    struct vr_exec *x = l ? l->workers : d->disk_exec;
    pthread_mutex_unlock(&lock);
    return x;
}

/* ---- what is told ---- */
static void say(struct daemon *d)
{
    for (struct location *l = locations; l; l = l->next) {
        bool now = late(d, l->asked);
        if (now && !l->said)
            vr_log(VR_LOG_ERROR,
                   "the storage location %s does not answer: its replicas wait for it", l->path);
        else if (!now && l->said)
            vr_log(VR_LOG_INFO, "the storage location %s answers again", l->path);
        l->said = now;
    }
}

void storage_tick(struct daemon *d)
{
    static struct mono_ms next;
    struct mono_ms now = vr_mono_now();
    const struct rel *r;
    if (now.ms < next.ms)
        return;
    next.ms = now.ms + TICK_MS;
    pthread_mutex_lock(&lock);
    say(d);
    pthread_mutex_unlock(&lock);
    for (size_t i = 0; (r = engine_at(d->engine, i)); i++) {
        struct vr_uuid machine = r->machine;
        const char *what = NULL;
        struct wall_us since = { 0 };
        char text[VR_SILENT_TEXT] = "";
        pthread_mutex_lock(&lock);
        const struct gate *g = vr_uuidmap_get(&gate_by_machine, &machine);
        if (g && hangs(d, g, &what, &since))
            snprintf(text, sizeof text, "%s", what);
        pthread_mutex_unlock(&lock);
        engine_silent(d->engine, &machine, text, since);
    }
}
