/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* points, pin, unpin, retention. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "cli/cli.h"

/* ---- points ---- */
struct point_text {
    char time[48], age[48], bytes[32], goes[32];
    char *why, *proof, *disks;
};

/* When a CIM datetime (UTC) was or will be; false for NULL. */
bool cli_seconds_of(const char *cim, int64_t *ret)
{
    int y, mo, d, h, mi, s, off = 0;
    char sign = '+';
    if (!cim ||
        sscanf(cim, "%4d%2d%2d%2d%2d%2d.%*6d%c%3d", &y, &mo, &d, &h, &mi, &s, &sign, &off) < 6)
        return false;
    struct tm tm = {
        .tm_year = y - 1900, .tm_mon = mo - 1, .tm_mday = d, .tm_hour = h, .tm_min = mi, .tm_sec = s
    };
    *ret = timegm(&tm) - (sign == '-' ? -off : off) * 60;
    return true;
}

static char *list_of(const struct wsmc_inst *in, const char *property)
{
    const struct wsmc_prop *why = wsmc_prop(in, property);
    struct vr_buf b = VR_BUF_INIT;
    for (size_t i = 0; why && i < why->n; i++)
        vr_buf_printf(&b, NULL, "%s%s", i ? ", " : "", why->v[i]);
    if (!b.len)
        vr_buf_printf(&b, NULL, "-");
    return (char *)b.data;
}

/* What is known of its content: "QUARANTINED: 3 blocks", "by the primary, booted", "-". */
static char *proof_of(const struct wsmc_inst *in)
{
    const char *quarantine = cli_text_or(in, "Quarantine", "none");
    const char *how = cli_text_or(in, "Proof", "none");
    const char *said = !strcmp(how, "primary")   ? "by the primary"
                       : !strcmp(how, "digests") ? "by digests"
                                                 : "";
    struct vr_buf b = VR_BUF_INIT;
    if (!strcmp(quarantine, "quarantined") || !strcmp(quarantine, "released"))
        vr_buf_printf(&b, NULL, "%s: %" PRIu64 " blocks",
                      !strcmp(quarantine, "released") ? "released" : "QUARANTINED",
                      wsmc_uint(in, "WrongBlocks", 0));
    else if (!strcmp(quarantine, "repaired"))
        vr_buf_printf(&b, NULL, "repaired");
    if (*said)
        vr_buf_printf(&b, NULL, "%s%s", b.len ? ", " : "", said);
    if (wsmc_str(in, "TestBooted"))
        vr_buf_printf(&b, NULL, "%sbooted", b.len ? ", " : "");
    if (!b.len)
        vr_buf_printf(&b, NULL, "-");
    return (char *)b.data;
}

static void fill_row(const struct wsmc_inst *in, struct point_text *t, const char **r)
{
    int64_t when = 0, now = time(NULL);
    const char *goes = wsmc_str(in, "GoesAfter");
    char text[32];
    bool kept = wsmc_prop(in, "KeptBecause") && wsmc_prop(in, "KeptBecause")->n;
    r[2] = cli_text_or(in, "Kind", "-");
    /* The instant of an orphan is that of the last point that the other host received; what makes
     * it an orphan was written after that. */
    bool orphan = !strcmp(r[2], "orphan");
    const char *written = orphan ? wsmc_str(in, "LastWritten") : NULL;
    const char *at = written ? written : wsmc_str(in, "Time");
    snprintf(t->time, sizeof t->time, "%s%s",
             written  ? "last written about "
             : orphan ? "after "
                      : "",
             cli_local_time(at, text));
    r[0] = t->time;
    r[1] = "-";
    if (cli_seconds_of(at, &when)) {
        snprintf(t->age, sizeof t->age, "%s%s",
                 written  ? "about "
                 : orphan ? "below "
                          : "",
                 cli_age(now > when ? (uint64_t)(now - when) : 0, text));
        r[1] = t->age;
    }
    r[3] = cli_bytes(wsmc_uint(in, "Bytes", 0), t->bytes);
    r[4] = t->why = list_of(in, "KeptBecause");
    if (!kept)
        r[5] = "next";
    else
        r[5] = goes ? cli_local_time(goes, t->goes) : "-";
    r[6] = t->proof = proof_of(in);
    r[7] = t->disks = list_of(in, "Disks");
    r[8] = cli_text_or(in, "InstanceID", "-");
}

