/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_TURNS_H
#define VR_DAEMON_TURNS_H

#include <stdbool.h>

#include "model/model.h"

/* Whose turn it is to ask a host. A thousand machines may have the same peer, and a peer that does
 * not answer keeps a worker for seconds: only TURNS_EACH ask one host at a time, the others wait,
 * and when one gets no answer all that wait for that host are told so. Pure; one thread. */
enum { TURNS_EACH = 2 };

struct turn {
    struct turn *next;
    void *who; /* waits, the caller's own */
    char host[VR_NAME_MAX];
    bool has;
};
struct turns {
    struct turn *all; /* in the order in which they came */
};

/* turns_wait() - @t, whose @who and @host are filled in and which lives until turns_end(), wants to
 * ask. Returns true when it may at once; else turns_next() returns it later. */
bool turns_wait(struct turns *q, struct turn *t);
/* turns_end() - @t, which had its turn, is done and no longer looked at. */
void turns_end(struct turns *q, struct turn *t);
/* turns_next() - one that waited for @host has its turn now; NULL: none. */
struct turn *turns_next(struct turns *q, const char *host);
/* turns_give_up() - likewise, whatever the number of those that ask it. */
struct turn *turns_give_up(struct turns *q, const char *host);

#endif
