/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_SLOTS_H
#define VR_DAEMON_SLOTS_H

#include <stdbool.h>

#include "base/uuid.h"

/* Who may send at the same time. An instant is captured only when its transfer can begin at once:
 * while it is held, what the guest overwrites has to be kept aside, and the point gets no younger.
 * Control thread. */
struct slots;

/* What is more urgent goes first; among equals, who asked first. Bulk work cannot take all slots.
 */
enum slot_class {
    SLOT_FINAL, /* the last changes before a planned failover: somebody waits */
    SLOT_CYCLE,
    SLOT_BULK, /* initial copies and comparisons: long */
    SLOT_CLASSES
};

/* slots_new() - @total transfers at a time, of which at most @bulk are bulk work (0: no limit of
 * its own). slots_free() - nobody who waits is told. NULL is fine. */
struct slots *slots_new(unsigned total, unsigned bulk);
void slots_free(struct slots *s);
/* slots_ask() - run fn(arg) as soon as @machine has a slot: now, or from within a slots_release().
 * A machine asks for one at a time. */
void slots_ask(struct slots *s, const struct vr_uuid *machine, enum slot_class c,
               void (*fn)(void *arg), void *arg);
/* slots_release() - give the slot back; nothing happens when @machine has none. */
void slots_release(struct slots *s, const struct vr_uuid *machine);
/* slots_give_up() - wait no longer. Returns: the arg of slots_ask(), which is not run any more;
 * NULL when @machine was not waiting. */
void *slots_give_up(struct slots *s, const struct vr_uuid *machine);
/* slots_waits() - does @machine wait for one? */
bool slots_waits(const struct slots *s, const struct vr_uuid *machine);

#endif
