/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_EXPORT_H
#define VR_DAEMON_EXPORT_H

#include "daemon/daemon.h"

/* Recovery points that are open for reading. Control thread. */

/* export_load() - what is written of them. At start, before the store thread begins. Errors: those
 * of the store, VR_E_CORRUPT. */
int export_load(struct daemon *d, struct vr_err *err);
/* export_host() - offer the providers the functions for them, after host_init(). */
void export_host(struct daemon *d);
/* export_recover() - serve again what is open and does not answer, end what is half open. Once at
 * start, when workers run. */
void export_recover(struct daemon *d);

#endif
