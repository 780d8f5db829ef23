/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Network adapters of machines: the adapter, its connection (with the network of test failovers)
 * and the addresses for the time after a failover. The latter two are kept in the host's documents
 * by adapter, that is by MAC address. Control thread only. src:[contract.md A.8, A.14, B.3] */
#include "cim/providers/network.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "cim/cimxml.h"

#define N(n) CIM_P_MSVM_SYNTHETICETHERNETPORTSETTINGDATA_##n
#define C(n) CIM_P_MSVM_ETHERNETPORTALLOCATIONSETTINGDATA_##n
#define F(n) CIM_P_MSVM_FAILOVERNETWORKADAPTERSETTINGDATA_##n

enum { ADDRESSES_MAX = 64, GATEWAYS_MAX = 5 };

/* ---- names ---- */
/* An adapter's identifier: its MAC address in a GUID, so that it is stable and the same on both
 * hosts. */
static char *nic_guid(char out[VR_UUID_STR], const struct hv_nic *nic)
{
    char mac[13];
    size_t n = 0;

    for (const char *c = nic->mac; *c && n < 12; c++)
        if (isxdigit((unsigned char)*c))
            mac[n++] = (char)toupper((unsigned char)*c);
    mac[n] = 0;
    snprintf(out, VR_UUID_STR, "564D5245-504C-4943-8000-%12s", mac);
    for (char *c = out; *c; c++)
        if (*c == ' ')
            *c = '0';
    return out;
}

static const struct {
    enum cim_class_id cls;
    const char *before, *after;
} forms[] = {
    [NIC_PORT] = { CIM_C_MSVM_SYNTHETICETHERNETPORTSETTINGDATA, "Microsoft:", "" },
    [NIC_CONNECTION] = { CIM_C_MSVM_ETHERNETPORTALLOCATIONSETTINGDATA, "Microsoft:", "\\C" },
    [NIC_FAILOVER] = { CIM_C_MSVM_FAILOVERNETWORKADAPTERSETTINGDATA, "Microsoft:Failover\\", "" },
};

static char *nic_id(char out[PROV_ID_MAX], const struct vm *vm, size_t i, enum nic_form form)
{
    char guid[VR_UUID_STR];

    snprintf(out, PROV_ID_MAX, "%s%s\\%s%s", forms[form].before, vm->guid,
             nic_guid(guid, &vm->hv->nics[i]), forms[form].after);
    return out;
}

struct cim_path *path_nic(const struct vm *vm, size_t i, enum nic_form form)
{
    char id[PROV_ID_MAX];

    return cim_path_of(forms[form].cls, nic_id(id, vm, i, form));
}

size_t vm_n_nics(const struct vm *vm)
{
    return vm->hv ? vm->hv->n_nics : 0;
}

/* The adapter of @vm with this identifier; SIZE_MAX if it has none. */
static size_t nic_find(const struct vm *vm, const char *id, enum nic_form form)
{
    char mine[PROV_ID_MAX];

    for (size_t i = 0; i < vm_n_nics(vm); i++)
        if (!strcasecmp(nic_id(mine, vm, i, form), id))
            return i;
    return SIZE_MAX;
}

/* ---- instances ---- */
static bool emit_ports(const struct host_providers *p, const struct vm *vm, struct cim_sink *sink)
{
    for (size_t i = 0; i < vm_n_nics(vm); i++) {
        struct cim_inst *in = cim_inst_new(CIM_C_MSVM_SYNTHETICETHERNETPORTSETTINGDATA);
        char id[PROV_ID_MAX], guid[VR_UUID_STR];
        cim_inst_set_str(in, N(INSTANCEID), nic_id(id, vm, i, NIC_PORT));
        cim_inst_set_str(in, N(ELEMENTNAME), "Network Adapter");
        nic_guid(guid, &vm->hv->nics[i]);
        cim_inst_set_str(in, N(ADDRESS), guid + 24); /* the MAC address without colons */
        cim_inst_set_bool(in, N(STATICMACADDRESS), true);
        cim_inst_add_str(in, N(VIRTUALSYSTEMIDENTIFIERS), guid);
        if (!cim_emit(sink, in))
            return false;
    }
    return true;
}

