/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The host's computer, processors and operating system (root/cimv2): what clients look at before
 * they come to machines. Read anew from the kernel's files in memory at each call, which takes
 * microseconds. Control thread only. src:[wsman.md 3] */
#include "cim/providers/prov.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/alloc.h"

enum { LINE_SIZE = 512, SOCKETS_MAX = 64 };

#define CS(n) CIM_P_WIN32_COMPUTERSYSTEM_##n
#define PRODUCT(n) CIM_P_WIN32_COMPUTERSYSTEMPRODUCT_##n
#define OS(n) CIM_P_WIN32_OPERATINGSYSTEM_##n
#define CPU(n) CIM_P_WIN32_PROCESSOR_##n

struct processors {
    char vendor[LINE_SIZE], model[LINE_SIZE];
    unsigned mhz, threads, cores, sockets;
};

/* The first line of a file, "" if there is none. */
static char *first_line(const char *path, char out[LINE_SIZE])
{
    vr_autofclose FILE *f = fopen(path, "re");
    *out = 0;
    if (f && !fgets(out, LINE_SIZE, f))
        *out = 0;
    out[strcspn(out, "\n")] = 0;
    return out;
}

/* What the firmware says of the hardware; NULL if it says nothing. */
static const char *dmi(const char *name, char out[LINE_SIZE])
{
    vr_autofree char *path = vr_printf("/sys/class/dmi/id/%s", name);
    return *first_line(path, out) ? out : NULL;
}

/* The value behind "NAME=" of os-release, without quotes. */
static char *release(const char *name, char out[LINE_SIZE])
{
    vr_autofclose FILE *f = fopen("/etc/os-release", "re");
    char line[LINE_SIZE];
    size_t n = strlen(name);
    *out = 0;
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, name, n) || line[n] != '=')
            continue;
        const char *v = line + n + 1;
        v += *v == '"';
        snprintf(out, LINE_SIZE, "%.*s", (int)strcspn(v, "\"\n"), v);
    }
    return out;
}

/* "name : value" of /proc/cpuinfo; the value, or NULL. */
static char *value_of(char *line, const char *name)
{
    char *colon = strchr(line, ':');
    if (strncmp(line, name, strlen(name)) || !colon)
        return NULL;
    colon[strcspn(colon, "\n")] = 0;
    return colon + 1 + strspn(colon + 1, " \t");
}

static void count_processors(struct processors *p)
{
    vr_autofclose FILE *f = fopen("/proc/cpuinfo", "re");
    char line[LINE_SIZE * 8];
    bool seen[SOCKETS_MAX] = { false };
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    *p = (struct processors){ .threads = online > 0 ? (unsigned)online : 1 };
    while (f && fgets(line, sizeof line, f)) {
        char *v;
        if ((v = value_of(line, "vendor_id")))
            snprintf(p->vendor, sizeof p->vendor, "%.*s", LINE_SIZE - 1, v);
        else if ((v = value_of(line, "model name")))
            snprintf(p->model, sizeof p->model, "%.*s", LINE_SIZE - 1, v);
        else if ((v = value_of(line, "cpu MHz")))
            p->mhz = (unsigned)strtoul(v, NULL, 10);
        else if ((v = value_of(line, "cpu cores")))
            p->cores = (unsigned)strtoul(v, NULL, 10);
        else if ((v = value_of(line, "physical id"))) {
            unsigned long id = strtoul(v, NULL, 10);
            if (id < SOCKETS_MAX && !seen[id]) {
                seen[id] = true;
                p->sockets++;
            }
        }
    }
    p->sockets = p->sockets ? p->sockets : 1;
    p->cores = p->cores ? p->cores : p->threads / p->sockets ? p->threads / p->sockets : 1;
}

/* Kibibytes of memory: all, and what could still be had. */
static void count_memory(uint64_t *ret_all, uint64_t *ret_free)
{
    vr_autofclose FILE *f = fopen("/proc/meminfo", "re");
    char line[LINE_SIZE], *v;
    *ret_all = *ret_free = 0;
    while (f && fgets(line, sizeof line, f)) {
        if ((v = value_of(line, "MemTotal")))
            *ret_all = strtoull(v, NULL, 10);
        else if ((v = value_of(line, "MemAvailable")))
            *ret_free = strtoull(v, NULL, 10);
    }
}

static enum cim_status enum_computer(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                     struct vr_err *err)
{
    const struct host_providers *p = ctx;
    struct cim_inst *in = cim_inst_new(CIM_C_WIN32_COMPUTERSYSTEM);
    struct processors cpu;
    struct utsname u;
    uint64_t all, unused;
    char text[LINE_SIZE];

    count_processors(&cpu);
    count_memory(&all, &unused);
    cim_inst_set_str(in, CS(NAME), p->h->name);
    cim_inst_set_str(in, CS(CAPTION), p->h->name);
    cim_inst_set_str(in, CS(DNSHOSTNAME), p->h->name);
    cim_inst_set_str(in, CS(MANUFACTURER), dmi("sys_vendor", text));
    cim_inst_set_str(in, CS(MODEL), dmi("product_name", text));
    cim_inst_set_uint(in, CS(NUMBEROFLOGICALPROCESSORS), cpu.threads);
    cim_inst_set_uint(in, CS(NUMBEROFPROCESSORS), cpu.sockets);
    if (!uname(&u))
        cim_inst_set_strf(in, CS(SYSTEMTYPE), "%s-based PC",
                          strcmp(u.machine, "x86_64") ? u.machine : "x64");
    cim_inst_set_uint(in, CS(TOTALPHYSICALMEMORY), all * 1024);
    cim_emit(sink, in);
    return CIM_S_OK;
}

