/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/callers.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

void callers_block(const char *address, char ret[NET_ADDR_MAX])
{
    struct in6_addr a;
    char plain[NET_ADDR_MAX];
    snprintf(plain, sizeof plain, "%.*s", (int)strcspn(address, "%"), address); /* no scope */
    if (inet_pton(AF_INET6, plain, &a) != 1) {
        snprintf(ret, NET_ADDR_MAX, "%s", address);
        return;
    }
    if (IN6_IS_ADDR_V4MAPPED(&a)) {
        inet_ntop(AF_INET, &a.s6_addr[12], ret, NET_ADDR_MAX);
        return;
    }
    memset(&a.s6_addr[8], 0, 8);
    inet_ntop(AF_INET6, &a, ret, NET_ADDR_MAX);
}

/* ---- expected ---- */
void expected_init(struct expected *e)
{
    *e = (struct expected){ .told = NULL };
    pthread_mutex_init(&e->lock, NULL);
}

void expected_done(struct expected *e)
{
    free(e->told);
    pthread_mutex_destroy(&e->lock);
}

void expected_tell(struct expected *e, const char *const *addresses, size_t n)
{
    char(*told)[NET_ADDR_MAX] = vr_new0(n + 1, sizeof *told);
    for (size_t i = 0; i < n; i++)
        callers_block(addresses[i], told[i]);
    pthread_mutex_lock(&e->lock);
    free(e->told);
    e->told = told;
    e->n_told = n;
    pthread_mutex_unlock(&e->lock);
}

static bool has(const struct expected *e, const char *block)
{
    for (size_t i = 0; i < e->n_told; i++)
        if (!strcmp(e->told[i], block))
            return true;
    for (size_t i = 0; i < EXPECTED_MET; i++)
        if (!strcmp(e->met[i], block))
            return true;
    return false;
}

bool expected_has(struct expected *e, const char *block)
{
    pthread_mutex_lock(&e->lock);
    bool found = has(e, block);
    pthread_mutex_unlock(&e->lock);
    return found;
}

void expected_met(struct expected *e, const char *block)
{
    pthread_mutex_lock(&e->lock);
    if (!has(e, block)) {
        snprintf(e->met[e->next], sizeof e->met[0], "%s", block);
        e->next = (e->next + 1) % EXPECTED_MET;
    }
    pthread_mutex_unlock(&e->lock);
}

/* ---- slow ---- */
static struct slow_block *slow_find(struct slow *s, const char *block, struct mono_ms now)
{
    for (size_t i = 0; i < SLOW_BLOCKS; i++) {
        struct slow_block *b = &s->at[i];
        if (b->failed && !strcmp(b->block, block))
            return now.ms - b->last.ms < SLOW_FORGIVEN_MS ? b : NULL;
    }
    return NULL;
}

int64_t slow_wait(const struct slow *s, const char *block, struct mono_ms now)
{
    const struct slow_block *b = slow_find((struct slow *)(uintptr_t)s, block, now);
    return b && b->until.ms > now.ms ? b->until.ms - now.ms : 0;
}

unsigned slow_failed(struct slow *s, const char *block, struct mono_ms now)
{
    struct slow_block *b = slow_find(s, block, now);
    if (!b) {
        slow_forget(s, block);
        b = &s->at[0];
        for (size_t i = 1; i < SLOW_BLOCKS && b->failed; i++)
            if (!s->at[i].failed || s->at[i].last.ms < b->last.ms)
                b = &s->at[i];
        *b = (struct slow_block){ .failed = 0 };
        snprintf(b->block, sizeof b->block, "%s", block);
    }
    unsigned n = b->failed++;
    int64_t pause = n == 0 ? 0 : n > 5 ? SLOW_MAX_MS : INT64_C(500) << n;
    b->last = now;
    b->until.ms = now.ms + pause;
    return b->failed;
}

void slow_forget(struct slow *s, const char *block)
{
    for (size_t i = 0; i < SLOW_BLOCKS; i++)
        if (s->at[i].failed && !strcmp(s->at[i].block, block))
            s->at[i].failed = 0;
}
