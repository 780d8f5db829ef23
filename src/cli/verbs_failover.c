/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Failover, its commit, and the way back; cancel is in verbs_cancel.c. Works from either host: the
 * other side of a planned failover is reached with this host's certificate. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "cli/cli.h"

/* The two ends of a relationship, seen from here. */
struct ends {
    struct wsmc *p, *r; /* primary's and replica's daemon; one of them is c->local */
    struct wsmc *other; /* the one to free */
    struct cli_vm pvm, rvm;
    char p_host[256], r_host[256];
};

static void ends_done(struct ends *e)
{
    wsmc_free(e->other);
}

static int own_host(struct cli *c, struct wsmc *w, char *out, size_t size, struct vr_err *err)
{
    struct wsmc_ref ref = { .ns = WSMC_NS_OURS, .cls = "Vmr_Host" };
    vr_auto(wsmc_inst_free) struct wsmc_inst *h = NULL;
    (void)c;
    if (wsmc_get(w, &ref, &h, err) < 0)
        return -1;
    snprintf(out, size, "%s", wsmc_str(h, "HostName") ? wsmc_str(h, "HostName") : "?");
    return 0;
}

static int find_ends(struct cli *c, const struct cli_vm *vm, struct ends *e, struct vr_err *err)
{
    if (cli_connect_peer(c, c->local, vm->peer, &e->other, err) < 0)
        return -1;
    struct cli_vm far;
    if (cli_find_vm(e->other, vm->guid, &far, err) < 0)
        return vr_err_wrap(err, "host %s", vm->peer);
    bool here = vm->mode == 1;
    e->p = here ? c->local : e->other;
    e->r = here ? e->other : c->local;
    e->pvm = here ? *vm : far;
    e->rvm = here ? far : *vm;
    if (own_host(c, e->p, e->p_host, sizeof e->p_host, err) < 0 ||
        own_host(c, e->r, e->r_host, sizeof e->r_host, err) < 0)
        return -1;
    if (e->pvm.mode != 1 || e->rvm.mode != 2)
        return vr_fail(err, VR_E_STATE, 0,
                       "machine %s is not primary at one end and replica at the "
                       "other; see vmreplica status on both hosts",
                       vm->name);
    return 0;
}

/* How often a guest is asked again: while it boots nobody listens to the power button. */
enum { ASK_AGAIN_MS = 15000 };

/* The option by which a command asks the primary's host; the caller frees. */
static char *primary_option(const struct cli *c, const struct ends *e)
{
    return c->local == e->p ? vr_strdup("") : vr_printf("--host %s ", e->p_host);
}

/* Ctrl-C: the guest has heard it, or will, and whoever left must know that the machine goes off. */
static int goes_off(const struct cli *c, const struct ends *e, struct vr_err *err)
{
    vr_autofree char *where = primary_option(c, e);
    vr_autofree char *back =
        !e->r ? vr_strdup("") /* the machine runs elsewhere: reverse --stop-old */
              : vr_printf(". To have it run there as before, once it is off: vmreplica %sboot %s",
                          where, e->pvm.name);
    cli_print(stderr,
              "\nvmreplica: machine %s was asked to shut down on %s and goes off by itself. To go "
              "on: the same command again%s\n",
              e->pvm.name, e->p_host, back);
    return err->kind == VR_E_CANCELLED ? -1 : vr_fail(err, VR_E_CANCELLED, 0, "interrupted");
}

/* Orderly shutdown: ask the guest, wait, say what to do when it does not listen. */
static int shut_down(struct cli *c, struct ends *e, unsigned seconds, struct vr_err *err)
{
    if (e->pvm.power == 3)
        return 0;
    cli_say(c, "Shutting down %s on %s ...", e->pvm.name, e->p_host);
    if (cli_power(c, e->p, &e->pvm, 4, NULL, err) < 0)
        return err->kind == VR_E_CANCELLED ? goes_off(c, e, err) : -1;
    int64_t end = vr_mono_now().ms + (int64_t)seconds * 1000;
    int64_t again = vr_mono_now().ms + ASK_AGAIN_MS;
    while (vr_mono_now().ms < end) {
        struct cli_vm now;
        struct vr_err late = VR_ERR_INIT; /* it may be off by then: the next look tells */
        if (vr_mono_now().ms > again) {
            (void)cli_power(c, e->p, &e->pvm, 4, NULL, &late);
            again = vr_mono_now().ms + ASK_AGAIN_MS;
        }
        if (cli_find_vm(e->p, e->pvm.guid, &now, err) < 0)
            return -1;
        if (now.power == 3) {
            e->pvm = now;
            return 0;
        }
        if (cli_interrupted())
            return goes_off(c, e, err);
        cli_sleep_ms(200);
    }
    return vr_fail(err, VR_E_BUSY, 0,
                   "machine %s did not shut down within %u s; nothing was changed. Shut it down in "
                   "the guest, or turn it off hard (vmreplica shutdown %s --force), and repeat",
                   e->pvm.name, seconds, e->pvm.name);
}