static enum cim_status enum_product(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                                    struct vr_err *err)
{
    struct cim_inst *in = cim_inst_new(CIM_C_WIN32_COMPUTERSYSTEMPRODUCT);
    char text[LINE_SIZE], guid[VR_UUID_STR];
    struct vr_uuid id;
    const char *v;

    cim_inst_set_str(in, PRODUCT(IDENTIFYINGNUMBER), (v = dmi("product_serial", text)) ? v : "");
    cim_inst_set_str(in, PRODUCT(NAME), (v = dmi("product_name", text)) ? v : "");
    cim_inst_set_str(in, PRODUCT(VERSION), (v = dmi("product_version", text)) ? v : "");
    cim_inst_set_str(in, PRODUCT(VENDOR), dmi("sys_vendor", text));
    v = dmi("product_uuid", text);
    if (!v && strlen(first_line("/etc/machine-id", text)) == 32) {
        /* The same digits with dashes. */
        snprintf(guid, sizeof guid, "%.8s-%.4s-%.4s-%.4s-%.12s", text, text + 8, text + 12,
                 text + 16, text + 20);
        v = guid;
    }
    if (v && !vr_uuid_parse(v, &id, NULL))
        cim_inst_set_str(in, PRODUCT(UUID), vr_uuid_fmt_upper(&id, guid));
    cim_emit(sink, in);
    return CIM_S_OK;
}

static enum cim_status enum_os(void *ctx, const struct cim_caller *who, struct cim_sink *sink,
                               struct vr_err *err)
{
    const struct host_providers *p = ctx;
    struct cim_inst *in = cim_inst_new(CIM_C_WIN32_OPERATINGSYSTEM);
    struct wall_us now = vr_wall_now();
    struct sysinfo si;
    struct utsname u;
    uint64_t all, unused;
    char text[LINE_SIZE];

    release("PRETTY_NAME", text);
    count_memory(&all, &unused);
    cim_inst_set_str(in, OS(NAME), *text ? text : "Linux");
    cim_inst_set_str(in, OS(CAPTION), *text ? text : "Linux");
    cim_inst_set_str(in, OS(CSNAME), p->h->name);
    cim_inst_set_uint(in, OS(FREEPHYSICALMEMORY), unused);
    cim_inst_set_uint(in, OS(TOTALVISIBLEMEMORYSIZE), all);
    cim_inst_set_time(in, OS(LOCALDATETIME), now);
    if (!sysinfo(&si))
        cim_inst_set_time(in, OS(LASTBOOTUPTIME),
                          (struct wall_us){ now.us - (int64_t)si.uptime * 1000000 });
    release("NAME", text);
    cim_inst_set_str(in, OS(MANUFACTURER), *text ? text : NULL);
    if (!uname(&u)) {
        cim_inst_set_str(in, OS(OSARCHITECTURE),
                         strcmp(u.machine, "x86_64") ? u.machine : "64-bit");
        cim_inst_set_str(in, OS(VERSION), u.release);
    }
    cim_emit(sink, in);
    return CIM_S_OK;
}

static enum cim_status enum_processors(void *ctx, const struct cim_caller *who,
                                       struct cim_sink *sink, struct vr_err *err)
{
    struct processors cpu;
    struct utsname u;

    count_processors(&cpu);
    bool x64 = !uname(&u) && !strcmp(u.machine, "x86_64");
    for (unsigned i = 0; i < cpu.sockets; i++) {
        struct cim_inst *in = cim_inst_new(CIM_C_WIN32_PROCESSOR);
        cim_inst_set_strf(in, CPU(DEVICEID), "CPU%u", i);
        cim_inst_set_str(in, CPU(NAME), *cpu.model ? cpu.model : NULL);
        cim_inst_set_str(in, CPU(CAPTION), *cpu.model ? cpu.model : NULL);
        cim_inst_set_str(in, CPU(MANUFACTURER), *cpu.vendor ? cpu.vendor : NULL);
        cim_inst_set_uint(in, CPU(ARCHITECTURE), x64 ? 9 : 12);
        if (cpu.mhz)
            cim_inst_set_uint(in, CPU(MAXCLOCKSPEED), cpu.mhz);
        cim_inst_set_uint(in, CPU(NUMBEROFCORES), cpu.cores);
        cim_inst_set_uint(in, CPU(NUMBEROFLOGICALPROCESSORS), cpu.threads / cpu.sockets);
        if (!cim_emit(sink, in))
            break;
    }
    return CIM_S_OK;
}

void prov_register_cimv2(struct cim_server *s, struct host_providers *p)
{
    const struct cim_provider all[] = {
        { .cls = CIM_C_WIN32_COMPUTERSYSTEM, .ctx = p, .enumerate = enum_computer },
        { .cls = CIM_C_WIN32_COMPUTERSYSTEMPRODUCT, .ctx = p, .enumerate = enum_product },
        { .cls = CIM_C_WIN32_OPERATINGSYSTEM, .ctx = p, .enumerate = enum_os },
        { .cls = CIM_C_WIN32_PROCESSOR, .ctx = p, .enumerate = enum_processors },
    };

    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++)
        cim_server_register(s, &all[i]);
}
