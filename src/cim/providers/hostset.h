/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_CIM_PROVIDERS_HOSTSET_H
#define VR_CIM_PROVIDERS_HOSTSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "cim/instance.h"
#include "model/model.h"

/* What is set for the host as a whole, for replicas' origins and for network adapters: small
 * documents, each an embedded instance as text, kept in the store and mirrored here. One thread
 * (control). */

/* Kinds of documents: HD(NAME, kind in the store, class that the text holds; CIM_CLASS_COUNT: plain
 * text) */
#define HOSTSET_KINDS(HD)                                                                     \
    HD(SERVICE, "service", CIM_C_MSVM_REPLICATIONSERVICESETTINGDATA)                          \
    HD(ENTRY, "authorization", CIM_C_MSVM_REPLICATIONAUTHORIZATIONSETTINGDATA)                \
    HD(BINDING, "binding", CIM_CLASS_COUNT) /* id: machine, text: AllowedPrimaryHostSystem */ \
    HD(FAILOVER_NIC, "failover-adapter", CIM_C_MSVM_FAILOVERNETWORKADAPTERSETTINGDATA)        \
    HD(CONNECTION, "adapter-connection", CIM_C_MSVM_ETHERNETPORTALLOCATIONSETTINGDATA)
enum hostset_kind {
#define HD(n, kind, cls) HOSTSET_##n,
    HOSTSET_KINDS(HD)
#undef HD
        HOSTSET_KIND_COUNT
};

/* Id of the one document of kind HOSTSET_SERVICE. In it RecoveryServerEnabled and HttpsPort are
 * NULL as long as nobody has changed them. */
#define HOSTSET_SERVICE_ID "settings"

enum { HOSTSET_ENTRIES_MAX = 256, HOSTSET_DOCS_MAX = 65536 };

struct hostset;
/* hostset_new() - empty. hostset_free() - NULL is fine. */
struct hostset *hostset_new(void);
void hostset_free(struct hostset *hs);
/* hostset_kind_name() - the kind's name in the store. */
const char *hostset_kind_name(enum hostset_kind k);

/* A document; NULL text: it is taken away. */
struct host_doc {
    enum hostset_kind kind;
    const char *id, *text;
};
/* hostset_put_all() - add, replace or take away @n documents: all of them, or none and an error.
 * Ids compare without case. hostset_put() - one. Errors: VR_E_INVAL or VR_E_TYPE text that is not
 * of the kind's class, VR_E_LIMIT. */
int hostset_put_all(struct hostset *hs, const struct host_doc docs[], size_t n, struct vr_err *err);
int hostset_put(struct hostset *hs, enum hostset_kind k, const char *id, const char *text,
                struct vr_err *err);
/* hostset_inst() - the instance of a document, hostset_text() - its text; NULL if there is none;
 * borrowed until the next hostset_put(). hostset_at() - the instance of the i-th document of a
 * kind, NULL past the end. hostset_text_at() - the same for texts, with its id. */
const struct cim_inst *hostset_inst(const struct hostset *hs, enum hostset_kind k, const char *id);
const char *hostset_text(const struct hostset *hs, enum hostset_kind k, const char *id);
const struct cim_inst *hostset_at(const struct hostset *hs, enum hostset_kind k, size_t i);

/* hostset_enabled() - RecoveryServerEnabled: as it was set, else whether a host is paired. */
bool hostset_enabled(const struct hostset *hs, size_t n_peers);
/* hostset_listens() - are peers awaited at all? Not when RecoveryServerEnabled was set to FALSE; a
 * host where nobody has set it must be reachable to be paired. hostset_port() - HttpsPort as it was
 * set, else @configured. */
bool hostset_listens(const struct hostset *hs);
/* hostset_auth() - which ways peers may come in: AllowedAuthenticationType as it was set together
 * with RecoveryServerEnabled; by certificate as long as nobody has set that. hostset_http_port() -
 * HttpPort, where those with Kerberos are awaited. */
enum { HOSTSET_AUTH_KERBEROS = 1, HOSTSET_AUTH_CERT = 2 };
#define HOSTSET_HTTP_PORT 80
unsigned hostset_auth(const struct hostset *hs);
uint16_t hostset_http_port(const struct hostset *hs);
uint16_t hostset_port(const struct hostset *hs, uint16_t configured);
/* hostset_window() - the start of the monitoring window that @now lies in: MonitoringStartTime plus
 * a multiple of MonitoringInterval. src:[contract.md D.2] */
struct wall_us hostset_window(const struct hostset *hs, struct wall_us now);
/* hostset_start_of_day() - the default of MonitoringStartTime: 9:00 local time in UTC, seconds. */
uint32_t hostset_default_start(void);

/* hostset_match() - the entry that a primary's name or address falls under: an exact one, else the
 * longest "*.domain", else "*"; NULL if none. */
const struct cim_inst *hostset_match(const struct hostset *hs, const char *name,
                                     const char *address);
/* hostset_entry_of() - the entry that a replica is bound to, NULL if none or gone. */
const struct cim_inst *hostset_entry_of(const struct hostset *hs, const struct vr_uuid *machine);

/* Who wants to send something here. */
struct hostset_sender {
    const char *name;
    const char *address; /* NULL: only the name counts */
    bool paired;         /* by certificate; else known by Kerberos only */
    bool reverses;       /* this host replicates the machine to it, and it was failed over there */
};

/* What a replica is bound to that was received from nobody: this host was its primary, and the
 * replica's host reversed the direction. The rest of the text is that host's name. */
#define HOSTSET_REVERSED "reversed:"

/* hostset_admit() - may @from send machine @machine (NULL: any) here? Without any entry every
 * paired host may, except for machines whose entry was taken away; one that is not paired needs an
 * entry. The host that the machine was replicated to needs none for this machine, then and later:
 * whoever chose it as the replica let it send the machine back.
 * @n_peers:   number of paired hosts
 * @is_new:    the machine is no replica here yet: what it was bound to does not count
 * @ret_entry: the entry to bind the machine to, NULL: none, for one that reverses the text
 *             HOSTSET_REVERSED and its name; may be NULL
 * Errors: VR_E_UNAVAIL receiving is turned off, VR_E_AUTH. src:[contract.md A.4, B.1] */
int hostset_admit(const struct hostset *hs, size_t n_peers, const struct hostset_sender *from,
                  const struct vr_uuid *machine, bool is_new, const struct cim_inst **ret_entry,
                  struct vr_err *err);

#endif
