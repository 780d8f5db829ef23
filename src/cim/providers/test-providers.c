/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Methods through which relationships are made, changed, driven and ended: for each what happens
 * and every return value with the situation that causes it. Failover and reversal are in
 * test-reverse.c. */
#include "cim/providers/testways.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cim/cimxml.h"

#define CREATE(w, guid, ...) \
    SVC(w, guid, "CreateReplicationRelationship", { "ReplicationSettingData", frsd(__VA_ARGS__) })
#define MODIFY(w, guid, ...) \
    SVC(w, guid, "ModifyReplicationSettings", { "ReplicationSettingData", frsd(__VA_ARGS__) })
#define RQ(w, guid, n) CALL(w, VM(guid), "RequestReplicationStateChange", { "RequestedState", n })
#define START(w, guid, ...) SVC(w, guid, "StartReplication", __VA_ARGS__)

/* ---- CreateReplicationRelationship ---- */
static void create_makes_a_primary(void **st)
{
    struct world *w = *st;

    done(w, CREATE(w, WEB, GOOD, "RecoveryHistory", "4", NULL));
    assert_int_equal(mode(w, WEB), 1);
    assert_int_equal(state(w, WEB), 1);
    assert_int_equal(num(w, FRSD_PATH(WEB, "0"), "ReplicationInterval"), 30);
    assert_int_equal(num(w, FRSD_PATH(WEB, "0"), "RecoveryHistory"), 4);
    assert_string_equal(txt(w, FRSD_PATH(WEB, "0"), "PrimaryConnectionPoint"), "hosta");
    assert_string_equal(txt(w, FRSD_PATH(WEB, "0"), "RecoveryHostSystem"), "hostb");
    assert_string_equal(txt(w, FRSD_PATH(WEB, "0"), "CertificateThumbPrint"), OUR_THUMB);
    /* the CD-ROM is not among the disks */
    vr_auto(cim_inst_free) struct cim_inst *in = get(w, FRSD_PATH(WEB, "0"));
    const struct cim_value *v = cim_inst_named(in, "IncludedDisks");
    assert_int_equal(v->n, 2);
    assert_non_null(strstr(v->many[0].str, "\\\\hosta\\root\\virtualization\\v2:Msvm_StorageAll"));
    assert_string_equal(txt(w, "Msvm_ReplicationServiceSettingData=@", "CertificateThumbPrint"),
                        OUR_THUMB);
}

/* What a client gets from the template it read is accepted as it is, once completed. */
static void create_from_the_template(void **st)
{
    struct world *w = *st;

    vr_auto(cim_inst_free) struct cim_inst *in = get(w, FRSD_PATH(WEB, "0"));
    assert_true(cim_inst_named(in, "AuthenticationType")->is_null);
    cim_inst_set_str(in, CIM_P_MSVM_REPLICATIONSETTINGDATA_RECOVERYCONNECTIONPOINT, "192.0.2.2");
    cim_inst_set_uint(in, CIM_P_MSVM_REPLICATIONSETTINGDATA_RECOVERYSERVERPORTNUMBER, 4433);
    cim_inst_set_uint(in, CIM_P_MSVM_REPLICATIONSETTINGDATA_AUTHENTICATIONTYPE, 2);
    cim_inst_set_str(in, CIM_P_MSVM_REPLICATIONSETTINGDATA_CERTIFICATETHUMBPRINT,
                     "aa bb cc dd ee ff 00 11 22 33 44 55 66 77 88 99 aa bb cc dd");
    vr_autofree char *xml = NULL;
    assert_int_equal(cim_xml_text(in, "hosta", &xml, NULL), 0);
    done(w, SVC(w, WEB, "CreateReplicationRelationship", { "ReplicationSettingData", xml }));
    assert_int_equal(num(w, FRSD_PATH(WEB, "0"), "ReplicationInterval"), 300);
}

/* The three dialects in which clients write an embedded instance. src:[contract.md E.1] */
#define PROPS(mi)                                                                                \
    "<PROPERTY NAME=\"AuthenticationType\" TYPE=\"uint16\"" mi "><VALUE>2</VALUE></PROPERTY>"    \
    "<PROPERTY NAME=\"RecoveryConnectionPoint\" TYPE=\"string\"" mi "><VALUE>hostb</VALUE>"      \
    "</PROPERTY><PROPERTY NAME=\"RecoveryServerPortNumber\" TYPE=\"uint16\"" mi ">"              \
    "<VALUE>4433</VALUE></PROPERTY><PROPERTY NAME=\"CertificateThumbPrint\" TYPE=\"string\"" mi  \
    "></PROPERTY><PROPERTY.ARRAY NAME=\"IncludedDisks\" TYPE=\"string\"" mi "><VALUE.ARRAY>"     \
    "<VALUE>\\\\hosta\\root\\virtualization\\v2:Msvm_StorageAllocationSettingData.InstanceID=\"" \
    "Microsoft:" WEB "\\\\vdb\\\\L\"</VALUE></VALUE.ARRAY></PROPERTY.ARRAY>"

