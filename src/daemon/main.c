/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmreplicad: start, wiring, event loop, stop. Control thread. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <time.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#include "base/alloc.h"
#include "base/answers.h"
#include "base/log.h"
#include "cim/provider.h"
#include "cim/watch.h"
#include "daemon/daemon.h"
#include "daemon/proof.h"
#include "daemon/slots.h"
#include "daemon/export.h"
#include "daemon/left.h"
#include "daemon/listen.h"
#include "daemon/manage.h"
#include "daemon/storage.h"
#include "daemon/testvm.h"
#include "wsman/wsm.h"

#define DEFAULT_CONFIG "/etc/vmreplica/vmreplicad.conf"
#define STOP_SECONDS 20
#define STORAGE_WAIT_MS 5000

/* ---- event sources ---- */
static int on_mail(sd_event_source *s, int fd, uint32_t revents, void *user)
{
    (void)s;
    (void)fd;
    (void)revents;
    vr_mailbox_run(((struct daemon *)user)->mail);
    return 0;
}

/* One coarse timer looks for due relationships; a cycle of 5 s does not notice a quarter second. */
static int on_timer(sd_event_source *s, uint64_t usec, void *user)
{
    struct daemon *d = user;
    verify_tick(d);
    if (!d->stopping) {
        engine_tick(d->engine);
        host_providers_tick(d->prov);
        scrub_tick(d);
        index_tick(d);
        testvm_tick(d);
        storage_tick(d);
        cim_watch_tick(d->cim, vr_mono_now());
        wsm_expire(d->wsm, vr_mono_now());
        listen_tick(d);
    }
    sd_event_source_set_time(s, usec + 250000);
    return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static int on_refresh(sd_event_source *s, uint64_t usec, void *user)
{
    host_refresh_machines(user); /* sizes and states change without an event, too */
    manage_refresh(user);
    sd_event_source_set_time(s, usec + 30000000);
    return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

struct hv_news {
    struct daemon *d;
    enum hv_event_type type;
    struct vr_uuid uuid;
};

static void on_hv_news(void *arg)
{
    struct hv_news *n = arg;
    struct daemon *d = n->d;
    host_refresh_machines(d);
    struct rel_event ev = { .type = EV_HV_CHANGED };
    if (n->type == HV_EV_CONNECTED) {
        for (size_t i = 0; engine_at(d->engine, i); i++) {
            struct rel_event each = ev;
            engine_event(d->engine, &engine_at(d->engine, i)->machine, &each);
        }
    } else if (n->type == HV_EV_STARTED || n->type == HV_EV_STOPPED || n->type == HV_EV_DEFINED) {
        engine_event(d->engine, &n->uuid, &ev);
    }
    free(n);
}

/* On the hypervisor's event thread. */
static void on_hv_event(void *ctx, enum hv_event_type type, const struct vr_uuid *uuid)
{
    struct hv_news *n = vr_new(struct hv_news);
    n->d = ctx;
    n->type = type;
    if (uuid)
        n->uuid = *uuid;
    vr_mailbox_post(n->d->mail, on_hv_news, n);
}

/* ---- transport callbacks ---- */
static int on_paired(void *ctx, const struct xport_peer *peer, struct vr_err *err)
{
    if (host_peer_store(ctx, peer, err) < 0)
        return -1;
    vr_log(VR_LOG_INFO, "paired with host %s (%s port %u)", peer->name, peer->address, peer->port);
    return 0;
}

static void on_refused(void *ctx, const char *address, const char *why)
{
    (void)ctx;
    /* As fast as anybody on the network likes: one line a second is enough. */
    static _Atomic int64_t last_ms;
    int64_t now = vr_mono_now().ms, before = atomic_load(&last_ms);
    if (now - before >= 1000 && atomic_compare_exchange_strong(&last_ms, &before, now))
        vr_log(VR_LOG_WARN, "refused %s: %s", address, why);
}

/* ---- start ---- */
/* QEMU runs as another user and must be able to pass through, whatever the umask. A folder that is
 * there already keeps the mode that somebody gave it. */
static int make_dir(const char *path, mode_t mode, struct vr_err *err)
{
    if (mkdir(path, mode) == 0 && chmod(path, mode) == 0)
        return 0;
    if (errno != EEXIST)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot make folder %s", path);
    return 0;
}

/* A point is committed, and damage noted, before the relationship is written: after a crash between
 * the two the store knows better what this host holds. */
static int catch_up(struct daemon *d, struct rel *r, struct vr_err *err)
{
    vr_autofree struct store_point *pts = NULL;
    size_t n = 0;
    if (rel_mode(r) != REL_MODE_REPLICA || !store_chain_exists(d->store, &r->machine))
        return 0;
    if (store_points(d->store, &r->machine, &pts, &n, err) < 0)
        return -1;
    const struct store_point *last = n ? &pts[n - 1] : NULL;
    if (last && vr_uuid_eq(&last->id.lineage, &r->lineage) &&
        (!r->has_newest || !vr_uuid_eq(&r->newest.lineage, &last->id.lineage) ||
         last->id.epoch > r->newest.epoch)) {
        vr_log(VR_LOG_INFO, "machine %s: the newest point had been committed before the stop",
               r->name);
        r->newest = last->id;
        r->has_newest = true;
        r->newest_instant = last->instant;
        r->last_time = last->received;
        r->last_kind = last->kind;
        if (last->kind == VR_POINT_APPLICATION)
            r->last_app_time = last->received;
        r->seed = false;
        if (r->st == ST_R_WAIT || r->st == ST_R_IR_CRIT)
            r->st = ST_R_REPL;
        if (r->st == ST_R_IR_SUSP)
            r->st = ST_R_SUSP;
    }
    if (proof_catch_up(r, pts, n, d->cfg.host_name))
        vr_log(VR_LOG_ERROR, "machine %s: PROOF FAILED: %s", r->name, r->bad_text);
    return 0;
}

static int load_rel(void *ctx, const char *id, const char *text, struct vr_err *err)
{
    struct daemon *d = ctx;
    struct rel r;
    if (rel_decode(text, &r, err) < 0 || catch_up(d, &r, err) < 0)
        return vr_err_wrap(err, "relationship %s", id);
    vr_autofree char *now = rel_encode(&r);
    return engine_load(d->engine, now, err);
}

static int load_job(void *ctx, const char *id, const char *text, struct vr_err *err)
{
    struct daemon *d = ctx;
    struct vr_err bad = VR_ERR_INIT;
    if (engine_load_job(d->engine, id, text, &bad) < 0)
        vr_log_err(VR_LOG_WARN, "a job of an earlier run is dropped", &bad);
    (void)err;
    return 0;
}

/* Before the store thread begins, the store may be used from here. */
static int load_state(struct daemon *d, struct vr_err *err)
{
    d->run = vr_uuid_new();
    if (store_open(d->cfg.state_dir, &d->store, err) < 0 || host_load_peers(d, err) < 0 ||
        store_doc_each(d->store, "relationship", load_rel, d, err) < 0 ||
        store_doc_each(d->store, "job", load_job, d, err) < 0 || testvm_load(d, err) < 0 ||
        export_load(d, err) < 0 || proof_load(d, err) < 0 || left_load(d, err) < 0)
        return -1;
    return 0;
}

static int open_transport(struct daemon *d, struct vr_err *err)
{
    struct xport_config xc = { .dir = d->cfg.state_dir,
                               .host_name = d->cfg.host_name,
                               .keytab = d->cfg.keytab,
                               .service = d->cfg.kerberos_service,
                               .idle_seconds = 30,
                               .max_connections = 256 };
    struct xport_handlers xh = { .ctx = d,
                                 .lookup = on_peer_lookup,
                                 .admit = on_peer_admit,
                                 .call = on_peer_call,
                                 .transfer = on_peer_transfer,
                                 .paired = on_paired,
                                 .refused = on_refused,
                                 .clock = on_peer_clock };
    return xport_new(&xc, &xh, &d->xport, err);
}

/* The default location for replicas. That it does not answer is no reason not to serve others. */
static int make_storage(struct daemon *d, struct vr_err *err)
{
    if (!vr_folder_answers(d->cfg.storage, STORAGE_WAIT_MS)) {
        vr_log(VR_LOG_ERROR, "the storage location %s does not answer", d->cfg.storage);
        return 0;
    }
    return make_dir(d->cfg.storage, 0711, err);
}

static int start(struct daemon *d, struct vr_err *err)
{
    if (make_dir(d->cfg.state_dir, 0711, err) < 0 || make_dir(d->cfg.run_dir, 0755, err) < 0 ||
        make_storage(d, err) < 0 || make_dir(d->cfg.guard_dir, 0755, err) < 0)
        return -1;
    vr_autofree char *hv_dir = vr_printf("%s/hv", d->cfg.run_dir);
    d->mail = vr_mailbox_new();
    struct engine_env env = daemon_env(d);
    d->engine = engine_new(&env);
    if (load_state(d, err) < 0 || open_transport(d, err) < 0)
        return -1;
    storage_watch(d, d->cfg.storage);
    d->store_exec = vr_exec_new("store", 1);
    d->hv_exec = vr_exec_new("hypervisor", 8);
    d->look_exec = vr_exec_new("look", 2);
    d->yield_exec = vr_exec_new("yield", 2);
    d->net_exec = vr_exec_new("net", 4);
    d->ask_exec = vr_exec_new("ask", 4);
    d->auth_exec = vr_exec_new("auth", 2);
    d->xfer_exec = vr_exec_new("transfer", (int)d->cfg.transfers);
    d->disk_exec = vr_exec_new("disk", 4);
    d->proof_exec = vr_exec_new("proof", PROOF_SLICES);
    d->slots = slots_new(d->cfg.transfers, d->cfg.transfers - (d->cfg.transfers + 3) / 4);
    d->hv = hv_libvirt_new(d->cfg.libvirt_uri, hv_dir, d->cfg.guard_dir, on_hv_event, d, err);
    if (!d->hv)
        return -1;
    /* What guests overwrite during a capture may be large: not on a run folder in memory. */
    vr_autofree char *scratch = vr_printf("%s/scratch", d->cfg.state_dir);
    if (hv_set_scratch_dir(d->hv, scratch, err) < 0)
        return -1;
    if (manage_start(d, err) < 0 || ahead_start(d, err) < 0)
        return -1;
    host_refresh_machines(d);
    for (size_t i = 0; engine_at(d->engine, i); i++)
        host_refresh_points(d, &engine_at(d->engine, i)->machine);
    engine_restart(d->engine);
    testvm_recover(d);
    export_recover(d);
    listen_announce(d);
    return 0;
}

/* ---- stop: break transfers, end captures, then leave; the next start recovers the rest ---- */
static void stop_captures(struct daemon *d)
{
    for (struct machine_rt *rt = d->rts; rt; rt = rt->next) {
        ship_cancel(rt);
        rx_cancel(rt);
        proof_stop(rt);
    }
}

static void st_interrupt(void *arg)
{
    struct daemon *d = arg;
    store_enter(d->store);
    store_interrupt(d->store);
    store_leave(d->store);
}

static int on_stop_poll(sd_event_source *s, uint64_t usec, void *user)
{
    (void)usec;
    struct daemon *d = user;
    static int rounds;
    bool busy = d->tasks > 0;
    for (struct machine_rt *rt = d->rts; rt; rt = rt->next)
        busy |= rt->capture || rt->receiving;
    stop_captures(d);
    /* Again and again: what was asked for before the signal may only be beginning. */
    if (busy && rounds % 10 == 0)
        vr_exec_post(d->store_exec, st_interrupt, d);
    if (!busy || ++rounds > STOP_SECONDS * 20) {
        if (busy)
            vr_log(VR_LOG_WARN, "some work did not end in %d s; it is recovered at the next start",
                   STOP_SECONDS);
        return sd_event_exit(d->loop, 0);
    }
    sd_event_source_set_time_relative(s, 50000);
    return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *user)
{
    (void)s;
    struct daemon *d = user;
    vr_log(VR_LOG_INFO, "signal %u: stopping", si->ssi_signo);
    if (d->stopping)
        return sd_event_exit(d->loop, 0);
    d->stopping = true;
    sd_notify(0, "STOPPING=1");
    sd_event_add_time(d->loop, NULL, CLOCK_MONOTONIC, 0, 0, on_stop_poll, d);
    return 0;
}

static int on_reload(sd_event_source *s, const struct signalfd_siginfo *si, void *user)
{
    (void)s;
    (void)si;
    struct daemon *d = user;
    if (!d->stopping)
        manage_reload(d);
    return 0;
}

static int run(struct daemon *d, struct vr_err *err)
{
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigaddset(&stop, SIGHUP);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (sd_event_default(&d->loop) < 0)
        return vr_fail(err, VR_E_INTERNAL, 0, "no event loop");
    if (start(d, err) < 0)
        return -1;
    uint64_t now = 0;
    sd_event_now(d->loop, CLOCK_MONOTONIC, &now);
    if (sd_event_add_io(d->loop, NULL, vr_mailbox_fd(d->mail), EPOLLIN, on_mail, d) < 0 ||
        sd_event_add_time(d->loop, NULL, CLOCK_MONOTONIC, now, 50000, on_timer, d) < 0 ||
        sd_event_add_time(d->loop, NULL, CLOCK_MONOTONIC, now + 30000000, 1000000, on_refresh, d) <
            0 ||
        sd_event_add_signal(d->loop, NULL, SIGTERM, on_signal, d) < 0 ||
        sd_event_add_signal(d->loop, NULL, SIGHUP, on_reload, d) < 0 ||
        sd_event_add_signal(d->loop, NULL, SIGINT, on_signal, d) < 0)
        return vr_fail(err, VR_E_INTERNAL, 0, "the event loop refuses a source");
    sd_event_set_watchdog(d->loop, true);
    vr_log(VR_LOG_INFO, "vmreplicad %s on host %s: peers on port %u, management on %s and port %u",
           VR_VERSION, d->cfg.host_name, d->peer_port, d->cfg.socket, d->cfg.https_port);
    sd_notify(0, "READY=1");
    sd_event_loop(d->loop);
    return 0;
}

static void usage(FILE *to)
{
    fprintf(to,
            "Usage: vmreplicad [-c FILE] [-v] [--version] [--help]\n"
            "Keeps machines of this libvirt host replicated to other hosts.\n\n"
            "  -c, --config FILE  configuration [%s]\n"
            "  -v, --verbose      log debug messages\n\nParameters of the configuration file:\n",
            DEFAULT_CONFIG);
    config_print_help(to);
}

static enum vr_level level_of(const char *name)
{
    return !strcmp(name, "error")   ? VR_LOG_ERROR
           : !strcmp(name, "warn")  ? VR_LOG_WARN
           : !strcmp(name, "debug") ? VR_LOG_DEBUG
                                    : VR_LOG_INFO;
}

int main(int argc, char **argv)
{
    static const struct option options[] = { { "config", required_argument, NULL, 'c' },
                                             { "verbose", no_argument, NULL, 'v' },
                                             { "version", no_argument, NULL, 'V' },
                                             { "help", no_argument, NULL, 'h' },
                                             { NULL, 0, NULL, 0 } };
    const char *config = NULL;
    bool verbose = false;
    int c;
    while ((c = getopt_long(argc, argv, "c:vh", options, NULL)) >= 0) {
        switch (c) {
        case 'c':
            config = optarg;
            break;
        case 'v':
            verbose = true;
            break;
        case 'V':
            puts("vmreplicad " VR_VERSION);
            return 0;
        case 'h':
            usage(stdout);
            return 0;
        default:
            usage(stderr);
            return 2;
        }
    }
    umask(077);
    struct vr_err err = VR_ERR_INIT;
    static struct daemon d;
    d.config_file = config ? config : DEFAULT_CONFIG;
    d.config_may_miss = !config;
    if (config_load(d.config_file, d.config_may_miss, &d.cfg, &err) < 0) {
        vr_log_err(VR_LOG_ERROR, "configuration", &err);
        return 2;
    }
    vr_log_level(verbose ? VR_LOG_DEBUG : level_of(d.cfg.log_level));
    if (run(&d, &err) < 0) {
        vr_log_err(VR_LOG_ERROR, "vmreplicad cannot start", &err);
        return 1;
    }
    vr_log(VR_LOG_INFO, "stopped");
    /* Worker threads may still be inside calls that block; the state on disk is what counts. */
    fflush(NULL);
#ifdef __SANITIZE_ADDRESS__
    __lsan_do_recoverable_leak_check(); /* _Exit() would pass it over */
#endif
    _Exit(0);
}
