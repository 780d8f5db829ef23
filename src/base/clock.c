/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Clocks. Any thread. */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

struct wall_us vr_wall_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (struct wall_us){ (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000 };
}

struct mono_ms vr_mono_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (struct mono_ms){ (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000 };
}

char *vr_wall_iso(struct wall_us t, char out[32])
{
    if (!t.us) {
        snprintf(out, 32, "never");
        return out;
    }
    time_t s = (time_t)(t.us / 1000000);
    struct tm tm;
    gmtime_r(&s, &tm);
    strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return out;
}

int64_t vr_mono_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}
