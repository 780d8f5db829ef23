/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Conversion between the engine's values and what travels. Pure. */
#include "daemon/messages.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "replication/rel.h"

MSG_DEFINE(msg_disk, MSG_DISK)
MSG_DEFINE(msg_settings, MSG_SETTINGS)
MSG_DEFINE(msg_test_reply, MSG_TEST_REPLY)
MSG_DEFINE(msg_create, MSG_CREATE)
MSG_DEFINE(msg_create_reply, MSG_CREATE_REPLY)
MSG_DEFINE(msg_settings_push, MSG_SETTINGS_PUSH)
MSG_DEFINE(msg_settings_reply, MSG_SETTINGS_REPLY)
MSG_DEFINE(msg_reverse, MSG_REVERSE)
MSG_DEFINE(msg_ranges, MSG_RANGES)
MSG_DEFINE(msg_reverse_reply, MSG_REVERSE_REPLY)
MSG_DEFINE(msg_port, MSG_PORT)
MSG_DEFINE(msg_story, MSG_STORY)
MSG_DEFINE(msg_status, MSG_STATUS)
MSG_DEFINE(msg_status_reply, MSG_STATUS_REPLY)
MSG_DEFINE(msg_prove, MSG_PROVE)
MSG_DEFINE(msg_prove_reply, MSG_PROVE_REPLY)
MSG_DEFINE(msg_transfer, MSG_TRANSFER)

struct msg_settings msg_from_settings(const struct rel_settings *s)
{
    return (struct msg_settings){
        .auth_type = s->auth_type,
        .compression = s->compression,
        .replicate_kvp = s->replicate_kvp,
        .auto_resync = s->auto_resync,
        .recovery_point = s->recovery_point,
        .recovery_port = s->recovery_port,
        .primary_point = s->primary_point,
        .app_interval_hours = rel_app_hours(s),
        .app_interval_s = s->app_interval_s,
        .recovery_history = s->recovery_history,
        .interval_s = s->interval_s,
        .resync_start_s = s->resync_start_s,
        .resync_end_s = s->resync_end_s,
        .thumbprint = s->thumbprint,
        .bypass_proxy = s->bypass_proxy,
        .keep = true,
        .keep_every_s = s->keep.every_s,
        .keep_hourly = s->keep.hourly,
        .keep_daily = s->keep.daily,
        .keep_weekly = s->keep.weekly,
        .on_superseded = s->on_superseded,
        .rev = s->rev,
    };
}

static void text(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from ? from : "");
}

int msg_to_settings(const struct msg_settings *m, struct rel_settings *ret, struct vr_err *err)
{
    struct rel_settings dflt;
    rel_settings_default(&dflt);
    struct rel_settings s = {
        .auth_type = m->auth_type,
        .compression = m->compression,
        .bypass_proxy = m->bypass_proxy,
        .replicate_kvp = m->replicate_kvp,
        .auto_resync = m->auto_resync,
        .recovery_port = m->recovery_port,
        .app_interval_s =
            m->app_interval_s ? m->app_interval_s : m->app_interval_hours * (uint32_t)3600,
        .recovery_history = m->recovery_history,
        .interval_s = m->interval_s,
        .resync_start_s = m->resync_start_s,
        .resync_end_s = m->resync_end_s,
        .keep = dflt.keep,
        .rev = m->rev,
        .on_superseded = m->on_superseded < ON_SUPERSEDED_COUNT ? m->on_superseded : 0,
    };
    if (m->keep)
        s.keep =
            (struct rel_keep){ m->keep_every_s, m->keep_hourly, m->keep_daily, m->keep_weekly };
    text(s.thumbprint, sizeof s.thumbprint, m->thumbprint);
    text(s.recovery_point, sizeof s.recovery_point, m->recovery_point);
    text(s.primary_point, sizeof s.primary_point, m->primary_point);
    if (rel_settings_check(&s, err) < 0)
        return vr_err_wrap(err, "settings sent by the peer");
    *ret = s;
    return 0;
}

void msg_from_disks(const struct rel_disk *d, uint32_t n, struct msg_disk *out)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = (struct msg_disk){ .target = d[i].target, .size = d[i].size };
}

/* A target becomes part of file names: letters and digits only. */
static bool is_target(const char *s)
{
    if (!*s)
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s))
            return false;
    return true;
}

int msg_to_disks(const struct msg_disk *m, size_t n, struct rel_disk *ret, uint32_t *ret_n,
                 struct vr_err *err)
{
    if (!n || n > VR_DISKS_MAX)
        return vr_fail(err, VR_E_PROTO, 0, "%zu disks in a message, 1 to %d allowed", n,
                       VR_DISKS_MAX);
    for (size_t i = 0; i < n; i++) {
        if (!is_target(m[i].target))
            return vr_fail(err, VR_E_PROTO, 0, "'%.32s' is not a disk target", m[i].target);
        if (!m[i].size || m[i].size > VR_DISK_MAX || m[i].size % 512)
            return vr_fail(err, VR_E_PROTO, 0, "disk %s has a size that is not possible",
                           m[i].target);
        for (size_t k = 0; k < i; k++)
            if (!strcmp(m[k].target, m[i].target))
                return vr_fail(err, VR_E_PROTO, 0, "disk %s stands twice", m[i].target);
        text(ret[i].target, sizeof ret[i].target, m[i].target);
        ret[i].size = m[i].size;
        ret[i].added = m[i].whole;
    }
    *ret_n = (uint32_t)n;
    return 0;
}
