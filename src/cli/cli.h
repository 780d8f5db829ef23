/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_CLI_CLI_H
#define VR_CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "wsman/client.h"

/* vmreplica: a WS-Management client with a human face. Single-threaded. */

/* Exit statuses; documented in --help. */
enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_CONNECT = 3, EXIT_INTERRUPTED = 130 };

struct cli {
    struct wsmc *local;    /* the daemon that was asked for: the local one or --host */
    const char *socket;    /* of the local daemon */
    const char *host;      /* --host, NULL: local */
    uint16_t port;         /* 0: that of the way */
    const char *state_dir; /* where the host's certificate lies */
    const char *user, *pin, *ca_file;
    bool kerberos, json, quiet, no_wait, tty;
    bool asks;           /* somebody sits at a terminal and can be asked */
    bool queued_is_done; /* a job that waits for another host is not waited for, but told: */
    bool queued;
    bool uncompared;      /* verify: the primary could not be asked */
    unsigned patience_ms; /* a job that is not over by then goes on alone: VR_E_TIMEOUT; 0: none */
    char **argv;          /* arguments of the verb */
    int argc;
};

/* ---- connections ---- */
/* cli_auth_type() - AuthenticationType of certificate or kerberos; NULL (said on stderr) if it is
 * neither. */
const char *cli_auth_type(const char *word);
/* cli_connect() - make c->local. cli_connect_peer() - a client of the paired host @name, found
 * through @via (which knows its address and certificate); authenticates with this host's own
 * certificate. The caller frees. */
int cli_connect(struct cli *c, struct vr_err *err);
int cli_connect_peer(struct cli *c, struct wsmc *via, const char *name, struct wsmc **ret,
                     struct vr_err *err);

/* ---- machines ---- */
struct cli_vm {
    char guid[64]; /* as in CIM ids */
    char name[256];
    char rel_id[128];                    /* InstanceID of \HVR\0 */
    unsigned mode, state, health, power; /* ReplicationMode, -State, -Health; EnabledState */
    char peer[256];
    char phase[64]; /* State of Vmr_ReplicationStatus: finer than ReplicationState; "": not known */
};
/* cli_find_vm() - by name or UUID. VR_E_NOTFOUND; VR_E_INVAL when the name is ambiguous. */
int cli_find_vm(struct wsmc *w, const char *name, struct cli_vm *ret, struct vr_err *err);

/* ---- invoking ---- */
/* cli_invoke() - call a method and see it through: 0 is success, 4096 waits for the job with its
 * progress shown (unless --no-wait), everything else becomes an error with the server's reason.
 * @what: what is being done, for the progress line ("Initial copy of web01"); NULL: quiet
 * Errors: VR_E_CANCELLED when the user pressed Ctrl-C (the job goes on). */
int cli_invoke(struct cli *c, struct wsmc *w, const struct wsmc_ref *ref, const char *method,
               const struct wsmc_arg *args, size_t n, const char *what, struct wsmc_inst **ret_out,
               struct vr_err *err);
/* cli_service() - invoke a method of Msvm_ReplicationService for a machine; args[0] is made. */
int cli_service(struct cli *c, struct wsmc *w, const struct cli_vm *vm, const char *method,
                const struct wsmc_arg *args, size_t n, const char *what, struct vr_err *err);
/* cli_words() - a message of the daemon with the options that an administrator knows in the place
 * of properties. The caller frees. */
char *cli_words(const char *text);
/* cli_rq() - RequestReplicationStateChangeEx. cli_power() - RequestStateChange of the machine. */
int cli_rq(struct cli *c, struct wsmc *w, const struct cli_vm *vm, unsigned requested,
           const char *what, struct vr_err *err);
int cli_power(struct cli *c, struct wsmc *w, const struct cli_vm *vm, unsigned requested,
              const char *what, struct vr_err *err);
/* cli_own() - a method without parameters of our own class Vmr_ReplicationStatus; waits for its job
 * without showing progress. */
int cli_own(struct cli *c, const struct cli_vm *vm, const char *method, struct vr_err *err);
/* cli_ask_peer() - have the daemon ask the other host and get Vmr_ReplicationStatus after it,
 * within 3 s also when nobody answers; @ret_told: the host has answered, or is known not to (else
 * what the status says of it is old). The caller frees @ret. cli_peer_machine() - PeerMachine then.
 * cli_peer_silent() - it means that the host did not say how the machine is. */
int cli_ask_peer(struct cli *c, const struct cli_vm *vm, struct wsmc_inst **ret, bool *ret_told,
                 struct vr_err *err);
const char *cli_peer_machine(const struct wsmc_inst *st, bool told);
static inline bool cli_peer_silent(const char *how)
{
    return !strcmp(how, "unreachable") || !strcmp(how, "sending");
}
/* cli_dry_run() - tell what a failover to @point (NULL: the newest) would mean now; changes
 * nothing. */
