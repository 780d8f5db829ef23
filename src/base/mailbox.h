/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_BASE_MAILBOX_H
#define VR_BASE_MAILBOX_H

/* Threads talk by messages: a mailbox carries closures to the one thread that owns it. */
struct vr_mailbox;

/* vr_mailbox_new() - an empty mailbox with an eventfd. Aborts when the system has no descriptors.
 */
struct vr_mailbox *vr_mailbox_new(void);
/* vr_mailbox_free() - free it; messages still inside are dropped without being run. NULL is fine.
 */
void vr_mailbox_free(struct vr_mailbox *m);
/* vr_mailbox_fd() - readable while there is mail; for the owner's event loop. */
int vr_mailbox_fd(const struct vr_mailbox *m);
/* vr_mailbox_post() - queue fn(arg) for the owner. Order of one sender is kept. Any thread. */
void vr_mailbox_post(struct vr_mailbox *m, void (*fn)(void *arg), void *arg);
/* vr_mailbox_run() - run all that is queued. Owner's thread only. Returns how many ran. */
int vr_mailbox_run(struct vr_mailbox *m);

#endif
