/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmreplica events: what happens on a host, line by line, as it happens. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/alloc.h"

/* Everything that has events; what is of no interest is left out below. */
#define QUERY "SELECT * FROM __InstanceOperationEvent WITHIN 2"

/* An event as people and programs see it. */
struct line {
    const char *what; /* created, modified, deleted */
    const char *cls;
    const char *object; /* name of a machine, id of a job */
    char *text;         /* NULL: not worth a line */
};

static const struct wsmc_inst *embedded(const struct wsmc_inst *ev, const char *name)
{
    const struct wsmc_prop *p = wsmc_prop(ev, name);
    return p && p->n && p->inst ? p->inst[0] : NULL;
}

/* Did the property change? Not if it was not there before. */
static bool differs(const struct wsmc_inst *now, const struct wsmc_inst *before, const char *name)
{
    const char *a = cli_text_or(now, name, ""), *b = cli_text_or(before, name, "");
    return before && strcmp(a, b) != 0;
}

static char *job_text(const struct line *l, const struct wsmc_inst *now,
                      const struct wsmc_inst *before)
{
    const char *caption = cli_text_or(now, "Caption", "job");
    unsigned state = (unsigned)wsmc_uint(now, "JobState", 0);
    if (!strcmp(l->what, "created") && state < 7)
        return vr_printf("%s: begins", caption);
    if (!strcmp(l->what, "deleted") || (before && !differs(now, before, "JobState")))
        return NULL;
    switch (state) {
    case 7:
    case 32768:
        return vr_printf("%s: done", caption);
    case 8:
        return vr_printf("%s: cancelled", caption);
    case 10:
        return vr_printf("%s: failed: %s", caption, cli_text_or(now, "ErrorDescription", "?"));
    default:
        return vr_printf("%s: %s", caption, cli_text_or(now, "JobStatus", "goes on"));
    }
}

static char *machine_text(const struct line *l, const struct wsmc_inst *now,
                          const struct wsmc_inst *before)
{
    static const char *const power[] = { [2] = "is running", [3] = "is off", [9] = "is paused" };
    static const char *const health[] = { "", "normal", "a warning", "critical" };
    if (!before)
        return vr_strdup(!strcmp(l->what, "created") ? "is there" : "is gone");
    uint64_t p = wsmc_uint(now, "EnabledState", 0), h = wsmc_uint(now, "ReplicationHealth", 0);
    if (differs(now, before, "EnabledState") && p < VR_ARRAY_LEN(power) && power[p])
        return vr_strdup(power[p]);
    if (differs(now, before, "ReplicationHealth") && h && h < VR_ARRAY_LEN(health))
        return vr_printf("health of its replication: %s", health[h]);
    return NULL;
}

static char *status_text(const struct wsmc_inst *now, const struct wsmc_inst *before)
{
    char bytes[32];
    if (differs(now, before, "State"))
        return vr_printf("%s -> %s", cli_text_or(before, "State", "?"),
                         cli_text_or(now, "State", "?"));
    if (differs(now, before, "LastError") && *cli_text_or(now, "LastError", ""))
        return vr_printf("failed: %s", wsmc_str(now, "LastError"));
    if (differs(now, before, "NewestPointEpoch"))
        return vr_printf("point %s, %s changed", cli_text_or(now, "NewestPointEpoch", "?"),
                         cli_bytes(wsmc_uint(now, "LastCycleBytes", 0), bytes));
    return NULL;
}

static struct line read_event(const struct wsmc_inst *ev)
{
    const struct wsmc_inst *now = embedded(ev, "TargetInstance");
    const struct wsmc_inst *before = embedded(ev, "PreviousInstance");
    struct line l = { .what = strstr(ev->cls, "Creation")   ? "created"
                              : strstr(ev->cls, "Deletion") ? "deleted"
                                                            : "modified" };
    if (!now)
        return l;
    l.cls = now->cls;
    if (strcasestr(now->cls, "ConcreteJob")) {
        l.object = cli_text_or(now, "InstanceID", "?");
        l.text = job_text(&l, now, before);
    } else if (strcasestr(now->cls, "ComputerSystem")) {
        l.object = cli_text_or(now, "ElementName", "?");
        l.text = machine_text(&l, now, before);
    } else if (strcasestr(now->cls, "ReplicationStatus")) {
        l.object = cli_text_or(now, "MachineName", "?");
        l.text = status_text(now, before);
    }
    return l;
}

