/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_STORE_RETAIN_H
#define VR_STORE_RETAIN_H

#include <stdint.h>

/* When a point was made, as retention tells its age. */
struct retain_time {
    int64_t instant, received; /* by the primary's clock and by ours, microseconds */
    int64_t moment, ours;      /* filled in: by which age is told; our clock without any jump */
};
/* retain_place() - the moment of a new point @p, given the one before it (NULL: none). Pure. */
void retain_place(const struct retain_time *before, struct retain_time *p);

#endif
