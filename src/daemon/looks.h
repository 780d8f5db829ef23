/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_LOOKS_H
#define VR_DAEMON_LOOKS_H

/* When a machine may be looked at again. The look may hang as long as the machine does (a
 * migration, a QEMU that does not answer): one that hangs costs one worker, not one more every few
 * seconds. */
#include <stdbool.h>

#include "base/clock.h"

enum { LOOK_REST_MS = 60000 }; /* after one that failed */

struct hv_look {
    bool out;                  /* a look has begun and not ended */
    struct mono_ms not_before; /* after a failure; 0: at once */
};

/* look_may() - it may begin @now. look_begin() - it does. look_end() - it has ended. Pure. */
bool look_may(const struct hv_look *l, struct mono_ms now);
void look_begin(struct hv_look *l);
void look_end(struct hv_look *l, bool failed, struct mono_ms now);

#endif
