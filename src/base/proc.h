/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_BASE_PROC_H
#define VR_BASE_PROC_H

#include <sys/types.h>

#include "base/buf.h"

/* vr_proc_run() - run a program to its end.
 * @argv:    NULL-terminated, argv[0] is looked up in PATH; nothing passes through a shell
 * @seconds: limit; the program is killed after it (VR_E_TIMEOUT). 0 means none
 * @out:     gets standard output, may be NULL
 * Errors: VR_E_NOFILE if there is no such program, VR_E_IO with the program's own last words (its
 * standard error) when it exits non-zero, VR_E_NOSPACE when these say that the disk is full.
 * Thread: any but the control thread (blocks). */
int vr_proc_run(const char *const argv[], int seconds, struct vr_buf *out, struct vr_err *err);

/* vr_proc_spawn() - start a program that goes on, also when we die: who starts one keeps a pid file
 * and looks for left-overs at the next start.
 * @stderr_fd: where its standard error goes, -1 for ours
 * @ret_pid:   the process; the caller ends it with vr_proc_stop()
 * Thread: any but the control thread. */
int vr_proc_spawn(const char *const argv[], int stderr_fd, pid_t *ret_pid, struct vr_err *err);

/* vr_proc_stop() - SIGTERM, wait up to @seconds, SIGKILL, reap. pid <= 0 is fine. */
void vr_proc_stop(pid_t pid, int seconds);

#endif
