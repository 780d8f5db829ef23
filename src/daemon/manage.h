/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_MANAGE_H
#define VR_DAEMON_MANAGE_H

#include "daemon/daemon.h"

/* The management interface: its listeners, and who is let in. Control thread. */

/* manage_start() - read the table of who may come in, register the classes, open the listeners.
 * Kerberos is left out, with a line in the log, when there is no usable keytab. Errors: those of
 * the configuration and of the listeners. */
int manage_start(struct daemon *d, struct vr_err *err);
/* manage_reload() - read the configuration file again: who may come in follows it, on all
 * connections, when name services have been asked; Kerberos begins when there is a keytab now. The
 * rest of the file counts at the next start. What is wrong is logged, and nothing changes. */
void manage_reload(struct daemon *d);
/* manage_refresh() - look users and groups of the table up anew, on a worker; from time to time. */
void manage_refresh(struct daemon *d);

#endif
