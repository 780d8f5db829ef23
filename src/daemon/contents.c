/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checksums of the disks that keep no bitmap. The document: "of LINEAGE EPOCH", then lines "disk
 * TARGET HALF HALF". Workers. */
#include "daemon/contents.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define KIND "contents"

struct doc {
    struct daemon *d;
    char id[VR_UUID_STR];
    char *text;
    struct vr_err err;
};

static void st_put(void *arg)
{
    struct doc *c = arg;
    store_doc_put(c->d->store, KIND, c->id, c->text, &c->err);
}

static void st_get(void *arg)
{
    struct doc *c = arg;
    store_doc_get(c->d->store, KIND, c->id, &c->text, &c->err);
}

int contents_save(struct daemon *d, const struct vr_uuid *machine, const struct vr_point_id *of,
                  const struct contents *c, struct vr_err *err)
{
    vr_autobuf struct vr_buf b = { .max = 1 << 16 };
    char lineage[VR_UUID_STR];
    struct doc doc = { .d = d };
    int rc = vr_buf_printf(&b, err, "of %s %" PRIu64 "\n", vr_uuid_fmt(&of->lineage, lineage),
                           of->epoch);
    for (size_t i = 0; rc == 0 && i < c->n; i++)
        rc = vr_buf_printf(&b, err, "disk %s %016" PRIx64 " %016" PRIx64 "\n", c->target[i],
                           c->sum[i].half[0], c->sum[i].half[1]);
    if (rc < 0)
        return -1;
    vr_uuid_fmt(machine, doc.id);
    doc.text = (char *)b.data;
    store_call(d, st_put, &doc);
    if (doc.err.kind == VR_OK)
        return 0;
    vr_err_move(err, &doc.err);
    return -1;
}

static int parse_line(struct contents *c, struct vr_point_id *of, const char *line,
                      struct vr_err *err)
{
    char lineage[VR_UUID_STR];
    if (sscanf(line, "of %36s %" SCNu64, lineage, &of->epoch) == 2)
        return vr_uuid_parse(lineage, &of->lineage, err);
    if (c->n < VR_DISKS_MAX && sscanf(line, "disk %31s %" SCNx64 " %" SCNx64, c->target[c->n],
                                      &c->sum[c->n].half[0], &c->sum[c->n].half[1]) == 3) {
        c->n++;
        return 0;
    }
    return vr_fail(err, VR_E_CORRUPT, 0, "the written checksums of the disks cannot be read");
}

int contents_load(struct daemon *d, const struct vr_uuid *machine, const struct vr_point_id *of,
                  struct contents *ret, struct vr_err *err)
{
    struct doc doc = { .d = d };
    vr_uuid_fmt(machine, doc.id);
    store_call(d, st_get, &doc);
    if (doc.err.kind != VR_OK) {
        vr_err_move(err, &doc.err);
        return -1;
    }
    struct vr_point_id is = { .epoch = 0 };
    struct contents c = { .n = 0 };
    char *save = NULL;
    int rc = 0;
    for (char *l = strtok_r(doc.text, "\n", &save); l && rc == 0; l = strtok_r(NULL, "\n", &save))
        rc = parse_line(&c, &is, l, err);
    free(doc.text);
    if (rc == 0 && !vr_point_eq(&is, of))
        rc = vr_fail(err, VR_E_NOTFOUND, 0, "no checksums are written down for this point");
    if (rc == 0)
        *ret = c;
    return rc;
}

int contents_unchanged(struct daemon *d, const struct contents *c,
                       const struct hv_capture_disk *disk, struct vr_err *err)
{
    struct disksum now;
    for (size_t i = 0; i < c->n; i++) {
        if (strcmp(c->target[i], disk->target) != 0)
            continue;
        if (disksum_read(disk->socket, disk->export_name, &d->stopping, &now, err) < 0)
            return -1;
        return now.half[0] == c->sum[i].half[0] && now.half[1] == c->sum[i].half[1];
    }
    return 0;
}