/* A replica that is failing over already (asked before, and interrupted) comes to an end. */
static int settled(struct ends *e, struct vr_err *err)
{
    for (int i = 0; i < 300; i++) {
        struct cli_vm now;
        if (cli_find_vm(e->r, e->rvm.guid, &now, err) < 0)
            return -1;
        e->rvm = now;
        if (now.state != 12)
            return 0;
        if (cli_interrupted())
            return vr_fail(err, VR_E_CANCELLED, 0, "interrupted");
        cli_sleep_ms(200);
    }
    return vr_fail(err, VR_E_BUSY, 0, "machine %s is still failing over on %s", e->rvm.name,
                   e->r_host);
}

/* The machine was shut down for a failover that did not come: whoever reads only one line must not
 * believe that it runs. It is started again, unless it is not known whether that is over. */
static int up_again(struct cli *c, struct ends *e, struct vr_err *err)
{
    struct vr_err why = VR_ERR_INIT;
    vr_autofree char *where = primary_option(c, e);
    if (cli_interrupted()) { /* until it is called off, nobody starts it */
        cli_print(
            stderr,
            "vmreplica: machine %s is OFF on %s, and its failover is still being prepared. To go "
            "on: the "
            "same command again. To go back: vmreplica %scancel %s, then vmreplica %sboot %s\n",
            e->pvm.name, e->p_host, where, e->pvm.name, where, e->pvm.name);
        return -1;
    }
    cli_say(c, "Starting %s on %s again ...", e->pvm.name, e->p_host);
    if (cli_power(c, e->p, &e->pvm, 2, NULL, &why) == 0)
        return vr_err_wrap(err,
                           "the failover failed, nothing was changed; machine %s had been shut "
                           "down for it and is started again on %s",
                           e->pvm.name, e->p_host);
    cli_print(stderr,
              "vmreplica: machine %s was shut down for the failover and is OFF on %s: it cannot be "
              "started: %s. Repeat the failover, or start it: vmreplica %sboot %s\n",
              e->pvm.name, e->p_host, why.msg, where, e->pvm.name);
    return -1;
}

/* Another command has begun it, was interrupted perhaps, and it goes on: then this one sees it
 * through. 1: it is not so. */
static int is_prepared(struct cli *c, struct ends *e, struct vr_err *err)
{
    struct cli_vm now;
    struct vr_err none = VR_ERR_INIT;
    int rc = cli_follow(c, e->p, &e->pvm, 3, 100, "Last changes", err);
    if (rc < 1)
        return rc;
    return cli_find_vm(e->p, e->pvm.guid, &now, &none) == 0 && now.state == 4 ? 0 : 1;
}

/* Shut down, ship what came last: the primary is prepared. */
static int prepare(struct cli *c, struct ends *e, unsigned wait_s, struct vr_err *err)
{
    struct vr_err why = VR_ERR_INIT;
    bool was_off = e->pvm.power == 3;
    if (shut_down(c, e, wait_s, err) < 0)
        return -1;
    cli_say(c, "Shipping the last changes to %s ...", e->r_host);
    if (cli_rq(c, e->p, &e->pvm, 4, "Last changes", &why) == 0)
        return 0;
    int rc = why.kind == VR_E_BUSY || why.kind == VR_E_STATE ? is_prepared(c, e, err) : 1;
    if (rc == 0)
        return 0;
    if (rc == 1)
        vr_err_move(err, &why);
    return was_off && !cli_interrupted() ? -1 : up_again(c, e, err);
}

/* A planned failover is in no hurry: a host that is busy, or behind a line that is full, answers
 * later than a failover of a lost one would wait for it. The daemon asks nobody again within 2.5 s.
 */
enum { ASK_TIMES = 3, ASK_PAUSE_MS = 3000 };

