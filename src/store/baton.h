/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_STORE_BATON_H
#define VR_STORE_BATON_H

/* See store_enter() in store.h. */
struct store;

/* baton_down() - let others use the store that this thread has entered, if it has, until
 * baton_up(), which takes what it returned. NULL: nothing to lay down (not entered, or inside a
 * transaction). No statement may be half-read meanwhile. Any thread. */
struct store *baton_down(void);
void baton_up(struct store **st);

/* For the rest of the block files are touched: others may use the store. */
#define TOUCHES_FILES \
    __attribute__((cleanup(baton_up), unused)) struct store *laid_down = baton_down()

#endif
