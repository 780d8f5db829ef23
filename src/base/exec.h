/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_BASE_EXEC_H
#define VR_BASE_EXEC_H

/* A pool of worker threads for blocking work. With one thread it serialises what it runs (the
 * store); with more it runs tasks side by side (hypervisor calls, transfers). */
struct vr_exec;

/* vr_exec_new() - start @threads workers named @name (at most 15 characters shown). Aborts when no
 * thread can be made. */
struct vr_exec *vr_exec_new(const char *name, int threads);
/* vr_exec_post() - queue run(arg) for a worker. Any thread. */
void vr_exec_post(struct vr_exec *x, void (*run)(void *arg), void *arg);
/* vr_exec_call() - run it on a worker and wait for the end. Never from a worker of @x itself. */
void vr_exec_call(struct vr_exec *x, void (*run)(void *arg), void *arg);
/* vr_exec_free() - finish all that is queued, stop and join the workers. NULL is fine. */
void vr_exec_free(struct vr_exec *x);

#endif