static const char *const dialects[] = {
    "<INSTANCE CLASSNAME=\"Msvm_ReplicationSettingData\">" PROPS("") "</INSTANCE>",
    "<INSTANCE CLASSNAME=\"Msvm_ReplicationSettingData\"><QUALIFIER NAME=\"dynamic\" "
    "TYPE=\"boolean\"><VALUE>TRUE</VALUE></QUALIFIER><PROPERTY NAME=\"__PATH\" "
    "CLASSORIGIN=\"___SYSTEM\" TYPE=\"string\"><VALUE>\\\\H\\root\\virtualization\\v2:X</VALUE>"
    "</PROPERTY>" PROPS(" CLASSORIGIN=\"Msvm_ReplicationSettingData\"") "</INSTANCE>",
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?><CIM CIMVERSION=\"2.0\" DTDVERSION=\"2.0\">"
    "<DECLARATION><DECLGROUP><LOCALNAMESPACEPATH><NAMESPACE NAME=\"root\"/></LOCALNAMESPACEPATH>"
    "<VALUE.OBJECT><CLASS NAME=\"Msvm_ReplicationSettingData\"/></VALUE.OBJECT><VALUE.OBJECT>"
    "<INSTANCE CLASSNAME=\"msvm_replicationsettingdata\">" PROPS(
        " MODIFIED=\"TRUE\"") "</INSTANCE></VALUE.OBJECT></DECLGROUP></DECLARATION></CIM>",
};

static void create_in_any_dialect(struct world *w, const char *xml)
{
    done(w, SVC(w, WEB, "CreateReplicationRelationship", { "ReplicationSettingData", xml }));
    vr_auto(cim_inst_free) struct cim_inst *in = get(w, FRSD_PATH(WEB, "0"));
    const struct cim_value *v = cim_inst_named(in, "IncludedDisks");
    assert_int_equal(v->n, 1);
    assert_non_null(strstr(v->many[0].str, "\\\\vdb\\\\L\""));
}

static void create_in_cim_dialect(void **st)
{
    create_in_any_dialect(*st, dialects[0]);
}

static void create_in_wmi_dialect(void **st)
{
    create_in_any_dialect(*st, dialects[1]);
}

static void create_in_mi_dialect(void **st)
{
    create_in_any_dialect(*st, dialects[2]);
}

static void create_includes_disks(void **st)
{
    struct world *w = *st;
#define WITH(...) CREATE(w, WEB, GOOD, __VA_ARGS__, NULL)

    assert_int_equal(WITH("IncludedDisks", ""), 32773);
    assert_int_equal(WITH("IncludedDisks", DISK(WEB, "vdz")), 32773);
    assert_int_equal(WITH("IncludedDisks", DISK(ODD, "vda")), 32773);
    assert_int_equal(WITH("IncludedDisks", DISK(WEB, "vda"), "IncludedDisks", DISK(WEB, "sda")),
                     32773);
    assert_non_null(strstr(refusal(w), "a CD-ROM is not replicated"));
    assert_int_equal(WITH("IncludedDisks", VM(WEB)), 32773);
    assert_int_equal(WITH("IncludedDisks", "rubbish"), 32773);
    assert_int_equal(CREATE(w, DB, GOOD, NULL), 32773); /* no disk at all */
    assert_int_equal(state(w, WEB), 0);
    done(w, WITH("IncludedDisks", "Microsoft:" WEB "\\vda\\L"));
#undef WITH
}

/* Why the last call's job failed. */
static bool job_says(struct world *w, const char *text)
{
    vr_auto(cim_inst_free) struct cim_inst *j = last_job(w);

    return strstr(cim_inst_str(j, CIM_P_MSVM_CONCRETEJOB_ERRORDESCRIPTION), text) &&
           !strcmp(cim_inst_str(j, CIM_P_MSVM_CONCRETEJOB_OWNER), w->who.name);
}

/* What comes first for whoever knows Hyper-V only: a code alone would not say what to do. */
static void create_towards_a_host_that_is_not_paired(void **st)
{
    struct world *w = *st;

    assert_int_equal(job_error(w, CREATE(w, WEB, "RecoveryConnectionPoint", "stranger", NULL)),
                     32773);
    assert_true(job_says(w, "host stranger is not paired with this one"));
    vr_auto(cim_inst_free) struct cim_inst *j = last_job(w);
    assert_int_equal(cim_inst_uint(j, CIM_P_MSVM_CONCRETEJOB_JOBTYPE, 0), JOB_CREATE);
    assert_int_equal(state(w, WEB), 0);
    assert_int_equal(mode(w, WEB), 0);
    done(w, CREATE(w, WEB, GOOD, NULL));
}