/* Clients take the name out of the path; there are no instances of that class here. The caller
 * frees. src:[contract.md A.14] */
static char *switch_path(const struct host_providers *p, const char *network)
{
    struct cim_path *path = cim_path_new(CIM_NS_VIRT, "Msvm_VirtualEthernetSwitch");

    if (cim_path_add(path, "CreationClassName", "Msvm_VirtualEthernetSwitch", NULL) < 0 ||
        cim_path_add(path, "Name", network, NULL) < 0) {
        cim_path_free(path);
        return NULL;
    }
    return path_text(p, path);
}

static struct cim_inst *make_connection(const struct host_providers *p, const struct vm *vm,
                                        size_t i)
{
    char id[PROV_ID_MAX];
    const struct cim_inst *kept =
        hostset_inst(p->h->set, HOSTSET_CONNECTION, nic_id(id, vm, i, NIC_CONNECTION));
    struct cim_inst *in = cim_inst_new(CIM_C_MSVM_ETHERNETPORTALLOCATIONSETTINGDATA);
    const char *source = vm->hv->nics[i].source;
    vr_autofree char *parent = path_text(p, path_nic(vm, i, NIC_PORT));

    cim_inst_set_str(in, C(INSTANCEID), id);
    cim_inst_set_str(in, C(ELEMENTNAME), "Dynamic Ethernet Switch Port");
    cim_inst_set_str(in, C(RESOURCESUBTYPE), "Microsoft:Hyper-V:Ethernet Connection");
    cim_inst_set_str(in, C(PARENT), parent);
    cim_inst_set_uint(in, C(ENABLEDSTATE), source ? 2 : 3);
    vr_autofree char *on = source ? switch_path(p, source) : NULL;
    if (on)
        cim_inst_add_str(in, C(HOSTRESOURCE), on);
    cim_inst_set_str(in, C(LASTKNOWNSWITCHNAME), source);
    if (kept) {
        cim_inst_set_str(in, C(TESTREPLICASWITCHNAME),
                         cim_inst_str(kept, C(TESTREPLICASWITCHNAME)));
        cim_inst_set_str(in, C(TESTREPLICAPOOLID), cim_inst_str(kept, C(TESTREPLICAPOOLID)));
    }
    return in;
}

static bool emit_connections(const struct host_providers *p, const struct vm *vm,
                             struct cim_sink *sink)
{
    for (size_t i = 0; i < vm_n_nics(vm); i++)
        if (!cim_emit(sink, make_connection(p, vm, i)))
            return false;
    return true;
}

/* One instance per adapter, also when nothing was set. */
static bool emit_failover(const struct host_providers *p, const struct vm *vm,
                          struct cim_sink *sink)
{
    static const int lists[] = { F(IPADDRESSES), F(SUBNETS), F(DEFAULTGATEWAYS), F(DNSSERVERS) };

    for (size_t i = 0; i < vm_n_nics(vm); i++) {
        char id[PROV_ID_MAX];
        const struct cim_inst *kept =
            hostset_inst(p->h->set, HOSTSET_FAILOVER_NIC, nic_id(id, vm, i, NIC_FAILOVER));
        struct cim_inst *in =
            kept ? cim_inst_dup(kept) : cim_inst_new(CIM_C_MSVM_FAILOVERNETWORKADAPTERSETTINGDATA);
        cim_inst_set_str(in, F(INSTANCEID), id);
        if (!kept) {
            cim_inst_set_uint(in, F(PROTOCOLIFTYPE), 0);
            cim_inst_set_bool(in, F(DHCPENABLED), true);
            for (size_t k = 0; k < VR_ARRAY_LEN(lists); k++)
                cim_inst_set_strv(in, lists[k], NULL, 0);
        }
        if (!cim_emit(sink, in))
            return false;
    }
    return true;
}