static int peer_answers(struct cli *c, const struct cli_vm *vm, struct vr_err *err)
{
    for (int i = 0; i < ASK_TIMES && !cli_interrupted(); i++) {
        vr_auto(wsmc_inst_free) struct wsmc_inst *st = NULL;
        bool told = false;
        if (cli_ask_peer(c, vm, &st, &told, err) < 0)
            return -1;
        if (!cli_peer_silent(cli_peer_machine(st, told)))
            return 1;
        if (!i)
            cli_say(c, "Host %s does not answer yet ...", vm->peer);
        if (i + 1 < ASK_TIMES)
            cli_sleep_ms(ASK_PAUSE_MS);
    }
    return cli_interrupted() ? 1 : 0; /* that is looked at before anything is done */
}

/* A host that is gone is told soon, and what there is for that. */
static int both_are_there(struct cli *c, const struct cli_vm *vm, struct vr_err *err)
{
    int rc = vm->rel_id[0] ? peer_answers(c, vm, err) : 1;
    if (rc)
        return rc < 0 ? -1 : 0;
    if (vm->mode == 2)
        return vr_fail(err, VR_E_STATE, 0,
                       "host %s does not answer, and a planned failover needs both hosts; nothing "
                       "was changed. If it is lost: vmreplica failover %s --dry-run tells what a "
                       "failover without it would mean, vmreplica failover %s does it",
                       vm->peer, vm->name, vm->name);
    return vr_fail(err, VR_E_STATE, 0,
                   "host %s does not answer, and a planned failover needs both hosts; nothing was "
                   "changed",
                   vm->peer);
}

/* The primary is prepared: the replica has everything. */
static int take_over(struct cli *c, const struct cli_vm *vm, struct ends *e, bool start,
                     struct vr_err *err)
{
    cli_say(c, "Failing over to %s ...", e->r_host);
    if (settled(e, err) < 0)
        return -1;
    bool over = e->rvm.state == 5 || e->rvm.state == 6; /* by an earlier call */
    if (!over && cli_service(c, e->r, &e->rvm, "InitiateFailover", NULL, 0, NULL, err) < 0)
        return vr_err_wrap(err,
                           "the last changes are at %s, but it did not take over; the machine is "
                           "OFF on %s. Repeat the failover; or go back there: 'vmreplica cancel "
                           "%s', then 'vmreplica boot %s'",
                           e->r_host, e->p_host, vm->name, vm->name);
    if (start && cli_power(c, e->r, &e->rvm, 2, NULL, err) < 0)
        return vr_err_wrap(err, "machine %s was failed over to %s, but did not start", vm->name,
                           e->r_host);
    cli_say(c, "Machine %s %s on %s. Replicate back with: vmreplica reverse %s", vm->name,
            start ? "is started" : "is ready", e->r_host, e->rvm.name);
    return 0;
}

static int planned(struct cli *c, const struct cli_vm *vm, unsigned wait_s, bool start,
                   struct vr_err *err)
{
    __attribute__((cleanup(ends_done))) struct ends e = { 0 };
    c->no_wait = false;      /* each step needs the one before */
    (void)cli_interrupted(); /* what is so when it comes has to be told */
    if (both_are_there(c, vm, err) < 0 || find_ends(c, vm, &e, err) < 0)
        return -1;
    if (e.pvm.state != 3 && e.pvm.state != 4)
        return vr_fail(err, VR_E_STATE, 0,
                       "machine %s is not replicating now: on %s it is \"%s\"; see: vmreplica "
                       "%s%s%sexplain %s",
                       vm->name, e.p_host, e.pvm.phase, e.p == c->local ? "" : "--host ",
                       e.p == c->local ? "" : vm->peer, e.p == c->local ? "" : " ", vm->name);
    if (start && e.pvm.state == 3 && e.pvm.power == 3)
        cli_say(c, "Machine %s is off on %s; it will be started on %s (--no-start leaves it off).",
                vm->name, e.p_host, e.r_host);
    if (cli_interrupted()) {
        fputs("\nvmreplica: nothing was changed\n", stderr);
        return vr_fail(err, VR_E_CANCELLED, 0, "interrupted");
    }
    if (e.pvm.state == 3 && prepare(c, &e, wait_s, err) < 0)
        return -1;
    if (take_over(c, vm, &e, start, err) == 0)
        return 0;
    if (cli_interrupted())
        cli_print(
            stderr,
            "vmreplica: machine %s is OFF on %s, and perhaps not started on %s yet. To go on: "
            "the same command again\n",
            vm->name, e.p_host, e.r_host);
    return -1;
}

