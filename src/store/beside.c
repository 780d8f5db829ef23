/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Overlays that are not part of the chain: what a test machine writes beside it. The store makes
 * them, because it knows the images and their formats (never guessed: a guest could write what
 * looks like a qcow2 header into a raw disk), and forgets them at once. Store thread. */
#include "base/alloc.h"
#include "store/img.h"
#include "store/store_int.h"

int store_point_beside(struct store *st, const struct vr_uuid *machine, const struct vr_point_id *p,
                       const char *target, const char *path, struct vr_err *err)
{
    const struct fsops *fs = st->fs;
    struct img im = { .fs = fs, .lock_fd = st->lock_fd };
    vr_autolayer struct layer_row l = { 0 };
    int64_t seq = 0, top = 0, pinned = 0;
    char name[64];
    int rc = point_seq(st->db, machine, p, true, &seq, err);
    if (rc == 0)
        return vr_fail(err, VR_E_NOTFOUND, 0, "%s does not have that recovery point any more",
                       machine_name(machine, name));
    if (rc < 0 ||
        db_one_int(st->db, &pinned, err, "SELECT pinned FROM point WHERE seq = ?", "i", seq) < 0 ||
        point_top(st->db, seq, target, &top, err) < 0 || layer_load(st->db, top, &l, err) < 0)
        return -1;
    if (!pinned)
        return vr_fail(err, VR_E_STATE, 0, "the recovery point is not pinned");
    struct img_ref below = { l.path, l.format };
    if (fs->unlink(fs, path, err) < 0 || img_create(&im, path, &below, l.size, err) < 0)
        return -1;
    return fs->sync_file(fs, path, err);
}
