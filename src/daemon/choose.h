/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_CHOOSE_H
#define VR_DAEMON_CHOOSE_H

#include "replication/rel.h"
#include "store/store.h"

/* choose_failover() - the point of @p (@n, oldest first) that the failover which @r asks for takes:
 * the one that is named, or the newest sound one. NULL with VR_E_NOTFOUND, or VR_E_STATE: the one
 * named is quarantined, or only points are left that must be named. Pure. */
const struct store_point *choose_failover(const struct rel *r, const struct store_point *p,
                                          size_t n, struct vr_err *err);

#endif
