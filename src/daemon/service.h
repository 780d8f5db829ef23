/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_SERVICE_H
#define VR_DAEMON_SERVICE_H

#include "daemon/daemon.h"

/* service_init() - load the settings of this host that the management interface changes into
 * d->host, before the providers are registered and with the store thread running. Errors: those of
 * the store. Control thread. */
int service_init(struct daemon *d, struct vr_err *err);

/* service_keep() - put a document into the host's set and write it down; @job ends when that is
 * done. */
void service_keep(struct daemon *d, enum hostset_kind kind, const char *id, const char *text,
                  const struct vr_uuid *job);

/* service_admit() - may this paired host send the machine (NULL: any) to us now? Binds it to the
 * authorization entry that admits it. Errors: VR_E_UNAVAIL receiving is turned off, VR_E_AUTH.
 * Control thread. src:[contract.md A.4, B.1]
 * service_test() - the same for a connection test, from a connection thread. */
int service_admit(struct daemon *d, const char *peer, const struct vr_uuid *machine,
                  struct vr_err *err);
int service_test(struct daemon *d, const char *peer, struct vr_err *err);

/* service_folder() - where the disks of a new replica belong: ReplicaStorageLocation of its entry,
 * else the folder of the configuration; its last component is made when it is missing. Any thread
 * but the control thread. @size: at least 512. */
void service_folder(struct daemon *d, const struct vr_uuid *machine, char *out, size_t size);

#endif
