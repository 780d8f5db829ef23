/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_LISTEN_H
#define VR_DAEMON_LISTEN_H

#include "daemon/daemon.h"

/* The listener of peers follows the settings of the service, also while the daemon runs, and peers
 * are told when it moves. Control thread. src:[contract.md A.2, B.1] */

/* listen_start() - listen as the settings of the store say, which were loaded before; also sets
 * d->host.save_service. Before there is any peer connection. Errors: those of xport_listen(). */
int listen_start(struct daemon *d, struct vr_err *err);

/* listen_announce() - tell the next paired host that does not know yet on which port this one
 * listens. listen_tick() - the same every ten seconds; to be called often. */
void listen_announce(struct daemon *d);
void listen_tick(struct daemon *d);

#endif
