/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Connections, machines, method calls and jobs of the command line. */
#include "cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"

#define POLL_MS 300
#define FIND_TRIES 5
#define FIND_MS 200

static char *read_file(const char *dir, const char *name, struct vr_err *err)
{
    vr_autofree char *path = dir ? vr_printf("%s/%s", dir, name) : vr_strdup(name);
    vr_autofclose FILE *f = fopen(path, "re");
    if (!f) {
        vr_fail(err, vr_kind_from_errno(errno), errno, "cannot read %s", path);
        return NULL;
    }
    struct vr_buf b = { .max = 1 << 20 };
    char chunk[4096];
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        if (vr_buf_add(&b, chunk, n, err) < 0) {
            vr_buf_done(&b);
            return NULL;
        }
    return (char *)b.data;
}

static int connect_to(struct cli *c, const char *host, uint16_t port, const char *pin,
                      bool kerberos, struct wsmc **ret, struct vr_err *err)
{
    struct vr_err none = VR_ERR_INIT;
    struct wsmc_target t = { .host = host, .port = port, .pin = pin, .timeout_ms = 60000 };
    vr_autofree char *cert = NULL;
    vr_autofree char *key = NULL;
    vr_autofree char *ca = NULL;
    if (kerberos) {
        t.kerberos = true;
        return wsmc_new(&t, ret, err);
    }
    if (c->user) {
        t.user = c->user;
        t.password = getenv("VMREPLICA_PASSWORD");
        if (!t.password)
            t.password = getpass("Password: ");
    } else {
        cert = read_file(c->state_dir, "host.crt", &none);
        key = cert ? read_file(c->state_dir, "host.key", &none) : NULL;
        if (!key)
            return vr_fail(
                err, VR_E_AUTH, 0,
                "to reach another host, run as root (this host's certificate is used) or "
                "give --user: %s",
                none.msg);
        t.cert_pem = cert;
        t.key_pem = key;
    }
    if (c->ca_file) {
        ca = read_file(NULL, c->ca_file, err);
        if (!ca)
            return -1;
        t.ca_pem = ca;
    }
    return wsmc_new(&t, ret, err);
}

int cli_connect_peer(struct cli *c, struct wsmc *via, const char *name, struct wsmc **ret,
                     struct vr_err *err)
{
    wsmc_autolist struct wsmc_list l = { 0 };
    if (wsmc_enumerate(via, WSMC_NS_OURS, "Vmr_Peer", &l, err) < 0)
        return -1;
    for (size_t i = 0; i < l.n; i++) {
        const char *n = wsmc_str(l.v[i], "Name"), *a = wsmc_str(l.v[i], "Address");
        const char *pin = wsmc_str(l.v[i], "Thumbprint");
        if (!n || !a || (strcasecmp(n, name) && strcasecmp(a, name)))
            continue;
        /* one that is known by Kerberos only is managed by Kerberos, too */
        return connect_to(c, c->kerberos || !pin ? n : a, c->port, pin,
                          c->kerberos || (!pin && !c->ca_file && !c->user), ret, err);
    }
    return vr_fail(err, VR_E_NOTFOUND, 0, "host '%s' is not paired; pair it first (vmreplica pair)",
                   name);
}

int cli_connect(struct cli *c, struct vr_err *err)
{
    struct wsmc_target t = { .unix_path = c->socket, .timeout_ms = 60000 };
    if (!c->host)
        return wsmc_new(&t, &c->local, err);
    if (c->pin || c->ca_file || c->kerberos)
        return connect_to(c, c->host, c->port, c->pin, c->kerberos, &c->local, err);
    /* The local daemon knows its paired hosts' certificates. */
    vr_auto(wsmc_free) struct wsmc *here = NULL;
    if (wsmc_new(&t, &here, err) < 0 || cli_connect_peer(c, here, c->host, &c->local, err) < 0)
        return vr_err_wrap(
            err, "--host %s (or name its certificate with --pin SHA256 or --ca FILE)", c->host);
    return 0;
}

/* ---- machines ---- */
static void copy(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from ? from : "");
}

/* The machine of a list that NAME means; NULL when there is none. */
static int vm_named(const struct wsmc_list *l, const char *name, const struct wsmc_inst **ret,
                    struct vr_err *err)
{
    const struct wsmc_inst *found = NULL;
    for (size_t i = 0; i < l->n; i++) {
        const char *guid = wsmc_str(l->v[i], "Name"), *shown = wsmc_str(l->v[i], "ElementName");
        const char *caption = wsmc_str(l->v[i], "Caption");
        if (!guid || !caption || strcmp(caption, "Virtual Machine") != 0)
            continue;
        if (strcasecmp(guid, name) != 0 && (!shown || strcmp(shown, name) != 0))
            continue;
        if (found)
            return vr_fail(err, VR_E_INVAL, 0, "there are several machines '%s'; use the UUID",
                           name);
        found = l->v[i];
    }
    *ret = found;
    return 0;
}

