/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSFER_TEST_XFER_KIT_H
#define VR_TRANSFER_TEST_XFER_KIT_H

/* The folder of a group of tests; images, qemu-nbd servers and transfers, for test-xfer*.c and
 * test-imagemap.c, which include <cmocka.h> before. */

#define BS VR_BLOCK_SIZE
static char dir[] = "/var/tmp/vr-xfer-XXXXXX";
static unsigned int seed = 1;

static char *file(const char *name)
{
    return vr_printf("%s/%s", dir, name);
}

#define RUN(...) run((const char *const[]){ __VA_ARGS__, NULL })
static void run(const char *const argv[])
{
    struct vr_err e = VR_ERR_INIT;
    if (vr_proc_run(argv, 120, NULL, &e) < 0)
        fail_msg("%s", e.msg);
}

static int setup(void **state)
{
    (void)state;
    const char *s = getenv("VR_TEST_SEED");
    if (s)
        seed = (unsigned int)strtoul(s, NULL, 10);
    return mkdtemp(dir) ? 0 : -1;
}

static int cleanup(void **state)
{
    (void)state;
    /* All children were reaped. */
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    RUN("rm", "-rf", dir);
    return 0;
}

/* ---- images ---- */

static char *num(uint64_t v)
{
    return vr_printf("%llu", (unsigned long long)v);
}

static char *make_qcow2(const char *name, uint64_t size, const char *backing)
{
    char *path = file(name);
    vr_autofree char *n = num(size);
    unlink(path);
    if (backing)
        RUN("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", backing, path, n);
    else
        RUN("qemu-img", "create", "-q", "-f", "qcow2", path, n);
    return path;
}

/* The format of layers with nothing below, as the store makes them (raw) and once made them. */
static bool fresh_raw = true;

static __attribute__((unused)) const char *fresh_format(void)
{
    return fresh_raw ? "raw" : "qcow2";
}

static __attribute__((unused)) char *make_fresh(const char *name, uint64_t size)
{
    if (!fresh_raw)
        return make_qcow2(name, size, NULL);
    char *path = file(name);
    vr_autofree char *n = num(size);
    unlink(path);
    RUN("qemu-img", "create", "-q", "-f", "raw", path, n);
    return path;
}

static void qemu_io_as(const char *format, const char *image, const char *command)
{
    RUN("qemu-io", "-f", format, "-c", command, image);
}

static __attribute__((unused)) void qemu_io(const char *image, const char *command)
{
    qemu_io_as("qcow2", image, command);
}

static void put_bytes(int fd, uint64_t block, size_t n, int kind)
{
    uint8_t *b = calloc(1, n);
    if (kind == 1)
        vr_random(b, n);
    else if (kind == 2)
        for (size_t i = 0; i < n; i++)
            b[i] = (uint8_t)("the quick brown fox "[i % 20] + (int)(block + i / 977) % 7);
    assert_int_equal(pwrite(fd, b, n, (off_t)(block * BS)), n);
    free(b);
}

/* A raw file with random, compressible, zero and absent blocks. */
static char *make_raw(const char *name, uint64_t size)
{
    char *path = file(name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    for (uint64_t b = 0; b * BS < size;) {
        uint64_t n = 1 + (uint64_t)rand_r(&seed) % 24;
        int kind = rand_r(&seed) % 4;
        for (; n && b * BS < size; n--, b++) {
            uint64_t left = size - b * BS;
            if (kind < 3)
                put_bytes(fd, b, left < BS ? (size_t)left : BS, kind);
        }
    }
    close(fd);
    return path;
}

static __attribute__((unused)) char *to_qcow2(const char *raw, const char *name)
{
    char *path = file(name);
    /* -S 0: zeros that were written stay allocated. */
    RUN("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-S", "0", raw, path);
    return path;
}

static void assert_same(const char *a, const char *fa, const char *b, const char *fb)
{
    RUN("qemu-img", "compare", "-f", fa, "-F", fb, a, b);
    if (fb[0] == 'q')
        RUN("qemu-img", "check", "-q", "-f", "qcow2", b);
}

/* ---- servers ---- */

struct server {
    char *sock;
    pid_t pid;
};

static bool answers(const char *sock)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    snprintf(to.sun_path, sizeof to.sun_path, "%s", sock);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
    close(fd);
    return ok;
}

static struct server serve(const char *image, const char *format, const char *bitmap)
{
    static int count;
    struct server s = { .sock = vr_printf("%s/s%d", dir, count++) };
    const char *argv[] = { "qemu-nbd", "-r",   "-t",  "-e", "8",  "-f", format,
                           "-k",       s.sock, image, NULL, NULL, NULL };
    if (bitmap) {
        argv[10] = "-B";
        argv[11] = bitmap;
    }
    struct vr_err e = VR_ERR_INIT;
    static int quiet = -1; /* it comments on every broken connection */
    if (quiet < 0)
        quiet = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (vr_proc_spawn(argv, quiet, &s.pid, &e) < 0)
        fail_msg("%s", e.msg);
    while (!answers(s.sock)) {
        assert_int_equal(waitpid(s.pid, NULL, WNOHANG), 0);
        usleep(2000);
    }
    return s;
}

