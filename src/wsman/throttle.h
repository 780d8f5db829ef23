/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_WSMAN_THROTTLE_H
#define VR_WSMAN_THROTTLE_H

#include <stdbool.h>

#include "base/clock.h"

/* Who was refused lately, by address: at most one log line per address and second, and answers that
 * come later the more often an address was wrong. Control thread only. Addresses beyond the size of
 * the table push the one out that was quiet for the longest time. */
struct wsm_throttle {
    struct {
        char address[64];
        struct mono_ms logged, failed;
        unsigned held_back, failures;
    } slot[64];
};

enum { WSM_THROTTLE_FORGET_MS = 60000, WSM_THROTTLE_DOUBLINGS = 4 };

/* wsm_throttle_log() - a warning that @address was refused: "@what: @why", unless one was written
 * within a second; those are counted in the next. Returns whether it was written. */
bool wsm_throttle_log(struct wsm_throttle *t, struct mono_ms now, const char *address,
                      const char *what, const char *why);
/* wsm_throttle_delay() - note a failed login; how many ms later it should be answered: @base_ms,
 * doubled with each of the next failures, 16 times @base_ms at most. A minute without any is
 * forgiven. */
unsigned wsm_throttle_delay(struct wsm_throttle *t, struct mono_ms now, const char *address,
                            unsigned base_ms);

#endif