static bool not_replicated(const struct cli_vm *vm, struct vr_err *err)
{
    if (!vm->mode)
        vr_fail(err, VR_E_STATE, 0,
                "machine %s is not replicated; to protect it: vmreplica enable %s --to HOST",
                vm->name, vm->name);
    return !vm->mode;
}

int verb_failover(struct cli *c)
{
    const char *args[2], *point = NULL, *wait_text = "180";
    bool is_planned = false, no_start = false, force = false, dry = false;
    const struct cli_option o[] = {
        { .name = "planned", .flag = &is_planned },
        { .name = "point", .value = &point },
        { .name = "shutdown-timeout", .value = &wait_text, .number = true },
        { .name = "force", .flag = &force },
        { .name = "dry-run", .flag = &dry },
        { .name = "no-start", .flag = &no_start }
    };
    if (cli_parse(c, "failover", o, VR_ARRAY_LEN(o), args, 1, 1) < 0)
        return cli_usage("failover");
    const char *clash = is_planned && point   ? "--planned and --point"
                        : is_planned && force ? "--planned and --force"
                        : dry && is_planned   ? "--dry-run and --planned"
                        : dry && force        ? "--dry-run and --force"
                                              : NULL;
    if (clash) {
        fprintf(stderr, "vmreplica: %s do not go together\n", clash);
        return cli_usage("failover");
    }
    char *end;
    unsigned long wait_s = strtoul(wait_text, &end, 10);
    if (*end || !wait_s || wait_s > 86400) {
        fprintf(stderr, "vmreplica: --shutdown-timeout takes 1 to 86400 seconds, not '%s'\n",
                wait_text);
        return EXIT_USAGE;
    }
    struct cli_vm vm;
    struct vr_err err = VR_ERR_INIT;
    if (cli_find_vm(c->local, args[0], &vm, &err) < 0 || not_replicated(&vm, &err))
        return cli_fail(&err);
    int rc = dry          ? cli_dry_run(c, &vm, point, &err)
             : is_planned ? planned(c, &vm, (unsigned)wait_s, !no_start, &err)
                          : cli_unplanned(c, &vm, point, force, !no_start, &err);
    return rc < 0 ? cli_fail(&err) : EXIT_OK;
}

/* The relationship's settings as they are, with the receiver exchanged. src:[contract.md C.4] */
static char *reverse_settings(struct wsmc *w, const struct cli_vm *vm, const char *to,
                              struct vr_err *err)
{
    struct wsmc_key key = { "InstanceID", vm->rel_id };
    struct wsmc_ref ref = { .cls = "Msvm_ReplicationSettingData", .keys = &key, .n_keys = 1 };
    vr_auto(wsmc_inst_free) struct wsmc_inst *s = NULL;
    if (wsmc_get(w, &ref, &s, err) < 0)
        return NULL;
    const char *back = to ? to : vm->peer[0] ? vm->peer : wsmc_str(s, "PrimaryConnectionPoint");
    if (!back || !*back) {
        vr_fail(err, VR_E_INVAL, 0, "the old primary is not known; name it with --to HOST");
        return NULL;
    }
    const char *port = wsmc_str(s, "RecoveryServerPortNumber");
    const char *auth = wsmc_str(s, "AuthenticationType");
    struct wsmc_arg p[] = { { .name = "InstanceID", .value = vm->rel_id },
                            { .name = "AuthenticationType", .value = auth ? auth : "2" },
                            { .name = "RecoveryConnectionPoint", .value = back },
                            { .name = "RecoveryServerPortNumber", .value = port ? port : "8443" } };
    return wsmc_make_cim_xml("Msvm_ReplicationSettingData", p, VR_ARRAY_LEN(p));
}

/* What would refuse the reversal anyhow is found before anything is stopped for it. That the old
 * primary has authorization entries refuses nothing: it chose this host as the replica. */
static int receives(struct wsmc *w, const char *host, struct vr_err *err)
{
    wsmc_autolist struct wsmc_list l = { 0 };
    if (wsmc_enumerate(w, NULL, "Msvm_ReplicationServiceSettingData", &l, err) < 0)
        return -1;
    if (l.n && wsmc_bool(l.v[0], "RecoveryServerEnabled"))
        return 0;
    return vr_fail(err, VR_E_STATE, 0,
                   "host %s receives no replicas, so it cannot become one; nothing was stopped. "
                   "Change that first: vmreplica --host %s server --receive yes",
                   host, host);
}

