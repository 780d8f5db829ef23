/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_BASE_CLOCK_H
#define VR_BASE_CLOCK_H

#include <stdint.h>

/* Wall time and monotonic time are different types so that they cannot be mixed. */
struct wall_us {
    int64_t us; /* since 1970 UTC, microseconds; 0 means "never" */
};
struct mono_ms {
    int64_t ms; /* since some start, milliseconds */
};

/* vr_wall_now() / vr_mono_now() - read the clocks. Not to be called from replication/step. */
struct wall_us vr_wall_now(void);
struct mono_ms vr_mono_now(void);
/* vr_mono_us() - the monotonic clock in microseconds, to measure how long something took. */
int64_t vr_mono_us(void);
/* vr_wall_iso() - "2026-01-31T12:34:56Z" into @out[32]; "never" for 0. Returns @out. */
char *vr_wall_iso(struct wall_us t, char out[32]);

#endif
