/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rule of retention. Every point that is young enough stays; of older ones the newest of each
 * full hour, for the given number of hours that have one; not more in all than the
 * maximum, the oldest go first; and never fewer than the minimum. A clock
 * that jumps back makes points look young, so nothing is lost by it. Any thread. */
#include "store/retain.h"

static int64_t hour_of(const struct store_point *p)
{
    return p->instant.us / ((int64_t)3600 * 1000000);
}

void retain_choose(const struct store_point *p, size_t n, const struct store_retention *r,
                   struct wall_us now, bool *drop)
{
    size_t kept = 0, least = r->keep_min ? r->keep_min : 1;
    uint32_t hours = 0;
    int64_t hour = INT64_MAX;
    for (size_t i = n; i-- > 0;) {
        bool young = now.us - p[i].instant.us <= (int64_t)r->keep_seconds * 1000000;
        bool keep = young || p[i].pinned || i == n - 1;
        if (!young && hour_of(&p[i]) < hour && hours < r->keep_hourly) {
            hour = hour_of(&p[i]);
            hours++;
            keep = true;
        }
        drop[i] = !keep;
        kept += keep;
    }
    for (size_t i = 0; i + 1 < n && r->keep_max && kept > r->keep_max; i++)
        if (!drop[i] && !p[i].pinned) {
            drop[i] = true;
            kept--;
        }
    for (size_t i = n; i-- > 0 && kept < least;)
        if (drop[i]) {
            drop[i] = false;
            kept++;
        }
}
