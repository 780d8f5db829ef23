/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_LEFT_H
#define VR_DAEMON_LEFT_H

#include "daemon/daemon.h"

/* What is left of a relationship that was ended on the host that had failed the machine over: the
 * old primary may have been away then, and has to learn all the same that it is superseded. Kept
 * until the machine's next relationship ends here. */

/* left_find() - what is told of @machine, which is not replicated here; NULL: nothing, or it is.
 * Borrowed. Control thread. */
const struct rel_story *left_find(struct daemon *d, const struct vr_uuid *machine);
/* left_load() - at start, before the store thread begins. */
int left_load(struct daemon *d, struct vr_err *err);
/* left_save() - write down what there is to tell of a relationship that is being removed, or that
 * there is nothing. Workers; blocks. Errors: those of the store. */
int left_save(struct daemon *d, const struct rel *r, struct vr_err *err);

#endif
