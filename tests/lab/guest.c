/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The laboratory's guest: process 1 of a machine that does nothing but write to its disks in a way
 * that can be checked afterwards, and the same checks for the host to run on files taken from an
 * image.
 *
 * Tick N writes on every disk, first disk first: the slot file data/<N mod slots> whole, under
 * another name, fsynced and renamed; then one line "N slots size" at the end of `log`, fsynced. A
 * file's bytes follow from (disk, N) alone. So at any instant, whenever the power fails:
 *   - the log's last complete line names the last finished tick of that disk;
 *   - each of the last `slots` ticks in it has its file, whole, save that the file of the tick
 * after the last may already stand in its slot;
 *   - disk d+1 is at the tick of disk d or exactly one behind it: what a copy of several disks
 * taken at different instants does not keep. Kernel command line: vmr.disks=N vmr.tick_ms=N
 * vmr.kib=N (size of a file) vmr.slots=N vmr.hold=1 (verify, then do not write)
 * vmr.agent=1 (run the guest agent). One thread; single
 * user of its disks.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/input.h>
#include <linux/reboot.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MAX_DISKS = 4, MAX_KIB = 16384, MAX_SLOTS = 100000, MAX_BUTTONS = 8 };

struct settings {
    unsigned disks;
    unsigned tick_ms;
    unsigned kib;
    unsigned slots;
    bool hold;
    bool agent;
};

static unsigned char file_bytes[MAX_KIB * 1024];
static unsigned char read_back[MAX_KIB * 1024];

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Half of the bytes cannot be compressed, half are text-like, in runs of 4 KiB. */
static void fill(unsigned disk, uint64_t tick, size_t size)
{
    uint64_t state = mix(tick * MAX_DISKS + disk);

    for (size_t at = 0; at + 8 <= size; at += 8) {
        uint64_t word = mix(state + at);

        if ((at >> 12) & 1)
            word = 0x2020202020202020u | ((tick & 0x0f) << 8) | ((at >> 12) & 0x0f);
        memcpy(file_bytes + at, &word, 8);
    }
}

static int write_whole(int fd, const void *bytes, size_t size)
{
    const char *at = bytes;

    while (size) {
        ssize_t n = write(fd, at, size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        at += n;
        size -= (size_t)n;
    }
    return 0;
}

static int write_durably(const char *path, int flags, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);

    if (fd < 0)
        return -1;
    if (write_whole(fd, bytes, size) < 0 || fsync(fd) < 0) {
        close(fd);
        return -1;
    }
    return close(fd);
}

static int write_tick(const char *root, unsigned disk, uint64_t tick, const struct settings *set)
{
    char temporary[256], path[256], line[64];
    size_t size = (size_t)set->kib * 1024;

    fill(disk, tick, size);
    snprintf(temporary, sizeof(temporary), "%s/data/new", root);
    snprintf(path, sizeof(path), "%s/data/%" PRIu64, root, tick % set->slots);
    if (write_durably(temporary, O_TRUNC, file_bytes, size) < 0 || rename(temporary, path) < 0)
        return -1;
    snprintf(line, sizeof(line), "%" PRIu64 " %u %zu\n", tick, set->slots, size);
    snprintf(path, sizeof(path), "%s/log", root);
    return write_durably(path, O_APPEND, line, strlen(line));
}

/* Does a slot hold what tick wrote there, whole? size: as the log says. */
static bool holds(const char *root, unsigned disk, uint64_t tick, unsigned slots, size_t size)
{
    char path[256];
    int fd;
    size_t have = 0;

    snprintf(path, sizeof(path), "%s/data/%" PRIu64, root, tick % slots);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    while (have < sizeof(read_back)) {
        ssize_t n = read(fd, read_back + have, sizeof(read_back) - have);

        if (n <= 0)
            break;
        have += (size_t)n;
    }
    close(fd);
    if (have != size)
        return false;
    fill(disk, tick, size);
    return memcmp(read_back, file_bytes, size) == 0;
}

