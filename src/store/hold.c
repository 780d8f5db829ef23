/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Holds: who is using which files at the moment. The list belongs to whoever has entered the
 * store; a user on another thread only touches the atomic fields. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "store/store_int.h"

static void unref(struct hold *h)
{
    if (atomic_fetch_sub(&h->refs, 1) == 1)
        free(h);
}

/* Forget what its users have released. */
static void sweep(struct store *st)
{
    for (struct hold **p = &st->holds; *p;) {
        struct hold *h = *p;
        if (atomic_load(&h->released)) {
            *p = h->next;
            unref(h);
        } else {
            p = &h->next;
        }
    }
}

struct hold *hold_new(struct store *st, enum hold_kind kind, const struct vr_uuid *machine,
                      int64_t point)
{
    sweep(st);
    struct hold *h = vr_new(struct hold);
    atomic_store(&h->refs, 2);
    h->kind = kind;
    h->machine = *machine;
    h->point = point;
    h->next = st->holds;
    st->holds = h;
    return h;
}

void hold_release(struct hold *h)
{
    if (!h)
        return;
    atomic_store(&h->released, true);
    unref(h);
}

struct hold *hold_find(struct store *st, enum hold_kind kind, const struct vr_uuid *machine)
{
    sweep(st);
    for (struct hold *h = st->holds; h; h = h->next)
        if (h->kind == kind && vr_uuid_eq(&h->machine, machine))
            return h;
    return NULL;
}

bool hold_on_point(struct store *st, int64_t seq)
{
    sweep(st);
    for (struct hold *h = st->holds; h; h = h->next)
        if (h->kind == HOLD_READ && h->point == seq)
            return true;
    return false;
}

bool hold_on_path(struct store *st, const char *path)
{
    sweep(st);
    for (struct hold *h = st->holds; h; h = h->next) {
        char id[VR_UUID_STR];
        if (h->kind != HOLD_MERGE && strstr(path, vr_uuid_fmt(&h->machine, id)))
            return true;
    }
    return false;
}

bool hold_index(struct store *st, const struct vr_uuid *machine, bool stop)
{
    bool found = false;
    sweep(st);
    for (struct hold *h = st->holds; h; h = h->next) {
        if (!h->index || !vr_uuid_eq(&h->machine, machine))
            continue;
        found = true;
        if (stop)
            atomic_store(&h->cancel, true);
    }
    return found;
}

void hold_readers_stop(struct store *st, const struct vr_uuid *machine)
{
    for (struct hold *h = st->holds; h; h = h->next) {
        if (h->kind != HOLD_READ || !vr_uuid_eq(&h->machine, machine))
            continue;
        h->stale = true;
        atomic_store(&h->cancel, true);
    }
}

void hold_all_drop(struct store *st)
{
    while (st->holds) {
        struct hold *h = st->holds;
        st->holds = h->next;
        atomic_store(&h->cancel, true);
        unref(h);
    }
}

void store_interrupt(struct store *st)
{
    for (struct hold *h = st->holds; h; h = h->next)
        if (h->kind != HOLD_STAGE) /* a transfer has its own end */
            atomic_store(&h->cancel, true);
}

/* Ask the merges of @machine to stop; does one still touch files? */
static bool merge_runs(struct store *st, const struct vr_uuid *machine)
{
    bool runs = false;
    for (struct hold *h = st->holds; h; h = h->next) {
        if (h->kind != HOLD_MERGE || !vr_uuid_eq(&h->machine, machine))
            continue;
        atomic_store(&h->cancel, true);
        runs |= atomic_load(&h->running);
    }
    return runs;
}

int hold_merges_stop(struct store *st, const struct vr_uuid *machine, struct vr_err *err)
{
    char name[64];
    struct mono_ms begin = vr_mono_now();
    while (merge_runs(st, machine)) {
        if (vr_mono_now().ms - begin.ms > st->stop_ms)
            return vr_fail(err, VR_E_BUSY, 0,
                           "a merge of %s does not stop: its storage does not answer",
                           machine_name(machine, name));
        TOUCHES_FILES;
        poll(NULL, 0, 2);
    }
    /* A merge whose copy is done is finished, one that was not is as if it had never begun. */
    return db_run(st->db, err, "DELETE FROM merge WHERE machine = ? AND state = ?", "ui", machine,
                  (int64_t)MERGE_COPY);
}
