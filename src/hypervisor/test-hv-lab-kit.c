/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The lab test's hands. Exports are read with nbdinfo and nbdcopy, so that what is compared does
 * not depend on our own reader. */
#include "test-hv-lab-kit.h"

struct hv *hv;
struct vr_uuid uuid;
const char *guest;
const char *const disks[2] = { "vda", "vdb" };
static int next_name;

static pthread_mutex_t ev_mu = PTHREAD_MUTEX_INITIALIZER;
static unsigned ev_count[HV_EV_DISCONNECTED + 1];

void on_event(void *ctx, enum hv_event_type type, const struct vr_uuid *u)
{
    (void)ctx;
    if (type < HV_EV_CONNECTED && !vr_uuid_eq(u, &uuid))
        return;
    pthread_mutex_lock(&ev_mu);
    ev_count[type]++;
    pthread_mutex_unlock(&ev_mu);
}

unsigned events(enum hv_event_type type)
{
    pthread_mutex_lock(&ev_mu);
    unsigned n = ev_count[type];
    pthread_mutex_unlock(&ev_mu);
    return n;
}

/* ---- doing things from outside ---- */

void run(const char *first, ...)
{
    const char *argv[16] = { first };
    va_list ap;
    va_start(ap, first);
    for (int i = 1; i < 15 && (argv[i] = va_arg(ap, const char *)); i++)
        ;
    va_end(ap);
    vr_autobuf struct vr_buf out = VR_BUF_INIT;
    ok(vr_proc_run(argv, WAIT_S, &out, err));
}

int try_run(const char *const argv[], struct vr_err *err)
{
    vr_autobuf struct vr_buf out = VR_BUF_INIT;
    return vr_proc_run(argv, WAIT_S, &out, err);
}

enum hv_power power(void)
{
    struct hv_machine m;
    ok(hv_get(hv, &uuid, &m, err));
    enum hv_power p = m.power;
    hv_machine_done(&m);
    return p;
}

static long console_size(void)
{
    struct stat st;
    vr_autofree char *path = vr_printf("/var/log/libvirt/qemu/%s-console.log", guest);
    return stat(path, &st) < 0 ? 0 : st.st_size;
}

/* Ticks of the guest on the console beyond byte @from. */
static int ticks_since(long from)
{
    vr_autofree char *path = vr_printf("/var/log/libvirt/qemu/%s-console.log", guest);
    FILE *f = fopen(path, "re");
    char line[512];
    int n = 0;
    if (!f)
        return 0;
    fseek(f, from, SEEK_SET);
    while (fgets(line, sizeof line, f)) {
        n += strstr(line, "VMR tick") != NULL;
        if (strstr(line, "VMR verify BAD"))
            fail_msg("the guest found damage: %s", line);
    }
    fclose(f);
    return n;
}

void tick(int n)
{
    long from = console_size();
    until(ticks_since(from) >= n);
}

void start(void)
{
    if (power() != HV_POWER_OFF)
        return;
    long from = console_size();
    ok(hv_power(hv, &uuid, HV_START, err));
    until(ticks_since(from) >= 2);
}

void stop_clean(void)
{
    int64_t next = 0;
    while (power() != HV_POWER_OFF) {
        if (vr_mono_now().ms >= next) { /* a press during boot is lost */
            /* Between the two looks it may have come to its end. */
            struct vr_err e = VR_ERR_INIT;
            if (hv_power(hv, &uuid, HV_SHUTDOWN, &e) < 0 && power() != HV_POWER_OFF)
                fail_msg("%s", e.msg);
            vr_err_clear(&e);
            next = vr_mono_now().ms + 10000;
        }
        poll(NULL, 0, 50);
    }
}

void force_off(void)
{
    ok(hv_power(hv, &uuid, HV_FORCE_OFF, err));
    until(power() == HV_POWER_OFF);
}

void signal_qemu(int sig)
{
    vr_autofree char *path = vr_printf("/run/libvirt/qemu/%s.pid", guest);
    FILE *f = fopen(path, "re");
    long pid = 0;
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld", &pid), 1);
    fclose(f);
    assert_true(pid > 1);
    kill((pid_t)pid, sig);
}

void kill_qemu(void)
{
    signal_qemu(SIGKILL);
    until(power() == HV_POWER_OFF);
}

void restart_libvirtd(void)
{
    unsigned before = events(HV_EV_CONNECTED);
    FILE *f = fopen("/run/libvirtd.pid", "re");
    long pid = 0;
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld", &pid), 1);
    fclose(f);
    kill((pid_t)pid, SIGTERM);
    until(kill((pid_t)pid, 0) < 0);
    until(events(HV_EV_DISCONNECTED) > 0);
    run("libvirtd", "-d", "-p", "/run/libvirtd.pid", NULL);
    until(events(HV_EV_CONNECTED) > before);
}

/* ---- reading exports ---- */

static char *uri_of(const struct hv_capture_disk *d)
{
    return vr_printf("nbd+unix:///%s?socket=%s", d->export_name, d->socket);
}

void copy_export(const struct hv_capture_disk *d, const char *to)
{
    vr_autofree char *uri = uri_of(d);
    run("nbdcopy", uri, to, NULL);
}

