/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_MODEL_LIMITS_H
#define VR_MODEL_LIMITS_H

#include <stddef.h>
#include <string.h>

/* What may be set, as limits.def has it. */
struct vr_limit {
    const char *name;
    unsigned least, most;
    const char *unit; /* with a space before it; "": none */
};

/* vr_limit() - that of a property, NULL: as its type says. */
static inline const struct vr_limit *vr_limit(const char *name)
{
    static const struct vr_limit all[] = {
#define LIMIT(name, least, most, unit) { #name, least, most, unit },
#include "model/limits.def"
#undef LIMIT
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(all[i].name, name))
            return &all[i];
    return NULL;
}

#endif