static int list_points(struct cli *c, const struct cli_vm *vm, struct wsmc_list *l,
                       struct vr_err *err)
{
    vr_autofree char *q =
        vr_printf("SELECT * FROM Vmr_RecoveryPoint WHERE MachineIdentifier = '%s'", vm->guid);
    return wsmc_query(c->local, WSMC_NS_OURS, q, l, err);
}

static void print_points(const struct wsmc_list *l, const struct cli_vm *vm)
{
    const char *name = vm->name;
    enum { COLUMNS = 9 };
    static const char *const head[COLUMNS] = { "TIME",   "AGE",          "KIND",
                                               "SIZE",   "KEPT BECAUSE", "GOES AFTER",
                                               "PROVEN", "DISKS",        "POINT" };
    vr_autofree const char **cells = vr_new0((l->n + 1) * COLUMNS, sizeof *cells);
    vr_autofree struct point_text *t = vr_new0(l->n, sizeof *t);
    memcpy(cells, head, sizeof head);
    for (size_t i = 0; i < l->n; i++)
        fill_row(l->v[i], &t[i], &cells[(i + 1) * COLUMNS]);
    cli_table(cells, COLUMNS, (unsigned)l->n + 1);
    for (size_t i = 0, told = 0; i < l->n && !told; i++)
        if (!strcmp(cli_text_or(l->v[i], "Kind", ""), "orphan") && ++told)
            cli_print(
                stdout,
                "An orphan is what this host had written and the other one never received when "
                "that took over,\nor what its disks held when they were offered as a seed (at that "
                "time).\n%s: vmreplica %s %s --point POINT. Give it up: vmreplica "
                "discard %s POINT.\n",
                vm->mode == 1 ? "Read it" : "Try it", vm->mode == 1 ? "export" : "test", name,
                name);
    if (vm->mode == 1)
        cli_print(stdout,
                  "Machine %s is the primary here: these points are kept below its disks, and no "
                  "failover takes them\nbefore this host is the replica again. The others are on "
                  "the other host.\n",
                  name);
    for (size_t i = 0; i < l->n; i++) {
        free(t[i].why);
        free(t[i].proof);
        free(t[i].disks);
    }
}

int verb_points(struct cli *c)
{
    const char *args[2];
    struct cli_vm vm;
    struct vr_err err = VR_ERR_INIT;
    wsmc_autolist struct wsmc_list l = { 0 };
    if (cli_parse(c, "points", NULL, 0, args, 1, 1) < 0)
        return cli_usage("points");
    if (cli_find_vm(c->local, args[0], &vm, &err) < 0 || list_points(c, &vm, &l, &err) < 0)
        return cli_fail(&err);
    if (c->json) {
        cli_json(&l);
        return EXIT_OK;
    }
    if (!l.n) {
        cli_say(c,
                vm.mode == 2 ? "Machine %s has no recovery point yet."
                : vm.mode == 1
                    ? "Machine %s is the primary here: its recovery points are on the other host."
                    : "Machine %s is not replicated: it has no recovery points.",
                vm.name);
        return EXIT_OK;
    }
    print_points(&l, &vm);
    return EXIT_OK;
}

