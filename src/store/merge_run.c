/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The long part of a merge: copying a layer down. Any worker; the database is not touched. May be
 * cut anywhere: nothing that a point shows depends on the lower layer's own content. */
#include <fcntl.h>
#include <string.h>

#include "base/alloc.h"
#include "store/img.h"
#include "store/merge.h"
#include "store/qcow2.h"
#include "store/tables.h"

/* Bitmaps of ours in an image that was a machine's disk once would be wrong after the copy. */
static int remove_bitmaps(const struct img *im, const struct layer_row *l, struct vr_err *err)
{
    struct qcow2_info q = { 0 };
    if (strcmp(l->format, "qcow2") != 0)
        return 0;
    if (qcow2_info(l->path, &q, err) < 0)
        return -1;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < q.n_bitmaps; i++)
        if (!strncmp(q.bitmaps[i], "vmr.", 4))
            rc = img_bitmap_remove(im, l->path, q.bitmaps[i], err);
    qcow2_info_done(&q);
    return rc;
}

/* What is known of the merged layer. A table of the whole image needs none below; a table of a
 * layer is put into the lower one's; without one, all knowledge is gone. */
static int merge_tables(struct store_merge *m, struct vr_err *err)
{
    const struct layer_row *up = &m->upper, *low = &m->lower;
    bool sound = true;
    m->known = KNOWN_NONE;
    if (up->known == KNOWN_FULL && up->digests) {
        m->known = KNOWN_FULL;
        m->digests = vr_strdup(up->digests);
        return 0;
    }
    if (up->known == KNOWN_NONE || low->known == KNOWN_NONE || !up->digests || !low->digests)
        return 0;
    if (tables_merge(up->digests, low->digests, up->size, &sound, err) < 0)
        return -1;
    if (sound) {
        m->known = low->known;
        m->digests = vr_strdup(low->digests);
    }
    return 0;
}

/* From here on files are changed. Whoever cancels sets its flag first and looks at ours then; we do
 * it the other way round. */
static int begin(struct store_merge *m, struct vr_err *err)
{
    atomic_store(&m->hold->running, true);
    if (!atomic_load(&m->hold->cancel))
        return 0;
    return vr_fail(err, VR_E_CANCELLED, 0, "the merge was called off");
}

/* Making the copy durable may take long, changes nothing and keeps nobody waiting. What readers had
 * in the page cache before it was written past that is let go. */
static int sync_copy(struct store_merge *m, struct vr_err *err)
{
    atomic_store(&m->hold->running, false);
    if (m->fs->sync_file(m->fs, m->lower.path, err) < 0)
        return -1;
    vr_autoclose int fd = open(m->lower.path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    return 0;
}

static int run(struct store_merge *m, struct vr_err *err)
{
    struct img im = { .fs = m->fs, .lock_fd = m->lock_fd, .cancel = &m->hold->cancel };
    struct img_ref lower = { m->lower.path, m->lower.format };
    if (begin(m, err) < 0 || remove_bitmaps(&im, &m->lower, err) < 0 ||
        img_commit(&im, m->upper.path, &lower, err) < 0 || sync_copy(m, err) < 0 ||
        begin(m, err) < 0)
        return -1;
    return merge_tables(m, err);
}

int store_merge_run(struct store_merge *m, struct vr_err *err)
{
    int rc = run(m, err);
    m->done = rc == 0;
    atomic_store(&m->hold->running, false);
    if (rc < 0) {
        hold_release(m->hold); /* nothing is in hand any more, whenever finish() comes */
        m->hold = NULL;
    }
    return rc < 0 ? vr_err_wrap(err, "merging %s into %s", m->upper.path, m->lower.path) : 0;
}
