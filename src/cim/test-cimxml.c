/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Embedded instances in the three dialects, what is refused, what we write, class documents. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "cim/cimxml.h"

#define P(n) CIM_P_MSVM_REPLICATIONSETTINGDATA_##n
#define FRSD "Msvm_ReplicationSettingData"

static struct cim_inst *parse(const char *text, const char *want)
{
    struct vr_err err = VR_ERR_INIT;
    struct cim_inst *in = NULL;

    if (cim_xml_parse(text, want ? cim_class_find(want) : NULL, &in, &err) < 0)
        fail_msg("%s", err.msg);
    return in;
}

static void refuse(const char *text, const char *want, enum vr_kind kind)
{
    struct vr_err err = VR_ERR_INIT;
    struct cim_inst *in = NULL;

    if (cim_xml_parse(text, want ? cim_class_find(want) : NULL, &in, &err) == 0)
        fail_msg("taken: %s", text);
    assert_int_equal(err.kind, kind);
    assert_null(in);
}

static void test_dtd20(void **st)
{
    vr_auto(cim_inst_free) struct cim_inst *in = parse(
        "<?xml version=\"1.0\" encoding=\"utf-16\"?>"
        "<INSTANCE CLASSNAME=\"msvm_replicationsettingdata\">"
        "<QUALIFIER NAME=\"dynamic\" TYPE=\"boolean\"><VALUE>TRUE</VALUE></QUALIFIER>"
        "<PROPERTY NAME=\"InstanceID\" CLASSORIGIN=\"X\" TYPE=\"string\">"
        "<QUALIFIER NAME=\"key\" TYPE=\"boolean\"><VALUE>TRUE</VALUE></QUALIFIER>"
        "<VALUE>Microsoft:G\\HVR\\0</VALUE></PROPERTY>"
        "<PROPERTY NAME=\"Caption\" TYPE=\"string\"><VALUE/></PROPERTY>"
        "<PROPERTY NAME=\"Description\" TYPE=\"string\"></PROPERTY>"
        "<PROPERTY NAME=\"CompressionEnabled\" TYPE=\"boolean\"><VALUE>TRUE</VALUE></PROPERTY>"
        "<PROPERTY NAME=\"replicationinterval\" TYPE=\"uint16\"><VALUE> 30 </VALUE></PROPERTY>"
        "<PROPERTY NAME=\"AutoResynchronizeIntervalStart\" TYPE=\"datetime\">"
        "<VALUE>00000000183000.000000:000</VALUE></PROPERTY>"
        "<PROPERTY.ARRAY NAME=\"IncludedDisks\" TYPE=\"string\"><VALUE.ARRAY>"
        "<VALUE>one &amp; two</VALUE><VALUE></VALUE></VALUE.ARRAY></PROPERTY.ARRAY>"
        "<PROPERTY.ARRAY NAME=\"Notes\" TYPE=\"string\"><VALUE.ARRAY/></PROPERTY.ARRAY>"
        "<PROPERTY NAME=\"FromTheFuture\" TYPE=\"string\"><VALUE>x</VALUE></PROPERTY>"
        "</INSTANCE>",
        FRSD);

    assert_string_equal(cim_inst_str(in, P(INSTANCEID)), "Microsoft:G\\HVR\\0");
    assert_string_equal(cim_inst_str(in, P(CAPTION)), "");
    assert_true(cim_inst_value(in, P(DESCRIPTION))->is_null);
    assert_true(cim_inst_is_seen(in, P(DESCRIPTION)));
    assert_true(cim_value_bool(cim_inst_value(in, P(COMPRESSIONENABLED)), false));
    assert_int_equal(cim_inst_uint(in, P(REPLICATIONINTERVAL), 0), 30);
    const struct cim_value *disks = cim_inst_value(in, P(INCLUDEDDISKS));
    assert_int_equal(disks->n, 2);
    assert_string_equal(cim_value_at(disks, 0)->str, "one & two");
    assert_string_equal(cim_value_at(disks, 1)->str, "");
    assert_false(cim_inst_value(in, P(NOTES))->is_null);
    assert_int_equal(cim_inst_value(in, P(NOTES))->n, 0);
    assert_false(cim_inst_is_seen(in, P(RECOVERYHISTORY)));
}

