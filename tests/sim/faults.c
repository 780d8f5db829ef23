/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What went wrong so far, by name; and that nothing of it was left out in a long run. */
#include "sim.h"

#include <stdio.h>

static const char *const names[FAULT_COUNT] = {
#define F(n, text) [FAULT_##n] = #n,
#include "faults.def"
#undef F
};

void seen(struct sim *s, enum fault f)
{
    s->seen[f]++;
    tell(s, "fault: %s", names[f]);
}

/* The daemon died: in which effect, sending, receiving, or doing nothing. */
void seen_death(struct host *h)
{
    if (h->effects > 0)
        h->s->killed[h->running_fx]++;
    if (h->tx)
        h->s->killed[FX_BIT_SHIP]++;
    if (h->merging)
        h->s->killed[FX_BIT_RETENTION]++;
}

/* Effects of the table that the environment runs and that take time. */
static bool takes_time(int fx)
{
    struct rel_row row;
    static const uint32_t instant = FX_CANCEL_FLOW | FX_CANCEL_RX | FX_REPLY | FX_REPLY_ERR |
                                    FX_JOB_DONE | FX_JOB_FAIL | FX_JOB_CANCEL | FX_SYNC_DONE |
                                    FX_SYNC_FAIL | FX_PUSH_SETTINGS | FX_PROBE;
    if (instant & 1u << fx)
        return false;
    for (size_t i = 0; rel_table_row(i, &row); i++)
        if (row.fx & 1u << fx)
            return true;
    return false;
}

int faults_missing(const long all[FAULT_COUNT], const long killed[FX_BIT_COUNT])
{
    int missing = 0;
    for (int f = 0; f < FAULT_COUNT; f++)
        if (!all[f])
            missing += fprintf(stderr, "never happened: %s\n", names[f]) > 0;
    for (int fx = 0; fx < FX_BIT_COUNT; fx++)
        if (takes_time(fx) && !killed[fx])
            missing += fprintf(stderr, "no daemon died in effect %s\n",
                               rel_fx_name((enum rel_fx_bit)fx)) > 0;
    return missing;
}