size_t vm_test_networks(const struct host_providers *p, const struct vm *vm,
                        struct hv_nic_net **ret)
{
    struct hv_nic_net *nets = vr_new0(vm_n_nics(vm) + 1, sizeof *nets);
    char id[PROV_ID_MAX];
    size_t n = 0;

    for (size_t i = 0; i < vm_n_nics(vm); i++) {
        const struct cim_inst *kept =
            hostset_inst(p->h->set, HOSTSET_CONNECTION, nic_id(id, vm, i, NIC_CONNECTION));
        const char *name = kept ? cim_inst_str(kept, C(TESTREPLICASWITCHNAME)) : NULL;
        if (!name || !*name)
            continue;
        snprintf(nets[n].mac, sizeof nets[n].mac, "%s", vm->hv->nics[i].mac);
        snprintf(nets[n++].network, VR_NAME_MAX, "%s", name);
    }
    *ret = nets;
    return n;
}

/* ---- SetFailoverNetworkAdapterSettings ---- */
static int family(const char *s)
{
    unsigned char addr[16];

    if (s && inet_pton(AF_INET, s, addr) == 1)
        return AF_INET;
    return s && inet_pton(AF_INET6, s, addr) == 1 ? AF_INET6 : 0;
}

/* A mask for IPv4, the length of a prefix for IPv6. */
static bool good_subnet(const char *s, int of)
{
    struct in_addr mask;
    char *end;

    if (!s || !*s)
        return false;
    if (of == AF_INET) {
        if (inet_pton(AF_INET, s, &mask) != 1)
            return false;
        uint32_t host = ~ntohl(mask.s_addr);
        return (host & (host + 1)) == 0;
    }
    unsigned long n = strtoul(s, &end, 10);
    return isdigit((unsigned char)*s) && !*end && n <= 128;
}

static int check_list(const struct cim_inst *in, int prop, size_t max, struct vr_err *err)
{
    const struct cim_value *v = cim_inst_value(in, prop);
    const char *name = in->cls->props[prop].name;

    if (v->n > max)
        return vr_fail(err, VR_E_INVAL, 0, "%s has more than %zu elements", name, max);
    for (size_t i = 0; i < v->n; i++)
        if (!family(v->many[i].str))
            return vr_fail(err, VR_E_INVAL, 0, "%s: \"%.60s\" is no IP address", name,
                           v->many[i].str ? v->many[i].str : "");
    return 0;
}

static int check_addresses(const struct cim_inst *in, struct vr_err *err)
{
    const struct cim_value *ip = cim_inst_value(in, F(IPADDRESSES));
    const struct cim_value *net = cim_inst_value(in, F(SUBNETS));
    uint64_t type = cim_inst_uint(in, F(PROTOCOLIFTYPE), 0);

    /* Both are required, but when everything is taken back (type 0) there are no addresses. */
    if (cim_inst_value(in, F(DHCPENABLED))->is_null || (ip->is_null && type))
        return vr_fail(err, VR_E_INVAL, 0, "IPAddresses and DHCPEnabled must be given");
    if (type > 1 && (type < 4096 || type > 4098))
        return vr_fail(err, VR_E_INVAL, 0, "ProtocolIFType must be 0, 1, 4096, 4097 or 4098");
    if (check_list(in, F(IPADDRESSES), ADDRESSES_MAX, err) < 0 ||
        check_list(in, F(DEFAULTGATEWAYS), GATEWAYS_MAX, err) < 0 ||
        check_list(in, F(DNSSERVERS), ADDRESSES_MAX, err) < 0)
        return -1;
    if (net->n != ip->n)
        return vr_fail(err, VR_E_INVAL, 0, "Subnets must have an element for each of IPAddresses");
    for (size_t i = 0; i < ip->n; i++) {
        int f = family(ip->many[i].str);
        if (!good_subnet(net->many[i].str, f))
            return vr_fail(err, VR_E_INVAL, 0, "Subnets: \"%.60s\" does not suit the address %s",
                           net->many[i].str ? net->many[i].str : "", ip->many[i].str);
        if ((type == 4096 && f != AF_INET) || (type == 4097 && f != AF_INET6))
            return vr_fail(err, VR_E_INVAL, 0, "IPAddresses: %s is not of ProtocolIFType",
                           ip->many[i].str);
    }
    return 0;
}