int cli_find_vm(struct wsmc *w, const char *name, struct cli_vm *ret, struct vr_err *err)
{
    wsmc_autolist struct wsmc_list l = { 0 };
    const struct wsmc_inst *found = NULL;
    /* Of a machine that was defined this moment libvirt tells the daemon a little later. */
    for (int tries = 0; !found && tries < FIND_TRIES; tries++) {
        if (tries) {
            cli_sleep_ms(FIND_MS);
            wsmc_list_done(&l);
        }
        if (wsmc_enumerate(w, NULL, "Msvm_ComputerSystem", &l, err) < 0 ||
            vm_named(&l, name, &found, err) < 0)
            return -1;
    }
    if (!found)
        return vr_fail(err, VR_E_NOTFOUND, 0,
                       "there is no machine '%s' on this host; vmreplica machines lists them",
                       name);
    *ret = (struct cli_vm){ .mode = (unsigned)wsmc_uint(found, "ReplicationMode", 0),
                            .power = (unsigned)wsmc_uint(found, "EnabledState", 0),
                            .state = (unsigned)wsmc_uint(found, "ReplicationState", 0),
                            .health = (unsigned)wsmc_uint(found, "ReplicationHealth", 0) };
    copy(ret->guid, sizeof ret->guid, wsmc_str(found, "Name"));
    copy(ret->name, sizeof ret->name, wsmc_str(found, "ElementName"));
    snprintf(ret->rel_id, sizeof ret->rel_id, "Microsoft:%s\\HVR\\0", ret->guid);
    struct wsmc_key key = { "InstanceID", ret->rel_id };
    struct wsmc_ref ref = {
        .ns = WSMC_NS_OURS, .cls = "Vmr_ReplicationStatus", .keys = &key, .n_keys = 1
    };
    vr_auto(wsmc_inst_free) struct wsmc_inst *st = NULL;
    struct vr_err none = VR_ERR_INIT;
    if (wsmc_get(w, &ref, &st, &none) == 0) {
        copy(ret->peer, sizeof ret->peer, wsmc_str(st, "PeerName"));
        copy(ret->phase, sizeof ret->phase, wsmc_str(st, "State"));
    }
    return 0;
}

/* ---- Ctrl-C ---- */
static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
    (void)sig;
    interrupted = 1;
}

static void arm(void)
{
    static bool armed;
    struct sigaction sa = { .sa_handler = on_interrupt };
    if (!armed)
        sigaction(SIGINT, &sa, NULL);
    armed = true;
}

bool cli_interrupted(void)
{
    arm();
    return interrupted;
}

void cli_sleep_ms(unsigned ms)
{
    arm();
    if (!interrupted)
        poll(NULL, 0, (int)ms);
}

bool cli_answers_yes(const char *question)
{
    struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
    sigset_t held, before;
    char line[16] = "";
    arm();
    fprintf(stderr, "%s", question);
    /* Ctrl-C may come between the look at it and the wait: it is let in by the wait alone. */
    sigemptyset(&held);
    sigaddset(&held, SIGINT);
    sigprocmask(SIG_BLOCK, &held, &before);
    while (!interrupted && ppoll(&in, 1, NULL, &before) < 0 && errno == EINTR)
        ;
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (interrupted || !fgets(line, sizeof line, stdin))
        return false;
    line[strcspn(line, "\r\n")] = 0;
    return !strcasecmp(line, "yes");
}

/* ---- jobs ---- */
#define WAITING "Waiting for host" /* src:[docs/architecture.md: JobStatus] */

static void show_progress(const struct cli *c, const char *what, unsigned pct, bool over,
                          unsigned *shown)
{
    if (!what || c->quiet || c->json)
        return;
    if (c->tty) {
        char bar[33];
        unsigned full = pct * 32 / 100;
        memset(bar, '#', full);
        memset(bar + full, '.', 32 - full);
        bar[32] = 0;
        fprintf(stderr, "\r%s [%s] %3u %%%s", what, bar, pct, over ? "\n" : "");
    } else if (over || pct >= *shown + 10) {
        fprintf(stderr, "%s: %u %%\n", what, pct);
        *shown = pct;
    }
    fflush(stderr);
}