/* ---- pins ---- */
static int change_pin(struct cli *c, const char *verb, const char *method, const char *done,
                      const char *so_already)
{
    const char *args[3];
    struct cli_vm vm;
    struct vr_err err = VR_ERR_INIT;
    wsmc_autolist struct wsmc_list l = { 0 };
    bool found = false, pinned = false;
    if (cli_parse(c, verb, NULL, 0, args, 2, 2) < 0)
        return cli_usage(verb);
    if (cli_find_vm(c->local, args[0], &vm, &err) < 0 || list_points(c, &vm, &l, &err) < 0)
        return cli_fail(&err);
    bool away = vm.mode == 1 && vm.peer[0]; /* the others are on its replica */
    for (size_t i = 0; i < l.n && !found; i++) {
        found = !strcmp(cli_text_or(l.v[i], "InstanceID", ""), args[1]);
        pinned = found && !strcasecmp(cli_text_or(l.v[i], "Pinned", "false"), "true");
    }
    if (!found) {
        vr_fail(&err, VR_E_NOTFOUND, 0,
                "machine %s has no recovery point %s here; see: vmreplica%s%s points %s", vm.name,
                args[1], away ? " --host " : "", away ? vm.peer : "", vm.name);
        return cli_fail(&err);
    }
    struct wsmc_key key = { "InstanceID", args[1] };
    struct wsmc_ref ref = {
        .ns = WSMC_NS_OURS, .cls = "Vmr_RecoveryPoint", .keys = &key, .n_keys = 1
    };
    if (cli_invoke(c, c->local, &ref, method, NULL, 0, NULL, NULL, &err) < 0)
        return cli_fail(&err);
    if (!pinned && so_already) /* asked for all the same: somebody may have pinned it just now */
        cli_say(c, "Point %s %s.", args[1], so_already);
    else if (!c->no_wait)
        cli_say(c, "Point %s %s.", args[1], done);
    return EXIT_OK;
}

int verb_pin(struct cli *c)
{
    return change_pin(c, "pin", "Pin", "is kept until it is unpinned", NULL);
}

int verb_discard(struct cli *c)
{
    return change_pin(c, "discard", "Discard", "is discarded", NULL);
}

int verb_unpin(struct cli *c)
{
    return change_pin(c, "unpin", "Unpin", "is no longer pinned", "was not pinned");
}

