/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Slows down those who guess, and keeps them from filling the log. */
#include "wsman/throttle.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"

static int64_t last_seen(const struct wsm_throttle *t, size_t i)
{
    return t->slot[i].logged.ms > t->slot[i].failed.ms ? t->slot[i].logged.ms
                                                       : t->slot[i].failed.ms;
}

static size_t find(struct wsm_throttle *t, const char *address)
{
    size_t use = 0;
    for (size_t i = 0; i < VR_ARRAY_LEN(t->slot); i++) {
        if (!strcmp(t->slot[i].address, address))
            return i;
        if (last_seen(t, i) < last_seen(t, use))
            use = i;
    }
    memset(&t->slot[use], 0, sizeof t->slot[use]);
    snprintf(t->slot[use].address, sizeof t->slot[use].address, "%s", address);
    return use;
}

bool wsm_throttle_log(struct wsm_throttle *t, struct mono_ms now, const char *address,
                      const char *what, const char *why)
{
    size_t i = find(t, address);
    if (t->slot[i].logged.ms && now.ms - t->slot[i].logged.ms < 1000) {
        t->slot[i].held_back++;
        return false;
    }
    if (t->slot[i].held_back)
        vr_log(VR_LOG_WARN, "management: %s from %s refused: %s (and %u more before)", what,
               address, why, t->slot[i].held_back);
    else
        vr_log(VR_LOG_WARN, "management: %s from %s refused: %s", what, address, why);
    t->slot[i].logged = now;
    t->slot[i].held_back = 0;
    return true;
}

unsigned wsm_throttle_delay(struct wsm_throttle *t, struct mono_ms now, const char *address,
                            unsigned base_ms)
{
    size_t i = find(t, address);
    if (now.ms - t->slot[i].failed.ms > WSM_THROTTLE_FORGET_MS)
        t->slot[i].failures = 0;
    t->slot[i].failed = now;
    unsigned doublings = t->slot[i].failures;
    if (doublings < WSM_THROTTLE_DOUBLINGS)
        t->slot[i].failures++;
    return base_ms << doublings;
}
