/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Documents for libvirt that are written from nothing, and its units. Thread: any. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/xmlw.h"
#include "domxml.h"

uint64_t domxml_kib(const char *unit, uint64_t v)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } units[] = {
        { "b", 1 },           { "bytes", 1 },        { "KB", 1000 },     { "k", 1024 },
        { "KiB", 1024 },      { "MB", 1000000 },     { "M", 1 << 20 },   { "MiB", 1 << 20 },
        { "GB", 1000000000 }, { "G", 1 << 30 },      { "GiB", 1 << 30 }, { "TB", 1000000000000 },
        { "T", 1ull << 40 },  { "TiB", 1ull << 40 },
    };
    uint64_t bytes = 1024;
    for (size_t i = 0; unit && i < VR_ARRAY_LEN(units); i++)
        if (strcmp(unit, units[i].name) == 0)
            bytes = units[i].bytes;
    if (v > UINT64_MAX / bytes)
        return 0;
    return v * bytes / 1024;
}

/* ---- backup and checkpoint documents ---- */

static int finish(struct vr_xmlw *w, struct vr_buf *b, char **ret, struct vr_err *err)
{
    if (vr_xmlw_finish(w, err) < 0)
        return -1;
    *ret = vr_strndup((const char *)b->data, b->len);
    return 0;
}

int domxml_backup(const char *socket, const char *parent, const struct domxml_capture_disk *disks,
                  size_t n, char **ret, struct vr_err *err)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct vr_xmlw w;
    vr_xmlw_init(&w, &b);
    vr_xmlw_start(&w, NULL, "domainbackup");
    vr_xmlw_attr(&w, "mode", "pull");
    vr_xmlw_start(&w, NULL, "server");
    vr_xmlw_attr(&w, "transport", "unix");
    vr_xmlw_attr(&w, "socket", socket);
    vr_xmlw_end(&w);
    vr_xmlw_start(&w, NULL, "disks");
    for (size_t i = 0; i < n; i++) {
        vr_xmlw_start(&w, NULL, "disk");
        vr_xmlw_attr(&w, "name", disks[i].target);
        vr_xmlw_attr(&w, "backup", "yes");
        vr_xmlw_attr(&w, "type", "file");
        vr_xmlw_attr(&w, "backupmode", disks[i].incremental ? "incremental" : "full");
        vr_xmlw_attr(&w, "exportname", disks[i].target);
        if (disks[i].incremental) {
            vr_xmlw_attr(&w, "incremental", parent);
            vr_xmlw_attr(&w, "exportbitmap", DOMXML_DIRTY);
        }
        vr_xmlw_start(&w, NULL, "driver");
        vr_xmlw_attr(&w, "type", "qcow2");
        vr_xmlw_end(&w);
        vr_xmlw_start(&w, NULL, "scratch");
        vr_xmlw_attr(&w, "file", disks[i].scratch);
        vr_xmlw_end(&w);
        vr_xmlw_end(&w);
    }
    vr_xmlw_end(&w);
    vr_xmlw_end(&w);
    return finish(&w, &b, ret, err);
}

int domxml_checkpoint(const char *name, const char *note, int64_t created,
                      const struct domxml_capture_disk *disks, size_t n, char **ret,
                      struct vr_err *err)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct vr_xmlw w;
    vr_xmlw_init(&w, &b);
    vr_xmlw_start(&w, NULL, "domaincheckpoint");
    vr_xmlw_elem(&w, NULL, "name", name);
    if (note)
        vr_xmlw_elem(&w, NULL, "description", note);
    if (created) {
        char text[24];
        snprintf(text, sizeof text, "%lld", (long long)created);
        vr_xmlw_elem(&w, NULL, "creationTime", text);
    }
    vr_xmlw_start(&w, NULL, "disks");
    for (size_t i = 0; i < n; i++) {
        vr_xmlw_start(&w, NULL, "disk");
        vr_xmlw_attr(&w, "name", disks[i].target);
        vr_xmlw_attr(&w, "checkpoint", disks[i].tracked ? "bitmap" : "no");
        if (disks[i].tracked)
            vr_xmlw_attr(&w, "bitmap", name);
        vr_xmlw_end(&w);
    }
    vr_xmlw_end(&w);
    vr_xmlw_end(&w);
    return finish(&w, &b, ret, err);
}