int cli_dry_run(struct cli *c, const struct cli_vm *vm, const char *point, struct vr_err *err);
/* cli_unplanned() - fail over on this host, to the newest point or @point; @force: also to a
 * quarantined one, and while the machine runs at the primary (else a terminal is asked). */
int cli_unplanned(struct cli *c, const struct cli_vm *vm, const char *point, bool force, bool start,
                  struct vr_err *err);
/* cli_seconds_of() - when a CIM datetime was or will be, in seconds since 1970; false for NULL. */
bool cli_seconds_of(const char *cim, int64_t *ret);
/* cli_wait_job() - until it is over; see cli_invoke(). cli_see_job() - the same, or with --no-wait
 * only print what job it is. */
int cli_wait_job(struct cli *c, struct wsmc *w, const char *id, const char *what,
                 struct vr_err *err);
int cli_see_job(struct cli *c, struct wsmc *w, const char *id, const char *what,
                struct vr_err *err);
/* cli_follow() - asking for what is being done already is following it: if @vm is a primary in
 * @state now and a job of @type runs for it, cli_see_job() of that; else 1. */
int cli_follow(struct cli *c, struct wsmc *w, const struct cli_vm *vm, unsigned state,
               unsigned type, const char *what, struct vr_err *err);
/* cli_interrupted() - Ctrl-C was pressed; from the first call on it ends nothing by itself.
 * cli_sleep_ms() - less when it is. */
bool cli_interrupted(void);
void cli_sleep_ms(unsigned ms);
/* cli_answers_yes() - ask whoever sits at the terminal; only "yes" is yes, Ctrl-C is not. */
bool cli_answers_yes(const char *question);

/* ---- disks ---- */
enum { CLI_DISKS_MAX = 64 };
struct cli_disks {
    const char *ids[CLI_DISKS_MAX]; /* as IncludedDisks takes them; borrowed from the rest */
    size_t n;
    struct wsmc_list all;
    struct wsmc_inst *settings;
};
/* cli_same_disk() - is @name (target, path or InstanceID) the disk @d? cli_disks() - those that are
 * replicated now, without @removed and with @added (NULL-terminated lists of names). VR_E_INVAL.
 * cli_disks_done() - free. cli_disks_wait() - until the change is over; tells how it ended. */
bool cli_same_disk(const struct wsmc_inst *d, const char *name);
int cli_disks(struct cli *c, const struct cli_vm *vm, const char *const *added,
              const char *const *removed, struct cli_disks *s, struct vr_err *err);
void cli_disks_done(struct cli_disks *s);
int cli_disks_wait(struct cli *c, const struct cli_vm *vm, struct vr_err *err);

/* ---- output ---- */
/* cli_asked() - from now on texts are of the host that @c asks. cli_hints() - @text with the commands
 * in it made such that they ask that host, too ("vmreplica --host X resume g1"), except those of which
 * it says that they are for another host ("there: vmreplica ...", "on NAME: ...", "... on NAME"). The
 * caller frees. cli_print() - print with such commands. */
