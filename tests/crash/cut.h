/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TESTS_CRASH_CUT_H
#define VR_TESTS_CRASH_CUT_H

#include <stdbool.h>
#include <stddef.h>

#include "store/fsops.h"

/* File operations that record themselves and can be cut. Before each operation, and before and
 * after each transaction, the world may end: a copy of everything is put in the place of the
 * original, in a process of its own, and checked there, while the original goes on. */
struct cut_config {
    const char *work;  /* folder in which everything happens */
    const char *spare; /* folder for copies, on the same file system */
    /* Recover and check; runs in the child, where @work is the copy. 0: all is well. */
    int (*check)(void *ctx);
    void *ctx;
    unsigned one_in; /* of how many cuts one is made; 1: all, in both modes; 0: none */
    unsigned seed;
};

/* cut_begin() - the operations to open the store with. */
const struct fsops *cut_begin(const struct cut_config *cfg);
/* cut_every() - one_in from here on. */
void cut_every(unsigned one_in);
/* cut_here() - one more place for a cut. */
void cut_here(const char *what);
/* cut_count() - places so far; cut_made() - cuts made; cut_failed() - how many did not check. */
size_t cut_count(void);
size_t cut_made(void);
size_t cut_failed(void);

#endif