static void create_refuses_settings(void **st)
{
    struct world *w = *st;
    static const char *const bad[][2] = {
        { "AuthenticationType", "0" },
        { "AuthenticationType", "3" },
        { "RecoveryConnectionPoint", NULL },
        { "RecoveryConnectionPoint", "" },
        { "RecoveryConnectionPoint", "hosta" },
        { "RecoveryServerPortNumber", "0" },
        { "CertificateThumbPrint", PEER_THUMB },
        { "ReplicationInterval", "4" },
        { "ReplicationInterval", "3601" },
        { "ReplicationInterval", "soon" },
        { "RecoveryHistory", "25" },
        { "ApplicationConsistentSnapshotInterval", "4" },
        { "AutoResynchronizeIntervalStart", "00000001000000.000000:000" },
        { "AutoResynchronizeIntervalEnd", "20240501060000.000000+000" },
        { "ReplicationProvider", "Msvm_ReplicationProvider.Name=\"other\"" },
        { "InstanceID", "Microsoft:" DB "\\HVR\\0" },
        { "InstanceID", "nonsense" },
    };

    for (size_t i = 0; i < VR_ARRAY_LEN(bad); i++) {
        /* the one in question comes in place of a good one */
        bool is_point = !strcmp(bad[i][0], "RecoveryConnectionPoint");
        uint32_t code = is_point ? CREATE(w, WEB, bad[i][0], bad[i][1], NULL)
                                 : CREATE(w, WEB, "RecoveryConnectionPoint", "hostb", bad[i][0],
                                          bad[i][1], NULL);
        if (code != 32773)
            fail_msg("%s=%s: %u", bad[i][0], bad[i][1] ? bad[i][1] : "NULL", code);
        assert_true(*refusal(w));
    }
    assert_int_equal(job_error(w, CREATE(w, WEB, "RecoveryConnectionPoint", "hostb",
                                         "AuthenticationType", "1", NULL)),
                     32779);
    assert_true(job_says(w, "keytab"));
    assert_int_equal(state(w, WEB), 0);
    make_kerberos(w);
    assert_int_equal(CREATE(w, WEB, "RecoveryConnectionPoint", "hostb", "AuthenticationType", "1",
                            "CertificateThumbPrint", OUR_THUMB, NULL),
                     32773);
    assert_int_equal(SVC(w, WEB, "CreateReplicationRelationship"), 32773);
    assert_int_equal(
        SVC(w, WEB, "CreateReplicationRelationship", { "ReplicationSettingData", "<INSTANCE" }),
        32773);
    assert_int_equal(SVC(w, WEB, "CreateReplicationRelationship",
                         { "ReplicationSettingData", "<INSTANCE CLASSNAME=\"Msvm_Error\"/>" }),
                     32776);
    assert_int_equal(state(w, WEB), 0);
}

static void create_refuses_situations(void **st)
{
    struct world *w = *st;

    assert_int_equal(CREATE(w, NOBODY, GOOD, NULL), 32777);
    assert_int_equal(CALL(w, "Msvm_ReplicationService=@", "CreateReplicationRelationship",
                          { "ComputerSystem", "Msvm_ComputerSystem.Name=\"hosta\"" },
                          { "ReplicationSettingData", frsd(GOOD, NULL) }),
                     32773);
    w->who.role = CIM_ROLE_OPERATOR;
    assert_int_equal(CREATE(w, WEB, GOOD, NULL), 32769);
    w->who.role = CIM_ROLE_ADMIN;
    w->hold = FX_CREATE_AT_PEER;
    assert_int_equal(CREATE(w, WEB, GOOD, NULL), 4096);
    pump(w);
    assert_int_equal(CREATE(w, WEB, GOOD, NULL), 32774); /* still at it */
    w->hold = 0;
    pump(w);
    assert_int_equal(CREATE(w, WEB, GOOD, NULL), 32775); /* a primary already */
}

static void create_fails_at_the_peer(void **st)
{
    struct world *w = *st;

    w->fail[FX_BIT_CREATE_AT_PEER] = VR_E_PEER;
    assert_int_equal(job_error(w, CREATE(w, WEB, GOOD, NULL)), 32777);
    assert_int_equal(mode(w, WEB), 0);
    assert_int_equal(state(w, WEB), 0);
    done(w, CREATE(w, WEB, GOOD, NULL));
}

static void a_replica_is_not_extended(void **st)
{
    struct world *w = *st;

    make_replica(w);
    assert_int_equal(CREATE(w, WEB, GOOD, NULL), 32770);
    assert_int_equal(MODIFY(w, WEB, GOOD, NULL), 32775);
    assert_int_equal(MODIFY(w, WEB, "InstanceID", "Microsoft:" WEB "\\HVR\\1", GOOD, NULL), 32775);
    assert_int_equal(START(w, WEB, { "InitialReplicationType", "1" }), 32770);
    assert_int_equal(SVC(w, WEB, "Resynchronize"), 32770);
}

