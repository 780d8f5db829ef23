/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The measuring end of bench/run.sh.
 *
 *   vrbench image PATH             make the test image (raw): 2 GiB, 60 % filled, half of that
 * random vrbench copy SOCKET IMAGE TABLE MODE [CONTEXT] transfer an NBD export into a layer; MODE
 * fresh, dirty
 *
 * VRBENCH_CLOSED is the closed qcow2 image behind the export, as of a machine that is off.
 * VRBENCH_GIB is the size of the disk that is transferred, if it is not 2.
 *
 * Sender and receiver are two processes, paired and joined by TLS as two daemons are. Prints one
 * line of numbers: seconds, bytes on the wire, payload bytes, CPU seconds of both sides (and of the
 * receiver's qemu-nbd), peak resident KiB of sender and receiver. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "transfer/xfer.h"
#include "transport/xport.h"

enum { CHUNK = 1 << 20 };
static uint64_t disk_size = (uint64_t)2 << 30;

static void die(const char *what, const struct vr_err *e)
{
    fprintf(stderr, "vrbench: %s: %s\n", what, e ? e->msg : "failed");
    exit(1);
}

/* ---- the image ---- */

static uint64_t rng = 88172645463325252u;

static uint64_t next_random(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng;
}

static void fill_random(uint8_t *b)
{
    for (size_t i = 0; i < CHUNK; i += 8) {
        uint64_t r = next_random() * 2685821657736338717u;
        memcpy(b + i, &r, 8);
    }
}

/* Lines as of a log: zstd makes about a quarter of them. */
static void fill_text(uint8_t *b)
{
    static const char *const words[] = { "connection", "from",    "accepted", "user",   "session",
                                         "opened",     "closed",  "kernel",   "device", "timeout",
                                         "systemd[1]", "started", "cron.d",   "root",   "password",
                                         "interface",  "eth0",    "link is",  "up",     "error" };
    size_t at = 0;
    while (at < CHUNK) {
        char line[160];
        int n = snprintf(line, sizeof line, "%08x %s %s %s %s %u\n", (unsigned)next_random(),
                         words[next_random() % 20], words[next_random() % 20],
                         words[next_random() % 20], words[next_random() % 20],
                         (unsigned)(next_random() % 65536));
        size_t len = (size_t)n < CHUNK - at ? (size_t)n : CHUNK - at;
        memcpy(b + at, line, len);
        at += len;
    }
}

static int make_image(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    uint8_t *b = malloc(CHUNK);
    if (fd < 0 || !b || ftruncate(fd, (off_t)disk_size) < 0)
        return 1;
    for (uint64_t i = 0; i < disk_size / CHUNK; i++) {
        uint64_t kind = i * 7919 % 10;
        if (kind >= 6)
            continue;
        (kind < 3 ? fill_random : fill_text)(b);
        if (pwrite(fd, b, CHUNK, (off_t)(i * CHUNK)) != CHUNK)
            return 1;
    }
    free(b);
    return close(fd) < 0;
}

/* ---- two hosts ---- */

struct side {
    struct xport *x;
    struct xport_peer peer;
    bool paired;
    pthread_mutex_t lock;
    const char *image, *table;
    bool fresh;
    int done_fd;
};

static bool on_lookup(void *ctx, const char *thumb, struct xport_peer *ret)
{
    struct side *s = ctx;
    pthread_mutex_lock(&s->lock);
    bool known = s->paired && strcmp(s->peer.thumb, thumb) == 0;
    if (known)
        *ret = s->peer;
    pthread_mutex_unlock(&s->lock);
    return known;
}

static int on_paired(void *ctx, const struct xport_peer *peer, struct vr_err *err)
{
    struct side *s = ctx;
    (void)err;
    pthread_mutex_lock(&s->lock);
    s->peer = *peer;
    s->paired = true;
    pthread_mutex_unlock(&s->lock);
    return 0;
}

static int on_call(void *ctx, const struct xport_peer *from, uint16_t type, const void *body,
                   size_t n, struct vr_buf *reply, struct vr_err *err)
{
    return vr_fail(err, VR_E_UNSUPPORTED, 0, "no calls here");
}

static void on_refused(void *ctx, const char *address, const char *why)
{
    fprintf(stderr, "vrbench: refused %s: %s\n", address, why);
}

static int on_transfer(void *ctx, const struct xport_peer *from, const void *body, size_t n,
                       struct vr_stream *stream, struct vr_err *err)
{
    struct side *s = ctx;
    struct xfer_recv_disk d = { .target = "vda",
                                .size = disk_size,
                                .image = s->image,
                                .fresh = s->fresh,
                                .raw = s->fresh,
                                .digests = s->table };
    struct xfer_recv r = { .stream = stream, .disks = &d, .n_disks = 1 };
    int rc = xport_transfer_accept(stream, err) < 0 ? -1 : xfer_recv_run(&r, err);
    if (rc < 0)
        fprintf(stderr, "vrbench: receiver: %s\n", err->msg);
    char c = rc < 0 ? 'n' : 'y';
    if (write(s->done_fd, &c, 1) != 1)
        rc = -1;
    return rc;
}

static void side_start(struct side *s, const char *dir, const char *name, uint16_t *port)
{
    struct vr_err e = VR_ERR_INIT;
    struct xport_config cfg = { .dir = dir, .host_name = name, .idle_seconds = 30 };
    cfg.max_connections = 16;
    struct xport_handlers h = { s, on_lookup, on_call, on_transfer, on_paired, on_refused };
    pthread_mutex_init(&s->lock, NULL);
    if (xport_new(&cfg, &h, &s->x, &e) < 0 ||
        xport_listen(s->x, XPORT_CERT, "127.0.0.1", 0, port, &e) < 0)
        die("transport", &e);
}

/* What the receiver's process tells the other one. */
struct meeting {
    uint16_t port;
    char code[64];
};

static int receiver(struct side *s, const char *dir, int out, int stay)
{
    int done[2];
    struct meeting m = { .port = 0 };
    struct vr_err e = VR_ERR_INIT;
    if (pipe(done) < 0)
        die("pipe", NULL);
    s->done_fd = done[1];
    side_start(s, dir, "receiver", &m.port);
    if (xport_pair_code(s->x, 60, m.code, &e) < 0)
        die("pairing", &e);
    char c = 'n';
    if (write(out, &m, sizeof m) != sizeof m || read(done[0], &c, 1) != 1 || c != 'y')
        return 1;
    /* Until the other one has looked at our memory. */
    if (read(stay, &c, 1) < 0)
        return 1;
    xport_free(s->x);
    return 0;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu(const struct rusage *r)
{
    return (double)(r->ru_utime.tv_sec + r->ru_stime.tv_sec) +
           (double)(r->ru_utime.tv_usec + r->ru_stime.tv_usec) / 1e6;
}

static long peak_kib(pid_t pid)
{
    char path[64], line[256];
    long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "VmHWM:", 6) == 0)
            kib = strtol(line + 6, NULL, 10);
    if (f)
        fclose(f);
    return kib;
}