static int parse_failover(struct call *c, const struct vm *vm, const char *text,
                          struct cim_inst **ret, struct vr_err *err)
{
    static const int used[] = { F(INSTANCEID), F(PROTOCOLIFTYPE),  F(DHCPENABLED), F(IPADDRESSES),
                                F(SUBNETS),    F(DEFAULTGATEWAYS), F(DNSSERVERS) };
    const struct cim_class *cls = cim_class_get(CIM_C_MSVM_FAILOVERNETWORKADAPTERSETTINGDATA);
    vr_auto(cim_inst_free) struct cim_inst *in = NULL;

    if (!text || call_instance(c, text, cls, used, VR_ARRAY_LEN(used), &in, err) < 0)
        return text ? vr_err_wrap(err, "NetworkSettings")
                    : vr_fail(err, VR_E_INVAL, 0, "NetworkSettings has an empty element");
    const char *id = cim_inst_str(in, F(INSTANCEID));
    if (!id || nic_find(vm, id, NIC_FAILOVER) == SIZE_MAX)
        return vr_fail(err, VR_E_INVAL, 0,
                       "InstanceID \"%.100s\" is that of no network adapter of machine %s",
                       id ? id : "", vm->name);
    if (check_addresses(in, err) < 0)
        return -1;
    *ret = vr_take(in);
    return 0;
}

/* Whoever sets addresses must not believe that the guest gets them. */
static void warn(struct call *c, struct cim_inst *const in[], size_t n)
{
    const struct cim_path *job = cim_args_ref(c->args, "Job");
    const char *text = job ? cim_path_key(job, "InstanceID") : NULL;
    struct vr_uuid id;
    bool any = false;

    for (size_t i = 0; i < n; i++)
        any = any || cim_inst_value(in[i], F(IPADDRESSES))->n;
    if (any && text && vr_uuid_parse(text, &id, NULL) == 0)
        engine_job_warn(
            c->p->h->engine, &id,
            "The addresses are kept and shown, but the guest is not given them after a "
            "failover: QEMU's guest agent has no command that sets addresses. Use DHCP (the MAC "
            "address stays the same), or set them in the guest");
}

static void free_all(struct cim_inst **v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        cim_inst_free(v[i]);
    free(v);
}

int svc_set_failover_network(struct call *c, struct vr_err *err)
{
    const struct cim_value *v = cim_args_at(c->args, "NetworkSettings");
    struct vm vm;

    if (call_vm(c, &vm, err) < 0)
        return -1;
    if (v->is_null || !v->n)
        return vr_fail(err, VR_E_INVAL, 0, "NetworkSettings must be given");
    if (rel_mode(vm.rel) == REL_MODE_NONE)
        return vr_fail(err, VR_E_STATE, 0, "machine %s is not replicated", vm.name);
    if (v->n > vm_n_nics(&vm))
        return vr_fail(err, VR_E_INVAL, 0,
                       "NetworkSettings has %zu elements, machine %s %zu adapters", v->n, vm.name,
                       vm_n_nics(&vm));
    /* All are checked before the first is kept, and one job keeps them all. */
    struct cim_inst **in = vr_new0(v->n, sizeof *in);
    int rc = 0;
    for (size_t i = 0; i < v->n && rc == 0; i++)
        rc = parse_failover(c, &vm, v->many[i].str, &in[i], err);
    if (rc == 0)
        rc = call_save_insts(c, HOSTSET_FAILOVER_NIC, in, v->n, &vm.uuid, err);
    if (rc == 0)
        warn(c, in, v->n);
    free_all(in, v->n);
    return rc;
}

