/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether a file of this host that a definition from elsewhere names may be used. Thread: any. */
#include "hostfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"

static bool is_plain(const char *path)
{
    return path && path[0] == '/' && !strstr(path, "/../") && !strstr(path, "/./");
}

/* Readable for everybody anyway, with the folders above it: QEMU's user learns nothing by it. */
bool hostfile_is_public(const char *path)
{
    struct stat sb;
    vr_autofree char *real = is_plain(path) ? realpath(path, NULL) : NULL;
    if (!real || stat(real, &sb) < 0 || !S_ISREG(sb.st_mode) || !(sb.st_mode & S_IROTH))
        return false;
    for (char *slash; (slash = strrchr(real, '/')) && slash != real;) {
        *slash = 0;
        if (stat(real, &sb) < 0 || !(sb.st_mode & S_IXOTH))
            return false;
    }
    return true;
}

/* Firmware that is not here yet stays: the machine does not start without it, and says so. */
bool hostfile_is_firmware(const char *path)
{
    return hostfile_is_public(path) ||
           (is_plain(path) && access(path, F_OK) < 0 && errno == ENOENT);
}

/* A log of a machine, where libvirt keeps such logs, in a folder that is there. */
bool hostfile_is_log(const char *path)
{
    static const char logs[] = "/var/log/libvirt/";
    const char *p = path;
    struct stat sb;
    if (!is_plain(p) || strncmp(p, logs, strlen(logs)) != 0)
        return false;
    if (lstat(p, &sb) == 0)
        return S_ISREG(sb.st_mode);
    vr_autofree char *folder = vr_strndup(p, (size_t)(strrchr(p, '/') - p));
    return stat(folder, &sb) == 0 && S_ISDIR(sb.st_mode);
}

bool hostfile_is_emulator(const char *path)
{
    const char *p = path, *base = p ? strrchr(p, '/') : NULL;
    return is_plain(p) && strncmp(p, "/usr/", 5) == 0 &&
           (strncmp(base, "/qemu-", 6) == 0 || strcmp(base, "/kvm") == 0) && access(p, X_OK) == 0;
}

bool hostfile_is_nvram(const char *path)
{
    const char *p = path;
    return is_plain(p) && (strncmp(p, "/var/lib/libvirt/qemu/nvram/", 28) == 0 ||
                           strncmp(p, "/var/lib/libvirt/nvram/", 23) == 0);
}
