/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_STORAGE_H
#define VR_DAEMON_STORAGE_H

#include "daemon/daemon.h"

/* Storage locations: the folders below which the replicas' files lie. One that does not answer (a
 * server that is gone, a dead disk) blocks every call to it for ever; it must harm only the
 * machines on it. So each has a thread that touches it from time to time and does nothing else,
 * workers of its own for long reading and merging, and only so many calls at a time. */

/* storage_call() - run fn(arg), which may touch the files of @machine, with the store entered, and
 * wait. One after the other for each machine, in the order in which they came.
 * @err: VR_E_IO with the location and since when, when it does not answer or an earlier call for
 * this machine has not come back: fn was not run then. NULL: never refused, for what must be done
 * to the end. Any thread but control. */
int storage_call(struct daemon *d, const struct vr_uuid *machine, void (*fn)(void *arg), void *arg,
                 struct vr_err *err);
/* storage_files() - likewise, but the store is not entered: for what touches files that it does not
 * know. storage_waiting() - how many wait for a machine's files. Any thread. */
int storage_files(struct daemon *d, const struct vr_uuid *machine, void (*fn)(void *arg), void *arg,
                  struct vr_err *err);
unsigned storage_waiting(const struct vr_uuid *machine);
/* storage_learn() - the files of @machine are kept in @folder, a folder of its own in the location;
 * NULL: it has none. Any thread. storage_watch() - @location is used from now on. Any thread. */
void storage_learn(struct daemon *d, const struct vr_uuid *machine, const char *folder);
void storage_watch(struct daemon *d, const char *location);
/* storage_answers() - false with VR_E_IO when @location is known not to answer. Any thread. */
bool storage_answers(struct daemon *d, const char *location, struct vr_err *err);
/* storage_workers() - for long work on the files of @machine. Control thread. */
struct vr_exec *storage_workers(struct daemon *d, const struct vr_uuid *machine);
/* storage_tick() - relationships learn what does not answer and what answers again. Control. */
void storage_tick(struct daemon *d);

#endif