/* ---- Msvm_VirtualSystemManagementService.ModifyResourceSettings ---- */
static int parse_connection(struct call *c, const char *text, struct cim_inst **ret, struct vm *vm,
                            size_t *ret_i, struct vr_err *err)
{
    vr_auto(cim_inst_free) struct cim_inst *in = NULL;
    const struct cim_class *want = cim_class_get(CIM_C_MSVM_ETHERNETPORTALLOCATIONSETTINGDATA);
    static const int used[] = { C(INSTANCEID), C(TESTREPLICASWITCHNAME), C(TESTREPLICAPOOLID) };

    if (!text || call_instance(c, text, NULL, used, VR_ARRAY_LEN(used), &in, err) < 0)
        return text ? vr_err_wrap(err, "ResourceSettings")
                    : vr_fail(err, VR_E_INVAL, 0, "ResourceSettings has an empty element");
    if (in->cls != want)
        return vr_fail(err, VR_E_UNSUPPORTED, 0,
                       "a %s is changed with libvirt's tools; here only the network of test "
                       "failovers (TestReplicaSwitchName)",
                       in->cls->name);
    const char *id = cim_inst_str(in, C(INSTANCEID));
    for (size_t i = 0; id && vm_next(c->p, &i, vm);) {
        *ret_i = nic_find(vm, id, NIC_CONNECTION);
        if (*ret_i != SIZE_MAX) {
            *ret = vr_take(in);
            return 0;
        }
    }
    return vr_fail(err, VR_E_INVAL, 0,
                   "InstanceID \"%.100s\" is that of no connection of a network adapter",
                   id ? id : "");
}

/* The connection as it is, with what may be set taken from @want; the caller frees. */
static struct cim_inst *new_connection(struct call *c, const struct cim_inst *want,
                                       const struct vm *vm, size_t i)
{
    static const int settable[] = { C(TESTREPLICASWITCHNAME), C(TESTREPLICAPOOLID) };
    struct cim_inst *in = make_connection(c->p, vm, i);
    vr_auto(cim_path_free) struct cim_path *path = path_nic(vm, i, NIC_CONNECTION);

    for (size_t k = 0; k < VR_ARRAY_LEN(settable); k++)
        if (cim_inst_is_seen(want, settable[k]))
            cim_value_copy(cim_inst_value(in, settable[k]), cim_inst_value(want, settable[k]));
    cim_value_put_ref(cim_args_at(c->args, "ResultingResourceSettings"), path);
    return in;
}

int vsms_modify_resources(struct call *c, struct vr_err *err)
{
    const struct cim_value *v = cim_args_at(c->args, "ResourceSettings");

    if (v->is_null || !v->n)
        return vr_fail(err, VR_E_INVAL, 0, "ResourceSettings must be given");
    struct cim_inst **kept = vr_new0(v->n, sizeof *kept);
    struct vr_uuid first = { { 0 } };
    int rc = 0;
    for (size_t k = 0; k < v->n && rc == 0; k++) {
        vr_auto(cim_inst_free) struct cim_inst *in = NULL;
        struct vm vm;
        size_t i = 0;
        rc = parse_connection(c, v->many[k].str, &in, &vm, &i, err);
        if (rc == 0)
            kept[k] = new_connection(c, in, &vm, i);
        if (rc == 0 && !k)
            first = vm.uuid;
    }
    if (rc == 0)
        rc = call_save_insts(c, HOSTSET_CONNECTION, kept, v->n, &first, err);
    free_all(kept, v->n);
    return rc;
}

