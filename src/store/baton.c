/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The baton: whoever uses the store holds it, and lays it down while it touches files, so that a
 * storage that does not answer keeps nobody waiting but the machines on it. Inside a transaction it
 * is kept: the database has one handle. Any thread. */
#include "store/baton.h"

#include "store/store_int.h"

static __thread struct store *held; /* by this thread */

void store_enter(struct store *st)
{
    pthread_mutex_lock(&st->baton);
    held = st;
}

void store_leave(struct store *st)
{
    held = NULL;
    pthread_mutex_unlock(&st->baton);
}

struct store *baton_down(void)
{
    struct store *st = held;
    if (!st || db_in_tx(st->db))
        return NULL;
    store_leave(st);
    return st;
}

void baton_up(struct store **st)
{
    if (*st)
        store_enter(*st);
}
