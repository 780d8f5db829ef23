/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/turns.h"

#include <stddef.h>
#include <strings.h>

static bool may_ask(const struct turns *q, const char *host)
{
    unsigned n = 0;
    for (const struct turn *t = q->all; t; t = t->next)
        n += t->has && !strcasecmp(t->host, host);
    return n < TURNS_EACH;
}

bool turns_wait(struct turns *q, struct turn *t)
{
    struct turn **at = &q->all;
    while (*at)
        at = &(*at)->next;
    t->has = may_ask(q, t->host);
    t->next = NULL;
    *at = t;
    return t->has;
}

void turns_end(struct turns *q, struct turn *t)
{
    for (struct turn **at = &q->all; *at; at = &(*at)->next)
        if (*at == t) {
            *at = t->next;
            return;
        }
}

struct turn *turns_give_up(struct turns *q, const char *host)
{
    for (struct turn *t = q->all; t; t = t->next)
        if (!t->has && !strcasecmp(t->host, host)) {
            t->has = true;
            return t;
        }
    return NULL;
}

struct turn *turns_next(struct turns *q, const char *host)
{
    return may_ask(q, host) ? turns_give_up(q, host) : NULL;
}