/* --stop-old: the machine that still runs on the old primary is shut down, at the operator's word.
 * Not reached is no error: then nothing is known to run there, and the reversal waits. */
static int stop_old(struct cli *c, const struct cli_vm *vm, unsigned seconds, bool force,
                    bool *ret_off, struct vr_err *err)
{
    __attribute__((cleanup(ends_done))) struct ends e = { 0 };
    struct vr_err away = VR_ERR_INIT;
    if (cli_connect_peer(c, c->local, vm->peer, &e.other, &away) < 0 ||
        cli_find_vm(e.other, vm->guid, &e.pvm, &away) < 0) {
        fprintf(stderr, "vmreplica: host %s cannot be asked to shut the machine down: %s\n",
                vm->peer, away.msg);
        return 0;
    }
    e.p = e.other;
    snprintf(e.p_host, sizeof e.p_host, "%s", vm->peer);
    *ret_off = true;
    if (e.pvm.power == 3)
        return 0;
    if (receives(e.p, e.p_host, err) < 0)
        return -1;
    if (!force)
        return shut_down(c, &e, seconds, err);
    cli_say(c, "Turning %s off on %s ...", vm->name, vm->peer);
    return cli_power(c, e.p, &e.pvm, 3, NULL, err);
}

/* NULL when it cannot be had; the caller frees it. */
static struct wsmc_inst *status_of(struct wsmc *w, const struct cli_vm *vm)
{
    struct wsmc_key key = { "InstanceID", vm->rel_id };
    struct wsmc_ref ref = {
        .ns = WSMC_NS_OURS, .cls = "Vmr_ReplicationStatus", .keys = &key, .n_keys = 1
    };
    struct wsmc_inst *st = NULL;
    struct vr_err none = VR_ERR_INIT;
    return wsmc_get(w, &ref, &st, &none) == 0 ? st : NULL;
}

/* Comparing costs more than shipping what is known to differ: nobody shall find out by waiting. */
static void say_comparison(struct cli *c, struct wsmc *w, const struct cli_vm *now)
{
    vr_auto(wsmc_inst_free) struct wsmc_inst *st = status_of(w, now);
    const struct wsmc_prop *names = st ? wsmc_prop(st, "Reasons") : NULL;
    const struct wsmc_prop *why = st ? wsmc_prop(st, "ReasonTexts") : NULL;
    for (size_t i = 0; names && why && i < names->n && i < why->n; i++)
        if (!strcmp(names->v[i], "compares_back"))
            cli_say(c, "%s", why->v[i]);
}

/* What the old primary had written alone is a point there now; whoever reversed shall know. */
static void say_orphan(struct cli *c, struct wsmc *w, const struct cli_vm *now)
{
    vr_auto(wsmc_inst_free) struct wsmc_inst *st = status_of(w, now);
    const char *kept = st ? wsmc_str(st, "LastReverseOrphan") : NULL;
    if (kept && *kept)
        cli_say(c,
                "What host %s had written and this host never received is kept there as the orphan "
                "point\n%s (vmreplica --host %s points %s).",
                now->peer, kept, now->peer, now->name);
}

static int start_shipping(struct cli *c, struct wsmc *w, const struct cli_vm *now,
                          struct vr_err *err)
{
    struct wsmc_arg t = { .name = "InitialReplicationType", .value = "3" };
    cli_say(c, "Direction of %s is reversed. Shipping what the two hosts wrote apart ...",
            now->name);
    if (cli_service(c, w, now, "StartReplication", &t, 1, "Divergence", err) < 0)
        return -1;
    if (c->no_wait)
        return 0;
    cli_say(c, "Machine %s is replicated back.", now->name);
    say_orphan(c, w, now);
    return 0;
}

/* Why it waits, as the daemon found it when it looked last. */
static void say_queued(struct cli *c, const struct cli_vm *vm, const char *to)
{
    const char *host = to ? to : vm->peer;
    vr_auto(wsmc_inst_free) struct wsmc_inst *st = status_of(c->local, vm);
    const char *how = st ? cli_text_or(st, "PeerMachine", "unreachable") : "unreachable";
    if (c->json)
        cli_json_object(&(struct cli_field){ "Queued", "true", CLI_BOOL }, 1);
    if (!strcmp(how, "running"))
        cli_say(
            c,
            "Machine %s runs on host %s, too: the reversal of %s waits and starts by itself when "
            "it is shut down there\n(vmreplica reverse %s --stop-old does that).",
            vm->name, host, vm->name, vm->name);
    else if (!strcmp(how, "off"))
        cli_say(c,
                "Host %s is asked every few seconds: the reversal of %s waits and starts by itself "
                "when it agrees.",
                host, vm->name);
    else
        cli_say(c,
                "Host %s cannot be reached: the reversal of %s waits and starts by itself when the "
                "host is back.",
                host, vm->name);
    cli_say(c, "See it with: vmreplica status %s. Withdraw it with: vmreplica cancel %s.", vm->name,
            vm->name);
}

