/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See looks.h. Pure. */
#include "daemon/looks.h"

bool look_may(const struct hv_look *l, struct mono_ms now)
{
    return !l->out && now.ms >= l->not_before.ms;
}

void look_begin(struct hv_look *l)
{
    l->out = true;
}

void look_end(struct hv_look *l, bool failed, struct mono_ms now)
{
    l->out = false;
    l->not_before.ms = failed ? now.ms + LOOK_REST_MS : 0;
}
