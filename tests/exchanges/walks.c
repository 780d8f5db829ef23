/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "walks.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "situations.h"
#include "wire.h"

#define CIMBINDING "http://schemas.dmtf.org/wbem/wsman/1/cimbinding"
#define ALL WMI CIM_NS_VIRT "/*"
#define EPR "<w:EnumerationMode>EnumerateEPR</w:EnumerationMode>"
#define HOST_SYSTEM "Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"hosta\""
#define SERVICE_OF(cls, name)                         \
    cls ".CreationClassName=\"" cls "\",Name=\"" name \
        "\",SystemCreationClassName=\"Msvm_ComputerSystem\",SystemName=\"hosta\""
#define REPLICASVC SERVICE_OF("Msvm_ReplicationService", "replicasvc")
#define SETTINGS_OF(guid) "Msvm_VirtualSystemSettingData.InstanceID=\"Microsoft:" guid "\""
#define PORT_OF "Msvm_SyntheticEthernetPortSettingData.InstanceID=\"Microsoft:" WEB "\\\\" NIC "\""
#define DRIVE_OF "Msvm_ResourceAllocationSettingData.InstanceID=\"Microsoft:" WEB "\\\\vda\\\\D\""

/* ---- superclasses ---- */
static const struct {
    const char *cls, *title, *how;
} supers[] = {
    { "CIM_Service", "Enumerate CIM_Service", "" },
    { "CIM_Service", "Enumerate CIM_Service, base properties only",
      "<b:PolymorphismMode>ExcludeSubClassProperties</b:PolymorphismMode>" },
    { "CIM_Service", "Enumerate CIM_Service, of this class only",
      "<b:PolymorphismMode>None</b:PolymorphismMode>" },
    { "CIM_ConcreteJob", "Enumerate CIM_ConcreteJob", "" },
    { "CIM_Job", "Enumerate CIM_Job, references", EPR },
    { "CIM_SettingData", "Enumerate CIM_SettingData, references", EPR },
    { "CIM_Dependency", "Enumerate CIM_Dependency, references", EPR },
    { "CIM_ManagedElement", "Enumerate CIM_ManagedElement, references", EPR },
};

static void superclasses(struct vr_buf *out)
{
    struct wire x;

    wire_begin(&x, out, make_rich);
    for (size_t i = 0; i < VR_ARRAY_LEN(supers); i++) {
        vr_autofree char *uri = vr_printf(WMI CIM_NS_VIRT "/%s", supers[i].cls);
        vr_autofree char *body =
            vr_printf("<n:Enumerate xmlns:b=\"" CIMBINDING ".xsd\"><w:OptimizeEnumeration/>"
                      "<w:MaxElements>1000</w:MaxElements>%s</n:Enumerate>",
                      supers[i].how);
        vr_autofree char *request = wire_envelope(uri, ENUMERATE, NULL, "", body);
        assert_int_equal(wire_exchange(&x, supers[i].title, request, NULL), 200);
    }
    wire_end(&x);
}

/* ---- associations ---- */
/* Every association of the interface with its two ends; what one is found from leads to the other.
 * src:[contract.md A.16] */
