/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What each cmdlet of the replication module asks for, request by request, against the providers
 * over the fake host: cmdlets.def is the table. Every cmdlet first finds its machine's settings and
 * relationship. src:[cmdlets.md, contract.md C.5] */
#include "cim/providers/testhost.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cim/cimxml.h"

#define SVC_PATH "Msvm_ReplicationService=@"
#define VSMS_PATH "Msvm_VirtualSystemManagementService=@"
#define JOB "(job)"     /* target: the job of the call before */
#define POINT "(point)" /* argument: the oldest recovery point of web */
#define NIC "564D5245-504C-4943-8000-525400AABB01"
#define NIC_AFTER \
    "Msvm_FailoverNetworkAdapterSettingData.InstanceID=\"Microsoft:Failover\\\\" WEB "\\\\" NIC "\""
#define NIC_CONNECTION \
    "Msvm_EthernetPortAllocationSettingData.InstanceID=\"Microsoft:" WEB "\\\\" NIC "\\\\C\""
#define ENTRY(host, group, folder)                                                                 \
    "Msvm_ReplicationAuthorizationSettingData|AllowedPrimaryHostSystem=" host "|TrustGroup=" group \
    "|ReplicaStorageLocation=" folder

enum kind {
    DO,   /* call: 4096 means that the job must succeed */
    RUN,  /* call whose job goes on */
    FIND, /* associators: target, association, class, how many */
    IS,   /* property of target has this value */
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
    struct step steps[8];
};

static void nothing(struct world *w)
{
}

static void copying(struct world *w)
{
    make_ready(w);
    w->hold = FX_SHIP;
    assert_int_equal(SVC(w, WEB, "StartReplication", { "InitialReplicationType", "1" }), 4096);
    pump(w);
    assert_int_equal(state(w, WEB), 2);
}

static void paused(struct world *w)
{
    make_replicating(w);
    done(w, CALL(w, VM(WEB), "RequestReplicationStateChangeEx", { "RequestedState", "7" }));
}

static void resynchronizing(struct world *w)
{
    paused(w);
    w->hold = FX_SHIP;
    assert_int_equal(SVC(w, WEB, "Resynchronize"), 4096);
    pump(w);
    assert_int_equal(state(w, WEB), 10);
}

static void prepared(struct world *w)
{
    make_replicating(w);
    done(w, CALL(w, VM(WEB), "RequestReplicationStateChangeEx", { "RequestedState", "4" }));
    assert_int_equal(state(w, WEB), 4);
}

static void any_server(struct world *w)
{
    done(w, CALL(w, SVC_PATH, "AddAuthorizationEntry",
                 { "AuthorizationEntry",
                   "<INSTANCE CLASSNAME=\"Msvm_ReplicationAuthorizationSettingData\">"
                   "<PROPERTY NAME=\"AllowedPrimaryHostSystem\" TYPE=\"string\"><VALUE>*</VALUE>"
                   "</PROPERTY><PROPERTY NAME=\"TrustGroup\" TYPE=\"string\"><VALUE>DEFAULT</VALUE>"
                   "</PROPERTY><PROPERTY NAME=\"ReplicaStorageLocation\" TYPE=\"string\">"
                   "<VALUE>/srv/any</VALUE></PROPERTY></INSTANCE>" }));
}

/* clang-format off */
#define REL0 { "ReplicationRelationship", "+" REL_PATH(WEB, "0") }
#define RQ(n, code) { DO, VM(WEB), "RequestReplicationStateChangeEx", { REL0, { "RequestedState", n } }, code }
#define OF_VM { "ComputerSystem", VM(WEB) }
#define CALLS(method, code, ...) { DO, SVC_PATH, method, { OF_VM __VA_OPT__(,) __VA_ARGS__ }, code }
#define STATE(n) { IS, REL_PATH(WEB, "0"), "ReplicationState", { { n } } }
#define MODE(n) { IS, VM(WEB), "ReplicationMode", { { n } } }
#define FRSD0 "+" FRSD_PATH(WEB, "0")
#define TO_HOSTB "|AuthenticationType=2|RecoveryConnectionPoint=hostb|RecoveryServerPortNumber=4433|CertificateThumbPrint=" OUR_THUMB
#define SERVICE_SETTINGS "+Msvm_ReplicationServiceSettingData=@"