/* ---- retention ---- */
/* "90", "30m", "1h", "2d" as seconds in decimal; NULL with a message. */
static char *span(const char *option, const char *text)
{
    static const struct {
        char unit;
        unsigned long long seconds;
    } units[] = { { 0, 1 }, { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
    char *end = NULL;
    unsigned long long n = strtoull(text, &end, 10);
    for (size_t i = 0; i < VR_ARRAY_LEN(units); i++)
        if (text[0] >= '0' && text[0] <= '9' && n <= UINT32_MAX && *end == units[i].unit &&
            (!*end || !end[1]))
            return vr_printf("%llu", n * units[i].seconds);
    fprintf(stderr, "vmreplica: --%s takes a time like 30m, 1h or 2d, not '%s'\n", option, text);
    return NULL;
}

static char *span_text(uint64_t s, char out[32])
{
    if (s && s % 86400 == 0)
        snprintf(out, 32, "%" PRIu64 " d", s / 86400);
    else if (s && s % 3600 == 0)
        snprintf(out, 32, "%" PRIu64 " h", s / 3600);
    else if (s && s % 60 == 0)
        snprintf(out, 32, "%" PRIu64 " min", s / 60);
    else
        snprintf(out, 32, "%" PRIu64 " s", s);
    return out;
}

static const struct {
    const char *title, *prefix;
} lines[] = { { "asked for", "" }, { "floor", "Floor" }, { "in force", "Effective" } };

static void print_retention(const struct cli_vm *vm, const struct wsmc_inst *in)
{
    enum { COLUMNS = 5, ROWS = VR_ARRAY_LEN(lines) };
    static const char *const head[COLUMNS] = { "", "EVERY CYCLE OF", "HOURLY", "DAILY", "WEEKLY" };
    static const char *const units[] = { "Hourly", "Daily", "Weekly" };
    const char *cells[(ROWS + 1) * COLUMNS];
    char text[ROWS][COLUMNS][32], app[32];
    memcpy(cells, head, sizeof head);
    for (size_t i = 0; i < ROWS; i++) {
        const char **r = &cells[(i + 1) * COLUMNS];
        vr_autofree char *every = vr_printf("%sEverySeconds", lines[i].prefix);
        r[0] = lines[i].title;
        r[1] = span_text(wsmc_uint(in, every, 0), text[i][1]);
        for (size_t k = 0; k < VR_ARRAY_LEN(units); k++) {
            vr_autofree char *name = vr_printf("%s%s", lines[i].prefix, units[k]);
            snprintf(text[i][k + 2], 32, "%" PRIu64, wsmc_uint(in, name, 0));
            r[k + 2] = text[i][k + 2];
        }
    }
    /* A primary does not know the floor that the replica has. */
    if (vm->mode == 1)
        memmove(&cells[2 * COLUMNS], &cells[3 * COLUMNS], COLUMNS * sizeof *cells);
    cli_table(cells, COLUMNS, vm->mode == 1 ? ROWS : ROWS + 1);
    printf(
        "Of many points of every cycle (keep_points in vmreplicad.conf of the replica, 64 unless "
        "set)\nthe newer half is kept whole, the older half spread evenly over that time.\n");
    uint64_t s = wsmc_uint(in, "ApplicationIntervalSeconds", 0);
    if (s)
        printf("An application-consistent point every %s.\n", span_text(s, app));
    else
        printf("No application-consistent points are made.\n");
    if (vm->mode == 1)
        cli_print(stdout,
                  "The replica may keep more (its floor): vmreplica --host %s retention %s\n",
                  vm->peer[0] ? vm->peer : "HOST", vm->name);
    if (vm->mode == 2)
        cli_print(stdout, "These are the points of machine %s on this host: vmreplica points %s\n",
                  vm->name, vm->name);
}

static int show_retention(struct cli *c, const struct cli_vm *vm, const struct wsmc_ref *ref,
                          struct vr_err *err)
{
    vr_auto(wsmc_inst_free) struct wsmc_inst *in = NULL;
    if (wsmc_get(c->local, ref, &in, err) < 0)
        return -1;
    if (c->json) {
        struct wsmc_list l = { .v = &in, .n = 1 };
        cli_json(&l);
    } else {
        print_retention(vm, in);
    }
    return 0;
}

int verb_retention(struct cli *c)
{
    const char *args[2], *every = NULL, *hourly = NULL, *daily = NULL, *weekly = NULL, *app = NULL;
    bool floor = false;
    const struct cli_option o[] = {
        { .name = "every", .value = &every },
        { .name = "hourly", .value = &hourly, .number = true },
        { .name = "daily", .value = &daily, .number = true },
        { .name = "weekly", .value = &weekly, .number = true },
        { .name = "app", .value = &app },
        { .name = "floor", .flag = &floor },
    };
    struct cli_vm vm;
    struct vr_err err = VR_ERR_INIT;
    if (cli_parse(c, "retention", o, VR_ARRAY_LEN(o), args, 1, 1) < 0 || (floor && app))
        return cli_usage("retention");
    vr_autofree char *every_s = every ? span("every", every) : NULL;
    vr_autofree char *app_s = app ? span("app", app) : NULL;
    if ((every && !every_s) || (app && !app_s))
        return cli_usage("retention");
    struct wsmc_arg a[5];
    size_t n = 0;
    const struct {
        const char *name, *value;
    } all[] = { { "EverySeconds", every_s },
                { "Hourly", hourly },
                { "Daily", daily },
                { "Weekly", weekly },
                { "ApplicationIntervalSeconds", app_s } };
    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++)
        if (all[i].value)
            a[n++] = (struct wsmc_arg){ .name = all[i].name, .value = all[i].value };
    if (floor && !n)
        return cli_usage("retention");
    if (cli_find_vm(c->local, args[0], &vm, &err) < 0)
        return cli_fail(&err);
    if (vm.mode != 1 && vm.mode != 2) {
        vr_fail(&err, VR_E_STATE, 0, "machine %s is not replicated", vm.name);
        return cli_fail(&err);
    }
    struct wsmc_key key = { "InstanceID", vm.rel_id };
    struct wsmc_ref ref = { .ns = WSMC_NS_OURS, .cls = "Vmr_Retention", .keys = &key, .n_keys = 1 };
    if (n && cli_invoke(c, c->local, &ref, floor ? "SetFloor" : "SetRetention", a, n, NULL, NULL,
                        &err) < 0)
        return cli_fail(&err);
    if (n && !c->json)
        cli_say(c, "Retention of %s is changed.", vm.name);
    if (n)
        return EXIT_OK;
    return show_retention(c, &vm, &ref, &err) < 0 ? cli_fail(&err) : EXIT_OK;
}
