/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What each cmdlet of the replication module asks for, request by request, against the providers
 * over the fake host: cmdlets.def is the table. Every cmdlet first finds its machine's settings and
 * relationship. src:[cmdlets.md, contract.md C.5] */
#include "cim/providers/testways.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cim/cimxml.h"

#define SVC_PATH "Msvm_ReplicationService=@"
#define VSMS_PATH "Msvm_VirtualSystemManagementService=@"
#define JOB ARG_JOB
#define SENDING ARG_SENDING
#define CANCELLED "(cancelled)" /* the job that was the target of the last call */
#define POINT ARG_POINT
#define ENTRY ENTRY_OF

enum kind {
    DO,   /* call: 4096 means that the job must succeed */
    RUN,  /* call whose job goes on */
    FIND, /* associators: target, association, class, how many */
    IS,   /* property of target has this value */
    HAS,  /* property of target is not NULL */
    GOT,  /* an array of the last call has so many elements */
    IN,   /* property of the first instance embedded in an array of the last call */
};

/* An argument's text that begins with "+" is an embedded instance: "+path|Prop=Value|..." is the
 * one that is read there with these changes, as the client makes it; "+Class|..." a new one. */
struct step {
    enum kind kind;
    const char *target, *what;
    struct arg args[6];
    uint32_t code;
};

struct cmdlet {
    const char *name;
    void (*situation)(struct world *w);
    struct step steps[9];
};

#define ANY_ENTRY                                            \
    "Msvm_ReplicationAuthorizationSettingData.InstanceID=\"" \
    "Microsoft:hosta\\\\HVRAuthorization\\\\*\""

/* ---- more situations ---- */
static void ready_for_tests(struct world *w)
{
    with_tests(w);
    make_replica(w);
}

static void bound_replica(struct world *w)
{
    make_any_server(w);
    make_replica(w);
    vr_autofree char *entry = arg_text(w, "+" ENTRY("*", "DEFAULT", "/srv/any"));
    done(w, SVC(w, WEB, "SetAuthorizationEntry", { "AuthorizationEntry", entry }));
}

static void paused_with_entry(struct world *w)
{
    make_any_server(w);
    make_paused(w);
}

static void reversed_to_a_seed(struct world *w)
{
    make_failed_over(w);
    w->seeded = true;
    vr_autofree char *set = arg_text(w, FRSD0 TO_HOSTB);
    done(w, SVC(w, WEB, "ReverseReplicationRelationship", { "ReplicationSettingData", set }));
}

static void running_test(struct world *w)
{
    make_tested(w);
    w->vm[2].power = HV_POWER_RUNNING;
}

/* clang-format off */
#define REL0 { "ReplicationRelationship", "+" REL_PATH(WEB, "0") }
#define RQ(n, code) { DO, VM(WEB), "RequestReplicationStateChangeEx", { REL0, { "RequestedState", n } }, code }
#define RQ1(n, code) { DO, VM(WEB), "RequestReplicationStateChangeEx", { { "ReplicationRelationship", "+" REL_PATH(WEB, "1") }, { "RequestedState", n } }, code }
#define OF_VM { "ComputerSystem", VM(WEB) }
#define CALLS(method, code, ...) { DO, SVC_PATH, method, { OF_VM __VA_OPT__(,) __VA_ARGS__ }, code }
#define STATE(n) { IS, REL_PATH(WEB, "0"), "ReplicationState", { { n } } }
#define STATE1(n) { IS, REL_PATH(WEB, "1"), "ReplicationState", { { n } } }
#define MODE(n) { IS, VM(WEB), "ReplicationMode", { { n } } }
#define SERVICE_SETTINGS "+Msvm_ReplicationServiceSettingData=@"

static const struct cmdlet cmdlets[] = {
#include "cmdlets.def"
};

static const struct {
    const char *cmdlet, *options;
} options[] = {
#include "options.def"
};
/* clang-format on */

/* ---- steps ---- */
static char target_job[256];

static char *target_text(struct world *w, const char *target)
{
    return strcmp(target, CANCELLED) ? arg_text(w, target) : vr_strdup(target_job);
}

static uint32_t make_call(struct world *w, const struct step *s)
{
    struct arg args[VR_ARRAY_LEN(s->args) + 1] = { { NULL, NULL } };
    vr_autofree char *job = NULL;

    for (size_t i = 0; i < VR_ARRAY_LEN(s->args) && s->args[i].name; i++)
        args[i] = (struct arg){ s->args[i].name, arg_text(w, s->args[i].text) };
    if (*s->target == '(')
        job = arg_text(w, s->target);
    if (job)
        snprintf(target_job, sizeof target_job, "%s", job);
    uint32_t code = call(w, job ? job : s->target, s->what, args);
    for (size_t i = 0; args[i].name; i++)
        free((char *)args[i].text);
    return code;
}

static void find(struct world *w, const struct cmdlet *c, const struct step *s)
{
    vr_autofree char *target = arg_text(w, s->target);
    struct cim_list l = walk(w, target, s->what, s->args[0].name);

    if (l.n != s->code)
        fail_msg("%s: %s leads to %zu of %s", c->name, s->what, l.n, s->args[0].name);
    cim_list_done(&l);
}

static void got(struct world *w, const struct cmdlet *c, const struct step *s)
{
    const struct cim_value *v = cim_args_at(w->args, s->what);

    if (v->is_null || v->n != s->code)
        fail_msg("%s: %zu of %s%s", c->name, v->n, s->what, v->is_null ? ", NULL" : "");
}

