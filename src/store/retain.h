/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_STORE_RETAIN_H
#define VR_STORE_RETAIN_H

#include "store/store.h"

/* retain_choose() - which points a retention gives up. Pure.
 * @p:    points, oldest first
 * @drop: set for each point that goes; pinned points and the newest never do */
void retain_choose(const struct store_point *p, size_t n, const struct store_retention *r,
                   struct wall_us now, bool *drop);

#endif