static int job_result(const struct wsmc_inst *j, struct vr_err *err)
{
    unsigned st = (unsigned)wsmc_uint(j, "JobState", 0);
    const char *text = wsmc_str(j, "ErrorDescription");
    if (st == 7 || st == 32768)
        return 0;
    if (st == 8 || st == 9)
        return vr_fail(err, VR_E_STATE, 0, "the job was cancelled");
    return vr_fail(err, VR_E_HV, 0, "%s", text && *text ? text : "the job failed without a reason");
}

/* What a job waits for, once: it may take any time. A reversal also waits for a host that is there
 * and whose machine runs. */
static void show_waiting(const struct cli *c, const char *what, const char *status, bool *told)
{
    if (*told || !what || c->quiet || c->json || !status ||
        strncmp(status, WAITING, strlen(WAITING)) != 0)
        return;
    *told = true;
    cli_print(stderr,
              "%s%s: it goes on by itself when that host can be reached, and a reversal when the "
              "machine is off there. See vmreplica status, and that the host is up and its port "
              "can be reached from here (vmreplica peers); Ctrl-C leaves the job.\n",
              c->tty ? "\n" : "", status);
}

int cli_wait_job(struct cli *c, struct wsmc *w, const char *id, const char *what,
                 struct vr_err *err)
{
    struct wsmc_key key = { "InstanceID", id };
    struct wsmc_ref ref = { .cls = "Msvm_ConcreteJob", .keys = &key, .n_keys = 1 };
    unsigned shown = 0, wait = 20;
    bool told = false;
    const int64_t end = vr_mono_now().ms + c->patience_ms;
    for (;;) {
        vr_auto(wsmc_inst_free) struct wsmc_inst *j = NULL;
        if (wsmc_get(w, &ref, &j, err) < 0)
            return vr_err_wrap(err, "job %s (it goes on)", id);
        unsigned st = (unsigned)wsmc_uint(j, "JobState", 0);
        bool over = st >= 7 && st != 11 && st != 12;
        bool good = st == 7 || st == 32768;
        if (!over || good)
            show_progress(c, what, (unsigned)wsmc_uint(j, "PercentComplete", 0), over, &shown);
        if (over) {
            if (!good && what && c->tty && !c->quiet && !c->json)
                fputc('\n', stderr);
            /* What it has to say beyond that it is over: what a way back cost. */
            const char *cost = strchr(cli_text_or(j, "JobStatus", ""), ':');
            if (good && cost && what)
                cli_say(c, "%s", cost + 2);
            return job_result(j, err);
        }
        const char *status = wsmc_str(j, "JobStatus");
        if (c->queued_is_done && status && !strncmp(status, WAITING, strlen(WAITING))) {
            c->queued = true;
            return 0;
        }
        show_waiting(c, what, status, &told);
        if (c->patience_ms && vr_mono_now().ms > end)
            return vr_fail(err, VR_E_TIMEOUT, 0, "job %s is not over yet (it goes on)", id);
        if (cli_interrupted()) {
            cli_print(stderr, "\nThe job goes on. To follow it: vmreplica jobs %s\n", id);
            if (wsmc_bool(j, "Cancellable"))
                cli_print(stderr, "To cancel it: vmreplica jobs %s --cancel\n", id);
            return vr_fail(err, VR_E_CANCELLED, 0, "interrupted");
        }
        cli_sleep_ms(wait);
        wait = wait < POLL_MS ? wait * 2 : POLL_MS;
    }
}

int cli_see_job(struct cli *c, struct wsmc *w, const char *id, const char *what, struct vr_err *err)
{
    if (!c->no_wait)
        return cli_wait_job(c, w, id, what, err);
    if (c->json)
        cli_json_object(&(struct cli_field){ "Job", id, CLI_TEXT }, 1);
    else
        printf("%s\n", id);
    return 0;
}

/* Why a call was refused: the server remembers it for us. */
static void last_refusal(struct wsmc *w, char *out, size_t size)
{
    struct wsmc_ref ref = { .ns = WSMC_NS_OURS, .cls = "Vmr_Host" };
    vr_auto(wsmc_inst_free) struct wsmc_inst *o = NULL;
    struct vr_err none = VR_ERR_INIT;
    uint32_t rv;
    out[0] = 0;
    if (wsmc_invoke(w, &ref, "LastRefusal", NULL, 0, &rv, &o, &none) == 0 && rv == 0)
        copy(out, size, wsmc_str(o, "Message"));
}

