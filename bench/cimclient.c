/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a client of the management interface waits for, on one connection to a daemon that is there:
 *
 *   cimclient [--check PID] NAME WAY
 *
 * WAY: "local SOCKET", "certificate HOST PIN CERT KEY", "basic HOST PIN USER PASSWORD", with PIN
 * the SHA-256 of the server's certificate, or "kerberos HOST", with the ticket cache of the caller.
 *
 * Prints a line under NAME: all relationships, one of them, requests per second. With --check it
 * fails where a goal (docs/wsman.md, "Speed") is missed by more than twice; what counts then is the
 * time of the processor that this and the daemon PID take, for others may use it, too. Called by
 * management.sh.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "wsman/client.h"

enum { ROUNDS = 1000, WALKS = 5 };

static void die(const char *what, const struct vr_err *e)
{
    fprintf(stderr, "cimclient: %s: %s\n", what, e->msg);
    exit(1);
}

static clockid_t daemons = -1; /* its time of the processor; -1: does not count */

static double clock_ms(clockid_t c)
{
    struct timespec t;
    return clock_gettime(c, &t) ? 0 : (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double cpu_ms(void)
{
    return clock_ms(CLOCK_PROCESS_CPUTIME_ID) + (daemons == -1 ? 0 : clock_ms(daemons));
}

struct took {
    double wall, cpu; /* ms */
};

static struct took now(void)
{
    return (struct took){ clock_ms(CLOCK_MONOTONIC), cpu_ms() };
}

static struct took since(struct took began, double n)
{
    struct took t = now();
    return (struct took){ (t.wall - began.wall) / n, (t.cpu - began.cpu) / n };
}

static char *read_file(const char *path)
{
    vr_autofclose FILE *f = fopen(path, "re");
    static const size_t max = 65536;
    char *text = vr_new0(1, max);
    if (!f || fread(text, 1, max - 1, f) == 0) {
        fprintf(stderr, "cimclient: cannot read %s\n", path);
        exit(1);
    }
    return text;
}

static void usage(void)
{
    fprintf(stderr,
            "usage: cimclient [--check PID] NAME local SOCKET | certificate HOST PIN CERT KEY | "
            "basic HOST PIN USER PASSWORD | kerberos HOST\n");
    exit(2);
}

/* The best of a few: what others take from the machine does not count. */
static struct took walk(struct wsmc *c, size_t *ret_n, char **ret_id)
{
    struct took best = { 0 };
    struct vr_err e = VR_ERR_INIT;
    for (int i = 0; i < WALKS; i++) {
        wsmc_autolist struct wsmc_list all = { 0 };
        struct took began = now();
        if (wsmc_enumerate(c, NULL, "Msvm_ReplicationRelationship", &all, &e))
            die("Enumerate", &e);
        struct took t = since(began, 1);
        best.wall = !i || t.wall < best.wall ? t.wall : best.wall;
        best.cpu = !i || t.cpu < best.cpu ? t.cpu : best.cpu;
        *ret_n = all.n;
        if (!*ret_id && all.n)
            *ret_id = vr_strdup(wsmc_str(all.v[all.n / 2], "InstanceID"));
    }
    return best;
}

static struct took gets(struct wsmc *c, const char *id)
{
    const struct wsmc_key key = { "InstanceID", id };
    const struct wsmc_ref ref = { .cls = "Msvm_ReplicationRelationship",
                                  .keys = &key,
                                  .n_keys = 1 };
    struct vr_err e = VR_ERR_INIT;
    struct took began = now();
    for (int i = 0; i < ROUNDS; i++) {
        vr_auto(wsmc_inst_free) struct wsmc_inst *in = NULL;
        if (wsmc_get(c, &ref, &in, &e))
            die("Get", &e);
    }
    return since(began, ROUNDS);
}

int main(int argc, char **argv)
{
    bool check = argc > 1 && !strcmp(argv[1], "--check");
    char **a = argv + 1 + 2 * check;
    int n = argc - 1 - 2 * check;
    struct wsmc_target t = { .host = n > 2 ? a[2] : NULL };
    vr_autofree char *cert = NULL, *key = NULL, *id = NULL;
    vr_auto(wsmc_free) struct wsmc *c = NULL;
    struct vr_err e = VR_ERR_INIT;
    size_t found = 0;

    if (n < 3 || (check && clock_getcpuclockid((pid_t)strtol(argv[2], NULL, 10), &daemons)))
        usage();
    if (n == 3 && !strcmp(a[1], "local"))
        t = (struct wsmc_target){ .unix_path = a[2] };
    else if (n == 3 && !strcmp(a[1], "kerberos"))
        t.kerberos = true;
    else if (n != 6)
        usage();
    else if (!strcmp(a[1], "certificate")) {
        t.pin = a[3];
        t.cert_pem = cert = read_file(a[4]);
        t.key_pem = key = read_file(a[5]);
    } else if (!strcmp(a[1], "basic")) {
        t.pin = a[3];
        t.user = a[4];
        t.password = a[5];
    } else
        usage();
    if (wsmc_new(&t, &c, &e))
        die("client", &e);
    struct took all = walk(c, &found, &id);
    if (!id) {
        fprintf(stderr, "cimclient: there is no machine\n");
        return 1;
    }
    struct took one = gets(c, id);
    printf("  %-24s %6.1f ms for %zu relationships (goal: 150 for 1000), %6.3f ms for one (goal: "
           "2), %5.0f requests/s (goal: 500)\n",
           a[0], all.wall, found, one.wall, 1000 / one.wall);
    if (!check)
        return 0;
    printf("  %-24s %6.1f ms and %.3f ms of the processor\n", "", all.cpu, one.cpu);
    bool missed = all.cpu > 2 * 150.0 * (double)found / 1000 || one.cpu > 4 || 1000 / one.cpu < 250;
    if (missed)
        fprintf(stderr, "cimclient: %s: a goal is missed by more than twice\n", a[0]);
    return missed;
}
