/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What libvirt does not tell about a machine and its host does: the process of its QEMU, when that
 * began, the file of the definition and when that was last changed. All of it is for people to look
 * at: what cannot be read is left unknown. Thread: hypervisor workers. src:[proc(5); libvirt's
 * folders as its packages have them] */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "hv_libvirt_priv.h"

#define PID_FILE "/run/libvirt/qemu/%s.pid"
#define DEFINITION "/etc/libvirt/qemu/%s.xml"

static unsigned read_pid(const char *name)
{
    char path[512];
    unsigned pid = 0;
    if ((size_t)snprintf(path, sizeof path, PID_FILE, name) >= sizeof path)
        return 0;
    vr_autofclose FILE *f = fopen(path, "re");
    return f && fscanf(f, "%u", &pid) == 1 ? pid : 0;
}

/* Field 22 of /proc/PID/stat: clock ticks since the host's start; the name in field 2 may hold
 * anything but ends with the last bracket. 0: the process is gone. */
static uint64_t start_ticks(unsigned pid)
{
    char path[64], line[1024];
    uint64_t ticks;
    snprintf(path, sizeof path, "/proc/%u/stat", pid);
    vr_autofclose FILE *f = fopen(path, "re");
    if (!f || !fgets(line, sizeof line, f))
        return 0;
    const char *rest = strrchr(line, ')');
    static const char skip[] = ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
                               "%*d %*d %*d %" SCNu64;
    return rest && sscanf(rest, skip, &ticks) == 1 ? ticks : 0;
}

char *lv_run(const char *name)
{
    char boot[64] = "";
    unsigned pid = read_pid(name);
    uint64_t ticks = pid ? start_ticks(pid) : 0;
    vr_autofclose FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (!ticks || !f || fscanf(f, "%63s", boot) != 1)
        return NULL;
    return vr_printf("%s/%u/%" PRIu64, boot, pid, ticks);
}

static struct wall_us wall_of_ticks(uint64_t ticks)
{
    struct timespec up;
    long hz = sysconf(_SC_CLK_TCK);
    if (hz <= 0 || clock_gettime(CLOCK_BOOTTIME, &up) < 0)
        return (struct wall_us){ 0 };
    int64_t age_us = (int64_t)up.tv_sec * 1000000 + up.tv_nsec / 1000 -
                     (int64_t)(ticks * 1000000 / (uint64_t)hz);
    return (struct wall_us){ vr_wall_now().us - (age_us > 0 ? age_us : 0) };
}

void lv_process(struct hv_machine *m)
{
    char path[512];
    struct stat st;
    if ((size_t)snprintf(path, sizeof path, DEFINITION, m->name) < sizeof path &&
        stat(path, &st) == 0) {
        vr_set_str(&m->definition, path);
        m->configured.us = (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000;
    }
    if (m->power == HV_POWER_OFF || m->power == HV_POWER_AWAY || m->power == HV_POWER_OTHER)
        return;
    unsigned pid = read_pid(m->name);
    uint64_t ticks = pid ? start_ticks(pid) : 0;
    if (!ticks)
        return;
    m->pid = pid;
    m->started = wall_of_ticks(ticks);
}
