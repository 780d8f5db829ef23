/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_MACHINEDOC_H
#define VR_DAEMON_MACHINEDOC_H

#include "daemon/daemon.h"

/* The document of @kind that the store keeps of @machine, from outside the store's thread. All
 * block: workers and connection threads. Errors: those of store_doc_put() and so on. */

/* machinedoc_put() - replace it by @text. machinedoc_get() - VR_E_NOTFOUND if there is none; the
 * caller frees *@ret. machinedoc_delete() - not there is no error. */
int machinedoc_put(struct daemon *d, const char *kind, const struct vr_uuid *machine,
                   const char *text, struct vr_err *err);
int machinedoc_get(struct daemon *d, const char *kind, const struct vr_uuid *machine, char **ret,
                   struct vr_err *err);
int machinedoc_delete(struct daemon *d, const char *kind, const struct vr_uuid *machine,
                      struct vr_err *err);

#endif
