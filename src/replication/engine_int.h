/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_REPLICATION_ENGINE_INT_H
#define VR_REPLICATION_ENGINE_INT_H

#include "replication/engine.h"

/* Between engine.c and note.c: facts of a relationship that change without an event of the table.
 */

/* engine_rel() - to change it; NULL if there is none. Valid until the next call that changes the
 * engine. */
struct rel *engine_rel(struct engine *e, const struct vr_uuid *machine);
/* engine_write_down() - the relationship was changed: have it written; @before, or NULL: tell the
 * environment, too. */
void engine_write_down(struct engine *e, const struct vr_uuid *machine, const struct rel *before);
/* engine_now() - the environment's wall clock. */
struct wall_us engine_now(const struct engine *e);

#endif
