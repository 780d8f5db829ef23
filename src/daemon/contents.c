/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checksums of the disks that keep no bitmap. The document: "of LINEAGE EPOCH", then lines "disk
 * TARGET HALF HALF". Workers. */
#include "daemon/contents.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/machinedoc.h"

#define KIND "contents"

int contents_save(struct daemon *d, const struct vr_uuid *machine, const struct vr_point_id *of,
                  const struct contents *c, struct vr_err *err)
{
    vr_autobuf struct vr_buf b = { .max = 1 << 16 };
    char lineage[VR_UUID_STR];
    int rc = vr_buf_printf(&b, err, "of %s %" PRIu64 "\n", vr_uuid_fmt(&of->lineage, lineage),
                           of->epoch);
    for (size_t i = 0; rc == 0 && i < c->n; i++)
        rc = vr_buf_printf(&b, err, "disk %s %016" PRIx64 " %016" PRIx64 "\n", c->target[i],
                           c->sum[i].half[0], c->sum[i].half[1]);
    return rc < 0 ? -1 : machinedoc_put(d, KIND, machine, (char *)b.data, err);
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
    char *text = NULL;
    if (machinedoc_get(d, KIND, machine, &text, err) < 0)
        return -1;
    struct vr_point_id is = { .epoch = 0 };
    struct contents c = { .n = 0 };
    char *save = NULL;
    int rc = 0;
    for (char *l = strtok_r(text, "\n", &save); l && rc == 0; l = strtok_r(NULL, "\n", &save))
        rc = parse_line(&c, &is, l, err);
    free(text);
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
