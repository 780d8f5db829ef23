/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Snapshots of the classes that are watched, and their differences as events. Control thread only.
 * A snapshot is sorted by key, so that two of them are compared in one walk. Invariant: a snapshot
 * exists exactly as long as a watch needs its class. */
#include "cim/watch.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/log.h"
#include "cim/scan.h"
#include "cim/server_int.h"

enum { EVERY_DEFAULT_MS = 5000, EVERY_MIN_MS = 1000, SHARE = 100, SLICE_MS = 5, TRIES_MAX = 3 };

struct cim_snapshot {
    struct cim_snapshot *next;
    enum cim_class_id id;
    const struct cim_watchable *how;
    struct cim_inst **v; /* sorted by key */
    size_t n;
    size_t users;
    int64_t due_ms;        /* of the next look */
    struct cim_scan *scan; /* a look that is under way */
    bool is_spoiled;       /* what it has read of an instance is older than the snapshot */
    unsigned tries;
    uint64_t looks; /* that are over; before the first one there is nothing to compare with */
    int64_t took_us;
};

struct cim_watch {
    struct cim_watch *next;
    struct cim_server *s;
    struct cim_query *q;
    cim_event_fn fn;
    void *ctx;
    bool is_active; /* it gets events; before, classes are joined one by one: */
    size_t at;      /* the next one */
    bool is_joined; /* it, too, and a look is under way that began after that, */
    uint64_t from;  /* when so many were over */
};

static const struct cim_caller nobody = { .name = "events", .role = CIM_ROLE_READER };

static const char *key_of(const struct cim_snapshot *sn, const struct cim_inst *in)
{
    const char *key = cim_inst_str(in, sn->how->key);

    return key ? key : "";
}

static bool concerns(const struct cim_watch *w, enum cim_class_id id)
{
    return !w->q->cls || cim_class_is_a(cim_class_get(id), w->q->cls);
}

static struct cim_snapshot *find(struct cim_server *s, enum cim_class_id id)
{
    struct cim_snapshot *sn = s->snapshots;

    while (sn && sn->id != id)
        sn = sn->next;
    return sn;
}

static void deliver(struct cim_server *s, enum cim_event_kind kind, const struct cim_inst *target,
                    const struct cim_inst *previous)
{
    const struct cim_event ev = { kind, target, previous };

    for (struct cim_watch *w = s->watches; w; w = w->next)
        if (cim_query_takes(w->q, kind, target, previous))
            w->fn(w->ctx, &ev);
}

static bool is_quiet(const struct cim_watchable *how, size_t prop)
{
    for (size_t i = 0; i < how->n_quiet; i++)
        if ((size_t)how->quiet[i] == prop)
            return true;
    return false;
}

static bool differ(const struct cim_watchable *how, const struct cim_inst *a,
                   const struct cim_inst *b)
{
    for (size_t i = 0; i < a->cls->n_props; i++)
        if (!cim_value_equal(&a->props[i], &b->props[i]) && !is_quiet(how, i))
            return true;
    return false;
}

/* ---- one instance ---- */

/* Where @key is or would be. */
static size_t place(const struct cim_snapshot *sn, const char *key, bool *ret_there)
{
    size_t lo = 0, hi = sn->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = strcasecmp(key_of(sn, sn->v[mid]), key);
        if (c == 0) {
            *ret_there = true;
            return mid;
        }
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *ret_there = false;
    return lo;
}

static void insert(struct cim_snapshot *sn, size_t at, struct cim_inst *take_in)
{
    sn->v = vr_grow(sn->v, sn->n + 1, sizeof *sn->v);
    memmove(&sn->v[at + 1], &sn->v[at], (sn->n - at) * sizeof *sn->v);
    sn->v[at] = take_in;
    sn->n++;
}

void cim_changed(struct cim_server *s, enum cim_class_id id, const char *key)
{
    struct cim_snapshot *sn = find(s, id);
    const struct cim_provider *p = s->by_class[id];
    const struct cim_class *c = cim_class_get(id);
    struct cim_inst *now = NULL;
    struct vr_err e = VR_ERR_INIT;
    bool there;

    if (!sn)
        return;
    sn->is_spoiled = sn->scan != NULL;
    vr_auto(cim_path_free) struct cim_path *path = cim_path_new(c->ns, c->name);
    if (cim_path_add(path, c->props[sn->how->key].name, key, NULL) < 0)
        return;
    enum cim_status st = p->get(p->ctx, &nobody, path, &now, &e);
    if (st != CIM_S_OK && st != CIM_S_NOT_FOUND) {
        sn->due_ms = 0; /* perhaps a look at all of them can tell */
        return;
    }
    size_t at = place(sn, key, &there);
    struct cim_inst *before = there ? sn->v[at] : NULL;
    if (now && before) {
        sn->v[at] = now;
        if (differ(sn->how, before, now))
            deliver(s, CIM_EV_MODIFIED, now, before);
    } else if (now) {
        insert(sn, at, now);
        deliver(s, CIM_EV_CREATED, now, NULL);
    } else if (before) {
        memmove(&sn->v[at], &sn->v[at + 1], (--sn->n - at) * sizeof *sn->v);
        deliver(s, CIM_EV_DELETED, before, NULL);
    }
    cim_inst_free(before);
}