static int reverse(struct cli *c, struct wsmc *w, const struct cli_vm *vm, const char *to,
                   bool start, struct vr_err *err)
{
    vr_autofree char *xml = reverse_settings(w, vm, to, err);
    struct wsmc_arg a = { .name = "ReplicationSettingData", .value = xml };
    struct cli_vm now;
    bool waited = !strcmp(vm->phase, "failed over, waiting to reverse");
    if (!xml || cli_service(c, w, vm, "ReverseReplicationRelationship", &a, 1, "Reverse", err) < 0)
        return -1;
    if (c->no_wait)
        return 0;
    if (c->queued) {
        say_queued(c, vm, to);
        return 0;
    }
    if (cli_find_vm(w, vm->guid, &now, err) < 0)
        return -1;
    say_comparison(c, w, &now);
    if (now.state == 1 && start)
        return start_shipping(c, w, &now, err);
    if (now.state == 2) /* it was queued, and nobody was waited for */
        cli_say(
            c,
            "Direction of %s is reversed. What the two hosts wrote apart is being shipped; see it "
            "with: vmreplica status %s --watch",
            vm->name, vm->name);
    else if (now.state == 1)
        cli_say(c,
                "Direction of %s is reversed. The old disks are the seed; now run: vmreplica start "
                "%s --seeded",
                vm->name, vm->name);
    else
        cli_say(c, "Direction of %s is reversed; only what changed is shipped.", vm->name);
    if (now.state != 1 && waited) /* it goes on by itself: what was written apart is shipped */
        cli_say(c,
                "What host %s had written and this host never received, if anything, is kept there "
                "as an orphan point:\nvmreplica --host %s points %s",
                now.peer, now.peer, now.name);
    return 0;
}

int verb_reverse(struct cli *c)
{
    const char *args[2], *to = NULL, *wait_text = "180";
    bool no_start = false, stop = false, force = false, wait = false;
    const struct cli_option o[] = {
        { .name = "to", .value = &to },
        { .name = "stop-old", .flag = &stop },
        { .name = "force", .flag = &force },
        { .name = "shutdown-timeout", .value = &wait_text, .number = true },
        { .name = "wait", .flag = &wait },
        { .name = "no-start", .flag = &no_start }
    };
    struct cli_vm vm;
    struct vr_err err = VR_ERR_INIT;
    char *end;
    bool bad = cli_parse(c, "reverse", o, VR_ARRAY_LEN(o), args, 1, 1) < 0;
    unsigned long wait_s = strtoul(wait_text, &end, 10);
    if (!bad && force && !stop)
        fprintf(stderr, "vmreplica: --force goes with --stop-old only\n");
    else if (!bad && (*end || !wait_s || wait_s > 86400))
        fprintf(stderr, "vmreplica: --shutdown-timeout takes 1 to 86400 seconds, not '%s'\n",
                wait_text);
    if (bad || (force && !stop) || *end || !wait_s || wait_s > 86400)
        return cli_usage("reverse");
    c->queued_is_done = !wait;
    if (cli_find_vm(c->local, args[0], &vm, &err) < 0 || not_replicated(&vm, &err))
        return cli_fail(&err);
    __attribute__((cleanup(ends_done))) struct ends e = { 0 };
    struct wsmc *w = c->local;
    if (vm.mode == 1 &&
        vm.state == 4) { /* asked on the old primary: the other end carries it out */
        if (find_ends(c, &vm, &e, &err) < 0)
            return cli_fail(&err);
        w = e.r;
        vm = e.rvm;
    } else if (stop) {
        bool off = false;
        if (stop_old(c, &vm, (unsigned)wait_s, force, &off, &err) < 0)
            return cli_fail(&err);
        c->queued_is_done &= !off; /* the host is there: it is a matter of seconds */
    }
    return reverse(c, w, &vm, to, !no_start, &err) < 0 ? cli_fail(&err) : EXIT_OK;
}