/* ---- associations ---- */
bool emit_nic_components(const struct host_providers *p, const struct vm *vm, struct cim_sink *sink)
{
    static const enum nic_form parts[] = { NIC_PORT, NIC_CONNECTION };

    for (size_t i = 0; i < vm_n_nics(vm); i++)
        for (size_t k = 0; k < VR_ARRAY_LEN(parts); k++) {
            struct cim_inst *in = cim_inst_new(CIM_C_MSVM_VIRTUALSYSTEMSETTINGDATACOMPONENT);
            vr_auto(cim_path_free) struct cim_path *of = path_vssd(vm);
            vr_auto(cim_path_free) struct cim_path *part = path_nic(vm, i, parts[k]);
            cim_inst_set_ref(in, CIM_P_MSVM_VIRTUALSYSTEMSETTINGDATACOMPONENT_GROUPCOMPONENT, of);
            cim_inst_set_ref(in, CIM_P_MSVM_VIRTUALSYSTEMSETTINGDATACOMPONENT_PARTCOMPONENT, part);
            if (!cim_emit(sink, in))
                return false;
        }
    return true;
}

static bool emit_failover_components(const struct host_providers *p, const struct vm *vm,
                                     struct cim_sink *sink)
{
    for (size_t i = 0; i < vm_n_nics(vm); i++) {
        struct cim_inst *in = cim_inst_new(CIM_C_MSVM_ETHERNETPORTFAILOVERSETTINGDATACOMPONENT);
        vr_auto(cim_path_free) struct cim_path *of = path_nic(vm, i, NIC_PORT);
        vr_auto(cim_path_free) struct cim_path *part = path_nic(vm, i, NIC_FAILOVER);
        cim_inst_set_ref(in, CIM_P_MSVM_ETHERNETPORTFAILOVERSETTINGDATACOMPONENT_GROUPCOMPONENT,
                         of);
        cim_inst_set_ref(in, CIM_P_MSVM_ETHERNETPORTFAILOVERSETTINGDATACOMPONENT_PARTCOMPONENT,
                         part);
        if (!cim_emit(sink, in))
            return false;
    }
    return true;
}

/* ---- registration ---- */
#define SETTINGS(A)                                             \
    A(MSVM_SYNTHETICETHERNETPORTSETTINGDATA, emit_ports)        \
    A(MSVM_ETHERNETPORTALLOCATIONSETTINGDATA, emit_connections) \
    A(MSVM_FAILOVERNETWORKADAPTERSETTINGDATA, emit_failover)
#define CLASSES(A) \
    SETTINGS(A)    \
    A(MSVM_ETHERNETPORTFAILOVERSETTINGDATACOMPONENT, emit_failover_components)

#define A(cls, fn)                                                               \
    static enum cim_status enum_##cls(void *ctx, const struct cim_caller *who,   \
                                      struct cim_sink *sink, struct vr_err *err) \
    {                                                                            \
        return each_vm(ctx, sink, fn);                                           \
    }
CLASSES(A)
#undef A
#define A(cls, fn)                                                                       \
    static enum cim_status get_##cls(void *ctx, const struct cim_caller *who,            \
                                     const struct cim_path *path, struct cim_inst **ret, \
                                     struct vr_err *err)                                 \
    {                                                                                    \
        return get_vm(ctx, path, fn, ret, err);                                          \
    }
SETTINGS(A)
#undef A

static enum cim_status refs_components(void *ctx, const struct cim_caller *who,
                                       const struct cim_path *object, struct cim_sink *sink,
                                       struct vr_err *err)
{
    return refs_vm(ctx, object, sink, emit_failover_components);
}

void prov_register_network(struct cim_server *s, struct host_providers *p)
{
#define A(c, fn)                                \
    cim_server_register(s,                      \
                        &(struct cim_provider){ \
                            .cls = CIM_C_##c, .ctx = p, .enumerate = enum_##c, .get = get_##c });
    SETTINGS(A)
#undef A
    cim_server_register(
        s, &(struct cim_provider){ .cls = CIM_C_MSVM_ETHERNETPORTFAILOVERSETTINGDATACOMPONENT,
                                   .ctx = p,
                                   .enumerate = enum_MSVM_ETHERNETPORTFAILOVERSETTINGDATACOMPONENT,
                                   .references = refs_components });
}
