/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading a whole image through qemu-nbd. Any worker. */
#include "store/scan.h"

#include "base/cleanup.h"
#include "transfer/blockread.h"

static bool stop(void *ctx)
{
    const atomic_bool *cancel = ctx;
    return cancel && atomic_load(cancel);
}

int image_open(const char *path, const char *format, const atomic_bool *cancel, struct vnbd **ret,
               struct vr_err *err)
{
    struct vnbd_config cfg = { .image = path, .format = format, .connections = 1 };
    cfg.stop = stop;
    cfg.stop_ctx = (void *)cancel;
    return vnbd_open(&cfg, ret, err);
}

int image_scan(const struct image_scan *what, uint64_t *ret_size, struct vr_err *err)
{
    vr_auto(vnbd_close) struct vnbd *nbd = NULL;
    if (image_open(what->path, what->format, what->cancel, &nbd, err) < 0)
        return -1;
    *ret_size = vnbd_size(nbd);
    struct blockread r = { .nbd = nbd,
                           .cancel = what->cancel,
                           .tolerant = what->tolerant,
                           .bytes_per_second = what->bytes_per_second,
                           .fn = what->fn,
                           .ctx = what->ctx };
    if (blockread_run(&r, 0, UINT64_MAX / VR_BLOCK_SIZE, err) < 0)
        return vr_err_wrap(err, "%s", what->path);
    return 0;
}