/* ---- ModifyReplicationSettings ---- */
static void modify_changes_what_is_named(void **st)
{
    struct world *w = *st;

    make_ready(w);
    done(w, MODIFY(w, WEB, "ReplicationInterval", "900", "CompressionEnabled", "FALSE", NULL));
    assert_int_equal(num(w, FRSD_PATH(WEB, "0"), "ReplicationInterval"), 900);
    assert_int_equal(num(w, FRSD_PATH(WEB, "0"), "CompressionEnabled"), 0);
    assert_string_equal(txt(w, FRSD_PATH(WEB, "0"), "RecoveryConnectionPoint"), "hostb");
    done(w, MODIFY(w, WEB, "CompressionEnabled", NULL, NULL)); /* NULL: the default */
    assert_int_equal(num(w, FRSD_PATH(WEB, "0"), "CompressionEnabled"), 1);
    done(w, MODIFY(w, WEB, "IncludedDisks", DISK(WEB, "vda"), "IncludedDisks", DISK(WEB, "vdb"),
                   NULL));
}

/* Rule C.1: 3 to 15 and back; the change is a job of type 125 that can be cancelled. */
static void modify_changes_the_disks(void **st)
{
    struct world *w = *st;
    size_t found = 0;

    make_updating(w);
    vr_auto(cim_inst_free) struct cim_inst *in = get(w, FRSD_PATH(WEB, "0"));
    assert_int_equal(cim_inst_value(in, CIM_P_MSVM_REPLICATIONSETTINGDATA_INCLUDEDDISKS)->n, 1);
    const struct job *j;
    struct vr_uuid job = { { 0 } };
    for (size_t i = 0; (j = engine_job_at(w->engine, i)) != NULL; i++)
        if (j->type == JOB_UPDATE_DISKS && !job_over(j)) {
            found++;
            job = j->id;
        }
    assert_int_equal(found, 1);
    assert_int_equal(MODIFY(w, WEB, "ReplicationInterval", "300", NULL), 32775);
    assert_int_equal(engine_job_cancel(w->engine, &job, NULL), 0);
    w->hold = 0;
    pump(w);
    assert_int_equal(state(w, WEB), 3);
    vr_auto(cim_inst_free) struct cim_inst *after = get(w, FRSD_PATH(WEB, "0"));
    assert_int_equal(cim_inst_value(after, CIM_P_MSVM_REPLICATIONSETTINGDATA_INCLUDEDDISKS)->n, 2);
    done(w, MODIFY(w, WEB, "IncludedDisks", DISK(WEB, "vdb"), NULL));
    assert_int_equal(state(w, WEB), 3);
}

static void modify_refused(void **st)
{
    struct world *w = *st;

    assert_int_equal(MODIFY(w, WEB, GOOD, NULL), 32775);
    assert_int_equal(MODIFY(w, NOBODY, GOOD, NULL), 32777);
    make_ready(w);
    assert_int_equal(MODIFY(w, WEB, "ReplicationInterval", "1", NULL), 32773);
    assert_int_equal(MODIFY(w, WEB, "RecoveryConnectionPoint", "elsewhere", NULL), 32773);
    assert_int_equal(MODIFY(w, WEB, "RecoveryConnectionPoint", NULL, NULL), 32773);
    assert_int_equal(MODIFY(w, WEB, "AuthenticationType", "1", NULL), 32779);
    assert_int_equal(MODIFY(w, WEB, "IncludedDisks", DISK(WEB, "vdz"), NULL), 32773);
    assert_int_equal(MODIFY(w, WEB, "IncludedDisks", "", NULL), 32773);
    assert_int_equal(SVC(w, WEB, "ModifyReplicationSettings"), 32773);
    w->who.role = CIM_ROLE_OPERATOR;
    assert_int_equal(MODIFY(w, WEB, GOOD, NULL), 32769);
    w->who.role = CIM_ROLE_ADMIN;
    done(w, START(w, WEB, { "InitialReplicationType", "1" }));
    done(w, RQ(w, WEB, "4"));
    assert_int_equal(MODIFY(w, WEB, GOOD, NULL), 32775); /* prepared */
}

/* ---- StartReplication ---- */
static void start_copies(void **st)
{
    struct world *w = *st;

    make_ready(w);
    w->hold = FX_SHIP;
    assert_int_equal(START(w, WEB, { "InitialReplicationType", "1" }), 4096);
    pump(w);
    assert_int_equal(state(w, WEB), 2);
    w->transferring = true;
    w->transfer = (struct host_transfer){ .total = 200, .done = 50, .sending = true };
    vr_auto(cim_inst_free) struct cim_inst *j = last_job(w);
    assert_int_equal(cim_inst_uint(j, CIM_P_MSVM_CONCRETEJOB_JOBTYPE, 0), 94);
    assert_int_equal(cim_inst_uint(j, CIM_P_MSVM_CONCRETEJOB_JOBSTATE, 0), 4);
    assert_int_equal(cim_inst_uint(j, CIM_P_MSVM_CONCRETEJOB_PERCENTCOMPLETE, 0), 25);
    assert_int_equal(num(w, STATUS_PATH(WEB), "JobPercent"), 25);
    w->hold = 0;
    done(w, 4096);
    assert_int_equal(state(w, WEB), 3);
    assert_string_not_equal(txt(w, REL_PATH(WEB, "0"), "LastReplicationTime"), "(null)");
}