static const struct {
    const char *assoc;
    void (*situation)(struct world *w);
    const char *from, *result, *back;
} pairs[] = {
    { "Msvm_HostedService", make_rich, HOST_SYSTEM, "Msvm_ReplicationService", REPLICASVC },
    { "Msvm_HostedDependency", make_rich, HOST_SYSTEM, "Msvm_ComputerSystem", VM(WEB) },
    { "Msvm_ServiceAffectsElement", make_rich, VM(WEB), "Msvm_ReplicationService", REPLICASVC },
    { "Msvm_ElementSettingData", make_rich, VM(WEB), "Msvm_ReplicationSettingData",
      FRSD_PATH(WEB, "0") },
    { "Msvm_ElementSettingData", make_rich, REPLICASVC, "Msvm_ReplicationServiceSettingData",
      "Msvm_ReplicationServiceSettingData.InstanceID=\"Microsoft:hosta\\\\HVRServiceSettings\"" },
    { "Msvm_ElementSettingData", make_rich, REPLICASVC, "Msvm_ReplicationAuthorizationSettingData",
      "Msvm_ReplicationAuthorizationSettingData.InstanceID="
      "\"Microsoft:hosta\\\\HVRAuthorization\\\\*\"" },
    { "Msvm_SettingsDefineState", make_rich, REL_PATH(WEB, "0"), "Msvm_ReplicationSettingData",
      FRSD_PATH(WEB, "0") },
    { "Msvm_SettingsDefineState", make_rich, VM(WEB), "Msvm_VirtualSystemSettingData",
      SETTINGS_OF(WEB) },
    { "Msvm_SystemReplicationRelationship", make_rich, VM(WEB), "Msvm_ReplicationRelationship",
      REL_PATH(WEB, "0") },
    { "Msvm_ReplicaSystemDependency", make_rich, VM(WEB), "Msvm_ComputerSystem", VM(TEST_VM) },
    { "Msvm_SnapshotOfVirtualSystem", make_rich, VM(WEB), "Msvm_VirtualSystemSettingData",
      ARG_POINT },
    { "Msvm_LastAppliedSnapshot", make_failed_over, VM(WEB), "Msvm_VirtualSystemSettingData",
      NULL },
    { "Msvm_MostCurrentSnapshotInBranch", make_failed_over, VM(WEB),
      "Msvm_VirtualSystemSettingData", NULL },
    { "Msvm_ParentChildSettingData", make_rich, ARG_POINT, "Msvm_VirtualSystemSettingData", NULL },
    { "Msvm_VirtualSystemSettingDataComponent", make_rich, SETTINGS_OF(WEB),
      "CIM_ResourceAllocationSettingData", DISK(WEB, "vda") },
    { "Msvm_VirtualSystemSettingDataComponent", make_rich, ARG_POINT,
      "Msvm_StorageAllocationSettingData", NULL },
    { "Msvm_ResourceDependentOnResource", make_rich, DRIVE_OF, "Msvm_StorageAllocationSettingData",
      DISK(WEB, "vda") },
    { "Msvm_EthernetPortFailoverSettingDataComponent", make_rich, PORT_OF,
      "Msvm_FailoverNetworkAdapterSettingData", NIC_AFTER },
    { "Msvm_AffectedJobElement", make_copying, VM(WEB), "Msvm_ConcreteJob", ARG_SENDING },
    { "Msvm_OwningJobElement", make_copying, REPLICASVC, "Msvm_ConcreteJob", ARG_SENDING },
    { "Msvm_ComputerSystemSummaryInformation", make_rich, VM(WEB), "Msvm_SummaryInformation",
      "Msvm_SummaryInformation.InstanceID=\"Microsoft:" WEB "\"" },
};

/* One query; what is found is there. */
static void ask_for(const struct wire *x, const char *title, const char *filter)
{
    vr_autofree char *body = vr_printf("<n:Enumerate><w:OptimizeEnumeration/>"
                                       "<w:MaxElements>1000</w:MaxElements>" EPR "%s</n:Enumerate>",
                                       filter);
    vr_autofree char *request = wire_envelope(ALL, ENUMERATE, NULL, "", body);
    vr_autofree char *reply = NULL;

    assert_int_equal(wire_exchange(x, title, request, &reply), 200);
    if (!strstr(reply, "<a:EndpointReference>"))
        fail_msg("%s: nothing is found", title);
}

/* As WQL; @what: ASSOCIATORS or REFERENCES. */
static void by_wql(const struct wire *x, const char *what, const char *path, const char *assoc,
                   const char *result)
{
    vr_autobuf struct vr_buf filter = VR_BUF_INIT;
    vr_autofree char *query =
        result
            ? vr_printf("%s OF {%s} WHERE AssocClass=%s ResultClass=%s", what, path, assoc, result)
            : vr_printf("%s OF {%s} WHERE ResultClass=%s", what, path, assoc);
    vr_autofree char *title =
        vr_printf("%s over %s%s%s", what, assoc, result ? " to " : "", result ? result : "");

    vr_buf_printf(&filter, NULL,
                  "<w:Filter Dialect=\"http://schemas.microsoft.com/wbem/wsman/1/"
                  "WQL\">");
    wire_escape(&filter, query);
    vr_buf_printf(&filter, NULL, "</w:Filter>");
    ask_for(x, title, (char *)filter.data);
}