static void test_wmi_dtd(void **st)
{
    vr_auto(cim_inst_free) struct cim_inst *in =
        parse("<INSTANCE CLASSNAME=\"\\\\H\\root\\virtualization\\v2:Msvm_ReplicationSettingData."
              "InstanceID=&quot;x&quot;\">"
              "<PROPERTY NAME=\"__PATH\" CLASSORIGIN=\"___SYSTEM\" TYPE=\"string\">"
              "<VALUE>p</VALUE></PROPERTY>"
              "<PROPERTY.ARRAY NAME=\"__DERIVATION\" CLASSORIGIN=\"___SYSTEM\" TYPE=\"string\">"
              "<VALUE.ARRAY><VALUE>a</VALUE></VALUE.ARRAY></PROPERTY.ARRAY>"
              "<PROPERTY NAME=\"RecoveryHistory\" CLASSORIGIN=\"" FRSD "\" TYPE=\"uint16\">"
              "<VALUE>0x5</VALUE></PROPERTY></INSTANCE>",
              FRSD);

    assert_int_equal(cim_inst_uint(in, P(RECOVERYHISTORY), 0), 5);
}

static void test_with_class(void **st)
{
    vr_auto(cim_inst_free) struct cim_inst *in =
        parse("<CIM CIMVERSION=\"2.0\" DTDVERSION=\"2.0\"><DECLARATION><DECLGROUP>"
              "<LOCALNAMESPACEPATH><NAMESPACE NAME=\"root\"/></LOCALNAMESPACEPATH>"
              "<VALUE.OBJECT><CLASS NAME=\"CIM_ManagedElement\"><PROPERTY NAME=\"Caption\" "
              "TYPE=\"string\"/></CLASS></VALUE.OBJECT>"
              "<VALUE.OBJECT><INSTANCE CLASSNAME=\"CIM_SettingData\">"
              "<PROPERTY NAME=\"ElementName\" TYPE=\"string\" "
              "MODIFIED=\"TRUE\"><VALUE>n</VALUE></PROPERTY>"
              "</INSTANCE></VALUE.OBJECT></DECLGROUP></DECLARATION></CIM>",
              FRSD);

    assert_int_equal(in->cls->id, CIM_C_MSVM_REPLICATIONSETTINGDATA);
    assert_string_equal(cim_inst_str(in, P(ELEMENTNAME)), "n");
}

static void test_reference(void **st)
{
    vr_auto(cim_inst_free) struct cim_inst *in = parse(
        "<INSTANCE CLASSNAME=\"Msvm_SystemReplicationRelationship\">"
        "<PROPERTY.REFERENCE NAME=\"Antecedent\" REFERENCECLASS=\"Msvm_ComputerSystem\">"
        "<VALUE.REFERENCE><INSTANCEPATH><NAMESPACEPATH><HOST>H</HOST><LOCALNAMESPACEPATH>"
        "<NAMESPACE NAME=\"root\"/><NAMESPACE NAME=\"virtualization\"/><NAMESPACE NAME=\"v2\"/>"
        "</LOCALNAMESPACEPATH></NAMESPACEPATH><INSTANCENAME CLASSNAME=\"Msvm_ComputerSystem\">"
        "<KEYBINDING NAME=\"CreationClassName\"><KEYVALUE VALUETYPE=\"string\">"
        "Msvm_ComputerSystem</KEYVALUE></KEYBINDING><KEYBINDING NAME=\"Name\"><KEYVALUE>AB"
        "</KEYVALUE></KEYBINDING></INSTANCENAME></INSTANCEPATH></VALUE.REFERENCE>"
        "</PROPERTY.REFERENCE>"
        "<PROPERTY.REFERENCE NAME=\"Dependent\"><VALUE.REFERENCE><INSTANCENAME "
        "CLASSNAME=\"Msvm_ReplicationRelationship\"><KEYVALUE>Microsoft:AB\\HVR\\0</KEYVALUE>"
        "</INSTANCENAME></VALUE.REFERENCE></PROPERTY.REFERENCE></INSTANCE>",
        NULL);
    vr_auto(cim_path_free) struct cim_path *rel =
        cim_path_of(CIM_C_MSVM_REPLICATIONRELATIONSHIP, "Microsoft:AB\\HVR\\0");

    assert_true(cim_path_equal(in->props[1].one.ref, rel));
    vr_autofree char *text = cim_path_fmt(in->props[0].one.ref, NULL);
    assert_string_equal(text, "\\\\H\\root\\virtualization\\v2:Msvm_ComputerSystem."
                              "CreationClassName=\"Msvm_ComputerSystem\",Name=\"AB\"");
    /* what we write reads back */
    vr_autofree char *xml = NULL;
    assert_int_equal(cim_xml_text(in, "OTHER", &xml, NULL), 0);
    vr_auto(cim_inst_free) struct cim_inst *back = parse(xml, NULL);
    assert_true(cim_inst_equal(in, back));
}

