/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_CIM_PROVIDERS_TESTWAYS_H
#define VR_CIM_PROVIDERS_TESTWAYS_H

#include "cim/providers/testhost.h"

/* More for tests over the fake host: test machines, arguments as clients make them, and every
 * situation of machine web that the tables of the management interface know. */

#define TEST_VM ODD /* the machine that plays the test machine */

/* with_exports() - the host can open one recovery point of web for reading (EXPORT_ID). */
#define EXPORT_ID "11111111-2222-4333-8444-555555555555"
void with_exports(struct world *w);
void make_exported(struct world *w);
/* with_tests() - the host can make one test machine of web (TEST_VM). */
void with_tests(struct world *w);

/* arg_text() - what an argument stands for; the caller frees. "+path|Prop=Value|...": the embedded
 * instance that is read there with these changes, as a client makes it; "+Class|Prop=Value|...": a
 * new one; "(point)": path of the oldest recovery point of web; "(job)": path of the last call's
 * job; "(sending)": path of the job of web that sends an initial copy; "(later)": an instant in an
 * hour; anything else: itself. */
#define ARG_POINT "(point)"
#define ARG_JOB "(job)"
#define ARG_SENDING "(sending)"
#define ARG_LATER "(later)"
char *arg_text(struct world *w, const char *text);

/* A network adapter of web and its parts. */
#define NIC "564D5245-504C-4943-8000-525400AABB01"
#define NIC_AFTER \
    "Msvm_FailoverNetworkAdapterSettingData.InstanceID=\"Microsoft:Failover\\\\" WEB "\\\\" NIC "\""
#define NIC_CONNECTION \
    "Msvm_EthernetPortAllocationSettingData.InstanceID=\"Microsoft:" WEB "\\\\" NIC "\\\\C\""
/* Embedded instances as arg_text() has them. */
#define ENTRY_OF(host, group, folder)                                                              \
    "Msvm_ReplicationAuthorizationSettingData|AllowedPrimaryHostSystem=" host "|TrustGroup=" group \
    "|ReplicaStorageLocation=" folder
#define FRSD0 "+" FRSD_PATH(WEB, "0")
#define TO_HOSTB                                                                        \
    "|AuthenticationType=2|RecoveryConnectionPoint=hostb|RecoveryServerPortNumber=4433" \
    "|CertificateThumbPrint=" OUR_THUMB

/* ---- situations of web, besides those of testhost.h ---- */
void make_nothing(struct world *w);
void make_kerberos(struct world *w);              /* 0, with keys for Kerberos */
void make_any_server(struct world *w);            /* 0, entry * */
void make_copying(struct world *w);               /* P 2, the copy is under way */
void make_scheduled(struct world *w);             /* P 1, the copy begins later */
void make_copy_paused(struct world *w);           /* P 7, the initial copy is not complete */
void make_paused(struct world *w);                /* P 7 */
void make_prepared(struct world *w);              /* P 4 */
void make_critical(struct world *w);              /* P 8 */
void make_copy_critical(struct world *w);         /* P 8, the initial copy is not complete */
void make_needing_resync(struct world *w);        /* P 9 */
void make_resynchronizing(struct world *w);       /* P 10, the comparison is under way */
void make_resync_paused(struct world *w);         /* P 11 */
void make_creating(struct world *w);              /* P 0, the peer makes the replica */
void make_preparing(struct world *w);             /* P 3, the last changes are being sent */
void make_yielding(struct world *w);              /* P 4, it becomes a replica */
void make_removing(struct world *w);              /* P 0, replication is being ended */
void make_updating(struct world *w);              /* P 15, disk vdb is taken out */
void make_update_critical(struct world *w);       /* P 16 */
void make_replica_updating(struct world *w);      /* R 15 */
void make_replica_paused(struct world *w);        /* R 7 */
void make_replica_critical(struct world *w);      /* R 8, no room for what came in */
void make_replica_resync(struct world *w);        /* R 10, the comparison is received */
void make_replica_resync_paused(struct world *w); /* R 11 */
void make_replica_removing(struct world *w);      /* R 0, it becomes an ordinary machine */
void make_waiting_paused(struct world *w);        /* R 7, nothing was received yet */
void make_failing_over(struct world *w);          /* R 12, the failover is under way */
void make_committed(struct world *w);             /* R 6 */
void make_tested(struct world *w);                /* R 3 with a test machine */
void make_reversing(struct world *w);             /* R 5, the reversal is under way */
/* rq() - RequestReplicationStateChangeEx of web's first relationship. */
uint32_t rq(struct world *w, const char *requested);

#endif
