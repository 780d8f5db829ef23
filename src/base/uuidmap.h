/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_BASE_UUIDMAP_H
#define VR_BASE_UUIDMAP_H

#include <stddef.h>

#include "base/uuid.h"

/* An index by identifier: finds what belongs to a UUID in constant time. The values are the
 * caller's. Not thread-safe. Others may choose the UUIDs, so the hash has a secret of the process.
 */
struct vr_uuidmap_slot {
    struct vr_uuid key;
    void *value; /* NULL: free */
};
struct vr_uuidmap {
    struct vr_uuidmap_slot *v;
    size_t n, cap; /* cap: 0 or a power of two */
};
#define VR_UUIDMAP_INIT \
    {                   \
        .v = NULL       \
    }

/* vr_uuidmap_get() - what belongs to @key, NULL if nothing does. */
void *vr_uuidmap_get(const struct vr_uuidmap *m, const struct vr_uuid *key);
/* vr_uuidmap_put() - @value (not NULL) belongs to @key now, whatever did before. */
void vr_uuidmap_put(struct vr_uuidmap *m, const struct vr_uuid *key, void *value);
/* vr_uuidmap_clear() - empty it, keeping its memory for what is put next. */
void vr_uuidmap_clear(struct vr_uuidmap *m);
/* vr_uuidmap_done() - free its memory; it is empty and usable afterwards. */
void vr_uuidmap_done(struct vr_uuidmap *m);

#endif
