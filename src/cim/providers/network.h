/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_CIM_PROVIDERS_NETWORK_H
#define VR_CIM_PROVIDERS_NETWORK_H

#include "cim/providers/prov.h"

/* Network adapters of machines, for the files that refer to them. Control thread only. */

/* As what an adapter is shown: Msvm_SyntheticEthernetPortSettingData,
 * Msvm_EthernetPortAllocationSettingData, Msvm_FailoverNetworkAdapterSettingData. */
enum nic_form { NIC_PORT, NIC_CONNECTION, NIC_FAILOVER };

/* vm_n_nics() - number of adapters, path_nic() - object path of the i-th; the caller frees. */
size_t vm_n_nics(const struct vm *vm);
struct cim_path *path_nic(const struct vm *vm, size_t i, enum nic_form form);
/* vm_test_networks() - the adapters that have a TestReplicaSwitchName, and it; the others are to be
 * connected to nothing. Returns their number; the caller frees *ret. src:[contract.md A.14] */
size_t vm_test_networks(const struct host_providers *p, const struct vm *vm,
                        struct hv_nic_net **ret);

/* emit_nic_components() - the adapters' part of Msvm_VirtualSystemSettingDataComponent. */
bool emit_nic_components(const struct host_providers *p, const struct vm *vm,
                         struct cim_sink *sink);

/* Methods. */
int svc_set_failover_network(struct call *c, struct vr_err *err);
int vsms_modify_resources(struct call *c, struct vr_err *err);

#endif