static const struct cmdlet cmdlets[] = {
#include "cmdlets.def"
};
/* clang-format on */

/* ---- arguments ---- */
static char *embedded(struct world *w, const char *text)
{
    vr_autofree char *copy = vr_strdup(text);
    char *save = NULL, *first = strtok_r(copy, "|", &save), *xml = NULL;
    struct vr_err err = VR_ERR_INIT;
    const struct cim_class *cls = cim_class_find(first);
    vr_auto(cim_inst_free) struct cim_inst *in = cls ? cim_inst_new_of(cls) : get(w, first);

    for (char *p; (p = strtok_r(NULL, "|", &save)) != NULL;) {
        char *eq = strchr(p, '=');
        assert_non_null(eq);
        *eq = 0;
        struct cim_value *v = cim_inst_named(in, p);
        assert_non_null(v);
        cim_value_clear(v);
        if (eq[1] && cim_value_put_text(v, eq + 1, &err) < 0)
            fail_msg("%s: %s", p, err.msg);
    }
    assert_int_equal(cim_xml_text(in, "hosta", &xml, NULL), 0);
    return xml;
}

static char *argument(struct world *w, const char *text)
{
    if (*text == '+')
        return embedded(w, text + 1);
    if (strcmp(text, POINT) != 0)
        return vr_strdup(text);
    struct cim_list l = walk(w, VM(WEB), "Msvm_SnapshotOfVirtualSystem", NULL);
    assert_true(l.n > 0);
    vr_auto(cim_path_free) struct cim_path *p = cim_inst_path(l.v[0]);
    cim_list_done(&l);
    return cim_path_fmt(p, NULL);
}

/* ---- steps ---- */
static uint32_t make_call(struct world *w, const struct step *s)
{
    struct arg args[VR_ARRAY_LEN(s->args) + 1] = { { NULL, NULL } };
    vr_autofree char *job = NULL;

    for (size_t i = 0; i < VR_ARRAY_LEN(s->args) && s->args[i].name; i++)
        args[i] = (struct arg){ s->args[i].name, argument(w, s->args[i].text) };
    if (!strcmp(s->target, JOB)) {
        vr_auto(cim_inst_free) struct cim_inst *in = last_job(w);
        vr_auto(cim_path_free) struct cim_path *p = cim_inst_path(in);
        job = cim_path_fmt(p, NULL);
    }
    uint32_t code = call(w, job ? job : s->target, s->what, args);
    for (size_t i = 0; args[i].name; i++)
        free((char *)args[i].text);
    return code;
}

static void find(struct world *w, const struct cmdlet *c, const struct step *s)
{
    struct cim_list l = walk(w, s->target, s->what, s->args[0].name);

    if (l.n != s->code)
        fail_msg("%s: %s leads to %zu of %s", c->name, s->what, l.n, s->args[0].name);
    cim_list_done(&l);
}

static void run(struct world *w, const struct cmdlet *c, const struct step *s)
{
    uint32_t code;

    switch (s->kind) {
    case FIND:
        find(w, c, s);
        return;
    case IS:
        if (strcmp(txt(w, s->target, s->what), s->args[0].name) != 0)
            fail_msg("%s: %s is %s, not %s", c->name, s->what, txt(w, s->target, s->what),
                     s->args[0].name);
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

static int setup(void **st)
{
    const void *c = *st;
    int rc = world_new(st);

    ((struct world *)*st)->test = c;
    return rc;
}

int main(void)
{
    struct CMUnitTest tests[VR_ARRAY_LEN(cmdlets)];

    for (size_t i = 0; i < VR_ARRAY_LEN(cmdlets); i++)
        tests[i] = (struct CMUnitTest){ .name = cmdlets[i].name,
                                        .test_func = cmdlet,
                                        .setup_func = setup,
                                        .teardown_func = world_free,
                                        .initial_state = (void *)&cmdlets[i] };
    return _cmocka_run_group_tests("cmdlets", tests, VR_ARRAY_LEN(tests), NULL, NULL);
}