void cli_asked(const struct cli *c);
char *cli_hints(const char *text);
void cli_print(FILE *to, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* cli_say() - a line for people, unless --quiet or --json; commands in it as cli_hints() says. */
void cli_say(const struct cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* cli_text_or() - a property's text, @otherwise when it is NULL, absent or empty. */
const char *cli_text_or(const struct wsmc_inst *in, const char *name, const char *otherwise);
/* cli_bytes()/cli_age() - "1.5 GiB", "12 s", into @out (at least 32 bytes), returned. */
char *cli_bytes(uint64_t n, char *out);
char *cli_age(uint64_t seconds, char *out);
/* cli_local_time() - a CIM datetime as local time "2026-01-31 12:34:56"; "-" for NULL. */
char *cli_local_time(const char *cim, char *out);
/* cli_local_text() - a text of the daemon with its times ("2026-01-31T12:34:56Z") as local ones and
 * its commands as cli_hints() makes them. The caller frees. */
char *cli_local_text(const char *text);
/* cli_table() - rows of equal length, first is the header; columns aligned. */
void cli_table(const char *const *cells, unsigned columns, unsigned rows);
/* cli_json() - an array of objects: property names and values of instances. Their types are those
 * of the schema (schema/ by class and property); what it does not know is text. Arrays of the class
 * that are not there are empty. cli_json_line() - the same on one line, for a series of values. */
void cli_json(const struct wsmc_list *l);
void cli_json_line(const struct wsmc_list *l);

/* What a text becomes in JSON. */
enum cli_type {
    CLI_TEXT,
    CLI_NUMBER, /* decimal digits */
    CLI_BOOL,   /* "true" in any case, else false */
};
/* cli_json_object() - one object; a value NULL or empty is null. Names are in CamelCase, as those
 * of properties are. */
struct cli_field {
    const char *name, *value;
    enum cli_type type;
};
void cli_json_object(const struct cli_field *f, size_t n);

/* ---- verbs; each returns an exit status ---- */
#define CLI_VERBS(V)                                                                              \
    V(pair, "pair [HOST[:PORT] --code CODE]",                                                   \
      "trust another host; without arguments: show a one-time code")                              \
    V(unpair, "unpair HOST", "forget a paired host")                                              \
    V(peers, "peers", "list paired hosts")                                                        \
    V(check, "check HOST [--port N] [--auth A]", "can this host replicate to that one?")          \
    V(server, "server [--receive yes|no] [--port N] [...]",                                       \
      "receive replicas here; options: --window-hours N, --window-start HH:MM")                   \
    V(allow, "allow [HOST --storage DIR [--group G]]", "who may replicate here (*, *.domain)")    \
    V(deny, "deny HOST", "take an entry of allow back")                                           \
    V(machines, "machines", "list the machines of this host")                                     \
    V(enable, "enable MACHINE --to HOST [options]", "begin to protect a machine")                 \
    V(start, "start MACHINE [--seeded]", "make the initial copy")                                 \
    V(status, "status [MACHINE] [--watch]", "how replication is doing")                           \
    V(explain, "explain MACHINE", "what is so and why, what would be lost now, what to do")       \
    V(stats, "stats MACHINE [--reset]", "cycles, failures, sizes and times of this window")       \
    V(sync, "sync MACHINE [--application]", "run a cycle now")                                    \
    V(set, "set MACHINE [options]", "change settings of a relationship")                          \
    V(points, "points MACHINE", "list recovery points (on the replica)")                          \
    V(pin, "pin MACHINE POINT", "keep a recovery point until it is unpinned")                     \
    V(discard, "discard MACHINE POINT", "give an orphan point up")                                \
    V(unpin, "unpin MACHINE POINT", "let retention decide about it again")                        \
    V(retention, "retention MACHINE [options]", "which recovery points are kept")                 \
    V(events, "events", "tell what happens on this host until Ctrl-C")                            \
    V(jobs, "jobs [ID] [--cancel]", "list, follow or cancel jobs")                                \
    V(suspend, "suspend MACHINE", "pause replication")                                            \
    V(resume, "resume MACHINE", "go on after suspend or an error")                                \
    V(resync, "resync MACHINE", "compare everything and ship what differs")                       \
    V(failover, "failover MACHINE [--planned] [--point P] [--dry-run]",                           \
      "let the replica take over")                                                                \
    V(test, "test MACHINE [--point P] [--network N] [--end]",                                     \
      "start a copy of a recovery point; options: --another, --no-start")                         \
    V(export, "export MACHINE [--point P] [--close|--list]",                                      \
      "read a recovery point's disks (by NBD, on the replica)")                                   \
    V(cancel, "cancel MACHINE [--discard]",                                                       \
      "take back a failover, its preparation, a waiting reversal, a copy or a comparison")        \
    V(commit, "commit MACHINE [--force]", "complete a failover: no way back to other points")     \
    V(reverse, "reverse MACHINE [--to HOST] [--stop-old]",                                        \
      "replicate back, from the host failed over to; waits for a host that is away")              \
    V(seed, "seed MACHINE", "offer a machine that is off as a replica with content")              \
    V(disable, "disable MACHINE [--discard] [--force] [--abandon]",                               \
      "stop protecting a machine (each host for itself)")                                         \
    V(verify, "verify MACHINE [--point P] [--acknowledge]",                                       \
      "prove that both hosts hold the same, block by block")                                      \
    V(boot, "boot MACHINE [--anyway]",                                                            \
      "start the machine on this host (also when it was failed over elsewhere)")                  \
    V(shutdown, "shutdown MACHINE [--force]", "shut the machine down")

#define V(name, usage, text) int verb_##name(struct cli *c);
CLI_VERBS(V)
#undef V

/* cli_option_help() - what the options of a verb mean, in lines; "" when there is nothing to say.
 */
const char *cli_option_help(const char *verb);
/* cli_usage() - print usage of a verb to standard error; returns EXIT_USAGE. */
int cli_usage(const char *verb);
/* cli_fail() - print the error; returns the exit status that goes with it. */
int cli_fail(const struct vr_err *err);
/* cli_options() - parse options of a verb. */
struct cli_option {
    const char *name;
    const char **value; /* takes a value; or */
    bool *flag;         /* does not */
    const char **many;  /* takes a value, several times: NULL-terminated, room for 65 */
    bool number;        /* the value is a decimal number; the daemon knows its limits */
};
/* Returns 0, or -1 after telling what is wrong. Arguments that are no options go to @args (room for
 * @max, NULL-terminated, at least @least). */
int cli_parse(struct cli *c, const char *verb, const struct cli_option *o, size_t n,
              const char **args, unsigned least, unsigned max);
/* cli_port() - 1 to 65535; 0 after telling that it is none. */
uint16_t cli_port(const char *text);

#endif