static void patch(const char *from, const char *to, uint64_t off, uint64_t len)
{
    static char chunk[65536];
    vr_autoclose int in = open(from, O_RDONLY | O_CLOEXEC);
    vr_autoclose int out = open(to, O_WRONLY | O_CLOEXEC);
    assert_true(in >= 0 && out >= 0);
    while (len) {
        size_t n = len < sizeof chunk ? (size_t)len : sizeof chunk;
        assert_int_equal(pread(in, chunk, n, (off_t)off), n);
        assert_int_equal(pwrite(out, chunk, n, (off_t)off), n);
        off += n;
        len -= n;
    }
}

/* Apply what the export says is dirty, out of a full copy of it; returns how many bytes. */
static uint64_t apply(const struct hv_capture_disk *d, const char *full, const char *onto)
{
    vr_autofree char *uri = uri_of(d);
    vr_autofree char *map = vr_printf("--map=%s", d->dirty_context);
    const char *argv[] = { "nbdinfo", map, uri, NULL };
    vr_autobuf struct vr_buf out = VR_BUF_INIT;
    ok(vr_proc_run(argv, WAIT_S, &out, err));
    uint64_t dirty = 0;
    char *save = NULL;
    for (char *l = strtok_r((char *)out.data, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
        unsigned long long off, len;
        unsigned type;
        assert_int_equal(sscanf(l, "%llu %llu %u", &off, &len, &type), 3);
        if (type & 1) {
            patch(full, onto, off, len);
            dirty += len;
        }
    }
    return dirty;
}

static char *copy_name(const char *kind, size_t i)
{
    return vr_printf(WORK "/%s-%s", kind, disks[i]);
}

/* Take the whole of @cap as the state of our replica. */
static void take_full(const struct hv_capture *cap)
{
    assert_int_equal(cap->n_disks, 2);
    for (size_t i = 0; i < 2; i++) {
        vr_autofree char *replica = copy_name("replica", i);
        copy_export(&cap->disks[i], replica);
    }
}

/* Bring our replica up to @cap by its dirty blocks alone; it must then be equal to a full copy. */
uint64_t take_increment(const struct hv_capture *cap)
{
    uint64_t dirty = 0;
    for (size_t i = 0; i < 2; i++) {
        vr_autofree char *replica = copy_name("replica", i), *full = copy_name("full", i);
        assert_non_null(cap->disks[i].dirty_context);
        copy_export(&cap->disks[i], full);
        dirty += apply(&cap->disks[i], full, replica);
        const char *const cmp[] = { "cmp", full, replica, NULL };
        if (try_run(cmp, NULL) < 0)
            fail_msg("%s of %s since %s differs from the whole: %s", disks[i], cap->checkpoint,
                     cap->parent, cap->live ? "running" : "off");
    }
    return dirty;
}

/* ---- captures ---- */

void name_it(char out[64])
{
    snprintf(out, 64, "vmr.test.%d", ++next_name);
}

struct hv_capture *capture(const char *parent, char name[64])
{
    struct hv_capture *cap = NULL;
    name_it(name);
    ok(hv_capture_begin(hv, &uuid, disks, 2, parent, name, &cap, err));
    assert_string_equal(cap->checkpoint, name);
    assert_string_equal(cap->parent, parent ? parent : "");
    return cap;
}

/* How the checkpoint looks: "---" not there, else letters l (libvirt), i (image), u (usable). */
const char *looks(const char *name)
{
    static char out[4];
    struct hv_checkpoint *all = NULL;
    size_t n = 0;
    strcpy(out, "---");
    ok(hv_checkpoint_list(hv, &uuid, disks, 2, &all, &n, err));
    for (size_t i = 0; i < n; i++)
        if (strcmp(all[i].name, name) == 0)
            snprintf(out, sizeof out, "%s%s%s", all[i].in_libvirt ? "l" : "-",
                     all[i].in_image ? "i" : "-", all[i].usable ? "u" : "-");
    free(all);
    return out;
}

void drop_all(void)
{
    struct hv_checkpoint *all = NULL;
    size_t n = 0;
    ok(hv_checkpoint_list(hv, &uuid, disks, 2, &all, &n, err));
    for (size_t i = 0; i < n; i++)
        ok(hv_checkpoint_delete(hv, &uuid, all[i].name, err));
    free(all);
    ok(hv_checkpoint_list(hv, &uuid, disks, 2, &all, &n, err));
    assert_int_equal(n, 0);
    free(all);
}

/* A full capture that is kept; the replica then is at @name. */
void baseline(char name[64])
{
    drop_all();
    struct hv_capture *cap = capture(NULL, name);
    take_full(cap);
    ok(hv_capture_valid(hv, cap, err));
    ok(hv_capture_end(hv, cap, true, err));
    assert_string_equal(looks(name), "liu");
}

/* An increment since @parent is right, and is kept. */
uint64_t increment(const char *parent, char name[64])
{
    struct hv_capture *cap = capture(parent, name);
    uint64_t dirty = take_increment(cap);
    ok(hv_capture_valid(hv, cap, err));
    ok(hv_capture_end(hv, cap, true, err));
    assert_string_equal(looks(parent), "---");
    assert_string_equal(looks(name), "liu");
    return dirty;
}
