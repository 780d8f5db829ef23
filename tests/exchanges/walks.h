/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_EXCHANGES_WALKS_H
#define TESTS_EXCHANGES_WALKS_H

#include <stddef.h>

struct vr_buf;

/* Recorded exchanges that belong to no single class: enumerations of superclasses, associations,
 * events. */
struct walk_file {
    const char *name; /* of its file */
    void (*tell)(struct vr_buf *out);
};
extern const struct walk_file walk_files[];
extern const size_t n_walk_files;

#endif
