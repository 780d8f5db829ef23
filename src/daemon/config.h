/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_CONFIG_H
#define VR_DAEMON_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

/* Parameters of the daemon, all in one table: the configuration file, --help and the documentation
 * derive from it. P(name, kind, default, least, most, unit, description)
 * kind: STR, NUM, LIST (may stand several times; the first replaces the default). The name is the
 * key in /etc/vmreplica/vmreplicad.conf. */
#define CONFIG_PARAMS(P)                                                                           \
    P(host_name, STR, "", 0, 0, "", "name of this host as its peers know it; empty: the system's") \
    P(state_dir, STR, "/var/lib/vmreplica", 0, 0, "", "database, certificate and key")             \
    P(run_dir, STR, "/run/vmreplica", 0, 0, "", "sockets and scratch files")                       \
    P(storage, STR, "/var/lib/vmreplica/replicas", 0, 0, "", "where replicas are stored")          \
    P(storage_seconds, NUM, 60, 1, 3600, "s", "a storage silent for so long counts as hung")       \
    P(guard_dir, STR, "/var/lib/vmreplica/guard", 0, 0, "", "marks of machines not to be started") \
    P(libvirt_uri, STR, "qemu:///system", 0, 0, "", "hypervisor connection")                       \
    P(peer_address, STR, "", 0, 0, "", "address to accept peers on; empty: all")                   \
    P(peer_port, NUM, 8443, 1, 65535, "port", "port to accept peers on")                           \
    P(https_address, STR, "", 0, 0, "", "address of the management interface; empty: all")         \
    P(https_port, NUM, 5986, 0, 65535, "port", "HTTPS port of the management interface, 0: none")  \
    P(http_address, STR, "", 0, 0, "", "address of the Kerberos listener; empty: all")             \
    P(http_port, NUM, 5985, 0, 65535, "port",                                                      \
      "HTTP port of the management interface, for Kerberos only; open when the keytab is there")   \
    P(keytab, STR, "/etc/vmreplica/krb5.keytab", 0, 0, "",                                         \
      "keys for Kerberos: HTTP/HOST and WSMAN/HOST to be managed, kerberos_service/HOST for "      \
      "peers")                                                                                     \
    P(kerberos_service, STR, "host", 0, 0, "",                                                     \
      "service in the principals of hosts that replicate by Kerberos, the same on all of them")    \
    P(administrators, LIST, "group:vmreplica", 0, 0, "",                                           \
      "who may do everything: user:NAME, group:NAME, principal:NAME@REALM, principal:*@REALM, "    \
      "principal-group:NAME, certificate:SHA256")                                                  \
    P(operators, LIST, "", 0, 0, "", "who may act on machines that are protected: as above")       \
    P(readers, LIST, "", 0, 0, "", "who may look: as above")                                       \
    P(socket, STR, "/run/vmreplica/wsman.sock", 0, 0, "",                                          \
      "local socket of the management interface")                                                  \
    P(log_level, STR, "info", 0, 0, "", "error, warn, info or debug")                              \
    P(compression_level, NUM, 1, 0, 19, "zstd level", "0: never compress")                         \
    P(bandwidth, NUM, 0, 0, 1000000, "MiB/s", "limit of each transfer, 0: none")                   \
    P(transfers, NUM, 8, 1, 64, "machines", "that are sent from this host at the same time")       \
    P(keep_points, NUM, 64, 2, 64, "points", "most points of every cycle kept, whatever is asked") \
    P(floor_every, NUM, 0, 0, 86400, "s", "no primary makes this host keep less: every cycle")     \
    P(floor_hourly, NUM, 0, 0, 48, "points", "likewise: hourly points")                            \
    P(floor_daily, NUM, 0, 0, 31, "points", "likewise: daily points")                              \
    P(floor_weekly, NUM, 0, 0, 26, "points", "likewise: weekly points")                            \
    P(freeze_seconds, NUM, 10, 1, 60, "s", "most time that a guest's file systems are held")       \
    P(verify_days, NUM, 7, 0, 3650, "days",                                                        \
      "in so many days everything is read and proven once, 0: only when asked for")                \
    P(verify_rate, NUM, 0, 0, 1000000, "MiB/s", "limit of what is read for it, 0: none")           \
    P(test_boot_seconds, NUM, 60, 1, 86400, "s",                                                   \
      "a test machine that runs so long has proven that its point boots")                          \
    P(on_superseded, STR, "leave", 0, 0, "",                                                       \
      "a machine that runs here and was failed over elsewhere: leave, pause or shutdown")          \
    P(keep_orphans, NUM, 2592000, 0, 315360000, "s",                                               \
      "how long what only this host had written is kept after a reversal; 0: until discarded")     \
    P(capture_hook, STR, "", 0, 0, "",                                                             \
      "program run while an instant is held: MACHINE LINEAGE EPOCH TARGET SOCKET EXPORT...")

struct config {
#define CONFIG_STR(name) char name[256];
#define CONFIG_NUM(name) uint32_t name;
#define CONFIG_LIST(name) char name[4096];
#define P(name, kind, def, least, most, unit, text) CONFIG_##kind(name)
    CONFIG_PARAMS(P)
#undef P
};

/* config_load() - defaults, then the file at @path; a missing file is fine when @may_miss.
 * Errors: VR_E_INVAL with file, line and what is allowed; VR_E_NOFILE; VR_E_IO. */
int config_load(const char *path, bool may_miss, struct config *ret, struct vr_err *err);
/* config_print_help() - the table for people. */
void config_print_help(FILE *to);

#endif
