/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Preloaded into vmreplicad by tests: while /run/hold-backup is there, the capture stands between
 * the freezing of the guest and the instant (/run/backup-held says that it does). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

int virDomainBackupBegin(void *dom, const char *backup, const char *checkpoint, unsigned flags);

int virDomainBackupBegin(void *dom, const char *backup, const char *checkpoint, unsigned flags)
{
    int (*real)(void *, const char *, const char *, unsigned);
    *(void **)&real = dlsym(RTLD_NEXT, "virDomainBackupBegin");
    while (access("/run/hold-backup", F_OK) == 0) {
        close(open("/run/backup-held", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        usleep(10000);
    }
    unlink("/run/backup-held");
    return real(dom, backup, checkpoint, flags);
}