/* ---- all of a class ---- */

static int by_key(const void *a, const void *b, void *sn)
{
    return strcasecmp(key_of(sn, *(struct cim_inst *const *)a),
                      key_of(sn, *(struct cim_inst *const *)b));
}

static void compare(struct cim_server *s, struct cim_snapshot *sn, struct cim_list *now)
{
    size_t i = 0, k = 0;

    while (i < sn->n || k < now->n) {
        int c = i == sn->n    ? 1
                : k == now->n ? -1
                              : strcasecmp(key_of(sn, sn->v[i]), key_of(sn, now->v[k]));
        if (c < 0)
            deliver(s, CIM_EV_DELETED, sn->v[i++], NULL);
        else if (c > 0)
            deliver(s, CIM_EV_CREATED, now->v[k++], NULL);
        else {
            if (differ(sn->how, sn->v[i], now->v[k]))
                deliver(s, CIM_EV_MODIFIED, now->v[k], sn->v[i]);
            i++;
            k++;
        }
    }
}

/* @tell: give out the differences. @now: becomes the snapshot */
static void replace(struct cim_server *s, struct cim_snapshot *sn, bool tell, struct cim_list *now)
{
    if (now->n)
        qsort_r(now->v, now->n, sizeof *now->v, by_key, sn);
    if (tell)
        compare(s, sn, now);
    struct cim_list old = { sn->v, sn->n };
    sn->v = now->v;
    sn->n = now->n;
    *now = old;
}

static void end_scan(struct cim_snapshot *sn)
{
    cim_scan_free(sn->scan);
    sn->scan = NULL;
    sn->is_spoiled = false;
}

/* A slice of a look. @ret_over: whether it is over, then the status is that of the look. */
static enum cim_status look_on(struct cim_server *s, struct cim_snapshot *sn, unsigned slice_ms,
                               bool *ret_over, struct vr_err *err)
{
    cim_autolist struct cim_list now = CIM_LIST_INIT;

    if (sn->is_spoiled) {
        end_scan(sn);
        sn->tries++;
    }
    if (!sn->scan)
        sn->scan = cim_scan_class(s, &nobody, cim_class_get(sn->id), false, NULL);
    enum cim_status st =
        cim_scan_run(sn->scan, sn->tries < TRIES_MAX ? slice_ms : 0, ret_over, err);
    if (!*ret_over)
        return CIM_S_OK;
    if (st == CIM_S_OK) {
        cim_scan_take(sn->scan, &now);
        replace(s, sn, sn->looks > 0, &now);
        sn->looks++;
    }
    end_scan(sn);
    sn->tries = 0;
    return st;
}

void cim_changed_all(struct cim_server *s, enum cim_class_id id)
{
    struct cim_snapshot *sn = find(s, id);

    if (sn)
        sn->due_ms = 0;
}

void cim_moved(struct cim_server *s)
{
    s->generation++;
}

/* How often somebody wants the class looked at. */
static int64_t every(const struct cim_server *s, enum cim_class_id id)
{
    int64_t ms = INT64_MAX;

    for (const struct cim_watch *w = s->watches; w; w = w->next) {
        int64_t want = w->q->within_ms ? (int64_t)w->q->within_ms : EVERY_DEFAULT_MS;
        if (concerns(w, id) && want < ms)
            ms = want;
    }
    if (ms == INT64_MAX) /* whoever wants it is still joining */
        return EVERY_DEFAULT_MS;
    return ms < EVERY_MIN_MS ? EVERY_MIN_MS : ms;
}

void cim_watch_tick(struct cim_server *s, struct mono_ms now)
{
    struct cim_snapshot *sn = s->snapshots;

    for (struct cim_snapshot *o = sn; o; o = o->next)
        if (o->due_ms < sn->due_ms)
            sn = o;
    if (!sn || sn->due_ms > now.ms)
        return;
    int64_t began = vr_mono_us(), wait = every(s, sn->id);
    struct vr_err e = VR_ERR_INIT;
    bool over;
    if (look_on(s, sn, SLICE_MS, &over, &e) != CIM_S_OK)
        vr_log_err(VR_LOG_DEBUG, "looking for changes", &e);
    sn->took_us += vr_mono_us() - began;
    if (!over)
        return; /* the next tick goes on */
    int64_t rest = sn->took_us * SHARE / 1000;
    sn->due_ms = now.ms + (wait > rest ? wait : rest);
    sn->took_us = 0;
}

/* ---- watches ---- */

static void drop(struct cim_server *s, enum cim_class_id id)
{
    for (struct cim_snapshot **at = &s->snapshots; *at; at = &(*at)->next) {
        struct cim_snapshot *sn = *at;
        if (sn->id != id)
            continue;
        if (--sn->users)
            return;
        *at = sn->next;
        struct cim_list all = { sn->v, sn->n };
        cim_list_done(&all);
        end_scan(sn);
        free(sn);
        return;
    }
}