/* src:[contract.md B.0] */
static const char *code_text(uint32_t rv)
{
    switch (rv) {
    case 32769:
        return "access denied";
    case 32770:
        return "not supported";
    case 32772:
        return "timed out";
    case 32773:
        return "invalid parameter";
    case 32774:
        return "the machine is in use by another operation";
    case 32775:
        return "not possible in the present state";
    case 32777:
        return "system not available";
    case 32779:
        return "file not found";
    default:
        return "failed";
    }
}

int cli_invoke(struct cli *c, struct wsmc *w, const struct wsmc_ref *ref, const char *method,
               const struct wsmc_arg *args, size_t n, const char *what, struct wsmc_inst **ret_out,
               struct vr_err *err)
{
    vr_auto(wsmc_inst_free) struct wsmc_inst *out = NULL;
    uint32_t rv = 0;
    if (wsmc_invoke(w, ref, method, args, n, &rv, &out, err) < 0)
        return -1;
    if (rv == 4096) {
        const char *id = wsmc_job_id(out);
        if (!id)
            return vr_fail(err, VR_E_PROTO, 0, "%s started a job but did not name it", method);
        if (cli_see_job(c, w, id, what, err) < 0)
            return -1;
        if (c->no_wait)
            return 0;
        rv = 0;
    }
    if (rv) {
        char why[512];
        last_refusal(w, why, sizeof why);
        enum vr_kind kind = rv == 32774 ? VR_E_BUSY : VR_E_STATE;
        if (!why[0])
            return vr_fail(err, kind, 0, "%s (%s returned %u)", code_text(rv), method, rv);
        vr_autofree char *words = cli_words(why);
        if (c->host && w == c->local && !c->user && strstr(why, "needs the role"))
            return vr_fail(err, kind, 0,
                           "%s. Give the command on host %s itself, or log in there as somebody "
                           "who has it (--user NAME, or --kerberos)",
                           words, c->host);
        return vr_fail(err, kind, 0, "%s", words);
    }
    if (ret_out)
        *ret_out = vr_take(out);
    return 0;
}

int cli_service(struct cli *c, struct wsmc *w, const struct cli_vm *vm, const char *method,
                const struct wsmc_arg *args, size_t n, const char *what, struct vr_err *err)
{
    struct wsmc_key keys[] = { { "CreationClassName", "Msvm_ComputerSystem" },
                               { "Name", vm->guid } };
    struct wsmc_ref machine = { .cls = "Msvm_ComputerSystem", .keys = keys, .n_keys = 2 };
    struct wsmc_ref svc = { .cls = "Msvm_ReplicationService" };
    struct wsmc_arg all[8] = { { .name = "ComputerSystem", .ref = &machine } };
    for (size_t i = 0; i < n && i < 7; i++)
        all[i + 1] = args[i];
    return cli_invoke(c, w, &svc, method, all, n + 1, what, NULL, err);
}

static int system_call(struct cli *c, struct wsmc *w, const struct cli_vm *vm, const char *method,
                       unsigned requested, const char *what, struct vr_err *err)
{
    struct wsmc_key keys[] = { { "CreationClassName", "Msvm_ComputerSystem" },
                               { "Name", vm->guid } };
    struct wsmc_ref machine = { .cls = "Msvm_ComputerSystem", .keys = keys, .n_keys = 2 };
    char number[16];
    snprintf(number, sizeof number, "%u", requested);
    struct wsmc_arg arg = { .name = "RequestedState", .value = number };
    return cli_invoke(c, w, &machine, method, &arg, 1, what, NULL, err);
}

int cli_rq(struct cli *c, struct wsmc *w, const struct cli_vm *vm, unsigned requested,
           const char *what, struct vr_err *err)
{
    return system_call(c, w, vm, "RequestReplicationStateChangeEx", requested, what, err);
}

int cli_power(struct cli *c, struct wsmc *w, const struct cli_vm *vm, unsigned requested,
              const char *what, struct vr_err *err)
{
    return system_call(c, w, vm, "RequestStateChange", requested, what, err);
}

int cli_own(struct cli *c, const struct cli_vm *vm, const char *method, struct vr_err *err)
{
    struct wsmc_key key = { "InstanceID", vm->rel_id };
    struct wsmc_ref ref = {
        .ns = WSMC_NS_OURS, .cls = "Vmr_ReplicationStatus", .keys = &key, .n_keys = 1
    };
    bool no_wait = c->no_wait;
    c->no_wait = false; /* a step of something larger */
    int rc = cli_invoke(c, c->local, &ref, method, NULL, 0, NULL, NULL, err);
    c->no_wait = no_wait;
    return rc;
}
