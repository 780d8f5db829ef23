/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Open addressing with linear probing, at most half full. Nothing is ever taken out alone: whoever
 * removes something clears the map and puts the rest again. */
#include "base/uuidmap.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static uint64_t secret[2];

static void make_secret(void)
{
    vr_random(secret, sizeof secret);
}

static size_t hash(const struct vr_uuid *u)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    uint64_t a, b;

    pthread_once(&once, make_secret);
    memcpy(&a, u->b, sizeof a);
    memcpy(&b, u->b + sizeof a, sizeof b);
    unsigned __int128 p = (unsigned __int128)(a ^ secret[0]) * (b ^ secret[1]);
    return (size_t)((uint64_t)p ^ (uint64_t)(p >> 64));
}

static struct vr_uuidmap_slot *slot(const struct vr_uuidmap *m, const struct vr_uuid *key)
{
    size_t i = hash(key) & (m->cap - 1);

    while (m->v[i].value && !vr_uuid_eq(&m->v[i].key, key))
        i = (i + 1) & (m->cap - 1);
    return &m->v[i];
}

void *vr_uuidmap_get(const struct vr_uuidmap *m, const struct vr_uuid *key)
{
    return m->n ? slot(m, key)->value : NULL;
}

static void grow(struct vr_uuidmap *m)
{
    struct vr_uuidmap old = *m;

    m->cap = old.cap ? old.cap * 2 : 16;
    m->v = vr_new0(m->cap, sizeof *m->v);
    for (size_t i = 0; i < old.cap; i++)
        if (old.v[i].value)
            *slot(m, &old.v[i].key) = old.v[i];
    free(old.v);
}

void vr_uuidmap_put(struct vr_uuidmap *m, const struct vr_uuid *key, void *value)
{
    if (m->n * 2 >= m->cap)
        grow(m);
    struct vr_uuidmap_slot *s = slot(m, key);
    m->n += !s->value;
    *s = (struct vr_uuidmap_slot){ *key, value };
}

void vr_uuidmap_clear(struct vr_uuidmap *m)
{
    if (m->n)
        memset(m->v, 0, m->cap * sizeof *m->v);
    m->n = 0;
}

void vr_uuidmap_done(struct vr_uuidmap *m)
{
    free(m->v);
    *m = (struct vr_uuidmap)VR_UUIDMAP_INIT;
}
