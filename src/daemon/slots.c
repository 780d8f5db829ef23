/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Slots for transfers (slots.h). Control thread only. */
#include "daemon/slots.h"

#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"

struct user {
    struct user *next;
    struct vr_uuid machine;
    enum slot_class c;
    void (*fn)(void *arg);
    void *arg;
};

struct slots {
    unsigned total, bulk, used, used_bulk;
    struct user *waiting[SLOT_CLASSES]; /* first come first */
    struct user *busy;
};

struct slots *slots_new(unsigned total, unsigned bulk)
{
    struct slots *s = vr_new(struct slots);
    s->total = total ? total : 1;
    s->bulk = bulk && bulk < s->total ? bulk : s->total;
    return s;
}

static void free_list(struct user *u)
{
    while (u) {
        struct user *next = u->next;
        free(u);
        u = next;
    }
}

void slots_free(struct slots *s)
{
    if (!s)
        return;
    for (int c = 0; c < SLOT_CLASSES; c++)
        free_list(s->waiting[c]);
    free_list(s->busy);
    free(s);
}

static struct user *take(struct user **list, const struct vr_uuid *machine)
{
    for (; *list; list = &(*list)->next) {
        struct user *u = *list;
        if (vr_uuid_eq(&u->machine, machine)) {
            *list = u->next;
            return u;
        }
    }
    return NULL;
}

static struct user *next_of(struct slots *s)
{
    for (int c = 0; c < SLOT_CLASSES; c++) {
        bool full = s->used >= s->total || (c == SLOT_BULK && s->used_bulk >= s->bulk);
        if (s->waiting[c] && !full)
            return take(&s->waiting[c], &s->waiting[c]->machine);
    }
    return NULL;
}

static void serve(struct slots *s)
{
    struct user *u;
    while ((u = next_of(s)) != NULL) {
        s->used++;
        s->used_bulk += u->c == SLOT_BULK;
        u->next = s->busy;
        s->busy = u;
        u->fn(u->arg);
    }
}

void slots_ask(struct slots *s, const struct vr_uuid *machine, enum slot_class c,
               void (*fn)(void *arg), void *arg)
{
    assert(!slots_waits(s, machine));
    struct user **end = &s->waiting[c], *u = vr_new(struct user);
    *u = (struct user){ .machine = *machine, .c = c, .fn = fn, .arg = arg };
    while (*end)
        end = &(*end)->next;
    *end = u;
    serve(s);
}

void slots_release(struct slots *s, const struct vr_uuid *machine)
{
    struct user *u = take(&s->busy, machine);
    if (!u)
        return;
    s->used--;
    s->used_bulk -= u->c == SLOT_BULK;
    free(u);
    serve(s);
}

void *slots_give_up(struct slots *s, const struct vr_uuid *machine)
{
    for (int c = 0; c < SLOT_CLASSES; c++) {
        struct user *u = take(&s->waiting[c], machine);
        if (!u)
            continue;
        void *arg = u->arg;
        free(u);
        return arg;
    }
    return NULL;
}

bool slots_waits(const struct slots *s, const struct vr_uuid *machine)
{
    for (int c = 0; c < SLOT_CLASSES; c++)
        for (const struct user *u = s->waiting[c]; u; u = u->next)
            if (vr_uuid_eq(&u->machine, machine))
                return true;
    return false;
}