static void print_json(const char *when, const struct line *l)
{
    const char *const pairs[][2] = { { "Time", when },
                                     { "Event", l->what },
                                     { "Class", l->cls ? l->cls : "" },
                                     { "Object", l->object ? l->object : "" },
                                     { "Text", l->text } };
    struct wsmc_prop props[VR_ARRAY_LEN(pairs)];
    char *texts[VR_ARRAY_LEN(pairs)];
    for (size_t i = 0; i < VR_ARRAY_LEN(pairs); i++) {
        texts[i] = (char *)(uintptr_t)pairs[i][1];
        props[i] =
            (struct wsmc_prop){ .name = (char *)(uintptr_t)pairs[i][0], .n = 1, .v = &texts[i] };
    }
    struct wsmc_inst in = { .cls = NULL, .props = props, .n = VR_ARRAY_LEN(pairs) };
    struct wsmc_inst *one = &in;
    cli_json_line(&(struct wsmc_list){ &one, 1 });
}

static void print_event(const struct cli *c, const struct wsmc_inst *ev)
{
    char when[32];
    time_t t = time(NULL);
    struct tm tm;
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", localtime_r(&t, &tm));
    struct line l = read_event(ev);
    if (!strcasecmp(ev->cls, "DroppedEvents")) {
        l.what = "dropped";
        l.text = vr_strdup("more happened than could be kept; look with 'vmreplica status'");
    }
    if (!l.text)
        return;
    if (c->json)
        print_json(when, &l);
    else
        printf("%s  %s%s%s\n", when, l.object ? l.object : "", l.object ? ": " : "", l.text);
    free(l.text);
}

/* The first subscription must succeed; later the daemon may be away for a while. */
static int subscribe(struct cli *c, bool again, char **ret_context, struct vr_err *err)
{
    if (!wsmc_subscribe(c->local, NULL, QUERY, 2, ret_context, err))
        return 0;
    if (!again || (err->kind != VR_E_PEER && err->kind != VR_E_TIMEOUT))
        return -1;
    vr_err_clear(err);
    cli_sleep_ms(1000);
    return 0;
}

/* Until Ctrl-C. A subscription that was lost is made anew. */
static int follow(struct cli *c, struct vr_err *err)
{
    vr_autofree char *context = NULL;
    cli_sleep_ms(0); /* from now on Ctrl-C is noted instead of ending us */
    for (bool again = false; !cli_interrupted(); again = true) {
        wsmc_autolist struct wsmc_list l = { 0 };
        if (!context && subscribe(c, again, &context, err) < 0)
            return -1;
        if (!context)
            continue;
        if (wsmc_pull(c->local, NULL, context, &l, err) < 0) {
            if (cli_interrupted())
                break;
            if (err->kind != VR_E_INVAL && err->kind != VR_E_PEER && err->kind != VR_E_TIMEOUT)
                return -1;
            fprintf(stderr, "vmreplica: %s; going on when it is back, and not all may be told\n",
                    err->msg);
            vr_err_clear(err);
            vr_set_str(&context, NULL);
            continue;
        }
        for (size_t i = 0; i < l.n; i++)
            print_event(c, l.v[i]);
        fflush(stdout);
    }
    struct vr_err none = VR_ERR_INIT;
    if (context)
        (void)wsmc_unsubscribe(c->local, NULL, context, &none);
    vr_err_clear(err);
    return 0;
}

int verb_events(struct cli *c)
{
    const char *args[1];
    struct vr_err err = VR_ERR_INIT;
    if (cli_parse(c, "events", NULL, 0, args, 0, 0) < 0)
        return cli_usage("events");
    return follow(c, &err) < 0 ? cli_fail(&err) : EXIT_OK;
}
