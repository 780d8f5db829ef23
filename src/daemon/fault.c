/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sudden death at a chosen point (fault.h). Only in vmreplicad-fault. */
#include "daemon/fault.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards wanted, times */
static char wanted[64];
static unsigned times;

/* What the environment or its file says now; false when nothing. */
static bool read_wish(char *out, size_t size)
{
    const char *env = getenv("VMREPLICA_DIE_AT");
    if (!env || !*env)
        return false;
    if (*env != '/') {
        snprintf(out, size, "%s", env);
        return true;
    }
    vr_autoclose int fd = open(env, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);
    if (n <= 0)
        return false;
    out[n] = 0;
    out[strcspn(out, "\n")] = 0;
    return true;
}

void fault_point(const char *name, int after)
{
    char wish[64];
    pthread_mutex_lock(&lock);
    if (!read_wish(wish, sizeof wish)) {
        wanted[0] = 0;
        pthread_mutex_unlock(&lock);
        return;
    }
    if (strcmp(wish, wanted) != 0) {
        memcpy(wanted, wish, sizeof wanted);
        times = 0;
    }
    char *colon = strchr(wish, ':');
    unsigned long due = colon ? strtoul(colon + 1, NULL, 10) : 1;
    if (colon)
        *colon = 0;
    size_t n = strlen(wish);
    int plus = n && wish[n - 1] == '+';
    if (plus)
        wish[n - 1] = 0;
    if (plus == after && !strcmp(wish, name) && ++times >= due) {
        const char *env = getenv("VMREPLICA_DIE_AT");
        if (*env == '/')
            unlink(env);
        fprintf(stderr, "dying %s %s\n", after ? "after" : "before", name);
        _exit(137);
    }
    pthread_mutex_unlock(&lock);
}

void fault_hold(const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "VMREPLICA_HOLD_%s", name);
    const char *file = getenv(key);
    while (file && access(file, F_OK) == 0)
        usleep(50000);
}

uint16_t fault_call(uint16_t type)
{
    const char *env = getenv("VMREPLICA_UNKNOWN_CALL");
    return env && strtoul(env, NULL, 10) == type ? 0 : type;
}
