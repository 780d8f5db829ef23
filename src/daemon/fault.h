/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_FAULT_H
#define VR_DAEMON_FAULT_H

/* Points at which vmreplicad-fault, which is built for tests and never installed, dies as by
 * SIGKILL. VMREPLICA_DIE_AT says where: NAME (before the effect), NAME+ (after its work, before its
 * outcome is told), either with :N for the Nth time. A value that begins with '/' is a file that is
 * read at every point, so that a running daemon can be told; it is deleted when its hour has come.
 * NAME is an effect of the engine (rel_fx_name()), RX_COMMIT, the commit of a received point, or
 * YIELD_DEFINE, when a yielding host has made its disks a chain and its machine has them still.
 * Any thread. In vmreplicad itself these are nothing.
 * fault_hold() - waits while the file VMREPLICA_HOLD_NAME=/path is there: what takes hours
 * elsewhere. VMREPLICA_PROTOCOL=N: the protocol that it says it speaks (transport/frame.c).
 * fault_call() - the type of a call from a peer; 0, which is none, for the one whose number is in
 * VMREPLICA_UNKNOWN_CALL: as a version that does not have it yet. */
#ifdef VR_FAULT
#include <stdint.h>
uint16_t fault_call(uint16_t type);
void fault_point(const char *name, int after);
void fault_hold(const char *name);
#define fault_before(name) fault_point(name, 0)
#define fault_after(name) fault_point(name, 1)
#else
#define fault_before(name) ((void)(name))
#define fault_after(name) ((void)(name))
#define fault_call(type) (type)
#define fault_hold(name) ((void)(name))
#endif

#endif
