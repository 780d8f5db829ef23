/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a bitmap says, without reading data. A worker; blocks. */
#include "transfer/nbd_libnbd.h"
#include "transfer/xfer.h"

struct dirty {
    struct extents *to;
};

static void on_range(void *ctx, enum vnbd_status_kind kind, uint64_t offset, uint64_t length)
{
    struct dirty *d = ctx;
    if (kind == VNBD_DIRTY)
        extents_add(d->to, offset, length);
}

int xfer_dirty_map(const char *socket, const char *export_name, const char *dirty_context,
                   struct extents *ret, struct vr_err *err)
{
    struct vnbd_config cfg = { .socket = socket,
                               .export_name = export_name,
                               .dirty_context = dirty_context,
                               .connections = 1 };
    struct vnbd *n = NULL;
    if (vnbd_open(&cfg, &n, err) < 0)
        return -1;
    struct extents found = { .v = NULL };
    struct dirty d = { .to = &found };
    int rc = vnbd_status(n, 0, vnbd_size(n), on_range, &d, err);
    vnbd_close(n);
    if (rc == 0)
        extents_unite(ret, &found);
    extents_done(&found);
    return rc;
}