static void test_refused(void **st)
{
#define I(props) "<INSTANCE CLASSNAME=\"" FRSD "\">" props "</INSTANCE>"
    refuse("", FRSD, VR_E_INVAL);
    refuse("instance of Msvm_X {}", FRSD, VR_E_INVAL);
    refuse("<INSTANCE CLASSNAME=\"" FRSD "\">", FRSD, VR_E_INVAL);
    refuse("<CIM/>", FRSD, VR_E_INVAL);
    refuse("<INSTANCE/>", FRSD, VR_E_TYPE);
    refuse("<INSTANCE CLASSNAME=\"Msvm_Unknown\"/>", FRSD, VR_E_TYPE);
    refuse("<INSTANCE CLASSNAME=\"Msvm_ComputerSystem\"/>", FRSD, VR_E_TYPE);
    refuse(I("<PROPERTY NAME=\"RecoveryHistory\"><VALUE>many</VALUE></PROPERTY>"), FRSD,
           VR_E_INVAL);
    refuse(I("<PROPERTY NAME=\"RecoveryHistory\"><VALUE>65536</VALUE></PROPERTY>"), FRSD,
           VR_E_INVAL);
    refuse(I("<PROPERTY NAME=\"RecoveryHistory\"><VALUE>1</VALUE><VALUE>2</VALUE></PROPERTY>"),
           FRSD, VR_E_INVAL);
    refuse(I("<PROPERTY NAME=\"Caption\"/><PROPERTY NAME=\"caption\"/>"), FRSD, VR_E_INVAL);
    refuse(I("<PROPERTY.ARRAY NAME=\"Caption\"><VALUE.ARRAY><VALUE>x</VALUE></VALUE.ARRAY>"
             "</PROPERTY.ARRAY>"),
           FRSD, VR_E_INVAL);
    refuse("<!DOCTYPE a [<!ENTITY b \"c\">]>" I(""), FRSD, VR_E_INVAL);
}

/* The MI client writes a NULL array that it took for one element as an array of one NULL. */
static void test_null_array(void **st)
{
#define ARRAY(name, type, v)                                                               \
    "<PROPERTY.ARRAY NAME=\"" name "\" TYPE=\"" type "\"><VALUE.ARRAY>" v "</VALUE.ARRAY>" \
    "</PROPERTY.ARRAY>"
#define R(n) CIM_P_MSVM_REPLICATIONRELATIONSHIP_##n
    vr_auto(cim_inst_free) struct cim_inst *in =
        parse("<INSTANCE CLASSNAME=\"Msvm_ReplicationRelationship\">" ARRAY(
                  "OperationalStatus", "uint16", "<VALUE.NULL/>")
                  ARRAY("StatusDescriptions", "string", "<VALUE.NULL/>") "</INSTANCE>",
              NULL);
    vr_auto(cim_inst_free) struct cim_inst *mixed =
        parse(I(ARRAY("Notes", "string", "<VALUE>a</VALUE><VALUE.NULL/>")
                    ARRAY("IncludedDisks", "string", "<VALUE.NULL/>")),
              FRSD);

    assert_true(cim_inst_is_seen(in, R(OPERATIONALSTATUS)));
    assert_true(cim_inst_value(in, R(OPERATIONALSTATUS))->is_null);
    assert_true(cim_inst_value(in, R(STATUSDESCRIPTIONS))->is_null);
    assert_true(cim_inst_value(mixed, P(INCLUDEDDISKS))->is_null);
    assert_int_equal(cim_inst_value(mixed, P(NOTES))->n, 2);
    assert_null(cim_value_at(cim_inst_value(mixed, P(NOTES)), 1)->str);
    /* between numbers it says nothing that could be kept */
    refuse("<INSTANCE CLASSNAME=\"Msvm_ReplicationRelationship\">" ARRAY(
               "OperationalStatus", "uint16", "<VALUE>2</VALUE><VALUE.NULL/>") "</INSTANCE>",
           NULL, VR_E_INVAL);
#undef R
#undef ARRAY
}