static void unserve(struct server *s)
{
    vr_proc_stop(s->pid, 20);
    unlink(s->sock);
    free(s->sock);
}

/* ---- transfers ---- */

/* Where disk vda arrives: the base of a new chain as the receiver of the day makes it, a qcow2 one,
 * a layer above others whose digest tables are all complete (none: nothing is known of them). */
static struct xfer_recv_disk base_disk(const char *image, const char *table, uint64_t size)
{
    return (struct xfer_recv_disk){
        .target = "vda", .size = size, .image = image, .fresh = true, .digests = table
    };
}

static __attribute__((unused)) struct xfer_recv_disk fresh_disk(const char *image,
                                                                const char *table, uint64_t size)
{
    struct xfer_recv_disk d = base_disk(image, table, size);
    d.raw = fresh_raw;
    return d;
}

static __attribute__((unused)) struct xfer_recv_disk layer_disk(const char *image,
                                                                const char *table, uint64_t size,
                                                                const char *const *parents,
                                                                size_t n)
{
    return (struct xfer_recv_disk){ .target = "vda",
                                    .size = size,
                                    .image = image,
                                    .digests = table,
                                    .parent_digests = parents,
                                    .n_parent_digests = n,
                                    .parents_complete = n > 0 };
}

struct transfer {
    struct xfer_send send;
    struct xfer_recv recv;
    struct xfer_progress sp, rp;
    struct vr_err se, re;
    int src, rrc;
    uint64_t cut_after, flip_at;
    uint64_t sent; /* bytes the sender wrote */
    struct disksum sums[VR_DISKS_MAX];
};

static struct transfer transfer_new(void)
{
    return (struct transfer){ .cut_after = UINT64_MAX, .flip_at = UINT64_MAX };
}

static void *sender(void *arg)
{
    struct transfer *t = arg;
    t->src = xfer_send_run(&t->send, &t->se);
    if (t->src < 0)
        t->send.stream->shutdown(t->send.stream);
    return NULL;
}

/* The sender writes to @fd[0], the receiver reads from @fd[1]; both are closed. */
static void transfer_over(struct transfer *t, const struct xfer_send_disk *s,
                          const struct xfer_recv_disk *r, size_t n, const int fd[2])
{
    t->send = (struct xfer_send){ .stream = test_stream_new(fd[0]),
                                  .disks = s,
                                  .n_disks = n,
                                  .level = t->send.level ? t->send.level : 3,
                                  .bytes_per_second = t->send.bytes_per_second,
                                  .hurry = t->send.hurry,
                                  .progress = &t->sp,
                                  .sums = t->sums };
    t->recv = (struct xfer_recv){
        .stream = test_stream_new(fd[1]), .disks = r, .n_disks = n, .progress = &t->rp
    };
    ((struct test_stream *)t->send.stream)->cut_after = t->cut_after;
    ((struct test_stream *)t->send.stream)->flip_at = t->flip_at;
    pthread_t th;
    assert_int_equal(pthread_create(&th, NULL, sender, t), 0);
    t->rrc = xfer_recv_run(&t->recv, &t->re);
    if (t->rrc < 0)
        t->recv.stream->shutdown(t->recv.stream);
    pthread_join(th, NULL);
    t->sent = t->send.stream->bytes_out;
    vr_stream_free(t->send.stream);
    vr_stream_free(t->recv.stream);
}

static void transfer_run(struct transfer *t, const struct xfer_send_disk *s,
                         const struct xfer_recv_disk *r, size_t n)
{
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    transfer_over(t, s, r, n, fd);
}

static void assert_done(const struct transfer *t)
{
    if (t->src < 0 || t->rrc < 0)
        fail_msg("sender: %s; receiver: %s", t->se.msg, t->re.msg);
}

static struct xfer_send_disk from(const struct server *s, uint64_t size, enum xfer_mode mode,
                                  const char *context)
{
    return (struct xfer_send_disk){ .target = "vda",
                                    .size = size,
                                    .socket = s->sock,
                                    .export_name = "",
                                    .dirty_context = context,
                                    .mode = mode };
}

/* The digest table of a layer tells the truth about the image's bytes, as raw file. */
static __attribute__((unused)) uint64_t assert_table_true(const char *table, const char *raw,
                                                          uint64_t size)
{
    struct digestlog *d = NULL;
    struct vr_err e = VR_ERR_INIT;
    if (digestlog_open(table, size, false, &d, &e) < 0)
        fail_msg("%s", e.msg);
    int fd = open(raw, O_RDONLY | O_CLOEXEC);
    uint8_t *buf = malloc(BS);
    uint64_t at = 0, n = 0;
    struct digest_record r;
    while (digestlog_next(d, at, &r, NULL) == 1) {
        uint64_t left = size - r.block * BS;
        size_t len = left < BS ? (size_t)left : BS;
        assert_int_equal(pread(fd, buf, len, (off_t)(r.block * BS)), len);
        struct vr_digest is = vr_digest_block(buf, len);
        assert_memory_equal(&is, &r.digest, sizeof is);
        at = r.block + 1;
        n++;
    }
    free(buf);
    close(fd);
    digestlog_free(d);
    return n;
}

#endif
