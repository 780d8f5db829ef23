/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_STORE_MERGE_H
#define VR_STORE_MERGE_H

#include "store/store_int.h"

/* One merge: the layer @upper goes down into @lower, @above is based on @lower afterwards. All
 * fields but the flags of @hold belong to whoever has the merge in hand. */
struct store_merge {
    struct hold *hold;
    const struct fsops *fs;
    int lock_fd;
    struct vr_uuid machine;
    struct layer_row lower, upper;
    int64_t above;
    bool done;        /* run() has succeeded */
    enum known known; /* what is known of the merged layer, */
    char *digests;    /* and its table, NULL if none */
};

/* merge_complete() - finish a merge of @machine whose copy is recorded as done: re-base the layer
 * above, change the rows. Nothing to do is success. */
int merge_complete(struct store *st, const struct vr_uuid *machine, struct vr_err *err);

#endif