static void in_first(struct world *w, const struct cmdlet *c, const struct step *s)
{
    const struct cim_value *v = cim_args_at(w->args, s->target);
    vr_auto(cim_inst_free) struct cim_inst *in = NULL;
    char text[32];

    assert_true(v->n > 0);
    assert_int_equal(cim_xml_parse(v->many[0].str, NULL, &in, NULL), 0);
    snprintf(text, sizeof text, "%" PRIu64,
             cim_inst_uint(in, cim_class_prop(in->cls, s->what), 99));
    if (strcmp(text, s->args[0].name) != 0)
        fail_msg("%s: %s is %s, not %s", c->name, s->what, text, s->args[0].name);
}

static void run(struct world *w, const struct cmdlet *c, const struct step *s)
{
    vr_autofree char *target = s->kind == IS || s->kind == HAS ? target_text(w, s->target) : NULL;
    uint32_t code;

    switch (s->kind) {
    case FIND:
        find(w, c, s);
        return;
    case IS:
        if (strcmp(txt(w, target, s->what), s->args[0].name) != 0)
            fail_msg("%s: %s is %s, not %s", c->name, s->what, txt(w, target, s->what),
                     s->args[0].name);
        return;
    case HAS:
        if (!strcmp(txt(w, target, s->what), "(null)"))
            fail_msg("%s: %s is NULL", c->name, s->what);
        return;
    case GOT:
        got(w, c, s);
        return;
    case IN:
        in_first(w, c, s);
        return;
    case DO:
    case RUN:
        break;
    }
    code = make_call(w, s);
    if (code != s->code)
        fail_msg("%s: %s returns %u (%s), not %u", c->name, s->what, code, refusal(w), s->code);
    if (code == 4096 && s->kind == DO)
        done(w, code);
}

static void cmdlet(void **st)
{
    struct world *w = *st;
    const struct cmdlet *c = w->test;

    c->situation(w);
    /* how every cmdlet finds what it acts on */
    size_t n = mode(w, WEB) == 2 ? 2 : 1;
    struct cim_list l = walk(w, VM(WEB), "Msvm_ElementSettingData", "Msvm_ReplicationSettingData");
    assert_int_equal(l.n, n);
    cim_list_done(&l);
    l = walk(w, FRSD_PATH(WEB, "0"), "Msvm_SettingsDefineState", "Msvm_ReplicationRelationship");
    assert_int_equal(l.n, 1);
    cim_list_done(&l);
    for (size_t i = 0; i < VR_ARRAY_LEN(c->steps) && c->steps[i].target; i++)
        run(w, c, &c->steps[i]);
}

/* ---- is there a test for everything? ---- */
/* Does @name, the name of a test, have @word as a word? */
static bool has_word(const char *name, const char *word, size_t n)
{
    for (const char *at = name; (at = strstr(at, word)) != NULL; at++)
        if (!strncmp(at, word, n) && (at == name || at[-1] == ' ' || at[-1] == ',') &&
            (!at[n] || strchr(" ,", at[n])))
            return true;
    return false;
}

static bool is_tested(const char *cmdlet_name, const char *option, size_t n)
{
    vr_autofree char *word = vr_strndup(option, n);

    for (size_t i = 0; i < VR_ARRAY_LEN(cmdlets); i++)
        if (has_word(cmdlets[i].name, cmdlet_name, strlen(cmdlet_name)) &&
            (!n || has_word(cmdlets[i].name, word, n)))
            return true;
    return false;
}

/* A row that ends with a call that succeeds looks at nothing that the call did. */
static void every_row_looks_afterwards(void **st)
{
    for (size_t i = 0; i < VR_ARRAY_LEN(cmdlets); i++) {
        const struct step *last = NULL, *s = cmdlets[i].steps;
        for (size_t k = 0; k < VR_ARRAY_LEN(cmdlets[i].steps) && s[k].target; k++)
            last = &s[k];
        if (!last || ((last->kind == DO || last->kind == RUN) && last->code <= 4096))
            fail_msg("%s: nothing is looked at after the call", cmdlets[i].name);
    }
}

static void every_option_has_a_test(void **st)
{
    for (size_t i = 0; i < VR_ARRAY_LEN(options); i++) {
        const char *o = options[i].options;
        if (!is_tested(options[i].cmdlet, "", 0))
            fail_msg("%s has no test", options[i].cmdlet);
        for (; *o; o += strspn(o, " ")) {
            size_t n = strcspn(o, " ");
            if (!is_tested(options[i].cmdlet, o, n))
                fail_msg("%s %.*s has no test", options[i].cmdlet, (int)n, o);
            o += n;
        }
    }
}

static int setup(void **st)
{
    const void *c = *st;
    int rc = world_new(st);

    ((struct world *)*st)->test = c;
    return rc;
}

int main(void)
{
    struct CMUnitTest tests[VR_ARRAY_LEN(cmdlets) + 2];

    for (size_t i = 0; i < VR_ARRAY_LEN(cmdlets); i++)
        tests[i] = (struct CMUnitTest){ .name = cmdlets[i].name,
                                        .test_func = cmdlet,
                                        .setup_func = setup,
                                        .teardown_func = world_free,
                                        .initial_state = (void *)&cmdlets[i] };
    tests[VR_ARRAY_LEN(cmdlets)] = (struct CMUnitTest)cmocka_unit_test(every_option_has_a_test);
    tests[VR_ARRAY_LEN(cmdlets) + 1] =
        (struct CMUnitTest)cmocka_unit_test(every_row_looks_afterwards);
    return _cmocka_run_group_tests("cmdlets", tests, VR_ARRAY_LEN(tests), NULL, NULL);
}
