/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSFER_QUEUE_H
#define VR_TRANSFER_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/err.h"

/* What the threads of one pipeline share: queues of pointers and the first error. The only locks of
 * this folder are inside. */

struct queue;

/* queue_new() - an empty queue for at most @cap items. @polled: it has a queue_fd(), whose upkeep
 * costs a system call whenever the queue becomes empty or stops being so. Aborts when the system
 * has no descriptors. */
struct queue *queue_new(size_t cap, bool polled);
/* queue_free() - NULL is fine. Items still inside belong to whoever made them. */
void queue_free(struct queue *q);
VR_DEFINE_CLEANUP(struct queue, queue_free)
/* queue_push() - add at the end; never waits (the number of items in a pipeline is fixed, more than
 * @cap is a bug and aborts). Dropped silently when the queue is closed. Any thread. */
void queue_push(struct queue *q, void *item);
/* queue_pop() - take the first item; waits at most @timeout_ms for one (0: not at all). NULL when
 * the time is up, or when the queue is closed and empty. Any thread. */
void *queue_pop(struct queue *q, int timeout_ms);
/* queue_close() - no more items come; what is inside may still be taken. Any thread. */
void queue_close(struct queue *q);
/* queue_ended() - closed and empty. */
bool queue_ended(struct queue *q);
/* queue_fd() - of a polled one: becomes readable when an item is added or the queue is closed;
 * queue_pop() makes it quiet again once there is nothing left. For a thread that polls other
 * descriptors too. */
int queue_fd(const struct queue *q);

/* The first error of a pipeline. */
struct fault;
struct fault *fault_new(void);
void fault_free(struct fault *f);
VR_DEFINE_CLEANUP(struct fault, fault_free)
/* fault_set() - keep a copy of @err unless there is one already. Any thread. */
void fault_set(struct fault *f, const struct vr_err *err);
/* fault_is() - has anything failed? Cheap. fault_get() - copy it out; false when nothing failed. */
bool fault_is(const struct fault *f);
bool fault_get(struct fault *f, struct vr_err *ret);

#endif