struct verdict {
    uint64_t last;  /* last tick in the log, 0 when there is none */
    unsigned files; /* files found whole */
    unsigned slots; /* of the last line */
    size_t size;
    char why[160]; /* empty when all is well */
};

/* Read the log: every line follows the one before it. */
static void read_log(const char *root, struct verdict *v)
{
    char path[256], line[128];
    FILE *log;

    snprintf(path, sizeof(path), "%s/log", root);
    log = fopen(path, "re");
    if (!log)
        return;
    while (fgets(line, sizeof(line), log)) {
        uint64_t tick;
        unsigned slots;
        size_t size;

        if (!strchr(line, '\n'))
            break;
        if (sscanf(line, "%" SCNu64 " %u %zu", &tick, &slots, &size) != 3 || tick != v->last + 1 ||
            slots == 0 || size > sizeof(file_bytes)) {
            snprintf(v->why, sizeof(v->why), "log broken after tick %" PRIu64, v->last);
            break;
        }
        v->last = tick;
        v->slots = slots;
        v->size = size;
    }
    fclose(log);
}

static void verify_disk(const char *root, unsigned disk, struct verdict *v)
{
    uint64_t first;

    memset(v, 0, sizeof(*v));
    read_log(root, v);
    if (v->why[0] || v->last == 0)
        return;
    first = v->last > v->slots ? v->last - v->slots + 1 : 1;
    for (uint64_t tick = first; tick <= v->last; tick++) {
        if (holds(root, disk, tick, v->slots, v->size)) {
            v->files++;
        } else if (tick % v->slots == (v->last + 1) % v->slots &&
                   holds(root, disk, v->last + 1, v->slots, v->size)) {
            v->files++;
        } else {
            snprintf(v->why, sizeof(v->why), "file of tick %" PRIu64 " is wrong", tick);
            return;
        }
    }
}

/* Check all disks and print one line. Returns 0 when all is well; *ret_last: tick to go on from. */
static int verify(char *const roots[], unsigned disks, uint64_t *ret_last)
{
    struct verdict v = { 0 };
    uint64_t last = 0, previous = 0;
    unsigned files = 0;

    for (unsigned d = 0; d < disks; d++) {
        verify_disk(roots[d], d, &v);
        if (!v.why[0] && d > 0 && v.last != previous && v.last + 1 != previous)
            snprintf(v.why, sizeof(v.why), "at tick %" PRIu64 ", disk %u at %" PRIu64, v.last,
                     d - 1, previous);
        if (v.why[0]) {
            printf("VMR verify BAD disk=%u %s\n", d, v.why);
            return -1;
        }
        previous = v.last;
        files += v.files;
        if (d == 0)
            last = v.last;
    }
    printf("VMR verify ok files=%u counter=%" PRIu64 "\n", files, previous);
    *ret_last = last;
    return 0;
}

static unsigned parameter(const char *line, const char *name, unsigned otherwise, unsigned most)
{
    const char *at = strstr(line, name);
    unsigned long value;

    if (!at)
        return otherwise;
    value = strtoul(at + strlen(name), NULL, 10);
    return value > most ? most : (unsigned)value;
}

static void read_settings(struct settings *set)
{
    static char line[4096];
    int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, line, sizeof(line) - 1);

    line[n > 0 ? n : 0] = '\0';
    if (fd >= 0)
        close(fd);
    set->disks = parameter(line, "vmr.disks=", 1, MAX_DISKS);
    set->tick_ms = parameter(line, "vmr.tick_ms=", 200, 3600000);
    set->kib = parameter(line, "vmr.kib=", 64, MAX_KIB);
    set->slots = parameter(line, "vmr.slots=", 256, MAX_SLOTS);
    set->hold = parameter(line, "vmr.hold=", 0, 1) != 0;
    set->agent = parameter(line, "vmr.agent=", 0, 1) != 0;
    if (set->slots == 0)
        set->slots = 1;
}