static int copy(char **argv, const char *context)
{
    char base[] = "/tmp/vrbench-XXXXXX";
    if (!mkdtemp(base))
        die("mkdtemp", NULL);
    vr_autofree char *dir_a = vr_printf("%s/a", base);
    vr_autofree char *dir_b = vr_printf("%s/b", base);
    if (mkdir(dir_a, 0700) < 0 || mkdir(dir_b, 0700) < 0)
        die("mkdir", NULL);
    struct side side = { .image = argv[1], .table = argv[2] };
    side.fresh = strcmp(argv[3], "fresh") == 0;
    int way[2], stay[2];
    if (pipe(way) < 0 || pipe(stay) < 0)
        die("pipe", NULL);
    pid_t child = fork();
    if (child == 0) {
        close(stay[1]);
        _exit(receiver(&side, dir_b, way[1], stay[0]));
    }
    struct meeting m;
    uint16_t port;
    if (child < 0 || read(way[0], &m, sizeof m) != sizeof m)
        die("receiver", NULL);
    side_start(&side, dir_a, "sender", &port);
    struct vr_err e = VR_ERR_INIT;
    struct xport_peer peer;
    if (xport_pair(side.x, "127.0.0.1", m.port, m.code, port, &peer, &e) < 0)
        die("pairing", &e);

    struct xfer_send_disk d = { .target = "vda",
                                .size = disk_size,
                                .socket = argv[0],
                                .export_name = "",
                                .dirty_context = context,
                                .mode = context ? XFER_DIRTY : XFER_ALL };
    struct xfer_progress p = { .total = 0 };
    struct vr_stream *stream = NULL;
    struct rusage before, after, theirs;
    getrusage(RUSAGE_SELF, &before);
    double start = seconds();
    if (xport_transfer_open(side.x, &peer, "x", 1, &stream, &e) < 0)
        die("opening", &e);
    struct xfer_send send = { .stream = stream, .disks = &d, .n_disks = 1, .progress = &p };
    d.image = getenv("VRBENCH_CLOSED");
    d.format = "qcow2";
    const char *level = getenv("VRBENCH_LEVEL");
    send.level = level ? (int)strtol(level, NULL, 10) : 3;
    if (xfer_send_run(&send, &e) < 0)
        die("sending", &e);
    double took = seconds() - start;
    long theirs_kib = peak_kib(child);
    close(stay[1]);
    getrusage(RUSAGE_SELF, &after);
    uint64_t wire = stream->bytes_out;
    vr_stream_free(stream);
    xport_free(side.x);
    int status;
    if (wait4(child, &status, 0, &theirs) < 0 || status)
        die("receiver", NULL);
    printf("%.3f %llu %llu %.2f %.2f %ld %ld\n", took, (unsigned long long)wire,
           (unsigned long long)(atomic_load(&p.payload) + atomic_load(&p.zero)),
           cpu(&after) - cpu(&before), cpu(&theirs), peak_kib(getpid()), theirs_kib);
    vr_autofree char *rm = vr_printf("rm -rf %s", base);
    return system(rm) != 0;
}

int main(int argc, char **argv)
{
    const char *gib = getenv("VRBENCH_GIB");
    if (gib)
        disk_size = (uint64_t)strtoull(gib, NULL, 10) << 30;
    if (argc == 3 && strcmp(argv[1], "image") == 0)
        return make_image(argv[2]);
    if ((argc == 6 || argc == 7) && strcmp(argv[1], "copy") == 0)
        return copy(argv + 2, argc == 7 ? argv[6] : NULL);
    fprintf(stderr, "usage: vrbench image PATH | copy SOCKET IMAGE TABLE fresh|dirty [CONTEXT]\n");
    return 2;
}
