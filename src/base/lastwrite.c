/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/lastwrite.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/log.h"

static const char attribute[] = "user.vmreplica.written";

static int64_t modified(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return 0;
    return (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
}

int64_t lastwrite_get(const char *path)
{
    char text[64];
    int64_t was, ours, now = modified(path);
    ssize_t n = now ? getxattr(path, attribute, text, sizeof text - 1) : 0;
    if (n <= 0)
        return now;
    text[n] = 0;
    return sscanf(text, "%" SCNd64 " %" SCNd64, &was, &ours) == 2 && ours == now ? was : now;
}

void lastwrite_keep(const char *path, int64_t was)
{
    char text[64];
    int64_t now = modified(path);
    if (!was || !now || was == now)
        return;
    int n = snprintf(text, sizeof text, "%" PRId64 " %" PRId64, was, now);
    if (setxattr(path, attribute, text, (size_t)n, 0) < 0)
        vr_log(VR_LOG_DEBUG, "%s: when it was last written is not kept: %s", path, strerror(errno));
}
