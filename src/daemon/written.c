/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When a machine's disks were last written: the time of an orphan point. */
#include "daemon/written.h"

#include <stdint.h>

#include "base/lastwrite.h"

static struct wall_us earlier(struct wall_us a, struct wall_us b)
{
    return a.us < b.us ? a : b;
}

/* By their files; 0: one of them cannot tell. */
static struct wall_us of_files(char *const *path, size_t n)
{
    struct wall_us newest = { 0 };
    for (size_t i = 0; i < n; i++) {
        int64_t us = lastwrite_get(path[i]) / 1000;
        if (!us)
            return (struct wall_us){ 0 };
        if (us > newest.us)
            newest.us = us;
    }
    return newest;
}

struct wall_us disks_written(char *const *path, size_t n, struct wall_us stopped,
                             struct wall_us now)
{
    struct wall_us t = of_files(path, n);
    if (!t.us)
        t = stopped;
    else if (stopped.us)
        t = earlier(t, stopped);
    return earlier(t, now);
}