static void load_modules(void)
{
    FILE *list = fopen("/modules/order", "re");
    char name[128], path[192];

    while (list && fgets(name, sizeof(name), list)) {
        int fd;

        name[strcspn(name, "\n")] = '\0';
        snprintf(path, sizeof(path), "/modules/%s", name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
            printf("VMR module %s: %s\n", name, strerror(errno));
        if (fd >= 0)
            close(fd);
    }
    if (list)
        fclose(list);
}

static void power_off(char *const roots[], unsigned disks, const char *how)
{
    sync();
    for (unsigned d = 0; d < disks; d++) {
        if (umount(roots[d]) < 0)
            printf("VMR umount %s: %s\n", roots[d], strerror(errno));
    }
    printf("VMR halted %s\n", how);
    fflush(stdout);
    sync();
    reboot(RB_POWER_OFF);
    for (;;)
        pause();
}

/* Open every input device that has a power key: the ACPI button, but a keyboard may have one too.
 */
static unsigned open_buttons(struct pollfd fds[MAX_BUTTONS])
{
    unsigned n = 0;
    char path[64];

    for (unsigned i = 0; i < MAX_BUTTONS; i++) {
        unsigned long keys[KEY_CNT / (8 * sizeof(long)) + 1] = { 0 };
        int fd;

        snprintf(path, sizeof(path), "/dev/input/event%u", i);
        fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
            continue;
        if (ioctl(fd, EVIOCGBIT(EV_KEY, sizeof(keys)), keys) >= 0 &&
            (keys[KEY_POWER / (8 * sizeof(long))] >> (KEY_POWER % (8 * sizeof(long)))) & 1)
            fds[n++] = (struct pollfd){ .fd = fd, .events = POLLIN };
        else
            close(fd);
    }
    return n;
}

/* Wait, and say whether a power button was pressed meanwhile. */
static bool button_pressed(struct pollfd fds[MAX_BUTTONS], unsigned n, int wait_ms)
{
    struct input_event event;

    if (poll(fds, n, wait_ms) <= 0)
        return false;
    for (unsigned i = 0; i < n; i++) {
        while (read(fds[i].fd, &event, sizeof(event)) == (ssize_t)sizeof(event)) {
            if (event.type == EV_KEY && event.code == KEY_POWER && event.value == 1)
                return true;
        }
    }
    return false;
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int mount_disks(char *const roots[], unsigned disks)
{
    char path[32], data[64];

    for (unsigned d = 0; d < disks; d++) {
        snprintf(path, sizeof(path), "/dev/vd%c", (char)('a' + d));
        mkdir(roots[d], 0755);
        /* The disk may take a moment to appear. */
        for (unsigned tries = 0; mount(path, roots[d], "ext4", MS_NOATIME, NULL) < 0; tries++) {
            if (tries == 100) {
                printf("VMR cannot mount %s: %s\n", path, strerror(errno));
                return -1;
            }
            usleep(50000);
        }
        snprintf(data, sizeof(data), "%s/data", roots[d]);
        mkdir(data, 0755);
    }
    return 0;
}

static void write_for_ever(char *const roots[], const struct settings *set, uint64_t tick)
{
    struct pollfd buttons[MAX_BUTTONS];
    unsigned n = open_buttons(buttons);
    int64_t next = now_ms(), said = 0;

    if (n == 0)
        printf("VMR no power button\n");
    for (;;) {
        int64_t now = now_ms();
        int wait = next > now ? (int)(next - now) : 0;

        if (button_pressed(buttons, n, set->hold ? 1000 : wait)) {
            printf("VMR power button counter=%" PRIu64 "\n", tick);
            power_off(roots, set->disks, "clean");
        }
        if (set->hold)
            continue;
        next = (next + set->tick_ms > now ? next : now) + set->tick_ms;
        tick++;
        for (unsigned d = 0; d < set->disks; d++) {
            if (write_tick(roots[d], d, tick, set) < 0) {
                printf("VMR write error disk=%u tick=%" PRIu64 ": %s\n", d, tick, strerror(errno));
                power_off(roots, set->disks, "dirty");
            }
        }
        if (now - said >= 250) {
            printf("VMR tick %" PRIu64 "\n", tick);
            said = now;
        }
    }
}

/*
 * Number and size of the files stay what they were at the first boot; a disk that missed the very
 * last tick is brought level with the first one.
 */
static int level(char *const roots[], struct settings *set, uint64_t last)
{
    for (unsigned d = 0; d < set->disks; d++) {
        struct verdict v = { 0 };

        read_log(roots[d], &v);
        if (d == 0 && v.last > 0) {
            set->slots = v.slots;
            set->kib = (unsigned)(v.size / 1024);
        }
        if (v.last + 1 == last && write_tick(roots[d], d, last, set) < 0)
            return -1;
    }
    return 0;
}

/* The port of the agent's channel: there is only one. Without udev it has no other name. */
static bool agent_port(char *path, size_t size)
{
    DIR *dev = opendir("/dev");
    bool found = false;

    for (struct dirent *e; dev && !found && (e = readdir(dev));) {
        found = strncmp(e->d_name, "vport", 5) == 0;
        snprintf(path, size, "/dev/%.32s", e->d_name);
    }
    if (dev)
        closedir(dev);
    return found;
}

static void run_agent(void)
{
    char port[64];

    for (unsigned tries = 0; !agent_port(port, sizeof(port)); tries++) {
        if (tries == 100) {
            printf("VMR no port for the agent\n");
            return;
        }
        usleep(50000);
    }
    mkdir("/sys", 0755);
    mount("sysfs", "/sys", "sysfs", 0, NULL);
    signal(SIGCHLD, SIG_IGN); /* whatever is left without a parent is reaped */
    if (fork() == 0) {
        signal(SIGCHLD, SIG_DFL);
        execl("/bin/qemu-ga", "qemu-ga", "-m", "virtio-serial", "-p", port, "-t", "/run", NULL);
        printf("VMR no agent: %s\n", strerror(errno));
        _exit(127);
    }
}

/* Run by the agent itself (guest-exec): it stops for some seconds, or dies. */
static int stall(const char *seconds)
{
    pid_t agent = getppid();

    sleep(1); /* it shall answer first */
    if (strcmp(seconds, "kill") == 0)
        return kill(agent, SIGKILL) < 0;
    kill(agent, SIGSTOP);
    sleep((unsigned)atoi(seconds));
    return kill(agent, SIGCONT) < 0;
}

static void guest(void)
{
    static char *const roots[MAX_DISKS] = { "/disk0", "/disk1", "/disk2", "/disk3" };
    struct settings set;
    uint64_t last = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    mkdir("/proc", 0755);
    mkdir("/dev", 0755);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    if (!freopen("/dev/console", "w", stdout))
        power_off(roots, 0, "without a console");
    setvbuf(stdout, NULL, _IOLBF, 0);
    load_modules();
    read_settings(&set);
    if (mount_disks(roots, set.disks) < 0)
        power_off(roots, 0, "without its disks");
    if (verify(roots, set.disks, &last) < 0)
        power_off(roots, set.disks, "after a failed check");
    if (!set.hold && level(roots, &set, last) < 0)
        power_off(roots, set.disks, "dirty");
    if (set.agent)
        run_agent();
    printf("VMR boot counter=%" PRIu64 "\n", last);
    write_for_ever(roots, &set, last);
}

int main(int argc, char *argv[])
{
    uint64_t last = 0;

    if (argc >= 3 && argc - 2 <= MAX_DISKS && strcmp(argv[1], "verify") == 0)
        return verify(argv + 2, (unsigned)(argc - 2), &last) < 0;
    if (argc == 3 && strcmp(argv[1], "stall") == 0)
        return stall(argv[2]);
    if (getpid() == 1)
        guest();
    fprintf(stderr, "usage: %s verify FOLDER...\n", argv[0]);
    return 2;
}