/* Who looks at some properties only does not mind what stands in others. */
static void test_unread(void **st)
{
    static const int used[] = { P(INSTANCEID), P(REPLICATIONINTERVAL) };
    static const char good[] =
        I("<PROPERTY NAME=\"InstanceID\" TYPE=\"string\"><VALUE>a</VALUE></PROPERTY>"
          "<PROPERTY NAME=\"CreationTime\" TYPE=\"datetime\"><VALUE>yesterday</VALUE></PROPERTY>"
          "<PROPERTY NAME=\"RecoveryHistory\" TYPE=\"uint16\"><VALUE>70000</VALUE></PROPERTY>"
          "<PROPERTY.ARRAY NAME=\"ElementName\" TYPE=\"string\"><VALUE.ARRAY><VALUE>x</VALUE>"
          "</VALUE.ARRAY></PROPERTY.ARRAY>"
          "<PROPERTY NAME=\"ReplicationInterval\" TYPE=\"uint16\"><VALUE>30</VALUE></PROPERTY>");
    static const char bad[] =
        I("<PROPERTY NAME=\"ReplicationInterval\" TYPE=\"uint16\"><VALUE>x</VALUE></PROPERTY>");
    const struct cim_class *c = cim_class_find(FRSD);
    struct cim_inst *in = NULL, *no = NULL;
    struct vr_err err = VR_ERR_INIT;

    refuse(good, FRSD, VR_E_INVAL);
    assert_int_equal(cim_xml_parse_used(good, c, used, VR_ARRAY_LEN(used), &in, &err), 0);
    assert_int_equal(err.kind, VR_OK);
    assert_string_equal(cim_inst_str(in, P(INSTANCEID)), "a");
    assert_int_equal(cim_inst_uint(in, P(REPLICATIONINTERVAL), 0), 30);
    assert_false(cim_inst_is_seen(in, P(CREATIONTIME)));
    assert_true(cim_inst_value(in, P(CREATIONTIME))->is_null);
    assert_true(cim_inst_value(in, P(RECOVERYHISTORY))->is_null);
    assert_true(cim_inst_value(in, P(ELEMENTNAME))->is_null);
    cim_inst_free(in);
    assert_int_equal(cim_xml_parse_used(bad, c, used, VR_ARRAY_LEN(used), &no, &err), -1);
    assert_int_equal(err.kind, VR_E_INVAL);
    assert_non_null(strstr(err.msg, "ReplicationInterval"));
}

/* What the type holds is not what may be set: the limits are told, whatever does not fit. */
static void test_limits(void **st)
{
    static const struct {
        const char *xml, *says;
    } rows[] = {
        { I("<PROPERTY NAME=\"replicationinterval\" TYPE=\"uint16\"><VALUE>99999</VALUE>"
            "</PROPERTY>"),
          "property ReplicationInterval: must be 5 to 3600 seconds, not \"99999\"" },
        { I("<PROPERTY NAME=\"RecoveryHistory\" TYPE=\"uint16\"><VALUE>-1</VALUE></PROPERTY>"),
          "property RecoveryHistory: must be 0 to 24, not \"-1\"" },
        { I("<PROPERTY NAME=\"ApplicationConsistentSnapshotInterval\" TYPE=\"uint16\"><VALUE>x"
            "</VALUE></PROPERTY>"),
          "must be 0 to 12 hours, not \"x\"" },
        { I("<PROPERTY NAME=\"AuthenticationType\" TYPE=\"uint16\"><VALUE>70000</VALUE>"
            "</PROPERTY>"),
          "\"70000\" is no uint16 (0 to 65535)" },
    };
    for (size_t i = 0; i < VR_ARRAY_LEN(rows); i++) {
        struct cim_inst *in = NULL;
        struct vr_err err = VR_ERR_INIT;
        assert_int_equal(cim_xml_parse(rows[i].xml, cim_class_find(FRSD), &in, &err), -1);
        if (!strstr(err.msg, rows[i].says))
            fail_msg("%s", err.msg);
    }
}

static void test_written(void **st)
{
    struct vr_err err = VR_ERR_INIT;
    vr_auto(cim_inst_free) struct cim_inst *in = cim_inst_new(CIM_C_MSVM_REPLICATIONSTATISTICS);
    vr_autofree char *xml = NULL;

    cim_inst_set_time(in, CIM_P_MSVM_REPLICATIONSTATISTICS_STARTSTATISTICTIME,
                      (struct wall_us){ 1714543200000000 });
    cim_inst_set_uint(in, CIM_P_MSVM_REPLICATIONSTATISTICS_REPLICATIONSIZE, 1048576);
    cim_inst_set_str(in, CIM_P_MSVM_REPLICATIONSTATISTICS_CAPTION, "a<b&\"c\"");
    assert_int_equal(cim_xml_text(in, NULL, &xml, &err), 0);
    assert_non_null(strstr(xml, "<INSTANCE CLASSNAME=\"Msvm_ReplicationStatistics\">"));
    assert_non_null(strstr(xml, "<PROPERTY NAME=\"StartStatisticTime\" TYPE=\"datetime\"><VALUE>"
                                "20240501060000.000000+000</VALUE></PROPERTY>"));
    assert_non_null(strstr(xml, "<PROPERTY NAME=\"ReplicationSize\" TYPE=\"uint64\"><VALUE>1048576"
                                "</VALUE></PROPERTY>"));
    assert_null(strstr(xml, "QUALIFIER"));
    assert_null(strstr(xml, "CLASSORIGIN"));
    vr_auto(cim_inst_free) struct cim_inst *back = parse(xml, "Msvm_ReplicationStatistics");
    assert_true(cim_inst_equal(in, back));
}

