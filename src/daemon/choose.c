/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which recovery point a failover takes. Pure. */
#include "daemon/choose.h"

#include <inttypes.h>
#include <stdio.h>

/* Points that only somebody who names them gets, newest first; as many as a message holds. */
static void only_by_name(const struct rel *r, const struct store_point *p, size_t n,
                         struct vr_err *err)
{
    enum { TOLD = 3 };
    char list[TOLD * 80] = "", lineage[VR_UUID_STR];
    size_t len = 0;

    for (size_t i = 0; i < n && i < TOLD; i++) {
        const struct store_point *at = &p[n - 1 - i];
        int k = snprintf(list + len, sizeof list - len, "%s%s:%" PRIu64 " (%s)", i ? ", " : "",
                         vr_uuid_fmt(&at->id.lineage, lineage), at->id.epoch,
                         at->proof.quarantine == STORE_QUARANTINED ? "quarantined" : "orphan");
        len += (size_t)k;
    }
    vr_fail(
        err, VR_E_STATE, 0,
        "machine %s has no recovery point that is taken without being named: %s%s. See vmreplica "
        "points %s. To insist on one: vmreplica failover %s --point POINT (--force when it is "
        "quarantined)",
        r->name, list, n > TOLD ? " and more" : "", r->name, r->name);
}

static const struct store_point *named(const struct rel *r, const struct store_point *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (vr_point_eq(&p[i].id, &r->failover))
            return &p[i];
    return NULL;
}

const struct store_point *choose_failover(const struct rel *r, const struct store_point *p,
                                          size_t n, struct vr_err *err)
{
    const struct store_point *pt = r->failover_latest ? store_newest_sound(p, n) : named(r, p, n);

    if (!pt && r->failover_latest && n) {
        only_by_name(r, p, n, err);
    } else if (!pt) {
        vr_fail(err, VR_E_NOTFOUND, 0, "machine %s has no such recovery point", r->name);
    } else if (pt->proof.quarantine == STORE_QUARANTINED) {
        vr_fail(err, VR_E_STATE, 0,
                "this recovery point of machine %s is quarantined; release it first", r->name);
        return NULL;
    }
    return pt;
}