static void start_refused(void **st)
{
    struct world *w = *st;

    assert_int_equal(START(w, WEB, { "InitialReplicationType", "1" }), 32775);
    assert_int_equal(START(w, NOBODY, { "InitialReplicationType", "1" }), 32777);
    make_ready(w);
    assert_int_equal(START(w, WEB, { "InitialReplicationType", "0" }), 32773);
    assert_int_equal(SVC(w, WEB, "StartReplication"), 32773);
    assert_int_equal(START(w, WEB, { "InitialReplicationType", "2" },
                           { "InitialReplicationExportLocation", "/mnt" }),
                     32770);
    assert_int_equal(START(w, WEB, { "InitialReplicationType", "1" },
                           { "InitialReplicationExportLocation", "/mnt" }),
                     32773);
    assert_int_equal(START(w, WEB, { "InitialReplicationType", "1" },
                           { "StartTime", "00000001000000.000000:000" }),
                     32773);
    assert_int_equal(START(w, WEB, { "InitialReplicationType", "1" },
                           { "StartTime", "20990101000000.000000+000" }),
                     32773);
    w->who.role = CIM_ROLE_READER;
    assert_int_equal(START(w, WEB, { "InitialReplicationType", "1" }), 32769);
}

static void start_later_and_cancel(void **st)
{
    struct world *w = *st;
    struct cim_datetime dt =
        cim_datetime_at((struct wall_us){ vr_wall_now().us + 3600ll * 1000000 });
    char when[CIM_DATETIME_STR];

    make_ready(w);
    cim_datetime_fmt(&dt, when);
    assert_int_equal(START(w, WEB, { "InitialReplicationType", "1" }, { "StartTime", when }), 4096);
    pump(w);
    assert_int_equal(state(w, WEB), 1);
    vr_auto(cim_inst_free) struct cim_inst *j = last_job(w);
    assert_false(cim_inst_value(j, CIM_P_MSVM_CONCRETEJOB_SCHEDULEDSTARTTIME)->is_null);
    /* another time takes its place */
    assert_int_equal(START(w, WEB, { "InitialReplicationType", "3" }, { "StartTime", when }), 4096);
    vr_auto(cim_inst_free) struct cim_inst *second = last_job(w);
    vr_auto(cim_path_free) struct cim_path *p = cim_inst_path(second);
    vr_autofree char *path = cim_path_fmt(p, NULL);
    assert_int_equal(num(w, path, "Cancellable"), 1);
    assert_int_equal(CALL(w, path, "RequestStateChange", { "RequestedState", "4" }), 0);
    pump(w);
    assert_int_equal(num(w, path, "JobState"), 8);
    assert_int_equal(state(w, WEB), 1);
}

/* ---- RemoveReplicationRelationship(Ex) ---- */
static void remove_ends_it(void **st)
{
    struct world *w = *st;

    make_replicating(w);
    w->who.role = CIM_ROLE_OPERATOR;
    assert_int_equal(SVC(w, WEB, "RemoveReplicationRelationship"), 32769);
    w->who.role = CIM_ROLE_ADMIN;
    done(w, SVC(w, WEB, "RemoveReplicationRelationship"));
    assert_int_equal(mode(w, WEB), 0);
    assert_int_equal(state(w, WEB), 0);
    assert_string_equal(txt(w, FRSD_PATH(WEB, "0"), "RecoveryConnectionPoint"), "(null)");
    assert_int_equal(SVC(w, WEB, "RemoveReplicationRelationship"), 32775);
    assert_int_equal(SVC(w, NOBODY, "RemoveReplicationRelationship"), 32777);
}

/* No room for the disks of the machine that remains: nothing is given up unasked. */
static void remove_that_fails(void **st)
{
    struct world *w = *st;

    make_replica(w);
    assert_int_equal(CALL(w, STATUS_PATH(WEB), "AbandonReplica"), 32775);
    for (int i = 0; i < 2; i++) {
        w->fail[FX_BIT_REMOVE] = VR_E_NOSPACE;
        assert_int_equal(SVC(w, WEB, "RemoveReplicationRelationship"), 4096);
        pump(w);
        assert_int_equal(state(w, WEB), 8);
        assert_int_equal(mode(w, WEB), 2);
    }
    w->who.role = CIM_ROLE_OPERATOR;
    assert_int_equal(CALL(w, STATUS_PATH(WEB), "AbandonReplica"), 32769);
    w->who.role = CIM_ROLE_ADMIN;
    done(w, CALL(w, STATUS_PATH(WEB), "AbandonReplica"));
    assert_int_equal(mode(w, WEB), 0);
}

#define REL(guid, n)                                                                      \
    "<INSTANCE CLASSNAME=\"Msvm_ReplicationRelationship\"><PROPERTY NAME=\"InstanceID\" " \
    "TYPE=\"string\"><VALUE>Microsoft:" guid "\\HVR\\" n "</VALUE></PROPERTY></INSTANCE>"