/* Every class, with something in every property, survives being written and read. */
static void test_round_trip_all(void **st)
{
    for (size_t i = 0; i < CIM_CLASS_COUNT; i++) {
        vr_auto(cim_inst_free) struct cim_inst *in = cim_inst_new(i);
        vr_autofree char *xml = NULL;
        for (size_t k = 0; k < in->cls->n_props; k++) {
            struct cim_value *v = &in->props[k];
            cim_value_clear(v);
            for (int n = 0; n < (v->is_array ? 3 : 1); n++) {
                if (v->type == CIM_INSTANCE)
                    cim_value_put_inst(
                        v, cim_inst_new_of(cim_class_find(in->cls->props[k].ref_class)));
                else
                    assert_int_equal(
                        cim_value_put_text(v,
                                           v->type == CIM_DATETIME    ? "20240501060000.000000+060"
                                           : v->type == CIM_REFERENCE ? "Msvm_ConcreteJob=\"j\""
                                           : v->type == CIM_BOOLEAN   ? "true"
                                                                      : "7",
                                           NULL),
                        0);
            }
        }
        assert_int_equal(cim_xml_text(in, "H", &xml, NULL), 0);
        vr_auto(cim_inst_free) struct cim_inst *back = parse(xml, in->cls->name);
        assert_true(cim_inst_equal(in, back));
    }
}

static char *class_text(const char *name, struct cim_xml_class_opts o)
{
    struct vr_buf b = VR_BUF_INIT;
    struct vr_xmlw w;
    struct vr_err err = VR_ERR_INIT;

    vr_xmlw_init(&w, &b);
    cim_xml_write_class(&w, cim_class_find(name), &o);
    if (vr_xmlw_finish(&w, &err) < 0)
        fail_msg("%s: %s", name, err.msg);
    return (char *)b.data;
}

static void test_class_document(void **st)
{
    vr_autofree char *all = class_text(
        "Msvm_ReplicationService",
        (struct cim_xml_class_opts){ .inherited = true, .qualifiers = true, .origin = true });
    vr_autofree char *own = class_text("Msvm_ReplicationService", (struct cim_xml_class_opts){ 0 });

    assert_non_null(strstr(all,
                           "<CLASS NAME=\"Msvm_ReplicationService\" SUPERCLASS=\"CIM_Service\" "
                           "DERIVATION=\"CIM_Service,CIM_EnabledLogicalElement,CIM_LogicalElement,"
                           "CIM_ManagedSystemElement,CIM_ManagedElement\">"));
    assert_non_null(strstr(all, "<PARAMETER.REFERENCE NAME=\"ComputerSystem\" "
                                "REFERENCECLASS=\"CIM_ComputerSystem\"><QUALIFIER NAME=\"In\" "
                                "TYPE=\"boolean\"><VALUE>true</VALUE></QUALIFIER>"));
    assert_non_null(
        strstr(all, "<PARAMETER.ARRAY NAME=\"ReplicationStatistics\" TYPE=\"string\">"));
    assert_non_null(strstr(all, "CLASSORIGIN=\"CIM_ManagedElement\" PROPAGATED=\"true\""));
    assert_null(strstr(own, "QUALIFIER"));
    assert_null(strstr(own, "TimeOfLastStateChange"));
    for (size_t i = 0; i < CIM_CLASS_COUNT; i++) {
        vr_autofree char *text = class_text(
            cim_classes[i].name,
            (struct cim_xml_class_opts){ .inherited = true, .qualifiers = true, .origin = true });
        struct vr_xml_doc *doc = NULL;
        assert_int_equal(vr_xml_parse(text, strlen(text), NULL, &doc, NULL), 0);
        assert_true(vr_xml_is(vr_xml_root(doc), "", "CLASS"));
        vr_xml_doc_free(doc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dtd20),          cmocka_unit_test(test_wmi_dtd),
        cmocka_unit_test(test_with_class),     cmocka_unit_test(test_reference),
        cmocka_unit_test(test_refused),        cmocka_unit_test(test_written),
        cmocka_unit_test(test_round_trip_all), cmocka_unit_test(test_class_document),
        cmocka_unit_test(test_null_array),     cmocka_unit_test(test_unread),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
