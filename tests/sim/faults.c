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

static const char *const messages[MSG_COUNT] = {
#define M(n, text) [MSG_##n] = #n,
#include "messages.def"
#undef M
};
static const char *const troubles[TROUBLES] = { "cut", "slow", "reordered" };

void troubled(struct sim *s, enum message m, enum trouble t)
{
    s->troubled[m][t]++;
    tell(s, "net: %s is %s", messages[m], troubles[t]);
}

uint64_t message_sent(struct host *h)
{
    return ++h->sent;
}

void message_came(struct host *from, enum message m, uint64_t sent)
{
    if (sent < from->arrived)
        troubled(from->s, m, REORDERED);
    else
        from->arrived = sent;
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

int faults_missing(const long all[FAULT_COUNT], const long killed[FX_BIT_COUNT],
                   const long troubled[MSG_COUNT][TROUBLES])
{
    int missing = 0;
    for (int m = 0; m < MSG_COUNT; m++)
        for (int t = 0; t < TROUBLES; t++)
            if (!troubled[m][t])
                missing += fprintf(stderr, "no %s was %s\n", messages[m], troubles[t]) > 0;
    for (int f = 0; f < FAULT_COUNT; f++)
        if (!all[f])
            missing += fprintf(stderr, "never happened: %s\n", names[f]) > 0;
    for (int fx = 0; fx < FX_BIT_COUNT; fx++)
        if (takes_time(fx) && !killed[fx])
            missing += fprintf(stderr, "no daemon died in effect %s\n",
                               rel_fx_name((enum rel_fx_bit)fx)) > 0;
    return missing;
}