/* The class is watched once more. What happened until now is told to the others first: a look that
 * begins now does that, and the new watch begins with its end. */
static void join(struct cim_server *s, enum cim_class_id id, uint64_t *ret_from)
{
    struct cim_snapshot *sn = find(s, id);

    if (!sn) {
        sn = vr_new(struct cim_snapshot);
        sn->id = id;
        sn->how = s->by_class[id]->watch;
        sn->due_ms = INT64_MAX; /* the watch looks itself for the first time */
        sn->next = s->snapshots;
        s->snapshots = sn;
    }
    end_scan(sn);
    sn->users++;
    *ret_from = sn->looks;
}

static bool is_watchable(const struct cim_server *s, const struct cim_watch *w, size_t id)
{
    return s->by_class[id] && s->by_class[id]->watch && concerns(w, (enum cim_class_id)id);
}

static enum cim_status none_to_watch(const struct cim_server *s, const struct cim_watch *w,
                                     struct vr_err *err)
{
    vr_autofree char *names = vr_strdup("");

    for (size_t i = 0; i < CIM_CLASS_COUNT; i++)
        if (s->by_class[i] && s->by_class[i]->watch) {
            char *more = vr_printf("%s%s%s", names, *names ? ", " : "", cim_classes[i].name);
            free(names);
            names = more;
        }
    return cim_fault(CIM_S_UNSUPPORTED, err, "there are no events of class %s; there are of %s",
                     w->q->cls->name, names);
}

enum cim_status cim_watch_begin(struct cim_server *s, const struct cim_caller *who,
                                struct cim_query *take_q, cim_event_fn fn, void *ctx,
                                struct cim_watch **ret, struct vr_err *err)
{
    vr_auto(cim_watch_free) struct cim_watch *w = vr_new(struct cim_watch);
    enum cim_status st = cim_check_reader(who, err);
    bool any = false;

    assert(take_q->kind == CIM_Q_EVENT);
    *w = (struct cim_watch){ .s = s, .q = take_q, .fn = fn, .ctx = ctx };
    for (size_t id = 0; id < CIM_CLASS_COUNT; id++)
        any |= is_watchable(s, w, id);
    if (st == CIM_S_OK && !any)
        st = none_to_watch(s, w, err);
    if (st == CIM_S_OK)
        *ret = vr_take(w);
    return st;
}

/* A slice of the look at the class that is being joined. */
static enum cim_status join_on(struct cim_watch *w, unsigned slice_ms, struct vr_err *err)
{
    struct cim_snapshot *sn = find(w->s, (enum cim_class_id)w->at);
    bool over = false;

    if (sn->looks == w->from) {
        enum cim_status st = look_on(w->s, sn, slice_ms, &over, err);
        if (st != CIM_S_OK)
            return st;
    }
    if (sn->looks == w->from)
        return CIM_S_OK;
    if (over)
        sn->due_ms = vr_mono_now().ms + EVERY_MIN_MS;
    w->is_joined = false;
    w->at++;
    return CIM_S_OK;
}

enum cim_status cim_watch_run(struct cim_watch *w, unsigned slice_ms, bool *ret_over,
                              struct vr_err *err)
{
    int64_t end = vr_mono_us() + (int64_t)slice_ms * 1000;

    *ret_over = false;
    while (w->at < CIM_CLASS_COUNT) {
        if (!is_watchable(w->s, w, w->at)) {
            w->at++;
            continue;
        }
        if (slice_ms && vr_mono_us() >= end)
            return CIM_S_OK;
        if (!w->is_joined)
            join(w->s, (enum cim_class_id)w->at, &w->from);
        w->is_joined = true;
        enum cim_status st = join_on(w, slice_ms, err);
        if (st != CIM_S_OK) {
            *ret_over = true;
            return st;
        }
    }
    *ret_over = true;
    if (w->is_active)
        return CIM_S_OK;
    w->is_active = true;
    w->next = w->s->watches;
    w->s->watches = w;
    return CIM_S_OK;
}

enum cim_status cim_watch_new(struct cim_server *s, const struct cim_caller *who,
                              struct cim_query *take_q, cim_event_fn fn, void *ctx,
                              struct cim_watch **ret, struct vr_err *err)
{
    vr_auto(cim_watch_free) struct cim_watch *w = NULL;
    enum cim_status st = cim_watch_begin(s, who, take_q, fn, ctx, &w, err);
    bool over;

    if (st == CIM_S_OK)
        st = cim_watch_run(w, 0, &over, err);
    if (st == CIM_S_OK)
        *ret = vr_take(w);
    return st;
}

void cim_watch_free(struct cim_watch *w)
{
    if (!w)
        return;
    struct cim_server *s = w->s;
    for (struct cim_watch **at = &s->watches; *at; at = &(*at)->next)
        if (*at == w) {
            *at = w->next;
            break;
        }
    for (size_t i = 0; i < w->at + w->is_joined; i++)
        if (is_watchable(s, w, i))
            drop(s, (enum cim_class_id)i);
    cim_query_free(w->q);
    free(w);
}
