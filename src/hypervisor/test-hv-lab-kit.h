/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_HYPERVISOR_TEST_HV_LAB_KIT_H
#define VR_HYPERVISOR_TEST_HV_LAB_KIT_H

/* What the lab test of the hypervisor adapter does from outside: the guest, libvirtd, the reading
 * and comparing of exports. One guest, one thread; a failure ends the running test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/proc.h"
#include "base/testing.h"
#include "hv.h"

#define WORK "/run/hv-lab"
enum { WAIT_S = 300 };

extern struct hv *hv;
extern struct vr_uuid uuid;
extern const char *guest;
extern const char *const disks[2];

#define until(cond)                                             \
    do {                                                        \
        int64_t end_ = vr_mono_now().ms + WAIT_S * 1000;        \
        while (!(cond)) {                                       \
            if (vr_mono_now().ms > end_)                        \
                fail_msg("not within %d s: %s", WAIT_S, #cond); \
            poll(NULL, 0, 20);                                  \
        }                                                       \
    } while (0)

/* run() - Run a program to its end; NULL ends the arguments; the test fails when it fails. */
void run(const char *first, ...);
/* try_run() - The same, but the failure is reported. */
int try_run(const char *const argv[], struct vr_err *err);
/* power() - State of the guest. */
enum hv_power power(void);
/* tick() - Wait until the guest has written @n more times; fails if it ever found damage. */
void tick(int n);
/* start() - Switch it on and wait until it writes; nothing when it is on. */
void start(void);
/* stop_clean() - Shut it down and wait; nothing when it is off. */
void stop_clean(void);
/* force_off() - Cut its power. */
void force_off(void);
/* signal_qemu() - send @sig to its QEMU. */
void signal_qemu(int sig);
/* kill_qemu() - kill -9 of its QEMU. */
void kill_qemu(void);
/* restart_libvirtd() - Stop and start libvirtd and wait until the adapter has seen both. */
void restart_libvirtd(void);
/* copy_export() - Copy the whole of an export into a raw file. */
void copy_export(const struct hv_capture_disk *d, const char *to);
/* take_increment() - Bring our replica up to @cap by its dirty blocks alone; it must then equal a
 * full copy. Returns the dirty bytes. */
uint64_t take_increment(const struct hv_capture *cap);
/* name_it() - A checkpoint name that was never used. */
void name_it(char out[64]);
/* capture() - Begin a capture of both disks; @name gets the new checkpoint. */
struct hv_capture *capture(const char *parent, char name[64]);
/* looks() - How the checkpoint looks: "---" not there, else letters l (libvirt), i (image), u
 * (usable). Static. */
const char *looks(const char *name);
/* drop_all() - Delete every checkpoint of ours. */
void drop_all(void);
/* baseline() - A full capture that is kept; the replica then is at @name. */
void baseline(char name[64]);
/* increment() - An increment since @parent that is right and is kept. Returns the dirty bytes. */
uint64_t increment(const char *parent, char name[64]);
/* on_event() - Event function that counts. */
void on_event(void *ctx, enum hv_event_type type, const struct vr_uuid *u);
/* events() - How many events of @type were seen. */
unsigned events(enum hv_event_type type);

#endif