/* As the dialect of associations. */
static void by_filter(const struct wire *x, const char *path, const char *assoc, const char *result)
{
    vr_autobuf struct vr_buf filter = VR_BUF_INIT;
    vr_autofree char *title = vr_printf("AssociatedInstances over %s to %s", assoc, result);
    vr_auto(cim_path_free) struct cim_path *p = wire_path(path);

    vr_buf_printf(&filter, NULL,
                  "<w:Filter Dialect=\"" CIMBINDING "/associationFilter\">"
                  "<b:AssociatedInstances xmlns:b=\"" CIMBINDING ".xsd\"><b:Object>");
    wire_reference(&filter, p);
    vr_buf_printf(&filter, NULL,
                  "</b:Object><b:AssociationClassName>%s</b:AssociationClassName>"
                  "<b:ResultClassName>%s</b:ResultClassName></b:AssociatedInstances></w:Filter>",
                  assoc, result);
    ask_for(x, title, (char *)filter.data);
}

static void associations(struct vr_buf *out)
{
    for (size_t i = 0; i < VR_ARRAY_LEN(pairs); i++) {
        struct wire x;
        wire_begin(&x, out, pairs[i].situation);
        vr_autofree char *from = arg_text(x.w, pairs[i].from);
        vr_autofree char *back = pairs[i].back ? arg_text(x.w, pairs[i].back) : NULL;
        vr_auto(cim_path_free) struct cim_path *p = wire_path(from);
        by_wql(&x, "ASSOCIATORS", from, pairs[i].assoc, pairs[i].result);
        by_wql(&x, "REFERENCES", from, pairs[i].assoc, NULL);
        if (back)
            by_filter(&x, back, pairs[i].assoc, p->cls);
        wire_end(&x);
    }
}

/* ---- events ---- */
static void pull(const struct wire *x, const char *title, const char *context)
{
    vr_autofree char *body = vr_printf(
        "<n:Pull><n:EnumerationContext>%s</n:EnumerationContext><n:MaxElements>16</n:MaxElements>"
        "</n:Pull>",
        context);
    vr_autofree char *request = wire_envelope(ALL, PULL, NULL, "", body);

    assert_int_equal(wire_exchange(x, title, request, NULL), 200);
}

static char *subscribe(const struct wire *x, const char *title, const char *query)
{
    static const char begin[] = "<n:EnumerationContext>";
    vr_autobuf struct vr_buf body = VR_BUF_INIT;
    vr_autofree char *reply = NULL;

    vr_buf_printf(&body, NULL,
                  "<e:Subscribe xmlns:e=\"http://schemas.xmlsoap.org/ws/2004/08/eventing\">"
                  "<e:Delivery Mode=\"http://schemas.dmtf.org/wbem/wsman/1/wsman/Pull\"/>"
                  "<w:Filter Dialect=\"http://schemas.microsoft.com/wbem/wsman/1/WQL\">");
    wire_escape(&body, query);
    vr_buf_printf(&body, NULL, "</w:Filter></e:Subscribe>");
    vr_autofree char *request = wire_envelope(ALL, SUBSCRIBE, NULL, "", (char *)body.data);
    assert_int_equal(wire_exchange(x, title, request, &reply), 200);
    const char *at = strstr(reply, begin);
    assert_non_null(at);
    at += strlen(begin);
    return vr_strndup(at, strcspn(at, "<"));
}

/* A machine's replication is paused and resumed. */
static void events(struct vr_buf *out)
{
    struct wire x;

    wire_begin(&x, out, make_replicating);
    vr_autofree char *changes =
        subscribe(&x, "Subscribe to changes of relationships",
                  "SELECT * FROM __InstanceModificationEvent WITHIN 1 WHERE TargetInstance ISA "
                  "'Msvm_ReplicationRelationship'");
    vr_autofree char *jobs = subscribe(&x, "Subscribe to jobs that begin",
                                       "SELECT * FROM CIM_InstCreation WHERE SourceInstance ISA "
                                       "'CIM_ConcreteJob'");
    done(x.w, rq(x.w, "7"));
    pull(&x, "Pull: the relationship, 3 to 7", changes);
    pull(&x, "Pull: the job that paused it", jobs);
    done(x.w, rq(x.w, "3"));
    pull(&x, "Pull: the relationship, 7 to 3, and a cycle", changes);
    wire_end(&x);
}

const struct walk_file walk_files[] = {
    { "superclasses", superclasses },
    { "associations", associations },
    { "events", events },
};
const size_t n_walk_files = VR_ARRAY_LEN(walk_files);
