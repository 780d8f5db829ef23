/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_TESTVM_H
#define VR_DAEMON_TESTVM_H

#include "daemon/daemon.h"

/* Test failover. Control thread. */

/* testvm_load() - what is written of test machines. At start, before the store thread begins.
 * Errors: those of the store, VR_E_CORRUPT. */
int testvm_load(struct daemon *d, struct vr_err *err);
/* testvm_host() - offer the providers the functions for test machines, after host_init(). */
void testvm_host(struct daemon *d);
/* testvm_tick() - look whether test machines have run long enough to prove that their points boot;
 * every now and then. */
void testvm_tick(struct daemon *d);
/* testvm_recover() - begin to remove those that are not whole. Once at start, when workers run. */
void testvm_recover(struct daemon *d);

#endif