static void remove_ex_by_instance(void **st)
{
    struct world *w = *st;
#define REMOVE(xml) \
    SVC(w, WEB, "RemoveReplicationRelationshipEx", { "ReplicationRelationship", xml })

    make_replica(w);
    assert_int_equal(REMOVE(REL(WEB, "1")), 32775);
    assert_int_equal(REMOVE(REL(DB, "0")), 32773);
    assert_int_equal(REMOVE("no xml"), 32773);
    assert_int_equal(REMOVE("<INSTANCE CLASSNAME=\"Msvm_Error\"/>"), 32776);
    done(w, REMOVE(REL(WEB, "0")));
    assert_int_equal(mode(w, WEB), 0);
#undef REMOVE
}

/* ---- state changes ---- */
static void pause_and_resume(void **st)
{
    struct world *w = *st;

    make_replicating(w);
    done(w, RQ(w, WEB, "7"));
    assert_int_equal(state(w, WEB), 7);
    assert_int_equal(RQ(w, WEB, "7"), 32775);
    done(w, SVC(w, WEB, "Resynchronize"));
    assert_int_equal(state(w, WEB), 3);
    assert_int_equal(SVC(w, WEB, "Resynchronize"), 32775);
    done(w, RQ(w, WEB, "7"));
    done(w, RQ(w, WEB, "3"));
    assert_int_equal(state(w, WEB), 3);
    assert_int_equal(RQ(w, WEB, "3"), 32775);
}

static void pause_a_replica(void **st)
{
    struct world *w = *st;

    make_replica(w);
    done(w, RQ(w, WEB, "7"));
    assert_int_equal(state(w, WEB), 7);
    done(w, CALL(w, VM(WEB), "RequestReplicationStateChangeEx",
                 { "ReplicationRelationship", REL(WEB, "0") }, { "RequestedState", "3" }));
    assert_int_equal(state(w, WEB), 3);
    assert_int_equal(CALL(w, VM(WEB), "RequestReplicationStateChangeEx",
                          { "ReplicationRelationship", REL(WEB, "1") }, { "RequestedState", "7" }),
                     32770);
}

static void cancel_the_initial_copy(void **st)
{
    struct world *w = *st;

    make_ready(w);
    w->hold = FX_SHIP;
    assert_int_equal(START(w, WEB, { "InitialReplicationType", "1" }), 4096);
    pump(w);
    vr_auto(cim_path_free) struct cim_path *p = cim_path_dup(cim_args_ref(w->args, "Job"));
    vr_autofree char *job = cim_path_fmt(p, NULL);
    done(w, RQ(w, WEB, "1"));
    assert_int_equal(state(w, WEB), 1);
    assert_int_equal(num(w, job, "JobState"), 8);
    assert_int_equal(RQ(w, WEB, "1"), 32775);
}

static void resync_cancelled(void **st)
{
    struct world *w = *st;

    make_replicating(w);
    done(w, RQ(w, WEB, "7"));
    assert_int_equal(RQ(w, WEB, "9"), 32775);
    w->hold = FX_SHIP;
    done(w, MODIFY(w, WEB, "AutoResynchronizeEnabled", "FALSE", NULL));
    assert_int_equal(SVC(w, WEB, "Resynchronize"), 4096);
    pump(w);
    assert_int_equal(state(w, WEB), 10);
    done(w, RQ(w, WEB, "9"));
    assert_int_equal(state(w, WEB), 9);
    done(w, RQ(w, WEB, "3"));
    assert_int_equal(state(w, WEB), 3);
}

