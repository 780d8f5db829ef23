/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a host tells of a machine that was failed over to it and is not replicated any more. */
#include "daemon/left.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/machinedoc.h"
#include "daemon/story.h"

#define KIND "left"

const struct rel_story *left_find(struct daemon *d, const struct vr_uuid *machine)
{
    const struct rel *r = engine_find(d->engine, machine);
    const struct machine_rt *rt = rt_get(d, machine);
    bool ended = (!r || r->st == ST_NONE) && rt->left.failed_over;
    return ended ? &rt->left : NULL;
}

static int load_one(void *ctx, const char *id, const char *text, struct vr_err *err)
{
    struct daemon *d = ctx;
    struct vr_uuid machine;
    struct rel_story s;
    struct vr_err bad = VR_ERR_INIT;
    (void)err;
    if (vr_uuid_parse(id, &machine, &bad) < 0 || story_decode_left(text, &s, &bad) < 0)
        vr_log_err(VR_LOG_ERROR, id, &bad);
    else
        rt_get(d, &machine)->left = s;
    return 0;
}

int left_load(struct daemon *d, struct vr_err *err)
{
    return store_doc_each(d->store, KIND, load_one, d, err);
}

int left_save(struct daemon *d, const struct rel *r, struct vr_err *err)
{
    struct rel_story s = rel_story_left(r);
    vr_autofree char *text = story_encode_left(&s);
    struct vr_err none = VR_ERR_INIT;
    if (text)
        return machinedoc_put(d, KIND, &r->machine, text, err);
    if (machinedoc_delete(d, KIND, &r->machine, &none) == 0 || none.kind == VR_E_NOTFOUND)
        return 0;
    vr_err_move(err, &none);
    return -1;
}