static void prepare_and_revert(void **st)
{
    struct world *w = *st;

    make_replicating(w);
    w->vm[0].power = HV_POWER_RUNNING;
    assert_int_equal(RQ(w, WEB, "4"), 32775);
    w->vm[0].power = HV_POWER_OFF;
    done(w, RQ(w, WEB, "4"));
    assert_int_equal(state(w, WEB), 4);
    assert_int_equal(num(w, REL_PATH(WEB, "0"), "LastReplicationType"), 3);
    /* locked until it is taken back */
    assert_int_equal(CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", "2" }), 32775);
    assert_non_null(strstr(refusal(w), "vmreplica cancel web"));
    assert_int_equal(SVC(w, WEB, "InitiateFailover"), 32775);
    /* nobody is sent to a cancel that is refused, too */
    struct rel_event told = { .type = EV_PEER_TOLD };
    const struct rel *r = engine_find(w->engine, &w->vm[0].uuid);
    snprintf(told.peer, sizeof told.peer, "hostb");
    told.story = (struct rel_story){ .mode = REL_MODE_REPLICA, .failed_over = true };
    told.story.of = r->lineage;
    engine_event(w->engine, &w->vm[0].uuid, &told);
    assert_int_equal(CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", "2" }), 32775);
    assert_non_null(strstr(refusal(w), "vmreplica --host hostb cancel web --discard"));
    assert_int_equal(SVC(w, WEB, "RevertFailover"), 32775);
    told.story = (struct rel_story){ .mode = REL_MODE_REPLICA, .lineage = r->lineage };
    engine_event(w->engine, &w->vm[0].uuid, &told);
    done(w, SVC(w, WEB, "RevertFailover"));
    assert_int_equal(state(w, WEB), 3);
    done(w, CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", "2" }));
    assert_int_equal(w->action, HV_START);
    w->fail[FX_BIT_SHIP] = VR_E_PEER;
    assert_int_equal(job_error(w, RQ(w, WEB, "4")), 32777);
    assert_int_equal(state(w, WEB), 3);
    /* The last changes take long. */
    w->hold = FX_SHIP;
    assert_int_equal(RQ(w, WEB, "4"), 4096);
    pump(w);
    assert_int_equal(CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", "2" }), 32775);
    done(w, SVC(w, WEB, "RevertFailover"));
    assert_int_equal(state(w, WEB), 3);
    done(w, CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", "2" }));
    w->hold = 0;
}

static void become_a_seed(void **st)
{
    struct world *w = *st;

    assert_int_equal(RQ(w, DB, "2"), 32773); /* no disk */
    w->vm[0].power = HV_POWER_RUNNING;
    assert_int_equal(RQ(w, WEB, "2"), 32775);
    w->vm[0].power = HV_POWER_OFF;
    done(w, RQ(w, WEB, "2"));
    assert_int_equal(mode(w, WEB), 2);
    assert_int_equal(state(w, WEB), 2);
    assert_string_equal(txt(w, REL_PATH(WEB, "0"), "LastReplicationTime"), "(null)");
    assert_int_equal(RQ(w, WEB, "2"), 32775);
}

static void state_changes_refused(void **st)
{
    struct world *w = *st;
    static const char *const unknown[] = { "0", "5", "6", "8", "10", "99" };

    assert_int_equal(RQ(w, WEB, "7"), 32775);
    for (size_t i = 0; i < VR_ARRAY_LEN(unknown); i++)
        assert_int_equal(RQ(w, WEB, unknown[i]), 32773);
    assert_int_equal(RQ(w, WEB, "15"), 32775);
    assert_int_equal(CALL(w, "Msvm_ComputerSystem.Name=\"hosta\"", "RequestReplicationStateChange",
                          { "RequestedState", "7" }),
                     32770);
    w->who.role = CIM_ROLE_READER;
    assert_int_equal(RQ(w, WEB, "7"), 32769);
}

/* ---- the rest of the service ---- */
static void connection_test(void **st)
{
    struct world *w = *st;
#define TEST(...) CALL(w, "Msvm_ReplicationService=@", "TestReplicationConnection", __VA_ARGS__)
#define TO(host, port, auth)                                                   \
    { "RecoveryConnectionPoint", host }, { "RecoveryServerPortNumber", port }, \
        { "AuthenticationType", auth }

    done(w, TEST(TO("hostb", "4433", "2")));
    assert_int_equal(TEST(TO("hostb", "0", "2")), 32773);
    assert_int_equal(job_error(w, TEST(TO("stranger", "4433", "2"))), 32773);
    assert_true(job_says(w, "host stranger is not paired with this one"));
    assert_int_equal(TEST(TO("hostb", "4433", "7")), 32773);
    assert_int_equal(job_error(w, TEST(TO("hostb", "4433", "1"))), 32779);
    assert_true(job_says(w, "keytab"));
    assert_int_equal(TEST(TO("hosta", "4433", "2")), 32773);
    assert_int_equal(TEST(TO("hostb", "4433", "2"), { "CertificateThumbPrint", "00" }), 32773);
    assert_int_equal(TEST({ "AuthenticationType", "2" }), 32773);
    w->who.role = CIM_ROLE_READER;
    assert_int_equal(TEST(TO("hostb", "4433", "2")), 32769);
}

static void not_supported(void **st)
{
    struct world *w = *st;
    static const char *const no[] = {
        "ImportInitialReplica",
        "InitiateFailback",
        "ChangeReplicationModeToPrimary",
    };

    for (size_t i = 0; i < VR_ARRAY_LEN(no); i++)
        assert_int_equal(CALL(w, "Msvm_ReplicationService=@", no[i]), 32770);
    assert_int_equal(CALL(w, "Msvm_ReplicationService=@", "StartService"), 1);
    assert_int_equal(CALL(w, "Msvm_ReplicationService=@", "StopService"), 1);
    assert_int_equal(CALL(w, "Msvm_ReplicationService=@", "RequestStateChange"), 1);
    w->who.role = CIM_ROLE_READER;
    assert_int_equal(CALL(w, "Msvm_ReplicationService=@", "TestReplicaSystem"), 32769);
    assert_int_equal(CALL(w, "Msvm_ReplicationService=@", "GetSystemCertificates"), 0);
    const struct cim_value *v = cim_args_at(w->args, "EncodedCertificates");
    assert_int_equal(v->n, 1);
    assert_string_equal(v->many[0].str, "MIIB");
}

static void power(void **st)
{
    struct world *w = *st;
    static const struct {
        const char *state;
        enum hv_power now;
        uint32_t code;
        enum hv_action action;
    } cases[] = {
        { "2", HV_POWER_OFF, 4096, HV_START },         { "2", HV_POWER_PAUSED, 4096, HV_UNPAUSE },
        { "3", HV_POWER_RUNNING, 4096, HV_FORCE_OFF }, { "4", HV_POWER_RUNNING, 4096, HV_SHUTDOWN },
        { "9", HV_POWER_RUNNING, 4096, HV_PAUSE },     { "10", HV_POWER_RUNNING, 4096, HV_REBOOT },
        { "11", HV_POWER_RUNNING, 4096, HV_RESET },    { "9", HV_POWER_OFF, 32775, 0 },
        { "6", HV_POWER_RUNNING, 4096, HV_SAVE },      { "6", HV_POWER_OFF, 32775, 0 },
        { "7", HV_POWER_RUNNING, 32770, 0 },           { "77", HV_POWER_RUNNING, 32773, 0 },
    };

    for (size_t i = 0; i < VR_ARRAY_LEN(cases); i++) {
        w->vm[0].power = cases[i].now;
        uint32_t code =
            CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", cases[i].state });
        assert_int_equal(code, cases[i].code);
        if (code == 4096)
            assert_int_equal(w->action, cases[i].action);
    }
    /* saved: only going on and giving it up */
    w->vm[0].power = HV_POWER_OFF;
    w->vm[0].saved = true;
    assert_int_equal(CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", "4" }), 32775);
    assert_int_equal(CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", "3" }), 4096);
    assert_int_equal(CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", "2" }), 4096);
    w->who.role = CIM_ROLE_READER;
    assert_int_equal(CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", "2" }), 32769);
}

/* Hosts that are paired are operators, and machines that are not replicated are none of their
 * business. */
static void an_operator_leaves_other_machines_alone(void **st)
{
    struct world *w = *st;
    static const char *const states[] = { "2", "3", "4", "6", "9", "10", "11" };

    w->who.role = CIM_ROLE_OPERATOR;
    w->vm[0].power = HV_POWER_RUNNING;
    for (size_t i = 0; i < VR_ARRAY_LEN(states); i++)
        assert_int_equal(CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", states[i] }),
                         32769);
    w->vm[0].power = HV_POWER_OFF;
    assert_int_equal(CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", "2" }), 32769);
    assert_non_null(strstr(refusal(w), "administrator"));
    assert_int_equal(RQ(w, WEB, "2"), 32769);
    assert_int_equal(mode(w, WEB), 0);
    w->who.role = CIM_ROLE_ADMIN;
    make_replicating(w);
    w->who.role = CIM_ROLE_OPERATOR;
    w->vm[0].power = HV_POWER_RUNNING;
    assert_int_equal(CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", "3" }), 4096);
}

static void a_replica_is_not_started(void **st)
{
    struct world *w = *st;

    make_replica(w);
    assert_int_equal(CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", "2" }), 32775);
    assert_non_null(strstr(refusal(w), "hostb"));
    done(w, SVC(w, WEB, "InitiateFailover"));
    done(w, CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", "2" }));
    w->n_vms = 0;
    assert_int_equal(CALL(w, VM(WEB), "RequestStateChange", { "RequestedState", "2" }), 32777);
}

/* Each caller is told its own last refusal only. */
static void refusals_are_per_caller(void **st)
{
    struct world *w = *st;

    assert_string_equal(refusal(w), "");
    assert_int_equal(RQ(w, WEB, "7"), 32775);
    assert_non_null(strstr(refusal(w), "web is not replicated"));
    w->who.name = "other";
    assert_string_equal(refusal(w), "");
    for (int i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof name, "user%d", i);
        w->who.name = name;
        assert_int_equal(RQ(w, WEB, "99"), 32773);
        assert_non_null(strstr(refusal(w), "99"));
    }
    w->who.name = "root"; /* given up for newer ones */
    assert_string_equal(refusal(w), "");
}

#define T(f) cmocka_unit_test_setup_teardown(f, world_new, world_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(create_makes_a_primary),
        T(create_from_the_template),
        T(create_in_cim_dialect),
        T(create_in_wmi_dialect),
        T(create_in_mi_dialect),
        T(create_includes_disks),
        T(create_refuses_settings),
        T(create_towards_a_host_that_is_not_paired),
        T(create_refuses_situations),
        T(create_fails_at_the_peer),
        T(a_replica_is_not_extended),
        T(modify_changes_what_is_named),
        T(modify_changes_the_disks),
        T(modify_refused),
        T(start_copies),
        T(start_refused),
        T(start_later_and_cancel),
        T(remove_ends_it),
        T(remove_that_fails),
        T(remove_ex_by_instance),
        T(pause_and_resume),
        T(pause_a_replica),
        T(cancel_the_initial_copy),
        T(resync_cancelled),
        T(prepare_and_revert),
        T(become_a_seed),
        T(state_changes_refused),
        T(connection_test),
        T(not_supported),
        T(power),
        T(an_operator_leaves_other_machines_alone),
        T(a_replica_is_not_started),
        T(refusals_are_per_caller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
